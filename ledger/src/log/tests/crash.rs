//! Each write × {lost, in part, kept} × {commit before it, commit after it}.

use std::collections::BTreeSet;

use super::*;

/// One journal with three committed transactions, a hold and an intent that did not commit: its
/// bytes, and every position that the target ever had.
fn history() -> (Place, PathBuf, Vec<u8>, Vec<Option<Head>>) {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    let mut positions = vec![None];
    for _ in 0..3 {
        place.transact(&mut log);
        positions.push(place.position);
    }
    log.append(&held(30)).unwrap();
    log.append(&intent(9)).unwrap();
    // The last commit: the target has it, and nothing was written after it.
    positions.push(Some(log.sync().unwrap()));
    let path = log.journal.path(&journals(&place.dir()));
    let bytes = fs::read(&path).unwrap();
    (place, path, bytes, positions)
}

/// Entries that a cut journal still holds: (how many, COMMITTED of which).
fn kept(bytes: &[u8], cut: usize) -> Option<(u64, Vec<u64>)> {
    let (mut at, mut frames, mut committed) = (0, 0, Vec::new());
    while at + 16 <= cut {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if at + 16 + length > cut {
            break;
        }
        let value: serde_json::Value =
            serde_json::from_slice(&bytes[at + 16..at + 16 + length]).unwrap();
        if value["kind"] == "COMMITTED" {
            committed.push(value["body"]["of"].as_str().unwrap().parse().unwrap());
        }
        at += 16 + length;
        frames += 1;
    }
    // Frame 0 is the header: without it the journal was never born.
    (frames > 0).then(|| (frames - 1, committed))
}

/// Around every border of a frame, in its head and in its payload.
fn cuts(bytes: &[u8]) -> BTreeSet<usize> {
    let (mut at, mut cuts) = (0, BTreeSet::new());
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        cuts.extend([at, at + 1, at + 9, at + 16, at + 16 + length / 2, at + 15 + length]);
        at += 16 + length;
    }
    cuts.insert(at);
    cuts
}

#[test]
fn every_cut_with_every_position() {
    let (mut place, path, bytes, positions) = history();
    let mut seen = [0; 4];
    for cut in cuts(&bytes) {
        for position in &positions {
            fs::remove_dir_all(journals(&place.dir())).unwrap();
            fs::create_dir_all(journals(&place.dir())).unwrap();
            fs::write(&path, &bytes[..cut]).unwrap();
            place.position = *position;
            let covered = position.map_or(0, |head| head.size);
            let result = place.take_over();
            let context = format!("cut {cut}, position {covered}");
            match (kept(&bytes, cut), result) {
                (None, Ok(log)) => {
                    assert!(position.is_none(), "{context}");
                    assert_eq!(log.next_index(), 0);
                    seen[0] += 1;
                }
                (None, Err(LedgerFault::LedgerLost { .. })) => assert!(position.is_some()),
                (Some((_, committed)), Err(LedgerFault::TargetRolledBack { .. })) => {
                    assert!(committed.iter().any(|of| *of >= covered), "{context}");
                    seen[1] += 1;
                }
                (Some((entries, _)), Err(LedgerFault::LedgerLost { .. })) => {
                    assert!(entries < covered, "{context}");
                    seen[2] += 1;
                }
                (Some((entries, committed)), Ok(log)) => {
                    assert!(entries >= covered, "{context}");
                    assert!(committed.iter().all(|of| *of < covered), "{context}");
                    recovered(&mut place, log, entries, covered, &context);
                    seen[3] += 1;
                }
                (_, Err(fault)) => panic!("{context}: {fault}"),
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 3), "{seen:?}");
}

/// A durable entry is never cut, every intent has the outcome that the position says, and the log
/// goes on.
fn recovered(place: &mut Place, mut log: Log, entries: u64, covered: u64, context: &str) {
    assert!(log.next_index() >= entries, "{context}");
    place.transact(&mut log);
    let mut open = None;
    for (index, entry) in place.entries().iter().enumerate() {
        match entry {
            Entry::Intent(_) => assert!(open.replace(index as u64).is_none(), "{context}"),
            Entry::Committed { of } | Entry::Void { of, .. } => {
                assert_eq!(open.take(), Some(*of), "{context}");
                let committed = matches!(entry, Entry::Committed { .. });
                let ours = *of >= entries;
                assert_eq!(committed, *of < covered || ours, "{context}, intent {of}");
            }
            _ => {}
        }
    }
    assert!(open.is_none(), "{context}");
    let report = place.verify();
    assert!(report.holds(), "{context}: {:?}", report.findings);
}

#[test]
fn a_lost_journal_is_a_typed_stop() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    fs::remove_file(log.journal.path(&journals(&place.dir()))).unwrap();
    assert!(matches!(place.take_over(), Err(LedgerFault::LedgerLost { .. })));
    fs::remove_dir_all(place.home.path().join(NAME)).unwrap();
    assert!(matches!(place.take_over(), Err(LedgerFault::LedgerLost { .. })));
}

#[test]
fn a_lost_predecessor_is_a_typed_stop() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    let first = log.journal;
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    fs::remove_file(first.path(&journals(&place.dir()))).unwrap();
    assert!(matches!(place.take_over(), Err(LedgerFault::LedgerLost { .. })));
}

#[test]
fn an_older_copy_put_back_is_a_typed_stop() {
    // In the same journal, and over a take-over.
    for new_holder in [false, true] {
        let mut place = Place::new();
        let mut log = place.take_over().unwrap();
        place.transact(&mut log);
        let copy = tempfile::tempdir().unwrap();
        copy_dir(&place.dir(), copy.path());
        if new_holder {
            log = place.take_over().unwrap();
        }
        place.transact(&mut log);
        drop(log);
        fs::remove_dir_all(place.dir()).unwrap();
        copy_dir(copy.path(), &place.dir());
        assert!(matches!(place.take_over(), Err(LedgerFault::LedgerLost { .. })));
        assert!(!place.verify().holds());
    }
}

#[test]
fn another_root_is_a_typed_stop() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    place.position.as_mut().unwrap().root[0] ^= 1;
    assert!(matches!(place.take_over(), Err(LedgerFault::LedgerLost { .. })));
}

#[test]
fn a_target_rolled_back_is_a_typed_stop() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    let early = place.position;
    place.transact(&mut log);
    let late = place.position;
    for rolled_back in [None, early] {
        place.position = rolled_back;
        assert!(matches!(place.take_over(), Err(LedgerFault::TargetRolledBack { .. })));
    }
    // Over a take-over: the journal that knows better is not the one that is named.
    place.position = late;
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    place.position = late;
    assert!(matches!(place.take_over(), Err(LedgerFault::TargetRolledBack { .. })));
}

#[test]
fn void_and_committed_is_a_typed_stop() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    let of = log.append(&intent(0)).unwrap().index;
    place.position = Some(log.sync().unwrap());
    log.append(&Entry::Void { of, why: "aborted".into() }).unwrap();
    log.sync().unwrap();
    assert!(matches!(place.take_over(), Err(LedgerFault::VoidCommitted { index: 0 })));
}

#[test]
fn a_flipped_bit_is_damage_or_loss() {
    let (place, path, bytes, positions) = history();
    for at in (0..bytes.len()).step_by(5) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, flipped).unwrap();
        let home = place.home.path();
        let result = Log::take_over(home, NAME, positions.last().unwrap().as_ref(), keys());
        use LedgerFault::{Damaged, LedgerLost};
        assert!(matches!(result, Err(Damaged { .. } | LedgerLost { .. })), "byte {at}");
    }
    fs::write(&path, &bytes).unwrap();
    assert!(Log::take_over(place.home.path(), NAME, positions[4].as_ref(), keys()).is_ok());
}

#[test]
fn a_failed_fsync_poisons() {
    // /dev/null takes every write and cannot be synced; /dev/full takes none.
    for device in ["/dev/null", "/dev/full"] {
        let mut place = Place::new();
        let mut log = place.take_over().unwrap();
        place.transact(&mut log);
        let head = log.head();
        log.append(&intent(1)).unwrap();
        log.writer.onto(device);
        assert!(matches!(log.sync(), Err(LedgerFault::Io { .. })), "{device}");
        assert!(matches!(log.sync(), Err(LedgerFault::Poisoned)));
        assert!(matches!(log.append(&held(1)), Err(LedgerFault::Poisoned)));
        let key = SigningKey::generate().unwrap();
        assert!(matches!(log.publish(9, &key, "o"), Err(LedgerFault::Poisoned)));
        assert_eq!(log.head(), head);
        // The next holder goes on from what is on disk.
        let mut log = place.take_over().unwrap();
        place.transact(&mut log);
        assert!(place.verify().holds());
    }
}
