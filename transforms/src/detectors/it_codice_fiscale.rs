//! Tax codes of Italy (codice fiscale).

use super::check::whole;
use super::{Edge, Find, Pattern, Spec, Start};

/// Six letters, two digits, a letter for the month, two digits, a letter, three digits and a check
/// letter; where two persons would have one code, letters stand for digits. The check letter: signs
/// in odd and in even places have values of their own, added up modulo 26 (D.M. 23 dicembre 1976,
/// Agenzia delle Entrate).
pub(super) const SPEC: Spec = Spec {
    name: "it_codice_fiscale",
    mark: "[IT_CODICE_FISCALE]",
    summary: "tax codes of persons in Italy",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?i)[A-Z]{3}[ ]?[A-Z]{3}[ ]?[0-9LMNP-V]{2}[A-EHLMPR-T][0-9LMNP-V]{2}[ ]?[A-Z][0-9LMNP-V]{3}[A-Z]",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_right),
    }),
    context: None,
    examples: &[
        ("RCCMNL83S18D969H", "[IT_CODICE_FISCALE]"),
        ("cf: RSSMRA85T10A562S.", "cf: [IT_CODICE_FISCALE]."),
        ("rccmnl83s18d969h", "[IT_CODICE_FISCALE]"),
        ("RCC MNL 83S18 D969H", "[IT_CODICE_FISCALE]"),
        ("(RSSMRA85T10A562S)", "([IT_CODICE_FISCALE])"),
    ],
    refusals: &[
        "RCCMNL83S18D969A",
        "RCCMNL83F18D969H",
        "RCCMNL83S18D969",
        "XRCCMNL83S18D969H",
        "RCCMNL83S18D969H1",
        "abc def ghi jkl mno",
    ],
};

/// Values of 0 to 9, and of A to J, in odd places; then those of K to Z.
const ODD: [u32; 26] =
    [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];

fn is_right(found: &[u8]) -> bool {
    let signs: Vec<u8> =
        found.iter().filter(|byte| **byte != b' ').map(u8::to_ascii_uppercase).collect();
    let Some((check, body)) = signs.split_last() else { return false };
    let value = |sign: u8| match sign {
        b'0'..=b'9' => usize::from(sign - b'0'),
        _ => usize::from(sign - b'A'),
    };
    let sum: u32 = body
        .iter()
        .enumerate()
        .map(|(place, sign)| match place % 2 {
            0 => ODD[value(*sign)],
            _ => value(*sign) as u32,
        })
        .sum();
    body.len() == 15 && sum % 26 == u32::from(check - b'A')
}
