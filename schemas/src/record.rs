//! One record as it lies in the sovereign log, borrowed from the client's buffer.

/// A borrowed source record. It has no `Debug`: everything in it is data.
#[derive(Clone, Copy)]
pub struct RawRecord<'a> {
    /// Index of the topic in the pipeline's list of source topics.
    pub topic: u32,
    /// Partition of that topic.
    pub partition: i32,
    /// Offset in that partition.
    pub offset: i64,
    /// Milliseconds since the epoch; -1 where the broker has none.
    pub timestamp_ms: i64,
    /// The key's bytes; `None` for no key.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Names and values in order. Names are data until they are known.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// The wire formats a Kafka source reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JsonConverter with `schemas.enable=false`.
    DebeziumJson,
    /// JsonConverter with `schemas.enable=true`: each record carries its own schema.
    DebeziumJsonSchema,
    /// Avro in Confluent's wire format: byte 0, id in 4 bytes big-endian, datum.
    DebeziumAvro,
}
