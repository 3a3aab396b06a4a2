//! A log's files as they lie: for whoever checks them in a browser, by the verifier that the page
//! brings. Entries hold places, digests and names that were approved, and no cell.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use douane_pipelines::names::ledger_home;
use serde_json::{Value, json};

use crate::call::{Answer, Call};
use crate::service::Service;

/// As much as one answer of `bytes` has, but for the last frame's head.
const PAGE_BYTES_MAX: u64 = 4 << 20;
/// What a verifier reads below a log's folder.
const PARTS: [&str; 2] = ["journals", "tlog"];
/// `journals/`, `tlog/tile/entries/x001/x234/067.p/255`.
const DEPTH_MAX: usize = 8;

/// One file: its path in the log's folder with `/`, and where it lies.
struct Lying {
    name: String,
    path: PathBuf,
    bytes: u64,
    changed_ns: u128,
}

pub fn files(service: &Service, call: &Call) -> Answer {
    let dir = match log_dir(service, call) {
        Ok(dir) => dir,
        Err(answer) => return answer,
    };
    match lying(&dir) {
        Ok(all) => {
            let files: Vec<Value> = all
                .iter()
                .map(|file| {
                    json!({"file": file.name, "bytes": file.bytes,
                        "changed": file.changed_ns.to_string()})
                })
                .collect();
            Answer::json(200, &json!({"files": files}))
        }
        Err(error) => super::disk(&error),
    }
}

/// Frames of bytes from `file` at `offset` on, in the order of names; with `one=true` of that file
/// alone.
pub fn bytes(service: &Service, call: &Call) -> Answer {
    let dir = match log_dir(service, call) {
        Ok(dir) => dir,
        Err(answer) => return answer,
    };
    let from = call.query("file").unwrap_or_default();
    let Ok(offset) = call.query("offset").unwrap_or("0").parse::<u64>() else {
        return Answer::error(400, "`offset` is no number");
    };
    match page(&dir, from, offset, call.flag("one")) {
        Ok(bytes) => Answer::bytes("application/octet-stream", bytes),
        Err(error) => super::disk(&error),
    }
}

fn page(dir: &Path, from: &str, offset: u64, one: bool) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let all = lying(dir)?;
    let wanted = all.iter().filter(|file| match one {
        true => file.name == from,
        false => file.name.as_str() >= from,
    });
    let mut left = PAGE_BYTES_MAX;
    for file in wanted {
        if left == 0 {
            break;
        }
        let start = if file.name == from { offset } else { 0 };
        let mut open = match File::open(&file.path) {
            // A partial tile that a wider one replaced meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        open.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        open.take(left).read_to_end(&mut bytes)?;
        left -= bytes.len() as u64;
        let name = file.name.as_bytes();
        out.extend((name.len() as u32).to_be_bytes());
        out.extend(name);
        out.extend(start.to_be_bytes());
        out.extend((bytes.len() as u32).to_be_bytes());
        out.extend(bytes);
    }
    Ok(out)
}

/// The folder of a log of the connector. Its name is one that lies there: no path is made of what a
/// caller says.
fn log_dir(service: &Service, call: &Call) -> Result<PathBuf, Answer> {
    let connector = super::connector(service, call)?;
    let (log, of) = (call.param("l"), call.query("pipeline"));
    let members = connector.members().unwrap_or_default();
    let found = members
        .iter()
        .filter(|member| of.is_none_or(|of| of == member.pipeline))
        .flat_map(|member| logs(&ledger_home(&service.place.ledger_dir, &member.pipeline)))
        .find(|dir| dir.file_name().is_some_and(|name| name.to_str() == Some(log)));
    found.ok_or_else(|| Answer::error(404, "the connector has no such log"))
}

/// Folders of logs, sorted.
pub fn logs(home: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home).into_iter().flatten();
    let mut logs: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    logs.retain(|dir| dir.join("journals").is_dir());
    logs.sort();
    logs
}

fn lying(dir: &Path) -> io::Result<Vec<Lying>> {
    let mut found = Vec::new();
    for part in PARTS {
        walk(&dir.join(part), part, 0, &mut found)?;
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn walk(dir: &Path, name: &str, depth: usize, found: &mut Vec<Lying>) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let entries = match std::fs::read_dir(dir) {
        Err(error) if gone(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        // Links are neither: what lies elsewhere is no part of the log.
        let kind = entry.file_type()?;
        if kind.is_dir() && depth < DEPTH_MAX {
            walk(&entry.path(), &name, depth + 1, found)?;
        } else if kind.is_file() {
            let meta = match entry.metadata() {
                Err(error) if gone(&error) => continue,
                meta => meta?,
            };
            let changed = meta.modified()?.duration_since(std::time::UNIX_EPOCH);
            let changed_ns = changed.map_or(0, |since| since.as_nanos());
            found.push(Lying { name, path: entry.path(), bytes: meta.len(), changed_ns });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the page reads them: name, offset, bytes.
    fn frames(mut bytes: &[u8]) -> Vec<(String, u64, usize)> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let mut take = |n: usize| {
                let (head, rest) = bytes.split_at(n);
                bytes = rest;
                head.to_vec()
            };
            let number = |bytes: Vec<u8>| bytes.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
            let long = number(take(4)) as usize;
            let name = String::from_utf8(take(long)).unwrap();
            let offset = number(take(8));
            let long = number(take(4)) as usize;
            frames.push((name, offset, take(long).len()));
        }
        frames
    }

    #[test]
    fn a_log_is_read_in_pages_and_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("shard-0");
        let big = PAGE_BYTES_MAX as usize + 10;
        for (name, bytes) in [("journals/a.journal", big), ("tlog/checkpoint", 5), ("secret", 7)] {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; bytes]).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", dir.join("tlog/link")).unwrap();
        assert_eq!(logs(home.path()), [dir.clone()]);
        let names: Vec<String> = lying(&dir).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["journals/a.journal", "tlog/checkpoint"]);
        let first = frames(&page(&dir, "", 0, false).unwrap());
        assert_eq!(first, [("journals/a.journal".to_owned(), 0, big - 10)]);
        let rest = frames(&page(&dir, &first[0].0, first[0].2 as u64, false).unwrap());
        let at = PAGE_BYTES_MAX;
        let end = [("journals/a.journal".into(), at, 10), ("tlog/checkpoint".to_owned(), 0, 5)];
        assert_eq!(rest, end);
        assert_eq!(frames(&page(&dir, "tlog/checkpoint", 2, true).unwrap())[0].2, 3);
        // Past the end there is a frame without bytes: the reader knows that it has the whole.
        let past = frames(&page(&dir, "tlog/checkpoint", 5, false).unwrap());
        assert_eq!(past, [("tlog/checkpoint".to_owned(), 5, 0)]);
        for outside in ["../shard-0/secret", "secret", "/etc/passwd"] {
            assert!(page(&dir, outside, 0, true).unwrap().is_empty(), "{outside}");
        }
    }
}
