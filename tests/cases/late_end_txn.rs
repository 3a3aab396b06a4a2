//! An EndTxn that arrives late ends another transaction than its own, half-way (KIP-890). After every one the process is
//! killed: whatever crossed without its position would come twice.
//!
//! `DOUANE_LATE` events a link (CI: 12). The control reuses the producer although its link broke.

use std::sync::Arc;
use std::time::Duration;

use crate::cases::kill::{check_the_rest, finish};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::oracle::{Verdict, judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Place, Setup};
use crate::proxy::{End, Link, Proxy};
use crate::rig::{self, Kind};
use crate::say;

struct Outcome {
    verdict: Verdict,
    withheld: usize,
    delivered: usize,
    kills: usize,
}

fn late(name: &str, link: Link, way: End, events: usize, control: Option<&str>) -> Outcome {
    late_on(Kind::asked_for(), name, link, way, events, control)
}

fn late_on(
    brokers: Kind,
    name: &str,
    link: Link,
    way: End,
    events: usize,
    control: Option<&str>,
) -> Outcome {
    let (source, _) = rig::clusters_of(brokers);
    let broker = rig::Broker::start_proxied_as(brokers, "proxied");
    let (advertised, inner) = broker.proxied();
    let proxy = Proxy::start(advertised, inner, link, way, if way == End::Commit { 6 } else { 1 });
    let mut setup = Setup::customers(name, source.cluster(), broker.cluster());
    setup.target_bootstrap = format!("127.0.0.1:{advertised}");
    setup.tasks = 1;
    let (source, topic) = (setup.source.clone(), setup.topics[0].clone());
    source.create(&topic, 2, &[]);
    let mut place = Place::new(setup);
    if let Some(control) = control {
        place.env("DOUANE_TEST_CONTROL", control);
    }
    let patience_s: usize = if link == Link::Silent { 20 } else { 12 };
    let records = 4000 + events * patience_s * 500;
    let load = Load::new(2).customers(
        &mut Customers::new(21, 1, true),
        records,
        Format::Json,
        &Plants::default(),
    );
    let load = Arc::new(load);
    let mut sending = load.send_slowly(&source, &topic, 600);
    let commits = place.commits();
    let data = place.data_topic();
    let (mut kills, mut seen) = (0, 0);
    let end = Instant::now() + Duration::from_secs((events * patience_s + 30) as u64);
    let mut mark = commits.mark();
    let mut running = place.run();
    let (mut works, mut refusing) = (false, false);
    while kills < events && Instant::now() < end {
        if running.ended().is_some() {
            (running, works) = (place.run(), false);
        }
        if !works {
            works = commits.mark() != mark;
        }
        // an abort is had by a broker that refuses a batch for its size
        let refuse = way == End::Abort && works && proxy.withheld() == seen;
        if refuse != refusing {
            refusing = refuse;
            let bytes = if refusing { "600" } else { "1048588" };
            place.setup.target.set_topic_config(&data, "max.message.bytes", bytes);
        }
        if proxy.delivered() > seen {
            seen = proxy.delivered();
            running.kill();
            kills += 1;
            mark = commits.mark();
            (running, works) = (place.run(), false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    proxy.behave();
    place.setup.target.set_topic_config(&data, "max.message.bytes", "1048588");
    let (withheld, delivered) = (proxy.withheld(), proxy.delivered());
    running.kill();
    running = place.run();
    let sent = sending.stop();
    drop(sending);
    let mut load = Arc::into_inner(load).expect("nobody else sends");
    load.cut(sent);
    finish(&place, &load, &mut running);
    running.stop();
    let committed = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let verdict = judge(&load.expected, &committed, serial_in_json);
    say::note(format!(
        "{name}, {link:?} link, {way:?}: {withheld} withheld, {delivered} delivered late, {kills} kills: {verdict:?}"
    ));
    if control.is_none() && verdict.clean() {
        // while the broker still runs
        check_the_rest(&place, &load);
    }
    Outcome { verdict, withheld, delivered, kills }
}

#[test]
fn a_late_commit_tears_no_other_transaction_on_a_silent_link() {
    let _turn = rig::exclusive();
    let events = say::count("DOUANE_LATE", 12);
    check(
        &late("late-commit-silent", Link::Silent, End::Commit, events, None),
        "commit.silent",
        events,
    );
}

#[test]
fn a_late_commit_tears_no_other_transaction_on_a_closed_link() {
    let _turn = rig::exclusive();
    let events = say::count("DOUANE_LATE", 12);
    check(
        &late("late-commit-closed", Link::Closed, End::Commit, events, None),
        "commit.closed",
        events,
    );
}

#[test]
fn a_late_abort_tears_no_other_transaction_on_a_silent_link() {
    let _turn = rig::exclusive();
    let events = say::count("DOUANE_LATE", 12);
    check(
        &late("late-abort-silent", Link::Silent, End::Abort, events, None),
        "abort.silent",
        events,
    );
}

#[test]
fn a_late_abort_tears_no_other_transaction_on_a_closed_link() {
    let _turn = rig::exclusive();
    let events = say::count("DOUANE_LATE", 12);
    check(
        &late("late-abort-closed", Link::Closed, End::Abort, events, None),
        "abort.closed",
        events,
    );
}

/// One event on the development broker, which must not be kinder than Kafka.
#[test]
fn a_late_commit_between_development_brokers_tears_nothing() {
    let _turn = rig::exclusive();
    let name = "late-development";
    let outcome = late_on(Kind::Development, name, Link::Closed, End::Commit, 1, None);
    assert!(outcome.verdict.clean() && outcome.kills > 0, "{:?}", outcome.verdict);
}

fn check(outcome: &Outcome, link: &str, events: usize) {
    say::figure(&format!("late_end_txn.{link}.delivered"), outcome.delivered, "events");
    say::figure(&format!("late_end_txn.{link}.kills_after_it"), outcome.kills, "kills");
    say::figure(&format!("late_end_txn.{link}.torn"), outcome.verdict.duplicated, "records twice");
    assert!(outcome.verdict.clean(), "{:?}", outcome.verdict);
    assert!(
        outcome.kills >= events,
        "only {} of {events} late deliveries ({} withheld)",
        outcome.kills,
        outcome.withheld
    );
}

#[test]
fn control_a_producer_used_again_after_its_link_broke_goes_red() {
    let _turn = rig::exclusive();
    for round in 0..3 {
        let name = ["late-control-a", "late-control-b", "late-control-c"][round];
        let outcome = late(name, Link::Closed, End::Commit, 4, Some("no-link-guard"));
        if !outcome.verdict.clean() {
            say::figure("control.no_link_guard.duplicated", outcome.verdict.duplicated, "records");
            return;
        }
    }
    panic!("the proxy does not tear a transaction of a producer without the link guard");
}
