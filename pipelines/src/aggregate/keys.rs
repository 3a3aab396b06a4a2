//! The keys of an identity space: random, drawn once, wrapped under the place's root, and destroyed
//! by deleting a file. They are no part of the root, so that a rotation moves no unit and no noise,
//! and so that noise cannot be taken off again once they are gone.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use douane_ledger::log::LogKeys;
use douane_schemas::keys::{Key, Purpose, RootKey};

use super::store::{draw, unwrap, wrap};
use crate::config::KeysPlace;
use crate::fault::RunFault;
use crate::key_home::{self, KeyFault, KeyHome};

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
pub fn path(place: &KeysPlace, space: &str) -> PathBuf {
    place.dir.join("spaces").join(format!("{space}.key"))
}

impl SpaceKeys {
    /// Opens the keys of a space. `make`: draws them where there are none, as the first release of
    /// an account does.
    pub fn open(
        place: &KeysPlace,
        keys: &KeyHome,
        space: &str,
        make: bool,
    ) -> Result<Self, RunFault> {
        let path = path(place, space);
        let wraps = keys.pipeline_keys(Purpose::Store, &format!("space/{space}"));
        let label = format!("space-key/{space}");
        let wrapped = match fs::read(&path) {
            Ok(wrapped) => wrapped,
            Err(error) if error.kind() == ErrorKind::NotFound && make => {
                let secret = draw().ok_or_else(|| fault(&path, "the system has no entropy"))?;
                let wrapped = wrap(&wraps, label.as_bytes(), &secret)
                    .ok_or_else(|| fault(&path, "cannot be wrapped"))?;
                let dir = path.parent().unwrap_or(Path::new("."));
                fs::create_dir_all(dir).map_err(|e| fault(&path, &e.kind().to_string()))?;
                match key_home::create(&path, 0o600, &wrapped) {
                    // Whoever was first: both go on with what lies there.
                    Ok(()) | Err(KeyFault::Exists(_)) => {}
                    Err(error) => return Err(error.into()),
                }
                fs::read(&path).map_err(|e| fault(&path, &e.kind().to_string()))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(fault(&path, "is gone, and its account is not empty"));
            }
            Err(error) => return Err(fault(&path, &error.kind().to_string())),
        };
        let secret = unwrap(&wraps, label.as_bytes(), &wrapped)
            .ok_or_else(|| fault(&path, "was wrapped under another root key, or was changed"))?;
        let root = RootKey::of(secret);
        key_home::stay_locked(place, [root.is_locked()])?;
        Ok(Self::of(root, space))
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

    #[cfg(test)]
    pub fn secret(&self) -> &[u8; 32] {
        self.root.secret()
    }

    /// Keys the digests of what was read.
    pub fn commit(&self) -> Key {
        self.root.derive(Purpose::LedgerCommit, &self.space)
    }
}

fn fault(path: &Path, what: &str) -> RunFault {
    RunFault::Keys(format!(
        "key of an identity space, {}: {what}\n  next: put it back from its backup; without it \
         nothing more is released over these units",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use crate::config::{Home, Retention};

    use super::*;

    /// What threads that begin at once get, by what they ask for: the noise key's id each.
    fn at_once(place: &KeysPlace, keys: &KeyHome, spaces: [&str; 2]) -> [String; 2] {
        let ready = Barrier::new(2);
        let open = |space| {
            ready.wait();
            SpaceKeys::open(place, keys, space, true).map(|keys| keys.noise.id().to_string())
        };
        std::thread::scope(|scope| {
            let both = spaces.map(|space| scope.spawn(move || open(space)));
            both.map(|one| one.join().unwrap().unwrap())
        })
    }

    #[test]
    fn spaces_that_begin_at_once_have_a_key_each_and_one_space_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyHome::throw_away().unwrap();
        for round in 0..50 {
            let place = KeysPlace {
                dir: dir.path().join(round.to_string()),
                region: "eu-de".into(),
                locked: false,
                home: Home::File { path: dir.path().join("wrapping.key") },
                quarantine: Retention::days(30, 180),
            };
            let [x, y] = at_once(&place, &keys, ["x", "y"]);
            assert_ne!(x, y);
            // What lies there is what they went on with.
            let again = |space| SpaceKeys::open(&place, &keys, space, false).unwrap();
            assert_eq!(
                (again("x").noise.id().to_string(), again("y").noise.id().to_string()),
                (x, y)
            );
            let [one, other] = at_once(&place, &keys, ["z", "z"]);
            assert_eq!(one, other);
            let names = fs::read_dir(place.dir.join("spaces")).unwrap().count();
            assert_eq!(names, 3, "nothing is left beside them");
        }
    }
}
