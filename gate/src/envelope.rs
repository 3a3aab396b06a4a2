//! The envelope: before and after the change, what it was, of which table, when. Its names are
//! Debezium's, so that what reads Debezium's envelopes reads these.
//!
//! An image is encoded as a row of the state shape is; here the parts are put together. Nothing in
//! between is a cell: operation and time come from the record's origin, the table from the release.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use douane_ledger::release::{Deletes, RecordEnvelope, Release};
use douane_schemas::batch::{Op, Origin, RowKind};
use serde_json::json;

use crate::GateFault;
use crate::border::Crossing;
use crate::encode::{Rows, Values, row_schema, string};

/// Confluent's framing: a zero and the schema's id.
const FRAME_BYTES: usize = 5;
/// The raw column that says whether a record had an image before the change.
const FLAG: &str = "before";

/// Writes envelopes of one release.
pub(crate) struct Enveloped {
    keeps_deletes: bool,
    /// What stands between the operation and the time.
    source: Vec<u8>,
    /// Confluent's frame, for Avro.
    frame: Option<[u8; FRAME_BYTES]>,
}

impl Enveloped {
    /// `schema_id` is given for Avro and nothing else.
    pub(crate) fn new(envelope: &RecordEnvelope, schema_id: Option<u32>) -> Self {
        let mut source = Vec::new();
        let frame = schema_id.map(|id| {
            let [a, b, c, d] = id.to_be_bytes();
            [0, a, b, c, d]
        });
        if frame.is_some() {
            for name in [&envelope.db, &envelope.table] {
                long(name.len() as i64, &mut source);
                source.extend_from_slice(name.as_bytes());
            }
        } else {
            source.extend_from_slice(b"\"source\":{\"db\":");
            string(&envelope.db, &mut source);
            source.extend_from_slice(b",\"table\":");
            string(&envelope.table, &mut source);
            source.extend_from_slice(b"},\"ts_ms\":");
        }
        Self { keeps_deletes: envelope.deletes == Deletes::Keep, source, frame }
    }

    /// Whether a change crosses with a value: a row does, a delete where it is kept.
    pub(crate) fn has_value(&self, origin: &Origin) -> bool {
        match origin.kind() {
            RowKind::Upsert => true,
            RowKind::Delete => self.keeps_deletes,
            RowKind::Tombstone => false,
        }
    }

    /// Encodes the rows `order`, in that order; `time` is a row's time as it may cross.
    pub(crate) fn encode(
        &self,
        values: &Values,
        crossing: &Crossing<'_>,
        order: &[u32],
        time: impl Fn(usize) -> i64,
    ) -> Result<Rows, GateFault> {
        let had = flag(crossing.raw)?;
        let columns = crossing.before.ok_or(GateFault::Encode)?;
        let op = |row: u32| crossing.origins[row as usize].op;
        let with = |wanted: &dyn Fn(u32) -> bool| -> Vec<u32> {
            order.iter().copied().filter(|row| wanted(*row)).collect()
        };
        let befores = with(&|row| had_before(had, row as usize));
        let afters = with(&|row| op(row) != Op::Delete);
        let before = values.encode(columns, &befores)?;
        let after = values.encode(crossing.columns, &afters)?;
        let mut data = Vec::with_capacity(before.len() + after.len() + order.len() * 128);
        let mut ends = Vec::with_capacity(order.len());
        let (mut next_before, mut next_after) = (0, 0);
        let image = |rows: &Rows, there: bool, next: &mut usize, out: &mut Vec<u8>| {
            let bytes = there.then(|| rows.get(*next));
            *next += usize::from(there);
            match (self.frame.is_some(), bytes) {
                (false, None) => out.extend_from_slice(b"null"),
                (false, Some(bytes)) => out.extend_from_slice(bytes),
                (true, None) => out.push(0),
                // The second branch of its union, and the datum without its frame.
                (true, Some(bytes)) => {
                    out.push(2);
                    out.extend_from_slice(&bytes[FRAME_BYTES..]);
                }
            }
        };
        for &row in order {
            let (letter, at) = (letter(op(row))?, row as usize);
            match &self.frame {
                Some(frame) => data.extend_from_slice(frame),
                None => data.extend_from_slice(b"{\"before\":"),
            }
            image(&before, had_before(had, at), &mut next_before, &mut data);
            if self.frame.is_none() {
                data.extend_from_slice(b",\"after\":");
            }
            image(&after, op(row) != Op::Delete, &mut next_after, &mut data);
            match self.frame {
                Some(_) => {
                    data.extend_from_slice(&[2, letter]);
                    data.extend_from_slice(&self.source);
                    long(time(at), &mut data);
                }
                None => {
                    data.extend_from_slice(&[b',', b'"', b'o', b'p', b'"', b':', b'"', letter]);
                    data.extend_from_slice(b"\",");
                    data.extend_from_slice(&self.source);
                    data.extend_from_slice(time(at).to_string().as_bytes());
                    data.push(b'}');
                }
            }
            ends.push(data.len());
        }
        Ok(Rows::new(data, ends))
    }
}

/// The flag's column among the raw ones: exactly one, of booleans.
pub(crate) fn flag(raw: &RecordBatch) -> Result<&BooleanArray, GateFault> {
    let missing = || GateFault::RawMissing { leaf: FLAG.to_owned() };
    let schema = raw.schema_ref();
    let mut named = (0..raw.num_columns()).filter(|at| schema.field(*at).name() == FLAG);
    let (Some(at), None) = (named.next(), named.next()) else { return Err(missing()) };
    raw.column(at).as_boolean_opt().ok_or_else(missing)
}

/// Whether a record had an image before the change.
pub(crate) fn had_before(flag: &BooleanArray, row: usize) -> bool {
    flag.is_valid(row) && flag.value(row)
}

fn letter(op: Op) -> Result<u8, GateFault> {
    match op {
        Op::Create => Ok(b'c'),
        Op::Update => Ok(b'u'),
        Op::Read => Ok(b'r'),
        Op::Delete => Ok(b'd'),
        Op::Tombstone => Err(GateFault::Encode),
    }
}

/// Avro 1.12, "Primitive types": zig-zag, then 7 bits a byte, least first.
fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The schema of envelopes: `douane.<pipeline>.Envelope` around `Value` and `Source`.
pub(crate) fn schema(release: &Release) -> Result<String, GateFault> {
    let (namespace, value) = row_schema(release, "Value")?;
    let names = ["db", "table"].map(|name| json!({ "name": name, "type": "string" }));
    let source = json!({ "type": "record", "name": "Source", "fields": names });
    let schema = json!({
        "type": "record",
        "name": "Envelope",
        "namespace": namespace,
        "fields": [
            { "name": "before", "type": ["null", value], "default": null },
            { "name": "after", "type": ["null", "Value"], "default": null },
            { "name": "op", "type": "string" },
            { "name": "source", "type": source },
            { "name": "ts_ms", "type": "long" },
        ],
    });
    Ok(schema.to_string())
}
