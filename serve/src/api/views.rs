//! What the page shows beside what `/v1` had: partitions of everything at one look, the border of a
//! pipeline, its releases, and what was set aside.

use std::collections::BTreeMap;

use douane_pipelines::status::{PartitionState, PartitionStatus, Status};
use douane_pipelines::{explain, quarantine, waiting};
use serde_json::{Value, json};

use super::lifecycle;
use crate::call::{Answer, Call};
use crate::connector::{Connector, Member, Phase, State};
use crate::service::Service;
use crate::store::TargetState;

/// Held partitions as this process knows them at this moment; lags as they were read last.
pub fn partitions(service: &Service, _: &Call) -> Answer {
    let connectors = service.fleet.all();
    let readings = service.readings.all(service);
    let mut all = Vec::new();
    for connector in &connectors {
        if !connector.is_here() {
            all.push(elsewhere(service, connector));
            continue;
        }
        let state = connector.state();
        let known = match &state.unreadable {
            Some(trace) => Err(trace.clone()),
            None => connector.members(),
        };
        let members = match known {
            Ok(members) => members,
            Err(trace) => {
                all.push(json!({"connector": connector.name, "pipeline": connector.name,
                    "state": "failed", "why": trace, "held": [], "partitions": []}));
                continue;
            }
        };
        let reading = readings.get(&connector.name);
        for member in &members {
            let status = reading
                .and_then(|(_, all)| all.iter().find(|status| status.pipeline == member.pipeline));
            let age_s = reading.and_then(|(age_s, _)| *age_s);
            all.push(one(connector, &state, member, status, age_s));
        }
    }
    Answer::json(200, &json!({"pipelines": all}))
}

/// Another worker of the group runs it: what that one told of it. Its partitions are there.
fn elsewhere(service: &Service, connector: &Connector) -> Value {
    let told = lifecycle::state_json(service, connector);
    let tasks = told["tasks"].as_array().into_iter().flatten();
    let traces: Vec<&str> = tasks.filter_map(|task| task["trace"].as_str()).collect();
    let why = (!traces.is_empty()).then(|| traces.join("\n"));
    json!({"connector": connector.name, "pipeline": connector.name, "state": "elsewhere",
        "worker": told["connector"]["worker_id"], "why": why, "held": [], "partitions": []})
}

fn one(
    connector: &Connector,
    state: &State,
    member: &Member,
    status: Option<&Status>,
    age_s: Option<u64>,
) -> Value {
    let (word, why) = word(state, member);
    let mut json = json!({
        "connector": connector.name,
        "pipeline": member.pipeline,
        "state": word,
        "why": why.or(member.notice.as_ref()),
        "records": member.totals.records,
        "transactions": member.totals.transactions,
        "restarts": member.restarts,
        "read_s": age_s,
        "held": held_now(member, status),
        "partitions": partition_list(member, status),
    });
    if let Some(quarantined) = member.totals.quarantined {
        json["quarantined"] = json!(quarantined);
    }
    if let Some(status) = status {
        json["release"] = json!(status.release);
        json["release_expires"] = json!(status.release_expires);
        json["ledger_records"] = json!(status.records);
        if let Some(quarantined) = status.quarantined {
            json["ledger_quarantined"] = json!(quarantined);
        }
    }
    json
}

/// What a pipeline does, and what failed.
fn word<'a>(state: &State, member: &'a Member) -> (&'static str, Option<&'a String>) {
    match (&state.saved.target, &member.phase) {
        (_, Phase::Resting { trace }) => ("resting", Some(trace)),
        (_, Phase::Failed { trace }) => ("failed", Some(trace)),
        (TargetState::Paused, Phase::Ended) => ("paused", None),
        (TargetState::Stopped, Phase::Ended) => ("stopped", None),
        (_, Phase::Starting) => ("starting", None),
        (_, Phase::Running) => ("running", None),
        (_, Phase::Ended) => ("ended", None),
    }
}

fn held(member: &Member) -> Vec<Value> {
    let of = |((topic, partition), held): (&(String, i32), &crate::connector::Held)| {
        json!({"topic": topic, "partition": partition, "shard": held.shard, "offset": held.offset,
            "code": held.code, "leaf": held.leaf, "others": held.others, "message": held.message})
    };
    member.held.iter().map(of).collect()
}

/// What nobody runs is held as target and ledger say it.
fn held_now(member: &Member, status: Option<&Status>) -> Vec<Value> {
    let Some(status) = status.filter(|_| member.phase == Phase::Ended) else {
        return held(member);
    };
    let of = |partition: &PartitionStatus| {
        let held = partition.held.as_ref()?;
        Some(json!({"topic": partition.topic, "partition": partition.partition,
            "shard": partition.shard, "offset": held.offset, "code": held.reason.code,
            "leaf": held.reason.leaf, "others": held.reason.others, "message": held.message}))
    };
    status.partitions.iter().filter_map(of).collect()
}

/// As last read, but that a partition is held while this process says so, and no longer.
fn partition_list(member: &Member, status: Option<&Status>) -> Vec<Value> {
    let mut known: BTreeMap<(&str, i32), Value> = BTreeMap::new();
    for partition in status.iter().flat_map(|status| &status.partitions) {
        let state = state_now(member, status, partition);
        let mut json = json!({"topic": partition.topic, "partition": partition.partition,
            "state": state, "next": partition.next, "lag": partition.lag});
        if let Some(hours) = partition.hours_left {
            json["hours_left"] = json!(hours);
        }
        known.insert((partition.topic.as_str(), partition.partition), json);
    }
    let told = member.held.iter().filter(|_| is_told(member, status));
    for ((topic, partition), held) in told {
        known.entry((topic, *partition)).or_insert_with(|| {
            json!({"topic": topic, "partition": partition, "state": "held", "next": held.offset,
                "lag": null})
        });
    }
    known.into_values().collect()
}

/// Whether this process knows better what is held than what was read.
fn is_told(member: &Member, status: Option<&Status>) -> bool {
    member.phase != Phase::Ended || status.is_none()
}

fn state_now(
    member: &Member,
    status: Option<&Status>,
    partition: &PartitionStatus,
) -> PartitionState {
    let key = (partition.topic.clone(), partition.partition);
    let runs = member.phase == Phase::Running;
    match (is_told(member, status) && member.held.contains_key(&key), partition.state) {
        (true, _) => PartitionState::Held,
        // It went on since it was read.
        (false, PartitionState::Held) if runs => PartitionState::Behind,
        (false, read) => read,
    }
}

/// The proof of each pipeline over the leaves of its release, where it has one: what crosses now,
/// also while the source has grown a leaf that holds.
pub fn border(service: &Service, call: &Call) -> Answer {
    let connector = match super::connector(service, call) {
        Ok(connector) => connector,
        Err(answer) => return answer,
    };
    match explain::borders(&service.place_file, &connector.file) {
        Ok(borders) => {
            let members = connector.state().members;
            let held_of = |pipeline: &str| {
                members.iter().find(|member| member.pipeline == pipeline).map(held)
            };
            let all: Vec<Value> = borders
                .iter()
                .map(|(proof, standing)| {
                    json!({"proof": proof, "release": standing,
                        "held": held_of(&proof.pipeline).unwrap_or_default()})
                })
                .collect();
            Answer::json(200, &json!({"borders": all}))
        }
        Err(fault) => super::fault(&fault),
    }
}

pub fn releases(service: &Service, call: &Call) -> Answer {
    let connector = match super::connector(service, call) {
        Ok(connector) => connector,
        Err(answer) => return answer,
    };
    match waiting::releases(&service.place_file, &connector.file) {
        Ok(all) => Answer::json(200, &json!({"releases": all})),
        Err(fault) => super::fault(&fault),
    }
}

pub fn quarantine(service: &Service, call: &Call) -> Answer {
    let connector = match super::connector(service, call) {
        Ok(connector) => connector,
        Err(answer) => return answer,
    };
    let limit = match call.query("limit").map(str::parse) {
        None => quarantine::LIST_DEFAULT,
        Some(Ok(limit)) if limit <= quarantine::LIST_MAX => limit,
        Some(_) => {
            let most = quarantine::LIST_MAX;
            return Answer::error(400, &format!("`limit` is no number of records up to {most}"));
        }
    };
    match quarantine::list(&service.place_file, &connector.file, call.query("table"), limit) {
        Ok(all) => Answer::json(200, &json!(all)),
        Err(fault) => super::fault(&fault),
    }
}
