//! Files that change under a running pipeline: taken up between two transactions if their release holds, told and left
//! alone otherwise. A revocation stops the stream.

use std::path::Path;
use std::time::Duration;

use douane_ledger::dsse::Envelope;
use douane_ledger::release::{self, Release};

use crate::cases::kill::held_at;
use crate::cases::verbs::is_as_documented;
use crate::cluster::Isolation;
use crate::customers::{Customers, Event, Format, Op, Random};
use crate::feed::{Load, Plants};
use crate::oracle::{Expected, judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Place, Running, Setup, last_lines};
use crate::rig;
use crate::say;

const PARTITIONS: i32 = 2;

/// Created rows that have a column more than the release knows.
pub fn with_passport(events: &mut impl Iterator<Item = Event>, count: usize) -> Load {
    let mut load = Load::new(PARTITIONS);
    for event in events.filter(|e| e.op == Op::Create).take(count) {
        let partition = i32::try_from(event.id % 2).expect("a partition");
        let value = event.value(Format::Json, true).expect("a row");
        let text = String::from_utf8(value).expect("JSON");
        let at = text.rfind("\"city\":").expect("a column");
        let value = format!("{}\"passport\":\"P-4711-4711\",{}", &text[..at], &text[at..]);
        load.raw(partition, Some(&event.key(Format::Json)), Some(value.as_bytes()), &[]);
        load.expected.extend(Expected::of(&event, partition));
    }
    load
}

fn give_the_passport_a_class(place: &mut Place) {
    let columns = &place.setup.columns;
    let columns = columns.replace("  city: public\n", "  city: public\n  passport: identifier\n");
    let columns = columns.replace("[national_id,", "[national_id, passport,");
    assert!(columns.matches("passport").count() == 2);
    place.setup.columns = columns;
    place.write_files();
}

pub fn sign(place: &Place, proposal: &[&str]) {
    place.verb(proposal).fine(proposal[1]);
    for approver in ["approvers/ada", "approvers/bo"] {
        let file = place.pipeline_file();
        place.verb(&["release", "sign", &file, "--key", approver]).fine("release sign");
    }
}

#[track_caller]
pub fn hears(running: &Running, word: &str) {
    assert!(
        running.wait_for_word(word, Duration::from_secs(15)),
        "no {word}\n{}",
        last_lines(&running.said(), 20)
    );
}

#[track_caller]
fn until_crossed(place: &Place, running: &Running, records: usize) {
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    assert!(
        tail.wait_for(records, Duration::from_secs(60)),
        "{} of {records}\n{}",
        tail.records.len(),
        last_lines(&running.said(), 20)
    );
}

#[test]
fn a_new_column_crosses_without_a_restart_once_its_release_holds() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("swap", source.cluster(), target.cluster());
    setup.target_partitions = 2;
    let (source, topic) = (setup.source.clone(), setup.topics[0].clone());
    source.create(&topic, PARTITIONS, &[]);
    let mut place = Place::new(setup);
    let file = place.pipeline_file();
    let mut events = Customers::new(31, 1, true);
    let old = Load::new(PARTITIONS).customers(&mut events, 600, Format::Json, &Plants::default());
    old.send(&source, &topic);
    let mut running = place.run();
    until_crossed(&place, &running, old.expected.len());

    // A column that nobody approved: both partitions wait.
    let mut later = Customers::new(32, 1_000_000, true).skip(10_000);
    let new = with_passport(&mut later, 300);
    new.send(&source, &topic);
    hears(&running, "passport");
    let mut due = old.expected;

    // Files that do not hold disturb nothing; each is told once.
    let pipeline = place.dir.join(&file);
    let good = std::fs::read_to_string(&pipeline).expect("the pipeline");
    std::fs::write(&pipeline, good.replace("stages:", "stagse:")).expect("written");
    hears(&running, "\"code\":\"findings\"");
    give_the_passport_a_class(&mut place);
    hears(&running, "\"code\":\"release\"");
    let status = place.status();
    let told = status["files"].as_str().unwrap_or_default();
    assert!(told.starts_with("do not hold"), "{status}");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(running.said().matches("swap_refused").count(), 2, "told once each");
    assert!(held_at(&place, 0).is_some() && held_at(&place, 1).is_some());

    // The release for it, signed while the process runs.
    let since = Instant::now();
    sign(&place, &["release", "propose", &file, "--author", "cleo"]);
    hears(&running, "\"event\":\"swapped\"");
    due.extend(new.expected);
    until_crossed(&place, &running, due.len());
    say::figure("swap.held_until_crossed", since.elapsed().as_millis(), "ms from the proposal on");
    assert!(held_at(&place, 0).is_none() && place.status()["files"].is_null());
    assert!(running.ended().is_none());

    // Another number of tasks waits for a restart, and says so.
    place.setup.tasks = 3;
    place.write_files();
    hears(&running, "needs_restart");

    // Renewed again and again under load, and killed around the swap.
    let mut random = Random::new(33);
    for _ in 0..4 {
        let more = with_passport(&mut later, 400);
        more.send(&source, &topic);
        due.extend(more.expected);
        sign(&place, &["release", "renew", &file, "--author", "cleo", "--days", "7"]);
        std::thread::sleep(Duration::from_millis(random.between(0, 1800)));
        running.kill();
        running = place.run();
    }
    until_crossed(&place, &running, due.len());
    assert_eq!(running.ended(), None, "{}", last_lines(&running.said(), 20));

    // Revoked: one signature stops it, within a look and a transaction.
    place.verb(&["keys", "init", "--approver", "eve", "--out", "approvers/eve"]).fine("keys init");
    let mut args = vec!["release", "revoke", &file, "--key", "approvers/eve", "--reason", "x"];
    assert_eq!(place.verb(&args).code, 1, "a key that is nobody's");
    args[4] = "approvers/bo";
    place.verb(&args).fine("release revoke");
    assert_eq!(running.wait(Duration::from_secs(5)), Some(1), "{}", running.said());
    assert!(running.said().contains("\"code\":\"revoked\""), "{}", last_lines(&running.said(), 9));
    let rest = with_passport(&mut later, 100);
    rest.send(&source, &topic);
    // It stays so, and without the file as well: the ledger knows it.
    let revocations = place.dir.join("swap.release.revocations.json");
    for hidden in [false, true] {
        if hidden {
            std::fs::remove_file(&revocations).expect("removed");
        }
        let mut again = place.run();
        assert_eq!(again.wait(Duration::from_secs(15)), Some(1), "{}", again.said());
        assert!(again.said().contains("revoked by bo"), "{}", again.said());
    }
    let crossed = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    assert_eq!(crossed.len(), due.len(), "nothing crossed after the revocation");

    // The column's history, from what the ledger kept of each release: no file is left of the first.
    let history = |column: &str| {
        let args = ["audit", "column", &file, "--column", column, "--format", "json"];
        is_as_documented("audit-column", &place.verb(&args).fine("audit column"), &["overrides"])
    };
    let told = history("birth_date");
    assert_eq!(told["periods"].as_array().map(Vec::len), Some(1), "{told}");
    let releases = told["periods"][0]["releases"].as_array().expect("a list").clone();
    assert!(releases.len() >= 3 && releases[0]["version"] == 1, "{told}");
    assert!(releases.last().is_some_and(|last| last["revoked"].is_string()), "{told}");
    let nobody = place.verb(&["audit", "column", &file, "--column", "passport"]);
    assert!(nobody.code == 2 && nobody.err.contains("no release of"), "{}", nobody.err);

    // A new release of the same goes on where it stood.
    sign(&place, &["release", "renew", &file, "--author", "cleo"]);
    let mut running = place.run();
    due.extend(rest.expected);
    until_crossed(&place, &running, due.len());
    std::thread::sleep(Duration::from_millis(500));
    running.stop();
    let crossed = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let verdict = judge(&due, &crossed, serial_in_json);
    assert!(verdict.clean() && verdict.second_nulls == 0, "{verdict:?}");
    place.verify().fine("verify");
}

/// Signs a revocation and takes it away again: what lies there later.
fn revoked(place: &Place, revocations: &Path) -> Vec<u8> {
    let file = place.pipeline_file();
    place
        .verb(&["release", "revoke", &file, "--key", "approvers/bo", "--reason", "x"])
        .fine("release revoke");
    let lines = std::fs::read(revocations).expect("the revocations");
    std::fs::remove_file(revocations).expect("removed");
    std::fs::remove_file(place.dir.join("trust.revocations.json")).expect("removed");
    lines
}

#[test]
fn what_ends_a_release_is_heard_whatever_the_pipelines_file_says() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let setup = Setup::customers("ends", source.cluster(), target.cluster());
    setup.source.create(&setup.topics[0], PARTITIONS, &[]);
    let place = Place::new(setup);
    let file = place.pipeline_file();
    let renew = ["release", "renew", &file, "--author", "cleo"];
    let revocations = place.dir.join("ends.release.revocations.json");
    let refuses = |why: &str| {
        let mut running = place.run();
        assert_eq!(running.wait(Duration::from_secs(20)), Some(1), "{}", running.said());
        assert!(running.said().contains(why), "{}", running.said());
    };
    let starts = || {
        let running = place.run();
        hears(&running, "\"event\":\"layout\"");
        running
    };

    // Before anything ran under it: the first start that sees it writes it down, and later ones
    // need no file.
    let lines = revoked(&place, &revocations);
    std::fs::write(&revocations, &lines).expect("written");
    refuses("revoked by bo");
    refuses("revoked by bo");
    std::fs::remove_file(&revocations).expect("removed");
    refuses("revoked by bo at an earlier run");
    place.verify().fine("verify");

    // `release:` moved under a running process: `revoke` writes beside the new one.
    sign(&place, &renew);
    let mut running = starts();
    let pipeline = place.dir.join(&file);
    let text = std::fs::read_to_string(&pipeline).expect("the pipeline");
    let moved = place.dir.join("moved.release.json");
    std::fs::copy(place.dir.join("ends.release.json"), &moved).expect("copied");
    let elsewhere = text.replace("release: ends.release.json", "release: moved.release.json");
    assert_ne!(elsewhere, text);
    std::fs::write(&pipeline, elsewhere).expect("written");
    place
        .verb(&["release", "revoke", &file, "--key", "approvers/bo", "--reason", "x"])
        .fine("release revoke");
    assert_eq!(running.wait(Duration::from_secs(10)), Some(1), "{}", running.said());
    assert!(running.said().contains("\"code\":\"revoked\""), "{}", running.said());
    std::fs::write(&pipeline, &text).expect("written");
    refuses("revoked by bo");

    // A pipeline's file that never ends holds up nothing but itself.
    sign(&place, &renew);
    let lines = revoked(&place, &revocations);
    let mut running = starts();
    std::fs::remove_file(&pipeline).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(&pipeline).status();
    assert!(made.expect("mkfifo").success());
    std::thread::sleep(Duration::from_millis(2500));
    std::fs::write(&revocations, &lines).expect("written");
    hears(&running, "release_ended");
    running.kill();
    std::fs::remove_file(&pipeline).expect("removed");
    std::fs::write(&pipeline, &text).expect("written");
    refuses("revoked by bo");

    // An approver who leaves the trust root takes their approval along.
    sign(&place, &renew);
    let mut running = starts();
    place
        .verb(&["keys", "init", "--approver", "di", "--out", "approvers/di"])
        .fine("keys init --approver");
    let trust = "release trust --approver ada=approvers/ada.pub --approver di=approvers/di.pub \
                 --sign approvers/ada --sign approvers/bo";
    place.verb(&trust.split_whitespace().collect::<Vec<_>>()).fine("release trust");
    assert_eq!(running.wait(Duration::from_secs(10)), Some(1), "{}", running.said());
    assert!(running.said().contains("\"code\":\"release\""), "{}", running.said());
    place.verify().fine("verify");

    // Another version than the next is nobody's to sign, as a draft or in its place.
    place.verb(&renew).fine("release renew");
    let draft = place.dir.join("ends.release.draft.json");
    let bytes = std::fs::read(&draft).expect("the draft");
    let next = release::draft(&Envelope::from_bytes(&bytes).expect("one")).expect("a draft");
    let sign = ["release", "sign", &file, "--key", "approvers/ada"];
    let in_place = place.dir.join("ends.release.json");
    for (at, version, word) in [
        (&draft, 1_000, "is not what"),
        (&in_place, 1_000, "nobody approved yet"),
        (&in_place, u64::MAX, "no successor"),
    ] {
        let other = Release { version, ..next.clone() };
        let other = release::sign(&other, &[]).expect("a draft").to_bytes().expect("bytes");
        std::fs::write(at, &other).expect("written");
        let said = place.verb(&sign);
        assert_eq!(said.code, 1, "{}{}", said.out, said.err);
        assert!(said.err.contains(word), "{}{}", said.out, said.err);
        assert_eq!(std::fs::read(at).expect("as it was"), other);
        std::fs::remove_file(at).expect("removed");
    }
}

#[test]
fn a_file_that_was_not_there_is_found_when_it_is() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let setup = Setup::customers("found", source.cluster(), target.cluster());
    setup.source.create(&setup.topics[0], PARTITIONS, &[]);
    let place = Place::new(setup);
    let pipeline = place.dir.join(place.pipeline_file());
    let text = std::fs::read_to_string(&pipeline).expect("the pipeline");
    let mut running = place.run();
    hears(&running, "\"event\":\"layout\"");
    // The pipeline names two files that nobody watches, and one of them is missing.
    let release = place.dir.join("moved.release.json");
    std::fs::copy(place.dir.join("found.release.json"), release).expect("copied");
    let elsewhere = text
        .replace("release: found.release.json", "release: moved.release.json")
        .replace("domains: domains.yaml", "domains: moved-domains.yaml");
    assert!(elsewhere.contains("moved.release") && elsewhere.contains("moved-domains"), "{text}");
    std::fs::write(&pipeline, elsewhere).expect("written");
    hears(&running, "swap_refused");
    let domains = ["domains.yaml", "moved-domains.yaml"]
        .map(|name| pipeline.parent().expect("a folder").join(name));
    std::fs::copy(&domains[0], &domains[1]).expect("copied");
    sign(&place, &["release", "renew", &place.pipeline_file(), "--author", "cleo"]);
    hears(&running, "\"event\":\"swapped\"");
    let refusals = running.said().matches("swap_refused").count();
    assert!(refusals <= 3, "each is said once: {}", last_lines(&running.said(), 20));
    running.stop();
}
