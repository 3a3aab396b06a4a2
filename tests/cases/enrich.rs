//! `enrich` on real Kafka: rows get published statistics and nothing else of them; what was not published yet is null, and
//! stays null when the row is made again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::aggregates::{self, DAYS, dies_at, first_day_ms, new_place, rfc3339};
use crate::cluster::{Isolation, Record};
use crate::feed::Load;
use crate::place::{Place, Setup, last_lines};
use crate::rig;
use crate::say;

const PARTITIONS: i32 = 2;
const COUNTRIES: [&str; 4] = ["AT", "DE", "CH", "XX"];

fn columns(topic: &str, pipeline: &str, from: &str) -> String {
    format!(
        "classes:
  id: {{ class: identifier, subject: true }}
  country: public
  serial: public
types: {{ id: int64, serial: int64 }}
stages:
  - tokenize: {{ columns: [id], domain: customer }}
  - enrich:
      topic: {topic}
      pipeline: {pipeline}
      window: {{ every: 1d, from: \"{from}\" }}
      groups: {{ country: country }}
      columns: {{ customers: customers_yesterday, spent_cents: spent_yesterday }}
      missing: nullify
"
    )
}

fn send(place: &Place, serials: std::ops::Range<i64>) {
    let mut load = Load::new(PARTITIONS);
    for serial in serials {
        let country = COUNTRIES[usize::try_from(serial % 4).expect("a place")];
        let row = json!({"id": serial, "country": country, "serial": serial});
        let value = json!({"before": null, "after": row, "source": null, "op": "c", "ts_ms": 1})
            .to_string();
        let key = json!({ "id": serial }).to_string();
        let partition = i32::try_from(serial % 2).expect("a partition");
        load.raw(partition, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    }
    load.send(&place.setup.source, &place.setup.topics[0]);
}

/// Until so many rows are outside.
fn crossed(place: &Place, rows: usize) -> Vec<Record> {
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let all = tail.wait_for(rows, Duration::from_secs(60));
    assert!(all, "{} of {rows}\n{}", tail.records.len(), last_lines(&running.said(), 20));
    running.stop();
    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    assert_eq!(records.len(), rows, "exactly once");
    records
}

fn replayed(place: &Place) -> (i32, Value) {
    let file = place.pipeline_file();
    let said =
        place.verb(&["replay", &file, "--by", "cleo", "--reason", "audit 8", "--format", "json"]);
    let told = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    (said.code, told)
}

#[test]
fn rows_get_published_statistics_and_no_others() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let from_ms = first_day_ms();
    let daily =
        new_place(aggregates::setup("enrich-daily", &source.cluster(), &target.cluster(), from_ms));
    let mut setup = Setup::customers("enrich", source.cluster(), target.cluster());
    setup.columns = columns(&daily.data_topic(), "enrich-daily", &rfc3339(from_ms));
    setup.overrides = String::new();
    setup.keys_of = Some(daily.dir.join("keys"));
    setup.source.create(&setup.topics[0], PARTITIONS, &[]);
    let mut place = Place::new(setup);
    let told = place.verb(&["explain", &place.pipeline_file()]).fine("explain").out;
    assert!(told.contains("enrich: spent_cents of") && told.contains("after.country"), "{told}");

    // Nothing is published yet.
    send(&place, 0..40);
    let before = crossed(&place, 40);
    let is_null = |record: &Record| record.json()["spent_yesterday"].is_null();
    assert!(before.iter().all(is_null));

    let truth = aggregates::send(&daily.setup.source, &daily.setup.topics[0], from_ms, 600, 14);
    let mut running = daily.run();
    aggregates::wait_for(&daily, truth.len(), &mut running);
    running.stop();
    let published = aggregates::published(&daily, from_ms);
    send(&place, 40..80);
    dies_at(&mut place, "sent");
    let after = crossed(&place, 80);

    // A row of today has yesterday's numbers, as they were published.
    let mut by_serial: BTreeMap<i64, Value> = BTreeMap::new();
    for record in &after {
        let row = record.json();
        by_serial.insert(row["serial"].as_i64().expect("a serial"), row);
    }
    let mut exact = 0;
    for (serial, row) in &by_serial {
        let country = row["country"].as_str().expect("a country").to_owned();
        let group = (DAYS - 1, country);
        let (customers, spent) = (&row["customers_yesterday"], &row["spent_yesterday"]);
        match published.get(&group).filter(|_| *serial >= 40) {
            Some(there) => {
                assert_eq!((customers, spent), (&json!(there.customers), &json!(there.spent)));
                exact += usize::from(truth[&group] == *there);
            }
            None => assert!(customers.is_null() && spent.is_null(), "{serial}: {row}"),
        }
    }
    assert_eq!(exact, 0, "a number without noise");
    let enriched = by_serial.values().filter(|row| !row["spent_yesterday"].is_null()).count();
    assert_eq!(enriched, 30);

    // Made again, each row knows what it knew.
    let (code, all) = replayed(&place);
    assert!(code == 0 && all["equal"] == all["transactions"], "{all}");
    say::figure("enrich.replayed", &all["transactions"], "transactions, all equal");
    place.verify().fine("verify");

    // Statistics that are not there any more, none of them, are told as that and not as different rows.
    let (target, topic) = (&daily.setup.target, daily.data_topic());
    target.set_topic_config(&topic, "cleanup.policy", "delete");
    for partition in 0..target.partitions(&topic) {
        target.delete_records(&topic, partition, -1);
    }
    let (code, all) = replayed(&place);
    let count = |what: &str| all[what].as_u64().expect("a count");
    assert!(code == 1 && count("different") == 0 && count("input_gone") > 0, "{all}");
    assert_eq!(count("equal") + count("input_gone"), count("transactions"), "{all}");

    // The control: what another pipeline wrote is not taken for statistics of this one.
    place.setup.columns = place.setup.columns.replace("pipeline: enrich-daily", "pipeline: others");
    place.write_files();
    place.release();
    let mut running = place.run();
    let code = running.wait(Duration::from_secs(60));
    assert_eq!(code, Some(1), "{}", last_lines(&running.said(), 20));
    assert!(running.said().contains("another pipeline"), "{}", last_lines(&running.said(), 20));
}

/// More keys of groups than have rows: all of them are published.
const KEYS: usize = 1_000;

#[test]
fn statistics_that_have_no_room_stop_the_pipeline() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters_of(rig::Kind::asked_for());
    let from_ms = first_day_ms();
    let mut setup = aggregates::setup("many", &source.cluster(), &target.cluster(), from_ms);
    let keys: Vec<String> = (0..KEYS).map(|n| format!("K{n:04}")).collect();
    let few = "keys: [AT, DE, CH]";
    assert!(setup.columns.contains(few));
    setup.columns = setup.columns.replace(few, &format!("keys: [AT, {}]", keys.join(", ")));
    let many = new_place(setup);
    aggregates::send(&many.setup.source, &many.setup.topics[0], from_ms, 60, 14);
    let mut running = many.run();
    let published = (KEYS + 1) * usize::try_from(DAYS).expect("a week");
    aggregates::wait_for(&many, published, &mut running);
    running.stop();

    let mut setup = Setup::customers("room", source.cluster(), target.cluster());
    let stage = columns(&many.data_topic(), "many", &rfc3339(from_ms));
    setup.columns = format!("{stage}      mib_max: 1\n");
    setup.overrides = String::new();
    setup.keys_of = Some(many.dir.join("keys"));
    setup.tasks = 2;
    setup.source.create(&setup.topics[0], PARTITIONS, &[]);
    let mut place = Place::new(setup);
    send(&place, 0..40);
    let mut running = place.run();
    let code = running.wait(Duration::from_secs(60));
    let said = running.said();
    assert_eq!(code, Some(1), "{}", last_lines(&said, 20));
    for expected in ["take more than 1 MiB", "windows were read", "raise `mib_max` of `enrich`"] {
        assert!(said.contains(expected), "{expected}: {}", last_lines(&said, 20));
    }
    assert_eq!(place.setup.target.read(&place.data_topic(), Isolation::Committed).len(), 0);

    // The control: with room the same release runs, which nobody signed anew.
    place.setup.columns = format!("{stage}      mib_max: 8\n");
    place.write_files();
    crossed(&place, 40);
}
