//! The floor that rates are compared with: copies a topic from one cluster to another, byte for byte, in transactions,
//! on one thread, with nothing in between.
//!
//!     raw_copy SOURCE_BOOTSTRAP TOPIC TARGET_BOOTSTRAP TOPIC
//!
//! Prints one JSON object: records, records a second, CPU seconds per million, peak resident MiB.

#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::error::Error;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

/// Records in a transaction, as in `douane run`.
const TRANSACTION: usize = 5_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, source, from, target, to] = args.as_slice() else {
        return Err("usage: raw_copy SOURCE_BOOTSTRAP TOPIC TARGET_BOOTSTRAP TOPIC".into());
    };
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
    let wait = Duration::from_secs(30);
    producer.init_transactions(wait)?;
    let metadata = consumer.fetch_metadata(Some(from), wait)?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let (mut list, mut left) = (TopicPartitionList::new(), 0);
    for partition in 0..i32::try_from(partitions)? {
        let (low, high) = consumer.fetch_watermarks(from, partition, wait)?;
        left += high - low;
        list.add_partition_offset(from, partition, Offset::Offset(low))?;
    }
    let (mut copied, mut open) = (0u64, 0);
    let started = Instant::now();
    consumer.assign(&list)?;
    while left > 0 {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
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
                    producer.poll(Duration::ZERO);
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        copied += 1;
        open += 1;
        left -= 1;
        if open == TRANSACTION || left == 0 {
            while producer.in_flight_count() > 0 {
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_millis(1));
            }
            producer.commit_transaction(wait)?;
            open = 0;
        }
    }
    report(copied, started.elapsed());
    // closing a consumer takes seconds and says nothing about the copy
    std::process::exit(0)
}

#[allow(clippy::cast_precision_loss, reason = "figures to be read")]
fn report(copied: u64, took: Duration) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 =
        after_name.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak_kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    println!(
        "{{\"records\":{copied},\"records_per_s\":{:.0},\"cpu_s_per_million\":{:.1},\"peak_mib\":{}}}",
        copied as f64 / took.as_secs_f64(),
        ticks as f64 / 100.0 / copied.max(1) as f64 * 1e6,
        peak_kib / 1024
    );
}
