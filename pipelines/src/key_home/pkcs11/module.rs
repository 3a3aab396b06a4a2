//! The vendor's library is code that runs in this process, beside its keys. It is loaded only from
//! where nobody but root and this user can have put it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::{KeyFault, io_fault};
use super::away;

/// The library's own file, behind all links.
///
/// # Errors
/// [`KeyFault::Module`]: somebody else may change it, or a folder on the way to it.
pub fn trusted(path: &Path) -> Result<PathBuf, KeyFault> {
    let file = fs::canonicalize(path).map_err(|_| away("the module cannot be loaded"))?;
    let me = rustix::process::geteuid().as_raw();
    for part in file.ancestors() {
        let meta = fs::symlink_metadata(part).map_err(io_fault(part))?;
        let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
        if mode & 0o022 != 0 || ![0, me].contains(&owner) {
            return Err(KeyFault::Module { path: part.to_owned(), owner, mode });
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn refused_at(path: &Path) -> Option<PathBuf> {
        match trusted(path) {
            Err(KeyFault::Module { path, .. }) => Some(path),
            Err(fault) => panic!("{fault}"),
            Ok(_) => None,
        }
    }

    #[test]
    fn a_module_that_others_can_change_is_not_loaded() {
        // Temporary folders lie where everybody may write: each case is told at its own place.
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (folder, link) = (dir.join("lib"), dir.join("link.so"));
        let file = folder.join("module.so");
        fs::create_dir(&folder).unwrap();
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&dir, 0o755);
        for (path, bad) in [(&file, 0o666), (&file, 0o775), (&folder, 0o775), (&folder, 0o1777)] {
            set(&file, 0o755);
            set(&folder, 0o755);
            set(path, bad);
            assert_eq!(refused_at(&file).as_ref(), Some(path), "{bad:o}");
            assert_eq!(refused_at(&link).as_ref(), Some(path), "a link to it");
        }
        set(&file, 0o755);
        set(&folder, 0o755);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&file, Some(1234), None).unwrap();
            assert_eq!(refused_at(&file), Some(file.clone()));
            std::os::unix::fs::chown(&file, Some(0), None).unwrap();
        }
        // The control: nothing of this test's own is refused any more.
        assert!(refused_at(&file).is_none_or(|path| dir.starts_with(&path) && path != dir));
        assert!(matches!(trusted(&dir.join("none.so")), Err(KeyFault::Away { .. })));
    }

    #[test]
    fn a_module_of_the_system_is_taken_behind_its_links() {
        let taken = trusted(Path::new("/usr/lib/softhsm/libsofthsm2.so")).unwrap();
        assert_eq!(taken, taken.canonicalize().unwrap());
    }
}
