//! What the shards of one pipeline share: the committed layout, the control log, and what is left
//! of the release's limits.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use douane_connectors::edge::{CommitOutcome, Sink};
use douane_gate::{Bundled, Gate};
use douane_ledger::log::{Entry, LedgerFault, Log};
use douane_ledger::release::Limits;

use crate::crossing::Crossing;
use crate::fault::RunFault;
use crate::position::Layout;
use crate::stop::Stop;

mod bundles;

/// Records and bytes leased at a time at most. A lease that a crash leaves unused is lost: limits err
/// on the side of less.
const LEASE: Allowance = Allowance { records: 100_000, bytes: 256 << 20 };

/// As long as a coordinator leaves a transaction open (`transaction.timeout.ms`): what is fenced later than that may
/// have been fenced by it alone.
const OPEN_FOR_LONG: Duration = Duration::from_secs(10);
pub(crate) const LAYOUT_TOO_LARGE: &str = "the layout record is larger than the topic takes";
const ENDED_BY_THE_TARGET: &str = "a cluster ended a transaction that was open for long";

/// Records and bytes: what a shard may still send under its leases, what a release has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    records: u64,
    bytes: u64,
}

/// What a process left in the target, by which it knows whether anybody took over since.
pub enum Left {
    /// Nothing of its own: it was fenced before it could commit. Whoever runs may run on, and commit bundles; who fences
    /// pipelines so that they end meant this one as well.
    Nothing { fences: u64 },
    /// The layout that it knows there (none: there was none), or the one that it sent last and heard nothing of.
    Layout { known: Option<Layout>, sent: Option<Layout> },
}

impl Left {
    /// The layout that counts.
    ///
    /// # Errors
    /// [`RunFault::Fenced`] where it is another process's, or of who fenced this one so that it ends.
    pub fn standing(&self, found: Layout) -> Result<Layout, RunFault> {
        let is_left = match self {
            Self::Nothing { fences } => found.fences == *fences,
            Self::Layout { known, sent } => {
                [known, sent].into_iter().flatten().any(|left| *left == found)
            }
        };
        is_left.then_some(found).ok_or(RunFault::Fenced)
    }
}

/// What one shard at a time may touch.
struct Guarded {
    /// The layout's producer; `None` after a commit whose outcome is not known.
    sink: Option<Box<dyn Sink>>,
    /// Another process fenced the layout. From then on nothing of this one's is fenced anew, by no shard.
    taken_over: bool,
    /// As the target has it.
    layout: Layout,
    /// One with a bundle, of whose commit nobody knows: the target has this one or the one above.
    sent: Option<Layout>,
    log: Log,
    /// What all leases under this release took of its limits.
    leased: Allowance,
    /// Windows of statistics among them, each once.
    windows: BTreeSet<String>,
}

impl Guarded {
    fn left(&self) -> Left {
        Left::Layout { known: Some(self.layout.clone()), sent: self.sent.clone() }
    }
}

/// See the module.
pub struct Control<'a> {
    crossing: &'a Crossing,
    stop: &'a Stop<'a>,
    gate: Gate,
    layout: Layout,
    guarded: Mutex<Guarded>,
}

impl<'a> Control<'a> {
    /// Takes the fenced layout producer and the control log, and commits `layout` as this
    /// process's own. From here on another start fences this one.
    pub fn commit(
        crossing: &'a Crossing,
        stop: &'a Stop<'a>,
        sink: Box<dyn Sink>,
        log: Log,
        layout: Layout,
    ) -> Result<Self, RunFault> {
        let entries = crossing.entries(&crossing.names.control_log(), &log.head())?;
        // What was written down outlives the file that said so.
        for (_, entry) in &entries {
            if let Entry::Revoked { release, by, .. } = entry
                && *release == crossing.release_digest
            {
                return Err(RunFault::Revoked { by: by.clone(), at: "an earlier run".into() });
            }
        }
        let leased = leased(&entries, &crossing.release_digest);
        let windows = windows(&entries, &crossing.release_digest);
        let control = Self {
            crossing,
            stop,
            gate: crossing.gate()?,
            guarded: Mutex::new(Guarded {
                sink: Some(sink),
                taken_over: false,
                layout: layout.clone(),
                sent: None,
                log,
                leased,
                windows,
            }),
            layout,
        };
        control.prove()?;
        Ok(control)
    }

    /// A shard that panicked under the lock leaves what it guards as the clients and the log have
    /// it: both say themselves whether they can go on.
    fn guarded(&self) -> MutexGuard<'_, Guarded> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The layout that this process committed as it began. Bundles and the control log's head, which
    /// change meanwhile, are not asked of it.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Commits the layout once more. It fails if another process has begun to start: so nobody
    /// else reads positions, or deals out partitions, between the fence of a shard before this
    /// call and the shard's first commit after it.
    pub fn prove(&self) -> Result<(), RunFault> {
        let mut guarded = self.guarded();
        let sink = self.own(&mut guarded)?;
        let layout = guarded.layout.clone();
        self.put(&mut guarded, sink, layout, None)
    }

    /// The layout's producer, fenced anew where it was given up.
    fn own(&self, guarded: &mut Guarded) -> Result<Box<dyn Sink>, RunFault> {
        if let Some(sink) = guarded.sink.take() {
            return Ok(sink);
        }
        self.still_ours(guarded)?;
        let sink =
            self.crossing.fence(&self.crossing.names.layout_transactional_id(), self.stop)?;
        // Fencing anew would also win against a process that started in between. And nothing is under
        // way any more: what is there now is what became of a commit that was not answered.
        let found = self.crossing.positions.layout()?.ok_or(RunFault::Fenced)?;
        guarded.layout = guarded.left().standing(found)?;
        guarded.sent = None;
        Ok(sink)
    }

    /// Commits a layout, and a bundle with it.
    fn put(
        &self,
        guarded: &mut Guarded,
        sink: Box<dyn Sink>,
        layout: Layout,
        bundle: Option<&Bundled>,
    ) -> Result<(), RunFault> {
        let crossing = self.crossing;
        let sealed = crossing.positions.seal_layout(&self.gate, &layout)?;
        let transaction = match bundle {
            None => crossing.transaction(None, &sealed)?,
            Some(bundle) => crossing.bundle_transaction(bundle, &sealed)?,
        };
        guarded.sent = bundle.is_some().then(|| layout.clone());
        let began = Instant::now();
        let sink = match sink.commit(&transaction) {
            CommitOutcome::Committed(sink) => Some(sink),
            CommitOutcome::CommittedButSuspect => None,
            CommitOutcome::Fenced => {
                let fault = match self.still_ours(guarded) {
                    // Of a process that was frozen the coordinator ended it, and nobody took over: it is fenced anew.
                    Ok(()) if began.elapsed() >= OPEN_FOR_LONG => {
                        RunFault::Again(format!("layout: {ENDED_BY_THE_TARGET}"))
                    }
                    // Whose the layout is cannot be read now, and is before anything is fenced anew.
                    Err(fault) if fault.passes() && began.elapsed() >= OPEN_FOR_LONG => fault,
                    _ => RunFault::Fenced,
                };
                guarded.taken_over = matches!(fault, RunFault::Fenced);
                return Err(fault);
            }
            CommitOutcome::Unknown(why)
            | CommitOutcome::Late(why)
            | CommitOutcome::Ended(why)
            | CommitOutcome::Aborted(why) => {
                return Err(RunFault::Again(format!("layout: {why}")));
            }
            CommitOutcome::Refused { index, .. } => {
                // Records need no bundle: who reads outside sees that the newest grows old.
                if index.and(bundle).is_some() {
                    let topic = &crossing.names.manifest;
                    return Err(RunFault::Again(format!("a bundle is larger than {topic} takes")));
                }
                let (topic, what) = (crossing.names.position.clone(), LAYOUT_TOO_LARGE.to_owned());
                return Err(RunFault::Topic { topic, what });
            }
        };
        (guarded.sink, guarded.layout, guarded.sent) = (sink, layout, None);
        Ok(guarded.log.position_committed(&guarded.layout.control)?)
    }

    /// What the next settling of this process goes on from.
    pub fn left(&self) -> Left {
        self.guarded().left()
    }

    /// The layout in the target is still this process's. Asked before something is fenced anew: who was taken over
    /// must not stop the one that took over.
    pub fn stands(&self) -> Result<(), RunFault> {
        self.still_ours(&self.guarded())
    }

    fn still_ours(&self, guarded: &Guarded) -> Result<(), RunFault> {
        if guarded.taken_over {
            return Err(RunFault::Fenced);
        }
        let found = self.crossing.positions.layout()?.ok_or(RunFault::Fenced)?;
        guarded.left().standing(found).map(drop)
    }

    /// What it means that a shard's transaction was fenced, in the target or in the journals' topic. Its coordinator does that to a transaction that was open
    /// for too long, of a target that was slow or a process that was frozen: then the layout can be proved, and
    /// the next life fences anew. Whoever took over fenced the layout as well.
    pub fn after_fence(&self) -> RunFault {
        match self.prove() {
            Ok(()) => RunFault::Again(ENDED_BY_THE_TARGET.into()),
            Err(fault) => fault,
        }
    }

    /// Lets the layout's client hear what the link says, while nothing is committed.
    pub fn idle(&self) {
        let guarded = self.guarded();
        if let Some(sink) = &guarded.sink {
            sink.idle();
        }
        guarded.log.idle();
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
        let asked = Allowance { records, bytes };
        if !allowance.covers(asked) {
            let mut guarded = self.guarded();
            let left = left(limits, guarded.leased);
            let tasks = self.layout.tasks;
            let Some(lease) = lease(left, *allowance, asked, tasks) else {
                return Err(spent(limits, allowance.plus(left), asked));
            };
            let entry = Entry::Lease {
                shard,
                records: lease.records,
                bytes: lease.bytes,
                windows: 0,
                window: String::new(),
                release: self.crossing.release_digest.clone(),
            };
            // A log that failed once takes nothing more, and only a start takes over a new one.
            let written = guarded.log.append(&entry).and_then(|_| guarded.log.sync());
            written.map_err(of_control)?;
            // Crash here: the lease counts as used. None of it was.
            guarded.leased = guarded.leased.plus(lease);
            *allowance = allowance.plus(lease);
        }
        allowance.records -= records;
        allowance.bytes -= bytes;
        Ok(())
    }

    /// Puts back what [`Self::cover`] took for a transaction of which nothing was sent.
    pub fn uncover(&self, allowance: &mut Allowance, records: u64, bytes: u64) {
        let limits = &self.crossing.release.limits;
        if limits.records.is_some() || limits.bytes.is_some() {
            *allowance = allowance.plus(Allowance { records, bytes });
        }
    }

    /// Gives back what a shard that ends has not used. It takes nothing of it afterwards.
    pub fn give_back(&self, allowance: &mut Allowance, shard: u32) -> Result<(), RunFault> {
        let unused = std::mem::take(allowance);
        if unused == Allowance::default() {
            return Ok(());
        }
        let mut guarded = self.guarded();
        let entry = Entry::Returned {
            shard,
            records: unused.records,
            bytes: unused.bytes,
            release: self.crossing.release_digest.clone(),
        };
        let written = guarded.log.append(&entry).and_then(|_| guarded.log.sync());
        written.map_err(of_control)?;
        // Crash before it: it counts as used. Whoever holds the log by now has read it without this.
        guarded.leased = guarded.leased.minus(unused);
        Ok(())
    }

    /// Takes a window of statistics from those that the release's limit of epsilon lets out, unless it
    /// was taken under this release before; none: it has no limit. Durable before the window is charged
    /// or, where it was charged under an earlier release, before it goes out under this one.
    pub fn cover_window(
        &self,
        shard: u32,
        window: &str,
        allowed: Option<u64>,
    ) -> Result<(), RunFault> {
        let Some(allowed) = allowed else { return Ok(()) };
        let mut guarded = self.guarded();
        if !takes_window(&guarded.windows, window, allowed)? {
            return Ok(());
        }
        let release = self.crossing.release_digest.clone();
        let window = window.to_owned();
        let entry = Entry::Lease {
            shard,
            records: 0,
            bytes: 0,
            windows: 1,
            window: window.clone(),
            release,
        };
        let written = guarded.log.append(&entry).and_then(|_| guarded.log.sync());
        written.map_err(of_control)?;
        // Crash here: it counts, and the next life closes the window under it.
        guarded.windows.insert(window);
        Ok(())
    }

    /// Writes down that a one-shot release's span is through.
    pub fn close(&self, set_aside: u64) -> Result<(), RunFault> {
        let mut guarded = self.guarded();
        let entry = Entry::Closed { release: self.crossing.release_digest.clone(), set_aside };
        let written = guarded.log.append(&entry).and_then(|_| guarded.log.sync());
        written.map(drop).map_err(of_control)
    }

    /// Publishes the control log's checkpoint, as the process ends. A revocation that ended it is
    /// written down first.
    pub fn publish(&self) -> Result<(), RunFault> {
        let mut guarded = self.guarded();
        if let Some(revoked) = self.crossing.right.revoked() {
            let entry = Entry::Revoked {
                release: self.crossing.release_digest.clone(),
                by: revoked.by.clone(),
                reason: revoked.reason.clone(),
            };
            let written = guarded.log.append(&entry).and_then(|_| guarded.log.sync());
            written.map_err(of_control)?;
        }
        self.sign_held(&mut guarded)
    }

    /// Publishes a checkpoint of the control log, as far as the layout names it.
    pub fn sign(&self) -> Result<(), RunFault> {
        self.sign_held(&mut self.guarded())
    }

    fn sign_held(&self, guarded: &mut Guarded) -> Result<(), RunFault> {
        let size = guarded.log.head().size;
        self.crossing.publish(&mut guarded.log, &self.crossing.names.control_log(), size)
    }
}

/// Who holds the control log now has begun to start: this process is fenced, and no log is broken.
fn of_control(fault: LedgerFault) -> RunFault {
    match fault {
        LedgerFault::Fenced => RunFault::Fenced,
        fault => RunFault::ControlLog(fault),
    }
}

impl Allowance {
    fn covers(self, asked: Self) -> bool {
        self.records >= asked.records && self.bytes >= asked.bytes
    }

    fn plus(self, more: Self) -> Self {
        Self {
            records: self.records.saturating_add(more.records),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }

    fn minus(self, less: Self) -> Self {
        Self {
            records: self.records.saturating_sub(less.records),
            bytes: self.bytes.saturating_sub(less.bytes),
        }
    }
}

/// What earlier leases took of a release's limits: derived from the log, never stored beside it.
fn leased(entries: &[(u64, Entry)], release_digest: &str) -> Allowance {
    entries.iter().fold(Allowance::default(), |sum, (_, entry)| match entry {
        Entry::Lease { records, bytes, release, .. } if release == release_digest => {
            sum.plus(Allowance { records: *records, bytes: *bytes })
        }
        Entry::Returned { records, bytes, release, .. } if release == release_digest => {
            sum.minus(Allowance { records: *records, bytes: *bytes })
        }
        _ => sum,
    })
}

/// Windows that earlier leases took. One of before they were named counts as a window of its own.
fn windows(entries: &[(u64, Entry)], release_digest: &str) -> BTreeSet<String> {
    let of = |(index, entry): &(u64, Entry)| match entry {
        Entry::Lease { windows: 1.., window, release, .. } if release == release_digest => {
            Some(if window.is_empty() { format!("lease {index}") } else { window.clone() })
        }
        _ => None,
    };
    entries.iter().filter_map(of).collect()
}

/// Whether a window needs a lease.
///
/// # Errors
/// [`RunFault::LimitsSpent`] where it does and none is left.
fn takes_window(taken: &BTreeSet<String>, window: &str, allowed: u64) -> Result<bool, RunFault> {
    match taken.contains(window) {
        true => Ok(false),
        false if (taken.len() as u64) < allowed => Ok(true),
        false => Err(RunFault::LimitsSpent {
            what: format!(
                "its epsilon lets {allowed} windows out, and {} were charged under it",
                taken.len()
            ),
            left: 0,
        }),
    }
}

/// What a turn asks for is more than a shard may have: of which limit, and how many records may cross yet.
fn spent(limits: &Limits, left: Allowance, asked: Allowance) -> RunFault {
    let sides = [
        ("records", limits.records, left.records, asked.records),
        ("bytes", limits.bytes, left.bytes, asked.bytes),
    ];
    let short = sides.into_iter().filter_map(|(unit, limit, left, asked)| {
        let limit = limit.filter(|_| left < asked)?;
        Some(format!("of {limit} {unit} {left} are left, and {asked} are asked for"))
    });
    RunFault::LimitsSpent {
        what: short.collect::<Vec<_>>().join("; "),
        left: if left.bytes == 0 { 0 } else { left.records },
    }
}

/// What of a release's limits is not leased.
fn left(limits: &Limits, leased: Allowance) -> Allowance {
    let left = |limit: Option<u64>, leased| limit.map_or(u64::MAX, |l| l.saturating_sub(leased));
    Allowance {
        records: left(limits.records, leased.records),
        bytes: left(limits.bytes, leased.bytes),
    }
}

/// The lease that lets an allowance cover what is asked: as large as usual, or as the turn needs,
/// or as is left; no more in advance than half of a shard's part, so that no shard waits for what
/// another one does not use. `None` where all that is left does not suffice.
fn lease(left: Allowance, has: Allowance, asked: Allowance, tasks: u32) -> Option<Allowance> {
    let part = |left: u64| left / (2 * u64::from(tasks.max(1)));
    let lease = Allowance {
        records: LEASE.records.min(part(left.records)).max(asked.records).min(left.records),
        bytes: LEASE.bytes.min(part(left.bytes)).max(asked.bytes).min(left.bytes),
    };
    has.plus(lease).covers(asked).then_some(lease)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::BundleSent;

    fn of(records: u64, bytes: u64) -> Allowance {
        Allowance { records, bytes }
    }

    #[test]
    fn a_control_log_that_somebody_else_holds_is_a_fence_and_no_broken_log() {
        assert!(matches!(of_control(LedgerFault::Fenced), RunFault::Fenced));
        let broken = of_control(LedgerFault::Poisoned);
        assert!(matches!(broken, RunFault::ControlLog(LedgerFault::Poisoned)));
    }

    /// After a commit of a bundle that was not answered the target says which layout counts, and the next
    /// bundle has the number that follows from it: none twice, and none left out.
    #[test]
    fn what_is_in_the_target_says_whether_a_bundle_is_outside() {
        let known = crate::position::tests::layout(1);
        let bundle = BundleSent { number: 1, digest: "ab".repeat(32), logs: Vec::new() };
        let sent = Layout { bundle: Some(bundle), ..known.clone() };
        let other = Layout { epoch: 7, ..known.clone() };
        let stands = |found: &Layout, sent: Option<&Layout>| {
            let left = Left::Layout { known: Some(known.clone()), sent: sent.cloned() };
            left.standing(found.clone()).ok()
        };
        assert_eq!(stands(&known, None), Some(known.clone()));
        assert_eq!(stands(&known, Some(&sent)), Some(known.clone()));
        assert_eq!(stands(&sent, Some(&sent)), Some(sent.clone()));
        // Of another process: it has the pipeline now.
        assert_eq!(stands(&sent, None), None);
        assert_eq!(stands(&other, Some(&sent)), None);
        let none = Left::Layout { known: None, sent: None };
        assert!(matches!(none.standing(known.clone()), Err(RunFault::Fenced)));
        // Who left nothing goes on from whatever is there, and not where it was told to end.
        let nothing = Left::Nothing { fences: known.fences };
        assert!(nothing.standing(sent.clone()).is_ok() && nothing.standing(other).is_ok());
        assert!(matches!(nothing.standing(sent.clone().fenced()), Err(RunFault::Fenced)));
        // Of who fenced it so that it ends: nobody has it.
        assert_eq!(stands(&known.clone().fenced(), Some(&sent)), None);
        assert_eq!(stands(&sent.clone().fenced(), Some(&sent)), None);
    }

    #[test]
    fn a_lease_is_as_large_as_usual_as_needed_or_as_is_left() {
        let all = u64::MAX;
        for (left, has, asked, expected) in [
            (of(all, all), of(0, 0), of(1, 1), Some(LEASE)),
            // What is left is leased by halves while little of it is asked for.
            (of(12_000, all), of(0, 0), of(1, 1), Some(of(6_000, LEASE.bytes))),
            (of(12_000, all), of(0, 0), of(7_000, 1), Some(of(7_000, LEASE.bytes))),
            (of(all, all), of(0, 0), of(200_000, 1), Some(of(200_000, LEASE.bytes))),
            (of(all, all), of(0, 0), of(1, 1 << 30), Some(of(LEASE.records, 1 << 30))),
            (of(7, all), of(0, 0), of(7, 1), Some(of(7, LEASE.bytes))),
            (of(7, all), of(0, 0), of(8, 1), None),
            (of(all, 99), of(0, 0), of(1, 100), None),
            // What is left and what is there suffice together only.
            (of(5, all), of(4, 0), of(9, 1), Some(of(5, LEASE.bytes))),
            (of(5, all), of(4, 0), of(10, 1), None),
            // Records are there; of bytes nothing is left.
            (of(all, 0), of(10, 50), of(1, 51), None),
            (of(0, 1), of(10, 50), of(1, 51), Some(of(0, 1))),
        ] {
            assert_eq!(lease(left, has, asked, 1), expected, "{left:?} {has:?} {asked:?}");
        }
        // Of two shards each leaves the other its half.
        let half = lease(of(12_000, all), of(0, 0), of(1, 1), 2);
        assert_eq!(half, Some(of(3_000, LEASE.bytes)));
    }

    /// What has no limit is no number, and what suffices is not named.
    #[test]
    fn limits_that_are_spent_are_named_with_what_is_left() {
        let limits = |records, bytes| Limits { records, bytes, epsilon: None };
        let all = u64::MAX;
        for (limits, left, expected, fits) in [
            (
                limits(Some(20), None),
                of(3, all),
                "of 20 records 3 are left, and 5 are asked for",
                3,
            ),
            (
                limits(None, Some(90)),
                of(all, 7),
                "of 90 bytes 7 are left, and 50 are asked for",
                all,
            ),
            (
                limits(Some(20), Some(90)),
                of(4, 0),
                "of 20 records 4 are left, and 5 are asked for; of 90 bytes 0 are left, and 50 are \
                 asked for",
                0,
            ),
        ] {
            let RunFault::LimitsSpent { what, left } = spent(&limits, left, of(5, 50)) else {
                panic!("no limit")
            };
            assert_eq!((what.as_str(), left), (expected, fits));
        }
    }

    #[test]
    fn no_sum_of_leases_exceeds_the_limits() {
        let limits = Limits { records: Some(250_000), bytes: None, epsilon: None };
        let (mut taken, mut has, mut sent) = (of(0, 0), of(0, 0), 0);
        let asked = of(5_000, 1 << 20);
        loop {
            if !has.covers(asked) {
                let Some(lease) = lease(left(&limits, taken), has, asked, 1) else { break };
                taken = taken.plus(lease);
                has = has.plus(lease);
            }
            has = of(has.records - asked.records, has.bytes - asked.bytes);
            sent += asked.records;
        }
        assert_eq!((sent, taken.records), (250_000, 250_000));
        // A release whose limit was lowered below what crossed has nothing left.
        assert_eq!(left(&limits, of(300_000, 5)), of(0, u64::MAX));
    }

    /// A window that was charged under the release before it was renewed goes out under the new one, and
    /// takes one of its windows too; the next life's is the same.
    #[test]
    fn each_window_is_leased_once_under_each_release_that_it_goes_out_under() {
        let lease = |release: &str, window: &str| Entry::Lease {
            release: release.into(),
            shard: 0,
            records: 0,
            bytes: 0,
            windows: 1,
            window: window.into(),
        };
        let entries: Vec<(u64, Entry)> =
            (0..).zip([lease("old", "w1"), lease("new", "w0"), lease("new", "w0")]).collect();
        let taken = windows(&entries, "new");
        assert_eq!(taken.len(), 1);
        assert!(!takes_window(&taken, "w0", 1).unwrap());
        assert_eq!(takes_window(&taken, "w1", 1).unwrap_err().code(), "limits_spent");
        assert!(takes_window(&taken, "w1", 2).unwrap(), "the old release's lease does not count");
    }

    #[test]
    fn leases_of_other_releases_do_not_count() {
        let lease = |release: &str, records, bytes| Entry::Lease {
            release: release.into(),
            shard: 0,
            records,
            bytes,
            windows: 1,
            window: String::new(),
        };
        let void = Entry::Void { of: 0, why: "x".into() };
        let returned = |release: &str, records| Entry::Returned {
            release: release.into(),
            shard: 0,
            records,
            bytes: 1,
        };
        let entries: Vec<(u64, Entry)> = [
            lease("a", 10, 1),
            lease("b", 500, 500),
            void,
            returned("a", 4),
            returned("b", 50),
            lease("a", 5, u64::MAX),
        ]
        .into_iter()
        .enumerate()
        .map(|(index, entry)| (index as u64, entry))
        .collect();
        assert_eq!(leased(&entries, "a"), of(11, u64::MAX));
        assert_eq!(leased(&entries, "b"), of(450, 499));
        assert_eq!(leased(&entries, "c"), of(0, 0));
        assert_eq!((windows(&entries, "a").len(), windows(&entries, "c").len()), (2, 0));
    }
}
