//! What a transaction says about itself: its ids, its intent in the ledger, its stamp.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use arrow::record_batch::RecordBatch;
use data_encoding::HEXLOWER;
use douane_gate::{Evidence, Gate, Passed, TransactionIds};
use douane_ledger::canonical;
use douane_ledger::log::{
    Entry, Head, Intent, Log, Receipt, RedrivenEntry, RefusedEntry, SourceDigest, SpanEntry,
};
use douane_schemas::batch::{Origin, Span};
use douane_schemas::canonical as text;
use douane_schemas::keys::Key;
use douane_schemas::tuple::Tuple;

use crate::config::{self, Pipeline};
use crate::crossing::Crossing;
use crate::fault::RunFault;
use crate::hold::Reason;
use crate::merge::Merge;
use crate::names::{Names, ledger_home};
use crate::position::Place;
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
    gate: &Gate,
    turn: &Turn,
    passed: &Passed,
    ids: &TransactionIds,
    merge: &Merge,
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
            .digests(&crossing.source_digest())
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
        key_ids: key_ids(crossing, gate),
        target_partitions: crossing.target.partitions,
        partitioner: "murmur2".to_owned(),
        manifest_id: HEXLOWER.encode(&ids.manifest_id),
        traceparent: ids.traceparent.clone(),
        records: passed.records(),
        bytes: passed.bytes(),
        merged: merge.merged,
        filtered: merge.filtered,
        withdrawn: merge.withdrawn.iter().filter(|row| **row).count() as u64,
        truncated: turn.truncated(),
        redriven: turn
            .redriven()
            .map(|(source, offset)| RedrivenEntry {
                topic: crossing.topic_name(source.0).to_owned(),
                partition: source.1,
                offset,
            })
            .into_iter()
            .collect(),
        window: Vec::new(),
        statistics: Vec::new(),
    }
}

/// What the manifest adds to the intent once it is durable.
pub fn stamp(
    crossing: &Crossing,
    gate: &Gate,
    turn: &Turn,
    origins: &[Origin],
    (receipt, head): (&Receipt, &Head),
    previous: Option<String>,
    at_ms: i64,
) -> Evidence {
    Evidence {
        spans: spans(crossing, &turn.spans()),
        refused: refused(crossing, turn),
        leaf_index: receipt.index,
        leaf_hash: receipt.leaf_hash,
        head: *head,
        schema_ids: schema_ids(origins),
        key_ids: key_ids(crossing, gate),
        previous,
        at_ms,
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

/// Every key that had a part: the stages' and the seals'.
fn key_ids(crossing: &Crossing, gate: &Gate) -> Vec<String> {
    let mut ids = crossing.key_ids();
    ids.extend(gate.seal_key_ids());
    ids
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

/// A partition that waits for people, as a log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The record that waits.
    pub offset: i64,
    pub reason: Reason,
}

/// A hold that the target's position names, and what its shard's log says of it.
pub struct Ledgered {
    pub offset: i64,
    /// `None`: the partition was dealt anew, and another's log says it.
    reason: Option<Reason>,
}

impl Ledgered {
    pub fn new(offset: i64, reason: &Reason) -> Self {
        Self { offset, reason: Some(reason.clone()) }
    }

    /// The log says this already. After a release the same record may wait for something else, and people
    /// are told what the log says last.
    pub fn says(&self, offset: i64, reason: &Reason) -> bool {
        self.offset == offset && self.reason.as_ref() == Some(reason)
    }
}

/// Of the partitions that a position holds, what the shard's log says. It is read only where one is held.
pub fn ledgered(
    crossing: &Crossing,
    log: &str,
    head: &Head,
    places: &[Place],
) -> Result<BTreeMap<Source, Ledgered>, RunFault> {
    let waiting = places.iter().filter_map(|p| Some(((p.topic, p.partition), p.held?)));
    let waiting: BTreeMap<Source, i64> = waiting.collect();
    if waiting.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut holds = Holds::new(crossing.topics());
    crossing.each_entry(log, head, |entry| holds.take(&entry))?;
    let mut said = holds.held;
    let told = waiting.into_iter().map(|(source, offset)| {
        let reason = said.remove(&source).filter(|hold| hold.offset == offset);
        (source, Ledgered { offset, reason: reason.map(|hold| hold.reason) })
    });
    Ok(told.collect())
}

/// The partitions that wait by the ledger that lies here, without a word to a cluster.
pub fn held_here(
    place: &config::Place,
    pipeline: &Pipeline,
) -> Result<BTreeMap<Source, Hold>, RunFault> {
    let (home, names) =
        (ledger_home(&place.ledger_dir, &pipeline.name), Names::of(place, pipeline));
    let each = |log: &str, take: &mut dyn FnMut(Entry)| match home.join(log).exists() {
        true => douane_ledger::log::read_each(&home, log, None, |_, entry| take(entry)),
        false => Ok(()),
    };
    let mut layout = None;
    each(&names.control_log(), &mut |entry| {
        if let Entry::Layout { tasks, partitions, .. } = entry {
            layout = Some((tasks, partitions));
        }
    })?;
    let Some((tasks, dealt)) = layout else { return Ok(BTreeMap::new()) };
    let topics = &pipeline.source.topics;
    let mut all = BTreeMap::new();
    for shard in 0..tasks {
        let mut holds = Holds::new(topics);
        each(&names.log(shard), &mut |entry| holds.take(&entry))?;
        // Of a partition that was dealt anew, its new shard's log says it.
        let owns = |(topic, partition): &Source| {
            topics.get(*topic as usize).is_some_and(|topic| {
                dealt
                    .iter()
                    .any(|a| a.shard == shard && a.topic == *topic && a.partition == *partition)
            })
        };
        all.extend(holds.held.into_iter().filter(|(source, _)| owns(source)));
    }
    Ok(all)
}

/// The partitions that a log has as held, entry by entry: a log is long, and few wait.
pub struct Holds<'a> {
    topics: &'a [String],
    pub held: BTreeMap<Source, Hold>,
}

impl<'a> Holds<'a> {
    pub fn new(topics: &'a [String]) -> Self {
        Self { topics, held: BTreeMap::new() }
    }

    pub fn take(&mut self, entry: &Entry) {
        // A topic that the pipeline no longer reads is nobody's business here.
        let index = |topic: &String| self.topics.iter().position(|t| t == topic).map(|i| i as u32);
        match entry {
            Entry::Held {
                topic,
                partition,
                offset,
                reason,
                code,
                leaf,
                others,
                more,
                schema_id,
            } => {
                if let Some(topic) = index(topic) {
                    let reason = Reason {
                        code: code.clone(),
                        text: reason.clone(),
                        leaf: leaf.clone(),
                        others: others.clone(),
                        more: *more,
                        schema_id: *schema_id,
                    };
                    self.held.insert((topic, *partition), Hold { offset: *offset, reason });
                }
            }
            Entry::Resumed { topic, partition, .. } => {
                if let Some(topic) = index(topic) {
                    self.held.remove(&(topic, *partition));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    mod cost;

    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use douane_schemas::batch::Op;

    use super::*;

    fn held(entries: &[Entry], topics: &[String]) -> BTreeMap<Source, Hold> {
        let mut holds = Holds::new(topics);
        entries.iter().for_each(|entry| holds.take(entry));
        holds.held
    }

    #[test]
    fn what_was_held_last_and_not_resumed_is_held() {
        let reason = |text: &str| Reason::new("operation", text.to_owned());
        let hold = |topic: &str, partition, offset, text: &str| {
            reason(text).entry(topic, partition, offset)
        };
        let resume = |topic: &str, partition, offset| Entry::Resumed {
            topic: topic.into(),
            partition,
            offset,
            release: "r".into(),
        };
        let topics = ["a".to_owned(), "b".to_owned()];
        let log = [
            hold("a", 0, 5, "first"),
            hold("a", 1, 7, "stays"),
            resume("a", 0, 5),
            hold("b", 0, 2, "before"),
            Entry::Committed { of: 0 },
            resume("b", 0, 2),
            hold("b", 0, 9, "after"),
            hold("gone", 0, 1, "no topic of ours"),
            resume("a", 3, 1),
        ];
        let expected = [((0, 1), 7, "stays"), ((1, 0), 9, "after")]
            .map(|(source, offset, text)| (source, Hold { offset, reason: reason(text) }));
        assert_eq!(held(&log, &topics), BTreeMap::from(expected));
        assert!(held(&log[..3], &topics[..1]).contains_key(&(0, 1)));
        assert!(held(&[], &topics).is_empty());
    }

    #[test]
    fn another_reason_at_the_same_record_is_another_hold() {
        let reason = |leaf: &str| Reason {
            leaf: Some(leaf.into()),
            others: vec!["after.ccc".to_owned()],
            ..Reason::new("unknown_leaf", "no class".into())
        };
        let ledgered = Ledgered::new(5, &reason("after.aaa"));
        assert!(ledgered.says(5, &reason("after.aaa")));
        assert!(!ledgered.says(5, &reason("after.bbb")) && !ledgered.says(6, &reason("after.aaa")));
        let of_another = Ledgered { offset: 5, reason: None };
        assert!(!of_another.says(5, &reason("after.aaa")));
        // The last one counts.
        let log = [("after.aaa", 5), ("after.bbb", 5)];
        let log = log.map(|(leaf, offset)| reason(leaf).entry("a", 0, offset));
        let hold = held(&log, &["a".to_owned()]).remove(&(0, 0)).unwrap();
        assert_eq!(hold.reason.leaf.as_deref(), Some("after.bbb"));
        assert_eq!(hold.reason.others, ["after.ccc"]);
    }

    #[test]
    fn keys_are_told_apart_by_their_parts() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1), Some(11), None]));
        let parts: ArrayRef =
            Arc::new(StringArray::from(vec![Some("11"), Some("11"), Some("1"), Some("0")]));
        let keys = RecordBatch::try_from_iter([("id", ids), ("part", parts)]).unwrap();
        let digest = |row| key_digest(&keys, row);
        assert_eq!(digest(0), digest(1));
        // The same signs, cut elsewhere; and a null that is no zero.
        let all: std::collections::BTreeSet<String> = (0..4).map(digest).collect();
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|digest| digest.len() == 32));
    }

    #[test]
    fn schema_ids_are_told_once_in_order() {
        let origin = |schema_id| Origin {
            topic: 0,
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            op: Op::Create,
            schema_id,
        };
        let origins = [Some(9), None, Some(2), Some(9), Some(2)].map(origin);
        assert_eq!(schema_ids(&origins), [2, 9]);
    }
}
