//! The border: a batch and its raw values in, records that may be sent out.
//!
//! Nothing here can be switched off. The batch is held against the signed release as a whole (a
//! disagreement stops everything), then row by row (a row that fails is refused and the others
//! go on), and only then encoded, sized and digested.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use douane_ledger::release::LiveRelease;
use douane_ledger::signing::SigningKey;
use douane_schemas::batch::{Origin, RowKind};
use douane_schemas::keys::{Key, Purpose};
use douane_schemas::record::RawRecord;

use crate::admission::{check_columns, check_schema, check_target, raw_columns, token_cells};
use crate::encode::Values;
use crate::envelope::{Enveloped, flag, had_before};
use crate::passed::{FRAMING_BYTES_MAX, Passed, Verdicts};
use crate::quarantine::Cause;
use crate::refusal::Place;
use crate::seal::{self, Destination, SealContext, Sealed};
use crate::shapes::ColumnCheck;
use crate::statistics::Statistics;
use crate::tokens::hold_tokens;
use crate::{GateFault, quarantine};

/// The target as it was found, beside what the release says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Topic of the records; must be the release's.
    pub topic: String,
    /// Topic of the manifests, same cluster.
    pub manifest_topic: String,
    /// Partitions of `topic`.
    pub partitions: u32,
    /// Largest record (key, value, headers and framing) in bytes that the topic takes.
    pub record_bytes_max: usize,
    /// Registered id of [`crate::avro_schema`]'s text; only and always for Avro.
    pub value_schema_id: Option<u32>,
}

/// The keys the border works with. No token key is among them. No `Debug`, no `Clone`.
pub struct GateKeys {
    /// Purpose `position`: position records and the sealed evidence of manifests.
    pub seal_position: Key,
    /// Purpose `quarantine`.
    pub seal_quarantine: Key,
    /// Purpose `blind`: derives the nonces of seals.
    pub blind: Key,
    /// Purpose `ff1`, by domain: the twin of `fpe`.
    pub ff1: HashMap<String, Key>,
    /// Signs manifests.
    pub manifest: SigningKey,
}

/// A batch at the border: what would cross, and what it was made of.
///
/// All parts have the same number of rows in the same order.
#[derive(Clone, Copy)]
pub struct Crossing<'a> {
    /// The release's `columns`: names, order, types and null flags.
    pub columns: &'a RecordBatch,
    /// The same columns before the change; given for the envelope shape and no other.
    pub before: Option<&'a RecordBatch>,
    /// The release's `key`, likewise. A release without a key brings a batch without columns.
    pub keys: &'a RecordBatch,
    /// Source leaves as decoded: `key.<path>` and `after.<path>`, in any order, at least those
    /// that a released column comes from. For the envelope shape `before.<path>` as well, and
    /// `before`: whether the record had that image.
    pub raw: &'a RecordBatch,
    /// Where each row comes from.
    pub origins: &'a [Origin],
    /// Rows that were refused or merged before; they do not cross and are not checked.
    pub skip: &'a [bool],
    /// Rows that cross as tombstones, though their changes have values: their state is no longer
    /// one that crosses, and what is outside of them is withdrawn.
    pub withdrawn: &'a [bool],
}

impl Crossing<'_> {
    /// Whether a value crosses with a row; without one it is a tombstone.
    pub(crate) fn has_value(&self, row: usize) -> bool {
        self.origins[row].kind() == RowKind::Upsert && !self.withdrawn[row]
    }
}

/// What names one transaction. Made by the caller, recorded in the intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionIds {
    /// 16 random bytes; each record's header carries them in hexadecimal.
    pub manifest_id: [u8; 16],
    /// W3C trace context, made new at the border: `00-<32 hex>-<16 hex>-<2 hex>`.
    pub traceparent: String,
    /// 16 random bytes: the start of each digest file.
    pub salt: [u8; 16],
    /// Counts the transactions of a shard.
    pub sequence: u64,
    /// The shard.
    pub shard: u32,
}

/// The gate of one shard under one live release.
pub struct Gate {
    pub(crate) release: Arc<LiveRelease>,
    pub(crate) target: Target,
    pub(crate) keys: GateKeys,
    pub(crate) software: String,
    columns: Vec<ColumnCheck>,
    key_columns: Vec<ColumnCheck>,
    before: Vec<ColumnCheck>,
    pub(crate) values: Values,
    pub(crate) enveloped: Option<Enveloped>,
    statistics: Option<Statistics>,
}

impl Gate {
    /// Makes the gate of one shard. `software` is name, version and digest of the program.
    ///
    /// # Errors
    /// Whatever in the release the gate cannot hold values to, or may not let cross; a target that
    /// is not the released one; keys of another purpose.
    pub fn new(
        release: Arc<LiveRelease>,
        target: Target,
        keys: GateKeys,
        software: String,
    ) -> Result<Self, GateFault> {
        check_target(&release, &target)?;
        for (key, expected) in [
            (&keys.seal_position, Purpose::Position),
            (&keys.seal_quarantine, Purpose::Quarantine),
            (&keys.blind, Purpose::Blind),
        ]
        .into_iter()
        .chain(keys.ff1.values().map(|key| (key, Purpose::Ff1)))
        {
            if key.purpose() != expected {
                let found = key.purpose().label();
                return Err(GateFault::KeyPurpose { found, expected: expected.label() });
            }
        }
        let columns = check_columns(&release, &release.columns, "row", "after", &keys)?;
        let key_columns = check_columns(&release, &release.key, "key", "key", &keys)?;
        let values = match target.value_schema_id {
            Some(schema_id) => Values::avro(&release, schema_id)?,
            None => Values::json(&release.columns)?,
        };
        let statistics = Statistics::of(&release)?;
        let (before, enveloped) = match &release.changes.envelope {
            None => (Vec::new(), None),
            Some(envelope) => (
                check_columns(&release, &release.columns, "row", "before", &keys)?,
                Some(Enveloped::new(envelope, target.value_schema_id)),
            ),
        };
        Ok(Self {
            release,
            target,
            keys,
            software,
            columns,
            key_columns,
            before,
            values,
            enveloped,
            statistics,
        })
    }

    /// The release this gate stands on.
    pub fn release(&self) -> &Arc<LiveRelease> {
        &self.release
    }

    /// The name of the column where a row was refused; from the release, so it may be printed.
    pub fn place_name(&self, place: Place) -> &str {
        match place {
            Place::Key(at) => self.key_columns.get(at).map_or("", |c| &c.name),
            Place::Column(at) | Place::Before(at) => self.columns.get(at).map_or("", |c| &c.name),
            Place::Record => "",
        }
    }

    /// Checks every row against the signed release, then encodes those that pass, sorted by
    /// (topic, partition, offset).
    ///
    /// # Errors
    /// The batch as a whole is not what was released: a typed stop, nothing of it crosses. Rows
    /// refused singly are no error; they stand in [`Passed::refused`].
    pub fn pass(
        &mut self,
        crossing: Crossing<'_>,
        ids: TransactionIds,
    ) -> Result<Passed, GateFault> {
        if !is_traceparent(&ids.traceparent) {
            return Err(GateFault::Traceparent);
        }
        let raw = self.check_batch(&crossing)?;
        if let Some(statistics) = &self.statistics {
            statistics.hold(crossing.columns, crossing.skip)?;
        }
        let mut order = self.source_order(crossing.origins)?;
        order.retain(|row| !crossing.skip[*row]);
        let mut verdicts = Verdicts(vec![None; crossing.origins.len()]);
        self.hold_rows(&crossing, &raw, &mut verdicts)?;
        self.encode(&crossing, ids, &order, verdicts)
    }

    /// The batch as a whole: names, order, types, null flags, lengths, positions.
    fn check_batch<'a>(&self, crossing: &Crossing<'a>) -> Result<RawColumns<'a>, GateFault> {
        check_schema("value", crossing.columns, &self.columns)?;
        check_schema("key", crossing.keys, &self.key_columns)?;
        let had = match (&self.enveloped, crossing.before) {
            (None, None) => None,
            (Some(_), Some(before)) => {
                check_schema("before", before, &self.before)?;
                Some(flag(crossing.raw)?)
            }
            (enveloped, _) => {
                let expected = if enveloped.is_some() { "the rows before" } else { "none" };
                return Err(GateFault::Before { expected });
            }
        };
        let expected = crossing.columns.num_rows();
        // A batch without columns has no length of its own.
        let keys = match self.key_columns.is_empty() {
            true => expected,
            false => crossing.keys.num_rows(),
        };
        for (part, found) in [
            ("key columns", keys),
            ("before columns", crossing.before.map_or(expected, RecordBatch::num_rows)),
            ("raw columns", crossing.raw.num_rows()),
            ("origins", crossing.origins.len()),
            ("skip", crossing.skip.len()),
            ("withdrawn", crossing.withdrawn.len()),
        ] {
            if found != expected {
                return Err(GateFault::Rows { part, found, expected });
            }
        }
        Ok(RawColumns {
            columns: raw_columns(crossing.raw, &self.columns)?,
            keys: raw_columns(crossing.raw, &self.key_columns)?,
            before: raw_columns(crossing.raw, &self.before)?,
            had,
            texts: crossing
                .raw
                .columns()
                .iter()
                .filter_map(|array| array.as_string_opt::<i32>())
                .collect(),
        })
    }

    /// All rows in the order of the source, which is the order in which they leave.
    fn source_order(&self, origins: &[Origin]) -> Result<Vec<usize>, GateFault> {
        let topics = self.release.source.topics.len();
        let outside = |origin: &Origin| {
            origin.topic as usize >= topics || origin.partition < 0 || origin.offset < 0
        };
        if let Some(row) = origins.iter().position(outside) {
            return Err(GateFault::Origin { row });
        }
        let position = |row: &usize| {
            let origin = &origins[*row];
            (origin.topic, origin.partition, origin.offset)
        };
        let mut order: Vec<usize> = (0..origins.len()).collect();
        order.sort_unstable_by_key(position);
        for pair in order.windows(2) {
            if position(&pair[0]) == position(&pair[1]) {
                return Err(GateFault::OriginTwice { row: pair[0].max(pair[1]) });
            }
        }
        Ok(order)
    }

    fn hold_rows(
        &self,
        crossing: &Crossing<'_>,
        raw: &RawColumns<'_>,
        verdicts: &mut Verdicts,
    ) -> Result<(), GateFault> {
        let crosses = |row: &usize| !crossing.skip[*row];
        let upserts = |row: &usize| crosses(row) && crossing.has_value(*row);
        let rows = || 0..crossing.origins.len();
        // The image before crosses beside the row, and with a delete that is kept.
        let with_before = |row: &usize| {
            let valued = |kept: &Enveloped| kept.has_value(&crossing.origins[*row]);
            crosses(row)
                && self.enveloped.as_ref().is_some_and(valued)
                && raw.had.is_some_and(|had| had_before(had, *row))
        };

        for (at, check) in self.key_columns.iter().enumerate() {
            let out = crossing.keys.column(at);
            let Some(raw) = raw.keys[at] else { return Err(GateFault::Compare) };
            check.hold(out, raw, rows().filter(crosses), |row, reason| {
                verdicts.refuse(row, Place::Key(at), reason);
            })?;
        }
        for (at, check) in self.columns.iter().enumerate() {
            let out = crossing.columns.column(at);
            let refuse = |row, reason| verdicts.refuse(row, Place::Column(at), reason);
            match raw.columns[at] {
                Some(raw) => check.hold(out, raw, rows().filter(upserts), refuse)?,
                None => check.hold_derived(out, crossing.raw, rows().filter(upserts), refuse),
            }
        }

        for (at, check) in self.before.iter().enumerate() {
            let Some(before) = crossing.before else { break };
            let out = before.column(at);
            let Some(raw) = raw.before[at] else { return Err(GateFault::Compare) };
            check.hold(out, raw, rows().filter(with_before), |row, reason| {
                verdicts.refuse(row, Place::Before(at), reason);
            })?;
        }

        // In this order, so that what does not cross of a row can be left out at either end.
        let mut tokens = token_cells(&self.columns, crossing.columns, &raw.columns);
        let of_columns = tokens.len();
        tokens.extend(token_cells(&self.key_columns, crossing.keys, &raw.keys));
        let of_keys = tokens.len();
        if let Some(before) = crossing.before {
            tokens.extend(token_cells(&self.before, before, &raw.before));
        }
        for row in rows().filter(crosses) {
            // The value columns of a delete do not cross and say nothing.
            let first = if upserts(&row) { 0 } else { of_columns };
            let last = if with_before(&row) { tokens.len() } else { of_keys };
            if let Err(reason) = hold_tokens(&tokens[first..last], &raw.texts, row) {
                verdicts.refuse(row, Place::Record, reason);
            }
        }
        Ok(())
    }

    /// Seals the position record of a shard: `partition` is its own partition of the position
    /// topic, `key` its transactional id.
    ///
    /// # Errors
    /// More than 64 MiB, or a refusal of the cipher.
    pub fn seal_position(
        &self,
        partition: i32,
        key: &str,
        plain: &[u8],
        context: &SealContext,
    ) -> Result<Sealed, GateFault> {
        let to = Destination::Position { partition };
        seal::seal(&self.keys.seal_position, &self.keys.blind, to, key, plain, context)
    }

    /// Seals a source record for the quarantine topic under its position as key. A record that
    /// would not fit `record_bytes_max` once sealed is named by position and code only.
    ///
    /// # Errors
    /// A refusal of the cipher.
    pub fn seal_quarantine(
        &self,
        source: &RawRecord<'_>,
        topic_name: &str,
        cause: Cause,
        record_bytes_max: usize,
        context: &SealContext,
    ) -> Result<Sealed, GateFault> {
        let key = quarantine::quarantine_key(topic_name, source.partition, source.offset);
        let (pipeline, shard) = (&self.release.pipeline, context.shard);
        let headers = quarantine::connect_headers(source, topic_name, pipeline, shard, cause);
        let beside = key.len() + quarantine::header_bytes(&headers) + FRAMING_BYTES_MAX;
        let mut plain = quarantine::quarantine_plain(source, topic_name, cause.code, true);
        if seal::sealed_len(plain.len()) + beside > record_bytes_max {
            plain = quarantine::quarantine_plain(source, topic_name, cause.code, false);
        }
        let (to, blind) = (Destination::Quarantine, &self.keys.blind);
        let sealed = seal::seal(&self.keys.seal_quarantine, blind, to, &key, &plain, context)?;
        Ok(sealed.with(headers))
    }

    /// Opens a position or quarantine record that a gate with these keys sealed.
    ///
    /// # Errors
    /// As [`crate::open`].
    pub fn open(
        &self,
        destination: Destination,
        key: &str,
        sealed: &[u8],
        context: &SealContext,
    ) -> Result<Vec<u8>, GateFault> {
        let with = match destination {
            Destination::Position { .. } => &self.keys.seal_position,
            Destination::Quarantine => &self.keys.seal_quarantine,
        };
        seal::open(with, destination, key, sealed, context)
    }
}

/// W3C Trace Context 1, section 3.2, version 00: lower-case hexadecimal, neither id all zeros.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |part: &str| part.bytes().any(|b| b != b'0');
    match parts[..] {
        [version, trace, parent, flags] => {
            version == "00"
                && hex(trace, 32)
                && hex(parent, 16)
                && hex(flags, 2)
                && some(trace)
                && some(parent)
        }
        _ => false,
    }
}

/// The raw columns that the release's columns come from, none for derived ones, and all raw texts.
struct RawColumns<'a> {
    columns: Vec<Option<&'a ArrayRef>>,
    keys: Vec<Option<&'a ArrayRef>>,
    before: Vec<Option<&'a ArrayRef>>,
    had: Option<&'a BooleanArray>,
    texts: Vec<&'a StringArray>,
}
