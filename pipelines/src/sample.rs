//! What a sample shows of the k of what remains: for each column and each set of quasi-identifiers
//! the smallest group, how many rows are alone, and entropy, before and after protection.
//!
//! That is a disclosure of its own. It is read where the raw topic is, without a group and without
//! a write; it is told in buckets, of which none is of fewer than 20 rows; and it is no part of the
//! proof, of a release, a log or a page.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::Path;

use arrow::array::{Array, ArrayRef, RecordBatch};
use douane_connectors::file::FileFormat;
use douane_ledger::canonical::sha256;
use douane_schemas::batch::RowKind;
use douane_schemas::canonical;
use douane_schemas::record::{Format, RawRecord};
use douane_transforms::Produces;
use serde::Serialize;

use crate::aggregate;
use crate::config::{self, Class, Pipeline, Place};
use crate::crossing::TRY;
use crate::dry_run::{self, BATCH_ROWS_MAX, SHARE_ROWS_MIN, bucket};
use crate::edges::Edges;
use crate::evidence;
use crate::explain;
use crate::fault::RunFault;
use crate::names::Names;
use crate::plan::{Crosses, OutputColumn, Part, Plan};
use crate::proof::write_table;
use crate::trial::{Passage, Took, Trial};

/// Records of each partition that a sample reads unless it is told.
pub const RECORDS_DEFAULT: u64 = 50_000;
/// Most of them: every row's values are held as digests.
pub const RECORDS_MAX: u64 = 1_000_000;

/// Who may read this, in its first line.
const NOTICE: &str = "what a sample shows is a disclosure of its own: for those who may read the \
                      raw topic. Keep it apart from the proof: in no release, log or page";

/// A pseudonym with fewer different values than this is looked at.
const CODEBOOK_VALUES_MAX: u64 = 1_000;
/// It has few values if each is there this often.
const CODEBOOK_ROWS_A_VALUE: u64 = 20;

/// One pipeline over one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    pub pipeline: String,
    pub notice: &'static str,
    /// The topic or file.
    pub sample: String,
    /// The last state of each key, in a bucket.
    pub rows: &'static str,
    pub columns: Vec<ColumnSpread>,
    pub quasi_sets: Vec<SetSpread>,
    pub warnings: Vec<String>,
}

/// One column of the output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnSpread {
    pub column: String,
    pub class: String,
    /// Of its leaf; none for what `sql` computes.
    pub before: Option<Spread>,
    pub after: Spread,
}

/// Several leaves together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetSpread {
    pub leaves: Vec<String>,
    /// Those of them that stay behind, and say nothing here.
    pub behind: Vec<String>,
    pub before: Spread,
    pub after: Spread,
}

/// How values are spread over the rows, in buckets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Different values.
    pub values: &'static str,
    /// Rows of the rarest value: k.
    pub smallest_group: &'static str,
    /// Rows whose value no other row has.
    pub unique: &'static str,
    /// Rows in groups of fewer than 20.
    pub small_groups: &'static str,
    /// Of a row drawn at random, to half a bit; none where there are too few rows.
    pub entropy_bits: Option<f64>,
}

/// Takes up to `records` of each partition of a topic, or of a file, through the pipelines of a
/// file, or through that of one table.
///
/// # Errors
/// The files, the place, or the topic; a fault of the program in the stages.
pub fn run(
    place: &Path,
    (file, table): (&Path, Option<&str>),
    sample: &str,
    records: u64,
) -> Result<Vec<Sample>, RunFault> {
    let (place, mut pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    let is_meant = |of: &Pipeline, name| of.table.as_ref().is_none_or(|table| table.name == name);
    pipelines.retain(|one| table.is_none_or(|name| is_meant(one, name)));
    pipelines.iter().map(|pipeline| of(&place, pipeline, sample, records)).collect()
}

fn of(place: &Place, pipeline: &Pipeline, sample: &str, records: u64) -> Result<Sample, RunFault> {
    aggregate::of_rows(pipeline, "`--sample`")?;
    let plan = explain::plan(place, pipeline)?;
    let mut measure = Measure::new(pipeline, &plan);
    let held = read(place, pipeline, &plan, sample, records, &mut measure)?;
    let mut told = measure.tell(pipeline, &plan, sample);
    told.warnings.extend(held);
    Ok(told)
}

/// The place and the pipeline with the sample as their source.
fn sampled(
    place: &Place,
    pipeline: &Pipeline,
    plan: &Plan,
    sample: &str,
) -> Result<(Place, Pipeline), RunFault> {
    let (mut place, mut pipeline) = (place.clone(), pipeline.clone());
    let known = pipeline.source.topics.iter().any(|topic| topic == sample);
    let path = Path::new(sample);
    if !known && path.is_file() {
        let unusable = |what: &str| RunFault::File(format!("{sample}: {what}"));
        let format = match path.extension().and_then(|end| end.to_str()) {
            Some("jsonl" | "json") => FileFormat::JsonLines,
            Some("avro") => FileFormat::Avro,
            Some("arrow") => FileFormat::Arrow,
            Some("parquet") => FileFormat::Parquet,
            _ => return Err(unusable("no `.jsonl`, `.avro`, `.arrow` or `.parquet`")),
        };
        let whole = path.canonicalize().map_err(|error| unusable(&error.kind().to_string()))?;
        let (Some(dir), Some(name)) = (whole.parent(), whole.file_name().and_then(|n| n.to_str()))
        else {
            return Err(unusable("no file's name"));
        };
        place.dir = dir.to_owned();
        place.sovereign.dir = Some(dir.to_owned());
        pipeline.source.file = Some(format);
        pipeline.source.format = Format::DebeziumJson;
        pipeline.source.topics = vec![name.to_owned()];
        // Rows of a flat file have the key that the pipeline's records have.
        let key = plan.leaves.key.iter().map(|leaf| leaf.path.clone());
        pipeline.source.key.get_or_insert_with(|| key.collect());
        return Ok((place, pipeline));
    }
    pipeline.source.topics = vec![sample.to_owned()];
    Ok((place, pipeline))
}

/// Reads the sample through decoder, stages and gate. Returns what stopped it where it was stopped.
fn read(
    place: &Place,
    pipeline: &Pipeline,
    plan: &Plan,
    sample: &str,
    records: u64,
    measure: &mut Measure,
) -> Result<Vec<String>, RunFault> {
    let (place, pipeline) = sampled(place, pipeline, plan, sample)?;
    let edges = Edges::of(&place, &pipeline);
    let fault = RunFault::unreachable("sovereign side");
    let (format, sink) = (pipeline.source.format, pipeline.sink.format);
    let schemas = dry_run::schemas(&place)?;
    let mut trial = Trial::new(&place, &pipeline, plan, format, sink, schemas)?;
    let topic = &pipeline.source.topics[0];
    let admin = edges.sovereign.admin().map_err(&fault)?;
    let found = admin.topic(topic).map_err(&fault)?.ok_or_else(|| RunFault::Topic {
        topic: topic.clone(),
        what: "is no topic of the sovereign side, and no file either".into(),
    })?;
    // The group's name is the client's only: nothing joins it, and no offset is committed.
    let group = Names::of(&place, &pipeline).group;
    let source = edges.sovereign.source(&group, &pipeline.source.topics).map_err(&fault)?;
    let mut held = Vec::new();
    for partition in 0..found.partitions {
        let (mut next, _) = source.watermarks(0, partition).map_err(&fault)?;
        let mut count = 0;
        while count < records && !trial.held().contains_key(&(0, partition)) {
            let before = count;
            let mut outcome = Ok(Took::Taken);
            let from = next;
            let mut each = |record: &RawRecord<'_>| {
                if trial.len() >= BATCH_ROWS_MAX || count >= records {
                    return ControlFlow::Break(());
                }
                outcome = trial.push(&RawRecord { topic: 0, ..*record });
                match outcome {
                    Ok(Took::Taken) => {
                        count += 1;
                        next = record.offset + 1;
                        ControlFlow::Continue(())
                    }
                    _ => ControlFlow::Break(()),
                }
            };
            edges.sovereign.scan(topic, partition, from, TRY * 6, &mut each).map_err(&fault)?;
            outcome?;
            measure.take(&trial.pass()?);
            if count == before {
                break;
            }
        }
        if let Some((offset, reason)) = trial.held().get(&(0, partition)) {
            let code = &reason.code;
            held.push(format!(
                "{topic}[{partition}]@{offset} would hold ({code}): read until there"
            ));
        }
    }
    source.close();
    Ok(held)
}

/// A value, by which it is counted and never shown.
type Digest = [u8; 16];

/// The rows of the sample: of each key the last state.
struct Measure {
    /// Names of the raw columns, by output column; none where one is computed.
    raw: Vec<Option<String>>,
    keyed: bool,
    rows: HashMap<[u8; 16], Vec<Digest>>,
    nameless: u64,
}

impl Measure {
    fn new(pipeline: &Pipeline, plan: &Plan) -> Self {
        let raw = plan.outputs().into_iter().map(|crosses| match crosses {
            Crosses::Leaf(_, column) => Some(Part::Row.column(&column.from.leaf.path)),
            Crosses::Derived(_) | Crosses::Noised(_) => None,
        });
        let keyed = !plan.keys.is_empty();
        debug_assert!(pipeline.quasi_sets.iter().all(|set| !set.is_empty()));
        Self { raw: raw.collect(), keyed, rows: HashMap::new(), nameless: 0 }
    }

    fn take(&mut self, passage: &Passage) {
        let staged = &passage.staged;
        let refused: HashSet<(u32, i32, i64)> =
            passage.refused.iter().map(|r| (r.source.0, r.source.1, r.offset)).collect();
        for (row, origin) in staged.batch.origins.iter().enumerate() {
            let crosses = origin.kind() == RowKind::Upsert
                && !staged.outside[row]
                && !refused.contains(&(origin.topic, origin.partition, origin.offset));
            let key = self.key(&staged.keys, row);
            if !crosses {
                // What is gone, or does not cross, is no row outside.
                self.rows.remove(&key);
                continue;
            }
            let raw = self.raw.iter().map(|name| {
                let column = name.as_ref().and_then(|n| staged.batch.rows.column_by_name(n));
                column.map_or([0; 16], |column| digest(column, row))
            });
            let after = staged.columns.columns().iter().map(|column| digest(column, row));
            let cells = raw.chain(after).collect();
            self.rows.insert(key, cells);
        }
    }

    /// A table without a key has as many rows as it has records.
    fn key(&mut self, keys: &RecordBatch, row: usize) -> Digest {
        if self.keyed {
            return short(evidence::key_digest(keys, row).as_bytes());
        }
        self.nameless += 1;
        short(&self.nameless.to_be_bytes())
    }

    /// How the rows are spread over some of the cells together.
    fn spread(&self, cells: &[usize]) -> Counted {
        let mut groups: HashMap<Vec<Digest>, u64> = HashMap::new();
        for row in self.rows.values() {
            *groups.entry(cells.iter().map(|at| row[*at]).collect()).or_default() += 1;
        }
        let mut sizes: Vec<u64> = groups.into_values().collect();
        sizes.sort_unstable();
        Counted { rows: self.rows.len() as u64, sizes }
    }

    fn tell(&self, pipeline: &Pipeline, plan: &Plan, sample: &str) -> Sample {
        let outputs = plan.outputs();
        let width = outputs.len();
        let mut warnings = Vec::new();
        let mut columns = Vec::new();
        for (at, crosses) in outputs.iter().enumerate() {
            let after = self.spread(&[width + at]);
            let (class, produces) = match crosses {
                Crosses::Leaf(_, column) => (column.from.class, column.produces()),
                Crosses::Derived(column) => (column.class, None),
                Crosses::Noised(column) => (column.class, None),
            };
            warnings.extend(codebook(crosses.name(), produces, &after));
            columns.push(ColumnSpread {
                column: crosses.name().to_owned(),
                class: class.to_string(),
                before: self.raw[at].is_some().then(|| self.spread(&[at]).told()),
                after: after.told(),
            });
        }
        let rows = self.rows.len() as u64;
        if rows < SHARE_ROWS_MIN {
            warnings.push(format!("fewer than {SHARE_ROWS_MIN} rows: too few to say anything"));
        }
        Sample {
            pipeline: pipeline.name.clone(),
            notice: NOTICE,
            sample: sample.to_owned(),
            rows: count(rows),
            columns,
            quasi_sets: self.sets(pipeline, &outputs),
            warnings,
        }
    }

    fn sets(&self, pipeline: &Pipeline, outputs: &[Crosses<'_>]) -> Vec<SetSpread> {
        let leaf = |crosses: &Crosses<'_>| match crosses {
            Crosses::Leaf(_, column) => Some(path(column).to_owned()),
            Crosses::Derived(_) | Crosses::Noised(_) => None,
        };
        let crossing: BTreeMap<String, usize> =
            outputs.iter().enumerate().filter_map(|(at, c)| Some((leaf(c)?, at))).collect();
        let quasi = |crosses: &Crosses<'_>| match crosses {
            Crosses::Leaf(_, column) if column.from.class == Class::Quasi => {
                Some(path(column).to_owned())
            }
            _ => None,
        };
        let mut sets = pipeline.quasi_sets.clone();
        let all: Vec<String> = outputs.iter().filter_map(quasi).collect();
        if sets.is_empty() && !all.is_empty() {
            sets.push(all);
        }
        let told = sets.into_iter().map(|set| {
            let at: Vec<usize> =
                set.iter().filter_map(|leaf| crossing.get(leaf).copied()).collect();
            let after: Vec<usize> = at.iter().map(|at| outputs.len() + at).collect();
            let behind = set.iter().filter(|leaf| !crossing.contains_key(*leaf)).cloned().collect();
            let (before, after) = (self.spread(&at).told(), self.spread(&after).told());
            SetSpread { leaves: set, behind, before, after }
        });
        told.collect()
    }
}

fn path(column: &OutputColumn) -> &str {
    &column.from.leaf.path
}

fn digest(column: &ArrayRef, row: usize) -> Digest {
    let mut text = String::new();
    if column.is_null(row) {
        return [0; 16];
    }
    if canonical::write(column, row, &mut text).is_err() {
        // A value without a text, such as a date beyond the year 9999: as it lies in memory.
        let single = column.slice(row, 1).to_data();
        return short(format!("{:?}", single.buffers()).as_bytes());
    }
    short(text.as_bytes())
}

fn short(bytes: &[u8]) -> Digest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&sha256(bytes)[..16]);
    digest
}

/// A column that hides its values behind others, of which there are few.
fn codebook(column: &str, produces: Option<&Produces>, counted: &Counted) -> Option<String> {
    let pseudonym = matches!(produces, Some(Produces::Token { .. } | Produces::Fpe { .. }));
    let values = counted.sizes.len() as u64;
    let few = values < CODEBOOK_VALUES_MAX
        && counted.rows >= SHARE_ROWS_MIN
        && counted.rows >= values.saturating_mul(CODEBOOK_ROWS_A_VALUE);
    (pseudonym && few).then(|| {
        format!(
            "`{column}` has few values: whoever knows how often each of them occurs reads its \
             pseudonyms as a codebook. Generalize or drop it"
        )
    })
}

/// Sizes of all groups, rising.
struct Counted {
    rows: u64,
    sizes: Vec<u64>,
}

impl Counted {
    fn told(&self) -> Spread {
        let alone = self.sizes.iter().filter(|size| **size == 1).count() as u64;
        let small: u64 = self.sizes.iter().filter(|size| **size < SHARE_ROWS_MIN).sum();
        let enough = self.rows >= SHARE_ROWS_MIN;
        Spread {
            values: count(self.sizes.len() as u64),
            smallest_group: match enough {
                true => count(self.sizes.first().copied().unwrap_or_default()),
                false => TOO_FEW,
            },
            unique: share(alone, self.rows),
            small_groups: share(small, self.rows),
            entropy_bits: enough.then(|| self.entropy()),
        }
    }

    /// Shannon's, over the groups in the order of their sizes, so that the sum is one sum; rounded
    /// to half a bit.
    fn entropy(&self) -> f64 {
        let rows = self.rows as f64;
        let bits = |size: &u64| {
            let share = *size as f64 / rows;
            -share * share.log2()
        };
        let sum: f64 = self.sizes.iter().map(bits).sum();
        // No negative zero.
        (sum * 2.0).round() / 2.0 + 0.0
    }
}

/// As in [`bucket`].
const TOO_FEW: &str = "too few rows to say";

/// A share in a bucket, none of which is of fewer than 20 rows.
fn share(part: u64, whole: u64) -> &'static str {
    match part {
        1..SHARE_ROWS_MIN if whole >= SHARE_ROWS_MIN => "under 20 rows",
        _ => bucket(part, whole),
    }
}

/// A count in a bucket, none of which is of fewer than 20.
fn count(found: u64) -> &'static str {
    match found {
        0..20 => "under 20",
        20..100 => "20 to 99",
        100..1_000 => "100 to 999",
        1_000..10_000 => "1,000 to 9,999",
        10_000..100_000 => "10,000 to 99,999",
        _ => "100,000 or more",
    }
}

impl Sample {
    /// As a person reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.notice)?;
        writeln!(
            out,
            "\npipeline  {}\nsample    {}, {} rows",
            self.pipeline, self.sample, self.rows
        )?;
        writeln!(out, "\nhow values are spread, a column")?;
        let head =
            ["column", "", "values", "smallest group", "unique", "in groups under 20", "bits"];
        let mut table = vec![head.map(str::to_owned)];
        for column in &self.columns {
            let name = format!("{} ({})", column.column, column.class);
            match &column.before {
                Some(before) => {
                    table.push(line(&name, "before", before));
                    table.push(line("", "after", &column.after));
                }
                None => table.push(line(&name, "after", &column.after)),
            }
        }
        write_table(out, &table)?;
        if !self.quasi_sets.is_empty() {
            writeln!(out, "\nhow they are spread, together")?;
            let mut table = vec![head.map(str::to_owned)];
            for set in &self.quasi_sets {
                table.push(line(&set.leaves.join(", "), "before", &set.before));
                table.push(line("", "after", &set.after));
            }
            write_table(out, &table)?;
        }
        let behind: BTreeSet<&str> =
            self.quasi_sets.iter().flat_map(|set| &set.behind).map(String::as_str).collect();
        if !behind.is_empty() {
            let behind: Vec<&str> = behind.into_iter().collect();
            writeln!(out, "  stays behind, and is not counted: {}", behind.join(", "))?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(out, "\nwarning: {warning}"))
    }
}

fn line(name: &str, when: &str, spread: &Spread) -> [String; 7] {
    let bits = spread.entropy_bits.map_or_else(|| "-".to_owned(), |bits| format!("{bits:.1}"));
    let Spread { values, smallest_group, unique, small_groups, .. } = spread;
    [name, when, values, smallest_group, unique, small_groups, &bits].map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(sizes: &[u64]) -> Counted {
        Counted { rows: sizes.iter().sum(), sizes: sizes.to_vec() }
    }

    #[test]
    fn spread_is_exact_and_told_in_buckets() {
        let even = counted(&[25; 4]).told();
        assert_eq!((even.values, even.smallest_group), ("under 20", "20 to 99"));
        assert_eq!((even.unique, even.small_groups), ("none", "none"));
        assert_eq!(even.entropy_bits, Some(2.0));
        let alone = counted(&[1; 1024]).told();
        assert_eq!((alone.values, alone.smallest_group), ("1,000 to 9,999", "under 20"));
        assert_eq!((alone.unique, alone.entropy_bits), ("all", Some(10.0)));
        let one = counted(&[500]).told();
        assert_eq!((one.entropy_bits, one.small_groups), (Some(0.0), "none"));
        // Four rows of a thousand are no share that is told.
        let four = counted(&[1, 1, 1, 1, 996]).told();
        assert_eq!((four.unique, four.small_groups), ("under 20 rows", "under 20 rows"));
        let few = counted(&[1; 19]).told();
        assert_eq!((few.smallest_group, few.unique), (TOO_FEW, TOO_FEW));
        assert_eq!(few.entropy_bits, None);
        assert_eq!(counted(&[]).told().unique, TOO_FEW);
    }

    #[test]
    fn few_pseudonyms_are_a_codebook() {
        let token: Produces = serde_json::from_value(serde_json::json!(
            {"kind": "token", "form": "base32", "domain": "d", "version": 1}
        ))
        .unwrap();
        let said = |produces, sizes: &[u64]| codebook("c", produces, &counted(sizes)).is_some();
        assert!(said(Some(&token), &[100; 3]));
        assert!(!said(Some(&token), &[1; 300]), "every row has its own");
        assert!(!said(Some(&token), &[5; 3]), "too few rows");
        assert!(!said(Some(&Produces::Year), &[100; 3]));
        assert!(!said(None, &[100; 3]));
    }
}
