//! SIGKILL loop: a crash at any moment loses nothing, repeats nothing, reorders nothing; nor of the bundles that leave
//! meanwhile, once a second.
//!
//! `DOUANE_KILLS` kills in all (CI: 25). The control of its guards is in `zombie`: only a live process commits between
//! a position that is read too early and the fence.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cases::bundles::is_bundle;
use crate::cases::coverage::bundled;
use crate::cluster::{Isolation, Record};
use crate::customers::{Customers, Format, Random};
use crate::feed::{Load, Plants};
use crate::oracle::{Verdict, judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Place, Setup, last_lines};
use crate::rig::{self, Kind};
use crate::say;

const PARTITIONS: i32 = 8;

/// One loop: what is planted, and what changes on the way.
#[derive(Clone)]
struct Case {
    brokers: Kind,
    name: &'static str,
    kills: usize,
    records: usize,
    records_per_second: u64,
    tasks: u32,
    /// Number of tasks from the middle of the loop on.
    tasks_later: u32,
    plants: Plants,
    seed: u64,
}

struct Outcome {
    verdict: Verdict,
    kills: usize,
    productive: usize,
    leftovers: usize,
    place: Place,
    load: Arc<Load>,
    to_first_commit_ms: Vec<u128>,
}

fn kill_loop(case: &Case) -> Outcome {
    let (source, target) = rig::clusters_of(case.brokers);
    let mut setup = Setup::customers(case.name, source.cluster(), target.cluster());
    setup.tasks = case.tasks.max(case.tasks_later); // so that doctor makes room for both
    bundled(&mut setup);
    let (source, target) = (setup.source.clone(), setup.target.clone());
    let topic = setup.topics[0].clone();
    source.create(&topic, PARTITIONS, &[]);
    let mut place = Place::new(setup);
    place.setup.tasks = case.tasks;
    place.write_files();

    let mut events = Customers::new(case.seed, 1, true);
    let load = Arc::new(Load::new(PARTITIONS).customers(
        &mut events,
        case.records,
        Format::Json,
        &case.plants,
    ));
    let mut sending = load.send_slowly(&source, &topic, case.records_per_second);
    let mut random = Random::new(case.seed);
    let commits = place.commits();
    let (mut productive, mut times) = (0, Vec::new());
    // The kills of the loop may all fall between two transactions; the first one falls into one. Not into a bundle's,
    // which leaves nothing among the data.
    place.env("DOUANE_TEST_CONTROL", "die-at-sent");
    let mut killed = 0;
    while killed == 0 || killed < 5 && target.end(&place.data_topic(), Isolation::Uncommitted) == 0
    {
        let mut running = place.run();
        running.wait(Duration::from_secs(30));
        running.kill(); // a build without that switch lives on
        killed += 1;
    }
    place.env("DOUANE_TEST_CONTROL", "");
    for kill in 0..case.kills {
        // A slow machine has fewer kills while records come; without records nothing commits.
        if sending.sent() == load.len() {
            break;
        }
        killed += 1;
        if kill == case.kills / 2 && case.tasks_later != case.tasks {
            place.setup.tasks = case.tasks_later;
            place.write_files();
        }
        let mark = commits.mark();
        let spawned = Instant::now();
        let mut running = place.run();
        // half of the kills at any moment of the start, the others while it commits
        let commits_seen = if kill % 2 == 0 {
            commits.wait_past(&mark, Duration::from_secs(30))
        } else {
            std::thread::sleep(Duration::from_millis(random.between(50, 1500)));
            commits.wait_past(&mark, Duration::ZERO)
        };
        if kill % 2 == 0 {
            assert!(
                commits_seen.is_some(),
                "no commit within 30 s\n{}",
                last_lines(&running.said(), 20)
            );
            times.push(spawned.elapsed().as_millis());
            std::thread::sleep(Duration::from_millis(random.between(0, 400)));
        }
        if let Some(code) = running.ended() {
            panic!("it ended by itself with {code}\n{}", last_lines(&running.said(), 20));
        }
        running.kill();
        productive += usize::from(commits.mark() != mark);
    }
    say::note(format!(
        "{}: {killed} kills while {} of {} records were there",
        case.name,
        sending.sent(),
        load.len()
    ));
    let mut running = place.run();
    sending.wait();
    finish(&place, &load, &mut running);
    running.stop();

    let committed = target.read(&place.data_topic(), Isolation::Committed);
    let uncommitted = target.read(&place.data_topic(), Isolation::Uncommitted);
    let verdict = judge(&load.expected, &committed, serial_in_json);
    Outcome {
        leftovers: uncommitted.len() - committed.len(),
        verdict,
        kills: killed,
        productive,
        place,
        load,
        to_first_commit_ms: times,
    }
}

/// Until everything that should cross is there, and then a moment longer for what should not be.
pub fn finish(place: &Place, load: &Load, running: &mut crate::place::Running) {
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let all = tail.wait_for(load.expected.len(), Duration::from_secs(120));
    if !all {
        let (got, wanted) = (tail.records.len(), load.expected.len());
        say::note(format!(
            "only {got} of {wanted} records came\n{}",
            last_lines(&running.said(), 20)
        ));
    }
    let end = Instant::now() + Duration::from_secs(1);
    while tail.poll(Duration::from_millis(400)) > 0 && Instant::now() < end {}
    if let Some(code) = running.ended() {
        panic!("it ended by itself with {code}\n{}", last_lines(&running.said(), 20));
    }
}

/// What holds after every fault, however delivered: held and quarantined as planted, ledger and manifests agree.
pub fn check_the_rest(place: &Place, load: &Load) {
    let quarantine = place.setup.source.read(&place.quarantine_topic(), Isolation::Committed);
    let found: BTreeSet<(i32, i64)> =
        quarantine.iter().map(|r| quarantined_at(r, &place.setup.topics[0])).collect();
    let planted: BTreeSet<(i32, i64)> =
        load.quarantined.iter().flat_map(|(p, offsets)| offsets.iter().map(|o| (*p, *o))).collect();
    assert_eq!(found, planted, "the quarantine names exactly what was planted");
    for (partition, offset) in &load.held {
        let held = held_at(place, *partition);
        assert_eq!(held, Some(*offset), "partition {partition} is held at the planted leaf");
    }
    let verified = place.verify();
    assert_eq!(verified.code, 0, "verify: {}{}", verified.out, verified.err);
    let report: serde_json::Value = serde_json::from_str(&verified.out).expect("verify's JSON");
    crate::cases::coverage::holds(place);
    let mut manifests = place.setup.target.read(&place.manifest_topic(), Isolation::Committed);
    manifests.retain(|record| !is_bundle(record));
    let logs = report.as_array().unwrap_or_else(|| panic!("no list of logs in {report}"));
    let committed: u64 = logs.iter().filter_map(|log| log["committed"].as_u64()).sum();
    assert!(
        logs.iter().all(|log| log["signature_checked"] == true || log["checkpoint"].is_null()),
        "{report}"
    );
    assert!(
        logs.iter().all(|log| log["open"].is_null()),
        "a clean stop leaves no intent open: {report}"
    );
    assert_eq!(
        u64::try_from(manifests.len()).expect("a count"),
        committed,
        "one manifest for each COMMITTED entry"
    );
    let each_once: BTreeSet<&[u8]> = manifests.iter().filter_map(|m| m.key.as_deref()).collect();
    assert_eq!(each_once.len(), manifests.len(), "no manifest twice");
    // Any manifest is of the ledger, as an auditor would look: with the public halves of the keys only.
    let mut args = vec!["verify".to_owned(), "ledger".to_owned()];
    for (number, manifest) in manifests.iter().rev().take(8).enumerate() {
        let file = format!("manifest-{number}.dsse.json");
        std::fs::write(place.dir.join(&file), manifest.value.as_deref().expect("a value"))
            .expect("a file");
        args.extend(["--manifest".to_owned(), file]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    place.verb(&args).fine("verify --manifest");
    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let wrong = crate::manifests::disagreements(&records, &manifests);
    assert!(
        wrong.is_empty(),
        "{} of {} manifests: {}",
        wrong.len(),
        manifests.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
}

/// The source position that a quarantine record names in its key: `topic:partition:offset`, `topic[partition]@offset` and the like.
pub fn quarantined_at(record: &Record, topic: &str) -> (i32, i64) {
    let key = record.key_text();
    let rest = key.rsplit(topic).next().unwrap_or(&key);
    let numbers: Vec<i64> = rest
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .filter_map(|n| n.parse().ok())
        .collect();
    let [partition, offset] = numbers[..] else {
        panic!("a quarantine key that names no position: {key}")
    };
    (i32::try_from(partition).expect("a partition"), offset)
}

/// Where `douane status` says that a partition is held.
pub fn held_at(place: &Place, partition: i32) -> Option<i64> {
    let status = place.status();
    let partitions =
        status["partitions"].as_array().unwrap_or_else(|| panic!("no partitions in {status}"));
    let one = partitions.iter().find(|p| p["partition"].as_i64() == Some(i64::from(partition)))?;
    let offset = one["held"]["offset"].as_i64().filter(|_| one["state"] == "held")?;
    assert_eq!(one["next"].as_i64(), Some(offset), "everything before a held record has crossed");
    Some(offset)
}

fn both_plants(records: usize) -> Plants {
    Plants { unknown_leaf: Some((3, records / 2)), unparsable: Some((5, 200)) }
}

#[test]
fn sigkill_loses_repeats_and_reorders_nothing() {
    let _turn = rig::exclusive();
    let kills = say::count("DOUANE_KILLS", 25);
    let per_kill = 1800;
    let records = (kills * per_kill).max(40_000);
    let case = Case {
        brokers: Kind::asked_for(),
        name: "kill",
        kills,
        records,
        records_per_second: 1500,
        tasks: 2,
        tasks_later: 3,
        plants: both_plants(records),
        seed: 11,
    };
    let outcome = kill_loop(&case);
    say::figure("sigkill.kills", outcome.kills, "kills");
    say::figure("sigkill.kills_after_a_commit", outcome.productive, "kills");
    say::figure("sigkill.records", outcome.verdict.read, "records");
    say::figure("sigkill.leftovers_read_uncommitted", outcome.leftovers, "records");
    say::figure(
        "sigkill.spawn_to_first_commit_p50",
        say::quantile(&outcome.to_first_commit_ms, 0.5),
        "ms",
    );
    say::figure(
        "sigkill.spawn_to_first_commit_p95",
        say::quantile(&outcome.to_first_commit_ms, 0.95),
        "ms",
    );
    say::note(format!("{:?}", outcome.verdict));
    check(&outcome);
}

fn check(outcome: &Outcome) {
    assert!(outcome.verdict.clean(), "{:?}", outcome.verdict);
    assert_eq!(outcome.verdict.second_nulls, 0, "a delete and its tombstone are one");
    assert!(outcome.leftovers > 0, "no aborted records: the kills did not bite");
    check_the_rest(&outcome.place, &outcome.load);
}

/// A short loop on the development broker, which must not be kinder than Kafka.
#[test]
fn sigkill_between_development_brokers() {
    let _turn = rig::exclusive();
    let records = 20_000;
    let case = Case {
        brokers: Kind::Development,
        name: "kill-development",
        kills: 5,
        records,
        records_per_second: 1500,
        tasks: 2,
        tasks_later: 3,
        plants: both_plants(records),
        seed: 12,
    };
    let outcome = kill_loop(&case);
    say::note(format!("{:?}, leftovers: {}", outcome.verdict, outcome.leftovers));
    check(&outcome);
}
