//! The key store held against the log of keys: a store of an older day would protect under keys
//! that were rotated away.
//!
//! The log comes before the store, and its checkpoint after it. So what the checkpoint covers is in
//! the store; a rotation beyond it may have ended by a crash, and then either is right.

use std::collections::BTreeMap;

use douane_ledger::canonical::hex32;
use douane_ledger::log::{self, Entry, LedgerFault};
use douane_schemas::keys::Purpose;
use serde::{Deserialize, Serialize};

use super::LOG;
use crate::config::Place;
use crate::fault::RunFault;
use crate::key_home::{DOMAIN_PURPOSES, KeyHome, Store};
use crate::names::{KEYS_HOME, ledger_home};

/// Opens the keys of a place, which are none that a rotation replaced.
pub fn open(place: &Place) -> Result<KeyHome, RunFault> {
    // The log first: a rotation in between makes the store newer than the log, never older.
    let history = History::read(place)?;
    let home = KeyHome::open(&place.keys)?;
    history.hold(place, &home)?;
    Ok(home)
}

/// The newest rotation of each key.
pub(super) struct History(BTreeMap<(String, String), Newest>);

struct Newest {
    /// Its context in the entry.
    context: String,
    from: String,
    to: String,
    /// A checkpoint covers it: the store was written.
    is_published: bool,
}

/// Where the log of keys stood when somebody looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogStand {
    /// Entries that its checkpoint covers.
    pub size: u64,
    /// Their root.
    #[serde(with = "hex32")]
    pub root: [u8; 32],
}

/// Where the log of keys stands, which goes on from where it stood. A store and a log that were put back
/// together fit each other: only who kept this sees it. `None`: it is not begun.
///
/// # Errors
/// [`RunFault::KeyStoreRolledBack`].
pub fn goes_on(place: &Place, known: Option<&LogStand>) -> Result<Option<LogStand>, RunFault> {
    let home = ledger_home(&place.ledger_dir, KEYS_HOME);
    let known = known.map(|known| (known.size, known.root));
    match log::goes_on(&home, LOG, known) {
        Ok(now) => Ok(now.map(|(size, root)| LogStand { size, root })),
        Err(LedgerFault::LedgerLost { why, size, .. }) => Err(RunFault::KeyStoreRolledBack {
            path: home.join(LOG),
            what: format!("the layout in the target knows {size} entries of it: {why}"),
        }),
        Err(fault) => Err(fault.into()),
    }
}

impl History {
    pub(super) fn read(place: &Place) -> Result<Self, RunFault> {
        let home = ledger_home(&place.ledger_dir, KEYS_HOME);
        let dir = home.join(LOG);
        // Before the entries, which only grow.
        let published = log::checkpoint(&dir)?.map_or(0, |(size, _)| size);
        let entries = log::read(&home, LOG, None)?;
        if (entries.len() as u64) < published {
            let what = "it ends before its own checkpoint".to_owned();
            return Err(RunFault::KeyStoreRolledBack { path: dir, what });
        }
        let mut newest = BTreeMap::new();
        for (index, entry) in entries {
            let Entry::Rotated { purpose, context, from, to } = entry else { continue };
            // A wrapping key's context counts its generations.
            let key = if purpose == Purpose::Store.label() { "" } else { &context };
            let key = (purpose, key.to_owned());
            newest.insert(key, Newest { context, from, to, is_published: index < published });
        }
        Ok(Self(newest))
    }

    /// The store is as new as what the log says was done.
    pub(super) fn hold(&self, place: &Place, home: &KeyHome) -> Result<(), RunFault> {
        for ((purpose, _), newest) in &self.0 {
            let holds = |id| has(home, purpose, &newest.context, id);
            if holds(&newest.to) || (!newest.is_published && holds(&newest.from)) {
                continue;
            }
            let (path, context) = (place.keys.store(), &newest.context);
            let to = &newest.to;
            let what = format!("the log of keys has `{purpose}` {context} replaced by {to}");
            return Err(RunFault::KeyStoreRolledBack { path, what });
        }
        Ok(())
    }

    /// Whether it has every rotation that the store knows of. The caller holds the log.
    pub(super) fn covers(&self, home: &KeyHome) -> bool {
        let Some(store) = home.store() else { return true };
        let has = |purpose: Purpose, context: &str, id: &str| {
            let newest = self.0.get(&(purpose.label().to_owned(), context.to_owned()));
            newest.is_some_and(|newest| newest.to == id || newest.from == id)
        };
        let (roots, wrapping) = (&store.roots, &store.wrapping);
        let mut domains = store.domains.iter();
        (roots.len() == 1 || has(Purpose::KeyId, "", &home.root().id().to_string()))
            && (wrapping.generation == 1 || has(Purpose::Store, "", &wrapping.key_id))
            && domains.all(|domain| {
                let (name, purpose) = (&domain.domain, Purpose::TokenSiv);
                domain.versions.last().filter(|last| last.version > 1).is_none_or(|last| {
                    let root = &home.roots()[last.root as usize - 1];
                    let id = root.derive_version(purpose, name, last.version).id();
                    has(purpose, name, &id.to_string())
                })
            })
    }

    /// The reverse of each rotation that a crash kept out of the store: the next checkpoint covers
    /// both. The caller holds the log, and opened `home` after that.
    pub(super) fn lost(&self, home: &KeyHome) -> Vec<Entry> {
        let lost = |((purpose, _), newest): (&(String, String), &Newest)| {
            if has(home, purpose, &newest.context, &newest.to) {
                return None;
            }
            let wrapping = home.store().filter(|_| purpose == Purpose::Store.label());
            Some(Entry::Rotated {
                purpose: purpose.clone(),
                context: wrapping.map_or(newest.context.clone(), Store::wrapped_by),
                from: newest.to.clone(),
                to: newest.from.clone(),
            })
        };
        self.0.iter().filter_map(lost).collect()
    }
}

/// Whether a store has a key, or one that came after it.
fn has(home: &KeyHome, purpose: &str, context: &str, id: &str) -> bool {
    let Some(store) = home.store() else { return false };
    if purpose == Purpose::KeyId.label() {
        return store.roots.iter().any(|root| root.id == id);
    }
    if purpose == Purpose::Quarantine.label() {
        return store.quarantine.iter().any(|epoch| epoch.id == id);
    }
    if purpose == Purpose::Store.label() {
        let generation = context.rsplit(' ').next().and_then(|number| number.parse().ok());
        return store.wrapping.key_id == id
            || generation.is_some_and(|generation: u32| store.wrapping.generation > generation);
    }
    let domain = store.domains.iter().find(|domain| domain.domain == context);
    let known = DOMAIN_PURPOSES.into_iter().find(|known| known.label() == purpose);
    let (Some(domain), Some(purpose)) = (domain, known) else { return false };
    domain.versions.iter().rev().any(|version| {
        let root = &home.roots()[version.root as usize - 1];
        root.derive_version(purpose, &domain.domain, version.version).id().to_string() == id
    })
}
