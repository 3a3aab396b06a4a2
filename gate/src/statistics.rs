//! Statistics of many rows: a batch is one window, with every combination of the public keys once,
//! in order, and nothing else.
//!
//! What a group's integers are the gate cannot compute: it has no rows. It holds the form, which
//! must not hang on the data: a group that stays out, or comes twice, would tell of it. So nothing
//! here is refused singly; a batch that is not whole stops.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use douane_ledger::release::{Column, OnBad, Release, Shape};
use douane_schemas::leaf::LeafType;

use crate::GateFault;
use crate::encode::leaf_type;

/// Groups in one batch at most.
const GROUPS_MAX: usize = 1 << 20;

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
                Shape::Noised { dims, .. } => noised.push((at, *dims)),
                _ => return Err(fault(column)),
            }
        }
        let (Some((window, from_ms, every_ms)), 1..=GROUPS_MAX) = (window, rows) else {
            return Err(fault(first));
        };
        Ok(Some(Self { window, from_ms, every_ms, groups, noised, rows }))
    }

    /// Holds the whole batch; its schema was checked before.
    pub(crate) fn hold(&self, batch: &RecordBatch, skip: &[bool]) -> Result<(), GateFault> {
        let fault = |part| Err(GateFault::Statistics { part });
        if batch.num_rows() != self.rows || skip.contains(&true) {
            return fault("every group once");
        }
        if batch.columns().iter().any(|column| column.null_count() > 0) {
            return fault("no nulls");
        }
        let windows = batch.column(self.window).as_primitive::<TimestampMillisecondType>();
        let first = windows.value(0);
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

pub(crate) fn is_statistic(shape: &Shape) -> bool {
    matches!(shape, Shape::Window { .. } | Shape::Group { .. } | Shape::Noised { .. })
}

/// The type that a column of statistics has, and that it says the class of what is in it.
pub(crate) fn check_column(release: &Release, column: &Column) -> Result<LeafType, GateFault> {
    let (expected, from) = match &column.shape {
        Shape::Window { .. } => (LeafType::Timestamp, &[][..]),
        Shape::Group { .. } => (LeafType::Text, std::slice::from_ref(&column.from)),
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
