//! Countries, regions and cities.

use std::ops::Range;

use super::words::{COMMON_WORDS, PLACES, Shape, Words, list};
use super::{Find, Spec};

/// Entries of the list, written large, that are no part of a person's name or a company's; and
/// other large words where the verb before them says that they are a place.
pub(super) const SPEC: Spec = Spec {
    name: "location",
    mark: "[LOCATION]",
    summary: "countries, regions and cities, by a list and the words around them",
    semantics: 1,
    find: Find::Words { scan, lists: &[PLACES, COMMON_WORDS] },
    context: None,
    examples: &[
        ("shipped to Hamburg, Germany", "shipped to [LOCATION], [LOCATION]"),
        ("I live in New York.", "I live in [LOCATION]."),
        ("we moved here from Kleinkleckersdorf", "we moved here from [LOCATION]"),
        ("SÃO PAULO office", "[LOCATION] office"),
        ("Ich wohne in Köln", "Ich wohne in [LOCATION]"),
        ("She flew to Bessastaðahreppur on Saturday", "She flew to [LOCATION] on Saturday"),
    ],
    refusals: &[
        "Ada Lovelace",
        "the order was late",
        "in May we met",
        "nice weather",
        "from Monday to Friday",
        "in English please",
    ],
};

/// Verbs and the like that a place follows, with a preposition between.
const VERBS: &[&str] = &[
    "live",
    "lives",
    "lived",
    "living",
    "move",
    "moved",
    "moving",
    "travel",
    "traveling",
    "travelling",
    "traveled",
    "travelled",
    "fly",
    "flew",
    "flying",
    "arrive",
    "arrived",
    "based",
    "born",
    "originally",
    "visit",
    "visited",
    "visiting",
    "go",
    "going",
    "went",
    "coming",
    "come",
    "returned",
    "return",
    "here",
    "headed",
    "driving",
    "drove",
    "staying",
    "resident",
    "grew",
    "up",
    "office",
    "morning",
    "university",
    "trip",
    "was",
    "i'm",
    "m",
    "am",
    "southern",
    "northern",
    "eastern",
    "western",
    "wohne",
    "wohnt",
    "wohnhaft",
    "lebe",
    "lebt",
    "gezogen",
    "reise",
    "geboren",
    "habite",
    "vit",
    "né",
    "née",
    "vivo",
    "vive",
    "nacido",
    "nacida",
    "abito",
    "abita",
    "nato",
    "nata",
    "woon",
    "woont",
    "mieszkam",
    "mieszka",
    "moro",
    "mora",
    "bor",
    "hotel",
    "down",
    "released",
];

/// Prepositions before a place.
const BEFORE: &[&str] = &[
    "in", "from", "to", "at", "near", "of", "aus", "nach", "bei", "à", "de", "en", "a", "da", "te",
    "w", "z", "em", "i", "från", "fra", "till", "til", "serving",
];

fn scan(words: &Words<'_>, out: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while at < words.len() {
        let end = listed(words, at).max(said(words, at));
        if end > at {
            out.push(words.span(at..end));
            at = end;
        } else {
            at += 1;
        }
    }
}

fn is_large(words: &Words<'_>, at: usize) -> bool {
    matches!(words.shape(at), Some(Shape::Capital | Shape::Capitals))
        || (words.small && words.shape(at) == Some(Shape::Small))
}

/// The end of the entries that begin with a word.
fn listed(words: &Words<'_>, start: usize) -> usize {
    let entry = |at: usize| is_large(words, at) && words.on(at, list::PLACE);
    if !entry(start) {
        return start;
    }
    let mut end = start + 1;
    while matches!(words.gap(end - 1), " " | "-" | ". ") && entry(end) && words.on(end, list::PLACE)
    {
        end += 1;
    }
    let alone = end == start + 1;
    let person = words.on(start, list::GIVEN | list::SURNAME);
    let joined = |at: usize| matches!(words.gap(at), " ");
    let beside = (joined(end - 1) && is_name(words, end))
        || (start > 0 && joined(start - 1) && is_name(words, start - 1));
    // Entries that are names or words too are places where a preposition says so.
    let doubtful = person || words.on(start, list::COMMON);
    let told = words.follows(start, BEFORE) || matches!(words.gap_before(start), ", ");
    let ok = (!alone || (!beside && (!doubtful || told))) && (told || !words.small);
    if ok { end } else { start }
}

fn is_name(words: &Words<'_>, at: usize) -> bool {
    matches!(words.shape(at), Some(Shape::Capital))
        && (words.on(at, list::GIVEN | list::SURNAME) || !words.on(at, list::COMMON | list::PLACE))
}

/// The end of the large words that a verb and a preposition before them make a place.
fn said(words: &Words<'_>, start: usize) -> usize {
    let part = |at: usize| {
        matches!(words.shape(at), Some(Shape::Capital | Shape::Capitals))
            && !(words.on(at, list::COMMON) && !words.on(at, list::PLACE))
    };
    let behind = start >= 2 && words.follows(start, BEFORE);
    if !behind || !part(start) {
        return start;
    }
    let near = (start.saturating_sub(4)..start - 1).any(|at| words.is(at, VERBS));
    if !near || words.on(start, list::GIVEN) {
        return start;
    }
    let mut end = start + 1;
    while end - start < 5 {
        let joined = matches!(words.gap(end - 1), " " | "-" | "'" | "’");
        if joined && part(end) {
            end += 1;
        } else if joined
            && words.is(
                end,
                &[
                    "de", "del", "la", "di", "der", "am", "an", "do", "da", "los", "las", "sur",
                    "upon", "o", "d", "l",
                ],
            )
            && part(end + 1)
        {
            end += 2;
        } else {
            break;
        }
    }
    end
}
