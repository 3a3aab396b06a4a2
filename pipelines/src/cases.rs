//! `test`: the tests inside a pipeline file, through the real path ([`crate::trial`]), with keys
//! that are made for it and thrown away. Nothing outside is reached.
//!
//! On failure what was expected and what was found are shown. That is no leak, and the only place
//! where it is none: the inputs stand in a YAML file that everybody reads who reads the report, and
//! what came out was made of them, under keys that nobody has.

use std::fmt::Write;
use std::path::Path;

use douane_gate::{Approved, OutRecord};
use douane_schemas::leaf::{Leaf, LeafType, TableLeaves};
use douane_schemas::record::{Format, RawRecord};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::aggregate::trial as aggregate;
use crate::config::{self, ANY, Case, Cells, Event, Expected, Pipeline, Place, SinkFormat};
use crate::crossing::NoSchemas;
use crate::fault::RunFault;
use crate::hold::Reason;
use crate::plan::{self, Plan};
use crate::release;
use crate::trial::{Refusing, Took, Trial};

/// When the events of all tests happened: 2026-01-01T00:00:00Z.
pub(crate) const AT_MS: i64 = 1_767_225_600_000;
/// Shorter texts stand in much by chance: they are compared with whole cells.
const ABSENT_PART_MIN: usize = 6;

/// The tests of one file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub file: String,
    pub pipeline: String,
    /// Where the types of the leaves come from.
    pub leaves: String,
    /// Leaves whose type was guessed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guessed: Vec<String>,
    pub tests: Vec<Outcome>,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    pub name: String,
    pub line: u32,
    pub passed: bool,
    /// Records that crossed, tombstones among them.
    pub crossed: usize,
    pub quarantined: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// The first thing that is not as expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
}

impl Report {
    /// There are tests, and all of them pass: no test is no pass.
    pub fn passes(&self) -> bool {
        !self.tests.is_empty() && self.tests.iter().all(|test| test.passed)
    }

    /// As a person reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}: leaves as {}", self.file, self.leaves)?;
        if !self.guessed.is_empty() {
            let guessed = self.guessed.join(", ");
            writeln!(out, "  guessed: {guessed}; `types:` or a release says what they are")?;
        }
        for test in &self.tests {
            match &test.difference {
                None => writeln!(out, "  ok    {}", test.name)?,
                Some(difference) => {
                    writeln!(out, "  FAIL  {} (line {})", test.name, test.line)?;
                    writeln!(out, "        {difference}")?;
                }
            }
        }
        let failed = self.tests.iter().filter(|test| !test.passed).count();
        match self.tests.len() {
            0 => writeln!(out, "  no tests, which is no pass\n  next: add `tests:` to the file"),
            all => writeln!(out, "  {} passed, {failed} failed", all - failed),
        }
    }
}

/// Runs the tests of a pipeline file, a report a pipeline.
pub fn run(place: &Path, file: &Path) -> Result<Vec<Report>, RunFault> {
    let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    pipelines.iter().map(|pipeline| run_one(&place, pipeline)).collect()
}

fn run_one(place: &Place, pipeline: &Pipeline) -> Result<Report, RunFault> {
    let shape = Shape::of(pipeline);
    let plan = Plan::new(pipeline, shape.leaves.clone()).map_err(RunFault::Findings)?;
    let tests = pipeline
        .tests
        .iter()
        .map(|case| check(place, pipeline, &plan, case))
        .collect::<Result<Vec<_>, RunFault>>()?;
    Ok(Report {
        file: pipeline.file.display().to_string(),
        pipeline: pipeline.name.clone(),
        leaves: shape.from,
        guessed: shape.guessed,
        tests,
    })
}

/// The plan of a file as far as it can be known without a network: over the leaves of its release,
/// over those that it declares, and over likely ones.
pub(crate) fn plan(pipeline: &Pipeline) -> Result<Plan, RunFault> {
    Plan::new(pipeline, Shape::of(pipeline).leaves).map_err(RunFault::Findings)
}

/// The leaves, and where they were found.
struct Shape {
    leaves: TableLeaves,
    from: String,
    guessed: Vec<String>,
}

impl Shape {
    /// From the live or draft release where it still fits the file, else from the file itself.
    fn of(pipeline: &Pipeline) -> Self {
        let live = release::envelope(pipeline).ok();
        let draft = release::to_sign(pipeline).ok();
        let mut known = TableLeaves { key: Vec::new(), row: Vec::new() };
        for (what, envelope) in [("release", live), ("draft of release", draft)] {
            let release = envelope.and_then(|e| douane_ledger::release::draft(&e).ok());
            let Some(release) = release else { continue };
            let Ok(leaves) = release::leaves(&release) else { continue };
            if Plan::new(pipeline, leaves.clone()).is_ok() {
                let from = format!("{what} {} has them", release.version);
                return Self { leaves, from, guessed: Vec::new() };
            }
            known = leaves;
        }
        Self::of_file(pipeline, &known)
    }

    /// `known`: leaves of a release that no longer fits the file, most of which are as they were.
    fn of_file(pipeline: &Pipeline, known: &TableLeaves) -> Self {
        let mut guessed = Vec::new();
        let mut leaf = |path: &String| {
            let released = known.row.iter().find(|leaf| leaf.path == *path);
            let released = released.map(|leaf| leaf.leaf_type);
            let declared = pipeline.types.get(path).copied().or(released);
            let leaf_type = declared.unwrap_or_else(|| match pipeline.source.has_schema() {
                false => LeafType::Text,
                true => {
                    let found = plan::likely_for(pipeline, path, |t| fits(pipeline, path, t));
                    guessed.push(format!("{path} ({found})"));
                    found
                }
            });
            Leaf { path: path.clone(), leaf_type }
        };
        let row: Vec<Leaf> = pipeline.classes.iter().map(|rule| leaf(&rule.path)).collect();
        let subject = pipeline.classes.iter().filter(|rule| rule.subject);
        let (key, how): (Vec<String>, _) = match &pipeline.source.key {
            Some(key) => (key.clone(), "`key`"),
            None if !known.key.is_empty() => {
                (known.key.iter().map(|leaf| leaf.path.clone()).collect(), "the release's key")
            }
            None => (subject.map(|rule| rule.path.clone()).collect(), "the subject as key"),
        };
        let key = row.iter().filter(|leaf| key.contains(&leaf.path)).cloned().collect();
        let from = format!("the file has them, {how}");
        Self { leaves: TableLeaves { key, row }, from, guessed }
    }
}

/// Can every value that the tests give for a leaf be of this type?
fn fits(pipeline: &Pipeline, path: &str, leaf_type: LeafType) -> bool {
    let events = pipeline.tests.iter().flat_map(|case| &case.input);
    let rows = events.flat_map(|event| [&event.before, &event.after]).flatten();
    rows.filter_map(|row| row.get(path)).all(|value| match value {
        Json::Null => true,
        Json::Bool(_) => leaf_type == LeafType::Boolean,
        Json::Number(number) if number.is_f64() => {
            matches!(leaf_type, LeafType::Float64 | LeafType::Float32)
        }
        Json::Number(_) => !matches!(
            leaf_type.arrow(),
            arrow::datatypes::DataType::Utf8
                | arrow::datatypes::DataType::Boolean
                | arrow::datatypes::DataType::Binary
                | arrow::datatypes::DataType::Int16
                | arrow::datatypes::DataType::Int32
        ),
        Json::String(text) => match in_units(text, leaf_type) {
            Some(_) => true,
            None => leaf_type.arrow() == arrow::datatypes::DataType::Utf8,
        },
        Json::Array(_) | Json::Object(_) => leaf_type == LeafType::Array,
    })
}

/// Runs one test.
fn check(
    place: &Place,
    pipeline: &Pipeline,
    plan: &Plan,
    case: &Case,
) -> Result<Outcome, RunFault> {
    // The real encoding for what must be absent, and JSON to compare columns by their names.
    let real = cross(place, pipeline, plan, case, pipeline.sink.format)?;
    let shown = match pipeline.sink.format {
        SinkFormat::Json => None,
        _ => Some(cross(place, pipeline, plan, case, SinkFormat::Json)?),
    };
    let shown = shown.as_ref().unwrap_or(&real);
    let quarantined: Vec<String> =
        real.refused.iter().map(|refused| refused.code.to_owned()).collect();
    let found = records(shown, pipeline.changes.envelope.is_some());
    let difference = refusals(case, &real, &quarantined)
        .or_else(|| outputs(case, &found))
        .or_else(|| case.absent.iter().find_map(|text| absent(text, [&real, shown])));
    Ok(Outcome {
        name: case.name.clone(),
        line: case.mark.line,
        passed: difference.is_none(),
        crossed: found.len(),
        quarantined,
        held: real.held.map(|reason| reason.code),
        difference,
    })
}

/// What one test's input became.
struct Crossed {
    approved: Vec<Approved>,
    refused: Vec<Refusing>,
    held: Option<Reason>,
}

impl Crossed {
    /// The data records, without the manifests behind them.
    fn data(&self) -> Vec<OutRecord<'_>> {
        let of = |approved: &'_ Approved| {
            let all = approved.records().count();
            all.saturating_sub(1)
        };
        self.approved.iter().flat_map(|one| one.records().take(of(one))).collect()
    }
}

fn cross(
    place: &Place,
    pipeline: &Pipeline,
    plan: &Plan,
    case: &Case,
    sink: SinkFormat,
) -> Result<Crossed, RunFault> {
    // Plain JSON whatever the source's format: a test gives values, not frames.
    let source = Format::DebeziumJson;
    let table = table(pipeline);
    let records: Vec<_> = case.input.iter().flat_map(|event| wire(event, plan, table)).collect();
    if let Some(aggregate) = &pipeline.aggregate {
        // Without a time of its own: an event may happen whenever the test says.
        let record = |(offset, (key, value)): (usize, &'_ (Bytes, Bytes))| {
            (offset, key.clone(), value.clone())
        };
        let kept: Vec<_> = records.iter().enumerate().map(record).collect();
        let raw: Vec<RawRecord<'_>> = kept
            .iter()
            .map(|(offset, key, value)| RawRecord {
                topic: 0,
                partition: 0,
                offset: *offset as i64,
                timestamp_ms: -1,
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &[],
            })
            .collect();
        let tried = aggregate::run(place, pipeline, plan, aggregate, sink, &raw)?;
        let (approved, refused, held) = (tried.windows, tried.refused, tried.held);
        return Ok(Crossed { approved, refused, held });
    }
    let mut trial = Trial::new(place, pipeline, plan, source, sink, Box::new(NoSchemas))?;
    for (offset, (key, value)) in records.iter().enumerate() {
        let record = RawRecord {
            topic: 0,
            partition: 0,
            offset: offset as i64,
            timestamp_ms: AT_MS,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &[],
        };
        if trial.push(&record)? == Took::Full {
            return Err(RunFault::File("a test's input does not fit into one batch".to_owned()));
        }
    }
    let passage = trial.pass()?;
    let held = trial.held().values().next().map(|(_, reason)| reason.clone());
    Ok(Crossed { approved: vec![passage.approved], refused: passage.refused, held })
}

pub(crate) type Bytes = Option<Vec<u8>>;

/// The table whose changes a test's events are: the one that the release names, if it names one.
pub(crate) fn table(pipeline: &Pipeline) -> (&str, &str) {
    let envelope = pipeline.changes.envelope.as_ref();
    envelope.map_or(("test", "test"), |envelope| (&envelope.db, &envelope.table))
}

/// The records that Debezium would write of an event: a delete is followed by its tombstone.
pub(crate) fn wire(event: &Event, plan: &Plan, (db, table): (&str, &str)) -> Vec<(Bytes, Bytes)> {
    let image = |cells: &Option<Cells>| match cells {
        None => "null".to_owned(),
        Some(cells) => object(cells, &plan.leaves.row, true),
    };
    let value = format!(
        "{{\"before\":{},\"after\":{},\"source\":{{\"version\":\"3.7.0.Final\",\"connector\":\
         \"postgresql\",\"name\":\"test\",\"ts_ms\":{AT_MS},\"snapshot\":\"false\",\"db\":\"{db}\",\
         \"schema\":\"public\",\"table\":\"{table}\"}},\"op\":\"{}\",\"ts_ms\":{AT_MS}}}",
        image(&event.before),
        image(&event.after),
        event.op,
    );
    let row = event.after.as_ref().or(event.before.as_ref());
    let key = row.filter(|_| !plan.leaves.key.is_empty()).map(|row| {
        let key = &plan.leaves.key;
        let cells = row.iter().filter(|(path, _)| key.iter().any(|leaf| leaf.path == **path));
        let cells = cells.map(|(path, value)| (path.clone(), value.clone())).collect();
        object(&cells, key, false).into_bytes()
    });
    let mut records = vec![(key.clone(), Some(value.into_bytes()))];
    if event.op == 'd' {
        records.push((key, None));
    }
    records
}

/// Cells as a JSON object, nested as their paths say; leaves without a cell are null.
fn object(cells: &Cells, leaves: &[Leaf], others: bool) -> String {
    let mut root = Map::new();
    for leaf in leaves {
        let value = cells.get(&leaf.path).unwrap_or(&Json::Null);
        put(&mut root, &leaf.path, in_json(value, leaf.leaf_type));
    }
    let listed = |path: &String| leaves.iter().any(|leaf| leaf.path == *path);
    for (path, value) in cells.iter().filter(|(path, _)| others && !listed(path)) {
        put(&mut root, path, value.clone());
    }
    Json::Object(root).to_string()
}

fn put(object: &mut Map<String, Json>, path: &str, value: Json) {
    match path.split_once('.') {
        None => {
            object.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = object.entry(first).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// A value as Debezium's JSON has it. Dates and times may be written as people write them.
fn in_json(value: &Json, leaf_type: LeafType) -> Json {
    match value {
        Json::String(text) => in_units(text, leaf_type).map_or_else(|| value.clone(), Json::from),
        _ => value.clone(),
    }
}

/// `2024-02-29` and `2024-02-29T13:14:15.5` in the units of a date's or timestamp's type.
fn in_units(text: &str, leaf_type: LeafType) -> Option<i64> {
    use jiff::civil::{Date, DateTime};
    let at = |text: &str| {
        let text = text.strip_suffix('Z').unwrap_or(text);
        let at: DateTime = text.parse().ok()?;
        Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    match leaf_type {
        LeafType::Date => {
            let date: Date = text.parse().ok()?;
            let at = date.to_datetime(jiff::civil::Time::midnight());
            let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
            Some(at.as_second().div_euclid(86_400))
        }
        LeafType::Timestamp => Some(at(text)?.as_millisecond()),
        LeafType::MicroTimestamp => Some(at(text)?.as_microsecond()),
        LeafType::NanoTimestamp => i64::try_from(at(text)?.as_nanosecond()).ok(),
        _ => None,
    }
}

/// What crossed, by column; `None` is a tombstone. Of an envelope it is the row after the change,
/// of a delete's the row before it.
fn records(crossed: &Crossed, envelope: bool) -> Vec<Option<Json>> {
    let row = |value: Json| match value.get("after") {
        Some(after) if envelope && !after.is_null() => after.clone(),
        Some(_) if envelope => value["before"].clone(),
        _ => value,
    };
    crossed
        .data()
        .iter()
        .map(|record| Some(row(serde_json::from_slice(record.value?).unwrap_or(Json::Null))))
        .collect()
}

fn refusals(case: &Case, crossed: &Crossed, quarantined: &[String]) -> Option<String> {
    let held = crossed.held.as_ref();
    let found = held.map(|reason| reason.code.as_str());
    if found != case.held.as_deref() {
        let shown = held.map_or("nothing".to_owned(), |r| format!("`{}`: {}", r.code, r.text));
        let expected = case.held.as_deref().map_or("nothing".to_owned(), |c| format!("`{c}`"));
        return Some(format!("held: expected {expected}, found {shown}"));
    }
    if quarantined != case.quarantined {
        let refused = crossed.refused.iter();
        let found: Vec<String> = refused
            .map(|r| match &r.column {
                Some(column) => format!("{} (record {}, column `{column}`)", r.code, r.offset + 1),
                None => format!("{} (record {})", r.code, r.offset + 1),
            })
            .collect();
        let list = |codes: &[String]| match codes.is_empty() {
            true => "nothing".to_owned(),
            false => codes.join(", "),
        };
        let (expected, found) = (list(&case.quarantined), list(&found));
        return Some(format!("quarantined: expected {expected}, found {found}"));
    }
    None
}

fn outputs(case: &Case, found: &[Option<Json>]) -> Option<String> {
    let expected = case.output.as_ref()?;
    for (n, expected) in expected.iter().enumerate() {
        let number = n + 1;
        let difference = match (expected, found.get(n)) {
            (_, None) => break,
            (Expected::Tombstone, Some(None)) => None,
            (Expected::Tombstone, Some(Some(_))) => Some("expected a tombstone".to_owned()),
            (Expected::Row { .. }, Some(None)) => Some("found a tombstone".to_owned()),
            (Expected::Row { cells, .. }, Some(Some(row))) => row_differs(cells, row),
        };
        if let Some(difference) = difference {
            return Some(format!("record {number}: {difference}"));
        }
    }
    let (expected, found) = (expected.len(), found.len());
    (expected != found).then(|| format!("records: expected {expected}, found {found}"))
}

fn row_differs(cells: &Cells, row: &Json) -> Option<String> {
    // Of an envelope the row after the change counts, of a delete the one before.
    let mut images = [row.get("after"), row.get("before")].into_iter().flatten();
    let row = match row.get("op") {
        Some(_) => images.find(|image| image.is_object()).unwrap_or(row),
        None => row,
    };
    cells.iter().find_map(|(column, expected)| match row.get(column) {
        None => Some(format!("column `{column}` does not cross")),
        Some(found) if same(expected, found) => None,
        Some(found) => Some(format!("column `{column}`: expected {expected}, found {found}")),
    })
}

fn same(expected: &Json, found: &Json) -> bool {
    match (expected, found) {
        (Json::String(any), found) if any == ANY => !found.is_null(),
        // `19.80` is a number in YAML, and a text where decimals cross.
        (Json::Number(expected), Json::String(found)) => expected.to_string() == *found,
        _ => expected == found,
    }
}

/// Where a text stands that must stand nowhere.
fn absent(text: &str, crossed: [&Crossed; 2]) -> Option<String> {
    let whole = text.chars().count() < ABSENT_PART_MIN;
    let holds = |bytes: &[u8]| match whole {
        true => bytes == text.as_bytes(),
        false => bytes.windows(text.len()).any(|part| part == text.as_bytes()),
    };
    for crossed in crossed {
        let printed = crossed.held.iter().map(|reason| &reason.text);
        if printed.into_iter().any(|printed| holds(printed.as_bytes())) {
            return Some(format!("absent: {text:?} stands in the reason of the hold"));
        }
        for (n, record) in crossed.approved.iter().flat_map(Approved::records).enumerate() {
            let number = n + 1;
            let headers = record.headers.iter().map(|(_, value)| value.as_slice());
            let key = record.key.into_iter().map(|key| ("key", key));
            let value = record.value.into_iter().map(|value| ("value", value));
            let parts = key.chain(value).chain(headers.map(|value| ("headers", value)));
            for (part, bytes) in parts {
                let cells = serde_json::from_slice::<Json>(bytes).ok();
                let cell = cells.as_ref().and_then(|row| column_with(row, text, whole));
                if let Some(column) = cell {
                    return Some(format!(
                        "absent: {text:?} stands in record {number}, column `{column}`"
                    ));
                }
                if holds(bytes) {
                    return Some(format!(
                        "absent: {text:?} stands in the {part} of record {number}"
                    ));
                }
            }
        }
    }
    None
}

/// The column whose cell is, or holds, a text.
fn column_with<'r>(row: &'r Json, text: &str, whole: bool) -> Option<&'r String> {
    let Json::Object(row) = row else { return None };
    let cell = |value: &Json| match value {
        Json::String(found) => found.clone(),
        other => other.to_string(),
    };
    let hit = |value: &Json| {
        let cell = cell(value);
        if whole { cell == text } else { cell.contains(text) }
    };
    row.iter().find(|(_, value)| hit(value)).map(|(column, _)| column)
}

#[cfg(test)]
mod tests;
