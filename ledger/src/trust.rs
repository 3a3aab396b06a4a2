//! The trust root: who may approve, how many must, and who may change that.
//!
//! The file holds one envelope per line, oldest first: the first root is signed by its own
//! threshold, each later one by the threshold of the root before it. So the file alone proves the
//! way from the first root to the newest, and git shows each step as one added line.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, text_u64};
use crate::dsse::Envelope;
use crate::signing::{SigningKey, VerifyingKey};
use crate::statement::{self, Digests, Predicate, StatementFault, StatementSubject};

/// Version of the format.
const FORMAT: u32 = 1;
/// The most roots that one file may hold, and the most approvers in a root.
const ROOTS_MAX: usize = 10_000;
const APPROVERS_MAX: usize = 1_000;

/// What a person may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Releases.
    Approve,
    /// Revocations: one person is enough, stopping must be easy.
    Revoke,
    /// The next trust root.
    Trust,
}

/// One person and their one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// `[a-z0-9][a-z0-9._@-]*`, at most 64: compared with a release's author.
    pub name: String,
    /// Ed25519 public key.
    pub key: VerifyingKey,
    /// Sorted, distinct, not empty.
    pub roles: Vec<Role>,
}

/// The content of one root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Version of this format: 1.
    pub v: u32,
    /// 1 for the first root, then one more each time.
    #[serde(with = "text_u64")]
    pub version: u64,
    /// SHA-256 of the payload of the root before, in hexadecimal; null for the first.
    pub previous: Option<String>,
    /// How many distinct persons must sign a release or the next root.
    pub threshold: u32,
    /// How many approvers must sign a request to turn tokens back; none: whoever has the zone's keys
    /// may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detokenize: Option<u32>,
    /// Distinct names, distinct keys.
    pub approvers: Vec<Approver>,
}

impl Root {
    /// A first root.
    pub fn first(threshold: u32, approvers: Vec<Approver>) -> Self {
        Self { v: FORMAT, version: 1, previous: None, threshold, detokenize: None, approvers }
    }
}

impl Predicate for Root {
    const TYPE: &'static str = "https://github.com/douane/douane/attestation/trust-root/v1";

    fn subjects(&self) -> Vec<StatementSubject> {
        // The predicate is its own subject: in-toto wants a digest, and there is no other artefact.
        let sha256 = canonical::to_vec(self).map(|b| canonical::sha256_hex(&b)).unwrap_or_default();
        vec![StatementSubject { name: "trust-root".to_owned(), digest: Digests { sha256 } }]
    }
}

/// Why a trust root is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TrustFault {
    /// The file has no line, too many, or no final newline.
    #[error("trust file: expected 1 to {ROOTS_MAX} envelopes, one per line, each line ended")]
    File,
    /// A signature or the shape of one root.
    #[error("trust root {version}: {fault}")]
    Statement { version: u64, fault: StatementFault },
    /// Names, keys, roles or threshold contradict themselves.
    #[error("trust root {version}: {why}")]
    Invalid { version: u64, why: &'static str },
    /// Not the successor of the root before it.
    #[error("trust root {version} does not follow the root before it")]
    NotSuccessor { version: u64 },
    /// Too few persons with the role `trust` signed.
    #[error("trust root {version}: {found} of {needed} signatures by holders of the role trust")]
    Threshold { version: u64, found: usize, needed: usize },
    /// The first root is not the pinned one.
    #[error("the first trust root is not the pinned one")]
    Pin,
}

/// A verified root: the newest of a chain.
#[derive(Clone, Debug)]
pub struct TrustRoot {
    root: Root,
    digest: [u8; 32],
    first: [u8; 32],
}

impl TrustRoot {
    /// Reads a trust file and verifies every step. `pin`: the digest of the first root, where the
    /// caller knows it; without one the first root is taken on trust.
    ///
    /// # Errors
    /// [`TrustFault`].
    pub fn load(file: &[u8], pin: Option<&[u8; 32]>) -> Result<Self, TrustFault> {
        let lines = file.strip_suffix(b"\n").ok_or(TrustFault::File)?;
        let mut newest: Option<Self> = None;
        for (at, line) in lines.split(|byte| *byte == b'\n').enumerate() {
            let version = at as u64 + 1;
            let envelope = Envelope::from_bytes(line)
                .map_err(|fault| TrustFault::Statement { version, fault: fault.into() })?;
            newest = Some(match newest {
                _ if at >= ROOTS_MAX => return Err(TrustFault::File),
                None => Self::first(&envelope, pin)?,
                Some(old) => old.successor(&envelope)?,
            });
        }
        newest.ok_or(TrustFault::File)
    }

    fn first(envelope: &Envelope, pin: Option<&[u8; 32]>) -> Result<Self, TrustFault> {
        let root: Root = statement::unverified(envelope)
            .map_err(|fault| TrustFault::Statement { version: 1, fault })?;
        if root.version != 1 || root.previous.is_some() {
            return Err(TrustFault::NotSuccessor { version: 1 });
        }
        // No root stands before the first: its own holders vouch, and the pin decides.
        let digest = accept(&root, &root, envelope)?;
        if pin.is_some_and(|pin| *pin != digest) {
            return Err(TrustFault::Pin);
        }
        Ok(Self { root, digest, first: digest })
    }

    /// Verifies the next root against this one: signed by THIS root's threshold.
    ///
    /// # Errors
    /// [`TrustFault`].
    pub fn successor(&self, envelope: &Envelope) -> Result<Self, TrustFault> {
        let version = self.root.version.saturating_add(1);
        let root: Root = statement::unverified(envelope)
            .map_err(|fault| TrustFault::Statement { version, fault })?;
        if root.version != version || root.previous != Some(canonical::hex(&self.digest)) {
            return Err(TrustFault::NotSuccessor { version });
        }
        let digest = accept(&root, &self.root, envelope)?;
        Ok(Self { root, digest, first: self.first })
    }

    /// The content of a root that follows this one, to be signed by this one's threshold.
    pub fn propose(&self, threshold: u32, approvers: Vec<Approver>) -> Root {
        Root {
            v: FORMAT,
            version: self.root.version.saturating_add(1),
            previous: Some(canonical::hex(&self.digest)),
            threshold,
            detokenize: self.root.detokenize,
            approvers,
        }
    }

    /// The verified content.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// SHA-256 of this root's payload.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// SHA-256 of the first root's payload: what to pin.
    pub fn first_digest(&self) -> [u8; 32] {
        self.first
    }

    /// How many distinct persons must sign.
    pub fn threshold(&self) -> usize {
        self.root.threshold as usize
    }

    /// All keys, whatever their roles.
    pub fn keys(&self) -> Vec<VerifyingKey> {
        self.root.approvers.iter().map(|approver| approver.key).collect()
    }

    /// The persons with a role.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Approver> {
        self.root.approvers.iter().filter(move |approver| approver.roles.contains(&role))
    }

    /// The person behind a key, if they have the role.
    pub fn person(&self, key: &VerifyingKey, role: Role) -> Option<&Approver> {
        self.with_role(role).find(|approver| approver.key == *key)
    }
}

/// Signs a root: the line to add to the trust file.
///
/// # Errors
/// [`TrustFault::Statement`], [`TrustFault::Invalid`].
pub fn sign(root: &Root, keys: &[&SigningKey]) -> Result<Envelope, TrustFault> {
    let version = root.version;
    check(root).map_err(|why| TrustFault::Invalid { version, why })?;
    statement::sign(root, keys).map_err(|fault| TrustFault::Statement { version, fault })
}

fn accept(root: &Root, by: &Root, envelope: &Envelope) -> Result<[u8; 32], TrustFault> {
    let version = root.version;
    check(root).map_err(|why| TrustFault::Invalid { version, why })?;
    let keys: Vec<VerifyingKey> = by.approvers.iter().map(|approver| approver.key).collect();
    let signed = statement::verify::<Root>(envelope, &keys)
        .map_err(|fault| TrustFault::Statement { version, fault })?;
    let holds = |key: &VerifyingKey| {
        by.approvers.iter().any(|a| a.key == *key && a.roles.contains(&Role::Trust))
    };
    let found = signed.signers.iter().filter(|key| holds(key)).count();
    let needed = by.threshold as usize;
    if found < needed {
        return Err(TrustFault::Threshold { version, found, needed });
    }
    Ok(signed.digest)
}

fn check(root: &Root) -> Result<(), &'static str> {
    let distinct = |count: usize| count == root.approvers.len();
    let count = |role| root.approvers.iter().filter(|a| a.roles.contains(&role)).count();
    let threshold = root.threshold as usize;
    if root.v != FORMAT {
        return Err("format version is not 1");
    }
    if root.approvers.is_empty() || root.approvers.len() > APPROVERS_MAX {
        return Err("expected 1 to 1000 approvers");
    }
    if !root.approvers.iter().all(|a| is_person(&a.name)) {
        return Err("a name is not [a-z0-9][a-z0-9._@-]* of at most 64 characters");
    }
    if !distinct(root.approvers.iter().map(|a| &a.name).collect::<BTreeSet<_>>().len()) {
        return Err("two approvers have one name");
    }
    if !distinct(root.approvers.iter().map(|a| a.key).collect::<BTreeSet<_>>().len()) {
        return Err("two approvers have one key");
    }
    if root.approvers.iter().any(|a| a.roles.is_empty() || !a.roles.is_sorted_by(|x, y| x < y)) {
        return Err("roles are not sorted, distinct and at least one");
    }
    if threshold == 0 || count(Role::Approve) < threshold || count(Role::Trust) < threshold {
        return Err("the threshold is 0, or more than the holders of approve or of trust");
    }
    if root.detokenize.is_some_and(|n| n == 0 || n as usize > count(Role::Approve)) {
        return Err("detokenize is 0, or more than the holders of approve");
    }
    Ok(())
}

/// Whether a text can name a person. Lower case only: `Ada` and `ada` must not be two persons.
pub fn is_person(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._@-".contains(c);
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(inner)
}

#[cfg(test)]
mod tests;
