//! The config of a connector: its keys, and what is wrong with one.
//!
//! It is flat, as Kafka Connect's are; the pipeline is one of its values. A key that would do nothing
//! is refused: who writes `transforms` here believes that something is masked.

use std::collections::BTreeMap;
use std::path::Path;

use douane_pipelines::config::{self as files, Finding, Pipeline, Place};
use douane_pipelines::names::{NAME_BYTES_MAX, is_name};
use douane_pipelines::plan;
use serde_json::{Value, json};

use crate::connector::{STATISTICS_IN_GROUP, is_of};
use crate::store::{Keys, Store};

/// The class of all connectors here, in the three forms that people type.
pub const CLASS: &str = "io.douane.PipelineConnector";
const ALIASES: [&str; 3] = [CLASS, "PipelineConnector", "Pipeline"];
/// The pipeline's YAML.
pub const PIPELINE: &str = "douane.pipeline";
const PIPELINE_BYTES_MAX: usize = 512 * 1024;
const TEXT_CHARS_MAX: usize = 1000;

/// Whether that is our class, in whichever form.
pub fn is_class(class: &str) -> bool {
    ALIASES.contains(&class)
}

/// One key.
pub struct Definition {
    pub name: &'static str,
    pub kind: &'static str,
    pub is_required: bool,
    pub default: Option<&'static str>,
    pub importance: &'static str,
    pub documentation: &'static str,
    pub group: &'static str,
    pub width: &'static str,
    pub display_name: &'static str,
}

/// All keys, in the order in which they are shown.
pub const DEFINITIONS: [Definition; 7] = [
    Definition {
        name: "name",
        kind: "STRING",
        is_required: true,
        default: None,
        importance: "HIGH",
        documentation: "The connector's name, which is the pipeline's: a-z, 0-9, `_` and `-`.",
        group: "Common",
        width: "MEDIUM",
        display_name: "Connector name",
    },
    Definition {
        name: "connector.class",
        kind: "STRING",
        is_required: true,
        default: None,
        importance: "HIGH",
        documentation: "`io.douane.PipelineConnector`, `PipelineConnector` or `Pipeline`.",
        group: "Common",
        width: "LONG",
        display_name: "Connector class",
    },
    Definition {
        name: PIPELINE,
        kind: "STRING",
        is_required: true,
        default: None,
        importance: "HIGH",
        documentation: "The pipeline's file as it is written for `douane run`. Its release is a \
                        file beside douane.yaml: what is not signed does not cross.",
        group: "Pipeline",
        width: "LONG",
        display_name: "Pipeline",
    },
    Definition {
        name: "tasks.max",
        kind: "INT",
        is_required: false,
        default: Some("64"),
        importance: "HIGH",
        documentation: "At least `tasks` of douane.yaml, which says how many shards there are.",
        group: "Common",
        width: "SHORT",
        display_name: "Tasks max",
    },
    Definition {
        name: "topics",
        kind: "LIST",
        is_required: false,
        default: None,
        importance: "MEDIUM",
        documentation: "The source topics of the pipeline, if they are to be held against it.",
        group: "Common",
        width: "LONG",
        display_name: "Topics",
    },
    Definition {
        name: "description",
        kind: "STRING",
        is_required: false,
        default: None,
        importance: "LOW",
        documentation: "For people; changes nothing.",
        group: "Common",
        width: "LONG",
        display_name: "Description",
    },
    Definition {
        name: "contact",
        kind: "STRING",
        is_required: false,
        default: None,
        importance: "LOW",
        documentation: "Whom to ask, for people; changes nothing.",
        group: "Common",
        width: "LONG",
        display_name: "Contact",
    },
];

impl Definition {
    /// As Kafka Connect writes one.
    pub fn json(&self) -> Value {
        let order = DEFINITIONS
            .iter()
            .filter(|other| other.group == self.group)
            .position(|other| other.name == self.name)
            .map(|at| at + 1);
        json!({
            "name": self.name,
            "type": self.kind,
            "required": self.is_required,
            "default_value": self.default,
            "importance": self.importance,
            "documentation": self.documentation,
            "group": self.group,
            "width": self.width,
            "display_name": self.display_name,
            "dependents": [],
            "order_in_group": order,
        })
    }
}

/// What is wrong with a config, by key.
#[derive(Default)]
pub struct Checked {
    pub errors: BTreeMap<String, Vec<String>>,
    /// The pipelines, where the file can be read.
    pub pipelines: Vec<Pipeline>,
}

impl Checked {
    fn error(&mut self, key: &str, text: impl Into<String>) {
        self.errors.entry(key.to_owned()).or_default().push(text.into());
    }

    pub fn count(&self) -> usize {
        self.errors.values().map(Vec::len).sum()
    }

    /// The text of Kafka Connect for all of them.
    pub fn message(&self) -> String {
        let all: Vec<&str> = self.errors.values().flatten().map(String::as_str).collect();
        format!(
            "Connector configuration is invalid and contains the following {} error(s):\n{}\nYou can \
             also find the above list of errors at the endpoint \
             `/connector-plugins/{{connectorType}}/config/validate`",
            all.len(),
            all.join("\n")
        )
    }
}

/// Holds a config against its keys, the place and all that lint and policy say of its pipeline.
/// Nothing outside this machine is reached.
pub fn check(place_file: &Path, place: &Place, store: &Store, config: &Keys) -> Checked {
    let mut checked = Checked::default();
    let name = config.get("name").map_or("", |name| name.trim());
    match config.contains_key("name") {
        true => name_of(name, &mut checked),
        false => missing("name", &mut checked),
    }
    for key in config.keys().filter(|key| !DEFINITIONS.iter().any(|d| d.name == **key)) {
        let text = format!(
            "`{key}` is no key of {CLASS} and would do nothing; what happens to each column is said \
             in `{PIPELINE}`\n  next: remove it; `douane import FILE` turns a config of Kafka Connect \
             into a pipeline"
        );
        checked.error(key, text);
    }
    if let Some(tasks) = config.get("tasks.max") {
        tasks_of(tasks, place.tasks, &mut checked);
    }
    for key in ["description", "contact"] {
        let text = config.get(key).map_or("", String::as_str);
        if text.chars().count() > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
            let what = format!("`{key}` is a line of at most {TEXT_CHARS_MAX} characters");
            checked.error(key, what);
        }
    }
    match config.get(PIPELINE) {
        None => missing(PIPELINE, &mut checked),
        Some(yaml) if yaml.len() > PIPELINE_BYTES_MAX => {
            let what = format!("{} bytes, at most {PIPELINE_BYTES_MAX}", yaml.len());
            checked.error(PIPELINE, what);
        }
        Some(yaml) if is_name(name, NAME_BYTES_MAX) => {
            pipeline_of(place_file, store, name, yaml, &mut checked)
        }
        Some(_) => {}
    }
    let is_statistics = |one: &Pipeline| one.aggregate.is_some();
    if place.serve.group.is_some() && checked.pipelines.iter().any(is_statistics) {
        checked.error(PIPELINE, STATISTICS_IN_GROUP);
    }
    topics_of(config, &mut checked);
    checked
}

fn missing(key: &str, checked: &mut Checked) {
    let text = format!("Missing required configuration \"{key}\" which has no default value.");
    checked.error(key, text);
}

fn name_of(name: &str, checked: &mut Checked) {
    if name.is_empty() {
        checked.error("name", "Invalid value  for configuration name: String may not be empty");
    } else if !is_name(name, NAME_BYTES_MAX) {
        checked.error(
            "name",
            "Invalid value for configuration name: expected a-z, 0-9, `_` and `-`, at most 48, a \
             letter first: names stand in paths, metrics and the ledger",
        );
    }
}

fn tasks_of(tasks: &str, least: u32, checked: &mut Checked) {
    let number = tasks.trim().parse::<u32>().ok();
    match number {
        None => {
            let shown: String = tasks.chars().filter(|c| !c.is_control()).take(20).collect();
            checked.error(
                "tasks.max",
                format!("Invalid value {shown} for configuration tasks.max: Not a number of type INT"),
            );
        }
        Some(0) => checked.error(
            "tasks.max",
            "Invalid value 0 for configuration tasks.max: Value must be at least 1",
        ),
        Some(number) if number < least => checked.error(
            "tasks.max",
            format!(
                "Invalid value {number} for configuration tasks.max: douane.yaml says `tasks: {least}`, \
                 which is how many there are\n  next: write {least} or more, or leave it out"
            ),
        ),
        Some(_) => {}
    }
}

/// Lint, plan and policy, as of a file beside the others: domains and catalogues lie there.
fn pipeline_of(place_file: &Path, store: &Store, name: &str, yaml: &str, checked: &mut Checked) {
    let file = store.file_of(name);
    let label = file.display().to_string();
    let loaded = files::load_all_of(place_file, &file, yaml);
    let found: Vec<Finding> = match loaded {
        Err(findings) => findings.into_iter().collect(),
        Ok((_, pipelines)) => {
            let found = pipelines.iter().flat_map(plan::lint).collect();
            checked.pipelines = pipelines;
            found
        }
    };
    for finding in found {
        let text = finding.to_string().replace(&label, PIPELINE);
        checked.error(PIPELINE, text);
    }
    let Some(one) = checked.pipelines.first() else { return };
    let (named, release) = (one.name.clone(), one.release.clone());
    if !is_of(name, &named) {
        let what = format!(
            "the pipeline's `name` is `{named}`, the connector's `{name}`\n  next: write one name"
        );
        checked.error("name", what);
    }
    if !is_its_release(place_file, name, &release) {
        let what =
            format!("`release` is another file\n  next: write `release: {name}.release.json`");
        checked.error(PIPELINE, what);
    }
}

/// Revocations lie beside the release: another copy of it would not have them.
fn is_its_release(place_file: &Path, name: &str, release: &Path) -> bool {
    let beside = place_file.parent().unwrap_or(Path::new(""));
    release == beside.join(format!("{name}.release.json"))
}

/// Why a file that another worker was given is not taken up. What cannot be read as a pipeline yet
/// is: its status says why it does not run.
pub fn brought(place_file: &Path, store: &Store, name: &str, yaml: &str) -> Option<&'static str> {
    if yaml.len() > PIPELINE_BYTES_MAX {
        return Some("the pipeline's file is longer than a call may give it");
    }
    let loaded = files::load_all_of(place_file, &store.file_of(name), yaml);
    let is_its = |one: &Pipeline| is_its_release(place_file, name, &one.release);
    match loaded {
        _ if !files::is_pipeline_text(yaml) => Some("the file is no pipeline"),
        Ok((_, all)) if !all.iter().all(is_its) => {
            Some("`release` is another file than the connector's, which lies beside douane.yaml")
        }
        _ => None,
    }
}

fn topics_of(config: &Keys, checked: &mut Checked) {
    let Some(topics) = config.get("topics").filter(|_| !checked.pipelines.is_empty()) else {
        return;
    };
    let mut said: Vec<&str> = topics.split(',').map(str::trim).collect();
    said.sort_unstable();
    if said != source_topics(&checked.pipelines) {
        let what = format!(
            "`topics` and `source` of `{PIPELINE}` name different topics\n  next: leave `topics` out"
        );
        checked.error("topics", what);
    }
}

/// Source topics of pipelines, sorted, each once.
pub fn source_topics(pipelines: &[Pipeline]) -> Vec<&str> {
    let mut topics: Vec<&str> =
        pipelines.iter().flat_map(|one| &one.source.topics).map(String::as_str).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// The answer of `validate`.
pub fn validation(config: &Keys, checked: &Checked) -> Value {
    let none = Vec::new();
    let entry = |definition: Value, name: &str| {
        let value = config.get(name).map(String::as_str).or(definition["default_value"].as_str());
        // What is of another type has no value.
        let is_of_type =
            |value: &&str| definition["type"] != "INT" || value.trim().parse::<i32>().is_ok();
        let value = value.filter(is_of_type);
        json!({
            "value": {
                "name": name,
                "value": value,
                "recommended_values": [],
                "errors": checked.errors.get(name).unwrap_or(&none),
                "visible": true,
            },
            "definition": definition,
        })
    };
    let mut configs: Vec<Value> = DEFINITIONS.iter().map(|d| entry(d.json(), d.name)).collect();
    for key in config.keys().filter(|key| !DEFINITIONS.iter().any(|d| d.name == **key)) {
        let definition = json!({
            "name": key, "type": "STRING", "required": false, "default_value": null,
            "importance": "LOW", "documentation": "Not a key of this connector.", "group": "Unknown",
            "width": "LONG", "display_name": key, "dependents": [], "order_in_group": 1,
        });
        // What stands under a foreign key may be a secret: only that it is there is said.
        let mut entry = entry(definition, key);
        entry["value"]["value"] = Value::Null;
        configs.push(entry);
    }
    json!({
        "name": config.get("connector.class").map_or(CLASS, String::as_str),
        "error_count": checked.count(),
        "groups": ["Common", "Pipeline"],
        "configs": configs,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const PLACE: &str = "clusters:
  sovereign: { zone: eu-de, id: A1, bootstrap: \"127.0.0.1:1\" }
  global: { zone: global, id: B1, bootstrap: \"127.0.0.1:2\" }
keys: { dir: keys/ }
ledger: { dir: ledger/ }
trust: trust.json
tasks: 2
";
    pub const YAML: &str = "name: a
purpose: model-training
source:
  kafka: { cluster: sovereign, topics: [crm.a], format: debezium_json, start: earliest, key: [id] }
classes:
  id: { class: public }
  city: public
types: { id: int64, city: text }
sink:
  kafka: { cluster: global, topic: training.a, format: json, shape: state, timestamp: 1s }
  deletes: tombstone
  unavailable: quarantine
  truncate: hold
release: a.release.json
";

    /// Errors by key of a config in an empty place.
    fn errors(config: &[(&str, &str)]) -> BTreeMap<String, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("douane.yaml");
        std::fs::write(&file, PLACE).unwrap();
        let place = files::load_place(&file).unwrap();
        let store = Store::open(&dir.path().join("pipelines"), &dir.path().join("s")).unwrap();
        let text = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        let config: Keys = config.iter().map(text).collect();
        let checked = check(&file, &place, &store, &config);
        assert_eq!(std::fs::read_dir(dir.path().join("pipelines")).unwrap().count(), 0);
        let answer = validation(&config, &checked);
        assert_eq!(answer["error_count"].as_u64(), Some(checked.count() as u64));
        checked.errors
    }

    const GOOD: [(&str, &str); 3] = [("name", "a"), ("connector.class", CLASS), (PIPELINE, YAML)];

    #[test]
    fn what_a_group_brings_is_a_pipeline_with_its_own_release() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("douane.yaml");
        std::fs::write(&file, PLACE).unwrap();
        let store = Store::open(&dir.path().join("pipelines"), &dir.path().join("s")).unwrap();
        let refused = |yaml: &str| brought(&file, &store, "a", yaml);
        assert_eq!(refused(YAML), None);
        // Its status says why it does not run.
        assert_eq!(refused("source: ["), None);
        for (yaml, word) in [
            ("domains: {}\n".to_owned(), "no pipeline"),
            (YAML.replace("a.release", "backup/a.release"), "`release`"),
            (" ".repeat(PIPELINE_BYTES_MAX + 1), "longer"),
        ] {
            let why = refused(&yaml).unwrap_or_default();
            assert!(why.contains(word), "{word}: {why}");
        }
        assert_eq!(std::fs::read_dir(dir.path().join("pipelines")).unwrap().count(), 0);
    }

    #[test]
    fn a_config_in_order_has_no_error() {
        assert_eq!(errors(&GOOD), BTreeMap::new());
        let more = [("topics", "crm.a"), ("tasks.max", "2"), ("description", "d")];
        assert_eq!(errors(&[&GOOD[..], &more].concat()), BTreeMap::new());
    }

    #[test]
    fn every_error_is_told_under_its_key() {
        for (key, value, word) in [
            ("name", "", "may not be empty"),
            ("name", "a b", "expected a-z"),
            ("name", "other", "the pipeline's `name` is `a`"),
            ("topics", "crm.b", "different topics"),
            ("tasks.max", "abc", "Not a number of type INT"),
            ("tasks.max", "1", "`tasks: 2`"),
            ("tasks.max", "0", "at least 1"),
            ("description", "a\nb", "a line"),
            ("transforms", "mask", "would do nothing"),
            ("errors.tolerance", "all", "would do nothing"),
            (PIPELINE, "name: a\n", "douane.pipeline"),
            // A copy of a release somewhere else would not have the revocations beside it.
            (
                PIPELINE,
                &YAML.replace("a.release", "backup/a.release"),
                "write `release: a.release.json`",
            ),
            (PIPELINE, &YAML.replace("a.release", "b.release"), "write `release: a.release.json`"),
            // A finding of lint, with its place in the value.
            (PIPELINE, &YAML.replace("city: public", "city: publc"), "douane.pipeline:7:"),
        ] {
            let mut config: BTreeMap<&str, &str> = GOOD.into_iter().collect();
            config.insert(key, value);
            let found = errors(&config.into_iter().collect::<Vec<_>>());
            let told = found.get(key).unwrap_or_else(|| panic!("{key}: {found:?}"));
            assert!(told.iter().any(|text| text.contains(word)), "{key} {value}: {told:?}");
        }
        // The policy's findings are among them: what lets a sensitive column cross as it is?
        let raw = YAML.replace("city: public", "city: sensitive");
        let found = errors(&[GOOD[0], GOOD[1], (PIPELINE, &raw)]);
        assert!(found.contains_key(PIPELINE), "{found:?}");
    }

    #[test]
    fn in_a_group_statistics_are_refused_before_they_are_written() {
        let yaml = include_str!("../../pipelines/testdata/lint/pipeline_good_aggregate.yaml");
        for (more, refused) in [("serve: { group: { id: g, worker: w } }\n", true), ("", false)] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("douane.yaml");
            std::fs::write(&file, format!("{PLACE}{more}")).unwrap();
            let place = files::load_place(&file).unwrap();
            let store = Store::open(&dir.path().join("pipelines"), &dir.path().join("s")).unwrap();
            let config = [("name", "orders-weekly"), ("connector.class", CLASS), (PIPELINE, yaml)];
            let config: Keys = config.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            let checked = check(&file, &place, &store, &config);
            let told = checked.errors.get(PIPELINE).cloned().unwrap_or_default();
            assert_eq!(checked.pipelines.len(), 1, "{told:?}");
            let is_it = told.iter().any(|text| text.starts_with("group: a pipeline of statistics"));
            assert_eq!((is_it, told.len()), (refused, usize::from(refused)), "{told:?}");
        }
    }

    #[test]
    fn what_stands_under_a_foreign_key_is_not_echoed() {
        let secret = "canary-4711";
        let config: Keys = [("name", "a"), ("database.password", secret)]
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let mut checked = Checked::default();
        checked.error("database.password", "would do nothing");
        assert!(!validation(&config, &checked).to_string().contains(secret));
    }
}
