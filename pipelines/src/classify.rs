//! `classify TOPIC`: proposes classes from a sample, inside the zone. Nothing is written, no group
//! is joined, no offset is committed. What comes back are names of leaves, classes and shares in
//! buckets that say nothing of fewer than [`FLOOR`] records; never a value.

mod propose;
mod sample;

use std::fmt::Write;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use douane_connectors::registry::Registry;
use douane_schemas::debezium::{
    Decoder, Limits, WriterSchemas, leaves_of_avro, leaves_of_json_schema,
};
use douane_schemas::leaf::TableLeaves;
use douane_schemas::record::{Format, RawRecord};
use douane_transforms::StageFault;
use serde::Serialize;

use crate::config::{self, Class, Place};
use crate::crossing::{NoSchemas, TRY};
use crate::edges::Edges;
use crate::fault::RunFault;
use sample::Sample;

/// Counts below this are not told apart.
pub const FLOOR: u64 = 20;
/// The longest line of a file.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Records that are decoded into one batch.
const BATCH_ROWS_MAX: usize = 5_000;

/// What is proposed, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classified {
    /// The topic, or the file.
    pub source: String,
    /// Records with a row that were looked at.
    pub records: u64,
    /// Records that could not be decoded.
    pub undecoded: u64,
    pub leaves: Vec<Proposal>,
    /// Leaves whose names are not printed: they may be data.
    pub unnamed: u64,
}

/// One leaf.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proposal {
    /// As `classes:` names it.
    pub leaf: String,
    pub class: Class,
    pub subject: bool,
    /// What the class was proposed for.
    pub why: String,
    /// Records in which it has a value.
    pub filled: &'static str,
    /// Different values among them.
    pub distinct: &'static str,
    /// Detectors that found something in at least [`FLOOR`] of the values.
    pub found: Vec<Found>,
}

/// What one detector found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    pub detector: &'static str,
    /// Of the values that are there.
    pub share: &'static str,
}

/// Samples a topic of the sovereign cluster: up to `records` of it, from the start of its
/// partitions in turn.
pub fn topic(place: &Path, topic: &str, records: u64) -> Result<Classified, RunFault> {
    let place = config::load_place(place).map_err(RunFault::Findings)?;
    let edges = Edges::of_place(&place);
    let fault = RunFault::unreachable("sovereign cluster");
    let admin = edges.sovereign.admin().map_err(&fault)?;
    let found = admin.cluster_id().map_err(&fault)?;
    if found != place.sovereign.id {
        let expected = place.sovereign.id.clone();
        return Err(RunFault::Cluster { side: "sovereign", expected, found });
    }
    let topic_fault = |what: &str| RunFault::of_source(&place, topic, what);
    let partitions = admin
        .topic(topic)
        .map_err(&fault)?
        .ok_or_else(|| {
            let side = place.sovereign.dir.as_ref().map_or(" in the sovereign cluster", |_| "");
            topic_fault(&format!("does not exist{side}\n  next: mend the name"))
        })?
        .partitions;
    let share = records.div_ceil(u64::try_from(partitions).unwrap_or(1).max(1));
    let mut reading = None;
    let mut left = records;
    for partition in 0..partitions {
        let mut outcome = Ok(());
        let mut taken = 0;
        let mut each = |record: &RawRecord<'_>| {
            outcome = match (&mut reading, record.value) {
                (Some(reading), _) => Reading::take(reading, record),
                // What has no value says nothing of the format.
                (None, None) => return ControlFlow::Continue(()),
                (None, Some(value)) => Reading::of(&place, topic, record.key, value)
                    .and_then(|made| reading.insert(made).take(record)),
            };
            taken += 1;
            match outcome.is_ok() && taken < share.min(left) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        if left > 0 {
            edges.sovereign.scan(topic, partition, 0, TRY * 6, &mut each).map_err(&fault)?;
        }
        outcome?;
        left = left.saturating_sub(taken);
    }
    let reading = reading.ok_or_else(|| topic_fault("holds no record yet to look at"))?;
    Ok(reading.finish()?.classified(topic))
}

/// Samples a file of JSON lines: `{"key":…,"value":…}`, a change event, or a row, one a line.
pub fn file(path: &Path, records: u64) -> Result<Classified, RunFault> {
    let shown = path.display();
    let unread = |error: std::io::Error| {
        RunFault::File(format!("{shown}: {}\n  next: mend the name or its rights", error.kind()))
    };
    let mut sample = Sample::new().map_err(no_detectors)?;
    let mut lines = BufReader::new(std::fs::File::open(path).map_err(unread)?);
    let (mut line, mut nth) = (Vec::new(), 0);
    while sample.records < records {
        line.clear();
        let bytes = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if bytes.map_err(unread)? == 0 {
            break;
        }
        nth += 1;
        if line.len() as u64 == LINE_BYTES_MAX {
            return Err(RunFault::File(format!(
                "{shown}:{nth}: a line has more than {LINE_BYTES_MAX} bytes\n  next: write one \
                 record a line"
            )));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        sample.line(&line);
    }
    if sample.records == 0 {
        return Err(RunFault::File(format!(
            "{shown}: holds no row\n  next: name a file of JSON lines"
        )));
    }
    Ok(sample.classified(&shown.to_string()))
}

fn no_detectors(fault: StageFault) -> RunFault {
    RunFault::File(fault.to_string())
}

/// How the records of a topic are read: with a schema through the decoder of pipelines, without
/// one as the objects that they are.
enum Reading {
    Plain(Sample),
    Decoded(Box<Decoded>),
}

struct Decoded {
    sample: Sample,
    decoder: Decoder,
    schemas: Box<dyn WriterSchemas>,
    leaves: TableLeaves,
}

impl Reading {
    /// As the first record with a value is written.
    fn of(place: &Place, topic: &str, key: Option<&[u8]>, value: &[u8]) -> Result<Self, RunFault> {
        let sample = Sample::new().map_err(no_detectors)?;
        let decoded = |sample, format, leaves: TableLeaves, schemas| {
            let columns: Vec<String> = leaves.row.iter().map(|leaf| leaf.path.clone()).collect();
            let decoder = Decoder::new(format, leaves.clone(), &columns, Limits::default());
            Self::Decoded(Box::new(Decoded { sample, decoder, schemas, leaves }))
        };
        if value.first() == Some(&0) {
            let registry = Registry::new(&place.sovereign)
                .map_err(|fault| RunFault::Registry(fault.to_string()))?;
            let latest = |part: &str| {
                let found = registry.latest(&format!("{topic}-{part}"));
                found.map_err(|fault| RunFault::Registry(fault.to_string()))
            };
            let key = latest("key")?;
            let (_, value) = latest("value")?.ok_or_else(|| {
                RunFault::Registry(format!("subject `{topic}-value` has no schema yet"))
            })?;
            let leaves = leaves_of_avro(key.as_ref().map(|(_, text)| text.as_str()), &value)
                .map_err(|fault| RunFault::Registry(format!("subject `{topic}-value`: {fault}")))?;
            return Ok(decoded(sample, Format::DebeziumAvro, leaves, Box::new(registry)));
        }
        if sample::has_schema(value) {
            let what = |fault: &dyn std::fmt::Display| RunFault::Topic {
                topic: topic.to_owned(),
                what: fault.to_string(),
            };
            let leaves = leaves_of_json_schema(key, value).map_err(|fault| what(&fault))?;
            return Ok(decoded(sample, Format::DebeziumJsonSchema, leaves, Box::new(NoSchemas)));
        }
        Ok(Self::Plain(sample))
    }

    fn take(&mut self, record: &RawRecord<'_>) -> Result<(), RunFault> {
        match self {
            Self::Plain(sample) => {
                if let Some(value) = record.value {
                    sample.record(record.key, value);
                }
                Ok(())
            }
            Self::Decoded(decoded) => decoded.take(record),
        }
    }

    fn finish(self) -> Result<Sample, RunFault> {
        match self {
            Self::Plain(sample) => Ok(sample),
            Self::Decoded(mut decoded) => {
                decoded.empty();
                Ok(decoded.sample)
            }
        }
    }
}

impl Decoded {
    fn take(&mut self, record: &RawRecord<'_>) -> Result<(), RunFault> {
        use douane_schemas::debezium::Refusal;
        for _ in 0..2 {
            match self.decoder.push(record, self.schemas.as_mut()) {
                Ok(()) => break,
                Err(Refusal::Full) => self.empty(),
                Err(Refusal::Away(why)) => {
                    let what = "the sovereign registry".to_owned();
                    return Err(RunFault::Unreachable { what, why: why.to_string() });
                }
                Err(Refusal::Hold(_) | Refusal::Quarantine(_)) => {
                    self.sample.undecoded += 1;
                    break;
                }
            }
        }
        if self.decoder.len() >= BATCH_ROWS_MAX {
            self.empty();
        }
        Ok(())
    }

    fn empty(&mut self) {
        let batch = self.decoder.finish();
        self.sample.batch(&self.leaves, &batch);
    }
}

impl Classified {
    /// The proposal as YAML to be read, mended and pasted.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# {} records of {}; a person decides", rounded(self.records), self.source)?;
        if self.undecoded > 0 {
            writeln!(out, "# {} records could not be decoded", rounded(self.undecoded))?;
        }
        writeln!(out, "classes:")?;
        let width = self.leaves.iter().map(|p| p.leaf.chars().count()).max().unwrap_or(0) + 1;
        for proposal in &self.leaves {
            let leaf = format!("{}:", proposal.leaf);
            let class = match proposal.subject {
                true => format!("{{ class: {}, subject: true }}", proposal.class),
                false => proposal.class.to_string(),
            };
            let mut evidence = vec![
                proposal.why.clone(),
                format!("filled {}", proposal.filled),
                format!("different {}", proposal.distinct),
            ];
            let found = proposal.found.iter();
            evidence.extend(found.map(|found| format!("{} in {}", found.detector, found.share)));
            writeln!(out, "  {leaf:<width$} {class:<11}  # {}", evidence.join("; "))?;
        }
        if self.unnamed > 0 {
            writeln!(
                out,
                "# {} more leaves are not named here: they look like data, or no schema declares them and \
                 they are in fewer than {FLOOR} records",
                rounded(self.unnamed)
            )?;
        }
        writeln!(
            out,
            "# What a sample cannot tell: whether a leaf speaks of health, belief, origin, union, \
             sexual life (special);\n# whether few values together name one person (quasi); what \
             nobody wrote into these records yet. What nothing is\n# known of is proposed as \
             identifier."
        )
    }
}

/// Counts are told exactly only where they say nothing of a few.
fn rounded(count: u64) -> String {
    if count < FLOOR { format!("fewer than {FLOOR}") } else { count.to_string() }
}

#[cfg(test)]
mod tests;
