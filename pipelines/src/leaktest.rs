//! `leaktest`: nothing but what the proof says comes out. A marker is planted in every leaf and in
//! every way in which a record is wrong, and looked for in everything that somebody outside may
//! see; pairs of records that differ in one leaf show what crosses in part.
//!
//! Here is what is planted, how it is looked for, and the pairs, which go through
//! [`crate::trial`]. The places that are searched are whole: brokers, processes and files, which
//! the verb has.

mod markers;
mod pairs;
mod scanner;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use douane_schemas::leaf::LeafType;
use douane_schemas::record::{Format, RawRecord};
use douane_transforms::Produces;
use serde::Serialize;
use serde_json::Value as Json;

pub use markers::{Marker, Planted};
pub use scanner::Scanner;

use crate::cases;
use crate::config::{self, Cells, Pipeline, Place, SinkFormat};
use crate::crossing::NoSchemas;
use crate::fault::RunFault;
use crate::names::typed;
use crate::plan::{OutputColumn, Part, Plan};
use crate::proof::{self, Proof};
use crate::trial::{Took, Trial};
use markers::Kind;
use pairs::{Difference, Out};

/// Pairs of each leaf.
const PAIRS: usize = 12;

/// What one leaf was tested with, and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeafSeen {
    pub leaf: String,
    pub class: String,
    /// Its values were looked for; of short types only pairs say something.
    pub marked: bool,
    /// The proof says that its values cross as they are, or as an override lets them.
    pub shows: bool,
    /// What differed in a pair that differs in this leaf alone.
    pub decides: BTreeSet<String>,
    /// What of it the proof does not explain.
    pub unexplained: BTreeSet<String>,
    /// No value was found that its stage takes: neither marker nor pair.
    pub not_tested: bool,
}

/// One place that was searched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sink {
    pub sink: &'static str,
    pub bytes: u64,
    /// A leak that was planted there was found.
    pub plant_found: bool,
    pub leaks: Vec<Leak>,
}

/// A marker where it must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leak {
    /// The leaf, or what was wrong with the record.
    pub of: String,
    pub form: &'static str,
    /// Topic, file or verb.
    pub place: String,
}

/// The whole test of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub pipeline: String,
    /// Records sent, those that are wrong among them.
    pub records: u64,
    pub markers: u64,
    /// The ways in which records were wrong.
    pub wrong: Vec<&'static str>,
    /// What is not as the file has it, in words.
    pub instead: Vec<String>,
    pub leaves: Vec<LeafSeen>,
    pub sinks: Vec<Sink>,
    /// What was not seen that must be seen before silence says something.
    pub not_seen: Vec<String>,
}

impl Report {
    /// No leak, and every plant was found.
    pub fn passes(&self) -> bool {
        let leaves = self.leaves.iter().all(|leaf| leaf.unexplained.is_empty() && !leaf.not_tested);
        let sinks = self.sinks.iter().all(|sink| sink.plant_found && sink.leaks.is_empty());
        leaves && sinks && !self.sinks.is_empty() && self.not_seen.is_empty()
    }

    /// As a person reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { pipeline, records, markers, .. } = self;
        writeln!(out, "{pipeline}: {records} records sent, {markers} markers in them")?;
        self.instead.iter().try_for_each(|what| writeln!(out, "  {what}"))?;
        writeln!(out, "\nwrong records: {}", self.wrong.join(", "))?;
        writeln!(out, "\npairs that differ in one leaf, and what else differed")?;
        let mut table = Vec::new();
        for leaf in &self.leaves {
            let list = |names: &BTreeSet<String>| match names.is_empty() {
                true => "nothing".to_owned(),
                false => names.iter().cloned().collect::<Vec<_>>().join(", "),
            };
            let judged = match (leaf.not_tested, leaf.unexplained.is_empty()) {
                (true, _) => "NOT TESTED: give it a value that crosses in `tests:`".to_owned(),
                (_, true) => "explained".to_owned(),
                (_, false) => format!("LEAK: {} not in the proof", list(&leaf.unexplained)),
            };
            let marked = if leaf.marked { "marked" } else { "pairs only" };
            let shows = if leaf.shows { "crosses as it is" } else { "" };
            let decides = list(&leaf.decides);
            table.push(
                [&leaf.leaf, &leaf.class, marked, shows, &decides, &judged].map(str::to_owned),
            );
        }
        proof::write_table(out, &table)?;
        writeln!(out, "\nplaces searched, and a leak planted in each first")?;
        let mut table = Vec::new();
        for sink in &self.sinks {
            let plant = if sink.plant_found { "plant found" } else { "PLANT NOT FOUND" };
            let leaks = match sink.leaks.len() {
                0 => "no marker".to_owned(),
                many => format!("{many} LEAKS"),
            };
            let bytes = format!("{} bytes", sink.bytes);
            table.push([sink.sink, &bytes, plant, &leaks].map(str::to_owned));
        }
        proof::write_table(out, &table)?;
        for leak in self.sinks.iter().flat_map(|sink| &sink.leaks) {
            writeln!(out, "  LEAK: {} as {} in {}", leak.of, leak.form, leak.place)?;
        }
        self.not_seen.iter().try_for_each(|what| writeln!(out, "  NOT SEEN: {what}"))?;
        match self.passes() {
            true => writeln!(out, "\nno leak; every plant was found"),
            false => writeln!(out, "\nNOT TIGHT, or not shown to be"),
        }
    }
}

/// Everything that a test of one pipeline is made of.
pub struct Kit {
    pub place: Place,
    pub pipeline: Pipeline,
    plan: Plan,
    proof: Proof,
    /// One a leaf of the row; `None`: none of its values crosses.
    kinds: BTreeMap<String, Option<Kind>>,
}

impl Kit {
    /// Finds, by trial, values that each leaf's stage takes.
    pub fn new(place: &Path, file: &Path, table: Option<&str>) -> Result<Self, RunFault> {
        let (place, pipeline) =
            config::load_table(place, file, table).map_err(RunFault::Findings)?;
        if let Some(why) = not_taken(&pipeline) {
            return Err(RunFault::File(format!(
                "{}: {why}\n  next: `douane explain {}`",
                file.display(),
                typed(file)
            )));
        }
        let mut plan = cases::plan(&pipeline)?;
        // It takes rows away and adds nothing to one; markers must reach the outside one by one.
        plan.min_group = None;
        let proof = Proof::new(&place, &pipeline, &plan, "");
        let mut kit = Self { place, pipeline, plan, proof, kinds: BTreeMap::new() };
        kit.kinds = kit.find_kinds()?;
        Ok(kit)
    }

    fn leaves(&self) -> impl Iterator<Item = (&str, LeafType)> {
        self.plan.leaves.row.iter().map(|leaf| (leaf.path.as_str(), leaf.leaf_type))
    }

    fn is_key(&self, path: &str) -> bool {
        self.plan.leaves.key.iter().any(|leaf| leaf.path == path)
    }

    fn find_kinds(&self) -> Result<BTreeMap<String, Option<Kind>>, RunFault> {
        let mut bench = Bench::new(self)?;
        let mut found = BTreeMap::new();
        let kinds = |path: &str, of| markers::kinds(&self.pipeline, &self.plan, path, of);
        // A row may cross with a leaf of it null, and not without its key.
        let mut cells = Cells::new();
        for (path, of) in self.leaves().filter(|(path, _)| self.is_key(path)) {
            cells.insert(path.to_owned(), kinds(path, of)[0].value(0)?.0);
        }
        let keys_first = |(path, _): &(&str, LeafType)| !self.is_key(path);
        let mut leaves: Vec<_> = self.leaves().collect();
        leaves.sort_by_key(keys_first);
        for (path, of) in leaves {
            let mut taken = None;
            for kind in kinds(path, of) {
                let before = cells.insert(path.to_owned(), kind.value(0)?.0);
                if !bench.cross(&cells)?.is_empty() {
                    taken = Some(kind);
                    break;
                }
                match before {
                    Some(cell) => cells.insert(path.to_owned(), cell),
                    None => cells.remove(path),
                };
            }
            found.insert(path.to_owned(), taken);
        }
        Ok(found)
    }

    /// Cells of one row, with new markers, and those. `image`: `after` or `before`.
    fn cells(&self, image: &str, number: usize) -> Result<(Cells, Vec<Marker>), RunFault> {
        let (mut cells, mut markers) = (Cells::new(), Vec::new());
        for (path, kind) in &self.kinds {
            let Some(kind) = kind else { continue };
            let (cell, text) = kind.value(number)?;
            cells.insert(path.clone(), cell);
            markers.extend(text.map(|text| Marker { at: format!("{image}.{path}"), text }));
        }
        Ok((cells, markers))
    }

    /// A record that crosses: created, updated, read by a snapshot or deleted, in turn.
    pub fn well(&self, number: usize) -> Result<Planted, RunFault> {
        let op = ['c', 'u', 'r', 'd'][number % 4];
        self.of_op(op, number)
    }

    fn of_op(&self, op: char, number: usize) -> Result<Planted, RunFault> {
        let (after, mut markers) = self.cells("after", number)?;
        let (mut before, others) = self.cells("before", number + 1)?;
        // The key of a row stays as it is.
        before.extend(after.iter().filter(|(path, _)| self.is_key(path)).map(own));
        let is_gone = |marker: &Marker| {
            marker.at.strip_prefix("before.").is_some_and(|path| self.is_key(path))
        };
        markers.extend(others.into_iter().filter(|marker| !is_gone(marker)));
        let (before, after) = match op {
            'd' => (Some(before), None),
            'u' => (Some(before), Some(after)),
            _ => (None, Some(after)),
        };
        let table = cases::table(&self.pipeline);
        Ok(Planted { markers, ..markers::record(&self.plan, table, op, before, after) })
    }

    /// Every way of being wrong, one record each.
    pub fn wrong(&self) -> Result<Vec<Planted>, RunFault> {
        let text = self.leaves().find(|(path, of)| {
            let kind = self.kinds.get(*path).and_then(Option::as_ref);
            *of == LeafType::Text && !self.is_key(path) && kind.is_some_and(Kind::is_marked)
        });
        markers::wrong(&|| self.of_op('c', 0), text.map(|(path, _)| path))
    }

    /// A column that crosses, by its name outside.
    pub fn column(&self) -> &str {
        self.plan.columns.first().map_or("", |column| &column.name)
    }

    /// Whether a marker may stand in a data record: its leaf crosses as it is. `at`: the image and
    /// the leaf, as in `after.email`.
    pub fn may_show(&self, at: &str) -> bool {
        let Some((image, path)) = at.split_once('.') else { return false };
        // A row's key is in it too.
        let in_key = format!("key.{path}");
        let is_it = |name: &String| name == at || image == "after" && *name == in_key;
        let mut rows = self.proof.columns.iter().filter(|row| row.direct.iter().any(is_it));
        let columns = self.plan.columns.iter().chain(&self.plan.keys);
        let mut columns = columns.filter(|column| column.from.leaf.path == path);
        let unprotected = columns.any(|column| column.protection.is_none());
        // What detectors find does not cross, whatever the override lets cross.
        let email = self.kinds.get(path) == Some(&Some(Kind::Email));
        let finds = |column: &String| {
            let named = self.pipeline.overrides.iter().filter(|o| o.columns.contains(column));
            email && named.flat_map(|o| &o.detectors).any(|detector| detector == "email")
        };
        rows.any(|row| unprotected || row.is_override() && !finds(&row.column))
    }

    /// Pairs of every leaf, through decoder, stages, merge and gate.
    pub fn pairs(&self) -> Result<Vec<LeafSeen>, RunFault> {
        let mut bench = Bench::new(self)?;
        let mut seen = Vec::new();
        for classed in self.plan.classed.iter().filter(|c| c.part == Part::Row) {
            let path = classed.leaf.path.as_str();
            let kind = self.kinds.get(path).and_then(Option::as_ref);
            let (mut decides, mut unexplained) = (BTreeSet::new(), BTreeSet::new());
            for number in 0..PAIRS {
                let Some(kind) = kind else { break };
                let (mut cells, _) = self.cells("after", number)?;
                let one = bench.cross(&cells)?;
                let cell = match number {
                    0 => Json::Null,
                    _ => kind.value(number + 1)?.0,
                };
                cells.insert(path.to_owned(), cell);
                let found = Difference::of(&one, &bench.cross(&cells)?);
                decides.extend(found.names());
                unexplained.extend(found.unexplained(&self.proof, path).names());
            }
            seen.push(LeafSeen {
                leaf: path.to_owned(),
                class: classed.class.to_string(),
                marked: kind.is_some_and(Kind::is_marked),
                shows: self.may_show(&format!("after.{path}")),
                decides,
                unexplained,
                not_tested: kind.is_none(),
            });
        }
        Ok(seen)
    }

    /// Why the pairs would see nothing: a leaf that crosses decided nothing.
    pub fn blind(&self, leaves: &[LeafSeen]) -> Vec<String> {
        let columns = || self.plan.columns.iter().chain(&self.plan.keys);
        let is_constant = |row: &proof::Row| {
            let of = columns().find(|c| c.name == row.column && c.from.part == row.part);
            matches!(of.and_then(OutputColumn::produces), Some(Produces::Constant { .. }))
        };
        let rows = self.proof.columns.iter();
        let crosses = rows.filter(|row| !row.direct.is_empty() && !is_constant(row));
        let decided = |column: &str, part| {
            leaves.iter().any(|leaf| match part {
                Part::Key => leaf.decides.contains("key"),
                Part::Row => leaf.decides.contains(column),
            })
        };
        crosses
            .filter(|row| !decided(&row.column, row.part))
            .map(|row| format!("a pair that changes the column {}", row.column))
            .collect()
    }

    /// The markers' scanner.
    pub fn scanner(markers: &[Marker]) -> Scanner {
        Scanner::new(markers.iter().map(|marker| marker.text.as_str()))
    }

    /// A marker of no record.
    pub fn plant() -> Result<Marker, RunFault> {
        let (_, text) = Kind::Word.value(0)?;
        Ok(Marker { at: "plant".to_owned(), text: text.unwrap_or_default() })
    }

    /// The leaves' types, as `types:` of a file has them.
    pub fn types(&self) -> BTreeMap<String, String> {
        self.leaves().map(|(path, of)| (path.to_owned(), of.to_string())).collect()
    }

    /// The leaves of the record's key.
    pub fn key(&self) -> Vec<String> {
        self.plan.leaves.key.iter().map(|leaf| leaf.path.clone()).collect()
    }
}

/// Why a pipeline is not tried: it has what is not in the place of a test.
fn not_taken(pipeline: &Pipeline) -> Option<&'static str> {
    let Pipeline { source, sink, aggregate, enrich, .. } = pipeline;
    let why = match () {
        () if aggregate.is_some() => {
            "leaktest takes pipelines of rows; what statistics tell is said by explain"
        }
        () if source.file.is_some() => {
            "leaktest takes a Kafka source, and this one reads files; what crosses is said by explain"
        }
        () if sink.file.is_some() => {
            "leaktest takes a Kafka sink, and this one writes files; what crosses is said by explain"
        }
        () if enrich.is_some() => {
            "leaktest has no published statistics for `enrich`; what crosses is said by explain"
        }
        () => return None,
    };
    Some(why)
}

fn own((path, cell): (&String, &Json)) -> (String, Json) {
    (path.clone(), cell.clone())
}

/// One trial, in which each record has a partition of its own: nothing that waits hides another.
struct Bench<'a> {
    kit: &'a Kit,
    trial: Trial,
    partition: i32,
}

impl<'a> Bench<'a> {
    fn new(kit: &'a Kit) -> Result<Self, RunFault> {
        let Kit { place, pipeline, plan, .. } = kit;
        let (source, sink) = (Format::DebeziumJson, SinkFormat::Json);
        let trial = Trial::new(place, pipeline, plan, source, sink, Box::new(NoSchemas))?;
        Ok(Self { kit, trial, partition: 0 })
    }

    /// What a created row with these cells becomes; nothing where it is refused or held.
    fn cross(&mut self, cells: &Cells) -> Result<Vec<Out>, RunFault> {
        self.partition += 1;
        let table = cases::table(&self.kit.pipeline);
        let planted = markers::record(&self.kit.plan, table, 'c', None, Some(cells.clone()));
        let record = RawRecord {
            topic: 0,
            partition: self.partition,
            offset: 0,
            timestamp_ms: cases::AT_MS,
            key: planted.key.as_deref(),
            value: planted.value.as_deref(),
            headers: &[],
        };
        if self.trial.push(&record)? != Took::Taken {
            return Ok(Vec::new());
        }
        let passage = self.trial.pass()?;
        let count = passage.approved.records().count().saturating_sub(1);
        let data = passage.approved.records().take(count);
        Ok(data
            .map(|out| Out {
                partition: out.partition,
                key: out.key.map(<[u8]>::to_vec),
                value: out.value.map(|v| serde_json::from_slice(v).unwrap_or(Json::Null)),
                timestamp_ms: out.timestamp_ms,
                headers: out.headers.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests;
