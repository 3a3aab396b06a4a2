//! Files as edges: rows from files of the sovereign folder, transactions as folders of files in
//! the global one. For trying and testing: one machine, local disks, no broker.
//!
//! [`format`] has one trait for what reads a format and one for what writes it, and one module
//! each stands behind them.

mod admin;
mod fault;
mod folder;
mod format;
mod looks;
mod quarantine;
mod rows;
mod shard;
mod sink;
mod source;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use douane_schemas::leaf::TableLeaves;
use douane_schemas::record::RawRecord;

pub use fault::FileFault;
pub use format::FileFormat;
pub use shard::{ShardFile, Values};
pub use source::FileRecord;

use crate::edge::{self, EdgeFault, Global, KeyAndValue, SinkFault, Sovereign};

/// Largest record, in bytes, that a file gives or takes.
pub const RECORD_BYTES_MAX: usize = 8 << 20;

/// The folder where raw data lies, and the files of one pipeline in it.
#[derive(Clone, Debug)]
pub struct SovereignFolder {
    /// What `douane.yaml` calls it; nothing else answers to it.
    pub id: String,
    /// The folder; quarantined records lie in it too.
    pub dir: PathBuf,
    /// What the paths are relative to.
    pub base: PathBuf,
    /// One "topic" each, with one partition.
    pub paths: Vec<String>,
    /// How rows lie in them.
    pub format: FileFormat,
    /// Columns of the record key, where rows are flat.
    pub key: Vec<String>,
}

impl SovereignFolder {
    fn path(&self, topic: &str) -> PathBuf {
        self.base.join(topic)
    }

    /// A file that is within the folder, for what looks remember of it: its name, and how it is read.
    fn looked<'a>(
        &'a self,
        path: &'a Path,
    ) -> (String, impl Fn() -> Result<std::fs::Metadata, FileFault> + 'a) {
        let name = format!("{path:?} {:?} {:?}", self.format, self.key);
        let looked = move || {
            let open = folder::source(&self.dir, path)?;
            open.metadata().map_err(FileFault::io(path, "looking"))
        };
        (name, looked)
    }

    /// Rows of a file that is within the folder.
    fn reader(&self, path: &Path) -> Result<Box<dyn format::Reader>, FileFault> {
        format::reader(path, folder::source(&self.dir, path)?, self.format, &self.key)
    }
}

impl Sovereign for SovereignFolder {
    fn admin(&self) -> Result<Box<dyn edge::Admin>, EdgeFault> {
        Ok(Box::new(admin::Questions::of_sovereign(self)))
    }

    fn source(&self, _: &str, topics: &[String]) -> Result<Box<dyn edge::Source>, EdgeFault> {
        Ok(Box::new(source::FileSource::new(self.clone(), topics.to_vec())))
    }

    fn quarantine(&self, _: usize) -> Result<Box<dyn edge::Quarantine>, EdgeFault> {
        Ok(Box::new(quarantine::Folder { dir: self.dir.clone() }))
    }

    /// Each record is there at once: who is asked to stop breaks.
    fn scan_unless(
        &self,
        _: &dyn Fn() -> bool,
        topic: &str,
        partition: i32,
        from: i64,
        _: Duration,
        each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), EdgeFault> {
        if !self.paths.iter().any(|path| path == topic) {
            return Ok(quarantine::scan(&self.dir, topic, from, each)?);
        }
        if partition != 0 {
            return Err(FileFault::NoPartition { path: self.path(topic) }.into());
        }
        let mut reader = self.reader(&self.path(topic))?;
        let mut row = format::Row::default();
        let mut offset = 0;
        while reader.next(&mut row)? == format::Next::Row {
            if offset >= from && each(&row.raw(0, offset)).is_break() {
                break;
            }
            offset += 1;
        }
        Ok(())
    }
}

/// The folder where what was approved goes, and one pipeline's folder in it.
#[derive(Clone, Debug)]
pub struct GlobalFolder {
    /// What `douane.yaml` calls it; nothing else answers to it.
    pub id: String,
    /// The folder.
    pub dir: PathBuf,
    /// What `topic` is relative to.
    pub base: PathBuf,
    /// The pipeline's folder, as its file names it.
    pub topic: String,
    /// How records lie in it.
    pub format: FileFormat,
    /// The release's Avro schema; needed to commit in any format but JSON lines.
    pub schema: Option<String>,
}

impl GlobalFolder {
    fn home(&self) -> PathBuf {
        self.base.join(&self.topic)
    }

    fn open(&self) -> Result<folder::OpenFolder, FileFault> {
        folder::OpenFolder::below(&self.dir, &self.home())
    }
}

impl Global for GlobalFolder {
    fn admin(&self) -> Result<Box<dyn edge::Admin>, EdgeFault> {
        Ok(Box::new(admin::Questions::of_global(self)))
    }

    fn fence(
        &self,
        id: &str,
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<Box<dyn edge::Sink>, SinkFault> {
        let sink = sink::FileSink::fence(self, id, bytes_max, timeout)?;
        Ok(Box::new(sink))
    }

    fn read_last(
        &self,
        topic: &str,
        partition: i32,
        _: Duration,
    ) -> Result<Option<KeyAndValue>, EdgeFault> {
        if topic.strip_suffix(".position") != Some(self.topic.as_str()) {
            return Err(FileFault::NotThere { path: self.base.join(topic) }.into());
        }
        Ok(sink::read_last(self, partition)?)
    }
}

/// The leaves of a file in the folder `dir` whose format has a schema; `None` for JSON lines, which
/// have none.
///
/// # Errors
/// The file cannot be read, or a column of it is no leaf.
pub fn leaves(
    dir: &Path,
    path: &Path,
    format: FileFormat,
    key: &[String],
) -> Result<Option<TableLeaves>, EdgeFault> {
    Ok(format::leaves(path, folder::source(dir, path)?, format, key)?)
}

#[cfg(test)]
mod rows_tests;
#[cfg(test)]
pub(crate) mod test_files;
