//! Who changes a small file that people and processes share is alone while he does: read, change, write.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::stop::Stop;

/// How long one waits for others. Each takes milliseconds; one that is frozen must not keep a release
/// from being stopped, or a token from being taken away.
const OTHERS: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// A lock on this file beside the one that is changed, let go of with what is given. None where it cannot
/// be had in time, or at all: a folder that cannot be written, a file system without locks.
pub fn alone(path: &Path) -> Option<File> {
    alone_within(path, OTHERS)
}

fn alone_within(path: &Path, at_most: Duration) -> Option<File> {
    let (file, until) = (File::create(path).ok()?, Instant::now() + at_most);
    let nobody = AtomicBool::new(false);
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                Stop::new(&nobody).rest(LOOK)
            }
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_waits_for_another_and_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = alone(&path).unwrap();
        assert!(alone_within(&path, Duration::from_millis(30)).is_none(), "held by another");
        let waits = std::thread::spawn({
            let path = path.clone();
            move || alone(&path).is_some()
        });
        std::thread::sleep(Duration::from_millis(30));
        drop(first);
        assert!(waits.join().unwrap());
        assert!(alone(&dir.path().join("none/lock")).is_none(), "no such folder");
    }
}
