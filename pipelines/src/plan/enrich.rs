//! What `enrich` means for a plan: columns that no leaf of the row is the value of, but whose key one
//! is; and how they are filled, batch by batch, from statistics that were read before.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;
use douane_schemas::batch::{Origin, RowKind};
use douane_schemas::canonical as text;
use douane_schemas::leaf::LeafType;

use super::{DerivedColumn, OutputColumn, Part, Plan, finding};
use crate::config::{Class, Enrich, Findings, Kind, Missing, Pipeline, quoted};
use crate::enrich::Statistics;
use crate::policy::{self, Verdict};

/// What rows get of published statistics.
#[derive(Clone, Debug)]
pub struct Enriched {
    pub said: Enrich,
    /// In the order of `said.columns`; they cross behind all others.
    pub columns: Vec<DerivedColumn>,
}

/// Joins what the file says with what crosses.
pub(super) fn of(pipeline: &Pipeline, plan: &Plan, findings: &mut Findings) -> Option<Enriched> {
    let said = pipeline.enrich.as_ref()?;
    let mut fault = |why: String, next: &str| {
        let message = format!("enrich: {why}");
        finding(pipeline, findings, Some(said.mark), Kind::Policy, message).next(next);
    };
    let mut keys = Vec::new();
    for leaf in said.groups.values() {
        let at = plan.columns.iter().position(|column| column.from.leaf.path == *leaf);
        match at.map(|at| (at, &plan.columns[at])) {
            Some((at, column)) if is_plain(column) => keys.push(at),
            Some(_) => fault(
                format!("`{leaf}` does not cross as it is, and a statistic of its group tells it"),
                "name a leaf of class `public` without a stage",
            ),
            None => fault(
                format!("`{leaf}` does not cross, and a statistic of its group tells it"),
                "let it cross; where there is `sql`, select it",
            ),
        }
    }
    let outputs = plan.outputs();
    let direct: Vec<&OutputColumn> = keys.iter().map(|at| &plan.columns[*at]).collect();
    let mut columns: Vec<DerivedColumn> = Vec::new();
    for (there, here) in &said.columns {
        let known = |name: &str| outputs.iter().any(|crosses| crosses.name() == name);
        if known(here) || columns.iter().any(|column| column.name == *here) {
            fault(format!("column `{}` crosses already", quoted(here)), "give it another name");
            continue;
        }
        let (name, leaf_type) = (here.clone(), LeafType::Int64);
        let column = policy::Column::computed(&name, leaf_type.to_string(), false, &direct, &[]);
        let rule = match policy::column(pipeline, column) {
            Verdict::Allowed { rule } => rule,
            Verdict::Denied(refusals) => {
                refusals.iter().for_each(|refusal| {
                    fault(format!("`{name}`: {}", refusal.why), "leave it out");
                });
                continue;
            }
        };
        columns.push(DerivedColumn {
            name,
            verb: "enrich",
            text: format!(
                "{there} of {}, published by {}, of the window before the record's; {}",
                said.topic,
                said.pipeline,
                match said.missing {
                    Missing::Nullify => "null where there is none",
                    Missing::Quarantine => "set aside where there is none",
                }
            ),
            leaf_type,
            direct: keys.clone(),
            indirect: Vec::new(),
            class: policy::strictest(direct.iter().map(|column| column.from.class)),
            rule,
        });
    }
    Some(Enriched { said: said.clone(), columns })
}

/// Outside it is what it is in the row.
fn is_plain(column: &OutputColumn) -> bool {
    column.protection.is_none() && column.from.class == Class::Public
}

/// The stage as it is driven, batch by batch.
pub(super) struct Joined {
    said: Enrich,
    /// Columns of a decoded batch.
    keys: Vec<String>,
    /// `None`: none are read, as in a trial.
    pub known: Option<Arc<Statistics>>,
}

/// A row without statistics, where it is set aside for that.
#[derive(Debug, thiserror::Error)]
#[error("the statistics of a row are not published")]
pub(super) struct NotPublished;

impl Joined {
    pub fn new(enriched: &Enriched) -> Self {
        let keys = enriched.said.groups.values().map(|leaf| Part::Row.column(leaf)).collect();
        Self { said: enriched.said.clone(), keys, known: None }
    }

    /// Puts the columns behind the others, for rows that cross.
    pub fn beside(
        &self,
        columns: &RecordBatch,
        rows: &RecordBatch,
        origins: &[Origin],
        outside: &[bool],
    ) -> Result<RecordBatch, DataFusionError> {
        let keys: Vec<&ArrayRef> =
            self.keys.iter().filter_map(|name| rows.column_by_name(name)).collect();
        let mut made: Vec<Vec<Option<i64>>> = vec![Vec::new(); self.said.columns.len()];
        for (row, origin) in origins.iter().enumerate() {
            let crosses = origin.kind() == RowKind::Upsert && !outside[row];
            let known = self.known.as_ref().filter(|_| crosses);
            let found = known.and_then(|known| {
                let at_ms = Some(origin.timestamp_ms).filter(|at_ms| *at_ms >= 0)?;
                let key: Option<Vec<String>> = keys.iter().map(|key| cell(key, row)).collect();
                known.of(self.said.window_before(at_ms), &key?)
            });
            if known.is_some() && found.is_none() && self.said.missing == Missing::Quarantine {
                return Err(DataFusionError::External(Box::new(NotPublished)));
            }
            for (at, values) in made.iter_mut().enumerate() {
                values.push(found.and_then(|found| found.get(at).copied().flatten()));
            }
        }
        let mut fields: Vec<Field> =
            columns.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        let mut arrays = columns.columns().to_vec();
        for (name, values) in self.said.columns.values().zip(made) {
            fields.push(Field::new(name, DataType::Int64, true));
            arrays.push(Arc::new(Int64Array::from(values)));
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }
}

fn cell(array: &ArrayRef, row: usize) -> Option<String> {
    let mut out = String::new();
    (!array.is_null(row) && text::write(array, row, &mut out).is_ok()).then_some(out)
}
