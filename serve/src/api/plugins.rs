//! `/connector-plugins`: the one class that there is, its keys, and what is wrong with a config.

use serde_json::{Value, json};

use super::connectors::unknown_class;
use crate::call::{Answer, Call};
use crate::config::{self, CLASS, DEFINITIONS};
use crate::service::Service;
use crate::store::Keys;

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn list(_: &Service, _: &Call) -> Answer {
    Answer::json(200, &json!([{"class": CLASS, "type": "sink", "version": VERSION}]))
}

pub fn definitions(_: &Service, call: &Call) -> Answer {
    let plugin = call.param("p");
    if !config::is_class(plugin) {
        return Answer::error(404, &format!("Unknown plugin {plugin}."));
    }
    if let Some(version) = call.query("version").filter(|version| *version != VERSION) {
        let text = format!(
            "Plugin {CLASS} not found that matches the version range [{version},{version}], available \
             versions: [{VERSION}]"
        );
        return Answer::error(400, &text);
    }
    let all: Vec<Value> = DEFINITIONS.iter().map(config::Definition::json).collect();
    Answer::json(200, &json!(all))
}

/// 200 also where there are errors, as in Kafka Connect.
pub fn validate(service: &Service, call: &Call) -> Answer {
    let validate = || {
        let plugin = call.param("p");
        let given = call.map()?;
        let keys: Keys = given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let class = keys
            .get("connector.class")
            .ok_or_else(|| Answer::error(400, "Connector config contains no connector type"))?;
        for class in [class.as_str(), plugin] {
            if !config::is_class(class) && class == plugin {
                return Err(Answer::error(400, &unknown_class(class)));
            }
        }
        if !config::is_class(class) {
            let text = format!(
                "Included connector type {} does not match request type {}",
                class.chars().filter(|c| !c.is_control()).take(100).collect::<String>(),
                plugin,
            );
            return Err(Answer::error(400, &text));
        }
        let store = &service.fleet.store;
        let checked = config::check(&service.place_file, &service.place, store, &keys);
        Ok(Answer::json(200, &config::validation(&keys, &checked)))
    };
    validate().unwrap_or_else(|answer: Answer| answer)
}
