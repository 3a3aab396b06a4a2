//! What was set aside: `quarantine list`, and the request that has it tried again.
//!
//! A request is a file beside the release. The shard that owns a record's partition finds it
//! within a second and tries the record between two of its turns (`shard/redrive.rs`): nobody else
//! could say that no newer record of the key has crossed in between. What came of it stands in the
//! ledger, where the asker reads it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use douane_connectors::edge::{Admin, EdgeFault};
use douane_gate::{Destination, Quarantined, SealContext, read_quarantined};
use douane_ledger::log::{self, Entry, Head, LedgerFault, RedrivenEntry, RefusedEntry};
use douane_ledger::release::State as ReleaseState;
use douane_schemas::debezium::QuarantineCode;
use douane_schemas::keys::Key;
use douane_schemas::names::printable;
use douane_transforms::TransformFault;
use serde::{Deserialize, Serialize};

use crate::aggregate;
use crate::config::{self, Pipeline, Place, nearest};
use crate::crossing::{PositionTopic, TRY};
use crate::edges::Edges;
use crate::fault::RunFault;
use crate::journals;
use crate::key_home::KeyHome;
use crate::keys;
use crate::names::{Names, ledger_home};
use crate::once;
use crate::position::Layout;
use crate::release;
use crate::replay::engine::BY_TARGET;
use crate::report::Voice;
use crate::run;
use crate::stop::Stop;
use crate::topics;

/// Records in one request at most: the file is read once a second.
const REQUEST_MAX: usize = 10_000;
/// Records of a list unless said, and at most.
pub const LIST_DEFAULT: usize = 1_000;
pub const LIST_MAX: usize = 10_000;
/// Places that are counted: some 40 bytes each.
const COUNTED_MAX: usize = 1_000_000;
/// Where nothing is known: no code, no time.
const NOTHING: &str = "-";
/// Between two looks at the ledger.
const LOOK: Duration = Duration::from_millis(500);
/// How long a shard may take to find a request and try its first record.
const PATIENCE: Duration = Duration::from_secs(60);

/// A source record by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl At {
    /// Of the key of a record that was set aside: `topic/partition/offset`.
    fn of_key(key: &str) -> Option<Self> {
        let (rest, offset) = key.rsplit_once('/')?;
        let (topic, partition) = rest.rsplit_once('/')?;
        let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
        Some(Self { topic: topic.to_owned(), partition, offset })
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}

impl std::str::FromStr for At {
    type Err = &'static str;

    /// As `list` shows it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "expected TOPIC[PARTITION]@OFFSET";
        let (topic, rest) = text.split_once('[').ok_or(FORM)?;
        let (partition, offset) = rest.split_once("]@").ok_or(FORM)?;
        let partition = partition.parse().map_err(|_| FORM)?;
        let offset = offset.parse().map_err(|_| FORM)?;
        Ok(Self { topic: topic.to_owned(), partition, offset })
    }
}

/// A record that was set aside. Its bytes are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetAside {
    #[serde(flatten)]
    pub at: At,
    /// Why it was refused.
    pub code: String,
    /// When it was set aside, RFC 3339.
    pub since: String,
    /// The record itself lies under the seal; otherwise it was too large for the topic, and is read
    /// from the source while that keeps it.
    pub whole: bool,
    #[serde(flatten)]
    pub state: State,
}

/// What the ledger says of a record that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "outcome", rename_all = "snake_case")]
pub enum State {
    /// Can be tried again.
    Waiting,
    /// No committed transaction names it: the copy of a turn that did not come to pass.
    Leftover,
    /// It was tried again, with this outcome.
    Tried(Outcome),
    /// The key of its epoch was destroyed: nobody opens it any more, and it is not tried again.
    EpochEnded,
    /// Sealed under a key that this key store never had, or lost.
    KeyUnknown,
    /// Nothing that this place sealed for this topic. What the ledger has at its place is tried again all
    /// the same, from the source.
    Unreadable,
}

impl State {
    /// Something can be done about it.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Waiting | Self::Tried(_))
    }
}

/// What became of a record that was tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Crossed,
    /// A newer record of its key is in the source: what it says is out of date.
    Superseded,
    /// The source no longer holds all that came after it.
    NewerUnknown,
    /// The pipeline's WHERE keeps it back, as it would have then.
    OutsideWhere,
    /// Nothing set it aside: it has crossed, or is on its way.
    NotQuarantined,
    /// The key of its epoch was destroyed; not tried.
    EpochEnded,
    /// Refused once more.
    Refused(String),
}

impl Outcome {
    /// As the ledger has it.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "crossed" => Self::Crossed,
            "superseded" => Self::Superseded,
            "newer_unknown" => Self::NewerUnknown,
            "outside_where" => Self::OutsideWhere,
            "not_quarantined" => Self::NotQuarantined,
            "epoch_ended" => Self::EpochEnded,
            code => Self::Refused(code.to_owned()),
        }
    }

    /// The ledger's word; of a refusal its code.
    pub fn word(&self) -> &str {
        match self {
            Self::Crossed => "crossed",
            Self::Superseded => "superseded",
            Self::NewerUnknown => "newer_unknown",
            Self::OutsideWhere => "outside_where",
            Self::NotQuarantined => "not_quarantined",
            Self::EpochEnded => "epoch_ended",
            Self::Refused(code) => code,
        }
    }

    /// Nothing is left to do about the record.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Crossed | Self::Superseded | Self::OutsideWhere)
    }
}

impl Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.word())
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Crossed => f.write_str("crossed"),
            Self::Superseded => f.write_str("superseded: a newer record of its key is there"),
            Self::NewerUnknown => f.write_str(
                "stays: the source no longer holds what came after it, so a newer one may have crossed",
            ),
            Self::OutsideWhere => f.write_str("done: WHERE keeps it back"),
            Self::NotQuarantined => f.write_str("nothing set it aside: it is not tried"),
            Self::EpochEnded => f.write_str(
                "not tried: the key of its epoch has ended; next: write the row again at its source",
            ),
            Self::Refused(code) => write!(f, "refused again: {code}"),
        }
    }
}

/// The request file: what is to be tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Each once, however often a file names it: what was tried a moment ago is in no committed log yet.
    pub records: BTreeSet<At>,
}

impl Request {
    /// Beside the release, which it needs. A table has one of its own: its neighbours, which have the
    /// release's file in common, look for their own.
    pub fn file(pipeline: &Pipeline) -> PathBuf {
        let table = pipeline.table.as_ref().map(|table| format!("{}.", table.name));
        pipeline.release.with_extension(format!("{}redrive.json", table.unwrap_or_default()))
    }

    /// The request that lies there, if one does. One that cannot be read is none: whoever asked
    /// waits for an answer, and says that none came.
    pub fn read(pipeline: &Pipeline) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::file(pipeline)).ok()?).ok()
    }
}

/// Both ends of the ledger's and the topic's truth, opened once.
struct Desk {
    place: Place,
    pipeline: Pipeline,
    names: Names,
    edges: Edges,
    positions: PositionTopic,
    keys: Vec<Key>,
    /// Ids of keys that were destroyed.
    ended: BTreeSet<String>,
    topic_id: String,
    partitions: i32,
}

/// A record of the quarantine topic.
enum Found {
    Open(Quarantined),
    /// Its place is its key, or, where that is none, where it lies; of the rest nothing can be read.
    Closed(At, State),
}

impl Desk {
    fn open(place: Place, pipeline: Pipeline) -> Result<Self, RunFault> {
        let keys = keys::open(&place)?;
        let names = Names::of(&place, &pipeline);
        let edges = Edges::of(&place, &pipeline);
        let topic = |admin: Result<Box<dyn Admin>, EdgeFault>, side: &str, name: &str| {
            let unreachable = RunFault::unreachable(&format!("{side} cluster"));
            let found = admin.and_then(|admin| admin.topic(name));
            let missing = || topics::missing(&place, &pipeline.name, name, side);
            found.map_err(unreachable)?.ok_or_else(missing)
        };
        let position = topic(edges.global.admin(), "global", &names.position)?;
        let quarantine = topic(edges.sovereign.admin(), "sovereign", &names.quarantine)?;
        Ok(Self {
            positions: PositionTopic::new(&place, &pipeline, &edges, &keys, &position.id),
            keys: keys.quarantine_keys(&pipeline.name),
            ended: ended(&keys),
            topic_id: quarantine.id,
            partitions: quarantine.partitions,
            names,
            edges,
            place,
            pipeline,
        })
    }

    fn layout(&self) -> Result<Layout, RunFault> {
        self.positions.layout()?.ok_or_else(|| RunFault::Topic {
            topic: self.names.position.clone(),
            what: "holds no layout: the pipeline has not run yet\n  next: `douane run FILE`".into(),
        })
    }

    /// Goes through the topic once, record by record, and keeps the first `limit` of those that `wants`
    /// names. The last record under a key counts.
    fn read(
        &self,
        layout: &Layout,
        refusals: &Refusals,
        limit: usize,
        wants: &dyn Fn(&SetAside) -> bool,
    ) -> Result<Listing, RunFault> {
        // A seal names the shard that made it: any that there ever was.
        let shards = layout.shards.iter().map(|head| head.shard + 1).chain([layout.tasks]).max();
        let mut gathered = Gathered::new(limit, COUNTED_MAX);
        for partition in 0..self.partitions {
            let mut take = |record: &douane_schemas::record::RawRecord<'_>| {
                let Some(key) = record.key else { return ControlFlow::Continue(()) };
                let place = std::str::from_utf8(key).ok().and_then(At::of_key);
                let (topic, offset) = (self.names.quarantine.clone(), record.offset);
                let lies = At { topic, partition, offset };
                // Records of others may share a key, and replace nothing.
                let of_lies = lies.to_string();
                let under = if place.is_some() { key } else { of_lies.as_bytes() };
                let found = record.value.map(|value| {
                    let found = match self.unseal(key, value, shards.unwrap_or(1)) {
                        Ok(opened) => Found::Open(opened),
                        Err(state) => Found::Closed(place.unwrap_or(lies), state),
                    };
                    set_aside(found, record.timestamp_ms, refusals)
                });
                // Done with: its copy goes with the topic's retention.
                let open = |r: &SetAside| !refusals.outcome(&r.at).is_some_and(Outcome::is_done);
                gathered.take(under, found.filter(|record| open(record) && wants(record)));
                ControlFlow::Continue(())
            };
            self.edges
                .sovereign
                .scan(&self.names.quarantine, partition, 0, TRY * 6, &mut take)
                .map_err(RunFault::unreachable("sovereign cluster"))?;
        }
        Ok(gathered.listing())
    }

    /// What lies under a seal; or why nothing can be read.
    fn unseal(&self, key: &[u8], sealed: &[u8], shards: u32) -> Result<Quarantined, State> {
        let key = std::str::from_utf8(key).map_err(|_| State::Unreadable)?;
        let by = douane_gate::sealed_by(sealed).ok_or(State::Unreadable)?;
        let Some(sealer) = self.keys.iter().find(|key| key.id() == by) else {
            return Err(match self.ended.contains(&by.to_string()) {
                true => State::EpochEnded,
                false => State::KeyUnknown,
            });
        };
        let opens = |shard: u32| {
            let context = SealContext {
                zone: self.place.sovereign.zone.clone(),
                cluster_id: self.place.sovereign.id.clone(),
                topic_id: self.topic_id.clone(),
                shard,
            };
            douane_gate::open(sealer, Destination::Quarantine, key, sealed, &context).ok()
        };
        let plain = (0..shards).find_map(opens).ok_or(State::Unreadable)?;
        read_quarantined(&plain).map_err(|_| State::Unreadable)
    }

    /// What the ledgers of all shards, as far as the target names them, say.
    fn refusals(&self, layout: &Layout) -> Result<Refusals, RunFault> {
        let home = ledger_home(&self.place.ledger_dir, &self.pipeline.name);
        journals::refresh(&self.place, &self.names, &self.pipeline.name)?;
        let mut refusals = Refusals::default();
        for (shard, _) in self.positions.shards(layout)? {
            if let Some(head) = shard.ledger {
                refusals.read(&home, &self.names.log(shard.shard), &head)?;
            }
        }
        Ok(refusals)
    }
}

/// Ids of the keys of epochs that are over: what they sealed opens nowhere.
fn ended(keys: &KeyHome) -> BTreeSet<String> {
    let epochs = keys.store().into_iter().flat_map(|store| &store.quarantine);
    epochs.filter(|epoch| !epoch.is_live()).map(|epoch| epoch.id.clone()).collect()
}

/// Refusals, and what came of trying again, as committed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    /// The only places that are asked about; none: all there are.
    only: Option<BTreeSet<At>>,
    /// Named by a committed intent, with their codes.
    refused: BTreeMap<At, String>,
    /// The last word on each.
    outcomes: BTreeMap<At, Outcome>,
    /// How many attempts there were at each: a new one is told from an old one by it.
    attempts: BTreeMap<At, usize>,
}

impl Refusals {
    /// What is known of some places, in the memory that these take.
    pub(crate) fn only(places: impl IntoIterator<Item = At>) -> Self {
        Self { only: Some(places.into_iter().collect()), ..Self::default() }
    }

    fn asks(&self, at: &At) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(at))
    }

    /// Takes in one log, to `head` and no further, for what lies behind it is not committed. Of the log
    /// no more than one transaction is in memory at a time.
    pub(crate) fn read(&mut self, home: &Path, name: &str, head: &Head) -> Result<(), LedgerFault> {
        let mut taking = Taking::new(self, head.size);
        log::read_each(home, name, Some(head), |index, entry| taking.take(index, entry))?;
        taking.end();
        Ok(())
    }

    /// As [`Self::read`], of a log that lies in memory.
    #[cfg(test)]
    pub(crate) fn take(&mut self, entries: impl IntoIterator<Item = Entry>, size: u64) {
        let mut taking = Taking::new(self, size);
        (0..).zip(entries).for_each(|(index, entry)| taking.take(index, entry));
        taking.end();
    }

    fn tried(&mut self, at: At, outcome: Outcome) {
        if !self.asks(&at) {
            return;
        }
        *self.attempts.entry(at.clone()).or_default() += 1;
        // Logs are read one after the other, and the partition may have had another owner later: what another log
        // says does not undo a crossing.
        if !self.outcomes.get(&at).is_some_and(Outcome::is_done) {
            self.outcomes.insert(at, outcome);
        }
    }

    /// The last word on a record.
    pub(crate) fn outcome(&self, at: &At) -> Option<&Outcome> {
        self.outcomes.get(at)
    }

    /// A committed intent refused it.
    pub(crate) fn is_refused(&self, at: &At) -> bool {
        self.refused.contains_key(at)
    }

    /// No record of this pipeline was ever refused with it, and none of any pipeline will be.
    fn is_no_code(&self, code: &str) -> bool {
        let of_decoder = QuarantineCode::ALL.iter().map(|known| known.code());
        let of_stages = TransformFault::ALL.iter().map(TransformFault::code);
        !code.starts_with("gate_")
            && !BY_TARGET.contains(&code)
            && !BY_PLAN.contains(&code)
            && !of_decoder.chain(of_stages).any(|known| known == code)
            && !self.refused.values().any(|known| known == code)
    }

    /// What was refused and is not done with.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &At> {
        let done = |at: &At| self.outcome(at).is_some_and(Outcome::is_done);
        self.refused.keys().filter(move |at| !done(at))
    }

    /// Of what waits and has no copy that is `known`: as many as there is room for, those that were tried
    /// least; and what is left. What a newer row of an unknown state stands before is tried where it is named.
    fn uncopied(&self, wanted: &Wanted, known: &BTreeSet<At>, room: usize) -> (Vec<At>, Vec<At>) {
        let is_named = |at: &At| wanted.records.contains(at);
        let asked = |at: &&At| wanted.is_asked(self, at) && !known.contains(*at);
        let (mut tried, mut left): (Vec<&At>, Vec<&At>) = self
            .waiting()
            .filter(asked)
            .partition(|at| is_named(at) || self.outcome(at) != Some(&Outcome::NewerUnknown));
        tried.sort_by_key(|at| self.attempts(at));
        left.extend(tried.split_off(room.min(tried.len())));
        (tried.into_iter().cloned().collect(), left.into_iter().cloned().collect())
    }

    fn attempts(&self, at: &At) -> usize {
        self.attempts.get(at).copied().unwrap_or(0)
    }

    fn state(&self, at: &At) -> State {
        match self.outcomes.get(at) {
            Some(outcome) => State::Tried(outcome.clone()),
            None if self.is_refused(at) => State::Waiting,
            None => State::Leftover,
        }
    }
}

/// One log as it is taken in. An intent is open until its outcome stands there, and no other begins
/// before that: what it says is kept back until the next one shows that it was not voided.
struct Taking<'r> {
    refusals: &'r mut Refusals,
    /// Entries from here on are not covered by the target's position.
    size: u64,
    /// Refusals that belong to the next intent.
    before: Vec<RefusedEntry>,
    open: Option<(u64, Vec<RefusedEntry>, Vec<At>)>,
}

impl<'r> Taking<'r> {
    fn new(refusals: &'r mut Refusals, size: u64) -> Self {
        Self { refusals, size, before: Vec::new(), open: None }
    }

    fn take(&mut self, index: u64, entry: Entry) {
        match entry {
            Entry::Refused { refused } => self.before.extend(refused),
            Entry::Intent(intent) => {
                self.end();
                let mut refused = std::mem::take(&mut self.before);
                if index < self.size {
                    refused.extend(intent.refused);
                    let redriven = intent.redriven.into_iter();
                    let at = |r: RedrivenEntry| At {
                        topic: r.topic,
                        partition: r.partition,
                        offset: r.offset,
                    };
                    self.open = Some((index, refused, redriven.map(at).collect()));
                }
            }
            Entry::Void { of, .. } => self.open = self.open.take().filter(|(open, ..)| *open != of),
            Entry::Committed { .. } => self.end(),
            Entry::Redriven { topic, partition, offset, outcome } => {
                self.refusals.tried(At { topic, partition, offset }, Outcome::of(&outcome));
            }
            _ => {}
        }
    }

    /// What is open stands.
    fn end(&mut self) {
        let Some((_, refused, redriven)) = self.open.take() else { return };
        let at = |r: RefusedEntry| {
            (At { topic: r.topic, partition: r.partition, offset: r.offset }, r.code)
        };
        let mut refused: Vec<_> = refused.into_iter().map(at).collect();
        refused.retain(|(at, _)| self.refusals.asks(at));
        self.refusals.refused.extend(refused);
        redriven.into_iter().for_each(|at| self.refusals.tried(at, Outcome::Crossed));
    }
}

/// What was set aside and is not done with: sums of all of it, and the first of it in the order of the
/// source. No more of the topic is in memory at a time than a line for each that is shown, and a mark for
/// each that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// All that follow together.
    pub total: usize,
    /// Can be tried again.
    pub waits: usize,
    pub leftovers: usize,
    /// Nobody opens them any more.
    pub closed: usize,
    /// How many of each code.
    pub codes: BTreeMap<String, usize>,
    /// Whether there are more than can be counted: then sums are of the first that were read.
    pub more: bool,
    /// How many of them `records` has not.
    pub left_out: usize,
    pub records: Vec<SetAside>,
}

/// Records of a topic as they are read, one after the other.
struct Gathered {
    limit: usize,
    counted_max: usize,
    /// By the digest of a key: its state and its code.
    marks: HashMap<u64, (Class, u16)>,
    hasher: RandomState,
    codes: Vec<String>,
    records: BTreeMap<At, SetAside>,
    more: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Waits,
    Leftover,
    Closed,
}

impl Class {
    fn of(state: &State) -> Self {
        match state {
            State::Waiting | State::Tried(_) => Self::Waits,
            State::Leftover => Self::Leftover,
            State::EpochEnded | State::KeyUnknown | State::Unreadable => Self::Closed,
        }
    }
}

impl Gathered {
    fn new(limit: usize, counted_max: usize) -> Self {
        Self {
            limit,
            counted_max,
            marks: HashMap::new(),
            hasher: RandomState::new(),
            codes: Vec::new(),
            records: BTreeMap::new(),
            more: false,
        }
    }

    /// The next record under a key; none: what was under it is no more.
    fn take(&mut self, key: &[u8], record: Option<SetAside>) {
        let digest = self.hasher.hash_one(key);
        let Some(record) = record else {
            self.marks.remove(&digest);
            if let Some(at) = std::str::from_utf8(key).ok().and_then(At::of_key) {
                self.records.remove(&at);
            }
            return;
        };
        if self.marks.len() < self.counted_max || self.marks.contains_key(&digest) {
            let code = self.code(&record.code);
            self.marks.insert(digest, (Class::of(&record.state), code));
        } else {
            self.more = true;
        }
        self.records.insert(record.at.clone(), record);
        if self.records.len() > self.limit {
            self.records.pop_last();
        }
    }

    /// Codes are words of the program: there are few.
    fn code(&mut self, code: &str) -> u16 {
        let known = self.codes.iter().position(|known| known == code).unwrap_or_else(|| {
            self.codes.push(code.to_owned());
            self.codes.len() - 1
        });
        u16::try_from(known).unwrap_or(u16::MAX)
    }

    fn listing(self) -> Listing {
        let count = |class| self.marks.values().filter(|(of, _)| *of == class).count();
        let mut codes: BTreeMap<String, usize> = BTreeMap::new();
        for (_, code) in self.marks.values() {
            if let Some(code) = self.codes.get(usize::from(*code)).filter(|code| *code != NOTHING) {
                *codes.entry(code.clone()).or_default() += 1;
            }
        }
        Listing {
            total: self.marks.len(),
            waits: count(Class::Waits),
            leftovers: count(Class::Leftover),
            closed: count(Class::Closed),
            codes,
            more: self.more,
            left_out: self.marks.len().saturating_sub(self.records.len()),
            records: self.records.into_values().collect(),
        }
    }
}

/// What a list says of a record.
fn set_aside(found: Found, at_ms: i64, refusals: &Refusals) -> SetAside {
    let (at, code, whole, state) = match found {
        Found::Open(record) => {
            let (topic, partition) = (record.topic, record.partition);
            let at = At { topic, partition, offset: record.offset };
            let state = refusals.state(&at);
            (at, record.code, record.record.is_some(), state)
        }
        // The ledger has the code as well.
        Found::Closed(at, state) => {
            let code = refusals.refused.get(&at).cloned();
            (at, code.unwrap_or_else(|| NOTHING.to_owned()), false, state)
        }
    };
    // A folder's records have no time of their own.
    let since = (at_ms >= 0).then(|| jiff::Timestamp::from_millisecond(at_ms).ok()).flatten();
    let since = since
        .map_or_else(|| NOTHING.to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    SetAside { state, at, code, since, whole }
}

/// What was set aside and is not done with. It needs no live release, and changes nothing.
pub fn list(
    place: &Path,
    file: &Path,
    table: Option<&str>,
    limit: usize,
) -> Result<Listing, RunFault> {
    let (place, pipeline) = config::load_table(place, file, table).map_err(RunFault::Findings)?;
    list_of(place, pipeline, limit)
}

/// As [`list`], of each pipeline of a file.
pub fn list_all(
    place: &Path,
    file: &Path,
    limit: usize,
) -> Result<Vec<(String, Listing)>, RunFault> {
    let (place, all) = config::load_all(place, file).map_err(RunFault::Findings)?;
    all.into_iter().map(|one| Ok((one.name.clone(), list_of(place.clone(), one, limit)?))).collect()
}

fn list_of(place: Place, pipeline: Pipeline, limit: usize) -> Result<Listing, RunFault> {
    let desk = Desk::open(place, pipeline)?;
    let layout = desk.layout()?;
    let refusals = desk.refusals(&layout)?;
    desk.read(&layout, &refusals, limit.min(LIST_MAX), &|_| true)
}

/// Which of the waiting records are tried again: all, those of a code, or those named.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub code: Option<String>,
    pub records: Vec<At>,
}

impl Wanted {
    fn wants(&self, record: &SetAside) -> bool {
        record.state.waits() && self.names(record)
    }

    /// Of what the ledger says was refused.
    fn is_asked(&self, refusals: &Refusals, at: &At) -> bool {
        self.code.as_ref().is_none_or(|code| refusals.refused.get(at) == Some(code))
            && (self.records.is_empty() || self.records.contains(at))
    }

    /// Whether it is one of those that are asked for, whatever can be done about it.
    fn names(&self, record: &SetAside) -> bool {
        record.state != State::Leftover
            && self.code.as_ref().is_none_or(|code| *code == record.code)
            && (self.records.is_empty() || self.records.contains(&record.at))
    }
}

/// What refuses a row before its stages can.
const BY_PLAN: [&str; 2] = ["null_key", "statistic_missing"];

/// Of a code that is none: which one was meant, and which there are.
fn no_code(refusals: &Refusals, code: &str) -> RunFault {
    let found: BTreeSet<&str> = refusals.refused.values().map(String::as_str).collect();
    let found: Vec<&str> = found.into_iter().collect();
    let next = match (nearest(code, &found), found.is_empty()) {
        (_, true) => "nothing was set aside: leave `--code` out".to_owned(),
        (Some(near), false) => format!("`--code {near}`; refused were: {}", found.join(", ")),
        (None, false) => format!("one that was refused: {}", found.join(", ")),
    };
    let shown = printable(code, false, 1);
    RunFault::File(format!("no record is set aside with the code `{shown}`\n  next: {next}"))
}

/// What became of records that were to be tried again.
pub struct Redriven {
    /// `None`: not tried in time.
    pub tried: Vec<(At, Option<Outcome>)>,
    /// Why the run ended that tried them, where it did not end well: told beside what it did.
    pub ended: Option<RunFault>,
}

/// Has records tried again by the process that runs the pipeline, or, where none does, by this
/// one. Gives what became of each; `stop` ends the wait, and the request with it.
pub fn redrive(
    place_file: &Path,
    file: &Path,
    table: Option<&str>,
    wanted: &Wanted,
    stop: &AtomicBool,
) -> Result<Redriven, RunFault> {
    let (place, pipeline) =
        config::load_table(place_file, file, table).map_err(RunFault::Findings)?;
    let desk = Desk::open(place, pipeline)?;
    aggregate::of_single_rows(&desk.pipeline, "`quarantine redrive`")?;
    may_cross(&desk)?;
    let layout = desk.layout()?;
    let refusals = desk.refusals(&layout)?;
    if let Some(code) = wanted.code.as_ref().filter(|code| refusals.is_no_code(code)) {
        return Err(no_code(&refusals, code));
    }
    let is_ended = |record: &SetAside| record.state == State::EpochEnded && wanted.names(record);
    // Of what nobody is to open any more there is no trying: the last copy under a key says which.
    let closed = RefCell::new(BTreeSet::new());
    let asked = |record: &SetAside| {
        match record.state {
            State::EpochEnded | State::KeyUnknown => closed.borrow_mut().insert(record.at.clone()),
            // Anybody's, under this one's key: it says nothing of this one.
            State::Unreadable => false,
            _ => closed.borrow_mut().remove(&record.at),
        };
        wanted.wants(record) || is_ended(record)
    };
    let found = desk.read(&layout, &refusals, REQUEST_MAX, &asked)?;
    let at = |record: &SetAside| record.at.clone();
    let (ended, waiting): (Vec<_>, Vec<_>) = found.records.iter().partition(|r| is_ended(r));
    let mut records: BTreeSet<At> = waiting.into_iter().map(at).collect();
    // The source has the record and the ledger knows it, though the topic has no copy: it was made anew, or
    // its retention took it.
    if found.left_out > 0 || found.more {
        return Err(RunFault::File(format!(
            "{} records are asked for, at most {REQUEST_MAX} are tried at a time\n  next: `--code` or \
             `--record` name fewer",
            found.total
        )));
    }
    let mut copied = closed.into_inner();
    copied.extend(records.iter().cloned());
    let (tried, left) = refusals.uncopied(wanted, &copied, REQUEST_MAX - records.len());
    records.extend(tried);
    // It waits still, and is told with what is known of it.
    let left = left.into_iter().take(REQUEST_MAX);
    let left: Vec<_> = left.map(|at| (at.clone(), refusals.outcome(&at).cloned())).collect();
    let ended: Vec<_> = ended.into_iter().map(|r| (at(r), Some(Outcome::EpochEnded))).collect();
    let known = |at: &At| records.contains(at) || ended.iter().any(|(ended, _)| ended == at);
    if let Some(unknown) = wanted.records.iter().find(|at| !known(at)) {
        return Err(RunFault::File(format!(
            "{unknown} does not wait in quarantine\n  next: `douane quarantine list` shows what does"
        )));
    }
    let untried = ended.into_iter().chain(left);
    if records.is_empty() {
        return Ok(Redriven { tried: untried.collect(), ended: None });
    }
    let before = desk.refusals(&desk.layout()?)?;
    let request = Requested::write(&desk.pipeline, &Request { records: records.clone() })?;
    let answered =
        |now: &Refusals| records.iter().filter(|at| now.attempts(at) > before.attempts(at)).count();
    let stop = Stop::new(stop);
    let wait = |ended: &dyn Fn() -> bool| -> Result<(), RunFault> {
        let (mut seen, mut since) = (0, Instant::now());
        while !stop.is_set() && !ended() && since.elapsed() < PATIENCE {
            let now = answered(&desk.refusals(&desk.layout()?)?);
            if now == records.len() {
                break;
            }
            if now > seen {
                (seen, since) = (now, Instant::now());
            }
            stop.rest(LOOK);
        }
        Ok(())
    };
    let ended = if somebody_runs(&desk) {
        wait(&|| false)?;
        None
    } else {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // This pipeline alone: nobody asked for its neighbours to cross.
            let running = scope.spawn(|| {
                let Desk { place, pipeline, .. } = &desk;
                run::one(place_file, file, place, pipeline, &done, Voice::standard_error())
            });
            let waited = wait(&|| running.is_finished());
            done.store(true, Ordering::Relaxed);
            let ran = running.join().unwrap_or(Err(RunFault::ThreadDied));
            waited.map(|()| ran.err())
        })?
    };
    drop(request);
    let after = desk.refusals(&desk.layout()?)?;
    let outcome = |at: &At| {
        let new = after.attempts(at) > before.attempts(at);
        after.outcome(at).filter(|_| new).cloned()
    };
    let tried: Vec<_> = records.iter().map(|at| (at.clone(), outcome(at))).collect();
    // Where it did nothing of what it was asked for, why it ended is all that there is to say.
    match ended {
        Some(fault) if tried.iter().all(|(_, outcome)| outcome.is_none()) => Err(fault),
        ended => Ok(Redriven { tried: tried.into_iter().chain(untried).collect(), ended }),
    }
}

/// Nothing crosses under a one-shot release that is through, what it set aside neither.
fn may_cross(desk: &Desk) -> Result<(), RunFault> {
    let envelope = release::envelope(&desk.pipeline)?;
    match release::state(&desk.place, &desk.pipeline, &envelope)? {
        ReleaseState::Closed { set_aside } => {
            Err(RunFault::OneShot { what: once::through(set_aside) })
        }
        _ => Ok(()),
    }
}

/// The request file, there as long as somebody waits for its answer.
struct Requested(PathBuf);

impl Requested {
    fn write(pipeline: &Pipeline, request: &Request) -> Result<Self, RunFault> {
        let file = Request::file(pipeline);
        let aside = file.with_extension("tmp");
        let fault =
            |error: std::io::Error| RunFault::File(format!("{}: {}", file.display(), error.kind()));
        let bytes = serde_json::to_vec_pretty(request).unwrap_or_default();
        File::create(&aside)
            .and_then(|mut out| out.write_all(&bytes))
            .and_then(|()| std::fs::rename(&aside, &file))
            .map_err(fault)?;
        Ok(Self(file))
    }
}

impl Drop for Requested {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A process of this machine runs the pipeline: it holds the lock on the ledger's directory.
fn somebody_runs(desk: &Desk) -> bool {
    let home = ledger_home(&desk.place.ledger_dir, &desk.pipeline.name);
    let Ok(dir) = File::open(home) else { return false };
    matches!(dir.try_lock(), Err(std::fs::TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use douane_ledger::log::{Intent, RedrivenEntry, RefusedEntry};

    use super::*;

    fn at(offset: i64) -> At {
        At { topic: "t".into(), partition: 0, offset }
    }

    fn refused(offset: i64) -> RefusedEntry {
        RefusedEntry { topic: "t".into(), partition: 0, offset, code: "number".into() }
    }

    fn tried(offset: i64, outcome: &str) -> Entry {
        let outcome = outcome.to_owned();
        Entry::Redriven { topic: "t".into(), partition: 0, offset, outcome }
    }

    fn crossed(offset: i64) -> Entry {
        let redriven = vec![RedrivenEntry { topic: "t".into(), partition: 0, offset }];
        Entry::Intent(Intent { redriven, ..Intent::default() })
    }

    fn taken(entries: Vec<Entry>, size: u64) -> Refusals {
        let mut refusals = Refusals::default();
        refusals.take(entries, size);
        refusals
    }

    #[test]
    fn only_committed_refusals_wait_and_only_committed_crossings_are_done() {
        let intent = |offsets: &[i64]| {
            let refused = offsets.iter().map(|o| refused(*o)).collect();
            Entry::Intent(Intent { refused, ..Intent::default() })
        };
        let refusals = taken(
            vec![
                Entry::Refused { refused: vec![refused(1)] },
                intent(&[2]),
                Entry::Committed { of: 1 },
                intent(&[3]),
                Entry::Void { of: 3, why: "x".into() },
                tried(1, "superseded"),
                crossed(2),
                Entry::Void { of: 6, why: "x".into() },
                intent(&[4]),
            ],
            8,
        );
        let states: Vec<State> = (1..5).map(|offset| refusals.state(&at(offset))).collect();
        let superseded = State::Tried(Outcome::Superseded);
        assert_eq!(states, [superseded, State::Waiting, State::Leftover, State::Leftover]);
        assert_eq!(refusals.outcome(&at(2)), None, "the crossing was void");
    }

    #[test]
    fn what_is_known_of_some_places_is_what_all_is_known_of_them() {
        let refused = (0..20).map(refused).collect();
        let log = [
            Entry::Intent(Intent { refused, ..Intent::default() }),
            Entry::Committed { of: 0 },
            tried(3, "number"),
            tried(4, "superseded"),
            tried(40, "not_quarantined"),
            crossed(5),
            Entry::Committed { of: 5 },
        ];
        let all = taken(log.to_vec(), 7);
        let asked = [3, 4, 5, 6, 30, 40].map(at);
        let mut some = Refusals::only(asked.clone());
        some.take(log, 7);
        for place in &asked {
            assert_eq!(some.is_refused(place), all.is_refused(place), "{place}");
            assert_eq!(some.outcome(place), all.outcome(place), "{place}");
            assert_eq!(some.attempts(place), all.attempts(place), "{place}");
        }
        // The control: of others nothing is kept.
        assert_eq!((all.refused.len(), some.refused.len()), (20, 4));
        assert!(all.is_refused(&at(7)) && !some.is_refused(&at(7)));
    }

    #[test]
    fn what_has_no_copy_is_tried_where_there_is_room_and_the_least_tried_first() {
        let refused = (0..6).map(refused).collect();
        let log = [
            Entry::Intent(Intent { refused, ..Intent::default() }),
            Entry::Committed { of: 0 },
            tried(0, "number"),
            tried(1, "newer_unknown"),
            tried(2, "superseded"),
        ];
        let all = taken(log.to_vec(), 5);
        let known = BTreeSet::from([at(3)]);
        let wanted = |records: &[i64]| Wanted {
            code: None,
            records: records.iter().map(|offset| at(*offset)).collect(),
        };
        let found = |records: &[i64], room| all.uncopied(&wanted(records), &known, room);
        let places = |offsets: &[i64]| offsets.iter().copied().map(at).collect::<Vec<_>>();
        for (named, room, tried, left) in [
            (&[][..], 10, &[4, 5, 0][..], &[1][..]),
            (&[], 2, &[4, 5], &[1, 0]),
            (&[], 0, &[], &[1, 4, 5, 0]),
            (&[1, 2, 3, 4], 10, &[4, 1], &[]),
        ] {
            assert_eq!(found(named, room), (places(tried), places(left)), "{named:?} {room}");
        }
    }

    #[test]
    fn nothing_that_is_tried_afterwards_undoes_a_crossing() {
        let intent = |offset| {
            let refused = vec![refused(offset)];
            Entry::Intent(Intent { refused, ..Intent::default() })
        };
        let void = |of| Entry::Void { of, why: "x".into() };
        // A crossing that is committed, and one that is not, each before another attempt.
        let log = vec![
            intent(1),
            Entry::Committed { of: 0 },
            crossed(1),
            Entry::Committed { of: 2 },
            tried(1, "number"),
            intent(2),
            void(5),
            intent(3),
        ];
        let refusals = taken(log.clone(), 8);
        assert_eq!((refusals.attempts(&at(1)), refusals.waiting().count()), (2, 1));
        assert_eq!(refusals.outcome(&at(1)), Some(&Outcome::Crossed));
        assert!(!refusals.is_refused(&at(2)) && refusals.is_refused(&at(3)));
        // Nobody committed what lies behind the position.
        let refusals = taken(log, 7);
        assert!(!refusals.is_refused(&at(3)));
        assert!(refusals.is_refused(&at(1)));
    }

    #[test]
    fn a_code_that_is_none_is_refused_with_the_nearest() {
        let said = |of: &Refusals, code| of.is_no_code(code).then(|| no_code(of, code).to_string());
        let nothing = taken(Vec::new(), 0);
        assert!(said(&nothing, "numbr").unwrap().ends_with("leave `--code` out"));
        let refused = Intent { refused: vec![refused(1)], ..Intent::default() };
        let one = taken(vec![Entry::Intent(refused)], 1);
        let near = said(&one, "numbr").unwrap();
        assert!(near.ends_with("next: `--code number`; refused were: number"), "{near}");
        let far = said(&one, "nonsense").unwrap();
        assert!(far.ends_with("next: one that was refused: number"), "{far}");
        // The control: what could be set aside, and was not, is no mistake.
        for code in ["number", "malformed_value", "outside_alphabet", "gate_token", "too_large"] {
            assert_eq!(said(&one, code), None, "{code}");
        }
    }

    #[test]
    fn a_list_shows_the_first_and_counts_all() {
        let record = |offset: i64, code: &str, state: State| SetAside {
            at: at(offset),
            code: code.to_owned(),
            since: "-".to_owned(),
            whole: true,
            state,
        };
        let key = |offset: i64| format!("t/0/{offset}").into_bytes();
        let mut gathered = Gathered::new(3, 100);
        for offset in (0..50).rev() {
            let state = if offset % 5 == 0 { State::Leftover } else { State::Waiting };
            let code = if offset % 2 == 0 { "number" } else { "too_large" };
            gathered.take(&key(offset), Some(record(offset, code, state)));
            assert!(gathered.records.len() <= 3, "as many as are shown are kept");
        }
        // The last under a key counts, once; what is taken back does not.
        gathered.take(&key(7), Some(record(7, "number", State::EpochEnded)));
        gathered.take(&key(1), None);
        gathered.take(&key(40), None);
        let listing = gathered.listing();
        let shown: Vec<i64> = listing.records.iter().map(|r| r.at.offset).collect();
        assert_eq!(shown, [0, 2]);
        let sums = (listing.total, listing.waits, listing.leftovers, listing.closed);
        assert_eq!(sums, (48, 38, 9, 1));
        let codes: Vec<(&str, usize)> =
            listing.codes.iter().map(|(code, n)| (code.as_str(), *n)).collect();
        assert_eq!(codes, [("number", 25), ("too_large", 23)]);
        assert_eq!((listing.left_out, listing.more), (46, false));
        // Control: of more places than are counted it is said.
        let mut few = Gathered::new(10, 4);
        for offset in 0..6 {
            few.take(&key(offset), Some(record(offset, "number", State::Waiting)));
        }
        few.take(&key(2), Some(record(2, "number", State::Leftover)));
        let listing = few.listing();
        assert_eq!((listing.total, listing.leftovers, listing.more), (4, 1, true));
    }

    #[test]
    fn the_last_attempt_counts() {
        let twice = vec![tried(1, "number"), tried(1, "number"), crossed(1)];
        let refusals = taken(twice, 3);
        assert_eq!(refusals.outcome(&at(1)), Some(&Outcome::Crossed));
        assert_eq!(refusals.attempts(&at(1)), 3);
    }

    #[test]
    fn a_crossing_is_the_last_word_in_whatever_order_logs_are_read() {
        let refused = Entry::Intent(Intent { refused: vec![refused(1)], ..Intent::default() });
        let first_owner = vec![refused, Entry::Committed { of: 0 }, tried(1, "number")];
        let second_owner = vec![crossed(1), Entry::Committed { of: 0 }];
        for logs in [[&first_owner, &second_owner], [&second_owner, &first_owner]] {
            let mut refusals = Refusals::default();
            logs.into_iter().for_each(|log| refusals.take(log.clone(), log.len() as u64));
            assert_eq!(refusals.outcome(&at(1)), Some(&Outcome::Crossed));
            assert_eq!(refusals.attempts(&at(1)), 2);
        }
        // The control: what stays may still cross.
        let refusals = taken(vec![tried(1, "number"), crossed(1)], 2);
        assert_eq!(refusals.outcome(&at(1)), Some(&Outcome::Crossed));
    }

    #[test]
    fn a_request_names_each_record_once() {
        let twice = format!(r#"{{"records":[{0},{0}]}}"#, serde_json::to_string(&at(7)).unwrap());
        let request: Request = serde_json::from_str(&twice).unwrap();
        assert_eq!(request.records, BTreeSet::from([at(7)]));
    }

    #[test]
    fn places_are_read_as_they_are_shown() {
        let at = At { topic: "crm.public.customers".into(), partition: 3, offset: 8812 };
        assert_eq!(at.to_string().parse(), Ok(at));
        for bad in ["", "t", "t[1]", "t[x]@1", "t[1]@", "t/1/2"] {
            assert!(bad.parse::<At>().is_err(), "{bad}");
        }
        // A folder's source may have a path for a topic.
        let at = At { topic: "in/a.jsonl".into(), partition: 0, offset: 7 };
        assert_eq!(At::of_key("in/a.jsonl/0/7"), Some(at));
        assert!(["", "t", "t/1", "t/x/1", "t/1/x"].iter().all(|bad| At::of_key(bad).is_none()));
    }
}
