//! Journals whose home is elsewhere than in the folder: what keeps them, and the copy that lies in
//! the folder for whoever reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::at::FileExt;
use super::journal::{self, JournalId};
use super::{LedgerFault, journals, prepare};
use crate::canonical;

/// Keeps the frames of one log's journals in the place of an fsync. Made by fencing whoever kept
/// them before, and then by bringing the [`Copied`] journals up to what is kept.
pub trait Keeper: Send {
    /// Makes `frames` durable, at `offset` of a journal. All of them or none.
    ///
    /// # Errors
    /// [`LedgerFault::Fenced`] where somebody else keeps the log now. After any error nobody knows
    /// what is kept, and the log takes nothing more.
    fn keep(&mut self, journal: JournalId, offset: u64, frames: &[u8]) -> Result<(), LedgerFault>;

    /// Nothing is to be kept for a while.
    fn idle(&self) {}
}

/// A log's journals in the folder, as their home gives them.
pub struct Copied {
    dir: PathBuf,
    reached: Reached,
    open: Option<(JournalId, File)>,
    /// Journals that were given something.
    touched: BTreeSet<JournalId>,
}

/// How far the copy is durable: `copied.json` beside the journals. It is never ahead of them, so
/// that an older one, or none, only costs reading more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reached {
    v: u32,
    /// What tells this home from another one of its name.
    home: String,
    /// Where the home is read on: a number of its own.
    #[serde(with = "canonical::text_u64")]
    next: u64,
    /// Bytes of each journal that the home has before that, as decimal text.
    lengths: BTreeMap<JournalId, String>,
}

impl Reached {
    fn length(&self, journal: JournalId) -> u64 {
        self.lengths.get(&journal).and_then(|length| length.parse().ok()).unwrap_or(0)
    }
}

const VERSION: u32 = 1;

impl Copied {
    /// The copy of the log `<home>/<name>/`; `kept` tells the journals' home from another one of
    /// its name.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn open(home: &Path, name: &str, kept: &str) -> Result<Self, LedgerFault> {
        let dir = prepare(home, name)?;
        let fresh = Reached { v: VERSION, home: kept.to_owned(), ..Reached::default() };
        // One that cannot be read is none.
        let found = fs::read(dir.join(REACHED)).ok();
        let found = found.and_then(|bytes| canonical::from_slice::<Reached>(&bytes).ok());
        let reached = found.filter(|found| found.v == VERSION && found.home == kept);
        let reached = reached.unwrap_or(fresh);
        Ok(Self { dir: journals(&dir), reached, open: None, touched: BTreeSet::new() })
    }

    /// Where the home is to be read on.
    pub fn next(&self) -> u64 {
        self.reached.next
    }

    /// The home is read from its start: it does not reach where it did.
    pub fn begin_anew(&mut self) {
        self.reached.next = 0;
        self.reached.lengths.clear();
    }

    /// The next frames of a journal. What lies here already is left as it is: its holder may write
    /// the same at this moment.
    ///
    /// # Errors
    /// [`LedgerFault::Damaged`] where they do not follow what came before.
    pub fn put(
        &mut self,
        journal: JournalId,
        offset: u64,
        frames: &[u8],
    ) -> Result<(), LedgerFault> {
        let io = LedgerFault::io("copying a journal");
        let length = self.reached.length(journal);
        if length != offset {
            return Err(LedgerFault::Damaged { journal, offset: length });
        }
        let length = length + frames.len() as u64;
        self.reached.lengths.insert(journal, length.to_string());
        self.touched.insert(journal);
        let file = match self.open.take() {
            Some((known, file)) if known == journal => file,
            _ => {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).truncate(false);
                options.open(journal.path(&self.dir)).map_err(io)?
            }
        };
        let mut here = vec![0; frames.len()];
        if file.read_exact_at(&mut here, offset).is_err() || here != frames {
            file.write_all_at(frames, offset).map_err(io)?;
        }
        self.open = Some((journal, file));
        Ok(())
    }

    /// Everything before `next` of the home was given: what is here is made durable, and the next
    /// copy goes on from there.
    ///
    /// # Errors
    /// The disk.
    pub fn keep(&mut self, next: u64) -> Result<(), LedgerFault> {
        if next == self.reached.next {
            return Ok(());
        }
        let io = LedgerFault::io("copying a journal");
        for journal in &self.touched {
            File::open(journal.path(&self.dir)).and_then(|file| file.sync_data()).map_err(io)?;
        }
        journal::sync_dir(&self.dir)?;
        // Crash here: it is read once more.
        self.reached.next = next;
        let bytes = canonical::to_vec(&self.reached).map_err(|_| LedgerFault::Name)?;
        let at = self.dir.with_file_name(REACHED);
        // Of its own: another process may do the same.
        let beside = at.with_file_name(format!("{REACHED}.{}", JournalId::random()?));
        fs::write(&beside, bytes)
            .and_then(|()| File::open(&beside)?.sync_all())
            .and_then(|()| fs::rename(&beside, &at))
            .map_err(io)
    }

    /// All was given, and nobody writes: the folder holds nothing that the home does not.
    ///
    /// # Errors
    /// [`LedgerFault::LedgerLost`]: the home lost entries, or never had them.
    pub fn complete(&self) -> Result<(), LedgerFault> {
        for journal in journal::list(&self.dir)? {
            let io = LedgerFault::io("reading a journal");
            let here = journal.path(&self.dir).metadata().map_err(io)?.len();
            let kept = self.reached.length(journal);
            if here > kept {
                let why = "the folder holds more of a journal than its home";
                return Err(LedgerFault::LedgerLost { why, journal, size: kept });
            }
        }
        Ok(())
    }
}

const REACHED: &str = "copied.json";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::tests::keys;
    use super::super::{Entry, Log, read};
    use super::*;

    type Frames = Vec<(JournalId, u64, Vec<u8>)>;

    /// A home in memory, with one holder: whoever came last.
    #[derive(Clone, Default)]
    struct Shelf(Arc<Mutex<(u32, Frames)>>);

    struct Held {
        shelf: Shelf,
        holder: u32,
        /// Fails at this commit, having kept it or not.
        fails: Option<(usize, bool)>,
    }

    impl Keeper for Held {
        fn keep(&mut self, journal: JournalId, at: u64, frames: &[u8]) -> Result<(), LedgerFault> {
            let mut shelf = self.shelf.0.lock().unwrap();
            if shelf.0 != self.holder {
                return Err(LedgerFault::Fenced);
            }
            let fails = self.fails.filter(|(number, _)| *number == shelf.1.len());
            if fails.is_none_or(|(_, kept)| kept) {
                shelf.1.push((journal, at, frames.to_vec()));
            }
            match fails {
                Some(_) => Err(LedgerFault::Home { why: "planted".into() }),
                None => Ok(()),
            }
        }
    }

    impl Shelf {
        fn take_over(&self, dir: &Path, fails: Option<(usize, bool)>) -> Result<Log, LedgerFault> {
            let (holder, kept) = {
                let mut shelf = self.0.lock().unwrap();
                shelf.0 += 1;
                (shelf.0, shelf.1.clone())
            };
            let mut copied = Copied::open(dir, "shard-0", "shelf")?;
            if copied.next() > kept.len() as u64 {
                copied.begin_anew();
            }
            for (journal, offset, frames) in &kept[copied.next() as usize..] {
                copied.put(*journal, *offset, frames)?;
            }
            copied.complete()?;
            copied.keep(kept.len() as u64)?;
            let keeper = Held { shelf: self.clone(), holder, fails };
            Log::take_over_kept(dir, "shard-0", None, keys(), Box::new(keeper))
        }
    }

    fn lease(records: u64) -> Entry {
        Entry::Lease {
            shard: 0,
            records,
            bytes: 0,
            windows: 0,
            window: String::new(),
            release: "r".into(),
        }
    }

    fn leases(dir: &Path) -> Vec<u64> {
        let entries = read(dir, "shard-0", None).unwrap();
        entries
            .iter()
            .filter_map(|(_, entry)| match entry {
                Entry::Lease { records, .. } => Some(*records),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn another_machine_goes_on_from_what_is_kept_and_the_old_holder_is_fenced() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let shelf = Shelf::default();
        let mut old = shelf.take_over(a.path(), None).unwrap();
        old.append(&lease(1)).unwrap();
        old.sync().unwrap();
        // Accepted, not durable: nobody acted on it.
        old.append(&lease(2)).unwrap();
        let mut new = shelf.take_over(b.path(), None).unwrap();
        assert_eq!(leases(b.path()), [1]);
        assert!(matches!(old.sync(), Err(LedgerFault::Fenced)));
        assert!(matches!(old.sync(), Err(LedgerFault::Poisoned)));
        new.append(&lease(3)).unwrap();
        new.sync().unwrap();
        drop(shelf.take_over(a.path(), None).unwrap());
        assert_eq!(leases(a.path()), [1, 3]);
    }

    #[test]
    fn a_commit_that_failed_poisons_the_log_and_the_home_says_whether_it_counts() {
        for kept in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let shelf = Shelf::default();
            // The header is the first commit.
            let mut log = shelf.take_over(dir.path(), Some((1, kept))).unwrap();
            log.append(&lease(7)).unwrap();
            assert!(matches!(log.sync(), Err(LedgerFault::Home { .. })));
            assert!(matches!(log.append(&lease(8)), Err(LedgerFault::Poisoned)));
            assert!(leases(dir.path()).is_empty(), "the copy has what is known to be kept");
            drop(shelf.take_over(dir.path(), None).unwrap());
            assert_eq!(leases(dir.path()).len(), usize::from(kept));
        }
    }

    #[test]
    fn a_journal_whose_header_was_not_taken_leaves_no_file() {
        for kept in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let shelf = Shelf::default();
            let fault = shelf.take_over(dir.path(), Some((0, kept))).err();
            assert!(matches!(fault, Some(LedgerFault::Home { .. })), "{fault:?}");
            let folder = journals(&dir.path().join("shard-0"));
            assert_eq!(journal::list(&folder).unwrap().len(), 0);
            // One that its home has after all comes with the next copy.
            drop(shelf.take_over(dir.path(), None).unwrap());
            assert_eq!(journal::list(&folder).unwrap().len(), 1 + usize::from(kept));
        }
    }

    #[test]
    fn a_copy_is_mended_and_one_that_holds_more_than_the_home_stops() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::default();
        let mut log = shelf.take_over(dir.path(), None).unwrap();
        log.append(&lease(1)).unwrap();
        log.sync().unwrap();
        let path = log.journal.path(&journals(&dir.path().join("shard-0")));
        let whole = std::fs::read(&path).unwrap();
        // A machine that lost power: the copy is torn, or has zeros. What `copied.json` says was
        // made durable; here nothing was.
        for torn in [whole[..whole.len() - 3].to_vec(), vec![0; whole.len()]] {
            let _ = std::fs::remove_file(dir.path().join("shard-0").join(REACHED));
            std::fs::write(&path, torn).unwrap();
            drop(shelf.take_over(dir.path(), None).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        // The topic was emptied, or cut.
        for keep in [0, 1] {
            let cut = Shelf::default();
            cut.0.lock().unwrap().1 = shelf.0.lock().unwrap().1[..keep].to_vec();
            let lost = cut.take_over(dir.path(), None).err();
            assert!(matches!(lost, Some(LedgerFault::LedgerLost { .. })), "{keep}: {lost:?}");
        }
        let mut gap = Copied::open(dir.path(), "shard-1", "shelf").unwrap();
        gap.put(JournalId([1; 16]), 0, b"abc").unwrap();
        let fault = gap.put(JournalId([1; 16]), 4, b"e").err();
        assert!(matches!(fault, Some(LedgerFault::Damaged { offset: 3, .. })), "{fault:?}");
    }

    #[test]
    fn a_copy_goes_on_where_it_was_durable_and_another_home_is_read_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::default();
        for number in 0..3 {
            let mut log = shelf.take_over(dir.path(), None).unwrap();
            log.append(&lease(number)).unwrap();
            log.sync().unwrap();
        }
        let at = |kept: &str| Copied::open(dir.path(), "shard-0", kept).unwrap().next();
        // Two commits each; the last holder's are not known to be copied.
        assert_eq!((at("shelf"), at("another")), (4, 0));
        drop(shelf.take_over(dir.path(), None).unwrap());
        assert_eq!(leases(dir.path()), [0, 1, 2]);
        assert_eq!(at("shelf"), 6);
        std::fs::write(dir.path().join("shard-0").join(REACHED), b"{").unwrap();
        assert_eq!(at("shelf"), 0);
    }
}
