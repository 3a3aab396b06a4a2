//! What a broker must do for douane, said once and asked of the development broker and of Apache Kafka alike: Kafka is
//! the arbiter, so each case must hold there too.
//!
//! Kafka is asked where its rig was fetched (`tests/rig/fetch.sh`); otherwise that half is left out, aloud.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failing test may panic, and says what it saw"
)]

mod cases;
mod client;
mod kafka;
mod raw;

use client::Cluster;
use douane_broker::{Broker, Options};

/// Every case, each with topics and names of its own.
fn ask(cluster: &Cluster, who: &str) {
    let mut wrong = Vec::new();
    for (name, case) in cases::ALL {
        let begun = std::time::Instant::now();
        let run = std::panic::AssertUnwindSafe(|| case(cluster));
        if std::panic::catch_unwind(run).is_err() {
            wrong.push(*name);
        }
        println!("{who}: {name}: {} ms", begun.elapsed().as_millis());
    }
    assert!(wrong.is_empty(), "{who} fails {wrong:?}");
}

#[test]
fn the_development_broker_does_what_kafka_does() {
    let broker = Broker::start(Options::default()).expect("a broker");
    ask(&Cluster::at(&broker.bootstrap()), "development broker");
}

#[test]
fn kafka_does_what_the_cases_say() {
    match kafka::start() {
        Some(kafka) => ask(&Cluster::at(&kafka.bootstrap()), "Apache Kafka"),
        None => {
            println!("skipped: conformance on Apache Kafka: no rig; tests/rig/fetch.sh fetches it")
        }
    }
}
