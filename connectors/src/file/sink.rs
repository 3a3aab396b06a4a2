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

use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use douane_gate::OutRecord;
use serde::{Deserialize, Serialize};

use super::admin::{LOCK, OWN};
use super::folder::{Kind, OpenFolder};
use super::{FileFault, FileFormat, GlobalFolder, format};
use crate::edge::{CommitOutcome, KeyAndValue, Sink, SinkFault, Transaction};

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

    fn read(folder: &OpenFolder, name: &str) -> Result<Option<Self>, FileFault> {
        let Some(bytes) = folder.read(name)? else { return Ok(None) };
        serde_json::from_slice::<Self>(&bytes)
            .ok()
            .filter(|position| position.v == 1)
            .map(Some)
            .ok_or_else(|| no_position(folder.path(name)))
    }

    /// Of `position-P`: also its number.
    fn read_alone(own: &OpenFolder, partition: i32) -> Result<Option<(u64, Self)>, FileFault> {
        let name = alone(partition);
        let Some(position) = Self::read(own, &name)? else { return Ok(None) };
        let number = position.number.ok_or_else(|| no_position(own.path(&name)))?;
        Ok(Some((number, position)))
    }

    fn pair(self, path: impl FnOnce() -> PathBuf) -> Result<KeyAndValue, FileFault> {
        let value = BASE64.decode(self.value.as_bytes()).map_err(|_| no_position(path()))?;
        Ok((self.key.into_bytes(), value))
    }
}

fn no_position(path: PathBuf) -> FileFault {
    let problem = "is no position of version 1";
    FileFault::Damaged { path, problem, next: "bring it back from a copy of the folder" }
}

/// The holder of one id.
pub(super) struct FileSink {
    dir: PathBuf,
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
        let id = id.replace('/', "~");
        let epoch = raise(folder, &id, timeout).map_err(fault)?;
        let (format, schema) = (folder.format, folder.schema.clone());
        let (dir, home) = (folder.dir.clone(), folder.home());
        Ok(Self { dir, home, format, schema, bytes_max, id, epoch })
    }

    fn home(&self) -> Result<OpenFolder, FileFault> {
        OpenFolder::below(&self.dir, &self.home)
    }

    /// Everything but the rename: the part under a name that no reader looks at.
    fn prepare(
        &self,
        records: &[OutRecord<'_>],
        transaction: &Transaction<'_>,
    ) -> Result<String, FileFault> {
        let name = temporary(&self.id, self.epoch);
        let part = self.home()?.make(&name)?;
        if let Some((manifest, data)) = records.split_last() {
            if !data.is_empty() {
                let file = self.format.records_file();
                let bytes = format::write(self.format, data, self.schema.as_deref())
                    .map_err(|problem| FileFault::Encode { path: part.path(file), problem })?;
                part.create(file, &bytes)?;
            }
            part.create("_manifest.json", manifest.value.unwrap_or_default())?;
        }
        part.create("_position", &Position::bytes(transaction.position(), None))?;
        part.sync()?;
        Ok(name)
    }

    fn is_fenced(&self, own: &OpenFolder) -> Result<bool, FileFault> {
        Ok(read_epoch(own, &self.id)? != Some(self.epoch))
    }

    /// The commit point. Errors before it leave nothing; the caller says what errors after it are.
    fn publish(
        &self,
        part: Option<&str>,
        transaction: &Transaction<'_>,
    ) -> Result<Published, FileFault> {
        let home = self.home()?;
        let own = home.folder(OWN)?;
        let _lock = own.lock("lock", LOCK)?;
        if self.is_fenced(&own)? {
            return Ok(Published::Fenced);
        }
        // It may have been frozen since it began. Behind this look nothing waits for anybody.
        if let Err(why) = transaction.may_go() {
            return Ok(Published::Ended(why));
        }
        let last = match read_counter(&own)? {
            Some(last) => last,
            None => last_number(&home, &own)?,
        };
        let number = last.checked_add(1).ok_or_else(|| no_next(own.path(NUMBER)))?;
        // Counted before it is used: a crash in between leaves a gap and no number twice.
        own.replace(NUMBER, number.to_string().as_bytes())?;
        let partition = transaction.partition();
        let outcome = match part {
            Some(part) => {
                home.rename(part, &Part::name(number, partition))?;
                // Crash here: the part is there, with its position.
                home.sync()
            }
            None => {
                let position = Position::bytes(transaction.position(), Some(number));
                own.replace(&alone(partition), &position)
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
    /// It may not go out any more.
    Ended(String),
    /// It may be there or not.
    Unknown(FileFault),
}

impl Sink for FileSink {
    fn idle(&self) {}

    fn commit(self: Box<Self>, transaction: &Transaction<'_>) -> CommitOutcome {
        if let Err(why) = transaction.may_go() {
            return CommitOutcome::Ended(why);
        }
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
            Ok(Published::Ended(why)) => CommitOutcome::Ended(why),
            Ok(Published::Unknown(fault)) => CommitOutcome::Unknown(fault.to_string()),
            // The next holder removes what the one before prepares: that looks like any fault.
            Err(fault) => match self.home().and_then(|home| self.is_fenced(&home.folder(OWN)?)) {
                Ok(true) => CommitOutcome::Fenced,
                _ => CommitOutcome::Aborted(fault.to_string()),
            },
        }
    }
}

/// Makes an id's epoch the next one, under the folder's lock. A folder that is damaged stays as it
/// is.
fn raise(folder: &GlobalFolder, id: &str, timeout: Duration) -> Result<u64, FileFault> {
    let home = folder.open()?;
    let own = home.folder(OWN)?;
    let _lock = own.lock("lock", timeout)?;
    let number = last_number(&home, &own)?;
    let epoch = read_epoch(&own, id)?.unwrap_or(0);
    let epoch = epoch.checked_add(1).ok_or_else(|| no_epoch(own.path(epoch_file(id))))?;
    own.replace(&epoch_file(id), epoch.to_string().as_bytes())?;
    // Crash here: the older holder is fenced, and nobody holds the id.
    clean(&home, id)?;
    own.replace(NUMBER, number.to_string().as_bytes())?;
    Ok(epoch)
}

/// The last position of a partition: of the newest part, or of one that moved without records.
pub(super) fn read_last(
    folder: &GlobalFolder,
    partition: i32,
) -> Result<Option<KeyAndValue>, FileFault> {
    let home = folder.open()?;
    let own = home.folder(OWN)?;
    let mine = parts(&home)?.into_iter().filter(|part| part.partition == partition);
    let part = mine.max_by_key(|part| part.number);
    if let Some((number, position)) = Position::read_alone(&own, partition)?
        && Some(number) > part.as_ref().map(|part| part.number)
    {
        return position.pair(|| own.path(alone(partition))).map(Some);
    }
    let Some(part) = part else { return Ok(None) };
    let part = home.folder(Part::name(part.number, partition))?;
    let path = || part.path("_position");
    let position = Position::read(&part, "_position")?.ok_or_else(|| no_position(path()))?;
    position.pair(path).map(Some)
}

struct Part {
    number: u64,
    partition: i32,
}

impl Part {
    fn name(number: u64, partition: i32) -> String {
        format!("part-{number:012}-{partition}")
    }

    /// Only a name that would be written so is a part's.
    fn of(name: &str) -> Option<Self> {
        let (number, partition) = name.strip_prefix("part-")?.split_once('-')?;
        let (number, partition) = (number.parse().ok()?, partition.parse().ok()?);
        (partition >= 0 && Self::name(number, partition) == name)
            .then_some(Self { number, partition })
    }
}

/// The parts of a folder, in no order. Any other name is not ours.
fn parts(home: &OpenFolder) -> Result<Vec<Part>, FileFault> {
    let mut parts = Vec::new();
    for (name, kind) in home.entries()? {
        let Some(part) = Part::of(&name) else { continue };
        if kind != Kind::Folder {
            let problem = "has the name of a part, and is no folder";
            return Err(FileFault::foreign(home.path(name), problem));
        }
        if part.number == u64::MAX {
            return Err(no_next(home.path(name)));
        }
        parts.push(part);
    }
    Ok(parts)
}

/// The highest number that was used: of the parts, of the positions that moved alone, or of the
/// counter, which may lie behind both or be lost.
fn last_number(home: &OpenFolder, own: &OpenFolder) -> Result<u64, FileFault> {
    let mut last = read_counter(own)?.unwrap_or(0);
    last = parts(home)?.into_iter().map(|part| part.number).fold(last, u64::max);
    for (name, _) in own.entries()? {
        let partition = name.strip_prefix("position-").and_then(|number| number.parse().ok());
        let Some(partition) = partition.filter(|partition| alone(*partition) == name) else {
            continue;
        };
        if let Some((number, _)) = Position::read_alone(own, partition)? {
            if number == u64::MAX {
                return Err(no_next(own.path(name)));
            }
            last = last.max(number);
        }
    }
    Ok(last)
}

fn no_next(path: PathBuf) -> FileFault {
    FileFault::foreign(path, "has the highest number that there is, and none can follow")
}

/// Removes what earlier holders of an id prepared and never renamed.
fn clean(home: &OpenFolder, id: &str) -> Result<(), FileFault> {
    let prefix = temporary(id, 0);
    let prefix = prefix.trim_end_matches('0');
    for (name, _) in home.entries()? {
        let epoch = name.strip_prefix(prefix);
        if epoch.is_some_and(|epoch| epoch.parse::<u64>().is_ok()) {
            home.remove(&name)?;
        }
    }
    Ok(())
}

fn temporary(id: &str, epoch: u64) -> String {
    format!(".{id}.tmp-{epoch}")
}

fn alone(partition: i32) -> String {
    format!("position-{partition}")
}

const NUMBER: &str = "number";

/// `None` also where it cannot be read: the parts and the positions say it too. The number that
/// nothing follows is as good as none.
fn read_counter(own: &OpenFolder) -> Result<Option<u64>, FileFault> {
    let number = own.read(NUMBER)?.and_then(|bytes| number(&bytes));
    Ok(number.filter(|number| *number < u64::MAX))
}

fn epoch_file(id: &str) -> String {
    format!("{id}.epoch")
}

fn read_epoch(own: &OpenFolder, id: &str) -> Result<Option<u64>, FileFault> {
    let file = epoch_file(id);
    let Some(bytes) = own.read(&file)? else { return Ok(None) };
    number(&bytes).map(Some).ok_or_else(|| no_epoch(own.path(file)))
}

fn no_epoch(path: PathBuf) -> FileFault {
    FileFault::Damaged {
        path,
        problem: "is no number that can be raised",
        next: "end every run of the pipeline, remove it, and start again",
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}
