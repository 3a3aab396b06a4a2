//! Social security numbers of Switzerland (AHV, AVS).

use super::check::{digits, weighted, whole};
use super::{Edge, Find, Pattern, Spec, Start};

/// 756, nine digits and the check digit of EAN-13 (AHVV art. 133; ZAS, "AHV-Nummer").
pub(super) const SPEC: Spec = Spec {
    name: "ch_ahv",
    mark: "[CH_AHV]",
    summary: "social security numbers of Switzerland",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"756[. ]?[0-9]{4}[. ]?[0-9]{4}[. ]?[0-9]{2}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_right),
    }),
    context: None,
    examples: &[
        ("756.9217.0769.85", "[CH_AHV]"),
        ("AHV 756.9217.0769.85,", "AHV [CH_AHV],"),
        ("7569217076985", "[CH_AHV]"),
        ("756 9217 0769 85", "[CH_AHV]"),
        ("(7565696990880)", "([CH_AHV])"),
    ],
    refusals: &[
        "756.9217.0769.84",
        "757.9217.0769.85",
        "756.9217.0769",
        "1756.9217.0769.85",
        "756.9217.0769.850",
    ],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<13>(found) else { return false };
    weighted(&digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}
