//! One turn's worth of records, before anything has crossed: the raw bytes (for digests, and for
//! the quarantine), what was refused, and where each partition would stand afterwards.

use std::collections::BTreeMap;
use std::ops::Range;

use douane_gate::RefusedBy;
use douane_schemas::batch::Span;
use douane_schemas::keys::Key;
use douane_schemas::record::RawRecord;

/// A source partition: index of the topic, number of the partition.
pub type Source = (u32, i32);

/// A record refused singly, by the code of what refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub source: Source,
    pub offset: i64,
    pub by: RefusedBy,
    pub code: &'static str,
}

/// Where one record's bytes lie in its partition's buffer.
struct Entry {
    offset: i64,
    timestamp_ms: i64,
    /// Start of what the digest is over: this record, and those behind it.
    start: usize,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
}

/// What one partition brings. Its buffer is what the digest is over, as it stands: one call goes
/// over all of it, sixteen kilobytes side by side.
#[derive(Default)]
struct Lane {
    digested: Vec<u8>,
    entries: Vec<Entry>,
    span: Option<Range<i64>>,
}

impl Lane {
    /// Empties it; its room stays.
    fn clear(&mut self) {
        self.digested.clear();
        self.entries.clear();
        self.span = None;
    }

    /// Bytes that it has room for.
    fn room(&self) -> usize {
        self.digested.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

/// The turn. Its buffers are kept from one turn to the next.
#[derive(Default)]
pub struct Turn {
    lanes: BTreeMap<Source, Lane>,
    /// Empty lanes of earlier turns, the roomiest last: the next turn may be of other partitions.
    spare: Vec<Lane>,
    bytes: usize,
    /// Of these, what keys, values and headers have.
    payload: u64,
    records: usize,
    partitions: usize,
    cuts: BTreeMap<Source, i64>,
    refused: Vec<Refused>,
    truncated: Vec<(Source, i64)>,
    /// A record that was passed before and is tried again: no span holds it.
    again: Option<(Source, i64)>,
    /// Records that it brings, once the gate has said so.
    brought: u64,
}

impl Turn {
    /// Bytes of room that stay for the next turn whatever this one brought.
    const SPARE: usize = 1 << 20;

    /// Empties it for the next turn. Room stays for about what this one used: a flood that wanders
    /// over the partitions must not leave its size with each.
    pub fn clear(&mut self) {
        let used = |lane: &Lane| lane.digested.len() + lane.entries.len() * size_of::<Entry>();
        let mut left = 2 * self.lanes.values().map(used).sum::<usize>() + Self::SPARE;
        self.spare.extend(std::mem::take(&mut self.lanes).into_values());
        self.spare.sort_unstable_by_key(Lane::room);
        self.spare.retain_mut(|lane| {
            lane.clear();
            let stays = lane.room() <= left;
            left -= if stays { lane.room() } else { 0 };
            stays
        });
        self.bytes = 0;
        self.payload = 0;
        self.records = 0;
        self.partitions = 0;
        self.cuts.clear();
        self.refused.clear();
        self.truncated.clear();
        self.again = None;
        self.brought = 0;
    }

    /// Bytes of the records so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of their keys, values and headers.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// When the records were made that are in its spans, in milliseconds since the epoch, where that is known.
    /// One that was passed before waited for people.
    pub fn made_at_ms(&self) -> impl Iterator<Item = i64> + '_ {
        let lanes = self.lanes.iter().filter(|_| !self.is_again());
        lanes.flat_map(|(source, lane)| {
            let cut = self.cuts.get(source).copied().unwrap_or(i64::MAX);
            let kept = lane.entries.iter().take_while(move |entry| entry.offset < cut);
            kept.map(|entry| entry.timestamp_ms).filter(|at_ms| *at_ms >= 0)
        })
    }

    /// Records in it.
    pub fn len(&self) -> usize {
        self.records
    }

    /// The one record in it, if it is one.
    pub fn alone(&self) -> Option<(Source, i64)> {
        let mut entries = self.entries();
        let (source, entry) = entries.next()?;
        entries.next().is_none().then_some((source, entry.offset))
    }

    fn entries(&self) -> impl Iterator<Item = (Source, &Entry)> {
        self.lanes.iter().flat_map(|(source, lane)| lane.entries.iter().map(|e| (*source, e)))
    }

    /// Source partitions in it.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// It has a span of a partition.
    pub fn holds(&self, source: Source) -> bool {
        self.lanes.get(&source).is_some_and(|lane| lane.span.is_some())
    }

    /// No record was taken.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Takes a record in: it is part of the turn's span from `next`, its partition's position.
    pub fn take(&mut self, record: &RawRecord<'_>, next: i64) {
        let lane = self.keep(record);
        let first = lane.span.is_none();
        lane.span.get_or_insert(next..next).end = record.offset + 1;
        self.partitions += usize::from(first);
    }

    /// Takes in the offsets from a partition's position up to `end`, which hold no record.
    pub fn pass(&mut self, source: Source, next: i64, end: i64) {
        let lane = self.lanes.entry(source);
        let lane = lane.or_insert_with(|| self.spare.pop().unwrap_or_default());
        let first = lane.span.is_none();
        lane.span.get_or_insert(next..next).end = end;
        self.partitions += usize::from(first);
    }

    /// Takes in a record that was refused before and passed: the position does not move for it.
    pub fn take_again(&mut self, record: &RawRecord<'_>) {
        self.again = Some(((record.topic, record.partition), record.offset));
        self.keep(record);
    }

    /// The turn is for a record that was passed before: no position moves for it, and nothing is
    /// held or cut for its sake.
    pub fn is_again(&self) -> bool {
        self.again.is_some()
    }

    /// What the gate lets cross of it, in records.
    pub fn brings(&mut self, records: u64) {
        self.brought = records;
    }

    /// The record that crosses after all, if this turn is for one. It may be refused again, or lie
    /// outside of WHERE.
    pub fn redriven(&self) -> Option<(Source, i64)> {
        self.again.filter(|_| self.brought > 0)
    }

    fn keep(&mut self, record: &RawRecord<'_>) -> &mut Lane {
        let lane = self.lanes.entry((record.topic, record.partition));
        let lane = lane.or_insert_with(|| self.spare.pop().unwrap_or_default());
        let bytes = &mut lane.digested;
        let start = bytes.len();
        bytes.extend_from_slice(&record.offset.to_be_bytes());
        bytes.extend_from_slice(&record.timestamp_ms.to_be_bytes());
        let key = store(bytes, record.key);
        let value = store(bytes, record.value);
        bytes.extend_from_slice(&(record.headers.len() as u64).to_be_bytes());
        let headers = record
            .headers
            .iter()
            .filter_map(|(name, value)| {
                Some((store(bytes, Some(name.as_bytes()))?, store(bytes, *value)))
            })
            .collect();
        self.bytes += bytes.len() - start;
        let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let of_headers = record.headers.iter().map(|(name, value)| name.len() + length(*value));
        let payload = length(record.key) + length(record.value) + of_headers.sum::<usize>();
        self.payload += payload as u64;
        self.records += 1;
        let (offset, timestamp_ms) = (record.offset, record.timestamp_ms);
        lane.entries.push(Entry { offset, timestamp_ms, start, key, value, headers });
        lane
    }

    /// Notes that a record was refused. One that is cut as well counts as cut only.
    pub fn refuse(&mut self, refused: Refused) {
        self.refused.push(refused);
    }

    /// Notes that the table was truncated, which is passed over.
    pub fn pass_over(&mut self, source: Source, offset: i64) {
        self.truncated.push((source, offset));
    }

    /// How many truncates lie within the turn's spans.
    pub fn truncated(&self) -> u64 {
        self.truncated.iter().filter(|(source, at)| !self.is_cut(*source, *at)).count() as u64
    }

    /// Takes a partition's records from `offset` on out of the turn again: it is held there.
    pub fn cut(&mut self, source: Source, offset: i64) {
        let at = self.cuts.entry(source).or_insert(offset);
        *at = offset.min(*at);
    }

    /// The record at this offset was taken out again.
    pub fn is_cut(&self, source: Source, offset: i64) -> bool {
        self.cuts.get(&source).is_some_and(|at| offset >= *at)
    }

    /// The partitions that were cut, with the offset from which on.
    pub fn cuts(&self) -> impl Iterator<Item = (Source, i64)> + '_ {
        self.cuts.iter().map(|(source, offset)| (*source, *offset))
    }

    /// The spans of this turn, cuts applied. Empty ones are left out.
    pub fn spans(&self) -> Vec<Span> {
        self.lanes
            .iter()
            .filter_map(|(source, lane)| {
                let range = lane.span.as_ref()?;
                let end = self.cuts.get(source).map_or(range.end, |cut| range.end.min(*cut));
                Some(Span { topic: source.0, partition: source.1, start: range.start, end })
            })
            .filter(|span| span.end > span.start)
            .collect()
    }

    /// Refused records that lie within the turn's spans, in order of their positions.
    pub fn refused(&self) -> Vec<Refused> {
        let mut refused: Vec<_> =
            self.refused.iter().filter(|r| !self.is_cut(r.source, r.offset)).copied().collect();
        refused.sort_by_key(|r| (r.source, r.offset));
        refused
    }

    /// Keyed digest of the raw records of each span: BLAKE3 in its keyed mode over each record's
    /// offset, timestamp, key, value and headers, every part with its length.
    pub fn digests(&self, key: &Key) -> Vec<(Source, [u8; 32])> {
        self.lanes
            .iter()
            .filter_map(|(source, lane)| {
                let cut = self.cuts.get(source).and_then(|at| {
                    let kept = lane.entries.partition_point(|entry| entry.offset < *at);
                    lane.entries.get(kept)
                });
                let end = cut.map_or(lane.digested.len(), |entry| entry.start);
                let bytes = &lane.digested[..end];
                (end > 0).then(|| (*source, *blake3::keyed_hash(key.secret(), bytes).as_bytes()))
            })
            .collect()
    }

    /// Gives each refused record's bytes to `seal`, in order of their positions.
    pub fn seal_refused<T>(&self, mut seal: impl FnMut(&Refused, &RawRecord<'_>) -> T) -> Vec<T> {
        let refused = self.refused();
        refused
            .iter()
            .filter_map(|refused| {
                let lane = self.lanes.get(&refused.source)?;
                let entry = lane.entries.iter().find(|e| e.offset == refused.offset)?;
                let part = |range: &Range<usize>| &lane.digested[range.clone()];
                let headers: Vec<(&str, Option<&[u8]>)> = entry
                    .headers
                    .iter()
                    // Names came in as text.
                    .map(|(name, value)| {
                        let name = std::str::from_utf8(part(name)).unwrap_or_default();
                        (name, value.as_ref().map(part))
                    })
                    .collect();
                let record = RawRecord {
                    topic: refused.source.0,
                    partition: refused.source.1,
                    offset: entry.offset,
                    timestamp_ms: entry.timestamp_ms,
                    key: entry.key.as_ref().map(part),
                    value: entry.value.as_ref().map(part),
                    headers: &headers,
                };
                Some(seal(refused, &record))
            })
            .collect()
    }
}

/// Appends a part as the digest has it: 0 where there is none, or 1, its length and its bytes.
/// Says where the bytes lie.
fn store(buffer: &mut Vec<u8>, part: Option<&[u8]>) -> Option<Range<usize>> {
    let Some(part) = part else {
        buffer.push(0);
        return None;
    };
    buffer.push(1);
    buffer.extend_from_slice(&(part.len() as u64).to_be_bytes());
    let start = buffer.len();
    buffer.extend_from_slice(part);
    Some(start..buffer.len())
}

#[cfg(test)]
mod tests {
    use douane_schemas::keys::{Purpose, RootKey};

    use super::*;

    fn record<'a>(partition: i32, offset: i64, value: &'a [u8]) -> RawRecord<'a> {
        RawRecord {
            topic: 0,
            partition,
            offset,
            timestamp_ms: 5,
            key: Some(b"k"),
            value: Some(value),
            headers: &[],
        }
    }

    fn span(partition: i32, start: i64, end: i64) -> Span {
        Span { topic: 0, partition, start, end }
    }

    #[test]
    fn a_span_holds_the_jumped_offsets() {
        let mut turn = Turn::default();
        turn.take(&record(1, 12, b"a"), 10);
        turn.take(&record(1, 15, b"b"), 13);
        turn.take(&record(0, 7, b"c"), 7);
        assert_eq!(turn.spans(), [span(0, 7, 8), span(1, 10, 16)]);
    }

    #[test]
    fn offsets_without_a_record_are_part_of_a_span_and_of_no_digest() {
        let key = RootKey::new([1; 32]).derive(Purpose::SourceDigest, "t");
        let mut turn = Turn::default();
        turn.take(&record(0, 7, b"a"), 7);
        let digests = turn.digests(&key);
        turn.pass((0, 0), 8, 10);
        turn.pass((0, 1), 4, 6);
        assert_eq!(turn.spans(), [span(0, 7, 10), span(1, 4, 6)]);
        assert_eq!((turn.len(), turn.partitions()), (1, 2));
        assert_eq!(turn.digests(&key), digests);
        // They stay behind a record that does.
        turn.cut((0, 0), 7);
        assert_eq!(turn.spans(), [span(1, 4, 6)]);
        turn.clear();
        assert!(turn.spans().is_empty() && turn.is_empty());
    }

    #[test]
    fn a_cut_takes_records_refusals_and_digests_out() {
        let key = RootKey::new([1; 32]).derive(Purpose::SourceDigest, "t");
        let mut whole = Turn::default();
        let mut short = Turn::default();
        for offset in 0..6 {
            whole.take(&record(0, offset, b"v"), offset);
            if offset < 4 {
                short.take(&record(0, offset, b"v"), offset);
            }
        }
        for (offset, code) in [(5, "late"), (2, "early")] {
            whole.refuse(Refused { source: (0, 0), offset, by: RefusedBy::Stage, code });
        }
        assert_ne!(whole.digests(&key), short.digests(&key));
        whole.pass_over((0, 0), 3);
        whole.pass_over((0, 0), 4);
        assert_eq!(whole.truncated(), 2);
        whole.cut((0, 0), 4);
        assert_eq!(whole.truncated(), 1);
        assert_eq!(whole.spans(), [span(0, 0, 4)]);
        assert_eq!(whole.digests(&key), short.digests(&key));
        assert_eq!(whole.refused().iter().map(|r| r.code).collect::<Vec<_>>(), ["early"]);
        let sealed = whole.seal_refused(|refused, raw| (refused.offset, raw.offset));
        assert_eq!(sealed, [(2, 2)]);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = RootKey::new([1; 32]).derive(Purpose::SourceDigest, "t");
        let digest = |key_part: &[u8], value: &[u8]| {
            let mut turn = Turn::default();
            turn.take(&RawRecord { key: Some(key_part), ..record(0, 0, value) }, 0);
            turn.digests(&key)
        };
        assert_ne!(digest(b"ab", b"c"), digest(b"a", b"bc"));
    }

    #[test]
    fn a_flood_that_wanders_over_the_partitions_leaves_its_size_once() {
        let value = vec![0; 1 << 20];
        let mut turn = Turn::default();
        let room = |turn: &Turn| turn.spare.iter().map(Lane::room).sum::<usize>();
        for partition in 0..20 {
            for offset in 0..4 {
                turn.take(&record(partition, offset, &value), offset);
            }
            turn.clear();
            // One lane of four mebibytes goes from partition to partition; it may have grown by half.
            assert!((4 << 20..=9 << 20).contains(&room(&turn)), "{partition}: {}", room(&turn));
        }
        turn.take(&record(0, 4, b"little"), 4);
        turn.clear();
        assert!(room(&turn) <= 2 * Turn::SPARE, "{}", room(&turn));
    }
}
