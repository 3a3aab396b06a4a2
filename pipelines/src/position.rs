//! What the target remembers of the source: the position record of each shard and the layout
//! record, both sealed. They are the only truth about what has crossed.
//!
//! Partition 0 of the position topic holds the layout, partition n + 1 the position of shard n:
//! one partition a transactional id, for a dead holder of another id blocks the last stable
//! offset of a partition that they share.

use douane_ledger::log::Head;
use serde::{Deserialize, Serialize};

/// Version of both records' content.
pub const VERSION: u32 = 1;

/// Key of the layout record.
pub const LAYOUT_KEY: &str = "layout";

/// Partition of the position topic that holds the layout.
pub const LAYOUT_PARTITION: i32 = 0;

/// Shard number under which the layout record is sealed; no shard has it.
pub const LAYOUT_SHARD: u32 = u32::MAX;

/// One source partition's place: the next offset that has not crossed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Index into the pipeline's list of source topics.
    pub topic: u32,
    pub partition: i32,
    pub next: i64,
    /// Digest of the output key of the partition's last record that crossed, if that was a
    /// delete: its tombstone, when it comes, is the same delete.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deleted: Option<String>,
}

/// A shard's position, written last in each of its transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    pub version: u32,
    /// Epoch of the layout under which it was written; older ones do not count.
    pub epoch: u64,
    pub shard: u32,
    /// Number of the transaction within the shard, from 1, without gaps.
    pub sequence: u64,
    pub places: Vec<Place>,
    /// Head of the shard's ledger right after the intent of this transaction.
    pub ledger: Head,
}

/// A topic as it was when the layout was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedTopic {
    pub name: String,
    /// Kafka's topic id: a topic that was deleted and made again has another.
    pub id: String,
    pub partitions: i32,
}

/// Who owns which partitions, and from where. Committed by each process as it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    pub version: u32,
    /// Grows with each change of the assignment.
    pub epoch: u64,
    pub tasks: u32,
    pub sources: Vec<PinnedTopic>,
    pub targets: Vec<PinnedTopic>,
    /// Where each source partition stood when this epoch began.
    pub places: Vec<Place>,
    /// Number of transactions and ledger head of every shard there has ever been, as this epoch
    /// began.
    pub shards: Vec<ShardHead>,
    /// Head of the control log of the process that committed this layout.
    pub control: Head,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardHead {
    pub shard: u32,
    pub sequence: u64,
    pub ledger: Option<Head>,
}

impl Layout {
    /// The shard that owns a source partition: partitions are dealt out one by one.
    pub fn shard_of(&self, topic: u32, partition: i32) -> u32 {
        let before: i64 = self
            .sources
            .iter()
            .take(topic as usize)
            .map(|source| i64::from(source.partitions))
            .sum();
        ((before + i64::from(partition)) % i64::from(self.tasks.max(1))) as u32
    }

    /// The places of one shard's partitions.
    pub fn places_of(&self, shard: u32) -> Vec<Place> {
        let mine = |p: &&Place| self.shard_of(p.topic, p.partition) == shard;
        self.places.iter().filter(mine).cloned().collect()
    }

    /// Partition of the position topic that holds a shard's position.
    pub fn position_partition(shard: u32) -> i32 {
        shard as i32 + 1
    }
}

#[cfg(test)]
mod tests {
    use douane_ledger::log::JournalId;

    use super::*;

    fn layout(tasks: u32) -> Layout {
        let source =
            |name: &str, partitions| PinnedTopic { name: name.into(), id: "id".into(), partitions };
        let place = |topic, partition| Place { topic, partition, next: 0, deleted: None };
        Layout {
            version: VERSION,
            epoch: 1,
            tasks,
            sources: vec![source("a", 3), source("b", 2)],
            targets: vec![],
            places: (0..3).map(|p| place(0, p)).chain((0..2).map(|p| place(1, p))).collect(),
            shards: vec![],
            control: Head { journal: JournalId([0; 16]), size: 0, root: [0; 32] },
        }
    }

    #[test]
    fn every_partition_has_one_shard() {
        for tasks in 1..7 {
            let layout = layout(tasks);
            let dealt: usize = (0..tasks).map(|shard| layout.places_of(shard).len()).sum();
            assert_eq!(dealt, 5, "{tasks} tasks");
        }
        assert_eq!(layout(2).shard_of(1, 0), 1);
    }
}
