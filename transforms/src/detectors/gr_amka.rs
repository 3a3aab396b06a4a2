//! Social security numbers of Greece (AMKA).

use super::check::{digits, is_short_date, luhn, two, whole};
use super::{Edge, Find, Pattern, Spec, Start};

/// Date of birth, a serial number and Luhn's check digit (ν. 3655/2008, article 153; amka.gr).
pub(super) const SPEC: Spec = Spec {
    name: "gr_amka",
    mark: "[GR_AMKA]",
    summary: "social security numbers of Greece",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-3][0-9]{10}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_right),
    }),
    context: None,
    examples: &[
        ("01013099997", "[GR_AMKA]"),
        ("ΑΜΚΑ 01013099997.", "ΑΜΚΑ [GR_AMKA]."),
        ("amka:26066790218", "amka:[GR_AMKA]"),
        ("(24047486592)", "([GR_AMKA])"),
        ("27125328628;", "[GR_AMKA];"),
    ],
    refusals: &["01013099998", "01133099997", "0101309999", "010130999970", "32013099997"],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<11>(found) else { return false };
    luhn(&digits) && is_short_date(two(&digits, 4), two(&digits, 2), two(&digits, 0))
}
