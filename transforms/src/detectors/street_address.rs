//! Addresses of houses.

use std::ops::Range;

use super::words::{STREET_WORDS, Shape, Words, list};
use super::{Find, Spec};

/// A number and large words that end in a word for a street, as English writes it; a word for a
/// street and large words, with a number behind or before them, as French, Spanish, Italian,
/// Portuguese and Polish do; a word with an ending for streets and a number, as German, Dutch and
/// the Nordic languages do; post-office boxes, and flats. What follows of a flat, a postal code and
/// a town is taken along.
pub(super) const SPEC: Spec = Spec {
    name: "street_address",
    mark: "[STREET_ADDRESS]",
    summary: "streets with a number, post-office boxes and flats, in the forms of a dozen languages",
    semantics: 1,
    find: Find::Words { scan, lists: &[STREET_WORDS] },
    context: None,
    examples: &[
        ("I live at 12 Main Street.", "I live at [STREET_ADDRESS]."),
        ("to 1600 Pennsylvania Ave NW, please", "to [STREET_ADDRESS] NW, please"),
        ("Hauptstraße 7, 10115 Berlin", "[STREET_ADDRESS]"),
        ("wohnt in der Langen Gasse 12a", "wohnt in der [STREET_ADDRESS]"),
        ("12 rue de la Paix", "[STREET_ADDRESS]"),
        ("vive en Calle Mayor 15", "vive en [STREET_ADDRESS]"),
        ("Via Garibaldi 3, Torino", "[STREET_ADDRESS], Torino"),
        ("Keizersgracht 123", "[STREET_ADDRESS]"),
        ("ul. Długa 5", "[STREET_ADDRESS]"),
        ("P.O. Box 149", "[STREET_ADDRESS]"),
        ("Storgatan 12", "[STREET_ADDRESS]"),
    ],
    refusals: &[
        "12 items on the way",
        "the street was closed",
        "3 Place orders",
        "via e-mail",
        "call 12 times",
        "Chapter 12",
        "the court ruled on 12 May",
    ],
};

/// Words for a street that stand before its name.
const FIRST: &[&str] = &[
    "rue",
    "avenue",
    "boulevard",
    "bd",
    "chemin",
    "allée",
    "place",
    "impasse",
    "quai",
    "route",
    "cours",
    "square",
    "calle",
    "avenida",
    "avda",
    "paseo",
    "plaza",
    "camino",
    "carretera",
    "ronda",
    "travesía",
    "via",
    "viale",
    "piazza",
    "corso",
    "vicolo",
    "largo",
    "strada",
    "rua",
    "travessa",
    "praça",
    "estrada",
    "alameda",
    "ul",
    "ulica",
    "al",
    "aleja",
    "pl",
    "plac",
    "os",
    "osiedle",
    "trg",
    "cesta",
    "strada",
    "am",
    "an",
    "carrer",
    "passeig",
    "corte",
    "borgo",
    "contrada",
];

/// Endings of words for streets.
const ENDINGS: &[&str] = &[
    "straße", "strasse", "str", "gasse", "weg", "platz", "allee", "damm", "ring", "ufer", "straat",
    "laan", "plein", "gracht", "kade", "singel", "dreef", "gatan", "gata", "gränd", "vägen", "väg",
    "vej", "vejen", "vegen", "veien", "gade", "gate", "gaten", "stien", "stræti", "gatu", "vegur",
    "braut", "katu", "tie", "polku", "kuja", "steig", "pfad", "hof", "tänav", "maantee", "tee",
    "iela", "gatvė", "bakken", "torget", "plads", "steeg", "hout", "rkp",
];

/// Words for a street that stand between its name and the number.
const LAST: &[&str] = &[
    "utca",
    "út",
    "útja",
    "tér",
    "tere",
    "köz",
    "krt",
    "körút",
    "ulica",
    "ul",
    "ulice",
    "cesta",
    "trg",
    "třída",
    "náměstí",
    "sokak",
    "caddesi",
    "sok",
    "cad",
];

/// Words for a street that say so in a text without large letters.
const SMALL_LAST: &[&str] =
    &["street", "st", "avenue", "ave", "road", "rd", "lane", "drive", "boulevard", "blvd"];

/// Words for a part of a house, before its number.
const FLATS: &[&str] = &[
    "apt",
    "apartment",
    "suite",
    "ste",
    "unit",
    "flat",
    "room",
    "floor",
    "whg",
    "wohnung",
    "appt",
    "piso",
    "interno",
    "int",
    "bus",
];

fn scan(words: &Words<'_>, out: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while at < words.len() {
        let end = address(words, at).map_or(at, |end| extend(words, end));
        if end > at {
            out.push(words.span(at..end));
            at = end;
        } else {
            at += 1;
        }
    }
}

/// The end of the address that begins with a word.
fn address(words: &Words<'_>, at: usize) -> Option<usize> {
    boxed(words, at)
        .or_else(|| flat(words, at))
        .or_else(|| number_first(words, at))
        .or_else(|| street_first(words, at))
        .or_else(|| name_first(words, at))
}

fn is_number(words: &Words<'_>, at: usize) -> bool {
    let word = words.word(at);
    words.shape(at) == Some(Shape::Number)
        && word.len() <= 6
        && word.bytes().take_while(u8::is_ascii_digit).count() + 1 >= word.len()
}

fn is_large(words: &Words<'_>, at: usize) -> bool {
    matches!(words.shape(at), Some(Shape::Capital | Shape::Capitals | Shape::Initial))
}

/// One line, and nothing but spaces or the point of an abbreviation between.
fn is_joined(words: &Words<'_>, at: usize) -> bool {
    matches!(words.gap(at), " " | "  " | ". " | "." | "-" | "'" | "’")
}

/// `P.O. Box 149`, `Postfach 12`, `Unit 5022 Box 1225`, `PSC 5217, Box 12`.
fn boxed(words: &Words<'_>, at: usize) -> Option<usize> {
    let number = |at: usize| words.shape(at) == Some(Shape::Number);
    let letters = words.is(at, &["p"]) && words.is(at + 1, &["o"]) && words.is(at + 2, &["box"]);
    if letters && number(at + 3) {
        return Some(at + 4);
    }
    if words.is(at, &["po"]) && words.is(at + 1, &["box"]) && number(at + 2) {
        return Some(at + 3);
    }
    if words.is(at, &["psc", "unit", "cmr"])
        && number(at + 1)
        && words.is(at + 2, &["box"])
        && number(at + 3)
    {
        return Some(at + 4);
    }
    let single = ["box", "postfach", "postbus", "apartado", "casella"];
    (words.is(at, &single) && is_large(words, at) && number(at + 1)).then_some(at + 2)
}

/// `Apt. 12`, `Suite 5`.
fn flat(words: &Words<'_>, at: usize) -> Option<usize> {
    let joined = matches!(words.gap(at), " " | ". ");
    let sure = words.is(at, &["apt", "suite", "apartment"]) && (is_large(words, at) || words.small);
    (sure && joined && is_number(words, at + 1)).then_some(at + 2)
}

/// `12 Main Street`, `31 Rue tachkent`, `221B Baker St`.
fn number_first(words: &Words<'_>, at: usize) -> Option<usize> {
    let gap = words.gap(at);
    if !is_number(words, at) || !matches!(gap, " " | ", " | "  " | "\n") {
        return None;
    }
    if words.is(at + 1, FIRST)
        && (words.on(at + 1, list::STREET)
            || is_large(words, at + 1)
            || words.is(at + 1, &["rue", "calle", "via", "rua", "chemin", "allée", "impasse"]))
    {
        let sure = words.is(at + 1, &["rue", "calle", "rua", "chemin", "allée", "impasse"]);
        return named(words, at + 2, sure);
    }
    let mut end = at + 1;
    let mut street = None;
    while end <= at + 5 && (end == at + 1 || is_joined(words, end - 1)) {
        let ordinal = words.shape(end) == Some(Shape::Number) && !is_number(words, end);
        let house = end == at + 1 && is_number(words, end);
        if !(is_large(words, end)
            || ordinal
            || house
            || (words.small && words.shape(end) == Some(Shape::Small)))
        {
            break;
        }
        let ended = has_ending(words, end);
        end += 1;
        let street_word = match words.small {
            true => words.is(end - 1, SMALL_LAST),
            false => words.on(end - 1, list::STREET),
        };
        if end > at + 2 && (street_word || ended) || (ended && end == at + 2) {
            street = Some(end);
        }
    }
    street.map(|end| {
        if is_joined(words, end - 1) && is_number(words, end) && !words.gap(end - 1).contains('.') {
            end + 1
        } else {
            end
        }
    })
}

/// Large words behind a word for a street, at least one; behind a sure one a small one will do.
fn named(words: &Words<'_>, start: usize, sure: bool) -> Option<usize> {
    const SMALL: &[&str] = &[
        "de", "la", "le", "les", "du", "des", "del", "della", "dei", "di", "da", "do", "dos",
        "das", "el", "los", "las", "l", "d", "of", "the", "św", "dr", "ks", "gen",
    ];
    let mut end = start;
    let mut names = 0;
    while end < start + 7 && (end == start || is_joined(words, end - 1)) {
        if is_large(words, end) || (end > start && is_number(words, end)) {
            names += 1;
        } else if !words.is(end, SMALL)
            && !(sure
                && names == 0
                && words.shape(end) == Some(Shape::Small)
                && words.word(end).len() > 3)
        {
            break;
        } else if words.word(end).len() > 3 {
            names += 1;
        }
        end += 1;
    }
    (names > 0).then_some(end)
}

/// `Calle Mayor 15`, `Via Garibaldi 3`, `ul. Długa 5`.
fn street_first(words: &Words<'_>, at: usize) -> Option<usize> {
    let abbreviated = words.gap(at).starts_with('.');
    let large =
        is_large(words, at) || words.small || words.is(at, &["rue", "calle", "ul", "rua", "avda"]);
    if !words.is(at, FIRST) || !large || !(is_joined(words, at) || words.gap(at) == " ") {
        return None;
    }
    if words.is(at, &["al", "am", "an", "os", "pl", "place"])
        && !abbreviated
        && !is_large(words, at)
    {
        return None;
    }
    let sure = words.is(at, &["rue", "calle", "rua", "ul", "avda"]);
    let end = named(words, at + 1, sure)?;
    // The number is in the name's words, or stands behind a comma.
    if is_number(words, end - 1) {
        return Some(end);
    }
    let behind = matches!(words.gap(end - 1), ", " | " " | ", n. " | ", nº " | " n. ");
    (behind && is_number(words, end)).then_some(end + 1)
}

/// `Hauptstraße 7`, `Keizersgracht 123`, `Kossuth utca 3`.
fn name_first(words: &Words<'_>, at: usize) -> Option<usize> {
    if !(is_large(words, at) || words.small) {
        return None;
    }
    let number = |end: usize| {
        (matches!(words.gap(end - 1), " " | ". " | "  ") && is_number(words, end))
            .then_some(end + 1)
    };
    if has_ending(words, at) && words.word(at).len() >= 5 {
        return number(at + 1);
    }
    for end in at + 1..words.len().min(at + 4) {
        if !is_joined(words, end - 1) {
            return None;
        }
        if words.is(end, LAST) || has_ending(words, end) {
            return number(end + 1);
        }
        if !is_large(words, end) {
            return None;
        }
    }
    None
}

fn has_ending(words: &Words<'_>, at: usize) -> bool {
    let word = words.word(at).to_lowercase();
    ENDINGS.iter().any(|ending| {
        word == *ending && ending.len() > 3
            || word.strip_suffix(ending).is_some_and(|stem| stem.len() >= 3)
    })
}

/// What belongs to the address behind its street: a flat, then a postal code and a town.
fn extend(words: &Words<'_>, end: usize) -> usize {
    let apart = |gap: &str| {
        gap.len() <= 12 && gap.trim_matches([' ', '\n', '\t', ',', '.', '>', '?']).is_empty()
    };
    let mut end = end;
    if end < words.len()
        && apart(words.gap(end - 1))
        && words.is(end, FLATS)
        && is_number(words, end + 1)
    {
        end += 2;
    }
    let code = words.word(end);
    let digits =
        code.len() >= 4 && code.len() <= 5 && code.bytes().all(|byte| byte.is_ascii_digit());
    if end < words.len() && matches!(words.gap(end - 1), ", " | " " | "\n" | ",\n") && digits {
        end += 1;
        if words.gap(end - 1) == " " && is_large(words, end) && !words.on(end, list::COMMON) {
            end += 1;
        }
    }
    end
}
