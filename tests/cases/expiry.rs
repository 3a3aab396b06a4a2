//! A release that expires while a transaction is on its way: what is outside was sent while it was live, by its own time,
//! and what was not sent by then is not sent. The topic holds afterwards, and goes on under the next release.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use douane_ledger::dsse::Envelope;
use douane_ledger::release;
use douane_ledger::signing::SigningKey;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::cases::coverage::{outside, verb_in};
use crate::cases::kill::finish;
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Place, Running, Setup, last_lines};
use crate::rig;
use crate::say;

/// From the signature on: a run begins, something crosses, and a transaction comes to the step. Where that took a slow
/// machine longer, the next one lives twice as long.
const LIVES: SignedDuration = SignedDuration::from_secs(15);
const TRIES: usize = 4;
/// What comes meanwhile, and until it has expired.
const RECORDS: usize = 120_000;
const PARTITIONS: i32 = 4;

/// Everybody signs the newest release once more, for a life that is over soon.
fn short(place: &Place, lives: SignedDuration) -> Timestamp {
    let path = place.dir.join(format!("{}.release.json", place.setup.name));
    let envelope = Envelope::from_bytes(&std::fs::read(&path).expect("a release")).expect("one");
    let mut short = release::draft(&envelope).expect("a release");
    // Another one than what ran before it.
    short.version += 1;
    let expires = Timestamp::now() + lives;
    short.expires = expires.to_string();
    let key = |name: &str| std::fs::read(place.dir.join("approvers").join(name)).expect("a key");
    let keys = ["ada", "bo"].map(|name| SigningKey::from_bytes(&key(name)).expect("a key"));
    let signed = release::sign(&short, &[&keys[0], &keys[1]]).expect("a release");
    std::fs::write(&path, signed.to_bytes().expect("bytes")).expect("the release");
    expires
}

fn renew(place: &Place) {
    let file = place.pipeline_file();
    place.verb(&["release", "renew", &file, "--author", "cleo"]).fine("release renew");
    for key in ["approvers/ada", "approvers/bo"] {
        place.verb(&["release", "sign", &file, "--key", key]).fine("release sign");
    }
}

fn until(at: Timestamp) {
    while Timestamp::now() < at {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a transaction waits at the gate while the release is live, after something crossed under it.
fn waits(place: &Place, running: &mut Running, gate: &Path, expires: Timestamp) -> bool {
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    tail.read_to_the_end(Duration::from_secs(60));
    let (before, end) = (tail.records.len(), Instant::now() + Duration::from_secs(60));
    while tail.records.len() == before && running.ended().is_none() {
        assert!(Instant::now() < end, "{}", last_lines(&running.said(), 20));
        tail.poll(Duration::from_millis(20));
    }
    until(expires - SignedDuration::from_secs(2));
    std::fs::write(gate, "").expect("a file");
    let sign = gate.with_extension("waits");
    while !sign.exists() && Timestamp::now() < expires {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Seen before the look at the clock: it waited by then.
    sign.exists() && Timestamp::now() < expires
}

/// The case: a transaction waits at a step while its release expires, wherever the step is.
fn expires_at(step: &str) {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let name = format!("expiry-{step}");
    let setup = Setup::customers(&name, source.cluster(), target.cluster());
    let topic = setup.topics[0].clone();
    setup.source.create(&topic, PARTITIONS, &[]);
    let mut place = Place::new(setup);
    let gate = place.dir.join("wait");
    place.env("DOUANE_TEST_CONTROL", &format!("wait-at-{step}"));
    place.env("DOUANE_TEST_WAIT", gate.to_str().expect("a path"));
    let mut customers = Customers::new(96, 1, true);
    let load = Load::new(PARTITIONS);
    let load = load.customers(&mut customers, RECORDS, Format::Json, &Plants::default());
    let load = Arc::new(load);

    let sending = load.send_slowly(&place.setup.source, &topic, 600);
    let (mut lives, mut signed) = (LIVES, Vec::new());
    let (mut running, expires) = loop {
        let expires = short(&place, lives);
        signed.push(format!("short-{}.json", signed.len()));
        let release = place.dir.join(format!("{name}.release.json"));
        std::fs::copy(release, place.dir.join(&signed[signed.len() - 1])).expect("a copy");
        let mut running = place.run();
        if waits(&place, &mut running, &gate, expires) {
            break (running, expires);
        }
        assert!(signed.len() < TRIES, "the machine is slow: {}", running.said());
        say::note(format!("the machine is slow: {lives:#} were over before a transaction waited"));
        running.kill();
        for file in [&gate, &gate.with_extension("waits")] {
            let _ = std::fs::remove_file(file);
        }
        lives = lives * 2;
    };
    until(expires + SignedDuration::from_secs(1));
    std::fs::remove_file(&gate).expect("a file");
    assert_eq!(running.wait(Duration::from_secs(60)), Some(1), "{}", running.said());
    assert!(running.said().contains("expired"), "{}", last_lines(&running.said(), 20));
    let before = place.setup.target.read(&place.data_topic(), Isolation::Committed).len();
    let load = sending.enough(load);
    assert!(before > 0 && before < load.expected.len(), "{before}");
    // What was on its way is void by now, and not only when somebody goes on.
    let logs = place.verify().fine("verify");
    let logs: Vec<Value> = serde_json::from_str(&logs.out).expect("JSON");
    let voids: u64 = logs.iter().filter_map(|log| log["void"].as_u64()).sum();
    assert!(voids > 0 && logs.iter().all(|log| log["open"].is_null()), "{logs:?}");

    // Whoever renews goes on where it stopped, and the whole of it holds.
    renew(&place);
    let mut running = place.run();
    finish(&place, &load, &mut running);
    running.stop();
    let crossed = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let verdict = judge(&load.expected, &crossed, serial_in_json);
    assert!(verdict.clean(), "{verdict:?}");
    place.verify().fine("verify");
    let (dir, topic) = (outside(&place), place.data_topic());
    let mut releases = vec!["--release".to_owned(), "outside/release.json".to_owned()];
    for release in &signed {
        std::fs::copy(place.dir.join(release), dir.join(release)).expect("a copy");
        releases.extend(["--release".to_owned(), format!("outside/{release}")]);
    }
    let releases: Vec<&str> = releases.iter().map(String::as_str).collect();
    let asked = |args: &[&str]| verb_in(&place, &dir, &[args, releases.as_slice()].concat());
    asked(&["verify", "--topic", &topic]).fine("verify --topic");
    asked(&["feed", &topic, "--out", "outside/fed"]).fine("feed");
    say::figure(
        "expiry.crossed_before",
        before,
        "rows, the release expired with a transaction on its way",
    );
}

#[test]
fn between_the_first_look_and_the_intent() {
    expires_at("live");
}

#[test]
fn between_the_last_look_and_the_transaction() {
    expires_at("stamped");
}

#[test]
fn with_everything_in_the_target_but_the_commit() {
    expires_at("positioned");
}
