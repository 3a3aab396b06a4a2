//! Who may come to the border at all: a release the gate can hold values to, the released target,
//! a batch with exactly the released columns.

use arrow::array::{ArrayRef, RecordBatch};
use douane_ledger::release::{Column, OnBad, Release, Shape};
use douane_schemas::leaf::LeafType;

use crate::border::{GateKeys, Target};
use crate::derived::DerivedCheck;
use crate::encode::arrow_of;
use crate::shapes::ColumnCheck;
use crate::tokens::TokenCell;
use crate::{GateFault, floor, statistics};

/// The smallest record size that a gate is made for: room for a manifest without records.
const RECORD_BYTES_LEAST: usize = 4096;

pub(crate) fn token_cells<'a>(
    checks: &'a [ColumnCheck],
    batch: &'a RecordBatch,
    raw: &[Option<&'a ArrayRef>],
) -> Vec<TokenCell<'a>> {
    checks
        .iter()
        .zip(batch.columns())
        .zip(raw)
        .filter_map(|((check, out), raw)| TokenCell::new(check, out, (*raw)?))
        .collect()
}

pub(crate) fn raw_columns<'a>(
    raw: &'a RecordBatch,
    checks: &[ColumnCheck],
) -> Result<Vec<Option<&'a ArrayRef>>, GateFault> {
    let schema = raw.schema_ref();
    checks
        .iter()
        .map(|check| {
            let Some(raw_name) = &check.raw else { return Ok(None) };
            let leaf = || raw_name.clone();
            let mut named =
                (0..raw.num_columns()).filter(|at| schema.field(*at).name() == raw_name);
            let (Some(at), None) = (named.next(), named.next()) else {
                return Err(GateFault::RawMissing { leaf: leaf() });
            };
            let array = raw.column(at);
            if *array.data_type() != check.raw_type {
                return Err(GateFault::RawType { leaf: leaf() });
            }
            Ok(Some(array))
        })
        .collect()
}

pub(crate) fn check_schema(
    part: &'static str,
    batch: &RecordBatch,
    checks: &[ColumnCheck],
) -> Result<(), GateFault> {
    let schema = batch.schema_ref();
    let (found, expected) = (schema.fields().len(), checks.len());
    if found != expected {
        return Err(GateFault::ColumnCount { part, found, expected });
    }
    for (at, (field, check)) in schema.fields().iter().zip(checks).enumerate() {
        let column = || check.name.clone();
        if *field.name() != check.name {
            return Err(GateFault::ColumnName { part, at, expected: column() });
        }
        if *field.data_type() != check.out_type || *batch.column(at).data_type() != check.out_type {
            return Err(GateFault::ColumnArrow { part, column: column() });
        }
        if field.is_nullable() != check.nullable {
            let (found, expected) = (field.is_nullable(), check.nullable);
            return Err(GateFault::Nullability { part, column: column(), found, expected });
        }
    }
    Ok(())
}

pub(crate) fn check_columns(
    release: &Release,
    columns: &[Column],
    part: &str,
    prefix: &str,
    keys: &GateKeys,
) -> Result<Vec<ColumnCheck>, GateFault> {
    let mut checks: Vec<ColumnCheck> = Vec::with_capacity(columns.len());
    for column in columns {
        if checks.iter().any(|check| check.name == column.name) {
            return Err(GateFault::ColumnTwice { column: column.name.clone() });
        }
        if part == "key" && column.on_bad != OnBad::Refuse {
            // Two rows under one key would delete each other.
            return Err(GateFault::Shape {
                column: column.name.clone(),
                part: "on_bad in the key",
            });
        }
        if let Shape::Derived { from, .. } = &column.shape {
            // The image before the change has no derived column: the two do not go together.
            let row = part == "row" && prefix == "after";
            if !row || !column.from.is_empty() || !column.nullable {
                let column = column.name.clone();
                return Err(GateFault::Shape { column, part: "derived column" });
            }
            floor::permit(release, column)?;
            let derived = DerivedCheck::new(release, column, from)?;
            checks.push(ColumnCheck::derived(column, derived)?);
            continue;
        }
        if statistics::is_statistic(&column.shape) {
            let leaf_type = statistics::check_column(release, column)?;
            floor::permit(release, column)?;
            checks.push(ColumnCheck::statistic(column, leaf_type, arrow_of(column)?));
            continue;
        }
        let raw = format!("{prefix}.{}", column.from);
        let leaf = release
            .leaves
            .iter()
            .find(|leaf| leaf.part == part && leaf.path == column.from)
            .ok_or_else(|| GateFault::UnknownLeaf {
                column: column.name.clone(),
                leaf: raw.clone(),
            })?;
        if leaf.class != column.class {
            return Err(GateFault::Class {
                column: column.name.clone(),
                class: column.class.clone(),
                leaf: leaf.class.clone(),
            });
        }
        floor::permit(release, column)?;
        let leaf_type: LeafType = leaf
            .leaf_type
            .parse()
            .map_err(|_| GateFault::ColumnType { column: column.name.clone() })?;
        let residual: Vec<String> =
            floor::overrides_of(release, column).flat_map(|o| o.residual.clone()).collect();
        checks.push(ColumnCheck::new(column, raw, leaf_type, keys, &residual)?);
    }
    Ok(checks)
}

pub(crate) fn check_target(release: &Release, target: &Target) -> Result<(), GateFault> {
    if target.topic != release.target.topic {
        return Err(GateFault::Topic { expected: release.target.topic.clone() });
    }
    if release.target.partition_by != "token" {
        return Err(GateFault::PartitionBy { found: release.target.partition_by.clone() });
    }
    let avro = match release.target.format.as_str() {
        // Of files: Arrow and Parquet are made from the Avro that was approved.
        "avro" | "arrow" | "parquet" => true,
        "json" | "json_lines" => false,
        other => return Err(GateFault::Format { found: other.to_owned() }),
    };
    if avro != target.value_schema_id.is_some() {
        return Err(GateFault::SchemaId { format: release.target.format.clone() });
    }
    if target.partitions == 0 || i32::try_from(target.partitions).is_err() {
        return Err(GateFault::Partitions { found: target.partitions });
    }
    if target.record_bytes_max < RECORD_BYTES_LEAST {
        let (bytes_max, expected) = (target.record_bytes_max, RECORD_BYTES_LEAST);
        return Err(GateFault::RecordBytes { bytes_max, expected });
    }
    Ok(())
}
