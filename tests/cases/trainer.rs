//! The trainer's side: a global topic taken as Parquet by somebody who has public keys and a release, killed on the way,
//! and each row is there once, in its order; what is not as it was signed is refused with the reason.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::cases::coverage::{outside, ran, verb_in};
use crate::cases::verbs::is_as_documented;
use crate::cluster::{Isolation, Record};
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::manifests::base64;
use crate::place::{Place, Said, last_lines};
use crate::rig::{self, Registry};
use crate::say;

/// Key, serial (none for a deleted row) and time of a row.
type Row = (String, Option<i64>, i64);

fn rows(batch: &RecordBatch) -> Vec<Row> {
    let keys = batch.column_by_name("_key").expect("a key").as_string::<i32>().clone();
    let deleted = batch.column_by_name("_deleted").expect("a flag").as_boolean().clone();
    let times = batch.column_by_name("_timestamp").expect("a time");
    let times = times.as_primitive::<arrow::datatypes::TimestampMillisecondType>().clone();
    let serials = batch.column_by_name("serial").expect("a serial").as_primitive::<Int64Type>();
    (0..batch.num_rows())
        .map(|row| {
            assert_eq!(deleted.value(row), serials.is_null(row), "a deleted row is null");
            let serial = (!serials.is_null(row)).then(|| serials.value(row));
            (keys.value(row).to_owned(), serial, times.value(row))
        })
        .collect()
}

/// Everything in the shards of a folder, in their order; how many shards there are.
fn fed(out: &Path) -> (Vec<Row>, usize) {
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).expect("a folder");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        names.sort();
        names
    };
    let is_shard = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("shard-"))
    };
    let shards: Vec<_> = names(out).into_iter().filter(is_shard).collect();
    let files = shards.iter().flat_map(|shard| names(shard));
    let mut all = Vec::new();
    for file in files.filter(|file| file.extension().is_some_and(|e| e == "parquet")) {
        let file = std::fs::File::open(file).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build();
        for batch in reader.expect("Parquet") {
            all.extend(rows(&batch.expect("a batch")));
        }
    }
    (all, shards.len())
}

/// By key the row's states in their order.
fn by_key(rows: impl IntoIterator<Item = Row>) -> BTreeMap<String, Vec<(Option<i64>, i64)>> {
    let mut keys: BTreeMap<String, Vec<(Option<i64>, i64)>> = BTreeMap::new();
    for (key, serial, time) in rows {
        keys.entry(key).or_default().push((serial, time));
    }
    keys
}

fn in_topic(records: &[Record]) -> Vec<Row> {
    let row = |record: &Record| {
        (record.key_text(), record.json()["serial"].as_i64(), record.timestamp_ms)
    };
    records.iter().map(row).collect()
}

const OUT: &str = "outside/fed";

fn feed(place: &Place, more: &[&str]) -> Said {
    let topic = place.data_topic();
    let release = "outside/release.json";
    let args = ["feed", &topic, "--out", OUT, "--release", release, "--format", "json"];
    verb_in(place, &place.dir.join("outside"), &[&args[..], more].concat())
}

/// All of it in another folder, with a command that notes each of its starts.
fn feed_and_train(place: &Place, more: &[&str]) -> Said {
    let topic = place.data_topic();
    let args = ["feed", &topic, "--out", "outside/other", "--release", "outside/release.json"];
    let command = ["--format", "json", "--", "sh", "-c", "echo started >> outside/trained"];
    verb_in(place, &place.dir.join("outside"), &[&args[..], more, &command].concat())
}

#[track_caller]
fn refused(said: &Said, code: &str) {
    let answer: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    let findings = answer["findings"].as_array().expect("a list");
    assert!(said.code == 1 && findings.iter().any(|f| f["code"] == code), "{code}: {}", said.out);
    assert_eq!(answer["rows"], 0, "nothing is handed over");
}

#[test]
fn a_killed_trainer_has_each_row_once_and_takes_nothing_that_is_not_approved() {
    let _turn = rig::exclusive();
    let (mut place, _) = ran("trainer", |_| {}, 2_500);
    let dir = outside(&place);
    let target = place.setup.target.clone();
    let topic = place.data_topic();
    // What lag tools and KEDA see; and how far the folder itself says it is.
    let lag = || target.end(&topic, Isolation::Committed) - target.consumed("burst", &topic);
    let behind = || {
        let state = std::fs::read(dir.join("fed/_state.json")).expect("a state");
        let state: Value = serde_json::from_slice(&state).expect("JSON");
        let next = state["next"].as_array().expect("offsets").iter();
        next.filter_map(Value::as_i64).sum::<i64>() - target.consumed("burst", &topic)
    };
    let noted = ["--rows", "300", "--lag-group", "burst"];
    // Killed before and after a shard has its name, again and again.
    let (mut kills, mut unnoted) = (0, 0);
    for step in ["verified", "published", "verified", "published", "published"] {
        place.env("DOUANE_TEST_CONTROL", &format!("die-at-feed-{step}"));
        let said = feed(&place, &noted);
        place.env("DOUANE_TEST_CONTROL", "");
        kills += usize::from(said.code == -1);
        // A shard whose transactions lie behind others' that are still to come moves no offset.
        if step == "published" {
            unnoted = unnoted.max(behind());
        }
    }
    let done = feed(&place, &noted).fine("feed");
    // The last marker of each shard in each partition is nobody's row.
    let markers = i64::from(target.partitions(&topic)) * i64::from(place.setup.tasks);
    assert!(behind() == 0 && lag() <= markers, "{} behind, lag {}", behind(), lag());
    is_as_documented("feed", &done, &["code", "message"]);
    let (got, shards) = fed(&dir.join("fed"));
    let due = in_topic(&target.read(&topic, Isolation::Committed));
    assert!(due.len() > 1_500 && shards >= 4, "{} rows, {shards} shards", due.len());
    assert_eq!(got.len(), due.len(), "each once");
    let due_rows = due.len() as u64;
    assert_eq!(by_key(got), by_key(due), "and in the order of its key");
    if cfg!(debug_assertions) && std::env::var_os("DOUANE_BIN").is_none() {
        assert_eq!(kills, 5);
        assert!(unnoted > 0, "control: killed between a shard and its note");
    }
    let again = feed(&place, &[]).fine("nothing new");
    let again: Value = serde_json::from_str(&again.out).expect("JSON");
    assert_eq!((&again["rows"], again["shards"].as_array().map(Vec::len)), (&0.into(), Some(0)));

    // Killed between its last shard and the command: the next call starts it without a wait, and the one after it does not. Shards
    // that were moved away were taken.
    let starts = || std::fs::read_to_string(dir.join("trained")).map_or(0, |t| t.lines().count());
    place.env("DOUANE_TEST_CONTROL", "die-at-feed-renamed");
    feed_and_train(&place, &[]);
    place.env("DOUANE_TEST_CONTROL", "");
    if cfg!(debug_assertions) && std::env::var_os("DOUANE_BIN").is_none() {
        assert_eq!(starts(), 0, "killed before it");
    }
    feed_and_train(&place, &["--wait-for", "1"]).fine("the command that is due");
    assert_eq!(starts(), 1);
    std::fs::rename(dir.join("other/shard-000000000001"), dir.join("taken")).expect("moved away");
    let nothing = feed_and_train(&place, &[]).fine("nothing new");
    let nothing: Value = serde_json::from_str(&nothing.out).expect("JSON");
    assert_eq!((&nothing["rows"], &nothing["rows_in_all"]), (&0.into(), &due_rows.into()));
    assert_eq!(starts(), 1, "it is started once");
    // Retention took what a new folder would take first: that is said, and taken without it where that is allowed. Whoever has it
    // already goes on.
    let records = target.read(&topic, Isolation::Committed);
    let (partition, offset) = (records[0].partition, records[0].offset);
    target.set_topic_config(&topic, "cleanup.policy", "delete");
    target.delete_records(&topic, partition, offset + 1);
    feed(&place, &[]).fine("nothing that it wants is gone");
    std::fs::remove_dir_all(dir.join("other")).expect("a folder");
    refused(&feed_and_train(&place, &[]), "retired");
    let left = feed_and_train(&place, &["--allow-retired"]).fine("what is left");
    let left: Value = serde_json::from_str(&left.out).expect("JSON");
    assert!(left["retired"] == 1 && left["rows"].as_u64() < Some(due_rows), "{left}");
    assert_eq!(starts(), 2);

    // It waits until enough is there, takes it, and starts what trains.
    let args = ["-c", "outside/douane.yaml", "feed", &topic, "--out", OUT];
    let more = [
        "--release",
        "outside/release.json",
        "--wait-for",
        "200",
        "--metrics-file",
        "outside/feed.prom",
    ];
    let command = ["--", "sh", "-c", "ls \"$DOUANE_FEED\" > outside/started"];
    let mut waiting = place.spawn(&[&args[..], &more, &command].concat());
    assert_eq!(waiting.wait(Duration::from_secs(2)), None, "nothing waits yet");
    let gauge = || std::fs::read_to_string(dir.join("feed.prom")).unwrap_or_default();
    let line = |rows: u64| format!("douane_feed_waiting_rows{{topic=\"{topic}\"}} {rows}\n");
    let since = crate::pace::Instant::now();
    while gauge().is_empty() && since.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(gauge().contains(&line(0)), "{}", gauge());
    let mut running = place.run();
    let mut customers = Customers::new(92, 500_000, true);
    let new = Load::new(4).customers(&mut customers, 400, Format::Json, &Plants::default());
    new.send(&place.setup.source, &place.setup.topics[0]);
    let code = waiting.wait(Duration::from_secs(60));
    assert_eq!(code, Some(0), "{}", last_lines(&waiting.said(), 20));
    assert!(gauge().contains(&line(0)) && !gauge().contains("handed_over_rows 0"), "{}", gauge());
    running.stop();
    let started = std::fs::read_to_string(dir.join("started")).expect("the command ran");
    assert!(started.lines().count() > shards, "{started}");

    // Nobody noted that, so it waits for who looks at the group; it is noted though nothing is new.
    feed(&place, &[]).fine("the rest");
    assert!(lag() > 300, "{}", lag());
    let nothing = feed(&place, &noted).fine("nothing new");
    let nothing: Value = serde_json::from_str(&nothing.out).expect("JSON");
    assert!(nothing["rows"] == 0 && behind() == 0 && lag() <= markers, "lag {}", lag());

    // What is not as it was signed is refused, with the reason.
    let producer = target.producer();
    producer.send(&topic, 0, Some(b"k"), Some(b"{}"), &[]);
    producer.flush();
    refused(&feed(&place, &[]), "no_manifest");
    let file = place.pipeline_file();
    let revoke = ["release", "revoke", &file, "--key", "approvers/ada", "--reason", "wrong"];
    place.verb(&revoke).fine("release revoke");
    let revoked = place.setup.name.clone() + ".release.revocations.json";
    std::fs::copy(place.dir.join(revoked), dir.join("release.revocations.json")).expect("a copy");
    refused(&feed(&place, &[]), "release_revoked");
    std::fs::remove_file(dir.join("release.revocations.json")).expect("a file");
    let wrong = feed(&place, &["--as", "arrow"]);
    assert!(wrong.code == 2 && wrong.err.contains("another format"), "{}", wrong.err);
    say::figure("trainer.kills", kills, "kills, each row once");
}

/// A topic that is whole in all else: what a release that was revoked, or had expired, stands behind is handed to nobody.
#[test]
fn what_a_release_does_not_allow_any_more_is_handed_to_nobody() {
    let _turn = rig::exclusive();
    let (place, _) = ran("trainer-release", |_| {}, 400);
    let dir = outside(&place);
    let target = place.setup.target.clone();
    let handed = || feed_and_train(&place, &[]);
    let only = |said: &Said, code: &str| {
        refused(said, code);
        let answer: Value = serde_json::from_str(&said.out).expect("JSON");
        let findings = answer["findings"].as_array().expect("a list");
        assert!(findings.iter().all(|f| f["code"] == code), "{}", said.out);
        assert!(!dir.join("trained").exists(), "nothing begins to train");
    };

    let file = place.pipeline_file();
    let revoke = ["release", "revoke", &file, "--key", "approvers/ada", "--reason", "wrong"];
    place.verb(&revoke).fine("release revoke");
    let revoked = place.setup.name.clone() + ".release.revocations.json";
    std::fs::copy(place.dir.join(revoked), dir.join("release.revocations.json")).expect("a copy");
    only(&handed(), "release_revoked");
    std::fs::remove_file(dir.join("release.revocations.json")).expect("a file");

    // Manifests say nothing of when they were sent: their records do.
    let release = std::fs::read_to_string(dir.join("release.json")).expect("a release");
    let release: Value = serde_json::from_str(&release).expect("an envelope");
    let statement = base64(release["payload"].as_str().expect("a payload"));
    let statement: Value = serde_json::from_slice(&statement).expect("a statement");
    let expires = statement["predicate"]["expires"].as_str().expect("an instant");
    let expires: jiff::Timestamp = expires.parse().expect("an instant");
    let topic = place.manifest_topic();
    let mut manifests = target.read(&topic, Isolation::Committed);
    let any_time = ("message.timestamp.after.max.ms", "9223372036854775807");
    let mut sent_at = |ms: i64| {
        target.delete(&topic);
        target.create(&topic, 1, &[any_time]);
        let producer = target.producer();
        for manifest in &mut manifests {
            manifest.timestamp_ms = ms;
            producer.again(&topic, manifest);
        }
        producer.flush();
    };
    sent_at(expires.as_millisecond());
    only(&handed(), "release_expired");
    // The control: a millisecond before.
    sent_at(expires.as_millisecond() - 1);
    let said = handed().fine("feed");
    let answer: Value = serde_json::from_str(&said.out).expect("JSON");
    assert!(answer["rows"].as_u64() > Some(0) && dir.join("trained").exists(), "{answer}");
}

/// `feed` takes its time, and what is revoked meanwhile is revoked: before a shard has its name, and before a command starts.
#[test]
fn what_is_revoked_while_it_is_read_is_handed_to_nobody() {
    let _turn = rig::exclusive();
    let (mut place, _) = ran("trainer-meanwhile", |_| {}, 400);
    let dir = outside(&place);
    let file = place.pipeline_file();
    let revoke = ["release", "revoke", &file, "--key", "approvers/ada", "--reason", "wrong"];
    place.verb(&revoke).fine("release revoke");
    let revoked = place.dir.join(place.setup.name.clone() + ".release.revocations.json");
    let (beside, gate) = (dir.join("release.revocations.json"), dir.join("wait"));
    place.env("DOUANE_TEST_CONTROL", "wait-at-feed-verified,wait-at-feed-ends");
    place.env("DOUANE_TEST_WAIT", gate.to_str().expect("a path"));
    let named = dir.join("other/shard-000000000001");
    let meanwhile = |place: &Place| -> Said {
        std::fs::write(&gate, "").expect("a file");
        std::thread::scope(|scope| {
            let feed = scope.spawn(|| feed_and_train(place, &[]));
            let draft = dir.join("other/.shard-000000000001.tmp");
            let since = crate::pace::Instant::now();
            while !draft.exists() && !named.exists() {
                assert!(since.elapsed() < Duration::from_secs(60), "it takes nothing");
                std::thread::sleep(Duration::from_millis(10));
            }
            // It waits, with everything verified.
            std::thread::sleep(Duration::from_secs(3));
            std::fs::copy(&revoked, &beside).expect("a copy");
            std::fs::remove_file(&gate).expect("a file");
            feed.join().expect("it ends")
        })
    };
    refused(&meanwhile(&place), "release_revoked");
    assert!(!named.exists() && !dir.join("trained").exists());

    // Everything was handed over, and a command is due: it is not started.
    std::fs::remove_file(&beside).expect("a file");
    place.env("DOUANE_TEST_CONTROL", "die-at-feed-published");
    assert_ne!(feed_and_train(&place, &[]).code, 0, "killed with a shard in its place");
    assert!(named.exists());
    place.env("DOUANE_TEST_CONTROL", "wait-at-feed-ends");
    refused(&meanwhile(&place), "release_revoked");
    assert!(!dir.join("trained").exists(), "nothing begins to train");
    // The control: it is due still, and begins where nothing is revoked.
    std::fs::remove_file(&beside).expect("a file");
    feed_and_train(&place, &[]).fine("feed");
    assert!(dir.join("trained").exists());
}

/// pipelines/examples/train.py, begun by `feed`: it learns from what crossed that a city, which is public, tells the country,
/// and reads of each record the newest state. PyTorch in the place of NumPy: `DOUANE_TORCH=1`.
#[test]
fn an_example_trains_on_what_was_handed_over() {
    let Some(python) = std::env::var_os("DOUANE_PYTHON") else {
        return say::skipped(
            "train.py",
            "DOUANE_PYTHON names no interpreter with pyarrow and NumPy",
        );
    };
    let _turn = rig::exclusive();
    let (place, _) = ran("trainer-example", |_| {}, 2_500);
    let dir = outside(&place);
    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let mut newest: BTreeMap<String, Option<Value>> = BTreeMap::new();
    for record in &records {
        newest.insert(record.key_text(), record.value.is_some().then(|| record.json()));
    }
    let newest: Vec<Value> = newest.into_values().flatten().collect();
    let count = |column: &str| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        newest.iter().for_each(|row| *counts.entry(row[column].to_string()).or_default() += 1);
        counts
    };
    let countries = count("country");
    let train = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/examples/train.py");
    for (out, form) in [("outside/parquet", "parquet"), ("outside/arrow", "arrow")] {
        let topic = place.data_topic();
        let args =
            ["feed", &topic, "--out", out, "--as", form, "--release", "outside/release.json"];
        let command = format!(
            "\"{}\" \"{}\"{} > outside/said.json",
            python.to_string_lossy(),
            train.display(),
            if std::env::var_os("DOUANE_TORCH").is_some() { " --torch" } else { "" }
        );
        let command = ["--rows", "1000", "--", "sh", "-c", &command];
        verb_in(&place, &dir, &[&args[..], &command].concat()).fine("feed");
        let said = std::fs::read_to_string(dir.join("said.json")).expect("what it says");
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let share = |name: &str| said[name].as_f64().expect("a number");
        assert_eq!(said["rows"], records.len(), "each row once: {said}");
        assert_eq!(
            (&said["records"], &said["classes"]),
            (&newest.len().into(), &countries.len().into())
        );
        // The control: who tells always the most frequent one is wrong most of the time.
        assert!(share("right") > 0.99 && share("most_frequent") < 0.9, "{said}");
        assert!(share("loss") < share("loss_before") / 2.0, "{said}");
        say::note(format!("{form}: {said}"));
    }
}

/// Two shards' transactions lie in each other, and the one that is handed over last ends before the other does: what lies
/// behind it was taken, and the group is told so.
#[test]
fn what_an_earlier_shard_took_behind_the_last_transaction_is_no_lag() {
    let _turn = rig::exclusive();
    let (place, _) = ran("interleaved", |setup| setup.target_partitions = 1, 400);
    let dir = outside(&place);
    let (target, topic) = (place.setup.target.clone(), place.data_topic());
    let manifests = target.read(&place.manifest_topic(), Isolation::Committed);
    let previous = |manifest: &Record| {
        let payload = base64(manifest.json()["payload"].as_str().expect("a payload"));
        let statement: Value = serde_json::from_slice(&payload).expect("a statement");
        statement["predicate"]["previous"].as_str().map(str::to_owned)
    };
    let named: Vec<String> = manifests.iter().filter_map(previous).collect();
    // The newest of each of the two logs; the last one of all is handed over last.
    let heads = manifests.iter().map(Record::key_text).filter(|id| !named.contains(id));
    let heads: Vec<String> = heads.collect();
    let [earlier, last] = heads.as_slice() else { panic!("two shards: {heads:?}") };
    let all = target.read(&topic, Isolation::Committed);
    let is_of =
        |record: &&Record, id: &str| record.header("douane-manifest") == Some(id.as_bytes());
    let of = |id: &str| all.iter().filter(|r| is_of(r, id)).cloned().collect::<Vec<_>>();
    let (a, b) = (of(earlier), of(last));
    assert!(a.len() > 1 && b.len() > 1, "{} and {} records", a.len(), b.len());
    let others = all.iter().filter(|r| !is_of(r, earlier) && !is_of(r, last));
    let mut by_hand: Vec<Record> = others.cloned().collect();
    let (a_rest, a_end) = a.split_at(a.len() - 1);
    let (b_begin, b_rest) = b.split_at(1);
    [b_begin, a_rest, b_rest, a_end].into_iter().for_each(|part| by_hand.extend_from_slice(part));
    assert_eq!(by_hand.len(), all.len());
    target.rewrite(&topic, &by_hand);
    let done = feed(&place, &["--rows", "1", "--lag-group", "by-hand"]).fine("feed");
    let done: Value = serde_json::from_str(&done.out).expect("JSON");
    assert_eq!(done["rows"], all.len() as u64, "{done}");
    let (got, shards) = fed(&dir.join("fed"));
    assert_eq!((got.len(), shards), (all.len(), manifests.len()), "a transaction a shard");
    // No markers here: it was written without transactions.
    let end = target.end(&topic, Isolation::Committed);
    assert_eq!((end, target.consumed("by-hand", &topic)), (all.len() as i64, all.len() as i64));
}

/// Avro in the topic, with the types of the release.
#[test]
fn avro_is_handed_over_with_its_types() {
    let _turn = rig::exclusive();
    let registry = Registry::start("trainer");
    let avro = |setup: &mut crate::place::Setup| {
        setup.sink_format = "avro";
        setup.target_registry = Some(registry.url());
    };
    let (place, _) = ran("trainer-avro", avro, 300);
    let dir = outside(&place);
    feed(&place, &[]).fine("feed");
    let (got, shards) = fed(&dir.join("fed"));
    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    assert_eq!((got.len(), shards), (records.len(), 1));
    let keys = |rows: &mut dyn Iterator<Item = String>| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        rows.for_each(|key| *counts.entry(key).or_default() += 1);
        counts
    };
    let found = keys(&mut got.into_iter().map(|(key, ..)| key));
    assert_eq!(found, keys(&mut records.iter().map(Record::key_text)));
}
