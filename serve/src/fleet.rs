//! All connectors of the service, and the threads that keep them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use douane_pipelines::config as files;
use serde_json::json;

use crate::config;
use crate::connector::{Connector, Runs, Starts};
use crate::loggers::{FLEET, Level, Loggers};
use crate::store::{self, Refused, Saved, Store, TargetState};

/// More would be threads and clients without end.
pub const CONNECTORS_MAX: usize = 1000;

/// How long a connector that is deleted may take to end.
const REMOVE: Duration = Duration::from_secs(10);

/// The connectors by name.
pub struct Fleet {
    place: PathBuf,
    pub store: Store,
    loggers: Arc<Loggers>,
    /// Of tasks, in this process.
    pub starts: Arc<Starts>,
    all: RwLock<BTreeMap<String, Arc<Connector>>>,
    /// Set under the lock of `all`: whoever comes after the end is not begun.
    ended: AtomicBool,
    /// One change at a time: whoever changes anything holds it.
    changes: Mutex<()>,
}

impl Fleet {
    /// What lies in the folder of pipelines; nothing runs yet.
    pub fn open(
        place: &Path,
        store: Store,
        loggers: Arc<Loggers>,
        grouped: bool,
    ) -> io::Result<Self> {
        let fleet = Self {
            place: place.to_owned(),
            loggers,
            starts: Arc::default(),
            all: RwLock::new(BTreeMap::new()),
            ended: AtomicBool::new(false),
            changes: Mutex::new(()),
            store,
        };
        if grouped {
            // What its connectors are, a group says.
            return Ok(fleet);
        }
        let files = fleet.store.files()?;
        fleet.pass_over(&files.passed_over);
        for (name, file) in files.connectors {
            // Whether it is to run is not known: it does not, and the others do.
            let saved = fleet.store.saved(&name).unwrap_or_else(|error| {
                let fields = json!({"connector": name, "why": error.kind().to_string()});
                fleet.loggers.say(Level::Error, FLEET, "state_unreadable", &fields);
                Saved { target: TargetState::Stopped, ..Saved::default() }
            });
            let connector = fleet.connector(&name, &file, saved);
            fleet.write().insert(name, connector);
        }
        Ok(fleet)
    }

    fn pass_over(&self, files: &[PathBuf]) {
        for path in files {
            let fields = json!({"file": path.display().to_string()});
            self.loggers.say(Level::Warn, FLEET, "passed_over", &fields);
        }
    }

    /// Says which files of the folder are none of its group's.
    pub fn pass_over_unknown(&self) -> io::Result<()> {
        let files = self.store.files()?;
        let unknown = files.connectors.into_iter().filter(|(name, _)| self.get(name).is_none());
        let unknown: Vec<PathBuf> = unknown.map(|(_, path)| path).collect();
        self.pass_over(&unknown);
        self.pass_over(&files.passed_over);
        Ok(())
    }

    fn connector(&self, name: &str, file: &Path, saved: Saved) -> Arc<Connector> {
        let (loggers, starts) = (Arc::clone(&self.loggers), Arc::clone(&self.starts));
        Connector::new(name, file, &self.place, saved, loggers, starts)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Connector>>> {
        self.all.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Connector>>> {
        self.all.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Held by whoever changes anything.
    pub fn changing(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Begins to keep all of them.
    pub fn start(&self) {
        self.all().iter().for_each(keep);
    }

    pub fn get(&self, name: &str) -> Option<Arc<Connector>> {
        self.read().get(name).map(Arc::clone)
    }

    /// In the order of their names.
    pub fn all(&self) -> Vec<Arc<Connector>> {
        self.read().values().map(Arc::clone).collect()
    }

    /// A new one, whose file is written.
    pub fn add(&self, name: &str, file: &Path, saved: Saved) -> Arc<Connector> {
        let connector = self.connector(name, file, saved);
        self.begin(&connector);
        connector
    }

    /// False: all has ended, and it is not begun.
    fn begin(&self, connector: &Arc<Connector>) -> bool {
        let mut all = self.write();
        if self.ended.load(Ordering::Relaxed) {
            return false;
        }
        keep(connector);
        all.insert(connector.name.clone(), Arc::clone(connector));
        true
    }

    /// Makes a connector of a group what all workers make it. One that is new runs elsewhere until
    /// it is dealt.
    pub fn bring(&self, name: &str, pipeline: &str, saved: Saved) -> io::Result<Arc<Connector>> {
        if let Some(connector) = self.get(name) {
            let same = std::fs::read(&connector.file).is_ok_and(|b| b == pipeline.as_bytes());
            let same = same && connector.state().saved.config == saved.config;
            if saved.target != TargetState::Running {
                // Whatever becomes of the file: a stop is heard.
                connector.aim(Saved { target: saved.target, ..connector.state().saved });
            }
            if !same {
                self.refuse(name, pipeline)?;
                store::replace(&connector.file, 0o644, pipeline.as_bytes())?;
            }
            connector.aim(saved.clone());
            if !same {
                connector.changed(saved);
            }
            return Ok(connector);
        }
        if self.read().len() >= CONNECTORS_MAX {
            return Err(io::Error::from(io::ErrorKind::QuotaExceeded));
        }
        let file = self.store.file_of(name);
        if file.exists() && !files::is_pipeline(&file) {
            let what = "a file of its name lies in the folder of pipelines, and is no pipeline";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        if !std::fs::read(&file).is_ok_and(|bytes| bytes == pipeline.as_bytes()) {
            self.refuse(name, pipeline)?;
            // What a person put there is kept, beside what was deleted.
            self.store.remove(name, &file)?;
            store::replace(&file, 0o644, pipeline.as_bytes())?;
        }
        let connector = self.connector(name, &file, saved);
        connector.runs(Runs::Elsewhere);
        match self.begin(&connector) {
            true => Ok(connector),
            false => Err(io::Error::new(io::ErrorKind::Interrupted, "the service ends")),
        }
    }

    /// What no call could have made a connector's file, whoever wrote it.
    fn refuse(&self, name: &str, pipeline: &str) -> io::Result<()> {
        config::brought(&self.place, &self.store, name, pipeline)
            .map_or(Ok(()), |what| Err(io::Error::new(io::ErrorKind::InvalidData, what)))
    }

    /// Ends a connector of a group that was deleted, and takes its file away.
    pub fn take_away(&self, name: &str) -> io::Result<()> {
        let Some(connector) = self.get(name) else { return Ok(()) };
        connector.end();
        // One that goes on for longer is fenced by whoever runs that pipeline next.
        connector.has_left(REMOVE);
        self.write().remove(name);
        self.store.remove(name, &connector.file)
    }

    /// Begins again what is asked for. One that the system had no thread for tries to get one.
    pub fn restart(&self, connector: &Arc<Connector>, only_failed: bool, task: Option<u32>) {
        if connector.restart(only_failed, task) {
            keep(connector);
        }
    }

    /// Whether a connector is to run, from now on and after a restart of the process.
    pub fn aim(&self, connector: &Arc<Connector>, target: TargetState) -> io::Result<()> {
        let state = connector.state();
        // What is paused goes on having its tasks.
        let ran = state.saved.ran || !state.members.is_empty();
        let saved = Saved { target, ran, ..state.saved };
        self.store.save(&connector.name, &saved)?;
        connector.aim(saved);
        // One whose end was asked for, and whose files stayed, has no thread.
        keep(connector);
        Ok(())
    }

    /// Ends one, waits until nothing of it runs, and takes its files away. False: it ends, but not
    /// yet; it is stopped, and can be deleted again. Where its files cannot be taken away it goes on as it was.
    pub fn remove(&self, connector: &Arc<Connector>) -> Result<bool, Refused> {
        self.store.is_removable(&connector.name, &connector.file)?;
        // Crash from here on: the next start does not run it.
        let saved = Saved { target: TargetState::Stopped, ..connector.state().saved };
        self.store.save(&connector.name, &saved).map_err(Refused::State)?;
        connector.aim(saved);
        connector.end();
        if !connector.has_left(REMOVE) {
            return Ok(false);
        }
        self.store.remove(&connector.name, &connector.file).map_err(Refused::State)?;
        // Known until its files are gone, so that what failed can be asked for again.
        self.write().remove(&connector.name);
        Ok(true)
    }

    /// Asks all of them to end, and waits for it as long as that. What is not committed by then is
    /// not lost: the next start reads it again.
    pub fn end(&self, at_most: Duration) -> bool {
        let all = {
            let mut all = self.write();
            self.ended.store(true, Ordering::Relaxed);
            std::mem::take(&mut *all)
        };
        all.values().for_each(|connector| connector.end());
        let until = Instant::now() + at_most;
        let left = || until.saturating_duration_since(Instant::now());
        all.values().all(|connector| connector.has_left(left()))
    }
}

/// Gives a connector its thread, if it has none.
fn keep(connector: &Arc<Connector>) {
    if !connector.begins() {
        return;
    }
    let kept = Arc::clone(connector);
    let name = crate::connector::thread_name(&connector.name);
    if std::thread::Builder::new().name(name).spawn(move || kept.keep()).is_err() {
        connector.no_thread();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{PLACE, YAML};

    #[test]
    fn a_stop_is_heard_though_the_file_cannot_be_written_and_nothing_else_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("douane.yaml");
        std::fs::write(&file, PLACE).unwrap();
        let pipelines = dir.path().join("pipelines");
        let store = Store::open(&pipelines, &dir.path().join("s")).unwrap();
        let loggers = Arc::new(Loggers::new("eu-de"));
        loggers.set("root", Level::Off, jiff::Timestamp::now());
        let fleet = Fleet::open(&file, store, loggers, true).unwrap();
        let saved = |target| Saved { target, ..Saved::default() };
        let bring = |name: &str, yaml: &str, target| fleet.bring(name, yaml, saved(target));
        let kind = |brought: io::Result<Arc<Connector>>| brought.err().map(|error| error.kind());
        let domains = pipelines.join("domains.yaml");
        std::fs::write(&domains, "domains: {}\n").unwrap();
        for (name, yaml, expected) in [
            ("a", "domains: {}\n", io::ErrorKind::InvalidData),
            ("domains", YAML, io::ErrorKind::AlreadyExists),
        ] {
            assert_eq!(kind(bring(name, yaml, TargetState::Running)), Some(expected), "{name}");
        }
        assert_eq!(std::fs::read_to_string(&domains).unwrap(), "domains: {}\n");
        assert!(fleet.all().is_empty());
        let connector = bring("a", YAML, TargetState::Running).unwrap();
        // Something stands where the file is made before it takes its place.
        let beside = pipelines.join(".a.yaml.new");
        std::fs::create_dir(&beside).unwrap();
        let other = format!("{YAML}# another\n");
        assert!(bring("a", &other, TargetState::Stopped).is_err());
        assert_eq!(connector.state().saved.target, TargetState::Stopped);
        assert!(bring("a", &other, TargetState::Running).is_err());
        assert_eq!(connector.state().saved.target, TargetState::Stopped, "of the older file");
        assert_eq!(std::fs::read_to_string(&connector.file).unwrap(), YAML);
        std::fs::remove_dir(&beside).unwrap();
        bring("a", &other, TargetState::Running).unwrap();
        assert_eq!(connector.state().saved.target, TargetState::Running);
        assert_eq!(std::fs::read_to_string(&connector.file).unwrap(), other);
        assert!(fleet.end(Duration::from_secs(20)));
        // What is heard after the end is begun by the next start.
        let late = kind(bring("a", &other, TargetState::Running));
        assert_eq!((late, fleet.all().len()), (Some(io::ErrorKind::Interrupted), 0));
    }
}
