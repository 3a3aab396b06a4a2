//! One suite that every edge passes. A rig says how its side is filled and looked at; the cases
//! are the same. Files always; Kafka where `DOUANE_TEST_KAFKA` names a broker (feature
//! `kafka-tests`).

use std::time::{Duration, Instant};

use douane_gate::OutRecord;

use crate::edge::{CommitOutcome, Global, Polled, Sink, Source, Sovereign, Transaction};

const TRY: Duration = Duration::from_secs(20);

/// Bytes that the rigs' targets take at most.
const BYTES_MAX: usize = 20_000;

/// One kind of edge, made ready.
trait Rig {
    fn name(&self) -> String;
    /// Two sources of `count` records each, numbered from 0, and their topics.
    fn sources(&mut self, count: usize) -> (Box<dyn Sovereign>, Vec<String>);
    /// An empty target: data, manifest and position topic.
    fn target(&mut self) -> (Box<dyn Global>, [String; 3]);
    /// The values that a reader of the target sees, in order.
    fn seen(&self, topics: &[String; 3]) -> Vec<String>;
    /// A value as the target's format has it.
    fn value(&self, text: &str) -> Vec<u8>;
    /// The number that a source's record carries.
    fn number(&self, value: &[u8]) -> i64;
    /// Makes the first source anew, with other records, as many.
    fn replace_first(&mut self, count: usize);
    /// Cuts the first source's records before or after a number, as the side loses records.
    fn lose_first(&mut self, keep: usize);
}

fn commit(
    rig: &dyn Rig,
    sink: Box<dyn Sink>,
    topics: &[String; 3],
    values: &[&str],
    position: &str,
) -> CommitOutcome {
    let values: Vec<Vec<u8>> = values.iter().map(|value| rig.value(value)).collect();
    commit_bytes(sink, topics, &values, position)
}

fn commit_bytes(
    sink: Box<dyn Sink>,
    [data, manifest, positions]: &[String; 3],
    values: &[Vec<u8>],
    position: &str,
) -> CommitOutcome {
    let now_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let record = |topic, value| OutRecord {
        topic,
        partition: 0,
        key: Some(b"k"),
        value: Some(value),
        // Kafka's retention may take an old record while the test runs, and a broker refuses one
        // from the future.
        timestamp_ms: now_ms,
        headers: &[],
    };
    let mut records: Vec<OutRecord<'_>> =
        values.iter().map(|value| record(data.as_str(), value.as_slice())).collect();
    records.push(record(manifest.as_str(), b"manifest"));
    sink.commit(&Transaction::made(&records, positions, 0, position.as_bytes()))
}

fn committed(outcome: CommitOutcome) -> Box<dyn Sink> {
    match outcome {
        CommitOutcome::Committed(sink) => sink,
        other => panic!("{other:?}"),
    }
}

fn fence(global: &dyn Global, id: &str) -> Box<dyn Sink> {
    global.fence(id, BYTES_MAX, TRY).unwrap()
}

fn position(global: &dyn Global, topics: &[String; 3]) -> Option<String> {
    let last = global.read_last(&topics[2], 0, TRY).unwrap();
    last.map(|(_, value)| String::from_utf8(value).unwrap())
}

/// Everything that comes until the source ends or is silent: (topic, offset, number).
fn drain(rig: &dyn Rig, source: &mut dyn Source) -> Vec<(u32, i64, i64)> {
    let (mut came, mut last) = (Vec::new(), Instant::now());
    while last.elapsed() < Duration::from_secs(1) {
        match source.poll(Duration::from_millis(100)) {
            Polled::Record(fetched) => {
                let headers = fetched.headers();
                let record = fetched.raw(&headers);
                came.push((record.topic, record.offset, rig.number(record.value.unwrap())));
                last = Instant::now();
            }
            Polled::End => break,
            Polled::Idle | Polled::Trouble(_) => {}
            Polled::Lost(lost) => panic!("{lost:?}"),
            Polled::Broken(why) => panic!("{why}"),
            Polled::Fault(fault) => panic!("{fault}"),
        }
    }
    came
}

/// The numbers of one topic's records, which must stand at the offsets of the same numbers.
fn of(came: &[(u32, i64, i64)], topic: u32) -> Vec<i64> {
    let mine = came.iter().filter(|record| record.0 == topic);
    mine.map(|(_, offset, number)| {
        assert_eq!(offset, number);
        *number
    })
    .collect()
}

fn what_is_committed_is_seen_whole_in_order_with_its_position(rig: &mut dyn Rig) {
    let (global, topics) = rig.target();
    let id = format!("{}.0", topics[0]);
    let mut sink = fence(&*global, &id);
    assert_eq!(position(&*global, &topics), None);
    for n in 0..3 {
        let (a, b) = (format!("{n}a"), format!("{n}b"));
        sink = committed(commit(rig, sink, &topics, &[&a, &b], &n.to_string()));
        assert_eq!(position(&*global, &topics), Some(n.to_string()));
    }
    assert_eq!(rig.seen(&topics), ["0a", "0b", "1a", "1b", "2a", "2b"]);
    // A position that moves alone is the last one too, and so is a part after it.
    let alone = Transaction::made(&[], &topics[2], 0, b"alone");
    sink = committed(sink.commit(&alone));
    assert_eq!(position(&*global, &topics).as_deref(), Some("alone"));
    drop(committed(commit(rig, sink, &topics, &["3a"], "3")));
    assert_eq!(position(&*global, &topics).as_deref(), Some("3"));
    // A new process reads what the old one left.
    let sink = fence(&*global, &id);
    assert_eq!(position(&*global, &topics).as_deref(), Some("3"));
    drop(committed(commit(rig, sink, &topics, &["4a"], "4")));
    assert_eq!(rig.seen(&topics).len(), 8);
}

fn the_newest_holder_commits_and_the_one_before_writes_nothing(rig: &mut dyn Rig) {
    let (global, topics) = rig.target();
    let id = format!("{}.0", topics[0]);
    let old = committed(commit(rig, fence(&*global, &id), &topics, &["a"], "p1"));
    // Another id's holder fences nobody.
    let _other = fence(&*global, &format!("{}.1", topics[0]));
    let old = committed(commit(rig, old, &topics, &["b"], "p2"));
    let new = fence(&*global, &id);
    let outcome = commit(rig, old, &topics, &["zombie"], "zombie");
    assert!(matches!(outcome, CommitOutcome::Fenced), "{}: {outcome:?}", rig.name());
    assert_eq!(position(&*global, &topics).as_deref(), Some("p2"));
    committed(commit(rig, new, &topics, &["c"], "p3"));
    assert_eq!(rig.seen(&topics), ["a", "b", "c"]);
}

fn a_record_that_is_too_large_is_named_and_nothing_is_seen(rig: &mut dyn Rig) {
    let (global, topics) = rig.target();
    let id = format!("{}.0", topics[0]);
    let large = rig.value(&"x".repeat(BYTES_MAX + 10_000));
    let values = [rig.value("a"), large, rig.value("b")];
    let outcome = commit_bytes(fence(&*global, &id), &topics, &values, "p");
    assert!(
        matches!(outcome, CommitOutcome::Refused { index: Some(1), code: "too_large" }),
        "{}: {outcome:?}",
        rig.name()
    );
    assert_eq!((rig.seen(&topics).len(), position(&*global, &topics)), (0, None));
    committed(commit(rig, fence(&*global, &id), &topics, &["a"], "p"));
    assert_eq!(rig.seen(&topics), ["a"]);
}

fn records_come_in_order_from_where_they_are_wanted(rig: &mut dyn Rig) {
    let (sovereign, topics) = rig.sources(50);
    let mut source = sovereign.source("g", &topics).unwrap();
    let ends = [source.watermarks(0, 0).unwrap(), source.watermarks(1, 0).unwrap()];
    assert!(ends.iter().all(|(low, high)| *low == 0 && *high >= 50), "{ends:?}");
    source.assign(&[(0, 0, 0), (1, 0, 20)]).unwrap();
    let came = drain(rig, &mut *source);
    assert_eq!(of(&came, 0), (0..50).collect::<Vec<i64>>());
    assert_eq!(of(&came, 1), (20..50).collect::<Vec<i64>>());
    source.close();
    // A restart: another source at another place.
    let mut source = sovereign.source("g", &topics).unwrap();
    source.assign(&[(0, 0, 49)]).unwrap();
    assert_eq!(of(&drain(rig, &mut *source), 0), [49]);
    let mut scanned = Vec::new();
    let mut each = |record: &douane_schemas::record::RawRecord<'_>| {
        scanned.push(record.offset);
        std::ops::ControlFlow::Continue(())
    };
    sovereign.scan(&topics[1], 0, 45, TRY, &mut each).unwrap();
    assert_eq!(scanned, [45, 46, 47, 48, 49]);
}

fn a_paused_partition_waits_and_goes_on_where_it_is_told(rig: &mut dyn Rig) {
    let (sovereign, topics) = rig.sources(50);
    let mut source = sovereign.source("g", &topics).unwrap();
    source.assign(&[(0, 0, 0), (1, 0, 0)]).unwrap();
    let deadline = Instant::now() + TRY;
    while !matches!(source.poll(TRY), Polled::Record(_)) {
        assert!(Instant::now() < deadline);
    }
    source.pause(0, 0).unwrap();
    let came = drain(rig, &mut *source);
    assert_eq!(of(&came, 0), [0; 0]);
    assert!(of(&came, 1).len() >= 49, "the neighbour goes on");
    source.resume_at(0, 0, 7).unwrap();
    assert_eq!(of(&drain(rig, &mut *source), 0), (7..50).collect::<Vec<i64>>());
    assert!(source.pause(7, 0).is_err() && source.resume_at(0, 9, 0).is_err());
}

/// A position that is not in the log is told: as a loss, or as another source than the one read.
fn a_position_outside_the_log_is_told(rig: &mut dyn Rig) {
    let (sovereign, topics) = rig.sources(50);
    rig.lose_first(10);
    let mut source = sovereign.source("g", &topics).unwrap();
    let wanted = 30;
    let told = match source.assign(&[(0, 0, wanted)]) {
        Err(fault) => fault.changed().is_some(),
        Ok(()) => {
            let deadline = Instant::now() + TRY;
            loop {
                match source.poll(Duration::from_millis(100)) {
                    Polled::Lost(lost) => break lost.position == wanted,
                    Polled::Record(_) | Polled::End => break false,
                    _ => assert!(Instant::now() < deadline),
                }
            }
        }
    };
    assert!(told, "{}", rig.name());
}

/// A source that was made anew is told from the one that was read: by its topic's identity, or by
/// what lies before the position.
fn a_source_made_anew_is_another(rig: &mut dyn Rig) {
    let (sovereign, topics) = rig.sources(50);
    let identity = || sovereign.admin().unwrap().topic(&topics[0]).unwrap().unwrap().id;
    let mark = |expected: Option<&str>| {
        let mut source = sovereign.source("g", &topics).unwrap();
        source.assign(&[(0, 0, 30)]).unwrap();
        if let Some(expected) = expected {
            return source.expect(0, 0, expected).is_err().then(String::new);
        }
        source.mark(0, 0, 30)
    };
    let (id, before) = (identity(), mark(None));
    // The control: the same source is the same.
    assert_eq!(identity(), id);
    assert!(before.as_deref().is_none_or(|before| mark(Some(before)).is_none()));
    rig.replace_first(50);
    let changed = before.is_some_and(|before| mark(Some(&before)).is_some());
    assert!(identity() != id || changed, "{}", rig.name());
}

type Case = fn(&mut dyn Rig);

/// The suite.
const CASES: [(&str, Case); 7] = [
    (
        "order, atomicity, position last, restart",
        what_is_committed_is_seen_whole_in_order_with_its_position,
    ),
    ("fencing, zombie", the_newest_holder_commits_and_the_one_before_writes_nothing),
    ("too large", a_record_that_is_too_large_is_named_and_nothing_is_seen),
    ("order, offsets, restart", records_come_in_order_from_where_they_are_wanted),
    ("pause, resume", a_paused_partition_waits_and_goes_on_where_it_is_told),
    ("lost position", a_position_outside_the_log_is_told),
    ("identity", a_source_made_anew_is_another),
];

fn passes(rigs: impl Iterator<Item = Box<dyn Rig>>) {
    for mut rig in rigs {
        for (name, case) in CASES {
            eprintln!("{}: {name}", rig.name());
            case(&mut *rig);
        }
    }
}

mod files {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::file::test_files::{self, FileRig};
    use crate::file::{FileFormat, SovereignFolder};

    impl Rig for FileRig {
        fn name(&self) -> String {
            self.format.name().to_owned()
        }

        fn sources(&mut self, count: usize) -> (Box<dyn Sovereign>, Vec<String>) {
            let names = ["a", "b"].map(|name| self.fresh(name));
            for name in &names {
                self.fill(name, 0, count);
            }
            self.first = names[0].clone();
            (Box::new(self.sovereign(&names)), names.to_vec())
        }

        fn target(&mut self) -> (Box<dyn Global>, [String; 3]) {
            let data = self.fresh("out");
            let global = self.global(&data);
            let topics = [data.clone(), format!("{data}.manifest"), format!("{data}.position")];
            global.admin().unwrap().create_topic(&data, 1, 1, &[]).unwrap();
            (Box::new(global), topics)
        }

        fn seen(&self, topics: &[String; 3]) -> Vec<String> {
            self.read(&topics[0])
        }

        fn value(&self, text: &str) -> Vec<u8> {
            test_files::value(self.format, text)
        }

        fn number(&self, value: &[u8]) -> i64 {
            let value: serde_json::Value = serde_json::from_slice(value).unwrap();
            value["after"]["n"].as_i64().unwrap()
        }

        fn replace_first(&mut self, count: usize) {
            let name = self.first.clone();
            self.fill(&name, 1, count);
        }

        fn lose_first(&mut self, keep: usize) {
            let name = self.first.clone();
            self.fill(&name, 0, keep);
        }
    }

    fn rigs() -> impl Iterator<Item = Box<dyn Rig>> {
        FileFormat::ALL.into_iter().map(|format| Box::new(FileRig::new(format)) as Box<dyn Rig>)
    }

    #[test]
    fn files_conform() {
        passes(rigs());
    }

    fn rig() -> (FileRig, Box<dyn Global>, [String; 3]) {
        let mut rig = FileRig::new(FileFormat::JsonLines);
        let (global, topics) = rig.target();
        (rig, global, topics)
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "_douane").collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_prepared_and_never_renamed_is_seen_by_nobody_and_removed() {
        let (rig, global, topics) = rig();
        let id = format!("{}.0", topics[0]);
        let home = rig.path(&topics[0]);
        drop(committed(commit(&rig, fence(&*global, &id), &topics, &["a"], "p1")));
        // As a killed holder of either id leaves it.
        let prepared = format!(".{}.tmp-1", id.replace('/', "~"));
        let other = format!(".{}.tmp-7", format!("{}.1", topics[0]).replace('/', "~"));
        for name in [&prepared, &other] {
            fs::create_dir(home.join(name)).unwrap();
            fs::write(home.join(name).join("records.jsonl"), "{\"value\":\"half").unwrap();
        }
        assert_eq!(rig.seen(&topics), ["a"]);
        let sink = fence(&*global, &id);
        assert_eq!(names(&home), [other, "part-000000000001-0".to_owned()]);
        committed(commit(&rig, sink, &topics, &["b"], "p2"));
        assert_eq!(rig.seen(&topics), ["a", "b"]);
    }

    /// The control of the zombie's case: the epoch is what stops it.
    #[test]
    fn control_a_zombie_whose_epoch_comes_back_commits() {
        let (rig, global, topics) = rig();
        let id = format!("{}.0", topics[0]);
        let epoch =
            rig.path(&topics[0]).join("_douane").join(format!("{}.epoch", id.replace('/', "~")));
        let zombie = fence(&*global, &id);
        let before = fs::read(&epoch).unwrap();
        let _new = fence(&*global, &id);
        fs::write(&epoch, before).unwrap();
        committed(commit(&rig, zombie, &topics, &["zombie"], "p"));
        assert_eq!(rig.seen(&topics), ["zombie"]);
    }

    #[test]
    fn a_lock_that_is_held_is_away_and_a_folder_that_is_gone_is_refused() {
        use crate::edge::SinkFault;
        let (rig, global, topics) = rig();
        let id = format!("{}.0", topics[0]);
        drop(fence(&*global, &id));
        let lock = fs::File::open(rig.path(&topics[0]).join("_douane/lock")).unwrap();
        lock.lock().unwrap();
        let fault = global.fence(&id, BYTES_MAX, Duration::from_millis(50)).err();
        assert!(matches!(fault, Some(SinkFault::Away(_))));
        drop(lock);
        drop(fence(&*global, &id));
        fs::remove_dir_all(rig.path(&topics[0])).unwrap();
        let fault = global.fence(&id, BYTES_MAX, Duration::from_millis(50)).err();
        assert!(matches!(fault, Some(SinkFault::Refused(_))));
        assert_eq!(global.admin().unwrap().topic(&topics[0]).unwrap(), None);
    }

    #[test]
    fn numbers_go_on_after_the_counter_was_lost() {
        let (rig, global, topics) = rig();
        let id = format!("{}.0", topics[0]);
        let sink = committed(commit(&rig, fence(&*global, &id), &topics, &["a"], "p1"));
        drop(committed(commit(&rig, sink, &topics, &["b"], "p2")));
        fs::write(rig.path(&topics[0]).join("_douane/number"), "0").unwrap();
        committed(commit(&rig, fence(&*global, &id), &topics, &["c"], "p3"));
        assert_eq!(rig.seen(&topics), ["a", "b", "c"]);
    }

    /// Half a last line is not there yet; a whole one without its end is.
    #[test]
    fn a_last_line_counts_when_it_is_whole() {
        let mut rig = FileRig::new(FileFormat::JsonLines);
        let (sovereign, topics) = rig.sources(3);
        let path = rig.path(&topics[0]);
        let whole = fs::read_to_string(&path).unwrap();
        for (text, expected) in
            [(whole.trim_end(), 3), (&whole[..whole.len() - 5], 2), (&whole[..], 3), ("", 0)]
        {
            fs::write(&path, text).unwrap();
            let source = sovereign.source("g", &topics).unwrap();
            assert_eq!(source.watermarks(0, 0).unwrap(), (0, expected), "{} bytes", text.len());
        }
    }

    #[test]
    fn a_damaged_file_is_no_empty_one() {
        for format in [FileFormat::Avro, FileFormat::Arrow, FileFormat::Parquet] {
            let mut rig = FileRig::new(format);
            let (sovereign, topics) = rig.sources(200);
            let path = rig.path(&topics[0]);
            let whole = fs::read(&path).unwrap();
            for bytes in [&whole[..whole.len() / 2], b"not a file of the format", b""] {
                fs::write(&path, bytes).unwrap();
                let source = sovereign.source("g", &topics).unwrap();
                let fault = source.watermarks(0, 0);
                assert!(fault.is_err(), "{}: {} bytes", format.name(), bytes.len());
            }
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_cluster() {
        let rig = FileRig::new(FileFormat::JsonLines);
        let there = rig.sovereign(&[]);
        assert_eq!(there.admin().unwrap().cluster_id().unwrap(), "here");
        let gone = SovereignFolder { dir: rig.path("nowhere"), ..there };
        assert!(gone.admin().unwrap().cluster_id().is_err());
    }
}

#[cfg(feature = "kafka-tests")]
mod kafka {
    use super::*;
    use crate::kafka::on_kafka::KafkaRig;

    #[test]
    fn kafka_conforms() {
        let rig: Box<dyn Rig> = Box::new(KafkaRig::default());
        passes(std::iter::once(rig));
    }

    impl Rig for KafkaRig {
        fn name(&self) -> String {
            "kafka".to_owned()
        }

        fn sources(&mut self, count: usize) -> (Box<dyn Sovereign>, Vec<String>) {
            let names = self.filled(2, count);
            (self.sovereign(), names)
        }

        fn target(&mut self) -> (Box<dyn Global>, [String; 3]) {
            (self.global(), self.made())
        }

        fn seen(&self, topics: &[String; 3]) -> Vec<String> {
            self.texts(&topics[0])
        }

        fn value(&self, text: &str) -> Vec<u8> {
            text.as_bytes().to_vec()
        }

        fn number(&self, value: &[u8]) -> i64 {
            std::str::from_utf8(value).unwrap().parse().unwrap()
        }

        fn replace_first(&mut self, count: usize) {
            self.again(count);
        }

        fn lose_first(&mut self, _: usize) {
            self.lose(40);
        }
    }
}
