//! The quarantine of a sovereign folder: `NAME/records.jsonl`, one sealed record a line.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use douane_gate::{Destination, Sealed};
use douane_schemas::record::RawRecord;
use serde::Deserialize;
use serde_json::json;

use super::FileFault;
use crate::edge::{EdgeFault, Quarantine};

/// See the module.
pub(super) struct Folder {
    pub dir: PathBuf,
}

impl Quarantine for Folder {
    fn send(&mut self, records: &[Sealed], topic: &str) -> Result<(), EdgeFault> {
        if records.iter().any(|record| record.destination() != Destination::Quarantine) {
            let problem = "a record sealed for another place";
            return Err(FileFault::Encode { path: self.dir.join(topic), problem }.into());
        }
        let pairs: Vec<_> = records.iter().map(|record| (record.key(), record.value())).collect();
        Ok(self.append(&pairs, topic)?)
    }
}

impl Folder {
    pub(super) fn append(&self, pairs: &[(&[u8], &[u8])], topic: &str) -> Result<(), FileFault> {
        if pairs.is_empty() {
            return Ok(());
        }
        let path = self.dir.join(topic).join("records.jsonl");
        let fault = FileFault::io(&path, "writing");
        let mut lines = Vec::new();
        for (key, value) in pairs {
            let line = json!({
                "key": String::from_utf8_lossy(key),
                "value": BASE64.encode(value),
            });
            lines.extend_from_slice(line.to_string().as_bytes());
            lines.push(b'\n');
        }
        let is_new = !path.exists();
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(&fault)?;
        // Shards append to one file. The lock goes with the handle, also in a crash.
        file.lock().map_err(&fault)?;
        // A crash left half a line: it ends here, and readers pass over it.
        if file.seek(SeekFrom::End(0)).map_err(&fault)? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))
                .and_then(|_| file.read_exact(&mut last))
                .map_err(&fault)?;
            if last != *b"\n" {
                lines.insert(0, b'\n');
            }
        }
        file.write_all(&lines).and_then(|()| file.sync_all()).map_err(&fault)?;
        if is_new && let Some(folder) = path.parent() {
            fs::File::open(folder).and_then(|dir| dir.sync_all()).map_err(&fault)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Line {
    key: String,
    value: String,
}

/// Gives the sealed records from line `from` on. Half a line, which a crash left, is none.
pub(super) fn scan(
    folder: &Path,
    from: i64,
    each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
) -> Result<(), FileFault> {
    let path = folder.join("records.jsonl");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileFault::io(&path, "reading")(error)),
    };
    let lines = text.split(|byte| *byte == b'\n').zip(0..).filter(|(_, offset)| *offset >= from);
    for (line, offset) in lines {
        let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
        let Ok(value) = BASE64.decode(line.value.as_bytes()) else { continue };
        let record = RawRecord {
            topic: 0,
            partition: 0,
            offset,
            timestamp_ms: -1,
            key: Some(line.key.as_bytes()),
            value: Some(&value),
            headers: &[],
        };
        if each(&record).is_break() {
            break;
        }
    }
    Ok(())
}
