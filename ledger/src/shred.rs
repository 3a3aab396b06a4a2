//! What was destroyed when keys of single subjects were shredded, and what remains: a signed statement
//! for whoever asks. It names no subject.

use serde::{Deserialize, Serialize};

use crate::canonical::{self, hex_array, text_u64};
use crate::dsse::Envelope;
use crate::release::{Column, Release, Shape};
use crate::signing::{SigningKey, VerifyingKey};
use crate::statement::{self, Digests, Predicate, StatementFault, StatementSubject};
use crate::trust::is_person;

/// Version of the format.
pub const FORMAT: u32 = 1;

/// The statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Version of this format: 1.
    pub v: u32,
    /// The key store.
    pub store: String,
    /// Its zone.
    pub region: String,
    /// RFC 3339 in UTC.
    pub at: String,
    /// Who had it done.
    pub by: String,
    /// For people.
    pub reason: String,
    /// What is gone.
    pub destroyed: Destroyed,
    /// Keys of other subjects, which were wrapped anew.
    #[serde(with = "text_u64")]
    pub survivors: u64,
    /// What of these subjects may still be outside, by pipeline.
    pub remains: Vec<Remaining>,
    /// Pipelines that use domains of this store and whose live release was not at hand: what remains
    /// of them is not said.
    pub not_looked_at: Vec<String>,
    /// What shredding does not reach, in words.
    pub notes: Vec<String>,
}

/// What is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destroyed {
    /// The token domain.
    pub domain: String,
    /// How many subjects.
    pub subjects: u32,
    /// Ids of their keys; all tokens under them are bytes without a meaning.
    pub key_ids: Vec<String>,
    /// Id of the key that they were wrapped under, which was destroyed with its copies.
    pub wrapped_under: String,
    /// The home of the store's wrapping key.
    pub home: String,
    /// Which of its wrapping keys was destroyed.
    pub generation: u32,
    /// A copy of the store from before cannot be opened, whoever has it. This was tried.
    pub is_final: bool,
    /// What might still open one.
    pub what: String,
}

/// What of a subject's values crosses under a live release and was not under its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remaining {
    /// The pipeline.
    pub pipeline: String,
    /// Its release.
    pub release: String,
    /// The topic outside.
    pub topic: String,
    /// Its columns, record key first.
    pub columns: Vec<RemainingColumn>,
}

/// A column that is not under keys of single subjects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemainingColumn {
    /// Its name outside.
    pub column: String,
    /// The leaf that it comes from; empty where it is computed of several.
    pub from: String,
    /// `token`, `reversible_token`, `subject_token`, `fpe`, or the shape's name.
    pub how: String,
    /// Of tokens and encrypted values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

impl Predicate for Certificate {
    const TYPE: &'static str = "https://github.com/douane/douane/attestation/shred/v1";

    fn subjects(&self) -> Vec<StatementSubject> {
        let bytes = canonical::to_vec(&self.destroyed).unwrap_or_default();
        let digest = Digests { sha256: canonical::sha256_hex(&bytes) };
        vec![StatementSubject { name: format!("keys/{}", self.destroyed.domain), digest }]
    }
}

/// Why a certificate is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CertificateFault {
    /// A signature or the shape.
    #[error(transparent)]
    Statement(#[from] StatementFault),
    /// It contradicts itself.
    #[error("certificate: {0}")]
    Invalid(&'static str),
}

/// Signs a certificate.
///
/// # Errors
/// [`CertificateFault`].
pub fn sign(certificate: &Certificate, key: &SigningKey) -> Result<Envelope, CertificateFault> {
    check(certificate)?;
    Ok(statement::sign(certificate, &[key])?)
}

/// The certificate, and the digest that the ledger names it by.
///
/// # Errors
/// [`CertificateFault`].
pub fn verify(
    envelope: &Envelope,
    key: VerifyingKey,
) -> Result<(Certificate, String), CertificateFault> {
    let signed = statement::verify::<Certificate>(envelope, &[key])?;
    check(&signed.predicate)?;
    Ok((signed.predicate, canonical::hex(&signed.digest)))
}

fn check(certificate: &Certificate) -> Result<(), CertificateFault> {
    let destroyed = &certificate.destroyed;
    let id = |id: &String| hex_array::<16>(id).is_some();
    let why = match () {
        () if certificate.v != FORMAT => "format version is not 1",
        () if !id(&certificate.store) => "store is not 32 hexadecimal characters",
        () if destroyed.subjects == 0 => "no subject was shredded",
        () if !destroyed.key_ids.iter().all(id) || !id(&destroyed.wrapped_under) => {
            "a key id is not 32 hexadecimal characters"
        }
        () if !is_person(&certificate.by) => "by is not a name as in the trust root",
        () => return Ok(()),
    };
    Err(CertificateFault::Invalid(why))
}

/// What of a subject remains under a release after its keys in `domain` are gone: every column that
/// was not under them.
pub fn remaining(release: &Release, digest: &str, domain: &str) -> Remaining {
    let gone = |column: &&Column| match &column.shape {
        Shape::Token { domain: of, key_per, .. } => key_per.is_some() && of == domain,
        _ => false,
    };
    let columns = release.key.iter().chain(&release.columns).filter(|column| !gone(column));
    Remaining {
        pipeline: release.pipeline.clone(),
        release: digest.to_owned(),
        topic: release.target.topic.clone(),
        columns: columns.map(of_column).collect(),
    }
}

fn of_column(column: &Column) -> RemainingColumn {
    let (how, domain) = match &column.shape {
        Shape::Token { domain, key_per: Some(_), .. } => ("subject_token".to_owned(), Some(domain)),
        Shape::Token { domain, pad_to: Some(_), .. } => {
            ("reversible_token".to_owned(), Some(domain))
        }
        Shape::Token { domain, .. } => ("token".to_owned(), Some(domain)),
        Shape::Fpe { domain, .. } => ("fpe".to_owned(), Some(domain)),
        other => {
            let kind = serde_json::to_value(other).unwrap_or_default();
            (kind["kind"].as_str().unwrap_or_default().to_owned(), None)
        }
    };
    RemainingColumn {
        column: column.name.clone(),
        from: column.from.clone(),
        how,
        domain: domain.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Certificate {
        Certificate {
            v: FORMAT,
            store: "ab".repeat(16),
            region: "eu-de".into(),
            at: "2026-11-21T22:00:00Z".into(),
            by: "cleo".into(),
            reason: "case 7".into(),
            destroyed: Destroyed {
                domain: "email".into(),
                subjects: 1,
                key_ids: vec!["0f".repeat(16)],
                wrapped_under: "cd".repeat(16),
                home: "pkcs11".into(),
                generation: 3,
                is_final: true,
                what: "nothing".into(),
            },
            survivors: 9,
            remains: Vec::new(),
            not_looked_at: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_certificate_is_of_its_key_and_kind() {
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let envelope = sign(&certificate(), &key).unwrap();
        let (found, named) = verify(&envelope, key.verifying_key()).unwrap();
        assert_eq!(
            (found, named),
            (certificate(), canonical::sha256_hex(&statement::payload(&certificate()).unwrap()))
        );
        let other = SigningKey::from_seed(&[2; 32]).unwrap();
        assert!(verify(&envelope, other.verifying_key()).is_err());
        // Another statement under the same key is none.
        let bytes = String::from_utf8(envelope.unverified_payload().unwrap().to_vec()).unwrap();
        let changed = bytes.replace("\"survivors\":\"9\"", "\"survivors\":\"8\"");
        assert_ne!(bytes, changed);
        let forged = Envelope::sign(changed.replace("shred/v1", "shred/v2").as_bytes(), &[&key]);
        assert!(verify(&forged, key.verifying_key()).is_err());
    }

    #[test]
    fn certificates_bad_version_bad_count_bad_id_bad_name() {
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let spoil: [(&str, fn(&mut Certificate)); 5] = [
            ("version", |c| c.v = 2),
            ("no subject", |c| c.destroyed.subjects = 0),
            ("key id", |c| c.destroyed.key_ids.push("0f".into())),
            ("store", |c| c.store.clear()),
            ("by is", |c| c.by = "a b".into()),
        ];
        for (says, spoil) in spoil {
            let mut certificate = certificate();
            spoil(&mut certificate);
            let fault = sign(&certificate, &key).unwrap_err().to_string();
            assert!(fault.contains(says), "{says}: {fault}");
        }
    }
}
