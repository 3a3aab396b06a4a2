//! `/connectors/{c}/topics`.

use serde_json::json;

use crate::call::{Answer, Call};
use crate::group::Order;
use crate::service::Service;

/// Source topics that were read since they were last forgotten; of a connector that is not there,
/// none, as Kafka Connect answers.
pub fn read(service: &Service, call: &Call) -> Answer {
    let name = call.param("c");
    let topics = match (service.fleet.get(name), &service.worker) {
        (Some(connector), worker) if worker.is_none() || connector.is_here() => {
            connector.state().topics
        }
        (_, worker) => worker.as_ref().map(|worker| worker.topics(name)).unwrap_or_default(),
    };
    let mut answer = serde_json::Map::new();
    answer.insert(name.to_owned(), json!({"topics": topics}));
    Answer::json(200, &answer.into())
}

pub fn reset(service: &Service, call: &Call) -> Answer {
    let name = call.param("c");
    let forgotten = match (&service.worker, service.fleet.get(name)) {
        (Some(worker), _) if worker.knows(name) => worker.order(name, Order::ForgetTopics),
        (None, Some(connector)) => {
            connector.forget_topics();
            Ok(())
        }
        _ => Ok(()),
    };
    forgotten.map_or_else(|answer| answer, |()| Answer::empty(202))
}
