//! What the ledger says became of the events: counts, out of the intents that are in the target.

use std::collections::BTreeMap;
use std::path::Path;

use douane_ledger::log::{self, Entry, Intent, LedgerFault};

/// Sums over the logs of all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub transactions: u64,
    /// Source records that the transactions' spans cover.
    pub read: u64,
    pub crossed: u64,
    pub merged: u64,
    pub quarantined: u64,
    /// Partition and offset of each HELD.
    pub held: Vec<(i32, i64)>,
    /// Partition, offset and release of each RESUMED.
    pub resumed: Vec<(i32, i64, String)>,
    /// Digests of the releases that transactions crossed under, in order.
    pub releases: Vec<String>,
}

impl Account {
    /// Reads the logs of a pipeline's shards.
    pub fn of(home: &Path, logs: &[String]) -> Result<Self, LedgerFault> {
        let mut account = Self::default();
        for name in logs {
            let entries = log::read(home, name, None)?;
            account.take(entries.into_iter());
        }
        Ok(account)
    }

    fn take(&mut self, entries: impl Iterator<Item = (u64, Entry)>) {
        let mut intents: BTreeMap<u64, (Intent, u64)> = BTreeMap::new();
        let mut refused_before = 0;
        for (at, entry) in entries {
            match entry {
                Entry::Intent(intent) => {
                    intents.insert(at, (intent, std::mem::take(&mut refused_before)));
                }
                Entry::Refused { refused } => refused_before += refused.len() as u64,
                Entry::Committed { of } => {
                    if let Some((intent, refused_before)) = intents.remove(&of) {
                        self.count(&intent, refused_before);
                    }
                }
                Entry::Held { partition, offset, .. } => self.held.push((partition, offset)),
                Entry::Resumed { partition, offset, release, .. } => {
                    self.resumed.push((partition, offset, release));
                }
                _ => {}
            }
        }
    }

    fn count(&mut self, intent: &Intent, refused_before: u64) {
        self.transactions += 1;
        let lengths = intent.spans.iter().map(|span| (span.end - span.start).max(0) as u64);
        self.read += lengths.sum::<u64>();
        self.crossed += intent.records;
        self.merged += intent.merged;
        self.quarantined += intent.refused.len() as u64 + refused_before;
        if !self.releases.contains(&intent.release) {
            self.releases.push(intent.release.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use douane_ledger::log::{RefusedEntry, SpanEntry};

    use super::*;

    #[test]
    fn only_committed_intents_count() {
        let refused = |n: i64| {
            let each = |offset| RefusedEntry {
                topic: "t".into(),
                partition: 0,
                offset,
                code: "code".into(),
            };
            (0..n).map(each).collect::<Vec<_>>()
        };
        let intent = |records: u64, n: i64| {
            let span = SpanEntry { topic: "t".into(), partition: 0, start: 10, end: 20 };
            let (spans, refused) = (vec![span], refused(n));
            let release = "r".to_owned();
            Entry::Intent(Intent {
                records,
                merged: 1,
                spans,
                refused,
                release,
                ..Intent::default()
            })
        };
        let log = [
            intent(7, 2),
            Entry::Committed { of: 0 },
            intent(100, 3),
            Entry::Void { of: 2, why: "x".into() },
            Entry::Refused { refused: refused(4) },
            intent(5, 0),
            Entry::Committed { of: 5 },
            intent(100, 0),
        ];
        let mut account = Account::default();
        account.take((0..).zip(log));
        assert_eq!((account.transactions, account.read, account.crossed), (2, 20, 12));
        assert_eq!((account.merged, account.quarantined), (2, 6));
        assert_eq!(account.releases, ["r"]);
    }
}
