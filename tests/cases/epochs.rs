//! What was set aside under the key of an epoch opens until the epoch ends, and nowhere after it: not in a running
//! process, not after a restart, not from a backup of the key store that is put back.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cases::keys::Token;
use crate::cluster::Isolation;
use crate::customers::{Customers, Event, Format, Op};
use crate::feed::Load;
use crate::pace::Instant;
use crate::place::{Place, Running, Setup, last_lines};
use crate::rig;

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(copied.success());
}

/// A good record and one that `fpe` refuses, in each of two partitions: one a shard.
fn send(place: &Place, events: &[Event]) {
    let mut load = Load::new(2);
    for (n, event) in events.iter().enumerate() {
        let good = event.value(Format::Json, true).expect("a value");
        let bad = String::from_utf8(good.clone()).expect("text");
        let bad = bad.replacen("\"phone\":\"+49", "\"phone\":\"+49abc", 1).into_bytes();
        assert_ne!(bad, good);
        let value = if n < 2 { &bad } else { &good };
        let partition = i32::try_from(n % 2).expect("a partition");
        load.raw(partition, Some(&event.key(Format::Json)), Some(value), &[]);
    }
    load.send(&place.setup.source, &place.setup.topics[0]);
}

/// How many records of each state, and that each has its code.
fn states(place: &Place) -> BTreeMap<String, usize> {
    let said = place.verb(&["quarantine", "list", &place.pipeline_file(), "--format", "json"]);
    let list: Value = serde_json::from_str(&said.out)
        .unwrap_or_else(|_| panic!("list: {} {}", said.out, said.err));
    let list = list["records"].as_array().expect("a list").clone();
    let mut states = BTreeMap::new();
    for record in list {
        assert_eq!(record["code"], "outside_alphabet", "{record}");
        *states.entry(record["state"].as_str().expect("a state").to_owned()).or_default() += 1;
    }
    states
}

fn of<const N: usize>(states: [(&str, usize); N]) -> BTreeMap<String, usize> {
    states.map(|(state, count)| (state.to_owned(), count)).into()
}

fn swapped(running: &Running, times: usize) {
    let until = Instant::now() + Duration::from_secs(30);
    while running.said().matches("\"event\":\"swapped\"").count() < times {
        assert!(Instant::now() < until, "{}", last_lines(&running.said(), 20));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
pub fn what_was_set_aside_closes_with_its_epoch_and_the_stream_goes_on() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let dir = rig::directory("epochs-hsm");
    let token = Token::new(&dir);
    let pin = dir.join("pin");
    std::fs::write(&pin, "7301\n").expect("a file");
    let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&pin, only_owner).expect("rights");
    let mut setup = Setup::customers("epochs", source.cluster(), target.cluster());
    setup.keys = format!(
        "dir: keys/, pkcs11: {{ module: /usr/lib/softhsm/libsofthsm2.so, token_label: douane, \
         pin_file: \"{}\", key_label: wrapping }}",
        pin.display()
    );
    setup.env = vec![("SOFTHSM2_CONF".to_owned(), token.conf.display().to_string())];
    setup.tasks = 2;
    setup.source.create(&setup.topics[0], 2, &[]);
    let mut place = Place::new(setup);
    let events: Vec<Event> =
        Customers::new(75, 1, true).filter(|event| event.op == Op::Create).take(12).collect();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let patience = Duration::from_secs(30);

    let mut running = place.run();
    send(&place, &events[..4]);
    assert!(tail.wait_for(2, patience), "{}", last_lines(&running.said(), 20));
    assert_eq!(states(&place), of([("waiting", 2)]));
    let backup = place.dir.join("backup");
    copy(&place.dir.join("keys"), &backup.join("keys"));
    copy(&dir.join("tokens"), &backup.join("tokens"));

    // The next epoch, taken up by both shards between two transactions.
    let end = ["keys", "expire", "--epoch", "1", "--by", "cleo", "--reason", "case 9"];
    let refused = place.verb(&end);
    assert!(refused.code == 2 && refused.err.contains("is in use"), "{}", refused.err);
    place.verb(&["keys", "rotate", "--quarantine"]).fine("keys rotate --quarantine");
    swapped(&running, 1);
    send(&place, &events[4..8]);
    assert!(tail.wait_for(4, patience), "{}", last_lines(&running.said(), 20));
    assert_eq!(states(&place), of([("waiting", 4)]), "both epochs open");

    // Its end: begun by a process that dies, ended by the next, under the running pipeline.
    place.env("DOUANE_TEST_CONTROL", "die-at-written");
    assert!(place.verb(&end).code < 0);
    place.env("DOUANE_TEST_CONTROL", "");
    let status = place.verb(&["keys", "status"]).fine("keys status");
    assert!(status.out.contains("NOT ended yet"), "{}", status.out);
    let done = place.verb(&[&end[..], &["--format", "json"]].concat()).fine("keys expire");
    let words = super::verbs::is_as_documented("keys-expire", &done, &[]);
    assert_eq!(words["ended"], serde_json::json!([1]));
    assert_eq!(words["remains"]["is_final"], true, "{words}");
    assert_eq!(states(&place), of([("epoch_ended", 2), ("waiting", 2)]));
    let at = format!("{}[0]@0", place.setup.topics[0]);
    let redrive = ["quarantine", "redrive", &place.pipeline_file(), "--record", &at];
    let redriven = place.verb(&redrive);
    assert!(redriven.code == 1 && redriven.out.contains("write the row again"), "{}", redriven.out);

    // The stream goes on, with positions that open, in this process and in the next.
    swapped(&running, 2);
    send(&place, &events[8..]);
    running.stop();
    let mut running = place.run();
    assert!(tail.wait_for(6, patience), "{}", last_lines(&running.said(), 20));
    assert_eq!(states(&place), of([("epoch_ended", 2), ("waiting", 4)]));
    running.stop();
    assert_eq!(place.status()["partitions"].as_array().expect("partitions").len(), 2);
    place.verify().fine("verify");

    // A backup is put back: the store, the ledger, and, as a control, what the token has destroyed.
    copy(&backup.join("keys"), &place.dir.join("keys"));
    assert_eq!(place.verb(&["keys", "status"]).code, 2, "the log of keys is newer");
    // That day there was no log of keys.
    std::fs::remove_dir_all(place.ledger().join("_keys")).expect("a folder");
    let refused = place.verb(&["keys", "status"]);
    assert!(refused.err.contains("does not open this store"), "{}", refused.err);
    copy(&backup.join("tokens"), &dir.join("tokens"));
    let revived = of([("key_unknown", 4), ("waiting", 2)]);
    assert_eq!(states(&place), revived, "the control: what opens is seen");
}
