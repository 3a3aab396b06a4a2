//! `store.json`: which keys there are, in which versions and states, and each secret wrapped under
//! the store's own key. That one is wrapped by its home ([`super::wrapping`]).
//!
//! The file is whole or not at all: it is replaced by a rename, under a lock that every writer
//! takes. A MAC covers all of it, so that no state, date or use can be changed without the key.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use douane_ledger::canonical;
use douane_ledger::signing::SigningKey;
use douane_schemas::keys::{Key, Purpose, RootKey, id_of};
use douane_schemas::secret::Secret;
use douane_schemas::tuple::Tuple;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::wrapping::{KeyStore, WrappingKey, random, replace, seal, secret_of, unseal};
use super::{KeyFault, read_bounded};
use crate::config::zone;

const FORMAT: u32 = 1;
const NAME: &str = "store.json";
const LOCK: &str = "lock";
/// Some ten thousand domains.
const STORE_BYTES_MAX: u64 = 16 << 20;
const ENTRIES_MAX: usize = 100_000;

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    v: u32,
    /// 32 hexadecimal characters: which store this is, whatever it holds.
    pub store: String,
    /// Zone of the place: part of what every secret is bound to.
    pub region: String,
    pub wrapping: Wrapping,
    /// Oldest first, versions from 1 without gaps; the last is active.
    pub roots: Vec<Root>,
    /// By name.
    pub domains: Vec<Domain>,
    /// None before values were turned back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detokenized: Option<Detokenized>,
    /// Manifest and checkpoint; since the first shredding the certificate.
    signing: Vec<Signing>,
    /// None before a subject had a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects: Option<SubjectEpoch>,
    /// Oldest first, numbers from 1 without gaps; the last is active. None before the first run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<QuarantineEpoch>,
    /// HMAC-SHA-256 over the canonical form of all else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    mac: String,
}

/// How the store's own key is wrapped.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrapping {
    /// [`KeyStore::name`].
    pub home: String,
    /// Counts wrapping keys, from 1.
    pub generation: u32,
    #[serde(with = "moment")]
    pub made: Timestamp,
    /// The store key's id.
    pub key_id: String,
    wrapped: String,
    /// Which version of the home's key each generation is, where the home counts them for all its
    /// users: what may be destroyed is what this store made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) versions: BTreeMap<u32, u64>,
}

/// A root that domains and pipelines follow from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    pub version: u32,
    pub id: String,
    #[serde(with = "moment")]
    pub made: Timestamp,
    wrapped: String,
}

/// A token domain that some pipeline uses.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    pub domain: String,
    /// Oldest first, from 1 without gaps; the last is active.
    pub versions: Vec<DomainVersion>,
    pub used_by: Vec<Use>,
}

/// One version of a domain's keys. They follow from a root, so there is nothing to wrap.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainVersion {
    pub version: u32,
    /// The version of the root.
    pub root: u32,
    #[serde(with = "moment")]
    pub made: Timestamp,
    /// Until when it is read back; none while it is active.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment::optional")]
    pub until: Option<Timestamp>,
}

impl Store {
    /// Whether records are to be set aside under another key than the newest at this moment.
    pub fn epoch_over(&self, epoch: Duration, now: Timestamp) -> bool {
        self.quarantine.last().is_none_or(|last| last.made.duration_until(now) >= signed(epoch))
    }

    /// When what was set aside in an epoch has been kept for long enough: so long after the next one
    /// began. `None` while it is the newest.
    pub fn keeps_until(&self, number: u32, keep: Duration) -> Option<Timestamp> {
        let next = self.quarantine.get(number as usize)?;
        Some(next.made.checked_add(signed(keep)).unwrap_or(Timestamp::MAX))
    }

    /// Its home and the generation of its wrapping key, as the log of keys has them.
    pub fn wrapped_by(&self) -> String {
        format!("{} {}", self.wrapping.home, self.wrapping.generation)
    }
}

/// What is true about a version at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// New values are protected under it.
    Active,
    /// Only read back.
    Overlapping,
    /// Not used any more.
    Retired,
}

impl DomainVersion {
    pub fn state(&self, now: Timestamp) -> State {
        match self.until {
            None => State::Active,
            Some(until) if now < until => State::Overlapping,
            Some(_) => State::Retired,
        }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// A pipeline that protects something in a domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    pub pipeline: String,
    /// The domain is in its record key: then it keeps its version for the topic's life.
    pub in_key: bool,
    /// What it protects, or ever did: what was made of it is outside. Empty in a store of before,
    /// until the pipeline runs again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub of: BTreeSet<Of>,
}

/// What is protected in a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Values of columns.
    Columns,
    /// Finds in free text: whoever writes a text and reads the target sees the pseudonym of any
    /// value of his choice.
    Finds,
    /// The same under a signed override, with a limit a record.
    SharedFinds,
}

/// Since values were turned back: the log of keys that lacks it, and a trust root that does not
/// follow, are not this place's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detokenized {
    /// How many entries the log has of it.
    pub calls: u64,
    /// The newest trust root then.
    pub trust_version: u64,
    /// In hexadecimal.
    pub trust_digest: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signing {
    name: String,
    #[serde(with = "moment")]
    made: Timestamp,
    wrapped: String,
}

/// The key that keys of single subjects are wrapped under, in a database of their own: it is
/// replaced where one of them is destroyed, so that the home is asked once and not for each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectEpoch {
    /// Counts these keys, from 1.
    pub number: u32,
    #[serde(with = "moment")]
    pub made: Timestamp,
    /// Its id; the database's name has the start of it.
    pub id: String,
    wrapped: String,
}

/// A key that records are set aside under for a while: random, and destroyed once what it sealed has
/// been kept for long enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineEpoch {
    /// Counts them, from 1.
    pub number: u32,
    #[serde(with = "moment")]
    pub made: Timestamp,
    /// The key's id, which stands in each seal under it.
    pub id: String,
    /// None from the end on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrapped: Option<String>,
    /// When the wrapping key that it lay under was destroyed as well. A crash before that leaves
    /// it to the next call.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment::optional")]
    pub ended: Option<Timestamp>,
}

impl QuarantineEpoch {
    /// Its key is there.
    pub fn is_live(&self) -> bool {
        self.wrapped.is_some()
    }
}

/// What every secret of a store is bound to beside its name and version.
pub(super) struct Bound<'a> {
    pub store: &'a str,
    pub region: &'a str,
}

impl Bound<'_> {
    fn aad(&self, key: &Key, name: &str, version: u32) -> Vec<u8> {
        Tuple::new()
            .text(Purpose::Store.label())
            .bytes(&key.id().0)
            .text(self.region)
            .text(self.store)
            .text(name)
            .number(u64::from(version))
            .finish()
    }

    fn wrapping_key(&self, generation: u32) -> WrappingKey<'_> {
        WrappingKey { store: self.store, generation }
    }

    /// What a home binds the store's own key to.
    fn aad_of_home(&self, generation: u32) -> Vec<u8> {
        Tuple::new()
            .text(Purpose::Store.label())
            .text(self.region)
            .text(self.store)
            .text("store-key")
            .number(u64::from(generation))
            .finish()
    }
}

/// The store's own key, as the two keys that follow from it.
pub(super) struct StoreKey {
    root: RootKey,
    secret: Secret,
    wrap: Key,
    mac: Key,
}

impl StoreKey {
    pub(super) fn of(secret: Secret) -> Self {
        let root = RootKey::of(secret.clone());
        let (wrap, mac) = (root.derive(Purpose::Store, "wrap"), root.derive(Purpose::Store, "mac"));
        Self { root, secret, wrap, mac }
    }

    pub(super) fn id(&self) -> String {
        self.root.id().to_string()
    }
}

/// The secrets of a store, opened.
pub(super) struct Opened {
    pub store: Store,
    pub key: StoreKey,
    /// As `store.roots`.
    pub roots: Vec<RootKey>,
    pub manifest: Zeroizing<String>,
    pub checkpoint: Zeroizing<String>,
    /// As `store.subjects`.
    pub subjects: Option<Secret>,
    /// As `store.quarantine`; none for those that ended.
    pub quarantine: Vec<Option<Secret>>,
    /// None before the first shredding.
    pub certificate: Option<Zeroizing<String>>,
}

/// Times as text, RFC 3339 in UTC.
mod moment {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(time)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom("no time"))
    }

    pub mod optional {
        use super::*;

        pub fn serialize<S: Serializer>(
            time: &Option<Timestamp>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, to),
                None => to.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Timestamp>, D::Error> {
            super::deserialize(from).map(Some)
        }
    }
}

/// Names of the two signing keys; the files of their public halves begin with them.
const MANIFEST: &str = "manifest";
const CHECKPOINT: &str = "checkpoint";
const CERTIFICATE: &str = "certificate";
/// Name of the key that subjects' keys are wrapped under.
const SUBJECTS: &str = "subjects";
/// Name of the keys that records are set aside under.
const QUARANTINE: &str = "quarantine";

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// One writer at a time, by a lock of the operating system; let go of when dropped.
pub(super) fn lock(dir: &Path) -> Result<File, KeyFault> {
    let path = dir.join(LOCK);
    let io = super::io_fault(&path);
    let file = File::options().create(true).append(true).open(&path).map_err(&io)?;
    file.lock().map_err(io)?;
    Ok(file)
}

/// A new store in `dir`, with these signing keys. The caller has made sure that there is none.
pub(super) fn init(
    dir: &Path,
    region: &str,
    home: &dyn KeyStore,
    manifest: &str,
    checkpoint: &str,
) -> Result<(), KeyFault> {
    let now = Timestamp::now();
    let name = random()?;
    let store = HEXLOWER.encode(&name.bytes()[..16]);
    let bound = Bound { store: &store, region };
    let key = StoreKey::of(random()?);
    let root = random()?;
    let sealed = |name: &str, plain: &[u8]| wrapped(&key, &bound, name, 1, plain);
    let signing = |name: &str, pem: &str| -> Result<Signing, KeyFault> {
        let wrapped = sealed(&format!("signing/{name}"), pem.as_bytes())?;
        Ok(Signing { name: name.to_owned(), made: now, wrapped })
    };
    let root = Root {
        version: 1,
        made: now,
        wrapped: sealed("root", root.bytes())?,
        id: RootKey::of(root).id().to_string(),
    };
    let store = Store {
        v: FORMAT,
        wrapping: by_home(home, &key, &bound, 1)?,
        signing: vec![signing(MANIFEST, manifest)?, signing(CHECKPOINT, checkpoint)?],
        roots: vec![root],
        domains: Vec::new(),
        subjects: None,
        quarantine: Vec::new(),
        detokenized: None,
        region: region.to_owned(),
        mac: String::new(),
        store,
    };
    // The store comes last: a crash before it leaves no key that anything was made with.
    write(dir, &key, store)
}

fn by_home(
    home: &dyn KeyStore,
    key: &StoreKey,
    bound: &Bound<'_>,
    generation: u32,
) -> Result<Wrapping, KeyFault> {
    let (aad, id) = (bound.aad_of_home(generation), bound.wrapping_key(generation));
    let wrapped = home.wrap(id, &key.secret, &aad)?;
    // The old wrapping key is destroyed after this: what the home gave is opened while there is
    // another way in. The right answer comes last, so that a no before it was no outage.
    let unfit = |why| KeyFault::Unfit { home: home.name(), why };
    let elsewhere = Bound { store: bound.store, region: "" }.aad_of_home(generation);
    if home.unwrap(id, &wrapped, &elsewhere).is_ok() {
        return Err(unfit("opens a key for a place that it was not wrapped for"));
    }
    let back = home.unwrap(id, &wrapped, &aad)?;
    aws_lc_rs::constant_time::verify_slices_are_equal(back.bytes(), key.secret.bytes())
        .map_err(|_| unfit("does not give back the key that it wrapped"))?;
    Ok(Wrapping {
        home: home.name().to_owned(),
        generation,
        made: Timestamp::now(),
        key_id: key.id(),
        versions: home.version(&wrapped).map(|version| (generation, version)).into_iter().collect(),
        wrapped: BASE64.encode(&wrapped),
    })
}

fn wrapped(
    key: &StoreKey,
    bound: &Bound<'_>,
    name: &str,
    version: u32,
    plain: &[u8],
) -> Result<String, KeyFault> {
    let aad = bound.aad(&key.wrap, name, version);
    Ok(BASE64.encode(&seal(key.wrap.secret(), &aad, plain)?))
}

fn mac(key: &StoreKey, store: &Store) -> String {
    let bare = Store { mac: String::new(), ..store.clone() };
    // A store that has no canonical form has the MAC of nothing, and opens under none.
    let bytes =
        serde_json::to_value(&bare).and_then(|v| serde_json::to_vec(&v)).unwrap_or_default();
    HEXLOWER.encode(&key.mac.mac(Tuple::new().text(NAME).bytes(&bytes)))
}

/// Replaces the file. The caller holds the lock.
pub(super) fn write(dir: &Path, key: &StoreKey, mut store: Store) -> Result<(), KeyFault> {
    store.mac = mac(key, &store);
    let mut bytes = serde_json::to_vec_pretty(&store)
        .map_err(|_| KeyFault::Form { path: path(dir), expected: "a store of this version" })?;
    bytes.push(b'\n');
    replace(&path(dir), 0o600, &bytes)
}

/// Reads the file without its key: what stands in it is not vouched for.
pub(super) fn read(dir: &Path) -> Result<Store, KeyFault> {
    let path = path(dir);
    let bytes = read_bounded(&path, STORE_BYTES_MAX)?;
    let store: Store =
        serde_json::from_slice(&bytes).map_err(|_| KeyFault::StoreForm { path: path.clone() })?;
    let entries: usize = store.domains.iter().map(|d| d.versions.len() + d.used_by.len()).sum();
    let entries = entries + store.quarantine.len();
    let counted = |versions: &mut dyn Iterator<Item = u32>| {
        versions.enumerate().all(|(at, version)| version as usize == at + 1)
    };
    // Nothing vouches for these yet, and faults name them.
    let named = zone(&store.region)
        && zone(&store.wrapping.home)
        && store.store.len() == 32
        && HEXLOWER.decode(store.store.as_bytes()).is_ok();
    // A part of a file's name.
    let id = |id: &String| id.len() == 32 && HEXLOWER.decode(id.as_bytes()).is_ok();
    let whole = store.v == FORMAT
        && store.subjects.as_ref().is_none_or(|epoch| epoch.number > 0 && id(&epoch.id))
        && counted(&mut store.quarantine.iter().map(|epoch| epoch.number))
        && store
            .quarantine
            .iter()
            .all(|epoch| id(&epoch.id) && !(epoch.is_live() && epoch.ended.is_some()))
        && store.quarantine.last().is_none_or(QuarantineEpoch::is_live)
        && named
        && entries <= ENTRIES_MAX
        && !store.roots.is_empty()
        && counted(&mut store.roots.iter().map(|root| root.version))
        && store.domains.iter().all(|domain| {
            !domain.versions.is_empty()
                && counted(&mut domain.versions.iter().map(|version| version.version))
                && domain
                    .versions
                    .iter()
                    .all(|v| (1..=store.roots.len()).contains(&(v.root as usize)))
        });
    match whole {
        true => Ok(store),
        false => Err(KeyFault::StoreForm { path }),
    }
}

/// The store's own key, from its home. `region` is the place's: a store of another one does not
/// open, whatever it says of itself.
pub(super) fn open_key(
    dir: &Path,
    store: &Store,
    region: &str,
    home: &dyn KeyStore,
) -> Result<StoreKey, KeyFault> {
    if store.region != region {
        return Err(KeyFault::Region {
            path: path(dir),
            store: store.region.clone(),
            place: region.to_owned(),
        });
    }
    if store.wrapping.home != home.name() {
        let found = store.wrapping.home.clone();
        return Err(KeyFault::OtherHome { path: path(dir), found, expected: home.name() });
    }
    let generation = store.wrapping.generation;
    let broken = || KeyFault::Broken { path: path(dir) };
    let blob = BASE64.decode(store.wrapping.wrapped.as_bytes()).map_err(|_| broken())?;
    let bound = Bound { store: &store.store, region };
    let secret =
        home.unwrap(bound.wrapping_key(generation), &blob, &bound.aad_of_home(generation))?;
    let key = StoreKey::of(secret);
    // A home that answers with another secret is no home of this store.
    match key.id() == store.wrapping.key_id {
        true => Ok(key),
        false => Err(KeyFault::NotWrappedHere { home: home.name() }),
    }
}

/// Opens every secret, and checks that each is what the file says.
pub(super) fn open(dir: &Path, region: &str, home: &dyn KeyStore) -> Result<Opened, KeyFault> {
    let store = read(dir)?;
    let key = open_key(dir, &store, region, home)?;
    let broken = || KeyFault::Broken { path: path(dir) };
    let equal = aws_lc_rs::constant_time::verify_slices_are_equal(
        mac(&key, &store).as_bytes(),
        store.mac.as_bytes(),
    );
    equal.map_err(|_| broken())?;
    let bound = Bound { store: &store.store, region };
    let opened = |name: &str, version: u32, wrapped: &str| {
        let sealed = BASE64.decode(wrapped.as_bytes()).ok()?;
        unseal(key.wrap.secret(), &bound.aad(&key.wrap, name, version), &sealed)
    };
    let roots = store
        .roots
        .iter()
        .map(|root| {
            let secret = secret_of(&opened("root", root.version, &root.wrapped)?)?;
            let key = RootKey::of(secret);
            (key.id().to_string() == root.id).then_some(key)
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(broken)?;
    let signing = |name: &str| {
        let entry = store.signing.iter().find(|entry| entry.name == name)?;
        let plain = opened(&format!("signing/{name}"), 1, &entry.wrapped)?;
        Some(Zeroizing::new(std::str::from_utf8(&plain).ok()?.to_owned()))
    };
    let manifest = signing(MANIFEST).ok_or_else(broken)?;
    let checkpoint = signing(CHECKPOINT).ok_or_else(broken)?;
    let certificate = match store.signing.iter().any(|entry| entry.name == CERTIFICATE) {
        true => Some(signing(CERTIFICATE).ok_or_else(broken)?),
        false => None,
    };
    let epoch = |epoch: &SubjectEpoch| {
        let secret = secret_of(&opened(SUBJECTS, epoch.number, &epoch.wrapped)?)?;
        (id_of(secret.bytes()).to_string() == epoch.id).then_some(secret)
    };
    let subjects = match &store.subjects {
        Some(found) => Some(epoch(found).ok_or_else(broken)?),
        None => None,
    };
    let of_quarantine = |epoch: &QuarantineEpoch| {
        let Some(wrapped) = &epoch.wrapped else { return Ok(None) };
        let secret = opened(QUARANTINE, epoch.number, wrapped).and_then(|plain| secret_of(&plain));
        let right = |secret: &Secret| id_of(secret.bytes()).to_string() == epoch.id;
        secret.filter(right).map(Some).ok_or_else(broken)
    };
    let quarantine = store.quarantine.iter().map(of_quarantine).collect::<Result<_, _>>()?;
    Ok(Opened { roots, manifest, checkpoint, subjects, quarantine, certificate, key, store })
}

impl Opened {
    fn bound(&self) -> Bound<'_> {
        Bound { store: &self.store.store, region: &self.store.region }
    }

    /// Adds a root and makes it the active one. Domains that are in use keep theirs.
    pub(super) fn add_root(&mut self) -> Result<(), KeyFault> {
        let secret = random()?;
        let version = self.store.roots.len() as u32 + 1;
        let wrapped = wrapped(&self.key, &self.bound(), "root", version, secret.bytes())?;
        let key = RootKey::of(secret);
        let id = key.id().to_string();
        self.store.roots.push(Root { version, id, made: Timestamp::now(), wrapped });
        self.roots.push(key);
        Ok(())
    }

    /// Wraps everything anew under a fresh store key, and that under the home's next wrapping key.
    /// The caller writes the store and destroys the old generation after that.
    pub(super) fn rewrap(&mut self, home: &dyn KeyStore) -> Result<(), KeyFault> {
        let key = StoreKey::of(random()?);
        let generation = self.store.wrapping.generation + 1;
        let bound = self.bound();
        let mut wrapping = by_home(home, &key, &bound, generation)?;
        wrapping.versions.extend(&self.store.wrapping.versions);
        let mut roots = self.store.roots.clone();
        for (entry, root) in roots.iter_mut().zip(&self.roots) {
            entry.wrapped = wrapped(&key, &bound, "root", entry.version, root.secret())?;
        }
        let mut signing = self.store.signing.clone();
        for entry in &mut signing {
            let pem = match (entry.name.as_str(), &self.certificate) {
                (MANIFEST, _) => &self.manifest,
                (CERTIFICATE, Some(certificate)) => certificate,
                _ => &self.checkpoint,
            };
            let name = format!("signing/{}", entry.name);
            entry.wrapped = wrapped(&key, &bound, &name, 1, pem.as_bytes())?;
        }
        let mut subjects = self.store.subjects.clone();
        if let (Some(epoch), Some(secret)) = (&mut subjects, &self.subjects) {
            epoch.wrapped = wrapped(&key, &bound, SUBJECTS, epoch.number, secret.bytes())?;
        }
        let mut quarantine = self.store.quarantine.clone();
        for (epoch, secret) in quarantine.iter_mut().zip(&self.quarantine) {
            epoch.wrapped = match secret {
                Some(secret) => {
                    Some(wrapped(&key, &bound, QUARANTINE, epoch.number, secret.bytes())?)
                }
                None => None,
            };
        }
        self.store = Store { wrapping, roots, signing, subjects, quarantine, ..self.store.clone() };
        self.key = key;
        Ok(())
    }

    /// A fresh key for subjects' keys to be wrapped under, in the place of the one before. The
    /// caller has wrapped them under it before the store is written.
    pub(super) fn next_epoch(&mut self) -> Result<(), KeyFault> {
        let secret = random()?;
        let number = self.store.subjects.as_ref().map_or(1, |before| before.number + 1);
        let wrapped = wrapped(&self.key, &self.bound(), SUBJECTS, number, secret.bytes())?;
        let id = id_of(secret.bytes()).to_string();
        self.store.subjects = Some(SubjectEpoch { number, made: Timestamp::now(), id, wrapped });
        self.subjects = Some(secret);
        Ok(())
    }

    /// A fresh key for records to be set aside under. Those before it only open from now on.
    pub(super) fn next_quarantine(&mut self) -> Result<(), KeyFault> {
        let secret = random()?;
        let number = self.store.quarantine.len() as u32 + 1;
        let wrapped = wrapped(&self.key, &self.bound(), QUARANTINE, number, secret.bytes())?;
        let id = id_of(secret.bytes()).to_string();
        let made = Timestamp::now();
        let wrapped = Some(wrapped);
        self.store.quarantine.push(QuarantineEpoch { number, made, id, wrapped, ended: None });
        self.quarantine.push(Some(secret));
        Ok(())
    }

    /// Forgets the key of an epoch. It is gone once the wrapping key is that a copy of the store
    /// opens with: the caller wraps everything anew.
    pub(super) fn forget_quarantine(&mut self, number: u32) {
        let at = number as usize - 1;
        self.quarantine[at] = None;
        self.store.quarantine[at].wrapped = None;
    }

    /// What certificates are signed with, made where there is none. Says whether it is new.
    pub(super) fn certificate_key(&mut self) -> Result<(Zeroizing<String>, bool), KeyFault> {
        if let Some(pem) = &self.certificate {
            return Ok((pem.clone(), false));
        }
        let key = SigningKey::generate().map_err(|_| KeyFault::Random)?;
        let pem = key.to_pkcs8_pem().map_err(|_| KeyFault::Random)?;
        let name = format!("signing/{CERTIFICATE}");
        let wrapped = wrapped(&self.key, &self.bound(), &name, 1, pem.as_bytes())?;
        let made = Timestamp::now();
        self.store.signing.push(Signing { name: CERTIFICATE.to_owned(), made, wrapped });
        self.certificate = Some(pem.clone());
        Ok((pem, true))
    }
}

/// Digest of what decides which keys are used: two stores of one digest give the same keyring.
pub(super) fn digest(store: &Store) -> String {
    let roots = store.roots.iter().map(|root| root.id.as_str());
    let mut tuple = Tuple::new().text(&store.store);
    for id in roots {
        tuple = tuple.text(id);
    }
    for domain in &store.domains {
        tuple = tuple.text(&domain.domain).number(domain.versions.len() as u64);
        for version in &domain.versions {
            tuple = tuple.number(u64::from(version.root));
        }
    }
    if let Some(epoch) = &store.subjects {
        tuple = tuple.text(&epoch.id);
    }
    for epoch in store.quarantine.iter().filter(|epoch| epoch.is_live()) {
        tuple = tuple.text(&epoch.id);
    }
    canonical::sha256_hex(&tuple.finish())
}
