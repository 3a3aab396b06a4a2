//! Expressions over a batch's columns. A row's result, and whether it fails, depends on that row
//! alone: nothing is skipped because of what its neighbours are.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Datum, Decimal128Array, Float64Array, Int64Array,
    PrimitiveArray, StringArray, UInt32Array, new_empty_array, new_null_array,
};
use arrow::compute::kernels::{boolean, cmp, numeric};
use arrow::compute::{DatePart, cast, date_part, interleave, take};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow::error::ArrowError;
use douane_schemas::canonical;

use super::bind::{Kind, Ty, Typed};
use super::functions::TEXT_BYTES_MAX;
use super::parse::{Field, Operator};
use crate::fault::TransformFault;

/// Why a batch has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalFault {
    /// A cell's fault: its row is refused.
    #[error(transparent)]
    Cell(#[from] TransformFault),
    /// Not a cell's fault: nothing of the batch crosses.
    #[error("an expression cannot be evaluated; this is a fault of the program")]
    Broken,
}

fn of_arrow(error: ArrowError) -> EvalFault {
    match error {
        ArrowError::ArithmeticOverflow(_) => TransformFault::OutOfRange.into(),
        ArrowError::DivideByZero => TransformFault::DivisionByZero.into(),
        _ => EvalFault::Broken,
    }
}

pub(super) fn evaluate(
    typed: &Typed,
    columns: &[ArrayRef],
    rows: usize,
) -> Result<ArrayRef, EvalFault> {
    let leaf_type = typed.ty.leaf_type().ok_or(EvalFault::Broken)?;
    if rows == 0 {
        return Ok(new_empty_array(&leaf_type.arrow()));
    }
    let array = Rows { columns, pick: None, rows, held: Vec::new() }.array(typed)?;
    if *array.data_type() != leaf_type.arrow() || array.len() != rows {
        return Err(EvalFault::Broken);
    }
    Ok(array)
}

/// The rows that an expression is evaluated for.
struct Rows<'a> {
    columns: &'a [ArrayRef],
    /// `None`: all.
    pick: Option<UInt32Array>,
    rows: usize,
    /// Values of [`Kind::Once`] by number, one for each of these rows.
    held: Vec<(usize, ArrayRef)>,
}

/// A column, or one value for all rows.
enum Value {
    Array(ArrayRef),
    One(ArrayRef),
}

impl Datum for Value {
    fn get(&self) -> (&dyn Array, bool) {
        match self {
            Self::Array(array) => (array.as_ref(), false),
            Self::One(array) => (array.as_ref(), true),
        }
    }
}

impl Rows<'_> {
    fn array(&self, typed: &Typed) -> Result<ArrayRef, EvalFault> {
        Ok(match self.value(typed)? {
            Value::Array(array) => array,
            Value::One(array) => {
                let zeros = UInt32Array::from_value(0, self.rows);
                take(&array, &zeros, None).map_err(of_arrow)?
            }
        })
    }

    fn boolean(&self, typed: &Typed) -> Result<BooleanArray, EvalFault> {
        let array = self.array(typed)?;
        array.as_boolean_opt().cloned().ok_or(EvalFault::Broken)
    }

    fn value(&self, typed: &Typed) -> Result<Value, EvalFault> {
        let one = |array: ArrayRef| Ok(Value::One(array));
        let all = |array: ArrayRef| Ok(Value::Array(array));
        match &typed.kind {
            Kind::Column(at) => {
                let array = self.columns.get(*at).ok_or(EvalFault::Broken)?;
                let array = match &self.pick {
                    Some(pick) => take(array, pick, None).map_err(of_arrow)?,
                    None => Arc::clone(array),
                };
                all(widened(&array, &typed.ty)?)
            }
            Kind::Null => {
                let leaf_type = typed.ty.leaf_type();
                one(new_null_array(&leaf_type.map_or(DataType::Boolean, |t| t.arrow()), 1))
            }
            Kind::Boolean(value) => one(Arc::new(BooleanArray::from(vec![*value]))),
            Kind::Integer(value) => one(Arc::new(Int64Array::from(vec![*value]))),
            Kind::Text(text) => one(Arc::new(StringArray::from(vec![text.as_str()]))),
            Kind::Decimal(value) => {
                one(decimals(std::iter::once(Some(*value)).collect(), &typed.ty)?)
            }
            Kind::Not(of) => {
                let not = boolean::not(&self.boolean(of)?).map_err(of_arrow)?;
                all(Arc::new(not))
            }
            Kind::Negative(of) => {
                all(checked(numeric::neg(&self.array(of)?).map_err(of_arrow)?, &typed.ty)?)
            }
            Kind::Binary(Operator::And, left, right) => {
                let (left, right) = (self.boolean(left)?, self.boolean(right)?);
                all(Arc::new(boolean::and_kleene(&left, &right).map_err(of_arrow)?))
            }
            Kind::Binary(Operator::Or, left, right) => {
                let (left, right) = (self.boolean(left)?, self.boolean(right)?);
                all(Arc::new(boolean::or_kleene(&left, &right).map_err(of_arrow)?))
            }
            Kind::Binary(Operator::Concat, left, right) => {
                all(concat(&self.array(left)?, &self.array(right)?)?)
            }
            Kind::Binary(operator, left, right) => self.binary(*operator, &typed.ty, left, right),
            Kind::Distinct(left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                let single = matches!((&left, &right), (Value::One(_), Value::One(_)));
                let out: ArrayRef = Arc::new(cmp::distinct(&left, &right).map_err(of_arrow)?);
                if single { one(out) } else { all(out) }
            }
            Kind::IsNull(of) => {
                all(Arc::new(boolean::is_null(&self.array(of)?).map_err(of_arrow)?))
            }
            Kind::Is(of, truth) => {
                let of = self.boolean(of)?;
                let out = of.iter().map(|value| Some(value == Some(*truth)));
                all(Arc::new(out.collect::<BooleanArray>()))
            }
            Kind::Like(of, pattern) => {
                let of = self.array(of)?;
                let pattern: Vec<char> = pattern.chars().collect();
                let texts = of.as_string_opt::<i32>().ok_or(EvalFault::Broken)?;
                let out = texts.iter().map(|text| text.map(|text| like(text, &pattern)));
                all(Arc::new(out.collect::<BooleanArray>()))
            }
            Kind::In(of, list) => {
                let of = Value::Array(self.array(of)?);
                let mut any = BooleanArray::from(vec![false; self.rows]);
                for one in list {
                    let equal = cmp::eq(&of, &self.value(one)?).map_err(of_arrow)?;
                    any = boolean::or_kleene(&any, &equal).map_err(of_arrow)?;
                }
                all(Arc::new(any))
            }
            Kind::Case(whens, rest) => all(self.case(&typed.ty, whens, rest.as_deref())?),
            Kind::Coalesce(list) => all(self.coalesce(&typed.ty, list)?),
            Kind::Once { number, value, body } => {
                let mut held = self.held.clone();
                held.push((*number, self.array(value)?));
                Rows { columns: self.columns, pick: self.pick.clone(), rows: self.rows, held }
                    .value(body)
            }
            Kind::Again(number) => {
                let held = self.held.iter().find(|(held, _)| held == number);
                all(Arc::clone(&held.ok_or(EvalFault::Broken)?.1))
            }
            Kind::Cast(of) => all(converted(&self.array(of)?, &of.ty, &typed.ty)?),
            Kind::Extract(field, of) => {
                let of = self.array(of)?;
                if of.null_count() == of.len() {
                    return all(new_null_array(&DataType::Int64, self.rows));
                }
                let parts = date_part(&of, part(*field)).map_err(of_arrow)?;
                all(cast(&parts, &DataType::Int64).map_err(of_arrow)?)
            }
            Kind::Call(function, args) => {
                let args: Vec<ArrayRef> =
                    args.iter().map(|arg| self.array(arg)).collect::<Result<_, _>>()?;
                all(function.apply(&args, self.rows)?)
            }
        }
    }

    fn binary(
        &self,
        operator: Operator,
        ty: &Ty,
        left: &Typed,
        right: &Typed,
    ) -> Result<Value, EvalFault> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        let single = matches!((&left, &right), (Value::One(_), Value::One(_)));
        let truth = |found: Result<BooleanArray, ArrowError>| -> Result<ArrayRef, EvalFault> {
            Ok(Arc::new(found.map_err(of_arrow)?))
        };
        let number = |found: Result<ArrayRef, ArrowError>| checked(found.map_err(of_arrow)?, ty);
        if *ty == Ty::Float && operator == Operator::Divide {
            no_zero(&right)?;
        }
        let out = match operator {
            Operator::Add => number(numeric::add(&left, &right)),
            Operator::Subtract => number(numeric::sub(&left, &right)),
            Operator::Multiply => number(numeric::mul(&left, &right)),
            Operator::Divide => number(numeric::div(&left, &right)),
            Operator::Remainder => number(numeric::rem(&left, &right)),
            Operator::Equal => truth(cmp::eq(&left, &right)),
            Operator::NotEqual => truth(cmp::neq(&left, &right)),
            Operator::Less => truth(cmp::lt(&left, &right)),
            Operator::LessEqual => truth(cmp::lt_eq(&left, &right)),
            Operator::Greater => truth(cmp::gt(&left, &right)),
            Operator::GreaterEqual => truth(cmp::gt_eq(&left, &right)),
            Operator::And | Operator::Or | Operator::Concat => Err(EvalFault::Broken),
        }?;
        Ok(if single { Value::One(out) } else { Value::Array(out) })
    }

    /// Each branch for the rows that reach it, and for no other.
    fn case(
        &self,
        ty: &Ty,
        whens: &[(Typed, Typed)],
        rest: Option<&Typed>,
    ) -> Result<ArrayRef, EvalFault> {
        let data_type = ty.leaf_type().map_or(DataType::Boolean, |t| t.arrow());
        let mut parts: Vec<ArrayRef> = vec![new_null_array(&data_type, 1)];
        let mut places = vec![(0, 0); self.rows];
        let mut open: Vec<usize> = (0..self.rows).collect();
        for (when, then) in whens {
            if open.is_empty() {
                break;
            }
            let found = self.only(&open)?.boolean(when)?;
            let holds = |n: usize| found.is_valid(n) && found.value(n);
            let hit: Vec<usize> = (0..open.len()).filter(|n| holds(*n)).map(|n| open[n]).collect();
            open = (0..open.len()).filter(|n| !holds(*n)).map(|n| open[n]).collect();
            self.fill(then, &hit, &mut parts, &mut places)?;
        }
        if let Some(rest) = rest {
            self.fill(rest, &open, &mut parts, &mut places)?;
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        interleave(&parts, &places).map_err(of_arrow)
    }

    /// Each of the list for the rows that were null so far, and for no other.
    fn coalesce(&self, ty: &Ty, list: &[Typed]) -> Result<ArrayRef, EvalFault> {
        let data_type = ty.leaf_type().map_or(DataType::Boolean, |t| t.arrow());
        let mut parts: Vec<ArrayRef> = vec![new_null_array(&data_type, 1)];
        let mut places = vec![(0, 0); self.rows];
        let mut open: Vec<usize> = (0..self.rows).collect();
        for one in list.iter().filter(|one| one.ty != Ty::Null) {
            if open.is_empty() {
                break;
            }
            let found = self.only(&open)?.array(one)?;
            for (n, row) in open.iter().enumerate().filter(|(n, _)| found.is_valid(*n)) {
                places[*row] = (parts.len(), n);
            }
            let mut n = 0..;
            open.retain(|_| n.next().is_some_and(|n| found.is_null(n)));
            parts.push(found);
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        interleave(&parts, &places).map_err(of_arrow)
    }

    fn fill(
        &self,
        typed: &Typed,
        rows: &[usize],
        parts: &mut Vec<ArrayRef>,
        places: &mut [(usize, usize)],
    ) -> Result<(), EvalFault> {
        if rows.is_empty() || typed.ty == Ty::Null {
            return Ok(());
        }
        parts.push(self.only(rows)?.array(typed)?);
        for (n, row) in rows.iter().enumerate() {
            places[*row] = (parts.len() - 1, n);
        }
        Ok(())
    }

    /// Some of these rows.
    fn only(&self, rows: &[usize]) -> Result<Rows<'_>, EvalFault> {
        let mut pick = Vec::with_capacity(rows.len());
        for row in rows {
            pick.push(match &self.pick {
                Some(before) => before.value(*row),
                None => u32::try_from(*row).map_err(|_| EvalFault::Broken)?,
            });
        }
        let mut held = self.held.clone();
        if !held.is_empty() {
            let local = rows.iter().map(|row| u32::try_from(*row).map_err(|_| EvalFault::Broken));
            let local = UInt32Array::from(local.collect::<Result<Vec<_>, _>>()?);
            for (_, array) in &mut held {
                *array = take(array, &local, None).map_err(of_arrow)?;
            }
        }
        Ok(Rows { columns: self.columns, pick: Some(pick.into()), rows: rows.len(), held })
    }
}

/// A stored column as it is computed with. Floats lose the sign of zero and the kinds of NaN, so
/// that comparing is the same everywhere.
fn widened(array: &ArrayRef, ty: &Ty) -> Result<ArrayRef, EvalFault> {
    let same = |data_type: &DataType| cast(array, data_type).map_err(of_arrow);
    let plain = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
    Ok(match (ty, array.data_type()) {
        (Ty::Integer, _) => same(&DataType::Int64)?,
        (Ty::Float, DataType::Float32) => {
            let array = array.as_primitive::<Float32Type>();
            let out: Float64Array = array.unary(|value| plain(f64::from(value)));
            Arc::new(out)
        }
        (Ty::Float, _) => {
            let array = array.as_primitive_opt::<Float64Type>().ok_or(EvalFault::Broken)?;
            let out: Float64Array = array.unary(plain);
            Arc::new(out)
        }
        (Ty::Timestamp, DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, _)) => {
            let array = array.as_primitive::<TimestampMillisecondType>();
            let out: PrimitiveArray<TimestampMicrosecondType> =
                array.try_unary(|ms| ms.checked_mul(1_000).ok_or(TransformFault::OutOfRange))?;
            Arc::new(out)
        }
        _ => Arc::clone(array),
    })
}

/// A number that left its range, or a float that is none any more, is the cell's fault.
fn checked(array: ArrayRef, ty: &Ty) -> Result<ArrayRef, EvalFault> {
    match ty {
        Ty::Float => {
            let floats = array.as_primitive_opt::<Float64Type>().ok_or(EvalFault::Broken)?;
            if floats.iter().flatten().any(|value| !value.is_finite()) {
                return Err(TransformFault::OutOfRange.into());
            }
            let out: Float64Array = floats.unary(|value| value + 0.0);
            Ok(Arc::new(out))
        }
        Ty::Decimal(..) => {
            let values = array.as_primitive_opt::<Decimal128Type>().ok_or(EvalFault::Broken)?;
            decimals(values.iter().collect(), ty)
        }
        _ => Ok(array),
    }
}

fn decimals(values: Decimal128Array, ty: &Ty) -> Result<ArrayRef, EvalFault> {
    let Ty::Decimal(precision, scale) = ty else { return Err(EvalFault::Broken) };
    let out = values.with_precision_and_scale(*precision, *scale).map_err(|_| EvalFault::Broken)?;
    out.validate_decimal_precision(*precision).map_err(|_| TransformFault::OutOfRange)?;
    Ok(Arc::new(out))
}

fn no_zero(value: &Value) -> Result<(), EvalFault> {
    let (Value::Array(array) | Value::One(array)) = value;
    let floats = array.as_primitive_opt::<Float64Type>().ok_or(EvalFault::Broken)?;
    match floats.iter().flatten().any(|value| value == 0.0) {
        true => Err(TransformFault::DivisionByZero.into()),
        false => Ok(()),
    }
}

fn concat(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef, EvalFault> {
    let (Some(left), Some(right)) = (left.as_string_opt::<i32>(), right.as_string_opt::<i32>())
    else {
        return Err(EvalFault::Broken);
    };
    let joined = left.iter().zip(right).map(|pair| match pair {
        (Some(a), Some(b)) if a.len() + b.len() > TEXT_BYTES_MAX => Err(TransformFault::TooLong),
        (Some(a), Some(b)) => Ok(Some(format!("{a}{b}"))),
        _ => Ok(None),
    });
    Ok(Arc::new(joined.collect::<Result<StringArray, _>>()?))
}

/// `%` is any stretch, `_` one character, `\` takes the next as it is.
fn like(text: &str, pattern: &[char]) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut t, mut p) = (0, 0);
    // Where the last `%` stood, and how far the text had come.
    let mut back: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some('%') => {
                back = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('_') if t < text.len() => Some(1),
            Some('\\') if p + 1 < pattern.len() => {
                (text.get(t) == Some(&pattern[p + 1])).then_some(2)
            }
            Some('_') => None,
            Some(c) => (text.get(t) == Some(c)).then_some(1),
            None if t == text.len() => return true,
            None => None,
        };
        match (step, &mut back) {
            (Some(step), _) => {
                p += step;
                t += 1;
            }
            (None, Some((after, from))) if *from < text.len() => {
                *from += 1;
                (p, t) = (*after, *from);
            }
            _ => return false,
        }
    }
}

fn part(field: Field) -> DatePart {
    match field {
        Field::Year => DatePart::Year,
        Field::Quarter => DatePart::Quarter,
        Field::Month => DatePart::Month,
        Field::Day => DatePart::Day,
        Field::Hour => DatePart::Hour,
        Field::Minute => DatePart::Minute,
        Field::Dow => DatePart::DayOfWeekSunday0,
        Field::Doy => DatePart::DayOfYear,
    }
}

/// Every conversion goes through the canonical text: what a reader of JSON would see.
fn converted(array: &ArrayRef, from: &Ty, to: &Ty) -> Result<ArrayRef, EvalFault> {
    if from == to {
        return Ok(Arc::clone(array));
    }
    let mut text = String::new();
    let mut texts: Vec<Option<String>> = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.push(None);
            continue;
        }
        text.clear();
        canonical::write(array, row, &mut text).map_err(|_| TransformFault::OutOfRange)?;
        texts.push(Some(text.clone()));
    }
    fn each<T>(
        texts: &[Option<String>],
        read: impl Fn(&str) -> Option<T>,
    ) -> impl Iterator<Item = Result<Option<T>, TransformFault>> {
        texts.iter().map(move |text| {
            text.as_deref().map(|text| read(text).ok_or(TransformFault::Unparsable)).transpose()
        })
    }
    Ok(match to {
        Ty::Text => Arc::new(StringArray::from(texts)),
        Ty::Integer => {
            let read = |text: &str| text.parse::<i64>().ok();
            let out: PrimitiveArray<Int64Type> = each(&texts, read).collect::<Result<_, _>>()?;
            Arc::new(out)
        }
        Ty::Float => {
            let out: Float64Array = each(&texts, float).collect::<Result<_, _>>()?;
            Arc::new(out)
        }
        Ty::Date => {
            let out: PrimitiveArray<Date32Type> = each(&texts, |text| {
                // A timestamp begins with its date.
                let day =
                    if *from == Ty::Timestamp { text.get(..10).unwrap_or(text) } else { text };
                date(day)
            })
            .collect::<Result<_, _>>()?;
            Arc::new(out)
        }
        Ty::Decimal(precision, scale) => {
            let read = |text: &str| decimal(text, *precision, *scale);
            let out: Decimal128Array = each(&texts, read).collect::<Result<_, _>>()?;
            decimals(out, to)?
        }
        _ => return Err(EvalFault::Broken),
    })
}

/// Finite, and written with digits.
fn float(text: &str) -> Option<f64> {
    let plain = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
    let value = text.bytes().all(plain).then(|| text.parse::<f64>().ok()).flatten()?;
    value.is_finite().then_some(value + 0.0)
}

/// `YYYY-MM-DD` as days since the epoch.
pub(super) fn date(text: &str) -> Option<i32> {
    let form = text.len() == 10
        && text.bytes().enumerate().all(|(n, b)| match n {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    let date: jiff::civil::Date = form.then(|| text.parse().ok()).flatten()?;
    let epoch = jiff::civil::date(1970, 1, 1);
    date.since(epoch).ok().map(|span| span.get_days())
}

/// Digits with at most `scale` of them after the point, zeros aside.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part = part.trim_end_matches('0');
    let scale = usize::try_from(scale).ok()?;
    let whole = whole.trim_start_matches('0');
    let fits = part.len() <= scale && whole.len() + scale <= usize::from(precision);
    let numeral = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.bytes().any(|b| b.is_ascii_digit());
    if !fits || !numeral {
        return None;
    }
    let all = format!("{whole}{part}{}", "0".repeat(scale - part.len()));
    let value = if all.is_empty() { 0 } else { all.parse::<i128>().ok()? };
    Some(if negative { -value } else { value })
}
