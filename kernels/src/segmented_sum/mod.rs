//! Sums by segment, exact modulo 2^64. Addition there is associative and commutative, so no order of
//! rows, threads or batches shows; that no sum leaves 64 bits is for whoever bounds rows and values.

use crate::device::{Cause, Device, Gpu, Job, LANES, Ran, Shader, Step, joined, params, words_of};
use crate::rows::{ROWS_A_STEP, RowsFault, same_length, sums_at_most};

params!(Params { count: 1, groups: 1 });

pub(crate) const SHADER: Shader =
    Shader { name: "segmented_sum", sources: &[include_str!("kernel.wgsl")], has_between: false };

/// Rows of one lane, as the shader has it.
const ROWS_A_LANE: usize = 8;

/// The sum of each of `groups` segments. A row of another segment is not counted.
///
/// # Errors
/// Segments and values differ in length, or there are more rows or groups than a batch has.
pub fn run(
    device: &Device,
    segments: &[u32],
    values: &[i64],
    groups: usize,
) -> Result<Ran<Vec<i64>>, RowsFault> {
    same_length(segments.len(), values.len())?;
    sums_at_most(groups)?;
    let twin = || twin(segments, values, groups);
    Ok(device.batch(|gpu| on(gpu, &SHADER, segments, values, groups), twin))
}

pub(crate) fn twin(segments: &[u32], values: &[i64], groups: usize) -> Vec<i64> {
    let mut sums = vec![0_i64; groups];
    for (segment, value) in segments.iter().zip(values) {
        if let Some(sum) = sums.get_mut(*segment as usize) {
            *sum = sum.wrapping_add(*value);
        }
    }
    sums
}

pub(crate) fn on(
    gpu: &Gpu,
    shader: &Shader,
    segments: &[u32],
    values: &[i64],
    groups: usize,
) -> Result<Vec<i64>, Cause> {
    gpu.run(&job(shader, segments, values, groups, 1)).map(|words| joined(&words))
}

/// What [`run`] does, `rounds` times over rows that lie on the device already: for a measurement of
/// the kernel without the way there. The sums are `rounds` times as large.
///
/// # Errors
/// As [`run`].
pub fn repeated(
    device: &Device,
    segments: &[u32],
    values: &[i64],
    groups: usize,
    rounds: usize,
) -> Result<Ran<Vec<i64>>, RowsFault> {
    same_length(segments.len(), values.len())?;
    sums_at_most(groups)?;
    let job = job(&SHADER, segments, values, groups, rounds);
    let sum = || twin(segments, values, groups);
    let times = |sum: i64| sum.wrapping_mul(rounds as i64);
    let twin = || sum().into_iter().map(times).collect();
    Ok(device.batch(|gpu| gpu.run(&job).map(|words| joined(&words)), twin))
}

fn job<'a>(
    shader: &'a Shader,
    segments: &'a [u32],
    values: &'a [i64],
    groups: usize,
    rounds: usize,
) -> Job<'a> {
    let rows = segments.chunks(ROWS_A_STEP).zip(values.chunks(ROWS_A_STEP));
    let steps = rows.map(|(segments, values)| Step {
        params: Params { count: [segments.len() as u32], groups: [groups as u32] }.words(),
        inputs: vec![segments, words_of(values)],
        entries: vec![("segmented_sum", segments.len().div_ceil(LANES * ROWS_A_LANE)); rounds],
    });
    let most = segments.len().min(ROWS_A_STEP);
    Job {
        shader,
        input_words: vec![most, 2 * most],
        between_words: 0,
        output_words: 2 * groups,
        steps: steps.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed_by_segment_modulo_2_to_the_64() {
        let segments = [2, 0, 2, 3, u32::MAX, 0];
        let values = [i64::MAX, -5, 1, 100, 100, 7];
        let sums = run(&Device::cpu(), &segments, &values, 3).expect("rows");
        assert_eq!(sums.value, [2, 0, i64::MIN]);
        let thrice = repeated(&Device::cpu(), &segments, &values, 3, 3).expect("rows");
        assert_eq!(thrice.value, [6, 0, i64::MIN]);
        assert!(run(&Device::cpu(), &[], &[], 0).expect("rows").value.is_empty());
        let short = run(&Device::cpu(), &[0], &[], 1).err();
        assert_eq!(short, Some(RowsFault::Lengths { expected: 1, found: 0 }));
        let many = run(&Device::cpu(), &[], &[], (1 << 24) + 1).err();
        assert_eq!(many, Some(RowsFault::Sums { found: (1 << 24) + 1 }));
    }
}
