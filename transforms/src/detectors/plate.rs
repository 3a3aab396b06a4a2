//! Registration marks of vehicles.

use super::check::whole;
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&[
    "plate",
    "licence no",
    "registration",
    "reg.",
    "kennzeichen",
    "immatriculation",
    "plaque",
    "matrícula",
    "matricula",
    "targa",
    "kenteken",
    "nummerplaat",
    "rejestracyjn",
    "tablica",
    "rekisteri",
    "nummerskylt",
    "skilt",
    "number plate",
]);

/// Forms of Germany and Austria, the United Kingdom, France and Italy, Spain, the Netherlands,
/// Poland, the Nordic countries and the United States (each authority's own rules), near a word for
/// it: without that an article number would do.
pub(super) const SPEC: Spec = Spec {
    name: "plate",
    mark: "[PLATE]",
    summary: "registration marks of vehicles, near a word for them",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?x)
            (?:[A-Z]|\xC3[\x84\x96\x9C]){1,3}[\x20\-:][A-Z]{1,2}[\x20\-]?[0-9]{1,4}[EH]?
            | [A-Z]{1,2}[\x20\-][0-9]{1,5}[\x20]?[A-Z]{1,3}
            | [A-Z]{2}[0-9]{2}[\x20]?[A-Z]{3} | [A-Z]{2}[\x20\-]?[0-9]{3}[\x20\-]?[A-Z]{2}
            | [0-9]{4}[\x20\-]?[BCDFGHJ-NPR-TV-Z]{3}
            | [0-9A-Z]{1,3}-[0-9A-Z]{2,3}-[0-9A-Z]{1,2}
            | [A-Z]{2,3}[\x20\-]?[0-9]{2,5} | [0-9][A-Z]{3}[0-9]{3} | [A-Z]{3}[\x20]?[0-9]{2}[A-Z0-9]",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept: |bytes, range| {
            whole(bytes, range, |found| found.iter().any(u8::is_ascii_digit))
                .filter(|found| CONTEXT.is_near(bytes, found))
        },
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("Kennzeichen B-XY 1234", "Kennzeichen [PLATE]"),
        ("number plate AB12 CDE.", "number plate [PLATE]."),
        ("plaque AB-123-CD", "plaque [PLATE]"),
        ("matrícula 1234 BCD", "matrícula [PLATE]"),
        ("kenteken 12-ABC-3", "kenteken [PLATE]"),
        ("license plate 7ABC123", "license plate [PLATE]"),
        ("targa: AB 123 CD", "targa: [PLATE]"),
    ],
    refusals: &[
        "order AB12 CDE",
        "plate of food",
        "registration in 2024",
        "B-XY 1234",
        "Kennzeichen fehlt",
    ],
};
