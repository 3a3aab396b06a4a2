//! Personal codes of Estonia and Lithuania (isikukood, asmens kodas).

use super::check::{digits, is_date, two, weighted, whole};
use super::{Edge, Find, Pattern, Spec, Start};

/// Sex and century, date of birth, a serial number and a check digit modulo 11 with two rows of weights
/// (EVS 585:2007; Lithuania's Gyventojų registro įstatymas uses the same).
pub(super) const SPEC: Spec = Spec {
    name: "ee_isikukood",
    mark: "[EE_ISIKUKOOD]",
    summary: "personal codes of Estonia and Lithuania",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[1-6][0-9]{10}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_right),
    }),
    context: None,
    examples: &[
        ("36805280109", "[EE_ISIKUKOOD]"),
        ("isikukood 36805280109.", "isikukood [EE_ISIKUKOOD]."),
        ("49101170313", "[EE_ISIKUKOOD]"),
        ("(44002069266)", "([EE_ISIKUKOOD])"),
        ("asmens kodas:30602203230", "asmens kodas:[EE_ISIKUKOOD]"),
    ],
    refusals: &["36805280108", "36813280109", "3680528010", "368052801090", "06805280109"],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<11>(found) else { return false };
    let rest = |weights: &[u8]| weighted(&digits[..10], weights) % 11;
    let check = match rest(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) {
        10 => rest(&[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 10,
        rest => rest,
    };
    let century = 1800 + 100 * ((u32::from(digits[0]) - 1) / 2);
    let dated = is_date(century + two(&digits, 1), two(&digits, 3), two(&digits, 5));
    dated && check == u32::from(digits[10])
}
