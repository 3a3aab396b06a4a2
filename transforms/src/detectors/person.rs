//! Names of persons.

use std::ops::Range;

use super::words::{COMMON_WORDS, GIVEN_NAMES, SURNAMES, Shape, Words, list};
use super::{Find, Spec};

/// Words in capitals that stand together, where a title, words like `my name is`, a given name of
/// the list or a surname of the list or with an ending of surnames says that they are a name, and
/// no word of a street or a company is among them. One given name alone counts; one surname alone
/// only where something is said of it.
pub(super) const SPEC: Spec = Spec {
    name: "person",
    mark: "[PERSON]",
    summary: "names of persons, by lists of names and the words around them",
    semantics: 1,
    find: Find::Words { scan, lists: &[GIVEN_NAMES, SURNAMES, COMMON_WORDS] },
    context: None,
    examples: &[
        ("My name is Ada Lovelace.", "My name is [PERSON]."),
        ("Mr. Xqzw called", "Mr. [PERSON] called"),
        ("spoke with Jürgen Müller-Lüdenscheidt today", "spoke with [PERSON] today"),
        ("Dear Fatima, thanks", "Dear [PERSON], thanks"),
        ("Name: Sieda Batukayev", "Name: [PERSON]"),
        ("Maria J. van der Berg lives here", "[PERSON] lives here"),
        ("said Tomáš Dvořák and Éva Nagy", "said [PERSON] and [PERSON]"),
        ("frau schmidt", "frau [PERSON]"),
    ],
    refusals: &[
        "The Order was Late",
        "Civil Rights Act of 1964",
        "We met on Monday in May",
        "New York",
        "Martin Street 12",
        "Invoice INV-2024",
        "GmbH und Co",
        "Johnson Inc.",
    ],
};

/// What stands before a name of a person, with or without a point.
const TITLES: &[&str] = &[
    "mr",
    "mrs",
    "ms",
    "miss",
    "dr",
    "prof",
    "professor",
    "sir",
    "madam",
    "herr",
    "herrn",
    "frau",
    "monsieur",
    "madame",
    "mademoiselle",
    "mme",
    "mlle",
    "señor",
    "señora",
    "señorita",
    "sr",
    "sra",
    "srta",
    "don",
    "doña",
    "signor",
    "signora",
    "signorina",
    "sig",
    "dott",
    "dottoressa",
    "meneer",
    "mevrouw",
    "dhr",
    "mw",
    "pan",
    "pani",
    "pana",
    "senhor",
    "senhora",
    "dona",
    "fru",
    "hr",
    "pater",
    "sister",
];

/// Words that a name stands right behind.
const BEFORE: &[&str] = &[
    "name",
    "named",
    "dear",
    "hi",
    "hello",
    "hey",
    "called",
    "signed",
    "regards",
    "sincerely",
    "guardian",
    "novelist",
    "with",
    "by",
    "starring",
    "featuring",
    "producer",
    "singer",
    "songwriter",
    "player",
    "commenter",
    "partner",
    "hallo",
    "liebe",
    "lieber",
    "grüße",
    "bonjour",
    "hola",
    "querido",
    "querida",
    "ciao",
    "caro",
    "cara",
    "beste",
    "hej",
    "kära",
    "cześć",
    "olá",
    "caro",
    "heiße",
    "heißt",
    "genannt",
    "appelle",
    "llamo",
    "llama",
    "chiamo",
    "chiama",
    "heet",
    "heter",
    "nazywam",
    "chamo",
    "chama",
    "mam",
    "kid",
    "son",
    "daughter",
    "husband",
    "wife",
    "brother",
    "sister",
    "says",
    "said",
    "asked",
    "told",
    "ex-zombie",
    "him",
    "leave",
    "met",
];

/// Words that something is said of a name with.
const AFTER: &[&str] = &[
    "said",
    "says",
    "asked",
    "told",
    "explained",
    "explains",
    "wrote",
    "writes",
    "called",
    "lives",
    "lived",
    "works",
    "worked",
    "shouted",
    "listed",
    "points",
    "speak",
    "began",
    "spent",
    "thinks",
    "believes",
    "sagte",
    "sagt",
    "schrieb",
    "wohnt",
    "arbeitet",
    "dit",
    "écrit",
    "habite",
    "dijo",
    "dice",
    "vive",
    "disse",
    "ha",
    "zei",
    "woont",
    "powiedział",
    "powiedziała",
    "mieszka",
    "mora",
    "sade",
    "bor",
];

/// What persons do more than companies: behind two large words or three.
const ACTS: &[&str] = &[
    "was", "had", "has", "will", "can", "who", "lives", "of", "from", "would", "points", "as",
    "in", "speak", "novel", "concert", "fan", "before",
];

/// Small words inside names.
const PARTICLES: &[&str] = &[
    "van", "von", "vom", "zu", "zum", "zur", "de", "del", "della", "dello", "der", "den", "di",
    "da", "do", "dos", "das", "du", "des", "la", "le", "las", "los", "ten", "ter", "te", "el",
    "al", "bin", "ibn", "af", "av", "y", "e", "san", "ul",
];

/// Words of companies, places and works: with one of them it is no person.
const OTHERS: &[&str] = &[
    "inc",
    "ltd",
    "llc",
    "llp",
    "plc",
    "corp",
    "corporation",
    "company",
    "co",
    "gmbh",
    "ag",
    "kg",
    "sarl",
    "bv",
    "nv",
    "oy",
    "ab",
    "as",
    "spa",
    "srl",
    "group",
    "holding",
    "holdings",
    "partners",
    "associates",
    "systems",
    "solutions",
    "services",
    "consulting",
    "bank",
    "insurance",
    "institute",
    "university",
    "college",
    "school",
    "hospital",
    "orchestra",
    "foundation",
    "association",
    "club",
    "team",
    "records",
    "resources",
    "networks",
    "labs",
    "media",
    "data",
    "explorer",
    "markets",
    "international",
    "street",
    "straße",
    "strasse",
    "agency",
    "technologies",
    "technology",
    "investments",
    "capital",
    "partners",
    "software",
    "digital",
    "global",
    "energy",
    "health",
    "legal",
    "security",
    "press",
    "airport",
    "station",
    "bridge",
    "museum",
    "church",
    "hotel",
    "park",
    "party",
    "county",
    "city",
    "river",
    "lake",
    "act",
    "award",
];

/// Endings of surnames in Europe's languages; of four letters and more before it.
const ENDINGS: &[&str] = &[
    "ová", "ova", "ova", "eva", "ev", "ov", "off", "yev", "yeva", "ski", "ska", "cki", "cka",
    "sky", "ský", "ská", "wicz", "vich", "vič", "ić", "ič", "čić", "sson", "son", "sen", "dóttir",
    "dotter", "qvist", "kvist", "ström", "gren", "nen", "ínez", "ínguez", "ández", "ales", "uez",
    "ini", "elli", "etti", "ucci", "acci", "ello", "oni", "poulos", "poulou", "idis", "akis",
    "shvili", "dze", "yan", "ian", "enko", "chuk", "mann", "bauer", "meier", "mayer", "berger",
    "inger", "escu", "eanu", "ák", "ík", "ček", "ých",
];

fn scan(words: &Words<'_>, out: &mut Vec<Range<usize>>) {
    let mut at = 0;
    // Runs in a row of names: `X, Y and Z`. One that is a name makes its neighbours names.
    let mut row: Vec<(Range<usize>, Option<Range<usize>>)> = Vec::new();
    while at < words.len() {
        let end = run(words, at);
        if end == at {
            at += 1;
            continue;
        }
        if !row.last().is_some_and(|(last, _)| is_row(words, last.end, at)) {
            settle(words, &mut row, out);
        }
        row.push((at..end, name(words, at..end)));
        at = end;
    }
    settle(words, &mut row, out);
}

/// Whether what ends before one word and begins with another stand in a row of names.
fn is_row(words: &Words<'_>, end: usize, start: usize) -> bool {
    let and = end + 1 == start && words.gap(end) == " " && words.is(end, AND);
    let (gap, joined) = (words.gap(end - 1), end == start);
    (and && matches!(gap, " " | ", ")) || (joined && gap == ", ")
}

/// Finds of a row: those that are names, and single words beside them.
fn settle(
    words: &Words<'_>,
    row: &mut Vec<(Range<usize>, Option<Range<usize>>)>,
    out: &mut Vec<Range<usize>>,
) {
    let named = row.iter().filter(|(_, name)| name.is_some()).count();
    let many = row.len() > 1 && 2 * named >= row.len();
    for (run, name) in row.drain(..) {
        let plain = |at: usize| {
            !words.on(at, list::PLACE | list::COMMON | list::STREET) && !words.is(at, OTHERS)
        };
        let beside = (many && run.len() <= 2 && run.clone().all(plain)).then_some(run);
        out.extend(name.or(beside).map(|name| words.span(name)));
    }
}

/// Between names of a row.
const AND: &[&str] = &["and", "und", "et", "y", "e", "en", "i", "och", "og", "or"];

/// Whether a word can be part of a name.
fn is_part(words: &Words<'_>, at: usize) -> bool {
    let common = words.on(at, list::COMMON) && !words.on(at, list::GIVEN | list::SURNAME);
    match words.shape(at) {
        Some(Shape::Capital | Shape::Capitals) => !common && !words.is(at, TITLES),
        Some(Shape::Initial) => true,
        // All is written small: what stands on a list, or behind a title.
        Some(Shape::Small) if words.small => {
            (words.on(at, list::GIVEN | list::SURNAME) && !words.on(at, list::COMMON))
                || words.follows_title(at)
        }
        _ => false,
    }
}

impl Words<'_> {
    /// Whether the word before one is a title, with or without a point.
    fn follows_title(&self, at: usize) -> bool {
        let gap = self.gap_before(at);
        at > 0 && matches!(gap, " " | ". " | "." | "  ") && self.is(at - 1, TITLES)
    }
}

/// The end of the words from one on that may be one name.
fn run(words: &Words<'_>, start: usize) -> usize {
    if !is_part(words, start) {
        return start;
    }
    let mut end = start + 1;
    loop {
        let initial = words.shape(end - 1) == Some(Shape::Initial);
        let joined = match words.gap(end - 1) {
            " " | "  " | "-" | "\u{a0}" => true,
            ". " | "." => initial,
            _ => false,
        };
        if !joined || end - start > 6 {
            return end;
        }
        if is_part(words, end) {
            end += 1;
            continue;
        }
        // Particles only between parts.
        let particles = (end..words.len().min(end + 3))
            .take_while(|at| words.is(*at, PARTICLES) && matches!(words.gap(*at), " " | "-"))
            .count();
        if particles == 0 || words.small || !is_part(words, end + particles) {
            return end;
        }
        end += particles + 1;
    }
}

/// The words of a run that are a person's name.
fn name(words: &Words<'_>, run: Range<usize>) -> Option<Range<usize>> {
    let is_other = |at: usize| {
        words.is(at, OTHERS)
            || (words.on(at, list::STREET) && !words.on(at, list::GIVEN | list::SURNAME))
    };
    let behind = words.gap(run.end - 1);
    let large =
        matches!(words.shape(run.end), Some(Shape::Capital | Shape::Capitals)) || words.small;
    let goes_on = large && matches!(behind, " " | ", " | "  ") && words.is(run.end, OTHERS);
    let numbered = matches!(behind, " ") && words.shape(run.end) == Some(Shape::Number);
    if words.follows_title(run.start) {
        return Some(run.start..run.end.min(run.start + 4));
    }
    if goes_on || run.clone().any(is_other) {
        return None;
    }
    let given = |at: usize| words.on(at, list::GIVEN);
    let surname = |at: usize| words.on(at, list::SURNAME) || has_ending(words.word(at));
    let place = run.clone().all(|at| words.on(at, list::PLACE));
    let said = words.follows(run.start, BEFORE)
        || (words.gap_before(run.start).contains(':')
            && run.start > 0
            && words.is(run.start - 1, &["name"]))
        || is_said_behind(words, run.start)
        || (words.is(run.start.wrapping_sub(1), &["name"])
            && words.gap_before(run.start).contains('?'))
        || (words.gap(run.end - 1) == " " && words.is(run.end, AFTER))
        || matches!(behind.as_bytes(), [b':', b' ', b'"', ..] | [b':', b'"', ..]);
    let whole: Vec<usize> = run
        .clone()
        .filter(|at| words.shape(*at) != Some(Shape::Initial) && !words.is(*at, PARTICLES))
        .collect();
    match whole[..] {
        [] => None,
        [at] => {
            // A large word inside a sentence is large for a reason.
            let inside = !words.begins(at) && words.on(at, list::SURNAME);
            let listed =
                ((given(at) || inside) && !words.on(at, list::COMMON)) || (said && surname(at));
            let lone = listed && !place && !numbered;
            let initials = run.len() > 1 && (given(at) || surname(at));
            (lone || initials || (said && !place && !words.on(at, list::COMMON))).then_some(run)
        }
        [first, .., last] => {
            // A word that begins a sentence is large in any case.
            let start =
                if words.begins(first) && !given(first) && !surname(first) && given(whole[1]) {
                    whole[1]
                } else {
                    run.start
                };
            let named = whole[..whole.len() - 1].iter().any(|at| given(*at))
                || surname(last) && !numbered
                || given(last) && surname(first);
            let placed = place && !said;
            let acts = behind == " " && words.is(run.end, ACTS) && whole.len() <= 3;
            ((named && !placed && !numbered) || said || acts).then_some(start..run.end)
        }
    }
}

/// `I am`, `this is` and the like, right before a word.
fn is_said_behind(words: &Words<'_>, at: usize) -> bool {
    const PAIRS: &[[&str; 2]] = &[
        ["this", "is"],
        ["name", "is"],
        ["name", "was"],
        ["it", "to"],
        ["i", "am"],
        ["i", "m"],
        ["speak", "to"],
        ["ich", "bin"],
        ["je", "suis"],
        ["soy", "yo"],
        ["call", "me"],
        ["calls", "me"],
        ["named", "him"],
        ["named", "her"],
        ["people", "call"],
        ["have", "been"],
        ["mein", "name"],
        ["under", "it"],
        ["name", "ist"],
        ["s", "under"],
        ["have", "heard"],
        ["you", "heard"],
        ["to", "add"],
        ["follow", "up"],
    ];
    let joined = |at: usize| matches!(words.gap_before(at), " " | "'" | "’" | ": " | "  ");
    at >= 2
        && joined(at)
        && joined(at - 1)
        && PAIRS.iter().any(|[one, two]| words.is(at - 2, &[one]) && words.is(at - 1, &[two]))
}

fn has_ending(word: &str) -> bool {
    let small = word.to_lowercase();
    ENDINGS
        .iter()
        .any(|ending| small.strip_suffix(ending).is_some_and(|stem| stem.chars().count() >= 3))
}
