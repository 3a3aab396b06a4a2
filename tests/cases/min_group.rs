//! `min_group` on real Kafka: rows that too few people share stay behind, what had crossed of them is withdrawn; and a
//! window is the same window whenever the process dies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::aggregates::dies_at;
use crate::cluster::Isolation;
use crate::feed::Load;
use crate::leaks::files_below;
use crate::place::{Place, Setup, last_lines};
use crate::rig;
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
    let journals = files_below(&place.ledger());
    let read = |file: &std::path::PathBuf| {
        String::from_utf8_lossy(&std::fs::read(file).expect("a journal")).into_owned()
    };
    let text: String = journals
        .iter()
        .filter(|file| file.display().to_string().contains("journal"))
        .map(read)
        .collect();
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
