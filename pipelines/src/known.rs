//! What the ledger knows of a pipeline's releases, beside what the files say: which were in force, which
//! were stopped, which one-shots are through. Read by verbs, where the ledger is; where it is not, nothing
//! is known. A run does not go by it: it reads the control log that the target's layout names.

use std::collections::BTreeMap;
use std::time::SystemTime;

use douane_ledger::log::{self, Entry};
use douane_ledger::release::{self, ReleaseFault, Stopped};
use douane_ledger::trust::TrustRoot;

use crate::audit::column;
use crate::config::{Pipeline, Place};
use crate::fault::RunFault;
use crate::journals;
use crate::names::{Names, ledger_home};
use crate::release::fault;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// There is a ledger of this pipeline here.
    pub is_here: bool,
    /// Digests, in the order in which they came into force.
    pub in_force: Vec<String>,
    /// Of each that was stopped, by whom and why.
    revoked: BTreeMap<String, (String, String)>,
    /// Of each one-shot that is through, how many records of it were set aside.
    closed: BTreeMap<String, u64>,
}

impl Known {
    /// Reads the control log.
    pub fn of(place: &Place, pipeline: &Pipeline) -> Result<Self, RunFault> {
        let home = ledger_home(&place.ledger_dir, &pipeline.name);
        let names = Names::of(place, pipeline);
        let log = names.control_log();
        match journals::refresh(place, &names, &pipeline.name) {
            Ok(()) => {}
            // Where the ledger's home does not answer, it is not here: an approver need not reach it.
            Err(RunFault::Again(_) | RunFault::Unreachable { .. }) => return Ok(Self::default()),
            // It answers, and is not as it was: nobody decides on half of what it knew.
            Err(fault) => return Err(fault),
        }
        if !home.join(&log).exists() {
            return Ok(Self::default());
        }
        let entries = log::read(&home, &log, None)?;
        Ok(Self::told(entries.iter().map(|(_, entry)| entry)))
    }

    /// What a control log tells.
    pub(crate) fn told<'e>(entries: impl Iterator<Item = &'e Entry>) -> Self {
        let mut known = Self { is_here: true, ..Self::default() };
        for entry in entries {
            match entry {
                Entry::Approved { release, .. } if !known.in_force.contains(release) => {
                    known.in_force.push(release.clone());
                }
                Entry::Revoked { release, by, reason } => {
                    known.revoked.insert(release.clone(), (by.clone(), reason.clone()));
                }
                Entry::Closed { release, set_aside } => {
                    known.closed.insert(release.clone(), *set_aside);
                }
                _ => {}
            }
        }
        known
    }

    /// Who stopped a release, where the file that said so may be gone.
    pub fn stopped(&self, digest: &str) -> Option<Stopped> {
        let (by, reason) = self.revoked.get(digest).cloned()?;
        Some(Stopped { by, at: "an earlier run".to_owned(), reason })
    }

    /// Of a one-shot that is through, how many of its records were set aside.
    pub fn closed(&self, digest: &str) -> Option<u64> {
        self.closed.get(digest).copied()
    }

    /// The releases that were in force and that a process may still run under: neither stopped nor
    /// expired. One that the trust root does not approve of any more is among them, and one that nobody
    /// kept: whoever goes on under it must hear that it is stopped.
    pub fn may_run(
        &self,
        place: &Place,
        root: &TrustRoot,
        now: SystemTime,
    ) -> Result<Vec<String>, RunFault> {
        let mut all = Vec::new();
        for digest in self.in_force.iter().filter(|digest| !self.revoked.contains_key(*digest)) {
            let kept = column::kept(place, digest)?;
            let over = kept.map(|envelope| release::verify(&envelope, root, now));
            if !matches!(over, Some(Err(ReleaseFault::Expired { .. }))) {
                all.push(digest.clone());
            }
        }
        Ok(all)
    }

    /// Nothing of this version, or of a later one, was in force as another release. `digest` is what is
    /// to be signed; none of a new draft.
    pub fn check_version(
        &self,
        place: &Place,
        version: u64,
        digest: Option<&str>,
    ) -> Result<(), RunFault> {
        for known in self.in_force.iter().filter(|known| Some(known.as_str()) != digest) {
            let Some(envelope) = column::kept(place, known)? else { continue };
            let before = release::draft(&envelope).map_err(fault)?.version;
            if before >= version {
                return Err(fault(format!(
                    "version {before} was in force already, as release {known}: version {version} is \
                     no successor of it\n  next: put that release's file back ({} is a copy), then \
                     propose on top of it",
                    column::kept_at(place, known).display()
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use douane_ledger::release::{Limits, Release};
    use douane_ledger::signing::SigningKey;
    use douane_ledger::trust::{self, Approver, Role, Root};

    use super::*;
    use crate::cases;
    use crate::config;
    use crate::release::{Proposal, draft as drafted};

    fn approved(digest: &str) -> Entry {
        Entry::Approved {
            release: digest.into(),
            fingerprint: "f".into(),
            approvers: Vec::new(),
            overrides: Vec::new(),
        }
    }

    #[test]
    fn the_ledger_says_what_was_in_force_stopped_and_through() {
        let entries = [
            approved("a"),
            approved("b"),
            approved("a"),
            Entry::Revoked { release: "a".into(), by: "bo".into(), reason: "x".into() },
            Entry::Closed { release: "b".into(), set_aside: 2 },
        ];
        let known = Known::told(entries.iter());
        assert_eq!(known.in_force, ["a", "b"]);
        assert_eq!(known.stopped("a").unwrap().by, "bo");
        assert_eq!(
            (known.stopped("b"), known.closed("b"), known.closed("a")),
            (None, Some(2), None)
        );
    }

    #[test]
    fn a_version_that_was_in_force_is_nobody_elses_and_all_that_may_run_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let lint = Path::new("testdata/lint");
        let (mut place, pipeline) =
            config::load(&lint.join("douane.yaml"), &lint.join("pipeline_good_least.yaml"))
                .unwrap();
        place.ledger_dir = dir.path().to_owned();
        let plan = cases::plan(&pipeline).unwrap();
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let person =
            Approver { name: "ada".into(), key: key.verifying_key(), roles: vec![Role::Approve] };
        let keeper = Approver {
            name: "kay".into(),
            key: SigningKey::from_seed(&[2; 32]).unwrap().verifying_key(),
            roles: vec![Role::Trust],
        };
        let root = trust::sign(
            &Root::first(1, vec![person, keeper]),
            &[&key, &SigningKey::from_seed(&[2; 32]).unwrap()],
        );
        let root = TrustRoot::load(&root.unwrap().to_bytes().unwrap(), None).unwrap();
        let limits = Limits { records: None, bytes: None, epsilon: None };
        let put = |version: u64, days: u64| {
            let life = Duration::from_secs(days * 86_400);
            let (author, once) = ("cleo".to_owned(), None);
            let proposal = Proposal { author, life, limits: limits.clone(), once };
            let one: Release = drafted(&place, &pipeline, &plan, &proposal, version).unwrap();
            let envelope = release::sign(&one, &[&key]).unwrap();
            let digest = douane_ledger::canonical::hex(&release::digest(&one).unwrap());
            column::keep(&place, &digest, &envelope).unwrap();
            digest
        };
        let (one, two, short) = (put(1, 9), put(2, 9), put(3, 1));
        let entries = [approved(&one), approved(&two), approved(&short)];
        let known = Known::told(entries.iter());
        let is_free = |version: u64, digest: Option<&str>| {
            known.check_version(&place, version, digest).is_ok()
        };
        assert!(is_free(4, None));
        assert!(!is_free(3, None) && !is_free(2, Some(&"0".repeat(64))));
        // The release in force takes one more signature; one before it does not come back.
        assert!(is_free(3, Some(&short)) && !is_free(2, Some(&two)));
        // The control: whoever has no ledger knows of none.
        assert!(Known::default().check_version(&place, 1, None).is_ok());

        let later = SystemTime::now() + Duration::from_secs(3 * 86_400);
        let running = |known: &Known| known.may_run(&place, &root, later).unwrap();
        assert_eq!(running(&known), [one.clone(), two.clone()], "the third has expired by then");
        let stopped = Entry::Revoked { release: one, by: "bo".into(), reason: "x".into() };
        let known = Known::told(entries.iter().chain([&stopped]));
        assert_eq!(running(&known), [two.clone()]);
        // Nobody kept it: it may run for all that is known.
        std::fs::remove_file(column::kept_at(&place, &two)).unwrap();
        assert_eq!(running(&known), [two]);
    }
}
