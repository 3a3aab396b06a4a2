//! The published form: C2SP tlog-tiles (<https://c2sp.org/tlog-tiles>) with a signed checkpoint.
//!
//! `tlog/tile/<level>/<n>`, `tlog/tile/entries/<n>`, partial ones `….p/<width>`, `tlog/checkpoint`.
//! Tiles are durable before the checkpoint that needs them; the checkpoint is the commit point.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use signed_note::{Note, Signature};
use tlog_tiles::Checkpoint;

use super::chain::{Cursor, Segment};
use super::journal::{JournalId, Reader, sync_dir};
use super::tree::{Hash, TILE_WIDTH, Tree, leaf_hash};
use super::{LedgerFault, journals, lock};
use crate::signing::{SigningKey, VerifyingKey};

/// C2SP signed-note: the algorithm byte of Ed25519.
const ED25519: u8 = 1;
/// A checkpoint is three lines and a few signatures.
const CHECKPOINT_BYTES_MAX: u64 = 64 * 1024;

/// Stands at the published checkpoint and knows what the next one needs.
#[derive(Clone, Default)]
pub(crate) struct Publisher {
    tree: Tree,
    /// The entries of the incomplete bundle.
    bundle: Vec<Vec<u8>>,
    cursor: Cursor,
}

impl Publisher {
    /// An entry that the published checkpoint covers: it may be in the incomplete bundle.
    pub(crate) fn pass(&mut self, payload: &[u8]) {
        if self.bundle.len() == TILE_WIDTH {
            self.bundle.clear();
        }
        self.bundle.push(payload.to_vec());
    }

    /// Here the published checkpoint stands.
    pub(crate) fn stand(&mut self, tree: &Tree, cursor: Cursor) {
        self.tree = tree.clone();
        self.cursor = cursor;
        if self.bundle.len() == TILE_WIDTH {
            self.bundle.clear();
        }
    }

    /// See [`super::Log::publish`].
    pub(crate) fn publish(
        &mut self,
        dir: &Path,
        segments: &[Segment],
        to: u64,
        signer: &SigningKey,
        origin: &str,
    ) -> Result<(), LedgerFault> {
        if to <= self.tree.size() {
            return Ok(());
        }
        let tlog = dir.join("tlog");
        fs::create_dir_all(&tlog).map_err(LedgerFault::io("making the tile directory"))?;
        // A zombie may publish too: never at the same time, and never back. What it covers is
        // committed, so its tiles are the same bytes.
        let _lock = lock(&dir.join("publish.lock"), "publication of the log")?;
        let published = checkpoint(dir)?;
        if published.is_some_and(|(size, _)| size > to) {
            return Ok(());
        }
        // On a copy: after a failure the next call starts from the checkpoint again.
        let mut next = self.clone();
        next.write(dir, segments, to, published, signer, origin)?;
        *self = next;
        Ok(())
    }

    fn write(
        &mut self,
        dir: &Path,
        segments: &[Segment],
        to: u64,
        published: Option<(u64, Hash)>,
        signer: &SigningKey,
        origin: &str,
    ) -> Result<(), LedgerFault> {
        let tlog = dir.join("tlog");
        let mut files = Files::new(&tlog);
        let mut reader = None;
        while self.tree.size() < to {
            let payload = self.next(dir, segments, &mut reader)?;
            let mut fault = None;
            self.tree.push(leaf_hash(&payload), |level, number, hashes| {
                let path = format!("tile/{level}/{}", path_of(number));
                fault = fault.take().or(files.full(&path, &hashes.concat()).err());
            });
            self.bundle.push(payload);
            if self.bundle.len() == TILE_WIDTH {
                let number = (self.tree.size() - 1) / TILE_WIDTH as u64;
                let path = format!("tile/entries/{}", path_of(number));
                fault = fault.or(files.full(&path, &encode_bundle(&self.bundle)).err());
                self.bundle.clear();
            }
            fault.map_or(Ok(()), Err)?;
            let known = published.filter(|(size, _)| *size == self.tree.size());
            if known.is_some_and(|(_, root)| root != self.tree.root()) {
                return Err(LedgerFault::Checkpoint { why: "another history was published" });
            }
        }
        for level in 0..self.tree.levels() {
            let Some((number, hashes)) = self.tree.partial(level) else {
                continue;
            };
            let path = format!("tile/{level}/{}", path_of(number));
            files.partial(&path, hashes.len(), &hashes.concat())?;
        }
        let bundle = format!("tile/entries/{}", path_of(self.tree.size() / TILE_WIDTH as u64));
        files.partial(&bundle, self.bundle.len(), &encode_bundle(&self.bundle))?;
        files.make_durable()?;
        // Crash here: tiles that no checkpoint needs yet; they are written again, the same.
        let note = note(self.tree.size(), self.tree.root(), signer, origin)?;
        write_atomic(&tlog.join("checkpoint"), &note)?;
        sync_dir(&tlog)?;
        files.drop_partials();
        Ok(())
    }

    /// The next entry of the chain; the reader is kept from one to the next.
    fn next(
        &mut self,
        dir: &Path,
        segments: &[Segment],
        kept: &mut Option<(usize, Reader)>,
    ) -> Result<Vec<u8>, LedgerFault> {
        let index = self.tree.size();
        let at =
            segments.iter().position(|s| s.start <= index && s.end.is_none_or(|end| index < end));
        let journal = at.and_then(|at| segments.get(at)).map_or(JournalId([0; 16]), |s| s.journal);
        let why = "entries to publish are not in their journal";
        let lost = || LedgerFault::LedgerLost { why, journal, size: index + 1 };
        let at = at.ok_or_else(lost)?;
        let mut reader = match kept.take().filter(|(segment, _)| *segment == at) {
            Some((_, reader)) => reader,
            None if at == self.cursor.segment && self.cursor.offset > 0 => {
                let Cursor { offset, frames, .. } = self.cursor;
                Reader::at(&journals(dir), journal, offset, frames)?
            }
            None => Reader::open(&journals(dir), journal)?.ok_or_else(lost)?.0,
        };
        let payload = reader.next()?.ok_or_else(lost)?;
        self.cursor = Cursor::of(at, &reader);
        *kept = Some((at, reader));
        Ok(payload)
    }
}

/// Size and root of the published checkpoint, unverified: the directory is ours, and a signature
/// by our own key would prove no more. `None` where nothing was published.
///
/// # Errors
/// [`LedgerFault::Checkpoint`] for a file that is no checkpoint.
pub fn checkpoint(dir: &Path) -> Result<Option<(u64, [u8; 32])>, LedgerFault> {
    let io = LedgerFault::io("reading the checkpoint");
    let path = dir.join("tlog/checkpoint");
    match fs::metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
        Ok(meta) if meta.len() > CHECKPOINT_BYTES_MAX => {
            return Err(LedgerFault::Checkpoint { why: "the file is too long" });
        }
        Ok(_) => {}
    }
    let bytes = fs::read(&path).map_err(io)?;
    let malformed = LedgerFault::Checkpoint { why: "the file is not a signed checkpoint" };
    let Ok(note) = Note::from_bytes(&bytes) else {
        return Err(malformed);
    };
    match Checkpoint::from_bytes(note.text()) {
        Ok(checkpoint) => Ok(Some((checkpoint.size(), checkpoint.hash().0))),
        Err(_) => Err(malformed),
    }
}

/// The key that public tools take: `origin+hex8+base64(0x01 || key)`.
pub fn verifier_key(origin: &str, key: &VerifyingKey) -> String {
    let bytes = note_key(key);
    let id = signed_note::key_id(origin, &bytes);
    format!("{origin}+{id:08x}+{}", data_encoding::BASE64.encode(&bytes))
}

fn note(size: u64, root: Hash, key: &SigningKey, origin: &str) -> Result<Vec<u8>, LedgerFault> {
    let why = "the origin is not a name without spaces, control characters and +";
    let refused = || LedgerFault::Checkpoint { why };
    let checkpoint = Checkpoint::new(origin, size, tlog_tiles::Hash(root), "");
    let text = checkpoint.map_err(|_| refused())?.to_bytes();
    let id = signed_note::key_id(origin, &note_key(&key.verifying_key()));
    let signature = Signature::new(origin.to_owned(), id, key.sign(&text).to_vec());
    let note = Note::new(&text, &[signature.map_err(|_| refused())?]).map_err(|_| refused())?;
    Ok(note.to_bytes())
}

/// C2SP signed-note: algorithm byte and key.
fn note_key(key: &VerifyingKey) -> Vec<u8> {
    [&[ED25519], key.0.as_slice()].concat()
}

/// A tile's number as a path: groups of three digits, all but the last with `x`.
pub(crate) fn path_of(mut number: u64) -> String {
    let mut path = format!("{:03}", number % 1000);
    while number >= 1000 {
        number /= 1000;
        path = format!("x{:03}/{path}", number % 1000);
    }
    path
}

/// Each entry: length (2 bytes, big-endian), bytes.
fn encode_bundle(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.len() + 2).sum());
    for entry in entries {
        // Entries are checked against ENTRY_BYTES_MAX when they are appended.
        bytes.extend_from_slice(&u16::try_from(entry.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    bytes
}

/// Files written in one publication.
struct Files<'a> {
    tlog: &'a Path,
    dirs: BTreeSet<PathBuf>,
    complete: Vec<PathBuf>,
}

impl<'a> Files<'a> {
    fn new(tlog: &'a Path) -> Self {
        Self { tlog, dirs: BTreeSet::new(), complete: Vec::new() }
    }

    fn full(&mut self, path: &str, bytes: &[u8]) -> Result<(), LedgerFault> {
        self.complete.push(self.tlog.join(format!("{path}.p")));
        self.write(self.tlog.join(path), bytes)
    }

    fn partial(&mut self, path: &str, width: usize, bytes: &[u8]) -> Result<(), LedgerFault> {
        let file = self.tlog.join(format!("{path}.p/{width}"));
        match width == 0 || fs::metadata(&file).is_ok_and(|m| m.len() == bytes.len() as u64) {
            true => Ok(()),
            false => self.write(file, bytes),
        }
    }

    fn write(&mut self, file: PathBuf, bytes: &[u8]) -> Result<(), LedgerFault> {
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).map_err(LedgerFault::io("making a tile directory"))?;
            let up = dir.ancestors().take_while(|dir| dir.starts_with(self.tlog));
            self.dirs.extend(up.map(Path::to_path_buf));
        }
        write_atomic(&file, bytes)
    }

    fn make_durable(&self) -> Result<(), LedgerFault> {
        self.dirs.iter().try_for_each(|dir| sync_dir(dir))
    }

    /// C2SP lets partial tiles go once the full one is there. A failure leaves litter, no harm.
    fn drop_partials(&self) {
        for dir in &self.complete {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// Readers see the old file or the new one; the bytes are durable on return, the name is after a
/// sync of the directory.
fn write_atomic(file: &Path, bytes: &[u8]) -> Result<(), LedgerFault> {
    let io = LedgerFault::io("writing a published file");
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut out = File::create(&temporary).map_err(io)?;
    out.write_all(bytes).map_err(io)?;
    out.sync_data().map_err(io)?;
    fs::rename(&temporary, file).map_err(io)
}
