//! The Merkle log of what crossed: append-only, one per shard, and a control log for what has no
//! shard.
//!
//! A directory `<home>/<log name>/` holds `journals/`, one file for each holder that there ever
//! was, and `tlog/`, the published form (C2SP tlog-tiles). A holder appends to its own journal
//! only, so a zombie can do no harm: the next holder reads the journal that the committed position
//! names, once, and goes on in its own; what the zombie appends later is read by nobody. The
//! headers chain the journals: together they are one sequence of entries.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

mod at;
mod backup;
mod chain;
mod entry;
mod fault;
mod journal;
mod kept;
mod publish;
mod recover;
mod tree;

pub use backup::{backup, copy_tree};
pub(crate) use entry::parse_leaf;
pub use entry::{
    Assigned, ENTRY_BYTES_MAX, Entry, Intent, RedrivenEntry, RefusedEntry, SourceDigest, SpanEntry,
};
pub use fault::LedgerFault;
pub use journal::JournalId;
pub use kept::{Copied, Keeper};
pub(crate) use publish::path_of;
pub use publish::{checkpoint, verifier_key};
pub use tree::leaf_hash;

use crate::canonical::hex32;
use crate::signing::SigningKey;
use chain::Segment;
use journal::{Header, Writer};
use publish::Publisher;
use tree::Tree;

/// A place in a log: what the committed position in the target names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The journal that was written when the log had this size.
    pub journal: JournalId,
    /// Number of entries.
    #[serde(with = "crate::canonical::text_u64")]
    pub size: u64,
    /// RFC 6962 root of these entries.
    #[serde(with = "hex32")]
    pub root: [u8; 32],
}

/// Keys of a log: purposes `blind` and `ledger-commit`. They stay where they are, wiped when dropped.
/// No `Debug`.
pub struct LogKeys {
    /// Blinds leaves.
    blind: Box<Zeroizing<[u8; 32]>>,
    /// Keys the digests of sums and of what they were made from.
    commit: Box<Zeroizing<[u8; 32]>>,
}

impl LogKeys {
    /// Takes a copy of both.
    pub fn new(blind: &[u8; 32], commit: &[u8; 32]) -> Self {
        let kept = |key: &[u8; 32]| {
            let mut kept = Box::new(Zeroizing::new([0; 32]));
            kept.copy_from_slice(key);
            kept
        };
        Self { blind: kept(blind), commit: kept(commit) }
    }

    /// What blinds leaves.
    pub fn blind(&self) -> &[u8; 32] {
        &self.blind
    }

    /// What keys the digests of sovereign records.
    pub fn commit(&self) -> &[u8; 32] {
        &self.commit
    }
}

/// What an append gives back: accepted, not durable before [`Log::sync`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's place.
    pub index: u64,
    /// RFC 6962 leaf hash: what a manifest names.
    pub leaf_hash: [u8; 32],
}

/// The holder's end of a log. Dropping it loses what was appended and not synced.
pub struct Log {
    dir: PathBuf,
    name: String,
    keys: LogKeys,
    journal: JournalId,
    writer: Writer,
    tree: Tree,
    durable: Head,
    /// Index of the intent without outcome.
    open: Option<u64>,
    /// Indices of the reserves without outcome.
    reserved: BTreeSet<u64>,
    /// Size that the last committed position covers; published up to here.
    covered: u64,
    segments: Vec<Segment>,
    publisher: Publisher,
    poisoned: bool,
    /// Control logs: held as long as the log.
    lock: Option<File>,
}

impl Log {
    /// Becomes the holder of the log `<home>/<name>/`. `at`: what the committed position in the
    /// target names, read AFTER the target was fenced; `None`: the target has no position.
    ///
    /// Journals under a fresh id, goes on from the named journal with its whole tail, and appends
    /// COMMITTED for an intent that `at.size` covers and whose outcome is missing, VOID for one
    /// beyond. All of it is durable on return.
    ///
    /// # Errors
    /// [`LedgerFault::LedgerLost`], [`LedgerFault::TargetRolledBack`],
    /// [`LedgerFault::VoidCommitted`], [`LedgerFault::Damaged`]: typed stops, nothing may cross.
    pub fn take_over(
        home: &Path,
        name: &str,
        at: Option<&Head>,
        keys: LogKeys,
    ) -> Result<Self, LedgerFault> {
        let position = at.map_or(recover::Position::None, recover::Position::Named);
        Self::open(home, name, position, keys, None, None)
    }

    /// [`Log::take_over`] of a log whose journals have their home elsewhere: `keeper` has fenced
    /// whoever held it, and the journals in the folder were brought up to what is kept
    /// ([`Copied`]).
    ///
    /// # Errors
    /// As [`Log::take_over`]; what the keeper says.
    pub fn take_over_kept(
        home: &Path,
        name: &str,
        at: Option<&Head>,
        keys: LogKeys,
        keeper: Box<dyn Keeper>,
    ) -> Result<Self, LedgerFault> {
        let position = at.map_or(recover::Position::None, recover::Position::Named);
        Self::open(home, name, position, keys, None, Some(keeper))
    }

    /// Opens a log that no position names: the control log. One process at a time, by a lock of
    /// the operating system; it goes on from the newest journal. Every durable entry counts as
    /// committed.
    ///
    /// # Errors
    /// [`LedgerFault::Locked`] while another process holds it; as [`Log::take_over`] otherwise.
    pub fn control(home: &Path, name: &str, keys: LogKeys) -> Result<Self, LedgerFault> {
        Self::control_extending(home, name, None, keys)
    }

    /// [`Log::control`] of a log that somebody keeps a head of: the newest journal must go on from
    /// it. So a ledger that was put back from an older copy is seen.
    ///
    /// # Errors
    /// [`LedgerFault::LedgerLost`]; as [`Log::control`] otherwise.
    pub fn control_extending(
        home: &Path,
        name: &str,
        known: Option<&Head>,
        keys: LogKeys,
    ) -> Result<Self, LedgerFault> {
        let dir = prepare(home, name)?;
        let lock = lock(&dir.join("lock"), "control log")?;
        let position = known.map_or(recover::Position::Unasked, recover::Position::Extends);
        Self::open(home, name, position, keys, Some(lock), None)
    }

    fn open(
        home: &Path,
        name: &str,
        position: recover::Position<'_>,
        keys: LogKeys,
        lock: Option<File>,
        keeper: Option<Box<dyn Keeper>>,
    ) -> Result<Self, LedgerFault> {
        let dir = prepare(home, name)?;
        let found = recover::recover(&dir, name, position)?;
        let journal = JournalId::random()?;
        let (size, root) = (found.tree.size(), found.tree.root());
        let from = found.tip.map(|tip| Head { journal: tip, size, root });
        let header = Header::new(name, journal, found.generation.saturating_add(1), from);
        let writer = Writer::create(&journals(&dir), &header, keeper)?;
        // Crash here: an empty journal that no position names; the next holder does the same.
        let mut segments = found.segments;
        if let Some(last) = segments.last_mut() {
            last.end = Some(size);
        }
        segments.push(Segment { journal, start: size, end: None });
        let mut log = Self {
            name: name.to_owned(),
            keys,
            journal,
            writer,
            tree: found.tree,
            durable: Head { journal, size, root },
            open: found.open,
            reserved: found.reserved,
            covered: found.covered,
            segments,
            publisher: found.publisher,
            poisoned: false,
            lock,
            dir,
        };
        // In a control log nobody else knows the outcome: the caller does, and appends it.
        if let (Some(of), true) = (log.open, log.lock.is_none()) {
            let outcome = match of < log.covered {
                true => Entry::Committed { of },
                false => Entry::Void { of, why: "not in the target at take-over".to_owned() },
            };
            log.append(&outcome)?;
        }
        log.sync()?;
        Ok(log)
    }

    /// Where the next entry goes (a long list of refusals goes before its intent).
    pub fn next_index(&self) -> u64 {
        self.tree.size()
    }

    /// The intent whose outcome is not known yet.
    pub fn open_intent(&self) -> Option<u64> {
        self.open
    }

    /// Accepts an entry; it is not durable before [`Log::sync`].
    ///
    /// # Errors
    /// [`LedgerFault::IntentOpen`], [`LedgerFault::NotOpen`], [`LedgerFault::EntryTooLarge`] leave
    /// the log as it was; after any other the log is poisoned.
    pub fn append(&mut self, entry: &Entry) -> Result<Receipt, LedgerFault> {
        if self.poisoned {
            return Err(LedgerFault::Poisoned);
        }
        match (entry, self.open) {
            (Entry::Intent(_), Some(index)) => return Err(LedgerFault::IntentOpen { index }),
            (Entry::Committed { of } | Entry::Void { of, .. }, open)
                if open != Some(*of) && !self.reserved.contains(of) =>
            {
                return Err(LedgerFault::NotOpen { of: *of });
            }
            (Entry::Computed(computed), _) if !self.reserved.contains(&computed.of) => {
                return Err(LedgerFault::NotOpen { of: computed.of });
            }
            _ => {}
        }
        let mut leaves = Vec::with_capacity(1);
        let mut leaf = |entry: &Entry| {
            let index = self.tree.size() + leaves.len() as u64;
            let blind = entry::blind(self.keys.blind(), &self.name, index);
            leaves.push(entry::leaf_bytes(entry, blind)?);
            Ok(())
        };
        match entry {
            Entry::Intent(intent) => {
                let (refused, rest) = entry::split_refusals(intent);
                refused.iter().try_for_each(&mut leaf)?;
                leaf(&Entry::Intent(rest))?;
            }
            other => leaf(other)?,
        }
        let mut receipt = Receipt { index: 0, leaf_hash: [0; 32] };
        for bytes in leaves {
            receipt = Receipt { index: self.tree.size(), leaf_hash: leaf_hash(&bytes) };
            let written = self.writer.append(&bytes);
            self.poisoned |= written.is_err();
            written?;
            self.tree.push(receipt.leaf_hash, |_, _, _| ());
        }
        match entry {
            Entry::Intent(_) => self.open = Some(receipt.index),
            Entry::Reserve(_) => drop(self.reserved.insert(receipt.index)),
            Entry::Committed { of } | Entry::Void { of, .. } if self.reserved.remove(of) => {}
            Entry::Committed { of } => {
                (self.open, self.covered) = (None, self.covered.max(of + 1));
            }
            Entry::Void { .. } => self.open = None,
            _ => {}
        }
        Ok(receipt)
    }

    /// Makes everything appended durable; the head is what a position may name from now on.
    ///
    /// # Errors
    /// Any failure poisons the log: every later call fails, because after a failed fsync nobody
    /// knows what is on disk. Take over anew.
    pub fn sync(&mut self) -> Result<Head, LedgerFault> {
        if self.poisoned {
            return Err(LedgerFault::Poisoned);
        }
        let synced = self.writer.sync();
        self.poisoned |= synced.is_err();
        synced?;
        let (size, root) = (self.tree.size(), self.tree.root());
        self.durable = Head { journal: self.journal, size, root };
        if self.lock.is_some() {
            self.covered = size;
        }
        Ok(self.durable)
    }

    /// Nothing is appended for a while.
    pub fn idle(&self) {
        self.writer.idle();
    }

    /// The durable head.
    pub fn head(&self) -> Head {
        self.durable
    }

    /// The target's position now names `head`, without an intent of this log (a layout in the
    /// control log, a dealt shard): checkpoints may cover it.
    ///
    /// # Errors
    /// [`LedgerFault::NotDurable`] for a head that this holder never gave out as durable.
    pub fn position_committed(&mut self, head: &Head) -> Result<(), LedgerFault> {
        if head.journal != self.journal || head.size > self.durable.size {
            return Err(LedgerFault::NotDurable { size: head.size });
        }
        self.covered = self.covered.max(head.size);
        Ok(())
    }

    /// Publishes tiles, entry bundles and a signed checkpoint under `tlog/` for the first
    /// `committed_size` entries, or for as many as the last committed position covers if that is
    /// fewer. Costs only the new tiles; never shrinks. `origin` names log and key, for example
    /// `example.com/customers/shard-0`.
    ///
    /// # Errors
    /// The log itself stays usable: publishing is tried again later.
    pub fn publish(
        &mut self,
        committed_size: u64,
        signer: &SigningKey,
        origin: &str,
    ) -> Result<(), LedgerFault> {
        if self.poisoned {
            return Err(LedgerFault::Poisoned);
        }
        let to = committed_size.min(self.covered).min(self.durable.size);
        self.publisher.publish(&self.dir, &self.segments, to, signer, origin)
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({} in {}, {} entries)", self.name, self.journal, self.tree.size())
    }
}

/// The entries of a log with their indices: of the journal that `at` names with its tail, or of
/// the newest where `at` is `None`. Changes nothing on disk.
///
/// # Errors
/// [`LedgerFault`]; an empty log reads as no entries.
pub fn read(home: &Path, name: &str, at: Option<&Head>) -> Result<Vec<(u64, Entry)>, LedgerFault> {
    let mut entries = Vec::new();
    read_each(home, name, at, |index, entry| entries.push((index, entry)))?;
    Ok(entries)
}

/// As [`read`], one after the other: a log that is long does not lie in memory whole.
///
/// # Errors
/// As [`read`]; what was given before is then worth nothing.
pub fn read_each(
    home: &Path,
    name: &str,
    at: Option<&Head>,
    mut each: impl FnMut(u64, Entry),
) -> Result<(), LedgerFault> {
    let dir = log_dir(home, name)?;
    recover::read(&dir, name, at, |index, payload| {
        each(index, entry::parse_leaf(payload, index)?);
        Ok(())
    })
}

/// Size and root of a log's published checkpoint, where it goes on from an older one. So a log that was put
/// back is seen by whoever kept that. `None`: nothing is published.
///
/// # Errors
/// [`LedgerFault::LedgerLost`] where it does not.
pub fn goes_on(
    home: &Path,
    name: &str,
    known: Option<(u64, [u8; 32])>,
) -> Result<Option<(u64, [u8; 32])>, LedgerFault> {
    let dir = log_dir(home, name)?;
    let published = checkpoint(&dir)?;
    let Some((size, root)) = known.filter(|(size, _)| *size > 0) else { return Ok(published) };
    let (mut tree, mut met) = (Tree::default(), false);
    recover::read(&dir, name, None, |_, payload| {
        tree.push(leaf_hash(payload), |_, _, _| ());
        met |= tree.size() == size && tree.root() == root;
        Ok(())
    })?;
    let why = match tree.size() < size {
        true => "it ends before what is known of it",
        false => "its root differs from what is known of it",
    };
    match met {
        true => Ok(published),
        false => Err(LedgerFault::LedgerLost { why, journal: JournalId([0; 16]), size }),
    }
}

fn log_dir(home: &Path, name: &str) -> Result<PathBuf, LedgerFault> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    match name.len() <= 64 && name.starts_with(first) && name.chars().all(inner) {
        true => Ok(home.join(name)),
        false => Err(LedgerFault::Name),
    }
}

fn journals(dir: &Path) -> PathBuf {
    dir.join("journals")
}

/// Makes the directories, with durable entries in their parents.
fn prepare(home: &Path, name: &str) -> Result<PathBuf, LedgerFault> {
    let dir = log_dir(home, name)?;
    fs::create_dir_all(journals(&dir)).map_err(LedgerFault::io("making the ledger's directory"))?;
    journal::sync_dir(&dir)?;
    journal::sync_dir(home)?;
    if let Some(parent) = home.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        journal::sync_dir(parent)?;
    }
    Ok(dir)
}

fn lock(path: &Path, what: &'static str) -> Result<File, LedgerFault> {
    let io = LedgerFault::io("locking");
    let file = File::options().create(true).append(true).open(path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerFault::Locked { what }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

#[cfg(test)]
pub(crate) mod tests;
