//! Exact decimal numbers, and the public grid that cells are cut to.

use std::str::FromStr;

/// Digits before a number is too long to be one that anybody wrote.
const DIGITS_MAX: usize = 30;
/// Powers of ten that fit beside [`DIGITS_MAX`] digits.
const EXPONENT_MAX: i32 = 400;

/// `digits * 10^exponent`; digits without trailing zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    digits: i128,
    exponent: i32,
}

/// Not a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a decimal number of at most {DIGITS_MAX} digits: expected for example 12, -0.05 or 1e-9"
)]
pub struct NotDecimal;

impl Decimal {
    /// `digits * 10^exponent`.
    ///
    /// # Errors
    /// More digits, or a power further from 0, than any cell or parameter has.
    pub fn new(mut digits: i128, mut exponent: i32) -> Result<Self, NotDecimal> {
        if digits == 0 {
            return Ok(Self { digits, exponent: 0 });
        }
        while digits % 10 == 0 {
            (digits, exponent) = (digits / 10, exponent.saturating_add(1));
        }
        let long = digits.unsigned_abs() >= 10_u128.pow(DIGITS_MAX as u32);
        match long || exponent.abs() > EXPONENT_MAX {
            true => Err(NotDecimal),
            false => Ok(Self { digits, exponent }),
        }
    }

    /// The shortest decimal number that reads back as this float. `None` for NaN; infinities are
    /// larger than any bound.
    pub fn of_f64(value: f64) -> Option<Self> {
        Self::of_float(value.is_nan(), value.is_infinite(), value < 0.0, format!("{value:e}"))
    }

    /// The same of a float of 32 bits, which is shorter.
    pub fn of_f32(value: f32) -> Option<Self> {
        Self::of_float(value.is_nan(), value.is_infinite(), value < 0.0, format!("{value:e}"))
    }

    fn of_float(nan: bool, infinite: bool, negative: bool, text: String) -> Option<Self> {
        match (nan, infinite) {
            (true, _) => None,
            (_, true) => {
                let digits = if negative { -1 } else { 1 };
                Some(Self { digits, exponent: EXPONENT_MAX })
            }
            _ => text.parse().ok(),
        }
    }

    /// Whether it is above 0.
    pub fn is_positive(self) -> bool {
        self.digits > 0
    }

    /// `floor(self * 2^bits)` for a number that is not negative and fits.
    pub fn floor_binary(self, bits: u32) -> Option<u128> {
        let digits = u128::try_from(self.digits).ok()?;
        match self.exponent {
            0.. => {
                digits.checked_mul(pow10(self.exponent)?)?.checked_mul(1_u128.checked_shl(bits)?)
            }
            _ => {
                // Long division, bit by bit: no product is formed that would not fit.
                let by = pow10(-self.exponent)?;
                let (mut quotient, mut rest) = (digits / by, digits % by);
                for _ in 0..bits {
                    rest = rest.checked_mul(2)?;
                    quotient = quotient.checked_mul(2)? + u128::from(rest >= by);
                    rest = if rest >= by { rest - by } else { rest };
                }
                Some(quotient)
            }
        }
    }

    /// The nearest float, or a neighbour of it: for what people read.
    pub fn approximate(self) -> f64 {
        format!("{}e{}", self.digits, self.exponent).parse().unwrap_or(f64::NAN)
    }
}

fn pow10(exponent: i32) -> Option<u128> {
    10_u128.checked_pow(u32::try_from(exponent).ok()?)
}

impl FromStr for Decimal {
    type Err = NotDecimal;

    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().map_err(|_| NotDecimal)?),
            None => (text, 0),
        };
        let (negative, number) = match number.strip_prefix('-') {
            Some(number) => (true, number),
            None => (false, number),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let written = !whole.is_empty() && (number.len() == whole.len() || !part.is_empty());
        if !written || !plain(whole) || !plain(part) {
            return Err(NotDecimal);
        }
        let mut digits: i128 = 0;
        for byte in whole.bytes().chain(part.bytes()) {
            let next = digits.checked_mul(10).and_then(|d| d.checked_add(i128::from(byte - b'0')));
            digits = next.ok_or(NotDecimal)?;
        }
        let behind = i32::try_from(part.len()).map_err(|_| NotDecimal)?;
        let exponent = exponent.checked_sub(behind).ok_or(NotDecimal)?;
        Self::new(if negative { -digits } else { digits }, exponent)
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.digits < 0 {
            f.write_str("-")?;
        }
        let digits = self.digits.unsigned_abs().to_string();
        match self.exponent {
            0.. => {
                f.write_str(&digits)?;
                (0..self.exponent).try_for_each(|_| f.write_str("0"))
            }
            _ => {
                let behind = usize::try_from(-self.exponent).unwrap_or(0);
                let zeros = "0".repeat((behind + 1).saturating_sub(digits.len()));
                let all = format!("{zeros}{digits}");
                let (whole, part) = all.split_at(all.len() - behind);
                write!(f, "{whole}.{part}")
            }
        }
    }
}

/// The step that cells of a column are cut to: public, and fixed by the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid(Decimal);

impl Grid {
    /// A step above 0, of up to 15 digits.
    ///
    /// # Errors
    /// [`NotDecimal`].
    pub fn new(step: Decimal) -> Result<Self, NotDecimal> {
        match step.digits > 0 && step.digits < 10_i128.pow(15) && step.exponent.abs() <= 30 {
            true => Ok(Self(step)),
            false => Err(NotDecimal),
        }
    }

    /// The step.
    pub fn step(self) -> Decimal {
        self.0
    }

    /// How many steps a number is, towards zero; what does not fit is as large as can be, for it is
    /// clamped next.
    pub fn steps(self, value: Decimal) -> i64 {
        self.divide(value).0
    }

    /// How many steps a number is, if it is a whole number of them.
    pub fn whole_steps(self, value: Decimal) -> Option<i64> {
        let (steps, exact) = self.divide(value);
        exact.then_some(steps)
    }

    /// This many steps.
    pub fn value(self, steps: i64) -> Decimal {
        let digits = i128::from(steps) * self.0.digits;
        // unwrap safety: 19 digits times 15 digits may pass 30, so it is not asked for.
        Decimal::new(digits, self.0.exponent)
            .unwrap_or(Decimal { digits, exponent: self.0.exponent })
    }

    fn divide(self, value: Decimal) -> (i64, bool) {
        let largest = if value.digits < 0 { -i64::MAX } else { i64::MAX };
        let exponent = value.exponent - self.0.exponent;
        let (over, under) = match exponent {
            0.. => (pow10(exponent), Some(1)),
            _ => (Some(1), pow10(-exponent)),
        };
        let over = over.and_then(|over| i128::try_from(over).ok()?.checked_mul(value.digits));
        let under = under.and_then(|under| i128::try_from(under).ok()?.checked_mul(self.0.digits));
        match (over, under) {
            (Some(over), Some(under)) => match i64::try_from(over / under) {
                Ok(steps) => (steps, over % under == 0),
                Err(_) => (largest, false),
            },
            // So small a number beside the step, or so large a one.
            (Some(_), None) => (0, value.digits == 0),
            (None, _) => (largest, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_are_read_and_written() {
        for text in ["0", "12", "-12", "0.05", "-0.05", "1200", "12.5"] {
            assert_eq!(d(text).to_string(), text);
        }
        assert_eq!(d("1e-9").to_string(), "0.000000001");
        assert_eq!(d("1.50"), d("15e-1"));
        assert_eq!(d("-0"), d("0"));
        for bad in ["", ".", "1.", ".5", "+1", "1e", "0x1", "1_000", "NaN", "inf", "--1", "1e500"] {
            assert!(bad.parse::<Decimal>().is_err(), "{bad}");
        }
        assert!("1234567890123456789012345678901".parse::<Decimal>().is_err());
    }

    #[test]
    fn floats_are_their_shortest_decimal() {
        assert_eq!(Decimal::of_f64(0.29), Some(d("0.29")));
        assert_eq!(Decimal::of_f32(0.29), Some(d("0.29")));
        assert_eq!(Decimal::of_f64(-1e300), Some(d("-1e300")));
        assert_eq!(Decimal::of_f64(5e-324), Some(d("5e-324")));
        assert_eq!(Decimal::of_f64(-0.0), Some(d("0")));
        assert_eq!(Decimal::of_f64(f64::NAN), None);
        let grid = Grid::new(d("0.01")).unwrap();
        let steps = |value| Decimal::of_f64(value).map(|value| grid.steps(value));
        assert_eq!(steps(0.29), Some(29));
        assert_eq!(steps(-0.299), Some(-29), "towards zero");
        assert_eq!(steps(f64::INFINITY), Some(i64::MAX));
        assert_eq!(steps(f64::NEG_INFINITY), Some(-i64::MAX));
        assert_eq!((steps(1e300), steps(1e-300)), (Some(i64::MAX), Some(0)));
    }

    #[test]
    fn a_grid_divides_exactly() {
        let grid = Grid::new(d("2.5")).unwrap();
        assert_eq!(grid.whole_steps(d("10")), Some(4));
        assert_eq!(grid.whole_steps(d("11")), None);
        assert_eq!((grid.steps(d("11")), grid.steps(d("-11"))), (4, -4));
        assert_eq!(grid.value(-3), d("-7.5"));
        assert!(Grid::new(d("0")).is_err());
        assert!(Grid::new(d("-1")).is_err());
        assert!(Grid::new(d("1e-40")).is_err());
    }

    #[test]
    fn binary_floors_are_exact() {
        assert_eq!(d("0.5").floor_binary(40), Some(1 << 39));
        assert_eq!(d("0.1").floor_binary(40), Some(109_951_162_777));
        assert_eq!(d("1e-9").floor_binary(80), Some(1_208_925_819_614_629));
        assert_eq!(d("3").floor_binary(40), Some(3 << 40));
        assert_eq!(d("-1").floor_binary(40), None);
        assert_eq!(d("1e30").floor_binary(80), None);
    }
}
