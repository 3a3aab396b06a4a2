//! A batch carries its positions with it: whoever holds the rows knows which records they came
//! from, and nobody acknowledges backwards.

use arrow::record_batch::RecordBatch;

/// What a source record asks of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Create, update or snapshot read: the row's state after the change.
    Upsert,
    /// Debezium's delete: the row's key, to become a tombstone.
    Delete,
    /// A record without a value. Debezium sends one after each delete; the two become one.
    Tombstone,
}

/// Where a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub topic: u32,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub kind: RowKind,
    /// Registry id of the value's schema, where the format has one.
    pub schema_id: Option<u32>,
}

/// Half-open range of offsets of one source partition: `[start, end)`. Offsets inside may be
/// missing (control records, compaction): the range says what was passed, not what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub topic: u32,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

/// Rows as flat leaf columns, named `key.<path>` and `after.<path>`, one origin a row.
///
/// There is no `Debug`: rows are data.
#[derive(Clone)]
pub struct Batch {
    pub rows: RecordBatch,
    pub origins: Vec<Origin>,
}

impl Batch {
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }
}
