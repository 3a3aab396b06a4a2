//! An attack: two inputs that differ by one person are released again and again, and how well the
//! outputs tell them apart gives a lower bound on epsilon. It must not pass what is stated; and it
//! must where the mechanism is broken, or it would show nothing.
//!
//! Keys are fixed, so the runs are the same every time. The event is chosen on one half of the runs
//! and counted on the other. The bounds of its two probabilities hold together with 99.9 %, by
//! Chernoff's inequality in its exact form (KL(k/n, p) <= ln(2/alpha)/n), which is never narrower
//! than Clopper and Pearson's.

use super::super::accountant::{Rho, epsilon};
use super::super::bounding::{Bounded, Change, Rows};
use super::super::design::{Design, Groups, Request, Statistic};
use super::super::release::{Tables, release};
use super::super::sums::{Exact, Sums};
use super::golden::{id, key, noise_key, request, rho};

/// Half of the runs of one input.
const RUNS: u32 = 40_000;
const ALPHA: f64 = 0.001;

/// Sums of a bystander, and of one more person where `with`: in as many groups as count, with as
/// much as counts in each.
fn input(design: &Design, with: bool) -> Exact {
    let limits = design.limits();
    let mut sums = Sums::new(design);
    for unit in 0..1 + u32::from(with) {
        let mut own = Bounded::default();
        // More groups and rows than are let in.
        for group in 0..6 {
            for row in 0..5 {
                let name = key(&group.to_string());
                if !design.admits(&name) {
                    continue;
                }
                let cell = if unit == 0 { 10 } else { 100 };
                let change = Change {
                    group: &name,
                    group_tag: group,
                    row_tag: row,
                    order: 0,
                    values: &[cell],
                };
                own.offer(limits, Rows::Once, change);
            }
        }
        sums.add(&own);
    }
    sums.finish()
}

/// What an attacker adds up: the integers of the groups that the person is in. `tables` are those of
/// `noise`, which is another design where the mechanism is broken.
fn scores(
    design: &Design,
    (noise, tables): (&Design, &Tables),
    with: bool,
    first: u32,
) -> Vec<i64> {
    let f = input(design, with);
    let key = noise_key(if with { 11 } else { 12 });
    let groups = design.limits().groups as usize;
    let score = |revision| {
        let out = release(noise, tables, &key, (id(revision), &[3; 32]), &f).unwrap();
        out.components[0].iter().take(groups).sum()
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
fn epsilon_at_least(design: &Design, noise: (&Design, &Tables), delta: f64) -> f64 {
    let (with, without) = (scores(design, noise, true, 0), scores(design, noise, false, 0));
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
    let (with, without) = (scores(design, noise, true, RUNS), scores(design, noise, false, RUNS));
    of(passing(&with, t), passing(&without, t))
}

fn count(rho: Rho) -> Design {
    Design::new(four_groups(rho)).unwrap()
}

fn four_groups(rho: Rho) -> Request {
    let groups = Groups::Public((0..4).map(|n| key(&n.to_string())).collect());
    Request { groups, ..request(&[Statistic::Rows], rho) }
}

#[test]
fn an_attack_stays_below_the_stated_epsilon() {
    // sigma = D2 * 4: the person's rows over the noise are a Gaussian of distance 1/4.
    let stated = rho("0.03125");
    let design = count(stated);
    let tables = Tables::new(&design).unwrap();
    let delta = 1e-3;
    let found = epsilon_at_least(&design, (&design, &tables), delta);
    let most = epsilon(stated.value(), delta);
    assert!(found > 0.2, "the attack is no attack: {found}");
    assert!(found <= most, "{found} passes {most}");
}

/// The same attack on noise that was made for one group where a person is in four.
#[test]
fn an_attack_catches_noise_without_the_norms_groups() {
    let stated = rho("0.03125");
    let design = count(stated);
    let mut broken = four_groups(stated);
    broken.groups_per_unit = 1;
    let broken = Design::new(broken).unwrap();
    let tables = Tables::new(&broken).unwrap();
    let delta = 1e-3;
    let found = epsilon_at_least(&design, (&broken, &tables), delta);
    let most = epsilon(stated.value(), delta);
    assert!(found > most, "{found} does not pass {most}: broken noise goes unseen");
}
