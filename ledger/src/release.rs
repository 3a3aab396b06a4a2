//! Releases: what was approved, by whom, until when. A [`LiveRelease`] cannot be made but by
//! verification.

use std::ops::Deref;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, hex, hex_array, text_i64, text_u64, text_u64_option};
use crate::dsse::Envelope;
use crate::fingerprint::FingerprintedDomain;
use crate::log::SpanEntry;
use crate::signing::{SigningKey, VerifyingKey};
use crate::statement::{self, Digests, Predicate, StatementFault, StatementSubject};
use crate::trust::{Role, TrustRoot, is_person};

mod shape;
mod state;
pub use state::{State, Stopped};

pub use shape::{
    Changes, CheckDigit, Column, Deletes, Dictionary, Envelope as RecordEnvelope, InPlace, Limits,
    OnBad, Override, Policy, ReleasedLeaf, Shape, Source, Target, Truncate, Unavailable,
    UnknownLeaf, is_hidden, is_source_name,
};

/// Version of the format.
pub const FORMAT: u32 = 1;

/// What people approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Version of this format: 1.
    pub v: u32,
    /// Counts the releases of a pipeline, from 1.
    #[serde(with = "text_u64")]
    pub version: u64,
    /// The pipeline's name.
    pub pipeline: String,
    /// What the data may be used for.
    pub purpose: String,
    /// Digest of the approved pipeline, 64 hexadecimal characters ([`crate::fingerprint`]).
    pub fingerprint: String,
    /// 16 random bytes in hexadecimal: blinds this release's digest outside.
    pub nonce: String,
    /// Who proposed it: does not count among the approvers where there is more than one.
    pub author: String,
    /// RFC 3339, UTC (`…Z`).
    pub created: String,
    /// RFC 3339, UTC; the release is dead from this instant on.
    pub expires: String,
    /// What may cross in all.
    pub limits: Limits,
    /// Of a one-shot release: the source offsets that cross under it, once, and nothing else. Sorted by
    /// topic and partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Vec<SpanEntry>>,
    /// Where records come from.
    pub source: Source,
    /// Where they may go.
    pub target: Target,
    /// Every leaf of the input, with its class.
    pub leaves: Vec<ReleasedLeaf>,
    /// The columns of the record key, in order.
    pub key: Vec<Column>,
    /// The columns of the record value, in order.
    pub columns: Vec<Column>,
    /// The token domains in use, without key versions: what makes equal values of two writings, and
    /// for what a domain may be used. Left out where there is none, and before it was written down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<FingerprintedDomain>,
    /// How changes become records.
    #[serde(default, skip_serializing_if = "Changes::is_default")]
    pub changes: Changes,
    /// Exceptions from the default policy, by name.
    pub overrides: Vec<Override>,
    /// The policy that allowed it.
    pub policy: Policy,
    /// `explain`'s table as the approvers read it.
    pub explain: String,
}

impl Predicate for Release {
    const TYPE: &'static str = "https://github.com/douane/douane/attestation/release/v1";

    fn subjects(&self) -> Vec<StatementSubject> {
        let digest = Digests { sha256: self.fingerprint.clone() };
        vec![StatementSubject { name: format!("pipeline/{}", self.pipeline), digest }]
    }
}

/// Stops a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Version of this format: 1.
    pub v: u32,
    /// The release's digest, 64 hexadecimal characters.
    pub release: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// Free text for people; no data.
    pub reason: String,
}

impl Predicate for Revocation {
    const TYPE: &'static str = "https://github.com/douane/douane/attestation/revocation/v1";

    fn subjects(&self) -> Vec<StatementSubject> {
        let digest = Digests { sha256: self.release.clone() };
        vec![StatementSubject { name: "release".to_owned(), digest }]
    }
}

/// Why a release or revocation is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReleaseFault {
    /// Signatures or shape.
    #[error("release: {0}")]
    Statement(#[from] StatementFault),
    /// A field contradicts its documentation.
    #[error("release: {why}")]
    Invalid { why: &'static str },
    /// Too few approvers signed; next: `douane release sign`.
    #[error("release has {found} of {needed} approvals that count (the author's does not)")]
    Threshold { found: usize, needed: usize },
    /// Next: `douane release renew`.
    #[error("release expired at {at}")]
    Expired { at: String },
    /// Created after now: a clock is wrong, here or where it was written.
    #[error("release is of the future ({at}); check the clock")]
    Future { at: String },
    /// A revocation by somebody without the role.
    #[error("revocation is not signed by a holder of the role revoke")]
    NotRevoker,
}

/// A release that enough persons approved and that had not expired when it was verified. There
/// is no other way to get one than [`verify`].
#[derive(Clone, Debug)]
pub struct LiveRelease {
    release: Release,
    digest: [u8; 32],
    approvers: Vec<String>,
    expires: Timestamp,
}

impl LiveRelease {
    /// SHA-256 of the signed payload: the release's name in manifests and the ledger.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The digest in hexadecimal, 64 characters.
    pub fn digest_hex(&self) -> String {
        hex(&self.digest)
    }

    /// The names of those whose approval counted, in the order of the envelope.
    pub fn approvers(&self) -> &[String] {
        &self.approvers
    }

    /// Asked again before each transaction. The instant that was asked about, in milliseconds since the
    /// epoch.
    ///
    /// # Errors
    /// [`ReleaseFault::Expired`].
    pub fn live(&self, now: SystemTime) -> Result<i64, ReleaseFault> {
        // In milliseconds: outside it is told by a record's time, which has no finer one.
        match Timestamp::try_from(now).map(Timestamp::as_millisecond) {
            Ok(now_ms) if now_ms < self.expires.as_millisecond() => Ok(now_ms),
            _ => Err(ReleaseFault::Expired { at: self.release.expires.clone() }),
        }
    }
}

impl Deref for LiveRelease {
    type Target = Release;

    fn deref(&self) -> &Release {
        &self.release
    }
}

/// Checks a draft and signs it.
///
/// # Errors
/// [`ReleaseFault::Invalid`] for a draft that [`verify`] would refuse.
pub fn sign(release: &Release, keys: &[&SigningKey]) -> Result<Envelope, ReleaseFault> {
    check(release)?;
    Ok(statement::sign(release, keys)?)
}

/// Reads a draft to show or to sign it; it proves nothing.
///
/// # Errors
/// [`ReleaseFault`].
pub fn draft(envelope: &Envelope) -> Result<Release, ReleaseFault> {
    let release = statement::unverified(envelope)?;
    check(&release)?;
    Ok(release)
}

/// Verifies signatures, threshold and life. Every signature must be by a person in the root.
///
/// # Errors
/// [`ReleaseFault`]; without `Ok` nothing may be written.
pub fn verify(
    envelope: &Envelope,
    root: &TrustRoot,
    now: SystemTime,
) -> Result<LiveRelease, ReleaseFault> {
    let signed = statement::verify::<Release>(envelope, &root.keys())?;
    let release = signed.predicate;
    let (created, expires) = check(&release)?;
    let approvers = approvers(&signed.signers, root, &release.author)?;
    // An hour of grace for clocks that differ; expiry has none.
    let soon = Timestamp::try_from(now).ok().map(|now| now.as_second().saturating_add(3600));
    if soon.is_none_or(|soon| created.as_second() > soon) {
        return Err(ReleaseFault::Future { at: release.created });
    }
    let live = LiveRelease { release, digest: signed.digest, approvers, expires };
    live.live(now)?;
    Ok(live)
}

/// The names of those whose approval counts: the threshold's distinct approvers, without the author
/// where there is more than one person.
pub(crate) fn approvers(
    signers: &[VerifyingKey],
    root: &TrustRoot,
    author: &str,
) -> Result<Vec<String>, ReleaseFault> {
    let alone = root.with_role(Role::Approve).count() == 1;
    let approvers: Vec<String> = signers
        .iter()
        .filter_map(|key| root.person(key, Role::Approve))
        .filter(|person| alone || person.name != author)
        .map(|person| person.name.clone())
        .collect();
    let (found, needed) = (approvers.len(), root.threshold());
    match found < needed {
        true => Err(ReleaseFault::Threshold { found, needed }),
        false => Ok(approvers),
    }
}

/// Signs a revocation of the release with this digest; without keys, what there is to sign.
///
/// # Errors
/// [`ReleaseFault`].
pub fn revoke(revocation: &Revocation, keys: &[&SigningKey]) -> Result<Envelope, ReleaseFault> {
    check_revocation(revocation)?;
    Ok(statement::sign(revocation, keys)?)
}

/// Verifies a revocation: one holder of the role is enough.
///
/// # Errors
/// [`ReleaseFault`]. A caller that cannot tell whether a release was revoked must not write.
pub fn verify_revocation(
    envelope: &Envelope,
    root: &TrustRoot,
) -> Result<(Revocation, String), ReleaseFault> {
    let keys: Vec<VerifyingKey> = root.with_role(Role::Revoke).map(|person| person.key).collect();
    let signed = statement::verify::<Revocation>(envelope, &keys)?;
    check_revocation(&signed.predicate)?;
    let person = signed.signers.first().and_then(|key| root.person(key, Role::Revoke));
    let name = person.ok_or(ReleaseFault::NotRevoker)?.name.clone();
    Ok((signed.predicate, name))
}

fn check_revocation(revocation: &Revocation) -> Result<(), ReleaseFault> {
    let invalid = |why| Err(ReleaseFault::Invalid { why });
    match () {
        () if revocation.v != FORMAT => invalid("format version is not 1"),
        () if hex_array::<32>(&revocation.release).is_none() => invalid("release is not a digest"),
        () if revocation.reason.contains(shape::is_hidden) => {
            invalid("reason holds a character that cannot be seen")
        }
        () if utc(&revocation.created).is_none() => invalid("created is not RFC 3339 in UTC"),
        () => Ok(()),
    }
}

fn check(release: &Release) -> Result<(Timestamp, Timestamp), ReleaseFault> {
    let invalid = |why| ReleaseFault::Invalid { why };
    if release.v != FORMAT {
        return Err(invalid("format version is not 1"));
    }
    if release.version == 0 {
        return Err(invalid("version counts from 1"));
    }
    if hex_array::<32>(&release.fingerprint).is_none() {
        return Err(invalid("fingerprint is not 64 hexadecimal characters"));
    }
    if hex_array::<16>(&release.nonce).is_none() {
        return Err(invalid("nonce is not 32 hexadecimal characters"));
    }
    if !is_person(&release.author) {
        return Err(invalid("author is not a name as in the trust root"));
    }
    let created = utc(&release.created).ok_or(invalid("created is not RFC 3339 in UTC"))?;
    let expires = utc(&release.expires).ok_or(invalid("expires is not RFC 3339 in UTC"))?;
    if expires <= created {
        return Err(invalid("expires is not after created"));
    }
    shape::check(release).map_err(invalid)?;
    Ok((created, expires))
}

/// RFC 3339 with `Z`: one instant has few texts, and people in all zones read the same.
pub(crate) fn utc(text: &str) -> Option<Timestamp> {
    text.ends_with('Z').then(|| text.parse().ok()).flatten()
}

/// A fresh nonce: 16 random bytes in hexadecimal.
///
/// # Errors
/// [`ReleaseFault::Invalid`] where the system has no entropy.
pub fn nonce() -> Result<String, ReleaseFault> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| ReleaseFault::Invalid { why: "the system has no entropy" })?;
    Ok(hex(&bytes))
}

/// SHA-256 of a draft's payload: what the release's digest will be.
///
/// # Errors
/// [`ReleaseFault::Statement`].
pub fn digest(release: &Release) -> Result<[u8; 32], ReleaseFault> {
    Ok(canonical::sha256(&statement::payload(release)?))
}

#[cfg(test)]
pub(crate) mod tests;
