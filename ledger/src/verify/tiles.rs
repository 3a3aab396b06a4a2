//! Published tiles and bundles against the leaves: every file that must be there is, holds what it
//! must, and nothing else is there.

use std::collections::BTreeSet;
use std::io;

use sha2::{Digest, Sha256};

use super::{Files, Finding, Report};

const WIDTH: usize = 256;

/// Compares `tile/` with the first `size` leaves.
pub(super) fn check(
    files: &dyn Files,
    size: u64,
    leaves: &[[u8; 32]],
    report: &mut Report,
) -> io::Result<()> {
    let mut names = match files.list("tlog/tile") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
        listed => {
            let inside = |path: String| path.strip_prefix("tlog/").map(str::to_owned);
            listed?.into_iter().filter_map(inside).collect()
        }
    };
    let mut lying = Lying { files, names: &mut names };
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(leaves.len());
    let mut hashes = leaves.get(..size).unwrap_or_default().to_vec();
    bundles(&hashes, &mut lying, report)?;
    for level in 0_u32.. {
        if hashes.is_empty() {
            break;
        }
        let mut above = Vec::new();
        for (number, tile) in hashes.chunks(WIDTH).enumerate() {
            let path = format!("tile/{level}/{}", number_path(number));
            let expected = tile.concat();
            expect(&path, tile.len(), &mut lying, report, |bytes, width| {
                bytes == expected.get(..width * 32).unwrap_or_default()
            })?;
            if tile.len() == WIDTH {
                above.push(subtree(tile));
            }
        }
        hashes = above;
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

/// Published files, and the names of those that nothing explained yet.
struct Lying<'a> {
    files: &'a dyn Files,
    names: &'a mut BTreeSet<String>,
}

fn bundles(leaves: &[[u8; 32]], lying: &mut Lying<'_>, report: &mut Report) -> io::Result<()> {
    for (number, chunk) in leaves.chunks(WIDTH).enumerate() {
        let path = format!("tile/entries/{}", number_path(number));
        expect(&path, chunk.len(), lying, report, |bytes, width| {
            let hashes = entry_hashes(bytes);
            hashes.is_some_and(|hashes| Some(hashes.as_slice()) == chunk.get(..width))
        })?;
    }
    Ok(())
}

/// Checks the tile at `path`, or its partial form, and takes what is explained off the list.
fn expect(
    path: &str,
    width: usize,
    lying: &mut Lying<'_>,
    report: &mut Report,
    holds: impl Fn(&[u8], usize) -> bool,
) -> io::Result<()> {
    let must = match width == WIDTH {
        true => path.to_owned(),
        false => format!("{path}.p/{width}"),
    };
    let mut finding = |path: &str, why| {
        report.findings.insert(Finding::Tile { path: path.to_owned(), why });
    };
    if !lying.names.contains(&must) {
        finding(&must, "it is missing");
    }
    // Earlier partial tiles may stay; they must be the start of this one.
    let partial = format!("{path}.p/");
    let mut candidates = vec![(must, width)];
    let earlier = lying.names.range(partial.clone()..).take_while(|n| n.starts_with(&partial));
    for name in earlier {
        let width_text = name.strip_prefix(&partial).unwrap_or_default();
        let earlier_width = width_text.parse().ok().filter(|w| *w > 0 && *w < WIDTH);
        let canonical = earlier_width.filter(|w: &usize| w.to_string() == width_text);
        // Wider than the checkpoint: a publication that was cut short before its checkpoint.
        candidates.extend(canonical.filter(|w| *w < width).map(|w| (name.clone(), w)));
    }
    for (name, width) in candidates {
        if !lying.names.remove(&name) {
            continue;
        }
        if !holds(&lying.files.read(&format!("tlog/{name}"))?, width) {
            finding(&name, "it does not hold what the journals say");
        }
    }
    Ok(())
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
