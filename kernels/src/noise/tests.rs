#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use super::*;
use crate::alias_table::Variance;

fn table(numerator: u128, denominator: u128) -> AliasTable {
    AliasTable::new(Variance::new(numerator, denominator).unwrap()).unwrap()
}

const KEY: [u8; 32] = *b"fixed, so that no test is flaky.";

/// A sample made by hand, without lanes and without a shift of ordinals.
fn one(key: &[u8; 32], table: &AliasTable, statistic: u32, ordinal: u64) -> i32 {
    let block =
        chacha20::blocks::<1>(&chacha20::key_words(key), (ordinal >> 2) as u32, [statistic, 0, 0]);
    let lane = 4 * (ordinal as usize & 3);
    sample(table, std::array::from_fn(|word| block[lane + word][0]))
}

#[test]
fn a_sample_hangs_on_its_ordinal_only_not_on_how_many_are_drawn() {
    let table = table(100, 1);
    let whole = twin(&KEY, &table, 7, 0, 1_000).unwrap();
    for (ordinal, found) in whole.iter().enumerate() {
        assert_eq!(*found, one(&KEY, &table, 7, ordinal as u64));
    }
    for (first, count) in [(0, 0), (0, 1), (1, 1), (3, 2), (31, 33), (5, 995), (999, 1), (4, 32)] {
        let part = twin(&KEY, &table, 7, first as u64, count).unwrap();
        assert_eq!(part, whole[first..first + count], "{first}, {count}");
    }
    let last = ORDINALS_MAX - 5;
    let end: Vec<i32> = (last..ORDINALS_MAX).map(|i| one(&KEY, &table, 7, i)).collect();
    assert_eq!(twin(&KEY, &table, 7, last, 5).unwrap(), end);
    let beyond = NoiseFault::Ordinals { first: last, count: 6 };
    assert_eq!(twin(&KEY, &table, 7, last, 6), Err(beyond));
    assert!(twin(&KEY, &table, 7, u64::MAX, 2).is_err());
}

#[test]
fn another_key_statistic_or_sigma_is_other_noise() {
    let (narrow, wide) = (table(100, 1), table(400, 1));
    let mut key = KEY;
    key[31] ^= 1;
    let first = twin(&KEY, &narrow, 0, 0, 4_096).unwrap();
    let equal = |other: Vec<i32>| first.iter().zip(other).filter(|(a, b)| **a == *b).count();
    // Two independent samples of sigma 10 are equal with probability 1 / (2 sigma sqrt(pi)) = 0.0282:
    // 115.5 of 4,096, six deviations are 64.
    for other in [twin(&key, &narrow, 0, 0, 4_096), twin(&KEY, &narrow, 1, 0, 4_096)] {
        let equal = equal(other.unwrap());
        assert!((52..180).contains(&equal), "{equal}");
    }
    assert_ne!(first, twin(&KEY, &wide, 0, 0, 4_096).unwrap());
    assert_eq!(equal(first.clone()), 4_096);
}

/// Wilson and Hilferty: how many standard deviations a chi-square of `degrees` is from its middle.
fn deviations(chi_square: f64, degrees: f64) -> f64 {
    let spread = 2.0 / (9.0 * degrees);
    ((chi_square / degrees).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// Chi-square of samples against the probabilities of `of`: one bin a value where ten or more are
/// expected, what is left pooled by side.
fn chi_square(samples: &[i32], of: &AliasTable) -> (f64, f64) {
    let total = samples.len() as f64;
    let unit = 2_f64.powi(-(96 + of.bits() as i32));
    let expected = |weight: u128| weight as f64 * unit * total;
    let inner = (0..=of.reach()).take_while(|value| expected(of.weight(*value)) >= 10.0).count();
    let inner = inner as i32 - 1;
    let mut found = vec![0_u64; 2 * inner as usize + 3];
    for sample in samples {
        found[((*sample).clamp(-inner - 1, inner + 1) + inner + 1) as usize] += 1;
    }
    let term = |found: u64, expected: f64| (found as f64 - expected).powi(2) / expected;
    let tails = found[0] + found[2 * inner as usize + 2];
    let both = expected(of.tail(inner + 1)) * 2.0;
    let values = (-inner..=inner).zip(&found[1..]);
    let inside = values.map(|(value, found)| term(*found, expected(of.weight(value)))).sum::<f64>();
    // Bins less one; the tails are one bin.
    (inside + term(tails, both), f64::from(2 * inner + 1))
}

/// Six standard deviations: alpha 2e-9 for each of what is looked at here.
const FAR: f64 = 6.0;

#[test]
fn samples_have_the_exact_distribution() {
    for (at, (numerator, denominator)) in [(1, 4), (1, 1), (100, 1), (65_536, 1)].iter().enumerate()
    {
        let table = table(*numerator, *denominator);
        for key in 0..3 {
            let samples = twin(&[key; 32], &table, at as u32, 0, 2_000_000).unwrap();
            let (chi_square, degrees) = chi_square(&samples, &table);
            let far = deviations(chi_square, degrees);
            assert!(far.abs() < FAR, "sigma^2 {numerator}/{denominator}, key {key}: {far}");
        }
    }
}

#[test]
fn control_two_in_a_hundred_of_variance_are_seen() {
    let samples = twin(&KEY, &table(102, 1), 0, 0, 2_000_000).unwrap();
    let (chi_square, degrees) = chi_square(&samples, &table(100, 1));
    assert!(deviations(chi_square, degrees) > FAR, "{chi_square} of {degrees}");
}

#[test]
fn tails_are_as_heavy_as_they_should_be() {
    let table = table(100, 1);
    let samples = twin(&KEY, &table, 5, 0, 10_000_000).unwrap();
    let unit = 2_f64.powi(-(96 + table.bits() as i32));
    for beyond in [10, 20, 30, 40, 45, 48] {
        let expected = table.tail(beyond) as f64 * unit * samples.len() as f64;
        for sign in [1, -1] {
            let found = samples.iter().filter(|sample| **sample * sign >= beyond).count() as f64;
            // Poisson; the smallest of these expects eight.
            assert!(
                (found - expected).abs() < FAR * expected.sqrt(),
                "{beyond}: {found}, {expected}"
            );
        }
        assert!(expected > 7.0);
    }
}

/// The sum of products of two sequences, in standard deviations of independent ones.
fn correlation(a: &[i32], b: &[i32], variance: f64) -> f64 {
    let sum: i64 = a.iter().zip(b).map(|(a, b)| i64::from(*a) * i64::from(*b)).sum();
    sum as f64 / (variance * (a.len().min(b.len()) as f64).sqrt())
}

#[test]
fn neighbours_of_every_kind_are_independent() {
    let table = table(100, 1);
    let draw =
        |key: &[u8; 32], statistic, first| twin(key, &table, statistic, first, 1 << 20).unwrap();
    let samples = draw(&KEY, 0, 0);
    // Lanes of a block, blocks, and the eight that are made together.
    for lag in [1, 2, 3, 4, 8, 16, 32, 1024] {
        let far = correlation(&samples, &samples[lag..], 100.0);
        assert!(far.abs() < FAR, "lag {lag}: {far}");
    }
    for statistic in [1, 2, 1 << 31] {
        let far = correlation(&samples, &draw(&KEY, statistic, 0), 100.0);
        assert!(far.abs() < FAR, "statistic {statistic}: {far}");
    }
    // Releases whose keys differ in one bit.
    for bit in (0..256).step_by(37) {
        let mut key = KEY;
        key[bit / 8] ^= 1 << (bit % 8);
        let far = correlation(&samples, &draw(&key, 0, 0), 100.0);
        assert!(far.abs() < FAR, "bit {bit}: {far}");
    }
    // Control: ordinals that are taken twice are seen.
    assert!(correlation(&samples, &draw(&KEY, 0, 1)[..], 100.0).abs() < FAR);
    assert!(correlation(&samples[1..], &draw(&KEY, 0, 1), 100.0) > FAR);
}
