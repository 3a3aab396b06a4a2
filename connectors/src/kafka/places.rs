//! Where each partition of a source stands, and which of them are lost.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

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
        Some(topic)
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
/// Just after a topic was made brokers may not know its partitions yet; that is asked again.
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
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A client that just started waits for its first connection within the call.
        let asking = left.clamp(Duration::from_millis(1), ASKING);
        let asked = consumer.fetch_watermarks(topic, partition, asking);
        let error = match asked {
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
