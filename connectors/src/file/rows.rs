//! Flat rows, both ways: columns of a file rendered as the JSON change events that the decoder
//! takes, and approved Avro datums made into columns.
//!
//! Rendering is exact: what a value is in the file is what the decoder makes of it.

use std::path::{Path, PathBuf};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMillisecondArray,
    UInt32Array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int32Type,
    Int64Type, Schema, SchemaRef, TimeUnit,
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
                // The default would make null what does not fit.
                Some(carried) => {
                    let exact = CastOptions { safe: false, ..CastOptions::default() };
                    cast_with_options(array, carried, &exact).map_err(|_| fault())
                }
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
            cell(&self.batch[at], self.at, &self.columns[at], out);
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
    unit: Unit,
}

/// What a number of a time is multiplied or divided by.
#[derive(Clone, Copy)]
enum Unit {
    /// The number is in the unit of its leaf.
    Same,
    /// So many of the leaf's units make one.
    Times(i64),
    /// An instant in text; so many make one second.
    Instant(i64),
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
        let Some((leaf_type, carried, unit)) = leaf_type(field.data_type(), is_uuid(field)) else {
            return Err(FileFault::no_leaf(path, n + 1, name, field.data_type()));
        };
        let mut prefix =
            serde_json::to_vec(name).map_err(|_| fault("its name has no JSON form"))?;
        prefix.push(b':');
        let leaf = Leaf { path: name.clone(), leaf_type };
        columns.push(Column { leaf, prefix, carried, unit });
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

fn is_uuid(field: &Field) -> bool {
    field.metadata().get("logicalType").is_some_and(|t| t == "uuid")
        || field.metadata().get("ARROW:extension:name").is_some_and(|t| t == "arrow.uuid")
}

/// What a column is, and what it is cast to without a loss before it is rendered. `None`: nothing
/// that a leaf may be holds each of its values exactly.
fn leaf_type(data_type: &DataType, uuid: bool) -> Option<(LeafType, Option<DataType>, Unit)> {
    use DataType as D;
    let integer = |leaf| (leaf, Some(D::Int64), Unit::Same);
    let same = |leaf| (leaf, None, Unit::Same);
    let times = |leaf, factor| (leaf, Some(D::Int64), Unit::Times(factor));
    let decimal = |p: u8, s: i8, carried| {
        let fits = s.unsigned_abs() <= p;
        fits.then_some((LeafType::Decimal { precision: p, scale: s }, carried, Unit::Same))
    };
    Some(match data_type {
        // All values are null, and so is each that is made of them.
        D::Null => same(LeafType::Opaque),
        D::Boolean => same(LeafType::Boolean),
        D::Int8 | D::UInt8 | D::Int16 => integer(LeafType::Int16),
        D::Int32 | D::UInt16 => integer(LeafType::Int32),
        D::Int64 | D::UInt32 => integer(LeafType::Int64),
        D::UInt64 => return decimal(20, 0, Some(D::Decimal128(20, 0))),
        D::Float16 => (LeafType::Float32, Some(D::Float32), Unit::Same),
        D::Float32 => same(LeafType::Float32),
        D::Float64 => same(LeafType::Float64),
        D::Utf8 => same(LeafType::Text),
        D::LargeUtf8 | D::Utf8View => (LeafType::Text, Some(D::Utf8), Unit::Same),
        D::FixedSizeBinary(16) if uuid => (LeafType::Uuid, Some(D::Binary), Unit::Same),
        D::Binary => same(LeafType::Bytes),
        D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => {
            (LeafType::Bytes, Some(D::Binary), Unit::Same)
        }
        // An array of days is one of 32 bits, and is cast by way of its own width.
        D::Date32 => (LeafType::Date, Some(D::Int32), Unit::Same),
        D::Date64 => integer(LeafType::Timestamp),
        D::Time32(TimeUnit::Second) => (LeafType::Time, Some(D::Int32), Unit::Times(1_000)),
        D::Time32(TimeUnit::Millisecond) => (LeafType::Time, Some(D::Int32), Unit::Same),
        D::Time64(TimeUnit::Microsecond) => integer(LeafType::MicroTime),
        D::Time64(TimeUnit::Nanosecond) => integer(LeafType::NanoTime),
        D::Timestamp(unit, Some(_)) => {
            (LeafType::ZonedTimestamp, Some(D::Int64), Unit::Instant(per_second(*unit)))
        }
        D::Timestamp(TimeUnit::Second, None) => times(LeafType::Timestamp, 1_000),
        D::Timestamp(TimeUnit::Millisecond, None) => integer(LeafType::Timestamp),
        D::Timestamp(TimeUnit::Microsecond, None) => integer(LeafType::MicroTimestamp),
        D::Timestamp(TimeUnit::Nanosecond, None) => integer(LeafType::NanoTimestamp),
        D::Duration(TimeUnit::Second) => times(LeafType::MicroDuration, 1_000_000),
        D::Duration(TimeUnit::Millisecond) => times(LeafType::MicroDuration, 1_000),
        D::Duration(TimeUnit::Microsecond) => integer(LeafType::MicroDuration),
        D::Decimal32(p, s) | D::Decimal64(p, s) => {
            return decimal(*p, *s, Some(D::Decimal128(*p, *s)));
        }
        D::Decimal128(p, s) | D::Decimal256(p, s) => return decimal(*p, *s, None),
        D::Dictionary(_, value) => {
            let (leaf, carried, unit) = leaf_type(value, uuid)?;
            (leaf, Some(carried.unwrap_or_else(|| value.as_ref().clone())), unit)
        }
        _ => return None,
    })
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// One value as Debezium writes its leaf's type in JSON.
fn cell(array: &ArrayRef, row: usize, column: &Column, out: &mut Vec<u8>) {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return out.extend_from_slice(b"null");
    }
    let text = match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Utf8 => return string(array.as_string::<i32>().value(row), out),
        DataType::Binary => {
            let bytes = array.as_binary::<i32>().value(row);
            let text = match column.leaf.leaf_type {
                LeafType::Uuid => uuid(bytes),
                _ => BASE64.encode(bytes),
            };
            return string(&text, out);
        }
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            float(f64::from(value), || value.to_string())
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
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
        DataType::Int32 => number(array.as_primitive::<Int32Type>().value(row).into(), column.unit),
        _ => number(array.as_primitive::<Int64Type>().value(row), column.unit),
    };
    out.extend_from_slice(text.as_bytes());
}

/// A number, or an instant in quotes. What a leaf's unit cannot count in 64 bits is written in
/// full: the decoder sets it aside.
fn number(value: i64, unit: Unit) -> String {
    match unit {
        Unit::Same => value.to_string(),
        Unit::Times(factor) => (i128::from(value) * i128::from(factor)).to_string(),
        Unit::Instant(per_second) => format!("\"{}\"", instant(value, per_second)),
    }
}

/// An instant as ISO 8601 in UTC; the zone of the column says only how it is shown.
fn instant(value: i64, per_second: i64) -> String {
    let nanos = i128::from(value) * i128::from(1_000_000_000 / per_second);
    if let Ok(at) = jiff::Timestamp::from_nanosecond(nanos) {
        return at.to_string();
    }
    // Outside the years that have a calendar here: the year of an equal one, 400 years away.
    const CYCLE: i64 = 146_097 * 86_400;
    let seconds = value.div_euclid(per_second);
    let cycles = seconds.div_euclid(CYCLE);
    let within = i128::from(seconds.rem_euclid(CYCLE)) * 1_000_000_000
        + i128::from(value.rem_euclid(per_second) * (1_000_000_000 / per_second));
    let Ok(like) = jiff::Timestamp::from_nanosecond(within) else { return String::new() };
    let like = like.to_string();
    let (year, rest) = like.split_once('-').unwrap_or((&like, ""));
    let year = year.parse::<i64>().unwrap_or_default() + cycles * 400;
    if (0..=9_999).contains(&year) {
        return format!("{year:04}-{rest}");
    }
    let sign = if year < 0 { '-' } else { '+' };
    format!("{sign}{:06}-{rest}", year.unsigned_abs())
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
    beside(records, &decoded, taken)
}

/// Decoded values beside what their records say of themselves. `taken`: of each record the number of
/// its value, or none.
pub(super) fn beside(
    records: &[OutRecord<'_>],
    decoded: &RecordBatch,
    taken: Vec<Option<u32>>,
) -> Result<RecordBatch, &'static str> {
    const BAD: &str = "approved values could not be decoded";
    if decoded.num_rows() != taken.iter().flatten().count() {
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
