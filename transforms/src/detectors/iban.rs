//! International bank account numbers.

use std::ops::Range;

use super::{Edge, Find, Pattern, Spec, Start};

/// Two letters of a country in the registry, two check digits, as many letters and digits as the
/// country's numbers have, with up to two separators between any two; ISO 7064 mod 97-10 must
/// hold. Without that check every article number that starts like a country would be taken; the
/// price is that a mistyped number is not found.
pub(super) const SPEC: Spec = Spec {
    name: "iban",
    mark: "[IBAN]",
    summary: "international bank account numbers: country, its length, right check digits (mod 97)",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[A-Za-z]{2}[0-9]{2}(?:(?:[ .\-/]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]){0,2}[A-Za-z0-9]){11,29}",
        start: Start::Anywhere,
        not_after: Edge::Free,
        not_before: Edge::Free,
        accept,
    }),
    context: None,
    examples: &[
        ("DE89370400440532013000", "[IBAN]"),
        ("to DE89 3704 0044 0532 0130 00 please", "to [IBAN] please"),
        ("GB82 WEST 1234 5698 7654 32", "[IBAN]"),
        ("fr1420041010050500013m02606", "[IBAN]"),
        ("IBAN:NO9386011117947.", "IBAN:[IBAN]."),
        ("IBANDE89370400440532013000", "IBAN[IBAN]"),
        ("MT84MALT011000012345MTLCAST001S", "[IBAN]"),
        ("LC55HEMM000100010012001200023015", "[IBAN]"),
        ("CH93-0076-2011-6238-5295-7", "[IBAN]"),
        ("BE68\u{a0}5390\u{a0}0754\u{a0}7034", "[IBAN]"),
    ],
    refusals: &[
        "DE88370400440532013000",
        "DE8937040044053201300",
        "XX89370400440532013000",
        "AB12 and then some more words follow",
        "in20 minutes or so we will be there again",
        "DE89",
    ],
};

/// Characters of a country's IBAN: SWIFT IBAN registry, release 99.
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let country = bytes.get(range.start..range.start + 2)?.to_ascii_uppercase();
    let (_, length) = LENGTHS.iter().find(|(code, _)| code[..] == country)?;
    let mut compact = Vec::with_capacity(*length);
    for at in range.clone() {
        if bytes[at].is_ascii_alphanumeric() {
            compact.push(bytes[at].to_ascii_uppercase());
            if compact.len() == *length {
                return mod_97(&compact).then_some(range.start..at + 1);
            }
        }
    }
    None
}

/// ISO 7064 mod 97-10: the first four characters moved to the end, letters as 10 to 35, is 1.
fn mod_97(compact: &[u8]) -> bool {
    let (head, tail) = compact.split_at(4);
    let rest = tail.iter().chain(head).fold(0_u32, |rest, sign| match sign {
        b'0'..=b'9' => (rest * 10 + u32::from(sign - b'0')) % 97,
        _ => (rest * 100 + u32::from(sign - b'A') + 10) % 97,
    });
    rest == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_lies_in_the_pattern() {
        assert_eq!(LENGTHS.len(), 89);
        assert!(LENGTHS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(LENGTHS.iter().all(|(_, length)| (15..=33).contains(length)));
    }

    #[test]
    fn every_swap_of_neighbours_and_every_digit_error_is_seen() {
        let right = *b"DE89370400440532013000";
        assert!(mod_97(&right));
        for at in 2..right.len() {
            for digit in b'0'..=b'9' {
                let mut other = right;
                other[at] = digit;
                assert_eq!(mod_97(&other), digit == right[at]);
            }
        }
        for at in 4..right.len() - 1 {
            let mut other = right;
            other.swap(at, at + 1);
            assert_eq!(mod_97(&other), other == right);
        }
    }
}
