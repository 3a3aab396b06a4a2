//! National register numbers of Belgium (rijksregisternummer, numéro national).

use super::check::{digits, number, two, whole};
use super::{Edge, Find, Pattern, Spec, Start};

/// Date of birth, a serial number and 97 minus the rest of the first nine digits by 97; from 2000 on a 2
/// stands in front of them in that division. Months raised by 20 or 40 are of BIS numbers (KB/AR of
/// 8 January 1982; KB/AR of 3 April 1984).
pub(super) const SPEC: Spec = Spec {
    name: "be_national",
    mark: "[BE_NATIONAL]",
    summary: "national register numbers of Belgium",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-9]{2}[. \-]?[0-9]{2}[. \-]?[0-9]{2}[ \-]?[0-9]{3}[. \-]?[0-9]{2}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_right),
    }),
    context: None,
    examples: &[
        ("85.07.30-033.28", "[BE_NATIONAL]"),
        ("rijksregister 85.07.30-033.28.", "rijksregister [BE_NATIONAL]."),
        ("85073003328", "[BE_NATIONAL]"),
        ("(71100748392)", "([BE_NATIONAL])"),
        ("49 01 10 228 23", "[BE_NATIONAL]"),
    ],
    refusals: &[
        "85.07.30-033.29",
        "85.13.30-033.28",
        "8507300332",
        "185.07.30-033.28",
        "00000000097",
    ],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<11>(found) else { return false };
    let (body, check) = (number(&digits[..9]), number(&digits[9..]));
    let month = two(&digits, 2) % 20;
    // Where a date is not known, month or day is 0.
    let dated = month <= 12 && two(&digits, 4) <= 31;
    let right = |body: u64| 97 - body % 97 == check;
    dated && (right(body) || right(2_000_000_000 + body)) && body != 0
}
