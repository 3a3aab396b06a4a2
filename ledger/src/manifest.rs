//! Manifests: one signed statement per transaction about the records it brought.
//!
//! What a manifest shows is outside. So it names its ledger leaf by hash and not by index (an
//! index would show the steps: refusals, shreds, bursts), and source spans ride sealed.

use std::io::{self, Write};

use aws_lc_rs::digest;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{hex, hex_array, text_u64};
use crate::dsse::Envelope;
use crate::release::Policy;
use crate::signing::{SigningKey, VerifyingKey};
use crate::statement::{self, Digests, Predicate, Signed, StatementFault, StatementSubject};

/// Version of the manifest format and of the digest file.
pub const FORMAT: u32 = 1;
/// Follows the salt in a digest file.
const FILE_TAG: &[u8] = b"douane-records-v1\n";

/// The ordered records that one transaction brought to one target partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Target topic.
    pub topic: String,
    /// Target partition.
    pub partition: i32,
    /// Records.
    #[serde(with = "text_u64")]
    pub count: u64,
    /// SHA-256 of the [`DigestFile`], hexadecimal.
    pub digest: String,
}

/// How a column is protected, in a word for those who read only the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnNote {
    /// The column's name outside.
    pub name: String,
    /// The shape's kind (`token`, `mask`, `public`, …). Tokens and FPE are pseudonyms, not
    /// anonymous.
    pub protection: String,
}

/// What is said about one transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format: [`FORMAT`].
    pub v: u32,
    /// 16 random bytes in hexadecimal; each record's header carries it.
    pub id: String,
    /// Id of the manifest that the same log committed before this one: a missing one leaves a gap.
    /// None for the first, and in manifests from before it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The pipeline's name.
    pub pipeline: String,
    /// What the data may be used for.
    pub purpose: String,
    /// Digest of the release, hexadecimal.
    pub release: String,
    /// Fingerprint of the pipeline, hexadecimal.
    pub fingerprint: String,
    /// Who approved the release.
    pub approvers: Vec<String>,
    /// The policy in force.
    pub policy: Policy,
    /// `state` or `envelope`.
    #[serde(default = "state", skip_serializing_if = "is_state")]
    pub record_shape: String,
    /// 16 bytes in hexadecimal: the start of each digest file.
    pub salt: String,
    /// Sorted by topic and partition. Empty where all records were refused.
    pub subjects: Vec<Subject>,
    /// Protection by column, in column order.
    pub columns: Vec<ColumnNote>,
    /// Partitions of the target topic when it was written.
    pub target_partitions: u32,
    /// `murmur2`.
    pub partitioner: String,
    /// Ids of the token, FPE and seal keys used.
    pub key_ids: Vec<String>,
    /// Schema ids read.
    pub schema_ids: Vec<u32>,
    /// Name, version and digest of the software.
    pub software: String,
    /// Charge of differential privacy; null where there is none.
    pub dp: Option<Value>,
    /// RFC 6962 leaf hash of the ledger's INTENT, hexadecimal.
    pub leaf: String,
    /// Base64 of sealed evidence (source spans, refusals, index): opaque outside the zone.
    pub sealed: String,
}

fn state() -> String {
    "state".to_owned()
}

fn is_state(shape: &String) -> bool {
    *shape == state()
}

impl Predicate for Manifest {
    const TYPE: &'static str = "https://github.com/douane/douane/attestation/manifest/v1";

    fn subjects(&self) -> Vec<StatementSubject> {
        let named =
            |name: String, sha256: String| StatementSubject { name, digest: Digests { sha256 } };
        if self.subjects.is_empty() {
            // in-toto wants at least one subject: the empty digest file under this salt.
            let empty = hex_array(&self.salt).map(|salt| DigestFile::new(salt).hex());
            return vec![named("no-records".to_owned(), empty.unwrap_or_default())];
        }
        let each = self.subjects.iter();
        each.map(|s| named(format!("{}[{}]", s.topic, s.partition), s.digest.clone())).collect()
    }
}

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ManifestFault {
    /// Signatures or shape.
    #[error("manifest: {0}")]
    Statement(#[from] StatementFault),
    /// A field contradicts its documentation.
    #[error("manifest: {why}")]
    Invalid { why: &'static str },
    /// Records that are not those of the manifest.
    #[error("{topic}[{partition}]: records do not have the digest or count that the manifest says")]
    Different { topic: String, partition: i32 },
    /// A partition of which the manifest says nothing.
    #[error("{topic}[{partition}]: the manifest has no such subject")]
    NoSubject { topic: String, partition: i32 },
}

/// Checks and signs.
///
/// # Errors
/// [`ManifestFault::Invalid`] for what [`verify`] would refuse.
pub fn sign(manifest: &Manifest, key: &SigningKey) -> Result<Envelope, ManifestFault> {
    check(manifest)?;
    Ok(statement::sign(manifest, &[key])?)
}

/// Verifies the signature by one of the keys.
///
/// # Errors
/// [`ManifestFault`].
pub fn verify(
    envelope: &Envelope,
    keys: &[VerifyingKey],
) -> Result<Signed<Manifest>, ManifestFault> {
    let signed: Signed<Manifest> = statement::verify(envelope, keys)?;
    check(&signed.predicate)?;
    Ok(signed)
}

impl Manifest {
    /// A fresh digest file for one of this manifest's subjects.
    ///
    /// # Errors
    /// [`ManifestFault::Invalid`] for a malformed salt.
    pub fn digest_file(&self) -> Result<DigestFile, ManifestFault> {
        let salt = hex_array(&self.salt).ok_or(ManifestFault::Invalid { why: "salt" })?;
        Ok(DigestFile::new(salt))
    }

    /// Compares the records of one partition, in order, with what was signed.
    ///
    /// # Errors
    /// [`ManifestFault::Different`], [`ManifestFault::NoSubject`].
    pub fn compare(
        &self,
        topic: &str,
        partition: i32,
        file: DigestFile,
    ) -> Result<(), ManifestFault> {
        let topic_owned = || topic.to_owned();
        let subject = self.subjects.iter().find(|s| s.topic == topic && s.partition == partition);
        let subject =
            subject.ok_or_else(|| ManifestFault::NoSubject { topic: topic_owned(), partition })?;
        if subject.count != file.count() || subject.digest != file.hex() {
            return Err(ManifestFault::Different { topic: topic_owned(), partition });
        }
        Ok(())
    }
}

fn check(manifest: &Manifest) -> Result<(), ManifestFault> {
    let invalid = |why| Err(ManifestFault::Invalid { why });
    let position = |s: &Subject| (s.topic.clone(), s.partition);
    let digests = [&manifest.release, &manifest.fingerprint, &manifest.leaf];
    match () {
        () if manifest.v != FORMAT => invalid("format version is not 1"),
        () if hex_array::<16>(&manifest.id).is_none() => invalid("id is not 16 bytes"),
        () if manifest.previous.as_ref().is_some_and(|id| hex_array::<16>(id).is_none()) => {
            invalid("previous is not 16 bytes")
        }
        () if hex_array::<16>(&manifest.salt).is_none() => invalid("salt is not 16 bytes"),
        () if digests.iter().any(|digest| hex_array::<32>(digest).is_none()) => {
            invalid("release, fingerprint or leaf is not a digest")
        }
        () if BASE64.decode(manifest.sealed.as_bytes()).is_err() => invalid("sealed is not base64"),
        () if !manifest.subjects.iter().map(position).is_sorted_by(|a, b| a < b) => {
            invalid("subjects are not sorted and distinct")
        }
        () if manifest.subjects.iter().any(|s| s.count == 0) => invalid("a subject is empty"),
        () if manifest.subjects.iter().any(|s| hex_array::<32>(&s.digest).is_none()) => {
            invalid("a subject's digest is not a digest")
        }
        () => Ok(()),
    }
}

/// The encoding of ordered records that digests are over, version 1:
/// salt (16 bytes), `douane-records-v1\n`, then for each record: partition (4 bytes), timestamp in
/// ms (8), key, value, number of headers (4), each header's name and value. Numbers are big-endian;
/// a name is its length (4) and bytes; key, values: one byte 0 for null, or 1, length (4), bytes.
pub struct DigestFile {
    context: digest::Context,
    count: u64,
}

impl DigestFile {
    /// Starts with the transaction's salt.
    pub fn new(salt: [u8; 16]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&salt);
        context.update(FILE_TAG);
        Self { context, count: 0 }
    }

    /// Adds the next record.
    pub fn record(
        &mut self,
        partition: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let each = &mut |bytes: &[u8]| self.context.update(bytes);
        encode(each, partition, timestamp_ms, key, value, headers);
        self.count += 1;
    }

    /// Records so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// SHA-256 of the file.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.context.finish().as_ref());
        out
    }

    /// [`DigestFile::finish`] in hexadecimal: 64 characters.
    pub fn hex(self) -> String {
        hex(&self.finish())
    }
}

/// Writes the head of a digest file, so that public tools can check a subject.
///
/// # Errors
/// The writer's.
pub fn write_file_head(to: &mut dyn Write, salt: [u8; 16]) -> io::Result<()> {
    to.write_all(&salt)?;
    to.write_all(FILE_TAG)
}

/// Writes one record of a digest file.
///
/// # Errors
/// The writer's.
pub fn write_file_record(
    to: &mut dyn Write,
    partition: i32,
    timestamp_ms: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&str, Option<&[u8]>)],
) -> io::Result<()> {
    let mut bytes = Vec::new();
    let each = &mut |part: &[u8]| bytes.extend_from_slice(part);
    encode(each, partition, timestamp_ms, key, value, headers);
    to.write_all(&bytes)
}

fn encode(
    each: &mut dyn FnMut(&[u8]),
    partition: i32,
    timestamp_ms: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&str, Option<&[u8]>)],
) {
    // Kafka's largest record is far below 4 GiB, and so is each of its parts.
    let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
    let optional = |each: &mut dyn FnMut(&[u8]), part: Option<&[u8]>| match part {
        None => each(&[0]),
        Some(bytes) => {
            each(&[1]);
            each(&length(bytes.len()));
            each(bytes);
        }
    };
    each(&partition.to_be_bytes());
    each(&timestamp_ms.to_be_bytes());
    optional(each, key);
    optional(each, value);
    each(&length(headers.len()));
    for (name, value) in headers {
        each(&length(name.len()));
        each(name.as_bytes());
        optional(each, *value);
    }
}

#[cfg(test)]
pub(crate) mod tests;
