//! `/admin/loggers`.

use jiff::Timestamp;
use serde_json::json;

use crate::call::{Answer, Call};
use crate::loggers::Level;
use crate::service::Service;

pub fn list(service: &Service, _: &Call) -> Answer {
    Answer::json(200, &service.loggers.all())
}

pub fn read(service: &Service, call: &Call) -> Answer {
    let name = call.param("l");
    match service.loggers.one(name) {
        Some(logger) => Answer::json(200, &logger),
        None => Answer::error(404, &format!("Logger {name} not found.")),
    }
}

pub fn set(service: &Service, call: &Call) -> Answer {
    let body = match call.map() {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let Some(Some(level)) = body.get("level") else {
        return Answer::error(400, "Desired 'level' parameter was not specified in request.");
    };
    let Some(level) = Level::parse(level) else {
        let shown: String = level.chars().filter(|c| c.is_ascii_alphanumeric()).take(20).collect();
        return Answer::error(404, &format!("invalid log level '{shown}'."));
    };
    let log = call.param("l");
    let is_for_all = call.query("scope").is_some_and(|scope| scope.eq_ignore_ascii_case("cluster"));
    match &service.worker {
        // Every worker hears it, this one too. Of a name that is none nothing is told.
        Some(worker) if is_for_all => match service.loggers.has(log) {
            true => worker.set_level(log, level).map_or_else(|a| a, |()| Answer::empty(204)),
            false => Answer::empty(204),
        },
        _ => {
            let changed = service.loggers.set(log, level, Timestamp::now());
            if is_for_all { Answer::empty(204) } else { Answer::json(200, &json!(changed)) }
        }
    }
}
