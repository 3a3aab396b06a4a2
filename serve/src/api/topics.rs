//! `/connectors/{c}/topics`.

use serde_json::json;

use crate::call::{Answer, Call};
use crate::service::Service;

/// Source topics that were read since they were last forgotten; of a connector that is not there,
/// none, as Kafka Connect answers.
pub fn read(service: &Service, call: &Call) -> Answer {
    let name = call.param("c");
    let topics = service.fleet.get(name).map(|c| c.state().topics).unwrap_or_default();
    let mut answer = serde_json::Map::new();
    answer.insert(name.to_owned(), json!({"topics": topics}));
    Answer::json(200, &answer.into())
}

pub fn reset(service: &Service, call: &Call) -> Answer {
    if let Some(connector) = service.fleet.get(call.param("c")) {
        connector.forget_topics();
    }
    Answer::empty(202)
}
