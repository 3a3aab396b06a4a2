//! Dictionaries: words from a file of the user's, such as names of staff and projects, as a kind
//! beside the detectors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aho_corasick::{AhoCorasick, Input, MatchKind};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::Detector;
use super::words::{COMMON_WORDS, entries_of, is_border};
use crate::fault::StageFault;

/// Most bytes of one file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most entries of one file.
pub const ENTRIES_MAX: usize = 50_000;
/// Most dictionaries of one stage.
pub const DICTIONARIES_MAX: usize = 8;
/// Most bytes of a dictionary's name.
pub const NAME_BYTES_MAX: usize = 32;
/// Most bytes of one entry.
const ENTRY_BYTES_MAX: usize = 128;
/// Least characters of one entry, where words of a context must stand before it, and where none.
const ENTRY_CHARS_LEAST: [usize; 2] = [2, 3];
/// Bytes before an entry in which a word of its context may stand.
const CONTEXT_BYTES: usize = 48;

/// Whether a dictionary may have this name: a word of `a-z`, `0-9` and `_` that no detector has.
pub fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(plain)
        && Detector::named(name).is_none()
}

/// A file of words, read. Its entries are not shown: they may be names of persons.
#[derive(Clone, PartialEq, Eq)]
pub struct Dictionary {
    /// The name of its kind, as written in YAML.
    pub name: String,
    /// SHA-256 of the file in hexadecimal.
    pub sha256: String,
    /// Whether an entry is found in any case; else as written, or all in capitals.
    pub ignore_case: bool,
    /// Words of which one must stand before an entry; none: no context is needed.
    pub context: Vec<String>,
    entries: Arc<BTreeSet<String>>,
}

/// What is wrong with a line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum EntryFault {
    #[error("an entry of fewer than {0} characters")]
    Short(usize),
    #[error("an entry of more than {ENTRY_BYTES_MAX} bytes")]
    Long,
    #[error("an entry that most texts hold")]
    Common,
    #[error("one entry more than {ENTRIES_MAX}")]
    TooMany,
    #[error("no entry")]
    None,
}

impl Dictionary {
    /// Reads a file's text: one entry a line; empty lines and lines that start with `#` say nothing.
    ///
    /// # Errors
    /// Lines that are no entries, from 1, and what is wrong with each.
    pub fn parse(
        name: &str,
        text: &str,
        ignore_case: bool,
        context: Vec<String>,
    ) -> Result<Self, Vec<(usize, EntryFault)>> {
        let least = ENTRY_CHARS_LEAST[usize::from(context.is_empty())];
        let (mut entries, mut faults) = (BTreeSet::new(), Vec::new());
        for (line, entry) in text.lines().enumerate() {
            let entry: String = entry.trim().nfc().collect();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            let fault = match entry.chars().count() {
                count if count < least => Some(EntryFault::Short(least)),
                _ if entry.len() > ENTRY_BYTES_MAX => Some(EntryFault::Long),
                _ if context.is_empty() && is_common(&entry) => Some(EntryFault::Common),
                _ if entries.len() == ENTRIES_MAX => Some(EntryFault::TooMany),
                _ => None,
            };
            match fault {
                None => drop(entries.insert(entry)),
                Some(fault) => faults.push((line + 1, fault)),
            }
            if fault == Some(EntryFault::TooMany) {
                break;
            }
        }
        if entries.is_empty() && faults.is_empty() {
            faults.push((1, EntryFault::None));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let sha256 = HEXLOWER.encode(&Sha256::digest(text));
        Ok(Self { name: name.to_owned(), sha256, ignore_case, context, entries: Arc::new(entries) })
    }

    /// What stands in place of a find: the name in capitals, in brackets.
    pub fn mark(&self) -> String {
        format!("[{}]", self.name.to_ascii_uppercase())
    }
}

/// A word that begins sentences, the name of a day or the like, in any case.
fn is_common(entry: &str) -> bool {
    static COMMON: OnceLock<BTreeSet<String>> = OnceLock::new();
    let common = || entries_of(COMMON_WORDS).map(|word| word.to_lowercase()).collect();
    COMMON.get_or_init(common).contains(&entry.to_lowercase())
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dictionary")
            .field("name", &self.name)
            .field("sha256", &self.sha256)
            .field("ignore_case", &self.ignore_case)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// The dictionaries of a stage, compiled, in its order.
#[derive(Default)]
pub(super) struct Dictionaries(Vec<Compiled>);

struct Compiled {
    entries: AhoCorasick,
    context: Option<AhoCorasick>,
}

impl Dictionaries {
    /// Compiles dictionaries.
    ///
    /// # Errors
    /// [`StageFault::Detectors`] where there is more than an automaton can hold.
    pub(super) fn new(dictionaries: &[Dictionary]) -> Result<Self, StageFault> {
        let build = |ignore_case: bool, words: &mut dyn Iterator<Item = &String>| {
            AhoCorasick::builder()
                .ascii_case_insensitive(ignore_case)
                // The longest entry that ends at a border must be seen behind one that does not.
                .match_kind(MatchKind::Standard)
                .build(words)
                .map_err(|_| StageFault::Detectors("a dictionary is too large"))
        };
        let compile = |dictionary: &Dictionary| {
            let written: BTreeSet<String> = dictionary
                .entries
                .iter()
                .flat_map(|e| writings(e, dictionary.ignore_case))
                .collect();
            Ok(Compiled {
                entries: build(dictionary.ignore_case, &mut written.iter())?,
                context: match &dictionary.context[..] {
                    [] => None,
                    words => Some(build(true, &mut words.iter())?),
                },
            })
        };
        dictionaries.iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls `each` for what the dictionaries find: whole words only, and of entries of one that
    /// begin at one place the longest.
    pub(super) fn find(&self, text: &str, mut each: impl FnMut(u8, Range<usize>)) {
        let bytes = text.as_bytes();
        for (at, dictionary) in (0..).zip(&self.0) {
            let mut longest: BTreeMap<usize, usize> = BTreeMap::new();
            for found in dictionary.entries.find_overlapping_iter(text) {
                if is_border(bytes, found.start()) && is_border(bytes, found.end()) {
                    // Of one place the longest ends last.
                    longest.insert(found.start(), found.end());
                }
            }
            for (start, end) in longest {
                if dictionary.has_context(bytes, start) {
                    each(at, start..end);
                }
            }
        }
    }
}

/// How an entry may be written: as it is, all in capitals, and, where its case is nothing, each
/// way that is not told by ASCII letters alone; composed and decomposed.
fn writings(entry: &str, ignore_case: bool) -> BTreeSet<String> {
    let mut cases = vec![entry.to_owned(), entry.to_uppercase()];
    if ignore_case {
        cases.push(entry.to_lowercase());
        let mut first = true;
        let title = entry.chars().flat_map(|c| {
            let upper = first;
            first = !c.is_alphanumeric();
            let cased: Vec<char> =
                if upper { c.to_uppercase().collect() } else { c.to_lowercase().collect() };
            cased
        });
        cases.push(title.collect());
    }
    let decomposed: Vec<String> = cases.iter().map(|case| case.nfd().collect()).collect();
    cases.into_iter().chain(decomposed).collect()
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

    fn dictionary(entries: &str, ignore_case: bool, context: &[&str]) -> Dictionary {
        let context = context.iter().map(|word| (*word).to_owned()).collect();
        Dictionary::parse("project", entries, ignore_case, context).unwrap()
    }

    fn redact(entries: &str, ignore_case: bool, context: &[&str], text: &str) -> String {
        let person = Detector::named("person").unwrap();
        let of = [dictionary(entries, ignore_case, context)];
        let detectors = Detectors::with_dictionaries(&[person], &of).unwrap();
        let (mut out, mut copied) = (String::new(), 0);
        detectors.scan(text, |found| {
            out.push_str(&text[copied..found.start]);
            out.push_str(found.detector().map_or("[PROJECT]", Detector::mark));
            copied = found.end;
        });
        out + &text[copied..]
    }

    #[test]
    fn whole_words_the_longest_in_their_case() {
        let entries = "# projects\nBlue\nBlue Heron\n\n  Ödland  \n";
        let found = |text: &str| redact(entries, false, &[], text);
        assert_eq!(found("Blue Heron, Blue, Bluebird"), "[PROJECT], [PROJECT], Bluebird");
        assert_eq!(found("BLUE HERON in ÖDLAND, blue heron"), "[PROJECT] in [PROJECT], blue heron");
        assert_eq!(found("O\u{308}dland, ödland"), "[PROJECT], ödland");
        let any = |text: &str| redact("öztürk-şahin\nblue heron", true, &[], text);
        assert_eq!(any("bLue hEron, ÖZTÜRK-ŞAHIN"), "[PROJECT], [PROJECT]");
        assert_eq!(any("Öztürk-Şahin, öztürk-şahin"), "[PROJECT], [PROJECT]");
    }

    /// What the user names is more than what the lists guess, and less than what is longer.
    #[test]
    fn stands_before_the_detectors_own_words() {
        let found = |text: &str| redact("Ada Lovelace", false, &[], text);
        assert_eq!(found("asked Ada Lovelace today"), "asked [PROJECT] today");
        assert_eq!(found("asked Grace Hopper today"), "asked [PERSON] today");
    }

    #[test]
    fn of_nested_entries_the_longest_at_each_place() {
        let entries: String = (2..40).map(|count| "ab ".repeat(count) + "\n").collect();
        let mut spans = Vec::new();
        let text = "ab ".repeat(100);
        let compiled = Dictionaries::new(&[dictionary(&entries, false, &[])]).unwrap();
        compiled.find(&text, |_, span| spans.push(span));
        assert_eq!((spans.len(), spans[0].clone()), (99, 0..39 * 3 - 1));
    }

    #[test]
    fn context_stands_before_it() {
        let found = |text: &str| redact("Blue\nXy", false, &["project"], text);
        assert_eq!(found("Project Blue, Blue"), "Project [PROJECT], [PROJECT]");
        assert_eq!(found("Blue projects, Xy"), "Blue projects, [PROJECT]");
        assert_eq!(found("Blue and Xy"), "Blue and Xy");
    }

    #[test]
    fn files_bad_entry_bad_none_bad_many() {
        let fault = |text: &str| Dictionary::parse("project", text, false, Vec::new()).unwrap_err();
        assert_eq!(
            fault(&format!("Abd\nxy\n# no\nmonday\n{}", "x".repeat(129))),
            [(2, EntryFault::Short(3)), (4, EntryFault::Common), (5, EntryFault::Long)]
        );
        assert_eq!(fault("# nothing\n"), [(1, EntryFault::None)]);
        let many: String = (0..=ENTRIES_MAX).map(|n| format!("entry {n}\n")).collect();
        assert_eq!(fault(&many), [(ENTRIES_MAX + 1, EntryFault::TooMany)]);
    }

    #[test]
    fn names_bad_detector_bad_sign_bad_length() {
        assert!(is_name("staff") && is_name("staff_2"));
        for bad in ["", "email", "Staff", "2staff", "_staff", "st-aff", &"x".repeat(33)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_file_is_told_by_its_digest_and_not_by_what_it_holds() {
        let ada = dictionary("Ada Secret", false, &[]);
        // printf 'Ada Secret' | sha256sum
        let digest = "c2c6af7fe5bb517659967130a25222fb13f03223a2e4388ee7f36933fdfcb0db";
        assert_eq!(ada.sha256, digest);
        assert!(!format!("{ada:?}").contains("Secret") && ada.mark() == "[PROJECT]");
        assert_ne!(ada, dictionary("Ada Secret", true, &[]));
    }
}
