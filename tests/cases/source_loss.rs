//! What must never be passed over in silence: records that retention took, topics that are not the ones they were, a
//! target or a ledger that was put back. Each stops within ten seconds with a reason of its own type.

use std::time::{Duration, Instant};

use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::place::{Place, Running, Setup, last_lines};
use crate::rig;
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
            target.delete(&place.position_topic());
            place.doctor();
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
    let mut slowest = 0;
    let mut wrong = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let name = format!("loss-{number}");
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
    say::figure("source_loss.slowest_stop", slowest, "ms");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn records_that_retention_took_hold_their_partition_only() {
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
fn partitions_that_are_added_are_read_from_their_start() {
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
