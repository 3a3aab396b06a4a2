//! `status`: where each partition stands, from the target's position records and the ledger. The
//! process need not be up.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::Path;

use douane_ledger::log::{self, Entry};
use douane_schemas::record::RawRecord;
use serde::Serialize;

use crate::aggregate::drawing::{self, Failed};
use crate::config::{self, Pipeline, Place};
use crate::crossing::{PositionTopic, TRY};
use crate::edges::Edges;
use crate::evidence::{self, Hold};
use crate::fault::RunFault;
use crate::hold::{Reason, Retention, Waiting};
use crate::journals;
use crate::keys;
use crate::names::{Names, ledger_home};
use crate::position::Layout;
use crate::release;
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
    /// Hours until retention deletes the first record that waits; `None` where it keeps all.
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

/// One pipeline, as the outside and the ledger know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    pub pipeline: String,
    pub release: u64,
    pub release_expires: String,
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
    /// A partition waits for a person.
    pub fn is_held(&self) -> bool {
        self.partitions
            .iter()
            .any(|p| matches!(p.state, PartitionState::Held | PartitionState::Lost))
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
            "{}: release {}, until {}; layout {} with {} tasks",
            self.pipeline, self.release, self.release_expires, self.epoch, self.tasks
        )?;
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
            writeln!(out)?;
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
/// pattern and are not read.
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
    let topic = topic.ok_or_else(|| RunFault::missing(&names.position, "global"))?;
    let positions = PositionTopic::new(&place, &pipeline, &edges, &keys, &topic.id);
    let layout = positions.layout()?.ok_or_else(|| RunFault::Topic {
        topic: names.position.clone(),
        what: "holds no layout: the pipeline has not run yet\n  next: `douane run FILE`".into(),
    })?;
    let mut next: BTreeMap<Source, i64> =
        layout.places.iter().map(|p| ((p.topic, p.partition), p.next)).collect();
    let mut told = Told::default();
    let mut transactions = 0;
    let home = ledger_home(&place.ledger_dir, &pipeline.name);
    journals::refresh(&place, &names, &pipeline.name)?;
    let mut closed = None;
    for (head, position) in positions.shards(&layout)? {
        transactions += head.sequence;
        closed = position.as_ref().and_then(|p| Some(p.closed.as_ref()?.window)).or(closed);
        for place in position.into_iter().flat_map(|p| p.places) {
            next.insert((place.topic, place.partition), place.next);
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
    let files = files(&place, &pipeline, in_force);
    // What an older release let stay behind says nothing of this one.
    let stripped = told.stripped.into_iter().filter(|((of, ..), _)| Some(of) == in_force);
    let stripped = stripped.map(|(_, stripped)| stripped).collect();
    let release = release::envelope(&pipeline)
        .ok()
        .and_then(|envelope| douane_ledger::release::draft(&envelope).ok());
    Ok(Status {
        release: release.as_ref().map_or(0, |release| release.version),
        release_expires: release.map_or_else(|| "-".to_owned(), |release| release.expires),
        epoch: layout.epoch,
        tasks: layout.tasks,
        transactions,
        records: told.records,
        quarantined: match pipeline.aggregate {
            Some(_) => None,
            None => Some(told.quarantined.saturating_sub(told.redriven)),
        },
        partitions: partitions(&edges, &pipeline, &names, &layout, &next, &told.held)?,
        stripped,
        windows: Windows::of(&place, &pipeline, closed, jiff::Timestamp::now().as_millisecond()),
        files,
        pipeline: pipeline.name,
    })
}

/// The files as a running process would plan them aside, beside the release that it entered in the
/// ledger last.
fn files(place: &Place, pipeline: &Pipeline, last: Option<&String>) -> Option<String> {
    match (release::hold(place, pipeline), last) {
        (Ok((signed, _)), Some(last)) if signed.digest != *last => Some(format!(
            "release {} holds and is not in force yet: a process that runs takes it up within \
             seconds, or says why not (`swap_refused`)",
            signed.release.version
        )),
        (Ok(_), _) => None,
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
struct Told {
    records: u64,
    quarantined: u64,
    redriven: u64,
    held: BTreeMap<Source, Hold>,
    /// By release, topic and leaf.
    stripped: BTreeMap<(String, String, String), Stripped>,
}

impl Told {
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
        for (source, hold) in evidence::held(entries.iter().map(|(_, entry)| entry), topics) {
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
    next: &BTreeMap<Source, i64>,
    held: &BTreeMap<Source, Hold>,
) -> Result<Vec<PartitionStatus>, RunFault> {
    let fault = RunFault::unreachable("sovereign cluster");
    let admin = edges.sovereign.admin().map_err(&fault)?;
    let source = edges.sovereign.source(&names.group, &pipeline.source.topics).map_err(&fault)?;
    let mut partitions = Vec::new();
    for (&(topic, partition), &next) in next {
        let (low, high) = source.watermarks(topic, partition).map_err(&fault)?;
        let name = pipeline.source.topics[topic as usize].clone();
        let held = held.get(&(topic, partition)).filter(|hold| hold.offset >= next);
        let retention = match held {
            None => Retention::Unknown,
            Some(hold) => {
                let retention_ms = admin.topic_config(&name).map_err(&fault)?.retention_ms;
                let made_at = match retention_ms {
                    ..0 => None,
                    _ => made_at(edges, &name, partition, hold.offset)?,
                };
                Retention::of(retention_ms, made_at, jiff::Timestamp::now().as_millisecond())
            }
        };
        let message = |hold: &Hold| {
            let Hold { offset, reason } = hold;
            let (topic, offset) = (name.as_str(), *offset);
            Waiting { pipeline, topic, partition, offset, reason, retention }.to_string()
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
            hours_left: match retention {
                Retention::Hours(hours) => Some(hours),
                Retention::Keeps | Retention::Unknown => None,
            },
        });
    }
    source.close();
    Ok(partitions)
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
    use douane_ledger::log::{Intent, RefusedEntry, SpanEntry};

    use super::*;

    fn refused(n: i64) -> Vec<RefusedEntry> {
        let entry =
            |offset| RefusedEntry { topic: "t".into(), partition: 0, offset, code: "code".into() };
        (0..n).map(entry).collect()
    }

    fn intent(records: u64, n: i64) -> Entry {
        let spans = vec![SpanEntry { topic: "t".into(), partition: 0, start: 0, end: 1 }];
        Entry::Intent(Intent { records, spans, refused: refused(n), ..Intent::default() })
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
            let mut told = Told::default();
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
        let mut told = Told::default();
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
            let mut told = Told::default();
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
