//! Where each partition of a source stands, and which of them are lost.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};

use super::fault::{self, KafkaFault};
use super::source::TIMEOUT;
use super::watch::Watch;
use crate::edge::{Lost, Polled};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Flowing,
    Paused,
    Lost,
}

pub(super) struct Track {
    pub next: i64,
    pub state: State,
    /// Where the client stood when the partition was assigned: until it has given something of the
    /// new assignment it may still say so, and that is of the old one.
    stale: Option<i64>,
}

impl Track {
    pub fn new(next: i64) -> Self {
        Self { next, state: State::Flowing, stale: None }
    }

    /// Hears where the client stands. It stands behind every record that it gave, and behind what it
    /// passed over since: what is no record, or no committed one.
    fn hear(&mut self, stands: i64) {
        if self.state == State::Flowing && self.stale != Some(stands) {
            self.next = self.next.max(stands);
        }
    }
}

/// Where each partition stands. Apart from the client, whose records are borrowed from it.
pub(super) struct Places {
    pub zone: String,
    pub topics: Vec<String>,
    pub tracks: BTreeMap<(u32, i32), Track>,
    pub lost: VecDeque<Lost>,
    /// A reset was heard and it is not known yet of which partition.
    pub search: bool,
    /// Resets that are still to come from partitions already known to be lost.
    pub known_resets: usize,
}

impl Places {
    pub fn name(&self, topic: u32) -> &str {
        self.topics.get(topic as usize).map_or("", String::as_str)
    }

    /// Takes note of a record that is wanted, and gives its topic's index.
    pub fn take(&mut self, message: &BorrowedMessage<'_>) -> Option<u32> {
        // A short list: a search is cheaper than a hash.
        let topic = self.topics.iter().position(|name| name == message.topic())?;
        let topic = u32::try_from(topic).ok()?;
        let track = self.tracks.get_mut(&(topic, message.partition()))?;
        // A paused partition's records, and those from before a seek, may still lie in the
        // client's queue. They come again where they are wanted.
        if track.state != State::Flowing || message.offset() < track.next {
            return None;
        }
        track.next = message.offset() + 1;
        track.stale = None;
        Some(topic)
    }

    /// Moves what flows over what the client passed. Where it does not say, nothing moves.
    pub fn advance(&mut self, consumer: &BaseConsumer<Watch>) {
        for (at, stands) in self.stands(consumer) {
            if let Some(track) = self.tracks.get_mut(&at) {
                track.hear(stands);
            }
        }
    }

    /// What the client says of where it stands is of an assignment that is over. Of what was not in
    /// that one, what it said before may still come.
    pub fn forget(&mut self, consumer: &BaseConsumer<Watch>) {
        for (at, stood) in self.stands(consumer) {
            if let Some(track) = self.tracks.get_mut(&at) {
                track.stale = Some(stood);
            }
        }
    }

    fn stands(&self, consumer: &BaseConsumer<Watch>) -> BTreeMap<(u32, i32), i64> {
        let Ok(positions) = consumer.position() else { return BTreeMap::new() };
        let elements = positions.elements();
        let stands = elements.iter().filter_map(|element| {
            let topic = self.topics.iter().position(|name| name == element.topic())?;
            let Offset::Offset(stands) = element.offset() else { return None };
            Some(((u32::try_from(topic).ok()?, element.partition()), stands))
        });
        stands.collect()
    }

    pub fn trouble(
        &mut self,
        consumer: &BaseConsumer<Watch>,
        error: &KafkaError,
    ) -> Polled<'static> {
        let code = match error {
            KafkaError::MessageConsumption(code) | KafkaError::MessageConsumptionFatal(code) => {
                *code
            }
            other => return Polled::Trouble(fault::describe(other)),
        };
        let said = fault::describe(error);
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) || leaves_out(code) {
            return Polled::Broken(said);
        }
        if code == RDKafkaErrorCode::AutoOffsetReset {
            if self.known_resets > 0 {
                self.known_resets -= 1;
                return Polled::Idle;
            }
            // The wrapper does not say of which partition; it comes once, then silence.
            self.search = true;
            return match self.find_lost(consumer) {
                Ok(()) => self.lost.pop_front().map_or(Polled::Trouble(said), Polled::Lost),
                Err(fault) => Polled::Trouble(fault.to_string()),
            };
        }
        Polled::Trouble(said)
    }

    /// Finds which positions lie outside their logs. Leaves `search` set where none does.
    pub fn find_lost(&mut self, consumer: &BaseConsumer<Watch>) -> Result<(), KafkaFault> {
        self.advance(consumer);
        let deadline = Instant::now() + TIMEOUT;
        let mut found = Vec::new();
        for ((topic, partition), track) in &self.tracks {
            if track.state != State::Flowing {
                continue;
            }
            let name = self.name(*topic);
            let (low, high) = watermarks(consumer, &self.zone, name, *partition, deadline)?;
            if track.next < low || track.next > high {
                let (topic, partition, position) = (*topic, *partition, track.next);
                found.push(Lost { topic, partition, position, low, high });
            }
        }
        if !found.is_empty() {
            self.search = false;
            // Each of them tells it once; one of those was heard.
            self.known_resets += found.len() - 1;
        }
        for lost in found {
            if let Some(track) = self.tracks.get_mut(&(lost.topic, lost.partition)) {
                track.state = State::Lost;
            }
            self.lost.push_back(lost);
        }
        Ok(())
    }
}

/// Whether librdkafka goes on behind this error with something left out.
fn leaves_out(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as C;
    matches!(
        code,
        // A batch that fails its checksum is skipped, the next one given.
        C::BadMessage
            | C::InvalidMessage
            | C::InvalidMessageSize
            | C::MessageSizeTooLarge
            | C::BadCompression
            | C::NotImplemented
            | C::UnsupportedFeature
            | C::UnsupportedCompressionType
            | C::LogTruncation
            | C::OffsetOutOfRange
            | C::InvalidRecord
    )
}

/// First and last offset of a partition, as the client's isolation level has them.
///
/// Just after a topic was made brokers may not know its partitions yet; that is asked again. So is whether a log is
/// empty: see [`watermarks_unless`].
pub(super) fn watermarks(
    consumer: &BaseConsumer<Watch>,
    zone: &str,
    topic: &str,
    partition: i32,
    deadline: Instant,
) -> Result<(i64, i64), KafkaFault> {
    watermarks_unless(&|| false, consumer, zone, topic, partition, deadline)
}

/// The client cannot be told to stop asking: so it asks for so long, and then again.
const ASKING: Duration = Duration::from_secs(2);

/// As [`watermarks`], until `stop` says so: then the side is away.
///
/// librdkafka (2.12.1, `rd_kafka_query_watermark_offsets`) asks for both ends by a request each, and where both answers
/// lie there at once the second one's success hides the first one's error: of a broker that begins to lead between the
/// two it says that the log is empty, from its end to its end. Somebody who believed that would hold a partition as
/// lost, or take a position for none. An empty log is one that is empty twice.
pub(super) fn watermarks_unless(
    stop: &dyn Fn() -> bool,
    consumer: &BaseConsumer<Watch>,
    zone: &str,
    topic: &str,
    partition: i32,
    deadline: Instant,
) -> Result<(i64, i64), KafkaFault> {
    use RDKafkaErrorCode as C;
    // Long enough for a new topic, short enough for a wrong name.
    let unknown_until = (Instant::now() + Duration::from_secs(3)).min(deadline);
    let mut seen_empty = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A client that just started waits for its first connection within the call.
        let asking = left.clamp(Duration::from_millis(1), ASKING);
        let asked = consumer.fetch_watermarks(topic, partition, asking);
        let error = match asked {
            Ok((low, high)) if low == high && high > 0 && seen_empty != Some(high) => {
                seen_empty = Some(high);
                continue;
            }
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let code = error.rdkafka_error_code();
        let unknown = matches!(
            code,
            Some(C::UnknownPartition | C::UnknownTopic | C::UnknownTopicOrPartition)
        );
        let again = code.is_some_and(fault::is_away) || code == Some(C::OffsetNotAvailable);
        let until = if unknown { unknown_until } else { deadline };
        if !(unknown || again) || Instant::now() >= until || (again && stop()) {
            return Err(if unknown {
                KafkaFault::NoTopic { zone: zone.to_owned(), topic: topic.to_owned() }
            } else {
                KafkaFault::of(zone, "asking where a log ends", &error)
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka_sys::{RDKafkaApiKey, RDKafkaRespErr as E};

    use super::super::client::{self, Isolation};
    use super::super::cluster::plain;
    use super::*;

    /// A broker that leads by the second of two questions, as often as it takes until both answers lie there at once.
    #[test]
    fn a_log_is_empty_when_it_is_twice_and_not_when_one_end_was_no_answer() {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("t", 1, 1).unwrap();
        let cluster = plain(&mock.bootstrap_servers());
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", mock.bootstrap_servers());
        let producer: BaseProducer = config.create().unwrap();
        for _ in 0..5 {
            producer.send(BaseRecord::<(), str>::to("t").partition(0).payload("v")).unwrap();
        }
        producer.flush(TIMEOUT).unwrap();
        let config = client::consumer(&cluster, "g", Isolation::Committed).unwrap();
        let consumer: BaseConsumer<Watch> = config.create_with_context(Watch::new("z")).unwrap();
        let ends = || watermarks(&consumer, "z", "t", 0, Instant::now() + TIMEOUT).unwrap();
        assert_eq!(ends(), (0, 5));
        let mut doubted = 0;
        for _ in 0..300 {
            mock.request_errors(
                RDKafkaApiKey::ListOffsets,
                &[E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION],
            );
            let plain = consumer.fetch_watermarks("t", 0, TIMEOUT);
            doubted += usize::from(matches!(plain, Ok((5, 5))));
            mock.request_errors(
                RDKafkaApiKey::ListOffsets,
                &[E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION],
            );
            assert_eq!(ends(), (0, 5));
        }
        assert!(doubted > 0, "the control: asked once, it is taken for empty");
    }

    #[test]
    fn where_the_client_stands_moves_what_flows_and_is_not_heard_twice() {
        let mut track = Track::new(100);
        // A record was given up to here, and a marker stands behind it.
        track.hear(100);
        track.hear(101);
        assert_eq!(track.next, 101);
        // It never goes back.
        track.hear(50);
        assert_eq!(track.next, 101);
        // Assigned anew at a record that was given before: what the client says is of then.
        let mut again = Track { stale: Some(101), ..Track::new(100) };
        again.hear(101);
        assert_eq!(again.next, 100);
        again.hear(102);
        assert_eq!(again.next, 102);
        for state in [State::Paused, State::Lost] {
            let mut track = Track { state, ..Track::new(7) };
            track.hear(9);
            assert_eq!(track.next, 7, "what was read past may wait");
        }
    }
}
