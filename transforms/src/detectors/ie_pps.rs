//! Personal public service numbers of Ireland (PPS).

use super::check::{digits, weighted, whole};
use super::{Edge, Find, Pattern, Spec, Start};

/// Seven digits, a check letter modulo 23, and since 2013 a second letter that is weighted by 9 (Social
/// Welfare Consolidation Act 2005, s. 262; Revenue, "Format of PPSN").
pub(super) const SPEC: Spec = Spec {
    name: "ie_pps",
    mark: "[IE_PPS]",
    summary: "personal public service numbers of Ireland",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?i)[0-9]{7}[A-W][A-IW]?",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_right),
    }),
    context: None,
    examples: &[
        ("6433435F", "[IE_PPS]"),
        ("PPS 6433435F.", "PPS [IE_PPS]."),
        ("4325281i", "[IE_PPS]"),
        ("(2214478Q)", "([IE_PPS])"),
        ("PPSN:0089085L", "PPSN:[IE_PPS]"),
        ("6433435OA", "[IE_PPS]"),
    ],
    refusals: &["6433435E", "643343F", "16433435F", "6433435FX", "6433435-F"],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<7>(found) else { return false };
    let letter = |at: usize| found.get(at).map(u8::to_ascii_uppercase);
    let second = match letter(8) {
        None | Some(b'W') => 0,
        Some(letter) => u32::from(letter - b'A' + 1),
    };
    let rest = (weighted(&digits, &[8, 7, 6, 5, 4, 3, 2]) + 9 * second) % 23;
    letter(7) == Some(b"WABCDEFGHIJKLMNOPQRSTUV"[rest as usize])
}
