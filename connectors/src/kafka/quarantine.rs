//! The quarantine topic of the sovereign cluster: sealed records that were refused.

use std::thread;
use std::time::{Duration, Instant};

use douane_gate::{ClearHeader, Destination, Sealed};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client;
use super::cluster::ClusterConfig;
use super::fault::KafkaFault;
use super::watch::{Detached, Watch};

const WHAT: &str = "writing to quarantine";

/// Longer than `message.timeout.ms`, after which the client itself gives up.
const DRAIN: Duration = Duration::from_secs(10);

/// Key, value and headers of one record.
type Outgoing<'a> = (&'a [u8], Option<&'a [u8]>, &'a [ClearHeader]);

/// An idempotent producer to the sovereign cluster. Only quarantined records go through it.
///
/// It is no part of the target's transaction: what it sends is acknowledged before the target's
/// commit, and a record that no committed intent names is a leftover.
pub struct QuarantineProducer {
    cluster: ClusterConfig,
    message_bytes_max: usize,
    /// None before the first record, since most never have one; and after a failure: an idempotent
    /// producer may then be of no more use.
    producer: Option<Detached<BaseProducer<Watch>>>,
}

impl QuarantineProducer {
    /// A client for a topic with this `max.message.bytes`; reaches nothing yet. What is sealed for
    /// the topic is as large as that, and librdkafka's own bound is about a million.
    ///
    /// # Errors
    /// Properties or secrets that no client is made with.
    pub fn open(cluster: &ClusterConfig, message_bytes_max: usize) -> Result<Self, KafkaFault> {
        client::producer(cluster)?;
        Ok(Self { cluster: cluster.clone(), message_bytes_max, producer: None })
    }

    /// Sends all and waits until every one is acknowledged by the replicas in sync. A key always
    /// goes to the same partition, so that compaction keeps the last of it.
    ///
    /// # Errors
    /// `Away` or `Refused`: any of them may then be there or not; sending all again is right.
    pub fn send(&mut self, records: &[Sealed], topic: &str) -> Result<(), KafkaFault> {
        if records.is_empty() {
            return Ok(());
        }
        if records.iter().any(|record| record.destination() != Destination::Quarantine) {
            return Err(KafkaFault::Answer {
                zone: self.cluster.zone.clone(),
                what: WHAT,
                problem: "a record sealed for another place",
            });
        }
        let each = records.iter();
        self.send_each(each.map(|r| (r.key(), Some(r.value()), r.headers())), topic)
    }

    pub(super) fn send_pairs<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        topic: &str,
    ) -> Result<(), KafkaFault> {
        self.send_each(pairs.map(|(key, value)| (key, value, &[][..])), topic)
    }

    fn send_each<'a>(
        &mut self,
        records: impl Iterator<Item = Outgoing<'a>>,
        topic: &str,
    ) -> Result<(), KafkaFault> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => producer(&self.cluster, self.message_bytes_max)?,
        };
        send_all(&producer, &self.cluster.zone, records, topic)?;
        self.producer = Some(producer);
        Ok(())
    }
}

fn producer(
    cluster: &ClusterConfig,
    message_bytes_max: usize,
) -> Result<Detached<BaseProducer<Watch>>, KafkaFault> {
    let mut config = client::producer(cluster)?;
    client::size(&mut config, message_bytes_max);
    config.set("partitioner", "murmur2_random");
    client::make(cluster, &config)
}

fn send_all<'a>(
    producer: &BaseProducer<Watch>,
    zone: &str,
    records: impl Iterator<Item = Outgoing<'a>>,
    topic: &str,
) -> Result<(), KafkaFault> {
    let deadline = Instant::now() + DRAIN;
    for (number, (key, value, headers)) in records.enumerate() {
        loop {
            let mut out = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, number).key(key);
            out.payload = value;
            if !headers.is_empty() {
                let space = OwnedHeaders::new_with_capacity(headers.len());
                out.headers = Some(headers.iter().fold(space, |all, (name, value)| {
                    all.insert(Header { key: name, value: Some(value.as_bytes()) })
                }));
            }
            match producer.send(out) {
                Ok(()) => break,
                Err((error, _)) if super::sink::is_queue_full(&error) => {
                    producer.poll(Duration::ZERO);
                    pause(deadline, zone)?;
                }
                Err((error, _)) => return Err(KafkaFault::of(zone, WHAT, &error)),
            }
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::ZERO);
        if producer.in_flight_count() > 0 {
            pause(deadline, zone)?;
        }
    }
    match producer.context().failures().first {
        None => Ok(()),
        Some((_, code)) => Err(KafkaFault::of(zone, WHAT, &KafkaError::MessageProduction(code))),
    }
}

fn pause(deadline: Instant, zone: &str) -> Result<(), KafkaFault> {
    if Instant::now() >= deadline {
        let code = "OperationTimedOut".to_owned();
        return Err(KafkaFault::Away { zone: zone.to_owned(), what: WHAT, code });
    }
    thread::sleep(Duration::from_millis(1));
    Ok(())
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::super::cluster::plain;
    use super::*;

    #[test]
    fn a_record_as_large_as_its_topic_takes_is_sent() {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("q", 1, 1).unwrap();
        let cluster = plain(&mock.bootstrap_servers());
        let large = vec![0; 2_000_000];
        let send = |message_bytes_max| {
            let mut producer = QuarantineProducer::open(&cluster, message_bytes_max).unwrap();
            producer.send_pairs([(&b"k"[..], Some(&large[..]))].into_iter(), "q")
        };
        send(3_000_000).unwrap();
        // The control: the client's bound is the topic's, not the client's own.
        assert!(matches!(send(1_000_000), Err(KafkaFault::Refused { .. })));
    }
}
