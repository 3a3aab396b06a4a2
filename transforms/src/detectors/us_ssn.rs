//! Social Security numbers of the United States.

use std::ops::Range;

use super::check::{digits, number, stands_alone};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&["ssn", "social security", "soc sec", "ss#", "itin"]);

/// Three, two and four digits joined by hyphens; joined otherwise or not at all near a word for it.
/// There is no check digit. Never issued: area 000, 666 and 900 to 999, group 00, serial 0000
/// (20 CFR 422.103; SSA, "Social Security Number Randomization", 2011).
pub(super) const SPEC: Spec = Spec {
    name: "us_ssn",
    mark: "[US_SSN]",
    summary: "Social Security numbers of the United States",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-8][0-9]{2}(?:-[0-9]{2}-|[ .][0-9]{2}[ .]|[0-9]{2})[0-9]{4}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("460-89-9847", "[US_SSN]"),
        ("Here's my SSN: 514-69-0360.", "Here's my SSN: [US_SSN]."),
        ("social security number 514 69 0360", "social security number [US_SSN]"),
        ("ssn=514690360;", "ssn=[US_SSN];"),
        ("(536-90-4399)", "([US_SSN])"),
    ],
    refusals: &[
        "666-69-0360",
        "000-69-0360",
        "514-00-0360",
        "514-69-0000",
        "900-69-0360",
        "ticket 514690360",
        "12-514-69-0360",
        "514-69-0360-1",
        "078-05-1120",
    ],
};

/// Printed in a wallet sold in 1938, and in a leaflet of 1940: not a person's.
const ADVERTISED: [u64; 2] = [78_051_120, 219_099_999];

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = digits::<9>(&bytes[range.clone()])?;
    let (area, group, serial) = (number(&found[..3]), number(&found[3..5]), number(&found[5..]));
    let issued = !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0;
    let issued = issued && !ADVERTISED.contains(&number(&found));
    let hyphens = bytes[range.start + 3] == b'-';
    (issued && stands_alone(bytes, &range) && (hyphens || CONTEXT.is_near(bytes, &range)))
        .then_some(range)
}
