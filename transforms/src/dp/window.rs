//! Tumbling windows over event time, closed on a public schedule: no row decides when another one
//! is late.

/// Event time, from `start_ms` to before `end_ms`, in milliseconds since 1970 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first millisecond.
    pub start_ms: i64,
    /// The first millisecond that is not in it.
    pub end_ms: i64,
}

/// Windows of one length that follow each other without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    origin_ms: i64,
    length_ms: i64,
    delay_ms: i64,
}

/// Lengths, delays and origins of over a thousand years are refused, so that no sum of them passes 64 bits.
const LONGEST_MS: i64 = 1000 * 366 * 24 * 3600 * 1000;

/// Why there is no schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleFault {
    /// Of a window.
    #[error("a window of {length_ms} ms: expected 1 ms to 1000 years")]
    Length {
        /// As declared.
        length_ms: i64,
    },
    /// Between a window's end and its close.
    #[error("a delay of {delay_ms} ms: expected 0 ms to 1000 years")]
    Delay {
        /// As declared.
        delay_ms: i64,
    },
    /// Where windows begin.
    #[error("an origin at {origin_ms} ms: expected a time within 1000 years of 1970")]
    Origin {
        /// As declared.
        origin_ms: i64,
    },
}

impl Schedule {
    /// Windows of `length_ms` from `origin_ms` on and before it, each closed `delay_ms` after its end.
    ///
    /// # Errors
    /// [`ScheduleFault`].
    pub fn new(origin_ms: i64, length_ms: i64, delay_ms: i64) -> Result<Self, ScheduleFault> {
        match () {
            () if !(1..=LONGEST_MS).contains(&length_ms) => {
                Err(ScheduleFault::Length { length_ms })
            }
            () if !(0..=LONGEST_MS).contains(&delay_ms) => Err(ScheduleFault::Delay { delay_ms }),
            () if !(-LONGEST_MS..=LONGEST_MS).contains(&origin_ms) => {
                Err(ScheduleFault::Origin { origin_ms })
            }
            () => Ok(Self { origin_ms, length_ms, delay_ms }),
        }
    }

    /// How long each window is.
    pub fn length_ms(&self) -> i64 {
        self.length_ms
    }

    /// The window that holds an event. `None`: the time is further off than any window.
    pub fn window_of(&self, event_ms: i64) -> Option<Window> {
        let number = event_ms.checked_sub(self.origin_ms)?.div_euclid(self.length_ms);
        let start_ms = number.checked_mul(self.length_ms)?.checked_add(self.origin_ms)?;
        Some(Window { start_ms, end_ms: start_ms.checked_add(self.length_ms)? })
    }

    /// The window after this one.
    pub fn after(&self, window: Window) -> Option<Window> {
        self.window_of(window.end_ms)
    }

    /// When a window closes: what has not been read of its source by then is late.
    pub fn closes_at_ms(&self, window: Window) -> i64 {
        window.end_ms.saturating_add(self.delay_ms)
    }

    /// How many windows end within any stretch of this length, at most.
    pub fn windows_in(&self, stretch_ms: i64) -> u64 {
        let stretch = u64::try_from(stretch_ms).unwrap_or(0);
        stretch.div_ceil(self.length_ms.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_tile_time() {
        let schedule = Schedule::new(5, 10, 3).unwrap();
        let window = schedule.window_of(4).unwrap();
        assert_eq!(window, Window { start_ms: -5, end_ms: 5 });
        assert_eq!(schedule.after(window), Some(Window { start_ms: 5, end_ms: 15 }));
        assert_eq!(schedule.window_of(5), schedule.after(window));
        assert_eq!(schedule.closes_at_ms(window), 8);
        assert_eq!(schedule.window_of(i64::MIN), None);
        assert_eq!(schedule.window_of(i64::MAX), None);
        assert_eq!((schedule.windows_in(100), schedule.windows_in(101)), (10, 11));
    }

    #[test]
    fn refuses_schedule_bad_numbers() {
        assert!(Schedule::new(0, 0, 0).is_err());
        assert!(Schedule::new(0, -1, 0).is_err());
        assert!(Schedule::new(0, 1, -1).is_err());
        assert!(Schedule::new(i64::MIN, 1, 0).is_err());
        assert!(Schedule::new(0, i64::MAX, 0).is_err());
    }
}
