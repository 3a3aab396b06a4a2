//! Files as edges: the same run loop, gate, release and ledger, from JSON lines to folders of parts
//! and on from there without any broker, and with Kafka on either side.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::cluster::{Cluster, Isolation};
use crate::customers::{Customers, Format};
use crate::place::{CUSTOMER_DOMAINS, CUSTOMER_OVERRIDE, binary, customer_columns, scorecards};
use crate::{rig, say};

/// A place of which at least one side is a folder.
pub struct Folders {
    pub dir: PathBuf,
}

/// Exit code, and everything that was printed.
type Said = (i32, String);

impl Folders {
    /// Files, keys, approvers, and a signed release; both sides are folders.
    pub fn new(name: &str, sink: &str, lines: &str) -> Self {
        Self::between(name, [IN, OUT], FILE_SOURCE, &file_sink(sink), lines)
    }

    /// The same between any two sides, each as `douane.yaml` and the pipeline say it.
    fn between(
        name: &str,
        [sovereign, global]: [&str; 2],
        source: &str,
        sink: &str,
        lines: &str,
    ) -> Self {
        let folders = Self { dir: rig::directory(&format!("files-{name}")) };
        for folder in ["in", "out", "pipelines", "approvers"] {
            fs::create_dir_all(folders.dir.join(folder)).unwrap();
        }
        folders.write("in/customers.jsonl", lines);
        let place = format!(
            "clusters:
  sovereign: {sovereign}
  global: {global}
keys: {{ dir: keys/ }}
ledger: {{ dir: ledger/ }}
trust: trust.json
tasks: 1
"
        );
        folders.write("douane.yaml", &place);
        folders.write("pipelines/domains.yaml", CUSTOMER_DOMAINS);
        scorecards(&folders.dir, CUSTOMER_OVERRIDE);
        folders.pipeline(source, &customer_columns(true), sink);
        folders.fine(&["keys", "init"]);
        for approver in ["ada", "bo"] {
            let out = format!("approvers/{approver}");
            folders.fine(&["keys", "init", "--approver", approver, "--out", &out]);
        }
        let trust = "release trust --approver ada=approvers/ada.pub --approver bo=approvers/bo.pub \
                     --threshold 2 --sign approvers/ada --sign approvers/bo";
        folders.fine(&trust.split(' ').collect::<Vec<_>>());
        folders.release();
        folders
    }

    /// The same value gives the same token as in the other place.
    fn take_keys_of(&self, other: &Self) {
        fs::remove_dir_all(self.dir.join("keys")).unwrap();
        let copied =
            Command::new("cp").arg("-a").arg(other.dir.join("keys")).arg(&self.dir).status();
        assert!(copied.unwrap().success());
    }

    fn pipeline(&self, source: &str, columns: &str, sink: &str) {
        let text = format!(
            "name: customers
purpose: model-training
domains: domains.yaml
source:
  {source}
{columns}sink:
  {sink}
{CUSTOMER_OVERRIDE}quarantine: {{ max_per_minute: 100000 }}
release: customers.release.json
"
        );
        self.write(FILE, &text);
    }

    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.dir.join(path), text).unwrap();
    }

    fn release(&self) {
        self.release_of(&[]);
    }

    /// A release with limits.
    fn release_of(&self, limits: &[&str]) {
        self.fine(&["doctor", "--create", FILE]);
        self.fine(&[&["release", "propose", FILE, "--author", "cleo"], limits].concat());
        for approver in ["approvers/ada", "approvers/bo"] {
            self.fine(&["release", "sign", FILE, "--key", approver]);
        }
        self.fine(&["release", "show", FILE]);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).current_dir(&self.dir).stdin(Stdio::null()).env("NO_COLOR", "1");
        command
    }

    pub fn verb(&self, args: &[&str]) -> Said {
        let out = self.command(args).output().unwrap();
        let text = [out.stdout, out.stderr].concat();
        (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    pub fn fine(&self, args: &[&str]) -> String {
        let (code, said) = self.verb(args);
        assert_eq!(code, 0, "{args:?}: {said}");
        said
    }

    /// Starts a run, and ends it with SIGKILL a while after it has committed something; says
    /// whether it ended by itself before.
    fn killed(&self, after: Duration) -> bool {
        let before = self.parts().len();
        let mut run = self.start();
        while self.parts().len() == before {
            if run.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(after);
        let ended = run.try_wait().unwrap().is_some();
        run.kill().unwrap();
        run.wait().unwrap();
        ended
    }

    /// A run in the background.
    fn start(&self) -> Child {
        let mut command = self.command(&["run", FILE]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub fn parts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.join("out/customers")).unwrap();
        let mut parts: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        parts.retain(|path| named(path).starts_with("part-"));
        parts.sort();
        parts
    }

    /// Keys and values of all rows of Parquet in the order of the parts, as JSON has them.
    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for part in self.parts() {
            // Where nothing of a transaction crossed, its part has no records.
            let Ok(file) = fs::File::open(part.join("records.parquet")) else { continue };
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            for batch in reader {
                let batch = batch.unwrap();
                rows.extend((0..batch.num_rows()).map(|at| row(&batch, at)));
            }
        }
        rows
    }

    /// Keys and values of all records in the order of the parts.
    fn keys_and_values(&self) -> Vec<Row> {
        let records = self.records();
        let parsed = records.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        parsed.map(|mut line| (line["key"].take(), line["value"].take())).collect()
    }

    /// Keys, values and times of all records in the order of the parts. Each record must name the
    /// manifest of its part.
    pub fn records(&self) -> Vec<String> {
        let mut records = Vec::new();
        for part in self.parts() {
            let manifest: Value =
                serde_json::from_slice(&fs::read(part.join("_manifest.json")).unwrap()).unwrap();
            assert!(manifest["payload"].is_string(), "a manifest is a signed statement");
            let Ok(text) = fs::read_to_string(part.join("records.jsonl")) else { continue };
            for line in text.lines() {
                let mut line: Value = serde_json::from_str(line).unwrap();
                let headers = line["headers"].take();
                assert!(headers["douane-manifest"].is_string(), "{headers}");
                records.push(line.to_string());
            }
        }
        records
    }
}

pub const FILE: &str = "pipelines/customers.yaml";
const IN: &str = "{ zone: eu-de, id: folder-de, dir: in/ }";
const OUT: &str = "{ zone: global, id: folder-gl, dir: out/ }";
const FILE_SOURCE: &str =
    "file: { cluster: sovereign, paths: [in/customers.jsonl], format: json_lines }";

fn file_sink(format: &str) -> String {
    format!("file: {{ cluster: global, dir: out/customers, format: {format}, timestamp: 1s }}")
}

fn kafka(zone: &str, cluster: &Cluster) -> String {
    format!(
        "{{ zone: {zone}, id: \"{}\", bootstrap: \"{}\", topics: {{ replication: 1, min_insync: 1 }} }}",
        cluster.id(),
        cluster.bootstrap
    )
}

/// Key and value of a record that crossed; a tombstone's value is null.
type Row = (Value, Value);

/// A row of Parquet as the same row is in JSON.
fn row(batch: &RecordBatch, at: usize) -> Row {
    let value = |column: &dyn Array| match column.data_type() {
        _ if column.is_null(at) => Value::Null,
        DataType::Utf8 => Value::from(column.as_string::<i32>().value(at)),
        DataType::Int32 => Value::from(column.as_primitive::<Int32Type>().value(at)),
        DataType::Int64 => Value::from(column.as_primitive::<Int64Type>().value(at)),
        DataType::Timestamp(..) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(at);
            assert_eq!(micros % 3_600_000_000, 0, "the pipeline cuts to the hour");
            Value::from(format!("{}.000000", array_value_to_string(column, at).unwrap()))
        }
        other => panic!("a column of {other}"),
    };
    let named = |name: &str| batch.column_by_name(name).unwrap();
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let own = columns.filter(|(field, _)| !field.name().starts_with('_'));
    let values: serde_json::Map<String, Value> =
        own.map(|(field, column)| (field.name().clone(), value(column))).collect();
    let deleted = named("_deleted").as_boolean().value(at);
    assert!(!deleted || values.values().all(Value::is_null), "a tombstone holds nothing");
    (value(named("_key")), if deleted { Value::Null } else { Value::Object(values) })
}

/// The first difference, so that a failure says it and not all rows.
#[track_caller]
fn same(found: &[Row], expected: &[Row]) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if let Some(at) = differs {
        panic!("row {at}: {:?}, not {:?}", found[at], expected[at]);
    }
    assert_eq!(found.len(), expected.len());
}

fn named(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Change events in the order of one partition.
fn events(seed: u64, count: usize) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let events = Customers::new(seed, 1, true).take(count);
    events.map(|event| (event.key(Format::Json), event.value(Format::Json, true))).collect()
}

/// The same as JSON lines.
pub fn lines(seed: u64, count: usize) -> String {
    let mut text = String::new();
    for (key, value) in events(seed, count) {
        let part = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (key, value) = (part(key), value.map_or_else(|| "null".to_owned(), part));
        text.push_str(&format!("{{\"key\":{key},\"value\":{value}}}\n"));
    }
    text
}

/// What one run without a fault makes of the events, in JSON lines.
fn expected(name: &str, input: &str) -> (Folders, Vec<Row>) {
    let whole = Folders::new(name, "json_lines", input);
    whole.fine(&["run", FILE]);
    let rows = whole.keys_and_values();
    assert!(rows.iter().any(|(_, value)| value.is_null()), "there are deletes");
    (whole, rows)
}

#[test]
fn a_killed_run_to_parquet_holds_every_value_once() {
    let input = lines(19, 8_000);
    let (whole, expected) = expected("parquet-whole", &input);
    let place = Folders::new("parquet-killed", "parquet", &input);
    place.take_keys_of(&whole);
    assert!(!place.killed(Duration::ZERO), "a kill that cuts no run shows nothing");
    assert!(place.rows().len() < expected.len());
    place.fine(&["run", FILE]);
    same(&place.rows(), &expected);
    // The control: one value of one row is another.
    let mut other = expected.clone();
    other[7].1["city"] = Value::from("elsewhere");
    assert!(std::panic::catch_unwind(|| same(&place.rows(), &other)).is_err());
}

#[test]
fn a_killed_run_from_kafka_to_parquet_holds_every_value_once() {
    let _turn = rig::exclusive();
    let (whole, expected) = expected("kafka-in-whole", &lines(23, 12_000));
    let source = rig::clusters().0.cluster();
    let topic = "kafka-to-parquet.customers";
    source.create(topic, 1, &[]);
    let producer = source.producer();
    for (key, value) in events(23, 12_000) {
        producer.send(topic, 0, Some(&key), value.as_deref(), &[]);
    }
    producer.flush();
    let from = format!(
        "kafka: {{ cluster: sovereign, topics: [{topic}], format: debezium_json, start: earliest, key: [id] }}"
    );
    let sovereign = kafka("eu-de", &source);
    let sides = [sovereign.as_str(), OUT];
    let place = Folders::between("kafka-in", sides, &from, &file_sink("parquet"), "");
    place.take_keys_of(&whole);
    assert!(!place.killed(Duration::ZERO), "it waits for more");
    assert!(place.rows().len() < expected.len(), "a kill after everything shows nothing");
    let mut run = place.start();
    let deadline = Instant::now() + Duration::from_secs(120);
    while place.rows().len() < expected.len() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
    }
    // What should not come has time to.
    std::thread::sleep(Duration::from_secs(1));
    rig::signal(run.id(), libc::SIGINT);
    assert_eq!(run.wait().unwrap().code(), Some(0));
    same(&place.rows(), &expected);
}

#[test]
fn a_killed_run_from_files_to_kafka_holds_every_value_once() {
    let _turn = rig::exclusive();
    let input = lines(29, 12_000);
    let (whole, expected) = expected("kafka-out-whole", &input);
    let target = rig::clusters().1.cluster();
    let topic = "files-to-kafka.customers";
    // The events' times span months: segments would be rolled by them, and then compacted.
    let one_segment = ("segment.ms", "3153600000000");
    target.create(topic, 1, &[("cleanup.policy", "compact"), one_segment]);
    let to = format!(
        "kafka: {{ cluster: global, topic: {topic}, format: json, partition_by: token, timestamp: 1s }}"
    );
    let global = kafka("global", &target);
    let sides = [IN, global.as_str()];
    let place = Folders::between("kafka-out", sides, FILE_SOURCE, &to, &input);
    place.take_keys_of(&whole);
    let crossed = || -> Vec<Row> {
        let records = target.read(topic, Isolation::Committed);
        let value = |value: &[u8]| serde_json::from_slice(value).unwrap();
        records
            .iter()
            .map(|r| (Value::from(r.key_text()), r.value.as_deref().map_or(Value::Null, value)))
            .collect()
    };
    let mut run = place.start();
    let deadline = Instant::now() + Duration::from_secs(60);
    while target.end(topic, Isolation::Committed) == 0 {
        assert!(run.try_wait().unwrap().is_none() && Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(2));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(crossed().len() < expected.len(), "a kill after everything shows nothing");
    place.fine(&["run", FILE]);
    same(&crossed(), &expected);
}

#[test]
fn a_killed_run_of_files_loses_and_repeats_nothing() {
    let input = lines(11, 12_000);
    // One run without a fault, in a place of its own with the same keys, says what is right.
    let whole = Folders::new("whole", "json_lines", &input);
    whole.fine(&["run", FILE]);
    let expected = whole.records();
    assert!(expected.len() > 8_000, "{} records", expected.len());

    let place = Folders::new("killed", "json_lines", &input);
    place.take_keys_of(&whole);
    let kills = say::count("DOUANE_KILLS", 6);
    let cut = (0..kills)
        .take_while(|kill| !place.killed(Duration::from_millis(*kill as u64 * 17 % 90)))
        .count();
    assert!(cut > 0, "a loop that cuts no run shows nothing");
    place.fine(&["run", FILE]);
    say::figure("files.kills", cut, "runs cut after a commit");
    assert_eq!(place.records().len(), expected.len());
    assert!(place.records() == expected, "the same input gives the same bytes");
    let left = fs::read_dir(place.dir.join("out/customers")).unwrap();
    let left: Vec<String> = left.map(|entry| named(&entry.unwrap().path())).collect();
    assert!(left.iter().all(|name| !name.contains("tmp")), "{left:?}");

    // Run once more: nothing to do, and that is no fault.
    let parts = place.parts().len();
    place.fine(&["run", FILE]);
    assert_eq!(place.parts().len(), parts);
    place.fine(&["status", FILE]);
    let manifest = place.parts()[0].join("_manifest.json");
    place.fine(&["verify", "--manifest", manifest.to_str().unwrap()]);

    // The file grows: what is new crosses, and nothing else.
    let more = lines(11, 12_300);
    place.write("in/customers.jsonl", &more);
    place.fine(&["run", FILE]);
    let grown = place.records();
    assert!(grown.len() > expected.len() && grown.starts_with(&expected));
    // Cut, or replaced below the position: another file, and nothing crosses.
    for other in [lines(11, 1_000), lines(12, 12_300)] {
        place.write("in/customers.jsonl", &other);
        let (code, said) = place.verb(&["run", FILE]);
        assert!(code == 1 && said.contains("identity_changed"), "exit {code}: {said}");
        assert!(place.records() == grown);
    }
    place.write("in/customers.jsonl", &more);
    place.fine(&["run", FILE]);
}

/// The place of the case above and this one share no keys: each proves itself.
#[test]
fn every_format_of_files_gives_the_same_rows_and_is_read_again() {
    let input = lines(13, 400);
    let mut counts = BTreeMap::new();
    for sink in ["json_lines", "avro", "arrow", "parquet"] {
        let place = Folders::new(sink, sink, &input);
        place.killed(Duration::from_millis(10));
        place.fine(&["run", FILE]);
        place.fine(&["verify"]);
        let told = place.fine(&["status", FILE, "--format", "json"]);
        let status: Value = serde_json::from_str(told.trim()).unwrap();
        counts.insert(sink, status["records"].as_u64().unwrap());
        assert_eq!(status["partitions"][0]["state"], "caught_up");
        if sink == "json_lines" {
            continue;
        }
        // What came out goes in again: a flat file, whose own schema says the leaves.
        let Some(part) = place.parts().pop() else { panic!("{sink}: no part") };
        let from = part.join(format!("records.{sink}"));
        fs::copy(from, place.dir.join("in/again")).unwrap();
        let again = Folders { dir: place.dir.clone() };
        if sink == "avro" {
            continue;
        }
        let source =
            format!("file: {{ cluster: sovereign, paths: [in/again], format: {sink}, key: [id] }}");
        let columns = "classes:
  _key: technical
  _deleted: public
  _timestamp: public
  id: identifier
  email: identifier
  phone: identifier
  card_number: identifier
  birth_date: quasi
  notes: technical
  city: public
  country: public
  balance_cents: technical
  updated_at: public
  serial: public
stages:
  - drop: { columns: [_key, phone, card_number, birth_date, notes, balance_cents] }
  - tokenize: { columns: [id], domain: customer }
  - tokenize: { columns: [email], domain: customer_email }
";
        let text = format!(
            "name: again\npurpose: model-training\ndomains: domains.yaml\nsource:\n  {source}\n\
             {columns}sink:\n  file: {{ cluster: global, dir: out/again, format: json_lines, \
             timestamp: 1s }}\nrelease: again.release.json\n"
        );
        again.write("pipelines/again.yaml", &text);
        let file = "pipelines/again.yaml";
        again.fine(&["lint", file]);
        again.fine(&["doctor", "--create", file]);
        again.fine(&["explain", file]);
        again.fine(&["release", "propose", file, "--author", "cleo"]);
        for approver in ["approvers/ada", "approvers/bo"] {
            again.fine(&["release", "sign", file, "--key", approver]);
        }
        let (code, said) = again.verb(&["run", file]);
        assert_eq!(code, 0, "{sink}: {said}");
        assert!(fs::read_dir(place.dir.join("out/again")).unwrap().count() > 1, "{sink}: {said}");
    }
    assert!(counts.values().all(|count| *count > 300), "{counts:?}");
    let all: Vec<&u64> = counts.values().collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{counts:?}");
}

/// What a crash left in the target's folder is no matter; what somebody planted there stops the run
/// at once, leads to nothing else, and the run goes on where it was when it is gone.
#[test]
fn a_target_that_somebody_touched_is_told() {
    let place = Folders::new("touched", "json_lines", &lines(19, 200));
    place.fine(&["run", FILE]);
    let before = place.records();
    let own = place.dir.join("out/customers/_douane");
    fs::write(own.join("number"), "").unwrap();
    place.write("in/customers.jsonl", &lines(19, 400));
    place.fine(&["run", FILE]);
    let more = place.records();
    assert!(more.len() > before.len() && more.starts_with(&before));

    let key = place.dir.join("keys/store.json");
    let secret = fs::read(&key).unwrap();
    let epochs = fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().path());
    let epochs: Vec<PathBuf> =
        epochs.filter(|path| path.extension().is_some_and(|end| end == "epoch")).collect();
    assert!(epochs.len() > 1, "{epochs:?}");
    place.write("in/customers.jsonl", &lines(19, 600));
    let refused = |planted: &Path, why: &str| {
        let (code, said) = place.verb(&["run", FILE]);
        assert!(code == 1 && said.contains(why), "{}: exit {code}: {said}", planted.display());
        assert!(said.contains("next: "), "{said}");
        assert!(fs::read(&key).unwrap() == secret, "{}", planted.display());
        assert!(place.records() == more);
    };
    for epoch in &epochs {
        let mut planted = epoch.clone().into_os_string();
        planted.push(".next");
        let planted = PathBuf::from(planted);
        std::os::unix::fs::symlink("../../../keys/store.json", &planted).unwrap();
        refused(&planted, "symbolic link");
        fs::remove_file(&planted).unwrap();
        let held = fs::read(epoch).unwrap();
        fs::write(epoch, "").unwrap();
        refused(epoch, "no number");
        fs::write(epoch, held).unwrap();
    }
    // The control: with all of it gone, what is new crosses.
    place.fine(&["run", FILE]);
    let all = place.records();
    assert!(all.len() > more.len() && all.starts_with(&more));

    // A source's file that is a key by another name.
    fs::remove_file(place.dir.join("in/customers.jsonl")).unwrap();
    std::os::unix::fs::symlink("../keys/wrapping.key", place.dir.join("in/customers.jsonl"))
        .unwrap();
    let (code, said) = place.verb(&["run", FILE]);
    assert!(code == 1 && said.contains("leads out of"), "exit {code}: {said}");
}

/// What a release allows crosses to the last record and no further, through a stop in between; where its
/// bytes end is told as well.
#[test]
fn limits_let_exactly_so_much_cross_through_a_clean_stop() {
    let spent = |place: &Folders| {
        let (code, said) = place.verb(&["run", FILE]);
        assert!(code == 1 && said.contains("limits_spent"), "exit {code}: {said}");
        assert!(said.contains("next: propose a release"), "{said}");
        assert!(!said.contains(&u64::MAX.to_string()), "{said}");
    };
    let input = lines(19, 200);
    let first: String = input.split_inclusive('\n').take(30).collect();
    let place = Folders::new("limits", "json_lines", &first);
    place.release_of(&["--records", "100"]);
    place.fine(&["run", FILE]);
    let before = place.records().len();
    assert!((1..=30).contains(&before), "{before}");
    // What the first run leased and did not use is there for the second.
    place.write("in/customers.jsonl", &input);
    for _ in 0..2 {
        spent(&place);
        assert_eq!(place.records().len(), 100);
    }
    // One transaction is more than the next one allows in all.
    place.release_of(&["--records", "7"]);
    spent(&place);
    assert_eq!(place.records().len(), 107);
    place.release_of(&["--bytes", "9000"]);
    spent(&place);
    let after = place.records().len();
    assert!((108..150).contains(&after), "{after}");
    place.release();
    place.fine(&["run", FILE]);
    assert!(place.records().len() > after);
    place.fine(&["verify"]);
}

/// One bad line waits for a person and the exit code says so; one bad value is set aside.
#[test]
fn a_held_file_ends_with_one() {
    let mut input = lines(17, 40);
    input.push_str(
        "{\"key\":{\"id\":1},\"value\":{\"before\":null,\"after\":{\"unknown\":1},\"op\":\"c\"}}\n",
    );
    let place = Folders::new("held", "json_lines", &input);
    let (code, said) = place.verb(&["run", FILE]);
    assert!(code == 1 && said.contains("status"), "exit {code}: {said}");
    assert!(!place.records().is_empty(), "what is before it crosses");
    let (code, said) = place.verb(&["status", FILE]);
    assert!(code == 1 && said.contains("HELD"), "exit {code}: {said}");
}
