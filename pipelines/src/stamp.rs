//! What tells that a file changed without reading it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file that changed so lately may change again and look the same: clocks of file systems tick.
const SETTLED: Duration = Duration::from_secs(2);
/// After so many looks files are read whatever their stamps say: a folder of the network may keep
/// another clock, or an old answer.
const LOOKS_UNREAD_MAX: u32 = 10;

/// What changes when a file does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    Absent,
    There {
        file: (u64, u64),
        len: u64,
        changed: [(i64, i64); 2],
    },
    /// Never the same as anything.
    Unknown,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(meta) => Self::There {
                file: (meta.dev(), meta.ino()),
                len: meta.len(),
                changed: [(meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec())],
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::Absent,
            Err(_) => Self::Unknown,
        }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self == other && *self != Self::Unknown
    }

    /// How many bytes there are, where that is known.
    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Self::Absent => Some(0),
            Self::There { len, .. } => Some(*len),
            Self::Unknown => None,
        }
    }

    /// It would be another one had the file changed since.
    fn is_settled(&self, now: SystemTime) -> bool {
        let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else { return false };
        let before = now.saturating_sub(SETTLED).as_secs();
        match self {
            Self::Absent => true,
            Self::There { changed, .. } => changed
                .iter()
                .all(|(seconds, _)| u64::try_from(*seconds).is_ok_and(|at| at < before)),
            Self::Unknown => false,
        }
    }
}

/// The stamps of files that are looked at again and again, so that they are read where one changed.
#[derive(Default)]
pub(crate) struct Glance {
    stamps: Vec<(PathBuf, Stamp)>,
    /// As they were taken, a later change would have made others of them.
    settled: bool,
    looks_unread: u32,
}

impl Glance {
    /// Whether what was read of these files after the last look still stands. Whoever hears `false`
    /// reads them now: their stamps were taken before.
    pub(crate) fn stands(&mut self, files: &[PathBuf]) -> bool {
        self.stands_at(files, SystemTime::now())
    }

    fn stands_at(&mut self, files: &[PathBuf], now: SystemTime) -> bool {
        let stamps: Vec<_> = files.iter().map(|path| (path.clone(), Stamp::of(path))).collect();
        let same = self.settled
            && stamps.len() == self.stamps.len()
            && stamps
                .iter()
                .zip(&self.stamps)
                .all(|((path, stamp), (of, before))| path == of && stamp.is(before));
        self.settled = stamps.iter().all(|(_, stamp)| stamp.is_settled(now));
        self.stamps = stamps;
        self.looks_unread = if same { self.looks_unread + 1 } else { 0 };
        if self.looks_unread >= LOOKS_UNREAD_MAX {
            self.looks_unread = 0;
            return false;
        }
        same
    }

    /// What was read decided nothing: it is read again.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(60);

    #[test]
    fn files_are_read_where_one_changed_and_now_and_then() {
        let dir = tempfile::tempdir().unwrap();
        let files = [dir.path().join("a"), dir.path().join("absent")];
        std::fs::write(&files[0], "x").unwrap();
        let later = SystemTime::now() + LATER;
        let mut glance = Glance::default();
        assert!(!glance.stands_at(&files, later), "nothing was read yet");
        let looks: Vec<bool> =
            (0..2 * LOOKS_UNREAD_MAX).map(|_| glance.stands_at(&files, later)).collect();
        let read = looks.iter().filter(|stands| !**stands).count();
        assert_eq!(read, 2, "{looks:?}");
        for (what, change) in [
            ("another content", &(|| std::fs::write(&files[0], "yy").unwrap()) as &dyn Fn()),
            ("another file of the same content", &|| {
                std::fs::write(dir.path().join("b"), "yy").unwrap();
                std::fs::rename(dir.path().join("b"), &files[0]).unwrap();
            }),
            ("one that was absent", &|| std::fs::write(&files[1], "").unwrap()),
            ("one that is gone", &|| std::fs::remove_file(&files[1]).unwrap()),
        ] {
            assert!(glance.stands_at(&files, later), "{what}: the control, before it");
            change();
            assert!(!glance.stands_at(&files, later), "{what}");
        }
        assert!(!glance.stands_at(&files[..1], later), "other files");
        assert!(glance.stands_at(&files[..1], later));
        glance.forget();
        assert!(!glance.stands_at(&files[..1], later));
    }

    #[test]
    fn a_file_that_changed_a_moment_ago_is_read_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let files = [dir.path().join("a")];
        std::fs::write(&files[0], "x").unwrap();
        let now = SystemTime::now();
        let mut glance = Glance::default();
        let mut looks =
            |at: SystemTime| [glance.stands_at(&files, at), glance.stands_at(&files, at)];
        assert_eq!(looks(now), [false, false]);
        // A clock that is behind the file system's.
        assert_eq!(looks(now - LATER), [false, false]);
        // What was read while it could still change is read once more; the control.
        assert_eq!(looks(now + LATER), [false, true]);
    }

    #[test]
    fn a_file_that_nobody_may_ask_about_is_never_as_it_was() {
        assert!(!Stamp::Unknown.is(&Stamp::Unknown) && Stamp::Absent.is(&Stamp::Absent));
        assert!(!Stamp::Unknown.is_settled(SystemTime::now()));
    }
}
