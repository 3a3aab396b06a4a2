//! Social security numbers of France (numéro d'inscription au répertoire, NIR).

use super::check::whole;
use super::{Edge, Find, Pattern, Spec, Start};

/// Sex, year, month, département (`2A` and `2B` for Corsica), commune, order, and a key of two
/// digits: 97 minus the rest of the first thirteen by 97, with 19 for `2A` and 18 for `2B`
/// (INSEE, décret n° 82-103). Without the key it is not found.
pub(super) const SPEC: Spec = Spec {
    name: "fr_nir",
    mark: "[FR_NIR]",
    summary: "social security numbers of France, with their key",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?x)[1-478] (?:[\x20.\-]|\xC2\xA0)? [0-9]{2} (?:[\x20.\-]|\xC2\xA0)? [0-9]{2}
            (?:[\x20.\-]|\xC2\xA0)? [0-9][0-9ABab] (?:[\x20.\-]|\xC2\xA0)? [0-9]{3}
            (?:[\x20.\-]|\xC2\xA0)? [0-9]{3} (?:[\x20.\-/]|\xC2\xA0)? [0-9]{2}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_issued),
    }),
    context: None,
    examples: &[
        ("295109912611193", "[FR_NIR]"),
        ("2 95 10 99 126 111 93", "[FR_NIR]"),
        ("NIR 1 84 12 76 451 089 46.", "NIR [FR_NIR]."),
        ("253072B07300470", "[FR_NIR]"),
        ("sécu:253072C07300443 ou 295109912611193", "sécu:253072C07300443 ou [FR_NIR]"),
    ],
    refusals: &[
        "295109912611194",
        "595109912611193",
        "295139912611193",
        "2951099126111",
        "2951099126111930",
        "x295109912611193",
    ],
};

fn is_issued(found: &[u8]) -> bool {
    let mut body = 0_u64;
    let mut count = 0;
    let mut key = 0_u64;
    let mut month = 0;
    for byte in found.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        // The letter is the seventh sign: 2A counts as 19, 2B as 18.
        let digit = match byte {
            b'A' | b'a' if count == 6 && body % 10 == 2 => {
                body -= 1;
                9
            }
            b'B' | b'b' if count == 6 && body % 10 == 2 => {
                body -= 1;
                8
            }
            b'0'..=b'9' => u64::from(byte - b'0'),
            _ => return false,
        };
        match count {
            3 | 4 => {
                month = month * 10 + digit;
                body = body * 10 + digit;
            }
            0..13 => body = body * 10 + digit,
            _ => key = key * 10 + digit,
        }
        count += 1;
    }
    // Beyond 12: months that are not known.
    let plausible = matches!(month, 1..=12 | 20..=42 | 50..=99);
    count == 15 && plausible && key == 97 - body % 97
}
