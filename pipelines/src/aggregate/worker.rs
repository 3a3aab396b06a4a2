//! The loop: a life begins by fencing, as a shard's does, and by what the store and the target say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use douane_connectors::control_switch;
use douane_connectors::edge::{Polled, Sink, Source as SourceEdge};
use douane_gate::{Gate, RefusedBy};
use douane_ledger::log::{Entry, Log, RefusedEntry};
use douane_ledger::release::Truncate;
use douane_ledger::{budget, canonical};
use douane_schemas::debezium::{Decoder, Refusal};
use douane_schemas::keys::Purpose;
use douane_schemas::record::RawRecord;
use douane_schemas::tuple::Tuple;
use douane_transforms::dp::design::Design;
use douane_transforms::dp::sampler::Sampler;
use serde_json::json;

use super::drawing::Drawing;
use super::fold::{Change, Folding};
use super::keys::SpaceKeys;
use super::store::{Read, State, Store, UnitKey};
use super::sums::Bounding;
use super::{accounts, store_path, windows};
use crate::aside::Aside;
use crate::config::Aggregate;
use crate::control::{Allowance, Control};
use crate::crossing::{Admins, Crossing};
use crate::evidence::{self, Ledgered};
use crate::fault::RunFault;
use crate::hold::{Reason, Retention, Waiting};
use crate::position::{Closed, Position, ShardHead};
use crate::quota::Quota;
use crate::release;
use crate::report::Report;
use crate::schedule::now_ms;
use crate::stop::Stop;
use crate::turn::{Refused, Source, Turn};

/// The one shard of a pipeline of statistics.
pub(super) const SHARD: u32 = 0;
/// Records folded at once at most.
const TURN_ROWS_MAX: usize = 20_000;
/// Numbers that are kept of the units of a turn, where they are vectors: 64 MiB of them.
const TURN_NUMBERS_MAX: usize = 1 << 23;
/// Bytes of them.
const TURN_BYTES_MAX: usize = 8 << 20;
/// A turn closes this long after its first record.
const TURN: Duration = Duration::from_millis(250);
/// Records between two looks at the clock.
const CLOCK_RECORDS: usize = 64;
/// One poll of the source client.
const POLL_MS: u64 = 20;
/// Between two checkpoints of the ledger.
const PUBLISH: Duration = Duration::from_secs(1);
/// As a shard's: what commits nothing proves its layout so often.
const PROVE: Duration = Duration::from_secs(10);
/// A partition that gives nothing for so long while its pin waits has nothing before it: what stands
/// there is no record (Kafka's transaction markers). Longer than a broker takes to answer.
const NOTHING: Duration = Duration::from_secs(30);
/// Looking whether that is so.
const LOOK: Duration = Duration::from_secs(5);
/// First and longest pause between two lives.
const BACKOFF_MS: (u64, u64) = (50, 1_000);

/// See the module.
pub struct Worker<'a> {
    pub crossing: &'a Crossing,
    pub control: &'a Control<'a>,
    pub stop: &'a Stop<'a>,
    pub report: &'a Report,
}

/// What lives from one fence to the next.
pub(super) struct Life {
    pub admin: Admins,
    source: Box<dyn SourceEdge>,
    aside: Aside,
    pub gate: Gate,
    decoder: Decoder,
    folding: Folding,
    pub bounding: Bounding,
    pub drawing: Drawing,
    pub store: Store,
    pub state: State,
    pub keys: SpaceKeys,
    pub log: Log,
    pub committed_size: u64,
    pub epoch: u64,
    pub sequence: u64,
    /// Id of the last manifest that was committed.
    pub manifest: Option<String>,
    /// The window that the target's position names as the last one.
    pub closed: Option<Closed>,
    pub allowance: Allowance,
    held: BTreeSet<Source>,
    ledgered: BTreeMap<Source, Ledgered>,
    quota: Quota,
    silence: Silence,
    /// The store has no room: nothing is read until a window is due. Then it is read to its end all the
    /// same: where it ends must not depend on how much others brought.
    full: bool,
    published: Instant,
    pub proved: Instant,
}

impl Worker<'_> {
    /// Runs until asked to stop. Returns the fault that a person must look at.
    pub fn run(&self, mut fenced: Option<Box<dyn Sink>>) -> Result<(), RunFault> {
        windows::stay(&self.crossing.place, &self.crossing.pipeline)?;
        let mut backoff_ms = BACKOFF_MS.0;
        loop {
            let born = Instant::now();
            let lived = match self.live(fenced.take()) {
                Err(RunFault::Fenced) => Err(self.control.after_fence()),
                lived => lived,
            };
            match lived {
                Err(fault) if fault.passes() => {
                    self.report.event("again", json!({"shard": SHARD, "why": fault.to_string()}));
                }
                Err(RunFault::Stopped(_)) => return Ok(()),
                other => return other,
            }
            if self.stop.is_set() {
                return Ok(());
            }
            if born.elapsed() > Duration::from_secs(10) {
                backoff_ms = BACKOFF_MS.0;
            }
            self.stop.rest(Duration::from_millis(backoff_ms));
            backoff_ms = (backoff_ms * 2).min(BACKOFF_MS.1);
        }
    }

    /// The stage; this loop runs for no other pipeline.
    pub(super) fn aggregate(&self) -> Result<&Aggregate, RunFault> {
        let stage = self.crossing.pipeline.aggregate.as_ref();
        stage.ok_or_else(|| RunFault::Gate("a pipeline without `aggregate`".to_owned()))
    }

    fn live(&self, fenced: Option<Box<dyn Sink>>) -> Result<(), RunFault> {
        let crossing = self.crossing;
        crossing.keys.lease_holds().map_err(RunFault::lapsed)?;
        let sink = match fenced {
            Some(sink) => sink,
            None => {
                self.control.stands()?;
                crossing.fence(&crossing.names.transactional_id(SHARD), self.stop)?
            }
        };
        // As a shard's life: nobody else can commit, and nobody has begun to start since.
        self.control.prove()?;
        let last = crossing.positions.last_position(SHARD)?;
        let mut life = self.begin(last)?;
        let outcome = self.turns(&mut life, sink);
        let returned = self.control.give_back(&mut life.allowance, SHARD);
        let Life { source, log, store, .. } = life;
        drop((log, store));
        source.close();
        outcome.and(returned)
    }

    /// `last`: the position as it stands in the target, of this epoch or of an earlier one. Which
    /// windows are outside it says either way.
    fn begin(&self, last: Option<Position>) -> Result<Life, RunFault> {
        let (crossing, aggregate) = (self.crossing, self.aggregate()?);
        let layout = self.control.layout();
        let closed = last.as_ref().and_then(|last| last.closed.clone());
        let pins: BTreeMap<Source, i64> = last
            .iter()
            .flat_map(|last| last.places.iter().zip(last.closed.iter().flat_map(|c| &c.pins)))
            .map(|(place, pin)| ((place.topic, place.partition), *pin))
            .collect();
        let position = last.filter(|last| last.epoch == layout.epoch);
        let ShardHead { sequence, ledger, manifest, .. } = layout.head_of(SHARD, position.as_ref());
        let account = budget::read(&accounts(&crossing.place), &aggregate.space)?;
        let first = account.releases().next().is_none();
        let keys = SpaceKeys::open(&crossing.place.keys, &crossing.keys, &aggregate.space, first)?;
        let wraps = crossing
            .keys
            .pipeline_keys(Purpose::Store, &format!("aggregate/{}", crossing.pipeline.name));
        let path = store_path(&crossing.place, &crossing.pipeline);
        let (store, known) = Store::open(&path, &wraps)?;
        let kept_by = kept_by(aggregate, &keys)?;
        if known.as_ref().is_some_and(|known| known.kept_by != kept_by) {
            return Err(RunFault::Window(format!(
                "the store of open windows, {}, is of other statistics, bounds, groups or units, or \
                 of another key of the space than these\n  next: move it away; what is open is read \
                 again from the source",
                path.display()
            )));
        }
        let places = match &position {
            Some(position) => position.places.clone(),
            None => layout.places_of(SHARD),
        };
        let fresh = known.is_none();
        let mut state = known.unwrap_or_else(|| {
            let closing = closed.as_ref().map_or(0, |closed| closed.window + 1);
            let reads = places.iter().map(|place| Read {
                from: *pins.get(&(place.topic, place.partition)).unwrap_or(&place.next),
                ..Read::new(place.topic, place.partition, place.next)
            });
            State::new(kept_by, closing, reads.collect())
        });
        agree(&mut state, closed.as_ref())?;
        if fresh {
            self.pin_as_charged(&account, &mut state)?;
        }
        for place in &layout.places_of(SHARD) {
            if state.read(place.topic, place.partition).is_none() {
                // A partition that was added: nothing of it is in a window that is pinned.
                let pin = state.is_pinned().then_some(place.next);
                state
                    .reads
                    .push(Read { pin, ..Read::new(place.topic, place.partition, place.next) });
            }
        }
        // Crash here: the store is as it was, and the next life does the same.
        store.drop_closed(&mut state, &[])?;
        if fresh && closed.is_some() {
            let fields = json!({"why": "the store of open windows is not there; reading again"});
            self.report.event("store_rebuilt", fields);
        }
        let mut source = crossing.source()?;
        let assigned: Vec<(u32, i32, i64)> =
            state.reads.iter().map(|read| (read.topic, read.partition, read.next)).collect();
        source.assign(&assigned).map_err(crossing.source_fault())?;
        for (topic, partition, next) in &assigned {
            let (low, high) =
                source.watermarks(*topic, *partition).map_err(crossing.source_fault())?;
            if *next < low || *next > high {
                let topic = crossing.topic_name(*topic);
                return Err(RunFault::Window(format!(
                    "{topic}[{partition}]: what its open windows are made of, from offset {next} \
                     on, is not in the source, which holds [{low}, {high})\n  next: put the store \
                     of open windows back from its backup; without it these windows cannot be \
                     published"
                )));
            }
        }
        let admin = crossing.looks(layout)?;
        // Behind the questions to both sides: a life that only finds one away leaves no journal.
        let log = crossing.take_over(&crossing.names.log(SHARD), ledger.as_ref())?;
        let committed_size = log.head().size;
        let ledgered =
            evidence::ledgered(crossing, &crossing.names.log(SHARD), &log.head(), &places)?;
        let life = Life {
            admin,
            source,
            aside: Aside::open(crossing)?,
            gate: crossing.gate()?,
            decoder: crossing.plan.decoder(&crossing.pipeline),
            folding: Folding::new(aggregate, keys.unit.clone(), keys.units()),
            bounding: Bounding::new(aggregate, &keys)?,
            drawing: Drawing::open(crossing.place.device)?,
            store,
            state,
            keys,
            log,
            committed_size,
            epoch: layout.epoch,
            sequence,
            manifest,
            closed,
            allowance: Allowance::default(),
            held: BTreeSet::new(),
            ledgered,
            quota: Quota::new(crossing.pipeline.quarantine_max_per_minute),
            silence: Silence::default(),
            full: false,
            published: Instant::now(),
            proved: Instant::now(),
        };
        self.report.event(
            "assigned",
            json!({
                "shard": SHARD,
                "epoch": life.epoch,
                "partitions": life.state.reads.len(),
                "sequence": life.sequence,
            }),
        );
        self.report.event("device", json!({"on": life.drawing.words()}));
        Ok(life)
    }

    fn turns(&self, life: &mut Life, mut sink: Box<dyn Sink>) -> Result<(), RunFault> {
        let aggregate = self.aggregate()?;
        // What the last life sent and did not write down.
        self.settle(life)?;
        let mut turn = Turn::default();
        loop {
            if self.stop.is_set() {
                self.commit(life)?;
                life.log.sync()?;
                return self.publish(life);
            }
            let due = now_ms() as i64 >= aggregate.closes_ms(life.state.closing);
            if due && !life.state.is_pinned() {
                self.pin(life)?;
            }
            if life.state.is_whole() {
                self.commit(life)?;
                sink = self.close(life, sink)?;
                life.full = false;
            } else if life.full && !life.state.is_pinned() {
                self.stop.rest(Duration::from_millis(POLL_MS * 10));
            } else {
                self.gather(life, &mut turn)?;
                if !turn.is_empty() {
                    self.fold(life, &mut turn)?;
                    turn.clear();
                }
                if life.store.is_due() {
                    self.commit(life)?;
                }
                self.silent(life)?;
            }
            self.crossing.still_live()?;
            sink.idle();
            if life.published.elapsed() >= PUBLISH {
                self.publish(life)?;
            }
        }
    }

    /// Fixes where the window that is due ends: at what the source holds at this moment. The
    /// instant is public, and no row decides which other rows are late.
    fn pin(&self, life: &mut Life) -> Result<(), RunFault> {
        for read in &mut life.state.reads {
            let (_, high) = life
                .source
                .watermarks(read.topic, read.partition)
                .map_err(self.crossing.source_fault())?;
            read.pin = Some(high.max(read.next));
        }
        life.silence = Silence::default();
        life.store.commit(&mut life.state)?;
        // Crash here: the window ends where it ends.
        control_switch::die_at("pinned");
        let window = life.state.closing;
        self.report.event("closing", json!({"window": window}));
        Ok(())
    }

    /// Polls and decodes until the turn is full.
    fn gather(&self, life: &mut Life, turn: &mut Turn) -> Result<(), RunFault> {
        let mut first: Option<Instant> = None;
        let mut waited = false;
        let rows_max = rows_max(&self.aggregate()?.design);
        while turn.len() < rows_max && turn.bytes() < TURN_BYTES_MAX {
            if waited || turn.len().is_multiple_of(CLOCK_RECORDS) {
                let over = first.is_some_and(|first: Instant| first.elapsed() >= TURN);
                if over || self.stop.is_set() {
                    return Ok(());
                }
                waited = false;
            }
            match life.source.poll(Duration::from_millis(POLL_MS)) {
                Polled::End => return Ok(()),
                Polled::Idle if first.is_none() => return Ok(()),
                Polled::Idle => waited = true,
                Polled::Trouble(why) => {
                    life.silence = Silence::default();
                    self.report.event("source_trouble", json!({"shard": SHARD, "why": why}));
                    waited = true;
                }
                Polled::Broken(why) => {
                    return Err(RunFault::Again(format!("source cluster: {why}")));
                }
                Polled::Fault(fault) => return Err(self.crossing.source_fault()(fault)),
                Polled::Lost(lost) => {
                    let why = format!("the source holds [{}, {}) only", lost.low, lost.high);
                    return Err(RunFault::Window(why));
                }
                Polled::Record(fetched) => {
                    let headers = fetched.headers();
                    let record = fetched.raw(&headers);
                    let source = (record.topic, record.partition);
                    life.silence.heard(source);
                    let Some(read) = life.state.read_mut(source.0, source.1) else { continue };
                    if record.offset < read.next || life.held.contains(&source) {
                        continue;
                    }
                    let took = self.take(
                        &mut life.decoder,
                        &mut life.quota,
                        &life.keys,
                        turn,
                        read,
                        &record,
                    );
                    match took {
                        Took::Row => {
                            first.get_or_insert_with(Instant::now);
                        }
                        Took::Hold(reason, made_at_ms) => {
                            let offset = record.offset;
                            self.hold(life, source, offset, &reason, made_at_ms)?;
                        }
                        Took::Again(why) => {
                            let offset = record.offset;
                            life.source
                                .resume_at(source.0, source.1, offset)
                                .map_err(self.crossing.source_fault())?;
                            return match why {
                                Some(why) if turn.is_empty() => Err(RunFault::Again(why)),
                                _ => Ok(()),
                            };
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A pin that no record reaches moves back to where the records end, so that what may still come is
    /// late and not lost. How busy other partitions are does not matter: a row would put off what is
    /// published on a public day.
    fn silent(&self, life: &mut Life) -> Result<(), RunFault> {
        let waits = |read: &&Read| {
            let source = (read.topic, read.partition);
            read.pin.is_some_and(|pin| read.next < pin) && !life.held.contains(&source)
        };
        let waiting = life.state.reads.iter().filter(waits);
        let waiting: BTreeSet<Source> = waiting.map(|read| (read.topic, read.partition)).collect();
        let now = Instant::now();
        for (topic, partition) in life.silence.over(&waiting, now) {
            life.silence.heard((topic, partition));
            let name = self.crossing.topic_name(topic);
            let Some(read) = life.state.read_mut(topic, partition) else { continue };
            let mut next = None;
            let mut look = |record: &RawRecord<'_>| {
                next = Some(record.offset);
                ControlFlow::Break(())
            };
            // The cluster answers up to the end of what is committed, or this is tried again.
            if let Err(why) =
                self.crossing.edges.sovereign.scan(name, partition, read.next, LOOK, &mut look)
            {
                let why = why.to_string();
                self.report.event("source_trouble", json!({"shard": SHARD, "why": why}));
                continue;
            }
            if next.is_some_and(|next| read.pin.is_some_and(|pin| next < pin)) {
                continue;
            }
            read.pin = Some(read.next);
            let fields = json!({"topic": name, "partition": partition, "offset": read.next});
            self.report.event("pin_moved", fields);
            life.store.commit(&mut life.state)?;
        }
        Ok(())
    }

    fn take(
        &self,
        decoder: &mut Decoder,
        quota: &mut Quota,
        keys: &SpaceKeys,
        turn: &mut Turn,
        read: &mut Read,
        record: &RawRecord<'_>,
    ) -> Took {
        let (source, offset) = ((record.topic, record.partition), record.offset);
        let mut schemas = self.crossing.schemas();
        match decoder.push(record, schemas.as_mut()) {
            Ok(()) => {}
            Err(Refusal::Quarantine(code)) if !quota.take(Instant::now()) => {
                let reason = format!("quarantine limit reached: {}", code.code());
                let reason = Reason::new("quarantine_limit", reason);
                return Took::Hold(reason, Some(record.timestamp_ms));
            }
            Err(Refusal::Quarantine(code)) => {
                let (by, code) = (RefusedBy::Decoder, code.code());
                turn.refuse(Refused { source, offset, by, code });
            }
            Err(Refusal::Hold(douane_schemas::debezium::Hold::Truncate))
                if self.crossing.pipeline.changes.truncate == Truncate::Drop =>
            {
                turn.pass_over(source, offset);
            }
            Err(Refusal::Hold(hold)) => {
                return Took::Hold(Reason::from(&hold), Some(record.timestamp_ms));
            }
            Err(Refusal::Away(why)) => return Took::Again(Some(why.to_string())),
            Err(Refusal::Full) => return Took::Again(None),
        }
        if offset >= read.from {
            let beyond = read.pin.is_some_and(|pin| offset >= pin);
            let chain = if beyond { &mut read.beyond } else { &mut read.chain };
            let parts = (record.key, record.value);
            *chain = budget::chain(keys.commit().secret(), chain, offset, parts);
        }
        turn.take(record, read.next);
        read.next = offset + 1;
        Took::Row
    }

    /// A partition waits for people; so does every window that it has a part in.
    fn hold(
        &self,
        life: &mut Life,
        source: Source,
        offset: i64,
        reason: &Reason,
        made_at_ms: Option<i64>,
    ) -> Result<(), RunFault> {
        if life.held.contains(&source) {
            return Ok(());
        }
        life.source.pause(source.0, source.1).map_err(self.crossing.source_fault())?;
        let topic = self.crossing.topic_name(source.0);
        if !life.ledgered.get(&source).is_some_and(|known| known.says(offset, reason)) {
            life.log.append(&reason.entry(topic, source.1, offset))?;
            life.log.sync()?;
            life.ledgered.insert(source, Ledgered::new(offset, reason));
        }
        let config = life.admin.sovereign.topic_config(topic);
        let retention = config.map_or(Retention::Unknown, |config| {
            Retention::of(config.retention_ms, made_at_ms, now_ms() as i64)
        });
        let pipeline = &self.crossing.pipeline;
        let partition = source.1;
        let waiting =
            Waiting { pipeline, topic, partition, offset, reason, retention, approval: None };
        self.report.held(SHARD, &waiting);
        life.held.insert(source);
        Ok(())
    }

    /// Folds a turn into what the store has: what counts, and what was set aside.
    fn fold(&self, life: &mut Life, turn: &mut Turn) -> Result<(), RunFault> {
        let batch = life.decoder.finish();
        let (changes, aside) = life.folding.fold(&batch, &life.state);
        for (row, code) in aside {
            let origin = &batch.origins[row];
            let source = (origin.topic, origin.partition);
            turn.refuse(Refused { source, offset: origin.offset, by: RefusedBy::Stage, code });
        }
        let mut by_unit: BTreeMap<UnitKey, Vec<Change>> = BTreeMap::new();
        for change in changes {
            let origin = &batch.origins[change.record];
            if let Some(read) = life.state.read_mut(origin.topic, origin.partition) {
                let first = read.first.entry(change.key.window).or_insert(origin.offset);
                *first = origin.offset.min(*first);
            }
            by_unit.entry(change.key).or_default().push(change);
        }
        let known = life.store.units(by_unit.keys().copied())?;
        let mut units = BTreeMap::new();
        // In the order of windows: a window's draws are set up once.
        let mut sampler: Option<(i64, Sampler)> = None;
        for (unit, changes) in by_unit {
            let before = known.get(&unit).map(Vec::as_slice);
            let mut of = match sampler.take() {
                Some((window, of)) if window == unit.window => of,
                _ => life.bounding.sampler(unit.window),
            };
            units.insert(unit, life.bounding.apply(&mut of, before, &changes)?);
            sampler = Some((unit.window, of));
        }
        let refused = self.set_aside(life, turn)?;
        life.store.take(units, refused);
        Ok(())
    }

    /// What was folded, with where reading stands, into the file.
    fn commit(&self, life: &mut Life) -> Result<(), RunFault> {
        if !life.store.waits() {
            return Ok(());
        }
        // Crash here: copies in the quarantine that the next life writes again under the same keys.
        control_switch::die_at("before-store");
        life.store.commit(&mut life.state)?;
        control_switch::die_at("after-store");
        let limit = self.crossing.place.state.bytes_max;
        if gets_full(&mut life.full, life.state.bytes, limit) {
            self.report.event("store_full", json!({"bytes_max": limit}));
        }
        Ok(())
    }

    fn set_aside(&self, life: &mut Life, turn: &Turn) -> Result<Vec<RefusedEntry>, RunFault> {
        let crossing = self.crossing;
        life.aside.take(crossing, (&*life.admin.sovereign, &life.gate), SHARD, turn)?;
        let entry = |refused: &Refused| RefusedEntry {
            topic: crossing.topic_name(refused.source.0).to_owned(),
            partition: refused.source.1,
            offset: refused.offset,
            code: refused.code.to_owned(),
        };
        Ok(turn.refused().iter().map(entry).collect())
    }

    fn publish(&self, life: &mut Life) -> Result<(), RunFault> {
        life.published = Instant::now();
        let name = self.crossing.names.log(SHARD);
        if let Err(fault) = self.crossing.publish(&mut life.log, &name, life.committed_size) {
            let why = fault.to_string();
            self.report.event("checkpoint", json!({"shard": SHARD, "why": why}));
        }
        life.log.idle();
        self.control.idle();
        if life.proved.elapsed() >= PROVE {
            self.control.prove()?;
            life.proved = Instant::now();
        }
        self.report.progress(false);
        life.admin.check(self.control.layout())
    }

    /// Writes down that held partitions go on, which the ledger holds.
    pub(super) fn resumed(&self, life: &mut Life) -> Result<(), RunFault> {
        let passed: Vec<(Source, i64)> = life
            .ledgered
            .iter()
            .map(|(source, known)| (*source, known.offset))
            .filter(|((topic, partition), offset)| {
                life.state.read(*topic, *partition).is_some_and(|read| read.next > *offset)
            })
            .collect();
        for (source, offset) in passed {
            life.ledgered.remove(&source);
            life.log.append(&Entry::Resumed {
                topic: self.crossing.topic_name(source.0).to_owned(),
                partition: source.1,
                offset,
                release: self.crossing.release_digest.clone(),
            })?;
        }
        Ok(())
    }

    /// The partitions that wait, for the position.
    pub(super) fn held_at(life: &Life, source: Source) -> Option<i64> {
        life.ledgered.get(&source).map(|known| known.offset)
    }
}

/// Says so once. How much is in the store is a statistic without noise.
fn gets_full(full: &mut bool, bytes: u64, limit: u64) -> bool {
    let gets = bytes > limit && !*full;
    *full |= gets;
    gets
}

/// Since when partitions that are waited for have given nothing, each by itself.
#[derive(Default)]
struct Silence(BTreeMap<Source, Instant>);

impl Silence {
    /// It gave something, or was looked at.
    fn heard(&mut self, source: Source) {
        self.0.remove(&source);
    }

    /// Those of `waiting` that have given nothing for [`NOTHING`]. What is not waited for has no time.
    fn over(&mut self, waiting: &BTreeSet<Source>, now: Instant) -> Vec<Source> {
        self.0.retain(|source, _| waiting.contains(source));
        let over = waiting.iter().filter(|source| {
            now.saturating_duration_since(*self.0.entry(**source).or_insert(now)) >= NOTHING
        });
        over.copied().collect()
    }
}

/// Records folded at once: of vectors so few that what is kept of all their units fits.
fn rows_max(design: &Design) -> usize {
    let limits = design.limits();
    let kept = (limits.groups as usize) * (limits.rows as usize) * limits.values;
    match design.clip() {
        Some(_) => (TURN_NUMBERS_MAX / kept.max(1)).clamp(1, TURN_ROWS_MAX),
        None => TURN_ROWS_MAX,
    }
}

/// What the rows in a store were kept by. A store of other bounds would give sums that the noise is
/// too small for.
fn kept_by(aggregate: &Aggregate, keys: &SpaceKeys) -> Result<[u8; 32], RunFault> {
    let kept = canonical::to_vec(&release::kept(aggregate))
        .map_err(|_| RunFault::Gate("statistics without a JSON form".to_owned()))?;
    let tuple = Tuple::new().text("kept-by").bytes(&kept).bytes(&keys.units().id().0);
    Ok(canonical::sha256(&tuple.finish()))
}

/// The store goes on from where the target stands: at most one window further than it knew.
fn agree(state: &mut State, closed: Option<&Closed>) -> Result<(), RunFault> {
    let outside = closed.map_or(-1, |closed| closed.window);
    if state.closing == outside && state.is_pinned() {
        // It was sent, and the process died before its rows left the store.
        state.close();
    }
    match state.closing == outside + 1 {
        true => Ok(()),
        false => Err(RunFault::Window(format!(
            "the store of open windows waits for window {}, the target for window {}: one of them is \
             an older copy\n  next: put the newest back; a store that is moved away is read again \
             from the source",
            state.closing,
            outside + 1
        ))),
    }
}

/// What became of a polled record.
enum Took {
    /// It is in the turn, as a row or as a refusal.
    Row,
    /// Its partition waits at it.
    Hold(Reason, Option<i64>),
    /// It comes again: buffers are full, or what it takes to read it is away.
    Again(Option<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_partition_is_told_however_busy_others_are() {
        let (quiet, busy, done) = ((0, 0), (0, 1), (0, 2));
        let born = Instant::now();
        let waiting = BTreeSet::from([quiet, busy]);
        let mut silence = Silence::default();
        let step = NOTHING / 10;
        for tenth in 0..10 {
            assert!(silence.over(&waiting, born + step * tenth).is_empty(), "{tenth}");
            silence.heard(busy);
            silence.heard(done);
        }
        assert_eq!(silence.over(&waiting, born + NOTHING), [quiet]);
        // Its own record begins anew, and so does waiting for it again.
        silence.heard(quiet);
        assert!(silence.over(&waiting, born + NOTHING).is_empty());
        assert!(silence.over(&BTreeSet::new(), born + NOTHING * 2).is_empty());
        assert!(silence.over(&waiting, born + NOTHING * 3).is_empty());
    }

    #[test]
    fn a_full_store_is_told_once() {
        let mut full = false;
        let told = [9, 11, 12, 13].map(|bytes| gets_full(&mut full, bytes, 10));
        assert_eq!(told, [false, true, false, false]);
        assert!(full);
    }
}
