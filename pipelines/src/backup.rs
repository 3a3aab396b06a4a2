//! `backup DIR`: keys and ledger of a place in use, as they were at one moment, into a folder that is not
//! there yet. Verified before it is called a backup.
//!
//! The key store and the log of keys are copied under the store's lock: neither is newer than the other. A
//! pipeline's logs need none: what was written is never changed, and of what came after the copy the
//! position in the target knows.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use douane_ledger::log;
use douane_ledger::verify::{self, Expect};
use serde::Serialize;

use crate::config::{KeysPlace, Place};
use crate::fault::RunFault;
use crate::key_home::{self, PublicKeys};
use crate::keys;
use crate::names::{self, KEYS_HOME, checkpoint_origin};

/// What a backup holds.
#[derive(Debug, Serialize)]
pub struct Backup {
    #[serde(serialize_with = "names::path_as_text")]
    pub dir: PathBuf,
    pub logs: Vec<Copied>,
}

/// A log in it.
#[derive(Debug, Serialize)]
pub struct Copied {
    /// Below the ledger's folder.
    pub log: String,
    pub entries: u64,
    /// Entries that its checkpoint covers; null where it has none.
    pub checkpoint: Option<u64>,
}

/// Makes one.
///
/// # Errors
/// A folder that is there or lies in what is copied, what the disk says, and a copy that does not hold.
pub fn make(place: &Place, to: &Path) -> Result<Backup, RunFault> {
    let no = |why: &str| Err(RunFault::File(format!("{}: {why}", to.display())));
    if to.exists() {
        return no(
            "is there already\n  next: name a folder that is not there: a backup is never written over",
        );
    }
    let within = |dir: &Path| match (real(to), real(dir)) {
        (Some(to), Some(dir)) => to.starts_with(dir),
        _ => true,
    };
    if within(&place.keys.dir) || within(&place.ledger_dir) {
        return no(
            "lies in what it is a copy of\n  next: name a folder beside it, on another disk",
        );
    }
    let (keys_to, ledger_to) = (to.join("keys"), to.join("ledger"));
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |error: std::io::Error| RunFault::File(format!("{}: {}", path.display(), error.kind()))
    };
    // What wraps the keys may be among them.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(io(to))?;
    let held = key_home::hold(&place.keys.dir)?;
    log::copy_tree(&place.keys.dir, &keys_to, &|path| {
        path.file_name().is_some_and(|name| name == "lock")
    })
    .map_err(io(&place.keys.dir))?;
    let of_keys = place.ledger_dir.join(KEYS_HOME);
    if of_keys.is_dir() {
        copy(&of_keys, &ledger_to.join(KEYS_HOME), 0).map_err(io(&of_keys))?;
    }
    drop(held);
    if place.ledger_dir.is_dir() {
        fs::create_dir_all(&ledger_to).map_err(io(&ledger_to))?;
        let entries = fs::read_dir(&place.ledger_dir).map_err(io(&place.ledger_dir))?;
        for entry in entries {
            let entry = entry.map_err(io(&place.ledger_dir))?;
            if entry.file_name() != KEYS_HOME {
                let from = entry.path();
                copy(&from, &ledger_to.join(entry.file_name()), 0).map_err(io(&from))?;
            }
        }
    }
    for file in [place.trust.clone(), place.trust.with_extension("revocations.json")] {
        let Some(name) = file.file_name().filter(|_| file.exists()) else { continue };
        fs::copy(&file, to.join(name)).map_err(io(&file))?;
    }
    let logs = check(place, &keys_to, &ledger_to)?;
    let durable = fs::File::open(to).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
    durable.map_err(io(to))?;
    Ok(Backup { dir: to.to_path_buf(), logs })
}

/// Where a path lies that need not be there yet: without the links on the way to it. `None` where `..` leads out of
/// a folder that is not there.
fn real(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    // A root is always there.
    let (there, dir) =
        absolute.ancestors().find_map(|dir| Some((dir, dir.canonicalize().ok()?)))?;
    let below = absolute.strip_prefix(there).ok()?;
    below.components().all(|part| part != Component::ParentDir).then(|| dir.join(below))
}

/// Logs as logs, what lies between them as it is. Folders inside each other end somewhere.
fn copy(from: &Path, to: &Path, depth: u32) -> std::io::Result<()> {
    const DEPTH_MAX: u32 = 8;
    if from.join("journals").is_dir() {
        return log::backup(from, to);
    }
    if !from.is_dir() || depth == DEPTH_MAX {
        return match fs::copy(from, to) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            copied => copied.map(drop),
        };
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()), depth + 1)?;
    }
    Ok(())
}

/// Every log of the copy holds, by the verifier's code, and its keys are not older than its log of keys.
fn check(place: &Place, keys_dir: &Path, ledger: &Path) -> Result<Vec<Copied>, RunFault> {
    let public = PublicKeys::open(keys_dir).map_err(RunFault::from)?;
    let key_of = |dir: &Path| {
        let (log, of) = (dir.file_name()?, dir.parent()?.file_name()?);
        let origin = checkpoint_origin(&of.to_string_lossy(), &log.to_string_lossy());
        Some(log::verifier_key(&origin, &public?.checkpoint))
    };
    let mut copied = Vec::new();
    if ledger.is_dir() {
        let io = |error: std::io::Error| {
            RunFault::File(format!("{}: {}", ledger.display(), error.kind()))
        };
        for report in verify::home_with(ledger, &Expect::default(), &key_of).map_err(io)? {
            if let Some(finding) = report.findings.iter().next() {
                let next = "next: remove the folder, and make it anew";
                let dir = report.dir.display();
                return Err(RunFault::File(format!("{dir}: does not hold: {finding}\n  {next}")));
            }
            let log = report.dir.strip_prefix(ledger).unwrap_or(&report.dir);
            copied.push(Copied {
                log: log.display().to_string(),
                entries: report.entries,
                checkpoint: report.checkpoint,
            });
        }
    }
    let keys = KeysPlace { dir: keys_dir.to_path_buf(), ..place.keys.clone() };
    let copy = Place { keys, ledger_dir: ledger.to_path_buf(), ..place.clone() };
    keys::open(&copy).map(drop)?;
    copied.sort_by(|one, other| one.log.cmp(&other.log));
    Ok(copied)
}

impl Backup {
    /// As a person reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for Copied { log, entries, .. } in &self.logs {
            out.push_str(&format!("{log}: {entries} entries\n"));
        }
        out.push_str(&format!("{}: holds", self.dir.display()));
        out
    }
}
