//! `run --dry-run`: the live topics through the real path, and only counts come back. No group is
//! joined, nothing is written, no release and no key of the place is needed; what would cross is
//! made under throw-away keys ([`crate::trial`]) and dropped.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::Path;

use arrow::array::Array;
use douane_connectors::edge::{EdgeFault, Source as SourceEdge};
use douane_connectors::registry::Registry;
use douane_gate::RefusedBy;
use douane_schemas::batch::RowKind;
use douane_schemas::debezium::WriterSchemas;
use douane_schemas::record::RawRecord;
use serde::Serialize;

use crate::aggregate;
use crate::config::{self, Pipeline, Place, Start};
use crate::crossing::{NoSchemas, TRY};
use crate::edges::Edges;
use crate::explain;
use crate::fault::RunFault;
use crate::hold::{Reason, Retention, Waiting};
use crate::names::Names;
use crate::plan::Plan;
use crate::trial::{Passage, Took, Trial};

/// Records in one batch, as in a shard's turn.
pub(crate) const BATCH_ROWS_MAX: usize = 5_000;
/// Shares of fewer rows would say something about single ones.
pub(crate) const SHARE_ROWS_MIN: u64 = 20;

/// What a run would do with the records that are there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DryRun {
    pub pipeline: String,
    /// Records read.
    pub records: u64,
    /// Records that would cross, tombstones among them.
    pub would_cross: u64,
    pub tombstones: u64,
    /// Tombstones that repeat the delete before them.
    pub merged: u64,
    /// Bytes of keys and values that would cross.
    pub bytes: u64,
    pub refused: Vec<Refused>,
    pub held: Vec<Held>,
    pub leaves: Vec<LeafCount>,
    pub partitions: Vec<PartitionRead>,
}

/// Records that would be set aside, by who refuses them and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    pub by: RefusedBy,
    pub code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    pub records: u64,
}

/// A partition that would wait for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    #[serde(flatten)]
    pub reason: Reason,
    pub message: String,
}

/// A leaf whose values are read, and how many of them are null, in buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeafCount {
    pub leaf: String,
    #[serde(rename = "type")]
    pub leaf_type: String,
    pub class: String,
    pub nulls: &'static str,
}

/// How far one partition was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionRead {
    pub topic: String,
    pub partition: i32,
    /// Where reading began.
    pub from: i64,
    pub records: u64,
    pub ended: Ended,
}

/// Why no more was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// There is no more.
    End,
    /// As many as were asked for.
    Limit,
    Held,
}

impl DryRun {
    /// Nothing would wait for people.
    pub fn goes_through(&self) -> bool {
        self.held.is_empty()
    }

    /// As a person reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{}: {} records read, {} would cross ({} tombstones, {} merged), {} bytes",
            self.pipeline, self.records, self.would_cross, self.tombstones, self.merged, self.bytes
        )?;
        for p in &self.partitions {
            let ended = match p.ended {
                Ended::End => "to its end",
                Ended::Limit => "as many as asked for",
                Ended::Held => "HELD",
            };
            writeln!(out, "  {}[{}]@{}  {}, {ended}", p.topic, p.partition, p.from, p.records)?;
        }
        writeln!(out, "\nleaves that are read, and how many of their values are null")?;
        for leaf in &self.leaves {
            let LeafCount { leaf, leaf_type, class, nulls } = leaf;
            writeln!(out, "  {leaf:<32} {leaf_type:<18} {class:<12} {nulls}")?;
        }
        if !self.refused.is_empty() {
            writeln!(out, "\nwould go to quarantine")?;
        }
        for refused in &self.refused {
            let by = match refused.by {
                RefusedBy::Decoder => "decoder",
                RefusedBy::Stage => "stage",
                RefusedBy::Gate => "gate",
                RefusedBy::Target => "target",
            };
            let column = refused.column.as_ref().map(|c| format!(", column `{c}`"));
            let column = column.unwrap_or_default();
            writeln!(out, "  {:>8}  {} ({by}{column})", refused.records, refused.code)?;
        }
        self.held.iter().try_for_each(|held| writeln!(out, "\n{}", held.message))
    }
}

/// Reads up to `records` of each source partition and says what would become of them.
pub fn run(place: &Path, file: &Path, records: u64) -> Result<Vec<DryRun>, RunFault> {
    let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    pipelines.iter().map(|pipeline| count(&place, pipeline, records)).collect()
}

fn count(place: &Place, pipeline: &Pipeline, records: u64) -> Result<DryRun, RunFault> {
    aggregate::of_rows(pipeline, "a dry run")?;
    let edges = Edges::of(place, pipeline);
    let fault = RunFault::unreachable("sovereign cluster");
    let admin = edges.sovereign.admin().map_err(&fault)?;
    let found = admin.cluster_id().map_err(&fault)?;
    if found != place.sovereign.id {
        let expected = place.sovereign.id.clone();
        return Err(RunFault::Cluster { side: "sovereign", expected, found });
    }
    let plan = explain::fresh_plan(place, pipeline)?;
    let (format, sink) = (pipeline.source.format, pipeline.sink.format);
    let mut trial = Trial::new(place, pipeline, &plan, format, sink, schemas(place)?)?;
    let mut counts = Counts::default();
    let mut told = DryRun { pipeline: pipeline.name.clone(), ..DryRun::default() };
    let group = Names::of(place, pipeline).group;
    // The group's name is the client's only: nothing joins it, and no offset is committed.
    let source = edges.sovereign.source(&group, &pipeline.source.topics).map_err(&fault)?;
    for (index, topic) in pipeline.source.topics.iter().enumerate() {
        let found = admin.topic(topic).map_err(&fault)?;
        let found = found.ok_or_else(|| RunFault::no_source(place, topic))?;
        for partition in 0..found.partitions {
            let index = index as u32;
            let from = start(source.as_ref(), pipeline, (index, partition), records)?;
            let mut count = 0;
            while count < records && !trial.held().contains_key(&(index, partition)) {
                let before = count;
                let mut outcome = Ok(Took::Taken);
                let at = counts.next.entry((index, partition)).or_insert(from);
                let resume_at = *at;
                let mut each = |record: &RawRecord<'_>| {
                    if trial.len() >= BATCH_ROWS_MAX || count >= records {
                        return ControlFlow::Break(());
                    }
                    outcome = trial.push(&RawRecord { topic: index, ..*record });
                    match outcome {
                        Ok(Took::Taken) => {
                            count += 1;
                            *at = record.offset + 1;
                            ControlFlow::Continue(())
                        }
                        _ => ControlFlow::Break(()),
                    }
                };
                edges
                    .sovereign
                    .scan(topic, partition, resume_at, TRY * 6, &mut each)
                    .map_err(&fault)?;
                outcome?;
                counts.take(&trial.pass()?);
                if count == before {
                    break;
                }
            }
            told.records += count;
            let ended = match () {
                () if trial.held().contains_key(&(index, partition)) => Ended::Held,
                () if count >= records => Ended::Limit,
                () => Ended::End,
            };
            let topic = topic.clone();
            told.partitions.push(PartitionRead { topic, partition, from, records: count, ended });
        }
    }
    source.close();
    told.held = held(pipeline, &trial);
    counts.tell(&plan, &mut told);
    Ok(told)
}

/// Where reading begins. With `latest` there is nothing yet, so the last
/// records are looked at.
fn start(
    source: &dyn SourceEdge,
    pipeline: &Pipeline,
    (topic, partition): (u32, i32),
    records: u64,
) -> Result<i64, RunFault> {
    let fault = |fault: EdgeFault| RunFault::unreachable("sovereign cluster")(fault);
    let (low, high) = source.watermarks(topic, partition).map_err(fault)?;
    Ok(match pipeline.source.start {
        Start::Earliest => low,
        Start::Latest => high.saturating_sub_unsigned(records).max(low),
        Start::Timestamp(ms) => {
            source.offset_for_time(topic, partition, ms).map_err(fault)?.unwrap_or(high)
        }
    })
}

pub(crate) fn schemas(place: &Place) -> Result<Box<dyn WriterSchemas>, RunFault> {
    if place.sovereign.registry.is_none() {
        return Ok(Box::new(NoSchemas));
    }
    let registry =
        Registry::new(&place.sovereign).map_err(|fault| RunFault::Registry(fault.to_string()))?;
    Ok(Box::new(registry))
}

fn held(pipeline: &Pipeline, trial: &Trial) -> Vec<Held> {
    let held = trial.held().iter().map(|(&(topic, partition), (offset, reason))| {
        let name = pipeline.source.topics[topic as usize].as_str();
        let (offset, retention, approval) = (*offset, Retention::Unknown, None);
        let waiting =
            Waiting { pipeline, topic: name, partition, offset, reason, retention, approval };
        let message = waiting.to_string();
        Held { topic: name.to_owned(), partition, offset, reason: reason.clone(), message }
    });
    held.collect()
}

/// Sums over all batches.
#[derive(Default)]
struct Counts {
    rows: u64,
    next: BTreeMap<(u32, i32), i64>,
    nulls: BTreeMap<String, u64>,
    would_cross: u64,
    tombstones: u64,
    merged: u64,
    bytes: u64,
    refused: BTreeMap<(RefusedBy, &'static str, Option<String>), u64>,
}

impl Counts {
    fn take(&mut self, passage: &Passage) {
        let batch = &passage.staged.batch;
        // A delete has no row to count.
        let upserts: Vec<usize> =
            (0..batch.len()).filter(|row| batch.origins[*row].kind() == RowKind::Upsert).collect();
        self.rows += upserts.len() as u64;
        for (field, column) in batch.rows.schema().fields().iter().zip(batch.rows.columns()) {
            let nulls = upserts.iter().filter(|row| column.is_null(**row)).count() as u64;
            *self.nulls.entry(field.name().clone()).or_default() += nulls;
        }
        let passed = passage.approved.passed();
        let kept = (0..batch.len()).filter(|row| !passage.skip[*row]);
        let deletes = kept.filter(|row| batch.origins[*row].kind() != RowKind::Upsert);
        self.tombstones += deletes.count() as u64;
        self.would_cross += passed.records();
        self.bytes += passed.bytes();
        self.merged += passage.merged;
        for refused in &passage.refused {
            let key = (refused.by, refused.code, refused.column.clone());
            *self.refused.entry(key).or_default() += 1;
        }
    }

    fn tell(self, plan: &Plan, told: &mut DryRun) {
        told.would_cross = self.would_cross;
        told.tombstones = self.tombstones;
        told.merged = self.merged;
        told.bytes = self.bytes;
        told.refused = self
            .refused
            .into_iter()
            .map(|((by, code, column), records)| Refused { by, code, column, records })
            .collect();
        for leaf in &plan.classed {
            let name = leaf.part.column(&leaf.leaf.path);
            // Of a leaf that does not cross nothing is built, so nothing is known of its values.
            let Some(nulls) = self.nulls.get(&name) else { continue };
            told.leaves.push(LeafCount {
                nulls: bucket(*nulls, self.rows),
                leaf_type: leaf.leaf.leaf_type.to_string(),
                class: leaf.class.to_string(),
                leaf: name,
            });
        }
    }
}

/// A share in words that say little about any one row.
pub(crate) fn bucket(part: u64, whole: u64) -> &'static str {
    match part.saturating_mul(100).checked_div(whole) {
        _ if whole < SHARE_ROWS_MIN => "too few rows to say",
        _ if part == 0 => "none",
        _ if part == whole => "all",
        Some(0) => "under 1 %",
        Some(1..10) => "1 to 10 %",
        Some(10..50) => "10 to 50 %",
        _ => "over 50 %",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_in_buckets() {
        for (part, whole, expected) in [
            (0, 0, "too few rows to say"),
            (3, 19, "too few rows to say"),
            (0, 20, "none"),
            (1, 1000, "under 1 %"),
            (10, 1000, "1 to 10 %"),
            (99, 1000, "1 to 10 %"),
            (100, 1000, "10 to 50 %"),
            (500, 1000, "over 50 %"),
            (999, 1000, "over 50 %"),
            (1000, 1000, "all"),
        ] {
            assert_eq!(bucket(part, whole), expected, "{part} of {whole}");
        }
    }
}
