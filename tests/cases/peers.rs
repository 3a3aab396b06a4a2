//! The same stages by others, in the same run: `tests/bench peers`. Their configurations and what they do not do:
//! `tests/peers`. Then the traps: what each lets through that nobody listed. And Kafka Connect, which can do one half or
//! the other: `tests/bench connect`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cases::bench::{Source, asked, figures, raw_copy, round, run};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format, Op};
use crate::place::used;
use crate::rig::{self, Connect, Registry};
use crate::say;

#[derive(Clone, Copy)]
enum Peer {
    Bento,
    Flink,
}

impl Peer {
    const ALL: [Self; 2] = [Self::Bento, Self::Flink];

    fn name(self) -> &'static str {
        match self {
            Self::Bento => "bento",
            Self::Flink => "flink",
        }
    }

    /// Reads the source's topic from its start and writes to another; ends with the value.
    fn start(self, source: &Source, to: &str) -> Running {
        let built =
            PathBuf::from(std::env::var("DOUANE_PEERS").expect("DOUANE_PEERS: where built"));
        let ours = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
        let dir = rig::directory(&format!("peer-{to}"));
        let mut command = match self {
            Self::Bento => {
                let mut command = Command::new(built.join("bento/bento"));
                command.arg("-c").arg(ours.join("bento.yaml"));
                command.env("BLOBL", ours.join("customs-tuned.blobl"));
                command
            }
            Self::Flink => {
                let flink = built.join("flink");
                let mut command = Command::new("java");
                command.arg("-Xmx1500m");
                for package in ["util", "lang", "time", "nio"] {
                    command.arg(format!("--add-opens=java.base/java.{package}=ALL-UNNAMED"));
                }
                let classes = format!("{0}/classes:{0}/lib/*", flink.display());
                command.args(["-cp", &classes, "Customs"]).env("IGNORE_ERRORS", "true");
                command.env("STATE", dir.join("checkpoints"));
                command
            }
        };
        let log = std::fs::File::create(dir.join("log")).expect("a log");
        let child = command
            .env("SRC", &source.setup.source.bootstrap)
            .env("DST", &source.setup.target.bootstrap)
            .env("SRC_TOPIC", &source.setup.topics[0])
            .env("DST_TOPIC", to)
            .env("GROUP", to)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("a peer: build it with tests/peers/build.sh");
        Running(child)
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Until the target stands still for a while: (CPU seconds, records) between the first records and the last.
#[allow(clippy::cast_precision_loss, reason = "figures to be read")]
fn until_quiet(running: &Running, source: &Source, to: &str) -> (f64, f64) {
    const QUIET: Duration = Duration::from_secs(12);
    const START: Duration = Duration::from_secs(90);
    let mut first: Option<(f64, i64)> = None;
    let mut last = (0.0, 0, Instant::now());
    loop {
        let end = source.setup.target.end(to, Isolation::Uncommitted);
        let cpu = used(running.0.id()).0;
        if end > 0 && first.is_none() {
            first = Some((cpu, end));
        }
        if end != last.1 {
            last = (cpu, end, Instant::now());
        }
        if last.2.elapsed() > if first.is_some() { QUIET } else { START } {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let (cpu, records) = first.expect("a peer that wrote nothing within 90 s");
    (last.0 - cpu, (last.1 - records) as f64)
}

#[test]
fn the_same_stages_by_others() {
    let _turn = rig::exclusive();
    if !asked("peers") {
        return;
    }
    let registry = Registry::start("peers");
    let records = say::count("DOUANE_BENCH_PEER_RECORDS", 200_000);
    let source = Source::customers("json", 8, records, &registry);
    figures("peers.copy", &raw_copy(&source, Some("peers.copy")));
    figures("peers.douane", &run(&source.place(2), &source));
    for peer in Peer::ALL {
        let to = format!("peers.{}", peer.name());
        source.setup.target.create(&to, 8, &[]);
        let running = peer.start(&source, &to);
        let (cpu, crossed) = until_quiet(&running, &source, &to);
        let name = format!("bench.peers.{}", peer.name());
        say::figure(&format!("{name}.records"), crossed, "records after the first ones");
        say::figure(&format!("{name}.cpu_s_per_million"), round(cpu / crossed * 1e6), "CPU s");
    }
}

/// Decoding and masking without a crossing, and a crossing without masking, beside the whole of it.
#[test]
fn kafka_connect_by_halves() {
    let _turn = rig::exclusive();
    if !asked("connect") {
        return;
    }
    let built = std::env::var("DOUANE_PEERS").expect("DOUANE_PEERS: where built");
    let registry = Registry::start("connect");
    let records = say::count("DOUANE_BENCH_RECORDS", 1_000_000);
    let source = Source::customers("json", 8, records, &registry);
    let crossed = run(&source.place(2), &source);
    figures("connect.douane", &crossed);

    let plugins = format!("plugin.path={built}/connect/plugins");
    let against = |half: &str, cpu_per_million: f64| {
        let name = format!("bench.connect.{half}");
        say::figure(&format!("{name}.cpu_s_per_million"), round(cpu_per_million), "CPU s");
        let ratio = crossed.cpu_per_million / cpu_per_million;
        say::figure(&format!("{name}.douane_to_it"), round(ratio), "times");
    };
    let topic = &source.setup.topics[0];
    let worker = Connect::start_with(
        &source.setup.source.bootstrap,
        &[&plugins, "offset.flush.interval.ms=1000"],
    );
    // The second in the same worker: what its machine has compiled by then is compiled.
    for name in ["mask-cold", "mask-warm"] {
        worker.create(name, &masking(topic));
        let group = format!("connect-{name}");
        let cost = cost(&worker, name, records, || source.setup.source.consumed(&group, topic));
        worker.delete(name);
        against(&name.replace('-', "_"), cost);
    }
    drop(worker);
    let exactly_once = "exactly.once.source.support=enabled";
    let worker = Connect::start_with(&source.setup.target.bootstrap, &[&plugins, exactly_once]);
    for alias in ["mirror_cold", "mirror_warm"] {
        worker.create(alias, &mirroring(&source, alias));
        let copy = format!("{alias}.{topic}");
        let written = || match source.setup.target.topics().contains(&copy) {
            true => source.setup.target.end(&copy, Isolation::Committed),
            false => 0,
        };
        let cost = cost(&worker, alias, records, written);
        worker.delete(alias);
        against(alias, cost);
    }
}

/// Connect's own connector that writes lines to a file, here to nowhere, behind its own masking.
fn masking(topic: &str) -> serde_json::Value {
    serde_json::json!({
        "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
        "tasks.max": "2",
        "topics": topic,
        "file": "/dev/null",
        // A converter's settings count only beside its class.
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "false",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "consumer.override.auto.offset.reset": "earliest",
        "transforms": "after,mask",
        "transforms.after.type": "org.apache.kafka.connect.transforms.ExtractField$Value",
        "transforms.after.field": "after",
        "transforms.mask.type": "org.apache.kafka.connect.transforms.MaskField$Value",
        "transforms.mask.fields": "email,phone,national_id,card_number,full_name,street,notes",
        // Of a delete nothing is left to mask, and MaskField fails on it.
        "transforms.mask.predicate": "deleted",
        "transforms.mask.negate": "true",
        "predicates": "deleted",
        "predicates.deleted.type": "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone",
    })
}

/// MirrorMaker's copy of bytes in transactions.
fn mirroring(source: &Source, alias: &str) -> serde_json::Value {
    let bytes = "org.apache.kafka.connect.converters.ByteArrayConverter";
    serde_json::json!({
        "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
        "tasks.max": "2",
        "source.cluster.alias": alias,
        "target.cluster.alias": "target",
        "source.cluster.bootstrap.servers": source.setup.source.bootstrap,
        "target.cluster.bootstrap.servers": source.setup.target.bootstrap,
        "topics": source.setup.topics[0],
        "replication.factor": "1",
        "offset-syncs.topic.replication.factor": "1",
        "offset-syncs.topic.location": "target",
        "sync.topic.acls.enabled": "false",
        "sync.topic.configs.enabled": "false",
        "refresh.topics.enabled": "false",
        "refresh.groups.enabled": "false",
        "key.converter": bytes,
        "value.converter": bytes,
        "exactly.once.support": "required",
        "consumer.isolation.level": "read_committed",
    })
}

/// CPU seconds of the worker for a million records, between the first that are done and the last.
#[allow(clippy::cast_precision_loss, reason = "figures to be read")]
fn cost(worker: &Connect, name: &str, records: usize, done: impl Fn() -> i64) -> f64 {
    let patience = Instant::now() + Duration::from_secs(300);
    let mut first = None;
    loop {
        let (cpu, records_done) = (used(worker.pid()).0, done());
        match first {
            None if records_done > 0 => first = Some((cpu, records_done)),
            // Once it counts nobody asks the worker anything: the answer would be in the account.
            None => {
                let status = worker.status(name);
                assert!(!status.contains("FAILED"), "{status}");
            }
            Some((cpu_before, before)) if records_done >= records as i64 => {
                return (cpu - cpu_before) / (records_done - before) as f64 * 1e6;
            }
            _ => {}
        }
        assert!(Instant::now() < patience, "{records_done} of {records}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Texts that stand in the traps, and in nothing else.
const CLEAR: [&str; 5] = ["PASSCLEAR", "nestedclear", "emplclear", "SALARYCLEAR", "poisonclear"];

/// 4,000 usual events, and among them a new column, a nested address, another table, and one that is no JSON.
fn trapped() -> Source {
    let mut source = Source::empty("traps", 8);
    source.setup.columns = crate::place::customer_columns(false);
    let before_city = |text: &str, planted: &str| {
        let at = text.rfind("\"city\":").expect("a column");
        format!("{}{planted}{}", &text[..at], &text[at..])
    };
    let mut events = Vec::new();
    for (number, event) in Customers::new(1, 1, false).take(4_000).enumerate() {
        let key = event.key(Format::Json);
        let mut value = event
            .value(Format::Json, false)
            .map(|bytes| String::from_utf8(bytes).expect("JSON is text"));
        if let (Some(text), true) = (&mut value, event.after.is_some()) {
            match number {
                1500..1600 => {
                    *text = before_city(text, &format!("\"passport\":\"PASSCLEAR{number}\","));
                }
                2000..2100 => {
                    let nested = format!(
                        "\"profile\":{{\"contact\":{{\"email\":\"nestedclear{number}@example.com\"}}}},"
                    );
                    *text = before_city(text, &nested);
                }
                3000..3100 => {
                    *text = format!(
                        "{{\"before\":null,\"after\":{{\"id\":{number},\"email\":\"emplclear{number}@example.com\",\
                         \"salary\":\"SALARYCLEAR{number}\"}},\"source\":{{\"version\":\"3.7.0.Final\",\
                         \"connector\":\"postgresql\",\"name\":\"crm\",\"ts_ms\":1,\"db\":\"crm\",\"schema\":\"public\",\
                         \"table\":\"employees\"}},\"op\":\"c\",\"ts_ms\":1,\"transaction\":null}}"
                    );
                }
                _ => {}
            }
        }
        let crosses = event.op != Op::Tombstone;
        events.push((event.id, key, value.map(String::into_bytes), crosses));
        if number == 2_500 {
            let poison =
                b"{\"before\":null,\"after\":{\"id\":7,\"email\":\"poisonclear@example.com\"";
            events.push((7, b"{\"id\":7}".to_vec(), Some(poison.to_vec()), false));
        }
    }
    source.fill(8, events.into_iter());
    source
}

/// Records of the topic, and how many of them hold each of the traps' texts.
fn look(source: &Source, to: &str) -> (usize, Vec<(&'static str, usize)>) {
    let records = source.setup.target.read(to, Isolation::Uncommitted);
    let holds = |clear: &str| {
        let hit = |bytes: &Option<Vec<u8>>| {
            bytes.as_deref().is_some_and(|b| String::from_utf8_lossy(b).contains(clear))
        };
        records.iter().filter(|record| hit(&record.value) || hit(&record.key)).count()
    };
    (records.len(), CLEAR.iter().map(|clear| (*clear, holds(clear))).collect())
}

#[test]
fn what_nobody_listed() {
    let _turn = rig::exclusive();
    if !asked("peers") {
        return;
    }
    let source = trapped();
    let told = |name: &str, records: usize, hits: &[(&str, usize)]| {
        say::figure(&format!("bench.traps.{name}.records"), records, "records");
        for (clear, count) in hits {
            say::figure(&format!("bench.traps.{name}.{clear}"), count, "records in clear");
        }
    };
    for peer in Peer::ALL {
        let to = format!("traps.{}", peer.name());
        source.setup.target.create(&to, 8, &[]);
        let running = peer.start(&source, &to);
        until_quiet(&running, &source, &to);
        drop(running);
        let (records, hits) = look(&source, &to);
        told(peer.name(), records, &hits);
    }
    let place = source.place(2);
    let mut running = place.run();
    // Every partition crosses up to its first trap, and stands still there.
    assert!(running.wait_for_word("\"held\"", Duration::from_secs(30)), "{}", running.said());
    let mut still = (0, Instant::now());
    while still.1.elapsed() < Duration::from_secs(5) {
        let end = source.setup.target.end(&place.data_topic(), Isolation::Committed);
        if end != still.0 {
            still = (end, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    running.stop();
    let (records, hits) = look(&source, &place.data_topic());
    told("douane", records, &hits);
    assert!(records > 1_000, "only {records} crossed before the traps");
    assert!(hits.iter().all(|(_, count)| *count == 0), "{hits:?}");
}
