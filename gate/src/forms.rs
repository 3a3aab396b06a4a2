//! Printable forms of tokens, from their definition: alphabet, length, range, and that no bit is left
//! over. What a reversible token holds cannot be opened here; that it is no plain text can be seen.

/// Printable forms of a 128-bit token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Base32,
    Base62,
    Base64url,
    Uuid,
    Decimal,
}

impl Form {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "base32" => Some(Self::Base32),
            "base62" => Some(Self::Base62),
            "base64url" => Some(Self::Base64url),
            "uuid" => Some(Self::Uuid),
            "decimal" => Some(Self::Decimal),
            _ => None,
        }
    }

    /// Whether it is a token of 128 bits.
    pub(crate) fn holds(self, text: &str) -> bool {
        let bytes = text.as_bytes();
        match self {
            // RFC 4648, lower case, unpadded; the last character carries 3 bits and two zeros.
            Self::Base32 => {
                bytes.len() == 26
                    && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
                    && b"aeimquy4".contains(&bytes[25])
            }
            // Fixed width in an alphabet sorted as ASCII is, so text compares as the number does.
            Self::Base62 => {
                bytes.len() == 22
                    && bytes.iter().all(u8::is_ascii_alphanumeric)
                    && bytes <= BASE62_MAX
            }
            // RFC 4648 section 5, unpadded; the last character carries 2 bits and four zeros.
            Self::Base64url => {
                bytes.len() == 22
                    && bytes.iter().all(|b| BASE64URL.contains(b))
                    && b"AQgw".contains(&bytes[21])
            }
            Self::Decimal => {
                bytes.len() == 39 && bytes.iter().all(u8::is_ascii_digit) && bytes <= DECIMAL_MAX
            }
            // RFC 9562 section 5.8: version 8, variant 0b10.
            Self::Uuid => {
                bytes.len() == 36
                    && bytes.iter().enumerate().all(|(i, b)| match i {
                        8 | 13 | 18 | 23 => *b == b'-',
                        14 => *b == b'8',
                        19 => matches!(b, b'8' | b'9' | b'a' | b'b'),
                        _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
                    })
            }
        }
    }
}

/// 2^128 - 1 in base 62 with the digits `0-9A-Za-z`.
const BASE62_MAX: &[u8] = b"7n42DGM5Tflk9n8mt7Fhc7";
const DECIMAL_MAX: &[u8] = b"340282366920938463463374607431768211455";
const BASE64URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Texts shorter than this stand in others by chance.
const RAW_BYTES_LEAST: usize = 6;
/// Number of the key, and the synthetic IV.
const HEAD_BYTES: usize = 1 + 16;
/// The name of the subject whose key it was, hidden, between the two.
const SUBJECT_BYTES: usize = 16;
/// The largest bucket.
const BUCKET_MAX: usize = 64 << 10;

/// Tokens of a domain that its key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reversible {
    form: Form,
    head_bytes: usize,
    bucket_least: usize,
}

impl Reversible {
    /// `None` for a form of one width, or a bucket that no token has.
    pub(crate) fn new(form: Form, pad_to: u32, per_subject: bool) -> Option<Self> {
        let head_bytes = HEAD_BYTES + if per_subject { SUBJECT_BYTES } else { 0 };
        let bytes = matches!(form, Form::Base32 | Form::Base64url);
        let bucket = pad_to.is_power_of_two() && (16..=4096).contains(&pad_to);
        (bytes && bucket).then_some(Self { form, head_bytes, bucket_least: pad_to as usize })
    }

    /// The token's bytes, where it is one: its alphabet, one of its lengths, no bit left over, and
    /// a key that has a number.
    pub(crate) fn bytes(self, text: &str) -> Option<Vec<u8>> {
        let (signs, bits) = match self.form {
            Form::Base32 => (BASE32, 5),
            _ => (BASE64URL, 6),
        };
        let mut bucket = self.bucket_least;
        while ((self.head_bytes + bucket) * 8).div_ceil(bits) != text.len() {
            bucket *= 2;
            if bucket > BUCKET_MAX {
                return None;
            }
        }
        let mut out = Vec::new();
        let (mut held, mut count) = (0_u32, 0);
        for sign in text.bytes() {
            let value = signs.iter().position(|other| *other == sign)?;
            held = held << bits | value as u32;
            count += bits;
            if count >= 8 {
                count -= 8;
                out.push((held >> count) as u8);
                held &= (1 << count) - 1;
            }
        }
        (held == 0 && out[0] > 0).then_some(out)
    }

    /// Whether the raw text can be read in the token's bytes: then nothing was enciphered.
    pub(crate) fn shows(bytes: &[u8], raw: &str) -> bool {
        let raw = raw.trim().as_bytes();
        raw.len() >= RAW_BYTES_LEAST
            && bytes.windows(raw.len()).any(|window| window.eq_ignore_ascii_case(raw))
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};

    use super::*;

    fn print(form: Form, bytes: &[u8]) -> String {
        match form {
            Form::Base32 => BASE32_NOPAD.encode(bytes).to_lowercase(),
            _ => BASE64URL_NOPAD.encode(bytes),
        }
    }

    #[test]
    fn every_bucket_is_a_length_and_nothing_else_is() {
        for form in [Form::Base32, Form::Base64url] {
            let reversible = Reversible::new(form, 32, false).unwrap();
            let mut taken = Vec::new();
            for count in 0..600 {
                let bytes: Vec<u8> = (0..count).map(|i| 1 + (i % 250) as u8).collect();
                if let Some(found) = reversible.bytes(&print(form, &bytes)) {
                    assert_eq!(found, bytes);
                    taken.push(count - HEAD_BYTES);
                }
            }
            assert_eq!(taken, [32, 64, 128, 256, 512]);
            let most = print(form, &vec![1; HEAD_BYTES + BUCKET_MAX]);
            assert!(reversible.bytes(&most).is_some());
            assert!(
                reversible.bytes(&print(form, &vec![1; HEAD_BYTES + 2 * BUCKET_MAX])).is_none()
            );
        }
    }

    /// A token of one kind is none of the other, whatever its bucket.
    #[test]
    fn a_subjects_token_is_sixteen_bytes_longer() {
        for form in [Form::Base32, Form::Base64url] {
            let of = |per_subject| Reversible::new(form, 16, per_subject).unwrap();
            for bucket in [16, 32, 4096, BUCKET_MAX] {
                let one = print(form, &vec![1; HEAD_BYTES + bucket]);
                let subjects = print(form, &vec![1; HEAD_BYTES + SUBJECT_BYTES + bucket]);
                assert!(of(true).bytes(&subjects).is_some() && of(false).bytes(&one).is_some());
                // 16 bytes more are the next bucket after the least, and of no other.
                assert_eq!(of(true).bytes(&one).is_some(), bucket == 32);
                assert_eq!(of(false).bytes(&subjects).is_some(), bucket == 16);
            }
        }
    }

    #[test]
    fn tokens_bad_sign_bad_bits_bad_key_number_bad_case() {
        for form in [Form::Base32, Form::Base64url] {
            let reversible = Reversible::new(form, 16, false).unwrap();
            let good = print(form, &[7; 33]);
            assert!(reversible.bytes(&good).is_some());
            let bad = |at: usize, sign: &str| {
                let mut text = good.clone();
                text.replace_range(at..=at, sign);
                text
            };
            assert!(reversible.bytes(&bad(5, "=")).is_none());
            assert!(reversible.bytes(&bad(5, "é")).is_none());
            let mut none = [7; 33];
            none[0] = 0;
            assert!(reversible.bytes(&print(form, &none)).is_none());
        }
        // 33 bytes are 52 characters and 4 bits: the last of 53 has one bit too many.
        let reversible = Reversible::new(Form::Base32, 16, false).unwrap();
        let good = print(Form::Base32, &[0x10; 33]);
        assert!(reversible.bytes(&good).is_some() && good.ends_with('a'));
        assert!(reversible.bytes(&format!("{}b", &good[..52])).is_none());
        assert!(reversible.bytes(&good.to_uppercase()).is_none());
    }

    #[test]
    fn shapes_bad_form_bad_padding() {
        assert!(Reversible::new(Form::Base64url, 4096, false).is_some());
        for form in [Form::Uuid, Form::Base62, Form::Decimal] {
            assert!(Reversible::new(form, 16, false).is_none());
        }
        for pad_to in [0, 1, 8, 24, 8192, u32::MAX] {
            assert!(Reversible::new(Form::Base32, pad_to, false).is_none(), "{pad_to}");
        }
    }

    #[test]
    fn a_text_in_the_bytes_is_seen() {
        let mut bytes = vec![7; 33];
        bytes[17..32].copy_from_slice(b"Ada@Example.com");
        assert!(Reversible::shows(&bytes, "ada@example.com "));
        assert!(!Reversible::shows(&bytes, "bob@example.com"));
        assert!(!Reversible::shows(&bytes, "Ada@E"));
    }
}
