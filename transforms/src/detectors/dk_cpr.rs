//! Personal numbers of Denmark (CPR-nummer).

use std::ops::Range;

use super::check::{digits, is_short_date, stands_alone, two};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&["cpr", "personnummer", "person nr"]);

/// Date of birth and four digits. There is no check digit any more since 2007, so without a hyphen a word
/// for it must stand near (CPR-kontoret, "Personnummeret i CPR").
pub(super) const SPEC: Spec = Spec {
    name: "dk_cpr",
    mark: "[DK_CPR]",
    summary: "personal numbers of Denmark",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-3][0-9][01][0-9]{3}[\- ]?[0-9]{4}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("211062-5629", "[DK_CPR]"),
        ("cpr 211062-5629.", "cpr [DK_CPR]."),
        ("CPR-nr. 2110625629", "CPR-nr. [DK_CPR]"),
        ("(010180-1234)", "([DK_CPR])"),
        ("personnummer 211062 5629", "personnummer [DK_CPR]"),
    ],
    refusals: &[
        "order 2110625629",
        "321062-5629",
        "211362-5629",
        "21106-5629",
        "211062-56290",
        "12-211062-5629",
    ],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = &bytes[range.clone()];
    let digits = digits::<10>(found)?;
    let dated = is_short_date(two(&digits, 4), two(&digits, 2), two(&digits, 0));
    let hyphen = found[6] == b'-';
    (dated && stands_alone(bytes, &range) && (hyphen || CONTEXT.is_near(bytes, &range)))
        .then_some(range)
}
