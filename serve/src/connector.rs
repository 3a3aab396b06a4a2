//! One connector: the pipelines of one file, run and begun again until somebody wants otherwise.
//!
//! A thread of its own keeps it; each of its pipelines has a thread below that. One that fails or
//! holds touches no other.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use douane_pipelines::config::{self as files, Finding, Findings, Pipeline, Place};
use douane_pipelines::fault::RunFault;
use douane_pipelines::meters::Meters;
use douane_pipelines::report::{self, Listener, Voice};
use douane_pipelines::run;
use serde_json::{Value, json};

use crate::loggers::{FLEET, Level, Loggers, PIPELINES};
use crate::store::{Saved, TargetState};

/// The first wait before something that failed is begun again, and the longest.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The wait of one that was fenced. A target that was slow for long fences too; but where another
/// process runs the pipeline, the two would fence each other at once.
const FENCED: Duration = Duration::from_secs(300);
/// The same in a group: until this worker hears that it is no longer the one, or the other does.
const FENCED_IN_GROUP: Duration = Duration::from_secs(4);
/// Before why a part of a pipeline is begun again.
const AGAIN: &str = "again: ";
/// Why a pipeline of statistics does not run in a group.
pub const STATISTICS_IN_GROUP: &str = "group: a pipeline of statistics keeps its open windows and its account on one \
    machine, and in a group it would move\n  next: run it by a service that is alone, or by `douane run`";
/// Findings of a file that are told.
const FINDINGS_MAX: usize = 20;
/// As much of a fault as a status shows.
const TRACE_BYTES_MAX: usize = 8 * 1024;

/// What one pipeline is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Files, release and clusters are looked at.
    Starting,
    Running,
    /// It failed, and is begun again by itself.
    Resting {
        trace: String,
    },
    /// It failed, and a person has to begin it again.
    Failed {
        trace: String,
    },
    /// Nobody wants it to run, or its source has an end and was read to it.
    Ended,
}

/// Which worker runs a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// There is no other worker.
    Alone,
    /// This one of a group.
    Here,
    /// Another one of the group, or none yet.
    Elsewhere,
}

/// What crossed since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub records: u64,
    pub transactions: u64,
    /// None where it is nobody's to see.
    pub quarantined: Option<u64>,
}

/// A partition that waits for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub shard: u32,
    pub offset: i64,
    /// One word, and the leaf it is about, if it is about one.
    pub code: String,
    pub leaf: Option<String>,
    /// Further leaves of the record.
    pub others: Vec<String>,
    pub message: String,
}

/// How often tasks were begun since the process was, and what became of it. One counts for the worker also
/// when its connector is gone.
#[derive(Debug, Default)]
pub struct Starts {
    pub attempts: AtomicU64,
    pub successes: AtomicU64,
    pub failures: AtomicU64,
}

/// How much of its time something ran.
#[derive(Clone, Copy, Debug)]
struct Clock {
    born: Instant,
    ran: Duration,
    /// Since when it runs, if it does.
    since: Option<Instant>,
}

impl Clock {
    fn new(now: Instant) -> Self {
        Self { born: now, ran: Duration::ZERO, since: None }
    }

    fn turn(&mut self, runs: bool, now: Instant) {
        if let Some(since) = self.since.take() {
            self.ran += now - since;
        }
        self.since = runs.then_some(now);
    }

    /// From 0 to 1.
    fn share(&self, now: Instant) -> f64 {
        let ran = self.ran + self.since.map_or(Duration::ZERO, |since| now - since);
        let all = now - self.born;
        if all.is_zero() { 0.0 } else { ran.as_secs_f64() / all.as_secs_f64() }
    }
}

/// One pipeline of the file.
#[derive(Clone, Debug)]
pub struct Member {
    pub pipeline: String,
    pub topics: Vec<String>,
    /// Its windows are nobody's to look into.
    pub is_statistics: bool,
    /// Where values of its leaves belong.
    residency: Vec<String>,
    pub shards: u32,
    pub phase: Phase,
    pub held: BTreeMap<(String, i32), Held>,
    /// Why changed files are not in force, or keys away.
    pub notice: Option<String>,
    pub totals: Totals,
    /// What runs before the present one brought.
    before: Totals,
    /// How often it was begun again by itself since the process began.
    pub restarts: u64,
    /// What its shards count.
    pub meters: Arc<Meters>,
    /// Source partitions by the shard that has them.
    pub partitions: BTreeMap<u32, u64>,
    /// Lines of the log that told of something wrong.
    pub errors_logged: u64,
    /// When it failed last, in milliseconds since the epoch.
    pub failed_at_ms: Option<i64>,
    clock: Clock,
    /// Failures in a row.
    tries: u32,
    stop: Arc<AtomicBool>,
    nudged: bool,
}

impl Member {
    fn new(pipeline: &Pipeline, shards: u32) -> Self {
        Self {
            pipeline: pipeline.name.clone(),
            topics: pipeline.source.topics.clone(),
            is_statistics: pipeline.aggregate.is_some(),
            residency: report::residency(std::slice::from_ref(pipeline)),
            shards,
            phase: Phase::Starting,
            held: BTreeMap::new(),
            notice: None,
            totals: Totals::default(),
            before: Totals::default(),
            restarts: 0,
            meters: Arc::default(),
            partitions: BTreeMap::new(),
            errors_logged: 0,
            failed_at_ms: None,
            clock: Clock::new(Instant::now()),
            tries: 0,
            stop: Arc::new(AtomicBool::new(false)),
            nudged: false,
        }
    }

    /// What it counted goes on: a counter that falls is a restart of the process.
    fn goes_on_from(self, old: Self) -> Self {
        let mut clock = old.clock;
        clock.turn(false, Instant::now());
        Self {
            totals: old.totals,
            restarts: old.restarts,
            meters: old.meters,
            errors_logged: old.errors_logged,
            failed_at_ms: old.failed_at_ms,
            clock,
            ..self
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.clock.turn(phase == Phase::Running, Instant::now());
        self.phase = phase;
    }

    /// Which part of the time it ran since it was first known.
    pub fn running_ratio(&self) -> f64 {
        self.clock.share(Instant::now())
    }

    pub fn is_failed(&self) -> bool {
        matches!(self.phase, Phase::Resting { .. } | Phase::Failed { .. })
    }

    fn again(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.nudged = true;
        self.tries = 0;
    }
}

/// What is known of a connector at this moment.
#[derive(Clone, Debug)]
pub struct State {
    pub saved: Saved,
    /// Why the file's pipelines are not known.
    pub unreadable: Option<String>,
    pub members: Vec<Member>,
    /// Source topics that were read since they were last forgotten.
    pub topics: BTreeSet<String>,
    tries: u32,
    nudged: bool,
    /// The file has other pipelines now: all of them end, and it is read again.
    reload: bool,
    deleted: bool,
    runs: Runs,
    /// How often it was dealt to this worker, and up to which of them whoever had it before was fenced: until then
    /// that one may write, as a process that was frozen does when it wakes.
    deals: u64,
    fenced: u64,
    /// Why that was not to be had.
    unfenced: Option<String>,
    /// A thread keeps it.
    kept: bool,
}

/// One file, and what keeps it running.
pub struct Connector {
    pub name: String,
    pub file: PathBuf,
    place: PathBuf,
    loggers: Arc<Loggers>,
    starts: Arc<Starts>,
    state: Mutex<State>,
    wake: Condvar,
}

impl Connector {
    pub fn new(
        name: &str,
        file: &Path,
        place: &Path,
        saved: Saved,
        loggers: Arc<Loggers>,
        starts: Arc<Starts>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            file: file.to_owned(),
            place: place.to_owned(),
            loggers,
            starts,
            state: Mutex::new(State {
                saved,
                unreadable: None,
                members: Vec::new(),
                topics: BTreeSet::new(),
                tries: 0,
                nudged: false,
                reload: false,
                deleted: false,
                runs: Runs::Alone,
                deals: 0,
                fenced: 0,
                unfenced: None,
                kept: false,
            }),
            wake: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A copy of what is known.
    pub fn state(&self) -> State {
        self.lock().clone()
    }

    /// Its pipelines: as they run, or, where nothing of it was begun since the process was, as the file has
    /// them.
    ///
    /// # Errors
    /// Why the file's pipelines are not known.
    pub fn members(&self) -> Result<Vec<Member>, String> {
        let state = self.state();
        if !state.members.is_empty() {
            return Ok(state.members);
        }
        let (place, pipelines) = self.load()?;
        let phase = match state.is_aimed() {
            true => Phase::Starting,
            false => Phase::Ended,
        };
        let of = |pipeline: &Pipeline| {
            let shards = if pipeline.is_one_shard() { 1 } else { place.tasks };
            Member { phase: phase.clone(), ..Member::new(pipeline, shards) }
        };
        Ok(pipelines.iter().map(of).collect())
    }

    /// What is known of it as it is shown: of one that was paused after it ran also what it is made of, though
    /// nothing of it was begun since the process was.
    pub fn shown(&self) -> State {
        let mut state = self.state();
        let saved = &state.saved;
        if state.members.is_empty() && saved.ran && saved.target == TargetState::Paused {
            state.members = self.members().unwrap_or_default();
        }
        state
    }

    /// What it is to be from now on. Returns at once.
    pub fn aim(&self, saved: Saved) {
        let mut state = self.lock();
        let same = state.saved.target == saved.target;
        state.saved = saved;
        if !same {
            self.halt(&mut state);
            state.tries = 0;
        }
        if !same && state.saved.target == TargetState::Running {
            // What is to run does not until it says so.
            state.members.iter_mut().for_each(|member| member.enter(Phase::Starting));
        }
    }

    /// Which worker runs it from now on. Returns at once.
    pub fn runs(&self, runs: Runs) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.runs, runs) == runs {
            return;
        }
        state.deals += u64::from(runs == Runs::Here);
        self.halt(&mut state);
        state.tries = 0;
        if runs == Runs::Here && state.saved.target == TargetState::Running {
            state.members.iter_mut().for_each(|member| member.enter(Phase::Starting));
        }
    }

    /// Whether this worker runs it.
    pub fn is_here(&self) -> bool {
        self.lock().runs != Runs::Elsewhere
    }

    /// Whether nothing of it runs any more, by then.
    pub fn has_ended(&self, at_most: Duration) -> bool {
        let ends = |state: &mut State| state.ends();
        let waited = self.wake.wait_timeout_while(self.lock(), at_most, ends);
        !waited.unwrap_or_else(std::sync::PoisonError::into_inner).0.ends()
    }

    /// The file changed. What runs takes it up by itself, but for another set of pipelines.
    pub fn changed(&self, saved: Saved) {
        let found = files::load_all(&self.place, &self.file).ok();
        let names: Option<Vec<String>> =
            found.map(|(_, all)| all.into_iter().map(|one| one.name).collect());
        let mut state = self.lock();
        state.saved = saved;
        let mine: Vec<String> = state.members.iter().map(|m| m.pipeline.clone()).collect();
        if names.is_some_and(|names| names != mine) {
            state.reload = true;
            self.halt(&mut state);
        }
        state.nudged = true;
        for member in state.members.iter_mut().filter(|member| member.is_failed()) {
            member.nudged = true;
        }
        self.wake.notify_all();
    }

    /// Ends what runs and begins it again: all of it, or what failed, or one task's pipeline. A file that could not
    /// be read is read again in any case. True: no thread keeps it, and nobody deletes it.
    pub fn restart(&self, only_failed: bool, task: Option<u32>) -> bool {
        let mut state = self.lock();
        state.nudged = true;
        let runs = state.saved.target == TargetState::Running;
        let one = task.and_then(|task| state.member_of(task));
        for (at, member) in state.members.iter_mut().enumerate() {
            let asked = task.is_none() || one == Some(at);
            if asked && (!only_failed || member.is_failed()) {
                member.again();
                if runs {
                    member.enter(Phase::Starting);
                }
            }
        }
        self.wake.notify_all();
        !state.kept && !state.deleted
    }

    /// Ends it for good.
    pub fn end(&self) {
        let mut state = self.lock();
        state.deleted = true;
        self.halt(&mut state);
    }

    /// Takes the place of its thread, unless one has it already.
    pub fn begins(&self) -> bool {
        let mut state = self.lock();
        state.deleted = false;
        !std::mem::replace(&mut state.kept, true)
    }

    /// The system gave no thread. Told as what failed is, and tried again by `resume`.
    pub fn no_thread(&self) {
        let mut state = self.lock();
        state.kept = false;
        state.unreadable = Some("no thread for it: the system gives no more".to_owned());
    }

    /// Whether its thread has ended, by then.
    pub fn has_left(&self, at_most: Duration) -> bool {
        let waited = self.wake.wait_timeout_while(self.lock(), at_most, |state| state.kept);
        !waited.unwrap_or_else(std::sync::PoisonError::into_inner).0.kept
    }

    /// Forgets which topics were read.
    pub fn forget_topics(&self) {
        self.lock().topics.clear();
    }

    fn halt(&self, state: &mut State) {
        state.nudged = true;
        state.members.iter_mut().for_each(Member::again);
        self.wake.notify_all();
    }

    /// The thread that keeps it: reads the file, runs what is in it, and does so again until it is
    /// deleted.
    pub fn keep(self: &Arc<Self>) {
        let _left = Left(self);
        loop {
            {
                let mut state = self.lock();
                while !state.deleted && !state.is_aimed() {
                    // Told to run and to stop again before it began: nothing of it runs.
                    let waiting = state.members.iter_mut().filter(|member| !member.is_failed());
                    waiting.for_each(|member| member.enter(Phase::Ended));
                    state = match state.is_to_fence() {
                        true => self.fence(state),
                        false => {
                            // Somebody may wait for that.
                            self.wake.notify_all();
                            self.wake.wait(state).unwrap_or_else(|e| e.into_inner())
                        }
                    };
                }
                if state.deleted {
                    return;
                }
                (state.reload, state.nudged) = (false, false);
            }
            match self.load() {
                Ok((place, pipelines)) => {
                    self.run_all(&place, &pipelines);
                    // It ended though somebody wants it: no thread was to be had.
                    drop(self.wait(self.lock(), BACKOFF_MAX, |state| state.nudged));
                }
                Err(trace) => {
                    let before = self.lock().unreadable.replace(trace.clone());
                    // Each reason once, however often it is tried; and not under the lock: who reads the log may
                    // be slow.
                    if before.as_ref() != Some(&trace) {
                        self.say(Level::Warn, "unreadable", &json!({"why": trace}));
                    }
                    let mut state = self.lock();
                    state.tries += 1;
                    let rest = backoff(state.tries);
                    drop(self.wait(state, rest, |state| state.nudged));
                }
            }
        }
    }

    /// Fences whoever had it before, so that nothing of it writes once it is said to have stopped; waits where that is
    /// not to be had.
    fn fence<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let deal = state.deals;
        // Told to run by now, here or elsewhere, it is held by right.
        let is_wanted =
            |state: &State| !state.deleted && state.deals == deal && state.is_to_fence();
        drop(state);
        // What a file that cannot be read would run, nobody can tell.
        let fenced = match files::load_all(&self.place, &self.file) {
            Ok((place, all)) => all.iter().try_for_each(|pipeline| {
                run::fence_holder(&place, pipeline, &|| is_wanted(&self.lock()))
            }),
            Err(_) => Ok(()),
        };
        let mut state = self.lock();
        if matches!(fenced, Err(RunFault::Stopped(_))) {
            return state;
        }
        let Err(fault) = fenced else {
            (state.fenced, state.unfenced, state.tries) = (deal, None, 0);
            return state;
        };
        let trace = format!("whoever ran it before may write still: {}", trace(&fault));
        let before = state.unfenced.replace(trace.clone());
        state.tries += 1;
        let rest = backoff(state.tries);
        if before.as_ref() != Some(&trace) {
            drop(state);
            self.say(Level::Warn, "not_fenced", &json!({"why": trace}));
            state = self.lock();
        }
        let waited = self.wake.wait_timeout_while(state, rest, |state| is_wanted(state));
        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
    }

    /// The file's pipelines. Their names begin with the connector's: so no two connectors run one.
    fn load(&self) -> Result<(Place, Vec<Pipeline>), String> {
        let (place, pipelines) = files::load_all(&self.place, &self.file)
            .map_err(|findings| trace(&RunFault::Findings(findings)))?;
        if self.lock().runs != Runs::Alone
            && pipelines.iter().any(|pipeline| pipeline.aggregate.is_some())
        {
            return Err(STATISTICS_IN_GROUP.to_owned());
        }
        match pipelines.iter().all(|pipeline| is_of(&self.name, &pipeline.name)) {
            true => Ok((place, pipelines)),
            false => Err(format!(
                "name: the file is `{0}`, and its pipeline has another `name`\n  next: write `name: \
                 {0}`, or call the file by the pipeline's",
                self.name
            )),
        }
    }

    fn run_all(self: &Arc<Self>, place: &Place, pipelines: &[Pipeline]) {
        {
            let mut state = self.lock();
            state.unreadable = None;
            state.tries = 0;
            let mut before = std::mem::take(&mut state.members);
            state.members = pipelines
                .iter()
                .map(|pipeline| {
                    let shards = if pipeline.is_one_shard() { 1 } else { place.tasks };
                    let at = before.iter().position(|m| m.pipeline == pipeline.name);
                    let new = Member::new(pipeline, shards);
                    match at.map(|at| before.swap_remove(at)) {
                        Some(old) => new.goes_on_from(old),
                        None => new,
                    }
                })
                .collect();
        }
        std::thread::scope(|scope| {
            for at in 0..pipelines.len() {
                let (place, pipeline) = (place.clone(), pipelines[at].clone());
                let spawned = std::thread::Builder::new()
                    // Threads below it inherit the name: what they use is counted by it.
                    .name(thread_name(&self.name))
                    .spawn_scoped(scope, move || self.run_one(at, place, pipeline));
                if spawned.is_err() {
                    let trace = "no thread for it: the system gives no more".to_owned();
                    self.lock().members[at].enter(Phase::Failed { trace });
                }
            }
        });
    }

    /// Runs one pipeline, and begins it again until somebody wants otherwise.
    fn run_one(self: &Arc<Self>, at: usize, mut place: Place, mut pipeline: Pipeline) {
        loop {
            let stop = {
                let mut state = self.lock();
                if !state.is_wanted() {
                    // One that failed goes on saying why.
                    if !state.members[at].is_failed() {
                        state.members[at].enter(Phase::Ended);
                    }
                    self.wake.notify_all();
                    return;
                }
                let member = &mut state.members[at];
                // Under the lock: whoever asks it to stop finds this flag.
                member.stop = Arc::new(AtomicBool::new(false));
                member.nudged = false;
                member.enter(Phase::Starting);
                (member.before, member.notice) = (member.totals, None);
                member.held.clear();
                member.partitions.clear();
                self.starts.attempts.fetch_add(u64::from(member.shards), Ordering::Relaxed);
                Arc::clone(&member.stop)
            };
            let began = Instant::now();
            let voice = self.voice(at);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                run::one(&self.place, &self.file, &place, &pipeline, &stop, voice)
            }))
            .unwrap_or(Err(RunFault::ThreadDied));
            self.rest_after(at, began, outcome);
            // What people mended meanwhile is taken up; what cannot be read is told by the next try.
            if let Ok((now, all)) = files::load_all(&self.place, &self.file)
                && let Some(found) = all.into_iter().find(|one| one.name == pipeline.name)
            {
                (place, pipeline) = (now, found);
            }
        }
    }

    /// What becomes of a pipeline that ended: it waits its time, or for a person.
    fn rest_after(&self, at: usize, began: Instant, outcome: Result<(), RunFault>) {
        let mut state = self.lock();
        let (wanted, alone) = (state.is_wanted(), state.runs == Runs::Alone);
        let member = &mut state.members[at];
        member.held.clear();
        let fault = match outcome {
            _ if !wanted || member.nudged => return,
            // A source that has an end was read to it.
            Ok(()) => {
                member.enter(Phase::Ended);
                drop(self.wait(state, Duration::MAX, |state| state.members[at].nudged));
                return;
            }
            Err(fault) => fault,
        };
        // A life of a few transactions is none: one partition may fail while its neighbours go on.
        if began.elapsed() >= BACKOFF_MAX {
            member.tries = 0;
        }
        member.tries += 1;
        member.failed_at_ms = Some(jiff::Timestamp::now().as_millisecond());
        if member.phase == Phase::Starting {
            self.starts.failures.fetch_add(u64::from(member.shards), Ordering::Relaxed);
        }
        let (trace, code) = (trace(&fault), fault.code());
        let mut told = json!({"pipeline": member.pipeline, "residency": member.residency,
            "code": code, "tries": member.tries});
        member.errors_logged += 1;
        let (level, event, rest) = match begins_again(&fault) {
            false => {
                member.enter(Phase::Failed { trace });
                (Level::Error, "failed", Duration::MAX)
            }
            true => {
                let rest = match fault {
                    RunFault::Fenced if alone => FENCED,
                    RunFault::Fenced => FENCED_IN_GROUP,
                    _ => backoff(member.tries),
                };
                told["rest_s"] = json!(rest.as_secs());
                let trace = format!(
                    "{trace}\n  begun again in {} s, after {} tries in a row",
                    rest.as_secs(),
                    member.tries
                );
                member.enter(Phase::Resting { trace });
                member.restarts += 1;
                (Level::Warn, "resting", rest)
            }
        };
        // Whoever reads standard error slowly keeps nobody from asking for the status.
        drop(state);
        self.say(level, event, &told);
        drop(self.wait(self.lock(), rest, |state| state.members[at].nudged));
    }

    /// Waits that long, or until something is wanted otherwise.
    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        at_most: Duration,
        nudged: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let began = Instant::now();
        while state.is_wanted() && !nudged(&state) {
            let left = at_most.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            // A wait of all time would overflow the clock.
            let left = left.min(Duration::from_secs(3600));
            state = self.wake.wait_timeout(state, left).unwrap_or_else(|e| e.into_inner()).0;
        }
        state
    }

    fn say(&self, level: Level, event: &str, fields: &Value) {
        let mut fields = fields.clone();
        fields["connector"] = json!(self.name);
        self.loggers.say(level, FLEET, event, &fields);
    }

    fn voice(self: &Arc<Self>, at: usize) -> Voice {
        let connector = Arc::clone(self);
        let meters = Arc::clone(&self.lock().members[at].meters);
        let hear = move |event: &str, fields: &Value, is_told: bool| {
            connector.hear(at, event, fields, is_told);
        };
        Voice::Listener(Listener::new(hear, meters))
    }

    /// An event of a pipeline, and whether it goes into the log.
    fn hear(&self, at: usize, event: &str, fields: &Value, is_told: bool) {
        let mut state = self.lock();
        let Some(member) = state.members.get_mut(at) else { return };
        let count = |name: &str| fields[name].as_u64();
        match event {
            "assigned" => {
                let shard = count("shard").unwrap_or(0) as u32;
                member.partitions.insert(shard, count("partitions").unwrap_or(0));
                // Each of its shards is fenced then, unless it was asked to end meanwhile.
                let lives = |m: &Member| {
                    m.partitions.len() as u64 >= u64::from(m.shards)
                        && !m.stop.load(Ordering::Relaxed)
                };
                if state.members.iter().all(lives) {
                    state.fenced = state.deals;
                }
            }
            "started" | "swapped" => {
                if member.phase == Phase::Starting {
                    self.starts.successes.fetch_add(u64::from(member.shards), Ordering::Relaxed);
                }
                member.enter(Phase::Running);
                member.shards = count("tasks").map_or(member.shards, |tasks| tasks as u32);
                member.notice = None;
                member.held.clear();
                let topics = member.topics.clone();
                state.topics.extend(topics);
            }
            "progress" | "stopped" => {
                if member.notice.as_ref().is_some_and(|notice| notice.starts_with(AGAIN)) {
                    member.notice = None;
                }
                let before = member.before;
                member.totals = Totals {
                    records: before.records + count("records").unwrap_or(0),
                    transactions: before.transactions + count("transactions").unwrap_or(0),
                    quarantined: count("quarantined").map(|n| before.quarantined.unwrap_or(0) + n),
                };
            }
            "held" => {
                let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
                let partition = fields["partition"].as_i64().unwrap_or(-1) as i32;
                let shard = count("shard").unwrap_or(0) as u32;
                let others = fields["others"].as_array().into_iter().flatten();
                let others = others.filter_map(|leaf| leaf.as_str());
                let held = Held {
                    shard,
                    offset: fields["offset"].as_i64().unwrap_or(-1),
                    code: text("code"),
                    leaf: fields["leaf"].as_str().map(str::to_owned),
                    others: others.map(str::to_owned).collect(),
                    message: text("message"),
                };
                member.held.insert((text("topic"), partition), held);
            }
            "swap_refused" | "swap_waits" | "keys_away" | "certificate_expired" => {
                let why = fields["why"].as_str().unwrap_or_default();
                member.notice = Some(cut(&format!("{event}: {why}")));
            }
            // It is begun again by itself: as long as nothing goes on, this is why.
            "again" if member.notice.is_none() => {
                let why = fields["why"].as_str().unwrap_or_default();
                member.notice = Some(cut(&format!("{AGAIN}{why}")));
            }
            "keys_again" => member.notice = None,
            _ => {}
        }
        if !is_told {
            return;
        }
        let member = &mut state.members[at];
        let level = level_of(event);
        member.errors_logged += u64::from(level >= Level::Warn);
        let (pipeline, residency) = (member.pipeline.clone(), member.residency.clone());
        drop(state);
        let mut fields = fields.clone();
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("pipeline".to_owned(), json!(pipeline));
            fields.insert("residency".to_owned(), json!(residency));
        }
        self.loggers.say(level, PIPELINES, event, &fields);
    }
}

/// The end of a connector's thread, however it comes.
struct Left<'a>(&'a Connector);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.lock().kept = false;
        self.0.wake.notify_all();
    }
}

impl State {
    fn is_wanted(&self) -> bool {
        !self.deleted && !self.reload && self.is_aimed()
    }

    /// It is to run, and here.
    pub fn is_aimed(&self) -> bool {
        self.saved.target == TargetState::Running && self.runs != Runs::Elsewhere
    }

    /// Whether one of its pipelines is to run: one whose source has an end and was read to it has done what
    /// it was to do.
    pub fn wants(&self, member: &Member) -> bool {
        self.is_wanted() && member.phase != Phase::Ended
    }

    /// It is not to run, and whoever had it before may write still.
    fn is_to_fence(&self) -> bool {
        let is_aimed = self.saved.target == TargetState::Running;
        self.fenced < self.deals && self.runs == Runs::Here && !is_aimed
    }

    /// Something of it has not ended, and why that takes so long, where it is known.
    pub fn ending(&self) -> Option<&str> {
        let why = self.unfenced.as_deref().filter(|_| self.is_to_fence());
        self.ends().then(|| why.unwrap_or("it ends what is under way"))
    }

    /// Something of it has not ended.
    pub fn ends(&self) -> bool {
        self.is_to_fence()
            || self.members.iter().any(|m| matches!(m.phase, Phase::Starting | Phase::Running))
    }

    /// Which pipeline a task belongs to: tasks count through the shards of all of them.
    pub fn member_of(&self, task: u32) -> Option<usize> {
        let mut first = 0;
        for (at, member) in self.members.iter().enumerate() {
            if task < first + member.shards {
                return Some(at);
            }
            first += member.shards;
        }
        None
    }
}

/// How grave an event of a pipeline is.
fn level_of(event: &str) -> Level {
    match event {
        "progress" => Level::Debug,
        "held"
        | "swap_refused"
        | "swap_waits"
        | "again"
        | "keys_away"
        | "release_ended"
        | "device_failed"
        | "source_trouble"
        | "clock_not_kept"
        | "store_full"
        | "certificate_expires"
        | "certificate_expired" => Level::Warn,
        "fault" => Level::Error,
        _ => Level::Info,
    }
}

/// The wait after so many failures in a row: it doubles, up to a minute.
fn backoff(tries: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(BACKOFF_MAX)
}

/// Whether a pipeline is begun again by itself. Each start checks all there is to check, so to try
/// again does no harm. But a span that crossed once is closed for good.
fn begins_again(fault: &RunFault) -> bool {
    !matches!(fault, RunFault::OneShot { .. })
}

/// Whether a pipeline is the connector's by its name, alone or as one of its tables.
pub fn is_of(connector: &str, pipeline: &str) -> bool {
    pipeline.strip_prefix(connector).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What a status shows of a fault.
fn trace(fault: &RunFault) -> String {
    cut(&match fault {
        RunFault::Findings(findings) => places(findings),
        other => format!("{}: {}", other.code(), other.told()),
    })
}

/// Places and kinds of findings, and no more: messages show words of a file that nobody approved. In
/// full they are for who sent the file.
pub fn places(findings: &Findings) -> String {
    let place = |f: &Finding| format!("{}{}: {:?}", f.file, f.mark, f.kind);
    let places: Vec<String> = findings.iter().take(FINDINGS_MAX).map(place).collect();
    format!("findings:\n  {}\n  next: `douane lint FILE` says them in full", places.join("\n  "))
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TRACE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// At most 15 bytes: what Linux keeps of a thread's name. Names that begin alike are told apart by
/// a digest.
pub fn thread_name(connector: &str) -> String {
    let digest = douane_ledger::canonical::sha256_hex(connector.as_bytes());
    format!("p:{}", &digest[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Member {
        fn of_test(shards: u32) -> Self {
            Self {
                pipeline: "p".to_owned(),
                topics: vec!["t".to_owned()],
                is_statistics: false,
                residency: vec!["eu".to_owned()],
                shards,
                phase: Phase::Running,
                held: BTreeMap::new(),
                notice: None,
                totals: Totals::default(),
                before: Totals::default(),
                restarts: 0,
                meters: Arc::default(),
                partitions: BTreeMap::new(),
                errors_logged: 0,
                failed_at_ms: None,
                clock: Clock::new(Instant::now()),
                tries: 0,
                stop: Arc::new(AtomicBool::new(false)),
                nudged: false,
            }
        }
    }

    impl State {
        /// Of a connector with one pipeline.
        pub fn of_test(target: TargetState, phase: Phase) -> Self {
            let mut state = connector().state();
            state.saved.target = target;
            state.members = vec![Member { phase, ..Member::of_test(2) }];
            state
        }
    }

    fn connector() -> Arc<Connector> {
        let dir = Path::new("/nonexistent");
        let loggers = Arc::new(Loggers::new("eu-de"));
        loggers.set("root", Level::Off, jiff::Timestamp::now());
        Connector::new(
            "a",
            &dir.join("a.yaml"),
            &dir.join("douane.yaml"),
            Saved::default(),
            loggers,
            Arc::default(),
        )
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute() {
        let seconds: Vec<u64> = (1..10).map(|tries| backoff(tries).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
        assert!(begins_again(&RunFault::Release("x".into())) && begins_again(&RunFault::Fenced));
        assert!(!begins_again(&RunFault::OneShot { what: "x".into() }));
        for (pipeline, its) in [("crm", true), ("crm.a", true), ("crma", false), ("a", false)] {
            assert_eq!(is_of("crm", pipeline), its, "{pipeline}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_and_tried_again_and_its_end_is_heard() {
        let connector = connector();
        assert!(connector.begins() && !connector.begins(), "it has one thread");
        let kept = Arc::clone(&connector);
        let keeper = std::thread::spawn(move || kept.keep());
        let deadline = Instant::now() + Duration::from_secs(20);
        while connector.state().unreadable.is_none() {
            assert!(Instant::now() < deadline, "nothing was told");
            std::thread::yield_now();
        }
        let trace = connector.state().unreadable.unwrap();
        assert!(trace.contains("Unreadable") && trace.contains("next:"), "{trace}");
        // It rests for a second or more, and is deleted in the middle of it.
        assert!(!connector.has_left(Duration::ZERO));
        connector.end();
        assert!(connector.has_left(Duration::from_secs(20)));
        keeper.join().unwrap();
    }

    #[test]
    fn in_a_group_it_runs_where_it_was_dealt() {
        let connector = connector();
        connector.runs(Runs::Elsewhere);
        assert!(!connector.is_here() && connector.begins());
        let kept = Arc::clone(&connector);
        let keeper = std::thread::spawn(move || kept.keep());
        assert!(connector.has_ended(Duration::ZERO), "nothing of it runs");
        assert!(connector.state().unreadable.is_none(), "nor is it read");
        connector.runs(Runs::Here);
        let deadline = Instant::now() + Duration::from_secs(20);
        while connector.state().unreadable.is_none() {
            assert!(Instant::now() < deadline, "it was dealt, and does not begin");
            std::thread::yield_now();
        }
        // Given back: what is to run here does not, and what was asked of it meanwhile stays asked.
        connector.runs(Runs::Elsewhere);
        connector.aim(Saved { target: TargetState::Stopped, ..Saved::default() });
        assert!(connector.has_ended(Duration::from_secs(20)) && !connector.is_here());
        assert_eq!(connector.state().saved.target, TargetState::Stopped);
        connector.end();
        assert!(connector.has_left(Duration::from_secs(20)));
        keeper.join().unwrap();
    }

    /// Whoever had it before may have been frozen: what is dealt is not said to have stopped until that one is fenced.
    #[test]
    fn what_was_dealt_has_not_stopped_until_whoever_had_it_is_fenced() {
        let connector = connector();
        let (stopped, running) = (TargetState::Stopped, TargetState::Running);
        let aim = |target| connector.aim(Saved { target, ..Saved::default() });
        let ends = || connector.has_ended(Duration::ZERO);
        aim(stopped);
        assert!(ends(), "alone");
        connector.runs(Runs::Elsewhere);
        assert!(ends(), "what others run, they say");
        connector.runs(Runs::Here);
        assert!(!ends() && connector.state().ending().is_some());
        // A start fences, once all of its shards live.
        aim(running);
        connector.lock().members = vec![Member::of_test(2)];
        connector.hear(0, "assigned", &json!({"shard": 0, "partitions": 1}), true);
        assert_eq!(connector.state().fenced, 0);
        connector.hear(0, "assigned", &json!({"shard": 1, "partitions": 1}), true);
        connector.lock().members[0].enter(Phase::Ended);
        aim(stopped);
        assert!(ends());
        // Dealt anew, and what lived under the deal before says nothing of this one.
        connector.runs(Runs::Elsewhere);
        connector.runs(Runs::Here);
        connector.hear(0, "assigned", &json!({"shard": 1, "partitions": 1}), true);
        assert!(!ends());
        connector.runs(Runs::Elsewhere);
        assert!(ends());
    }

    #[test]
    fn what_is_resumed_does_not_run_before_it_says_so() {
        let connector = connector();
        let mut ended = Member::of_test(1);
        ended.phase = Phase::Ended;
        connector.lock().members = vec![ended];
        let aim = |target| connector.aim(Saved { target, ..Saved::default() });
        aim(TargetState::Paused);
        assert_eq!(connector.state().members[0].phase, Phase::Ended);
        aim(TargetState::Running);
        assert_eq!(connector.state().members[0].phase, Phase::Starting);
        // What runs is not touched by being told so again.
        connector.hear(0, "started", &json!({"tasks": 2}), true);
        aim(TargetState::Running);
        let member = &connector.state().members[0];
        assert_eq!((&member.phase, member.shards), (&Phase::Running, 2));
        connector.restart(true, None);
        assert_eq!(connector.state().members[0].phase, Phase::Running, "it has not failed");
        connector.restart(false, Some(1));
        assert_eq!(connector.state().members[0].phase, Phase::Starting);
    }

    #[test]
    fn counts_go_on_over_restarts_and_a_hold_is_told_until_the_next_start() {
        let connector = connector();
        connector.lock().members = vec![Member::of_test(1)];
        connector.hear(0, "started", &json!({"tasks": 1}), true);
        connector.hear(
            0,
            "progress",
            &json!({"records": 5, "transactions": 1, "quarantined": 2}),
            true,
        );
        let held = json!({"topic": "t", "partition": 0, "shard": 0, "message": "why"});
        connector.hear(0, "held", &held, true);
        let member = connector.state().members[0].clone();
        assert_eq!(member.totals, Totals { records: 5, transactions: 1, quarantined: Some(2) });
        assert_eq!(member.held.values().map(|held| &*held.message).collect::<Vec<_>>(), ["why"]);
        connector.lock().members[0].before = member.totals;
        connector.hear(0, "swapped", &json!({"tasks": 1}), true);
        connector.hear(
            0,
            "progress",
            &json!({"records": 1, "transactions": 1, "quarantined": 0}),
            true,
        );
        let member = connector.state().members[0].clone();
        assert_eq!(member.totals, Totals { records: 6, transactions: 2, quarantined: Some(2) });
        assert!(member.held.is_empty());
        // Of statistics how many were set aside is not told.
        connector.hear(0, "progress", &json!({"records": 1, "transactions": 1}), true);
        assert_eq!(connector.state().members[0].totals.quarantined, None);
        connector.hear(7, "held", &held, true);
    }

    #[test]
    fn tasks_are_counted_as_they_begin_and_what_was_counted_goes_on() {
        let connector = connector();
        let mut member = Member::of_test(2);
        member.enter(Phase::Starting);
        connector.lock().members = vec![member];
        connector.hear(0, "assigned", &json!({"shard": 1, "partitions": 3}), true);
        connector.hear(0, "started", &json!({"tasks": 2}), true);
        // One that runs already has not begun once more.
        connector.hear(0, "swapped", &json!({"tasks": 2}), true);
        connector.hear(0, "again", &json!({"why": "x"}), true);
        let starts = &connector.starts;
        assert_eq!(starts.successes.load(Ordering::Relaxed), 2);
        let old = connector.state().members[0].clone();
        assert_eq!((old.partitions.get(&1), old.errors_logged), (Some(&3), 1));
        let meters = Arc::clone(&old.meters);
        let new = Member::of_test(2).goes_on_from(old);
        assert!(Arc::ptr_eq(&new.meters, &meters) && new.errors_logged == 1);
    }

    #[test]
    fn the_share_of_time_that_it_ran() {
        let (born, s) = (Instant::now(), Duration::from_secs);
        let mut clock = Clock::new(born);
        clock.turn(true, born + s(2));
        assert!((clock.share(born + s(4)) - 0.5).abs() < 1e-9);
        clock.turn(false, born + s(6));
        assert!((clock.share(born + s(8)) - 0.5).abs() < 1e-9);
        assert!((clock.share(born + s(16)) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn what_is_begun_again_says_why_until_something_goes_on() {
        let connector = connector();
        connector.lock().members = vec![Member::of_test(1)];
        let notice = || connector.state().members[0].notice.clone();
        connector.hear(0, "again", &json!({"shard": 0, "why": "the ledger's topic: away"}), true);
        assert_eq!(notice().as_deref(), Some("again: the ledger's topic: away"));
        let logged = || connector.state().members[0].errors_logged;
        assert_eq!(logged(), 1);
        connector.hear(0, "progress", &json!({"records": 1}), true);
        assert_eq!(notice(), None);
        // What was told just now is no line of the log, and a state all the same.
        connector.hear(0, "again", &json!({"shard": 0, "why": "the ledger's topic: away"}), false);
        assert_eq!((notice().is_some(), logged()), (true, 1));
        connector.hear(0, "progress", &json!({"records": 1}), true);
        // What is said of files outlasts both.
        connector.hear(0, "swap_refused", &json!({"why": "x"}), true);
        connector.hear(0, "again", &json!({"shard": 0, "why": "y"}), true);
        connector.hear(0, "progress", &json!({"records": 2}), true);
        assert_eq!(notice().as_deref(), Some("swap_refused: x"));
    }

    #[test]
    fn a_trace_of_findings_shows_no_word_of_the_file() {
        let mut findings = files::Findings::default();
        let mark = files::Mark::new(3, 7);
        findings.error("p.yaml", mark, files::Kind::Class, "a secret word");
        let text = trace(&RunFault::Findings(findings));
        assert!(text.contains("p.yaml:3:7: Class") && !text.contains("secret"), "{text}");
        assert!(cut(&"ä".repeat(TRACE_BYTES_MAX)).len() <= TRACE_BYTES_MAX);
    }

    #[test]
    fn tasks_count_through_the_shards_of_all_pipelines_and_names_of_threads_fit() {
        let connector = connector();
        let mut state = connector.state();
        assert_eq!(state.member_of(0), None);
        state.members = [2, 1, 3].map(Member::of_test).into();
        let of: Vec<_> = (0..7).map(|task| state.member_of(task)).collect();
        assert_eq!(of, [Some(0), Some(0), Some(1), Some(2), Some(2), Some(2), None]);
        assert!(thread_name("customers").len() <= 15);
        assert_ne!(thread_name("customers-eu-1"), thread_name("customers-eu-2"));
    }
}
