//! Rows to bytes: keys, JSON objects, Avro datums.
//!
//! Only values of the release's columns are written, in its order. Field metadata, docs, defaults
//! and aliases of the batch are never read: the schema is built from the release alone.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, RecordBatch, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Schema,
    Time64NanosecondType, TimeUnit,
};
use arrow_avro::schema::{FingerprintStrategy, SCHEMA_METADATA_KEY};
use arrow_avro::writer::format::AvroSoeFormat;
use arrow_avro::writer::{Encoder, WriterBuilder};
use douane_ledger::release::{Column, Release, Shape};
use douane_schemas::canonical;
use douane_schemas::leaf::LeafType;
use serde_json::{Value, json};

use crate::GateFault;
use crate::refusal::RefusalReason;

/// Encoded rows, one after the other in one buffer.
pub(crate) struct Rows {
    data: Vec<u8>,
    /// Row `n` lies from `ends[n - 1]` (or 0) to `ends[n]`.
    ends: Vec<usize>,
}

impl Rows {
    pub(crate) fn new(data: Vec<u8>, ends: Vec<usize>) -> Self {
        Self { data, ends }
    }

    /// Bytes of all rows.
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    pub(crate) fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.data[start..self.ends[row]]
    }
}

/// How values are written.
pub(crate) enum Values {
    Json { prefixes: Vec<Vec<u8>> },
    Avro { schema: Arc<Schema>, schema_id: u32 },
}

impl Values {
    pub(crate) fn json(columns: &[Column]) -> Result<Self, GateFault> {
        let mut prefixes = Vec::with_capacity(columns.len());
        for (i, column) in columns.iter().enumerate() {
            let mut prefix = vec![if i == 0 { b'{' } else { b',' }];
            string(&column.name, &mut prefix);
            prefix.push(b':');
            prefixes.push(prefix);
        }
        Ok(Self::Json { prefixes })
    }

    pub(crate) fn avro(release: &Release, schema_id: u32) -> Result<Self, GateFault> {
        let mut fields = Vec::with_capacity(release.columns.len());
        for column in &release.columns {
            fields.push(Field::new(&column.name, carried(arrow_of(column)?), column.nullable));
        }
        let text = row_schema(release, "State")?.1.to_string();
        let schema = Schema::new(fields)
            .with_metadata([(SCHEMA_METADATA_KEY.to_owned(), text)].into_iter().collect());
        let values = Self::Avro { schema: Arc::new(schema), schema_id };
        // Built once here, so that a schema the writer cannot write is found before any record.
        values.encoder()?;
        Ok(values)
    }

    fn encoder(&self) -> Result<Encoder, GateFault> {
        let Self::Avro { schema, schema_id } = self else {
            return Err(GateFault::Encode);
        };
        WriterBuilder::new(schema.as_ref().clone())
            .with_fingerprint_strategy(FingerprintStrategy::Id(*schema_id))
            .build_encoder::<AvroSoeFormat>()
            .map_err(|_| GateFault::Encode)
    }

    /// Encodes the rows `order` of the batch, in that order.
    pub(crate) fn encode(&self, batch: &RecordBatch, order: &[u32]) -> Result<Rows, GateFault> {
        match self {
            Self::Json { prefixes } => json_rows(batch, order, prefixes),
            Self::Avro { schema, .. } => self.avro_rows(schema, batch, order),
        }
    }

    fn avro_rows(
        &self,
        schema: &Arc<Schema>,
        batch: &RecordBatch,
        order: &[u32],
    ) -> Result<Rows, GateFault> {
        let order = UInt32Array::from(order.to_vec());
        let mut columns = Vec::with_capacity(batch.num_columns());
        for column in batch.columns() {
            let taken = take(column.as_ref(), &order, None).map_err(|_| GateFault::Encode)?;
            columns.push(carry(taken));
        }
        let ordered =
            RecordBatch::try_new(Arc::clone(schema), columns).map_err(|_| GateFault::Encode)?;
        let mut encoder = self.encoder()?;
        encoder.encode(&ordered).map_err(|_| GateFault::Encode)?;
        let rows = encoder.flush();
        if rows.len() != order.len() {
            return Err(GateFault::Encode);
        }
        Ok(Rows { data: rows.bytes().to_vec(), ends: rows.offsets()[1..].to_vec() })
    }
}

/// The leaf type that a column's text names.
pub(crate) fn leaf_type(column: &Column) -> Result<LeafType, GateFault> {
    column.column_type.parse().map_err(|_| GateFault::ColumnType { column: column.name.clone() })
}

/// How a column's values lie in a batch.
pub(crate) fn arrow_of(column: &Column) -> Result<DataType, GateFault> {
    Ok(match &column.shape {
        Shape::Noised { dims: Some(_), .. } => {
            DataType::List(Arc::new(Field::new("item", DataType::Int64, false)))
        }
        _ => leaf_type(column)?.arrow(),
    })
}

/// Arrow types that Avro's writer would cut short travel as what they are: `nano_time` is a long,
/// not truncated `time-micros`.
fn carried(data_type: DataType) -> DataType {
    match data_type {
        DataType::Time64(TimeUnit::Nanosecond) => DataType::Int64,
        other => other,
    }
}

fn carry(array: ArrayRef) -> ArrayRef {
    match array.as_primitive_opt::<Time64NanosecondType>() {
        Some(nanos) => {
            let nanos: Int64Array =
                PrimitiveArray::new(nanos.values().clone(), nanos.nulls().cloned());
            Arc::new(nanos)
        }
        None => array,
    }
}

/// The Avro schema of the release's values: what `run` registers.
///
/// Record `douane.<pipeline>.State`, or `Envelope` with rows of the same fields in it; no docs or
/// aliases, nothing of the source's schema; nullable columns are `["null", T]` with default null. Timestamps without zone are `local-timestamp-*`; `nano_time` is a plain long;
/// texts of every kind are strings.
///
/// # Errors
/// A column whose type or name Avro does not have.
pub fn avro_schema(release: &Release) -> Result<String, GateFault> {
    match release.changes.envelope {
        Some(_) => crate::envelope::schema(release),
        None => Ok(row_schema(release, "State")?.1.to_string()),
    }
}

/// The pipeline's namespace, and in it the record of a row under this name.
pub(crate) fn row_schema(release: &Release, name: &str) -> Result<(String, Value), GateFault> {
    let mut fields = Vec::with_capacity(release.columns.len());
    for column in &release.columns {
        if !avro_name(&column.name) {
            return Err(GateFault::AvroName { column: column.name.clone() });
        }
        let of_type = match &column.shape {
            Shape::Noised { dims: Some(_), .. } => json!({ "type": "array", "items": "long" }),
            _ => avro_type(leaf_type(column)?)
                .ok_or_else(|| GateFault::ColumnType { column: column.name.clone() })?,
        };
        // The one default there is says nothing of the data, and lets a registry that demands
        // backward compatibility take a column that is added later.
        fields.push(match column.nullable {
            true => json!({ "name": column.name, "type": ["null", of_type], "default": null }),
            false => json!({ "name": column.name, "type": of_type }),
        });
    }
    // A pipeline's name may hold hyphens, Avro's may not; two pipelines never share a subject.
    let namespace: String = release
        .pipeline
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
        .collect();
    let namespace = match namespace.as_bytes().first() {
        Some(first) if first.is_ascii_digit() => format!("_{namespace}"),
        Some(_) => namespace,
        None => return Err(GateFault::PipelineName),
    };
    let namespace = format!("douane.{namespace}");
    let schema =
        json!({ "type": "record", "name": name, "namespace": namespace, "fields": fields });
    Ok((namespace, schema))
}

/// Avro 1.12, "Names".
fn avro_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn avro_type(leaf_type: LeafType) -> Option<Value> {
    let logical = |base: &str, name: &str| json!({ "type": base, "logicalType": name });
    Some(match leaf_type {
        LeafType::Boolean => json!("boolean"),
        LeafType::Int16 | LeafType::Int32 => json!("int"),
        LeafType::Int64 | LeafType::MicroDuration | LeafType::NanoTime => json!("long"),
        LeafType::Float32 => json!("float"),
        LeafType::Float64 => json!("double"),
        LeafType::Bytes | LeafType::Bits => json!("bytes"),
        LeafType::Decimal { precision, scale } => {
            let scale = u8::try_from(scale).ok()?;
            json!({
                "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale
            })
        }
        LeafType::Date => logical("int", "date"),
        LeafType::Time => logical("int", "time-millis"),
        LeafType::MicroTime => logical("long", "time-micros"),
        LeafType::Timestamp => logical("long", "local-timestamp-millis"),
        LeafType::MicroTimestamp => logical("long", "local-timestamp-micros"),
        LeafType::NanoTimestamp => logical("long", "local-timestamp-nanos"),
        LeafType::Text
        | LeafType::VariableScaleDecimal
        | LeafType::ZonedTimestamp
        | LeafType::ZonedTime
        | LeafType::Interval
        | LeafType::Uuid
        | LeafType::Json
        | LeafType::Xml
        | LeafType::Enum
        | LeafType::EnumSet
        | LeafType::Ltree
        | LeafType::Array => json!("string"),
        LeafType::Opaque => return None,
    })
}

fn json_rows(batch: &RecordBatch, order: &[u32], prefixes: &[Vec<u8>]) -> Result<Rows, GateFault> {
    let mut data = Vec::with_capacity(order.len() * 64 * (prefixes.len() + 1));
    let mut ends = Vec::with_capacity(order.len());
    let mut text = String::new();
    for row in order {
        for (column, prefix) in batch.columns().iter().zip(prefixes) {
            data.extend_from_slice(prefix);
            json_cell(column, *row as usize, &mut text, &mut data)?;
        }
        data.push(b'}');
        ends.push(data.len());
    }
    Ok(Rows { data, ends })
}

/// Numbers and booleans as such, decimals, dates, times and bytes as their canonical text; a float
/// that JSON does not have is the string `NaN`, `Infinity` or `-Infinity`.
fn json_cell(
    array: &ArrayRef,
    row: usize,
    text: &mut String,
    out: &mut Vec<u8>,
) -> Result<(), GateFault> {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    if let Some(texts) = array.as_string_opt::<i32>() {
        string(texts.value(row), out);
        return Ok(());
    }
    text.clear();
    if let Some(list) = array.as_list_opt::<i32>() {
        return integers(&list.value(row), out);
    }
    canonical::write(array, row, text).map_err(|_| GateFault::Encode)?;
    let bare = match array.data_type() {
        DataType::Boolean | DataType::Int16 | DataType::Int32 | DataType::Int64 => true,
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).is_finite(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).is_finite(),
        _ => false,
    };
    if bare {
        out.extend_from_slice(text.as_bytes())
    } else {
        string(text, out)
    }
    Ok(())
}

/// An array of integers.
fn integers(list: &ArrayRef, out: &mut Vec<u8>) -> Result<(), GateFault> {
    use std::io::Write;
    let list = list.as_primitive_opt::<Int64Type>().ok_or(GateFault::Encode)?;
    for (at, value) in list.values().iter().enumerate() {
        let before = if at == 0 { "[" } else { "," };
        write!(out, "{before}{value}").map_err(|_| GateFault::Encode)?;
    }
    out.extend_from_slice(if list.is_empty() { b"[]" } else { b"]" });
    Ok(())
}

/// RFC 8259 string: the two-character escapes where there are some, `\u00xx` for other controls.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    out.push(b'"');
    // Nearly no text needs an escape, and this look at it has no branches.
    if !text.as_bytes().iter().fold(false, |any, byte| any | special(byte)) {
        out.extend_from_slice(text.as_bytes());
        return out.push(b'"');
    }
    let mut clean = 0;
    for (i, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[clean..i]);
        clean = i + 1;
        if escape.is_empty() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&text.as_bytes()[clean..]);
    out.push(b'"');
}

/// Appends the key bytes of one row: the text of one key column, a JSON array of texts for
/// several. False for a table without a key, which appends nothing.
pub(crate) fn key(
    keys: &RecordBatch,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<bool, RefusalReason> {
    let mut text = String::new();
    for (at, column) in keys.columns().iter().enumerate() {
        if column.is_null(row) {
            return Err(RefusalReason::KeyNull);
        }
        text.clear();
        canonical::write(column, row, &mut text).map_err(|_| RefusalReason::OutOfRange)?;
        if keys.num_columns() == 1 {
            out.extend_from_slice(text.as_bytes());
            return Ok(true);
        }
        out.push(if at == 0 { b'[' } else { b',' });
        string(&text, out);
    }
    if keys.num_columns() > 0 {
        out.push(b']');
    }
    Ok(keys.num_columns() > 0)
}

/// The raw value of an integer column as i128, or `None` where the type is no integer.
pub(crate) fn integer(array: &ArrayRef, row: usize) -> Option<i128> {
    Some(match array.data_type() {
        DataType::Int16 => i128::from(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => i128::from(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => i128::from(array.as_primitive::<Int64Type>().value(row)),
        _ => return None,
    })
}
