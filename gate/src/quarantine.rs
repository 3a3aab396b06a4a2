//! What a quarantine record holds under its seal: the source record byte for byte, or its position
//! and the reason only.

use std::borrow::Cow;

use douane_schemas::record::RawRecord;
use douane_schemas::tuple::Tuple;

use crate::GateFault;

/// A quarantined record as it was sealed. No `Debug`: it is data.
#[derive(Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Name of the source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// Source offset.
    pub offset: i64,
    /// Record timestamp, milliseconds since the epoch, -1 for none.
    pub timestamp_ms: i64,
    /// Why it was quarantined.
    pub code: String,
    /// The record itself, or `None` where it was too large for the topic.
    pub record: Option<QuarantinedRecord>,
}

/// Key, value and headers of a quarantined record, byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct QuarantinedRecord {
    /// Record key.
    pub key: Option<Vec<u8>>,
    /// Record value.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Who refused a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedBy {
    /// The record is no row.
    Decoder,
    /// A cell that a stage does not take.
    Stage,
    /// The last check.
    Gate,
    /// The target, of a record that stood alone.
    Target,
}

impl RefusedBy {
    /// The step of Kafka Connect's way that is nearest, and what is said of it: the same for every
    /// record.
    fn as_in_connect(self, code: &str) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Decoder => {
                let stage = match code {
                    "malformed_key" | "missing_key" => "KEY_CONVERTER",
                    "too_many_headers" => "HEADER_CONVERTER",
                    _ => "VALUE_CONVERTER",
                };
                (stage, "douane.decoder", "the decoder makes no row of the record")
            }
            Self::Stage => ("TRANSFORMATION", "douane.stage", "a stage does not take a cell"),
            Self::Gate => ("TASK_PUT", "douane.gate", "the gate does not let the row cross"),
            Self::Target => ("KAFKA_PRODUCE", "douane.target", "the target refuses the record"),
        }
    }
}

/// Why a record is set aside. The code is the program's own, not made from anything that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Who refused it.
    pub by: RefusedBy,
    /// The word for ledger, metric and quarantine record.
    pub code: &'static str,
}

/// A header in the clear.
pub type ClearHeader = (&'static str, Cow<'static, str>);

/// What Kafka Connect writes beside a dead letter, for tools that look for it there: place and
/// cause, and nothing of the record. A message is the same for every record, a stack trace has
/// none. Nobody who opens the record reads them.
pub(crate) fn connect_headers(
    source: &RawRecord<'_>,
    topic: &str,
    pipeline: &str,
    shard: u32,
    cause: Cause,
) -> Vec<ClearHeader> {
    let (stage, class, message) = cause.by.as_in_connect(cause.code);
    vec![
        ("__connect.errors.topic", topic.to_owned().into()),
        ("__connect.errors.partition", source.partition.to_string().into()),
        ("__connect.errors.offset", source.offset.to_string().into()),
        ("__connect.errors.connector.name", pipeline.to_owned().into()),
        ("__connect.errors.task.id", shard.to_string().into()),
        ("__connect.errors.stage", stage.into()),
        ("__connect.errors.class.name", class.into()),
        ("__connect.errors.exception.class.name", cause.code.into()),
        ("__connect.errors.exception.message", message.into()),
    ]
}

/// Bytes of names and values, and at most so many of their lengths.
pub(crate) fn header_bytes(headers: &[ClearHeader]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
}

/// Key of a quarantine record: its source position, so that a repeat replaces it.
pub fn quarantine_key(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}/{partition}/{offset}")
}

/// Plain bytes of a quarantine record, a tuple. `whole` says whether the record itself is in it.
pub(crate) fn quarantine_plain(
    source: &RawRecord<'_>,
    topic: &str,
    code: &str,
    whole: bool,
) -> Vec<u8> {
    let optional = |tuple: Tuple, bytes: Option<&[u8]>| match bytes {
        Some(bytes) => tuple.number(1).bytes(bytes),
        None => tuple.number(0),
    };
    let mut tuple = Tuple::new()
        .text(topic)
        .signed(i64::from(source.partition))
        .signed(source.offset)
        .signed(source.timestamp_ms)
        .text(code)
        .number(u64::from(whole));
    if whole {
        tuple = optional(tuple, source.key);
        tuple = optional(tuple, source.value);
        tuple = tuple.number(source.headers.len() as u64);
        for (name, value) in source.headers {
            tuple = optional(tuple.text(name), *value);
        }
    }
    tuple.finish()
}

/// Reads opened quarantine bytes back.
///
/// # Errors
/// `NotSealed` when the bytes are no quarantine record of this version.
pub fn read_quarantined(plain: &[u8]) -> Result<Quarantined, GateFault> {
    let mut fields = Fields(plain);
    let topic = fields.text()?;
    let partition = i32::try_from(fields.signed()?).map_err(|_| GateFault::NotSealed)?;
    let offset = fields.signed()?;
    let timestamp_ms = fields.signed()?;
    let code = fields.text()?;
    let record = if fields.number()? == 1 {
        let key = fields.optional()?;
        let value = fields.optional()?;
        let count = fields.number()?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = fields.text()?;
            headers.push((name, fields.optional()?));
        }
        Some(QuarantinedRecord { key, value, headers })
    } else {
        None
    };
    if !fields.0.is_empty() {
        return Err(GateFault::NotSealed);
    }
    Ok(Quarantined { topic, partition, offset, timestamp_ms, code, record })
}

/// Reads the fields of a [`Tuple`] one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self, kind: u8) -> Result<&'a [u8], GateFault> {
        let (head, rest) = self.0.split_at_checked(5).ok_or(GateFault::NotSealed)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (value, rest) = rest.split_at_checked(length).ok_or(GateFault::NotSealed)?;
        if head[0] != kind {
            return Err(GateFault::NotSealed);
        }
        self.0 = rest;
        Ok(value)
    }

    fn text(&mut self) -> Result<String, GateFault> {
        let bytes = self.field(b't')?.to_vec();
        String::from_utf8(bytes).map_err(|_| GateFault::NotSealed)
    }

    fn number(&mut self) -> Result<u64, GateFault> {
        let bytes = self.field(b'u')?.try_into().map_err(|_| GateFault::NotSealed)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn signed(&mut self) -> Result<i64, GateFault> {
        let bytes = self.field(b'i')?.try_into().map_err(|_| GateFault::NotSealed)?;
        Ok(i64::from_be_bytes(bytes))
    }

    fn optional(&mut self) -> Result<Option<Vec<u8>>, GateFault> {
        match self.number()? {
            0 => Ok(None),
            1 => Ok(Some(self.field(b'b')?.to_vec())),
            _ => Err(GateFault::NotSealed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarantine_records_read_back() {
        let source = RawRecord {
            topic: 0,
            partition: 3,
            offset: 8812,
            timestamp_ms: -1,
            key: Some(b"\x00k"),
            value: None,
            headers: &[("a", Some(b"1")), ("b", None)],
        };
        let read = read_quarantined(&quarantine_plain(&source, "t", "number", true)).unwrap();
        assert_eq!(quarantine_key(&read.topic, read.partition, read.offset), "t/3/8812");
        assert_eq!((read.timestamp_ms, read.code.as_str()), (-1, "number"));
        let record = read.record.unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"\x00k"[..]));
        assert_eq!(record.value, None);
        assert_eq!(record.headers, [("a".into(), Some(b"1".to_vec())), ("b".into(), None)]);

        let short = read_quarantined(&quarantine_plain(&source, "t", "number", false)).unwrap();
        assert!(short.record.is_none());
    }

    #[test]
    fn quarantine_bytes_bad_length_and_bad_tail() {
        let source = RawRecord {
            topic: 0,
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            key: None,
            value: Some(b"v"),
            headers: &[],
        };
        let plain = quarantine_plain(&source, "t", "c", true);
        for length in 0..plain.len() {
            assert!(read_quarantined(&plain[..length]).is_err(), "{length}");
        }
        let mut longer = plain.clone();
        longer.push(0);
        assert!(read_quarantined(&longer).is_err());
        assert!(read_quarantined(&plain).is_ok());
    }
}
