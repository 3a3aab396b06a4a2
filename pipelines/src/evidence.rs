//! What a transaction says about itself: its ids, its intent in the ledger, its stamp.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use arrow::record_batch::RecordBatch;
use data_encoding::HEXLOWER;
use douane_gate::{Evidence, Passed, TransactionIds};
use douane_ledger::canonical;
use douane_ledger::log::{
    Entry, Head, Intent, Log, Receipt, RefusedEntry, SourceDigest, SpanEntry,
};
use douane_schemas::batch::{Origin, Span};
use douane_schemas::canonical as text;
use douane_schemas::keys::Key;
use douane_schemas::tuple::Tuple;

use crate::crossing::Crossing;
use crate::turn::{Source, Turn};

/// Ids of the transaction whose intent will stand at the log's next place. Keyed and bound to the
/// holder's journal: no two transactions share them, and outside they show no steps.
pub fn transaction_ids(blind: &Key, log: &Log, shard: u32, sequence: u64) -> TransactionIds {
    let head = log.head();
    let id = |what: &str| {
        blind.mac(
            Tuple::new()
                .text(what)
                .text(&head.journal.to_string())
                .number(log.next_index())
                .number(u64::from(shard)),
        )
    };
    let trace = id("traceparent");
    TransactionIds {
        manifest_id: first_16(&id("manifest")),
        salt: first_16(&id("salt")),
        traceparent: format!(
            "00-{}-{}-01",
            HEXLOWER.encode(&trace[..16]),
            HEXLOWER.encode(&trace[16..24])
        ),
        sequence,
        shard,
    }
}

fn first_16(bytes: &[u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&bytes[..16]);
    out
}

/// Everything about a turn that the ledger holds before a byte is sent.
pub fn intent(
    crossing: &Crossing,
    turn: &Turn,
    passed: &Passed,
    ids: &TransactionIds,
    merged: u64,
    origins: &[Origin],
) -> Intent {
    Intent {
        seq: ids.sequence,
        release: crossing.release_digest.clone(),
        fingerprint: crossing.release.fingerprint.clone(),
        spans: spans(crossing, &turn.spans()),
        refused: refused(crossing, turn),
        refused_before: 0,
        source_digests: turn
            .digests(&crossing.ledger_commit())
            .into_iter()
            .map(|(source, mac)| SourceDigest {
                topic: crossing.topic_name(source.0).to_owned(),
                partition: source.1,
                mac: HEXLOWER.encode(&mac),
            })
            .collect(),
        subjects: passed.subjects().to_vec(),
        salt: HEXLOWER.encode(&ids.salt),
        schema_ids: schema_ids(origins),
        key_ids: crossing.key_ids(),
        target_partitions: crossing.target.partitions,
        partitioner: "murmur2".to_owned(),
        manifest_id: HEXLOWER.encode(&ids.manifest_id),
        traceparent: ids.traceparent.clone(),
        records: passed.records(),
        bytes: passed.bytes(),
        merged,
    }
}

/// What the manifest adds to the intent once it is durable.
pub fn stamp(
    crossing: &Crossing,
    turn: &Turn,
    origins: &[Origin],
    receipt: &Receipt,
    head: &Head,
) -> Evidence {
    Evidence {
        spans: spans(crossing, &turn.spans()),
        refused: refused(crossing, turn),
        leaf_index: receipt.index,
        leaf_hash: receipt.leaf_hash,
        head: *head,
        schema_ids: schema_ids(origins),
        key_ids: crossing.key_ids(),
    }
}

fn spans(crossing: &Crossing, spans: &[Span]) -> Vec<SpanEntry> {
    spans
        .iter()
        .map(|span| SpanEntry {
            topic: crossing.topic_name(span.topic).to_owned(),
            partition: span.partition,
            start: span.start,
            end: span.end,
        })
        .collect()
}

fn refused(crossing: &Crossing, turn: &Turn) -> Vec<RefusedEntry> {
    turn.refused()
        .iter()
        .map(|refused| RefusedEntry {
            topic: crossing.topic_name(refused.source.0).to_owned(),
            partition: refused.source.1,
            offset: refused.offset,
            code: refused.code.to_owned(),
        })
        .collect()
}

fn schema_ids(origins: &[Origin]) -> Vec<u32> {
    let mut ids: Vec<u32> = origins.iter().filter_map(|origin| origin.schema_id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Digest of a row's output key: equal for a delete and its tombstone. The key is a token by now,
/// or public.
pub fn key_digest(keys: &RecordBatch, row: usize) -> String {
    let mut tuple = Tuple::new();
    let mut part = String::new();
    for column in keys.columns() {
        let column: &ArrayRef = column;
        part.clear();
        tuple = if column.is_null(row) || text::write(column, row, &mut part).is_err() {
            tuple.number(0)
        } else {
            tuple.text(&part)
        };
    }
    canonical::sha256_hex(&tuple.finish())[..32].to_owned()
}

/// The partitions that a log holds as held, with their offsets.
pub fn held(entries: Vec<(u64, Entry)>, topics: &[String]) -> BTreeMap<Source, i64> {
    let mut held = BTreeMap::new();
    let index = |topic: &String| topics.iter().position(|t| t == topic).map(|i| i as u32);
    for (_, entry) in entries {
        match entry {
            Entry::Held { topic, partition, offset, .. } => {
                if let Some(topic) = index(&topic) {
                    held.insert((topic, partition), offset);
                }
            }
            Entry::Resumed { topic, partition, .. } => {
                if let Some(topic) = index(&topic) {
                    held.remove(&(topic, partition));
                }
            }
            _ => {}
        }
    }
    held
}
