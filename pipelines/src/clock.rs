//! The clock by which a release ends. The machine's is set by people and by daemons, and what has expired
//! must not come back with it: a process goes by the later of what the clock says and what it said as the
//! process began with the time since, and `ledger/_clock` keeps the latest for the process after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::alone::alone;
use crate::config::Place;
use crate::fault::RunFault;
use crate::key_home;

/// Beside the pipelines' ledgers. No pipeline has such a name.
const FILE: &str = "_clock";
/// It is written so often; a process that is killed loses that much.
const KEPT_EVERY: Duration = Duration::from_secs(60);
/// Two clocks may differ by so much.
pub const APART: Duration = Duration::from_secs(60);
/// An instant is shorter.
const BYTES_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
    /// Not earlier than this, at `since`.
    at: SystemTime,
    /// Of the clock that nobody sets.
    since: Duration,
    /// When the file was written last, by that clock.
    kept: Mutex<Option<Duration>>,
}

impl Clock {
    /// As the place's ledger knows it.
    ///
    /// # Errors
    /// What is kept cannot be read: then nobody knows what has expired.
    pub fn of(place: &Place) -> Result<Self, RunFault> {
        let file = place.ledger_dir.join(FILE);
        let at = kept(&file)?.map_or(SystemTime::now(), |kept| kept.max(SystemTime::now()));
        Ok(Self { file, at, since: key_home::uptime(), kept: Mutex::default() })
    }

    /// Not earlier than what was known as the process began, with the time since.
    pub fn now(&self) -> SystemTime {
        let passed = key_home::uptime().saturating_sub(self.since);
        self.at.checked_add(passed).map_or(self.at, |known| known.max(SystemTime::now()))
    }

    /// As [`Self::now`]; outside of time everything has expired.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::try_from(self.now()).unwrap_or(Timestamp::MAX)
    }

    /// For the next process, where that is due.
    ///
    /// # Errors
    /// What the disk says.
    pub fn keep(&self) -> Result<(), RunFault> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let uptime = key_home::uptime();
        if kept.is_some_and(|kept| uptime.saturating_sub(kept) < KEPT_EVERY) {
            return Ok(());
        }
        *kept = Some(uptime);
        self.write()
    }

    /// For the next process, now: a release has ended by this clock.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self) -> Result<(), RunFault> {
        // Every table, connector and process of this place keeps theirs in it: one after the other, and nobody takes it
        // back. On a file system without locks the later of two may be lost, and the next one writes it again.
        let dir = self.file.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(dir).map_err(|error| unreadable(&self.file, error.kind()))?;
        let _alone = alone(&self.file.with_extension("lock"));
        let now = whole(Timestamp::try_from(self.now()).unwrap_or(Timestamp::MAX));
        if self::kept(&self.file)?.is_some_and(|kept| kept >= now.into()) {
            return Ok(());
        }
        let text = now.strftime("%Y-%m-%dT%H:%M:%SZ\n").to_string();
        // Crash in it: what was kept before stands.
        key_home::replace(&self.file, 0o644, text.as_bytes())
            .map_err(|_| unreadable(&self.file, "cannot be written"))
    }

    /// By how much the machine's clock is behind what is kept, where that is more than clocks differ.
    pub fn behind(&self) -> Option<Duration> {
        let behind = self.now().duration_since(SystemTime::now()).unwrap_or_default();
        (behind > APART).then_some(behind)
    }

    /// What leads out of it.
    pub fn next(&self) -> String {
        format!(
            "set the machine's clock right; where it was ahead once and `{}` is wrong, stop every process of the \
             place (each goes on from what it knows), remove that file, and start them",
            self.file.display()
        )
    }
}

/// In whole seconds, and not below. What is whole stays: else each who keeps it would move it on.
fn whole(at: Timestamp) -> Timestamp {
    let up = i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second(at.as_second().saturating_add(up)).unwrap_or(Timestamp::MAX)
}

fn kept(file: &Path) -> Result<Option<SystemTime>, RunFault> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(file, error.kind())),
    };
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= BYTES_MAX);
    match text.and_then(|text| text.trim_end().parse::<Timestamp>().ok()) {
        Some(at) => Ok(Some(at.into())),
        None => Err(unreadable(file, "no instant of RFC 3339")),
    }
}

fn unreadable(file: &Path, what: impl std::fmt::Display) -> RunFault {
    RunFault::File(format!(
        "{}: {what}\n  next: mend the disk, or, once the machine's clock is right, stop every process of the place \
         and remove that file",
        file.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn clock(dir: &Path) -> Result<Clock, RunFault> {
        let lint = Path::new("testdata/lint");
        let (mut place, _) =
            crate::config::load(&lint.join("douane.yaml"), &lint.join("pipeline_good_least.yaml"))
                .unwrap();
        place.ledger_dir = dir.to_owned();
        Clock::of(&place)
    }

    fn apart(one: SystemTime, other: SystemTime) -> Duration {
        one.duration_since(other).unwrap_or_else(|before| before.duration())
    }

    #[test]
    fn a_clock_that_is_set_back_says_what_it_said_with_the_time_since() {
        let dir = tempfile::tempdir().unwrap();
        let machine = clock(dir.path()).unwrap();
        assert!(apart(machine.now(), SystemTime::now()) < APART && machine.behind().is_none());
        // As after a clock that was set back by a day an hour after the process began.
        let set_back = Clock {
            at: SystemTime::now() + DAY,
            since: machine.since.saturating_sub(Duration::from_secs(3600)),
            ..clock(dir.path()).unwrap()
        };
        let expected = SystemTime::now() + DAY + machine.since.min(Duration::from_secs(3600));
        assert!(apart(set_back.now(), expected) < APART);
        assert!(set_back.behind().unwrap() > DAY - APART);
        // One that was set forward counts at once: it expires what it expires.
        let forward = Clock { at: SystemTime::now() - DAY, ..clock(dir.path()).unwrap() };
        assert!(apart(forward.now(), SystemTime::now()) < APART && forward.behind().is_none());
    }

    #[test]
    fn the_next_process_knows_what_was_kept_and_nobody_takes_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let ahead = Clock { at: SystemTime::now() + DAY, ..clock(dir.path()).unwrap() };
        // The control: what nobody kept, nobody knows.
        assert!(clock(dir.path()).unwrap().behind().is_none());
        let other = clock(dir.path()).unwrap();
        ahead.keep().unwrap();
        let next = clock(dir.path()).unwrap();
        assert!(next.behind().is_some() && next.now() >= ahead.at);
        // A process that began before knows less, and leaves it.
        other.keep().unwrap();
        assert!(clock(dir.path()).unwrap().now() >= ahead.at);
        // Not every time.
        fs::remove_file(dir.path().join(FILE)).unwrap();
        ahead.keep().unwrap();
        assert!(!dir.path().join(FILE).exists());
        ahead.write().unwrap();
        assert!(clock(dir.path()).unwrap().behind().is_some());
    }

    #[test]
    fn many_keep_it_at_once_and_none_moves_it_on_or_leaves_it_empty() {
        let dir = tempfile::tempdir().unwrap();
        let ahead = || Clock { at: SystemTime::now() + DAY, ..clock(dir.path()).unwrap() };
        let clocks: Vec<Clock> = (0..4).map(|_| ahead()).collect();
        let first = clocks[0].now();
        std::thread::scope(|scope| {
            for clock in &clocks {
                scope.spawn(|| (0..25).for_each(|_| clock.write().unwrap()));
            }
            for _ in 0..100 {
                kept(&dir.path().join(FILE)).unwrap();
            }
        });
        let last = clocks.iter().map(Clock::now).max().unwrap();
        let at = kept(&dir.path().join(FILE)).unwrap().unwrap();
        assert!(at >= first && at <= last + Duration::from_secs(1), "moved on by being kept");
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 2, "the file and its lock");
        // The control: what is whole is not moved, and what is not moves up.
        let second = Timestamp::from_second(5).unwrap();
        assert_eq!(whole(second), second);
        assert_eq!(whole(Timestamp::new(5, 1).unwrap()), Timestamp::from_second(6).unwrap());
    }

    #[test]
    fn what_is_kept_bad_text_bad_length_is_no_permission() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["", "yesterday", "2026-01-01", &"2".repeat(65)] {
            fs::write(dir.path().join(FILE), bad).unwrap();
            let fault = clock(dir.path()).unwrap_err().to_string();
            assert!(fault.contains("_clock") && fault.contains("next: "), "{fault}");
        }
    }
}
