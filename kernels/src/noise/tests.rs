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
