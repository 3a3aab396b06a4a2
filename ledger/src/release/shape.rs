//! The parts of a release: leaves, columns and the shape that each column's values must have.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Release, text_i64, text_u64, text_u64_option};
use crate::log::SpanEntry;

/// The most columns, leaves, topics or overrides in one release.
const PARTS_MAX: usize = 10_000;

/// What may cross in all under one release. `None`: not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Records.
    #[serde(with = "text_u64_option")]
    pub records: Option<u64>,
    /// Bytes of keys and values.
    #[serde(with = "text_u64_option")]
    pub bytes: Option<u64>,
    /// Privacy budget as decimal text.
    pub epsilon: Option<String>,
}

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Kafka's `cluster.id`.
    pub cluster_id: String,
    /// The cluster's zone.
    pub zone: String,
    /// Topic names.
    pub topics: Vec<String>,
}

/// Where records may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Kafka's `cluster.id`.
    pub cluster_id: String,
    /// The cluster's zone.
    pub zone: String,
    /// Topic name.
    pub topic: String,
    /// `json` or `avro`.
    pub format: String,
    /// `token`: murmur2 of the key's bytes.
    pub partition_by: String,
    /// Record timestamps are floored to this, in milliseconds.
    #[serde(with = "text_u64")]
    pub timestamp_ms_granularity: u64,
}

/// One leaf of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasedLeaf {
    /// `key` or `row`.
    pub part: String,
    /// Dotted path.
    pub path: String,
    /// The leaf type's text.
    pub leaf_type: String,
    /// The class's name.
    pub class: String,
    /// Where it may be written.
    pub residency: Option<String>,
    /// Names the subject.
    pub subject: bool,
}

/// One column of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name outside.
    pub name: String,
    /// The path of the leaf that it comes from; empty where it is derived: its shape names them.
    pub from: String,
    /// The leaf type's text.
    pub column_type: String,
    /// Whether null may cross.
    pub nullable: bool,
    /// The strictest class of its direct leaves.
    pub class: String,
    /// What the gate holds its values to.
    pub shape: Shape,
    /// What stands in the place of a value that its stage cannot take. Not written where such a
    /// record does not cross, so that a release from before there was a choice means what it meant.
    #[serde(default, skip_serializing_if = "OnBad::is_refuse")]
    pub on_bad: OnBad,
}

/// What stands in the place of a value that a stage cannot take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OnBad {
    /// Nothing: its record is set aside.
    #[default]
    Refuse,
    /// Null.
    Null,
    /// This text.
    Constant {
        /// The text.
        text: String,
    },
}

impl OnBad {
    fn is_refuse(&self) -> bool {
        *self == Self::Refuse
    }
}

/// What a column's values look like after protection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// A keyed token.
    Token {
        /// `base32`, `base62`, `base64url`, `uuid` or `decimal`.
        form: String,
        /// The token domain.
        domain: String,
        /// Of tokens that the domain's key opens: the least bucket, in bytes, that values were
        /// padded to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pad_to: Option<u32>,
        /// Of tokens under keys of single subjects: the column of the input that says whose each
        /// is, such as `after.customer_id`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_per: Option<String>,
    },
    /// Format-preserving encryption.
    Fpe {
        /// The characters, in order.
        alphabet: String,
        /// Characters kept in the clear at the start.
        keep_first: u32,
        /// Characters kept in the clear at the end.
        keep_last: u32,
        /// Characters that stay where they are.
        separators: String,
        /// The key's domain.
        domain: String,
        /// In the tweak.
        context: String,
        /// Characters really encrypted, at least.
        length_min: u32,
        /// The last character that is not kept follows from the others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        check_digit: Option<CheckDigit>,
    },
    /// All but the kept characters are `fill`.
    Mask {
        /// Characters kept at the start.
        keep_first: u32,
        /// Characters kept at the end.
        keep_last: u32,
        /// What stands for the others.
        fill: char,
    },
    /// One text for all.
    Constant {
        /// The text.
        text: String,
    },
    /// Free text in which nothing of these kinds may remain.
    Redacted {
        /// Detector names.
        detectors: Vec<String>,
        /// Lists of words beside them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dictionaries: Vec<Dictionary>,
        /// Kinds whose finds stand there as a token or a ciphertext, in brackets behind the name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        in_place: Vec<InPlace>,
    },
    /// A year.
    Year,
    /// The first year of ten.
    Decade,
    /// `YYYY-Q1` to `YYYY-Q4`.
    Quarter,
    /// `YYYY-MM`.
    Month,
    /// `YYYY-W01` to `YYYY-W53`, of ISO 8601.
    Week,
    /// A date.
    Day,
    /// An instant on the hour.
    Hour,
    /// One of these labels.
    Bins {
        /// All labels.
        labels: Vec<String>,
    },
    /// Whole years from a day of birth, in bands.
    Age {
        /// Until this day, `YYYY-MM-DD`.
        as_of: String,
        /// All labels.
        labels: Vec<String>,
    },
    /// A number, rounded or with bounds.
    Coded {
        /// Multiples of this; of two equally near the even one. None: as it is.
        round: Option<String>,
        /// Lower ones are this one.
        low: Option<String>,
        /// Higher ones are this one.
        high: Option<String>,
        /// Text, that says `<low` and `>high` for those.
        labels: bool,
    },
    /// The first characters of a text.
    Prefix {
        /// At most this many characters.
        length: u32,
        /// Stands for each of the others. None: they are cut.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fill: Option<char>,
    },
    /// What a list says of the value.
    Region {
        /// Each place and its region.
        regions: BTreeMap<String, String>,
    },
    /// As it is.
    Public,
    /// Computed by the pipeline's SQL of columns that may cross.
    Derived {
        /// Paths of the row's leaves whose values are in it.
        from: Vec<String>,
        /// How, in the spelling that is signed.
        expression: String,
    },
    /// The first instant of the window of time that a statistic is of.
    Window {
        /// Where the first one begins, in milliseconds since the epoch.
        #[serde(with = "text_i64")]
        from_ms: i64,
        /// Length of each; they follow one another.
        #[serde(with = "text_u64")]
        every_ms: u64,
    },
    /// One key of a public list: in each window each of them crosses, once with every combination
    /// of the other lists.
    Group {
        /// All keys, in order.
        keys: Vec<String>,
    },
    /// A key that stands in the rows. A group is in a window if its noised count of units is at least
    /// this, and is mentioned nowhere else.
    Selected {
        /// The threshold.
        at_least: u32,
    },
    /// An integer over many rows, with noise.
    Noised {
        /// What it is, in words.
        statistic: String,
        /// Paths of the row's leaves whose values are in it.
        from: Vec<String>,
        /// So many integers in an array; without it there is one, and no array.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dims: Option<u32>,
    },
}

/// A digit that is not encrypted but computed of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckDigit {
    /// By Luhn's rule, and right.
    LuhnValid,
    /// One more than what Luhn's rule says.
    LuhnInvalid,
}

/// A list of words that are redacted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dictionary {
    /// The name of its kind.
    pub name: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// Its words are found in any case.
    pub ignore_case: bool,
    /// Words of which one must stand before one of it; empty: none has to.
    pub context: Vec<String>,
}

/// What stands in a redacted text in place of finds of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InPlace {
    /// The name of a detector or of a dictionary.
    pub kind: String,
    /// A token or a ciphertext.
    pub shape: Shape,
    /// At most so many of its domain in one text; without it as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
}

/// A named exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Its name in the pipeline.
    pub name: String,
    /// The columns it is for.
    pub columns: Vec<String>,
    /// Detectors that must run.
    pub detectors: Vec<String>,
    /// Kinds that may remain.
    pub residual: Vec<String>,
    /// Least recall on labelled text, as decimal text (`0.9`).
    pub min_recall: String,
    /// SHA-256 of the scorecard that measured it, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorecard: Option<String>,
    /// A domain of columns that finds in these columns' texts share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_domain: Option<String>,
    /// At most so many of its pseudonyms in the text of one record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_record: Option<u32>,
}

/// How changes become records. What stands at its default is not written, so that a release from
/// before there was a choice still means what it meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    /// Records are envelopes; `None`: the row after the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
    /// What becomes of a value that the source does not have.
    #[serde(skip_serializing_if = "Unavailable::is_default")]
    pub unavailable: Unavailable,
    /// What such a value looks like, where the source's connector has a text of its own for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
    /// What becomes of a truncated table.
    #[serde(skip_serializing_if = "Truncate::is_default")]
    pub truncate: Truncate,
    /// What becomes of a leaf of the row that no list names.
    #[serde(skip_serializing_if = "UnknownLeaf::is_default")]
    pub unknown_leaf: UnknownLeaf,
}

impl Changes {
    /// Nothing but defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The record shape's name.
    pub fn shape_name(&self) -> &'static str {
        if self.envelope.is_some() { "envelope" } else { "state" }
    }

    /// A delete crosses as an event of its own.
    pub fn keeps_deletes(&self) -> bool {
        self.envelope.as_ref().is_some_and(|envelope| envelope.deletes == Deletes::Keep)
    }
}

/// The envelope around a row: before, after, operation, table, time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// What `source.db` says; a change of another database holds.
    pub db: String,
    /// What `source.table` says; a change of another table holds.
    pub table: String,
    /// What a deleted row becomes.
    pub deletes: Deletes,
}

/// What a deleted row becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletes {
    /// Debezium's delete and its tombstone become one tombstone.
    #[default]
    Tombstone,
    /// The delete crosses as an event with its image before, and its tombstone after it.
    Keep,
}

/// What becomes of a value that the source does not have: Debezium's placeholder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unavailable {
    /// Its record is set aside.
    #[default]
    Quarantine,
    /// It crosses as null, where the column may be null.
    Nullify,
}

/// What becomes of a truncated table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncate {
    /// The partition waits for a person.
    #[default]
    Hold,
    /// The event is passed over and counted.
    Drop,
}

/// What becomes of a leaf of the row that no list names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownLeaf {
    /// The partition waits for a person.
    #[default]
    Hold,
    /// It stays behind, and the ledger says so.
    Strip,
}

impl Unavailable {
    fn is_default(&self) -> bool {
        *self == Self::Quarantine
    }
}

impl Truncate {
    fn is_default(&self) -> bool {
        *self == Self::Hold
    }
}

impl UnknownLeaf {
    fn is_default(&self) -> bool {
        *self == Self::Hold
    }
}

/// Whether a name of a database or table may cross: short and plain.
pub fn is_source_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=128).contains(&name.len()) && name.bytes().all(plain)
}

/// The policy that allowed the release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Version of the built-in table.
    pub version: u32,
    /// SHA-256 of the policy, in hexadecimal.
    pub digest: String,
}

/// Characters that a reader does not see, or that turn a text around or write lines of their own:
/// what was read would not be what was signed.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Whether every text in it can be read as it is; the proof alone has lines.
fn is_legible(release: &Release) -> bool {
    fn legible(value: &Value) -> bool {
        match value {
            Value::String(text) => !text.contains(is_hidden),
            Value::Array(items) => items.iter().all(legible),
            // Names of fields, and places of a list of regions.
            Value::Object(entries) => {
                entries.iter().all(|(name, value)| !name.contains(is_hidden) && legible(value))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
        }
    }
    let lines = release.explain.split('\n').all(|line| !line.contains(is_hidden));
    let rest = Release { explain: String::new(), ..release.clone() };
    lines && serde_json::to_value(rest).is_ok_and(|value| legible(&value))
}

/// A span of offsets in each partition of a one-shot release, once.
fn check_once(once: &[SpanEntry], release: &Release) -> Result<(), &'static str> {
    let key = |span: &SpanEntry| (span.topic.clone(), span.partition);
    if once.is_empty() || once.len() > PARTS_MAX {
        return Err("a one-shot release names no span, or more than 10000");
    }
    if !once.is_sorted_by(|a, b| key(a) < key(b)) {
        return Err("the spans of a one-shot release are not sorted and distinct");
    }
    let good = |span: &SpanEntry| {
        (0..span.end).contains(&span.start)
            && span.partition >= 0
            && release.source.topics.contains(&span.topic)
    };
    match once.iter().all(good) {
        true => Ok(()),
        false => Err("a span of a one-shot release is empty, or of another topic"),
    }
}

pub(super) fn check(release: &Release) -> Result<(), &'static str> {
    let counts = [
        release.columns.len(),
        release.key.len(),
        release.leaves.len(),
        release.domains.len(),
        release.overrides.len(),
        release.source.topics.len(),
    ];
    if counts.iter().any(|count| *count > PARTS_MAX) {
        return Err("more than 10000 columns, leaves, domains, topics or overrides");
    }
    if release.pipeline.is_empty() || release.purpose.is_empty() {
        return Err("pipeline or purpose is empty");
    }
    if release.source.topics.is_empty() || release.target.topic.is_empty() {
        return Err("source or target names no topic");
    }
    if release.source.cluster_id.is_empty() || release.target.cluster_id.is_empty() {
        return Err("source or target has no cluster id");
    }
    if release.source.cluster_id == release.target.cluster_id {
        return Err("source and target are one cluster");
    }
    if release.target.timestamp_ms_granularity == 0 {
        return Err("timestamp granularity is 0");
    }
    if let Some(Envelope { db, table, .. }) = &release.changes.envelope
        && !(is_source_name(db) && is_source_name(table))
    {
        return Err("the envelope's database or table is out of form");
    }
    if release.columns.is_empty() {
        return Err("no column crosses");
    }
    let decimal = |text: &String| {
        let digits =
            |part: &str| (1..=9).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        text.split_once('.')
            .map_or_else(|| digits(text), |(whole, part)| digits(whole) && digits(part))
    };
    if !release.limits.epsilon.iter().all(decimal) {
        return Err("the limit of epsilon is no decimal number");
    }
    release.once.as_deref().map_or(Ok(()), |once| check_once(once, release))?;
    for columns in [&release.columns, &release.key] {
        let names: BTreeSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        if names.len() != columns.len() || names.contains("") {
            return Err("a column's name is empty or repeated");
        }
    }
    let leaves: BTreeSet<_> = release.leaves.iter().map(|l| (&l.part, &l.path)).collect();
    if leaves.len() != release.leaves.len() {
        return Err("a leaf is repeated");
    }
    if release.leaves.iter().any(|leaf| leaf.part != "key" && leaf.part != "row") {
        return Err("a leaf's part is neither key nor row");
    }
    if !is_legible(release) {
        return Err("a text holds a character that cannot be seen, or a line of its own");
    }
    Ok(())
}
