//! A worker among others: every one knows all connectors, and each runs those that it was dealt.
//!
//! What a connector is to be stands in the topic of configs, and all workers take it up in that
//! order; a call that changes something is a record there, so it is asked of any of them. What a
//! connector is doing stands in the topic of states, written by the worker that runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use douane_pipelines::fault::RunFault;
use douane_pipelines::group::{
    Changed, Dealt, Follower, Group, Heard, Held, Member, Put, Standing, States, another,
};
use douane_pipelines::names::{NAME_BYTES_MAX, is_name};
use douane_pipelines::repeats::Repeats;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::lifecycle;
use crate::call::Answer;
use crate::connector::{Connector, Runs};
use crate::fleet::CONNECTORS_MAX;
use crate::loggers::{FLEET, Level};
use crate::service::{CONFLICT, Service};
use crate::store::{self, Keys, Saved, TargetState};

mod statuses;

use statuses::{Status, Written};

/// How long what is given back may take to end. What has not by then is fenced by who is given it.
const GIVE_BACK: Duration = Duration::from_secs(6);
/// One poll of a client.
const POLL: Duration = Duration::from_millis(100);
/// Between two looks at what this worker's connectors are doing.
const TELL: Duration = Duration::from_millis(500);
/// Before a source that broke is opened again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a connector that is deleted may take to end, wherever it runs.
const REMOVE: Duration = Duration::from_secs(10);
/// How long a change may take until this worker has taken it up itself.
const TAKEN_UP: Duration = Duration::from_secs(20);
/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(2);

/// A config as a record: within what Kafka and its clients take unless somebody says more. A file that a call
/// may bring takes twice its length and more, where much of it has to be escaped.
const RECORD_BYTES_MAX: usize = 900_000;
const VERSION: u32 = 1;
/// Before a connector's name, in the topic of configs.
const CONNECTOR: &str = "connector-";
/// Before a connector's name: what is to be done once.
const ORDER: &str = "order-";
/// Before a log's name: the level that all workers set.
const LOGGER: &str = "logger-";
/// Names the last change of all.
const LAST: &str = "last";
/// Before a connector's name, in the topic of states.
const STATUS: &str = "status-";

/// A connector in the topic of configs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Config {
    v: u32,
    /// The change that made it: another connector of its name has another.
    made: String,
    /// The change that said `target`.
    #[serde(default)]
    aimed: String,
    target: TargetState,
    keys: Keys,
    /// The pipeline's file.
    pipeline: String,
}

/// What is to be done once, by the worker that runs a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Order {
    /// Begin what it runs again.
    Restart {
        only_failed: bool,
        task: Option<u32>,
    },
    ForgetTopics,
}

#[derive(Serialize, Deserialize)]
struct Ordered {
    v: u32,
    order: Order,
}

/// The level of a log and of those below it.
#[derive(Serialize, Deserialize)]
struct Levelled {
    v: u32,
    level: String,
}

/// What was read of both topics.
#[derive(Default)]
struct Seen {
    configs: BTreeMap<String, Config>,
    told: statuses::Heard,
    /// Changes that somebody here waits for.
    waited_for: BTreeSet<String>,
    given: BTreeSet<i32>,
    /// Why connectors here are not yet what the topic of configs says.
    behind: BTreeMap<String, String>,
}

/// This worker's part in its group.
pub struct Worker {
    group: Group,
    seen: Mutex<Seen>,
    taken_up: Condvar,
    /// The offset behind what was read before the start.
    next: i64,
    ends: AtomicBool,
    /// Which of its members counts.
    joined: AtomicU64,
    /// Since the process began.
    pub rebalances: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Worker {
    /// Reads what there is. Nothing runs yet, and it is no member.
    pub fn open(group: Group, states: &Path) -> Result<Self, RunFault> {
        known_before(&group, &states.join("group.json"))?;
        let (held, next) = group.configs()?;
        let mut seen = Seen::default();
        for (key, value) in held {
            if let Some(name) = named(&key, CONNECTOR)
                && let Some(config) = config(&value)
            {
                seen.configs.insert(name.to_owned(), config);
            }
        }
        Ok(Self {
            group,
            seen: Mutex::new(seen),
            taken_up: Condvar::new(),
            next,
            ends: AtomicBool::new(false),
            joined: AtomicU64::new(0),
            rebalances: AtomicU64::new(0),
            threads: Mutex::default(),
        })
    }

    /// This worker's name, which is what a status shows.
    pub fn name(&self) -> &str {
        self.group.worker()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Takes part from here on.
    pub fn start(&self, service: &Arc<Service>) -> Result<(), RunFault> {
        let known: Vec<(String, Config)> =
            self.seen().configs.iter().map(|(n, c)| (n.clone(), c.clone())).collect();
        for (name, config) in known {
            self.take_up(service, &name, Some(&config));
        }
        // A folder that cannot be read is told where its files are wanted.
        let _ = service.fleet.pass_over_unknown();
        let mut member = self.join(service)?;
        let states = self.group.states()?;
        let of = |name: &str, run: Box<dyn FnOnce(&Arc<Service>, &Self) + Send>| {
            let service = Arc::clone(service);
            std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                if let Some(worker) = &service.worker {
                    run(&service, worker);
                }
            })
        };
        let threads = [
            of(
                "group:member",
                Box::new(move |service, worker| {
                    let mut repeats = Repeats::default();
                    let mut trouble = |why: String| {
                        let (of, fields) = ((Level::Warn, FLEET), json!({"why": why}));
                        service.loggers.say_lasting(&mut repeats, of, "group_trouble", fields);
                    };
                    while !worker.ends() {
                        let standing = member.poll(POLL);
                        let (Standing::Trouble(fault) | Standing::Deaf(fault)) = &standing else {
                            continue;
                        };
                        trouble(fault.to_string());
                        if matches!(standing, Standing::Deaf(_)) {
                            match worker.join_anew(service) {
                                Ok(anew) => member = anew,
                                Err(fault) => {
                                    trouble(fault.to_string());
                                    worker.rest(AGAIN);
                                }
                            }
                        }
                    }
                    let left = member.leave(LEAVE);
                    service.loggers.say(Level::Info, FLEET, "left_group", &json!({"clean": left}));
                }),
            ),
            of("group:follow", Box::new(|service, worker| worker.follow(service))),
            of(
                "group:tell",
                Box::new(move |service, worker| {
                    let mut states = states;
                    let mut written = Written::default();
                    let mut failing = false;
                    while !worker.ends() {
                        let told = worker.tell(service, &mut states, &mut written);
                        if let (Err(fault), false) = (&told, failing) {
                            let fields = json!({"why": fault.to_string()});
                            service.loggers.say(Level::Warn, FLEET, "states_not_told", &fields);
                        }
                        // A client that does not get through may never do so again.
                        if told.is_err()
                            && let Ok(anew) = worker.group.states()
                        {
                            states = anew;
                        }
                        failing = told.is_err();
                        worker.rest(TELL);
                    }
                }),
            ),
        ];
        for thread in threads {
            let thread =
                thread.map_err(|e| RunFault::Client(format!("no thread: {}", e.kind())))?;
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(())
    }

    /// Asks to be a member. What earlier ones are told from here on is nobody's business.
    fn join(&self, service: &Arc<Service>) -> Result<Member, RunFault> {
        let (listener, turn) = (Arc::clone(service), 1 + self.joined.load(Ordering::SeqCst));
        let member = self.group.join(move |dealt| {
            if let Some(worker) = &listener.worker
                && worker.joined.load(Ordering::SeqCst) == turn
            {
                worker.dealt(&listener, dealt);
            }
        })?;
        // It is told nothing before it is polled; where there is none, the one before goes on.
        self.joined.store(turn, Ordering::SeqCst);
        Ok(member)
    }

    /// Its member hears nobody: others have been given what it was dealt, or will be, and it is dealt anew as another.
    fn join_anew(&self, service: &Arc<Service>) -> Result<Member, RunFault> {
        let anew = self.join(service)?;
        let units = self.seen().given.iter().copied().collect();
        self.dealt(service, Dealt::Taken(units));
        Ok(anew)
    }

    /// Gives everything back. What ran has ended.
    pub fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
        self.taken_up.notify_all();
        let until = Instant::now() + LEAVE;
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            while !thread.is_finished() && Instant::now() < until {
                self.rest(Duration::from_millis(20));
            }
        }
    }

    /// Waits that long, or until something changed.
    fn rest(&self, at_most: Duration) {
        drop(self.taken_up.wait_timeout(self.seen(), at_most));
    }

    /// What this worker was dealt, or has to give back.
    fn dealt(&self, service: &Service, dealt: Dealt) {
        let (units, given) = match dealt {
            Dealt::Given(units) => (units, true),
            Dealt::Taken(units) => (units, false),
        };
        let units: BTreeSet<i32> = units.into_iter().collect();
        let all: Vec<_> = {
            let mut seen = self.seen();
            match given {
                true => seen.given.extend(&units),
                false => seen.given.retain(|unit| !units.contains(unit)),
            }
            let concerned = |c: &Arc<Connector>| units.contains(&self.group.unit_of(&c.name));
            let all: Vec<_> = service.fleet.all().into_iter().filter(concerned).collect();
            all.iter().for_each(|connector| self.place(&seen, connector));
            all
        };
        if !given {
            // Between two transactions, if they let it: who is given them next then fences nobody.
            let until = Instant::now() + GIVE_BACK;
            for connector in &all {
                connector.has_ended(until.saturating_duration_since(Instant::now()));
            }
        }
        if given {
            self.rebalances.fetch_add(1, Ordering::Relaxed);
        }
        let names: Vec<&str> = all.iter().map(|connector| connector.name.as_str()).collect();
        let event = if given { "given" } else { "given_back" };
        let fields = json!({"units": units.len(), "connectors": names});
        service.loggers.say(Level::Info, FLEET, event, &fields);
    }

    /// A connector runs here, or elsewhere, as it was dealt.
    fn place(&self, seen: &Seen, connector: &Connector) {
        connector.runs(match seen.given.contains(&self.group.unit_of(&connector.name)) {
            true => Runs::Here,
            false => Runs::Elsewhere,
        });
    }

    /// Takes up what becomes of both topics, in their order.
    fn follow(&self, service: &Service) {
        let (mut next, mut repeats) = (self.next, Repeats::default());
        while !self.ends() {
            let mut follower = match self.group.follow(next) {
                Ok(follower) => follower,
                Err(fault) => {
                    let (level, event) = match fault {
                        RunFault::Topic { .. } => (Level::Error, "group_topic_changed"),
                        _ => (Level::Warn, "group_away"),
                    };
                    let fields = json!({"why": fault.to_string()});
                    service.loggers.say_lasting(&mut repeats, (level, FLEET), event, fields);
                    self.rest(AGAIN);
                    continue;
                }
            };
            self.listen(service, &mut follower, &mut next);
            follower.close();
            if !self.ends() {
                let fields = json!({"why": "the source of both topics broke", "next": next});
                let of = (Level::Warn, FLEET);
                service.loggers.say_lasting(&mut repeats, of, "group_away", fields);
            }
            self.rest(if self.ends() { Duration::ZERO } else { AGAIN });
        }
    }

    fn listen(&self, service: &Service, follower: &mut Follower, next: &mut i64) {
        let mut tried = Instant::now();
        while !self.ends() {
            if tried.elapsed() >= AGAIN {
                if matches!(self.group.is_same(), Err(RunFault::Topic { .. })) {
                    return;
                }
                self.catch_up(service);
                tried = Instant::now();
            }
            match follower.hear(POLL) {
                // Asked afterwards: what another topic of that name holds is heard by nobody.
                Heard::Config { .. } if self.group.is_same().is_err() => return,
                Heard::Config { offset, key, value } => {
                    self.hear_config(service, offset, &key, value.as_deref());
                    *next = offset + 1;
                }
                Heard::State { key, value } => self.hear_state(&key, value.as_deref()),
                Heard::Nothing => {}
                Heard::Broken => return,
            }
        }
    }

    fn hear_config(&self, service: &Service, offset: i64, key: &str, value: Option<&[u8]>) {
        if let Some(name) = named(key, CONNECTOR) {
            let found = value.and_then(config);
            if found.is_none() && value.is_some() {
                let fields = json!({"offset": offset});
                service.loggers.say(Level::Error, FLEET, "config_unreadable", &fields);
                return;
            }
            self.take_up(service, name, found.as_ref());
            // Afterwards: what is told under an aim is told of one that has it.
            match found {
                Some(config) => drop(self.seen().configs.insert(name.to_owned(), config)),
                None => {
                    let mut seen = self.seen();
                    seen.configs.remove(name);
                    seen.told.is_gone(name);
                }
            }
        } else if let Some(name) = named(key, ORDER) {
            let ordered = value.and_then(|value| serde_json::from_slice::<Ordered>(value).ok());
            let ordered = ordered.filter(|ordered| ordered.v == VERSION);
            if let (Some(connector), Some(ordered)) = (service.fleet.get(name), ordered)
                && connector.is_here()
            {
                match ordered.order {
                    Order::Restart { only_failed, task } => {
                        service.fleet.restart(&connector, only_failed, task);
                    }
                    Order::ForgetTopics => connector.forget_topics(),
                }
            }
        } else if let Some(name) = key.strip_prefix(LOGGER) {
            let levelled = value.and_then(|value| serde_json::from_slice::<Levelled>(value).ok());
            let levelled = levelled.filter(|levelled| levelled.v == VERSION);
            if let Some(level) = levelled.and_then(|levelled| Level::parse(&levelled.level)) {
                service.loggers.set(name, level, jiff::Timestamp::now());
            }
        } else if key == LAST {
            let change = value.and_then(|value| std::str::from_utf8(value).ok());
            if change.is_some_and(|change| self.seen().waited_for.remove(change)) {
                self.taken_up.notify_all();
            }
        }
    }

    fn hear_state(&self, key: &str, value: Option<&[u8]>) {
        let Some(name) = named(key, STATUS) else { return };
        let told = value.map(|value| serde_json::from_slice::<Status>(value).ok());
        let told = told.map(|told| told.filter(|told| told.v == VERSION));
        // Of a later version, or something else: it is not guessed at.
        if told != Some(None) {
            let mut seen = self.seen();
            let is_known = seen.configs.contains_key(name);
            seen.told.hear(name, told.flatten(), is_known);
        }
    }

    /// Makes a connector what its config says.
    fn take_up(&self, service: &Service, name: &str, config: Option<&Config>) {
        let taken = match config {
            Some(config) => {
                let saved = Saved {
                    config: Some(config.keys.clone()),
                    target: config.target,
                    ..Saved::default()
                };
                let brought = service.fleet.bring(name, &config.pipeline, saved);
                // Under the lock: what is dealt meanwhile is dealt after it.
                brought.map(|connector| self.place(&self.seen(), &connector))
            }
            None => service.fleet.take_away(name),
        };
        let Err(error) = taken else {
            self.seen().behind.remove(name);
            return;
        };
        // Of the system's errors the kind; paths are nobody's to see.
        let why = match error.get_ref() {
            Some(own) => own.to_string(),
            None => error.kind().to_string(),
        };
        if self.seen().behind.insert(name.to_owned(), why.clone()).as_ref() != Some(&why) {
            let fields = json!({"connector": name, "why": why});
            service.loggers.say(Level::Error, FLEET, "not_taken_up", &fields);
        }
    }

    /// Tries again what could not be taken up.
    fn catch_up(&self, service: &Service) {
        let behind: Vec<(String, Option<Config>)> = {
            let seen = self.seen();
            let config = |name: &String| seen.configs.get(name).cloned();
            seen.behind.keys().map(|name| (name.clone(), config(name))).collect()
        };
        for (name, config) in behind {
            self.take_up(service, &name, config.as_ref());
        }
    }

    /// Why a connector here is not what it is to be.
    pub fn behind(&self, name: &str) -> Option<String> {
        let why = self.seen().behind.get(name).cloned()?;
        Some(format!("not taken up: {why}\n  next: mend it; it is tried again by itself"))
    }

    /// Tells what changed of what runs here, and takes back what was said of what was deleted.
    fn tell(
        &self,
        service: &Service,
        states: &mut States,
        written: &mut Written,
    ) -> Result<(), RunFault> {
        let mut running = BTreeMap::new();
        let mut tells = |name: String, config: Config, status, topics| {
            let (worker, made, aimed) = (self.name().to_owned(), config.made, config.aimed);
            running.insert(name, Status { v: VERSION, worker, made, aimed, status, topics });
        };
        for connector in service.fleet.all().into_iter().filter(|c| c.is_here()) {
            // The aim first: a status that is older than it does not stand under it.
            let Some(config) = self.seen().configs.get(&connector.name).cloned() else { continue };
            let (status, topics) =
                (lifecycle::state_here(service, &connector), connector.state().topics);
            tells(connector.name.clone(), config, status, topics);
        }
        for (name, config) in self.unknown_here(service) {
            let Some(status) = self.not_taken_up(&name) else { continue };
            tells(name, config, status, BTreeSet::new());
        }
        let due = {
            let seen = self.seen();
            let is_gone = |name: &str| {
                !seen.configs.contains_key(name) && seen.given.contains(&self.group.unit_of(name))
            };
            written.due(self.name(), running, &seen.told, is_gone)
        };
        let record = |(name, told): (&String, &statuses::Told)| {
            let value = told.as_ref().map(serde_json::to_vec).transpose().ok()?;
            Some((format!("{STATUS}{name}").into_bytes(), value))
        };
        let records: Vec<_> = due.iter().filter_map(record).collect();
        if !records.is_empty() {
            states.tell(&records)?;
            written.wrote(due);
        }
        Ok(())
    }

    /// What would run here and could never be taken up: nothing of it runs.
    fn unknown_here(&self, service: &Service) -> Vec<(String, Config)> {
        let seen = self.seen();
        let is_here = |name: &&String| seen.given.contains(&self.group.unit_of(name));
        let names = seen.behind.keys().filter(is_here).filter(|n| service.fleet.get(n).is_none());
        names.filter_map(|name| Some((name.clone(), seen.configs.get(name)?.clone()))).collect()
    }

    /// Of all connectors of the group.
    pub fn names(&self) -> Vec<String> {
        self.seen().configs.keys().cloned().collect()
    }

    /// Whether the group has such a connector, taken up here or not.
    pub fn knows(&self, name: &str) -> bool {
        self.seen().configs.contains_key(name)
    }

    /// Keys and pipeline of a connector, as the group has them.
    pub fn config_of(&self, name: &str) -> Option<(Keys, String)> {
        let seen = self.seen();
        let config = seen.configs.get(name)?;
        Some((config.keys.clone(), config.pipeline.clone()))
    }

    /// The status of one that could not be taken up here: its own where it would run here, otherwise what the worker
    /// that runs it says.
    pub fn unknown(&self, name: &str) -> Option<Value> {
        let is_here = {
            let seen = self.seen();
            seen.configs.contains_key(name).then(|| seen.given.contains(&self.group.unit_of(name)))
        };
        match is_here? {
            true => self.not_taken_up(name),
            false => Some(self.status(name)),
        }
    }

    fn not_taken_up(&self, name: &str) -> Option<Value> {
        let why = self.behind(name)?;
        let state = match self.seen().configs.get(name)?.target {
            TargetState::Running => "FAILED",
            target => target.word(),
        };
        let own = json!({"state": state, "worker_id": self.name(), "trace": why,
            "version": env!("CARGO_PKG_VERSION")});
        Some(json!({"name": name, "connector": own, "tasks": [], "type": "sink"}))
    }

    fn told(&self, name: &str) -> Option<Status> {
        let seen = self.seen();
        let made = &seen.configs.get(name)?.made;
        seen.told.get(name).filter(|told| told.made == *made).cloned()
    }

    /// The status of a connector that another worker runs, as that one told it.
    pub fn status(&self, name: &str) -> Value {
        self.told(name).map_or_else(
            || {
                let unknown = json!({"state": "UNASSIGNED", "worker_id": "", "version": null});
                json!({"name": name, "connector": unknown, "tasks": [], "type": "sink"})
            },
            |told| told.status,
        )
    }

    /// Its source topics in use.
    pub fn topics(&self, name: &str) -> BTreeSet<String> {
        self.told(name).map(|told| told.topics).unwrap_or_default()
    }

    /// A new connector.
    pub fn create(
        &self,
        name: &str,
        keys: &Keys,
        pipeline: &str,
        target: TargetState,
    ) -> Result<(), Answer> {
        let key = format!("{CONNECTOR}{name}");
        self.change(|held, change| {
            if held.contains_key(&key) {
                return Err(Answer::error(409, &format!("Connector {name} already exists")));
            }
            let names = held.keys().filter(|key| key.starts_with(CONNECTOR)).count();
            if names >= CONNECTORS_MAX {
                return Err(too_many());
            }
            let (made, aimed) = (change.to_owned(), change.to_owned());
            let (keys, pipeline) = (keys.clone(), pipeline.to_owned());
            put(&key, &Config { v: VERSION, made, aimed, target, keys, pipeline })
        })
    }

    /// Another config of one that is there.
    pub fn reconfigure(&self, name: &str, keys: &Keys, pipeline: &str) -> Result<(), Answer> {
        self.alter(name, |config, _| {
            config.keys.clone_from(keys);
            pipeline.clone_into(&mut config.pipeline);
            Ok(())
        })
    }

    /// Another config of one that is there, made of the one that the topic holds: of two patches at
    /// one time none is lost.
    pub fn patch(
        &self,
        name: &str,
        patch: impl Fn(&Keys, &str) -> Result<(Keys, String), Answer>,
    ) -> Result<(), Answer> {
        self.alter(name, |config, _| {
            (config.keys, config.pipeline) = patch(&config.keys, &config.pipeline)?;
            Ok(())
        })
    }

    /// Whether one is to run.
    pub fn aim(&self, name: &str, target: TargetState) -> Result<(), Answer> {
        self.alter(name, |config, change| {
            (config.target, config.aimed) = (target, change.to_owned());
            Ok(())
        })
    }

    fn alter(
        &self,
        name: &str,
        alter: impl Fn(&mut Config, &str) -> Result<(), Answer>,
    ) -> Result<(), Answer> {
        let key = format!("{CONNECTOR}{name}");
        self.change(|held, change| {
            let mut config =
                held.get(&key).and_then(|value| config(value)).ok_or_else(missing(name))?;
            alter(&mut config, change)?;
            put(&key, &config)
        })
    }

    /// Stops one, waits until the worker that runs it says that nothing of it writes any more, and
    /// takes it away.
    pub fn delete(&self, name: &str) -> Result<(), Answer> {
        self.aim(name, TargetState::Stopped)?;
        let key = format!("{CONNECTOR}{name}");
        let Some(aimed) = self.seen().configs.get(name).cloned() else {
            return Err(missing(name)());
        };
        let busy = || {
            Answer::error(
                409,
                "the connector is to stop, and no worker says yet that it has\n  next: delete it again",
            )
        };
        let until = Instant::now() + REMOVE;
        while !self.seen().told.get(name).is_some_and(|told| has_stopped(told, &aimed)) {
            if Instant::now() >= until || self.ends() {
                return Err(busy());
            }
            self.rest(POLL);
        }
        self.change(|held, _| match held.get(&key).and_then(|value| config(value)) {
            // Begun again, or made anew, by somebody else meanwhile.
            Some(now) if now.made != aimed.made || now.aimed != aimed.aimed => Err(busy()),
            Some(_) => Ok(vec![(key.clone(), None), (format!("{ORDER}{name}"), None)]),
            None => Err(missing(name)()),
        })
    }

    /// What the worker that runs it is to do.
    pub fn order(&self, name: &str, order: Order) -> Result<(), Answer> {
        let key = format!("{CONNECTOR}{name}");
        self.change(|held, _| match held.contains_key(&key) {
            true => put(&format!("{ORDER}{name}"), &Ordered { v: VERSION, order }),
            false => Err(missing(name)()),
        })
    }

    /// How loud a log of all workers is. Who begins later has the level of its own.
    pub fn set_level(&self, log: &str, level: Level) -> Result<(), Answer> {
        let levelled = Levelled { v: VERSION, level: level.name().to_owned() };
        self.change(|_, _| put(&format!("{LOGGER}{log}"), &levelled))
    }

    /// Commits a change, and waits until this worker has taken it up.
    fn change(
        &self,
        decide: impl Fn(&Held, &str) -> Result<Vec<Put>, Answer>,
    ) -> Result<(), Answer> {
        let mut random = [0; 16];
        if getrandom::fill(&mut random).is_err() {
            return Err(Answer::error(500, "the system has no entropy"));
        }
        let change = data_encoding::HEXLOWER.encode(&random);
        self.seen().waited_for.insert(change.clone());
        let changed = self.group.change(|held| {
            let mut records = decide(held, &change)?;
            records.push((LAST.to_owned(), Some(change.clone().into_bytes())));
            Ok(records)
        });
        let refused = match changed {
            Changed::Done => None,
            Changed::Refused(answer) => Some(answer),
            Changed::Busy => Some(Answer::error(409, CONFLICT)),
            Changed::Fault(fault) => Some(crate::api::fault(&fault)),
        };
        let mut seen = self.seen();
        if let Some(answer) = refused {
            seen.waited_for.remove(&change);
            return Err(answer);
        }
        let waited = self
            .taken_up
            .wait_timeout_while(seen, TAKEN_UP, |seen| seen.waited_for.contains(&change))
            .unwrap_or_else(PoisonError::into_inner);
        seen = waited.0;
        match seen.waited_for.remove(&change) {
            true => {
                Err(Answer::error(500, "Request timed out: it is written, and not taken up yet"))
            }
            false => Ok(()),
        }
    }
}

/// The topic of configs that a worker knew, in a file of its own.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct KnownTopic {
    v: u32,
    topic: String,
    id: String,
}

/// A start takes up the topic of configs that the one before it had, or that of another name: an empty one in its
/// place would read as if all connectors had been deleted.
fn known_before(group: &Group, file: &Path) -> Result<(), RunFault> {
    let (topic, id) = group.config_topic();
    let now = KnownTopic { v: VERSION, topic: topic.to_owned(), id: id.to_owned() };
    let fault = |why: String| RunFault::File(format!("{}: {why}", file.display()));
    let known: Option<KnownTopic> = match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(fault(error.kind().to_string())),
        Ok(bytes) => {
            let known = serde_json::from_slice(&bytes);
            Some(known.map_err(|_| fault("is not what a worker wrote".to_owned()))?)
        }
    };
    match known {
        Some(known) if known == now => Ok(()),
        Some(known) if known.topic == now.topic => Err(another(topic)),
        _ => {
            let bytes = serde_json::to_vec(&now).unwrap_or_default();
            let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
            let written = made.and_then(|()| store::replace(file, 0o644, &bytes));
            written.map_err(|error| fault(error.kind().to_string()))
        }
    }
}

/// Whether a worker said, under this very aim, that a connector has stopped.
fn has_stopped(told: &Status, aimed: &Config) -> bool {
    (&told.made, &told.aimed) == (&aimed.made, &aimed.aimed)
        && aimed.target == TargetState::Stopped
        && told.status["connector"]["state"] == TargetState::Stopped.word()
}

/// The connector that a key is about. A name becomes that of a file here: one that no call could
/// make is none, whoever wrote it.
fn named<'k>(key: &'k str, before: &str) -> Option<&'k str> {
    key.strip_prefix(before).filter(|name| is_name(name, NAME_BYTES_MAX))
}

/// There is room for no other connector.
pub fn too_many() -> Answer {
    Answer::error(400, &format!("there are {CONNECTORS_MAX} connectors already"))
}

fn missing(name: &str) -> impl Fn() -> Answer {
    let text = format!("Connector {name} not found");
    move || Answer::error(404, &text)
}

fn config(value: &[u8]) -> Option<Config> {
    serde_json::from_slice::<Config>(value).ok().filter(|config| config.v == VERSION)
}

fn put<T: Serialize>(key: &str, value: &T) -> Result<Vec<Put>, Answer> {
    let value =
        serde_json::to_vec(value).map_err(|_| Answer::error(500, "a config has no JSON form"))?;
    if value.len() > RECORD_BYTES_MAX {
        let what = format!(
            "the config takes {} bytes in the topic of configs, at most {RECORD_BYTES_MAX}\n  next: a \
             shorter pipeline, with fewer comments",
            value.len()
        );
        return Err(Answer::error(400, &what));
    }
    Ok(vec![(key.to_owned(), Some(value))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_topic_does_not_take_is_the_callers_business() {
        assert!(put("connector-a", &"a".repeat(RECORD_BYTES_MAX - 2)).is_ok());
        for bad in ["a".repeat(RECORD_BYTES_MAX - 1), "\u{1}".repeat(RECORD_BYTES_MAX / 5)] {
            assert_eq!(put("connector-a", &bad).unwrap_err().status, 400);
        }
    }

    #[test]
    fn a_key_of_the_topic_names_a_connector_or_nothing_bad_name() {
        assert_eq!(named("connector-customers", CONNECTOR), Some("customers"));
        let long = format!("connector-{}", "a".repeat(NAME_BYTES_MAX + 1));
        for bad in ["connector-", "connector-../x", "connector-A", "connector-a/b", "last", &long] {
            assert_eq!(named(bad, CONNECTOR), None, "{bad}");
        }
    }

    #[test]
    fn only_what_was_told_under_the_stop_says_that_it_has_stopped() {
        let aimed = Config {
            v: VERSION,
            made: "ab".into(),
            aimed: "cd".into(),
            target: TargetState::Stopped,
            keys: Keys::new(),
            pipeline: String::new(),
        };
        let told = |made: &str, aimed: &str, state: &str| Status {
            v: VERSION,
            worker: "a".into(),
            made: made.into(),
            aimed: aimed.into(),
            status: json!({"connector": {"state": state}}),
            topics: BTreeSet::new(),
        };
        assert!(has_stopped(&told("ab", "cd", "STOPPED"), &aimed));
        // Of one that had its name before, of an earlier stop, and of one that ends still.
        for (made, aim, state) in
            [("xx", "cd", "STOPPED"), ("ab", "xx", "STOPPED"), ("ab", "cd", "RUNNING")]
        {
            assert!(!has_stopped(&told(made, aim, state), &aimed), "{made} {aim} {state}");
        }
        let resumed = Config { target: TargetState::Running, ..aimed };
        assert!(!has_stopped(&told("ab", "cd", "STOPPED"), &resumed));
    }

    #[test]
    fn what_workers_tell_each_other_has_the_documented_form() {
        let config_of = |v| Config {
            v,
            made: "ab".into(),
            aimed: "cd".into(),
            target: TargetState::Paused,
            keys: Keys::from([("name".to_owned(), "c".to_owned())]),
            pipeline: "name: c\n".into(),
        };
        let records = put("connector-c", &config_of(VERSION)).unwrap();
        let [(key, Some(value))] = records.as_slice() else { panic!("one record") };
        assert_eq!(key, "connector-c");
        let keys = json!({"name": "c"});
        let expected = json!({"v": 1, "made": "ab", "aimed": "cd", "target": "PAUSED", "keys": keys,
            "pipeline": "name: c\n"});
        assert_eq!(serde_json::from_slice::<Value>(value).unwrap(), expected);
        assert_eq!(config(value), Some(config_of(VERSION)));
        // Of a later version, or something else: it is not guessed at.
        assert_eq!(config(&serde_json::to_vec(&config_of(2)).unwrap()), None);
        assert_eq!(config(b"{}"), None);
        let levelled = Levelled { v: VERSION, level: Level::Debug.name().to_owned() };
        let levelled = serde_json::to_value(levelled).unwrap();
        assert_eq!(levelled, json!({"v": 1, "level": "DEBUG"}));
        for (order, expected) in [
            (
                Order::Restart { only_failed: true, task: Some(1) },
                json!({"do": "restart", "only_failed": true, "task": 1}),
            ),
            (Order::ForgetTopics, json!({"do": "forget_topics"})),
        ] {
            let ordered = serde_json::to_value(Ordered { v: VERSION, order }).unwrap();
            assert_eq!(ordered, json!({"v": 1, "order": expected}));
            assert_eq!(serde_json::from_value::<Ordered>(ordered).unwrap().order, order);
        }
    }
}
