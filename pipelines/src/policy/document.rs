//! What a policy reads: everything that a release would let cross, typed, with nothing left out. A
//! field that has no value is null, never absent: an absent one would make `not` and `every` true.

use std::collections::BTreeSet;

use douane_transforms::Produces;
use douane_transforms::dp::accountant::{Delta, Rho};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::Ground;
use crate::config::{Aggregate, Class, Override, Pipeline};
use crate::plan::{AggregateColumn, ClassedLeaf, DerivedColumn, OutputColumn, Part, Plan, Role};

/// Version of the form.
const FORM: u32 = 1;

/// What a release would let cross.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Document", deny_unknown_fields)]
pub struct Document {
    /// Version of this form: 1.
    pub v: u32,
    pub pipeline: String,
    pub purpose: String,
    pub source: Endpoint,
    pub target: Endpoint,
    /// `state`: what a row is now; `envelope`: what changed as well.
    pub record_shape: String,
    /// Timestamps outside are cut to multiples of this.
    pub timestamp_ms: u64,
    /// Records cross on ticks of this only; none: as they come.
    pub publish_ms: Option<u64>,
    /// What crosses, and what only decides what crosses.
    pub columns: Vec<Column>,
    pub overrides: Vec<Exception>,
    /// How many subjects must share what a row shows of quasi-identifiers.
    pub min_group: Option<MinGroup>,
    /// Of statistics: what they spend.
    pub statistics: Option<Statistics>,
}

/// Rows whose group is too small stay behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct MinGroup {
    /// Distinct subjects that a window must hold of a group.
    pub k: u32,
    /// The columns outside that make a group.
    pub columns: Vec<String>,
    /// The window.
    pub every_ms: u64,
}

/// A side: a Kafka cluster, or a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Endpoint {
    pub cluster_id: String,
    pub zone: String,
    pub topics: Vec<String>,
    /// How records are written there.
    pub format: String,
}

/// What a column is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// One leaf, as its stage leaves it.
    Leaf,
    /// What `sql` computes.
    Derived,
    /// What `sql` decides by which rows cross; no column.
    Filter,
    /// When a window of statistics begins.
    Window,
    /// A public key of statistics.
    Group,
    /// A key of statistics that noised counts select.
    Selected,
    /// Numbers with noise.
    Statistic,
}

/// One column of the output.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Column {
    /// Outside.
    pub name: String,
    pub part: String,
    #[serde(rename = "type")]
    pub column_type: String,
    pub made: Made,
    /// Else `sql` alone reads it.
    pub crosses: bool,
    pub is_text: bool,
    /// Leaves whose values are in it.
    pub leaves: Vec<Leaf>,
    /// Leaves that decide what it is, or whether it fails.
    pub decided_by: Vec<Leaf>,
    /// Of a statistic: units or rows are counted, and no value of the leaf is read.
    pub counted: bool,
    /// Of `group`: how many keys are published.
    pub public_keys: Option<u64>,
    /// Of `selected`: what the noised count of units must reach.
    pub at_least: Option<u32>,
}

/// One leaf of the source.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Leaf {
    pub path: String,
    pub class: Class,
    pub residency: Option<String>,
    /// It says whom the row is about.
    pub subject: bool,
    pub protection: Option<Protection>,
}

/// What a stage makes of a leaf.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Protection {
    pub kind: ProtectionKind,
    /// Of `token` and `fpe`.
    pub domain: Option<String>,
    /// Who holds a key can get the value back.
    pub reversible: bool,
    /// The leaf whose every value has a key of its own.
    pub key_per: Option<String>,
    /// Of `fpe` and `mask`: characters that stay as they are.
    pub kept_chars: u64,
    /// Of `prefix`: how long.
    pub prefix_chars: u64,
    /// Of `coded`: to multiples of a unit, not by bounds alone.
    pub rounded: bool,
    /// Of `bins`, `age` and `region`: how many there are.
    pub groups: u64,
    /// Of `redacted`.
    pub detectors: Vec<String>,
    /// Of `redacted`: names of its dictionaries.
    pub dictionaries: Vec<String>,
    /// Of `redacted`: kinds whose finds become pseudonyms.
    pub in_place: Vec<String>,
}

/// The kinds of what stages make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProtectionKind {
    Token,
    Fpe,
    Mask,
    Constant,
    Redacted,
    Year,
    Decade,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Bins,
    Age,
    Coded,
    Prefix,
    Region,
}

/// A named override.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Exception {
    pub name: String,
    /// Paths of leaves.
    pub columns: Vec<String>,
    pub detectors: Vec<String>,
    pub residual: Vec<String>,
    pub min_recall: Option<f64>,
    /// Its scorecard, where it has one.
    pub measured: Option<Scorecard>,
    pub share_domain: Option<String>,
    pub max_per_record: Option<u32>,
}

/// What was measured of an override's detectors.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Scorecard {
    pub sha256: String,
    /// The lowest of all kinds.
    pub recall: f64,
    /// The fewest labels of a kind.
    pub planted: u64,
}

/// What statistics are of, and what they spend.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Statistics {
    /// The identity space whose account pays.
    pub account: String,
    /// The leaf that names the unit.
    pub unit: String,
    pub every_ms: u64,
    /// Groups, and rows of each, that count of one unit.
    pub groups_of_unit: u32,
    pub rows_of_group: u32,
    /// Of one window, and the account's caps, in zero-concentrated differential privacy.
    pub rho_window: f64,
    pub rho_period: f64,
    pub rho_life: f64,
    pub delta: f64,
}

impl Document {
    /// What is said of the pipeline, with no column yet.
    pub fn of(pipeline: &Pipeline) -> Self {
        let Ground { source, target, .. } = &pipeline.ground;
        let topic = format!("{}{}", pipeline.ground.topic_prefix, pipeline.sink.topic);
        Self {
            v: FORM,
            pipeline: pipeline.name.clone(),
            purpose: pipeline.purpose.clone(),
            source: Endpoint {
                topics: pipeline.source.topics.clone(),
                format: pipeline.source.format_name().to_owned(),
                ..source.clone()
            },
            target: Endpoint {
                topics: vec![topic],
                format: pipeline.sink.format_name().to_owned(),
                ..target.clone()
            },
            record_shape: pipeline.changes.shape_name().to_owned(),
            timestamp_ms: pipeline.sink.timestamp_ms,
            publish_ms: pipeline.publish_ms,
            columns: Vec::new(),
            overrides: pipeline.overrides.iter().map(exception).collect(),
            min_group: None,
            statistics: pipeline.aggregate.as_ref().map(statistics),
        }
    }

    /// The whole of a plan, and beside each column the rule that the planner was told.
    pub fn whole(pipeline: &Pipeline, plan: &Plan) -> (Self, Vec<String>) {
        let crossing: BTreeSet<(&str, String)> = plan
            .outputs()
            .into_iter()
            .filter_map(|crosses| match crosses {
                crate::plan::Crosses::Leaf(name, column) => {
                    Some((column.from.leaf.path.as_str(), name.to_owned()))
                }
                _ => None,
            })
            .collect();
        let mut columns = Vec::new();
        for key in &plan.keys {
            columns.push((Column::leaf(&key.name, &key.from, key.produces()), key.rule.clone()));
        }
        for staged in &plan.columns {
            let path = staged.from.leaf.path.as_str();
            let outside = crossing.iter().find(|(of, _)| *of == path).map(|(_, name)| name);
            let name = outside.unwrap_or(&staged.name);
            let mut column = Column::leaf(name, &staged.from, staged.produces());
            column.crosses = outside.is_some();
            columns.push((column, staged.rule.clone()));
        }
        for derived in plan.outputs() {
            if let crate::plan::Crosses::Derived(derived) = derived {
                columns.push((Column::derived(plan, derived), derived.rule.clone()));
            }
        }
        if let Some((_, reads)) = plan.sql.as_ref().and_then(|sql| sql.filter.as_ref()) {
            let reads: Vec<&OutputColumn> = reads.iter().map(|at| &plan.columns[*at]).collect();
            columns.push((Column::filter(&reads), super::POST_PROCESSING.to_owned()));
        }
        for noised in plan.aggregate.iter().flatten() {
            columns.push((Column::noised(plan, noised), noised.rule.clone()));
        }
        let (columns, rules) = columns.into_iter().unzip();
        let min_group = plan.min_group.as_ref().map(|group| MinGroup {
            k: group.k,
            columns: group.columns.clone(),
            every_ms: pipeline.publish_ms.unwrap_or_default(),
        });
        (Self { columns, min_group, ..Self::of(pipeline) }, rules)
    }

    /// The same with these columns.
    #[must_use]
    pub fn with(mut self, columns: Vec<Column>) -> Self {
        self.columns = columns;
        self
    }

    /// The document as policies read it.
    pub fn json(&self) -> String {
        // Strings and numbers: this cannot fail, and an empty text is no document.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The JSON schema, as the repository holds it in `policy.schema.json`.
pub(super) fn json_schema() -> Json {
    schemars::schema_for!(Document).to_value()
}

/// The names of all fields.
pub(super) fn fields() -> BTreeSet<String> {
    fn walk(schema: &Json, names: &mut BTreeSet<String>) {
        if let Some(fields) = schema.get("properties").and_then(Json::as_object) {
            names.extend(fields.keys().cloned());
        }
        match schema {
            Json::Object(all) => all.values().for_each(|inner| walk(inner, names)),
            Json::Array(all) => all.iter().for_each(|inner| walk(inner, names)),
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    walk(&json_schema(), &mut names);
    names
}

impl Column {
    /// Of nothing yet.
    fn new(name: &str, part: Part, column_type: String, made: Made) -> Self {
        Self {
            name: name.to_owned(),
            part: match part {
                Part::Key => "key".to_owned(),
                Part::Row => "row".to_owned(),
            },
            column_type,
            made,
            crosses: true,
            is_text: false,
            leaves: Vec::new(),
            decided_by: Vec::new(),
            counted: false,
            public_keys: None,
            at_least: None,
        }
    }

    /// One leaf, as its stage leaves it.
    pub fn leaf(name: &str, from: &ClassedLeaf, produces: Option<&Produces>) -> Self {
        let leaves = vec![Leaf::new(from, produces)];
        let column_type = from.leaf.leaf_type.to_string();
        Self { leaves, ..Self::new(name, from.part, column_type, Made::Leaf) }
    }

    /// What `sql` computes of staged columns.
    pub fn computed(
        name: &str,
        column_type: String,
        is_text: bool,
        direct: &[&OutputColumn],
        indirect: &[&OutputColumn],
    ) -> Self {
        let (leaves, decided_by) = (Leaf::all(direct), Leaf::all(indirect));
        let column = Self::new(name, Part::Row, column_type, Made::Derived);
        Self { is_text, leaves, decided_by, ..column }
    }

    /// What `sql` decides by.
    pub fn filter(reads: &[&OutputColumn]) -> Self {
        let column = Self::new("where", Part::Row, "boolean".to_owned(), Made::Filter);
        Self { crosses: false, decided_by: Leaf::all(reads), ..column }
    }

    fn derived(plan: &Plan, derived: &DerivedColumn) -> Self {
        let of = |all: &[usize]| all.iter().map(|at| &plan.columns[*at]).collect::<Vec<_>>();
        let (direct, indirect) = (of(&derived.direct), of(&derived.indirect));
        let leaf_type = derived.leaf_type;
        let is_text = super::is_text(leaf_type);
        Self::computed(&derived.name, leaf_type.to_string(), is_text, &direct, &indirect)
    }

    /// A column of statistics.
    fn noised(plan: &Plan, column: &AggregateColumn) -> Self {
        let of = |path: &String| {
            let mut rows = plan.classed.iter().filter(|leaf| leaf.part == Part::Row);
            rows.find(|leaf| leaf.leaf.path == *path)
        };
        let leaves = column.direct.iter().filter_map(of).collect::<Vec<_>>();
        let column_type = column.column_type.to_string();
        Self::statistic(&column.name, column_type, &column.role, column.counted, &leaves)
    }

    /// As [`Column::noised`], where no plan is made yet.
    pub fn statistic(
        name: &str,
        column_type: String,
        role: &Role,
        counted: bool,
        leaves: &[&ClassedLeaf],
    ) -> Self {
        let made = match role {
            Role::Window { .. } => Made::Window,
            Role::Group { .. } => Made::Group,
            Role::Selected { .. } => Made::Selected,
            Role::Noised { .. } => Made::Statistic,
        };
        let mut column = Self::new(name, Part::Row, column_type, made);
        column.leaves = leaves.iter().map(|leaf| Leaf::new(leaf, None)).collect();
        column.counted = counted;
        match role {
            Role::Window { .. } | Role::Noised { .. } => {}
            Role::Group { keys } => column.public_keys = Some(keys.len() as u64),
            Role::Selected { at_least } => column.at_least = Some(*at_least),
        }
        column
    }
}

impl Leaf {
    fn new(from: &ClassedLeaf, produces: Option<&Produces>) -> Self {
        Self {
            path: from.leaf.path.clone(),
            class: from.class,
            residency: from.residency.clone(),
            subject: from.subject,
            protection: produces.map(Protection::of),
        }
    }

    fn all(columns: &[&OutputColumn]) -> Vec<Self> {
        columns.iter().map(|column| Self::new(&column.from, column.produces())).collect()
    }
}

impl Protection {
    /// Of a kind, and nothing more.
    pub fn plain(kind: ProtectionKind) -> Self {
        Self {
            kind,
            domain: None,
            reversible: false,
            key_per: None,
            kept_chars: 0,
            prefix_chars: 0,
            rounded: false,
            groups: 0,
            detectors: Vec::new(),
            dictionaries: Vec::new(),
            in_place: Vec::new(),
        }
    }

    pub fn of(produces: &Produces) -> Self {
        use ProtectionKind as Kind;
        let plain = Self::plain;
        let kept = |first: u32, last: u32| u64::from(first) + u64::from(last);
        match produces {
            Produces::Token { domain, algorithm, key_per, .. } => Self {
                domain: Some(domain.clone()),
                reversible: algorithm.reversible(),
                key_per: key_per.clone(),
                ..plain(Kind::Token)
            },
            Produces::Fpe { domain, keep_first, keep_last, .. } => Self {
                domain: Some(domain.clone()),
                reversible: true,
                kept_chars: kept(*keep_first, *keep_last),
                ..plain(Kind::Fpe)
            },
            Produces::Mask { keep_first, keep_last, .. } => {
                Self { kept_chars: kept(*keep_first, *keep_last), ..plain(Kind::Mask) }
            }
            Produces::Constant { .. } => plain(Kind::Constant),
            Produces::Redacted { detectors, dictionaries, in_place } => Self {
                detectors: detectors.clone(),
                dictionaries: dictionaries.iter().map(|used| used.name.clone()).collect(),
                in_place: in_place.iter().map(|place| place.kind.clone()).collect(),
                ..plain(Kind::Redacted)
            },
            Produces::Year => plain(Kind::Year),
            Produces::Decade => plain(Kind::Decade),
            Produces::Quarter => plain(Kind::Quarter),
            Produces::Month => plain(Kind::Month),
            Produces::Week => plain(Kind::Week),
            Produces::Day => plain(Kind::Day),
            Produces::Hour => plain(Kind::Hour),
            Produces::Bins { labels } => Self { groups: labels.len() as u64, ..plain(Kind::Bins) },
            Produces::Age { labels, .. } => {
                Self { groups: labels.len() as u64, ..plain(Kind::Age) }
            }
            Produces::Coded { round, .. } => {
                Self { rounded: round.is_some(), ..plain(Kind::Coded) }
            }
            Produces::Prefix { length, .. } => {
                Self { prefix_chars: u64::from(*length), ..plain(Kind::Prefix) }
            }
            Produces::Region { regions } => {
                let names: BTreeSet<&String> = regions.values().collect();
                Self { groups: names.len() as u64, ..plain(Kind::Region) }
            }
        }
    }
}

fn exception(named: &Override) -> Exception {
    let measured = named.measured.as_ref().map(|measured| Scorecard {
        sha256: measured.digest.clone(),
        recall: measured.kinds.iter().map(|kind| kind.recall()).fold(1.0, f64::min),
        planted: measured.kinds.iter().map(|kind| kind.planted).min().unwrap_or(0),
    });
    Exception {
        name: named.name.clone(),
        columns: named.columns.clone(),
        detectors: named.detectors.clone(),
        residual: named.residual.clone(),
        min_recall: named.min_recall,
        measured,
        share_domain: named.share_domain.clone(),
        max_per_record: named.max_per_record,
    }
}

fn statistics(aggregate: &Aggregate) -> Statistics {
    let limits = aggregate.design.limits();
    let rho = |units: u64| Rho::units(units).value();
    Statistics {
        account: aggregate.space.clone(),
        unit: aggregate.unit.clone(),
        every_ms: aggregate.every_ms,
        groups_of_unit: limits.groups,
        rows_of_group: limits.rows,
        rho_window: aggregate.design.rho().value(),
        rho_period: rho(aggregate.caps.period),
        rho_life: rho(aggregate.caps.life),
        delta: Delta::units(aggregate.caps.delta).value(),
    }
}
