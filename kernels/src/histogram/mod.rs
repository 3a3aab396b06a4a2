//! Rows by segment and bin: n edges make n + 1 bins, and a value lies in the bin whose number is how
//! many edges are not above it. The first and the last bin have no end.

use crate::device::{Cause, Device, Gpu, Job, LANES, Ran, Shader, Step, params, words_of};
use crate::rows::{EDGES_MAX, ROWS_A_STEP, RowsFault, same_length, sums_at_most};

params!(Params { count: 1, groups: 1, edges: 1 });

pub(crate) const SHADER: Shader =
    Shader { name: "histogram", sources: &[include_str!("kernel.wgsl")], has_between: false };

/// The counts, group by group, bin by bin. A row of a segment from `groups` on is not counted.
///
/// # Errors
/// Lengths differ, edges do not ascend, or there are more rows or bins than a batch has.
pub fn run(
    device: &Device,
    segments: &[u32],
    values: &[i64],
    edges: &[i64],
    groups: usize,
) -> Result<Ran<Vec<i64>>, RowsFault> {
    same_length(segments.len(), values.len())?;
    if edges.len() > EDGES_MAX || !edges.is_sorted_by(|a, b| a < b) {
        return Err(RowsFault::Edges { found: edges.len() });
    }
    sums_at_most(groups.saturating_mul(edges.len() + 1))?;
    let twin = || twin(segments, values, edges, groups);
    let ran = device.batch(|gpu| on(gpu, &SHADER, segments, values, edges, groups), twin);
    Ok(ran.map(|counts| counts.into_iter().map(i64::from).collect()))
}

fn twin(segments: &[u32], values: &[i64], edges: &[i64], groups: usize) -> Vec<u32> {
    let bins = edges.len() + 1;
    let mut counts = vec![0_u32; groups * bins];
    for (segment, value) in segments.iter().zip(values) {
        if (*segment as usize) < groups {
            let bin = edges.partition_point(|edge| edge <= value);
            counts[*segment as usize * bins + bin] += 1;
        }
    }
    counts
}

pub(crate) fn on(
    gpu: &Gpu,
    shader: &Shader,
    segments: &[u32],
    values: &[i64],
    edges: &[i64],
    groups: usize,
) -> Result<Vec<u32>, Cause> {
    let rows = segments.chunks(ROWS_A_STEP).zip(values.chunks(ROWS_A_STEP));
    let steps = rows.map(|(segments, values)| {
        let count = [segments.len() as u32];
        let params = Params { count, groups: [groups as u32], edges: [edges.len() as u32] };
        Step {
            params: params.words(),
            inputs: vec![segments, words_of(values), words_of(edges)],
            entries: vec![("histogram", segments.len().div_ceil(LANES))],
        }
    });
    let most = segments.len().min(ROWS_A_STEP);
    gpu.run(&Job {
        shader,
        input_words: vec![most, 2 * most, 2 * edges.len()],
        between_words: 0,
        output_words: groups * (edges.len() + 1),
        steps: steps.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_an_edge_lies_above_it() {
        let counts = |values: &[i64], edges: &[i64]| {
            run(&Device::cpu(), &vec![0; values.len()], values, edges, 1).map(|ran| ran.value)
        };
        let values = [i64::MIN, -1, 0, 9, 10, 11, i64::MAX];
        assert_eq!(counts(&values, &[0, 10]), Ok(vec![2, 2, 3]));
        assert_eq!(counts(&values, &[]), Ok(vec![7]));
        assert_eq!(counts(&values, &[i64::MIN, i64::MAX]), Ok(vec![0, 6, 1]));
        assert_eq!(counts(&values, &[1, 1]), Err(RowsFault::Edges { found: 2 }));
        assert_eq!(counts(&values, &[2, 1]), Err(RowsFault::Edges { found: 2 }));
        let two = run(&Device::cpu(), &[1, 0, 2, 1], &[5, 5, 5, -5], &[0], 2).expect("rows");
        assert_eq!(two.value, [0, 1, 1, 1]);
    }
}
