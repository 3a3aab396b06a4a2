//! Brokers of either side killed and frozen under load: nothing is lost or repeated, and work goes on by itself.
//!
//! `DOUANE_BROKER_FAULTS` faults of each kind (CI: 2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cases::kill::{check_the_rest, finish};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format, Random};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::place::{Place, Setup, last_lines};
use crate::rig::{self, Broker};
use crate::say;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    KillTarget,
    FreezeTarget,
    KillSource,
    FreezeSource,
}

const FAULTS: [Fault; 4] =
    [Fault::KillTarget, Fault::FreezeTarget, Fault::KillSource, Fault::FreezeSource];

#[test]
fn killed_and_frozen_brokers_cost_time_only() {
    let _turn = rig::exclusive();
    if !rig::is_kafka("broker faults", "the development broker holds all in memory") {
        return;
    }
    let each = say::count("DOUANE_BROKER_FAULTS", 2);
    let (source, target) = rig::clusters();
    let setup = Setup::customers("brokers", source.cluster(), target.cluster());
    let (source_cluster, topic) = (setup.source.clone(), setup.topics[0].clone());
    source_cluster.create(&topic, 4, &[]);
    let place = Place::new(setup);
    // A minute of changes for each fault, so that none is waited out on a topic with nothing more to come: on a busy
    // machine a broker takes twenty seconds to start.
    let records = each * FAULTS.len() * 60 * 800;
    let load = Load::new(4).customers(
        &mut Customers::new(31, 1, true),
        records,
        Format::Json,
        &Plants::default(),
    );
    let load = Arc::new(load);
    let mut sending = load.send_slowly(&source_cluster, &topic, 800);
    let commits = place.commits();
    let mut running = place.run();
    let mut random = Random::new(31);
    let mut back: Vec<(Fault, u128)> = Vec::new();
    for round in 0..each {
        for fault in FAULTS {
            let mark = commits.mark();
            assert!(
                commits.wait_past(&mark, Duration::from_secs(60)).is_some(),
                "{}",
                last_lines(&running.said(), 20)
            );
            std::thread::sleep(Duration::from_millis(random.between(100, 900)));
            let hurt: &Broker = if matches!(fault, Fault::KillTarget | Fault::FreezeTarget) {
                target
            } else {
                source
            };
            let frozen_ms = random.between(2000, 9000);
            if matches!(fault, Fault::KillTarget | Fault::KillSource) {
                hurt.kill();
                hurt.start_again();
            } else {
                hurt.freeze();
                std::thread::sleep(Duration::from_millis(frozen_ms));
                hurt.thaw();
            }
            let over = Instant::now();
            let mark = commits.mark();
            let first = commits.wait_past(&mark, Duration::from_secs(60));
            assert!(
                first.is_some(),
                "no commit within 60 s after {fault:?}\n{}",
                last_lines(&running.said(), 30)
            );
            say::note(format!(
                "round {round}, {fault:?}: first commit {} ms after it was over",
                over.elapsed().as_millis()
            ));
            back.push((fault, over.elapsed().as_millis()));
        }
    }
    let sent = sending.stop();
    let mut load = Arc::into_inner(load).expect("nobody sends any more");
    load.cut(sent);
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    if !tail.wait_for(load.expected.len(), Duration::from_secs(120)) {
        // What docs/kafka.md tells an operator to do. Anything else that is missing stays missing.
        let partitions = target.end_hanging();
        say::figure("broker_faults.hanging", partitions, "partitions whose markers Kafka lost");
        assert!(partitions > 0, "{}", last_lines(&running.said(), 20));
    }
    drop(tail);
    finish(&place, &load, &mut running);
    running.stop();
    for fault in FAULTS {
        let times: Vec<u128> =
            back.iter().filter(|(f, _)| *f == fault).map(|(_, ms)| *ms).collect();
        say::figure(
            &format!("broker_faults.{fault:?}.to_first_commit_max"),
            say::quantile(&times, 1.0),
            "ms",
        );
    }
    let verdict = judge(
        &load.expected,
        &place.setup.target.read(&place.data_topic(), Isolation::Committed),
        serial_in_json,
    );
    say::note(format!("{verdict:?}"));
    assert!(verdict.clean(), "{verdict:?}");
    check_the_rest(&place, &load);
}
