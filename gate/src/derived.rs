//! Columns that the pipeline's SQL computes. The gate has no SQL: it cannot compute them once
//! more. It holds them to type, length and detectors, and refuses a row in which a derived text
//! holds the raw text of a leaf that may not cross as it is.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use douane_ledger::release::{Column, Release, ReleasedLeaf, Shape};
use douane_schemas::canonical;
use douane_schemas::leaf::LeafType;

use crate::refusal::RefusalReason;
use crate::{GateFault, floor};

/// Most bytes of a derived text.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Raw texts shorter than this stand in others by chance.
const RAW_CHARS_LEAST: usize = 6;

/// What a derived column is held to beside its type.
pub(crate) struct DerivedCheck {
    text: bool,
    /// Columns of the raw batch whose texts must not stand in it.
    hidden: Vec<String>,
}

impl DerivedCheck {
    /// Compiles a derived column of the release; `from` are the paths that its shape names.
    pub(crate) fn new(
        release: &Release,
        column: &Column,
        from: &[String],
    ) -> Result<Self, GateFault> {
        let mut classes = Vec::new();
        for path in from {
            let leaf = |leaf: &&ReleasedLeaf| leaf.part == "row" && leaf.path == *path;
            let leaf = release.leaves.iter().find(leaf).ok_or_else(|| GateFault::UnknownLeaf {
                column: column.name.clone(),
                leaf: format!("after.{path}"),
            })?;
            classes.push(leaf.class.as_str());
        }
        let strictest = floor::strictest(&classes);
        if strictest != column.class {
            return Err(GateFault::Class {
                column: column.name.clone(),
                class: column.class.clone(),
                leaf: strictest.to_owned(),
            });
        }
        let out: LeafType = column
            .column_type
            .parse()
            .map_err(|_| GateFault::ColumnType { column: column.name.clone() })?;
        let text = out.arrow() == DataType::Utf8;
        if text && classes.contains(&"free_text") || out == LeafType::Opaque {
            let column = column.name.clone();
            return Err(GateFault::Shape { column, part: "derived type" });
        }
        let hidden = release.leaves.iter().filter(|leaf| is_hidden(release, leaf, from));
        let name = |leaf: &ReleasedLeaf| match leaf.part.as_str() {
            "key" => format!("key.{}", leaf.path),
            _ => format!("after.{}", leaf.path),
        };
        Ok(Self { text, hidden: hidden.map(name).collect() })
    }

    /// The raw columns that must not stand in it, as far as they were built.
    pub(crate) fn hidden<'a>(&self, raw: &'a RecordBatch) -> Vec<&'a ArrayRef> {
        if !self.text {
            return Vec::new();
        }
        self.hidden.iter().filter_map(|name| raw.column_by_name(name)).collect()
    }

    /// Holds one cell; its type was checked before.
    pub(crate) fn hold(
        &self,
        out: &ArrayRef,
        hidden: &[&ArrayRef],
        row: usize,
    ) -> Result<(), RefusalReason> {
        if !self.text || out.is_null(row) {
            return Ok(());
        }
        let found = out.as_string::<i32>().value(row);
        if found.len() > TEXT_BYTES_MAX {
            return Err(RefusalReason::DerivedTooLong);
        }
        // SQL has `lower` and `upper`: letters are compared without their case.
        let found = found.to_lowercase();
        let mut text = String::new();
        for raw in hidden.iter().filter(|raw| !raw.is_null(row)) {
            text.clear();
            canonical::write(raw, row, &mut text).map_err(|_| RefusalReason::OutOfRange)?;
            let raw = text.trim().to_lowercase();
            if raw.chars().count() >= RAW_CHARS_LEAST && found.contains(&raw) {
                return Err(RefusalReason::DerivedHoldsRaw);
            }
        }
        Ok(())
    }
}

/// Whether a leaf's raw text has no place in a column that is derived from `from`. Numbers that
/// name nobody are left out: a bin's label holds its bounds.
fn is_hidden(release: &Release, leaf: &ReleasedLeaf, from: &[String]) -> bool {
    let as_it_is = |column: &Column| column.from == leaf.path && column.shape == Shape::Public;
    let by_override = leaf.class == "sensitive"
        && from.contains(&leaf.path)
        && release
            .overrides
            .iter()
            .any(|o| o.share_domain.is_none() && o.columns.contains(&leaf.path));
    let number = leaf.leaf_type.parse().is_ok_and(|leaf_type: LeafType| {
        let number = leaf_type.arrow().is_numeric() || leaf_type.arrow() == DataType::Boolean;
        number || leaf_type == LeafType::VariableScaleDecimal
    });
    let public = matches!(leaf.class.as_str(), "public" | "metadata");
    let crosses = public || by_override || release.columns.iter().any(as_it_is);
    !crosses && (!number || leaf.class == "identifier")
}
