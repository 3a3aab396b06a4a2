//! Tax identification numbers of Germany (steuerliche Identifikationsnummer).

use super::check::{digits, mod_11_10, whole};
use super::{Edge, Find, Pattern, Spec, Start};

/// Eleven digits, none 0 in front. Of the first ten exactly one stands twice or three times, the
/// others once at most; the last is a check digit by ISO/IEC 7064 mod 11,10 (§ 139b AO; BZSt,
/// "Steuerliche Identifikationsnummer", structure since 2016).
pub(super) const SPEC: Spec = Spec {
    name: "de_steuer_id",
    mark: "[DE_STEUER_ID]",
    summary: "tax identification numbers of Germany",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[1-9][0-9](?:[ /]?[0-9]{3}){3}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_issued),
    }),
    context: None,
    examples: &[
        ("36574261809", "[DE_STEUER_ID]"),
        ("IdNr. 36 574 261 809.", "IdNr. [DE_STEUER_ID]."),
        ("Steuer-ID:86095742719", "Steuer-ID:[DE_STEUER_ID]"),
        ("(47036892816)", "([DE_STEUER_ID])"),
        ("65 929 970 489", "[DE_STEUER_ID]"),
    ],
    refusals: &[
        "36574261808",
        "06574261809",
        "12345678901",
        "11111111111",
        "365742618090",
        "36574261809-1",
    ],
};

fn is_issued(found: &[u8]) -> bool {
    let Some(digits) = digits::<11>(found) else { return false };
    let count = |digit: u8| digits[..10].iter().filter(|other| **other == digit).count();
    let repeated: Vec<usize> = (0..10).map(count).filter(|count| *count > 1).collect();
    matches!(repeated[..], [2 | 3]) && mod_11_10(&digits)
}
