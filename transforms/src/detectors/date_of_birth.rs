//! Dates of birth.

use std::ops::Range;

use super::check::{is_date, is_short_date, stands_alone};
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&[
    "born",
    "birth",
    "dob",
    "d.o.b",
    "bday",
    "geboren",
    "geb.",
    "geburt",
    "né le",
    "née le",
    "né(e) le",
    "naissance",
    "nacido",
    "nacida",
    "nací",
    "nació",
    "nacimiento",
    "nato il",
    "nata il",
    "nato/a",
    "nascita",
    "geboorte",
    "urodz",
    "nascido",
    "nascida",
    "nascimento",
    "född",
    "fødselsdato",
    "født",
    "syntynyt",
    "syntymä",
    "született",
    "születés",
    "narozen",
    "născut",
    "naștere",
    "γεννήθηκε",
    "γέννησης",
]);

/// A valid day of 1890 to 2059 in numbers, year first or last, or with the month as a word in eight
/// languages, near a word for birth. Of `3/4/1985` either order will do.
pub(super) const SPEC: Spec = Spec {
    name: "date_of_birth",
    mark: "[DATE_OF_BIRTH]",
    summary: "dates of birth, near a word for birth",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?x)
            [0-9]{4}(?:-[0-9]{1,2}-|/[0-9]{1,2}/|\.[0-9]{1,2}\.)[0-9]{1,2}
            | [0-9]{1,2}(?:-[0-9]{1,2}-|/[0-9]{1,2}/|\.\x20?[0-9]{1,2}\.\x20?)(?:[0-9]{4}|[0-9]{2})
            | [0-9]{1,2}(?:st|nd|rd|th|er|\.|\xC2\xBA)?\x20(?:of\x20|de\x20)?(?:[A-Za-z]|[\x80-\xff]){3,14}\.?,?\x20(?:de\x20|del\x20)?[0-9]{4}
            | [A-Z][a-z]{2,8}\.?\x20[0-9]{1,2}(?:st|nd|rd|th)?,?\x20[0-9]{4}
            | (?:19|20)[0-9]{6}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("born on 2/8/1935.", "born on [DATE_OF_BIRTH]."),
        ("DOB: 1985-03-12", "DOB: [DATE_OF_BIRTH]"),
        ("geboren am 12. März 1985", "geboren am [DATE_OF_BIRTH]"),
        ("date de naissance : 12/03/85", "date de naissance : [DATE_OF_BIRTH]"),
        ("born March 12, 1985 in", "born [DATE_OF_BIRTH] in"),
        ("nacida el 1 de enero de 1990", "nacida el [DATE_OF_BIRTH]"),
        ("geb. 31.12.1999", "geb. [DATE_OF_BIRTH]"),
        ("dob 19850312", "dob [DATE_OF_BIRTH]"),
    ],
    refusals: &[
        "due on 2/8/1935",
        "born on 31/31/1985",
        "born on 30.02.1985",
        "born 1985-13-01",
        "born on 2/8/1735",
        "born in 1985",
        "born to run 12 miles 2000",
        "dob 19851332",
    ],
};

/// The first letters of the months, January first, in English, German, French, Spanish, Italian,
/// Dutch, Polish, Portuguese and the Nordic languages; in lower case.
const MONTHS: [&[&str]; 12] = [
    &["jan", "jän", "jen", "ene", "gen", "sty"],
    &["feb", "fév", "fev", "lut"],
    &["mar", "mär", "maa", "mrt"],
    &["apr", "avr", "abr", "kwi"],
    &["may", "mai", "mag", "mei", "maj", "may"],
    &["jun", "juin", "giu", "cze"],
    &["jul", "juil", "lug", "lip"],
    &["aug", "aoû", "aou", "ago", "sie"],
    &["sep", "set", "wrz"],
    &["oct", "okt", "ott", "out", "paź", "paz"],
    &["nov", "lis"],
    &["dec", "dez", "déc", "dic", "gru", "des"],
];

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let dated = is_day(&bytes[range.clone()]);
    (dated && stands_alone(bytes, &range) && CONTEXT.is_near(bytes, &range)).then_some(range)
}

fn is_day(found: &[u8]) -> bool {
    let numbers: Vec<(u32, usize)> = found
        .split(|byte| !byte.is_ascii_digit())
        .filter(|group| !group.is_empty())
        .map(|group| (group.iter().fold(0, |n, b| n * 10 + u32::from(b - b'0')), group.len()))
        .collect();
    match numbers[..] {
        [(whole, 8)] => is_date(whole / 10_000, whole / 100 % 100, whole % 100),
        [(year, 4), (month, _), (day, _)] => is_date(year, month, day),
        [(a, _), (b, _), (year, 4)] => is_date(year, a, b) || is_date(year, b, a),
        [(a, _), (b, _), (year, _)] => is_short_date(year, a, b) || is_short_date(year, b, a),
        [(day, _), (year, 4)] => month(found).is_some_and(|month| is_date(year, month, day)),
        _ => false,
    }
}

/// The month that a word in the text names.
fn month(found: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(found).ok()?.to_lowercase();
    let mut words =
        text.split(|c: char| !c.is_alphabetic()).filter(|word| word.chars().count() >= 3);
    words.find_map(|word| {
        let names = |names: &&[&str]| names.iter().any(|name| word.starts_with(name));
        MONTHS.iter().position(names).map(|at| at as u32 + 1)
    })
}
