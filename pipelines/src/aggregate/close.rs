//! Closing a window: charge, noise, check, one transaction. Long, and in one piece: the order of its
//! effects is what makes it exact.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    Array, ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatchOptions;
use data_encoding::HEXLOWER;
use douane_connectors::control_switch;
use douane_connectors::edge::{CommitOutcome, Sink};
use douane_gate::{Crossing as AtGate, Evidence, GateFault, Passed, TransactionIds};
use douane_ledger::budget::{
    Account, Balance, Caps, Level, Neighbours, Opening, Release, ReleaseId, Reserve, State, Window,
};
use douane_ledger::log::{Entry, Intent, LedgerFault, SourceDigest, SpanEntry};
use douane_schemas::batch::{Op, Origin};

use super::accounts;
use super::allowed;
use super::drawing;
use super::store;
use super::sums::Noised;
use super::worker::{Life, SHARD, Worker};
use crate::config::aggregate::{self, Aggregate};
use crate::crossing::Crossing;
use crate::evidence;
use crate::fault::RunFault;
use crate::plan::{Plan, Role};
use crate::position::{self, Closed, Place, Position};

/// What the account calls the aggregate of a pipeline: there is one.
const QUERY: &str = "aggregate";

impl Worker<'_> {
    /// What the last life sent and did not write down: the position says what is outside.
    pub(super) fn settle(&self, life: &mut Life) -> Result<(), RunFault> {
        let Some(closed) = life.closed.clone() else { return Ok(()) };
        let aggregate = self.aggregate()?;
        let mut account = self.account(life, Some(&closed))?;
        let release = self.release_id(aggregate, closed.window, closed.revision);
        account.committed(&release)?;
        self.sign(&mut account, aggregate);
        Ok(())
    }

    /// Publishes a checkpoint of the account; the next one brings what this one did not.
    fn sign(&self, account: &mut Account, aggregate: &Aggregate) {
        let origin = crate::names::checkpoint_origin(super::ACCOUNTS, &aggregate.space);
        if let Err(fault) = account.publish(self.crossing.keys.checkpoint(), &origin) {
            let why = fault.to_string();
            self.report.event("checkpoint", serde_json::json!({"account": why}));
        }
    }

    /// Becomes the account's holder for as long as a window is being closed.
    fn account(&self, life: &Life, closed: Option<&Closed>) -> Result<Account, RunFault> {
        let aggregate = self.aggregate()?;
        let home = accounts(&self.crossing.place);
        let known = closed.map(|closed| &closed.account);
        Ok(Account::open(&home, &aggregate.space, life.keys.account(), known)?)
    }

    fn release_id(&self, aggregate: &Aggregate, window: i64, revision: u32) -> ReleaseId {
        ReleaseId {
            policy: self.crossing.pipeline.name.clone(),
            window: Window {
                start_ms: aggregate.start_ms(window),
                end_ms: aggregate.start_ms(window + 1),
            },
            query: QUERY.to_owned(),
            revision,
        }
    }

    /// A store that was lost after its window was charged reads to where the charge says, whatever the
    /// source has got since: what was charged for is what is sent.
    pub(super) fn pin_as_charged(
        &self,
        account: &Balance,
        open: &mut store::State,
    ) -> Result<(), RunFault> {
        let aggregate = self.aggregate()?;
        let mut revision = 0;
        let charged = loop {
            let release = account.release(&self.release_id(aggregate, open.closing, revision));
            match release {
                Some(Release { state: State::Void { .. }, .. }) => revision += 1,
                Some(release) => break &release.reserve,
                None => return Ok(()),
            }
        };
        for read in &mut open.reads {
            let topic = self.crossing.topic_name(read.topic);
            let is_its =
                |span: &&SpanEntry| (&*span.topic, span.partition) == (topic, read.partition);
            let span = charged.spans.iter().find(is_its);
            // A partition that was added since has nothing of it.
            read.pin = Some(span.map_or(read.next, |span| span.end.max(read.next)));
        }
        Ok(())
    }

    /// Everything before the pins is in the store: the window's statistics, once.
    pub(super) fn close(
        &self,
        life: &mut Life,
        sink: Box<dyn Sink>,
    ) -> Result<Box<dyn Sink>, RunFault> {
        let (crossing, aggregate) = (self.crossing, self.aggregate()?);
        // Before anything: the right to write.
        crossing.still_live()?;
        let window = life.state.closing;
        let sums = life.bounding.sums(&life.store, window)?;
        let spans = self.spans(life);
        let mut account = self.account(life, life.closed.as_ref())?;
        account.open_policy(&opening(crossing, aggregate))?;
        // A full account stops here, and what it says is signed all the same.
        self.sign(&mut account, aggregate);
        // Crash here: an account with a policy, and nothing charged.
        control_switch::die_at("opened");
        let release = self.reserve(life, &mut account, aggregate, &spans)?;
        // Crash here: charged. The same store gives the same sums, and they the same noise.
        control_switch::die_at("reserved");
        let id = release.reserve.release.clone();
        #[cfg(debug_assertions)]
        if control_switch::lose_device() {
            life.drawing.lose();
        }
        let (reserve, keys) = (&release.reserve, &life.keys);
        let noised = life.bounding.noise(&sums, &id, reserve, keys, &mut life.drawing)?;
        self.drawn(life, window);
        let columns = batch(&crossing.plan, aggregate, window, &noised)?;
        let ids = evidence::transaction_ids(&crossing.blind(), &life.log, SHARD, life.sequence + 1);
        let passed = self.pass(life, &columns, window, ids.clone())?;
        account.computed(&id, &sums.to_bytes(), &noised.digest())?;
        let head = account.head();
        // Crash here: charged and bound to its bytes, which are sent by the next life.
        control_switch::die_at("computed");
        life.admin.check(self.control.layout())?;
        let (records, bytes) = (passed.records(), passed.bytes());
        self.control.cover(&mut life.allowance, SHARD, records, bytes)?;
        self.resumed(life)?;
        let refused = life.store.aside(&spans)?;
        let intent = self.intent(life, &release, spans.clone(), refused.clone(), &passed, &ids);
        let receipt = life.log.append(&Entry::Intent(intent)).map_err(|fault| match fault {
            LedgerFault::EntryTooLarge { .. } => RunFault::TurnTooLarge(fault.to_string()),
            other => other.into(),
        })?;
        let log_head = life.log.sync()?;
        // Crash here: a durable intent beyond the target's position; the next life appends VOID for
        // it, and sends the same statistics under another.
        control_switch::die_at("intent");
        // Much time may have passed since the first look. This one's instant is the manifest's.
        let live = crossing.live_to_send(&mut life.log, receipt.index);
        // Nothing of it was sent, and nothing of its allowance is used up.
        let at_ms = live.inspect_err(|_| {
            self.control.uncover(&mut life.allowance, records, bytes);
        })?;
        let evidence = Evidence {
            spans,
            // The ledger has them. How many there are is a statistic without noise, and would show
            // in the manifest's size.
            refused: Vec::new(),
            leaf_index: receipt.index,
            leaf_hash: receipt.leaf_hash,
            head: log_head,
            schema_ids: Vec::new(),
            key_ids: life.gate.seal_key_ids(),
            previous: life.manifest.clone(),
            at_ms,
        };
        let approved = life.gate.stamp(passed, evidence).map_err(|fault| match fault {
            GateFault::Manifest(_) => RunFault::TurnTooLarge(fault.to_string()),
            other => RunFault::Gate(other.to_string()),
        })?;
        let closed = Closed {
            window,
            revision: id.revision,
            pins: life.state.reads.iter().filter_map(|read| read.pin).collect(),
            account: head,
        };
        let position = Position {
            version: position::VERSION,
            epoch: life.epoch,
            shard: SHARD,
            sequence: life.sequence + 1,
            places: places(life, window),
            ledger: log_head,
            manifest: Some(HEXLOWER.encode(&ids.manifest_id)),
            closed: Some(closed.clone()),
            window: None,
        };
        let sealed = crossing.seal_position(&life.gate, SHARD, &position)?;
        let committing = Instant::now();
        let right = || crossing.right_holds();
        let transaction = crossing.transaction(Some(&approved), &sealed)?.only_while(&right);
        let outcome = sink.commit(&transaction);
        // Crash here: outside, and the next life reads so in the position.
        control_switch::die_at("committed");
        let is_outside = matches!(outcome, CommitOutcome::CommittedButSuspect);
        let again = |why: String| Err(RunFault::Again(why));
        let sink = match outcome {
            CommitOutcome::Committed(sink) => Ok(sink),
            CommitOutcome::CommittedButSuspect => {
                again("the link broke during a commit that was answered".to_owned())
            }
            CommitOutcome::Unknown(why)
            | CommitOutcome::Late(why)
            | CommitOutcome::Aborted(why) => again(why),
            CommitOutcome::Refused { code, .. } => {
                Err(RunFault::RecordRefused { code, alone: None })
            }
            CommitOutcome::Ended(why) => {
                self.control.uncover(&mut life.allowance, records, bytes);
                Err(crossing.ended(&mut life.log, receipt.index, why))
            }
            CommitOutcome::Fenced => Err(RunFault::Fenced),
        };
        if let (Err(_), false, Some(meters)) = (&sink, is_outside, self.report.meters()) {
            meters.commit_failed(SHARD, jiff::Timestamp::now().as_millisecond());
        }
        let sink = sink?;
        life.proved = Instant::now();
        life.sequence += 1;
        life.manifest = position.manifest;
        life.committed_size = log_head.size;
        life.log.append(&Entry::Committed { of: receipt.index })?;
        account.committed(&id)?;
        // Crash here: the account says so as well, and the next life signs it.
        control_switch::die_at("settled");
        self.sign(&mut account, aggregate);
        drop(account);
        life.closed = Some(closed);
        life.state.close();
        life.store.drop_closed(&mut life.state, &refused)?;
        if let Some(meters) = self.report.meters() {
            meters.closed(SHARD, records, committing.elapsed());
        }
        // How many were set aside is a statistic without noise.
        self.report.committed(records, None);
        Ok(sink)
    }

    /// Counts how long the GPU was used, and says how it failed, if it did: the window's bytes are the same.
    fn drawn(&self, life: &mut Life, window: i64) {
        if let Some(meters) = self.report.meters() {
            meters.drawn(life.drawing.busy());
        }
        let Some(failed) = life.drawing.failed() else { return };
        for drawing::Failed { code, adapter, .. } in &failed {
            let fields = serde_json::json!({"window": window, "code": code, "adapter": adapter});
            self.report.event("device_failed", fields);
        }
        drawing::leave(&self.crossing.place, &self.crossing.pipeline, failed.last());
    }

    /// The charge of the window: made now, or by a life that died after it.
    fn reserve(
        &self,
        life: &Life,
        account: &mut Account,
        aggregate: &Aggregate,
        spans: &[SpanEntry],
    ) -> Result<Release, RunFault> {
        let mut inputs: Vec<SourceDigest> = life
            .state
            .reads
            .iter()
            .map(|read| SourceDigest {
                topic: self.crossing.topic_name(read.topic).to_owned(),
                partition: read.partition,
                mac: HEXLOWER.encode(&read.chain),
            })
            .collect();
        inputs.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let mut revision = 0;
        loop {
            let id = self.release_id(aggregate, life.state.closing, revision);
            let wanted = Reserve {
                release: id.clone(),
                digest: self.crossing.release.fingerprint.clone(),
                spans: spans.to_vec(),
                inputs: inputs.clone(),
                rho: life.bounding.rho(),
                delta: life.bounding.delta(),
                coordinates: life.bounding.coordinates(),
                noise_key: life.keys.noise.id().to_string(),
                tables: life.bounding.tables(),
                software: self.crossing.software.clone(),
            };
            let limit = self.crossing.release.limits.epsilon.as_deref();
            let cover = || {
                let allowed = allowed::windows(aggregate, limit)?;
                self.control.cover_window(SHARD, &id.to_string(), allowed)
            };
            let Some(known) = account.balance().release(&id) else {
                cover()?;
                account.reserve(&wanted)?;
                let made = account.balance().release(&id).cloned();
                return made.ok_or_else(|| RunFault::Window(format!("{id} is not in its account")));
            };
            let same = Reserve { software: known.reserve.software.clone(), ..wanted };
            match &known.state {
                // Never given back: what is tried again has a charge of its own.
                State::Void { .. } => revision += 1,
                State::Committed(_) => {
                    return Err(RunFault::Window(format!(
                        "{id} is in the target by its account, and not by the target's position\n  \
                         next: bring back the position topic that is lost"
                    )));
                }
                // Charged under an earlier release, maybe: it goes out under this one.
                _ if known.reserve == same => return cover().map(|()| known.clone()),
                // The input is gone, or is another: what was charged for is not what would be sent.
                _ => {
                    account.void(&id, "what was read is not what was charged for")?;
                    return Err(RunFault::Window(format!(
                        "{id} was charged for other records than are there now: it is void, its \
                         charge is kept\n  next: find out what became of them; the next start \
                         charges a revision of it"
                    )));
                }
            }
        }
    }

    /// In the order of topics' names and partitions, as an account wants them.
    fn spans(&self, life: &Life) -> Vec<SpanEntry> {
        let reads = life.state.reads.iter().map(|read| SpanEntry {
            topic: self.crossing.topic_name(read.topic).to_owned(),
            partition: read.partition,
            start: read.from,
            end: read.pin.unwrap_or(read.from),
        });
        let mut spans: Vec<SpanEntry> = reads.collect();
        spans.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        spans
    }

    fn pass(
        &self,
        life: &mut Life,
        columns: &RecordBatch,
        window: i64,
        ids: TransactionIds,
    ) -> Result<Passed, RunFault> {
        let rows = columns.num_rows();
        let none = no_columns(rows)?;
        let origins = origins(rows, self.aggregate()?.start_ms(window + 1));
        let no = vec![false; rows];
        let at_gate = AtGate {
            columns,
            keys: &none,
            before: None,
            raw: &none,
            origins: &origins,
            skip: &no,
            withdrawn: &no,
        };
        let passed = life.gate.pass(at_gate, ids)?;
        match passed.refused().first() {
            // A group that stays out would tell of it.
            Some((_, refusal)) => Err(RunFault::Gate(refusal.code().to_owned())),
            None => Ok(passed),
        }
    }

    fn intent(
        &self,
        life: &Life,
        release: &Release,
        spans: Vec<SpanEntry>,
        refused: Vec<douane_ledger::log::RefusedEntry>,
        passed: &Passed,
        ids: &TransactionIds,
    ) -> Intent {
        let crossing = self.crossing;
        let mut key_ids = vec![release.reserve.noise_key.clone()];
        key_ids.extend(life.gate.seal_key_ids());
        Intent {
            seq: ids.sequence,
            release: crossing.release_digest.clone(),
            fingerprint: crossing.release.fingerprint.clone(),
            spans,
            refused,
            source_digests: release.reserve.inputs.clone(),
            subjects: passed.subjects().to_vec(),
            salt: HEXLOWER.encode(&ids.salt),
            key_ids,
            target_partitions: crossing.target.partitions,
            partitioner: "murmur2".to_owned(),
            manifest_id: HEXLOWER.encode(&ids.manifest_id),
            traceparent: ids.traceparent.clone(),
            records: passed.records(),
            bytes: passed.bytes(),
            ..Intent::default()
        }
    }
}

/// The policy of a pipeline in its account.
fn opening(crossing: &Crossing, aggregate: &Aggregate) -> Opening {
    Opening {
        space: aggregate.space.clone(),
        policy: crossing.pipeline.name.clone(),
        digest: crossing.release.fingerprint.clone(),
        neighbours: Neighbours::AddRemove,
        caps: Caps {
            level: match aggregate.level {
                aggregate::Level::UnitPeriod => Level::UnitPeriod {
                    origin_ms: aggregate.from_ms,
                    length_ms: aggregate.period_ms as i64,
                },
                aggregate::Level::UnitLifetime => Level::UnitLifetime,
                aggregate::Level::WEvent => Level::WEvent { length_ms: aggregate.period_ms as i64 },
            },
            rho: match aggregate.level {
                aggregate::Level::UnitPeriod | aggregate::Level::WEvent => aggregate.caps.period,
                aggregate::Level::UnitLifetime => aggregate.caps.life,
            },
            delta: aggregate.caps.delta,
            rho_life: Some(aggregate.caps.life),
        },
    }
}

/// Where a lost store begins to read again once this window is closed: at the first record of any
/// window that is then open.
fn places(life: &Life, window: i64) -> Vec<Place> {
    let reads = life.state.reads.iter().map(|read| {
        let open = read.first.iter().filter(|(of, _)| **of > window).map(|(_, first)| *first);
        let pin = read.pin.unwrap_or(read.next);
        Place {
            topic: read.topic,
            partition: read.partition,
            next: open.min().map_or(pin, |first| first.min(pin)),
            deleted: None,
            held: Worker::held_at(life, (read.topic, read.partition)),
            mark: None,
        }
    });
    reads.collect()
}

/// A batch that has a length and nothing else.
pub(super) fn no_columns(rows: usize) -> Result<RecordBatch, RunFault> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)
        .map_err(|_| RunFault::Gate("a batch without columns".to_owned()))
}

/// Where statistics come from: no record, so their place among each other.
pub(super) fn origins(rows: usize, at_ms: i64) -> Vec<Origin> {
    (0..rows)
        .map(|row| Origin {
            topic: 0,
            partition: 0,
            offset: row as i64,
            timestamp_ms: at_ms,
            op: Op::Create,
            schema_id: None,
        })
        .collect()
}

/// The statistics as the release names them: each group once, in the order of the public keys, or, of
/// those that data select, of their bytes.
pub(super) fn batch(
    plan: &Plan,
    aggregate: &Aggregate,
    window: i64,
    noised: &Noised,
) -> Result<RecordBatch, RunFault> {
    let groups = noised.groups();
    let mut next_group = 0;
    let mut next_number = 0;
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for column in plan.aggregate.iter().flatten() {
        let array: ArrayRef = match &column.role {
            Role::Window { .. } => {
                let start = aggregate.start_ms(window);
                Arc::new(TimestampMillisecondArray::from(vec![start; groups.len()]))
            }
            Role::Group { .. } | Role::Selected { .. } => {
                let at = next_group;
                next_group += 1;
                Arc::new(StringArray::from_iter_values(groups.iter().map(|keys| &keys[at])))
            }
            Role::Noised { dims, .. } => {
                let at = next_number;
                next_number += 1;
                let numbers = Arc::new(Int64Array::from_iter_values(noised.column(at)));
                match dims {
                    None => numbers,
                    Some(dims) => lists(numbers, groups.len(), *dims)?,
                }
            }
        };
        fields.push(Field::new(&column.name, array.data_type().clone(), false));
        arrays.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|_| RunFault::Gate("the statistics do not make a batch".to_owned()))
}

/// Each group's integers as one array.
fn lists(numbers: ArrayRef, groups: usize, dims: u32) -> Result<ArrayRef, RunFault> {
    let of = Arc::new(Field::new("item", DataType::Int64, false));
    let ends = OffsetBuffer::from_lengths(std::iter::repeat_n(dims as usize, groups));
    let lists = ListArray::try_new(of, ends, numbers, None);
    Ok(Arc::new(lists.map_err(|_| RunFault::Gate("the vectors do not make arrays".to_owned()))?))
}
