//! Canonical bytes: RFC 8785 JSON, and SHA-256 over it.
//!
//! RFC 8785 writes numbers as ECMAScript doubles, so an integer beyond 2^53 would lose digits:
//! every `u64` and `i64` in a signed document is a decimal string ([`text_u64`], [`text_i64`]).

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use serde::{Serialize, de::DeserializeOwned};

/// The largest document that is read, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why bytes are not a canonical document. Carries positions, never contents.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CanonicalFault {
    /// More than [`DOCUMENT_BYTES_MAX`].
    #[error("document has {bytes} bytes, at most {max} are read")]
    TooLong { bytes: usize, max: usize },
    /// Not JSON, or not of the expected shape.
    #[error("document does not have the expected shape (line {line}, column {column})")]
    Shape { line: usize, column: usize },
    /// Parses, but its canonical form has other bytes: reordered, padded, or with unknown fields.
    #[error("document is not in canonical form, or has fields that this version does not know")]
    NotCanonical,
    /// The value cannot be written as RFC 8785 JSON.
    #[error("value cannot be written as canonical JSON")]
    Unwritable,
}

/// RFC 8785 bytes of a value.
///
/// # Errors
/// [`CanonicalFault::Unwritable`] for what JSON has no form for (NaN, maps with non-text keys).
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalFault> {
    serde_json_canonicalizer::to_vec(value).map_err(|_| CanonicalFault::Unwritable)
}

/// Reads a document that must be exactly its own canonical form: a changed byte anywhere, an
/// unknown field, a repeated name or other spacing is refused.
///
/// # Errors
/// [`CanonicalFault`], with line and column but no content.
pub fn from_slice<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, CanonicalFault> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(CanonicalFault::TooLong { bytes: bytes.len(), max: DOCUMENT_BYTES_MAX });
    }
    let value: T = serde_json::from_slice(bytes)
        .map_err(|e| CanonicalFault::Shape { line: e.line(), column: e.column() })?;
    if to_vec(&value)? != bytes {
        return Err(CanonicalFault::NotCanonical);
    }
    Ok(value)
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// SHA-256 in lower-case hexadecimal, 64 characters.
pub fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(&sha256(bytes))
}

/// Exactly `N` bytes from lower-case hexadecimal; `None` for anything else.
pub fn hex_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

macro_rules! text_number {
    ($name:ident, $type:ty, $doc:literal) => {
        #[doc = $doc]
        pub mod $name {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            /// Writes the number as decimal text.
            ///
            /// # Errors
            /// The serializer's.
            pub fn serialize<S: Serializer>(value: &$type, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(value)
            }

            /// Reads decimal text without sign or leading zeros beyond the canonical ones.
            ///
            /// # Errors
            /// Anything but the one canonical text of a number.
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                let value: $type = text.parse().map_err(|_| D::Error::custom("not a number"))?;
                if value.to_string() != text {
                    return Err(D::Error::custom("not the canonical text of a number"));
                }
                Ok(value)
            }
        }
    };
}
text_number!(text_u64, u64, "`#[serde(with)]`: a `u64` as decimal text.");
text_number!(text_i64, i64, "`#[serde(with)]`: an `i64` as decimal text.");

/// `#[serde(with)]`: an optional `u64` as decimal text or null.
pub mod text_u64_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Text(#[serde(with = "super::text_u64")] u64);

    /// Writes decimal text or null.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        value.map(Text).serialize(to)
    }

    /// Reads decimal text or null.
    ///
    /// # Errors
    /// Anything but the one canonical text of a number, or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        Ok(Option::<Text>::deserialize(from)?.map(|text| text.0))
    }
}

/// `#[serde(with)]`: 32 bytes as lower-case hexadecimal.
pub mod hex32 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes 64 characters.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::hex(value))
    }

    /// Reads 64 characters.
    ///
    /// # Errors
    /// Anything else.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        super::hex_array(&text).ok_or_else(|| D::Error::custom("not 32 bytes in hexadecimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    /// RFC 8785, section 3.2.2 and 3.2.3, the example's input and its canonical form.
    #[test]
    fn rfc_8785_example() {
        let input = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let value: Value = serde_json::from_str(input).unwrap();
        let expected = "{\"literals\":[null,true,false],\
            \"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
            \"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(String::from_utf8(to_vec(&value).unwrap()).unwrap(), expected);
    }

    /// RFC 8785, section 3.2.3: names are sorted by UTF-16 code units, not by code points.
    #[test]
    fn names_sort_as_utf_16() {
        let value = json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5,
            "\u{80}": 6, "\u{f6}": 7});
        let text = String::from_utf8(to_vec(&value).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Small {
        #[serde(with = "text_u64")]
        a: u64,
        #[serde(with = "text_u64_option")]
        b: Option<u64>,
    }

    #[test]
    fn only_canonical_bytes_are_read() {
        let good = br#"{"a":"18446744073709551615","b":null}"#;
        assert_eq!(from_slice::<Small>(good).unwrap(), Small { a: u64::MAX, b: None });
        for bad in [
            r#"{"a": "1","b":null}"#,
            r#"{"b":null,"a":"1"}"#,
            r#"{"a":"01","b":null}"#,
            r#"{"a":"+1","b":null}"#,
            r#"{"a":"1","b":null,"c":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a":"1","a":"1","b":null}"#,
            r#"{"a":1,"b":null}"#,
            "{\"a\":\"1\",\"b\":null}\n",
        ] {
            assert!(from_slice::<Small>(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn sha256_of_abc() {
        // FIPS 180-4, example "abc"
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), abc);
    }
}
