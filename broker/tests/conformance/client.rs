//! librdkafka as the client of the cases.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or(b"null")).into_owned()
    }
}

pub struct Cluster {
    pub bootstrap: String,
}

impl Cluster {
    pub fn at(bootstrap: &str) -> Self {
        let cluster = Self { bootstrap: bootstrap.to_owned() };
        let end = Instant::now() + Duration::from_secs(60);
        let asking = cluster.consumer(false);
        while !asking.fetch_metadata(None, PATIENCE).is_ok_and(|m| !m.brokers().is_empty()) {
            assert!(Instant::now() < end, "nobody answers");
            std::thread::sleep(Duration::from_millis(100));
        }
        cluster
    }

    pub fn config(&self) -> ClientConfig {
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

    pub fn try_create(
        &self,
        topic: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), RDKafkaErrorCode> {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let answer = wait(self.admin().create_topics(&[new], &options())).expect("an answer");
        answer.into_iter().next().expect("one topic").map(drop).map_err(|(_, code)| code)
    }

    pub fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        self.try_create(topic, partitions, settings).expect("a new topic");
        self.wait_for_partitions(topic, partitions);
    }

    pub fn delete(&self, topic: &str) {
        let answer = wait(self.admin().delete_topics(&[topic], &options())).expect("an answer");
        answer.into_iter().for_each(|one| drop(one.expect("deleted")));
        self.wait_for_partitions(topic, 0);
    }

    pub fn grow(&self, topic: &str, total: i32) {
        let grown = NewPartitions::new(topic, usize::try_from(total).expect("a count"));
        let answer = wait(self.admin().create_partitions(&[grown], &options())).expect("an answer");
        answer.into_iter().for_each(|one| drop(one.expect("grown")));
        self.wait_for_partitions(topic, total);
    }

    pub fn delete_records(&self, topic: &str, before: i64) -> Result<(), RDKafkaErrorCode> {
        let mut list = TopicPartitionList::new();
        let before = if before < 0 { Offset::End } else { Offset::Offset(before) };
        list.add_partition_offset(topic, 0, before).expect("an offset");
        let answer = wait(self.admin().delete_records(&list, &options())).expect("an answer");
        match answer.elements()[0].error() {
            Ok(()) => Ok(()),
            Err(error) => Err(error.rdkafka_error_code().expect("a code")),
        }
    }

    /// Settings of a topic, with whether they were set for it.
    pub fn settings(&self, topic: &str) -> BTreeMap<String, (String, bool)> {
        let topic = [ResourceSpecifier::Topic(topic)];
        let answer = wait(self.admin().describe_configs(&topic, &options())).expect("an answer");
        let resource = answer.into_iter().next().expect("one topic").expect("its settings");
        let is_set = |source: &rdkafka::admin::ConfigSource| {
            matches!(source, rdkafka::admin::ConfigSource::DynamicTopic)
        };
        let entry = |entry: rdkafka::admin::ConfigEntry| {
            (entry.name, (entry.value.unwrap_or_default(), is_set(&entry.source)))
        };
        resource.entries.into_iter().map(entry).collect()
    }

    pub fn partitions(&self, topic: &str) -> i32 {
        let metadata = self.consumer(false).fetch_metadata(Some(topic), PATIENCE);
        metadata.map_or(0, |metadata| {
            let found = metadata.topics().iter().find(|t| t.name() == topic);
            let led = |t: &rdkafka::metadata::MetadataTopic| {
                t.partitions().iter().filter(|p| p.leader() >= 0).count()
            };
            i32::try_from(found.filter(|t| t.error().is_none()).map_or(0, led)).expect("a count")
        })
    }

    fn wait_for_partitions(&self, topic: &str, partitions: i32) {
        let end = Instant::now() + PATIENCE;
        while self.partitions(topic) != partitions {
            assert!(Instant::now() < end, "{topic} does not come to have {partitions} partitions");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn consumer(&self, committed_only: bool) -> BaseConsumer {
        self.config()
            .set("group.id", "conformance")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "50")
            .set(
                "isolation.level",
                if committed_only { "read_committed" } else { "read_uncommitted" },
            )
            .create()
            .expect("a consumer")
    }

    /// A consumer of a group.
    pub fn group(&self, id: &str, committed_only: bool) -> BaseConsumer {
        self.config()
            .set("group.id", id)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "200")
            .set(
                "isolation.level",
                if committed_only { "read_committed" } else { "read_uncommitted" },
            )
            .create()
            .expect("a consumer")
    }

    /// Low watermark, and end or last stable offset, of partition 0.
    pub fn marks(&self, topic: &str, committed_only: bool) -> (i64, i64) {
        self.consumer(committed_only).fetch_watermarks(topic, 0, PATIENCE).expect("watermarks")
    }

    /// Partition 0 from an offset to its end, or its last stable offset, and the reader's position then.
    pub fn read_from(&self, topic: &str, from: Offset, committed_only: bool) -> (Vec<Record>, i64) {
        let (low, end) = self.marks(topic, committed_only);
        let consumer = self.consumer(committed_only);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, from).expect("an offset");
        consumer.assign(&list).expect("assigned");
        let mut records = Vec::new();
        let mut at = low;
        let begun = Instant::now();
        while at < end {
            assert!(begun.elapsed() < PATIENCE, "{topic}: at {at} of {end}");
            match consumer.poll(Duration::from_millis(20)) {
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(error)) => panic!("reading: {error}"),
                None => {}
            }
            let position = consumer.position().expect("a position");
            if let Some(Offset::Offset(now)) =
                position.find_partition(topic, 0).map(|at| at.offset())
            {
                at = now;
            }
        }
        // What comes beyond it is not to be read.
        while let Some(message) = consumer.poll(Duration::from_millis(150)) {
            records.push(record(&message.expect("a record")));
        }
        (records, at)
    }

    pub fn texts(&self, topic: &str, committed_only: bool) -> Vec<String> {
        let (records, _) = self.read_from(topic, Offset::Beginning, committed_only);
        records.iter().map(Record::text).collect()
    }

    /// A producer that waits for each acknowledgement; further settings at will.
    pub fn producer(&self, settings: &[(&str, &str)]) -> Sender {
        let mut config = self.config();
        config.set("linger.ms", "0").set("message.timeout.ms", "8000");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        Sender(config.create_with_context(Delivered::default()).expect("a producer"))
    }

    /// A producer that has taken over a transactional id.
    pub fn holder(&self, id: &str) -> Sender {
        self.holder_for(id, "10000")
    }

    pub fn holder_for(&self, id: &str, timeout_ms: &str) -> Sender {
        let settings = [
            ("transactional.id", id),
            ("transaction.timeout.ms", timeout_ms),
            // Kafka refuses a message's timeout beyond the transaction's.
            ("message.timeout.ms", timeout_ms),
        ];
        let sender = self.producer(&settings);
        sender.0.init_transactions(PATIENCE).expect("taken over");
        sender
    }
}

pub fn record(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
    });
    Record {
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}

/// What became of the records that were sent.
#[derive(Default)]
pub struct Delivered {
    outcomes: std::sync::Mutex<Vec<Result<(), RDKafkaErrorCode>>>,
}

impl rdkafka::ClientContext for Delivered {}

impl rdkafka::producer::ProducerContext for Delivered {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().expect("a code")),
        };
        self.outcomes.lock().expect("not poisoned").push(outcome);
    }
}

pub struct Sender(pub BaseProducer<Delivered>);

/// A record to be sent to partition 0.
#[derive(Clone, Default)]
pub struct New<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub timestamp: Option<i64>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl Sender {
    /// Sends records and waits until each is acknowledged or refused.
    pub fn send_all(&self, topic: &str, records: &[New<'_>]) -> Vec<Result<(), RDKafkaErrorCode>> {
        for new in records {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(0);
            if let Some(key) = new.key {
                record = record.key(key);
            }
            if let Some(value) = new.value {
                record = record.payload(value);
            }
            if let Some(timestamp) = new.timestamp {
                record = record.timestamp(timestamp);
            }
            if !new.headers.is_empty() {
                let list = OwnedHeaders::new_with_capacity(new.headers.len());
                let list = new
                    .headers
                    .iter()
                    .fold(list, |list, (key, value)| list.insert(Header { key, value: *value }));
                record = record.headers(list);
            }
            if let Err((error, _)) = self.0.send(record) {
                let code = error.rdkafka_error_code().expect("a code");
                self.0.context().outcomes.lock().expect("not poisoned").push(Err(code));
            }
        }
        let end = Instant::now() + PATIENCE;
        loop {
            self.0.poll(Duration::from_millis(1));
            let mut outcomes = self.0.context().outcomes.lock().expect("not poisoned");
            if outcomes.len() >= records.len() {
                return std::mem::take(&mut *outcomes);
            }
            assert!(Instant::now() < end, "{} of {} came", outcomes.len(), records.len());
        }
    }

    pub fn try_send(&self, topic: &str, value: &str) -> Result<(), RDKafkaErrorCode> {
        let new = New { value: Some(value.as_bytes()), ..New::default() };
        self.send_all(topic, &[new]).remove(0)
    }

    pub fn send(&self, topic: &str, value: &str) {
        self.try_send(topic, value).expect("acknowledged");
    }

    pub fn begin(&self) {
        self.0.begin_transaction().expect("begun");
    }

    pub fn commit(&self) -> Result<(), KafkaError> {
        self.0.commit_transaction(PATIENCE)
    }

    pub fn abort(&self) -> Result<(), KafkaError> {
        self.0.abort_transaction(PATIENCE)
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
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
