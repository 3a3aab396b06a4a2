//! Statistics with differential privacy, from the source to the target.
//!
//! One thread and one loop, apart from every row-wise crossing: it reads with its own positions,
//! folds what it reads into the store of open windows, and closes a window at its public instant.
//!
//! | step | what is true if the process dies after it |
//! |---|---|
//! | 1. records into the store, with the position they are of, in one transaction | they count once |
//! | 2. at the instant: where the window ends in each partition, into the store | the same end |
//! | 3. read to there; the sums of the window | nothing happened |
//! | 4. RESERVE in the account, fsync | charged; the same sums, the same noise |
//! | 5. noise; the gate; COMPUTED in the account, fsync | the same bytes |
//! | 6. INTENT in the log; one transaction: the statistics, the manifest, the position | visible with its position, or not at all |
//! | 7. COMMITTED in the account and in the log | – |
//! | 8. the window's rows leave the store | the next life lets them leave |
//!
//! Recovery is the start of any life: what the target's position says is outside, is.

pub mod allowed;
mod close;
pub(crate) mod drawing;
mod fold;
pub(crate) mod keys;
pub(crate) mod store;
mod sums;
pub(crate) mod trial;
mod vector;
pub mod windows;
mod worker;

pub use worker::Worker;

use std::path::PathBuf;

use crate::config::{Pipeline, Place};
use crate::fault::RunFault;

/// Where the accounts lie in the ledger's directory, one log an identity space. No pipeline has such
/// a name.
pub const ACCOUNTS: &str = "_accounts";

/// The accounts' part of the ledger's directory.
pub fn accounts(place: &Place) -> PathBuf {
    place.ledger_dir.join(ACCOUNTS)
}

/// Where a pipeline's open windows lie.
pub fn store_path(place: &Place, pipeline: &Pipeline) -> PathBuf {
    place.state.dir.join(format!("{}.redb", pipeline.name))
}

/// The place as a pipeline of statistics, or of rows in groups, runs in it: by one shard, whatever
/// others have.
pub fn place_of(place: &Place, pipeline: &Pipeline) -> Place {
    let mut place = place.clone();
    if pipeline.is_one_shard() {
        place.tasks = 1;
    }
    place
}

/// What is for rows refuses a pipeline of statistics in words.
pub fn of_rows(pipeline: &Pipeline, what: &str) -> Result<(), RunFault> {
    match pipeline.aggregate {
        None => Ok(()),
        Some(_) => Err(RunFault::Window(format!(
            "{}: {what} is for rows, and this pipeline lets statistics cross\n  next: `douane test` \
             shows its sums before noise, of rows that are invented",
            pipeline.file.display()
        ))),
    }
}

/// What looks at single records refuses a pipeline whose rows cross in groups in words.
pub fn of_single_rows(pipeline: &Pipeline, what: &str) -> Result<(), RunFault> {
    of_rows(pipeline, what)?;
    match pipeline.min_group {
        None => Ok(()),
        Some(_) => Err(RunFault::Window(format!(
            "{}: {what} takes records out of the window that they were counted in, and this pipeline \
             has `min_group`\n  next: mend the rows at their source: their next change is counted \
             with its window",
            pipeline.file.display()
        ))),
    }
}
