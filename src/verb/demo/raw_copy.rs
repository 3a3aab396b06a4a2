//! The floor that rates are compared with: one topic to another cluster, byte for byte, in
//! transactions, on one thread, with nothing in between.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

/// Records in a transaction, as in `douane run`.
const TRANSACTION: usize = 5_000;
/// One answer of a broker.
const WAIT: Duration = Duration::from_secs(30);

/// What was copied, and what it took from the first poll to the last commit.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    pub records: u64,
    pub took: Duration,
}

/// Copies what `from` holds now. `each` is called for every record; `false` ends the copy early.
pub fn copy(
    source: &str,
    from: &str,
    target: &str,
    to: &str,
    each: &mut dyn FnMut(u64) -> bool,
) -> Result<Copied, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", source)
        .set("group.id", "raw-copy")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .create()?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", target)
        .set("transactional.id", format!("raw-copy-{to}"))
        .set("compression.type", "lz4")
        .set("linger.ms", "0")
        .set("delivery.report.only.error", "true")
        .create()?;
    producer.init_transactions(WAIT)?;
    let metadata = consumer.fetch_metadata(Some(from), WAIT)?;
    let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
    let (mut list, mut left) = (TopicPartitionList::new(), 0);
    for partition in partitions.iter().map(|partition| partition.id()) {
        let (low, high) = consumer.fetch_watermarks(from, partition, WAIT)?;
        left += high - low;
        list.add_partition_offset(from, partition, Offset::Offset(low))?;
    }
    let (mut copied, mut open) = (0, 0);
    let started = Instant::now();
    consumer.assign(&list)?;
    while left > 0 {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            if !each(copied) {
                break;
            }
            continue;
        };
        let message = message?;
        if open == 0 {
            producer.begin_transaction()?;
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(to).partition(message.partition());
        record.key = message.key();
        record.payload = message.payload();
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    producer.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error),
            }
        }
        copied += 1;
        open += 1;
        left -= 1;
        if open == TRANSACTION || left == 0 {
            while producer.in_flight_count() > 0 {
                producer.poll(Duration::from_millis(1));
            }
            producer.commit_transaction(WAIT)?;
            open = 0;
            if !each(copied) {
                break;
            }
        }
    }
    let took = started.elapsed();
    // Closing a consumer takes seconds and says nothing about the copy.
    std::thread::spawn(move || drop(consumer));
    Ok(Copied { records: copied, took })
}

/// CPU seconds of this process until now; `None` where the system does not tell by this way.
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let after_name = stat.rsplit(") ").next()?;
    let ticks = after_name.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().ok());
    // Linux counts in hundredths whatever the kernel's own clock is.
    Some(ticks.sum::<Option<u64>>()? as f64 / 100.0)
}
