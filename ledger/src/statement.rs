//! In-toto statements, version 1: what an envelope's payload is.
//! <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::canonical::{self, CanonicalFault};
use crate::dsse::{Envelope, EnvelopeFault};
use crate::signing::{SigningKey, VerifyingKey};

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Why a signed statement is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StatementFault {
    /// The envelope or a signature on it.
    #[error(transparent)]
    Envelope(#[from] EnvelopeFault),
    /// The payload is not canonical, or not of this predicate's shape.
    #[error("statement: {0}")]
    Canonical(#[from] CanonicalFault),
    /// Another kind of statement: a manifest is not a release.
    #[error("statement is not of type {expected}")]
    Type { expected: &'static str },
    /// The subjects are not those that the predicate implies.
    #[error("statement's subjects do not fit its predicate")]
    Subjects,
}

/// A named artefact and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementSubject {
    /// For people and `cosign`; says which file the digest is of.
    pub name: String,
    /// Digests of the artefact.
    pub digest: Digests,
}

/// SHA-256 only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digests {
    /// Lower-case hexadecimal.
    pub sha256: String,
}

/// A predicate that is signed as an in-toto statement.
pub trait Predicate: Serialize + DeserializeOwned {
    /// The predicate's type, with its version.
    const TYPE: &'static str;
    /// What the statement is about; derived from the predicate, compared when read. Never empty.
    fn subjects(&self) -> Vec<StatementSubject>;
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement<P> {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<StatementSubject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: P,
}

/// The canonical payload of a statement: what is signed, and what a digest names.
///
/// # Errors
/// [`StatementFault::Canonical`] where the predicate cannot be written.
pub fn payload<P: Predicate>(predicate: &P) -> Result<Vec<u8>, StatementFault> {
    let statement = Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: predicate.subjects(),
        predicate_type: P::TYPE.to_owned(),
        predicate,
    };
    Ok(canonical::to_vec(&statement)?)
}

/// Signs a predicate.
///
/// # Errors
/// As [`payload`].
pub fn sign<P: Predicate>(predicate: &P, keys: &[&SigningKey]) -> Result<Envelope, StatementFault> {
    Ok(Envelope::sign(&payload(predicate)?, keys))
}

/// A statement of which every signature was verified.
#[derive(Debug)]
pub struct Signed<P> {
    /// The content.
    pub predicate: P,
    /// SHA-256 of the payload: the statement's name elsewhere.
    pub digest: [u8; 32],
    /// Who signed, distinct.
    pub signers: Vec<VerifyingKey>,
}

/// Verifies every signature and reads the predicate.
///
/// # Errors
/// [`StatementFault`].
pub fn verify<P: Predicate>(
    envelope: &Envelope,
    keys: &[VerifyingKey],
) -> Result<Signed<P>, StatementFault> {
    let verified = envelope.verify(keys)?;
    let predicate = parse(&verified.payload)?;
    let digest = canonical::sha256(&verified.payload);
    Ok(Signed { predicate, digest, signers: verified.signers })
}

/// Reads a predicate that nobody verified yet: to show or to sign it, never to act on it.
///
/// # Errors
/// [`StatementFault`].
pub fn unverified<P: Predicate>(envelope: &Envelope) -> Result<P, StatementFault> {
    parse(&envelope.unverified_payload()?)
}

fn parse<P: Predicate>(payload: &[u8]) -> Result<P, StatementFault> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "_type")]
        statement_type: String,
        #[serde(rename = "predicateType")]
        predicate_type: String,
    }
    if payload.len() > canonical::DOCUMENT_BYTES_MAX {
        let max = canonical::DOCUMENT_BYTES_MAX;
        return Err(CanonicalFault::TooLong { bytes: payload.len(), max }.into());
    }
    // The type first: another statement's shape would only say "not of the expected shape".
    let head: Head = serde_json::from_slice(payload)
        .map_err(|e| CanonicalFault::Shape { line: e.line(), column: e.column() })?;
    if head.statement_type != STATEMENT_TYPE || head.predicate_type != P::TYPE {
        return Err(StatementFault::Type { expected: P::TYPE });
    }
    let statement: Statement<P> = canonical::from_slice(payload)?;
    if statement.subject != statement.predicate.subjects() {
        return Err(StatementFault::Subjects);
    }
    Ok(statement.predicate)
}
