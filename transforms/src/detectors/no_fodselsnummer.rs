//! National identity numbers of Norway (fødselsnummer, and D-nummer).

use super::check::{digits, is_short_date, two, weighted, whole};
use super::{Edge, Find, Pattern, Spec, Start};

/// Date of birth, a serial number and two check digits modulo 11. A day raised by 40 is of a D-nummer,
/// a month raised by 40 or 80 of a number that is synthetic or a hospital's (Skatteetaten, "Fødselsnummer";
/// Forskrift til folkeregisterloven § 2-2-1).
pub(super) const SPEC: Spec = Spec {
    name: "no_fodselsnummer",
    mark: "[NO_FODSELSNUMMER]",
    summary: "identity numbers of Norway",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-7][0-9]{5}[ \-]?[0-9]{5}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_right),
    }),
    context: None,
    examples: &[
        ("15108695088", "[NO_FODSELSNUMMER]"),
        ("fnr 151086 95088.", "fnr [NO_FODSELSNUMMER]."),
        ("05075831562", "[NO_FODSELSNUMMER]"),
        ("(07056318709)", "([NO_FODSELSNUMMER])"),
        ("personnummer:24018238663", "personnummer:[NO_FODSELSNUMMER]"),
    ],
    refusals: &["15108695089", "15138695088", "1510869508", "115108695088", "151086-95099"],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<11>(found) else { return false };
    let first = weighted(&digits[..10], &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]);
    let second = weighted(&digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]);
    let (day, month) = (two(&digits, 0) % 40, two(&digits, 2) % 40);
    let dated = is_short_date(two(&digits, 4), month, day);
    first.is_multiple_of(11) && second.is_multiple_of(11) && dated
}
