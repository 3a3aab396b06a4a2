//! Published tiles and bundles against the leaves: every file that must be there is, holds what it
//! must, and nothing else is there.

use std::collections::BTreeSet;
use std::io;

use sha2::{Digest, Sha256};

use super::{Files, Finding, Report};

const WIDTH: usize = 256;

/// Names of all files in `tile/`.
pub(super) fn lying(files: &dyn Files) -> io::Result<BTreeSet<String>> {
    let inside = |path: String| path.strip_prefix("tlog/").map(str::to_owned);
    match files.list("tlog/tile") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        listed => Ok(listed?.into_iter().filter_map(inside).collect()),
    }
}

/// Compares the files of `tile/` with the leaves, of which a checkpoint covers the first `size`.
/// `names`: those that lay there before the journals were read.
pub(super) fn check(
    files: &dyn Files,
    mut names: BTreeSet<String>,
    size: u64,
    leaves: &[[u8; 32]],
    report: &mut Report,
) -> io::Result<()> {
    let mut size = usize::try_from(size).unwrap_or(usize::MAX).min(leaves.len());
    let mut published = Published { files, names: &mut names, report };
    // As many as there are leaves may lie there: tiles are durable before the checkpoint that needs them.
    for (number, tile) in leaves.chunks(WIDTH).enumerate() {
        let path = format!("tile/entries/{}", number_path(number));
        published.expect(&path, tile, covered(size, number), entry_hashes)?;
    }
    let mut hashes = leaves.to_vec();
    for level in 0_u32.. {
        if hashes.is_empty() {
            break;
        }
        let mut above = Vec::new();
        for (number, tile) in hashes.chunks(WIDTH).enumerate() {
            let path = format!("tile/{level}/{}", number_path(number));
            published.expect(&path, tile, covered(size, number), tile_hashes)?;
            if tile.len() == WIDTH {
                above.push(subtree(tile));
            }
        }
        (hashes, size) = (above, size / WIDTH);
    }
    for path in names {
        // A publication that was cut short leaves temporary files.
        if !path.ends_with(".tmp") {
            let why = "no checkpoint covers this file";
            report.findings.insert(Finding::Tile { path, why });
        }
    }
    Ok(())
}

/// How much of a tile the first `size` fill.
fn covered(size: usize, number: usize) -> usize {
    size.saturating_sub(number * WIDTH).min(WIDTH)
}

/// Published files, and the names of those that nothing explained yet.
struct Published<'a> {
    files: &'a dyn Files,
    names: &'a mut BTreeSet<String>,
    report: &'a mut Report,
}

impl Published<'_> {
    /// Checks the tile at `path` in all its forms, and takes what is explained off the list. `tile`: as
    /// much of it as the journals have; `covered`: how wide the checkpoint needs it.
    fn expect(
        &mut self,
        path: &str,
        tile: &[[u8; 32]],
        covered: usize,
        hashes: impl Fn(&[u8]) -> Option<Vec<[u8; 32]>>,
    ) -> io::Result<()> {
        let holds = |bytes: &[u8], width: usize| {
            let known = width.min(tile.len());
            let hashes = hashes(bytes).filter(|hashes| hashes.len() == width);
            hashes.is_some_and(|hashes| hashes.get(..known) == tile.get(..known))
        };
        let partial = format!("{path}.p/");
        let must = match covered {
            0 => None,
            WIDTH => Some((path.to_owned(), WIDTH)),
            width => Some((format!("{partial}{width}"), width)),
        };
        // Earlier partial ones may stay, and wider ones be there already.
        let lying = self.names.range(partial.clone()..).take_while(|n| n.starts_with(&partial));
        let mut forms: Vec<(String, usize)> = lying
            .filter_map(|name| {
                let text = name.strip_prefix(&partial)?;
                let width = text.parse().ok().filter(|w: &usize| w.to_string() == text)?;
                (1..=tile.len().min(WIDTH - 1)).contains(&width).then(|| (name.clone(), width))
            })
            .collect();
        if tile.len() == WIDTH && self.names.contains(path) {
            forms.push((path.to_owned(), WIDTH));
        }
        forms.extend(must.clone().filter(|must| !forms.contains(must)));
        for (name, width) in forms {
            self.names.remove(&name);
            let mut lies = (name.clone(), width, self.files.find(&format!("tlog/{name}"))?);
            if lies.2.is_none() && must.as_ref().is_some_and(|(must, _)| *must == name) {
                // The full one replaces it as the log moves on.
                lies = (path.to_owned(), WIDTH, self.files.find(&format!("tlog/{path}"))?);
                if lies.2.is_none() {
                    let (path, why) = (name, "it is missing");
                    self.report.findings.insert(Finding::Tile { path, why });
                }
            }
            if let (path, width, Some(bytes)) = lies
                && !holds(&bytes, width)
            {
                let why = "it does not hold what the journals say";
                self.report.findings.insert(Finding::Tile { path, why });
            }
        }
        Ok(())
    }
}

/// The hashes in a tile; `None` for bytes that are no tile.
fn tile_hashes(bytes: &[u8]) -> Option<Vec<[u8; 32]>> {
    bytes.chunks(32).map(|hash| hash.try_into().ok()).collect()
}

/// Leaf hashes of a bundle's entries; `None` for bytes that are no bundle.
fn entry_hashes(mut bytes: &[u8]) -> Option<Vec<[u8; 32]>> {
    let mut hashes = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at_checked(2)?;
        let length = u16::from_be_bytes(length.try_into().ok()?);
        let (entry, rest) = rest.split_at_checked(usize::from(length))?;
        hashes.push(Sha256::new().chain_update([0]).chain_update(entry).finalize().into());
        bytes = rest;
    }
    Some(hashes)
}

/// The root of a perfect subtree.
fn subtree(hashes: &[[u8; 32]]) -> [u8; 32] {
    match hashes {
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            let node = Sha256::new().chain_update([1]);
            node.chain_update(subtree(left)).chain_update(subtree(right)).finalize().into()
        }
    }
}

/// A tile's number as a path.
pub(crate) fn number_path(number: usize) -> String {
    let digits = format!("{number:03}");
    let padded = format!("{digits:0>width$}", width = digits.len().div_ceil(3) * 3);
    let groups: Vec<&str> = (0..padded.len()).step_by(3).map(|at| &padded[at..at + 3]).collect();
    let (last, first) = groups.split_last().unwrap_or((&"000", &[]));
    first.iter().map(|group| format!("x{group}/")).collect::<String>() + last
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C2SP tlog-tiles, "Tile paths": the example is 1234067 → x001/x234/067.
    #[test]
    fn paths_are_those_of_the_standard() {
        for (number, path) in
            [(0, "000"), (255, "255"), (1000, "x001/000"), (1_234_067, "x001/x234/067")]
        {
            assert_eq!(number_path(number), path);
            assert_eq!(crate::log::path_of(number as u64), path);
        }
    }
}
