//! Every kind of bad record, each in a partition of its own between two good ones: what is held, what is quarantined,
//! and that neighbours go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cases::kill::{held_at, quarantined_at};
use crate::cluster::Isolation;
use crate::customers::{Customers, Event, Format, Op};
use crate::feed::Load;
use crate::oracle::serial_in_json;
use crate::place::{Place, Setup, last_lines};
use crate::rig;
use crate::say;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Crosses,
    Quarantined,
    Held,
}
use Outcome::{Crosses, Held, Quarantined};

/// What is done to a good create event (as text), or the whole record.
enum Bad {
    Replaced(&'static str, String),
    /// The first occurrence of a column has this JSON value.
    Column(&'static str, &'static str),
    /// Notes of so many times ten bytes.
    LongNotes(usize),
    Value(Vec<u8>),
    Record(Option<&'static [u8]>, Option<&'static [u8]>),
    Headers(Vec<(String, Vec<u8>)>),
}

fn replaced(from: &'static str, to: impl Into<String>) -> Bad {
    Bad::Replaced(from, to.into())
}

fn cases() -> Vec<(&'static str, Bad, Outcome)> {
    let deep = format!("\"city\":{}1{},\"ignored\":\"", "[".repeat(100_000), "]".repeat(100_000));
    vec![
        ("a good record", replaced("\"op\":\"c\"", "\"op\":\"c\""), Crosses),
        ("a snapshot read", replaced("\"op\":\"c\"", "\"op\":\"r\""), Crosses),
        ("names with escapes", replaced("\"after\":", "\"\\u0061fter\":"), Crosses),
        (
            "text cut short",
            Bad::Value(b"{\"before\":null,\"after\":{\"id\":7".to_vec()),
            Quarantined,
        ),
        ("an empty value", Bad::Value(Vec::new()), Quarantined),
        ("no JSON at all", Bad::Value(b"\x00\x00\x00\x00\x07abc".to_vec()), Quarantined),
        (
            "bytes that are not UTF-8",
            Bad::Value(b"{\"before\":null,\"after\":null,\"op\":\"\xff\"}".to_vec()),
            Quarantined,
        ),
        ("a name twice", replaced("\"city\":", "\"country\":\"DE\",\"city\":"), Quarantined),
        ("a lone surrogate", replaced("\"street\":\"", "\"street\":\"\\ud800"), Quarantined),
        ("nested beyond every limit", replaced("\"city\":\"", deep), Quarantined),
        (
            "a number beyond 64 bits",
            replaced("\"balance_cents\":", "\"balance_cents\":1000000000000000000000"),
            Quarantined,
        ),
        ("a telephone of letters", replaced("\"phone\":\"+49", "\"phone\":\"+49abc"), Quarantined),
        (
            "an unchanged TOAST column",
            Bad::Column("notes", "\"__debezium_unavailable_value\""),
            Quarantined,
        ),
        (
            "an unchanged TOAST column that stays behind",
            Bad::Column("street", "\"__debezium_unavailable_value\""),
            Crosses,
        ),
        ("a number where a date was", Bad::Column("birth_date", "99999999999"), Quarantined),
        ("text where a date was", Bad::Column("birth_date", "\"yesterday\""), Held),
        ("an object where text was", Bad::Column("email", "{\"is\":\"a@example.org\"}"), Held),
        ("null where text was", Bad::Column("email", "null"), Crosses),
        ("a telephone of two digits", Bad::Column("phone", "\"+49\""), Quarantined),
        ("notes of 0.9 MB", Bad::LongNotes(90_000), Crosses),
        ("notes of 1.5 MB, too long for the target", Bad::LongNotes(150_000), Quarantined),
        ("an unknown leaf", replaced("\"city\":\"", "\"passport\":\"P-1\",\"city\":\""), Held),
        (
            "an unknown nested leaf",
            replaced("\"city\":\"", "\"prefs\":{\"a\":{\"b\":1}},\"city\":\""),
            Held,
        ),
        (
            "an unknown leaf in before",
            replaced("\"before\":null", "\"before\":{\"passport\":\"P-1\"}"),
            Held,
        ),
        ("an unknown envelope leaf", replaced("\"op\":\"c\"", "\"op\":\"c\",\"note\":\"x\""), Held),
        (
            "an unknown leaf of source",
            replaced("\"db\":\"crm\"", "\"db\":\"crm\",\"query\":\"insert\""),
            Held,
        ),
        ("a missing leaf", replaced("\"city\":\"", "\"city_\":\""), Held),
        ("an unknown header", Bad::Headers(vec![("tenant".to_owned(), b"acme".to_vec())]), Held),
        (
            "ten thousand headers",
            Bad::Headers((0..10_000).map(|n| (format!("h{n}"), b"v".to_vec())).collect()),
            Held,
        ),
        (
            "Debezium's own headers",
            Bad::Headers(vec![("__debezium.context.taskId".to_owned(), b"0".to_vec())]),
            Crosses,
        ),
        ("a truncate", Bad::Value(truncate()), Held),
        ("a logical message", replaced("\"op\":\"c\"", "\"op\":\"m\""), Held),
        ("a tombstone with an unreadable key", Bad::Record(Some(b"{\"id\":"), None), Held),
        ("a tombstone without a key", Bad::Record(None, None), Held),
        ("no envelope", Bad::Value(b"{\"id\":7,\"email\":\"a@example.org\"}".to_vec()), Held),
    ]
}

fn truncate() -> Vec<u8> {
    b"{\"before\":null,\"after\":null,\"source\":{\"version\":\"3.7.0.Final\",\"connector\":\"postgresql\",\"name\":\"crm\",\"ts_ms\":1760000000000,\"snapshot\":\"false\",\"db\":\"crm\",\"sequence\":null,\"schema\":\"public\",\"table\":\"customers\",\"txId\":1,\"lsn\":1,\"xmin\":null},\"op\":\"t\",\"ts_ms\":1760000000012,\"transaction\":null}".to_vec()
}

fn creates(count: usize) -> Vec<Event> {
    Customers::new(61, 1, true).filter(|event| event.op == Op::Create).take(count).collect()
}

#[test]
pub fn bad_records_are_held_or_quarantined_and_neighbours_go_on() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("bad", source.cluster(), target.cluster());
    setup.tasks = 2;
    let cases = cases();
    let partitions = i32::try_from(cases.len()).expect("a count");
    setup.source.create(&setup.topics[0], partitions, &[("max.message.bytes", "8000000")]);
    let place = Place::new(setup);

    let mut good = creates(cases.len() * 3).into_iter();
    let mut load = Load::new(partitions);
    let mut serials: BTreeMap<u64, (usize, &str)> = BTreeMap::new();
    for (number, (_, bad, _)) in cases.iter().enumerate() {
        let partition = i32::try_from(number).expect("a partition");
        for place_in_row in ["before", "itself", "after"] {
            let event = good.next().expect("a create");
            let serial = event.after.as_ref().expect("a row").serial;
            serials.insert(serial, (number, place_in_row));
            let (key, value) =
                (event.key(Format::Json), event.value(Format::Json, true).expect("a value"));
            if place_in_row != "itself" {
                load.raw(partition, Some(&key), Some(&value), &[]);
                continue;
            }
            match bad {
                Bad::Replaced(from, to) => {
                    let text = String::from_utf8(value).expect("text");
                    assert!(text.contains(from), "{from} is not there");
                    load.raw(
                        partition,
                        Some(&key),
                        Some(text.replacen(from, to, 1).as_bytes()),
                        &[],
                    );
                }
                Bad::LongNotes(words) => {
                    let text = String::from_utf8(value).expect("text");
                    let long = format!("\"{}\"", "and so on ".repeat(*words));
                    load.raw(
                        partition,
                        Some(&key),
                        Some(with_column(&text, "notes", &long).as_bytes()),
                        &[],
                    );
                }
                Bad::Column(name, json) => {
                    let text = String::from_utf8(value).expect("text");
                    load.raw(
                        partition,
                        Some(&key),
                        Some(with_column(&text, name, json).as_bytes()),
                        &[],
                    );
                }
                Bad::Value(bytes) => {
                    load.raw(partition, Some(&key), Some(bytes), &[]);
                }
                Bad::Record(key, value) => {
                    load.raw(partition, *key, *value, &[]);
                }
                Bad::Headers(headers) => {
                    let list: Vec<(&str, &[u8])> =
                        headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
                    load.raw(partition, Some(&key), Some(&value), &list);
                }
            }
        }
    }
    load.send(&place.setup.source, &place.setup.topics[0]);

    let due: usize = cases
        .iter()
        .map(|(_, _, outcome)| match outcome {
            Crosses => 3,
            Quarantined => 2,
            Held => 1,
        })
        .sum();
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    tail.wait_for(due, Duration::from_secs(30));
    while tail.poll(Duration::from_millis(1000)) > 0 {}
    assert_eq!(running.ended(), None, "{}", last_lines(&running.said(), 20));
    running.stop();

    let crossed: BTreeSet<(usize, &str)> = tail
        .records
        .iter()
        .filter_map(serial_in_json)
        .filter_map(|serial| serials.get(&serial).copied())
        .collect();
    let quarantine: BTreeSet<(i32, i64)> = place
        .setup
        .source
        .read(&place.quarantine_topic(), Isolation::Committed)
        .iter()
        .map(|record| quarantined_at(record, &place.setup.topics[0]))
        .collect();
    let mut wrong = Vec::new();
    for (number, (name, _, expected)) in cases.iter().enumerate() {
        let partition = i32::try_from(number).expect("a partition");
        let held = held_at(&place, partition) == Some(1);
        let quarantined = quarantine.contains(&(partition, 1));
        let has = |which| crossed.contains(&(number, which));
        let found = match (has("itself"), quarantined, held) {
            (true, false, false) => Some(Crosses),
            (false, true, false) => Some(Quarantined),
            (false, false, true) => Some(Held),
            _ => None,
        };
        if found != Some(*expected) {
            wrong.push(format!("{name}: expected {expected:?}, found crossed {}, quarantined {quarantined}, held {held}", has("itself")));
        }
        if !has("before") || has("after") != (*expected != Held) {
            wrong.push(format!(
                "{name}: its neighbours: before {}, after {}",
                has("before"),
                has("after")
            ));
        }
    }
    say::figure("bad_input.cases", cases.len(), "records");
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), last_lines(&place.log(), 10));
}

/// The record with another value of a column in its first row image. No text of ours holds a comma or a quote.
fn with_column(text: &str, name: &str, json: &str) -> String {
    let (head, rest) = text.split_once(&format!("\"{name}\":")).expect("a column");
    let end = rest.find([',', '}']).expect("an end");
    format!("{head}\"{name}\":{json}{}", &rest[end..])
}
