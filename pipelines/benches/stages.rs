//! What the stages cost beside decoding and encoding alone: `cargo bench --workspace --bench stages`.
//!
//! The standard work, Avro to Avro, under a pipeline with every stage of the README's. Both sides decode the same
//! leaves with the crossing's decoder and encode as many rows with the writer that the gate has. One core, the
//! thread's own CPU time, both in one run. The gate's checks are in neither.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints")]
#![allow(clippy::expect_used, reason = "as above")]

#[path = "../../tests/customers.rs"]
#[allow(dead_code, reason = "what the end-to-end tests take of it")]
mod customers;
#[path = "../../transforms/benches/measure/mod.rs"]
mod measure;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Field, Schema};
use arrow_avro::schema::FingerprintStrategy;
use arrow_avro::writer::WriterBuilder;
use arrow_avro::writer::format::AvroSoeFormat;
use customers::{Customers, Format};
use douane_pipelines::config;
use douane_pipelines::key_home::KeyHome;
use douane_pipelines::plan::Plan;
use douane_schemas::batch::Batch;
use douane_schemas::debezium::{Away, Decoder, WriterSchemas, leaves_of_avro};
use douane_schemas::record::RawRecord;
use measure::rate;

/// A turn of the run loop.
const ROWS: usize = 5_000;
const KEY_SCHEMA: u32 = 1;
const VALUE_SCHEMA: u32 = 2;

const PLACE: &str = "\
clusters:
  sovereign: { zone: eu-de, id: sovereign-id, bootstrap: 'a:9092', registry: 'http://a:8081' }
  global: { zone: global, id: global-id, bootstrap: 'b:9092', registry: 'http://b:8081' }
keys: { dir: keys/ }
ledger: { dir: ledger/ }
trust: trust.json
tasks: 1
";

const SQL: &str = "  - sql: select id, email, phone, card_number, notes, birth_date, balance_cents, city, \
                   country, updated_at, country = 'DE' as domestic from batch\n";

/// The registry.
struct Schemas([String; 2]);

impl WriterSchemas for Schemas {
    fn schema_text(&mut self, id: u32) -> Result<Option<String>, Away> {
        Ok(self.0.get(id as usize - 1).cloned())
    }
}

fn main() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let shipped = std::fs::read_to_string(examples.join("customers-json.yaml")).unwrap();
    // The shipped pipeline in Avro, and the statement that the README's has beside it.
    let pipeline = shipped
        .replace("format: debezium_json, start: earliest, key: [id]", "format: debezium_avro, start: earliest")
        .replace("types: { id: int64, birth_date: date, balance_cents: int64, updated_at: micro_timestamp }\n", "")
        .replace("sink:\n", &format!("{SQL}sink:\n"))
        .replace("format: json, timestamp", "format: avro, timestamp");
    let of_avro = ["format: debezium_avro, start", "format: avro, timestamp", SQL];
    assert!(of_avro.iter().all(|part| pipeline.contains(part)), "the shipped pipeline changed");
    let dir = tempfile::tempdir().unwrap();
    let text = |name: &str| std::fs::read_to_string(examples.join(name)).unwrap();
    std::fs::create_dir(dir.path().join("scorecards")).unwrap();
    for (name, text) in [
        ("douane.yaml", PLACE.to_owned()),
        ("domains.yaml", text("domains.yaml")),
        ("scorecards/notes.json", text("scorecards/notes.json")),
        ("customers.yaml", pipeline),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let files = (dir.path().join("douane.yaml"), dir.path().join("customers.yaml"));
    let (_, pipeline) = config::load(&files.0, &files.1).unwrap_or_else(|f| panic!("{f}"));

    let (key, value) = customers::avro_schemas(false);
    let leaves = leaves_of_avro(Some(&key), &value).unwrap();
    let plan = Plan::new(&pipeline, leaves).unwrap_or_else(|f| panic!("{f}"));
    let stages = plan.compile(&pipeline, &KeyHome::throw_away().unwrap().keyring()).unwrap();

    let format = Format::Avro { key: KEY_SCHEMA, value: VALUE_SCHEMA };
    let records: Vec<(Vec<u8>, Vec<u8>)> = Customers::new(1, 7_340_000, false)
        .filter(|event| event.after.is_some())
        .map(|event| (event.key(format), event.value(format, false).unwrap()))
        .take(ROWS)
        .collect();
    let (mut decoder, mut schemas) = (plan.decoder(&pipeline), Schemas([key, value]));

    let raw = rows(&decode(&mut decoder, &mut schemas, &records));
    let staged = stages.apply(decode(&mut decoder, &mut schemas, &records)).unwrap();
    assert_eq!((staged.columns.num_rows(), staged.refused.len()), (ROWS, 0));
    let emails = |batch: &RecordBatch| {
        let column = batch.column_by_name("email").unwrap().as_string::<i32>();
        column.iter().flatten().filter(|text| text.contains('@')).count()
    };
    assert_eq!((emails(&raw), emails(&staged.columns)), (ROWS, 0), "one side only protects");
    assert_eq!(staged.columns.num_columns(), raw.num_columns() + 1);

    let alone = rate(ROWS, || {
        let batch = decode(&mut decoder, &mut schemas, black_box(&records));
        black_box(encode(&rows(&batch)));
    });
    let whole = rate(ROWS, || {
        let batch = decode(&mut decoder, &mut schemas, black_box(&records));
        let staged = stages.apply(batch).unwrap();
        black_box(&staged.keys);
        black_box(encode(&staged.columns));
    });
    let decoding = rate(ROWS, || {
        black_box(decode(&mut decoder, &mut schemas, black_box(&records)));
    });
    let us = |rate: f64| 1e6 / rate;
    println!(
        "figure: all stages of the customers' pipeline, Avro: decode and encode alone {:.3} us a record (decode {:.3}), \
         with stages {:.3} us: +{:.0} % (must 35 %, aim 20 %)",
        us(alone),
        us(decoding),
        us(whole),
        (alone / whole - 1.0) * 100.0
    );
}

fn decode(decoder: &mut Decoder, schemas: &mut Schemas, records: &[(Vec<u8>, Vec<u8>)]) -> Batch {
    for (offset, (key, value)) in records.iter().enumerate() {
        let record = RawRecord {
            topic: 0,
            partition: 0,
            offset: offset as i64,
            timestamp_ms: 1,
            key: Some(key),
            value: Some(value),
            headers: &[],
        };
        decoder.push(&record, schemas).unwrap_or_else(|_| panic!("record {offset}"));
    }
    decoder.finish()
}

/// The decoded row as it is, under names that Avro has.
fn rows(batch: &Batch) -> RecordBatch {
    let schema = batch.rows.schema();
    let columns = schema.fields().iter().zip(batch.rows.columns());
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns
        .filter_map(|(field, array)| {
            let name = field.name().strip_prefix("after.")?;
            Some((Field::new(name, array.data_type().clone(), true), Arc::clone(array)))
        })
        .unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// As the gate writes Avro: one datum a row, each behind its schema's id.
fn encode(batch: &RecordBatch) -> usize {
    let mut encoder = WriterBuilder::new(batch.schema().as_ref().clone())
        .with_fingerprint_strategy(FingerprintStrategy::Id(VALUE_SCHEMA))
        .build_encoder::<AvroSoeFormat>()
        .unwrap();
    encoder.encode(batch).unwrap();
    let encoded = encoder.flush();
    assert_eq!(encoded.len(), batch.num_rows());
    encoded.bytes().len()
}
