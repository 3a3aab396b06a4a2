//! What an `aggregate` stage lets cross: the window, the groups' public keys, and integers with
//! noise. No column is a leaf's.

use douane_schemas::leaf::LeafType;

use super::{ClassedLeaf, Part, finding};
use crate::config::aggregate::{Aggregate, Part as Noised, WINDOW_COLUMN, column_of};
use crate::config::{Class, Findings, Kind, Pipeline};
use crate::policy;

/// One column of the statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateColumn {
    pub name: String,
    pub column_type: LeafType,
    /// The strictest class of the leaves whose values are in it.
    pub class: Class,
    /// Paths of the row's leaves whose values are in it.
    pub direct: Vec<String>,
    pub residency: Option<String>,
    pub role: Role,
    /// Units or rows are counted, and no value of the leaf is read.
    pub counted: bool,
    /// Leaves that the stage reads, all of them, with the first column; none with the others.
    pub reads: Vec<String>,
    /// The rule of the policy that lets it cross.
    pub rule: String,
}

/// What a column of the statistics holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The first instant of the window.
    Window { from_ms: i64, every_ms: u64 },
    /// One of the published keys.
    Group { keys: Vec<String> },
    /// A key of the rows whose noised count of units is at least this.
    Selected { at_least: u32 },
    /// An integer with noise, in these words, or an array of so many.
    Noised { statistic: String, dims: Option<u32> },
}

/// The columns that cross, in order: the window, the groups, the statistics.
pub(super) fn columns(
    pipeline: &Pipeline,
    aggregate: &Aggregate,
    classed: &[ClassedLeaf],
    findings: &mut Findings,
) -> Vec<AggregateColumn> {
    let mut plan = Planning { pipeline, aggregate, classed, findings };
    let mut columns = vec![AggregateColumn {
        name: WINDOW_COLUMN.to_owned(),
        column_type: LeafType::Timestamp,
        class: Class::Public,
        direct: Vec::new(),
        residency: None,
        role: Role::Window { from_ms: aggregate.from_ms, every_ms: aggregate.every_ms },
        counted: false,
        reads: aggregate.leaves().into_iter().map(str::to_owned).collect(),
        rule: policy::WINDOW.to_owned(),
    }];
    plan.reads(&aggregate.unit, "the unit", |t| {
        !matches!(t, LeafType::Float32 | LeafType::Float64 | LeafType::Array | LeafType::Opaque)
    });
    plan.reads(&aggregate.time, "the window's time", is_time);
    for group in &aggregate.groups {
        plan.reads(&group.leaf, "a group", |t| {
            !matches!(t, LeafType::Float32 | LeafType::Float64 | LeafType::Array | LeafType::Opaque)
        });
        let role = match aggregate.threshold {
            Some(at_least) => Role::Selected { at_least },
            None => Role::Group { keys: group.keys.clone() },
        };
        let name = column_of(&group.leaf);
        let direct = vec![group.leaf.clone()];
        columns.extend(plan.column(name, LeafType::Text, direct, role, false));
    }
    for leaf in &aggregate.columns {
        plan.reads(leaf, "a statistic", is_number);
    }
    if let Some(leaf) = &aggregate.vector {
        plan.reads(leaf, "a vector", |t| matches!(t, LeafType::Array | LeafType::Bytes));
    }
    for Noised { name, words, leaf, dims, .. } in aggregate.parts() {
        let role = Role::Noised { statistic: words, dims };
        let counted = leaf.is_none();
        let direct = vec![leaf.unwrap_or_else(|| aggregate.unit.clone())];
        let column_type = if dims.is_some() { LeafType::Array } else { LeafType::Int64 };
        columns.extend(plan.column(name, column_type, direct, role, counted));
    }
    columns
}

fn is_time(leaf_type: LeafType) -> bool {
    matches!(
        leaf_type,
        LeafType::Date
            | LeafType::Timestamp
            | LeafType::MicroTimestamp
            | LeafType::NanoTimestamp
            | LeafType::ZonedTimestamp
    )
}

fn is_number(leaf_type: LeafType) -> bool {
    matches!(
        leaf_type,
        LeafType::Int16
            | LeafType::Int32
            | LeafType::Int64
            | LeafType::Float32
            | LeafType::Float64
            | LeafType::Decimal { .. }
    )
}

/// A type that the stage reads a leaf as, where only the source knows.
pub(super) fn likely(aggregate: &Aggregate, path: &str) -> LeafType {
    let value = aggregate.columns.iter().any(|leaf| leaf == path);
    match () {
        () if aggregate.time == path => LeafType::Timestamp,
        () if value => LeafType::Int64,
        () if aggregate.vector.as_deref() == Some(path) => LeafType::Array,
        () => LeafType::Text,
    }
}

struct Planning<'a> {
    pipeline: &'a Pipeline,
    aggregate: &'a Aggregate,
    classed: &'a [ClassedLeaf],
    findings: &'a mut Findings,
}

impl Planning<'_> {
    fn leaf(&self, path: &str) -> Option<&ClassedLeaf> {
        self.classed.iter().find(|leaf| leaf.part == Part::Row && leaf.leaf.path == path)
    }

    /// The row has the leaf, of a type that serves.
    fn reads(&mut self, path: &str, what: &str, fits: impl Fn(LeafType) -> bool) {
        let mark = Some(self.aggregate.mark);
        let Some(found) = self.leaf(path).map(|leaf| leaf.leaf.leaf_type) else {
            let message = format!("`aggregate` reads `{path}`, which the row does not have");
            finding(self.pipeline, self.findings, mark, Kind::MatchesNothing, message)
                .next("name a leaf of the row");
            return;
        };
        if !fits(found) {
            let message = format!("`{path}` is of type {found}, which is no type for {what}");
            finding(self.pipeline, self.findings, mark, Kind::Stage, message)
                .next(format_args!("give `{path}` its type under `types`, or name another leaf"));
        }
    }

    fn column(
        &mut self,
        name: String,
        column_type: LeafType,
        direct: Vec<String>,
        role: Role,
        counted: bool,
    ) -> Option<AggregateColumn> {
        let leaf = self.leaf(direct.first()?)?;
        let (class, residency) = (leaf.class, leaf.residency.clone());
        let asked = column_type.to_string();
        let asked = policy::Column::statistic(&name, asked, &role, counted, &[leaf]);
        match policy::column(self.pipeline, asked) {
            policy::Verdict::Allowed { rule } => {
                let reads = Vec::new();
                let column = AggregateColumn {
                    name,
                    column_type,
                    class,
                    direct,
                    residency,
                    role,
                    counted,
                    reads,
                    rule,
                };
                Some(column)
            }
            policy::Verdict::Denied(refusals) => {
                let mark = Some(self.aggregate.mark);
                for refusal in &refusals {
                    super::denied(self.pipeline, self.findings, mark, Some(&name), refusal);
                }
                None
            }
        }
    }
}
