//! How long keys may be used after their home last opened them. A home that is away, or answers
//! with something else, ends the use of what it gave before; when it answers again, use goes on by
//! itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::KeyFault;

/// Between two tries at a home that did not answer.
pub const TRY_AGAIN: Duration = Duration::from_secs(2);

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Since the machine started; on Linux the time that it slept counts, so that a lease ends then too.
pub fn now() -> Duration {
    // A clock out of form ends every lease.
    Duration::try_from(clock_gettime(CLOCK)).unwrap_or(Duration::MAX)
}

/// See the module.
pub struct Lease {
    length: Duration,
    state: Mutex<State>,
}

struct State {
    /// When the answer that the lease counts from was ASKED for: an answer that was long on its way
    /// is as old as its question.
    since: Duration,
    /// When the home was last asked, whatever it said.
    asked: Duration,
    /// Why the last try failed.
    why: Option<String>,
}

/// The lease ended.
#[derive(Debug, thiserror::Error)]
#[error(
    "the home of the wrapping key has not answered for {} s, the lease is {} s: {why}", .since.as_secs(), .length.as_secs()
)]
pub struct Lapsed {
    since: Duration,
    length: Duration,
    why: String,
}

impl Lease {
    /// `since`: before the home was asked.
    pub fn new(length: Duration, since: Duration) -> Self {
        Self { length, state: Mutex::new(State { since, asked: since, why: None }) }
    }

    pub fn length(&self) -> Duration {
        self.length
    }

    /// Keys may be used at this moment.
    ///
    /// # Errors
    /// [`Lapsed`]: nothing may cross.
    pub fn holds(&self) -> Result<(), Lapsed> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now().saturating_sub(state.since);
        match since < self.length {
            true => Ok(()),
            false => {
                let why = state.why.clone().unwrap_or_else(|| "nobody asked it".to_owned());
                Err(Lapsed { since, length: self.length, why })
            }
        }
    }

    /// How long until the home must be asked again: a third of the lease, so that two tries may
    /// fail before anything stops.
    pub fn due(&self) -> Duration {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let usual = self.length / 3;
        let pause = if state.why.is_some() { TRY_AGAIN.min(usual) } else { usual };
        pause.saturating_sub(now().saturating_sub(state.asked))
    }

    /// Asks the home once. Says whether the answer is news: the first that failed, or the first that
    /// came again.
    pub fn renew(&self, ask: impl FnOnce() -> Result<(), KeyFault>) -> Option<Result<(), String>> {
        let asked = now();
        let answer = ask();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked = asked;
        match answer {
            Ok(()) => {
                state.since = asked;
                state.why.take().map(|_| Ok(()))
            }
            Err(fault) => {
                let news = state.why.replace(fault.to_string()).is_none();
                news.then(|| Err(fault.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Result<(), KeyFault> {
        Err(KeyFault::Away { home: "pkcs11", why: "gone".into() })
    }

    #[test]
    fn a_lease_ends_without_answers_and_goes_on_with_the_next() {
        let length = Duration::from_secs(30);
        let long_ago = now().checked_sub(length).unwrap();
        let lease = Lease::new(length, long_ago);
        assert!(lease.holds().is_err());
        assert!(lease.renew(|| Ok(())).is_none());
        lease.holds().unwrap();
        // An answer that fails ends nothing while the lease lasts, and is told once.
        assert!(lease.renew(away).unwrap().is_err());
        assert!(lease.renew(away).is_none());
        lease.holds().unwrap();
        assert!(lease.due() <= TRY_AGAIN);
        lease.state.lock().unwrap().since = long_ago;
        let lapsed = lease.holds().unwrap_err().to_string();
        assert!(lapsed.contains("gone") && lapsed.contains("30 s"), "{lapsed}");
        assert!(lease.renew(|| Ok(())).unwrap().is_ok());
        lease.holds().unwrap();
        assert!(lease.due() > TRY_AGAIN);
    }

    #[test]
    fn an_answer_is_as_old_as_its_question() {
        let lease = Lease::new(Duration::from_millis(20), now());
        let slow = || {
            let until = now() + Duration::from_millis(40);
            while now() < until {
                std::hint::spin_loop();
            }
            Ok(())
        };
        lease.renew(slow);
        assert!(lease.holds().is_err());
    }
}
