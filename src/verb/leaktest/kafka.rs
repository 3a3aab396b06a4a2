//! Plain clients of the two brokers: who writes change events, and who reads what is there,
//! committed or not.

use std::time::{Duration, Instant};

use douane_pipelines::fault::RunFault;
use douane_pipelines::leaktest::Planted;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::fault;

const WAIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// A record as it lies in a topic.
pub struct Read {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

fn kafka(error: &KafkaError) -> RunFault {
    let code = error.rdkafka_error_code();
    fault(code.map_or_else(|| "the broker in this process".to_owned(), |c| format!("{c:?}")))
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer, RunFault> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "leaktest")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_uncommitted")
        .create()
        .map_err(|error| kafka(&error))
}

/// The names of all topics.
pub fn topics(bootstrap: &str) -> Result<Vec<String>, RunFault> {
    let metadata = consumer(bootstrap)?.fetch_metadata(None, WAIT).map_err(|e| kafka(&e))?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

/// Whether a record of the manifest topic is a bundle of checkpoints.
pub fn is_bundle(record: &Read) -> bool {
    record.key.as_ref().is_some_and(|key| key.starts_with(b"bundle/"))
}

/// Everything in a topic, aborted records too.
pub fn read(bootstrap: &str, topic: &str) -> Result<Vec<Read>, RunFault> {
    let consumer = consumer(bootstrap)?;
    let metadata = consumer.fetch_metadata(Some(topic), WAIT).map_err(|e| kafka(&e))?;
    let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning)
            .map_err(|e| kafka(&e))?;
    }
    consumer.assign(&list).map_err(|e| kafka(&e))?;
    let (mut left, mut records) = (partitions.len(), Vec::new());
    let deadline = Instant::now() + WAIT;
    while left > 0 {
        match consumer.poll(LOOK) {
            None if Instant::now() > deadline => {
                return Err(fault(format!("topic {topic}: its end was not reached")));
            }
            None => {}
            Some(Ok(message)) => records.push(Read {
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: message.headers().map_or_else(Vec::new, |headers| {
                    let own = |h: Header<'_, &[u8]>| {
                        (h.key.to_owned(), h.value.unwrap_or_default().to_vec())
                    };
                    headers.iter().map(own).collect()
                }),
            }),
            Some(Err(KafkaError::PartitionEOF(_))) => left -= 1,
            Some(Err(error)) => return Err(kafka(&error)),
        }
    }
    // Closing a consumer takes seconds, and nothing depends on it.
    std::thread::spawn(move || drop(consumer));
    Ok(records)
}

/// Who writes.
pub struct Feed(BaseProducer);

impl Feed {
    pub fn open(bootstrap: &str) -> Result<Self, RunFault> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("message.max.bytes", "4000000");
        config.create().map(Self).map_err(|error| kafka(&error))
    }

    pub fn send(&self, topic: &str, partition: i32, planted: &Planted) -> Result<(), RunFault> {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        (record.key, record.payload) = (planted.key.as_deref(), planted.value.as_deref());
        if !planted.headers.is_empty() {
            let space = OwnedHeaders::new_with_capacity(planted.headers.len());
            let add = |all: OwnedHeaders, (key, value): &(String, Vec<u8>)| {
                all.insert(Header { key, value: Some(value) })
            };
            record.headers = Some(planted.headers.iter().fold(space, add));
        }
        self.0.send(record).map_err(|(error, _)| kafka(&error))?;
        self.0.poll(Duration::ZERO);
        Ok(())
    }

    pub fn flush(&self) -> Result<(), RunFault> {
        self.0.flush(WAIT).map_err(|error| kafka(&error))
    }
}
