//! Split brain: a process that was replaced, frozen and woken up or not frozen at all, can never write again.
//!
//! `DOUANE_ZOMBIES` rounds (CI: 20). The control reads the position before it fences: what the old one commits in
//! between comes twice, or the ledger finds the target behind itself.

use std::sync::Arc;
use std::time::Duration;

use crate::cases::kill::{check_the_rest, finish};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format, Random};
use crate::feed::{Load, Plants};
use crate::oracle::{Verdict, judge, serial_in_json};
use crate::place::{Place, Running, Setup, last_lines};
use crate::rig::{self, Kind};
use crate::say;

/// A place with work that goes on for a while.
fn busy(brokers: Kind, name: &str, records: usize) -> (Place, Arc<Load>, crate::feed::Sending) {
    let (source, target) = rig::clusters_of(brokers);
    let setup = Setup::customers(name, source.cluster(), target.cluster());
    let (source, topic) = (setup.source.clone(), setup.topics[0].clone());
    source.create(&topic, 4, &[]);
    let place = Place::new(setup);
    let load = Load::new(4).customers(
        &mut Customers::new(5, 1, true),
        records,
        Format::Json,
        &Plants::default(),
    );
    let load = Arc::new(load);
    let sending = load.send_slowly(&source, &topic, 1200);
    (place, load, sending)
}

fn verdict(place: &Place, load: &Load) -> Verdict {
    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    judge(&load.expected, &records, serial_in_json)
}

#[test]
fn a_woken_zombie_writes_nothing() {
    let _turn = rig::exclusive();
    let rounds = say::count("DOUANE_ZOMBIES", 20);
    let (fenced, frozen) =
        wake_zombies(Kind::asked_for(), "zombie", rounds, (rounds * 3000).max(20_000));
    say::figure("zombie.rounds", rounds, "rounds");
    say::figure("zombie.frozen", frozen, "rounds");
    say::figure("zombie.fenced", fenced, "old instances");
}

/// One round on the development broker, which must not be kinder than Kafka.
#[test]
fn a_zombie_between_development_brokers_writes_nothing() {
    let _turn = rig::exclusive();
    assert_eq!(wake_zombies(Kind::Development, "zombie-development", 1, 6_000), (1, 1));
}

/// How many old instances were fenced, and how many of them had been frozen.
fn wake_zombies(brokers: Kind, name: &str, rounds: usize, records: usize) -> (usize, usize) {
    let (place, load, mut sending) = busy(brokers, name, records);
    let commits = place.commits();
    let mut random = Random::new(5);
    let (mut fenced, mut frozen) = (0, 0);
    let mark = commits.mark();
    let mut old = place.run();
    assert!(
        commits.wait_past(&mark, Duration::from_secs(30)).is_some(),
        "{}",
        last_lines(&old.said(), 20)
    );
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(random.between(50, 400)));
        let freeze = round % 4 != 3;
        if freeze {
            old.freeze();
            frozen += 1;
        }
        let mark = commits.mark();
        let new = place.run();
        // in half of the rounds the new one commits already when the old one wakes up
        if round % 2 == 0 {
            let patience = Duration::from_secs(30);
            assert!(
                commits.wait_past(&mark, patience).is_some(),
                "{}",
                last_lines(&new.said(), 20)
            );
        } else {
            std::thread::sleep(Duration::from_millis(random.between(20, 600)));
        }
        if freeze {
            old.thaw();
        }
        match old.wait(Duration::from_secs(30)) {
            Some(1) => fenced += 1,
            other => panic!(
                "round {round}: the old instance ended with {other:?}\n{}",
                last_lines(&old.said(), 20)
            ),
        }
        assert!(
            old.said().contains("\"code\":\"fenced\""),
            "round {round}: {}",
            last_lines(&old.said(), 10)
        );
        old = new;
    }
    sending.wait();
    finish(&place, &load, &mut old);
    old.stop();
    let verdict = verdict(&place, &load);
    say::note(format!("{verdict:?}"));
    assert!(verdict.clean(), "{verdict:?}");
    check_the_rest(&place, &load);
    (fenced, frozen)
}

/// A coordinator ends what is open for too long, of a process that was frozen or a target that was slow, and fences by it. That is nobody who
/// took over: the process goes on by itself. Here another client fences each shard's id, and does nothing with it.
#[test]
fn who_is_fenced_and_was_not_taken_over_goes_on() {
    let _turn = rig::exclusive();
    let (place, load, mut sending) = busy(Kind::asked_for(), "fenced", 12_000);
    let commits = place.commits();
    let mark = commits.mark();
    let mut running = place.run();
    assert!(
        commits.wait_past(&mark, Duration::from_secs(30)).is_some(),
        "{}",
        last_lines(&running.said(), 20)
    );
    for round in 0..4 {
        let shard = round % 2;
        place.setup.target.fence(&format!("{}.{shard}", place.data_topic()));
        let mark = commits.mark();
        assert!(
            commits.wait_past(&mark, Duration::from_secs(30)).is_some(),
            "round {round}: {}",
            last_lines(&running.said(), 20)
        );
    }
    sending.wait();
    finish(&place, &load, &mut running);
    assert!(running.said().contains("open for long"), "it was fenced: {}", running.said());
    running.stop();
    let verdict = verdict(&place, &load);
    assert!(verdict.clean(), "{verdict:?}");
    check_the_rest(&place, &load);
}

/// Which fault the run ended with, if it did.
fn code_of(running: &mut Running) -> Option<String> {
    running.ended()?;
    let said = running.said();
    let (_, rest) = said.rsplit_once("\"code\":\"")?;
    Some(rest.split('"').next().unwrap_or_default().to_owned())
}

#[test]
fn control_a_position_read_before_fencing_goes_red() {
    let _turn = rig::exclusive();
    let (mut place, load, mut sending) = busy(Kind::asked_for(), "zombie-control", 30_000);
    place.env("DOUANE_TEST_CONTROL", "position-before-fence");
    let commits = place.commits();
    let mark = commits.mark();
    let mut old = place.run();
    assert!(
        commits.wait_past(&mark, Duration::from_secs(30)).is_some(),
        "{}",
        last_lines(&old.said(), 20)
    );
    let mut rolled_back = 0;
    for _ in 0..12 {
        let mark = commits.mark();
        let mut new = place.run();
        let _ = old.wait(Duration::from_secs(20));
        let _ = commits.wait_past(&mark, Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(700));
        if code_of(&mut new).is_some_and(|code| code == "target_rolled_back") {
            rolled_back += 1;
            // the ledger has seen it; nothing more comes of this place
            break;
        }
        old = new;
    }
    old.kill();
    sending.wait();
    let verdict = verdict(&place, &load);
    say::note(format!(
        "control, position before fence: {verdict:?}, stopped by the ledger: {rolled_back}"
    ));
    say::figure("control.position_before_fence.duplicated", verdict.duplicated, "records");
    assert!(
        verdict.duplicated > 0 || rolled_back > 0,
        "taking over from a live process does not show a position that is read too early"
    );
}

#[test]
fn a_process_that_idles_hears_that_another_took_over() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let setup = Setup::customers("idle", source.cluster(), target.cluster());
    setup.source.create(&setup.topics[0], 2, &[]);
    let place = Place::new(setup);
    let mut first = place.run();
    assert!(first.wait_for_word("assigned", Duration::from_secs(20)), "{}", first.said());
    let mut second = place.run();
    assert!(second.wait_for_word("assigned", Duration::from_secs(20)), "{}", second.said());
    let code = first.wait(Duration::from_secs(25));
    assert_eq!(code, Some(1), "{}", place.log());
    assert!(place.log().contains("fenced"), "{}", place.log());
    assert_eq!(second.ended(), None, "{}", place.log());
    second.stop();
}
