//! What Debezium really wrote, played through the binary: one table in three wire formats, with inserts, updates,
//! deletes, changed keys and, at last, changed columns, which hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crate::cases::kill::held_at;
use crate::cluster::Isolation;
use crate::manifests::base64;
use crate::place::{Place, Setup, last_lines};
use crate::rig::{self, Registry};
use crate::say;

struct Captured {
    partition: i32,
    headers: Vec<(String, Vec<u8>)>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn captured(format: &str) -> Vec<Captured> {
    let bytes = |v: &serde_json::Value| v.as_str().map(base64);
    file(&format!("customer-{format}.jsonl"))
        .lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            let headers = record["headers"].as_array().into_iter().flatten();
            Captured {
                partition: i32::try_from(record["partition"].as_i64().expect("a partition"))
                    .expect("a partition"),
                headers: headers
                    .map(|h| {
                        (
                            h[0].as_str().expect("a name").to_owned(),
                            bytes(&h[1]).unwrap_or_default(),
                        )
                    })
                    .collect(),
                key: bytes(&record["key"]),
                value: bytes(&record["value"]),
            }
        })
        .collect()
}

const COLUMNS: &str = "classes:
  customer_id: { class: identifier, subject: true, residency: eu }
  first_name: identifier
  last_name: identifier
  company: quasi
  address: quasi
  city: public
  state: public
  country: public
  postal_code: quasi
  phone: identifier
  fax: identifier
  email: identifier
  support_rep_id: public
TYPES
stages:
  - tokenize: { columns: [customer_id], domain: customer }
  - tokenize: { columns: [email], domain: customer_email }
  - mask: { columns: [phone], keep: { last: 2 } }
  - generalize: { columns: [postal_code], prefix: 2 }
  - drop: { columns: [first_name, last_name, company, address, fax] }
";

/// The last record of its partition that should cross, by what the README of the captures says: the first record that
/// knows a changed column holds.
fn first_changed(records: &[Captured], format: &str) -> BTreeMap<i32, usize> {
    let mut first = BTreeMap::new();
    let mut seen: BTreeMap<i32, usize> = BTreeMap::new();
    for record in records {
        let at = *seen.entry(record.partition).and_modify(|n| *n += 1).or_insert(1) - 1;
        let value = record.value.as_deref().unwrap_or_default();
        let changed = match format {
            "avro" => value.len() > 5 && value[..5] != [0, 0, 0, 0, 4],
            _ => {
                value.windows(15).any(|w| w == b"\"loyalty_email\"")
                    || value.windows(12).any(|w| w == b"\"fax_number\"")
            }
        };
        if changed {
            first.entry(record.partition).or_insert(at);
        }
    }
    first
}

fn play(format: &'static str, registry: Option<&Registry>) {
    let (source, target) = rig::clusters();
    let mut setup =
        Setup::customers(&format!("captured-{format}"), source.cluster(), target.cluster());
    setup.source_format = match format {
        "json" => "debezium_json",
        "jsonschema" => "debezium_json_schema",
        _ => "debezium_avro",
    };
    setup.topics = vec![format!("chinook_{format}.public.customer")];
    let types = if format == "json" {
        "types: { customer_id: int32, support_rep_id: int32 }"
    } else {
        "types: {}"
    };
    setup.columns = COLUMNS.replace("TYPES", types);
    setup.domains = "domains:
  customer: { normalize: none, form: base32, version: 1, purposes: [model-training] }
  customer_email: { normalize: email, form: base32, version: 1, purposes: [model-training] }
"
    .to_owned();
    setup.overrides = String::new();
    setup.key = "customer_id";
    let topic = setup.topics[0].clone();
    let mut records = captured(format);
    let held = first_changed(&records, format);
    assert_eq!(held.len(), 2, "two partitions of the captures hold changed columns");

    if let Some(registry) = registry {
        setup.source_registry = Some(registry.url());
        let schemas: BTreeMap<u32, String> =
            serde_json::from_str(&file("customer-schemas.json")).expect("schemas");
        // the first two are what the topic's subjects know when the release is proposed; the others come later
        let ids: BTreeMap<u32, u32> = schemas
            .iter()
            .map(|(id, text)| {
                let subject = match id {
                    3 => format!("{topic}-key"),
                    4 => format!("{topic}-value"),
                    later => format!("{topic}-later-{later}"),
                };
                (*id, registry.register(&subject, text))
            })
            .collect();
        for record in &mut records {
            for part in [&mut record.key, &mut record.value].into_iter().flatten() {
                let id = u32::from_be_bytes(part[1..5].try_into().expect("four bytes"));
                part[1..5].copy_from_slice(&ids[&id].to_be_bytes());
            }
        }
    }
    setup.source.create(&topic, 3, &[]);
    let feed = setup.source.producer();
    for record in &records {
        let headers: Vec<(&str, &[u8])> =
            record.headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        feed.send(
            &topic,
            record.partition,
            record.key.as_deref(),
            record.value.as_deref(),
            &headers,
        );
    }
    feed.flush();
    let place = Place::new(setup);

    let mut at: BTreeMap<i32, usize> = BTreeMap::new();
    let crossing: Vec<&Captured> = records
        .iter()
        .filter(|record| {
            let number = *at.entry(record.partition).and_modify(|n| *n += 1).or_insert(1) - 1;
            held.get(&record.partition).is_none_or(|first| number < *first)
        })
        .collect();
    // a delete and its tombstone are one
    let tombstones = crossing.iter().filter(|record| record.value.is_none()).count();
    let due = crossing.len() - tombstones;
    let keys: BTreeSet<&[u8]> =
        crossing.iter().filter_map(|record| record.key.as_deref()).collect();

    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    assert!(
        tail.wait_for(due, Duration::from_secs(30)),
        "{} of {due}\n{}",
        tail.records.len(),
        last_lines(&running.said(), 20)
    );
    while tail.poll(Duration::from_millis(700)) > 0 {}
    running.stop();
    assert_eq!(tail.records.len(), due, "{format}: records in the target");
    let tokens: BTreeSet<&[u8]> =
        tail.records.iter().filter_map(|record| record.key.as_deref()).collect();
    assert_eq!(tokens.len(), keys.len(), "{format}: one token a key");
    let nulls = tail.records.iter().filter(|record| record.value.is_none()).count();
    assert_eq!(nulls, tombstones, "{format}: one null a delete");
    for (partition, first) in &held {
        assert_eq!(
            held_at(&place, *partition),
            i64::try_from(*first).ok(),
            "{format}: partition {partition} is held at the changed columns"
        );
    }
    let quarantine = place.setup.source.read(&place.quarantine_topic(), Isolation::Committed);
    assert_eq!(quarantine.len(), 0, "{format}: nothing in the captures is broken");
    for record in &tail.records {
        let text =
            record.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        for raw in ["jetbrains", "@", "Köhler", "Gonçalves", "loyalty"] {
            assert!(!text.contains(raw), "{format}: a raw value crossed");
        }
    }
    assert_eq!(place.verify().code, 0);
    say::note(format!(
        "captures, {format}: {due} records of {} keys crossed, {} partitions held",
        keys.len(),
        held.len()
    ));
}

#[test]
fn captured_json_crosses_until_its_columns_change() {
    let _turn = rig::exclusive();
    play("json", None);
}

#[test]
fn captured_json_with_schemas_crosses_until_its_columns_change() {
    let _turn = rig::exclusive();
    play("jsonschema", None);
}

#[test]
fn captured_avro_crosses_until_its_columns_change() {
    let _turn = rig::exclusive();
    let registry = Registry::start("captures");
    play("avro", Some(&registry));
}
