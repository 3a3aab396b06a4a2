//! PESEL numbers of Poland.

use super::check::{digits, is_date, two, weighted, whole};
use super::{Edge, Find, Pattern, Spec, Start};

/// Date of birth, a serial number and a check digit with weights 1, 3, 7 and 9; the century is added to
/// the month: 80 for 1800, 20 for 2000 and so on (Ustawa o ewidencji ludności, 2010, art. 15; gov.pl,
/// "Czym jest numer PESEL").
pub(super) const SPEC: Spec = Spec {
    name: "pl_pesel",
    mark: "[PL_PESEL]",
    summary: "PESEL numbers of Poland",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-9]{11}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_right),
    }),
    context: None,
    examples: &[
        ("44051401359", "[PL_PESEL]"),
        ("PESEL: 44051401359.", "PESEL: [PL_PESEL]."),
        ("pesel 42100881967", "pesel [PL_PESEL]"),
        ("(53110990314)", "([PL_PESEL])"),
        ("nr 36072873561;", "nr [PL_PESEL];"),
    ],
    refusals: &["44051401358", "44131401359", "4405140135", "440514013590", "44053201359"],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<11>(found) else { return false };
    let sum = weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]);
    let (century, month) = (two(&digits, 2) / 20, two(&digits, 2) % 20);
    let year = two(&digits, 0) + [1900, 2000, 2100, 2200, 1800][century as usize % 5];
    sum.is_multiple_of(10) && is_date(year, month, two(&digits, 4))
}
