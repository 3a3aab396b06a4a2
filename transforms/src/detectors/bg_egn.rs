//! Personal numbers of Bulgaria (ЕГН).

use super::check::{digits, is_date, two, weighted, whole};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&["egn", "егн", "ЕГН", "граждански номер"]);

/// Date of birth, a serial number and a check digit modulo 11, near a word for it; months are raised by
/// 20 before 1900 and by 40 from 2000 on (Наредба № РД-02-20-9/2012, ГРАО).
pub(super) const SPEC: Spec = Spec {
    name: "bg_egn",
    mark: "[BG_EGN]",
    summary: "personal numbers of Bulgaria, near a word for it",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-9]{10}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| {
            whole(bytes, range, is_right).filter(|found| CONTEXT.is_near(bytes, found))
        },
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("ЕГН 4608141149", "ЕГН [BG_EGN]"),
        ("EGN: 8406030758.", "EGN: [BG_EGN]."),
        ("egn 4608141149", "egn [BG_EGN]"),
        ("(ЕГН:8406030758)", "(ЕГН:[BG_EGN])"),
        ("6611289475 (ЕГН)", "[BG_EGN] (ЕГН)"),
    ],
    refusals: &[
        "order 4608141149",
        "ЕГН 4608141148",
        "ЕГН 460814114",
        "ЕГН 46081411490",
        "ЕГН 4663141149",
    ],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<10>(found) else { return false };
    let (year, month) = (two(&digits, 0), two(&digits, 2));
    let dated = match month {
        41.. => is_date(2000 + year, month - 40, two(&digits, 4)),
        21..=40 => is_date(1800 + year, month - 20, two(&digits, 4)),
        _ => is_date(1900 + year, month, two(&digits, 4)),
    };
    let check = weighted(&digits[..9], &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10;
    dated && check == u32::from(digits[9])
}
