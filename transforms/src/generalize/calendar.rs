//! Dates and instants cut to a unit of the calendar, in UTC.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int32Array, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};

use super::bins::EDGES_MAX;
use crate::column::{Protect, each_text};
use crate::fault::{StageFault, TransformFault};

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;
/// 0001-01-01 and 9999-12-31 in days since the epoch.
const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;

/// Dates and instants cut to a unit.
pub(super) struct Cut {
    pub(super) to: Unit,
    /// The column holds ISO 8601 text.
    pub(super) zoned: bool,
}

/// What dates and timestamps are cut to, with what that needs.
pub(super) enum Unit {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    /// Bands of whole years lived until a day.
    Age {
        as_of: Civil,
        bands: Bands,
    },
}

/// Bands of ages between rising edges.
pub(super) struct Bands {
    edges: Vec<i64>,
    /// One more than there are edges.
    pub(super) labels: Vec<String>,
}

impl Bands {
    pub(super) fn new(given: &[serde_json::Number]) -> Result<Self, StageFault> {
        let edges: Option<Vec<i64>> = given.iter().map(serde_json::Number::as_i64).collect();
        let edges = edges.filter(|edges| {
            let within = edges.iter().all(|edge| (1..=AGE_MAX).contains(edge));
            (1..=EDGES_MAX).contains(&edges.len()) && within && edges.is_sorted_by(|a, b| a < b)
        });
        let fault = StageFault::Bins("edges of ages are whole numbers from 1 to 150 that rise");
        let edges = edges.ok_or(fault)?;
        let mut labels = vec![format!("[0,{})", edges[0])];
        labels.extend(edges.windows(2).map(|pair| format!("[{},{})", pair[0], pair[1])));
        labels.push(format!("[{},inf)", edges[edges.len() - 1]));
        Ok(Self { edges, labels })
    }

    fn label_of(&self, age: i64) -> &str {
        &self.labels[self.edges.partition_point(|edge| *edge <= age)]
    }
}

/// Edges of ages end here.
const AGE_MAX: i64 = 150;

/// A day of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Civil {
    year: i32,
    month: i32,
    day: i32,
}

impl Civil {
    /// Reads `YYYY-MM-DD`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let date: jiff::civil::Date = text.parse().ok()?;
        // Other writings of a date would be other fingerprints of the same one.
        (date.to_string() == text && date.year() >= 1).then(|| Self {
            year: i32::from(date.year()),
            month: i32::from(date.month()),
            day: i32::from(date.day()),
        })
    }

    /// Whole years lived until `as_of`; who is born on 29 February has a birthday on 1 March where
    /// there is none. None for who is not born yet.
    fn age(self, as_of: Self) -> Option<i64> {
        let before_birthday = (as_of.month, as_of.day) < (self.month, self.day);
        let age = as_of.year - self.year - i32::from(before_birthday);
        (self <= as_of).then_some(i64::from(age))
    }
}

impl Protect for Cut {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        if let Unit::Hour = self.to {
            let hours = self.instants(column, |micros| {
                day_of(micros)?;
                Ok(micros.div_euclid(MICROS_PER_HOUR) * MICROS_PER_HOUR)
            })?;
            return Ok(Arc::new(TimestampMicrosecondArray::from(hours)));
        }
        let days = self.days(column)?;
        let number = |of: fn(Civil) -> i32| -> ArrayRef {
            Arc::new(Int32Array::from_iter(days.iter().map(|day| day.map(|day| of(civil(day))))))
        };
        Ok(match &self.to {
            Unit::Year => number(|date| date.year),
            Unit::Decade => number(|date| date.year - date.year % 10),
            Unit::Month => text(&days, |day, out| {
                let Civil { year, month, .. } = civil(day);
                write!(out, "{year:04}-{month:02}")
            }),
            Unit::Quarter => text(&days, |day, out| {
                let Civil { year, month, .. } = civil(day);
                write!(out, "{year:04}-Q{}", (month + 2) / 3)
            }),
            Unit::Week => text(&days, |day, out| {
                let (year, week) = iso_week(day);
                write!(out, "{year:04}-W{week:02}")
            }),
            Unit::Age { as_of, bands } => {
                let mut out = StringBuilder::with_capacity(days.len(), days.len() * 8);
                for day in days {
                    let age = day.map(|day| civil(day).age(*as_of));
                    let age = age.map(|age| age.ok_or(TransformFault::OutOfRange)).transpose()?;
                    out.append_option(age.map(|age| bands.label_of(age)));
                }
                Arc::new(out.finish())
            }
            // The range of days fits 32 bits.
            Unit::Day | Unit::Hour => {
                Arc::new(Date32Array::from_iter(days.into_iter().map(|d| d.map(|d| d as i32))))
            }
        })
    }
}

/// One text a day, null for null.
fn text(days: &[Option<i64>], write: impl Fn(i64, &mut String) -> std::fmt::Result) -> ArrayRef {
    let mut out = StringBuilder::with_capacity(days.len(), days.len() * 8);
    let mut cell = String::new();
    for day in days {
        out.append_option(day.map(|day| {
            cell.clear();
            // Writing to a String cannot fail.
            let _ = write(day, &mut cell);
            cell.as_str()
        }));
    }
    Arc::new(out.finish())
}

impl Cut {
    /// Days since the epoch of every row.
    fn days(&self, column: &ArrayRef) -> Result<Vec<Option<i64>>, TransformFault> {
        if let DataType::Date32 = column.data_type() {
            let days = column.as_primitive::<Date32Type>().iter();
            return days.map(|day| day.map(|day| in_range(i64::from(day))).transpose()).collect();
        }
        self.instants(column, day_of)
    }

    /// Microseconds since the epoch of every row, rounded towards the past, through `each`.
    fn instants(
        &self,
        column: &ArrayRef,
        each: impl Fn(i64) -> Result<i64, TransformFault>,
    ) -> Result<Vec<Option<i64>>, TransformFault> {
        let mut out = Vec::with_capacity(column.len());
        if self.zoned {
            each_text(column, |value| {
                out.push(value.map(zoned).transpose()?.map(&each).transpose()?);
                Ok(())
            })?;
            return Ok(out);
        }
        for row in 0..column.len() {
            if column.is_null(row) {
                out.push(None);
                continue;
            }
            let micros = match column.data_type() {
                DataType::Timestamp(TimeUnit::Millisecond, _) => column
                    .as_primitive::<TimestampMillisecondType>()
                    .value(row)
                    .checked_mul(1_000)
                    .ok_or(TransformFault::OutOfRange)?,
                DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                    match column.as_primitive::<TimestampNanosecondType>().value(row) {
                        // The unit's infinities.
                        i64::MIN | i64::MAX => return Err(TransformFault::OutOfRange),
                        nanos => nanos.div_euclid(1_000),
                    }
                }
                _ => column.as_primitive::<TimestampMicrosecondType>().value(row),
            };
            out.push(Some(each(micros)?));
        }
        Ok(out)
    }
}

fn zoned(text: &str) -> Result<i64, TransformFault> {
    if matches!(text, "infinity" | "-infinity") {
        return Err(TransformFault::OutOfRange);
    }
    let instant: jiff::Timestamp = text.parse().map_err(|_| TransformFault::Unparsable)?;
    // Rounded towards the past also before the epoch.
    i64::try_from(instant.as_nanosecond().div_euclid(1_000)).map_err(|_| TransformFault::OutOfRange)
}

fn day_of(micros: i64) -> Result<i64, TransformFault> {
    in_range(micros.div_euclid(MICROS_PER_DAY))
}

fn in_range(day: i64) -> Result<i64, TransformFault> {
    if DAYS.contains(&day) { Ok(day) } else { Err(TransformFault::OutOfRange) }
}

/// The date of a day since the epoch, from year 1 to 9999:
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn civil(days: i64) -> Civil {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    Civil { year: year as i32, month: month as i32, day: day as i32 }
}

/// Year and week of ISO 8601: a week belongs to the year that its Thursday lies in.
fn iso_week(days: i64) -> (i32, i64) {
    // The epoch is a Thursday; 0 is Monday.
    let weekday = (days + 3).rem_euclid(7);
    let thursday = days - weekday + 3;
    let year = civil(thursday).year;
    let years = i64::from(year) - 1;
    let new_year = 365 * years + years / 4 - years / 100 + years / 400 - 719_162;
    (year, (thursday - new_year) / 7 + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The calendar agrees with crate `jiff`.
        #[test]
        fn calendar(day in DAYS) {
            let second = day * 86_400;
            let zone = jiff::tz::TimeZone::UTC;
            let date = jiff::Timestamp::from_second(second).unwrap().to_zoned(zone).date();
            let found = civil(day);
            prop_assert_eq!(found.year, i32::from(date.year()));
            prop_assert_eq!((found.month, found.day), (date.month().into(), date.day().into()));
            let week = date.iso_week_date();
            prop_assert_eq!(iso_week(day), (week.year().into(), week.week().into()));
            let as_of = Civil { year: 2026, month: 3, day: 1 };
            let until = jiff::civil::date(2026, 3, 1);
            let years = date.until((jiff::Unit::Year, until)).unwrap().get_years();
            // Of 29 February `jiff` agrees as well: the months are counted in full.
            prop_assert_eq!(found.age(as_of), (date <= until).then_some(i64::from(years)));
        }
    }
}
