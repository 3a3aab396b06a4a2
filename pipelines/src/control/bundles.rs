//! Bundles of checkpoints, at the ticks of the place's schedule. A thread of its own sends them: a shard's would
//! send them between two turns, and not while it waits for its source, so that when they leave would tell
//! what comes in.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use douane_gate::Bundled;
use douane_ledger::bundle::{self, Bundle, Part, Stand};
use douane_ledger::log::{self, Entry};
use serde_json::json;

use super::{Control, Guarded, of_control};
use crate::fault::RunFault;
use crate::names::checkpoint_origin;
use crate::position::{BundleSent, Layout};
use crate::report::Report;
use crate::schedule::{self, Schedule};

impl Control<'_> {
    /// Sends one at each tick, whatever happened since the last one, until the other end of `ends` is let go.
    /// What cannot be read or sent waits for the next tick; who reads outside sees how old the last one is.
    ///
    /// # Errors
    /// What ends a shard as well, and does not pass.
    pub fn send_bundles(
        &self,
        every_ms: u64,
        ends: &Receiver<Infallible>,
        report: &Report,
    ) -> Result<(), RunFault> {
        let mut ticks = Schedule::new(Some(every_ms), schedule::now_ms());
        loop {
            let wait = ticks.wait(schedule::now_ms());
            let Err(RecvTimeoutError::Timeout) = ends.recv_timeout(wait) else { return Ok(()) };
            let now_ms = schedule::now_ms();
            if !ticks.ticks(now_ms) {
                continue;
            }
            match self.bundle(now_ms / every_ms * every_ms, every_ms, report) {
                Err(fault) if fault.passes() => {
                    report.event("bundle", json!({"why": fault.to_string()}));
                }
                Err(RunFault::Stopped(_)) => return Ok(()),
                sent => sent?,
            }
        }
    }

    /// Of one tick.
    fn bundle(&self, at_ms: u64, every_ms: u64, report: &Report) -> Result<(), RunFault> {
        // A lapsed lease passes; whoever was revoked or has expired signs nothing any more.
        self.crossing.still_live()?;
        let mut guarded = self.guarded();
        let sink = self.own(&mut guarded)?;
        let made = self.publish_ended(&guarded, report);
        let made = made.and_then(|()| self.make(&mut guarded, at_ms, every_ms));
        let (bundled, sent) = match made {
            Ok(made) => made,
            Err(why) => {
                guarded.sink = Some(sink);
                return Err(RunFault::Again(why));
            }
        };
        let (number, digest) = (sent.number, sent.digest.clone());
        let entry = Entry::Bundled { number, digest, at_ms };
        let written = guarded.log.append(&entry).and_then(|_| guarded.log.sync());
        let control = written.map_err(of_control)?;
        // Crash here: an entry of a bundle that is not outside. The next one has its number.
        let layout = Layout { control, bundle: Some(sent), ..guarded.layout.clone() };
        self.put(&mut guarded, sink, layout, Some(&bundled))?;
        // Crash here: it is outside, and the layout beside it says so.
        report.event("bundled", json!({"number": number, "at_ms": at_ms}));
        Ok(())
    }

    /// Publishes what no shard does any more: the log of one that was taken away stands still, and where less of it is
    /// published than there was (lost, never done, or done on another machine), its journals have the rest.
    fn publish_ended(&self, guarded: &Guarded, report: &Report) -> Result<(), String> {
        let (crossing, tasks) = (self.crossing, guarded.layout.tasks);
        let ended = guarded.layout.shards.iter().filter(|head| head.shard >= tasks);
        for (shard, head) in ended.filter_map(|ended| Some((ended.shard, ended.ledger?))) {
            let name = crossing.names.log(shard);
            let published = log::checkpoint(&crossing.ledger_home().join(&name));
            let published = published.map_err(|fault| fault.to_string())?;
            let size = published.map_or(0, |(size, _)| size);
            if size >= head.size {
                continue;
            }
            let again = crossing
                .take_over(&name, Some(&head))
                .and_then(|mut log| crossing.publish(&mut log, &name, head.size));
            again.map_err(|fault| format!("{name}, which nobody writes any more: {fault}"))?;
            let why = format!(
                "of {name}, which nobody writes any more, {size} of {} entries were published: the rest was \
                 made again of its journals",
                head.size
            );
            report.event("bundle", json!({ "why": why }));
        }
        Ok(())
    }

    /// The next bundle, of what is published now.
    fn make(
        &self,
        guarded: &mut Guarded,
        at_ms: u64,
        every_ms: u64,
    ) -> Result<(Bundled, BundleSent), String> {
        let (crossing, name) = (self.crossing, &self.crossing.pipeline.name);
        let control = crossing.names.control_log();
        self.sign_held(guarded).map_err(|fault| fault.to_string())?;
        let before = guarded.layout.bundle.as_ref();
        let ever = guarded.layout.shards.iter().map(|head| head.shard);
        let shards: BTreeSet<u32> = (0..guarded.layout.tasks).chain(ever).collect();
        let mut logs: Vec<(Part, Stand)> = Vec::new();
        let shards = shards.into_iter().map(|shard| crossing.names.log(shard));
        for log in std::iter::once(control).chain(shards) {
            let origin = checkpoint_origin(name, &log);
            let stand = before.and_then(|b| b.logs.iter().find(|stand| stand.origin == origin));
            let part = bundle::part(&crossing.ledger_home().join(&log), stand);
            logs.extend(part.map_err(|fault| fault.to_string())?);
        }
        logs.sort_by(|(_, one), (_, other)| one.origin.cmp(&other.origin));
        let (logs, stands) = logs.into_iter().unzip();
        let number = before.map_or(0, |before| before.number) + 1;
        let made = Bundle {
            v: bundle::FORMAT,
            topic: crossing.names.data.clone(),
            pipeline: name.clone(),
            number,
            previous: before.map(|before| before.digest.clone()),
            at_ms,
            every_ms,
            logs,
        };
        let bundled = self.gate.bundle(&made).map_err(|fault| fault.to_string())?;
        let digest = bundle::digest(&made).map_err(|fault| fault.to_string())?;
        Ok((bundled, BundleSent { number, digest, logs: stands }))
    }
}
