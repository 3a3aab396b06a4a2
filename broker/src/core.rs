//! What the connections of one broker share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::state::State;
use crate::{BYTES_MAX, Options};

/// Its own number in the cluster that it is alone.
pub(crate) const NODE: i32 = 1;
pub(crate) const HOST: &str = "127.0.0.1";

pub(crate) struct Core {
    state: Mutex<State>,
    pub cluster_id: String,
    pub listens: u16,
    /// The port that clients are told.
    pub port: u16,
    pub bytes_max: usize,
    pub auto_create_partitions: Option<i32>,
    stopping: AtomicBool,
    /// Wakes the watch when it is to end.
    beat: Condvar,
}

impl Core {
    /// How often it looks for transactions and members that are late.
    pub(crate) const BEAT: Duration = Duration::from_millis(100);

    pub(crate) fn new(state: State, cluster_id: String, listens: u16, options: &Options) -> Self {
        Self {
            state: Mutex::new(state),
            cluster_id,
            listens,
            port: options.advertised_port.unwrap_or(listens),
            bytes_max: options.bytes_max.unwrap_or(BYTES_MAX),
            auto_create_partitions: options.auto_create_partitions,
            stopping: AtomicBool::new(false),
            beat: Condvar::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until woken, or for so long.
    pub(crate) fn wait<'s>(
        &self,
        state: MutexGuard<'s, State>,
        woken: &Condvar,
        time: Duration,
    ) -> MutexGuard<'s, State> {
        woken.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// From now on nobody waits.
    pub(crate) fn stop(&self) {
        let _state = self.state();
        self.stopping.store(true, Ordering::SeqCst);
        self.beat.notify_all();
    }

    /// A moment, for what may be better after it.
    pub(crate) fn pause(&self) {
        drop(self.wait(self.state(), &self.beat, Self::BEAT));
    }

    /// Ends what is late, until the broker stops.
    pub(crate) fn watch(&self) {
        let mut state = self.state();
        while !self.is_stopping() {
            let now = Instant::now();
            state.end_late_transactions(now);
            state.groups.tick(now);
            state = self.wait(state, &self.beat, Self::BEAT);
        }
    }
}
