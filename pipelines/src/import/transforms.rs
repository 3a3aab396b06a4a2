//! Connect's single message transforms, in their order, and what the pipeline does in their place.

use std::collections::BTreeMap;

use regex::Regex;

use super::{Config, Draft, Fate, Line, line, list};

/// One transform of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transform {
    /// The simple name of its class, without `$Value` and `$Key`.
    pub(super) kind: String,
    /// It is about the record's key.
    pub(super) of_key: bool,
    keys: BTreeMap<String, String>,
}

impl Transform {
    fn list(&self, key: &str) -> Vec<String> {
        self.keys.get(key).map(|text| list(text)).unwrap_or_default()
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain(pub(super) Vec<Transform>);

impl Chain {
    /// Takes the transforms out of the configuration and writes what they do into the draft.
    pub(super) fn of(config: &mut Config, draft: &mut Draft, lines: &mut Vec<Line>) -> Self {
        let mut chain = Vec::new();
        for alias in config.list("transforms") {
            let mut keys = config.below(&format!("transforms.{alias}."));
            let class = keys.remove("type").unwrap_or_default();
            let of_key = class.ends_with("$Key");
            let class = class.trim_end_matches("$Key").trim_end_matches("$Value");
            let simple = class.rsplit('.').next().unwrap_or_default();
            // What is no name of a class is none that is known.
            let is_name = simple.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let kind = if is_name { simple } else { "" }.to_owned();
            chain.push(Transform { kind, of_key, keys });
        }
        let predicates: BTreeMap<String, String> = config
            .list("predicates")
            .into_iter()
            .map(|alias| {
                let mut keys = config.below(&format!("predicates.{alias}."));
                let class = keys.remove("type").unwrap_or_default();
                (alias, class.rsplit('.').next().unwrap_or_default().to_owned())
            })
            .collect();
        for transform in &chain {
            let conditional = transform
                .keys
                .get("predicate")
                .map(|alias| predicates.get(alias).map_or("", String::as_str).to_owned());
            let (fate, what) = become_of(transform, conditional.as_deref(), draft);
            line(lines, &transform.kind, fate, what);
        }
        Self(chain)
    }

    pub(super) fn has(&self, kind: &str) -> bool {
        self.0.iter().any(|transform| transform.kind == kind)
    }
}

/// What the pipeline does in place of one transform.
fn become_of(of: &Transform, predicate: Option<&str>, draft: &mut Draft) -> (Fate, String) {
    use Fate::{Instead, Kept, Needless, NotKept};
    let tombstones = "which rows are deletes is always told apart: a delete is a tombstone";
    match (of.kind.as_str(), predicate) {
        ("Filter", Some("RecordIsTombstone")) => {
            let what = "tombstones cross: without them what is deleted inside stays outside";
            return (NotKept, what.to_owned());
        }
        ("Filter", _) => {
            let what = "which rows cross is decided by WHERE of a `sql` stage, and by their class";
            return (NotKept, what.to_owned());
        }
        (_, Some("RecordIsTombstone") | None) => {}
        (kind, Some(other)) => {
            let what = format!("{kind} under a condition ({other}): a pipeline treats all alike");
            return (NotKept, what);
        }
    }
    match of.kind.as_str() {
        "MaskField" => mask(of, draft),
        "ReplaceField" => replace(of, draft),
        "ExtractNewRecordState" => {
            (Kept, format!("the state shape: the row after the change; {tombstones}"))
        }
        "ExtractField" => match of.keys.get("field").map(String::as_str) {
            Some("after") => (Kept, "the state shape: the row after the change".to_owned()),
            Some(field) if of.of_key => {
                draft.key = vec![field.to_owned()];
                (Instead, format!("the record's key is protected as the leaf {field} is"))
            }
            _ => (NotKept, "no stage gives one leaf as a record".to_owned()),
        },
        "ValueToKey" => {
            let fields = of.list("fields");
            let what = format!("key: {}", fields.join(", "));
            draft.key = fields;
            (Kept, what)
        }
        "HoistField" => (NotKept, "a record is a row of columns, not a leaf around one".to_owned()),
        "Cast" => {
            let leaves: Vec<String> = list(&of.keys.get("spec").cloned().unwrap_or_default())
                .iter()
                .filter_map(|one| one.split(':').next().map(str::to_owned))
                .collect();
            draft.named.extend(leaves.iter().cloned());
            let what = format!(
                "types of {}: `cast(… as …)` in a `sql` stage, where they are not the source's",
                leaves.join(", ")
            );
            (NotKept, what)
        }
        "TimestampConverter" => {
            draft.named.extend(of.list("field"));
            let what = "a date keeps its type; `generalize: { to: … }` makes it coarser";
            (Instead, what.to_owned())
        }
        "RegexRouter" => route(of, draft),
        "TimestampRouter" => (NotKept, "one target topic, whatever the time".to_owned()),
        "InsertField" | "InsertHeader" => {
            let what = "where a record came from stays inside: in the ledger, not in the record";
            (NotKept, what.to_owned())
        }
        "DropHeaders" | "HeaderFrom" => (Needless, "no header of the source crosses".to_owned()),
        "Flatten" => (Kept, "columns are named by the whole path, with `_` for `.`".to_owned()),
        "SetSchemaMetadata" => (
            Needless,
            "the target's schema is made of what crosses, and of nothing else".to_owned(),
        ),
        "" => (NotKept, "a transform without a type".to_owned()),
        _ => (NotKept, "not known to this import".to_owned()),
    }
}

fn mask(of: &Transform, draft: &mut Draft) -> (Fate, String) {
    use Fate::{Instead, Kept};
    let fields = of.list("fields");
    let names = fields.join(", ");
    if of.of_key {
        draft.key = fields;
        return (Instead, format!("{names}: a constant key is none; `tokenize` keeps rows apart"));
    }
    match of.keys.get("replacement") {
        Some(constant) => {
            draft.constants.entry(constant.clone()).or_default().extend(fields);
            (Kept, format!("{names}: a constant; and no other leaf passes"))
        }
        None => {
            draft.dropped.extend(fields);
            (Instead, format!("{names}: stay behind in place of an empty value"))
        }
    }
}

fn replace(of: &Transform, draft: &mut Draft) -> (Fate, String) {
    use Fate::{Kept, NotKept};
    let either = |new: &str, old: &str| match of.list(new) {
        list if list.is_empty() => of.list(old),
        list => list,
    };
    let (exclude, include) = (either("exclude", "blacklist"), either("include", "whitelist"));
    draft.dropped.extend(exclude.iter().cloned());
    draft.named.extend(include.iter().cloned());
    let renames = of.list("renames");
    match () {
        () if !renames.is_empty() => {
            let what = "renames: `select old as new from batch` in a `sql` stage";
            (NotKept, what.to_owned())
        }
        () if !include.is_empty() => {
            (Kept, format!("{}: each needs a class; all others stay behind", include.join(", ")))
        }
        () => (Kept, format!("{}: stay behind", exclude.join(", "))),
    }
}

/// As Connect does: the pattern matches the whole name, and the replacement names its groups.
fn route(of: &Transform, draft: &mut Draft) -> (Fate, String) {
    let key = |name: &str| of.keys.get(name).cloned().unwrap_or_default();
    let pattern = Regex::new(&format!("^(?:{})$", key("regex")));
    // Java's `$1` ends with its digits, here with the word.
    let groups = Regex::new(r"\$(\d)")
        .map(|group| group.replace_all(&key("replacement"), "$${$1}").into_owned());
    let (Ok(pattern), Ok(groups)) = (pattern, groups) else {
        let what = "a pattern that is not read: name the target's topic under `sink`";
        return (Fate::NotKept, what.to_owned());
    };
    let topic = draft.topics.first().cloned().unwrap_or_default();
    match (pattern.is_match(&topic), draft.topics.len()) {
        (true, 1) => {
            let to = pattern.replace(&topic, groups.as_str()).into_owned();
            draft.topic = Some(to.clone());
            (Fate::Kept, format!("topic {to}"))
        }
        (false, 1) => (Fate::Needless, format!("does not match {topic}")),
        _ => (Fate::NotKept, "several topics: each pipeline has one target".to_owned()),
    }
}
