//! Personal identification numbers of Croatia (OIB).

use super::check::{digits, mod_11_10, one_digit, whole};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&["oib", "osobni identifikacijski"]);

/// Eleven digits, the last by ISO/IEC 7064 mod 11,10, near a word for it: one number in ten is right
/// (Zakon o osobnom identifikacijskom broju, NN 60/08).
pub(super) const SPEC: Spec = Spec {
    name: "hr_oib",
    mark: "[HR_OIB]",
    summary: "personal identification numbers of Croatia, near a word for it",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-9]{11}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| {
            whole(bytes, range, is_right).filter(|found| CONTEXT.is_near(bytes, found))
        },
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("OIB 33392005961", "OIB [HR_OIB]"),
        ("oib: 33392005961.", "oib: [HR_OIB]."),
        ("osobni identifikacijski broj 44262837485", "osobni identifikacijski broj [HR_OIB]"),
        ("(OIB:18227052694)", "(OIB:[HR_OIB])"),
        ("54921970753 (OIB)", "[HR_OIB] (OIB)"),
    ],
    refusals: &[
        "order 33392005961",
        "OIB 33392005962",
        "OIB 3339200596",
        "OIB 333920059610",
        "OIB 00000000000",
    ],
};

fn is_right(found: &[u8]) -> bool {
    digits::<11>(found).is_some_and(|digits| mod_11_10(&digits) && !one_digit(&digits))
}
