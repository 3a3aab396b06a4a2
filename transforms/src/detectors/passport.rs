//! Numbers of passports.

use super::check::whole;
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&[
    "passport",
    "reisepass",
    "pass-nr",
    "passnummer",
    "passeport",
    "pasaporte",
    "passaporto",
    "paspoort",
    "paszport",
    "passaporte",
    "passnr",
    "pass no",
    "travel document",
]);

/// Six to nine letters and digits, with digits, near a word for it: the forms of the states differ,
/// and check digits stand in the machine-readable zone only (ICAO Doc 9303-4).
pub(super) const SPEC: Spec = Spec {
    name: "passport",
    mark: "[PASSPORT]",
    summary: "numbers of passports, near a word for them",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[A-Za-z]{0,3}[0-9][0-9A-Za-z]{5,9}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| {
            whole(bytes, range, is_number).filter(|found| CONTEXT.is_near(bytes, found))
        },
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("passport C01X00T47", "passport [PASSPORT]"),
        ("Passport no. 123456789.", "Passport no. [PASSPORT]."),
        ("Reisepass: C4VWX01TZ", "Reisepass: [PASSPORT]"),
        ("n° de passeport 12AB34567", "n° de passeport [PASSPORT]"),
        ("paszport ZS0000177", "paszport [PASSPORT]"),
        ("AAB123456 (pasaporte)", "[PASSPORT] (pasaporte)"),
    ],
    refusals: &[
        "order C01X00T47",
        "passport office",
        "passport 12345",
        "passport 1234567890123",
        "passports issued in 2024",
        "passport applications",
    ],
};

fn is_number(found: &[u8]) -> bool {
    let digits = found.iter().filter(|byte| byte.is_ascii_digit()).count();
    (7..=10).contains(&found.len()) && digits >= 3 || found.len() == 6 && digits >= 5
}
