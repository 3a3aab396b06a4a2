//! The run loop of one shard: the only loop, in time order, of everything with an effect.
//!
//! A life begins by fencing (target, then ledger), reads where the target stands, and takes turns
//! until it is asked to stop or something gives way. The next life begins the same way: recovery
//! is the normal path.

mod redrive;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use douane_connectors::control_switch;
use douane_connectors::edge::{CommitOutcome, Polled, Sink, Source as SourceEdge};
use douane_gate::{Cause, Gate, GateFault, RefusedBy};
use douane_ledger::log::{Entry, Intent, LedgerFault, Log};
use douane_ledger::release::Truncate;
use douane_schemas::batch::{Origin, RowKind};
use douane_schemas::debezium::{Decoder, Hold, Refusal, Stripped};
use douane_schemas::record::RawRecord;
use serde_json::json;

use crate::aside::Aside;
use crate::carried::Carried;
use crate::control::Control;
use crate::crossing::{Admins, Crossing};
use crate::enrich::Statistics;
use crate::evidence::{self, Ledgered};
use crate::fault::RunFault;
use crate::hold::{Reason, Retention, Waiting};
use crate::merge::{Filter, Merge, Withdrawal};
use crate::meters::{Crossed, Protected};
use crate::min_group::{Counter, Lies};
use crate::plan::{RefusedRow, Staged, Stages};
use crate::position::{self, Place, Position, ShardHead};
use crate::quarantine::Request;
use crate::quota::Quota;
use crate::report::Report;
use crate::schedule::{self, Schedule};
use crate::stop::Stop;
use crate::turn::{Refused, Source, Turn};

/// Bytes of source records in one transaction at most.
const TURN_BYTES_MAX: usize = 4 << 20;
/// Source partitions in one transaction at most: an intent names each, and an entry of the
/// ledger has at most 65,535 bytes.
const TURN_PARTITIONS_MAX: usize = 64;
/// A turn closes this long after its first record.
const TURN: Duration = Duration::from_millis(100);
/// Records between two looks at the clock; a wait is followed by one too.
const CLOCK_RECORDS: usize = 64;
/// One poll of the source client, and one where nothing has come for some time: a record ends it at
/// once, and everything else that is looked at between two of them can wait so long.
const POLL_MS: u64 = 20;
const QUIET_POLL_MS: u64 = 500;
/// Polls without a record after which it is quiet.
const QUIET: u32 = 50;
/// Between two checkpoints of the ledger.
const PUBLISH_MS: u64 = 1_000;
/// Between two looks at the topics where nothing has come for some time. What comes is looked at before
/// it crosses; this is how soon an idle pipeline tells that it would not.
const LOOK_QUIET: Duration = Duration::from_secs(3);
/// A process that commits nothing proves its layout so often: another one that took over meanwhile is
/// told at once by its next commit, and otherwise by this.
const PROVE: Duration = Duration::from_secs(10);
/// Offsets that hold no record are committed this often where nothing else is: retention may take
/// them, and a position before them would look like a loss.
const PASS: Duration = Duration::from_secs(10);
/// A hold that may be over by itself is tried again after so long.
const HELD_AGAIN: Duration = Duration::from_secs(15);
/// First and longest pause between two lives, or two tries at one record.
const BACKOFF_MS: (u64, u64) = (50, 1_000);

/// One shard of a pipeline, on its own thread.
pub struct Shard<'a> {
    pub number: u32,
    pub crossing: &'a Crossing,
    pub control: &'a Control<'a>,
    pub stop: &'a Stop<'a>,
    pub report: &'a Report,
}

/// What lives from one fence to the next.
struct Life {
    admin: Admins,
    source: Box<dyn SourceEdge>,
    aside: Aside,
    gate: Gate,
    stages: Stages,
    /// What the stages make, for those who count it.
    protected: Vec<Protected>,
    decoder: Decoder,
    log: Log,
    /// Entries up to here are in committed transactions.
    committed_size: u64,
    epoch: u64,
    sequence: u64,
    /// Id of the last manifest that was committed.
    manifest: Option<String>,
    places: BTreeMap<Source, Place>,
    held: BTreeSet<Source>,
    /// Of these, the ones that are tried again, and when; those that were, whose hold was said already.
    due: BTreeMap<Source, Instant>,
    tried: BTreeSet<Source>,
    /// The source has an end, and nothing more comes of what is not held.
    ended: bool,
    /// A hold is in no head yet that a transaction names.
    newly_held: bool,
    /// Held partitions that the ledger already names, and as what.
    ledgered: BTreeMap<Source, Ledgered>,
    carried: Carried,
    quota: Quota,
    /// Codes and columns of rows that were set aside, which are said once each.
    told: BTreeSet<(&'static str, Option<String>)>,
    schedule: Schedule,
    /// Counts the window that crosses, where groups are counted.
    counter: Option<Counter>,
    /// What rows are enriched with.
    statistics: Arc<Statistics>,
    /// Partitions whose next record is beyond that window.
    beyond: BTreeSet<Source>,
    /// The turn takes nothing more before it crosses.
    full: bool,
    /// Polls since the last record.
    quiet: u32,
    /// How long it rests before it tries again a record that something away is needed for.
    away_ms: u64,
    published: Instant,
    /// When it was last asked whether the topics are those of the layout.
    looked: Instant,
    /// When a commit last showed that nobody else holds the pipeline.
    proved: Instant,
    /// When it was last asked for offsets that hold no record.
    passed: Instant,
    /// The request for redriving that this life has seen to.
    redriven: Option<Request>,
}

impl Life {
    fn is_quiet(&self) -> bool {
        self.quiet >= QUIET
    }
}

impl Shard<'_> {
    /// Runs until asked to stop. Returns the fault that a person must look at.
    /// `fenced` is this shard's producer where the start has fenced it already.
    pub fn run(&self, fenced: Option<Box<dyn Sink>>) -> Result<(), RunFault> {
        let mut carried = Carried::default();
        let outcome = self.lives(&mut carried, fenced);
        let returned = self.control.give_back(&mut carried.allowance, self.number);
        outcome.and(returned)
    }

    /// One life after the other.
    fn lives(
        &self,
        carried: &mut Carried,
        mut fenced: Option<Box<dyn Sink>>,
    ) -> Result<(), RunFault> {
        let mut backoff_ms = BACKOFF_MS.0;
        loop {
            let born = Instant::now();
            let lived = match self.live(carried, fenced.take()) {
                // Of a log whose home is a topic as well: what was open there for long was ended there.
                Err(RunFault::Fenced) => Err(self.control.after_fence()),
                lived => lived,
            };
            match lived {
                Err(fault) if carried.gives_way(&fault) => {
                    let (why, rows_max) = (fault.to_string(), carried.rows_max);
                    let fields = json!({"shard": self.number, "why": why, "rows_max": rows_max});
                    self.report.event("smaller_turns", fields);
                }
                Err(fault) if fault.passes() => {
                    let why = fault.to_string();
                    self.report.event("again", json!({"shard": self.number, "why": why}));
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

    /// One life: fence, read, take over, assign, take turns.
    fn live(&self, carried: &mut Carried, fenced: Option<Box<dyn Sink>>) -> Result<(), RunFault> {
        let crossing = self.crossing;
        // Also where the target is away and no transaction asks.
        crossing.still_live()?;
        // The control of the kill loop: what happens when the position is read first.
        let early =
            control_switch::position_before_fence().then(|| self.read_position()).transpose()?;
        let sink = match fenced {
            Some(sink) => sink,
            None => {
                self.control.stands()?;
                crossing.fence(&crossing.names.transactional_id(self.number), self.stop)?
            }
        };
        // Whoever held this shard can no longer commit. Proving the layout afterwards shows that
        // nobody has begun to re-deal the partitions in between.
        self.control.prove()?;
        let position = match early {
            Some(position) => position,
            None => self.read_position()?,
        };
        let mut life = self.begin(position, *carried)?;
        let outcome = self.turns(&mut life, sink);
        *carried = life.carried;
        let Life { source, log, .. } = life;
        drop(log);
        source.close();
        outcome
    }

    fn read_position(&self) -> Result<Option<Position>, RunFault> {
        self.crossing.positions.position(self.number, self.control.layout().epoch)
    }

    /// Everything between the fence and the first turn, from where the target stands.
    fn begin(&self, position: Option<Position>, carried: Carried) -> Result<Life, RunFault> {
        let crossing = self.crossing;
        let layout = self.control.layout();
        let ShardHead { sequence, ledger, manifest, .. } =
            layout.head_of(self.number, position.as_ref());
        let (places, window) = match position {
            Some(position) => (position.places, position.window),
            None => (layout.places_of(self.number), None),
        };
        // Who takes a log over leaves a journal in it for good: what may be away is asked before.
        let mut source = crossing.source()?;
        let lost = self.lost(&*source, &places)?;
        let admin = crossing.looks(layout)?;
        let counter = Counter::open(crossing, &places, window.as_deref())?;
        let name = crossing.names.log(self.number);
        let log = crossing.take_over(&name, ledger.as_ref())?;
        // Every intent of an earlier life has its outcome by now.
        let committed_size = log.head().size;
        let ledgered = evidence::ledgered(crossing, &name, &log.head(), &places)?;
        // What is lost is not fetched: a client tells it as a reset that no position explains. What its source
        // marks, that says itself how it changed.
        let is_read = |p: &&Place| p.mark.is_some() || !lost.contains_key(&(p.topic, p.partition));
        let assigned: Vec<(u32, i32, i64)> =
            places.iter().filter(is_read).map(|p| (p.topic, p.partition, p.next)).collect();
        source.assign(&assigned).map_err(crossing.source_fault())?;
        for place in &places {
            if let Some(mark) = &place.mark {
                let known = source.expect(place.topic, place.partition, mark);
                known.map_err(crossing.source_fault())?;
            }
        }
        let mut life = Life {
            admin,
            source,
            aside: Aside::open(crossing)?,
            gate: crossing.gate()?,
            stages: crossing.plan.compile(&crossing.pipeline, &crossing.keyring)?,
            protected: Protected::of(&crossing.plan),
            decoder: crossing.plan.decoder(&crossing.pipeline),
            log,
            committed_size,
            epoch: layout.epoch,
            sequence,
            manifest,
            places: places.into_iter().map(|p| ((p.topic, p.partition), p)).collect(),
            held: BTreeSet::new(),
            newly_held: false,
            due: BTreeMap::new(),
            tried: BTreeSet::new(),
            ended: false,
            ledgered,
            told: BTreeSet::new(),
            carried,
            quota: Quota::new(crossing.pipeline.quarantine_max_per_minute),
            schedule: Schedule::new(crossing.pipeline.publish_ms, schedule::now_ms()),
            counter,
            statistics: Arc::default(),
            beyond: BTreeSet::new(),
            full: false,
            quiet: 0,
            away_ms: BACKOFF_MS.0,
            published: Instant::now(),
            looked: Instant::now(),
            proved: Instant::now(),
            passed: Instant::now(),
            redriven: None,
        };
        for (source, reason) in lost {
            let next = life.places[&source].next;
            life.newly_held |= self.hold_paused(&mut life, source, next, &reason, None)?;
        }
        self.learn(&mut life)?;
        // A window that was fixed crosses whole before another one is.
        if let Some(ends) = life.counter.as_ref().and_then(Counter::ends) {
            life.schedule.open(ends);
        }
        self.report.event(
            "assigned",
            json!({
                "shard": self.number,
                "epoch": life.epoch,
                "partitions": life.places.len(),
                "sequence": life.sequence,
            }),
        );
        Ok(life)
    }

    /// A position outside the source's log is a loss. It is found here and not left to the
    /// client, which says it once and is silent ever after.
    fn lost(
        &self,
        source: &dyn SourceEdge,
        places: &[Place],
    ) -> Result<BTreeMap<Source, Reason>, RunFault> {
        let mut lost = BTreeMap::new();
        for Place { topic, partition, next, .. } in places {
            let marks = source.watermarks(*topic, *partition);
            let (low, high) = marks.map_err(self.crossing.source_fault())?;
            if *next < low || *next > high {
                lost.insert((*topic, *partition), lost_reason(low, high));
            }
        }
        Ok(lost)
    }

    /// Turns until asked to stop; what is open then was committed by the turn before.
    fn turns(&self, life: &mut Life, mut sink: Box<dyn Sink>) -> Result<(), RunFault> {
        let mut turn = Turn::default();
        loop {
            if self.stop.is_set() {
                life.log.sync()?;
                return self.publish(life);
            }
            if life.schedule.ticks(schedule::now_ms()) {
                self.tick(life)?;
            }
            // Nothing is read before it is known what it is counted with, and no position names it.
            let counted = life.counter.is_none() || self.count(life)?;
            life.full |= !counted;
            if !life.full {
                life.newly_held |= self.gather(life, &mut turn)?;
            }
            let open = life.schedule.is_open();
            let brings = !turn.is_empty() || life.newly_held;
            let passes = open && counted && (brings || life.passed.elapsed() >= PASS);
            let passed = passes && Self::pass(life, &mut turn);
            let crosses = open && counted && (brings || passed);
            if crosses {
                sink = self.cross(life, &mut turn, sink)?;
                turn.clear();
                life.newly_held = false;
            } else if life.ended && turn.is_empty() && !life.newly_held {
                self.redrive(life, sink)?;
                return self.end(life);
            } else {
                self.crossing.still_live()?;
                sink.idle();
            }
            if open {
                life.full = false;
            } else if life.full {
                // Not a byte more in memory until the tick; Kafka is the buffer.
                self.stop.rest(life.schedule.wait(schedule::now_ms()));
            }
            if life.published.elapsed() >= Duration::from_millis(PUBLISH_MS) {
                self.publish(life)?;
                self.try_held(life)?;
                if open && turn.is_empty() {
                    sink = self.redrive(life, sink)?;
                }
            }
            if open {
                life.schedule.settle(&life.places, &life.held, crosses);
            }
        }
    }

    /// Takes in what the source has passed behind its last records: no record is there, and none
    /// that was given is left out of the turn. Says whether there is any.
    fn pass(life: &mut Life, turn: &mut Turn) -> bool {
        life.passed = Instant::now();
        let window = life.counter.as_ref().map(Counter::ends);
        let mut any = false;
        for (topic, partition, reached) in life.source.reached() {
            let source = (topic, partition);
            let end = match &window {
                None => reached,
                // What lies behind a window that is counted is the next one's.
                Some(ends) => {
                    let ends = ends.as_ref().and_then(|ends| ends.get(&source));
                    ends.map_or(i64::MIN, |end| reached.min(*end))
                }
            };
            let Some(place) = life.places.get(&source) else { continue };
            let has_room = turn.holds(source) || turn.partitions() < TURN_PARTITIONS_MAX;
            if end > place.next && has_room && !life.held.contains(&source) {
                turn.pass(source, place.next, end);
                any = true;
            }
        }
        any
    }

    /// What the source holds at this moment is due. A window that is counted crosses whole first.
    fn tick(&self, life: &mut Life) -> Result<(), RunFault> {
        if life.counter.is_some() && life.schedule.is_open() {
            return Ok(());
        }
        let mut ends = self.ends(life)?;
        if let Some(counter) = &mut life.counter {
            ends.retain(|source, _| !life.held.contains(source));
            counter.pin(life.places.values(), &ends)?;
            for source in std::mem::take(&mut life.beyond) {
                let next = life.places[&source].next;
                self.read_again(life, source, next)?;
            }
            life.full = false;
        }
        life.schedule.open(ends);
        Ok(())
    }

    /// Counts the window that is due. Says whether anything of it may be read.
    fn count(&self, life: &mut Life) -> Result<bool, RunFault> {
        match &mut life.counter {
            Some(counter) if life.schedule.is_open() => {
                counter.count(self.crossing, &life.stages, self.stop)
            }
            _ => Ok(false),
        }
    }

    /// Takes what is published of the statistics that rows get.
    fn learn(&self, life: &mut Life) -> Result<(), RunFault> {
        if let Some(published) = &self.crossing.published {
            life.statistics = published.known(&self.crossing.place)?;
            life.stages.know(Arc::clone(&life.statistics));
        }
        Ok(())
    }

    /// Everything of a source that has an end is through, or held.
    fn end(&self, life: &mut Life) -> Result<(), RunFault> {
        life.log.sync()?;
        self.publish(life)?;
        match life.held.len() {
            0 => Ok(()),
            partitions => Err(RunFault::Held { partitions }),
        }
    }

    /// Where the source's partitions end at this moment: what a tick brings.
    fn ends(&self, life: &Life) -> Result<BTreeMap<Source, i64>, RunFault> {
        let end = |source: &Source| {
            let marks = life.source.watermarks(source.0, source.1);
            marks.map(|(_, high)| (*source, high)).map_err(self.crossing.source_fault())
        };
        life.places.keys().map(end).collect()
    }

    /// Polls and decodes until the turn is full. Says whether a partition was newly held, which
    /// is committed even where no record goes before it, so that `status` can see it.
    fn gather(&self, life: &mut Life, turn: &mut Turn) -> Result<bool, RunFault> {
        let mut first: Option<Instant> = None;
        let (mut newly_held, mut waited) = (false, false);
        // Between two ticks nothing hurries: what is gathered waits all the same.
        let until = (!life.schedule.is_open())
            .then(|| Instant::now() + life.schedule.wait(schedule::now_ms()));
        while turn.len() < life.carried.rows_max
            && turn.bytes() < TURN_BYTES_MAX
            && turn.partitions() < TURN_PARTITIONS_MAX
        {
            if waited || turn.len().is_multiple_of(CLOCK_RECORDS) {
                let over = match until {
                    None => first.map_or(Duration::ZERO, |first| first.elapsed()) >= TURN,
                    Some(tick) => Instant::now() >= tick,
                };
                if over || self.stop.is_set() {
                    return Ok(newly_held);
                }
                waited = false;
            }
            let is_quiet = life.is_quiet() && until.is_none() && first.is_none();
            let poll_ms = if is_quiet { QUIET_POLL_MS } else { POLL_MS };
            let outcome = match life.source.poll(Duration::from_millis(poll_ms)) {
                Polled::End => {
                    life.ended = life.beyond.is_empty();
                    break;
                }
                Polled::Idle if first.is_none() => {
                    life.quiet = life.quiet.saturating_add(1);
                    return Ok(newly_held);
                }
                Polled::Idle => {
                    waited = true;
                    continue;
                }
                Polled::Trouble(why) => {
                    self.report.event("source_trouble", json!({"shard": self.number, "why": why}));
                    waited = true;
                    continue;
                }
                Polled::Broken(why) => {
                    let why = format!("source cluster: {why}");
                    return Err(RunFault::Again(why));
                }
                Polled::Fault(fault) => return Err(self.crossing.source_fault()(fault)),
                Polled::Lost(lost) => {
                    let source = (lost.topic, lost.partition);
                    let next = life.places.get(&source).map_or(lost.position, |p| p.next);
                    Took::Hold(source, next, lost_reason(lost.low, lost.high), None)
                }
                Polled::Record(fetched) => {
                    life.quiet = 0;
                    let headers = fetched.headers();
                    let record = fetched.raw(&headers);
                    let source = (record.topic, record.partition);
                    let Some(place) = life.places.get_mut(&source) else { continue };
                    // Behind the position it has crossed already; a held partition's record may
                    // still come out of the client's queue.
                    if record.offset < place.next || life.held.contains(&source) {
                        continue;
                    }
                    let counter = life.counter.as_mut();
                    match counter.map_or(Lies::Within, |c| c.lies(source, record.offset)) {
                        Lies::Held(reason) => {
                            let made_at_ms = Some(record.timestamp_ms);
                            Took::Hold(source, record.offset, reason, made_at_ms)
                        }
                        Lies::Beyond => Took::Beyond(source),
                        Lies::Within => {
                            self.take(&mut life.decoder, &mut life.quota, turn, place, &record)
                        }
                    }
                }
            };
            match outcome {
                Took::Row => {
                    first.get_or_insert_with(Instant::now);
                    life.away_ms = BACKOFF_MS.0;
                }
                Took::Hold(source, offset, reason, made_at_ms) => {
                    newly_held |= self.hold(life, source, offset, &reason, made_at_ms)?;
                    // Behind its last record and before this one lies none: it waits at the record itself, however long.
                    let next = life.places.get(&source).map_or(offset, |place| place.next);
                    if offset > next && life.counter.is_none() {
                        turn.pass(source, next, offset);
                    }
                }
                Took::Beyond(source) => {
                    let paused = life.source.pause(source.0, source.1);
                    paused.map_err(self.crossing.source_fault())?;
                    life.beyond.insert(source);
                }
                Took::Full(source, offset) => {
                    self.read_again(life, source, offset)?;
                    break;
                }
                // A new life would meet it as well, and leave a journal.
                Took::Away(source, offset, why) if turn.is_empty() => {
                    self.read_again(life, source, offset)?;
                    self.report.event("again", json!({"shard": self.number, "why": why}));
                    self.stop.rest(Duration::from_millis(life.away_ms));
                    life.away_ms = (life.away_ms * 2).min(BACKOFF_MS.1);
                    return Ok(newly_held);
                }
                // What was read before it can cross.
                Took::Away(source, offset, _) => {
                    self.read_again(life, source, offset)?;
                    break;
                }
            }
        }
        life.full = true;
        Ok(newly_held)
    }

    /// Decodes a record into the batch, and takes it into the turn if it is a row or refused
    /// singly.
    fn take(
        &self,
        decoder: &mut Decoder,
        quota: &mut Quota,
        turn: &mut Turn,
        place: &mut Place,
        record: &RawRecord<'_>,
    ) -> Took {
        let (source, offset) = ((record.topic, record.partition), record.offset);
        let mut schemas = self.crossing.schemas();
        match decoder.push(record, schemas.as_mut()) {
            Ok(()) => {}
            Err(Refusal::Quarantine(code))
                if self.withdrawal().is_some_and(|withdrawal| withdrawal.reaches(decoder.op())) =>
            {
                let reason = Reason::where_undecided(code.code(), None);
                return Took::Hold(source, offset, reason, Some(record.timestamp_ms));
            }
            Err(Refusal::Quarantine(code)) if !quota.take(Instant::now()) => {
                let reason = format!("quarantine limit reached: {}", code.code());
                let reason = Reason::new("quarantine_limit", reason);
                return Took::Hold(source, offset, reason, Some(record.timestamp_ms));
            }
            Err(Refusal::Quarantine(code)) => {
                let (by, code) = (RefusedBy::Decoder, code.code());
                turn.refuse(Refused { source, offset, by, code });
            }
            Err(Refusal::Hold(Hold::Truncate))
                if self.crossing.pipeline.changes.truncate == Truncate::Drop =>
            {
                turn.pass_over(source, offset);
            }
            Err(Refusal::Hold(hold)) => {
                let reason = Reason::from(&hold);
                return Took::Hold(source, offset, reason, Some(record.timestamp_ms));
            }
            Err(Refusal::Away(why)) => return Took::Away(source, offset, why.to_string()),
            Err(Refusal::Full) => return Took::Full(source, offset),
        }
        turn.take(record, place.next);
        place.next = offset + 1;
        Took::Row
    }

    /// A record that was polled and not taken comes again, at the head of its partition.
    fn read_again(&self, life: &mut Life, source: Source, offset: i64) -> Result<(), RunFault> {
        life.ended = false;
        life.source.resume_at(source.0, source.1, offset).map_err(self.crossing.source_fault())
    }

    /// Holds a partition at an offset: pauses it, and writes the ledger unless it says so already.
    fn hold(
        &self,
        life: &mut Life,
        source: Source,
        offset: i64,
        reason: &Reason,
        made_at_ms: Option<i64>,
    ) -> Result<bool, RunFault> {
        if life.held.contains(&source) {
            // What is refused only as it crosses may lie before the record that the decoder stopped at: there it stands.
            let stands = life.ledgered.get(&source).is_none_or(|known| known.offset <= offset);
            if stands {
                return Ok(false);
            }
            life.due.remove(&source);
            return self.hold_paused(life, source, offset, reason, made_at_ms);
        }
        life.source.pause(source.0, source.1).map_err(self.crossing.source_fault())?;
        self.hold_paused(life, source, offset, reason, made_at_ms)
    }

    /// As [`Self::hold`], of a partition that gives nothing. Says whether it is newly held.
    fn hold_paused(
        &self,
        life: &mut Life,
        source: Source,
        offset: i64,
        reason: &Reason,
        made_at_ms: Option<i64>,
    ) -> Result<bool, RunFault> {
        let topic = self.crossing.topic_name(source.0);
        let known = life.ledgered.get(&source).is_some_and(|known| known.says(offset, reason));
        if !known {
            // Durable with the next sync. Crash before it: the next life holds it again.
            life.log.append(&reason.entry(topic, source.1, offset))?;
            life.ledgered.insert(source, Ledgered::new(offset, reason));
        }
        if reason.may_pass() {
            life.due.insert(source, Instant::now() + HELD_AGAIN);
        }
        let said = known && life.tried.remove(&source);
        life.held.insert(source);
        if said {
            return Ok(false);
        }
        // Asked for people's sake only: where the cluster does not answer, it is not said.
        let config = life.admin.sovereign.topic_config(topic);
        let retention = config.map_or(Retention::Unknown, |config| {
            let now_ms = jiff::Timestamp::now().as_millisecond();
            Retention::of(config.retention_ms, made_at_ms, now_ms)
        });
        let pipeline = &self.crossing.pipeline;
        let partition = source.1;
        let waiting =
            Waiting { pipeline, topic, partition, offset, reason, retention, approval: None };
        self.report.held(self.number, &waiting);
        Ok(!known)
    }

    /// Lets held partitions go on for once whose reason may be over by itself.
    fn try_held(&self, life: &mut Life) -> Result<(), RunFault> {
        let now = Instant::now();
        let over: Vec<Source> =
            life.due.iter().filter(|(_, due)| **due <= now).map(|(source, _)| *source).collect();
        for source in over {
            life.due.remove(&source);
            life.held.remove(&source);
            life.tried.insert(source);
            self.read_again(life, source, life.places[&source].next)?;
        }
        Ok(())
    }

    /// Transform, check, write down, commit: one transaction. Long, and in one piece: the order of
    /// its effects is what makes it exact. What `life` holds runs ahead of the target until the
    /// commit; where anything fails in between, the life ends and what it holds with it.
    fn cross(
        &self,
        life: &mut Life,
        turn: &mut Turn,
        sink: Box<dyn Sink>,
    ) -> Result<Box<dyn Sink>, RunFault> {
        let crossing = self.crossing;
        // Before anything: the right to write.
        crossing.still_live()?;
        control_switch::wait_at("live");
        let began = Instant::now();
        let mut trace = crossing.traces.begin("transaction", &crossing.pipeline.name, self.number);
        trace.step("stages");
        let batch = life.decoder.finish();
        self.strip(life)?;
        let mut staged = life.stages.apply(batch).map_err(|stop| crossing.stopped(stop))?;
        if let Some(counter) = &life.counter {
            counter.hold_back(&mut staged)?;
        }
        // What is tried again was passed long before: nothing is held for it.
        let again = turn.is_again();
        let withdrawal = self.withdrawal().filter(|_| !again);
        for RefusedRow { origin, code, column } in &staged.refused {
            let holds = Reason::of_refused(origin, withdrawal, (code, column.as_deref()));
            let is_set_aside = holds.is_none();
            let cut =
                self.refuse(life, turn, origin, holds, Cause { by: RefusedBy::Stage, code })?;
            if is_set_aside && !cut {
                self.set_aside(life, origin, code, column.as_deref());
            }
        }
        // The record that the target refused when it stood alone.
        if let Some((source, offset, code)) = life.carried.condemned {
            let is_it = |o: &Origin| (o.topic, o.partition) == source && o.offset == offset;
            if let Some(row) = staged.batch.origins.iter().position(is_it) {
                let origin = &staged.batch.origins[row];
                // Inside WHERE there is nothing to withdraw.
                let withdrawal = withdrawal.filter(|_| staged.outside[row]);
                let holds = Reason::of_refused(origin, withdrawal, (code, None));
                let cause = Cause { by: RefusedBy::Target, code };
                self.refuse(life, turn, origin, holds, cause)?;
            }
        }
        let ids =
            evidence::transaction_ids(&crossing.blind(), &life.log, self.number, life.sequence + 1);
        trace.link(&ids.traceparent);
        trace.step("gate");
        // The gate may refuse rows that a delete hangs on, or that stand between a delete and its
        // tombstone: the rest is looked at again. Each round refuses at least one record more.
        let mut merge = self.merge(life, turn, &staged);
        let passed = loop {
            let passed = life.gate.pass(crossing.at_gate(&staged, &merge), ids.clone())?;
            let mut cut = false;
            for (row, refusal) in passed.refused() {
                let (origin, code) = (&staged.batch.origins[*row], refusal.code());
                let column = Some(life.gate.place_name(refusal.place)).filter(|n| !n.is_empty());
                // What is to be withdrawn is as a delete: its row would stay outside for ever.
                let holds = match merge.withdrawn[*row] {
                    true => Some(Reason::delete_cannot_cross(code, column)),
                    false => Reason::of_refused(origin, None, (code, column)),
                };
                let cause = Cause { by: RefusedBy::Gate, code };
                cut |= self.refuse(life, turn, origin, holds, cause)?;
            }
            let refused = passed.refused();
            if refused.is_empty() {
                break passed;
            }
            let before = std::mem::replace(&mut merge, self.merge(life, turn, &staged));
            let is_refused = |row| refused.binary_search_by_key(&row, |(row, _)| *row).is_ok();
            if !cut && merge.is_as(&before, is_refused) {
                break passed;
            }
        };
        for (source, offset) in turn.cuts() {
            if let Some(place) = life.places.get_mut(&source) {
                place.next = offset;
            }
        }
        let spans = turn.spans();
        for span in &spans {
            let source = (span.topic, span.partition);
            if let Some(place) = life.places.get_mut(&source) {
                place.next = span.end;
                place.deleted = merge.deletes.get(&source).cloned();
                place.mark = life.source.mark(source.0, source.1, span.end);
            }
            self.resume(life, source, span.end)?;
        }
        for (source, place) in &mut life.places {
            place.held = life.ledgered.get(source).map(|known| known.offset);
        }
        // Crash here: a RESUMED may be durable that no transaction follows. The partition is read
        // again from the position: it goes on, or is held under a HELD of its own.
        trace.step("quarantine");
        let into = (&*life.admin.sovereign, &life.gate);
        let taken = life.aside.take(crossing, into, self.number, turn);
        if let (Err(_), Some(meters)) = (&taken, self.report.meters()) {
            meters.aside_failed(self.number, jiff::Timestamp::now().as_millisecond());
        }
        let quarantined = taken? as u64;
        // Crash here: quarantine records that no committed intent names; the next life writes
        // them again under the same keys.
        life.admin.check(self.control.layout())?;
        self.control.cover(
            &mut life.carried.allowance,
            self.number,
            passed.records(),
            passed.bytes(),
        )?;
        // Crash here: what was leased and not sent is lost.
        trace.step("ledger");
        let origins = &staged.batch.origins;
        turn.brings(passed.records());
        let intent = Intent {
            window: life.counter.as_ref().map(|c| c.spans(crossing)).unwrap_or_default(),
            statistics: life.statistics.read().to_vec(),
            ..evidence::intent(crossing, &life.gate, turn, &passed, &ids, &merge, origins)
        };
        let (records, bytes) = (passed.records(), passed.bytes());
        let receipt = life.log.append(&Entry::Intent(intent)).map_err(|fault| match fault {
            LedgerFault::EntryTooLarge { .. } => RunFault::TurnTooLarge(fault.to_string()),
            other => other.into(),
        })?;
        let head = life.log.sync()?;
        // Crash here: a durable intent beyond the target's position; the next life appends VOID.
        // Much time may have passed since the first look. This one's instant is the manifest's.
        let live = crossing.live_to_send(&mut life.log, receipt.index);
        // Nothing of it was sent, and nothing of its allowance is used up.
        let at_ms = live.inspect_err(|_| {
            self.control.uncover(&mut life.carried.allowance, records, bytes);
        })?;
        let previous = life.manifest.clone();
        let durable = (&receipt, &head);
        let stamp = evidence::stamp(crossing, &life.gate, turn, origins, durable, previous, at_ms);
        let approved = life.gate.stamp(passed, stamp).map_err(|fault| match fault {
            GateFault::Manifest(_) => RunFault::TurnTooLarge(fault.to_string()),
            other => RunFault::Gate(other.to_string()),
        })?;
        let position = Position {
            version: position::VERSION,
            epoch: life.epoch,
            shard: self.number,
            sequence: life.sequence + 1,
            places: life.places.values().cloned().collect(),
            ledger: head,
            manifest: Some(HEXLOWER.encode(&ids.manifest_id)),
            closed: None,
            window: life.counter.as_ref().map(Counter::counted),
        };
        let sealed = crossing.seal_position(&life.gate, self.number, &position)?;
        trace.step("commit");
        control_switch::wait_at("stamped");
        let committing = Instant::now();
        let right = || crossing.right_holds();
        let transaction = crossing.transaction(Some(&approved), &sealed)?.only_while(&right);
        let outcome = sink.commit(&transaction);
        // One that broke on the way back is outside: it is not counted, and did not fail.
        let is_outside = matches!(outcome, CommitOutcome::CommittedButSuspect);
        let again = |why: String| Err(RunFault::Again(why));
        let sink = match outcome {
            CommitOutcome::Committed(sink) => Ok(sink),
            CommitOutcome::CommittedButSuspect => {
                again("the link broke during a commit that was answered".to_owned())
            }
            CommitOutcome::Unknown(why) | CommitOutcome::Aborted(why) => again(why),
            CommitOutcome::Late(why) => Err(RunFault::Late { why, rows: turn.len() }),
            CommitOutcome::Refused { code, .. } => {
                Err(RunFault::RecordRefused { code, alone: turn.alone() })
            }
            CommitOutcome::Ended(why) => {
                self.control.uncover(&mut life.carried.allowance, records, bytes);
                Err(crossing.ended(&mut life.log, receipt.index, why))
            }
            CommitOutcome::Fenced => Err(RunFault::Fenced),
        };
        let commit_took = committing.elapsed();
        if let (Err(_), false, Some(meters)) = (&sink, is_outside, self.report.meters()) {
            meters.commit_failed(self.number, jiff::Timestamp::now().as_millisecond());
        }
        let sink = sink?;
        // The transaction is visible. Crash here: the next life finds the position, and with it
        // that the intent was committed.
        life.carried.went_through(turn.len());
        life.proved = Instant::now();
        life.sequence += 1;
        life.manifest = position.manifest;
        life.committed_size = head.size;
        life.log.append(&Entry::Committed { of: receipt.index })?;
        let next: Vec<(u32, i32, i64)> =
            spans.iter().map(|s| (s.topic, s.partition, s.end)).collect();
        life.source.commit_group(&next);
        if let Some(meters) = self.report.meters() {
            let upserts = origins.iter().filter(|origin| origin.kind() == RowKind::Upsert).count();
            let crossed = Crossed {
                turn,
                protected: &life.protected,
                rows: (upserts as u64, origins.len() as u64),
                records,
                bytes,
                set_aside: quarantined,
                took: began.elapsed(),
                commit_took,
                now_ms: jiff::Timestamp::now().as_millisecond(),
            };
            meters.crossed(self.number, &crossed);
        }
        self.report.committed(records, Some(quarantined));
        trace.end(&[("records", records), ("quarantined", quarantined)]);
        Ok(sink)
    }

    /// Which rows WHERE withdraws.
    fn withdrawal(&self) -> Option<Withdrawal> {
        Withdrawal::of(&self.crossing.plan, &self.crossing.pipeline.changes)
    }

    /// Says once in a life which column refuses rows with a code. Names, and where the first one lies.
    fn set_aside(
        &self,
        life: &mut Life,
        origin: &Origin,
        code: &'static str,
        column: Option<&str>,
    ) {
        if !life.told.insert((code, column.map(str::to_owned))) {
            return;
        }
        let fields = json!({
            "shard": self.number,
            "code": code,
            "column": column,
            "topic": self.crossing.topic_name(origin.topic),
            "partition": origin.partition,
            "offset": origin.offset,
        });
        self.report.event("set_aside", fields);
    }

    /// Refuses one record: into the quarantine, or, where there is a reason, by holding its
    /// partition. Says whether the turn was cut.
    fn refuse(
        &self,
        life: &mut Life,
        turn: &mut Turn,
        origin: &Origin,
        holds: Option<Reason>,
        cause: Cause,
    ) -> Result<bool, RunFault> {
        let Cause { by, code } = cause;
        let (source, offset) = ((origin.topic, origin.partition), origin.offset);
        if turn.is_cut(source, offset) {
            return Ok(false);
        }
        if turn.is_again() {
            turn.refuse(Refused { source, offset, by, code });
            return Ok(false);
        }
        let reason = match holds {
            Some(reason) => reason,
            None if life.quota.take(Instant::now()) => {
                turn.refuse(Refused { source, offset, by, code });
                return Ok(false);
            }
            None => Reason::new("quarantine_limit", format!("quarantine limit reached: {code}")),
        };
        turn.cut(source, offset);
        self.hold(life, source, offset, &reason, None)?;
        Ok(true)
    }

    fn merge(&self, life: &Life, turn: &Turn, staged: &Staged) -> Merge {
        let before = life
            .places
            .iter()
            .filter_map(|(source, place)| Some((*source, place.deleted.clone()?)))
            .collect();
        let digest = |row| evidence::key_digest(&staged.keys, row);
        let keeps_deletes = self.crossing.pipeline.changes.keeps_deletes();
        let filter = Filter { outside: &staged.outside, withdrawal: self.withdrawal() };
        Merge::new(turn, &staged.batch.origins, filter, before, keeps_deletes, digest)
    }

    /// Writes down which leaves stay behind from here on, each once a life: durable with the intent
    /// of the first record that had one. Crash before it: the next life says it again.
    fn strip(&self, life: &mut Life) -> Result<(), RunFault> {
        for Stripped { record: (topic, partition, offset), leaf, schema_id } in
            life.decoder.take_stripped()
        {
            let topic = self.crossing.topic_name(topic).to_owned();
            let fields = json!({
                "shard": self.number, "topic": topic, "partition": partition, "offset": offset,
                "leaf": leaf, "schema_id": schema_id,
            });
            let release = self.crossing.release_digest.clone();
            life.log.append(&Entry::Stripped {
                topic,
                partition,
                offset,
                leaf,
                schema_id,
                release,
            })?;
            self.report.event("stripped", fields);
        }
        Ok(())
    }

    /// Writes down that a partition goes on which the ledger holds.
    fn resume(&self, life: &mut Life, source: Source, end: i64) -> Result<(), RunFault> {
        let Some(offset) = life.ledgered.get(&source).map(|known| known.offset) else {
            return Ok(());
        };
        if end <= offset {
            return Ok(());
        }
        life.ledgered.remove(&source);
        life.log.append(&Entry::Resumed {
            topic: self.crossing.topic_name(source.0).to_owned(),
            partition: source.1,
            offset,
            release: self.crossing.release_digest.clone(),
        })?;
        Ok(())
    }

    /// What is due once a second: a checkpoint of what is committed, and a look at what changes
    /// outside while nothing crosses.
    fn publish(&self, life: &mut Life) -> Result<(), RunFault> {
        life.published = Instant::now();
        let name = self.crossing.names.log(self.number);
        if let Err(fault) = self.crossing.publish(&mut life.log, &name, life.committed_size) {
            // The log is as it was; the next checkpoint brings what this one did not.
            let why = fault.to_string();
            self.report.event("checkpoint", json!({"shard": self.number, "why": why}));
        }
        life.log.idle();
        self.control.idle();
        self.learn(life)?;
        // One shard asks for all: they end together.
        if self.number == 0 && life.proved.elapsed() >= PROVE {
            self.control.prove()?;
            life.proved = Instant::now();
        }
        self.report.progress(false);
        if life.is_quiet() && life.looked.elapsed() < LOOK_QUIET {
            return Ok(());
        }
        life.looked = Instant::now();
        life.admin.check(self.control.layout())
    }
}

fn lost_reason(low: i64, high: i64) -> Reason {
    let text = format!("source lost: the position lies outside the log [{low}, {high})");
    Reason::new("source_lost", text)
}

/// What became of a polled record, by its partition and offset.
enum Took {
    /// It is in the turn, as a row or as a refusal.
    Row,
    /// Its partition waits at it, for a reason; with the record's time where there is one.
    Hold(Source, i64, Reason, Option<i64>),
    /// It lies behind the window that crosses: its partition waits for the next one.
    Beyond(Source),
    /// The batch's buffers are full: what is in them crosses first.
    Full(Source, i64),
    /// What it takes to read it is away.
    Away(Source, i64, String),
}
