//! `/`, `/health`, `/livez`.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::call::{Answer, Call};
use crate::service::{STARTING, Service};

/// The version of Kafka Connect whose API this is, with the product's own behind it: clients decide
/// by the first what they may call.
pub const VERSION: &str = concat!("4.3.1-douane-", env!("CARGO_PKG_VERSION"));

pub fn root(service: &Service, _: &Call) -> Answer {
    Answer::json(
        200,
        &json!({
            "version": VERSION,
            "commit": "unknown",
            "kafka_cluster_id": service.place.sovereign.id,
        }),
    )
}

pub fn health(service: &Service, _: &Call) -> Answer {
    match service.started.load(Ordering::Relaxed) {
        true => Answer::json(
            200,
            &json!({
                "status": "healthy",
                "message": "Worker has completed startup and is ready to handle requests.",
            }),
        ),
        false => Answer::json(503, &json!({"status": "starting", "message": STARTING})),
    }
}

pub fn livez(_: &Service, _: &Call) -> Answer {
    Answer::json(200, &json!({"status": "alive"}))
}
