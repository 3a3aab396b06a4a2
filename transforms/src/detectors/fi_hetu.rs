//! Personal identity codes of Finland (henkilötunnus).

use super::check::{digits, is_short_date, number, two, whole};
use super::{Edge, Find, Pattern, Spec, Start};

/// Date of birth, a sign for the century, a serial number and a check sign: the nine digits by 31 (Valtioneuvoston
/// asetus 128/2010; further signs for the century since 2023, DVV).
pub(super) const SPEC: Spec = Spec {
    name: "fi_hetu",
    mark: "[FI_HETU]",
    summary: "personal identity codes of Finland",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?i)[0-3][0-9][01][0-9]{3}[+\-A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_right),
    }),
    context: None,
    examples: &[
        ("131052-308T", "[FI_HETU]"),
        ("hetu 131052-308T.", "hetu [FI_HETU]."),
        ("241255-7352", "[FI_HETU]"),
        ("131052-308t", "[FI_HETU]"),
        ("(160356-4003)", "([FI_HETU])"),
    ],
    refusals: &[
        "131052-308U",
        "131352-308T",
        "13105-308T",
        "1131052-308T",
        "131052-308T1",
        "131052/308T",
    ],
};

fn is_right(found: &[u8]) -> bool {
    let Some((check, body)) = found.split_last() else { return false };
    let Some(digits) = digits::<9>(body) else { return false };
    let dated = is_short_date(two(&digits, 4), two(&digits, 2), two(&digits, 0));
    let sign = b"0123456789ABCDEFHJKLMNPRSTUVWXY"[(number(&digits) % 31) as usize];
    dated && check.to_ascii_uppercase() == sign
}
