//! Where open windows live: an ACID store in the zone, which holds the source position that its rows
//! are of in the same transaction. A crash goes on at that position: nothing is counted twice, and
//! nothing is left out, whatever the target's transactions do.
//!
//! Every value is sealed (AES-256-GCM-SIV, under a random key that lies in the store, wrapped); keys
//! are a window's number and a MAC of the unit, so that the file says how many units there are and
//! nothing of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use douane_ledger::canonical::hex32;
use douane_ledger::log::{RefusedEntry, SpanEntry};
use douane_schemas::keys::{Key, KeyId, Purpose};
use douane_schemas::secret::Secret;
use douane_schemas::tuple::Tuple;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::fault::RunFault;
use crate::key_home;

/// Version of what lies in the store.
const VERSION: u32 = 1;
/// Bytes of a unit's blind.
const BLIND_LEN: usize = 16;
/// Sealed values are multiples of it: how many rows a unit has is not their length.
const BUCKET: usize = 64;
/// What a row of the store costs beside its value, roughly: what the limit counts.
const OVERHEAD: u64 = 96;

/// Pages that are kept in memory: a window may hold far more than a process may take.
const CACHE_BYTES: usize = 64 << 20;
/// Rows wait in memory up to this size, or this long, before they and their position go into the file. A
/// transaction writes every page that it touches, and units lie in no order: a page holds several of them, so
/// the more units go at once, the fewer pages are written for each.
const WAITING_BYTES_MAX: usize = 64 << 20;
const WAITING: Duration = Duration::from_secs(1);

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const UNITS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("units");
/// Records that were set aside and that no transaction names yet: by topic, partition and offset.
const ASIDE: TableDefinition<'_, (&str, i32, i64), &str> = TableDefinition::new("aside");

/// A unit in a window: the order in which the store keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitKey {
    pub window: i64,
    pub blind: [u8; BLIND_LEN],
}

impl UnitKey {
    fn bytes(&self) -> [u8; 8 + BLIND_LEN] {
        let mut key = [0; 8 + BLIND_LEN];
        // Windows begin at 0: big-endian is their order.
        key[..8].copy_from_slice(&self.window.to_be_bytes());
        key[8..].copy_from_slice(&self.blind);
        key
    }
}

/// One source partition, as far as the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Index into the pipeline's list of source topics.
    pub topic: u32,
    pub partition: i32,
    /// The next offset that is not in the store.
    pub next: i64,
    /// Where the last closed window was pinned, or reading began.
    pub from: i64,
    /// Keyed digest of the records in `[from, next)`, up to the pin where there is one.
    #[serde(with = "hex32")]
    pub chain: [u8; 32],
    /// Keyed digest of those from the pin on.
    #[serde(with = "hex32")]
    pub beyond: [u8; 32],
    /// Where the window that is being closed ends: what is read from here on is late for it.
    pub pin: Option<i64>,
    /// The first offset of each open window: a lost store is read again from the least of them.
    pub first: BTreeMap<i64, i64>,
}

impl Read {
    /// Nothing is read before `next`.
    pub fn new(topic: u32, partition: i32, next: i64) -> Self {
        Self {
            topic,
            partition,
            next,
            from: next,
            chain: [0; 32],
            beyond: [0; 32],
            pin: None,
            first: BTreeMap::new(),
        }
    }
}

/// Everything in the store but the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub version: u32,
    /// Digest of what rows were kept by: bounds, grid, groups, the unit's leaf and key.
    #[serde(with = "hex32")]
    pub kept_by: [u8; 32],
    /// The window that is closed next; all before it are.
    pub closing: i64,
    pub reads: Vec<Read>,
    /// What the rows take, roughly.
    pub bytes: u64,
}

impl State {
    /// Nothing is read yet.
    pub fn new(kept_by: [u8; 32], closing: i64, reads: Vec<Read>) -> Self {
        Self { version: VERSION, kept_by, closing, reads, bytes: 0 }
    }

    pub fn read_mut(&mut self, topic: u32, partition: i32) -> Option<&mut Read> {
        self.reads.iter_mut().find(|read| (read.topic, read.partition) == (topic, partition))
    }

    pub fn read(&self, topic: u32, partition: i32) -> Option<&Read> {
        self.reads.iter().find(|read| (read.topic, read.partition) == (topic, partition))
    }

    /// Where the window that is closed next ends in every partition, once that is fixed.
    pub fn is_pinned(&self) -> bool {
        self.reads.iter().all(|read| read.pin.is_some())
    }

    /// Everything before the pins is in the store.
    pub fn is_whole(&self) -> bool {
        self.reads.iter().all(|read| read.pin.is_some_and(|pin| read.next >= pin))
    }

    /// A record at this offset comes too late for the window.
    pub fn is_closed(&self, window: i64, topic: u32, partition: i32, offset: i64) -> bool {
        let pin = self.read(topic, partition).and_then(|read| read.pin);
        window < self.closing || (window == self.closing && pin.is_some_and(|pin| offset >= pin))
    }

    /// The window that a late record counts in: the first one that did not end before it. `None`: that
    /// one is closed too, and holds it. It follows from where windows ended, so that a store which is
    /// read again puts the record where it was.
    pub fn current(&self, topic: u32, partition: i32, offset: i64) -> Option<i64> {
        let read = self.read(topic, partition)?;
        let beyond = read.pin.is_some_and(|pin| offset >= pin);
        (offset >= read.from).then(|| self.closing + i64::from(beyond))
    }

    /// The window is closed for good: the next one begins to wait for its instant.
    pub fn close(&mut self) {
        for read in &mut self.reads {
            read.from = read.pin.take().unwrap_or(read.from);
            read.chain = std::mem::take(&mut read.beyond);
            read.first.retain(|window, _| *window > self.closing);
        }
        self.closing += 1;
    }
}

/// What the file does not have yet. It goes into it with the position that it is of, or is lost with the
/// process and read again.
#[derive(Default)]
struct Waiting {
    units: BTreeMap<UnitKey, Vec<u8>>,
    aside: Vec<RefusedEntry>,
    bytes: usize,
    since: Option<Instant>,
}

/// See the module.
pub struct Store {
    path: PathBuf,
    db: Database,
    key: LessSafeKey,
    waiting: Waiting,
}

impl Store {
    /// Opens the store of a pipeline, or makes an empty one. `wraps`: of each root, the active one
    /// first, purpose `store`. Gives what stands in it, where that is anything.
    ///
    /// # Errors
    /// [`RunFault::Again`] while another process has it open; typed stops for a file that is no
    /// store of this version, or of other keys.
    pub fn open(path: &Path, wraps: &[Key]) -> Result<(Self, Option<State>), RunFault> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|e| fault(path, &e.kind()))?;
        }
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let db = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => {
                RunFault::Again("another process has the store of open windows".to_owned())
            }
            other => fault(path, &other),
        })?;
        let key = key(path, &db, wraps)?;
        let store = Self { path: path.to_owned(), db, key, waiting: Waiting::default() };
        let state = store.state()?;
        Ok((store, state))
    }

    fn state(&self) -> Result<Option<State>, RunFault> {
        let fault = |error: &dyn std::fmt::Display| fault(&self.path, error);
        let read = self.db.begin_read().map_err(|e| fault(&e))?;
        let meta = read.open_table(META).map_err(|e| fault(&e))?;
        let Some(sealed) = meta.get("state").map_err(|e| fault(&e))? else { return Ok(None) };
        let plain = self.unseal(b"state", sealed.value())?;
        let state: State =
            serde_json::from_slice(&plain).map_err(|_| fault(&"a state of another version"))?;
        match state.version {
            VERSION => Ok(Some(state)),
            other => Err(fault(&format!("version {other}, expected {VERSION}"))),
        }
    }

    /// What the store has of some units.
    pub fn units(
        &self,
        wanted: impl Iterator<Item = UnitKey>,
    ) -> Result<BTreeMap<UnitKey, Vec<u8>>, RunFault> {
        let fault = |error: &dyn std::fmt::Display| fault(&self.path, error);
        let read = self.db.begin_read().map_err(|e| fault(&e))?;
        let units = read.open_table(UNITS).map_err(|e| fault(&e))?;
        let mut found = BTreeMap::new();
        for unit in wanted {
            if let Some(plain) = self.waiting.units.get(&unit) {
                found.insert(unit, plain.clone());
                continue;
            }
            let key = unit.bytes();
            if let Some(sealed) = units.get(&key[..]).map_err(|e| fault(&e))? {
                found.insert(unit, self.unseal(&key, sealed.value())?);
            }
        }
        Ok(found)
    }

    /// Takes units and what was set aside. They are durable once [`Store::commit`] has put them.
    pub fn take(&mut self, units: BTreeMap<UnitKey, Vec<u8>>, aside: Vec<RefusedEntry>) {
        let waiting = &mut self.waiting;
        waiting.since.get_or_insert_with(Instant::now);
        waiting.aside.extend(aside);
        for (unit, plain) in units {
            let cost = plain.len() + OVERHEAD as usize;
            let before = waiting.units.insert(unit, plain);
            let was = before.map_or(0, |before| before.len() + OVERHEAD as usize);
            waiting.bytes = (waiting.bytes + cost).saturating_sub(was);
        }
    }

    /// Something was taken and is not put.
    pub fn waits(&self) -> bool {
        self.waiting.since.is_some()
    }

    /// What was taken should be put now: it is large, or has waited.
    pub fn is_due(&self) -> bool {
        let waits = self.waiting.since.is_some_and(|since| since.elapsed() >= WAITING);
        waits || self.waiting.bytes >= WAITING_BYTES_MAX
    }

    /// Puts all that was taken, and the position that it is of, at once and durably.
    ///
    /// # Errors
    /// A life ends with one: what was taken is gone, and what the file has is what the next life begins with.
    pub fn commit(&mut self, state: &mut State) -> Result<(), RunFault> {
        let Waiting { units, aside, .. } = std::mem::take(&mut self.waiting);
        let fault = |error: &dyn std::fmt::Display| fault(&self.path, error);
        let write = self.db.begin_write().map_err(|e| fault(&e))?;
        {
            let mut table = write.open_table(UNITS).map_err(|e| fault(&e))?;
            for (unit, plain) in units {
                let key = unit.bytes();
                let sealed = self.seal(&key, &plain)?;
                let cost = sealed.len() as u64 + OVERHEAD;
                let before = table.insert(&key[..], &sealed[..]).map_err(|e| fault(&e))?;
                let was = before.map_or(0, |before| before.value().len() as u64 + OVERHEAD);
                state.bytes = state.bytes.saturating_add(cost).saturating_sub(was);
            }
            let mut table = write.open_table(ASIDE).map_err(|e| fault(&e))?;
            for refused in &aside {
                let at = (refused.topic.as_str(), refused.partition, refused.offset);
                table.insert(at, refused.code.as_str()).map_err(|e| fault(&e))?;
            }
            self.put_state(&write, state)?;
        }
        write.commit().map_err(|e| fault(&e))
    }

    fn put_state(&self, write: &WriteTransaction, state: &State) -> Result<(), RunFault> {
        let fault = |error: &dyn std::fmt::Display| fault(&self.path, error);
        let plain = serde_json::to_vec(state).map_err(|_| fault(&"no JSON form"))?;
        let sealed = self.seal(b"state", &plain)?;
        let mut meta = write.open_table(META).map_err(|e| fault(&e))?;
        meta.insert("state", &sealed[..]).map_err(|e| fault(&e))?;
        Ok(())
    }

    /// The file is read as a whole, or a position is put by itself: nothing may be left out of it.
    fn nothing_waits(&self) -> Result<(), RunFault> {
        match self.waits() {
            false => Ok(()),
            true => Err(fault(&self.path, &"rows were taken and not put")),
        }
    }

    /// What was set aside in these spans.
    pub fn aside(&self, spans: &[SpanEntry]) -> Result<Vec<RefusedEntry>, RunFault> {
        self.nothing_waits()?;
        let fault = |error: &dyn std::fmt::Display| fault(&self.path, error);
        let read = self.db.begin_read().map_err(|e| fault(&e))?;
        let table = read.open_table(ASIDE).map_err(|e| fault(&e))?;
        let mut all = Vec::new();
        for span in spans {
            let at = |offset| (span.topic.as_str(), span.partition, offset);
            for row in table.range(at(span.start)..at(span.end)).map_err(|e| fault(&e))? {
                let (key, code) = row.map_err(|e| fault(&e))?;
                let (topic, partition, offset) = key.value();
                let (topic, code) = (topic.to_owned(), code.value().to_owned());
                all.push(RefusedEntry { topic, partition, offset, code });
            }
        }
        Ok(all)
    }

    /// Gives every unit of a window to `each`, in the order of their blinds.
    pub fn window(
        &self,
        window: i64,
        mut each: impl FnMut(&[u8]) -> Result<(), RunFault>,
    ) -> Result<(), RunFault> {
        self.nothing_waits()?;
        let fault = |error: &dyn std::fmt::Display| fault(&self.path, error);
        let read = self.db.begin_read().map_err(|e| fault(&e))?;
        let units = read.open_table(UNITS).map_err(|e| fault(&e))?;
        let (least, most) = bounds(window);
        for row in units.range::<&[u8]>(&least[..]..=&most[..]).map_err(|e| fault(&e))? {
            let (key, sealed) = row.map_err(|e| fault(&e))?;
            each(&self.unseal(key.value(), sealed.value())?)?;
        }
        Ok(())
    }

    /// Deletes the rows of every window before `state.closing`, and puts the state. `aside`: what
    /// the transaction of the last of them named.
    pub fn drop_closed(&self, state: &mut State, aside: &[RefusedEntry]) -> Result<(), RunFault> {
        self.nothing_waits()?;
        let fault = |error: &dyn std::fmt::Display| fault(&self.path, error);
        let write = self.db.begin_write().map_err(|e| fault(&e))?;
        {
            let mut table = write.open_table(UNITS).map_err(|e| fault(&e))?;
            let (open, _) = bounds(state.closing);
            let mut freed = 0;
            table
                .retain_in::<&[u8], _>(..&open[..], |_, value| {
                    freed += value.len() as u64 + OVERHEAD;
                    false
                })
                .map_err(|e| fault(&e))?;
            state.bytes = state.bytes.saturating_sub(freed);
            let mut table = write.open_table(ASIDE).map_err(|e| fault(&e))?;
            for refused in aside {
                let at = (refused.topic.as_str(), refused.partition, refused.offset);
                table.remove(at).map_err(|e| fault(&e))?;
            }
            self.put_state(&write, state)?;
        }
        write.commit().map_err(|e| fault(&e))
    }

    fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, RunFault> {
        seal(&self.key, place, plain).ok_or_else(|| fault(&self.path, &"cannot be sealed"))
    }

    fn unseal(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, RunFault> {
        unseal(&self.key, place, sealed)
            .ok_or_else(|| fault(&self.path, &"a seal is broken: changed, or of another place"))
    }
}

/// The least and the greatest key of a window.
fn bounds(window: i64) -> ([u8; 8 + BLIND_LEN], [u8; 8 + BLIND_LEN]) {
    let with = |blind| UnitKey { window, blind }.bytes();
    (with([0; BLIND_LEN]), with([0xff; BLIND_LEN]))
}

fn fault(path: &Path, what: &dyn std::fmt::Display) -> RunFault {
    RunFault::File(format!(
        "store of open windows {}: {what}\n  next: see that its disk is well; a store that is lost \
         is read again from the source: move the file away",
        path.display()
    ))
}

/// The key of the store: random, drawn with it, wrapped under a root's.
fn key(path: &Path, db: &Database, wraps: &[Key]) -> Result<LessSafeKey, RunFault> {
    let fault = |error: &dyn std::fmt::Display| fault(path, error);
    let write = db.begin_write().map_err(|e| fault(&e))?;
    let secret = {
        let mut meta = write.open_table(META).map_err(|e| fault(&e))?;
        // Made with the first transaction, so that readers find both.
        write.open_table(UNITS).map_err(|e| fault(&e))?;
        write.open_table(ASIDE).map_err(|e| fault(&e))?;
        let wrapped = meta.get("key").map_err(|e| fault(&e))?.map(|found| found.value().to_vec());
        match wrapped {
            Some(wrapped) => unwrap(wraps, b"store-key", &wrapped)
                .ok_or_else(|| fault(&"its key was wrapped under another root key"))?,
            None => {
                let secret = draw().ok_or_else(|| fault(&"the system has no entropy"))?;
                let wrapped = wrap(wraps, b"store-key", &secret)
                    .ok_or_else(|| fault(&"its key cannot be wrapped"))?;
                meta.insert("key", &wrapped[..]).map_err(|e| fault(&e))?;
                secret
            }
        }
    };
    write.commit().map_err(|e| fault(&e))?;
    cipher(secret.bytes()).ok_or_else(|| fault(&"its key is none"))
}

/// A secret that nothing else follows from.
pub fn draw() -> Option<Secret> {
    Secret::fill(|page| aws_lc_rs::rand::fill(page)).ok()
}

/// A secret under the first of these keys: the key's id, then what is sealed.
pub fn wrap(wraps: &[Key], place: &[u8], secret: &Secret) -> Option<Vec<u8>> {
    let with = wraps.first().filter(|key| key.purpose() == Purpose::Store)?;
    let mut framed = Zeroizing::new(Vec::with_capacity(2 * BUCKET));
    frame(&mut framed, secret.bytes())?;
    let sealed = key_home::seal(with.secret(), &associated(place), &framed).ok()?;
    Some([&with.id().0[..], &sealed].concat())
}

/// The secret again, under whichever of these keys it was wrapped.
pub fn unwrap(wraps: &[Key], place: &[u8], wrapped: &[u8]) -> Option<Secret> {
    let (id, sealed) = wrapped.split_at_checked(16)?;
    let id = KeyId(id.try_into().ok()?);
    let with = wraps.iter().find(|key| key.id() == id && key.purpose() == Purpose::Store)?;
    let framed = key_home::unseal(with.secret(), &associated(place), sealed)?;
    let bytes: &[u8; 32] = unframed(&framed)?.try_into().ok()?;
    Secret::fill(|page| {
        page.copy_from_slice(bytes);
        Ok::<(), std::convert::Infallible>(())
    })
    .ok()
}

fn cipher(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM_SIV, key).ok().map(LessSafeKey::new)
}

fn associated(place: &[u8]) -> Vec<u8> {
    Tuple::new().text(Purpose::Store.label()).text("aggregate").bytes(place).finish()
}

/// `length (4, big-endian) · plain · zeros to the bucket`, at the end of what is empty.
fn frame(body: &mut Vec<u8>, plain: &[u8]) -> Option<()> {
    body.extend_from_slice(&u32::try_from(plain.len()).ok()?.to_be_bytes());
    body.extend_from_slice(plain);
    body.resize(body.len().next_multiple_of(BUCKET), 0);
    Some(())
}

fn unframed(body: &[u8]) -> Option<&[u8]> {
    let (length, rest) = body.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    rest.get(..length)
}

/// nonce (12) · AES-256-GCM-SIV of a frame · tag.
fn seal(key: &LessSafeKey, place: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).ok()?;
    let mut body = Vec::new();
    frame(&mut body, plain)?;
    let aad = associated(place);
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(&aad[..]),
        &mut body,
    )
    .ok()?;
    Some([&nonce[..], &body].concat())
}

fn unseal(key: &LessSafeKey, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut body = body.to_vec();
    let aad = associated(place);
    let framed = key.open_in_place(nonce, Aad::from(&aad[..]), &mut body).ok()?;
    unframed(framed).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use douane_schemas::keys::RootKey;

    use super::*;

    fn wraps(root: u8) -> Vec<Key> {
        vec![RootKey::new([root; 32]).derive(Purpose::Store, "p")]
    }

    fn read(partition: i32) -> Read {
        Read::new(0, partition, 0)
    }

    fn unit(window: i64, blind: u8) -> UnitKey {
        UnitKey { window, blind: [blind; BLIND_LEN] }
    }

    #[test]
    fn rows_and_position_are_there_together_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.redb");
        let (mut store, none) = Store::open(&path, &wraps(1)).unwrap();
        assert_eq!(none, None);
        let mut state = State::new([0; 32], 0, vec![read(0)]);
        state.reads[0].next = 7;
        let rows =
            [(unit(0, 1), b"secret row".to_vec()), (unit(1, 1), vec![]), (unit(0, 2), vec![3])];
        let rows: BTreeMap<UnitKey, Vec<u8>> = rows.into_iter().collect();
        store.take(rows.clone(), Vec::new());
        store.commit(&mut state).unwrap();
        assert!(state.bytes > 3 * OVERHEAD);
        assert!(matches!(Store::open(&path, &wraps(1)), Err(RunFault::Again(_))));
        drop(store);

        let (store, found) = Store::open(&path, &wraps(1)).unwrap();
        assert_eq!(found, Some(state.clone()));
        assert_eq!(store.units(rows.keys().copied().chain([unit(5, 5)])).unwrap(), rows);
        // Before the first window is closed there is nothing to drop.
        store.drop_closed(&mut state, &[]).unwrap();
        assert_eq!(store.units(rows.keys().copied()).unwrap(), rows);
        let mut of_first = Vec::new();
        store
            .window(0, |row| {
                of_first.push(row.to_vec());
                Ok(())
            })
            .unwrap();
        assert_eq!(of_first, [b"secret row".to_vec(), vec![3]]);
        state.close();
        store.drop_closed(&mut state, &[]).unwrap();
        assert_eq!(store.units(rows.keys().copied()).unwrap().len(), 1, "the open window stays");
        drop(store);
        // At rest nothing of it reads.
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"secret" || part == b"closin"));
        // Another root does not open it; after a rotation the old one is still there.
        assert!(matches!(Store::open(&path, &wraps(2)), Err(RunFault::File(_))));
        assert!(Store::open(&path, &[wraps(2), wraps(1)].concat()).is_ok());
    }

    #[test]
    fn what_waits_is_seen_by_units_and_by_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.redb");
        let (mut store, _) = Store::open(&path, &wraps(1)).unwrap();
        let mut state = State::new([0; 32], 0, vec![read(0)]);
        assert!(!store.is_due());
        store.commit(&mut state).unwrap();
        let of = |value: u8| BTreeMap::from([(unit(0, 1), vec![value])]);
        store.take(of(1), Vec::new());
        store.commit(&mut state).unwrap();
        let bytes = state.bytes;
        // The later one counts, for what it takes and for what it is.
        store.take(of(2), Vec::new());
        store.take(of(3), Vec::new());
        assert_eq!(store.waiting.bytes, 1 + OVERHEAD as usize);
        assert_eq!(store.units([unit(0, 1)].into_iter()).unwrap(), of(3));
        // Whoever reads or moves a window would leave it out.
        assert!(store.window(0, |_| Ok(())).is_err());
        assert!(store.aside(&[]).is_err());
        assert!(store.drop_closed(&mut state, &[]).is_err());
        state.reads[0].next = 9;
        drop(store);
        // It dies: rows and position are those of before.
        let (mut store, found) = Store::open(&path, &wraps(1)).unwrap();
        assert_eq!(found.unwrap().reads[0].next, 0);
        assert_eq!(store.units([unit(0, 1)].into_iter()).unwrap(), of(1));
        store.take(of(3), Vec::new());
        store.commit(&mut state).unwrap();
        assert_eq!(state.bytes, bytes);
        drop(store);
        let (mut store, found) = Store::open(&path, &wraps(1)).unwrap();
        assert_eq!(found, Some(state));
        assert_eq!(store.units([unit(0, 1)].into_iter()).unwrap(), of(3));
        // Much of it does not wait.
        store.take(BTreeMap::from([(unit(0, 2), vec![0; WAITING_BYTES_MAX])]), Vec::new());
        assert!(store.is_due());
    }

    #[test]
    fn a_sealed_value_opens_in_its_own_place_only() {
        let key = cipher(&[7; 32]).unwrap();
        let sealed = seal(&key, b"here", b"row").unwrap();
        assert_eq!(unseal(&key, b"here", &sealed).unwrap(), b"row");
        assert_eq!(unseal(&key, b"there", &sealed), None);
        let mut changed = sealed.clone();
        changed[20] ^= 1;
        assert_eq!(unseal(&key, b"here", &changed), None);
        assert_eq!(sealed.len(), seal(&key, b"here", b"a longer row").unwrap().len());
    }

    /// What was wrapped before it was wiped opens, and the other way round: the bytes are of one form.
    #[test]
    fn a_wrapped_secret_is_sealed_as_a_value_is() {
        let wraps = wraps(1);
        let secret = Secret::fill(|page| {
            page.fill(9);
            Ok::<(), ()>(())
        })
        .unwrap();
        let key = cipher(wraps[0].secret()).unwrap();
        let wrapped = wrap(&wraps, b"store-key", &secret).unwrap();
        assert_eq!(unseal(&key, b"store-key", &wrapped[16..]).unwrap(), secret.bytes());
        let sealed = seal(&key, b"store-key", secret.bytes()).unwrap();
        let wrapped = [&wraps[0].id().0[..], &sealed].concat();
        assert_eq!(unwrap(&wraps, b"store-key", &wrapped).unwrap().bytes(), secret.bytes());
        assert!(unwrap(&wraps, b"another", &wrapped).is_none());
    }

    #[test]
    fn what_is_read_from_the_pin_on_is_late_for_its_window_alone() {
        let mut state = State::new([0; 32], 3, vec![read(0), read(1)]);
        assert!(state.is_closed(2, 0, 0, 0));
        assert!(!state.is_closed(3, 0, 0, 100));
        state.reads[0].pin = Some(10);
        assert!(!state.is_pinned());
        state.reads[1].pin = Some(0);
        assert!(state.is_pinned() && !state.is_whole());
        assert!(!state.is_closed(3, 0, 0, 9) && state.is_closed(3, 0, 0, 10));
        assert!(!state.is_closed(4, 0, 0, 10));
        let current = [(0, 9, 3), (0, 10, 4), (1, 0, 4)]
            .map(|(partition, offset, window)| (state.current(0, partition, offset), Some(window)));
        assert!(current.iter().all(|(is, expected)| is == expected), "{current:?}");
        state.reads[0].next = 12;
        assert!(state.is_whole());
        state.reads[0].beyond = [9; 32];
        state.reads[0].first = [(3, 1), (4, 11)].into();
        state.close();
        let closed = &state.reads[0];
        assert_eq!((state.closing, closed.from, closed.pin, closed.chain), (4, 10, None, [9; 32]));
        assert_eq!(closed.first, [(4, 11)].into());
        // What is read again from before a closed window's end was counted in it, or in one before it.
        assert_eq!((state.current(0, 0, 9), state.current(0, 0, 10)), (None, Some(4)));
    }
}
