//! `run` on a thread of this process, and what it says on the way.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use douane_pipelines::fault::RunFault;
use douane_pipelines::report::{Listener, Voice};
use douane_pipelines::run;
use serde_json::Value;

use super::raw_copy::cpu_seconds;
use super::{DemoFault, Interrupt};

/// Something must happen within this time, on a slow and busy machine as well.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at whether somebody pressed Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);

/// What was heard so far.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub crossed: u64,
    pub quarantined: u64,
    /// Partition and offset, in the order they came.
    pub held: Vec<(i64, i64)>,
    /// When the first shard began to read, and what this process had used by then.
    pub reading: Option<Mark>,
    /// The last commit, likewise.
    pub committed: Option<Mark>,
}

/// A moment, and the CPU seconds that this process had used by then.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub at: Instant,
    pub cpu: Option<f64>,
}

impl Mark {
    pub fn now() -> Self {
        Self { at: Instant::now(), cpu: cpu_seconds() }
    }

    /// Time and CPU seconds from `before` to this.
    pub fn since(self, before: Self) -> (Duration, Option<f64>) {
        let cpu = self.cpu.zip(before.cpu).map(|(now, then)| now - then);
        (self.at.saturating_duration_since(before.at), cpu)
    }
}

impl Heard {
    fn hear(&mut self, event: &str, fields: &Value) {
        let number = |name: &str| fields[name].as_i64().unwrap_or(-1);
        match event {
            "assigned" => {
                self.reading.get_or_insert_with(Mark::now);
            }
            "progress" => {
                self.crossed = fields["records"].as_u64().unwrap_or_default();
                self.quarantined = fields["quarantined"].as_u64().unwrap_or_default();
                self.committed = Some(Mark::now());
            }
            "held" => self.held.push((number("partition"), number("offset"))),
            _ => {}
        }
    }
}

/// A `run` that goes on until it is stopped.
pub struct Stream {
    stop: Arc<AtomicBool>,
    heard: Arc<Mutex<Heard>>,
    news: Receiver<()>,
    thread: Option<JoinHandle<Result<(), RunFault>>>,
}

impl Stream {
    pub fn start(place: &Path, pipeline: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (tell, news) = channel();
        let ear = Arc::clone(&heard);
        let hear = move |event: &str, fields: &Value, _: bool| {
            if let Ok(mut heard) = ear.lock() {
                heard.hear(event, fields);
            }
            // Nobody listens any more: the stream is being stopped.
            let _ = tell.send(());
        };
        let listener = Listener::new(hear, Arc::default());
        let (place, pipeline, asked) = (place.to_owned(), pipeline.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            run::run(&place, &pipeline, &asked, Voice::Listener(listener))
        });
        Self { stop, heard, news, thread: Some(thread) }
    }

    pub fn heard(&self) -> Heard {
        self.heard.lock().map_or_else(|_| Heard::default(), |heard| heard.clone())
    }

    /// Until `enough`; `step` names what is waited for.
    pub fn until(
        &mut self,
        step: &str,
        interrupt: &Interrupt,
        enough: &mut dyn FnMut(&Heard) -> bool,
    ) -> Result<Heard, DemoFault> {
        let mut deadline = Instant::now() + PATIENCE;
        let mut crossed = 0;
        loop {
            interrupt.check()?;
            let heard = self.heard();
            if enough(&heard) {
                return Ok(heard);
            }
            if heard.crossed > crossed {
                (crossed, deadline) = (heard.crossed, Instant::now() + PATIENCE);
            }
            if Instant::now() > deadline {
                return Err(DemoFault::NotSeen(step.to_owned()));
            }
            if let Err(RecvTimeoutError::Disconnected) = self.news.recv_timeout(LOOK) {
                self.stop()?;
                return Err(DemoFault::NotSeen(format!("{step}: the run ended by itself")));
            }
        }
    }

    /// Until there is news, for a moment at most.
    pub fn rest(&self) {
        // Silence is no fault: the caller looks again.
        let _ = self.news.recv_timeout(LOOK);
    }

    /// Ends it as Ctrl-C would.
    pub fn stop(&mut self) -> Result<(), DemoFault> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(outcome)) => outcome.map_err(DemoFault::Run),
            Some(Err(_)) => Err(DemoFault::Run(RunFault::ThreadDied)),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The brokers end after it: what it holds open is closed first.
        let _ = self.stop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_heard_by_their_fields() {
        let mut heard = Heard::default();
        heard.hear("assigned", &json!({"shard": 0}));
        heard.hear("progress", &json!({"records": 7, "transactions": 1, "quarantined": 2}));
        heard.hear("held", &json!({"partition": 3, "offset": 11, "reason": "x"}));
        assert_eq!((heard.crossed, heard.quarantined), (7, 2));
        assert_eq!(heard.held, [(3, 11)]);
        assert!(heard.reading.is_some() && heard.committed.is_some());
    }
}
