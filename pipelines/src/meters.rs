//! What whoever runs a pipeline from inside can read of it: counts since it was made, over all its lives.
//! A shard adds to them once a transaction, when that is committed. Numbers, and names out of the release.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::plan::Plan;
use crate::turn::Turn;

/// Upper ends of the histogram's buckets, in milliseconds.
pub const LATENCY_MS: [i64; 13] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 3_600_000];
/// Rules that are counted apart; what is beyond them is counted together.
const RULES_MAX: usize = 64;
/// The rule of what is counted together.
const OTHER: &str = "other";

/// From the time of a record in the source to the commit of the transaction that took it in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many were in each bucket and not in the one before; the last has no end.
    buckets: [u64; LATENCY_MS.len() + 1],
    pub sum_ms: u64,
}

impl Latency {
    fn observe(&mut self, ms: i64) {
        let ms = ms.max(0);
        self.buckets[LATENCY_MS.partition_point(|end| *end < ms)] += 1;
        // Times of records are whatever their producers say.
        self.sum_ms = self.sum_ms.saturating_add(ms.unsigned_abs());
    }

    /// How many took at most as long as each end, and how many there are.
    pub fn up_to(&self) -> (Vec<(i64, u64)>, u64) {
        let mut sum = 0;
        let ends = LATENCY_MS.iter().zip(&self.buckets).map(|(end, count)| {
            sum += count;
            (*end, sum)
        });
        (ends.collect(), self.buckets.iter().sum())
    }
}

/// Of something that is done again and again: how often, how long in all, and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    pub count: u64,
    sum: Duration,
    pub max: Duration,
}

impl Took {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.sum += took;
        self.max = self.max.max(took);
    }

    pub fn mean(&self) -> Duration {
        self.sum.checked_div(u32::try_from(self.count).unwrap_or(u32::MAX)).unwrap_or_default()
    }
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that committed transactions took in, and bytes of their keys, values and headers. One that is
    /// taken out again, because its partition is held, is read again, and counts again.
    pub records_read: u64,
    pub bytes_read: u64,
    /// Records that crossed, and bytes of their keys and values.
    pub records_written: u64,
    pub bytes_written: u64,
    /// Records that were set aside.
    pub set_aside: u64,
    /// Records of the largest transaction, as they were read.
    pub rows_max: u64,
    /// Transactions, from the first stage to the commit.
    pub transactions: Took,
    /// Their commits alone, and those that failed.
    pub commits: Took,
    pub commits_failed: u64,
    /// Writes to the quarantine that failed.
    pub aside_failed: u64,
    /// When something failed or was set aside last, in milliseconds since the epoch.
    pub last_error_ms: Option<i64>,
}

/// Cells that went through a stage under a rule of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells {
    pub stage: &'static str,
    pub rule: String,
    pub cells: u64,
}

/// How many columns of rows and of keys a stage makes under a rule.
pub struct Protected {
    stage: &'static str,
    rule: String,
    columns: u64,
    keys: u64,
}

impl Protected {
    /// Of a plan, each pair of stage and rule once.
    pub fn of(plan: &Plan) -> Vec<Self> {
        let mut counts: BTreeMap<(&'static str, &str), (u64, u64)> = BTreeMap::new();
        for (columns, is_key) in [(&plan.columns, false), (&plan.keys, true)] {
            for column in columns {
                let Some(protection) = &column.protection else { continue };
                let count = counts.entry((protection.stage.verb(), &column.rule)).or_default();
                count.0 += u64::from(!is_key);
                count.1 += u64::from(is_key);
            }
        }
        let of = |((stage, rule), (columns, keys)): ((&'static str, &str), (u64, u64))| Self {
            stage,
            rule: rule.to_owned(),
            columns,
            keys,
        };
        counts.into_iter().map(of).collect()
    }
}

/// A transaction that is committed.
pub struct Crossed<'a> {
    pub turn: &'a Turn,
    pub protected: &'a [Protected],
    /// Rows with columns, and rows with keys.
    pub rows: (u64, u64),
    pub records: u64,
    pub bytes: u64,
    pub set_aside: u64,
    pub took: Duration,
    pub commit_took: Duration,
    pub now_ms: i64,
}

/// All of one pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By the number of the shard; one that has counted nothing may be missing.
    pub shards: Vec<Tally>,
    pub latency: Latency,
    /// Records that were set aside, by the code of what refused them.
    pub refused: BTreeMap<&'static str, u64>,
    pub cells: Vec<Cells>,
    /// How long a GPU was used, by all shards together.
    pub gpu: Duration,
}

impl Counts {
    pub fn shard(&self, number: u32) -> Tally {
        self.shards.get(number as usize).cloned().unwrap_or_default()
    }

    fn shard_mut(&mut self, number: u32) -> &mut Tally {
        let at = number as usize;
        if self.shards.len() <= at {
            self.shards.resize(at + 1, Tally::default());
        }
        &mut self.shards[at]
    }

    fn cells_mut(&mut self, stage: &'static str, rule: &str) -> &mut Cells {
        let found = self.find_cells(stage, rule);
        let rule = if found.is_none() && self.cells.len() >= RULES_MAX { OTHER } else { rule };
        let at = found.or_else(|| self.find_cells(stage, rule)).unwrap_or_else(|| {
            self.cells.push(Cells { stage, rule: rule.to_owned(), cells: 0 });
            self.cells.len() - 1
        });
        &mut self.cells[at]
    }

    fn find_cells(&self, stage: &str, rule: &str) -> Option<usize> {
        self.cells.iter().position(|cells| cells.stage == stage && cells.rule == rule)
    }
}

/// Shared by all shards of a pipeline.
#[derive(Debug, Default)]
pub struct Meters(Mutex<Counts>);

impl Meters {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    pub fn crossed(&self, shard: u32, crossed: &Crossed<'_>) {
        let Crossed { turn, protected, rows, records, bytes, set_aside, now_ms, .. } = crossed;
        let mut counts = self.lock();
        let tally = counts.shard_mut(shard);
        tally.records_read += turn.len() as u64;
        tally.bytes_read += turn.payload();
        tally.records_written += records;
        tally.bytes_written += bytes;
        tally.set_aside += set_aside;
        tally.rows_max = tally.rows_max.max(turn.len() as u64);
        tally.transactions.add(crossed.took);
        tally.commits.add(crossed.commit_took);
        if *set_aside > 0 {
            tally.last_error_ms = Some(*now_ms);
        }
        turn.made_at_ms().for_each(|at_ms| counts.latency.observe(now_ms.saturating_sub(at_ms)));
        for refused in turn.refused() {
            *counts.refused.entry(refused.code).or_default() += 1;
        }
        for Protected { stage, rule, columns, keys } in *protected {
            counts.cells_mut(stage, rule).cells += columns * rows.0 + keys * rows.1;
        }
    }

    /// A window of statistics is outside. What it was made of is nobody's to see.
    pub fn closed(&self, shard: u32, records: u64, took: Duration) {
        let mut counts = self.lock();
        let tally = counts.shard_mut(shard);
        tally.records_written += records;
        tally.transactions.add(took);
        tally.commits.add(took);
    }

    /// Noise was drawn, for so long on a GPU.
    pub fn drawn(&self, gpu: Duration) {
        self.lock().gpu += gpu;
    }

    pub fn commit_failed(&self, shard: u32, now_ms: i64) {
        let mut counts = self.lock();
        let tally = counts.shard_mut(shard);
        tally.commits_failed += 1;
        tally.last_error_ms = Some(now_ms);
    }

    pub fn aside_failed(&self, shard: u32, now_ms: i64) {
        let mut counts = self.lock();
        let tally = counts.shard_mut(shard);
        tally.aside_failed += 1;
        tally.last_error_ms = Some(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use douane_gate::RefusedBy;
    use douane_schemas::record::RawRecord;

    use super::*;
    use crate::turn::Refused;

    fn record(offset: i64, timestamp_ms: i64) -> RawRecord<'static> {
        RawRecord {
            topic: 0,
            partition: 0,
            offset,
            timestamp_ms,
            key: Some(b"key"),
            value: Some(b"value"),
            headers: &[("h", Some(b"x"))],
        }
    }

    #[test]
    fn times_that_producers_made_up_end_no_shard() {
        let mut latency = Latency::default();
        for ms in [i64::MAX, i64::MAX, i64::MAX, i64::MIN] {
            latency.observe(ms);
        }
        assert_eq!((latency.sum_ms, latency.up_to().1), (u64::MAX, 4));
    }

    #[test]
    fn a_transaction_counts_once_with_what_it_took_in() {
        let mut turn = Turn::default();
        // The fourth has no time, and the last was taken out again.
        for (offset, at_ms) in [(0, 990), (1, 0), (2, 1_500), (3, -1), (4, 0)] {
            turn.take(&record(offset, at_ms), offset);
        }
        for offset in [1, 4] {
            let (by, code) = (RefusedBy::Stage, "unreadable");
            turn.refuse(Refused { source: (0, 0), offset, by, code });
        }
        turn.cut((0, 0), 4);
        let protected = |rule: &str, columns, keys| Protected {
            stage: "mask",
            rule: rule.to_owned(),
            columns,
            keys,
        };
        let protected = [protected("identifier: mask", 2, 0), protected("override `x`", 1, 1)];
        let crossed = Crossed {
            turn: &turn,
            protected: &protected,
            rows: (3, 4),
            records: 3,
            bytes: 40,
            set_aside: 1,
            took: Duration::from_millis(4),
            commit_took: Duration::from_millis(2),
            now_ms: 1_000,
        };
        let meters = Meters::default();
        meters.crossed(1, &crossed);
        meters.crossed(1, &Crossed { took: Duration::from_millis(8), set_aside: 0, ..crossed });
        let counts = meters.counts();
        assert_eq!(counts.shard(0), Tally::default());
        let tally = counts.shard(1);
        assert_eq!((tally.records_read, tally.bytes_read), (10, 100));
        assert_eq!((tally.records_written, tally.bytes_written, tally.set_aside), (6, 80, 1));
        assert_eq!((tally.rows_max, tally.last_error_ms), (5, Some(1_000)));
        assert_eq!(tally.transactions.mean(), Duration::from_millis(6));
        assert_eq!(tally.transactions.max, Duration::from_millis(8));
        assert_eq!(counts.refused, BTreeMap::from([("unreadable", 2)]));
        let cells: Vec<_> = counts.cells.iter().map(|c| (c.rule.as_str(), c.cells)).collect();
        assert_eq!(cells, [("identifier: mask", 12), ("override `x`", 14)]);
        // 10 ms, 1,000 ms, and one that is dated ahead of the clock; each twice.
        let (up_to, count) = counts.latency.up_to();
        assert_eq!((count, counts.latency.sum_ms), (6, 2_020));
        assert_eq!((up_to[0], up_to[3], up_to[4]), ((50, 4), (500, 4), (1_000, 6)));
    }

    #[test]
    fn however_many_rules_there_are_the_labels_are_few() {
        let mut counts = Counts::default();
        for rule in 0..1_000 {
            counts.cells_mut("mask", &format!("override `{rule}`")).cells += 1;
        }
        assert_eq!(counts.cells.len(), RULES_MAX + 1);
        let other = counts.cells.last().unwrap();
        assert_eq!((other.rule.as_str(), other.cells), (OTHER, 936));
        assert_eq!(counts.cells_mut("mask", "override `3`").cells, 1);
    }
}
