//! Brokers of either side killed and frozen under load: nothing is lost or repeated, and work goes on by itself.
//!
//! `DOUANE_BROKER_FAULTS` faults of each kind (CI: 2).

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::cases::aggregates;
use crate::cases::coverage::bundled;
use crate::cases::kill::{check_the_rest, finish};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format, Random, avro_schemas};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Place, Running, Setup, customer_columns, last_lines};
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
    let mut setup = Setup::customers("brokers", source.cluster(), target.cluster());
    bundled(&mut setup);
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
    let sending = load.send_slowly(&source_cluster, &topic, 800);
    let (commits, tasks) = (place.commits(), place.setup.tasks as usize);
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
            // Neither stays behind while the other goes on.
            let each = commits.wait_past_each(&mark[..tasks], Duration::from_secs(60));
            assert!(
                each.is_some(),
                "{fault:?}: a shard committed nothing for 60 s, {:?} to {:?}\n{}",
                &mark[..tasks],
                &commits.mark()[..tasks],
                last_lines(&running.said(), 30)
            );
        }
    }
    let load = sending.enough(load);
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

/// Answers with the schema of any id, an odd one a key's and an even one a value's, while `up` says so.
fn registry(up: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let up = Arc::clone(up);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            let Some(Ok(asked)) = lines.next() else { continue };
            let path = asked.split(' ').nth(1).unwrap_or_default();
            // Of a subject the newest is asked for.
            let id = match path.rsplit('/').next().and_then(|id| id.parse::<u32>().ok()) {
                Some(id) => id,
                None => 2 - u32::from(path.contains("-key/")),
            };
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            if !up.load(Ordering::SeqCst) {
                continue;
            }
            let (key, value) = avro_schemas(true);
            let schema = if id % 2 == 1 { key } else { value };
            let answer = serde_json::json!({
                "id": id, "schema": schema, "compatibilityLevel": "NONE",
            });
            let body = answer.to_string();
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    port
}

fn journals(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("it").path());
    entries
        .map(|path| match path.is_dir() {
            true => journals(&path),
            false => usize::from(path.extension().is_some_and(|of| of == "journal")),
        })
        .sum()
}

/// What ends a life.
const ENDS: [&str; 2] = ["again", "smaller_turns"];

/// Until a life is under way and has all that it begins with, its journal too.
fn lives(running: &Running) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let said = running.said();
        let last = |event: &str| said.rfind(&format!("\"event\":\"{event}\""));
        if last("assigned") > ENDS.into_iter().filter_map(last).max() {
            return;
        }
        assert!(Instant::now() < end, "{}", last_lines(&said, 20));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many lives ended for anything else than that: where the machine stands still, some do, and the next ones have
/// journals of their own.
fn ended_otherwise(running: &Running, than: &str) -> usize {
    let said = running.said();
    let events = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ends = events.filter(|of| ENDS.iter().any(|event| of["event"] == *event));
    ends.filter(|of| !of["why"].as_str().is_some_and(|why| why.contains(than))).count()
}

/// A record needs a schema that nobody gives: it waits, and no life begins and leaves a journal for it.
#[test]
fn a_registry_that_is_away_costs_time_only() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let up = Arc::new(AtomicBool::new(true));
    let mut setup = Setup::customers("registry", source.cluster(), target.cluster());
    setup.columns = customer_columns(true);
    setup.source_format = "debezium_avro";
    setup.source_registry = Some(format!("http://127.0.0.1:{}", registry(&up)));
    setup.tasks = 1;
    setup.source.create(&setup.topics[0], 1, &[]);
    let place = Place::new(setup);
    let topic = &place.setup.topics[0];
    let mut events = Customers::new(37, 1, true);
    let mut load = |value| {
        let format = Format::Avro { key: 1, value };
        Load::new(1).customers(&mut events, 100, format, &Plants::default())
    };
    let (before, during) = (load(2), load(4));
    before.send(&place.setup.source, topic);
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let said = |running: &crate::place::Running| last_lines(&running.said(), 20);
    let mut due = before.expected;
    assert!(tail.wait_for(due.len(), Duration::from_secs(60)), "{}", said(&running));
    lives(&running);
    let away = "registry of zone";
    let (made, crossed) = (journals(&place.ledger()), due.len());
    let ended = ended_otherwise(&running, away);
    up.store(false, Ordering::SeqCst);
    during.send(&place.setup.source, topic);
    assert!(running.wait_for_word(away, Duration::from_secs(20)), "{}", said(&running));
    std::thread::sleep(Duration::from_secs(5));
    tail.poll(Duration::from_millis(200));
    assert_eq!(tail.records.len(), crossed, "the control: the schema is not known");
    let more = ended_otherwise(&running, away) - ended;
    let now = journals(&place.ledger());
    assert!((made..=made + more).contains(&now), "{made}, {now}: {}", said(&running));
    up.store(true, Ordering::SeqCst);
    due.extend(during.expected);
    assert!(tail.wait_for(due.len(), Duration::from_secs(20)), "{}", said(&running));
    running.stop();
    let verdict = judge(&due, &tail.records, serial_in_json);
    assert!(verdict.clean(), "{verdict:?}");
}

/// Nobody answers for the source: no life that would only find that out leaves a journal.
#[test]
fn a_source_that_is_away_costs_no_journal() {
    let _turn = rig::exclusive();
    if !rig::is_kafka("a source that is away", "the development broker holds all in memory") {
        return;
    }
    let (_, target) = rig::clusters();
    let source = Broker::start("away", &[]);
    let mut setup = Setup::customers("away", source.cluster(), target.cluster());
    setup.tasks = 1;
    setup.source.create(&setup.topics[0], 1, &[]);
    let place = Place::new(setup);
    let topic = &place.setup.topics[0];
    let mut events = Customers::new(38, 1, true);
    let mut load = || Load::new(1).customers(&mut events, 100, Format::Json, &Plants::default());
    let (before, after) = (load(), load());
    before.send(&place.setup.source, topic);
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let said = |running: &crate::place::Running| last_lines(&running.said(), 20);
    let mut due = before.expected;
    assert!(tail.wait_for(due.len(), Duration::from_secs(60)), "{}", said(&running));
    // Statistics count on while nothing of them is due.
    let from_ms = aggregates::first_day_ms();
    let counted = aggregates::setup("away-counted", &source.cluster(), &target.cluster(), from_ms);
    let counted = aggregates::new_place(counted);
    let mut counting = counted.run();
    assert!(counting.wait_for_word("\"device\"", Duration::from_secs(60)), "{}", said(&counting));
    let both = [(&place, &running), (&counted, &counting)];
    let away = "source cluster: ";
    let made = both.map(|(place, running)| {
        lives(running);
        (journals(&place.ledger()), ended_otherwise(running, away))
    });
    source.kill();
    // Lives do end by it, and others begin.
    for running in [&running, &counting] {
        let again = running.wait_for_word(away, Duration::from_secs(30));
        assert!(again, "{}", said(running));
    }
    std::thread::sleep(Duration::from_secs(15));
    for ((place, running), (made, ended)) in both.into_iter().zip(made) {
        let more = ended_otherwise(running, away) - ended;
        let now = journals(&place.ledger());
        assert!((made..=made + more).contains(&now), "{made}, {now}: {}", said(running));
    }
    source.start_again();
    after.send(&place.setup.source, topic);
    due.extend(after.expected);
    assert!(tail.wait_for(due.len(), Duration::from_secs(60)), "{}", said(&running));
    running.stop();
    counting.stop();
    let verdict = judge(&due, &tail.records, serial_in_json);
    assert!(verdict.clean(), "{verdict:?}");
}
