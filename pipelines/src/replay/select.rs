//! Which transactions a replay is about: committed ones, as the target's positions name the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use douane_ledger::coverage::{Expect, Manifests};
use douane_ledger::log::{self, Entry, Intent, RedrivenEntry, RefusedEntry};
use douane_ledger::manifest::Manifest;

use super::engine::{BY_TARGET, Shared};
use super::windows::Windows;
use super::{Ask, Range, Transaction, selection};
use crate::coverage;
use crate::crossing::PositionTopic;
use crate::edges;
use crate::fault::RunFault;
use crate::journals;
use crate::names::ledger_home;
use crate::quarantine::Outcome;
use crate::topics;

/// A transaction as it was written down.
pub struct Recorded {
    pub log: String,
    pub shard: u32,
    pub intent: Intent,
    /// All that was refused, in order.
    pub refused: Vec<RefusedEntry>,
    /// What was tried again and is outside of WHERE, as the entry behind the transaction's has it.
    pub outside: Option<RedrivenEntry>,
    /// What was signed about it, where the manifest topic still has it.
    pub manifest: Option<Manifest>,
    /// Which records were counted together, of all transactions.
    pub windows: Arc<Windows>,
    /// Which records stages and decoder passed and that did not cross, of all transactions.
    pub stopped: Arc<Stopped>,
}

impl Recorded {
    /// Of the ledger alone: what is known of all transactions is not in it yet.
    pub fn of(log: String, shard: u32, intent: Intent, refused: Vec<RefusedEntry>) -> Self {
        let (windows, stopped) = (Arc::default(), Arc::default());
        Self { log, shard, intent, refused, outside: None, manifest: None, windows, stopped }
    }
}

/// Whether a refusal's code is the gate's or the target's.
fn is_stopped(code: &str) -> bool {
    code.starts_with("gate_") || BY_TARGET.contains(&code)
}

/// Records that the gate or the target refused: topic, partition, offset.
pub type Stopped = BTreeSet<(String, i32, i64)>;

/// A manifest, and when it was sent.
type Sent = (Manifest, i64);

/// The transactions that are asked for, in the order of their logs, and the digest of them all: of this
/// part and of every other.
pub fn recorded(shared: &Shared, ask: &Ask) -> Result<(Vec<Recorded>, String), RunFault> {
    let mut sent = manifests(shared)?;
    let all = committed(shared)?;
    let windows = Arc::new(Windows::of(&all));
    let stopped = all.iter().flat_map(|one| &one.refused).filter(|r| is_stopped(&r.code));
    let stopped = stopped.map(|r| (r.topic.clone(), r.partition, r.offset));
    let stopped: Arc<Stopped> = Arc::new(stopped.collect());
    let mut found: Vec<Recorded> = all
        .into_iter()
        .filter_map(|mut one| {
            one.windows = Arc::clone(&windows);
            one.stopped = Arc::clone(&stopped);
            let (manifest, at) = sent.remove(&one.intent.manifest_id).unzip();
            one.manifest = manifest;
            is_wanted(&one, at, ask).then_some(one)
        })
        .collect();
    let unknown = unknown(&ask.manifests, &found);
    if !unknown.is_empty() {
        return Err(RunFault::File(format!(
            "the ledger has no such transaction, or the rest of what was asked excludes it:\n  {}\n  \
             next: `douane verify --topic TOPIC --format json` lists manifests; name those that this \
             pipeline wrote",
            unknown.join("\n  ")
        )));
    }
    let all: Vec<Transaction> = found.iter().map(Transaction::of).collect();
    let selected = selection(all.iter())?;
    if found.is_empty() {
        return Err(RunFault::File(
            "the ledger has no such transaction\n  next: `douane verify --topic TOPIC --format json` \
             lists manifests; say less, and more of them are meant"
                .to_owned(),
        ));
    }
    // Of more parts than transactions some have none: that is their answer, and joins.
    if let Some((part, parts)) = ask.part {
        let mut number = 0;
        found.retain(|_| {
            number += 1;
            (number - 1) % parts == part - 1
        });
    }
    Ok((found, selected))
}

/// Manifests that were asked for by name and are not among what was found.
fn unknown(asked: &[String], found: &[Recorded]) -> Vec<String> {
    let is_found = |id: &&String| found.iter().any(|one| one.intent.manifest_id == **id);
    asked.iter().filter(|id| !is_found(id)).cloned().collect()
}

fn is_wanted(one: &Recorded, sent_ms: Option<i64>, ask: &Ask) -> bool {
    let intent = &one.intent;
    let reads = |range: &Range| {
        intent.spans.iter().any(|span| {
            span.topic == range.topic
                && span.partition == range.partition
                && span.start < range.end
                && range.start < span.end
        })
    };
    // What the manifest topic has lost, nobody knows the time of: it may be of any.
    let since = ask.from_ms.is_none_or(|from| sent_ms.is_none_or(|at| at >= from));
    let until = ask.to_ms.is_none_or(|to| sent_ms.is_none_or(|at| at < to));
    (ask.manifests.is_empty() || ask.manifests.contains(&intent.manifest_id))
        && (ask.ranges.is_empty() || ask.ranges.iter().any(reads))
        && ask.release.as_ref().is_none_or(|digest| intent.release.starts_with(digest))
        && since
        && until
}

/// What crossed, of every shard there has been. A journal that no position names is nobody's.
fn committed(shared: &Shared) -> Result<Vec<Recorded>, RunFault> {
    let Shared { place, pipeline, edges, names, keys, .. } = shared;
    let away = RunFault::unreachable("global cluster");
    let admin = edges.global.admin().map_err(&away)?;
    let topic = admin.topic(&names.position).map_err(&away)?;
    let missing = || topics::missing(place, &pipeline.name, &names.position, "global");
    let topic = topic.ok_or_else(missing)?;
    let positions = PositionTopic::new(place, pipeline, edges, keys, &topic.id);
    let layout = positions.layout()?.ok_or(RunFault::PositionLost)?;
    let home = ledger_home(&place.ledger_dir, &pipeline.name);
    journals::refresh(place, names, &pipeline.name)?;
    let mut all: Vec<Recorded> = Vec::new();
    for (head, _) in positions.shards(&layout)? {
        let (shard, Some(ledger)) = (head.shard, head.ledger) else { continue };
        let log = names.log(shard);
        let mut refused: Vec<RefusedEntry> = Vec::new();
        let mut open: Option<(u64, Recorded)> = None;
        for (index, entry) in log::read(&home, &log, Some(&ledger))? {
            match entry {
                Entry::Refused { refused: more } => refused.extend(more),
                Entry::Intent(intent) => {
                    let mut list = std::mem::take(&mut refused);
                    list.extend(intent.refused.iter().cloned());
                    let log = log.clone();
                    open = Some((index, Recorded::of(log, shard, intent, list)));
                }
                Entry::Committed { of } => {
                    all.extend(open.take_if(|(at, _)| *at == of).map(|(_, one)| one));
                }
                Entry::Void { .. } => open = None,
                Entry::Redriven { topic, partition, offset, outcome }
                    if outcome == Outcome::OutsideWhere.word() =>
                {
                    if let Some(one) = all.last_mut().filter(|one| one.log == log) {
                        one.outside = Some(RedrivenEntry { topic, partition, offset });
                    }
                }
                _ => refused.clear(),
            }
        }
        // The position names what its own intent says: it is committed, written down or not.
        all.extend(open.filter(|(at, _)| *at < ledger.size).map(|(_, one)| one));
    }
    Ok(all)
}

/// What was signed and sent, by manifest id. Of a folder nothing: its parts hold it.
fn manifests(shared: &Shared) -> Result<BTreeMap<String, Sent>, RunFault> {
    let mut sent = BTreeMap::new();
    let global = &shared.place.global;
    if global.dir.is_some() {
        return Ok(sent);
    }
    let topics = edges::topics(global)?;
    let topic = &shared.names.data;
    let keys = vec![shared.keys.manifest_public()];
    let expect = Expect { topic: topic.clone(), keys, ..Expect::default() };
    let mut manifests = Manifests::new(expect);
    coverage::read_manifests(&topics, topic, 0, &mut |record| {
        // What is not signed, or there already, says nothing; `verify --topic` says so.
        if let Some(manifest) = manifests.take(record) {
            sent.insert(manifest.id.clone(), (manifest, record.timestamp_ms));
        }
    })?;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(id: &str) -> Recorded {
        let intent = Intent { manifest_id: id.into(), ..Intent::default() };
        Recorded::of("shard-0".to_owned(), 0, intent, Vec::new())
    }

    #[test]
    fn what_is_asked_for_by_name_and_not_found_is_told() {
        let found = [recorded("aa"), recorded("bb")];
        let asked = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(unknown(&asked(&["bb", "cc", "aa", "dd"]), &found), ["cc", "dd"]);
        assert_eq!(unknown(&asked(&["aa"]), &found), asked(&[]));
        assert_eq!(unknown(&[], &found), asked(&[]));
    }

    #[test]
    fn what_nobody_knows_the_time_of_may_be_of_any() {
        let ask = Ask { from_ms: Some(10), to_ms: Some(20), ..Ask::default() };
        let times = [None, Some(9), Some(10), Some(19), Some(20)];
        let wanted = times.map(|at| is_wanted(&recorded("aa"), at, &ask));
        assert_eq!(wanted, [true, false, true, true, false]);
    }
}
