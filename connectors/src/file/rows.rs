//! Flat rows, both ways: columns of a file rendered as the JSON change events that the decoder
//! takes, and approved Avro datums made into columns.
//!
//! Rendering is exact: what a value is in the file is what the decoder makes of it.

use std::path::{Path, PathBuf};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMillisecondArray,
    UInt32Array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{
    DataType, Date64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType, Field,
    Int64Type, Schema, SchemaRef, Time32SecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use data_encoding::BASE64;
use douane_gate::OutRecord;
use douane_schemas::leaf::{Leaf, LeafType, TableLeaves};

use super::FileFault;
use super::format::{Next, Reader, Row};

/// Bytes of Confluent's frame before a datum: 0, and a schema id that means nothing in files.
const FRAME: usize = 5;

/// A file's columns, batch by batch.
pub(super) struct Batches {
    pub schema: SchemaRef,
    pub batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
}

/// For `map_err`: libraries quote what they find, so their words are not repeated.
pub(super) fn unreadable(path: &Path) -> FileFault {
    let problem = "this is no file of the format, or it is damaged";
    FileFault::Malformed { path: path.to_owned(), records: 0, problem }
}

/// Each row is a read (`"op":"r"`) of what the row is now.
pub(super) struct Rows {
    path: PathBuf,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
    columns: Vec<Column>,
    /// Which columns make the record key, in its order.
    key: Vec<usize>,
    batch: Vec<ArrayRef>,
    rows: usize,
    at: usize,
    count: i64,
}

impl Rows {
    pub fn new(path: &Path, file: Batches, key: &[String]) -> Result<Self, FileFault> {
        let columns = columns(path, &file.schema)?;
        let key = key_columns(path, &columns, key)?;
        Ok(Self {
            path: path.to_owned(),
            batches: file.batches,
            columns,
            key,
            batch: Vec::new(),
            rows: 0,
            at: 0,
            count: 0,
        })
    }

    /// The next batch, in the types that rendering knows.
    fn load(&mut self) -> Result<bool, FileFault> {
        let problem = "a batch cannot be read: the file is damaged or was cut";
        let records = self.count;
        let fault = || FileFault::Malformed { path: self.path.clone(), records, problem };
        let Some(batch) = self.batches.next() else { return Ok(false) };
        let batch = batch.map_err(|_| fault())?;
        self.batch = self
            .columns
            .iter()
            .zip(batch.columns())
            .map(|(column, array)| match &column.carried {
                Some(carried) => cast(array, carried).map_err(|_| fault()),
                None => Ok(array.clone()),
            })
            .collect::<Result<_, _>>()?;
        (self.rows, self.at) = (batch.num_rows(), 0);
        Ok(true)
    }

    fn object(&self, which: impl Iterator<Item = usize>, out: &mut Vec<u8>) {
        out.push(b'{');
        for (n, at) in which.enumerate() {
            if n > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&self.columns[at].prefix);
            cell(&self.batch[at], self.at, self.columns[at].leaf.leaf_type, out);
        }
        out.push(b'}');
    }
}

impl Reader for Rows {
    fn next(&mut self, row: &mut Row) -> Result<Next, FileFault> {
        while self.at >= self.rows {
            if !self.load()? {
                return Ok(Next::End);
            }
        }
        row.key = (!self.key.is_empty()).then(|| {
            let mut key = Vec::new();
            self.object(self.key.iter().copied(), &mut key);
            key
        });
        let mut value = b"{\"before\":null,\"after\":".to_vec();
        self.object(0..self.columns.len(), &mut value);
        value.extend_from_slice(b",\"source\":null,\"op\":\"r\",\"ts_ms\":null}");
        row.value = Some(value);
        // Nothing in a flat file says when a row was written, and the disk's word is no one's.
        row.timestamp_ms = -1;
        self.at += 1;
        self.count += 1;
        Ok(Next::Row)
    }
}

/// One column of the file.
struct Column {
    leaf: Leaf,
    /// `"name":`
    prefix: Vec<u8>,
    /// What its arrays are cast to before rendering, where they are not that already.
    carried: Option<DataType>,
}

/// The leaves of a file's columns; the key's have the types of the row's.
pub(super) fn leaves(
    path: &Path,
    schema: &Schema,
    key: &[String],
) -> Result<TableLeaves, FileFault> {
    let columns = columns(path, schema)?;
    let key = key_columns(path, &columns, key)?;
    Ok(TableLeaves {
        key: key.into_iter().map(|at| columns[at].leaf.clone()).collect(),
        row: columns.into_iter().map(|column| column.leaf).collect(),
    })
}

fn columns(path: &Path, schema: &Schema) -> Result<Vec<Column>, FileFault> {
    let mut columns: Vec<Column> = Vec::with_capacity(schema.fields().len());
    for (n, field) in schema.fields().iter().enumerate() {
        let fault = |problem| FileFault::Column { path: path.to_owned(), column: n + 1, problem };
        let name = field.name();
        if name.is_empty() || name.contains('.') {
            return Err(fault("its name is empty or has a dot; rename it"));
        }
        if columns.iter().any(|column| column.leaf.path == *name) {
            return Err(fault("its name stands twice"));
        }
        let (leaf_type, carried) = leaf_type(field);
        let mut prefix =
            serde_json::to_vec(name).map_err(|_| fault("its name has no JSON form"))?;
        prefix.push(b':');
        let leaf = Leaf { path: name.clone(), leaf_type };
        columns.push(Column { leaf, prefix, carried });
    }
    Ok(columns)
}

fn key_columns(path: &Path, columns: &[Column], key: &[String]) -> Result<Vec<usize>, FileFault> {
    key.iter()
        .map(|name| {
            let problem = "`key:` names a column that the file does not have";
            columns
                .iter()
                .position(|column| column.leaf.path == *name)
                .ok_or_else(|| FileFault::Column { path: path.to_owned(), column: 0, problem })
        })
        .collect()
}

/// What a column is, and what it is cast to without a loss before it is rendered. What has no
/// exact leaf is opaque: it may only be dropped.
fn leaf_type(field: &Field) -> (LeafType, Option<DataType>) {
    use DataType as D;
    let is_text = |t: &D| matches!(t, D::Utf8 | D::LargeUtf8 | D::Utf8View);
    let uuid = field.metadata().get("logicalType").is_some_and(|t| t == "uuid")
        || field.metadata().get("ARROW:extension:name").is_some_and(|t| t == "arrow.uuid");
    match field.data_type() {
        D::Boolean => (LeafType::Boolean, None),
        D::Int8 | D::UInt8 => (LeafType::Int16, Some(D::Int64)),
        D::Int16 => (LeafType::Int16, Some(D::Int64)),
        D::Int32 | D::UInt16 => (LeafType::Int32, Some(D::Int64)),
        D::Int64 => (LeafType::Int64, None),
        D::UInt32 => (LeafType::Int64, Some(D::Int64)),
        D::UInt64 => (LeafType::Decimal { precision: 20, scale: 0 }, Some(D::Decimal128(20, 0))),
        D::Float32 => (LeafType::Float32, None),
        D::Float64 => (LeafType::Float64, None),
        D::Utf8 => (LeafType::Text, None),
        D::LargeUtf8 | D::Utf8View => (LeafType::Text, Some(D::Utf8)),
        D::Dictionary(_, value) if is_text(value) => (LeafType::Text, Some(D::Utf8)),
        D::FixedSizeBinary(16) if uuid => (LeafType::Uuid, Some(D::Binary)),
        D::Binary => (LeafType::Bytes, None),
        D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => {
            (LeafType::Bytes, Some(D::Binary))
        }
        D::Date32 => (LeafType::Date, None),
        D::Date64 => (LeafType::Timestamp, None),
        D::Time32(_) => (LeafType::Time, None),
        D::Time64(TimeUnit::Nanosecond) => (LeafType::NanoTime, Some(D::Int64)),
        D::Time64(_) => (LeafType::MicroTime, Some(D::Int64)),
        D::Timestamp(_, Some(_)) => (LeafType::ZonedTimestamp, None),
        D::Timestamp(TimeUnit::Microsecond, None) => (LeafType::MicroTimestamp, None),
        D::Timestamp(TimeUnit::Nanosecond, None) => (LeafType::NanoTimestamp, None),
        D::Timestamp(_, None) => (LeafType::Timestamp, None),
        D::Duration(TimeUnit::Microsecond) => (LeafType::MicroDuration, None),
        D::Decimal32(p, s) | D::Decimal64(p, s) if *s >= 0 => {
            (LeafType::Decimal { precision: *p, scale: *s }, Some(D::Decimal128(*p, *s)))
        }
        D::Decimal128(p, s) | D::Decimal256(p, s) if *s >= 0 => {
            (LeafType::Decimal { precision: *p, scale: *s }, None)
        }
        _ => (LeafType::Opaque, None),
    }
}

/// One value as Debezium writes its leaf's type in JSON.
fn cell(array: &ArrayRef, row: usize, leaf_type: LeafType, out: &mut Vec<u8>) {
    // What is opaque may only be dropped, and a null is dropped as well as anything.
    if leaf_type == LeafType::Opaque || array.is_null(row) {
        return out.extend_from_slice(b"null");
    }
    let text = match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Utf8 => return string(array.as_string::<i32>().value(row), out),
        DataType::Binary => {
            let bytes = array.as_binary::<i32>().value(row);
            let text = match leaf_type {
                LeafType::Uuid => uuid(bytes),
                _ => BASE64.encode(bytes),
            };
            return string(&text, out);
        }
        DataType::Float32 => float(
            f64::from(array.as_primitive::<arrow::datatypes::Float32Type>().value(row)),
            || array.as_primitive::<arrow::datatypes::Float32Type>().value(row).to_string(),
        ),
        DataType::Float64 => {
            let value = array.as_primitive::<arrow::datatypes::Float64Type>().value(row);
            float(value, || value.to_string())
        }
        DataType::Decimal128(..) => {
            let bytes = array.as_primitive::<Decimal128Type>().value(row).to_be_bytes();
            return string(&BASE64.encode(shortest(&bytes)), out);
        }
        DataType::Decimal256(..) => {
            let bytes = array.as_primitive::<Decimal256Type>().value(row).to_be_bytes();
            return string(&BASE64.encode(shortest(&bytes)), out);
        }
        DataType::Timestamp(_, Some(_)) => return string(&zoned(array, row), out),
        _ => integer(array, row).map_or_else(|| "null".to_owned(), |value| value.to_string()),
    };
    out.extend_from_slice(text.as_bytes());
}

/// The number behind a date, a time or an integer, in the unit of its leaf.
fn integer(array: &ArrayRef, row: usize) -> Option<i64> {
    Some(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
        DataType::Date32 => array.as_primitive::<arrow::datatypes::Date32Type>().value(row).into(),
        DataType::Date64 => array.as_primitive::<Date64Type>().value(row),
        DataType::Time32(TimeUnit::Second) => {
            i64::from(array.as_primitive::<Time32SecondType>().value(row)) * 1_000
        }
        DataType::Time32(_) => {
            array.as_primitive::<arrow::datatypes::Time32MillisecondType>().value(row).into()
        }
        // Out of range in a leaf's unit: the decoder quarantines what is no number of 64 bits.
        DataType::Timestamp(TimeUnit::Second, _) => {
            array.as_primitive::<TimestampSecondType>().value(row).saturating_mul(1_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().value(row)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<TimestampMicrosecondType>().value(row)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            array.as_primitive::<TimestampNanosecondType>().value(row)
        }
        DataType::Duration(_) => array.as_primitive::<DurationMicrosecondType>().value(row),
        _ => return None,
    })
}

/// An instant as ISO 8601 in UTC; the zone of the column says only how it is shown.
fn zoned(array: &ArrayRef, row: usize) -> String {
    let Some(value) = integer(array, row) else { return String::new() };
    let value = i128::from(value);
    let nanos = match array.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => value,
        DataType::Timestamp(TimeUnit::Microsecond, _) => value * 1_000,
        _ => value * 1_000_000,
    };
    jiff::Timestamp::from_nanosecond(nanos).map_or_else(
        // Beyond the year 9999: the decoder quarantines it.
        |_| "out of range".to_owned(),
        |at| at.to_string(),
    )
}

fn float(value: f64, text: impl FnOnce() -> String) -> String {
    match value {
        _ if value.is_nan() => "\"NaN\"".to_owned(),
        f64::INFINITY => "\"Infinity\"".to_owned(),
        f64::NEG_INFINITY => "\"-Infinity\"".to_owned(),
        _ => text(),
    }
}

fn uuid(bytes: &[u8]) -> String {
    let hex = data_encoding::HEXLOWER.encode(bytes);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// The shortest two's complement of the same number, as Debezium writes it.
fn shortest(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [first, rest @ ..] = bytes
        && let Some(next) = rest.first()
        && ((*first == 0 && *next < 0x80) || (*first == 0xff && *next >= 0x80))
    {
        bytes = rest;
    }
    bytes
}

fn string(text: &str, out: &mut Vec<u8>) {
    // Writing text into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// The datum behind the frame that the gate writes.
pub(super) fn datum(value: &[u8]) -> Result<&[u8], &'static str> {
    match value.split_at_checked(FRAME) {
        Some(([0, ..], datum)) => Ok(datum),
        _ => Err("a value is not Avro in its frame"),
    }
}

/// Approved records as columns: `_key`, `_deleted`, `_timestamp`, then the release's, decoded from
/// the bytes that the gate made. A tombstone is null in each of those.
pub(super) fn approved(
    records: &[OutRecord<'_>],
    schema: &str,
) -> Result<RecordBatch, &'static str> {
    const BAD: &str = "approved values could not be decoded";
    let id = Fingerprint::Id(0);
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store.set(id, AvroSchema::new(schema.to_owned())).map_err(|_| BAD)?;
    let mut decoder = ReaderBuilder::new()
        .with_writer_schema_store(store)
        .with_active_fingerprint(id)
        .with_batch_size(records.len().max(1))
        .build_decoder()
        .map_err(|_| BAD)?;
    let mut framed = Vec::new();
    let mut taken = Vec::with_capacity(records.len());
    let mut values = 0;
    for record in records {
        taken.push(record.value.map(|_| values));
        let Some(value) = record.value else { continue };
        framed.clear();
        framed.extend_from_slice(&[0; FRAME]);
        framed.extend_from_slice(datum(value)?);
        if decoder.decode(&framed).map_err(|_| BAD)? != framed.len() {
            return Err(BAD);
        }
        values += 1;
    }
    let decoded = decoder.flush().map_err(|_| BAD)?;
    let decoded = decoded.unwrap_or_else(|| RecordBatch::new_empty(decoder.schema()));
    if decoded.num_rows() != values as usize {
        return Err(BAD);
    }
    let keys = records
        .iter()
        .map(|record| record.key.map(std::str::from_utf8).transpose())
        .collect::<Result<StringArray, _>>()
        .map_err(|_| BAD)?;
    let deleted: BooleanArray = records.iter().map(|r| Some(r.value.is_none())).collect();
    let times: TimestampMillisecondArray = records.iter().map(|r| Some(r.timestamp_ms)).collect();
    let mut fields = vec![
        Field::new("_key", DataType::Utf8, true),
        Field::new("_deleted", DataType::Boolean, false),
        Field::new(
            "_timestamp",
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            false,
        ),
    ];
    let mut columns: Vec<ArrayRef> = vec![
        std::sync::Arc::new(keys),
        std::sync::Arc::new(deleted),
        std::sync::Arc::new(times.with_timezone("UTC")),
    ];
    let taken = UInt32Array::from(taken);
    for (field, column) in decoded.schema().fields().iter().zip(decoded.columns()) {
        fields.push(Field::new(field.name(), field.data_type().clone(), true));
        columns.push(take(column, &taken, None).map_err(|_| BAD)?);
    }
    RecordBatch::try_new(std::sync::Arc::new(Schema::new(fields)), columns).map_err(|_| BAD)
}
