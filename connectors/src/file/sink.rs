//! The sink: one transaction is one folder, `part-NUMBER-PARTITION`, that appears by one rename
//! and holds the records, the manifest and the sealed position.
//!
//! ```text
//! out/customers/part-000000000007-1/records.parquet   data
//!                                   _manifest.json    the signed statement about it
//!                                   _position         sealed: where the source stands
//!              /_douane/identity, lock, number        the folder itself
//!                      /ID.epoch                      who may rename, by transactional id
//!                      /position-P                    a position that moved without records
//! ```
//!
//! Whoever fences an id raises its epoch under the folder's lock; a commit renames under the same
//! lock, and only while the epoch is its own. So a holder that was frozen and wakes renames nothing.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use douane_gate::OutRecord;
use serde::{Deserialize, Serialize};

use super::admin::{OWN, replace, sync_dir, write_durably};
use super::{FileFault, FileFormat, GlobalFolder, format};
use crate::edge::{CommitOutcome, KeyAndValue, Sink, SinkFault, Transaction};

/// How long a commit waits for the lock: others hold it for a rename.
const LOCK: Duration = Duration::from_secs(10);

/// What `_position` and `position-P` hold.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    v: u32,
    /// Of `position-P`: its place among the parts. A part's is in its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    key: String,
    value: String,
}

impl Position {
    fn bytes((key, value): (&[u8], &[u8]), number: Option<u64>) -> Vec<u8> {
        let key = String::from_utf8_lossy(key).into_owned();
        let position = Self { v: 1, number, key, value: BASE64.encode(value) };
        serde_json::to_vec(&position).unwrap_or_default()
    }

    fn read(path: &Path) -> Result<Self, FileFault> {
        let bytes = fs::read(path).map_err(FileFault::io(path, "reading"))?;
        let problem = "is no position of version 1";
        serde_json::from_slice::<Self>(&bytes)
            .ok()
            .filter(|position| position.v == 1)
            .ok_or_else(|| FileFault::Malformed { path: path.to_owned(), records: 0, problem })
    }

    fn pair(self, path: &Path) -> Result<KeyAndValue, FileFault> {
        let problem = "is no position of version 1";
        let value = BASE64.decode(self.value.as_bytes()).map_err(|_| FileFault::Malformed {
            path: path.to_owned(),
            records: 0,
            problem,
        })?;
        Ok((self.key.into_bytes(), value))
    }
}

/// The holder of one id.
pub(super) struct FileSink {
    home: PathBuf,
    format: FileFormat,
    schema: Option<String>,
    bytes_max: usize,
    id: String,
    epoch: u64,
}

impl FileSink {
    pub fn fence(
        folder: &GlobalFolder,
        id: &str,
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<Self, SinkFault> {
        let fault = |fault: FileFault| match fault.is_away() {
            true => SinkFault::Away(fault.into()),
            false => SinkFault::Refused(fault.into()),
        };
        let home = folder.home();
        let id = id.replace('/', "~");
        let lock = Lock::take(&home, timeout).map_err(fault)?;
        let epoch = read_number(&epoch_file(&home, &id)).map_err(fault)?.unwrap_or(0) + 1;
        replace(&epoch_file(&home, &id), epoch.to_string().as_bytes()).map_err(fault)?;
        // Crash here: the older holder is fenced, and nobody holds the id.
        clean(&home, &id).map_err(fault)?;
        // After a power cut the counter may lie behind the parts that it counted.
        let last = parts(&home).map_err(fault)?.into_iter().map(|part| part.number).max();
        let number = read_number(&number_file(&home)).map_err(fault)?.max(last).unwrap_or(0);
        replace(&number_file(&home), number.to_string().as_bytes()).map_err(fault)?;
        drop(lock);
        let (format, schema) = (folder.format, folder.schema.clone());
        Ok(Self { home, format, schema, bytes_max, id, epoch })
    }

    /// Everything but the rename: the part under a name that no reader looks at.
    fn prepare(
        &self,
        records: &[OutRecord<'_>],
        transaction: &Transaction<'_>,
    ) -> Result<PathBuf, FileFault> {
        let part = self.home.join(temporary(&self.id, self.epoch));
        fs::create_dir(&part).map_err(FileFault::io(&part, "making the folder"))?;
        if let Some((manifest, data)) = records.split_last() {
            if !data.is_empty() {
                let path = part.join(self.format.records_file());
                let bytes = format::write(self.format, data, self.schema.as_deref())
                    .map_err(|problem| FileFault::Encode { path: path.clone(), problem })?;
                write_durably(&path, &bytes)?;
            }
            write_durably(&part.join("_manifest.json"), manifest.value.unwrap_or_default())?;
        }
        write_durably(&part.join("_position"), &Position::bytes(transaction.position(), None))?;
        sync_dir(&part)?;
        Ok(part)
    }

    fn is_fenced(&self) -> Result<bool, FileFault> {
        Ok(read_number(&epoch_file(&self.home, &self.id))? != Some(self.epoch))
    }

    /// The commit point. Errors before it leave nothing; the caller says what errors after it are.
    fn publish(
        &self,
        part: Option<&Path>,
        transaction: &Transaction<'_>,
    ) -> Result<Published, FileFault> {
        let _lock = Lock::take(&self.home, LOCK)?;
        if self.is_fenced()? {
            return Ok(Published::Fenced);
        }
        let number = read_number(&number_file(&self.home))?.unwrap_or(0) + 1;
        // Counted before it is used: a crash in between leaves a gap and no number twice.
        let counter = number_file(&self.home);
        fs::write(&counter, number.to_string()).map_err(FileFault::io(&counter, "writing"))?;
        let partition = transaction.partition();
        let outcome = match part {
            Some(part) => {
                let to = self.home.join(format!("part-{number:012}-{partition}"));
                fs::rename(part, &to).map_err(FileFault::io(&to, "renaming"))?;
                // Crash here: the part is there, with its position.
                sync_dir(&self.home)
            }
            None => {
                let to = self.home.join(OWN).join(format!("position-{partition}"));
                replace(&to, &Position::bytes(transaction.position(), Some(number)))
            }
        };
        Ok(match outcome {
            Ok(()) => Published::Visible,
            Err(fault) => Published::Unknown(fault),
        })
    }
}

enum Published {
    Visible,
    Fenced,
    /// It may be there or not.
    Unknown(FileFault),
}

impl Sink for FileSink {
    fn idle(&self) {}

    fn commit(self: Box<Self>, transaction: &Transaction<'_>) -> CommitOutcome {
        let records: Vec<OutRecord<'_>> = transaction.records().collect();
        let bytes = |record: &OutRecord<'_>| {
            record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)
        };
        if let Some(index) = records.iter().position(|record| bytes(record) > self.bytes_max) {
            return CommitOutcome::Refused { index: Some(index), code: "too_large" };
        }
        let prepared = match records.is_empty() {
            true => Ok(None),
            false => self.prepare(&records, transaction).map(Some),
        };
        // Crash here: a temporary folder that the next fence removes.
        let published = prepared.and_then(|part| self.publish(part.as_deref(), transaction));
        match published {
            Ok(Published::Visible) => CommitOutcome::Committed(self),
            Ok(Published::Fenced) => CommitOutcome::Fenced,
            Ok(Published::Unknown(fault)) => CommitOutcome::Unknown(fault.to_string()),
            // The next holder removes what the one before prepares: that looks like any fault.
            Err(fault) => match self.is_fenced() {
                Ok(true) => CommitOutcome::Fenced,
                _ => CommitOutcome::Aborted(fault.to_string()),
            },
        }
    }
}

/// The last position of a partition: of the newest part, or of one that moved without records.
pub(super) fn read_last(home: &Path, partition: i32) -> Result<Option<KeyAndValue>, FileFault> {
    let mine = parts(home)?.into_iter().filter(|part| part.partition == partition);
    let part = mine.max_by_key(|part| part.number);
    let alone = home.join(OWN).join(format!("position-{partition}"));
    if alone.exists() {
        let position = Position::read(&alone)?;
        if position.number > part.as_ref().map(|part| part.number) {
            return position.pair(&alone).map(Some);
        }
    }
    let Some(part) = part else { return Ok(None) };
    let path = part.path.join("_position");
    Position::read(&path)?.pair(&path).map(Some)
}

struct Part {
    number: u64,
    partition: i32,
    path: PathBuf,
}

/// The parts of a folder, in no order. Any other name is not ours.
fn parts(home: &Path) -> Result<Vec<Part>, FileFault> {
    let fault = FileFault::io(home, "listing");
    let mut parts = Vec::new();
    for entry in fs::read_dir(home).map_err(&fault)? {
        let entry = entry.map_err(&fault)?;
        let name = entry.file_name();
        let numbers = name.to_str().and_then(|name| name.strip_prefix("part-"));
        let Some((number, partition)) = numbers.and_then(|numbers| numbers.split_once('-')) else {
            continue;
        };
        if let (Ok(number), Ok(partition)) = (number.parse(), partition.parse()) {
            parts.push(Part { number, partition, path: entry.path() });
        }
    }
    Ok(parts)
}

/// Removes what earlier holders of an id prepared and never renamed.
fn clean(home: &Path, id: &str) -> Result<(), FileFault> {
    let fault = FileFault::io(home, "listing");
    let prefix = temporary(id, 0);
    let prefix = prefix.trim_end_matches('0');
    for entry in fs::read_dir(home).map_err(&fault)? {
        let entry = entry.map_err(&fault)?;
        let name = entry.file_name();
        let epoch = name.to_str().and_then(|name| name.strip_prefix(prefix));
        if epoch.is_some_and(|epoch| epoch.parse::<u64>().is_ok()) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(FileFault::io(&path, "removing"))?;
        }
    }
    Ok(())
}

fn temporary(id: &str, epoch: u64) -> String {
    format!(".{id}.tmp-{epoch}")
}

fn epoch_file(home: &Path, id: &str) -> PathBuf {
    home.join(OWN).join(format!("{id}.epoch"))
}

fn number_file(home: &Path) -> PathBuf {
    home.join(OWN).join("number")
}

fn read_number(path: &Path) -> Result<Option<u64>, FileFault> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let problem = "is no number";
            let fault = |_| FileFault::Malformed { path: path.to_owned(), records: 0, problem };
            text.trim().parse().map(Some).map_err(fault)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileFault::io(path, "reading")(error)),
    }
}

/// The folder's lock: held for a rename, given up with the handle, also in a crash.
struct Lock(#[expect(dead_code, reason = "the handle is the lock")] File);

impl Lock {
    fn take(home: &Path, timeout: Duration) -> Result<Self, FileFault> {
        let path = home.join(OWN).join("lock");
        let began = Instant::now();
        // No folder is made here: one that is gone is a person's business.
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(FileFault::io(&path, "opening"))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(fs::TryLockError::Error(error)) => {
                    return Err(FileFault::io(&path, "locking")(error));
                }
                Err(fs::TryLockError::WouldBlock) if began.elapsed() >= timeout => {
                    let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    return Err(FileFault::Busy { path, waited_ms });
                }
                Err(fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}
