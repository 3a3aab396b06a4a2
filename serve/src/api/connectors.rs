//! `/connectors`: create, read, change, delete.

use std::path::{Path, PathBuf};

use douane_pipelines::config as files;
use douane_pipelines::names::{NAME_BYTES_MAX, is_name};
use serde_json::{Map, Value, json};

use super::lifecycle;
use crate::call::{Answer, Call, flat};
use crate::config::{self, CLASS, PIPELINE};
use crate::connector::Connector;
use crate::fleet::CONNECTORS_MAX;
use crate::group;
use crate::service::Service;
use crate::store::{self, Keys, Refused, Saved, TargetState};

/// More than any pipeline's file may have.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub fn list(service: &Service, call: &Call) -> Answer {
    let names = super::names(service);
    let expands: Vec<&str> =
        call.query.iter().filter(|(k, _)| k == "expand").map(|(_, v)| v.as_str()).collect();
    if expands.is_empty() {
        return Answer::json(200, &json!(names));
    }
    let mut listed = Map::new();
    for name in names {
        // Deleted meanwhile.
        let Some(status) = lifecycle::status_of(service, &name) else { continue };
        let mut one = Map::new();
        if expands.contains(&"status") {
            one.insert("status".to_owned(), status);
        }
        if expands.contains(&"info") {
            one.insert("info".to_owned(), info_json(service, &name));
        }
        listed.insert(name, one.into());
    }
    Answer::json(200, &listed.into())
}

pub fn info(service: &Service, call: &Call) -> Answer {
    match super::named(service, call) {
        Ok(name) => Answer::json(200, &info_json(service, name)),
        Err(answer) => answer,
    }
}

pub fn config(service: &Service, call: &Call) -> Answer {
    match super::named(service, call) {
        Ok(name) => Answer::json(200, &json!(keys_of(service, name))),
        Err(answer) => answer,
    }
}

/// The config of a connector: its pipeline's file, and the keys that were given with it or follow
/// from it. Of one that could not be taken up here, as the group has it.
pub fn keys_of(service: &Service, name: &str) -> Keys {
    match (service.fleet.get(name), &service.worker) {
        (Some(connector), _) => keys_here(service, &connector),
        (None, Some(worker)) => {
            let held = worker.config_of(name).map(|(mut keys, yaml)| {
                keys.insert(PIPELINE.to_owned(), yaml);
                keys
            });
            held.unwrap_or_default()
        }
        (None, None) => Keys::new(),
    }
}

fn keys_here(service: &Service, connector: &Connector) -> Keys {
    let mut keys = connector.state().saved.config.unwrap_or_else(|| {
        let mut keys = Keys::new();
        keys.insert("connector.class".to_owned(), CLASS.to_owned());
        keys.insert("name".to_owned(), connector.name.clone());
        keys.insert("tasks.max".to_owned(), service.place.tasks.to_string());
        if let Ok((_, pipelines)) = files::load_all(&service.place_file, &connector.file) {
            keys.insert("topics".to_owned(), config::source_topics(&pipelines).join(","));
        }
        keys
    });
    let small = std::fs::metadata(&connector.file).is_ok_and(|meta| meta.len() <= FILE_BYTES_MAX);
    // What cannot be read as a pipeline may be another program's, with secrets in it.
    let is_pipeline = files::load_all(&service.place_file, &connector.file).is_ok();
    if small
        && is_pipeline
        && let Ok(yaml) = std::fs::read_to_string(&connector.file)
    {
        keys.insert(PIPELINE.to_owned(), yaml);
    }
    keys
}

fn info_json(service: &Service, name: &str) -> Value {
    info_with(service, name, lifecycle::task_count(service, name))
}

fn info_with(service: &Service, name: &str, tasks: u32) -> Value {
    let tasks: Vec<Value> = (0..tasks).map(|n| json!({"connector": name, "task": n})).collect();
    json!({
        "name": name,
        "config": keys_of(service, name),
        "tasks": tasks,
        "type": "sink",
    })
}

pub fn create(service: &Service, call: &Call) -> Answer {
    asked(call)
        .and_then(|(name, keys, target)| make(service, call, &name, keys, target))
        .unwrap_or_else(|answer| answer)
}

/// Name, keys and aim of a request to create.
fn asked(call: &Call) -> Result<(String, Keys, TargetState), Answer> {
    let body = call.json()?;
    let object = body
        .as_object()
        .ok_or_else(|| Answer::error(400, "expected an object with `name` and `config`"))?;
    let known = ["name", "config", "initial_state"];
    if object.keys().any(|key| !known.contains(&key.as_str())) {
        let what = "Unrecognized field: known are \"name\", \"config\" and \"initial_state\"";
        return Err(Answer::error(400, what));
    }
    let target = match object.get("initial_state").unwrap_or(&Value::Null) {
        Value::Null => TargetState::Running,
        Value::String(word) if word.eq_ignore_ascii_case("running") => TargetState::Running,
        Value::String(word) if word.eq_ignore_ascii_case("paused") => TargetState::Paused,
        Value::String(word) if word.eq_ignore_ascii_case("stopped") => TargetState::Stopped,
        _ => {
            let what = "`initial_state` is one of RUNNING, PAUSED, STOPPED";
            return Err(Answer::error(400, what));
        }
    };
    let name = match object.get("name").unwrap_or(&Value::Null) {
        Value::Null => String::new(),
        Value::String(name) => name.trim().to_owned(),
        _ => return Err(Answer::error(400, "`name` is no text")),
    };
    let config = object.get("config").filter(|config| !config.is_null());
    let config = config.ok_or_else(|| Answer::error(400, "`config` is missing"))?;
    Ok((name, without_nulls(flat(config)?)?, target))
}

/// A key without a value is an error in a whole config; only a patch removes keys so.
fn without_nulls(
    config: std::collections::BTreeMap<String, Option<String>>,
) -> Result<Keys, Answer> {
    config
        .into_iter()
        .map(|(key, value)| {
            let what = || {
                let errors = [(
                    key.clone(),
                    vec![format!(
                        "Null value can not be supplied as the configuration value for `{key}`"
                    )],
                )];
                let checked = config::Checked { errors: errors.into(), ..Default::default() };
                Answer::error(400, &checked.message())
            };
            value.map(|value| (key.clone(), value)).ok_or_else(what)
        })
        .collect()
}

/// The name inside a config is the connector's.
fn named(name: &str, keys: &mut Keys) -> Result<(), Answer> {
    let inside = keys.entry("name".to_owned()).or_insert_with(|| name.to_owned());
    if inside.trim() == name {
        name.clone_into(inside);
        return Ok(());
    }
    let shown: String = inside.chars().filter(|c| !c.is_control()).take(48).collect();
    Err(Answer::error(
        400,
        &format!(
            "Connector name configuration ({shown}) doesn't match connector name in the URL ({name})"
        ),
    ))
}

/// What is wrong with a config that is to be in force.
fn checked(service: &Service, name: &str, keys: &mut Keys) -> Result<(), Answer> {
    named(name, keys)?;
    let Some(class) = keys.get("connector.class") else {
        return Err(Answer::error(400, "Connector config contains no connector type"));
    };
    if !config::is_class(class) {
        return Err(Answer::error(400, &unknown_class(class)));
    }
    let found = config::check(&service.place_file, &service.place, &service.fleet.store, keys);
    match found.count() {
        0 => Ok(()),
        _ => Err(Answer::error(400, &found.message())),
    }
}

pub fn unknown_class(class: &str) -> String {
    let shown: String = class.chars().filter(|c| !c.is_control()).take(100).collect();
    format!(
        "Failed to find any class that implements Connector and which name matches {shown}, \
         available connectors are: {CLASS}\n  next: `douane import FILE` turns a config of Kafka \
         Connect into a pipeline"
    )
}

/// Makes a connector. Crash after its keys are written and before its pipeline is: nothing is
/// there; what was written is replaced by the next try.
fn make(
    service: &Service,
    call: &Call,
    name: &str,
    mut keys: Keys,
    target: TargetState,
) -> Result<Answer, Answer> {
    let fleet = &service.fleet;
    if super::is_there(service, name) {
        return Err(Answer::error(409, &format!("Connector {name} already exists")));
    }
    // Of domains, a catalogue, or a pipeline that came since the start: it is not written over. In a group a pipeline
    // that nobody there knows is left of one that was deleted, and makes way as it does at any other worker.
    let file: PathBuf = fleet.store.file_of(name);
    let makes_way = |file: &PathBuf| service.worker.is_some() && files::is_pipeline(file);
    if is_name(name, NAME_BYTES_MAX) && file.exists() && !makes_way(&file) {
        let what = format!(
            "`{name}.yaml` lies in the folder of pipelines already, and is no connector\n  next: choose \
             another name; a pipeline that was put there is one after a restart"
        );
        return Err(Answer::error(409, &what));
    }
    checked(service, name, &mut keys)?;
    if fleet.all().len() >= CONNECTORS_MAX {
        return Err(group::too_many());
    }
    let yaml = keys.remove(PIPELINE).unwrap_or_default();
    match &service.worker {
        // What cannot be taken up here is made all the same, and its status says why.
        Some(worker) => worker.create(name, &keys, &yaml, target)?,
        None => {
            writable(&file)?;
            let saved = Saved { config: Some(keys), target, ..Saved::default() };
            fleet.store.save(name, &saved).map_err(|error| super::disk(&error))?;
            store::replace(&file, 0o644, yaml.as_bytes()).map_err(|error| super::disk(&error))?;
            fleet.add(name, &file, saved);
        }
    }
    // Nothing of it runs yet.
    let location = format!("{}/connectors/{name}", call.origin);
    Ok(Answer::json(201, &info_with(service, name, 0)).header("Location", location))
}

/// Before anything is written: whether its file can be.
fn writable(file: &Path) -> Result<(), Answer> {
    store::try_beside(file).map_err(|error| super::refused(&Refused::Pipelines(error)))
}

/// Gives a connector another config. What runs takes it up by itself once its release holds, and
/// goes on as it was until then; `status` says so.
fn change(service: &Service, call: &Call, name: &str, mut keys: Keys) -> Result<Answer, Answer> {
    checked(service, name, &mut keys)?;
    let yaml = keys.remove(PIPELINE).unwrap_or_default();
    if let Some(worker) = &service.worker {
        worker.reconfigure(name, &keys, &yaml)?;
        return Ok(Answer::json(200, &info_json(service, name)));
    }
    let connector = super::connector(service, call)?;
    let saved = Saved { config: Some(keys), ..connector.state().saved };
    let store = &service.fleet.store;
    let same = std::fs::read(&connector.file).is_ok_and(|bytes| bytes == yaml.as_bytes());
    if !same {
        writable(&connector.file)?;
    }
    store.save(&connector.name, &saved).map_err(|error| super::disk(&error))?;
    if !same {
        store::replace(&connector.file, 0o644, yaml.as_bytes())
            .map_err(|error| super::disk(&error))?;
    }
    connector.changed(saved);
    Ok(Answer::json(200, &info_json(service, name)))
}

pub fn put_config(service: &Service, call: &Call) -> Answer {
    let name = call.param("c").trim();
    let put = || {
        let keys = without_nulls(call.map()?)?;
        match super::is_there(service, name) {
            true => change(service, call, name, keys),
            false => make(service, call, name, keys, TargetState::Running),
        }
    };
    put().unwrap_or_else(|answer| answer)
}

pub fn patch_config(service: &Service, call: &Call) -> Answer {
    let patch = || {
        let name = super::named(service, call)?;
        let asked = call.map()?;
        let patched = |mut keys: Keys| {
            for (key, value) in &asked {
                match value {
                    Some(value) => keys.insert(key.clone(), value.clone()),
                    None => keys.remove(key),
                };
            }
            keys
        };
        let Some(worker) = &service.worker else {
            return change(service, call, name, patched(keys_of(service, name)));
        };
        worker.patch(name, |held, yaml| {
            let mut keys = held.clone();
            keys.insert(PIPELINE.to_owned(), yaml.to_owned());
            let mut keys = patched(keys);
            checked(service, name, &mut keys)?;
            let yaml = keys.remove(PIPELINE).unwrap_or_default();
            Ok((keys, yaml))
        })?;
        Ok(Answer::json(200, &info_json(service, name)))
    };
    patch().unwrap_or_else(|answer| answer)
}

pub fn delete(service: &Service, call: &Call) -> Answer {
    if let Some(worker) = &service.worker {
        // One that could not be taken up here can be deleted all the same.
        let deleted = worker.delete(call.param("c"));
        return deleted.map_or_else(|answer| answer, |()| Answer::empty(204));
    }
    let connector = match super::connector(service, call) {
        Ok(connector) => connector,
        Err(answer) => return answer,
    };
    match service.fleet.remove(&connector) {
        Ok(true) => Answer::empty(204),
        Ok(false) => Answer::error(
            409,
            "the connector is stopped, and something of it has not ended yet\n  next: delete it again",
        ),
        Err(refused) => super::refused(&refused),
    }
}
