//! Files as edges: the same run loop, gate, release and ledger, from JSON lines to folders of parts
//! and on from there without any broker, and with Kafka on either side.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::cluster::{Cluster, Isolation};
use crate::customers::{Customers, Format};
use crate::pace::Instant;
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
        self.signed(limits);
    }

    /// Says what proposing it said.
    fn signed(&self, limits: &[&str]) -> String {
        let said = self.fine(&[&["release", "propose", FILE, "--author", "cleo"], limits].concat());
        for approver in ["approvers/ada", "approvers/bo"] {
            self.fine(&["release", "sign", FILE, "--key", approver]);
        }
        self.fine(&["release", "show", FILE]);
        said
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
    pub fn start(&self) -> Child {
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
        // Whoever asks is told before anybody starts it.
        for verb in ["status", "doctor"] {
            let (code, said) = place.verb(&[verb, FILE]);
            assert!(code == 1 && said.contains("changed its identity"), "{verb}: {code}: {said}");
        }
        assert!(place.records() == grown);
    }
    place.write("in/customers.jsonl", &more);
    // The control: the same file again is no other one.
    for verb in ["status", "doctor", "run"] {
        place.fine(&[verb, FILE]);
    }
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

/// A run that ends with a partition held has tried what it was asked to try, and that is the answer.
#[test]
fn a_redrive_beside_a_held_record_says_what_it_did() {
    let mut input = lines(53, 40);
    let good = input.lines().rfind(|line| line.contains("\"op\":\"c\"")).unwrap().to_owned();
    let id = |id: u64| {
        let mut line: Value = serde_json::from_str(&good).unwrap();
        line["key"]["id"] = Value::from(id);
        line["value"]["after"]["id"] = Value::from(id);
        line
    };
    let (mut refused, mut held) = (id(9_999_998), id(9_999_999));
    refused["value"]["after"]["phone"] = Value::from("+49abc");
    held["value"]["after"]["unknown"] = Value::from(1);
    let at = input.lines().count();
    input.push_str(&format!("{refused}\n{held}\n"));
    let place = Folders::new("redrive-held", "json_lines", &input);
    assert_eq!(place.verb(&["run", FILE]).0, 1);
    let redrive = ["quarantine", "redrive", FILE];
    // Refused once more: told as such, and that is a no.
    let (code, said) = place.verb(&redrive);
    assert!(code == 1 && said.contains("\n0 of 1 done\n"), "exit {code}: {said}");
    let fpe =
        "  - fpe: { columns: [phone], alphabet: digits, domain: phone, keep: { first: 3 } }\n";
    let columns = customer_columns(true).replace(fpe, "  - mask: { columns: [phone] }\n");
    place.pipeline(FILE_SOURCE, &columns, &file_sink("json_lines"));
    place.signed(&[]);
    let crossed = place.records().len();
    let (code, said) = place.verb(&redrive);
    assert_eq!(code, 0, "all that was asked for is done: {said}");
    let line = format!("in/customers.jsonl[0]@{at}  crossed\n1 of 1 done\n");
    assert!(said.contains(&line) && said.contains("1 partitions are held"), "{said}");
    assert_eq!(place.records().len(), crossed + 1);
    // The control: what waits is held still, and nothing else is to be tried.
    assert_eq!(place.verb(&["run", FILE]).0, 1);
    let (code, said) = place.verb(&redrive);
    assert!(code == 0 && said.contains("0 of 0 done") && !said.contains("held"), "{said}");
}

/// Each fault names the one thing that leads out of it, for this place and with its names.
#[test]
fn what_is_mistyped_is_told_with_what_to_type() {
    let place = Folders::new("mistyped", "json_lines", &lines(59, 40));
    place.fine(&["keys", "init", "--approver", "cy", "--out", "approvers/cy"]);
    let told = |args: &str, code: i32, next: &str| {
        let (found, said) = place.verb(&args.split(' ').collect::<Vec<_>>());
        assert!(found == code && said.contains(&format!("\n  next: {next}")), "{args}: {said}");
        assert_eq!(said.matches("next:").count(), 1, "{args}: {said}");
        said
    };
    told("keys init --approver di --out new/di", 2, "`mkdir -p new`, then once more");
    let trust = "release trust --approver ada=approvers/ada.pub --approver bo=approvers/bo";
    told(&format!("{trust} --sign approvers/ada"), 2, "name `approvers/bo.pub`");
    let trust = format!("{trust}.pub");
    let of_2 = "`--sign KEYFILE` of 2 of the approvers of the root before it, once for each";
    told(&format!("{trust} --sign approvers/ada"), 1, of_2);
    let nobody = "`--sign` takes keys of the approvers of the root before it, and of nobody else";
    told(&format!("{trust} --sign approvers/ada --sign approvers/cy"), 1, nobody);
    told(&format!("{trust} --threshold 3 --sign approvers/ada"), 1, "mend `--approver NAME=FILE`");
    told(
        "release trust --approver ada --sign approvers/ada",
        1,
        "`--approver ada=approvers/ada.pub`",
    );
    place.fine(&["release", "propose", FILE, "--author", "cleo"]);
    let sign = |key: &str| format!("release sign {FILE} --key {key}");
    told(&sign("approvers/ada.pub"), 2, "name `approvers/ada`");
    told(&sign("approvers/cy"), 1, "sign with a key of ada, bo; ");
    let open = std::os::unix::fs::PermissionsExt::from_mode;
    let key = place.dir.join("approvers/ada");
    fs::set_permissions(&key, open(0o644)).unwrap();
    told(&sign("approvers/ada"), 2, "`chmod go-rwx approvers/ada`, after asking who has read it");
    fs::set_permissions(&key, open(0o600)).unwrap();
    place.fine(&sign("approvers/ada").split(' ').collect::<Vec<_>>());
    told("verify", 2, "`douane run FILE` begins it");
    told(&format!("explain {FILE} --column emial"), 1, "`--column email`");
    let source = place.dir.join("in/customers.jsonl");
    fs::rename(&source, place.dir.join("aside")).unwrap();
    for verb in ["run", "explain", "run --dry-run"] {
        let (verb, more) = verb.split_once(' ').unwrap_or((verb, ""));
        let args = format!("{verb} {FILE} {more}");
        let said = told(args.trim(), 2, "put it there, or mend its name under `source`");
        assert!(
            said.contains("in/customers.jsonl: no such file") && !said.contains("topic"),
            "{said}"
        );
    }
    // The control: with all of it in its place nothing is missed.
    fs::rename(place.dir.join("aside"), &source).unwrap();
    place.fine(&["run", FILE]);
    place.fine(&["verify"]);
    place.fine(&["explain", FILE, "--column", "email"]);
}

/// What a message says to type is typed, in a shell, by a pipeline whose name needs quotes.
#[test]
fn a_command_in_a_message_is_typed_as_it_stands() {
    let place = Folders::new("typed", "json_lines", &lines(61, 40));
    fs::rename(place.dir.join("pipelines"), place.dir.join("two words")).unwrap();
    let file = "two words/customers.yaml";
    let said = place.fine(&["release", "propose", file, "--author", "cleo"]);
    let typed = |name: &str, said: &str| {
        let command = said.split_once("next: `").unwrap().1.split_once('`').unwrap().0;
        let binary = binary();
        let path = format!("{}:{}", Path::new(&binary).parent().unwrap().display(), env!("PATH"));
        let command = command.replace("KEYFILE", name);
        let mut shell = Command::new("bash");
        let out = shell.args(["-c", &command]).current_dir(&place.dir).env("PATH", path);
        (out.output().unwrap().status.code(), command)
    };
    for name in ["approvers/ada", "approvers/bo"] {
        let (code, command) = typed(name, &said);
        assert!(code == Some(0) && command.contains("'two words/customers.yaml'"), "{command}");
    }
    place.fine(&["run", file]);
    // The control: without its quotes it is not that command.
    assert_eq!(typed("approvers/ada", &said.replace('\'', "")).0, Some(2));
}

/// What crossed under an earlier release is made again with the files of then, and each answer on the way says
/// which of them are missing: no new approval would help.
#[test]
fn a_replay_of_before_a_release_asks_for_the_files_of_then() {
    let place = Folders::new("replay-then", "json_lines", &lines(67, 40));
    place.fine(&["run", FILE]);
    let release = "customers.release.json";
    let read = |name: &str| fs::read_to_string(place.dir.join(name)).unwrap();
    let then = (read(FILE), read(release));
    let columns = customer_columns(true).replace("to: year", "to: decade");
    assert_ne!(columns, customer_columns(true));
    place.pipeline(FILE_SOURCE, &columns, &file_sink("json_lines"));
    place.signed(&[]);
    let replay = |more: &[&str]| {
        place.verb(&[&["replay", FILE, "--by", "ada", "--reason", "a test"], more].concat())
    };
    let (code, said) = replay(&[]);
    let (_, only) = said.split_once("its release beside it, from git, and `--release ").unwrap();
    let only = ["--release", only.split_once('`').unwrap().0];
    assert!(code == 1 && said.contains("semantics gone"), "{said}");
    // One of the two files of then beside one of now.
    for (file, text) in [(FILE, &then.0), (release, &then.1)] {
        let now = read(file);
        place.write(file, text);
        let (code, said) = replay(&only);
        let next = format!("next: what crossed is made again with {FILE}, what it names and ");
        assert!(code == 1 && said.contains(&next) && said.contains("from one commit"), "{said}");
        assert!(!said.contains("release propose") && said.matches("next:").count() == 1, "{said}");
        place.write(file, &now);
    }
    place.write(FILE, &then.0);
    place.write(release, &then.1);
    let (code, said) = replay(&only);
    assert!(code == 0 && said.contains(" 0 different, 0 that cannot"), "{said}");
}

/// Parts work beside each other and beside who rotates keys; one that has nothing to do says so, and joins.
#[test]
fn parts_are_made_at_once_and_joined() {
    let all = lines(67, 120);
    let all: Vec<&str> = all.lines().collect();
    let upto = |share: usize| all[..all.len() * share / 3].join("\n") + "\n";
    let place = Folders::new("replay-parts", "json_lines", &upto(1));
    place.fine(&["run", FILE]);
    for share in [2, 3] {
        place.write("in/customers.jsonl", &upto(share));
        place.fine(&["run", FILE]);
    }
    let by = ["replay", FILE, "--by", "ada", "--reason", "a test", "--format", "json"];
    let replay = |more: &[&str]| {
        let out = place.command(&[&by[..], more].concat()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    };
    let count = |told: &[u8]| {
        let told: Value = serde_json::from_slice(told).unwrap();
        assert!(told["holds"] == true && told["equal"] == told["transactions"], "{told}");
        told["transactions"].as_u64().unwrap()
    };
    let transactions = count(&replay(&[]));
    assert!(transactions >= 2, "{transactions}");
    // It takes its time, and keys are rotated meanwhile: the log of keys is nobody's until it is written to.
    let mut slow = place.command(&[&by[..], &["--rate", "5"]].concat());
    let mut slow = slow.stdout(Stdio::null()).spawn().unwrap();
    let mut meanwhile = 0;
    while meanwhile < 3 && slow.try_wait().unwrap().is_none() {
        place.fine(&["keys", "rotate", "--root"]);
        meanwhile += u32::from(slow.try_wait().unwrap().is_none());
    }
    assert!(slow.wait().unwrap().success());
    assert_eq!(meanwhile, 3, "a rotation waited for the replay's end");
    let of = transactions + 1;
    let names: Vec<String> = (1..=of).map(|number| format!("part-{number}.json")).collect();
    let replay = &replay;
    let parts: Vec<u64> = std::thread::scope(|scope| {
        let part = |number: u64| {
            scope.spawn(move || replay(&["--part", &format!("{number}/{of}"), "--rate", "10"]))
        };
        let working: Vec<_> = (1..=of).map(part).collect();
        place.fine(&["keys", "rotate", "customer_email"]);
        let told: Vec<_> = working.into_iter().map(|part| part.join().unwrap()).collect();
        names
            .iter()
            .zip(&told)
            .for_each(|(name, told)| fs::write(place.dir.join(name), told).unwrap());
        told.iter().map(|told| count(told)).collect()
    });
    assert_eq!((parts.iter().sum::<u64>(), parts.last()), (transactions, Some(&0)), "{parts:?}");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let join = [&["replay", "--join"][..], &names, &["--format"]].concat();
    let told = place.fine(&[&join[..], &["json"]].concat());
    assert_eq!(count(told.as_bytes()), transactions);
    let page = place.fine(&[&join[..], &["html"]].concat());
    assert!(page.contains("held against the ledger alone"), "{page}");
    assert!(!page.contains("the manifest of each is there"), "{page}");
    // The control: without the part that has nothing to say.
    let (code, said) = place.verb(&join[..join.len() - 2]);
    assert!(code == 2 && said.contains(&format!("of {of} parts")), "{said}");
    // A folder has no times that could be asked for.
    let (code, said) = place.verb(&[&by[..], &["--to", "2100-01-01T00:00:00Z"]].concat());
    assert!(code == 2 && said.contains("a folder has no topic"), "{said}");
    place.fine(&["verify"]);
}

/// Whoever holds the files takes away what is signed: who names keys is told no.
#[test]
fn what_was_committed_and_nothing_signs_is_a_no_for_who_names_keys() {
    let place = Folders::new("unsigned", "json_lines", &lines(71, 40));
    place.fine(&["run", FILE]);
    let verify = |more: &[&str]| place.verb(&[&["verify", "ledger"][..], more].concat());
    let (whole, some) =
        ("signatures checked\n", "signatures checked but of 1, which nothing signs");
    let (code, said) = verify(&["--keys", "keys"]);
    assert!(code == 0 && said.contains(whole), "the control: {said}");
    let taken = |log: &str| place.dir.join(format!("ledger/customers/{log}/tlog"));
    // Of what people did the last line says so; what was committed is another matter.
    for (log, expected) in [("control", 0), ("shard-0", 1)] {
        fs::rename(taken(log), place.dir.join("aside")).unwrap();
        let (code, said) = verify(&["--keys", "keys"]);
        let is_told = said.contains("shard-0: no checkpoint signs what was committed");
        assert_eq!((code, is_told), (expected, expected == 1), "{log}: {said}");
        assert!(said.contains(if expected == 0 { some } else { "NOT sound" }), "{log}: {said}");
        let (code, said) = verify(&[]);
        assert!(code == 0 && said.contains(some), "{log}: {said}");
        fs::rename(place.dir.join("aside"), taken(log)).unwrap();
    }
    assert_eq!(verify(&["--keys", "keys"]).0, 0, "put back, it holds");
}

/// A new release mends the first of two leaves of one record: who waits for the second is told of that.
#[test]
fn a_record_that_is_held_again_is_held_for_what_is_left() {
    let mut input = lines(41, 40);
    let last = input.lines().rfind(|line| line.contains("\"op\":\"c\"")).unwrap();
    let mut last: Value = serde_json::from_str(last).unwrap();
    let row = last["value"].pointer_mut("/after").unwrap();
    (row["aaa"], row["bbb"]) = (Value::from(1), Value::from(2));
    input.push_str(&format!("{last}\n"));
    let place = Folders::new("held-again", "json_lines", &input);
    let waits_for = |leaf: &str| {
        let (code, said) = place.verb(&["run", FILE]);
        assert_eq!(code, 1, "{said}");
        let (code, told) = place.verb(&["status", FILE]);
        assert!(code == 1 && told.contains(&format!("no class for leaf `after.{leaf}`")), "{told}");
        place.fine(&["verify"]);
    };
    waits_for("aaa");
    let crossed = place.records();
    let told = place.verb(&["status", FILE]).1;
    assert!(told.contains("`after.aaa`, nor for `after.bbb` (first seen"), "{told}");
    assert!(told.contains("propose: `aaa: identifier`, `bbb: identifier` ("), "{told}");
    let classed = |classes: &str, types: &str| {
        let columns = customer_columns(true)
            .replace("classes:", &format!("classes:\n{classes}"))
            .replace("types: {", &format!("types: {{ {types},"));
        place.pipeline(FILE_SOURCE, &columns, &file_sink("json_lines"));
    };
    // Answered by half: who proposes that is told of the other half.
    classed("  aaa: public", "aaa: int64");
    let told = place.verb(&["status", FILE]).1;
    assert!(
        told.contains("propose: `bbb: identifier` (") && !told.contains("matches no"),
        "{told}"
    );
    let said = place.signed(&[]);
    assert!(said.contains("leaves that have no class in it: bbb\n  next: add them"), "{said}");
    waits_for("bbb");
    // The same hold once more is no other one.
    let parts = place.parts().len();
    waits_for("bbb");
    assert!(place.parts().len() == parts && place.records() == crossed);
    // Answered in full: what is missing is the approval, and then nothing.
    classed("  aaa: public\n  bbb: public", "aaa: int64, bbb: int64");
    let next = |next: &str| {
        for verb in ["status", "run"] {
            let (code, told) = place.verb(&[verb, FILE]);
            assert!(code == 1 && told.contains(next), "{verb}: {next}: {told}");
            assert!(!told.contains("identifier") && !told.contains("remove the rule"), "{told}");
        }
    };
    next("next: what is missing is the approval: `douane release propose ");
    let propose = ["release", "propose", FILE, "--author", "cleo"];
    assert!(!place.fine(&propose).contains("takes the place"));
    place.fine(&["release", "sign", FILE, "--key", "approvers/ada"]);
    next("release 3 is in review: 1 of 2 approvals that count: `douane release sign ");
    let said = place.fine(&propose);
    assert!(said.contains("takes the place of a draft that ada had signed"), "{said}");
    place.signed(&[]);
    place.fine(&["run", FILE]);
    place.fine(&["status", FILE]);
    assert_eq!(place.records().len(), crossed.len() + 1);
}

/// A name that may be data stands nowhere but where who may read the raw topic asks for it.
#[test]
fn a_name_that_may_be_data_is_told_to_who_asks_alone() {
    const NAME: &str = "ada@example.com";
    let mut input = lines(43, 40);
    let last = input.lines().rfind(|line| line.contains("\"op\":\"c\"")).unwrap();
    let mut last: Value = serde_json::from_str(last).unwrap();
    last["value"].pointer_mut("/after").unwrap()[NAME] = Value::from("mrkr4711x");
    let at = input.lines().count();
    input.push_str(&format!("{last}\n"));
    let place = Folders::new("hidden-name", "json_lines", &input);
    let (code, run) = place.verb(&["run", FILE]);
    let (_, status) = place.verb(&["status", FILE]);
    assert!(code == 1 && run.contains("<unknown#"), "{run}");
    let at = format!("in/customers.jsonl[0]@{at}");
    assert!(status.contains(&format!("explain {FILE} --names '{at}'`")), "{status}");
    let told = place.fine(&["explain", FILE, "--names", &at]);
    assert!(told.contains(&format!(">  \"{NAME}\"\n")), "{told}");
    let out = place.fine(&["explain", FILE, "--names", &at, "--format", "json"]);
    let document = crate::place::Said { code: 0, out, err: String::new() };
    let document = crate::cases::verbs::is_as_documented("explain-names", &document, &[]);
    assert_eq!(document[0]["name"], NAME);
    assert!(told.starts_with("a name may be data"), "{told}");
    let mut grep = Command::new("grep");
    let found = grep.args(["-rl", NAME, "out", "ledger"]).current_dir(&place.dir).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    for said in [&run, &status, &told] {
        assert!(!said.contains("mrkr4711x"), "{said}");
    }
    assert!(!run.contains(NAME) && !status.contains(NAME));
    // The control: the place before it has none, and one that is not there is refused.
    let before = at.replace(&format!("@{}", input.lines().count() - 1), "@0");
    assert!(!place.fine(&["explain", FILE, "--names", &before]).contains('"'));
    let (code, told) = place.verb(&["explain", FILE, "--names", "in/customers.jsonl[0]@9999"]);
    assert!(code == 2 && told.contains("is not there any more"), "{told}");
}

/// A release that ended is told by `status`, with who ended it and what leads out of it, by whatever
/// says so: the line beside the release, the one beside the trust root, the ledger.
#[test]
fn a_release_that_was_revoked_is_told() {
    let place = Folders::new("revoked", "json_lines", &lines(31, 60));
    place.fine(&["run", FILE]);
    // The control: one that lives.
    let told = place.fine(&["status", FILE]);
    assert!(told.contains("release 1, until ") && !told.contains("NOTHING CROSSES"), "{told}");
    let line = ["customers.release.revocations.json", "trust.revocations.json"];
    let revoke = ["release", "revoke", FILE, "--key", "approvers/ada", "--reason", "a leak"];
    place.fine(&revoke);
    let revoked = || {
        let (code, told) = place.verb(&["status", FILE]);
        let stands = "NOTHING CROSSES: the release is revoked by ada at ";
        assert!(code == 1 && told.contains(stands), "{told}");
        assert!(told.contains(": a leak\n  next: `douane release propose "), "{told}");
        assert!(!told.contains("goes on as it was") && !told.contains("until"), "{told}");
    };
    revoked();
    let aside = place.dir.join("aside");
    for file in line {
        fs::rename(place.dir.join(file), &aside).unwrap();
        revoked();
        fs::rename(&aside, place.dir.join(file)).unwrap();
    }
    let (code, told) = place.verb(&["status", FILE, "--format", "json"]);
    let told: Value = serde_json::from_str(told.trim()).unwrap();
    assert!(code == 1 && told["stopped"][0]["code"] == "revoked", "{told}");
    // A start writes it down, and from then on it holds without the files.
    assert_eq!(place.verb(&["run", FILE]).0, 1);
    line.iter().for_each(|file| fs::remove_file(place.dir.join(file)).unwrap());
    revoked();
}

/// What the ledger knows is not made anew: an empty position would be a second copy of everything.
#[test]
fn a_topic_of_a_pipeline_that_ran_is_not_made_again() {
    let place = Folders::new("gone", "json_lines", &lines(37, 60));
    place.fine(&["run", FILE]);
    let (target, aside) = (place.dir.join("out/customers"), place.dir.join("aside"));
    fs::rename(&target, &aside).unwrap();
    for verb in [&["doctor", FILE][..], &["doctor", "--create", FILE], &["status", FILE]] {
        let (code, told) = place.verb(verb);
        assert!(code == 1 && told.contains("next: restore the topic"), "{verb:?}: {code}: {told}");
        assert!(!told.contains("--create") && !target.exists(), "{verb:?}: {told}");
    }
    fs::rename(&aside, &target).unwrap();
    place.fine(&["doctor", "--create", FILE]);
    place.fine(&["run", FILE]);
    // Who gives up what was set aside has that one made, and no other.
    let quarantine = place.dir.join("in/douane.customers.quarantine");
    fs::rename(&quarantine, &aside).unwrap();
    for verb in [&["doctor", "--create", FILE][..], &["run", FILE]] {
        let (code, told) = place.verb(verb);
        assert!(code == 1 && told.contains("what was set aside may be lost"), "{verb:?}: {told}");
        assert!(!quarantine.exists(), "{verb:?}");
    }
    let anew = ["doctor", "--create", "--quarantine-anew", FILE];
    place.fine(&anew);
    place.fine(&["run", FILE]);
    fs::rename(&target, place.dir.join("target-aside")).unwrap();
    assert_eq!(place.verb(&anew).0, 1);
    fs::rename(place.dir.join("target-aside"), &target).unwrap();
    // The control: of a pipeline that has not run it is made.
    fs::remove_dir_all(place.dir.join("ledger/customers")).unwrap();
    fs::remove_dir_all(&target).unwrap();
    place.fine(&["doctor", "--create", FILE]);
    assert!(target.exists());
}
