//! What bounding and adding up cost: `cargo bench -p douane-transforms --bench aggregate`.
//!
//! One core, the thread's own CPU time. Rows as a decoder would hand them over: a unit, where the
//! event lies, a group, two quantised cells; events once each. Every row is tagged, offered to its
//! unit, and at the end all units are added up; the sums are checked against the number of rows that
//! must count. Of a million persons nothing is asked: there it is memory that is measured.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints")]

mod measure;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use douane_schemas::keys::{Purpose, RootKey};
use douane_transforms::dp::accountant::Rho;
use douane_transforms::dp::bounding::{Bounded, Change, GroupKey, Limits, Rows, Tag};
use douane_transforms::dp::decimal::Grid;
use douane_transforms::dp::design::{Column, Design, Groups, Query, Request, Statistic};
use douane_transforms::dp::sampler::{Sampler, Unit};
use douane_transforms::dp::sums::Sums;
use douane_transforms::dp::window::Window;
use measure::cpu;

const ROWS: u64 = 5_000_000;
const BATCH: usize = 5_000;

fn main() {
    for (units, rate_min) in [(1_000, 5e6), (10_000, 5e6), (100_000, 5e6), (1_000_000, 0.0)] {
        let mut rates: Vec<f64> = (0..3).map(|_| rate(units)).collect();
        rates.sort_by(f64::total_cmp);
        let rate = rates[1];
        println!(
            "figure: bounding and sums, {units} persons, {ROWS} rows: {:.2} M rows/s/core",
            rate / 1e6
        );
        assert!(rate >= rate_min, "expected {rate_min} rows/s");
    }
}

/// Units are keyed bytes: any eight of them are a hash. A length is written before, and is lost.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

struct Row {
    unit: Unit,
    /// Where the event lies.
    place: [u8; 12],
    group: usize,
    values: [i64; 2],
}

/// A row with its tags.
struct Tagged {
    unit: Unit,
    group: usize,
    values: [i64; 2],
    group_tag: Tag,
    row_tag: Tag,
}

/// All persons of a window. What is kept of a hundred thousand of them is larger than a cache, so rows
/// that may change anything wait until there are many of a part of the persons, who lie in a cache
/// while it has its turn; the tag that most rows fail at lies apart.
struct Persons {
    /// The upper half of [`Bounded::groups_to`].
    groups_to: HashMap<Unit, u64, BuildHasherDefault<AsItIs>>,
    parts: Vec<Part>,
}

#[derive(Default)]
struct Part {
    waiting: Vec<Tagged>,
    all: HashMap<Unit, Bounded, BuildHasherDefault<AsItIs>>,
}

/// Units are keyed bytes: any of them deals them out. Not one that the maps look at.
const PARTS: usize = 256;
const ROWS_WAITING: usize = 4_096;

fn upper(tag: Tag) -> u64 {
    (tag >> 64) as u64
}

impl Persons {
    fn new() -> Self {
        Self { groups_to: HashMap::default(), parts: (0..PARTS).map(|_| Part::default()).collect() }
    }

    fn take(&mut self, row: Tagged) {
        if self.groups_to.get(&row.unit).is_none_or(|to| upper(row.group_tag) <= *to) {
            self.parts[usize::from(row.unit.0[8])].waiting.push(row);
        }
    }

    /// Where more than so many rows wait, they have their turn.
    fn offer(&mut self, limits: Limits, groups: &[GroupKey], rows_max: usize) {
        let Self { groups_to, parts } = self;
        for Part { waiting, all } in parts.iter_mut().filter(|p| p.waiting.len() > rows_max) {
            for Tagged { unit, group, values, group_tag, row_tag } in waiting.drain(..) {
                let kept = all.entry(unit).or_default();
                if !kept.admits(group_tag, row_tag) {
                    continue;
                }
                let before = kept.groups_to();
                let (group, values) = (&groups[group], &values[..]);
                let change = Change { group, group_tag, row_tag, order: 0, values };
                kept.offer(limits, Rows::Once, change);
                if kept.groups_to() != before {
                    groups_to.insert(unit, upper(kept.groups_to()));
                }
            }
        }
    }
}

fn rate(units: u64) -> f64 {
    let number = |n: i64| n.to_string().parse().unwrap();
    let groups: Vec<GroupKey> =
        (0..16).map(|n| GroupKey::new([Some(format!("region {n}").as_str())])).collect();
    let column = |upper| Column {
        grid: Grid::new(number(1)).unwrap(),
        lower: number(0),
        upper: number(upper),
    };
    let statistics = [
        Statistic::Units,
        Statistic::Rows,
        Statistic::Sum { column: 0 },
        Statistic::Mean { column: 1 },
    ];
    let design = Design::new(Request {
        groups: Groups::Public(groups.clone()),
        groups_per_unit: 4,
        rows_per_group: 4,
        units_max: 1 << 30,
        columns: vec![column(1000), column(100)],
        statistics: statistics.into_iter().map(|statistic| (statistic, 1)).collect(),
        rho: Rho::declared("0.1".parse().unwrap()).unwrap(),
    })
    .unwrap();
    let limits = design.limits();
    let root = RootKey::new([7; 32]);
    let key = |purpose| root.derive(purpose, "customer");
    let window = Window { start_ms: 0, end_ms: 1000 };
    let mut sampler = Sampler::new(&key(Purpose::SampRow), &key(Purpose::SampGroup), window);
    let unit_key = key(Purpose::Unit);
    let names: Vec<Unit> =
        (0..units).map(|n| Unit::new(&unit_key, "customer", &n.to_string())).collect();
    // As a decoder hands them over, ready before the clock runs.
    let rows: Vec<Row> = (0..ROWS)
        .map(|n| {
            let picked = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let mut place = [0; 12];
            place[4..].copy_from_slice(&n.to_be_bytes());
            let (unit, group) = (names[(picked % units) as usize], (picked >> 24) as usize % 16);
            let values = [(picked % 1000) as i64, (picked % 101) as i64];
            Row { unit, place, group, values }
        })
        .collect();
    let start = cpu();
    let mut persons = Persons::new();
    for rows in rows.chunks(BATCH) {
        let row_tags = sampler.rows(rows.iter().map(|row| (row.unit, row.place.as_slice())));
        let group_tags = sampler.groups(rows.iter().map(|row| (row.unit, &groups[row.group])));
        for (row, (group_tag, row_tag)) in rows.iter().zip(group_tags.into_iter().zip(row_tags)) {
            let Row { unit, group, values, .. } = *row;
            persons.take(Tagged { unit, group, values, group_tag, row_tag });
        }
        persons.offer(limits, &groups, ROWS_WAITING);
    }
    persons.offer(limits, &groups, 0);
    let mut sums = Sums::new(&design);
    persons.parts.iter().flat_map(|part| part.all.values()).for_each(|unit| sums.add(unit));
    let f = sums.finish();
    let took = cpu() - start;
    let counted: i64 = f.component(design.component(&Query::Rows).unwrap()).iter().sum();
    // A thousand persons have 16 rows each that count; a million have 5 each, of which most do.
    let most = (units * 16).min(ROWS) as i64;
    assert!(counted <= most && counted > most / 4, "{counted} of {most}");
    ROWS as f64 / took
}
