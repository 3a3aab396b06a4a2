//! The `sql` stage in the plan: which staged columns it reads, what crosses instead of them, which
//! rows, and the rule that lets each derived column cross.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, new_null_array};
use arrow::compute::{filter, take};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;
use douane_schemas::batch::{Origin, RowKind};
use douane_schemas::leaf::LeafType;
use douane_transforms::sql::{Bound, Derived, EvalFault, Input, Output, Query, SqlFault};
use douane_transforms::{Produces, Stage};

use super::OutputColumn;
use crate::config::{Class, Findings, Kind, Mark, Pipeline};
use crate::policy::{self, Refusal, Verdict};

/// What the `sql` stage makes of the staged columns. Indices are those of the plan's columns.
#[derive(Clone, Debug)]
pub struct SqlPlan {
    /// The whole in one spelling, `*` written out: what is signed.
    pub text: String,
    /// What crosses, in its order.
    pub outputs: Vec<SqlOutput>,
    /// Which rows cross; the columns that it reads.
    pub filter: Option<(Derived, Vec<usize>)>,
}

/// One column that crosses.
#[derive(Clone, Debug)]
pub enum SqlOutput {
    /// A staged column as it is.
    Leaf {
        column: usize,
        name: String,
    },
    Derived {
        column: DerivedColumn,
        derived: Derived,
    },
}

/// One column that is computed.
#[derive(Clone, Debug)]
pub struct DerivedColumn {
    pub name: String,
    /// The stage that computes it.
    pub verb: &'static str,
    /// How, in the spelling that is signed.
    pub text: String,
    pub leaf_type: LeafType,
    /// Whose values are in it.
    pub direct: Vec<usize>,
    /// Whose values decide what it is, or whether it fails.
    pub indirect: Vec<usize>,
    /// The strictest class of its direct leaves; public where it has none.
    pub class: Class,
    pub rule: String,
}

/// The text of the stage, its place, and the place of each of its characters.
struct Text<'p> {
    pipeline: &'p Pipeline,
    mark: Mark,
    text: &'p str,
}

impl Text<'_> {
    fn finding(&self, findings: &mut Findings, at: usize, kind: Kind, message: &str, next: &str) {
        let mark = self.pipeline.sql_marks.get(at).copied().unwrap_or(self.mark);
        super::finding(self.pipeline, findings, Some(mark), kind, format!("sql: {message}"))
            .next(next);
    }

    fn denied(&self, findings: &mut Findings, at: usize, refusal: &Refusal) {
        let mark = self.pipeline.sql_marks.get(at).copied().unwrap_or(self.mark);
        let message = format!("sql: {}", refusal.why);
        super::finding(self.pipeline, findings, Some(mark), Kind::Policy, message)
            .help(refusal.named())
            .next("leave the column out of it, or drop this part");
    }

    fn fault(&self, findings: &mut Findings, fault: &SqlFault) {
        self.finding(findings, fault.at, Kind::Sql, &fault.message, &fault.next);
    }
}

/// Applies the stage, where there is one, to the staged columns; those that it does not read are
/// taken out, so that they are never built. `known` says whether a column's type is more than a
/// guess.
pub(super) fn apply(
    pipeline: &Pipeline,
    columns: &mut Vec<OutputColumn>,
    known: &dyn Fn(&OutputColumn) -> bool,
    findings: &mut Findings,
) -> Option<SqlPlan> {
    let (text, mark) = pipeline.stages.iter().find_map(|(stage, mark)| match stage {
        Stage::Sql(config) => Some((config.0.as_str(), *mark)),
        _ => None,
    })?;
    let text = Text { pipeline, mark, text };
    if pipeline.changes.envelope.is_some() {
        let message = "the envelope shape brings the row before the change, which WHERE and SELECT \
                       do not see";
        text.finding(findings, 0, Kind::Sql, message, "write `shape: state`, or remove the stage");
        return None;
    }
    let query = Query::parse(text.text).map_err(|fault| text.fault(findings, &fault)).ok()?;
    // Names that other findings are about would be missed here once more.
    if !findings.is_empty() {
        return None;
    }
    let mut bind = |columns: &[OutputColumn]| {
        let inputs: Vec<Input> = columns.iter().map(|column| input(column, known)).collect();
        query
            .bind(&inputs)
            .map_err(|faults| faults.iter().for_each(|fault| text.fault(findings, fault)))
            .ok()
    };
    let used = used(&bind(columns)?);
    let mut at = 0..;
    columns.retain(|_| at.next().is_some_and(|at| used.contains(&at)));
    let bound = bind(columns)?;
    plan(&text, bound, columns, findings)
}

fn input(column: &OutputColumn, known: &dyn Fn(&OutputColumn) -> bool) -> Input {
    let domain = match column.produces() {
        Some(Produces::Token { domain, .. }) => Some(domain.clone()),
        // A ciphertext is no token, also where the two share a domain's name; nor do two ciphertexts
        // of one domain compare whose context or alphabet differ.
        Some(Produces::Fpe { domain, context, alphabet, .. }) => {
            Some(format!("{domain} (fpe `{context}` over `{alphabet}`)"))
        }
        _ => None,
    };
    let leaf_type = known(column).then_some(column.output);
    Input { name: column.name.clone(), leaf_type, domain }
}

fn used(bound: &Bound) -> BTreeSet<usize> {
    let mut used = BTreeSet::new();
    for output in &bound.outputs {
        match output {
            Output::Pass { input, .. } => {
                used.insert(*input);
            }
            Output::Derived { derived, .. } => {
                used.extend(derived.direct.iter().chain(&derived.indirect));
            }
        }
    }
    if let Some(filter) = &bound.filter {
        used.extend(filter.direct.iter().chain(&filter.indirect));
    }
    used
}

fn plan(
    text: &Text<'_>,
    bound: Bound,
    columns: &[OutputColumn],
    findings: &mut Findings,
) -> Option<SqlPlan> {
    let before = findings.len();
    let mut deny = |at: usize, verdict: Verdict| match verdict {
        Verdict::Allowed { rule } => Some(rule),
        Verdict::Denied(refusals) => {
            for refusal in &refusals {
                text.denied(findings, at, refusal);
            }
            None
        }
    };
    let of = |all: &BTreeSet<usize>| all.iter().map(|at| &columns[*at]).collect::<Vec<_>>();
    let mut outputs = Vec::new();
    for output in bound.outputs {
        outputs.push(match output {
            Output::Pass { input, name } => SqlOutput::Leaf { column: input, name },
            Output::Derived { name, derived } => {
                let direct = of(&derived.direct);
                let column = policy::Column::computed(
                    &name,
                    derived.leaf_type.to_string(),
                    policy::is_text(derived.leaf_type),
                    &direct,
                    &of(&derived.indirect),
                );
                let verdict = policy::column(text.pipeline, column);
                let Some(rule) = deny(derived.at, verdict) else { continue };
                let column = DerivedColumn {
                    name,
                    verb: "sql",
                    text: derived.text.clone(),
                    leaf_type: derived.leaf_type,
                    direct: derived.direct.iter().copied().collect(),
                    indirect: derived.indirect.iter().copied().collect(),
                    class: policy::strictest(direct.iter().map(|c| c.from.class)),
                    rule,
                };
                SqlOutput::Derived { column, derived }
            }
        });
    }
    let filter = bound.filter.map(|derived| {
        let reads: BTreeSet<usize> = &derived.direct | &derived.indirect;
        let column = policy::Column::filter(&of(&reads));
        deny(derived.at, policy::column(text.pipeline, column));
        (derived, reads.into_iter().collect())
    });
    (findings.len() == before).then_some(SqlPlan { text: bound.text, outputs, filter })
}

/// The stage as it is driven, batch by batch.
pub(super) struct Compiled {
    plan: SqlPlan,
    schema: SchemaRef,
}

impl Compiled {
    pub(super) fn new(plan: &SqlPlan, columns: &[OutputColumn]) -> Self {
        let field = |output: &SqlOutput| match output {
            SqlOutput::Leaf { column, name } => {
                Field::new(name, columns[*column].output.arrow(), true)
            }
            SqlOutput::Derived { column, .. } => {
                Field::new(&column.name, column.leaf_type.arrow(), true)
            }
        };
        let fields: Vec<Field> = plan.outputs.iter().map(field).collect();
        Self { plan: plan.clone(), schema: Arc::new(Schema::new(fields)) }
    }

    /// What crosses of the staged columns, and for each row whether it lies outside WHERE. A
    /// delete has no values: nothing is computed for it, and it bypasses WHERE.
    pub(super) fn evaluate(
        &self,
        staged: &RecordBatch,
        origins: &[Origin],
    ) -> Result<(RecordBatch, Vec<bool>), DataFusionError> {
        let rows = (0u32..).zip(origins);
        let upserts = rows.filter(|(_, origin)| origin.kind() == RowKind::Upsert);
        let upserts = UInt32Array::from_iter_values(upserts.map(|(row, _)| row));
        let mut outside = vec![false; origins.len()];
        let mut inside = upserts;
        if let Some((condition, _)) = &self.plan.filter {
            let values = picked(staged, &inside)?;
            let holds = condition.evaluate(&values, inside.len()).map_err(external)?;
            let holds = holds.as_boolean();
            for (n, row) in inside.values().iter().enumerate() {
                outside[*row as usize] = holds.is_null(n) || !holds.value(n);
            }
            // A null is not true either: `filter` leaves it out.
            inside = filter(&inside, holds)?.as_primitive().clone();
        }
        let values = picked(staged, &inside)?;
        let mut arrays = Vec::with_capacity(self.plan.outputs.len());
        for output in &self.plan.outputs {
            arrays.push(match output {
                SqlOutput::Leaf { column, .. } => Arc::clone(staged.column(*column)),
                SqlOutput::Derived { derived, .. } => {
                    let made = derived.evaluate(&values, inside.len()).map_err(external)?;
                    scattered(&made, &inside, staged.num_rows())?
                }
            });
        }
        Ok((RecordBatch::try_new(Arc::clone(&self.schema), arrays)?, outside))
    }
}

/// The columns at these rows.
fn picked(batch: &RecordBatch, rows: &UInt32Array) -> Result<Vec<ArrayRef>, DataFusionError> {
    if rows.len() == batch.num_rows() {
        return Ok(batch.columns().to_vec());
    }
    batch.columns().iter().map(|column| Ok(take(column, rows, None)?)).collect()
}

/// The other way round: null in every row that is not named.
fn scattered(made: &ArrayRef, rows: &UInt32Array, len: usize) -> Result<ArrayRef, DataFusionError> {
    if rows.len() == len {
        return Ok(Arc::clone(made));
    }
    if rows.is_empty() {
        return Ok(new_null_array(made.data_type(), len));
    }
    let mut places: Vec<Option<u32>> = vec![None; len];
    for (n, row) in (0u32..).zip(rows.values()) {
        places[*row as usize] = Some(n);
    }
    Ok(take(made, &UInt32Array::from(places), None)?)
}

/// A cell's fault as the stages report theirs.
fn external(fault: EvalFault) -> DataFusionError {
    match fault {
        EvalFault::Cell(fault) => DataFusionError::External(Box::new(fault)),
        EvalFault::Broken => DataFusionError::Internal(fault.to_string()),
    }
}
