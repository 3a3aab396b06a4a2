//! Being asked to stop: by a person, or by a shard that cannot go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How soon a rest ends once somebody asks.
const LOOK: Duration = Duration::from_millis(20);

/// What the loops look at between two effects.
pub struct Stop<'a> {
    asked: &'a AtomicBool,
    halted: AtomicBool,
}

impl<'a> Stop<'a> {
    /// `asked` is set by a person's signal.
    pub fn new(asked: &'a AtomicBool) -> Self {
        Self { asked, halted: AtomicBool::new(false) }
    }

    /// Stops the shards beside this one: nobody watches half a pipeline.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// Asked or halted: whoever loops ends at the next place between two effects.
    pub fn is_set(&self) -> bool {
        self.is_asked() || self.halted.load(Ordering::Relaxed)
    }

    /// Rests for a while between two tries at something outside; ends early when asked to stop.
    pub fn rest(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        while !self.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK));
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
