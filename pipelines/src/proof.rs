//! The proof, before any record is read: for each output column its leaves, its protection, its
//! direct and indirect flows, and the rule that lets it cross. What is signed is this table.

use std::collections::BTreeMap;
use std::fmt::Write;

mod dot;
pub(crate) mod html;
mod privacy;

pub use html::page;
pub use privacy::{Noise, Privacy};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use douane_transforms::check_digit::{CheckDigit, CheckOutcome};
use douane_transforms::stage::{DictionaryUsed, InPlace};
use douane_transforms::{Declared, Domains, Guarantees, Normalize, OnBad, Produces, Stage};
use serde::Serialize;

use crate::config::{Class, Pipeline, Place};
use crate::plan::{
    AggregateColumn, ClassedLeaf, Crosses, DerivedColumn, OutputColumn, Part, Plan, Protection,
    Role,
};
use crate::policy;
use crate::release;
use douane_ledger::release::{
    Changes, Deletes, RecordEnvelope, Truncate, Unavailable, UnknownLeaf,
};

/// One output column, read aloud.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub part: Part,
    pub column: String,
    #[serde(rename = "type")]
    pub column_type: String,
    /// Leaves whose values are in the column.
    pub direct: Vec<String>,
    /// Leaves that decide, by being refused, whether a row crosses at all.
    pub indirect: Vec<String>,
    pub class: String,
    pub residency: Option<String>,
    pub subject: bool,
    pub protection: String,
    /// What the protection keeps of the leaf, in words.
    pub keeps: Vec<&'static str>,
    /// What its values can be joined with, where they are of a token domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joins: Option<Joins>,
    pub rule: String,
}

/// Whose values meet a column's: all under its domain, here and in other pipelines' topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Joins {
    pub domain: String,
    /// The other columns of this pipeline under it.
    pub columns: Vec<String>,
}

/// A leaf that stays behind, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Behind {
    pub leaf: String,
    pub class: String,
    pub why: &'static str,
}

/// One rule of how changes become records.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// As written in YAML.
    pub key: &'static str,
    pub value: &'static str,
    /// What it means for what crosses.
    pub means: String,
}

/// What the `sql` stage does, in the spelling that is signed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SqlRow {
    pub text: String,
    /// Leaves that decide, by WHERE, whether a row crosses.
    pub filter: Vec<String>,
    /// What becomes of a row that WHERE does not let cross.
    #[serde(skip)]
    means: &'static str,
}

/// As [`SqlRow::means`].
const WHERE_MEANS: &str = "a created row outside WHERE stays behind, an updated or snapshot row \
                           outside WHERE crosses as a tombstone of its key, deletes bypass WHERE";
/// Likewise, where a truncate may have left an earlier row of the key outside.
const WHERE_MEANS_TRUNCATED: &str = "a row outside WHERE crosses as a tombstone of its key, also \
                                     where it is created: truncates are passed over; deletes \
                                     bypass WHERE";

/// A minimum recall as people read it, and beside it what was measured.
fn recall(named: &OverrideRow) -> String {
    let least = named.min_recall.map_or("none".to_owned(), |least| least.to_string());
    match &named.measured {
        Some(measured) => format!("{least}, {measured}"),
        None => least,
    }
}

/// What the gate has scanners of its own for, of an override's detectors and beside them.
fn second_look(named: &OverrideRow) -> Option<String> {
    use douane_gate::detectors::Detector;
    let looked = Detector::of_redacted(&named.detectors, &named.residual);
    let looked: Vec<&str> = looked.into_iter().map(Detector::name).collect();
    let looks = format!("the gate looks for {}", looked.join(", "));
    let names = named.detectors.iter().map(String::as_str);
    let structure: Vec<&str> = names.filter(|name| Detector::named(name).is_none()).collect();
    let rest = match structure.as_slice() {
        [] => String::new(),
        rest => {
            format!("; of {} it checks that only whole stretches were replaced", rest.join(", "))
        }
    };
    (!named.detectors.is_empty()).then(|| looks + &rest)
}

/// A named override as it will be signed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverrideRow {
    pub name: String,
    pub columns: Vec<String>,
    pub detectors: Vec<String>,
    pub residual: Vec<String>,
    pub min_recall: Option<f64>,
    /// What the scorecard measured, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
    /// SHA-256 of the scorecard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scorecard: Option<String>,
    /// The domain of columns that finds in the text share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_domain: Option<String>,
    /// How many of its pseudonyms the text of one record may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_record: Option<u32>,
}

impl OverrideRow {
    /// What it shares, where it does.
    fn shares(&self) -> Option<String> {
        let (domain, most) = self.share_domain.as_ref().zip(self.max_per_record)?;
        Some(format!(
            "finds share the domain {domain} of columns, at most {most} a record: who writes the \
             text can ask for a pseudonym"
        ))
    }
}

/// A token domain that the pipeline uses, and who else may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainRow {
    pub domain: String,
    /// Purposes of pipelines that may use it; empty: all of them.
    pub purposes: Vec<String>,
}

impl DomainRow {
    /// Of the domains in use, each once.
    fn all(pipeline: &Pipeline, plan: &Plan) -> Vec<Self> {
        let used = release::domains(pipeline, plan).into_iter();
        let mut rows: Vec<Self> =
            used.map(|used| Self { domain: used.name, purposes: used.purposes }).collect();
        rows.dedup();
        rows
    }

    /// For what it may be used, read aloud.
    pub fn used_for(&self) -> String {
        match self.purposes.as_slice() {
            [] => "pipelines of every purpose".to_owned(),
            [one] => format!("pipelines of the purpose {one}"),
            several => format!("pipelines of the purposes {}", several.join(", ")),
        }
    }
}

/// The whole proof of one pipeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proof {
    pub pipeline: String,
    pub purpose: String,
    pub source: String,
    pub target: String,
    /// When records become visible, where that is not at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<String>,
    /// Which rows stay behind for the size of their group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_group: Option<String>,
    pub fingerprint: String,
    pub columns: Vec<Row>,
    /// The token domains in use, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<DomainRow>,
    /// How changes become records, in words.
    pub changes: Vec<Rule>,
    pub behind: Vec<Behind>,
    /// The `sql` stage as it is signed.
    pub sql: Option<SqlRow>,
    /// Of statistics: what noise promises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,
    pub overrides: Vec<OverrideRow>,
    pub policy: String,
}

/// A leaf's path in its row or key.
fn in_row(leaf: &str) -> Option<&str> {
    leaf.strip_prefix("after.").or_else(|| leaf.strip_prefix("key."))
}

impl Row {
    /// What it keeps, read aloud.
    pub fn kept(&self) -> String {
        let words = self.keeps.iter().map(|word| match (&self.joins, *word) {
            (Some(Joins { domain, columns }), "joinability") if columns.is_empty() => {
                format!("joinability (domain {domain})")
            }
            (Some(Joins { domain, columns }), "joinability") => {
                format!("joinability (domain {domain}: {})", columns.join(", "))
            }
            (_, word) => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// Only a named override lets it cross.
    pub fn is_override(&self) -> bool {
        self.rule.contains("override `")
    }
}

impl Proof {
    pub fn new(place: &Place, pipeline: &Pipeline, plan: &Plan, fingerprint: &str) -> Self {
        let envelope = pipeline.changes.envelope.as_ref();
        let domains = &pipeline.domains;
        let keys = plan.keys.iter().map(|key| row(&key.name, key, envelope.is_some(), domains));
        let values = plan.outputs().into_iter().map(|crosses| match crosses {
            Crosses::Leaf(name, column) => row(name, column, envelope.is_some(), domains),
            Crosses::Derived(column) => derived(plan, column, domains),
            Crosses::Noised(column) => noised(plan, column),
        });
        let mut rows: Vec<Row> = keys.chain(values).collect();
        join(&mut rows);
        let crosses = |leaf: &ClassedLeaf| {
            let is_it =
                |c: &OutputColumn| c.from.part == leaf.part && c.from.leaf.path == leaf.leaf.path;
            let outputs = plan.outputs();
            let mut leaves = outputs.iter().filter_map(|crosses| match crosses {
                Crosses::Leaf(_, column) => Some(*column),
                Crosses::Derived(_) | Crosses::Noised(_) => None,
            });
            plan.keys.iter().any(is_it) || leaves.any(is_it)
        };
        let staged = |leaf: &ClassedLeaf| {
            let name = leaf.leaf.path.as_str();
            leaf.part == Part::Row && plan.columns.iter().any(|c| c.from.leaf.path == name)
        };
        let dropped = |leaf: &ClassedLeaf| {
            let drops = |stage: &Stage| {
                matches!(stage, Stage::Drop(_)) && stage.columns().contains(&leaf.leaf.path)
            };
            pipeline.stages.iter().any(|(stage, _)| drops(stage))
        };
        let mut behind: Vec<Behind> = plan
            .classed
            .iter()
            .filter(|leaf| !crosses(leaf))
            .map(|leaf| Behind {
                leaf: leaf.part.column(&leaf.leaf.path),
                class: leaf.class.to_string(),
                why: match leaf.class {
                    Class::Secret => "secret: never crosses",
                    Class::Technical => "technical: never crosses",
                    _ if plan.aggregate.is_some() => "no row crosses: statistics of rows do",
                    _ if staged(leaf) => "only what sql computes of it or decides by it crosses",
                    _ if plan.sql.is_some() && !dropped(leaf) => "not selected by sql",
                    _ => "dropped",
                },
            })
            .collect();
        if envelope.is_none() {
            behind.push(Behind {
                leaf: "before.*".into(),
                class: "as after.*".into(),
                why: "the state shape holds the row after the change only",
            });
        }
        let (leaf, why) = match envelope {
            None => (
                "op, source.*, ts_*, transaction.*, headers of Debezium",
                "built-in list: stays behind in the state shape",
            ),
            Some(_) => (
                "all others of source.*, ts_*, transaction.*, headers of Debezium",
                "built-in list: op alone crosses; db, table and time are the release's",
            ),
        };
        behind.push(Behind { leaf: leaf.into(), class: "metadata".into(), why });
        Self {
            pipeline: pipeline.name.clone(),
            purpose: pipeline.purpose.clone(),
            source: format!(
                "{} ({}): {}",
                place.sovereign.zone,
                place.sovereign.id,
                pipeline.source.topics.join(", ")
            ),
            target: format!(
                "{} ({}): {}{}",
                place.global.zone, place.global.id, place.global.topic_prefix, pipeline.sink.topic
            ),
            publish: pipeline.publish_ms.map(|ms| {
                format!("every {ms} ms, in UTC: arrival shows event time to within this")
            }),
            min_group: plan.min_group.as_ref().map(|group| {
                format!(
                    "k = {}: a row crosses only if rows of at least so many `{}` have the same ({}) \
                     between two ticks; else it stays behind, and what had crossed of it is \
                     withdrawn where it has a key. Other people's rows decide it, and that can be \
                     seen",
                    group.k,
                    group.unit,
                    group.columns.join(", ")
                )
            }),
            fingerprint: fingerprint.to_owned(),
            columns: rows,
            domains: DomainRow::all(pipeline, plan),
            // No change crosses as one: a window's rows are as they stand at its end.
            changes: match pipeline.aggregate {
                None => rules(&pipeline.changes, pipeline.sink.timestamp_ms),
                Some(_) => Vec::new(),
            },
            behind,
            sql: plan.sql.as_ref().map(|sql| SqlRow {
                text: sql.text.clone(),
                filter: sql
                    .filter
                    .iter()
                    .flat_map(|(_, reads)| reads.iter().map(|at| leaf_name(plan, *at)))
                    .collect(),
                means: match pipeline.changes.truncate {
                    Truncate::Hold => WHERE_MEANS,
                    Truncate::Drop => WHERE_MEANS_TRUNCATED,
                },
            }),
            privacy: pipeline.aggregate.as_ref().map(Privacy::new),
            overrides: pipeline
                .overrides
                .iter()
                .map(|o| OverrideRow {
                    name: o.name.clone(),
                    columns: o.columns.clone(),
                    detectors: o.detectors.clone(),
                    residual: o.residual.clone(),
                    min_recall: o.min_recall,
                    measured: o.measured.as_ref().map(ToString::to_string),
                    scorecard: o.measured.as_ref().map(|measured| measured.digest.clone()),
                    share_domain: o.share_domain.clone(),
                    max_per_record: o.max_per_record,
                })
                .collect(),
            policy: policy::in_words(&pipeline.ground),
        }
    }

    /// Only the rows of one column.
    #[must_use]
    pub fn only(mut self, column: &str) -> Self {
        self.columns.retain(|row| row.column == column);
        self.behind.retain(|behind| in_row(&behind.leaf) == Some(column));
        self
    }

    /// What [`Self::only`] finds: columns, and leaves that stay behind, as classes name them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let columns = self.columns.iter().map(|row| row.column.as_str());
        columns.chain(self.behind.iter().filter_map(|behind| in_row(&behind.leaf)))
    }

    /// The proof as text, to be read aloud and signed.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "pipeline     {}  (purpose: {})", self.pipeline, self.purpose)?;
        writeln!(out, "from         {}", self.source)?;
        writeln!(out, "to           {}", self.target)?;
        if let Some(publish) = &self.publish {
            writeln!(out, "publish      {publish}")?;
        }
        if let Some(group) = &self.min_group {
            writeln!(out, "min_group    {group}")?;
        }
        writeln!(out, "fingerprint  {}", self.fingerprint)?;
        writeln!(out, "\nwhat crosses")?;
        let head = ["", "column", "from", "class", "protection", "keeps", "allowed by"];
        let mut table = vec![head.map(str::to_owned)];
        for row in &self.columns {
            let part = if row.part == Part::Key { "key" } else { "" };
            table.push([
                part.to_owned(),
                format!("{}: {}", row.column, row.column_type),
                row.direct.join(", "),
                match (&row.residency, row.subject) {
                    (Some(r), true) => format!("{} (subject, residency {r})", row.class),
                    (Some(r), false) => format!("{} (residency {r})", row.class),
                    (None, true) => format!("{} (subject)", row.class),
                    (None, false) => row.class.clone(),
                },
                row.protection.clone(),
                row.kept(),
                row.rule.clone(),
            ]);
        }
        write_table(out, &table)?;
        if !self.changes.is_empty() {
            writeln!(out, "\nhow changes cross")?;
        }
        let rules: Vec<_> = self
            .changes
            .iter()
            .map(|r| [format!("{}: {}", r.key, r.value), r.means.clone()])
            .collect();
        write_table(out, &rules)?;
        if !self.domains.is_empty() {
            writeln!(out, "\nwho may make the same tokens and encrypted values")?;
        }
        let domains: Vec<_> =
            self.domains.iter().map(|d| [d.domain.clone(), d.used_for()]).collect();
        write_table(out, &domains)?;
        let indirect: Vec<_> = self.columns.iter().filter(|r| !r.indirect.is_empty()).collect();
        if !indirect.is_empty() {
            writeln!(
                out,
                "\nindirect flows (conditions decide what stands in a column; a cell that is refused \
                 keeps its row from crossing)"
            )?;
            for row in indirect {
                writeln!(out, "  {} <- {}", row.column, row.indirect.join(", "))?;
            }
        }
        if let Some(sql) = &self.sql {
            writeln!(out, "\nsql\n  {}", sql.text)?;
            if !sql.filter.is_empty() {
                writeln!(
                    out,
                    "  which rows cross is decided by {}: {}",
                    sql.filter.join(", "),
                    sql.means
                )?;
            }
        }
        if let Some(privacy) = &self.privacy {
            privacy.write(out)?;
        }
        writeln!(out, "\nwhat stays behind")?;
        let behind: Vec<_> = self
            .behind
            .iter()
            .map(|b| [b.leaf.clone(), b.class.clone(), b.why.to_owned()])
            .collect();
        write_table(out, &behind)?;
        for o in &self.overrides {
            if let Some(shares) = o.shares() {
                writeln!(out, "\noverride `{}` on {}: {shares}", o.name, o.columns.join(", "))?;
                continue;
            }
            writeln!(
                out,
                "\noverride `{}` on {}: detectors {}; what they may leave: {}; minimum recall {}",
                o.name,
                o.columns.join(", "),
                o.detectors.join(", "),
                o.residual.join(", "),
                recall(o)
            )?;
            if let Some(look) = second_look(o) {
                writeln!(out, "  {look}")?;
            }
            if let Some(scorecard) = &o.scorecard {
                writeln!(out, "  scorecard {scorecard}")?;
            }
        }
        match self.pseudonyms() {
            Some(said) => writeln!(out, "\n{said}"),
            None => Ok(()),
        }
    }

    /// What tokens are; statistics have none.
    fn pseudonyms(&self) -> Option<&'static str> {
        self.privacy.is_none().then_some(
            "Tokens and encrypted values are pseudonyms: linkable, and personal data under the GDPR.",
        )
    }
}

/// What the release says of changes as such.
fn rules(changes: &Changes, timestamp_ms: u64) -> Vec<Rule> {
    let (shape, means) = match &changes.envelope {
        None => ("state", "the row after the change, or a tombstone".to_owned()),
        Some(RecordEnvelope { db, table, .. }) => (
            "envelope",
            format!(
                "before, after, op, source (db `{db}`, table `{table}`, no other), ts_ms (the \
                 record's time, floored to {timestamp_ms} ms)"
            ),
        ),
    };
    let (deletes, gone) = match changes.envelope.as_ref().map(|e| e.deletes).unwrap_or_default() {
        Deletes::Tombstone => ("tombstone", "a delete and its tombstone become one tombstone"),
        Deletes::Keep => ("keep", "a delete crosses with its row before, its tombstone after it"),
    };
    let (unavailable, lacking) = match changes.unavailable {
        Unavailable::Quarantine => ("quarantine", "a value the source did not send: set aside"),
        Unavailable::Nullify => ("nullify", "a value the source did not send crosses as null"),
    };
    let lacking = match &changes.placeholder {
        None => lacking.to_owned(),
        Some(text) => format!("{lacking}; the connector writes `{text}` for it"),
    };
    let (truncate, emptied) = match changes.truncate {
        Truncate::Hold => ("hold", "a truncated table stops its partition"),
        Truncate::Drop => ("drop", "a truncate is passed over and counted; rows outside stay"),
    };
    let (unknown_leaf, added) = match changes.unknown_leaf {
        UnknownLeaf::Hold => ("hold", "a leaf without a class stops its partition"),
        UnknownLeaf::Strip => {
            ("strip", "a leaf added to the row stays behind, and the ledger says so")
        }
    };
    let rule = |key, value, means: &str| Rule { key, value, means: means.to_owned() };
    vec![
        Rule { key: "shape", value: shape, means },
        rule("deletes", deletes, gone),
        Rule { key: "unavailable", value: unavailable, means: lacking },
        rule("truncate", truncate, emptied),
        rule("unknown_leaf", unknown_leaf, added),
    ]
}

/// The domain of a column's values, with nothing known of others yet.
fn domain_of(produces: &Produces) -> Option<Joins> {
    let domain = match produces {
        Produces::Token { domain, key_per: Some(leaf), .. } => {
            format!("{domain}, within one {leaf}")
        }
        Produces::Token { domain, .. } => domain.clone(),
        // Another key than that of the domain's tokens.
        Produces::Fpe { domain, .. } => format!("{domain}, encrypted"),
        _ => return None,
    };
    Some(Joins { domain, columns: Vec::new() })
}

/// Names in each row the others of its domain. A key column and the row's column of its leaf are
/// two of them.
fn join(rows: &mut [Row]) {
    let known: Vec<(String, Option<String>)> = rows
        .iter()
        .map(|row| {
            let name = match row.part {
                Part::Key => format!("key {}", row.column),
                Part::Row => row.column.clone(),
            };
            (name, row.joins.as_ref().map(|joins| joins.domain.clone()))
        })
        .collect();
    for (at, row) in rows.iter_mut().enumerate() {
        let Some(joins) = &mut row.joins else { continue };
        let others = known
            .iter()
            .enumerate()
            .filter(|(n, (_, domain))| *n != at && domain.as_ref() == Some(&joins.domain));
        joins.columns = others.map(|(_, (name, _))| name.clone()).collect();
    }
}

fn leaf_name(plan: &Plan, column: usize) -> String {
    let from = &plan.columns[column].from;
    from.part.column(&from.leaf.path)
}

/// A column that sql computes: its lineage, and the protections beneath it.
fn derived(plan: &Plan, column: &DerivedColumn, domains: &Domains) -> Row {
    let direct = || column.direct.iter().map(|at| &plan.columns[*at]);
    let mut labels: Vec<&str> = direct().filter_map(|c| c.from.residency.as_deref()).collect();
    labels.sort_unstable();
    labels.dedup();
    let beneath: Vec<String> = direct()
        .filter_map(|c| Some(format!("{}: {}", c.from.leaf.path, in_words(c.produces()?, domains))))
        .collect();
    let mut protection = format!("{}: {}", column.verb, column.text);
    if !beneath.is_empty() {
        protection = format!("{protection}; beneath it {}", beneath.join("; "));
    }
    Row {
        part: Part::Row,
        column: column.name.clone(),
        column_type: column.leaf_type.to_string(),
        direct: column.direct.iter().map(|at| leaf_name(plan, *at)).collect(),
        indirect: column.indirect.iter().map(|at| leaf_name(plan, *at)).collect(),
        class: column.class.to_string(),
        residency: (!labels.is_empty()).then(|| labels.join(", ")),
        subject: direct().any(|c| c.from.subject),
        protection,
        keeps: Vec::new(),
        joins: None,
        rule: column.rule.clone(),
    }
}

/// A column of statistics: whose values are in it, and who decides which rows are.
fn noised(plan: &Plan, column: &AggregateColumn) -> Row {
    let names = |paths: &[String]| paths.iter().map(|path| Part::Row.column(path)).collect();
    let all = plan.aggregate.iter().flatten().flat_map(|other| other.direct.iter().cloned());
    let mut indirect: Vec<String> = all.filter(|path| !column.direct.contains(path)).collect();
    indirect.sort_unstable();
    indirect.dedup();
    let subject = |leaf: &ClassedLeaf| leaf.subject && column.direct.contains(&leaf.leaf.path);
    let (direct, indirect) = match column.role {
        Role::Noised { .. } => (names(&column.direct), names(&indirect)),
        // What stands in it are the words of the release.
        Role::Window { .. } | Role::Group { .. } => (Vec::new(), Vec::new()),
        Role::Selected { .. } => (names(&column.direct), names(&indirect)),
    };
    Row {
        part: Part::Row,
        column: column.name.clone(),
        column_type: column.column_type.to_string(),
        direct,
        indirect,
        class: column.class.to_string(),
        residency: column.residency.clone(),
        subject: plan.classed.iter().any(subject),
        protection: match &column.role {
            Role::Window { every_ms, .. } => format!("window: every {}", length(*every_ms)),
            Role::Group { keys } => {
                format!("group: {} public keys, each in every window", keys.len())
            }
            Role::Selected { at_least } => {
                format!("group: keys of the rows whose noised count of units is {at_least} or more")
            }
            Role::Noised { statistic, .. } => format!("dp: {statistic}, with noise"),
        },
        keeps: Vec::new(),
        joins: None,
        rule: column.rule.clone(),
    }
}

/// A length of time as it is written.
fn length(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{ms}ms"), |(unit, name)| format!("{}{name}", ms / unit))
}

fn row(name: &str, column: &OutputColumn, envelope: bool, domains: &Domains) -> Row {
    let path = &column.from.leaf.path;
    let leaf = column.from.part.column(path);
    let before = envelope && column.from.part == Part::Row;
    let leaves: Vec<String> =
        before.then(|| format!("before.{path}")).into_iter().chain([leaf]).collect();
    let may_fail = column.protection.as_ref().is_some_and(|p| p.declared.may_fail);
    let per = column.protection.as_ref().and_then(|p| p.declared.key_per()).map(str::to_owned);
    Row {
        part: column.from.part,
        column: name.to_owned(),
        column_type: column.output.to_string(),
        indirect: leaves.iter().filter(|_| may_fail).cloned().chain(per).collect(),
        direct: leaves,
        class: column.from.class.to_string(),
        residency: column.from.residency.clone(),
        subject: column.from.subject,
        protection: column
            .protection
            .as_ref()
            .map_or_else(|| "none".to_owned(), |p| protected(p, domains)),
        keeps: column.protection.as_ref().map_or_else(
            || vec!["the value as it is"],
            |p| kept(&p.declared, p.stage.guarantees()),
        ),
        joins: column.produces().and_then(domain_of),
        rule: column.rule.clone(),
    }
}

/// The protection, and what becomes of what it cannot take.
fn protected(protection: &Protection, domains: &Domains) -> String {
    let how = in_words(&protection.declared.produces, domains);
    match protection.stage.on_bad() {
        OnBad::Refuse => how,
        OnBad::Null => format!("{how}; what it cannot take becomes null"),
        OnBad::Constant(text) => format!("{how}; what it cannot take becomes `{text}`"),
    }
}

fn in_words(produces: &Produces, domains: &Domains) -> String {
    match produces {
        Produces::Token { form, domain, version, algorithm, pad_to, key_per } => {
            let mut words = format!("tokenize: domain {domain} v{version}, {}", form.name());
            // Which values are one: what a declaration of the stage does not say.
            let normalize = domains.domains.get(domain).map(|domain| domain.normalize);
            if let Some(normalize) = normalize.filter(|how| *how != Normalize::None) {
                words = format!("{words}, normalised by {}", normalize.name());
            }
            if !algorithm.is_default() {
                words = format!("{words}, {}", algorithm.name());
            }
            if let Some(leaf) = key_per {
                words = format!("{words}, a key per {leaf}");
            }
            match pad_to {
                Some(bytes) => format!("{words} padded to {bytes} bytes, twice as many and so on"),
                None => words,
            }
        }
        Produces::Fpe {
            domain,
            keep_first,
            keep_last,
            alphabet,
            separators,
            context,
            length_min,
            check_digit,
        } => {
            let alphabet = alphabet_in_words(alphabet);
            let check = match check_digit {
                None => "",
                Some(CheckDigit::Luhn(CheckOutcome::KeepValid)) => {
                    ", the last of the others made valid (Luhn)"
                }
                Some(CheckDigit::Luhn(CheckOutcome::MakeInvalid)) => {
                    ", the last of the others made invalid (Luhn)"
                }
            };
            format!(
                "fpe: FF1 over {alphabet}, domain {domain}, {keep_first} first and {keep_last} \
                 last kept, `{separators}` kept, context `{context}`, at least {length_min} \
                 encrypted{check}"
            )
        }
        Produces::Mask { keep_first, keep_last, fill } => {
            format!("mask: {keep_first} first and {keep_last} last kept, `{fill}` for the others")
        }
        Produces::Constant { text } => format!("redact: the constant `{text}`"),
        Produces::Redacted { detectors, dictionaries, in_place } => {
            let mut words = format!("redact: {}", detectors.join(", "));
            for DictionaryUsed { name, sha256, .. } in dictionaries {
                words = format!("{words}, dictionary {name} (SHA-256 {sha256})");
            }
            for InPlace { kind, produces, most } in in_place {
                words = format!("{words}; {kind} in place: {}", in_words(produces, domains));
                if let Some(most) = most {
                    words = format!("{words}, at most {most} a record");
                }
            }
            words
        }
        Produces::Year => "generalize: year".to_owned(),
        Produces::Decade => "generalize: decade".to_owned(),
        Produces::Quarter => "generalize: quarter".to_owned(),
        Produces::Month => "generalize: month".to_owned(),
        Produces::Week => "generalize: week".to_owned(),
        Produces::Day => "generalize: day".to_owned(),
        Produces::Hour => "generalize: hour".to_owned(),
        Produces::Bins { labels } => format!("generalize: bins {}", labels.join(" ")),
        Produces::Age { as_of, labels } => {
            format!("generalize: age on {as_of}, {}", labels.join(" "))
        }
        Produces::Coded { round, low, high, labels } => {
            let mut steps: Vec<String> = Vec::new();
            steps.extend(round.as_ref().map(|unit| format!("rounded to {unit}")));
            let (as_low, as_high) = match labels {
                true => ("`<", "`>"),
                false => ("`", "`"),
            };
            steps.extend(low.as_ref().map(|low| format!("below {low} as {as_low}{low}`")));
            steps.extend(high.as_ref().map(|high| format!("above {high} as {as_high}{high}`")));
            format!("generalize: {}", steps.join(", "))
        }
        Produces::Prefix { length, fill: None } => {
            format!("generalize: {length} first characters")
        }
        Produces::Prefix { length, fill: Some(fill) } => {
            format!("generalize: {length} first characters, `{fill}` for each of the others")
        }
        Produces::Region { regions } => {
            let mut places: BTreeMap<&str, usize> = BTreeMap::new();
            for region in regions.values() {
                *places.entry(region).or_default() += 1;
            }
            let alone = match places.values().filter(|places| **places == 1).count() {
                0 => String::new(),
                1 => ", 1 place alone in its region".to_owned(),
                count => format!(", {count} places each alone in its region"),
            };
            format!("generalize: {} regions of {} places{alone}", places.len(), regions.len())
        }
    }
}

/// An alphabet written out, or, where nobody would read it, by its ends and what pins the rest.
fn alphabet_in_words(alphabet: &str) -> String {
    let count = alphabet.chars().count();
    if count <= ALPHABET_SHOWN_MAX {
        return format!("`{alphabet}`");
    }
    let first = alphabet.chars().next().unwrap_or_default();
    let last = alphabet.chars().next_back().unwrap_or_default();
    let digest = digest::digest(&digest::SHA256, alphabet.as_bytes());
    let hex = HEXLOWER.encode(digest.as_ref());
    format!("{count} characters from `{first}` to `{last}` (SHA-256 {hex})")
}

/// As many as ASCII has visible characters.
const ALPHABET_SHOWN_MAX: usize = 94;

/// What a protection keeps of the leaf; where finds have pseudonyms, what these keep of the finds.
fn kept(declared: &Declared, verb: Guarantees) -> Vec<&'static str> {
    let guarantees = declared.keeps(verb);
    let mut words = keeps(&guarantees);
    let made = &declared.produces;
    // What follows from a guarantee that is named already is not said twice.
    let equal = guarantees.deterministic && !guarantees.keeps_uniqueness && !guarantees.joinable;
    let in_part = [
        (equal && !matches!(made, Produces::Constant { .. }), "equal values stay equal"),
        (
            matches!(made, Produces::Token { algorithm, .. } if algorithm.reversible()),
            "length up to its bucket",
        ),
        (
            !guarantees.keeps_order
                && matches!(
                    made,
                    Produces::Bins { .. } | Produces::Age { .. } | Produces::Coded { .. }
                ),
            "order of the labels",
        ),
    ];
    words.extend(in_part.into_iter().filter_map(|(holds, word)| holds.then_some(word)));
    if let Produces::Redacted { in_place, .. } = &declared.produces {
        let any = |holds: fn(&Produces) -> bool| in_place.iter().any(|p| holds(&p.produces));
        let reversible = any(|made| match made {
            Produces::Token { algorithm, .. } => algorithm.reversible(),
            _ => true,
        });
        let of_finds = [
            (any(|_| true), "which finds are equal"),
            (any(|made| matches!(made, Produces::Fpe { .. })), "length of finds"),
            (reversible && !in_place.is_empty(), "finds are reversible with the key"),
        ];
        words.extend(of_finds.into_iter().filter_map(|(holds, word)| holds.then_some(word)));
    }
    words.extend(declared.key_per().map(|_| "joinable within the subject only"));
    words
}

fn keeps(guarantees: &Guarantees) -> Vec<&'static str> {
    let all = [
        (guarantees.keeps_uniqueness, "uniqueness"),
        (guarantees.joinable, "joinability"),
        (guarantees.keeps_length, "length"),
        (guarantees.keeps_order, "order"),
        (guarantees.keeps_nulls, "nulls"),
        (guarantees.reversible_with_key, "reversible with the key"),
    ];
    all.into_iter().filter_map(|(holds, word)| holds.then_some(word)).collect()
}

/// Columns padded to their widest cell.
pub(crate) fn write_table<const N: usize>(
    out: &mut String,
    rows: &[[String; N]],
) -> std::fmt::Result {
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            if *width > 0 {
                write!(line, " {cell:<width$} ")?;
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::privacy::{Cost, Noise};
    use super::*;
    use crate::config::aggregate::{Late, Level};

    /// Of statistics whose groups noised counts select.
    pub fn privacy() -> Privacy {
        Privacy {
            account: "customers".to_owned(),
            unit: "after.customer".to_owned(),
            neighbours: "add_remove",
            level: Level::UnitPeriod,
            period: "30d".to_owned(),
            window: "7d".to_owned(),
            closes_after: "6h".to_owned(),
            late: Late::Current,
            groups: None,
            threshold: Some(40),
            select_delta: Some("1e-11".to_owned()),
            l0: 2,
            c: 8,
            statistics: vec![Noise {
                columns: vec!["spent".to_owned()],
                tree: None,
                sensitivity: "800".to_owned(),
                norm_squared: "1280000".to_owned(),
                sigma: 4000.0,
                error_95: 7840.5,
            }],
            rho: "0.020000".to_owned(),
            cap_period: "0.120000".to_owned(),
            cap_life: "4.000000".to_owned(),
            delta: "1e-9".to_owned(),
            losses: vec![Cost {
                over: "one window",
                windows: 1,
                rho: 0.02,
                epsilon: Some(1.31),
                delta: 1e-9,
            }],
        }
    }

    /// A proof with a key, an override, and a column of several leaves.
    pub fn proof() -> Proof {
        let row = |part, column: &str, direct: &[&str], rule: &str| Row {
            part,
            column: column.to_owned(),
            column_type: "text".to_owned(),
            direct: direct.iter().map(|leaf| (*leaf).to_owned()).collect(),
            indirect: vec![direct[0].to_owned()],
            class: "identifier".to_owned(),
            residency: Some("eu".to_owned()),
            subject: part == Part::Key,
            protection: "tokenize: domain `a\\b` v1, \"base32\"".to_owned(),
            keeps: vec!["uniqueness"],
            joins: None,
            rule: rule.to_owned(),
        };
        Proof {
            sql: Some(SqlRow {
                text: "select id from batch where (city = '<Graz>')".to_owned(),
                filter: vec!["after.city".to_owned()],
                means: WHERE_MEANS,
            }),
            pipeline: "customers".to_owned(),
            purpose: "model-training".to_owned(),
            source: "eu-de (a): crm.public.customers".to_owned(),
            target: "global (b): training.customers".to_owned(),
            publish: Some("every 1000 ms, in UTC".to_owned()),
            min_group: None,
            fingerprint: "f".repeat(64),
            columns: vec![
                row(Part::Key, "id", &["key.id"], "identifier: tokenize"),
                row(Part::Row, "notes", &["after.notes"], "free_text: override `notes`"),
                row(Part::Row, "place", &["after.city", "after.country"], "public: nothing needed"),
            ],
            behind: vec![Behind {
                leaf: "after.full_name".to_owned(),
                class: "identifier".to_owned(),
                why: "dropped",
            }],
            privacy: None,
            overrides: vec![OverrideRow {
                name: "notes".to_owned(),
                columns: vec!["notes".to_owned()],
                detectors: vec!["email".to_owned()],
                residual: vec!["names".to_owned()],
                min_recall: Some(0.9),
                measured: Some("0.9500 measured: email 38 of 40 (0.9500)".to_owned()),
                scorecard: Some("5c".repeat(32)),
                share_domain: None,
                max_per_record: None,
            }],
            domains: vec![DomainRow {
                domain: "customer".to_owned(),
                purposes: vec!["model-training".to_owned()],
            }],
            changes: rules(&Changes::default(), 1000),
            policy: policy::in_words(&policy::Ground::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use douane_schemas::leaf::LeafType;
    use douane_transforms::Algorithm;

    use super::*;

    #[test]
    fn places_that_stand_alone_are_counted() {
        let told = |regions: &[(&str, &str)]| {
            let own = |(place, region): &(&str, &str)| ((*place).to_owned(), (*region).to_owned());
            let regions = regions.iter().map(own).collect();
            in_words(&Produces::Region { regions }, &Domains::default())
        };
        let (graz, leoben) = (("Graz", "Styria"), ("Leoben", "Styria"));
        assert_eq!(told(&[graz, leoben]), "generalize: 1 regions of 2 places");
        assert_eq!(
            told(&[graz, leoben, ("Wien", "Vienna")]),
            "generalize: 2 regions of 3 places, 1 place alone in its region"
        );
        assert_eq!(
            told(&[graz, leoben, ("Wien", "Vienna"), ("Linz", "Upper Austria")]),
            "generalize: 3 regions of 4 places, 2 places each alone in its region"
        );
    }

    /// What a reader outside learns of values beside their protection, where no guarantee promises it.
    #[test]
    fn what_is_kept_in_part_is_said() {
        const EQUAL: &str = "equal values stay equal";
        const BUCKET: &str = "length up to its bucket";
        const ORDER: &str = "order of the labels";
        let verb = |equal, joinable| Guarantees {
            deterministic: equal,
            reversible_with_key: false,
            keeps_length: false,
            keeps_uniqueness: false,
            keeps_order: false,
            joinable,
            keeps_nulls: true,
        };
        let token = |algorithm| Produces::Token {
            form: douane_transforms::Form::Base32,
            domain: "d".into(),
            version: 1,
            algorithm,
            pad_to: None,
            key_per: None,
        };
        let labels = vec!["low".to_owned(), "high".to_owned()];
        for (produces, verb, expected) in [
            (
                Produces::Mask { keep_first: 0, keep_last: 4, fill: '*' },
                verb(true, false),
                &[EQUAL][..],
            ),
            (Produces::Constant { text: "x".into() }, verb(true, false), &[]),
            (token(Algorithm::AesSiv), verb(true, true), &[BUCKET]),
            (token(Algorithm::HmacSha256), verb(true, true), &[]),
            (Produces::Bins { labels: labels.clone() }, verb(true, true), &[ORDER]),
            (Produces::Age { as_of: "2026-01-01".into(), labels }, verb(true, true), &[ORDER]),
            (Produces::Year, Guarantees { keeps_order: true, ..verb(true, true) }, &[]),
        ] {
            let output = LeafType::Text;
            let declared = Declared { output, produces, may_fail: false, keys: Vec::new() };
            let said = kept(&declared, verb);
            let in_part = |word: &&&str| [EQUAL, BUCKET, ORDER].contains(*word);
            assert_eq!(
                said.iter().filter(in_part).collect::<Vec<_>>(),
                expected.iter().collect::<Vec<_>>(),
                "{declared:?}"
            );
        }
    }

    #[test]
    fn the_second_look_says_what_the_gate_looks_for() {
        let mut named = fixture::proof().overrides.remove(0);
        let of = |named: &OverrideRow| second_look(named).unwrap();
        assert_eq!(
            of(&named),
            "the gate looks for email, phone, card, iban, url_credentials, api_key, private_key"
        );
        named.detectors = vec!["ip".to_owned(), "person".to_owned()];
        named.residual = ["iban", "phone", "api_key"].map(str::to_owned).to_vec();
        assert_eq!(
            of(&named),
            "the gate looks for email, card, url_credentials, api_key, private_key, ip; of person \
             it checks that only whole stretches were replaced"
        );
    }
}
