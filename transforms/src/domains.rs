//! Token domains: under which name, algorithm, normaliser and form equal inputs give equal
//! tokens. Two domains never join.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use douane_schemas::keys::Purpose;
use douane_schemas::leaf::LeafType;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::fault::{StageFault, TransformFault};
use crate::forms::Form;
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

/// One token domain. All of a domain used in a record key stays as it is for the topic's life:
/// tombstones under a new version would not delete rows under the old one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// What makes a token of a value. Format-preserving encryption takes a key of its own from the
    /// domain, whatever stands here.
    #[serde(default, skip_serializing_if = "Algorithm::is_default")]
    pub algorithm: Algorithm,
    /// What makes two writings of one thing equal before they become a token.
    #[serde(default)]
    pub normalize: Normalize,
    /// How tokens are printed; those of `aes_siv` in base32 or base64url.
    #[serde(default)]
    pub form: Form,
    /// Of `aes_siv`: values are padded to the least of so many bytes, twice, four times as many and
    /// so on that holds them and one byte more, and a token shows that number alone. A power of two
    /// from 16 to 4096; 16 where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 4096))]
    pub pad_to: Option<u32>,
    /// Of `aes_siv`: the leaf whose every value has a random key of its own, which `keys shred`
    /// destroys alone, such as `after.customer_id` for a leaf of the row and `key.id` for one of the
    /// record key. Equal values of two subjects then have two tokens. Not for a column of the record
    /// key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(after|key)\..+"))]
    pub key_per: Option<String>,
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
    if let Some(name) = domains.keys().find(|name| !plain(name)) {
        return Err(serde::de::Error::custom(format!(
            "domain name `{name}`: expected 1 to 64 of a-z, 0-9 and _"
        )));
    }
    match domains.iter().find_map(|(name, domain)| Some((name, domain.contradiction()?))) {
        None => Ok(domains),
        Some((name, why)) => Err(serde::de::Error::custom(format!("domain `{name}`: {why}"))),
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

/// Bytes that values of `aes_siv` are padded to at least.
const PAD_TO: std::ops::RangeInclusive<u32> = 16..=4096;

/// Most bytes of a leaf's path.
const LEAF_BYTES_MAX: usize = 1024;

impl Domain {
    /// What the key is for that a stage takes from the keyring: of keys per subject the one that
    /// hides their names.
    pub fn key_purpose(&self) -> Purpose {
        match self.key_per {
            Some(_) => Purpose::SubjectMask,
            None => self.algorithm.purpose(),
        }
    }

    /// The least bucket of reversible tokens; `None` for an algorithm whose tokens have one width.
    pub fn bucket_least(&self) -> Option<u32> {
        self.algorithm.reversible().then(|| self.pad_to.unwrap_or(*PAD_TO.start()))
    }

    /// Settings that do not go together.
    fn contradiction(&self) -> Option<&'static str> {
        let reversible = self.algorithm.reversible();
        if let Some(leaf) = &self.key_per {
            let path = leaf.strip_prefix("after.").or_else(|| leaf.strip_prefix("key."));
            if !reversible {
                return Some("`key_per` is for `algorithm: aes_siv`; a MAC has nothing to destroy");
            }
            if path.is_none_or(|path| path.is_empty() || path.len() > LEAF_BYTES_MAX) {
                return Some("`key_per` is a leaf such as `after.customer_id` or `key.id`");
            }
        }
        match self.pad_to {
            Some(_) if !reversible => {
                return Some("`pad_to` is for `algorithm: aes_siv`; other tokens have one width");
            }
            Some(bytes) if !PAD_TO.contains(&bytes) || !bytes.is_power_of_two() => {
                return Some("`pad_to` is a power of two from 16 to 4096");
            }
            _ => {}
        }
        (reversible && !self.form.prints_bytes()).then_some(
            "tokens of `algorithm: aes_siv` are longer than 128 bits: `form: base32` or `base64url`",
        )
    }

    /// Whether pipelines of this purpose may use the domain.
    pub fn allows(&self, purpose: &str) -> bool {
        self.purposes.is_empty() || self.purposes.iter().any(|p| p == purpose)
    }
}

/// What makes a token of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// HMAC-SHA-256 (FIPS 198-1), cut to 128 bits. Nobody can go back.
    #[default]
    HmacSha256,
    /// AES-256-CMAC (NIST SP 800-38B), 128 bits, many times as fast. Nobody can go back.
    AesCmac,
    /// AES-SIV (RFC 5297) with AES-256: who holds the domain's key can get the value back.
    AesSiv,
}

impl Algorithm {
    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac_sha256",
            Self::AesCmac => "aes_cmac",
            Self::AesSiv => "aes_siv",
        }
    }

    /// What its key is for.
    pub fn purpose(self) -> Purpose {
        match self {
            Self::HmacSha256 => Purpose::TokenHmac,
            Self::AesCmac => Purpose::TokenCmac,
            Self::AesSiv => Purpose::TokenSiv,
        }
    }

    /// Whether the key opens its tokens.
    pub fn reversible(self) -> bool {
        self == Self::AesSiv
    }

    /// Whether it is the one that is meant where none is named.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
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
    /// Two letters, two digits and 11 to 30 letters or digits, in upper case; spaces are cut.
    /// Anything else is refused. Check digits are not looked at: a wrong number is a value too.
    Iban,
    /// Digits alone: spaces, `-`, `.`, `/`, brackets and `+` are cut. A value with any other
    /// character, with a `-` in front, or without a digit, is refused.
    Digits,
    /// Spaces at the ends cut, upper case, form C.
    Upper,
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
            Self::Iban => "iban",
            Self::Digits => "digits",
            Self::Upper => "upper",
        }
    }

    /// Whether a cell can be refused.
    pub fn may_fail(self) -> bool {
        matches!(self, Self::E164 | Self::Decimal | Self::Iban | Self::Digits)
    }

    /// Whether values of this type can be what it reads.
    ///
    /// # Errors
    /// [`StageFault::Normalizer`].
    pub fn check(self, domain: &str, found: LeafType) -> Result<(), StageFault> {
        use LeafType as T;
        let text = matches!(found, T::Text | T::Enum);
        let integer = matches!(found, T::Int16 | T::Int32 | T::Int64);
        let number = integer
            || matches!(found, T::Float32 | T::Float64 | T::VariableScaleDecimal)
            || matches!(found, T::Decimal { .. });
        let (fits, expected) = match self {
            Self::None => (true, ""),
            Self::Nfc | Self::Email | Self::E164 | Self::Iban | Self::Upper => (text, "text"),
            Self::Digits => (text || integer, "text or a whole number"),
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
    /// [`TransformFault::Unparsable`], where [`Self::may_fail`].
    pub fn apply<'a>(self, text: &'a str, out: &'a mut String) -> Result<&'a str, TransformFault> {
        match self {
            Self::None => Ok(text),
            Self::Nfc => Ok(nfc(text, out)),
            Self::Email => Ok(cased(text, Case::Lower, out)),
            Self::Upper => Ok(cased(text, Case::Upper, out)),
            Self::Iban => iban(text, out).ok_or(TransformFault::Unparsable),
            Self::Digits => digits(text, out).ok_or(TransformFault::Unparsable),
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

#[derive(Clone, Copy)]
enum Case {
    Lower,
    Upper,
}

/// One case, form C, no spaces at the ends.
fn cased<'a>(text: &'a str, case: Case, out: &'a mut String) -> &'a str {
    let text = text.trim();
    if text.is_ascii() {
        let other = |b: u8| match case {
            Case::Lower => b.is_ascii_uppercase(),
            Case::Upper => b.is_ascii_lowercase(),
        };
        if !text.bytes().any(other) {
            return text;
        }
        out.clear();
        out.push_str(text);
        match case {
            Case::Lower => out.make_ascii_lowercase(),
            Case::Upper => out.make_ascii_uppercase(),
        }
        return out;
    }
    // Another case can leave form C, so it comes first.
    let text: String = text.nfc().collect();
    let text = match case {
        Case::Lower => text.to_lowercase(),
        Case::Upper => text.to_uppercase(),
    };
    out.clear();
    out.extend(text.nfc());
    out
}

fn iban<'a>(text: &str, out: &'a mut String) -> Option<&'a str> {
    out.clear();
    for c in text.chars() {
        match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' => out.push(c.to_ascii_uppercase()),
            ' ' | '\u{a0}' | '\u{202f}' => {}
            _ => return None,
        }
    }
    // ISO 13616: country, check digits, account.
    let (head, account) = out.as_bytes().split_first_chunk::<4>()?;
    let [a, b, c, d] = head;
    let shaped = a.is_ascii_alphabetic() && b.is_ascii_alphabetic();
    let holds = shaped && c.is_ascii_digit() && d.is_ascii_digit();
    (holds && (11..=30).contains(&account.len())).then_some(out.as_str())
}

fn digits<'a>(text: &str, out: &'a mut String) -> Option<&'a str> {
    out.clear();
    for c in text.chars() {
        match c {
            '0'..='9' => out.push(c),
            // In front of the digits it is a sign: -7 is not 7.
            '-' if out.is_empty() => return None,
            ' ' | '\u{a0}' | '\u{202f}' | '-' | '\u{2010}' | '\u{2011}' | '\u{2013}' | '.'
            | '/' | '(' | ')' | '[' | ']' | '+' => {}
            _ => return None,
        }
    }
    (!out.is_empty()).then_some(out.as_str())
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
    fn names_bad_domain_bad_key_bad_version_bad_algorithm_bad_padding_bad_form() {
        let read = |text: &str| serde_json::from_str::<Domains>(text);
        assert!(read(r#"{"domains":{"customer":{"normalize":"email","form":"uuid"}}}"#).is_ok());
        for bad in [
            r#"{"domains":{"Customer":{}}}"#,
            r#"{"domains":{"":{}}}"#,
            r#"{"domains":{"a":{"version":0}}}"#,
            r#"{"domains":{"a":{"forms":"uuid"}}}"#,
            r#"{"domains":{"a":{"form":"int64"}}}"#,
            r#"{"domain":{}}"#,
            r#"{"domains":{"a":{"algorithm":"sha256"}}}"#,
            r#"{"domains":{"a":{"pad_to":16}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_cmac","pad_to":16}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_siv","pad_to":0}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_siv","pad_to":8}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_siv","pad_to":48}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_siv","pad_to":8192}}}"#,
            r#"{"domains":{"a":{"key_per":"after.id"}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_cmac","key_per":"after.id"}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_siv","key_per":"id"}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_siv","key_per":"after."}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_siv","key_per":"before.id"}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_siv","form":"uuid"}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_siv","form":"base62"}}}"#,
            r#"{"domains":{"a":{"algorithm":"aes_siv","form":"decimal"}}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_least_bucket_is_of_reversible_tokens_alone() {
        let read = |text: &str| serde_json::from_str::<Domain>(text).unwrap();
        assert_eq!(read("{}").bucket_least(), None);
        assert_eq!(read(r#"{"algorithm":"aes_cmac","form":"uuid"}"#).bucket_least(), None);
        assert_eq!(read(r#"{"algorithm":"aes_siv"}"#).bucket_least(), Some(16));
        let wide = r#"{"algorithm":"aes_siv","pad_to":64,"form":"base64url"}"#;
        assert_eq!(read(wide).bucket_least(), Some(64));
    }

    #[test]
    fn purposes_narrow_only_where_listed() {
        let all: Domain = serde_json::from_str("{}").unwrap();
        assert!(all.allows("model-training"));
        let one: Domain = serde_json::from_str(r#"{"purposes":["billing"]}"#).unwrap();
        assert!(one.allows("billing") && !one.allows("model-training"));
    }
}
