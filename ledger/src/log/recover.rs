//! What a new holder reads: the chain that the position names, the checkpoint, and whether any
//! journal knows of a commit that the target does not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::chain::{self, Cursor, Segment};
use super::entry::{Outline, outline};
use super::journal::{Header, JournalId, Reader};
use super::publish::{self, Publisher};
use super::tree::Tree;
use super::{Head, LedgerFault, journals};

/// What is known about the committed position.
#[derive(Clone, Copy)]
pub(crate) enum Position<'a> {
    /// The target's position names this.
    Named(&'a Head),
    /// The target has none.
    None,
    /// There is no target: a control log.
    Unasked,
    /// There is no target, and the newest journal must go on from this.
    Extends(&'a Head),
}

/// The state that a holder starts with.
pub(crate) struct Recovered {
    pub(crate) segments: Vec<Segment>,
    pub(crate) tip: Option<JournalId>,
    /// The highest of all journals.
    pub(crate) generation: u64,
    pub(crate) tree: Tree,
    /// The intent without outcome.
    pub(crate) open: Option<u64>,
    /// The reserves without outcome.
    pub(crate) reserved: BTreeSet<u64>,
    /// Size that the committed position covers.
    pub(crate) covered: u64,
    /// Stands at the published checkpoint.
    pub(crate) publisher: Publisher,
}

pub(crate) fn recover(
    dir: &Path,
    name: &str,
    position: Position<'_>,
) -> Result<Recovered, LedgerFault> {
    let headers = chain::headers(dir, name)?;
    let generation = headers.values().map(|header| header.generation).max().unwrap_or(0);
    let checkpoint = publish::checkpoint(dir)?;
    let tip = tip(&headers, position)?;
    let segments = match tip {
        Some(tip) => chain::segments(&headers, tip)?,
        None => Vec::new(),
    };
    let mut publisher = Publisher::default();
    let mut outcomes = Outcomes::new(position);
    let mut named = Wanted::named(position);
    let mut published = checkpoint.map(|(size, root)| Wanted { size, root, seen: size == 0 });
    let (tree, ends) = chain::walk(dir, &headers, &segments, |index, payload, tree, cursor| {
        outcomes.see(index, payload)?;
        if let Some(wanted) = &mut named {
            wanted.meet(tree, "its root differs from the position's", position)?;
        }
        if let Some(wanted) = &mut published {
            if index < wanted.size {
                publisher.pass(payload);
            }
            wanted.meet(tree, "the published checkpoint is of another history", position)?;
            if tree.size() == wanted.size {
                publisher.stand(tree, cursor);
            }
        }
        Ok(())
    })?;
    if named.is_some_and(|wanted| !wanted.seen) {
        return Err(lost("the journal is shorter than the position says", position));
    }
    if published.is_some_and(|wanted| !wanted.seen) {
        return Err(lost("it is shorter than the published checkpoint", position));
    }
    let covered = match position {
        Position::Unasked | Position::Extends(_) => tree.size(),
        Position::Named(head) => head.size,
        Position::None => 0,
    };
    let rolled_back = |why| Err(LedgerFault::TargetRolledBack { covered, why });
    if checkpoint.is_some_and(|(size, _)| size > covered) {
        return rolled_back("a checkpoint beyond it was published");
    }
    outcomes.check()?;
    if !matches!(position, Position::Unasked | Position::Extends(_))
        && commits_aside(dir, &headers, &segments, &ends, covered)?
    {
        return rolled_back("another journal holds COMMITTED");
    }
    let Outcomes { open, reserved, .. } = outcomes;
    Ok(Recovered { segments, tip, generation, tree, open, reserved, covered, publisher })
}

/// Visits the entries of the chain for people and tests.
pub(crate) fn read(
    dir: &Path,
    name: &str,
    at: Option<&Head>,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), LedgerFault>,
) -> Result<(), LedgerFault> {
    let headers = chain::headers(dir, name)?;
    let position = at.map_or(Position::Unasked, Position::Named);
    let Some(tip) = tip(&headers, position)? else {
        return Ok(());
    };
    let segments = chain::segments(&headers, tip)?;
    let mut named = Wanted::named(position);
    chain::walk(dir, &headers, &segments, |index, payload, tree, _| {
        if let Some(wanted) = &mut named {
            wanted.meet(tree, "its root differs from the position's", position)?;
        }
        visit(index, payload)
    })?;
    match named.is_some_and(|wanted| !wanted.seen) {
        true => Err(lost("the journal is shorter than the position says", position)),
        false => Ok(()),
    }
}

/// The journal to go on from.
fn tip(
    headers: &BTreeMap<JournalId, Header>,
    position: Position<'_>,
) -> Result<Option<JournalId>, LedgerFault> {
    match position {
        Position::Named(head) if !headers.contains_key(&head.journal) => {
            Err(lost("the named journal is not here", position))
        }
        Position::Named(head) => Ok(Some(head.journal)),
        // Nothing says which one counts, and nothing was committed: the newest, so that durable
        // entries stay in the log. Of two that raced, any; the id decides, so that all agree.
        Position::None | Position::Unasked | Position::Extends(_) => {
            let newest = headers.values().max_by_key(|h| (h.generation, h.start(), h.journal));
            Ok(newest.map(|header| header.journal))
        }
    }
}

fn lost(why: &'static str, position: Position<'_>) -> LedgerFault {
    let head = match position {
        Position::Named(head) | Position::Extends(head) => Some(head),
        Position::None | Position::Unasked => None,
    };
    let journal = head.map_or(JournalId([0; 16]), |head| head.journal);
    LedgerFault::LedgerLost { why, journal, size: head.map_or(0, |head| head.size) }
}

/// A size at which the chain must have a known root.
struct Wanted {
    size: u64,
    root: [u8; 32],
    seen: bool,
}

impl Wanted {
    fn named(position: Position<'_>) -> Option<Self> {
        match position {
            Position::Named(head) | Position::Extends(head) => {
                Some(Self { size: head.size, root: head.root, seen: head.size == 0 })
            }
            Position::None | Position::Unasked => None,
        }
    }

    fn meet(
        &mut self,
        tree: &Tree,
        why: &'static str,
        at: Position<'_>,
    ) -> Result<(), LedgerFault> {
        if tree.size() == self.size {
            self.seen = true;
            if tree.root() != self.root {
                return Err(lost(why, at));
            }
        }
        Ok(())
    }
}

/// Follows intents and their outcomes along the chain.
struct Outcomes {
    /// Size that the position covers; `None` where nobody asks.
    covered: Option<u64>,
    open: Option<u64>,
    reserved: BTreeSet<u64>,
    beyond: bool,
    denied: Option<u64>,
}

impl Outcomes {
    fn new(position: Position<'_>) -> Self {
        let covered = match position {
            Position::Named(head) => Some(head.size),
            Position::None => Some(0),
            Position::Unasked | Position::Extends(_) => None,
        };
        Self { covered, open: None, reserved: BTreeSet::new(), beyond: false, denied: None }
    }

    fn see(&mut self, index: u64, payload: &[u8]) -> Result<(), LedgerFault> {
        match (outline(payload, index)?, self.open) {
            (Outline::Other, _) => {}
            (Outline::Reserve, _) => drop(self.reserved.insert(index)),
            (Outline::Computed { of }, _) if self.reserved.contains(&of) => {}
            (Outline::Committed { of } | Outline::Void { of }, _) if self.reserved.remove(&of) => {}
            (Outline::Intent, None) => self.open = Some(index),
            (Outline::Committed { of }, Some(open)) if of == open => {
                self.open = None;
                self.beyond |= self.covered.is_some_and(|covered| of >= covered);
            }
            (Outline::Void { of }, Some(open)) if of == open => {
                self.open = None;
                // The position names the size right after its intent.
                self.denied = self.denied.or((self.covered == Some(of + 1)).then_some(of));
            }
            _ => return Err(LedgerFault::Unreadable { index: Some(index) }),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), LedgerFault> {
        match (self.beyond, self.denied) {
            (true, _) => Err(LedgerFault::TargetRolledBack {
                covered: self.covered.unwrap_or(0),
                why: "COMMITTED beyond it",
            }),
            (_, Some(index)) => Err(LedgerFault::VoidCommitted { index }),
            _ => Ok(()),
        }
    }
}

/// Whether a journal beside the chain, or the part of one beyond its segment, holds COMMITTED of an
/// intent that the position does not cover. A zombie may write COMMITTED late, of an intent that
/// the chain has too: that one is covered.
fn commits_aside(
    dir: &Path,
    headers: &BTreeMap<JournalId, Header>,
    segments: &[Segment],
    ends: &[Cursor],
    covered: u64,
) -> Result<bool, LedgerFault> {
    let journals = journals(dir);
    for (id, header) in headers {
        let part = segments.iter().zip(ends).find(|(segment, _)| segment.journal == *id);
        let (mut reader, mut index) = match part {
            // Read to its end by the walk.
            Some((Segment { end: None, .. }, _)) => continue,
            Some((Segment { end: Some(end), .. }, at)) => {
                (Reader::at(&journals, *id, at.offset, at.frames)?, *end)
            }
            None => match Reader::open(&journals, *id)? {
                Some((reader, _)) => (reader, header.start()),
                None => continue,
            },
        };
        let shared = shared(headers, segments, header).min(covered);
        while let Some(payload) = reader.next()? {
            match outline(&payload, index)? {
                Outline::Committed { of } if of >= shared => return Ok(true),
                _ => index += 1,
            }
        }
    }
    Ok(false)
}

/// How many entries a journal's own line has in common with the chain.
fn shared(headers: &BTreeMap<JournalId, Header>, segments: &[Segment], header: &Header) -> u64 {
    let mut limit = u64::MAX;
    let mut at = Some(header);
    let mut steps = 0..=headers.len();
    while let (Some(header), Some(_)) = (at, steps.next()) {
        if let Some(segment) = segments.iter().find(|s| s.journal == header.journal) {
            return limit.min(segment.end.unwrap_or(u64::MAX));
        }
        limit = limit.min(header.start());
        at = header.predecessor.and_then(|head| headers.get(&head.journal));
    }
    0
}
