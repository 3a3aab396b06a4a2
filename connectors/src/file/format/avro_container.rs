//! Avro object containers. Out: each record is `{_key, _timestamp, value}`; `value` is the approved
//! datum, byte for byte, or null for a tombstone.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use arrow_avro::reader::ReaderBuilder;
use douane_gate::OutRecord;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::FileFault;
use crate::file::rows::{Batches, datum, unreadable};

pub(super) fn batches(path: &Path, mut file: File) -> Result<Batches, FileFault> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(FileFault::io(path, "reading"))?;
    // The library takes a file that ends within a block for one that ends before it.
    whole(&bytes).ok_or_else(|| unreadable(path))?;
    let reader = ReaderBuilder::new().build(Cursor::new(bytes)).map_err(|_| unreadable(path))?;
    Ok(Batches { schema: reader.schema(), batches: Box::new(reader) })
}

/// Walks a container from its header to its last block: `None` where it is cut or damaged.
fn whole(bytes: &[u8]) -> Option<()> {
    let mut rest = bytes.strip_prefix(b"Obj\x01")?;
    loop {
        let count = take_long(&mut rest)?;
        if count == 0 {
            break;
        }
        // A negative count stands before the size of its block.
        if count < 0 {
            take_long(&mut rest)?;
        }
        for _ in 0..count.unsigned_abs() {
            take_bytes(&mut rest)?;
            take_bytes(&mut rest)?;
        }
    }
    let sync;
    (sync, rest) = rest.split_at_checked(16)?;
    while !rest.is_empty() {
        take_long(&mut rest)?;
        take_bytes(&mut rest)?;
        rest = rest.strip_prefix(sync)?;
    }
    Some(())
}

fn take_bytes(rest: &mut &[u8]) -> Option<()> {
    let length = usize::try_from(take_long(rest)?).ok()?;
    *rest = rest.get(length..)?;
    Some(())
}

fn take_long(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

pub(super) fn write(records: &[OutRecord<'_>], schema: &str) -> Result<Vec<u8>, &'static str> {
    let value: Value = serde_json::from_str(schema).map_err(|_| "the schema is no JSON")?;
    let change = json!({
        "type": "record",
        "name": "Change",
        "namespace": "douane",
        "fields": [
            { "name": "_key", "type": ["null", "string"] },
            { "name": "_timestamp", "type": { "type": "long", "logicalType": "timestamp-millis" } },
            { "name": "value", "type": ["null", value] },
        ],
    });
    let mut block = Vec::new();
    for record in records {
        match record.key {
            None => long(&mut block, 0),
            Some(key) => {
                long(&mut block, 1);
                bytes(&mut block, key);
            }
        }
        long(&mut block, record.timestamp_ms);
        match record.value {
            None => long(&mut block, 0),
            Some(value) => {
                long(&mut block, 1);
                block.extend_from_slice(datum(value)?);
            }
        }
    }
    // Any 16 bytes that the block is unlikely to hold; the same records give the same file.
    let mut sync = [0; 16];
    sync.copy_from_slice(&Sha256::digest(&block)[..16]);
    let mut out = b"Obj\x01".to_vec();
    long(&mut out, 2);
    bytes(&mut out, b"avro.schema");
    bytes(&mut out, change.to_string().as_bytes());
    bytes(&mut out, b"avro.codec");
    bytes(&mut out, b"null");
    long(&mut out, 0);
    out.extend_from_slice(&sync);
    if !records.is_empty() {
        long(&mut out, i64::try_from(records.len()).unwrap_or(i64::MAX));
        bytes(&mut out, &block);
        out.extend_from_slice(&sync);
    }
    Ok(out)
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    long(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
}

/// Avro's zigzag variable-length integer.
fn long(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}
