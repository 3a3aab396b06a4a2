//! The whole way: PostgreSQL → Debezium → Kafka → douane → Kafka → a reader. JSON in and out, and Avro in and out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::kill::check_the_rest;
use crate::cluster::{Isolation, Record};
use crate::feed::Load;
use crate::pace::Instant;
use crate::place::{Place, Running, Setup, last_lines};
use crate::rig::{self, Connect, Postgres, Registry};
use crate::say;

const TABLE: &str = "CREATE TABLE customers (
  id bigint PRIMARY KEY, email text NOT NULL, phone text NOT NULL, national_id text NOT NULL, card_number text NOT NULL,
  full_name text NOT NULL, street text NOT NULL, city text NOT NULL, country text NOT NULL, birth_date date NOT NULL,
  notes text, balance_cents bigint NOT NULL, updated_at timestamp(6) NOT NULL, serial bigint NOT NULL);
CREATE SEQUENCE version;
INSERT INTO customers SELECT i, 'ada.berg' || i || '@example.com', '+4915' || (10000000 + i), lpad(i::text, 11, '4'),
  '9' || lpad(i::text, 15, '3'), 'Ada Berg', 'Mill Street ' || i, 'Berlin', 'DE', date '1970-01-01' + i::int,
  'write to ada.berg@example.org please', i * 1000, timestamp '2025-10-09 08:53:20.123456', nextval('version')
  FROM generate_series(1, 300) AS i;
";

/// Inserts, updates, deletes, a changed key, and one transaction over all of it.
const WORK: &str = "
UPDATE customers SET notes = 'call +1 202 555 0123', balance_cents = balance_cents + 7, serial = nextval('version') WHERE id <= 100;
DELETE FROM customers WHERE id BETWEEN 50 AND 59;
INSERT INTO customers SELECT 1000 + i, 'bo' || i || '@example.com', '+4915' || (20000000 + i), lpad(i::text, 11, '5'),
  '9' || lpad(i::text, 15, '6'), 'Bo Costa', 'River Street 9', 'Lyon', 'FR', date '1999-12-31', NULL, -5, now()::timestamp, nextval('version')
  FROM generate_series(1, 50) AS i;
UPDATE customers SET id = 5000, serial = nextval('version') WHERE id = 1;
BEGIN;
UPDATE customers SET city = 'Gent', country = 'BE', serial = nextval('version') WHERE id = 2;
UPDATE customers SET city = 'Cork', country = 'IE', serial = nextval('version') WHERE id = 2;
DELETE FROM customers WHERE id = 3;
COMMIT;
BEGIN; UPDATE customers SET city = 'Nowhere', serial = nextval('version'); ROLLBACK;
";

fn connector(name: &str, postgres: &Postgres, registry: Option<&Registry>) -> Value {
    let mut config = json!({
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": "127.0.0.1",
        "database.port": postgres.port.to_string(),
        "database.user": "postgres",
        "database.password": "unused",
        "database.dbname": name,
        "topic.prefix": name,
        "plugin.name": "pgoutput",
        "slot.name": name,
        "publication.name": format!("pub_{name}"),
        "publication.autocreate.mode": "filtered",
        "table.include.list": "public.customers",
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": "3",
    });
    let fields = config.as_object_mut().expect("an object");
    for part in ["key.converter", "value.converter"] {
        match registry {
            None => {
                fields
                    .insert(part.to_owned(), json!("org.apache.kafka.connect.json.JsonConverter"));
                fields.insert(format!("{part}.schemas.enable"), json!("false"));
            }
            Some(registry) => {
                fields.insert(
                    part.to_owned(),
                    json!("io.apicurio.registry.utils.converter.AvroConverter"),
                );
                for (key, value) in [
                    ("url", registry.native_url().as_str()),
                    ("auto-register", "true"),
                    ("find-latest", "false"),
                    ("as-confluent", "true"),
                    ("headers.enabled", "false"),
                    ("use-id", "contentId"),
                    ("id-handler", "io.apicurio.registry.serde.Legacy4ByteIdHandler"),
                    (
                        "artifact-resolver-strategy",
                        "io.apicurio.registry.serde.strategy.TopicIdStrategy",
                    ),
                ] {
                    fields.insert(format!("{part}.apicurio.registry.{key}"), json!(value));
                }
                fields.insert(format!("{part}.schemas.enable"), json!("true"));
            }
        }
    }
    config
}

/// Serial → country of every row that is there, read from the last record of each key.
fn state(records: &[Record], registry: Option<&Registry>) -> BTreeMap<i64, String> {
    let mut last: BTreeMap<&[u8], &Record> = BTreeMap::new();
    for record in records {
        last.insert(record.key.as_deref().expect("a key"), record);
    }
    let mut schemas = BTreeMap::new();
    last.values()
        .filter(|record| record.value.is_some())
        .map(|record| {
            let value = match registry {
                None => record.json(),
                Some(registry) => {
                    avro(record.value.as_deref().expect("a value"), registry, &mut schemas)
                }
            };
            let serial = value["serial"].as_i64().unwrap_or_else(|| panic!("no serial in {value}"));
            (serial, value["country"].as_str().expect("a country").to_owned())
        })
        .collect()
}

/// A record of Confluent's wire format whose schema is a flat record of primitives and unions with null.
pub fn avro(bytes: &[u8], registry: &Registry, schemas: &mut BTreeMap<u32, Value>) -> Value {
    assert_eq!(bytes[0], 0, "the wire format's first byte");
    let id = u32::from_be_bytes(bytes[1..5].try_into().expect("four bytes"));
    let schema = schemas
        .entry(id)
        .or_insert_with(|| serde_json::from_str(&registry.schema(id)).expect("a schema"));
    let mut rest = &bytes[5..];
    let mut out = serde_json::Map::new();
    for field in schema["fields"].as_array().expect("fields") {
        let mut kind = &field["type"];
        if let Some(branches) = kind.as_array() {
            kind = &branches[usize::try_from(long(&mut rest)).expect("a branch")];
        }
        let value = match kind.as_str().or_else(|| kind["type"].as_str()).expect("a type") {
            "null" => Value::Null,
            "int" | "long" => json!(long(&mut rest)),
            "boolean" => {
                let (first, left) = rest.split_first().expect("a byte");
                rest = left;
                json!(*first == 1)
            }
            "string" => {
                let length = usize::try_from(long(&mut rest)).expect("a length");
                let (text, left) = rest.split_at(length);
                rest = left;
                json!(String::from_utf8_lossy(text))
            }
            other => panic!("type {other} of an output column"),
        };
        out.insert(field["name"].as_str().expect("a name").to_owned(), value);
    }
    assert!(rest.is_empty(), "bytes are left over");
    Value::Object(out)
}

fn long(rest: &mut &[u8]) -> i64 {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let (first, left) = rest.split_first().expect("a byte");
        *rest = left;
        value |= u64::from(first & 0x7F) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
        }
    }
}

fn rows(postgres: &Postgres, database: &str) -> BTreeMap<i64, String> {
    postgres
        .sql(database, "SELECT serial, country FROM customers")
        .lines()
        .map(|line| {
            let (serial, country) = line.split_once('|').expect("two columns");
            (serial.parse().expect("a number"), country.to_owned())
        })
        .collect()
}

/// Until the target holds what the database holds.
fn until_equal(
    place: &Place,
    running: &mut Running,
    postgres: &Postgres,
    registry: Option<&Registry>,
    what: &str,
) {
    let wanted = rows(postgres, &place.setup.name);
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let found =
            state(&place.setup.target.read(&place.data_topic(), Isolation::Committed), registry);
        if found == wanted {
            say::note(format!("{what}: {} rows agree", wanted.len()));
            return;
        }
        assert!(
            Instant::now() < end && running.ended().is_none(),
            "{what}: {} rows of the database, {} in the target\n{}",
            wanted.len(),
            found.len(),
            last_lines(&running.said(), 20)
        );
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn whole_way(name: &str, postgres: &Postgres, connect: &Connect, registry: Option<&Registry>) {
    let (source, target) = rig::clusters();
    postgres.sql("postgres", &format!("CREATE DATABASE {name}"));
    postgres.sql(name, TABLE);
    connect.create(name, &connector(name, postgres, registry));
    let topic = format!("{name}.public.customers");
    let cluster = source.cluster();
    let end = Instant::now() + Duration::from_secs(90);
    while cluster.partitions(&topic) == 0 || cluster.end(&topic, Isolation::Committed) < 300 {
        assert!(Instant::now() < end, "the snapshot does not come: {}", connect.status(name));
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut setup = Setup::customers(name, cluster, target.cluster());
    setup.topics = vec![topic];
    if let Some(registry) = registry {
        setup.source_format = "debezium_avro";
        setup.sink_format = "avro";
        setup.source_registry = Some(registry.url());
        setup.target_registry = Some(registry.url());
    }
    let place = Place::new(setup);
    let mut running = place.run();
    until_equal(&place, &mut running, postgres, registry, "snapshot");
    postgres.sql(name, WORK);
    until_equal(&place, &mut running, postgres, registry, "changes");
    // a new column holds, and nothing of it crosses
    postgres.sql(
        name,
        "ALTER TABLE customers ADD COLUMN passport text;
         UPDATE customers SET passport = 'P-4711-4711', serial = nextval('version') WHERE id = 100;",
    );
    assert!(
        running.wait_for_word("after.passport", Duration::from_secs(30)),
        "{}",
        last_lines(&running.said(), 20)
    );
    assert!(
        running.wait_for_word("\"held\"", Duration::from_secs(5)),
        "{}",
        last_lines(&running.said(), 20)
    );
    running.stop();
    let status = place.verb(&["status", &place.pipeline_file()]);
    assert_eq!(status.code, 1, "status answers no while a partition is held: {}", status.out);
    assert!(status.out.contains("passport"), "status names the leaf: {}", status.out);
    let text: Vec<u8> = place
        .setup
        .target
        .read(&place.data_topic(), Isolation::Uncommitted)
        .into_iter()
        .flat_map(|record| record.value.unwrap_or_default())
        .collect();
    for raw in ["P-4711-4711", "ada.berg", "Ada Berg", "+1 202 555", "Mill Street"] {
        assert!(!text.windows(raw.len()).any(|w| w == raw.as_bytes()), "{raw} is in the target");
    }
    check_the_rest(&place, &Load::new(3));
    connect.delete(name);
}

#[test]
fn postgres_through_debezium_to_a_reader_in_json_and_avro() {
    let _turn = rig::exclusive();
    if !rig::is_kafka("debezium", "Kafka Connect is held to Apache Kafka only") {
        return;
    }
    let (source, _) = rig::clusters();
    let postgres = Postgres::start();
    let connect = Connect::start(&source.cluster().bootstrap);
    whole_way("crm_json", &postgres, &connect, None);
    let registry = Registry::start("debezium");
    whole_way("crm_avro", &postgres, &connect, Some(&registry));
}
