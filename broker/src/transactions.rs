//! The transaction coordinator: who holds a transactional id, and what its open transaction touches.
//!
//! One lock covers coordinator and logs, so a transaction ends in one step: there is no state between the decision and
//! its markers, and `CONCURRENT_TRANSACTIONS` is due only where Kafka always answers it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::batch::{End, Header};
use crate::code::Code;
use crate::groups::Committed;
use crate::state::State;

/// `transaction.max.timeout.ms` of Kafka.
const TIMEOUT_MAX: Duration = Duration::from_secs(900);
const TRANSACTIONAL_IDS_MAX: usize = 10_000;

pub(crate) struct Transaction {
    holder: Holder,
    /// The holder's epoch before this one, if it raised it itself: it may ask once more.
    epoch_before: Option<i16>,
    timeout: Duration,
    phase: Phase,
    partitions: BTreeMap<String, BTreeSet<i32>>,
    groups: BTreeSet<String>,
    /// Group, topic and partition to the offset that a commit makes valid.
    offsets: BTreeMap<(String, String, i32), Committed>,
}

/// A producer's id and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub producer: i64,
    pub epoch: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Empty,
    Open { since: Instant },
    Ended(End),
}

impl Transaction {
    fn open(&mut self) {
        if !matches!(self.phase, Phase::Open { .. }) {
            self.phase = Phase::Open { since: Instant::now() };
        }
    }
}

impl State {
    fn new_producer(&mut self) -> i64 {
        let producer = self.producers;
        self.producers += 1;
        producer
    }

    /// A producer id without transactions.
    pub(crate) fn idempotent_producer(&mut self) -> Holder {
        Holder { producer: self.new_producer(), epoch: 0 }
    }

    /// Hands a transactional id over: the holder before is fenced, and what it left open is aborted.
    ///
    /// # Errors
    /// `ConcurrentTransactions` once something open was aborted: to be asked again, as Kafka wants it.
    /// `ProducerFenced` where `expected` is not the holder any more, `InvalidTransactionTimeout`, `PolicyViolation`
    /// beyond the limit of ids.
    pub(crate) fn take_over(
        &mut self,
        id: &str,
        timeout: Duration,
        expected: Option<Holder>,
    ) -> Result<Holder, Code> {
        if timeout.is_zero() || timeout > TIMEOUT_MAX {
            return Err(Code::InvalidTransactionTimeout);
        }
        if !self.transactions.contains_key(id) {
            if self.transactions.len() >= TRANSACTIONAL_IDS_MAX {
                return Err(Code::PolicyViolation);
            }
            let holder = Holder { producer: self.new_producer(), epoch: 0 };
            let transaction = Transaction {
                holder,
                epoch_before: None,
                timeout,
                phase: Phase::Empty,
                partitions: BTreeMap::new(),
                groups: BTreeSet::new(),
                offsets: BTreeMap::new(),
            };
            self.transactions.insert(id.to_owned(), transaction);
            return Ok(holder);
        }
        let fresh = self.producers;
        let transaction = self.transactions.get_mut(id).ok_or(Code::InvalidProducerIdMapping)?;
        let now = transaction.holder;
        if expected.is_some_and(|expected| expected.producer != now.producer) {
            return Err(Code::ProducerFenced);
        }
        // Before the epoch is looked at: Kafka aborts for an older holder, too, and refuses it when it comes again.
        if let Phase::Open { .. } = transaction.phase {
            self.fence(id);
            return Err(Code::ConcurrentTransactions);
        }
        if let Some(expected) = expected.filter(|expected| expected.epoch != now.epoch) {
            let again = transaction.epoch_before == Some(expected.epoch);
            return if again { Ok(now) } else { Err(Code::ProducerFenced) };
        }
        if now.epoch >= i16::MAX - 2 {
            transaction.holder = Holder { producer: fresh, epoch: 0 };
            self.producers += 1;
        } else {
            transaction.holder.epoch += 1;
        }
        transaction.epoch_before = expected.map(|expected| expected.epoch);
        transaction.timeout = timeout;
        transaction.phase = Phase::Empty;
        Ok(transaction.holder)
    }

    /// Aborts an open transaction under an epoch of its own, so that its producer can write nothing more. It may ask for
    /// that epoch, and go on (KIP-588).
    fn fence(&mut self, id: &str) {
        if let Some(transaction) = self.transactions.get_mut(id) {
            transaction.epoch_before = Some(transaction.holder.epoch);
            transaction.holder.epoch += 1;
        }
        self.end(id, End::Abort);
    }

    /// # Errors
    /// `InvalidProducerIdMapping` for an id or producer that is not known, `ProducerFenced` for another epoch.
    fn held(&mut self, id: &str, holder: Holder) -> Result<&mut Transaction, Code> {
        let transaction = self.transactions.get_mut(id).ok_or(Code::InvalidProducerIdMapping)?;
        if transaction.holder.producer != holder.producer {
            return Err(Code::InvalidProducerIdMapping);
        }
        if transaction.holder.epoch != holder.epoch {
            return Err(Code::ProducerFenced);
        }
        Ok(transaction)
    }

    /// Takes partitions into the transaction, and opens it; all of them or none.
    ///
    /// # Errors
    /// As [`Self::held`].
    pub(crate) fn add_partitions(
        &mut self,
        id: &str,
        holder: Holder,
        partitions: &[(&str, i32)],
    ) -> Result<(), Code> {
        let transaction = self.held(id, holder)?;
        transaction.open();
        for (topic, partition) in partitions {
            let of_topic = transaction.partitions.entry((*topic).to_owned()).or_default();
            of_topic.insert(*partition);
        }
        Ok(())
    }

    /// Takes a group's offsets into the transaction, and opens it.
    ///
    /// # Errors
    /// As [`Self::held`].
    pub(crate) fn add_group(&mut self, id: &str, holder: Holder, group: &str) -> Result<(), Code> {
        let transaction = self.held(id, holder)?;
        transaction.open();
        transaction.groups.insert(group.to_owned());
        Ok(())
    }

    /// Keeps an offset that becomes valid with the transaction.
    ///
    /// # Errors
    /// As [`Self::held`]; `InvalidTxnState` where the group was not added.
    pub(crate) fn hold_offset(
        &mut self,
        id: &str,
        holder: Holder,
        place: (&str, &str, i32),
        offset: Committed,
    ) -> Result<(), Code> {
        let transaction = self.held(id, holder)?;
        let open = matches!(transaction.phase, Phase::Open { .. });
        if !open || !transaction.groups.contains(place.0) {
            return Err(Code::InvalidTxnState);
        }
        let key = (place.0.to_owned(), place.1.to_owned(), place.2);
        if transaction.offsets.insert(key, offset).is_none() {
            self.groups.make(place.0)?.hold(place.1, place.2);
        }
        Ok(())
    }

    /// That a transactional batch belongs to the open transaction of its producer.
    ///
    /// # Errors
    /// `TransactionalIdAuthorizationFailed` without an id, as in Kafka without rights either,
    /// `InvalidProducerIdMapping`, `InvalidProducerEpoch`, `InvalidTxnState`.
    pub(crate) fn check_batch(
        &mut self,
        id: Option<&str>,
        header: &Header,
        place: (&str, i32),
    ) -> Result<(), Code> {
        if !header.transactional {
            return Ok(());
        }
        let id = id.ok_or(Code::TransactionalIdAuthorizationFailed)?;
        let holder = Holder { producer: header.producer, epoch: header.epoch };
        let transaction = self.held(id, holder).map_err(Code::for_old_clients)?;
        let open = matches!(transaction.phase, Phase::Open { .. });
        let holds = transaction.partitions.get(place.0).is_some_and(|of| of.contains(&place.1));
        if !open || !holds {
            return Err(Code::InvalidTxnState);
        }
        Ok(())
    }

    /// Commits or aborts, as its producer says.
    ///
    /// # Errors
    /// As [`Self::held`]; `InvalidTxnState` where nothing is open and the last one did not end so.
    pub(crate) fn end_transaction(
        &mut self,
        id: &str,
        holder: Holder,
        end: End,
    ) -> Result<(), Code> {
        match self.held(id, holder)?.phase {
            Phase::Open { .. } => self.end(id, end),
            // Said again, because the first answer was lost.
            Phase::Ended(before) if before == end => {}
            Phase::Ended(_) | Phase::Empty => return Err(Code::InvalidTxnState),
        }
        Ok(())
    }

    fn end(&mut self, id: &str, end: End) {
        let Some(transaction) = self.transactions.get_mut(id) else { return };
        let Holder { producer, epoch } = transaction.holder;
        transaction.phase = Phase::Ended(end);
        transaction.groups.clear();
        let partitions = std::mem::take(&mut transaction.partitions);
        let offsets = std::mem::take(&mut transaction.offsets);
        for (topic, partition) in
            partitions.iter().flat_map(|(topic, of)| of.iter().map(move |p| (topic, *p)))
        {
            // A topic that was deleted meanwhile needs no marker.
            if let Ok(log) = self.topics.log(topic, partition) {
                let before = log.bytes();
                log.end_transaction(producer, epoch, end);
                self.bytes += log.bytes() - before;
            }
        }
        for ((group, topic, partition), offset) in offsets {
            let valid = (end == End::Commit && self.topics.log(&topic, partition).is_ok())
                .then_some(offset);
            if let Some(group) = self.groups.get(&group) {
                group.release(&topic, partition, valid);
            }
        }
    }

    /// Ends what its producer left open for longer than it said.
    pub(crate) fn end_late_transactions(&mut self, now: Instant) {
        let late = |transaction: &Transaction| match transaction.phase {
            Phase::Open { since } => now.saturating_duration_since(since) > transaction.timeout,
            Phase::Empty | Phase::Ended(_) => false,
        };
        let late = self.transactions.iter().filter(|(_, transaction)| late(transaction));
        let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
        for id in late {
            self.fence(&id);
        }
    }
}

impl Code {
    /// Clients that do not know `PRODUCER_FENCED` (KIP-588) are told the older code.
    pub(crate) fn for_old_clients(self) -> Self {
        if self == Self::ProducerFenced { Self::InvalidProducerEpoch } else { self }
    }
}
