//! `/v1`: what Kafka Connect has no words for.

use douane_ledger::log;
use douane_pipelines::config as files;
use douane_pipelines::fault::RunFault;
use douane_pipelines::key_home::PublicKeys;
use douane_pipelines::names::{checkpoint_origin, ledger_home};
use douane_pipelines::{audit, explain, revocation, status};
use serde_json::{Value, json};

use super::lifecycle;
use crate::call::{Answer, Call};
use crate::connector::{Connector, Member};
use crate::service::Service;
use crate::store;

pub fn pipelines(service: &Service, _: &Call) -> Answer {
    let mut all = Vec::new();
    for name in super::names(service) {
        let connector = service.fleet.get(&name);
        match connector.as_ref().filter(|connector| connector.is_here()) {
            None => all.extend(elsewhere(service, &name, connector.as_deref())),
            Some(here) => match here.members() {
                Ok(members) => all.extend(members.iter().map(|member| member_json(&name, member))),
                Err(why) => all.push(
                    json!({"connector": name, "pipeline": name, "state": "failed", "why": why}),
                ),
            },
        }
    }
    Answer::json(200, &json!({"pipelines": all}))
}

/// Of what another worker of the group runs nothing is counted here: a zero would be read as that nothing crossed and
/// nothing is held. That one says it.
fn elsewhere(service: &Service, name: &str, connector: Option<&Connector>) -> Vec<Value> {
    // Deleted meanwhile.
    let Some(told) = lifecycle::status_of(service, name) else { return Vec::new() };
    let members = connector.and_then(|connector| connector.members().ok()).unwrap_or_default();
    let mut pipelines: Vec<&str> = members.iter().map(|member| &*member.pipeline).collect();
    if pipelines.is_empty() {
        pipelines.push(name);
    }
    let worker = &told["connector"]["worker_id"];
    let of = |pipeline: &&str| json!({"connector": name, "pipeline": pipeline, "state": "elsewhere", "worker": worker});
    pipelines.iter().map(of).collect()
}

fn member_json(connector: &str, member: &Member) -> Value {
    let held: Vec<Value> = member
        .held
        .iter()
        .map(|((topic, partition), held)| {
            json!({"topic": topic, "partition": partition, "shard": held.shard,
                "message": held.message})
        })
        .collect();
    let mut json = json!({
        "connector": connector,
        "pipeline": member.pipeline,
        "records": member.totals.records,
        "transactions": member.totals.transactions,
        "restarts": member.restarts,
        "held": held,
    });
    if let Some(quarantined) = member.totals.quarantined {
        json["quarantined"] = json!(quarantined);
    }
    json
}

pub fn status(service: &Service, call: &Call) -> Answer {
    let connector = match super::connector(service, call) {
        Ok(connector) => connector,
        Err(answer) => return answer,
    };
    match status::read_all(&service.place_file, &connector.file) {
        Ok(all) => {
            let pipelines: Vec<Value> = all
                .pipelines
                .iter()
                .map(|(name, one)| match one {
                    Ok(status) => json!(status),
                    Err(fault) => json!({"pipeline": name, "fault": fault.code()}),
                })
                .collect();
            Answer::json(200, &json!({"pipelines": pipelines, "not_read": all.not_read}))
        }
        Err(fault) => super::fault(&fault),
    }
}

pub fn proof(service: &Service, call: &Call) -> Answer {
    let connector = match super::connector(service, call) {
        Ok(connector) => connector,
        Err(answer) => return answer,
    };
    match explain::proofs(&service.place_file, &connector.file) {
        Ok(proofs) => {
            let all: Vec<Value> = proofs
                .iter()
                .map(|(proof, standing)| json!({"proof": proof, "release": standing}))
                .collect();
            Answer::json(200, &json!({"proofs": all}))
        }
        Err(fault) => super::fault(&fault),
    }
}

/// Signed heads of a pipeline's logs: what somebody elsewhere keeps, to hold the ledger to.
pub fn ledger(service: &Service, call: &Call) -> Answer {
    let connector = match super::connector(service, call) {
        Ok(connector) => connector,
        Err(answer) => return answer,
    };
    let keys = PublicKeys::open(&service.place.keys.dir).ok().flatten();
    let mut heads = Vec::new();
    for member in connector.members().unwrap_or_default() {
        let home = ledger_home(&service.place.ledger_dir, &member.pipeline);
        for dir in super::evidence::logs(&home).iter() {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match log::checkpoint(dir) {
                Ok(head) => heads.push(json!({
                    "pipeline": member.pipeline,
                    "key": keys.as_ref().map(|keys| {
                        log::verifier_key(&checkpoint_origin(&member.pipeline, &name), &keys.checkpoint)
                    }),
                    "log": name,
                    "size": head.map(|(size, _)| size),
                    "root": head.map(|(_, root)| data_encoding::HEXLOWER.encode(&root)),
                    "checkpoint": std::fs::read_to_string(dir.join("tlog/checkpoint")).ok(),
                })),
                Err(fault) => return Answer::error(500, &format!("ledger: {fault}")),
            }
        }
    }
    Answer::json(200, &json!({"heads": heads}))
}

/// Takes a revocation that was signed elsewhere to where the release lies. The caller needs no right
/// in the trust root: the signature has it.
pub fn revoke(service: &Service, call: &Call) -> Answer {
    let connector = match super::connector(service, call) {
        Ok(connector) => connector,
        Err(answer) => return answer,
    };
    if let Err(answer) = call.json() {
        return answer;
    }
    let loaded = files::load_all(&service.place_file, &connector.file);
    let (place, all) = match loaded {
        Ok(loaded) => loaded,
        Err(findings) => return super::fault(&RunFault::Findings(findings)),
    };
    let brought = match revocation::bring(&place, &all, &call.body) {
        Ok(brought) => brought,
        Err(fault) => return super::fault(&fault),
    };
    // Until the files are written. The file's lock alone would do, where there are such locks.
    let _one = service.revoking.lock();
    let _alone = revocation::alone(&place);
    match brought.lines() {
        Err(fault @ RunFault::Revoked { .. }) => Answer::error(409, &fault.to_string()),
        Err(fault) => super::fault(&fault),
        Ok(written) => {
            // Crash between the two: each of them stops the release; brought again, it is whole.
            for (file, lines) in &written {
                if let Err(error) = store::replace(file, 0o644, lines) {
                    return super::disk(&error);
                }
            }
            let revoked = &brought.revoked;
            Answer::json(200, &json!({"revoked_by": revoked.by, "at": revoked.at}))
        }
    }
}

pub fn budget(service: &Service, _: &Call) -> Answer {
    match audit::budget(&service.place_file) {
        Ok(accounts) => Answer::json(200, &json!({"accounts": accounts})),
        Err(fault) => super::fault(&fault),
    }
}
