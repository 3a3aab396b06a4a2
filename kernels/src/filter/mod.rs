//! Bounded rows: of a unit's rows in a group the first `rows_max` stay, of its groups the first
//! `groups_max`, by ranks that hang on that unit alone. A row that does not stay has no segment, and
//! nothing sums it.

use crate::device::{Cause, Device, Gpu, Job, LANES, Ran, Shader, Step, params};
use crate::rows::{ROWS_A_STEP, RowsFault, same_length};

/// The segment of a row that is not counted.
pub const NONE: u32 = u32::MAX;

params!(Params { rows_max: 1, groups_max: 1, count: 1 });

pub(crate) const SHADER: Shader =
    Shader { name: "filter", sources: &[include_str!("kernel.wgsl")], has_between: false };

/// What a unit may contribute: `c` rows a group, `L0` groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub rows_max: u32,
    pub groups_max: u32,
}

/// The segments of rows that stay, ranks counted from zero; [`NONE`] for the others.
///
/// # Errors
/// The three differ in length, or are more than a batch has.
pub fn run(
    device: &Device,
    bounds: Bounds,
    segments: &[u32],
    row_ranks: &[u32],
    group_ranks: &[u32],
) -> Result<Ran<Vec<u32>>, RowsFault> {
    same_length(segments.len(), row_ranks.len())?;
    same_length(segments.len(), group_ranks.len())?;
    let rows = [segments, row_ranks, group_ranks];
    Ok(device.batch(|gpu| on(gpu, &SHADER, bounds, rows), || twin(bounds, rows)))
}

fn twin(bounds: Bounds, [segments, row_ranks, group_ranks]: [&[u32]; 3]) -> Vec<u32> {
    let ranks = row_ranks.iter().zip(group_ranks);
    let kept = |(segment, (row, group)): (&u32, (&u32, &u32))| {
        let stays = *row < bounds.rows_max && *group < bounds.groups_max;
        if stays { *segment } else { NONE }
    };
    segments.iter().zip(ranks).map(kept).collect()
}

pub(crate) fn on(
    gpu: &Gpu,
    shader: &Shader,
    bounds: Bounds,
    rows: [&[u32]; 3],
) -> Result<Vec<u32>, Cause> {
    let mut kept = Vec::with_capacity(rows[0].len());
    while kept.len() < rows[0].len() {
        let from = kept.len();
        let count = (rows[0].len() - from).min(ROWS_A_STEP);
        let params = Params {
            rows_max: [bounds.rows_max],
            groups_max: [bounds.groups_max],
            count: [count as u32],
        };
        let inputs = rows.iter().map(|words| &words[from..from + count]).collect();
        let entries = vec![("filter_rows", count.div_ceil(LANES))];
        kept.extend(gpu.run(&Job {
            shader,
            input_words: vec![count; 3],
            between_words: 0,
            output_words: count,
            steps: vec![Step { params: params.words(), inputs, entries }],
        })?);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_below_both_bounds_stay() {
        let bounds = Bounds { rows_max: 2, groups_max: 3 };
        let kept = run(
            &Device::cpu(),
            bounds,
            &[5, 6, 7, 8, 9],
            &[0, 1, 2, 0, u32::MAX],
            &[0, 2, 0, 3, u32::MAX],
        );
        assert_eq!(kept.expect("rows").value, [5, 6, NONE, NONE, NONE]);
        let none = Bounds { rows_max: 0, groups_max: 3 };
        assert_eq!(run(&Device::cpu(), none, &[1], &[0], &[0]).expect("rows").value, [NONE]);
        let short = run(&Device::cpu(), bounds, &[1, 2], &[0], &[0, 0]);
        assert_eq!(short.err(), Some(RowsFault::Lengths { expected: 2, found: 1 }));
    }
}
