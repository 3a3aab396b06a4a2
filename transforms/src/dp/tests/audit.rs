//! An attack: two inputs that differ by one person are released again and again, and how well the
//! outputs tell them apart gives a lower bound on epsilon. It must not pass what is stated; and it
//! must where the mechanism is broken, or it would show nothing.
//!
//! Keys are fixed, so the runs are the same every time. The event is chosen on one half of the runs
//! and counted on the other. The bounds of its two probabilities hold together with 99.9 %, by
//! Chernoff's inequality in its exact form (KL(k/n, p) <= ln(2/alpha)/n), which is never narrower
//! than Clopper and Pearson's.

use super::super::accountant::{Rho, epsilon};
use super::super::bounding::{Bounded, Change, GroupKey, Rows};
use super::super::decimal::Grid;
use super::super::design::{Design, Groups, Request, Statistic};
use super::super::release::{Tables, release};
use super::super::sums::{Exact, Sums};
use super::golden::{id, key, noise_key, request, rho};

/// Half of the runs of one input.
const RUNS: u32 = 40_000;
const ALPHA: f64 = 0.001;

/// What the person did who is there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Person {
    /// In more groups, with more rows in each, than count; a bystander is there as well.
    Heavy,
    /// The same, and nobody else is there: an empty stream beside a stream of one person.
    Alone,
    /// Some of the rows go from group to group by updates; those that count stay.
    Moving,
}

fn input(design: &Design, with: bool, person: Person) -> Exact {
    let limits = design.limits();
    let mut sums = Sums::new(design);
    let names: Vec<GroupKey> = (0..4).map(|group| key(&group.to_string())).collect();
    let bystander = (person != Person::Alone).then_some(10);
    for cell in bystander.into_iter().chain(with.then_some(100)) {
        let mut own = Bounded::default();
        let values = vec![cell; limits.values];
        for (group_tag, group) in (0..).zip(&names) {
            for row_tag in 0..if person == Person::Alone { 25_000 } else { 5 } {
                let row_tag = 8 * row_tag + group_tag;
                let change = Change { group, group_tag, row_tag, order: 0, values: &values };
                own.offer(limits, Rows::Once, change);
            }
        }
        for order in 1..if person == Person::Moving { 20 } else { 1 } {
            let (group_tag, row_tag) = (u128::from(order % 4), 1_000_000 + u128::from(order % 3));
            let group = &names[group_tag as usize];
            let change = Change { group, group_tag, row_tag, order, values: &values };
            own.offer(limits, Rows::Change, change);
        }
        sums.add(&own);
    }
    sums.finish()
}

/// What an attacker adds up: the integers of all groups. `tables` are those of `noise`, which is
/// another design where the mechanism is broken.
fn scores((noise, tables): (&Design, &Tables), f: &Exact, seed: u8, first: u32) -> Vec<i64> {
    let key = noise_key(seed);
    let score = |revision| {
        let out = release(noise, tables, &key, (id(revision), &[3; 32]), f).unwrap();
        out.components[0].iter().sum()
    };
    (first..first + RUNS).map(score).collect()
}

/// The largest or smallest p that k of n may come from, with probability alpha.
fn bound(k: usize, n: usize, upper: bool) -> f64 {
    let share = k as f64 / n as f64;
    let term = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    let apart = |p: f64| term(share, p) + term(1.0 - share, 1.0 - p);
    let limit = (4.0 / ALPHA).ln() / n as f64;
    let (mut near, mut far) = (share, if upper { 1.0 - 1e-15 } else { 1e-15 });
    for _ in 0..100 {
        let middle = (near + far) / 2.0;
        if apart(middle) <= limit { near = middle } else { far = middle }
    }
    far
}

/// A lower bound on epsilon at this delta, of an event `score >= t`.
fn epsilon_at_least(design: &Design, noise: (&Design, &Tables), person: Person, delta: f64) -> f64 {
    let (f, less) = (input(design, true, person), input(design, false, person));
    let (with, without) = (scores(noise, &f, 11, 0), scores(noise, &less, 12, 0));
    let passing = |scores: &[i64], t: i64| scores.iter().filter(|score| **score >= t).count();
    let of = |a: usize, b: usize| {
        let n = RUNS as usize;
        ((bound(a, n, false) - delta) / bound(b, n, true)).ln()
    };
    let mut places = with.clone();
    places.sort_unstable();
    let tried = (1..200).map(|n| places[n * places.len() / 200]);
    let best = tried.max_by(|x, y| {
        let at = |t: i64| of(passing(&with, t), passing(&without, t));
        let value = |t: i64| {
            if at(t).is_nan() { f64::NEG_INFINITY } else { at(t) }
        };
        value(*x).total_cmp(&value(*y))
    });
    let t = best.unwrap();
    let (with, without) = (scores(noise, &f, 11, RUNS), scores(noise, &less, 12, RUNS));
    of(passing(&with, t), passing(&without, t))
}

fn four_groups(statistic: Statistic, rho: Rho) -> Request {
    let groups = Groups::Public((0..4).map(|n| key(&n.to_string())).collect());
    Request { groups, ..request(&[statistic], rho) }
}

// sigma = D2 * 4: the person's part over the noise is a Gaussian's distance of 1/4.
const RHO: &str = "0.03125";
const DELTA: f64 = 1e-3;

fn stays_below(statistic: Statistic, person: Person) {
    let design = Design::new(four_groups(statistic, rho(RHO))).unwrap();
    let tables = Tables::new(&design).unwrap();
    let found = epsilon_at_least(&design, (&design, &tables), person, DELTA);
    let most = epsilon(rho(RHO).value(), DELTA);
    assert!(found > 0.2, "{person:?}: the attack is no attack: {found}");
    assert!(found <= most, "{person:?}: {found} passes {most}");
}

#[test]
fn an_attack_on_a_heavy_person_stays_below_the_stated_epsilon() {
    stays_below(Statistic::Rows, Person::Heavy);
}

#[test]
fn an_attack_on_a_person_who_is_alone_stays_below_the_stated_epsilon() {
    stays_below(Statistic::Sum { column: 0 }, Person::Alone);
}

#[test]
fn an_attack_on_a_person_who_moves_stays_below_the_stated_epsilon() {
    stays_below(Statistic::Rows, Person::Moving);
}

#[test]
fn an_attack_on_a_long_vector_stays_below_the_stated_epsilon() {
    let grid = Grid::new("1".parse().unwrap()).unwrap();
    let vector = Statistic::VectorSum { dimensions: 1, grid, norm: 64 };
    stays_below(vector, Person::Heavy);
}

/// The same attack on noise that was made for one group where a person is in four.
#[test]
fn an_attack_catches_noise_without_the_norms_groups() {
    let design = Design::new(four_groups(Statistic::Rows, rho(RHO))).unwrap();
    let mut broken = four_groups(Statistic::Rows, rho(RHO));
    broken.groups_per_unit = 1;
    let broken = Design::new(broken).unwrap();
    let tables = Tables::new(&broken).unwrap();
    let found = epsilon_at_least(&design, (&broken, &tables), Person::Heavy, DELTA);
    let most = epsilon(rho(RHO).value(), DELTA);
    assert!(found > most, "{found} does not pass {most}: broken noise goes unseen");
}
