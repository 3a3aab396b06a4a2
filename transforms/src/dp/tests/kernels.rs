//! What a window adds up, beside the kernels: the same rows, cut, bounded and summed, give the same numbers.
//! Shaders are held to the kernels' twins, so what is published is what a GPU would say of these rows.

use std::collections::{BTreeMap, BTreeSet};

use douane_kernels::{Device, encode, filter, histogram, segmented_sum};

use super::super::accountant::Rho;
use super::super::bounding::{Bounded, Change, GroupKey, Rows};
use super::super::decimal::Decimal;
use super::super::design::{Design, Groups, Query, Statistic};
use super::super::sums::Sums;
use super::golden::{column, d, key, request};
use super::sensitivity::Random;

const GROUPS: usize = 8;
const EDGES: [i64; 3] = [10, 50, 90];

/// A row as it is read: whose, in which group, what its cell holds, and what the keyed draw made of it.
struct Offered {
    unit: usize,
    group: usize,
    cell: i64,
    group_tag: u128,
    row_tag: u128,
}

/// Persons with up to `GROUPS` groups and up to eight rows in each, cells within the bounds and not.
fn offered(random: &mut Random) -> Vec<Offered> {
    let mut rows = Vec::new();
    for unit in 0..300 {
        for group in 0..GROUPS {
            let group_tag = u128::from(random.next());
            for _ in 0..random.below(9) {
                let cell = i64::try_from(random.below(400)).unwrap() - 150;
                let row_tag = u128::from(random.next());
                rows.push(Offered { unit, group, cell, group_tag, row_tag });
            }
        }
    }
    rows
}

/// Where each row stands among its person's in its group, and its group among the person's, by tags.
fn ranks(rows: &[Offered]) -> (Vec<u32>, Vec<u32>) {
    let mut groups: BTreeMap<usize, BTreeSet<u128>> = BTreeMap::new();
    let mut tags: BTreeMap<(usize, usize), BTreeSet<u128>> = BTreeMap::new();
    for row in rows {
        groups.entry(row.unit).or_default().insert(row.group_tag);
        tags.entry((row.unit, row.group)).or_default().insert(row.row_tag);
    }
    let before = |all: &BTreeSet<u128>, tag| u32::try_from(all.range(..tag).count()).unwrap();
    let of_row = |row: &Offered| before(&tags[&(row.unit, row.group)], row.row_tag);
    let of_group = |row: &Offered| before(&groups[&row.unit], row.group_tag);
    (rows.iter().map(of_row).collect(), rows.iter().map(of_group).collect())
}

#[test]
fn a_window_is_what_the_kernels_make_of_its_rows() {
    // In steps of the grid they are `EDGES`.
    let edges = ["20", "100", "180"].map(d).to_vec();
    let statistics =
        [Statistic::Rows, Statistic::Sum { column: 0 }, Statistic::Histogram { column: 0, edges }];
    let mut asked = request(&statistics, Rho::declared(d("10")).unwrap());
    asked.columns = vec![column("2", "0", "200")];
    asked.groups = Groups::Public(keys());
    let design = Design::new(asked).unwrap();
    let limits = design.limits();
    let rows = offered(&mut Random(21));
    let bounds = design.columns()[0];
    let cells: Vec<i64> = rows
        .iter()
        .map(|row| bounds.clamp(Decimal::new(i128::from(row.cell), 0).unwrap()))
        .collect();

    let mut units: BTreeMap<usize, Bounded> = BTreeMap::new();
    for (row, cell) in rows.iter().zip(&cells) {
        let group = &keys()[row.group];
        let (group_tag, row_tag) = (row.group_tag, row.row_tag);
        let change = Change { group, group_tag, row_tag, order: 0, values: &[*cell] };
        units.entry(row.unit).or_default().offer(limits, Rows::Once, change);
    }
    let mut sums = Sums::new(&design);
    units.values().for_each(|unit| sums.add(unit));
    let sums = sums.finish();
    assert_eq!(sums.keys(), keys());

    let cpu = Device::cpu();
    let grid = encode::Grid::new(2, bounds.lower, bounds.upper).unwrap();
    let raw: Vec<i64> = rows.iter().map(|row| row.cell).collect();
    let values = encode::integers(&cpu, grid, &raw).unwrap().value;
    assert_eq!(values, cells);
    let segments: Vec<u32> = rows.iter().map(|row| u32::try_from(row.group).unwrap()).collect();
    let (of_rows, of_groups) = ranks(&rows);
    let bounds = filter::Bounds { rows_max: limits.rows, groups_max: limits.groups };
    let kept = filter::run(&cpu, bounds, &segments, &of_rows, &of_groups).unwrap().value;
    assert!(kept.contains(&filter::NONE), "something is cut");
    let of = |query: Query| sums.component(design.component(&query).unwrap());
    let sum = |segments: &[u32], values: &[i64]| {
        segmented_sum::run(&cpu, segments, values, GROUPS).unwrap().value
    };
    assert_eq!(of(Query::Sum { column: 0 }), sum(&kept, &values));
    assert_eq!(of(Query::Rows), sum(&kept, &vec![1; values.len()]));
    let bins = histogram::run(&cpu, &kept, &values, &EDGES, GROUPS).unwrap().value;
    assert_eq!(of(Query::Histogram { column: 0, edges: EDGES.to_vec() }), bins);
    // The control: without the bounds other rows count.
    assert_ne!(of(Query::Sum { column: 0 }), sum(&segments, &values));
}

fn keys() -> Vec<GroupKey> {
    (0..GROUPS).map(|n| key(&n.to_string())).collect()
}
