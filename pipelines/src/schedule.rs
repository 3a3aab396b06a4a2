//! When transactions may become visible: always, or on a public schedule (`publish: every 1s`).
//!
//! Ticks are the multiples of the period since the epoch, in UTC. Between two ticks a shard only
//! gathers. At a tick it commits until what there was in the source at that moment has crossed.
//! So the time at which records arrive tells no more than the period does, as long as the shard
//! keeps up; behind, it commits until it has caught up, and that can be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::position::Place;
use crate::turn::Source;

/// A source that gives nothing for so long while it is due has nothing: what stands at the end of
/// a log may be no record (Kafka's transaction markers, or a transaction that is still open).
const NOTHING_MS: u64 = 1_000;

/// See the module.
pub struct Schedule {
    period_ms: Option<u64>,
    /// Number of the last tick that was seen.
    tick: u64,
    /// Ends of the source's partitions at that tick, until they have crossed.
    due: Option<BTreeMap<Source, i64>>,
    /// Since when the source gives nothing although something is due.
    nothing_since: Option<Instant>,
}

/// Milliseconds since the epoch, by this machine's clock.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

impl Schedule {
    /// A life begins between two ticks: what it finds waits for the next.
    pub fn new(period_ms: Option<u64>, now_ms: u64) -> Self {
        let tick = period_ms.map_or(0, |period| now_ms / period);
        Self { period_ms, tick, due: None, nothing_since: None }
    }

    /// Whether a tick came since the last call. A clock that was set back counts anew from where
    /// it stands: nothing waits until it has caught up.
    pub fn ticks(&mut self, now_ms: u64) -> bool {
        let Some(period) = self.period_ms else { return false };
        let came = now_ms / period > self.tick;
        self.tick = now_ms / period;
        came
    }

    /// What is to cross at this tick.
    pub fn open(&mut self, due: BTreeMap<Source, i64>) {
        self.due = Some(due);
        self.nothing_since = None;
    }

    /// Whether a transaction may begin now.
    pub fn is_open(&self) -> bool {
        self.period_ms.is_none() || self.due.is_some()
    }

    /// How long until the next tick; a second at most, for what is due each second.
    pub fn wait(&self, now_ms: u64) -> Duration {
        let next = self.period_ms.map_or(0, |period| (self.tick + 1).saturating_mul(period));
        Duration::from_millis(next.saturating_sub(now_ms).min(1_000))
    }

    /// Nothing is open in the shard. Where all that was due has crossed or is held, nothing more
    /// becomes visible before the next tick. `crossed`: a transaction has just been committed.
    pub fn settle(
        &mut self,
        places: &BTreeMap<Source, Place>,
        held: &BTreeSet<Source>,
        crossed: bool,
    ) {
        let Some(due) = &self.due else { return };
        let reached = due.iter().all(|(source, end)| {
            held.contains(source) || places.get(source).is_none_or(|place| place.next >= *end)
        });
        if crossed {
            self.nothing_since = None;
        }
        let nothing = !crossed
            && self.nothing_since.get_or_insert_with(Instant::now).elapsed()
                >= Duration::from_millis(NOTHING_MS);
        if reached || nothing {
            self.due = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(next: &[i64]) -> BTreeMap<Source, Place> {
        let place = |(partition, next): (usize, &i64)| {
            let partition = partition as i32;
            let place =
                Place { topic: 0, partition, next: *next, deleted: None, held: None, mark: None };
            ((0, partition), place)
        };
        next.iter().enumerate().map(place).collect()
    }

    fn due(ends: &[i64]) -> BTreeMap<Source, i64> {
        ends.iter().enumerate().map(|(p, end)| ((0, p as i32), *end)).collect()
    }

    #[test]
    fn without_a_period_it_is_always_open() {
        let mut schedule = Schedule::new(None, 12_345);
        assert!(schedule.is_open() && !schedule.ticks(99_999_999));
        schedule.settle(&places(&[0]), &BTreeSet::new(), false);
        assert!(schedule.is_open());
    }

    #[test]
    fn ticks_are_the_multiples_of_the_period() {
        let mut schedule = Schedule::new(Some(1_000), 5_999);
        assert!(!schedule.is_open() && !schedule.ticks(5_999));
        assert_eq!(schedule.wait(5_999), Duration::from_millis(1));
        assert!(schedule.ticks(6_000) && !schedule.ticks(6_999));
        assert_eq!(schedule.wait(6_250), Duration::from_millis(750));
        // Several that were missed are one; a clock that goes back brings none at once.
        assert!(schedule.ticks(9_100) && !schedule.ticks(8_000) && !schedule.ticks(8_900));
        assert!(schedule.ticks(9_000) && schedule.ticks(10_000));
        // Set ahead by a year and back: the next tick is a period away at most.
        assert!(schedule.ticks(31_536_000_000) && !schedule.ticks(10_500));
        assert_eq!(schedule.wait(10_500), Duration::from_millis(500));
        assert!(schedule.ticks(11_000));
        // What is due each second is due with long periods too.
        assert_eq!(Schedule::new(Some(3_600_000), 0).wait(1), Duration::from_secs(1));
    }

    #[test]
    fn it_closes_once_what_was_due_has_crossed_or_is_held() {
        let mut schedule = Schedule::new(Some(1_000), 0);
        schedule.open(due(&[10, 5, 0]));
        for (next, held, open) in [
            ([0, 0, 0], &[][..], true),
            ([10, 4, 0], &[], true),
            ([9, 5, 0], &[(0, 1)], true),
            ([10, 4, 0], &[(0, 1)], false),
        ] {
            schedule.settle(&places(&next), &held.iter().copied().collect(), true);
            assert_eq!(schedule.is_open(), open, "{next:?}");
        }
        schedule.open(due(&[10]));
        schedule.settle(&places(&[12]), &BTreeSet::new(), true);
        assert!(!schedule.is_open(), "what came later may have crossed with it");
        // A log's last offset that is no record: silence ends the tick, and not at once.
        schedule.open(due(&[10]));
        schedule.settle(&places(&[9]), &BTreeSet::new(), false);
        assert!(schedule.is_open());
        let long_ago = Instant::now().checked_sub(Duration::from_millis(NOTHING_MS));
        schedule.nothing_since = long_ago;
        schedule.settle(&places(&[9]), &BTreeSet::new(), true);
        assert!(schedule.is_open(), "it gives something");
        schedule.nothing_since = long_ago;
        schedule.settle(&places(&[9]), &BTreeSet::new(), false);
        assert!(!schedule.is_open());
    }
}
