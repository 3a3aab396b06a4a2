//! All connectors of the service, and the threads that keep them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::connector::Connector;
use crate::loggers::{FLEET, Level, Loggers};
use crate::store::{Saved, Store, TargetState};

/// More would be threads and clients without end.
pub const CONNECTORS_MAX: usize = 1000;

/// How long a connector that is deleted may take to end.
const REMOVE: Duration = Duration::from_secs(10);

/// The connectors by name.
pub struct Fleet {
    place: PathBuf,
    pub store: Store,
    loggers: Arc<Loggers>,
    all: RwLock<BTreeMap<String, Arc<Connector>>>,
    /// One change at a time: whoever changes anything holds it.
    changes: Mutex<()>,
}

impl Fleet {
    /// What lies in the folder of pipelines; nothing runs yet.
    pub fn open(place: &Path, store: Store, loggers: Arc<Loggers>) -> io::Result<Self> {
        let fleet = Self {
            place: place.to_owned(),
            loggers,
            all: RwLock::new(BTreeMap::new()),
            changes: Mutex::new(()),
            store,
        };
        let files = fleet.store.files()?;
        for path in &files.passed_over {
            let fields = json!({"file": path.display().to_string()});
            fleet.loggers.say(Level::Warn, FLEET, "passed_over", &fields);
        }
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

    fn connector(&self, name: &str, file: &Path, saved: Saved) -> Arc<Connector> {
        Connector::new(name, file, &self.place, saved, Arc::clone(&self.loggers))
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
        keep(&connector);
        self.write().insert(name.to_owned(), Arc::clone(&connector));
        connector
    }

    /// Whether a connector is to run, from now on and after a restart of the process.
    pub fn aim(&self, connector: &Arc<Connector>, target: TargetState) -> io::Result<()> {
        let saved = Saved { target, ..connector.state().saved };
        self.store.save(&connector.name, &saved)?;
        connector.aim(saved);
        // One whose end was asked for, and whose files stayed, has no thread.
        keep(connector);
        Ok(())
    }

    /// Ends one, waits until nothing of it runs, and takes its files away. False: it ends, but not
    /// yet; it is stopped, and can be deleted again.
    pub fn remove(&self, connector: &Arc<Connector>) -> io::Result<bool> {
        // Crash from here on: the next start does not run it.
        let saved = Saved { target: TargetState::Stopped, ..connector.state().saved };
        self.store.save(&connector.name, &saved)?;
        connector.aim(saved);
        connector.end();
        if !connector.has_left(REMOVE) {
            return Ok(false);
        }
        self.store.remove(&connector.name, &connector.file)?;
        // Known until its files are gone, so that what failed can be asked for again.
        self.write().remove(&connector.name);
        Ok(true)
    }

    /// Asks all of them to end, and waits for it as long as that. What is not committed by then is
    /// not lost: the next start reads it again.
    pub fn end(&self, at_most: Duration) -> bool {
        let all = std::mem::take(&mut *self.write());
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
