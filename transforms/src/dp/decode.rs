//! Noised integers to what is read. It is computed from what is released, so it costs nothing; and it
//! is the same wherever it is computed: integers, and the operations of IEEE 754 that are exact to
//! the last bit (+, -, *, / and square root), in the order that stands here.

use super::decimal::Decimal;
use super::design::{Bounds, Design, Query, Statistic};
use super::release::Noised;
use super::sums::leaf_steps;

/// What one statistic says of one group.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count; below 0 where the noise is larger.
    Count(i64),
    /// A sum, exact on the column's grid.
    Sum(Decimal),
    /// A mean or a variance.
    Real(f64),
    /// A histogram: each bin at least 0.
    Counts(Vec<i64>),
    /// Quantiles, in the order of their ranks.
    Reals(Vec<f64>),
    /// A sum of vectors, in steps of the grid.
    Vector(Vec<i64>),
}

/// Of a node's children, the ones with fewer than one row in this many are noise.
const CHILD_SHARE: f64 = 200.0;

/// What a statistic says of one of the groups of a release. `None`: the release is of another design.
pub fn value(
    design: &Design,
    noised: &Noised,
    statistic: &Statistic,
    group: usize,
) -> Option<Value> {
    let numbers = |query: &Query| {
        let at = design.component(query)?;
        let width = design.components().get(at)?.width as usize;
        noised.components.get(at)?.get(group * width..(group + 1) * width)
    };
    let one = |query: &Query| numbers(query)?.first().copied();
    let bounds = |column: usize| design.columns().get(column);
    Some(match statistic {
        Statistic::Units => Value::Count(one(&Query::Units)?),
        Statistic::Rows => Value::Count(one(&Query::Rows)?),
        Statistic::Sum { column } => {
            let steps = one(&Query::Sum { column: *column })?;
            Value::Sum(bounds(*column)?.grid.value(steps))
        }
        Statistic::Mean { column } => {
            let rows = one(&Query::Rows)?;
            let centred = one(&Query::Centred { column: *column })?;
            Value::Real(mean(bounds(*column)?, rows, centred))
        }
        Statistic::Variance { column } => {
            let rows = one(&Query::Rows)?;
            let centred = one(&Query::Centred { column: *column })?;
            let squares = one(&Query::CentredSquare { column: *column })?;
            Value::Real(variance(bounds(*column)?, rows, centred, squares))
        }
        Statistic::Histogram { column, edges } => {
            let bounds = bounds(*column)?;
            let edges = edges.iter().filter_map(|edge| bounds.grid.whole_steps(*edge)).collect();
            let bins = numbers(&Query::Histogram { column: *column, edges })?;
            // Least squares among counts that are not negative.
            Value::Counts(bins.iter().map(|bin| (*bin).max(0)).collect())
        }
        Statistic::Quantiles { column, branching, height, ranks } => {
            let (column, branching, height) = (*column, *branching, *height);
            let nodes = numbers(&Query::Tree { column, branching, height })?;
            let tree = Tree { bounds: bounds(column)?, branching, height, nodes };
            let step = bounds(column)?.grid.step().approximate();
            Value::Reals(ranks.iter().map(|rank| tree.quantile(*rank) * step).collect())
        }
        Statistic::VectorSum { .. } => Value::Vector(numbers(&Query::Vector)?.to_vec()),
    })
}

/// A quantile of one of the groups, in whole steps of the column's grid: the nearest. `None`: it is of
/// another design, or of a query that is no tree.
pub fn quantile(
    design: &Design,
    noised: &Noised,
    query: &Query,
    thousandths: u32,
    group: usize,
) -> Option<i64> {
    let Query::Tree { column, branching, height } = query else { return None };
    let at = design.component(query)?;
    let width = design.components().get(at)?.width as usize;
    let start = group.checked_mul(width)?;
    let nodes = noised.components.get(at)?.get(start..start.checked_add(width)?)?;
    let bounds = design.columns().get(*column)?;
    let tree = Tree { bounds, branching: *branching, height: *height, nodes };
    Some(tree.quantile(thousandths).round() as i64)
}

/// The middle of the bounds, and the centred sum over the rows (over one row where there seem to be
/// fewer); within the bounds.
fn mean(bounds: &Bounds, rows: i64, centred: i64) -> f64 {
    let steps = bounds.middle() as f64 + centred as f64 / rows.max(1) as f64;
    steps.clamp(bounds.lower as f64, bounds.upper as f64) * bounds.grid.step().approximate()
}

/// The mean square less the square of the mean; at least 0.
fn variance(bounds: &Bounds, rows: i64, centred: i64, squares: i64) -> f64 {
    let rows = rows.max(1) as f64;
    let mean = centred as f64 / rows;
    let steps = (squares as f64 / rows - mean * mean).max(0.0);
    let step = bounds.grid.step().approximate();
    steps * (step * step)
}

struct Tree<'a> {
    bounds: &'a Bounds,
    branching: u32,
    height: u32,
    nodes: &'a [i64],
}

impl Tree<'_> {
    /// From the root down, at each node into the child that holds the rank. Children below 0 count as
    /// 0, and so do those with fewer than a 200th of their siblings' rows; a node whose children are
    /// all 0 is as far as one can see. In the last node ranks are spread evenly. In steps of the grid.
    fn quantile(&self, thousandths: u32) -> f64 {
        let branching = self.branching as usize;
        let mut rank = f64::from(thousandths) / 1000.0;
        let (mut node, mut level, mut from) = (0_usize, 0_u32, 0_usize);
        while level < self.height {
            let children = from + node * branching..from + (node + 1) * branching;
            let counts = self.nodes.get(children).unwrap_or_default();
            let seen = |count: &i64| (*count).max(0) as f64;
            let all: f64 = counts.iter().map(seen).sum();
            let kept = |count: &i64| match seen(count) * CHILD_SHARE < all {
                true => 0.0,
                false => seen(count),
            };
            let total: f64 = counts.iter().map(kept).sum();
            if total <= 0.0 {
                break;
            }
            let mut before = 0.0;
            let mut into = None;
            for (child, count) in counts.iter().map(kept).enumerate() {
                if count > 0.0 && rank * total <= before + count {
                    into = Some((child, ((rank * total - before) / count).clamp(0.0, 1.0)));
                    break;
                }
                before += count;
            }
            let Some((child, within)) = into else { break };
            rank = within;
            from += branching.pow(level + 1);
            (node, level) = (node * branching + child, level + 1);
        }
        // Where the node's leaves begin and end, in steps.
        let leaf = leaf_steps(self.bounds, self.branching, self.height) as f64;
        let leaves = f64::from(self.branching).powi((self.height - level) as i32);
        let start = self.bounds.lower as f64 + node as f64 * leaves * leaf;
        let steps = start + rank * leaves * leaf;
        steps.min(self.bounds.upper as f64)
    }
}
