//! Token domains: under which name, normaliser and form equal inputs give equal
//! tokens. Two domains never join.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use douane_schemas::leaf::LeafType;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::fault::{StageFault, TransformFault};
use crate::number::Number;

/// `domains.yaml`: part of the fingerprint, approved by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Domains {
    /// Domains by name: 1 to 64 of `a-z`, `0-9` and `_`.
    #[serde(deserialize_with = "named")]
    #[schemars(with = "BTreeMap<String, Domain>")]
    pub domains: BTreeMap<String, Domain>,
}

/// One token domain. Version and form of a domain used in a record key stay as they are for the
/// topic's life: tombstones under a new version would not delete rows under the old one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// What makes two writings of one thing equal before they become a token.
    #[serde(default)]
    pub normalize: Normalize,
    /// How tokens are printed.
    #[serde(default)]
    pub form: Form,
    /// Raised to get new tokens for all values.
    #[serde(default = "one")]
    pub version: NonZeroU32,
    /// Purposes of pipelines that may use the domain; empty: all of them.
    #[serde(default)]
    pub purposes: Vec<String>,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn named<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Domain>, D::Error> {
    let domains = BTreeMap::<String, Domain>::deserialize(from)?;
    let plain = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    match domains.keys().find(|name| !plain(name)) {
        None => Ok(domains),
        Some(name) => Err(serde::de::Error::custom(format!(
            "domain name `{name}`: expected 1 to 64 of a-z, 0-9 and _"
        ))),
    }
}

impl Domains {
    /// Looks a domain up for a verb.
    ///
    /// # Errors
    /// [`StageFault::UnknownDomain`], naming the domains there are.
    pub fn get(&self, verb: &'static str, name: &str) -> Result<&Domain, StageFault> {
        self.domains.get(name).ok_or_else(|| StageFault::UnknownDomain {
            verb,
            domain: name.to_owned(),
            known: match self.domains.len() {
                0 => "none".to_owned(),
                _ => self.domains.keys().cloned().collect::<Vec<_>>().join(", "),
            },
        })
    }
}

impl Domain {
    /// Whether pipelines of this purpose may use the domain.
    pub fn allows(&self, purpose: &str) -> bool {
        self.purposes.is_empty() || self.purposes.iter().any(|p| p == purpose)
    }
}

/// How tokens are printed. Each form has one width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// 26 of `a-z2-7`: RFC 4648 section 6 in lower case, no padding; 128 bits.
    #[default]
    Base32,
    /// 22 of `0-9A-Za-z`: the big-endian number, zeros in front; 128 bits.
    Base62,
    /// A UUID of version 8 (RFC 9562) in lower case; 122 bits.
    Uuid,
    /// 39 digits: the big-endian number, zeros in front; 128 bits.
    Decimal,
}

impl Form {
    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base32 => "base32",
            Self::Base62 => "base62",
            Self::Uuid => "uuid",
            Self::Decimal => "decimal",
        }
    }
}

/// What makes two writings of one thing equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// The canonical text as it is.
    #[default]
    None,
    /// Unicode normalisation form C.
    Nfc,
    /// Spaces at the ends cut, lower case, form C. No address is refused.
    Email,
    /// `+` and 7 to 15 digits. Spaces, `-`, `.`, `/`, brackets and a `(0)` after the country code
    /// are cut, `00` in front becomes `+`. A number without a country code is refused.
    E164,
    /// A decimal number without zeros that say nothing: `19.80` and `19.8` are one.
    Decimal,
}

impl Normalize {
    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Nfc => "nfc",
            Self::Email => "email",
            Self::E164 => "e164",
            Self::Decimal => "decimal",
        }
    }

    /// Whether a cell can be refused.
    pub fn may_fail(self) -> bool {
        matches!(self, Self::E164 | Self::Decimal)
    }

    /// Whether values of this type can be what it reads.
    ///
    /// # Errors
    /// [`StageFault::Normalizer`].
    pub fn check(self, domain: &str, found: LeafType) -> Result<(), StageFault> {
        use LeafType as T;
        let text = matches!(found, T::Text | T::Enum);
        let number = matches!(
            found,
            T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::VariableScaleDecimal
        ) || matches!(found, T::Decimal { .. });
        let (fits, expected) = match self {
            Self::None => (true, ""),
            Self::Nfc | Self::Email | Self::E164 => (text, "text"),
            Self::Decimal => (text || number, "a number, or text that holds one"),
        };
        if fits {
            return Ok(());
        }
        let normalize = self.name();
        Err(StageFault::Normalizer { domain: domain.to_owned(), normalize, found, expected })
    }

    /// The normalised text, borrowed where nothing changes, else written to `out`.
    ///
    /// # Errors
    /// [`TransformFault::Unparsable`] from `e164` and `decimal`.
    pub fn apply<'a>(self, text: &'a str, out: &'a mut String) -> Result<&'a str, TransformFault> {
        match self {
            Self::None => Ok(text),
            Self::Nfc => Ok(nfc(text, out)),
            Self::Email => Ok(email(text, out)),
            Self::E164 => e164(text, out).ok_or(TransformFault::Unparsable),
            Self::Decimal => {
                out.clear();
                Number::parse(text).ok_or(TransformFault::Unparsable)?.write(out);
                Ok(out)
            }
        }
    }
}

fn nfc<'a>(text: &'a str, out: &'a mut String) -> &'a str {
    if text.is_ascii() || is_nfc(text) {
        return text;
    }
    out.clear();
    out.extend(text.nfc());
    out
}

fn email<'a>(text: &'a str, out: &'a mut String) -> &'a str {
    let text = text.trim();
    if text.is_ascii() {
        if !text.bytes().any(|b| b.is_ascii_uppercase()) {
            return text;
        }
        out.clear();
        out.push_str(text);
        out.make_ascii_lowercase();
        return out;
    }
    // Lower-casing can leave form C, so it comes first.
    out.clear();
    out.extend(text.nfc().collect::<String>().to_lowercase().nfc());
    out
}

fn e164<'a>(text: &str, out: &'a mut String) -> Option<&'a str> {
    let text = text.trim();
    let rest = text.strip_prefix('+').or_else(|| text.strip_prefix("00"))?;
    out.clear();
    out.push('+');
    let mut rest = rest.chars();
    while let Some(c) = rest.next() {
        match c {
            '0'..='9' => out.push(c),
            // The trunk zero of a national number: +49 (0)30 is +49 30.
            '(' if out.len() > 1 && rest.as_str().starts_with("0)") => {
                rest.nth(1);
            }
            ' ' | '\u{a0}' | '\u{202f}' | '-' | '\u{2010}' | '\u{2011}' | '\u{2013}' | '.'
            | '/' | '(' | ')' => {}
            _ => return None,
        }
    }
    let digits = out.len() - 1;
    ((7..=15).contains(&digits) && !out[1..].starts_with('0')).then_some(out.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &str = include_str!("../testdata/normalizers.json");

    #[derive(Deserialize)]
    struct Vector {
        normalize: Normalize,
        input: String,
        /// None: refused.
        output: Option<String>,
    }

    #[test]
    fn golden_vectors() {
        let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
        assert!(vectors.len() >= 40);
        assert!(vectors.iter().any(|v| v.output.is_none()));
        for v in vectors {
            let mut scratch = String::new();
            let found = v.normalize.apply(&v.input, &mut scratch).ok().map(str::to_owned);
            assert_eq!(found, v.output, "{:?} of {:?}", v.normalize, v.input);
            // Normalising twice changes nothing.
            if let Some(once) = found {
                let mut scratch = String::new();
                assert_eq!(v.normalize.apply(&once, &mut scratch), Ok(once.as_str()));
            }
        }
    }

    #[test]
    fn names_bad_domain_bad_key_bad_version() {
        let read = |text: &str| serde_json::from_str::<Domains>(text);
        assert!(read(r#"{"domains":{"customer":{"normalize":"email","form":"uuid"}}}"#).is_ok());
        for bad in [
            r#"{"domains":{"Customer":{}}}"#,
            r#"{"domains":{"":{}}}"#,
            r#"{"domains":{"a":{"version":0}}}"#,
            r#"{"domains":{"a":{"forms":"uuid"}}}"#,
            r#"{"domains":{"a":{"form":"int64"}}}"#,
            r#"{"domain":{}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn purposes_narrow_only_where_listed() {
        let all: Domain = serde_json::from_str("{}").unwrap();
        assert!(all.allows("model-training"));
        let one: Domain = serde_json::from_str(r#"{"purposes":["billing"]}"#).unwrap();
        assert!(one.allows("billing") && !one.allows("model-training"));
    }
}
