//! Reads and writes at a place of a file.

#[cfg(unix)]
pub(super) use std::os::unix::fs::FileExt;

/// Where there are no files, in a browser: the writer is compiled with its verifier, and not called.
#[cfg(not(unix))]
pub(super) trait FileExt {
    fn read_exact_at(&self, _: &mut [u8], _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[cfg(not(unix))]
impl FileExt for std::fs::File {}
