//! Whether the release in force may still be used: its revocations and the trust root, looked at
//! once a second by a thread of its own. It reads no pipeline file: what cannot be parsed, or never
//! ends, hides nothing here.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use douane_ledger::canonical;
use douane_ledger::dsse::Envelope;
use douane_ledger::trust::TrustRoot;
use serde_json::json;

use crate::config::{Pipeline, Place};
use crate::crossing::{Crossing, Halt};
use crate::position::Approved;
use crate::release;
use crate::report::Report;
use crate::revocation;
use crate::stop::Stop;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Where it is written that a release has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Papers {
    revocations: PathBuf,
    trust: PathBuf,
}

impl Papers {
    fn of(place: &Place, pipeline: &Pipeline) -> Self {
        Self { revocations: revocation::file(pipeline), trust: place.trust.clone() }
    }
}

/// See the module.
#[derive(Default)]
pub struct Vigil {
    /// As the files say now, which may name other places than those the process runs with.
    found: Mutex<Option<Papers>>,
}

impl Vigil {
    /// The files were read anew: `release revoke` writes where they say.
    pub fn found(&self, place: &Place, pipeline: &Pipeline) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Papers::of(place, pipeline));
    }

    /// Looks until asked to stop. What ends the release is told at once, and no transaction begins
    /// after it.
    pub fn keep(&self, running: &Crossing, stop: &Stop<'_>, report: &Report) {
        let _dead = Dead(running);
        let mut trusted = String::new();
        while !stop.is_set() {
            if running.halted().is_none()
                && let Some(halt) = self.look(running, &mut trusted)
            {
                running.halt(halt);
                if let Err(fault) = running.still_live() {
                    report.event("release_ended", json!({"code": fault.code()}));
                }
            }
            running.looked();
            stop.rest(LOOK);
        }
    }

    fn look(&self, running: &Crossing, trusted: &mut String) -> Option<Halt> {
        let mut all = vec![Papers::of(&running.place, &running.pipeline)];
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.extend(found.filter(|found| *found != all[0]));
        for papers in &all {
            match revocation::said(&papers.revocations, &papers.trust, &running.release_digest) {
                Ok(None) => {}
                Ok(Some(revoked)) => return Some(Halt::Revoked(revoked)),
                Err(fault) => return Some(Halt::Doubt(fault.to_string())),
            }
        }
        // A chain of roots is verified where it changed.
        let files: Vec<_> = all.iter().filter_map(|p| std::fs::read(&p.trust).ok()).collect();
        let now: String = files.iter().map(|bytes| canonical::sha256_hex(bytes)).collect();
        if *trusted == now {
            return None;
        }
        let why = files
            .iter()
            .find_map(|bytes| no_longer_approved(&running.envelope, &running.approved, bytes));
        *trusted = now;
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
pub struct Dead<'a>(pub &'a Crossing);

impl Drop for Dead<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.halt(Halt::Unwatched);
        }
    }
}
