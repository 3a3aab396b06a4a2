//! No raw value of the source is anywhere outside: not in the target's files, aborted records included, not in what
//! the binary prints, not in the ledger. The scanner proves its eye on planted leaks first.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cases::kill::finish;
use crate::cluster::{Cluster, Isolation};
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::leaks::{Leak, Scanner};
use crate::place::{Place, Setup, last_lines};
use crate::rig;
use crate::say;

/// Ids so long that their text is no chance find.
const FIRST_ID: u64 = 734_001_000_000;

/// Everything that can be read from a cluster by its clients.
fn scan_topics(scanner: &Scanner, cluster: &Cluster) -> (Vec<Leak>, usize) {
    let (mut found, mut records) = (Vec::new(), 0);
    for topic in cluster.topics() {
        if topic.starts_with("__") {
            continue;
        }
        for record in cluster.read(&topic, Isolation::Uncommitted) {
            records += 1;
            let place = format!("{topic}[{}]@{}", record.partition, record.offset);
            for bytes in [record.key.as_deref(), record.value.as_deref()].into_iter().flatten() {
                found.extend(scanner.scan(&place, bytes));
            }
            for (name, value) in &record.headers {
                found.extend(scanner.scan(&place, name.as_bytes()));
                found.extend(scanner.scan(&place, value.as_deref().unwrap_or_default()));
            }
        }
    }
    (found, records)
}

/// A leak planted in each place that is searched: each must be found.
fn prove_the_eye(scanner: &Scanner, secret: &str, target: &Cluster, data: &Path, dir: &Path) {
    for (topic, codec) in [("planted.plain", "uncompressed"), ("planted.zstd", "zstd")] {
        target.create(topic, 1, &[("compression.type", codec)]);
    }
    let feed = target.producer();
    let within = format!("..{secret}..");
    feed.send("planted.plain", 0, None, Some(within.as_bytes()), &[]);
    feed.send("planted.plain", 0, Some(within.as_bytes()), None, &[]);
    feed.send("planted.plain", 0, None, None, &[("header", within.as_bytes())]);
    feed.send("planted.zstd", 0, None, Some(within.as_bytes()), &[]);
    feed.flush();
    let (leaks, _) = scan_topics(scanner, target);
    for place in
        ["planted.plain[0]@0", "planted.plain[0]@1", "planted.plain[0]@2", "planted.zstd[0]@0"]
    {
        assert!(
            leaks.iter().any(|leak| leak.place == place),
            "the plant at {place} is not seen: {leaks:?}"
        );
    }
    let (on_disk, _) = scanner.scan_files(data);
    assert!(
        on_disk.iter().any(|leak| leak.place.contains("planted.plain-0")),
        "the plant on the broker's disk is not seen"
    );
    let file = dir.join("ledger/planted");
    std::fs::write(&file, &within).expect("a file");
    assert!(!scanner.scan_files(dir).0.is_empty(), "the plant in a file is not seen");
    std::fs::remove_file(file).expect("removed");
    for topic in ["planted.plain", "planted.zstd"] {
        target.delete(topic);
    }
    // the broker removes a deleted topic's files later
    let end = crate::pace::Instant::now() + Duration::from_secs(90);
    while scanner.scan_files(data).0.iter().any(|leak| leak.place.contains("planted")) {
        assert!(crate::pace::Instant::now() < end, "the plants do not go away");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn no_raw_value_is_found_outside() {
    let _turn = rig::exclusive();
    if !rig::is_kafka("leak scan", "the development broker has no disk to search") {
        return;
    }
    let (source, _) = rig::clusters();
    let broker = rig::Broker::start(
        "leaks",
        &[
            "log.segment.delete.delay.ms=100",
            "file.delete.delay.ms=100",
            "log.retention.check.interval.ms=1000",
        ],
    );
    let mut setup = Setup::customers("leaks", source.cluster(), broker.cluster());
    setup.source.create(&setup.topics[0], 8, &[]);
    setup.tasks = 2;
    let (source, target) = (setup.source.clone(), setup.target.clone());
    let mut place = Place::new(setup);
    place.env("RUST_LOG", "trace");
    place.env("RUST_BACKTRACE", "full");
    let plants = Plants { unknown_leaf: Some((3, 2000)), unparsable: Some((5, 20)) };
    let load = Load::new(8).customers(
        &mut Customers::new(51, FIRST_ID, true),
        4000,
        Format::Json,
        &plants,
    );
    let mut secrets = load.secrets.clone();
    secrets.push("P-4711-4711".to_owned());
    secrets.sort();
    secrets.dedup();
    let scanner = Scanner::new(&secrets);
    assert!(secrets.len() > 5000, "only {} secrets", secrets.len());

    let load = Arc::new(load);
    let mut sending = load.send_slowly(&source, &place.setup.topics[0], 350);
    let commits = place.commits();
    for _ in 0..2 {
        // A slow machine has fewer kills while records come; without records nothing commits.
        if sending.sent() == load.len() {
            break;
        }
        let mark = commits.mark();
        let mut running = place.run();
        assert!(
            commits.wait_past(&mark, Duration::from_secs(30)).is_some(),
            "{}",
            last_lines(&running.said(), 20)
        );
        running.kill();
    }
    let mut running = place.run();
    sending.wait();
    finish(&place, &load, &mut running);
    running.stop();
    for args in [
        vec!["status", &place.pipeline_file()],
        vec!["explain", &place.pipeline_file()],
        vec!["lint", &place.pipeline_file()],
    ] {
        let said = place.verb(&args);
        std::fs::write(
            place.dir.join(format!("said-{}", args[0])),
            format!("{}{}", said.out, said.err),
        )
        .expect("a file");
    }
    std::fs::write(place.dir.join("said-verify"), place.verify().out).expect("a file");

    prove_the_eye(&scanner, &secrets[0], &target, &broker.data(), &place.dir);
    let (in_topics, records) = scan_topics(&scanner, &target);
    let (on_disk, disk_files) = scanner.scan_files(&broker.data());
    let (in_place, place_files) = scanner.scan_files(&place.dir);
    let quarantine = source.read(&place.quarantine_topic(), Isolation::Uncommitted);
    let in_quarantine: Vec<Leak> = quarantine
        .iter()
        .flat_map(|r| {
            let headers = r.headers.iter().map(|(_, value)| value.clone());
            [r.key.clone(), r.value.clone()].into_iter().chain(headers)
        })
        .flatten()
        .flat_map(|bytes| scanner.scan("the sealed quarantine", &bytes))
        .collect();
    let beside = quarantine.iter().map(|r| r.headers.len()).sum::<usize>();
    assert_eq!(beside, 9 * quarantine.len(), "headers of the quarantine that were searched");
    say::figure("leak_scan.secrets", secrets.len(), "texts, in 13 forms each");
    say::figure("leak_scan.records", records, "records of the target, aborted ones included");
    say::figure("leak_scan.files", disk_files + place_files, "files");
    let mut all: Vec<Leak> =
        in_topics.into_iter().chain(on_disk).chain(in_place).chain(in_quarantine).collect();
    all.sort();
    say::figure("leak_scan.found", all.len(), "raw values");
    assert!(
        records > 3000 && quarantine.len() > 5,
        "{records} records, {} in quarantine: too little was searched",
        quarantine.len()
    );
    let some: Vec<String> = all
        .iter()
        .take(10)
        .map(|l| format!("{} as {}: {}", secrets[l.secret], l.form, l.place))
        .collect();
    assert!(all.is_empty(), "{} raw values outside:\n{}", all.len(), some.join("\n"));
}
