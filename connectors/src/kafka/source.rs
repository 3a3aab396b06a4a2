//! The source: committed records of assigned partitions, in order, with every loss told.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use douane_schemas::record::RawRecord;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, Isolation};
use super::cluster::ClusterConfig;
use super::fault::{self, KafkaFault};
use super::ffi;
use super::places::{self, Places, State, Track};
use super::pulse::{self, Pulse};
use super::watch::{Detached, Watch};
use crate::edge::{Fetched, Polled};

/// Questions beside the stream of records.
pub(super) const TIMEOUT: Duration = Duration::from_secs(6);

/// How long closing waits before it leaves the client to its thread.
const CLOSE: Duration = Duration::from_secs(2);

/// A record in the client's buffer. No `Debug`: it is data.
pub struct Message<'a> {
    topic: u32,
    message: BorrowedMessage<'a>,
}

impl<'a> Message<'a> {
    pub(super) fn new(topic: u32, message: BorrowedMessage<'a>) -> Self {
        Self { topic, message }
    }

    /// Offset within the partition.
    pub(super) fn offset(&self) -> i64 {
        self.message.offset()
    }

    /// See [`crate::edge::Fetched::headers`].
    pub fn headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        self.message.headers().map_or_else(Vec::new, ffi::headers)
    }

    /// See [`crate::edge::Fetched::raw`].
    pub fn raw<'s>(&'s self, headers: &'s [(&'s str, Option<&'s [u8]>)]) -> RawRecord<'s> {
        RawRecord {
            topic: self.topic,
            partition: self.message.partition(),
            offset: self.message.offset(),
            timestamp_ms: self.message.timestamp().to_millis().unwrap_or(-1),
            key: self.message.key(),
            value: self.message.payload(),
            headers,
        }
    }
}

/// A `read_committed` consumer of assigned partitions. It joins no group and starts nowhere by
/// itself: positions are the caller's.
pub struct Source {
    consumer: Detached<BaseConsumer<Watch>>,
    places: Places,
    pulse: Pulse,
}

impl Source {
    /// A client for these topics; reaches nothing yet. `group` is only written to, by
    /// [`Self::commit_group`].
    ///
    /// # Errors
    /// Properties or secrets that no client is made with.
    pub fn open(
        cluster: &ClusterConfig,
        group: &str,
        topics: &[String],
    ) -> Result<Self, KafkaFault> {
        let config = client::consumer(cluster, group, Isolation::Committed)?;
        let consumer = client::make(cluster, &config)?;
        let places = Places {
            zone: cluster.zone.clone(),
            topics: topics.to_vec(),
            tracks: BTreeMap::new(),
            lost: VecDeque::new(),
            search: false,
            known_resets: 0,
        };
        Ok(Self { consumer, places, pulse: Pulse::default() })
    }

    /// Reads these partitions from these offsets, and no others: (index of the topic, partition,
    /// offset wanted next).
    ///
    /// # Errors
    /// `Refused` where the client takes the list for wrong.
    pub fn assign(&mut self, places: &[(u32, i32, i64)]) -> Result<(), KafkaFault> {
        self.places.tracks = places
            .iter()
            .map(|(topic, partition, next)| ((*topic, *partition), Track::new(*next)))
            .collect();
        self.places.lost.clear();
        self.assign_tracks()
    }

    fn assign_tracks(&mut self) -> Result<(), KafkaFault> {
        let places = &mut self.places;
        places.forget(&self.consumer);
        let fault = |e: &KafkaError| KafkaFault::of(&places.zone, "assigning partitions", e);
        let mut list = TopicPartitionList::new();
        for ((topic, partition), track) in &places.tracks {
            if track.state == State::Flowing {
                list.add_partition_offset(
                    places.name(*topic),
                    *partition,
                    Offset::Offset(track.next),
                )
                .map_err(|e| fault(&e))?;
            }
        }
        self.consumer.assign(&list).map_err(|e| fault(&e))?;
        // A pause outlives the assignment it was made in.
        self.consumer.resume(&list).map_err(|e| fault(&e))?;
        places.search = false;
        places.known_resets = 0;
        Ok(())
    }

    /// The next record, loss or trouble within `timeout`.
    ///
    /// Offsets of one partition only grow, and may jump: markers of transactions, aborted
    /// records and compacted ones are not given. A client that gives nothing for long is asked whether
    /// it still reaches anybody, and is `Broken` where it does not.
    pub fn poll(&mut self, timeout: Duration) -> Polled<'_> {
        let Self { consumer, places, pulse } = self;
        if places.search
            && let Err(fault) = places.find_lost(consumer)
        {
            return Polled::Trouble(fault.to_string());
        }
        if let Some(lost) = places.lost.pop_front() {
            return Polled::Lost(lost);
        }
        if places.search {
            places.search = false;
            return Polled::Broken(format!(
                "an offset was reset and no position lies outside its log: {}",
                consumer.context().reset_reason()
            ));
        }
        // A record that is there already costs no look at the clock.
        let (mut left, mut deadline) = (Duration::ZERO, None);
        loop {
            match consumer.poll(left) {
                None => {
                    let now = Instant::now();
                    left = deadline.get_or_insert(now + timeout).saturating_duration_since(now);
                    if !left.is_zero() {
                        continue;
                    }
                    if pulse.missed(timeout)
                        && let Some(topic) = places.topics.first()
                        && let Err(fault) =
                            pulse::reaches_a_broker(consumer.client(), &places.zone, topic)
                    {
                        return Polled::Broken(fault.to_string());
                    }
                    return Polled::Idle;
                }
                Some(Err(error)) => {
                    if fault::code_of(&error) == Some(RDKafkaErrorCode::AllBrokersDown) {
                        pulse.doubt();
                    }
                    return places.trouble(consumer, &error);
                }
                Some(Ok(message)) => {
                    pulse.felt();
                    if let Some(topic) = places.take(&message) {
                        return Polled::Record(Fetched::Kafka(Message::new(topic, message)));
                    }
                }
            }
        }
    }

    /// See [`crate::edge::Source::reached`].
    pub fn reached(&mut self) -> Vec<(u32, i32, i64)> {
        self.places.advance(&self.consumer);
        let tracks = self.places.tracks.iter();
        let flowing = tracks.filter(|(_, track)| track.state == State::Flowing);
        flowing.map(|((topic, partition), track)| (*topic, *partition, track.next)).collect()
    }

    /// Gives no more of a partition until [`Self::resume_at`].
    ///
    /// # Errors
    /// `Refused` for a partition that is not assigned.
    pub fn pause(&mut self, topic: u32, partition: i32) -> Result<(), KafkaFault> {
        let Some(track) = self.places.tracks.get_mut(&(topic, partition)) else {
            return Err(self.not_assigned());
        };
        if track.state != State::Flowing {
            return Ok(());
        }
        track.state = State::Paused;
        let mut list = TopicPartitionList::new();
        list.add_partition(self.places.name(topic), partition);
        self.consumer
            .pause(&list)
            .map_err(|e| KafkaFault::of(&self.places.zone, "pausing a partition", &e))
    }

    /// Goes on with a paused or lost partition at an offset. The neighbours are fetched anew from
    /// where they stand: nothing of theirs is given twice or left out.
    ///
    /// # Errors
    /// `Refused` for a partition that is not assigned.
    pub fn resume_at(&mut self, topic: u32, partition: i32, offset: i64) -> Result<(), KafkaFault> {
        // Offsets that its neighbours have passed may be gone from the log.
        self.places.advance(&self.consumer);
        let Some(track) = self.places.tracks.get_mut(&(topic, partition)) else {
            return Err(self.not_assigned());
        };
        (track.next, track.state) = (offset, State::Flowing);
        self.assign_tracks()
    }

    fn not_assigned(&self) -> KafkaFault {
        KafkaFault::Answer {
            zone: self.places.zone.clone(),
            what: "pausing or resuming",
            problem: "the partition is not assigned",
        }
    }

    /// First offset of a partition's log, and the end of what is committed in it.
    ///
    /// # Errors
    /// `NoTopic` for a topic or partition that is not there; `Away`.
    pub fn watermarks(&self, topic: u32, partition: i32) -> Result<(i64, i64), KafkaFault> {
        let deadline = Instant::now() + TIMEOUT;
        places::watermarks(
            &self.consumer,
            &self.places.zone,
            self.places.name(topic),
            partition,
            deadline,
        )
    }

    /// The first offset whose record is not older than a time in milliseconds since the epoch;
    /// `None` where every record is older.
    ///
    /// # Errors
    /// `Away`; `Refused` for a partition that is not there.
    pub fn offset_for_time(
        &self,
        topic: u32,
        partition: i32,
        since_ms: i64,
    ) -> Result<Option<i64>, KafkaFault> {
        let fault =
            |e: &KafkaError| KafkaFault::of(&self.places.zone, "finding an offset by time", e);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.places.name(topic), partition, Offset::Offset(since_ms))
            .map_err(|e| fault(&e))?;
        let found = self.consumer.offsets_for_times(list, TIMEOUT).map_err(|e| fault(&e))?;
        let found = found.find_partition(self.places.name(topic), partition);
        let found = found.ok_or_else(|| self.not_assigned())?;
        found.error().map_err(|e| fault(&e))?;
        Ok(if let Offset::Offset(offset) = found.offset() { Some(offset) } else { None })
    }

    /// Writes positions to the source group, for people's lag tools. They are never read back, so
    /// a failure is nobody's fault but a line in the log.
    pub fn commit_group(&self, places: &[(u32, i32, i64)]) {
        let mut list = TopicPartitionList::new();
        for (topic, partition, next) in places {
            let added = list.add_partition_offset(
                self.places.name(*topic),
                *partition,
                Offset::Offset(*next),
            );
            if added.is_err() {
                return;
            }
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            log::debug!(
                target: "douane::kafka",
                "{}: positions for lag tools not written: {}",
                self.places.zone,
                fault::describe(&error)
            );
        }
    }

    /// Ends the client, waiting a little. Its end can hang: then a thread is left with it.
    pub fn close(self) {
        self.consumer.close(CLOSE);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::super::cluster::plain;
    use super::*;

    #[test]
    fn errors_that_leave_something_out_break_and_others_do_not() {
        use RDKafkaErrorCode as C;
        let mut source = Source::open(&plain("127.0.0.1:1"), "g", &["t".to_owned()]).unwrap();
        let Source { consumer, places, .. } = &mut source;
        let mut said = |code| match places.trouble(consumer, &KafkaError::MessageConsumption(code))
        {
            Polled::Broken(_) => "broken",
            Polled::Trouble(_) => "trouble",
            _ => "other",
        };
        for code in [C::BadMessage, C::BadCompression, C::NotImplemented, C::MessageSizeTooLarge] {
            assert_eq!(said(code), "broken", "{code:?}");
        }
        for code in [C::BrokerTransportFailure, C::AllBrokersDown, C::TopicAuthorizationFailed] {
            assert_eq!(said(code), "trouble", "{code:?}");
        }
    }

    #[test]
    fn a_reset_that_no_position_explains_breaks() {
        let mut source = Source::open(&plain("127.0.0.1:1"), "g", &["t".to_owned()]).unwrap();
        let reset = KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset);
        let Source { consumer, places, .. } = &mut source;
        assert!(matches!(places.trouble(consumer, &reset), Polled::Trouble(_)));
        // No partition is assigned, so none can be the one: it is not passed over.
        assert!(matches!(source.poll(Duration::ZERO), Polled::Broken(_)));
        assert!(matches!(source.poll(Duration::ZERO), Polled::Idle));
    }

    /// What librdkafka says where it struck its brokers off, and where they are away.
    #[test]
    fn who_gives_nothing_and_reaches_nobody_breaks_and_who_only_gives_nothing_does_not() {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("t", 1, 1).unwrap();
        let cluster = plain(&mock.bootstrap_servers());
        let mut source = Source::open(&cluster, "g", &["t".to_owned()]).unwrap();
        source.assign(&[(0, 0, 0)]).unwrap();
        let mut polled = |for_s| {
            let until = Instant::now() + Duration::from_secs(for_s);
            let mut broke = None;
            while broke.is_none() && Instant::now() < until {
                if let Polled::Broken(why) = source.poll(Duration::from_millis(100)) {
                    broke = Some(why);
                }
            }
            broke
        };
        assert_eq!(polled(12), None, "a quiet one that was asked");
        drop(mock);
        let why = polled(25).expect("nobody is there");
        assert!(why.contains("asking for a broker"), "{why}");
    }

    #[test]
    fn a_partition_that_is_not_assigned_bad_pause() {
        let mut source = Source::open(&plain("127.0.0.1:1"), "g", &["t".to_owned()]).unwrap();
        assert!(source.pause(0, 0).is_err());
        assert!(source.resume_at(0, 0, 5).is_err());
        source.assign(&[(0, 0, 5)]).unwrap();
        assert!(source.pause(0, 0).is_ok());
        source.close();
    }
}
