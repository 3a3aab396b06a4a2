//! National identity numbers of Spain: DNI, and NIE of foreigners.

use std::ops::Range;

use super::check::{number, stands_alone};
use super::{Edge, Find, Pattern, Spec, Start};

/// Eight digits, or X, Y or Z and seven, and a letter: the rest of the number by 23, X, Y and Z as
/// 0, 1 and 2 (Real Decreto 1553/2005; Ministerio del Interior, "Cálculo del dígito de control").
pub(super) const SPEC: Spec = Spec {
    name: "es_dni",
    mark: "[ES_DNI]",
    summary: "identity numbers of Spain: DNI and NIE",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?i)(?:[0-9]{8}|[0-9]{2}\.[0-9]{3}\.[0-9]{3}|[XYZ][ \-]?[0-9]{7})[ \-]?[A-HJ-NP-TV-Z]",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: None,
    examples: &[
        ("54362315K", "[ES_DNI]"),
        ("DNI 54.362.315-K.", "DNI [ES_DNI]."),
        ("54362315-k", "[ES_DNI]"),
        ("NIE: X2482300W", "NIE: [ES_DNI]"),
        ("x-2482300-w", "[ES_DNI]"),
        ("12345678Z", "[ES_DNI]"),
    ],
    refusals: &[
        "54362315Z",
        "X2482300A",
        "5436231K",
        "154362315K",
        "54362315 k items",
        "W2482300W",
    ],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = &bytes[range.clone()];
    let (letter, body) = found.split_last()?;
    // Apart from its number a small letter is a word.
    let apart = body.last() == Some(&b' ') && letter.is_ascii_lowercase();
    let mut digits: Vec<u8> =
        body.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect();
    if let first @ b'X'..=b'Z' = body.first()?.to_ascii_uppercase() {
        digits.insert(0, first - b'X');
    }
    let rest = number(&digits) % 23;
    let right = b"TRWAGMYFPDXBNJZSQVHLCKE"[rest as usize] == letter.to_ascii_uppercase();
    (right && !apart && stands_alone(bytes, &range)).then_some(range)
}
