//! The crash table, fencing and publishing. The target is a position in memory.

use std::fs;
use std::path::Path;

use super::*;
use crate::verify::{self, Expect, Report};

mod any_history;
mod crash;
mod fencing;
mod publishing;

pub(crate) fn keys() -> LogKeys {
    LogKeys::new(&[1; 32], &[2; 32])
}

pub(crate) const NAME: &str = "shard-0";

/// A ledger's home and the position in the target.
pub(crate) struct Place {
    pub(crate) home: tempfile::TempDir,
    pub(crate) position: Option<Head>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), position: None }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join(NAME)
    }

    pub(crate) fn take_over(&self) -> Result<Log, LedgerFault> {
        Log::take_over(self.home.path(), NAME, self.position.as_ref(), keys())
    }

    /// Intent, durable, commit, outcome.
    pub(crate) fn transact(&mut self, log: &mut Log) -> u64 {
        let of = log.append(&intent(log.next_index())).unwrap().index;
        self.position = Some(log.sync().unwrap());
        log.append(&Entry::Committed { of }).unwrap();
        log.sync().unwrap();
        of
    }

    pub(crate) fn verify(&self) -> Report {
        let expect = Expect { head: self.position, ..Expect::default() };
        verify::log(&self.dir(), &expect).unwrap()
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let read = read(self.home.path(), NAME, self.position.as_ref()).unwrap();
        assert!(read.iter().enumerate().all(|(at, (index, _))| at as u64 == *index));
        read.into_iter().map(|(_, entry)| entry).collect()
    }
}

pub(crate) fn intent(seq: u64) -> Entry {
    let spans = vec![SpanEntry {
        topic: "t".into(),
        partition: 0,
        start: 10 * seq as i64,
        end: 10 * seq as i64 + 10,
    }];
    Entry::Intent(Intent { seq, spans, ..Intent::default() })
}

pub(crate) fn held(offset: i64) -> Entry {
    Entry::Held {
        topic: "t".into(),
        partition: 0,
        offset,
        reason: "unknown leaf".into(),
        code: "unknown_leaf".into(),
        leaf: Some("after.x".into()),
        others: vec!["after.y".into()],
        more: 2,
        schema_id: None,
    }
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn a_log_goes_on_over_holders() {
    let mut place = Place::new();
    for holder in 0..4 {
        let mut log = place.take_over().unwrap();
        assert_eq!(log.next_index(), 3 * holder);
        place.transact(&mut log);
        log.append(&held(7)).unwrap();
        log.sync().unwrap();
    }
    let report = place.verify();
    assert!(report.holds(), "{:?}", report.findings);
    assert_eq!((report.entries, report.committed, report.journals.len()), (12, 4, 4));
    assert_eq!(place.entries().len(), 12);
}

#[test]
fn outcomes_are_guarded_where_they_are_written() {
    let place = Place::new();
    let mut log = place.take_over().unwrap();
    assert!(matches!(log.append(&Entry::Committed { of: 0 }), Err(LedgerFault::NotOpen { of: 0 })));
    let of = log.append(&intent(0)).unwrap().index;
    assert!(matches!(log.append(&intent(1)), Err(LedgerFault::IntentOpen { index: 0 })));
    let void = |of| Entry::Void { of, why: String::new() };
    assert!(matches!(log.append(&void(of + 1)), Err(LedgerFault::NotOpen { .. })));
    log.append(&void(of)).unwrap();
    assert!(matches!(log.append(&void(of)), Err(LedgerFault::NotOpen { .. })));
    // A refused append leaves no trace: the log still holds.
    log.sync().unwrap();
    assert_eq!((log.next_index(), place.verify().findings.len()), (2, 0));
}

#[test]
fn too_large_entries_leave_the_log_usable() {
    let place = Place::new();
    let mut log = place.take_over().unwrap();
    let large = Entry::Void { of: 0, why: "x".repeat(70_000) };
    log.append(&intent(0)).unwrap();
    assert!(matches!(log.append(&large), Err(LedgerFault::EntryTooLarge { .. })));
    log.append(&Entry::Committed { of: 0 }).unwrap();
    assert_eq!(log.sync().unwrap().size, 2);
}

#[test]
fn ten_thousand_refusals_stand_before_their_intent() {
    let place = Place::new();
    let mut log = place.take_over().unwrap();
    let one = |offset| RefusedEntry {
        topic: "crm.public.customers".into(),
        partition: 1,
        offset,
        code: "malformed_value".into(),
    };
    let intent = Intent { refused: (0..10_000).map(one).collect(), ..Intent::default() };
    let receipt = log.append(&Entry::Intent(intent)).unwrap();
    assert!(receipt.index > 10);
    log.append(&Entry::Committed { of: receipt.index }).unwrap();
    log.sync().unwrap();
    let report = place.verify();
    assert!(report.holds(), "{:?}", report.findings);
    let refused = |entry: &Entry| match entry {
        Entry::Refused { refused } => refused.len(),
        _ => 0,
    };
    let all = read(place.home.path(), NAME, None).unwrap();
    assert_eq!(all.iter().map(|(_, entry)| refused(entry)).sum::<usize>(), 10_000);
}

#[test]
fn names_cannot_leave_the_directory() {
    let home = tempfile::tempdir().unwrap();
    for bad in ["", "..", ".x", "a/b", "A", "x\0", &"a".repeat(65)] {
        let fault = Log::take_over(home.path(), bad, None, keys()).err().unwrap();
        assert!(matches!(fault, LedgerFault::Name), "{bad:?}");
    }
    assert!(fs::read_dir(home.path()).unwrap().next().is_none());
}

#[test]
fn control_logs_have_one_holder_and_no_position() {
    let home = tempfile::tempdir().unwrap();
    let approve = Entry::Approved {
        release: "00".repeat(32),
        fingerprint: "11".repeat(32),
        approvers: vec!["bo".into()],
        overrides: vec!["notes".into()],
    };
    let mut log = Log::control(home.path(), "control", keys()).unwrap();
    log.append(&approve).unwrap();
    log.sync().unwrap();
    let second = Log::control(home.path(), "control", keys());
    assert!(matches!(second.err().unwrap(), LedgerFault::Locked { .. }));
    drop(log);
    let mut log = Log::control(home.path(), "control", keys()).unwrap();
    let lease = Entry::Lease {
        window: String::new(),
        release: "00".repeat(32),
        shard: 1,
        records: 5,
        bytes: u64::MAX,
        windows: 0,
    };
    assert_eq!(log.append(&lease).unwrap().index, 1);
    let size = log.sync().unwrap().size;
    let key = SigningKey::generate().unwrap();
    log.publish(size, &key, "example.com/control").unwrap();
    drop(log);
    let entries = read(home.path(), "control", None).unwrap();
    assert_eq!(entries, [(0, approve), (1, lease)]);
    let report = verify::log(&home.path().join("control"), &Expect::default()).unwrap();
    assert!(report.holds(), "{:?}", report.findings);
    assert_eq!(report.checkpoint, Some(2));
    assert!(Log::control(home.path(), "control", keys()).is_ok());
}
