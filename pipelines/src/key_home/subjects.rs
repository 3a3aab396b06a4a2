//! Keys of single subjects: random, each wrapped under the epoch's key, which `store.json` holds. They
//! lie in a database beside it, under names that nobody can read.
//!
//! Two tables a domain: `keys.DOMAIN`, by name and version, and `shredded.DOMAIN`, by name. Which file
//! the database is follows from the epoch's key, so that keys and database change together, with
//! `store.json`. Everything here happens under the lock that its writers take, one batch at a time; a
//! file is open for as long as a batch takes.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use douane_schemas::keys::{KeyId, Purpose, id_of};
use douane_schemas::secret::{SECRET_BYTES, Secret};
use douane_schemas::tuple::Tuple;
use douane_transforms::subjects::{KeysAway, Subject, SubjectId, SubjectKeys};
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageError,
    TableDefinition, TableHandle, WriteTransaction,
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::store::{self, Opened, SubjectEpoch};
use super::wrapping::{seal, unseal};
use super::{KeyFault, io_fault, open_home, stay_locked};
use crate::config::KeysPlace;

/// Subjects whose wrapped keys a process keeps at hand: some 40 MB.
const KNOWN_MAX: usize = 1 << 18;
/// Bytes of the database that are kept in memory while it is open.
const CACHE_BYTES: usize = 64 << 20;
/// Nonce, key, tag.
const SEALED_BYTES: usize = 12 + SECRET_BYTES + 16;

const KEYS: &str = "keys.";
const SHREDDED: &str = "shredded.";

type Table<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// A subject in a version of its domain.
type Name = (SubjectId, u32);

/// The epoch's key, and what rows under it are bound to.
pub(super) struct Epoch {
    path: PathBuf,
    id: String,
    region: String,
    store: String,
    key: Secret,
}

impl Epoch {
    /// `None` where no subject has a key yet.
    pub(super) fn of(dir: &Path, opened: &Opened) -> Option<Self> {
        let (entry, key) = opened.store.subjects.as_ref().zip(opened.subjects.as_ref())?;
        Some(Self {
            path: file(dir, entry),
            id: entry.id.clone(),
            region: opened.store.region.clone(),
            store: opened.store.store.clone(),
            key: key.clone(),
        })
    }

    fn aad(&self, kind: &str, domain: &str, (id, version): Name) -> Vec<u8> {
        Tuple::new()
            .text(Purpose::Store.label())
            .text(&self.id)
            .text(&self.region)
            .text(&self.store)
            .text(kind)
            .text(domain)
            .bytes(&id.0)
            .number(u64::from(version))
            .finish()
    }

    fn seal(&self, domain: &str, name: Name, key: &[u8; 32]) -> Result<Vec<u8>, KeyFault> {
        seal(self.key.bytes(), &self.aad(KEYS, domain, name), key)
    }

    fn unseal(
        &self,
        domain: &str,
        name: Name,
        row: &[u8],
    ) -> Result<Zeroizing<[u8; 32]>, KeyFault> {
        let plain = unseal(self.key.bytes(), &self.aad(KEYS, domain, name), row);
        let mut key = Zeroizing::new([0; SECRET_BYTES]);
        match plain.filter(|plain| plain.len() == SECRET_BYTES) {
            Some(plain) => key.copy_from_slice(&plain),
            None => return Err(self.broken()),
        }
        Ok(key)
    }

    /// Says that a subject was shredded: nobody without the key can say so, or move it.
    fn mark(&self, domain: &str, id: SubjectId) -> Result<Vec<u8>, KeyFault> {
        seal(self.key.bytes(), &self.aad(SHREDDED, domain, (id, 0)), &[])
    }

    fn check_mark(&self, domain: &str, id: SubjectId, row: &[u8]) -> Result<(), KeyFault> {
        let aad = self.aad(SHREDDED, domain, (id, 0));
        unseal(self.key.bytes(), &aad, row).map(|_| ()).ok_or_else(|| self.broken())
    }

    fn broken(&self) -> KeyFault {
        KeyFault::Broken { path: self.path.clone() }
    }

    fn open(&self) -> Result<Database, KeyFault> {
        if !self.path.exists() {
            return Err(KeyFault::Missing(self.path.clone()));
        }
        let open = Builder::new().set_cache_size(CACHE_BYTES).open(&self.path);
        open.map_err(|fault| self.fault(fault))
    }

    /// An empty one. What a crash left under this name was sealed under a key that nobody has.
    fn create(&self) -> Result<Database, KeyFault> {
        let io = io_fault(&self.path);
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).to_owned();
        options.open(&self.path).map_err(io)?;
        let made = Builder::new().set_cache_size(CACHE_BYTES).create(&self.path);
        made.map_err(|fault| self.fault(fault))
    }

    fn fault(&self, fault: impl Into<redb::Error>) -> KeyFault {
        let path = self.path.clone();
        match fault.into() {
            redb::Error::Io(error) => KeyFault::Io { path, kind: error.kind() },
            redb::Error::DatabaseAlreadyOpen => KeyFault::Io { path, kind: ErrorKind::WouldBlock },
            _ => KeyFault::Broken { path },
        }
    }
}

/// The database of an epoch.
fn file(dir: &Path, epoch: &SubjectEpoch) -> PathBuf {
    let start: String = epoch.id.chars().take(8).collect();
    dir.join(format!("subjects-{}-{start}.redb", epoch.number))
}

fn row_key((SubjectId(id), version): Name) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&id);
    key[16..].copy_from_slice(&version.to_be_bytes());
    key
}

fn name_of(row: &[u8]) -> Option<Name> {
    let (id, version) = row.split_first_chunk::<16>()?;
    Some((SubjectId(*id), u32::from_be_bytes(version.try_into().ok()?)))
}

/// What a process knows of a subject.
#[derive(Clone)]
enum Known {
    /// Its key, wrapped: of the keys themselves only the epoch's stays in memory.
    Sealed([u8; SEALED_BYTES]),
    Shredded,
    /// Asked for, and not to be made.
    Unknown,
}

/// What `store.json` was when it was read: writers put another file in its place.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen(u64, i64, i64, u64);

impl Seen {
    fn now(dir: &Path) -> Option<Self> {
        let meta = fs::metadata(store::path(dir)).ok()?;
        Some(Self(meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
    }
}

#[derive(Default)]
struct State {
    seen: Option<Seen>,
    epoch: Option<Epoch>,
    /// Of the epoch of this id.
    known_of: String,
    known: HashMap<Name, Known>,
    fault: Option<KeyFault>,
}

/// Keys of the subjects of a place. A process has its own; all see the same database.
pub struct SubjectStore {
    keys: KeysPlace,
    state: Mutex<State>,
}

/// How many subjects of a domain there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubjectCount {
    pub domain: String,
    /// Subjects' keys, of all versions.
    pub keys: u64,
    /// Subjects that were shredded.
    pub shredded: u64,
}

/// Refuses to show what it holds.
impl std::fmt::Debug for SubjectStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SubjectStore({})", self.keys.dir.display())
    }
}

impl SubjectStore {
    pub(super) fn new(keys: &KeysPlace) -> Self {
        Self { keys: keys.clone(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the epoch's key where `store.json` is another one than it was read from. Whoever
    /// asks for a subject's key does this first; it costs a look at a file's date.
    pub fn look(&self) {
        look(&mut self.state(), &self.keys.dir);
    }

    /// Why the last call came to nothing.
    pub fn fault(&self) -> Option<KeyFault> {
        self.state().fault.take()
    }

    /// Makes the first epoch where there is none.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub(super) fn begin(&self) -> Result<(), KeyFault> {
        let mut state = self.state();
        let _lock = store::lock(&self.keys.dir)?;
        self.load(&mut state, true)
    }

    /// The keys of subjects that have one, and none made: `None` for a subject that nobody knows.
    ///
    /// # Errors
    /// The store or its home cannot be read.
    pub fn find(
        &self,
        domain: &str,
        version: u32,
        subjects: &[SubjectId],
        each: &mut dyn FnMut(usize, Option<Subject<'_>>),
    ) -> Result<(), KeyFault> {
        self.with(domain, version, subjects, false, each)
    }

    /// How many there are, by domain.
    ///
    /// # Errors
    /// The store or its home cannot be read.
    pub fn counts(&self) -> Result<Vec<SubjectCount>, KeyFault> {
        let mut state = self.state();
        let _lock = store::lock(&self.keys.dir)?;
        self.load(&mut state, false)?;
        let Some(epoch) = &state.epoch else { return Ok(Vec::new()) };
        let db = epoch.open()?;
        let read = db.begin_read().map_err(|fault| epoch.fault(fault))?;
        let tables = read.list_tables().map_err(|fault| epoch.fault(fault))?;
        let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for table in tables {
            let name = table.name().to_owned();
            let table = read.open_table(Table::new(&name)).map_err(|fault| epoch.fault(fault))?;
            let rows = table.len().map_err(|fault| epoch.fault(fault))?;
            if let Some(domain) = name.strip_prefix(KEYS) {
                counts.entry(domain.to_owned()).or_default().0 = rows;
            } else if let Some(domain) = name.strip_prefix(SHREDDED) {
                counts.entry(domain.to_owned()).or_default().1 = rows;
            }
        }
        let count = |(domain, (keys, shredded))| SubjectCount { domain, keys, shredded };
        Ok(counts.into_iter().map(count).collect())
    }

    /// The epoch's key as `store.json` has it now. The caller holds the lock.
    fn load(&self, state: &mut State, make: bool) -> Result<(), KeyFault> {
        let dir = &self.keys.dir;
        look(state, dir);
        if state.epoch.is_some() {
            return Ok(());
        }
        let seen = Seen::now(dir);
        let home = open_home(&self.keys);
        let mut opened = store::open(dir, &self.keys.region, &*home)?;
        if opened.subjects.is_none() && make {
            opened.next_epoch()?;
            if let Some(epoch) = Epoch::of(dir, &opened) {
                drop(epoch.create()?);
            }
            // Crash here: a database that no store names.
            store::write(dir, &opened.key, opened.store.clone())?;
            state.seen = Seen::now(dir);
        } else {
            state.seen = seen;
        }
        stay_locked(&self.keys, opened.subjects.iter().map(Secret::is_locked))?;
        state.epoch = Epoch::of(dir, &opened);
        let id = state.epoch.as_ref().map_or(String::new(), |epoch| epoch.id.clone());
        if state.known_of != id {
            state.known.clear();
            state.known_of = id;
        }
        Ok(())
    }

    fn with(
        &self,
        domain: &str,
        version: u32,
        subjects: &[SubjectId],
        make: bool,
        each: &mut dyn FnMut(usize, Option<Subject<'_>>),
    ) -> Result<(), KeyFault> {
        let mut state = self.state();
        look(&mut state, &self.keys.dir);
        let knows = |state: &State| {
            let known = |id: &SubjectId| match state.known.get(&(*id, version)) {
                Some(Known::Unknown) => !make,
                found => found.is_some(),
            };
            state.epoch.is_some() && subjects.iter().all(known)
        };
        if !knows(&state) {
            let _lock = store::lock(&self.keys.dir)?;
            self.load(&mut state, make)?;
            fetch(&mut state, domain, version, subjects, make)?;
        }
        let State { epoch, known, .. } = &*state;
        for (at, id) in subjects.iter().enumerate() {
            match (epoch, known.get(&(*id, version))) {
                (Some(epoch), Some(Known::Sealed(row))) => {
                    let key = epoch.unseal(domain, (*id, version), row)?;
                    each(at, Some(Subject::Key(&key)));
                }
                (_, Some(Known::Shredded)) => each(at, Some(Subject::Shredded)),
                _ => each(at, None),
            }
        }
        Ok(())
    }
}

fn look(state: &mut State, dir: &Path) {
    let now = Seen::now(dir);
    if now.is_none() || state.seen != now {
        state.epoch = None;
    }
}

/// Reads what is not known, and makes keys where there are none: durable on return. The caller holds
/// the lock.
fn fetch(
    state: &mut State,
    domain: &str,
    version: u32,
    subjects: &[SubjectId],
    make: bool,
) -> Result<(), KeyFault> {
    if state.known.len() + subjects.len() > KNOWN_MAX {
        state.known.clear();
    }
    let State { epoch, known, .. } = state;
    let Some(epoch) = epoch else {
        known.extend(subjects.iter().map(|id| ((*id, version), Known::Unknown)));
        return Ok(());
    };
    let db = epoch.open()?;
    let write = db.begin_write().map_err(|fault| epoch.fault(fault))?;
    let mut made = 0;
    {
        let (keys_name, shredded_name) = (table(KEYS, domain), table(SHREDDED, domain));
        let fault = |fault| epoch.fault(fault);
        let mut keys = write.open_table(Table::new(&keys_name)).map_err(fault)?;
        let shredded = write.open_table(Table::new(&shredded_name)).map_err(fault)?;
        let fault = |fault: StorageError| epoch.fault(fault);
        for id in subjects {
            let name = (*id, version);
            if matches!(known.get(&name), Some(Known::Sealed(_) | Known::Shredded)) {
                continue;
            }
            let found = if let Some(mark) = shredded.get(&id.0[..]).map_err(fault)? {
                epoch.check_mark(domain, *id, mark.value())?;
                Known::Shredded
            } else if let Some(row) = keys.get(&row_key(name)[..]).map_err(fault)? {
                Known::Sealed(row.value().try_into().map_err(|_| epoch.broken())?)
            } else if make {
                let mut key = Zeroizing::new([0; SECRET_BYTES]);
                SystemRandom::new().fill(&mut key[..]).map_err(|_| KeyFault::Random)?;
                let row = epoch.seal(domain, name, &key)?;
                keys.insert(&row_key(name)[..], &row[..]).map_err(fault)?;
                made += 1;
                Known::Sealed(row.try_into().map_err(|_| epoch.broken())?)
            } else {
                Known::Unknown
            };
            known.insert(name, found);
        }
    }
    // Crash before it: no key was made, and nothing was protected under one.
    let ended = match made {
        0 => write.abort().map_err(|fault| epoch.fault(fault)),
        _ => write.commit().map_err(|fault| epoch.fault(fault)),
    };
    if ended.is_err() {
        known.clear();
    }
    ended
}

fn table(kind: &str, domain: &str) -> String {
    format!("{kind}{domain}")
}

impl SubjectKeys for SubjectStore {
    fn keys(
        &self,
        domain: &str,
        version: u32,
        subjects: &[SubjectId],
        each: &mut dyn FnMut(usize, Subject<'_>),
    ) -> Result<(), KeysAway> {
        let given = self.with(domain, version, subjects, true, &mut |at, subject| {
            // Every subject has a key now, or will never have one.
            each(at, subject.unwrap_or(Subject::Shredded));
        });
        given.map_err(|fault| {
            self.state().fault = Some(fault);
            KeysAway
        })
    }
}

/// What is known of subjects before they are shredded.
pub(super) struct Doomed {
    /// Ids of their keys.
    pub key_ids: Vec<KeyId>,
    /// Places in the list of those that never had one.
    pub unknown: Vec<usize>,
}

/// Looks subjects up, in all versions of their domain.
pub(super) fn doomed(
    epoch: &Epoch,
    domain: &str,
    subjects: &[SubjectId],
) -> Result<Doomed, KeyFault> {
    let db = epoch.open()?;
    // A writer may open tables that are not there.
    let write = db.begin_write().map_err(|fault| epoch.fault(fault))?;
    let mut doomed = Doomed { key_ids: Vec::new(), unknown: Vec::new() };
    {
        let (keys_name, shredded_name) = (table(KEYS, domain), table(SHREDDED, domain));
        let fault = |fault| epoch.fault(fault);
        let keys = write.open_table(Table::new(&keys_name)).map_err(fault)?;
        let shredded = write.open_table(Table::new(&shredded_name)).map_err(fault)?;
        let fault = |fault: StorageError| epoch.fault(fault);
        for (at, id) in subjects.iter().enumerate() {
            let mut is_known = shredded.get(&id.0[..]).map_err(fault)?.is_some();
            let (first, last) = (row_key((*id, 0)), row_key((*id, u32::MAX)));
            for row in keys.range(&first[..]..=&last[..]).map_err(fault)? {
                let (name, row) = row.map_err(fault)?;
                let name = name_of(name.value()).ok_or_else(|| epoch.broken())?;
                doomed.key_ids.push(id_of(&*epoch.unseal(domain, name, row.value())?));
                is_known = true;
            }
            if !is_known {
                doomed.unknown.push(at);
            }
        }
    }
    write.abort().map_err(|fault| epoch.fault(fault))?;
    Ok(doomed)
}

/// Writes the next epoch's database: every key of the one before but those of these subjects, wrapped
/// anew, and a mark for each of them. Says how many keys it holds. Crash in it, or before the store
/// names it: a database that nobody can read.
pub(super) fn rewrite(
    from: &Epoch,
    to: &Epoch,
    domain: &str,
    shredded: &[SubjectId],
) -> Result<u64, KeyFault> {
    let old = from.open()?;
    let read = old.begin_read().map_err(|fault| from.fault(fault))?;
    let new = to.create()?;
    let write = new.begin_write().map_err(|fault| to.fault(fault))?;
    let mut survivors = 0;
    let tables = read.list_tables().map_err(|fault| from.fault(fault))?;
    for name in tables.map(|table| table.name().to_owned()).collect::<Vec<_>>() {
        let rows = read.open_table(Table::new(&name)).map_err(|fault| from.fault(fault))?;
        let mut out = write.open_table(Table::new(&name)).map_err(|fault| to.fault(fault))?;
        for row in rows.iter().map_err(|fault| from.fault(fault))? {
            let (key, row) = row.map_err(|fault| from.fault(fault))?;
            let sealed = if let Some(of) = name.strip_prefix(KEYS) {
                let subject = name_of(key.value()).ok_or_else(|| from.broken())?;
                if of == domain && shredded.contains(&subject.0) {
                    continue;
                }
                survivors += 1;
                to.seal(of, subject, &*from.unseal(of, subject, row.value())?)?
            } else {
                let of = name.strip_prefix(SHREDDED).ok_or_else(|| from.broken())?;
                let id = SubjectId(key.value().try_into().map_err(|_| from.broken())?);
                from.check_mark(of, id, row.value())?;
                to.mark(of, id)?
            };
            out.insert(key.value(), &sealed[..]).map_err(|fault| to.fault(fault))?;
        }
    }
    mark_all(to, &write, domain, shredded)?;
    write.commit().map_err(|fault| to.fault(fault))?;
    drop(new);
    // The name as well as the bytes.
    let dir = to.path.parent().unwrap_or(Path::new("."));
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_fault(dir))?;
    Ok(survivors)
}

fn mark_all(
    to: &Epoch,
    write: &WriteTransaction,
    domain: &str,
    shredded: &[SubjectId],
) -> Result<(), KeyFault> {
    let name = table(SHREDDED, domain);
    let mut out = write.open_table(Table::new(&name)).map_err(|fault| to.fault(fault))?;
    for id in shredded {
        let mark = to.mark(domain, *id)?;
        out.insert(&id.0[..], &mark[..]).map_err(|fault| to.fault(fault))?;
    }
    Ok(())
}

/// Removes databases of epochs that are over, and what crashes left of this one's number. What is in
/// them was wrapped under keys that no store holds.
pub(super) fn sweep(dir: &Path, epoch: &SubjectEpoch) -> Result<(), KeyFault> {
    let kept = file(dir, epoch);
    for entry in fs::read_dir(dir).map_err(io_fault(dir))? {
        let path = entry.map_err(io_fault(dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name
            .strip_prefix("subjects-")
            .and_then(|rest| rest.strip_suffix(".redb")?.split_once('-'))
            .and_then(|(number, _)| number.parse::<u32>().ok());
        if path != kept && number.is_some_and(|number| number <= epoch.number) {
            fs::remove_file(&path).map_err(io_fault(&path))?;
        }
    }
    Ok(())
}

/// Keys in memory, of no place: for trying a pipeline out.
#[derive(Default)]
pub(super) struct ThrowAway(Mutex<HashMap<Name, Zeroizing<[u8; 32]>>>);

impl std::fmt::Debug for ThrowAway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ThrowAway")
    }
}

impl SubjectKeys for ThrowAway {
    fn keys(
        &self,
        _domain: &str,
        version: u32,
        subjects: &[SubjectId],
        each: &mut dyn FnMut(usize, Subject<'_>),
    ) -> Result<(), KeysAway> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, id) in subjects.iter().enumerate() {
            let key = match made.get(&(*id, version)) {
                Some(key) => key.clone(),
                None => {
                    let mut key = Zeroizing::new([0; SECRET_BYTES]);
                    SystemRandom::new().fill(&mut key[..]).map_err(|_| KeysAway)?;
                    made.insert((*id, version), key.clone());
                    key
                }
            };
            each(at, Subject::Key(&key));
        }
        Ok(())
    }
}
