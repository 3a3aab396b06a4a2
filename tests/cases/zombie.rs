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
use crate::pace::Instant;
use crate::place::{Place, Running, Setup, last_lines};
use crate::rig::{self, Kind};
use crate::say;

/// A minute and a half of changes, for what takes a few seconds: on a machine that is slow, or stands still now and then,
/// nothing is waited for on a topic with nothing more to come.
const RECORDS: usize = 90 * PER_SECOND;
const PER_SECOND: usize = 1_200;

/// A place with work that goes on until it is enough.
fn busy(brokers: Kind, name: &str, records: usize) -> (Place, Arc<Load>, crate::feed::Sending) {
    busy_in(brokers, name, records, |_| {})
}

fn busy_in(
    brokers: Kind,
    name: &str,
    records: usize,
    other: impl FnOnce(&mut Setup),
) -> (Place, Arc<Load>, crate::feed::Sending) {
    let (source, target) = rig::clusters_of(brokers);
    let mut setup = Setup::customers(name, source.cluster(), target.cluster());
    other(&mut setup);
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
    let sending = load.send_slowly(&source, &topic, PER_SECOND as u64);
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
        wake_zombies(Kind::asked_for(), "zombie", rounds, RECORDS.max(rounds * 8 * PER_SECOND));
    say::figure("zombie.rounds", rounds, "rounds");
    say::figure("zombie.frozen", frozen, "rounds");
    say::figure("zombie.fenced", fenced, "old instances");
}

/// One round on the development broker, which must not be kinder than Kafka.
#[test]
fn a_zombie_between_development_brokers_writes_nothing() {
    let _turn = rig::exclusive();
    assert_eq!(wake_zombies(Kind::Development, "zombie-development", 1, RECORDS), (1, 1));
}

/// How many old instances were fenced, and how many of them had been frozen.
fn wake_zombies(brokers: Kind, name: &str, rounds: usize, records: usize) -> (usize, usize) {
    let (place, load, sending) = busy(brokers, name, records);
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
        // Who is replaced while it starts itself may fence after the one that replaces it: it is the newer one then.
        // Who had its partitions before never is.
        let established = old.said().contains("\"event\":\"assigned\"");
        let mark = commits.mark();
        let mut new = place.run();
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
        let end = Instant::now() + Duration::from_secs(30);
        while old.ended().is_none() && new.ended().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let (mut gone, mut stays) =
            if established || old.ended().is_some() { (old, new) } else { (new, old) };
        let told = |of: &Running| last_lines(&of.said(), 20);
        let both = format!("{}\nthe one that stays:\n{}", told(&gone), told(&stays));
        assert_eq!(gone.ended(), Some(1), "round {round}: {both}");
        assert!(gone.said().contains("\"code\":\"fenced\""), "round {round}: {both}");
        assert_eq!(stays.ended(), None, "round {round}: {both}");
        fenced += 1;
        old = stays;
    }
    let load = sending.enough(load);
    finish(&place, &load, &mut old);
    old.stop();
    let verdict = verdict(&place, &load);
    say::note(format!("{verdict:?}"));
    assert!(verdict.clean(), "{verdict:?}");
    check_the_rest(&place, &load);
    (fenced, frozen)
}

/// One that runs and lost its client fences the layout anew, and may do so while another starts: that one tries again and
/// takes over. The control: who is fenced by a start that got through leaves it alone.
#[test]
fn a_start_gives_way_to_one_that_got_through_and_to_nobody_else() {
    let _turn = rig::exclusive();
    let (mut place, load, sending) = busy(Kind::asked_for(), "starts", RECORDS);
    let gate = place.dir.join("wait");
    let patience = Duration::from_secs(30);
    place.env("DOUANE_TEST_CONTROL", "wait-at-settled");
    place.env("DOUANE_TEST_WAIT", gate.to_str().expect("a path of text"));
    let commits = place.commits();
    let at_the_gate = |place: &Place| {
        std::fs::write(&gate, "").expect("a gate");
        let running = place.run();
        assert!(running.wait_for_word("\"event\":\"layout\"", patience), "{}", running.said());
        running
    };
    // Somebody ran before, and left a layout.
    let mark = commits.mark();
    let mut before = place.run();
    assert!(commits.wait_past(&mark, patience).is_some(), "{}", before.said());
    before.stop();
    let mark = commits.mark();
    let mut first = at_the_gate(&place);
    place.setup.target.fence(&format!("{}.layout", place.data_topic()));
    std::fs::remove_file(&gate).expect("the gate opens");
    assert!(commits.wait_past(&mark, patience).is_some(), "{}", first.said());
    assert!(first.said().contains("fenced the layout anew"), "{}", first.said());
    assert_eq!(first.ended(), None, "{}", first.said());
    first.stop();
    let mut second = at_the_gate(&place);
    place.env("DOUANE_TEST_WAIT", "no gate");
    let mut third = place.run();
    assert!(third.wait_for_word("\"event\":\"assigned\"", patience), "{}", third.said());
    std::fs::remove_file(&gate).expect("the gate opens");
    assert_eq!(second.wait(patience), Some(1), "{}", second.said());
    assert!(second.said().contains("\"code\":\"fenced\""), "{}", second.said());
    // One that runs, and settles again for there are more partitions, looks before it fences who took over meanwhile.
    third.stop();
    place.env("DOUANE_TEST_CONTROL", "wait-at-settling");
    place.env("DOUANE_TEST_WAIT", gate.to_str().expect("a path of text"));
    let mark = commits.mark();
    let mut fourth = place.run();
    assert!(commits.wait_past(&mark, patience).is_some(), "{}", fourth.said());
    std::fs::write(&gate, "").expect("a gate");
    place.setup.source.add_partitions(&place.setup.topics[0], 5);
    let added = "\"event\":\"partitions_added\"";
    assert!(fourth.wait_for_word(added, patience), "{}", fourth.said());
    place.env("DOUANE_TEST_WAIT", "no gate");
    let mark = commits.mark();
    let mut fifth = place.run();
    assert!(commits.wait_past(&mark, patience).is_some(), "{}", fifth.said());
    std::fs::remove_file(&gate).expect("the gate opens");
    assert_eq!(fourth.wait(patience), Some(1), "{}", fourth.said());
    assert!(fourth.said().contains("\"code\":\"fenced\""), "{}", fourth.said());
    let mark = commits.mark();
    assert!(commits.wait_past(&mark, patience).is_some(), "{}", fifth.said());
    let load = sending.enough(load);
    finish(&place, &load, &mut fifth);
    assert_eq!(fifth.ended(), None, "{}", fifth.said());
    fifth.stop();
    let verdict = verdict(&place, &load);
    assert!(verdict.clean(), "{verdict:?}");
    check_the_rest(&place, &load);
}

/// A coordinator ends what is open for too long, of a process that was frozen or a target that was slow, and fences by it. That is nobody who
/// took over: the process goes on by itself. Here another client fences each shard's id, and does nothing with it.
#[test]
fn who_is_fenced_and_was_not_taken_over_goes_on() {
    let _turn = rig::exclusive();
    goes_on_when_fenced("fenced", "dir: ledger/", |place, shard| {
        place.setup.target.fence(&format!("{}.{shard}", place.data_topic()));
    });
}

/// The same of the journals, which have transactions of their own where their home is a topic.
#[test]
fn whose_journal_is_fenced_and_was_not_taken_over_goes_on() {
    let _turn = rig::exclusive();
    goes_on_when_fenced("fenced-journal", "dir: ledger/, home: topic", |place, shard| {
        let id = format!("douane.{}.journal.shard-{shard}", place.setup.name);
        place.setup.source.fence(&id);
    });
}

fn goes_on_when_fenced(name: &'static str, ledger: &'static str, fence: impl Fn(&Place, usize)) {
    let (place, load, sending) =
        busy_in(Kind::asked_for(), name, RECORDS, |setup| setup.ledger = ledger);
    let commits = place.commits();
    let mark = commits.mark();
    let mut running = place.run();
    assert!(
        commits.wait_past(&mark, Duration::from_secs(30)).is_some(),
        "{}",
        last_lines(&running.said(), 20)
    );
    for round in 0..4 {
        fence(&place, round % 2);
        let mark = commits.mark();
        assert!(
            commits.wait_past(&mark, Duration::from_secs(30)).is_some(),
            "round {round}: {}",
            last_lines(&running.said(), 20)
        );
    }
    let told = running.wait_for_word("open for long", Duration::from_secs(30));
    assert!(told, "it was fenced: {}", running.said());
    let load = sending.enough(load);
    finish(&place, &load, &mut running);
    running.stop();
    let verdict = verdict(&place, &load);
    assert!(verdict.clean(), "{verdict:?}");
    check_the_rest(&place, &load);
}

/// Frozen for longer than the target leaves a transaction open, with the layout's and the shards' in hand. Nobody took
/// over, and it goes on by itself.
#[test]
fn who_was_frozen_for_long_with_everything_in_hand_goes_on() {
    let _turn = rig::exclusive();
    let why = "the development broker ends no transaction by itself";
    if !rig::is_kafka("a holder that was frozen for long", why) {
        return;
    }
    let (mut place, load, sending) = busy_in(Kind::Kafka, "frozen", RECORDS, |setup| {
        setup.ledger = "dir: ledger/, bundles: every 1s";
    });
    let gate = place.dir.join("wait");
    place.env("DOUANE_TEST_CONTROL", "wait-at-end-txn");
    place.env("DOUANE_TEST_WAIT", gate.to_str().expect("a path of text"));
    let commits = place.commits();
    let mark = commits.mark();
    let mut running = place.run();
    let patience = Duration::from_secs(30);
    assert!(commits.wait_past(&mark, patience).is_some(), "{}", last_lines(&running.said(), 20));
    std::fs::write(&gate, "").expect("a gate");
    // Each is open by then; and a coordinator looks once in ten seconds.
    std::thread::sleep(Duration::from_secs(3));
    running.freeze();
    std::thread::sleep(Duration::from_secs(25));
    std::fs::remove_file(&gate).expect("the gate");
    running.thaw();
    let mark = commits.mark();
    assert!(commits.wait_past(&mark, patience).is_some(), "{}", last_lines(&running.said(), 20));
    let told = running.wait_for_word("open for long", Duration::from_secs(30));
    assert!(told, "it was fenced: {}", running.said());
    let load = sending.enough(load);
    finish(&place, &load, &mut running);
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
    let (mut place, load, sending) = busy(Kind::asked_for(), "zombie-control", RECORDS);
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
    let load = sending.enough(load);
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
