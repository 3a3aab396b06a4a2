//! One turn's worth of records, before anything has crossed: the raw bytes (for digests, and for
//! the quarantine), what was refused, and where each partition would stand afterwards.

use std::collections::BTreeMap;
use std::ops::Range;

use aws_lc_rs::hmac;
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

/// One record's bytes in the turn's buffer.
struct Entry {
    source: Source,
    offset: i64,
    timestamp_ms: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
}

/// The turn. Its buffers are kept from one turn to the next.
#[derive(Default)]
pub struct Turn {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    spans: BTreeMap<Source, Range<i64>>,
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
        self.bytes.clear();
        self.entries.clear();
        self.spans.clear();
        self.cuts.clear();
        self.refused.clear();
        self.truncated.clear();
        self.again = None;
        self.brought = 0;
    }

    /// Bytes of the records so far.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Records in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The one record in it, if it is one.
    pub fn alone(&self) -> Option<(Source, i64)> {
        match &self.entries[..] {
            [entry] => Some((entry.source, entry.offset)),
            _ => None,
        }
    }

    /// Source partitions in it.
    pub fn partitions(&self) -> usize {
        self.spans.len()
    }

    /// No record was taken.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a record in: it is part of the turn's span from `next`, its partition's position.
    pub fn take(&mut self, record: &RawRecord<'_>, next: i64) {
        let source = (record.topic, record.partition);
        let span = self.spans.entry(source).or_insert(next..next);
        span.end = record.offset + 1;
        self.keep(record);
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

    fn keep(&mut self, record: &RawRecord<'_>) {
        let entry = Entry {
            source: (record.topic, record.partition),
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(|key| store(&mut self.bytes, key)),
            value: record.value.map(|value| store(&mut self.bytes, value)),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| {
                    let name = store(&mut self.bytes, name.as_bytes());
                    (name, value.map(|value| store(&mut self.bytes, value)))
                })
                .collect(),
        };
        self.entries.push(entry);
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
        self.spans
            .iter()
            .map(|(source, range)| {
                let end = self.cuts.get(source).map_or(range.end, |cut| range.end.min(*cut));
                Span { topic: source.0, partition: source.1, start: range.start, end }
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

    /// Keyed digest of the raw records of each span: HMAC-SHA-256 over each record's offset,
    /// timestamp, key, value and headers, every part with its length.
    pub fn digests(&self, key: &Key) -> Vec<(Source, [u8; 32])> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.secret());
        let mut contexts: BTreeMap<Source, hmac::Context> = BTreeMap::new();
        let mut between = Vec::new();
        for entry in self.entries.iter().filter(|e| !self.is_cut(e.source, e.offset)) {
            let context =
                contexts.entry(entry.source).or_insert_with(|| hmac::Context::with_key(&key));
            // What stands between two parts goes in with one call: there are two long parts a
            // record, and a call costs as much as some of the short ones.
            between.clear();
            between.extend_from_slice(&entry.offset.to_be_bytes());
            between.extend_from_slice(&entry.timestamp_ms.to_be_bytes());
            self.digest_part(context, &mut between, entry.key.as_ref());
            self.digest_part(context, &mut between, entry.value.as_ref());
            between.extend_from_slice(&(entry.headers.len() as u64).to_be_bytes());
            for (name, value) in &entry.headers {
                self.digest_part(context, &mut between, Some(name));
                self.digest_part(context, &mut between, value.as_ref());
            }
            context.update(&between);
        }
        contexts
            .into_iter()
            .map(|(source, context)| {
                let mut digest = [0; 32];
                digest.copy_from_slice(context.sign().as_ref());
                (source, digest)
            })
            .collect()
    }

    /// A part with its length behind what waits in `between`, which is empty after a long part.
    fn digest_part(
        &self,
        context: &mut hmac::Context,
        between: &mut Vec<u8>,
        range: Option<&Range<usize>>,
    ) {
        const SHORT: usize = 64;
        let Some(range) = range else { return between.push(0) };
        between.push(1);
        between.extend_from_slice(&(range.len() as u64).to_be_bytes());
        let part = &self.bytes[range.clone()];
        if part.len() <= SHORT {
            return between.extend_from_slice(part);
        }
        context.update(between);
        context.update(part);
        between.clear();
    }

    /// Gives each refused record's bytes to `seal`, in order of their positions.
    pub fn seal_refused<T>(&self, mut seal: impl FnMut(&Refused, &RawRecord<'_>) -> T) -> Vec<T> {
        let refused = self.refused();
        refused
            .iter()
            .filter_map(|refused| {
                let entry = self
                    .entries
                    .iter()
                    .find(|e| e.source == refused.source && e.offset == refused.offset)?;
                let part = |range: &Range<usize>| &self.bytes[range.clone()];
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
                    topic: entry.source.0,
                    partition: entry.source.1,
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

/// Appends a part to the buffer; says where it lies.
fn store(buffer: &mut Vec<u8>, part: &[u8]) -> Range<usize> {
    let start = buffer.len();
    buffer.extend_from_slice(part);
    start..buffer.len()
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
        let key = RootKey::new([1; 32]).derive(Purpose::LedgerCommit, "t");
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
        let key = RootKey::new([1; 32]).derive(Purpose::LedgerCommit, "t");
        let digest = |key_part: &[u8], value: &[u8]| {
            let mut turn = Turn::default();
            turn.take(&RawRecord { key: Some(key_part), ..record(0, 0, value) }, 0);
            turn.digests(&key)
        };
        assert_ne!(digest(b"ab", b"c"), digest(b"a", b"bc"));
    }
}
