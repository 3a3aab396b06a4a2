#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use super::*;

fn table(numerator: u128, denominator: u128) -> AliasTable {
    AliasTable::new(Variance::new(numerator, denominator).unwrap()).unwrap()
}

fn hex(bytes: [u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The beginnings of digests that another implementation gave: Python, mpmath with 300 bits, each
/// `exp` by itself, the same order of Vose's construction.
#[test]
fn tables_are_byte_for_byte_those_of_another_implementation() {
    for (sigma, bits, digest) in [
        (10_u128, 8, "7d4573da3d3dd282"),
        (256, 13, "4236b4134ae06191"),
        (1024, 15, "65d150059bcb72df"),
        (8192, 18, "6f09628a62ed93d3"),
    ] {
        let table = table(sigma * sigma, 1);
        assert_eq!(table.bits(), bits, "sigma {sigma}");
        assert_eq!(&hex(table.digest())[..16], digest, "sigma {sigma}");
    }
}

/// A quotient of two large numbers, near a power of two, is the same function as its neighbours.
#[test]
fn weights_sum_to_one_and_are_symmetric() {
    let quotients = [(1, 64), (1, 4), (1, 1), (7, 3), (100, 1), (1 << 26, 1)];
    let odd = (9_u128 << 59, 0x0123_4567_89ab_cdef);
    for (numerator, denominator) in quotients.into_iter().chain([odd]) {
        let table = table(numerator, denominator);
        let all: u128 = (-table.reach()..=table.reach()).map(|v| table.weight(v)).sum();
        assert_eq!(all, CAPACITY << table.bits());
        assert_eq!(table.tail(-table.reach()), all);
        assert_eq!(table.tail(0) * 2 - table.weight(0), all);
        assert_eq!(table.weight(table.reach() + 1), 0);
        assert_eq!(table.weight(i32::MIN), 0);
        assert_eq!(table.tail(i32::MAX), 0);
        assert_eq!(table.tail(i32::MIN), all);
        // Reconstructed from the slots, not from what made them.
        let drawn = weights_of(table.slots());
        for value in -table.reach()..=table.reach() {
            let slot = (value + table.reach()) as usize;
            assert_eq!(drawn[slot], table.weight(value));
            assert_eq!(table.weight(value), table.weight(-value));
        }
        assert_eq!(drawn.last(), Some(&0));
    }
}

#[test]
fn control_a_threshold_off_by_one_gives_other_weights() {
    let table = table(100, 1);
    let mut slots = table.slots().to_vec();
    slots[17][2] ^= 1;
    assert_ne!(weights_of(&slots), weights_of(table.slots()));
}

/// `exp(-v^2 / (2 sigma^2))` by itself and in 640 bits: no recurrence, no halving that is shared.
fn exp_direct(value: u64, variance: Variance) -> BigUint {
    const BITS: usize = 640;
    let (numerator, denominator) =
        (BigUint::from(variance.numerator()) << 1, BigUint::from(variance.denominator()));
    let exponent = ((BigUint::from(value * value) * denominator) << BITS) / numerator;
    if exponent > BigUint::from(444_u16) << BITS {
        // Below 2^-640.
        return BigUint::ZERO;
    }
    // exp(-x) = 1 / exp(x), by the series with positive terms only.
    let (mut sum, mut term) = (BigUint::ZERO, BigUint::from(1_u8) << BITS);
    let mut index = 0_u32;
    while term != BigUint::ZERO {
        sum += &term;
        index += 1;
        term = ((term * &exponent) >> BITS) / index;
    }
    (BigUint::from(1_u8) << (2 * BITS)) / sum
}

/// The total variation between the table and the ideal, in units of 2^-640, rounded up.
fn total_variation(table: &AliasTable) -> BigUint {
    let far = u64::from(table.reach().unsigned_abs()) * 3;
    let ideal: Vec<BigUint> = (0..far).map(|v| exp_direct(v, table.variance())).collect();
    let total: BigUint = &ideal[0] + (ideal.iter().skip(1).sum::<BigUint>() << 1);
    let mut apart = BigUint::ZERO;
    for (value, term) in ideal.iter().enumerate() {
        let ideal = (term << 640_u32) / &total;
        let ours = BigUint::from(table.weight(value as i32)) << (640 - 96 - table.bits());
        let difference = if ours > ideal { ours - ideal } else { ideal - ours };
        apart += difference * if value == 0 { 1_u8 } else { 2 };
    }
    // Half of the sum, and a unit of error for each term.
    (apart >> 1) + BigUint::from(4 * far)
}

#[test]
fn the_total_variation_to_the_ideal_is_below_2_to_the_minus_96() {
    let bound = BigUint::from(1_u8) << (640 - 96);
    for (numerator, denominator) in [(1, 4), (1, 1), (16, 1), (100, 1), (1000, 7)] {
        let apart = total_variation(&table(numerator, denominator));
        assert!(apart < bound, "sigma^2 {numerator}/{denominator}");
        assert!(apart > BigUint::from(1_u8) << 500, "a comparison of something");
    }
    // Control: a neighbour of the quotient in its seventh digit is far away from it.
    let mut wrong = table(100, 1);
    wrong.variance = Variance::new(100_000_001, 1_000_000).unwrap();
    assert!(total_variation(&wrong) > bound);
}

fn probability(table: &AliasTable, weight: u128) -> f64 {
    weight as f64 / 2_f64.powi(96 + table.bits() as i32)
}

fn variance_of(table: &AliasTable) -> f64 {
    let square = |v: i32| f64::from(v) * f64::from(v) * probability(table, table.weight(v));
    // From the smallest on, so that nothing is lost.
    (1..=table.reach()).rev().map(square).sum::<f64>() * 2.0
}

#[test]
fn variances_and_probabilities_are_those_of_the_literature() {
    let near = |found: f64, expected: f64| {
        assert!((found / expected - 1.0).abs() < 1e-13, "{found} for {expected}");
    };
    near(variance_of(&table(1, 1)), 0.999_999_788_767_728);
    near(variance_of(&table(1, 4)), 0.215_012_675_088_138);
    let ten = table(100, 1);
    near(probability(&ten, ten.weight(0)), 0.039_894_228_040_143_3);
    near(probability(&ten, ten.weight(10)), 0.024_197_072_451_914_3);
    near(probability(&ten, ten.weight(50)), 1.486_719_514_734_3e-7);
}

/// `10^-digits` in units of 2^-80, rounded down.
fn delta(digits: u32) -> u128 {
    (1 << 80) / 10_u128.pow(digits)
}

#[test]
fn thresholds_are_the_exact_ones_of_the_discrete_tail() {
    for (sigma, groups, digits, tau) in
        [(10, 1, 9, 62), (10, 8, 9, 65), (10, 8, 12, 75), (20, 32, 10, 139), (4, 1, 9, 26)]
    {
        let table = table(sigma * sigma, 1);
        assert_eq!(table.threshold(delta(digits), groups), tau, "sigma {sigma}");
    }
    let four = table(16, 1);
    let tail = probability(&four, four.tail(11));
    assert!((tail / 4.246_085e-3 - 1.0).abs() < 1e-6, "{tail}");
    // The tail itself passes, one unit of 2^-80 less does not.
    let exact = (four.tail(11) >> (16 + four.bits())) + 1;
    assert_eq!(four.threshold(exact, 1), 12);
    assert_eq!(four.threshold(exact - 1, 1), 13);
    // Without any delta nothing that one unit makes is ever released; with all of it, no less
    // than two are asked for.
    let never = four.threshold(0, 1);
    assert!(four.tail(never - 1) == 0 && four.tail(never - 2) > 0);
    assert_eq!(four.threshold(u128::MAX, 1), 2);
    assert!(four.threshold(delta(9), u32::MAX) > four.threshold(delta(9), 1_000));
}

#[test]
fn quotients_are_reduced_and_have_bounds() {
    let reduced = Variance::new(3_u128 << 90, 6_u128 << 87).unwrap();
    assert_eq!((reduced.numerator(), reduced.denominator()), (4, 1));
    assert_eq!(table(4, 1).digest(), AliasTable::new(reduced).unwrap().digest());
    assert_eq!(Variance::new(0, 1), Err(TableFault::Zero));
    assert_eq!(Variance::new(1, 0), Err(TableFault::Zero));
    assert_eq!(Variance::new(1, 65), Err(TableFault::OutOfRange));
    assert_eq!(Variance::new((1 << 26) + 1, 1), Err(TableFault::OutOfRange));
    assert_eq!(Variance::new(u128::MAX, 1), Err(TableFault::OutOfRange));
    assert_eq!(Variance::new(1, u128::MAX), Err(TableFault::OutOfRange));
}
