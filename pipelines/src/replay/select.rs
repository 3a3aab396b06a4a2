//! Which transactions a replay is about: committed ones, as the target's positions name the ledger.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use douane_connectors::edge::Topics;
use douane_ledger::dsse::Envelope;
use douane_ledger::log::{self, Entry, Intent, RefusedEntry};
use douane_ledger::manifest::{self, Manifest};

use super::engine::Shared;
use super::{Ask, Range};
use crate::crossing::PositionTopic;
use crate::edges;
use crate::fault::RunFault;
use crate::names::ledger_home;

/// How long nothing may come of the manifest topic.
const PATIENCE: Duration = Duration::from_secs(60);

/// A transaction as it was written down.
pub struct Recorded {
    pub log: String,
    pub shard: u32,
    pub intent: Intent,
    /// All that was refused, in order.
    pub refused: Vec<RefusedEntry>,
    /// What was signed about it, where the manifest topic still has it.
    pub manifest: Option<Manifest>,
}

/// A manifest, and when it was sent.
type Sent = (Manifest, i64);

/// The transactions that are asked for, in the order of their logs.
pub fn recorded(shared: &Shared, ask: &Ask) -> Result<Vec<Recorded>, RunFault> {
    let mut sent = manifests(shared)?;
    let mut found: Vec<Recorded> = committed(shared)?
        .into_iter()
        .filter_map(|mut one| {
            let (manifest, at) = sent.remove(&one.intent.manifest_id).unzip();
            one.manifest = manifest;
            is_wanted(&one, at, ask).then_some(one)
        })
        .collect();
    if let Some((part, parts)) = ask.part {
        let mut number = 0;
        found.retain(|_| {
            number += 1;
            (number - 1) % parts == part - 1
        });
    }
    if found.is_empty() {
        return Err(RunFault::File(
            "the ledger has no such transaction\n  next: `douane verify --topic TOPIC --format json` \
             lists manifests; say less, and more of them are meant"
                .to_owned(),
        ));
    }
    Ok(found)
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
    // What the manifest topic has lost, nobody knows the time of.
    let since = ask.from_ms.is_none_or(|from| sent_ms.is_some_and(|at| at >= from));
    let until = ask.to_ms.is_none_or(|to| sent_ms.is_some_and(|at| at < to));
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
    let topic = topic.ok_or_else(|| RunFault::missing(&names.position, "global"))?;
    let positions = PositionTopic::new(place, pipeline, edges, keys, &topic.id);
    let layout = positions.layout()?.ok_or(RunFault::PositionLost)?;
    let home = ledger_home(&place.ledger_dir, &pipeline.name);
    let mut all = Vec::new();
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
                    open = Some((
                        index,
                        Recorded { log, shard, intent, refused: list, manifest: None },
                    ));
                }
                Entry::Committed { of } => {
                    all.extend(open.take_if(|(at, _)| *at == of).map(|(_, one)| one));
                }
                Entry::Void { .. } => open = None,
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
    let away = RunFault::unreachable("global cluster");
    let (topic, key) = (&shared.names.manifest, [shared.keys.manifest_public()]);
    let mut each = |record: &douane_schemas::record::RawRecord<'_>| {
        let envelope = record.value.and_then(|value| Envelope::from_bytes(value).ok());
        let signed = envelope.and_then(|envelope| manifest::verify(&envelope, &key).ok());
        // What is not signed says nothing; `verify --topic` says so.
        if let Some(signed) = signed {
            let manifest = signed.predicate;
            sent.insert(manifest.id.clone(), (manifest, record.timestamp_ms));
        }
        ControlFlow::Continue(())
    };
    topics.read(topic, 0, 0, PATIENCE, &mut each).map_err(away)?;
    Ok(sent)
}
