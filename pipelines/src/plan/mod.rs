//! The plan: what each output column is made of. Made once with DataFusion, driven per batch as
//! physical expressions, so that the borders of batches stay the run loop's.

pub(crate) mod aggregate;
mod enrich;
mod min_group;
mod sql;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion_common::{Column as ColumnName, DFSchema, DataFusionError};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{ColumnarValue, Expr};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use douane_ledger::release::{RecordEnvelope, Unavailable, UnknownLeaf};
use douane_schemas::batch::{Batch, Origin};
use douane_schemas::debezium::{Decoder, Limits, Placeholder, TableName};
use douane_schemas::leaf::{Leaf, LeafType, TableLeaves};
use douane_transforms::{Declared, Keyring, Normalize, Produces, Stage, TransformFault};

use crate::config::{
    Class, Expected, Finding, Findings, Kind, Mark, Override, Pipeline, nearest, quoted,
};
use crate::enrich::Statistics;
use crate::names::typed;
use crate::policy::{self, Refusal, Verdict};

pub use aggregate::{AggregateColumn, Role};
pub use enrich::Enriched;
pub use min_group::MinGroup;
pub use sql::{DerivedColumn, SqlOutput, SqlPlan};

/// Which part of a record a leaf belongs to. Column names carry it: `key.id`, `after.id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Key,
    Row,
}

/// What the names of a row's columns begin with in a decoded batch, and in `key_per`.
const ROW: &str = "after.";

impl Part {
    /// The column of a leaf in a decoded batch.
    pub fn column(self, path: &str) -> String {
        match self {
            Self::Key => format!("key.{path}"),
            Self::Row => format!("after.{path}"),
        }
    }
}

/// Where a column's leaf is read from.
#[derive(Clone, Copy)]
enum Image {
    /// The key, or the row after the change.
    Own,
    /// The row before it.
    Before,
}

/// The column of a row's leaf before the change.
fn before(path: &str) -> String {
    format!("before.{path}")
}

/// What one leaf is, all rules applied.
#[derive(Clone, Debug)]
pub struct ClassedLeaf {
    pub part: Part,
    pub leaf: Leaf,
    pub class: Class,
    pub residency: Option<String>,
    pub subject: bool,
}

/// One column that crosses, and why it may.
#[derive(Clone, Debug)]
pub struct OutputColumn {
    /// The leaf's path with `_` for `.`.
    pub name: String,
    pub from: ClassedLeaf,
    pub protection: Option<Protection>,
    pub output: LeafType,
    /// The rule of the policy that lets it cross.
    pub rule: String,
}

impl<'a> Crosses<'a> {
    /// Its name outside.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Leaf(name, _) => name,
            Self::Derived(column) => &column.name,
            Self::Noised(column) => &column.name,
        }
    }
}

/// The one protection on a column.
#[derive(Clone, Debug)]
pub struct Protection {
    pub stage: Stage,
    pub declared: Declared,
}

impl OutputColumn {
    pub fn produces(&self) -> Option<&Produces> {
        self.protection.as_ref().map(|p| &p.declared.produces)
    }

    fn expr(&self, image: Image, function: Option<datafusion_expr::ScalarUDF>) -> Expr {
        let path = &self.from.leaf.path;
        let name = match image {
            Image::Own => self.from.part.column(path),
            Image::Before => before(path),
        };
        let column = |name: String| Expr::Column(ColumnName::new_unqualified(name));
        // Whose the row was before says the row before.
        let per = self.key_per().map(|leaf| match (image, leaf.strip_prefix(ROW)) {
            (Image::Before, Some(path)) => before(path),
            _ => leaf.to_owned(),
        });
        match function {
            Some(function) => function.call(std::iter::once(name).chain(per).map(column).collect()),
            None => column(name),
        }
    }

    /// The column of a decoded batch that says whose key a cell is protected under.
    fn key_per(&self) -> Option<&str> {
        self.protection.as_ref()?.declared.key_per()
    }
}

/// Plain data: everything that is decided before a record is read.
#[derive(Clone, Debug)]
pub struct Plan {
    pub leaves: TableLeaves,
    pub classed: Vec<ClassedLeaf>,
    /// The output key's columns, in key order; empty for a table without a key.
    pub keys: Vec<OutputColumn>,
    /// The columns after their stages, in the order of the row's leaves: what crosses, or, where
    /// there is a `sql` stage, what it reads.
    pub columns: Vec<OutputColumn>,
    /// What the `sql` stage lets cross instead of `columns`.
    pub sql: Option<SqlPlan>,
    /// Leaves of the row that do not cross and are read all the same: they say whose key a cell is
    /// protected under, or whose a row is.
    pub subjects: Vec<Leaf>,
    /// Which rows stay behind for the size of their group.
    pub min_group: Option<MinGroup>,
    /// Columns of published statistics, behind all others.
    pub enriched: Option<Enriched>,
    /// What the `aggregate` stage lets cross instead of rows; then there is nothing else.
    pub aggregate: Option<Vec<AggregateColumn>>,
}

/// One column of the output: a leaf's, under its name outside, or one that is computed of rows, or
/// of many.
#[derive(Clone, Copy, Debug)]
pub enum Crosses<'a> {
    Leaf(&'a str, &'a OutputColumn),
    Derived(&'a DerivedColumn),
    Noised(&'a AggregateColumn),
}

impl Plan {
    /// Joins what the leaves are with what the pipeline says of them. Every fault at once.
    pub fn new(pipeline: &Pipeline, leaves: TableLeaves) -> Result<Self, Findings> {
        Self::with_types(pipeline, leaves, &|_| true)
    }

    /// `known` says whether a column's type is more than a guess.
    fn with_types(
        pipeline: &Pipeline,
        leaves: TableLeaves,
        known: &dyn Fn(&OutputColumn) -> bool,
    ) -> Result<Self, Findings> {
        let plan = Self::joined(pipeline, leaves, known)?;
        let refusals = policy::judge(pipeline, &plan);
        if refusals.is_empty() {
            return Ok(plan);
        }
        let mut findings = Findings::default();
        for refusal in &refusals {
            let mark = refusal.column.as_deref().and_then(|name| plan.mark_of(pipeline, name));
            denied(pipeline, &mut findings, mark, None, refusal);
        }
        Err(findings)
    }

    /// Every column with the rule that lets it cross.
    fn joined(
        pipeline: &Pipeline,
        leaves: TableLeaves,
        known: &dyn Fn(&OutputColumn) -> bool,
    ) -> Result<Self, Findings> {
        let mut findings = Findings::default();
        let classed = classify(pipeline, &leaves, &mut findings);
        if let Some(stage) = &pipeline.aggregate {
            let columns = aggregate::columns(pipeline, stage, &classed, &mut findings);
            return match findings.is_empty() {
                true => Ok(Self {
                    leaves,
                    classed,
                    keys: Vec::new(),
                    columns: Vec::new(),
                    sql: None,
                    subjects: Vec::new(),
                    min_group: None,
                    enriched: None,
                    aggregate: Some(columns),
                }),
                false => Err(findings),
            };
        }
        let mut keys = Vec::new();
        let mut columns = Vec::new();
        for leaf in &classed {
            if let Some(column) = output(pipeline, leaf, &mut findings) {
                match leaf.part {
                    Part::Key => keys.push(column),
                    Part::Row => columns.push(column),
                }
            }
        }
        if !leaves.key.is_empty() && keys.len() < leaves.key.len() {
            let message = "a leaf of the record key does not cross, so the output has no key";
            finding(pipeline, &mut findings, None, Kind::Policy, message).next(
                "give every leaf of the key a stage that lets it cross: a tombstone must reach \
                 its row outside",
            );
        }
        for key in &keys {
            if let Some(why) = merges_keys(pipeline, key) {
                let message = format!("`{}` in the record key: {why}", key.from.leaf.path);
                finding(pipeline, &mut findings, None, Kind::Policy, message).next(
                    "tokenize or encrypt it under a domain that normalises nothing: two rows \
                     under one key would delete each other",
                );
            }
        }
        if columns.is_empty() && findings.is_empty() {
            finding(pipeline, &mut findings, None, Kind::Policy, "no column crosses");
        }
        let subjects = subjects(pipeline, &leaves, (&keys, &columns), &mut findings);
        let mut names = BTreeSet::new();
        for column in &columns {
            if !names.insert(column.name.as_str()) {
                let message = format!("two leaves cross as column `{}`", column.name);
                finding(pipeline, &mut findings, None, Kind::Stage, message).next("drop one");
            }
        }
        let sql = sql::apply(pipeline, &mut columns, known, &mut findings);
        if !findings.is_empty() {
            return Err(findings);
        }
        let (min_group, enriched, aggregate) = (None, None, None);
        let mut plan =
            Self { leaves, classed, keys, columns, sql, subjects, min_group, enriched, aggregate };
        if let Some((group, leaf)) = min_group::of(pipeline, &plan, &mut findings) {
            plan.subjects.extend(leaf);
            plan.min_group = Some(group);
        }
        plan.enriched = enrich::of(pipeline, &plan, &mut findings);
        match findings.is_empty() {
            true => Ok(plan),
            false => Err(findings),
        }
    }

    /// The stage that a column outside is made by, where one leaf is.
    fn mark_of(&self, pipeline: &Pipeline, name: &str) -> Option<Mark> {
        let crossing = self.outputs().into_iter().find(|crosses| crosses.name() == name);
        let path = match crossing {
            Some(Crosses::Leaf(_, column)) => Some(&column.from.leaf.path),
            Some(Crosses::Derived(_) | Crosses::Noised(_)) => None,
            None => self.keys.iter().find(|key| key.name == name).map(|key| &key.from.leaf.path),
        }?;
        let mut stages = pipeline.stages.iter();
        stages.find(|(stage, _)| stage.columns().contains(path)).map(|(_, mark)| *mark)
    }

    /// The columns of the output, in its order.
    pub fn outputs(&self) -> Vec<Crosses<'_>> {
        if let Some(columns) = &self.aggregate {
            return columns.iter().map(Crosses::Noised).collect();
        }
        let mut outputs: Vec<Crosses<'_>> = match &self.sql {
            None => self.columns.iter().map(|c| Crosses::Leaf(&c.name, c)).collect(),
            Some(sql) => sql
                .outputs
                .iter()
                .map(|output| match output {
                    SqlOutput::Leaf { column, name } => Crosses::Leaf(name, &self.columns[*column]),
                    SqlOutput::Derived { column, .. } => Crosses::Derived(column),
                })
                .collect(),
        };
        let enriched = self.enriched.iter().flat_map(|enriched| &enriched.columns);
        outputs.extend(enriched.map(Crosses::Derived));
        outputs
    }

    /// Row leaves whose values are built; of all others only the names are read.
    pub fn built(&self) -> Vec<String> {
        if let Some(columns) = &self.aggregate {
            return columns.iter().flat_map(|column| column.reads.clone()).collect();
        }
        let crossing = self.columns.iter().map(|c| &c.from.leaf);
        crossing.chain(&self.subjects).map(|leaf| leaf.path.clone()).collect()
    }

    /// Whether any column has keys of single subjects.
    pub fn has_subjects(&self) -> bool {
        self.columns.iter().any(|column| column.key_per().is_some())
    }

    /// The decoder of the records that this plan is for.
    pub fn decoder(&self, pipeline: &Pipeline) -> Decoder {
        let (columns, changes) = (self.built(), &pipeline.changes);
        let format = pipeline.source.format;
        let declared: Vec<String> = pipeline.types.keys().cloned().collect();
        let mut decoder = Decoder::new(format, self.leaves.clone(), &columns, Limits::default())
            .declared(&declared);
        if self.aggregate.is_some() {
            decoder = decoder.with_images(&columns);
        }
        if let Some(RecordEnvelope { db, table, .. }) = &changes.envelope {
            let table = TableName { db: db.clone(), table: table.clone() };
            decoder = decoder.with_before(&columns, table, changes.keeps_deletes());
        }
        // The lint has seen that it is one.
        if let Some(Ok(known)) = changes.placeholder.as_deref().map(Placeholder::parse) {
            decoder = decoder.with_placeholder(&known);
        }
        if changes.unavailable == Unavailable::Nullify {
            decoder = decoder.nullify();
        }
        match changes.unknown_leaf {
            UnknownLeaf::Hold => decoder,
            UnknownLeaf::Strip => decoder.strip(),
        }
    }

    /// The batch's schema as the decoder makes it.
    fn input_schema(&self) -> Schema {
        let keys = self.leaves.key.iter().map(|leaf| (Part::Key, leaf));
        let built = || self.columns.iter().map(|column| &column.from.leaf).chain(&self.subjects);
        let before =
            built().map(|leaf| Field::new(before(&leaf.path), leaf.leaf_type.arrow(), true));
        let images = keys
            .chain(built().map(|leaf| (Part::Row, leaf)))
            .map(|(part, leaf)| Field::new(part.column(&leaf.path), leaf.leaf_type.arrow(), true));
        // Where no image before is built, nothing refers to its columns.
        Schema::new(images.chain(before).collect::<Vec<_>>())
    }

    /// Plans the columns' expressions with the keys in place.
    pub fn compile(&self, pipeline: &Pipeline, keyring: &Keyring) -> Result<Stages, PlanFault> {
        let input = self.input_schema();
        let schema = DFSchema::try_from(input).map_err(PlanFault::of)?;
        let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let side = |columns: &[OutputColumn], image: Image| -> Result<Side, PlanFault> {
            let mut fields = Vec::new();
            let mut exprs = Vec::new();
            for column in columns {
                let function = column
                    .protection
                    .as_ref()
                    .map(|p| {
                        let per = column.key_per().and_then(|per| leaf_of(&self.leaves, per));
                        p.stage.build_per(&column.from.leaf, per, &pipeline.domains, keyring)
                    })
                    .transpose()
                    .map_err(|fault| PlanFault::Stage {
                        column: column.name.clone(),
                        fault: fault.to_string(),
                    })?;
                let expr = column.expr(image, function);
                exprs.push(
                    create_physical_expr(&expr, &schema, &props, &context)
                        .map_err(PlanFault::of)?,
                );
                // As released: a key column is never null.
                let nullable = column.from.part == Part::Row;
                fields.push(Field::new(&column.name, column.output.arrow(), nullable));
            }
            Ok(Side { schema: Arc::new(Schema::new(fields)), exprs })
        };
        let envelope = pipeline.changes.envelope.is_some();
        let sql = self.sql.as_ref().map(|plan| sql::Compiled::new(plan, &self.columns));
        Ok(Stages {
            columns: side(&self.columns, Image::Own)?,
            keys: side(&self.keys, Image::Own)?,
            before: envelope.then(|| side(&self.columns, Image::Before)).transpose()?,
            sql,
            enriched: self.enriched.as_ref().map(enrich::Joined::new),
        })
    }
}

/// The plan cannot be made executable.
#[derive(Debug, thiserror::Error)]
pub enum PlanFault {
    #[error("column `{column}`: {fault}")]
    Stage { column: String, fault: String },
    /// DataFusion refused an expression of the plan. Its text quotes plan literals, never cells,
    /// and is left out all the same.
    #[error("the expression planner refused the plan; this is a fault of the program")]
    Planner,
}

impl PlanFault {
    fn of(_: DataFusionError) -> Self {
        Self::Planner
    }
}

/// The leaf of a column of a decoded batch.
fn leaf_of<'a>(leaves: &'a TableLeaves, column: &str) -> Option<&'a Leaf> {
    let key = leaves.key.iter().find(|leaf| Part::Key.column(&leaf.path) == column);
    key.or_else(|| leaves.row.iter().find(|leaf| Part::Row.column(&leaf.path) == column))
}

/// The leaves of the row that say whose a cell is and do not cross, each once.
fn subjects(
    pipeline: &Pipeline,
    leaves: &TableLeaves,
    (keys, columns): (&[OutputColumn], &[OutputColumn]),
    findings: &mut Findings,
) -> Vec<Leaf> {
    let mut fault = |column: &OutputColumn, why: &str, next: &str| {
        let message = format!("`{}`: {why}", column.from.leaf.path);
        finding(pipeline, findings, None, Kind::Domain, message).next(next);
    };
    for key in keys.iter().filter(|key| key.key_per().is_some()) {
        fault(
            key,
            "its domain has a key per subject, and it is in the record key: after `keys shred` no \
             delete would reach its row outside",
            "tokenize it in a domain without `key_per`",
        );
    }
    let mut subjects: Vec<Leaf> = Vec::new();
    for column in columns {
        use LeafType as T;
        let Some(per) = column.key_per() else { continue };
        let Some(leaf) = leaf_of(leaves, per) else {
            let why =
                format!("its domain has a key per `{per}`, which is no leaf of these records");
            fault(column, &why, "name a leaf such as `after.customer_id` or `key.id`");
            continue;
        };
        if matches!(leaf.leaf_type, T::Boolean | T::Json | T::Xml | T::Array | T::Opaque) {
            let found = leaf.leaf_type;
            let why = format!("its domain has a key per `{per}`, which is {found}: no one text");
            fault(column, &why, "name a leaf that identifies the subject");
        }
        let refuses = column.protection.as_ref().is_none_or(|p| p.stage.on_bad().is_refuse());
        if refuses && pipeline.changes.envelope.is_some() {
            fault(
                column,
                "its domain has a key per subject, and the shape is the envelope: after `keys shred` \
                 a delete, whose row before has that subject, would hold its partition",
                "write `on_bad: null` in its stage: cells of shredded subjects cross as null",
            );
        }
        let crosses = |c: &OutputColumn| Part::Row.column(&c.from.leaf.path) == per;
        let known = columns.iter().any(crosses) || subjects.iter().any(|s| s.path == leaf.path);
        if per.starts_with(ROW) && !known {
            subjects.push(leaf.clone());
        }
    }
    subjects
}

/// Why two different keys might become one, if they might.
fn merges_keys(pipeline: &Pipeline, key: &OutputColumn) -> Option<&'static str> {
    let protection = key.protection.as_ref()?;
    if !protection.stage.on_bad().is_refuse() {
        return Some("`on_bad` makes one value of all that its stage cannot take");
    }
    if !protection.stage.guarantees().keeps_uniqueness {
        return Some("its stage does not keep different values different");
    }
    let normalises = |(_, domain): &(_, String)| {
        let domain = pipeline.domains.domains.get(domain);
        domain.is_some_and(|domain| domain.normalize != Normalize::None)
    };
    let folds = protection.declared.keys.iter().any(normalises);
    folds.then_some("its domain's normaliser makes different values one")
}

/// What can be said of a pipeline before the source is seen: a leaf whose type only the source
/// knows is taken to be of one that its stage accepts.
pub fn lint(pipeline: &Pipeline) -> Findings {
    let leaf = |path: &String| Leaf {
        path: path.clone(),
        leaf_type: pipeline.types.get(path).copied().unwrap_or_else(|| likely(pipeline, path)),
    };
    let leaves = TableLeaves {
        key: pipeline.source.key.iter().flatten().map(leaf).collect(),
        row: pipeline.classes.iter().map(|rule| leaf(&rule.path)).collect(),
    };
    let known = |column: &OutputColumn| {
        column.protection.is_some()
            || !pipeline.source.has_schema()
            || pipeline.types.contains_key(&column.from.leaf.path)
    };
    match Plan::with_types(pipeline, leaves, &known) {
        Ok(plan) => cases(pipeline, &plan),
        Err(findings) => findings,
    }
}

/// Columns that a test expects and that do not cross.
fn cases(pipeline: &Pipeline, plan: &Plan) -> Findings {
    let mut findings = Findings::default();
    let outputs = plan.outputs();
    let names: Vec<&str> = outputs.iter().map(Crosses::name).collect();
    let rows = pipeline.tests.iter().flat_map(|case| case.output.iter().flatten());
    for expected in rows {
        let Expected::Row { mark, cells } = expected else { continue };
        for name in cells.keys().filter(|name| !names.contains(&name.as_str())) {
            let shown = quoted(name);
            let message = format!("a test expects column `{shown}`, which does not cross");
            let found =
                finding(pipeline, &mut findings, Some(*mark), Kind::MatchesNothing, message);
            match nearest(name, &names) {
                Some(near) => found.next(format_args!("write `{near}`, or remove it here")),
                None => found.next("remove it here; what must not cross stands under `absent`"),
            };
        }
    }
    findings
}

fn likely(pipeline: &Pipeline, path: &str) -> LeafType {
    likely_for(pipeline, path, |_| true)
}

/// A type that the leaf's stage accepts, and whoever asks.
pub(crate) fn likely_for(
    pipeline: &Pipeline,
    path: &str,
    fits: impl Fn(LeafType) -> bool,
) -> LeafType {
    if let Some(stage) = &pipeline.aggregate {
        return aggregate::likely(stage, path);
    }
    if !pipeline.source.has_schema() {
        return LeafType::Text;
    }
    let stage = pipeline.stages.iter().find(|(stage, _)| stage.columns().iter().any(|c| c == path));
    let takes = |leaf_type: &LeafType| match stage {
        _ if !fits(*leaf_type) => false,
        None => true,
        Some((stage, _)) => {
            let leaf = Leaf { path: path.to_owned(), leaf_type: *leaf_type };
            stage.declare(&leaf, &pipeline.domains).is_ok()
        }
    };
    let names = LeafType::names().filter_map(|name| name.parse().ok());
    [LeafType::Text].into_iter().chain(names).find(takes).unwrap_or(LeafType::Text)
}

/// An error in the pipeline's file, at a line or about the whole.
fn finding<'f>(
    pipeline: &Pipeline,
    findings: &'f mut Findings,
    at: Option<Mark>,
    kind: Kind,
    message: impl Into<String>,
) -> &'f mut Finding {
    let file = pipeline.file.display().to_string();
    let message = message.into();
    // About the whole: of a file of many tables, which one.
    let message = match (&pipeline.table, at) {
        (Some(table), None) => format!("table `{}`: {message}", table.name),
        _ => message,
    };
    findings.error(&file, at.unwrap_or(Mark::FILE), kind, message)
}

fn classify(
    pipeline: &Pipeline,
    leaves: &TableLeaves,
    findings: &mut Findings,
) -> Vec<ClassedLeaf> {
    let mut used = BTreeSet::new();
    let mut classed = Vec::new();
    let parts = leaves.key.iter().map(|l| (Part::Key, l));
    for (part, leaf) in parts.chain(leaves.row.iter().map(|l| (Part::Row, l))) {
        let Some(rule) = pipeline.classes.iter().find(|rule| rule.path == leaf.path) else {
            let shown = part.column(&leaf.path);
            let message = format!("no class for leaf `{shown}`");
            // Where the new class goes: below the last one.
            let at = pipeline.classes.last().map(|rule| rule.line);
            let file = typed(&pipeline.file);
            finding(pipeline, findings, at, Kind::Class, message)
                .help(format!(
                    "propose: `{}: identifier` (an unknown leaf defaults to identifier)",
                    leaf.path
                ))
                .next(format_args!(
                    "add the class and a stage for it, then `douane release propose {file}`"
                ));
            continue;
        };
        used.insert(rule.path.as_str());
        classed.push(ClassedLeaf {
            part,
            leaf: leaf.clone(),
            class: rule.class,
            residency: rule.residency.clone(),
            subject: rule.subject,
        });
    }
    for rule in pipeline.classes.iter().filter(|rule| !used.contains(rule.path.as_str())) {
        let message = format!("class for `{}` matches no leaf of the source", rule.path);
        let file = pipeline.classes_file.display().to_string();
        findings
            .error(&file, rule.line, Kind::MatchesNothing, message)
            .next("remove the rule, or mend its path");
    }
    classed
}

/// The output column a leaf becomes; `None` where it stays behind or a finding says why not.
fn output(
    pipeline: &Pipeline,
    from: &ClassedLeaf,
    findings: &mut Findings,
) -> Option<OutputColumn> {
    let path = &from.leaf.path;
    let mut stages =
        pipeline.stages.iter().filter(|(stage, _)| stage.columns().iter().any(|c| c == path));
    let first = stages.next();
    if let Some((second, line)) = stages.next() {
        let message = format!("column `{path}` has a second stage, `{}`", second.verb());
        finding(pipeline, findings, Some(*line), Kind::ProtectedTwice, message)
            .next("keep one: the gate holds a column to one protection of its raw leaf");
        return None;
    }
    let mut protection = None;
    if let Some((stage, line)) = first {
        match stage.declare(&from.leaf, &pipeline.domains) {
            // Dropped: it stays behind.
            Ok(None) => return None,
            Ok(Some(declared)) => protection = Some(Protection { stage: stage.clone(), declared }),
            Err(fault) => {
                let message = format!("stage `{}` on `{path}`: {fault}", stage.verb());
                finding(pipeline, findings, Some(*line), Kind::Stage, message);
                return None;
            }
        }
    }
    let never = matches!(from.class, Class::Secret | Class::Technical);
    if protection.is_none() && never {
        // Never crosses and needs no stage to stay behind.
        return None;
    }
    if from.leaf.leaf_type == LeafType::Opaque {
        let message = format!("leaf `{path}` is a record that this version does not take apart");
        finding(pipeline, findings, None, Kind::Stage, message).next("drop it");
        return None;
    }
    // One that shares a domain lets nothing cross by itself.
    let names = |o: &&Override| o.share_domain.is_none() && o.columns.contains(path);
    let overrides: Vec<_> = pipeline.overrides.iter().filter(names).collect();
    if let [first, second, ..] = overrides[..] {
        let message =
            format!("`{path}` is named by two overrides, `{}` and `{}`", first.name, second.name);
        finding(pipeline, findings, None, Kind::Override, message)
            .next("name it in one: which one lets it cross must not hang on their order");
        return None;
    }
    let produces = protection.as_ref().map(|p| &p.declared.produces);
    let name = path.replace('.', "_");
    match policy::column(pipeline, policy::Column::leaf(&name, from, produces)) {
        Verdict::Allowed { rule } => {
            let output = protection.as_ref().map_or(from.leaf.leaf_type, |p| p.declared.output);
            Some(OutputColumn { name, from: from.clone(), protection, output, rule })
        }
        Verdict::Denied(refusals) => {
            for refusal in &refusals {
                match first {
                    Some((_, line)) => denied(pipeline, findings, Some(*line), Some(path), refusal),
                    None => bare(pipeline, findings, path, refusal),
                }
            }
            None
        }
    }
}

/// A leaf without a stage that a policy denies: at its class, for there is no other line about it.
fn bare(pipeline: &Pipeline, findings: &mut Findings, path: &str, refusal: &Refusal) {
    let rule = pipeline.classes.iter().find(|rule| rule.path == path);
    let file = pipeline.classes_file.display().to_string();
    let message = format!("`{}`: {}", quoted(path), refusal.why);
    findings
        .error(&file, rule.map_or(Mark::FILE, |rule| rule.line), Kind::Policy, message)
        .help(refusal.named())
        .next(format_args!(
            "give it a stage: `- drop: {{ columns: [{}] }}` keeps it inside, others make of it what may cross",
            quoted(path)
        ));
}

/// What a policy denies, by the name of its rule.
fn denied(
    pipeline: &Pipeline,
    findings: &mut Findings,
    at: Option<Mark>,
    path: Option<&str>,
    refusal: &Refusal,
) {
    let about = path.or(refusal.column.as_deref());
    let message = match about {
        Some(name) => format!("`{}`: {}", quoted(name), refusal.why),
        None => refusal.why.clone(),
    };
    finding(pipeline, findings, at, Kind::Policy, message).help(refusal.named());
}

struct Side {
    schema: SchemaRef,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
}

/// The compiled stages: one projection for the row, one for the key.
pub struct Stages {
    columns: Side,
    keys: Side,
    /// The same stages on the row before the change, for the envelope shape.
    before: Option<Side>,
    sql: Option<sql::Compiled>,
    enriched: Option<enrich::Joined>,
}

/// What the stages make of some rows.
struct Sides {
    columns: RecordBatch,
    keys: RecordBatch,
    before: Option<RecordBatch>,
    outside: Vec<bool>,
}

/// A row that a stage does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    pub origin: Origin,
    pub code: &'static str,
    /// The column that the stage makes, as the pipeline names it.
    pub column: Option<String>,
}

/// A batch after its stages. Rows that a stage refused are gone from all three parts alike.
pub struct Staged {
    pub batch: Batch,
    pub columns: RecordBatch,
    pub keys: RecordBatch,
    /// The columns before the change, where the shape is the envelope.
    pub before: Option<RecordBatch>,
    /// One a row: it is an upsert whose state lies outside WHERE.
    pub outside: Vec<bool>,
    /// Rows refused, with the transform's code.
    pub refused: Vec<RefusedRow>,
}

impl Stages {
    /// What rows are enriched with from here on.
    pub fn know(&mut self, statistics: Arc<Statistics>) {
        if let Some(enriched) = &mut self.enriched {
            enriched.known = Some(statistics);
        }
    }

    /// Applies every stage. A fault of one cell refuses its row and no other.
    pub fn apply(&self, batch: Batch) -> Result<Staged, StageStop> {
        if let Ok(Sides { columns, keys, before, outside }) =
            self.evaluate(&batch.rows, &batch.origins)
        {
            return Ok(Staged { batch, columns, keys, before, outside, refused: Vec::new() });
        }
        let mut refused = Vec::new();
        self.find_refused(&batch, 0, batch.len(), &mut refused)?;
        let keep: BooleanArray = {
            let mut keep = vec![true; batch.len()];
            refused.iter().for_each(|(row, _)| keep[*row] = false);
            keep.into()
        };
        let rows = filter_record_batch(&batch.rows, &keep).map_err(|_| StageStop::Whole)?;
        let kept = batch
            .origins
            .iter()
            .zip(keep.values().iter())
            .filter_map(|(origin, keep)| keep.then_some(*origin))
            .collect();
        let refused = refused
            .into_iter()
            .map(|(row, code)| {
                let column = self.at_fault(&batch.rows.slice(row, 1));
                RefusedRow { origin: batch.origins[row], code, column }
            })
            .collect();
        let batch = Batch { rows, origins: kept };
        let Sides { columns, keys, before, outside } =
            self.evaluate(&batch.rows, &batch.origins).map_err(|fault| stop(&fault))?;
        Ok(Staged { batch, columns, keys, before, outside, refused })
    }

    fn evaluate(&self, rows: &RecordBatch, origins: &[Origin]) -> Result<Sides, DataFusionError> {
        let columns = self.columns.evaluate(rows)?;
        let (columns, outside) = match &self.sql {
            Some(sql) => sql.evaluate(&columns, origins)?,
            None => (columns, vec![false; origins.len()]),
        };
        let columns = match &self.enriched {
            Some(enriched) => enriched.beside(&columns, rows, origins, &outside)?,
            None => columns,
        };
        Ok(Sides {
            columns,
            outside,
            keys: self.keys.evaluate(rows)?,
            before: self.before.as_ref().map(|side| side.evaluate(rows)).transpose()?,
        })
    }

    /// The column that does not take one row; none where it is `sql` or a statistic.
    fn at_fault(&self, row: &RecordBatch) -> Option<String> {
        let sides = [Some(&self.columns), Some(&self.keys), self.before.as_ref()];
        sides.into_iter().flatten().find_map(|side| side.at_fault(row)).map(str::to_owned)
    }

    /// Halves the rows until each faulty one stands alone.
    fn find_refused(
        &self,
        batch: &Batch,
        start: usize,
        len: usize,
        refused: &mut Vec<(usize, &'static str)>,
    ) -> Result<(), StageStop> {
        if len == 0 {
            return Ok(());
        }
        let slice = batch.rows.slice(start, len);
        let Err(fault) = self.evaluate(&slice, &batch.origins[start..start + len]) else {
            return Ok(());
        };
        let code = code_of(&fault);
        if code == Some(AWAY) {
            return Err(StageStop::KeysAway);
        }
        if len == 1 {
            // A fault without a code is not a cell's fault: stop instead of refusing row by row.
            refused.push((start, code.ok_or(StageStop::Whole)?));
            return Ok(());
        }
        let half = len / 2;
        self.find_refused(batch, start, half, refused)?;
        self.find_refused(batch, start + half, len - half, refused)
    }
}

/// A stage failed for a reason that is not a cell's. The text of DataFusion's error may quote
/// cells, so it is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StageStop {
    #[error("a stage failed as a whole; nothing of the batch crosses")]
    Whole,
    /// Who keeps them says why.
    #[error("keys of single subjects cannot be read or made; nothing of the batch crosses")]
    KeysAway,
}

/// The code of [`TransformFault::KeysAway`], which is no cell's.
const AWAY: &str = "keys_away";

fn stop(fault: &DataFusionError) -> StageStop {
    match code_of(fault) {
        Some(AWAY) => StageStop::KeysAway,
        _ => StageStop::Whole,
    }
}

/// A key leaf without a value: the row could never be deleted outside.
#[derive(Debug, thiserror::Error)]
#[error("a leaf of the record key is null")]
struct NullKey;

fn code_of(fault: &DataFusionError) -> Option<&'static str> {
    match fault {
        DataFusionError::External(source) => source
            .downcast_ref::<TransformFault>()
            .map(TransformFault::code)
            .or_else(|| source.is::<NullKey>().then_some("null_key"))
            .or_else(|| source.is::<enrich::NotPublished>().then_some("statistic_missing")),
        DataFusionError::Context(_, inner) => code_of(inner),
        DataFusionError::Shared(inner) => code_of(inner),
        _ => None,
    }
}

impl Side {
    /// The first column that cannot be made of a row.
    fn at_fault(&self, row: &RecordBatch) -> Option<&str> {
        let mut columns = self.exprs.iter().zip(self.schema.fields());
        let found = columns.find(|(expr, field)| match expr.evaluate(row) {
            Ok(value) => {
                let array = value.into_array(row.num_rows());
                !field.is_nullable() && array.is_ok_and(|array| array.null_count() > 0)
            }
            Err(_) => true,
        });
        found.map(|(_, field)| field.name().as_str())
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let arrays = self
            .exprs
            .iter()
            .map(|expr| match expr.evaluate(rows)? {
                ColumnarValue::Array(array) => Ok(array),
                ColumnarValue::Scalar(value) => value.to_array_of_size(rows.num_rows()),
            })
            .collect::<Result<Vec<ArrayRef>, DataFusionError>>()?;
        let fields = self.schema.fields().iter().zip(&arrays);
        if fields.into_iter().any(|(field, a)| !field.is_nullable() && a.null_count() > 0) {
            return Err(DataFusionError::External(Box::new(NullKey)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        debug_assert!(arrays.iter().all(|array| array.len() == rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?)
    }
}

#[cfg(test)]
mod tests;
