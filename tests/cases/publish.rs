//! `publish: every 4s`: records become visible on the ticks of a public clock, and at no other time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cases::kill::finish;
use crate::cluster::{Isolation, Record};
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::pace;
use crate::place::{Place, Setup, last_lines};
use crate::rig;
use crate::say;

const PARTITIONS: i32 = 2;
const PERIOD_MS: i64 = 4_000;
/// What crosses at a tick is there by then: the machine of a test is slow.
const WINDOW_MS: i64 = 2_500;

/// A place whose target says when each position was appended: one in each transaction, and by no time
/// that is signed.
fn place(name: &str, publish: &str) -> Place {
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers(name, source.cluster(), target.cluster());
    setup.target_partitions = 2;
    setup.overrides.push_str(publish);
    setup.source.create(&setup.topics[0], PARTITIONS, &[]);
    let positions = format!("{}.position", setup.target_topic());
    let settings = [("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")];
    setup.target.create(&positions, 33, &settings);
    Place::new(setup)
}

/// The positions of what became visible, without the layout's.
fn positions(place: &Place) -> Vec<Record> {
    let mut all = place.setup.target.read(&place.position_topic(), Isolation::Committed);
    all.retain(|record| record.partition > 0);
    all
}

/// How long after its tick a position was appended, of the time in which the machine ran.
fn after_tick(position: &Record) -> i64 {
    let (at_ms, after_ms) = (position.timestamp_ms, position.timestamp_ms.rem_euclid(PERIOD_MS));
    after_ms - pace::stood_ms(at_ms - after_ms, at_ms)
}

/// Positions that were appended outside the windows after the ticks.
fn outside(positions: &[Record]) -> usize {
    positions.iter().filter(|r| after_tick(r) >= WINDOW_MS).count()
}

fn slowly(
    place: &Place,
    events: &mut Customers,
    records: usize,
) -> (Arc<Load>, crate::feed::Sending) {
    let load = Load::new(PARTITIONS);
    let load = Arc::new(load.customers(events, records, Format::Json, &Plants::default()));
    let sending = load.send_slowly(&place.setup.source, &place.setup.topics[0], 200);
    (load, sending)
}

#[test]
fn records_become_visible_on_the_ticks_only() {
    let _turn = rig::exclusive();
    let place = place("publish", "publish: every 4s\n");
    let explained = place.verb(&["explain", &place.pipeline_file()]).fine("explain");
    assert!(explained.out.contains("publish      every 4000 ms"), "{}", explained.out);
    let mut running = place.run();
    let mut events = Customers::new(51, 1, true);
    let (load, mut sending) = slowly(&place, &mut events, 4_000);
    std::thread::sleep(Duration::from_secs(6));
    running.kill();
    running = place.run();
    sending.wait();
    finish(&place, &load, &mut running);
    let crossed = positions(&place);
    let ticks: BTreeSet<i64> = crossed.iter().map(|r| r.timestamp_ms / PERIOD_MS).collect();
    let latest = crossed.iter().map(after_tick).max();
    say::figure("publish.latest_after_a_tick", latest.unwrap_or_default(), "ms");
    assert_eq!(outside(&crossed), 0, "of {} at {} ticks", crossed.len(), ticks.len());
    assert!(ticks.len() >= 3, "{ticks:?}");

    // More than a turn takes: it waits, and crosses in several transactions.
    let burst = Load::new(PARTITIONS);
    let burst = burst.customers(&mut events, 12_000, Format::Json, &Plants::default());
    burst.send(&place.setup.source, &place.setup.topics[0]);
    let due = load.expected.len() + burst.expected.len();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    assert!(
        tail.wait_for(due, Duration::from_secs(60)),
        "{} of {due}\n{}",
        tail.records.len(),
        last_lines(&running.said(), 20)
    );
    running.stop();
    let crossed = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let mut expected = Arc::into_inner(load).expect("everything is sent").expected;
    expected.extend(burst.expected);
    let verdict = judge(&expected, &crossed, serial_in_json);
    assert!(verdict.clean() && verdict.second_nulls == 0, "{verdict:?}");
    place.verify().fine("verify");
}

#[test]
fn control_without_a_schedule_they_come_between_the_ticks() {
    let _turn = rig::exclusive();
    let place = place("publish-control", "");
    let mut running = place.run();
    let (load, mut sending) = slowly(&place, &mut Customers::new(53, 1, true), 1_800);
    sending.wait();
    finish(&place, &load, &mut running);
    running.stop();
    let crossed = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let verdict = judge(&load.expected, &crossed, serial_in_json);
    assert!(verdict.clean(), "{verdict:?}");
    let crossed = positions(&place);
    assert!(outside(&crossed) > crossed.len() / 10, "{} of {}", outside(&crossed), crossed.len());
}
