//! Where a log's files lie: in a folder, or in the memory of somebody who has no disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The files of one log, by their path in its folder, with `/`.
pub trait Files {
    /// Paths of all files below a folder of it.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` where there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// One of them, from its start to where it ended when it was opened: what is appended meanwhile is
    /// of another moment.
    ///
    /// # Errors
    /// What the operating system says.
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>>;

    /// The whole of one.
    ///
    /// # Errors
    /// As [`Self::open`].
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// As [`Self::read`]; none where there is no such file.
    ///
    /// # Errors
    /// As [`Self::open`].
    fn find(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match self.read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Lets a moment pass, for whoever writes them; false where nobody does.
    fn wait(&self) -> bool {
        false
    }
}

/// A log's folder.
pub(super) struct Folder<'a>(pub(super) &'a Path);

impl Files for Folder<'_> {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut todo: Vec<(PathBuf, String)> = vec![(self.0.join(folder), folder.to_owned())];
        while let Some((dir, name)) = todo.pop() {
            let entries = match std::fs::read_dir(&dir) {
                // A folder of partial tiles that full ones replaced meanwhile.
                Err(e) if e.kind() == ErrorKind::NotFound && name != folder => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let name = format!("{name}/{}", entry.file_name().to_string_lossy());
                match entry.file_type()?.is_dir() {
                    true => todo.push((entry.path(), name)),
                    false => found.push(name),
                }
            }
        }
        Ok(found)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        let file = File::open(self.0.join(path))?;
        let bytes = file.metadata()?.len();
        Ok(Box::new(BufReader::new(file.take(bytes))))
    }

    fn wait(&self) -> bool {
        std::thread::sleep(Duration::from_millis(50));
        true
    }
}

/// Files in memory: what a page in a browser fetched.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<String, Vec<u8>>);

impl Memory {
    /// By their path in the log's folder.
    pub fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self(files)
    }

    /// As they were given.
    pub fn into_files(self) -> BTreeMap<String, Vec<u8>> {
        self.0
    }
}

impl Files for Memory {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let start = format!("{folder}/");
        let below = self.0.keys().filter(|path| path.starts_with(&start));
        let found: Vec<String> = below.cloned().collect();
        match found.is_empty() {
            true => Err(ErrorKind::NotFound.into()),
            false => Ok(found),
        }
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        match self.0.get(path) {
            None => Err(ErrorKind::NotFound.into()),
            Some(bytes) => Ok(Box::new(bytes.as_slice())),
        }
    }
}
