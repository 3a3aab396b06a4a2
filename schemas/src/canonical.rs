//! Canonical text: one text for one value, whatever format it came in.
//!
//! JSON `7`, Avro long 7 and text `7` have the same canonical text, so they have the same token.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time64MicrosecondType, Time64NanosecondType,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};
use data_encoding::BASE64;

/// A value has no canonical text; the code says why and holds nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalFault {
    /// The array is of a type that no leaf has.
    #[error("arrow type has no canonical text")]
    ArrowType,
    /// Outside what the text can say.
    #[error("date or time lies outside the years -9999 to 9999")]
    OutOfRange,
}

/// Appends the canonical text of row `row` to `out`. The caller has checked that it is not null.
///
/// | Arrow | text |
/// |---|---|
/// | Boolean | `true`, `false` |
/// | Int16, Int32, Int64 | decimal, no `+`, no leading zeros |
/// | Float32, Float64 | shortest text that reads back equal; `NaN`, `Infinity`, `-Infinity` |
/// | Decimal128, Decimal256 | with exactly `scale` digits after the point |
/// | Utf8 | itself |
/// | Binary | base64 (RFC 4648 section 4, padded) |
/// | Date32 | `YYYY-MM-DD` |
/// | Time32, Time64 | `HH:MM:SS` and the fraction's digits of the unit (3, 6, 9) |
/// | Timestamp | `YYYY-MM-DDTHH:MM:SS` and the fraction's digits of the unit; `infinity` and `-infinity` for the largest and the least 64-bit value |
pub fn write(array: &ArrayRef, row: usize, out: &mut String) -> Result<(), CanonicalFault> {
    use std::fmt::Write;
    let written = match array.data_type() {
        DataType::Boolean => write!(out, "{}", array.as_boolean().value(row)),
        DataType::Int16 => {
            return Ok(integer(i64::from(array.as_primitive::<Int16Type>().value(row)), out));
        }
        DataType::Int32 => {
            return Ok(integer(i64::from(array.as_primitive::<Int32Type>().value(row)), out));
        }
        DataType::Int64 => return Ok(integer(array.as_primitive::<Int64Type>().value(row), out)),
        DataType::Float32 => {
            return float(f64::from(array.as_primitive::<Float32Type>().value(row)), true, out);
        }
        DataType::Float64 => {
            return float(array.as_primitive::<Float64Type>().value(row), false, out);
        }
        DataType::Decimal128(_, _) => {
            write!(out, "{}", array.as_primitive::<Decimal128Type>().value_as_string(row))
        }
        DataType::Decimal256(_, _) => {
            write!(out, "{}", array.as_primitive::<Decimal256Type>().value_as_string(row))
        }
        DataType::Utf8 => {
            out.push_str(array.as_string::<i32>().value(row));
            Ok(())
        }
        DataType::Binary => {
            BASE64.encode_append(array.as_binary::<i32>().value(row), out);
            Ok(())
        }
        DataType::Date32 => {
            return date(i64::from(array.as_primitive::<Date32Type>().value(row)), out);
        }
        DataType::Time32(TimeUnit::Millisecond) => {
            let ms = array.as_primitive::<Time32MillisecondType>().value(row);
            return time(i64::from(ms) * 1_000_000, 3, out);
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let us = array.as_primitive::<Time64MicrosecondType>().value(row);
            return time(us.saturating_mul(1_000), 6, out);
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            return time(array.as_primitive::<Time64NanosecondType>().value(row), 9, out);
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let value = array.as_primitive::<TimestampMillisecondType>().value(row);
            return timestamp(value, 1_000, 3, out);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
            return timestamp(value, 1_000_000, 6, out);
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let value = array.as_primitive::<TimestampNanosecondType>().value(row);
            return timestamp(value, 1_000_000_000, 9, out);
        }
        _ => return Err(CanonicalFault::ArrowType),
    };
    written.map_err(|_| CanonicalFault::ArrowType)
}

/// Whether [`write()`] gives row `row` a text. The caller has checked that it is not null.
pub fn has_text(array: &ArrayRef, row: usize) -> bool {
    let of_time = |value: i64, per_second: i64| {
        let infinite = value == i64::MAX || value == i64::MIN;
        infinite || civil(value.div_euclid(per_second).div_euclid(SECONDS_PER_DAY)).is_ok()
    };
    match array.data_type() {
        DataType::Date32 => civil(i64::from(array.as_primitive::<Date32Type>().value(row))).is_ok(),
        DataType::Time32(TimeUnit::Millisecond) => {
            let ms = array.as_primitive::<Time32MillisecondType>().value(row);
            is_time(i64::from(ms) * 1_000_000)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let us = array.as_primitive::<Time64MicrosecondType>().value(row);
            is_time(us.saturating_mul(1_000))
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            is_time(array.as_primitive::<Time64NanosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            of_time(array.as_primitive::<TimestampMillisecondType>().value(row), 1_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            of_time(array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            of_time(array.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000)
        }
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _)
        | DataType::Utf8
        | DataType::Binary => true,
        _ => false,
    }
}

fn float(value: f64, single: bool, out: &mut String) -> Result<(), CanonicalFault> {
    use std::fmt::Write;
    let written = if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else if single {
        // The f32 came in exactly, so narrowing gives it back.
        write!(out, "{}", value as f32)
    } else {
        write!(out, "{value}")
    };
    written.map_err(|_| CanonicalFault::ArrowType)
}

const SECONDS_PER_DAY: i64 = 86_400;

/// Days from civil, inverted: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn civil(days: i64) -> Result<(i64, i64, i64), CanonicalFault> {
    // Years -9999 to 9999 lie within this many days of the epoch.
    if !(-4_371_587..=2_932_896).contains(&days) {
        return Err(CanonicalFault::OutOfRange);
    }
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Ok((year, month, day))
}

/// Appends a number, at least so many digits wide. Formatting it takes several times as long, and
/// keys, dates and times are numbers of every record.
fn padded(mut value: u64, width: usize, out: &mut String) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        // Below 10.
        digits[at] += (value % 10) as u8;
        value /= 10;
    }
    let from = at.min(digits.len() - width);
    out.extend(digits[from..].iter().copied().map(char::from));
}

fn integer(value: i64, out: &mut String) {
    if value < 0 {
        out.push('-');
    }
    padded(value.unsigned_abs(), 1, out);
}

fn date(days: i64, out: &mut String) -> Result<(), CanonicalFault> {
    let (year, month, day) = civil(days)?;
    if year < 0 {
        out.push('-');
    }
    for (part, width, behind) in [(year, 4, "-"), (month, 2, "-"), (day, 2, "")] {
        padded(part.unsigned_abs(), width, out);
        out.push_str(behind);
    }
    Ok(())
}

/// 24:00:00 is a time of day in PostgreSQL.
fn is_time(nanos_of_day: i64) -> bool {
    (0..=SECONDS_PER_DAY * 1_000_000_000).contains(&nanos_of_day)
}

fn time(nanos_of_day: i64, digits: u32, out: &mut String) -> Result<(), CanonicalFault> {
    if !is_time(nanos_of_day) {
        return Err(CanonicalFault::OutOfRange);
    }
    let nanos = nanos_of_day.unsigned_abs();
    let seconds = nanos / 1_000_000_000;
    let fraction = nanos % 1_000_000_000 / 10_u64.pow(9 - digits);
    for (part, behind) in [(seconds / 3_600, ":"), (seconds / 60 % 60, ":"), (seconds % 60, ".")] {
        padded(part, 2, out);
        out.push_str(behind);
    }
    padded(fraction, digits as usize, out);
    Ok(())
}

fn timestamp(
    value: i64,
    per_second: i64,
    digits: u32,
    out: &mut String,
) -> Result<(), CanonicalFault> {
    if value == i64::MAX || value == i64::MIN {
        out.push_str(if value > 0 { "infinity" } else { "-infinity" });
        return Ok(());
    }
    let seconds = value.div_euclid(per_second);
    let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    date(seconds.div_euclid(SECONDS_PER_DAY), out)?;
    out.push('T');
    time(seconds.rem_euclid(SECONDS_PER_DAY) * 1_000_000_000 + nanos, digits, out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray, TimestampMillisecondArray,
    };

    use super::*;

    fn text(array: impl Array + 'static) -> Vec<String> {
        let array: ArrayRef = Arc::new(array);
        (0..array.len())
            .map(|row| {
                let mut out = String::new();
                write(&array, row, &mut out).map(|()| out).unwrap_or_else(|e| format!("{e:?}"))
            })
            .collect()
    }

    #[test]
    fn what_has_a_text_is_what_gets_one() {
        let day = 86_400_000_000_i64;
        let edges = [-4_371_588, -4_371_587, -1, 0, 2_932_896, 2_932_897];
        let times = vec![-1, 0, 1, day - 1, day, day + 1, i64::MAX, i64::MIN];
        let seconds: Vec<i64> = edges.iter().flat_map(|d| [d * day, d * day - 1]).collect();
        let arrays: [ArrayRef; 7] = [
            Arc::new(Date32Array::from(edges.map(|d| d as i32).to_vec())),
            Arc::new(TimestampMicrosecondArray::from(seconds.clone())),
            Arc::new(TimestampMillisecondArray::from(
                seconds.iter().map(|us| us.div_euclid(1_000)).collect::<Vec<_>>(),
            )),
            Arc::new(TimestampMicrosecondArray::from(times.clone())),
            Arc::new(arrow::array::Time64MicrosecondArray::from(times)),
            Arc::new(arrow::array::Time32MillisecondArray::from(vec![
                -1, 0, 86_400_000, 86_400_001,
            ])),
            Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX])),
        ];
        for array in arrays {
            for row in 0..array.len() {
                let written = write(&array, row, &mut String::new()).is_ok();
                assert_eq!(has_text(&array, row), written, "{} {row}", array.data_type());
            }
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for value in [0, 1, -1, 9, 10, -10, 99, 100, 12_345, i64::MAX, i64::MIN] {
            assert_eq!(text(Int64Array::from(vec![value])), [value.to_string()]);
        }
    }

    #[test]
    fn one_text_for_one_value() {
        assert_eq!(text(Int64Array::from(vec![7, -7, 0])), ["7", "-7", "0"]);
        assert_eq!(text(StringArray::from(vec!["7"])), ["7"]);
        let money = Decimal128Array::from(vec![1980, -5]).with_precision_and_scale(10, 2);
        assert_eq!(text(money.unwrap()), ["19.80", "-0.05"]);
        assert_eq!(text(Float64Array::from(vec![1.5, f64::NAN])), ["1.5", "NaN"]);
        assert_eq!(text(BinaryArray::from(vec![&b"\x00\x01"[..]])), ["AAE="]);
        assert_eq!(
            text(Date32Array::from(vec![0, -1, 19_000, i32::MIN])),
            ["1970-01-01", "1969-12-31", "2022-01-08", "OutOfRange"]
        );
        assert_eq!(
            text(TimestampMicrosecondArray::from(vec![0, -1, i64::MIN, i64::MAX])),
            ["1970-01-01T00:00:00.000000", "1969-12-31T23:59:59.999999", "-infinity", "infinity"]
        );
        assert_eq!(
            text(TimestampMillisecondArray::from(vec![1_760_000_000_123])),
            ["2025-10-09T08:53:20.123"]
        );
    }
}
