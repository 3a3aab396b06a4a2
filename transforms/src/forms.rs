//! Printable forms of tokens. A token of 128 bits has one width in each form; the bytes of a
//! reversible token are printed in base32 or base64url, in a width that follows from their count.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How tokens are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// 26 of `a-z2-7`: RFC 4648 section 6 in lower case, no padding; 128 bits.
    #[default]
    Base32,
    /// 22 of `0-9A-Za-z`: the big-endian number, zeros in front; 128 bits.
    Base62,
    /// 22 of `A-Za-z0-9-_`: RFC 4648 section 5, no padding; 128 bits.
    Base64url,
    /// A UUID of version 8 (RFC 9562) in lower case; 122 bits.
    Uuid,
    /// 39 digits: the big-endian number, zeros in front; 128 bits.
    Decimal,
}

/// The widest token of 128 bits.
pub const WIDTH_MAX: usize = 39;

impl Form {
    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base32 => "base32",
            Self::Base62 => "base62",
            Self::Base64url => "base64url",
            Self::Uuid => "uuid",
            Self::Decimal => "decimal",
        }
    }

    /// Characters of every token of 128 bits.
    pub fn width(self) -> usize {
        match self {
            Self::Base32 => 26,
            Self::Base62 | Self::Base64url => 22,
            Self::Uuid => 36,
            Self::Decimal => 39,
        }
    }

    /// Whether it prints any count of bytes.
    pub fn prints_bytes(self) -> bool {
        matches!(self, Self::Base32 | Self::Base64url)
    }

    /// Prints a token of 128 bits.
    pub fn print(self, token: [u8; 16], out: &mut [u8; WIDTH_MAX]) -> &str {
        let width = self.width();
        match self {
            Self::Base32 => base32(u128::from_be_bytes(token), out),
            Self::Base62 => radix(u128::from_be_bytes(token), BASE62, 10, &mut out[..width]),
            Self::Base64url => BASE64URL_NOPAD.encode_mut(&token, &mut out[..width]),
            Self::Decimal => {
                radix(u128::from_be_bytes(token), b"0123456789", 19, &mut out[..width])
            }
            Self::Uuid => uuid(token, out),
        }
        // The printers write ASCII only.
        std::str::from_utf8(&out[..width]).unwrap_or_default()
    }

    /// Prints any count of bytes in place of what `out` holds; nothing in a form that does not
    /// ([`Self::prints_bytes`]).
    pub fn print_bytes(self, bytes: &[u8], out: &mut String) {
        out.clear();
        match self {
            Self::Base32 => {
                BASE32_NOPAD.encode_append(bytes, out);
                out.make_ascii_lowercase();
            }
            Self::Base64url => BASE64URL_NOPAD.encode_append(bytes, out),
            Self::Base62 | Self::Uuid | Self::Decimal => {}
        }
    }

    /// Reads back what [`Self::print_bytes`] printed, and nothing else.
    pub fn read_bytes(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Base32 if !text.bytes().any(|b| b.is_ascii_uppercase()) => {
                let upper = Zeroizing::new(text.to_ascii_uppercase());
                BASE32_NOPAD.decode(upper.as_bytes()).ok()
            }
            Self::Base64url => BASE64URL_NOPAD.decode(text.as_bytes()).ok(),
            _ => None,
        }
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
    use super::*;

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
    fn bytes_read_back_and_nothing_else_does() {
        for form in [Form::Base32, Form::Base64url] {
            for length in 0..70_u8 {
                let bytes: Vec<u8> = (0..length).map(|i| i.wrapping_mul(37) ^ 0xa5).collect();
                let mut text = "old".to_owned();
                form.print_bytes(&bytes, &mut text);
                assert_eq!(form.read_bytes(&text), Some(bytes), "{length}");
                assert_eq!(form.read_bytes(&format!("{text}=")), None);
                assert_eq!(form.read_bytes(&format!("{text} ")), None);
            }
            let mut text = String::new();
            form.print_bytes(&[7; 16], &mut text);
            assert_eq!(text, form.print([7; 16], &mut [0; WIDTH_MAX]));
        }
        assert_eq!(Form::Base32.read_bytes("AE"), None);
        // Bits that the last character has too many are zero: one token, one text.
        assert_eq!(Form::Base32.read_bytes("ae"), Some(vec![1]));
        assert_eq!(Form::Base32.read_bytes("af"), None);
        for form in [Form::Base62, Form::Uuid, Form::Decimal] {
            assert!(!form.prints_bytes());
            assert_eq!(form.read_bytes("00"), None);
        }
    }
}
