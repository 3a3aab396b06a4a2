//! The two sides that are not douane: the source system that writes change events, and a reader
//! of the target. Plain clients, as anybody would write them: what the demo shows of the outside
//! is not read by douane's own code.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::customers::Event;
use super::{DemoFault, Interrupt};

/// One answer of a broker.
const WAIT: Duration = Duration::from_secs(20);
/// Between two looks at whether somebody pressed Ctrl-C.
const LOOK: Duration = Duration::from_millis(100);

/// Writes the events in order; `each` is told how many.
pub fn write(
    bootstrap: &str,
    topic: &str,
    events: impl Iterator<Item = Event>,
    interrupt: &Interrupt,
    each: &mut dyn FnMut(u64),
) -> Result<(), DemoFault> {
    let fault = |error: KafkaError| DemoFault::kafka("writing change events", &error);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("queue.buffering.max.kbytes", "32768")
        .set("delivery.report.only.error", "true")
        .create()
        .map_err(fault)?;
    for (written, event) in (1..).zip(events) {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic)
            .partition(event.partition)
            .timestamp(event.timestamp_ms)
            .key(&event.key);
        record.payload = event.value.as_deref();
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    interrupt.check()?;
                    record = back;
                    producer.poll(LOOK);
                }
                Err((error, _)) => return Err(fault(error)),
            }
        }
        if written % 1_000 == 0 {
            interrupt.check()?;
            producer.poll(Duration::ZERO);
            each(written);
        }
    }
    producer.flush(WAIT).map_err(fault)
}

/// Reads what is committed in a topic, from its start to its end; gives the number of records.
pub fn read_committed(
    bootstrap: &str,
    topic: &str,
    interrupt: &Interrupt,
    each: &mut dyn FnMut(&BorrowedMessage<'_>),
) -> Result<u64, DemoFault> {
    let fault = |error: KafkaError| DemoFault::kafka("reading a topic", &error);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "demo-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .create()
        .map_err(fault)?;
    let metadata = consumer.fetch_metadata(Some(topic), WAIT).map_err(fault)?;
    let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).map_err(fault)?;
    }
    let (mut left, mut records, mut silent) = (partitions.len(), 0, Duration::ZERO);
    consumer.assign(&list).map_err(fault)?;
    while left > 0 {
        match consumer.poll(LOOK) {
            None if silent > WAIT => {
                return Err(DemoFault::Outside(format!("topic {topic}: its end was not reached")));
            }
            None => {
                interrupt.check()?;
                silent += LOOK;
            }
            Some(Ok(message)) => {
                each(&message);
                (records, silent) = (records + 1, Duration::ZERO);
                if records % 1_000 == 0 {
                    interrupt.check()?;
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => left -= 1,
            Some(Err(error)) => return Err(fault(error)),
        }
    }
    // Closing a consumer takes seconds, and nothing depends on it.
    std::thread::spawn(move || drop(consumer));
    Ok(records)
}

/// A record of the outside, with what tells which row it was made of.
pub struct Shown {
    pub key: String,
    pub value: String,
}

impl Shown {
    pub fn of(message: &BorrowedMessage<'_>) -> Self {
        let text = |bytes: Option<&[u8]>| {
            bytes.map_or_else(String::new, |b| String::from_utf8_lossy(b).into_owned())
        };
        Self { key: text(message.key()), value: text(message.payload()) }
    }
}
