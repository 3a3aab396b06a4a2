//! No person changes a release by more than is declared: random streams, with each person taken out
//! in turn, in shuffled order and split over workers. And each way to get it wrong is caught.

use std::collections::{BTreeMap, BTreeSet};

use douane_schemas::keys::{Purpose, RootKey};

use super::super::accountant::{Delta, Rho};
use super::super::bounding::{Bounded, Change, GroupKey, Limits, LiveRows, Rows, Tag};
use super::super::decimal::Grid;
use super::super::design::{Bounds, Column, Design, Groups, Query, Request, Statistic};
use super::super::sampler::{Sampler, Unit};
use super::super::sums::{Exact, Sums};
use super::super::window::{Schedule, Window};

/// SplitMix64: cases that are the same on every run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

/// What a careless hand would write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    None,
    /// Rows are not bounded in groups.
    SkipGroups,
    /// `>` for `>=` where groups are counted.
    OneGroupMore,
    /// `>` for `>=` where rows are counted.
    OneRowMore,
    /// The sensitivity is that of one row.
    OneRowSensitivity,
    /// L0 is not in the L2 norm.
    NoGroupsInNorm,
    /// The first rows that came.
    ArrivalOrder,
    /// A row is late when another one with a much later time was there before it.
    DataDrivenClose,
    /// A cell is not clamped.
    NoClamp,
    /// An update counts in both groups.
    BothGroups,
    /// Vectors are clipped to a norm that is longer by one step.
    NormOneMore,
    /// Each group's vector is clipped by itself.
    ClipByGroup,
    /// One level of a tree is left out of its norm.
    OneLevelLess,
}

#[derive(Clone)]
struct Event {
    /// Where it lies in its source; nobody's row moves another's.
    offset: u64,
    unit: usize,
    row: u64,
    time_ms: i64,
    /// `None`: deleted.
    after: Option<(usize, i64, [i64; 2])>,
}

const WINDOW: Window = Window { start_ms: 0, end_ms: 1000 };
const VECTOR: u32 = 2;

fn key(name: usize) -> GroupKey {
    GroupKey::new([Some(["north", "south", "east", "west", "centre"][name]), None])
}

fn declared(random: &mut Random) -> Request {
    let grid = Grid::new("1".parse().unwrap()).unwrap();
    let number = |n: i64| n.to_string().parse().unwrap();
    let lower = -(random.below(20) as i64);
    let column = Column { grid, lower: number(lower), upper: number(lower + 9) };
    let public = random.below(2) == 0;
    let groups = match public {
        true => Groups::Public((0..4).map(key).collect()),
        false => Groups::Selected { delta: Delta::declared("1e-9".parse().unwrap()).unwrap() },
    };
    let edges = vec![number(lower + 3), number(lower + 6)];
    let norm = 1 + random.below(40);
    let statistics = [
        Statistic::Units,
        Statistic::Rows,
        Statistic::Sum { column: 0 },
        Statistic::Mean { column: 0 },
        Statistic::Variance { column: 0 },
        Statistic::Histogram { column: 0, edges },
        Statistic::Quantiles { column: 0, branching: 2, height: 3, ranks: vec![500] },
        Statistic::VectorSum { dimensions: VECTOR, grid, norm },
    ];
    Request {
        groups,
        groups_per_unit: 1 + random.below(3) as u32,
        rows_per_group: 1 + random.below(3) as u32,
        units_max: 1 << 32,
        columns: vec![column],
        statistics: statistics.into_iter().map(|statistic| (statistic, 1)).collect(),
        rho: Rho::declared("0.1".parse().unwrap()).unwrap(),
    }
}

/// The same with a norm that is longer by one step.
fn longer(mut request: Request) -> Design {
    for (statistic, _) in &mut request.statistics {
        if let Statistic::VectorSum { norm, .. } = statistic {
            *norm += 1;
        }
    }
    Design::new(request).unwrap()
}

/// A few persons, each with rows that are made, changed, moved and deleted; some heavy, some alone
/// in a group, some with extreme cells.
fn stream(random: &mut Random) -> (Vec<Event>, Rows) {
    let rows = if random.below(2) == 0 { Rows::Once } else { Rows::Change };
    let mut events = Vec::new();
    for unit in 0..1 + random.below(4) as usize {
        let heavy = random.below(3) == 0;
        let extreme = random.below(2) == 0;
        let count = if heavy { 24 } else { random.below(6) };
        for n in 0..count {
            let row = match rows {
                Rows::Once => 100 * unit as u64 + n,
                Rows::Change => 100 * unit as u64 + random.below(8),
            };
            let cell = match extreme {
                true => [-1000, 1000][random.below(2) as usize],
                false => random.below(40) as i64 - 20,
            };
            let entry = |random: &mut Random| random.below(61) as i64 - 30;
            let vector = [entry(random), entry(random)];
            let gone = rows == Rows::Change && random.below(5) == 0;
            let after = (!gone).then_some((random.below(5) as usize, cell, vector));
            let time_ms = random.below(1100) as i64 - 50;
            events.push(Event { offset: 0, unit, row, time_ms, after });
        }
    }
    random.shuffle(&mut events);
    for (offset, event) in events.iter_mut().enumerate() {
        event.offset = offset as u64;
    }
    (events, rows)
}

/// Another order in which each row's changes still come one after the other.
fn shuffled(events: &[Event], random: &mut Random) -> Vec<Event> {
    let mut order: Vec<u64> = events.iter().map(|event| event.row).collect();
    random.shuffle(&mut order);
    let mut queues: BTreeMap<u64, std::collections::VecDeque<&Event>> = BTreeMap::new();
    events.iter().for_each(|event| queues.entry(event.row).or_default().push_back(event));
    order.iter().map(|row| queues.get_mut(row).unwrap().pop_front().unwrap().clone()).collect()
}

struct Bench {
    sampler: Sampler,
    units: Vec<Unit>,
    /// Tags that were asked for before.
    rows: BTreeMap<(usize, u64), Tag>,
    groups: BTreeMap<(usize, GroupKey), Tag>,
}

impl Bench {
    fn new() -> Self {
        let root = RootKey::new([7; 32]);
        let key = |purpose| root.derive(purpose, "customer");
        let units =
            (0..8).map(|unit| Unit::new(&key(Purpose::Unit), "customer", &unit.to_string()));
        Self {
            units: units.collect(),
            sampler: Sampler::new(&key(Purpose::SampRow), &key(Purpose::SampGroup), WINDOW),
            rows: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    fn row(&mut self, unit: usize, row: u64) -> Tag {
        let tag = || self.sampler.rows([(self.units[unit], &row.to_be_bytes()[..])])[0];
        *self.rows.entry((unit, row)).or_insert_with(tag)
    }

    fn group(&mut self, unit: usize, group: &GroupKey) -> Tag {
        let tag = || self.sampler.groups([(self.units[unit], group)])[0];
        *self.groups.entry((unit, group.clone())).or_insert_with(tag)
    }

    /// The way of events through the stage: window, lateness, groups, cells, bounding. `end`: the
    /// offset that was pinned when the window closed.
    fn bounded(
        &mut self,
        design: &Design,
        events: &[Event],
        (rows, end, mutant): (Rows, u64, Mutant),
    ) -> BTreeMap<usize, Bounded> {
        let limits = limits(design, mutant);
        let schedule = Schedule::new(0, 1000, 50).unwrap();
        let mut units: BTreeMap<usize, Bounded> = BTreeMap::new();
        let (mut newest, mut arrived) = (i64::MIN, 0);
        for event in events {
            let late = match mutant {
                Mutant::DataDrivenClose => newest > 1000,
                _ => event.offset >= end,
            };
            newest = newest.max(event.time_ms);
            if late || schedule.window_of(event.time_ms) != Some(WINDOW) {
                continue;
            }
            arrived += 1;
            let row_tag = match mutant {
                Mutant::ArrivalOrder => arrived,
                _ => self.row(event.unit, event.row),
            };
            let bounded = units.entry(event.unit).or_default();
            // An unknown group takes the row away, as a delete does.
            let after = event.after.map(|(group, cell, vector)| (key(group), cell, vector));
            match after.filter(|(key, ..)| design.admits(key)) {
                None => bounded.withdraw(limits, row_tag, event.offset),
                Some((key, cell, vector)) => {
                    let column: &Bounds = &design.columns()[0];
                    let cell = match mutant {
                        Mutant::NoClamp => cell,
                        _ => column.clamp(cell.to_string().parse().unwrap()),
                    };
                    let values = [cell, vector[0], vector[1]];
                    let group_tag = self.group(event.unit, &key);
                    let order = event.offset;
                    let change = Change { group: &key, group_tag, row_tag, order, values: &values };
                    bounded.offer(limits, rows, change);
                    // What a store does between two batches.
                    if event.offset % 7 == 0 {
                        let bytes = bounded.to_bytes(limits);
                        *bounded = Bounded::from_bytes(limits, &bytes).unwrap();
                    }
                }
            }
        }
        units
    }
}

fn limits(design: &Design, mutant: Mutant) -> Limits {
    let mut limits = design.limits();
    match mutant {
        Mutant::SkipGroups => limits.groups = 1000,
        Mutant::OneGroupMore => limits.groups += 1,
        Mutant::OneRowMore => limits.rows += 1,
        _ => {}
    }
    limits
}

fn sums(design: &Design, units: &BTreeMap<usize, Bounded>) -> Exact {
    let mut sums = Sums::new(design);
    units.values().for_each(|own| sums.add(own));
    sums.finish()
}

/// What counts of a unit, each group as if it were another unit's.
fn by_group(limits: Limits, own: &Bounded) -> Vec<Bounded> {
    let one = |(group, rows): (&GroupKey, LiveRows<'_>)| {
        let mut alone = Bounded::default();
        for (row_tag, values) in (0..).zip(rows.iter()) {
            let change = Change { group, group_tag: 1, row_tag, order: 0, values };
            alone.offer(limits, Rows::Once, change);
        }
        alone
    };
    own.groups(limits).map(one).collect()
}

/// The rows that count, straight from the definition: of all pairs of a row and a group that the row
/// was ever in, the smallest tags; of these, where the row still is.
fn by_definition(
    bench: &mut Bench,
    design: &Design,
    events: &[Event],
    (rows, end): (Rows, u64),
    unit: usize,
) -> BTreeMap<GroupKey, usize> {
    let limits = design.limits();
    let schedule = Schedule::new(0, 1000, 50).unwrap();
    let mut ever: BTreeMap<(Tag, GroupKey), BTreeSet<Tag>> = BTreeMap::new();
    let mut last: BTreeMap<Tag, (u64, Option<GroupKey>)> = BTreeMap::new();
    for event in events.iter().filter(|event| event.unit == unit && event.offset < end) {
        if schedule.window_of(event.time_ms) != Some(WINDOW) {
            continue;
        }
        let tag = bench.row(unit, event.row);
        let group = event.after.map(|(group, ..)| key(group)).filter(|key| design.admits(key));
        if let Some(group) = &group {
            let group_tag = bench.group(unit, group);
            ever.entry((group_tag, group.clone())).or_default().insert(tag);
        }
        let state = last.entry(tag).or_insert((event.offset, group.clone()));
        if state.0 <= event.offset || rows == Rows::Once {
            *state = (event.offset, group);
        }
    }
    let mut counted = BTreeMap::new();
    for ((_, group), tags) in ever.iter().take(limits.groups as usize) {
        let kept = tags.iter().take(limits.rows as usize);
        let live = kept.filter(|tag| last[tag].1.as_ref() == Some(group)).count();
        if live > 0 {
            counted.insert(group.clone(), live);
        }
    }
    counted
}

/// One case: what does not hold, if anything.
fn case(
    bench: &mut Bench,
    (design, longer): (&Design, &Design),
    random: &mut Random,
    mutant: Mutant,
) -> Result<(), String> {
    let (events, rows) = stream(random);
    let end = events.len() as u64 - random.below(events.len() as u64 / 2 + 1);
    let taken = if mutant == Mutant::BothGroups { Rows::Once } else { rows };
    let how = (taken, end, mutant);
    let sums = |design: &Design, units: &BTreeMap<usize, Bounded>| match mutant {
        Mutant::NormOneMore => sums(longer, units),
        Mutant::ClipByGroup => {
            let parts = units.values().flat_map(|own| by_group(design.limits(), own));
            sums(design, &parts.enumerate().collect())
        }
        _ => sums(design, units),
    };
    let units = bench.bounded(design, &events, how);
    let f = sums(design, &units);
    if matches!(mutant, Mutant::None | Mutant::BothGroups) {
        for (unit, own) in &units {
            let found: BTreeMap<GroupKey, usize> = own
                .groups(design.limits())
                .map(|(key, rows)| (key.clone(), rows.iter().count()))
                .collect();
            if found != by_definition(bench, design, &events, (rows, end), *unit) {
                return Err("other rows than the definition's".into());
            }
        }
    }
    // Another order, and two workers that each have some rows.
    let again = shuffled(&events, random);
    if sums(design, &bench.bounded(design, &again, how)) != f {
        return Err("the order of arrival changes the sums".into());
    }
    let (left, right): (Vec<Event>, Vec<Event>) = again.into_iter().partition(|e| e.row % 2 == 0);
    let mut merged = bench.bounded(design, &left, how);
    let limits = limits(design, mutant);
    for (unit, own) in bench.bounded(design, &right, how) {
        merged.entry(unit).or_default().merge(limits, &own);
    }
    if mutant == Mutant::None && sums(design, &merged) != f {
        return Err("two workers have other sums".into());
    }
    for unit in units.keys() {
        // The neighbour's own way through the stage, not the bounded rows without one person.
        let others: Vec<Event> = events.iter().filter(|e| e.unit != *unit).cloned().collect();
        let without = sums(design, &bench.bounded(design, &others, how));
        distance(design, &f, &without, mutant)?;
    }
    Ok(())
}

/// Both vectors, group by group: absent groups have zeros.
fn distance(design: &Design, one: &Exact, two: &Exact, mutant: Mutant) -> Result<(), String> {
    let keys: BTreeSet<&GroupKey> = one.keys().iter().chain(two.keys()).collect();
    let mut touched_groups: BTreeSet<&GroupKey> = BTreeSet::new();
    for (at, component) in design.components().iter().enumerate() {
        let width = component.width as usize;
        let of = |f: &Exact, key: &GroupKey| match f.keys().binary_search(key) {
            Ok(group) => f.component(at)[group * width..(group + 1) * width].to_vec(),
            Err(_) => vec![0; width],
        };
        let (mut d_inf, mut squares, mut touched, mut stepped) = (0, 0, 0, 0);
        for key in &keys {
            for (a, b) in of(one, key).into_iter().zip(of(two, key)) {
                let apart = u128::from(a.abs_diff(b));
                // What noise is added to.
                let step = u128::from((a >> component.shift).abs_diff(b >> component.shift));
                d_inf = d_inf.max(apart);
                squares += apart * apart;
                stepped += step * step;
                touched += u64::from(apart > 0);
                if apart > 0 {
                    touched_groups.insert(key);
                }
            }
        }
        let (mut most, mut most_squares) = (component.d_inf, component.d2_squared);
        let limits = design.limits();
        match mutant {
            Mutant::OneRowSensitivity => {
                most = most.div_ceil(u128::from(limits.rows));
                most_squares /= u128::from(limits.rows).pow(2);
            }
            Mutant::NoGroupsInNorm => most_squares /= u128::from(limits.groups),
            Mutant::OneLevelLess => {
                if let Query::Tree { height, .. } = &component.query {
                    most_squares = most_squares / u128::from(*height) * u128::from(height - 1);
                }
            }
            _ => {}
        }
        // sigma^2 = steps^2 * 2^39 / r, so this is the norm that the noise was made for.
        let hidden = component.variance.numerator() * u128::from(component.rho.in_units());
        let shown = component.variance.denominator() << 39;
        let found = match () {
            () if d_inf > most => "one integer changes by more",
            () if squares > most_squares => "the L2 norm is larger",
            () if touched > component.touched => "more integers change",
            () if stepped * shown > hidden => "the noise was made for a smaller norm",
            () => continue,
        };
        return Err(format!("{:?}: {found}", component.query));
    }
    match touched_groups.len() > design.limits().groups as usize {
        true => Err("more groups change".into()),
        false => Ok(()),
    }
}

/// How many of the cases are broken, and how.
fn broken(cases: usize, mutant: Mutant) -> Vec<String> {
    let mut random = Random(0x00d0_0a4e);
    let mut bench = Bench::new();
    let declared: Vec<Request> = (0..24).map(|_| declared(&mut random)).collect();
    let designs: Vec<Design> =
        declared.iter().map(|request| Design::new(request.clone()).unwrap()).collect();
    let longer: Vec<Design> = declared.into_iter().map(longer).collect();
    let mut faults = Vec::new();
    for n in 0..cases {
        let design = (&designs[n % designs.len()], &longer[n % designs.len()]);
        let mut own = Random(n as u64);
        if let Err(fault) = case(&mut bench, design, &mut own, mutant) {
            faults.push(format!("case {n}: {fault}"));
        }
    }
    faults
}

#[test]
fn no_person_changes_more_than_is_declared() {
    assert_eq!(broken(10_000, Mutant::None), Vec::<String>::new());
}

#[test]
fn every_bound_that_is_off_by_one_is_caught() {
    for mutant in [
        Mutant::SkipGroups,
        Mutant::OneGroupMore,
        Mutant::OneRowMore,
        Mutant::OneRowSensitivity,
        Mutant::NoGroupsInNorm,
        Mutant::ArrivalOrder,
        Mutant::DataDrivenClose,
        Mutant::NoClamp,
        Mutant::BothGroups,
        Mutant::NormOneMore,
        Mutant::ClipByGroup,
        Mutant::OneLevelLess,
    ] {
        assert!(!broken(480, mutant).is_empty(), "{mutant:?} goes unseen");
    }
}
