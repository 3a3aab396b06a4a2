//! A log's part of a bundle, made of what is published of it: its checkpoint and proofs out of its tiles.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use data_encoding::BASE64;
use tlog_tiles::{Hash, Tile, TileHashReader, TileReader};

use super::{BundleFault, CosignedPart, Covered, Part, Stand};
use crate::log::{Entry, parse_leaf, path_of};
use crate::verify::note;
use crate::witness::COSIGNED;

/// Leaves in a tile, and entries in one of its bundles.
const WIDTH: u64 = 256;
const HASH_BYTES: usize = 32;
/// A checkpoint is three lines and a few signatures.
const NOTE_BYTES_MAX: u64 = 64 * 1024;

/// A log's part, from what is published of it in its directory, and where it stands then; `None` where
/// nothing is published yet. `before`: where it stood in the bundle before.
///
/// # Errors
/// [`BundleFault::RolledBack`] and [`BundleFault::Forked`] where the log is not what was bundled.
pub fn part(log: &Path, before: Option<&Stand>) -> Result<Option<(Part, Stand)>, BundleFault> {
    let tlog = log.join("tlog");
    let Some(checkpoint) = note_at(&tlog.join("checkpoint"))? else {
        return match before {
            None => Ok(None),
            Some(Stand { origin, size, .. }) => {
                Err(BundleFault::RolledBack { origin: origin.clone(), size: 0, bundled: *size })
            }
        };
    };
    let unread = |why| BundleFault::Log { origin: log.display().to_string(), why };
    let note = note::parse(checkpoint.as_bytes(), None).map_err(unread)?;
    let (origin, size, root) = (note.origin, note.size, note.root);
    let tiles = Tiles { tlog: &tlog };
    let proofs = Proofs { tiles: &tiles, origin: &origin, size, root };
    let consistency = match before {
        None => Vec::new(),
        Some(before) if before.origin != origin => {
            return Err(BundleFault::Forked { origin, bundled: before.size });
        }
        Some(before) => proofs.goes_on_from(before.size, before.root)?,
    };
    let cosigned = match newest_cosigned(&log.join(COSIGNED), size)? {
        None => None,
        Some((checkpoint, of)) => {
            let consistency = proofs.goes_on_from(of.size, of.root)?;
            Some(CosignedPart { checkpoint, consistency })
        }
    };
    let since = before.map_or(0, |before| before.size);
    let manifest = match newest_manifest(&tlog, &origin, since, size)? {
        None => None,
        Some((index, id)) => Some(Covered { id, index, inclusion: proofs.holds(index)? }),
    };
    let part = Part { checkpoint, consistency, cosigned, manifest };
    Ok(Some((part, Stand { origin, size, root })))
}

/// A note; `None` where there is no such file.
fn note_at(path: &Path) -> Result<Option<String>, BundleFault> {
    let io = |kind| BundleFault::Io { path: path.to_path_buf(), kind };
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error.kind())),
        Ok(meta) if meta.len() > NOTE_BYTES_MAX => return Err(io(ErrorKind::FileTooLarge)),
        Ok(_) => {}
    }
    fs::read_to_string(path).map(Some).map_err(|error| io(error.kind()))
}

/// The newest checkpoint with lines of witnesses that is no larger than the published one.
fn newest_cosigned(dir: &Path, size: u64) -> Result<Option<(String, note::Note)>, BundleFault> {
    let io = |error: std::io::Error| BundleFault::Io { path: dir.into(), kind: error.kind() };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(io)?,
    };
    let mut newest: Option<u64> = None;
    for entry in entries {
        let name = entry.map_err(io)?.file_name();
        let of = name.to_str().and_then(|name| name.parse().ok());
        newest = newest.max(of.filter(|of| *of <= size));
    }
    let Some(newest) = newest else { return Ok(None) };
    let Some(text) = note_at(&dir.join(newest.to_string()))? else { return Ok(None) };
    let unread = |why| BundleFault::Log { origin: dir.display().to_string(), why };
    let note = note::parse(text.as_bytes(), None).map_err(unread)?;
    Ok(Some((text, note)))
}

/// The last committed INTENT among the published entries from `since` on: its index and manifest.
fn newest_manifest(
    tlog: &Path,
    origin: &str,
    since: u64,
    size: u64,
) -> Result<Option<(u64, String)>, BundleFault> {
    let unread = |why| BundleFault::Log { origin: origin.to_owned(), why };
    let (mut end, mut void) = (size, HashSet::new());
    while end > since {
        let number = (end - 1) / WIDTH;
        let first = number * WIDTH;
        let dir = tlog.join("tile/entries");
        let bytes = tile_file(&dir, &path_of(number), (size - first).min(WIDTH))?;
        let mut entries = Vec::with_capacity(WIDTH as usize);
        let mut rest = bytes.as_slice();
        for index in first..end {
            let short = "a bundle of entries is shorter than the checkpoint says";
            let (length, after) = rest.split_first_chunk::<2>().ok_or_else(|| unread(short))?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (entry, after) = after.split_at_checked(length).ok_or_else(|| unread(short))?;
            entries.push((index, entry));
            rest = after;
        }
        for (index, entry) in entries.into_iter().rev().take_while(|(index, _)| *index >= since) {
            match parse_leaf(entry, index).map_err(|_| unread("an entry cannot be read"))? {
                Entry::Void { of, .. } => drop(void.insert(of)),
                Entry::Intent(intent) if !void.contains(&index) => {
                    return Ok(Some((index, intent.manifest_id)));
                }
                _ => {}
            }
        }
        end = first;
    }
    Ok(None)
}

/// The full file holds what a partial one held; whoever publishes meanwhile takes that away.
fn tile_file(dir: &Path, name: &str, width: u64) -> Result<Vec<u8>, BundleFault> {
    let partial = dir.join(format!("{name}.p/{width}"));
    let found = match width < WIDTH {
        true => fs::read(&partial).or_else(|_| fs::read(dir.join(name))),
        false => fs::read(dir.join(name)),
    };
    found.map_err(|error| BundleFault::Io { path: dir.join(name), kind: error.kind() })
}

/// Hashes of the published tiles, which [`TileHashReader`] holds against the checkpoint's root.
struct Tiles<'a> {
    tlog: &'a Path,
}

impl TileReader for Tiles<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let one = |tile: &Tile| {
            let dir = self.tlog.join(format!("tile/{}", tile.level()));
            let (name, width) = (path_of(tile.level_index()), u64::from(tile.width()));
            let bytes = tile_file(&dir, &name, width);
            let mut bytes = bytes.map_err(|_| tlog_tiles::Error::InvalidTile)?;
            bytes.truncate(tile.width() as usize * HASH_BYTES);
            Ok(bytes)
        };
        tiles.iter().map(one).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Proofs of one checkpoint.
struct Proofs<'a> {
    tiles: &'a Tiles<'a>,
    origin: &'a str,
    size: u64,
    root: [u8; 32],
}

impl Proofs<'_> {
    /// That the checkpoint goes on from an older one.
    fn goes_on_from(&self, size: u64, root: [u8; 32]) -> Result<Vec<String>, BundleFault> {
        let origin = || self.origin.to_owned();
        if size > self.size {
            return Err(BundleFault::RolledBack {
                origin: origin(),
                size: self.size,
                bundled: size,
            });
        }
        let forked = || BundleFault::Forked { origin: origin(), bundled: size };
        if size == self.size || size == 0 {
            return match size == 0 || root == self.root {
                true => Ok(Vec::new()),
                false => Err(forked()),
            };
        }
        let tiles = TileHashReader::new(self.size, Hash(self.root), self.tiles);
        let proof = tlog_tiles::prove_tree(self.size, size, &tiles).map_err(|_| self.torn())?;
        tlog_tiles::check_tree(&proof, self.size, Hash(self.root), size, Hash(root))
            .map_err(|_| forked())?;
        Ok(written(&proof))
    }

    /// That the leaf of this index is in it.
    fn holds(&self, index: u64) -> Result<Vec<String>, BundleFault> {
        let tiles = TileHashReader::new(self.size, Hash(self.root), self.tiles);
        let proof = tlog_tiles::prove_record(self.size, index, &tiles).map_err(|_| self.torn())?;
        Ok(written(&proof))
    }

    fn torn(&self) -> BundleFault {
        let why = "its tiles are not those of its checkpoint";
        BundleFault::Log { origin: self.origin.to_owned(), why }
    }
}

fn written(proof: &[Hash]) -> Vec<String> {
    proof.iter().map(|hash| BASE64.encode(&hash.0)).collect()
}
