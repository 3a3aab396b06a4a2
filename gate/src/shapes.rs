//! The shape of a column's values, held against the signed release: alphabet, length, range, and
//! wherever the raw value is at hand the value itself, computed once more.
//!
//! BUG: the gate holds no token key, so of tokens it sees form, range, that they are no raw text of
//! their row, and that they agree with each other within it. A well-formed text in a token's place
//! that is none of these passes: a stage that made up tokens, or packed bits into them, would be
//! seen by its proof and by replay only.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::datatypes::{
    DataType, Date32Type, Int32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};
use douane_ledger::release::{Column, OnBad, Shape};
use douane_schemas::canonical;
use douane_schemas::leaf::LeafType;

use crate::derived::DerivedCheck;
use crate::detectors::{self, Detector};
use crate::encode::{integer, leaf_type};
use crate::forms::{Form, Reversible};
use crate::refusal::RefusalReason;
use crate::twins::coarse::{self, Code, Coded};
use crate::twins::fpe::{Fpe, FpeParameters};
use crate::twins::in_place::Pseudonyms;
use crate::twins::{self, Bin};
use crate::{GateFault, GateKeys};

/// A shape of the release, ready to be held against values.
enum Check {
    Token(Form),
    Reversible(Reversible),
    Fpe(Box<Fpe>),
    Mask {
        keep_first: u32,
        keep_last: u32,
        fill: char,
    },
    Constant(String),
    Redacted {
        /// Those that the gate looks for itself: of the release, and as in public text.
        detectors: Vec<Detector>,
        /// What redaction leaves behind, of every detector and dictionary of the release.
        labels: Vec<String>,
        /// Kinds whose finds stand there as a pseudonym.
        in_place: Pseudonyms,
    },
    Year,
    Decade,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Bins(Vec<Bin>),
    Age {
        as_of: i64,
        bins: Vec<Bin>,
    },
    Coded {
        coded: Coded,
        labels: bool,
    },
    Prefix {
        length: usize,
        fill: Option<char>,
    },
    Region(BTreeMap<String, String>),
    Public,
    /// Computed of other columns.
    Derived(DerivedCheck),
    /// Of many rows: the batch is held as a whole.
    Statistic,
}

/// One output column: what it must be, and the leaf it must come from.
pub(crate) struct ColumnCheck {
    pub(crate) name: String,
    /// Name of the raw column: `key.<path>` or `after.<path>`.
    pub(crate) raw: Option<String>,
    /// Arrow type of the output.
    pub(crate) out_type: DataType,
    /// Arrow type of the raw column.
    pub(crate) raw_type: DataType,
    pub(crate) nullable: bool,
    leaf_type: LeafType,
    check: Check,
    on_bad: OnBad,
    /// Token domain, for what tokens of one row say about each other.
    pub(crate) domain: Option<String>,
}

/// An output column beside the raw column that it comes from, their types looked at once.
#[derive(Clone, Copy)]
pub(crate) struct Cells<'a> {
    out: &'a ArrayRef,
    raw: &'a ArrayRef,
    /// `out`, where it holds texts.
    found: Option<&'a StringArray>,
    raw_texts: Option<&'a StringArray>,
    out_nulls: Option<&'a NullBuffer>,
    raw_nulls: Option<&'a NullBuffer>,
}

impl<'a> Cells<'a> {
    pub(crate) fn new(out: &'a ArrayRef, raw: &'a ArrayRef) -> Self {
        Self {
            out,
            raw,
            found: out.as_string_opt::<i32>(),
            raw_texts: raw.as_string_opt::<i32>(),
            out_nulls: out.nulls(),
            raw_nulls: raw.nulls(),
        }
    }

    /// The text that crosses; a column of another type has none, and equals none.
    pub(crate) fn found(&self, row: usize) -> Option<&'a str> {
        Some(self.found?.value(row))
    }

    pub(crate) fn out_is_null(&self, row: usize) -> bool {
        self.out_nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    fn raw_is_null(&self, row: usize) -> bool {
        self.raw_nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// The raw value's canonical text. Twins of text protections start from it.
    pub(crate) fn raw_text<'t>(
        &self,
        row: usize,
        text: &'t mut String,
    ) -> Result<&'t str, RefusalReason>
    where
        'a: 't,
    {
        if let Some(texts) = self.raw_texts {
            return Ok(texts.value(row));
        }
        text.clear();
        canonical::write(self.raw, row, text).map_err(|_| RefusalReason::OutOfRange)?;
        Ok(text)
    }
}

/// Whether output and raw value of a row are there to be compared.
enum Presence {
    Compare,
    Skip,
    Refuse(RefusalReason),
    /// Null stands where the raw value may be one that no stage takes.
    Bad,
}

impl ColumnCheck {
    /// Compiles a column of the release. `leaf` is the type of the leaf it comes from; `residual` is
    /// what the column's overrides say remains.
    pub(crate) fn new(
        column: &Column,
        raw: String,
        leaf: LeafType,
        keys: &GateKeys,
        residual: &[String],
    ) -> Result<Self, GateFault> {
        let out = leaf_type(column)?;
        let check = compile(column, leaf, keys, residual)?;
        let fits = match &check {
            Check::Token(_)
            | Check::Reversible(_)
            | Check::Fpe(_)
            | Check::Mask { .. }
            | Check::Constant(_)
            | Check::Bins(_) => out == LeafType::Text,
            Check::Region(_) => {
                let whole = matches!(leaf, LeafType::Int16 | LeafType::Int32 | LeafType::Int64);
                out == LeafType::Text && (leaf.arrow() == DataType::Utf8 || whole)
            }
            Check::Coded { labels: true, .. } => out == LeafType::Text,
            Check::Coded { labels: false, .. } => match leaf {
                LeafType::Decimal { .. } => out == leaf,
                _ => out == LeafType::Int64,
            },
            Check::Redacted { .. } | Check::Prefix { .. } => {
                out == LeafType::Text && leaf.arrow() == DataType::Utf8
            }
            Check::Month | Check::Quarter | Check::Week | Check::Age { .. } => {
                out == LeafType::Text && dated(leaf)
            }
            Check::Year | Check::Decade => out == LeafType::Int32 && dated(leaf),
            Check::Day => out == LeafType::Date && dated(leaf),
            Check::Hour => out == LeafType::MicroTimestamp && dated(leaf) && leaf != LeafType::Date,
            Check::Public => out == leaf && leaf != LeafType::Opaque,
            Check::Derived(_) | Check::Statistic => false,
        };
        if !fits {
            return Err(GateFault::ShapeType { column: column.name.clone(), leaf, found: out });
        }
        check_on_bad(column, &check, out)?;
        let domain = match &column.shape {
            Shape::Token { domain, .. } => Some(domain.clone()),
            _ => None,
        };
        Ok(Self {
            name: column.name.clone(),
            raw: Some(raw),
            out_type: out.arrow(),
            raw_type: leaf.arrow(),
            nullable: column.nullable,
            leaf_type: leaf,
            check,
            on_bad: column.on_bad.clone(),
            domain,
        })
    }

    /// The text that stands for every value that the stage cannot take, if there is one.
    pub(crate) fn constant_of_bad(&self) -> Option<&str> {
        match &self.on_bad {
            OnBad::Constant { text } => Some(text),
            OnBad::Refuse | OnBad::Null => None,
        }
    }

    /// Compiles a column that is computed of others.
    pub(crate) fn derived(column: &Column, derived: DerivedCheck) -> Result<Self, GateFault> {
        let out = leaf_type(column)?;
        Ok(Self {
            name: column.name.clone(),
            raw: None,
            out_type: out.arrow(),
            raw_type: DataType::Null,
            nullable: column.nullable,
            leaf_type: out,
            check: Check::Derived(derived),
            on_bad: OnBad::Refuse,
            domain: None,
        })
    }

    /// Compiles a column of statistics, whose type was checked.
    pub(crate) fn statistic(column: &Column, leaf_type: LeafType, out_type: DataType) -> Self {
        Self {
            name: column.name.clone(),
            raw: None,
            out_type,
            raw_type: DataType::Null,
            nullable: false,
            leaf_type,
            check: Check::Statistic,
            on_bad: OnBad::Refuse,
            domain: None,
        }
    }

    /// Holds the rows in `rows` of a derived column, which has no one raw value.
    pub(crate) fn hold_derived(
        &self,
        out: &ArrayRef,
        raw: &RecordBatch,
        rows: impl Iterator<Item = usize>,
        mut refuse: impl FnMut(usize, RefusalReason),
    ) {
        let Check::Derived(derived) = &self.check else { return };
        let hidden = derived.hidden(raw);
        let texts = out.as_string_opt::<i32>();
        let mut text = String::new();
        for row in rows.filter(|row| !out.is_null(*row)) {
            text.clear();
            let verdict = self
                .public(texts.map(|texts| texts.value(row)))
                .and_then(|()| derived.hold(out, &hidden, row))
                // Found by the encoder it would stop the batch.
                .and_then(|()| {
                    let written = canonical::write(out, row, &mut text);
                    written.map_err(|_| RefusalReason::OutOfRange)
                });
            if let Err(reason) = verdict {
                refuse(row, reason);
            }
        }
    }

    fn presence(&self, cells: &Cells<'_>, row: usize) -> Presence {
        let constant = matches!(self.check, Check::Constant(_));
        match (cells.out_is_null(row), cells.raw_is_null(row)) {
            (true, _) if !self.nullable => Presence::Refuse(RefusalReason::Null),
            (true, true) => Presence::Skip,
            // A constant tells nothing about the raw value, whether there is one or not.
            (true, false) if constant => Presence::Skip,
            (false, true) if constant => Presence::Compare,
            (true, false) if self.on_bad == OnBad::Null => Presence::Bad,
            (true, false) | (false, true) => Presence::Refuse(RefusalReason::NullMismatch),
            (false, false) => Presence::Compare,
        }
    }

    /// Holds the rows in `rows` against the shape; `refuse` is called for each that fails.
    /// Types of both arrays were checked before.
    pub(crate) fn hold(
        &self,
        out: &ArrayRef,
        raw: &ArrayRef,
        rows: impl Iterator<Item = usize>,
        mut refuse: impl FnMut(usize, RefusalReason),
    ) -> Result<(), GateFault> {
        let cells = Cells::new(out, raw);
        if let Check::Fpe(fpe) = &self.check {
            self.hold_fpe(fpe, &cells, rows, refuse);
            return Ok(());
        }
        let same = match self.check {
            Check::Public => Some(not_distinct(out, raw).map_err(|_| GateFault::Compare)?),
            _ => None,
        };
        // Of the types that cross, only these hold values without a text.
        let may_lack_text = matches!(
            out.data_type(),
            DataType::Date32
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(_, _)
        );
        let mut text = String::new();
        for row in rows {
            let verdict = match self.presence(&cells, row) {
                Presence::Skip => Ok(()),
                Presence::Refuse(reason) => Err(reason),
                Presence::Bad => self.bad(&cells, row, &mut text),
                Presence::Compare => match &same {
                    Some(same) if !same.value(row) => Err(RefusalReason::NotItsLeaf),
                    Some(_) => self.public(cells.found(row)),
                    None => match self.value(&cells, row, &mut text) {
                        Err(_) if self.is_constant_of_bad(&cells, row) => {
                            self.bad(&cells, row, &mut text)
                        }
                        verdict => verdict,
                    },
                },
            };
            // Found here it refuses one row; found by the encoder it would stop the batch.
            let verdict = match verdict {
                Ok(()) if may_lack_text && out.is_valid(row) && !canonical::has_text(out, row) => {
                    Err(RefusalReason::OutOfRange)
                }
                verdict => verdict,
            };
            if let Err(reason) = verdict {
                refuse(row, reason);
            }
        }
        Ok(())
    }

    /// As [`Self::hold`]: the values go through the cipher together.
    fn hold_fpe(
        &self,
        fpe: &Fpe,
        cells: &Cells<'_>,
        rows: impl Iterator<Item = usize>,
        mut refuse: impl FnMut(usize, RefusalReason),
    ) {
        let mut twins = fpe.column();
        let mut text = String::new();
        for row in rows {
            match self.presence(cells, row) {
                Presence::Skip => {}
                Presence::Refuse(reason) => refuse(row, reason),
                Presence::Bad => {
                    if let Err(reason) = self.bad(cells, row, &mut text) {
                        refuse(row, reason);
                    }
                }
                // A ciphertext may read as the constant does.
                Presence::Compare
                    if self.is_constant_of_bad(cells, row)
                        && self.bad(cells, row, &mut text).is_ok() => {}
                Presence::Compare => match (cells.raw_text(row, &mut text), cells.found(row)) {
                    (Ok(raw), Some(found)) => {
                        twins.hold(row, raw, found, &mut |row| refuse(row, RefusalReason::Fpe));
                    }
                    (Ok(_), None) => refuse(row, RefusalReason::Fpe),
                    (Err(reason), _) => refuse(row, reason),
                },
            }
        }
        twins.finish(|row| refuse(row, RefusalReason::Fpe));
    }

    fn is_constant_of_bad(&self, cells: &Cells<'_>, row: usize) -> bool {
        self.constant_of_bad().is_some_and(|text| cells.found(row) == Some(text))
    }

    /// What stands for a value that no stage takes must not stand for one that it takes. Of a
    /// token the gate cannot say: it has no normaliser.
    fn bad(&self, cells: &Cells<'_>, row: usize, text: &mut String) -> Result<(), RefusalReason> {
        let raw = cells.raw;
        let dated = || day(raw, row).and_then(coarse::within).is_some();
        let takes = match &self.check {
            Check::Token(_) | Check::Reversible(_) => false,
            Check::Fpe(fpe) => fpe.takes(cells.raw_text(row, text)?),
            Check::Year
            | Check::Decade
            | Check::Quarter
            | Check::Month
            | Check::Week
            | Check::Day
            | Check::Hour => dated(),
            Check::Age { as_of, .. } => {
                let birth = day(raw, row).and_then(coarse::within);
                birth.and_then(|birth| coarse::age(birth, *as_of)).is_some()
            }
            Check::Bins(bins) => match integer(raw, row) {
                Some(whole) => bins.iter().any(|bin| bin.holds_whole(whole)),
                None => {
                    let raw = cells.raw_text(row, text)?;
                    bins.iter().any(|bin| bin.holds_text(raw))
                }
            },
            Check::Coded { coded, labels } => {
                coded.of(cells.raw_text(row, text)?, *labels).is_some()
            }
            Check::Region(regions) => regions.contains_key(cells.raw_text(row, text)?),
            Check::Mask { .. }
            | Check::Constant(_)
            | Check::Redacted { .. }
            | Check::Prefix { .. }
            | Check::Public
            | Check::Derived(_)
            | Check::Statistic => true,
        };
        if takes { Err(RefusalReason::OnBad) } else { Ok(()) }
    }

    fn value(&self, cells: &Cells<'_>, row: usize, text: &mut String) -> Result<(), RefusalReason> {
        let must = |holds: bool, reason| if holds { Ok(()) } else { Err(reason) };
        let (out, raw) = (cells.out, cells.raw);
        let found = || cells.found(row).ok_or(RefusalReason::NotItsLeaf);
        match &self.check {
            Check::Token(form) => {
                must(form.holds(found()?), RefusalReason::Token)?;
                must(found()? != cells.raw_text(row, text)?, RefusalReason::TokenIsRaw)
            }
            Check::Reversible(reversible) => {
                let bytes = reversible.bytes(found()?).ok_or(RefusalReason::Token)?;
                let raw = cells.raw_text(row, text)?;
                must(!Reversible::shows(&bytes, raw), RefusalReason::TokenIsRaw)
            }
            // Held a column at a time; nothing comes here.
            Check::Fpe(_) => Err(RefusalReason::Fpe),
            Check::Mask { keep_first, keep_last, fill } => {
                let raw = cells.raw_text(row, text)?;
                let twin = twins::mask(raw, *keep_first, *keep_last, *fill);
                must(twin == found()?, RefusalReason::Mask)
            }
            Check::Constant(constant) => must(found()? == constant, RefusalReason::Constant),
            Check::Redacted { detectors, labels, in_place } => {
                // A pseudonym may look like what it stands for: it is held to its form instead.
                let read = in_place.read(found()?)?;
                for detector in detectors {
                    must(!detector.finds(&read.marked), (*detector).into())?;
                }
                let raw = cells.raw_text(row, text)?;
                must(!read.shows(raw), RefusalReason::TokenIsRaw)?;
                must(twins::is_redaction_of(&read.opened, raw, labels), RefusalReason::Redaction)
            }
            Check::Year => {
                let year = out.as_primitive::<Int32Type>().value(row);
                let twin = day(raw, row).map(|day| twins::year_and_month(day).0);
                let holds = (1..=9999).contains(&year) && twin == Some(i64::from(year));
                must(holds, RefusalReason::Year)
            }
            Check::Decade => {
                let decade = i64::from(out.as_primitive::<Int32Type>().value(row));
                let twin = day(raw, row).and_then(coarse::within).map(coarse::decade);
                must(twin == Some(decade), RefusalReason::Year)
            }
            Check::Quarter => {
                let twin = day(raw, row).and_then(coarse::within).map(coarse::quarter);
                must(twin.as_deref() == Some(found()?), RefusalReason::Month)
            }
            Check::Week => {
                let twin = day(raw, row).and_then(coarse::within).map(coarse::week);
                must(twin.as_deref() == Some(found()?), RefusalReason::Day)
            }
            Check::Age { as_of, bins } => {
                let birth = day(raw, row).and_then(coarse::within);
                let age = birth.and_then(|birth| coarse::age(birth, *as_of));
                let found = found()?;
                let bin = bins.iter().find(|bin| bin.label == found).ok_or(RefusalReason::Bin)?;
                let holds = age.is_some_and(|age| bin.holds_whole(i128::from(age)));
                must(holds, RefusalReason::Bin)
            }
            Check::Coded { coded, labels } => {
                let twin = coded.of(cells.raw_text(row, text)?, *labels);
                let holds = match twin {
                    None => false,
                    Some(Code::Text(twin)) => twin == found()?,
                    Some(Code::Number(twin)) => {
                        let mut written = String::new();
                        canonical::write(out, row, &mut written)
                            .map_err(|_| RefusalReason::OutOfRange)?;
                        coded.units(&written) == Some(twin)
                    }
                };
                must(holds, RefusalReason::Coded)
            }
            Check::Region(regions) => {
                let region = regions.get(cells.raw_text(row, text)?);
                must(region.map(String::as_str) == Some(found()?), RefusalReason::Region)
            }
            Check::Month => {
                let twin = day(raw, row).map(twins::year_and_month);
                let twin = twin
                    .filter(|(year, _)| (1..=9999).contains(year))
                    .map(|(year, month)| format!("{year:04}-{month:02}"));
                must(twin.as_deref() == Some(found()?), RefusalReason::Month)
            }
            Check::Day => {
                let found = out.as_primitive::<Date32Type>().value(row);
                must(day(raw, row) == Some(i64::from(found)), RefusalReason::Day)
            }
            Check::Hour => {
                let found = out.as_primitive::<TimestampMicrosecondType>().value(row);
                let twin = micros(raw, row).map(|us| us.div_euclid(HOUR_US) * HOUR_US);
                must(twin == Some(i128::from(found)), RefusalReason::Hour)
            }
            Check::Bins(bins) => {
                let found = found()?;
                let bin = bins.iter().find(|bin| bin.label == found).ok_or(RefusalReason::Bin)?;
                let holds = match integer(raw, row) {
                    Some(whole) => bin.holds_whole(whole),
                    None => bin.holds_text(cells.raw_text(row, text)?),
                };
                must(holds, RefusalReason::Bin)
            }
            Check::Prefix { length, fill } => {
                let raw = cells.raw_text(row, text)?;
                let holds = match fill {
                    None => {
                        let cut = raw.char_indices().nth(*length);
                        cut.map_or(raw, |(end, _)| &raw[..end]) == found()?
                    }
                    Some(fill) => {
                        let sign = |(at, c)| if at < *length { c } else { *fill };
                        raw.chars().enumerate().map(sign).eq(found()?.chars())
                    }
                };
                must(holds, RefusalReason::Prefix)
            }
            Check::Public => self.public(cells.found(row)),
            // It has no one raw value; see `hold_derived`.
            Check::Derived(_) | Check::Statistic => Err(RefusalReason::NotItsLeaf),
        }
    }

    /// The last line for what crosses as it is. Texts that anybody may have written are searched;
    /// texts of a fixed syntax must have that syntax and are not searched, for a timestamp or a
    /// uuid can look like a number somebody has.
    fn public(&self, text: Option<&str>) -> Result<(), RefusalReason> {
        let Some(text) = text else { return Ok(()) };
        let syntax = |holds: bool| if holds { Ok(()) } else { Err(RefusalReason::Syntax) };
        match self.leaf_type {
            LeafType::Uuid => syntax(is_uuid(text)),
            LeafType::ZonedTimestamp | LeafType::ZonedTime => syntax(is_zoned(text)),
            LeafType::Interval => syntax(is_interval(text)),
            LeafType::VariableScaleDecimal => syntax(is_number(text)),
            _ => match Detector::OF_PUBLIC.iter().find(|detector| detector.finds(text)) {
                Some(found) => Err((*found).into()),
                None => Ok(()),
            },
        }
    }
}

const HOUR_US: i128 = 3_600_000_000;
const DAY_US: i128 = 24 * HOUR_US;

/// Types that a date can be read from; of an instant with a zone, the date in UTC.
fn dated(leaf: LeafType) -> bool {
    matches!(
        leaf,
        LeafType::Date
            | LeafType::Timestamp
            | LeafType::MicroTimestamp
            | LeafType::NanoTimestamp
            | LeafType::ZonedTimestamp
    )
}

/// Microseconds since the epoch, rounded down; `None` for PostgreSQL's `infinity`.
fn micros(raw: &ArrayRef, row: usize) -> Option<i128> {
    let (value, factor, divisor) = match raw.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            (raw.as_primitive::<TimestampMillisecondType>().value(row), 1_000, 1)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            (raw.as_primitive::<TimestampMicrosecondType>().value(row), 1, 1)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            (raw.as_primitive::<TimestampNanosecondType>().value(row), 1, 1_000)
        }
        DataType::Utf8 => return twins::zoned_micros(raw.as_string::<i32>().value(row)),
        _ => return None,
    };
    let finite = value != i64::MAX && value != i64::MIN;
    finite.then(|| (i128::from(value) * factor).div_euclid(divisor))
}

/// Days since the epoch.
fn day(raw: &ArrayRef, row: usize) -> Option<i64> {
    if let Some(dates) = raw.as_primitive_opt::<Date32Type>() {
        return Some(i64::from(dates.value(row)));
    }
    i64::try_from(micros(raw, row)?.div_euclid(DAY_US)).ok()
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// ISO 8601 characters only; no room for anything a person wrote.
fn is_zoned(text: &str) -> bool {
    let infinite = matches!(text, "infinity" | "-infinity");
    let plain = |b: u8| b.is_ascii_digit() || b"TZ:.+- ".contains(&b);
    infinite || (text.len() <= 40 && text.contains(':') && text.bytes().all(plain))
}

fn is_interval(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_digit() || b"YMWDTHS.-".contains(&b);
    let rest = text.strip_prefix('-').unwrap_or(text).strip_prefix('P');
    text.len() <= 64 && rest.is_some_and(|rest| rest.bytes().all(plain))
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain && digits.bytes().any(|b| b.is_ascii_digit()) && digits.matches('.').count() <= 1
}

/// Null and the constant may stand in columns of the row only, and where nobody takes them for
/// what the stage makes.
fn check_on_bad(column: &Column, check: &Check, out: LeafType) -> Result<(), GateFault> {
    let usable = match &column.on_bad {
        OnBad::Refuse => return Ok(()),
        _ if !column.nullable
            || matches!(check, Check::Public | Check::Derived(_) | Check::Statistic) =>
        {
            false
        }
        OnBad::Null => true,
        OnBad::Constant { text } => {
            let token = match check {
                Check::Token(form) => form.holds(text),
                Check::Reversible(reversible) => reversible.bytes(text).is_some(),
                _ => false,
            };
            out == LeafType::Text && !text.is_empty() && text.len() <= ON_BAD_BYTES_MAX && !token
        }
    };
    match usable {
        true => Ok(()),
        false => Err(GateFault::Shape { column: column.name.clone(), part: "on_bad" }),
    }
}

/// Most bytes of the constant of bad values.
const ON_BAD_BYTES_MAX: usize = 64;

fn compile(
    column: &Column,
    leaf: LeafType,
    keys: &GateKeys,
    residual: &[String],
) -> Result<Check, GateFault> {
    let bad = |part: &'static str| GateFault::Shape { column: column.name.clone(), part };
    Ok(match &column.shape {
        Shape::Token { domain, .. } if domain.is_empty() => return Err(bad("token domain")),
        Shape::Token { pad_to: None, key_per: Some(_), .. } => {
            return Err(bad("token of a subject's key without padding"));
        }
        Shape::Token { form, pad_to, key_per, .. } => {
            let form = Form::named(form).ok_or_else(|| bad("token form"))?;
            match pad_to {
                None => Check::Token(form),
                Some(pad_to) => {
                    let reversible = Reversible::new(form, *pad_to, key_per.is_some());
                    Check::Reversible(reversible.ok_or_else(|| bad("token padding"))?)
                }
            }
        }
        Shape::Fpe {
            alphabet,
            keep_first,
            keep_last,
            separators,
            domain,
            context,
            length_min,
            check_digit,
        } => {
            let key = keys.ff1.get(domain).ok_or_else(|| GateFault::KeyMissing {
                column: column.name.clone(),
                domain: domain.clone(),
            })?;
            let parameters = FpeParameters {
                alphabet,
                keep_first: *keep_first,
                keep_last: *keep_last,
                separators,
                domain,
                context,
                length_min: *length_min,
                check_digit: *check_digit,
            };
            let fpe = Fpe::new(&parameters, key).ok_or_else(|| bad("fpe parameters"))?;
            Check::Fpe(Box::new(fpe))
        }
        Shape::Mask { keep_first, keep_last, fill } => {
            // egress.md: at most four characters kept; a fill that could be data hides nothing.
            let kept = u64::from(*keep_first) + u64::from(*keep_last);
            if kept > MASK_KEPT_MAX {
                return Err(bad("mask: more than four characters kept"));
            }
            if fill.is_alphanumeric() {
                return Err(bad("mask fill"));
            }
            Check::Mask { keep_first: *keep_first, keep_last: *keep_last, fill: *fill }
        }
        Shape::Constant { text } => Check::Constant(text.clone()),
        Shape::Redacted { detectors: names, dictionaries, in_place } => {
            if names.is_empty() {
                return Err(bad("redaction without detectors"));
            }
            let label = |name: &String| detectors::label(name).ok_or_else(|| bad("detector"));
            let mut labels = names.iter().map(label).collect::<Result<Vec<_>, _>>()?;
            for dictionary in dictionaries {
                let label = detectors::label_of_dictionary(&dictionary.name);
                let label = label.filter(|label| !labels.contains(label));
                labels.push(label.ok_or_else(|| bad("dictionary"))?);
            }
            let known = |name: &str| {
                let mark = format!("[{}]", name.to_ascii_uppercase());
                labels.contains(&mark).then_some(mark)
            };
            let in_place = Pseudonyms::new(in_place, keys, known).ok_or_else(|| bad("in place"))?;
            Check::Redacted { detectors: Detector::of_redacted(names, residual), labels, in_place }
        }
        Shape::Year => Check::Year,
        Shape::Decade => Check::Decade,
        Shape::Quarter => Check::Quarter,
        Shape::Month => Check::Month,
        Shape::Week => Check::Week,
        Shape::Day => Check::Day,
        Shape::Hour => Check::Hour,
        Shape::Bins { labels } => Check::Bins(bins(labels).ok_or_else(|| bad("bin labels"))?),
        Shape::Age { as_of, labels } => Check::Age {
            as_of: coarse::as_of(as_of).ok_or_else(|| bad("age: as_of"))?,
            bins: bins(labels).ok_or_else(|| bad("age: labels"))?,
        },
        Shape::Coded { round, low, high, labels } => {
            let (scale, digits) = match leaf {
                LeafType::Int16 | LeafType::Int32 | LeafType::Int64 => (0, None),
                LeafType::Decimal { precision, scale } if precision <= 38 => {
                    let scale = usize::try_from(scale).map_err(|_| bad("coded leaf"))?;
                    (scale, Some(u32::from(precision)))
                }
                _ => return Err(bad("coded leaf")),
            };
            let numbers = [round.as_deref(), low.as_deref(), high.as_deref()];
            let coded = Coded::new(numbers, scale, digits).ok_or_else(|| bad("coded numbers"))?;
            Check::Coded { coded, labels: *labels }
        }
        Shape::Prefix { length, fill } => match length {
            0 => return Err(bad("prefix length")),
            _ if fill.is_some_and(char::is_alphanumeric) => return Err(bad("prefix fill")),
            length => Check::Prefix { length: *length as usize, fill: *fill },
        },
        Shape::Region { regions } => {
            // A list that merges nothing renames what should be hidden, and a place alone in the
            // region of its own name is not even renamed.
            let mut places: BTreeMap<&str, usize> = BTreeMap::new();
            for region in regions.values() {
                *places.entry(region).or_default() += 1;
            }
            let as_it_is = |(place, region): (&String, &String)| {
                place == region && places.get(region.as_str()) == Some(&1)
            };
            if places.len() == regions.len() || regions.iter().any(as_it_is) {
                return Err(bad("regions"));
            }
            Check::Region(regions.clone())
        }
        Shape::Public => Check::Public,
        Shape::Derived { .. } => return Err(bad("derived column")),
        Shape::Window { .. }
        | Shape::Group { .. }
        | Shape::Selected { .. }
        | Shape::Noised { .. } => {
            return Err(bad("column of statistics"));
        }
    })
}

fn bins(labels: &[String]) -> Option<Vec<Bin>> {
    let bins: Option<Vec<Bin>> = labels.iter().map(|label| Bin::parse(label)).collect();
    bins.filter(|bins| bins.len() >= 2)
}

/// Most characters that a mask may keep, both ends together.
const MASK_KEPT_MAX: u64 = 4;
