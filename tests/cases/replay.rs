//! What crossed is made again from the source: equal bytes whatever the batch size, the threads and the keys of now; and what
//! cannot be made again is told apart from what is different.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::cases::coverage::ran;
use crate::cases::kill::finish;
use crate::cases::redrive::refused_by_the_gate;
use crate::cases::verbs::is_as_documented;
use crate::cluster::Isolation;
use crate::customers::{Customers, Event, Format, Op};
use crate::feed::{Load, Plants};
use crate::place::{Place, Said, Setup, last_lines};
use crate::rig;
use crate::say;

pub fn replay(place: &Place, more: &[&str]) -> Said {
    let file = place.pipeline_file();
    let args = ["replay", &file, "--by", "cleo", "--reason", "audit 7", "--format", "json"];
    place.verb(&[&args[..], more].concat())
}

fn told(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"))
}

fn count(told: &Value, of: &str) -> u64 {
    told[of].as_u64().unwrap_or_else(|| panic!("{of}: {told}"))
}

/// Everything is equal; how many transactions.
#[track_caller]
pub fn equal(said: Said) -> u64 {
    let all = told(&said.fine("replay"));
    assert_eq!(count(&all, "equal"), count(&all, "transactions"), "{all}");
    count(&all, "equal")
}

#[test]
fn what_crossed_is_made_again_byte_for_byte() {
    let _turn = rig::exclusive();
    let plants = Plants { unparsable: Some((1, 40)), ..Plants::default() };
    let (place, load) = ran("replay", |_| {}, 2_000);
    // More of it: with records that were set aside, deletes and tombstones on both sides of a start.
    let mut customers = Customers::new(93, 700_000, true);
    let more = Load::new(4).customers(&mut customers, 800, Format::Json, &plants);
    more.send(&place.setup.source, &place.setup.topics[0]);
    let mut whole = Load::new(4);
    whole.expected.extend(load.expected);
    whole.expected.extend(more.expected);
    let mut running = place.run();
    finish(&place, &whole, &mut running);
    running.stop();

    let first = replay(&place, &[]);
    let all = is_as_documented("replay", &first.clone().fine("replay"), &["why", "part"]);
    let transactions = equal(first);
    assert!(transactions > 3 && count(&all, "records") > 2_000, "{all}");
    for (batch, threads) in [("1", "1"), ("7", "2"), ("4096", "1"), ("65536", "2")] {
        assert_eq!(equal(replay(&place, &["--batch", batch, "--threads", threads])), transactions);
    }
    // A part of it: by manifest, by offsets, by release, by time, by parts.
    let one = all["answers"][0]["manifest"].as_str().expect("an id");
    assert_eq!(equal(replay(&place, &["--manifest", one])), 1);
    let range = format!("{}[2]@0-1", place.setup.topics[0]);
    assert_eq!(equal(replay(&place, &["--records", &range])), 1);
    assert_eq!(equal(replay(&place, &["--to", "2100-01-01T00:00:00Z"])), transactions);
    let parts = ["1/2", "2/2"].map(|part| {
        let said = replay(&place, &["--part", part, "--rate", "1000000"]);
        std::fs::write(place.dir.join(format!("part-{}.json", &part[..1])), &said.out).expect("it");
        equal(said)
    });
    assert_eq!(parts.iter().sum::<u64>(), transactions);
    // Of the parts one page to be filed, of another machine's clock and without a value.
    let join = ["replay", "--join", "part-2.json", "part-1.json", "--format"];
    let joined = place.verb(&[&join[..], &["json"]].concat()).fine("replay --join");
    let joined = is_as_documented("replay", &joined, &["why", "part"]);
    let answers = |all: &Value| -> BTreeSet<String> {
        all["answers"].as_array().expect("a list").iter().map(Value::to_string).collect()
    };
    assert_eq!((count(&joined, "transactions"), answers(&joined)), (transactions, answers(&all)));
    let page = place.verb(&[&join[..], &["html"]].concat()).fine("replay --join --format html").out;
    let wrote = all["answers"][0]["wrote"][0]["digest"].as_str().expect("a digest");
    assert!(page.contains("Chain of reasons") && page.contains(wrote), "{page}");
    let leak = load.secrets.iter().find(|secret| secret.len() > 5 && page.contains(*secret));
    assert_eq!(leak, None);
    let half = place.verb(&["replay", "--join", "part-1.json"]);
    assert!(half.code == 2 && half.err.contains("1 of 2 parts"), "{}", half.err);
    let nothing = replay(&place, &["--from", "2100-01-01T00:00:00Z"]);
    assert!(nothing.code == 2 && nothing.err.contains("no such transaction"), "{}", nothing.err);

    // Keys of now are others; those of then are used.
    place.verb(&["keys", "rotate", "customer_email"]).fine("keys rotate");
    assert_eq!(equal(replay(&place, &[])), transactions);
    // Nobody asked without the ledger knowing, and the ledger holds.
    let verified = place.verify().fine("verify");
    assert!(verified.out.contains("_keys"), "{}", verified.out);
    let spoken = format!("{}{}", replay(&place, &[]).out, place.log());
    let secret = load.secrets.iter().find(|secret| secret.len() > 5 && spoken.contains(*secret));
    assert_eq!(secret, None);
    // What is asked for by name and is not there is no answer of what is.
    let nobody = "0f".repeat(16);
    let unknown = replay(&place, &["--manifest", one, "--manifest", &nobody]);
    assert!(unknown.code == 2 && unknown.err.contains(&nobody), "{}{}", unknown.out, unknown.err);
    // A transaction whose manifest was taken out may be of any time, and does not hold.
    let manifests = place.setup.target.read(&place.manifest_topic(), Isolation::Committed);
    place.setup.target.rewrite(&place.manifest_topic(), &manifests[1..]);
    let lost = replay(&place, &["--from", "2100-01-01T00:00:00Z"]);
    let all = told(&lost);
    let found = ["transactions", "equal", "manifests_unseen"].map(|of| count(&all, of));
    assert_eq!((lost.code, found), (1, [1, 1, 1]), "{all}");
    say::figure("replay.transactions", transactions, "made again, all equal");
}

/// Keys of single subjects are destroyed: what hung on them alone is told as that, with who did it and when, and it hides
/// no difference. The end of an epoch of the quarantine takes no key that crossing used.
#[test]
fn what_hung_on_destroyed_keys_is_told_with_who_destroyed_them() {
    let _turn = rig::exclusive();
    let (mut place, load) = ran(
        "replay-shred",
        |setup| {
            let email = "customer_email: { normalize: email, ";
            let per = format!("{email}algorithm: aes_siv, key_per: after.id, ");
            setup.domains = setup.domains.replace(email, &per);
            assert!(setup.domains.contains("key_per"));
        },
        800,
    );
    let file = place.pipeline_file();
    let transactions = equal(replay(&place, &[]));
    place.verb(&["keys", "rotate", "--quarantine"]).fine("keys rotate --quarantine");
    let expire = ["keys", "expire", "--epoch", "1", "--by", "cleo", "--reason", "case 9"];
    place.verb(&expire).fine("keys expire");
    assert_eq!(equal(replay(&place, &[])), transactions, "an epoch's end changes no answer");

    // One row that crossed.
    let victim = load.expected.iter().find(|e| e.serial.is_some()).expect("a row").id;
    std::fs::write(place.dir.join("subject"), victim.to_string()).expect("a file");
    let shred = |by: &str, out: &str| {
        let args = ["keys", "shred", "--domain", "customer_email", "--subject-file", "subject"];
        let more = ["--by", by, "--reason", "case 7", "--out", out, &file];
        place.verb(&[&args[..], &more[..]].concat()).fine("keys shred");
    };
    shred("cleo", "certificate.json");
    let all = told(&replay(&place, &[]));
    let gone = count(&all, "keys_gone");
    assert!(gone > 0 && gone < transactions, "{all}");
    assert_eq!(count(&all, "equal") + gone, transactions, "{all}");
    let why = |all: &Value, of: &str| -> Vec<String> {
        let answers = all["answers"].as_array().expect("a list").iter();
        let mine = answers.filter(|a| a["answer"] == of);
        mine.map(|a| a["why"].to_string()).collect()
    };
    let year = "domain `customer_email` were destroyed by cleo, 20";
    for why in why(&all, "keys_gone") {
        assert!(why.contains("subject_shredded") && why.contains(year), "{why}");
        assert!(why.contains("keys of 1 subjects"), "{why}");
    }
    let said = place.verb(&["replay", &file, "--by", "cleo", "--reason", "audit 7"]);
    let words = format!("{gone} that cannot be made again");
    assert!(said.code == 1 && said.out.contains(&words), "{}", said.out);
    assert!(said.out.contains("keys gone") && said.out.contains(year), "{}", said.out);
    // The control: where the bytes differ too, the destroyed key is no excuse.
    if cfg!(debug_assertions) && std::env::var_os("DOUANE_BIN").is_none() {
        let text = std::fs::read_to_string(place.dir.join(&file)).expect("the pipeline");
        let changed = text.replace("bins: [0, 100000, 1000000]", "bins: [0, 100000, 2000000]");
        assert_ne!(text, changed);
        std::fs::write(place.dir.join(&file), changed).expect("written");
        place.env("DOUANE_TEST_CONTROL", "replay-any-plan");
        let all = told(&replay(&place, &[]));
        let both = why(&all, "different").iter().filter(|w| w.contains("subject_shredded")).count();
        assert!(both > 0, "{all}");
        place.env("DOUANE_TEST_CONTROL", "");
    }
}

#[test]
fn what_cannot_be_made_again_is_told_apart() {
    let _turn = rig::exclusive();
    let (mut place, _) = ran("replay-gone", |_| {}, 800);
    let transactions = equal(replay(&place, &[]));
    // One literal of the pipeline is another: it is refused before anything is read.
    let file = place.dir.join(place.pipeline_file());
    let text = std::fs::read_to_string(&file).expect("the pipeline");
    let changed = text.replace("bins: [0, 100000, 1000000]", "bins: [0, 100000, 2000000]");
    assert_ne!(text, changed);
    std::fs::write(&file, &changed).expect("written");
    let refused = replay(&place, &[]);
    assert!(refused.code == 1 && refused.err.contains("fingerprint"), "{}", refused.err);
    // The control: without that look the bytes themselves say so.
    if cfg!(debug_assertions) && std::env::var_os("DOUANE_BIN").is_none() {
        place.env("DOUANE_TEST_CONTROL", "replay-any-plan");
        let different = replay(&place, &[]);
        let all = told(&different);
        assert!(different.code == 1 && count(&all, "different") > 0, "{all}");
        let why = all["answers"].to_string();
        assert!(why.contains("training.customers[") || why.contains("is refused now"), "{why}");
        // The first record, by its place, and what of it: no other column has bins, and the gate, which holds
        // to the release of then, lets no other bin cross.
        let first: Vec<&str> = why.split("the first that differs: ").skip(1).collect();
        assert!(!first.is_empty(), "{why}");
        for first in first {
            let first = first.split('"').next().expect("a sentence");
            let is_there = first.starts_with(&format!("{}[", place.data_topic()));
            let what = first.ends_with(": it is not made now")
                || first.contains(", of ") && first.ends_with(": column `balance_cents`");
            assert!(is_there && first.contains("]@") && what, "{first}");
        }
        place.env("DOUANE_TEST_CONTROL", "");
    }
    // Approved anew it is another plan: what crossed under the old one is told as such.
    place.release();
    let all = told(&replay(&place, &[]));
    assert_eq!(count(&all, "semantics_gone"), transactions, "{all}");
    let version = format!("it was made by douane {}", env!("CARGO_PKG_VERSION"));
    let answers = all["answers"].as_array().expect("a list");
    assert!(answers.iter().all(|a| a["why"].to_string().contains(&version)), "{all}");
    std::fs::write(&file, &text).expect("written");
    place.release();
    assert_eq!(equal(replay(&place, &[])), transactions);
    // What retention took from the source cannot be read again.
    place.setup.source.delete_records(&place.setup.topics[0], 1, 5);
    let all = told(&replay(&place, &[]));
    assert!(count(&all, "input_gone") > 0 && count(&all, "different") == 0, "{all}");
    let answers = all["answers"].as_array().expect("a list");
    let kinds: BTreeSet<&str> = answers.iter().filter_map(|a| a["answer"].as_str()).collect();
    assert!(kinds.is_subset(&BTreeSet::from(["equal", "input_gone"])), "{all}");
    // Its keys are gone: the place has another store.
    let ids = place.dir.join("keys");
    std::fs::rename(&ids, place.dir.join("keys.then")).expect("moved");
    std::fs::rename(place.ledger().join("_keys"), place.dir.join("_keys.then")).ok();
    place.verb(&["keys", "init"]).fine("keys init");
    let other = replay(&place, &[]);
    assert_ne!(other.code, 0, "{}{}", other.out, other.err);
}

/// What the gate refuses between a delete and its tombstone is not outside: the two are one, also where
/// the partition is held behind them, and where they lie in two transactions.
#[test]
fn a_row_that_the_gate_refuses_parts_no_delete_from_its_tombstone() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("replay-parted", source.cluster(), target.cluster());
    setup.tasks = 1;
    setup.quarantine_max_per_minute = 1;
    setup.source.create(&setup.topics[0], 1, &[]);
    let place = Place::new(setup);
    let of = |op| -> Vec<Event> {
        Customers::new(97, 1, true).filter(|event| event.op == op).take(4).collect()
    };
    let (deletes, creates) = (of(Op::Delete), of(Op::Create));
    let key = |event: &Event| event.key(Format::Json);
    let value = |event: &Event| event.value(Format::Json, true).expect("a value");
    let bad = |event: &Event| refused_by_the_gate(&value(event));
    let send = |records: &[(Vec<u8>, Option<Vec<u8>>)]| {
        let mut load = Load::new(1);
        for (key, value) in records {
            load.raw(0, Some(key), value.as_deref(), &[]);
        }
        load.send(&place.setup.source, &place.setup.topics[0]);
    };
    let (first, second) = (&deletes[0], &deletes[1]);
    send(&[(key(first), Some(value(first))), (key(&creates[0]), Some(bad(&creates[0])))]);
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let said = |running: &crate::place::Running| last_lines(&running.said(), 20);
    assert!(tail.wait_for(1, Duration::from_secs(30)), "{}", said(&running));
    running.stop();
    send(&[
        (key(first), None),
        (key(second), Some(value(second))),
        (key(&creates[1]), Some(bad(&creates[1]))),
        (key(second), None),
        (key(&creates[2]), Some(value(&creates[2]))),
        (key(&creates[3]), Some(bad(&creates[3]))),
    ]);
    let mut running = place.run();
    assert!(running.wait_for_word("quarantine_limit", Duration::from_secs(30)), "{}", place.log());
    assert!(tail.wait_for(3, Duration::from_secs(30)), "{}", said(&running));
    tail.poll(Duration::from_millis(500));
    running.stop();
    let tombstones = tail.records.iter().filter(|record| record.value.is_none()).count();
    assert_eq!((tail.records.len(), tombstones), (3, 2));
    assert!(equal(replay(&place, &[])) > 1);
}

/// Between a delete and its tombstone lies more that was aborted than is looked through at first, and it was committed
/// as passed: replay finds the delete all the same.
#[test]
fn what_was_aborted_parts_no_delete_from_its_tombstone() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("replay-aborted", source.cluster(), target.cluster());
    setup.tasks = 1;
    setup.source.create(&setup.topics[0], 1, &[]);
    let place = Place::new(setup);
    let (source, topic) = (&place.setup.source, &place.setup.topics[0]);
    let of = |op, many| -> Vec<Event> {
        Customers::new(98, 1, true).filter(|event| event.op == op).take(many).collect()
    };
    let (deleted, creates) = (&of(Op::Delete, 1)[0], of(Op::Create, 300));
    let key = |event: &Event| event.key(Format::Json);
    let value = |event: &Event| event.value(Format::Json, true).expect("a value");
    let load = |records: &[(Vec<u8>, Option<Vec<u8>>)]| {
        let mut load = Load::new(1);
        for (key, value) in records {
            load.raw(0, Some(key), value.as_deref(), &[]);
        }
        load
    };
    load(&[(key(deleted), Some(value(deleted)))]).send(source, topic);
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let patience = Duration::from_secs(30);
    assert!(tail.wait_for(1, patience), "{}", last_lines(&running.said(), 20));
    let aborted: Vec<_> = creates.iter().map(|event| (key(event), Some(value(event)))).collect();
    load(&aborted).transact(source, topic, false);
    let since = crate::pace::Instant::now();
    while place.status()["partitions"][0]["next"].as_i64() != Some(302) {
        assert!(
            since.elapsed() < patience,
            "{}{}",
            place.status(),
            last_lines(&running.said(), 20)
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    load(&[(key(deleted), None), (key(&creates[0]), Some(value(&creates[0])))]).send(source, topic);
    assert!(tail.wait_for(2, patience), "{}", last_lines(&running.said(), 20));
    running.stop();
    tail.poll(Duration::from_millis(500));
    assert_eq!(tail.records.len(), 2, "the tombstone is the delete's");
    assert!(equal(replay(&place, &[])) > 1);
}
