//! Checkpoints leave in bundles, at the ticks of the place's schedule and through kills, exactly once: who is outside sees
//! how each log went on from one to the next, and what was taken out at the end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::cases::coverage::{bundled, in_python, outside, verb_in};
use crate::cases::kill::finish;
use crate::cases::verbs::is_as_documented;
use crate::cluster::{Isolation, Record};
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::pace::Instant;
use crate::place::{Place, Said, Setup};
use crate::rig;
use crate::say;

const EVERY_MS: i64 = 1_000;

/// Of the records of a manifest topic.
pub fn is_bundle(record: &Record) -> bool {
    record.key_text().starts_with("bundle/")
}

fn verified(place: &Place, dir: &std::path::Path, more: &[&str]) -> Said {
    let topic = place.data_topic();
    let args = ["verify", "--topic", &topic, "--format", "json"];
    verb_in(place, dir, &[&args[..], more].concat())
}

fn answer(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"))
}

fn codes(said: &Said) -> BTreeSet<String> {
    let answer = answer(said);
    let findings = answer["findings"].as_array().expect("a list").iter();
    findings.map(|f| f["code"].as_str().expect("a code").to_owned()).collect()
}

fn bundles(place: &Place) -> Vec<Record> {
    let all = place.setup.target.read(&place.manifest_topic(), Isolation::Committed);
    all.into_iter().filter(is_bundle).collect()
}

/// Waits until so many are outside.
fn until(place: &Place, count: usize) -> Vec<Record> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let there = bundles(place);
        if there.len() >= count {
            return there;
        }
        assert!(Instant::now() < end, "{} of {count} bundles", there.len());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn checkpoints_leave_on_a_schedule_and_each_goes_on_from_the_last() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("bundles", source.cluster(), target.cluster());
    bundled(&mut setup);
    let topic = setup.topics[0].clone();
    setup.source.create(&topic, 4, &[]);
    let place = Place::new(setup);
    let mut customers = Customers::new(17, 1, true);
    let mut whole = Load::new(4);
    let mut running = place.run();
    let kills = say::count("DOUANE_BUNDLE_KILLS", 3);
    for round in 0..=kills {
        let wave = Load::new(4).customers(&mut customers, 120, Format::Json, &Plants::default());
        wave.send(&place.setup.source, &topic);
        whole.expected.extend(wave.expected);
        whole.secrets.extend(wave.secrets);
        finish(&place, &whole, &mut running);
        let there = bundles(&place).len();
        until(&place, there + 1);
        if round < kills {
            running.kill();
            running = place.run();
        }
    }
    // Nothing crosses, and they go out all the same; also while no shard can read.
    let quiet = bundles(&place).len();
    until(&place, quiet + 3);
    if rig::is_kafka("bundles while the source is frozen", "the development broker is one process")
    {
        frozen(&place, source);
    }
    let there = bundles(&place);
    running.stop();

    // The time of a record is its tick, and its number goes on through kills.
    for (number, bundle) in (1..).zip(&there) {
        assert_eq!(bundle.key_text(), format!("bundle/{number}"));
        assert_eq!(bundle.timestamp_ms % EVERY_MS, 0, "{}", bundle.timestamp_ms);
    }
    let times: Vec<i64> = there.iter().map(|bundle| bundle.timestamp_ms).collect();
    assert!(times.is_sorted_by(|one, next| one < next), "one at a tick: {times:?}");
    let spoken: Vec<u8> = there.iter().flat_map(|b| b.value.clone().unwrap_or_default()).collect();
    let spoken = String::from_utf8_lossy(&spoken);
    assert!(!whole.secrets.iter().any(|secret| secret.len() > 5 && spoken.contains(secret)));

    let dir = outside(&place);
    let well = verified(&place, &dir, &["--release", "outside/release.json"]);
    let said = is_as_documented("verify-topic", &well.clone().fine("verify"), &["code", "message"]);
    let bundle = &said["bundle"];
    assert_eq!(bundle["checkpoints_checked"], serde_json::json!(true), "{bundle}");
    assert!(bundle["count"].as_u64() >= Some(there.len() as u64), "{bundle}");
    let logs = bundle["logs"].as_array().expect("logs").len();
    assert_eq!(logs, 1 + place.setup.tasks as usize, "control and each shard: {bundle}");
    let text = verb_in(&place, &dir, &["verify", "--topic", &place.data_topic()]).fine("text");
    assert!(text.out.contains("bundles of checkpoints"), "{}", text.out);
    // The ledger says which went out, and no more than that is in it under another digest.
    place.verb(&["verify", "ledger", "--keys", "keys"]).fine("verify ledger");

    witnessed(&place, &dir);
    taken_out(&place, &dir, &well);
}

/// Of two shards one is left. What the other published, and what of it was lost, stays in the bundles.
#[test]
fn a_log_that_nobody_writes_any_more_stays_in_bundles() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("ended", source.cluster(), target.cluster());
    bundled(&mut setup);
    setup.source.create(&setup.topics[0], 4, &[]);
    let mut place = Place::new(setup);
    let load = Load::new(4).customers(
        &mut Customers::new(23, 1, true),
        300,
        Format::Json,
        &Plants::default(),
    );
    load.send(&place.setup.source, &place.setup.topics[0]);
    let mut running = place.run();
    finish(&place, &load, &mut running);
    until(&place, bundles(&place).len() + 2);
    running.stop();
    place.setup.tasks = 1;
    place.write_files();
    let ended = place.ledger().join("ended/shard-1");
    std::fs::remove_dir_all(ended.join("tlog")).expect("what was published");
    let mut running = place.run();
    until(&place, bundles(&place).len() + 2);
    running.stop();
    let said = running.said();
    assert!(said.contains("shard-1, which nobody writes any more"), "{said}");
    assert_eq!(said.matches("made again of its journals").count(), 1, "once: {said}");
    let dir = outside(&place);
    let well = verified(&place, &dir, &["--release", "outside/release.json"]).fine("verify");
    assert_eq!(answer(&well)["bundle"]["logs"].as_array().map(Vec::len), Some(3), "{}", well.out);
    place.verb(&["verify", "ledger", "--keys", "keys"]).fine("verify ledger");
    // The control: without its journals nobody has what would be signed, and no bundle leaves.
    let there = bundles(&place).len();
    std::fs::rename(&ended, place.dir.join("gone")).expect("a folder");
    let mut running = place.run();
    let why = "shard-1, which nobody writes any more: ";
    assert!(running.wait_for_word(why, Duration::from_secs(30)), "{}", running.said());
    running.stop();
    assert_eq!(bundles(&place).len(), there, "{}", running.said());
}

/// With the source away for longer than a client waits for it, each tick has its bundle: when they leave says nothing
/// about what the shards do.
fn frozen(place: &Place, source: &rig::Broker) {
    const TICKS: usize = 20;
    source.freeze();
    let (ran, slept) =
        (Instant::now(), Duration::from_millis(EVERY_MS.unsigned_abs() * (TICKS as u64 + 2)));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let from = i64::try_from(since.as_millis()).expect("milliseconds");
    let until = from + EVERY_MS * TICKS as i64;
    std::thread::sleep(slept);
    let stood = slept.saturating_sub(ran.elapsed()).as_millis() as usize;
    let during = bundles(place).iter().filter(|b| (from..until).contains(&b.timestamp_ms)).count();
    source.thaw();
    // Of a commit that takes longer than a tick on a busy machine the next one is left out, and those at which the
    // machine stood still.
    let least = (TICKS - 3).saturating_sub(stood.div_ceil(EVERY_MS as usize));
    assert!((least..=TICKS).contains(&during), "{during} bundles at {TICKS} ticks");
}

/// A witness' line leaves with the next bundle, and who is outside can ask for it.
fn witnessed(place: &Place, dir: &std::path::Path) {
    let made = place.verb(&["witness", "init", "--name", "seen", "--out", "witness.key"]);
    let key = made.fine("witness init").out.trim().to_owned();
    let name = place.setup.name.clone();
    let asked = ["--witness", &key];
    assert!(codes(&verified(place, dir, &asked)).contains("not_cosigned"));
    let logs = ["control".to_owned(), "shard-0".to_owned(), "shard-1".to_owned()];
    for log in &logs {
        let origin = format!("douane/{name}/{log}");
        let trust = ["witness", "trust", "--state", "seen", "--origin", &origin, "--log-key"];
        place.verb(&[&trust[..], &["keys/checkpoint.key.pub"]].concat()).fine("trust");
        let at = format!("ledger/{name}/{log}");
        let request = place.verb(&["witness", "ask", &at, "--since", "0"]).fine("ask");
        std::fs::write(place.dir.join("request"), &request.out).expect("a file");
        let cosign = ["witness", "cosign", "--name", "seen", "--key", "witness.key", "--state"];
        let line = place.verb(&[&cosign[..], &["seen", "request"]].concat()).fine("cosign");
        std::fs::write(place.dir.join("line"), &line.out).expect("a file");
        let attach = ["witness", "attach", &at, "--request", "request", "--cosignature", "line"];
        place.verb(&attach).fine("attach");
    }
    let before = bundles(place).len();
    let mut running = place.run();
    until(place, before + 1);
    running.stop();
    let said = verified(place, dir, &[&asked[..], &["--cosigned-within", "1h"]].concat());
    let lines = answer(&said.fine("cosigned"))["bundle"]["cosigned"].as_array().map(Vec::len);
    assert_eq!(lines, Some(logs.len()));
}

/// What whoever owns the cluster takes out, or the place changes, between two bundles and at the end.
fn taken_out(place: &Place, dir: &std::path::Path, well: &Said) {
    let (topic, target) = (place.manifest_topic(), place.setup.target.clone());
    let all = target.read(&topic, Isolation::Committed);
    let data = target.read(&place.data_topic(), Isolation::Committed);
    let kept: PathBuf = dir.join("kept.json");
    std::fs::write(&kept, &well.out).expect("a file");
    // Written anew as they were, they hold.
    target.rewrite(&place.data_topic(), &data);
    target.rewrite(&topic, &all);
    assert_eq!(codes(&verified(place, dir, &[])), BTreeSet::new());
    verified(place, dir, &["--bundled-within", "10m"]).fine("fresh");
    match in_python(place, &data, &all) {
        Some(other) => assert_eq!(other, (BTreeSet::new(), data.len() as u64)),
        None => say::note("left out: no DOUANE_PYTHON, so no second implementation beside it"),
    }
    let at = |n: usize| (0..all.len()).filter(|at| is_bundle(&all[*at])).nth(n).expect("a bundle");
    let last = (0..all.len()).rev().find(|at| is_bundle(&all[*at])).expect("a bundle");
    let mut gone = all.clone();
    gone.remove(at(1));
    let mut doubled = all.clone();
    doubled.push(all[last].clone());
    // The newest transactions, records and manifests alike, but not the bundle that names one.
    let newest = (0..last).rev().find(|at| !is_bundle(&all[*at])).expect("a manifest");
    let id = all[newest].key_text();
    let mut cut = all.clone();
    cut.remove(newest);
    let fewer: Vec<Record> = data
        .iter()
        .filter(|record| record.header("douane-manifest") != Some(id.as_bytes()))
        .cloned()
        .collect();
    for (word, manifests, records) in
        [("bundle_gap", gone, &data), ("bundle_doubled", doubled, &data), ("vanished", cut, &fewer)]
    {
        target.rewrite(&topic, &manifests);
        target.rewrite(&place.data_topic(), records);
        let said = verified(place, dir, &[]);
        assert!(said.code == 1 && codes(&said).contains(word), "{word}: {}", said.out);
        if let Some((other, _)) = in_python(place, records, &manifests) {
            assert_eq!(other, codes(&said), "{word}: two implementations, one answer");
        }
    }
    // All bundles but the first: nothing is missing between two, and only age and a kept answer tell.
    let mut early = all.clone();
    early.retain(|record| !is_bundle(record) || record.key_text() == "bundle/1");
    target.rewrite(&topic, &early);
    target.rewrite(&place.data_topic(), &data);
    assert_eq!(codes(&verified(place, dir, &[])), BTreeSet::new(), "nobody can see it");
    let stale = verified(place, dir, &["--bundled-within", "1s"]);
    assert_eq!(codes(&stale), BTreeSet::from(["stale".to_owned()]));
    let kept = ["--earlier", "outside/kept.json"];
    assert!(codes(&verified(place, dir, &kept)).contains("vanished"));
}
