//! What answers each route; one file a group of them.

pub mod admin;
pub mod connectors;
pub mod evidence;
pub mod lifecycle;
pub mod metrics;
pub mod offsets;
pub mod openapi;
pub mod plugins;
pub mod topics;
pub mod v1;
pub mod views;
pub mod worker;

use std::sync::Arc;

use douane_pipelines::fault::RunFault;

use crate::call::{Answer, Call};
use crate::connector::Connector;
use crate::service::Service;

/// The connector of a path, or the 404 of Kafka Connect.
fn connector(service: &Service, call: &Call) -> Result<Arc<Connector>, Answer> {
    let name = call.param("c");
    let missing = || Answer::error(404, &format!("Connector {name} not found"));
    service.fleet.get(name).ok_or_else(missing)
}

/// A fault as an answer: 503 where something outside is away, 400 or 500 by whose it is.
pub fn fault(fault: &RunFault) -> Answer {
    let status = match fault {
        RunFault::Unreachable { .. } | RunFault::Again(_) => 503,
        RunFault::Findings(_) | RunFault::Release(_) => 400,
        _ => 500,
    };
    Answer::error(status, &format!("{}: {fault}", fault.code()))
}

/// A file of the service that cannot be written.
fn disk(error: &std::io::Error) -> Answer {
    let what = format!("the files of the service cannot be written: {}", error.kind());
    Answer::error(500, &what)
}
