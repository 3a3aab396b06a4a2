//! `keys status` and `keys rotate`: what a person does with the keys of a place. Each change stands
//! in the place's own log of keys before it is made.

mod history;

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use douane_connectors::control_switch;
use douane_ledger::log::{Entry, LedgerFault, Log};
use jiff::Timestamp;
use serde::Serialize;

use crate::config::{self, KeysPlace, Place};
use crate::detokenize::check_words;
use crate::fault::RunFault;
use crate::key_home::{
    self, Changed, DOMAIN_PURPOSES, Detokenized, KeyFault, KeyHome, QuarantineEpoch, Remains,
    Rotation, State, Store, SubjectCount, Use,
};
use crate::names::{KEYS_HOME, checkpoint_origin, ledger_home};
use crate::stop::Stop;

use history::History;
pub use history::{LogStand, goes_on, open};

/// The one log of a place's keys.
const LOG: &str = "control";
/// Somebody else who has it writes, or destroys keys of a few subjects.
const BOOK_WAIT: Duration = Duration::from_secs(60);
const BOOK_LOOK: Duration = Duration::from_millis(50);

/// The keys of a place, by version; ids, never a key.
#[derive(Debug, Serialize)]
pub struct Status {
    pub store: String,
    pub region: String,
    pub home: HomeStatus,
    pub roots: Vec<RootStatus>,
    pub domains: Vec<DomainStatus>,
    pub signing: SigningStatus,
    /// Keys of single subjects; null before the first.
    pub subjects: Option<SubjectsStatus>,
    /// Keys that records are set aside under, newest first.
    pub quarantine: Vec<EpochStatus>,
    /// Every key is kept out of swap.
    pub locked: bool,
}

/// The home of the wrapping key.
#[derive(Debug, Serialize)]
pub struct HomeStatus {
    pub kind: String,
    /// Counts wrapping keys.
    pub generation: u32,
    pub since: String,
    /// How long keys may be used without it; null where it is no other place.
    pub lease_s: Option<u64>,
}

/// Keys of single subjects.
#[derive(Debug, Serialize)]
pub struct SubjectsStatus {
    /// Counts the keys that they are wrapped under.
    pub epoch: u32,
    pub since: String,
    pub domains: Vec<SubjectCount>,
}

/// An epoch of the quarantine.
#[derive(Debug, Serialize)]
pub struct EpochStatus {
    pub number: u32,
    pub id: String,
    pub since: String,
    pub state: EpochState,
    /// Until when its key is kept; null for the newest. Of one that ended: when that was.
    pub until: Option<String>,
}

/// What is true about an epoch of the quarantine at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EpochState {
    /// Records are set aside under its key.
    Active,
    /// Its key opens what was set aside under it.
    Kept,
    /// The same, and its time is over: `keys expire` destroys it.
    Over,
    /// Its key is no longer in the store, and the wrapping key of before still is: `keys expire` ends it.
    Ending,
    /// What was set aside under it opens nowhere.
    Ended,
}

fn epoch_status(keys: &KeysPlace, store: &Store, now: Timestamp) -> Vec<EpochStatus> {
    let status = |epoch: &QuarantineEpoch| {
        let until = store.keeps_until(epoch.number, keys.quarantine.keep);
        let state = match (epoch.is_live(), epoch.ended, until) {
            (true, _, None) => EpochState::Active,
            (true, _, Some(until)) if now < until => EpochState::Kept,
            (true, _, Some(_)) => EpochState::Over,
            (false, None, _) => EpochState::Ending,
            (false, Some(_), _) => EpochState::Ended,
        };
        EpochStatus {
            number: epoch.number,
            id: epoch.id.clone(),
            since: epoch.made.to_string(),
            state,
            until: epoch.ended.or(until).map(|until| until.to_string()),
        }
    };
    store.quarantine.iter().rev().map(status).collect()
}

#[derive(Debug, Serialize)]
pub struct RootStatus {
    pub version: u32,
    pub id: String,
    pub since: String,
    pub active: bool,
}

#[derive(Debug, Serialize)]
pub struct DomainStatus {
    pub domain: String,
    /// Newest first.
    pub versions: Vec<VersionStatus>,
    pub used_by: Vec<Use>,
}

#[derive(Debug, Serialize)]
pub struct VersionStatus {
    pub version: u32,
    pub state: State,
    pub since: String,
    /// Until when it is read back; null while it is active.
    pub until: Option<String>,
    pub root: u32,
    /// By purpose, as manifests and intents name them.
    pub key_ids: Vec<PurposeId>,
}

#[derive(Debug, Serialize)]
pub struct PurposeId {
    pub purpose: &'static str,
    pub id: String,
}

/// Ids of the public keys.
#[derive(Debug, Serialize)]
pub struct SigningStatus {
    pub manifest: String,
    pub checkpoint: String,
}

/// Reads the keys of a place. Changes nothing.
pub fn status(place: &Path) -> Result<Status, RunFault> {
    let place = config::load_place(place).map_err(RunFault::Findings)?;
    let home = open(&place)?;
    let store = key_home::read_store(&place.keys)?;
    let now = Timestamp::now();
    let newest = store.roots.len() as u32;
    let roots = home.roots();
    let quarantine = epoch_status(&place.keys, &store, now);
    let domains = store.domains.into_iter().map(|domain| {
        let ids = |root: u32, version: u32| {
            let id = |purpose| {
                roots[root as usize - 1].derive_version(purpose, &domain.domain, version).id()
            };
            DOMAIN_PURPOSES
                .map(|purpose| PurposeId { purpose: purpose.label(), id: id(purpose).to_string() })
                .into()
        };
        let versions = domain.versions.iter().rev().map(|version| VersionStatus {
            version: version.version,
            state: version.state(now),
            since: version.made.to_string(),
            until: version.until.map(|until| until.to_string()),
            root: version.root,
            key_ids: ids(version.root, version.version),
        });
        DomainStatus {
            versions: versions.collect(),
            used_by: domain.used_by,
            domain: domain.domain.clone(),
        }
    });
    let subjects = match (store.subjects, home.subjects()) {
        (Some(epoch), Some(kept)) => Some(SubjectsStatus {
            epoch: epoch.number,
            since: epoch.made.to_string(),
            domains: kept.counts()?,
        }),
        _ => None,
    };
    Ok(Status {
        subjects,
        quarantine,
        store: store.store,
        region: store.region,
        home: HomeStatus {
            kind: store.wrapping.home,
            generation: store.wrapping.generation,
            since: store.wrapping.made.to_string(),
            lease_s: home.lease_length().map(|length| length.as_secs()),
        },
        roots: store
            .roots
            .into_iter()
            .map(|root| RootStatus {
                active: root.version == newest,
                version: root.version,
                id: root.id,
                since: root.made.to_string(),
            })
            .collect(),
        domains: domains.collect(),
        signing: SigningStatus {
            manifest: home.manifest_public().keyid(),
            checkpoint: home.checkpoint().verifying_key().keyid(),
        },
        locked: home.is_locked(),
    })
}

/// What is rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Domain {
        domain: String,
        overlap: Duration,
    },
    Root,
    Wrapping,
    /// The key that records are set aside under.
    Quarantine,
}

/// What a rotation came to.
#[derive(Debug, Serialize)]
pub struct Rotated {
    pub changed: Vec<Changed>,
    /// Of the wrapping key: what may still open an old copy of the store.
    pub remains: Option<Remains>,
}

/// Rotates. The ledger has it before the store does: a crash in between leaves an entry about a
/// rotation that the next try brings.
pub fn rotate(place: &Path, what: &What) -> Result<Rotated, RunFault> {
    let place = config::load_place(place).map_err(RunFault::Findings)?;
    let home = open(&place)?;
    // Before the store, whose lock a rotation holds: whoever destroys keys takes the two in this order.
    let mut book = Book::open(&place, &home)?;
    let rotation: Rotation = match what {
        What::Domain { domain, overlap } => key_home::rotate_domain(&place.keys, domain, *overlap)?,
        What::Root => key_home::rotate_root(&place.keys)?,
        What::Quarantine => key_home::rotate_quarantine(&place.keys)?,
        What::Wrapping => return rotate_wrapping(&place, book),
    };
    let entries: Vec<Entry> = rotation.changed.iter().map(rotated).collect();
    book.write(&entries)?;
    let changed = rotation.changed.clone();
    rotation.commit()?;
    book.publish()?;
    Ok(Rotated { changed, remains: None })
}

fn rotate_wrapping(place: &Place, mut book: Book) -> Result<Rotated, RunFault> {
    let mut told = None;
    let mut ledger = None;
    let written = |changed: &Changed| {
        told = Some(changed.clone());
        book.write(&[rotated(changed)]).map_err(|fault| {
            ledger = Some(fault);
            KeyFault::NotLedgered
        })
    };
    let outcome = key_home::rotate_wrapping(&place.keys, written);
    if let Some(fault) = ledger {
        return Err(fault.into());
    }
    let (_, remains) = outcome?;
    book.publish()?;
    Ok(Rotated { changed: told.into_iter().collect(), remains: Some(remains) })
}

/// Which epochs of the quarantine end, and who has it done.
#[derive(Clone, Debug)]
pub struct Expire<'a> {
    /// One before its time; none: all whose time is over.
    pub epoch: Option<u32>,
    pub by: &'a str,
    pub reason: &'a str,
}

/// What became of it.
#[derive(Debug, Serialize)]
pub struct Expired {
    /// Numbers of the epochs that ended.
    pub ended: Vec<u32>,
    /// What may still open a copy of the store from before; null where none was to end.
    pub remains: Option<Remains>,
}

/// Destroys the keys of epochs of the quarantine whose time is over. The ledger has it first; a crash
/// at any point leaves it to the next call.
pub fn expire(place: &Path, wanted: &Expire<'_>) -> Result<Expired, RunFault> {
    let place = config::load_place(place).map_err(RunFault::Findings)?;
    check_words(wanted.by, wanted.reason)?;
    let home = open(&place)?;
    let book = RefCell::new(Book::open(&place, &home)?);
    let ledger: RefCell<Option<LedgerFault>> = RefCell::new(None);
    let write = |entries: &[Entry]| {
        book.borrow_mut().write(entries).map_err(|fault| {
            ledger.replace(Some(fault));
            KeyFault::NotLedgered
        })
    };
    let mut intended = |epochs: &[(QuarantineEpoch, Option<Timestamp>)]| {
        let ended = |(epoch, over): &(QuarantineEpoch, Option<Timestamp>)| Entry::EpochEnded {
            number: epoch.number,
            key_id: epoch.id.clone(),
            since: epoch.made.to_string(),
            kept_until: over.map(|over| over.to_string()),
            by: wanted.by.to_owned(),
            reason: wanted.reason.to_owned(),
        };
        write(&epochs.iter().map(ended).collect::<Vec<_>>())
    };
    let mut changed = |changed: &Changed| write(&[rotated(changed)]);
    let request = key_home::Expire {
        epoch: wanted.epoch,
        intended: &mut intended,
        rotated: &mut changed,
        step: &control_switch::die_at,
    };
    let outcome = key_home::expire(&place.keys, request);
    if let Some(fault) = ledger.into_inner() {
        return Err(fault.into());
    }
    let outcome = outcome?;
    book.into_inner().publish()?;
    Ok(Expired {
        ended: outcome.iter().flat_map(|done| &done.epochs).map(|epoch| epoch.number).collect(),
        remains: outcome.map(|done| done.remains),
    })
}

/// What stands in the log of keys of a ledger.
pub(crate) fn entries(ledger_dir: &Path) -> Result<Vec<Entry>, LedgerFault> {
    let entries = douane_ledger::log::read(&ledger_home(ledger_dir, KEYS_HOME), LOG, None)?;
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

pub(crate) fn rotated(changed: &Changed) -> Entry {
    Entry::Rotated {
        purpose: changed.purpose.to_owned(),
        context: changed.context.clone(),
        from: changed.from.clone(),
        to: changed.to.clone(),
    }
}

/// The log of what people did with the keys of a place: one writer at a time, beside the logs of
/// its pipelines.
pub struct Book {
    log: Log,
    /// As the store is while the log is held.
    home: KeyHome,
    history: History,
}

impl Book {
    /// Waits for another holder for [`BOOK_WAIT`] at most: none holds it for longer than its writing takes.
    pub fn open(place: &Place, home: &KeyHome) -> Result<Self, RunFault> {
        Self::open_within(place, home, BOOK_WAIT)
    }

    fn open_within(place: &Place, home: &KeyHome, wait: Duration) -> Result<Self, RunFault> {
        let (nobody, until) = (AtomicBool::new(false), Instant::now() + wait);
        loop {
            match Self::open_now(place, home) {
                Err(RunFault::Ledger(LedgerFault::Locked { .. })) if Instant::now() < until => {
                    Stop::new(&nobody).rest(BOOK_LOOK);
                }
                told => return told,
            }
        }
    }

    fn open_now(place: &Place, home: &KeyHome) -> Result<Self, RunFault> {
        let dir = ledger_home(&place.ledger_dir, KEYS_HOME);
        let log = Log::control(&dir, LOG, home.log_keys(KEYS_HOME))?;
        // From here on nobody rotates: the store is as the log says, or a crash came between them.
        let history = History::read(place)?;
        let home = KeyHome::open(&place.keys)?;
        history.hold(place, &home)?;
        let mut book = Self { log, home, history };
        let lost = book.history.lost(&book.home);
        book.write(&lost)?;
        Ok(book)
    }

    /// What stands in it, this writer's among it.
    pub fn entries(&self, place: &Place) -> Result<Vec<Entry>, LedgerFault> {
        let dir = ledger_home(&place.ledger_dir, KEYS_HOME);
        let head = self.log.head();
        let entries = douane_ledger::log::read(&dir, LOG, Some(&head))?;
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    /// How many times values were turned back, where the log has all that the store knows of.
    pub fn calls(&self, place: &Place, entries: &[Entry]) -> Result<u64, RunFault> {
        let calls =
            entries.iter().filter(|e| matches!(e, Entry::Detokenized { .. })).count() as u64;
        let due = self.detokenized().map_or(0, |known| known.calls);
        if self.history.covers(&self.home) && calls >= due {
            return Ok(calls);
        }
        Err(RunFault::KeyStoreRolledBack {
            path: ledger_home(&place.ledger_dir, KEYS_HOME).join(LOG),
            what: "the key store knows of rotations or detokenisations that it lacks".to_owned(),
        })
    }

    /// What the store says of values that were turned back.
    pub fn detokenized(&self) -> Option<&Detokenized> {
        self.home.store()?.detokenized.as_ref()
    }

    /// Durable on return.
    pub fn write(&mut self, entries: &[Entry]) -> Result<(), LedgerFault> {
        for entry in entries {
            self.log.append(entry)?;
        }
        self.log.sync().map(|_| ())
    }

    /// A signed checkpoint over all of it.
    pub fn publish(mut self) -> Result<(), LedgerFault> {
        let size = self.log.head().size;
        self.log.publish(size, self.home.checkpoint(), &checkpoint_origin(KEYS_HOME, LOG))
    }
}

#[cfg(test)]
mod tests;
