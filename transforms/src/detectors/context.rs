//! Words that make a number what it is: `passport no. …`, `born on …`.

use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};

use super::Edge;

/// Bytes before a find in which a word may stand.
const BEFORE_BYTES: usize = 48;
/// Bytes after a find in which a word may stand.
const AFTER_BYTES: usize = 16;

/// Words of a detector's context: ASCII in lower case, others in the cases that are written.
pub(super) struct Context {
    words: &'static [&'static str],
    automaton: OnceLock<Option<AhoCorasick>>,
}

impl Context {
    /// Compiled where it is first asked for.
    pub(super) const fn new(words: &'static [&'static str]) -> Self {
        Self { words, automaton: OnceLock::new() }
    }

    /// The words, as they are written.
    pub(super) fn words(&self) -> &'static [&'static str] {
        self.words
    }

    fn automaton(&self) -> Option<&AhoCorasick> {
        let build = || {
            AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .match_kind(MatchKind::LeftmostLongest)
                .build(self.words)
                .ok()
        };
        self.automaton.get_or_init(build).as_ref()
    }

    /// Whether a word stands in the bytes before a find, or right after it. It begins at the
    /// border of a word; what it goes on with is not asked: `passports`, `Steuernummer`.
    pub(super) fn is_near(&self, bytes: &[u8], found: &Range<usize>) -> bool {
        self.is_before(bytes, found)
            || self.is_in(bytes, found.end..bytes.len().min(found.end + AFTER_BYTES))
    }

    /// Whether a word stands in the bytes before a find.
    pub(super) fn is_before(&self, bytes: &[u8], found: &Range<usize>) -> bool {
        self.is_in(bytes, found.start.saturating_sub(BEFORE_BYTES)..found.start)
    }

    fn is_in(&self, bytes: &[u8], range: Range<usize>) -> bool {
        let border = |start: usize| start == 0 || !Edge::Word.holds(bytes[start - 1]);
        self.automaton().is_some_and(|automaton| {
            automaton.find_iter(Input::new(bytes).range(range)).any(|found| border(found.start()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_begins_at_a_border_and_is_near() {
        let context = Context::new(&["tel", "pass"]);
        let near = |text: &str| {
            let start = text.find('#').unwrap();
            context.is_near(text.as_bytes(), &(start..start + 1))
        };
        assert!(near("Tel. #") && near("PASSPORT no #") && near("# (tel)"));
        assert!(!near("hotel #") && !near("#") && !near("détel #"));
        assert!(!near(&format!("tel {} #", "x ".repeat(40))));
    }
}
