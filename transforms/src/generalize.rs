//! `generalize`: coarser values. Years, quarters, months, weeks, days and hours are of UTC.

use std::sync::Arc;

use douane_schemas::leaf::{Leaf, LeafType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::column::Protect;
use crate::fault::StageFault;
use crate::on_bad::OnBad;
use crate::stage::{Declaration, Declared, Guarantees, Produces};

mod bins;
mod calendar;
mod coded;
mod places;

pub use bins::EDGES_MAX;
pub use coded::Clamp;
pub use places::{Map, NAME_BYTES_MAX, PLACES_MAX, PREFIX_CHARS_MAX};

use bins::Edges;
use calendar::{Bands, Civil, Cut, Unit};
use coded::Coded;
use places::{Prefix, Regions};

/// What `generalize` is.
pub const DECLARATION: Declaration = Declaration {
    verb: "generalize",
    summary: "coarser values: units of the calendar, age bands, bins, rounding, top and bottom \
              codes, a prefix of text, regions of a file",
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

/// `generalize: { columns: [birth_date], to: year }`: one of `to`, `bins`, `round` and `clamp`,
/// `prefix` and `map`.
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
    /// Beside `to: age`: the day until which years are counted, `2026-01-01`. Never today: the same
    /// record would become another one tomorrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// Rising edges: each value becomes the label of its bin, `(-inf,0)`, `[0,100000)`,
    /// `[100000,inf)`. Beside `to: age` the edges of its bands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub bins: Option<Vec<serde_json::Number>>,
    /// Numbers are rounded to multiples of this; of two that are equally near to the even one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<serde_json::Number>,
    /// Numbers outside become the bound. Alone it leaves what lies between as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamp: Option<Clamp>,
    /// Characters of text that stay; a shorter value stays whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub prefix: Option<u32>,
    /// Beside `prefix`: stands for each character that does not stay, ASCII punctuation. Without it
    /// they are cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<char>,
    /// Each value becomes its region, by a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<Map>,
    /// What becomes of a cell that is no such value, or lies outside what can be said.
    #[serde(default, skip_serializing_if = "OnBad::is_refuse")]
    pub on_bad: OnBad,
}

/// What dates and timestamps are cut to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// The first year of ten: an integer, 1990.
    Decade,
    /// An integer, 1 to 9999.
    Year,
    /// `YYYY-Q1` to `YYYY-Q4`.
    Quarter,
    /// `YYYY-MM`.
    Month,
    /// `YYYY-W01` to `YYYY-W53`, of ISO 8601.
    Week,
    /// A date.
    Day,
    /// Microseconds since the epoch.
    Hour,
    /// Whole years lived until `as_of`, in bands between `bins`: `[18,30)`.
    Age,
}

impl Granularity {
    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decade => "decade",
            Self::Year => "year",
            Self::Quarter => "quarter",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Age => "age",
        }
    }

    fn check(self, found: LeafType) -> Result<(), StageFault> {
        use LeafType as T;
        let instant = matches!(
            found,
            T::Timestamp | T::MicroTimestamp | T::NanoTimestamp | T::ZonedTimestamp
        );
        // Cutting a date to its day would keep everything.
        let date = found == T::Date && !matches!(self, Self::Day | Self::Hour);
        if instant || date {
            return Ok(());
        }
        Err(StageFault::Granularity { to: self.name(), found })
    }
}

/// What a valid config asks for.
enum Step {
    To(Granularity, Unit),
    Bins(Edges),
    Coded(Coded),
    Prefix(Prefix),
    Map(Map),
}

impl Config {
    /// What comes out for a leaf.
    ///
    /// # Errors
    /// Not exactly one step, or beside it what belongs to another; edges that do not rise; a type
    /// that does not fit.
    pub fn declare(&self, leaf: &Leaf) -> Result<Declared, StageFault> {
        use LeafType as T;
        let verb = DECLARATION.verb;
        let found = leaf.leaf_type;
        let (output, produces, may_fail) = match self.step(leaf)? {
            Step::To(to, unit) => {
                to.check(found)?;
                let (output, produces) = match unit {
                    Unit::Decade => (T::Int32, Produces::Decade),
                    Unit::Year => (T::Int32, Produces::Year),
                    Unit::Quarter => (T::Text, Produces::Quarter),
                    Unit::Month => (T::Text, Produces::Month),
                    Unit::Week => (T::Text, Produces::Week),
                    Unit::Day => (T::Date, Produces::Day),
                    Unit::Hour => (T::MicroTimestamp, Produces::Hour),
                    Unit::Age { bands, .. } => {
                        let as_of = self.as_of.clone().unwrap_or_default();
                        (T::Text, Produces::Age { as_of, labels: bands.labels })
                    }
                };
                (output, produces, true)
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
            Step::Coded(coded) => (coded.output(), coded.produces(), coded.may_fail()),
            Step::Prefix(Prefix { fill, .. }) => {
                if found != T::Text {
                    return Err(StageFault::LeafType { verb, found, expected: "text" });
                }
                let length = self.prefix.unwrap_or_default();
                (T::Text, Produces::Prefix { length, fill }, false)
            }
            Step::Map(map) => {
                if !matches!(found, T::Text | T::Enum | T::Int16 | T::Int32 | T::Int64) {
                    let expected = "text, enum, int16, int32 or int64";
                    return Err(StageFault::LeafType { verb, found, expected });
                }
                (T::Text, Produces::Region { regions: (*map.regions).clone() }, true)
            }
        };
        Ok(Declared { output, produces, may_fail, keys: Vec::new() })
    }

    fn step(&self, leaf: &Leaf) -> Result<Step, StageFault> {
        let numbers = self.round.is_some() || self.clamp.is_some();
        let bins = self.bins.is_some() && self.to != Some(Granularity::Age);
        let found = [self.to.is_some(), bins, numbers, self.prefix.is_some(), self.map.is_some()];
        let found = found.into_iter().filter(|given| *given).count();
        if found != 1 {
            return Err(StageFault::ExactlyOne { verb: DECLARATION.verb, expected: STEPS, found });
        }
        if self.as_of.is_some() && self.to != Some(Granularity::Age) {
            return Err(StageFault::Beside { key: "as_of", other: "to: age" });
        }
        if self.fill.is_some() && self.prefix.is_none() {
            return Err(StageFault::Beside { key: "fill", other: "prefix" });
        }
        if let Some(to) = self.to {
            return Ok(Step::To(to, self.unit(to)?));
        }
        if let Some(edges) = &self.bins {
            return Edges::new(edges).map(Step::Bins);
        }
        if let Some(map) = &self.map {
            map.check()?;
            return Ok(Step::Map(map.clone()));
        }
        if let Some(length) = self.prefix {
            if !(1..=PREFIX_CHARS_MAX).contains(&length) {
                return Err(StageFault::Prefix { found: length, most: PREFIX_CHARS_MAX });
            }
            if self.fill.is_some_and(|fill| !fill.is_ascii_punctuation()) {
                return Err(StageFault::Fill);
            }
            return Ok(Step::Prefix(Prefix { length: length as usize, fill: self.fill }));
        }
        Coded::new(self.round.as_ref(), self.clamp.as_ref(), leaf).map(Step::Coded)
    }

    fn unit(&self, to: Granularity) -> Result<Unit, StageFault> {
        Ok(match to {
            Granularity::Decade => Unit::Decade,
            Granularity::Year => Unit::Year,
            Granularity::Quarter => Unit::Quarter,
            Granularity::Month => Unit::Month,
            Granularity::Week => Unit::Week,
            Granularity::Day => Unit::Day,
            Granularity::Hour => Unit::Hour,
            Granularity::Age => {
                let as_of = self.as_of.as_deref().and_then(Civil::parse);
                Unit::Age {
                    as_of: as_of.ok_or(StageFault::AsOf)?,
                    bands: Bands::new(self.bins.as_deref().unwrap_or_default())?,
                }
            }
        })
    }

    /// The compiled step.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn build(&self, leaf: &Leaf) -> Result<Arc<dyn Protect>, StageFault> {
        self.declare(leaf)?;
        let zoned = leaf.leaf_type == LeafType::ZonedTimestamp;
        Ok(match self.step(leaf)? {
            Step::To(_, unit) => Arc::new(Cut { to: unit, zoned }),
            Step::Bins(edges) => Arc::new(edges),
            Step::Coded(coded) => Arc::new(coded),
            Step::Prefix(prefix) => Arc::new(prefix),
            Step::Map(map) => Arc::new(Regions(map.regions)),
        })
    }

    /// What the step keeps of a leaf.
    pub fn guarantees(&self) -> Guarantees {
        let labelled = self.clamp.as_ref().is_some_and(|clamp| clamp.labels);
        Guarantees {
            keeps_length: self.fill.is_some(),
            // A label sorts as text, not as its bin; a fill sorts before and after what it hides.
            keeps_order: match self.to {
                Some(to) => to != Granularity::Age,
                None if self.round.is_some() || self.clamp.is_some() => !labelled,
                None => self.prefix.is_some() && self.fill.is_none(),
            },
            ..DECLARATION.guarantees
        }
    }
}

/// As [`Config`] says.
const STEPS: &str = "`to`, `bins`, `round` and `clamp`, `prefix` and `map`";

#[cfg(test)]
mod tests {
    use arrow::array::{
        Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
        Int64Array, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
        TimestampNanosecondArray,
    };
    use arrow::datatypes::{Date32Type, Int32Type, TimestampMicrosecondType};
    use proptest::prelude::*;

    use super::*;
    use crate::fault::TransformFault;

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
        let expected = [Some(-3_600_000_000), Some(hour), None];
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
            let expected = STEPS;
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
    }

    fn parse_day(text: &str) -> i32 {
        let day: jiff::civil::Date = text.parse().unwrap();
        (day - jiff::civil::date(1970, 1, 1)).get_days()
    }

    fn of_days(config: &str, days: &[&str]) -> Result<ArrayRef, TransformFault> {
        let days: Vec<i32> = days.iter().map(|day| parse_day(day)).collect();
        run(&parsed(config), LeafType::Date, Date32Array::from(days))
    }

    /// Weeks as the examples of ISO 8601 and printed calendars have them.
    #[test]
    fn dates_to_week_quarter_and_decade() {
        let days =
            ["2005-01-01", "2005-01-03", "2007-12-31", "2009-12-31", "2010-01-03", "0001-01-01"];
        let weeks = of_days(r#"{"columns":["c"],"to":"week"}"#, &days).unwrap();
        let expected = ["2004-W53", "2005-W01", "2008-W01", "2009-W53", "2009-W53", "0001-W01"];
        assert_eq!(texts(&weeks), expected.map(Some));
        let days = ["1990-01-31", "1990-03-31", "1990-04-01", "1990-09-30", "1990-12-31"];
        let quarters = of_days(r#"{"columns":["c"],"to":"quarter"}"#, &days).unwrap();
        let expected = ["1990-Q1", "1990-Q1", "1990-Q2", "1990-Q3", "1990-Q4"];
        assert_eq!(texts(&quarters), expected.map(Some));
        let days = ["1989-12-31", "1990-01-01", "1999-12-31", "0009-01-01", "9999-12-31"];
        let decades = of_days(r#"{"columns":["c"],"to":"decade"}"#, &days).unwrap();
        let found = decades.as_primitive::<Int32Type>().values().to_vec();
        assert_eq!(found, [1980, 1990, 1990, 0, 9990]);
    }

    #[test]
    fn dates_to_bands_of_ages() {
        let config = r#"{"columns":["c"],"to":"age","as_of":"2026-03-01","bins":[18,65]}"#;
        let days = ["2008-03-01", "2008-03-02", "1961-03-01", "1961-03-02", "2026-03-01"];
        let bands = of_days(config, &days).unwrap();
        let expected = ["[18,65)", "[0,18)", "[65,inf)", "[18,65)", "[0,18)"];
        assert_eq!(texts(&bands), expected.map(Some));
        // Born on 29 February: a year older on 1 March where there is no 29th.
        let leap = |as_of: &str| {
            let config = config.replace("2026-03-01", as_of);
            let bands = of_days(&config, &["2008-02-29"]).unwrap();
            texts(&bands)[0].unwrap().to_owned()
        };
        assert_eq!(
            (leap("2026-02-28").as_str(), leap("2026-03-01").as_str()),
            ("[0,18)", "[18,65)")
        );
        let to_come = of_days(config, &["2026-03-02"]);
        assert!(matches!(to_come, Err(TransformFault::OutOfRange)));
    }

    fn coded(config: &str, values: &[i64]) -> Result<ArrayRef, TransformFault> {
        run(&parsed(config), LeafType::Int64, Int64Array::from(values.to_vec()))
    }

    #[test]
    fn numbers_are_rounded_half_even_and_clamped() {
        let values = [-250, -150, -50, -49, 50, 149, 150, 250, 99_999];
        let out = coded(r#"{"columns":["c"],"round":100}"#, &values).unwrap();
        let found = out.as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
        assert_eq!(found, [-200, -200, 0, 0, 0, 100, 200, 200, 100_000]);
        let both = r#"{"columns":["c"],"round":100,"clamp":{"low":0,"high":1000}}"#;
        let out = coded(both, &[i64::MIN, -1, 949, 951, i64::MAX]).unwrap();
        let found = out.as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
        assert_eq!(found, [0, 0, 900, 1000, 1000]);
        let labels = r#"{"columns":["c"],"clamp":{"low":-5,"high":90,"labels":true}}"#;
        let out = coded(labels, &[-6, -5, 90, 91]).unwrap();
        assert_eq!(texts(&out), [Some("<-5"), Some("-5"), Some("90"), Some(">90")]);
        for extreme in [i64::MAX, i64::MIN] {
            let out = coded(r#"{"columns":["c"],"round":1000}"#, &[extreme]);
            assert!(matches!(out, Err(TransformFault::OutOfRange)));
        }
    }

    #[test]
    fn decimals_are_rounded_exactly_in_their_type() {
        let leaf_type = LeafType::Decimal { precision: 5, scale: 2 };
        let of = |config: &str, cents: Vec<i128>| {
            let cents = Decimal128Array::from(cents).with_precision_and_scale(5, 2).unwrap();
            run(&parsed(config), leaf_type, cents)
        };
        let out = of(r#"{"columns":["c"],"round":0.1}"#, vec![1985, 1995, -5, -15, 1984]).unwrap();
        let found = out.as_primitive::<arrow::datatypes::Decimal128Type>();
        assert_eq!(found.values().to_vec(), [1980, 2000, 0, -20, 1980]);
        assert_eq!(out.data_type(), &leaf_type.arrow());
        let over = of(r#"{"columns":["c"],"round":10}"#, vec![99_999]);
        assert!(matches!(over, Err(TransformFault::OutOfRange)), "1000.00 has six digits");
        let labels = r#"{"columns":["c"],"clamp":{"low":0.5,"labels":true}}"#;
        let out = of(labels, vec![49, 50, 1980, 2000]).unwrap();
        assert_eq!(texts(&out), [Some("<0.5"), Some("0.5"), Some("19.8"), Some("20")]);
    }

    #[test]
    fn text_is_cut_or_filled() {
        let config = parsed(r#"{"columns":["c"],"prefix":2,"fill":"*"}"#);
        let cells = StringArray::from(vec![Some("10115"), Some("äöü"), Some("1"), Some(""), None]);
        let out = run(&config, LeafType::Text, cells).unwrap();
        assert_eq!(texts(&out), [Some("10***"), Some("äö*"), Some("1"), Some(""), None]);
    }

    fn map(entries: &[(&str, &str)]) -> Config {
        let mut config = parsed(r#"{"columns":["c"],"map":{"file":"regions.csv"}}"#);
        let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        let regions = Arc::new(entries.iter().map(own).collect());
        config.map = Some(Map { file: "regions.csv".into(), regions });
        config
    }

    #[test]
    fn places_become_regions() {
        let config = map(&[("Graz", "Styria"), ("Leoben", "Styria"), ("Wien", "Vienna")]);
        let cells = || StringArray::from(vec![Some("Leoben"), None, Some("Wien")]);
        let out = run(&config, LeafType::Text, cells()).unwrap();
        assert_eq!(texts(&out), [Some("Styria"), None, Some("Vienna")]);
        for unmapped in ["graz", "", "Linz"] {
            let found = run(&config, LeafType::Text, StringArray::from(vec![unmapped]));
            assert!(matches!(found, Err(TransformFault::Unmapped)));
        }
        let text = leaf(LeafType::Text);
        let as_it_is = [("Graz", "Graz"), ("Linz", "x"), ("Leoben", "x")];
        for bad in [&[][..], &[("Graz", "Styria")], &[("Graz", "x"), ("Wien", "")], &as_it_is] {
            assert!(matches!(map(bad).declare(&text), Err(StageFault::Regions(_))));
        }
        // A city may lend its name to its region, where another place is in it.
        let shared = [("Graz", "Graz"), ("Leoben", "Graz"), ("Wien", "Vienna")];
        assert!(map(&shared).declare(&text).is_ok());
    }

    #[test]
    fn stages_bad_numbers_bad_beside_bad_ages() {
        let number = leaf(LeafType::Int64);
        let refused = |json: &str, leaf: &Leaf| parsed(json).declare(leaf).unwrap_err();
        for json in [
            r#"{"columns":["c"],"round":1}"#,
            r#"{"columns":["c"],"round":0}"#,
            r#"{"columns":["c"],"round":-5}"#,
            r#"{"columns":["c"],"round":2.5}"#,
            r#"{"columns":["c"],"clamp":{}}"#,
            r#"{"columns":["c"],"clamp":{"labels":true}}"#,
            r#"{"columns":["c"],"clamp":{"low":5,"high":5}}"#,
            r#"{"columns":["c"],"clamp":{"low":9,"high":5}}"#,
            r#"{"columns":["c"],"clamp":{"low":18446744073709551615}}"#,
            r#"{"columns":["c"],"round":10,"clamp":{"high":15}}"#,
        ] {
            assert!(matches!(refused(json, &number), StageFault::Round(_)), "{json}");
        }
        for leaf_type in [LeafType::Text, LeafType::Float64, LeafType::Date] {
            let found = refused(r#"{"columns":["c"],"round":10}"#, &leaf(leaf_type));
            assert!(matches!(found, StageFault::LeafType { .. }));
        }
        let date = leaf(LeafType::Date);
        for json in [
            r#"{"columns":["c"],"to":"year","as_of":"2026-01-01"}"#,
            r#"{"columns":["c"],"to":"year","fill":"*"}"#,
        ] {
            assert!(matches!(refused(json, &date), StageFault::Beside { .. }), "{json}");
        }
        for as_of in ["", "today", "2026-02-30", "2026-1-1", "20260101"] {
            let json = format!(r#"{{"columns":["c"],"to":"age","as_of":"{as_of}","bins":[18]}}"#);
            assert_eq!(refused(&json, &date), StageFault::AsOf, "{as_of}");
        }
        for bins in ["[]", "[0]", "[18,18]", "[65,18]", "[151]", "[1.5]"] {
            let json =
                format!(r#"{{"columns":["c"],"to":"age","as_of":"2026-01-01","bins":{bins}}}"#);
            assert!(matches!(refused(&json, &date), StageFault::Bins(_)), "{bins}");
        }
        let fill = r#"{"columns":["c"],"prefix":2,"fill":"0"}"#;
        assert_eq!(refused(fill, &leaf(LeafType::Text)), StageFault::Fill);
    }
}
