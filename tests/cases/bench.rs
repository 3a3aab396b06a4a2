//! The standard work through the binary and through a raw copy, in one run on one machine: `tests/bench`.
//!
//! Only with `DOUANE_BENCH` set: a rate in a busy test run says nothing.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::Isolation;
use crate::customers::{Customers, Format, avro_schemas};
use crate::feed::{Load, Plants};
use crate::place::{Place, Setup, last_lines, used};
use crate::rig::{self, Registry};
use crate::say;

const PARTITIONS: i32 = 8;

#[test]
fn the_standard_work_against_a_raw_copy() {
    let _turn = rig::exclusive();
    if std::env::var_os("DOUANE_BENCH").is_none() {
        say::skipped("the standard work against a raw copy", "a benchmark; run tests/bench");
        return;
    }
    let records = say::count("DOUANE_BENCH_RECORDS", 200_000);
    let registry = Registry::start("bench");
    for (name, source_format, sink_format) in
        [("json", "debezium_json", "json"), ("avro", "debezium_avro", "avro")]
    {
        bench(name, source_format, sink_format, records, &registry);
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures to be read")]
fn bench(
    name: &str,
    source_format: &'static str,
    sink_format: &'static str,
    records: usize,
    registry: &Registry,
) {
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers(&format!("bench-{name}"), source.cluster(), target.cluster());
    setup.source_format = source_format;
    setup.sink_format = sink_format;
    setup.columns = crate::place::customer_columns(false);
    setup.target_partitions = PARTITIONS;
    setup.tasks = u32::try_from(say::count("DOUANE_BENCH_TASKS", 2)).expect("a count");
    let topic = setup.topics[0].clone();
    let mut format = Format::Json;
    if source_format == "debezium_avro" {
        let (key, value) = avro_schemas(false);
        setup.source_registry = Some(registry.url());
        setup.target_registry = Some(registry.url());
        format = Format::Avro {
            key: registry.register(&format!("{topic}-key"), &key),
            value: registry.register(&format!("{topic}-value"), &value),
        };
    }
    setup.source.create(&topic, PARTITIONS, &[]);
    let load = Load::new(PARTITIONS).customers(
        &mut Customers::new(1, 1, false),
        records,
        format,
        &Plants::default(),
    );
    load.send(&setup.source, &topic);
    let due = load.expected.len();
    drop(load);
    let place = Place::new(setup);

    // the raw copy first: it also warms the page cache for the other
    let raw_topic = format!("{topic}.raw");
    place.setup.target.create(&raw_topic, PARTITIONS, &[]);
    let raw =
        std::env::var("DOUANE_RAW_COPY").expect("DOUANE_RAW_COPY names the raw copy's binary");
    let out = Command::new(raw)
        .args([&place.setup.source.bootstrap, &topic, &place.setup.target.bootstrap, &raw_topic])
        .stderr(Stdio::inherit())
        .output()
        .expect("the raw copy");
    assert!(out.status.success(), "the raw copy failed");
    let copied: serde_json::Value =
        serde_json::from_slice(&out.stdout).expect("the raw copy's JSON");
    assert_eq!(copied["records"].as_u64(), Some(records as u64), "{copied}");
    for (figure, unit) in
        [("records_per_s", "records/s"), ("cpu_s_per_million", "CPU s"), ("peak_mib", "MiB")]
    {
        say::figure(&format!("bench.{name}.raw_copy.{figure}"), &copied[figure], unit);
    }

    let commits = place.commits();
    let mark = commits.mark();
    let started = Instant::now();
    let mut running = place.run();
    assert!(
        commits.wait_past(&mark, Duration::from_secs(30)).is_some(),
        "{}",
        last_lines(&running.said(), 20)
    );
    let (first_cpu, _) = used(running.pid());
    let first = Instant::now();
    // by its own progress lines: a second reader would cost the cores that are measured
    let mut last = Instant::now();
    let mut crossed = progress(&running.said());
    let at_first = crossed;
    let mut cpu = first_cpu;
    while crossed < due as u64 && last.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(100));
        let mark_now = commits.mark();
        let _ = mark_now;
        let now = progress(&running.said());
        if now > crossed {
            (crossed, last, cpu) = (now, Instant::now(), used(running.pid()).0);
        }
        let end = place.setup.target.end(&place.data_topic(), Isolation::Committed);
        if u64::try_from(end).unwrap_or(0) >= due as u64 {
            (crossed, last, cpu) = (due as u64, Instant::now(), used(running.pid()).0);
        }
    }
    let (_, peak) = used(running.pid());
    running.stop();
    let work = (crossed - at_first) as f64;
    let source_share = records as f64 / due as f64;
    say::figure(
        &format!("bench.{name}.douane.start"),
        first.duration_since(started).as_millis(),
        "ms to the first commit",
    );
    say::figure(
        &format!("bench.{name}.douane.records_per_s"),
        (work * source_share / (last - first).as_secs_f64()).round(),
        "source records/s",
    );
    say::figure(
        &format!("bench.{name}.douane.cpu_s_per_million"),
        format!("{:.1}", (cpu - first_cpu) / (work * source_share) * 1e6),
        "CPU s",
    );
    say::figure(&format!("bench.{name}.douane.peak_mib"), peak, "MiB");
}

/// Records that the run says have crossed.
fn progress(said: &str) -> u64 {
    said.lines()
        .rev()
        .find(|line| line.contains("\"event\":\"progress\""))
        .and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .and_then(|line| line["records"].as_u64())
        .unwrap_or(0)
}
