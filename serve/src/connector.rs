//! One connector: the pipelines of one file, run and begun again until somebody wants otherwise.
//!
//! A thread of its own keeps it; each of its pipelines has a thread below that. One that fails or
//! holds touches no other.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use douane_pipelines::config::{self as files, Pipeline, Place};
use douane_pipelines::fault::RunFault;
use douane_pipelines::report::Voice;
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
    pub message: String,
}

/// One pipeline of the file.
#[derive(Clone, Debug)]
pub struct Member {
    pub pipeline: String,
    pub topics: Vec<String>,
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
            shards,
            phase: Phase::Starting,
            held: BTreeMap::new(),
            notice: None,
            totals: Totals::default(),
            before: Totals::default(),
            restarts: 0,
            tries: 0,
            stop: Arc::new(AtomicBool::new(false)),
            nudged: false,
        }
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
    /// A thread keeps it.
    kept: bool,
}

/// One file, and what keeps it running.
pub struct Connector {
    pub name: String,
    pub file: PathBuf,
    place: PathBuf,
    loggers: Arc<Loggers>,
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
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            file: file.to_owned(),
            place: place.to_owned(),
            loggers,
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
            state.members.iter_mut().for_each(|member| member.phase = Phase::Starting);
        }
    }

    /// Which worker runs it from now on. Returns at once.
    pub fn runs(&self, runs: Runs) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.runs, runs) == runs {
            return;
        }
        self.halt(&mut state);
        state.tries = 0;
        if runs == Runs::Here && state.saved.target == TargetState::Running {
            state.members.iter_mut().for_each(|member| member.phase = Phase::Starting);
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

    /// Ends what runs and begins it again: all of it, or what failed, or one task's pipeline.
    pub fn restart(&self, only_failed: bool, task: Option<u32>) {
        let mut state = self.lock();
        state.nudged = true;
        let runs = state.saved.target == TargetState::Running;
        let one = task.and_then(|task| state.member_of(task));
        for (at, member) in state.members.iter_mut().enumerate() {
            let asked = task.is_none() || one == Some(at);
            if asked && (!only_failed || member.is_failed()) {
                member.again();
                if runs {
                    member.phase = Phase::Starting;
                }
            }
        }
        self.wake.notify_all();
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
                    waiting.for_each(|member| member.phase = Phase::Ended);
                    // Somebody may wait for that.
                    self.wake.notify_all();
                    state = self.wake.wait(state).unwrap_or_else(|e| e.into_inner());
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
                    self.say(Level::Warn, "unreadable", &json!({}));
                    let mut state = self.lock();
                    state.unreadable = Some(trace);
                    state.tries += 1;
                    let rest = backoff(state.tries);
                    drop(self.wait(state, rest, |state| state.nudged));
                }
            }
        }
    }

    /// The file's pipelines. Their names begin with the connector's: so no two connectors run one.
    fn load(&self) -> Result<(Place, Vec<Pipeline>), String> {
        let (place, pipelines) = files::load_all(&self.place, &self.file)
            .map_err(|findings| trace(&RunFault::Findings(findings)))?;
        if self.lock().runs != Runs::Alone
            && pipelines.iter().any(|pipeline| pipeline.aggregate.is_some())
        {
            return Err("group: a pipeline of statistics keeps its open windows and its account on \
                        one machine, and in a group it would move\n  next: run it by a service that \
                        is alone, or by `douane run`"
                .to_owned());
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
                    // Counts go on: a counter that falls is a restart of the process.
                    match at.map(|at| before.swap_remove(at)) {
                        Some(old) => Member { totals: old.totals, restarts: old.restarts, ..new },
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
                    self.lock().members[at].phase = Phase::Failed { trace };
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
                        state.members[at].phase = Phase::Ended;
                    }
                    self.wake.notify_all();
                    return;
                }
                let member = &mut state.members[at];
                // Under the lock: whoever asks it to stop finds this flag.
                member.stop = Arc::new(AtomicBool::new(false));
                (member.nudged, member.phase) = (false, Phase::Starting);
                (member.before, member.notice) = (member.totals, None);
                member.held.clear();
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
                member.phase = Phase::Ended;
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
        let (trace, code) = (trace(&fault), fault.code());
        let mut told = json!({"pipeline": member.pipeline, "code": code, "tries": member.tries});
        let (level, event, rest) = match begins_again(&fault) {
            false => {
                member.phase = Phase::Failed { trace };
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
                member.phase = Phase::Resting { trace };
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
        Voice::Listener(Arc::new(move |event, fields| connector.hear(at, event, fields)))
    }

    /// An event of a pipeline.
    fn hear(&self, at: usize, event: &str, fields: &Value) {
        let mut state = self.lock();
        let Some(member) = state.members.get_mut(at) else { return };
        let count = |name: &str| fields[name].as_u64();
        match event {
            "started" | "swapped" => {
                member.phase = Phase::Running;
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
                let held = Held {
                    shard,
                    offset: fields["offset"].as_i64().unwrap_or(-1),
                    code: text("code"),
                    leaf: fields["leaf"].as_str().map(str::to_owned),
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
        let pipeline = state.members[at].pipeline.clone();
        drop(state);
        let mut fields = fields.clone();
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("pipeline".to_owned(), json!(pipeline));
        }
        self.loggers.say(level_of(event), PIPELINES, event, &fields);
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
    fn is_aimed(&self) -> bool {
        self.saved.target == TargetState::Running && self.runs != Runs::Elsewhere
    }

    /// Something of it has not ended.
    pub fn ends(&self) -> bool {
        self.members.iter().any(|m| matches!(m.phase, Phase::Starting | Phase::Running))
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

/// What a status shows of a fault. Of findings places and kinds only: messages show words of a
/// file that nobody approved.
fn trace(fault: &RunFault) -> String {
    match fault {
        RunFault::Findings(findings) => {
            let places: Vec<String> = findings
                .iter()
                .take(20)
                .map(|f| format!("{}{}: {:?}", f.file, f.mark, f.kind))
                .collect();
            cut(&format!(
                "findings:\n  {}\n  next: `douane lint FILE` says them in full",
                places.join("\n  ")
            ))
        }
        other => cut(&format!("{}: {other}", other.code())),
    }
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
                shards,
                phase: Phase::Running,
                held: BTreeMap::new(),
                notice: None,
                totals: Totals::default(),
                before: Totals::default(),
                restarts: 0,
                tries: 0,
                stop: Arc::new(AtomicBool::new(false)),
                nudged: false,
            }
        }
    }

    fn connector() -> Arc<Connector> {
        let dir = Path::new("/nonexistent");
        let loggers = Arc::new(Loggers::new());
        loggers.set("root", Level::Off, jiff::Timestamp::now());
        Connector::new(
            "a",
            &dir.join("a.yaml"),
            &dir.join("douane.yaml"),
            Saved::default(),
            loggers,
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
        connector.aim(Saved { target: TargetState::Stopped, config: None });
        assert!(connector.has_ended(Duration::from_secs(20)) && !connector.is_here());
        assert_eq!(connector.state().saved.target, TargetState::Stopped);
        connector.end();
        assert!(connector.has_left(Duration::from_secs(20)));
        keeper.join().unwrap();
    }

    #[test]
    fn what_is_resumed_does_not_run_before_it_says_so() {
        let connector = connector();
        let mut ended = Member::of_test(1);
        ended.phase = Phase::Ended;
        connector.lock().members = vec![ended];
        let aim = |target| connector.aim(Saved { target, config: None });
        aim(TargetState::Paused);
        assert_eq!(connector.state().members[0].phase, Phase::Ended);
        aim(TargetState::Running);
        assert_eq!(connector.state().members[0].phase, Phase::Starting);
        // What runs is not touched by being told so again.
        connector.hear(0, "started", &json!({"tasks": 2}));
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
        connector.hear(0, "started", &json!({"tasks": 1}));
        connector.hear(0, "progress", &json!({"records": 5, "transactions": 1, "quarantined": 2}));
        let held = json!({"topic": "t", "partition": 0, "shard": 0, "message": "why"});
        connector.hear(0, "held", &held);
        let member = connector.state().members[0].clone();
        assert_eq!(member.totals, Totals { records: 5, transactions: 1, quarantined: Some(2) });
        assert_eq!(member.held.values().map(|held| &*held.message).collect::<Vec<_>>(), ["why"]);
        connector.lock().members[0].before = member.totals;
        connector.hear(0, "swapped", &json!({"tasks": 1}));
        connector.hear(0, "progress", &json!({"records": 1, "transactions": 1, "quarantined": 0}));
        let member = connector.state().members[0].clone();
        assert_eq!(member.totals, Totals { records: 6, transactions: 2, quarantined: Some(2) });
        assert!(member.held.is_empty());
        // Of statistics how many were set aside is not told.
        connector.hear(0, "progress", &json!({"records": 1, "transactions": 1}));
        assert_eq!(connector.state().members[0].totals.quarantined, None);
        connector.hear(7, "held", &held);
    }

    #[test]
    fn what_is_begun_again_says_why_until_something_goes_on() {
        let connector = connector();
        connector.lock().members = vec![Member::of_test(1)];
        let notice = || connector.state().members[0].notice.clone();
        connector.hear(0, "again", &json!({"shard": 0, "why": "the ledger's topic: away"}));
        assert_eq!(notice().as_deref(), Some("again: the ledger's topic: away"));
        connector.hear(0, "progress", &json!({"records": 1}));
        assert_eq!(notice(), None);
        // What is said of files outlasts both.
        connector.hear(0, "swap_refused", &json!({"why": "x"}));
        connector.hear(0, "again", &json!({"shard": 0, "why": "y"}));
        connector.hear(0, "progress", &json!({"records": 2}));
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
