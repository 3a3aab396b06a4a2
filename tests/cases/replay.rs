//! What crossed is made again from the source: equal bytes whatever the batch size, the threads and the keys of now; and what
//! cannot be made again is told apart from what is different.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cases::coverage::ran;
use crate::cases::kill::finish;
use crate::cases::verbs::is_as_documented;
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::place::{Place, Said};
use crate::rig;
use crate::say;

fn replay(place: &Place, more: &[&str]) -> Said {
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
fn equal(said: Said) -> u64 {
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
    let joined = told(&place.verb(&[&join[..], &["json"]].concat()).fine("replay --join"));
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
        place.env("DOUANE_TEST_CONTROL", "");
    }
    // Approved anew it is another plan: what crossed under the old one is told as such.
    place.release();
    let all = told(&replay(&place, &[]));
    assert_eq!(count(&all, "semantics_gone"), transactions, "{all}");
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
