//! The envelope shape with everything that may become of a change: deletes that are kept, values
//! that the source did not send, a truncated table, an added leaf. On two real clusters, to JSON
//! and to Avro.

use std::collections::HashMap;
use std::time::Duration;

use douane_ledger::log::Entry;
use serde_json::{Value, json};

use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::place::{Place, Setup, last_lines};
use crate::rig::{self, Registry};

const SHAPE: &str = "shape: envelope, source: { db: crm, table: customers }";
const CHANGES: &str = "  deletes: keep\n  unavailable: nullify\n  truncate: drop\n";

fn setup(name: &str) -> Setup {
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers(name, source.cluster(), target.cluster());
    setup.tasks = 1;
    (setup.shape, setup.changes) = (SHAPE, CHANGES);
    setup.overrides.push_str("unknown_leaf: strip\n");
    setup.source.create(&setup.topics[0], 1, &[]);
    setup
}

/// A change event as JSON, with some texts replaced.
fn changed(events: &mut Customers, replace: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>) {
    let event = events.find(|event| event.after.is_some() && event.before.is_none()).expect("one");
    let mut text =
        String::from_utf8(event.value(Format::Json, true).expect("a row")).expect("JSON");
    for (from, to) in replace {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    (event.key(Format::Json), text.into_bytes())
}

fn runs_until(place: &Place, records: usize) {
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let all = tail.wait_for(records, Duration::from_secs(60));
    assert!(all, "{}\n{}", tail.records.len(), last_lines(&running.said(), 20));
    running.stop();
}

#[test]
fn changes_cross_in_envelopes_and_nothing_else_does() {
    let _turn = rig::exclusive();
    let setup = setup("changes");
    let mut events = Customers::new(91, 734_001_000_000, true);
    let mut load = Load::new(1).customers(&mut events, 800, Format::Json, &Plants::default());
    let whole = load.len();
    // Three odd ones behind: a truncate, a value that is not there, a column that is new.
    let truncate = br#"{"before":null,"after":null,"source":{"version":"3.7.0.Final","connector":"postgresql","name":"crm","ts_ms":1,"db":"crm","schema":"public","table":"customers"},"op":"t","ts_ms":2,"transaction":null}"#;
    load.raw(0, None, Some(truncate), &[]);
    let (key, value) = changed(&mut events, &[]);
    let mut row: Value = serde_json::from_slice(&value).expect("JSON");
    row["after"]["email"] = json!("__debezium_unavailable_value");
    load.raw(0, Some(&key), Some(row.to_string().as_bytes()), &[]);
    let added = [("\"city\":", "\"passport\":\"P-4711-4711\",\"city\":")];
    let (key, value) = changed(&mut events, &added);
    let first = load.raw(0, Some(&key), Some(&value), &[]);
    let (key, value) = changed(&mut events, &added);
    load.raw(0, Some(&key), Some(&value), &[]);
    load.send(&setup.source, &setup.topics[0]);

    let place = Place::new(setup);
    let explained = place.verb(&["explain", &place.pipeline_file()]).fine("explain").out;
    for said in ["shape: envelope", "deletes: keep", "unavailable: nullify", "truncate: drop"] {
        assert!(explained.contains(said), "{said}\n{explained}");
    }
    // Every record but the truncate: deletes and their tombstones are two.
    runs_until(&place, whole + 3);
    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    assert_eq!(records.len(), whole + 3);

    // What was after one change of a row is before the next; after a delete comes its tombstone.
    let mut rows: HashMap<String, Value> = HashMap::new();
    let (mut updates, mut deletes, mut tombstones, mut lacking) = (0, 0, 0, 0);
    for record in &records {
        let key = record.key_text();
        let Some(bytes) = &record.value else {
            assert_eq!(rows.remove(&key), Some(Value::Null), "a tombstone follows its delete");
            tombstones += 1;
            continue;
        };
        let text = String::from_utf8_lossy(bytes);
        assert!(!load.secrets.iter().any(|secret| text.contains(secret)), "{key}");
        assert!(!text.contains("passport") && !text.contains("4711-4711"));
        let value = record.json();
        let names: Vec<&String> = value.as_object().expect("an envelope").keys().collect();
        assert_eq!(names, ["after", "before", "op", "source", "ts_ms"]);
        assert_eq!(value["source"], json!({ "db": "crm", "table": "customers" }));
        assert_eq!(value["ts_ms"].as_i64().expect("a time") % 1000, 0);
        let (before, after) = (value["before"].clone(), value["after"].clone());
        match value["op"].as_str().expect("a letter") {
            "c" => {
                assert!(before.is_null());
                lacking += usize::from(after["email"].is_null());
            }
            "u" => {
                updates += 1;
                assert_eq!(rows.get(&key), Some(&before));
            }
            "d" => {
                deletes += 1;
                assert!(after.is_null());
                assert_eq!(rows.get(&key), Some(&before));
            }
            other => panic!("{other}"),
        }
        rows.insert(key, after);
    }
    assert!(updates > 50 && deletes > 10, "{updates} {deletes}");
    assert_eq!((tombstones, lacking), (deletes, 1));

    // The ledger and status say what stayed behind, once.
    let status = place.status();
    assert_eq!(status["stripped"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!(status["stripped"][0]["leaf"], "passport");
    assert_eq!(status["stripped"][0]["offset"], first);
    assert_eq!(status["quarantined"], 0);
    place.verify().fine("verify");
    let entries = place.entries(0);
    let truncated = entries.iter().filter_map(|entry| match entry {
        Entry::Intent(intent) => Some(intent.truncated).filter(|count| *count > 0),
        _ => None,
    });
    assert_eq!(truncated.collect::<Vec<_>>(), [1]);
    // A life that was cut short leaves a journal, and what it stripped is stripped again by the next.
    let journals = std::fs::read_dir(place.ledger().join("changes/shard-0/journals"));
    let stripped: Vec<usize> = journals
        .expect("journals")
        .map(|entry| std::fs::read(entry.expect("a file").path()).expect("a journal"))
        .map(|bytes| String::from_utf8_lossy(&bytes).matches("\"kind\":\"STRIPPED\"").count())
        .collect();
    assert!(stripped.iter().all(|count| *count <= 1) && stripped.contains(&1), "{stripped:?}");
    // A leaf that goes away still holds.
    assert!(!entries.iter().any(|entry| matches!(entry, Entry::Held { .. })));
    let (key, value) = changed(&mut events, &[("\"city\":", "\"town\":")]);
    let mut gone = Load::new(1);
    gone.raw(0, Some(&key), Some(&value), &[]);
    gone.send(&place.setup.source, &place.setup.topics[0]);
    let mut running = place.run();
    let held = running.wait_for_word("after.city", Duration::from_secs(20));
    assert!(held, "{}", last_lines(&running.said(), 20));
    running.stop();
}

#[test]
fn envelopes_cross_in_avro_under_a_registered_schema() {
    let _turn = rig::exclusive();
    let registry = Registry::start("changes");
    let mut setup = setup("changes-avro");
    setup.sink_format = "avro";
    setup.target_registry = Some(registry.url());
    let mut events = Customers::new(92, 1, true);
    let load = Load::new(1).customers(&mut events, 300, Format::Json, &Plants::default());
    load.send(&setup.source, &setup.topics[0]);
    let place = Place::new(setup);
    runs_until(&place, load.len());
    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let frames: Vec<&[u8]> = records.iter().filter_map(|r| Some(&r.value.as_ref()?[..5])).collect();
    let id = u32::from_be_bytes(frames[0][1..].try_into().expect("an id"));
    assert!(frames.iter().all(|frame| frame[0] == 0 && *frame == frames[0]));
    let schema: Value = serde_json::from_str(&registry.schema(id)).expect("a schema");
    assert_eq!(schema["name"], "Envelope");
    let names: Vec<&Value> =
        schema["fields"].as_array().expect("fields").iter().map(|f| &f["name"]).collect();
    assert_eq!(names, ["before", "after", "op", "source", "ts_ms"]);
    place.verify().fine("verify");
}
