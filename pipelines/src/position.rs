//! What the target remembers of the source: the position record of each shard and the layout
//! record, both sealed. They are the only truth about what has crossed.
//!
//! Partition 0 of the position topic holds the layout, partition n + 1 the position of shard n:
//! one partition a transactional id, for a dead holder of another id blocks the last stable
//! offset of a partition that they share.

use std::collections::BTreeMap;

use douane_ledger::bundle::Stand;
use douane_ledger::log::Head;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::fault::RunFault;
use crate::keys::LogStand;
use crate::software::software;
use crate::turn::Source;

/// Version of both records' content.
pub const VERSION: u32 = 1;

/// Key of the layout record.
pub const LAYOUT_KEY: &str = "layout";

/// Partition of the position topic that holds the layout.
pub const LAYOUT_PARTITION: i32 = 0;

/// Shard number under which the layout record is sealed; no shard has it.
pub const LAYOUT_SHARD: u32 = u32::MAX;

/// One source partition's place: the next offset that has not crossed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Index into the pipeline's list of source topics.
    pub topic: u32,
    pub partition: i32,
    pub next: i64,
    /// Digest of the output key of the partition's last record that crossed, if that was a
    /// delete: its tombstone, when it comes, is the same delete.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deleted: Option<String>,
    /// The offset at which the ledger says that this partition is held. It stands here so that no
    /// life has to read the ledger through to know it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<i64>,
    /// Of a file: the digest over its records before `next`. A file with others there is another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark: Option<String>,
}

/// A shard's position, written last in each of its transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    #[serde(deserialize_with = "this_version")]
    pub version: u32,
    /// Epoch of the layout under which it was written; older ones do not count.
    pub epoch: u64,
    pub shard: u32,
    /// Number of the transaction within the shard, from 1, without gaps.
    pub sequence: u64,
    pub places: Vec<Place>,
    /// Head of the shard's ledger right after the intent of this transaction.
    pub ledger: Head,
    /// Id of its manifest, hexadecimal: the next one names it. Absent in positions from before
    /// manifests did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub manifest: Option<String>,
    /// Of statistics: the window that this transaction closed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub closed: Option<Closed>,
    /// Where groups of rows are counted: what was counted together with what this transaction read.
    /// What of it has not crossed yet crosses by the same counts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub window: Option<Vec<Counted>>,
}

/// One partition's part of what is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// Index into the pipeline's list of source topics.
    pub topic: u32,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

/// A window whose statistics are outside. The places beside it are where a lost store of open
/// windows begins to read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// Its number.
    pub window: i64,
    /// Of its release in the account.
    pub revision: u32,
    /// Where it ended in each of the places, in their order.
    pub pins: Vec<i64>,
    /// Head of the identity space's account right before this transaction.
    pub account: Head,
}

/// A topic as it was when the layout was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedTopic {
    pub name: String,
    /// Kafka's topic id: a topic that was deleted and made again has another.
    pub id: String,
    pub partitions: i32,
}

/// What a start was allowed by. A later start may be allowed by the same or by successors only: a
/// root that was closed, and a release that was replaced, do not come back with their old files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// Version of the newest trust root.
    pub trust_version: u64,
    /// Its digest, in hexadecimal.
    pub trust_digest: String,
    /// Version of the release.
    pub release_version: u64,
    /// Its digest, in hexadecimal; absent in a layout of before this was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

/// Who owns which partitions, and from where. Committed by each process as it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    #[serde(deserialize_with = "this_version")]
    pub version: u32,
    /// Grows with each change of the assignment.
    pub epoch: u64,
    pub tasks: u32,
    pub sources: Vec<PinnedTopic>,
    pub targets: Vec<PinnedTopic>,
    /// Where each source partition stood when this epoch began.
    pub places: Vec<Place>,
    /// Number of transactions and ledger head of every shard there has ever been, as this epoch
    /// began.
    pub shards: Vec<ShardHead>,
    /// The newest trust root and release that this pipeline ran under: neither goes back.
    pub approved: Approved,
    /// How the record key is made; absent in a layout of before this was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_key: Option<Vec<String>>,
    /// It began under a one-shot release, which says itself where reading begins: no other release
    /// goes on from there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// Where the place's log of keys stood as this process began. Absent before it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<LogStand>,
    /// The last bundle of checkpoints, which went out in one transaction with this record. Absent
    /// before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleSent>,
    /// How often whoever held it was fenced so that it ends, and nobody has begun since. It makes this another record
    /// than the holder's own: one that lost its client finds that it is held no more. Left out where it is 0, and a
    /// start begins at 0, so what runs needs nobody who knows of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fences: u64,
    /// Head of the control log of the process that committed this layout.
    pub control: Head,
}

fn is_zero(fences: &u64) -> bool {
    *fences == 0
}

/// A bundle that is outside: the next one goes on from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleSent {
    pub number: u64,
    /// SHA-256 of its payload, hexadecimal.
    pub digest: String,
    /// Where each log stood in it.
    pub logs: Vec<Stand>,
}

/// Where a shard stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardHead {
    pub shard: u32,
    /// Its transactions so far.
    pub sequence: u64,
    /// `None`: it has no log yet.
    pub ledger: Option<Head>,
    /// Id of its last manifest, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub manifest: Option<String>,
}

/// A record of a later version may mean something else by the same names: it is refused.
fn this_version<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        VERSION => Ok(VERSION),
        other => Err(D::Error::custom(format!("version {other}, expected {VERSION}"))),
    }
}

/// A record that opened: only this place seals one, so what is not known of it, another version of
/// the program wrote. Passing over it might lose what it is about.
pub fn parse<T: DeserializeOwned>(what: &'static str, plain: &[u8]) -> Result<T, RunFault> {
    serde_json::from_slice(plain)
        .map_err(|_| RunFault::NewerRecord { what, software: software().to_owned() })
}

impl Layout {
    /// The same once more, as no holder committed it. The epoch stays: positions of it count.
    pub fn fenced(self) -> Self {
        Self { fences: self.fences + 1, ..self }
    }

    /// The shard that owns a source partition: partitions are dealt out one by one.
    pub fn shard_of(&self, topic: u32, partition: i32) -> u32 {
        let before: i64 = self
            .sources
            .iter()
            .take(topic as usize)
            .map(|source| i64::from(source.partitions))
            .sum();
        ((before + i64::from(partition)) % i64::from(self.tasks.max(1))) as u32
    }

    /// The places of one shard's partitions.
    pub fn places_of(&self, shard: u32) -> Vec<Place> {
        let mine = |p: &&Place| self.shard_of(p.topic, p.partition) == shard;
        self.places.iter().filter(mine).cloned().collect()
    }

    /// Partition of the position topic that holds a shard's position.
    pub fn position_partition(shard: u32) -> i32 {
        shard as i32 + 1
    }

    /// Transactions and ledger head of a shard: as its position of this epoch says, or, before
    /// its first one, as the epoch began.
    pub fn head_of(&self, shard: u32, position: Option<&Position>) -> ShardHead {
        if let Some(position) = position {
            return ShardHead {
                shard,
                sequence: position.sequence,
                ledger: Some(position.ledger),
                manifest: position.manifest.clone(),
            };
        }
        let began = self.shards.iter().find(|head| head.shard == shard).cloned();
        began.unwrap_or(ShardHead { shard, sequence: 0, ledger: None, manifest: None })
    }

    /// The next epoch's layout. `committed`: the places of every shard's last position, which
    /// count before those of this epoch's start; `heads`: of the shards that had partitions;
    /// `added`: partitions that nobody has read, from their start. Heads of shards that had none
    /// are kept: a later epoch may give them some again, and their logs go on.
    pub fn dealt_again(
        self,
        tasks: u32,
        sources: Vec<PinnedTopic>,
        committed: Vec<Place>,
        heads: Vec<ShardHead>,
        added: &[Source],
        control: Head,
    ) -> Self {
        let new = added.iter().map(|(topic, partition)| Place {
            topic: *topic,
            partition: *partition,
            next: 0,
            deleted: None,
            held: None,
            mark: None,
        });
        let places: BTreeMap<Source, Place> = self
            .places
            .into_iter()
            .chain(committed)
            .chain(new)
            .map(|place| ((place.topic, place.partition), place))
            .collect();
        let shards: BTreeMap<u32, ShardHead> =
            self.shards.into_iter().chain(heads).map(|head| (head.shard, head)).collect();
        Self {
            version: VERSION,
            epoch: self.epoch + 1,
            tasks,
            sources,
            targets: self.targets,
            places: places.into_values().collect(),
            shards: shards.into_values().collect(),
            approved: self.approved.clone(),
            record_key: self.record_key,
            once: self.once,
            keys: self.keys,
            bundle: self.bundle,
            fences: 0,
            control,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use douane_ledger::log::JournalId;

    use super::*;

    pub(crate) fn layout(tasks: u32) -> Layout {
        let source =
            |name: &str, partitions| PinnedTopic { name: name.into(), id: "id".into(), partitions };
        let place = |topic, partition| Place {
            topic,
            partition,
            next: 0,
            deleted: None,
            held: None,
            mark: None,
        };
        Layout {
            version: VERSION,
            epoch: 1,
            tasks,
            sources: vec![source("a", 3), source("b", 2)],
            targets: vec![],
            places: (0..3).map(|p| place(0, p)).chain((0..2).map(|p| place(1, p))).collect(),
            shards: vec![],
            approved: Approved {
                trust_version: 1,
                trust_digest: "root".into(),
                release_version: 1,
                release: None,
            },
            record_key: None,
            once: false,
            keys: None,
            bundle: None,
            fences: 0,
            control: Head { journal: JournalId([0; 16]), size: 0, root: [0; 32] },
        }
    }

    /// Both records as this version writes them, with all that may be left out.
    const LAYOUT: &str = include_str!("../testdata/position/layout.json");
    const POSITION: &str = include_str!("../testdata/position/position.json");

    fn golden<T: DeserializeOwned + Serialize>(what: &'static str, text: &str) {
        let text = text.trim_end();
        let read = |text: &str| parse::<T>(what, text.as_bytes());
        assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text, "the control");
        let invented = [
            text.replacen('{', "{\"invented\":\"a secret word\",", 1),
            text.replacen("\"places\":[{", "\"places\":[{\"invented\":\"a secret word\",", 1),
            text.replacen("\"version\":1", "\"version\":2", 1),
        ];
        for newer in invented {
            assert_ne!(newer, text);
            let fault = read(&newer).err().unwrap();
            assert_eq!(
                (fault.code(), fault.exit_code(), fault.passes()),
                ("newer_record", 1, false)
            );
            let said = fault.told();
            assert!(said.contains(&format!("the {what} record")), "{said}");
            assert!(
                said.contains("a newer douane may have written it\n  next: go on with"),
                "{said}"
            );
            assert!(said.contains(env!("CARGO_PKG_VERSION")) && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn what_a_newer_program_wrote_is_refused_and_told() {
        golden::<Layout>("layout", LAYOUT);
        golden::<Position>("position", POSITION);
    }

    /// A layout of before how keys are made was written down reads, and is written as it was.
    #[test]
    fn a_layout_may_say_nothing_of_the_record_key() {
        let before = serde_json::to_string(&layout(1)).unwrap();
        assert!(!before.contains("record_key"));
        let again: Layout = serde_json::from_str(&before).unwrap();
        assert_eq!(again, layout(1));
        let pinned = Layout { record_key: Some(vec!["integer as it is".into()]), ..layout(1) };
        let text = serde_json::to_string(&pinned).unwrap();
        assert_eq!(serde_json::from_str::<Layout>(&text).unwrap(), pinned);
    }

    /// What was fenced is no holder's own, nor what another one found who fenced it; and it says of the source what it
    /// said.
    #[test]
    fn a_fenced_layout_is_another_one_with_the_same_places() {
        let own = layout(2);
        let fenced = own.clone().fenced();
        let again = fenced.clone().fenced();
        assert!(own != fenced && fenced != again && own != again);
        assert_eq!(Layout { fences: 0, ..again.clone() }, own);
        let text = serde_json::to_string(&again).unwrap();
        assert_eq!(serde_json::from_str::<Layout>(&text).unwrap(), again);
        assert!(!serde_json::to_string(&own).unwrap().contains("fences"));
        let dealt = again.dealt_again(1, vec![], vec![], vec![], &[], head(1));
        assert_eq!(dealt.fences, 0, "who deals begins");
    }

    #[test]
    fn every_partition_has_one_shard() {
        for tasks in 1..7 {
            let layout = layout(tasks);
            let dealt: usize = (0..tasks).map(|shard| layout.places_of(shard).len()).sum();
            assert_eq!(dealt, 5, "{tasks} tasks");
        }
        assert_eq!(layout(2).shard_of(1, 0), 1);
    }

    fn head(size: u64) -> Head {
        Head { journal: JournalId([7; 16]), size, root: [0; 32] }
    }

    fn known(shard: u32, size: u64) -> ShardHead {
        ShardHead { shard, sequence: size, ledger: Some(head(size)), manifest: None }
    }

    #[test]
    fn a_shard_stands_where_its_position_says_or_the_epoch_began() {
        let before = Layout { shards: vec![known(1, 5)], ..layout(2) };
        let position = Position {
            version: VERSION,
            epoch: 1,
            shard: 1,
            sequence: 9,
            places: vec![],
            ledger: head(9),
            manifest: None,
            closed: None,
            window: None,
        };
        assert_eq!(before.head_of(1, Some(&position)), known(1, 9));
        assert_eq!(before.head_of(1, None), known(1, 5));
        let none = ShardHead { shard: 0, sequence: 0, ledger: None, manifest: None };
        assert_eq!(before.head_of(0, None), none);
    }

    #[test]
    fn a_new_deal_goes_on_from_the_last_positions() {
        let place = |topic, partition, next| Place {
            topic,
            partition,
            next,
            deleted: None,
            held: None,
            mark: None,
        };
        // Shard 4 had partitions in some epoch before.
        let before = Layout { shards: vec![known(0, 3), known(4, 8)], ..layout(2) };
        let mut grown = before.sources.clone();
        grown[1].partitions = 3;
        let deleted = Place { deleted: Some("key".into()), ..place(0, 1, 20) };
        let committed = vec![place(0, 0, 10), deleted.clone()];
        let after = before.clone().dealt_again(
            3,
            grown.clone(),
            committed,
            vec![known(0, 6), known(1, 2)],
            &[(1, 2)],
            head(77),
        );
        assert_eq!(
            after,
            Layout {
                epoch: 2,
                tasks: 3,
                sources: grown,
                places: vec![
                    place(0, 0, 10),
                    deleted,
                    place(0, 2, 0),
                    place(1, 0, 0),
                    place(1, 1, 0),
                    place(1, 2, 0),
                ],
                shards: vec![known(0, 6), known(1, 2), known(4, 8)],
                control: head(77),
                ..before
            }
        );
        let dealt: usize = (0..3).map(|shard| after.places_of(shard).len()).sum();
        assert_eq!(dealt, 6, "the added partition has a shard");
    }

    /// Positions outlive the program: their names in JSON are a format.
    #[test]
    fn records_have_the_names_that_were_written_down() {
        let mut layout = layout(1);
        layout.places.truncate(1);
        layout.sources.truncate(1);
        let text = serde_json::to_string(&layout).unwrap();
        assert_eq!(serde_json::from_str::<Layout>(&text).unwrap(), layout);
        for name in
            ["version", "epoch", "tasks", "sources", "targets", "places", "shards", "control"]
        {
            assert!(text.contains(&format!("\"{name}\":")), "{name}: {text}");
        }
        assert!(!text.contains("deleted"), "{text}");
        let unknown = text.replacen("\"epoch\"", "\"era\":1,\"epoch\"", 1);
        assert!(serde_json::from_str::<Layout>(&unknown).is_err());
        let later = text.replacen("\"version\":1", "\"version\":2", 1);
        assert_ne!(later, text);
        assert!(serde_json::from_str::<Layout>(&later).is_err());
    }
}
