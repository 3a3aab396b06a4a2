//! `generalize`: coarser values. Years, months, days and hours are of UTC.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int32Array, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType,
};
use douane_schemas::leaf::{Leaf, LeafType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::column::{Protect, each_text};
use crate::fault::{StageFault, TransformFault};
use crate::number::Number;
use crate::stage::{Declaration, Declared, Guarantees, Produces};

/// What `generalize` is.
pub const DECLARATION: Declaration = Declaration {
    verb: "generalize",
    summary: "coarser values: year, month, day, hour, bins of numbers, or a prefix of text",
    guarantees: Guarantees {
        deterministic: true,
        reversible_with_key: false,
        keeps_length: false,
        keeps_uniqueness: false,
        keeps_order: false,
        joinable: true,
        keeps_nulls: true,
    },
    semantics: 1,
    example_yaml: "generalize: { columns: [balance_cents], bins: [0, 100000, 1000000] }",
};

/// Most edges of one list of bins.
pub const EDGES_MAX: usize = 256;
/// Most characters of a prefix.
pub const PREFIX_CHARS_MAX: u32 = 8;

/// `generalize: { columns: [birth_date], to: year }`: one of `to`, `bins` and `prefix`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Generalize")]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Leaves to make coarser.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// The unit that dates and timestamps are cut to, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Granularity>,
    /// Rising edges: each value becomes the label of its bin, `(-inf,0)`, `[0,100000)`,
    /// `[100000,inf)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub bins: Option<Vec<serde_json::Number>>,
    /// Characters of text that stay; a shorter value stays whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub prefix: Option<u32>,
}

/// What dates and timestamps are cut to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// An integer, 1 to 9999.
    Year,
    /// `YYYY-MM`.
    Month,
    /// A date.
    Day,
    /// Microseconds since the epoch.
    Hour,
}

impl Granularity {
    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }

    fn check(self, found: LeafType) -> Result<(), StageFault> {
        use LeafType as T;
        let instant = matches!(
            found,
            T::Timestamp | T::MicroTimestamp | T::NanoTimestamp | T::ZonedTimestamp
        );
        // Cutting a date to its day would keep everything.
        let date = found == T::Date && matches!(self, Self::Year | Self::Month);
        if instant || date {
            return Ok(());
        }
        Err(StageFault::Granularity { to: self.name(), found })
    }
}

/// What a valid config asks for.
enum Step {
    To(Granularity),
    Bins(Edges),
    Prefix(u32),
}

impl Config {
    /// What comes out for a leaf.
    ///
    /// # Errors
    /// Not exactly one of `to`, `bins`, `prefix`; edges that do not rise; a type that does not fit.
    pub fn declare(&self, leaf: &Leaf) -> Result<Declared, StageFault> {
        use LeafType as T;
        let verb = DECLARATION.verb;
        let found = leaf.leaf_type;
        let (output, produces, may_fail) = match self.step()? {
            Step::To(to) => {
                to.check(found)?;
                match to {
                    Granularity::Year => (T::Int32, Produces::Year, true),
                    Granularity::Month => (T::Text, Produces::Month, true),
                    Granularity::Day => (T::Date, Produces::Day, true),
                    Granularity::Hour => (T::MicroTimestamp, Produces::Hour, true),
                }
            }
            Step::Bins(edges) => {
                let integer = matches!(found, T::Int16 | T::Int32 | T::Int64);
                let decimal = matches!(found, T::Decimal { .. });
                let other =
                    matches!(found, T::Text | T::VariableScaleDecimal | T::Float32 | T::Float64);
                if !(integer || decimal || other) {
                    let expected = "a number, or text that holds one";
                    return Err(StageFault::LeafType { verb, found, expected });
                }
                (T::Text, Produces::Bins { labels: edges.labels }, other)
            }
            Step::Prefix(length) => {
                if found != T::Text {
                    return Err(StageFault::LeafType { verb, found, expected: "text" });
                }
                (T::Text, Produces::Prefix { length }, false)
            }
        };
        Ok(Declared { output, produces, may_fail, keys: Vec::new() })
    }

    fn step(&self) -> Result<Step, StageFault> {
        match (self.to, &self.bins, self.prefix) {
            (Some(to), None, None) => Ok(Step::To(to)),
            (None, Some(edges), None) => Edges::new(edges).map(Step::Bins),
            (None, None, Some(length)) if (1..=PREFIX_CHARS_MAX).contains(&length) => {
                Ok(Step::Prefix(length))
            }
            (None, None, Some(found)) => Err(StageFault::Prefix { found, most: PREFIX_CHARS_MAX }),
            (to, bins, prefix) => Err(StageFault::ExactlyOne {
                verb: DECLARATION.verb,
                expected: "`to`, `bins` and `prefix`",
                found: usize::from(to.is_some())
                    + usize::from(bins.is_some())
                    + usize::from(prefix.is_some()),
            }),
        }
    }

    /// The compiled step.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn build(&self, leaf: &Leaf) -> Result<Arc<dyn Protect>, StageFault> {
        self.declare(leaf)?;
        Ok(match self.step()? {
            Step::To(to) => Arc::new(Cut { to, zoned: leaf.leaf_type == LeafType::ZonedTimestamp }),
            Step::Bins(edges) => Arc::new(edges),
            Step::Prefix(length) => Arc::new(Prefix(length as usize)),
        })
    }
}

struct Prefix(usize);

impl Protect for Prefix {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let mut out = StringBuilder::with_capacity(column.len(), column.len() * self.0);
        each_text(column, |value| {
            out.append_option(value.map(|v| match v.char_indices().nth(self.0) {
                Some((end, _)) => &v[..end],
                None => v,
            }));
            Ok(())
        })?;
        Ok(Arc::new(out.finish()))
    }
}

/// Bins between rising edges; a value on an edge lies above it.
struct Edges {
    /// Canonical numbers, rising.
    edges: Vec<String>,
    /// The same, where all are 64-bit integers.
    integers: Option<Vec<i64>>,
    /// One more than there are edges.
    labels: Vec<String>,
}

impl Edges {
    fn new(given: &[serde_json::Number]) -> Result<Self, StageFault> {
        if !(1..=EDGES_MAX).contains(&given.len()) {
            return Err(StageFault::Bins("expected 1 to 256 edges"));
        }
        let mut edges = Vec::with_capacity(given.len());
        for edge in given {
            let text = edge.to_string();
            let number = Number::parse(&text)
                .ok_or(StageFault::Bins("an edge has an exponent; write all its digits"))?;
            let mut canonical = String::new();
            number.write(&mut canonical);
            edges.push(canonical);
        }
        let rises = edges.windows(2).all(|pair| Number::parse(&pair[0]) < Number::parse(&pair[1]));
        if !rises {
            return Err(StageFault::Bins("the edges do not rise"));
        }
        let mut labels = vec![format!("(-inf,{})", edges[0])];
        labels.extend(edges.windows(2).map(|pair| format!("[{},{})", pair[0], pair[1])));
        labels.push(format!("[{},inf)", edges[edges.len() - 1]));
        let integers = edges.iter().map(|edge| edge.parse().ok()).collect();
        Ok(Self { edges, integers, labels })
    }

    fn label_of(&self, text: &str) -> Result<&str, TransformFault> {
        let value = Number::parse(text).ok_or(TransformFault::Unparsable)?;
        let below = |edge: &String| Number::parse(edge).is_some_and(|edge| edge <= value);
        Ok(&self.labels[self.edges.partition_point(below)])
    }

    fn label_of_integer(&self, edges: &[i64], value: i64) -> &str {
        &self.labels[edges.partition_point(|edge| *edge <= value)]
    }
}

impl Protect for Edges {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let mut out = StringBuilder::with_capacity(column.len(), column.len() * 16);
        if let (Some(edges), Some(values)) = (&self.integers, integers(column)) {
            for value in values {
                out.append_option(value.map(|value| self.label_of_integer(edges, value)));
            }
            return Ok(Arc::new(out.finish()));
        }
        each_text(column, |value| {
            out.append_option(value.map(|value| self.label_of(value)).transpose()?);
            Ok(())
        })?;
        Ok(Arc::new(out.finish()))
    }
}

fn integers(column: &ArrayRef) -> Option<Box<dyn Iterator<Item = Option<i64>> + '_>> {
    Some(match column.data_type() {
        DataType::Int16 => {
            Box::new(column.as_primitive::<Int16Type>().iter().map(|v| v.map(i64::from)))
        }
        DataType::Int32 => {
            Box::new(column.as_primitive::<Int32Type>().iter().map(|v| v.map(i64::from)))
        }
        DataType::Int64 => Box::new(column.as_primitive::<Int64Type>().iter()),
        _ => return None,
    })
}

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;
/// 0001-01-01 and 9999-12-31 in days since the epoch.
const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;

struct Cut {
    to: Granularity,
    /// The column holds ISO 8601 text.
    zoned: bool,
}

impl Protect for Cut {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        if self.to == Granularity::Hour {
            let hours = self.instants(column, |micros| {
                day_of(micros)?;
                Ok(micros.div_euclid(MICROS_PER_HOUR) * MICROS_PER_HOUR)
            })?;
            return Ok(Arc::new(TimestampMicrosecondArray::from(hours)));
        }
        let days = if let DataType::Date32 = column.data_type() {
            let days = column.as_primitive::<Date32Type>().iter();
            days.map(|day| day.map(|day| in_range(i64::from(day))).transpose())
                .collect::<Result<Vec<_>, _>>()?
        } else {
            self.instants(column, day_of)?
        };
        Ok(match self.to {
            Granularity::Year => {
                Arc::new(Int32Array::from_iter(days.into_iter().map(|d| d.map(|d| civil(d).0))))
            }
            Granularity::Month => {
                let mut out = StringBuilder::with_capacity(days.len(), days.len() * 7);
                for day in days {
                    out.append_option(day.map(civil).map(|(y, m)| format!("{y:04}-{m:02}")));
                }
                Arc::new(out.finish())
            }
            // The range of days fits 32 bits.
            Granularity::Day | Granularity::Hour => {
                Arc::new(Date32Array::from_iter(days.into_iter().map(|d| d.map(|d| d as i32))))
            }
        })
    }
}

impl Cut {
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

/// Year and month of a day since the epoch, from year 1 to 9999:
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn civil(days: i64) -> (i32, i32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as i32, month as i32)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMillisecondArray,
        TimestampNanosecondArray,
    };
    use proptest::prelude::*;

    use super::*;

    fn parsed(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    fn to(granularity: &str) -> Config {
        parsed(&format!(r#"{{"columns":["c"],"to":"{granularity}"}}"#))
    }

    fn bins(edges: &str) -> Config {
        parsed(&format!(r#"{{"columns":["c"],"bins":{edges}}}"#))
    }

    fn leaf(leaf_type: LeafType) -> Leaf {
        Leaf { path: "c".into(), leaf_type }
    }

    fn run(
        config: &Config,
        leaf_type: LeafType,
        column: impl Array + 'static,
    ) -> Result<ArrayRef, TransformFault> {
        config.build(&leaf(leaf_type)).unwrap().apply(&(Arc::new(column) as ArrayRef))
    }

    fn texts(out: &ArrayRef) -> Vec<Option<&str>> {
        out.as_string::<i32>().iter().collect()
    }

    #[test]
    fn dates_to_year_and_month() {
        let days = || Date32Array::from(vec![Some(0), Some(-1), None, Some(19_000)]);
        let years = run(&to("year"), LeafType::Date, days()).unwrap();
        let expected = Int32Array::from(vec![Some(1970), Some(1969), None, Some(2022)]);
        assert_eq!(years.as_primitive::<Int32Type>(), &expected);
        let months = run(&to("month"), LeafType::Date, days()).unwrap();
        assert_eq!(texts(&months), [Some("1970-01"), Some("1969-12"), None, Some("2022-01")]);
        for outside in [i32::MAX, i32::MIN, -719_163, 2_932_897] {
            let found = run(&to("year"), LeafType::Date, Date32Array::from(vec![outside]));
            assert!(matches!(found, Err(TransformFault::OutOfRange)), "{outside}");
        }
        let edge = Date32Array::from(vec![-719_162, 2_932_896]);
        let edge = run(&to("year"), LeafType::Date, edge).unwrap();
        assert_eq!(edge.as_primitive::<Int32Type>().values().to_vec(), [1, 9999]);
    }

    #[test]
    fn instants_round_towards_the_past_in_every_unit() {
        // 1969-12-31T23:59:59.999… and 2025-10-09T08:53:20.123.
        let hour = 1_759_996_800_000_000;
        let expected = [Some(-MICROS_PER_HOUR), Some(hour), None];
        let units: [(LeafType, ArrayRef); 4] = [
            (
                LeafType::Timestamp,
                Arc::new(TimestampMillisecondArray::from(vec![
                    Some(-1),
                    Some(1_760_000_000_123),
                    None,
                ])),
            ),
            (
                LeafType::MicroTimestamp,
                Arc::new(TimestampMicrosecondArray::from(vec![
                    Some(-1),
                    Some(1_760_000_000_123_456),
                    None,
                ])),
            ),
            (
                LeafType::NanoTimestamp,
                Arc::new(TimestampNanosecondArray::from(vec![
                    Some(-1),
                    Some(1_760_000_000_123_456_789),
                    None,
                ])),
            ),
            (
                LeafType::ZonedTimestamp,
                Arc::new(StringArray::from(vec![
                    Some("1970-01-01T01:59:59.999999999+02:00"),
                    Some("2025-10-09T08:53:20.123Z"),
                    None,
                ])),
            ),
        ];
        for (leaf_type, column) in units {
            let built = to("hour").build(&leaf(leaf_type)).unwrap();
            let out = built.apply(&column).unwrap();
            let found: Vec<_> = out.as_primitive::<TimestampMicrosecondType>().iter().collect();
            assert_eq!(found, expected, "{leaf_type}");
            let days = to("day").build(&leaf(leaf_type)).unwrap().apply(&column).unwrap();
            let found: Vec<_> = days.as_primitive::<Date32Type>().iter().collect();
            assert_eq!(found, [Some(-1), Some(20_370), None], "{leaf_type}");
        }
    }

    #[test]
    fn cells_bad_instant_bad_number() {
        for infinite in [i64::MAX, i64::MIN, i64::MAX / 1_000 + 1] {
            let ms = TimestampMillisecondArray::from(vec![infinite]);
            let found = run(&to("hour"), LeafType::Timestamp, ms);
            assert!(matches!(found, Err(TransformFault::OutOfRange)));
        }
        for infinite in [i64::MAX, i64::MIN] {
            let us = TimestampMicrosecondArray::from(vec![infinite]);
            let found = run(&to("hour"), LeafType::MicroTimestamp, us);
            assert!(matches!(found, Err(TransformFault::OutOfRange)));
            let ns = TimestampNanosecondArray::from(vec![infinite]);
            let found = run(&to("day"), LeafType::NanoTimestamp, ns);
            assert!(matches!(found, Err(TransformFault::OutOfRange)));
        }
        for (bad, fault) in [
            ("infinity", TransformFault::OutOfRange),
            ("2025-10-09", TransformFault::Unparsable),
            ("soon", TransformFault::Unparsable),
        ] {
            let text = StringArray::from(vec![bad]);
            let found = run(&to("year"), LeafType::ZonedTimestamp, text);
            assert!(matches!(found, Err(f) if f == fault), "{bad}");
        }
        for bad in ["", "1e3", "NaN", "seven"] {
            let text = StringArray::from(vec![bad]);
            let found = run(&bins("[0]"), LeafType::Text, text);
            assert!(matches!(found, Err(TransformFault::Unparsable)), "{bad}");
        }
        let nan = run(&bins("[0]"), LeafType::Float64, Float64Array::from(vec![f64::NAN]));
        assert!(matches!(nan, Err(TransformFault::Unparsable)));
    }

    #[test]
    fn bins_are_closed_below_and_open_above() {
        let config = bins("[0, 100000, 1000000]");
        let declared = config.declare(&leaf(LeafType::Int64)).unwrap();
        let labels = ["(-inf,0)", "[0,100000)", "[100000,1000000)", "[1000000,inf)"];
        assert_eq!(
            declared.produces,
            Produces::Bins { labels: labels.map(str::to_owned).to_vec() }
        );
        let cents = [i64::MIN, -1, 0, 99_999, 100_000, 1_000_000, i64::MAX];
        let expected = [0, 0, 1, 1, 2, 3, 3].map(|at| Some(labels[at]));
        let out = run(&config, LeafType::Int64, Int64Array::from(cents.to_vec())).unwrap();
        assert_eq!(texts(&out), expected);
        let written: Vec<_> = cents.iter().map(ToString::to_string).collect();
        let out = run(&config, LeafType::Text, StringArray::from(written)).unwrap();
        assert_eq!(texts(&out), expected);
    }

    #[test]
    fn bins_of_decimals_and_floats_are_exact() {
        let config = bins("[-0.5, 0.1, 20]");
        let money = LeafType::Decimal { precision: 38, scale: 2 };
        let cells = vec![-51, -50, 9, 10, 1_999, 2_000, i128::MAX / 10];
        let column = Decimal128Array::from(cells).with_precision_and_scale(38, 2).unwrap();
        let labels = ["(-inf,-0.5)", "[-0.5,0.1)", "[0.1,20)", "[20,inf)"];
        let expected = [0, 1, 1, 2, 2, 3, 3].map(|at| Some(labels[at]));
        let out = run(&config, money, column).unwrap();
        assert_eq!(texts(&out), expected);
        let floats = Float64Array::from(vec![-0.6, -0.5, 0.0999, 0.1, 19.9, 20.0, 1e300]);
        assert_eq!(texts(&run(&config, LeafType::Float64, floats).unwrap()), expected);
    }

    #[test]
    fn prefixes_are_of_characters() {
        let config = parsed(r#"{"columns":["c"],"prefix":2}"#);
        let cells = StringArray::from(vec![Some("10115"), Some("äöü"), Some("1"), Some(""), None]);
        let out = run(&config, LeafType::Text, cells).unwrap();
        assert_eq!(texts(&out), [Some("10"), Some("äö"), Some("1"), Some(""), None]);
    }

    #[test]
    fn stages_bad_step_bad_edges_bad_type() {
        let text = leaf(LeafType::Text);
        let refused = |json: &str| parsed(json).declare(&text).unwrap_err();
        for (json, found) in [
            (r#"{"columns":["c"]}"#, 0),
            (r#"{"columns":["c"],"to":"year","prefix":2}"#, 2),
            (r#"{"columns":["c"],"to":"year","prefix":2,"bins":[1]}"#, 3),
        ] {
            let expected = "`to`, `bins` and `prefix`";
            assert_eq!(
                refused(json),
                StageFault::ExactlyOne { verb: "generalize", expected, found }
            );
        }
        for edges in ["[]", "[1,1]", "[2,1]", "[1e300]", "[1,1.0]"] {
            let json = format!(r#"{{"columns":["c"],"bins":{edges}}}"#);
            assert!(matches!(refused(&json), StageFault::Bins(_)), "{edges}");
        }
        for prefix in [0, 9] {
            let json = format!(r#"{{"columns":["c"],"prefix":{prefix}}}"#);
            assert!(matches!(refused(&json), StageFault::Prefix { .. }));
        }
        for (granularity, leaf_type) in [
            ("day", LeafType::Date),
            ("hour", LeafType::Date),
            ("year", LeafType::Text),
            ("hour", LeafType::Time),
        ] {
            let found = to(granularity).declare(&leaf(leaf_type));
            assert!(matches!(found, Err(StageFault::Granularity { .. })), "{granularity}");
        }
        assert!(bins("[1]").declare(&leaf(LeafType::Boolean)).is_err());
    }

    proptest! {
        #[test]
        fn integers_and_their_text_share_a_bin(value: i64, edges in prop::collection::btree_set(any::<i64>(), 1..9)) {
            let edges = serde_json::to_string(&edges).unwrap();
            let config = bins(&edges);
            let number = run(&config, LeafType::Int64, Int64Array::from(vec![value])).unwrap();
            let text = StringArray::from(vec![value.to_string()]);
            let text = run(&config, LeafType::Text, text).unwrap();
            prop_assert_eq!(texts(&number), texts(&text));
        }

        /// The calendar agrees with crate `jiff`.
        #[test]
        fn calendar(day in -719_162_i64..=2_932_896) {
            let second = day * 86_400;
            let date = jiff::Timestamp::from_second(second).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            prop_assert_eq!(civil(day), (i32::from(date.year()), i32::from(date.month())));
        }
    }
}
