//! What an aggregate declares, what each of its statistics may be changed by one person, and how
//! much noise hides that. What is built here cannot be bad: everything is refused at once, before
//! any row is read, from public numbers only.

use std::collections::BTreeSet;

use douane_kernels::alias_table::Variance;

use super::accountant::{Delta, Rho};
use super::bounding::{GroupKey, Limits};
use super::decimal::{Decimal, Grid};

/// Statistics, and columns, of one aggregate.
const STATISTICS_MAX: usize = 64;
/// Groups that a person may be in, rows of a person in a group.
const GROUPS_MAX: u32 = 1 << 16;
const ROWS_MAX: u32 = 1 << 20;
/// Rows that are kept of one person.
const KEPT_MAX: u64 = 1 << 20;
/// Numbers that one group has.
const WIDTH_MAX: u64 = 1 << 20;
/// Numbers that a release of public groups has.
const COORDINATES_MAX: u64 = 1 << 26;
/// Numbers of the groups that one person can make appear, where data select them: 4 MiB of sums.
const SELECTED_MAX: u64 = 1 << 18;
/// With vectors: numbers that are kept of one person, and that a release has. Each is held several
/// times over while a window is closed: 2^22 of them take 200 MiB.
const VECTORS_MAX: u64 = 1 << 22;
/// Sums stay below it, whatever the rows are.
const SUM_BITS: u32 = 62;
/// Fewer persons are not worth the other choice of bounds; more there are not.
const UNITS_MIN: u64 = 1 << 20;
const UNITS_MAX: u64 = 1 << 40;
/// Of sums by group: sigma^2 is at most 2^20 of the steps that it is released in.
const VARIANCE_BITS: u32 = 20;
/// Of histograms, trees and vectors, which are released as they are: sigma is at most 8192.
const WIDE_VARIANCE_BITS: u32 = 26;

/// Which groups there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// A literal list: each is released, also one without rows; rows of others are left out.
    Public(Vec<GroupKey>),
    /// Those whose noisy count of persons passes a threshold. Groups without rows are never named.
    Selected {
        /// How likely a person who is alone in groups makes one of them appear, at most.
        delta: Delta,
    },
}

/// A column of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// What cells are cut to.
    pub grid: Grid,
    /// Smaller ones count as this.
    pub lower: Decimal,
    /// Larger ones count as this.
    pub upper: Decimal,
}

/// One thing that is asked of each group.
#[derive(Clone, Debug, PartialEq)]
pub enum Statistic {
    /// How many persons.
    Units,
    /// How many of their rows, up to `rows` of each person.
    Rows,
    /// Sum of a column.
    Sum {
        /// Which of [`Request::columns`].
        column: usize,
    },
    /// Mean of a column.
    Mean {
        /// Which of [`Request::columns`].
        column: usize,
    },
    /// Variance of a column.
    Variance {
        /// Which of [`Request::columns`].
        column: usize,
    },
    /// Rows by the bin that a column's cell is in.
    Histogram {
        /// Which of [`Request::columns`].
        column: usize,
        /// Where the second bin begins, the third, and so on.
        edges: Vec<Decimal>,
    },
    /// Quantiles of a column, from a tree of counts.
    Quantiles {
        /// Which of [`Request::columns`].
        column: usize,
        /// Children of a node.
        branching: u32,
        /// Levels below the root.
        height: u32,
        /// Ranks in thousandths, 1 to 999.
        ranks: Vec<u32>,
    },
    /// Sum of vectors, each person's clipped to an L2 norm over all groups.
    VectorSum {
        /// Numbers of a vector.
        dimensions: u32,
        /// What they are cut to.
        grid: Grid,
        /// The norm, in steps of the grid.
        norm: u64,
    },
}

/// What is declared, unchecked.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Which groups there are.
    pub groups: Groups,
    /// In how many groups a person counts, at most (L0).
    pub groups_per_unit: u32,
    /// How many rows of a person count in a group, at most (c).
    pub rows_per_group: u32,
    /// More persons than the identity space can ever have.
    pub units_max: u64,
    /// Columns that statistics are of.
    pub columns: Vec<Column>,
    /// Statistics, each with its weight: its part of rho.
    pub statistics: Vec<(Statistic, u32)>,
    /// What one release costs, all statistics together.
    pub rho: Rho,
}

/// Which part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// [`Request::groups`].
    Groups,
    /// [`Request::groups_per_unit`].
    GroupsPerUnit,
    /// [`Request::rows_per_group`].
    RowsPerGroup,
    /// [`Request::units_max`].
    UnitsMax,
    /// One of [`Request::columns`].
    Column(usize),
    /// [`Request::statistics`], or one of them.
    Statistics,
    /// One of [`Request::statistics`].
    Statistic(usize),
    /// [`Request::rho`].
    Rho,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// Which part of it.
    pub at: At,
    /// What was found, what was expected, what to do.
    pub why: String,
}

/// What is added up over persons: one or more integers of each group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// 1 for each person.
    Units,
    /// 1 for each row.
    Rows,
    /// The cells of a column.
    Sum {
        /// Which.
        column: usize,
    },
    /// The same, less the middle of the bounds.
    Centred {
        /// Which.
        column: usize,
    },
    /// Their squares.
    CentredSquare {
        /// Which.
        column: usize,
    },
    /// Rows by bin.
    Histogram {
        /// Which column.
        column: usize,
        /// Where the second bin begins, and so on, in steps.
        edges: Vec<i64>,
    },
    /// Rows by node: the root's children, then theirs, and so on.
    Tree {
        /// Which column.
        column: usize,
        /// Children of a node.
        branching: u32,
        /// Levels.
        height: u32,
    },
    /// Clipped vectors.
    Vector,
}

/// A query with its sensitivity and noise. Neighbours differ by one person (add/remove).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// What is added up.
    pub query: Query,
    /// Integers of a group.
    pub width: u64,
    /// The most that one person changes one integer by.
    pub d_inf: u128,
    /// The square of the most that one person changes all integers together by, in the L2 norm.
    pub d2_squared: u128,
    /// How many integers one person changes, at most.
    pub touched: u64,
    /// Its part of rho.
    pub rho: Rho,
    /// What is released is a multiple of 2^shift: the sum, cut down to one, with noise of that step.
    pub shift: u32,
    /// sigma^2 of the noise, in those steps.
    pub variance: Variance,
}

impl Component {
    /// Standard deviation of the noise, in units of the sum.
    pub fn sigma(&self) -> f64 {
        let quotient = self.variance.numerator() as f64 / self.variance.denominator() as f64;
        quotient.sqrt() * (1_u64 << self.shift) as f64
    }

    /// In 95 of 100 releases a number is off by no more than this, bounding aside.
    pub fn error_95(&self) -> f64 {
        // What a sum loses by being cut down to a multiple.
        1.959_963_984_540_054 * self.sigma() + ((1_u64 << self.shift) - 1) as f64
    }
}

/// A column in steps of its grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Its step.
    pub grid: Grid,
    /// Smaller ones count as this.
    pub lower: i64,
    /// Larger ones count as this.
    pub upper: i64,
}

impl Bounds {
    /// Cut to the grid, towards zero, and clamped.
    pub fn clamp(&self, value: Decimal) -> i64 {
        self.grid.steps(value).clamp(self.lower, self.upper)
    }

    /// Where centred sums have their zero.
    pub fn middle(&self) -> i64 {
        let sum = i128::from(self.lower) + i128::from(self.upper);
        // unwrap safety: between two numbers of 64 bits.
        i64::try_from(sum.div_euclid(2)).unwrap_or(0)
    }
}

/// A vector's entries and norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clip {
    /// Numbers of a vector.
    pub dimensions: u32,
    /// Their step.
    pub grid: Grid,
    /// The norm, in steps.
    pub norm: u64,
}

/// A request that holds, with its components.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    groups: Groups,
    limits: Limits,
    units_max: u64,
    columns: Vec<Bounds>,
    clip: Option<Clip>,
    statistics: Vec<Statistic>,
    components: Vec<Component>,
}

impl Design {
    /// Checks a request.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(request: Request) -> Result<Self, Vec<Refusal>> {
        let mut refusals = Refusals::default();
        let limits = limits(&request, &mut refusals);
        let columns = columns(&request, &mut refusals);
        statistics(&request, &columns, &mut refusals);
        if !refusals.0.is_empty() {
            return Err(refusals.0);
        }
        let columns: Vec<Bounds> = columns.into_iter().flatten().collect();
        let clip = request.statistics.iter().find_map(|(statistic, _)| match statistic {
            Statistic::VectorSum { dimensions, grid, norm } => {
                Some(Clip { dimensions: *dimensions, grid: *grid, norm: *norm })
            }
            _ => None,
        });
        let components = components(&request, limits, &columns, clip, &mut refusals);
        if !refusals.0.is_empty() {
            return Err(refusals.0);
        }
        let groups = match request.groups {
            Groups::Public(mut keys) => {
                keys.sort();
                Groups::Public(keys)
            }
            selected @ Groups::Selected { .. } => selected,
        };
        let statistics = request.statistics.into_iter().map(|(statistic, _)| statistic).collect();
        let units_max = request.units_max;
        Ok(Self { groups, limits, units_max, columns, clip, statistics, components })
    }

    /// Which groups there are; public ones sorted.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Whether rows of this group count. Those that do not are left out before a person's rows are
    /// bounded, so they take no other's place.
    pub fn admits(&self, group: &GroupKey) -> bool {
        match &self.groups {
            Groups::Public(keys) => keys.binary_search(group).is_ok(),
            Groups::Selected { .. } => true,
        }
    }

    /// How much of a person counts.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The columns, in steps.
    pub fn columns(&self) -> &[Bounds] {
        &self.columns
    }

    /// Of the vector, where there is one.
    pub fn clip(&self) -> Option<Clip> {
        self.clip
    }

    /// What is asked, as declared.
    pub fn statistics(&self) -> &[Statistic] {
        &self.statistics
    }

    /// What is added up for it. Statistics share components: the rows of a mean are those of `Rows`.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The component of a query. Every query that a statistic needs is there.
    pub fn component(&self, query: &Query) -> Option<usize> {
        self.components.iter().position(|component| component.query == *query)
    }

    /// What one release costs: at most the declared rho.
    pub fn rho(&self) -> Rho {
        Rho::units(self.components.iter().map(|component| component.rho.in_units()).sum())
    }

    /// What selecting groups costs beside it.
    pub fn delta(&self) -> Delta {
        match self.groups {
            Groups::Public(_) => Delta::ZERO,
            Groups::Selected { delta } => delta,
        }
    }

    /// Noised integers of one group.
    pub fn width(&self) -> u64 {
        self.components.iter().map(|component| component.width).sum()
    }

    /// Sums that pass this are cut to it: no count of rows does unless there are more persons than
    /// `units_max`, and cutting moves no two sums apart.
    pub fn sum_max(&self, component: &Component) -> i64 {
        let most = component.d_inf.saturating_mul(u128::from(self.units_max));
        i64::try_from(most).unwrap_or(i64::MAX).min(1 << SUM_BITS)
    }
}

#[derive(Default)]
struct Refusals(Vec<Refusal>);

impl Refusals {
    fn add(&mut self, at: At, why: String) {
        self.0.push(Refusal { at, why });
    }
}

fn limits(request: &Request, refusals: &mut Refusals) -> Limits {
    let (groups, rows) = (request.groups_per_unit, request.rows_per_group);
    if !(1..=GROUPS_MAX).contains(&groups) {
        let why = format!("found {groups}, expected 1 to {GROUPS_MAX} groups of a person");
        refusals.add(At::GroupsPerUnit, why);
    }
    if !(1..=ROWS_MAX).contains(&rows) {
        let why = format!("found {rows}, expected 1 to {ROWS_MAX} rows of a person in a group");
        refusals.add(At::RowsPerGroup, why);
    }
    if u64::from(groups) * u64::from(rows) > KEPT_MAX {
        let why = format!("{groups} groups of {rows} rows: at most {KEPT_MAX} rows of a person");
        refusals.add(At::RowsPerGroup, why);
    }
    if !(UNITS_MIN..=UNITS_MAX).contains(&request.units_max) {
        let found = request.units_max;
        let why = format!("found {found}, expected {UNITS_MIN} to {UNITS_MAX} persons");
        refusals.add(At::UnitsMax, why);
    }
    let mut limits = Limits { groups, rows, values: 0 };
    match &request.groups {
        Groups::Public(keys) => {
            let distinct: BTreeSet<&GroupKey> = keys.iter().collect();
            if keys.is_empty() || distinct.len() != keys.len() {
                let why = "the list of groups is empty, or names one twice".to_owned();
                refusals.add(At::Groups, why);
            }
            // Nobody is in more groups than there are.
            limits.groups = groups.min(u32::try_from(keys.len()).unwrap_or(u32::MAX)).max(1);
        }
        Groups::Selected { delta } => {
            if *delta == Delta::ZERO || *delta > Delta::LARGEST {
                let why =
                    "selecting groups needs a delta above 0 and up to 2^-17, 7.6e-6".to_owned();
                refusals.add(At::Groups, why);
            }
        }
    }
    limits.values = request.columns.len();
    for (statistic, _) in &request.statistics {
        if let Statistic::VectorSum { dimensions, .. } = statistic {
            limits.values += *dimensions as usize;
            let rows = u64::from(limits.groups) * u64::from(limits.rows);
            let kept = rows.saturating_mul(u64::from(*dimensions));
            if kept > VECTORS_MAX {
                let why = format!(
                    "{rows} vectors of {dimensions}: at most {VECTORS_MAX} numbers of a person"
                );
                refusals.add(At::RowsPerGroup, why);
            }
        }
    }
    limits
}

fn columns(request: &Request, refusals: &mut Refusals) -> Vec<Option<Bounds>> {
    if request.columns.len() > STATISTICS_MAX {
        refusals.add(At::Statistics, format!("at most {STATISTICS_MAX} columns are taken"));
    }
    let mut all = Vec::new();
    for (at, column) in request.columns.iter().enumerate() {
        let grid = column.grid;
        let (lower, upper) = (grid.whole_steps(column.lower), grid.whole_steps(column.upper));
        all.push(match (lower, upper) {
            (Some(lower), Some(upper)) if lower < upper => Some(Bounds { grid, lower, upper }),
            (Some(_), Some(_)) => {
                let (lower, upper) = (column.lower, column.upper);
                let why = format!("lower {lower} is not below upper {upper}");
                refusals.add(At::Column(at), why);
                None
            }
            _ => {
                let why = format!("bounds are not whole steps of {}, or too many", grid.step());
                refusals.add(At::Column(at), why);
                None
            }
        });
    }
    all
}

fn statistics(request: &Request, columns: &[Option<Bounds>], refusals: &mut Refusals) {
    let count = request.statistics.len();
    if !(1..=STATISTICS_MAX).contains(&count) {
        let why = format!("found {count} statistics, expected 1 to {STATISTICS_MAX}");
        refusals.add(At::Statistics, why);
    }
    let vectors = request.statistics.iter();
    let vectors = vectors.filter(|(s, _)| matches!(s, Statistic::VectorSum { .. })).count();
    if vectors > 1 {
        refusals.add(At::Statistics, format!("found {vectors} vector sums, expected one"));
    }
    for (at, (statistic, weight)) in request.statistics.iter().enumerate() {
        let at = At::Statistic(at);
        if *weight == 0 {
            refusals.add(at, "weight is 0: it would have no part of rho".to_owned());
        }
        let column = match statistic {
            Statistic::Units | Statistic::Rows | Statistic::VectorSum { .. } => None,
            Statistic::Sum { column }
            | Statistic::Mean { column }
            | Statistic::Variance { column }
            | Statistic::Histogram { column, .. }
            | Statistic::Quantiles { column, .. } => Some(*column),
        };
        if column.is_some_and(|column| column >= columns.len()) {
            refusals.add(at, "it is of a column that is not declared".to_owned());
            continue;
        }
        let bounds = column.and_then(|column| columns.get(column).copied().flatten());
        match (statistic, bounds) {
            (Statistic::Histogram { edges, .. }, Some(bounds)) => {
                let steps: Option<Vec<i64>> =
                    edges.iter().map(|edge| bounds.grid.whole_steps(*edge)).collect();
                let fine = steps.is_some_and(|steps| {
                    let inside = |edge: &i64| (bounds.lower + 1..=bounds.upper).contains(edge);
                    !steps.is_empty()
                        && steps.is_sorted_by(|a, b| a < b)
                        && steps.iter().all(inside)
                });
                if !fine || edges.len() as u64 >= WIDTH_MAX {
                    let why = "edges are not whole steps, ascending, between the bounds".to_owned();
                    refusals.add(at, why);
                }
            }
            (Statistic::Quantiles { branching, height, ranks, .. }, _) => {
                if !(2..=256).contains(branching) || !(1..=16).contains(height) {
                    let why = format!(
                        "found a tree of {height} levels of {branching}, expected 1 to 16 of 2 to 256"
                    );
                    refusals.add(at, why);
                }
                let inside = ranks.iter().all(|rank| (1..1000).contains(rank));
                if ranks.is_empty() || !ranks.is_sorted_by(|a, b| a < b) || !inside {
                    refusals.add(at, "ranks are not ascending, above 0 and below 1".to_owned());
                }
            }
            (Statistic::VectorSum { dimensions, norm, .. }, _)
                if !(1..=WIDTH_MAX).contains(&u64::from(*dimensions)) || *norm == 0 =>
            {
                let why = format!("expected 1 to {WIDTH_MAX} dimensions, and a norm above 0");
                refusals.add(at, why);
            }
            _ => {}
        }
    }
}

/// What a statistic is made of.
fn queries(statistic: &Statistic, columns: &[Bounds]) -> Vec<Query> {
    match statistic {
        Statistic::Units => vec![Query::Units],
        Statistic::Rows => vec![Query::Rows],
        Statistic::Sum { column } => vec![Query::Sum { column: *column }],
        Statistic::Mean { column } => vec![Query::Rows, Query::Centred { column: *column }],
        Statistic::Variance { column } => {
            let column = *column;
            vec![Query::Rows, Query::Centred { column }, Query::CentredSquare { column }]
        }
        Statistic::Histogram { column, edges } => {
            let steps = columns.get(*column).map(|bounds| {
                edges.iter().filter_map(|edge| bounds.grid.whole_steps(*edge)).collect()
            });
            vec![Query::Histogram { column: *column, edges: steps.unwrap_or_default() }]
        }
        Statistic::Quantiles { column, branching, height, .. } => {
            vec![Query::Tree { column: *column, branching: *branching, height: *height }]
        }
        Statistic::VectorSum { .. } => vec![Query::Vector],
    }
}

/// The queries of all statistics, each once, with its part of rho in units.
fn shares(request: &Request, columns: &[Bounds]) -> Vec<(Query, u64, At)> {
    let mut wanted: Vec<(Vec<Query>, u32, At)> = Vec::new();
    for (at, (statistic, weight)) in request.statistics.iter().enumerate() {
        wanted.push((queries(statistic, columns), *weight, At::Statistic(at)));
    }
    let counted = wanted.iter().any(|(queries, ..)| queries.contains(&Query::Units));
    if matches!(request.groups, Groups::Selected { .. }) && !counted {
        // Groups are selected by the noisy count of their persons.
        wanted.push((vec![Query::Units], 1, At::Groups));
    }
    let weights: u128 = wanted.iter().map(|(_, weight, _)| u128::from(*weight)).sum();
    let mut shares: Vec<(Query, u64, At)> = Vec::new();
    for (queries, weight, at) in wanted {
        let whole = u128::from(request.rho.in_units()) * u128::from(weight) / weights.max(1);
        let part = u64::try_from(whole / queries.len().max(1) as u128).unwrap_or(0);
        for query in queries {
            match shares.iter_mut().find(|(known, ..)| *known == query) {
                Some((_, share, _)) => *share += part,
                None => shares.push((query, part, at)),
            }
        }
    }
    shares
}

fn components(
    request: &Request,
    limits: Limits,
    columns: &[Bounds],
    clip: Option<Clip>,
    refusals: &mut Refusals,
) -> Vec<Component> {
    let mut components = Vec::new();
    for (query, share, at) in shares(request, columns) {
        let Some(sensitivity) = sensitivity(&query, limits, columns, clip) else {
            refusals
                .add(at, "one person's part does not fit 128 bits: narrow the bounds".to_owned());
            continue;
        };
        let most = sensitivity.d_inf.saturating_mul(u128::from(request.units_max));
        if most >= 1 << SUM_BITS {
            let why = format!(
                "{} persons times {} a person could pass 2^{SUM_BITS}: narrow the bounds, widen the \
                 grid, or lower units_max or rows_per_group",
                request.units_max, sensitivity.d_inf
            );
            refusals.add(at, why);
            continue;
        }
        match noise(&sensitivity, share, limits) {
            Ok((shift, variance)) => components.push(Component {
                query,
                width: sensitivity.width,
                d_inf: sensitivity.d_inf,
                d2_squared: sensitivity.d2_squared,
                touched: sensitivity.touched,
                rho: Rho::units(share),
                shift,
                variance,
            }),
            Err(why) => refusals.add(at, why),
        }
    }
    let width: u64 = components.iter().map(|component| component.width).sum();
    let keys = match &request.groups {
        Groups::Public(keys) => keys.len() as u64,
        // What one person makes room for while a window is closed.
        Groups::Selected { .. } => u64::from(limits.groups),
    };
    let selected = matches!(request.groups, Groups::Selected { .. });
    let most = match (clip.is_some(), selected) {
        (true, _) => VECTORS_MAX,
        (false, true) => SELECTED_MAX,
        (false, false) => COORDINATES_MAX,
    };
    // A vector may be as wide as a group, and a count stand beside it.
    let of_counts = width - clip.map_or(0, |clip| u64::from(clip.dimensions)).min(width);
    if of_counts > WIDTH_MAX || width.saturating_mul(keys) > most {
        let of = if selected { "groups of one person" } else { "groups" };
        let why = format!(
            "{keys} {of}, of {width} numbers each: at most {WIDTH_MAX} of a group, {most} in all"
        );
        refusals.add(At::Statistics, why);
    }
    components
}

struct Sensitivity {
    width: u64,
    d_inf: u128,
    d2_squared: u128,
    touched: u64,
    /// Whether it may be cut down to multiples of a power of two: flooring many integers of one
    /// person would add to the norm.
    coarse: bool,
}

/// What adding or removing one person changes, given L0 groups of c rows each.
fn sensitivity(
    query: &Query,
    limits: Limits,
    columns: &[Bounds],
    clip: Option<Clip>,
) -> Option<Sensitivity> {
    let (groups, rows) = (u64::from(limits.groups), u64::from(limits.rows));
    let by_group = |d_inf: u128| {
        let d2_squared = d_inf.checked_mul(d_inf)?.checked_mul(u128::from(groups))?;
        Some(Sensitivity { width: 1, d_inf, d2_squared, touched: groups, coarse: true })
    };
    let c = u128::from(rows);
    let reach = |column: usize| {
        let bounds = columns.get(column)?;
        let middle = i128::from(bounds.middle());
        let up = i128::from(bounds.upper) - middle;
        Some(up.max(middle - i128::from(bounds.lower)).unsigned_abs())
    };
    match query {
        Query::Units => by_group(1),
        Query::Rows => by_group(c),
        Query::Sum { column } => {
            let bounds = columns.get(*column)?;
            let largest = bounds.lower.unsigned_abs().max(bounds.upper.unsigned_abs());
            by_group(c.checked_mul(u128::from(largest))?)
        }
        Query::Centred { column } => by_group(c.checked_mul(reach(*column)?)?),
        Query::CentredSquare { column } => {
            let reach = reach(*column)?;
            by_group(c.checked_mul(reach.checked_mul(reach)?)?)
        }
        Query::Histogram { edges, .. } => {
            let bins = edges.len() as u64 + 1;
            // All c rows in one bin is the worst of all ways to spread them.
            let d2_squared = u128::from(groups).checked_mul(c.checked_mul(c)?)?;
            let touched = groups.checked_mul(bins.min(rows))?;
            Some(Sensitivity { width: bins, d_inf: c, d2_squared, touched, coarse: false })
        }
        Query::Tree { branching, height, .. } => {
            let levels = u64::from(*height);
            let d2_squared =
                u128::from(groups.checked_mul(levels)?).checked_mul(c.checked_mul(c)?)?;
            let nodes = tree_nodes(*branching, *height)?;
            let touched = groups.checked_mul(levels)?.checked_mul(rows)?;
            Some(Sensitivity { width: nodes, d_inf: c, d2_squared, touched, coarse: false })
        }
        Query::Vector => {
            let clip = clip?;
            let norm = u128::from(clip.norm);
            let dimensions = u64::from(clip.dimensions);
            Some(Sensitivity {
                width: dimensions,
                d_inf: norm,
                d2_squared: norm.checked_mul(norm)?,
                touched: groups.checked_mul(dimensions)?,
                coarse: false,
            })
        }
    }
}

/// Nodes below the root.
pub(super) fn tree_nodes(branching: u32, height: u32) -> Option<u64> {
    let mut nodes: u64 = 0;
    for level in 1..=height {
        nodes = nodes.checked_add(u64::from(branching).checked_pow(level)?)?;
    }
    Some(nodes)
}

/// rho = D2^2 / (2 sigma^2), so sigma^2 = D2^2 * 2^39 / r for r units of 2^-40. (Canonne, Kamath,
/// Steinke: The Discrete Gaussian for Differential Privacy, 2020, theorem 4 and proposition 5 for
/// integers of several coordinates.)
///
/// Sums by group are released in steps of 2^k: |floor(a/2^k) - floor(b/2^k)| <= ceil(|a-b|/2^k), so
/// ceil(D_inf/2^k) is what one person changes one of them by, exactly. k is the smallest with
/// sigma^2 <= 2^20.
fn noise(sensitivity: &Sensitivity, share: u64, limits: Limits) -> Result<(u32, Variance), String> {
    if share == 0 {
        return Err("its part of rho is below 2^-40: raise rho or its weight".to_owned());
    }
    let r = u128::from(share);
    // d2_squared * 2^39 / r, and whether it is at most 2^bits.
    let variance = |d2_squared: u128| Some((d2_squared.checked_mul(1 << 39)?, r));
    let fits = |quotient: Option<(u128, u128)>, bits: u32| {
        quotient.is_some_and(|(over, under)| over.div_ceil(under) <= 1 << bits)
    };
    let too_little = |bits: u32| {
        let sigma = 1_u64 << (bits / 2);
        format!(
            "sigma would pass {sigma}: raise rho or its weight, or lower the groups of a person"
        )
    };
    let build = |(over, under): (u128, u128)| {
        let fault = |fault| format!("sigma^2: {fault}");
        Variance::new(over, under).map_err(fault)
    };
    if !sensitivity.coarse {
        let quotient = variance(sensitivity.d2_squared);
        return match quotient.filter(|_| fits(quotient, WIDE_VARIANCE_BITS)) {
            Some(quotient) => Ok((0, build(quotient)?)),
            None => Err(format!("{}, or widen the grid", too_little(WIDE_VARIANCE_BITS))),
        };
    }
    for shift in 0..SUM_BITS {
        let step = sensitivity.d_inf.div_ceil(1 << shift);
        let squared = step.checked_mul(step);
        let squared = squared.and_then(|d2| d2.checked_mul(u128::from(limits.groups)));
        let quotient = squared.and_then(variance);
        if let Some(quotient) = quotient.filter(|_| fits(quotient, VARIANCE_BITS)) {
            return Ok((shift, build(quotient)?));
        }
        if step == 1 {
            break;
        }
    }
    Err(too_little(VARIANCE_BITS))
}
