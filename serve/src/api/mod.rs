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
use crate::connector::{Connector, places};
use crate::service::Service;
use crate::store::Refused;

/// Whether there is such a connector: in a group, that is the group's to say.
fn is_there(service: &Service, name: &str) -> bool {
    match &service.worker {
        Some(worker) => worker.knows(name),
        None => service.fleet.get(name).is_some(),
    }
}

/// All connectors that there are.
fn names(service: &Service) -> Vec<String> {
    match &service.worker {
        Some(worker) => worker.names(),
        None => service.fleet.all().iter().map(|connector| connector.name.clone()).collect(),
    }
}

/// The name of a path, of a connector that is there, or the 404 of Kafka Connect.
fn named<'c>(service: &Service, call: &'c Call) -> Result<&'c str, Answer> {
    let name = call.param("c");
    let missing = || Answer::error(404, &format!("Connector {name} not found"));
    is_there(service, name).then_some(name).ok_or_else(missing)
}

/// The connector of a path, for what is read of its files: one of the group that could not be taken up here has none.
fn connector(service: &Service, call: &Call) -> Result<Arc<Connector>, Answer> {
    let name = call.param("c");
    service.fleet.get(name).ok_or_else(|| match named(service, call) {
        Ok(_) => {
            let behind = service.worker.as_ref().and_then(|worker| worker.behind(name));
            Answer::error(503, behind.as_deref().unwrap_or("not taken up yet"))
        }
        Err(answer) => answer,
    })
}

/// A fault as an answer: 503 where something outside is away, 400 or 500 by whose it is. It may be about a
/// file that lies here, which the caller did not send.
pub fn fault(fault: &RunFault) -> Answer {
    let status = match fault {
        RunFault::Unreachable { .. } | RunFault::Again(_) => 503,
        RunFault::Findings(_) | RunFault::Release(_) => 400,
        _ => 500,
    };
    let text = match fault {
        RunFault::Findings(findings) => places(findings),
        other => format!("{}: {other}", other.code()),
    };
    Answer::error(status, &text)
}

/// What is not done, because a folder does not let it: that of pipelines is people's to open.
fn refused(refused: &Refused) -> Answer {
    match refused {
        Refused::State(error) => disk(error),
        Refused::Pipelines(error) => {
            let what = format!(
                "the folder of pipelines cannot be written: {}; nothing was changed\n  next: let the \
                 service write there; or change the file where the folder comes from, and restart the service",
                error.kind()
            );
            Answer::error(400, &what)
        }
    }
}

/// A file of the service that cannot be written.
fn disk(error: &std::io::Error) -> Answer {
    let what = format!("the files of the service cannot be written: {}", error.kind());
    Answer::error(500, &what)
}
