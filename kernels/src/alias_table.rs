//! The exact alias table of one discrete Gaussian (Walker 1977, Vose 1991), in integers.
//!
//! Weights are `floor(p(v) * 2^(96 + m))` of the ideal probabilities `p(v) = exp(-v^2 / (2 sigma^2)) / S`,
//! where `S` sums over all integers; what the floors leave over goes to the centre. The sums are made
//! in fixed point with a bound on their error, and a weight whose floor that error could move is
//! refused: so the table is a function of the rational `sigma^2` alone, whoever computes it.

use num_bigint::BigUint;
use sha2::{Digest, Sha256};

/// Why there is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableFault {
    #[error("sigma^2 is a quotient with zero in it: both numbers are at least 1")]
    Zero,
    #[error("sigma^2 is outside of 2^-6 to 2^26: choose rho, bounds or grid so that it is inside")]
    OutOfRange,
    /// The error of the fixed point reaches an integer, or the table does not give its weights
    /// back. Neither has been met.
    #[error("the table of this sigma^2 is not exact: choose another rho")]
    Inexact,
}

/// `sigma^2`, an exact quotient in lowest terms, between 2^-6 and 2^26.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variance {
    numerator: u128,
    denominator: u128,
}

impl Variance {
    pub const LOG2_MIN: i32 = -6;
    pub const LOG2_MAX: i32 = 26;

    /// # Errors
    /// One of the two is zero, or the quotient is out of range.
    pub fn new(numerator: u128, denominator: u128) -> Result<Self, TableFault> {
        if numerator == 0 || denominator == 0 {
            return Err(TableFault::Zero);
        }
        let (mut a, mut b) = (numerator, denominator);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let (numerator, denominator) = (numerator / a, denominator / a);
        let (n, d) = (BigUint::from(numerator), BigUint::from(denominator));
        if &n << 6 < d || n > &d << 26 {
            return Err(TableFault::OutOfRange);
        }
        Ok(Self { numerator, denominator })
    }

    pub fn numerator(self) -> u128 {
        self.numerator
    }

    pub fn denominator(self) -> u128 {
        self.denominator
    }
}

/// What a slot can hold: thresholds have 96 bits.
const CAPACITY_BITS: u32 = 96;
const CAPACITY: u128 = 1 << CAPACITY_BITS;
/// Smallest and largest `m`; a table has 2^m slots of 16 bytes.
const BITS_MIN: u32 = 8;
const BITS_MAX: u32 = 18;
/// The ideal mass outside of the support is below 2^-100.
const OUTSIDE_BITS: usize = 100;

/// Bits behind the point.
const POINT: usize = 384;
/// No `exp` below is off by more than 2^-320, and no sum of them by more than 2^-300: see `falling`.
const SUM_ERROR_BITS: usize = 300;
/// Where the sum ends: what is left is below 2^-308.
const LAST_TERM_BITS: usize = 330;

/// 2^m slots; slot `s` stands for the value `s - T`, `T = 2^(m-1) - 1`, and the last slot for none.
#[derive(Clone, PartialEq, Eq)]
pub struct AliasTable {
    variance: Variance,
    bits: u32,
    /// Threshold, highest word first, and alias.
    slots: Vec<[u32; 4]>,
    /// Of the values 0 to T.
    weights: Vec<u128>,
    digest: [u8; 32],
}

impl AliasTable {
    /// # Errors
    /// The table would not be exact; no `sigma^2` is known for which that is so.
    pub fn new(variance: Variance) -> Result<Self, TableFault> {
        let ideal = falling(variance);
        let (bits, weights) = floors(&ideal)?;
        let mut by_slot: Vec<u128> = weights.iter().skip(1).rev().copied().collect();
        by_slot.extend(&weights);
        by_slot.push(0);
        let slots = vose(&by_slot);
        if weights_of(&slots) != by_slot {
            return Err(TableFault::Inexact);
        }
        let mut hash = Sha256::new();
        for word in slots.as_flattened() {
            hash.update(word.to_le_bytes());
        }
        Ok(Self { variance, bits, slots, weights, digest: hash.finalize().into() })
    }

    pub fn variance(&self) -> Variance {
        self.variance
    }

    /// `m`; weights sum to 2^(96 + m).
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// `T`: no sample is further from zero.
    pub fn reach(&self) -> i32 {
        (1 << (self.bits - 1)) - 1
    }

    pub fn slots(&self) -> &[[u32; 4]] {
        &self.slots
    }

    /// SHA-256 of the slots, each word little-endian.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The probability of `value`, in units of 2^-(96 + m).
    pub fn weight(&self, value: i32) -> u128 {
        self.weights.get(value.unsigned_abs() as usize).copied().unwrap_or(0)
    }

    /// The probability of `least` or more, in units of 2^-(96 + m).
    pub fn tail(&self, least: i32) -> u128 {
        match least {
            1.. => self.weights.iter().skip(least as usize).sum(),
            // Symmetric: all but what lies beyond on the other side.
            _ => (CAPACITY << self.bits) - self.tail(1_i32.saturating_sub(least)),
        }
    }

    /// The smallest count that is released where a group is named by its noisy count of units: a
    /// group of one unit passes it with a probability that, over the `groups_max` groups that a
    /// unit can make appear, stays within `delta_2_80` units of 2^-80. Never below 2.
    ///
    /// The condition is `(1 - P[Z >= tau - 1])^groups_max >= 1 - delta`, the left side rounded down.
    pub fn threshold(&self, delta_2_80: u128, groups_max: u32) -> i32 {
        let one = BigUint::from(1_u8) << POINT;
        let kept = one.clone() - (BigUint::from(delta_2_80.min(1 << 80)) << (POINT - 80));
        let shift = POINT - (CAPACITY_BITS + self.bits) as usize;
        let passes = |tau: i32| {
            let stays = one.clone() - (BigUint::from(self.tail(tau - 1)) << shift);
            power(&one, stays, groups_max) >= kept
        };
        // Nothing is drawn beyond the reach, so the last one passes.
        let (mut low, mut high) = (2, self.reach() + 2);
        while low < high {
            let middle = low + (high - low) / 2;
            match passes(middle) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        low
    }
}

/// `base^exponent` of a number up to one, rounded down at each step.
fn power(one: &BigUint, mut base: BigUint, mut exponent: u32) -> BigUint {
    let mut product = one.clone();
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = (product * &base) >> POINT;
        }
        base = (&base * &base) >> POINT;
        exponent >>= 1;
    }
    product
}

/// `exp(-v^2 / (2 sigma^2))` for v = 0, 1, … until it is below 2^-330.
///
/// e(v + 1) = e(v) q(v), q(v + 1) = q(v) q(0)^2. All factors are up to one, so errors add and do not
/// grow: q(0) is off by less than 2^22 units of 2^-384, q(v) by less than 2^24 (v + 1), and e(v) by
/// less than 2^24 (v + 1)^2. There are fewer than 2^18 terms, as sigma is up to 2^13.
fn falling(variance: Variance) -> Vec<BigUint> {
    let one = BigUint::from(1_u8) << POINT;
    let end = BigUint::from(1_u8) << (POINT - LAST_TERM_BITS);
    let mut factor = exp_of_minus_half(variance);
    let step = (&factor * &factor) >> POINT;
    let mut terms = Vec::new();
    let mut term = one;
    while term > end {
        let next = (&term * &factor) >> POINT;
        factor = (&factor * &step) >> POINT;
        terms.push(term);
        term = next;
    }
    terms
}

/// `exp(-1 / (2 sigma^2))`: the exponent, at most 32, is halved 14 times, the series summed, and the
/// result squared 14 times. Each squaring doubles the error at most.
fn exp_of_minus_half(variance: Variance) -> BigUint {
    const HALVED: usize = 14;
    let exponent = (BigUint::from(variance.denominator) << (POINT - HALVED - 1))
        / BigUint::from(variance.numerator);
    let (mut positive, mut negative) = (BigUint::ZERO, BigUint::ZERO);
    let mut term = BigUint::from(1_u8) << POINT;
    let mut index = 0_u32;
    while term != BigUint::ZERO {
        match index % 2 {
            0 => positive += &term,
            _ => negative += &term,
        }
        index += 1;
        term = ((term * &exponent) >> POINT) / index;
    }
    let mut result = positive - negative;
    for _ in 0..HALVED {
        result = (&result * &result) >> POINT;
    }
    result
}

/// `m`, and the weights of 0 to T: the first table whose support leaves less than 2^-100 outside.
fn floors(terms: &[BigUint]) -> Result<(u32, Vec<u128>), TableFault> {
    let zero = BigUint::ZERO;
    let right: BigUint = terms.iter().skip(1).sum();
    let total = &terms[0] + (&right << 1);
    let outside = |bits: &u32| {
        let beyond: BigUint = terms.iter().skip(1 << (bits - 1)).sum();
        (beyond << (OUTSIDE_BITS + 1)) < total
    };
    let bits = (BITS_MIN..=BITS_MAX).find(outside).ok_or(TableFault::OutOfRange)?;
    // More than what the errors of term and sum can move a quotient by, in its numerator.
    let error = &total >> (SUM_ERROR_BITS - 2);
    let count = 1_usize << (bits - 1);
    let mut weights = Vec::with_capacity(count);
    for value in 0..count {
        let term = terms.get(value).unwrap_or(&zero);
        let scaled = |number: BigUint| (number << (CAPACITY_BITS + bits)) / &total;
        let most = scaled(term + &error);
        let least = if *term > error { scaled(term - &error) } else { BigUint::ZERO };
        if least != most {
            return Err(TableFault::Inexact);
        }
        weights.push(u128::try_from(least).map_err(|_| TableFault::Inexact)?);
    }
    let sides: u128 = weights.iter().skip(1).sum::<u128>() * 2;
    weights[0] = (CAPACITY << bits) - sides;
    Ok((bits, weights))
}

/// Vose's construction with integers. Its order is part of the format: both stacks are filled from
/// the lowest slot, and taken from the top.
fn vose(by_slot: &[u128]) -> Vec<[u32; 4]> {
    // A slot that is never taken from a stack is full, and its own alias.
    let full = |slot: usize| entry(CAPACITY - 1, slot);
    let mut slots: Vec<[u32; 4]> = (0..by_slot.len()).map(full).collect();
    let mut left = by_slot.to_vec();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..left.len()).partition(|slot| left[*slot] < CAPACITY);
    while let (Some(donor), true) = (large.last().copied(), !small.is_empty()) {
        let Some(slot) = small.pop() else { break };
        slots[slot] = entry(left[slot], donor);
        left[donor] -= CAPACITY - left[slot];
        if left[donor] < CAPACITY {
            large.pop();
            small.push(donor);
        }
    }
    slots
}

fn entry(threshold: u128, alias: usize) -> [u32; 4] {
    [(threshold >> 64) as u32, (threshold >> 32) as u32, threshold as u32, alias as u32]
}

/// The threshold of an entry.
pub(crate) fn threshold_of(entry: &[u32; 4]) -> u128 {
    u128::from(entry[0]) << 64 | u128::from(entry[1]) << 32 | u128::from(entry[2])
}

/// What the slots give to each value.
fn weights_of(slots: &[[u32; 4]]) -> Vec<u128> {
    let mut weights = vec![0_u128; slots.len()];
    for (slot, entry) in slots.iter().enumerate() {
        let threshold = threshold_of(entry);
        weights[slot] += threshold;
        weights[entry[3] as usize] += CAPACITY - threshold;
    }
    weights
}

#[cfg(test)]
mod tests;
