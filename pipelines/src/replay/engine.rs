//! One transaction made again: read, decode, stages, merge, gate, as a shard's turn does it, and by
//! the same code.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use douane_connectors::control_switch;
use douane_connectors::edge::{EdgeFault, Topics};
use douane_connectors::kafka::OwnedRecord;
use douane_connectors::registry::Registry;
use douane_gate::{
    Crossing as AtGate, Gate, HEADER_MANIFEST, Passed, RefusedBy, Target, There, TransactionIds,
    Unlike,
};
use douane_ledger::canonical::hex_array;
use douane_ledger::log::{Entry, Intent, RefusedEntry, SpanEntry};
use douane_ledger::manifest::{DigestFile, Subject};
use douane_ledger::release::{LiveRelease, Truncate};
use douane_schemas::batch::{Batch, Origin, RowKind};
use douane_schemas::debezium::{Decoder, Hold, Refusal, WriterSchemas};
use douane_schemas::keys::{Key, Purpose};
use douane_schemas::record::RawRecord;

use super::Answer;
use super::select::Recorded;
use super::windows::{Counting, Windows};
use crate::config::{Pipeline, Place, SinkFormat};
use crate::crossing::{TRY, keys_used};
use crate::dry_run;
use crate::edges::{self, Edges};
use crate::enrich::{self, Looked, Statistics};
use crate::evidence;
use crate::fault::RunFault;
use crate::key_home::KeyHome;
use crate::keys;
use crate::merge::{Deletes, Filter, Merge, Withdrawal};
use crate::names::Names;
use crate::plan::{Plan, RefusedRow, Staged, Stages};
use crate::release::{self, Signed};
use crate::software::software;
use crate::turn::{Refused, Source, Turn};

/// Offsets before a range that are looked at for a delete that its first tombstone repeats.
const BEFORE: i64 = 64;
/// Where these hold no record, as those of an aborted transaction, it is looked for this far back.
const BEFORE_MAX: i64 = BEFORE << 12;
/// What a target refuses for a record's own sake; the stages know nothing of it.
pub(crate) const BY_TARGET: [&str; 4] =
    ["too_large", "invalid_timestamp", "invalid_record", "policy_violation"];
/// What a stage says of a value whose key was destroyed.
const SHREDDED: &str = "subject_shredded";
/// Of the times that keys of subjects were destroyed, so many are told of a transaction.
const SHREDDED_TOLD: usize = 10;
/// Of transactions that differ, so many of a thread are told with the record that differs first.
const LOOKED_MAX: usize = 3;

/// What all threads share.
pub struct Shared {
    pub place: Place,
    pub pipeline: Pipeline,
    pub plan: Plan,
    pub release: Arc<LiveRelease>,
    pub keys: KeyHome,
    pub edges: Edges,
    pub names: Names,
    fingerprint: String,
    /// Who destroyed keys of single subjects that stages used, and when: the last of them first.
    shredded: Vec<String>,
    record_bytes_max: usize,
    value_schema_id: Option<u32>,
    /// Of each root: the key of the digests of source records.
    source_digests: Vec<Key>,
}

impl Shared {
    pub fn new(
        place: Place,
        pipeline: Pipeline,
        plan: Plan,
        signed: Signed,
        keys: KeyHome,
        edges: Edges,
        names: Names,
    ) -> Result<Self, RunFault> {
        let away = RunFault::unreachable("global cluster");
        let admin = edges.global.admin().map_err(&away)?;
        let config = admin.topic_config(&names.data).map_err(&away)?;
        let value_schema_id = match pipeline.sink.format {
            SinkFormat::Json => None,
            SinkFormat::Avro if pipeline.sink.file.is_some() => Some(0),
            SinkFormat::Avro => Some(schema_id(&place, &pipeline, &names)?),
        };
        Ok(Self {
            fingerprint: release::fingerprint(&place, &pipeline, &plan)?,
            shredded: shredded(&place, &keys_used(&plan))?,
            source_digests: keys.pipeline_keys(Purpose::SourceDigest, &pipeline.name),
            release: Arc::new(signed.release),
            record_bytes_max: config.max_message_bytes,
            value_schema_id,
            place,
            pipeline,
            plan,
            keys,
            edges,
            names,
        })
    }
}

/// Of all keys of single subjects that were destroyed in these domains, by whom and when. The ledger names
/// subjects as nobody can read, so of one record it is one of these.
fn shredded(place: &Place, used: &[(Purpose, String)]) -> Result<Vec<String>, RunFault> {
    let mut told = Vec::new();
    for entry in keys::entries(&place.ledger_dir)? {
        let Entry::Shredded { domain, subjects, at, by, .. } = entry else { continue };
        if !used.iter().any(|(_, known)| *known == domain) {
            continue;
        }
        let at = if at.is_empty() { "at a time that its certificate names" } else { &at };
        told.push(format!(
            "keys of {} subjects of domain `{domain}` were destroyed by {by}, {at}",
            subjects.len()
        ));
    }
    told.reverse();
    Ok(told)
}

/// The id under which the registry has the output's schema. Nothing is registered here.
fn schema_id(place: &Place, pipeline: &Pipeline, names: &Names) -> Result<u32, RunFault> {
    let registry = Registry::new(&place.global);
    let registry = registry.map_err(|fault| RunFault::Registry(fault.to_string()))?;
    let subject = pipeline.sink.subject.replace("{topic}", &names.data);
    let latest =
        registry.latest(&subject).map_err(|fault| RunFault::Registry(fault.to_string()))?;
    let none = || RunFault::Registry(format!("subject `{subject}` is gone from the registry"));
    latest.map(|(id, _)| id).ok_or_else(none)
}

/// Stages and gate under the keys of one time, for a number of target partitions.
struct Made {
    stages: Stages,
    gate: Gate,
}

/// One thread's.
pub struct Engine<'s> {
    shared: &'s Shared,
    decoder: Decoder,
    schemas: Box<dyn WriterSchemas>,
    made: BTreeMap<(Vec<String>, u32), Option<Made>>,
    turn: Turn,
    batch_rows: usize,
    counting: Option<Counting>,
    /// What was known as of some transaction.
    statistics: Option<Arc<Statistics>>,
    reading: enrich::Reading,
    /// How many transactions the target was read for, to name the record that differs.
    looked: usize,
}

/// What making a transaction again came to, and why.
type Compared = (Answer, Vec<String>);

impl<'s> Engine<'s> {
    pub fn new(shared: &'s Shared, batch_rows: usize) -> Result<Self, RunFault> {
        Ok(Self {
            decoder: shared.plan.decoder(&shared.pipeline),
            schemas: dry_run::schemas(&shared.place)?,
            shared,
            made: BTreeMap::new(),
            turn: Turn::default(),
            batch_rows: batch_rows.max(1),
            counting: Counting::of(shared),
            statistics: None,
            reading: enrich::Reading::default(),
            looked: 0,
        })
    }

    /// Makes a transaction again.
    pub fn again(&mut self, one: &Recorded) -> Result<Compared, RunFault> {
        let intent = &one.intent;
        let any = control_switch::replay_any_plan();
        if intent.fingerprint != self.shared.fingerprint && !any {
            let then = intent.fingerprint.get(..12).unwrap_or_default();
            let why = format!(
                "it crossed under fingerprint {then}…, and these files have {}…: replay it with the \
                 pipeline's file of then, what that names and its release beside it, from git, and \
                 `--release {}`",
                &self.shared.fingerprint[..12],
                intent.release.get(..12).unwrap_or_default(),
            );
            return Ok((Answer::SemanticsGone, vec![why, self.made_by(one)]));
        }
        let at = (intent.key_ids.clone(), intent.target_partitions);
        if !self.made.contains_key(&at) {
            let made = self.make(&intent.key_ids, intent.target_partitions)?;
            self.made.insert(at.clone(), made);
        }
        let (mut made, key) = (self.made.remove(&at).flatten(), at);
        let told = match &mut made {
            Some(made) => self.compare(one, made),
            None => {
                let why = "a key that it was made with is not in this place's store".to_owned();
                Ok((Answer::KeysGone, vec![why]))
            }
        };
        self.made.insert(key, made);
        self.turn.clear();
        self.decoder.finish();
        told
    }

    fn make(&self, key_ids: &[String], partitions: u32) -> Result<Option<Made>, RunFault> {
        let shared = self.shared;
        let ids: BTreeSet<&str> = key_ids.iter().map(String::as_str).collect();
        let Some(ring) = shared.keys.keyring_of(&ids, &keys_used(&shared.plan)) else {
            return Ok(None);
        };
        let keys = shared.keys.gate_keys_of(&ring, &shared.pipeline.name, &shared.release);
        let target = Target {
            topic: shared.names.data.clone(),
            manifest_topic: shared.names.manifest.clone(),
            partitions,
            record_bytes_max: shared.record_bytes_max,
            value_schema_id: shared.value_schema_id,
        };
        let gate = Gate::new(Arc::clone(&shared.release), target, keys, software().to_owned())
            .map_err(|fault| RunFault::Gate(fault.to_string()))?;
        let stages = shared.plan.compile(&shared.pipeline, &ring)?;
        Ok(Some(Made { stages, gate }))
    }

    /// Which program has the semantics of then, as its manifest says it.
    fn made_by(&self, one: &Recorded) -> String {
        let now = software();
        match &one.manifest {
            Some(manifest) => format!("it was made by {}; this is {now}", manifest.software),
            None if self.shared.place.global.dir.is_some() => {
                format!("what made it, `_manifest.json` in its part says; this is {now}")
            }
            None => format!("what made it, its manifest says, which is not there; this is {now}"),
        }
    }

    fn compare(&mut self, one: &Recorded, made: &mut Made) -> Result<Compared, RunFault> {
        let intent = &one.intent;
        if let Some(why) = self.know(one, made)? {
            return Ok((Answer::InputGone, vec![why]));
        }
        let (ids, Some(spans)) = (ids(one), self.spans(&intent.spans)) else {
            let why = "it read a topic that this pipeline does not".to_owned();
            return Ok((Answer::SemanticsGone, vec![why, self.made_by(one)]));
        };
        let Some(ids) = ids else {
            return Ok((Answer::Different, vec!["its ids in the ledger are malformed".to_owned()]));
        };
        let mut staged = Vec::new();
        let mut before = Vec::new();
        for (source, span) in spans.iter().zip(&intent.spans) {
            let records = self.read_before(*source, span)?;
            let from = records.partition_point(|record| record.offset < span.start);
            let mut next = span.start;
            for record in &records[from..] {
                let headers = record.headers();
                let raw = RawRecord { topic: source.0, ..record.raw(&headers) };
                self.turn.take(&raw, next);
                next = record.offset + 1;
                if let Some(why) = self.push(&raw, made, &mut staged)? {
                    return Ok((Answer::Different, vec![why]));
                }
            }
            before.push((*source, records, from));
        }
        for (topic, partition, offset) in tried_again(one) {
            let Some(source) = self.source(topic, partition) else { continue };
            for record in &self.read(source, offset, offset + 1)? {
                let headers = record.headers();
                let raw = RawRecord { topic: source.0, ..record.raw(&headers) };
                self.turn.take_again(&raw);
                if let Some(why) = self.push(&raw, made, &mut staged)? {
                    return Ok((Answer::Different, vec![why]));
                }
            }
        }
        if let Some(why) = self.input_gone(one, &spans)? {
            return Ok((Answer::InputGone, vec![why]));
        }
        staged.push(made.stages.apply(self.decoder.finish())?);
        let mut staged = joined(staged)?;
        if let Some(why) = self.hold_back(&one.windows, made, &mut staged)? {
            return Ok((Answer::InputGone, vec![why]));
        }
        let deletes = self.deletes(&staged, before, one, made)?;
        let passed = self.pass(one, made, &staged, deletes, ids)?;
        let (answer, mut why) = self.told(one, &passed);
        if answer == Answer::Different {
            why.extend(self.first(one, &passed, &staged.batch.origins)?);
        }
        Ok((answer, why))
    }

    /// Puts a record into the batch; where that is full, through the stages first. `Some`: what is
    /// wrong with it, which nothing was when it crossed.
    fn push(
        &mut self,
        raw: &RawRecord<'_>,
        made: &Made,
        staged: &mut Vec<Staged>,
    ) -> Result<Option<String>, RunFault> {
        if self.decoder.len() >= self.batch_rows {
            staged.push(made.stages.apply(self.decoder.finish())?);
        }
        let mut pushed = self.decoder.push(raw, self.schemas.as_mut());
        if matches!(pushed, Err(Refusal::Full)) {
            staged.push(made.stages.apply(self.decoder.finish())?);
            pushed = self.decoder.push(raw, self.schemas.as_mut());
        }
        let (source, offset) = ((raw.topic, raw.partition), raw.offset);
        let drops = self.shared.pipeline.changes.truncate == Truncate::Drop;
        match pushed {
            Ok(()) => {}
            Err(Refusal::Quarantine(code)) => {
                let (by, code) = (RefusedBy::Decoder, code.code());
                self.turn.refuse(Refused { source, offset, by, code });
            }
            Err(Refusal::Hold(Hold::Truncate)) if drops => self.turn.pass_over(source, offset),
            Err(Refusal::Hold(_) | Refusal::Full) => {
                let at = self.at(source, offset);
                return Ok(Some(format!("{at} would hold its partition, and did not")));
            }
            Err(Refusal::Away(why)) => {
                let what = "the sovereign registry".to_owned();
                return Err(RunFault::Unreachable { what, why: why.to_string() });
            }
        }
        Ok(None)
    }

    /// What was read is not what is there.
    fn input_gone(&self, one: &Recorded, spans: &[Source]) -> Result<Option<String>, RunFault> {
        let recorded: BTreeSet<(&str, i32, &str)> = one
            .intent
            .source_digests
            .iter()
            .map(|digest| (digest.topic.as_str(), digest.partition, digest.mac.as_str()))
            .collect();
        let same = self.shared.source_digests.iter().any(|key| {
            let found: Vec<(Source, String)> = self
                .turn
                .digests(key)
                .into_iter()
                .map(|(source, mac)| (source, douane_ledger::canonical::hex(&mac)))
                .collect();
            let found = found
                .iter()
                .map(|(source, mac)| (self.shared.topic(source.0), source.1, mac.as_str()));
            found.collect::<BTreeSet<_>>() == recorded
        });
        if same {
            return Ok(None);
        }
        let edge = &self.shared.edges.sovereign;
        let source = edge
            .source(&self.shared.names.group, &self.shared.pipeline.source.topics)
            .map_err(away)?;
        for (at, span) in spans.iter().zip(&one.intent.spans) {
            let (low, _) = source.watermarks(at.0, at.1).map_err(away)?;
            if low > span.start {
                let SpanEntry { topic, partition, start, .. } = span;
                return Ok(Some(format!(
                    "{topic}[{partition}]@{start}: retention took it; the log begins at {low}"
                )));
            }
        }
        source.close();
        let why = "the records there are not those that were read: compaction took some, or the \
                   topic is another";
        Ok(Some(why.to_owned()))
    }

    /// Which partitions' last record before the batch was a delete, where that may matter.
    fn deletes(
        &mut self,
        staged: &Staged,
        before: Vec<(Source, Vec<OwnedRecord>, usize)>,
        one: &Recorded,
        made: &Made,
    ) -> Result<Deletes, RunFault> {
        let withdrawal = self.withdrawal();
        let mut deletes = Deletes::new();
        for (source, mut records, from) in before {
            let mine = |o: &&douane_schemas::batch::Origin| (o.topic, o.partition) == source;
            let first = staged.batch.origins.iter().find(mine);
            let matters = first.is_some_and(|o| o.kind() == RowKind::Tombstone);
            if !matters && withdrawal.is_none() {
                continue;
            }
            records.truncate(from);
            let mut earlier = Turn::default();
            for record in &records {
                let headers = record.headers();
                let raw = RawRecord { topic: source.0, ..record.raw(&headers) };
                if self.decoder.push(&raw, self.schemas.as_mut()).is_err() {
                    let (by, code) = (RefusedBy::Decoder, "earlier");
                    earlier.refuse(Refused { source, offset: raw.offset, by, code });
                }
            }
            let mut before = made.stages.apply(self.decoder.finish())?;
            // Of a window that is gone nothing is known: its rows count as having crossed.
            self.hold_back(&one.windows, made, &mut before)?;
            for RefusedRow { origin, code, .. } in &before.refused {
                let by = RefusedBy::Stage;
                earlier.refuse(Refused { source, offset: origin.offset, by, code });
            }
            let topic = self.shared.topic(source.0);
            for record in &records {
                let (by, code) = (RefusedBy::Gate, "earlier");
                if one.stopped.contains(&(topic.to_owned(), source.1, record.offset)) {
                    earlier.refuse(Refused { source, offset: record.offset, by, code });
                }
            }
            let merge = self.merge(&earlier, &before, Deletes::new(), withdrawal);
            deletes.extend(merge.deletes);
        }
        // What was tried again was passed long before.
        if !one.intent.redriven.is_empty() {
            deletes.clear();
        }
        Ok(deletes)
    }

    /// Rows get the statistics that were known then. `Some`: they are not there any more.
    fn know(&mut self, one: &Recorded, made: &mut Made) -> Result<Option<String>, RunFault> {
        let shared = self.shared;
        let Some(enriched) = &shared.plan.enriched else { return Ok(None) };
        let then = &one.intent.statistics;
        if self.statistics.as_ref().is_none_or(|known| known.read() != then) {
            let (place, signer) = (&shared.place, shared.keys.manifest_public());
            match self.reading.look(place, &enriched.said, signer, Some(then))? {
                Looked::Known(statistics) => self.statistics = Some(Arc::new(statistics)),
                Looked::Gone(why) => return Ok(Some(why)),
            }
        }
        if let Some(statistics) = &self.statistics {
            made.stages.know(Arc::clone(statistics));
        }
        Ok(None)
    }

    /// Rows of groups that were too small do not cross. `Some`: their window is not there any more.
    fn hold_back(
        &mut self,
        windows: &Windows,
        made: &Made,
        staged: &mut Staged,
    ) -> Result<Option<String>, RunFault> {
        let (shared, schemas) = (self.shared, self.schemas.as_mut());
        match &mut self.counting {
            Some(counting) => counting.hold_back(shared, &made.stages, schemas, windows, staged),
            None => Ok(None),
        }
    }

    fn withdrawal(&self) -> Option<Withdrawal> {
        Withdrawal::of(&self.shared.plan, &self.shared.pipeline.changes)
    }

    fn merge(
        &self,
        turn: &Turn,
        staged: &Staged,
        before: Deletes,
        withdrawal: Option<Withdrawal>,
    ) -> Merge {
        let digest = |row| evidence::key_digest(&staged.keys, row);
        let keeps = self.shared.pipeline.changes.keeps_deletes();
        let filter = Filter { outside: &staged.outside, withdrawal };
        Merge::new(turn, &staged.batch.origins, filter, before, keeps, digest)
    }

    /// Merge and gate, as in a shard's turn: a row that was taken out again lies in no span.
    fn pass(
        &mut self,
        one: &Recorded,
        made: &mut Made,
        staged: &Staged,
        deletes: Deletes,
        ids: TransactionIds,
    ) -> Result<Passed, RunFault> {
        for RefusedRow { origin, code, .. } in &staged.refused {
            let source = (origin.topic, origin.partition);
            let (offset, by) = (origin.offset, RefusedBy::Stage);
            self.turn.refuse(Refused { source, offset, by, code });
        }
        for refused in &one.refused {
            let code = BY_TARGET.into_iter().find(|code| *code == refused.code);
            let source = self.source(&refused.topic, refused.partition);
            let (Some(code), Some(source)) = (code, source) else { continue };
            let known = self.turn.refused();
            if !known.iter().any(|r| (r.source, r.offset) == (source, refused.offset)) {
                let (offset, by) = (refused.offset, RefusedBy::Target);
                self.turn.refuse(Refused { source, offset, by, code });
            }
        }
        let withdrawal = self.withdrawal().filter(|_| !self.turn.is_again());
        let mut merge = self.merge(&self.turn, staged, deletes.clone(), withdrawal);
        loop {
            let crossing = AtGate {
                columns: &staged.columns,
                keys: &staged.keys,
                before: staged.before.as_ref(),
                raw: &staged.batch.rows,
                origins: &staged.batch.origins,
                skip: &merge.skip,
                withdrawn: &merge.withdrawn,
            };
            let passed = made.gate.pass(crossing, ids.clone());
            let passed = passed.map_err(|fault| RunFault::Gate(fault.to_string()))?;
            let refused = passed.refused();
            for (row, refusal) in refused {
                let origin = &staged.batch.origins[*row];
                let (source, offset) = ((origin.topic, origin.partition), origin.offset);
                let (by, code) = (RefusedBy::Gate, refusal.code());
                self.turn.refuse(Refused { source, offset, by, code });
            }
            if refused.is_empty() {
                return Ok(passed);
            }
            let now = self.merge(&self.turn, staged, deletes.clone(), withdrawal);
            let is_refused = |row| refused.binary_search_by_key(&row, |(row, _)| *row).is_ok();
            if now.is_as(&merge, is_refused) {
                return Ok(passed);
            }
            merge = now;
        }
    }

    /// What came of it, beside what was signed.
    fn told(&self, one: &Recorded, passed: &Passed) -> Compared {
        let entry = |refused: &Refused| RefusedEntry {
            topic: self.shared.topic(refused.source.0).to_owned(),
            partition: refused.source.1,
            offset: refused.offset,
            code: refused.code.to_owned(),
        };
        let found: Vec<RefusedEntry> = self.turn.refused().iter().map(entry).collect();
        let place = |r: &RefusedEntry| ((r.topic.clone(), r.partition, r.offset), r.code.clone());
        let then: BTreeMap<_, _> = one.refused.iter().map(place).collect();
        let now: BTreeMap<_, _> = found.iter().map(place).collect();
        // A destroyed key takes its own record away, whatever refused that one then, and changes nothing
        // else.
        let news: Vec<_> = now.iter().filter(|(at, code)| then.get(*at) != Some(*code)).collect();
        let gone = news.iter().any(|(_, code)| *code == SHREDDED);
        let is_gone = |at| now.get(at).is_some_and(|code| code == SHREDDED);
        let olds = then.iter().filter(|(at, code)| now.get(*at) != Some(*code) && !is_gone(*at));
        let olds: Vec<_> = olds.collect();
        let mut differs = news.iter().any(|(_, code)| *code != SHREDDED) || !olds.is_empty();
        let mut why = Vec::new();
        for ((topic, partition, offset), code) in news.iter().take(10) {
            why.push(format!("{topic}[{partition}]@{offset} is refused now ({code})"));
        }
        for ((topic, partition, offset), code) in olds.iter().take(10) {
            why.push(format!("{topic}[{partition}]@{offset} was refused then ({code})"));
        }
        let of = |subjects: &[Subject]| -> BTreeMap<(String, i32), (u64, String)> {
            let each = subjects.iter();
            each.map(|s| ((s.topic.clone(), s.partition), (s.count, s.digest.clone()))).collect()
        };
        let made = of(passed.subjects());
        let sides = [
            ("the ledger", Some(of(&one.intent.subjects))),
            ("its manifest", one.manifest.as_ref().map(|manifest| of(&manifest.subjects))),
        ];
        for (side, signed) in sides {
            let Some(signed) = signed else { continue };
            let places: BTreeSet<_> = signed.keys().chain(made.keys()).collect();
            for place in places.into_iter().filter(|place| signed.get(*place) != made.get(*place)) {
                let count = |of: Option<&(u64, String)>| of.map_or(0, |(count, _)| *count);
                let (then, now) = (count(signed.get(place)), count(made.get(place)));
                // Of a smaller group more rows may be withdrawn.
                differs |= then == now && self.counting.is_none();
                let what = match then == now {
                    true => format!("{now} records of other bytes"),
                    false => format!("{now} records, and {side} says {then}"),
                };
                why.push(format!("{}[{}]: {what}", place.0, place.1));
            }
        }
        why.dedup();
        if why.is_empty() {
            return (Answer::Equal, why);
        }
        if !gone || differs {
            return (Answer::Different, why);
        }
        let shredded = &self.shared.shredded;
        why.extend(shredded.iter().take(SHREDDED_TOLD).cloned());
        if shredded.len() > SHREDDED_TOLD {
            why.push(format!("and {} times before", shredded.len() - SHREDDED_TOLD));
        }
        (Answer::KeysGone, why)
    }

    /// Of what differs the first record, by its place on both sides, and what of it. A partition is read
    /// for it from its beginning on, so only so many times.
    fn first(
        &mut self,
        one: &Recorded,
        passed: &Passed,
        origins: &[Origin],
    ) -> Result<Option<String>, RunFault> {
        let shared = self.shared;
        if shared.place.global.dir.is_some() || self.looked == LOOKED_MAX {
            return Ok(None);
        }
        let made = passed.subjects();
        let is_made = |subject: &&Subject| made.contains(subject);
        let lost = one.intent.subjects.iter().find(|subject| !is_made(subject));
        let added = || made.iter().find(|subject| !one.intent.subjects.contains(subject));
        let Some(subject) = lost.or_else(added) else { return Ok(None) };
        let signed = one.intent.subjects.iter().find(|s| s.partition == subject.partition);
        let count = signed.map_or(0, |signed| signed.count);
        let Some(salt) = hex_array(&one.intent.salt) else { return Ok(None) };
        self.looked += 1;
        let (mut file, mut offsets) = (DigestFile::new(salt), Vec::new());
        let mut there: Vec<There> = Vec::new();
        let mut each = |raw: &RawRecord<'_>| {
            let id = raw.headers.iter().find(|(name, _)| *name == HEADER_MANIFEST);
            if id.and_then(|(_, id)| *id) == Some(one.intent.manifest_id.as_bytes()) {
                file.record(subject.partition, raw.timestamp_ms, raw.key, raw.value, raw.headers);
                offsets.push(raw.offset);
                let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                there.push((raw.timestamp_ms, own(raw.key), own(raw.value)));
            }
            match there.len() as u64 >= count {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let place = format!("{}[{}]", subject.topic, subject.partition);
        let away = RunFault::unreachable("global cluster");
        let read = edges::topics(&shared.place.global).and_then(|topics| match count {
            0 => Ok(()),
            _ => {
                let read = topics.read(&subject.topic, subject.partition, 0, TRY * 6, &mut each);
                read.map(drop).map_err(away)
            }
        });
        // What differs is the answer, which a target that is away does not take back.
        if let Err(fault) = read {
            let why = fault.to_string();
            let why = why.lines().next().unwrap_or_default();
            return Ok(Some(format!("which record differs first is not known: {place}: {why}")));
        }
        if (there.len() as u64) < count {
            return Ok(Some(format!(
                "which record differs first is not known: not all of them are in {place} any more"
            )));
        }
        if signed.is_some_and(|signed| signed.digest != file.hex()) {
            return Ok(Some(format!(
                "what lies in {place} is not what was signed either: `douane verify --topic` says more"
            )));
        }
        let Some(unlike) = passed.first_unlike(subject.partition, &there) else { return Ok(None) };
        let of = unlike.row.and_then(|row| origins.get(row)).map_or_else(String::new, |origin| {
            format!(", of {}", self.at((origin.topic, origin.partition), origin.offset))
        });
        let at = match offsets.get(unlike.index) {
            Some(offset) => format!("{place}@{offset}"),
            None => place,
        };
        let what = match unlike.what {
            Unlike::NotMade => "it is not made now".to_owned(),
            Unlike::NotThere => "it is made now, and did not cross".to_owned(),
            Unlike::Time => "its time".to_owned(),
            Unlike::Key => "its key".to_owned(),
            Unlike::Value(Some(column)) => format!("column `{column}`"),
            Unlike::Value(None) => "its value".to_owned(),
        };
        Ok(Some(format!("the first that differs: {at}{of}: {what}")))
    }

    fn at(&self, source: Source, offset: i64) -> String {
        format!("{}[{}]@{offset}", self.shared.topic(source.0), source.1)
    }

    fn source(&self, topic: &str, partition: i32) -> Option<Source> {
        let topics = &self.shared.pipeline.source.topics;
        let index = topics.iter().position(|name| name == topic)?;
        Some((u32::try_from(index).ok()?, partition))
    }

    fn spans(&self, spans: &[SpanEntry]) -> Option<Vec<Source>> {
        spans.iter().map(|span| self.source(&span.topic, span.partition)).collect()
    }

    /// A span's committed records, and the last ones before it.
    fn read_before(&self, source: Source, span: &SpanEntry) -> Result<Vec<OwnedRecord>, RunFault> {
        let mut records = self.read(source, span.start - BEFORE, span.end)?;
        let mut back = BEFORE;
        while records.first().is_none_or(|first| first.offset >= span.start)
            && back < BEFORE_MAX.min(span.start)
        {
            let end = span.start - back;
            back *= 4;
            let mut last = VecDeque::new();
            self.scan(source, span.start - back, end, &mut |record| {
                if last.len() == BEFORE as usize {
                    last.pop_front();
                }
                last.push_back(OwnedRecord::of(record));
            })?;
            records.splice(0..0, last);
        }
        Ok(records)
    }

    /// The committed records of a range.
    fn read(&self, source: Source, start: i64, end: i64) -> Result<Vec<OwnedRecord>, RunFault> {
        let mut records = Vec::new();
        self.scan(source, start, end, &mut |record| records.push(OwnedRecord::of(record)))?;
        Ok(records)
    }

    /// Goes through a range. No group is joined, and nothing is committed.
    fn scan(
        &self,
        source: Source,
        start: i64,
        end: i64,
        take: &mut dyn FnMut(&RawRecord<'_>),
    ) -> Result<(), RunFault> {
        let mut each = |record: &RawRecord<'_>| {
            if record.offset >= end {
                return ControlFlow::Break(());
            }
            take(record);
            match record.offset + 1 >= end {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let (edge, topic) = (&self.shared.edges.sovereign, self.shared.topic(source.0));
        edge.scan(topic, source.1, start.max(0), TRY * 6, &mut each).map(drop).map_err(away)
    }
}

impl Shared {
    pub fn topic(&self, index: u32) -> &str {
        self.pipeline.source.topics.get(index as usize).map_or("?", String::as_str)
    }
}

fn away(fault: EdgeFault) -> RunFault {
    RunFault::unreachable("sovereign cluster")(fault)
}

/// Records that were passed before and tried again: those that crossed then, those that were refused once
/// more, which lie in no span of the transaction, and those that are outside of WHERE, which its own entry
/// does not name.
fn tried_again(one: &Recorded) -> Vec<(&str, i32, i64)> {
    let Intent { spans, redriven, .. } = &one.intent;
    let is_read = |r: &&RefusedEntry| {
        spans.iter().any(|span| {
            (&span.topic, span.partition) == (&r.topic, r.partition)
                && (span.start..span.end).contains(&r.offset)
        })
    };
    let refused = one.refused.iter().filter(|r| !is_read(r));
    let refused = refused.map(|r| (r.topic.as_str(), r.partition, r.offset));
    let redriven = redriven.iter().chain(&one.outside);
    redriven.map(|r| (r.topic.as_str(), r.partition, r.offset)).chain(refused).collect()
}

/// What the records' headers and digests began with.
fn ids(one: &Recorded) -> Option<TransactionIds> {
    Some(TransactionIds {
        manifest_id: hex_array(&one.intent.manifest_id)?,
        traceparent: one.intent.traceparent.clone(),
        salt: hex_array(&one.intent.salt)?,
        sequence: one.intent.seq,
        shard: one.shard,
    })
}

/// Batches that went through the stages apart, as one.
fn joined(mut parts: Vec<Staged>) -> Result<Staged, RunFault> {
    if parts.len() == 1 {
        // unwrap safety: one is there.
        return parts.pop().ok_or(RunFault::ThreadDied);
    }
    let join =
        |pick: &dyn Fn(&Staged) -> Option<RecordBatch>| -> Result<Option<RecordBatch>, RunFault> {
            let all: Option<Vec<RecordBatch>> = parts.iter().map(pick).collect();
            let Some(all) = all.filter(|all| !all.is_empty()) else { return Ok(None) };
            let joined = concat_batches(&all[0].schema(), &all);
            joined.map(Some).map_err(|_| RunFault::Gate("batches do not join".to_owned()))
        };
    let needed = |batch: Option<RecordBatch>| {
        batch.ok_or_else(|| RunFault::Gate("batches do not join".to_owned()))
    };
    Ok(Staged {
        columns: needed(join(&|one| Some(one.columns.clone()))?)?,
        keys: needed(join(&|one| Some(one.keys.clone()))?)?,
        before: join(&|one| one.before.clone())?,
        batch: Batch {
            rows: needed(join(&|one| Some(one.batch.rows.clone()))?)?,
            origins: parts.iter().flat_map(|one| one.batch.origins.iter().cloned()).collect(),
        },
        outside: parts.iter().flat_map(|one| one.outside.iter().copied()).collect(),
        refused: parts.into_iter().flat_map(|one| one.refused).collect(),
    })
}

#[cfg(test)]
mod tests {
    use douane_ledger::log::RedrivenEntry;

    use super::*;

    /// Of what a transaction refused, that which it read itself was not tried again.
    #[test]
    fn what_was_tried_again_is_read_again_whatever_became_of_it() {
        let refused = |partition, offset| RefusedEntry {
            topic: "t".into(),
            partition,
            offset,
            code: "gate_found_email".into(),
        };
        let again = |offset| RedrivenEntry { topic: "t".into(), partition: 0, offset };
        let span = SpanEntry { topic: "t".into(), partition: 0, start: 10, end: 20 };
        for (spans, refused, redriven, outside, expected) in [
            (vec![span.clone()], vec![refused(0, 10), refused(0, 19)], vec![], None, vec![]),
            (
                vec![span],
                vec![refused(0, 20), refused(1, 15)],
                vec![],
                None,
                vec![(0, 20), (1, 15)],
            ),
            (vec![], vec![refused(0, 4)], vec![], None, vec![(0, 4)]),
            (vec![], vec![], vec![again(5)], None, vec![(0, 5)]),
            (vec![], vec![], vec![], Some(again(6)), vec![(0, 6)]),
        ] {
            let intent = Intent { spans, redriven, ..Intent::default() };
            let one = Recorded { outside, ..Recorded::of("shard-0".into(), 0, intent, refused) };
            let found: Vec<_> = tried_again(&one).iter().map(|(_, p, o)| (*p, *o)).collect();
            assert_eq!(found, expected);
        }
    }
}
