//! `pipelines/NAME.yaml`: what is reviewed, approved and fingerprinted.
//!
//! The `…File` structs are the YAML; the JSON schema that editors complete from is made of them.
//! [`Pipeline`] is what the rest of the crate works with.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use douane_connectors::file::FileFormat;
use douane_ledger::release::{Changes, Deletes, Truncate, Unavailable, UnknownLeaf};
use douane_schemas::leaf::LeafType;
use douane_schemas::record::Format;
use douane_transforms::{Domains, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::aggregate::{Aggregate, AggregateFile};
use super::case::{Case, CaseFile};
use super::enrich::{Enrich, EnrichFile};
use super::finding::Mark;
use super::schema::About;
use super::tables::Table;
use crate::policy::Ground;
use crate::scorecard::evidence::Measured;

/// A pipeline as it was loaded: every rule of this file and of `lint` holds.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The file, as it was given.
    pub file: PathBuf,
    /// The files beside it that were read with it.
    pub beside: Vec<PathBuf>,
    /// `[a-z][a-z0-9_-]*`, at most 48 characters; for a table of many, a dot and its name follow.
    pub name: String,
    /// Which table of the file this is, where it has `tables`.
    pub table: Option<Table>,
    /// Where `classes` stand: the file, or its catalogue.
    pub classes_file: PathBuf,
    /// What the data is for: token domains may be bound to it.
    pub purpose: String,
    /// The token domains; empty where the file names no file of them.
    pub domains: Domains,
    pub source: Source,
    /// In the order of the file.
    pub classes: Vec<ClassRule>,
    /// Types of leaves that the source's schema does not name.
    pub types: BTreeMap<String, LeafType>,
    /// In the order of the file, with the place of each verb.
    pub stages: Vec<(Stage, Mark)>,
    /// The stage that makes statistics of rows; then there is no other.
    pub aggregate: Option<Aggregate>,
    /// The stage that puts published statistics beside each row.
    pub enrich: Option<Enrich>,
    /// The place of each character of the `sql` stage's text; empty where it is not known.
    pub sql_marks: Vec<Mark>,
    pub sink: Sink,
    /// How changes become records.
    pub changes: Changes,
    /// Transactions become visible at multiples of so many milliseconds; None: as they come.
    pub publish_ms: Option<u64>,
    /// Rows whose quasi-identifiers too few units share stay behind; None: nobody counts.
    pub min_group: Option<MinGroup>,
    /// More refused records a minute hold their partitions; None: no limit.
    pub quarantine_max_per_minute: Option<u32>,
    pub overrides: Vec<Override>,
    /// Leaves that `--sample` looks at together; none: all quasi-identifiers. No part of the
    /// fingerprint.
    pub quasi_sets: Vec<Vec<String>>,
    /// What policies know of the place.
    pub ground: Ground,
    /// The release's file, beside `douane.yaml`.
    pub release: PathBuf,
    /// No part of the fingerprint.
    pub tests: Vec<Case>,
}

/// What `min_group` says; the plan joins it with what crosses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinGroup {
    /// Of how many units at least a window must hold rows with the same quasi-identifiers.
    pub k: u32,
    /// Columns outside that are looked at together; None: all that are made of a quasi-identifier.
    pub columns: Option<Vec<String>>,
    /// Where it stands.
    pub mark: Mark,
}

impl Pipeline {
    /// All its partitions are one shard's, whatever the place says: what it counts, it counts over
    /// all of them.
    pub fn is_one_shard(&self) -> bool {
        self.aggregate.is_some() || self.min_group.is_some()
    }

    /// What is outside the fingerprint is the same too.
    pub fn same_settings(&self, other: &Self) -> bool {
        self.quarantine_max_per_minute == other.quarantine_max_per_minute
            && self.sink.subject == other.sink.subject
    }
}

/// Where records come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Always `sovereign`.
    pub cluster: String,
    /// Of files their paths, relative to the folder of `douane.yaml`.
    pub topics: Vec<String>,
    /// How rows lie in files; None: the source is Kafka.
    pub file: Option<FileFormat>,
    /// What the decoder takes; files are rendered as `debezium_json`.
    pub format: Format,
    pub start: Start,
    /// Leaves of the record key, in order, for JSON without schemas; None: as the first record
    /// has them.
    pub key: Option<Vec<String>>,
}

/// Where a partition without a position begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    /// The first record at or after this many milliseconds since the epoch.
    Timestamp(i64),
}

/// What a leaf is, by the words of the policy.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Names one subject.
    Identifier,
    /// Names a subject together with others: birth date, street.
    Quasi,
    /// Says something about a subject that is nobody's business: income, balance.
    Sensitive,
    /// Health, belief and the like.
    Special,
    /// Text that a person wrote: anything may stand in it.
    FreeText,
    /// Needs no protection.
    Public,
    /// Of the system, not of a subject: stays behind unless listed.
    Technical,
    /// Never crosses, in no form.
    Secret,
}

impl Class {
    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identifier => "identifier",
            Self::Quasi => "quasi",
            Self::Sensitive => "sensitive",
            Self::Special => "special",
            Self::FreeText => "free_text",
            Self::Public => "public",
            Self::Technical => "technical",
            Self::Secret => "secret",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The class of one leaf, in key and row alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassRule {
    /// `id`, `address.street`.
    pub path: String,
    pub class: Class,
    /// This leaf says whom the row is about; at most one rule says so.
    pub subject: bool,
    /// Where values may lie, such as `eu`.
    pub residency: Option<String>,
    /// Where the rule stands.
    pub line: Mark,
}

/// Where records go.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Always `global`.
    pub cluster: String,
    /// Without the cluster's prefix. Of files their folder, relative to that of `douane.yaml`.
    pub topic: String,
    /// How records lie in files; None: the sink is Kafka.
    pub file: Option<FileFormat>,
    /// What the gate makes of a value.
    pub format: SinkFormat,
    /// Timestamps of records are cut to a multiple of this many milliseconds.
    pub timestamp_ms: u64,
    /// The registry's subject; `{topic}` stands for the topic's full name.
    pub subject: String,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkFormat {
    /// One JSON object a record.
    Json,
    /// Avro in Confluent's wire format.
    Avro,
}

impl SinkFormat {
    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Avro => "avro",
        }
    }
}

impl Source {
    /// The format, as written in YAML.
    pub fn format_name(&self) -> &'static str {
        self.file.map_or_else(|| format_name(self.format), FileFormat::name)
    }

    /// A schema of the source's says what its leaves are.
    pub fn has_schema(&self) -> bool {
        match self.file {
            Some(format) => format.is_flat(),
            None => self.format != Format::DebeziumJson,
        }
    }
}

impl Sink {
    /// The format, as written in YAML.
    pub fn format_name(&self) -> &'static str {
        self.file.map_or_else(|| self.format.name(), FileFormat::name)
    }
}

/// The name of a source format, as written in YAML.
pub fn format_name(format: Format) -> &'static str {
    match format {
        Format::DebeziumJson => "debezium_json",
        Format::DebeziumJsonSchema => "debezium_json_schema",
        Format::DebeziumAvro => "debezium_avro",
    }
}

/// Something the policy allows only by name, shown in `explain` and signed in the release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The name that approvers read.
    pub name: String,
    /// Leaves it is about.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// For free text: the detectors that must have run.
    #[serde(default)]
    pub detectors: Vec<String>,
    /// For free text: kinds of things that will remain, such as `names`, `addresses`, `health`.
    #[serde(default)]
    pub residual: Vec<String>,
    /// For free text: the least share of things found, 0 to 1, of each detector on labelled text
    /// that the product did not generate.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub min_recall: Option<f64>,
    /// For free text: what `douane scorecard --detectors … --format json` printed of these
    /// detectors, a file beside this one.
    #[serde(default)]
    pub scorecard: Option<String>,
    /// A token domain of columns that finds in the text of this one column may share: whoever
    /// writes the text and reads the target can ask for the token of any value, so often a record.
    #[serde(default)]
    pub share_domain: Option<String>,
    /// With `share_domain`: the most finds of one record that become a pseudonym; those beyond are
    /// marked.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub max_per_record: Option<u32>,
    /// What that file says, where it is evidence for this override.
    #[serde(skip)]
    #[schemars(skip)]
    pub measured: Option<Measured>,
}

/// A pipeline file of douane: what is read, what every leaf is, what happens to it, where it goes.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Pipeline")]
#[serde(deny_unknown_fields)]
pub(super) struct PipelineFile {
    /// The pipeline's name: a-z, 0-9, `_` and `-`.
    pub name: String,
    /// What the data is for, such as `model-training`.
    pub purpose: String,
    /// The token domains, a file beside this one.
    #[serde(default)]
    pub domains: Option<String>,
    /// Where records come from.
    pub source: SourceFile,
    /// What every leaf is. A bare name means key, before and after alike; nested leaves are
    /// written out: `address.street`.
    #[schemars(extend("minProperties" = 1))]
    pub classes: BTreeMap<String, ClassFile>,
    /// Types of leaves where the source's schema names no semantic type.
    #[serde(default)]
    #[schemars(schema_with = "types_schema")]
    pub types: BTreeMap<String, String>,
    /// Lists of words that `redact` finds beside what its detectors do, by the name of their kind.
    #[serde(default)]
    pub dictionaries: BTreeMap<String, DictionaryFile>,
    /// What happens, in order. One verb an entry, one protection a leaf.
    #[serde(default)]
    pub stages: Vec<StageFile>,
    /// Where records go.
    pub sink: SinkFile,
    /// When records become visible: on the multiples of a period in UTC, `every 1s`. `every 100ms`
    /// to `every 1h`; without it as they come.
    #[serde(default)]
    pub publish: Option<String>,
    /// Rows whose quasi-identifiers too few subjects share between two ticks of `publish` stay behind.
    #[serde(default)]
    pub min_group: Option<MinGroupFile>,
    /// What happens when records are refused.
    #[serde(default)]
    pub quarantine: Option<QuarantineFile>,
    /// What becomes of a leaf of the row that has no class: `hold`, or `strip`, which leaves added
    /// ones behind and says so in the ledger.
    #[serde(default)]
    pub unknown_leaf: UnknownLeafFile,
    /// What the policy allows only by name.
    #[serde(default)]
    pub overrides: Vec<Override>,
    /// Sets of leaves that name somebody together, such as `[birth_date, city, country]`: what
    /// `--sample` shows of them. Without it, all leaves of class `quasi`.
    #[serde(default)]
    pub quasi_sets: Vec<QuasiSet>,
    /// The release's file, beside `douane.yaml`.
    pub release: String,
    /// What goes in, and what must and must not come out: `douane test` runs them.
    #[serde(default)]
    pub tests: Vec<CaseFile>,
}

/// A list of words: names of staff, projects, streets.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Dictionary")]
#[serde(deny_unknown_fields)]
pub(super) struct DictionaryFile {
    /// A file beside this one, one entry a line; a line that starts with `#` is a remark.
    pub file: String,
    /// Entries are found in any case; else as they are written, or all in capitals.
    #[serde(default)]
    pub ignore_case: bool,
    /// Words of which one must stand shortly before an entry.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub context: Vec<String>,
}

/// A stage: of rows, or the one that makes statistics of them.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum StageFile {
    Aggregate(AggregateStage),
    Enrich(EnrichStage),
    Row(Stage),
}

/// One list of verbs: editors do not look for them in a list within a list.
impl JsonSchema for StageFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Stage".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut verbs = Stage::json_schema(generator);
        let others = [
            AggregateStage::json_schema(generator).to_value(),
            EnrichStage::json_schema(generator).to_value(),
        ];
        let list = verbs.ensure_object().get_mut("oneOf").and_then(|list| list.as_array_mut());
        list.into_iter().for_each(|list| list.extend(others.iter().cloned()));
        verbs
    }
}

/// Statistics with differential privacy in place of the rows; the only stage where it stands.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AggregateStage {
    pub aggregate: Box<AggregateFile>,
}

/// Published statistics beside each row; once.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrichStage {
    pub enrich: Box<EnrichFile>,
}

/// Leaves that name somebody together.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct QuasiSet(
    /// Paths as in `classes`.
    #[schemars(length(min = 1, max = 64), extend("uniqueItems" = true))]
    pub Vec<String>,
);

/// Where records come from.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Source")]
#[serde(deny_unknown_fields)]
pub(super) struct SourceFile {
    /// Topics of the sovereign Kafka cluster.
    #[serde(default)]
    #[schemars(with = "KafkaSourceFile")]
    pub kafka: Option<KafkaSourceFile>,
    /// Files of the sovereign folder.
    #[serde(default)]
    #[schemars(with = "FileSourceFile")]
    pub file: Option<FileSourceFile>,
}

/// Files of the sovereign folder. Each is read to its end, in order.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "FileSource")]
#[serde(deny_unknown_fields)]
pub(super) struct FileSourceFile {
    /// The folder of douane.yaml that is read.
    pub cluster: SourceCluster,
    /// Files, relative to the folder of douane.yaml.
    #[schemars(length(min = 1, max = 1000), extend("uniqueItems" = true))]
    pub paths: Vec<String>,
    /// How rows lie in them.
    pub format: FileFormat,
    /// Leaves of the record key, in order. In `json_lines` the first record says them; rows of the
    /// other formats have no key without it.
    #[serde(default)]
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub key: Option<Vec<String>>,
}

/// Topics of the sovereign Kafka cluster.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "KafkaSource")]
#[serde(deny_unknown_fields)]
pub(super) struct KafkaSourceFile {
    /// The cluster of douane.yaml that is read.
    pub cluster: SourceCluster,
    /// Topics by their whole names.
    #[schemars(length(min = 1, max = 1000), extend("uniqueItems" = true))]
    pub topics: Vec<String>,
    /// How records are written.
    pub format: FormatFile,
    /// Where a partition without a position begins: `earliest`, `latest`, or a time such as
    /// `2026-01-31T00:00:00Z`.
    pub start: String,
    /// Leaves of the record key, in order; only for `debezium_json`, which does not say.
    #[serde(default)]
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub key: Option<Vec<String>>,
    /// The connector's `unavailable.value.placeholder`, where it is not Debezium's default: what stands
    /// for a value that the source did not send.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub unavailable_value_placeholder: Option<String>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SourceCluster {
    /// Where raw data lives.
    Sovereign,
}

impl SourceCluster {
    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sovereign => "sovereign",
        }
    }
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[schemars(rename = "SourceFormat")]
#[expect(clippy::enum_variant_names, reason = "the words of the YAML")]
#[serde(rename_all = "snake_case")]
pub(super) enum FormatFile {
    /// Avro in Confluent's wire format.
    DebeziumAvro,
    /// JsonConverter with `schemas.enable=true`.
    DebeziumJsonSchema,
    /// JsonConverter with `schemas.enable=false`.
    DebeziumJson,
}

impl From<FormatFile> for Format {
    fn from(format: FormatFile) -> Self {
        match format {
            FormatFile::DebeziumJson => Self::DebeziumJson,
            FormatFile::DebeziumJsonSchema => Self::DebeziumJsonSchema,
            FormatFile::DebeziumAvro => Self::DebeziumAvro,
        }
    }
}

/// The class of a leaf: a word, or a map that says more.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ClassRule")]
#[serde(untagged)]
pub(super) enum ClassFile {
    Word(Class),
    Rule(RuleFile),
}

/// A class and more about the leaf.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Rule")]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    /// What the leaf is.
    pub class: Class,
    /// This leaf says whom the row is about.
    #[serde(default)]
    pub subject: bool,
    /// Where values may lie, such as `eu`.
    #[serde(default)]
    pub residency: Option<String>,
}

/// Where records go.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Sink")]
#[serde(deny_unknown_fields)]
pub(super) struct SinkFile {
    /// A topic of the global Kafka cluster.
    #[serde(default)]
    #[schemars(with = "KafkaSinkFile")]
    pub kafka: Option<KafkaSinkFile>,
    /// A folder in the global folder.
    #[serde(default)]
    #[schemars(with = "FileSinkFile")]
    pub file: Option<FileSinkFile>,
    /// What a deleted row becomes: one tombstone, or, in the envelope, the delete and its tombstone.
    #[serde(default)]
    pub deletes: DeletesFile,
    /// What happens to a value that the source does not have: an unchanged-TOAST placeholder.
    #[serde(default)]
    pub unavailable: UnavailableFile,
    /// What happens when the source's table is truncated.
    #[serde(default)]
    pub truncate: TruncateFile,
}

impl SinkFile {
    /// Whether records hold the row before the change too.
    pub fn is_envelope(&self) -> bool {
        self.kafka.as_ref().is_some_and(|kafka| matches!(kafka.shape, Shape::Envelope))
    }
}

/// A folder in the global folder; each transaction is a part of it that appears whole.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "FileSink")]
#[serde(deny_unknown_fields)]
pub(super) struct FileSinkFile {
    /// The folder of douane.yaml that is written.
    pub cluster: SinkCluster,
    /// The pipeline's own folder, relative to that of douane.yaml.
    pub dir: String,
    /// How records lie in it.
    pub format: FileFormat,
    /// What timestamps of records are cut to: `1s`, `5m`, `1h`, `1d`.
    pub timestamp: String,
}

/// A topic of the global Kafka cluster.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "KafkaSink")]
#[serde(deny_unknown_fields)]
pub(super) struct KafkaSinkFile {
    /// The cluster of douane.yaml that is written.
    pub cluster: SinkCluster,
    /// The topic, without the cluster's prefix.
    pub topic: String,
    /// How records are written.
    pub format: SinkFormat,
    /// What a record holds.
    #[serde(default)]
    pub shape: Shape,
    /// For the envelope: what its `source` says. Changes of another table hold.
    #[serde(default)]
    pub source: Option<SourceNameFile>,
    /// What decides the partition.
    #[serde(default)]
    #[expect(dead_code, reason = "one word is allowed, the schema holds it")]
    pub partition_by: PartitionBy,
    /// What timestamps of records are cut to: `1s`, `5m`, `1h`, `1d`.
    pub timestamp: String,
    /// The registry's subject; `{topic}` stands for the topic's full name.
    #[serde(default = "default_subject")]
    pub subject: String,
}

fn default_subject() -> String {
    "{topic}-value".to_owned()
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SinkCluster {
    /// Where training lives.
    Global,
}

impl SinkCluster {
    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    /// The row after the change.
    #[default]
    State,
    /// Debezium's envelope: before, after, operation, table, time.
    Envelope,
}

/// The table whose changes an envelope carries.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "SourceName")]
#[serde(deny_unknown_fields)]
pub(super) struct SourceNameFile {
    /// Debezium's `source.db`.
    pub db: String,
    /// Debezium's `source.table`.
    pub table: String,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PartitionBy {
    /// The record's key after protection.
    #[default]
    Token,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[schemars(rename = "Deletes")]
#[serde(rename_all = "snake_case")]
pub(super) enum DeletesFile {
    /// A record without a value, under the row's key.
    #[default]
    Tombstone,
    /// The delete as an event with its image before, and its tombstone after it.
    Keep,
}

impl From<DeletesFile> for Deletes {
    fn from(word: DeletesFile) -> Self {
        match word {
            DeletesFile::Tombstone => Self::Tombstone,
            DeletesFile::Keep => Self::Keep,
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[schemars(rename = "Unavailable")]
#[serde(rename_all = "snake_case")]
pub(super) enum UnavailableFile {
    /// The row is set aside, sealed.
    #[default]
    Quarantine,
    /// The value crosses as null.
    Nullify,
}

impl From<UnavailableFile> for Unavailable {
    fn from(word: UnavailableFile) -> Self {
        match word {
            UnavailableFile::Quarantine => Self::Quarantine,
            UnavailableFile::Nullify => Self::Nullify,
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[schemars(rename = "Truncate")]
#[serde(rename_all = "snake_case")]
pub(super) enum TruncateFile {
    /// The partition waits for a person.
    #[default]
    Hold,
    /// The event is passed over and counted in the ledger; rows outside stay.
    Drop,
}

impl From<TruncateFile> for Truncate {
    fn from(word: TruncateFile) -> Self {
        match word {
            TruncateFile::Hold => Self::Hold,
            TruncateFile::Drop => Self::Drop,
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[schemars(rename = "UnknownLeaf")]
#[serde(rename_all = "snake_case")]
pub(super) enum UnknownLeafFile {
    /// The partition waits for a person.
    #[default]
    Hold,
    /// An added leaf of the row stays behind.
    Strip,
}

impl From<UnknownLeafFile> for UnknownLeaf {
    fn from(word: UnknownLeafFile) -> Self {
        match word {
            UnknownLeafFile::Hold => Self::Hold,
            UnknownLeafFile::Strip => Self::Strip,
        }
    }
}

/// How many subjects must share what a row shows of quasi-identifiers.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "MinGroup")]
#[serde(deny_unknown_fields)]
pub(super) struct MinGroupFile {
    /// Of how many distinct subjects at least a window must hold rows that are the same in all of
    /// `columns`.
    #[schemars(range(min = 2, max = 1000))]
    pub k: u32,
    /// Columns outside that are looked at together; without it all that are made of a leaf of class
    /// `quasi`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64), extend("uniqueItems" = true))]
    pub columns: Option<Vec<String>>,
}

/// What happens when records are refused.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Quarantine")]
#[serde(deny_unknown_fields)]
pub(super) struct QuarantineFile {
    /// More refused records a minute hold their partitions.
    #[schemars(range(min = 1))]
    pub max_per_minute: u32,
}

fn types_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names: Vec<&str> = LeafType::names().collect();
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": {
            "anyOf": [
                { "enum": names },
                { "type": "string", "pattern": r"^decimal\([0-9]{1,2}, ?-?[0-9]{1,2}\)$" }
            ]
        }
    })
}

/// Planned, not built: refused by name.
pub(super) const LATER: &[About] = &[
    ("stages.*.dp", "write `aggregate`: noise is for sums over many rows, not for one"),
    ("stages.*.pack", "remove the stage"),
    ("source.postgres", "let Debezium write to Kafka, and read from `kafka`"),
    ("sink.object_store", "write to `kafka`"),
    ("source.kafka.format=json", "write `debezium_json`, and let Debezium write the topic"),
    ("source.kafka.format=avro", "write `debezium_avro`, and let Debezium write the topic"),
];

const KEYED: &str = "use `tokenize`: without a key, whoever reads the target can hash all \
    possible values and compare";

/// What people write and what they should write instead.
pub(super) const ADVICE: &[About] = &[
    ("stages.*.hash", KEYED),
    ("stages.*.sha256", KEYED),
    ("stages.*.sha1", KEYED),
    ("stages.*.md5", KEYED),
    ("stages.*.encrypt", "use `fpe`, or `tokenize`"),
    ("stages.*.pseudonymize", "use `tokenize`"),
    ("stages.*.remove", "use `drop`"),
    (
        "stages.*.aggregate.min_group",
        "remove it: noise hides each person, however few they are; `min_group` of rows stands beside \
         `publish`",
    ),
    ("stages.*.min_group", "write it beside `publish`, at the head of the file"),
    ("stages.*.aggregate.device", "write `device` in douane.yaml: the bytes are the same on any"),
    ("stages.*.exclude", "use `drop`"),
    ("stages.*.bucket", "use `generalize` with `bins`"),
    ("classes.*=metadata", "remove the rule: the envelope's leaves have this class by themselves"),
    ("classes.*.class=metadata", "remove the rule: the envelope's leaves have it by themselves"),
    ("classes.*=pii", "write `identifier` for what names one person, else `quasi`"),
    ("source.file.cluster=global", "write `sovereign`: raw data is read where it lives"),
    ("sink.file.cluster=sovereign", "write `global`: what was approved is for the global zone"),
    ("source.kafka.cluster=global", "write `sovereign`: raw data is read where it lives"),
    ("sink.kafka.cluster=sovereign", "write `global`: what was approved is for the global zone"),
    ("source.topics", "move it into `kafka: { … }`"),
    ("sink.topic", "move it into `kafka: { … }`"),
    (
        "sink.deletes=drop",
        "write `tombstone`: a delete is never skipped, its row would stay outside for ever",
    ),
    ("classes.*.columns", "write one line a leaf: `name: class`"),
];
