//! Being asked to stop: by a person, or by a shard that cannot go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How soon a rest ends once a person asks. Each look wakes a processor, for every thread that rests
/// of every pipeline: a halt is told at once and needs none.
const LOOK: Duration = Duration::from_millis(500);

/// What the loops look at between two effects.
pub struct Stop<'a> {
    asked: &'a AtomicBool,
    halted: AtomicBool,
    /// Told to who rests: it is halted.
    news: (Mutex<()>, Condvar),
}

impl<'a> Stop<'a> {
    /// `asked` is set by a person's signal.
    pub fn new(asked: &'a AtomicBool) -> Self {
        Self { asked, halted: AtomicBool::new(false), news: Default::default() }
    }

    /// Stops the shards beside this one: nobody watches half a pipeline.
    pub fn halt(&self) {
        let _looks = self.news.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.halted.store(true, Ordering::Relaxed);
        self.news.1.notify_all();
    }

    /// Asked or halted: whoever loops ends at the next place between two effects.
    pub fn is_set(&self) -> bool {
        self.is_asked() || self.halted.load(Ordering::Relaxed)
    }

    /// Rests for a while between two tries at something outside; ends early when asked to stop.
    pub fn rest(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        // Under it nobody halts between the look and the wait.
        let mut looks = self.news.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.news.1.wait_timeout(looks, left.min(LOOK));
            looks = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A person asked, as opposed to a shard.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_ends_at_once_with_a_halt_and_soon_with_a_persons_wish() {
        let asked = AtomicBool::new(false);
        let rested = |by_person: bool| {
            let stop = Stop::new(&asked);
            std::thread::scope(|scope| {
                let rests = scope.spawn(|| {
                    let began = Instant::now();
                    stop.rest(Duration::from_secs(60));
                    began.elapsed()
                });
                // It rests by then.
                std::thread::sleep(Duration::from_millis(20));
                match by_person {
                    false => stop.halt(),
                    true => asked.store(true, Ordering::Relaxed),
                }
                rests.join().unwrap()
            })
        };
        // Without word each of them would take a look's time.
        let halted: Duration = (0..20).map(|_| rested(false)).sum();
        assert!(halted < LOOK * 10, "{halted:?}");
        assert!(rested(true) < Duration::from_secs(20));
        let none = AtomicBool::new(false);
        let began = Instant::now();
        Stop::new(&none).rest(Duration::from_millis(30));
        assert!(began.elapsed() >= Duration::from_millis(30), "no rest is shorter");
    }

    #[test]
    fn a_halt_is_no_persons_wish() {
        let asked = AtomicBool::new(false);
        let stop = Stop::new(&asked);
        assert!(!stop.is_set());
        stop.halt();
        assert!(stop.is_set() && !stop.is_asked());
        // The next layout begins with a stop of its own, and hears the person all the same.
        let next = Stop::new(&asked);
        assert!(!next.is_set());
        asked.store(true, Ordering::Relaxed);
        assert!(next.is_set() && next.is_asked());
    }
}
