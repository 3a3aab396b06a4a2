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

    /// Prints tokens of 128 bits side by side: `out` has [`Self::width`] bytes for each.
    pub(crate) fn print_all(self, tokens: &[[u8; 16]], out: &mut [u8]) {
        let slots = out.chunks_exact_mut(self.width()).zip(tokens);
        match self {
            Self::Base32 => slots.for_each(|(to, of)| base32(u128::from_be_bytes(*of), to)),
            Self::Base62 => {
                slots.for_each(|(to, of)| radix(u128::from_be_bytes(*of), BASE62, 10, to));
            }
            Self::Base64url => slots.for_each(|(to, of)| BASE64URL_NOPAD.encode_mut(of, to)),
            Self::Decimal => {
                slots.for_each(|(to, of)| radix(u128::from_be_bytes(*of), b"0123456789", 19, to));
            }
            Self::Uuid => slots.for_each(|(to, of)| uuid(*of, to)),
        }
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

/// Both signs of ten bits.
static BASE32: [[u8; 2]; 1024] = {
    const SIGNS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut pairs = [[0; 2]; 1024];
    let mut bits = 0;
    while bits < 1024 {
        pairs[bits] = [SIGNS[bits >> 5], SIGNS[bits & 31]];
        bits += 1;
    }
    pairs
};

fn base32(value: u128, out: &mut [u8]) {
    let (high, low) = ((value >> 64) as u64, value as u64);
    let bits = |bits: u64| BASE32[(bits & 1023) as usize];
    let (pairs, _) = out.as_chunks_mut::<2>();
    let [a, b, c, d, e, f, middle, g, h, i, j, k, end] = pairs else { return };
    for (n, pair) in (1..).zip([a, b, c, d, e, f]) {
        *pair = bits(high >> (64 - 10 * n));
    }
    *middle = bits(high << 6 | low >> 58);
    for (n, pair) in (1..).zip([g, h, i, j, k]) {
        *pair = bits(low >> (58 - 10 * n));
    }
    // RFC 4648 section 6: the last quantum is filled with zero bits on the right.
    *end = bits(low << 2);
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

fn uuid(mut token: [u8; 16], out: &mut [u8]) {
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

    fn printed(form: Form, token: [u8; 16]) -> String {
        let mut out = vec![0; form.width()];
        form.print_all(&[token], &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn forms_print_the_same_number() {
        let value = u128::from_be_bytes(*b"\x00\x01douane tokens!");
        let all = |form: Form| printed(form, value.to_be_bytes());
        assert_eq!(all(Form::Base32), BASE32_NOPAD.encode(&value.to_be_bytes()).to_lowercase());
        assert_eq!(all(Form::Decimal), format!("{value:039}"));
        let back = all(Form::Base62).bytes().fold(0_u128, |n, sign| {
            n * 62 + BASE62.iter().position(|s| *s == sign).unwrap() as u128
        });
        assert_eq!(back, value);
        assert_eq!(printed(Form::Base62, [0xff; 16]), "7n42DGM5Tflk9n8mt7Fhc7");
        assert_eq!(printed(Form::Decimal, [0xff; 16]), "340282366920938463463374607431768211455");
        assert_eq!(printed(Form::Uuid, [0xff; 16]), "ffffffff-ffff-8fff-bfff-ffffffffffff");
        assert_eq!(printed(Form::Base32, [0; 16]), "a".repeat(26));
        // Each bit by itself, and tokens side by side.
        let tokens: Vec<[u8; 16]> = (0..128).map(|bit| (1_u128 << bit).to_be_bytes()).collect();
        let mut out = vec![0; 26 * tokens.len()];
        Form::Base32.print_all(&tokens, &mut out);
        for (printed, token) in out.chunks(26).zip(&tokens) {
            assert_eq!(printed, BASE32_NOPAD.encode(token).to_lowercase().as_bytes());
        }
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
            assert_eq!(text, printed(form, [7; 16]));
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
