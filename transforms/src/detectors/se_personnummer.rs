//! Personal numbers of Sweden (personnummer, samordningsnummer).

use std::ops::Range;

use super::check::{is_date, is_short_date, luhn, stands_alone, two};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&[
    "personnummer",
    "pnr",
    "person nr",
    "personnr",
    "personal number",
    "samordningsnummer",
    "identitetsnummer",
]);

/// Date of birth, a serial number and Luhn's check digit over ten digits; a day raised by 60 is of a
/// coordination number. With neither a century nor a sign before the last four, near a word for it
/// (Folkbokföringslag 1991:481, § 18; Skatteverket SKV 704).
pub(super) const SPEC: Spec = Spec {
    name: "se_personnummer",
    mark: "[SE_PERSONNUMMER]",
    summary: "personal numbers of Sweden",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?:18|19|20)?[0-9]{6}[\-+]?[0-9]{4}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("890410-0891", "[SE_PERSONNUMMER]"),
        ("pnr 880320-0016.", "pnr [SE_PERSONNUMMER]."),
        ("19880320-0016", "[SE_PERSONNUMMER]"),
        ("198803200016", "[SE_PERSONNUMMER]"),
        ("personnummer 5108032623", "personnummer [SE_PERSONNUMMER]"),
        ("(000425+5816)", "([SE_PERSONNUMMER])"),
    ],
    refusals: &["order 8803200016", "880320-0018", "881320-0016", "88032-0016", "880320-00160"],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = &bytes[range.clone()];
    let all: Vec<u8> =
        found.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect();
    let digits = all.get(all.len().checked_sub(10)?..)?;
    let (year, month, day) = (two(digits, 0), two(digits, 2), two(digits, 4));
    let day = if day > 60 { day - 60 } else { day };
    let dated = match all.len() {
        12 => is_date(100 * two(&all, 0) + year, month, day),
        _ => is_short_date(year, month, day),
    };
    let plain = found.len() == 10;
    let right = dated && luhn(digits) && stands_alone(bytes, &range);
    (right && (!plain || CONTEXT.is_near(bytes, &range))).then_some(range)
}
