//! What was set aside is tried again: what crosses then crosses once, what a newer record replaced does not, and a
//! SIGKILL in between changes neither.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{Isolation, Record};
use crate::customers::{Customers, Event, Format, Op, Random};
use crate::feed::Load;
use crate::oracle::serial_in_json;
use crate::place::{Place, Said, Setup, last_lines};
use crate::rig;
use crate::say;

/// Good, and with a telephone number that `fpe` refuses and `mask` takes.
fn values(event: &Event) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let good = event.value(Format::Json, true).expect("a value");
    let text = String::from_utf8(good.clone()).expect("text");
    let bad = text.replacen("\"phone\":\"+49", "\"phone\":\"+49abc", 1);
    assert_ne!(bad, text);
    (event.key(Format::Json), good, bad.into_bytes())
}

fn serial(event: &Event) -> u64 {
    event.after.as_ref().expect("a row").serial
}

fn list(place: &Place) -> Vec<serde_json::Value> {
    listed(place, &[])["records"].as_array().expect("a list").clone()
}

fn listed(place: &Place, more: &[&str]) -> serde_json::Value {
    let file = place.pipeline_file();
    let said = place.verb(&[&["quarantine", "list", &file, "--format", "json"], more].concat());
    super::verbs::is_as_documented("quarantine-list", &said, &["outside_alphabet", "outcome"])
}

fn redrive(place: &Place, more: &[&str]) -> (i32, BTreeMap<i64, String>) {
    let file = place.pipeline_file();
    let said: Said =
        place.verb(&[&["quarantine", "redrive", &file, "--format", "json"], more].concat());
    let tried: Vec<serde_json::Value> = serde_json::from_str(&said.out)
        .unwrap_or_else(|_| panic!("redrive: {} {}", said.out, said.err));
    let outcome = |t: &serde_json::Value| match &t["outcome"] {
        serde_json::Value::String(word) => word.clone(),
        other => other.to_string(),
    };
    let by_offset = |t: &serde_json::Value| (t["offset"].as_i64().expect("an offset"), outcome(t));
    (said.code, tried.iter().map(by_offset).collect())
}

fn crossed(place: &Place) -> Vec<Record> {
    place.setup.target.read(&place.data_topic(), Isolation::Committed)
}

fn times(records: &[Record]) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    for serial in records.iter().filter_map(serial_in_json) {
        *times.entry(serial).or_default() += 1;
    }
    times
}

/// The telephone number is masked instead: what refused the records is mended.
fn mend(place: &mut Place) {
    let fpe =
        "  - fpe: { columns: [phone], alphabet: digits, domain: phone, keep: { first: 3 } }\n";
    assert!(place.setup.columns.contains(fpe));
    place.setup.columns = place.setup.columns.replace(fpe, "  - mask: { columns: [phone] }\n");
    place.write_files();
    place.release();
}

#[test]
fn a_redriven_record_crosses_once_and_never_after_a_newer_one() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("redrive", source.cluster(), target.cluster());
    setup.tasks = 2;
    setup.source.create(&setup.topics[0], 1, &[]);
    let mut place = Place::new(setup);
    let topic = place.setup.topics[0].clone();

    // offset 0: refused; 1: good; 2: refused, and replaced by 3; 4: refused, and deleted by 5
    let events: Vec<Event> =
        Customers::new(71, 1, true).filter(|event| event.op == Op::Create).take(4).collect();
    let [first, good, replaced, deleted] = &events[..] else { panic!("four") };
    let mut load = Load::new(1);
    let (key, _, bad) = values(first);
    load.raw(0, Some(&key), Some(&bad), &[]);
    let (key, value, _) = values(good);
    load.raw(0, Some(&key), Some(&value), &[]);
    let (key, value, bad) = values(replaced);
    load.raw(0, Some(&key), Some(&bad), &[]);
    load.raw(0, Some(&key), Some(&value), &[]);
    let (key, _, bad) = values(deleted);
    load.raw(0, Some(&key), Some(&bad), &[]);
    load.raw(0, Some(&key), None, &[]);
    load.send(&place.setup.source, &topic);

    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    assert!(tail.wait_for(3, Duration::from_secs(30)), "{}", last_lines(&running.said(), 20));
    let waiting = list(&place);
    let offsets: Vec<i64> = waiting.iter().map(|w| w["offset"].as_i64().expect("one")).collect();
    assert_eq!(offsets, [0, 2, 4], "{waiting:?}");
    assert!(waiting.iter().all(|w| w["code"] == "outside_alphabet" && w["state"] == "waiting"));
    assert!(!format!("{waiting:?}").contains("+49"));
    // What is left out is counted all the same.
    let one = listed(&place, &["--limit", "1"]);
    assert_eq!((&one["waits"], &one["left_out"]), (&3.into(), &2.into()), "{one}");
    assert_eq!(one["codes"], serde_json::json!({"outside_alphabet": 3}));
    assert_eq!(one["records"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["records"][0]["offset"], 0);

    // nothing is mended: refused again, by the running process
    let (code, outcomes) = redrive(&place, &[]);
    assert_eq!(code, 1);
    assert_eq!(outcomes[&0], "outside_alphabet");

    running.stop();
    mend(&mut place);
    let mut running = place.run();
    assert!(running.wait_for_word("assigned", Duration::from_secs(20)));
    let at = |offset: i64| format!("{topic}[0]@{offset}");
    let (code, outcomes) = redrive(&place, &["--record", &at(0)]);
    assert_eq!((code, outcomes[&0].as_str()), (0, "crossed"), "{}", last_lines(&place.log(), 20));
    running.stop();

    // nobody runs: the verb does it
    let (code, outcomes) = redrive(&place, &[]);
    assert_eq!(code, 0, "{outcomes:?}");
    assert_eq!((outcomes[&2].as_str(), outcomes[&4].as_str()), ("superseded", "superseded"));
    assert_eq!(list(&place), Vec::<serde_json::Value>::new());
    let times = times(&crossed(&place));
    assert_eq!(times.get(&serial(first)), Some(&1));
    assert_eq!(times.get(&serial(replaced)), Some(&1), "only the newer one");
    assert_eq!(times.get(&serial(deleted)), None);
    place.verify().fine("verify");
    let unknown =
        place.verb(&["quarantine", "redrive", &place.pipeline_file(), "--record", &at(1)]);
    assert_eq!(unknown.code, 2, "{}", unknown.err);
}

#[test]
fn a_redrive_that_is_killed_repeats_nothing() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("redrive-kill", source.cluster(), target.cluster());
    setup.tasks = 2;
    setup.source.create(&setup.topics[0], 4, &[]);
    let mut place = Place::new(setup);
    let events: Vec<Event> =
        Customers::new(72, 1, true).filter(|event| event.op == Op::Create).take(120).collect();
    let mut load = Load::new(4);
    for (number, event) in events.iter().enumerate() {
        let (key, _, bad) = values(event);
        load.raw(i32::try_from(number % 4).expect("a partition"), Some(&key), Some(&bad), &[]);
    }
    load.send(&place.setup.source, &place.setup.topics[0]);
    let mut running = place.run();
    let quarantine = place.quarantine_topic();
    let mut tail = place.setup.source.tail(&quarantine, Isolation::Committed);
    assert!(tail.wait_for(events.len(), Duration::from_secs(30)), "{}", running.said());
    running.stop();
    mend(&mut place);

    let file = place.pipeline_file();
    let mut random = Random::new(7);
    let mut kills = 0;
    let code = loop {
        let mut redriving = place.spawn(&["quarantine", "redrive", &file]);
        // the last ones are let through, so that the loop ends
        let patience = if kills < 8 { random.between(600, 2_500) } else { 60_000 };
        if let Some(code) = redriving.wait(Duration::from_millis(patience)) {
            break code;
        }
        redriving.kill();
        kills += 1;
    };
    assert_eq!(code, 0, "{}", last_lines(&place.log(), 20));
    let times = times(&crossed(&place));
    let wrong = events.iter().filter(|event| times.get(&serial(event)) != Some(&1)).count();
    say::figure("redrive.kills", kills, "SIGKILLs");
    assert!(kills > 0);
    assert_eq!(wrong, 0, "lost or repeated: {times:?}");
    place.verify().fine("verify");
}

/// Everything that crossed or was tried again is the same; how many were not.
fn made_again(place: &Place) -> u64 {
    let file = place.pipeline_file();
    let args = ["replay", &file, "--by", "cleo", "--reason", "audit", "--format", "json"];
    let said = place.verb(&args);
    let all: serde_json::Value = serde_json::from_str(&said.out)
        .unwrap_or_else(|_| panic!("replay: {} {}", said.out, said.err));
    let count = |of: &str| all[of].as_u64().unwrap_or_else(|| panic!("{of}: {all}"));
    assert!(count("transactions") > 2, "{all}");
    count("transactions") - count("equal")
}

/// A value that the gate's last-line detectors refuse, in a column that crosses as it is.
fn refused_by_the_gate(value: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(value.to_vec()).expect("text");
    let start = text.find("\"city\":\"").expect("a city") + 8;
    let end = start + text[start..].find('"').expect("its end");
    format!("{}ada@example.com{}", &text[..start], &text[end..]).into_bytes()
}

fn request(place: &Place, offsets: &[i64]) {
    let at = |offset: &i64| {
        format!("{{\"topic\":\"{}\",\"partition\":0,\"offset\":{offset}}}", place.setup.topics[0])
    };
    let records: Vec<String> = offsets.iter().map(at).collect();
    let file = place.dir.join(format!("{}.release.redrive.json", place.setup.name));
    std::fs::write(file, format!("{{\"records\":[{}]}}", records.join(","))).expect("a request");
}

#[test]
fn a_redrive_moves_no_position_and_believes_no_request() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("redrive-bounds", source.cluster(), target.cluster());
    setup.tasks = 1;
    setup.quarantine_max_per_minute = 2;
    setup.source.create(&setup.topics[0], 1, &[]);
    let mut place = Place::new(setup);
    let events: Vec<Event> =
        Customers::new(73, 1, true).filter(|event| event.op == Op::Create).take(10).collect();
    let mut load = Load::new(1);
    for (n, event) in events.iter().enumerate() {
        let (key, value, _) = values(event);
        let value = if n == 1 || n == 2 { refused_by_the_gate(&value) } else { value };
        load.raw(0, Some(&key), Some(&value), &[]);
    }
    load.send(&place.setup.source, &place.setup.topics[0]);
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    assert!(tail.wait_for(8, Duration::from_secs(30)), "{}", last_lines(&running.said(), 20));

    // the limit of two a minute is used up, and both are refused once more
    let (code, outcomes) = redrive(&place, &[]);
    assert_eq!(code, 1, "{outcomes:?}");
    assert!(outcomes.values().all(|o| o.starts_with("gate_")), "{outcomes:?}");
    running.stop();
    assert_eq!(made_again(&place), 0);

    // a request that nobody made, for records that crossed; and the partition gets another owner
    place.setup.tasks = 2;
    place.write_files();
    request(&place, &[0, 3, 9]);
    let mut running = place.run();
    assert!(running.wait_for_word("not_quarantined", Duration::from_secs(20)), "{}", place.log());
    running.stop();
    let times = times(&crossed(&place));
    assert!(times.len() == 8 && times.values().all(|n| *n == 1), "repeated: {times:?}");
    assert!(place.status()["partitions"][0]["next"] == 10, "{}", place.status());
    place.verify().fine("verify");
}

#[test]
fn a_redriven_record_without_a_key_has_no_newer_one() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("redrive-keyless", source.cluster(), target.cluster());
    setup.tasks = 1;
    setup.key = "";
    setup.source.create(&setup.topics[0], 1, &[]);
    let events: Vec<Event> =
        Customers::new(74, 1, true).filter(|event| event.op == Op::Create).take(6).collect();
    let mut load = Load::new(1);
    for (n, event) in events.iter().enumerate() {
        let (_, value, bad) = values(event);
        load.raw(0, None, Some(if n == 1 { &bad } else { &value }), &[]);
    }
    load.send(&setup.source, &setup.topics[0].clone());
    let mut place = Place::new(setup);
    // A compacted topic takes no record without a key.
    place.setup.target.set_topic_config(&place.data_topic(), "cleanup.policy", "delete");
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    assert!(tail.wait_for(5, Duration::from_secs(30)), "{}", last_lines(&place.log(), 20));
    running.stop();
    mend(&mut place);
    let (code, outcomes) = redrive(&place, &[]);
    assert_eq!((code, outcomes[&1].as_str()), (0, "crossed"));
    // the request of before lies there again, and the partition has another owner
    place.setup.tasks = 2;
    place.write_files();
    request(&place, &[1]);
    let mut running = place.run();
    assert!(running.wait_for_word("assigned", Duration::from_secs(20)));
    std::thread::sleep(Duration::from_secs(3));
    running.stop();
    let times = times(&crossed(&place));
    assert!(events.iter().all(|event| times.get(&serial(event)) == Some(&1)), "{times:?}");
}
