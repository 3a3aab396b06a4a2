//! A batch carries its positions with it: whoever holds the rows knows which records they came
//! from, and nobody acknowledges backwards.

use arrow::record_batch::RecordBatch;

/// What the change was, as Debezium names it. Truncates and messages are no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `c`: the row is new.
    Create,
    /// `u`: the row was there before, perhaps with other values.
    Update,
    /// `r`: the row as a snapshot found it; it may have been read before.
    Read,
    /// `d`: the row is gone.
    Delete,
    /// A record without a value. Debezium sends one after each delete; the two become one.
    Tombstone,
}

impl Op {
    /// What it asks of the target.
    pub fn kind(self) -> RowKind {
        match self {
            Op::Create | Op::Update | Op::Read => RowKind::Upsert,
            Op::Delete => RowKind::Delete,
            Op::Tombstone => RowKind::Tombstone,
        }
    }
}

/// What a source record asks of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Create, update or snapshot read: the row's state after the change.
    Upsert,
    /// Debezium's delete: the row's key, to become a tombstone.
    Delete,
    /// A record without a value.
    Tombstone,
}

/// Where a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Index of the topic in the pipeline's list of source topics.
    pub topic: u32,
    /// Partition of that topic.
    pub partition: i32,
    /// Offset in that partition.
    pub offset: i64,
    /// Milliseconds since the epoch; -1 where the broker has none.
    pub timestamp_ms: i64,
    /// What the change was.
    pub op: Op,
    /// Registry id of the value's schema, where the format has one.
    pub schema_id: Option<u32>,
}

impl Origin {
    /// What the record asks for.
    pub fn kind(&self) -> RowKind {
        self.op.kind()
    }
}

/// Half-open range of offsets of one source partition: `[start, end)`. Offsets inside may be
/// missing (control records, compaction): the range says what was passed, not what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Index of the topic in the pipeline's list of source topics.
    pub topic: u32,
    /// Partition of that topic.
    pub partition: i32,
    /// First offset in it.
    pub start: i64,
    /// First offset behind it.
    pub end: i64,
}

/// Rows as flat leaf columns, named `key.<path>` and `after.<path>`, one origin a row.
///
/// There is no `Debug`: rows are data.
#[derive(Clone)]
pub struct Batch {
    /// All columns nullable.
    pub rows: RecordBatch,
    /// As many as there are rows, in their order.
    pub origins: Vec<Origin>,
}

impl Batch {
    /// Rows.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// No rows.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }
}
