//! Personal numbers of Romania (cod numeric personal).

use super::check::{digits, is_short_date, two, weighted, whole};
use super::{Edge, Find, Pattern, Spec, Start};

/// Sex and century, date of birth, county, a serial number and a check digit modulo 11, 1 for 10 (Legea
/// nr. 105/1996; HG nr. 1375/2006).
pub(super) const SPEC: Spec = Spec {
    name: "ro_cnp",
    mark: "[RO_CNP]",
    summary: "personal numbers of Romania",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[1-9][0-9]{12}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| whole(bytes, range, is_right),
    }),
    context: None,
    examples: &[
        ("1630615123457", "[RO_CNP]"),
        ("CNP 1630615123457.", "CNP [RO_CNP]."),
        ("cnp:1450814130449", "cnp:[RO_CNP]"),
        ("(2700517390174)", "([RO_CNP])"),
        ("2480324270294;", "[RO_CNP];"),
    ],
    refusals: &[
        "1630615123458",
        "1631315123457",
        "1630615993457",
        "163061512345",
        "16306151234570",
    ],
};

fn is_right(found: &[u8]) -> bool {
    let Some(digits) = digits::<13>(found) else { return false };
    let check = match weighted(&digits[..12], &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11 {
        10 => 1,
        rest => rest,
    };
    let county = matches!(two(&digits, 7), 1..=52 | 70 | 80..=83);
    let dated = is_short_date(two(&digits, 1), two(&digits, 3), two(&digits, 5));
    dated && county && check == u32::from(digits[12])
}
