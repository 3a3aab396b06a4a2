//! VAT identification numbers of the European Union.

use std::ops::Range;

use super::check::{luhn, mod_11_10, number, stands_alone, two, weighted};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&[
    "vat", "ust", "uid", "tva", "iva", "btw", "nip", "moms", "mwst", "dph", "áfa", "pvm", "tax",
]);

/// Two letters of a member state and its form (Council Directive 2006/112/EC, art. 215; European
/// Commission, VIES, "Structure of VAT numbers"). Where the check digits are published (VIES,
/// "Check digits algorithms") they must be right; else a word for it must stand near.
pub(super) const SPEC: Spec = Spec {
    name: "vat_id",
    mark: "[VAT_ID]",
    summary: "VAT identification numbers of the European Union",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?x)(?:AT\x20?U|BE\x20?[01]|BG|CY|CZ|DE|DK|EE|EL|ES|FI|FR|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK)
            (?:[\x20.\-]?[0-9A-Z+*]){7,13}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("DE136695976", "[VAT_ID]"),
        ("USt-IdNr. DE 136 695 976.", "USt-IdNr. [VAT_ID]."),
        ("ATU13585627", "[VAT_ID]"),
        ("FR40303265045", "[VAT_ID]"),
        ("P.IVA IT00743110157", "P.IVA [VAT_ID]"),
        ("NL004495445B01", "[VAT_ID]"),
        ("VAT CY10259033P", "VAT [VAT_ID]"),
    ],
    refusals: &[
        "DE136695975",
        "order CY10259033P",
        "XX136695976",
        "DE13669597",
        "DEPARTMENTS",
        "IT00743110158",
        "ADE136695976",
    ],
};

/// Whether a number is right, or has no check digit that is published.
#[derive(PartialEq, Eq)]
enum Check {
    Right,
    Unknown,
}

/// A match, or as much of it as the state's numbers have.
fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = &bytes[range.clone()];
    let state = [found[0], found[1]];
    let mut signs = Vec::with_capacity(14);
    let mut longest = None;
    for (at, byte) in found.iter().enumerate().skip(2) {
        if b" .-".contains(byte) {
            continue;
        }
        signs.push(*byte);
        let span = range.start..range.start + at + 1;
        let check = check(state, &signs).filter(|_| stands_alone(bytes, &span));
        match check {
            Some(Check::Right) => longest = Some(span),
            Some(Check::Unknown) if CONTEXT.is_before(bytes, &span) => longest = Some(span),
            _ => {}
        }
    }
    longest
}

/// `None` for what is no number of the state.
fn check(state: [u8; 2], signs: &[u8]) -> Option<Check> {
    let digits: Vec<u8> =
        signs.iter().filter(|sign| sign.is_ascii_digit()).map(|sign| sign - b'0').collect();
    let all = digits.len() == signs.len();
    let d = &digits[..];
    let right = match (&state, d.len()) {
        (b"AT", 8) if signs[0] == b'U' && signs.len() == 9 => {
            // Σ of digits in odd places and of the sums of the doubled others, 96 minus it.
            let doubled = |at: usize| u32::from(d[at] / 5 + d[at] * 2 % 10);
            let plain = [0, 2, 4, 6].iter().map(|at| u32::from(d[*at])).sum::<u32>();
            let sum = plain + doubled(1) + doubled(3) + doubled(5);
            (96 - sum) % 10 == u32::from(d[7])
        }
        (b"BE", 10) if all => 97 - number(&d[..8]) % 97 == number(&d[8..]),
        (b"DE", 9) if all && d[0] != 0 => mod_11_10(d),
        (b"DK", 8) if all => weighted(d, &[2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11),
        (b"EE", 9) if all => weighted(d, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10),
        (b"EL", 9) if all => {
            let sum: u32 = (0..8).map(|at| u32::from(d[at]) << (8 - at)).sum();
            sum % 11 % 10 == u32::from(d[8])
        }
        (b"FI", 8) if all => weighted(d, &[7, 9, 10, 5, 8, 4, 2, 1]).is_multiple_of(11),
        (b"FR", 11) if all => {
            let siren = number(&d[2..]);
            (12 + 3 * (siren % 97)) % 97 == number(&d[..2])
        }
        (b"FR", 9 | 10) if signs.len() == 11 => return Some(Check::Unknown),
        (b"HR", 11) if all => mod_11_10(d),
        (b"HU", 8) if all => weighted(d, &[9, 7, 3, 1, 9, 7, 3, 1]).is_multiple_of(10),
        (b"IT", 11) if all => luhn(d) && number(&d[..7]) != 0,
        (b"LU", 8) if all => number(&d[..6]) % 89 == number(&d[6..]),
        (b"NL", 11) if signs.len() == 12 && signs[9] == b'B' => is_dutch(signs, d),
        (b"PL", 10) if all => {
            weighted(&d[..9], &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == u32::from(d[9])
        }
        (b"PT", 9) if all => {
            let rest = (11 - weighted(&d[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11 % 10;
            rest == u32::from(d[8])
        }
        (b"SE", 12) if all => luhn(&d[..10]) && two(d, 10) >= 1,
        (b"SI", 8) if all && d[0] != 0 => {
            let check = 11 - weighted(&d[..7], &[8, 7, 6, 5, 4, 3, 2]) % 11;
            check != 11 && check % 10 == u32::from(d[7])
        }
        // Lengths only.
        (b"BG", 9 | 10)
        | (b"CZ", 8..=10)
        | (b"LT", 9 | 12)
        | (b"LV", 11)
        | (b"MT", 8)
        | (b"SK", 10)
        | (b"RO", 8..=10)
            if all =>
        {
            return Some(Check::Unknown);
        }
        (b"CY", 8) if signs.len() == 9 && !all => return Some(Check::Unknown),
        (b"ES", 7 | 8) if signs.len() == 9 => return Some(Check::Unknown),
        (b"IE", 7) if matches!(signs.len(), 8 | 9) => return Some(Check::Unknown),
        _ => false,
    };
    right.then_some(Check::Right)
}

/// The citizen's or company's number modulo 11, or since 2020 the whole modulo 97.
fn is_dutch(signs: &[u8], d: &[u8]) -> bool {
    let old = weighted(&d[..9], &[9, 8, 7, 6, 5, 4, 3, 2, 10]).is_multiple_of(11);
    let whole = b"NL".iter().chain(signs).fold(0_u64, |rest, sign| match sign {
        b'0'..=b'9' => (rest * 10 + u64::from(sign - b'0')) % 97,
        _ => (rest * 100 + u64::from(sign - b'A') + 10) % 97,
    });
    old || whole == 1
}
