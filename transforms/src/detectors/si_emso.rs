//! Personal numbers of Slovenia and other states of former Yugoslavia (EMŠO, JMBG).

use super::check::{digits, is_date, two, weighted, whole};
use super::{Edge, Find, Pattern, Spec, Start};

/// Date of birth, region, a serial number and a check digit modulo 11 (Uredba o načinu oblikovanja
/// EMŠO, Uradni list RS 8/1999).
pub(super) const SPEC: Spec = Spec {
    name: "si_emso",
    mark: "[SI_EMSO]",
    summary: "personal numbers of Slovenia and its neighbours",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-3][0-9]{12}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_right),
    }),
    context: None,
    examples: &[
        ("0101006500006", "[SI_EMSO]"),
        ("EMŠO 0101006500006.", "EMŠO [SI_EMSO]."),
        ("jmbg:2805958507734", "jmbg:[SI_EMSO]"),
        ("(2009950500705)", "([SI_EMSO])"),
        ("2603970505540;", "[SI_EMSO];"),
    ],
    refusals: &[
        "0101006500007",
        "0113006500006",
        "010100650000",
        "01010065000060",
        "3201006500006",
    ],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<13>(found) else { return false };
    let rest = weighted(&digits[..12], &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    // The year has three digits.
    let year = 10 * two(&digits, 4) + u32::from(digits[6]);
    let year = year + if year < 800 { 2000 } else { 1000 };
    let dated = is_date(year, two(&digits, 2), two(&digits, 0));
    dated && (11 - rest) % 11 % 10 == u32::from(digits[12])
}
