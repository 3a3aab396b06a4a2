//! Connect's single message transforms, in their order, and what the pipeline does in their place.

use std::collections::BTreeMap;

use regex::Regex;

use super::{Config, Draft, Fate, Line, line, list, shown, truth};

/// One transform of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transform {
    /// The simple name of its class, without `$Value` and `$Key`.
    pub(super) kind: String,
    /// It is about the record's key.
    pub(super) of_key: bool,
    pub(super) when: When,
    keys: BTreeMap<String, String>,
}

/// Which records a transform is applied to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum When {
    #[default]
    Always,
    /// All but tombstones.
    Rows,
    /// Nothing that holds a leaf.
    Tombstones,
    /// None of the connector's topics meets the condition.
    Never,
    /// Under this predicate, of which only the records tell whether they meet it.
    Some(String),
}

impl Transform {
    fn take(config: &mut Config, alias: &str) -> Self {
        // As it is written: of all keys this one alone is not trimmed by Connect.
        let negate = config.0.get(&format!("transforms.{alias}.negate")).cloned();
        let mut keys = config.below(&format!("transforms.{alias}."));
        keys.extend(negate.map(|negate| ("negate".to_owned(), negate)));
        let class = keys.remove("type").unwrap_or_default();
        let of_key = class.ends_with("$Key");
        let class = class.trim_end_matches("$Key").trim_end_matches("$Value");
        let simple = class.rsplit('.').next().unwrap_or_default();
        // What is no name of a class is none that is known.
        let is_name = simple.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let kind = if is_name { simple } else { "" }.to_owned();
        Self { kind, of_key, when: When::Always, keys }
    }

    /// Whether a record may have another topic behind it, and which is not known: then neither is which records a condition
    /// on topics lets in.
    fn hides_the_topic(&self, draft: &Draft) -> bool {
        if self.when == When::Never {
            return false;
        }
        match self.kind.as_str() {
            "RegexRouter" => self.when != When::Always || draft.topics.len() > 1,
            "ExtractNewRecordState" => {
                self.keys.get("route.by.field").is_some_and(|of| !of.is_empty())
            }
            "Cast" | "DropHeaders" | "ExtractField" | "Filter" | "Flatten" | "HeaderFrom"
            | "HoistField" | "InsertField" | "InsertHeader" | "MaskField" | "ReplaceField"
            | "SetSchemaMetadata" | "TimestampConverter" | "ValueToKey" => false,
            // `TimestampRouter`, and whatever is not Connect's own.
            _ => true,
        }
    }

    /// Which records it is applied to, and what is wrong with its `negate`.
    fn resolve(
        &mut self,
        predicates: &BTreeMap<String, Predicate>,
        draft: &Draft,
    ) -> Option<&'static str> {
        let said = self.keys.get("negate").cloned().filter(|said| !said.trim().is_empty());
        let negate = said.as_deref().map(truth);
        let Some(alias) = self.keys.get("predicate").filter(|alias| !alias.is_empty()) else {
            return said.map(|_| "without a `predicate`, which Kafka Connect refuses");
        };
        // Connect checks it as a boolean, and reads it by a stricter rule.
        let is_negated = said.as_deref().is_some_and(|said| said.eq_ignore_ascii_case("true"));
        self.when = match (predicates.get(alias), negate) {
            (None, _) => When::Some("a predicate that is not defined".to_owned()),
            (_, Some(None)) => When::Some("a `negate` that is not known".to_owned()),
            (Some(predicate), _) => predicate.when(is_negated, draft),
        };
        match negate {
            Some(None) if !said.as_deref().is_some_and(is_provided) => {
                Some("neither `true` nor `false`, which Kafka Connect refuses")
            }
            Some(Some(true)) if !is_negated => {
                Some("`true` with space around it, which Kafka Connect takes for `false`")
            }
            _ => None,
        }
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        self.keys.get(key).map(|text| list(text)).unwrap_or_default()
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// In their order.
    pub(super) applied: Vec<Transform>,
    /// Those that `transforms` does not name.
    pub(super) idle: Vec<Transform>,
}

/// The transforms of which it is known what they let out.
pub(super) const KINDS: [&str; 17] = [
    "MaskField",
    "ReplaceField",
    "ExtractNewRecordState",
    "ExtractField",
    "ValueToKey",
    "HoistField",
    "Cast",
    "TimestampConverter",
    "RegexRouter",
    "TimestampRouter",
    "InsertField",
    "InsertHeader",
    "DropHeaders",
    "HeaderFrom",
    "Flatten",
    "SetSchemaMetadata",
    "Filter",
];

impl Chain {
    /// Takes the transforms out of the configuration and writes what they do into the draft.
    pub(super) fn of(config: &mut Config, draft: &mut Draft, lines: &mut Vec<Line>) -> Self {
        let mut chain: Vec<Transform> = Vec::new();
        for alias in config.list("transforms") {
            chain.push(Transform::take(config, &alias));
        }
        let predicates: BTreeMap<String, Predicate> = config
            .list("predicates")
            .into_iter()
            .map(|alias| {
                let mut keys = config.below(&format!("predicates.{alias}."));
                let class = keys.remove("type").unwrap_or_default();
                let kind = class.rsplit('.').next().unwrap_or_default().to_owned();
                let pattern = keys.remove("pattern").unwrap_or_default();
                (alias, Predicate { kind, pattern })
            })
            .collect();
        let mut counted: BTreeMap<String, usize> = BTreeMap::new();
        for at in 0..chain.len() {
            let wrong = chain[at].resolve(&predicates, draft);
            let (fate, what) = become_of(&chain[at], draft);
            draft.knows_topics &= !chain[at].hides_the_topic(draft);
            let kind = &chain[at].kind;
            let shown_kind = if kind.is_empty() { "transforms" } else { kind };
            let number = counted.entry(kind.clone()).or_default();
            *number += 1;
            // Of several of one kind, which: in their order.
            let key = match chain.iter().filter(|one| one.kind == *kind).count() {
                1 => shown_kind.to_owned(),
                _ => format!("{shown_kind} {number}"),
            };
            line(lines, &key, fate, what);
            for option in beyond(&chain[at], fate) {
                let what = "an option of this transform that the pipeline does not follow";
                line(lines, &format!("{key} {}", shown(option)), Fate::NotKept, what);
            }
            if let Some(what) = wrong {
                line(lines, &format!("{key} negate"), Fate::NotKept, what);
            }
            for (option, _) in chain[at].keys.iter().filter(|(_, value)| is_provided(value)) {
                let what = "a config provider gives its value, which cannot be told from here";
                line(lines, &format!("{key} {}", shown(option)), Fate::NotKept, what);
            }
        }
        Self { applied: chain, idle: idle(config, lines) }
    }

    pub(super) fn has(&self, kind: &str) -> bool {
        self.applied.iter().any(|transform| transform.kind == kind)
    }
}

/// Connect asks another place for the value: `${file:/etc/secrets:fields}`.
pub(super) fn is_provided(value: &str) -> bool {
    let inner = value.split_once("${").and_then(|(_, rest)| rest.split_once('}'));
    inner.is_some_and(|(inner, _)| inner.contains(':'))
}

/// Transforms with a type that `transforms` does not name.
fn idle(config: &mut Config, lines: &mut Vec<Line>) -> Vec<Transform> {
    let alias = |key: &String| {
        let alias = key.strip_prefix("transforms.")?.strip_suffix(".type")?;
        Some(alias.to_owned())
    };
    let aliases: Vec<String> = config.0.keys().filter_map(alias).collect();
    let take = |alias: String| {
        let idle = Transform::take(config, &alias);
        let what = "`transforms` does not name it: Kafka Connect never applies it";
        line(lines, &format!("transforms.{}", shown(&alias)), Fate::NotKept, what);
        idle
    };
    aliases.into_iter().map(take).collect()
}

/// A condition of the chain.
struct Predicate {
    kind: String,
    /// Of topics' names; whole names match, as in Java.
    pattern: String,
}

impl Predicate {
    fn when(&self, negate: bool, draft: &Draft) -> When {
        match self.kind.as_str() {
            "RecordIsTombstone" if negate => When::Rows,
            "RecordIsTombstone" => When::Tombstones,
            "TopicNameMatches" => {
                // As the transforms before it have named them.
                let topics = draft.topic.as_ref().map_or(&draft.topics[..], std::slice::from_ref);
                let pattern = Regex::new(&format!("^(?:{})$", self.pattern));
                let matching = pattern.map(|of| topics.iter().filter(|t| of.is_match(t)).count());
                match matching {
                    // Which topics there are, a pattern says, or nothing.
                    _ if !draft.knows_topics => When::Some(self.kind.clone()),
                    Ok(count) if count == if negate { 0 } else { topics.len() } => When::Always,
                    Ok(count) if count == if negate { topics.len() } else { 0 } => When::Never,
                    _ => When::Some(self.kind.clone()),
                }
            }
            kind => When::Some(kind.to_owned()),
        }
    }
}

/// What the pipeline does in place of one transform.
fn become_of(of: &Transform, draft: &mut Draft) -> (Fate, String) {
    use Fate::{Instead, Kept, Needless, NotKept};
    let tombstones = "which rows are deletes is always told apart: a delete is a tombstone";
    match (of.kind.as_str(), &of.when) {
        ("Filter", When::Never) => {
            return (Needless, "no topic meets its condition: it drops nothing".to_owned());
        }
        ("Filter", When::Tombstones) => {
            let what = "tombstones cross: without them what is deleted inside stays outside";
            return (NotKept, what.to_owned());
        }
        ("Filter", _) => {
            let what = "which rows cross is decided by WHERE of a `sql` stage, and by their class";
            return (NotKept, what.to_owned());
        }
        ("MaskField", When::Tombstones | When::Never) => {
            let (_, what) = mask(of, draft);
            return (Instead, format!("it masks no row there; here {what}"));
        }
        (_, When::Tombstones | When::Never) => {
            return (Needless, "no row meets its condition".to_owned());
        }
        (_, When::Always | When::Rows) => {}
        (kind, When::Some(other)) => {
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
        "Flatten" => match of.keys.get("delimiter").map(String::as_str) {
            Some("_") => (Kept, "columns are named by the whole path, with `_`".to_owned()),
            _ => {
                let what =
                    "columns are named by the whole path, with `_` where it had another sign";
                (Instead, what.to_owned())
            }
        },
        "SetSchemaMetadata" => (
            Needless,
            "the target's schema is made of what crosses, and of nothing else".to_owned(),
        ),
        "" => (NotKept, "a transform without a type".to_owned()),
        _ => (NotKept, "not known to this import".to_owned()),
    }
}

/// What a transform was told beyond what became of it: a key, and the values that a pipeline follows; none: all of them.
fn understood(kind: &str) -> &'static [(&'static str, &'static [&'static str])] {
    match kind {
        "MaskField" => &[("fields", &[]), ("replacement", &[])],
        "ReplaceField" => &[
            ("exclude", &[]),
            ("blacklist", &[]),
            ("include", &[]),
            ("whitelist", &[]),
            ("renames", &[]),
        ],
        // A delete is a tombstone in the end, and nothing else is.
        "ExtractNewRecordState" => &[
            ("delete.tombstone.handling.mode", &["tombstone", "delete-to-tombstone"]),
            ("delete.handling.mode", &["drop"]),
            ("drop.tombstones", &["false"]),
        ],
        "ExtractField" => &[("field", &[])],
        "ValueToKey" => &[("fields", &[])],
        "TimestampConverter" => {
            &[("field", &[]), ("target.type", &[]), ("format", &[]), ("unix.precision", &[])]
        }
        "RegexRouter" => &[("regex", &[]), ("replacement", &[])],
        "DropHeaders" => &[("headers", &[])],
        "HeaderFrom" => &[("fields", &[]), ("headers", &[]), ("operation", &[])],
        "Flatten" => &[("delimiter", &[])],
        "SetSchemaMetadata" => &[("schema.name", &[]), ("schema.version", &[])],
        _ => &[],
    }
}

/// Options that nothing becomes of, where something becomes of the transform.
fn beyond(of: &Transform, fate: Fate) -> Vec<&String> {
    if fate == Fate::NotKept || matches!(of.when, When::Tombstones | When::Never) {
        return Vec::new();
    }
    let known = understood(&of.kind);
    let follows = |key: &str, value: &String| {
        value.is_empty()
            || ["predicate", "negate"].contains(&key)
            || known.iter().any(|(name, values)| {
                *name == key && (values.is_empty() || values.contains(&value.as_str()))
            })
    };
    of.keys.iter().filter(|(key, value)| !follows(key, value)).map(|(key, _)| key).collect()
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
        Some(constant) if !constant.is_empty() => {
            draft.constants.entry(constant.clone()).or_default().extend(fields);
            (Kept, format!("{names}: a constant; and no other leaf passes"))
        }
        _ => {
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
