//! Bundles: what leaves of the ledger itself. At the ticks of a public schedule, whatever happened since
//! the last one, the checkpoint of each of a pipeline's logs goes out, with what witnesses cosigned, the
//! proof that it goes on from the bundle before, and the proof that the newest manifest's leaf is in it.
//! With each transaction it would show the steps: what was refused, held and shredded, and when.
//!
//! Each names the one before it, so none can be taken out between two. The verifier
//! ([`crate::coverage`]) shares no code with what makes one here.

use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, hex_array, hex32, text_u64};
use crate::dsse::Envelope;
use crate::signing::{SigningKey, VerifyingKey};
use crate::statement::{self, Digests, Predicate, Signed, StatementFault, StatementSubject};

mod published;

pub use published::part;

/// Version of the format.
pub const FORMAT: u32 = 1;
/// Of the record key, before the number: no manifest's id begins so.
pub const KEY: &str = "bundle/";

/// The statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Version of this format: 1.
    pub v: u32,
    /// The data topic whose records the logs speak of.
    pub topic: String,
    /// The pipeline.
    pub pipeline: String,
    /// From 1, without gaps.
    #[serde(with = "text_u64")]
    pub number: u64,
    /// Digest of the one before it, hexadecimal; null of the first.
    pub previous: Option<String>,
    /// The tick, in milliseconds since the epoch: a multiple of `every_ms`.
    #[serde(with = "text_u64")]
    pub at_ms: u64,
    /// The schedule.
    #[serde(with = "text_u64")]
    pub every_ms: u64,
    /// The logs, by origin. One that was in a bundle is in each after it.
    pub logs: Vec<Part>,
}

/// One log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Signed by the log: its first line says which it is.
    pub checkpoint: String,
    /// That it goes on from its checkpoint in the bundle before: hashes of RFC 6962, in base64. Empty
    /// where it is of the same size, or was not in one.
    pub consistency: Vec<String>,
    /// The newest that witnesses cosigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigned: Option<CosignedPart>,
    /// The newest manifest that it covers, where there is one since the bundle before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Covered>,
}

impl Part {
    /// The log's name: its checkpoint's first line.
    pub fn origin(&self) -> &str {
        self.checkpoint.lines().next().unwrap_or_default()
    }
}

/// A checkpoint with lines of witnesses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosignedPart {
    /// As it lies in the ledger.
    pub checkpoint: String,
    /// That the log's checkpoint goes on from it.
    pub consistency: Vec<String>,
}

/// A manifest whose leaf is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Covered {
    /// Its id, hexadecimal.
    pub id: String,
    /// Of its leaf.
    #[serde(with = "text_u64")]
    pub index: u64,
    /// That the leaf is there: hashes of RFC 6962, in base64.
    pub inclusion: Vec<String>,
}

/// Where a log stands in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stand {
    /// Name of the log in its checkpoints.
    pub origin: String,
    /// Number of its entries.
    #[serde(with = "text_u64")]
    pub size: u64,
    /// Their root.
    #[serde(with = "hex32")]
    pub root: [u8; 32],
}

impl Predicate for Bundle {
    const TYPE: &'static str = "https://github.com/douane/douane/attestation/bundle/v1";

    fn subjects(&self) -> Vec<StatementSubject> {
        let subject = |part: &Part| StatementSubject {
            name: part.origin().to_owned(),
            digest: Digests { sha256: canonical::sha256_hex(part.checkpoint.as_bytes()) },
        };
        self.logs.iter().map(subject).collect()
    }
}

/// Why no bundle is made, or one is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleFault {
    /// A signature or the shape.
    #[error(transparent)]
    Statement(#[from] StatementFault),
    /// It contradicts itself.
    #[error("bundle: {0}")]
    Invalid(&'static str),
    #[error("{}: {kind}", path.display())]
    Io { path: PathBuf, kind: ErrorKind },
    #[error("the published log {origin}: {why}")]
    Log { origin: String, why: &'static str },
    /// What is outside is more than what is here.
    #[error(
        "the published log {origin} has size {size}, and a bundle with size {bundled} is outside: the \
         ledger was put back\n  next: restore the newest backup of the ledger"
    )]
    RolledBack { origin: String, size: u64, bundled: u64 },
    #[error(
        "the published log {origin} does not go on from size {bundled}, which a bundle has outside: it \
         is another history\n  next: restore the newest backup of the ledger"
    )]
    Forked { origin: String, bundled: u64 },
}

/// Signs a bundle.
///
/// # Errors
/// [`BundleFault`].
pub fn sign(bundle: &Bundle, key: &SigningKey) -> Result<Envelope, BundleFault> {
    check(bundle)?;
    Ok(statement::sign(bundle, &[key])?)
}

/// The bundle, signed by one of these keys, and its digest.
///
/// # Errors
/// [`BundleFault`].
pub fn verify(envelope: &Envelope, keys: &[VerifyingKey]) -> Result<Signed<Bundle>, BundleFault> {
    let signed: Signed<Bundle> = statement::verify(envelope, keys)?;
    check(&signed.predicate)?;
    Ok(signed)
}

/// What the next one, and the ledger, name it by: SHA-256 of its payload, hexadecimal.
///
/// # Errors
/// [`BundleFault::Statement`] where it cannot be written.
pub fn digest(bundle: &Bundle) -> Result<String, BundleFault> {
    Ok(canonical::sha256_hex(&statement::payload(bundle)?))
}

/// The record key of a bundle of this number.
pub fn record_key(number: u64) -> String {
    format!("{KEY}{number}")
}

fn check(bundle: &Bundle) -> Result<(), BundleFault> {
    let digest = |digest: &String| hex_array::<32>(digest).is_some();
    let why = match () {
        () if bundle.v != FORMAT => "format version is not 1",
        () if bundle.number == 0 => "its number is 0",
        () if (bundle.number == 1) != bundle.previous.is_none() => {
            "the first names none before it, and each other one does"
        }
        () if !bundle.previous.iter().all(digest) => "previous is not 64 hexadecimal characters",
        () if bundle.every_ms == 0 || !bundle.at_ms.is_multiple_of(bundle.every_ms) => {
            "its time is not of its schedule"
        }
        () if bundle.logs.is_empty() => "it has no log",
        () if !bundle.logs.is_sorted_by(|one, next| one.origin() < next.origin()) => {
            "its logs are not in order, each once"
        }
        () => return Ok(()),
    };
    Err(BundleFault::Invalid(why))
}

#[cfg(test)]
mod tests;
