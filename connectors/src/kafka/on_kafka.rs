//! What only a real Kafka can show: one broker for all of these, of the end-to-end tests' rig. Where that
//! was not fetched they are left out, aloud.

mod rig;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use rig::Kafka;
pub(crate) use rig::is_missing;

use super::client;
use super::cluster::{ClusterConfig, plain};
use super::sink::Outgoing;
use super::watch::{Detached, Watch};
use super::*;
use crate::edge::Rights;
use crate::edge::{self, Created, Lost, Polled};

type CommitOutcome = edge::CommitOutcome<Sink>;

const TRY: Duration = Duration::from_secs(20);

fn cluster() -> ClusterConfig {
    plain(&format!("127.0.0.1:{}", rig::kafka().port))
}

/// A name no other test and no earlier run has.
fn fresh(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    format!("{what}-{now}-{}", NEXT.fetch_add(1, Ordering::SeqCst))
}

fn topic(what: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
    let name = fresh(what);
    let admin = Admin::open(&cluster()).unwrap();
    assert_eq!(admin.create_topic(&name, partitions, 1, settings).unwrap(), Created::Made);
    let deadline = Instant::now() + TRY;
    while admin.topic(&name).unwrap().is_none() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
    name
}

fn out<'a>(topic: &'a str, partition: i32, value: &'a [u8]) -> Outgoing<'a> {
    Outgoing {
        topic,
        partition,
        key: Some(b"k"),
        value: Some(value),
        // An old time would let retention take the record while the test runs.
        timestamp_ms: None,
        headers: &[],
    }
}

fn put(sink: Sink, data: &str, values: &[&[u8]], positions: &str, position: &str) -> CommitOutcome {
    sink.transact(
        values.iter().map(|value| out(data, 0, value)),
        &out(positions, 0, position.as_bytes()),
    )
}

fn committed(outcome: CommitOutcome) -> Sink {
    match outcome {
        CommitOutcome::Committed(sink) => sink,
        other => panic!("{other:?}"),
    }
}

/// All committed values. Markers are written after a commit is answered, hence the wait for the
/// high watermark.
fn values(topic: &str, partition: i32) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    let mut each = |record: &douane_schemas::record::RawRecord<'_>| {
        values.push(record.value.unwrap_or_default().to_vec());
        ControlFlow::Continue(())
    };
    scan(&cluster(), topic, partition, 0, Reach::HighWatermark, TRY, &mut each).unwrap();
    values
}

fn last(topic: &str) -> Option<String> {
    let last = read_last(&cluster(), topic, 0, TRY).unwrap();
    last.map(|(_, value)| String::from_utf8(value).unwrap())
}

/// Plain records to partitions in turn, from a producer of the test's own.
fn fill(topic: &str, partitions: i32, count: usize) {
    let mut producer = QuarantineProducer::open(&cluster(), 1_000_000).unwrap();
    if partitions == 1 {
        let texts: Vec<String> = (0..count).map(|i| i.to_string()).collect();
        producer.send_pairs(texts.iter().map(|t| (&b"k"[..], Some(t.as_bytes()))), topic).unwrap();
        return;
    }
    let sink = Sink::fence(&cluster(), &fresh("fill"), TRY).unwrap();
    let texts: Vec<String> = (0..count).map(|i| i.to_string()).collect();
    let records = texts
        .iter()
        .enumerate()
        .map(|(i, text)| out(topic, i as i32 % partitions, text.as_bytes()));
    let trash = self::topic("trash", 1, &[]);
    committed(sink.transact(records, &out(&trash, 0, b"p")));
    for partition in 0..partitions {
        values(topic, partition);
    }
}

/// What the conformance suite needs of a broker.
#[derive(Default)]
pub(crate) struct KafkaRig {
    first: String,
}

impl KafkaRig {
    pub fn sovereign(&self) -> Box<dyn edge::Sovereign> {
        Box::new(Cluster(cluster()))
    }

    pub fn global(&self) -> Box<dyn edge::Global> {
        Box::new(Cluster(cluster()))
    }

    /// Data, manifest and position topic.
    pub fn made(&self) -> [String; 3] {
        [
            topic("data", 1, &[("max.message.bytes", "20000")]),
            topic("manifest", 1, &[]),
            topic("pos", 1, &[]),
        ]
    }

    /// Topics of one partition with numbers from 0.
    pub fn filled(&mut self, topics: usize, count: usize) -> Vec<String> {
        let names: Vec<String> = (0..topics).map(|_| topic("src", 1, &[])).collect();
        for name in &names {
            fill(name, 1, count);
        }
        self.first.clone_from(&names[0]);
        names
    }

    pub fn texts(&self, topic: &str) -> Vec<String> {
        values(topic, 0).into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
    }

    /// The first topic, deleted and made again.
    pub fn again(&self, count: usize) {
        let admin = Admin::open(&cluster()).unwrap();
        let own: AdminClient<Watch> =
            client::admin(&cluster()).unwrap().create_with_context(Watch::new("t")).unwrap();
        futures(own.delete_topics(&[&self.first], &AdminOptions::new())).unwrap();
        let deadline = Instant::now() + TRY;
        while admin.topic(&self.first).unwrap().is_some() {
            assert!(Instant::now() < deadline);
        }
        while admin.create_topic(&self.first, 1, 1, &[]).unwrap() == Created::Existed {
            thread::sleep(Duration::from_millis(50));
        }
        while admin.topic(&self.first).unwrap().is_none() {
            assert!(Instant::now() < deadline);
        }
        fill(&self.first, 1, count);
    }

    /// Everything before an offset is gone from the first topic.
    pub fn lose(&self, before: i64) {
        delete_before(&self.first, 0, before);
    }
}

#[test]
fn the_newest_holder_commits_and_the_one_before_is_fenced() {
    if is_missing("the_newest_holder_commits_and_the_one_before_is_fenced") {
        return;
    }
    let (data, positions) =
        (topic("data", 1, &[]), topic("pos", 1, &[("cleanup.policy", "compact")]));
    assert_eq!(last(&positions), None);
    let id = fresh("id");
    let mut sink = Sink::fence(&cluster(), &id, TRY).unwrap();
    for i in 0..3 {
        sink = committed(put(sink, &data, &[b"a", b"b"], &positions, &format!("p{i}")));
        assert_eq!(last(&positions).as_deref(), Some(format!("p{i}").as_str()));
    }
    // A transaction left open, as a killed holder leaves it.
    sink_begin(&sink, &data, &positions);
    let second = Sink::fence(&cluster(), &id, TRY).unwrap();
    assert_eq!(last(&positions).as_deref(), Some("p2"), "what was open is not the position");
    assert!(sink.producer().commit_transaction(TRY).is_err(), "nor can it come to be");
    let third = Sink::fence(&cluster(), &id, TRY).unwrap();
    let outcome = put(second, &data, &[b"zombie"], &positions, "zombie");
    assert!(matches!(outcome, CommitOutcome::Fenced), "{outcome:?}");
    committed(put(third, &data, &[b"c"], &positions, "p3"));
    assert_eq!(last(&positions).as_deref(), Some("p3"));
    assert_eq!(values(&data, 0), [b"a", b"b", b"a", b"b", b"a", b"b", b"c"]);
}

fn sink_begin(sink: &Sink, data: &str, positions: &str) {
    let producer = sink.producer();
    // The transaction before it ended on this producer; a begin without an end is a crash.
    producer.begin_transaction().unwrap();
    for topic in [data, positions] {
        let record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, 0)
            .partition(0)
            .key(b"k")
            .payload(b"open");
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
}

#[test]
fn a_position_far_back_behind_aborted_ones_is_found() {
    if is_missing("a_position_far_back_behind_aborted_ones_is_found") {
        return;
    }
    let (data, positions) = (topic("data", 1, &[]), topic("pos", 1, &[]));
    let id = fresh("id");
    let sink = Sink::fence(&cluster(), &id, TRY).unwrap();
    let mut sink = committed(put(sink, &data, &[b"a"], &positions, "here"));
    // More than one look back: 40 aborted transactions of two records and a marker.
    for _ in 0..40 {
        sink_begin(&sink, &positions, &positions);
        sink = Sink::fence(&cluster(), &id, TRY).unwrap();
    }
    let tried = Instant::now();
    assert_eq!(last(&positions).as_deref(), Some("here"));
    eprintln!("read past 120 offsets of aborted records in {:?}", tried.elapsed());
}

#[test]
fn a_record_too_large_for_the_broker_or_the_client_leaves_nothing() {
    if is_missing("a_record_too_large_for_the_broker_or_the_client_leaves_nothing") {
        return;
    }
    let small = topic("small", 1, &[("max.message.bytes", "20000")]);
    let positions = topic("pos", 1, &[]);
    let big = vec![b'x'; 30_000];
    let id = fresh("id");
    let sink = Sink::fence(&cluster(), &id, TRY).unwrap();
    let outcome = put(sink, &small, &[b"1", &big, b"3"], &positions, "p");
    assert!(
        matches!(outcome, CommitOutcome::Refused { index: Some(1), code: "too_large" }),
        "{outcome:?}"
    );
    let sink = Sink::fence_sized(&cluster(), &id, 20_000, TRY).unwrap();
    let outcome = put(sink, &small, &[b"1", b"2", &big], &positions, "p");
    assert!(
        matches!(outcome, CommitOutcome::Refused { index: Some(2), code: "too_large" }),
        "{outcome:?}"
    );
    assert_eq!((values(&small, 0).len(), last(&positions)), (0, None));
    // Small records whose batch would be too large: with the topic's size they go through.
    let many: Vec<Vec<u8>> = (0..200).map(|i| vec![i as u8; 1_000]).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let sink = Sink::fence_sized(&cluster(), &id, 20_000, TRY).unwrap();
    committed(put(sink, &small, &many, &positions, "p"));
    assert_eq!(values(&small, 0).len(), 200);
    // The control: without it they do not.
    let sink = Sink::fence(&cluster(), &id, TRY).unwrap();
    let outcome = put(sink, &small, &many, &positions, "q");
    assert!(matches!(outcome, CommitOutcome::Refused { code: "too_large", .. }), "{outcome:?}");
    assert_eq!(last(&positions).as_deref(), Some("p"));
}

#[test]
fn headers_time_and_tombstones_arrive_as_they_were_given() {
    if is_missing("headers_time_and_tombstones_arrive_as_they_were_given") {
        return;
    }
    let (data, positions) = (topic("data", 1, &[]), topic("pos", 1, &[]));
    let sink = Sink::fence(&cluster(), &fresh("id"), TRY).unwrap();
    let headers = [("douane-manifest", b"\0\x01".to_vec()), ("traceparent", Vec::new())];
    let record = Outgoing {
        topic: &data,
        partition: 0,
        key: None,
        value: None,
        timestamp_ms: Some(1_234_000),
        headers: &headers,
    };
    committed(sink.transact([record].into_iter(), &out(&positions, 0, b"p")));
    assert_eq!(values(&data, 0).len(), 1);
    let first = first_record(&cluster(), &data, 0, TRY).unwrap().unwrap();
    assert_eq!((first.key, first.value, first.timestamp_ms), (None, None, 1_234_000));
    let expected: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), Some(value.clone()))).collect();
    assert_eq!(first.headers, expected);
}

#[test]
fn identity_tells_a_topic_made_anew() {
    if is_missing("identity_tells_a_topic_made_anew") {
        return;
    }
    let name = topic("id", 3, &[("max.message.bytes", "123456"), ("cleanup.policy", "compact")]);
    let admin = Admin::open(&cluster()).unwrap();
    let first = admin.topic(&name).unwrap().unwrap();
    assert_eq!((first.partitions, first.replication, first.id.len()), (3, 1, 22));
    let config = admin.topic_config(&name).unwrap();
    assert_eq!((config.max_message_bytes, config.cleanup_policy.as_str()), (123_456, "compact"));
    assert_eq!((config.min_insync_replicas, config.retention_ms), (Some(1), 604_800_000));
    assert_eq!(admin.create_topic(&name, 5, 1, &[]).unwrap(), Created::Existed);
    let gone = fresh("none");
    assert_eq!(admin.topics(&[&gone, &name]).unwrap(), [None, Some(first.clone())]);
    let fault = admin.topic_config(&gone).unwrap_err();
    assert!(matches!(fault, KafkaFault::NoTopic { .. }), "{fault}");
    assert!(matches!(
        admin.create_topic(&fresh("many"), 1, 7, &[]),
        Err(KafkaFault::Refused { .. })
    ));
    assert!(admin.create_topic("a b", 1, 1, &[]).is_err());
    let own: AdminClient<Watch> =
        client::admin(&cluster()).unwrap().create_with_context(Watch::new("t")).unwrap();
    futures(own.delete_topics(&[&name], &AdminOptions::new())).unwrap();
    let deadline = Instant::now() + TRY;
    while admin.topic(&name).unwrap().is_some() {
        assert!(Instant::now() < deadline);
    }
    while admin.create_topic(&name, 3, 1, &[]).unwrap() == Created::Existed {
        thread::sleep(Duration::from_millis(50));
    }
    let second = loop {
        if let Some(found) = admin.topic(&name).unwrap() {
            break found;
        }
    };
    assert_ne!(first.id, second.id);
    let tried = Instant::now();
    for _ in 0..50 {
        admin.topic(&name).unwrap();
    }
    eprintln!("a topic's identity costs {:?}", tried.elapsed() / 50);
}

/// Runs one of the wrapper's futures on this thread.
fn futures<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// With an authorizer that gives this user the right to read the topic of `DOUANE_TEST_READ_ONLY`, and
/// no other, the second half is looked at too.
#[test]
fn rights_are_told() {
    if is_missing("rights_are_told") {
        return;
    }
    let admin = Admin::open(&cluster()).unwrap();
    let rights = admin.rights(&topic("rights", 1, &[])).unwrap();
    assert_eq!(rights, Some(Rights { read: true, write: true }));
    assert_eq!(admin.rights("there.is.none").unwrap(), None);
    if let Ok(read_only) = std::env::var("DOUANE_TEST_READ_ONLY") {
        let rights = admin.rights(&read_only).unwrap();
        assert_eq!(rights, Some(Rights { read: true, write: false }));
    }
}

#[test]
fn a_cluster_of_another_id_is_told() {
    if is_missing("a_cluster_of_another_id_is_told") {
        return;
    }
    let admin = Admin::open(&cluster()).unwrap();
    let found = admin.cluster_id().unwrap();
    assert_eq!(found.len(), 22, "{found}");
    assert!(matches!(admin.confirm_cluster(), Err(KafkaFault::WrongCluster { .. })));
    let named = ClusterConfig { id: found, ..cluster() };
    Admin::open(&named).unwrap().confirm_cluster().unwrap();
}

/// Polls until nothing came for a while: (partition, offset) of records, and the losses.
fn drain(source: &mut Source) -> (Vec<(i32, i64)>, Vec<Lost>) {
    let (mut records, mut lost, mut idle) = (Vec::new(), Vec::new(), 0);
    while idle < 10 {
        match source.poll(Duration::from_millis(100)) {
            Polled::Record(fetched) => {
                let record = fetched.raw(&[]);
                records.push((record.partition, record.offset));
                idle = 0;
            }
            Polled::Lost(found) => lost.push(found),
            Polled::Idle => idle += 1,
            Polled::Trouble(why) => eprintln!("trouble: {why}"),
            Polled::Broken(why) => panic!("{why}"),
            Polled::Fault(fault) => panic!("{fault}"),
            Polled::End => panic!("a topic has no end"),
        }
    }
    (records, lost)
}

fn delete_before(topic: &str, partition: i32, offset: i64) {
    let own: AdminClient<Watch> =
        client::admin(&cluster()).unwrap().create_with_context(Watch::new("t")).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(offset)).unwrap();
    futures(own.delete_records(&list, &AdminOptions::new())).unwrap();
}

#[test]
fn a_position_outside_the_log_is_lost_and_its_neighbours_go_on() {
    if is_missing("a_position_outside_the_log_is_lost_and_its_neighbours_go_on") {
        return;
    }
    let name = topic("src", 4, &[]);
    fill(&name, 4, 40);
    delete_before(&name, 1, 5);
    let mut source = Source::open(&cluster(), "g", std::slice::from_ref(&name)).unwrap();
    assert_eq!(source.watermarks(0, 1).unwrap(), (5, 11), "ten records and a marker");
    // Partition 1 lost its start, 2 is asked for beyond its end, 0 and 3 are as they should be.
    source.assign(&[(0, 0, 0), (0, 1, 2), (0, 2, 5_000), (0, 3, 4)]).unwrap();
    let (records, mut lost) = drain(&mut source);
    lost.sort_by_key(|lost| lost.partition);
    assert_eq!(
        lost,
        [
            Lost { topic: 0, partition: 1, position: 2, low: 5, high: 11 },
            Lost { topic: 0, partition: 2, position: 5_000, low: 0, high: 11 },
        ]
    );
    let of = |p: i32| records.iter().filter(|r| r.0 == p).map(|r| r.1).collect::<Vec<_>>();
    assert_eq!((of(0), of(3)), ((0..10).collect(), (4..10).collect::<Vec<i64>>()));
    assert_eq!((of(1), of(2)), (vec![], vec![]));
    source.resume_at(0, 1, 5).unwrap();
    let (records, lost) = drain(&mut source);
    assert_eq!((records, lost), ((5..10).map(|offset| (1, offset)).collect(), vec![]));
    // While it runs: the log goes away under a partition that was read before.
    fill(&name, 4, 40);
    delete_before(&name, 3, 15);
    source.resume_at(0, 3, 12).unwrap();
    let (records, lost) = drain(&mut source);
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!((lost[0].partition, lost[0].position, lost[0].low), (3, 12, 15));
    assert!(records.iter().all(|(partition, _)| [0, 1].contains(partition)), "{records:?}");
    let end = source.watermarks(0, 0).unwrap();
    source.commit_group(&[(0, 0, end.1)]);
    source.close();
}

#[test]
fn a_paused_partition_gives_nothing_and_goes_on_where_it_is_told() {
    if is_missing("a_paused_partition_gives_nothing_and_goes_on_where_it_is_told") {
        return;
    }
    let name = topic("src", 2, &[]);
    fill(&name, 2, 2_000);
    let mut source = Source::open(&cluster(), "g", &[name]).unwrap();
    source.assign(&[(0, 0, 0), (0, 1, 0)]).unwrap();
    let mut before = Vec::new();
    while before.len() < 10 {
        if let Polled::Record(fetched) = source.poll(TRY) {
            let record = fetched.raw(&[]);
            before.push((record.partition, record.offset));
        }
    }
    source.pause(0, 0).unwrap();
    let (records, _) = drain(&mut source);
    assert!(records.iter().all(|(partition, _)| *partition == 1));
    let seen = before.iter().chain(&records).filter(|r| r.0 == 1).count();
    assert_eq!(seen, 1_000, "the neighbour is whole, once");
    source.resume_at(0, 0, 7).unwrap();
    let (records, _) = drain(&mut source);
    assert_eq!(records, (7..1_000).map(|offset| (0, offset)).collect::<Vec<_>>());
}

#[test]
fn offsets_are_found_by_time() {
    if is_missing("offsets_are_found_by_time") {
        return;
    }
    let (data, positions) = (topic("data", 1, &[]), topic("pos", 1, &[]));
    let sink = Sink::fence(&cluster(), &fresh("id"), TRY).unwrap();
    let records =
        (0..10).map(|i| Outgoing { timestamp_ms: Some(1_000 + i), ..out(&data, 0, b"v") });
    committed(sink.transact(records, &out(&positions, 0, b"p")));
    assert_eq!(values(&data, 0).len(), 10);
    let source = Source::open(&cluster(), "g", &[data]).unwrap();
    assert_eq!(source.offset_for_time(0, 0, 1_004).unwrap(), Some(4));
    assert_eq!(source.offset_for_time(0, 0, 0).unwrap(), Some(0));
    assert_eq!(source.offset_for_time(0, 0, i64::MAX / 2).unwrap(), None);
    assert!(matches!(source.watermarks(0, 9), Err(KafkaFault::NoTopic { .. })));
}

#[test]
fn quarantined_records_are_acknowledged_and_a_key_keeps_its_partition() {
    if is_missing("quarantined_records_are_acknowledged_and_a_key_keeps_its_partition") {
        return;
    }
    let name = topic("q", 8, &[]);
    let mut producer = QuarantineProducer::open(&cluster(), 1_000_000).unwrap();
    for round in 0..3 {
        let value = format!("v{round}");
        let keys: Vec<String> = (0..50).map(|i| format!("src[{i}]@{i}")).collect();
        producer
            .send_pairs(keys.iter().map(|k| (k.as_bytes(), Some(value.as_bytes()))), &name)
            .unwrap();
    }
    let counts: Vec<usize> = (0..8).map(|p| values(&name, p).len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 150);
    assert!(counts.iter().all(|count| count % 3 == 0), "{counts:?}");
    let none = fresh("none");
    assert!(producer.send_pairs([(&b"k"[..], Some(&b"v"[..]))].into_iter(), &none).is_err());
    producer.send_pairs([(&b"k"[..], Some(&b"v"[..]))].into_iter(), &name).unwrap();
}

#[test]
fn the_client_tells_little_while_nothing_breaks_and_commits_are_quick() {
    if is_missing("the_client_tells_little_while_nothing_breaks_and_commits_are_quick") {
        return;
    }
    struct Count(AtomicUsize);
    impl ClientContext for Count {
        fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    impl ProducerContext for Count {
        type DeliveryOpaque = usize;
        fn delivery(&self, _: &DeliveryResult<'_>, _: usize) {}
    }
    let data = topic("data", 4, &[]);
    let config = client::transactional(&cluster(), &fresh("id")).unwrap();
    let producer: BaseProducer<Count> =
        config.create_with_context(Count(AtomicUsize::new(0))).unwrap();
    producer.init_transactions(TRY).unwrap();
    let mut last = 0;
    for round in 0..100 {
        producer.begin_transaction().unwrap();
        for i in 0..100 {
            let record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&data, i)
                .partition(i as i32 % 4)
                .payload(b"v");
            producer.send(record).map_err(|(e, _)| e).unwrap();
        }
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::ZERO);
        }
        producer.commit_transaction(TRY).unwrap();
        if round == 9 {
            last = producer.context().0.load(Ordering::SeqCst);
        }
    }
    let lines = producer.context().0.load(Ordering::SeqCst) - last;
    eprintln!("{lines} lines in 90 transactions");
    assert!(lines < 500, "{lines}: the level costs more than it gives");

    let positions = topic("pos", 1, &[]);
    let mut sink = Sink::fence(&cluster(), &fresh("id"), TRY).unwrap();
    let value = vec![b'j'; 1_000];
    let tried = Instant::now();
    for _ in 0..20 {
        let records = (0..5_000).map(|i| out(&data, i % 4, &value));
        sink = committed(sink.transact(records, &out(&positions, 0, b"p")));
    }
    eprintln!("100,000 records of 1 KB in 20 transactions: {:?}", tried.elapsed());
    let tried = Instant::now();
    for _ in 0..50 {
        sink = committed(sink.transact(std::iter::empty(), &out(&positions, 0, b"p")));
    }
    eprintln!("a transaction with a position alone: {:?}", tried.elapsed() / 50);
}

/// A link that can be cut: every connection through it ends at once, new ones are taken.
struct Link {
    bootstrap: String,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Link {
    fn new() -> Self {
        let Kafka { listening, advertised, .. } = rig::kafka();
        let bootstrap = format!("127.0.0.1:{advertised}");
        let to = format!("127.0.0.1:{listening}");
        let listener = TcpListener::bind(&bootstrap).unwrap();
        let open = Arc::new(Mutex::new(Vec::new()));
        let streams = Arc::clone(&open);
        thread::spawn(move || {
            for from in listener.incoming() {
                let (Ok(from), Ok(to)) = (from, TcpStream::connect(&to)) else { continue };
                let mut streams = streams.lock().unwrap();
                for (mut a, mut b) in [(&from, &to), (&to, &from)]
                    .map(|(a, b)| (a.try_clone().unwrap(), b.try_clone().unwrap()))
                {
                    thread::spawn(move || {
                        let mut bytes = [0; 65_536];
                        while let Ok(n @ 1..) = a.read(&mut bytes) {
                            if b.write_all(&bytes[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = a.shutdown(Shutdown::Both);
                        let _ = b.shutdown(Shutdown::Both);
                    });
                }
                streams.extend([from, to]);
            }
        });
        Self { bootstrap, open }
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_link_that_breaks_on_the_way_makes_the_producer_suspect_however_often() {
    if is_missing("a_link_that_breaks_on_the_way_makes_the_producer_suspect_however_often") {
        return;
    }
    let (data, positions) = (topic("data", 1, &[]), topic("pos", 1, &[]));
    let link = Link::new();
    let cluster = plain(&link.bootstrap);
    let cutting = |sink: Sink| {
        let records = (0..6_000).map(|i| {
            if i == 5_500 {
                link.cut();
            }
            out(&data, 0, b"v")
        });
        sink.transact(records, &out(&positions, 0, b"p"))
    };
    let id = fresh("id");
    // Once within a transaction.
    let sink = Sink::fence(&cluster, &id, TRY).unwrap();
    let outcome = cutting(sink);
    assert!(matches!(outcome, CommitOutcome::CommittedButSuspect), "{outcome:?}");
    // Between transactions: nothing was under way, the next one is as good as any. Then within
    // one, soon after: librdkafka keeps back a line that it wrote twice in 30 s.
    let between_then_within = |sink: Sink| {
        // Connections that live less than 2 s are told of in other words.
        let settle = || thread::sleep(Duration::from_millis(2_500));
        let mut sink = committed(put(sink, &data, &[b"v"], &positions, "p"));
        for _ in 0..2 {
            settle();
            link.cut();
            settle();
            sink = committed(put(sink, &data, &[b"v"], &positions, "p"));
        }
        settle();
        cutting(sink)
    };
    let sink = Sink::fence(&cluster, &id, TRY).unwrap();
    let outcome = between_then_within(sink);
    assert!(matches!(outcome, CommitOutcome::CommittedButSuspect), "{outcome:?}");

    // The control: at the level Info alone the third break is not heard, in most runs.
    let unheard = (0..4).any(|_| {
        let mut config = client::transactional(&cluster, &id).unwrap();
        config.remove("debug");
        config.set_log_level(RDKafkaLogLevel::Info);
        let producer: BaseProducer<Watch> = config.create_with_context(Watch::new("t")).unwrap();
        producer.init_transactions(TRY).unwrap();
        let outcome = between_then_within(Sink::of(Detached::new(producer)));
        matches!(outcome, CommitOutcome::Committed(_))
    });
    assert!(unheard);
}
