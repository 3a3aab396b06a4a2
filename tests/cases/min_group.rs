//! `min_group` on real Kafka: rows that too few people share stay behind, what had crossed of them is withdrawn; and a
//! window is the same window whenever the process dies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::aggregates::dies_at;
use crate::cases::kill::held_at;
use crate::cluster::Isolation;
use crate::feed::Load;
use crate::leaks::files_below;
use crate::place::{Place, Setup, last_lines};
use crate::rig::{self, Registry};
use crate::say;

const PARTITIONS: i32 = 2;
const K: usize = 3;

const COLUMNS: &str = "classes:
  id: identifier
  owner: { class: identifier, subject: true }
  born: quasi
  serial: public
types: { id: int64, owner: int64, born: date, serial: int64 }
stages:
  - tokenize: { columns: [id], domain: customer }
  - generalize: { columns: [born], to: year }
  - drop: { columns: [owner] }
";

/// One change of a row; the year is what crosses of a birthday.
struct Change {
    id: i64,
    op: &'static str,
    owner: i64,
    year: Option<i64>,
}

const fn change(id: i64, op: &'static str, owner: i64, year: Option<i64>) -> Change {
    Change { id, op, owner, year }
}

/// What comes first: more than a transaction takes, and a few of each kind.
fn first() -> Vec<Change> {
    let filling = (0..6_000).map(|n| change(10_000 + n, "c", 1_000 + n % 50, Some(1970)));
    filling
        .chain([
            change(1, "c", 1, Some(1980)),
            change(2, "c", 2, Some(1980)),
            change(3, "r", 3, Some(1980)),
            // Six rows of two people.
            change(4, "c", 4, Some(1981)),
            change(5, "c", 4, Some(1981)),
            change(6, "c", 4, Some(1981)),
            change(7, "c", 4, Some(1981)),
            change(8, "c", 4, Some(1981)),
            change(9, "c", 5, Some(1981)),
            change(11, "c", 6, Some(1982)),
            change(12, "c", 7, Some(1982)),
            change(13, "c", 8, None),
            change(14, "c", 9, None),
            change(15, "c", 10, None),
        ])
        .collect()
}

/// What comes while the first window waits.
fn second() -> Vec<Change> {
    vec![
        // With the two before it there would be three.
        change(21, "c", 11, Some(1982)),
        // Alone in its year now: what crossed of it goes.
        change(1, "u", 1, Some(1980)),
        change(2, "d", 2, None),
        change(22, "c", 1, Some(1990)),
        change(23, "c", 2, Some(1990)),
        change(24, "u", 3, Some(1990)),
    ]
}

/// Serials are given in order over both.
type Numbered<'a> = Vec<(i64, &'a Change)>;

fn numbered<'a>(changes: &'a [Change], from: i64) -> Numbered<'a> {
    (from..).zip(changes).collect()
}

fn send(place: &Place, changes: &Numbered<'_>) {
    let mut load = Load::new(PARTITIONS);
    for (serial, Change { id, op, owner, year }) in changes {
        let key = json!({ "id": id }).to_string();
        let born = year.map(|year| (year - 1970) * 365 + (year - 1969) / 4 + id % 300);
        let row = json!({"id": id, "owner": owner, "born": born, "serial": serial});
        let (before, after) = if *op == "d" { (row, Value::Null) } else { (Value::Null, row) };
        let value = json!({"before": before, "after": after, "source": null, "op": op, "ts_ms": 1});
        let partition = i32::try_from(id % i64::from(PARTITIONS)).expect("a partition");
        load.raw(partition, Some(key.as_bytes()), Some(value.to_string().as_bytes()), &[]);
        if *op == "d" {
            load.raw(partition, Some(key.as_bytes()), None, &[]);
        }
    }
    load.send(&place.setup.source, &place.setup.topics[0]);
}

/// Serials of the rows that may cross, and of those that stand outside at the end.
fn expected(windows: &[&Numbered<'_>]) -> (BTreeSet<i64>, BTreeSet<i64>) {
    let (mut cross, mut stand) = (BTreeSet::new(), BTreeMap::new());
    for window in windows {
        let mut groups: BTreeMap<Option<i64>, BTreeSet<i64>> = BTreeMap::new();
        for (_, change) in window.iter().filter(|(_, change)| change.op != "d") {
            groups.entry(change.year).or_default().insert(change.owner);
        }
        for (serial, change) in window.iter() {
            if change.op != "d" && groups[&change.year].len() >= K {
                cross.insert(*serial);
                stand.insert(change.id, *serial);
            } else if change.op != "c" {
                stand.remove(&change.id);
            }
        }
    }
    (cross, stand.into_values().collect())
}

fn replay(place: &Place) -> (i32, Value) {
    let file = place.pipeline_file();
    let said =
        place.verb(&["replay", &file, "--by", "cleo", "--reason", "audit 9", "--format", "json"]);
    let told = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    (said.code, told)
}

/// What the ledger's logs have, as text.
fn journals(place: &Place) -> String {
    let read = |file: &std::path::PathBuf| {
        String::from_utf8_lossy(&std::fs::read(file).expect("a journal")).into_owned()
    };
    let files = files_below(&place.ledger());
    files.iter().filter(|file| file.display().to_string().contains("journal")).map(read).collect()
}

#[test]
fn small_groups_stay_behind_whenever_it_dies() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("min-group", source.cluster(), target.cluster());
    setup.columns = COLUMNS.to_owned();
    setup.overrides = format!("publish: every 1s\nmin_group: {{ k: {K} }}\n");
    setup.target_partitions = 2;
    // One shard counts, whatever the place says.
    setup.tasks = 2;
    setup.source.create(&setup.topics[0], PARTITIONS, &[]);
    let mut place = Place::new(setup);
    let told = place.verb(&["explain", &place.pipeline_file()]).fine("explain").out;
    assert!(told.contains("min_group    k = 3: ") && told.contains("(born)"), "{told}");

    let (first, second) = (first(), second());
    let (first, second) = (numbered(&first, 1), numbered(&second, 100_001));
    let (cross, stand) = expected(&[&first, &second]);
    // The controls: some must not cross, and as one window others would.
    let all: BTreeSet<i64> = first.iter().chain(&second).map(|(serial, _)| *serial).collect();
    assert!(all.difference(&cross).count() > 8 && stand.len() < cross.len());
    let both: Numbered<'_> = first.iter().chain(&second).copied().collect();
    assert_ne!(expected(&[&both]).0, cross);

    send(&place, &first);
    dies_at(&mut place, "grouped");
    // The window is fixed: what comes now is in the next one.
    send(&place, &second);
    for step in ["counted", "sent"] {
        dies_at(&mut place, step);
    }
    let commits = place.commits();
    let mark = commits.mark();
    let mut running = place.run();
    assert!(commits.wait_past(&mark, Duration::from_secs(30)).is_some(), "{}", running.said());
    running.kill();
    // What was counted is lost; the position says what has to be counted again.
    std::fs::remove_dir_all(place.dir.join("state")).expect("the store");
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let last = 100_006;
    for _ in 0..100 {
        tail.poll(Duration::from_millis(200));
        if tail.records.iter().any(|record| record.json()["serial"] == last) {
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    let said = running.said();
    running.stop();

    // Aborted records can be read too.
    let serial = |record: &crate::cluster::Record| record.json()["serial"].as_i64();
    let seen = place.setup.target.read(&place.data_topic(), Isolation::Uncommitted);
    let seen: BTreeSet<i64> = seen.iter().filter_map(serial).collect();
    assert_eq!(seen.difference(&cross).collect::<Vec<_>>(), [&0_i64; 0], "too few share them");
    assert_eq!(
        cross.difference(&seen).collect::<Vec<_>>(),
        [&0_i64; 0],
        "{}",
        last_lines(&said, 20)
    );
    let crossed = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let upserts: Vec<i64> = crossed.iter().filter_map(serial).collect();
    assert_eq!(upserts.len(), cross.len(), "exactly once");
    let mut outside = BTreeMap::new();
    for record in &crossed {
        outside.insert(record.key_text(), serial(record));
    }
    let outside: BTreeSet<i64> = outside.into_values().flatten().collect();
    assert_eq!(outside, stand);
    // Every intent names its window.
    let text = journals(&place);
    let count = |word: &str| text.matches(word).count();
    assert!(count("\"window\":[") >= 3, "{} intents", count("\"INTENT\""));
    assert_eq!(count("\"window\":["), count("\"kind\":\"INTENT\""));
    place.verify().fine("verify");

    // The windows are counted again, and every byte is the same.
    let (code, all) = replay(&place);
    assert!(code == 0 && all["equal"] == all["transactions"], "{all}");
    say::figure("min_group.replayed", &all["transactions"], "transactions, all equal");
    let redrive = place.verb(&["quarantine", "redrive", &place.pipeline_file()]);
    assert!(redrive.code != 0 && redrive.err.contains("`min_group`"), "{redrive:?}");
    // The control: counted by another rule, it is another transaction.
    if cfg!(debug_assertions) && std::env::var_os("DOUANE_BIN").is_none() {
        let file = place.dir.join(place.pipeline_file());
        let text = std::fs::read_to_string(&file).expect("the pipeline");
        std::fs::write(&file, text.replace("k: 3", "k: 2")).expect("written");
        place.env("DOUANE_TEST_CONTROL", "replay-any-plan");
        let (code, all) = replay(&place);
        assert!(code == 1 && all["different"].as_u64() > Some(0), "{all}");
    }
}

/// What the columns are in Avro: those of `COLUMNS` alone.
fn avro_schemas() -> (String, String) {
    let typed = |name: &str, kind: Value| json!({ "name": name, "type": kind });
    let born =
        json!({ "type": "int", "connect.version": 1, "connect.name": "io.debezium.time.Date" });
    let row = json!({ "type": "record", "name": "Value", "fields": [
        typed("id", json!("long")), typed("owner", json!("long")), typed("born", born),
        typed("serial", json!("long")),
    ] });
    let envelope = json!({ "type": "record", "name": "Envelope", "fields": [
        typed("before", json!(["null", row])), typed("after", json!(["null", "Value"])),
        typed("op", json!("string")),
    ] });
    let key = json!({ "type": "record", "name": "Key", "fields": [typed("id", json!("long"))] });
    (key.to_string(), envelope.to_string())
}

/// Avro's varint.
fn number(out: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while left > 0x7f {
        out.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// A row that is of its serial's owner, in a year or on a day that is none.
fn avro(load: &mut Load, (key, value): (u32, u32), op: &str, serial: i64, born: i64) -> i64 {
    let frame = |id: u32| [&[0], &id.to_be_bytes()[..]].concat();
    let (mut key, mut value) = (frame(key), frame(value));
    number(&mut key, serial);
    // No `before`.
    value.extend([0, 2]);
    [serial, serial, born, serial].iter().for_each(|part| number(&mut value, *part));
    value.extend([2, op.as_bytes()[0]]);
    load.raw(0, Some(&key), Some(&value), &[])
}

/// Start and end of the windows of all intents.
fn windows(place: &Place) -> BTreeSet<(i64, i64)> {
    let text = journals(place);
    let spans = text.split("\"window\":[").skip(1).filter_map(|rest| rest.split(']').next());
    let offset = |span: &Value, of: &str| span[of].as_str().and_then(|o| o.parse().ok());
    let window = |span: &str| {
        let span: Value = serde_json::from_str(span).expect("one partition's span");
        offset(&span, "start").zip(offset(&span, "end")).expect("offsets")
    };
    spans.map(window).collect()
}

/// What lies behind a record that holds is counted when it crosses, whatever was counted before it: by the life that
/// held it, or by the next one while the window still stands in the position.
fn held_in_a_window(name: &str, period: &str, dies: bool) {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let registry = Registry::start(name);
    let mut setup = Setup::customers(name, source.cluster(), target.cluster());
    setup.source_format = "debezium_avro";
    setup.source_registry = Some(registry.url());
    setup.columns = COLUMNS.to_owned();
    setup.overrides = format!("publish: every {period}\nmin_group: {{ k: {K} }}\n");
    let topic = setup.topics[0].clone();
    setup.source.create(&topic, 1, &[]);
    let (key, value) = avro_schemas();
    let key = registry.register(&format!("{topic}-key"), &key);
    let known = registry.register(&format!("{topic}-value"), &value);
    let mut load = Load::new(1);
    let mut send = |schema: u32, serial: i64, year: i64| {
        avro(&mut load, (key, schema), "c", serial, (year - 1970) * 365 + 100)
    };
    // Enough of one year and too few of another; behind the record that waits it is the other way round.
    (1..=3).for_each(|serial| _ = send(known, serial, 1970));
    (11..=12).for_each(|serial| _ = send(known, serial, 1980));
    let waits = send(known + 1, 21, 1980);
    (22..=23).for_each(|serial| _ = send(known, serial, 1980));
    (31..=32).for_each(|serial| _ = send(known, serial, 1970));
    load.send(&setup.source, &topic);
    let place = Place::new(setup);

    let commits = place.commits();
    let mark = commits.mark();
    let mut running = place.run();
    assert!(commits.wait_past(&mark, Duration::from_secs(40)).is_some(), "{}", running.said());
    assert!(running.wait_for_word("unknown_schema_id", Duration::from_secs(5)), "it is held");
    let later = value.replacen('{', r#"{"doc":"the same leaves","#, 1);
    assert_eq!(registry.register(&format!("{topic}-value"), &later), known + 1);
    if dies {
        running.kill();
        running = place.run();
    }
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    tail.wait_for(6, Duration::from_secs(60));
    std::thread::sleep(Duration::from_millis(300));
    let said = running.said();

    let serials: BTreeSet<i64> =
        tail.records.iter().filter_map(|record| record.json()["serial"].as_i64()).collect();
    assert_eq!(serials, BTreeSet::from([1, 2, 3, 21, 22, 23]), "{}", last_lines(&said, 20));
    assert_eq!(tail.records.len(), 6, "exactly once");

    // A change that a stage refuses may have to be withdrawn: it holds, and counting is who says so.
    let mut load = Load::new(1);
    avro(&mut load, (key, known), "u", 1, i64::from(i32::MAX));
    load.send(&place.setup.source, &topic);
    assert!(
        running.wait_for_word("where_undecided", Duration::from_secs(30)),
        "{}",
        running.said()
    );
    assert!(running.said().contains("in column `born`"), "{}", running.said());
    running.stop();
    assert_eq!(held_at(&place, 0), Some(waits + 5));

    let windows = windows(&place);
    assert_eq!(windows, BTreeSet::from([(0, waits), (waits, waits + 5)]), "{windows:?}");
    place.verify().fine("verify");
    let (code, all) = replay(&place);
    assert!(code == 0 && all["equal"] == all["transactions"], "{all}");
}

#[test]
fn behind_a_record_that_held_rows_are_counted_anew_by_the_next_life() {
    held_in_a_window("min-group-dies", "10s", true);
}

#[test]
fn behind_a_record_that_held_rows_are_counted_anew_once_it_goes_on() {
    held_in_a_window("min-group-waits", "1s", false);
}
