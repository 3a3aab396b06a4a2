//! The floor that rates are compared with: one topic to another cluster, byte for byte, in
//! transactions, on one thread, with nothing in between. Settings, size of transactions and the way
//! of draining are those of `douane run`: with librdkafka's own it takes twice the time of the
//! processor, and would flatter.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

/// Records and bytes in a transaction, as in `douane run`.
const TRANSACTION: (usize, usize) = (5_000, 4 << 20);
/// One answer of a broker.
const WAIT: Duration = Duration::from_secs(30);

/// What was copied, and what it took from the first poll to the last commit.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    pub records: u64,
    pub took: Duration,
}

/// Copies what `from` holds now, or, without a target (bootstrap and topic), only reads it. `each`
/// is called after every transaction; `false` ends the copy early.
pub fn copy(
    source: &str,
    from: &str,
    target: Option<(&str, &str)>,
    each: &mut dyn FnMut(u64) -> bool,
) -> Result<Copied, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", source)
        .set("group.id", "raw-copy")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("fetch.max.bytes", "2097152")
        .set("fetch.queue.backoff.ms", "10")
        .set("max.partition.fetch.bytes", "262144")
        .set("queued.max.messages.kbytes", "8192")
        .set("queued.min.messages", "1000")
        .create()?;
    let target = match target {
        Some((target, to)) => Some((producer(target, to)?, to)),
        None => None,
    };
    let metadata = consumer.fetch_metadata(Some(from), WAIT)?;
    let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
    let (mut list, mut left) = (TopicPartitionList::new(), 0);
    for partition in partitions.iter().map(|partition| partition.id()) {
        let (low, high) = consumer.fetch_watermarks(from, partition, WAIT)?;
        left += high - low;
        list.add_partition_offset(from, partition, Offset::Offset(low))?;
    }
    let mut copied = 0;
    let (mut batch, mut bytes) = (Vec::with_capacity(TRANSACTION.0), 0);
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
        copied += 1;
        left -= 1;
        let Some((producer, to)) = &target else { continue };
        bytes += message.key_len() + message.payload_len();
        batch.push(message);
        // Gathered first, as `douane run` does: where reading and sending take turns record by
        // record, the threads of both clients wake each other, and the copy costs twice as much.
        if batch.len() == TRANSACTION.0 || bytes >= TRANSACTION.1 || left == 0 {
            producer.begin_transaction()?;
            for message in batch.drain(..) {
                send(producer, to, &message)?;
            }
            while producer.in_flight_count() > 0 {
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_millis(1));
            }
            producer.commit_transaction(WAIT)?;
            bytes = 0;
            if !each(copied) {
                break;
            }
        }
    }
    drop(batch);
    let took = started.elapsed();
    // Closing a consumer takes seconds and says nothing about the copy.
    std::thread::spawn(move || drop(consumer));
    Ok(Copied { records: copied, took })
}

fn producer(target: &str, to: &str) -> Result<BaseProducer, KafkaError> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", target)
        .set("transactional.id", format!("raw-copy-{to}"))
        .set("compression.type", "lz4")
        .set("linger.ms", "1")
        .set("delivery.report.only.error", "true")
        .set("queue.buffering.max.kbytes", "32768")
        .create()?;
    producer.init_transactions(WAIT)?;
    Ok(producer)
}

fn send(
    producer: &BaseProducer,
    to: &str,
    message: &BorrowedMessage<'_>,
) -> Result<(), KafkaError> {
    let mut record = BaseRecord::<[u8], [u8]>::to(to).partition(message.partition());
    record.key = message.key();
    record.payload = message.payload();
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// CPU seconds of this process until now; `None` where the system does not tell by this way.
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let after_name = stat.rsplit(") ").next()?;
    let ticks = after_name.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().ok());
    // Linux counts in hundredths whatever the kernel's own clock is.
    Some(ticks.sum::<Option<u64>>()? as f64 / 100.0)
}
