//! An open folder below which no symbolic link is followed. Others may write to a target's folder
//! while douane does: each step goes from an open handle to one name, and what was looked at is what
//! is used.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::FileFault;

/// Largest of douane's own files, positions among them.
const OWN_BYTES_MAX: u64 = 16 << 20;

/// Files of douane's own, folders, and what is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Other,
}

/// See the module.
pub(super) struct OpenFolder {
    handle: OwnedFd,
    path: PathBuf,
}

impl OpenFolder {
    /// A folder at or below `root`. How `root` itself is reached is its owner's business.
    pub fn below(root: &Path, path: &Path) -> Result<Self, FileFault> {
        walk(root, path, |at, name| at.folder(name))
    }

    /// As [`Self::below`], with the folders that are missing below `root`.
    pub fn made_below(root: &Path, path: &Path) -> Result<Self, FileFault> {
        walk(root, path, |at, name| match at.make(name) {
            Err(FileFault::Io { kind: std::io::ErrorKind::AlreadyExists, .. }) => at.folder(name),
            made => made,
        })
    }

    fn root(path: &Path) -> Result<Self, FileFault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| FileFault::io(path, "opening")(error.into()))?;
        Ok(Self { handle, path: path.to_owned() })
    }

    /// Where a name in this folder is; for words, never for opening.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// A folder in this one.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> Result<Self, FileFault> {
        let name = name.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&self.handle, name, flags, Mode::empty())
            .map_err(|error| self.fault(name, "opening", error))?;
        Ok(Self { handle, path: self.path(name) })
    }

    /// A folder that was not there before.
    pub fn make(&self, name: impl AsRef<OsStr>) -> Result<Self, FileFault> {
        let name = name.as_ref();
        rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(0o777))
            .map_err(|error| self.fault(name, "making the folder", error))?;
        self.folder(name)
    }

    /// Every name in this folder that is text, and what it is. A link is refused, whatever its
    /// name.
    pub fn entries(&self) -> Result<Vec<(String, Kind)>, FileFault> {
        let fault = |error: Errno| FileFault::io(&self.path, "listing")(error.into());
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.handle).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system says.
                FileType::Unknown => match self.kind_of(name) {
                    Ok(kind) => kind,
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(fault(error)),
                },
                kind => kind,
            };
            let kind = match kind {
                FileType::Symlink => {
                    let path = self.path(name.to_string_lossy().as_ref());
                    return Err(FileFault::Link { path });
                }
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Folder,
                _ => Kind::Other,
            };
            if let Ok(name) = name.to_str() {
                entries.push((name.to_owned(), kind));
            }
        }
        Ok(entries)
    }

    /// A regular file in this folder. A pipe or a device is none, and nothing waits for it.
    pub fn open(&self, name: impl AsRef<OsStr>, flags: OFlags) -> Result<File, FileFault> {
        let name = name.as_ref();
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&self.handle, name, flags, Mode::from_raw_mode(0o666))
            .map_err(|error| self.fault(name, "opening", error))?;
        let file = File::from(handle);
        let path = self.path(name);
        match file.metadata().map_err(FileFault::io(&path, "reading"))?.is_file() {
            true => Ok(file),
            false => Err(FileFault::foreign(path, "is no regular file")),
        }
    }

    /// One of douane's own files; `None` where there is none of the name.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FileFault> {
        let file = match self.open(name, OFlags::RDONLY) {
            Err(FileFault::NotThere { .. }) => return Ok(None),
            file => file?,
        };
        let path = self.path(name);
        let mut bytes = Vec::new();
        file.take(OWN_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(FileFault::io(&path, "reading"))?;
        match bytes.len() as u64 > OWN_BYTES_MAX {
            true => Err(FileFault::foreign(path, "is larger than 16 MiB")),
            false => Ok(Some(bytes)),
        }
    }

    /// Writes a file that was not there before, durably but for its name.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<(), FileFault> {
        let mut file = self.open(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(FileFault::io(&self.path(name), "writing"))
    }

    /// Writes a file whole or not at all, durably. Under the folder's lock.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), FileFault> {
        let next = format!("{name}.next");
        self.refuse_link(name)?;
        self.refuse_link(&next)?;
        // What a crash left under the name. A link planted meanwhile is removed, not followed, and
        // the file below is made anew or not at all.
        match rustix::fs::unlinkat(&self.handle, &next, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(self.fault(next.as_ref(), "removing", error)),
        }
        self.create(&next, bytes)?;
        // Crash here: the file is as it was.
        self.rename(&next, name)?;
        self.sync()
    }

    /// Gives a file or folder in this folder another name.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), FileFault> {
        rustix::fs::renameat(&self.handle, from, &self.handle, to)
            .map_err(|error| self.fault(to.as_ref(), "renaming", error))
    }

    /// Removes a folder that holds files only.
    pub fn remove(&self, name: &str) -> Result<(), FileFault> {
        let folder = self.folder(name)?;
        for (file, _) in folder.entries()? {
            rustix::fs::unlinkat(&folder.handle, &file, AtFlags::empty())
                .map_err(|error| folder.fault(file.as_ref(), "removing", error))?;
        }
        rustix::fs::unlinkat(&self.handle, name, AtFlags::REMOVEDIR)
            .map_err(|error| self.fault(name.as_ref(), "removing", error))
    }

    /// What was made, renamed and removed in this folder is durable.
    pub fn sync(&self) -> Result<(), FileFault> {
        rustix::fs::fsync(&self.handle)
            .map_err(|error| FileFault::io(&self.path, "syncing")(error.into()))
    }

    /// Waits for a lock that others hold for a moment. It goes with its handle, also in a crash; who
    /// is frozen while it holds it makes the others wait, and they say so.
    pub fn lock(&self, name: &str, timeout: Duration) -> Result<Lock, FileFault> {
        let file = self.open(name, OFlags::RDWR | OFlags::CREATE)?;
        lock(&file, &self.path(name), timeout)?;
        Ok(Lock(file))
    }

    fn refuse_link(&self, name: &str) -> Result<(), FileFault> {
        match self.kind_of(name) {
            Ok(FileType::Symlink) => Err(FileFault::Link { path: self.path(name) }),
            _ => Ok(()),
        }
    }

    fn kind_of(&self, name: impl rustix::path::Arg) -> Result<FileType, Errno> {
        let found = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(found.st_mode))
    }

    /// Systems differ in how they refuse a link, so the name is asked what it is.
    fn fault(&self, name: &OsStr, doing: &'static str, error: Errno) -> FileFault {
        let path = self.path(name);
        match self.kind_of(name) {
            Ok(FileType::Symlink) => FileFault::Link { path },
            _ => FileFault::io(&path, doing)(error.into()),
        }
    }
}

fn walk(
    root: &Path,
    path: &Path,
    step: impl Fn(&OpenFolder, &OsStr) -> Result<OpenFolder, FileFault>,
) -> Result<OpenFolder, FileFault> {
    let outside = || FileFault::Outside { path: path.to_owned(), dir: root.to_owned() };
    let mut at = OpenFolder::root(root)?;
    for component in path.strip_prefix(root).map_err(|_| outside())?.components() {
        let Component::Normal(name) = component else { return Err(outside()) };
        at = step(&at, name)?;
    }
    Ok(at)
}

/// A source's file. Links may lead to it within its folder `dir`, and not out of it.
pub(super) fn source(dir: &Path, path: &Path) -> Result<File, FileFault> {
    let real = |path: &Path| fs::canonicalize(path).map_err(FileFault::io(path, "opening"));
    let (root, found) = (real(dir)?, real(path)?);
    let (Some(parent), Some(name)) = (found.parent(), found.file_name()) else {
        return Err(FileFault::NotThere { path: path.to_owned() });
    };
    if found == root || !found.starts_with(&root) {
        return Err(FileFault::Outside { path: path.to_owned(), dir: dir.to_owned() });
    }
    // A link that comes into what was found is not followed any more.
    OpenFolder::below(&root, parent)?.open(name, OFlags::RDONLY)
}

/// A lock that is held; see [`OpenFolder::lock`].
pub(super) struct Lock(#[expect(dead_code, reason = "the handle is the lock")] File);

/// Locks an open file, within a time.
pub(super) fn lock(file: &File, path: &Path, timeout: Duration) -> Result<(), FileFault> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => {
                return Err(FileFault::io(path, "locking")(error));
            }
            Err(fs::TryLockError::WouldBlock) if began.elapsed() >= timeout => {
                let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                return Err(FileFault::Busy { path: path.to_owned(), waited_ms });
            }
            Err(fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
}
