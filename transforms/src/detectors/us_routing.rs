//! Routing numbers of banks in the United States (ABA RTN).

use super::check::{digits, one_digit, two, weighted, whole};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&["routing", "aba", "rtn", "ach "]);

/// Nine digits of a used range, whose sum with the weights 3, 7 and 1 is a multiple of ten, near a word
/// for it: one number in ten is right (ABA Routing Number Policy; Federal Reserve, E-Payments Routing
/// Directory).
pub(super) const SPEC: Spec = Spec {
    name: "us_routing",
    mark: "[US_ROUTING]",
    summary: "routing numbers of banks in the United States, near a word for it",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-9]{4}[ \-]?[0-9]{4}[ \-]?[0-9]",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| {
            whole(bytes, range, is_right).filter(|found| CONTEXT.is_near(bytes, found))
        },
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("routing number 021000021", "routing number [US_ROUTING]"),
        ("ABA: 0210-0002-1.", "ABA: [US_ROUTING]."),
        ("rtn 011103093", "rtn [US_ROUTING]"),
        ("(routing:021938355)", "(routing:[US_ROUTING])"),
        ("120200780 (ABA)", "[US_ROUTING] (ABA)"),
    ],
    refusals: &[
        "order 021000021",
        "routing 021000022",
        "routing 02100002",
        "routing 0210000210",
        "routing 000000000",
    ],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<9>(found) else { return false };
    let used = matches!(two(&digits, 0), 0..=12 | 21..=32 | 61..=72 | 80);
    let sum = weighted(&digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]);
    used && sum.is_multiple_of(10) && !one_digit(&digits)
}
