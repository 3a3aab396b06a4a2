//! The same events in three wire formats become the same records: equal keys, equal values, in equal order.

use std::time::Duration;

use crate::cases::kill::check_the_rest;
use crate::cluster::Isolation;
use crate::customers::{Customers, Format, avro_schemas};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Place, Setup, last_lines};
use crate::rig::{self, Registry};
use crate::say;

/// Target partition, key and value of a record.
type Bytes = (i32, Option<Vec<u8>>, Option<Vec<u8>>);

#[test]
fn three_wire_formats_give_the_same_bytes() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let registry = Registry::start("formats");
    let mut keys = None;
    let mut first: Option<Vec<Bytes>> = None;
    for name in ["debezium_json", "debezium_json_schema", "debezium_avro"] {
        let mut setup =
            Setup::customers(&name.replace('_', "-"), source.cluster(), target.cluster());
        setup.source_format = name;
        setup.tasks = 1;
        setup.keys_of = keys.clone();
        // each way of making tokens
        setup.domains = setup
            .domains
            .replace("customer: {", "customer: { algorithm: aes_siv, pad_to: 32,")
            .replace("customer_email: {", "customer_email: { algorithm: aes_cmac,");
        assert_eq!(setup.domains.matches("algorithm").count(), 2);
        let topic = setup.topics[0].clone();
        let format = match name {
            "debezium_json" => Format::Json,
            "debezium_json_schema" => Format::JsonSchema,
            _ => {
                let (key, value) = avro_schemas(true);
                setup.source_registry = Some(registry.url());
                Format::Avro {
                    key: registry.register(&format!("{topic}-key"), &key),
                    value: registry.register(&format!("{topic}-value"), &value),
                }
            }
        };
        setup.source.create(&topic, 1, &[]);
        let mut events = Customers::new(81, 1, true);
        let load = Load::new(1).customers(&mut events, 2000, format, &Plants::default());
        load.send(&setup.source, &topic);
        let place = Place::new(setup);
        keys.get_or_insert_with(|| place.dir.join("keys"));
        let mut running = place.run();
        let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
        let all = tail.wait_for(load.expected.len(), Duration::from_secs(30));
        assert!(all, "{name}: {} records\n{}", tail.records.len(), last_lines(&running.said(), 20));
        running.stop();
        let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
        let verdict = judge(&load.expected, &records, serial_in_json);
        assert!(verdict.clean(), "{name}: {verdict:?}");
        check_the_rest(&place, &load);
        // one leaf, one token, in key and row alike
        let mut rows = 0;
        for record in &records {
            let Some(value) = &record.value else { continue };
            let row: serde_json::Value = serde_json::from_slice(value).expect("JSON");
            let key = record.key.as_deref().map(String::from_utf8_lossy);
            assert_eq!(row["id"].as_str(), key.as_deref(), "{name}");
            // 1 + 16 + 32 bytes in base32; 16 bytes
            assert_eq!(row["id"].as_str().map(str::len), Some(79), "{name}");
            assert_eq!(row["email"].as_str().map(str::len), Some(26), "{name}");
            rows += 1;
        }
        assert!(rows > 1000, "{name}: {rows} rows");
        let mut bytes: Vec<Bytes> =
            records.into_iter().map(|r| (r.partition, r.key, r.value)).collect();
        // one source partition: within a target partition the order is the source's
        bytes.sort_by_key(|(partition, _, _)| *partition);
        match &first {
            None => first = Some(bytes),
            Some(first) => {
                let differs = first.iter().zip(&bytes).position(|(a, b)| a != b);
                let text = |side: &[Bytes]| {
                    let (partition, key, value) = &side[differs.unwrap_or(0)];
                    let text = |bytes: &Option<Vec<u8>>| {
                        String::from_utf8_lossy(bytes.as_deref().unwrap_or(b"null")).into_owned()
                    };
                    format!("{partition} {} {}", text(key), text(value))
                };
                assert!(
                    differs.is_none() && first.len() == bytes.len(),
                    "{name}: record {differs:?} differs from debezium_json's\n{}\n{}",
                    text(first),
                    text(&bytes)
                );
            }
        }
    }
}

#[test]
fn a_schema_that_the_registry_does_not_know_yet_holds_until_it_does() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let registry = Registry::start("formats-late");
    let mut setup = Setup::customers("late-schema", source.cluster(), target.cluster());
    setup.source_format = "debezium_avro";
    setup.source_registry = Some(registry.url());
    setup.tasks = 1;
    let topic = setup.topics[0].clone();
    setup.source.create(&topic, 1, &[]);
    let (key, value) = avro_schemas(true);
    let key = registry.register(&format!("{topic}-key"), &key);
    let value_subject = format!("{topic}-value");
    let next = registry.register(&value_subject, &value) + 1;
    let format = Format::Avro { key, value: next };
    let mut events = Customers::new(82, 1, true);
    let load = Load::new(1).customers(&mut events, 200, format, &Plants::default());
    load.send(&setup.source, &topic);
    let place = Place::new(setup);
    let mut running = place.run();
    let until = Instant::now() + Duration::from_secs(30);
    while !running.said().contains("unknown_schema_id") {
        assert!(Instant::now() < until, "not held\n{}", last_lines(&running.said(), 20));
        std::thread::sleep(Duration::from_millis(50));
    }
    let standing = place.setup.target.end(&place.data_topic(), Isolation::Committed);
    assert_eq!(standing, 0, "nothing crosses before its schema is known");
    let later = value.replacen('{', r#"{"doc":"the same leaves","#, 1);
    assert_eq!(registry.register(&value_subject, &later), next, "the registry counts on");
    let since = Instant::now();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let all = tail.wait_for(load.expected.len(), Duration::from_secs(40));
    assert!(all, "{} records\n{}", tail.records.len(), last_lines(&running.said(), 20));
    say::figure("formats.late_schema", since.elapsed().as_millis(), "ms until all had crossed");
    running.stop();
    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let verdict = judge(&load.expected, &records, serial_in_json);
    assert!(verdict.clean(), "{verdict:?}");
    check_the_rest(&place, &load);
}
