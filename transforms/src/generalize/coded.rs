//! Numbers rounded, and coded at top and bottom. Exact: whole numbers of the type's own unit, no
//! floating point.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Int64Array, PrimitiveArray, StringBuilder,
};
use arrow::datatypes::{DataType, Decimal128Type, Int16Type, Int32Type, Int64Type};
use douane_schemas::leaf::{Leaf, LeafType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::column::Protect;
use crate::fault::{StageFault, TransformFault};
use crate::number::Number;
use crate::stage::Produces;

/// `clamp: { low: 0, high: 200000 }`: what lies outside becomes the bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Clamp")]
#[serde(deny_unknown_fields)]
pub struct Clamp {
    /// Lower values become this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<serde_json::Number>,
    /// Higher values become this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<serde_json::Number>,
    /// The column is text, and says `<0` and `>200000` for what lies outside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub labels: bool,
}

/// Rounding and bounds in the unit of a leaf's type: `19.80` of two digits is 1980.
pub(super) struct Coded {
    round: Option<i128>,
    low: Option<i128>,
    high: Option<i128>,
    labels: bool,
    /// Digits after the point.
    scale: u32,
    /// Of the leaf; None: whole numbers.
    precision: Option<u8>,
    texts: Texts,
}

/// The numbers as they stand in the release.
struct Texts {
    round: Option<String>,
    low: Option<String>,
    high: Option<String>,
}

impl Coded {
    /// # Errors
    /// A leaf that is no exact number, a unit that leaves its values as they are, bounds that do
    /// not rise or do not lie on the unit.
    pub(super) fn new(
        round: Option<&serde_json::Number>,
        clamp: Option<&Clamp>,
        leaf: &Leaf,
    ) -> Result<Self, StageFault> {
        let (precision, scale) = match leaf.leaf_type {
            LeafType::Int16 | LeafType::Int32 | LeafType::Int64 => (None, 0),
            LeafType::Decimal { precision, scale }
                if precision <= PRECISION_MAX && scale >= 0 && scale as u8 <= precision =>
            {
                (Some(precision), scale as u32)
            }
            found => {
                let expected = "an integer, or a decimal of at most 38 digits: others have no \
                    exact unit";
                return Err(StageFault::LeafType {
                    verb: super::DECLARATION.verb,
                    found,
                    expected,
                });
            }
        };
        let read = |number: Option<&serde_json::Number>| {
            number.map(|number| scaled(&number.to_string(), scale)).transpose()
        };
        let low = read(clamp.and_then(|clamp| clamp.low.as_ref()))?;
        let high = read(clamp.and_then(|clamp| clamp.high.as_ref()))?;
        let round = read(round)?;
        if round.is_some_and(|unit| unit < 2) {
            return Err(StageFault::Round(
                "the unit is the type's own or smaller: nothing changes",
            ));
        }
        if clamp.is_some() && low.is_none() && high.is_none() {
            return Err(StageFault::Round("a clamp needs `low`, `high` or both"));
        }
        if let (Some(low), Some(high)) = (low, high)
            && low >= high
        {
            return Err(StageFault::Round("`low` is not below `high`"));
        }
        let unit = round.unwrap_or(1);
        if [low, high].into_iter().flatten().any(|bound| bound % unit != 0) {
            return Err(StageFault::Round("a bound is no multiple of the unit"));
        }
        if [low, high].into_iter().flatten().any(|bound| !holds(precision, bound)) {
            return Err(StageFault::Round("a bound is no value of the leaf's type"));
        }
        let shown = |value: Option<i128>| value.map(|value| shown(value, scale));
        let texts = Texts { round: shown(round), low: shown(low), high: shown(high) };
        let labels = clamp.is_some_and(|clamp| clamp.labels);
        Ok(Self { round, low, high, labels, scale, precision, texts })
    }

    pub(super) fn output(&self) -> LeafType {
        match self.precision {
            _ if self.labels => LeafType::Text,
            None => LeafType::Int64,
            Some(precision) => LeafType::Decimal { precision, scale: self.scale as i8 },
        }
    }

    pub(super) fn produces(&self) -> Produces {
        let Texts { round, low, high } = &self.texts;
        let (round, low, high) = (round.clone(), low.clone(), high.clone());
        Produces::Coded { round, low, high, labels: self.labels }
    }

    /// Rounding can leave what the type can hold, unless both ends are bounds.
    pub(super) fn may_fail(&self) -> bool {
        self.round.is_some() && (self.low.is_none() || self.high.is_none())
    }

    fn within(&self, value: i128) -> Result<Place, TransformFault> {
        if self.low.is_some_and(|low| value < low) {
            return Ok(Place::Below);
        }
        if self.high.is_some_and(|high| value > high) {
            return Ok(Place::Above);
        }
        let rounded = self.round.map_or(Some(value), |unit| half_even(value, unit));
        let rounded = rounded.ok_or(TransformFault::OutOfRange)?;
        match holds(self.precision, rounded) {
            true => Ok(Place::Within(rounded)),
            false => Err(TransformFault::OutOfRange),
        }
    }

    fn value(&self, value: i128) -> Result<i128, TransformFault> {
        Ok(match self.within(value)? {
            Place::Below => self.low.unwrap_or(value),
            Place::Above => self.high.unwrap_or(value),
            Place::Within(value) => value,
        })
    }

    fn label(&self, value: i128) -> Result<String, TransformFault> {
        let bound = |bound: &Option<String>| bound.clone().unwrap_or_default();
        Ok(match self.within(value)? {
            Place::Below => format!("<{}", bound(&self.texts.low)),
            Place::Above => format!(">{}", bound(&self.texts.high)),
            Place::Within(value) => shown(value, self.scale),
        })
    }
}

/// Where a value lies.
enum Place {
    Below,
    Above,
    Within(i128),
}

/// Whether the column's type holds a value: of whole numbers 64 bits.
fn holds(precision: Option<u8>, value: i128) -> bool {
    match precision {
        None => i64::try_from(value).is_ok(),
        Some(precision) => value.unsigned_abs() < 10_u128.pow(u32::from(precision)),
    }
}

/// Most digits of a decimal that is computed with.
const PRECISION_MAX: u8 = 38;

/// The nearest multiple; of two that are equally near the even one.
fn half_even(value: i128, unit: i128) -> Option<i128> {
    let (below, rest) = (value.div_euclid(unit), value.rem_euclid(unit));
    let up = match rest.cmp(&(unit - rest)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => below % 2 != 0,
    };
    (below + i128::from(up)).checked_mul(unit)
}

/// A number of the YAML in units of `scale` digits after the point.
fn scaled(text: &str, scale: u32) -> Result<i128, StageFault> {
    let fault = StageFault::Round("a number has an exponent, or more digits than the leaf's type");
    let mut canonical = String::new();
    let Some(number) = Number::parse(text) else { return Err(fault) };
    number.write(&mut canonical);
    let (whole, fraction) = canonical.split_once('.').unwrap_or((&canonical, ""));
    if fraction.len() > scale as usize {
        return Err(fault);
    }
    let zeros = "0".repeat(scale as usize - fraction.len());
    format!("{whole}{fraction}{zeros}").parse().map_err(|_| fault)
}

/// The one text of a number: no zeros that say nothing.
fn shown(value: i128, scale: u32) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let width = scale as usize + 1;
    let digits = format!("{:0>width$}", value.unsigned_abs());
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

impl Protect for Coded {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let values = values(column)?;
        if self.labels {
            let mut out = StringBuilder::with_capacity(values.len(), values.len() * 8);
            for value in values {
                out.append_option(value.map(|value| self.label(value)).transpose()?);
            }
            return Ok(Arc::new(out.finish()));
        }
        let coded = values.into_iter().map(|value| value.map(|v| self.value(v)).transpose());
        let coded = coded.collect::<Result<Vec<Option<i128>>, _>>()?;
        match self.precision {
            None => {
                // All of them fit: `holds` was asked.
                let whole = coded.into_iter().map(|value| value.map(|v| v as i64));
                Ok(Arc::new(whole.collect::<Int64Array>()))
            }
            Some(precision) => {
                let out: Decimal128Array = coded.into_iter().collect();
                let typed = out.with_precision_and_scale(precision, self.scale as i8);
                Ok(Arc::new(typed.map_err(|_| TransformFault::OutOfRange)?))
            }
        }
    }
}

/// Every row in the type's own unit.
fn values(column: &ArrayRef) -> Result<Vec<Option<i128>>, TransformFault> {
    fn wide<T: arrow::datatypes::ArrowPrimitiveType>(array: &PrimitiveArray<T>) -> Vec<Option<i128>>
    where
        i128: From<T::Native>,
    {
        array.iter().map(|value| value.map(i128::from)).collect()
    }
    Ok(match column.data_type() {
        DataType::Int16 => wide(column.as_primitive::<Int16Type>()),
        DataType::Int32 => wide(column.as_primitive::<Int32Type>()),
        DataType::Int64 => wide(column.as_primitive::<Int64Type>()),
        DataType::Decimal128(_, _) => wide(column.as_primitive::<Decimal128Type>()),
        _ => return Err(TransformFault::Unparsable),
    })
}
