//! Zombies, races, and journals that nobody names.

use super::*;

#[test]
fn what_a_zombie_appends_is_never_read() {
    let mut place = Place::new();
    let mut zombie = place.take_over().unwrap();
    place.transact(&mut zombie);
    let mut log = place.take_over().unwrap();
    zombie.append(&held(666)).unwrap();
    zombie.append(&intent(666)).unwrap();
    zombie.sync().unwrap();
    // Before the successor's first commit, the position still names the zombie's journal; its
    // late entries were durable when read, and none of them committed.
    place.transact(&mut log);
    let without = place.entries();
    assert!(!without.contains(&held(666)));
    let mut third = place.take_over().unwrap();
    place.transact(&mut third);
    assert!(!place.entries().contains(&held(666)));
    assert!(place.entries().starts_with(&without));
    let report = place.verify();
    assert!(report.holds(), "{:?}", report.findings);
    assert_eq!(report.journals.len(), 3);
}

/// The zombie committed, was fenced, and only then came to write the outcome.
#[test]
fn a_zombie_may_write_its_outcome_late() {
    let mut place = Place::new();
    let mut zombie = place.take_over().unwrap();
    let of = zombie.append(&intent(0)).unwrap().index;
    place.position = Some(zombie.sync().unwrap());
    let mut log = place.take_over().unwrap();
    assert_eq!(log.open_intent(), None);
    zombie.append(&Entry::Committed { of }).unwrap();
    zombie.sync().unwrap();
    place.transact(&mut log);
    let mut third = place.take_over().unwrap();
    place.transact(&mut third);
    let committed = |entry: &&Entry| matches!(entry, Entry::Committed { of: 0 });
    assert_eq!(place.entries().iter().filter(committed).count(), 1);
    assert!(place.verify().holds());
}

/// A commit by a fenced holder cannot be; if the ledger says so, somebody lies.
#[test]
fn a_commit_beside_the_chain_is_a_typed_stop() {
    let mut place = Place::new();
    let mut zombie = place.take_over().unwrap();
    place.transact(&mut zombie);
    let mut log = place.take_over().unwrap();
    let true_position = {
        place.transact(&mut log);
        place.position
    };
    place.transact(&mut zombie);
    place.position = true_position;
    assert!(matches!(place.take_over(), Err(LedgerFault::TargetRolledBack { .. })));
    assert!(!place.verify().holds());
}

/// Two holders went on from one journal; the target's fence let one of them commit.
#[test]
fn of_two_racing_holders_the_committed_one_counts() {
    for winner in [0, 1] {
        let mut place = Place::new();
        let mut first = place.take_over().unwrap();
        place.transact(&mut first);
        let mut pair = [place.take_over().unwrap(), place.take_over().unwrap()];
        for log in &mut pair {
            log.append(&intent(1)).unwrap();
            log.sync().unwrap();
        }
        let [a, b] = &mut pair;
        let log = if winner == 0 { a } else { b };
        place.position = Some(log.head());
        log.append(&Entry::Committed { of: 2 }).unwrap();
        log.sync().unwrap();
        let mut next = place.take_over().unwrap();
        place.transact(&mut next);
        let report = place.verify();
        assert!(report.holds(), "{:?}", report.findings);
        assert_eq!((report.journals.len(), report.aside.len()), (3, 1));
        assert_eq!((report.committed, report.void), (3, 0));
    }
}

/// Holders that die before their first commit leave journals that nobody names; each successor
/// voids the same intent again.
#[test]
fn holders_that_never_commit_leave_nothing() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    log.append(&intent(1)).unwrap();
    log.sync().unwrap();
    for _ in 0..3 {
        let mut dying = place.take_over().unwrap();
        dying.append(&intent(2)).unwrap();
        dying.sync().unwrap();
    }
    let mut log = place.take_over().unwrap();
    assert_eq!(log.next_index(), 4);
    place.transact(&mut log);
    let report = place.verify();
    assert!(report.holds(), "{:?}", report.findings);
    assert_eq!((report.entries, report.void, report.aside.len()), (6, 1, 3));
}

/// Nothing was ever committed: durable entries stay in the log all the same.
#[test]
fn without_a_position_the_newest_journal_goes_on() {
    let mut place = Place::new();
    for size in 0..3 {
        let mut log = place.take_over().unwrap();
        assert_eq!(log.next_index(), 2 * size);
        log.append(&intent(size)).unwrap();
        log.sync().unwrap();
    }
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    let report = place.verify();
    assert!(report.holds(), "{:?}", report.findings);
    assert_eq!((report.void, report.committed), (3, 1));
}

#[test]
fn entries_read_back_as_they_were() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    let all = vec![
        held(1),
        Entry::Resumed { topic: "t".into(), partition: 1, offset: -1, release: "r".into() },
        Entry::Redriven {
            topic: "t".into(),
            partition: 1,
            offset: 2,
            outcome: "superseded".into(),
        },
        Entry::Revoked { release: "r".into(), by: "bo".into(), reason: "x".into() },
        Entry::Rotated {
            purpose: "douane/v1/token-hmac".into(),
            context: "customer".into(),
            from: "a".into(),
            to: "b".into(),
        },
        Entry::Shredding {
            domain: "d".into(),
            subjects: vec!["s".into()],
            key_ids: vec!["k".into()],
            wrapped_under: "w".into(),
            by: "bo".into(),
            reason: "x".into(),
        },
        Entry::Shredded {
            domain: "d".into(),
            subjects: vec!["s".into()],
            keys: 1,
            certificate: "c".into(),
            at: "t".into(),
            by: "bo".into(),
            reason: "x".into(),
        },
        Entry::EpochEnded {
            number: 1,
            key_id: "k".into(),
            since: "s".into(),
            kept_until: None,
            by: "bo".into(),
            reason: "x".into(),
        },
        Entry::Layout {
            epoch: 1,
            tasks: 2,
            partitions: vec![Assigned { topic: "t".into(), partition: 0, shard: 1 }],
        },
    ];
    for entry in &all {
        log.append(entry).unwrap();
    }
    place.transact(&mut log);
    assert_eq!(place.entries()[..all.len()], all[..]);
    assert!(place.verify().holds());
    // Nothing stands in a leaf but by its name.
    assert!(read(place.home.path(), "other", None).unwrap().is_empty());
}
