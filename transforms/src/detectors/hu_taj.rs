//! Social insurance numbers of Hungary (TAJ).

use super::check::{digits, one_digit, weighted, whole};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&["taj"]);

/// Nine digits, the last modulo 10 with weights 3 and 7, near a word for it: one number in ten is right
/// (1996. évi XX. törvény, II. melléklet).
pub(super) const SPEC: Spec = Spec {
    name: "hu_taj",
    mark: "[HU_TAJ]",
    summary: "social insurance numbers of Hungary, near a word for it",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-9]{3}[ \-]?[0-9]{3}[ \-]?[0-9]{3}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| {
            whole(bytes, range, is_right).filter(|found| CONTEXT.is_near(bytes, found))
        },
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("TAJ 123 456 788", "TAJ [HU_TAJ]"),
        ("taj-szám: 123456788.", "taj-szám: [HU_TAJ]."),
        ("TAJ: 123-456-788", "TAJ: [HU_TAJ]"),
        ("(TAJ 111222337)", "(TAJ [HU_TAJ])"),
        ("123456788 (TAJ)", "[HU_TAJ] (TAJ)"),
    ],
    refusals: &[
        "order 123456788",
        "TAJ 123456789",
        "TAJ 12345678",
        "TAJ 1234567880",
        "TAJ 000000000",
    ],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<9>(found) else { return false };
    let check = weighted(&digits[..8], &[3, 7, 3, 7, 3, 7, 3, 7]) % 10;
    check == u32::from(digits[8]) && !one_digit(&digits)
}
