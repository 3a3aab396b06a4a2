//! The sink: one transaction a turn to the target, the position in it last.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};

use super::client;
use super::cluster::ClusterConfig;
use super::fault::{self, KafkaFault};
use super::watch::{Detached, Failures, Watch};
use crate::control_switch;
use crate::edge::{self, SinkFault, Transaction};

/// Records and bytes sent before the queue is drained. A deep queue is slower, and takes twice
/// the time of the processor.
const CHUNK: (usize, usize) = (5_000, 4 << 20);

/// From the beginning of a transaction until all of it is acknowledged. Longer than
/// `message.timeout.ms`, after which the client itself gives up; shorter than
/// `transaction.timeout.ms`, after which the target does, and calls it fencing.
const ACKNOWLEDGED: Duration = Duration::from_secs(9);

/// EndTxn: longer than `transaction.timeout.ms`, after which nothing is left to commit.
const END: Duration = Duration::from_secs(12);

/// For an abort that only makes readers wait less.
const ABORT: Duration = Duration::from_secs(2);

/// The only producer to the target, for one transactional id. To be had by fencing, given up with
/// each commit, and given back only where it may be used again.
pub struct Sink {
    producer: Detached<BaseProducer<Watch>>,
}

type CommitOutcome = edge::CommitOutcome<Sink>;

/// One record on its way. Private: outside this module there is only what the gate made.
pub(super) struct Outgoing<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// Milliseconds since the epoch; none is the time of sending.
    pub timestamp_ms: Option<i64>,
    pub headers: &'a [(&'static str, Vec<u8>)],
}

impl Sink {
    /// Fences every earlier holder of `transactional_id` and aborts at once what it left open.
    ///
    /// The position is read AFTER this, never before: what a holder commits between reading and
    /// fencing would be sent again.
    ///
    /// # Errors
    /// See [`SinkFault`]; `timeout` bounds the wait for the coordinator.
    pub fn fence(
        cluster: &ClusterConfig,
        transactional_id: &str,
        timeout: Duration,
    ) -> Result<Self, SinkFault> {
        Self::fence_sized(cluster, transactional_id, client::MESSAGE_BYTES, timeout)
    }

    /// As [`Self::fence`], for topics whose least `max.message.bytes` is not about a million:
    /// batches larger than it would be refused whole, small records among them.
    ///
    /// # Errors
    /// As [`Self::fence`].
    pub fn fence_sized(
        cluster: &ClusterConfig,
        transactional_id: &str,
        message_bytes_max: usize,
        timeout: Duration,
    ) -> Result<Self, SinkFault> {
        let mut config = client::transactional(cluster, transactional_id)
            .map_err(|fault| SinkFault::Settings(fault.into()))?;
        client::size(&mut config, message_bytes_max);
        let producer: Detached<BaseProducer<Watch>> =
            client::make(cluster, &config).map_err(|fault| match fault.is_away() {
                true => SinkFault::Away(fault.into()),
                false => SinkFault::Settings(fault.into()),
            })?;
        producer.init_transactions(timeout).map_err(|e| {
            let fault = KafkaFault::of(&cluster.zone, "fencing", &e);
            match fault.is_away() {
                true => SinkFault::Away(fault.into()),
                false => SinkFault::Refused(fault.into()),
            }
        })?;
        Ok(Self { producer })
    }

    #[cfg(test)]
    pub(super) fn of(producer: Detached<BaseProducer<Watch>>) -> Self {
        Self { producer }
    }

    #[cfg(test)]
    pub(super) fn producer(&self) -> &BaseProducer<Watch> {
        &self.producer
    }

    pub(super) fn transact<'a>(
        self,
        records: impl Iterator<Item = Outgoing<'a>>,
        position: &Outgoing<'_>,
    ) -> CommitOutcome {
        self.transact_while(&|| Ok(()), records, position)
    }

    fn transact_while<'a>(
        self,
        may_go: &dyn Fn() -> Result<(), String>,
        records: impl Iterator<Item = Outgoing<'a>>,
        position: &Outgoing<'_>,
    ) -> CommitOutcome {
        if let Err(why) = may_go() {
            return CommitOutcome::Ended(why);
        }
        let watch = self.producer.context().clone();
        self.listen();
        // Lines from before this point are of no transaction: nothing was under way.
        let breaks = watch.breaks();
        watch.forget_failures();
        if let Err(stop) = self.send_all(records, position) {
            return self.abort(stop);
        }
        // It may have been frozen since it began. Behind this look nothing waits for anybody.
        if let Err(why) = may_go() {
            return self.abort(Stop::Ended(why));
        }
        // Crash here: the records lie in the target, uncommitted; the next holder aborts them.
        control_switch::wait_at("end-txn");
        let committed = self.producer.commit_transaction(END);
        // Crash here: the position in the target says whether it was committed.
        self.listen();
        match committed {
            Err(error) if is_fencing(&error) => CommitOutcome::Fenced,
            Err(error) => CommitOutcome::Unknown(fault::describe(&error)),
            // An Ok may be the answer to a repeated request, with the first one still under way.
            Ok(()) if control_switch::no_link_guard() => CommitOutcome::Committed(self),
            Ok(())
                if watch.breaks() != breaks || self.producer.client().fatal_error().is_some() =>
            {
                CommitOutcome::CommittedButSuspect
            }
            Ok(()) => CommitOutcome::Committed(self),
        }
    }

    fn send_all<'a>(
        &self,
        records: impl Iterator<Item = Outgoing<'a>>,
        position: &Outgoing<'_>,
    ) -> Result<(), Stop> {
        self.producer.begin_transaction().map_err(|e| Stop::of(&e))?;
        let deadline = Instant::now() + ACKNOWLEDGED;
        let mut records = records.peekable();
        let (mut count, mut queued, mut bytes) = (0, 0, 0);
        while let Some(record) = records.next() {
            // The last one is the manifest: it goes when all it tells of is there.
            if queued >= CHUNK.0 || bytes >= CHUNK.1 || records.peek().is_none() {
                self.drain(count, deadline)?;
                (queued, bytes) = (0, 0);
            }
            queued += 1;
            bytes += record.value.map_or(0, <[u8]>::len);
            self.send(&record, count, deadline)?;
            count += 1;
        }
        self.drain(count, deadline)?;
        if count > 0 {
            // Crash here: the records lie in the target, uncommitted and without a position.
            control_switch::die_at("sent");
        }
        self.send(position, count, deadline)?;
        self.drain(count, deadline)?;
        if count > 0 {
            // Crash here: all of it lies in the target, and the transaction is not committed.
            control_switch::die_at("positioned");
            control_switch::wait_at("positioned");
        }
        Ok(())
    }

    fn send(&self, record: &Outgoing<'_>, number: usize, deadline: Instant) -> Result<(), Stop> {
        let mut out = BaseRecord::<[u8], [u8], usize>::with_opaque_to(record.topic, number)
            .partition(record.partition);
        out.key = record.key;
        out.payload = record.value;
        out.timestamp = record.timestamp_ms;
        if !record.headers.is_empty() {
            let space = OwnedHeaders::new_with_capacity(record.headers.len());
            out.headers = Some(record.headers.iter().fold(space, |headers, (name, value)| {
                headers.insert(Header { key: name, value: Some(value.as_slice()) })
            }));
        }
        loop {
            let (error, back) = match self.producer.send(out) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            if let Some(code) = error.rdkafka_error_code().and_then(fault::refusal) {
                // Going on would commit the transaction without it.
                return Err(Stop::Refused(Some(number), code));
            }
            if !is_queue_full(&error) {
                return Err(Stop::of(&error));
            }
            if Instant::now() >= deadline {
                return Err(Stop::Late("the queue stays full".to_owned()));
            }
            out = back;
            self.producer.poll(Duration::ZERO);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until everything sent is acknowledged. The wrapper's own flush polls in steps of
    /// 100 ms, and its poll never returns early. `position` is the number that is no record's.
    fn drain(&self, position: usize, deadline: Instant) -> Result<(), Stop> {
        loop {
            self.producer.poll(Duration::ZERO);
            if let Some(stop) = Stop::after(&self.producer.context().failures(), position) {
                return Err(stop);
            }
            if self.producer.in_flight_count() == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Stop::Late("records are not acknowledged in time".to_owned()));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Serves the client's log lines: the counter has then heard all there are.
    fn listen(&self) {
        const AT_MOST: usize = 10_000;
        for _ in 0..AT_MOST {
            if self.producer.in_flight_count() == 0 {
                return;
            }
            self.producer.poll(Duration::ZERO);
        }
    }

    /// Ends a transaction whose commit was never asked for, and the producer with it.
    fn abort(self, stop: Stop) -> CommitOutcome {
        // Only a courtesy to readers, who would wait for the timeout: the next fence aborts it
        // anyway. On a broken link it would be one more request that may come late.
        if let Stop::Refused(..) | Stop::Ended(_) = stop {
            self.producer.purge(PurgeConfig::default().queue().inflight());
            let deadline = Instant::now() + ABORT;
            while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
                self.producer.poll(Duration::ZERO);
            }
            if let Err(error) = self.producer.abort_transaction(ABORT) {
                log::debug!(target: "douane::kafka", "abort: {}", fault::describe(&error));
            }
        }
        // Records of a fenced producer fail under several names; the client itself knows the one.
        let fenced = self.producer.client().fatal_error().is_some_and(|(c, _)| is_fencing_code(c));
        match stop {
            _ if fenced => CommitOutcome::Fenced,
            Stop::Fenced => CommitOutcome::Fenced,
            Stop::Refused(index, code) => CommitOutcome::Refused { index, code },
            Stop::Late(why) => CommitOutcome::Late(why),
            Stop::Ended(why) => CommitOutcome::Ended(why),
            Stop::Outside(why) => CommitOutcome::Aborted(why),
        }
    }
}

impl edge::Sink for Sink {
    /// The client's log lines do not gather meanwhile.
    fn idle(&self) {
        self.listen();
    }

    /// Data, then the manifest, then the position, each drained before the next, then the commit.
    /// Nothing is waited for while the transaction is open but the target itself.
    fn commit(self: Box<Self>, transaction: &Transaction<'_>) -> edge::CommitOutcome {
        let (key, value) = transaction.position();
        let position = Outgoing {
            topic: transaction.position_topic(),
            partition: transaction.partition(),
            key: Some(key),
            value: Some(value),
            timestamp_ms: None,
            headers: &[],
        };
        let records = transaction.records().map(|record| Outgoing {
            topic: record.topic,
            partition: record.partition,
            key: record.key,
            value: record.value,
            timestamp_ms: Some(record.timestamp_ms),
            headers: record.headers,
        });
        self.transact_while(&|| transaction.may_go(), records, &position).boxed()
    }
}

/// Why a transaction does not come to its commit.
enum Stop {
    Fenced,
    Refused(Option<usize>, &'static str),
    Late(String),
    Outside(String),
    /// It may not go out any more.
    Ended(String),
}

impl Stop {
    fn of(error: &KafkaError) -> Self {
        if is_fencing(error) { Self::Fenced } else { Self::Outside(fault::describe(error)) }
    }

    /// What failed deliveries mean; `position` is the number that is no record's.
    fn after(failures: &Failures, position: usize) -> Option<Self> {
        let (number, code) = failures.first?;
        Some(match (failures.too_large, failures.refused) {
            (Some((largest, _)), _) if largest < position => {
                Self::Refused(Some(largest), fault::TOO_LARGE)
            }
            (_, Some((first, why))) if first < position => {
                Self::Refused((failures.refused_count == 1).then_some(first), why)
            }
            _ if is_fencing_code(code) => Self::Fenced,
            _ => {
                let why = match number == position {
                    true => format!("position: {code:?}"),
                    false => format!("{} records: {code:?}", failures.count),
                };
                match code {
                    RDKafkaErrorCode::MessageTimedOut => Self::Late(why),
                    _ => Self::Outside(why),
                }
            }
        })
    }
}

fn is_fencing(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(is_fencing_code)
}

fn is_fencing_code(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as C;
    matches!(code, C::Fenced | C::ProducerFenced | C::InvalidProducerEpoch)
}

pub(super) fn is_queue_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka_sys::RDKafkaApiKey;

    use super::super::cluster::plain;
    use super::*;

    #[test]
    fn a_target_that_is_away_is_away_and_wrong_settings_are_not() {
        let tried = Instant::now();
        let fault = Sink::fence(&plain("127.0.0.1:1"), "t", Duration::from_millis(300));
        assert!(matches!(fault.err(), Some(SinkFault::Away(_))));
        assert!(tried.elapsed() < Duration::from_secs(5));
        let mut cluster = plain("127.0.0.1:1");
        cluster.properties.insert("debug".to_owned(), "all".to_owned());
        let fault = Sink::fence(&cluster, "t", Duration::from_millis(300));
        assert!(matches!(fault.err(), Some(SinkFault::Settings(_))));
    }

    #[test]
    fn what_is_not_acknowledged_in_time_is_late_and_other_trouble_is_not() {
        use rdkafka_sys::RDKafkaRespErr as E;
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("data", 1, 1).unwrap();
        let cluster = plain(&mock.bootstrap_servers());
        let out = |value| Outgoing {
            topic: "data",
            partition: 0,
            key: None,
            value: Some(value),
            timestamp_ms: Some(1),
            headers: &[],
        };
        let fence = || Sink::fence(&cluster, "t", Duration::from_secs(20)).unwrap();
        let sink = fence();
        let refused = E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        mock.request_errors(RDKafkaApiKey::Produce, &[refused]);
        let outcome = sink.transact([out(&b"1"[..])].into_iter(), &out(b"p"));
        assert!(matches!(outcome, CommitOutcome::Aborted(_)), "{outcome:?}");
        let sink = fence();
        // Only what is answered late: a link that is slow looks the same from here.
        mock.broker_round_trip_time(1, Duration::from_secs(60)).unwrap();
        let began = Instant::now();
        let outcome = sink.transact([out(&b"1"[..])].into_iter(), &out(b"p"));
        assert!(matches!(outcome, CommitOutcome::Late(_)), "{outcome:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "before the target calls it fencing");
    }

    #[test]
    fn what_a_target_refuses_for_the_records_sake_is_no_passing_fault_bad_record() {
        use rdkafka_sys::RDKafkaRespErr as E;
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("data", 1, 1).unwrap();
        let cluster = plain(&mock.bootstrap_servers());
        let out = |topic, value| Outgoing {
            topic,
            partition: 0,
            key: None,
            value: Some(value),
            timestamp_ms: Some(1),
            headers: &[],
        };
        let outcome = |error| {
            let sink = Sink::fence(&cluster, "t", Duration::from_secs(20)).unwrap();
            mock.request_errors(RDKafkaApiKey::Produce, &[error]);
            let outcome = sink.transact([out("data", b"1")].into_iter(), &out("data", b"p"));
            mock.clear_request_errors(RDKafkaApiKey::Produce);
            outcome
        };
        for (error, expected) in [
            (E::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, "invalid_timestamp"),
            (E::RD_KAFKA_RESP_ERR_INVALID_RECORD, "invalid_record"),
            (E::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, "policy_violation"),
            (E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "too_large"),
        ] {
            let outcome = outcome(error);
            let refused = matches!(outcome, CommitOutcome::Refused { index: Some(0), code } if code == expected);
            assert!(refused, "{expected}: {outcome:?}");
        }
        // The control: what may pass is not laid on a record.
        let outcome = outcome(E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
        assert!(matches!(outcome, CommitOutcome::Aborted(_)), "{outcome:?}");
    }

    #[test]
    fn a_batch_refused_whole_blames_no_single_record() {
        use RDKafkaErrorCode as C;
        let stop = |failed: &[(usize, C)]| {
            let watch = Watch::new("z");
            for (number, code) in failed {
                watch.failed(*number, *code, *number);
            }
            Stop::after(&watch.failures(), 9)
        };
        assert!(stop(&[]).is_none());
        let whole = stop(&[(1, C::InvalidTimestamp), (2, C::InvalidTimestamp)]);
        assert!(matches!(whole, Some(Stop::Refused(None, "invalid_timestamp"))));
        let named = stop(&[(1, C::InvalidDifferentRecord), (2, C::InvalidRecord)]);
        assert!(matches!(named, Some(Stop::Refused(Some(2), "invalid_record"))));
        let large = stop(&[(1, C::MessageSizeTooLarge), (2, C::MessageSizeTooLarge)]);
        assert!(matches!(large, Some(Stop::Refused(Some(2), "too_large"))));
        // The position is no record of the batch.
        assert!(matches!(stop(&[(9, C::InvalidRecord)]), Some(Stop::Outside(_))));
    }

    #[test]
    fn every_word_for_being_fenced_is_known() {
        use RDKafkaErrorCode as C;
        for code in [C::Fenced, C::ProducerFenced, C::InvalidProducerEpoch] {
            assert!(is_fencing(&KafkaError::MessageProduction(code)), "{code:?}");
        }
        assert!(!is_fencing(&KafkaError::MessageProduction(C::OperationTimedOut)));
    }
}
