//! The source: rows of files in their order. An offset is the number of a row.
//!
//! There is no index: a start reads a file from its first row to its position. On the way it
//! chains a digest over all of them, and the position in the target names that digest: a file
//! that was replaced, cut or edited below its position is found out before anything crosses.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::format::{Next, Reader, Row};
use super::{FileFault, SovereignFolder, looks};
use crate::edge::{EdgeFault, Fetched, Polled, Source};

type Chain = [u8; 32];

/// A row in the source's buffer. No `Debug`: it is data.
pub struct FileRecord<'a> {
    topic: u32,
    offset: i64,
    row: &'a Row,
}

impl FileRecord<'_> {
    pub(crate) fn raw(&self) -> douane_schemas::record::RawRecord<'_> {
        self.row.raw(self.topic, self.offset)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Flowing,
    Paused,
    Ended,
}

struct Track {
    path: PathBuf,
    reader: Box<dyn Reader>,
    next: i64,
    chain: Chain,
    /// The chain before each row that was given and has not crossed yet, and before `next`.
    marks: VecDeque<Chain>,
    state: State,
}

impl Track {
    /// A file at `next`: everything before it is read and chained.
    fn open(folder: &SovereignFolder, path: PathBuf, next: i64) -> Result<Self, FileFault> {
        let reader = folder.reader(&path)?;
        let chain = Chain::default();
        let marks = VecDeque::from([chain]);
        let mut track = Self { path, reader, next: 0, chain, marks, state: State::Flowing };
        let mut row = Row::default();
        while track.next < next {
            if track.take(&mut row)? != Next::Row {
                let what = format!(
                    "has {} records, and the position is behind {next}: it was cut or replaced",
                    track.next
                );
                return Err(FileFault::Changed { path: track.path, what });
            }
            track.forget_before(track.next);
        }
        Ok(track)
    }

    fn take(&mut self, row: &mut Row) -> Result<Next, FileFault> {
        let next = self.reader.next(row)?;
        if next == Next::Row {
            self.next += 1;
            self.chain = link(&self.chain, row);
            self.marks.push_back(self.chain);
        }
        Ok(next)
    }

    /// The chain over the rows before an offset, while it is remembered.
    fn mark(&self, offset: i64) -> Option<&Chain> {
        let back = usize::try_from(self.next - offset).ok()?;
        self.marks.get((self.marks.len() - 1).checked_sub(back)?)
    }

    fn forget_before(&mut self, offset: i64) {
        let keep = usize::try_from(self.next - offset).unwrap_or(0) + 1;
        while self.marks.len() > keep {
            self.marks.pop_front();
        }
    }
}

fn link(before: &Chain, row: &Row) -> Chain {
    let mut digest = Sha256::new();
    digest.update(before);
    for part in [&row.key, &row.value] {
        match part {
            None => digest.update([0]),
            Some(bytes) => {
                digest.update([1]);
                digest.update((bytes.len() as u64).to_be_bytes());
                digest.update(bytes);
            }
        }
    }
    digest.finalize().into()
}

fn others(path: &Path, next: i64) -> FileFault {
    let what = format!(
        "its first {next} records are not the ones that were read: it was replaced or edited"
    );
    FileFault::Changed { path: path.to_owned(), what }
}

/// See the module.
pub(super) struct FileSource {
    folder: SovereignFolder,
    topics: Vec<String>,
    tracks: BTreeMap<(u32, i32), Track>,
    row: Row,
}

impl FileSource {
    pub fn new(folder: SovereignFolder, topics: Vec<String>) -> Self {
        Self { folder, topics, tracks: BTreeMap::new(), row: Row::default() }
    }

    fn path(&self, topic: u32, partition: i32) -> Result<PathBuf, FileFault> {
        let name = self.topics.get(topic as usize).map_or("", String::as_str);
        let path = self.folder.path(name);
        if partition == 0 { Ok(path) } else { Err(FileFault::NoPartition { path }) }
    }

    fn track(&mut self, topic: u32, partition: i32) -> Result<&mut Track, FileFault> {
        let path = self.path(topic, partition)?;
        self.tracks.get_mut(&(topic, partition)).ok_or(FileFault::NoPartition { path })
    }
}

impl Source for FileSource {
    fn assign(&mut self, places: &[(u32, i32, i64)]) -> Result<(), EdgeFault> {
        self.tracks.clear();
        for (topic, partition, next) in places {
            let track = Track::open(&self.folder, self.path(*topic, *partition)?, *next)?;
            self.tracks.insert((*topic, *partition), track);
        }
        Ok(())
    }

    fn poll(&mut self, _: Duration) -> Polled<'_> {
        let Self { tracks, row, .. } = self;
        // One file after the other: a file's rows belong together.
        let flowing = tracks.iter_mut().filter(|(_, track)| track.state == State::Flowing);
        for ((topic, _), track) in flowing {
            match track.take(row) {
                Err(fault) => return Polled::Fault(fault.into()),
                Ok(Next::Row) => {
                    let (topic, offset) = (*topic, track.next - 1);
                    return Polled::Record(Fetched::File(FileRecord { topic, offset, row }));
                }
                Ok(Next::End) => track.state = State::Ended,
                Ok(Next::Unfinished) => {
                    track.state = State::Ended;
                    return Polled::Trouble(format!(
                        "{}: the last line is not finished, and was not read",
                        track.path.display()
                    ));
                }
            }
        }
        Polled::End
    }

    fn pause(&mut self, topic: u32, partition: i32) -> Result<(), EdgeFault> {
        self.track(topic, partition)?.state = State::Paused;
        Ok(())
    }

    fn resume_at(&mut self, topic: u32, partition: i32, offset: i64) -> Result<(), EdgeFault> {
        self.track(topic, partition)?;
        let again = Track::open(&self.folder, self.path(topic, partition)?, offset)?;
        self.tracks.insert((topic, partition), again);
        Ok(())
    }

    /// Reads the file through, unless it is as it was: its end is where it ends now.
    fn watermarks(&self, topic: u32, partition: i32) -> Result<(i64, i64), EdgeFault> {
        let path = self.path(topic, partition)?;
        let (name, looked) = self.folder.looked(&path);
        let high = looks::rows(&name, looked, || {
            let mut reader = self.folder.reader(&path)?;
            let mut row = Row::default();
            let mut high = 0;
            while reader.next(&mut row)? == Next::Row {
                high += 1;
            }
            Ok(high)
        })?;
        Ok((0, high))
    }

    fn offset_for_time(
        &self,
        topic: u32,
        partition: i32,
        since_ms: i64,
    ) -> Result<Option<i64>, EdgeFault> {
        let path = self.path(topic, partition)?;
        let mut reader = self.folder.reader(&path)?;
        let mut row = Row::default();
        let mut offset = 0;
        while reader.next(&mut row)? == Next::Row {
            if row.timestamp_ms >= since_ms {
                return Ok(Some(offset));
            }
            offset += 1;
        }
        Ok(None)
    }

    fn mark(&self, topic: u32, partition: i32, offset: i64) -> Option<String> {
        let track = self.tracks.get(&(topic, partition))?;
        track.mark(offset).map(|chain| HEXLOWER.encode(chain))
    }

    fn expect(&mut self, topic: u32, partition: i32, mark: &str) -> Result<(), EdgeFault> {
        let track = self.track(topic, partition)?;
        match track.mark(track.next).is_some_and(|chain| HEXLOWER.encode(chain) == mark) {
            true => Ok(()),
            false => Err(others(&track.path, track.next).into()),
        }
    }

    fn stands(
        &self,
        (topic, partition): (u32, i32),
        next: i64,
        mark: &str,
    ) -> Result<(), EdgeFault> {
        let path = self.path(topic, partition)?;
        let (name, looked) = self.folder.looked(&path);
        let found = looks::mark(&name, next, looked, || {
            let track = Track::open(&self.folder, path.clone(), next)?;
            Ok(HEXLOWER.encode(&track.chain))
        })?;
        match found == mark {
            true => Ok(()),
            false => Err(others(&path, next).into()),
        }
    }

    /// Nobody asks a file for its lag; what crossed need not be remembered any more.
    fn commit_group(&mut self, places: &[(u32, i32, i64)]) {
        for (topic, partition, next) in places {
            if let Some(track) = self.tracks.get_mut(&(*topic, *partition)) {
                track.forget_before(*next);
            }
        }
    }

    fn close(self: Box<Self>) {}
}
