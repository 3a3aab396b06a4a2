//! Journal files: append-only frames, one file for each holder.
//!
//! Frame: length of the payload (4 bytes), durable mark (8), CRC-32C over both and the payload (4),
//! payload. Numbers are big-endian. Frame 0 is the [`Header`]. The durable mark is the number of
//! this journal's frames that were on disk for certain when the frame was appended. So a bad frame
//! can be told apart: if a later whole frame says that it was durable, it is damage; if none does,
//! it is a torn tail, which nobody ever acted on.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::at::FileExt;
use super::kept::Keeper;
use super::{Head, LedgerFault};
use crate::canonical::{self, hex, hex_array, text_u64};

/// Version of the header and frame format.
const FORMAT: u32 = 1;
const FRAME_HEAD: usize = 16;
/// Headers and entries are at most this long.
const PAYLOAD_BYTES_MAX: usize = super::ENTRY_BYTES_MAX;
/// No write without an fsync after it is longer.
const TORN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A holder's random id: 16 bytes, hexadecimal in files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JournalId(pub [u8; 16]);

impl JournalId {
    pub(crate) fn random() -> Result<Self, LedgerFault> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| LedgerFault::Entropy)?;
        Ok(Self(id))
    }

    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{self}.journal"))
    }
}

impl std::str::FromStr for JournalId {
    type Err = LedgerFault;

    fn from_str(text: &str) -> Result<Self, LedgerFault> {
        hex_array(text).map(Self).ok_or(LedgerFault::Name)
    }
}

impl std::fmt::Display for JournalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl std::fmt::Debug for JournalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JournalId({self})")
    }
}

impl Serialize for JournalId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JournalId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        hex_array(&text).map(Self).ok_or_else(|| D::Error::custom("not a journal id"))
    }
}

/// Frame 0: which log this is, and which journal it goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) v: u32,
    /// The log's name.
    pub(crate) log: String,
    /// This journal; the file's name too.
    pub(crate) journal: JournalId,
    /// One more than any journal that the holder saw.
    #[serde(with = "text_u64")]
    pub(crate) generation: u64,
    /// Where it goes on; nothing of the predecessor beyond this size is part of the log.
    pub(crate) predecessor: Option<Head>,
}

impl Header {
    pub(crate) fn new(log: &str, journal: JournalId, generation: u64, from: Option<Head>) -> Self {
        Self { v: FORMAT, log: log.to_owned(), journal, generation, predecessor: from }
    }

    /// Index of the journal's first entry.
    pub(crate) fn start(&self) -> u64 {
        self.predecessor.as_ref().map_or(0, |head| head.size)
    }
}

fn frame(payload: &[u8], durable: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_HEAD + payload.len());
    // Payloads are checked against PAYLOAD_BYTES_MAX before.
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&durable.to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), payload);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The frame at the start of `bytes`, if a whole and sound one is there: durable mark, payload.
fn parse_frame(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_at_checked(FRAME_HEAD)?;
    let length = u32::from_be_bytes(head.get(..4)?.try_into().ok()?) as usize;
    let durable = u64::from_be_bytes(head.get(4..12)?.try_into().ok()?);
    let crc = u32::from_be_bytes(head.get(12..)?.try_into().ok()?);
    // A frame is never empty: a tail of zeros must not read as frames.
    let payload = rest.get(..length).filter(|p| (1..=PAYLOAD_BYTES_MAX).contains(&p.len()))?;
    let found = crc32c::crc32c_append(crc32c::crc32c(head.get(..12)?), payload);
    (found == crc).then_some((durable, payload))
}

/// The holder's end of its own journal.
pub(crate) struct Writer {
    file: File,
    buffer: Vec<u8>,
    /// Frames appended, header included.
    frames: u64,
    /// Frames known to be durable.
    durable: u64,
    journal: JournalId,
    /// Bytes of the journal before those in the buffer.
    offset: u64,
    /// Keeps the frames; none: the file does.
    keeper: Option<Box<dyn Keeper>>,
}

impl Writer {
    /// Makes the file; header and directory entry are durable on return.
    pub(crate) fn create(
        dir: &Path,
        header: &Header,
        keeper: Option<Box<dyn Keeper>>,
    ) -> Result<Self, LedgerFault> {
        let io = LedgerFault::io("creating the journal");
        let path = header.journal.path(dir);
        let mut options = OpenOptions::new();
        // A copy is written where it belongs, by its holder and by whoever brings it up to date.
        options.append(keeper.is_none()).write(true).create_new(true);
        let file = options.open(&path).map_err(io)?;
        let (journal, is_kept) = (header.journal, keeper.is_some());
        let buffer = Vec::new();
        let mut writer = Self { file, buffer, frames: 0, durable: 0, journal, offset: 0, keeper };
        let payload = canonical::to_vec(header).map_err(|_| LedgerFault::Name)?;
        writer.append(&payload)?;
        if let Err(fault) = writer.sync() {
            if is_kept {
                // Nothing is in it. Where its home has it after all, the next copy brings it.
                let _ = std::fs::remove_file(&path);
            }
            return Err(fault);
        }
        sync_dir(dir)?;
        Ok(writer)
    }

    /// Buffers one frame. Nothing is durable before [`Writer::sync`].
    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<(), LedgerFault> {
        self.buffer.extend_from_slice(&frame(payload, self.durable));
        self.frames += 1;
        match self.keeper.is_none() && self.buffer.len() > 4 * 1024 * 1024 {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), LedgerFault> {
        let io = LedgerFault::io("writing the journal");
        match self.keeper {
            None => self.file.write_all(&self.buffer).map_err(io)?,
            Some(_) => self.file.write_all_at(&self.buffer, self.offset).map_err(io)?,
        }
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Everything appended is durable on return. After an error nothing is known about it (Linux
    /// forgets a failed fsync): the caller must not use this writer again.
    pub(crate) fn sync(&mut self) -> Result<(), LedgerFault> {
        if self.durable == self.frames {
            return Ok(());
        }
        match &mut self.keeper {
            None => {
                self.flush()?;
                self.file.sync_data().map_err(LedgerFault::io("making the journal durable"))?;
            }
            Some(keeper) => {
                keeper.keep(self.journal, self.offset, &self.buffer)?;
                // Crash here: kept, and missing in the copy. Whoever takes over brings it.
                self.flush()?;
            }
        }
        self.durable = self.frames;
        Ok(())
    }

    /// Nothing is appended for a while.
    pub(crate) fn idle(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.idle();
        }
    }

    /// Sends what comes next into another file, to see what a failing disk does.
    #[cfg(test)]
    pub(crate) fn onto(&mut self, path: &str) {
        self.file = OpenOptions::new().append(true).open(path).unwrap();
    }
}

/// Reads one journal from its start or from a known place.
pub(crate) struct Reader {
    file: BufReader<File>,
    journal: JournalId,
    /// Place in the file, after the last whole frame.
    offset: u64,
    /// Frames read, header included.
    frames: u64,
}

impl Reader {
    /// `None`: the journal was never born (its first write was torn). Nobody ever acted on it.
    pub(crate) fn open(
        dir: &Path,
        journal: JournalId,
    ) -> Result<Option<(Self, Header)>, LedgerFault> {
        let mut reader = Self::at(dir, journal, 0, 0)?;
        let Some(payload) = reader.next()? else {
            return Ok(None);
        };
        let header: Header = canonical::from_slice(&payload)
            .ok()
            .filter(|header: &Header| header.v == FORMAT && header.journal == journal)
            .ok_or(LedgerFault::Damaged { journal, offset: 0 })?;
        Ok(Some((reader, header)))
    }

    /// Goes on at a place where another reader stood.
    pub(crate) fn at(
        dir: &Path,
        journal: JournalId,
        offset: u64,
        frames: u64,
    ) -> Result<Self, LedgerFault> {
        let io = LedgerFault::io("opening a journal");
        let mut file = File::open(journal.path(dir)).map_err(io)?;
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let file = BufReader::with_capacity(1 << 18, file);
        Ok(Self { file, journal, offset, frames })
    }

    /// The next payload; `None` at the end, or at a torn tail.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, LedgerFault> {
        let mut bytes = Vec::with_capacity(1024);
        self.fill(&mut bytes, FRAME_HEAD)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let length = bytes.get(..4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
        let whole = FRAME_HEAD.saturating_add(length as usize);
        if whole <= FRAME_HEAD + PAYLOAD_BYTES_MAX {
            self.fill(&mut bytes, whole)?;
        }
        if parse_frame(&bytes).is_none() {
            return self.end(bytes);
        }
        self.offset += bytes.len() as u64;
        self.frames += 1;
        bytes.drain(..FRAME_HEAD);
        Ok(Some(bytes))
    }

    fn fill(&mut self, bytes: &mut Vec<u8>, to: usize) -> Result<(), LedgerFault> {
        let more = to.saturating_sub(bytes.len()) as u64;
        let io = LedgerFault::io("reading a journal");
        self.file.by_ref().take(more).read_to_end(bytes).map(drop).map_err(io)
    }

    /// No whole frame starts here: torn tail or damage?
    fn end(&mut self, mut rest: Vec<u8>) -> Result<Option<Vec<u8>>, LedgerFault> {
        let damaged = LedgerFault::Damaged { journal: self.journal, offset: self.offset };
        let io = LedgerFault::io("reading a journal");
        self.file.by_ref().take(TORN_BYTES_MAX + 1).read_to_end(&mut rest).map_err(io)?;
        if rest.len() as u64 > TORN_BYTES_MAX {
            return Err(damaged);
        }
        for at in 1..rest.len() {
            match rest.get(at..).and_then(parse_frame) {
                // This frame (number `self.frames`) was durable when that one was written.
                Some((durable, _)) if durable > self.frames => return Err(damaged),
                _ => {}
            }
        }
        Ok(None)
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }
}

/// Makes a directory's entries durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), LedgerFault> {
    let io = LedgerFault::io("making a directory durable");
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)
}

/// The ids of all journal files in a directory, sorted.
pub(crate) fn list(dir: &Path) -> Result<Vec<JournalId>, LedgerFault> {
    let io = LedgerFault::io("listing the journals");
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io)?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.map_err(io)?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".journal")).and_then(hex_array);
        ids.extend(id.map(JournalId));
    }
    ids.sort();
    Ok(ids)
}

#[cfg(test)]
mod tests;
