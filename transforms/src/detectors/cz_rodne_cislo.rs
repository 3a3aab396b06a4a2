//! Birth numbers of Czechia and Slovakia (rodné číslo).

use std::ops::Range;

use super::check::{is_date, is_short_date, number, stands_alone, two};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&["rodné", "rodne", "rodného", "r.č", "r. č", "rč"]);

/// Date of birth, a slash and three or four digits; of ten digits the whole is a multiple of 11. The month
/// of women is raised by 50, of both by 20 where numbers run out; without the slash a word for it must
/// stand near (zákon č. 133/2000 Sb., § 13).
pub(super) const SPEC: Spec = Spec {
    name: "cz_rodne_cislo",
    mark: "[CZ_RODNE_CISLO]",
    summary: "birth numbers of Czechia and Slovakia",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-9]{6}(?:/[0-9]{3,4}|[0-9]{4})",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("710319/2745", "[CZ_RODNE_CISLO]"),
        ("r.č. 710319/2745.", "r.č. [CZ_RODNE_CISLO]."),
        ("rodné číslo 7103192745", "rodné číslo [CZ_RODNE_CISLO]"),
        ("(581204/2148)", "([CZ_RODNE_CISLO])"),
        ("520101/123", "[CZ_RODNE_CISLO]"),
    ],
    refusals: &[
        "order 7103192745",
        "710319/2746",
        "711319/2745",
        "71031/2745",
        "710319/27450",
        "600101/123",
    ],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = &bytes[range.clone()];
    let digits: Vec<u8> =
        found.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect();
    let (year, month, day) = (two(&digits, 0), two(&digits, 2), two(&digits, 4));
    let month = if month > 50 { month - 50 } else { month };
    let month = if month > 20 { month - 20 } else { month };
    let right = match digits.len() {
        // Before 1954 there was no check digit.
        9 => is_date(1900 + year, month, day) && year < 54,
        _ => {
            let whole = number(&digits);
            let tenth = number(&digits[..9]) % 11 == 10 && digits[9] == 0;
            is_short_date(year, month, day) && (whole.is_multiple_of(11) || tenth)
        }
    };
    let slash = found[6] == b'/';
    (right && stands_alone(bytes, &range) && (slash || CONTEXT.is_near(bytes, &range)))
        .then_some(range)
}
