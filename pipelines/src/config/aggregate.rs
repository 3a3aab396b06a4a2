//! `aggregate:`, the stage that turns rows into statistics with differential privacy: the YAML,
//! and what is left of it once every word has its meaning.
//!
//! Everything here is public by itself: no bound, no key and no share is ever taken from data.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use douane_transforms::dp::accountant::{Delta, Rho};
use douane_transforms::dp::bounding::GroupKey;
use douane_transforms::dp::decimal::{Decimal, Grid};
use douane_transforms::dp::design::{self, At, Design, Groups, Query, Refusal, Request};
use douane_transforms::dp::release;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::finding::{Kind, Mark};
use super::lint::{Lint, length_ms};
use super::pipeline::{Class, ClassRule};
use super::yaml::quoted;

/// Statistics with differential privacy of the rows in a window of time, in place of the rows.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Aggregate")]
#[serde(deny_unknown_fields)]
pub(super) struct AggregateFile {
    /// Whose contribution is bounded and hidden: one leaf, and the identity space that shares one
    /// privacy account.
    pub unit: UnitFile,
    /// What two inputs differ in that nobody can tell apart: all contributions of one unit.
    #[expect(dead_code, reason = "one word is allowed, the schema holds it")]
    pub neighbours: NeighboursFile,
    /// Over what the guarantee reaches: all windows of a renewal period, of any stretch as long as it, or
    /// of all time.
    pub level: LevelFile,
    /// The renewal period: `30d`. The account's cap for a period is of this length. With `w_event` w
    /// windows long.
    pub period: String,
    /// Which rows belong together, and when their statistics are published.
    pub window: WindowFile,
    /// The leaves whose values make the groups, each with its public list of keys, or, with `select`,
    /// without. Without it there is one group.
    #[serde(default)]
    #[schemars(length(max = 4))]
    pub groups: Vec<GroupFile>,
    /// Groups are those that stand in the rows, where their noised count of units passes a threshold
    /// that follows from `delta`.
    #[serde(default)]
    pub select: Option<SelectFile>,
    /// Groups that one unit may touch in a window; more are cut by a keyed draw.
    #[schemars(range(min = 1, max = 65536))]
    pub l0: u32,
    /// Rows that one unit may bring to a group; more are cut by a keyed draw.
    #[schemars(range(min = 1, max = 65536))]
    pub c: u32,
    /// What is published of each group.
    #[schemars(length(min = 1, max = 16))]
    pub statistics: Vec<StatisticFile>,
    /// What one window costs, in zero-concentrated differential privacy, shared by its statistics.
    #[schemars(range(min = 0, max = 64))]
    pub rho: Number,
    /// With `select`: the chance, in one window, that a unit which is alone in its groups makes one of
    /// them appear: `1e-11`.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub delta: Option<Number>,
    /// What the account may spend. A full account stops the output before its first byte.
    pub caps: CapsFile,
    /// What becomes of a row that is read after its window was pinned.
    pub late: Late,
}

/// Whose contribution is bounded and hidden.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Unit")]
#[serde(deny_unknown_fields)]
pub(super) struct UnitFile {
    /// The leaf that names the unit.
    pub leaf: String,
    /// The identity space: pipelines that name one spend from one account.
    pub space: String,
    /// More units than there can ever be; 1000000000 unless said. Sums are proven to stay within 62
    /// bits by it.
    #[serde(default = "units_max")]
    #[schemars(range(min = 1_048_576, max = 1_099_511_627_776_u64))]
    pub max: u64,
}

fn units_max() -> u64 {
    1_000_000_000
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[schemars(rename = "Neighbours")]
#[serde(rename_all = "snake_case")]
pub(super) enum NeighboursFile {
    /// One unit with all its contributions is there, or is not.
    AddRemove,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[schemars(rename = "Level")]
#[serde(rename_all = "snake_case")]
pub(super) enum LevelFile {
    /// All windows of one renewal period.
    UnitPeriod,
    /// All windows there will ever be: releases stop when the account is full.
    UnitLifetime,
    /// Any w windows in a row: `period` is w times `every`.
    WEvent,
}

/// Which rows belong together, and when their statistics are published.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Window")]
#[serde(deny_unknown_fields)]
pub(super) struct WindowFile {
    /// Length of the windows, which do not overlap: `7d`.
    pub every: String,
    /// Where the first window begins: `2026-11-02T00:00:00Z`. What happened before it is in none.
    pub from: String,
    /// The leaf that says when a row happened.
    pub time: String,
    /// How long after its end a window is closed: `6h`. The instant is public.
    pub closes_after: String,
}

/// A leaf whose values make groups.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Group")]
#[serde(deny_unknown_fields)]
pub(super) struct GroupFile {
    /// The leaf.
    pub leaf: String,
    /// All keys that are published, each in every window. A row with another key is left out.
    #[serde(default)]
    #[schemars(length(min = 1, max = 4096), extend("uniqueItems" = true))]
    pub keys: Option<Vec<String>>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[schemars(rename = "Select")]
#[serde(rename_all = "snake_case")]
pub(super) enum SelectFile {
    /// By the noised count of the units in a group.
    NoisyCount,
}

/// One statistic of each group: one of `count`, `sum`, `mean`, `variance`, `histogram`,
/// `quantiles` and `vector_sum`.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Statistic")]
#[serde(deny_unknown_fields)]
pub(super) struct StatisticFile {
    /// Its column outside, or the first part of its columns' names: a-z, 0-9 and `_`.
    pub name: String,
    /// How many units, or rows.
    #[serde(default)]
    pub count: Option<CountFile>,
    /// The sum of a leaf's values.
    #[serde(default)]
    pub sum: Option<String>,
    /// The mean of a leaf's values: their sum from the middle of the bounds, and how many.
    #[serde(default)]
    pub mean: Option<String>,
    /// The variance of a leaf's values: as the mean, and the sum of squares.
    #[serde(default)]
    pub variance: Option<String>,
    /// How many rows lie in each bin between the edges.
    #[serde(default)]
    pub histogram: Option<String>,
    /// Values below which given shares of the rows lie, read from a tree of counts.
    #[serde(default)]
    pub quantiles: Option<String>,
    /// The sum of vectors, each unit's clipped to a norm: an array of numbers, or bytes of floats.
    #[serde(default)]
    pub vector_sum: Option<String>,
    /// Values below it count as it is.
    #[serde(default)]
    pub low: Option<Number>,
    /// Values above it count as it is.
    #[serde(default)]
    pub high: Option<Number>,
    /// Values are cut to multiples of it, towards zero: 1 unless said.
    #[serde(default)]
    pub grid: Option<Number>,
    /// Where the histogram's second bin begins, its third, and so on: between the bounds.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub edges: Option<Vec<Number>>,
    /// Which quantiles: shares above 0 and below 1, in thousandths: `[0.25, 0.5, 0.999]`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 32))]
    pub ranks: Option<Vec<Number>>,
    /// Parts that each node of the tree is cut into; 8 unless said.
    #[serde(default)]
    #[schemars(range(min = 2, max = 256))]
    pub branching: Option<u32>,
    /// Levels of the tree; 4 unless said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 16))]
    pub levels: Option<u32>,
    /// Numbers of each vector.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub dims: Option<u32>,
    /// The L2 norm that all of a unit's vectors together are clipped to, in whole steps of the grid.
    #[serde(default)]
    pub norm: Option<Number>,
    /// Its part of rho beside the others'; 1 unless said.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[schemars(rename = "Count")]
#[serde(rename_all = "snake_case")]
pub(super) enum CountFile {
    /// Different units.
    Units,
    /// Rows, at most `c` a unit and group.
    Rows,
}

/// What the account may spend.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Caps")]
#[serde(deny_unknown_fields)]
pub(super) struct CapsFile {
    /// In one renewal period, in zero-concentrated differential privacy.
    #[schemars(range(min = 0, max = 64))]
    pub period: Number,
    /// In all time.
    #[schemars(range(min = 0, max = 4096))]
    pub life: Number,
    /// The chance at which epsilon is stated, and more of which no group's selection may cost: `1e-9`.
    #[schemars(range(min = 0, max = 1))]
    pub delta: Number,
}

/// What becomes of a row that appears after its window was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Late {
    /// It is sealed and set aside in the zone.
    Quarantine,
    /// It counts in the window that is closed next, within what its unit may bring to that one.
    Current,
}

impl Late {
    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Current => "current",
        }
    }
}

/// The stage, every word of it understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub unit: String,
    /// The identity space: `[a-z][a-z0-9_-]*`.
    pub space: String,
    pub units_max: u64,
    pub level: Level,
    pub period_ms: u64,
    /// Where the first window begins.
    pub from_ms: i64,
    pub every_ms: u64,
    /// The leaf that says when a row happened.
    pub time: String,
    pub closes_after_ms: u64,
    pub late: Late,
    /// With their public keys; without any where noised counts select the groups.
    pub groups: Vec<Group>,
    /// Where noised counts select the groups: what a count of units must reach.
    pub threshold: Option<u32>,
    /// The statistics' names, in the design's order.
    pub names: Vec<String>,
    /// The leaf of each of the design's columns.
    pub columns: Vec<String>,
    /// The leaf of the design's vector, where there is one.
    pub vector: Option<String>,
    /// What is added up, and how much noise it takes.
    pub design: Design,
    pub caps: Caps,
    pub mark: Mark,
}

/// Over what the guarantee reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    UnitPeriod,
    UnitLifetime,
    WEvent,
}

/// A leaf whose values make groups, and the keys that are published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    pub leaf: String,
    pub keys: Vec<String>,
}

/// What the account may spend: rho in units of 2^-40, delta in units of 2^-80.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub period: u64,
    pub life: u64,
    pub delta: u64,
}

/// One column of integers with noise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub words: String,
    /// The leaf whose values are in it; None: units or rows are counted.
    pub leaf: Option<String>,
    /// Which of the design's components it is of.
    pub component: usize,
    /// So many integers in an array; without it there is one, and no array.
    pub dims: Option<u32>,
}

/// The column that says which window a record is of: its first millisecond.
pub const WINDOW_COLUMN: &str = "window_start";

/// The name outside of a leaf's column.
pub fn column_of(leaf: &str) -> String {
    leaf.replace('.', "_")
}

impl Aggregate {
    /// The number of the window that an instant lies in; below 0 it is in none.
    pub fn window_of(&self, at_ms: i64) -> i64 {
        at_ms.saturating_sub(self.from_ms).div_euclid(self.every_ms as i64)
    }

    /// The first millisecond of a window.
    pub fn start_ms(&self, window: i64) -> i64 {
        self.from_ms.saturating_add(window.saturating_mul(self.every_ms as i64))
    }

    /// The public instant at which a window is closed.
    pub fn closes_ms(&self, window: i64) -> i64 {
        self.start_ms(window.saturating_add(1)).saturating_add(self.closes_after_ms as i64)
    }

    /// Leaves of the row whose values the stage reads, each once: the unit, the time, then the
    /// groups' and the statistics'.
    pub fn leaves(&self) -> Vec<&str> {
        let groups = self.groups.iter().map(|group| group.leaf.as_str());
        let values = self.columns.iter().chain(&self.vector).map(String::as_str);
        let mut seen = BTreeSet::new();
        [self.unit.as_str(), self.time.as_str()]
            .into_iter()
            .chain(groups)
            .chain(values)
            .filter(|leaf| seen.insert(*leaf))
            .collect()
    }

    /// All groups that are published, in order: every combination of the public keys.
    pub fn group_keys(&self) -> Vec<Vec<String>> {
        combinations(&self.groups)
    }

    /// How many numbers with noise one release has. Where noised counts select the groups, how many
    /// there are is no public number: then those count that one unit can change.
    pub fn coordinates(&self) -> u64 {
        let groups = match self.threshold {
            Some(_) => u64::from(self.design.limits().groups),
            None => self.group_keys().len() as u64,
        };
        self.design.width().saturating_mul(groups)
    }

    /// The columns of each component, in order: their names outside, and what they hold in words.
    /// Statistics share components: the rows of a mean are those of a count.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for (component, of) in self.design.components().iter().enumerate() {
            let query = &of.query;
            let column = column_of_query(query);
            let leaf = column.and_then(|at| self.columns.get(at)).cloned();
            let bounds = column.and_then(|at| self.design.columns().get(at));
            let between = bounds.map_or_else(String::new, |b| {
                let leaf = leaf.as_deref().unwrap_or_default();
                let (low, high) = (b.grid.value(b.lower), b.grid.value(b.upper));
                format!("of {leaf} in [{low}, {high}], in units of {}", b.grid.step())
            });
            let own = |fits: &dyn Fn(&design::Statistic) -> bool| {
                let at = self.design.statistics().iter().position(fits);
                at.and_then(|at| self.names.get(at)).cloned()
            };
            let direct = own(&|statistic| is_it(statistic, query));
            let stem = || {
                let moments = own(&|statistic| column_of_moments(statistic) == column);
                direct.clone().or(moments).unwrap_or_default()
            };
            let mut add = |name: String, words: String| {
                let leaf = leaf.clone();
                parts.push(Part { name, words, leaf, component, dims: None });
            };
            match query {
                Query::Units => add(direct.unwrap_or("units".to_owned()), "units".to_owned()),
                Query::Rows => add(direct.unwrap_or("rows".to_owned()), "rows".to_owned()),
                Query::Sum { .. } => add(stem(), format!("sum {between}")),
                Query::Centred { .. } => {
                    add(format!("{}_sum", stem()), format!("sum from the middle {between}"));
                }
                Query::CentredSquare { .. } => {
                    let words = format!("sum of squares from the middle {between}");
                    add(format!("{}_square", stem()), words);
                }
                Query::Vector => parts.extend(self.vector_part(component, direct)),
                Query::Tree { .. } => {
                    for (name, rank) in self.ranks_of(query) {
                        let share = format!("{}.{}", rank / 10, rank % 10);
                        let words =
                            format!("value that {share} % of the rows do not pass, {between}");
                        add(name, words);
                    }
                }
                Query::Histogram { .. } => {
                    for bin in 0..of.width {
                        add(format!("{}_{bin}", stem()), format!("rows in bin {bin} {between}"));
                    }
                }
            }
        }
        parts
    }

    /// The quantiles that are read from a tree, in the order of their columns: names, and ranks in
    /// thousandths.
    pub fn ranks_of(&self, tree: &Query) -> Vec<(String, u32)> {
        let of = |(statistic, name): (&design::Statistic, &String)| {
            let design::Statistic::Quantiles { column, branching, height, ranks } = statistic
            else {
                return Vec::new();
            };
            let (column, branching, height) = (*column, *branching, *height);
            if (Query::Tree { column, branching, height }) != *tree {
                return Vec::new();
            }
            let named = |rank: &u32| match rank % 10 {
                0 => (format!("{name}_p{}", rank / 10), *rank),
                tenth => (format!("{name}_p{}_{tenth}", rank / 10), *rank),
            };
            ranks.iter().map(named).collect()
        };
        self.design.statistics().iter().zip(&self.names).flat_map(of).collect()
    }

    fn vector_part(&self, component: usize, name: Option<String>) -> Option<Part> {
        let (leaf, clip) = (self.vector.clone()?, self.design.clip()?);
        let words = format!(
            "sum of the vectors {leaf} of {} numbers, each unit's clipped to the norm {}, in units of \
             {}",
            clip.dimensions,
            clip.grid.value(i64::try_from(clip.norm).unwrap_or(i64::MAX)),
            clip.grid.step()
        );
        let dims = Some(clip.dimensions);
        Some(Part { name: name?, words, leaf: Some(leaf), component, dims })
    }
}

/// The statistic is this query and nothing else.
fn is_it(statistic: &design::Statistic, query: &Query) -> bool {
    use design::Statistic as S;
    match (statistic, query) {
        (S::Units, Query::Units)
        | (S::Rows, Query::Rows)
        | (S::VectorSum { .. }, Query::Vector) => true,
        (S::Sum { column: a }, Query::Sum { column: b })
        | (S::Histogram { column: a, .. }, Query::Histogram { column: b, .. }) => a == b,
        _ => false,
    }
}

/// The column of a statistic that is made of sums from the middle.
fn column_of_moments(statistic: &design::Statistic) -> Option<usize> {
    use design::Statistic as S;
    match statistic {
        S::Mean { column } | S::Variance { column } => Some(*column),
        _ => None,
    }
}

fn column_of_query(query: &Query) -> Option<usize> {
    match query {
        Query::Sum { column }
        | Query::Centred { column }
        | Query::CentredSquare { column }
        | Query::Histogram { column, .. }
        | Query::Tree { column, .. } => Some(*column),
        Query::Units | Query::Rows | Query::Vector => None,
    }
}

/// One key of each list, the last list turning fastest.
fn combinations(groups: &[Group]) -> Vec<Vec<String>> {
    groups.iter().fold(vec![Vec::new()], |all, group| {
        let with = |prefix: &Vec<String>| {
            let prefix = prefix.clone();
            group.keys.iter().map(move |key| {
                let mut full = prefix.clone();
                full.push(key.clone());
                full
            })
        };
        all.iter().flat_map(with).collect()
    })
}

/// A number as it is written, exactly.
fn decimal(number: &Number) -> Option<Decimal> {
    number.to_string().parse().ok()
}

/// A place below another in the tree.
fn under<'p>(base: &[&'p str], rest: &[&'p str]) -> Vec<&'p str> {
    [base, rest].concat()
}

/// A group's key can be told, and is no text.
pub fn is_seen(key: &str) -> bool {
    (1..=256).contains(&key.len()) && !key.contains(char::is_control)
}

/// Groups in all at most.
const GROUPS_MAX: u64 = 1 << 20;
/// A second is the shortest window, a year the longest.
const WINDOW_MS: RangeInclusive<u64> = 1_000..=366 * 86_400_000;
/// A period is held against every window of its identity space, of whatever pipeline: were it shorter,
/// a long window of another one would touch more of them than an account adds up.
const PERIOD_MS: RangeInclusive<u64> = 86_400_000..=*WINDOW_MS.end();

/// What statistics are made of while they are read.
#[derive(Default)]
struct Read {
    names: Vec<String>,
    columns: Vec<(String, design::Column)>,
    vector: Option<String>,
    statistics: Vec<(design::Statistic, u32)>,
}

impl Lint<'_> {
    /// The stage at `stages.N`, beside no other. `None` where a fault was told.
    pub(super) fn aggregate(
        &mut self,
        n: usize,
        file: AggregateFile,
        classes: &[ClassRule],
    ) -> Option<Aggregate> {
        let n = n.to_string();
        let base = ["stages", n.as_str(), "aggregate"];
        let mark = self.root.mark_at(&base);
        let before = self.findings.len();
        self.name(&under(&base, &["unit", "space"]), &file.unit.space, "an identity space", 48);
        self.used(&under(&base, &["unit", "leaf"]), &file.unit.leaf, classes, Use::Unit);
        self.used(&under(&base, &["window", "time"]), &file.window.time, classes, Use::Time);
        let period_ms = self.length(&under(&base, &["period"]), &file.period, PERIOD_MS);
        let every = under(&base, &["window", "every"]);
        let every_ms = self.length(&every, &file.window.every, WINDOW_MS);
        let after = under(&base, &["window", "closes_after"]);
        let closes_after_ms = self.length(&after, &file.window.closes_after, 0..=*WINDOW_MS.end());
        let from_ms = self.instant(&under(&base, &["window", "from"]), &file.window.from);
        if every_ms > period_ms {
            let mark = self.root.at(&every).mark;
            self.error(mark, Kind::OutOfRange, "a window is longer than the renewal period")
                .next("write a period that holds whole windows");
        }
        let selects = file.select.is_some();
        if matches!(file.level, LevelFile::WEvent) && period_ms % every_ms != 0 {
            let mark = self.root.at(&under(&base, &["period"])).mark;
            self.error(
                mark,
                Kind::OutOfRange,
                "`w_event` with a period that is no number of windows",
            )
            .next("write w times the window's length");
        }
        let groups = self.groups(&under(&base, &["groups"]), file.groups, selects, classes);
        if selects && groups.is_empty() {
            let mark = self.root.at(&under(&base, &["select"])).mark;
            self.error(mark, Kind::NotAllowed, "`select` without `groups`")
                .next("add the leaves whose values make groups, or remove it");
        }
        let delta = self.selecting(&base, mark, selects, file.delta.as_ref());
        let read =
            self.statistics(&under(&base, &["statistics"]), &file.statistics, &groups, classes);
        let rho = self.units(&under(&base, &["rho"]), &file.rho, 40);
        let caps = Caps {
            period: self.units(&under(&base, &["caps", "period"]), &file.caps.period, 40),
            life: self.units(&under(&base, &["caps", "life"]), &file.caps.life, 40),
            delta: self.units(&under(&base, &["caps", "delta"]), &file.caps.delta, 80),
        };
        // At the account's delta epsilon is stated: half of it is the conversion's.
        if let Some(delta) = delta {
            let mark = self.root.at(&under(&base, &["delta"])).mark;
            let paid = (caps.delta / 2) / delta.max(1);
            let (windows, message) = match file.level {
                LevelFile::UnitLifetime => {
                    let windows = caps.life / rho.max(1);
                    let message = format!(
                        "half of `caps.delta` pays for {paid} windows, `caps.life` for {windows}"
                    );
                    (windows, message)
                }
                LevelFile::UnitPeriod | LevelFile::WEvent => {
                    let message = "the windows of one period cost more than half of `caps.delta`";
                    (period_ms.div_ceil(every_ms) + 1, message.to_owned())
                }
            };
            if windows > paid {
                self.error(mark, Kind::OutOfRange, message).next(match file.level {
                    LevelFile::UnitLifetime => "lower `delta`, or `caps.life`".to_owned(),
                    _ => format!("lower `delta`: {windows} windows touch a period"),
                });
            }
        }
        for (cap, name) in [(caps.period, "period"), (caps.life, "life")] {
            if rho > cap {
                let mark = self.root.at(&under(&base, &["caps", name])).mark;
                let message = format!("one window's rho passes `caps.{name}`");
                self.error(mark, Kind::OutOfRange, message).next("lower `rho`, or raise the cap");
            }
        }
        // What is out of form is told, and would be told twice.
        if self.findings.len() > before {
            return None;
        }
        let keys = combinations(&groups);
        let key = |keys: &Vec<String>| GroupKey::new(keys.iter().map(|key| Some(key.as_str())));
        let request = Request {
            groups: match delta {
                Some(delta) => Groups::Selected { delta: Delta::units(delta) },
                None => Groups::Public(keys.iter().map(key).collect()),
            },
            groups_per_unit: file.l0,
            rows_per_group: file.c,
            units_max: file.unit.max,
            columns: read.columns.iter().map(|(_, column)| *column).collect(),
            statistics: read.statistics,
            rho: Rho::units(rho),
        };
        let design = match Design::new(request) {
            Ok(design) => design,
            Err(refusals) => {
                refusals.into_iter().for_each(|refusal| self.refused(&base, refusal));
                return None;
            }
        };
        let threshold = match release::threshold(&design) {
            Ok(threshold) => threshold.and_then(|tau| u32::try_from(tau).ok()),
            Err(fault) => {
                self.error(mark, Kind::OutOfRange, format!("noise of the count of units: {fault}"))
                    .next("raise `rho`");
                return None;
            }
        };
        let aggregate = Aggregate {
            unit: file.unit.leaf,
            space: file.unit.space,
            units_max: file.unit.max,
            level: match file.level {
                LevelFile::UnitPeriod => Level::UnitPeriod,
                LevelFile::UnitLifetime => Level::UnitLifetime,
                LevelFile::WEvent => Level::WEvent,
            },
            period_ms,
            from_ms,
            every_ms,
            time: file.window.time,
            closes_after_ms,
            late: file.late,
            groups,
            threshold,
            names: read.names,
            columns: read.columns.into_iter().map(|(leaf, _)| leaf).collect(),
            vector: read.vector,
            design,
            caps,
            mark,
        };
        self.columns_differ(&aggregate).then_some(aggregate)
    }

    /// Names of columns follow from leaves and statistics: `units` of a count that nobody declared,
    /// and `m_sum` of a mean `m`.
    fn columns_differ(&mut self, aggregate: &Aggregate) -> bool {
        let groups = aggregate.groups.iter().map(|group| column_of(&group.leaf));
        let parts = aggregate.parts().into_iter().map(|part| part.name);
        let mut seen = BTreeSet::from([WINDOW_COLUMN.to_owned()]);
        let double = groups.chain(parts).find(|name| !seen.insert(name.clone()));
        if let Some(name) = &double {
            let message = format!("two columns have the name `{}`", quoted(name));
            self.error(aggregate.mark, Kind::DoubleKey, message)
                .next("rename a statistic, or group by another leaf");
        }
        double.is_none()
    }

    /// What the arithmetic cannot promise, at its place in the file.
    fn refused(&mut self, base: &[&str], Refusal { at, why }: Refusal) {
        let statistic = match at {
            At::Statistic(n) => n.to_string(),
            _ => String::new(),
        };
        let at: &[&str] = match at {
            At::Groups => &["groups"],
            At::GroupsPerUnit => &["l0"],
            At::RowsPerGroup => &["c"],
            At::UnitsMax => &["unit", "max"],
            At::Statistic(_) => &["statistics", statistic.as_str()],
            At::Column(_) | At::Statistics => &["statistics"],
            At::Rho => &["rho"],
        };
        let mark = self.root.at(&under(base, at)).mark;
        self.error(mark, Kind::OutOfRange, why)
            .next("change what is declared: nothing of it is taken from data");
    }

    /// A leaf that the stage reads has a class, and one that may serve there.
    fn used(&mut self, at: &[&str], path: &str, classes: &[ClassRule], what: Use) {
        let mark = self.root.at(at).mark;
        if !self.classed(path, mark, classes, "`aggregate`") {
            return;
        }
        let Some(class) = classes.iter().find(|rule| rule.path == path).map(|r| r.class) else {
            return;
        };
        if let Some(why) = what.refuses(class) {
            let message = format!("`{}` of class `{class}` {why}", quoted(path));
            self.error(mark, Kind::Class, message).next("name another leaf, or mend its class");
        }
    }

    fn length(&mut self, at: &[&str], text: &str, range: RangeInclusive<u64>) -> u64 {
        let zero = (text == "0s").then_some(0);
        zero.or_else(|| length_ms(text)).filter(|ms| range.contains(ms)).unwrap_or_else(|| {
            let mark = self.root.at(at).mark;
            let name = at.last().copied().unwrap_or_default();
            let least = match *range.start() {
                0 => "0s",
                86_400_000 => "1d",
                _ => "1s",
            };
            let message = format!("`{name}` is no length of time, expected {least} to 366d");
            self.error(mark, Kind::NotAllowed, message)
                .next("write a count and `s`, `m`, `h` or `d`: `7d`");
            86_400_000
        })
    }

    fn instant(&mut self, at: &[&str], text: &str) -> i64 {
        let time = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        let whole = |ms: &i64| (0..=4_102_444_800_000).contains(ms) && ms % 1000 == 0;
        time.filter(whole).unwrap_or_else(|| {
            let mark = self.root.at(at).mark;
            let message = "`from` is no instant, expected a whole second of 1970 to 2099";
            self.error(mark, Kind::NotAllowed, message)
                .next("write a time with its zone: `2026-11-02T00:00:00Z`");
            0
        })
    }

    /// What selecting groups costs a window, in units of 2^-80.
    fn selecting(
        &mut self,
        base: &[&str],
        mark: Mark,
        selects: bool,
        delta: Option<&Number>,
    ) -> Option<u64> {
        match (selects, delta) {
            (false, None) => None,
            (true, Some(delta)) => Some(self.units(&under(base, &["delta"]), delta, 80)),
            (true, None) => {
                self.error(mark, Kind::MissingKey, "`select` has no `delta` beside it")
                    .next("add what it costs a window: `delta: 1e-11`");
                None
            }
            (false, Some(_)) => {
                let mark = self.root.at(&under(base, &["delta"])).mark;
                self.error(mark, Kind::NotAllowed, "`delta` stands without `select`")
                    .next("remove it: public groups cost none; `caps.delta` is the account's");
                None
            }
        }
    }

    fn groups(
        &mut self,
        at: &[&str],
        groups: Vec<GroupFile>,
        selects: bool,
        classes: &[ClassRule],
    ) -> Vec<Group> {
        let mut all: u64 = 1;
        let mut seen = BTreeSet::new();
        for (n, group) in groups.iter().enumerate() {
            let n = n.to_string();
            let leaf = under(at, &[n.as_str(), "leaf"]);
            self.used(&leaf, &group.leaf, classes, Use::Group);
            if !seen.insert(group.leaf.clone()) {
                let mark = self.root.at(&leaf).mark;
                self.error(mark, Kind::DoubleKey, "a leaf makes groups twice").next("remove one");
            }
            if selects == group.keys.is_some() {
                let mark = self.root.at(&under(at, &[n.as_str()])).mark;
                let (kind, message, next) = match selects {
                    true => {
                        let next = "remove them: groups that pass the threshold are published";
                        (Kind::NotAllowed, "`keys` stand beside `select`", next)
                    }
                    false => {
                        let next = "list what is published, or add `select: noisy_count`";
                        (Kind::MissingKey, "a group has no `keys`", next)
                    }
                };
                self.error(mark, kind, message).next(next);
            }
            let unseen = |key: &String| !is_seen(key);
            if group.keys.iter().flatten().any(unseen) {
                let mark = self.root.at(&under(at, &[n.as_str(), "keys"])).mark;
                self.error(mark, Kind::NotAllowed, "a key is empty, long or cannot be seen")
                    .next("write keys of 1 to 256 bytes: they are published");
            }
            all = all.saturating_mul(group.keys.as_ref().map_or(1, |keys| keys.len() as u64));
        }
        if all > GROUPS_MAX {
            let mark = self.root.at(at).mark;
            let message = format!("{all} groups, expected at most {GROUPS_MAX}");
            self.error(mark, Kind::OutOfRange, message).next("list fewer keys");
        }
        let group =
            |file: GroupFile| Group { leaf: file.leaf, keys: file.keys.unwrap_or_default() };
        groups.into_iter().map(group).collect()
    }

    fn statistics(
        &mut self,
        at: &[&str],
        statistics: &[StatisticFile],
        groups: &[Group],
        classes: &[ClassRule],
    ) -> Read {
        let mut read = Read::default();
        for (n, file) in statistics.iter().enumerate() {
            let n = n.to_string();
            let base = under(at, &[n.as_str()]);
            let mark = self.root.at(&base).mark;
            let name = under(&base, &["name"]);
            self.name(&name, &file.name, "a statistic's name", 48);
            let of_counts = ["units", "rows"].contains(&file.name.as_str());
            let taken = file.name == WINDOW_COLUMN
                || file.name.contains('-')
                || (of_counts && file.count.is_none())
                || groups.iter().any(|group| column_of(&group.leaf) == file.name);
            if taken {
                let mark = self.root.at(&name).mark;
                self.error(mark, Kind::NotAllowed, "this is no name for the statistic's column")
                    .next("write a-z, 0-9 and `_`, and no name of a group's leaf or the window's");
            }
            if read.names.contains(&file.name) {
                self.error(mark, Kind::DoubleKey, "two statistics have one name")
                    .next("rename one of them: it is a column outside");
            }
            read.names.push(file.name.clone());
            if let Some(statistic) = self.statistic(&base, mark, file, classes, &mut read) {
                read.statistics.push((statistic, file.weight));
            }
        }
        read
    }

    fn statistic(
        &mut self,
        at: &[&str],
        mark: Mark,
        file: &StatisticFile,
        classes: &[ClassRule],
        read: &mut Read,
    ) -> Option<design::Statistic> {
        let leaves = [
            ("sum", &file.sum),
            ("mean", &file.mean),
            ("variance", &file.variance),
            ("histogram", &file.histogram),
            ("quantiles", &file.quantiles),
            ("vector_sum", &file.vector_sum),
        ];
        let mut named = leaves.iter().filter_map(|(kind, leaf)| Some((*kind, leaf.as_ref()?)));
        let (kind, leaf) = match (file.count, named.next(), named.next()) {
            (Some(count), None, None) => {
                if file.low.is_some() || file.high.is_some() || file.grid.is_some() {
                    self.error(mark, Kind::NotAllowed, "bounds stand beside a count")
                        .next("remove `low`, `high` and `grid`");
                }
                self.only(mark, file, "count");
                return Some(match count {
                    CountFile::Units => design::Statistic::Units,
                    CountFile::Rows => design::Statistic::Rows,
                });
            }
            (None, Some((kind, leaf)), None) => (kind, leaf),
            (None, None, None) => {
                self.error(mark, Kind::MissingKey, "this statistic says nothing to compute").next(
                    "add one of `count`, `sum`, `mean`, `variance`, `histogram`, `quantiles` and \
                     `vector_sum`",
                );
                return None;
            }
            _ => {
                self.error(mark, Kind::NotAllowed, "one statistic is of two kinds")
                    .next("write two, each with a name");
                return None;
            }
        };
        self.used(&under(at, &[kind]), leaf, classes, Use::Value);
        self.only(mark, file, kind);
        if kind == "vector_sum" {
            read.vector = Some(leaf.clone());
            return self.vector_sum(at, mark, file);
        }
        let column = self.column(at, mark, file, leaf, &mut read.columns);
        Some(match kind {
            "quantiles" => {
                let ranks = self.ranks(at, mark, file);
                let (branching, height) = (file.branching.unwrap_or(8), file.levels.unwrap_or(4));
                design::Statistic::Quantiles { column: column?, branching, height, ranks: ranks? }
            }
            "sum" => design::Statistic::Sum { column: column? },
            "mean" => design::Statistic::Mean { column: column? },
            "variance" => design::Statistic::Variance { column: column? },
            _ => {
                let Some(edges) = &file.edges else {
                    self.error(mark, Kind::MissingKey, "`histogram` has no `edges`")
                        .next("add where its bins begin: `edges: [10, 100]`");
                    return None;
                };
                let Some(edges) = edges.iter().map(decimal).collect() else {
                    let mark = self.root.at(&under(at, &["edges"])).mark;
                    self.error(mark, Kind::OutOfRange, "an edge has too many digits")
                        .next("write fewer");
                    return None;
                };
                design::Statistic::Histogram { column: column?, edges }
            }
        })
    }

    /// What belongs to one kind of statistic stands beside no other.
    fn only(&mut self, mark: Mark, file: &StatisticFile, kind: &str) {
        for (name, there, of) in [
            ("edges", file.edges.is_some(), "histogram"),
            ("ranks", file.ranks.is_some(), "quantiles"),
            ("branching", file.branching.is_some(), "quantiles"),
            ("levels", file.levels.is_some(), "quantiles"),
            ("dims", file.dims.is_some(), "vector_sum"),
            ("norm", file.norm.is_some(), "vector_sum"),
        ] {
            if there && kind != of {
                self.error(mark, Kind::NotAllowed, format!("`{name}` stands beside `{kind}`"))
                    .next(format_args!("remove it, or write `{of}`"));
            }
        }
    }

    /// In thousandths.
    fn ranks(&mut self, at: &[&str], mark: Mark, file: &StatisticFile) -> Option<Vec<u32>> {
        let Some(ranks) = &file.ranks else {
            self.error(mark, Kind::MissingKey, "`quantiles` has no `ranks`")
                .next("add which: `ranks: [0.25, 0.5, 0.75]`");
            return None;
        };
        let thousandth = Decimal::new(1, -3).ok().and_then(|step| Grid::new(step).ok())?;
        let whole = |rank: &Number| u32::try_from(thousandth.whole_steps(decimal(rank)?)?).ok();
        let found: Option<Vec<u32>> = ranks.iter().map(whole).collect();
        if found.is_none() {
            let mark = self.root.at(&under(at, &["ranks"])).mark;
            self.error(mark, Kind::OutOfRange, "a rank is not a whole number of thousandths")
                .next("write shares above 0 and below 1: `[0.25, 0.5, 0.999]`");
        }
        found
    }

    fn vector_sum(
        &mut self,
        at: &[&str],
        mark: Mark,
        file: &StatisticFile,
    ) -> Option<design::Statistic> {
        if file.low.is_some() || file.high.is_some() {
            self.error(mark, Kind::NotAllowed, "`low` or `high` stands beside `vector_sum`")
                .next("remove them: a vector is clipped to its `norm`");
        }
        if file.dims.is_none() {
            self.error(mark, Kind::MissingKey, "this statistic has no `dims`")
                .next("add how many numbers each vector has: `dims: 16`");
        }
        let grid = self.grid(at, mark, file);
        let norm = self.number(at, mark, "norm", file.norm.as_ref());
        let (dimensions, grid, norm) = (file.dims?, grid?, norm?);
        let norm = grid.whole_steps(norm).and_then(|norm| u64::try_from(norm).ok());
        let Some(norm) = norm else {
            let mark = self.root.at(&under(at, &["norm"])).mark;
            self.error(mark, Kind::OutOfRange, "`norm` is not a whole number of steps of the grid")
                .next("write a norm such as 1, and a grid such as 0.001");
            return None;
        };
        Some(design::Statistic::VectorSum { dimensions, grid, norm })
    }

    /// The column of numbers that a statistic is of, told from others by leaf, bounds and grid.
    fn column(
        &mut self,
        at: &[&str],
        mark: Mark,
        file: &StatisticFile,
        leaf: &str,
        columns: &mut Vec<(String, design::Column)>,
    ) -> Option<usize> {
        let lower = self.number(at, mark, "low", file.low.as_ref());
        let upper = self.number(at, mark, "high", file.high.as_ref());
        let grid = self.grid(at, mark, file);
        let (lower, upper, grid) = (lower?, upper?, grid?);
        let wanted = (leaf.to_owned(), design::Column { grid, lower, upper });
        let known = columns.iter().position(|known| *known == wanted);
        Some(known.unwrap_or_else(|| {
            columns.push(wanted);
            columns.len() - 1
        }))
    }

    fn grid(&mut self, at: &[&str], mark: Mark, file: &StatisticFile) -> Option<Grid> {
        let one = Number::from(1);
        let grid = self.number(at, mark, "grid", Some(file.grid.as_ref().unwrap_or(&one)))?;
        let grid = Grid::new(grid).ok();
        if grid.is_none() {
            let mark = self.root.at(&under(at, &["grid"])).mark;
            self.error(mark, Kind::OutOfRange, "`grid` is not above 0, or has over 15 digits")
                .next("write `grid: 1`");
        }
        grid
    }

    fn number(
        &mut self,
        at: &[&str],
        mark: Mark,
        name: &str,
        number: Option<&Number>,
    ) -> Option<Decimal> {
        let Some(number) = number else {
            self.error(mark, Kind::MissingKey, format!("this statistic has no `{name}`"))
                .help("bounds are public and are never taken from data")
                .next(format_args!("add `{name}`"));
            return None;
        };
        let found = decimal(number);
        if found.is_none() {
            let mark = self.root.at(&under(at, &[name])).mark;
            self.error(mark, Kind::OutOfRange, format!("`{name}` has too many digits"))
                .next("write fewer");
        }
        found
    }

    /// A share of a budget in whole units of 2^-bits, of which there is one at least.
    fn units(&mut self, at: &[&str], number: &Number, bits: u32) -> u64 {
        let units = decimal(number).and_then(|decimal| decimal.floor_binary(bits));
        let units = units.and_then(|units| u64::try_from(units).ok());
        units.filter(|units| *units > 0).unwrap_or_else(|| {
            let mark = self.root.at(at).mark;
            let name = at.last().copied().unwrap_or_default();
            let most = 64 - i64::from(bits);
            let message = format!("`{name}` is no budget, expected 2^-{bits} to 2^{most}");
            self.error(mark, Kind::OutOfRange, message).next("write a number such as 0.01 or 1e-9");
            1
        })
    }
}

/// What a leaf serves for in the stage.
#[derive(Clone, Copy)]
enum Use {
    Unit,
    Time,
    Group,
    Value,
}

impl Use {
    /// Why a leaf of this class does not.
    fn refuses(self, class: Class) -> Option<&'static str> {
        match (self, class) {
            (_, Class::Secret) => Some("is used in no form"),
            (_, Class::Technical) => Some("stays in the system"),
            (_, Class::FreeText) => Some("is text that a person wrote: it makes no statistic"),
            (Self::Group | Self::Value, Class::Identifier) => {
                Some("names one subject: only `unit` reads it")
            }
            (Self::Unit, Class::Identifier) => None,
            (Self::Unit, _) => Some("is no unit: expected an `identifier`"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_keys_is_a_group_the_last_list_turning_fastest() {
        let group = |leaf: &str, keys: &[&str]| Group {
            leaf: leaf.to_owned(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        assert_eq!(combinations(&[]), [Vec::<String>::new()]);
        let all = combinations(&[group("a", &["x", "y"]), group("b", &["1", "2"])]);
        assert_eq!(all, [["x", "1"], ["x", "2"], ["y", "1"], ["y", "2"]]);
    }
}
