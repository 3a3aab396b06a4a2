//! `import`: a connector's configuration of Kafka Connect as a pipeline file, a line for each of
//! its keys with what became of it, and what its chain let out.
//!
//! The file is a beginning: Connect's transforms name the leaves that they touch, and douane every
//! leaf that may cross. What was masked is `identifier` and stays behind or becomes a constant; all
//! other leaves are unnamed, and hold until `classify` and a person have named them.
//!
//! No value of a key is repeated but names of topics, leaves, classes and converters: a
//! configuration holds passwords, also under keys that do not say so.

mod columns;
mod leaks;
mod passage;
mod transforms;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Serialize;
use serde_json::Value as Json;

use columns::Columns;
use transforms::{Chain, is_provided};

/// The largest configuration that is read.
pub const BYTES_MAX: u64 = 1 << 20;
/// Keys of a configuration; Connect's own limit is the request's size.
const KEYS_MAX: usize = 10_000;

/// Why no pipeline comes of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportFault {
    #[error("no JSON object of texts: {0}")]
    Json(String),
    #[error("{0} keys, at most {KEYS_MAX}")]
    Keys(usize),
    #[error(
        "no `connector.class`\n  next: give the connector's whole configuration, as GET /connectors/NAME has it"
    )]
    NoClass,
}

/// What became of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The pipeline does the same.
    Kept,
    /// The pipeline does something else for the same end.
    Instead,
    /// douane always does so, or never needs it.
    Needless,
    /// The pipeline does not do it.
    NotKept,
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Instead => "instead",
            Self::Needless => "needless",
            Self::NotKept => "NOT KEPT",
        }
    }
}

/// One key, or one transform with its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub key: String,
    pub fate: Fate,
    pub what: String,
}

/// A pipeline file, and what it was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    pub name: String,
    pub yaml: String,
    /// What `domains.yaml` beside it must hold; `None`: no key is known, and nothing is tokenised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domains: Option<String>,
    pub lines: Vec<Line>,
    /// What the connector let out, or could have.
    pub leaks: Vec<String>,
}

impl Imported {
    /// Reads a connector's configuration: a map of texts, or `{ name, config }` around it.
    pub fn of(bytes: &[u8]) -> Result<Self, ImportFault> {
        let mut config = Config::of(bytes)?;
        let class = config.take("connector.class").ok_or(ImportFault::NoClass)?;
        let name = name(&config.take("name").unwrap_or_else(|| "imported".to_owned()));
        let mut lines = Vec::new();
        let mut draft = Draft::default();
        source(&mut config, &class, &mut draft, &mut lines);
        let chain = Chain::of(&mut config, &mut draft, &mut lines);
        draft.keep_rows_apart(&mut lines);
        rest(&mut config, &mut lines);
        let leaks = leaks::of(&chain, &draft);
        let of_key = || format!("domains:\n  {}: {{}}\n", domain(&name));
        let domains = (!draft.key.is_empty()).then(of_key);
        Ok(Self { yaml: draft.yaml(&name), domains, name, lines, leaks })
    }

    /// All could be kept.
    pub fn is_whole(&self) -> bool {
        self.lines.iter().all(|line| line.fate != Fate::NotKept)
    }

    /// The report as a person reads it; the file is apart.
    pub fn report(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let table: Vec<_> = self
            .lines
            .iter()
            .map(|line| [line.key.clone(), line.fate.name().to_owned(), line.what.clone()])
            .collect();
        crate::proof::write_table(out, &table)?;
        writeln!(out, "\nwhat it let out, or could have")?;
        match self.leaks.is_empty() {
            true => writeln!(out, "  nothing that is known of this chain"),
            false => self.leaks.iter().try_for_each(|leak| writeln!(out, "  - {leak}")),
        }
    }
}

/// A configuration, from which each key is taken once.
struct Config(BTreeMap<String, String>);

impl Config {
    fn of(bytes: &[u8]) -> Result<Self, ImportFault> {
        // serde's own message may quote what it found.
        let place = |e: serde_json::Error| format!("line {}, column {}", e.line(), e.column());
        let json: Json = serde_json::from_slice(bytes).map_err(|e| ImportFault::Json(place(e)))?;
        let object = |json: &Json| json.as_object().cloned();
        let whole = object(&json).ok_or_else(|| ImportFault::Json("no object".to_owned()))?;
        let (name, inner) = (whole.get("name").cloned(), whole.get("config").and_then(object));
        let map = inner.unwrap_or(whole);
        if map.len() > KEYS_MAX {
            return Err(ImportFault::Keys(map.len()));
        }
        let text = |value: &Json| match value {
            Json::String(text) => Some(text.clone()),
            Json::Number(_) | Json::Bool(_) => Some(value.to_string()),
            Json::Null => Some(String::new()),
            Json::Array(_) | Json::Object(_) => None,
        };
        let mut config = BTreeMap::new();
        for (key, value) in &map {
            let text = text(value).ok_or_else(|| {
                ImportFault::Json(format!("`{}` is neither text nor number", shown(key)))
            })?;
            config.insert(key.clone(), text);
        }
        if let Some(Json::String(name)) = name {
            config.entry("name".to_owned()).or_insert(name);
        }
        Ok(Self(config))
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn peek(&self, key: &str) -> &str {
        self.0.get(key).map(String::as_str).unwrap_or_default().trim()
    }

    /// A boolean, which is not taken. What is neither is told, and taken for what lets more out.
    fn flag(&self, key: &str, [unset, open]: [bool; 2], lines: &mut Vec<Line>) -> bool {
        let said = self.peek(key);
        let why = match truth(said) {
            _ if said.is_empty() => return unset,
            Some(is_so) => return is_so,
            None if is_provided(said) => {
                "a config provider says it, which cannot be told from here"
            }
            None => "neither `true` nor `false`, which Kafka Connect refuses",
        };
        line(lines, key, Fate::NotKept, format!("{why}; taken for `{open}`"));
        open
    }

    /// A comma-separated list, as Connect has them.
    fn list(&mut self, key: &str) -> Vec<String> {
        list(&self.take(key).unwrap_or_default())
    }

    /// All keys that begin so, without the beginning.
    fn below(&mut self, prefix: &str) -> BTreeMap<String, String> {
        let keys: Vec<String> =
            self.0.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        keys.into_iter()
            .filter_map(|key| {
                let value = self.0.remove(&key)?;
                Some((key[prefix.len()..].to_owned(), value.trim().to_owned()))
            })
            .collect()
    }
}

/// A boolean as Connect reads it.
fn truth(text: &str) -> Option<bool> {
    let text = text.trim();
    match (text.eq_ignore_ascii_case("true"), text.eq_ignore_ascii_case("false")) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

/// What the file will say.
#[derive(Debug, Default)]
struct Draft {
    topics: Vec<String>,
    /// Those are all topics that the connector reads or writes.
    knows_topics: bool,
    format: &'static str,
    sink_format: &'static str,
    key: Vec<String>,
    /// The target's topic, where the chain renames it.
    topic: Option<String>,
    /// Leaves that stay behind.
    dropped: BTreeSet<String>,
    /// Leaves that become a constant, by it.
    constants: BTreeMap<String, BTreeSet<String>>,
    /// Leaves that the chain lets through by name: a person says of what class they are.
    named: BTreeSet<String>,
    /// `errors.tolerance=all`.
    tolerates: bool,
    /// `errors.log.enable=true`.
    logs: bool,
    /// `errors.log.include.messages=true`.
    logs_records: bool,
    /// A sink's dead letters have a topic.
    dead_letters: bool,
    /// `errors.deadletterqueue.context.headers.enable=true`.
    dead_headers: bool,
    /// It reads a database with Debezium.
    is_debezium: bool,
    /// It writes into Kafka.
    is_source: bool,
    columns: Columns,
}

impl Draft {
    /// A constant key would make one row of all: the key is tokenised, wherever the chain masks it.
    fn keep_rows_apart(&mut self, lines: &mut Vec<Line>) {
        let mut masked = BTreeSet::new();
        for leaves in self.constants.values_mut() {
            let of_key = |leaf: &&String| self.key.contains(leaf);
            masked.extend(leaves.iter().filter(of_key).cloned());
            leaves.retain(|leaf| !self.key.contains(leaf));
        }
        self.constants.retain(|_, leaves| !leaves.is_empty());
        if !masked.is_empty() {
            let names = masked.into_iter().collect::<Vec<_>>().join(", ");
            let what =
                format!("{names}: no constant, for the key says which row it is: `tokenize`");
            line(lines, "MaskField of the key", Fate::Instead, what);
        }
    }

    fn yaml(&self, name: &str) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(name, &mut out);
        out
    }

    fn write(&self, name: &str, out: &mut String) -> std::fmt::Result {
        let quoted =
            |names: &[String]| names.iter().map(|name| text(name)).collect::<Vec<_>>().join(", ");
        writeln!(out, "name: {name}")?;
        writeln!(out, "purpose: model-training")?;
        if !self.key.is_empty() {
            writeln!(out, "domains: domains.yaml")?;
        }
        writeln!(out, "source:")?;
        // A schema names the key's leaves itself.
        let key = match self.key.is_empty() || self.format != "debezium_json" {
            true => String::new(),
            false => format!(", key: [{}]", quoted(&self.key)),
        };
        let (topics, format) = (quoted(&self.topics), self.format);
        writeln!(
            out,
            "  kafka: {{ cluster: sovereign, topics: [{topics}], format: {format}, start: \
             earliest{key} }}"
        )?;
        writeln!(
            out,
            "# Every leaf by name: `douane classify` proposes the classes of those that"
        )?;
        writeln!(out, "# are not here. A leaf that stands nowhere holds its partition.")?;
        writeln!(out, "classes:")?;
        let constants: BTreeSet<&String> = self.constants.values().flatten().collect();
        let all: BTreeSet<&String> = self
            .key
            .iter()
            .chain(&self.dropped)
            .chain(constants.iter().copied())
            .chain(&self.named)
            .collect();
        let subject = self.key.first();
        for leaf in all {
            let class = match () {
                () if Some(leaf) == subject => "{ class: identifier, subject: true }",
                // Until a person has looked, nothing is public.
                () => "identifier",
            };
            writeln!(out, "  {}: {class}", text(leaf))?;
        }
        writeln!(out, "stages:")?;
        for (constant, leaves) in &self.constants {
            let leaves: Vec<String> = leaves.iter().cloned().collect();
            let (leaves, constant) = (quoted(&leaves), text(constant));
            writeln!(out, "  - redact: {{ columns: [{leaves}], constant: {constant} }}")?;
        }
        if !self.key.is_empty() {
            let domain = domain(name);
            writeln!(
                out,
                "  - tokenize: {{ columns: [{}], domain: {domain} }}",
                quoted(&self.key)
            )?;
        }
        let behind: Vec<String> = self
            .dropped
            .iter()
            .chain(&self.named)
            .filter(|leaf| !constants.contains(leaf) && !self.key.contains(leaf))
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        if !behind.is_empty() {
            writeln!(out, "  - drop: {{ columns: [{}] }}", quoted(&behind))?;
        }
        writeln!(out, "sink:")?;
        let made =
            || format!("training.{}", self.topics.first().map_or("imported", String::as_str));
        let topic = self.topic.clone().unwrap_or_else(made);
        writeln!(
            out,
            "  kafka: {{ cluster: global, topic: {}, format: {}, timestamp: 1s }}",
            text(&topic),
            self.sink_format
        )?;
        writeln!(out, "release: {name}.release.json")
    }
}

/// The domain of the key's tokens.
fn domain(pipeline: &str) -> String {
    format!("{}_key", pipeline.replace('-', "_"))
}

/// A text as YAML has it, quoted: JSON's quotes are YAML's.
fn text(text: &str) -> String {
    Json::from(text).to_string()
}

/// A connector's name as a pipeline's: `[a-z][a-z0-9_-]*`, at most 48 characters.
fn name(of: &str) -> String {
    let sign = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_' | '-') => c,
        _ => '-',
    };
    let text: String = of.chars().map(sign).collect();
    match text.trim_start_matches(|c: char| !c.is_ascii_lowercase()) {
        // The other file beside it is called so.
        "" | "domains" => "imported".to_owned(),
        text => text.chars().take(48).collect(),
    }
}

/// Names come from outside, and are printed to a terminal.
fn printable(text: String) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

fn line(lines: &mut Vec<Line>, key: &str, fate: Fate, what: impl Into<String>) {
    lines.push(Line { key: printable(key.to_owned()), fate, what: printable(what.into()) });
}

/// Debezium's connectors, as Connect calls them.
const DEBEZIUM: [&str; 10] = [
    "Postgres",
    "MySql",
    "MariaDb",
    "SqlServer",
    "Oracle",
    "MongoDb",
    "Db2",
    "Vitess",
    "Spanner",
    "Informix",
];

/// Topics, formats and key.
fn source(config: &mut Config, class: &str, draft: &mut Draft, lines: &mut Vec<Line>) {
    use Fate::{Instead, Kept, Needless, NotKept};
    let simple = class.rsplit('.').next().unwrap_or(class);
    // Connect takes a class by its last name as well. Debezium has sinks too.
    let is_short = class == simple && DEBEZIUM.contains(&simple.trim_end_matches("Connector"));
    let debezium = is_short || class.starts_with("io.debezium.") && !simple.contains("Sink");
    (draft.is_debezium, draft.is_source) = (debezium, debezium || simple.contains("Source"));
    errors(config, draft, lines);
    match debezium {
        true => line(
            lines,
            "connector.class",
            Instead,
            format!("{simple} goes on writing inside; the pipeline reads its topics"),
        ),
        false => line(
            lines,
            "connector.class",
            Instead,
            format!("in place of {simple}, a target topic of Kafka"),
        ),
    }
    let topics = config.list("topics");
    if !topics.is_empty() {
        line(lines, "topics", Kept, topics.join(", "));
        draft.topics = topics;
    }
    if config.take("topics.regex").is_some() {
        let what =
            "a pattern: write `tables:` with a catalogue (docs/pipelines.md, \"Many tables\")";
        line(lines, "topics.regex", NotKept, what);
    } else if !debezium && draft.topics.is_empty() {
        line(lines, "topics", NotKept, "none is named: write them under `source`");
    }
    if debezium {
        let prefix = config.take("topic.prefix").or_else(|| config.take("database.server.name"));
        let tables = config.list("table.include.list");
        // The list holds patterns; a table's own name is one that matches itself.
        let plain = |table: &String| !table.contains(['*', '+', '(', '[', '|', '^', '$', '?']);
        let name = |table: &String| table.replace("\\.", ".");
        match &prefix {
            Some(prefix) if !tables.is_empty() && tables.iter().all(plain) => {
                draft.topics = tables.iter().map(|t| format!("{prefix}.{}", name(t))).collect();
                line(lines, "topic.prefix, table.include.list", Kept, draft.topics.join(", "));
            }
            _ => line(
                lines,
                "topic.prefix, table.include.list",
                NotKept,
                "which topics it writes cannot be told: write them under `source`",
            ),
        }
    }
    draft.knows_topics = !draft.topics.is_empty();
    if draft.topics.is_empty() {
        draft.topics.push("name.the.topic".to_owned());
    }
    if draft.topics.len() > 1 {
        let what = "several topics under one list of leaves; where their tables differ, write \
                    `tables:`";
        line(lines, "topics", Instead, what);
    }
    let converter = config.take("value.converter").unwrap_or_default();
    let simple = converter.rsplit('.').next().unwrap_or_default().to_owned();
    let is_json = simple == "JsonConverter";
    let schemas = is_json && config.flag("value.converter.schemas.enable", [true, false], lines);
    let inner = config.below("value.converter.");
    let (fate, format, sink) = match simple.as_str() {
        "JsonConverter" if schemas => (Kept, "debezium_json_schema", "json"),
        "JsonConverter" => (Kept, "debezium_json", "json"),
        "AvroConverter" => (Kept, "debezium_avro", "avro"),
        _ => (NotKept, "debezium_json", "json"),
    };
    (draft.format, draft.sink_format) = (format, sink);
    let what = match (fate, simple.as_str()) {
        (NotKept, "") => "the worker's default; taken for JSON without schemas".to_owned(),
        (NotKept, other) => format!("{other}: no format that is read; taken for JSON"),
        _ => format!("source format {format}"),
    };
    line(lines, "value.converter", fate, what);
    if let Some(key) = config.take("key.converter") {
        let schemas_of_key = "key.converter.schemas.enable";
        let is_same = key == converter
            && (!is_json || config.flag(schemas_of_key, [true, !schemas], lines) == schemas);
        let (fate, what) = match is_same {
            true => (Needless, "the key is read as the value is".to_owned()),
            false => (
                NotKept,
                format!("the key is another format's, and is read as the value is: {format}"),
            ),
        };
        line(lines, "key.converter", fate, what);
    }
    config.below("key.converter.");
    if inner.contains_key("schema.registry.url") {
        let what = "the address of the registry stands in douane.yaml, at its cluster";
        line(lines, "value.converter.schema.registry.url", Instead, what);
    }
    if let Some(columns) = config.take("message.key.columns") {
        let first = columns.split(';').next().unwrap_or_default();
        draft.key = first.rsplit(':').next().map(list).unwrap_or_default();
        line(lines, "message.key.columns", Kept, format!("key: {}", draft.key.join(", ")));
    }
    columns::read(config, draft, lines);
}

/// What becomes of records that fail.
fn errors(config: &Config, draft: &mut Draft, lines: &mut Vec<Line>) {
    let tolerance = config.peek("errors.tolerance");
    draft.tolerates = tolerance == "all";
    if !["", "all", "none"].contains(&tolerance) {
        let what = "neither `all` nor `none`, which Kafka Connect refuses; taken for `none`";
        line(lines, "errors.tolerance", Fate::NotKept, what);
    }
    let mut flag = |key: &str| config.flag(key, [false, true], lines);
    draft.logs = flag("errors.log.enable");
    draft.logs_records = flag("errors.log.include.messages");
    draft.dead_headers = flag("errors.deadletterqueue.context.headers.enable");
    // A source has none, whatever it says.
    let dead = config.peek("errors.deadletterqueue.topic.name");
    draft.dead_letters = !draft.is_source && !dead.is_empty();
}

/// Keys that are of no transform.
fn rest(config: &mut Config, lines: &mut Vec<Line>) {
    use Fate::{Instead, Needless, NotKept};
    /// Names, or beginnings where a dot ends them; the fate, and the words.
    const KNOWN: [(&[&str], Fate, &str); 14] = [
        (&["tasks.max"], Instead, "`tasks` of douane.yaml: shards of each pipeline"),
        (
            &["errors.tolerance"],
            Instead,
            "a bad record is sealed into the quarantine; `quarantine: { max_per_minute }` says when it \
             holds instead",
        ),
        (
            &["errors.deadletterqueue."],
            Instead,
            "the quarantine, inside and sealed, with headers of the same names and no value: `douane \
             quarantine list`",
        ),
        (&["errors.log."], Needless, "no log line holds a record"),
        (&["errors.retry."], Needless, "what is away is tried again until it answers"),
        (&["exactly.once.support"], Needless, "always exactly once"),
        (
            &["transaction.boundary", "transaction.boundary."],
            Needless,
            "transactions follow load and `publish:`",
        ),
        (&["offsets.storage.topic"], Needless, "positions ride in the target's transaction"),
        (
            &["consumer.override.", "producer.override.", "admin.override."],
            NotKept,
            "client settings: those that are allowed stand at the cluster in douane.yaml",
        ),
        (&["header.converter"], Needless, "no header of the source crosses"),
        (&["tombstones.on.delete"], Needless, "a delete and its tombstone become one record"),
        (
            &[
                "database.",
                "slot.",
                "publication.",
                "plugin.name",
                "snapshot.",
                "schema.history.",
                "heartbeat.",
                "schema.include.list",
                "file",
            ],
            Needless,
            "of the connector, which keeps it or is there no more",
        ),
        (&["table.exclude.list"], Needless, "a topic that no pipeline names does not cross"),
        (
            &["config.action.reload"],
            Needless,
            "changed files are swapped in between two transactions",
        ),
    ];
    let mut seen = BTreeSet::new();
    for key in std::mem::take(&mut config.0).into_keys() {
        let is_it = |name: &&&str| key == **name || name.ends_with('.') && key.starts_with(**name);
        let known = KNOWN.iter().find_map(|(names, fate, what)| {
            names.iter().find(is_it).map(|name| (name.trim_end_matches('.'), *fate, *what))
        });
        match known {
            Some((name, fate, what)) if seen.insert(name) => line(lines, name, fate, what),
            Some(_) => {}
            None => line(lines, &shown(&key), NotKept, "not known to this import"),
        }
    }
}

/// A key that nobody knows may hold data, as Debezium's salt does: only what looks like a key.
fn shown(key: &str) -> String {
    let plain = key.chars().all(|c| c.is_ascii_lowercase() || ".-_".contains(c));
    match plain && key.len() <= 64 {
        true => key.to_owned(),
        false => "(a key that is not shown)".to_owned(),
    }
}

#[cfg(test)]
mod tests;
