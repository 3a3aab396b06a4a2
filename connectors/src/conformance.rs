//! One suite that every edge passes. A rig says how its side is filled and looked at; the cases
//! are the same. Files always; Kafka where the end-to-end tests' rig was
//! fetched.

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
    topics: &[String; 3],
    values: &[Vec<u8>],
    position: &str,
) -> CommitOutcome {
    commit_while(sink, topics, values, position, &|| Ok(()))
}

fn commit_while(
    sink: Box<dyn Sink>,
    [data, manifest, positions]: &[String; 3],
    values: &[Vec<u8>],
    position: &str,
    right: &dyn Fn() -> Result<(), String>,
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
    let transaction = Transaction::made(&records, positions, 0, position.as_bytes());
    sink.commit(&transaction.only_while(right))
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

/// The second look is behind everything that may take time.
fn what_may_not_go_out_any_more_is_not_seen(rig: &mut dyn Rig) {
    let (global, topics) = rig.target();
    let id = format!("{}.0", topics[0]);
    for (holds, sent) in [(0, false), (1, false), (2, true)] {
        let asked = std::cell::Cell::new(0);
        let right = || {
            asked.set(asked.get() + 1);
            if asked.get() > holds { Err("it ended".to_owned()) } else { Ok(()) }
        };
        let value = rig.value(&format!("{holds}"));
        let outcome = commit_while(fence(&*global, &id), &topics, &[value], "p", &right);
        match sent {
            true => drop(committed(outcome)),
            false => {
                let ended = matches!(&outcome, CommitOutcome::Ended(why) if why == "it ended");
                assert!(ended, "{}: {outcome:?}", rig.name());
                assert_eq!((rig.seen(&topics).len(), position(&*global, &topics)), (0, None));
            }
        }
    }
    assert_eq!(rig.seen(&topics), ["2"]);
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
const CASES: [(&str, Case); 8] = [
    (
        "order, atomicity, position last, restart",
        what_is_committed_is_seen_whole_in_order_with_its_position,
    ),
    ("fencing, zombie", the_newest_holder_commits_and_the_one_before_writes_nothing),
    ("too large", a_record_that_is_too_large_is_named_and_nothing_is_seen),
    ("ended", what_may_not_go_out_any_more_is_not_seen),
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

    /// A kill while the counter was written leaves it empty: it is counted anew.
    #[test]
    fn a_counter_that_cannot_be_read_is_counted_anew() {
        for left in [&b""[..], b"x", b"-1", b"99999999999999999999"] {
            let (rig, global, topics) = rig();
            let id = format!("{}.0", topics[0]);
            let number = rig.path(&topics[0]).join("_douane/number");
            let sink = committed(commit(&rig, fence(&*global, &id), &topics, &["a"], "p1"));
            fs::write(&number, left).unwrap();
            let sink = committed(commit(&rig, sink, &topics, &["b"], "p2"));
            drop(sink);
            fs::write(&number, left).unwrap();
            committed(commit(&rig, fence(&*global, &id), &topics, &["c"], "p3"));
            assert_eq!(rig.seen(&topics), ["a", "b", "c"]);
            assert_eq!(position(&*global, &topics).as_deref(), Some("p3"));
        }
    }

    /// A position that moved alone has a number too: what comes after it is after it.
    #[test]
    fn numbers_go_on_after_a_position_that_moved_alone() {
        for left in [None, Some("1"), Some("")] {
            let (rig, global, topics) = rig();
            let id = format!("{}.0", topics[0]);
            let mut sink = committed(commit(&rig, fence(&*global, &id), &topics, &["a"], "p1"));
            for alone in ["p2", "p3", "p4"] {
                let alone = Transaction::made(&[], &topics[2], 0, alone.as_bytes());
                sink = committed(sink.commit(&alone));
            }
            drop(sink);
            let number = rig.path(&topics[0]).join("_douane/number");
            match left {
                None => fs::remove_file(&number).unwrap(),
                Some(left) => fs::write(&number, left).unwrap(),
            }
            committed(commit(&rig, fence(&*global, &id), &topics, &["b"], "p5"));
            assert_eq!(position(&*global, &topics).as_deref(), Some("p5"), "{left:?}");
            assert_eq!(names(&rig.path(&topics[0])).len(), 2);
        }
    }

    fn refused(global: &dyn Global, id: &str) -> String {
        use crate::edge::SinkFault;
        match global.fence(id, BYTES_MAX, Duration::from_millis(50)).err() {
            Some(SinkFault::Refused(fault)) => {
                assert!(fault.stays(), "{fault}");
                fault.to_string()
            }
            other => panic!("{:?}", other.map(|fault| fault.to_string())),
        }
    }

    /// What cannot be read and cannot be counted anew stops, and says what to do.
    #[test]
    fn a_folder_that_is_damaged_is_refused() {
        let damages: [(&str, &[u8]); 6] = [
            ("_douane/ID.epoch", b""),
            ("_douane/ID.epoch", b"18446744073709551615"),
            ("_douane/position-0", b"{}"),
            ("_douane/position-0", b"{\"v\":1,\"key\":\"k\",\"value\":\"\"}"),
            ("part-000000000009-0", b"no folder"),
            ("part-18446744073709551615-9/_position", b""),
        ];
        for (name, bytes) in damages {
            let (rig, global, topics) = rig();
            let id = format!("{}.0", topics[0]);
            drop(committed(commit(&rig, fence(&*global, &id), &topics, &["a"], "p1")));
            let name = name.replace("ID", &id.replace('/', "~"));
            let path = rig.path(&topics[0]).join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            let told = refused(&*global, &id);
            assert!(told.contains("next: "), "{name}: {told}");
        }
    }

    /// What somebody else puts there under other names is nothing of ours.
    #[test]
    fn names_that_are_not_quite_parts_are_passed_over() {
        let (rig, global, topics) = rig();
        let id = format!("{}.0", topics[0]);
        let home = rig.path(&topics[0]);
        let sink = committed(commit(&rig, fence(&*global, &id), &topics, &["a"], "p1"));
        for name in ["part-9-0", "part-+00000000009-0", "part-000000000009-00", "part-x", "notes"] {
            fs::create_dir(home.join(name)).unwrap();
        }
        assert_eq!(position(&*global, &topics).as_deref(), Some("p1"));
        drop(committed(commit(&rig, sink, &topics, &["b"], "p2")));
        drop(committed(commit(&rig, fence(&*global, &id), &topics, &["c"], "p3")));
        assert!(home.join("part-000000000003-0/_position").exists());
    }

    /// Whoever may write to the target's folder leads douane's writes and reads nowhere else.
    #[test]
    fn a_link_below_the_target_is_followed_by_nothing() {
        let planted = [
            "_douane/ID.epoch",
            "_douane/ID.epoch.next",
            "_douane/number",
            "_douane/number.next",
            "_douane/position-0",
            "_douane/position-0.next",
            "_douane/lock",
            "_douane/identity",
            "_douane/identity.next",
            "_douane/another",
            "_douane",
            ".ID.tmp-2",
            "part-000000000001-0",
            "part-000000000002-0",
            "part-000000000001-0/_position",
            "",
        ];
        for name in planted {
            let (rig, global, topics) = rig();
            let id = format!("{}.0", topics[0]);
            let home = rig.path(&topics[0]);
            drop(committed(commit(&rig, fence(&*global, &id), &topics, &["a"], "p1")));
            let sink = fence(&*global, &id);
            let name = name.replace("ID", &id.replace('/', "~"));
            let link = if name.is_empty() { home.clone() } else { home.join(&name) };
            // The target of the link is what was there, elsewhere: following it would go well.
            let elsewhere = rig.path("elsewhere");
            match link.exists() {
                true => fs::rename(&link, &elsewhere).unwrap(),
                false => fs::write(&elsewhere, b"a key").unwrap(),
            }
            let before = listed(&elsewhere);
            std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
            let told = match name.ends_with("_position") {
                // A fence has no need of a part's position; the read after it does.
                true => global.read_last(&topics[2], 0, TRY).err().unwrap().to_string(),
                false => refused(&*global, &id),
            };
            assert!(told.contains("symbolic link") && told.contains("next: "), "{name}: {told}");
            drop(commit(&rig, sink, &topics, &["b"], "p2"));
            drop(global.admin().unwrap().create_topic(&topics[0], 1, 1, &[]));
            drop(global.read_last(&topics[2], 0, TRY));
            assert_eq!(listed(&elsewhere), before, "{name}");
        }
    }

    /// Every file below a path, with what it holds.
    fn listed(path: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        if path.is_file() {
            return vec![(path.to_owned(), fs::read(path).unwrap())];
        }
        let mut found: Vec<_> =
            fs::read_dir(path).unwrap().flat_map(|entry| listed(&entry.unwrap().path())).collect();
        found.sort();
        found
    }

    /// A folder made where a link was planted is made nowhere else.
    #[test]
    fn a_folder_is_not_made_through_a_link() {
        let (rig, _, _) = rig();
        let elsewhere = rig.path("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        for name in ["linked", "linked/deeper"] {
            let global = rig.global(name);
            let link = rig.path("linked");
            drop(fs::remove_file(&link));
            std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
            assert!(global.admin().unwrap().create_topic(name, 1, 1, &[]).is_err(), "{name}");
            assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        }
    }

    /// A link within the source's folder is the owner's business; one that leaves it is refused.
    #[test]
    fn a_source_that_leads_out_of_its_folder_is_refused() {
        use crate::file::leaves;
        for format in FileFormat::ALL {
            let mut rig = FileRig::new(format);
            let (sovereign, topics) = rig.sources(3);
            let names = ["inner", "outer", "folder/b"].map(str::to_owned);
            let outside = tempfile::tempdir().unwrap();
            fs::copy(rig.path(&topics[0]), outside.path().join("b")).unwrap();
            std::os::unix::fs::symlink(rig.path(&topics[0]), rig.path("inner")).unwrap();
            std::os::unix::fs::symlink(outside.path().join("b"), rig.path("outer")).unwrap();
            std::os::unix::fs::symlink(outside.path(), rig.path("folder")).unwrap();
            drop(sovereign);
            let sovereign = rig.sovereign(&names);
            for (n, name) in names.iter().enumerate() {
                let source = sovereign.source("g", &names).unwrap();
                let high = source.watermarks(n as u32, 0);
                let known = sovereign.admin().unwrap().topic(name);
                let leaves = leaves(&sovereign.dir, &rig.path(name), format, &[]);
                let mut each =
                    |_: &douane_schemas::record::RawRecord<'_>| std::ops::ControlFlow::Continue(());
                let scanned = sovereign.scan(name, 0, 0, TRY, &mut each);
                if name == "inner" {
                    assert_eq!(high.unwrap(), (0, 3));
                    assert!(known.unwrap().is_some() && leaves.is_ok() && scanned.is_ok());
                    continue;
                }
                let told = high.err().unwrap();
                assert!(told.stays() && told.to_string().contains("leads out of"), "{told}");
                assert!(known.is_err() && leaves.is_err() && scanned.is_err(), "{name}");
            }
        }
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

mod kafka {
    use super::*;
    use crate::kafka::on_kafka::{KafkaRig, is_missing};

    #[test]
    fn kafka_conforms() {
        if is_missing("kafka_conforms") {
            return;
        }
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
