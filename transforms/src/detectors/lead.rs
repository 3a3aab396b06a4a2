//! What follows from a pattern alone: its automaton, what a text must hold at least for it to
//! match, and which bytes a match begins with. Both are necessary conditions, derived, not
//! written: a detector that is passed over because of them has no match.

use regex_automata::dfa::Automaton;
use regex_automata::dfa::dense::{self, DFA};
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Bytes that are looked at before a pattern is tried.
pub(super) const LEAD_BYTES: usize = 4;

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
    /// Of a text. Sums of 255 bytes fit a byte each, which makes this a loop without branches.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut counts = Self { bytes: text.len(), ..Self::default() };
        for part in text.chunks(255) {
            let [mut digits, mut ats, mut colons, mut points, mut hyphens] = [0_u8; 5];
            for byte in part {
                digits += u8::from(byte.is_ascii_digit());
                ats += u8::from(*byte == b'@');
                colons += u8::from(*byte == b':');
                points += u8::from(*byte == b'.');
                hyphens += u8::from(*byte == b'-');
            }
            counts.digits += usize::from(digits);
            counts.ats += usize::from(ats);
            counts.colons += usize::from(colons);
            counts.points += usize::from(points);
            counts.hyphens += usize::from(hyphens);
        }
        counts
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
        let starts = starts(&automaton)?;
        Some(Self { automaton, needs: branches(&hir).iter().map(Counts::least).collect(), starts })
    }

    /// The end of the match that starts at a place.
    pub(super) fn end(&self, bytes: &[u8], start: usize) -> Option<usize> {
        #[cfg(test)]
        READ.set(READ.get().map(|read| read + self.reads(&bytes[start..])));
        let input = Input::new(bytes).range(start..).anchored(Anchored::Yes);
        // It fails on quit bytes only, of which there are none.
        self.automaton.try_search_fwd(&input).ok().flatten().map(|found| found.offset())
    }

    /// Bytes up to the one behind which nothing can match.
    #[cfg(test)]
    fn reads(&self, bytes: &[u8]) -> usize {
        let anchored = start::Config::new().anchored(Anchored::Yes);
        let mut state = self.automaton.start_state(&anchored).unwrap();
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
fn starts(automaton: &DFA<Vec<u32>>) -> Option<[[bool; 256]; LEAD_BYTES]> {
    let first = automaton.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
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
    Some(starts)
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
    fn counts_are_counted() {
        let text = "1@:.-".repeat(300);
        let counts = Counts::of(text.as_bytes());
        let all =
            Counts { digits: 300, ats: 300, colons: 300, points: 300, hyphens: 300, bytes: 1500 };
        assert_eq!(counts, all);
        assert!(counts.reach(&all) && !Counts::of(&text.as_bytes()[1..]).reach(&all));
    }
}
