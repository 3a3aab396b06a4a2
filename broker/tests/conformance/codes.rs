//! Where a broker could answer something else than Kafka does and no client would show it: codes, request by request.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::Offset;

use crate::cases::Case;
use crate::client::{Cluster, New, PATIENCE};
use crate::raw::{Appended, Holder, Listed, Raw, THEN, batch, batch_at};

// The protocol's error codes.
const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_TIMESTAMP: i16 = 32;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
const CONCURRENT_TRANSACTIONS: i16 = 51;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;
const OPERATION_NOT_ATTEMPTED: i16 = 55;
const PRODUCER_FENCED: i16 = 90;
const UNKNOWN_TOPIC_ID: i16 = 100;

pub const ALL: &[(&str, Case)] = &[
    ("concurrent_transactions", concurrent_transactions),
    ("init_as_holder", init_as_holder),
    ("late_holder", late_holder),
    ("whose_batch", whose_batch),
    ("stable_offset", stable_offset),
    ("times_that_mean_something", times_that_mean_something),
    ("topic_ids", topic_ids),
    ("deleted_in_a_transaction", deleted_in_a_transaction),
    ("partitions_that_are_not_there", partitions_that_are_not_there),
    ("at_the_limit", at_the_limit),
    ("far_future", far_future),
    ("broker_time", broker_time),
    ("more_replicas_than_nodes", more_replicas_than_nodes),
    ("codes_of_groups", codes_of_groups),
];

const NOBODY: Holder = Holder(-1, -1);

fn open(raw: &mut Raw, id: &str, holder: Holder, sequence: i32, topic: &str) {
    assert_eq!(raw.add(0, id, holder, &[topic]), [0]);
    assert_eq!(raw.produce(Some(id), topic, &batch(holder, sequence, true, &["open"])).code, 0);
}

/// Who takes over an id with an open transaction is first told to come again; the open one is over by then.
fn concurrent_transactions(cluster: &Cluster) {
    let topic = "concurrent";
    cluster.create(topic, 1, &[]);
    let mut raw = Raw::to(cluster);
    let first = raw.init(topic, 10_000).unwrap();
    open(&mut raw, topic, first, 0, topic);
    assert_eq!(raw.init_once(topic, 10_000), (CONCURRENT_TRANSACTIONS, NOBODY));
    assert_eq!(raw.end(2, topic, first, true), PRODUCER_FENCED, "fenced before anybody holds it");
    let next = raw.init(topic, 10_000).unwrap();
    assert_eq!(next, Holder(first.0, first.1 + 2));
    assert_eq!(cluster.marks(topic, true), (0, 2));
    assert_eq!(cluster.texts(topic, true), Vec::<String>::new());
}

/// A holder may raise its own epoch, and say so again where the answer was lost; one that was replaced may not.
fn init_as_holder(cluster: &Cluster) {
    let topic = "own.epoch";
    cluster.create(topic, 1, &[]);
    let mut raw = Raw::to(cluster);
    let first = raw.init(topic, 10_000).unwrap();
    let second = Holder(first.0, first.1 + 1);
    assert_eq!(raw.init_as(4, topic, first), Ok(second));
    assert_eq!(raw.init_as(4, topic, first), Ok(second), "said again");
    assert_eq!(raw.init_as(4, topic, second), Ok(Holder(first.0, first.1 + 2)));
    assert_eq!(raw.init_as(4, topic, first), Err(PRODUCER_FENCED));
    assert_eq!(raw.init_as(3, topic, first), Err(INVALID_PRODUCER_EPOCH));
    assert_eq!(raw.init_as(4, topic, Holder(first.0 + 1_000_000, 0)), Err(PRODUCER_FENCED));
    let other = raw.init(topic, 10_000).unwrap();
    assert_eq!(other, Holder(first.0, first.1 + 3));
    let replaced = Holder(first.0, first.1 + 2);
    assert_eq!(raw.init_as(4, topic, replaced), Err(PRODUCER_FENCED));
    // With an open transaction, which it gives up: the epoch that the abort took is its own.
    open(&mut raw, topic, other, 0, topic);
    let after = Holder(first.0, other.1 + 1);
    assert_eq!(raw.init_as(4, topic, other), Ok(after));
    assert_eq!(raw.init_as(4, topic, other), Ok(after), "said again");
    assert_eq!(cluster.texts(topic, true), Vec::<String>::new());
    // One that was replaced ends what the holder has open all the same, before it is refused.
    open(&mut raw, topic, after, 0, topic);
    assert_eq!(raw.init_as(4, topic, replaced), Err(PRODUCER_FENCED));
    assert_eq!(raw.end(2, topic, after, true), PRODUCER_FENCED);
    assert_eq!(cluster.texts(topic, true), Vec::<String>::new());
}

/// What a holder is told whose transaction was aborted because its time was over.
fn late_holder(cluster: &Cluster) {
    let topic = "late.holder";
    cluster.create(topic, 1, &[]);
    let mut raw = Raw::to(cluster);
    let late = raw.init(topic, 300).unwrap();
    open(&mut raw, topic, late, 0, topic);
    let end = Instant::now() + PATIENCE;
    while raw.fetch_of(topic, 0, 0, true).stable < 2 {
        assert!(Instant::now() < end, "it stays open");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(raw.end(1, topic, late, true), INVALID_PRODUCER_EPOCH);
    assert_eq!(raw.end(2, topic, late, true), PRODUCER_FENCED);
    assert_eq!(raw.add(0, topic, late, &[topic]), [INVALID_PRODUCER_EPOCH]);
    assert_eq!(raw.add(2, topic, late, &[topic]), [PRODUCER_FENCED]);
    let more = raw.produce(Some(topic), topic, &batch(late, 1, true, &["more"]));
    assert_eq!(more.code, INVALID_PRODUCER_EPOCH);
    let after = Holder(late.0, late.1 + 1);
    assert_eq!(raw.init_as(4, topic, late), Ok(after), "who was only late may go on");
    open(&mut raw, topic, after, 0, topic);
    assert_eq!(raw.end(2, topic, after, true), 0);
    assert_eq!(cluster.texts(topic, true), ["open"]);
    assert_eq!(raw.init(topic, 300), Ok(Holder(late.0, late.1 + 2)));
}

/// A batch must be of the transaction that is open, of its producer and its id.
fn whose_batch(cluster: &Cluster) {
    let topic = "whose";
    cluster.create(topic, 1, &[]);
    let mut raw = Raw::to(cluster);
    let one = raw.init("whose.one", 10_000).unwrap();
    let two = raw.init("whose.two", 10_000).unwrap();
    open(&mut raw, "whose.one", one, 0, topic);
    let plain = raw.produce(Some("whose.one"), topic, &batch(one, 1, false, &["plain"]));
    assert_eq!(plain.code, INVALID_TXN_STATE, "a batch beside its producer's open transaction");
    let unnamed = raw.produce(None, topic, &batch(two, 0, true, &["unnamed"]));
    assert_eq!(
        unnamed.code, TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        "in a transaction that has no name"
    );
    let foreign =
        raw.produce(Some("whose.two"), topic, &batch(Holder(two.0 + 7, 0), 0, true, &["f"]));
    assert_eq!(foreign.code, INVALID_PRODUCER_ID_MAPPING);
    assert_eq!(raw.end(1, "whose.one", one, true), 0);
    assert_eq!(cluster.texts(topic, false), ["open"]);
}

/// Where what is committed ends while a transaction is open, in every answer that says so.
fn stable_offset(cluster: &Cluster) {
    let topic = "stable";
    cluster.create(topic, 1, &[]);
    let mut raw = Raw::to(cluster);
    let put = |raw: &mut Raw, time: i64| {
        assert_eq!(raw.produce(None, topic, &batch_at(time, NOBODY, -1, false, &["x"])).code, 0);
    };
    put(&mut raw, THEN);
    let holder = raw.init(topic, 10_000).unwrap();
    assert_eq!(raw.add(0, topic, holder, &[topic]), [0]);
    let batch = batch_at(THEN + 10, holder, 0, true, &["open"]);
    assert_eq!(raw.produce(Some(topic), topic, &batch).code, 0);
    put(&mut raw, THEN + 20);

    let nothing = Listed(0, -1, -1);
    for version in [2, 7] {
        let mut at = |committed, time| raw.list(version, topic, committed, time);
        assert_eq!([at(false, -1), at(true, -1)], [Listed(0, -1, 3), Listed(0, -1, 1)], "latest");
        assert_eq!([at(false, -2), at(true, -2)], [Listed(0, -1, 0), Listed(0, -1, 0)], "earliest");
        assert_eq!(at(true, THEN), Listed(0, THEN, 0));
        assert_eq!(at(false, THEN + 1), Listed(0, THEN + 10, 1));
        assert_eq!(at(true, THEN + 1), nothing, "it is not committed yet");
        assert_eq!(at(true, THEN + 11), nothing, "it lies behind what is not committed yet");
        assert_eq!(at(false, THEN + 21), nothing);
    }
    assert_eq!(raw.list(7, topic, false, -3), Listed(0, THEN + 20, 2), "the largest time");
    assert_eq!(raw.list(7, topic, true, -3), nothing);
    let codes = [(0, 0), (1, 0), (3, 0), (4, OFFSET_OUT_OF_RANGE)];
    for (from, code) in codes {
        let fetched = raw.fetch_of(topic, 0, from, true);
        assert_eq!(fetched.code, code, "from {from}");
        assert_eq!(fetched.records.is_empty(), from > 0, "from {from}");
    }
    let fetched = raw.fetch_of(topic, 0, 1, true);
    assert_eq!((fetched.end, fetched.stable), (3, 1));

    assert_eq!(raw.end(1, topic, holder, false), 0);
    let end = Instant::now() + PATIENCE;
    while raw.list(2, topic, true, -1) != Listed(0, -1, 4) {
        assert!(Instant::now() < end, "no marker");
    }
    for (from, aborted) in [(0, 1), (2, 1), (3, 1), (4, 0)] {
        let fetched = raw.fetch_of(topic, 0, from, true);
        assert_eq!(fetched.aborted, [(holder.0, 1)][..aborted], "from {from}");
        assert_eq!((fetched.code, fetched.end, fetched.stable), (0, 4, 4));
    }
    assert_eq!(raw.list(2, topic, true, THEN + 1), Listed(0, THEN + 10, 1), "records are records");
}

/// Negative times are words of the protocol, each from a version on.
fn times_that_mean_something(cluster: &Cluster) {
    let topic = "words";
    cluster.create(topic, 1, &[]);
    let mut raw = Raw::to(cluster);
    let nothing = Listed(0, -1, -1);
    assert_eq!(raw.list(7, topic, false, -3), nothing, "nothing is there");
    assert_eq!(raw.list(7, topic, false, 0), nothing);
    assert_eq!(raw.produce(None, topic, &batch(NOBODY, -1, false, &["x"])).code, 0);
    assert_eq!(raw.list(7, topic, false, -3), Listed(0, THEN, 0));
    let unknown = Listed(UNSUPPORTED_VERSION, -1, -1);
    assert_eq!(raw.list(2, topic, false, -3), unknown, "before the version that has it");
    assert_eq!(raw.list(7, topic, false, -4), unknown);
    assert_eq!(raw.list(7, topic, false, -9), unknown);
    assert_eq!(raw.list(2, "no.such.topic", false, -1).0, UNKNOWN_TOPIC_OR_PARTITION);
}

/// A reader that names a topic by its id is told when another one has its name.
fn topic_ids(cluster: &Cluster) {
    let topic = "named.by.id";
    cluster.create(topic, 1, &[]);
    let mut raw = Raw::to(cluster);
    let one = batch(NOBODY, -1, false, &["x"]);
    assert_eq!(raw.produce(None, topic, &one).code, 0);
    let before = raw.topic_id(topic);
    assert_eq!(raw.fetch_by_id(before), (0, one.len()));
    cluster.delete(topic);
    assert_eq!(raw.fetch_by_id(before), (UNKNOWN_TOPIC_ID, 0), "deleted");
    cluster.create(topic, 1, &[]);
    assert_eq!(raw.produce(None, topic, &one).code, 0);
    assert_eq!(raw.fetch_by_id(before), (UNKNOWN_TOPIC_ID, 0), "made anew");
    let after = raw.topic_id(topic);
    assert_eq!(raw.fetch_by_id(after), (0, one.len()));
    // By name nobody is told: what douane compares ids for.
    assert_eq!(raw.fetch_of(topic, 0, 0, true).code, 0);
}

/// A topic that is deleted, or made anew, while a transaction has records in it does not keep the transaction open.
fn deleted_in_a_transaction(cluster: &Cluster) {
    let [kept, gone, anew] = ["in.kept", "in.gone", "in.anew"];
    for topic in [kept, gone, anew] {
        cluster.create(topic, 1, &[]);
    }
    let mut raw = Raw::to(cluster);
    let holder = raw.init("in", 10_000).unwrap();
    assert_eq!(raw.add(0, "in", holder, &[kept, gone, anew]), [0, 0, 0]);
    for topic in [kept, gone, anew] {
        assert_eq!(raw.produce(Some("in"), topic, &batch(holder, 0, true, &["x"])).code, 0);
    }
    cluster.delete(gone);
    cluster.delete(anew);
    cluster.create(anew, 1, &[]);
    assert_eq!(raw.end(1, "in", holder, true), 0);
    let end = Instant::now() + PATIENCE;
    while raw.list(2, kept, true, -1) != Listed(0, -1, 2) {
        assert!(Instant::now() < end, "no marker");
    }
    assert_eq!(cluster.texts(kept, true), ["x"]);
    while raw.list(2, anew, true, -1) != Listed(0, -1, 1) {
        assert!(Instant::now() < end, "the marker goes by the topic's name");
    }
    assert_eq!(cluster.texts(anew, false), Vec::<String>::new());
    // The next one begins as if nothing had been.
    let next = raw.init("in", 10_000).unwrap();
    open(&mut raw, "in", next, 0, anew);
    assert_eq!(raw.end(1, "in", next, true), 0);
    assert_eq!(cluster.texts(anew, true), ["open"]);
}

/// Every request about a partition that its topic does not have.
fn partitions_that_are_not_there(cluster: &Cluster) {
    let topic = "one.partition";
    cluster.create(topic, 1, &[]);
    let mut raw = Raw::to(cluster);
    let one = batch(NOBODY, -1, false, &["x"]);
    let unknown = Appended { code: UNKNOWN_TOPIC_OR_PARTITION, base: -1 };
    assert_eq!(raw.produce_to(1, None, topic, &one), unknown);
    let fetched = raw.fetch_of(topic, 1, 0, true);
    assert_eq!((fetched.code, fetched.records.len()), (UNKNOWN_TOPIC_OR_PARTITION, 0));
    let holder = raw.init(topic, 10_000).unwrap();
    assert_eq!(raw.add(0, topic, holder, &["no.such.topic"]), [UNKNOWN_TOPIC_OR_PARTITION]);
    let both = raw.add(0, topic, holder, &[topic, "no.such.topic"]);
    assert_eq!(both, [OPERATION_NOT_ATTEMPTED, UNKNOWN_TOPIC_OR_PARTITION]);
    assert_eq!(raw.end(1, topic, holder, true), INVALID_TXN_STATE, "nothing was opened");
}

/// A batch may be exactly as large as its topic allows.
fn at_the_limit(cluster: &Cluster) {
    let exact = batch(NOBODY, -1, false, &["1234567890"]);
    for (topic, limit, code) in
        [("limit.exact", exact.len(), 0), ("limit.below", exact.len() - 1, MESSAGE_TOO_LARGE)]
    {
        cluster.create(topic, 1, &[("max.message.bytes", &limit.to_string())]);
        assert_eq!(Raw::to(cluster).produce(None, topic, &exact).code, code, "{topic}");
    }
}

/// A time far ahead of the broker's clock is refused; one of long ago is not.
fn far_future(cluster: &Cluster) {
    cluster.create("future", 1, &[]);
    cluster.create("future.open", 1, &[("message.timestamp.after.max.ms", &i64::MAX.to_string())]);
    let mut raw = Raw::to(cluster);
    let now = now();
    let mut code =
        |topic, time| raw.produce(None, topic, &batch_at(time, NOBODY, -1, false, &["x"])).code;
    assert_eq!(code("future", now + 3_500_000), 0);
    assert_eq!(code("future", now + 3_700_000), INVALID_TIMESTAMP);
    assert_eq!(code("future", 0), 0);
    assert_eq!(code("future.open", now + 3_700_000), 0);
    assert_eq!(cluster.marks("future", false), (0, 2));
}

/// A topic may count the time at which records are appended, whatever their producer says.
fn broker_time(cluster: &Cluster) {
    let topic = "appended";
    cluster.create(topic, 1, &[("message.timestamp.type", "LogAppendTime")]);
    let mut raw = Raw::to(cluster);
    let before = now();
    for time in [THEN, before + 10_000_000] {
        let two = batch_at(time, NOBODY, -1, false, &["x", "y"]);
        assert_eq!(raw.produce(None, topic, &two).code, 0);
    }
    let compressed = cluster.producer(&[("compression.type", "gzip"), ("linger.ms", "50")]);
    let text = "z".repeat(1000);
    let one = New { value: Some(text.as_bytes()), timestamp: Some(THEN), ..New::default() };
    assert_eq!(compressed.send_all(topic, &[one.clone(), one]), [Ok(()), Ok(())]);
    let (records, _) = cluster.read_from(topic, Offset::Beginning, true);
    assert_eq!(records.len(), 6);
    assert!(records.is_sorted_by_key(|record| record.timestamp));
    assert!(records.iter().all(|record| (before..=now()).contains(&record.timestamp)));
    let first = Listed(0, records[0].timestamp, 0);
    assert_eq!([raw.list(7, topic, true, 0), raw.list(7, topic, true, before)], [first, first]);
    assert_eq!(raw.list(7, topic, true, now() + 1), Listed(0, -1, -1));
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    i64::try_from(now).expect("a time")
}

/// No topic waits for more copies than it has.
fn more_replicas_than_nodes(cluster: &Cluster) {
    let topic = "few";
    cluster.create(topic, 1, &[("min.insync.replicas", "2")]);
    let one = batch(NOBODY, -1, false, &["x"]);
    assert_eq!(Raw::to(cluster).produce(None, topic, &one), Appended { code: 0, base: 0 });
}

/// Offsets of a group, in a transaction and without, from whom they are not taken.
fn codes_of_groups(cluster: &Cluster) {
    let topic = "codes.group";
    cluster.create(topic, 1, &[]);
    let mut raw = Raw::to(cluster);
    let group = topic;
    assert_eq!(raw.commit_offset(group, ("", -1), topic), 0, "a group without members");
    assert_eq!(raw.commit_offset(group, ("nobody", 3), topic), UNKNOWN_MEMBER_ID);
    assert_eq!(raw.commit_offset("none.yet", ("nobody", 3), topic), ILLEGAL_GENERATION);
    assert_eq!(raw.commit_offset(group, ("", -1), "no.such.topic"), UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(raw.heartbeat(group, ("nobody", 3)), UNKNOWN_MEMBER_ID);
    let first = raw.init(topic, 10_000).unwrap();
    let not_added = raw.hold_offset(topic, first, group, topic);
    assert_eq!(not_added, INVALID_TXN_STATE, "the group was not taken into the transaction");
    assert_eq!(raw.add_group(0, topic, first, group), 0);
    assert_eq!(raw.hold_offset(topic, first, group, topic), 0);
    let second = raw.init(topic, 10_000).unwrap();
    assert_eq!(raw.add_group(0, topic, first, group), INVALID_PRODUCER_EPOCH);
    assert_eq!(raw.add_group(2, topic, first, group), PRODUCER_FENCED);
    assert_eq!(raw.hold_offset(topic, first, group, topic), INVALID_PRODUCER_EPOCH);
    assert_eq!(raw.end(1, topic, second, true), INVALID_TXN_STATE);
}
