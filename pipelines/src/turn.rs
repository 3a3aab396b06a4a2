//! One turn's worth of records, before anything has crossed: the raw bytes (for digests, and for
//! the quarantine), what was refused, and where each partition would stand afterwards.

use std::collections::BTreeMap;
use std::ops::Range;

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
    /// Bytes that are kept for the next turn whatever this one brought.
    const KEPT: usize = 64 << 10;

    /// Empties it. It goes on only where it was used, and with no more room than it used about:
    /// a flood that wanders over the partitions must not leave its size with each.
    fn clear(&mut self) -> bool {
        let used = !self.entries.is_empty();
        self.digested.shrink_to(2 * self.digested.len() + Self::KEPT);
        self.digested.clear();
        self.entries.clear();
        self.span = None;
        used
    }
}

/// The turn. Its buffers are kept from one turn to the next.
#[derive(Default)]
pub struct Turn {
    lanes: BTreeMap<Source, Lane>,
    bytes: usize,
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
    /// Empties it for the next turn.
    pub fn clear(&mut self) {
        self.lanes.retain(|_, lane| lane.clear());
        self.bytes = 0;
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
        let lane = self.lanes.entry((record.topic, record.partition)).or_default();
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
            whole.refuse(Refused { source: (0, 0), offset, code });
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
}
