//! The captured events, and rows as cells that any oracle can make.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type,
};
use data_encoding::BASE64;
use douane_schemas::batch::Batch;
use douane_schemas::debezium::{Away, Decoder, Limits, Refusal, WriterSchemas};
use douane_schemas::leaf::TableLeaves;
use douane_schemas::record::{Format, RawRecord};
use serde_json::Value;

pub const FORMATS: [Format; 3] =
    [Format::DebeziumJson, Format::DebeziumJsonSchema, Format::DebeziumAvro];

pub fn name(format: Format) -> &'static str {
    match format {
        Format::DebeziumJson => "json",
        Format::DebeziumJsonSchema => "jsonschema",
        Format::DebeziumAvro => "avro",
    }
}

pub fn testdata(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/debezium").join(file)
}

#[derive(Clone)]
pub struct Event {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

impl Event {
    /// The table's name, for a table's topic.
    pub fn table(&self) -> Option<&str> {
        self.topic.split_once(".public.").map(|(_, table)| table)
    }

    pub fn new(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        Self {
            topic: "t".to_owned(),
            partition: 0,
            offset: 0,
            headers: Vec::new(),
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
        }
    }

    pub fn push(
        &self,
        decoder: &mut Decoder,
        schemas: &mut dyn WriterSchemas,
    ) -> Result<(), Refusal> {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let record = RawRecord {
            topic: 0,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: 0,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
        };
        decoder.push(&record, schemas)
    }

    /// The id in the value's frame.
    pub fn schema_id(&self) -> Option<u32> {
        frame_id(self.value.as_deref()?)
    }
}

pub fn frame_id(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?))
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(|text| BASE64.decode(text.as_bytes()).unwrap())
}

pub fn events(format: Format) -> Vec<Event> {
    let file = testdata(&format!("debezium-chinook-{}.jsonl", name(format)));
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let headers = line["headers"].as_array().cloned().unwrap_or_default();
            Event {
                topic: line["topic"].as_str().unwrap().to_owned(),
                partition: i32::try_from(line["partition"].as_i64().unwrap()).unwrap(),
                offset: line["offset"].as_i64().unwrap(),
                headers: headers
                    .iter()
                    .map(|h| (h[0].as_str().unwrap().to_owned(), bytes(&h[1])))
                    .collect(),
                key: bytes(&line["key"]),
                value: bytes(&line["value"]),
            }
        })
        .collect()
}

#[derive(Clone, Default)]
pub struct Registry(pub HashMap<u32, String>);

impl WriterSchemas for Registry {
    fn schema_text(&mut self, id: u32) -> Result<Option<String>, Away> {
        Ok(self.0.get(&id).cloned())
    }
}

pub fn registry() -> Registry {
    let text = std::fs::read_to_string(testdata("schemas.json")).unwrap();
    let answers: HashMap<String, Value> = serde_json::from_str(&text).unwrap();
    let schema = |answer: Value| answer["schema"].as_str().unwrap().to_owned();
    Registry(answers.into_iter().map(|(id, a)| (id.parse().unwrap(), schema(a))).collect())
}

pub fn decoder(format: Format, leaves: &TableLeaves) -> Decoder {
    let columns: Vec<String> = leaves.row.iter().map(|leaf| leaf.path.clone()).collect();
    Decoder::new(format, leaves.clone(), &columns, Limits::default())
}

/// A value as no library's type: floats by their bits, so that NaN equals itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Null,
    Boolean(bool),
    Int(i64),
    Float(u64),
    /// Unscaled.
    Decimal(i128),
    Text(String),
    Bytes(Vec<u8>),
}

pub type Row = BTreeMap<String, Cell>;

pub fn cell(array: &ArrayRef, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(row)),
        DataType::Int16 => Cell::Int(i64::from(array.as_primitive::<Int16Type>().value(row))),
        DataType::Float32 => {
            Cell::Float(f64::from(array.as_primitive::<Float32Type>().value(row)).to_bits())
        }
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Decimal128(_, _) => {
            Cell::Decimal(array.as_primitive::<Decimal128Type>().value(row))
        }
        DataType::Decimal256(_, _) => {
            Cell::Decimal(array.as_primitive::<Decimal256Type>().value(row).to_i128().unwrap())
        }
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => Cell::Bytes(array.as_binary::<i32>().value(row).to_vec()),
        DataType::Date32 | DataType::Time32(_) | DataType::Int32 => {
            let plain = arrow::compute::cast(array, &DataType::Int32).unwrap();
            Cell::Int(i64::from(plain.as_primitive::<Int32Type>().value(row)))
        }
        _ => {
            let plain = arrow::compute::cast(array, &DataType::Int64).unwrap();
            Cell::Int(plain.as_primitive::<Int64Type>().value(row))
        }
    }
}

pub fn row(batch: &Batch, row: usize) -> Row {
    let schema = batch.rows.schema();
    let fields = schema.fields().iter().zip(batch.rows.columns());
    fields.map(|(field, array)| (field.name().clone(), cell(array, row))).collect()
}
