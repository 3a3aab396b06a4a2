//! The quarantine of a sovereign folder: `NAME/records.jsonl`, one sealed record a line.

use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use douane_gate::{ClearHeader, Destination, Sealed};
use douane_schemas::record::RawRecord;
use rustix::fs::OFlags;
use serde::Deserialize;
use serde_json::{Value, json};

use super::FileFault;
use super::admin::LOCK;
use super::folder::{self, OpenFolder};
use crate::edge::{EdgeFault, Quarantine};

/// Key, seal, and what stands beside it.
type Outgoing<'a> = (&'a [u8], &'a [u8], &'a [ClearHeader]);

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
        let each: Vec<_> = records.iter().map(|r| (r.key(), r.value(), r.headers())).collect();
        Ok(self.append(&each, topic, LOCK)?)
    }
}

impl Folder {
    fn append(
        &self,
        records: &[Outgoing<'_>],
        topic: &str,
        timeout: Duration,
    ) -> Result<(), FileFault> {
        if records.is_empty() {
            return Ok(());
        }
        let home = OpenFolder::below(&self.dir, &self.dir.join(topic))?;
        let path = home.path(RECORDS);
        let fault = FileFault::io(&path, "writing");
        let mut lines = Vec::new();
        for (key, value, headers) in records {
            let headers: serde_json::Map<String, Value> =
                headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            let line = json!({
                "key": String::from_utf8_lossy(key),
                "value": BASE64.encode(value),
                "headers": headers,
            });
            lines.extend_from_slice(line.to_string().as_bytes());
            lines.push(b'\n');
        }
        let mut file = home.open(RECORDS, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)?;
        // Shards append to one file. The lock goes with the handle, also in a crash.
        folder::lock(&file, &path, timeout)?;
        let is_new = file.metadata().map_err(&fault)?.len() == 0;
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
        if is_new { home.sync() } else { Ok(()) }
    }
}

const RECORDS: &str = "records.jsonl";

#[derive(Deserialize)]
struct Line {
    key: String,
    value: String,
}

/// Gives the sealed records from line `from` on. Half a line, which a crash left, is none.
pub(super) fn scan(
    dir: &Path,
    topic: &str,
    from: i64,
    each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
) -> Result<(), FileFault> {
    let home = OpenFolder::below(dir, &dir.join(topic));
    let mut file = match home.and_then(|home| home.open(RECORDS, OFlags::RDONLY)) {
        Err(FileFault::NotThere { .. }) => return Ok(()),
        file => file?,
    };
    let mut text = Vec::new();
    let path = dir.join(topic).join(RECORDS);
    file.read_to_end(&mut text).map_err(FileFault::io(&path, "reading"))?;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::edge::Sovereign;
    use crate::file::FileFormat;
    use crate::file::test_files::FileRig;

    #[test]
    fn headers_stand_beside_the_seal_and_are_not_read_back() {
        let rig = FileRig::new(FileFormat::JsonLines);
        let folder = Folder { dir: rig.path("") };
        rig.sovereign(&[]).admin().unwrap().create_topic("q", 1, 1, &[]).unwrap();
        let stage = [("__connect.errors.stage", "TRANSFORMATION".into())];
        folder.append(&[(b"in/0/7", b"sealed", &stage)], "q", LOCK).unwrap();
        let line: Value =
            serde_json::from_slice(&fs::read(rig.path("q/records.jsonl")).unwrap()).unwrap();
        assert_eq!(line["headers"], json!({ "__connect.errors.stage": "TRANSFORMATION" }));
        // A line of before there were any is read as well.
        folder.append(&[(b"in/0/8", b"sealed", &[])], "q", LOCK).unwrap();
        let mut lines = fs::read_to_string(rig.path("q/records.jsonl")).unwrap();
        lines = lines.replace(",\"headers\":{}", "").replace("\"headers\":{},", "");
        assert_eq!(lines.matches("headers").count(), 1);
        fs::write(rig.path("q/records.jsonl"), lines).unwrap();
        let mut read = Vec::new();
        let mut each = |record: &RawRecord<'_>| {
            read.push((record.value.map(<[u8]>::to_vec), record.headers.len()));
            ControlFlow::Continue(())
        };
        scan(&folder.dir, "q", 0, &mut each).unwrap();
        assert_eq!(read, vec![(Some(b"sealed".to_vec()), 0); 2]);
    }

    /// It is written nowhere else, and waits for no frozen writer.
    #[test]
    fn a_quarantine_behind_a_link_or_a_lock_is_refused() {
        const RECORD: [Outgoing<'_>; 1] = [(b"k", b"v", &[])];
        let wait = Duration::from_millis(20);
        let rig = FileRig::new(FileFormat::JsonLines);
        let folder = Folder { dir: rig.path("") };
        let admin = rig.sovereign(&[]).admin().unwrap();
        admin.create_topic("q", 1, 1, &[]).unwrap();
        folder.append(&RECORD, "q", wait).unwrap();
        let file = rig.path("q/records.jsonl");
        let lock = fs::File::open(&file).unwrap();
        lock.lock().unwrap();
        let fault = folder.append(&RECORD, "q", wait).unwrap_err();
        assert!(fault.is_away(), "{fault}");
        drop(lock);
        let key = rig.path("key");
        fs::rename(&file, &key).unwrap();
        let before = fs::read(&key).unwrap();
        std::os::unix::fs::symlink(&key, &file).unwrap();
        let fault = folder.append(&RECORD, "q", wait).unwrap_err();
        assert!(!fault.is_away() && fault.to_string().contains("symbolic link"), "{fault}");
        let mut each = |_: &RawRecord<'_>| ControlFlow::Continue(());
        assert!(scan(&folder.dir, "q", 0, &mut each).is_err());
        assert_eq!(fs::read(&key).unwrap(), before);
        // The control: without the link it goes on.
        fs::remove_file(&file).unwrap();
        folder.append(&RECORD, "q", wait).unwrap();
        assert_eq!(fs::read(&file).unwrap(), before);
    }
}
