//! The fingerprint: one digest of everything about a pipeline that an approval is for.
//!
//! Not in it: author, limits, expiry, trust root (they stand in the release), YAML layout, tests,
//! tasks, software version, key versions, schema ids. An upgrade or a rotation must not void an
//! approval.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{self, CanonicalFault, text_u64, text_u64_option};
use crate::release::{Changes, Column, Override, ReleasedLeaf};

/// Version of the format.
pub const FORMAT: u32 = 1;

/// Why a pipeline has no fingerprint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FingerprintFault {
    /// A number that RFC 8785 would round; next: write it as text.
    #[error("stage {stage} holds an integer beyond 2^53: write it as text")]
    LargeInteger { stage: usize },
    /// Cannot be written as JSON.
    #[error("fingerprint: {0}")]
    Canonical(#[from] CanonicalFault),
}

/// What is digested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprinted {
    /// Version of this format: [`FORMAT`].
    pub v: u32,
    /// The pipeline's name.
    pub pipeline: String,
    /// What the data may be used for.
    pub purpose: String,
    /// Cluster, zone, topics, format of the source.
    pub source: Endpoint,
    /// Cluster, zone, topics, format of the target.
    pub target: Endpoint,
    /// `token`.
    pub partition_by: String,
    /// Record timestamps are floored to this, in milliseconds.
    #[serde(with = "text_u64")]
    pub timestamp_ms_granularity: u64,
    /// Transactions become visible at multiples of so many milliseconds; absent: as they come.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text_u64_option")]
    pub publish_ms: Option<u64>,
    /// How many units must share what a row shows of quasi-identifiers; absent: nobody counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_group: Option<MinGroup>,
    /// `state` or `envelope`.
    pub record_shape: String,
    /// How changes become records, where anything of it is not the default.
    #[serde(default, skip_serializing_if = "Changes::is_default")]
    pub changes: Changes,
    /// Path, type and class of every leaf.
    pub leaves: Vec<ReleasedLeaf>,
    /// The stages in order.
    pub stages: Vec<FingerprintedStage>,
    /// Columns of the record key.
    pub key: Vec<Column>,
    /// Columns of the record value.
    pub columns: Vec<Column>,
    /// The token domains in use, without key versions.
    pub domains: Vec<FingerprintedDomain>,
    /// Name and digest of each detector or dictionary.
    pub detectors: Vec<Named>,
    /// Parameters and account of differential privacy; null where there is none.
    pub dp: Option<Value>,
    /// Named overrides.
    pub overrides: Vec<Override>,
    /// SHA-256 of the policy in force, hexadecimal.
    pub policy_digest: String,
    /// Version of the list of documented envelope leaves.
    pub envelope_list: u32,
}

/// Rows whose group is too small stay behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinGroup {
    /// Distinct units that a window must hold of a group.
    pub k: u32,
    /// The columns outside that make a group.
    pub columns: Vec<String>,
    /// The leaf that names the unit, `key.id` or `after.id`.
    pub unit: String,
}

/// One end of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Kafka's `cluster.id`.
    pub cluster_id: String,
    /// The cluster's zone.
    pub zone: String,
    /// Topic names in the pipeline's order.
    pub topics: Vec<String>,
    /// The record format's name.
    pub format: String,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FingerprintedStage {
    /// As in YAML.
    pub verb: String,
    /// Changes when the verb's output changes.
    pub semantics: u32,
    /// The stage's settings. Integers beyond 2^53 as text.
    pub config: Value,
    /// SQL in canonical form, where the stage has any.
    pub sql: Option<String>,
}

/// One token domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FingerprintedDomain {
    /// Its name.
    pub name: String,
    /// `hmac-sha-256`, `aes-256-cmac`, `aes-256-siv`, `ff1-aes-256`.
    pub algorithm: String,
    /// The normaliser's name.
    pub normalize: String,
    /// The printable form's name.
    pub form: String,
    /// The format's version (not the key's).
    pub version: u32,
    /// Bytes that values of a reversible token are padded to at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_to: Option<u32>,
    /// The column of the input whose every value has a key of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_per: Option<String>,
    /// What it may be used for.
    pub purposes: Vec<String>,
}

/// A named digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// SHA-256, hexadecimal.
    pub digest: String,
}

impl Fingerprinted {
    /// SHA-256 of the canonical bytes.
    ///
    /// # Errors
    /// [`FingerprintFault`].
    pub fn digest(&self) -> Result<[u8; 32], FingerprintFault> {
        for (stage, config) in self.stages.iter().map(|s| &s.config).chain(&self.dp).enumerate() {
            if !exact(config) {
                return Err(FingerprintFault::LargeInteger { stage });
            }
        }
        Ok(canonical::sha256(&canonical::to_vec(self)?))
    }

    /// The digest in hexadecimal: 64 characters.
    ///
    /// # Errors
    /// [`FingerprintFault`].
    pub fn hex(&self) -> Result<String, FingerprintFault> {
        self.digest().map(|digest| canonical::hex(&digest))
    }
}

/// Whether RFC 8785 writes every integer in it with all its digits.
fn exact(value: &Value) -> bool {
    const MAX: u64 = 1 << 53;
    match value {
        Value::Number(n) => {
            n.is_f64() || n.as_u64().or(n.as_i64().map(i64::unsigned_abs)).is_some_and(|n| n <= MAX)
        }
        Value::Array(items) => items.iter().all(exact),
        Value::Object(fields) => fields.values().all(exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::release::{
        Deletes, OnBad, RecordEnvelope, Shape, Truncate, Unavailable, UnknownLeaf,
    };
    use serde_json::json;

    fn envelope(db: &str, table: &str, deletes: Deletes) -> RecordEnvelope {
        RecordEnvelope { db: db.into(), table: table.into(), deletes }
    }

    fn group(k: u32, column: &str, unit: &str) -> MinGroup {
        MinGroup { k, columns: vec![column.into()], unit: unit.into() }
    }

    fn sample() -> Fingerprinted {
        let end = |id: &str| Endpoint {
            cluster_id: id.into(),
            zone: "eu".into(),
            topics: vec!["t".into()],
            format: "json".into(),
        };
        Fingerprinted {
            v: FORMAT,
            pipeline: "customers".into(),
            purpose: "model-training".into(),
            source: end("s"),
            target: end("g"),
            partition_by: "token".into(),
            timestamp_ms_granularity: 1000,
            publish_ms: None,
            min_group: None,
            record_shape: "state".into(),
            changes: Changes::default(),
            leaves: vec![],
            stages: vec![FingerprintedStage {
                verb: "generalize".into(),
                semantics: 1,
                config: json!({"columns": ["a"], "bins": [0, 1.5]}),
                sql: None,
            }],
            key: vec![],
            columns: vec![Column {
                name: "a".into(),
                from: "a".into(),
                column_type: "text".into(),
                nullable: true,
                class: "public".into(),
                shape: Shape::Public,
                on_bad: OnBad::Refuse,
            }],
            domains: vec![],
            detectors: vec![],
            dp: None,
            overrides: vec![],
            policy_digest: String::new(),
            envelope_list: 1,
        }
    }

    /// Changing these bytes voids every approval.
    #[test]
    fn golden() {
        assert_eq!(sample().hex().unwrap(), GOLDEN);
    }

    const GOLDEN: &str = "d7d2aa83a4f443d01791764242d0226fa6a3e1e88da955516a2540995abfa9c9";

    #[test]
    fn every_field_counts() {
        let mut digests = BTreeSet::from([sample().digest().unwrap()]);
        let changes: &[&dyn Fn(&mut Fingerprinted)] = &[
            &|f| f.v = 2,
            &|f| f.pipeline.push('x'),
            &|f| f.purpose.push('x'),
            &|f| f.source.zone.push('x'),
            &|f| f.source.topics.push("u".into()),
            &|f| f.target.cluster_id.push('x'),
            &|f| f.partition_by.push('x'),
            &|f| f.timestamp_ms_granularity = 1,
            &|f| f.publish_ms = Some(1_000),
            &|f| f.min_group = Some(group(5, "city", "key.id")),
            &|f| f.min_group = Some(group(6, "city", "key.id")),
            &|f| f.min_group = Some(group(5, "town", "key.id")),
            &|f| f.min_group = Some(group(5, "city", "after.id")),
            &|f| f.record_shape.push('x'),
            &|f| f.changes.unavailable = Unavailable::Nullify,
            &|f| f.changes.truncate = Truncate::Drop,
            &|f| f.changes.unknown_leaf = UnknownLeaf::Strip,
            &|f| f.changes.envelope = Some(envelope("crm", "t", Deletes::Tombstone)),
            &|f| f.changes.envelope = Some(envelope("crm", "u", Deletes::Tombstone)),
            &|f| f.changes.envelope = Some(envelope("crn", "t", Deletes::Tombstone)),
            &|f| f.changes.envelope = Some(envelope("crm", "t", Deletes::Keep)),
            &|f| f.stages[0].semantics = 2,
            &|f| f.stages[0].config = json!({"columns": ["a"], "bins": [0, 1.25]}),
            &|f| f.stages[0].sql = Some(String::new()),
            &|f| f.stages.clear(),
            &|f| f.columns[0].shape = Shape::Year,
            &|f| f.columns[0].nullable = false,
            &|f| f.detectors.push(Named { name: "email".into(), digest: "0".into() }),
            &|f| f.dp = Some(json!({})),
            &|f| f.policy_digest.push('0'),
            &|f| f.envelope_list = 2,
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut other = sample();
            change(&mut other);
            assert!(digests.insert(other.digest().unwrap()), "change {at}");
        }
    }

    #[test]
    fn refuses_fingerprint_bad_integer() {
        let mut sample = sample();
        sample.stages[0].config = json!([1_u64 << 53]);
        assert!(sample.digest().is_ok());
        sample.stages[0].config = json!([(1_u64 << 53) + 1]);
        assert_eq!(sample.digest(), Err(FingerprintFault::LargeInteger { stage: 0 }));
        sample.stages[0].config = json!({"a": -9_007_199_254_740_993_i64});
        assert!(sample.digest().is_err());
    }
}
