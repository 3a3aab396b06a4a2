//! What rows a kernel takes: limits, and slices of one length.

/// Why a kernel does not begin. Numbers of rows and groups, never a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsFault {
    #[error("{found} rows beside {expected}: give one of each")]
    Lengths { expected: usize, found: usize },
    #[error("{found} rows in one batch: at most {ROWS_MAX}, give several")]
    Rows { found: usize },
    #[error("{found} sums in one batch: at most {SUMS_MAX}, give ranges of groups")]
    Sums { found: usize },
    #[error("a grid of {found}: from 1 to 2^31 - 1")]
    Grid { found: u32 },
    #[error("a shift of {found}: from -149 to 149")]
    Shift { found: i32 },
    #[error("the lower bound is above the upper one")]
    Bounds,
    #[error("{found} edges: at most {EDGES_MAX}, each above the one before")]
    Edges { found: usize },
    #[error("{found} dimensions: from 1 to {DIMENSIONS_MAX}")]
    Dimensions { found: usize },
}

/// Rows of a batch. A count of rows is then never out of its word.
pub const ROWS_MAX: usize = 1 << 31;
/// Sums of a batch: what a small device binds at once holds 2^24 numbers of 64 bits.
pub const SUMS_MAX: usize = 1 << 24;
/// Edges of a histogram.
pub const EDGES_MAX: usize = 1 << 16;
/// Dimensions of a vector.
pub const DIMENSIONS_MAX: usize = 1 << 20;

/// Rows a step: 64 MiB of numbers of 64 bits, half of what a small device binds at once.
pub(crate) const ROWS_A_STEP: usize = 1 << 23;

pub(crate) fn same_length(expected: usize, found: usize) -> Result<(), RowsFault> {
    if found != expected {
        return Err(RowsFault::Lengths { expected, found });
    }
    if found > ROWS_MAX {
        return Err(RowsFault::Rows { found });
    }
    Ok(())
}

pub(crate) fn sums_at_most(found: usize) -> Result<(), RowsFault> {
    if found > SUMS_MAX { Err(RowsFault::Sums { found }) } else { Ok(()) }
}
