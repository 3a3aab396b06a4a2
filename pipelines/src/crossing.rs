//! Everything a run needs that does not change while it runs: the pipeline and its plan, the live
//! release, the keys, the names in both clusters. Shards share it; each opens its own clients.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use douane_connectors::edge::{
    Admin, EdgeFault, Global, Quarantine, Sink, SinkFault, Source, Transaction,
};
use douane_connectors::registry::Registry;
use douane_gate::{Cause, Crossing as AtGate, Destination, Gate, SealContext, Sealed, Target};
use douane_ledger::dsse::Envelope;
use douane_ledger::log::{Entry, Head, Log};
use douane_ledger::release::LiveRelease;
use douane_schemas::keys::{Key, Purpose};
use douane_schemas::record::RawRecord;
use douane_transforms::Keyring;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aside::QuarantineTopic;
use crate::clock::Clock;
use crate::config::{Pipeline, Place};
use crate::edges::Edges;
use crate::enrich::Published;
use crate::fault::RunFault;
use crate::identity;
use crate::journals;
use crate::key_home::{KeyFault, KeyHome, SubjectStore};
use crate::merge::Merge;
use crate::names::{Names, checkpoint_origin, ledger_home};
use crate::plan::{Plan, StageStop, Staged};
use crate::position::{
    Approved, LAYOUT_KEY, LAYOUT_PARTITION, LAYOUT_SHARD, Layout, Position, ShardHead, parse,
};
use crate::record_key;
use crate::release;
use crate::software::software;
use crate::stop::Stop;
use crate::traces::Traces;
use crate::turn::Refused;
use crate::vigil::Right;

/// How long one try at something outside may take.
pub const TRY: Duration = Duration::from_secs(10);
/// How long a position is read.
const READ: Duration = Duration::from_secs(30);

/// How long a target may be away before it is said.
const FENCE: Duration = Duration::from_secs(30);

/// A client for questions a side: with one that is kept open a look at a topic's identity costs 0.2 ms.
pub struct Admins {
    /// Where raw data lives.
    pub sovereign: Box<dyn Admin>,
    /// Where records go.
    pub global: Box<dyn Admin>,
}

impl Admins {
    /// Both sides are still the topics that the layout pinned. A source topic that was made again
    /// would be read from the middle; a target that was made again would keep the position and
    /// lose the data; partitions that nobody was dealt are never read.
    pub fn check(&self, layout: &Layout) -> Result<(), RunFault> {
        let sides = [
            ("source", &self.sovereign, &layout.sources),
            ("target", &self.global, &layout.targets),
        ];
        for (side, admin, pinned) in sides {
            identity::stands(side, admin.as_ref(), layout, pinned, identity::BETWEEN_LOOKS)?;
        }
        Ok(())
    }
}

/// The position topic: what is sealed for it, and what a reader sees. Reading needs no live
/// release: `status` reads it too.
pub struct PositionTopic {
    global: Arc<dyn Global>,
    cluster_id: String,
    zone: String,
    name: String,
    id: String,
    /// Of each root, the active one first.
    keys: Vec<Key>,
    /// Under the active root: for what is sealed without a gate.
    blind: Key,
}

impl PositionTopic {
    pub fn new(
        place: &Place,
        pipeline: &Pipeline,
        edges: &Edges,
        keys: &KeyHome,
        topic_id: &str,
    ) -> Self {
        Self {
            global: Arc::clone(&edges.global),
            cluster_id: place.global.id.clone(),
            zone: place.sovereign.zone.clone(),
            name: Names::of(place, pipeline).position,
            id: topic_id.to_owned(),
            keys: keys.pipeline_keys(Purpose::Position, &pipeline.name),
            blind: keys.seal_blind(&pipeline.name),
        }
    }

    /// Seals the layout, as the record that stands alone in its partition.
    pub fn seal_layout(&self, gate: &Gate, layout: &Layout) -> Result<Sealed, RunFault> {
        self.seal(gate, "layout", LAYOUT_PARTITION, LAYOUT_KEY, LAYOUT_SHARD, layout)
    }

    /// As [`Self::seal_layout`], of what was fenced so that it ends: there may be no release to make a gate of.
    pub fn seal_fenced(&self, layout: &Layout) -> Result<Sealed, RunFault> {
        let plain = serde_json::to_vec(layout)
            .map_err(|_| RunFault::Gate("a layout has no JSON form".into()))?;
        let (keys, to) = ((&self.keys[0], &self.blind), self.context(LAYOUT_SHARD));
        douane_gate::seal_position(keys, LAYOUT_PARTITION, LAYOUT_KEY, &plain, &to)
            .map_err(|fault| RunFault::Gate(fault.to_string()))
    }

    fn seal<T: Serialize>(
        &self,
        gate: &Gate,
        what: &str,
        partition: i32,
        key: &str,
        shard: u32,
        record: &T,
    ) -> Result<Sealed, RunFault> {
        let plain = serde_json::to_vec(record)
            .map_err(|_| RunFault::Gate(format!("a {what} has no JSON form")))?;
        gate.seal_position(partition, key, &plain, &self.context(shard))
            .map_err(|fault| RunFault::Gate(fault.to_string()))
    }

    /// What sealed bytes of this topic are bound to.
    fn context(&self, shard: u32) -> SealContext {
        SealContext {
            zone: self.zone.clone(),
            cluster_id: self.cluster_id.clone(),
            topic_id: self.id.clone(),
            shard,
        }
    }

    /// The committed layout, if there is one.
    pub fn layout(&self) -> Result<Option<Layout>, RunFault> {
        self.layout_within(READ)
    }

    /// As [`Self::layout`], for so long at most: whoever died in a transaction keeps it open until he is fenced.
    pub fn layout_within(&self, at_most: Duration) -> Result<Option<Layout>, RunFault> {
        self.read("layout", LAYOUT_PARTITION, LAYOUT_SHARD, at_most)
    }

    /// A shard's committed position, if it has one in this epoch. A record of an earlier epoch is
    /// part of the layout's places already.
    pub fn position(&self, shard: u32, epoch: u64) -> Result<Option<Position>, RunFault> {
        Ok(self.last_position(shard)?.filter(|position| position.epoch == epoch))
    }

    /// A shard's position as it stands in the target, of whatever epoch.
    pub fn last_position(&self, shard: u32) -> Result<Option<Position>, RunFault> {
        self.read("position", Layout::position_partition(shard), shard, READ)
    }

    /// Every shard as the target names it: where it stands, and its position of this epoch. Shards
    /// of earlier layouts as well: what they brought is outside.
    pub fn shards(&self, layout: &Layout) -> Result<Vec<(ShardHead, Option<Position>)>, RunFault> {
        let retired = layout.shards.iter().map(|head| head.shard).filter(|s| *s >= layout.tasks);
        (0..layout.tasks)
            .chain(retired)
            .map(|shard| {
                let position = match shard < layout.tasks {
                    true => self.position(shard, layout.epoch)?,
                    false => None,
                };
                Ok((layout.head_of(shard, position.as_ref()), position))
            })
            .collect()
    }

    fn read<T: DeserializeOwned>(
        &self,
        what: &'static str,
        partition: i32,
        shard: u32,
        at_most: Duration,
    ) -> Result<Option<T>, RunFault> {
        let last = self.global.read_last(&self.name, partition, at_most).map_err(|fault| {
            match fault.stays() {
                true => RunFault::Edge(fault.to_string()),
                false => RunFault::Again(format!("position topic: {fault}")),
            }
        })?;
        let Some((key, value)) = last else { return Ok(None) };
        let unreadable = |why: String| RunFault::Unreadable { what, why };
        let key = String::from_utf8(key).map_err(|_| unreadable("its key is no text".into()))?;
        let place = Destination::Position { partition };
        let sealer = sealer(&self.keys, &value);
        let plain = douane_gate::open(sealer, place, &key, &value, &self.context(shard))
            .map_err(|fault| unreadable(fault.to_string()))?;
        parse(what, &plain).map(Some)
    }
}

/// The key that sealed these bytes, or, where none of these did, the one that would today.
fn sealer<'k>(keys: &'k [Key], sealed: &[u8]) -> &'k Key {
    let by = douane_gate::sealed_by(sealed);
    keys.iter().find(|key| Some(key.id()) == by).unwrap_or(&keys[0])
}

/// See the module.
pub struct Crossing {
    pub place: Place,
    pub pipeline: Pipeline,
    pub plan: Plan,
    pub release: Arc<LiveRelease>,
    pub release_digest: String,
    /// The release as it was signed.
    pub envelope: Envelope,
    /// The trust root and release version that this start is allowed by.
    pub approved: Approved,
    pub keys: KeyHome,
    pub keyring: Keyring,
    pub names: Names,
    pub target: Target,
    pub positions: PositionTopic,
    pub edges: Edges,
    /// As the start found it.
    pub quarantine: QuarantineTopic,
    pub software: String,
    /// Statistics that rows get, where they get any.
    pub published: Option<Published>,
    /// How the record key is made: what the layout pins.
    pub record_key: Vec<String>,
    key_ids: Vec<String>,
    registry: Mutex<SchemaCache>,
    /// Whether this release may still write.
    pub right: Right,
    /// By which it expires.
    pub clock: Clock,
    /// Where it is told what a transaction took.
    pub traces: Traces,
}

type SchemaCache = Box<dyn douane_schemas::debezium::WriterSchemas + Send>;

/// For formats without a registry: no id is known.
pub struct NoSchemas;

impl douane_schemas::debezium::WriterSchemas for NoSchemas {
    fn schema_text(&mut self, _: u32) -> Result<Option<String>, douane_schemas::debezium::Away> {
        Ok(None)
    }
}

/// What [`Crossing::new`] is given beside the files.
pub struct Opened {
    pub release: Arc<LiveRelease>,
    pub release_digest: String,
    pub envelope: Envelope,
    /// The trust root and release version that this start is allowed by.
    pub approved: Approved,
    pub target: Target,
    pub positions: PositionTopic,
    pub quarantine: QuarantineTopic,
    pub registry: Option<Registry>,
    pub edges: Edges,
    pub clock: Clock,
}

impl Crossing {
    pub fn new(
        place: Place,
        pipeline: Pipeline,
        plan: Plan,
        keys: KeyHome,
        opened: Opened,
    ) -> Self {
        let names = Names::of(&place, &pipeline);
        let keyring = keys.keyring();
        let registry: SchemaCache = match opened.registry {
            Some(registry) => Box::new(registry),
            None => Box::new(NoSchemas),
        };
        let key_ids = keyring.ids(&keys_used(&plan)).iter().map(ToString::to_string).collect();
        Self {
            record_key: record_key::made_by(&pipeline, &plan, &keyring),
            published: plan
                .enriched
                .as_ref()
                .map(|enriched| Published::new(&enriched.said, keys.manifest_public())),
            key_ids,
            traces: Traces::of(place.telemetry.as_ref()),
            place,
            pipeline,
            plan,
            release: opened.release,
            release_digest: opened.release_digest,
            envelope: opened.envelope,
            approved: opened.approved,
            keys,
            keyring,
            names,
            target: opened.target,
            positions: opened.positions,
            edges: opened.edges,
            quarantine: opened.quarantine,
            software: software().to_owned(),
            registry: Mutex::new(registry),
            right: Right::default(),
            clock: opened.clock,
        }
    }

    /// The source topics, in the order that their indices count.
    pub fn topics(&self) -> &[String] {
        &self.pipeline.source.topics
    }

    /// Name of a source topic; `?` for an index that no topic has.
    pub fn topic_name(&self, topic: u32) -> &str {
        self.topics().get(topic as usize).map_or("?", String::as_str)
    }

    /// The registry's schemas, cached by id; shared, since ids are few.
    pub fn schemas(&self) -> MutexGuard<'_, SchemaCache> {
        self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The release is live at this moment: not expired, not revoked; and its keys may be used.
    /// Which moment that is by the machine's clock, in milliseconds since the epoch.
    pub fn still_live(&self) -> Result<i64, RunFault> {
        self.right.holds()?;
        self.keys.lease_holds().map_err(RunFault::lapsed)?;
        let machine_ms = jiff::Timestamp::now().as_millisecond();
        let live = self.release.live(self.clock.now()).map_err(|why| {
            // Nothing crosses, whether or not the next process is told: the disk may be full.
            let _ = self.clock.write();
            release::not_live(&self.pipeline, &self.clock, &why)
        });
        // The place's clock is the later one, and brokers refuse a time far ahead of theirs.
        live.map(|at_ms| at_ms.min(machine_ms))
    }

    /// As [`Self::still_live`], of a transaction whose intent is durable: where it may not go out any
    /// more it is void, and nothing of it was sent.
    pub fn live_to_send(&self, log: &mut Log, of: u64) -> Result<i64, RunFault> {
        let live = self.still_live();
        if live.is_err() {
            void(log, of, "the right to write ended before it was sent")?;
        }
        live
    }

    /// As [`Self::live_to_send`], of one that was on its way when the right ended: its commit is never asked
    /// for. What ended it; where the right holds again by now, it is tried again.
    pub fn ended(&self, log: &mut Log, of: u64, why: String) -> RunFault {
        match void(log, of, "the right to write ended before it was committed") {
            Ok(()) => self.still_live().err().unwrap_or(RunFault::Again(why)),
            Err(fault) => fault,
        }
    }

    /// Why stages stopped: of keys that are away, what their home or their disk said.
    pub fn stopped(&self, stop: StageStop) -> RunFault {
        let why = self.keys.subjects().and_then(SubjectStore::fault);
        match (stop, why) {
            (StageStop::KeysAway, Some(fault)) => match RunFault::from(fault) {
                RunFault::Unreachable { what, why } => RunFault::Again(format!("{what}: {why}")),
                other => other,
            },
            (stop, _) => stop.into(),
        }
    }

    /// Fences a transactional id. While the target is away it tries again: nothing is held open
    /// meanwhile, and Kafka is the buffer. What it refuses (a right, a time-out above its own), and one that is away
    /// for longer, ends the try: whoever comes back says so.
    pub fn fence(&self, id: &str, stop: &Stop<'_>) -> Result<Box<dyn Sink>, RunFault> {
        let mut pause = Duration::from_millis(50);
        let began = Instant::now();
        loop {
            let tried = Instant::now();
            let largest = self.target.record_bytes_max;
            match self.edges.global.fence(id, largest, TRY) {
                Ok(sink) => return Ok(sink),
                Err(SinkFault::Settings(why)) => return Err(RunFault::Client(why.to_string())),
                Err(SinkFault::Refused(why)) if why.stays() => {
                    return Err(RunFault::Edge(why.to_string()));
                }
                Err(fault) if stop.is_set() => {
                    return Err(RunFault::Stopped(fault.to_string()));
                }
                Err(fault)
                    if began.elapsed() >= FENCE || matches!(fault, SinkFault::Refused(_)) =>
                {
                    return Err(RunFault::Again(format!("target cluster: `{id}`: {fault}")));
                }
                // It may pass; a stop ends the waiting.
                Err(_) => {
                    if tried.elapsed() < pause {
                        stop.rest(pause);
                    }
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
            }
        }
    }

    /// A source of its own for one life of a shard.
    pub fn source(&self) -> Result<Box<dyn Source>, RunFault> {
        let edge = &self.edges.sovereign;
        edge.source(&self.names.group, self.topics()).map_err(self.source_fault())
    }

    /// For `map_err`: trouble at a cluster passes, trouble with a file does not.
    pub fn source_fault(&self) -> impl Fn(EdgeFault) -> RunFault + '_ {
        |fault| match fault.changed() {
            Some((topic, what)) => {
                RunFault::Identity { side: "source", topic, what: what.to_owned() }
            }
            None if fault.stays() => RunFault::Edge(fault.to_string()),
            None => RunFault::Again(format!("source cluster: {fault}")),
        }
    }

    /// Clients of its own for looks at both sides: they ask whoever `bootstrap` leads to now.
    pub fn admins(&self) -> Result<Admins, RunFault> {
        Ok(Admins {
            sovereign: self.edges.sovereign.admin().map_err(RunFault::client("sovereign"))?,
            global: self.edges.global.admin().map_err(RunFault::client("global"))?,
        })
    }

    /// Clients for the looks of one life, after a first one at the layout's topics with its own: what
    /// the life reads and writes with is as new as those, and the others' may be old.
    pub fn looks(&self, layout: &Layout) -> Result<Admins, RunFault> {
        self.admins()?.check(layout)?;
        Ok(Admins {
            sovereign: self
                .edges
                .sovereign
                .shared_admin()
                .map_err(RunFault::client("sovereign"))?,
            global: self.edges.global.shared_admin().map_err(RunFault::client("global"))?,
        })
    }

    /// The writer of refused records, on the sovereign side, to a topic that takes so large ones.
    pub fn quarantine_writer(&self, bytes_max: usize) -> Result<Box<dyn Quarantine>, RunFault> {
        self.edges.sovereign.quarantine(bytes_max).map_err(RunFault::client("sovereign"))
    }

    /// A gate of its own for one life of a shard.
    pub fn gate(&self) -> Result<Gate, RunFault> {
        let keys = self.keys.gate_keys(&self.pipeline.name, &self.release);
        Gate::new(Arc::clone(&self.release), self.target.clone(), keys, self.software.clone())
            .map_err(|fault| RunFault::Gate(fault.to_string()))
    }

    /// What the gate looks at: the staged columns, and the raw ones to recompute from.
    pub fn at_gate<'a>(&self, staged: &'a Staged, merge: &'a Merge) -> AtGate<'a> {
        AtGate {
            columns: &staged.columns,
            keys: &staged.keys,
            before: staged.before.as_ref(),
            raw: &staged.batch.rows,
            origins: &staged.batch.origins,
            skip: &merge.skip,
            withdrawn: &merge.withdrawn,
        }
    }

    /// Becomes the holder of a log, at the head that the target names.
    pub fn take_over(&self, log: &str, at: Option<&Head>) -> Result<Log, RunFault> {
        let (name, keys) = (&self.pipeline.name, self.keys.log_keys(&self.pipeline.name));
        journals::take_over(&self.place, &self.names, name, log, at, keys)
    }

    /// The pipeline's part of the ledger directory.
    pub fn ledger_home(&self) -> std::path::PathBuf {
        ledger_home(&self.place.ledger_dir, &self.pipeline.name)
    }

    /// Publishes a signed checkpoint of the first `committed` entries.
    pub fn publish(&self, log: &mut Log, name: &str, committed: u64) -> Result<(), RunFault> {
        let origin = checkpoint_origin(&self.pipeline.name, name);
        Ok(log.publish(committed, self.keys.checkpoint(), &origin)?)
    }

    /// Seals a shard's position for its partition of the position topic.
    pub fn seal_position(
        &self,
        gate: &Gate,
        shard: u32,
        position: &Position,
    ) -> Result<Sealed, RunFault> {
        let partition = Layout::position_partition(shard);
        let key = self.names.transactional_id(shard);
        self.positions.seal(gate, "position", partition, &key, shard, position)
    }

    /// What one commit carries.
    pub fn transaction<'a>(
        &'a self,
        approved: Option<&'a douane_gate::Approved>,
        position: &'a Sealed,
    ) -> Result<Transaction<'a>, RunFault> {
        Transaction::new(approved, position, &self.names.position)
            .ok_or_else(|| RunFault::Gate("the position is sealed for another place".into()))
    }

    /// For [`Transaction::only_while`]: a process may be frozen with a transaction open, and wake up when
    /// its release has ended.
    pub fn right_holds(&self) -> Result<(), String> {
        self.still_live().map(drop).map_err(|fault| fault.to_string())
    }

    /// What the commit of a bundle carries, beside the layout that names it.
    pub fn bundle_transaction<'a>(
        &'a self,
        bundle: &'a douane_gate::Bundled,
        layout: &'a Sealed,
    ) -> Result<Transaction<'a>, RunFault> {
        Transaction::of_bundle(bundle, layout, &self.names.position)
            .ok_or_else(|| RunFault::Gate("the layout is sealed for another place".into()))
    }

    /// Seals a refused record, or, where it is too large for the topic, its code.
    pub fn seal_quarantine(
        &self,
        gate: &Gate,
        topic: &QuarantineTopic,
        shard: u32,
        refused: &Refused,
        record: &RawRecord<'_>,
    ) -> Result<Sealed, RunFault> {
        let context = SealContext {
            zone: self.place.sovereign.zone.clone(),
            cluster_id: self.place.sovereign.id.clone(),
            topic_id: topic.id.clone(),
            shard,
        };
        let of = self.topic_name(record.topic);
        let cause = Cause { by: refused.by, code: refused.code };
        gate.seal_quarantine(record, of, cause, topic.bytes_max, &context)
            .map_err(|fault| RunFault::Gate(fault.to_string()))
    }

    /// What is sealed now for the quarantine opens later: for a turn, before it sets records aside. A
    /// life that may not ends, and begins again with the key of today once the files that came with it
    /// hold.
    pub fn may_set_aside(&self) -> Result<(), RunFault> {
        self.keys.may_set_aside().map_err(|fault| match fault {
            KeyFault::EpochEnded => RunFault::Again(format!("keys: {fault}")),
            fault => fault.into(),
        })
    }

    /// The ledger's entries that a head names, and what its holder wrote after it.
    pub fn entries(&self, log: &str, head: &Head) -> Result<Vec<(u64, Entry)>, RunFault> {
        Ok(douane_ledger::log::read(&self.ledger_home(), log, Some(head))?)
    }

    /// As [`Self::entries`], one after the other.
    pub fn each_entry(
        &self,
        log: &str,
        head: &Head,
        mut each: impl FnMut(Entry),
    ) -> Result<(), RunFault> {
        let home = self.ledger_home();
        Ok(douane_ledger::log::read_each(&home, log, Some(head), |_, entry| each(entry))?)
    }

    /// Ids of the token and encryption keys that the plan uses.
    pub fn key_ids(&self) -> Vec<String> {
        self.key_ids.clone()
    }

    /// The key that blinds what leaves of the evidence.
    pub fn blind(&self) -> Key {
        self.keys.root().derive(Purpose::Blind, &self.pipeline.name)
    }

    /// The key of the digests of source records.
    pub fn source_digest(&self) -> Key {
        self.keys.root().derive(Purpose::SourceDigest, &self.pipeline.name)
    }
}

/// The keys that a plan's stages take: purpose and domain, each once.
pub(crate) fn keys_used(plan: &Plan) -> Vec<(Purpose, String)> {
    let columns = plan.keys.iter().chain(&plan.columns);
    let mut used: Vec<_> = columns
        .filter_map(|column| column.protection.as_ref())
        .flat_map(|protection| protection.declared.keys.clone())
        .collect();
    used.sort_by_key(|(purpose, domain)| (purpose.label(), domain.clone()));
    used.dedup();
    used
}

/// Writes down that nothing of an intent crossed.
fn void(log: &mut Log, of: u64, why: &str) -> Result<(), RunFault> {
    log.append(&Entry::Void { of, why: why.to_owned() })?;
    log.sync()?;
    Ok(())
}
