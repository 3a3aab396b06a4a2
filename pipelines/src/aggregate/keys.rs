//! The keys of an identity space: random, drawn once, wrapped under the place's root, and destroyed
//! by deleting a file. They are no part of the root, so that a rotation moves no unit and no noise,
//! and so that noise cannot be taken off again once they are gone.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use douane_ledger::log::LogKeys;
use douane_schemas::keys::{Key, Purpose, RootKey};

use super::store::{draw, unwrap, wrap};
use crate::config::Place;
use crate::fault::RunFault;
use crate::key_home::KeyHome;

/// See the module.
pub struct SpaceKeys {
    /// Makes a unit of a leaf's value.
    pub unit: Key,
    /// Draws which rows of a unit count.
    pub samp_row: Key,
    /// Draws which groups of a unit count.
    pub samp_group: Key,
    /// What noise follows from.
    pub noise: Key,
    root: RootKey,
    space: String,
}

/// Where the key of a space lies.
pub fn path(place: &Place, space: &str) -> PathBuf {
    place.keys.dir.join("spaces").join(format!("{space}.key"))
}

impl SpaceKeys {
    /// Opens the keys of a space. `make`: draws them where there are none, as the first release of
    /// an account does.
    pub fn open(place: &Place, keys: &KeyHome, space: &str, make: bool) -> Result<Self, RunFault> {
        let path = path(place, space);
        let wraps = keys.pipeline_keys(Purpose::Store, &format!("space/{space}"));
        let label = format!("space-key/{space}");
        let wrapped = match fs::read(&path) {
            Ok(wrapped) => wrapped,
            Err(error) if error.kind() == ErrorKind::NotFound && make => {
                let secret = draw().ok_or_else(|| fault(&path, "the system has no entropy"))?;
                let wrapped = wrap(&wraps, label.as_bytes(), &secret)
                    .ok_or_else(|| fault(&path, "cannot be wrapped"))?;
                create(&path, &wrapped).map_err(|e| fault(&path, &e.kind().to_string()))?;
                // Whoever was first: both go on with what lies there.
                fs::read(&path).map_err(|e| fault(&path, &e.kind().to_string()))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(fault(&path, "is gone, and its account is not empty"));
            }
            Err(error) => return Err(fault(&path, &error.kind().to_string())),
        };
        let secret = unwrap(&wraps, label.as_bytes(), &wrapped)
            .ok_or_else(|| fault(&path, "was wrapped under another root key, or was changed"))?;
        Ok(Self::of(RootKey::of(secret), space))
    }

    /// Keys that nobody has after this process.
    pub fn throw_away(space: &str) -> Result<Self, RunFault> {
        let secret = draw();
        let secret = secret.ok_or_else(|| RunFault::Keys("the system has no entropy".into()))?;
        Ok(Self::of(RootKey::of(secret), space))
    }

    fn of(root: RootKey, space: &str) -> Self {
        Self {
            unit: root.derive(Purpose::Unit, space),
            samp_row: root.derive(Purpose::SampRow, space),
            samp_group: root.derive(Purpose::SampGroup, space),
            noise: root.derive(Purpose::DpNoise, space),
            root,
            space: space.to_owned(),
        }
    }

    /// What units are called in the store of open windows. Of the space, not of the place's root: a
    /// rotation in an open window must not make two units of one.
    pub fn units(&self) -> Key {
        self.root.derive(Purpose::Blind, &format!("{}/units", self.space))
    }

    /// The keys of the space's account.
    pub fn account(&self) -> LogKeys {
        let blind = self.root.derive(Purpose::Blind, &self.space);
        LogKeys::new(blind.secret(), self.commit().secret())
    }

    /// Keys the digests of what was read.
    pub fn commit(&self) -> Key {
        self.root.derive(Purpose::LedgerCommit, &self.space)
    }
}

/// Appears whole or not at all, and never over another.
fn create(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let aside = dir.join(format!(".{}.{}", std::process::id(), "new"));
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = match fs::hard_link(&aside, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    fs::remove_file(&aside)?;
    linked?;
    fs::File::open(dir)?.sync_all()
}

fn fault(path: &Path, what: &str) -> RunFault {
    RunFault::Keys(format!(
        "key of an identity space, {}: {what}\n  next: put it back from its backup; without it \
         nothing more is released over these units",
        path.display()
    ))
}
