//! Ages of persons.

use std::ops::Range;

use super::check::stands_alone;
use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

/// What stands right before an age.
static CONTEXT: Context = Context::new(&[
    "aged ",
    "age of ",
    "age: ",
    "age is ",
    "age ",
    "turned ",
    "turn ",
    "turning ",
    "turns ",
    "he was ",
    "she was ",
    "i was ",
    "he is ",
    "she is ",
    "i am ",
    "i'm ",
    "i\u{2019}m ",
    "alter: ",
    "alter von ",
    "im alter von ",
    "âgé de ",
    "âgée de ",
    "âge: ",
    "âge de ",
    "edad: ",
    "edad de ",
    "età: ",
    "età di ",
    "leeftijd: ",
    "leeftijd van ",
    "wiek: ",
    "w wieku ",
    "idade: ",
    "idade de ",
    "ålder: ",
    "alder: ",
    "ikä: ",
    "ho ",
    "ha ",
    "tiene ",
    "tengo ",
    "j'ai ",
    "a ",
    "tem ",
    "tenho ",
    "ma ",
    "mam ",
]);

/// A number up to 125 before words for years of life, in nine languages, or after words for an age.
/// What only a language's word for years follows (`10 ans`) is a length of time.
pub(super) const SPEC: Spec = Spec {
    name: "age",
    mark: "[AGE]",
    summary: "ages of persons, by the words around them",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"[0-9]{1,3}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: Some(&CONTEXT),
    examples: &[
        ("a 34-year-old male", "a [AGE]-year-old male"),
        ("he just turned 41", "he just turned [AGE]"),
        ("I'm Ada, and I'm 58 y/o.", "I'm Ada, and I'm [AGE] y/o."),
        ("at the age of 62", "at the age of [AGE]"),
        ("sie ist 34 Jahre alt", "sie ist [AGE] Jahre alt"),
        ("âgée de 27 ans", "âgée de [AGE] ans"),
        ("This 90 year old female", "This [AGE] year old female"),
        ("ho 33 anni", "ho [AGE] anni"),
    ],
    refusals: &[
        "34 years of service",
        "depuis 10 ans",
        "he was 10 minutes late",
        "126 years old",
        "she was 1st",
        "turned 20%",
        "I am 100% sure",
        "age group 3.5",
    ],
};

/// What stands right after an age, whatever is before it.
const AFTER: &[&str] = &[
    " years old",
    " year old",
    " years-old",
    "-year-old",
    "-year old",
    "-years-old",
    " yrs old",
    " y/o",
    "y/o",
    " yo ",
    "yo ",
    " y.o",
    " years of age",
    " jahre alt",
    " jahre jung",
    "-jährig",
    " jaar oud",
    " år gammel",
    " år gammal",
    " lat i ",
    " anos de idade",
    " años de edad",
    " anni di età",
    " ans et demi",
    "-vuotias",
];

/// Years, in languages where a verb or `aged` comes before the number.
const YEARS: &[&str] =
    &[" ans", " años", " anni", " anos", " lat", " lata", " jaar", " jahre", " år", " years"];

/// Words that one of [`CONTEXT`] must stand right before where nothing follows that says years.
const PLAIN: &[&str] = &[
    "aged ",
    "age of ",
    "age: ",
    "age is ",
    "turned ",
    "turn ",
    "turning ",
    "turns ",
    "when he was ",
    "when she was ",
    "when i was ",
    "alter: ",
    "alter von ",
    "âge: ",
    "edad: ",
    "età: ",
    "leeftijd: ",
    "wiek: ",
    "idade: ",
    "ålder: ",
    "alder: ",
    "ikä: ",
];

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let number = bytes[range.clone()].iter().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    if !(1..=125).contains(&number) || !stands_alone(bytes, &range) {
        return None;
    }
    let after = &bytes[range.end..];
    let follows = |words: &[&str]| words.iter().any(|word| starts(after, word.as_bytes()));
    let before = &bytes[..range.start];
    let precedes = |words: &[&str]| {
        words.iter().any(|word| {
            let head = before.len().checked_sub(word.len());
            let near = head.is_some_and(|at| starts(&before[at..], word.as_bytes()));
            let border = head.is_none_or(|at| at == 0 || !Edge::Word.holds(before[at - 1]));
            near && border
        })
    };
    // Nothing but the end of a clause may follow a bare number.
    let ends = match after {
        [] | [b'.' | b',' | b';' | b'!' | b'?' | b')' | b'"' | b'\n' | b'\r', ..] => true,
        [b' ', ..] => !follows(&[
            " %", " percent", " minutes", " hours", " days", " weeks", " months", " pages",
            " times", " of ",
        ]),
        _ => false,
    };
    let found = follows(AFTER)
        || (follows(YEARS)
            && precedes(CONTEXT.words())
            && !follows(&[" years of ", " years ago", " years in", " years at"]))
        || (ends && precedes(PLAIN));
    found.then_some(range)
}

/// Whether bytes start with a word in any ASCII case.
fn starts(bytes: &[u8], word: &[u8]) -> bool {
    bytes.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
}
