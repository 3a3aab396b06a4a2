//! What the shards of one pipeline share: the committed layout, the control log, and what is left
//! of the release's limits.

use std::sync::Mutex;

use douane_connectors::kafka::{CommitOutcome, Sink};
use douane_gate::Gate;
use douane_ledger::log::{Entry, Log};

use crate::crossing::Crossing;
use crate::fault::RunFault;
use crate::position::{LAYOUT_KEY, LAYOUT_PARTITION, LAYOUT_SHARD, Layout};
use crate::stop::Stop;

/// Records and bytes leased at a time. A lease that a crash leaves unused is lost: limits err on
/// the side of less.
const LEASE_RECORDS: u64 = 100_000;
const LEASE_BYTES: u64 = 256 << 20;

/// What a shard may still send under its leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    records: u64,
    bytes: u64,
}

struct Held {
    /// The layout's producer; `None` after a commit whose outcome is not known.
    sink: Option<Sink>,
    log: Log,
    leased: Allowance,
}

pub struct Control<'a> {
    crossing: &'a Crossing,
    stop: &'a Stop<'a>,
    gate: Gate,
    layout: Layout,
    held: Mutex<Held>,
}

impl<'a> Control<'a> {
    /// Takes the fenced layout producer and the control log, and commits `layout` as this
    /// process's own. From here on another start fences this one.
    pub fn commit(
        crossing: &'a Crossing,
        stop: &'a Stop<'a>,
        sink: Sink,
        log: Log,
        layout: Layout,
    ) -> Result<Self, RunFault> {
        let entries = crossing.entries(&crossing.names.control_log(), &log.head())?;
        let leased = leased(&entries, &crossing.release_digest);
        let control = Self {
            crossing,
            stop,
            gate: crossing.gate()?,
            layout,
            held: Mutex::new(Held { sink: Some(sink), log, leased }),
        };
        control.prove()?;
        Ok(control)
    }

    /// The layout that this process committed.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Commits the layout once more. It fails if another process has begun to start: so nobody
    /// else reads positions, or deals out partitions, between the fence of a shard before this
    /// call and the shard's first commit after it.
    pub fn prove(&self) -> Result<(), RunFault> {
        let mut held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let sink = match held.sink.take() {
            Some(sink) => sink,
            None => {
                let id = self.crossing.names.layout_transactional_id();
                let sink = self.crossing.fence(&id, self.stop)?;
                // Fencing anew would also win against a process that started in between.
                if self.crossing.positions.layout()?.as_ref() != Some(&self.layout) {
                    return Err(RunFault::Fenced);
                }
                sink
            }
        };
        let plain = serde_json::to_vec(&self.layout)
            .map_err(|_| RunFault::Gate("a layout has no JSON form".into()))?;
        let context = self.crossing.positions.context(LAYOUT_SHARD);
        let sealed = self
            .gate
            .seal_position(LAYOUT_PARTITION, LAYOUT_KEY, &plain, &context)
            .map_err(|fault| RunFault::Gate(fault.to_string()))?;
        match sink.commit(None, &sealed, &self.crossing.names.position) {
            CommitOutcome::Committed(sink) => {
                held.sink = Some(sink);
                Ok(held.log.position_committed(&self.layout.control)?)
            }
            CommitOutcome::Fenced => Err(RunFault::Fenced),
            CommitOutcome::CommittedButSuspect => {
                Ok(held.log.position_committed(&self.layout.control)?)
            }
            CommitOutcome::Unknown(why) | CommitOutcome::Aborted(why) => {
                Err(RunFault::Again(format!("layout: {why}")))
            }
            CommitOutcome::TooLarge { .. } => Err(RunFault::Topic {
                topic: self.crossing.names.position.clone(),
                what: "the layout record is larger than the topic takes".into(),
            }),
        }
    }

    /// Lets the layout's client hear what the link says, while nothing is committed.
    pub fn idle(&self) {
        let held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(sink) = &held.sink {
            sink.idle();
        }
    }

    /// Takes `records` and `bytes` from a shard's allowance; leases more where it does not
    /// suffice. The lease is durable before it is used.
    pub fn cover(
        &self,
        allowance: &mut Allowance,
        shard: u32,
        records: u64,
        bytes: u64,
    ) -> Result<(), RunFault> {
        let limits = &self.crossing.release.limits;
        if limits.records.is_none() && limits.bytes.is_none() {
            return Ok(());
        }
        if allowance.records < records || allowance.bytes < bytes {
            let mut held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let left =
                |limit: Option<u64>, leased| limit.map_or(u64::MAX, |l| l.saturating_sub(leased));
            let left_records = left(limits.records, held.leased.records);
            let left_bytes = left(limits.bytes, held.leased.bytes);
            let lease = Allowance {
                records: LEASE_RECORDS.max(records).min(left_records),
                bytes: LEASE_BYTES.max(bytes).min(left_bytes),
            };
            let enough = allowance.records.saturating_add(lease.records) >= records
                && allowance.bytes.saturating_add(lease.bytes) >= bytes;
            if !enough {
                return Err(RunFault::LimitsSpent(format!(
                    "{left_records} records and {left_bytes} bytes are not leased, {records} and \
                     {bytes} are asked for"
                )));
            }
            held.log.append(&Entry::Lease {
                shard,
                records: lease.records,
                bytes: lease.bytes,
                release: self.crossing.release_digest.clone(),
            })?;
            held.log.sync()?;
            held.leased.records = held.leased.records.saturating_add(lease.records);
            held.leased.bytes = held.leased.bytes.saturating_add(lease.bytes);
            allowance.records = allowance.records.saturating_add(lease.records);
            allowance.bytes = allowance.bytes.saturating_add(lease.bytes);
        }
        allowance.records -= records;
        allowance.bytes -= bytes;
        Ok(())
    }

    /// Publishes the control log's checkpoint, as the process ends.
    pub fn publish(&self) -> Result<(), RunFault> {
        let mut held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let size = held.log.head().size;
        let name = self.crossing.names.control_log();
        self.crossing.publish(&mut held.log, &name, size)
    }
}

/// What earlier leases took of a release's limits: derived from the log, never stored beside it.
fn leased(entries: &[(u64, Entry)], release_digest: &str) -> Allowance {
    entries.iter().fold(Allowance::default(), |sum, (_, entry)| match entry {
        Entry::Lease { records, bytes, release, .. } if release == release_digest => Allowance {
            records: sum.records.saturating_add(*records),
            bytes: sum.bytes.saturating_add(*bytes),
        },
        _ => sum,
    })
}
