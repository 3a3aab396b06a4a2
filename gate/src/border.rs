//! The border: a batch and its raw values in, records that may be sent out.
//!
//! Nothing here can be switched off. The batch is held against the signed release as a whole (a
//! disagreement stops everything), then row by row (a row that fails is refused and the others
//! go on), and only then encoded, sized and digested.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use data_encoding::HEXLOWER;
use douane_ledger::manifest::{DigestFile, Subject};
use douane_ledger::release::{Column, LiveRelease, Release};
use douane_ledger::signing::SigningKey;
use douane_schemas::batch::{Origin, RowKind};
use douane_schemas::keys::{Key, Purpose};
use douane_schemas::leaf::LeafType;
use douane_schemas::record::RawRecord;

use crate::encode::{self, Rows, Values};
use crate::seal::{self, Destination, SealContext, Sealed};
use crate::shapes::{ColumnCheck, RefusalReason, TokenCell, hold_tokens};
use crate::{GateFault, floor, murmur2};

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
    /// The release's `key`, likewise. A release without a key brings a batch without columns.
    pub keys: &'a RecordBatch,
    /// Source leaves as decoded: `key.<path>` and `after.<path>`, in any order, at least those
    /// that a released column comes from.
    pub raw: &'a RecordBatch,
    /// Where each row comes from.
    pub origins: &'a [Origin],
    /// Rows that were refused or merged before; they do not cross and are not checked.
    pub skip: &'a [bool],
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

/// Where a refused row failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A key column of the release, by index.
    Key(usize),
    /// A value column of the release, by index.
    Column(usize),
    /// The record as a whole.
    Record,
}

/// A row that does not cross, and why. Holds nothing of the row.
///
/// A refused delete or tombstone must hold its partition: its row would stay outside for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GateRefusal {
    /// Why.
    pub reason: RefusalReason,
    /// Where.
    pub place: Place,
}

impl GateRefusal {
    /// The word for ledger, metric and quarantine record.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

/// Headers of every data record, and their only ones.
pub const HEADER_MANIFEST: &str = "douane-manifest";
/// The trace context made at the border.
pub const HEADER_TRACEPARENT: &str = "traceparent";

/// Framing that Kafka adds to key, value and headers of one record: the batch's header (61), the
/// record's varints and lengths. An upper bound.
const FRAMING_BYTES_MAX: usize = 160;

/// The smallest record size that a gate is made for: room for a manifest without records.
const RECORD_BYTES_LEAST: usize = 4096;

/// The gate of one shard under one live release.
pub struct Gate {
    pub(crate) release: Arc<LiveRelease>,
    pub(crate) target: Target,
    pub(crate) keys: GateKeys,
    pub(crate) software: String,
    columns: Vec<ColumnCheck>,
    key_columns: Vec<ColumnCheck>,
    values: Values,
}

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

pub(crate) struct PassedRow<'a> {
    pub(crate) partition: i32,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

/// The first refusal of each row.
struct Verdicts(Vec<Option<GateRefusal>>);

impl Verdicts {
    fn refuse(&mut self, row: usize, place: Place, reason: RefusalReason) {
        self.0[row].get_or_insert(GateRefusal { reason, place });
    }

    fn passes(&self, row: usize) -> bool {
        self.0[row].is_none()
    }
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
        Ok(Self { release, target, keys, software, columns, key_columns, values })
    }

    /// The release this gate stands on.
    pub fn release(&self) -> &Arc<LiveRelease> {
        &self.release
    }

    /// The name of the column where a row was refused; from the release, so it may be printed.
    pub fn place_name(&self, place: Place) -> &str {
        match place {
            Place::Key(at) => self.key_columns.get(at).map_or("", |c| &c.name),
            Place::Column(at) => self.columns.get(at).map_or("", |c| &c.name),
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
        let expected = crossing.columns.num_rows();
        // A batch without columns has no length of its own.
        let keys = match self.key_columns.is_empty() {
            true => expected,
            false => crossing.keys.num_rows(),
        };
        for (part, found) in [
            ("key columns", keys),
            ("raw columns", crossing.raw.num_rows()),
            ("origins", crossing.origins.len()),
            ("skip", crossing.skip.len()),
        ] {
            if found != expected {
                return Err(GateFault::Rows { part, found, expected });
            }
        }
        Ok(RawColumns {
            columns: raw_columns(crossing.raw, &self.columns)?,
            keys: raw_columns(crossing.raw, &self.key_columns)?,
            texts: crossing
                .raw
                .columns()
                .iter()
                .filter(|array| *array.data_type() == DataType::Utf8)
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
        let upserts = |row: &usize| crosses(row) && crossing.origins[*row].kind == RowKind::Upsert;
        let rows = || 0..crossing.origins.len();

        for (at, check) in self.key_columns.iter().enumerate() {
            let out = crossing.keys.column(at);
            check.hold(out, raw.keys[at], rows().filter(crosses), |row, reason| {
                verdicts.refuse(row, Place::Key(at), reason);
            })?;
        }
        for (at, check) in self.columns.iter().enumerate() {
            let out = crossing.columns.column(at);
            check.hold(out, raw.columns[at], rows().filter(upserts), |row, reason| {
                verdicts.refuse(row, Place::Column(at), reason);
            })?;
        }

        let mut tokens = token_cells(&self.columns, crossing.columns, &raw.columns);
        let of_columns = tokens.len();
        tokens.extend(token_cells(&self.key_columns, crossing.keys, &raw.keys));
        for row in rows().filter(crosses) {
            // The value columns of a delete do not cross and say nothing.
            let held = if upserts(&row) { &tokens[..] } else { &tokens[of_columns..] };
            if let Err(reason) = hold_tokens(held, &raw.texts, row) {
                verdicts.refuse(row, Place::Record, reason);
            }
        }
        Ok(())
    }

    fn encode(
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
                Ok(false) if origins[row].kind != RowKind::Upsert => {
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
            if origins[row].kind == RowKind::Upsert && verdicts.passes(row) {
                value_of[row] = Some(upserts.len());
                upserts.push(u32::try_from(row).map_err(|_| GateFault::Encode)?);
            }
        }
        let values = self.values.encode(crossing.columns, &upserts)?;

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
        code: &str,
        record_bytes_max: usize,
        context: &SealContext,
    ) -> Result<Sealed, GateFault> {
        let key = seal::quarantine_key(topic_name, source.partition, source.offset);
        let mut plain = seal::quarantine_plain(source, topic_name, code, true);
        if seal::sealed_len(plain.len()) + key.len() + FRAMING_BYTES_MAX > record_bytes_max {
            plain = seal::quarantine_plain(source, topic_name, code, false);
        }
        let (to, blind) = (Destination::Quarantine, &self.keys.blind);
        seal::seal(&self.keys.seal_quarantine, blind, to, &key, &plain, context)
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

impl Passed {
    fn header_bytes(&self) -> usize {
        HEADER_MANIFEST.len()
            + self.manifest_hex.len()
            + HEADER_TRACEPARENT.len()
            + self.ids.traceparent.len()
    }
}

/// The raw columns that the release's columns come from, and all raw texts.
struct RawColumns<'a> {
    columns: Vec<&'a ArrayRef>,
    keys: Vec<&'a ArrayRef>,
    texts: Vec<&'a ArrayRef>,
}

fn token_cells<'a>(
    checks: &'a [ColumnCheck],
    batch: &'a RecordBatch,
    raw: &[&'a ArrayRef],
) -> Vec<TokenCell<'a>> {
    checks
        .iter()
        .zip(batch.columns())
        .zip(raw)
        .filter_map(|((check, out), raw)| TokenCell::new(check, out, raw))
        .collect()
}

fn raw_columns<'a>(
    raw: &'a RecordBatch,
    checks: &[ColumnCheck],
) -> Result<Vec<&'a ArrayRef>, GateFault> {
    let schema = raw.schema_ref();
    checks
        .iter()
        .map(|check| {
            let leaf = || check.raw.clone();
            let mut named =
                (0..raw.num_columns()).filter(|at| *schema.field(*at).name() == check.raw);
            let (Some(at), None) = (named.next(), named.next()) else {
                return Err(GateFault::RawMissing { leaf: leaf() });
            };
            let array = raw.column(at);
            if *array.data_type() != check.raw_type {
                return Err(GateFault::RawType { leaf: leaf() });
            }
            Ok(array)
        })
        .collect()
}

fn check_schema(
    part: &'static str,
    batch: &RecordBatch,
    checks: &[ColumnCheck],
) -> Result<(), GateFault> {
    let schema = batch.schema_ref();
    let (found, expected) = (schema.fields().len(), checks.len());
    if found != expected {
        return Err(GateFault::ColumnCount { part, found, expected });
    }
    for (at, (field, check)) in schema.fields().iter().zip(checks).enumerate() {
        let column = || check.name.clone();
        if *field.name() != check.name {
            return Err(GateFault::ColumnName { part, at, expected: column() });
        }
        if *field.data_type() != check.out_type || *batch.column(at).data_type() != check.out_type {
            return Err(GateFault::ColumnArrow { part, column: column() });
        }
        if field.is_nullable() != check.nullable {
            let (found, expected) = (field.is_nullable(), check.nullable);
            return Err(GateFault::Nullability { part, column: column(), found, expected });
        }
    }
    Ok(())
}

fn check_columns(
    release: &Release,
    columns: &[Column],
    part: &str,
    prefix: &str,
    keys: &GateKeys,
) -> Result<Vec<ColumnCheck>, GateFault> {
    let mut checks: Vec<ColumnCheck> = Vec::with_capacity(columns.len());
    for column in columns {
        if checks.iter().any(|check| check.name == column.name) {
            return Err(GateFault::ColumnTwice { column: column.name.clone() });
        }
        let raw = format!("{prefix}.{}", column.from);
        let leaf = release
            .leaves
            .iter()
            .find(|leaf| leaf.part == part && leaf.path == column.from)
            .ok_or_else(|| GateFault::UnknownLeaf {
                column: column.name.clone(),
                leaf: raw.clone(),
            })?;
        if leaf.class != column.class {
            return Err(GateFault::Class {
                column: column.name.clone(),
                class: column.class.clone(),
                leaf: leaf.class.clone(),
            });
        }
        floor::permit(release, column)?;
        let leaf_type: LeafType = leaf
            .leaf_type
            .parse()
            .map_err(|_| GateFault::ColumnType { column: column.name.clone() })?;
        checks.push(ColumnCheck::new(column, raw, leaf_type, keys)?);
    }
    Ok(checks)
}

fn check_target(release: &Release, target: &Target) -> Result<(), GateFault> {
    if target.topic != release.target.topic {
        return Err(GateFault::Topic { expected: release.target.topic.clone() });
    }
    if release.target.partition_by != "token" {
        return Err(GateFault::PartitionBy { found: release.target.partition_by.clone() });
    }
    let avro = match release.target.format.as_str() {
        "avro" => true,
        "json" => false,
        other => return Err(GateFault::Format { found: other.to_owned() }),
    };
    if avro != target.value_schema_id.is_some() {
        return Err(GateFault::SchemaId { format: release.target.format.clone() });
    }
    if target.partitions == 0 || i32::try_from(target.partitions).is_err() {
        return Err(GateFault::Partitions { found: target.partitions });
    }
    if target.record_bytes_max < RECORD_BYTES_LEAST {
        let (bytes_max, expected) = (target.record_bytes_max, RECORD_BYTES_LEAST);
        return Err(GateFault::RecordBytes { bytes_max, expected });
    }
    Ok(())
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
