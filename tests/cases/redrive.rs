//! What was set aside is tried again: what crosses then crosses once, what a newer record replaced does not, and a
//! SIGKILL in between changes neither.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cases::kill::held_at;
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
    let tried = super::verbs::is_as_documented("quarantine-redrive", &said, &[]);
    let tried = tried.as_array().expect("a list");
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

/// Headers of Kafka Connect's names, and nobody believes them.
fn stands_beside(place: &Place, topic: &str) {
    let quarantine = place.quarantine_topic();
    let source = &place.setup.source;
    let records = source.read(&quarantine, Isolation::Committed);
    assert_eq!(records.len(), 3);
    for record in &records {
        let offset = record.key_text().rsplit('/').next().expect("an offset").to_owned();
        let headers: BTreeMap<&str, String> = record
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8(value.clone().expect("a value")).expect("text");
                (name.strip_prefix("__connect.errors.").expect("a name of Connect's"), value)
            })
            .collect();
        let task = headers["task.id"].as_str();
        assert!(["0", "1"].contains(&task), "{task}");
        let expected = [
            ("class.name", "douane.stage"),
            ("connector.name", place.setup.name.as_str()),
            ("exception.class.name", "outside_alphabet"),
            ("exception.message", "a stage does not take a cell"),
            ("offset", offset.as_str()),
            ("partition", "0"),
            ("stage", "TRANSFORMATION"),
            ("task.id", task),
            ("topic", topic),
        ];
        let expected = expected.map(|(name, value)| (name, value.to_owned()));
        assert_eq!(headers, BTreeMap::from(expected));
    }
    // The same records under headers that somebody made up: what is sealed is what counts.
    // Since when is the time of the newest copy.
    let listed = || -> Vec<serde_json::Value> {
        let mut all = list(place);
        all.iter_mut().for_each(|one| one["since"].take().as_str().map(drop).expect("a time"));
        all
    };
    let before = listed();
    let feed = source.producer();
    for record in &records {
        let forged = [
            ("__connect.errors.exception.class.name", &b"number"[..]),
            ("__connect.errors.offset", b"77"),
        ];
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        feed.send(&quarantine, record.partition, key, value, &forged);
    }
    feed.flush();
    assert_eq!(source.read(&quarantine, Isolation::Committed).len(), 6);
    assert_eq!(listed(), before);
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
    stands_beside(&place, &topic);
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

/// The log of the owner before says what it tried, and is read after that of the one now.
#[test]
fn a_record_that_gets_another_owner_and_is_asked_for_twice_crosses_once() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("redrive-owner", source.cluster(), target.cluster());
    setup.tasks = 2;
    setup.source.create(&setup.topics[0], 2, &[]);
    let mut place = Place::new(setup);
    let events: Vec<Event> =
        Customers::new(77, 1, true).filter(|event| event.op == Op::Create).take(2).collect();
    let mut load = Load::new(2);
    let (key, _, bad) = values(&events[0]);
    load.raw(1, Some(&key), Some(&bad), &[]);
    let (key, value, _) = values(&events[1]);
    load.raw(1, Some(&key), Some(&value), &[]);
    load.send(&place.setup.source, &place.setup.topics[0]);
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    assert!(tail.wait_for(1, Duration::from_secs(30)), "{}", last_lines(&running.said(), 20));
    let (code, outcomes) = redrive(&place, &[]);
    assert_eq!((code, outcomes[&0].as_str()), (1, "outside_alphabet"));
    running.stop();

    place.setup.tasks = 1;
    mend(&mut place);
    request(&place, 1, &[0, 0]);
    let mut running = place.run();
    assert!(tail.wait_for(2, Duration::from_secs(30)), "{}", last_lines(&running.said(), 20));
    // Whatever else the request or a second one brought lies before this one.
    let (code, outcomes) = redrive(&place, &[]);
    assert_eq!((code, outcomes.len()), (0, 0), "{outcomes:?}");
    assert_eq!(list(&place), Vec::<serde_json::Value>::new());
    running.stop();
    request(&place, 1, &[0]);
    let mut running = place.run();
    assert!(running.wait_for_word("assigned", Duration::from_secs(20)), "{}", running.said());
    running.stop();
    let times = times(&crossed(&place));
    assert!(times.len() == 2 && times.values().all(|n| *n == 1), "repeated: {times:?}");
    place.verify().fine("verify");
}

/// The quarantine is given up and made anew while the pipeline runs: what is set aside then opens, and what was in the one
/// before is read from the source.
#[test]
fn a_quarantine_that_is_made_anew_takes_what_comes_and_loses_nothing() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("redrive-anew", source.cluster(), target.cluster());
    setup.source.create(&setup.topics[0], 1, &[]);
    setup.tasks = 1;
    let mut place = Place::new(setup);
    let topic = place.setup.topics[0].clone();
    let events: Vec<Event> =
        Customers::new(79, 1, true).filter(|event| event.op == Op::Create).take(4).collect();
    // Each time one that is refused, and one that crosses.
    let send = |place: &Place, events: &[Event]| {
        let mut load = Load::new(1);
        let (key, _, bad) = values(&events[0]);
        load.raw(0, Some(&key), Some(&bad), &[]);
        let (key, value, _) = values(&events[1]);
        load.raw(0, Some(&key), Some(&value), &[]);
        load.send(&place.setup.source, &topic);
    };
    let offsets = |all: &[serde_json::Value], state: &str| -> Vec<i64> {
        let of = all.iter().filter(|one| one["state"] == state);
        of.map(|one| one["offset"].as_i64().expect("an offset")).collect()
    };
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    send(&place, &events[..2]);
    assert!(tail.wait_for(1, Duration::from_secs(30)), "{}", last_lines(&running.said(), 20));
    assert_eq!(offsets(&list(&place), "waiting"), [0]);

    place.setup.source.delete(&place.quarantine_topic());
    let file = place.pipeline_file();
    place.verb(&["doctor", "--create", "--quarantine-anew", &file]).fine("doctor");
    send(&place, &events[2..]);
    assert!(tail.wait_for(2, Duration::from_secs(30)), "{}", last_lines(&running.said(), 20));
    assert_eq!(offsets(&list(&place), "waiting"), [2], "{}", last_lines(&running.said(), 20));

    // What others wrote into the topic hides nothing: without a place, and in the place of a record.
    let mut foreign = Load::new(1);
    foreign.raw(0, Some(b"canary"), Some(b"canary"), &[]);
    foreign.raw(0, Some(format!("{topic}/0/7").as_bytes()), Some(b"canary"), &[]);
    foreign.send(&place.setup.source, &place.quarantine_topic());
    let all = list(&place);
    assert_eq!(offsets(&all, "waiting"), [2], "{all:?}");
    let of_topic = |t: &str| all.iter().any(|r| r["topic"] == t && r["state"] == "unreadable");
    assert!(of_topic(&topic) && of_topic(&place.quarantine_topic()), "{all:?}");
    assert!(all.len() == 3 && !format!("{all:?}").contains("canary"), "{all:?}");
    assert_eq!(listed(&place, &[])["closed"], 2);
    let said = place.verb(&["quarantine", "list", &file]);
    assert!(said.out.contains("1 wait, 0 leftovers, 2 that nobody opens"), "{}", said.out);

    running.stop();
    mend(&mut place);
    let (code, outcomes) = redrive(&place, &[]);
    let both = BTreeMap::from([0, 2].map(|offset| (offset, "crossed".to_owned())));
    assert_eq!((code, outcomes), (0, both), "{}", last_lines(&place.log(), 20));
    let times = times(&crossed(&place));
    let once = events.iter().all(|event| times.get(&serial(event)) == Some(&1));
    assert!(once && times.len() == events.len(), "{times:?}");
    place.verify().fine("verify");
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
pub fn refused_by_the_gate(value: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(value.to_vec()).expect("text");
    let start = text.find("\"city\":\"").expect("a city") + 8;
    let end = start + text[start..].find('"').expect("its end");
    format!("{}ada@example.com{}", &text[..start], &text[end..]).into_bytes()
}

fn request(place: &Place, partition: i32, offsets: &[i64]) {
    let topic = &place.setup.topics[0];
    let at = |offset: &i64| {
        format!("{{\"topic\":\"{topic}\",\"partition\":{partition},\"offset\":{offset}}}")
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
    request(&place, 0, &[0, 3, 9]);
    let mut running = place.run();
    assert!(running.wait_for_word("not_quarantined", Duration::from_secs(20)), "{}", place.log());
    running.stop();
    let times = times(&crossed(&place));
    assert!(times.len() == 8 && times.values().all(|n| *n == 1), "repeated: {times:?}");
    assert!(place.status()["partitions"][0]["next"] == 10, "{}", place.status());
    place.verify().fine("verify");
}

/// The decoder stops at a leaf that nobody declared; before it lies a record that the gate refuses, beyond the limit.
#[test]
fn the_first_of_two_holds_is_the_one_that_is_told() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("redrive-holds", source.cluster(), target.cluster());
    setup.tasks = 1;
    setup.quarantine_max_per_minute = 1;
    setup.source.create(&setup.topics[0], 1, &[]);
    let place = Place::new(setup);
    let events: Vec<Event> =
        Customers::new(75, 1, true).filter(|event| event.op == Op::Create).take(6).collect();
    let mut load = Load::new(1);
    for (n, event) in events.iter().enumerate() {
        let (key, value, _) = values(event);
        let value = match n {
            1 | 3 => refused_by_the_gate(&value),
            5 => with_a_passport(&value),
            _ => value,
        };
        load.raw(0, Some(&key), Some(&value), &[]);
    }
    load.send(&place.setup.source, &place.setup.topics[0]);
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    assert!(tail.wait_for(2, Duration::from_secs(30)), "{}", last_lines(&running.said(), 20));
    let patience = Duration::from_secs(20);
    assert!(running.wait_for_word("quarantine_limit", patience), "{}", running.said());
    running.stop();
    let said = running.said();
    assert!(said.contains("after.passport"), "one turn holds both: {said}");
    assert_eq!(held_at(&place, 0), Some(3), "{said}");
    place.verify().fine("verify");
}

fn with_a_passport(value: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(value).expect("text");
    let more = text.replace("\"phone\":", "\"passport\":0,\"phone\":");
    assert_ne!(more, text);
    more.into_bytes()
}

#[test]
pub fn a_redriven_record_without_a_key_has_no_newer_one() {
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
    request(&place, 0, &[1]);
    let mut running = place.run();
    assert!(running.wait_for_word("assigned", Duration::from_secs(20)));
    std::thread::sleep(Duration::from_secs(3));
    running.stop();
    let times = times(&crossed(&place));
    assert!(events.iter().all(|event| times.get(&serial(event)) == Some(&1)), "{times:?}");
}
