//! What must never be passed over in silence: records that retention took, topics that are not the ones they were, a
//! target or a ledger that was put back. Each stops within ten seconds with a reason of its own type.

use std::time::Duration;

use crate::cases::replay::{equal, replay};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Place, Running, Setup, last_lines};
use crate::rig::{self, Kind};
use crate::say;

const PARTITIONS: i32 = 2;

/// What somebody does, while the pipeline runs or stands still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    SourceRecreated,
    TargetRecreated,
    TargetGrown,
    ManifestRecreated,
    PositionEmptied,
    PositionRecreated,
    LedgerPutBack,
    LedgerGone,
}

struct Case {
    deed: Deed,
    /// Done under a running pipeline, or between two runs.
    running: bool,
    /// What the run must say; the exit code is then 1. None: it goes on, and says so with `held`.
    code: &'static str,
}

const CASES: &[Case] = &[
    Case { deed: Deed::SourceRecreated, running: true, code: "identity_changed" },
    Case { deed: Deed::SourceRecreated, running: false, code: "identity_changed" },
    Case { deed: Deed::TargetRecreated, running: true, code: "identity_changed" },
    Case { deed: Deed::TargetRecreated, running: false, code: "identity_changed" },
    Case { deed: Deed::TargetGrown, running: true, code: "identity_changed" },
    Case { deed: Deed::ManifestRecreated, running: false, code: "identity_changed" },
    Case { deed: Deed::PositionRecreated, running: false, code: "position_lost" },
    Case { deed: Deed::PositionEmptied, running: false, code: "position_lost" },
    Case { deed: Deed::LedgerPutBack, running: false, code: "ledger_lost" },
    Case { deed: Deed::LedgerGone, running: false, code: "ledger_lost" },
];

fn place_with(name: &str, records: usize, events: &mut Customers) -> (Place, Load) {
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers(name, source.cluster(), target.cluster());
    setup.target_partitions = 2;
    setup.source.create(&setup.topics[0], PARTITIONS, &[]);
    let place = Place::new(setup);
    let load = Load::new(PARTITIONS).customers(events, records, Format::Json, &Plants::default());
    load.send(&place.setup.source, &place.setup.topics[0]);
    (place, load)
}

fn until_all_crossed(place: &Place, running: &Running, records: usize) {
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    assert!(tail.wait_for(records, Duration::from_secs(60)), "{}", last_lines(&running.said(), 20));
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(done.success());
}

/// Does it, on a place whose first records have crossed.
fn commit_deed(place: &Place, deed: Deed, older_ledger: &std::path::Path, events: &mut Customers) {
    let (source, target) = (&place.setup.source, &place.setup.target);
    let topic = &place.setup.topics[0];
    let recreate = |cluster: &crate::cluster::Cluster, topic: &str| {
        let partitions = cluster.partitions(topic);
        cluster.delete(topic);
        cluster.create(topic, partitions, &[]);
    };
    match deed {
        Deed::SourceRecreated => {
            recreate(source, topic);
            // more records than the position: without a look at the topic's id this is a silent skip
            let load =
                Load::new(PARTITIONS).customers(events, 3000, Format::Json, &Plants::default());
            load.send(source, topic);
        }
        Deed::TargetRecreated => recreate(target, &place.data_topic()),
        Deed::TargetGrown => target.add_partitions(&place.data_topic(), 9),
        Deed::ManifestRecreated => recreate(target, &place.manifest_topic()),
        Deed::PositionRecreated => {
            let partitions = target.partitions(&place.position_topic());
            target.delete(&place.position_topic());
            // `doctor --create` would refuse: by hand, as somebody does who knows better.
            target.create(&place.position_topic(), partitions, &[("cleanup.policy", "compact")]);
        }
        Deed::PositionEmptied => {
            for partition in 0..target.partitions(&place.position_topic()) {
                target.set_topic_config(&place.position_topic(), "cleanup.policy", "delete");
                target.delete_records(&place.position_topic(), partition, -1);
            }
            target.set_topic_config(&place.position_topic(), "cleanup.policy", "compact");
        }
        Deed::LedgerPutBack => {
            std::fs::remove_dir_all(place.ledger()).expect("removed");
            copy_tree(older_ledger, &place.ledger());
        }
        Deed::LedgerGone => std::fs::remove_dir_all(place.ledger()).expect("removed"),
    }
}

#[test]
fn a_changed_identity_or_a_lost_side_stops_with_its_reason() {
    let _turn = rig::exclusive();
    say::figure("source_loss.slowest_stop", each_stops("loss", CASES), "ms");
}

/// Two of them on the development broker, whose topics must be no less themselves than Kafka's.
#[test]
fn a_topic_made_anew_on_a_development_broker_stops() {
    let _turn = rig::exclusive();
    let few = [
        Case { deed: Deed::SourceRecreated, running: true, code: "identity_changed" },
        Case { deed: Deed::PositionEmptied, running: false, code: "position_lost" },
    ];
    rig::on(Kind::Development, || assert!(each_stops("loss-development", &few) > 0));
}

/// How long the slowest took, in milliseconds.
fn each_stops(called: &str, cases: &[Case]) -> u128 {
    let mut slowest = 0;
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let name = format!("{called}-{number}");
        let mut events = Customers::new(number as u64, 1, true);
        let (place, load) = place_with(&name, 400, &mut events);
        let mut running = place.run();
        until_all_crossed(&place, &running, load.expected.len());
        running.stop();
        let older = place.dir.join("older-ledger");
        copy_tree(&place.ledger(), &older);
        // some more, so that the older copy is older, and the position is beyond the start
        let more =
            Load::new(PARTITIONS).customers(&mut events, 400, Format::Json, &Plants::default());
        more.send(&place.setup.source, &place.setup.topics[0]);
        let mut running = place.run();
        until_all_crossed(&place, &running, load.expected.len() + more.expected.len());
        if !case.running {
            running.stop();
        }
        let crossed_before = place.setup.target.end(&place.data_topic(), Isolation::Uncommitted);
        commit_deed(&place, case.deed, &older, &mut events);
        let since = Instant::now();
        if !case.running {
            running = place.run();
        } else {
            // something to do, for those that look before they commit
            let more =
                Load::new(PARTITIONS).customers(&mut events, 50, Format::Json, &Plants::default());
            more.send(&place.setup.source, &place.setup.topics[0]);
        }
        let code = running.wait(Duration::from_secs(20));
        let took = since.elapsed().as_millis();
        let said = running.said();
        let crossed_after = place.setup.target.end(&place.data_topic(), Isolation::Uncommitted);
        let right = code == Some(1)
            && said.contains(&format!("\"code\":\"{}\"", case.code))
            && took <= 10_000;
        say::note(format!(
            "{:?}, {}: exit {code:?} after {took} ms",
            case.deed,
            if case.running { "running" } else { "standing" }
        ));
        if !right {
            wrong.push(format!(
                "{:?} (running: {}): exit {code:?} after {took} ms, expected {}\n{}",
                case.deed,
                case.running,
                case.code,
                last_lines(&said, 6)
            ));
        }
        if case.deed != Deed::TargetRecreated
            && case.deed != Deed::TargetGrown
            && crossed_after > crossed_before
        {
            wrong.push(format!(
                "{:?}: {} records crossed after it",
                case.deed,
                crossed_after - crossed_before
            ));
        }
        slowest = slowest.max(took);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    slowest
}

/// Somebody starts the pipeline beside one that runs, with what no start may have: an older release, or no ledger.
#[test]
fn a_start_that_is_refused_stops_nobody() {
    let _turn = rig::exclusive();
    let mut events = Customers::new(81, 1, true);
    let (place, load) = place_with("refused-start", 100, &mut events);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let [older, without] = ["older", "without"].map(|name| elsewhere.path().join(name));
    copy_tree(&place.dir, &older);
    place.release();
    let mut running = place.run();
    until_all_crossed(&place, &running, load.expected.len());
    copy_tree(&place.dir, &without);
    std::fs::remove_dir_all(without.join("ledger")).expect("removed");

    let mut beside = vec![(&older, "release")];
    // A ledger in a topic is brought from there.
    if !place.setup.ledger.contains("topic") {
        beside.push((&without, "ledger_lost"));
    }
    for (dir, code) in beside {
        let said = place.verb_at(dir, &["run", &place.pipeline_file()]);
        assert_eq!(said.code, 1, "{}{}", said.out, said.err);
        let told = format!("{}{}", said.out, said.err);
        assert!(told.contains(&format!("\"code\":\"{code}\"")), "{told}");
    }
    let more = Load::new(PARTITIONS).customers(&mut events, 100, Format::Json, &Plants::default());
    more.send(&place.setup.source, &place.setup.topics[0]);
    until_all_crossed(&place, &running, load.expected.len() + more.expected.len());
    assert_eq!(running.ended(), None, "{}", running.said());
    running.stop();
    place.verify().fine("verify");
}

#[test]
pub fn records_that_retention_took_hold_their_partition_only() {
    let _turn = rig::exclusive();
    let mut events = Customers::new(70, 1, true);
    let (place, load) = place_with("loss-retention", 400, &mut events);
    let mut running = place.run();
    until_all_crossed(&place, &running, load.expected.len());
    running.stop();
    // partition 1 loses what it has not handed over yet; partition 0 goes on
    let more = Load::new(PARTITIONS).customers(&mut events, 400, Format::Json, &Plants::default());
    more.send(&place.setup.source, &place.setup.topics[0]);
    let lost_to = {
        let consumer = place.setup.source.consumer(Isolation::Uncommitted);
        use rdkafka::consumer::Consumer;
        consumer
            .fetch_watermarks(&place.setup.topics[0], 1, Duration::from_secs(5))
            .expect("watermarks")
            .1
    };
    place.setup.source.delete_records(&place.setup.topics[0], 1, lost_to - 20);
    let since = Instant::now();
    let mut running = place.run();
    assert!(
        running.wait_for_word("source lost", Duration::from_secs(10)),
        "{}",
        last_lines(&running.said(), 20)
    );
    say::figure("source_loss.retention_noticed", since.elapsed().as_millis(), "ms");
    let neighbours = more.expected.iter().filter(|e| e.partition == 0).count();
    until_all_crossed(&place, &running, load.expected.len() + neighbours);
    std::thread::sleep(Duration::from_millis(500));
    running.stop();
    let mut due = load.expected;
    due.extend(more.expected.into_iter().filter(|e| e.partition == 0));
    let verdict = judge(
        &due,
        &place.setup.target.read(&place.data_topic(), Isolation::Committed),
        serial_in_json,
    );
    assert!(verdict.clean(), "{verdict:?}");
}

#[test]
pub fn partitions_that_are_added_are_read_from_their_start() {
    let _turn = rig::exclusive();
    let mut events = Customers::new(71, 1, true);
    let (place, load) = place_with("loss-grown", 400, &mut events);
    let mut running = place.run();
    until_all_crossed(&place, &running, load.expected.len());
    place.setup.source.add_partitions(&place.setup.topics[0], PARTITIONS + 1);
    let since = Instant::now();
    let mut more = Load::new(PARTITIONS + 1);
    for event in Customers::new(72, 1_000_000, true)
        .skip(10_000)
        .filter(|e| e.op == crate::customers::Op::Create)
        .take(300)
    {
        let partition = PARTITIONS;
        more.raw(
            partition,
            Some(&event.key(Format::Json)),
            event.value(Format::Json, true).as_deref(),
            &[],
        );
        more.expected.extend(crate::oracle::Expected::of(&event, partition));
    }
    more.send(&place.setup.source, &place.setup.topics[0]);
    until_all_crossed(&place, &running, load.expected.len() + more.expected.len());
    say::figure(
        "source_loss.added_partition_crossed",
        since.elapsed().as_millis(),
        "ms after it was added",
    );
    running.stop();
    assert!(running.said().contains("partitions_added"), "{}", last_lines(&running.said(), 20));
    let mut due = load.expected;
    due.extend(more.expected);
    let verdict = judge(
        &due,
        &place.setup.target.read(&place.data_topic(), Isolation::Committed),
        serial_in_json,
    );
    assert!(verdict.clean(), "{verdict:?}");
}

/// Nothing crosses where all is lost; that it is held is in the ledger all the same.
#[test]
pub fn what_was_lost_before_a_start_is_committed_as_held() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("loss-held", source.cluster(), target.cluster());
    setup.source.create(&setup.topics[0], 1, &[]);
    setup.tasks = 1;
    let place = Place::new(setup);
    let mut events = Customers::new(47, 1, true);
    let plants = Plants::default();
    let load = Load::new(1).customers(&mut events, 50, Format::Json, &plants);
    load.send(&place.setup.source, &place.setup.topics[0]);
    let mut running = place.run();
    until_all_crossed(&place, &running, load.expected.len());
    running.stop();
    let more = Load::new(1).customers(&mut events, 20, Format::Json, &plants);
    more.send(&place.setup.source, &place.setup.topics[0]);
    place.setup.source.delete_records(&place.setup.topics[0], 0, -1);
    // Intents, and entries that a committed position covers.
    let committed = |place: &Place| -> (u64, u64) {
        let all = place.verify().fine("verify");
        let all: serde_json::Value = serde_json::from_str(&all.out).expect("JSON");
        let logs = all.as_array().expect("logs").iter();
        let mut shards = logs.filter(|log| log["log"].as_str().is_some_and(|l| l.ends_with("-0")));
        let shard = shards.next().unwrap_or_else(|| panic!("{all}"));
        let number = |of: &str| shard[of].as_u64().unwrap_or_else(|| panic!("{of}: {all}"));
        (number("intents"), number("checkpoint"))
    };
    let (intents, covered) = committed(&place);
    let commits = place.commits();
    let before = commits.mark();
    let mut running = place.run();
    assert!(running.wait_for_word("source_lost", Duration::from_secs(60)), "{}", running.said());
    let passed = commits.wait_past(&before, Duration::from_secs(60));
    assert!(passed.is_some(), "{}", running.said());
    running.stop();
    let (made, now_covered) = committed(&place);
    // COMMITTED of the last, HELD, and the intent that nothing crosses with. A life that was cut short may leave as many
    // more, once it was assigned.
    let is_once = (made, now_covered) == (intents + 1, covered + 3);
    let said = running.said();
    let (cut, lives) = (said.contains("\"again\""), said.matches("\"event\":\"assigned\"").count());
    let was_cut = cut && (1..=lives as u64).contains(&made.saturating_sub(intents));
    assert!(is_once || was_cut, "{made}, {now_covered}: {}", last_lines(&running.said(), 20));
    // Once is enough: the next life finds it said.
    let mut running = place.run();
    assert!(running.wait_for_word("source_lost", Duration::from_secs(60)), "{}", running.said());
    running.stop();
    assert_eq!(committed(&place).0, made);
    assert_eq!(place.status()["partitions"][0]["state"], "lost");
}

/// Behind the last record of a transaction stands its marker, and retention takes both. No record is
/// lost with them, nor with what was aborted.
#[test]
fn offsets_that_hold_no_record_are_no_loss() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("loss-markers", source.cluster(), target.cluster());
    setup.source.create(&setup.topics[0], PARTITIONS, &[]);
    setup.tasks = 1;
    let place = Place::new(setup);
    let (source, topic) = (&place.setup.source, &place.setup.topics[0]);
    let mut events = Customers::new(48, 1, true);
    let mut load = |records| {
        Load::new(PARTITIONS).customers(&mut events, records, Format::Json, &Plants::default())
    };
    let empty = || {
        for partition in 0..PARTITIONS {
            source.delete_records(topic, partition, -1);
        }
    };
    let first = load(100);
    first.transact(source, topic, true);
    let mut due = first.expected;
    let mut running = place.run();
    until_all_crossed(&place, &running, due.len());
    running.stop();
    // An auditor makes it again while it is there: the offsets without a record are part of it.
    assert!(equal(replay(&place, &[])) > 0);
    empty();

    let mut running = place.run();
    let more = load(100);
    more.transact(source, topic, true);
    due.extend(more.expected);
    until_all_crossed(&place, &running, due.len());
    // Nothing crosses with what is aborted, and it is committed all the same that it was passed.
    load(20).transact(source, topic, false);
    let behind = || {
        let status = place.status();
        let partitions = status["partitions"].as_array().expect("a list").iter();
        partitions.filter(|partition| partition["lag"] != 0).count()
    };
    let since = Instant::now();
    while behind() > 0 {
        let said = running.said();
        assert!(since.elapsed() < Duration::from_secs(40), "{}", last_lines(&said, 20));
        std::thread::sleep(Duration::from_millis(500));
    }
    running.stop();
    empty();

    let mut running = place.run();
    let last = load(100);
    last.send(source, topic);
    due.extend(last.expected);
    until_all_crossed(&place, &running, due.len());
    running.stop();
    assert!(!running.said().contains("source_lost"), "{}", last_lines(&running.said(), 20));
    let crossed = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let verdict = judge(&due, &crossed, serial_in_json);
    assert!(verdict.clean(), "{verdict:?}");
    place.verify().fine("verify");
    crate::cases::coverage::holds(&place);
}

/// A record that waits for people waits longest: what was aborted before it may be gone when they have decided.
#[test]
fn a_held_record_waits_where_it_stands_and_not_before_what_was_aborted() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("loss-aborted", source.cluster(), target.cluster());
    setup.source.create(&setup.topics[0], 1, &[]);
    setup.tasks = 1;
    let place = Place::new(setup);
    let (source, topic) = (&place.setup.source, &place.setup.topics[0]);
    let mut events = Customers::new(49, 1, true);
    let mut load = |records, plants: &Plants| {
        Load::new(1).customers(&mut events, records, Format::Json, plants)
    };
    let first = load(10, &Plants::default());
    first.send(source, topic);
    let before = source.end(topic, Isolation::Uncommitted);
    load(20, &Plants::default()).transact(source, topic, false);
    let aborted = source.end(topic, Isolation::Uncommitted);
    assert!(aborted >= before + 20, "what was aborted lies there, and a marker comes");
    let plants = Plants { unknown_leaf: Some((0, 0)), ..Plants::default() };
    load(5, &plants).send(source, topic);
    let mut running = place.run();
    assert!(running.wait_for_word("after.passport", Duration::from_secs(30)), "{}", running.said());
    running.stop();
    let held = crate::cases::kill::held_at(&place, 0).expect("it is held");
    assert!(held >= aborted, "{held} is before {aborted}");
    source.delete_records(topic, 0, held);
    let mut running = place.run();
    assert!(running.wait_for_word("after.passport", Duration::from_secs(30)), "{}", running.said());
    running.stop();
    assert!(!running.said().contains("source_lost"), "{}", last_lines(&running.said(), 20));
    place.verify().fine("verify");
}
