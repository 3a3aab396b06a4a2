//! A table changes under a running pipeline: whatever happens to its schema, no column ever holds
//! a value of a leaf that was not listed under that very name and type.

use std::cell::Cell as Count;
use std::collections::{BTreeMap, HashMap};

use data_encoding::BASE64;
use douane_schemas::debezium::{Decoder, Hold, Limits, Refusal};
use douane_schemas::leaf::{Leaf, LeafType, TableLeaves};
use douane_schemas::record::Format;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::capture::{Cell, Event, Registry, row};

const CASES: u32 = 1_000;

const MONEY: LeafType = LeafType::Decimal { precision: 18, scale: 2 };
const TYPES: [LeafType; 9] = [
    LeafType::Boolean,
    LeafType::Int32,
    LeafType::Int64,
    LeafType::Float64,
    LeafType::Text,
    LeafType::Json,
    LeafType::Bytes,
    LeafType::Date,
    MONEY,
];

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Leaf(LeafType),
    /// Int or text: what a union of several branches is. JSON's schemas have no word for it.
    Union,
    Record(Vec<Field>),
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    name: String,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Change {
    Reorder(u64),
    Add(usize, usize),
    Remove(usize),
    Rename(usize),
    Retype(usize, usize),
    Nest(usize),
    Flatten(usize),
    Union(usize),
    SwapNames(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || 0..8_usize;
    prop_oneof![
        3 => any::<u64>().prop_map(Change::Reorder),
        1 => (at(), 0..TYPES.len()).prop_map(|(at, t)| Change::Add(at, t)),
        1 => at().prop_map(Change::Remove),
        1 => at().prop_map(Change::Rename),
        1 => (at(), 0..TYPES.len()).prop_map(|(at, t)| Change::Retype(at, t)),
        1 => at().prop_map(Change::Nest),
        1 => at().prop_map(Change::Flatten),
        1 => at().prop_map(Change::Union),
        1 => (at(), at()).prop_map(|(a, b)| Change::SwapNames(a, b)),
    ]
}

fn table() -> impl Strategy<Value = Vec<Field>> {
    let leaf = (0..TYPES.len()).prop_map(|t| Shape::Leaf(TYPES[t]));
    let inner = proptest::collection::vec(leaf.clone(), 1..3).prop_map(|shapes| {
        let name = |n: usize| format!("n{n}");
        let fields = shapes.into_iter().enumerate();
        Shape::Record(fields.map(|(n, shape)| Field { name: name(n), shape }).collect())
    });
    let shape = prop_oneof![5 => leaf, 1 => inner];
    proptest::collection::vec(shape, 2..7).prop_map(|shapes| {
        let fields = shapes.into_iter().enumerate();
        fields.map(|(n, shape)| Field { name: format!("c{n}"), shape }).collect()
    })
}

fn evolve(fields: &mut Vec<Field>, change: &Change) {
    let pick = |at: usize| at % fields.len();
    match change {
        Change::Reorder(seed) => {
            let mut seed = *seed;
            for at in (1..fields.len()).rev() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                fields.swap(at, usize::try_from(seed >> 33).unwrap() % (at + 1));
            }
        }
        Change::Add(at, t) => {
            let at = pick(*at);
            let name = format!("added{}", fields.len());
            fields.insert(at, Field { name, shape: Shape::Leaf(TYPES[*t]) });
        }
        Change::Remove(at) if fields.len() > 1 => drop(fields.remove(pick(*at))),
        Change::Remove(_) => {}
        Change::Rename(at) => {
            let at = pick(*at);
            fields[at].name.push_str("_renamed");
        }
        Change::Retype(at, t) => {
            let at = pick(*at);
            fields[at].shape = Shape::Leaf(TYPES[*t]);
        }
        Change::Nest(at) => {
            let at = pick(*at);
            let inner = Field { name: "inner".to_owned(), shape: fields[at].shape.clone() };
            fields[at].shape = Shape::Record(vec![inner]);
        }
        Change::Flatten(at) => {
            let at = pick(*at);
            if let Shape::Record(inner) = fields[at].shape.clone() {
                fields.splice(at..=at, inner);
            }
        }
        Change::Union(at) => {
            let at = pick(*at);
            fields[at].shape = Shape::Union;
        }
        Change::SwapNames(a, b) => {
            let (a, b) = (pick(*a), pick(*b));
            let name = fields[a].name.clone();
            fields[a].name = fields[b].name.clone();
            fields[b].name = name;
        }
    }
}

/// Two fields of one name are no schema at all.
fn doubled(fields: &[Field]) -> bool {
    fields.iter().enumerate().any(|(n, field)| {
        fields[..n].iter().any(|other| other.name == field.name)
            || matches!(&field.shape, Shape::Record(inner) if doubled(inner))
    })
}

fn leaves(fields: &[Field], prefix: &str) -> BTreeMap<String, LeafType> {
    let mut found = BTreeMap::new();
    for Field { name, shape } in fields {
        let path = format!("{prefix}{name}");
        match shape {
            Shape::Leaf(leaf) => drop(found.insert(path, *leaf)),
            Shape::Union => drop(found.insert(path, LeafType::Opaque)),
            Shape::Record(inner) => found.extend(leaves(inner, &format!("{path}."))),
        }
    }
    found
}

/// A number that belongs to one path.
fn mark(path: &str) -> i64 {
    let hash = path.bytes().fold(7_u32, |h, b| h.wrapping_mul(16_777_619) ^ u32::from(b));
    i64::from(hash % 1_000_000)
}

/// The value of the leaf at `path`, as the cell it must become.
fn cell(path: &str, leaf_type: LeafType) -> Cell {
    match leaf_type {
        LeafType::Boolean => Cell::Boolean(mark(path) % 2 == 0),
        LeafType::Float64 => Cell::Float((mark(path) as f64 + 0.5).to_bits()),
        LeafType::Text | LeafType::Json => Cell::Text(format!("at {path}")),
        LeafType::Bytes => Cell::Bytes(path.as_bytes().to_vec()),
        LeafType::Decimal { .. } => Cell::Decimal(i128::from(mark(path))),
        _ => Cell::Int(mark(path)),
    }
}

fn decimal(value: i128) -> Vec<u8> {
    i32::try_from(value).unwrap().to_be_bytes().to_vec()
}

fn json(fields: &[Field], prefix: &str) -> String {
    let member = |Field { name, shape }: &Field| {
        let path = format!("{prefix}{name}");
        let value = match shape {
            Shape::Record(inner) => json(inner, &format!("{path}.")),
            Shape::Union => format!("\"at {path}\""),
            Shape::Leaf(leaf) => match cell(&path, *leaf) {
                Cell::Boolean(v) => v.to_string(),
                Cell::Float(bits) => f64::from_bits(bits).to_string(),
                Cell::Text(v) => format!("\"{v}\""),
                Cell::Bytes(v) => format!("\"{}\"", BASE64.encode(&v)),
                Cell::Decimal(v) => format!("\"{}\"", BASE64.encode(&decimal(v))),
                Cell::Int(v) => v.to_string(),
                Cell::Null => "null".to_owned(),
            },
        };
        format!("\"{name}\":{value}")
    };
    format!("{{{}}}", fields.iter().map(member).collect::<Vec<_>>().join(","))
}

fn json_schema(fields: &[Field], named: &str) -> String {
    let member = |Field { name, shape }: &Field| {
        let field = format!("\"optional\":true,\"field\":\"{name}\"");
        let plain = |word: &str| format!("{{\"type\":\"{word}\",{field}}}");
        match shape {
            Shape::Record(inner) => json_schema(inner, &field),
            Shape::Union => plain("string"),
            Shape::Leaf(LeafType::Boolean) => plain("boolean"),
            Shape::Leaf(LeafType::Int32) => plain("int32"),
            Shape::Leaf(LeafType::Int64) => plain("int64"),
            Shape::Leaf(LeafType::Float64) => plain("double"),
            Shape::Leaf(LeafType::Text) => plain("string"),
            Shape::Leaf(LeafType::Bytes) => plain("bytes"),
            Shape::Leaf(LeafType::Json) => {
                format!("{{\"type\":\"string\",\"name\":\"io.debezium.data.Json\",{field}}}")
            }
            Shape::Leaf(LeafType::Date) => {
                format!("{{\"type\":\"int32\",\"name\":\"io.debezium.time.Date\",{field}}}")
            }
            Shape::Leaf(_) => format!(
                "{{\"type\":\"bytes\",\"name\":\"org.apache.kafka.connect.data.Decimal\",\
                 \"parameters\":{{\"scale\":\"2\",\"connect.decimal.precision\":\"18\"}},{field}}}"
            ),
        }
    };
    let members: Vec<_> = fields.iter().map(member).collect();
    format!("{{\"type\":\"struct\",\"fields\":[{}],{named}}}", members.join(","))
}

fn avro_schema(fields: &[Field], name: &str) -> String {
    let member = |Field { name: field, shape }: &Field| {
        let schema = match shape {
            Shape::Record(inner) => {
                format!("[\"null\",{}]", avro_schema(inner, &format!("{name}_{field}")))
            }
            Shape::Union => "[\"null\",\"int\",\"string\"]".to_owned(),
            Shape::Leaf(LeafType::Boolean) => "[\"null\",\"boolean\"]".to_owned(),
            Shape::Leaf(LeafType::Int32) => "\"int\"".to_owned(),
            Shape::Leaf(LeafType::Int64) => "[\"long\",\"null\"]".to_owned(),
            Shape::Leaf(LeafType::Float64) => "\"double\"".to_owned(),
            Shape::Leaf(LeafType::Text) => "\"string\"".to_owned(),
            Shape::Leaf(LeafType::Bytes) => "\"bytes\"".to_owned(),
            Shape::Leaf(LeafType::Json) => {
                "{\"type\":\"string\",\"connect.name\":\"io.debezium.data.Json\"}".to_owned()
            }
            Shape::Leaf(LeafType::Date) => {
                "{\"type\":\"int\",\"connect.name\":\"io.debezium.time.Date\"}".to_owned()
            }
            Shape::Leaf(_) => {
                "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":18,\"scale\":2}"
                    .to_owned()
            }
        };
        format!("{{\"name\":\"{field}\",\"type\":{schema}}}")
    };
    let members: Vec<_> = fields.iter().map(member).collect();
    format!("{{\"type\":\"record\",\"name\":\"{name}\",\"fields\":[{}]}}", members.join(","))
}

fn long(value: i64, out: &mut Vec<u8>) {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push(u8::try_from(zigzag & 0x7f).unwrap() | 0x80);
        zigzag >>= 7;
    }
    out.push(u8::try_from(zigzag).unwrap());
}

fn chunk(bytes: &[u8], out: &mut Vec<u8>) {
    long(i64::try_from(bytes.len()).unwrap(), out);
    out.extend_from_slice(bytes);
}

fn avro(fields: &[Field], prefix: &str, out: &mut Vec<u8>) {
    for Field { name, shape } in fields {
        let path = format!("{prefix}{name}");
        match shape {
            Shape::Record(inner) => {
                long(1, out);
                avro(inner, &format!("{path}."), out);
            }
            Shape::Union => {
                long(2, out);
                chunk(format!("at {path}").as_bytes(), out);
            }
            Shape::Leaf(leaf) => match cell(&path, *leaf) {
                Cell::Boolean(v) => {
                    long(1, out);
                    out.push(u8::from(v));
                }
                Cell::Float(bits) => out.extend(bits.to_le_bytes()),
                Cell::Text(v) => chunk(v.as_bytes(), out),
                Cell::Bytes(v) => chunk(&v, out),
                Cell::Decimal(v) => chunk(&decimal(v), out),
                Cell::Int(v) if *leaf == LeafType::Int64 => {
                    long(0, out);
                    long(v, out);
                }
                Cell::Int(v) => long(v, out),
                Cell::Null => {}
            },
        }
    }
}

const KEY_SCHEMA: &str = r#"{"type":"record","name":"Key","fields":[{"name":"k","type":"long"}]}"#;

fn event(format: Format, fields: &[Field], schemas: &mut Registry) -> Event {
    let image = json(fields, "");
    let payload = format!("{{\"before\":null,\"after\":{image},\"op\":\"c\"}}");
    match format {
        Format::DebeziumJson => Event::new(Some(b"{\"k\":1}"), Some(payload.as_bytes())),
        Format::DebeziumJsonSchema => {
            let key = r#"{"schema":{"type":"struct","fields":[{"type":"int64","field":"k"}]},"payload":{"k":1}}"#;
            let schema = |field: &str| json_schema(fields, &format!("\"field\":\"{field}\""));
            let value = format!(
                "{{\"schema\":{{\"type\":\"struct\",\"fields\":[{},{},{{\"type\":\"string\",\"field\":\"op\"}}]}},\
                 \"payload\":{payload}}}",
                schema("before"),
                schema("after")
            );
            Event::new(Some(key.as_bytes()), Some(value.as_bytes()))
        }
        Format::DebeziumAvro => {
            let value = format!(
                "{{\"type\":\"record\",\"name\":\"Envelope\",\"fields\":[\
                 {{\"name\":\"before\",\"type\":[\"null\",{}]}},\
                 {{\"name\":\"after\",\"type\":[\"null\",\"Value\"]}},\
                 {{\"name\":\"op\",\"type\":\"string\"}}]}}",
                avro_schema(fields, "Value")
            );
            schemas.0 = HashMap::from([(1, KEY_SCHEMA.to_owned()), (2, value)]);
            let mut datum = vec![0, 0, 0, 0, 2, 0, 2];
            avro(fields, "", &mut datum);
            chunk(b"c", &mut datum);
            Event::new(Some(&[0, 0, 0, 0, 1, 2]), Some(&datum))
        }
    }
}

/// Whether JSON without schemas can tell two types apart by the look of their values.
fn looks_alike(a: LeafType, b: LeafType) -> bool {
    let kind = |leaf| match leaf {
        LeafType::Boolean => 0,
        LeafType::Int32 | LeafType::Int64 | LeafType::Date | LeafType::Float64 => 1,
        LeafType::Decimal { .. } => 3,
        _ => 2,
    };
    // A text leaf takes any scalar, a decimal a number or a string.
    kind(a) == kind(b) || b == LeafType::Text || matches!((kind(a), kind(b)), (1 | 2, 3) | (3, 2))
}

/// A decoder that trusts the order of columns, as a reader of the old schema would.
fn by_position(old: &BTreeMap<String, LeafType>, order: &[String], new: &[Field]) -> bool {
    let written: Vec<(String, LeafType)> = {
        let mut flat = Vec::new();
        flatten(new, "", &mut flat);
        flat
    };
    // Wrong when some old column is given the value of another path.
    order.iter().zip(&written).any(|(path, (other, leaf))| path != other && old[path] == *leaf)
}

fn flatten(fields: &[Field], prefix: &str, out: &mut Vec<(String, LeafType)>) {
    for Field { name, shape } in fields {
        let path = format!("{prefix}{name}");
        match shape {
            Shape::Leaf(leaf) => out.push((path, *leaf)),
            Shape::Union => out.push((path, LeafType::Opaque)),
            Shape::Record(inner) => flatten(inner, &format!("{path}."), out),
        }
    }
}

#[test]
fn no_evolution_yields_a_column_of_an_unlisted_leaf() {
    let (rows, holds, swapped) = (Count::new(0), Count::new(0), Count::new(0));
    let add = |count: &Count<u32>| count.set(count.get() + 1);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let cases = (table(), proptest::collection::vec(change(), 0..4));
    let checked = runner.run(&cases, |(old, changes)| {
        let mut new = old.clone();
        for change in &changes {
            evolve(&mut new, change);
        }
        prop_assume!(!doubled(&new));
        let (listed, written) = (leaves(&old, ""), leaves(&new, ""));
        let mut order = Vec::new();
        flatten(&old, "", &mut order);
        let order: Vec<String> = order.into_iter().map(|(path, _)| path).collect();
        let table = TableLeaves {
            key: vec![Leaf { path: "k".to_owned(), leaf_type: LeafType::Int64 }],
            row: order
                .iter()
                .map(|path| Leaf { path: path.clone(), leaf_type: listed[path] })
                .collect(),
        };
        if by_position(&listed, &order, &new) {
            add(&swapped);
        }
        for format in crate::capture::FORMATS {
            let mut schemas = Registry::default();
            let event = event(format, &new, &mut schemas);
            let mut decoder = Decoder::new(format, table.clone(), &order, Limits::default());
            let pushed = event.push(&mut decoder, &mut schemas);
            let union = changes.iter().any(|change| matches!(change, Change::Union(_)));
            let same = match format {
                Format::DebeziumAvro => listed == written,
                // In its schemas a union is what its values are.
                Format::DebeziumJsonSchema if union => listed.keys().eq(written.keys()),
                Format::DebeziumJsonSchema => listed == written,
                Format::DebeziumJson => {
                    listed.keys().eq(written.keys())
                        && listed.iter().all(|(path, leaf)| {
                            let other = written[path];
                            let other =
                                if other == LeafType::Opaque { LeafType::Text } else { other };
                            looks_alike(other, *leaf)
                        })
                }
            };
            match pushed {
                Ok(()) => {
                    prop_assert!(same, "{format:?} took {new:?} for {old:?}");
                    add(&rows);
                    let got = row(&decoder.finish(), 0);
                    prop_assert_eq!(got.len(), order.len() + 1);
                    for (path, leaf) in &listed {
                        if written[path] == *leaf {
                            prop_assert_eq!(
                                &got[&format!("after.{path}")],
                                &cell(path, *leaf),
                                "{}",
                                path
                            );
                        }
                    }
                }
                Err(Refusal::Hold(
                    Hold::UnknownLeaf { .. } | Hold::MissingLeaf { .. } | Hold::Retyped { .. },
                )) => {
                    let must = format == Format::DebeziumAvro
                        || format == Format::DebeziumJsonSchema && !union;
                    prop_assert!(!(must && same), "{format:?} held {new:?} for {old:?}");
                    add(&holds);
                }
                // Only where a type changed and its values look alike: never a column either.
                Err(Refusal::Quarantine(code)) => {
                    prop_assert!(format == Format::DebeziumJson && listed != written, "{code:?}");
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
        Ok(())
    });
    checked.unwrap();
    // The control: reading by position would have put another leaf's value into a column.
    assert!(rows.get() > 500, "{}", rows.get());
    assert!(holds.get() > 500, "{}", holds.get());
    assert!(swapped.get() > 200, "{}", swapped.get());
}
