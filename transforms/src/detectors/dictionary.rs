//! Words from a file of the user's: names of staff, projects, streets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use data_encoding::HEXLOWER;
use douane_schemas::tuple::Tuple;
use sha2::{Digest, Sha256};

use super::Detector;
use super::words::is_border;
use crate::fault::StageFault;

/// Most entries of one file.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Least and most bytes of one entry. One letter would be found in every text.
pub const ENTRY_BYTES: std::ops::RangeInclusive<usize> = 2..=128;
/// Most bytes of one file.
pub const FILE_BYTES_MAX: usize = 8 << 20;
/// Bytes before an entry in which a word of its context may stand.
const CONTEXT_BYTES: usize = 48;

/// Entries of a file, in order, none twice. They are not shown: they may be names of persons.
#[derive(Clone, PartialEq, Eq)]
pub struct Entries(Arc<BTreeSet<String>>);

impl Entries {
    /// Reads a file's text: one entry a line; empty lines and lines that start with `#` say nothing.
    ///
    /// # Errors
    /// [`StageFault::Dictionary`]: an entry that is too short or too long, too many of them, too
    /// large a file, or no entry.
    pub fn parse(text: &str) -> Result<Self, StageFault> {
        if text.len() > FILE_BYTES_MAX {
            return Err(StageFault::Dictionary { line: 1, expected: "a file of at most 8 MiB" });
        }
        let mut entries = BTreeSet::new();
        for (line, entry) in text.lines().enumerate() {
            let entry = entry.trim();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            if !ENTRY_BYTES.contains(&entry.len()) {
                return Err(StageFault::Dictionary {
                    line: line + 1,
                    expected: "an entry of 2 to 128 bytes",
                });
            }
            if entries.len() == ENTRIES_MAX {
                return Err(StageFault::Dictionary {
                    line: line + 1,
                    expected: "at most 1000000 entries",
                });
            }
            entries.insert(entry.to_owned());
        }
        if entries.is_empty() {
            return Err(StageFault::Dictionary { line: 1, expected: "at least one entry" });
        }
        Ok(Self(Arc::new(entries)))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// SHA-256 of the entries in hexadecimal, for the fingerprint: their order in the file, remarks
    /// and spaces make no difference.
    pub fn digest(&self) -> String {
        let tuple = self.0.iter().fold(Tuple::new(), |tuple, entry| tuple.text(entry));
        HEXLOWER.encode(&Sha256::digest(tuple.finish()))
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entries").field(&self.digest()).finish()
    }
}

/// One dictionary of a stage.
pub struct Dictionary<'c> {
    /// Whose finds its entries are.
    pub detector: Detector,
    /// What it knows.
    pub entries: &'c Entries,
    /// Whether an entry is found in any case; else as written, or all in capitals.
    pub ignore_case: bool,
    /// Words of which one must stand before an entry; none: no context is needed.
    pub context: &'c [String],
}

/// The dictionaries of a stage, compiled.
#[derive(Default)]
pub struct Dictionaries(Vec<Compiled>);

struct Compiled {
    detector: Detector,
    entries: AhoCorasick,
    context: Option<AhoCorasick>,
}

impl Dictionaries {
    /// Compiles dictionaries.
    ///
    /// # Errors
    /// [`StageFault::Detectors`] where there is more than an automaton can hold.
    pub fn new(dictionaries: &[Dictionary<'_>]) -> Result<Self, StageFault> {
        let compile = |dictionary: &Dictionary<'_>| {
            let mut written = BTreeSet::new();
            for entry in dictionary.entries.0.iter() {
                written.insert(entry.clone());
                written.insert(entry.to_uppercase());
                if dictionary.ignore_case {
                    written.insert(entry.to_lowercase());
                }
            }
            let build = |ignore_case: bool, words: &mut dyn Iterator<Item = &String>| {
                AhoCorasick::builder()
                    .ascii_case_insensitive(ignore_case)
                    // The longest entry that ends at a border must be seen behind one that does not.
                    .match_kind(MatchKind::Standard)
                    .build(words)
                    .map_err(|_| StageFault::Detectors("a dictionary is too large"))
            };
            let context = dictionary.context;
            Ok(Compiled {
                detector: dictionary.detector,
                entries: build(dictionary.ignore_case, &mut written.iter())?,
                context: match context {
                    [] => None,
                    words => Some(build(true, &mut words.iter())?),
                },
            })
        };
        dictionaries.iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Calls `each` for what a detector's dictionaries find: whole words only, and of entries that
    /// begin at one place the longest.
    pub(super) fn find(
        &self,
        detector: Detector,
        text: &str,
        mut each: impl FnMut(std::ops::Range<usize>),
    ) {
        let bytes = text.as_bytes();
        for dictionary in self.0.iter().filter(|dictionary| dictionary.detector == detector) {
            // Entries come in the order of their ends: what is put down last is the longest.
            let mut longest = BTreeMap::new();
            for found in dictionary.entries.find_overlapping_iter(text) {
                if is_border(bytes, found.start()) && is_border(bytes, found.end()) {
                    longest.insert(found.start(), found.end());
                }
            }
            for (start, end) in longest {
                if dictionary.has_context(bytes, start) {
                    each(start..end);
                }
            }
        }
    }
}

impl Compiled {
    fn has_context(&self, bytes: &[u8], start: usize) -> bool {
        let Some(context) = &self.context else { return true };
        let before = start.saturating_sub(CONTEXT_BYTES)..start;
        context
            .find_overlapping_iter(Input::new(bytes).range(before))
            .any(|word| is_border(bytes, word.start()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Detectors;
    use super::*;

    fn redact(entries: &str, ignore_case: bool, context: &[String], text: &str) -> String {
        let person = Detector::named("person").unwrap();
        let entries = Entries::parse(entries).unwrap();
        let dictionary = Dictionary { detector: person, entries: &entries, ignore_case, context };
        let dictionaries = Dictionaries::new(&[dictionary]).unwrap();
        let detectors = Detectors::with_dictionaries(&[person], dictionaries).unwrap();
        let (mut out, mut copied) = (String::new(), 0);
        detectors.scan(text, |found| {
            out.push_str(&text[copied..found.start]);
            out.push_str(found.detector.mark());
            copied = found.end;
        });
        out + &text[copied..]
    }

    #[test]
    fn whole_words_the_longest_in_their_case() {
        let entries = "# projects\nBlue\nBlue Heron\n\n  Ödland  \n";
        let found = |text: &str| redact(entries, false, &[], text);
        assert_eq!(found("Blue Heron, Blue, Bluebird"), "[PERSON], [PERSON], Bluebird");
        assert_eq!(found("BLUE HERON in ÖDLAND, blue heron"), "[PERSON] in [PERSON], blue heron");
        assert_eq!(redact(entries, true, &[], "bLue hEron, ödland"), "[PERSON], [PERSON]");
    }

    #[test]
    fn of_nested_entries_the_longest_at_each_place() {
        let entries: String = (2..40).map(|count| "ab ".repeat(count) + "\n").collect();
        let person = Detector::named("person").unwrap();
        let entries = Entries::parse(&entries).unwrap();
        let dictionary =
            Dictionary { detector: person, entries: &entries, ignore_case: false, context: &[] };
        let mut spans = Vec::new();
        let text = "ab ".repeat(100);
        Dictionaries::new(&[dictionary]).unwrap().find(person, &text, |span| spans.push(span));
        assert_eq!((spans.len(), spans[0].clone()), (99, 0..39 * 3 - 1));
    }

    #[test]
    fn context_stands_before_it() {
        let context = ["project".to_owned()];
        let found = |text: &str| redact("Blue", false, &context, text);
        assert_eq!(found("Project Blue, Blue"), "Project [PERSON], [PERSON]");
        assert_eq!(found("Blue projects"), "Blue projects");
    }

    #[test]
    fn files_bad_entry_bad_none() {
        let fault = |text: &str| Entries::parse(text).unwrap_err();
        assert!(matches!(fault("ab\nx\n"), StageFault::Dictionary { line: 2, .. }));
        assert!(matches!(fault(&"x".repeat(129)), StageFault::Dictionary { line: 1, .. }));
        assert!(matches!(fault("# nothing\n"), StageFault::Dictionary { .. }));
        let large = "# remark\n".repeat(FILE_BYTES_MAX / 9 + 1);
        let expected = "a file of at most 8 MiB";
        assert_eq!(fault(&large), StageFault::Dictionary { line: 1, expected });
    }

    #[test]
    fn the_digest_is_of_the_entries() {
        let digest = |text: &str| Entries::parse(text).unwrap().digest();
        assert_eq!(digest("ab\ncd"), digest("# x\ncd\n ab \n"));
        assert_ne!(digest("ab\ncd"), digest("abcd"));
        assert!(!format!("{:?}", Entries::parse("Ada Secret").unwrap()).contains("Ada"));
    }
}
