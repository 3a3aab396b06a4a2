//! The table of customers that throughput is measured on: documented envelope leaves may be
//! absent, and `types:` gives plain numbers their meaning.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use douane_schemas::batch::Op;
use douane_schemas::debezium::{Decoder, Limits, leaves_of_avro};
use douane_schemas::leaf::{LeafType, TableLeaves};
use douane_schemas::record::Format;
use serde_json::Value;

use crate::capture::{Cell, Event, Registry, Row, row};

fn read(file: &str) -> String {
    let home = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(home.join("testdata/customers").join(file)).unwrap()
}

/// A JSON value as a datum of the schema: records and nullable unions of scalars are all there is.
fn datum(schema: &Value, named: &Value, value: &Value) -> Avro {
    match schema {
        Value::Array(branches) if value.is_null() => {
            assert_eq!(branches[0], "null");
            Avro::Union(0, Box::new(Avro::Null))
        }
        Value::Array(branches) => Avro::Union(1, Box::new(datum(&branches[1], named, value))),
        Value::Object(record) => Avro::Record(
            record["fields"]
                .as_array()
                .unwrap()
                .iter()
                .map(|field| {
                    let name = field["name"].as_str().unwrap();
                    (name.to_owned(), datum(&field["type"], named, &value[name]))
                })
                .collect(),
        ),
        Value::String(word) => match word.as_str() {
            "long" => Avro::Long(value.as_i64().unwrap()),
            "int" => Avro::Int(i32::try_from(value.as_i64().unwrap()).unwrap()),
            "string" => Avro::String(value.as_str().unwrap().to_owned()),
            "Value" => datum(named, named, value),
            other => panic!("{other} is not in these schemas"),
        },
        _ => panic!("not a schema"),
    }
}

fn framed(id: u32, text: &str, value: &Value) -> Vec<u8> {
    let json: Value = serde_json::from_str(text).unwrap();
    let schema = Schema::parse_str(text).unwrap();
    let named = &json["fields"][0]["type"][1];
    let datum = datum(&json, named, value);
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let bytes = writer.write_value_to_vec(datum).unwrap();
    [&[0][..], &id.to_be_bytes(), &bytes].concat()
}

#[test]
fn customers_are_the_same_rows_in_json_and_avro() {
    let (key_schema, value_schema) = (read("key.avsc"), read("value.avsc"));
    let mut leaves: TableLeaves = leaves_of_avro(Some(&key_schema), &value_schema).unwrap();
    let types = [("birth_date", LeafType::Date), ("updated_at", LeafType::MicroTimestamp)];
    for (path, declared) in types {
        let leaf = leaves.row.iter_mut().find(|leaf| leaf.path == path).unwrap();
        assert!(leaf.leaf_type.may_be_declared(declared));
        leaf.leaf_type = declared;
    }
    let declared = types.map(|(path, _)| path.to_owned());
    let columns: Vec<String> = leaves.row.iter().map(|leaf| leaf.path.clone()).collect();
    let decoder = |format| {
        Decoder::new(format, leaves.clone(), &columns, Limits::default()).declared(&declared)
    };
    let mut schemas = Registry(HashMap::from([(1, key_schema.clone()), (2, value_schema.clone())]));
    let mut from_json = decoder(Format::DebeziumJson);
    let mut from_avro = decoder(Format::DebeziumAvro);
    let mut wanted: Vec<(Op, Value)> = Vec::new();
    for line in read("events.jsonl").lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let (key, value) = (&event["key"], &event["value"]);
        let text = |value: &Value| (!value.is_null()).then(|| value.to_string().into_bytes());
        Event::new(text(key).as_deref(), text(value).as_deref())
            .push(&mut from_json, &mut schemas)
            .unwrap();
        let avro = (!value.is_null()).then(|| framed(2, &value_schema, value));
        Event::new(Some(&framed(1, &key_schema, key)), avro.as_deref())
            .push(&mut from_avro, &mut schemas)
            .unwrap();
        let op = match value["op"].as_str() {
            None => Op::Tombstone,
            Some("c") => Op::Create,
            Some("u") => Op::Update,
            Some("r") => Op::Read,
            Some("d") => Op::Delete,
            Some(_) => panic!("no row"),
        };
        wanted.push((op, value["after"].clone()));
    }
    let (json, avro) = (from_json.finish(), from_avro.finish());
    assert_eq!(json.len(), wanted.len());
    assert!(json.rows == avro.rows);
    for (at, (op, after)) in wanted.iter().enumerate() {
        assert_eq!((json.origins[at].op, avro.origins[at].op), (*op, *op));
        let got: Row = row(&json, at);
        for column in &columns {
            let wanted = match &after[column] {
                Value::Null => Cell::Null,
                Value::Number(number) => Cell::Int(number.as_i64().unwrap()),
                other => Cell::Text(other.as_str().unwrap().to_owned()),
            };
            assert_eq!(got[&format!("after.{column}")], wanted, "{column}");
        }
    }
    let ops = |op| wanted.iter().filter(|(other, _)| *other == op).count();
    assert!(ops(Op::Create) + ops(Op::Update) + ops(Op::Read) == 16 && ops(Op::Delete) > 3);
    assert!(ops(Op::Tombstone) > 3);
}
