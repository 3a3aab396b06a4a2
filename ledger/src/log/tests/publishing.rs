//! Tiles, bundles and checkpoints.

use std::collections::BTreeMap;

use super::*;

const ORIGIN: &str = "example.com/customers/shard-0";

fn key() -> SigningKey {
    SigningKey::from_seed(&[9; 32]).unwrap()
}

fn tree_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn collect(dir: &Path, name: &str, all: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{name}/{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => collect(&entry.path(), &name, all),
                false => drop(all.insert(name, fs::read(entry.path()).unwrap())),
            }
        }
    }
    let mut all = BTreeMap::new();
    collect(dir, "", &mut all);
    all
}

fn report(place: &Place, old: &[Vec<u8>]) -> Report {
    let expect = Expect {
        checkpoint_key: Some(verifier_key(ORIGIN, &key().verifying_key())),
        head: place.position,
        old_checkpoints: old.to_vec(),
        ..Expect::default()
    };
    verify::log(&place.dir(), &expect).unwrap()
}

/// Straight publication = publication in steps, by several holders, over bundle borders.
#[test]
fn tiles_do_not_depend_on_when_they_were_published() {
    let mut place = Place::new();
    let straight = tempfile::tempdir().unwrap();
    let mut log = place.take_over().unwrap();
    let mut old = Vec::new();
    for n in 0..330_u64 {
        if n % 70 == 69 {
            log = place.take_over().unwrap();
        }
        place.transact(&mut log);
        if n % 9 == 0 || n > 325 {
            log.publish(place.position.unwrap().size, &key(), ORIGIN).unwrap();
            let report = report(&place, &old);
            assert!(report.holds() && report.signature_checked, "{n}: {:?}", report.findings);
            old = vec![fs::read(place.dir().join("tlog/checkpoint")).unwrap()];
        }
    }
    copy_dir(&place.dir(), &straight.path().join(NAME));
    fs::remove_dir_all(straight.path().join(NAME).join("tlog")).unwrap();
    // No checkpoint: the next holder publishes everything at once.
    let at = place.position;
    let mut other = Log::take_over(straight.path(), NAME, at.as_ref(), keys()).unwrap();
    other.publish(at.unwrap().size, &key(), ORIGIN).unwrap();
    let steps = tree_of(&place.dir().join("tlog"));
    let once = tree_of(&straight.path().join(NAME).join("tlog"));
    assert!(once.len() > 6);
    for (path, bytes) in &once {
        assert_eq!(Some(bytes), steps.get(path), "{path}");
    }
    // What stays of the steps are partial tiles only.
    assert!(steps.keys().all(|path| once.contains_key(path) || path.contains(".p/")));
}

#[test]
fn never_covers_what_is_not_committed_and_never_shrinks() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    log.append(&held(1)).unwrap();
    log.append(&intent(0)).unwrap();
    log.sync().unwrap();
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    assert_eq!(checkpoint(&place.dir()).unwrap(), None);
    log.append(&Entry::Void { of: 1, why: "aborted".into() }).unwrap();
    place.transact(&mut log);
    log.append(&held(2)).unwrap();
    log.sync().unwrap();
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    let head = place.position.unwrap();
    assert_eq!(checkpoint(&place.dir()).unwrap(), Some((head.size, head.root)));
    log.publish(1, &key(), ORIGIN).unwrap();
    assert_eq!(checkpoint(&place.dir()).unwrap(), Some((head.size, head.root)));
}

#[test]
fn a_zombie_cannot_publish_back() {
    let mut place = Place::new();
    let mut zombie = place.take_over().unwrap();
    place.transact(&mut zombie);
    zombie.publish(1, &key(), ORIGIN).unwrap();
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    let after = fs::read(place.dir().join("tlog/checkpoint")).unwrap();
    zombie.append(&intent(666)).unwrap();
    zombie.sync().unwrap();
    zombie.publish(u64::MAX, &key(), ORIGIN).unwrap();
    assert_eq!(fs::read(place.dir().join("tlog/checkpoint")).unwrap(), after);
    assert!(report(&place, &[after]).holds());
    // While one publishes, the other does not.
    let held = lock(&place.dir().join("publish.lock"), "test").unwrap();
    place.transact(&mut log);
    assert!(matches!(log.publish(9, &key(), ORIGIN), Err(LedgerFault::Locked { .. })));
    drop(held);
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
}

#[test]
fn a_checkpoint_ahead_of_position_or_log_is_a_typed_stop() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    let before = place.position;
    place.transact(&mut log);
    let early = place.position;
    let copy = tempfile::tempdir().unwrap();
    copy_dir(&journals(&place.dir()), copy.path());
    place.transact(&mut log);
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    for rolled_back in [before, early] {
        place.position = rolled_back;
        assert!(matches!(place.take_over(), Err(LedgerFault::TargetRolledBack { .. })));
    }
    // Journals of an older copy beside the newer checkpoint; the target went back with them.
    fs::remove_dir_all(journals(&place.dir())).unwrap();
    copy_dir(copy.path(), &journals(&place.dir()));
    assert!(matches!(place.take_over(), Err(LedgerFault::LedgerLost { .. })));
}

#[test]
fn a_forked_log_is_found_with_the_old_checkpoint_only() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    let old = fs::read(place.dir().join("tlog/checkpoint")).unwrap();
    // The same log, told otherwise, by somebody who holds the key.
    fs::remove_dir_all(place.dir()).unwrap();
    place.position = None;
    let mut log = place.take_over().unwrap();
    log.append(&held(1)).unwrap();
    place.transact(&mut log);
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    assert!(report(&place, &[]).holds());
    assert!(!report(&place, &[old]).holds());
}

#[test]
fn a_failed_publication_is_made_good_by_the_next() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    for _ in 0..150 {
        place.transact(&mut log);
    }
    // A file stands where the level's directory must go: the first full tile makes level 1.
    fs::write(place.dir().join("tlog/tile/1.p"), "").unwrap();
    fs::write(place.dir().join("tlog/tile/1"), "").unwrap();
    assert!(matches!(log.publish(u64::MAX, &key(), ORIGIN), Err(LedgerFault::Io { .. })));
    assert_eq!(checkpoint(&place.dir()).unwrap().unwrap().0, 1);
    fs::remove_file(place.dir().join("tlog/tile/1")).unwrap();
    fs::remove_file(place.dir().join("tlog/tile/1.p")).unwrap();
    place.transact(&mut log);
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    let report = report(&place, &[]);
    assert!(report.holds(), "{:?}", report.findings);
}

/// The note is what `signed_note` (ed25519-dalek) verifies under the printed key.
#[test]
fn others_verify_the_checkpoint() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    place.transact(&mut log);
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    let note = fs::read(place.dir().join("tlog/checkpoint")).unwrap();
    let note = signed_note::Note::from_bytes(&note).unwrap();
    let known = |key: &str| {
        let verifier = signed_note::StandardVerifier::new(key).unwrap();
        signed_note::VerifierList::new(vec![Box::new(verifier)])
    };
    let vkey = verifier_key(ORIGIN, &key().verifying_key());
    assert!(note.verify(&known(&vkey)).is_ok());
    let other = verifier_key(ORIGIN, &SigningKey::from_seed(&[8; 32]).unwrap().verifying_key());
    assert!(note.verify(&known(&other)).is_err());
    assert!(matches!(
        log.publish(u64::MAX, &key(), ORIGIN).and_then(|()| {
            place.transact(&mut log);
            log.publish(u64::MAX, &key(), "two words")
        }),
        Err(LedgerFault::Checkpoint { .. })
    ));
}

#[test]
fn publishing_costs_only_what_is_new() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    for _ in 0..600 {
        place.transact(&mut log);
    }
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    let first = fs::metadata(place.dir().join("tlog/tile/0/000")).unwrap().modified().unwrap();
    let before = tree_of(&place.dir().join("tlog"));
    place.transact(&mut log);
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    let after = tree_of(&place.dir().join("tlog"));
    let new: Vec<_> = after.iter().filter(|(path, b)| before.get(*path) != Some(b)).collect();
    assert_eq!(new.len(), 3, "bundle, tile, checkpoint");
    let again = fs::metadata(place.dir().join("tlog/tile/0/000")).unwrap().modified().unwrap();
    assert_eq!(first, again);
}

/// A layout in the control log: a position names it, no intent does.
#[test]
fn a_position_without_an_intent_is_covered_when_it_is_said() {
    let mut place = Place::new();
    let mut log = place.take_over().unwrap();
    log.append(&held(1)).unwrap();
    assert!(matches!(
        log.position_committed(&Head { size: 1, ..log.head() }),
        Err(LedgerFault::NotDurable { size: 1 })
    ));
    let head = log.sync().unwrap();
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    assert_eq!(checkpoint(&place.dir()).unwrap(), None);
    let other = Head { journal: JournalId([0; 16]), ..head };
    assert!(log.position_committed(&other).is_err());
    log.position_committed(&head).unwrap();
    place.position = Some(head);
    log.publish(u64::MAX, &key(), ORIGIN).unwrap();
    assert_eq!(checkpoint(&place.dir()).unwrap(), Some((1, head.root)));
    assert!(place.take_over().is_ok());
}
