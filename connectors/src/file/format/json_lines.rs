//! JSON lines. In: `{"key":…,"value":…}` with Debezium's envelope, the value null for a
//! tombstone, `"timestamp"` (milliseconds) where the writer knows one. Out: the record's key as
//! text, its value as the gate wrote it, headers, timestamp.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use douane_gate::OutRecord;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{FileFault, Next, Reader, Row};
use crate::file::RECORD_BYTES_MAX;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(default)]
    timestamp: Option<i64>,
}

/// The one member of an envelope that this file looks at.
#[derive(Deserialize)]
struct Envelope {
    ts_ms: Option<i64>,
}

/// See the module.
pub(super) struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    line: Vec<u8>,
    /// Lines and bytes so far.
    count: i64,
    bytes: u64,
    /// A tombstone says no time: it is that of the record before it.
    timestamp_ms: i64,
}

impl Lines {
    pub fn new(path: &Path, file: File) -> Self {
        Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 18, file),
            line: Vec::new(),
            count: 0,
            bytes: 0,
            timestamp_ms: -1,
        }
    }

    fn malformed(&self, problem: &'static str) -> FileFault {
        FileFault::Malformed { path: self.path.clone(), records: self.count, problem }
    }

    fn ended(&self) -> Result<Next, FileFault> {
        let fault = FileFault::io(&self.path, "reading");
        let length = self.file.get_ref().metadata().map_err(fault)?.len();
        if length < self.bytes {
            let what = format!("has {length} bytes, {} were read: it was cut", self.bytes);
            return Err(FileFault::Changed { path: self.path.clone(), what });
        }
        Ok(Next::End)
    }
}

impl Reader for Lines {
    fn next(&mut self, row: &mut Row) -> Result<Next, FileFault> {
        loop {
            self.line.clear();
            let mut limited = (&mut self.file).take(RECORD_BYTES_MAX as u64 + 1);
            let read = limited
                .read_until(b'\n', &mut self.line)
                .map_err(FileFault::io(&self.path, "reading"))?;
            if read == 0 {
                return self.ended();
            }
            self.bytes += read as u64;
            let whole = self.line.last() == Some(&b'\n');
            if !whole && self.line.len() > RECORD_BYTES_MAX {
                return Err(self.malformed(
                    "a line is longer than 8 MiB, which no record may be: take it out of the file",
                ));
            }
            let line = self.line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let parsed = serde_json::from_slice::<Line<'_>>(line);
            // Half an object is never a whole one: a last line that parses has only lost its end.
            if !whole && parsed.is_err() {
                return Ok(Next::Unfinished);
            }
            self.count += 1;
            let text = |raw: &RawValue| raw.get().as_bytes().to_vec();
            match parsed {
                Ok(line) => {
                    let said = line.timestamp.or_else(|| {
                        let envelope = serde_json::from_str::<Envelope>(line.value?.get()).ok()?;
                        envelope.ts_ms
                    });
                    self.timestamp_ms = said.unwrap_or(self.timestamp_ms);
                    row.key = line.key.map(text);
                    row.value = line.value.map(text);
                }
                // No change event: the decoder says so, and where.
                Err(_) => {
                    row.key = None;
                    row.value = Some(line.to_vec());
                }
            }
            row.timestamp_ms = self.timestamp_ms;
            return Ok(Next::Row);
        }
    }
}

/// One line a record.
pub(super) fn write(records: &[OutRecord<'_>]) -> Result<Vec<u8>, &'static str> {
    const BAD: &str = "a record has no JSON form";
    let mut out = Vec::new();
    for record in records {
        out.extend_from_slice(b"{\"key\":");
        let key = record.key.map(std::str::from_utf8).transpose().map_err(|_| BAD)?;
        serde_json::to_writer(&mut out, &key).map_err(|_| BAD)?;
        out.extend_from_slice(b",\"value\":");
        out.extend_from_slice(record.value.unwrap_or(b"null"));
        out.extend_from_slice(b",\"headers\":{");
        for (n, (name, value)) in record.headers.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            let value = std::str::from_utf8(value).map_err(|_| BAD)?;
            serde_json::to_writer(&mut out, name).map_err(|_| BAD)?;
            out.push(b':');
            serde_json::to_writer(&mut out, value).map_err(|_| BAD)?;
        }
        writeln!(out, "}},\"timestamp\":{}}}", record.timestamp_ms).map_err(|_| BAD)?;
    }
    Ok(out)
}
