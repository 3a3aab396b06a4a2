//! A Kafka cluster as the tests see it: topics, producers, and readers that read to the very end.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::pace::Instant;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    Committed,
    Uncommitted,
}

/// One record read back. Test data only, so it may be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    /// The value as JSON; null for a tombstone.
    pub fn json(&self) -> serde_json::Value {
        self.value.as_deref().map_or(serde_json::Value::Null, |value| {
            serde_json::from_slice(value).expect("a JSON value")
        })
    }

    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.as_deref())
    }
}

#[derive(Clone)]
pub struct Cluster {
    pub bootstrap: String,
    /// Answers questions about topics; clients are dear to make and to close.
    asked: Arc<OnceLock<BaseConsumer>>,
}

impl Cluster {
    pub fn at(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned(), asked: Arc::default() }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("enable.metrics.push", "false")
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.max.ms", "500");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an admin client")
    }

    fn options() -> AdminOptions {
        AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
    }

    pub fn consumer(&self, isolation: Isolation) -> BaseConsumer {
        self.config()
            .set("group.id", "douane-tests")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "50")
            .set(
                "isolation.level",
                match isolation {
                    Isolation::Committed => "read_committed",
                    Isolation::Uncommitted => "read_uncommitted",
                },
            )
            .create()
            .expect("a consumer")
    }

    fn ask(&self) -> &BaseConsumer {
        self.asked.get_or_init(|| self.consumer(Isolation::Uncommitted))
    }

    /// A port that is open is not yet a broker that leads its partitions.
    pub fn wait_until_it_answers(&self) {
        let consumer = self.ask();
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = consumer.fetch_metadata(None, Duration::from_secs(2));
            if let Ok(metadata) = answer
                && !metadata.brokers().is_empty()
                && metadata.topics().iter().all(|t| t.partitions().iter().all(|p| p.leader() >= 0))
            {
                return;
            }
            assert!(Instant::now() < end, "no broker answers at {}", self.bootstrap);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The cluster's id.
    pub fn id(&self) -> String {
        self.ask().client().fetch_cluster_id(PATIENCE).expect("a cluster id")
    }

    pub fn create(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in config {
            new = new.set(key, value);
        }
        let answer = wait(self.admin().create_topics(&[new], &Self::options())).expect("an answer");
        for result in answer {
            result.unwrap_or_else(|(topic, code)| panic!("creating {topic}: {code}"));
        }
        self.wait_for(topic, |partitions_seen| partitions_seen == partitions);
    }

    pub fn delete(&self, topic: &str) {
        let answer =
            wait(self.admin().delete_topics(&[topic], &Self::options())).expect("an answer");
        for result in answer {
            result.unwrap_or_else(|(topic, code)| panic!("deleting {topic}: {code}"));
        }
        self.wait_for(topic, |partitions_seen| partitions_seen == 0);
    }

    /// Deletes a topic and makes it anew with these records, as whoever owns the cluster can.
    pub fn rewrite(&self, topic: &str, records: &[Record]) {
        let partitions = self.partitions(topic);
        self.delete(topic);
        self.create(topic, partitions, &[]);
        let producer = self.producer();
        records.iter().for_each(|record| producer.again(topic, record));
        producer.flush();
    }

    pub fn add_partitions(&self, topic: &str, total: i32) {
        let wanted = NewPartitions::new(topic, usize::try_from(total).expect("a count"));
        let answer =
            wait(self.admin().create_partitions(&[wanted], &Self::options())).expect("an answer");
        for result in answer {
            result.unwrap_or_else(|(topic, code)| panic!("growing {topic}: {code}"));
        }
        self.wait_for(topic, |partitions_seen| partitions_seen == total);
    }

    /// Deletes every record of a partition below an offset; all of them for -1.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        let before = if before < 0 { Offset::End } else { Offset::Offset(before) };
        list.add_partition_offset(topic, partition, before).expect("an offset");
        wait(self.admin().delete_records(&list, &Self::options())).expect("an answer");
    }

    pub fn set_topic_config(&self, topic: &str, key: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
        for result in
            wait(self.admin().alter_configs(&[change], &Self::options())).expect("an answer")
        {
            result.unwrap_or_else(|(_, code)| panic!("configuring {topic}: {code}"));
        }
    }

    fn wait_for(&self, topic: &str, ready: impl Fn(i32) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !ready(self.partitions(topic)) {
            assert!(Instant::now() < end, "{topic} does not take its new shape");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(50));
    }

    /// How many partitions a topic has; 0 where there is none. Waits for their leaders: a broker that stood for longer than
    /// its session answers as before it learns that it leads nothing, and then leads nothing until it is back in it.
    pub fn partitions(&self, topic: &str) -> i32 {
        let start = Instant::now();
        loop {
            let answer = self.ask().fetch_metadata(Some(topic), PATIENCE);
            let of = |metadata: &Metadata| {
                let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else {
                    return Some(0);
                };
                let led = found.partitions().iter().all(|p| p.leader() >= 0);
                match found.error().map(RDKafkaErrorCode::from) {
                    None if led => Some(i32::try_from(found.partitions().len()).expect("a count")),
                    Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Some(0),
                    _ => None,
                }
            };
            match answer.as_ref().map(of) {
                Ok(Some(partitions)) => return partitions,
                Ok(None) => {}
                Err(KafkaError::MetadataFetch(code)) if passing(*code) => {}
                Err(error) => panic!("asking for {topic}: {error}"),
            }
            assert!(start.elapsed() < PATIENCE, "{topic} has no leaders within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Every topic, the internal ones too.
    pub fn topics(&self) -> Vec<String> {
        let metadata = self.ask().fetch_metadata(None, PATIENCE).expect("metadata");
        metadata.topics().iter().map(|t| t.name().to_owned()).collect()
    }

    /// Sum of the end offsets: the high watermark, or the last stable offset.
    pub fn end(&self, topic: &str, isolation: Isolation) -> i64 {
        let consumer = self.consumer(isolation);
        (0..self.partitions(topic)).map(|p| watermarks(&consumer, topic, p).1).sum()
    }

    /// Fences every holder of a transactional id.
    pub fn fence(&self, transactional_id: &str) {
        let producer: BaseProducer =
            self.config().set("transactional.id", transactional_id).create().expect("a producer");
        producer.init_transactions(PATIENCE).expect("the coordinator");
    }

    /// Records of the topic that a group has committed.
    pub fn consumed(&self, group: &str, topic: &str) -> i64 {
        let consumer: BaseConsumer =
            self.config().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, self.partitions(topic) - 1);
        // A group that has not begun yet has no coordinator.
        let Ok(committed) = consumer.committed_offsets(list, PATIENCE) else { return 0 };
        committed.elements().iter().filter_map(|e| e.offset().to_raw()).map(|at| at.max(0)).sum()
    }

    /// All of a topic, to the high watermark that it had at the call; within a partition in order.
    pub fn read(&self, topic: &str, isolation: Isolation) -> Vec<Record> {
        let mut tail = self.tail(topic, isolation);
        tail.read_to_the_end(PATIENCE * 6);
        std::mem::take(&mut tail.records)
    }

    /// A reader that stays, from the beginning of every partition.
    pub fn tail(&self, topic: &str, isolation: Isolation) -> Tail {
        let partitions = self.partitions(topic);
        assert!(partitions > 0, "no topic {topic}");
        let consumer = self.consumer(isolation);
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("an assignment");
        let ends = self.consumer(Isolation::Uncommitted);
        Tail {
            consumer: Some(consumer),
            ends: Some(ends),
            topic: topic.to_owned(),
            partitions,
            records: Vec::new(),
        }
    }

    pub fn producer(&self) -> Feed {
        Self::feed(&mut self.config())
    }

    fn feed(config: &mut ClientConfig) -> Feed {
        let producer = config
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "200000")
            .set("message.max.bytes", "20000000")
            .create_with_context(Deliveries::default())
            .expect("a producer");
        Feed { producer }
    }

    /// What `send` sends, as one transaction, which is committed or aborted.
    pub fn transact(&self, transactional_id: &str, commits: bool, send: impl FnOnce(&Feed)) {
        let feed = Self::feed(self.config().set("transactional.id", transactional_id));
        feed.producer.init_transactions(PATIENCE).expect("the coordinator");
        feed.producer.begin_transaction().expect("begun");
        send(&feed);
        feed.flush();
        match commits {
            true => feed.producer.commit_transaction(PATIENCE).expect("committed"),
            false => feed.producer.abort_transaction(PATIENCE).expect("aborted"),
        }
    }
}

/// Reads on; what it has read so far lies in `records`.
pub struct Tail {
    consumer: Option<BaseConsumer>,
    ends: Option<BaseConsumer>,
    topic: String,
    partitions: i32,
    pub records: Vec<Record>,
}

impl Tail {
    /// Takes what comes within the time; how many came.
    pub fn poll(&mut self, time: Duration) -> usize {
        let before = self.records.len();
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let consumer = self.consumer.as_ref().expect("open");
            match consumer.poll(left.min(Duration::from_millis(20))) {
                Some(Ok(message)) => self.records.push(Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: message.headers().map_or_else(Vec::new, |headers| {
                        headers
                            .iter()
                            .map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec)))
                            .collect()
                    }),
                }),
                Some(Err(KafkaError::MessageConsumption(code))) if passing(code) => {}
                Some(Err(error)) => panic!("reading {}: {error}", self.topic),
                None => {}
            }
            if left.is_zero() {
                return self.records.len() - before;
            }
        }
    }

    /// To the high watermark of now, past control records and aborted data: by position, never by an end-of-partition event.
    pub fn read_to_the_end(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        let marks: HashMap<i32, i64> = (0..self.partitions)
            .map(|p| {
                let ends = self.ends.as_ref().expect("open");
                let (low, high) = watermarks(ends, &self.topic, p);
                (p, if low == high { 0 } else { high })
            })
            .collect();
        loop {
            self.poll(Duration::from_millis(5));
            let position = self.consumer.as_ref().expect("open").position().expect("positions");
            let done = marks.iter().all(|(partition, high)| {
                *high == 0
                    || position.find_partition(&self.topic, *partition).is_some_and(
                        |at| matches!(at.offset(), Offset::Offset(offset) if offset >= *high),
                    )
            });
            if done {
                return;
            }
            assert!(
                Instant::now() < end,
                "{} cannot be read to its end: an open transaction?",
                self.topic
            );
        }
    }

    /// Until so many records are there in all, or the time is over; whether they are.
    pub fn wait_for(&mut self, records: usize, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while self.records.len() < records && Instant::now() < end {
            self.poll(Duration::from_millis(20));
        }
        self.records.len() >= records
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // closing a consumer may wait for a broker that a case has frozen
        let (consumer, ends) = (self.consumer.take(), self.ends.take());
        std::thread::spawn(move || drop((consumer, ends)));
    }
}

/// Where a partition begins and ends, once it has a leader.
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let start = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, PATIENCE) {
            Ok(marks) => return marks,
            Err(KafkaError::MetadataFetch(code)) if passing(code) && start.elapsed() < PATIENCE => {
            }
            Err(error) => panic!("the ends of {topic}-{partition}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn passing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
    )
}

#[derive(Default)]
struct Deliveries {
    failed: AtomicU64,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// An idempotent producer.
pub struct Feed {
    producer: BaseProducer<Deliveries>,
}

impl Feed {
    pub fn send(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        if !headers.is_empty() {
            let list = headers.iter().fold(OwnedHeaders::new(), |list, (name, value)| {
                list.insert(Header { key: name, value: Some(*value) })
            });
            record = record.headers(list);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("sending to {topic}: {error}"),
            }
        }
    }

    /// A record as it was read, with its own time.
    pub fn again(&self, topic: &str, record: &Record) {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |list, (key, value)| {
            list.insert(Header { key, value: value.as_deref() })
        });
        let mut again = BaseRecord::<[u8], [u8]>::to(topic)
            .partition(record.partition)
            .timestamp(record.timestamp_ms)
            .headers(headers);
        if let Some(key) = &record.key {
            again = again.key(key.as_slice());
        }
        if let Some(value) = &record.value {
            again = again.payload(value.as_slice());
        }
        self.producer.send(again).map_err(|(error, _)| error).expect("room in the queue");
    }

    /// Everything acknowledged, or the case fails.
    pub fn flush(&self) {
        self.producer.flush(Duration::from_secs(120)).expect("every record acknowledged");
        assert_eq!(
            self.producer.context().failed.load(Ordering::SeqCst),
            0,
            "records that the broker refused"
        );
    }
}

/// Runs one of the admin client's futures: they are driven by a thread of their own.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park_timeout(Duration::from_millis(50)),
        }
    }
}
