//! `status`: where each partition stands, from the target's position records and the ledger. The
//! process need not be up.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

use douane_connectors::edge::{Admin, Source as SourceEdge};
use douane_ledger::dsse::Envelope;
use douane_ledger::log::{self, Entry};
use douane_ledger::release::State;
use douane_schemas::record::RawRecord;
use serde::Serialize;

use crate::aggregate::drawing::{self, Failed};
use crate::audit::column;
use crate::clock::Clock;
use crate::config::{self, Pipeline, Place};
use crate::crossing::{PositionTopic, TRY};
use crate::edges::Edges;
use crate::evidence::{self, Hold};
use crate::fault::RunFault;
use crate::hold::{Reason, Retention, Waiting};
use crate::identity;
use crate::journals;
use crate::keys;
use crate::known::Known;
use crate::names::{Names, ledger_home, typed};
use crate::position::{Layout, Place as SourcePlace};
use crate::release::{self, Signed};
use crate::topics;
use crate::turn::Source;

/// What a partition is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionState {
    /// Everything there is has crossed.
    CaughtUp,
    Behind,
    /// Waits for a person; the reason says for what.
    Held,
    /// The position lies outside the source's log.
    Lost,
}

/// One source partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    pub topic: String,
    pub partition: i32,
    pub shard: u32,
    pub state: PartitionState,
    /// Next offset that has not crossed.
    pub next: i64,
    /// Records between the position and the source's end, as offsets.
    pub lag: i64,
    /// Where and why it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Hours until retention deletes the first record that waits; `None` where it keeps all, and where
    /// nothing has waited for long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours_left: Option<i64>,
}

/// Why a partition waits, for programs and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The record that waits.
    pub offset: i64,
    #[serde(flatten)]
    pub reason: Reason,
    /// The same as people read it: place, reason, next step.
    pub message: String,
}

/// A leaf that stays behind, and the first record that had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stripped {
    pub leaf: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// Why nothing of the pipeline crosses, whichever process runs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standstill {
    /// One snake_case word.
    pub code: String,
    /// What was found, and the next step.
    pub message: String,
}

impl From<&RunFault> for Standstill {
    fn from(fault: &RunFault) -> Self {
        Self { code: fault.code().to_owned(), message: fault.told() }
    }
}

/// One pipeline, as the outside and the ledger know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    pub pipeline: String,
    pub release: u64,
    pub release_expires: String,
    /// Where the release in the file stands in its life, as people read it; "-" where there is none.
    pub release_state: String,
    /// Why nothing crosses, where that is so for all partitions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<Standstill>,
    pub epoch: u64,
    pub tasks: u32,
    pub transactions: u64,
    pub records: u64,
    /// Not of statistics: how many rows of a window were late or bad is a count without noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<u64>,
    pub partitions: Vec<PartitionStatus>,
    /// Leaves that no list names and that stay behind, where the release lets them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stripped: Vec<Stripped>,
    /// Of statistics: which windows are open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
    /// Why the files are not what the pipeline runs under, where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
}

/// Windows of statistics. How much is in them is nobody's to see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Windows {
    /// How many are outside.
    pub closed: u64,
    /// The first open one: from when, and when it is closed; RFC 3339, UTC.
    pub opened: String,
    pub closes: String,
    /// How many more have begun by the clock.
    pub more: u64,
    /// How the GPU failed at the last window; the processor drew its noise, which is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Failed>,
}

impl Windows {
    /// `closed`: the number of the last window that is outside.
    fn of(place: &Place, pipeline: &Pipeline, closed: Option<i64>, now_ms: i64) -> Option<Self> {
        let aggregate = pipeline.aggregate.as_ref()?;
        let open = closed.map_or(0, |closed| closed + 1);
        let time = |ms: i64| {
            jiff::Timestamp::from_millisecond(ms)
                .map_or_else(|_| "-".to_owned(), |at| at.to_string())
        };
        Some(Self {
            closed: open.unsigned_abs(),
            opened: time(aggregate.start_ms(open)),
            closes: time(aggregate.closes_ms(open)),
            more: u64::try_from(aggregate.window_of(now_ms) - open).unwrap_or(0),
            device: drawing::left(place, pipeline),
        })
    }
}

impl Status {
    /// A partition waits for a person, or all of them do.
    pub fn needs_people(&self) -> bool {
        let waits =
            |p: &PartitionStatus| matches!(p.state, PartitionState::Held | PartitionState::Lost);
        !self.stopped.is_empty() || self.partitions.iter().any(waits)
    }

    /// The status as a person reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{}: release {}, {}; layout {} with {} tasks",
            self.pipeline, self.release, self.release_state, self.epoch, self.tasks
        )?;
        for Standstill { message, .. } in &self.stopped {
            writeln!(out, "NOTHING CROSSES: {message}")?;
        }
        write!(out, "{} records in {} transactions", self.records, self.transactions)?;
        match self.quarantined {
            Some(quarantined) => writeln!(out, ", {quarantined} quarantined")?,
            None => writeln!(out)?,
        }
        if let Some(files) = &self.files {
            writeln!(out, "files: {files}")?;
        }
        if let Some(Windows { closed, opened, closes, more, device }) = &self.windows {
            writeln!(
                out,
                "{closed} windows are outside; open since {opened}, closes at {closes}, {more} more \
                 begun; offsets are those that a lost store is read again from"
            )?;
            if let Some(Failed { code, adapter, at }) = device {
                writeln!(
                    out,
                    "the GPU {adapter} failed at {at} ({code}): the processor drew the same noise\n  \
                     next: `douane selftest --gpu`; `device: cpu` in douane.yaml does without it"
                )?;
            }
        }
        for p in &self.partitions {
            let state = match p.state {
                PartitionState::CaughtUp => "caught up",
                PartitionState::Behind => "behind",
                PartitionState::Held => "HELD",
                PartitionState::Lost => "LOST",
            };
            write!(
                out,
                "  {}[{}]@{}  {state}, lag {}, shard {}",
                p.topic, p.partition, p.next, p.lag, p.shard
            )?;
            match p.hours_left.filter(|_| p.held.is_none()) {
                Some(hours) => writeln!(out, ", retention deletes what waits in {hours} h")?,
                None => writeln!(out)?,
            }
        }
        for Stripped { leaf, topic, partition, offset } in &self.stripped {
            writeln!(
                out,
                "  leaf `{leaf}` has no class and stays behind, since {topic}[{partition}]@{offset}"
            )?;
        }
        self.partitions
            .iter()
            .filter_map(|p| p.held.as_ref())
            .try_for_each(|held| writeln!(out, "\n{}", held.message))
    }
}

/// The pipelines of a file, each with its status or why there is none, and the topics that fit a
/// pattern and are not read, as they may be printed.
pub struct All {
    pub pipelines: Vec<(String, Result<Status, RunFault>)>,
    pub not_read: Vec<String>,
}

/// Reads the status of a pipeline. It needs no live release, and changes nothing.
pub fn read(place: &Path, file: &Path) -> Result<Status, RunFault> {
    let (place, pipeline) = config::load(place, file).map_err(RunFault::Findings)?;
    of(place, pipeline)
}

/// As [`read`], of each pipeline of a file.
pub fn read_all(place: &Path, file: &Path) -> Result<All, RunFault> {
    let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    let fault = RunFault::unreachable("sovereign cluster");
    let admin = Edges::of_place(&place).sovereign.admin().map_err(&fault)?;
    let not_read = topics::not_read(&*admin, &pipelines).map_err(&fault)?;
    let status = |pipeline: Pipeline| (pipeline.name.clone(), of(place.clone(), pipeline));
    let not_read = topics::shown(&not_read);
    Ok(All { pipelines: pipelines.into_iter().map(status).collect(), not_read })
}

fn of(place: Place, pipeline: Pipeline) -> Result<Status, RunFault> {
    let keys = keys::open(&place)?;
    let names = Names::of(&place, &pipeline);
    let edges = Edges::of(&place, &pipeline);
    let global = edges.global.admin().map_err(RunFault::unreachable("global cluster"))?;
    let sovereign = edges.sovereign.admin().map_err(RunFault::unreachable("sovereign cluster"))?;
    for (side, admin, cluster) in
        [("sovereign", &sovereign, &place.sovereign), ("global", &global, &place.global)]
    {
        let unreachable = RunFault::unreachable(&format!("{side} cluster"));
        let found = admin.cluster_id().map_err(unreachable)?;
        if found != cluster.id {
            return Err(RunFault::Cluster { side, expected: cluster.id.clone(), found });
        }
    }
    let topic = global.topic(&names.position).map_err(RunFault::unreachable("global cluster"))?;
    let missing = || topics::missing(&place, &pipeline.name, &names.position, "global");
    let topic = topic.ok_or_else(missing)?;
    let positions = PositionTopic::new(&place, &pipeline, &edges, &keys, &topic.id);
    let layout = positions.layout()?.ok_or_else(|| RunFault::Topic {
        topic: names.position.clone(),
        what: "holds no layout: the pipeline has not run yet\n  next: `douane run FILE`".into(),
    })?;
    let mut at: BTreeMap<Source, SourcePlace> =
        layout.places.iter().cloned().map(|p| ((p.topic, p.partition), p)).collect();
    let mut told = OfLedgers::default();
    let mut transactions = 0;
    let home = ledger_home(&place.ledger_dir, &pipeline.name);
    journals::refresh(&place, &names, &pipeline.name)?;
    let mut closed = None;
    for (head, position) in positions.shards(&layout)? {
        transactions += head.sequence;
        closed = position.as_ref().and_then(|p| Some(p.closed.as_ref()?.window)).or(closed);
        for place in position.into_iter().flat_map(|p| p.places) {
            at.insert((place.topic, place.partition), place);
        }
        let shard = head.shard;
        if let Some(head) = head.ledger {
            let entries = log::read(&home, &names.log(shard), Some(&head))?;
            let owns = |(topic, partition)| layout.shard_of(topic, partition) == shard;
            told.take(&entries, head.size, &pipeline.source.topics, owns);
        }
    }
    let control = log::read(&home, &names.control_log(), Some(&layout.control))?;
    let in_force = in_force(&control);
    // Past what the target's layout says, too: a start that is refused writes a revocation there.
    let known = Known::of(&place, &pipeline)?;
    let now = Clock::of(&place)?.now();
    let envelope = release::envelope(&pipeline).ok();
    let release_state =
        envelope.as_ref().map(|e| release::state_at(&place, &pipeline, e, &known, now));
    let held = release::hold(&place, &pipeline).map(|(signed, _)| signed);
    let over = over(&place, &pipeline, &held, (&known, in_force), now)?;
    let digest = envelope.as_ref().and_then(|envelope| release::digest(envelope).ok());
    let files = match &over {
        // The one release there is, and what ended it is told.
        Some(_) if digest.as_ref() == in_force => None,
        over => files(&held, in_force, over.is_some()),
    };
    let changed =
        identity::refused(&pipeline, &names, &edges, &layout, &at.values().collect::<Vec<_>>())?;
    let approval = match &held {
        Ok(signed) => format!(
            "release {} answers it: a process that runs takes it up within seconds, `douane run {}` \
             where none does",
            signed.release.version,
            typed(&pipeline.file)
        ),
        Err(_) => release::next_approval(&place, &pipeline),
    };
    let waiting = (&told.held, approval.as_str());
    let partitions = match partitions(&edges, &pipeline, &names, &layout, &at, waiting) {
        // What is gone, or is another, may have no ends: why nothing crosses is told all the same.
        Err(_) if changed.is_some() => Vec::new(),
        partitions => partitions?,
    };
    let changed = changed.as_ref().map(Standstill::from);
    // What an older release let stay behind says nothing of this one.
    let stripped = told.stripped.into_iter().filter(|((of, ..), _)| Some(of) == in_force);
    let stripped = stripped.map(|(_, stripped)| stripped).collect();
    let release = envelope.and_then(|envelope| douane_ledger::release::draft(&envelope).ok());
    Ok(Status {
        release: release.as_ref().map_or(0, |release| release.version),
        release_state: match release_state {
            Some(Ok(State::Approved { until, .. })) => format!("until {until}"),
            Some(Ok(state)) => state.to_string(),
            // A line of revocations that cannot be read: `stopped`, or `files`, says so.
            Some(Err(_)) | None => "-".to_owned(),
        },
        release_expires: release.map_or_else(|| "-".to_owned(), |release| release.expires),
        stopped: over.into_iter().chain(changed).collect(),
        epoch: layout.epoch,
        tasks: layout.tasks,
        transactions,
        records: told.records,
        quarantined: match pipeline.aggregate {
            Some(_) => None,
            None => Some(told.quarantined.saturating_sub(told.redriven)),
        },
        partitions,
        stripped,
        windows: Windows::of(&place, &pipeline, closed, jiff::Timestamp::now().as_millisecond()),
        files,
        pipeline: pipeline.name,
    })
}

/// Why no process may write: neither the release that it entered in the ledger last nor the one in the
/// files lives. A process goes on under the first whatever the files say, and takes the second up.
fn over(
    place: &Place,
    pipeline: &Pipeline,
    held: &Result<Signed, RunFault>,
    (known, in_force): (&Known, Option<&String>),
    now: SystemTime,
) -> Result<Option<Standstill>, RunFault> {
    let stopped = |envelope: &Envelope| {
        let state = match release::state_at(place, pipeline, envelope, known, now) {
            // It cannot be told whether it was revoked: then nothing is written either.
            Err(fault) => return Some(Standstill::from(&fault)),
            Ok(State::Approved { .. } | State::Closed { .. }) => return None,
            Ok(state) => state,
        };
        let file = typed(&pipeline.file);
        let next = match state {
            State::Expired { .. } => format!(
                "`douane release renew {file} --author NAME` drafts it anew, then have it signed"
            ),
            State::Revoked { .. } | State::Rejected { .. } => format!(
                "`douane release propose {file}` drafts another: signed, it starts the stream again"
            ),
            _ => format!("`douane release show {file}` says who signed"),
        };
        let code = state.word().to_owned();
        Some(Standstill { code, message: format!("the release is {state}\n  next: {next}") })
    };
    let Some(digest) = in_force else { return Ok(None) };
    let running = match column::kept(place, digest)? {
        Some(kept) => Some(kept),
        // A ledger of before releases were kept.
        None => release::envelope(pipeline)
            .ok()
            .filter(|envelope| release::digest(envelope).is_ok_and(|found| found == *digest)),
    };
    let over = running.as_ref().and_then(stopped);
    let goes_on = held.as_ref().is_ok_and(|signed| stopped(&signed.envelope).is_none());
    Ok(over.filter(|_| !goes_on))
}

/// The files as a running process would plan them aside, beside the release that it entered in the
/// ledger last. `over`: that one is dead, and is told already.
fn files(held: &Result<Signed, RunFault>, last: Option<&String>, over: bool) -> Option<String> {
    match (held, last) {
        (Ok(signed), Some(last)) if signed.digest != *last => Some(format!(
            "release {} holds and is not in force yet: a process that runs takes it up within \
             seconds, or says why not (`swap_refused`)",
            signed.release.version
        )),
        (Ok(_), _) => None,
        (Err(fault), _) if over => Some(format!("do not hold: none can be started\n  {fault}")),
        (Err(fault), _) => Some(format!(
            "do not hold: a process that runs goes on as it was, and none can be started\n  {fault}"
        )),
    }
}

/// Digest of the release that was entered last.
fn in_force(control: &[(u64, Entry)]) -> Option<&String> {
    control.iter().rev().find_map(|(_, entry)| match entry {
        Entry::Approved { release, .. } => Some(release),
        _ => None,
    })
}

/// What the ledgers of the shards tell.
#[derive(Default)]
struct OfLedgers {
    records: u64,
    quarantined: u64,
    redriven: u64,
    held: BTreeMap<Source, Hold>,
    /// By release, topic and leaf.
    stripped: BTreeMap<(String, String, String), Stripped>,
}

impl OfLedgers {
    /// Takes in one shard's log. `size`: as many entries as the target's position covers.
    fn take(
        &mut self,
        entries: &[(u64, Entry)],
        size: u64,
        topics: &[String],
        owns: impl Fn(Source) -> bool,
    ) {
        let mut intents: BTreeMap<u64, (u64, u64, u64)> = BTreeMap::new();
        let mut refused_before = 0;
        for (at, entry) in entries {
            match entry {
                Entry::Intent(intent) => {
                    let refused = intent.refused.len() as u64 + std::mem::take(&mut refused_before);
                    // What was tried again was counted when it was set aside; without spans
                    // nothing else is in a turn. What crossed then is set aside no more.
                    let refused = if intent.spans.is_empty() { 0 } else { refused };
                    let redriven = intent.redriven.len() as u64;
                    intents.insert(*at, (intent.records, refused, redriven));
                }
                Entry::Refused { refused } => refused_before += refused.len() as u64,
                Entry::Void { of, .. } => {
                    intents.remove(of);
                }
                Entry::Stripped { topic, partition, offset, leaf, release, .. } => {
                    let key = (release.clone(), topic.clone(), leaf.clone());
                    let (topic, leaf, partition, offset) =
                        (topic.clone(), leaf.clone(), *partition, *offset);
                    let first = Stripped { leaf, topic, partition, offset };
                    self.stripped.entry(key).or_insert(first);
                }
                _ => {}
            }
        }
        // An intent below the head is in the target; one beyond it waits for its VOID.
        for (records, refused, redriven) in intents.range(..size).map(|(_, counts)| counts) {
            self.records += records;
            self.quarantined += refused;
            self.redriven += redriven;
        }
        // Of a partition that was dealt anew, its owner's word counts. Another's is what is known
        // until the owner has read.
        let mut holds = evidence::Holds::new(topics);
        entries.iter().for_each(|(_, entry)| holds.take(entry));
        for (source, hold) in holds.held {
            if owns(source) {
                self.held.insert(source, hold);
            } else {
                self.held.entry(source).or_insert(hold);
            }
        }
    }
}

impl PartitionState {
    /// A position outside the log `[low, high)` is lost, held or not.
    fn of(next: i64, low: i64, high: i64, is_held: bool) -> Self {
        match () {
            () if next < low || next > high => Self::Lost,
            () if is_held => Self::Held,
            () if next < high => Self::Behind,
            () => Self::CaughtUp,
        }
    }
}

fn partitions(
    edges: &Edges,
    pipeline: &Pipeline,
    names: &Names,
    layout: &Layout,
    at: &BTreeMap<Source, SourcePlace>,
    (held, approval): (&BTreeMap<Source, Hold>, &str),
) -> Result<Vec<PartitionStatus>, RunFault> {
    let mut side = SourceSide::open(edges, pipeline, names)?;
    let mut partitions = Vec::new();
    for (&(topic, partition), &SourcePlace { next, .. }) in at {
        let (low, high) = side.extent((topic, partition))?;
        let Some(name) = pipeline.source.topics.get(topic as usize).cloned() else { continue };
        let held = held.get(&(topic, partition)).filter(|hold| hold.offset >= next);
        let hold = held.map(|hold| hold.offset);
        let retention = side.retention((topic, partition), next, (low, high), hold)?;
        let message = |hold: &Hold| {
            let Hold { offset, reason } = hold;
            let (topic, offset, approval) = (name.as_str(), *offset, Some(approval));
            Waiting { pipeline, topic, partition, offset, reason, retention, approval }.to_string()
        };
        let held = held.map(|hold| Held {
            offset: hold.offset,
            message: message(hold),
            reason: hold.reason.clone(),
        });
        partitions.push(PartitionStatus {
            topic: name.clone(),
            partition,
            shard: layout.shard_of(topic, partition),
            state: PartitionState::of(next, low, high, held.is_some()),
            next,
            lag: (high - next).max(0),
            held,
            hours_left: retention.hours(),
        });
    }
    side.source.close();
    Ok(partitions)
}

/// Takes up what the source alone can tell, where the target cannot be asked where a pipeline stands:
/// nothing crosses then, and what waits grows older. Positions stay those that were read last.
pub fn look_at_source(place: &Path, file: &Path, known: &mut [Status]) -> Result<(), RunFault> {
    let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    for status in known {
        let Some(pipeline) = pipelines.iter().find(|one| one.name == status.pipeline) else {
            continue;
        };
        let edges = Edges::of(&place, pipeline);
        let mut side = SourceSide::open(&edges, pipeline, &Names::of(&place, pipeline))?;
        for p in &mut status.partitions {
            let at = pipeline.source.topics.iter().position(|topic| *topic == p.topic);
            let Some(topic) = at.and_then(|at| u32::try_from(at).ok()) else { continue };
            let source = (topic, p.partition);
            let (low, high) = side.extent(source)?;
            let hold = p.held.as_ref().map(|held| held.offset);
            p.hours_left = side.retention(source, p.next, (low, high), hold)?.hours();
            p.lag = (high - p.next).max(0);
            p.state = PartitionState::of(p.next, low, high, hold.is_some());
        }
        side.source.close();
    }
    Ok(())
}

/// The source's side of the partitions: where they end, and when what waits in them is deleted.
struct SourceSide<'a> {
    edges: &'a Edges,
    pipeline: &'a Pipeline,
    admin: Box<dyn Admin>,
    source: Box<dyn SourceEdge>,
    /// `retention.ms` of each topic that was asked for it.
    kept_ms: BTreeMap<u32, i64>,
}

impl<'a> SourceSide<'a> {
    fn open(edges: &'a Edges, pipeline: &'a Pipeline, names: &Names) -> Result<Self, RunFault> {
        let fault = RunFault::unreachable("sovereign cluster");
        let admin = edges.sovereign.admin().map_err(&fault)?;
        let source = edges.sovereign.source(&names.group, &pipeline.source.topics);
        let source = source.map_err(&fault)?;
        Ok(Self { edges, pipeline, admin, source, kept_ms: BTreeMap::new() })
    }

    fn extent(&self, (topic, partition): Source) -> Result<(i64, i64), RunFault> {
        let extent = self.source.watermarks(topic, partition);
        extent.map_err(RunFault::unreachable("sovereign cluster"))
    }

    /// When what waits in a partition is deleted: the record that it is held at, or the first one that has
    /// not crossed, once that has waited. Of records on their way none is read, and their time is asked
    /// for in one request. One that is older than what lies before it counts as that: a segment is deleted
    /// by the youngest record in it.
    fn retention(
        &mut self,
        (topic, partition): Source,
        next: i64,
        (low, high): (i64, i64),
        hold: Option<i64>,
    ) -> Result<Retention, RunFault> {
        let fault = RunFault::unreachable("sovereign cluster");
        // A window of statistics waits for its end, and is in the store.
        let lags = self.pipeline.aggregate.is_none() && (low..high).contains(&next);
        let Some(name) = self.pipeline.source.topics.get(topic as usize) else {
            return Ok(Retention::Unknown);
        };
        if hold.is_none() && !lags {
            return Ok(Retention::Unknown);
        }
        let kept_ms = match self.kept_ms.get(&topic) {
            Some(kept_ms) => *kept_ms,
            None => {
                let kept_ms = self.admin.topic_config(name).map_err(&fault)?.retention_ms;
                self.kept_ms.insert(topic, kept_ms);
                kept_ms
            }
        };
        if kept_ms < 0 {
            return Ok(Retention::Keeps);
        }
        let now_ms = jiff::Timestamp::now().as_millisecond();
        if hold.is_none() {
            let since_ms = now_ms - on_its_way_ms(kept_ms, self.pipeline.publish_ms);
            let young = self.source.offset_for_time(topic, partition, since_ms).map_err(&fault)?;
            if young.is_some_and(|young| young <= next) {
                return Ok(Retention::Unknown);
            }
        }
        let made_at = made_at(self.edges, name, partition, hold.unwrap_or(next))?;
        Ok(Retention::of(kept_ms, made_at, now_ms))
    }
}

/// A record that is younger is on its way: two periods of `publish`, and at least an hour; of a source that
/// keeps its records for two days or less, half of that, for there a day that is left is nothing to be woken by.
fn on_its_way_ms(kept_ms: i64, publish_ms: Option<u64>) -> i64 {
    const HOUR_MS: i64 = 3_600_000;
    let periods_ms = publish_ms.map_or(0, |every_ms| every_ms.saturating_mul(2));
    let waits_ms = i64::try_from(periods_ms).unwrap_or(i64::MAX).max(HOUR_MS);
    match kept_ms <= 48 * HOUR_MS {
        true => kept_ms / 2,
        false => waits_ms.min(kept_ms / 2),
    }
}

/// When the record at an offset was made, in milliseconds since the epoch.
fn made_at(
    edges: &Edges,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Option<i64>, RunFault> {
    let mut at = None;
    let mut look = |record: &RawRecord<'_>| {
        at = Some(record.timestamp_ms);
        ControlFlow::Break(())
    };
    edges
        .sovereign
        .scan(topic, partition, offset, TRY, &mut look)
        .map_err(RunFault::unreachable("sovereign cluster"))?;
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use douane_ledger::log::{Intent, RefusedEntry, SpanEntry};
    use douane_ledger::release::Limits;
    use douane_ledger::signing::SigningKey;
    use douane_ledger::trust::{self, Approver, Role, Root};

    use super::*;
    use crate::cases;
    use crate::release::Proposal;

    fn refused(n: i64) -> Vec<RefusedEntry> {
        let entry =
            |offset| RefusedEntry { topic: "t".into(), partition: 0, offset, code: "code".into() };
        (0..n).map(entry).collect()
    }

    fn intent(records: u64, n: i64) -> Entry {
        let spans = vec![SpanEntry { topic: "t".into(), partition: 0, start: 0, end: 1 }];
        Entry::Intent(Intent { records, spans, refused: refused(n), ..Intent::default() })
    }

    /// Neither what a process runs under nor what it could take up may be dead unsaid.
    #[test]
    fn nothing_crosses_where_no_release_lives() {
        let dir = tempfile::tempdir().unwrap();
        let lint = Path::new("testdata/lint");
        let (mut place, pipeline) =
            config::load(&lint.join("douane.yaml"), &lint.join("pipeline_good_least.yaml"))
                .unwrap();
        place.ledger_dir = dir.path().to_owned();
        place.trust = dir.path().join("trust.json");
        let key = |seed| SigningKey::from_seed(&[seed; 32]).unwrap();
        let person = |name: &str, seed, roles: &[Role]| Approver {
            name: name.into(),
            key: key(seed).verifying_key(),
            roles: roles.to_vec(),
        };
        let people = vec![
            person("ada", 1, &[Role::Approve, Role::Revoke]),
            person("kay", 2, &[Role::Trust]),
        ];
        let root = trust::sign(&Root::first(1, people), &[&key(1), &key(2)]).unwrap();
        std::fs::write(&place.trust, root.to_bytes().unwrap()).unwrap();
        let plan = cases::plan(&pipeline).unwrap();
        let put = |version: u64, days: u64| {
            let proposal = Proposal {
                author: "cleo".to_owned(),
                life: Duration::from_secs(days * 86_400),
                limits: Limits { records: None, bytes: None, epsilon: None },
                once: None,
            };
            let draft = release::draft(&place, &pipeline, &plan, &proposal, version).unwrap();
            let envelope = douane_ledger::release::sign(&draft, &[&key(1)]).unwrap();
            let digest = release::digest(&envelope).unwrap();
            column::keep(&place, &digest, &envelope).unwrap();
            digest
        };
        let (short, long) = (put(1, 1), put(2, 9));
        let now = SystemTime::now();
        let later = now + Duration::from_secs(3 * 86_400);
        let approved = |digest: &String| Entry::Approved {
            release: digest.clone(),
            fingerprint: "f".into(),
            approvers: Vec::new(),
            overrides: Vec::new(),
        };
        let revoked =
            Entry::Revoked { release: long.clone(), by: "ada".into(), reason: "x".into() };
        let closed = Entry::Closed { release: short.clone(), set_aside: 0 };
        let [ran, stopped, through] = [None, Some(&revoked), Some(&closed)].map(|entry| {
            let log = [approved(&short), approved(&long)];
            Known::told(log.iter().chain(entry))
        });
        let none = Err(RunFault::Release("x".into()));
        for (known, under, at, code, next) in [
            (&ran, &short, now, None, ""),
            (&ran, &short, later, Some("expired"), "douane release renew "),
            (&ran, &long, later, None, ""),
            (&stopped, &long, now, Some("revoked"), "douane release propose "),
            // A span that is through is over, whatever the clock says since.
            (&through, &short, later, None, ""),
        ] {
            let over = over(&place, &pipeline, &none, (known, Some(under)), at).unwrap();
            assert_eq!(over.as_ref().map(|over| over.code.as_str()), code);
            assert!(over.is_none_or(|over| over.message.contains(next)), "{code:?}");
        }
        // Nothing of it is known: nothing is said.
        assert_eq!(over(&place, &pipeline, &none, (&ran, None), later).unwrap(), None);
    }

    #[test]
    fn only_what_is_in_the_target_is_counted() {
        let log: Vec<(u64, Entry)> = [
            intent(10, 1),
            Entry::Committed { of: 0 },
            // Void: its refusals are told by the intent that came instead.
            intent(20, 2),
            Entry::Void { of: 2, why: "x".into() },
            Entry::Refused { refused: refused(4) },
            intent(30, 3),
            // Committed, and the ledger has not been told yet.
            intent(40, 0),
        ]
        .into_iter()
        .enumerate()
        .map(|(index, entry)| (index as u64, entry))
        .collect();
        for (size, records, quarantined) in [(7, 80, 8), (6, 40, 8), (5, 10, 1), (0, 0, 0)] {
            let mut told = OfLedgers::default();
            told.take(&log, size, &["t".to_owned()], |_| true);
            assert_eq!((told.records, told.quarantined), (records, quarantined), "{size}");
        }
    }

    #[test]
    fn a_leaf_that_stays_behind_is_told_by_its_first_record() {
        let stripped = |offset, leaf: &str, release: &str| Entry::Stripped {
            topic: "t".into(),
            partition: 0,
            offset,
            leaf: leaf.into(),
            schema_id: None,
            release: release.into(),
        };
        let log = [stripped(3, "a", "old"), stripped(5, "a", "new"), stripped(9, "a", "new")];
        let log: Vec<(u64, Entry)> = (0..).zip(log).collect();
        let mut told = OfLedgers::default();
        told.take(&log, 3, &["t".to_owned()], |_| true);
        let offsets: Vec<i64> = told.stripped.values().map(|stripped| stripped.offset).collect();
        assert_eq!(offsets, [5, 3], "by release: new, old");
    }

    #[test]
    fn the_owners_word_counts_whichever_log_is_read_first() {
        let topics = ["t".to_owned()];
        let held = |partition, text: &str| {
            (0, Reason::new("operation", text.to_owned()).entry("t", partition, 3))
        };
        let owner = [held(0, "the owner's")];
        let other = [held(0, "another's"), held(1, "nobody else's")];
        for owner_first in [true, false] {
            let mut told = OfLedgers::default();
            let mut logs = [(&owner[..], true), (&other[..], false)];
            if !owner_first {
                logs.reverse();
            }
            for (log, owns) in logs {
                told.take(log, 0, &topics, |_| owns);
            }
            let reasons: Vec<&str> =
                told.held.values().map(|hold| hold.reason.text.as_str()).collect();
            assert_eq!(reasons, ["the owner's", "nobody else's"], "{owner_first}");
        }
    }

    #[test]
    fn what_has_just_come_is_on_its_way() {
        const HOUR: i64 = 3_600_000;
        for (kept_h, publish_h, expected_h) in
            [(168, 0, 1), (168, 12, 24), (168, 120, 84), (24, 2, 12), (2, 0, 1)]
        {
            let publish_ms = Some(publish_h * 3_600_000).filter(|ms| *ms > 0);
            let found = on_its_way_ms(kept_h * HOUR, publish_ms);
            assert_eq!(found, expected_h * HOUR, "{kept_h} {publish_h}");
        }
    }

    #[test]
    fn a_partition_is_lost_held_behind_or_caught_up() {
        use PartitionState::{Behind, CaughtUp, Held, Lost};
        for (next, low, high, is_held, expected) in [
            (5, 0, 5, false, CaughtUp),
            (4, 0, 5, false, Behind),
            (4, 0, 5, true, Held),
            (5, 0, 5, true, Held),
            (4, 5, 9, false, Lost),
            (4, 5, 9, true, Lost),
            (6, 0, 5, false, Lost),
            (0, 0, 0, false, CaughtUp),
        ] {
            assert_eq!(PartitionState::of(next, low, high, is_held), expected, "{next}");
        }
    }
}
