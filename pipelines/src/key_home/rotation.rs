//! What changes in a store: a pipeline begins to use a domain, a domain or the root gets its next
//! version, the wrapping key is replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use douane_schemas::keys::{KeyId, Purpose};
use douane_transforms::subjects::SubjectId;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use zeroize::Zeroizing;

use super::store::{
    self, Detokenized, Domain, DomainVersion, Of, Opened, QuarantineEpoch, Store, Use,
};
use super::subjects::{self, Doomed, Epoch};
use super::wrapping::{KeyStore, Remains, WrappingKey};
use super::{KeyFault, open_home, process};
use crate::config::KeysPlace;

/// The purposes that a token domain has keys for.
pub const DOMAIN_PURPOSES: [Purpose; 5] =
    [Purpose::TokenHmac, Purpose::TokenCmac, Purpose::TokenSiv, Purpose::Ff1, Purpose::SubjectMask];

/// What a rotation replaces. [`Rotation::commit`] makes it so; until then nothing has changed.
pub struct Rotation {
    keys: KeysPlace,
    _lock: std::fs::File,
    opened: Opened,
    /// For the ledger, which comes first.
    pub changed: Vec<Changed>,
}

/// One key in the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub purpose: &'static str,
    /// The domain; empty for the root.
    pub context: String,
    pub from: String,
    pub to: String,
}

impl Rotation {
    /// Writes the store. Crash before it: the ledger names a rotation that did not come to pass,
    /// and the next one brings the same keys for a domain.
    pub fn commit(self) -> Result<(), KeyFault> {
        store::write(&self.keys.dir, &self.opened.key, self.opened.store)
    }
}

/// The next version of a domain's keys, from the active root. The one before is read back for
/// `overlap`; those before that keep their dates.
pub fn rotate_domain(
    keys: &KeysPlace,
    domain: &str,
    overlap: Duration,
) -> Result<Rotation, KeyFault> {
    let (lock, mut opened) = open(keys)?;
    let now = Timestamp::now();
    let until = SignedDuration::try_from(overlap).ok().and_then(|d| now.checked_add(d).ok());
    let until = until.ok_or(KeyFault::Overlap)?;
    let active_root = opened.store.roots.len() as u32;
    let found = opened.store.domains.iter_mut().find(|found| found.domain == domain);
    let found = found.ok_or_else(|| KeyFault::UnknownDomain { domain: domain.to_owned() })?;
    let in_key: Vec<String> =
        found.used_by.iter().filter(|u| u.in_key).map(|u| format!("`{}`", u.pipeline)).collect();
    if !in_key.is_empty() {
        let pipelines = in_key.join(", ");
        return Err(KeyFault::InRecordKey { domain: domain.to_owned(), pipelines });
    }
    let version = found.versions.len() as u32 + 1;
    let before = found.versions.last_mut().map(|before| {
        before.until = Some(until);
        (before.root, before.version)
    });
    found.versions.push(DomainVersion { version, root: active_root, made: now, until: None });
    let key = |(root, version): (u32, u32), purpose| {
        opened.roots[root as usize - 1].derive_version(purpose, domain, version).id().to_string()
    };
    let changed = DOMAIN_PURPOSES
        .into_iter()
        .filter_map(|purpose| {
            Some(Changed {
                purpose: purpose.label(),
                context: domain.to_owned(),
                from: key(before?, purpose),
                to: key((active_root, version), purpose),
            })
        })
        .collect();
    Ok(Rotation { keys: keys.clone(), _lock: lock, opened, changed })
}

/// A new root: for what pipelines seal from their next start on, for domains that nobody has used
/// yet, and for the next version of the others. Domains in use keep their tokens.
pub fn rotate_root(keys: &KeysPlace) -> Result<Rotation, KeyFault> {
    let (lock, mut opened) = open(keys)?;
    let id = |opened: &Opened| opened.store.roots.last().map(|r| r.id.clone()).unwrap_or_default();
    let from = id(&opened);
    opened.add_root()?;
    let changed =
        Changed { purpose: Purpose::KeyId.label(), context: String::new(), from, to: id(&opened) };
    Ok(Rotation { keys: keys.clone(), _lock: lock, opened, changed: vec![changed] })
}

/// A new wrapping key and a new store key, and the old wrapping key is destroyed. `written` puts it
/// into the ledger first. Says which generation is in force now, and what is left of the old one.
pub fn rotate_wrapping(
    keys: &KeysPlace,
    written: impl FnOnce(&Changed) -> Result<(), KeyFault>,
) -> Result<(u32, Remains), KeyFault> {
    let (_lock, mut opened) = open(keys)?;
    let old = opened.store.clone();
    let remains = replace_wrapping(keys, &mut opened, &old, written, &|_| ())?;
    Ok((opened.store.wrapping.generation, remains))
}

/// Wraps what the store holds now under a fresh wrapping key, and destroys the one of `old`, which
/// is the store as it lies there.
fn replace_wrapping(
    keys: &KeysPlace,
    opened: &mut Opened,
    old: &Store,
    written: impl FnOnce(&Changed) -> Result<(), KeyFault>,
    step: &dyn Fn(&'static str),
) -> Result<Remains, KeyFault> {
    let home = open_home(keys);
    opened.rewrap(&*home)?;
    let now = opened.store.wrapping.clone();
    let changed = Changed {
        purpose: Purpose::Store.label(),
        context: opened.store.wrapped_by(),
        from: old.wrapping.key_id.clone(),
        to: now.key_id,
    };
    written(&changed)?;
    step("rotated");
    store::write(&keys.dir, &opened.key, opened.store.clone())?;
    // Crash here: the old wrapping key is still there and opens nothing that is in use; the next
    // rotation destroys it as well.
    step("written");
    let destroyed = WrappingKey { store: &old.store, generation: old.wrapping.generation };
    let remains = home.destroy(destroyed, &now.versions)?;
    step("destroyed");
    // Final is what was tried.
    let opens = store::open_key(&keys.dir, old, &keys.region, &*home).is_ok();
    Ok(Remains { is_final: remains.is_final && !opens, ..remains })
}

/// The next key that records are set aside under, before its time: what was set aside until now can
/// then end apart from what comes.
pub fn rotate_quarantine(keys: &KeysPlace) -> Result<Rotation, KeyFault> {
    let (lock, mut opened) = open(keys)?;
    let id = |opened: &Opened| opened.store.quarantine.last().map(|epoch| epoch.id.clone());
    let from = id(&opened).ok_or(KeyFault::NoEpoch)?;
    opened.next_quarantine()?;
    let changed = Changed {
        purpose: Purpose::Quarantine.label(),
        context: String::new(),
        from,
        to: id(&opened).unwrap_or_default(),
    };
    Ok(Rotation { keys: keys.clone(), _lock: lock, opened, changed: vec![changed] })
}

/// Begins the next epoch where the time of the newest is over, and the first where there is none.
/// Whoever comes second finds it begun.
pub(super) fn begin_quarantine(keys: &KeysPlace, home: &dyn KeyStore) -> Result<(), KeyFault> {
    let _lock = store::lock(&keys.dir)?;
    let mut opened = store::open(&keys.dir, &keys.region, home)?;
    if opened.store.epoch_over(keys.quarantine.epoch, Timestamp::now()) {
        opened.next_quarantine()?;
        store::write(&keys.dir, &opened.key, opened.store)?;
    }
    Ok(())
}

/// Takes the epochs that are to end, and since when their time is over, where it is.
pub type Ending<'a> =
    dyn FnMut(&[(QuarantineEpoch, Option<Timestamp>)]) -> Result<(), KeyFault> + 'a;

/// Which epochs of the quarantine end, and who wrote it down.
pub struct Expire<'a> {
    /// One whose time is not over, too; none: all whose time is.
    pub epoch: Option<u32>,
    /// Puts the intent into the ledger. Nothing was changed before.
    pub intended: &'a mut Ending<'a>,
    /// Puts the next wrapping key into the ledger, before the store names it.
    pub rotated: &'a mut dyn FnMut(&Changed) -> Result<(), KeyFault>,
    /// Called after each step, with its name: a test may end the process there.
    pub step: &'a dyn Fn(&'static str),
}

/// What the end of epochs came to.
pub struct Expired {
    /// Those that ended.
    pub epochs: Vec<QuarantineEpoch>,
    /// Which wrapping key is in force now.
    pub generation: u32,
    pub remains: Remains,
}

/// Destroys the keys of epochs whose time is over: everything else is wrapped anew under a fresh
/// wrapping key, and the old one is destroyed. `None` where none is to end. Done again after a crash
/// at any point, it ends in the same state.
///
/// # Errors
/// The epoch is the newest, or there is none of its number; the ledger refused, the home is away.
/// Before the store is written, nothing has changed.
pub fn expire(keys: &KeysPlace, request: Expire<'_>) -> Result<Option<Expired>, KeyFault> {
    let Expire { epoch, intended, rotated, step } = request;
    let (_lock, mut opened) = open(keys)?;
    let old = opened.store.clone();
    let now = Timestamp::now();
    let newest = old.quarantine.len() as u32;
    if let Some(number) = epoch.filter(|number| !(1..newest).contains(number)) {
        return Err(KeyFault::EpochInUse { number, newest });
    }
    let is_due = |of: &QuarantineEpoch| {
        let over = old.keeps_until(of.number, keys.quarantine.keep).filter(|until| *until <= now);
        let wanted = over.is_some() || epoch == Some(of.number);
        (of.is_live() && wanted).then(|| (of.clone(), over))
    };
    let due: Vec<_> = old.quarantine.iter().filter_map(is_due).collect();
    // What a crash left without its wrapping key's end.
    let left = old.quarantine.iter().any(|of| !of.is_live() && of.ended.is_none());
    if due.is_empty() && !left {
        return Ok(None);
    }
    step("begun");
    if !due.is_empty() {
        intended(&due)?;
    }
    step("intended");
    for (of, _) in &due {
        opened.forget_quarantine(of.number);
    }
    let remains = replace_wrapping(keys, &mut opened, &old, rotated, step)?;
    let mut epochs = Vec::new();
    let ending = |of: &&mut QuarantineEpoch| !of.is_live() && of.ended.is_none();
    for of in opened.store.quarantine.iter_mut().filter(ending) {
        of.ended = Some(Timestamp::now());
        epochs.push(of.clone());
    }
    let generation = opened.store.wrapping.generation;
    // Crash before it: the next call replaces the wrapping key once more.
    store::write(&keys.dir, &opened.key, opened.store)?;
    Ok(Some(Expired { epochs, generation, remains }))
}

/// Takes ids of keys, and the id of the key that they are wrapped under.
pub type Intended<'a> = dyn FnMut(&[KeyId], &str) -> Result<(), KeyFault> + 'a;

/// Which subjects' keys are destroyed, and who wrote it down.
pub struct Shred<'a> {
    pub domain: &'a str,
    pub subjects: &'a [SubjectId],
    /// Puts the intent into the ledger, with the ids of the keys and of the key that they are wrapped
    /// under. Nothing was changed before.
    pub intended: &'a mut Intended<'a>,
    /// Puts the next wrapping key into the ledger, before the store names it.
    pub rotated: &'a mut dyn FnMut(&Changed) -> Result<(), KeyFault>,
    /// Called after each step, with its name: a test may end the process there.
    pub step: &'a dyn Fn(&'static str),
}

/// What a shredding came to.
pub struct Shredded {
    /// Ids of the keys that were destroyed; none that an earlier try destroyed.
    pub key_ids: Vec<KeyId>,
    /// Keys of other subjects and domains, wrapped anew.
    pub survivors: u64,
    /// The keys that were replaced: what subjects' keys were wrapped under, and what that was.
    pub epoch: Changed,
    pub wrapping: Changed,
    /// Which wrapping key was destroyed.
    pub generation: u32,
    pub remains: Remains,
    /// PKCS#8 PEM of the key that signs the certificate.
    pub certificate: Zeroizing<String>,
}

/// Destroys the keys of single subjects: the others are wrapped anew under a fresh key, that and all
/// else of the store under a fresh wrapping key, and the old wrapping key is destroyed. Done again
/// after a crash at any point, it ends in the same state.
///
/// # Errors
/// A subject never had a key, the ledger refused, the home is away. Before the store is written,
/// nothing has changed.
pub fn shred(keys: &KeysPlace, request: Shred<'_>) -> Result<Shredded, KeyFault> {
    let Shred { domain, subjects, intended, rotated, step } = request;
    let (_lock, mut opened) = open(keys)?;
    let home = open_home(keys);
    let none = || KeyFault::NoSubjects { domain: domain.to_owned() };
    let from = Epoch::of(&keys.dir, &opened).ok_or_else(none)?;
    let Doomed { key_ids, unknown } = subjects::doomed(&from, domain, subjects)?;
    if !unknown.is_empty() {
        let places: Vec<String> = unknown.iter().map(|at| (at + 1).to_string()).collect();
        let (domain, places) = (domain.to_owned(), places.join(", "));
        return Err(KeyFault::UnknownSubjects { domain, places });
    }
    let old = opened.store.clone();
    let (before, old_epoch) = (old.wrapping.clone(), old.subjects.clone().ok_or_else(none)?);
    step("begun");
    intended(&key_ids, &old_epoch.id)?;
    step("intended");
    opened.next_epoch()?;
    let to = Epoch::of(&keys.dir, &opened).ok_or_else(none)?;
    let survivors = subjects::rewrite(&from, &to, domain, subjects)?;
    step("rewritten");
    let (certificate, is_new) = opened.certificate_key()?;
    opened.rewrap(&*home)?;
    step("wrapped");
    let now = opened.store.wrapping.clone();
    let wrapping = Changed {
        purpose: Purpose::Store.label(),
        context: opened.store.wrapped_by(),
        from: before.key_id,
        to: now.key_id,
    };
    rotated(&wrapping)?;
    if is_new {
        super::write_certificate_public(&keys.dir, &certificate)?;
    }
    step("rotated");
    let new_epoch = opened.store.subjects.clone().ok_or_else(none)?;
    store::write(&keys.dir, &opened.key, opened.store)?;
    // Crash from here on: the store names the survivors alone. The old wrapping key opens what a
    // backup holds; the next try destroys it as well.
    step("written");
    subjects::sweep(&keys.dir, &new_epoch)?;
    let generation = before.generation;
    let remains = home.destroy(WrappingKey { store: &old.store, generation }, &now.versions)?;
    step("destroyed");
    // Final is what was tried.
    let opens = store::open_key(&keys.dir, &old, &keys.region, &*home).is_ok();
    let remains = Remains { is_final: remains.is_final && !opens, ..remains };
    let epoch = Changed {
        purpose: Purpose::Store.label(),
        context: format!("subjects {}", new_epoch.number),
        from: old_epoch.id,
        to: new_epoch.id,
    };
    Ok(Shredded { key_ids, survivors, epoch, wrapping, generation, remains, certificate })
}

/// Puts what the log and the trust root must hold from now on under the store's MAC.
pub fn pin_detokenized(keys: &KeysPlace, pinned: Detokenized) -> Result<(), KeyFault> {
    let (_lock, mut opened) = open(keys)?;
    opened.store.detokenized = Some(pinned);
    store::write(&keys.dir, &opened.key, opened.store)
}

fn open(keys: &KeysPlace) -> Result<(std::fs::File, Opened), KeyFault> {
    process::harden()?;
    // The folder of a place without keys is not made by locking it.
    store::read(&keys.dir)?;
    let lock = store::lock(&keys.dir)?;
    let opened = store::open(&keys.dir, &keys.region, &*open_home(keys))?;
    Ok((lock, opened))
}

/// What a pipeline protects in a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protects {
    pub domain: String,
    /// In its record key as well.
    pub in_key: bool,
    pub of: BTreeSet<Of>,
}

impl Protects {
    /// Values of columns.
    #[cfg(test)]
    pub fn columns(domain: &str, in_key: bool) -> Self {
        Self { domain: domain.to_owned(), in_key, of: [Of::Columns].into() }
    }
}

/// Writes down who uses which domain, and for what. Writes only what is new.
pub(super) fn register(
    keys: &KeysPlace,
    home: &dyn KeyStore,
    pipeline: &str,
    domains: &[Protects],
) -> Result<(), KeyFault> {
    let known = |store: &Store| {
        domains.iter().all(|used| {
            let found = store.domains.iter().find(|found| found.domain == used.domain);
            let mut uses = found.into_iter().flat_map(|found| &found.used_by);
            uses.any(|u| {
                u.pipeline == pipeline && (u.in_key || !used.in_key) && u.of.is_superset(&used.of)
            })
        })
    };
    if known(&store::read(&keys.dir)?) {
        return Ok(());
    }
    let _lock = store::lock(&keys.dir)?;
    let mut opened = store::open(&keys.dir, &keys.region, home)?;
    let root = opened.store.roots.len() as u32;
    for Protects { domain, in_key, of } in domains {
        let at = opened.store.domains.binary_search_by(|d| d.domain.as_str().cmp(domain));
        let at = at.unwrap_or_else(|at| {
            let made = Timestamp::now();
            let first = DomainVersion { version: 1, root, made, until: None };
            let new = Domain { domain: domain.clone(), versions: vec![first], used_by: Vec::new() };
            opened.store.domains.insert(at, new);
            at
        });
        let used_by = &mut opened.store.domains[at].used_by;
        match used_by.iter_mut().find(|u| u.pipeline == pipeline) {
            // What was in a record key once, or a pseudonym of a find, may be outside for ever.
            Some(known) => {
                known.in_key |= in_key;
                known.of.extend(of);
            }
            None => {
                let (pipeline, in_key) = (pipeline.to_owned(), *in_key);
                used_by.push(Use { pipeline, in_key, of: of.clone() });
            }
        }
        used_by.sort();
        mixed(domain, used_by)?;
    }
    store::write(&keys.dir, &opened.key, opened.store)
}

/// Finds in texts of one pipeline have a domain of columns of another, or the other way round:
/// whoever writes a text and reads both targets could ask for the pseudonym of any value of that
/// column.
fn mixed(domain: &str, used_by: &[Use]) -> Result<(), KeyFault> {
    let of = |of: Of| used_by.iter().find(|u| u.of.contains(&of)).map(|u| u.pipeline.clone());
    match (of(Of::Columns), of(Of::Finds)) {
        (Some(columns), Some(finds)) => {
            Err(KeyFault::Mixed { domain: domain.to_owned(), columns, finds })
        }
        _ => Ok(()),
    }
}
