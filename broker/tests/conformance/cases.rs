//! The cases. Each makes its own topics and names, so they can run in any order on one cluster.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{Cluster, New, PATIENCE};
use crate::raw::{Appended, Holder, Raw, batch};

// The protocol's error codes.
const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
const INVALID_TRANSACTION_TIMEOUT: i16 = 50;
const OPERATION_NOT_ATTEMPTED: i16 = 55;
const INVALID_RECORD: i16 = 87;
const PRODUCER_FENCED: i16 = 90;

pub type Case = fn(&Cluster);

pub const ALL: &[(&str, Case)] = &[
    ("codecs", codecs),
    ("isolation", isolation),
    ("fencing", fencing),
    ("zombie", zombie),
    ("codes_of_transactions", codes_of_transactions),
    ("late_end_txn", late_end_txn),
    ("codes_of_produce", codes_of_produce),
    ("verbatim", verbatim),
    ("timeout", timeout),
    ("deleted_records", deleted_records),
    ("out_of_range", out_of_range),
    ("made_again", made_again),
    ("added_partitions", added_partitions),
    ("too_large", too_large),
    ("by_time", by_time),
    ("settings", settings),
    ("group_offsets", group_offsets),
    ("group_members", group_members),
    ("malformed", malformed),
];

/// Batches of every codec come back as they were sent.
fn codecs(cluster: &Cluster) {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("codecs.{codec}");
        cluster.create(&topic, 1, &[]);
        let settings = [("compression.type", codec), ("linger.ms", "50")];
        let sender = cluster.producer(&settings);
        let value = "abc".repeat(500);
        let headers: &[(&str, Option<&[u8]>)] = &[("a", Some(b"1")), ("a", Some(b"")), ("b", None)];
        let news: Vec<New<'_>> = (0..200)
            .map(|i| New {
                key: (i % 3 > 0).then_some(b"key\0key".as_slice()),
                value: (i % 5 > 0).then_some(value.as_bytes()),
                timestamp: Some(1_700_000_000_000 + i),
                headers: if i % 2 == 0 { headers } else { &[] },
            })
            .collect();
        assert!(sender.send_all(&topic, &news).iter().all(Result::is_ok), "{codec}");
        let (records, end) = cluster.read_from(&topic, Offset::Beginning, true);
        assert_eq!((records.len(), end), (200, 200), "{codec}");
        for (new, record) in news.iter().zip(&records) {
            assert_eq!(new.key, record.key.as_deref());
            assert_eq!(new.value, record.value.as_deref());
            assert_eq!(new.timestamp, Some(record.timestamp));
            let had: Vec<_> =
                record.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
            assert_eq!(new.headers, had);
        }
    }
}

/// Committed, aborted and open transactions that overlap in one partition.
fn isolation(cluster: &Cluster) {
    let topic = "isolation";
    cluster.create(topic, 1, &[]);
    let (a, b, c) = (cluster.holder("iso.a"), cluster.holder("iso.b"), cluster.holder("iso.c"));
    let plain = cluster.producer(&[]);
    plain.send(topic, "plain 1");
    for sender in [&a, &b, &c] {
        sender.begin();
    }
    a.send(topic, "a 1");
    b.send(topic, "b 1");
    a.send(topic, "a 2");
    c.send(topic, "c 1");
    plain.send(topic, "plain 2");
    b.send(topic, "b 2");
    assert_eq!(cluster.marks(topic, true), (0, 1), "the last stable offset is before a 1");
    assert_eq!(cluster.marks(topic, false), (0, 7));
    a.commit().unwrap();
    b.abort().unwrap();
    assert_eq!(cluster.texts(topic, true), ["plain 1", "a 1", "a 2"], "c is open from here on");
    assert_eq!(cluster.texts(topic, false).len(), 7);
    b.begin();
    b.send(topic, "b 3");
    b.commit().unwrap();
    assert_eq!(cluster.texts(topic, true).len(), 3, "also where a later one is committed");
    c.commit().unwrap();
    let committed = ["plain 1", "a 1", "a 2", "c 1", "plain 2", "b 3"];
    assert_eq!(cluster.texts(topic, true), committed);
    let all = ["plain 1", "a 1", "b 1", "a 2", "c 1", "plain 2", "b 2", "b 3"];
    assert_eq!(cluster.texts(topic, false), all);
    // Four markers: commit, abort, commit, commit. A reader's position passes them.
    let (_, end) = cluster.read_from(topic, Offset::Beginning, true);
    assert_eq!(end, 12);
    assert_eq!(cluster.marks(topic, true), (0, 12));
}

/// A second holder of a transactional id fences the first, whose open transaction is aborted at once.
fn fencing(cluster: &Cluster) {
    let topic = "fencing";
    cluster.create(topic, 1, &[]);
    let old = cluster.holder("fencing");
    old.begin();
    old.send(topic, "old");
    let new = cluster.holder("fencing");
    assert_eq!(cluster.marks(topic, true), (0, 2), "aborted before the new one is told");
    new.begin();
    new.send(topic, "new");
    let refused = old.commit().expect_err("fenced");
    assert!(is_fenced(&refused), "{refused}");
    new.commit().unwrap();
    assert_eq!(cluster.texts(topic, true), ["new"]);
    assert_eq!(cluster.texts(topic, false), ["old", "new"]);
}

fn is_fenced(error: &KafkaError) -> bool {
    let codes = [RDKafkaErrorCode::Fenced, RDKafkaErrorCode::ProducerFenced];
    let code = match error {
        KafkaError::Transaction(error) => Some(error.code()),
        other => other.rdkafka_error_code(),
    };
    code.is_some_and(|code| codes.contains(&code))
}

/// A producer that was replaced while it stood still writes nothing more, whatever it tries.
fn zombie(cluster: &Cluster) {
    let topic = "zombie";
    cluster.create(topic, 1, &[]);
    let old = cluster.holder("zombie");
    old.begin();
    old.send(topic, "old 1");
    old.commit().unwrap();
    let new = cluster.holder("zombie");
    new.begin();
    new.send(topic, "new 1");
    old.begin();
    assert!(old.try_send(topic, "old 2").is_err());
    let fault = old.0.client().fatal_error().expect("a producer that is not fenced");
    let fenced = [
        RDKafkaErrorCode::Fenced,
        RDKafkaErrorCode::ProducerFenced,
        RDKafkaErrorCode::InvalidProducerEpoch,
    ];
    assert!(fenced.contains(&fault.0), "{fault:?}");
    new.commit().unwrap();
    assert_eq!(cluster.texts(topic, false), ["old 1", "new 1"]);
}

/// What each request of a transaction answers to a holder, an old holder, and a stranger.
fn codes_of_transactions(cluster: &Cluster) {
    let topic = "codes";
    cluster.create(topic, 1, &[]);
    let mut raw = Raw::to(cluster);
    let id = "codes";
    let first = raw.init(id, 10_000).unwrap();
    assert_eq!(raw.end(1, id, first, true), INVALID_TXN_STATE, "nothing is open");
    assert_eq!(raw.add(0, id, first, &[topic]), [0]);
    let one = batch(first, 0, true, &["a", "b"]);
    assert_eq!(raw.produce(Some(id), topic, &one), Appended { code: 0, base: 0 });
    assert_eq!(raw.produce(Some(id), topic, &one), Appended { code: 0, base: 0 }, "repeated");
    let gap = raw.produce(Some(id), topic, &batch(first, 5, true, &["c"]));
    assert_eq!(gap.code, OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(raw.end(1, id, first, true), 0);
    assert_eq!(raw.end(1, id, first, true), 0, "said again");
    assert_eq!(raw.end(1, id, first, false), INVALID_TXN_STATE, "it was committed");
    let outside = raw.produce(Some(id), topic, &batch(first, 2, true, &["c"]));
    assert_eq!(outside.code, INVALID_TXN_STATE, "the partition is in no open transaction");

    let second = raw.init(id, 10_000).unwrap();
    assert_eq!((second.0, second.1), (first.0, first.1 + 1), "the same producer, the next epoch");
    assert_eq!(raw.end(1, id, first, true), INVALID_PRODUCER_EPOCH);
    assert_eq!(raw.end(2, id, first, true), PRODUCER_FENCED);
    assert_eq!(raw.add(0, id, first, &[topic]), [INVALID_PRODUCER_EPOCH]);
    assert_eq!(raw.add(2, id, first, &[topic]), [PRODUCER_FENCED]);
    let stranger = Holder(second.0 + 1_000_000, 0);
    assert_eq!(raw.end(1, id, stranger, true), INVALID_PRODUCER_ID_MAPPING);
    assert_eq!(raw.end(1, "nobody", second, true), INVALID_PRODUCER_ID_MAPPING);
    assert_eq!(
        raw.add(0, id, second, &[topic, "no.such.topic"]),
        [OPERATION_NOT_ATTEMPTED, UNKNOWN_TOPIC_OR_PARTITION],
        "all or nothing"
    );

    // A third one fences with an open transaction: two epochs on, one of them for the abort.
    assert_eq!(raw.add(0, id, second, &[topic]), [0]);
    assert_eq!(raw.produce(Some(id), topic, &batch(second, 0, true, &["d"])).code, 0);
    let third = raw.init(id, 10_000).unwrap();
    assert_eq!((third.0, third.1), (second.0, second.1 + 2));
    let late = raw.produce(Some(id), topic, &batch(second, 1, true, &["e"]));
    assert_eq!(late.code, INVALID_PRODUCER_EPOCH, "the marker fences in the partition, too");
    assert_eq!(raw.add(0, id, third, &[topic]), [0]);
    assert_eq!(raw.produce(Some(id), topic, &batch(third, 0, true, &["f"])).code, 0);
    assert_eq!(raw.end(1, id, third, false), 0);
    assert_eq!(raw.end(1, id, third, false), 0, "said again");
    assert_eq!(raw.end(1, id, third, true), INVALID_TXN_STATE, "it was aborted");
    assert_eq!(cluster.texts(topic, true), ["a", "b"]);
    assert_eq!(raw.init(id, 1_000_000_000), Err(INVALID_TRANSACTION_TIMEOUT));
}

/// An EndTxn that comes late ends the transaction that is open by then: what douane has to live with (KIP-890).
fn late_end_txn(cluster: &Cluster) {
    let topic = "late";
    cluster.create(topic, 1, &[]);
    let (mut raw, mut slow) = (Raw::to(cluster), Raw::to(cluster));
    let holder = raw.init("late", 10_000).unwrap();
    let mut sequence = 0;
    let mut open = |raw: &mut Raw, value| {
        assert_eq!(raw.add(0, "late", holder, &[topic]), [0]);
        let one = batch(holder, sequence, true, &[value]);
        assert_eq!(raw.produce(Some("late"), topic, &one).code, 0);
        sequence += 1;
    };
    open(&mut raw, "aborted");
    assert_eq!(raw.end(1, "late", holder, false), 0);
    open(&mut raw, "torn by a late abort");
    assert_eq!(slow.end(1, "late", holder, false), 0);
    assert_eq!(raw.end(1, "late", holder, true), INVALID_TXN_STATE);
    open(&mut raw, "committed");
    assert_eq!(raw.end(1, "late", holder, true), 0);
    open(&mut raw, "torn by a late commit");
    assert_eq!(slow.end(1, "late", holder, true), 0);
    assert_eq!(raw.end(1, "late", holder, true), 0, "and the producer does not learn of it");
    assert_eq!(cluster.texts(topic, true), ["committed", "torn by a late commit"]);
}

/// What Produce refuses, and that nothing of it stays.
fn codes_of_produce(cluster: &Cluster) {
    let topic = "refused";
    cluster.create(topic, 1, &[("max.message.bytes", "200")]);
    let mut raw = Raw::to(cluster);
    let nobody = Holder(-1, -1);
    let good = batch(nobody, -1, false, &["good"]);
    assert_eq!(raw.produce(None, "no.such.topic", &good).code, UNKNOWN_TOPIC_OR_PARTITION);
    let mut torn = good.clone();
    *torn.last_mut().unwrap() ^= 1;
    assert_eq!(raw.produce(None, topic, &torn).code, CORRUPT_MESSAGE);
    let large = "x".repeat(50);
    let large = batch(nobody, -1, false, &[&large, &large, &large, &large]);
    assert_eq!(raw.produce(None, topic, &large).code, MESSAGE_TOO_LARGE);
    let two = [good.clone(), good.clone()].concat();
    assert_eq!(raw.produce(None, topic, &two).code, INVALID_RECORD);
    assert_eq!(raw.produce(None, topic, &good), Appended { code: 0, base: 0 });
    // A producer that nothing is known of begins with any number; from then on each follows.
    let producer = raw.init("refused", 10_000).unwrap();
    assert_eq!(raw.produce(None, topic, &batch(producer, 7, false, &["n 7"])).code, 0);
    assert_eq!(
        raw.produce(None, topic, &batch(producer, 9, false, &["n 9"])).code,
        OUT_OF_ORDER_SEQUENCE_NUMBER
    );
    assert_eq!(raw.produce(None, topic, &batch(producer, 8, false, &["n 8"])).code, 0);
    assert_eq!(cluster.texts(topic, false), ["good", "n 7", "n 8"]);
}

/// Bytes stay bytes: beside the two fields that a broker writes, a batch comes back as it was sent.
fn verbatim(cluster: &Cluster) {
    let topic = "verbatim";
    cluster.create(topic, 1, &[]);
    let mut raw = Raw::to(cluster);
    let sent: Vec<Vec<u8>> = ["one", "two"]
        .iter()
        .map(|value| batch(Holder(-1, -1), -1, false, &[value, value]))
        .collect();
    for one in &sent {
        assert_eq!(raw.produce(None, topic, one).code, 0);
    }
    let (code, mut back) = raw.fetch(topic, 0);
    assert_eq!((code, back.len()), (0, sent[0].len() + sent[1].len()));
    for (index, batch) in back.chunks_mut(sent[0].len()).enumerate() {
        assert_eq!(batch[..8], (index as i64 * 2).to_be_bytes());
        assert_eq!(batch[12..16], [0; 4], "the leader's epoch");
        batch[..8].fill(0);
        batch[12..16].fill(0xff);
        assert_eq!(batch, sent[index]);
    }
}

/// A transaction that its producer leaves open is aborted when its time is over, and its producer is fenced.
fn timeout(cluster: &Cluster) {
    let topic = "timeout";
    cluster.create(topic, 1, &[]);
    let late = cluster.holder_for("timeout", "1000");
    late.begin();
    late.send(topic, "late");
    assert_eq!(cluster.marks(topic, true), (0, 0));
    let end = Instant::now() + PATIENCE;
    while cluster.marks(topic, true).1 == 0 {
        assert!(Instant::now() < end, "it stays open");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(cluster.marks(topic, false), (0, 2), "one record, one marker");
    assert!(late.commit().is_err());
    assert_eq!(cluster.texts(topic, true), Vec::<String>::new());
    cluster.holder("timeout");
}

/// Positions outside the log, and records that were deleted.
fn deleted_records(cluster: &Cluster) {
    let topic = "deleted";
    cluster.create(topic, 1, &[]);
    let sender = cluster.producer(&[]);
    for n in 0..10 {
        sender.send(topic, &n.to_string());
    }
    cluster.delete_records(topic, 4).unwrap();
    assert_eq!(cluster.marks(topic, false), (4, 10));
    assert_eq!(cluster.texts(topic, true), ["4", "5", "6", "7", "8", "9"]);
    assert_eq!(cluster.delete_records(topic, 11), Err(RDKafkaErrorCode::OffsetOutOfRange));
    let mut raw = Raw::to(cluster);
    for (from, code) in [(3, OFFSET_OUT_OF_RANGE), (4, 0), (10, 0), (11, OFFSET_OUT_OF_RANGE)] {
        assert_eq!(raw.fetch(topic, from).0, code, "from {from}");
    }
    cluster.delete_records(topic, -1).unwrap();
    assert_eq!(cluster.marks(topic, false), (10, 10));
    sender.send(topic, "10");
    assert_eq!(cluster.marks(topic, false), (10, 11));
    cluster.create("compacted", 1, &[("cleanup.policy", "compact")]);
    let refused = cluster.delete_records("compacted", 0);
    assert_eq!(refused, Err(RDKafkaErrorCode::PolicyViolation));
}

/// A reader at a deleted position is told once that it is out of range.
fn out_of_range(cluster: &Cluster) {
    let topic = "range";
    cluster.create(topic, 1, &[]);
    let sender = cluster.producer(&[]);
    for n in 0..10 {
        sender.send(topic, &n.to_string());
    }
    cluster.delete_records(topic, 5).unwrap();
    let consumer = cluster.consumer(true);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(2)).unwrap();
    consumer.assign(&list).unwrap();
    let end = Instant::now() + PATIENCE;
    let told = loop {
        assert!(Instant::now() < end, "nothing is said");
        if let Some(said) = consumer.poll(Duration::from_millis(50)) {
            break said.map(|message| message.offset());
        }
    };
    let lost = KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset);
    assert_eq!(told, Err(lost));
}

/// A topic made again under its name has another id and begins at 0.
fn made_again(cluster: &Cluster) {
    let topic = "again";
    cluster.create(topic, 2, &[]);
    cluster.producer(&[]).send(topic, "before");
    let mut raw = Raw::to(cluster);
    let before = raw.topic_id(topic);
    assert_eq!(raw.topic_id(topic), before);
    assert_eq!(cluster.try_create(topic, 1, &[]), Err(RDKafkaErrorCode::TopicAlreadyExists));
    cluster.delete(topic);
    cluster.create(topic, 2, &[]);
    assert_ne!(raw.topic_id(topic), before);
    assert_eq!(cluster.texts(topic, false), Vec::<String>::new());
    cluster.producer(&[]).send(topic, "after");
    assert_eq!(cluster.texts(topic, false), ["after"]);
}

/// Added partitions begin at 0; the others keep what they have.
fn added_partitions(cluster: &Cluster) {
    let topic = "grown";
    cluster.create(topic, 1, &[]);
    cluster.producer(&[]).send(topic, "0");
    cluster.grow(topic, 3);
    let ends = |partition| cluster.consumer(false).fetch_watermarks(topic, partition, PATIENCE);
    assert_eq!([ends(0), ends(1), ends(2)], [Ok((0, 1)), Ok((0, 0)), Ok((0, 0))]);
}

/// A record too large for the topic is refused, aborts its transaction, and is no trouble to the next holder.
fn too_large(cluster: &Cluster) {
    let topic = "large";
    cluster.create(topic, 1, &[("max.message.bytes", "1000")]);
    let sender = cluster.holder("large");
    sender.begin();
    let refused = sender.try_send(topic, &"x".repeat(2000));
    assert_eq!(refused, Err(RDKafkaErrorCode::MessageSizeTooLarge));
    assert!(sender.commit().is_err());
    sender.abort().unwrap();
    // A producer that has aborted is not used again: librdkafka purges what is sent next, now and then.
    let sender = cluster.holder("large");
    sender.begin();
    sender.send(topic, "small");
    sender.commit().unwrap();
    assert_eq!(cluster.texts(topic, true), ["small"]);
}

/// The first record of a time or later.
fn by_time(cluster: &Cluster) {
    let topic = "times";
    cluster.create(topic, 1, &[]);
    let sender = cluster.producer(&[("linger.ms", "50")]);
    let start = 1_700_000_000_000;
    let news: Vec<New<'_>> = [0, 10, 30, 20, 40]
        .iter()
        .map(|n| New { value: Some(b"v"), timestamp: Some(start + n), ..New::default() })
        .collect();
    for one in news.chunks(3) {
        assert!(sender.send_all(topic, one).iter().all(Result::is_ok));
    }
    let at = |time: i64| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(time)).unwrap();
        let found = cluster.consumer(false).offsets_for_times(list, PATIENCE).unwrap();
        found.find_partition(topic, 0).unwrap().offset()
    };
    let offset = Offset::Offset;
    assert_eq!([at(0), at(start), at(start + 1)], [offset(0), offset(0), offset(1)]);
    assert_eq!([at(start + 11), at(start + 30), at(start + 31)], [offset(2), offset(2), offset(4)]);
    assert_eq!(at(start + 41), Offset::End);
}

/// Settings are kept, described with their defaults, and changed; wrong ones are refused.
fn settings(cluster: &Cluster) {
    let topic = "settings";
    cluster.create(topic, 1, &[("cleanup.policy", "compact"), ("retention.ms", "-1")]);
    let found = cluster.settings(topic);
    let is = |name: &str, value: &str, set: bool| {
        assert_eq!(found.get(name), Some(&(value.to_owned(), set)), "{name}");
    };
    is("cleanup.policy", "compact", true);
    is("retention.ms", "-1", true);
    is("min.insync.replicas", "1", false);
    is("max.message.bytes", "1048588", false);
    is("compression.type", "producer", false);
    for (name, value) in
        [("cleanup.policy", "shred"), ("no.such.setting", "1"), ("retention.ms", "x")]
    {
        let refused = cluster.try_create("settings.bad", 1, &[(name, value)]);
        assert_eq!(refused, Err(RDKafkaErrorCode::InvalidConfig), "{name}");
    }
    assert_eq!(cluster.try_create("settings/bad", 1, &[]), Err(RDKafkaErrorCode::InvalidTopic));
    assert_eq!(
        cluster.try_create("settings.bad", 0, &[]),
        Err(RDKafkaErrorCode::InvalidPartitions)
    );
}

/// A group's offsets, with and without members; and offsets within a transaction.
fn group_offsets(cluster: &Cluster) {
    let topic = "group";
    cluster.create(topic, 2, &[]);
    let sender = cluster.producer(&[]);
    (0..3).for_each(|n| sender.send(topic, &n.to_string()));
    let committed = |isolation: bool| {
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        let consumer = cluster.group("offsets", isolation);
        let found = consumer.committed_offsets(list, PATIENCE).unwrap();
        found.find_partition(topic, 0).unwrap().offset()
    };
    assert_eq!(committed(false), Offset::Invalid);
    let consumer = cluster.group("offsets", false);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(2)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
    assert_eq!(committed(false), Offset::Offset(2));

    let holder = cluster.holder("group.offsets");
    for (commit, then) in [(false, 2), (true, 3)] {
        holder.begin();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(3)).unwrap();
        let group = consumer.group_metadata().unwrap();
        holder.0.send_offsets_to_transaction(&list, &group, PATIENCE).unwrap();
        assert_eq!(committed(false), Offset::Offset(2), "not valid yet");
        if commit {
            holder.commit().unwrap()
        } else {
            holder.abort().unwrap()
        }
        // Kafka writes markers after it has answered.
        let end = Instant::now() + PATIENCE;
        while committed(false) != Offset::Offset(then) {
            assert!(Instant::now() < end, "commit {commit}: not {then}");
        }
    }
}

/// Two members share a topic's partitions; one leaves, and the other has them all.
fn group_members(cluster: &Cluster) {
    let topic = "members";
    cluster.create(topic, 4, &[]);
    let count = |consumer: &BaseConsumer| consumer.assignment().map_or(0, |list| list.count());
    let until = |members: &[&BaseConsumer], due: &[usize]| {
        let end = Instant::now() + PATIENCE;
        loop {
            for member in members {
                let _ = member.poll(Duration::from_millis(20));
            }
            let now: Vec<usize> = members.iter().map(|member| count(member)).collect();
            if now == due {
                return;
            }
            assert!(Instant::now() < end, "{now:?}, not {due:?}");
        }
    };
    let first = cluster.group("members", true);
    first.subscribe(&[topic]).unwrap();
    until(&[&first], &[4]);
    let second = cluster.group("members", true);
    second.subscribe(&[topic]).unwrap();
    until(&[&first, &second], &[2, 2]);
    second.unsubscribe();
    until(&[&first], &[4]);
}

/// A request that cannot be understood ends its connection, and no other.
fn malformed(cluster: &Cluster) {
    let mut neighbour = Raw::to(cluster);
    let before = neighbour.fetch("no.such.topic", 0).0;
    for frame in [
        &b"\0"[..],
        b"\0\x03\0\x01\0\0\0\x07\0\x03raw\x7f\xff\xff\xff",
        b"\x7f\xff\0\0\0\0\0\0\0\0",
    ] {
        assert_eq!(Raw::to(cluster).frame(frame), None);
    }
    assert_eq!(neighbour.fetch("no.such.topic", 0).0, before);
}
