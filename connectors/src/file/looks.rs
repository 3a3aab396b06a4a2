//! What looks remember of source files. Whoever asks for a status again and again reads a file through when it
//! changed, and not each time. Nothing crosses by it: a shard's life reads a file from its first row.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::FileFault;

/// More files than one place has sources. Beyond it all is forgotten, and read again.
const FILES_MAX: usize = 1_000;
/// A file that changed less long ago may change again within one tick of its system's clock, unseen.
const SETTLED: Duration = Duration::from_secs(2);

/// What was read of a file in the state that `stamp` says.
#[derive(Default)]
struct Known {
    stamp: Option<Stamp>,
    rows: Option<i64>,
    /// Offsets, and the mark of the rows before each.
    mark: Option<(i64, String)>,
}

/// By what a file is another one. Nobody sets the time of its last change but the system.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

static KNOWN: Mutex<BTreeMap<String, Known>> = Mutex::new(BTreeMap::new());

fn known() -> MutexGuard<'static, BTreeMap<String, Known>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many rows a file has: as it was read last, where it did not change, else as `read` says.
/// `file`: its name, and how it is read.
pub(super) fn rows(
    file: &str,
    looked: impl Fn() -> Result<Metadata, FileFault>,
    read: impl FnOnce() -> Result<i64, FileFault>,
) -> Result<i64, FileFault> {
    let rows = |known: &Known| known.rows;
    remembered(file, looked, rows, read, |known, rows| known.rows = Some(*rows))
}

/// The mark of the rows before an offset, likewise.
pub(super) fn mark(
    file: &str,
    offset: i64,
    looked: impl Fn() -> Result<Metadata, FileFault>,
    read: impl FnOnce() -> Result<String, FileFault>,
) -> Result<String, FileFault> {
    let mark = |known: &Known| {
        known.mark.as_ref().filter(|(of, _)| *of == offset).map(|(_, mark)| mark.clone())
    };
    remembered(file, looked, mark, read, |known, mark| known.mark = Some((offset, mark.clone())))
}

fn remembered<T>(
    file: &str,
    looked: impl Fn() -> Result<Metadata, FileFault>,
    of: impl Fn(&Known) -> Option<T>,
    read: impl FnOnce() -> Result<T, FileFault>,
    put: impl FnOnce(&mut Known, &T),
) -> Result<T, FileFault> {
    let before = stamp(&looked()?, SystemTime::now());
    let is_same = |known: &&Known| before.is_some() && known.stamp == before;
    if let Some(found) = known().get(file).filter(is_same).and_then(of) {
        return Ok(found);
    }
    let found = read()?;
    // Of one that changed meanwhile nobody knows what was read.
    if before.is_some() && stamp(&looked()?, SystemTime::now()) == before {
        let mut all = known();
        if all.len() >= FILES_MAX && !all.contains_key(file) {
            all.clear();
        }
        let known = all.entry(file.to_owned()).or_default();
        if known.stamp != before {
            *known = Known { stamp: before, ..Known::default() };
        }
        put(known, &found);
    }
    Ok(found)
}

/// None of a file that may have changed just now.
fn stamp(meta: &Metadata, now: SystemTime) -> Option<Stamp> {
    let (s, ns) = (meta.ctime(), meta.ctime_nsec());
    let since = Duration::new(u64::try_from(s).ok()?, u32::try_from(ns).ok()?);
    let settled = now.duration_since(SystemTime::UNIX_EPOCH + since).ok()? >= SETTLED;
    let (device, inode, bytes) = (meta.dev(), meta.ino(), meta.len());
    settled.then_some(Stamp { device, inode, bytes, changed: (s, ns) })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_file_is_read_through_again_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, reads) = (dir.path().join("a"), Cell::new(0));
        let name = path.display().to_string();
        let meta = || Ok(std::fs::metadata(&path).unwrap());
        let look = || {
            let read = || {
                reads.set(reads.get() + 1);
                Ok(std::fs::read(&path).unwrap().len() as i64)
            };
            (rows(&name, meta, read).unwrap(), reads.get())
        };
        std::fs::write(&path, "one").unwrap();
        // It changed just now: what is read may be another at once.
        assert_eq!([look(), look()], [(3, 1), (3, 2)]);
        std::thread::sleep(SETTLED + Duration::from_millis(50));
        assert_eq!([look(), look(), look()], [(3, 3), (3, 3), (3, 3)]);
        // As many bytes, and a time of modification that was put back.
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "two").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(look(), (3, 4));
        std::thread::sleep(SETTLED + Duration::from_millis(50));
        assert_eq!([look(), look()], [(3, 5), (3, 5)]);
        let marks = |offset, says: &str| mark(&name, offset, meta, || Ok(says.to_owned())).unwrap();
        assert_eq!(
            [marks(1, "x"), marks(1, "y"), marks(2, "z"), marks(1, "w")],
            ["x", "x", "z", "w"]
        );
        assert_eq!(look(), (3, 5), "beside it");
        // One that changes while it is read.
        let while_read = |text: &'static str| {
            rows(&name, meta, || {
                std::fs::write(&path, text).unwrap();
                Ok(9)
            })
        };
        std::fs::write(&path, "three").unwrap();
        std::thread::sleep(SETTLED + Duration::from_millis(50));
        assert_eq!(while_read("four").unwrap(), 9);
        assert_eq!(look(), (4, 6));
    }
}
