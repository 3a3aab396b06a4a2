//! Searches bytes for raw values, in the forms in which a value could have slipped out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Many texts, looked for at once by their first eight bytes.
pub struct Scanner {
    /// First eight bytes → every searched text that begins with them, and which secret it stands for.
    begins: HashMap<u64, Vec<Searched>>,
    sieve: Vec<u64>,
}

/// The bytes, which secret they stand for, and in which form.
type Searched = (Vec<u8>, usize, &'static str);

/// A secret was found: which, in which form, where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    pub place: String,
    pub secret: usize,
    pub form: &'static str,
}

const SIEVE_BITS: u64 = 1 << 22;

impl Scanner {
    /// Each secret is at least eight bytes long.
    pub fn new(secrets: &[String]) -> Self {
        let mut scanner = Self {
            begins: HashMap::new(),
            sieve: vec![0; usize::try_from(SIEVE_BITS / 64).expect("a size")],
        };
        for (index, secret) in secrets.iter().enumerate() {
            for (form, bytes) in forms(secret) {
                scanner.add(bytes, index, form);
            }
        }
        scanner
    }

    fn add(&mut self, bytes: Vec<u8>, secret: usize, form: &'static str) {
        if bytes.len() < 8 {
            return;
        }
        let begin = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        let bit = slot(begin);
        self.sieve[usize::try_from(bit / 64).expect("an index")] |= 1 << (bit % 64);
        let list = self.begins.entry(begin).or_default();
        if !list.iter().any(|(known, _, _)| *known == bytes) {
            list.push((bytes, secret, form));
        }
    }

    /// Every secret in the bytes, once a form.
    pub fn scan(&self, place: &str, bytes: &[u8]) -> Vec<Leak> {
        let mut found = Vec::new();
        for at in 0..bytes.len().saturating_sub(7) {
            let begin = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            let bit = slot(begin);
            if self.sieve[(bit / 64) as usize] >> (bit % 64) & 1 == 0 {
                continue;
            }
            let Some(list) = self.begins.get(&begin) else { continue };
            for (text, secret, form) in list {
                if bytes[at..].starts_with(text) {
                    found.push(Leak { place: place.to_owned(), secret: *secret, form });
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Every file below a path.
    pub fn scan_files(&self, root: &Path) -> (Vec<Leak>, usize) {
        let (mut found, mut files) = (Vec::new(), 0);
        for file in files_below(root) {
            if let Ok(bytes) = std::fs::read(&file) {
                files += 1;
                found.extend(self.scan(&file.display().to_string(), &bytes));
            }
        }
        (found, files)
    }
}

pub fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()),
            );
        } else if path.is_file() {
            files.push(path);
        }
    }
    files
}

fn slot(begin: u64) -> u64 {
    begin.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 42
}

/// The ways in which a text could be written.
fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let utf16 = |to: fn(u16) -> [u8; 2]| secret.encode_utf16().flat_map(to).collect::<Vec<u8>>();
    let digits: String = secret.chars().filter(char::is_ascii_digit).collect();
    let mut all = vec![
        ("plain", bytes.to_vec()),
        ("lower case", secret.to_lowercase().into_bytes()),
        ("upper case", secret.to_uppercase().into_bytes()),
        ("hex", hex.clone().into_bytes()),
        ("upper hex", hex.to_uppercase().into_bytes()),
        ("utf-16le", utf16(u16::to_le_bytes)),
        ("utf-16be", utf16(u16::to_be_bytes)),
        ("reversed", secret.chars().rev().collect::<String>().into_bytes()),
        ("url", url(secret).into_bytes()),
    ];
    // a shorter run of digits is found by chance in offsets and times
    if digits.len() >= 11 {
        all.push(("digits only", digits.into_bytes()));
    }
    for shift in 0..3 {
        all.push(("base64", base64_inner(bytes, shift)));
    }
    all
}

fn url(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                (b as char).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// The base64 characters that only the secret decides when it begins `shift` bytes into a group of three.
fn base64_inner(bytes: &[u8], shift: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut padded = vec![0; shift];
    padded.extend(bytes);
    let whole = padded.len() / 3 * 3;
    let mut out = Vec::new();
    for group in padded[..whole].chunks(3) {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for place in [18, 12, 6, 0] {
            out.push(ALPHABET[(bits >> place & 63) as usize]);
        }
    }
    let unsure = match shift {
        0 => 0,
        1 => 2,
        _ => 3,
    };
    out.split_off(unsure.min(out.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_planted_secret_is_found() {
        let secrets = vec!["ada.berg7@example.com".to_owned(), "+491512345678".to_owned()];
        let scanner = Scanner::new(&secrets);
        for (index, secret) in secrets.iter().enumerate() {
            for (form, bytes) in forms(secret) {
                let mut haystack = b"....".to_vec();
                haystack.extend(bytes);
                haystack.extend(b"....");
                let found = scanner.scan("here", &haystack);
                assert!(found.iter().any(|leak| leak.secret == index), "{form} of secret {index}");
            }
        }
        assert_eq!(
            scanner.scan("here", b"nothing of it: ada.berg8@example.com +4915123456"),
            vec![]
        );
    }
}
