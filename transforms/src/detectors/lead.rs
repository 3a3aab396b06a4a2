//! What follows from a pattern alone: its automaton, what a text must hold at least for it to
//! match, and which bytes a match begins with. Both are necessary conditions, derived, not
//! written: a detector that is passed over because of them has no match.

use regex_automata::Anchored;
#[cfg(test)]
use regex_automata::Input;
use regex_automata::dfa::Automaton;
use regex_automata::dfa::dense::{self, DFA};
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Bytes that are looked at before a pattern is tried.
pub(super) const LEAD_BYTES: usize = 8;

/// Bytes from the start of a match among which one is a mark, where the pattern is marked.
pub(super) const MARK_BYTES: usize = 5;

/// A digit, or a sign that numbers and addresses are written with: `+`, `,`, `-`, `.`, `/`, `:`.
/// They are neighbours in ASCII, which makes this one comparison for sixteen bytes.
pub(super) fn is_mark(byte: u8) -> bool {
    byte.wrapping_sub(b'+') <= b':' - b'+'
}

/// Most states at one of the first bytes; beyond it any byte may stand there.
const STATES_MAX: usize = 512;

#[cfg(test)]
thread_local! {
    /// Bytes that the automata of this thread have read, where somebody counts.
    pub(super) static READ: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
}

/// Counts of bytes by kind: what a text has, or what a match has at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) digits: usize,
    pub(super) ats: usize,
    pub(super) colons: usize,
    pub(super) points: usize,
    pub(super) hyphens: usize,
    pub(super) bytes: usize,
}

impl Counts {
    /// Of a text. Sixteen bytes are counted together, each in a byte of its own, of which 255 fit
    /// one: a loop without branches.
    pub(super) fn of(text: &[u8]) -> Self {
        let (whole, rest) = text.as_chunks::<16>();
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        let mut counts = Self { bytes: text.len(), ..Self::default() };
        for parts in whole.chunks(255) {
            counts.add(parts);
        }
        counts.add(&[last]);
        counts
    }

    fn add(&mut self, parts: &[[u8; 16]]) {
        let [mut digits, mut ats, mut colons, mut points, mut hyphens] = [[0_u8; 16]; 5];
        for part in parts {
            for (at, byte) in part.iter().enumerate() {
                digits[at] += u8::from(byte.is_ascii_digit());
                ats[at] += u8::from(*byte == b'@');
                colons[at] += u8::from(*byte == b':');
                points[at] += u8::from(*byte == b'.');
                hyphens[at] += u8::from(*byte == b'-');
            }
        }
        let sum = |counts: [u8; 16]| counts.iter().map(|c| u32::from(*c)).sum::<u32>() as usize;
        self.digits += sum(digits);
        self.ats += sum(ats);
        self.colons += sum(colons);
        self.points += sum(points);
        self.hyphens += sum(hyphens);
    }

    /// Whether a text with these counts can hold a match that needs `least`.
    pub(super) fn reach(&self, least: &Self) -> bool {
        self.digits >= least.digits
            && self.ats >= least.ats
            && self.colons >= least.colons
            && self.points >= least.points
            && self.hyphens >= least.hyphens
            && self.bytes >= least.bytes
    }

    /// Of every match of an expression, at least.
    fn least(hir: &Hir) -> Self {
        let count = |holds: fn(u8) -> bool| least(hir, holds);
        Self {
            digits: count(|byte| byte.is_ascii_digit()),
            ats: count(|byte| byte == b'@'),
            colons: count(|byte| byte == b':'),
            points: count(|byte| byte == b'.'),
            hyphens: count(|byte| byte == b'-'),
            bytes: hir.properties().minimum_len().unwrap_or(0),
        }
    }
}

/// The alternatives that a pattern consists of as a whole.
fn branches(hir: &Hir) -> &[Hir] {
    match hir.kind() {
        HirKind::Alternation(branches) => branches,
        _ => std::slice::from_ref(hir),
    }
}

/// Bytes of a kind in every match of an expression, at least.
fn least(hir: &Hir, holds: fn(u8) -> bool) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.iter().filter(|byte| holds(**byte)).count(),
        HirKind::Class(Class::Bytes(class)) => {
            let mut bytes = class.iter().flat_map(|range| range.start()..=range.end());
            usize::from(bytes.all(holds))
        }
        HirKind::Class(Class::Unicode(_)) => 0,
        HirKind::Repetition(repetition) => {
            (repetition.min as usize).saturating_mul(least(&repetition.sub, holds))
        }
        HirKind::Capture(capture) => least(&capture.sub, holds),
        HirKind::Concat(parts) => parts.iter().map(|part| least(part, holds)).sum(),
        HirKind::Alternation(parts) => {
            parts.iter().map(|part| least(part, holds)).min().unwrap_or(0)
        }
    }
}

/// A pattern, compiled.
pub(super) struct Lead {
    /// Dense and anchored: no cache that a text could overflow, and nothing to lock.
    automaton: DFA<Vec<u32>>,
    /// What a text with a match has: one of these at least, one for each branch of the pattern.
    pub(super) needs: Vec<Counts>,
    /// Whether a match may have this byte at this place from its start.
    pub(super) starts: [[bool; 256]; LEAD_BYTES],
    /// Whether each match has a mark among its first bytes.
    pub(super) marked: bool,
    /// Of a match at any place: no pattern asks what stands before it.
    start: StateID,
}

impl Lead {
    /// `None` if the pattern does not compile, which the tests rule out.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let hir = syntax::parse_with(pattern, &syntax).ok()?;
        let automaton = dense::Builder::new()
            .configure(dense::Config::new().start_kind(regex_automata::dfa::StartKind::Anchored))
            .syntax(syntax)
            .thompson(regex_automata::nfa::thompson::Config::new().utf8(false))
            .build(pattern)
            .ok()?;
        if !hir.properties().look_set().is_empty() {
            return None;
        }
        let start = automaton.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        Some(Self {
            needs: branches(&hir).iter().map(Counts::least).collect(),
            starts: starts(&automaton, start),
            marked: is_marked(&automaton, start),
            automaton,
            start,
        })
    }

    /// The end of the match that starts at a place. As the automaton's own search, without what it
    /// asks anew at each start.
    pub(super) fn end(&self, bytes: &[u8], start: usize) -> Option<usize> {
        #[cfg(test)]
        READ.set(READ.get().map(|read| read + self.reads(&bytes[start..])));
        let (mut state, mut end) = (self.start, None);
        for (at, byte) in (start..).zip(&bytes[start..]) {
            state = self.automaton.next_state(state, *byte);
            if self.automaton.is_special_state(state) {
                // A match is known one byte late.
                if self.automaton.is_match_state(state) {
                    end = Some(at);
                } else if self.automaton.is_dead_state(state) {
                    return end;
                }
            }
        }
        let last = self.automaton.next_eoi_state(state);
        if self.automaton.is_match_state(last) { Some(bytes.len()) } else { end }
    }

    /// Bytes up to the one behind which nothing can match.
    #[cfg(test)]
    fn reads(&self, bytes: &[u8]) -> usize {
        let mut state = self.start;
        let dead = |byte: &u8| {
            state = self.automaton.next_state(state, *byte);
            self.automaton.is_dead_state(state)
        };
        bytes.iter().position(dead).map_or(bytes.len(), |at| at + 1)
    }

    /// Bytes of the automaton.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.automaton.memory_usage()
    }
}

/// Bytes that may stand at each of the first places of a match: every state that the automaton can
/// be in there is asked for every byte.
fn starts(automaton: &DFA<Vec<u32>>, first: StateID) -> [[bool; 256]; LEAD_BYTES] {
    let mut starts = [[false; 256]; LEAD_BYTES];
    let mut states: Vec<StateID> = vec![first];
    for place in 0..LEAD_BYTES {
        // A match is known one byte late: from there on anything may follow.
        if states.len() > STATES_MAX || states.iter().any(|s| automaton.is_match_state(*s)) {
            starts[place..].fill([true; 256]);
            break;
        }
        let mut next = Vec::new();
        for state in &states {
            for byte in 0..=255_u8 {
                let to = automaton.next_state(*state, byte);
                if !automaton.is_dead_state(to) {
                    starts[place][usize::from(byte)] = true;
                    next.push(to);
                }
            }
        }
        next.sort_unstable();
        next.dedup();
        states = next;
    }
    starts
}

/// Whether no match begins with [`MARK_BYTES`] bytes of which none is a mark, or ends before that.
fn is_marked(automaton: &DFA<Vec<u32>>, first: StateID) -> bool {
    let mut states: Vec<StateID> = vec![first];
    for _ in 0..MARK_BYTES {
        let mut next = Vec::new();
        for state in &states {
            let others = (0..=255_u8).filter(|byte| !is_mark(*byte));
            next.extend(others.map(|byte| automaton.next_state(*state, byte)));
        }
        next.sort_unstable();
        next.dedup();
        next.retain(|state| !automaton.is_dead_state(*state));
        if next.len() > STATES_MAX || next.iter().any(|state| automaton.is_match_state(*state)) {
            return false;
        }
        states = next;
    }
    states.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for spec in super::super::SPECS {
            if let super::super::Find::Pattern(pattern) = &spec.find {
                let syntax = syntax::Config::new().unicode(false).utf8(false);
                let parsed = syntax::parse_with(pattern.pattern, &syntax);
                assert!(parsed.is_ok(), "{}: {}", spec.name, parsed.unwrap_err());
                assert!(Lead::new(pattern.pattern).is_some(), "{}", spec.name);
            }
        }
    }

    #[test]
    fn what_a_match_has_is_derived() {
        let lead = Lead::new(r"[A-Z]{2}[0-9]{2}(?:[ ]?[A-Z0-9]){3,5}@x:.?").unwrap();
        let needs = Counts { digits: 2, ats: 1, colons: 1, bytes: 10, ..Counts::default() };
        assert_eq!(lead.needs, [needs]);
        let first = |place: usize| (0..=255).filter(|b| lead.starts[place][*b]).count();
        assert_eq!([first(0), first(1), first(2), first(3)], [26, 26, 10, 10]);
        let lead = Lead::new(r"\+[0-9]{3}|00[0-9]{2}\.").unwrap();
        let digits: Vec<_> = lead.needs.iter().map(|n| (n.digits, n.points)).collect();
        assert_eq!(digits, [(3, 0), (4, 1)]);
        assert!(lead.starts[0][usize::from(b'+')] && lead.starts[0][usize::from(b'0')]);
        assert!(!lead.starts[0][usize::from(b'1')]);
    }

    /// A pattern shorter than what is looked at says nothing about the bytes behind it.
    #[test]
    fn short_matches_leave_the_rest_open() {
        let lead = Lead::new("ab|abcd").unwrap();
        assert!(lead.starts[3].iter().all(|may| *may));
        assert_eq!(lead.end(b"xabcx", 1), Some(3));
        assert_eq!(lead.end(b"xabcx", 0), None);
    }

    #[test]
    fn marks_are_derived() {
        for (pattern, marked) in [
            ("[a-z]{4}:", true),
            ("[a-z]{5}:", false),
            (r"\+?[a-z]{2}[0-9]", true),
            ("[0-9]|a", false),
            ("a{1,4}", false),
        ] {
            assert_eq!(Lead::new(pattern).unwrap().marked, marked, "{pattern}");
        }
        let marks: String = (0..=255_u8).filter(|b| is_mark(*b)).map(char::from).collect();
        assert_eq!(marks, "+,-./0123456789:");
    }

    /// What asks what stands before it would be answered as at the start of a text.
    #[test]
    fn patterns_bad_look_around() {
        assert!(Lead::new(r"\bx").is_none() && Lead::new("x$").is_none());
    }

    /// The automaton's own search is the slow twin.
    #[test]
    fn ends_are_those_of_the_automatons_search() {
        for spec in super::super::SPECS {
            let super::super::Find::Pattern(pattern) = &spec.find else { continue };
            let lead = Lead::new(pattern.pattern).unwrap();
            let texts = spec.examples.iter().map(|(text, _)| text).chain(spec.refusals);
            for text in texts {
                let bytes = text.as_bytes();
                for start in 0..bytes.len() {
                    let input = Input::new(bytes).range(start..).anchored(Anchored::Yes);
                    let slow = lead.automaton.try_search_fwd(&input).unwrap();
                    assert_eq!(lead.end(bytes, start), slow.map(|found| found.offset()), "{text}");
                }
            }
        }
    }

    #[test]
    fn counts_are_counted() {
        // More of each than a byte counts.
        let text = "1@:.-".repeat(3_000);
        let counts = Counts::of(text.as_bytes());
        let all = Counts {
            digits: 3_000,
            ats: 3_000,
            colons: 3_000,
            points: 3_000,
            hyphens: 3_000,
            bytes: 15_000,
        };
        assert_eq!(counts, all);
        assert!(counts.reach(&all) && !Counts::of(&text.as_bytes()[1..]).reach(&all));
    }
}
