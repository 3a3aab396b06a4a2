//! Why the log does not go on.

use std::io;

use super::{ENTRY_BYTES_MAX, JournalId};

/// Why the log does not go on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFault {
    /// What the position names is not here, and cannot be made again.
    #[error(
        "ledger lost: {why}; expected at least {size} entries in journal {journal}\n  next: put the newest \
         ledger back; where none goes so far, go on under another name, in a sink topic of its own"
    )]
    LedgerLost { why: &'static str, journal: JournalId, size: u64 },
    /// The journals' home lost what it began with: restore it from a backup.
    #[error(
        "ledger lost: the home of the journals begins at offset {first}, and it began at 0\n  next: put \
         the topic back as it was; where nobody has it, go on under another name, in a sink topic of its own"
    )]
    HomeCut { first: u64 },
    /// The ledger knows of commits that the target's position does not: the target was rolled
    /// back or replaced. Going on would write the same records again.
    #[error(
        "target rolled back: position covers {covered} entries, the ledger says more: {why}\n  next: bring \
         back the target that is newer; a second copy of everything is another pipeline, with a name and a \
         sink topic of its own"
    )]
    TargetRolledBack { covered: u64, why: &'static str },
    /// The ledger says void, the position says committed: data is outside that the ledger denies.
    #[error("intent {index} is void in the ledger and committed in the target")]
    VoidCommitted { index: u64 },
    /// Bytes that were durable have changed: restore the journal from a backup.
    #[error("journal {journal} is damaged at byte {offset}")]
    Damaged { journal: JournalId, offset: u64 },
    /// A leaf of a later version, or one that contradicts those before it.
    #[error("entry {index:?} cannot be read by this version or contradicts the ones before it")]
    Unreadable { index: Option<u64> },
    /// The entry does not fit a bundle; spread the partitions over more tasks.
    #[error("entry has {bytes} bytes, at most {ENTRY_BYTES_MAX} fit")]
    EntryTooLarge { bytes: usize },
    /// An intent before the last one's outcome: recovery could not tell which one the position
    /// covers.
    #[error("intent {index} has no outcome yet")]
    IntentOpen { index: u64 },
    /// An outcome of something that is not the open intent.
    #[error("entry {of} is not an open intent")]
    NotOpen { of: u64 },
    /// A position that names what is not durable here.
    #[error("a position names {size} entries of this journal; they are not durable")]
    NotDurable { size: u64 },
    /// An earlier write or fsync failed: nothing is known about the disk. Take over anew.
    #[error("the log is poisoned by an earlier failure to write")]
    Poisoned,
    /// Another process holds this log (control logs), or is publishing it.
    #[error("another process holds the {what}")]
    Locked { what: &'static str },
    /// Another process keeps this log now: its id fenced this one's.
    #[error("another process took the log over")]
    Fenced,
    /// The journals' home did not take what was given, or it is not known whether it did.
    #[error("the home of the journals: {why}")]
    Home { why: String },
    /// A name that could leave the directory.
    #[error("log name is not [a-z0-9][a-z0-9._-]* of at most 64 characters")]
    Name,
    /// The checkpoint file is no checkpoint, or not of this log's history.
    #[error("checkpoint: {why}")]
    Checkpoint { why: &'static str },
    /// No random bytes.
    #[error("the system has no entropy")]
    Entropy,
    /// The operating system.
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
}

impl LedgerFault {
    pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Io { doing, source }
    }

    /// Whether only people can mend it: trying again, or restarting, cannot help.
    pub fn needs_people(&self) -> bool {
        use LedgerFault as F;
        match self {
            F::LedgerLost { .. } | F::HomeCut { .. } | F::TargetRolledBack { .. } => true,
            F::VoidCommitted { .. } => true,
            F::Damaged { .. } | F::Unreadable { .. } | F::Checkpoint { .. } => true,
            F::EntryTooLarge { .. } | F::Name => true,
            F::IntentOpen { .. } | F::NotOpen { .. } | F::NotDurable { .. } | F::Poisoned => false,
            F::Locked { .. } | F::Entropy | F::Io { .. } => false,
            F::Fenced | F::Home { .. } => false,
        }
    }
}
