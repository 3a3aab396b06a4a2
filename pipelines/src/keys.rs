//! `keys status` and `keys rotate`: what a person does with the keys of a place. Each change stands
//! in the place's own log of keys before it is made.

mod history;

use std::path::Path;
use std::time::Duration;

use douane_ledger::log::{Entry, LedgerFault, Log};
use jiff::Timestamp;
use serde::Serialize;

use crate::config::{self, Place};
use crate::fault::RunFault;
use crate::key_home::{
    self, Changed, DOMAIN_PURPOSES, Detokenized, KeyFault, KeyHome, Remains, Rotation, State,
    SubjectCount, Use,
};
use crate::names::{KEYS_HOME, checkpoint_origin, ledger_home};

use history::History;
pub use history::open;

/// The one log of a place's keys.
const LOG: &str = "control";

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
    Domain { domain: String, overlap: Duration },
    Root,
    Wrapping,
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
    let rotation: Rotation = match what {
        What::Domain { domain, overlap } => key_home::rotate_domain(&place.keys, domain, *overlap)?,
        What::Root => key_home::rotate_root(&place.keys)?,
        What::Wrapping => return rotate_wrapping(&place, &home),
    };
    let mut book = Book::open(&place, &home)?;
    let entries: Vec<Entry> = rotation.changed.iter().map(rotated).collect();
    book.write(&entries)?;
    let changed = rotation.changed.clone();
    rotation.commit()?;
    book.publish()?;
    Ok(Rotated { changed, remains: None })
}

fn rotate_wrapping(place: &Place, home: &KeyHome) -> Result<Rotated, RunFault> {
    let mut book = Book::open(place, home)?;
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
    pub fn open(place: &Place, home: &KeyHome) -> Result<Self, RunFault> {
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
