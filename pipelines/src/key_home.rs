//! Where keys live: a folder with a store of wrapped keys, and the home of the key that wraps them.
//! Approvers' keys are persons' and lie elsewhere.
//!
//! Keys are made once and never written over: tokens of a lost root key cannot be made again. A
//! file that others may read is not used.

mod lease;
mod pkcs11;
mod process;
mod rotation;
mod store;
mod subjects;
mod transit;
mod wrapping;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use douane_gate::GateKeys;
use douane_ledger::log::LogKeys;
use douane_ledger::release::{Release, Shape};
use douane_ledger::signing::{SigningKey, VerifyingKey};
use douane_ledger::trust::is_person;
use douane_schemas::keys::{Key, Purpose, RootKey};
use douane_transforms::subjects::{KeysAway, Subject, SubjectId, SubjectKeys};
use douane_transforms::{Keyring, Versions};
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::config::{Home, KeysPlace};
use crate::names::typed;

pub use lease::Lapsed;
use lease::Lease;
pub(crate) use lease::now as uptime;
use pkcs11::Token;
pub use pkcs11::TokenKey;
pub use rotation::{
    Changed, DOMAIN_PURPOSES, Ending, Expire, Expired, Protects, Rotation, Shred, Shredded, expire,
    pin_detokenized, rotate_domain, rotate_quarantine, rotate_root, rotate_wrapping, shred,
};
use store::Opened;
pub use store::{
    Detokenized, Domain, DomainVersion, Of, QuarantineEpoch, State, Store, SubjectEpoch, Use,
};
use subjects::ThrowAway;
pub use subjects::{SubjectCount, SubjectStore};
use transit::Transit;
pub use wrapping::Remains;
use wrapping::{KeyStore, Passphrase, WrappingFile};
pub(crate) use wrapping::{replace, seal, unseal};

const MANIFEST: &str = "manifest.key";
const CHECKPOINT: &str = "checkpoint.key";
const CERTIFICATE: &str = "certificate.key";
/// Longer than any key file of this version.
const FILE_BYTES_MAX: u64 = 4096;

/// Keys cannot be made or used. Names files and holds nothing that is in them.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// Keys are made once.
    #[error(
        "{}: a key lies here already and is never written over\n  \
         next: use it, or name another place", .0.display()
    )]
    Exists(PathBuf),
    /// A key was never made, or was lost.
    #[error(
        "{}: no key here\n  next: `douane keys init` makes the keys of a new place; restore a \
         backup for an old one", .0.display()
    )]
    Missing(PathBuf),
    /// Somebody else could have read it.
    #[error(
        "{}: others than its owner may read or write it (mode {mode:04o})\n  next: \
         `chmod go-rwx {}`, after asking who has read it; of a secret that is mounted, give its mode as 0400",
        .path.display(), typed(.path)
    )]
    Open { path: PathBuf, mode: u32 },
    /// Somebody else could have put other code there.
    #[error(
        "{}: others than root and this user may write here (owner {owner}, mode {mode:04o}), and \
         the module of `keys.pkcs11` is code that runs beside the keys\n  next: put the module \
         where only root may write, each folder on the way as well", .path.display()
    )]
    Module { path: PathBuf, owner: u32, mode: u32 },
    /// What lies there is something else.
    #[error("{}: not {expected}\n  next: restore it from a backup", .path.display())]
    Form { path: PathBuf, expected: &'static str },
    #[error(
        "{}: not a key store that this douane knows\n  next: where a newer one wrote it, go on with that \
         one (docs/operations.md, \"Upgrading\"); else restore it from a backup", .path.display()
    )]
    StoreForm { path: PathBuf },
    /// The store was made for another zone: its keys stay there.
    #[error(
        "{}: a key store of zone `{store}`, and this place is in `{place}`\n  next: name this \
         place's own key folder; keys of one region are not used in another", .path.display()
    )]
    Region { path: PathBuf, store: String, place: String },
    /// `douane.yaml` names another home than the one that wrapped the store.
    #[error(
        "{}: wrapped by the home `{found}`, and douane.yaml names `{expected}`\n  next: mend `keys:` \
         in douane.yaml", .path.display()
    )]
    OtherHome { path: PathBuf, found: String, expected: &'static str },
    /// The home answered, and its wrapping key does not open this store.
    #[error(
        "the wrapping key in `{home}` does not open this store: it is another key, it was \
         destroyed, or the store was changed\n  next: restore the store or the wrapping key that \
         belong together"
    )]
    NotWrappedHere { home: &'static str },
    /// The store opens, and something in it is not what was written.
    #[error("{}: changed after it was written\n  next: restore it from a backup", .path.display())]
    Broken { path: PathBuf },
    /// The home cannot be reached.
    #[error("the home of the wrapping key, `{home}`, cannot be reached: {why}")]
    Away { home: &'static str, why: String },
    /// The home answers, and its answer is no.
    #[error("the home of the wrapping key, `{home}`, refuses: {why}")]
    Refused { home: &'static str, why: String },
    /// The home answers, and a store under what it gave would not open, or open elsewhere too.
    #[error(
        "the home of the wrapping key, `{home}`, {why}: nothing was changed\n  next: name a home \
         that keeps AES-GCM with associated data"
    )]
    Unfit { home: &'static str, why: &'static str },
    /// Memory could be written to swap, and the place says that it must not.
    #[error(
        "keys cannot be kept out of swap: this process may lock too little memory\n  next: raise \
         `ulimit -l`, or remove `locked: true` under `keys` in douane.yaml"
    )]
    NotLocked,
    /// The operating system would write core files with keys in them.
    #[error("the system lets no process forbid its core files and debuggers: no key is opened")]
    Process,
    /// Rows under the old tokens could not be deleted any more.
    #[error(
        "domain `{domain}` is in the record key of {pipelines}: it keeps its version for the topic's \
         life, or tombstones would never delete the rows of the old one\n  next: a new sink topic \
         under a new pipeline `name`, with a domain of its own in its key"
    )]
    InRecordKey { domain: String, pipelines: String },
    /// Nothing is protected in it.
    #[error(
        "no pipeline of this place has used the domain `{domain}`\n  next: `douane keys status` \
         lists those in use"
    )]
    UnknownDomain { domain: String },
    /// No key was ever made for a subject of it.
    #[error(
        "no subject of the domain `{domain}` has a key of its own\n  next: `douane keys status` lists \
         the domains that have some"
    )]
    NoSubjects { domain: String },
    /// Whoever writes a text chooses what becomes a pseudonym.
    #[error(
        "domain `{domain}` is one of columns of `{columns}` and of finds in texts of `{finds}`: whoever \
         writes such a text and reads both targets could ask for the pseudonym of any value of that \
         column\n  next: a domain of its own for the finds, or an override with `share_domain` and \
         `max_per_record` in `{finds}`"
    )]
    Mixed { domain: String, columns: String, finds: String },
    /// Nothing was set aside under a key of its own.
    #[error(
        "no epoch of the quarantine has begun\n  next: the first `douane run` begins it; nothing was \
         changed"
    )]
    NoEpoch,
    /// Records are set aside under it, or nobody ever did.
    #[error(
        "epoch {number} of the quarantine cannot end: the newest, {newest}, is in use, and none comes \
         after it\n  next: `douane keys rotate --quarantine` begins the next one"
    )]
    EpochInUse { number: u32, newest: u32 },
    /// A process that did not hear of the next one.
    #[error("the key that this process sets records aside under has ended")]
    EpochEnded,
    /// Names no subject: they are counted as they were given.
    #[error(
        "subjects that never had a key in the domain `{domain}`, as they were given: {places}\n  \
         next: write each as its column has it; nothing was destroyed"
    )]
    UnknownSubjects { domain: String, places: String },
    /// What is not in the ledger is not done.
    #[error("the ledger did not take it: nothing was changed")]
    NotLedgered,
    /// A date that no clock reaches.
    #[error("the overlap ends outside the calendar\n  next: name fewer days")]
    Overlap,
    /// One signing key in two places would make a manifest a checkpoint.
    #[error("the manifest key and the checkpoint key are one\n  next: restore them from a backup")]
    OneKeyTwice,
    /// An approver's name stands in a public key's file and in the trust root.
    #[error(
        "an approver's name is out of form\n  next: write 1 to 64 of a-z, 0-9, `.`, `_`, `@` and `-`, a \
         letter or a digit first"
    )]
    Name,
    /// The operating system has no entropy, or the cryptographic library refused.
    #[error("no key could be made: the operating system gave no randomness")]
    Random,
    /// A key is put into a folder that is there.
    #[error("{}: its folder is not there\n  next: `mkdir -p {}`, then once more", .path.display(), typed(.dir))]
    NoFolder { path: PathBuf, dir: PathBuf },
    /// The disk.
    #[error("{}: {kind}", .path.display())]
    Io { path: PathBuf, kind: io::ErrorKind },
}

fn io_fault(path: &Path) -> impl Fn(io::Error) -> KeyFault {
    move |error| KeyFault::Io { path: path.to_owned(), kind: error.kind() }
}

/// The home that `douane.yaml` names. All there are.
fn open_home(keys: &KeysPlace) -> Box<dyn KeyStore> {
    match &keys.home {
        Home::File { path } => Box::new(WrappingFile::new(path.clone())),
        Home::Passphrase { path } => Box::new(Passphrase::new(path.clone())),
        Home::Pkcs11 { token, lease } => Box::new(Token::new(token.clone(), *lease)),
        Home::Transit { service, lease } => Box::new(Transit::new(service.clone(), *lease)),
    }
}

/// What the store of a place says of its keys, without any of them. Nobody vouches for it before
/// [`KeyHome::open`] did.
///
/// # Errors
/// It is missing, or not what it should be.
pub fn read_store(keys: &KeysPlace) -> Result<Store, KeyFault> {
    store::read(&keys.dir)
}

/// The keys of one place, in memory. `Debug` shows ids only.
pub struct KeyHome {
    /// Oldest first; the last is active.
    roots: Vec<RootKey>,
    /// What records are set aside under, newest first; none before the first epoch.
    quarantine: Vec<Key>,
    ring: Keyring,
    /// PKCS#8 PEM, read once by [`KeyHome::open`]: each gate gets a key of its own.
    manifest: Zeroizing<String>,
    manifest_public: VerifyingKey,
    checkpoint: SigningKey,
    /// `None` for keys of no place.
    kept: Option<Kept>,
}

/// Where the keys came from, to ask there again.
struct Kept {
    keys: KeysPlace,
    home: Box<dyn KeyStore>,
    store: Store,
    lease: Option<Lease>,
    subjects: Arc<SubjectStore>,
}

impl std::fmt::Debug for KeyHome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "KeyHome({}, {:?}, {:?})",
            self.root().id(),
            self.manifest_public,
            self.checkpoint
        )
    }
}

impl KeyHome {
    /// Makes the keys of a new place, and the public halves of those that sign, with `.pub`.
    ///
    /// # Errors
    /// [`KeyFault::Exists`] where there are keys; then nothing was written.
    pub fn init(keys: &KeysPlace) -> Result<Self, KeyFault> {
        process::harden()?;
        let dir = &keys.dir;
        let publics = [MANIFEST, CHECKPOINT].map(|name| public(&dir.join(name)));
        let mut made = vec![store::path(dir)];
        made.extend(publics.iter().cloned());
        if let Home::File { path } = &keys.home {
            made.push(path.clone());
        }
        if let Some(there) = made.into_iter().find(|path| path.symlink_metadata().is_ok()) {
            return Err(KeyFault::Exists(there));
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_fault(dir))?;
        let _lock = store::lock(dir)?;
        let mut pems = Vec::with_capacity(publics.len());
        for path in &publics {
            let key = SigningKey::generate().map_err(|_| KeyFault::Random)?;
            create(path, 0o644, key.verifying_key().to_spki_pem().as_bytes())?;
            pems.push(key.to_pkcs8_pem().map_err(|_| KeyFault::Random)?);
        }
        if let Err(fault) = store::init(dir, &keys.region, &*open_home(keys), &pems[0], &pems[1]) {
            // Public halves of keys that no store holds would only stand in the next try's way.
            for path in &publics {
                fs::remove_file(path).map_err(io_fault(path))?;
            }
            return Err(fault);
        }
        Self::open(keys)
    }

    /// Keys of no place, in memory only: for trying a pipeline out. Nothing that they make can be
    /// made again.
    ///
    /// # Errors
    /// [`KeyFault::Random`].
    pub fn throw_away() -> Result<Self, KeyFault> {
        let generate = || SigningKey::generate().map_err(|_| KeyFault::Random);
        let (manifest_key, checkpoint) = (generate()?, generate()?);
        let root = RootKey::of(wrapping::random()?);
        Ok(Self {
            ring: Keyring::new(&root).with_subjects(Arc::new(ThrowAway::default())),
            roots: vec![root],
            quarantine: Vec::new(),
            manifest: manifest_key.to_pkcs8_pem().map_err(|_| KeyFault::Random)?,
            manifest_public: manifest_key.verifying_key(),
            checkpoint,
            kept: None,
        })
    }

    /// Opens the keys of a place.
    ///
    /// # Errors
    /// The store is missing, readable by others, of another region, or not what it should be; its
    /// home is away or refuses.
    pub fn open(keys: &KeysPlace) -> Result<Self, KeyFault> {
        process::harden()?;
        let home = open_home(keys);
        let asked = lease::now();
        let opened = store::open(&keys.dir, &keys.region, &*home)?;
        let lease = home.lease().map(|length| Lease::new(length, asked));
        let subjects = Arc::new(SubjectStore::new(keys));
        let ring = keyring(&opened, Timestamp::now()).with_subjects(Arc::clone(&subjects) as _);
        let epochs = opened.quarantine.iter().rev().flatten();
        let quarantine: Vec<Key> =
            epochs.map(|key| Key::of(Purpose::Quarantine, key.clone())).collect();
        let Opened { store, roots, manifest, checkpoint, .. } = opened;
        stay_locked(keys, roots.iter().map(RootKey::is_locked))?;
        stay_locked(keys, quarantine.iter().map(Key::is_locked))?;
        let signing = |pem: &str| {
            let path = store::path(&keys.dir);
            SigningKey::from_bytes(pem.as_bytes()).map_err(|_| KeyFault::Broken { path })
        };
        let (manifest_public, checkpoint) =
            (signing(&manifest)?.verifying_key(), signing(&checkpoint)?);
        if manifest_public == checkpoint.verifying_key() {
            return Err(KeyFault::OneKeyTwice);
        }
        let kept = Kept { keys: keys.clone(), home, store, lease, subjects };
        Ok(Self {
            roots,
            quarantine,
            ring,
            manifest,
            manifest_public,
            checkpoint,
            kept: Some(kept),
        })
    }

    /// The root that new keys follow from.
    pub fn root(&self) -> &RootKey {
        // unwrap safety: a store without a root is refused.
        #[expect(clippy::expect_used, reason = "a store without a root is refused")]
        self.roots.last().expect("there is a root")
    }

    /// All roots, by version from 1.
    pub fn roots(&self) -> &[RootKey] {
        &self.roots
    }

    /// The store that the keys came from; `None` for keys of no place.
    pub fn store(&self) -> Option<&Store> {
        self.kept.as_ref().map(|kept| &kept.store)
    }

    /// Whether every root is kept out of swap, and every key of records that were set aside; what
    /// follows from them is kept the same way.
    pub fn is_locked(&self) -> bool {
        self.roots.iter().all(RootKey::is_locked) && self.quarantine.iter().all(Key::is_locked)
    }

    /// How long keys may be used after their home last opened them.
    pub fn lease_length(&self) -> Option<Duration> {
        self.lease().map(Lease::length)
    }

    /// A pipeline's key for one purpose under each root, the active one first: what was sealed
    /// before a rotation opens under an older one.
    pub fn pipeline_keys(&self, purpose: Purpose, pipeline: &str) -> Vec<Key> {
        self.roots.iter().rev().map(|root| root.derive(purpose, pipeline)).collect()
    }

    /// The keys that open what a pipeline set aside, the one that seals first: of the epochs that have
    /// not ended, then those that followed from the roots before there were epochs.
    pub fn quarantine_keys(&self, pipeline: &str) -> Vec<Key> {
        let of_roots = self.pipeline_keys(Purpose::Quarantine, pipeline);
        self.quarantine.iter().cloned().chain(of_roots).collect()
    }

    /// Whether records are to be set aside under another key than these seal with.
    pub fn epoch_over(&self) -> bool {
        self.kept
            .as_ref()
            .is_some_and(|kept| kept.store.epoch_over(kept.keys.quarantine.epoch, Timestamp::now()))
    }

    /// Begins the epoch of the quarantine that is due, if one is. Crash after it: a key that nothing
    /// was sealed under.
    ///
    /// # Errors
    /// The store cannot be read or written, its home is away.
    pub fn begin_epoch(&self) -> Result<(), KeyFault> {
        match &self.kept {
            Some(kept) if self.epoch_over() => rotation::begin_quarantine(&kept.keys, &*kept.home),
            _ => Ok(()),
        }
    }

    /// The key that records are set aside under is not one that has ended: what is sealed under such a
    /// key opens nowhere. A process hears of the next epoch long before, unless its files are refused.
    ///
    /// # Errors
    /// [`KeyFault::EpochEnded`]; the store cannot be read.
    pub fn may_set_aside(&self) -> Result<(), KeyFault> {
        let (Some(kept), Some(seals)) = (&self.kept, self.quarantine.first()) else {
            return Ok(());
        };
        let id = seals.id().to_string();
        let now = store::read(&kept.keys.dir)?;
        match now.quarantine.iter().any(|epoch| epoch.id == id && epoch.is_live()) {
            true => Ok(()),
            false => Err(KeyFault::EpochEnded),
        }
    }

    /// The keys that stages take.
    pub fn keyring(&self) -> Keyring {
        self.ring.clone()
    }

    /// The keys that stages took when these were the ids of all keys in use: of each domain the version
    /// that is among them, retired or not. `None` where one of `used` is not. No subject gets a key.
    pub fn keyring_of(&self, ids: &BTreeSet<&str>, used: &[(Purpose, String)]) -> Option<Keyring> {
        let Some(kept) = &self.kept else { return Some(self.keyring()) };
        let root = |version: &DomainVersion| self.roots[version.root as usize - 1].clone();
        let named = |key: &Key| ids.contains(key.id().to_string().as_str());
        let mut domains = BTreeMap::new();
        for domain in &kept.store.domains {
            let mut mine = used.iter().filter(|(_, of)| *of == domain.domain).peekable();
            if mine.peek().is_none() {
                continue;
            }
            let mine: Vec<Purpose> = mine.map(|(purpose, _)| *purpose).collect();
            let made = |version: &&DomainVersion| {
                let key = |of: &Purpose| {
                    root(version).derive_version(*of, &domain.domain, version.version)
                };
                mine.iter().all(|purpose| named(&key(purpose)))
            };
            let version = domain.versions.iter().rev().find(made)?;
            let versions = Versions::active(version.version, root(version));
            domains.insert(domain.domain.clone(), versions.since(root(&domain.versions[0])));
        }
        let ring = Keyring::with_versions(self.root(), domains);
        let known = used.iter().all(|(purpose, domain)| named(&ring.key(*purpose, domain)));
        let subjects = Arc::new(Existing(Arc::clone(&kept.subjects)));
        known.then(|| ring.with_subjects(subjects as _))
    }

    /// Whether both are keys of one place, whatever was rotated in between.
    pub fn same_store(&self, other: &Self) -> bool {
        let store = |keys: &Self| keys.store().map(|store| store.store.clone());
        store(self) == store(other)
            && self.manifest_public == other.manifest_public
            && self.checkpoint.verifying_key() == other.checkpoint.verifying_key()
    }

    /// Whether both give the same keys.
    pub fn same_keys(&self, other: &Self) -> bool {
        let digest = |keys: &Self| keys.store().map(store::digest);
        self.same_store(other) && digest(self) == digest(other)
    }

    /// The keys may be used at this moment.
    ///
    /// # Errors
    /// [`Lapsed`]: their home has not answered for as long as the lease is.
    pub fn lease_holds(&self) -> Result<(), Lapsed> {
        self.lease().map_or(Ok(()), Lease::holds)
    }

    /// How long until [`KeyHome::renew`] is due; `None` where there is no lease.
    pub fn renewal_due(&self) -> Option<Duration> {
        self.lease().map(Lease::due)
    }

    /// Asks the home for the store's key once more. Says what is news: `Err` why it stopped
    /// answering, `Ok` that it answers again.
    pub fn renew(&self) -> Option<Result<(), String>> {
        let kept = self.kept.as_ref()?;
        let ask = || {
            let store = store::read(&kept.keys.dir)?;
            store::open_key(&kept.keys.dir, &store, &kept.keys.region, &*kept.home).map(|_| ())
        };
        kept.lease.as_ref()?.renew(ask)
    }

    fn lease(&self) -> Option<&Lease> {
        self.kept.as_ref()?.lease.as_ref()
    }

    /// Writes down what a pipeline protects in which domains, before the first record does: from then
    /// on their versions are the store's.
    ///
    /// # Errors
    /// [`KeyFault::Mixed`]; the store cannot be read or written.
    pub fn register(&self, pipeline: &str, domains: &[Protects]) -> Result<(), KeyFault> {
        match &self.kept {
            Some(kept) => rotation::register(&kept.keys, &*kept.home, pipeline, domains),
            None => Ok(()),
        }
    }

    /// Makes the place for keys of single subjects where there is none: before the first record
    /// that needs one, so that a running process does not see it come.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn begin_subjects(&self) -> Result<(), KeyFault> {
        match &self.kept {
            Some(kept) if kept.store.subjects.is_none() => kept.subjects.begin(),
            _ => Ok(()),
        }
    }

    /// Keys of single subjects; `None` for keys of no place.
    pub fn subjects(&self) -> Option<&SubjectStore> {
        self.kept.as_ref().map(|kept| &*kept.subjects)
    }

    /// Signs checkpoints of the ledger.
    pub fn checkpoint(&self) -> &SigningKey {
        &self.checkpoint
    }

    /// What verifies manifests.
    pub fn manifest_public(&self) -> VerifyingKey {
        self.manifest_public
    }

    /// The keys of one pipeline's gate: seals by pipeline, `ff1` by domain, as the release needs.
    pub fn gate_keys(&self, pipeline: &str, release: &Release) -> GateKeys {
        self.gate_keys_of(&self.ring, pipeline, release)
    }

    /// As [`Self::gate_keys`], with the domains' keys of another time.
    pub fn gate_keys_of(&self, ring: &Keyring, pipeline: &str, release: &Release) -> GateKeys {
        let columns = release.key.iter().chain(&release.columns).map(|column| &column.shape);
        let in_place = release.columns.iter().filter_map(|column| match &column.shape {
            Shape::Redacted { in_place, .. } => Some(in_place.iter().map(|place| &place.shape)),
            _ => None,
        });
        let ff1: HashMap<String, Key> = columns
            .chain(in_place.flatten())
            .filter_map(|shape| match shape {
                Shape::Fpe { domain, .. } => Some((domain.clone(), ring.key(Purpose::Ff1, domain))),
                _ => None,
            })
            .collect();
        // unwrap safety: `open` read a key from the same bytes.
        #[expect(clippy::expect_used, reason = "the same bytes were a key in `open`")]
        let manifest =
            SigningKey::from_bytes(self.manifest.as_bytes()).expect("a key that was read before");
        GateKeys {
            seal_position: self.root().derive(Purpose::Position, pipeline),
            seal_quarantine: match self.quarantine.first() {
                Some(key) => key.clone(),
                // Keys of no place: nothing opens what they seal after the process.
                None => self.root().derive(Purpose::Quarantine, pipeline),
            },
            blind: self.seal_blind(pipeline),
            ff1,
            manifest,
        }
    }

    /// What the nonces of a pipeline's seals are made with.
    pub fn seal_blind(&self, pipeline: &str) -> Key {
        // A pipeline's name holds no `/`: no two contexts are one.
        self.root().derive(Purpose::Blind, &format!("{pipeline}/seal"))
    }

    /// The keys of one pipeline's ledger: what blinds its leaves, what keys its digests.
    pub fn log_keys(&self, pipeline: &str) -> LogKeys {
        let blind = self.root().derive(Purpose::Blind, &format!("{pipeline}/ledger"));
        let commit = self.root().derive(Purpose::LedgerCommit, pipeline);
        LogKeys::new(blind.secret(), commit.secret())
    }
}

/// Keys of the subjects that have one: nobody gets one for what crossed long ago.
#[derive(Debug)]
struct Existing(Arc<SubjectStore>);

impl SubjectKeys for Existing {
    fn keys(
        &self,
        domain: &str,
        version: u32,
        subjects: &[SubjectId],
        each: &mut dyn FnMut(usize, Subject<'_>),
    ) -> Result<(), KeysAway> {
        let found = self.0.find(domain, version, subjects, &mut |place, subject| {
            each(place, subject.unwrap_or(Subject::Shredded));
        });
        found.map_err(|_| KeysAway)
    }
}

/// Keeps every writer of a key folder waiting, until it is dropped: what is copied meanwhile is of one
/// moment.
///
/// # Errors
/// [`KeyFault::Io`].
pub fn hold(dir: &Path) -> Result<fs::File, KeyFault> {
    store::lock(dir)
}

/// The public halves of a place's signing keys: all that an auditor needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKeys {
    /// Who signs manifests.
    pub manifest: VerifyingKey,
    /// Who signs checkpoints.
    pub checkpoint: VerifyingKey,
    /// Who signs certificates of destroyed keys; none before the first.
    pub certificate: Option<VerifyingKey>,
}

impl PublicKeys {
    /// Who signs manifests, where a folder says so: all that a reader of topics needs.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn manifest(dir: &Path) -> Result<Option<VerifyingKey>, KeyFault> {
        public_key(dir, MANIFEST)
    }

    /// Who signs checkpoints, where a folder says so.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn checkpoint(dir: &Path) -> Result<Option<VerifyingKey>, KeyFault> {
        public_key(dir, CHECKPOINT)
    }

    /// Reads the `.pub` files in a key folder; `None` where it holds none of them.
    ///
    /// # Errors
    /// [`KeyFault::Form`] and [`KeyFault::Io`] for files that are there and cannot be used.
    pub fn open(dir: &Path) -> Result<Option<Self>, KeyFault> {
        let certificate = public_key(dir, CERTIFICATE)?;
        let both = public_key(dir, MANIFEST)?.zip(public_key(dir, CHECKPOINT)?);
        Ok(both.map(|(manifest, checkpoint)| Self { manifest, checkpoint, certificate }))
    }
}

fn public_key(dir: &Path, name: &str) -> Result<Option<VerifyingKey>, KeyFault> {
    let path = public(&dir.join(name));
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Of a folder that may not be looked into nobody says that it holds no key.
        read => read.map_err(io_fault(&path))?,
    };
    let expected = "an ed25519 public key";
    VerifyingKey::parse(&text).map(Some).map_err(|_| KeyFault::Form { path, expected })
}

/// Puts the public half of the key that signs certificates beside the others. Crash after it, before
/// the store has the key: the next one is put in its place.
fn write_certificate_public(dir: &Path, pem: &str) -> Result<(), KeyFault> {
    let path = public(&dir.join(CERTIFICATE));
    let form = |_| KeyFault::Broken { path: store::path(dir) };
    let key = SigningKey::from_bytes(pem.as_bytes()).map_err(form)?;
    wrapping::replace(&path, 0o644, key.verifying_key().to_spki_pem().as_bytes())
}

/// Makes a person's signing key at `path` and its public half beside it, with `.pub`, as a line
/// of SSH's form with the person's name. Returns the public half's path.
///
/// # Errors
/// [`KeyFault::Exists`] where one of the two files is there, [`KeyFault::Name`], [`KeyFault::NoFolder`].
pub fn init_approver(name: &str, path: &Path) -> Result<PathBuf, KeyFault> {
    let public = public(path);
    may_make_person(name, &[path, &public])?;
    let key = SigningKey::generate().map_err(|_| KeyFault::Random)?;
    let pem = key.to_pkcs8_pem().map_err(|_| KeyFault::Random)?;
    create(path, 0o600, pem.as_bytes())?;
    write_person(name, &public, key.verifying_key())?;
    Ok(public)
}

/// The name is one, the folder is there, and nothing lies where the files go.
fn may_make_person(name: &str, paths: &[&Path]) -> Result<(), KeyFault> {
    // The trust root's own rule: a name it would refuse later is refused now.
    if !is_person(name) {
        return Err(KeyFault::Name);
    }
    let in_folder = |path: &&&Path| path.parent().map(|dir| (path.to_path_buf(), dir.to_owned()));
    if let Some((path, dir)) = paths.first().as_ref().and_then(in_folder)
        && !dir.as_os_str().is_empty()
        && !dir.exists()
    {
        return Err(KeyFault::NoFolder { path, dir });
    }
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(KeyFault::Exists((*path).to_owned())),
        None => Ok(()),
    }
}

/// A person's public key, as a line of SSH's form.
fn write_person(name: &str, path: &Path, key: VerifyingKey) -> Result<(), KeyFault> {
    let wire = BASE64.encode(&key.to_ssh_wire());
    create(path, 0o644, format!("ssh-ed25519 {wire} {name}\n").as_bytes())
}

/// Where the public half of a key lies.
pub(crate) fn public(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// Where the place says so, each secret that is read is kept out of swap or the reader stops. `locked`:
/// of each, whether it is.
///
/// # Errors
/// [`KeyFault::NotLocked`].
pub(crate) fn stay_locked(
    keys: &KeysPlace,
    locked: impl IntoIterator<Item = bool>,
) -> Result<(), KeyFault> {
    match keys.locked && !locked.into_iter().all(|locked| locked) {
        true => Err(KeyFault::NotLocked),
        false => Ok(()),
    }
}

/// Writes a new file so that it is there whole or not at all, and never in place of another.
pub(crate) fn create(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), KeyFault> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let aside = wrapping::aside(path)?;
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&aside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        // A rename would write over what is there; a link does not.
        .and_then(|()| fs::hard_link(&aside, path));
    let removed = fs::remove_file(&aside);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyFault::Exists(path.to_owned()));
        }
        other => other.and(removed).map_err(io_fault(path))?,
    }
    // Durable from here: the name as well as the bytes.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_fault(dir))
}

/// The bytes of a key's file that only its owner may read.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    read_bounded(path, FILE_BYTES_MAX)
}

/// Whether nobody but its owner can read a file, or nobody but a group of this process a file of
/// root's: so an orchestrator hands a secret to a process that is not root, by its own group or one beside it.
fn is_private(mode: u32, (owner, group): (u32, u32), own_groups: &[u32]) -> bool {
    let handed_over = owner == 0 && group != 0 && own_groups.contains(&group) && mode & 0o037 == 0;
    mode & 0o077 == 0 || handed_over
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyFault::Missing(path.to_owned()));
        }
        other => other.map_err(io_fault(path))?,
    };
    let meta = file.metadata().map_err(io_fault(path))?;
    let mode = meta.mode() & 0o7777;
    let mut groups = rustix::process::getgroups().unwrap_or_default();
    groups.push(rustix::process::getegid());
    let groups: Vec<u32> = groups.into_iter().map(|group| group.as_raw()).collect();
    if !is_private(mode, (meta.uid(), meta.gid()), &groups) {
        return Err(KeyFault::Open { path: path.to_owned(), mode });
    }
    // Room for all of it at once: a vector that grows leaves copies behind.
    let room = meta.len().clamp(FILE_BYTES_MAX, bytes_max) as usize;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room + 1));
    file.take(bytes_max).read_to_end(&mut bytes).map_err(io_fault(path))?;
    Ok(bytes)
}

/// What may be used at a moment, as stages take it.
fn keyring(opened: &Opened, now: Timestamp) -> Keyring {
    // The versions of roots count from 1, without gaps: the store was refused otherwise.
    let root = |version: &DomainVersion| opened.roots[version.root as usize - 1].clone();
    let mut domains = BTreeMap::new();
    for domain in &opened.store.domains {
        let Some((active, older)) = domain.versions.split_last() else { continue };
        let mut versions = Versions::active(active.version, root(active));
        versions = versions.since(root(&domain.versions[0]));
        for version in older.iter().rev().filter(|v| v.state(now) == State::Overlapping) {
            versions = versions.and_older(version.version, root(version));
        }
        domains.insert(domain.domain.clone(), versions);
    }
    let active = &opened.roots[opened.roots.len() - 1];
    Keyring::with_versions(active, domains)
}

#[cfg(test)]
mod tests;
