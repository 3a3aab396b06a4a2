//! Statistics of many rows: a batch is one window, with every combination of the public keys once,
//! in order, and nothing else; or, where noised counts of units select the groups, with those that
//! pass the threshold, each once and in order.
//!
//! What a group's integers are the gate cannot compute: it has no rows. It holds the form, which
//! must not hang on the data: a public group that stays out, or comes twice, would tell of it. So
//! nothing here is refused singly; a batch that is not whole stops.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use douane_ledger::release::{Column, OnBad, Release, Shape};
use douane_schemas::leaf::LeafType;

use crate::GateFault;
use crate::encode::leaf_type;

/// Groups in one batch at most.
const GROUPS_MAX: usize = 1 << 20;

/// Bytes of a group's key that stands in the rows.
const KEY_BYTES_MAX: usize = 256;

/// No sum comes near it: bounds are public, and larger ones do not load.
const NOISED_MAX: i64 = 1 << 62;

/// What a batch of statistics must be.
pub(crate) struct Statistics {
    window: usize,
    from_ms: i64,
    every_ms: i64,
    /// The groups' columns and their keys.
    groups: Vec<(usize, Vec<String>)>,
    /// Columns of integers, and how many of them lie in an array.
    noised: Vec<(usize, Option<u32>)>,
    rows: usize,
    selected: Option<Selected>,
}

/// Groups that noised counts select.
struct Selected {
    /// Their columns.
    keys: Vec<usize>,
    /// The column with the noised counts of units, and what each must reach.
    units: usize,
    at_least: i64,
}

impl Statistics {
    /// Of a release of statistics; None where it is of rows.
    pub(crate) fn of(release: &Release) -> Result<Option<Self>, GateFault> {
        let is_one = |column: &&Column| is_statistic(&column.shape);
        let Some(first) = release.columns.iter().find(is_one) else { return Ok(None) };
        let fault = |column: &Column| GateFault::Shape {
            column: column.name.clone(),
            part: "column beside statistics",
        };
        if let Some(other) = release.columns.iter().find(|column| !is_one(column)) {
            return Err(fault(other));
        }
        if let Some(key) = release.key.first() {
            return Err(fault(key));
        }
        let (mut window, mut groups, mut noised) = (None, Vec::new(), Vec::new());
        let (mut selected, mut thresholds, mut units) = (Vec::new(), Vec::new(), None);
        let mut rows: usize = 1;
        for (at, column) in release.columns.iter().enumerate() {
            match &column.shape {
                Shape::Window { from_ms, every_ms } if window.is_none() => {
                    let every_ms = i64::try_from(*every_ms).ok().filter(|every| *every > 0);
                    window = Some((at, *from_ms, every_ms.ok_or_else(|| fault(column))?));
                }
                Shape::Group { keys } if !keys.is_empty() => {
                    rows = rows.saturating_mul(keys.len());
                    groups.push((at, keys.clone()));
                }
                Shape::Selected { at_least } if *at_least > 0 => {
                    selected.push(at);
                    thresholds.push(*at_least);
                }
                Shape::Noised { dims, statistic, .. } => {
                    if statistic == "units" && dims.is_none() {
                        units = Some(at);
                    }
                    noised.push((at, *dims));
                }
                _ => return Err(fault(column)),
            }
        }
        let (Some((window, from_ms, every_ms)), 1..=GROUPS_MAX) = (window, rows) else {
            return Err(fault(first));
        };
        thresholds.dedup();
        let selected = match (thresholds.as_slice(), units) {
            ([], _) => None,
            ([one], Some(units)) if groups.is_empty() => {
                Some(Selected { keys: selected, units, at_least: i64::from(*one) })
            }
            _ => return Err(fault(first)),
        };
        Ok(Some(Self { window, from_ms, every_ms, groups, noised, rows, selected }))
    }

    /// Holds the whole batch; its schema was checked before.
    pub(crate) fn hold(&self, batch: &RecordBatch, skip: &[bool]) -> Result<(), GateFault> {
        let fault = |part| Err(GateFault::Statistics { part });
        let rows = match &self.selected {
            Some(_) => batch.num_rows().min(GROUPS_MAX),
            None => self.rows,
        };
        if batch.num_rows() != rows || skip.contains(&true) {
            return fault("every group once");
        }
        if batch.columns().iter().any(|column| column.null_count() > 0) {
            return fault("no nulls");
        }
        let windows = batch.column(self.window).as_primitive::<TimestampMillisecondType>();
        let Some(first) = windows.values().first().copied() else {
            // No group passed the threshold.
            return Ok(());
        };
        if let Some(selected) = &self.selected {
            selected.hold(batch)?;
        }
        let since = first.saturating_sub(self.from_ms);
        let starts = since >= 0 && since % self.every_ms == 0;
        if !starts || windows.values().iter().any(|start| *start != first) {
            return fault("one window");
        }
        // The last list turns fastest.
        let mut run = self.rows;
        for (at, keys) in &self.groups {
            run /= keys.len();
            let found = batch.column(*at).as_string::<i32>();
            let expected = |row: usize| keys[row / run % keys.len()].as_str();
            if (0..self.rows).any(|row| found.value(row) != expected(row)) {
                return fault("the public keys in order");
            }
        }
        let within = |(at, dims): &(usize, Option<u32>)| {
            let found = batch.column(*at);
            let found = match dims {
                None => found.as_primitive::<Int64Type>(),
                Some(dims) => {
                    let lists = found.as_list::<i32>();
                    let whole = |ends: &[i32]| ends[1].abs_diff(ends[0]) == *dims;
                    if !lists.value_offsets().windows(2).all(whole) {
                        return false;
                    }
                    lists.values().as_primitive::<Int64Type>()
                }
            };
            let fits = |value: &i64| (-NOISED_MAX..=NOISED_MAX).contains(value);
            found.null_count() == 0 && found.values().iter().all(fits)
        };
        match self.noised.iter().all(within) {
            true => Ok(()),
            false => fault("integers within their bounds"),
        }
    }
}

impl Selected {
    /// Each group passes, and stands there once: ascending, by length and then by bytes.
    fn hold(&self, batch: &RecordBatch) -> Result<(), GateFault> {
        let fault = |part| Err(GateFault::Statistics { part });
        let counts = batch.column(self.units).as_primitive::<Int64Type>();
        if counts.values().iter().any(|count| *count < self.at_least) {
            return fault("groups that pass the threshold");
        }
        let keys: Vec<_> =
            self.keys.iter().map(|at| batch.column(*at).as_string::<i32>()).collect();
        let seen = |text: &str| {
            (1..=KEY_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
        };
        if !keys.iter().all(|column| column.iter().flatten().all(seen)) {
            return fault("keys of 1 to 256 bytes that can be seen");
        }
        let key = |row: usize| keys.iter().map(move |column| column.value(row));
        let key = |row: usize| key(row).map(|text| (text.len(), text));
        match (1..batch.num_rows()).all(|row| key(row - 1).lt(key(row))) {
            true => Ok(()),
            false => fault("every group once, in order"),
        }
    }
}

pub(crate) fn is_statistic(shape: &Shape) -> bool {
    matches!(
        shape,
        Shape::Window { .. } | Shape::Group { .. } | Shape::Selected { .. } | Shape::Noised { .. }
    )
}

/// The type that a column of statistics has, and that it says the class of what is in it.
pub(crate) fn check_column(release: &Release, column: &Column) -> Result<LeafType, GateFault> {
    let (expected, from) = match &column.shape {
        Shape::Window { .. } => (LeafType::Timestamp, &[][..]),
        Shape::Group { .. } | Shape::Selected { .. } => {
            (LeafType::Text, std::slice::from_ref(&column.from))
        }
        Shape::Noised { from, dims: None, .. } => (LeafType::Int64, &from[..]),
        Shape::Noised { from, dims: Some(1..), .. } => (LeafType::Array, &from[..]),
        _ => return Err(GateFault::ColumnType { column: column.name.clone() }),
    };
    let found = leaf_type(column)?;
    if found != expected || column.nullable || column.on_bad != OnBad::Refuse {
        return Err(GateFault::ColumnType { column: column.name.clone() });
    }
    let mut classes = Vec::new();
    for path in from {
        let leaf = release.leaves.iter().find(|leaf| leaf.part == "row" && leaf.path == *path);
        let leaf = leaf.ok_or_else(|| GateFault::UnknownLeaf {
            column: column.name.clone(),
            leaf: format!("after.{path}"),
        })?;
        classes.push(leaf.class.as_str());
    }
    let strictest = crate::floor::strictest(&classes);
    if strictest != column.class {
        return Err(GateFault::Class {
            column: column.name.clone(),
            class: column.class.clone(),
            leaf: strictest.to_owned(),
        });
    }
    Ok(found)
}
