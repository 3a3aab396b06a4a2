//! Payment card numbers.

use std::ops::Range;

use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};
use crate::check_digit::luhn_sum;

static CONTEXT: Context = Context::new(&[
    "card", "cc ", "cc:", "maestro", "karte", "carte", "tarjeta", "carta", "kaart", "kart",
    "cartão", "kort",
]);

/// 13 to 19 digits (ISO/IEC 7812-1), or the 12 of the shortest Maestro cards near a word for a
/// card, with up to two separators between any two, and a right Luhn
/// digit. Digits to the left and right that belong to other numbers are tried without.
pub(super) const SPEC: Spec = Spec {
    name: "card",
    mark: "[CARD]",
    summary: "payment card numbers: 13 to 19 digits with a right Luhn digit, or 12 near a word for a card",
    semantics: 2,
    find: Find::Pattern(Pattern {
        pattern: r"[1-9](?:(?:[ .\-/]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]){0,2}[0-9]){11,18}",
        start: Start::Anywhere,
        not_after: Edge::Digit,
        not_before: Edge::Free,
        accept,
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("4111111111111111", "[CARD]"),
        ("card 4111 1111 1111 1111.", "card [CARD]."),
        ("4111-1111-1111-1111", "[CARD]"),
        ("378282246310005", "[CARD]"),
        ("3782 822463 10005", "[CARD]"),
        ("4222222222222", "[CARD]"),
        ("6304\u{a0}0000\u{a0}0000\u{a0}0000\u{a0}000", "[CARD]"),
        ("no4111111111111111x", "no[CARD]x"),
        ("99 4111111111111111 4", "99 [CARD] 4"),
        ("my card 630400000000", "my card [CARD]"),
    ],
    refusals: &[
        "4111111111111112",
        "411111111111",
        "order 630400000000",
        "41111111111111111111",
        "2025-10-09 08:53:20.123456",
        "0000000000000000",
        "4111,1111,1111,1111",
        "12 items, 400 g, 2024-01-31",
    ],
};

/// The longest run of whole digit groups from the match's start that is a card number. It may end
/// beyond the match, which digits of another number in front have made too short.
fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let start = range.start;
    if start > 0 && bytes[start - 1].is_ascii_digit() {
        return None;
    }
    let (mut at, mut digits, mut longest) = (start, 0, None);
    while digits <= 19 {
        let group = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if group == 0 {
            break;
        }
        digits += group;
        at += group;
        let short = digits == 12;
        if luhn(&bytes[start..at]) && !(short && !CONTEXT.is_before(bytes, &range)) {
            longest = Some(start..at);
        }
        at += separators(&bytes[at..]);
    }
    longest
}

/// Bytes of the separators at the start, at most two of them.
fn separators(bytes: &[u8]) -> usize {
    let one = |bytes: &[u8]| match bytes {
        [b' ' | b'.' | b'-' | b'/', ..] => 1,
        [0xc2, 0xa0, ..] => 2,
        [0xe2, 0x80, 0x90 | 0x91 | 0x93 | 0xaf, ..] => 3,
        _ => 0,
    };
    let first = one(bytes);
    first + one(&bytes[first..])
}

/// ISO/IEC 7812-1 annex B over the digits of `bytes`, of which there must be 12 to 19.
fn luhn(bytes: &[u8]) -> bool {
    let digits = || bytes.iter().rev().filter(|byte| byte.is_ascii_digit()).map(|b| b - b'0');
    (12..=19).contains(&digits().count()) && luhn_sum(digits()).is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::luhn;

    #[test]
    fn every_single_digit_error_is_seen() {
        let right = *b"4111111111111111";
        assert!(luhn(&right));
        for at in 0..right.len() {
            for digit in b'0'..=b'9' {
                let mut other = right;
                other[at] = digit;
                assert_eq!(luhn(&other), digit == right[at]);
            }
        }
    }
}
