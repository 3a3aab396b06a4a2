//! States of connectors and tasks, and what changes them.

use serde_json::{Value, json};

use crate::call::{Answer, Call};
use crate::config::PIPELINE;
use crate::connector::{Connector, Member, Phase, State};
use crate::group::{Order, Worker};
use crate::service::Service;
use crate::store::TargetState;

/// What a task's state says.
struct Task {
    state: &'static str,
    trace: Option<String>,
}

impl Task {
    fn of(state: &State, member: &Member, shard: u32) -> Self {
        let plain = |state| Self { state, trace: None };
        match (&state.saved.target, &member.phase) {
            (_, Phase::Resting { trace } | Phase::Failed { trace }) => {
                Self { state: "FAILED", trace: Some(trace.clone()) }
            }
            (TargetState::Paused, Phase::Ended) => plain("PAUSED"),
            (_, Phase::Starting) => plain("UNASSIGNED"),
            // It waits for people at one place and goes on at others: running, and it says why not
            // everywhere.
            (_, Phase::Running) => Self { state: "RUNNING", trace: waits(member, shard) },
            (_, Phase::Ended) => plain("RUNNING"),
        }
    }

    fn json(&self, worker: &str, id: Option<u32>) -> Value {
        let version = env!("CARGO_PKG_VERSION");
        let mut json = json!({"state": self.state, "worker_id": worker, "version": version});
        if let Some(id) = id {
            json["id"] = json!(id);
        }
        if let Some(trace) = &self.trace {
            json["trace"] = json!(trace);
        }
        json
    }
}

/// What a shard that runs waits for.
fn waits(member: &Member, shard: u32) -> Option<String> {
    let held = member.held.values().filter(|held| held.shard == shard).map(|held| &held.message);
    let all: Vec<&String> = held.chain(member.notice.as_ref()).collect();
    let text = all.iter().map(|text| text.as_str()).collect::<Vec<_>>().join("\n");
    (!text.is_empty()).then_some(text)
}

/// How many tasks there are. A connector that stopped has none, nor has one that waits to run for
/// the first time.
pub fn task_count(service: &Service, name: &str) -> u32 {
    let connector = service.fleet.get(name);
    let Some(connector) = connector.filter(|one| elsewhere(service, one).is_none()) else {
        let status = status_of(service, name).unwrap_or_default();
        let tasks = status["tasks"].as_array().map_or(0, Vec::len);
        return u32::try_from(tasks).unwrap_or(u32::MAX);
    };
    let state = connector.shown();
    match state.saved.target {
        TargetState::Stopped => 0,
        _ => state.members.iter().map(|member| member.shards).sum(),
    }
}

/// Who knows what a connector is doing, where that is not this worker.
fn elsewhere<'s>(service: &'s Service, connector: &Connector) -> Option<&'s Worker> {
    service.worker.as_ref().filter(|_| !connector.is_here())
}

fn tasks_of(state: &State) -> Vec<Task> {
    if state.saved.target == TargetState::Stopped {
        return Vec::new();
    }
    let of = |member: &Member| {
        (0..member.shards).map(|shard| Task::of(state, member, shard)).collect::<Vec<_>>()
    };
    state.members.iter().flat_map(of).collect()
}

/// The states of all tasks, in their order.
pub fn task_states(state: &State) -> Vec<&'static str> {
    tasks_of(state).into_iter().map(|task| task.state).collect()
}

/// The connector's own state: it fails only where its file cannot be read.
fn own(state: &State) -> Task {
    match &state.unreadable {
        Some(trace) if state.saved.target == TargetState::Running => {
            Task { state: "FAILED", trace: Some(trace.clone()) }
        }
        // What is said to have stopped writes nothing more.
        _ => match state.ending().filter(|_| state.saved.target != TargetState::Running) {
            Some(why) => Task { state: "RUNNING", trace: Some(why.to_owned()) },
            None => Task { state: state.saved.target.word(), trace: None },
        },
    }
}

/// As Kafka Connect writes it.
pub fn state_json(service: &Service, connector: &Connector) -> Value {
    match elsewhere(service, connector) {
        Some(worker) => worker.status(&connector.name),
        None => state_here(service, connector),
    }
}

/// Of any connector that there is, taken up here or not.
pub fn status_of(service: &Service, name: &str) -> Option<Value> {
    match service.fleet.get(name) {
        Some(connector) => Some(state_json(service, &connector)),
        None => service.worker.as_ref()?.unknown(name),
    }
}

/// Of one that runs here.
pub fn state_here(service: &Service, connector: &Connector) -> Value {
    state_with(service, connector, |_| None)
}

fn state_with(
    service: &Service,
    connector: &Connector,
    restarting: impl Fn(&Task) -> Option<&'static str>,
) -> Value {
    let state = connector.shown();
    let worker = service.worker_id();
    let shown = |mut task: Task| {
        if let Some(word) = restarting(&task) {
            task.state = word;
        }
        task
    };
    let tasks: Vec<Value> = tasks_of(&state)
        .into_iter()
        .zip(0..)
        .map(|(task, id)| shown(task).json(&worker, Some(id)))
        .collect();
    let mut own = own(&state);
    let behind = service.worker.as_ref().and_then(|worker| worker.behind(&connector.name));
    own.trace = own.trace.or(behind);
    json!({
        "name": connector.name,
        "connector": own.json(&worker, None),
        "tasks": tasks,
        "type": "sink",
    })
}

pub fn status(service: &Service, call: &Call) -> Answer {
    let name = call.param("c");
    match status_of(service, name) {
        Some(status) => Answer::json(200, &status),
        None => Answer::error(404, &format!("No status found for connector {name}")),
    }
}

/// Kafka Connect names an unknown connector in one way here and in another below.
fn aim(service: &Service, call: &Call, target: TargetState, status: u16) -> Answer {
    let name = call.param("c");
    let unknown = || Answer::error(404, &format!("Unknown connector {name}"));
    let aimed = match (&service.worker, service.fleet.get(name)) {
        (Some(worker), _) if worker.knows(name) => worker.aim(name, target),
        (None, Some(connector)) => {
            service.fleet.aim(&connector, target).map_err(|error| super::disk(&error))
        }
        _ => Err(unknown()),
    };
    aimed.map_or_else(|answer| answer, |()| Answer::empty(status))
}

pub fn pause(service: &Service, call: &Call) -> Answer {
    aim(service, call, TargetState::Paused, 202)
}

pub fn resume(service: &Service, call: &Call) -> Answer {
    aim(service, call, TargetState::Running, 202)
}

pub fn stop(service: &Service, call: &Call) -> Answer {
    aim(service, call, TargetState::Stopped, 204)
}

/// Without `includeTasks` it restarts what is no task's: a connector whose file could not be read reads it again.
pub fn restart(service: &Service, call: &Call) -> Answer {
    let name = call.param("c");
    if !super::is_there(service, name) {
        return Answer::error(404, &format!("Unknown connector: {name}"));
    }
    let (tasks, failed) = (call.flag("includeTasks"), call.flag("onlyFailed"));
    let restarted =
        |task: &Task| (tasks && (!failed || task.state == "FAILED")).then_some("RESTARTING");
    let here = service.fleet.get(name).filter(|one| elsewhere(service, one).is_none());
    let mut answer = match here {
        Some(connector) => state_with(service, &connector, restarted),
        None => status_of(service, name).unwrap_or_default(),
    };
    let itself = answer["connector"]["state"] == "FAILED";
    if itself || (tasks && !failed) {
        answer["connector"]["state"] = json!("RESTARTING");
    }
    if (tasks || itself)
        && let Err(answer) = begin_again(service, name, failed || !tasks, None)
    {
        return answer;
    }
    match tasks || failed {
        true => Answer::json(202, &answer),
        false => Answer::empty(204),
    }
}

/// Restarts what is asked for, wherever it runs.
fn begin_again(
    service: &Service,
    name: &str,
    only_failed: bool,
    task: Option<u32>,
) -> Result<(), Answer> {
    if let Some(worker) = &service.worker {
        return worker.order(name, Order::Restart { only_failed, task });
    }
    if let Some(connector) = service.fleet.get(name) {
        service.fleet.restart(&connector, only_failed, task);
    }
    Ok(())
}

pub fn tasks(service: &Service, call: &Call) -> Answer {
    let name = match super::named(service, call) {
        Ok(name) => name,
        Err(answer) => return answer,
    };
    let mut keys = super::connectors::keys_of(service, name);
    keys.insert("task.class".to_owned(), "io.douane.Shard".to_owned());
    keys.remove(PIPELINE);
    let tasks: Vec<Value> = (0..task_count(service, name))
        .map(|task| json!({"id": {"connector": name, "task": task}, "config": keys}))
        .collect();
    Answer::json(200, &json!(tasks))
}

/// A task's number; what is none is no path of Kafka Connect's.
fn number(call: &Call) -> Result<i64, Answer> {
    call.param("n").parse().map_err(|_| Answer::error(404, "HTTP 404 Not Found"))
}

pub fn task_status(service: &Service, call: &Call) -> Answer {
    let name = call.param("c");
    let number = match number(call) {
        Ok(number) => number,
        Err(answer) => return answer,
    };
    let status = status_of(service, name).unwrap_or_default();
    let found = usize::try_from(number).ok().and_then(|number| status["tasks"].get(number));
    match found {
        Some(task) => Answer::json(200, task),
        None => Answer::error(404, &format!("No status found for task {name}-{number}")),
    }
}

/// The shards of a pipeline live and end together: all of them are begun again.
pub fn restart_task(service: &Service, call: &Call) -> Answer {
    let name = call.param("c");
    let number = match number(call) {
        Ok(number) => number,
        Err(answer) => return answer,
    };
    if !super::is_there(service, name) {
        return Answer::error(404, &format!("Unknown connector: {name}"));
    }
    let tasks = task_count(service, name);
    match u32::try_from(number).ok().filter(|n| *n < tasks) {
        Some(n) => begin_again(service, name, false, Some(n))
            .map_or_else(|answer| answer, |()| Answer::empty(204)),
        None => Answer::error(404, &format!("Unknown task: {name}-{number}")),
    }
}
