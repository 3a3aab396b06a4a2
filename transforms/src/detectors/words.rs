//! A text as words: where they are, how they are written, on which list they stand.
//!
//! The lists are the most frequent given names and surnames of Europe's languages and of some
//! others, countries, large cities, and words that are written large and name nobody. They are
//! compiled from common knowledge; a list is not a register, and most people stand on none.

use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::Edge;

/// How a word is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// No letter in front is large.
    Small,
    /// The first letter is large, a later one is small.
    Capital,
    /// All letters are large: at least two.
    Capitals,
    /// One large letter.
    Initial,
    /// It starts with a digit.
    Number,
}

/// Lists, one bit each.
pub(super) mod list {
    pub const GIVEN: u8 = 1;
    pub const SURNAME: u8 = 2;
    pub const PLACE: u8 = 4;
    pub const COMMON: u8 = 8;
    pub const STREET: u8 = 16;
}

/// One word: letters, digits and what joins letters (`O'Brien`).
#[derive(Clone, Copy)]
pub(super) struct Word {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) shape: Shape,
    /// Lists on which it stands, alone or as part of an entry.
    pub(super) lists: u8,
}

/// A text as words.
pub(super) struct Words<'t> {
    pub(super) text: &'t str,
    pub(super) all: Vec<Word>,
    /// There are words, and no large letter in any.
    pub(super) small: bool,
}

impl<'t> Words<'t> {
    /// Texts beyond 4 GiB have no words; a column is far below.
    pub(super) fn new(text: &'t str) -> Self {
        let mut all = if u32::try_from(text.len()).is_ok() { split(text) } else { Vec::new() };
        let small = !all.iter().any(|w| !matches!(w.shape, Shape::Small | Shape::Number));
        // Names stand on the lists as they are written; a text all in small letters is read as
        // if it were not.
        if let Some(lists) = lists() {
            for found in lists.automaton.find_overlapping_iter(text) {
                let (start, end) = (found.start() as u32, found.end() as u32);
                let first = all.binary_search_by_key(&start, |word| word.start);
                let last = all.binary_search_by_key(&end, |word| word.end);
                if let (Ok(first), Ok(last)) = (first, last) {
                    let bits = lists.bits[found.pattern().as_usize()];
                    all[first..=last].iter_mut().for_each(|word| word.lists |= bits);
                }
            }
        }
        Self { text, all, small }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The text of a word.
    pub(super) fn word(&self, at: usize) -> &'t str {
        self.all.get(at).map_or("", |word| &self.text[word.start as usize..word.end as usize])
    }

    /// What stands between a word and the one behind it.
    pub(super) fn gap(&self, at: usize) -> &'t str {
        match (self.all.get(at), self.all.get(at + 1)) {
            (Some(word), Some(next)) => &self.text[word.end as usize..next.start as usize],
            (Some(word), None) => &self.text[word.end as usize..],
            _ => "",
        }
    }

    /// What stands before a word and behind the one before it.
    pub(super) fn gap_before(&self, at: usize) -> &'t str {
        match at.checked_sub(1) {
            Some(before) => self.gap(before),
            None => self.all.first().map_or("", |word| &self.text[..word.start as usize]),
        }
    }

    /// Whether a word stands on one of the lists.
    pub(super) fn on(&self, at: usize, lists: u8) -> bool {
        self.all.get(at).is_some_and(|word| word.lists & lists != 0)
    }

    pub(super) fn shape(&self, at: usize) -> Option<Shape> {
        self.all.get(at).map(|word| word.shape)
    }

    /// Whether a word is any of these, in any case of ASCII letters.
    pub(super) fn is(&self, at: usize, words: &[&str]) -> bool {
        let word = self.word(at);
        words.iter().any(|other| other.eq_ignore_ascii_case(word))
    }

    /// Whether the word before one is any of these, on the same line.
    pub(super) fn follows(&self, at: usize, words: &[&str]) -> bool {
        let joined = !self.gap_before(at).contains(['.', '\n', '!', '?', ';']);
        at > 0 && joined && self.is(at - 1, words)
    }

    /// A sentence or a line begins with the word.
    pub(super) fn begins(&self, at: usize) -> bool {
        let before = self.gap_before(at);
        at == 0 || before.contains(['.', '!', '?', '\n', ':', '"', '“', '>'])
    }

    /// Bytes of a row of words.
    pub(super) fn span(&self, words: Range<usize>) -> Range<usize> {
        let start = self.all.get(words.start).map_or(0, |word| word.start as usize);
        let end = words.end.checked_sub(1).and_then(|last| self.all.get(last));
        start..end.map_or(start, |word| word.end as usize)
    }
}

fn split(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, first)) = chars.next() {
        if !is_part(first) {
            continue;
        }
        let (mut large, mut small, mut letters) = (0, 0, 0);
        let mut end;
        let mut last = (start, first);
        loop {
            let (at, c) = last;
            end = at + c.len_utf8();
            large += usize::from(is_large(c));
            small += usize::from(is_small(c));
            letters += usize::from(!c.is_ascii_digit());
            match chars.peek().copied() {
                Some(next) if is_part(next.1) => last = next,
                // Inside a name: O'Brien. Behind one it belongs to the sentence: Ada's.
                Some((mark, '\'' | '’')) => {
                    let rest = &text[mark..];
                    let mut behind = rest.chars().skip(1);
                    let joins = letters <= 2 && behind.next().is_some_and(is_large);
                    if !joins {
                        break;
                    }
                    chars.next();
                    let Some(next) = chars.peek().copied() else { break };
                    last = next;
                }
                _ => break,
            }
            chars.next();
        }
        let shape = match (first, large, small) {
            _ if first.is_ascii_digit() => Shape::Number,
            _ if !is_large(first) => Shape::Small,
            (_, 1, 0) if letters == 1 => Shape::Initial,
            (_, _, 0) => Shape::Capitals,
            _ => Shape::Capital,
        };
        words.push(Word { start: start as u32, end: end as u32, shape, lists: 0 });
    }
    words
}

/// Letters, digits, and marks that change the letter before them.
fn is_part(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        _ if c.is_ascii() => false,
        _ => c.is_alphanumeric() || matches!(c, '\u{300}'..='\u{36f}'),
    }
}

/// Large letters of the Latin, Greek, Cyrillic and Armenian scripts, whose cases are settled.
fn is_large(c: char) -> bool {
    c.is_ascii_uppercase() || (!c.is_ascii() && c < '\u{590}' && c.is_uppercase())
}

fn is_small(c: char) -> bool {
    c.is_ascii_lowercase() || (!c.is_ascii() && c < '\u{590}' && c.is_lowercase())
}

/// The lists as one automaton.
struct Lists {
    automaton: AhoCorasick,
    /// Of each pattern.
    bits: Vec<u8>,
}

pub(super) const GIVEN_NAMES: &str = include_str!("lists/given_names.txt");
pub(super) const SURNAMES: &str = include_str!("lists/surnames.txt");
pub(super) const PLACES: &str = include_str!("lists/places.txt");
pub(super) const COMMON_WORDS: &str = include_str!("lists/common_words.txt");
pub(super) const STREET_WORDS: &str = include_str!("lists/street_words.txt");

fn lists() -> Option<&'static Lists> {
    static LISTS: OnceLock<Option<Lists>> = OnceLock::new();
    let build = || {
        let mut entries: std::collections::BTreeMap<String, u8> = Default::default();
        for (text, bit) in [
            (GIVEN_NAMES, list::GIVEN),
            (SURNAMES, list::SURNAME),
            (PLACES, list::PLACE),
            (COMMON_WORDS, list::COMMON),
            (STREET_WORDS, list::STREET),
        ] {
            for entry in entries_of(text) {
                for written in [entry.clone(), entry.to_lowercase(), entry.to_uppercase()] {
                    *entries.entry(written).or_default() |= bit;
                }
            }
        }
        let bits = entries.values().copied().collect();
        let automaton =
            AhoCorasick::builder().match_kind(MatchKind::Standard).build(entries.keys()).ok()?;
        Some(Lists { automaton, bits })
    };
    LISTS.get_or_init(build).as_ref()
}

/// Entries of a list: apart by spaces, `_` for a space inside one, `#` before a remark.
pub(super) fn entries_of(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_whitespace).map(|entry| entry.replace('_', " "))
}

/// Whether a place in a text is the border of a word.
pub(super) fn is_border(bytes: &[u8], at: usize) -> bool {
    let word = |at: usize| bytes.get(at).is_some_and(|byte| Edge::Word.holds(*byte));
    at == 0 || !word(at) || !word(at - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_a_shape_and_lists() {
        let words = Words::new("Ada O'Brien's 3 MILAN friends in New York, J. Ö");
        let texts: Vec<_> = (0..words.len()).map(|at| words.word(at)).collect();
        assert_eq!(
            texts,
            ["Ada", "O'Brien", "s", "3", "MILAN", "friends", "in", "New", "York", "J", "Ö"]
        );
        use Shape::{Capital, Capitals, Initial, Number, Small};
        let shapes: Vec<_> = words.all.iter().map(|word| word.shape).collect();
        let expected = [
            Capital, Capital, Small, Number, Capitals, Small, Small, Capital, Capital, Initial,
            Initial,
        ];
        assert_eq!(shapes, expected);
        assert!(words.on(0, list::GIVEN) && !words.on(0, list::PLACE));
        assert!(words.on(4, list::PLACE) && words.on(7, list::PLACE) && words.on(8, list::PLACE));
        assert!(!words.small && Words::new("all small").small);
    }

    #[test]
    fn entries_inside_longer_words_do_not_count() {
        let words = Words::new("Adamant Marylebone");
        assert!((0..2).all(|at| !words.on(at, list::GIVEN)));
    }
}
