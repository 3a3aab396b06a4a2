//! Values to integers of a public grid: truncated towards zero, then held to bounds. What is beyond
//! a bound becomes the bound, and nothing says how often that was.

use crate::device::{
    Cause, Device, Gpu, Job, LANES, Ran, Shader, Step, halves, joined, params, words_of,
};
use crate::rows::{ROWS_A_STEP, RowsFault, same_length};

params!(Params { lower: 2, upper: 2, grid: 1, shift: 1, count: 1 });

pub(crate) const SHADER: Shader =
    Shader { name: "encode", sources: &[include_str!("kernel.wgsl")], has_between: false };

/// `value / divisor`, between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    divisor: u32,
    lower: i64,
    upper: i64,
}

impl Grid {
    /// # Errors
    /// A divisor of zero or from 2^31 on, or bounds the wrong way round.
    pub fn new(divisor: u32, lower: i64, upper: i64) -> Result<Self, RowsFault> {
        if divisor == 0 || divisor >= 1 << 31 {
            return Err(RowsFault::Grid { found: divisor });
        }
        if lower > upper {
            return Err(RowsFault::Bounds);
        }
        Ok(Self { divisor, lower, upper })
    }

    fn apply(self, value: i64) -> i64 {
        (value / i64::from(self.divisor)).clamp(self.lower, self.upper)
    }
}

/// `value * 2^shift`, between `-bound` and `bound`. Not a number is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinaryGrid {
    shift: i32,
    bound: i32,
}

impl BinaryGrid {
    /// # Errors
    /// A shift beyond what a binary32 has, or a bound below zero.
    pub fn new(shift: i32, bound: i32) -> Result<Self, RowsFault> {
        if !(-149..=149).contains(&shift) {
            return Err(RowsFault::Shift { found: shift });
        }
        if bound < 0 {
            return Err(RowsFault::Bounds);
        }
        Ok(Self { shift, bound })
    }

    /// From the bits of the number: no floating point, so that no device rounds in its own way.
    fn apply(self, value: f32) -> i32 {
        let bits = value.to_bits();
        let (exponent, fraction) = (bits >> 23 & 0xff, bits & 0x7f_ffff);
        let bound = self.bound.unsigned_abs();
        let significand = if exponent == 0 { fraction } else { fraction | 0x80_0000 };
        let by = exponent.max(1) as i32 - 150 + self.shift;
        let size = match (exponent, by) {
            (255, _) if fraction != 0 => 0,
            (255, _) => bound,
            (_, 1..) if significand == 0 => 0,
            (_, 1..) if by >= significand.leading_zeros() as i32 => bound,
            (_, 1..) => significand << by,
            _ => significand.checked_shr(by.unsigned_abs()).unwrap_or(0),
        };
        let size = size.min(bound) as i32;
        if bits >> 31 == 1 { -size } else { size }
    }
}

/// Integers, one by one.
///
/// # Errors
/// More rows than a batch has.
pub fn integers(device: &Device, grid: Grid, values: &[i64]) -> Result<Ran<Vec<i64>>, RowsFault> {
    same_length(values.len(), values.len())?;
    let twin = || values.iter().map(|value| grid.apply(*value)).collect();
    Ok(device.batch(|gpu| integers_on(gpu, &SHADER, grid, values), twin))
}

/// Numbers of 32 bits, one by one.
///
/// # Errors
/// More rows than a batch has.
pub fn floats(
    device: &Device,
    grid: BinaryGrid,
    values: &[f32],
) -> Result<Ran<Vec<i32>>, RowsFault> {
    same_length(values.len(), values.len())?;
    let twin = || values.iter().map(|value| grid.apply(*value)).collect();
    Ok(device.batch(|gpu| floats_on(gpu, grid, values), twin))
}

pub(crate) fn integers_on(
    gpu: &Gpu,
    shader: &Shader,
    grid: Grid,
    values: &[i64],
) -> Result<Vec<i64>, Cause> {
    let mut encoded = Vec::with_capacity(values.len());
    for rows in values.chunks(ROWS_A_STEP) {
        let params = Params {
            lower: halves(grid.lower),
            upper: halves(grid.upper),
            grid: [grid.divisor],
            shift: [0],
            count: [rows.len() as u32],
        };
        let job = job(shader, "integers", &params, words_of(rows), rows.len());
        encoded.extend(joined(&gpu.run(&job)?));
    }
    Ok(encoded)
}

fn floats_on(gpu: &Gpu, grid: BinaryGrid, values: &[f32]) -> Result<Vec<i32>, Cause> {
    let mut encoded = Vec::with_capacity(values.len());
    for rows in values.chunks(ROWS_A_STEP) {
        let params = Params {
            lower: [0; 2],
            upper: [grid.bound as u32, 0],
            grid: [1],
            shift: [grid.shift as u32],
            count: [rows.len() as u32],
        };
        let job = job(&SHADER, "floats", &params, bytemuck::cast_slice(rows), rows.len());
        encoded.extend(gpu.run(&job)?.into_iter().map(|word| word as i32));
    }
    Ok(encoded)
}

/// As many words come out as went in.
fn job<'a>(
    shader: &'a Shader,
    entry: &'static str,
    params: &Params,
    words: &'a [u32],
    rows: usize,
) -> Job<'a> {
    let entries = vec![(entry, rows.div_ceil(LANES))];
    Job {
        shader,
        input_words: vec![words.len()],
        between_words: 0,
        output_words: words.len(),
        steps: vec![Step { params: params.words(), inputs: vec![words], entries }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(grid: Grid, value: i64) -> i64 {
        integers(&Device::cpu(), grid, &[value]).expect("a row").value[0]
    }

    #[test]
    fn integers_are_truncated_towards_zero_and_held_to_bounds() {
        let grid = Grid::new(10, -100, 200).expect("a grid");
        let cases = [(0, 0), (9, 0), (-9, 0), (19, 1), (-19, -1), (2_009, 200), (-1_001, -100)];
        for (value, expected) in cases {
            assert_eq!(one(grid, value), expected, "{value}");
        }
        assert_eq!((one(grid, i64::MAX), one(grid, i64::MIN)), (200, -100));
        let whole = Grid::new(1, i64::MIN, i64::MAX).expect("a grid");
        assert_eq!((one(whole, i64::MIN), one(whole, i64::MAX)), (i64::MIN, i64::MAX));
        assert_eq!(Grid::new(0, 0, 0), Err(RowsFault::Grid { found: 0 }));
        assert_eq!(Grid::new(1 << 31, 0, 0), Err(RowsFault::Grid { found: 1 << 31 }));
        assert_eq!(Grid::new(1, 1, 0), Err(RowsFault::Bounds));
    }

    /// Against arithmetic of 64 bits, which is exact here: 24 bits of significand, a power of two.
    #[test]
    fn floats_are_what_wider_arithmetic_says() {
        let words = super::super::chacha20::twin(&[7; 8], 0, [0; 3], 4_096);
        for shift in [-149, -40, -1, 0, 1, 7, 8, 16, 31, 32, 149] {
            for bound in [0, 1, 1_000, (1 << 24) + 1, i32::MAX] {
                let grid = BinaryGrid::new(shift, bound).expect("a grid");
                let near =
                    words.iter().map(|word| f32::from_bits(word & 0x8fff_ffff | 0x3000_0000));
                let any = words.iter().map(|word| f32::from_bits(*word));
                let by_hand = [0.0, -0.0, 1.0, -1.5, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 1e-45];
                for value in near.chain(any).chain(by_hand) {
                    let wide = f64::from(value) * 2_f64.powi(shift);
                    let (least, most) = (-f64::from(bound), f64::from(bound));
                    let expected =
                        if value.is_nan() { 0 } else { wide.trunc().clamp(least, most) as i32 };
                    assert_eq!(grid.apply(value), expected, "{value} by 2^{shift} to {bound}");
                }
                assert_eq!(grid.apply(f32::INFINITY), bound);
                assert_eq!(grid.apply(f32::NEG_INFINITY), -bound);
                assert_eq!(grid.apply(f32::NAN), 0);
            }
        }
        assert_eq!(BinaryGrid::new(150, 1), Err(RowsFault::Shift { found: 150 }));
        assert_eq!(BinaryGrid::new(0, -1), Err(RowsFault::Bounds));
    }
}
