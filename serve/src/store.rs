//! What outlives the process of a connector: its pipeline's file, and beside it the keys of its
//! config and whether it is to run.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a connector is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Target {
    #[default]
    Running,
    Paused,
    Stopped,
}

impl Target {
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
        }
    }
}

/// The keys of a config but for the pipeline itself, which is a file.
pub type Keys = BTreeMap<String, String>;

/// One connector's file in the state folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Keys>,
    #[serde(default)]
    pub target: Target,
}

/// The folder of pipelines and the folder of states.
pub struct Store {
    pipelines: PathBuf,
    states: PathBuf,
}

const STATE_BYTES_MAX: u64 = 1 << 20;

impl Store {
    /// Makes the folders where they are missing.
    pub fn open(pipelines: &Path, states: &Path) -> io::Result<Self> {
        fs::create_dir_all(pipelines)?;
        fs::create_dir_all(states)?;
        Ok(Self { pipelines: pipelines.to_owned(), states: states.to_owned() })
    }

    /// Files of pipelines by the names of their connectors, which are the files' own.
    pub fn files(&self) -> io::Result<BTreeMap<String, PathBuf>> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&self.pipelines)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let yaml = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
            if yaml && crate::tokens::is_name(stem) && douane_pipelines::config::is_pipeline(&path)
            {
                files.insert(stem.to_owned(), path);
            }
        }
        Ok(files)
    }

    /// The file of a connector that has none yet.
    pub fn file_of(&self, name: &str) -> PathBuf {
        self.pipelines.join(format!("{name}.yaml"))
    }

    /// A file beside the others that is no pipeline yet; whoever takes it removes or renames it.
    pub fn candidate(&self, name: &str) -> PathBuf {
        self.pipelines.join(format!(".{name}.candidate"))
    }

    /// Puts a whole file in the place of another, or leaves the other as it was.
    pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let beside = path.with_file_name(format!(".{}", name.to_string_lossy()));
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // Crash before it: the old file stands, and one that is no pipeline by its name.
        fs::rename(&beside, path)?;
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::File::open(dir)?.sync_all()
    }

    fn state_of(&self, name: &str) -> PathBuf {
        self.states.join(format!("{name}.json"))
    }

    /// A connector without a file here runs, and has the config that follows from its pipeline.
    pub fn saved(&self, name: &str) -> io::Result<Saved> {
        let path = self.state_of(name);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
            Err(error) => return Err(error),
            Ok(meta) if meta.len() > STATE_BYTES_MAX => {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
            Ok(_) => {}
        }
        serde_json::from_slice(&fs::read(&path)?)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    }

    pub fn save(&self, name: &str, saved: &Saved) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(saved)?;
        Self::write(&self.state_of(name), &bytes)
    }

    /// Takes a connector's files away. Its pipeline is kept in the state folder: people may have
    /// written it. Crash in between: the pipeline is gone from its folder, and nothing runs it.
    pub fn remove(&self, name: &str, file: &Path) -> io::Result<()> {
        let removed = self.states.join("removed");
        fs::create_dir_all(&removed)?;
        let at = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ");
        let kept = removed.join(format!("{name}.{at}.yaml"));
        // A copy first: the two folders may lie on two disks.
        fs::copy(file, &kept)?;
        fs::File::open(&kept)?.sync_all()?;
        fs::remove_file(file)?;
        match fs::remove_file(self.state_of(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pipelines_are_connectors_and_what_was_removed_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (pipelines, states) = (dir.path().join("pipelines"), dir.path().join("state/serve"));
        let store = Store::open(&pipelines, &states).unwrap();
        for (name, text) in [
            ("customers.yaml", "name: customers\nsource: {}\n"),
            ("domains.yaml", "domains: {}\n"),
            ("catalog.yaml", "tables: {}\n"),
            ("broken.yaml", "a: [\n"),
            ("Odd Name.yaml", "source: {}\n"),
            (".x.candidate", "source: {}\n"),
            (".y.yaml.new", "source: {}\n"),
        ] {
            fs::write(pipelines.join(name), text).unwrap();
        }
        let names: Vec<String> = store.files().unwrap().into_keys().collect();
        assert_eq!(names, ["broken", "customers"]);
        assert_eq!(store.saved("customers").unwrap(), Saved::default());
        let keys = Keys::from([("name".to_owned(), "customers".to_owned())]);
        let saved = Saved { config: Some(keys), target: Target::Paused };
        store.save("customers", &saved).unwrap();
        assert_eq!(store.saved("customers").unwrap(), saved);
        store.remove("customers", &pipelines.join("customers.yaml")).unwrap();
        assert_eq!(store.saved("customers").unwrap(), Saved::default());
        assert_eq!(store.files().unwrap().len(), 1);
        assert_eq!(fs::read_dir(states.join("removed")).unwrap().count(), 1);
        fs::write(states.join("customers.json"), "{").unwrap();
        assert!(store.saved("customers").is_err());
    }
}
