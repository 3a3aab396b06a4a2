//! Records of the program's own in the sovereign cluster: the ledger's journals, and what the
//! workers of a group tell each other. Nothing of them crosses. A partition has one writer at a
//! time, by its transactional id; readers see what it committed.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use douane_schemas::record::RawRecord;

use super::admin::Admin;
use super::cluster::ClusterConfig;
use super::fault::KafkaFault;
use super::position;
use super::quarantine::QuarantineProducer;
use super::sink::{Outgoing, Sink};
use crate::edge::{CommitOutcome, SinkFault, TopicIdentity};

/// A key, and its value or a tombstone.
pub type KeyedRecord = (Vec<u8>, Option<Vec<u8>>);

/// Why records were not written, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum WriteFault {
    /// Another process is the writer now.
    #[error("another process took over its transactional id")]
    Fenced,
    /// None of them is there. The writer is of no more use.
    #[error("not written: {0}")]
    NotWritten(String),
    /// All of them are there, or none: who fences anew and reads knows.
    #[error("not known whether it was written: {0}")]
    Unknown(String),
}

/// The sovereign cluster's records of the program's own. Reaches nothing by itself.
pub struct Records {
    cluster: ClusterConfig,
}

impl Records {
    /// `cluster` is the sovereign one.
    pub fn of(cluster: &ClusterConfig) -> Self {
        Self { cluster: cluster.clone() }
    }

    /// Becomes the writer of a partition: fences every earlier holder of `id`, and undoes what it
    /// left open. What [`Self::read`] gives AFTER this is the truth, until somebody fences this one.
    ///
    /// # Errors
    /// See [`SinkFault`]; `timeout` bounds the wait.
    pub fn fence(
        &self,
        id: &str,
        topic: &str,
        partition: i32,
        timeout: Duration,
    ) -> Result<Writer, SinkFault> {
        let sink = Sink::fence(&self.cluster, id, timeout)?;
        Ok(Writer { sink: Some(sink), topic: topic.to_owned(), partition })
    }

    /// Gives `each` the committed records of a partition from `from` on, to where it ends now. Gives
    /// the offset reached.
    ///
    /// # Errors
    /// No such topic; the cluster is away, or the end was not reached within `timeout`.
    pub fn read(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        timeout: Duration,
        each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<i64, KafkaFault> {
        position::scan_on(&self.cluster, topic, partition, from, timeout, each)
    }

    /// Partitions of a topic that hold or held anything.
    ///
    /// # Errors
    /// No such topic; the cluster is away.
    pub fn written(&self, topic: &str, timeout: Duration) -> Result<Vec<i32>, KafkaFault> {
        let partitions = 0..self.identity(topic)?.partitions;
        let deadline = Instant::now() + timeout;
        let all = position::extents(&self.cluster, topic, partitions.clone(), deadline)?;
        Ok(partitions.zip(all).filter(|(_, (_, end))| *end > 0).map(|(p, _)| p).collect())
    }

    /// Where a partition begins, and where it ends.
    ///
    /// # Errors
    /// No such topic; the cluster is away.
    pub fn extent(
        &self,
        topic: &str,
        partition: i32,
        timeout: Duration,
    ) -> Result<(i64, i64), KafkaFault> {
        let deadline = Instant::now() + timeout;
        let all = position::extents(&self.cluster, topic, partition..partition + 1, deadline)?;
        Ok(all.first().copied().unwrap_or((0, 0)))
    }

    /// What tells a topic from another one of its name.
    ///
    /// # Errors
    /// No such topic; the cluster is away.
    pub fn identity(&self, topic: &str) -> Result<TopicIdentity, KafkaFault> {
        let found = Admin::open(&self.cluster)?.topics(&[topic])?.pop().flatten();
        found.ok_or_else(|| KafkaFault::NoTopic {
            zone: self.cluster.zone.clone(),
            topic: topic.to_owned(),
        })
    }

    /// A writer of records of which the last of each key counts, whoever wrote it; reaches nothing
    /// yet.
    ///
    /// # Errors
    /// Settings that no client is made with.
    pub fn last_wins(&self, topic: &str) -> Result<LastWins, KafkaFault> {
        let producer = QuarantineProducer::open(&self.cluster, super::client::MESSAGE_BYTES)?;
        Ok(LastWins { producer, topic: topic.to_owned() })
    }
}

/// The one writer of a partition.
pub struct Writer {
    /// None after a commit that it may not be used after.
    sink: Option<Sink>,
    topic: String,
    partition: i32,
}

impl Writer {
    /// Writes all of them or none; durable on return, as the topic's settings have it.
    ///
    /// # Errors
    /// After any of them the writer is of no more use.
    pub fn commit(&mut self, records: &[KeyedRecord]) -> Result<(), WriteFault> {
        let Some((last, first)) = records.split_last() else { return Ok(()) };
        let Some(sink) = self.sink.take() else {
            return Err(WriteFault::NotWritten("the link broke with an earlier commit".to_owned()));
        };
        let (topic, partition) = (self.topic.as_str(), self.partition);
        // Crash within: who takes over fences, and finds all of them or none.
        match sink.transact(
            first.iter().map(|r| outgoing(r, topic, partition)),
            &outgoing(last, topic, partition),
        ) {
            CommitOutcome::Committed(sink) => {
                self.sink = Some(sink);
                Ok(())
            }
            CommitOutcome::CommittedButSuspect => Ok(()),
            CommitOutcome::Fenced => Err(WriteFault::Fenced),
            CommitOutcome::Unknown(why) => Err(WriteFault::Unknown(why)),
            CommitOutcome::Late(why) | CommitOutcome::Ended(why) | CommitOutcome::Aborted(why) => {
                Err(WriteFault::NotWritten(why))
            }
            CommitOutcome::Refused { code, .. } => Err(WriteFault::NotWritten(code.to_owned())),
        }
    }

    /// The client's log lines do not gather while nothing is written.
    pub fn idle(&self) {
        if let Some(sink) = &self.sink {
            crate::edge::Sink::idle(sink);
        }
    }
}

fn outgoing<'a>((key, value): &'a KeyedRecord, topic: &'a str, partition: i32) -> Outgoing<'a> {
    Outgoing {
        topic,
        partition,
        key: Some(key),
        value: value.as_deref(),
        timestamp_ms: None,
        headers: &[],
    }
}

/// See [`Records::last_wins`].
pub struct LastWins {
    producer: QuarantineProducer,
    topic: String,
}

impl LastWins {
    /// Writes all, durably.
    ///
    /// # Errors
    /// Any of them may then be there or not; sending all again is right.
    pub fn send(&mut self, records: &[KeyedRecord]) -> Result<(), KafkaFault> {
        let pairs = records.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        self.producer.send_pairs(pairs, &self.topic)
    }
}
