//! Numbers of driver's licences in the United States.

use super::check::whole;
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&[
    "driver's license",
    "driver\u{2019}s license",
    "drivers license",
    "driver license",
    "driver's licence",
    "driving licence",
    "dl#",
    "dl number",
    "dl no",
    "dln",
]);

/// One or more letters and six to fourteen digits, or seven to fourteen digits, near a word for it
/// (AAMVA, "Driver License/Identification Card Design Standard"; the states' own forms).
pub(super) const SPEC: Spec = Spec {
    name: "us_driver_license",
    mark: "[US_DRIVER_LICENSE]",
    summary: "numbers of driver's licences in the United States, near a word for them",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[A-Za-z]{0,3}[0-9](?:[ \-]?[0-9A-Za-z]){5,13}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| {
            // Words behind the number are not part of it.
            let found = &bytes[range.clone()];
            let end = numbered(found);
            let end = found[..end].iter().rposition(u8::is_ascii_digit)? + 1;
            let letters = found[end..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
            let end = if letters <= 2 { end + letters } else { end };
            whole(bytes, range.start..range.start + end, is_number)
                .filter(|found| CONTEXT.is_near(bytes, found))
        },
    }),
    context: Some(&CONTEXT),
    examples: &[
        (
            "My driver's license number is 992514497",
            "My driver's license number is [US_DRIVER_LICENSE]",
        ),
        ("driver license H12345678.", "driver license [US_DRIVER_LICENSE]."),
        ("DL# A1234567", "DL# [US_DRIVER_LICENSE]"),
        ("drivers license: D123-4567-8901", "drivers license: [US_DRIVER_LICENSE]"),
        ("driver's license P9314374 et en 1", "driver's license [US_DRIVER_LICENSE] et en 1"),
        ("(driver's license S1234567)", "(driver's license [US_DRIVER_LICENSE])"),
    ],
    refusals: &[
        "order 992514497",
        "my driver's license is lost",
        "driver's license since 2019",
        "H12345678",
        "driver license 12345",
    ],
};

/// The bytes before the first word without a digit.
fn numbered(found: &[u8]) -> usize {
    let word = |word: &&[u8]| word.iter().any(u8::is_ascii_digit);
    let words = found.split(|byte| b" -".contains(byte)).take_while(word);
    words.map(|word| word.len() + 1).sum::<usize>().saturating_sub(1)
}

fn is_number(found: &[u8]) -> bool {
    let digits = found.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = found.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    (7..=14).contains(&(digits + letters)) && digits >= 5 && letters <= 3
}
