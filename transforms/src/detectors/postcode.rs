//! Postal codes.

use std::ops::Range;

use super::check::stands_alone;
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&[
    "zip",
    "postcode",
    "post code",
    "postal code",
    "plz",
    "postleitzahl",
    "code postal",
    "cap ",
    "cap:",
    "código postal",
    "codigo postal",
    "c.p.",
    "cp ",
    "cp:",
    "kod pocztowy",
    "postnummer",
    "postnr",
    "psč",
    "irányítószám",
    "postinumero",
    "eircode",
    "pincode",
    "pin code",
]);

/// Forms that say by themselves what they are: of the United Kingdom, Canada, the Netherlands, and
/// a state of the United States with five digits or nine; any other form near a word for it
/// (Universal Postal Union, "Postal addressing systems").
pub(super) const SPEC: Spec = Spec {
    name: "postcode",
    mark: "[POSTCODE]",
    summary: "postal codes: of some countries by their form, of others near a word for them",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?x)
            (?:AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|IA|ID|IL|IN|KS|KY|LA|MA|MD|ME|MI|MN|MO|MS|MT|NC|ND|NE|NH|NJ|NM|NV|NY|OH|OK|OR|PA|PR|RI|SC|SD|TN|TX|UT|VA|VT|WA|WI|WV|WY|AA|AE|AP)\x20[0-9]{5}(?:-[0-9]{4})?
            | [A-Za-z]{1,2}[0-9][0-9A-Za-z]?\x20?[0-9][A-Za-z]{2}
            | [A-Za-z][0-9][A-Za-z]\x20?[0-9][A-Za-z][0-9]
            | [1-9][0-9]{3}\x20?[A-Za-z]{2}
            | [0-9]{3}\x20[0-9]{2} | [0-9]{2}-[0-9]{3} | [0-9]{5}-[0-9]{3,4} | [0-9]{4}-[0-9]{3}
            | (?:[A-Z]{1,2}-)?[0-9]{3,6}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("London SW1A 1AA", "London [POSTCODE]"),
        ("ZIP: 48750", "ZIP: [POSTCODE]"),
        ("Beverly Hills, CA 90210-1234", "Beverly Hills, [POSTCODE]"),
        ("Toronto M5V 3L9.", "Toronto [POSTCODE]."),
        ("my zip code is 394 13", "my zip code is [POSTCODE]"),
        ("1017 AB Amsterdam", "[POSTCODE] Amsterdam"),
        ("PLZ 10115", "PLZ [POSTCODE]"),
    ],
    refusals: &[
        "order 48750",
        "1017 ab",
        "2024 in review",
        "AB1 items",
        "zipper 12",
        "CA 9021",
        "2024 IN",
        "1500 MB",
    ],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = &bytes[range.clone()];
    let upper = !found.iter().any(u8::is_ascii_lowercase);
    let strong = upper
        && match found {
            // A state and its code.
            [a, b, b' ', ..] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => true,
            // The United Kingdom and Canada, with their space.
            [a, .., b' ', b, _, _] if a.is_ascii_alphabetic() && b.is_ascii_digit() => true,
            [_, _, _, _, b' ', a, b] => is_dutch(*a, *b),
            _ => false,
        };
    (stands_alone(bytes, &range) && (strong || CONTEXT.is_before(bytes, &range))).then_some(range)
}

/// Letters of the Netherlands that are no unit and no word after a year.
fn is_dutch(a: u8, b: u8) -> bool {
    const OTHERS: [&[u8; 2]; 24] = [
        b"SA", b"SD", b"SS", b"IN", b"IS", b"AM", b"PM", b"KG", b"KM", b"KB", b"MB", b"GB", b"TB",
        b"ML", b"MM", b"CM", b"AD", b"BC", b"CE", b"ID", b"OR", b"AT", b"HP", b"HZ",
    ];
    a.is_ascii_uppercase() && b.is_ascii_uppercase() && !OTHERS.contains(&&[a, b])
}
