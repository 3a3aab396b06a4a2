//! Citizen service numbers of the Netherlands (burgerservicenummer, BSN).

use super::check::{digits, one_digit, weighted, whole};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&["bsn", "burgerservice", "sofi"]);

/// Nine digits that weighted 9 to 2 and -1 give a multiple of 11, near a word for it: one number in
/// eleven is right (Besluit burgerservicenummer; RvIG, "elfproef").
pub(super) const SPEC: Spec = Spec {
    name: "nl_bsn",
    mark: "[NL_BSN]",
    summary: "citizen service numbers of the Netherlands, near a word for it",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-9]{3,4}[. ]?[0-9]{2,3}[. ]?[0-9]{3}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| {
            whole(bytes, range, is_right).filter(|found| CONTEXT.is_near(bytes, found))
        },
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("BSN 111222333", "BSN [NL_BSN]"),
        ("bsn: 1112.22.333.", "bsn: [NL_BSN]."),
        ("burgerservicenummer 214285108", "burgerservicenummer [NL_BSN]"),
        ("(BSN:286074333)", "(BSN:[NL_BSN])"),
        ("sofinummer 299 123 741", "sofinummer [NL_BSN]"),
    ],
    refusals: &[
        "order 111222333",
        "BSN 111222334",
        "BSN 11122233",
        "BSN 1112223330",
        "BSN 000000000",
    ],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<9>(found) else { return false };
    // 10 is -1 modulo 11.
    let sum = weighted(&digits, &[9, 8, 7, 6, 5, 4, 3, 2, 10]);
    sum.is_multiple_of(11) && !one_digit(&digits)
}
