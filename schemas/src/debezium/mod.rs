//! Debezium change events to rows: every name is seen, only what is asked for is built.
//!
//! A record becomes a row only when its whole shape is the one the table's leaves list. What is
//! unknown holds its partition, what is broken is set aside, and the builders are then exactly as
//! they were before.

mod refusal;

pub use refusal::{Away, Hold, QuarantineCode, Refusal, SchemaFault};

use crate::batch::Batch;
use crate::leaf::TableLeaves;
use crate::record::{Format, RawRecord};

/// Version of the built-in list of documented envelope leaves and headers (class `metadata`).
pub const ENVELOPE_LIST_VERSION: u32 = 1;

/// Bounds on what one record and one schema may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a key or a value.
    pub record_bytes_max: usize,
    /// Objects, arrays and records inside each other.
    pub depth_max: usize,
    /// Items of all arrays and maps of one record.
    pub items_max: usize,
    /// Headers of one record.
    pub headers_max: usize,
    /// Bytes of one schema's text.
    pub schema_bytes_max: usize,
    /// Schemas kept compiled.
    pub schemas_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes_max: 16 << 20,
            depth_max: 64,
            items_max: 1_000_000,
            headers_max: 256,
            schema_bytes_max: 1 << 20,
            schemas_max: 256,
        }
    }
}

/// Registry ids to schema texts.
pub trait WriterSchemas {
    /// The text of schema `id`; `None` when the registry answers that it does not know it. Whether
    /// to retry and to cache is the implementation's business; the decoder asks once for each id
    /// and keeps what it compiled.
    fn schema_text(&mut self, id: u32) -> Result<Option<String>, Away>;
}

/// Decodes records of one table and one format into rows.
pub struct Decoder {
    format: Format,
}

impl Decoder {
    /// `columns` are the row leaves whose values are built, in the order of the batch; the others
    /// are seen by name and type and never built. Key leaves are always built. A column that
    /// `leaves` does not list makes every record hold.
    pub fn new(format: Format, leaves: TableLeaves, columns: &[String], limits: Limits) -> Self {
        let _ = (leaves, columns, limits);
        Self { format }
    }

    /// Decodes one record into the builders, or leaves them exactly as they were.
    pub fn push(
        &mut self,
        record: &RawRecord<'_>,
        schemas: &mut dyn WriterSchemas,
    ) -> Result<(), Refusal> {
        let _ = (record, schemas, self.format);
        Err(Refusal::Hold(Hold::NotAnEnvelope))
    }

    /// Rows since the last [`Decoder::finish`].
    pub fn len(&self) -> usize {
        0
    }

    /// No rows since the last [`Decoder::finish`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows so far as flat columns `key.<path>` in the order of the key leaves, then
    /// `after.<path>` in the order of `columns`, all nullable. The builders are empty afterwards.
    pub fn finish(&mut self) -> Batch {
        Batch {
            rows: arrow::record_batch::RecordBatch::new_empty(std::sync::Arc::new(
                arrow::datatypes::Schema::empty(),
            )),
            origins: Vec::new(),
        }
    }
}

/// Leaves of registered Avro schemas, before any record is read.
pub fn leaves_of_avro(key: Option<&str>, value: &str) -> Result<TableLeaves, SchemaFault> {
    let _ = (key, value);
    Err(SchemaFault::Malformed)
}

/// Leaves of a record of JSON with schemas.
pub fn leaves_of_json_schema(
    key_record: Option<&[u8]>,
    value_record: &[u8],
) -> Result<TableLeaves, SchemaFault> {
    let _ = (key_record, value_record);
    Err(SchemaFault::Malformed)
}
