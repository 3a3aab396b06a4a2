//! Looks for markers in bytes, in every form in which a value slips out of programs.

use std::collections::{BTreeSet, HashMap};

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};

/// Patterns are told apart by so many of their first bytes; a shorter one is found by chance.
const BEGIN: usize = 8;
/// A shorter run of digits is found by chance in offsets and times.
const DIGITS_MIN: usize = 11;
/// 512 KiB of bits: most places of most bytes are passed over by one look.
const SIEVE_BITS: u32 = 22;

/// Many markers, looked for at once by how they begin.
pub struct Scanner {
    /// First bytes to the patterns that begin with them: bytes, marker, form.
    begins: HashMap<u64, Vec<Pattern>>,
    sieve: Vec<u64>,
}

type Pattern = (Vec<u8>, usize, &'static str);

impl Scanner {
    /// Markers by their text.
    pub fn new<'a>(markers: impl Iterator<Item = &'a str>) -> Self {
        let mut begins: HashMap<u64, Vec<Pattern>> = HashMap::new();
        let mut sieve = vec![0; 1 << (SIEVE_BITS - 6)];
        for (number, marker) in markers.enumerate() {
            for (form, bytes) in forms(marker) {
                let Some(begin) = begin(&bytes) else { continue };
                let (word, bit) = slot(begin);
                sieve[word] |= bit;
                begins.entry(begin).or_default().push((bytes, number, form));
            }
        }
        Self { begins, sieve }
    }

    /// The markers that stand in these bytes, once a form.
    pub fn scan(&self, bytes: &[u8]) -> BTreeSet<(usize, &'static str)> {
        let mut found = BTreeSet::new();
        for at in 0..bytes.len() {
            let Some(begin) = begin(&bytes[at..]) else { break };
            let (word, bit) = slot(begin);
            if self.sieve[word] & bit == 0 {
                continue;
            }
            let patterns = self.begins.get(&begin).into_iter().flatten();
            let here = patterns.filter(|(pattern, ..)| bytes[at..].starts_with(pattern));
            found.extend(here.map(|(_, marker, form)| (*marker, *form)));
        }
        found
    }
}

fn begin(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<BEGIN>().map(|begin| u64::from_le_bytes(*begin))
}

/// The word of the sieve and the bit in it.
fn slot(begin: u64) -> (usize, u64) {
    // Fibonacci hashing: Knuth, TAOCP vol. 3, 6.4.
    let hash = begin.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SIEVE_BITS);
    ((hash >> 6) as usize, 1 << (hash & 63))
}

/// The ways in which a text may be written.
pub(super) fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = text.as_bytes();
    let utf16 = |to: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to).collect::<Vec<u8>>();
    let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let mut all = vec![
        ("plain", bytes.to_vec()),
        ("lower case", text.to_lowercase().into_bytes()),
        ("upper case", text.to_uppercase().into_bytes()),
        ("JSON-escaped", escaped.into_bytes()),
        ("hex", HEXLOWER.encode(bytes).into_bytes()),
        ("upper hex", HEXUPPER.encode(bytes).into_bytes()),
        ("UTF-16 LE", utf16(u16::to_le_bytes)),
        ("UTF-16 BE", utf16(u16::to_be_bytes)),
        ("reversed", text.chars().rev().collect::<String>().into_bytes()),
        ("URL", url(text).into_bytes()),
    ];
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if digits.len() >= DIGITS_MIN {
        all.push(("digits only", digits.into_bytes()));
    }
    // A whole number in the bytes that Arrow and Avro have for it.
    if let Ok(number) = text.parse::<i64>() {
        all.push(("8 bytes LE", number.to_le_bytes().to_vec()));
        all.push(("8 bytes BE", number.to_be_bytes().to_vec()));
        all.push(("zig-zag", zigzag(number)));
    }
    all.extend((0..3).map(|shift| ("base64", inner_base64(bytes, shift))));
    // One form may be written as another is: the first has the name.
    let mut seen = BTreeSet::new();
    all.retain(|(_, bytes)| seen.insert(bytes.clone()));
    all
}

fn url(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// Avro 1.11, "Primitive types".
fn zigzag(number: i64) -> Vec<u8> {
    let mut rest = (number << 1 ^ number >> 63).cast_unsigned();
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

/// What only the text decides where it begins `shift` bytes into a group of three.
fn inner_base64(bytes: &[u8], shift: usize) -> Vec<u8> {
    let mut padded = vec![0; shift];
    padded.extend(bytes);
    let whole = padded.len() / 3 * 3;
    let unsure = [0, 2, 3][shift];
    BASE64.encode(&padded[..whole]).into_bytes().split_off(unsure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_with_anything_around_it() {
        let markers = ["mkada7f3c91@example.com", "734001000815004711"];
        let scanner = Scanner::new(markers.into_iter());
        for (number, marker) in markers.iter().enumerate() {
            for (form, bytes) in forms(marker) {
                let around = [b"\0..".as_slice(), &bytes, b"..\xff"].concat();
                let found = scanner.scan(&around);
                assert!(found.contains(&(number, form)), "{form} of {marker}");
            }
        }
    }

    /// The oracle's own encoder: any place of the text in a longer one.
    #[test]
    fn base64_of_a_longer_text_is_found() {
        let marker = "mkada7f3c91@example.com";
        let scanner = Scanner::new([marker].into_iter());
        for before in 0..7 {
            let text = format!("{}{marker}xyz", "a".repeat(before));
            let found = scanner.scan(BASE64.encode(text.as_bytes()).as_bytes());
            assert_eq!(found.into_iter().collect::<Vec<_>>(), [(0, "base64")], "{before}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let scanner = Scanner::new(["mkada7f3c91@example.com"].into_iter());
        assert!(scanner.scan(b"mkada7f3c92@example.com").is_empty());
        assert!(scanner.scan(b"").is_empty());
    }

    #[test]
    fn numbers_are_found_in_bytes() {
        let avro = arrow_avro_long(734_001_000_815_004_711);
        let scanner = Scanner::new(["734001000815004711"].into_iter());
        let found: Vec<_> = scanner.scan(&avro).into_iter().collect();
        assert_eq!(found, [(0, "zig-zag")]);
    }

    /// Written by hand from the specification's text: shift, xor, seven bits a byte.
    fn arrow_avro_long(number: i64) -> Vec<u8> {
        let mut left = u128::from(number.unsigned_abs()) * 2;
        let mut out = Vec::new();
        loop {
            let (more, byte) = (left / 128, (left % 128) as u8);
            out.push(if more == 0 { byte } else { byte + 128 });
            if more == 0 {
                return out;
            }
            left = more;
        }
    }
}
