//! Payment card numbers.

use std::ops::Range;

use super::{Needs, Spec, whole_groups};

/// 13 to 19 digits (ISO/IEC 7812-1), with up to two separators between any two, and a right Luhn
/// digit. Digits to the left and right that belong to other numbers are tried without.
pub const SPEC: Spec = Spec {
    name: "card",
    mark: "[CARD]",
    pattern: r"[1-9](?:(?:[ .\-/]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]){0,2}[0-9]){12,18}",
    needs: Needs { at_sign: false, digits: 13 },
    accept,
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
    ],
    refusals: &[
        "4111111111111112",
        "411111111111",
        "41111111111111111111",
        "2025-10-09 08:53:20.123456",
        "0000000000000000",
        "4111,1111,1111,1111",
        "12 items, 400 g, 2024-01-31",
    ],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let groups = whole_groups(bytes, range);
    for (i, first) in groups.iter().enumerate() {
        if bytes[first.start] == b'0' {
            continue;
        }
        for last in groups[i..].iter().rev() {
            let span = first.start..last.end;
            if luhn(&bytes[span.clone()]) {
                return Some(span);
            }
        }
    }
    None
}

/// ISO/IEC 7812-1 annex B over the digits of `bytes`, of which there must be 13 to 19.
fn luhn(bytes: &[u8]) -> bool {
    let mut count = 0_u32;
    let mut sum = 0_u32;
    for byte in bytes.iter().rev().filter(|byte| byte.is_ascii_digit()) {
        let digit = u32::from(byte - b'0');
        sum += match (count % 2, digit) {
            (0, digit) => digit,
            (_, 0..=4) => 2 * digit,
            _ => 2 * digit - 9,
        };
        count += 1;
    }
    (13..=19).contains(&count) && sum.is_multiple_of(10)
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
