//! Addresses of crypto currencies: Bitcoin and Ethereum.

use std::ops::Range;

use sha2::{Digest, Sha256};
use tiny_keccak::{Hasher, Keccak};

use super::check::stands_alone;
use super::{Edge, Find, Pattern, Spec, Start};

/// Bitcoin's with the double SHA-256 of Base58Check or the polynomial of Bech32 (BIP 173) and
/// Bech32m (BIP 350); Ethereum's with the checksum in the case of its letters (EIP-55), or in one
/// case throughout.
pub(super) const SPEC: Spec = Spec {
    name: "crypto_address",
    mark: "[CRYPTO_ADDRESS]",
    summary: "addresses of Bitcoin and Ethereum, with their checksums",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?x)[13][1-9A-HJ-NP-Za-km-z]{25,34} | 0x[0-9A-Fa-f]{40}
            | (?i:bc1|tb1)(?:[02-9ac-hj-np-z]{8,87} | [02-9AC-HJ-NP-Z]{8,87})",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: None,
    // The first block's, those of BIP 173 and BIP 350, and those of EIP-55.
    examples: &[
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "[CRYPTO_ADDRESS]"),
        ("to 3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy.", "to [CRYPTO_ADDRESS]."),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "[CRYPTO_ADDRESS]"),
        ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", "[CRYPTO_ADDRESS]"),
        ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "[CRYPTO_ADDRESS]"),
        ("eth:0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "eth:[CRYPTO_ADDRESS]"),
        ("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "[CRYPTO_ADDRESS]"),
    ],
    refusals: &[
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
        "a1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
        "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNL",
    ],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = &bytes[range.clone()];
    let right = match found {
        [b'0', b'x', digits @ ..] => is_eip_55(digits),
        [b'1' | b'3', ..] => is_base58_check(found),
        _ => is_bech32(found),
    };
    (right && stands_alone(bytes, &range)).then_some(range)
}

/// 25 bytes, the last four of which are the first of the double SHA-256 of the others.
fn is_base58_check(text: &[u8]) -> bool {
    const SIGNS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut number = [0_u8; 25];
    for sign in text {
        let Some(value) = SIGNS.iter().position(|other| other == sign) else { return false };
        let mut carry = value as u32;
        for byte in number.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry != 0 {
            return false;
        }
    }
    let (body, check) = number.split_at(21);
    Sha256::digest(Sha256::digest(body)).starts_with(check)
}

/// BIP 173: the polynomial over the expanded prefix and the values is 1, in BIP 350 0x2bc830a3.
fn is_bech32(text: &[u8]) -> bool {
    const SIGNS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let step = |polynomial: u32, value: u32| {
        let top = polynomial >> 25;
        let shifted = (polynomial & 0x01ff_ffff) << 5 ^ value;
        (0..5).filter(|bit| top >> bit & 1 == 1).fold(shifted, |p, bit| p ^ GENERATOR[bit])
    };
    let lower = text.to_ascii_lowercase();
    let (prefix, data) = lower.split_at(2);
    let expanded = prefix.iter().map(|sign| u32::from(sign >> 5)).chain([0]);
    let expanded = expanded.chain(prefix.iter().map(|sign| u32::from(sign & 31)));
    let mut polynomial = expanded.fold(1, step);
    // Behind the separator.
    for sign in &data[1..] {
        let Some(value) = SIGNS.iter().position(|other| other == sign) else { return false };
        polynomial = step(polynomial, value as u32);
    }
    matches!(polynomial, 1 | 0x2bc8_30a3)
}

/// A letter is large where the digit of the Keccak-256 of the small text is 8 or more.
fn is_eip_55(digits: &[u8]) -> bool {
    let lower = digits.to_ascii_lowercase();
    let mixed =
        digits.iter().any(u8::is_ascii_uppercase) && digits.iter().any(u8::is_ascii_lowercase);
    if !mixed {
        return true;
    }
    let mut hash = [0; 32];
    let mut keccak = Keccak::v256();
    keccak.update(&lower);
    keccak.finalize(&mut hash);
    digits.iter().enumerate().all(|(place, sign)| {
        let half = hash[place / 2] >> (4 * (1 - place % 2)) & 15;
        !sign.is_ascii_alphabetic() || sign.is_ascii_uppercase() == (half >= 8)
    })
}
