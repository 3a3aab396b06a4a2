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
mod codes;
mod kafka;
mod raw;

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use client::Cluster;
use douane_broker::{Broker, Options};

/// Cases wait more than they work.
const AT_ONCE: usize = 4;

/// Every case, each with topics and names of its own.
fn ask(cluster: &Cluster, who: &str) {
    let all: Vec<_> = cases::ALL.iter().chain(codes::ALL).collect();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        while let Some((name, case)) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
            let begun = std::time::Instant::now();
            let run = std::panic::AssertUnwindSafe(|| case(cluster));
            if std::panic::catch_unwind(run).is_err() {
                wrong.lock().expect("not poisoned").push(*name);
            }
            println!("{who}: {name}: {} ms", begun.elapsed().as_millis());
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().expect("not poisoned");
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
            // Past the runner's capture: tests/run counts it.
            let line =
                "skipped: conformance on Apache Kafka: no rig; tests/rig/fetch.sh fetches it\n";
            std::io::stderr().write_all(line.as_bytes()).expect("standard error");
        }
    }
}
