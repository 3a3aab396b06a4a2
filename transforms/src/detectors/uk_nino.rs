//! National Insurance numbers of the United Kingdom.

use super::check::whole;
use super::{Edge, Find, Pattern, Spec, Start};

/// Two letters, six digits, a letter from A to D. Not used: D, F, I, Q, U and V in either place, O
/// in the second, and seven pairs (HMRC, National Insurance Manual, NIM39110). There is no check
/// digit.
pub(super) const SPEC: Spec = Spec {
    name: "uk_nino",
    mark: "[UK_NINO]",
    summary: "National Insurance numbers of the United Kingdom",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?i)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ \-]?(?:[0-9]{2}[ \-]?){3}[A-D]",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_issued),
    }),
    context: None,
    examples: &[
        ("AB123456C", "[UK_NINO]"),
        ("NI number AB 12 34 56 C.", "NI number [UK_NINO]."),
        ("ab123456a", "[UK_NINO]"),
        ("(JG-10-37-59-A)", "([UK_NINO])"),
        ("NINO:PX123456D", "NINO:[UK_NINO]"),
    ],
    refusals: &[
        "QQ123456C",
        "DA123456C",
        "AO123456C",
        "BG123456C",
        "ZZ123456C",
        "AB123456E",
        "AB12345C",
        "XAB123456C",
    ],
};

fn is_issued(found: &[u8]) -> bool {
    const NOT_USED: [&[u8; 2]; 7] = [b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"];
    let pair = [found[0].to_ascii_uppercase(), found[1].to_ascii_uppercase()];
    !NOT_USED.contains(&&pair)
}
