//! How many records may be quarantined within a minute: a stream that goes bad as a whole is held,
//! and not moved aside record by record.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// A limit a minute, over the minute that ends now.
pub struct Quota {
    /// `None`: not limited.
    max: Option<u32>,
    /// When each one was taken; never more than `max`.
    taken: VecDeque<Instant>,
}

impl Quota {
    /// A quota of which nothing is taken.
    pub fn new(max: Option<u32>) -> Self {
        Self { max, taken: VecDeque::new() }
    }

    /// Takes one at `now`. False where it would be one too many: then nothing is taken.
    pub fn take(&mut self, now: Instant) -> bool {
        let Some(max) = self.max else { return true };
        while self.taken.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
            self.taken.pop_front();
        }
        if self.taken.len() >= max as usize {
            return false;
        }
        self.taken.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds at which one is asked for, and whether it may be.
    fn check(max: Option<u32>, asked: &[(u64, bool)]) {
        let start = Instant::now();
        let mut quota = Quota::new(max);
        for (second, expected) in asked {
            let now = start + Duration::from_secs(*second);
            assert_eq!(quota.take(now), *expected, "{max:?} at {second}");
            assert!(quota.taken.len() <= max.unwrap_or(0) as usize);
        }
    }

    #[test]
    fn no_minute_has_more_than_its_limit() {
        check(Some(2), &[(0, true), (10, true), (59, false), (60, true), (69, false), (70, true)]);
        // What was not let through takes no room.
        check(Some(1), &[(0, true), (30, false), (59, false), (60, true), (119, false)]);
        check(Some(0), &[(0, false), (600, false)]);
        check(None, &[(0, true); 1000]);
    }
}
