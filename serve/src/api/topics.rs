//! `/connectors/{c}/topics`.

use std::collections::BTreeSet;

use serde_json::json;

use crate::call::{Answer, Call};
use crate::group::Order;
use crate::service::Service;

/// Source topics that were read since they were last forgotten; of a connector that is not there,
/// none, as Kafka Connect answers.
pub fn read(service: &Service, call: &Call) -> Answer {
    let name = call.param("c");
    let topics = match (service.fleet.get(name), &service.worker) {
        (Some(connector), Some(worker)) if !connector.is_here() => worker.topics(name),
        (Some(connector), _) => connector.state().topics,
        (None, _) => BTreeSet::new(),
    };
    let mut answer = serde_json::Map::new();
    answer.insert(name.to_owned(), json!({"topics": topics}));
    Answer::json(200, &answer.into())
}

pub fn reset(service: &Service, call: &Call) -> Answer {
    let Some(connector) = service.fleet.get(call.param("c")) else { return Answer::empty(202) };
    let forgotten = match &service.worker {
        Some(worker) => worker.order(&connector.name, Order::ForgetTopics),
        None => {
            connector.forget_topics();
            Ok(())
        }
    };
    forgotten.map_or_else(|answer| answer, |()| Answer::empty(202))
}
