//! What Debezium sends for a value that it does not have, such as a TOAST value that did not change: the
//! connector's `unavailable.value.placeholder`, in the form that the column's type gives it
//! (`UnchangedToastedPlaceholder`).

use data_encoding::BASE64;

/// Of a connector that says nothing else.
const DEFAULT: &str = "__debezium_unavailable_value";
/// As long as a text is that somebody writes for this.
const BYTES_MAX: usize = 255;

/// One connector's placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    text: String,
    /// As text of other types: in an array of text, of bytes as integers, in a map (`hstore`, in its JSON
    /// form too), as the one UUID of an array, in an array of bytes, in one of decimals by single bytes,
    /// and in one of booleans.
    nested: [String; 7],
}

impl Placeholder {
    /// The property as it stands in the connector's configuration: text, or `hex:` and bytes.
    ///
    /// # Errors
    /// What it must be: then no form of it is in doubt.
    pub fn parse(property: &str) -> Result<Self, &'static str> {
        let bytes = match property.strip_prefix("hex:") {
            None => property.as_bytes().to_vec(),
            Some(hex) => data_encoding::HEXLOWER_PERMISSIVE
                .decode(hex.as_bytes())
                .map_err(|_| "behind `hex:` stand no bytes")?,
        };
        let plain = |b: &u8| (0x20..0x7f).contains(b) && !b"\"\\".contains(b);
        match String::from_utf8(bytes) {
            Ok(text) if !text.bytes().all(|b| plain(&b)) => Err(FORM),
            Err(_) => Err(FORM),
            Ok(text) if text.is_empty() || text.len() > BYTES_MAX => {
                Err("it has 1 to 255 characters")
            }
            Ok(text) if text == DEFAULT => Err("it is Debezium's default, which is known anyway"),
            Ok(text) => Ok(Self::of(text)),
        }
    }

    fn of(text: String) -> Self {
        let all = |form: fn(u8) -> String| {
            let each: Vec<String> = text.bytes().map(form).collect();
            format!("[{}]", each.join(","))
        };
        let nested = [
            format!("[\"{text}\"]"),
            all(|byte| byte.to_string()),
            format!("{{\"{text}\":\"{text}\"}}"),
            format!("[\"{}\"]", name_uuid(text.as_bytes())),
            format!("[\"{}\"]", BASE64.encode(text.as_bytes())),
            all(|byte| format!("\"{}\"", BASE64.encode(&[byte]))),
            all(|_| "true".to_owned()),
        ];
        Self { text, nested }
    }

    /// A text, or a value of another type as text, is one.
    pub(super) fn is_text(&self, utf8: &[u8]) -> bool {
        let nested = matches!(utf8, [b'[' | b'{', ..]);
        utf8 == self.text.as_bytes()
            || (nested && self.nested.iter().any(|form| form.as_bytes() == utf8))
    }

    /// Bytes, or a decimal's, are one.
    pub(super) fn is_bytes(&self, value: &[u8]) -> bool {
        value == self.text.as_bytes()
    }
}

const FORM: &str = "it is printable ASCII without `\"` and `\\`";

impl Default for Placeholder {
    fn default() -> Self {
        Self::of(DEFAULT.to_owned())
    }
}

/// Java's `UUID.nameUUIDFromBytes`: RFC 9562, version 3, without a name space.
fn name_uuid(bytes: &[u8]) -> String {
    let mut uuid = md5(bytes);
    uuid[6] = (uuid[6] & 0x0f) | 0x30;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&uuid);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// RFC 1321, 3.4: rotations of each round.
const ROTATIONS: [[u32; 4]; 4] =
    [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// RFC 1321. It names a UUID here and protects nothing.
fn md5(bytes: &[u8]) -> [u8; 16] {
    // 3.1, 3.2: padding and length.
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - bytes.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(bytes.len() as u64 * 8).to_le_bytes());
    // 3.3
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    // 3.4
    for block in padded.as_chunks::<64>().0 {
        let word = |n: usize| u32::from_le_bytes(block.as_chunks::<4>().0[n]);
        let [mut a, mut b, mut c, mut d] = state;
        for step in 0..64 {
            let (mixed, at) = match step / 16 {
                0 => ((b & c) | (!b & d), step),
                1 => ((b & d) | (c & !d), (5 * step + 1) % 16),
                2 => (b ^ c ^ d, (3 * step + 5) % 16),
                _ => (c ^ (b | !d), (7 * step) % 16),
            };
            // T[i]: 4294967296 times the absolute sine of i.
            let sine = ((step as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mixed).wrapping_add(sine).wrapping_add(word(at));
            let turned = sum.rotate_left(ROTATIONS[step / 16][step % 4]);
            (a, d, c, b) = (d, c, b, b.wrapping_add(turned));
        }
        for (sum, part) in state.iter_mut().zip([a, b, c, d]) {
            *sum = sum.wrapping_add(part);
        }
    }
    // 3.5
    let mut digest = [0; 16];
    for (out, part) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *out = part.to_le_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1321, A.5.
    #[test]
    fn md5_is_that_of_its_standard() {
        let digits = "1234567890".repeat(8);
        for (text, digest) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            (&digits, "57edf4a22be3c955ac49da2e2107b67a"),
        ] {
            assert_eq!(data_encoding::HEXLOWER.encode(&md5(text.as_bytes())), digest, "{text}");
        }
    }

    /// As PostgreSQL's connector wrote them.
    #[test]
    fn the_default_has_the_forms_that_debezium_gives_it() {
        let default = Placeholder::default();
        for form in [
            "__debezium_unavailable_value",
            r#"["__debezium_unavailable_value"]"#,
            "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]",
            r#"{"__debezium_unavailable_value":"__debezium_unavailable_value"}"#,
            r#"["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]"#,
            r#"["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="]"#,
            r#"["Xw==","Xw==","ZA==","ZQ==","Yg==","ZQ==","eg==","aQ==","dQ==","bQ==","Xw==","dQ==","bg==","YQ==","dg==","YQ==","aQ==","bA==","YQ==","Yg==","bA==","ZQ==","Xw==","dg==","YQ==","bA==","dQ==","ZQ=="]"#,
            "[true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true]",
        ] {
            assert!(default.is_text(form.as_bytes()), "{form}");
        }
        assert!(default.is_bytes(b"__debezium_unavailable_value"));
        for other in ["", "[]", "{}", "[true]", "__debezium_unavailable_value ", "[95,95]"] {
            assert!(
                !default.is_text(other.as_bytes()) && !default.is_bytes(other.as_bytes()),
                "{other}"
            );
        }
    }

    #[test]
    fn a_property_is_read_as_the_connector_reads_it_or_refused() {
        let other = Placeholder::parse("n/a here").unwrap();
        assert_eq!(Placeholder::parse("hex:6e2f612068657265"), Ok(other.clone()));
        for form in ["n/a here", r#"["n/a here"]"#, r#"["bi9hIGhlcmU="]"#] {
            assert!(other.is_text(form.as_bytes()), "{form}");
        }
        assert!(other.is_bytes(b"n/a here") && !other.is_text(b"__debezium_unavailable_value"));
        let long = "x".repeat(256);
        for bad in
            ["", "hex:", "hex:zz", "hex:ff", "a\"b", "a\\b", "a\nb", "\u{e9}", &long, DEFAULT]
        {
            assert!(Placeholder::parse(bad).is_err(), "{bad}");
        }
    }
}
