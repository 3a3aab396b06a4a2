//! Vectors of integers, clipped to an integer L2 norm, and summed.
//!
//! A vector whose norm, rounded up to `n`, is above `C` becomes `sign(v) * floor(|v| * C / n)`. Rounding
//! goes towards zero everywhere, so that no clipped vector is longer than `C`: the sum's sensitivity
//! is `C`, without a term for rounding.

use crate::device::{Cause, Device, Gpu, Job, LANES, Ran, Shader, Step, joined, params};
use crate::rows::{DIMENSIONS_MAX, ROWS_A_STEP, RowsFault, same_length};

params!(Params { rows: 1, dimensions: 1, norm_max: 1 });

pub(crate) const SHADER: Shader =
    Shader { name: "clip", sources: &[include_str!("kernel.wgsl")], has_between: true };

/// Vectors a step: each is a workgroup, and there are fewer than 2^16 of those.
const VECTORS_A_STEP: usize = 1 << 15;
/// Vectors that a lane adds up, as the shader has it.
const ROWS_A_BLOCK: usize = 512;

/// The sum of the clipped vectors, which lie one after the other.
///
/// # Errors
/// The numbers are not whole vectors of 1 to 2^20 dimensions, or more than a batch has.
pub fn run(
    device: &Device,
    vectors: &[i32],
    dimensions: usize,
    norm_max: u32,
) -> Result<Ran<Vec<i64>>, RowsFault> {
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        return Err(RowsFault::Dimensions { found: dimensions });
    }
    same_length(vectors.len() / dimensions * dimensions, vectors.len())?;
    let twin = || twin(vectors, dimensions, norm_max);
    Ok(device.batch(|gpu| on(gpu, &SHADER, vectors, dimensions, norm_max), twin))
}

fn twin(vectors: &[i32], dimensions: usize, norm_max: u32) -> Vec<i64> {
    let mut sums = vec![0_i64; dimensions];
    for vector in vectors.chunks_exact(dimensions) {
        for (sum, value) in sums.iter_mut().zip(clipped(vector, norm_max)) {
            *sum += value;
        }
    }
    sums
}

/// One vector, clipped: what the shader does to each.
pub fn clipped(vector: &[i32], norm_max: u32) -> impl Iterator<Item = i64> + '_ {
    let square = |value: &i32| u128::from(value.unsigned_abs()).pow(2);
    let squares: u128 = vector.iter().map(square).sum();
    let root = squares.isqrt();
    // Below 2^43: 2^20 squares of 62 bits, and of several groups' vectors in one 2^22.
    let norm = (root + u128::from(root * root < squares)) as u64;
    let bound = u64::from(norm_max);
    vector.iter().map(move |value| {
        let size = u64::from(value.unsigned_abs());
        let size = if norm > bound { size * bound / norm } else { size } as i64;
        if *value < 0 { -size } else { size }
    })
}

pub(crate) fn on(
    gpu: &Gpu,
    shader: &Shader,
    vectors: &[i32],
    dimensions: usize,
    norm_max: u32,
) -> Result<Vec<i64>, Cause> {
    let rows_a_step = (ROWS_A_STEP / dimensions).clamp(1, VECTORS_A_STEP);
    let steps = vectors.chunks(rows_a_step * dimensions).map(|vectors| {
        let rows = vectors.len() / dimensions;
        let dimensions_32 = [dimensions as u32];
        let params =
            Params { rows: [rows as u32], dimensions: dimensions_32, norm_max: [norm_max] };
        Step {
            params: params.words(),
            inputs: vec![bytemuck::cast_slice(vectors)],
            entries: vec![
                ("norm", rows),
                ("add", dimensions.div_ceil(LANES) * rows.div_ceil(ROWS_A_BLOCK)),
            ],
        }
    });
    let rows = (vectors.len() / dimensions).min(rows_a_step);
    gpu.run(&Job {
        shader,
        input_words: vec![rows * dimensions],
        between_words: 2 * rows,
        output_words: 2 * dimensions,
        steps: steps.collect(),
    })
    .map(|words| joined(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_clipped_only_where_it_is_too_long() {
        let sum = |vectors: &[i32], dimensions, norm_max| {
            run(&Device::cpu(), vectors, dimensions, norm_max).map(|ran| ran.value)
        };
        assert_eq!(sum(&[3, -4], 2, 5), Ok(vec![3, -4]));
        assert_eq!(sum(&[3, -4], 2, 4), Ok(vec![2, -3]));
        assert_eq!(sum(&[3, -4, 1, 1], 2, 4), Ok(vec![3, -2]));
        // The norm of (1, 1) is rounded up to 2.
        assert_eq!(sum(&[1, 1], 2, 1), Ok(vec![0, 0]));
        assert_eq!(sum(&[i32::MIN], 1, u32::MAX), Ok(vec![i64::from(i32::MIN)]));
        assert_eq!(sum(&[i32::MIN], 1, 7), Ok(vec![-7]));
        assert_eq!(sum(&[1, 2, 3], 3, 0), Ok(vec![0, 0, 0]));
        assert_eq!(sum(&[], 3, 1), Ok(vec![0, 0, 0]));
        assert_eq!(sum(&[1, 2, 3], 2, 1), Err(RowsFault::Lengths { expected: 2, found: 3 }));
        assert_eq!(sum(&[], 0, 1), Err(RowsFault::Dimensions { found: 0 }));
    }

    #[test]
    fn no_clipped_vector_is_longer_than_the_bound() {
        let words = crate::chacha20::twin(&[3; 8], 0, [0; 3], 4_096);
        let long = |vector: &[i64]| vector.iter().map(|v| i128::from(*v).pow(2)).sum::<i128>();
        let mut reached = 0;
        for (at, vector) in words.chunks_exact(16).enumerate() {
            let vector: Vec<i32> = vector.iter().map(|word| *word as i32 >> (at % 31)).collect();
            for norm_max in [0_u32, 1, 77, 1 << 20, u32::MAX] {
                let clipped: Vec<i64> = clipped(&vector, norm_max).collect();
                assert!(long(&clipped) <= i128::from(norm_max).pow(2));
                let whole: Vec<i64> = vector.iter().map(|v| i64::from(*v)).collect();
                match long(&whole) <= i128::from(norm_max).pow(2) {
                    true => assert_eq!(clipped, whole),
                    // Nothing is lost but the rounding: 16 dimensions, each by less than one, and
                    // the norm by less than one in n.
                    false => {
                        reached += i32::from(long(&clipped) > i128::from(norm_max).pow(2) * 8 / 10)
                    }
                }
            }
        }
        assert!(reached > 1_000, "{reached}");
    }
}
