//! The trainer's side: what a global topic brought since the last time, verified, then handed over as
//! Arrow or Parquet.
//!
//! A shard is a folder that is renamed into place once every transaction in it was verified whole:
//! `shard-NUMBER`, with a file a partition, and `_feed.json`, which says where the next one begins.
//! `_state.json` beside them says the same, so that shards may be moved away; where it is older than
//! the newest folder, that counts. Whoever dies leaves a temporary folder at most, which the next
//! start removes.

mod gauges;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use douane_connectors::control_switch;
use douane_connectors::edge::Topics;
pub use douane_connectors::file::FileFormat;
use douane_connectors::file::{ShardFile, Values};
use douane_gate::OutRecord;
use douane_ledger::coverage::{Chain, Finding, Findings, Lane, Record, Seen};
use douane_ledger::release::Release;
use douane_schemas::leaf::LeafType;
use serde::{Deserialize, Serialize};

use crate::coverage::{Ask, Opened, Said, said};
use crate::fault::RunFault;
use crate::stop::Stop;
use gauges::{Found, Gauges};

/// Version of `_feed.json`.
const VERSION: u32 = 1;
/// Between two looks for what waits.
const LOOK: Duration = Duration::from_secs(2);
/// How long a group may take to say what it was told.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked beside the topic.
#[derive(Clone, Debug)]
pub struct Order {
    pub ask: Ask,
    /// Where shards go.
    pub out: PathBuf,
    pub format: FileFormat,
    /// Rows of a shard, but for a transaction that has more.
    pub rows_max: u64,
    /// Nothing is handed over before so many rows wait.
    pub wait_for: Option<u64>,
    /// Goes on where retention took records before they were taken.
    pub retired: bool,
    /// A command is to be started after what is handed over.
    pub command: bool,
    /// Where gauges of Prometheus go.
    pub metrics: Option<PathBuf>,
    /// A group of the global cluster whose lag is what was not handed over yet.
    pub lag_group: Option<String>,
}

/// What was handed over.
#[derive(Debug, Default, Serialize)]
pub struct Fed {
    pub topic: String,
    /// Nothing was refused.
    pub holds: bool,
    /// New ones, by name.
    pub shards: Vec<String>,
    /// In the new ones.
    pub rows: u64,
    pub transactions: u64,
    /// Rows in all shards of this folder.
    pub rows_in_all: u64,
    /// Parts of transactions, by partition, of which retention took records before they were
    /// taken, in all shards: only where that was allowed.
    pub retired: u64,
    /// Why the rest was refused; the first thousand.
    pub findings: Vec<Said>,
    pub findings_total: u64,
    /// A command was to be started after this shard, and did not end well yet.
    #[serde(skip)]
    due: Option<u64>,
    /// What was not handed over.
    #[serde(skip)]
    left: Found,
}

/// `_feed.json`: where the next shard begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    v: u32,
    topic: String,
    format: FileFormat,
    /// Counts shards, from 1.
    number: u64,
    /// Digest of the release that this shard's records crossed under.
    release: String,
    rows: u64,
    rows_in_all: u64,
    /// Of all shards until here: parts of transactions that retention took records of.
    retired: u64,
    /// The newest shard that a command was to be started after; 0 where none was.
    command_after: u64,
    /// First offset of the manifest topic that was not handed over.
    manifests: i64,
    /// Of each partition the first offset that may hold what was not handed over.
    next: Vec<i64>,
    /// As they stood: the topic must still hold them.
    chains: Vec<Chain>,
}

/// Hands over what there is. `asked`: a person wants it to end.
pub fn feed(file: &Path, order: &Order, asked: &AtomicBool) -> Result<Fed, RunFault> {
    let gauges = Gauges { file: order.metrics.as_deref(), topic: &order.ask.topic };
    let fed = take(file, order, asked, &gauges)?;
    let (handed_over, refused) = (fed.rows_in_all, !fed.holds);
    gauges.tell(Found { handed_over, refused, ..fed.left })?;
    Ok(fed)
}

fn take(
    file: &Path,
    order: &Order,
    asked: &AtomicBool,
    gauges: &Gauges<'_>,
) -> Result<Fed, RunFault> {
    if order.ask.releases.is_empty() {
        return Err(RunFault::Release(
            "no release: nobody can tell what may be used\n  next: name the files that the zone's \
             approvers signed with `--release`"
                .to_owned(),
        ));
    }
    let folder = Folder::open(&order.out)?;
    let mut state = folder.last()?;
    let done = command_done_up_to(&order.out)?;
    if let Some(state) = &state
        && (state.topic != order.ask.topic || state.format != order.format)
    {
        return Err(RunFault::File(format!(
            "{}: holds shards of `{}` in another format or of another topic\n  next: name another \
             folder with `--out`",
            order.out.display(),
            state.topic
        )));
    }
    let open = |state: Option<&State>| {
        let chains = state.map_or_else(Vec::new, |state| state.chains.clone());
        Opened::with(file, &order.ask, chains)
    };
    let mut opened = open(state.as_ref())?;
    // Where a call died between a shard and its note, the lag is what waits again.
    note(&opened, order, state.as_ref())?;
    let stop = Stop::new(asked);
    // A command that a kill took is started without another wait.
    let is_due = order.command && due(state.as_ref(), done).is_some();
    if let Some(rows) = order.wait_for.filter(|_| !is_due) {
        wait(&mut opened, state.as_ref(), rows, &stop, gauges)?;
        // What was revoked while it waited is revoked.
        opened = open(state.as_ref())?;
    }
    let mut fed = Fed { topic: order.ask.topic.clone(), holds: true, ..Fed::default() };
    fed.rows_in_all = state.as_ref().map_or(0, |state| state.rows_in_all);
    fed.retired = state.as_ref().map_or(0, |state| state.retired);
    fed.left = left(&opened, state.as_ref());
    loop {
        if !opened.manifests.findings().is_empty() {
            return Ok(fed.refused(opened.manifests.findings()));
        }
        fed.left = left(&opened, state.as_ref());
        let from = waiting(&opened, state.as_ref()).start;
        let scope = opened.manifests.take_of(from, order.rows_max);
        if scope.is_empty() || stop.is_set() {
            // Behind the last transaction nothing may lie that no manifest covers.
            let findings = rest(&opened, state.as_ref())?;
            if !findings.is_empty() {
                return Ok(fed.refused(&findings));
            }
            control_switch::wait_at("feed-ends");
            // Of what was revoked meanwhile no command is started.
            if opened.is_outdated() {
                opened = open(state.as_ref())?;
                continue;
            }
            break;
        }
        let transactions = scope.len() as u64;
        match hand_over(&folder, &opened, order, state.as_ref(), scope)? {
            Ok((draft, next)) => {
                control_switch::wait_at("feed-verified");
                // What was revoked while it was read is revoked.
                if opened.is_outdated() {
                    opened = open(state.as_ref())?;
                    continue;
                }
                // Crash here: a temporary folder that the next start removes.
                control_switch::die_at("feed-verified");
                folder.publish(&draft, &next)?;
                // Crash here: the shard is there, with what says where the next one begins.
                control_switch::die_at("feed-published");
                fed.shards.push(name(next.number));
                fed.rows += next.rows;
                fed.rows_in_all = next.rows_in_all;
                fed.retired = next.retired;
                fed.transactions += transactions;
                state = Some(next);
                // Crash before it: the group is behind until the next call, which begins with it.
                note(&opened, order, state.as_ref())?;
            }
            Err(findings) => return Ok(fed.refused(&findings)),
        }
    }
    fed.due = due(state.as_ref(), done);
    Ok(fed)
}

/// Tells the group how far was handed over, if one was named and anything was.
fn note(opened: &Opened, order: &Order, state: Option<&State>) -> Result<(), RunFault> {
    let (Some(group), Some(state)) = (&order.lag_group, state) else { return Ok(()) };
    let noted = opened.topics.note(group, &opened.topic, &state.next, PATIENCE);
    noted.map_err(RunFault::unreachable("global cluster"))
}

/// The shard after which a command is due.
fn due(state: Option<&State>, done: u64) -> Option<u64> {
    state.map(|state| state.command_after).filter(|after| *after > done)
}

impl Fed {
    /// The shard up to which a command is to be started now: nothing was refused, and one is due.
    /// Whoever asked to stop starts none: it stays due.
    pub fn starts(&self, is_stopped: bool) -> Result<Option<u64>, RunFault> {
        match self.due.filter(|_| self.holds) {
            Some(_) if is_stopped => Err(RunFault::Stopped(
                "the command after `--` was not started; the next call with one starts it"
                    .to_owned(),
            )),
            due => Ok(due),
        }
    }

    fn refused(mut self, findings: &Findings) -> Self {
        self.holds = false;
        self.findings = said(findings);
        self.findings_total = findings.total();
        self
    }

    /// As a person reads it.
    pub fn text(&self) -> String {
        let Self { topic, shards, rows, transactions, rows_in_all, .. } = self;
        let mut out = format!(
            "{topic}: {rows} rows of {transactions} transactions in {} new shards, each verified \
             whole; {rows_in_all} rows in all\n",
            shards.len()
        );
        if self.retired > 0 {
            out.push_str(&format!(
                "  without the records of {} transactions that retention took\n",
                self.retired
            ));
        }
        for Said { message, .. } in &self.findings {
            out.push_str(&format!("  {message}\n"));
        }
        if self.findings.iter().any(|finding| finding.code == "retired") {
            out.push_str("  `--allow-retired` takes what is left\n");
        }
        if !self.holds {
            out.push_str("REFUSED from here on: nothing of it was handed over");
        }
        out
    }
}

/// Manifests that were not handed over yet.
fn waiting(opened: &Opened, state: Option<&State>) -> Range<usize> {
    let from = state.map_or(0, |state| opened.manifests.from_offset(state.manifests));
    from..opened.manifests.len()
}

/// How much that is.
fn left(opened: &Opened, state: Option<&State>) -> Found {
    let scope = waiting(opened, state);
    Found {
        waiting: opened.manifests.records(scope.clone()),
        transactions: scope.len() as u64,
        handed_over: state.map_or(0, |state| state.rows_in_all),
        refused: !opened.manifests.findings().is_empty(),
    }
}

/// Rests until so many rows wait.
fn wait(
    opened: &mut Opened,
    state: Option<&State>,
    rows: u64,
    stop: &Stop<'_>,
    gauges: &Gauges<'_>,
) -> Result<(), RunFault> {
    loop {
        // What is refused is told at once, however little waits.
        let scope = waiting(opened, state);
        gauges.tell(left(opened, state))?;
        if opened.manifests.records(scope) >= rows || !opened.manifests.findings().is_empty() {
            return Ok(());
        }
        stop.rest(LOOK);
        if stop.is_set() {
            return Err(RunFault::Stopped(format!("{rows} rows do not wait yet")));
        }
        opened.look_again()?;
    }
}

/// The rows of one transaction in one partition, until the last of them has come. No `Debug`:
/// it is data.
#[derive(Default)]
struct Held {
    rows: Vec<(Option<Vec<u8>>, Option<Vec<u8>>, i64)>,
}

impl Held {
    fn take(&mut self, record: &Record<'_>) {
        let own = |bytes: &[u8]| bytes.to_vec();
        self.rows.push((record.key.map(own), record.value.map(own), record.timestamp_ms));
    }

    fn write(&self, partition: i32, to: &mut ShardFile) -> Result<(), RunFault> {
        let records: Vec<OutRecord<'_>> = self
            .rows
            .iter()
            .map(|(key, value, timestamp_ms)| OutRecord {
                topic: "",
                partition,
                key: key.as_deref(),
                value: value.as_deref(),
                timestamp_ms: *timestamp_ms,
                headers: &[],
            })
            .collect();
        to.add(&records).map_err(|fault| RunFault::File(fault.to_string()))
    }
}

/// Verifies some transactions and writes them down as one shard that has no name yet, or says why not.
fn hand_over(
    folder: &Folder,
    opened: &Opened,
    order: &Order,
    state: Option<&State>,
    scope: Range<usize>,
) -> Result<Result<(PathBuf, State), Findings>, RunFault> {
    let Some(approved) = opened.manifests.release(scope.start) else {
        return Err(RunFault::Release("a manifest without its release".to_owned()));
    };
    let values = values(&approved.release)?;
    let number = state.map_or(1, |state| state.number + 1);
    let draft = folder.draft(number)?;
    let (mut rows, mut retired, mut findings) = (0, 0, Findings::default());
    let mut next = Vec::new();
    for partition in 0..opened.partitions() {
        let at = partition as usize;
        let from = state.and_then(|state| state.next.get(at)).copied().unwrap_or(0);
        let path = draft.join(format!("part-{partition}.{}", extension(order.format)));
        let mut file = ShardFile::new(&path, order.format, values.clone());
        let mut lane = Lane::new(&opened.manifests, partition, scope.clone(), opened.until[at]);
        let mut held: BTreeMap<usize, Held> = BTreeMap::new();
        let (mut later, mut fault) = (None, None);
        let mut reached = from;
        if !lane.is_done() {
            reached = opened.read(partition, from, &mut |record| {
                match lane.record(record) {
                    Seen::Of { manifest, whole } => {
                        held.entry(manifest).or_default().take(record);
                        let done = whole.then(|| held.remove(&manifest)).flatten();
                        fault = done.and_then(|done| done.write(partition, &mut file).err());
                    }
                    Seen::Later => {
                        later.get_or_insert(record.offset);
                    }
                    Seen::Before => {}
                    Seen::Wrong => return ControlFlow::Break(()),
                }
                // Behind the last of these may lie what an earlier shard has: it is passed, or whoever looks
                // at the group would see it wait.
                match fault.is_some() || (lane.is_done() && later.is_some()) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        // Asked afterwards: retention may take records while this reads.
        let low = opened.low(partition)?;
        let walked = lane.finish(ahead(low, from));
        if walked.retired > 0 && !order.retired {
            let (topic, parts) = (order.ask.topic.clone(), walked.retired);
            findings.add(Finding::Retired { topic, partition, parts, low });
        }
        retired += walked.retired;
        findings.extend(walked.findings);
        rows += file.rows();
        file.close().map_err(|fault| RunFault::File(fault.to_string()))?;
        next.push(later.unwrap_or(reached));
    }
    if !findings.is_empty() {
        return Ok(Err(findings));
    }
    let made = State {
        v: VERSION,
        topic: order.ask.topic.clone(),
        format: order.format,
        number,
        release: approved.release.digest_hex(),
        rows,
        rows_in_all: rows + state.map_or(0, |state| state.rows_in_all),
        retired: retired + state.map_or(0, |state| state.retired),
        command_after: match order.command {
            true => number,
            false => state.map_or(0, |state| state.command_after),
        },
        manifests: opened.manifests.offset(scope.end - 1) + 1,
        next,
        chains: opened.manifests.chains(),
    };
    Ok(Ok((draft, made)))
}

/// The log's first offset, where it is beyond what this feed has taken; else 0: what is deleted
/// before it was handed over already, and excuses nothing behind it.
fn ahead(low: i64, from: i64) -> i64 {
    if low > from { low } else { 0 }
}

/// What lies behind everything that was handed over.
fn rest(opened: &Opened, state: Option<&State>) -> Result<Findings, RunFault> {
    let all = opened.manifests.len();
    let mut findings = Findings::default();
    for partition in 0..opened.partitions() {
        let at = partition as usize;
        let from = state.and_then(|state| state.next.get(at)).copied().unwrap_or(0);
        let until = opened.until[at];
        if from >= until {
            continue;
        }
        let mut lane = Lane::new(&opened.manifests, partition, all..all, until);
        opened.read(partition, from, &mut |record| {
            lane.record(record);
            match record.offset >= until {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        findings.extend(lane.finish(opened.low(partition)?).findings);
    }
    Ok(findings)
}

/// How a release's values are read.
fn values(release: &Release) -> Result<Values, RunFault> {
    let own = |name: &str| ["_key", "_deleted", "_timestamp"].contains(&name);
    let clash = release.columns.iter().find(|column| own(&column.name));
    if let Some(column) = clash.filter(|_| release.changes.envelope.is_none()) {
        return Err(RunFault::Release(format!(
            "column `{}` has the name of a column of every shard\n  next: name it otherwise in the \
             pipeline",
            column.name
        )));
    }
    match release.target.format.as_str() {
        "avro" => {
            let schema = douane_gate::avro_schema(release);
            Ok(Values::Avro(schema.map_err(|fault| RunFault::Gate(fault.to_string()))?))
        }
        "json" => json_schema(release).map(|schema| Values::Json(Arc::new(schema))),
        other => Err(RunFault::Release(format!("values in `{other}` are not of this version"))),
    }
}

/// The columns of a release whose values are JSON: what has no number there is text, as it crossed.
fn json_schema(release: &Release) -> Result<Schema, RunFault> {
    let columns = release
        .columns
        .iter()
        .map(|column| {
            let leaf: LeafType = column.column_type.parse().map_err(|_| {
                RunFault::Release(format!(
                    "column `{}`: type `{}` is not of this version",
                    column.name, column.column_type
                ))
            })?;
            let of = match leaf {
                LeafType::Boolean => DataType::Boolean,
                LeafType::Int16 => DataType::Int16,
                LeafType::Int32 => DataType::Int32,
                LeafType::Int64 => DataType::Int64,
                LeafType::Float32 => DataType::Float32,
                LeafType::Float64 => DataType::Float64,
                _ => DataType::Utf8,
            };
            Ok(Field::new(&column.name, of, true))
        })
        .collect::<Result<Fields, RunFault>>()?;
    if release.changes.envelope.is_none() {
        return Ok(Schema::new(columns));
    }
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let image = |name: &str| Field::new(name, DataType::Struct(columns.clone()), true);
    let table = Fields::from(vec![text("db"), text("table")]);
    Ok(Schema::new(vec![
        image("before"),
        image("after"),
        text("op"),
        Field::new("source", DataType::Struct(table), true),
        Field::new("ts_ms", DataType::Int64, true),
    ]))
}

fn extension(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Arrow => "arrow",
        _ => "parquet",
    }
}

fn name(number: u64) -> String {
    format!("shard-{number:012}")
}

/// Beside the shards: what the newest of them said of itself.
const STATE: &str = "_state.json";
/// Beside the shards: up to which of them a command ended well.
const COMMAND: &str = "_command.json";

/// The command after what was handed over ended well: it is due no more, up to this shard. Needs no
/// lock: where two write it, a command is started twice and never left out.
pub fn command_done(out: &Path, number: u64) -> Result<(), RunFault> {
    put(out, COMMAND, &serde_json::json!({ "v": VERSION, "done": number }))
}

fn command_done_up_to(out: &Path) -> Result<u64, RunFault> {
    #[derive(Deserialize)]
    struct Done {
        v: u32,
        done: u64,
    }
    let done: Option<Done> = kept(&out.join(COMMAND), |done: &Done| done.v == VERSION)?;
    Ok(done.map_or(0, |done| done.done))
}

/// A file of the folder's own; `None` where it is not there.
fn kept<T: serde::de::DeserializeOwned>(
    path: &Path,
    is_fine: impl Fn(&T) -> bool,
) -> Result<Option<T>, RunFault> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(Folder::fault(path))?,
    };
    match serde_json::from_slice(&bytes).ok().filter(is_fine) {
        Some(value) => Ok(Some(value)),
        None => Err(RunFault::File(format!(
            "{}: cannot be read, so nobody knows where to go on\n  next: name an empty folder with \
             `--out`, which takes all of it again",
            path.display()
        ))),
    }
}

/// Writes a file of the folder's own: all of it or nothing, and on disk.
fn put(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), RunFault> {
    let path = dir.join(name);
    let draft = dir.join(format!(".{name}.{}.tmp", std::process::id()));
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|_| RunFault::File(format!("{}: has no JSON form", path.display())))?;
    fs::write(&draft, bytes)
        .and_then(|()| File::open(&draft)?.sync_all())
        .and_then(|()| fs::rename(&draft, &path))
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(Folder::fault(&path))
}

/// Where shards lie. One process at a time.
struct Folder {
    dir: PathBuf,
    _lock: File,
}

impl Folder {
    fn open(dir: &Path) -> Result<Self, RunFault> {
        let fault = |path: &Path, what: &str| {
            RunFault::File(format!(
                "{}: {what}\n  next: mend the name or its rights",
                path.display()
            ))
        };
        let io = |path: &Path, error: &std::io::Error| fault(path, &error.kind().to_string());
        fs::create_dir_all(dir).map_err(|error| io(dir, &error))?;
        let lock = dir.join("_lock");
        let file = File::options().create(true).append(true).open(&lock);
        let file = file.map_err(|error| io(&lock, &error))?;
        file.try_lock().map_err(|_| fault(dir, "another `feed` writes here"))?;
        let folder = Self { dir: dir.to_owned(), _lock: file };
        for name in folder.names()? {
            let path = dir.join(&name);
            if name.starts_with(".shard-") {
                fs::remove_dir_all(&path).map_err(|error| io(&path, &error))?;
            }
            if name.starts_with(&format!(".{STATE}.")) {
                fs::remove_file(&path).map_err(|error| io(&path, &error))?;
            }
        }
        Ok(folder)
    }

    fn fault(path: &Path) -> impl Fn(std::io::Error) -> RunFault + '_ {
        |error| RunFault::File(format!("{}: {}", path.display(), error.kind()))
    }

    fn names(&self) -> Result<Vec<String>, RunFault> {
        let fault = Self::fault(&self.dir);
        fs::read_dir(&self.dir)
            .map_err(&fault)?
            .map(|entry| Ok(entry.map_err(&fault)?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    /// Where the last shard ended: what lies beside the shards says it, also of those that were moved
    /// away, unless a folder is newer.
    fn last(&self) -> Result<Option<State>, RunFault> {
        let number = |file: &String| -> Option<u64> {
            let number = file.strip_prefix("shard-")?.parse().ok()?;
            (name(number) == *file).then_some(number)
        };
        let newest = self.names()?.iter().filter_map(number).max().unwrap_or(0);
        let beside = kept(&self.dir.join(STATE), |state: &State| state.v == VERSION)?;
        if newest <= beside.as_ref().map_or(0, |state| state.number) {
            return Ok(beside);
        }
        let path = self.dir.join(name(newest)).join("_feed.json");
        let is_fine = |state: &State| state.v == VERSION && state.number == newest;
        let state = kept(&path, is_fine)?.ok_or_else(|| {
            Self::fault(&path)(std::io::Error::from(std::io::ErrorKind::NotFound))
        })?;
        // It died between the two: from now on this folder may go too.
        put(&self.dir, STATE, &state)?;
        Ok(Some(state))
    }

    fn draft(&self, number: u64) -> Result<PathBuf, RunFault> {
        let draft = self.dir.join(format!(".{}.tmp", name(number)));
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(Self::fault(&draft))?;
        }
        fs::create_dir(&draft).map_err(Self::fault(&draft))?;
        Ok(draft)
    }

    /// Everything in the draft is on disk, then it has its name.
    fn publish(&self, draft: &Path, state: &State) -> Result<(), RunFault> {
        let fault = Self::fault(draft);
        let path = draft.join("_feed.json");
        let bytes = serde_json::to_vec_pretty(state)
            .map_err(|_| RunFault::File(format!("{}: has no JSON form", path.display())))?;
        fs::write(&path, bytes).map_err(&fault)?;
        for path in [path.as_path(), draft] {
            File::open(path).and_then(|file| file.sync_all()).map_err(&fault)?;
        }
        fs::rename(draft, self.dir.join(name(state.number))).map_err(&fault)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(&fault)?;
        // Crash here: the folder is newer than what lies beside it, and counts.
        control_switch::die_at("feed-renamed");
        put(&self.dir, STATE, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(number: u64) -> State {
        State {
            v: VERSION,
            topic: "t".into(),
            format: FileFormat::Arrow,
            number,
            release: "ab".repeat(32),
            rows: 3,
            rows_in_all: 3 * number,
            retired: 0,
            command_after: 0,
            manifests: 7,
            next: vec![1, 2],
            chains: Vec::new(),
        }
    }

    #[test]
    fn a_folder_goes_on_where_its_newest_shard_ends() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert_eq!(folder.last().unwrap(), None);
        for number in 1..=11 {
            let draft = folder.draft(number).unwrap();
            folder.publish(&draft, &state(number)).unwrap();
        }
        assert_eq!(folder.last().unwrap(), Some(state(11)));
        assert!(Folder::open(dir.path()).is_err(), "one at a time");
        drop(folder);
        // What died before it was renamed is removed, and counts for nothing.
        let left = dir.path().join(format!(".{}.tmp", name(12)));
        fs::create_dir(&left).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert!(!left.exists() && folder.last().unwrap() == Some(state(11)));
        // Shards may go, the newest too, and other names are nobody's.
        fs::remove_dir_all(dir.path().join(name(3))).unwrap();
        fs::create_dir(dir.path().join("shard-99")).unwrap();
        assert_eq!(folder.last().unwrap(), Some(state(11)));
        (1..=11).for_each(|number| drop(fs::remove_dir_all(dir.path().join(name(number)))));
        assert_eq!(folder.last().unwrap(), Some(state(11)), "what was moved away was taken");
        fs::write(dir.path().join(STATE), "{}").unwrap();
        assert!(folder.last().is_err());
    }

    #[test]
    fn of_folder_and_state_the_newer_counts() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        for number in 1..=2 {
            folder.publish(&folder.draft(number).unwrap(), &state(number)).unwrap();
        }
        // It died after the folder had its name, before the file beside it was written.
        put(dir.path(), STATE, &state(1)).unwrap();
        assert_eq!(folder.last().unwrap(), Some(state(2)));
        fs::remove_dir_all(dir.path().join(name(2))).unwrap();
        assert_eq!(folder.last().unwrap(), Some(state(2)), "it was noted meanwhile");
        put(dir.path(), STATE, &state(1)).unwrap();
        fs::create_dir(dir.path().join(name(3))).unwrap();
        assert!(folder.last().is_err(), "a folder without its word");
    }

    #[test]
    fn a_command_is_due_until_it_ended_well() {
        let dir = tempfile::tempdir().unwrap();
        let after = |number| State { command_after: number, ..state(4) };
        assert_eq!(command_done_up_to(dir.path()).unwrap(), 0);
        assert_eq!(due(Some(&after(3)), 0), Some(3), "killed before it was started");
        assert_eq!((due(Some(&after(0)), 0), due(None, 0)), (None, None));
        command_done(dir.path(), 3).unwrap();
        let done = command_done_up_to(dir.path()).unwrap();
        assert_eq!((due(Some(&after(3)), done), due(Some(&after(4)), done)), (None, Some(4)));
        let fed = |holds| Fed { holds, due: Some(4), ..Fed::default() };
        assert_eq!(fed(true).starts(false).unwrap(), Some(4));
        assert_eq!(fed(false).starts(false).unwrap(), None);
        let stopped = fed(true).starts(true);
        assert!(matches!(stopped, Err(RunFault::Stopped(_))), "{stopped:?}");
        fs::write(dir.path().join(COMMAND), "x").unwrap();
        assert!(command_done_up_to(dir.path()).is_err());
    }

    /// What is deleted before it was taken is told; what was taken already excuses nothing.
    #[test]
    fn only_a_log_that_begins_ahead_of_the_feed_has_lost_what_it_would_take() {
        assert_eq!((ahead(0, 0), ahead(5, 9), ahead(9, 9)), (0, 0, 0));
        assert_eq!((ahead(1, 0), ahead(10, 9)), (1, 10));
    }
}
