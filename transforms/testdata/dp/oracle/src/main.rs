//! What OpenDP and libprio say: `cargo run --release > ../oracle.json`.
//!
//! OpenDP cannot be seeded, so its counts differ from run to run; libprio's are the same.

use std::collections::BTreeMap;

use dashu::rational::RBig;
use opendp::combinators::ConcentratedMeasure;
use opendp::measures::ZeroConcentratedDivergence;
use opendp::traits::samplers::sample_discrete_gaussian;
use prio::dp::Rational;
use prio::dp::distributions::DiscreteGaussian;
use prio::vdaf::xof::SeedStreamTurboShake128;
use rand::SeedableRng;
use rand::distr::Distribution;
use serde_json::{Value, json};

const SAMPLES: usize = 1 << 18;

fn main() {
    let mut deltas = Vec::new();
    let mut epsilons = Vec::new();
    for rho in [0.001, 0.005, 0.0936, 0.1, 0.5, 1.0, 10.0] {
        let profile = ZeroConcentratedDivergence::convert(rho).expect("a profile");
        for epsilon in [0.1, 1.0, 4.0, 20.0] {
            let delta = profile.delta(epsilon).expect("a delta");
            deltas.push(json!({"rho": rho, "epsilon": epsilon, "delta": delta}));
        }
        for delta in [1e-3, 1e-6, 1e-9, 1e-12] {
            let epsilon = profile.epsilon(delta).expect("an epsilon");
            epsilons.push(json!({"rho": rho, "delta": delta, "epsilon": epsilon}));
        }
    }
    let mut samples = Vec::new();
    for sigma in [1_u32, 4, 10, 64] {
        let scale = RBig::from(sigma);
        let opendp = (0..SAMPLES).map(|_| {
            let sample = sample_discrete_gaussian(scale.clone()).expect("a sample");
            i64::try_from(sample).expect("a small one")
        });
        samples.push(json!({"of": "opendp", "sigma": sigma, "counts": counts(opendp)}));
        let std = Rational::from_unsigned(sigma, 1).expect("a quotient");
        let sampler = DiscreteGaussian::new(std).expect("a sampler");
        let mut rng = SeedStreamTurboShake128::from_seed([sigma as u8; 32]);
        let prio =
            (0..SAMPLES).map(|_| i64::try_from(sampler.sample(&mut rng)).expect("a small one"));
        samples.push(json!({"of": "prio", "sigma": sigma, "counts": counts(prio)}));
    }
    let all = json!({"delta": deltas, "epsilon": epsilons, "samples": samples});
    println!("{all}");
}

fn counts(samples: impl Iterator<Item = i64>) -> Value {
    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
    samples.for_each(|sample| *counts.entry(sample).or_default() += 1);
    let pairs = counts.into_iter().map(|(value, count)| json!([value, count]));
    Value::Array(pairs.collect())
}
