//! The chain of journals: which of them, and how much of each, are one log.

use std::collections::BTreeMap;
use std::path::Path;

use super::journal::{self, Header, JournalId, Reader};
use super::tree::{Tree, leaf_hash};
use super::{Head, LedgerFault, journals};

/// The part of one journal that belongs to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) journal: JournalId,
    /// Index of its first entry.
    pub(crate) start: u64,
    /// Size of the log where the next journal goes on; `None` for the last: all of it.
    pub(crate) end: Option<u64>,
}

/// Reads the headers of all journals that were ever born.
pub(crate) fn headers(dir: &Path, name: &str) -> Result<BTreeMap<JournalId, Header>, LedgerFault> {
    let journals = journals(dir);
    let mut headers = BTreeMap::new();
    for id in journal::list(&journals)? {
        let Some((_, header)) = Reader::open(&journals, id)? else {
            continue;
        };
        if header.log != name {
            return Err(LedgerFault::Damaged { journal: id, offset: 0 });
        }
        headers.insert(id, header);
    }
    Ok(headers)
}

/// The segments from the first journal to `tip`.
pub(crate) fn segments(
    headers: &BTreeMap<JournalId, Header>,
    tip: JournalId,
) -> Result<Vec<Segment>, LedgerFault> {
    let lost = |journal, size| {
        let why = "a journal is missing, or was put back from an older copy";
        LedgerFault::LedgerLost { why, journal, size }
    };
    let mut segments: Vec<Segment> = Vec::new();
    let mut next = Some((tip, None::<u64>));
    let mut generation = u64::MAX;
    while let Some((journal, end)) = next {
        let header = headers.get(&journal).ok_or(lost(journal, end.unwrap_or(0)))?;
        // Generations fall towards the first journal: a ring of headers ends here.
        if header.generation >= generation || end.is_some_and(|end| end < header.start()) {
            return Err(LedgerFault::Damaged { journal, offset: 0 });
        }
        generation = header.generation;
        segments.push(Segment { journal, start: header.start(), end });
        next = header.predecessor.map(|head| (head.journal, Some(head.size)));
    }
    segments.reverse();
    Ok(segments)
}

/// Where a walk stands after an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Which segment.
    pub(crate) segment: usize,
    /// Place in its file.
    pub(crate) offset: u64,
    /// Frames before it in the file.
    pub(crate) frames: u64,
}

impl Cursor {
    pub(crate) fn of(segment: usize, reader: &Reader) -> Self {
        Self { segment, offset: reader.offset(), frames: reader.frames() }
    }
}

/// Visits every entry of the chain in order, with the tree that includes it, and proves that each
/// journal goes on where the one before it stood. Gives back the tree, and where each segment ends.
pub(crate) fn walk(
    dir: &Path,
    headers: &BTreeMap<JournalId, Header>,
    segments: &[Segment],
    mut visit: impl FnMut(u64, &[u8], &Tree, Cursor) -> Result<(), LedgerFault>,
) -> Result<(Tree, Vec<Cursor>), LedgerFault> {
    let journals = journals(dir);
    let mut tree = Tree::default();
    let mut ends = Vec::with_capacity(segments.len());
    for (segment, part) in segments.iter().enumerate() {
        let journal = part.journal;
        let lost = |why, size| LedgerFault::LedgerLost { why, journal, size };
        let head: Option<Head> = headers.get(&journal).and_then(|header| header.predecessor);
        if head.is_some_and(|head| head.root != tree.root() || head.size != tree.size()) {
            return Err(lost("it goes on from other entries than are here", part.start));
        }
        let Some((mut reader, _)) = Reader::open(&journals, journal)? else {
            return Err(lost("the journal is empty", part.start));
        };
        while part.end.is_none_or(|end| tree.size() < end) {
            let Some(payload) = reader.next()? else { break };
            let index = tree.size();
            tree.push(leaf_hash(&payload), |_, _, _| ());
            visit(index, &payload, &tree, Cursor::of(segment, &reader))?;
        }
        ends.push(Cursor::of(segment, &reader));
        if let Some(end) = part.end.filter(|end| *end != tree.size()) {
            return Err(lost("the journal is shorter than its successor says", end));
        }
    }
    Ok((tree, ends))
}
