//! What was set aside: `quarantine list`, and the request that has it tried again.
//!
//! A request is a file beside the release. The shard that owns a record's partition finds it
//! within a second and tries the record between two of its turns (`shard/redrive.rs`): nobody else
//! could say that no newer record of the key has crossed in between. What came of it stands in the
//! ledger, where the asker reads it.

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
use douane_ledger::log::{self, Entry};
use douane_ledger::release::State as ReleaseState;
use douane_schemas::keys::Key;
use serde::{Deserialize, Serialize};

use crate::aggregate;
use crate::config::{self, Pipeline, Place};
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
use crate::report::Voice;
use crate::run;
use crate::stop::Stop;

/// Records in one request at most: the file is read once a second.
const REQUEST_MAX: usize = 10_000;
/// Records of a list unless said, and at most.
pub const LIST_DEFAULT: usize = 1_000;
pub const LIST_MAX: usize = 10_000;
/// Places that are counted: some 40 bytes each.
const COUNTED_MAX: usize = 1_000_000;
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
    pub records: Vec<At>,
}

impl Request {
    /// Beside the release, which it needs.
    pub fn file(pipeline: &Pipeline) -> PathBuf {
        pipeline.release.with_extension("redrive.json")
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
    /// Its place is its key; of the rest nothing can be read.
    Closed(At, State),
}

impl Desk {
    fn open(place: &Path, file: &Path) -> Result<Self, RunFault> {
        let (place, pipeline) = config::load(place, file).map_err(RunFault::Findings)?;
        let keys = keys::open(&place)?;
        let names = Names::of(&place, &pipeline);
        let edges = Edges::of(&place, &pipeline);
        let topic = |admin: Result<Box<dyn Admin>, EdgeFault>, side: &str, name: &str| {
            let unreachable = RunFault::unreachable(&format!("{side} cluster"));
            let found = admin.and_then(|admin| admin.topic(name));
            found.map_err(unreachable)?.ok_or_else(|| RunFault::missing(name, side))
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
        told: &Told,
        limit: usize,
        wants: &dyn Fn(&SetAside) -> bool,
    ) -> Result<Listing, RunFault> {
        // A seal names the shard that made it: any that there ever was.
        let shards = layout.shards.iter().map(|head| head.shard + 1).chain([layout.tasks]).max();
        let mut gathered = Gathered::new(limit, COUNTED_MAX);
        for partition in 0..self.partitions {
            let mut outcome = Ok(());
            let mut take = |record: &douane_schemas::record::RawRecord<'_>| {
                let Some(key) = record.key else { return ControlFlow::Continue(()) };
                let found = record.value.map(|value| {
                    let found = self.unseal(key, value, shards.unwrap_or(1))?;
                    Ok::<_, RunFault>(set_aside(found, record.timestamp_ms, told))
                });
                match found.transpose() {
                    Ok(found) => {
                        // Done with: its copy goes with the topic's retention.
                        let open =
                            |r: &SetAside| !told.outcome(&r.at).is_some_and(Outcome::is_done);
                        gathered.take(key, found.filter(|record| open(record) && wants(record)));
                        ControlFlow::Continue(())
                    }
                    Err(fault) => {
                        outcome = Err(fault);
                        ControlFlow::Break(())
                    }
                }
            };
            self.edges
                .sovereign
                .scan(&self.names.quarantine, partition, 0, TRY * 6, &mut take)
                .map_err(RunFault::unreachable("sovereign cluster"))?;
            outcome?;
        }
        Ok(gathered.listing())
    }

    fn unseal(&self, key: &[u8], sealed: &[u8], shards: u32) -> Result<Found, RunFault> {
        let unreadable = |why: String| RunFault::Unreadable { what: "quarantine", why };
        let key = std::str::from_utf8(key).map_err(|_| unreadable("its key is no text".into()))?;
        let by =
            douane_gate::sealed_by(sealed).ok_or_else(|| unreadable("it is no seal".into()))?;
        let Some(sealer) = self.keys.iter().find(|key| key.id() == by) else {
            let state = match self.ended.contains(&by.to_string()) {
                true => State::EpochEnded,
                false => State::KeyUnknown,
            };
            let at = At::of_key(key).ok_or_else(|| unreadable("its key is no place".into()))?;
            return Ok(Found::Closed(at, state));
        };
        let mut fault = None;
        for shard in 0..shards {
            let context = SealContext {
                zone: self.place.sovereign.zone.clone(),
                cluster_id: self.place.sovereign.id.clone(),
                topic_id: self.topic_id.clone(),
                shard,
            };
            match douane_gate::open(sealer, Destination::Quarantine, key, sealed, &context) {
                Ok(plain) => {
                    let read = read_quarantined(&plain).map(Found::Open);
                    return read.map_err(|f| unreadable(f.to_string()));
                }
                Err(found) => fault = Some(found),
            }
        }
        Err(unreadable(fault.map_or_else(String::new, |fault| fault.to_string())))
    }

    /// What the ledgers of all shards, as far as the target names them, say.
    fn told(&self, layout: &Layout) -> Result<Told, RunFault> {
        let home = ledger_home(&self.place.ledger_dir, &self.pipeline.name);
        journals::refresh(&self.place, &self.names, &self.pipeline.name)?;
        let mut told = Told::default();
        for (shard, _) in self.positions.shards(layout)? {
            if let Some(head) = shard.ledger {
                let entries = log::read(&home, &self.names.log(shard.shard), Some(&head))?;
                told.take(&entries, head.size);
            }
        }
        Ok(told)
    }
}

/// Ids of the keys of epochs that are over: what they sealed opens nowhere.
fn ended(keys: &KeyHome) -> BTreeSet<String> {
    let epochs = keys.store().into_iter().flat_map(|store| &store.quarantine);
    epochs.filter(|epoch| !epoch.is_live()).map(|epoch| epoch.id.clone()).collect()
}

/// Refusals, and what came of trying again, as committed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Named by a committed intent, with their codes.
    refused: BTreeMap<At, String>,
    /// The last word on each.
    outcomes: BTreeMap<At, Outcome>,
    /// How many attempts there were at each: a new one is told from an old one by it.
    attempts: BTreeMap<At, usize>,
}

impl Told {
    /// Takes in one log; entries from `size` on are not covered by the target's position.
    pub(crate) fn take(&mut self, entries: &[(u64, Entry)], size: u64) {
        let void: BTreeSet<u64> = entries
            .iter()
            .filter_map(|(_, e)| if let Entry::Void { of, .. } = e { Some(*of) } else { None })
            .collect();
        let mut before = Vec::new();
        for (index, entry) in entries {
            match entry {
                Entry::Refused { refused } => before.extend(refused.iter().cloned()),
                Entry::Intent(intent) => {
                    let refused = std::mem::take(&mut before);
                    if *index >= size || void.contains(index) {
                        continue;
                    }
                    self.refused.extend(refused.iter().chain(&intent.refused).map(|r| {
                        let (topic, partition, offset) = (r.topic.clone(), r.partition, r.offset);
                        (At { topic, partition, offset }, r.code.clone())
                    }));
                    for r in &intent.redriven {
                        let at =
                            At { topic: r.topic.clone(), partition: r.partition, offset: r.offset };
                        self.tried(at, Outcome::Crossed);
                    }
                }
                Entry::Redriven { topic, partition, offset, outcome } => {
                    let at = At { topic: topic.clone(), partition: *partition, offset: *offset };
                    self.tried(at, Outcome::of(outcome));
                }
                _ => {}
            }
        }
    }

    fn tried(&mut self, at: At, outcome: Outcome) {
        *self.attempts.entry(at.clone()).or_default() += 1;
        self.outcomes.insert(at, outcome);
    }

    /// The last word on a record.
    pub(crate) fn outcome(&self, at: &At) -> Option<&Outcome> {
        self.outcomes.get(at)
    }

    /// A committed intent refused it.
    pub(crate) fn is_refused(&self, at: &At) -> bool {
        self.refused.contains_key(at)
    }

    /// What was refused and is not done with.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &At> {
        let done = |at: &At| self.outcome(at).is_some_and(Outcome::is_done);
        self.refused.keys().filter(move |at| !done(at))
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
            State::EpochEnded | State::KeyUnknown => Self::Closed,
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
            if let Some(code) = self.codes.get(usize::from(*code)) {
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
fn set_aside(found: Found, at_ms: i64, told: &Told) -> SetAside {
    let (at, code, whole, state) = match found {
        Found::Open(record) => {
            let (topic, partition) = (record.topic, record.partition);
            let at = At { topic, partition, offset: record.offset };
            let state = told.state(&at);
            (at, record.code, record.record.is_some(), state)
        }
        // The ledger has the code as well.
        Found::Closed(at, state) => {
            let code = told.refused.get(&at).cloned();
            (at, code.unwrap_or_else(|| "-".to_owned()), false, state)
        }
    };
    // A folder's records have no time of their own.
    let since = (at_ms >= 0).then(|| jiff::Timestamp::from_millisecond(at_ms).ok()).flatten();
    let since = since
        .map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    SetAside { state, at, code, since, whole }
}

/// What was set aside and is not done with. It needs no live release, and changes nothing.
pub fn list(place: &Path, file: &Path, limit: usize) -> Result<Listing, RunFault> {
    let desk = Desk::open(place, file)?;
    let layout = desk.layout()?;
    let told = desk.told(&layout)?;
    desk.read(&layout, &told, limit.min(LIST_MAX), &|_| true)
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

    /// Whether it is one of those that are asked for, whatever can be done about it.
    fn names(&self, record: &SetAside) -> bool {
        record.state != State::Leftover
            && self.code.as_ref().is_none_or(|code| *code == record.code)
            && (self.records.is_empty() || self.records.contains(&record.at))
    }
}

/// Has records tried again by the process that runs the pipeline, or, where none does, by this
/// one. Gives what became of each; `stop` ends the wait, and the request with it.
pub fn redrive(
    place: &Path,
    file: &Path,
    wanted: &Wanted,
    stop: &AtomicBool,
) -> Result<Vec<(At, Option<Outcome>)>, RunFault> {
    let desk = Desk::open(place, file)?;
    aggregate::of_single_rows(&desk.pipeline, "`quarantine redrive`")?;
    may_cross(&desk)?;
    let layout = desk.layout()?;
    let is_ended = |record: &SetAside| record.state == State::EpochEnded && wanted.names(record);
    let asked = |record: &SetAside| wanted.wants(record) || is_ended(record);
    let found = desk.read(&layout, &desk.told(&layout)?, REQUEST_MAX, &asked)?;
    if found.left_out > 0 || found.more {
        return Err(RunFault::File(format!(
            "{} records are asked for, at most {REQUEST_MAX} are tried at a time\n  next: `--code` or \
             `--record` name fewer",
            found.total
        )));
    }
    let at = |record: &SetAside| record.at.clone();
    let (ended, waiting): (Vec<_>, Vec<_>) = found.records.iter().partition(|r| is_ended(r));
    let records: Vec<At> = waiting.into_iter().map(at).collect();
    let ended: Vec<_> = ended.into_iter().map(|r| (at(r), Some(Outcome::EpochEnded))).collect();
    let known = |at: &At| records.contains(at) || ended.iter().any(|(ended, _)| ended == at);
    if let Some(unknown) = wanted.records.iter().find(|at| !known(at)) {
        return Err(RunFault::File(format!(
            "{unknown} does not wait in quarantine\n  next: `douane quarantine list` shows what does"
        )));
    }
    if records.is_empty() {
        return Ok(ended);
    }
    let before = desk.told(&desk.layout()?)?;
    let request = Requested::write(&desk.pipeline, &Request { records: records.clone() })?;
    let answered =
        |told: &Told| records.iter().filter(|at| told.attempts(at) > before.attempts(at)).count();
    let stop = Stop::new(stop);
    let wait = |ended: &dyn Fn() -> bool| -> Result<(), RunFault> {
        let (mut seen, mut since) = (0, Instant::now());
        while !stop.is_set() && !ended() && since.elapsed() < PATIENCE {
            let now = answered(&desk.told(&desk.layout()?)?);
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
    if somebody_runs(&desk) {
        wait(&|| false)?;
    } else {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| run::run(place, file, &done, Voice::standard_error()));
            let waited = wait(&|| running.is_finished());
            done.store(true, Ordering::Relaxed);
            let ran = running.join().unwrap_or(Err(RunFault::ThreadDied));
            waited.and(ran)
        })?;
    }
    drop(request);
    let told = desk.told(&desk.layout()?)?;
    let outcome = |at: &At| {
        let new = told.attempts(at) > before.attempts(at);
        told.outcome(at).filter(|_| new).cloned()
    };
    let tried = records.iter().map(|at| (at.clone(), outcome(at)));
    Ok(tried.chain(ended.iter().cloned()).collect())
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

    fn told(entries: Vec<Entry>, size: u64) -> Told {
        let entries: Vec<_> = (0_u64..).zip(entries).collect();
        let mut told = Told::default();
        told.take(&entries, size);
        told
    }

    #[test]
    fn only_committed_refusals_wait_and_only_committed_crossings_are_done() {
        let intent = |offsets: &[i64]| {
            let refused = offsets.iter().map(|o| refused(*o)).collect();
            Entry::Intent(Intent { refused, ..Intent::default() })
        };
        let told = told(
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
        let states: Vec<State> = (1..5).map(|offset| told.state(&at(offset))).collect();
        let superseded = State::Tried(Outcome::Superseded);
        assert_eq!(states, [superseded, State::Waiting, State::Leftover, State::Leftover]);
        assert_eq!(told.outcome(&at(2)), None, "the crossing was void");
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
        let told = told(twice, 3);
        assert_eq!(told.outcome(&at(1)), Some(&Outcome::Crossed));
        assert_eq!(told.attempts(&at(1)), 3);
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
