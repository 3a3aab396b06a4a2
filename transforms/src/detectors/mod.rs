//! Detectors: what is found in free text. One file each: pattern, validator, examples, refusals.
//!
//! Patterns are tried where they may start; a validator then looks at each match,
//! may shrink it to a part at borders of digit groups, or refuse it. Rows that cannot hold anything
//! are passed over by counting: each detector says what a row needs at least.
//!
//! What no detector here finds: names, addresses, health, words that describe a person, numbers
//! written as words or in digits other than ASCII's, addresses like `ada at example dot org`.

pub mod card;
pub mod email;
pub mod iban;
pub mod phone;

use std::ops::Range;

use data_encoding::HEXLOWER;
use douane_schemas::tuple::Tuple;
use regex_automata::meta::{Config, Regex};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, PatternID};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fault::StageFault;

/// What can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// E-mail addresses.
    Email,
    /// Telephone numbers: international, and national ones with a trunk zero or in North
    /// American grouping.
    Phone,
    /// Payment card numbers: 13 to 19 digits with a right Luhn digit.
    Card,
    /// International bank account numbers: country, its length, right check digits (mod 97). A
    /// mistyped one is not found.
    Iban,
}

/// What a detector is: one constant per file.
pub struct Spec {
    /// As written in YAML.
    pub name: &'static str,
    /// What stands in place of a find.
    pub mark: &'static str,
    /// Byte pattern, without Unicode.
    pattern: &'static str,
    /// What a row that holds a match has at least.
    needs: Needs,
    /// Whether a match may begin these bytes: a necessary condition, and a cheap one.
    starts: fn(&[u8]) -> bool,
    /// The part of a match that is a find.
    accept: fn(&[u8], Range<usize>) -> Option<Range<usize>>,
    /// Text and what redaction makes of it; executed by the tests.
    pub examples: &'static [(&'static str, &'static str)],
    /// Text that stays as it is; executed by the tests.
    pub refusals: &'static [&'static str],
}

/// A necessary condition on a row.
#[derive(Clone, Copy)]
struct Needs {
    /// An `@`.
    at_sign: bool,
    /// ASCII digits.
    digits: usize,
}

impl Detector {
    /// All of them, in the order in which they are tried at one place.
    pub const ALL: [Self; 4] = [Self::Email, Self::Iban, Self::Phone, Self::Card];

    /// The detector's constant.
    pub fn spec(self) -> &'static Spec {
        match self {
            Self::Email => &email::SPEC,
            Self::Phone => &phone::SPEC,
            Self::Card => &card::SPEC,
            Self::Iban => &iban::SPEC,
        }
    }

    /// As written in YAML.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// What stands in place of a find.
    pub fn mark(self) -> &'static str {
        self.spec().mark
    }

    /// SHA-256 of name, pattern and mark in hexadecimal, for the fingerprint. What the validators
    /// do is covered by `redact`'s `semantics` number.
    pub fn digest(self) -> String {
        let spec = self.spec();
        let tuple = Tuple::new().text(spec.name).text(spec.pattern).text(spec.mark).finish();
        HEXLOWER.encode(&Sha256::digest(&tuple))
    }
}

/// A find: bytes `start..end` of the scanned text, on character borders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was found.
    pub detector: Detector,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Several detectors as one pass.
pub struct Detectors {
    detectors: Vec<Detector>,
    /// All patterns, each asked for at a place where it may start. Looked for everywhere at once,
    /// runs of digits would make a state of the automaton each: which of them a number may start
    /// at is another set for every number.
    regex: Regex,
    /// The pattern of addresses alone, looked for everywhere.
    address: Option<Regex>,
}

impl Detectors {
    /// Compiles the detectors; the order in which they are named makes no difference.
    ///
    /// # Errors
    /// [`StageFault::Detectors`] where the patterns do not compile.
    pub fn new(named: &[Detector]) -> Result<Self, StageFault> {
        let detectors: Vec<_> = Detector::ALL.into_iter().filter(|d| named.contains(d)).collect();
        let patterns: Vec<_> = detectors.iter().map(|d| d.spec().pattern).collect();
        // Unicode classes would drop the lazy DFA on rows with one letter outside ASCII.
        let compile = |patterns: &[&str]| {
            Regex::builder()
                .configure(Config::new().utf8_empty(false))
                .syntax(syntax::Config::new().unicode(false).utf8(false))
                .build_many(patterns)
                .map_err(|_| StageFault::Detectors("the patterns do not compile"))
        };
        let address = detectors.iter().find(|d| d.spec().needs.at_sign);
        let address = address.map(|d| compile(&[d.spec().pattern])).transpose()?;
        Ok(Self { regex: compile(&patterns)?, detectors, address })
    }

    /// Calls `each` for every find, in order; finds do not overlap.
    pub fn scan(&self, text: &str, each: impl FnMut(Found)) {
        if self.worth(text.as_bytes()) {
            self.scan_all(text, each);
        }
    }

    /// Whether a row can hold a find.
    fn worth(&self, text: &[u8]) -> bool {
        let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
        let at_sign = memchr::memchr(b'@', text).is_some();
        self.detectors
            .iter()
            .map(|d| d.spec().needs)
            .any(|needs| digits >= needs.digits && (at_sign || !needs.at_sign))
    }

    fn scan_all(&self, text: &str, mut each: impl FnMut(Found)) {
        let bytes = text.as_bytes();
        let (mut from, mut address) = (0, self.address_from(bytes, 0));
        loop {
            if address.is_some_and(|start| start < from) {
                address = self.address_from(bytes, from);
            }
            let number = (from..address.unwrap_or(bytes.len())).find(|at| self.number(bytes, *at));
            let Some(start) = number.or(address) else { return };
            let Some((detector, mut span)) = self.longest_at(bytes, start) else {
                from = resume(bytes, start);
                continue;
            };
            span.end = self.settle(bytes, detector, span.clone());
            while !text.is_char_boundary(span.start) {
                span.start -= 1;
            }
            while !text.is_char_boundary(span.end) {
                span.end += 1;
            }
            each(Found { detector, start: span.start, end: span.end });
            from = span.end;
        }
    }

    /// Where the next match of an address starts, from a place on.
    fn address_from(&self, bytes: &[u8], from: usize) -> Option<usize> {
        memchr::memchr(b'@', &bytes[from..])?;
        Some(self.address.as_ref()?.find(Input::new(bytes).range(from..))?.start())
    }

    /// Whether a match of anything but an address starts at a place.
    fn number(&self, bytes: &[u8], at: usize) -> bool {
        let mut detectors = self.detectors.iter().enumerate();
        detectors.any(|(index, detector)| {
            !detector.spec().needs.at_sign
                && (detector.spec().starts)(&bytes[at..])
                && self.regex.is_match(anchored(bytes, at, index))
        })
    }

    /// The longest find that starts at a place; of equal ones the first detector's.
    fn longest_at(&self, bytes: &[u8], at: usize) -> Option<(Detector, Range<usize>)> {
        let mut longest: Option<(Detector, Range<usize>)> = None;
        for (index, detector) in self.detectors.iter().enumerate() {
            if !(detector.spec().starts)(&bytes[at..]) {
                continue;
            }
            let span = self
                .regex
                .find(anchored(bytes, at, index))
                .and_then(|found| (detector.spec().accept)(bytes, found.range()));
            if let Some(span) = span
                && longest.as_ref().is_none_or(|(_, other)| other.end < span.end)
            {
                longest = Some((*detector, span));
            }
        }
        longest
    }

    /// Where a find ends, given the finds that start at a later digit group of it and go on beyond
    /// it: one of another kind ends it before that group, one of the same kind makes it longer.
    /// Else the rest of a number would stay behind a find that took its first digits.
    fn settle(&self, bytes: &[u8], of: Detector, mut span: Range<usize>) -> usize {
        let mut group = span.start;
        while let Some((before, start)) = next_group(bytes, group, span.end) {
            let opened = matches!(bytes[start - 1], b'+' | b'(') && start > before;
            let at = start - usize::from(opened);
            if let Some((detector, other)) = self.longest_at(bytes, at)
                && other.end > span.end
            {
                if detector != of {
                    return before;
                }
                span.end = other.end;
            }
            group = start;
        }
        span.end
    }
}

/// One pattern, at one place.
fn anchored(bytes: &[u8], at: usize, index: usize) -> Input<'_> {
    Input::new(bytes).range(at..).anchored(Anchored::Pattern(PatternID::must(index)))
}

/// End of the digit group at or after `from`, and the start of the one after it, if that lies
/// before `end`.
fn next_group(bytes: &[u8], from: usize, end: usize) -> Option<(usize, usize)> {
    let digit = |at: &usize| bytes[*at].is_ascii_digit();
    let first = (from..end).find(digit)?;
    let before = (first..end).find(|at| !digit(at))?;
    let start = (before..end).find(digit)?;
    Some((before, start))
}

/// Where to go on after a match that was refused: past the first digit group, or the first byte.
/// No find starts inside a digit group.
fn resume(bytes: &[u8], start: usize) -> usize {
    let group = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    start + group.max(1)
}

/// The digit groups in a part of a text, as byte ranges. A group that goes on beyond the part is
/// left out, at both ends.
fn whole_groups(bytes: &[u8], range: Range<usize>) -> Vec<Range<usize>> {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut at = range.start;
    while at < range.end {
        if !digit(at) {
            at += 1;
            continue;
        }
        let start = at;
        while at < range.end && digit(at) {
            at += 1;
        }
        let cut = (start > 0 && digit(start - 1)) || digit(at);
        if !cut {
            groups.push(start..at);
        }
    }
    groups
}

#[cfg(test)]
mod scorecard;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redact(detectors: &Detectors, text: &str, prefilter: bool) -> String {
        let mut out = String::new();
        let mut copied = 0;
        let each = |found: Found| {
            out.push_str(&text[copied..found.start]);
            out.push_str(found.detector.mark());
            copied = found.end;
        };
        match prefilter {
            true => detectors.scan(text, each),
            false => detectors.scan_all(text, each),
        }
        out + &text[copied..]
    }

    #[test]
    fn examples_and_refusals_of_every_detector() {
        let all = Detectors::new(&Detector::ALL).unwrap();
        for detector in Detector::ALL {
            let spec = detector.spec();
            let alone = Detectors::new(&[detector]).unwrap();
            assert!(spec.examples.len() >= 5 && spec.refusals.len() >= 5, "{}", spec.name);
            for (text, expected) in spec.examples {
                assert_eq!(redact(&alone, text, true), *expected);
                assert_eq!(redact(&all, text, true), *expected);
            }
            for text in spec.refusals {
                assert_eq!(redact(&alone, text, true), *text);
            }
        }
    }

    #[test]
    fn neighbours_do_not_hide_each_other() {
        let all = Detectors::new(&Detector::ALL).unwrap();
        for (text, expected) in [
            ("12 4111 1111 1111 1111", "12 [CARD]"),
            ("4111 1111 1111 1111 2025", "[CARD] 2025"),
            ("1234 5678 4111 1111 1111 1111 9999", "1234 5678 [CARD] 9999"),
            ("+1 202 555 0123 4111 1111 1111 1111", "[PHONE] [CARD]"),
            ("+49 151 1234567 4111111111111111", "[PHONE] [CARD]"),
            ("4111111111111111 5500005555555559", "[CARD] [CARD]"),
            ("a@b.de,c@d.fr;+12025550123", "[EMAIL],[EMAIL];[PHONE]"),
            ("DE89370400440532013000 GB82 WEST 1234 5698 7654 32", "[IBAN] [IBAN]"),
            ("+491511234567@example.org", "[EMAIL]"),
            ("ref +12 4111 1111 1111 1111", "ref [PHONE] [CARD]"),
            ("+49 30 123456 030 654321", "[PHONE]"),
            ("+49 30 1234567 (0151) 23456", "[PHONE]"),
        ] {
            assert_eq!(redact(&all, text, true), expected);
        }
    }

    /// The negative control of the refusals: without its validator a detector takes them.
    #[test]
    fn validators_decide() {
        let card = Detectors::new(&[Detector::Card]).unwrap();
        assert_eq!(redact(&card, "4111111111111111", true), "[CARD]");
        assert_eq!(redact(&card, "4111111111111112", true), "4111111111111112");
        let iban = Detectors::new(&[Detector::Iban]).unwrap();
        assert_eq!(redact(&iban, "DE89370400440532013000", true), "[IBAN]");
        assert_eq!(redact(&iban, "DE88370400440532013000", true), "DE88370400440532013000");
    }

    #[test]
    fn long_digit_runs_take_linear_time() {
        let all = Detectors::new(&Detector::ALL).unwrap();
        for text in ["1".repeat(1 << 18), "1 ".repeat(1 << 17), "+1".repeat(1 << 17)] {
            let mut finds = 0;
            all.scan(&text, |_| finds += 1);
            assert!(finds <= text.len() / 7);
        }
    }

    /// A run without spaces is one local part for as long as it goes on.
    #[test]
    fn long_runs_without_spaces_take_linear_time() {
        let all = Detectors::new(&Detector::ALL).unwrap();
        for (text, least) in [
            ("+12025550123/".repeat(30_000), 30_000),
            (format!("{}@b", "+12025550123/".repeat(30_000)), 30_000),
            (format!("{}@b.de", "1/".repeat(50_000)), 1),
            (format!("a@{}de", "1.".repeat(50_000)), 1),
        ] {
            let (start, mut finds) = (std::time::Instant::now(), 0);
            all.scan(&text, |_| finds += 1);
            assert!(finds >= least, "{finds}");
            assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
        }
    }

    #[test]
    fn long_local_parts_and_labels_of_addresses_are_found() {
        let email = Detectors::new(&[Detector::Email]).unwrap();
        let (local, label) = ("a".repeat(64), "ж".repeat(50));
        assert_eq!(redact(&email, &format!("{local}@{label}.рф"), true), "[EMAIL]");
        assert_eq!(redact(&email, &format!("--{local}@b.de"), true), "--[EMAIL]");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_prefilter_changes_nothing(
            text in "(a|é|@|\\.|de|DE|GB|[0-9]{1,6}| |-|\\+|\\(|\\)|\u{a0}|—){0,40}",
            named in prop::collection::vec(prop::sample::select(Detector::ALL.to_vec()), 1..4),
        ) {
            let detectors = Detectors::new(&named).unwrap();
            prop_assert_eq!(redact(&detectors, &text, true), redact(&detectors, &text, false));
        }

        /// Where a search for all patterns at once finds the first match, and nowhere else.
        #[test]
        fn a_search_for_all_at_once_starts_at_the_same_places(
            text in "(a|é|@|\\.|de|DE|GB|\"|[0-9]{1,6}|00|[A-Z]{2}[0-9]{2}| |-|\\+|\\(|\\)|\u{a0}|—){0,40}",
            named in prop::collection::vec(prop::sample::select(Detector::ALL.to_vec()), 1..4),
        ) {
            let detectors = Detectors::new(&named).unwrap();
            let bytes = text.as_bytes();
            for from in 0..=bytes.len() {
                let all = detectors.regex.find(Input::new(bytes).range(from..)).map(|m| m.start());
                let address = detectors.address_from(bytes, from);
                let until = address.unwrap_or(bytes.len());
                let number = (from..until).find(|at| detectors.number(bytes, *at));
                prop_assert_eq!(number.or(address), all);
            }
        }

        #[test]
        fn finds_are_ordered_and_on_borders(text in "\\PC{0,60}(@a\\.de|\\+4915112345678)?\\PC{0,20}") {
            let all = Detectors::new(&Detector::ALL).unwrap();
            let mut last = 0;
            all.scan(&text, |found| {
                assert!(found.start >= last && found.end > found.start);
                assert!(text.get(found.start..found.end).is_some());
                last = found.end;
            });
        }
    }
}
