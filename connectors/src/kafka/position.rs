//! Reading a partition to its end: the committed position, and whatever else is read whole.

use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use douane_schemas::record::RawRecord;

use super::client::{self, Isolation};
use super::cluster::ClusterConfig;
use super::fault::{self, KafkaFault};
use super::places;
use super::source;
use super::watch::{Detached, Watch};
use crate::edge::KeyAndValue;

/// How far a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To the high watermark: waits for transactions that are open. For partitions with one
    /// writer, after that writer was fenced.
    HighWatermark,
    /// To the first open transaction, or the high watermark where none is open.
    LastStable,
}

/// A record that outlives its client. It has no `Debug`: everything in it is data.
#[derive(Clone)]
pub struct OwnedRecord {
    /// Index of the topic in the caller's list; 0 where one topic was asked for.
    pub topic: u32,
    /// Kafka's partition number.
    pub partition: i32,
    /// Offset within the partition.
    pub offset: i64,
    /// Milliseconds since the epoch; -1 where the broker has none.
    pub timestamp_ms: i64,
    /// Key bytes.
    pub key: Option<Vec<u8>>,
    /// Value bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    /// A copy of a borrowed record.
    pub fn of(record: &RawRecord<'_>) -> Self {
        let own = |bytes: &[u8]| bytes.to_vec();
        Self {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(own),
            value: record.value.map(own),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.map(own)))
                .collect(),
        }
    }

    /// The headers, borrowed: give them to [`Self::raw`].
    pub fn headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }

    /// The record as decoders take it.
    pub fn raw<'a>(&'a self, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> RawRecord<'a> {
        RawRecord {
            topic: self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers,
        }
    }
}

/// The last committed record of a partition that has a value: its key and its value.
///
/// Call it after the partition's only writer was fenced: then nothing is open, the last stable
/// offset comes up to the high watermark, and what is read is the truth. `None` where no record
/// was ever committed.
///
/// # Errors
/// `NoTopic`, `Away`; `Unfinished` when the end was not reached within `timeout`.
pub fn read_last(
    cluster: &ClusterConfig,
    topic: &str,
    partition: i32,
    timeout: Duration,
) -> Result<Option<KeyAndValue>, KafkaFault> {
    let deadline = Instant::now() + timeout;
    let (never, reach) = (|| false, Reach::HighWatermark);
    let mut reader = Reader::open(&never, cluster, topic, partition, reach, deadline)?;
    let (low, high) = (reader.low, reader.high);
    // A position topic is compacted late. Most of it need not be read: one of the last records
    // is committed, or all are read after all.
    for back in [64, 4_096, i64::MAX] {
        let from = high.saturating_sub(back).max(low);
        let mut last = None;
        reader.read(&never, from, deadline, &mut |record| {
            if let (Some(key), Some(value)) = (record.key, record.value) {
                last = Some((key.to_vec(), value.to_vec()));
            }
            ControlFlow::Continue(())
        })?;
        if last.is_some() || from == low {
            return Ok(last);
        }
    }
    Ok(None)
}

/// Reads a partition's committed records from `from` (or the log's start where that is later) to
/// where it ends now, or until `each` breaks. Gives the offset reached.
///
/// # Errors
/// `NoTopic`, `Away`; `Unfinished` when the end was not reached within `timeout`.
pub fn scan(
    cluster: &ClusterConfig,
    topic: &str,
    partition: i32,
    from: i64,
    reach: Reach,
    timeout: Duration,
    each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
) -> Result<i64, KafkaFault> {
    scan_unless(&|| false, cluster, topic, partition, from, reach, timeout, each)
}

/// As [`scan`], and until `stop` says so: it is looked at while nothing comes, too.
///
/// # Errors
/// As [`scan`].
#[expect(clippy::too_many_arguments, reason = "what `scan` takes, and who stops it")]
pub fn scan_unless(
    stop: &dyn Fn() -> bool,
    cluster: &ClusterConfig,
    topic: &str,
    partition: i32,
    from: i64,
    reach: Reach,
    timeout: Duration,
    each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
) -> Result<i64, KafkaFault> {
    let deadline = Instant::now() + timeout;
    let mut reader = match Reader::open(stop, cluster, topic, partition, reach, deadline) {
        Err(fault) if fault.is_away() && stop() => return Ok(from),
        opened => opened?,
    };
    let from = from.max(reader.low);
    reader.read(stop, from, deadline, each)
}

/// As [`scan`] to the high watermark, however long it is: as long as something comes within
/// `timeout`, it is read on.
///
/// # Errors
/// As [`scan`]; `Unfinished` when nothing came for as long as `timeout`.
pub fn scan_on(
    cluster: &ClusterConfig,
    topic: &str,
    partition: i32,
    mut from: i64,
    timeout: Duration,
    each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
) -> Result<i64, KafkaFault> {
    loop {
        match scan(cluster, topic, partition, from, Reach::HighWatermark, timeout, each) {
            Err(KafkaFault::Unfinished { reached, .. }) if reached > from => from = reached,
            read => return read,
        }
    }
}

/// First and last offset of a partition's log.
///
/// # Errors
/// `NoTopic`, `Away`.
pub fn extent(
    cluster: &ClusterConfig,
    topic: &str,
    partition: i32,
    reach: Reach,
    timeout: Duration,
) -> Result<(i64, i64), KafkaFault> {
    let deadline = Instant::now() + timeout;
    let reader = Reader::open(&|| false, cluster, topic, partition, reach, deadline)?;
    Ok((reader.low, reader.high))
}

/// Where partitions of a topic begin and end, with what is not committed.
pub(super) fn extents(
    cluster: &ClusterConfig,
    topic: &str,
    partitions: Range<i32>,
    deadline: Instant,
) -> Result<Vec<(i64, i64)>, KafkaFault> {
    let all = consumer_uncommitted(cluster)?;
    let extent = |partition| places::watermarks(&all, &cluster.zone, topic, partition, deadline);
    partitions.map(extent).collect()
}

/// The first committed record of a partition, for showing what a topic holds; `None` where it is
/// empty.
///
/// # Errors
/// As [`scan`].
pub fn first_record(
    cluster: &ClusterConfig,
    topic: &str,
    partition: i32,
    timeout: Duration,
) -> Result<Option<OwnedRecord>, KafkaFault> {
    let mut first = None;
    scan(cluster, topic, partition, 0, Reach::LastStable, timeout, &mut |record| {
        first = Some(OwnedRecord::of(record));
        ControlFlow::Break(())
    })?;
    Ok(first)
}

/// Records between two looks at where the client stands and at the clock.
const LOOK: u32 = 1_024;

struct Reader<'a> {
    zone: &'a str,
    topic: &'a str,
    partition: i32,
    consumer: Detached<BaseConsumer<Watch>>,
    low: i64,
    high: i64,
    opened: Instant,
}

impl<'a> Reader<'a> {
    /// Asks how far the log reaches, before anything is read.
    fn open(
        stop: &dyn Fn() -> bool,
        cluster: &'a ClusterConfig,
        topic: &'a str,
        partition: i32,
        reach: Reach,
        deadline: Instant,
    ) -> Result<Self, KafkaFault> {
        let opened = Instant::now();
        let consumer = consumer(cluster, Isolation::Committed)?;
        let (low, high) = match reach {
            // `PartitionEOF` would fire at the last stable offset, and while a neighbour commits
            // never: the end is asked for, from a client that sees open transactions.
            Reach::HighWatermark => {
                let all = consumer_uncommitted(cluster)?;
                places::watermarks_unless(stop, &all, &cluster.zone, topic, partition, deadline)?
            }
            Reach::LastStable => places::watermarks_unless(
                stop,
                &consumer,
                &cluster.zone,
                topic,
                partition,
                deadline,
            )?,
        };
        Ok(Self { zone: &cluster.zone, topic, partition, consumer, low, high, opened })
    }

    fn read(
        &mut self,
        stop: &dyn Fn() -> bool,
        from: i64,
        deadline: Instant,
        each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<i64, KafkaFault> {
        if from >= self.high {
            return Ok(from);
        }
        let fault = |e: &KafkaError| KafkaFault::of(self.zone, "reading a partition", e);
        let mut place = TopicPartitionList::new();
        place
            .add_partition_offset(self.topic, self.partition, Offset::Offset(from))
            .and_then(|()| self.consumer.assign(&place))
            .map_err(|e| fault(&e))?;
        let mut given = 0u32;
        loop {
            let polled = self.consumer.poll(Duration::from_millis(5));
            given = if matches!(polled, Some(Ok(_))) { given.wrapping_add(1) } else { 0 };
            match polled {
                Some(Ok(message)) => {
                    let fetched = source::Message::new(0, message);
                    // Beyond the end that was asked for: it was not there then.
                    if fetched.offset() >= self.high {
                        return Ok(self.high);
                    }
                    let headers = fetched.headers();
                    let next = fetched.offset() + 1;
                    if each(&fetched.raw(&headers)).is_break() || next >= self.high {
                        return Ok(next);
                    }
                }
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(fault(&error)),
                None if stop() => return self.reached(from).map_err(|e| fault(&e)),
                None => {}
            }
            // Where the client stands is dear to ask; the last record before the end may have
            // markers behind it, so it is asked where nothing comes. It stands behind what it gave,
            // so whoever goes on from there must have been given that first.
            if given.is_multiple_of(LOOK) {
                let reached = self.reached(from).map_err(|e| fault(&e))?;
                if reached >= self.high && given == 0 {
                    return Ok(reached);
                }
                if Instant::now() >= deadline {
                    return Err(self.unfinished(reached));
                }
            }
        }
    }

    /// Where the client stands.
    fn reached(&self, from: i64) -> Result<i64, KafkaError> {
        let position = self.consumer.position()?;
        let found = position.find_partition(self.topic, self.partition);
        match found.map(|found| found.offset()) {
            Some(Offset::Offset(offset)) => Ok(offset),
            _ => Ok(from),
        }
    }

    fn unfinished(&self, reached: i64) -> KafkaFault {
        KafkaFault::Unfinished {
            zone: self.zone.to_owned(),
            topic: self.topic.to_owned(),
            partition: self.partition,
            reached,
            end: self.high,
            waited_ms: u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Whether the client goes on by itself after this error.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as C;
    match error {
        KafkaError::MessageConsumption(code) => {
            // The client asks for its group's coordinator by itself; the group is never used.
            fault::is_away(*code)
                || matches!(code, C::UnknownTopicOrPartition | C::GroupAuthorizationFailed)
        }
        _ => false,
    }
}

fn consumer(
    cluster: &ClusterConfig,
    isolation: Isolation,
) -> Result<Detached<BaseConsumer<Watch>>, KafkaFault> {
    // The group is never joined and nothing is committed to it; the client only wants a name.
    client::make(cluster, &client::consumer(cluster, "douane", isolation)?)
}

fn consumer_uncommitted(
    cluster: &ClusterConfig,
) -> Result<Detached<BaseConsumer<Watch>>, KafkaFault> {
    consumer(cluster, Isolation::Uncommitted)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rdkafka::mocking::MockCluster;

    use super::super::cluster::plain;
    use super::super::quarantine::QuarantineProducer;
    use super::*;

    #[test]
    fn a_reading_whose_time_is_over_goes_on_where_it_was_and_leaves_nothing_out() {
        let (mock, count) = (MockCluster::new(1).unwrap(), i64::from(LOOK) * 3);
        mock.create_topic("t", 1, 1).unwrap();
        let cluster = plain(&mock.bootstrap_servers());
        let value = [0; 100];
        let mut producer = QuarantineProducer::open(&cluster, client::MESSAGE_BYTES).unwrap();
        producer.send_pairs((0..count).map(|_| (&b"k"[..], Some(&value[..]))), "t").unwrap();
        let (timeout, mut slow) = (Duration::from_secs(2), 0);
        let mut given = Vec::new();
        let reached = scan_on(&cluster, "t", 0, 0, timeout, &mut |record| {
            // So long that the time is over while more is at hand.
            if given.is_empty() || record.offset == i64::from(LOOK) {
                slow += 1;
                std::thread::sleep(timeout);
            }
            given.push(record.offset);
            ControlFlow::Continue(())
        });
        assert_eq!((reached.unwrap(), slow), (count, 2));
        assert!(given.iter().copied().eq(0..count), "{} of {count}", given.len());
    }

    /// A cluster that takes connections and says nothing.
    #[test]
    fn whoever_is_asked_to_stop_waits_for_no_answer() {
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        let cluster = plain(&deaf.local_addr().unwrap().to_string());
        let began = Instant::now();
        let stop = || began.elapsed() > Duration::from_millis(300);
        let mut each = |_: &RawRecord<'_>| ControlFlow::Continue(());
        let (reach, long) = (Reach::LastStable, Duration::from_secs(60));
        let reached = scan_unless(&stop, &cluster, "t", 0, 7, reach, long, &mut each);
        assert!(matches!(reached, Ok(7)), "{reached:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        // Control: who is not asked waits as long as it was told to, and says so.
        let began = Instant::now();
        let fault = scan(&cluster, "t", 0, 7, reach, Duration::from_secs(3), &mut each);
        assert!(fault.is_err_and(|fault| fault.is_away()));
        assert!(began.elapsed() >= Duration::from_secs(3));
    }
}
