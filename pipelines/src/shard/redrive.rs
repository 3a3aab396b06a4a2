//! Trying again what was set aside, between two turns of the shard that owns its partition.
//!
//! Only the owner can do it: it alone knows that no newer record of the key crosses meanwhile.
//! A record that crosses rides in a transaction of its own, with the position; its place in the
//! source was passed long before and does not move. It is read from the source once more: where
//! the source has lost it, what came after it is lost or newer.

use std::ops::ControlFlow;

use douane_connectors::edge::{EdgeFault, Sink};
use douane_connectors::kafka::OwnedRecord;
use douane_ledger::log::Entry;
use douane_schemas::debezium::{Hold, Refusal};
use douane_schemas::record::RawRecord;
use serde_json::json;

use super::{Life, Shard};
use crate::crossing::TRY;
use crate::evidence;
use crate::fault::RunFault;
use crate::quarantine::{At, Outcome, Refusals, Request};
use crate::turn::{Source, Turn};

/// Newer records that are looked at together: rows and bytes.
const LOOK: (usize, usize) = (5_000, 4 << 20);

/// The decoder's buffers have no room for one more row.
const FULL: &str = "full";

/// Whatever was in the table before it is gone.
const TRUNCATED: &str = "truncated";

impl Shard<'_> {
    /// Tries again what a request asks for of this shard's partitions; each request once a life.
    pub(super) fn redrive(
        &self,
        life: &mut Life,
        mut sink: Box<dyn Sink>,
    ) -> Result<Box<dyn Sink>, RunFault> {
        let asked = Request::read(&self.crossing.pipeline);
        // What is tried again is in no window: nobody counted it.
        if life.counter.is_some() || asked == life.redriven {
            return Ok(sink);
        }
        life.redriven.clone_from(&asked);
        let Some(request) = asked else { return Ok(sink) };
        let refusals = self.refusals(life, &request)?;
        let before = life.log.next_index();
        for at in request.records {
            let topic = self.crossing.topics().iter().position(|topic| *topic == at.topic);
            let Some(source) = topic.map(|topic| (topic as u32, at.partition)) else { continue };
            // Another shard's, or not passed yet.
            let Some(next) = life.places.get(&source).map(|place| place.next) else { continue };
            if at.offset >= next || refusals.outcome(&at).is_some_and(Outcome::is_done) {
                continue;
            }
            self.crossing.still_live()?;
            if self.stop.is_set() {
                break;
            }
            // A request is a file that anybody may write: only what a committed intent refused is
            // tried again. All else has crossed, or is on its way.
            sink = match refusals.is_refused(&at) {
                true => self.try_again(life, source, &at, next, sink)?,
                false => self.stays(life, &at, "not_quarantined").map(|()| sink)?,
            };
        }
        // What was written last is part of the log once a position names it.
        if life.log.next_index() > before {
            sink = self.cross(life, &mut Turn::default(), sink)?;
        }
        Ok(sink)
    }

    /// What the logs of all shards say of what is asked for: the partition may have had another owner. This
    /// shard's own is read to its end, the others' as far as the target names them.
    fn refusals(&self, life: &Life, request: &Request) -> Result<Refusals, RunFault> {
        let crossing = self.crossing;
        let mut refusals = Refusals::only(request.records.iter().cloned());
        for (shard, _) in crossing.positions.shards(self.control.layout())? {
            let head = match shard.shard == self.number {
                true => Some(life.log.head()),
                false => shard.ledger,
            };
            let Some(head) = head else { continue };
            let name = crossing.names.log(shard.shard);
            refusals.read(&crossing.ledger_home(), &name, &head)?;
        }
        Ok(refusals)
    }

    /// One record: its outcome stands in the ledger afterwards.
    fn try_again(
        &self,
        life: &mut Life,
        source: Source,
        at: &At,
        next: i64,
        sink: Box<dyn Sink>,
    ) -> Result<Box<dyn Sink>, RunFault> {
        let (low, _) =
            life.source.watermarks(source.0, source.1).map_err(self.crossing.source_fault())?;
        if at.offset < low {
            return self.stays(life, at, "newer_unknown").map(|()| sink);
        }
        let Some(record) = self.read_from_source(source, at.offset)? else {
            // Compaction took it, which takes nothing but what a newer record of the key replaces.
            return self.stays(life, at, "superseded").map(|()| sink);
        };
        let headers = record.headers();
        let raw = record.raw(&headers);
        let digest = match self.digest(life, &raw)? {
            Ok(digest) => digest,
            Err(code) => return self.stays(life, at, code).map(|()| sink),
        };
        match self.is_newer(life, source, &raw, &digest, next)? {
            Some(false) => {}
            Some(true) => return self.stays(life, at, "superseded").map(|()| sink),
            None => return self.stays(life, at, "newer_unknown").map(|()| sink),
        }
        let mut turn = Turn::default();
        self.push(life, &raw)?.ok();
        turn.take_again(&raw);
        let sink = self.cross(life, &mut turn, sink)?;
        // Crash here: it crossed, and the intent says so.
        match (turn.refused().first(), turn.redriven()) {
            (Some(refused), _) => self.stays(life, at, refused.code).map(|()| sink),
            (None, None) => self.stays(life, at, "outside_where").map(|()| sink),
            (None, Some(_)) => {
                self.tell(at, "crossed");
                Ok(sink)
            }
        }
    }

    /// Writes down that a record was tried and did not cross.
    fn stays(&self, life: &mut Life, at: &At, outcome: &str) -> Result<(), RunFault> {
        life.log.append(&Entry::Redriven {
            topic: at.topic.clone(),
            partition: at.partition,
            offset: at.offset,
            outcome: outcome.to_owned(),
        })?;
        self.tell(at, outcome);
        Ok(())
    }

    fn tell(&self, at: &At, outcome: &str) {
        let fields = json!({
            "topic": at.topic, "partition": at.partition, "offset": at.offset, "outcome": outcome,
        });
        self.report.event("redriven", fields);
    }

    /// The record at an offset; `None` where it is not there any more.
    fn read_from_source(
        &self,
        source: Source,
        offset: i64,
    ) -> Result<Option<OwnedRecord>, RunFault> {
        let mut found = None;
        let scanned = self.scan(source, offset, &mut |record| {
            if record.offset == offset {
                found = Some(OwnedRecord::of(record));
            }
            ControlFlow::Break(())
        });
        scanned.map_err(self.crossing.source_fault())?;
        Ok(found)
    }

    fn scan(
        &self,
        source: Source,
        from: i64,
        each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), EdgeFault> {
        let topic = self.crossing.topic_name(source.0);
        self.crossing.edges.sovereign.scan(topic, source.1, from, TRY * 6, each)
    }

    /// Decodes a record; a refusal by its code.
    fn push(
        &self,
        life: &mut Life,
        record: &RawRecord<'_>,
    ) -> Result<Result<(), &'static str>, RunFault> {
        let mut schemas = self.crossing.schemas();
        match life.decoder.push(record, schemas.as_mut()) {
            Ok(()) => Ok(Ok(())),
            Err(Refusal::Quarantine(code)) => Ok(Err(code.code())),
            Err(Refusal::Hold(Hold::Truncate)) => Ok(Err(TRUNCATED)),
            Err(Refusal::Hold(_)) => Ok(Err("unknown_shape")),
            Err(Refusal::Full) => Ok(Err(FULL)),
            Err(Refusal::Away(why)) => Err(RunFault::Again(why.to_string())),
        }
    }

    /// Digest of the key that a record would have outside; or the code of what refuses it.
    fn digest(
        &self,
        life: &mut Life,
        record: &RawRecord<'_>,
    ) -> Result<Result<String, &'static str>, RunFault> {
        if let Err(code) = self.push(life, record)? {
            return Ok(Err(code));
        }
        let staged =
            life.stages.apply(life.decoder.finish()).map_err(|stop| self.crossing.stopped(stop))?;
        Ok(match staged.refused.first() {
            Some(row) => Err(row.code),
            None => Ok(evidence::key_digest(&staged.keys, 0)),
        })
    }

    /// Whether the source holds a record of the same key, or the table's truncate, after this one and
    /// before `next`. What is after `next` crosses after it. One that does not decode is known by its raw
    /// key only. `None`: there is more than can be read in the time.
    fn is_newer(
        &self,
        life: &mut Life,
        source: Source,
        record: &RawRecord<'_>,
        digest: &str,
        next: i64,
    ) -> Result<Option<bool>, RunFault> {
        // Without a key outside no record takes another's place.
        if self.crossing.plan.keys.is_empty() {
            return Ok(Some(false));
        }
        let mut outcome = Ok(false);
        let mut bytes = 0;
        let scanned = self.scan(source, record.offset + 1, &mut |newer| {
            if newer.offset >= next {
                return ControlFlow::Break(());
            }
            bytes += newer.value.map_or(0, <[u8]>::len);
            let look = life.decoder.len() >= LOOK.0 || bytes >= LOOK.1;
            outcome = match newer.key == record.key {
                true => Ok(true),
                false => self.look_at(life, newer, look, digest),
            };
            if look {
                bytes = 0;
            }
            match outcome {
                Ok(false) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        });
        // What is left of the look is taken out of the decoder in any case.
        let rest = holds_key(life, digest);
        let found = outcome? || rest?;
        match scanned {
            Err(fault) if fault.is_unfinished() && !found => Ok(None),
            Err(fault) if !found => Err(self.crossing.source_fault()(fault)),
            _ => Ok(Some(found)),
        }
    }

    /// Takes a newer record into the look, and looks where the look is full.
    fn look_at(
        &self,
        life: &mut Life,
        newer: &RawRecord<'_>,
        look: bool,
        digest: &str,
    ) -> Result<bool, RunFault> {
        let pushed = self.push(life, newer)?;
        if pushed == Err(TRUNCATED) {
            return Ok(true);
        }
        if pushed == Err(FULL) {
            let found = holds_key(life, digest)?;
            let pushed = self.push(life, newer)?;
            // A record that alone is too much for the buffers was never a row.
            return Ok(found || (pushed.is_ok() && look && holds_key(life, digest)?));
        }
        Ok(look && holds_key(life, digest)?)
    }
}

/// Whether a decoded row has this key outside. Empties the decoder.
fn holds_key(life: &mut Life, digest: &str) -> Result<bool, RunFault> {
    let staged = life.stages.apply(life.decoder.finish())?;
    Ok((0..staged.batch.len()).any(|row| evidence::key_digest(&staged.keys, row) == digest))
}
