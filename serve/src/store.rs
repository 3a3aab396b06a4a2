//! What outlives the process of a connector: its pipeline's file, and beside it the keys of its
//! config and whether it is to run.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use douane_pipelines::config::is_pipeline;
use douane_pipelines::names::{NAME_BYTES_MAX, is_name};
use serde::{Deserialize, Serialize};

/// What a connector is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TargetState {
    #[default]
    Running,
    Paused,
    Stopped,
}

impl TargetState {
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
    pub target: TargetState,
    /// It had tasks when it was told to run or not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ran: bool,
}

/// Pipelines that lie in their folder.
#[derive(Debug, Default)]
pub struct Files {
    /// By the names of their connectors, which are the files' own.
    pub connectors: BTreeMap<String, PathBuf>,
    /// Pipelines under a name that no connector can have, or under one that another file has.
    pub passed_over: Vec<PathBuf>,
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

    /// What lies in the folder of pipelines.
    pub fn files(&self) -> io::Result<Files> {
        let mut files = Files::default();
        let mut paths: Vec<PathBuf> = fs::read_dir(&self.pipelines)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()?;
        // `a.yaml` before `a.yml`, on every file system.
        paths.sort();
        for path in paths {
            let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let yaml = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
            if !yaml || file_name.starts_with('.') || !is_pipeline(&path) {
                continue;
            }
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if is_name(stem, NAME_BYTES_MAX) && !files.connectors.contains_key(stem) {
                files.connectors.insert(stem.to_owned(), path);
            } else {
                files.passed_over.push(path);
            }
        }
        Ok(files)
    }

    /// The file of a connector that has none yet.
    pub fn file_of(&self, name: &str) -> PathBuf {
        self.pipelines.join(format!("{name}.yaml"))
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
        replace(&self.state_of(name), 0o600, &bytes)
    }

    /// Whether a connector's files could be taken away: asked before anything of it is stopped.
    pub fn is_removable(&self, name: &str, file: &Path) -> Result<(), Refused> {
        let kept = self.states.join("removed").join(format!("{name}.yaml"));
        fs::create_dir_all(self.states.join("removed")).map_err(Refused::State)?;
        try_beside(&kept).map_err(Refused::State)?;
        match file.exists() {
            true => try_beside(file).map_err(Refused::Pipelines),
            false => Ok(()),
        }
    }

    /// Takes a connector's files away. Its pipeline is kept in the state folder: people may have
    /// written it. Crash in between: the pipeline is gone from its folder, and nothing runs it. What
    /// failed in the middle can be asked for again.
    pub fn remove(&self, name: &str, file: &Path) -> io::Result<()> {
        let removed = self.states.join("removed");
        fs::create_dir_all(&removed)?;
        let at = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ");
        match fs::read(file) {
            Ok(bytes) => {
                // A copy first: the two folders may lie on two disks.
                replace(&removed.join(format!("{name}.{at}.yaml")), 0o600, &bytes)?;
                fs::remove_file(file)?;
                sync_folder_of(file)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match fs::remove_file(self.state_of(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Which folder does not let the service change it.
#[derive(Debug)]
pub enum Refused {
    /// That of pipelines, which people may have made so.
    Pipelines(io::Error),
    State(io::Error),
}

/// Puts a whole file in the place of another, or leaves the other as it was.
pub fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let (beside, mut file) = open_beside(path, mode)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // Crash before it: the old file stands, and one that is no pipeline by its name.
    fs::rename(&beside, path)?;
    sync_folder_of(path)
}

/// Whether a file could be put in the place of this one, or taken away: both are the folder's to let.
pub fn try_beside(path: &Path) -> io::Result<()> {
    let (beside, _) = open_beside(path, 0o600)?;
    fs::remove_file(beside)
}

fn open_beside(path: &Path, mode: u32) -> io::Result<(PathBuf, fs::File)> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(format!(".{}", name.to_string_lossy()));
    // One that a crash left behind may have another mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs::File::options().write(true).create_new(true).mode(mode).open(&beside)?;
    Ok((beside, file))
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
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
            ("customers.yml", "name: customers\nsource: {}\n"),
            ("domains.yaml", "domains: {}\n"),
            ("catalog.yaml", "tables: {}\n"),
            ("broken.yaml", "a: [\n"),
            ("Odd Name.yaml", "source: {}\n"),
            (".y.yaml.new", "source: {}\n"),
        ] {
            fs::write(pipelines.join(name), text).unwrap();
        }
        let files = store.files().unwrap();
        let names: Vec<&String> = files.connectors.keys().collect();
        assert_eq!(names, ["broken", "customers"]);
        assert_eq!(files.connectors["customers"], pipelines.join("customers.yaml"));
        let passed_over = ["Odd Name.yaml", "customers.yml"].map(|name| pipelines.join(name));
        assert_eq!(files.passed_over, passed_over);
        assert_eq!(store.saved("customers").unwrap(), Saved::default());
        let keys = Keys::from([("name".to_owned(), "customers".to_owned())]);
        let saved = Saved { config: Some(keys), target: TargetState::Paused, ran: true };
        store.save("customers", &saved).unwrap();
        assert_eq!(store.saved("customers").unwrap(), saved);
        store.remove("customers", &pipelines.join("customers.yaml")).unwrap();
        assert_eq!(store.saved("customers").unwrap(), Saved::default());
        // Asked for again, as after one that failed half way.
        store.remove("customers", &pipelines.join("customers.yaml")).unwrap();
        fs::remove_file(pipelines.join("customers.yml")).unwrap();
        assert_eq!(store.files().unwrap().connectors.len(), 1);
        assert_eq!(fs::read_dir(states.join("removed")).unwrap().count(), 1);
        fs::write(states.join("customers.json"), "{").unwrap();
        assert!(store.saved("customers").is_err());
    }
}
