//! Whether the release in force may still be used: its revocations and the trust root, looked at
//! once a second by a thread of its own. It reads no pipeline file: what cannot be parsed, or never
//! ends, hides nothing here.
//!
//! A shard does not wait for that look: before each transaction it compares the revocations' file with
//! what the last look saw (one `stat`), and reads it where it is another. So of a revocation on this
//! machine's disk the transaction that has begun is the last.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use douane_connectors::control_switch;
use douane_ledger::canonical;
use douane_ledger::dsse::Envelope;
use douane_ledger::trust::TrustRoot;
use serde_json::json;

use crate::config::{Pipeline, Place};
use crate::crossing::Crossing;
use crate::fault::RunFault;
use crate::position::Approved;
use crate::release;
use crate::report::Report;
use crate::revocation::{self, Revoked};
use crate::stamp::{Glance, Stamp};
use crate::stop::Stop;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Without a look for so long, nothing crosses: a file that cannot be read to its end may hold a
/// revocation.
const UNWATCHED: Duration = Duration::from_secs(30);

/// How long a shard waits for a look that is overdue.
const OWED: Duration = Duration::from_secs(2);

/// The right to write while nothing ends the release. Shards ask before each transaction.
pub struct Right {
    /// Why it is gone, once that is known.
    stopped: OnceLock<Halt>,
    /// When it was last known that nothing ends it.
    looked: Mutex<Instant>,
    /// Told to who waits: somebody looked, or the right is gone.
    news: Condvar,
    /// What the last look read, of each file of revocations.
    read: Mutex<Vec<Read>>,
}

/// A file of revocations that says nothing of a release.
struct Read {
    papers: Papers,
    /// The release's.
    digest: String,
    /// As it was before it was read.
    stamp: Stamp,
}

/// What ends the right to write while it is used.
pub enum Halt {
    Revoked(Revoked),
    /// It is no longer approved, or it cannot be told whether it was revoked.
    Doubt(String),
    /// Nobody looks any more: a thread died.
    Unwatched,
}

impl Default for Right {
    fn default() -> Self {
        let looked = Mutex::new(Instant::now());
        let (stopped, news, read) = (OnceLock::new(), Condvar::new(), Mutex::default());
        Self { stopped, looked, news, read }
    }
}

impl Right {
    /// Nothing is known to end it, and somebody looks. A process that was frozen waits for the look
    /// that it owes.
    pub fn holds(&self) -> Result<(), RunFault> {
        self.heed();
        let until = Instant::now() + OWED;
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.stopped.get() {
                Some(Halt::Revoked(revoked)) => return Err(revoked.clone().into()),
                Some(Halt::Doubt(why)) => return Err(RunFault::Release(why.clone())),
                Some(Halt::Unwatched) => return Err(RunFault::ThreadDied),
                None => {}
            }
            let since = looked.elapsed();
            if since <= UNWATCHED {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let since = since.as_secs();
                return Err(RunFault::Again(format!("no look at the revocations for {since} s")));
            }
            let waited = self.news.wait_timeout(looked, left);
            looked = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Reads what changed since the last look.
    fn heed(&self) {
        if control_switch::deaf_to_revocations() {
            return;
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        for Read { papers, digest, stamp } in read.iter_mut() {
            let now = Stamp::of(&papers.revocations);
            if !now.is(stamp) {
                match papers.shrank(stamp, &now).or_else(|| papers.say(digest)) {
                    Some(halt) => self.halt(halt),
                    None => *stamp = now,
                }
            }
        }
    }

    /// No shard begins another transaction; the first reason stands.
    pub fn halt(&self, halt: Halt) {
        let _ = self.stopped.set(halt);
        self.news.notify_all();
    }

    /// Why no shard begins another transaction.
    pub fn halted(&self) -> Option<&Halt> {
        self.stopped.get()
    }

    /// Who revoked the release while it was used.
    pub fn revoked(&self) -> Option<&Revoked> {
        match self.stopped.get()? {
            Halt::Revoked(revoked) => Some(revoked),
            Halt::Doubt(_) | Halt::Unwatched => None,
        }
    }

    fn looked(&self) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.news.notify_all();
    }
}

/// Where it is written that a release has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Papers {
    revocations: PathBuf,
    trust: PathBuf,
}

impl Papers {
    fn of(place: &Place, pipeline: &Pipeline) -> Vec<Self> {
        let files = revocation::files(place, pipeline).into_iter();
        files.map(|revocations| Self { revocations, trust: place.trust.clone() }).collect()
    }

    fn files(&self) -> [&PathBuf; 2] {
        [&self.revocations, &self.trust]
    }

    /// Lines are added and never taken out: what is missing may have been about any release.
    fn shrank(&self, before: &Stamp, now: &Stamp) -> Option<Halt> {
        let less = before.len().zip(now.len()).is_some_and(|(before, now)| now < before);
        less.then(|| {
            Halt::Doubt(format!(
                "{}: revocations were taken out: it cannot be told whether the release was revoked\n  \
                 next: put the file back as it was",
                self.revocations.display()
            ))
        })
    }

    /// What the file of revocations says of a release.
    fn say(&self, digest: &str) -> Option<Halt> {
        match revocation::said(&self.revocations, &self.trust, digest) {
            Ok(None) => None,
            Ok(Some(revoked)) => Some(Halt::Revoked(revoked)),
            Err(fault) => Some(Halt::Doubt(fault.to_string())),
        }
    }
}

/// What the last look that read the papers saw.
#[derive(Default)]
struct Seen {
    glance: Glance,
    /// Of the trust roots.
    trusted: String,
}

/// See the module.
#[derive(Default)]
pub struct Vigil {
    /// As the files say now, which may name other places than those the process runs with.
    found: Mutex<Vec<Papers>>,
}

impl Vigil {
    /// The files were read anew: `release revoke` writes where they say.
    pub fn found(&self, place: &Place, pipeline: &Pipeline) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Papers::of(place, pipeline);
    }

    /// Looks until asked to stop. What ends the release is told at once, and no transaction begins
    /// after it.
    pub fn keep(&self, running: &Crossing, stop: &Stop<'_>, report: &Report) {
        let _dead = Dead(&running.right);
        let (mut seen, mut told) = (Seen::default(), false);
        // A shard may have seen it first; it is told all the same, and once.
        let mut tell = || {
            if !told && running.right.halted().is_some() {
                if let Err(fault) = running.still_live() {
                    report.event("release_ended", json!({"code": fault.code()}));
                }
                told = true;
            }
        };
        while !stop.is_set() {
            if let Err(fault) = running.clock.keep() {
                report.event("clock_not_kept", json!({"why": fault.to_string()}));
            }
            if running.right.halted().is_none()
                && let Some(halt) = self.look(running, &mut seen)
            {
                running.right.halt(halt);
            }
            tell();
            running.right.looked();
            stop.rest(LOOK);
        }
        tell();
    }

    fn look(&self, running: &Crossing, seen: &mut Seen) -> Option<Halt> {
        let mut all = Papers::of(&running.place, &running.pipeline);
        for found in self.found.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if !all.contains(found) {
                all.push(found.clone());
            }
        }
        let files: Vec<_> = all.iter().flat_map(Papers::files).cloned().collect();
        if seen.glance.stands(&files) {
            return None;
        }
        let mut right = running.right.read.lock().unwrap_or_else(PoisonError::into_inner);
        let before = |papers: &Papers| right.iter().find(|read| read.papers == *papers);
        let mut read = Vec::new();
        for papers in all.iter().filter(|_| !control_switch::deaf_to_revocations()) {
            // Before it is read: what changes meanwhile is another file.
            let stamp = Stamp::of(&papers.revocations);
            let shrank = before(papers).and_then(|read| papers.shrank(&read.stamp, &stamp));
            if let Some(halt) = shrank.or_else(|| papers.say(&running.release_digest)) {
                return Some(halt);
            }
            read.push(Read {
                papers: papers.clone(),
                digest: running.release_digest.clone(),
                stamp,
            });
        }
        *right = read;
        drop(right);
        // A chain of roots is verified where it changed.
        let files: Vec<_> = all.iter().filter_map(|p| std::fs::read(&p.trust).ok()).collect();
        if files.len() < all.len() {
            seen.glance.forget();
        }
        let now: String = files.iter().map(|bytes| canonical::sha256_hex(bytes)).collect();
        if seen.trusted == now {
            return None;
        }
        let why = files
            .iter()
            .find_map(|bytes| no_longer_approved(&running.envelope, &running.approved, bytes));
        seen.trusted = now;
        why.map(Halt::Doubt)
    }
}

/// Why a later trust root does not approve of the release. A file that holds no successor of the
/// root in force says nothing: it is not taken up either.
fn no_longer_approved(envelope: &Envelope, before: &Approved, trust: &[u8]) -> Option<String> {
    let root = TrustRoot::load(trust, None).ok()?;
    if root.root().version <= before.trust_version || !release::holds_root(trust, before) {
        return None;
    }
    let why = douane_ledger::release::verify(envelope, &root, SystemTime::now()).err()?;
    Some(format!(
        "trust root version {} does not approve of it: {why}\n  next: propose or renew, and have it \
         signed under that root",
        root.root().version
    ))
}

/// Dropped by a panic, it takes the right to write: nobody would see what ends it.
pub struct Dead<'a>(pub &'a Right);

impl Drop for Dead<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.halt(Halt::Unwatched);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_dies_takes_the_right_and_one_that_ends_does_not() {
        let right = Right::default();
        let ends = || drop(Dead(&right));
        std::thread::scope(|scope| scope.spawn(ends).join().unwrap());
        right.holds().unwrap();
        let dies = || {
            let _dead = Dead(&right);
            std::panic::resume_unwind(Box::new("died"));
        };
        assert!(std::thread::scope(|scope| scope.spawn(dies).join()).is_err());
        assert_eq!(right.holds().unwrap_err().code(), "thread_died");
    }

    #[test]
    fn a_file_that_changed_is_read_before_the_next_transaction() {
        let dir = tempfile::tempdir().unwrap();
        let (right, blind) = (Right::default(), Right::default());
        let papers = Papers {
            revocations: dir.path().join("p.revocations.json"),
            trust: dir.path().join("trust.json"),
        };
        let stamp = Stamp::of(&papers.revocations);
        assert_eq!(stamp, Stamp::Absent);
        let read = Read { papers: papers.clone(), digest: "a".repeat(64), stamp };
        right.read.lock().unwrap().push(read);
        right.holds().unwrap();
        // Empty, it says nothing; and is not read again until it is another.
        std::fs::write(&papers.revocations, "").unwrap();
        right.holds().unwrap();
        assert!(matches!(right.read.lock().unwrap()[0].stamp, Stamp::There { len: 0, .. }));
        std::fs::write(&papers.revocations, "torn").unwrap();
        assert_eq!(right.holds().unwrap_err().code(), "release");
        // One that lost lines, or is gone, is not one that says nothing.
        let gone = Right::default();
        let stamp = Stamp::of(&papers.revocations);
        let read = Read { papers: papers.clone(), digest: "a".repeat(64), stamp };
        gone.read.lock().unwrap().push(read);
        std::fs::remove_file(&papers.revocations).unwrap();
        assert!(gone.holds().unwrap_err().to_string().contains("taken out"));
        // The control: without that look it goes on until the next second's.
        blind.holds().unwrap();
    }

    #[test]
    fn without_a_look_nothing_crosses_until_there_is_one() {
        let right = Right::default();
        let long_ago = Instant::now().checked_sub(UNWATCHED + Duration::from_secs(1)).unwrap();
        *right.looked.lock().unwrap() = long_ago;
        let fault = right.holds().unwrap_err();
        assert!(fault.passes(), "{fault}");
        std::thread::scope(|scope| {
            let held = scope.spawn(|| right.holds());
            right.looked();
            held.join().unwrap().unwrap();
        });
        // What ended it, a look does not bring back; and the first reason stands.
        right.halt(Halt::Doubt("x".into()));
        right.halt(Halt::Unwatched);
        right.looked();
        assert_eq!(right.holds().unwrap_err().code(), "release");
        assert!(right.revoked().is_none());
    }
}
