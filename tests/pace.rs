//! Time in which this machine ran. Shared machines stand still for seconds now and then, all of their processes at once,
//! or their disk does. What is promised is promised of one that runs: how long a case waits, and how long something
//! took, leaves out what the machine stood still. Each standstill is said, and measurements (`tests/bench`) know none.

use std::io::{Seek, Write};
use std::ops::Add;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant as Wall, SystemTime, UNIX_EPOCH};

use crate::say;

/// Between two looks.
const TICK: Duration = Duration::from_millis(100);
/// What a look may take, a byte on the disk with it, on a machine that is only busy.
const BUSY: Duration = Duration::from_millis(400);

/// A moment, as [`std::time::Instant`] is one, on a clock that rests while the machine does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Self {
        Self(clock().lock().unwrap_or_else(PoisonError::into_inner).read(Wall::now()))
    }

    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

/// How long the machine stood still between two times that something was stamped with, all in milliseconds since the
/// epoch.
pub fn stood_ms(from_ms: i64, to_ms: i64) -> i64 {
    clock().lock().unwrap_or_else(PoisonError::into_inner).stood_ms(from_ms, to_ms)
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Ticks as long as the machine runs.
struct Clock {
    began: Wall,
    ticked: Wall,
    stood: Duration,
    /// From when to when, by the clock that things are stamped with.
    standstills: Vec<(i64, i64)>,
}

impl Clock {
    fn new(began: Wall) -> Self {
        Self { began, ticked: began, stood: Duration::ZERO, standstills: Vec::new() }
    }

    /// How long the machine has run; also while it stands still.
    fn read(&self, now: Wall) -> Duration {
        now.saturating_duration_since(self.began).saturating_sub(self.stood + self.missed(now))
    }

    fn missed(&self, now: Wall) -> Duration {
        now.saturating_duration_since(self.ticked).saturating_sub(TICK + BUSY)
    }

    /// Returns how long it stood still before this tick, which is at `now_ms` since the epoch.
    fn tick(&mut self, now: Wall, now_ms: i64) -> Duration {
        let missed = self.missed(now);
        if !missed.is_zero() {
            let missed_ms = i64::try_from(missed.as_millis()).unwrap_or(i64::MAX);
            self.standstills.push((now_ms.saturating_sub(missed_ms), now_ms));
        }
        self.stood += missed;
        self.ticked = now;
        missed
    }
}

impl Clock {
    fn stood_ms(&self, from_ms: i64, to_ms: i64) -> i64 {
        let within = |(from, to): &(i64, i64)| (*to.min(&to_ms) - *from.max(&from_ms)).max(0);
        self.standstills.iter().map(within).sum()
    }
}

fn clock() -> &'static Mutex<Clock> {
    static CLOCK: OnceLock<Mutex<Clock>> = OnceLock::new();
    CLOCK.get_or_init(|| {
        std::thread::spawn(|| {
            let mut disk = tempfile::tempfile().expect("a file");
            loop {
                std::thread::sleep(TICK);
                // A disk that takes nothing fails the case that needs it.
                let _ = disk
                    .rewind()
                    .and_then(|()| disk.write_all(b"."))
                    .and_then(|()| disk.sync_data());
                let missed = clock()
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .tick(Wall::now(), now_ms());
                if missed >= TICK {
                    say::note(format!("the machine stood still for {:.1} s", missed.as_secs_f64()));
                }
            }
        });
        Mutex::new(Clock::new(Wall::now()))
    })
}

#[test]
fn a_clock_rests_while_the_machine_does_and_only_then() {
    let began = Wall::now();
    let at = |ms| began + Duration::from_millis(ms);
    let ms = |time: Duration| time.as_millis();
    let mut clock = Clock::new(began);
    for tick in [100, 200, 700] {
        assert_eq!(clock.tick(at(tick), 0), Duration::ZERO);
    }
    assert_eq!(ms(clock.read(at(700))), 700, "a busy machine runs");
    // It stands still from 700 to 5700: who asks meanwhile hears the same as who asks behind it.
    assert_eq!(ms(clock.read(at(1_200))), 1_200);
    assert_eq!(ms(clock.read(at(3_000))), 1_200);
    assert_eq!(ms(clock.tick(at(5_700), 9_000)), 4_500);
    assert_eq!(ms(clock.read(at(5_700))), 1_200);
    assert_eq!(ms(clock.read(at(5_800))), 1_300);
    // By what things are stamped with it stood from 4500 to 9000.
    for (from, to, stood) in
        [(0, 9_100, 4_500), (5_000, 6_000, 1_000), (8_000, 9_500, 1_000), (0, 4_500, 0)]
    {
        assert_eq!(clock.stood_ms(from, to), stood, "{from} to {to}");
    }
}
