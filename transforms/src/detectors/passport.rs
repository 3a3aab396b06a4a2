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
/// and check digits stand in the machine-readable zone only (ICAO Doc 9303-4). Germany's have nine
/// signs, drawn from digits and consonants: few of them, or none, may be digits (PassV).
pub(super) const SPEC: Spec = Spec {
    name: "passport",
    mark: "[PASSPORT]",
    summary: "numbers of passports, near a word for them",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[A-Za-z]{0,3}[0-9][0-9A-Za-z]{5,9}|[CFGHJK][0-9CFGHJKLMNPRTV-Z]{8}",
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
        ("passport no. CYRFP9M1R", "passport no. [PASSPORT]"),
        ("Reisepass CLLPRTYKM", "Reisepass [PASSPORT]"),
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
    let german = || {
        let sign = |byte: &u8| byte.is_ascii_digit() || b"CFGHJKLMNPRTVWXYZ".contains(byte);
        found.len() == 9 && b"CFGHJK".contains(&found[0]) && found.iter().all(sign)
    };
    match found.len() {
        6 => digits >= 5,
        7..=10 => digits >= 3 || german(),
        _ => false,
    }
}
