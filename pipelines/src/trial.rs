//! A pipeline tried out in memory: plan, decode, stages, merge, gate, encoding, as a shard does them
//! and by the same code, under a release that throw-away keys sign for a throw-away trust root.
//! Nothing outside is written, and no key of the place is read.
//!
//! What comes out cannot be sent: its sink does not exist, and its tokens are of keys that nobody
//! has. `test` looks at it; `run --dry-run` counts it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use douane_gate::{
    Approved, Crossing as AtGate, Evidence, Gate, RefusedBy, Target, TransactionIds,
};
use douane_ledger::log::{Head, JournalId};
use douane_ledger::release::{self as releases, Changes, Limits, LiveRelease, Truncate};
use douane_ledger::signing::SigningKey;
use douane_ledger::trust::{self, Approver, Role, Root, TrustRoot};
use douane_schemas::batch::Origin;
use douane_schemas::debezium::{Decoder, Hold, Refusal, WriterSchemas};
use douane_schemas::record::{Format, RawRecord};

use crate::config::{Pipeline, Place, SinkFormat};
use crate::evidence;
use crate::fault::RunFault;
use crate::hold::Reason;
use crate::key_home::KeyHome;
use crate::merge::{Deletes, Filter, Merge, Withdrawal};
use crate::min_group::{Groups, Tally};
use crate::names::Names;
use crate::plan::{Plan, RefusedRow, Staged, Stages};
use crate::release;
use crate::turn::{Refused, Source, Turn};

/// How long a throw-away release lives: longer than any trial.
const LIFE: Duration = Duration::from_secs(86_400);
/// The target that is not there: as many partitions as a small topic has, and Kafka's default size.
const PARTITIONS: u32 = 4;
const RECORD_BYTES_MAX: usize = 1_048_588;
/// The id that a registry would have given.
const SCHEMA_ID: u32 = 1;

/// See the module.
pub struct Trial {
    decoder: Decoder,
    schemas: Box<dyn WriterSchemas>,
    stages: Stages,
    gate: Gate,
    turn: Turn,
    next: BTreeMap<Source, i64>,
    deletes: Deletes,
    held: BTreeMap<Source, (i64, Reason)>,
    passages: u64,
    changes: Changes,
    withdrawal: Option<Withdrawal>,
    /// A batch is a window.
    groups: Option<Groups>,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Took {
    /// It is in the batch, or was refused singly.
    Taken,
    /// Its partition waits at it, now or from before.
    Held,
    /// The batch is full: [`Trial::pass`], then push it again.
    Full,
}

/// A record refused singly; `column` where stages or the gate say which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusing {
    pub by: RefusedBy,
    pub source: Source,
    pub offset: i64,
    pub code: &'static str,
    pub column: Option<String>,
}

/// One batch at the border.
pub struct Passage {
    /// The records as they would be sent, and their manifest.
    pub approved: Approved,
    pub staged: Staged,
    /// One a row of `staged`: it stays out.
    pub skip: Vec<bool>,
    /// Tombstones that repeat the delete before them.
    pub merged: u64,
    /// In the order of their positions.
    pub refused: Vec<Refusing>,
}

impl Trial {
    /// Tries `pipeline` over `plan`. `source` and `sink`: the formats to try it in.
    pub fn new(
        place: &Place,
        pipeline: &Pipeline,
        plan: &Plan,
        source: Format,
        sink: SinkFormat,
        schemas: Box<dyn WriterSchemas>,
    ) -> Result<Self, RunFault> {
        let mut pipeline = pipeline.clone();
        (pipeline.source.format, pipeline.source.file) = (source, None);
        let (gate, pipeline, keys) = gate_of(place, pipeline, plan, sink)?;
        Ok(Self {
            decoder: plan.decoder(&pipeline),
            schemas,
            stages: plan.compile(&pipeline, &keys.keyring())?,
            gate,
            turn: Turn::default(),
            next: BTreeMap::new(),
            deletes: Deletes::new(),
            held: BTreeMap::new(),
            passages: 0,
            withdrawal: Withdrawal::of(plan, &pipeline.changes),
            groups: Groups::of(plan, &pipeline, keys.root()),
            changes: pipeline.changes,
        })
    }

    /// Decodes one record. There is no limit to what is quarantined: a trial shows all of it.
    pub fn push(&mut self, record: &RawRecord<'_>) -> Result<Took, RunFault> {
        let source = (record.topic, record.partition);
        if self.held.contains_key(&source) {
            return Ok(Took::Held);
        }
        match self.decoder.push(record, self.schemas.as_mut()) {
            Ok(()) => {}
            Err(Refusal::Quarantine(code))
                if self.withdrawal.is_some_and(|w| w.reaches(self.decoder.op())) =>
            {
                self.held
                    .insert(source, (record.offset, Reason::where_undecided(code.code(), None)));
                return Ok(Took::Held);
            }
            Err(Refusal::Quarantine(code)) => {
                let offset = record.offset;
                let (by, code) = (RefusedBy::Decoder, code.code());
                self.turn.refuse(Refused { source, offset, by, code });
            }
            Err(Refusal::Hold(Hold::Truncate)) if self.changes.truncate == Truncate::Drop => {
                self.turn.pass_over(source, record.offset);
            }
            Err(Refusal::Hold(hold)) => {
                self.held.insert(source, (record.offset, Reason::from(&hold)));
                return Ok(Took::Held);
            }
            Err(Refusal::Full) => return Ok(Took::Full),
            Err(Refusal::Away(why)) => {
                let what = "the sovereign registry".to_owned();
                return Err(RunFault::Unreachable { what, why: why.to_string() });
            }
        }
        let next = self.next.get(&source).copied().unwrap_or(record.offset);
        self.turn.take(record, next);
        self.next.insert(source, record.offset + 1);
        Ok(Took::Taken)
    }

    /// Records in the batch, refused ones counted.
    pub fn len(&self) -> usize {
        self.turn.len()
    }

    /// Where partitions wait, and why.
    pub fn held(&self) -> &BTreeMap<Source, (i64, Reason)> {
        &self.held
    }

    /// Takes the batch through stages, merge and gate, as a shard's turn.
    pub fn pass(&mut self) -> Result<Passage, RunFault> {
        let refused = self.turn.refused();
        let mut refused: Vec<Refusing> = refused.iter().map(by_decoder).collect();
        let mut staged = self.stages.apply(self.decoder.finish())?;
        if let Some(groups) = &self.groups {
            let (members, mut tally) = (groups.members(&staged)?, Tally::default());
            // One batch is bounded already.
            tally.add(groups, &members, u64::MAX)?;
            groups.hold_back(&mut staged, &members, |group| tally.units(group));
        }
        for RefusedRow { origin, code, column } in &staged.refused {
            let holds = Reason::of_refused(origin, self.withdrawal, (code, column.as_deref()));
            let column = column.clone();
            let refusing = Refusing { column, ..refusing(origin, RefusedBy::Stage, code) };
            self.refuse(refusing, holds, &mut refused);
        }
        self.passages += 1;
        let ids = self.ids();
        // As in a shard: what stays behind with a refused delete is taken out, and the rest looked
        // at again. Each round cuts at least one record.
        let (passed, merge) = loop {
            let digest = |row| evidence::key_digest(&staged.keys, row);
            let origins = &staged.batch.origins;
            let (deletes, keeps) = (self.deletes.clone(), self.changes.keeps_deletes());
            let filter = Filter { outside: &staged.outside, withdrawal: self.withdrawal };
            let merge = Merge::new(&self.turn, origins, filter, deletes, keeps, digest);
            let crossing = AtGate {
                columns: &staged.columns,
                keys: &staged.keys,
                before: staged.before.as_ref(),
                raw: &staged.batch.rows,
                origins,
                skip: &merge.skip,
                withdrawn: &merge.withdrawn,
            };
            let passed = self
                .gate
                .pass(crossing, ids.clone())
                .map_err(|fault| RunFault::Gate(fault.to_string()))?;
            let mut cut = false;
            for (row, refusal) in passed.refused() {
                let column = self.gate.place_name(refusal.place).to_owned();
                let column = Some(column).filter(|name| !name.is_empty());
                let (origin, code) = (&staged.batch.origins[*row], refusal.code());
                let holds = match merge.withdrawn[*row] {
                    true => Some(Reason::delete_cannot_cross(code, column.as_deref())),
                    false => Reason::of_refused(origin, None, (code, column.as_deref())),
                };
                let refusing = Refusing { column, ..refusing(origin, RefusedBy::Gate, code) };
                cut |= self.refuse(refusing, holds, &mut refused);
            }
            if !cut {
                break (passed, merge);
            }
        };
        refused.retain(|refusing| !self.turn.is_cut(refusing.source, refusing.offset));
        refused.sort_by_key(|refusing| (refusing.source, refusing.offset));
        self.deletes = merge.deletes;
        self.turn.clear();
        let approved = self
            .gate
            .stamp(passed, self.evidence())
            .map_err(|fault| RunFault::Gate(fault.to_string()))?;
        Ok(Passage { approved, staged, skip: merge.skip, merged: merge.merged, refused })
    }

    /// Refuses one record, or, where there is a reason, holds its partition. Says whether the turn
    /// was cut.
    fn refuse(
        &mut self,
        refusing: Refusing,
        holds: Option<Reason>,
        refused: &mut Vec<Refusing>,
    ) -> bool {
        let Refusing { by, source, offset, code, .. } = refusing;
        if self.turn.is_cut(source, offset) {
            return false;
        }
        let Some(reason) = holds else {
            self.turn.refuse(Refused { source, offset, by, code });
            refused.push(refusing);
            return false;
        };
        self.turn.cut(source, offset);
        self.held.insert(source, (offset, reason));
        true
    }

    fn ids(&self) -> TransactionIds {
        ids(self.passages)
    }

    fn evidence(&self) -> Evidence {
        evidence(&self.gate)
    }
}

pub(crate) fn ids(sequence: u64) -> TransactionIds {
    TransactionIds {
        manifest_id: [0x7e; 16],
        traceparent: format!("00-{}-{}-01", "7e".repeat(16), "7e".repeat(8)),
        salt: [0x7e; 16],
        sequence,
        shard: 0,
    }
}

/// There is no ledger to point at.
pub(crate) fn evidence(gate: &Gate) -> Evidence {
    Evidence {
        spans: Vec::new(),
        refused: Vec::new(),
        leaf_index: 0,
        leaf_hash: [0; 32],
        head: Head { journal: JournalId([0; 16]), size: 0, root: [0; 32] },
        schema_ids: Vec::new(),
        key_ids: gate.seal_key_ids(),
        previous: None,
        at_ms: 0,
    }
}

/// A gate under a throw-away release, and the pipeline as it is tried: from plain JSON.
pub(crate) fn gate(
    place: &Place,
    pipeline: &Pipeline,
    plan: &Plan,
    sink: SinkFormat,
) -> Result<(Gate, Pipeline), RunFault> {
    let mut pipeline = pipeline.clone();
    (pipeline.source.format, pipeline.source.file) = (Format::DebeziumJson, None);
    gate_of(place, pipeline, plan, sink).map(|(gate, pipeline, _)| (gate, pipeline))
}

fn gate_of(
    place: &Place,
    mut pipeline: Pipeline,
    plan: &Plan,
    sink: SinkFormat,
) -> Result<(Gate, Pipeline, KeyHome), RunFault> {
    (pipeline.sink.format, pipeline.sink.file) = (sink, None);
    let keys = KeyHome::throw_away()?;
    let release = Arc::new(throw_away_release(place, &pipeline, plan)?);
    let names = Names::of(place, &pipeline);
    let target = Target {
        topic: names.data,
        manifest_topic: names.manifest,
        partitions: PARTITIONS,
        record_bytes_max: RECORD_BYTES_MAX,
        value_schema_id: match sink {
            SinkFormat::Json => None,
            SinkFormat::Avro => Some(SCHEMA_ID),
        },
    };
    let gate_keys = keys.gate_keys(&pipeline.name, &release);
    let gate = Gate::new(release, target, gate_keys, "douane, tried out".to_owned())
        .map_err(|fault| RunFault::Gate(fault.to_string()))?;
    Ok((gate, pipeline, keys))
}

fn refusing(origin: &Origin, by: RefusedBy, code: &'static str) -> Refusing {
    let source = (origin.topic, origin.partition);
    Refusing { by, source, offset: origin.offset, code, column: None }
}

fn by_decoder(refused: &Refused) -> Refusing {
    let Refused { source, offset, by, code } = *refused;
    Refusing { by, source, offset, code, column: None }
}

/// A release of this plan that is live, signed by two approvers who exist for as long as this
/// function runs, under a trust root that lies nowhere.
fn throw_away_release(
    place: &Place,
    pipeline: &Pipeline,
    plan: &Plan,
) -> Result<LiveRelease, RunFault> {
    let fault = |what: &dyn std::fmt::Display| RunFault::Release(format!("trial: {what}"));
    let generate = || SigningKey::generate().map_err(|f| fault(&f));
    let keys = [generate()?, generate()?];
    let signers: Vec<&SigningKey> = keys.iter().collect();
    let person = |(name, key): (&str, &SigningKey)| Approver {
        name: name.to_owned(),
        key: key.verifying_key(),
        roles: vec![Role::Approve, Role::Revoke, Role::Trust],
    };
    let root = Root::first(2, ["one", "two"].into_iter().zip(&keys).map(person).collect());
    let root = trust::sign(&root, &signers).map_err(|f| fault(&f))?;
    let root = root.to_bytes().map_err(|f| fault(&f))?;
    let root = TrustRoot::load(&root, None).map_err(|f| fault(&f))?;
    let limits = Limits { records: None, bytes: None, epsilon: None };
    let proposal =
        release::Proposal { author: "author".to_owned(), life: LIFE, limits, once: None };
    let draft = release::draft(place, pipeline, plan, &proposal, 1)?;
    let envelope = releases::sign(&draft, &signers).map_err(|f| fault(&f))?;
    releases::verify(&envelope, &root, SystemTime::now()).map_err(|f| fault(&f))
}
