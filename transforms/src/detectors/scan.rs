//! One pass over a text for many detectors.
//!
//! A text that can hold nothing is passed over by counting. In the others a place is looked at
//! closer only where the next four bytes and the one before allow a match of some detector; there
//! each of these runs its own anchored automaton. Of the finds at one place the longest counts. So
//! the time is linear in the text: a byte is read by an automaton once for each place before it
//! where a match may start, and matches are bounded or start at the border of a word only.

use std::ops::Range;

use super::dictionary::{Dictionaries, Dictionary};
use super::lead::{Counts, LEAD_BYTES, MARK_BYTES, is_mark};
use super::words::Words;
use super::{Detector, Edge, Find, Pattern, Start};
use crate::fault::StageFault;

/// Most detectors of one pass that look around a byte: a text has a place for each, not a list.
const AROUND_MAX: usize = 2;

/// No number is longer, its separators among it.
const NUMBER_BYTES_MAX: usize = 256;

/// Who found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A detector.
    Detector(Detector),
    /// The dictionary at this place of those that the pass has.
    Dictionary(u8),
}

/// A find: bytes `start..end` of the scanned text, on character borders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was found.
    pub kind: Kind,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Found {
    /// The detector that found it; `None` for a dictionary's find.
    pub fn detector(&self) -> Option<Detector> {
        match self.kind {
            Kind::Detector(detector) => Some(detector),
            Kind::Dictionary(_) => None,
        }
    }

    fn is_of_words(&self) -> bool {
        let words = |detector: Detector| matches!(detector.spec().find, Find::Words { .. });
        self.detector().is_none_or(words)
    }
}

/// Several detectors as one pass.
pub struct Detectors {
    /// Those that a text may hold: what each needs.
    needs: Vec<(u64, Counts)>,
    /// Detectors whose match may have a byte at a place from its start, one bit each.
    leads: [[u64; 256]; LEAD_BYTES],
    /// Detectors whose find may stand right after a byte.
    follows: [u64; 256],
    /// Detectors whose match may begin with a byte: behind any other, and behind a digit.
    firsts: [[u64; 256]; 2],
    /// Detectors whose match may begin without a mark.
    unmarked: u64,
    /// Those that are looked for around a byte.
    around: Vec<Around>,
    /// Those that are looked for word by word.
    words: Vec<Detector>,
    dictionaries: Dictionaries,
}

struct Around {
    detector: Detector,
    byte: u8,
    first: fn(&[u8], usize, usize) -> usize,
}

/// The next find around a byte.
#[derive(Default)]
struct Ahead {
    /// Where the byte is looked for next, and whether there is none left.
    searched: usize,
    exhausted: bool,
    /// The byte and the find around it.
    found: Option<(usize, Found)>,
}

/// A text while it is walked through.
struct Row<'t> {
    bytes: &'t [u8],
    /// Detectors whose needs it meets.
    active: u64,
    /// Finds around a byte, one for each of `Detectors::around`.
    ahead: [Ahead; AROUND_MAX],
    /// Finds of words, in order.
    named: std::iter::Peekable<std::vec::IntoIter<Found>>,
}

impl Detectors {
    /// Prepares the detectors; the order in which they are named makes no difference.
    ///
    /// # Errors
    /// [`StageFault::Detectors`] where a pattern does not compile.
    pub fn new(named: &[Detector]) -> Result<Self, StageFault> {
        Self::with_dictionaries(named, &[])
    }

    /// As [`Self::new`], with dictionaries beside the detectors.
    ///
    /// # Errors
    /// As [`Self::new`]; a dictionary that is too large.
    pub fn with_dictionaries(
        named: &[Detector],
        dictionaries: &[Dictionary],
    ) -> Result<Self, StageFault> {
        let mut all = Self {
            needs: Vec::new(),
            leads: [[0; 256]; LEAD_BYTES],
            follows: [0; 256],
            firsts: [[0; 256]; 2],
            unmarked: 0,
            around: Vec::new(),
            words: Vec::new(),
            dictionaries: Dictionaries::new(dictionaries)?,
        };
        for detector in Detector::ALL.into_iter().filter(|detector| named.contains(detector)) {
            match &detector.spec().find {
                Find::Pattern(pattern) => all.add(detector, pattern)?,
                Find::Words { .. } => {
                    all.needs.push((detector.bit(), Counts { bytes: 2, ..Counts::default() }));
                    all.words.push(detector);
                }
            }
        }
        Ok(all)
    }

    fn add(&mut self, detector: Detector, pattern: &Pattern) -> Result<(), StageFault> {
        let lead = detector.lead().ok_or(StageFault::Detectors("a pattern does not compile"))?;
        self.needs.extend(lead.needs.iter().map(|needs| (detector.bit(), *needs)));
        if let Start::Around { byte, first } = pattern.start {
            if self.around.len() == AROUND_MAX {
                return Err(StageFault::Detectors("too many that look around a byte"));
            }
            self.around.push(Around { detector, byte, first });
            return Ok(());
        }
        for (places, may) in self.leads.iter_mut().zip(&lead.starts) {
            for (detectors, may) in places.iter_mut().zip(may) {
                *detectors |= detector.bit() * u64::from(*may);
            }
        }
        for byte in 0..=255_u8 {
            let bit = detector.bit() * u64::from(lead.starts[0][usize::from(byte)]);
            let inside = pattern.not_after == Edge::Number && byte.is_ascii_digit();
            self.firsts[0][usize::from(byte)] |= bit;
            self.firsts[1][usize::from(byte)] |= bit * u64::from(!inside);
        }
        self.unmarked |= detector.bit() * u64::from(!lead.marked);
        for (byte, detectors) in (0..=255).zip(&mut self.follows) {
            *detectors |= detector.bit() * u64::from(!pattern.not_after.holds(byte));
        }
        Ok(())
    }

    /// Calls `each` for every find, in order; finds do not overlap.
    pub fn scan(&self, text: &str, each: impl FnMut(Found)) {
        let active = self.active(text.as_bytes());
        if active != 0 || !self.dictionaries.is_empty() {
            self.scan_for(text, active, each);
        }
    }

    /// Detectors whose needs a text meets.
    fn active(&self, text: &[u8]) -> u64 {
        let counts = Counts::of(text);
        let met = self.needs.iter().filter(|(_, needs)| counts.reach(needs));
        met.fold(0, |active, (bit, _)| active | bit)
    }

    /// As [`Self::scan`], for these detectors and whatever the text is.
    pub(super) fn scan_for(&self, text: &str, active: u64, mut each: impl FnMut(Found)) {
        let bytes = text.as_bytes();
        let mut row = Row {
            bytes,
            active,
            ahead: Default::default(),
            named: self.named(text, active).into_iter().peekable(),
        };
        let mut from = 0;
        while let Some(mut found) = self.next(&mut row, from) {
            found.end = self.settle(&row, found);
            while !text.is_char_boundary(found.start) {
                found.start -= 1;
            }
            while !text.is_char_boundary(found.end) {
                found.end += 1;
            }
            from = found.end;
            each(found);
        }
    }

    /// Finds of words: in order, the longest at each place, none inside another.
    fn named(&self, text: &str, active: u64) -> Vec<Found> {
        let mut all = Vec::new();
        let found =
            |kind: Kind, span: Range<usize>| Found { kind, start: span.start, end: span.end };
        self.dictionaries.find(text, |at, span| all.push(found(Kind::Dictionary(at), span)));
        if self.words.iter().any(|detector| active & detector.bit() != 0) {
            let words = Words::new(text);
            let mut spans = Vec::new();
            for detector in self.words.iter().filter(|detector| active & detector.bit() != 0) {
                if let Find::Words { scan, .. } = detector.spec().find {
                    scan(&words, &mut spans);
                }
                all.extend(spans.drain(..).map(|span| found(Kind::Detector(*detector), span)));
            }
        }
        // Stable: of equal ones a dictionary's, then the first detector's.
        all.sort_by_key(|found| (found.start, std::cmp::Reverse(found.end)));
        let mut end = 0;
        all.retain(|found| {
            let keep = found.start >= end;
            end = if keep { found.end } else { end };
            keep
        });
        all
    }

    /// The next find from a place on.
    fn next(&self, row: &mut Row<'_>, from: usize) -> Option<Found> {
        let around = self.next_around(row, from);
        let named = next_named(row, from);
        let starts = [around, named].into_iter().flatten().map(|found| found.start);
        let stop = starts.min().unwrap_or(row.bytes.len());
        let mut at = from;
        loop {
            at = self.candidate(row, at, stop);
            let here = |found: &Found| found.start == at;
            let mut best = self.longest_at(row, at);
            for found in [around.filter(here), named.filter(here)].into_iter().flatten() {
                if best.is_none_or(|best| best.end < found.end) {
                    best = Some(found);
                }
            }
            if best.is_some() || at >= row.bytes.len() {
                return best;
            }
            at += 1;
        }
    }

    /// The first place from `from` on, before `stop`, where a match may start; else `stop`. Sixteen
    /// bytes without a mark rule out all places whose first bytes they hold, where matches have one;
    /// else eight places are asked together, by four bytes each and without a branch.
    fn candidate(&self, row: &Row<'_>, from: usize, stop: usize) -> usize {
        const PLACES: usize = 8;
        const ASKED: usize = 4;
        const MARKED: usize = 16;
        let bytes = row.bytes;
        let [first, second, third, fourth, ..] = &self.leads;
        let marked = row.active & self.unmarked == 0;
        let whole = stop.min(bytes.len().saturating_sub(ASKED - 1));
        let mut at = from;
        while at + PLACES <= whole {
            if marked
                && let Some(part) = bytes[at..].first_chunk::<MARKED>()
                && !part.iter().fold(false, |any, byte| any | is_mark(*byte))
            {
                at += MARKED - (MARK_BYTES - 1);
                continue;
            }
            let Some(part) = bytes[at..].first_chunk::<{ PLACES + ASKED - 1 }>() else { break };
            let (mut any, mut here) = (0, [0; PLACES]);
            for (place, here) in here.iter_mut().enumerate() {
                *here = first[usize::from(part[place])]
                    & second[usize::from(part[place + 1])]
                    & third[usize::from(part[place + 2])]
                    & fourth[usize::from(part[place + 3])]
                    & row.active;
                any |= *here;
            }
            if any != 0 {
                let may = |(place, here): (usize, &u64)| {
                    *here != 0 && *here & self.may_start(bytes, at + place) != 0
                };
                if let Some(place) = here.iter().enumerate().position(may) {
                    return at + place;
                }
            }
            at += PLACES;
        }
        let at = at.min(stop);
        let may = |at: &usize| row.active & self.may_start(bytes, *at) != 0;
        // What is left is too short to be ruled out by four bytes.
        (at..whole).find(may).unwrap_or(at.max(whole)).min(stop)
    }

    /// Detectors of which a match may start at a place, by the bytes around it.
    fn may_start(&self, bytes: &[u8], at: usize) -> u64 {
        let after = match at.checked_sub(1).map(|before| bytes[before]) {
            None => u64::MAX,
            Some(before) => {
                let firsts = &self.firsts[usize::from(before.is_ascii_digit())];
                self.follows[usize::from(before)] & firsts[usize::from(bytes[at])]
            }
        };
        let lead = self.leads.iter().zip(&bytes[at..]);
        lead.fold(after, |may, (place, byte)| may & place[usize::from(*byte)])
    }

    /// The longest find of a pattern that starts at a place; of equal ones the first detector's.
    fn longest_at(&self, row: &Row<'_>, at: usize) -> Option<Found> {
        if at >= row.bytes.len() {
            return None;
        }
        let mut longest: Option<Found> = None;
        let mut may = self.may_start(row.bytes, at) & row.active;
        while may != 0 {
            let detector = Detector(may.trailing_zeros() as u8);
            may &= may - 1;
            if let Some(end) = detector.end_at(row.bytes, at)
                && longest.is_none_or(|other| other.end < end)
            {
                longest = Some(Found { kind: Kind::Detector(detector), start: at, end });
            }
        }
        longest
    }

    /// The first find around a byte that starts at a place or later.
    fn next_around(&self, row: &mut Row<'_>, from: usize) -> Option<Found> {
        let Row { bytes, active, ahead, .. } = row;
        let finds = self.around.iter().zip(ahead).filter_map(|(around, ahead)| {
            let wanted = *active & around.detector.bit() != 0;
            wanted.then(|| around.next(bytes, ahead, from)).flatten()
        });
        finds.min_by_key(|found| found.start)
    }

    /// Where a find ends, given the finds that start at a later digit group of it and go on beyond
    /// it: one of another kind ends it before that group, one of the same kind makes it longer.
    /// Else the rest of a number would stay behind a find that took its first digits. A group that
    /// stands behind letters of the same find is no number of its own.
    ///
    /// Only the last bytes of a find are asked: what begins at a digit group and holds a byte that
    /// a longer find ends at is a number, and no number is longer.
    fn settle(&self, row: &Row<'_>, mut found: Found) -> usize {
        let bytes = row.bytes;
        if found.is_of_words() {
            return self.settle_words(row, found);
        }
        let mut group = found.start.max(found.end.saturating_sub(NUMBER_BYTES_MAX));
        while let Some((before, start)) = next_group(bytes, group, found.end) {
            let opened = matches!(bytes[start - 1], b'+' | b'(') && start > before;
            let at = start - usize::from(opened);
            let apart = !bytes[before..at].iter().any(|byte| super::Edge::Word.holds(*byte));
            if apart && let Some(other) = self.beyond(row, at, found.end) {
                if other.kind != found.kind {
                    return before;
                }
                found.end = other.end;
            }
            group = start;
        }
        found.end
    }

    /// Where a find of words ends: before a word of it at which another find begins that goes on
    /// beyond it, as a house number may be the first group of a longer number.
    fn settle_words(&self, row: &Row<'_>, found: Found) -> usize {
        let word = |at: &usize| super::Edge::Word.holds(row.bytes[*at]);
        let first = (found.start + 1).max(found.end.saturating_sub(NUMBER_BYTES_MAX));
        let mut starts = (first..found.end).filter(|at| word(at) && !word(&(at - 1)));
        let cut = starts.find(|at| self.beyond(row, *at, found.end).is_some());
        let before = cut.and_then(|at| (found.start..at).rfind(word));
        before.map_or(found.end, |last| last + 1)
    }

    /// A find that starts at a place and goes on beyond another.
    fn beyond(&self, row: &Row<'_>, at: usize, end: usize) -> Option<Found> {
        let around = row.ahead.iter().filter_map(|ahead| ahead.found.map(|(_, found)| found));
        let around = around.filter(|other| other.start == at);
        around
            .chain(std::iter::once_with(|| self.longest_at(row, at)).flatten())
            .find(|other| other.end > end)
    }
}

impl Detector {
    /// Where its find at a place ends, if there is one.
    fn end_at(self, bytes: &[u8], at: usize) -> Option<usize> {
        let Find::Pattern(pattern) = &self.spec().find else { return None };
        let end = self.lead()?.end(bytes, at)?;
        let end = (pattern.accept)(bytes, at..end)?.end;
        let borders = bytes.get(end).is_none_or(|byte| !pattern.not_before.holds(*byte));
        (borders && end > at).then_some(end)
    }
}

impl Around {
    /// The next find that starts at `from` or later. A byte around which there was none is not
    /// looked at again: with less room before it there is none either.
    fn next(&self, bytes: &[u8], ahead: &mut Ahead, from: usize) -> Option<Found> {
        let mut at = match ahead.found {
            Some((_, found)) if found.start >= from => return Some(found),
            Some((byte, _)) if byte >= from => Some(byte),
            _ => self.find(bytes, ahead, from),
        };
        ahead.found = None;
        while let Some(byte) = at {
            let start = (self.first)(bytes, byte, from);
            ahead.searched = byte + 1;
            if let Some(end) = self.detector.end_at(bytes, start).filter(|end| *end > byte) {
                let found = Found { kind: Kind::Detector(self.detector), start, end };
                ahead.found = Some((byte, found));
                return Some(found);
            }
            at = self.find(bytes, ahead, from);
        }
        None
    }

    fn find(&self, bytes: &[u8], ahead: &mut Ahead, from: usize) -> Option<usize> {
        if ahead.exhausted {
            return None;
        }
        let from = from.max(ahead.searched);
        let found = memchr::memchr(self.byte, bytes.get(from..)?).map(|at| from + at);
        ahead.exhausted = found.is_none();
        found
    }
}

/// The next find of words that is not behind a place. One that begins before it is cut: what is
/// left of it is still part of a name.
fn next_named(row: &mut Row<'_>, from: usize) -> Option<Found> {
    while let Some(found) = row.named.peek().copied() {
        if found.start >= from {
            return Some(found);
        }
        let rest = &row.bytes[from.min(found.end)..found.end];
        let word = |byte: &u8| super::Edge::Word.holds(*byte);
        if let Some(skip) = rest.iter().position(word) {
            return Some(Found { start: from + skip, ..found });
        }
        row.named.next();
    }
    None
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

/// Most groups of one number; what is beyond is no part of it.
const GROUPS_MAX: usize = 24;

/// Digit groups, without an allocation: most numbers are looked at and are none.
pub(super) struct Groups {
    starts: [usize; GROUPS_MAX],
    lengths: [usize; GROUPS_MAX],
    count: usize,
}

impl Groups {
    fn push(&mut self, start: usize, length: usize) {
        if self.count < GROUPS_MAX {
            (self.starts[self.count], self.lengths[self.count]) = (start, length);
            self.count += 1;
        }
    }

    /// How long each is.
    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths[..self.count]
    }

    /// Where each ends.
    pub(super) fn ends(&self) -> impl Iterator<Item = usize> {
        (0..self.count).map(|at| self.starts[at] + self.lengths[at])
    }
}

/// The digit groups in a part of a text. A group that goes on beyond the part is
/// left out, at both ends.
pub(super) fn whole_groups(bytes: &[u8], range: Range<usize>) -> Groups {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut groups = Groups { starts: [0; GROUPS_MAX], lengths: [0; GROUPS_MAX], count: 0 };
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
            groups.push(start, at - start);
        }
    }
    groups
}
