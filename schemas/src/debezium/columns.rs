//! Column builders that can take back a half-pushed row.
//!
//! Arrow's own builders cannot be truncated. These are plain vectors that become Arrow buffers
//! without a copy; a row is at most one value a column beyond `rows`, so going back is a truncate.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, PrimitiveArray, StringArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Decimal256Type, DecimalType, Field,
    Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Schema, Time32MillisecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, i256,
};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::QuarantineCode;
use super::placeholder::Placeholder;
use crate::leaf::LeafType;

/// Bytes that one variable-width column may hold; Arrow's offsets are 32 bits.
const COLUMN_BYTES_MAX: usize = 1 << 30;
/// Digits that a variable-scale decimal may have, on either side of its point.
const SCALE_MAX: i64 = 16_384;
const UNSCALED_BYTES_MAX: usize = 1_024;

/// Bytes that were seen to be UTF-8.
#[derive(Clone, Copy)]
pub(super) struct Utf8<'a>(&'a [u8]);

impl<'a> Utf8<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        (bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()).then_some(Self(bytes))
    }
}

enum Values {
    Boolean(BooleanBufferBuilder),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    I128(Vec<i128>),
    I256(Vec<i256>),
    /// Text and binary: end offsets after a leading 0, and the bytes.
    Bytes(Vec<i32>, Vec<u8>),
}

/// One column under construction.
pub(super) struct Column {
    name: String,
    leaf_type: LeafType,
    data_type: DataType,
    values: Values,
    valid: BooleanBufferBuilder,
    full: bool,
    unavailable: Arc<[Placeholder]>,
}

impl Column {
    fn new(
        name: String,
        leaf_type: LeafType,
        rows: usize,
        bytes: usize,
        unavailable: Arc<[Placeholder]>,
    ) -> Self {
        let data_type = leaf_type.arrow();
        let values = match &data_type {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(rows)),
            DataType::Int16 => Values::I16(Vec::with_capacity(rows)),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => {
                Values::I32(Vec::with_capacity(rows))
            }
            DataType::Float32 => Values::F32(Vec::with_capacity(rows)),
            DataType::Float64 => Values::F64(Vec::with_capacity(rows)),
            DataType::Decimal128(_, _) => Values::I128(Vec::with_capacity(rows)),
            DataType::Decimal256(_, _) => Values::I256(Vec::with_capacity(rows)),
            DataType::Utf8 | DataType::Binary => {
                let mut ends = Vec::with_capacity(rows + 1);
                ends.push(0);
                Values::Bytes(ends, Vec::with_capacity(bytes))
            }
            _ => Values::I64(Vec::with_capacity(rows)),
        };
        Self {
            name,
            leaf_type,
            data_type,
            values,
            valid: BooleanBufferBuilder::new(rows),
            full: false,
            unavailable,
        }
    }

    fn len(&self) -> usize {
        self.valid.len()
    }

    fn truncate(&mut self, rows: usize) {
        if self.len() <= rows {
            return;
        }
        self.valid.truncate(rows);
        match &mut self.values {
            Values::Boolean(v) => v.truncate(rows),
            Values::I16(v) => v.truncate(rows),
            Values::I32(v) => v.truncate(rows),
            Values::I64(v) => v.truncate(rows),
            Values::F32(v) => v.truncate(rows),
            Values::F64(v) => v.truncate(rows),
            Values::I128(v) => v.truncate(rows),
            Values::I256(v) => v.truncate(rows),
            Values::Bytes(ends, data) => {
                ends.truncate(rows + 1);
                data.truncate(ends.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0)));
            }
        }
    }

    pub(super) fn null(&mut self) {
        match &mut self.values {
            Values::Boolean(v) => v.append(false),
            Values::I16(v) => v.push(0),
            Values::I32(v) => v.push(0),
            Values::I64(v) => v.push(0),
            Values::F32(v) => v.push(0.0),
            Values::F64(v) => v.push(0.0),
            Values::I128(v) => v.push(0),
            Values::I256(v) => v.push(i256::ZERO),
            Values::Bytes(ends, data) => ends.push(i32::try_from(data.len()).unwrap_or(0)),
        }
        self.valid.append(false);
    }

    pub(super) fn boolean(&mut self, value: bool) -> Result<(), QuarantineCode> {
        let Values::Boolean(values) = &mut self.values else {
            return Err(QuarantineCode::MalformedValue);
        };
        values.append(value);
        self.valid.append(true);
        Ok(())
    }

    pub(super) fn int(&mut self, value: i64) -> Result<(), QuarantineCode> {
        let out = |_| QuarantineCode::OutOfRange;
        match &mut self.values {
            Values::I16(v) => v.push(i16::try_from(value).map_err(out)?),
            Values::I32(v) => v.push(i32::try_from(value).map_err(out)?),
            Values::I64(v) => v.push(value),
            _ => return Err(QuarantineCode::MalformedValue),
        }
        self.valid.append(true);
        Ok(())
    }

    pub(super) fn float32(&mut self, value: f32) -> Result<(), QuarantineCode> {
        let Values::F32(values) = &mut self.values else {
            return Err(QuarantineCode::MalformedValue);
        };
        values.push(value);
        self.valid.append(true);
        Ok(())
    }

    pub(super) fn float64(&mut self, value: f64) -> Result<(), QuarantineCode> {
        let Values::F64(values) = &mut self.values else {
            return Err(QuarantineCode::MalformedValue);
        };
        values.push(value);
        self.valid.append(true);
        Ok(())
    }

    pub(super) fn text(&mut self, value: &str) -> Result<(), QuarantineCode> {
        self.utf8(Utf8(value.as_bytes()))
    }

    /// Text, but never Debezium's placeholder for a value it does not have.
    pub(super) fn utf8(&mut self, Utf8(value): Utf8<'_>) -> Result<(), QuarantineCode> {
        if self.unavailable.iter().any(|placeholder| placeholder.is_text(value)) {
            return Err(QuarantineCode::Unavailable);
        }
        if self.data_type != DataType::Utf8 {
            return Err(QuarantineCode::MalformedValue);
        }
        self.variable(value)
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> Result<(), QuarantineCode> {
        if self.unavailable.iter().any(|placeholder| placeholder.is_bytes(value)) {
            return Err(QuarantineCode::Unavailable);
        }
        if self.data_type != DataType::Binary {
            return Err(QuarantineCode::MalformedValue);
        }
        self.variable(value)
    }

    fn variable(&mut self, value: &[u8]) -> Result<(), QuarantineCode> {
        let Values::Bytes(ends, data) = &mut self.values else {
            return Err(QuarantineCode::MalformedValue);
        };
        if data.len() + value.len() > COLUMN_BYTES_MAX {
            self.full = true;
            return Ok(());
        }
        data.extend_from_slice(value);
        ends.push(i32::try_from(data.len()).map_err(|_| QuarantineCode::TooLarge)?);
        self.valid.append(true);
        Ok(())
    }

    /// An unscaled value in two's complement, most significant byte first.
    pub(super) fn decimal(&mut self, unscaled: &[u8]) -> Result<(), QuarantineCode> {
        if self.unavailable.iter().any(|placeholder| placeholder.is_bytes(unscaled)) {
            return Err(QuarantineCode::Unavailable);
        }
        let LeafType::Decimal { precision, .. } = self.leaf_type else {
            return Err(QuarantineCode::MalformedValue);
        };
        let wide = twos_complement::<32>(unscaled)?;
        match &mut self.values {
            Values::I128(values) => {
                let value = twos_complement::<16>(unscaled).map(i128::from_be_bytes)?;
                if !Decimal128Type::is_valid_decimal_precision(value, precision) {
                    return Err(QuarantineCode::OutOfRange);
                }
                values.push(value);
            }
            Values::I256(values) => {
                let value = i256::from_be_bytes(wide);
                if !Decimal256Type::is_valid_decimal_precision(value, precision) {
                    return Err(QuarantineCode::OutOfRange);
                }
                values.push(value);
            }
            _ => return Err(QuarantineCode::MalformedValue),
        }
        self.valid.append(true);
        Ok(())
    }

    /// A JSON number for a decimal of fixed scale, exact or refused.
    pub(super) fn decimal_text(&mut self, token: &str) -> Result<(), QuarantineCode> {
        let LeafType::Decimal { scale, .. } = self.leaf_type else {
            return Err(QuarantineCode::MalformedValue);
        };
        if token.contains(['e', 'E']) {
            return Err(QuarantineCode::Number);
        }
        let (negative, digits) = token.strip_prefix('-').map_or((false, token), |d| (true, d));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let scale = usize::try_from(scale).map_err(|_| QuarantineCode::Number)?;
        let kept = fraction.trim_end_matches('0');
        if kept.len() > scale || whole.len() > 77 {
            return Err(QuarantineCode::OutOfRange);
        }
        let mut unscaled = i256::ZERO;
        let ten = i256::from_i128(10);
        let zeros = std::iter::repeat_n(b'0', scale - kept.len());
        for digit in whole.bytes().chain(kept.bytes()).chain(zeros) {
            unscaled = unscaled
                .checked_mul(ten)
                .and_then(|v| v.checked_add(i256::from_i128(i128::from(digit - b'0'))))
                .ok_or(QuarantineCode::OutOfRange)?;
        }
        let signed = if negative { unscaled.wrapping_neg() } else { unscaled };
        self.decimal(&signed.to_be_bytes())
    }

    /// `{scale, value}` as plain decimal text with exactly `scale` digits after the point.
    pub(super) fn variable_decimal(
        &mut self,
        scale: i64,
        unscaled: &[u8],
    ) -> Result<(), QuarantineCode> {
        let text = decimal_text(scale, unscaled)?;
        self.variable(text.as_bytes())
    }

    fn finish(&mut self) -> ArrayRef {
        let rows = self.len();
        let bytes = match &self.values {
            Values::Bytes(_, data) => data.len(),
            _ => 0,
        };
        let (name, unavailable) = (std::mem::take(&mut self.name), Arc::clone(&self.unavailable));
        let fresh = Self::new(name, self.leaf_type, rows, bytes, unavailable);
        let Self { data_type, values, mut valid, .. } = std::mem::replace(self, fresh);
        let nulls = NullBuffer::new(valid.finish());
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        match (values, data_type) {
            (Values::Boolean(mut v), _) => Arc::new(BooleanArray::new(v.finish(), nulls)),
            (Values::I16(v), _) => primitive::<Int16Type>(v, nulls),
            (Values::I32(v), DataType::Date32) => primitive::<Date32Type>(v, nulls),
            (Values::I32(v), DataType::Time32(_)) => primitive::<Time32MillisecondType>(v, nulls),
            (Values::I32(v), _) => primitive::<Int32Type>(v, nulls),
            (Values::I64(v), DataType::Time64(TimeUnit::Microsecond)) => {
                primitive::<Time64MicrosecondType>(v, nulls)
            }
            (Values::I64(v), DataType::Time64(_)) => primitive::<Time64NanosecondType>(v, nulls),
            (Values::I64(v), DataType::Timestamp(TimeUnit::Millisecond, _)) => {
                primitive::<TimestampMillisecondType>(v, nulls)
            }
            (Values::I64(v), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                primitive::<TimestampMicrosecondType>(v, nulls)
            }
            (Values::I64(v), DataType::Timestamp(_, _)) => {
                primitive::<TimestampNanosecondType>(v, nulls)
            }
            (Values::I64(v), _) => primitive::<Int64Type>(v, nulls),
            (Values::F32(v), _) => primitive::<Float32Type>(v, nulls),
            (Values::F64(v), _) => primitive::<Float64Type>(v, nulls),
            (Values::I128(v), data_type) => Arc::new(
                PrimitiveArray::<Decimal128Type>::new(ScalarBuffer::from(v), nulls)
                    .with_data_type(data_type),
            ),
            (Values::I256(v), data_type) => Arc::new(
                PrimitiveArray::<Decimal256Type>::new(ScalarBuffer::from(v), nulls)
                    .with_data_type(data_type),
            ),
            (Values::Bytes(ends, data), DataType::Utf8) => Arc::new(StringArray::new(
                OffsetBuffer::new(ScalarBuffer::from(ends)),
                Buffer::from_vec(data),
                nulls,
            )),
            (Values::Bytes(ends, data), _) => Arc::new(BinaryArray::new(
                OffsetBuffer::new(ScalarBuffer::from(ends)),
                Buffer::from_vec(data),
                nulls,
            )),
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(values: Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls))
}

/// Widens or narrows to `N` bytes; what does not fit is out of range. No bytes are zero, as for
/// Java's `BigInteger` they cannot be: refused.
fn twos_complement<const N: usize>(bytes: &[u8]) -> Result<[u8; N], QuarantineCode> {
    let first = *bytes.first().ok_or(QuarantineCode::MalformedValue)?;
    let fill = if first & 0x80 == 0 { 0 } else { 0xff };
    let (extra, kept) = bytes.split_at(bytes.len().saturating_sub(N));
    let sign_kept = kept.first().is_some_and(|byte| byte & 0x80 == first & 0x80);
    if extra.iter().any(|byte| *byte != fill) || !sign_kept {
        return Err(QuarantineCode::OutOfRange);
    }
    let mut out = [fill; N];
    out[N - kept.len()..].copy_from_slice(kept);
    Ok(out)
}

/// Plain decimal text of an unscaled two's complement value.
fn decimal_text(scale: i64, unscaled: &[u8]) -> Result<String, QuarantineCode> {
    let first = *unscaled.first().ok_or(QuarantineCode::MalformedValue)?;
    if unscaled.len() > UNSCALED_BYTES_MAX || scale.abs() > SCALE_MAX {
        return Err(QuarantineCode::OutOfRange);
    }
    let negative = first & 0x80 != 0;
    // The magnitude: negate by inverting and adding one, carry from the last byte.
    let mut magnitude = unscaled.to_vec();
    if negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
            *byte = sum;
            carry = over;
        }
        if carry {
            magnitude.insert(0, 1);
        }
    }
    // Long division by 10^9, chunk by chunk.
    let mut chunks = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u64;
        for byte in &mut magnitude {
            rest = rest << 8 | u64::from(*byte);
            *byte = u8::try_from(rest / 1_000_000_000).unwrap_or(u8::MAX);
            rest %= 1_000_000_000;
        }
        chunks.push(rest);
    }
    let mut digits = String::new();
    for (index, chunk) in chunks.iter().rev().enumerate() {
        digits.push_str(&if index == 0 { chunk.to_string() } else { format!("{chunk:09}") });
    }
    if digits.is_empty() {
        digits.push('0');
    }
    let sign = if negative { "-" } else { "" };
    let zeros = |n: i64| "0".repeat(usize::try_from(n).unwrap_or(0));
    if scale <= 0 {
        let tail = if digits == "0" { String::new() } else { zeros(-scale) };
        return Ok(format!("{sign}{digits}{tail}"));
    }
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let padded = format!("{}{digits}", zeros(scale + 1 - length));
    let point = padded.len() - usize::try_from(scale).unwrap_or(0);
    Ok(format!("{sign}{}.{}", &padded[..point], &padded[point..]))
}

/// The columns of one batch: key leaves first, then row leaves.
pub(super) struct Columns {
    columns: Vec<Column>,
    keys: usize,
    rows: usize,
}

impl Columns {
    /// Names are given with their image: `key.id`, `after.email`.
    pub(super) fn new(names: Vec<(String, LeafType)>, keys: usize) -> Self {
        let unavailable: Arc<[Placeholder]> = Arc::new([Placeholder::default()]);
        let column = |(name, leaf)| Column::new(name, leaf, 0, 0, Arc::clone(&unavailable));
        Self { columns: names.into_iter().map(column).collect(), keys, rows: 0 }
    }

    /// Values that the source does not have look like this too.
    pub(super) fn unavailable(&mut self, placeholder: &Placeholder) {
        let known: Arc<[Placeholder]> = Arc::new([Placeholder::default(), placeholder.clone()]);
        self.columns.iter_mut().for_each(|column| column.unavailable = Arc::clone(&known));
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Column `index`, if the row under construction has no value in it yet.
    pub(super) fn column(&mut self, index: usize) -> Option<&mut Column> {
        let rows = self.rows;
        self.columns.get_mut(index).filter(|column| column.len() == rows)
    }

    /// Some column had no room for the value it was given.
    pub(super) fn full(&self) -> bool {
        self.columns.iter().any(|column| column.full)
    }

    /// Takes back what belongs to no finished row, unless the row is to be finished.
    pub(super) fn rollback_unless(&mut self, finished: bool) {
        if finished {
            return;
        }
        for column in &mut self.columns {
            column.truncate(self.rows);
            column.full = false;
        }
    }

    /// Ends a row; columns without a value get null. A delete keeps its key only.
    pub(super) fn commit(&mut self, key_only: bool) {
        for (index, column) in self.columns.iter_mut().enumerate() {
            if key_only && index >= self.keys {
                column.truncate(self.rows);
            }
            if column.len() == self.rows {
                column.null();
            }
        }
        self.rows += 1;
    }

    /// The rows; empty afterwards.
    #[allow(clippy::expect_used, reason = "the arrays are made for the schema beside them")]
    pub(super) fn finish(&mut self) -> RecordBatch {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| Field::new(column.name.clone(), column.data_type.clone(), true))
            .collect();
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        for (column, field) in self.columns.iter_mut().zip(&fields) {
            column.name.clone_from(field.name());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .expect("each array has its field's type and one value a row")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_of_any_scale_become_plain_text() {
        for (scale, unscaled, text) in [
            (2, &[0x00, 0xc6][..], "1.98"),
            (0, &[0x00], "0"),
            (3, &[0x00], "0.000"),
            (-2, &[0x05], "500"),
            (-2, &[0x00], "0"),
            (1, &[0xff], "-0.1"),
            (0, &[0x80], "-128"),
            (0, &[0x80, 0x00], "-32768"),
            (20, &[0x7f], "0.00000000000000000127"),
            (0, &[0x0d, 0xe0, 0xb6, 0xb3, 0xa7, 0x64, 0x00, 0x00], "1000000000000000000"),
        ] {
            assert_eq!(decimal_text(scale, unscaled).as_deref(), Ok(text));
        }
        assert_eq!(decimal_text(0, &[]), Err(QuarantineCode::MalformedValue));
        assert_eq!(decimal_text(SCALE_MAX + 1, &[1]), Err(QuarantineCode::OutOfRange));
    }

    #[test]
    fn decimals_keep_their_sign_when_narrowed_bad_range() {
        assert_eq!(twos_complement::<2>(&[0xff, 0xff, 0x80]), Ok([0xff, 0x80]));
        assert_eq!(twos_complement::<1>(&[0x00, 0x80]), Err(QuarantineCode::OutOfRange));
        assert_eq!(twos_complement::<1>(&[0xff, 0x7f]), Err(QuarantineCode::OutOfRange));
        assert_eq!(twos_complement::<2>(&[0x01, 0x00, 0x00]), Err(QuarantineCode::OutOfRange));
    }

    #[test]
    fn a_half_pushed_row_leaves_nothing_behind() {
        let names =
            vec![("key.id".to_owned(), LeafType::Int64), ("after.t".to_owned(), LeafType::Text)];
        let mut columns = Columns::new(names, 1);
        let push = |columns: &mut Columns, id, text: &str| {
            columns.column(0).unwrap().int(id).unwrap();
            columns.column(1).unwrap().text(text).unwrap();
        };
        push(&mut columns, 1, "kept");
        columns.commit(false);
        push(&mut columns, 2, "taken back");
        columns.rollback_unless(false);
        push(&mut columns, 3, "a delete keeps its key only");
        columns.commit(true);
        let rows = columns.finish();
        assert_eq!(rows.num_rows(), 2);
        assert_eq!(rows.column(0).as_ref(), &arrow::array::Int64Array::from(vec![1, 3]));
        assert_eq!(rows.column(1).as_ref(), &StringArray::from(vec![Some("kept"), None]));
        assert_eq!(columns.finish().num_rows(), 0);
    }
}
