//! Every captured event is decoded as its oracle reads it, or refused by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use data_encoding::BASE64;
use douane_schemas::batch::RowKind;
use douane_schemas::debezium::{
    Decoder, Hold, Limits, Placeholder, Refusal, leaves_of_avro, leaves_of_json_schema,
};
use douane_schemas::leaf::{LeafType, TableLeaves};
use douane_schemas::record::Format;
use serde_json::{Value, json};

use crate::capture::{
    Cell, Event, FORMATS, Registry, Row, decoder, events, frame_id, name, registry, row, testdata,
};

/// The oracle's reading of an event, as JSON that JsonConverter could have written.
struct Read {
    key: Value,
    op: Option<String>,
    after: Value,
    /// Any row image, for its names.
    image: Value,
}

fn read(format: Format, event: &Event, schemas: &Registry) -> Read {
    let part = |bytes: &Option<Vec<u8>>| -> Value {
        let Some(bytes) = bytes else {
            return Value::Null;
        };
        match format {
            Format::DebeziumJson => serde_json::from_slice(bytes).unwrap(),
            Format::DebeziumJsonSchema => {
                serde_json::from_slice::<Value>(bytes).unwrap()["payload"].clone()
            }
            Format::DebeziumAvro => {
                let schema = &schemas.0[&frame_id(bytes).unwrap()];
                let schema = Schema::parse_str(schema).unwrap();
                let reader = GenericDatumReader::builder(&schema).build().unwrap();
                let mut rest = &bytes[5..];
                let value = reader.read_value(&mut rest).unwrap();
                assert!(rest.is_empty());
                plain(&value)
            }
        }
    };
    let value = part(&event.value);
    Read {
        key: part(&event.key),
        op: value["op"].as_str().map(str::to_owned),
        after: value["after"].clone(),
        image: [&value["after"], &value["before"]]
            .into_iter()
            .find(|image| image.is_object())
            .cloned()
            .unwrap_or(Value::Null),
    }
}

/// apache-avro's value as Connect's JSON.
fn plain(value: &Avro) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Boolean(v) => json!(v),
        Avro::Int(v) => json!(v),
        Avro::Long(v) => json!(v),
        Avro::Float(v) if v.is_finite() => v.to_string().parse::<f64>().map(|v| json!(v)).unwrap(),
        Avro::Double(v) if v.is_finite() => json!(v),
        Avro::Float(v) => json!(special(f64::from(*v))),
        Avro::Double(v) => json!(special(*v)),
        Avro::Bytes(v) => json!(BASE64.encode(v)),
        Avro::Decimal(v) => json!(BASE64.encode(&Vec::<u8>::try_from(v).unwrap())),
        Avro::String(v) => json!(v),
        Avro::Union(_, inner) => plain(inner),
        Avro::Array(items) => Value::Array(items.iter().map(plain).collect()),
        Avro::Map(items) => {
            Value::Object(items.iter().map(|(name, v)| (name.clone(), plain(v))).collect())
        }
        Avro::Record(fields) => {
            Value::Object(fields.iter().map(|(name, v)| (name.clone(), plain(v))).collect())
        }
        other => panic!("no capture holds {:?}", apache_avro::schema::SchemaKind::from(other)),
    }
}

fn special(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn unscaled(base64: &str) -> i128 {
    let bytes = BASE64.decode(base64.as_bytes()).unwrap();
    assert!(bytes.len() <= 16);
    let fill = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [fill; 16];
    wide[16 - bytes.len()..].copy_from_slice(&bytes);
    i128::from_be_bytes(wide)
}

/// What the leaf's cell must be.
fn expected(leaf_type: LeafType, value: &Value) -> Cell {
    if value.is_null() {
        return Cell::Null;
    }
    let text = || value.as_str().unwrap().to_owned();
    match leaf_type {
        LeafType::Boolean => Cell::Boolean(value.as_bool().unwrap()),
        LeafType::Float32 | LeafType::Float64 => {
            let wide = match value.as_str() {
                Some("NaN") => f64::NAN,
                Some("Infinity") => f64::INFINITY,
                Some("-Infinity") => f64::NEG_INFINITY,
                _ => value.as_f64().unwrap(),
            };
            let exact = if leaf_type == LeafType::Float32 { f64::from(wide as f32) } else { wide };
            Cell::Float(exact.to_bits())
        }
        LeafType::Bytes | LeafType::Bits => Cell::Bytes(BASE64.decode(text().as_bytes()).unwrap()),
        LeafType::Decimal { .. } => Cell::Decimal(unscaled(&text())),
        LeafType::VariableScaleDecimal => {
            let scale = usize::try_from(value["scale"].as_u64().unwrap()).unwrap();
            let number = unscaled(value["value"].as_str().unwrap());
            let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let sign = if number < 0 { "-" } else { "" };
            let point = if scale > 0 { "." } else { "" };
            Cell::Text(format!("{sign}{whole}{point}{fraction}"))
        }
        LeafType::Array | LeafType::Opaque => {
            Cell::Text(serde_json_canonicalizer::to_string(value).unwrap())
        }
        _ => value.as_i64().map_or_else(|| Cell::Text(text()), Cell::Int),
    }
}

fn expected_row(leaves: &TableLeaves, read: &Read, key_only: bool) -> Row {
    let key = leaves.key.iter().map(|leaf| {
        (format!("key.{}", leaf.path), expected(leaf.leaf_type, &read.key[&leaf.path]))
    });
    let after = leaves.row.iter().map(|leaf| {
        let value = if key_only { &Value::Null } else { &read.after[&leaf.path] };
        (format!("after.{}", leaf.path), expected(leaf.leaf_type, value))
    });
    key.chain(after).collect()
}

/// The leaves that a release after this event would list.
fn leaves_of(
    format: Format,
    event: &Event,
    schemas: &Registry,
    later: &[TableLeaves],
) -> TableLeaves {
    match format {
        Format::DebeziumJson => {
            let read = read(format, event, schemas);
            let names: BTreeSet<&String> = read.image.as_object().unwrap().keys().collect();
            let fits = |leaves: &&TableLeaves| {
                leaves.row.iter().map(|leaf| &leaf.path).collect::<BTreeSet<_>>() == names
            };
            later.iter().find(fits).unwrap().clone()
        }
        Format::DebeziumJsonSchema => {
            leaves_of_json_schema(event.key.as_deref(), event.value.as_deref().unwrap()).unwrap()
        }
        Format::DebeziumAvro => {
            let text = |id: Option<u32>| id.map(|id| schemas.0[&id].as_str());
            let key = text(event.key.as_deref().and_then(frame_id));
            leaves_of_avro(key, text(event.schema_id()).unwrap()).unwrap()
        }
    }
}

/// Each shape that a table's events have, in the order of the capture.
fn shapes() -> BTreeMap<String, Vec<TableLeaves>> {
    let mut shapes: BTreeMap<String, Vec<TableLeaves>> = BTreeMap::new();
    let format = Format::DebeziumJsonSchema;
    for event in events(format) {
        let (Some(table), Some(_)) = (event.table(), &event.value) else {
            continue;
        };
        let shapes = shapes.entry(table.to_owned()).or_default();
        // A truncate has no key; its table has.
        if event.key.is_none() && table != "audit_log" {
            continue;
        }
        let leaves = leaves_of(format, &event, &Registry::default(), &[]);
        if !shapes.contains(&leaves) {
            shapes.push(leaves);
        }
    }
    shapes
}

fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Hold(hold) => format!("hold {}", hold.code()),
        Refusal::Quarantine(code) => format!("quarantine {}", code.code()),
        Refusal::Away(_) | Refusal::Full => panic!("{refusal}"),
    }
}

/// What came of one format's capture.
#[derive(Default)]
struct Outcome {
    /// (what it is, outcome) to events.
    events: BTreeMap<(String, String), usize>,
    /// (leaf type, operation) to values that are not null and equal the oracle's.
    values: BTreeMap<(String, String), usize>,
    /// (table, key) to its rows in order.
    rows: BTreeMap<(String, String), Vec<(RowKind, Row)>>,
    total: usize,
}

fn play(format: Format, shapes: &BTreeMap<String, Vec<TableLeaves>>) -> Outcome {
    let mut schemas = registry();
    let mut tables: BTreeMap<String, (TableLeaves, Decoder)> = BTreeMap::new();
    let mut outcome = Outcome::default();
    for event in events(format) {
        outcome.total += 1;
        let read = read(format, &event, &schemas);
        let Some(table) = event.table() else {
            // A topic that is no table's, read as if it were.
            let mut wrong = decoder(format, &shapes["customer"][0]);
            let refused = event.push(&mut wrong, &mut schemas).unwrap_err();
            assert!(matches!(refused, Refusal::Hold(_)), "{refused}");
            assert!(wrong.is_empty());
            let topic = ["transaction", "message", "notification", "heartbeat"];
            let topic = topic.iter().find(|kind| event.topic.contains(*kind)).unwrap();
            let what = read.op.map_or_else(|| (*topic).to_owned(), |op| format!("{topic} {op}"));
            *outcome.events.entry((what, refusal(&refused))).or_default() += 1;
            continue;
        };
        let what = match (&event.value, &read.op) {
            (None, _) => "tombstone".to_owned(),
            (Some(_), Some(op)) => op.clone(),
            (Some(_), None) => panic!("a table's event without an operation"),
        };
        let what = if table == "debezium_signal" { format!("signal {what}") } else { what };
        let (leaves, decoder) = tables.entry(table.to_owned()).or_insert_with(|| {
            let leaves = shapes[table][0].clone();
            let decoder = decoder(format, &leaves);
            (leaves, decoder)
        });
        let mut pushed = event.push(decoder, &mut schemas);
        if let Err(Refusal::Hold(
            hold @ (Hold::UnknownLeaf { .. } | Hold::MissingLeaf { .. } | Hold::Retyped { .. }),
        )) = &pushed
        {
            let outcome = &mut outcome.events;
            *outcome.entry((what.clone(), format!("hold {}", hold.code()))).or_default() += 1;
            *leaves = leaves_of(format, &event, &schemas, &shapes[table]);
            *decoder = crate::capture::decoder(format, leaves);
            pushed = event.push(decoder, &mut schemas);
            assert_eq!(pushed, Ok(()), "after a release that lists the new leaves");
        }
        if let Err(refused) = pushed {
            *outcome.events.entry((what.clone(), refusal(&refused))).or_default() += 1;
            if refusal(&refused) == "quarantine unavailable" {
                without_unavailable(format, &event, leaves, &read, &mut schemas);
                of_another_connector(format, &event, leaves, &mut schemas);
            }
            continue;
        }
        let batch = decoder.finish();
        assert_eq!(batch.len(), 1);
        let kind = batch.origins[0].kind();
        let wanted = match read.op.as_deref() {
            None => RowKind::Tombstone,
            Some("d") => RowKind::Delete,
            Some(_) => RowKind::Upsert,
        };
        assert_eq!(kind, wanted);
        assert_eq!(batch.origins[0].offset, event.offset);
        let got = row(&batch, 0);
        let wanted = expected_row(leaves, &read, kind != RowKind::Upsert);
        assert!(got == wanted, "{} of {table} at offset {}", name(format), event.offset);
        let types =
            leaves.key.iter().map(|l| ("key", l)).chain(leaves.row.iter().map(|l| ("after", l)));
        for (image, leaf) in types {
            if got[&format!("{image}.{}", leaf.path)] != Cell::Null {
                let value = (leaf.leaf_type.to_string(), what.clone());
                *outcome.values.entry(value).or_default() += 1;
            }
        }
        *outcome.events.entry((what, "row".to_owned())).or_default() += 1;
        let key = read.key.to_string();
        outcome.rows.entry((table.to_owned(), key)).or_default().push((kind, got));
    }
    outcome
}

/// Without the columns that hold the placeholder the same event is a row.
fn without_unavailable(
    format: Format,
    event: &Event,
    leaves: &TableLeaves,
    read: &Read,
    schemas: &mut Registry,
) {
    let placeholder = |value: &Value| {
        let text = value.to_string();
        text.contains("__debezium_unavailable_value")
            || text.contains("X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==")
    };
    let columns: Vec<String> = leaves
        .row
        .iter()
        .map(|leaf| leaf.path.clone())
        .filter(|path| !placeholder(&read.after[path]))
        .collect();
    assert!(!columns.is_empty() && columns.len() < leaves.row.len());
    let mut decoder = Decoder::new(format, leaves.clone(), &columns, Limits::default());
    event.push(&mut decoder, schemas).unwrap();
    let got = row(&decoder.finish(), 0);
    let wanted = expected_row(leaves, read, false);
    assert_eq!(got.len(), leaves.key.len() + columns.len());
    assert!(got.iter().all(|(name, cell)| wanted[name] == *cell));
}

/// The same event as a connector with a placeholder of its own writes it. It is as long as the default
/// one, so that Avro's lengths stay.
fn of_another_connector(
    format: Format,
    event: &Event,
    leaves: &TableLeaves,
    schemas: &mut Registry,
) {
    const OWN: &str = "__an_example_of_no_value_here";
    const DEFAULT: &str = "__debezium_unavailable_value";
    let own = &OWN[..DEFAULT.len()];
    let in_place = |bytes: Vec<u8>, from: &[u8], to: &[u8]| {
        assert_eq!(from.len(), to.len());
        let mut bytes = bytes;
        while let Some(at) = bytes.windows(from.len()).position(|part| part == from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        bytes
    };
    let value = event.value.clone().unwrap();
    let value = in_place(value, DEFAULT.as_bytes(), own.as_bytes());
    let coded = |text: &str| BASE64.encode(text.as_bytes()).into_bytes();
    let value = in_place(value, &coded(DEFAULT), &coded(own));
    assert_ne!(Some(&value), event.value.as_ref());
    let event = Event { value: Some(value), ..event.clone() };
    let known = Placeholder::parse(own).unwrap();
    // Control: who does not know it takes it for data.
    assert_eq!(event.push(&mut decoder(format, leaves), schemas), Ok(()));
    let mut knows = decoder(format, leaves).with_placeholder(&known);
    let refused = event.push(&mut knows, schemas).unwrap_err();
    assert_eq!(refusal(&refused), "quarantine unavailable");
    let mut nulls = decoder(format, leaves).with_placeholder(&known).nullify();
    assert_eq!(event.push(&mut nulls, schemas), Ok(()));
    let got = row(&nulls.finish(), 0);
    assert!(got.values().all(|cell| !format!("{cell:?}").contains(own)));
}

#[test]
fn every_captured_event_is_a_right_row_or_refused_by_name() {
    let shapes = shapes();
    let played = FORMATS.map(|format| play(format, &shapes));
    let totals: Vec<usize> = played.iter().map(|outcome| outcome.total).collect();
    assert_eq!(totals, [631, 351, 631]);

    // The same row comes out of each format, for each key and in the same order.
    let [json, with_schema, avro] = &played;
    // The captures leave out a few invoices each, not the same ones.
    let both = json.rows.iter().filter(|(key, _)| avro.rows.contains_key(*key));
    let differing: Vec<_> =
        both.clone().filter(|(key, rows)| avro.rows[*key] != **rows).map(|(key, _)| key).collect();
    assert!(differing.is_empty(), "JSON and Avro differ: {differing:?}");
    assert!(both.count() + 5 > json.rows.len());
    assert!(with_schema.rows.len() > 200);
    for (key, rows) in &with_schema.rows {
        if let Some(others) = json.rows.get(key).or_else(|| avro.rows.get(key)) {
            assert!(others == rows, "JSON with schemas differs in {}", key.0);
        }
    }

    let text = table(&played);
    let file = testdata("outcomes.md");
    if std::fs::read_to_string(&file).unwrap_or_default() != text {
        std::fs::write(&file, text).unwrap();
        panic!("outcomes.md has changed and was rewritten: read it, then run this again");
    }
}

fn table(played: &[Outcome; 3]) -> String {
    let mut out = String::from(
        "# What became of each captured event\n\nWritten by `cargo test -p douane-schemas`. Every \
         `row` equals its oracle (serde_json, apache-avro) leaf by leaf, and the rows of one event \
         are the same in each format. The whole shape of the first events is released at first; an \
         event that held for its shape was released with its new one and counts twice: once as the \
         hold, once as the row it then was. Topics of no table are read as if they were one.\n\n\
         | event | outcome | json | jsonschema | avro |\n|---|---|---|---|---|\n",
    );
    let events: BTreeSet<_> = played.iter().flat_map(|outcome| outcome.events.keys()).collect();
    for (what, became) in events {
        let key = (what.clone(), became.clone());
        let counts = played.iter().map(|o| o.events.get(&key).copied().unwrap_or(0).to_string());
        let counts: Vec<String> = counts.collect();
        writeln!(out, "| {what} | {became} | {} |", counts.join(" | ")).unwrap();
    }
    out.push_str(
        "\nValues that are not null and equal the oracle's, by leaf type and operation:\n\n\
         | leaf type | operation | json | jsonschema | avro |\n|---|---|---|---|---|\n",
    );
    let values: BTreeSet<_> = played.iter().flat_map(|outcome| outcome.values.keys()).collect();
    for (leaf_type, what) in values {
        let key = (leaf_type.clone(), what.clone());
        let counts = played.iter().map(|o| o.values.get(&key).copied().unwrap_or(0).to_string());
        let counts: Vec<String> = counts.collect();
        writeln!(out, "| {leaf_type} | {what} | {} |", counts.join(" | ")).unwrap();
    }
    out
}

#[test]
fn both_kinds_of_schema_give_one_table_the_same_leaves() {
    let schemas = registry();
    let shapes = shapes();
    let mut compared = 0;
    for event in events(Format::DebeziumAvro) {
        let (Some(table), Some(_), true) = (
            event.table(),
            &event.value,
            event.key.is_some() || event.topic.ends_with("audit_log"),
        ) else {
            continue;
        };
        let leaves = leaves_of(Format::DebeziumAvro, &event, &schemas, &[]);
        assert!(shapes[table].contains(&leaves), "{table}");
        compared += 1;
    }
    assert!(compared > 500);
    assert_eq!(shapes["customer"].len(), 5);
    assert_eq!(shapes["all_types"][0].row.len(), 37);
}

/// The control of the test above: a cell of another value, another column, another row is seen.
#[test]
fn the_comparison_sees_a_changed_cell() {
    let format = Format::DebeziumJson;
    let shapes = shapes();
    let event = events(format).into_iter().find(|e| e.table() == Some("customer")).unwrap();
    let read = read(format, &event, &Registry::default());
    let text = String::from_utf8(event.value.clone().unwrap()).unwrap();
    for (from, to) in [
        ("\"Brazil\"", "\"Brazjl\""),
        ("\"SP\"", "null"),
        ("\"customer_id\":1", "\"customer_id\":2"),
    ] {
        assert!(text.contains(from));
        let tampered = text.replacen(from, to, 1);
        let mut decoder = decoder(format, &shapes["customer"][0]);
        let event = Event { value: Some(tampered.into_bytes()), ..event.clone() };
        event.push(&mut decoder, &mut Registry::default()).unwrap();
        assert!(row(&decoder.finish(), 0) != expected_row(&shapes["customer"][0], &read, false));
    }
}

#[test]
fn only_the_columns_asked_for_are_built_and_in_that_order() {
    let format = Format::DebeziumAvro;
    let mut schemas = registry();
    let leaves = &shapes()["customer"][0];
    let columns = ["email".to_owned(), "city".to_owned()];
    let mut decoder = Decoder::new(format, leaves.clone(), &columns, Limits::default());
    let customers: Vec<Event> =
        events(format).into_iter().filter(|e| e.table() == Some("customer")).collect();
    for event in &customers[..20] {
        event.push(&mut decoder, &mut schemas).unwrap();
    }
    assert_eq!(decoder.len(), 20);
    let batch = decoder.finish();
    let schema = batch.rows.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["key.customer_id", "after.email", "after.city"]);
    assert!(schema.fields().iter().all(|field| field.is_nullable()));
    assert!(decoder.is_empty());
}
