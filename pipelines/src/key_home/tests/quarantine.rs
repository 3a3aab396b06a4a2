//! Keys that records are set aside under: one an epoch, and none once an epoch has ended.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::*;

/// Ends epochs, and the process by a panic after the step of this name.
fn expired_at(
    place: &KeysPlace,
    epoch: Option<u32>,
    ends_after: &str,
) -> Result<Option<Expired>, KeyFault> {
    let request = Expire {
        epoch,
        intended: &mut |_| Ok(()),
        rotated: &mut |_| Ok(()),
        step: &|step| {
            if step == ends_after {
                resume_unwind(Box::new("ended"));
            }
        },
    };
    expire(place, request)
}

pub(super) fn expired(place: &KeysPlace, epoch: Option<u32>) -> Result<Option<Expired>, KeyFault> {
    expired_at(place, epoch, "")
}

/// A place whose epochs last no time.
fn place(dir: &Path) -> KeysPlace {
    let quarantine = Retention { epoch: Duration::ZERO, keep: Duration::ZERO };
    let place = KeysPlace { quarantine, ..keys(dir) };
    KeyHome::init(&place).unwrap().begin_epoch().unwrap();
    place
}

/// What seals now, then what opens.
fn ids(home: &KeyHome) -> Vec<String> {
    home.quarantine_keys("p").iter().map(|key| key.id().to_string()).collect()
}

#[test]
fn a_first_epoch_begins_with_the_first_run_and_the_next_in_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let place = keys(dir.path());
    let home = KeyHome::init(&place).unwrap();
    let of_root = ids(&home);
    assert_eq!(of_root.len(), 1, "before the first epoch what follows from the root");
    assert!(matches!(rotate_quarantine(&place), Err(KeyFault::NoEpoch)));
    home.begin_epoch().unwrap();
    // Several shards and processes begin at once: it is one epoch.
    home.begin_epoch().unwrap();
    let first = KeyHome::open(&place).unwrap();
    first.begin_epoch().unwrap();
    assert_eq!(read_store(&place).unwrap().quarantine.len(), 1);
    let one = ids(&first);
    assert_eq!((one.len(), &one[1]), (2, &of_root[0]), "what was sealed before still opens");
    assert!(!first.epoch_over() && !first.same_keys(&home), "a running process swaps");
    assert_eq!(first.quarantine_keys("p")[0].purpose(), Purpose::Quarantine);
    // Random: it follows from nothing that the store keeps.
    assert!(first.roots().iter().all(
        |root| root.derive(Purpose::Quarantine, "p").id() != first.quarantine_keys("p")[0].id()
    ));
    let short = Retention { epoch: Duration::ZERO, ..place.quarantine };
    let short = KeysPlace { quarantine: short, ..place.clone() };
    let over = KeyHome::open(&short).unwrap();
    assert!(over.epoch_over());
    over.begin_epoch().unwrap();
    let two = ids(&KeyHome::open(&place).unwrap());
    assert_eq!((two.len(), &two[1..]), (3, &one[..]), "and so does what the first one sealed");
    // Whatever else is rotated, the keys stay.
    rotate_wrapping(&place, |_| Ok(())).unwrap();
    rotate_root(&place).unwrap().commit().unwrap();
    let after = ids(&KeyHome::open(&place).unwrap());
    assert_eq!(after[..2], two[..2]);
}

#[test]
fn the_key_of_an_epoch_is_gone_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let running = KeyHome::open(&place).unwrap();
    assert!(matches!(expired(&place, Some(1)), Err(KeyFault::EpochInUse { number: 1, newest: 1 })));
    assert!(matches!(expired(&place, Some(9)), Err(KeyFault::EpochInUse { .. })));
    assert!(expired(&place, None).unwrap().is_none(), "the newest is in use");
    rotate_quarantine(&place).unwrap().commit().unwrap();
    let kept = KeysPlace { quarantine: Retention::days(1, 1), ..place.clone() };
    assert!(expired(&kept, None).unwrap().is_none(), "its time is not over");
    let before = ids(&KeyHome::open(&place).unwrap());
    running.may_set_aside().unwrap();
    let (store, backup) = (place.store(), fs::read(place.store()).unwrap());

    let done = expired(&place, None).unwrap().unwrap();
    let ended: Vec<u32> = done.epochs.iter().map(|epoch| epoch.number).collect();
    assert_eq!((ended, done.generation, done.remains.is_final), (vec![1], 2, false));
    let now = KeyHome::open(&place).unwrap();
    assert_eq!(ids(&now), [&before[0], &before[2]].map(String::clone));
    let said: Vec<_> = now.store().unwrap().quarantine.iter().map(|e| e.is_live()).collect();
    assert_eq!(said, [false, true], "its number and its id stay");
    assert_eq!(now.store().unwrap().quarantine[0].id, before[1]);
    // A process that did not hear of it seals nothing that nobody could open.
    assert!(matches!(running.may_set_aside(), Err(KeyFault::EpochEnded)));
    now.may_set_aside().unwrap();
    assert!(!running.same_keys(&now));
    assert!(expired(&place, None).unwrap().is_none(), "done once is done");
    // Nothing is left of it in what a backup of the folder holds, without its wrapping key.
    let newest = fs::read(&store).unwrap();
    fs::write(&store, &backup).unwrap();
    assert!(matches!(KeyHome::open(&place), Err(KeyFault::NotWrappedHere { .. })));
    fs::write(&store, newest).unwrap();
    KeyHome::open(&place).unwrap();
}

/// Each step with an effect, the process ended after it, and the same call again.
#[test]
fn a_crash_at_any_step_is_ended_by_the_next_call() {
    for (at, step) in
        ["begun", "intended", "rotated", "written", "destroyed"].into_iter().enumerate()
    {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        rotate_quarantine(&place).unwrap().commit().unwrap();
        let before = ids(&KeyHome::open(&place).unwrap());
        let backup = fs::read(place.store()).unwrap();
        let ended = catch_unwind(AssertUnwindSafe(|| expired_at(&place, None, step).is_ok()));
        assert!(ended.is_err(), "{step}");
        let open = ids(&KeyHome::open(&place).unwrap());
        let is_written = at >= 3;
        assert_eq!(open.len(), before.len() - usize::from(is_written), "{step}");
        let done = expired(&place, None).unwrap().unwrap();
        assert_eq!(done.epochs.len(), 1, "{step}");
        assert!(done.epochs[0].ended.is_some());
        assert_eq!(ids(&KeyHome::open(&place).unwrap()).len(), before.len() - 1, "{step}");
        assert!(expired(&place, None).unwrap().is_none(), "{step}");
        fs::write(place.store(), backup).unwrap();
        let refused = KeyHome::open(&place).err();
        assert!(matches!(refused, Some(KeyFault::NotWrappedHere { .. })), "{step}: {refused:?}");
    }
}
