//! Beside OpenDP 0.16 and libprio 0.18: what they said stands in testdata/dp/oracle.json, which
//! testdata/dp/oracle/ writes. They are no dependency of the tests: OpenDP cannot be seeded, and
//! brings forty crates.

use std::collections::BTreeMap;

use douane_kernels::alias_table::{AliasTable, Variance};
use douane_kernels::noise;
use serde_json::Value as Json;

use super::super::accountant::{delta, epsilon};

fn oracle() -> Json {
    serde_json::from_str(include_str!("../../../testdata/dp/oracle.json")).unwrap()
}

fn near(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= 1e-9 * theirs
}

#[test]
fn rho_means_what_opendp_says_it_means() {
    let (oracle, mut cases) = (oracle(), 0);
    let number = |case: &Json, name: &str| case[name].as_f64().unwrap();
    for case in oracle["delta"].as_array().unwrap() {
        let (rho, at, theirs) =
            (number(case, "rho"), number(case, "epsilon"), number(case, "delta"));
        // Not what is below what a float holds; nor 1, which theirs is rounded up to.
        if (1e-300..1.0).contains(&theirs) {
            let ours = delta(rho, at);
            assert!(near(ours, theirs), "rho {rho}, epsilon {at}: {ours}, theirs {theirs}");
            cases += 1;
        }
    }
    for case in oracle["epsilon"].as_array().unwrap() {
        let (rho, at, theirs) =
            (number(case, "rho"), number(case, "delta"), number(case, "epsilon"));
        let ours = epsilon(rho, at);
        assert!(near(ours, theirs), "rho {rho}, delta {at}: {ours}, theirs {theirs}");
        cases += 1;
    }
    assert_eq!(cases, 47);
    assert!(!near(1.0 + 1e-8, 1.0));
}

/// How far two sets of counts are apart, in standard errors: the chi-square of two samples, bins
/// with fewer than ten of both together pooled with their neighbours.
fn apart(ours: &BTreeMap<i64, f64>, theirs: &BTreeMap<i64, f64>) -> f64 {
    let values: std::collections::BTreeSet<&i64> = ours.keys().chain(theirs.keys()).collect();
    let of = |counts: &BTreeMap<i64, f64>, value| counts.get(value).copied().unwrap_or(0.0);
    let (n, m) = (ours.values().sum::<f64>(), theirs.values().sum::<f64>());
    let (mut chi, mut bins, mut a, mut b) = (0.0, 0.0, 0.0, 0.0);
    for value in values {
        (a, b) = (a + of(ours, value), b + of(theirs, value));
        if a + b >= 10.0 {
            chi += (a * (m / n).sqrt() - b * (n / m).sqrt()).powi(2) / (a + b);
            (bins, a, b) = (bins + 1.0, 0.0, 0.0);
        }
    }
    let freedom = bins - 1.0;
    (chi - freedom) / (2.0_f64 * freedom).sqrt()
}

/// Keys are fixed, so this is no matter of luck; 6 standard errors are an alpha of about 1e-6.
#[test]
fn noise_is_distributed_as_theirs() {
    let oracle = oracle();
    let mut compared = 0;
    for case in oracle["samples"].as_array().unwrap() {
        let sigma = case["sigma"].as_u64().unwrap();
        let pairs = case["counts"].as_array().unwrap();
        let pair = |pair: &Json| (pair[0].as_i64().unwrap(), pair[1].as_f64().unwrap());
        let theirs: BTreeMap<i64, f64> = pairs.iter().map(pair).collect();
        let ours = |variance: Variance| {
            let table = AliasTable::new(variance).unwrap();
            let mut counts: BTreeMap<i64, f64> = BTreeMap::new();
            for sample in noise::twin(&[7; 32], &table, 0, 0, 1 << 18).unwrap() {
                *counts.entry(sample.into()).or_default() += 1.0;
            }
            counts
        };
        let squared = u128::from(sigma).pow(2);
        let found = apart(&ours(Variance::new(squared, 1).unwrap()), &theirs);
        assert!(found.abs() <= 6.0, "{} {sigma}: {found}", case["of"]);
        // Control: a sigma that is a twentieth larger.
        let wider = apart(&ours(Variance::new(squared * 441, 400).unwrap()), &theirs);
        assert!(wider > 6.0, "{} {sigma}: {wider}", case["of"]);
        compared += 1;
    }
    assert_eq!(compared, 8);
}
