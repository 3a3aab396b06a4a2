//! One partition: its batches, who has a transaction open in it, and which transactions were aborted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar};

use crate::batch::{Batch, End, Header, NO_PRODUCER};
use crate::code::Code;

/// Batches per producer that a repeated one is compared with: as many as a producer may have in flight.
const REMEMBERED: usize = 5;
/// Producers that one partition remembers.
const PRODUCERS_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct Log {
    /// The first offset that can be read.
    start: i64,
    /// One beyond the last: the high watermark of a single node.
    end: i64,
    batches: VecDeque<Batch>,
    producers: HashMap<i64, Producer>,
    /// Producer to the first offset of its open transaction.
    open: BTreeMap<i64, i64>,
    /// In the order of their markers.
    aborted: VecDeque<Aborted>,
    /// Readers that wait for something new here.
    waiting: Vec<Arc<Condvar>>,
    bytes: usize,
}

/// What a partition remembers of a producer that numbers its batches.
struct Producer {
    epoch: i16,
    /// First and last sequence number, and base offset, of its last batches.
    recent: VecDeque<(i32, i32, i64)>,
    last_offset: i64,
}

pub(crate) struct Aborted {
    pub producer: i64,
    pub first: i64,
    /// Offset of its marker.
    last: i64,
    /// Last stable offset once it had ended: transactions aborted later begin there at the earliest.
    stable: i64,
}

/// What a reader gets.
pub(crate) struct Slice {
    pub batches: Vec<Arc<[u8]>>,
    pub size: usize,
    /// One beyond the last offset in it.
    pub end: i64,
}

impl Log {
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// What it holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything before this offset belongs to no open transaction.
    pub(crate) fn stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end).max(self.start)
    }

    /// Appends a batch, at a time that counts for its records unless their own do; its base offset. A batch that came
    /// before gets the offset it got then.
    ///
    /// # Errors
    /// `InvalidProducerEpoch` for a producer that was replaced, `OutOfOrderSequenceNumber` for a gap, `InvalidTxnState`
    /// for a batch beside its producer's open transaction.
    pub(crate) fn append(
        &mut self,
        header: &Header,
        bytes: &[u8],
        appended: Option<i64>,
    ) -> Result<i64, Code> {
        let is_open = self.open.contains_key(&header.producer);
        if is_open && !header.transactional {
            return Err(Code::InvalidTxnState);
        }
        let base = self.end;
        if header.producer != NO_PRODUCER
            && let Some(before) = self.number(header, base)?
        {
            return Ok(before);
        }
        if header.transactional {
            self.open.entry(header.producer).or_insert(base);
        }
        self.push(Batch::at(base, header, bytes, appended, self.timestamp_max()));
        Ok(base)
    }

    /// Takes the batch's sequence numbers as the next ones; or finds the offset at which it lies already.
    fn number(&mut self, header: &Header, base: i64) -> Result<Option<i64>, Code> {
        let last = following(header.sequence, header.count - 1);
        match self.producers.get_mut(&header.producer) {
            Some(producer) if header.epoch < producer.epoch => {
                return Err(Code::InvalidProducerEpoch);
            }
            Some(producer) if header.epoch > producer.epoch => {
                // A new epoch begins at 0.
                if header.sequence != 0 {
                    return Err(Code::OutOfOrderSequenceNumber);
                }
                producer.epoch = header.epoch;
                producer.recent.clear();
            }
            Some(producer) => {
                let same = |batch: &&(i32, i32, i64)| (batch.0, batch.1) == (header.sequence, last);
                if let Some(batch) = producer.recent.iter().find(same) {
                    return Ok(Some(batch.2));
                }
                let due = producer.recent.back().map(|batch| following(batch.1, 1));
                if due.is_some_and(|due| due != header.sequence) {
                    return Err(Code::OutOfOrderSequenceNumber);
                }
            }
            // Of a producer that nothing is known of, any number is the first, as in Kafka.
            None => self.forget_a_producer(),
        }
        let producer = self.producers.entry(header.producer).or_insert_with(|| Producer {
            epoch: header.epoch,
            recent: VecDeque::new(),
            last_offset: base,
        });
        producer.last_offset = base;
        producer.recent.push_back((header.sequence, last, base));
        if producer.recent.len() > REMEMBERED {
            producer.recent.pop_front();
        }
        Ok(None)
    }

    /// Makes room for one more producer: the one that was silent longest goes.
    fn forget_a_producer(&mut self) {
        if self.producers.len() < PRODUCERS_MAX {
            return;
        }
        let idle = self.producers.iter().filter(|(id, _)| !self.open.contains_key(id));
        let oldest = idle.min_by_key(|(_, producer)| producer.last_offset).map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            self.producers.remove(&oldest);
        }
    }

    /// Writes the marker that ends a producer's transaction here. From now on older epochs are fenced.
    pub(crate) fn end_transaction(&mut self, producer: i64, epoch: i16, end: End) {
        let last = self.end;
        let marker = Batch::marker(last, producer, epoch, end, self.timestamp_max());
        let first = self.open.remove(&producer);
        self.push(marker);
        if !self.producers.contains_key(&producer) {
            self.forget_a_producer();
        }
        let known = self.producers.entry(producer).or_insert_with(|| Producer {
            epoch,
            recent: VecDeque::new(),
            last_offset: last,
        });
        if epoch > known.epoch {
            known.epoch = epoch;
            known.recent.clear();
        }
        if let (Some(first), End::Abort) = (first, end) {
            let stable = self.stable();
            self.aborted.push_back(Aborted { producer, first, last, stable });
        }
    }

    fn push(&mut self, batch: Batch) {
        self.end = batch.last + 1;
        self.bytes += batch.bytes.len();
        self.batches.push_back(batch);
        for reader in &self.waiting {
            reader.notify_one();
        }
    }

    fn timestamp_max(&self) -> i64 {
        self.batches.back().map_or(i64::MIN, |batch| batch.timestamp_max_so_far)
    }

    /// Whole batches, from the one that holds `from` to `limit`, as far as there is room; with `at_least_one` the first
    /// one also where it is larger, so that a reader gets past it.
    pub(crate) fn read(&self, from: i64, limit: i64, room: usize, at_least_one: bool) -> Slice {
        let mut slice = Slice { batches: Vec::new(), size: 0, end: from };
        let begin = self.batches.partition_point(|batch| batch.last < from);
        for batch in self.batches.range(begin..) {
            let too_large = slice.size + batch.bytes.len() > room;
            if batch.base >= limit || too_large && !(at_least_one && slice.batches.is_empty()) {
                break;
            }
            slice.size += batch.bytes.len();
            slice.end = batch.last + 1;
            slice.batches.push(Arc::clone(&batch.bytes));
        }
        slice
    }

    /// The aborted transactions that have records between two offsets.
    pub(crate) fn aborted(&self, from: i64, end: i64) -> impl Iterator<Item = &Aborted> {
        let begin = self.aborted.partition_point(|aborted| aborted.last < from);
        let mut done = false;
        let near = self.aborted.range(begin..).take_while(move |aborted| {
            let take = !done;
            done = aborted.stable >= end;
            take
        });
        near.filter(move |aborted| aborted.first < end)
    }

    /// Offset and time of the first record whose time is `time` or later.
    pub(crate) fn at_time(&self, time: i64) -> Option<(i64, i64)> {
        let begin = self.batches.partition_point(|batch| batch.timestamp_max_so_far < time);
        self.batches.range(begin..).find_map(|batch| batch.at_time(time, self.start))
    }

    /// Offset and time of the first record that has the largest time.
    pub(crate) fn at_largest_time(&self) -> Option<(i64, i64)> {
        let largest = self.batches.iter().map(Batch::timestamp_max).max()?;
        self.at_time(largest)
    }

    /// Everything before the offset is gone for readers; whole batches also from memory.
    ///
    /// # Errors
    /// `OffsetOutOfRange` beyond the end.
    pub(crate) fn delete_before(&mut self, offset: i64) -> Result<i64, Code> {
        if offset > self.end {
            return Err(Code::OffsetOutOfRange);
        }
        self.start = self.start.max(offset);
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.last < self.start) {
            self.bytes -= batch.bytes.len();
        }
        while self.aborted.pop_front_if(|aborted| aborted.last < self.start).is_some() {}
        Ok(self.start)
    }

    /// From now on the reader is woken by what is appended.
    pub(crate) fn wait(&mut self, reader: &Arc<Condvar>) {
        self.waiting.push(Arc::clone(reader));
    }

    pub(crate) fn wait_no_more(&mut self, reader: &Arc<Condvar>) {
        self.waiting.retain(|other| !Arc::ptr_eq(other, reader));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // A reader that waits at a topic that is deleted looks again, and finds it gone.
        for reader in &self.waiting {
            reader.notify_one();
        }
    }
}

/// Sequence numbers begin anew at 0 after the largest.
fn following(sequence: i32, by: i32) -> i32 {
    sequence.wrapping_add(by) & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::batch;

    fn send(
        log: &mut Log,
        producer: i64,
        epoch: i16,
        sequence: i32,
        n: usize,
    ) -> Result<i64, Code> {
        let bytes = batch(producer, epoch, sequence, &vec![100; n]);
        log.append(&Header::of(&bytes)?, &bytes, None)
    }

    #[test]
    fn numbers_repeat_follow_and_are_fenced() {
        let mut log = Log::default();
        assert_eq!(send(&mut log, 1, 0, 0, 3), Ok(0));
        assert_eq!(send(&mut log, 1, 0, 3, 1), Ok(3));
        assert_eq!(send(&mut log, 1, 0, 0, 3), Ok(0), "a repeated batch has its first offset");
        assert_eq!(send(&mut log, 1, 0, 5, 1), Err(Code::OutOfOrderSequenceNumber));
        assert_eq!(log.end(), 4);
        log.end_transaction(1, 1, End::Abort);
        assert_eq!(send(&mut log, 1, 0, 4, 1), Err(Code::InvalidProducerEpoch));
        assert_eq!(send(&mut log, 1, 1, 4, 1), Ok(5), "after a marker nothing is known");
        assert_eq!(send(&mut log, 1, 2, 1, 1), Err(Code::OutOfOrderSequenceNumber));
        assert_eq!(send(&mut log, 1, 2, 0, 1), Ok(6));
        for first in 0..7 {
            send(&mut log, 2, 0, first, 1).unwrap();
        }
        assert_eq!(send(&mut log, 2, 0, 0, 1), Err(Code::OutOfOrderSequenceNumber));
        assert_eq!(send(&mut log, 3, 0, i32::MAX, 2), Ok(14));
        assert_eq!(send(&mut log, 3, 0, 1, 1), Ok(16), "numbers begin anew");
    }

    #[test]
    fn the_stable_offset_waits_for_the_oldest_open_transaction() {
        let mut log = Log::default();
        send(&mut log, 1, 0, 0, 2).unwrap();
        send(&mut log, 2, 0, 0, 2).unwrap();
        assert_eq!((log.stable(), log.end()), (0, 4));
        log.end_transaction(2, 0, End::Commit);
        assert_eq!(log.stable(), 0);
        log.end_transaction(1, 0, End::Abort);
        assert_eq!((log.stable(), log.end()), (6, 6));
    }

    #[test]
    fn aborted_transactions_are_listed_where_they_have_records() {
        let mut log = Log::default();
        let mut ends = Vec::new();
        for round in 0..20 {
            let first = send(&mut log, 1, 0, round, 1).unwrap();
            send(&mut log, 2, 0, round, 1).unwrap();
            log.end_transaction(1, 0, End::Abort);
            log.end_transaction(2, 0, if round % 2 == 0 { End::Commit } else { End::Abort });
            ends.push((1, first, first + 2));
            if round % 2 == 1 {
                ends.push((2, first + 1, first + 3));
            }
        }
        for from in 0..log.end() {
            for end in from..=log.end() {
                let listed: Vec<_> =
                    log.aborted(from, end).map(|a| (a.producer, a.first)).collect();
                let due: Vec<_> = ends
                    .iter()
                    .filter(|(_, first, last)| *last >= from && *first < end)
                    .map(|(producer, first, _)| (*producer, *first))
                    .collect();
                assert_eq!(listed, due, "{from}..{end}");
            }
        }
    }

    #[test]
    fn reading_gives_whole_batches_within_the_room() {
        let mut log = Log::default();
        for sequence in 0..10 {
            send(&mut log, -1, -1, sequence, 3).unwrap();
        }
        let one = log.read(0, log.end(), 0, true);
        assert_eq!((one.batches.len(), one.end), (1, 3));
        assert_eq!(log.read(0, log.end(), one.size - 1, false).batches.len(), 0);
        let middle = log.read(4, log.end(), one.size * 2, true);
        assert_eq!((middle.batches.len(), middle.end), (2, 9));
        assert_eq!(middle.batches[0][..8], 3i64.to_be_bytes());
        assert_eq!(log.read(0, 6, usize::MAX, true).end, 6);
        assert_eq!(log.read(30, log.end(), usize::MAX, true).batches.len(), 0);
    }

    #[test]
    fn deleting_moves_the_start_and_frees_memory() {
        let mut log = Log::default();
        for sequence in 0..4 {
            send(&mut log, -1, -1, sequence, 3).unwrap();
        }
        let whole = log.bytes();
        assert_eq!(log.delete_before(4), Ok(4));
        assert_eq!(log.bytes(), whole / 4 * 3);
        assert_eq!(log.read(4, log.end(), 0, true).batches[0][..8], 3i64.to_be_bytes());
        assert_eq!(log.delete_before(2), Ok(4), "it never goes back");
        assert_eq!(log.delete_before(13), Err(Code::OffsetOutOfRange));
        assert_eq!(log.delete_before(12), Ok(12));
        assert_eq!((log.bytes(), log.stable()), (0, 12));
        assert_eq!(log.at_time(0), None);
    }

    #[test]
    fn times_need_not_grow() {
        let mut log = Log::default();
        for times in [[100, 110], [50, 60], [120, 130]] {
            let bytes = batch(-1, -1, -1, &times);
            log.append(&Header::of(&bytes).unwrap(), &bytes, None).unwrap();
        }
        assert_eq!(log.at_time(55), Some((0, 100)));
        assert_eq!(log.at_time(111), Some((4, 120)));
        assert_eq!(log.at_time(131), None);
        assert_eq!(log.at_largest_time(), Some((5, 130)));
        log.delete_before(2).unwrap();
        assert_eq!(log.at_time(55), Some((3, 60)), "the past does not hide what is left");
    }
}
