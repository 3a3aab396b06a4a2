//! `tokenize`: equal inputs of one domain give equal tokens, and nobody without the domain's key
//! can go back or forth.
//!
//! token = the first 16 bytes of HMAC-SHA-256(domain key, tuple(domain name, version, canonical
//! text)), in the domain's form. The canonical text is the same for Int64 7, Decimal(p,0) 7 and
//! text `7`, and for a leaf of the key and of the row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringBuilder};
use douane_schemas::keys::Purpose;
use douane_schemas::leaf::{Leaf, LeafType};
use douane_schemas::tuple::Tuple;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::column::{Protect, each_text};
use crate::domains::{Domains, Form, Normalize};
use crate::fault::{StageFault, TransformFault};
use crate::hmac::Hmac;
use crate::keyring::Keyring;
use crate::stage::{Declaration, Declared, Guarantees, Produces};

/// What `tokenize` is.
pub const DECLARATION: Declaration = Declaration {
    verb: "tokenize",
    summary: "a keyed token in place of the value; equal inputs of one domain stay equal",
    guarantees: Guarantees {
        deterministic: true,
        reversible_with_key: false,
        keeps_length: false,
        keeps_uniqueness: true,
        keeps_order: false,
        joinable: true,
        keeps_nulls: true,
    },
    semantics: 1,
    example_yaml: "tokenize: { columns: [id], domain: customer }",
};

/// `tokenize: { columns: [id], domain: customer }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Tokenize")]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Leaves to tokenise.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// A domain of the domains' file: it fixes key, normaliser and form.
    pub domain: String,
}

impl Config {
    /// What comes out for a leaf.
    ///
    /// # Errors
    /// The domain is unknown, its normaliser does not fit the type, or the type has no one text.
    pub fn declare(&self, leaf: &Leaf, domains: &Domains) -> Result<Declared, StageFault> {
        use LeafType as T;
        let domain = domains.get(DECLARATION.verb, &self.domain)?;
        domain.normalize.check(&self.domain, leaf.leaf_type)?;
        // One value of these has many texts, or the two tokens of a boolean are a codebook.
        if matches!(leaf.leaf_type, T::Boolean | T::Json | T::Xml | T::Array | T::Opaque) {
            return Err(StageFault::LeafType {
                verb: DECLARATION.verb,
                found: leaf.leaf_type,
                expected: "a scalar with one text for one value and more than two values",
            });
        }
        // Dates and times beyond the year 9999 have no canonical text.
        let dated = matches!(
            leaf.leaf_type,
            T::Date
                | T::Time
                | T::MicroTime
                | T::NanoTime
                | T::Timestamp
                | T::MicroTimestamp
                | T::NanoTimestamp
        );
        Ok(Declared {
            output: T::Text,
            produces: Produces::Token {
                form: domain.form,
                domain: self.domain.clone(),
                version: domain.version.get(),
            },
            may_fail: dated || domain.normalize.may_fail(),
            keys: vec![(Purpose::TokenHmac, self.domain.clone())],
        })
    }

    /// The compiled tokeniser.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn build(
        &self,
        leaf: &Leaf,
        domains: &Domains,
        keyring: &Keyring,
    ) -> Result<Arc<dyn Protect>, StageFault> {
        self.declare(leaf, domains)?;
        let domain = domains.get(DECLARATION.verb, &self.domain)?;
        let key = keyring.key(Purpose::TokenHmac, &self.domain);
        Ok(Arc::new(Tokenizer {
            key: Hmac::new(key.secret()),
            head: Tuple::new().text(&self.domain).number(u64::from(domain.version.get())).finish(),
            normalize: domain.normalize,
            form: domain.form,
        }))
    }
}

struct Tokenizer {
    key: Hmac,
    /// The tuple's first fields: domain name and version.
    head: Vec<u8>,
    normalize: Normalize,
    form: Form,
}

impl Protect for Tokenizer {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let rows = column.len();
        let mut out = StringBuilder::with_capacity(rows, rows * self.form.width());
        let mut normal = String::new();
        let mut message = Vec::new();
        let mut printed = [0; WIDTH_MAX];
        each_text(column, |value| {
            let Some(value) = value else {
                out.append_null();
                return Ok(());
            };
            let text = self.normalize.apply(value, &mut normal)?;
            message.clear();
            message.extend_from_slice(&self.head);
            text_field(text, &mut message);
            let tag = self.key.tag(&mut message);
            let mut token = [0; 16];
            token.copy_from_slice(&tag[..16]);
            out.append_value(self.form.print(token, &mut printed));
            Ok(())
        })?;
        Ok(Arc::new(out.finish()))
    }
}

/// Appends `Tuple::text` without building a tuple for every cell.
fn text_field(text: &str, out: &mut Vec<u8>) {
    // A column is far below 4 GiB.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.push(b't');
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

const WIDTH_MAX: usize = 39;

impl Form {
    /// Characters of every token.
    pub fn width(self) -> usize {
        match self {
            Self::Base32 => 26,
            Self::Base62 => 22,
            Self::Uuid => 36,
            Self::Decimal => 39,
        }
    }

    /// Prints a token.
    fn print(self, token: [u8; 16], out: &mut [u8; WIDTH_MAX]) -> &str {
        let width = self.width();
        match self {
            Self::Base32 => base32(u128::from_be_bytes(token), out),
            Self::Base62 => radix(u128::from_be_bytes(token), BASE62, 10, &mut out[..width]),
            Self::Decimal => {
                radix(u128::from_be_bytes(token), b"0123456789", 19, &mut out[..width])
            }
            Self::Uuid => uuid(token, out),
        }
        // The printers write ASCII only.
        std::str::from_utf8(&out[..width]).unwrap_or_default()
    }
}

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn base32(value: u128, out: &mut [u8; WIDTH_MAX]) {
    const SIGNS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    for (i, sign) in out.iter_mut().enumerate().take(25) {
        *sign = SIGNS[(value >> (123 - 5 * i)) as usize & 31];
    }
    // RFC 4648 section 6: the last quantum is filled with zero bits on the right.
    out[25] = SIGNS[(value as usize & 7) << 2];
}

/// Big-endian digits of `value`, zeros in front. `step` digits are taken from one 64-bit limb,
/// because 128-bit divisions are slow.
fn radix(mut value: u128, signs: &[u8], step: u32, out: &mut [u8]) {
    let base = signs.len() as u64;
    let limb_base = u128::from(base.pow(step));
    let mut at = out.len();
    while at > 0 {
        let mut limb = (value % limb_base) as u64;
        value /= limb_base;
        for _ in 0..step.min(u32::try_from(at).unwrap_or(step)) {
            at -= 1;
            out[at] = signs[(limb % base) as usize];
            limb /= base;
        }
    }
}

fn uuid(mut token: [u8; 16], out: &mut [u8; WIDTH_MAX]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    // RFC 9562 section 5.8: version 8, variant 0b10; the other 122 bits are the token's.
    token[6] = token[6] & 0x0f | 0x80;
    token[8] = token[8] & 0x3f | 0x80;
    let mut at = 0;
    for (i, byte) in token.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out[at] = b'-';
            at += 1;
        }
        out[at] = HEX[usize::from(byte >> 4)];
        out[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::HashSet;

    use arrow::array::{
        AsArray, Date32Array, Decimal128Array, Decimal256Array, Int16Array, Int32Array, Int64Array,
        StringArray,
    };
    use arrow::datatypes::i256;
    use data_encoding::BASE32_NOPAD;
    use douane_schemas::keys::RootKey;

    use super::*;

    fn domains() -> Domains {
        serde_json::from_str(include_str!("../testdata/golden_domains.json")).unwrap()
    }

    fn keyring() -> Keyring {
        Keyring::new(&RootKey::new([7; 32]))
    }

    fn token(
        domain: &str,
        leaf_type: LeafType,
        column: ArrayRef,
    ) -> Result<String, TransformFault> {
        let leaf = Leaf { path: "c".into(), leaf_type };
        let config = Config { columns: vec!["c".into()], domain: domain.into() };
        let built = config.build(&leaf, &domains(), &keyring()).unwrap();
        built.apply(&column).map(|out| out.as_string::<i32>().value(0).to_owned())
    }

    fn text(value: &str) -> ArrayRef {
        Arc::new(StringArray::from(vec![value]))
    }

    /// One carrier of a golden value.
    fn carrier(leaf_type: LeafType, value: &str) -> ArrayRef {
        let unscaled = value.replace('.', "");
        match leaf_type {
            LeafType::Int16 => Arc::new(Int16Array::from(vec![value.parse::<i16>().unwrap()])),
            LeafType::Int32 => Arc::new(Int32Array::from(vec![value.parse::<i32>().unwrap()])),
            LeafType::Int64 => Arc::new(Int64Array::from(vec![value.parse::<i64>().unwrap()])),
            LeafType::Date => Arc::new(Date32Array::from(vec![value.parse::<i32>().unwrap()])),
            LeafType::Decimal { precision, scale } if precision > 38 => Arc::new(
                Decimal256Array::from(vec![i256::from_string(&unscaled).unwrap()])
                    .with_precision_and_scale(precision, scale)
                    .unwrap(),
            ),
            LeafType::Decimal { precision, scale } => Arc::new(
                Decimal128Array::from(vec![unscaled.parse::<i128>().unwrap()])
                    .with_precision_and_scale(precision, scale)
                    .unwrap(),
            ),
            _ => text(value),
        }
    }

    #[derive(Deserialize)]
    struct Golden {
        domain: String,
        token: String,
        /// Carriers of one value: leaf type and value.
        inputs: Vec<(LeafType, String)>,
    }

    /// The file was made by `testdata/golden_tokens.py`, which shares no code with this crate.
    #[test]
    fn golden_tokens_are_equal_across_types_and_writings() {
        let golden: Vec<Golden> =
            serde_json::from_str(include_str!("../testdata/golden_tokens.json")).unwrap();
        assert!(golden.len() >= 12);
        let mut seen = HashSet::new();
        for case in golden {
            assert!(seen.insert(case.token.clone()), "two values with one token");
            for (leaf_type, value) in case.inputs {
                let found = token(&case.domain, leaf_type, carrier(leaf_type, &value));
                assert_eq!(found.as_ref(), Ok(&case.token), "{} {leaf_type}", case.domain);
            }
        }
    }

    #[test]
    fn a_text_field_is_the_tuples() {
        for text in ["", "7", "äöü", &"x".repeat(300)] {
            let mut out = Tuple::new().text("domain").number(3).finish();
            text_field(text, &mut out);
            assert_eq!(out, Tuple::new().text("domain").number(3).text(text).finish());
        }
    }

    #[test]
    fn forms_print_the_same_number() {
        let value = u128::from_be_bytes(*b"\x00\x01douane tokens!");
        let all = |form: Form| form.print(value.to_be_bytes(), &mut [0; WIDTH_MAX]).to_owned();
        assert_eq!(all(Form::Base32), BASE32_NOPAD.encode(&value.to_be_bytes()).to_lowercase());
        assert_eq!(all(Form::Decimal), format!("{value:039}"));
        let back = all(Form::Base62).bytes().fold(0_u128, |n, sign| {
            n * 62 + BASE62.iter().position(|s| *s == sign).unwrap() as u128
        });
        assert_eq!(back, value);
        assert_eq!(Form::Base62.print([0xff; 16], &mut [0; WIDTH_MAX]), "7n42DGM5Tflk9n8mt7Fhc7");
        assert_eq!(
            Form::Decimal.print([0xff; 16], &mut [0; WIDTH_MAX]),
            "340282366920938463463374607431768211455"
        );
        assert_eq!(
            Form::Uuid.print([0xff; 16], &mut [0; WIDTH_MAX]),
            "ffffffff-ffff-8fff-bfff-ffffffffffff"
        );
        assert_eq!(Form::Base32.print([0; 16], &mut [0; WIDTH_MAX]), "a".repeat(26));
    }

    #[test]
    fn version_domain_and_root_change_every_token() {
        let one = token("plain", LeafType::Text, text("7")).unwrap();
        assert_ne!(token("plain_two", LeafType::Text, text("7")).unwrap(), one);
        let leaf = Leaf { path: "c".into(), leaf_type: LeafType::Text };
        let config = Config { columns: vec![], domain: "plain".into() };
        let mut raised = domains();
        let domain = raised.domains.get_mut("plain").unwrap();
        domain.version = domain.version.saturating_add(1);
        let of = |domains: &Domains, root: [u8; 32]| {
            let keyring = Keyring::new(&RootKey::new(root));
            let out = config.build(&leaf, domains, &keyring).unwrap().apply(&text("7")).unwrap();
            out.as_string::<i32>().value(0).to_owned()
        };
        assert_eq!(of(&domains(), [7; 32]), one);
        assert_ne!(of(&raised, [7; 32]), one);
        assert_ne!(of(&domains(), [8; 32]), one);
    }

    #[test]
    fn cells_bad_phone_bad_decimal_bad_date() {
        for bad in ["030 1234567", "+49", "call me"] {
            assert_eq!(token("phone", LeafType::Text, text(bad)), Err(TransformFault::Unparsable));
        }
        assert_eq!(token("amount", LeafType::Text, text("1e3")), Err(TransformFault::Unparsable));
        let far: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
        assert_eq!(token("plain", LeafType::Date, far), Err(TransformFault::OutOfRange));
    }

    #[test]
    fn stages_bad_domain_bad_normaliser_bad_type() {
        let declare = |domain: &str, leaf_type| {
            let leaf = Leaf { path: "c".into(), leaf_type };
            Config { columns: vec![], domain: domain.into() }.declare(&leaf, &domains())
        };
        assert!(declare("plain", LeafType::Int64).is_ok());
        assert!(matches!(
            declare("nowhere", LeafType::Int64),
            Err(StageFault::UnknownDomain { .. })
        ));
        assert!(matches!(declare("phone", LeafType::Int64), Err(StageFault::Normalizer { .. })));
        for leaf_type in [LeafType::Boolean, LeafType::Json, LeafType::Opaque] {
            assert!(matches!(declare("plain", leaf_type), Err(StageFault::LeafType { .. })));
        }
        let empty = Domains { domains: BTreeMap::new() };
        let fault = empty.get("tokenize", "x").unwrap_err().to_string();
        assert!(fault.contains("it holds none"), "{fault}");
    }
}
