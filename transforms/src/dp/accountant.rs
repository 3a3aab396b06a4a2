//! What releases cost: zero-concentrated differential privacy (zCDP), added up in integers, and what
//! a sum means as (epsilon, delta).
//!
//! rho of releases adds up, also where one is chosen after seeing another. Epsilon follows from rho
//! by the bound of Canonne, Kamath and Steinke (The Discrete Gaussian for Differential Privacy,
//! 2020, proposition 12), minimised over alpha:
//!
//! epsilon = alpha rho + ln(1 - 1/alpha) - (ln(delta) + ln(alpha)) / (alpha - 1)
//!
//! Every alpha gives a valid epsilon, so a search that misses the best one errs on the safe side; and
//! what floating point may have lost is added. `rho + 2 sqrt(rho ln(1/delta))` is nowhere used: it is
//! up to a quarter too large.

use super::decimal::Decimal;

/// Binary places of a unit of rho.
const RHO_BITS: u32 = 40;
/// Binary places of a unit of delta.
const DELTA_BITS: u32 = 80;
/// Total variation of a noise table to the ideal distribution, for each integer: 2^-96.
const TABLE_BITS: i32 = 96;

/// zCDP's rho in units of 2^-40.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rho(u64);

impl Rho {
    /// So many units.
    pub fn units(units: u64) -> Self {
        Self(units)
    }

    /// The largest number of units that is not above a declared number. `None`: it is below a unit,
    /// or above 2^20.
    pub fn declared(value: Decimal) -> Option<Self> {
        let units = u64::try_from(value.floor_binary(RHO_BITS)?).ok()?;
        (1..=1 << (RHO_BITS + 20)).contains(&units).then_some(Self(units))
    }

    /// In units.
    pub fn in_units(self) -> u64 {
        self.0
    }

    /// As a number; exact below 2^13.
    pub fn value(self) -> f64 {
        self.0 as f64 * 2_f64.powi(-(RHO_BITS as i32))
    }

    /// This many releases.
    pub fn times(self, releases: u64) -> Self {
        Self(self.0.saturating_mul(releases))
    }
}

/// A delta in units of 2^-80.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delta(u64);

impl Delta {
    /// None.
    pub const ZERO: Self = Self(0);
    /// 2^-17, about 7.6e-6: no delta that protects anybody is larger.
    pub const LARGEST: Self = Self(1 << (DELTA_BITS - 16 - 1));

    /// So many units.
    pub fn units(units: u64) -> Self {
        Self(units)
    }

    /// The largest number of units that is not above a declared number. `None`: it is below a unit,
    /// or above [`Delta::LARGEST`].
    pub fn declared(value: Decimal) -> Option<Self> {
        let units = u64::try_from(value.floor_binary(DELTA_BITS)?).ok()?;
        (1..=Self::LARGEST.0).contains(&units).then_some(Self(units))
    }

    /// In units.
    pub fn in_units(self) -> u64 {
        self.0
    }

    /// As a number, not below it.
    pub fn value(self) -> f64 {
        (self.0 as f64).next_up() * 2_f64.powi(-(DELTA_BITS as i32))
    }

    /// This many releases.
    pub fn times(self, releases: u64) -> Self {
        Self(self.0.saturating_mul(releases))
    }
}

/// What a person loses, at most, over some releases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// The sum of rho.
    pub rho: Rho,
    /// Never below what the formula gives in exact arithmetic.
    pub epsilon: f64,
    /// Of everything: conversion, selection of groups, noise tables.
    pub delta: f64,
}

/// What releases mean at a delta: `rho` and `selected` added up over them, `coordinates` the number
/// of noised integers. `None` where selection and tables leave nothing of the delta.
pub fn loss(rho: Rho, selected: Delta, coordinates: u128, delta: f64) -> Option<Loss> {
    let rest = |epsilon: f64| {
        // (1 + e^epsilon) N 2^-96, rounded up.
        let tables = (1.0 + epsilon.exp()) * coordinates as f64 * 2_f64.powi(-TABLE_BITS);
        delta - (selected.value() + tables) * (1.0 + 1e-12)
    };
    if !(0.0..1.0).contains(&delta) || rest(0.0) <= 0.0 {
        return None;
    }
    // A larger epsilon has a larger tables' delta, which leaves less to the conversion.
    let mut last = epsilon(rho.value(), rest(0.0));
    for _ in 0..64 {
        let left = rest(last);
        if left <= 0.0 {
            return None;
        }
        let next = epsilon(rho.value(), left);
        if next <= last {
            return Some(Loss { rho, epsilon: last, delta });
        }
        // A little more than it takes, so that it ends.
        last = next * (1.0 + 1e-13);
    }
    None
}

/// Epsilon of rho at the conversion's delta: at least the exact optimum, and within 1e-9 of it.
pub fn epsilon(rho: f64, delta: f64) -> f64 {
    let at = |x: f64| {
        let terms = [(1.0 + x) * rho, -(1.0 / x).ln_1p(), -(delta.ln() + x.ln_1p()) / x];
        upward(terms)
    };
    least(at).max(0.0)
}

/// Delta of rho at an epsilon: at least the exact optimum.
pub fn delta(rho: f64, epsilon: f64) -> f64 {
    let at = |x: f64| {
        let terms = [x * ((1.0 + x) * rho - epsilon), -x.ln(), -(1.0 + x) * (1.0 / x).ln_1p()];
        upward(terms)
    };
    (least(at).exp() * (1.0 + 1e-14)).min(1.0)
}

/// The sum of terms that are each off by a few units of their last place, rounded up.
fn upward(terms: [f64; 3]) -> f64 {
    let size: f64 = terms.iter().map(|term| term.abs()).sum();
    terms.iter().sum::<f64>() + 16.0 * f64::EPSILON * size
}

/// The least value over alpha - 1 = e^t, first on a grid, then by golden section around the best.
fn least(of: impl Fn(f64) -> f64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let of = |t: f64| of(t.exp());
    let grid = (-160..=320).map(|step| f64::from(step) / 8.0);
    let best = grid.map(|t| (of(t), t)).min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((mut value, t)) = best else {
        return f64::INFINITY;
    };
    let (mut low, mut high) = (t - 0.125, t + 0.125);
    for _ in 0..64 {
        let (left, right) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
        let (at_left, at_right) = (of(left), of(right));
        value = value.min(at_left).min(at_right);
        match at_left < at_right {
            true => high = right,
            false => low = left,
        }
    }
    value
}

/// A number that is shown: four decimals, never below it.
pub fn shown(epsilon: f64) -> String {
    let up = (epsilon * 10_000.0).ceil() / 10_000.0;
    let up = if up < epsilon { up + 0.000_1 } else { up };
    format!("{up:.4}")
}
