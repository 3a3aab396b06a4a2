//! All connectors of the service, and the threads that keep them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::connector::Connector;
use crate::loggers::Loggers;
use crate::store::{Saved, Store, Target};

/// More would be threads and clients without end.
pub const CONNECTORS_MAX: usize = 1000;

type Keepers = BTreeMap<String, (Arc<Connector>, Option<JoinHandle<()>>)>;

/// The connectors by name.
pub struct Fleet {
    place: PathBuf,
    pub store: Store,
    loggers: Arc<Loggers>,
    all: RwLock<Keepers>,
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
        for (name, file) in fleet.store.files()? {
            let saved = fleet.store.saved(&name).map_err(|error| {
                io::Error::other(format!("the state of connector `{name}`: {}", error.kind()))
            })?;
            let connector = fleet.connector(&name, &file, saved);
            fleet.write().insert(name, (connector, None));
        }
        Ok(fleet)
    }

    fn connector(&self, name: &str, file: &Path, saved: Saved) -> Arc<Connector> {
        Connector::new(name, file, &self.place, saved, Arc::clone(&self.loggers))
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Keepers> {
        self.all.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Keepers> {
        self.all.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Held by whoever changes anything.
    pub fn changing(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Begins to keep all of them.
    pub fn start(&self) {
        for (connector, keeper) in self.write().values_mut() {
            *keeper = keep(connector);
        }
    }

    pub fn get(&self, name: &str) -> Option<Arc<Connector>> {
        self.read().get(name).map(|(connector, _)| Arc::clone(connector))
    }

    /// In the order of their names.
    pub fn all(&self) -> Vec<Arc<Connector>> {
        self.read().values().map(|(connector, _)| Arc::clone(connector)).collect()
    }

    /// A new one, whose file is written.
    pub fn add(&self, name: &str, file: &Path, saved: Saved) -> Arc<Connector> {
        let connector = self.connector(name, file, saved);
        let keeper = keep(&connector);
        self.write().insert(name.to_owned(), (Arc::clone(&connector), keeper));
        connector
    }

    /// Whether a connector is to run, from now on and after a restart of the process.
    pub fn aim(&self, connector: &Connector, target: Target) -> io::Result<()> {
        let saved = Saved { target, ..connector.state().saved };
        self.store.save(&connector.name, &saved)?;
        connector.aim(saved);
        Ok(())
    }

    /// Ends one, waits until nothing of it runs, and takes its files away.
    pub fn remove(&self, connector: &Connector) -> io::Result<()> {
        connector.end();
        let keeper = self.write().remove(&connector.name).and_then(|(_, keeper)| keeper);
        if let Some(keeper) = keeper {
            // It ends between two transactions; one that died has ended as well.
            let _ = keeper.join();
        }
        self.store.remove(&connector.name, &connector.file)
    }

    /// Asks all of them to end, and waits for it as long as that. What is not committed by then is
    /// not lost: the next start reads it again.
    pub fn end(&self, at_most: Duration) -> bool {
        let all = std::mem::take(&mut *self.write());
        all.values().for_each(|(connector, _)| connector.end());
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || {
            for keeper in all.into_values().filter_map(|(_, keeper)| keeper) {
                // One that died has ended as well.
                let _ = keeper.join();
            }
            let _ = done.send(());
        });
        ended.recv_timeout(at_most).is_ok()
    }
}

fn keep(connector: &Arc<Connector>) -> Option<JoinHandle<()>> {
    let kept = Arc::clone(connector);
    let name = crate::connector::thread_name(&connector.name);
    std::thread::Builder::new().name(name).spawn(move || kept.keep()).ok()
}
