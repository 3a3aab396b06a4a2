//! What may go wrong with files, in words that hold no data.

use std::io;
use std::path::{Path, PathBuf};

use arrow::datatypes::DataType;
use douane_schemas::names::printable;

/// A file or folder is not as it must be. Holds paths, counts and fixed words: never a record.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The disk, or the rights.
    #[error("{}: {doing}: {kind}", .path.display())]
    Io { path: PathBuf, doing: &'static str, kind: io::ErrorKind },
    /// A file or folder is missing; none is made on the way.
    #[error("{}: does not exist", .path.display())]
    NotThere { path: PathBuf },
    /// A file has one partition, number 0.
    #[error("{}: a file has no such partition", .path.display())]
    NoPartition { path: PathBuf },
    /// What the file holds is not its format's. Reading on would leave something out.
    #[error("{}: after {records} records: {problem}", .path.display())]
    Malformed { path: PathBuf, records: i64, problem: &'static str },
    /// What lies in the target's folder is not as douane leaves it.
    #[error("{}: {problem}\n  next: {next}", .path.display())]
    Damaged { path: PathBuf, problem: &'static str, next: &'static str },
    /// A symbolic link where none may be: it could lead douane's hand anywhere.
    #[error(
        "{}: a symbolic link, and none is followed here\n  next: find out who made it, and remove it",
        .path.display()
    )]
    Link { path: PathBuf },
    /// A path that ends elsewhere than below the folder that it is in by name.
    #[error(
        "{}: leads out of {}\n  next: put the file itself there, or name the folder where it is",
        .path.display(), .dir.display()
    )]
    Outside { path: PathBuf, dir: PathBuf },
    /// What lies before the position is not what was read: the file was replaced or cut.
    #[error("{}: {what}", .path.display())]
    Changed { path: PathBuf, what: String },
    /// A column of the file is no leaf.
    #[error("{}: column {column}: {problem}", .path.display())]
    Column { path: PathBuf, column: usize, problem: &'static str },
    /// A column whose type no leaf holds exactly. Dropping it here would be silent.
    #[error(
        "{}: column {column}, `{name}`, is {found}, which no leaf holds exactly; write the file \
         without it, or with one column for each part",
        .path.display()
    )]
    NoLeaf { path: PathBuf, column: usize, name: String, found: String },
    /// Another process holds the folder's lock: it commits, or was frozen while it did.
    #[error("{}: locked by another process for {waited_ms} ms", .path.display())]
    Busy { path: PathBuf, waited_ms: u64 },
    /// Records could not be written in the sink's format.
    #[error("{}: {problem}", .path.display())]
    Encode { path: PathBuf, problem: &'static str },
}

impl FileFault {
    /// For `map_err` of one step on one path.
    pub(super) fn io(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |error| match error.kind() {
            io::ErrorKind::NotFound => Self::NotThere { path: path.clone() },
            kind => Self::Io { path: path.clone(), doing, kind },
        }
    }

    /// A column, by its number from 1. Names come from the file's schema; nested types hold more of
    /// them, and are named by their kind alone.
    pub(super) fn no_leaf(path: &Path, column: usize, name: &str, found: &DataType) -> Self {
        let kind = match found {
            DataType::Struct(_) => "struct".to_owned(),
            DataType::List(_) | DataType::ListView(_) => "list".to_owned(),
            DataType::LargeList(_) | DataType::LargeListView(_) => "large_list".to_owned(),
            DataType::FixedSizeList(..) => "fixed_size_list".to_owned(),
            DataType::Map(..) => "map".to_owned(),
            DataType::Union(..) => "union".to_owned(),
            DataType::RunEndEncoded(..) => "run_end_encoded".to_owned(),
            DataType::Dictionary(..) => "dictionary of what no leaf is".to_owned(),
            plain => plain.to_string(),
        };
        Self::no_leaf_named(path, column, name, kind)
    }

    /// As [`FileFault::no_leaf`], of a type that Arrow does not name.
    pub(super) fn no_leaf_named(path: &Path, column: usize, name: &str, found: String) -> Self {
        Self::NoLeaf { path: path.to_owned(), column, name: printable(name, true, column), found }
    }

    /// For what douane did not make.
    pub(super) fn foreign(path: PathBuf, problem: &'static str) -> Self {
        Self::Damaged { path, problem, next: "find out who put it there, and remove it" }
    }

    /// Whether trying again may help.
    pub fn is_away(&self) -> bool {
        use io::ErrorKind::{Interrupted, QuotaExceeded, ResourceBusy, StorageFull};
        let passes = [Interrupted, QuotaExceeded, ResourceBusy, StorageFull];
        match self {
            Self::Busy { .. } => true,
            Self::Io { kind, .. } => passes.contains(kind),
            _ => false,
        }
    }

    /// The path of a file that is no longer the one that was read, and what is different.
    pub fn changed(&self) -> Option<(&Path, &str)> {
        match self {
            Self::Changed { path, what } => Some((path, what)),
            _ => None,
        }
    }
}
