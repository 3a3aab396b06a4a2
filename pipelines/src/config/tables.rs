//! A file with `tables:`: several tables of one source, each a pipeline of its own from here on.
//!
//! The file is held against a schema made from the one of a single pipeline, and becomes one tree
//! a table: what stands at the top serves all of them, what stands under the table is its own.
//! Values keep their places, so that a finding in such a tree points into the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::finding::{Findings, Kind, Mark};
use super::pipeline::{ClassFile, PipelineFile};
use super::schema::{listed, nearest};
use super::yaml::{Key, Node, Value, quoted};
use super::{OfFile, Sort, beside, expect_sort, label, read_tree, schema_of, typed};

/// Tables times tasks: each such shard has its clients and its memory.
pub const SHARDS_MAX: usize = 64;
/// Keys of a single pipeline that stand under a table instead.
const OF_A_TABLE: [&str; 5] = ["types", "stages", "overrides", "quasi_sets", "tests"];

/// Which table of which file a pipeline is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name under `tables`: the last part of its topics' names.
    pub name: String,
    /// The file's patterns: `crm.public.*`.
    pub patterns: Vec<String>,
}

/// A catalogue of classes by table: what every leaf is, in a file that its owner can be named for.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Catalog")]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogFile {
    /// Classes of each table's leaves, as under `classes` of a single pipeline.
    #[schemars(extend("minProperties" = 1))]
    #[expect(dead_code, reason = "read from the tree, a table at a time")]
    pub tables: BTreeMap<String, BTreeMap<String, ClassFile>>,
}

/// What makes a file one of many tables.
pub(super) fn is_many(root: &Node) -> bool {
    root.get("tables").is_some() || root.get("catalog").is_some()
}

/// The schema of a file with `tables`, from the one of a single pipeline: keys that are added
/// there serve all tables here.
pub(super) fn schema() -> Json {
    let mut schema = schema_of::<PipelineFile>();
    let take = |object: &mut Json, key: &str| {
        if let Some(required) = object["required"].as_array_mut() {
            required.retain(|name| name != key);
        }
        object["properties"].as_object_mut().and_then(|all| all.remove(key)).unwrap_or_default()
    };
    take(&mut schema, "classes");
    let mut of_table = serde_json::Map::new();
    for key in OF_A_TABLE {
        let property = take(&mut schema, key);
        if !property.is_null() {
            of_table.insert(key.to_owned(), property);
        }
    }
    let defs = &mut schema["$defs"];
    let key = defs["KafkaSource"]["properties"]["key"].clone();
    let mut table_sink = defs["KafkaSink"].clone();
    take(&mut table_sink, "cluster");
    table_sink["required"] = json!(["topic"]);
    table_sink["description"] = json!("What is this table's own of the sink.");
    let mut kafka = defs["KafkaSink"].clone();
    take(&mut kafka, "topic");
    // Tables are topics of one database; files are one table each.
    take(&mut defs["Source"], "file");
    defs["Source"]["required"] = json!(["kafka"]);
    let mut sink = defs["Sink"].clone();
    take(&mut sink, "file");
    sink["required"] = json!(["kafka"]);
    sink["properties"]["kafka"]["$ref"] = json!("#/$defs/TablesKafkaSink");
    of_table.insert("key".to_owned(), key);
    of_table.insert("sink".to_owned(), json!({"$ref": "#/$defs/TableSink"}));
    defs["TableSink"] = table_sink;
    defs["TablesKafkaSink"] = kafka;
    defs["TablesSink"] = sink;
    defs["Table"] = json!({
        "type": "object",
        "description": "What is one table's own.",
        "additionalProperties": false,
        "properties": of_table,
        "required": ["sink"],
    });
    let properties = &mut schema["properties"];
    properties["sink"]["$ref"] = json!("#/$defs/TablesSink");
    properties["catalog"] = json!({
        "type": "string",
        "description": "The catalogue of classes by table, a file beside this one.",
    });
    properties["tables"] = json!({
        "type": "object",
        "description": "The tables that cross, by the last part of their topics' names.",
        "additionalProperties": {"$ref": "#/$defs/Table"},
        "minProperties": 1,
    });
    if let Some(required) = schema["required"].as_array_mut() {
        required.extend([json!("catalog"), json!("tables")]);
    }
    schema["title"] = json!("Tables");
    schema["description"] = json!("A pipeline file of many tables: a pipeline each.");
    schema
}

/// One table's tree, and the catalogue that its classes are from.
pub(super) struct Expanded {
    pub table: Table,
    pub tree: Node,
}

/// The tables of a file, in its order. `None` where nothing can be said of a single table.
pub(super) fn expand(
    file: &Path,
    file_label: &str,
    root: &Node,
    findings: &mut Findings,
) -> Option<(PathBuf, Vec<Expanded>)> {
    let said = |findings: &mut Findings, mark, kind, message: String, next: &str| {
        findings.error(file_label, mark, kind, message).next(next);
    };
    let name = root.get("name").and_then(Node::text).unwrap_or_default();
    let topics = root.at(&["source", "kafka", "topics"]);
    let mut patterns = Vec::new();
    for item in topics.items() {
        let pattern = item.text().unwrap_or_default();
        match pattern.strip_suffix(".*") {
            Some(before) if !before.is_empty() && !before.contains('*') => {
                patterns.push(pattern.to_owned());
            }
            _ => said(
                findings,
                item.mark,
                Kind::Topic,
                "a topic beside `tables` has no table's place".to_owned(),
                "let its name end with `.*`, which stands for the table: `crm.public.*`",
            ),
        }
    }
    let placed = patterns.len() == topics.items().len();
    let (path, catalogue) = read_catalogue(file, file_label, root, findings)?;
    let known: Vec<&str> =
        catalogue.at(&["tables"]).entries().iter().map(|(key, _)| key.text.as_str()).collect();
    let mut targets: BTreeMap<String, Mark> = BTreeMap::new();
    let mut folded = BTreeSet::new();
    let mut all = Vec::new();
    for (key, own) in root.at(&["tables"]).entries() {
        let (shown, mark) = (quoted(&key.text), key.mark);
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if key.text.is_empty() || key.text.len() > 64 || !key.text.bytes().all(legal) {
            let message = format!("`{shown}` is not the name of a table");
            let next = "write 1 to 64 of a-z, A-Z, 0-9, `_` and `-`: the last part of its topic";
            said(findings, mark, Kind::NotAllowed, message, next);
            continue;
        }
        if !folded.insert(key.text.to_lowercase()) {
            let message = format!("`{shown}` differs from another table by upper case only");
            let next = "keep one: its ledger would lie in one folder with the other's";
            said(findings, mark, Kind::DoubleKey, message, next);
        }
        let target = own.at(&["sink", "topic"]);
        if let Some(first) = targets.insert(target.text().unwrap_or_default().into(), target.mark) {
            findings
                .error(file_label, target.mark, Kind::Topic, "two tables write to one topic")
                .help(format!("first at line {}", first.line))
                .next("name a topic of its own");
        }
        let Some(classes) = catalogue.at(&["tables"]).get(&key.text) else {
            let message = format!("table `{shown}` is not in the catalogue {}", path.display());
            let finding = findings.error(file_label, mark, Kind::MatchesNothing, message);
            match nearest(&key.text, &known) {
                Some(near) => finding.next(format_args!("write `{near}`, or have it added there")),
                None => finding
                    .help(format!("it has {}", listed(&known)))
                    .next("have its leaves classed there, or remove the table here"),
            };
            continue;
        };
        let table = Table { name: key.text.clone(), patterns: patterns.clone() };
        let tree = tree(root, name, key, own, classes);
        all.push(Expanded { table, tree });
    }
    placed.then_some((path, all))
}

/// One table as a single pipeline's file would say it.
fn tree(root: &Node, name: &str, table: &Key, own: &Node, classes: &Node) -> Node {
    let mut tree = Node { mark: root.mark, value: Value::Map(Vec::new()) };
    for (key, value) in root.entries() {
        if !["tables", "catalog"].contains(&key.text.as_str()) {
            tree.put(key.clone(), value.clone());
        }
    }
    if let Some(named) = tree.get_mut("name") {
        named.value = Value::Text(format!("{name}.{}", table.text));
    }
    let kafka = tree.get_mut("source").and_then(|source| source.get_mut("kafka"));
    if let Some(kafka) = kafka {
        if let Some(Value::List(topics)) = kafka.get_mut("topics").map(|topics| &mut topics.value) {
            for topic in topics {
                if let Value::Text(text) = &mut topic.value {
                    *text = text.strip_suffix('*').unwrap_or(text).to_owned() + &table.text;
                }
            }
        }
        if let Some((key, value)) = own.entry("key") {
            kafka.put(key.clone(), value.clone());
        }
    }
    let sink = tree.get_mut("sink").and_then(|sink| sink.get_mut("kafka"));
    if let Some(sink) = sink {
        for (key, value) in own.at(&["sink"]).entries() {
            sink.put(key.clone(), value.clone());
        }
    }
    for key in OF_A_TABLE {
        if let Some((key, value)) = own.entry(key) {
            tree.put(key.clone(), value.clone());
        }
    }
    tree.put(Key { text: "classes".to_owned(), mark: classes.mark }, classes.clone());
    tree
}

/// The catalogue lies beside the pipeline's file or below it: it is approved with it.
fn read_catalogue(
    file: &Path,
    file_label: &str,
    root: &Node,
    findings: &mut Findings,
) -> Option<(PathBuf, Node)> {
    let at = root.at(&["catalog"]);
    let Some(path) = beside(file, at.text()?) else {
        let message = "`catalog` is no file beside this one";
        findings
            .error(file_label, at.mark, Kind::NotAllowed, message)
            .next("write a name such as `catalogs/crm.yaml`");
        return None;
    };
    let label = label(&path);
    if !path.exists() {
        let message = format!("`catalog` names `{label}`, which does not exist");
        findings
            .error(file_label, at.mark, Kind::Unreadable, message)
            .next("write the catalogue, or mend the name");
        return None;
    }
    let mut tree = read_tree(&path, &label, findings)?;
    expect_sort(&tree, &label, Sort::Catalogue, findings)?;
    let of_file = OfFile {
        schema: schema_of::<CatalogFile>(),
        later: &[],
        advice: &[],
        told: &[],
        show_values: true,
    };
    let _: CatalogFile = typed(&mut tree, &label, &of_file, findings)?;
    Some((path, tree))
}
