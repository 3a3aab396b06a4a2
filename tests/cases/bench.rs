//! What a crossing costs: the standard work through the binary, through a raw copy and into nothing, in one run on one
//! machine; how long a record takes; what grows with what. `tests/bench` runs them.
//!
//! Only with `DOUANE_BENCH` set to the names of cases: a rate in a busy test run says nothing.

use std::collections::{BTreeMap, HashMap};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::cluster::{Cluster, Isolation};
use crate::customers::{Customers, Format, Op, Random, avro_schemas};
use crate::place::{Place, Setup, customer_columns, last_lines, used};
use crate::rig::{self, Registry};
use crate::say;

const PARTITIONS: i32 = 8;

/// Whether the case was asked for by name.
pub fn asked(case: &str) -> bool {
    let asked = std::env::var("DOUANE_BENCH").unwrap_or_default();
    let asked = asked.split(' ').any(|word| word == case);
    if !asked {
        say::skipped(&format!("bench: {case}"), &format!("a benchmark; run tests/bench {case}"));
    }
    asked
}

#[test]
fn the_standard_work_against_a_raw_copy() {
    let _turn = rig::exclusive();
    if !asked("work") {
        return;
    }
    let records = say::count("DOUANE_BENCH_RECORDS", 1_000_000);
    let registry = Registry::start("bench");
    for name in ["json", "envelope", "avro"] {
        let source = Source::customers(name, PARTITIONS, records, &registry);
        let consumed = raw_copy(&source, None);
        figures(&format!("{name}.consume"), &consumed);
        // Copied before and after, and compared with the cheaper: where the target keeps it waiting, librdkafka's
        // thread spins, and a copy may cost three times as much.
        let copy = |when: &str| {
            let copied = raw_copy(&source, Some(&format!("{}.{when}", source.setup.topics[0])));
            figures(&format!("{name}.copy_{when}"), &copied);
            copied.cpu
        };
        let before = copy("before");
        let (mut busiest, mut crossings) = (Vec::new(), Vec::new());
        for tasks in [1, 2] {
            let place = source.place(tasks);
            let crossed = run(&place, &source);
            figures(&format!("{name}.tasks_{tasks}"), &crossed);
            crossings.push((tasks, crossed.cpu));
            busiest.push(crossed.busiest_shard_s);
        }
        let copied = before.min(copy("after"));
        ratio(&format!("{name}.copy.cpu_to_consume"), copied / consumed.cpu);
        for (tasks, cpu) in crossings {
            ratio(&format!("{name}.tasks_{tasks}.cpu_to_copy"), cpu / copied);
        }
        // Brokers, readers and both shards share the same two cores, so a rate by the clock is theirs too. What a
        // shard's own thread computes is not: with a core for each, this is the ratio of the rates.
        ratio(&format!("{name}.two_tasks_to_one.by_thread_time"), busiest[0] / busiest[1]);
    }
}

#[test]
fn latency_at_a_steady_rate() {
    let _turn = rig::exclusive();
    if !asked("latency") {
        return;
    }
    let per_second = say::count("DOUANE_BENCH_RATE", 5_000);
    let seconds = say::count("DOUANE_BENCH_SECONDS", 30);
    let (source, target) = rig::clusters();
    let setup = Setup::customers("bench-latency", source.cluster(), target.cluster());
    let topic = setup.topics[0].clone();
    setup.source.create(&topic, PARTITIONS, &[]);
    // The release needs no record: the pipeline file names the key.
    let place = Place::new(setup);
    let mut running = place.run();
    assert!(running.wait_for_word("\"assigned\"", Duration::from_secs(30)), "{}", running.said());

    let consumer = place.setup.target.consumer(Isolation::Committed);
    let mut list = TopicPartitionList::new();
    let out = place.data_topic();
    for partition in 0..place.setup.target_partitions {
        list.add_partition_offset(&out, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("an assignment");
    let sending = {
        let (cluster, topic) = (place.setup.source.clone(), topic.clone());
        std::thread::spawn(move || send_steadily(&cluster, &topic, per_second, seconds))
    };
    // When each row version was first seen by a reader of committed records.
    let mut seen: HashMap<u64, i64> = HashMap::new();
    let mut quiet = Instant::now();
    while !sending.is_finished() || quiet.elapsed() < Duration::from_secs(3) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let Ok(message) = message else { continue };
        quiet = Instant::now();
        if let Some(serial) = message.payload().and_then(serial) {
            seen.entry(serial).or_insert_with(now_ms);
        }
    }
    sending.join().expect("the producer");
    let warm_up = (3 * per_second) as u64;
    let latencies: Vec<u128> = place
        .setup
        .source
        .read(&topic, Isolation::Uncommitted)
        .iter()
        .filter_map(|record| {
            let serial = record.value.as_deref().and_then(serial)?;
            let at = seen.get(&serial).filter(|_| serial >= warm_up)?;
            u128::try_from(at - record.timestamp_ms).ok()
        })
        .collect();
    running.stop();
    assert!(latencies.len() > per_second * seconds / 2, "only {} were seen", latencies.len());
    say::figure("bench.latency.records", latencies.len(), "records");
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        say::figure(&format!("bench.latency.{name}"), say::quantile(&latencies, share), "ms");
    }
}

/// What crossed, made again in batches of any size and on one and two threads: equal, and how much faster than it crossed.
#[test]
#[allow(clippy::cast_precision_loss, reason = "figures to be read")]
fn what_crossed_is_made_again() {
    let _turn = rig::exclusive();
    if !asked("replay") {
        return;
    }
    let records = say::count("DOUANE_BENCH_RECORDS", 1_000_000);
    let registry = Registry::start("bench-replay");
    let source = Source::customers("json", PARTITIONS, records, &registry);
    let place = source.place(1);
    let crossed = run(&place, &source);
    figures("replay.live.tasks_1", &crossed);
    let file = place.pipeline_file();
    for (batch, threads) in [("65536", "1"), ("65536", "2"), ("4096", "1"), ("7", "2"), ("1", "2")]
    {
        let args = ["replay", &file, "--by", "cleo", "--reason", "bench", "--format", "json"];
        let how = ["--batch", batch, "--threads", threads, "--rate", "1000000000"];
        let said = place.verb(&[&args[..], &how].concat()).fine("replay");
        let told: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
        assert_eq!(told["equal"], told["transactions"], "batch {batch}, {threads} threads");
        let seconds = told["ms"].as_f64().expect("ms") / 1_000.0;
        let rate = told["records"].as_f64().expect("records") / seconds;
        let name = format!("replay.batch_{batch}.threads_{threads}");
        say::figure(&format!("bench.{name}.records_per_s"), format!("{rate:.0}"), "records/s");
        // Records that crossed beside source records that were read: a little to the replay's disadvantage.
        ratio(&format!("{name}.to_live"), rate / crossed.records_per_s);
    }
}

/// What whoever is outside does with a topic: all of it verified, and handed over once it is.
#[test]
#[allow(clippy::cast_precision_loss, reason = "figures to be read")]
fn what_crossed_is_verified_and_handed_over() {
    let _turn = rig::exclusive();
    if !asked("evidence") {
        return;
    }
    let records = say::count("DOUANE_BENCH_RECORDS", 1_000_000);
    let registry = Registry::start("bench-evidence");
    let source = Source::customers("json", PARTITIONS, records, &registry);
    let place = source.place(1);
    run(&place, &source);
    let (topic, release) = (place.data_topic(), format!("{}.release.json", place.setup.name));
    for (name, args) in [
        ("verify", &["verify", "--topic", &topic][..]),
        ("feed_arrow", &["feed", &topic, "--out", "arrow", "--as", "arrow", "--release", &release]),
        ("feed_parquet", &["feed", &topic, "--out", "parquet", "--release", &release]),
    ] {
        let (before, began) = (children_cpu_s(), Instant::now());
        let said = place.verb(&[args, &["--format", "json"]].concat()).fine(name);
        let (cpu, seconds) = (children_cpu_s() - before, began.elapsed().as_secs_f64());
        let told: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
        let seen = told.get("records").or(told.get("rows")).and_then(serde_json::Value::as_u64);
        let seen = seen.expect("a count");
        assert!(seen > records as u64 / 2, "{name}: {told}");
        say::figure(&format!("bench.{name}.records"), seen, "records");
        let per_core = format!("{:.0}", seen as f64 / cpu);
        say::figure(
            &format!("bench.{name}.per_core"),
            per_core,
            "records per second of a processor",
        );
        let by_clock = format!("{:.0}", seen as f64 / seconds);
        say::figure(&format!("bench.{name}.records_per_s"), by_clock, "records/s");
    }
}

/// Processor time of all children that have ended.
#[allow(clippy::cast_precision_loss, reason = "figures to be read")]
fn children_cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this process");
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(13).take(2);
    fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() as f64 / 100.0
}

#[test]
fn the_price_grows_with_the_bytes() {
    let _turn = rig::exclusive();
    if !asked("growth") {
        return;
    }
    let registry = Registry::start("growth");
    let most = say::count("DOUANE_BENCH_MOST", 3_000_000);
    for records in [100_000, 1_000_000, most] {
        let source = Source::customers("json", PARTITIONS, records, &registry);
        figures(&format!("growth.records_{records}"), &run(&source.place(1), &source));
    }
    for partitions in [1, 8, 64] {
        let source = Source::customers("json", partitions, 300_000, &registry);
        figures(&format!("growth.partitions_{partitions}"), &run(&source.place(1), &source));
    }
    for columns in [5, 20, 50, 200] {
        let source = Source::wide(columns, 4_000_000 / columns);
        let name = format!("growth.columns_{columns}");
        let crossed = run(&source.place(1), &source);
        figures(&name, &crossed);
        let gigabytes = source.bytes as f64 / 1e9;
        say::figure(&format!("bench.{name}.cpu_s_per_gb"), round(crossed.cpu / gigabytes), "CPU s");
    }
}

/// A filled source topic and how a place reads it.
pub struct Source {
    pub setup: Setup,
    records: usize,
    /// Keys and values.
    bytes: usize,
    /// Records that cross: a delete and its tombstone are one.
    due: u64,
}

/// A number for each place and topic of this process.
fn fresh(name: &str) -> String {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);
    format!("bench-{name}-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
}

impl Source {
    pub fn empty(name: &str, partitions: i32) -> Self {
        let (source, target) = rig::clusters();
        let mut setup = Setup::customers(&fresh(name), source.cluster(), target.cluster());
        setup.target_partitions = PARTITIONS;
        // As the raw copy has it.
        setup.target_properties = "compression.type: lz4".to_owned();
        setup.source.create(&setup.topics[0], partitions, &[]);
        Self { setup, records: 0, bytes: 0, due: 0 }
    }

    pub fn customers(name: &str, partitions: i32, records: usize, registry: &Registry) -> Self {
        let mut source = Self::empty(name, partitions);
        source.setup.columns = customer_columns(false);
        let mut format = Format::Json;
        if name == "envelope" {
            source.setup.shape = "shape: envelope, source: { db: crm, table: customers }";
        }
        if name == "avro" {
            let topic = &source.setup.topics[0];
            let (key, value) = avro_schemas(false);
            format = Format::Avro {
                key: registry.register(&format!("{topic}-key"), &key),
                value: registry.register(&format!("{topic}-value"), &value),
            };
            let setup = &mut source.setup;
            (setup.source_format, setup.sink_format) = ("debezium_avro", "avro");
            setup.source_registry = Some(registry.url());
            setup.target_registry = Some(registry.url());
        }
        let events = Customers::new(1, 1, false).take(records).map(|event| {
            let crosses = event.op != Op::Tombstone;
            (event.id, event.key(format), event.value(format, false), crosses)
        });
        source.fill(partitions, events);
        source
    }

    /// A table of so many columns of twelve characters, all public but the key.
    fn wide(columns: usize, records: usize) -> Self {
        let mut source = Self::empty("wide", PARTITIONS);
        let names: Vec<String> = (1..columns).map(|n| format!("column_{n:03}")).collect();
        let classes: String = names.iter().map(|name| format!("  {name}: public\n")).collect();
        source.setup.columns = format!(
            "classes:\n  id: {{ class: identifier, subject: true, residency: eu }}\n{classes}\
             types: {{ id: int64 }}\nstages:\n  - tokenize: {{ columns: [id], domain: customer }}\n"
        );
        source.setup.overrides = String::new();
        let mut random = Random::new(5);
        let events = (0..records as u64).map(|id| {
            let key = format!("{{\"id\":{id}}}").into_bytes();
            let mut row = format!("{{\"id\":{id}");
            for name in &names {
                let word: String = (0..12)
                    .map(|_| char::from(b'a' + u8::try_from(random.below(26)).expect("a letter")))
                    .collect();
                row.push_str(&format!(",\"{name}\":\"{word}\""));
            }
            let value = format!(
                "{{\"before\":null,\"after\":{row}}},\"source\":{{\"version\":\"3.7.0.Final\",\
                 \"connector\":\"postgresql\",\"name\":\"crm\",\"ts_ms\":1,\"db\":\"crm\",\"schema\":\"public\",\
                 \"table\":\"wide\"}},\"op\":\"c\",\"ts_ms\":1,\"transaction\":null}}"
            );
            (id, key, Some(value.into_bytes()), true)
        });
        source.fill(PARTITIONS, events);
        source
    }

    pub fn fill(
        &mut self,
        partitions: i32,
        events: impl Iterator<Item = (u64, Vec<u8>, Option<Vec<u8>>, bool)>,
    ) {
        let feed = self.setup.source.producer();
        for (id, key, value, crosses) in events {
            let partition =
                i32::try_from(id % u64::from(partitions.cast_unsigned())).expect("a partition");
            feed.send(&self.setup.topics[0], partition, Some(&key), value.as_deref(), &[]);
            self.records += 1;
            self.bytes += key.len() + value.map_or(0, |value| value.len());
            self.due += u64::from(crosses);
        }
        feed.flush();
    }

    /// A pipeline of its own that reads the topic.
    pub fn place(&self, tasks: u32) -> Place {
        let name = fresh("place");
        Place::new(Setup { name, tasks, ..self.setup.clone() })
    }
}

pub struct Measured {
    records_per_s: f64,
    /// CPU seconds, user and system, a million source records.
    pub cpu_per_million: f64,
    cpu: f64,
    peak_mib: u64,
    /// CPU seconds of the shard's thread that had most to do.
    busiest_shard_s: f64,
}

pub fn round(figure: f64) -> String {
    format!("{figure:.2}")
}

fn ratio(name: &str, value: f64) {
    say::figure(&format!("bench.{name}"), round(value), "times");
}

pub fn figures(name: &str, measured: &Measured) {
    for (figure, value, unit) in [
        ("records_per_s", format!("{:.0}", measured.records_per_s), "source records/s"),
        ("cpu_s_per_million", round(measured.cpu_per_million), "CPU s"),
        ("peak_mib", measured.peak_mib.to_string(), "MiB"),
    ] {
        say::figure(&format!("bench.{name}.{figure}"), value, unit);
    }
}

/// The raw copy's own process, to a topic of that name, or into nothing.
#[allow(clippy::cast_precision_loss, reason = "figures to be read")]
pub fn raw_copy(source: &Source, to: Option<&str>) -> Measured {
    let binary =
        std::env::var("DOUANE_RAW_COPY").expect("DOUANE_RAW_COPY names the raw copy's binary");
    let mut command = Command::new(binary);
    command.args([&source.setup.source.bootstrap, &source.setup.topics[0]]);
    if let Some(to) = to {
        source.setup.target.create(to, PARTITIONS, &[]);
        command.args([&source.setup.target.bootstrap, to]);
    }
    let out = command.stderr(Stdio::inherit()).output().expect("the raw copy");
    assert!(out.status.success(), "the raw copy failed");
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).expect("its JSON");
    assert_eq!(said["records"].as_u64(), Some(source.records as u64), "{said}");
    let number = |name: &str| said[name].as_f64().expect("a number");
    let cpu_per_million = number("cpu_s_per_million");
    Measured {
        records_per_s: number("records_per_s"),
        cpu_per_million,
        cpu: cpu_per_million * source.records as f64 / 1e6,
        peak_mib: said["peak_mib"].as_u64().expect("a number"),
        busiest_shard_s: 0.0,
    }
}

/// `douane run` from its first commit until all that is due has crossed.
#[allow(clippy::cast_precision_loss, reason = "figures to be read")]
pub fn run(place: &Place, source: &Source) -> Measured {
    let committed = || {
        let end = place.setup.target.end(&place.data_topic(), Isolation::Committed);
        u64::try_from(end).unwrap_or(0)
    };
    let commits = place.commits();
    let mark = commits.mark();
    let mut running = place.run();
    assert!(
        commits.wait_past(&mark, Duration::from_secs(30)).is_some(),
        "{}",
        last_lines(&running.said(), 20)
    );
    let (cpu_before, threads_before) = (used(running.pid()).0, threads(running.pid()));
    let (first, at_first) = (Instant::now(), committed());
    // The end by the target's offsets, which count markers too: a little early. The CPU once the run itself has
    // counted everything: a little late, by at most a second of a run that waits.
    let mut last = None;
    let patience = Instant::now() + Duration::from_secs(600);
    while progress(&running.said()) < source.due {
        if last.is_none() && committed() >= source.due {
            last = Some(Instant::now());
        }
        assert!(Instant::now() < patience, "{}", last_lines(&running.said(), 20));
        std::thread::sleep(Duration::from_millis(100));
    }
    let took = last.unwrap_or_else(Instant::now) - first;
    let (cpu, peak_mib) = used(running.pid());
    let busiest_shard_s = threads(running.pid())
        .iter()
        .map(|(thread, cpu)| cpu - threads_before.get(thread).unwrap_or(&0.0))
        .fold(0.0, f64::max);
    running.stop();
    let share = (source.due - at_first.min(source.due)) as f64 / source.due as f64;
    let records = source.records as f64 * share;
    let cpu_per_million = (cpu - cpu_before) / records * 1e6;
    Measured {
        records_per_s: records / took.as_secs_f64(),
        cpu_per_million,
        cpu: cpu_per_million * source.records as f64 / 1e6,
        peak_mib,
        busiest_shard_s: busiest_shard_s / share,
    }
}

/// CPU seconds by thread, without librdkafka's own.
fn threads(pid: u32) -> BTreeMap<String, f64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    tasks
        .filter_map(|task| {
            let task = task.ok()?;
            let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
            let ticks: u32 =
                rest.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u32>().ok()).sum();
            let id = task.file_name().to_string_lossy().into_owned();
            (!name.starts_with("rdk:")).then_some((id, f64::from(ticks) / 100.0))
        })
        .collect()
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

fn send_steadily(cluster: &Cluster, topic: &str, per_second: usize, seconds: usize) {
    let feed = cluster.producer();
    let started = Instant::now();
    for (number, event) in Customers::new(1, 1, true).take(per_second * seconds).enumerate() {
        let due = Duration::from_micros((number * 1_000_000 / per_second) as u64);
        if let Some(early) = due.checked_sub(started.elapsed())
            && early > Duration::from_millis(1)
        {
            std::thread::sleep(early);
        }
        let partition = i32::try_from(event.id % 8).expect("a partition");
        let value = event.value(Format::Json, true);
        feed.send(topic, partition, Some(&event.key(Format::Json)), value.as_deref(), &[]);
    }
    feed.flush();
}

/// The number of the row version in a value of either side: the last one in it is the state after.
fn serial(value: &[u8]) -> Option<u64> {
    const NAME: &str = "\"serial\":";
    let text = std::str::from_utf8(value).ok()?;
    let digits = &text[text.rfind(NAME)? + NAME.len()..];
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("milliseconds")
}
