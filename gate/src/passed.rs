//! What passed: rows in the order of the source, encoded, sized and digested.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use douane_ledger::manifest::{DigestFile, Subject};
use douane_ledger::release::LiveRelease;
use serde_json::Value;

use crate::border::{Crossing, Gate, TransactionIds};
use crate::encode::{self, Rows};
use crate::refusal::{GateRefusal, Place, RefusalReason};
use crate::{GateFault, murmur2};

/// Headers of every data record, and their only ones.
pub const HEADER_MANIFEST: &str = "douane-manifest";
/// The trace context made at the border.
pub const HEADER_TRACEPARENT: &str = "traceparent";

/// Framing that Kafka adds to key, value and headers of one record: the batch's header (61), the
/// record's varints and lengths. An upper bound.
pub(crate) const FRAMING_BYTES_MAX: usize = 160;

/// One record of a passed batch; ranges lie in `Passed`'s buffers.
struct OutRow {
    partition: i32,
    timestamp_ms: i64,
    key: Option<(usize, usize)>,
    /// Index among the encoded values; `None` is a tombstone.
    value: Option<usize>,
}

/// Rows that were checked and encoded, before the ledger holds their intent. It cannot be sent:
/// only [`Gate::stamp`] makes it an [`crate::Approved`].
pub struct Passed {
    pub(crate) release: Arc<LiveRelease>,
    pub(crate) ids: TransactionIds,
    pub(crate) manifest_hex: String,
    pub(crate) topic: String,
    out: Vec<OutRow>,
    keys: Vec<u8>,
    values: Rows,
    subjects: Vec<Subject>,
    refused: Vec<(usize, GateRefusal)>,
    /// For each row of the batch its index in `out`.
    by_row: Vec<Option<usize>>,
    bytes: u64,
}

impl Passed {
    /// Count and digest of the ordered records by target partition: for intent and manifest.
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// Rows refused by this gate, by index in the batch, ascending.
    pub fn refused(&self) -> &[(usize, GateRefusal)] {
        &self.refused
    }

    /// Records that will cross.
    pub fn records(&self) -> u64 {
        self.out.len() as u64
    }

    /// Bytes of their keys and values.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The outgoing record key of a row of the batch; `None` for a row that does not cross or has
    /// no key.
    pub fn key_of(&self, row: usize) -> Option<&[u8]> {
        let out = self.out.get((*self.by_row.get(row)?)?)?;
        self.key(out)
    }

    fn key(&self, out: &OutRow) -> Option<&[u8]> {
        out.key.map(|(start, end)| &self.keys[start..end])
    }

    /// Partition, timestamp, key and value of each record, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = PassedRow<'_>> {
        self.out.iter().map(|out| PassedRow {
            partition: out.partition,
            timestamp_ms: out.timestamp_ms,
            key: self.key(out),
            value: out.value.map(|n| self.values.get(n)),
        })
    }

    fn header_bytes(&self) -> usize {
        HEADER_MANIFEST.len()
            + self.manifest_hex.len()
            + HEADER_TRACEPARENT.len()
            + self.ids.traceparent.len()
    }

    fn digest(&mut self) {
        let traceparent = self.ids.traceparent.clone();
        let headers = [
            (HEADER_MANIFEST, Some(self.manifest_hex.as_bytes())),
            (HEADER_TRACEPARENT, Some(traceparent.as_bytes())),
        ];
        let mut files: BTreeMap<i32, DigestFile> = BTreeMap::new();
        for row in self.rows() {
            files.entry(row.partition).or_insert_with(|| DigestFile::new(self.ids.salt)).record(
                row.partition,
                row.timestamp_ms,
                row.key,
                row.value,
                &headers,
            );
        }
        self.subjects = files
            .into_iter()
            .map(|(partition, file)| Subject {
                topic: self.topic.clone(),
                partition,
                count: file.count(),
                digest: file.hex(),
            })
            .collect();
    }
}

/// What of a record is not as it is elsewhere. Names a column of the release, and holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlike {
    /// It was not made.
    NotMade,
    /// It is made and is not there.
    NotThere,
    /// The record's time.
    Time,
    /// The record's key.
    Key,
    /// The value; of JSON the first column of the release that differs, where one does.
    Value(Option<String>),
}

/// Where made records are first unlike others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstUnlike {
    /// Index among the partition's records.
    pub index: usize,
    /// The batch's row that it was made of.
    pub row: Option<usize>,
    /// What of it.
    pub what: Unlike,
}

/// A record of a target partition as it lies there: time, key, value.
pub type There = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

impl Passed {
    /// Where the records of a partition are first not what lies there.
    pub fn first_unlike(&self, partition: i32, there: &[There]) -> Option<FirstUnlike> {
        let made: Vec<usize> =
            (0..self.out.len()).filter(|index| self.out[*index].partition == partition).collect();
        let same = |out: &usize, there: &There| self.unlike(&self.out[*out], there).is_none();
        (0..made.len().max(there.len())).find_map(|index| {
            let what = match (made.get(index), there.get(index)) {
                (None, _) => Unlike::NotMade,
                (_, None) => Unlike::NotThere,
                (Some(out), Some(found)) => {
                    let what = self.unlike(&self.out[*out], found)?;
                    // One that is left out moves all behind it.
                    let (made_later, there_later) = (&made[index + 1..], &there[index + 1..]);
                    match made.len().cmp(&there.len()) {
                        Ordering::Less if there_later.iter().any(|t| same(out, t)) => {
                            Unlike::NotMade
                        }
                        Ordering::Greater if made_later.iter().any(|m| same(m, found)) => {
                            Unlike::NotThere
                        }
                        _ => what,
                    }
                }
            };
            let out = made.get(index).filter(|_| what != Unlike::NotMade);
            let row = out.and_then(|out| self.by_row.iter().position(|of| *of == Some(*out)));
            Some(FirstUnlike { index, row, what })
        })
    }

    fn unlike(&self, out: &OutRow, (at, key, value): &There) -> Option<Unlike> {
        if out.timestamp_ms != *at {
            return Some(Unlike::Time);
        }
        if self.key(out) != key.as_deref() {
            return Some(Unlike::Key);
        }
        let made = out.value.map(|n| self.values.get(n));
        if made == value.as_deref() {
            return None;
        }
        let both = made.zip(value.as_deref());
        Some(Unlike::Value(both.and_then(|(made, there)| self.column(made, there))))
    }

    /// The first column in which two JSON values differ, in the envelope with the image it is in.
    fn column(&self, made: &[u8], there: &[u8]) -> Option<String> {
        let made: Value = serde_json::from_slice(made).ok()?;
        let there: Value = serde_json::from_slice(there).ok()?;
        let first = |made: &Value, there: &Value| {
            let mut columns = self.release.columns.iter();
            columns.find(|c| made.get(&c.name) != there.get(&c.name)).map(|c| c.name.clone())
        };
        if self.release.changes.envelope.is_none() {
            return first(&made, &there);
        }
        let image = |of: &'static str| {
            let name = first(made.get(of)?, there.get(of)?)?;
            Some(format!("{of}.{name}"))
        };
        image("after").or_else(|| image("before"))
    }
}

pub(crate) struct PassedRow<'a> {
    pub(crate) partition: i32,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

/// The first refusal of each row.
pub(crate) struct Verdicts(pub(crate) Vec<Option<GateRefusal>>);

impl Verdicts {
    pub(crate) fn refuse(&mut self, row: usize, place: Place, reason: RefusalReason) {
        self.0[row].get_or_insert(GateRefusal { reason, place });
    }

    pub(crate) fn passes(&self, row: usize) -> bool {
        self.0[row].is_none()
    }
}

impl Gate {
    pub(crate) fn encode(
        &self,
        crossing: &Crossing<'_>,
        ids: TransactionIds,
        order: &[usize],
        mut verdicts: Verdicts,
    ) -> Result<Passed, GateFault> {
        let origins = crossing.origins;
        let mut keys = Vec::new();
        let mut key_ranges = vec![None; origins.len()];
        for &row in order.iter().filter(|row| verdicts.passes(**row)).collect::<Vec<_>>() {
            let start = keys.len();
            match encode::key(crossing.keys, row, &mut keys) {
                Ok(true) => key_ranges[row] = Some((start, keys.len())),
                // A tombstone without a key deletes nothing and cannot be kept apart from others.
                Ok(false) if !crossing.has_value(row) => {
                    verdicts.refuse(row, Place::Record, RefusalReason::KeyNull);
                }
                Ok(false) => {}
                Err(reason) => {
                    keys.truncate(start);
                    verdicts.refuse(row, Place::Record, reason);
                }
            }
        }

        let mut upserts = Vec::with_capacity(order.len());
        let mut value_of = vec![None; origins.len()];
        for &row in order {
            let valued = match &self.enveloped {
                None => crossing.has_value(row),
                Some(enveloped) => enveloped.has_value(&origins[row]) && !crossing.withdrawn[row],
            };
            if valued && verdicts.passes(row) {
                value_of[row] = Some(upserts.len());
                upserts.push(u32::try_from(row).map_err(|_| GateFault::Encode)?);
            }
        }
        let values = match &self.enveloped {
            None => self.values.encode(crossing.columns, &upserts)?,
            Some(enveloped) => {
                let time = |row: usize| self.floored(origins[row].timestamp_ms);
                enveloped.encode(&self.values, crossing, &upserts, time)?
            }
        };

        let mut passed = Passed {
            release: Arc::clone(&self.release),
            manifest_hex: HEXLOWER.encode(&ids.manifest_id),
            ids,
            topic: self.target.topic.clone(),
            out: Vec::with_capacity(order.len()),
            keys,
            values,
            subjects: Vec::new(),
            refused: Vec::new(),
            by_row: vec![None; origins.len()],
            bytes: 0,
        };
        for &row in order {
            if !verdicts.passes(row) {
                continue;
            }
            let (key, value) = (key_ranges[row], value_of[row]);
            let size = key.map_or(0, |(start, end)| end - start)
                + value.map_or(0, |n| passed.values.get(n).len());
            if size + passed.header_bytes() + FRAMING_BYTES_MAX > self.target.record_bytes_max {
                verdicts.refuse(row, Place::Record, RefusalReason::Oversize);
                continue;
            }
            let origin = &origins[row];
            let key_bytes = key.map(|(start, end)| &passed.keys[start..end]);
            let partition = murmur2::partition(key_bytes, origin.offset, self.target.partitions);
            let timestamp_ms = self.floored(origin.timestamp_ms);
            passed.by_row[row] = Some(passed.out.len());
            passed.bytes += size as u64;
            passed.out.push(OutRow { partition, timestamp_ms, key, value });
        }
        passed.refused = verdicts
            .0
            .iter()
            .enumerate()
            .filter_map(|(row, verdict)| verdict.map(|refusal| (row, refusal)))
            .collect();
        self.check_limits(&passed)?;
        passed.digest();
        Ok(passed)
    }

    fn check_limits(&self, passed: &Passed) -> Result<(), GateFault> {
        let limits = &self.release.limits;
        for (unit, found, allowed) in
            [("records", passed.records(), limits.records), ("bytes", passed.bytes(), limits.bytes)]
        {
            if let Some(allowed) = allowed.filter(|allowed| found > *allowed) {
                return Err(GateFault::Limit { unit, found, allowed });
            }
        }
        Ok(())
    }

    /// Rounded down to the release's granularity, and never below one step: a record without a
    /// timestamp (-1) or with 0 would get the clock's from the client library.
    fn floored(&self, timestamp_ms: i64) -> i64 {
        let step = i64::try_from(self.release.target.timestamp_ms_granularity).unwrap_or(i64::MAX);
        let step = step.max(1);
        timestamp_ms.div_euclid(step).saturating_mul(step).max(step)
    }
}
