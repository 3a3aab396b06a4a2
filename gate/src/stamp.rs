//! The stamp: a passed batch, once its intent is durable in the ledger, becomes records that may
//! be sent, with the signed manifest as the last of them.

use data_encoding::BASE64;
use douane_ledger::canonical;
use douane_ledger::log::{Head, RefusedEntry, SpanEntry};
use douane_ledger::manifest::{self, ColumnNote, FORMAT, Manifest};
use serde::{Deserialize, Serialize};

use crate::border::Gate;
use crate::passed::{HEADER_MANIFEST, HEADER_TRACEPARENT, Passed};
use crate::seal::{self, SealContext};
use crate::{GateFault, floor};

/// What the ledger said when the intent was durable, and what it was about.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Ranges of the source that the transaction consumes. Sealed in the manifest.
    pub spans: Vec<SpanEntry>,
    /// Rows that were refused, by gate and stages. Sealed in the manifest.
    pub refused: Vec<RefusedEntry>,
    /// Index of the INTENT. Sealed in the manifest: it would show the steps.
    pub leaf_index: u64,
    /// RFC 6962 leaf hash of the INTENT.
    pub leaf_hash: [u8; 32],
    /// The log's head when the intent was durable. Sealed in the manifest.
    pub head: Head,
    /// Registry ids of the schemas read.
    pub schema_ids: Vec<u32>,
    /// Ids of the keys used, exactly as in the intent, [`Gate::seal_key_ids`] among them.
    pub key_ids: Vec<String>,
    /// Id of the manifest of the transaction that the same log committed last, hexadecimal.
    pub previous: Option<String>,
    /// The instant at which the right to write was found to hold, in milliseconds since the epoch.
    /// The manifest's record has it: whoever is outside asks by it whether the release was live.
    pub at_ms: i64,
}

/// The sealed part of a manifest, as canonical JSON under the seal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedEvidence {
    /// Ranges of the source.
    pub spans: Vec<SpanEntry>,
    /// Refused rows, where they are at most [`REFUSED_LISTED_MAX`]; the intent has them all.
    pub refused: Vec<RefusedEntry>,
    /// Number of refused rows, where they are more than are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_count: Option<String>,
    /// SHA-256 in hexadecimal of the canonical JSON of the intent's list, where it is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_digest: Option<String>,
    /// Index of the INTENT.
    pub leaf_index: String,
    /// The log's head.
    pub head: Head,
    /// The shard.
    pub shard: u32,
    /// The shard's transaction.
    pub sequence: String,
}

/// Most refused rows that a manifest lists; with thousands it would be larger than a record may be.
pub const REFUSED_LISTED_MAX: usize = 200;

/// Reads the sealed part of a manifest. `zone`, `cluster_id` and `topic` are the target's.
///
/// # Errors
/// As [`crate::open`]; `NotSealed` where the opened bytes are not this version's evidence.
pub fn open_evidence(
    key: &douane_schemas::keys::Key,
    manifest: &Manifest,
    zone: &str,
    cluster_id: &str,
    topic: &str,
) -> Result<SealedEvidence, GateFault> {
    let sealed = BASE64.decode(manifest.sealed.as_bytes()).map_err(|_| GateFault::NotSealed)?;
    let plain = seal::open_spans(key, &manifest.id, &sealed, &place(zone, cluster_id, topic))?;
    canonical::from_slice(&plain).map_err(|_| GateFault::NotSealed)
}

/// The manifest id alone tells manifests apart, so the shard in the associated data is always 0:
/// who opens one does not know the shard yet.
fn place(zone: &str, cluster_id: &str, topic: &str) -> SealContext {
    SealContext {
        zone: zone.to_owned(),
        cluster_id: cluster_id.to_owned(),
        topic_id: topic.to_owned(),
        shard: 0,
    }
}

/// A record that may be sent, byte for byte. No `Debug`: it is data.
#[derive(Clone, Copy)]
pub struct OutRecord<'a> {
    /// Target topic.
    pub topic: &'a str,
    /// Target partition.
    pub partition: i32,
    /// Record key.
    pub key: Option<&'a [u8]>,
    /// Record value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since the epoch. Of a data record at the release's granularity, never 0 or
    /// less; of a manifest [`Evidence::at_ms`].
    pub timestamp_ms: i64,
    /// All headers of the record.
    pub headers: &'a [(&'static str, Vec<u8>)],
}

/// Records that passed the gate, and their manifest: one of the things that a sink takes. Only
/// [`Gate::stamp`] makes one: its fields are private and it has no constructor.
///
/// ```compile_fail,E0451
/// let forged = douane_gate::Approved { passed: todo!(), headers: todo!(), manifest: todo!() };
/// ```
///
/// ```compile_fail
/// fn forge(passed: douane_gate::Passed) -> douane_gate::Approved {
///     passed.into()
/// }
/// ```
pub struct Approved {
    passed: Passed,
    headers: Vec<(&'static str, Vec<u8>)>,
    manifest_topic: String,
    manifest_value: Vec<u8>,
    at_ms: i64,
}

impl Approved {
    /// The data records, sorted by source (topic, partition, offset), then the manifest.
    pub fn records(&self) -> impl Iterator<Item = OutRecord<'_>> {
        let data = self.passed.rows().map(|row| OutRecord {
            topic: &self.passed.topic,
            partition: row.partition,
            key: row.key,
            value: row.value,
            timestamp_ms: row.timestamp_ms,
            headers: &self.headers,
        });
        data.chain(std::iter::once(self.manifest()))
    }

    /// The manifest record: key is the manifest id in hexadecimal, value the DSSE envelope.
    pub fn manifest(&self) -> OutRecord<'_> {
        OutRecord {
            topic: &self.manifest_topic,
            // Manifests are found by id, and order among them means nothing.
            partition: 0,
            key: Some(self.passed.manifest_hex.as_bytes()),
            value: Some(&self.manifest_value),
            // Not a time of the source: retention would delete the manifest of old rows at once.
            timestamp_ms: self.at_ms,
            headers: &[],
        }
    }

    /// What was passed.
    pub fn passed(&self) -> &Passed {
        &self.passed
    }
}

impl Gate {
    /// Signs the manifest and makes the batch sendable. Called after the ledger's intent is
    /// durable: `evidence` is what it answered.
    ///
    /// # Errors
    /// A batch of another release's gate, a seal or signature that failed, a manifest that the
    /// target would not take.
    pub fn stamp(&self, passed: Passed, evidence: Evidence) -> Result<Approved, GateFault> {
        let same_release = passed.release.digest() == self.release.digest();
        if !same_release || passed.topic != self.target.topic {
            return Err(GateFault::ForeignBatch);
        }
        let at_ms = evidence.at_ms;
        let manifest = self.manifest(&passed, evidence)?;
        let manifest_value = manifest::sign(&manifest, &self.keys.manifest)
            .map_err(|_| GateFault::Manifest("could not be signed"))?
            .to_bytes()
            .map_err(|_| GateFault::Manifest("could not be written"))?;
        if manifest_value.len() + 512 > self.target.record_bytes_max {
            return Err(GateFault::Manifest("is larger than a record may be; commit less at once"));
        }
        let headers = vec![
            (HEADER_MANIFEST, passed.manifest_hex.clone().into_bytes()),
            (HEADER_TRACEPARENT, passed.ids.traceparent.clone().into_bytes()),
        ];
        Ok(Approved {
            passed,
            headers,
            manifest_topic: self.target.manifest_topic.clone(),
            manifest_value,
            at_ms,
        })
    }

    /// Ids of the keys that seal position and quarantine records: the caller puts them into the
    /// intent's and the evidence's key ids alike, beside those of the token and FPE keys.
    pub fn seal_key_ids(&self) -> Vec<String> {
        [&self.keys.seal_position, &self.keys.seal_quarantine]
            .map(|key| key.id().to_string())
            .to_vec()
    }

    fn manifest(&self, passed: &Passed, evidence: Evidence) -> Result<Manifest, GateFault> {
        let release = &self.release;
        let (refused, refused_count, refused_digest) = match evidence.refused.len() {
            0..=REFUSED_LISTED_MAX => (evidence.refused, None, None),
            count => {
                let list = canonical::to_vec(&evidence.refused)
                    .map_err(|_| GateFault::Manifest("refusals could not be written"))?;
                let digest = canonical::hex(&canonical::sha256(&list));
                (Vec::new(), Some(count.to_string()), Some(digest))
            }
        };
        let inside = SealedEvidence {
            spans: evidence.spans,
            refused,
            refused_count,
            refused_digest,
            leaf_index: evidence.leaf_index.to_string(),
            head: evidence.head,
            shard: passed.ids.shard,
            sequence: passed.ids.sequence.to_string(),
        };
        let plain = canonical::to_vec(&inside)
            .map_err(|_| GateFault::Manifest("evidence could not be written"))?;
        let to = &release.target;
        let sealed = seal::seal_spans(
            &self.keys.seal_position,
            &self.keys.blind,
            &passed.manifest_hex,
            &plain,
            &place(&to.zone, &to.cluster_id, &to.topic),
        )?;
        Ok(Manifest {
            v: FORMAT,
            id: passed.manifest_hex.clone(),
            previous: evidence.previous,
            pipeline: release.pipeline.clone(),
            purpose: release.purpose.clone(),
            release: release.digest_hex(),
            fingerprint: release.fingerprint.clone(),
            approvers: release.approvers().to_vec(),
            policy: release.policy.clone(),
            record_shape: release.changes.shape_name().to_owned(),
            salt: canonical::hex(&passed.ids.salt),
            subjects: passed.subjects().to_vec(),
            columns: release
                .columns
                .iter()
                .map(|column| ColumnNote {
                    name: column.name.clone(),
                    protection: floor::shape_name(&column.shape).to_owned(),
                })
                .collect(),
            target_partitions: self.target.partitions,
            partitioner: "murmur2".to_owned(),
            key_ids: evidence.key_ids,
            schema_ids: evidence.schema_ids,
            software: self.software.clone(),
            dp: None,
            leaf: canonical::hex(&evidence.leaf_hash),
            sealed: BASE64.encode(&sealed),
        })
    }
}
