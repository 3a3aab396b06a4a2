//! Artifacts: a model that leaves in place of data. A signed statement says which bytes, of which kind, made
//! by whom for what, and what is in them; its subject is the file's own digest, so that public tools check it
//! beside the file.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, hex_array, text_u64};
use crate::dsse::Envelope;
use crate::release::{self, ReleaseFault, is_hidden};
use crate::statement::{self, Digests, Predicate, StatementSubject};
use crate::trust::{TrustRoot, is_person};

/// Version of the format.
pub const FORMAT: u32 = 1;
/// The longest name or purpose.
const NAME_MAX: usize = 256;

/// What a model file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// All weights, as they were trained.
    Checkpoint,
    /// All weights, in fewer bits.
    Quantised,
    /// What changed against another checkpoint.
    Diff,
}

impl Kind {
    /// As in files and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Quantised => "quantised",
            Self::Diff => "diff",
        }
    }
}

/// What is in the file, as it was vetted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// `safetensors`: tensors and their names, nothing that runs.
    pub format: String,
    /// How many.
    #[serde(with = "text_u64")]
    pub tensors: u64,
    /// Numbers in all of them.
    #[serde(with = "text_u64")]
    pub parameters: u64,
    /// Their types, sorted, each once.
    pub dtypes: Vec<String>,
    /// SHA-256 of the canonical JSON of names, types and shapes, hexadecimal.
    pub layout: String,
}

/// What people approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Version of this format: 1.
    pub v: u32,
    /// The file's name, without folders.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Its length.
    #[serde(with = "text_u64")]
    pub bytes: u64,
    /// SHA-256 of the checkpoint that it is made of; none for a checkpoint.
    pub base: Option<String>,
    /// What it may be used for.
    pub purpose: String,
    /// Who proposed it: does not count among the approvers where there is more than one.
    pub author: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// RFC 3339, UTC; it is dead from this instant on.
    pub expires: String,
    /// 16 random bytes in hexadecimal.
    pub nonce: String,
    /// What is in it.
    pub contents: Contents,
}

impl Predicate for Artifact {
    const TYPE: &'static str = "https://github.com/douane/douane/attestation/artifact/v1";

    fn subjects(&self) -> Vec<StatementSubject> {
        let digest = Digests { sha256: self.sha256.clone() };
        vec![StatementSubject { name: self.name.clone(), digest }]
    }
}

/// An artifact that enough persons approved of, and who.
#[derive(Clone, Debug)]
pub struct Approved {
    /// The statement.
    pub artifact: Artifact,
    /// SHA-256 of the signed payload: what a revocation names.
    pub digest: [u8; 32],
    /// Whose approval counts.
    pub approvers: Vec<String>,
}

/// A statement that nobody signed yet.
///
/// # Errors
/// [`ReleaseFault::Invalid`] for one that [`verify`] would refuse.
pub fn unsigned(artifact: &Artifact) -> Result<Envelope, ReleaseFault> {
    check(artifact)?;
    Ok(statement::sign(artifact, &[])?)
}

/// Reads a statement to show or to sign it; it proves nothing. Gives its digest with it.
///
/// # Errors
/// [`ReleaseFault`].
pub fn draft(envelope: &Envelope) -> Result<(Artifact, [u8; 32]), ReleaseFault> {
    let artifact: Artifact = statement::unverified(envelope)?;
    check(&artifact)?;
    let digest = canonical::sha256(&statement::payload(&artifact)?);
    Ok((artifact, digest))
}

/// Verifies signatures, threshold and life, by the rule of releases.
///
/// # Errors
/// [`ReleaseFault`]; without `Ok` nothing may be loaded.
pub fn verify(
    envelope: &Envelope,
    root: &TrustRoot,
    now: SystemTime,
) -> Result<Approved, ReleaseFault> {
    let signed = statement::verify::<Artifact>(envelope, &root.keys())?;
    let artifact = signed.predicate;
    let (created, expires) = check(&artifact)?;
    let approvers = release::approvers(&signed.signers, root, &artifact.author)?;
    let now = Timestamp::try_from(now).map_err(|_| invalid("the clock is outside of time"))?;
    // An hour of grace for clocks that differ; expiry has none.
    if created.as_second() > now.as_second().saturating_add(3600) {
        return Err(ReleaseFault::Future { at: artifact.created });
    }
    if now >= expires {
        return Err(ReleaseFault::Expired { at: artifact.expires });
    }
    Ok(Approved { artifact, digest: signed.digest, approvers })
}

fn invalid(why: &'static str) -> ReleaseFault {
    ReleaseFault::Invalid { why }
}

fn check(artifact: &Artifact) -> Result<(Timestamp, Timestamp), ReleaseFault> {
    let is_digest = |text: &String| hex_array::<32>(text).is_some();
    let is_text = |text: &str| (1..=NAME_MAX).contains(&text.len()) && !text.contains(is_hidden);
    let contents = &artifact.contents;
    let why = match () {
        () if artifact.v != FORMAT => "format version is not 1",
        () if !is_text(&artifact.name) || artifact.name.contains('/') => "name is no file's name",
        () if !is_text(&artifact.purpose) => "purpose is empty, too long, or cannot be seen",
        () if !is_digest(&artifact.sha256) => "sha256 is not a digest",
        () if artifact.base.as_ref().is_some_and(|base| !is_digest(base)) => "base is not a digest",
        () if (artifact.kind == Kind::Checkpoint) != artifact.base.is_none() => {
            "a checkpoint has no base, and what is made of one names it"
        }
        () if artifact.base.as_ref() == Some(&artifact.sha256) => "it is its own base",
        () if !is_person(&artifact.author) => "author is not a name as in the trust root",
        () if hex_array::<16>(&artifact.nonce).is_none() => {
            "nonce is not 32 hexadecimal characters"
        }
        () if !is_digest(&contents.layout) => "the layout is not a digest",
        () if contents.tensors == 0 || contents.dtypes.is_empty() => "nothing is in it",
        () => {
            let at = |text: &str, why| release::utc(text).ok_or(invalid(why));
            let created = at(&artifact.created, "created is not RFC 3339 in UTC")?;
            let expires = at(&artifact.expires, "expires is not RFC 3339 in UTC")?;
            return match expires > created {
                true => Ok((created, expires)),
                false => Err(invalid("expires is not after created")),
            };
        }
    };
    Err(invalid(why))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::release::tests::two;
    use crate::signing::SigningKey;

    /// 2027-01-15T08:00:00Z.
    const NOW: u64 = 1_800_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn artifact() -> Artifact {
        Artifact {
            v: 1,
            name: "model.safetensors".into(),
            kind: Kind::Checkpoint,
            sha256: "ab".repeat(32),
            bytes: 1_000,
            base: None,
            purpose: "inference".into(),
            author: "ada".into(),
            created: "2027-01-01T00:00:00Z".into(),
            expires: "2027-07-01T00:00:00Z".into(),
            nonce: "01".repeat(16),
            contents: Contents {
                format: "safetensors".into(),
                tensors: 2,
                parameters: 10,
                dtypes: vec!["F32".into()],
                layout: "cd".repeat(32),
            },
        }
    }

    #[test]
    fn an_artifact_takes_as_many_signatures_as_a_release() {
        let (root, keys) = two();
        let mut envelope = unsigned(&artifact()).unwrap();
        assert!(verify(&envelope, &root, at(NOW)).is_err());
        envelope.add_signature(&keys[0]).unwrap();
        assert_eq!(
            verify(&envelope, &root, at(NOW)).unwrap_err(),
            ReleaseFault::Threshold { found: 1, needed: 2 }
        );
        envelope.add_signature(&keys[1]).unwrap();
        let approved = verify(&envelope, &root, at(NOW)).unwrap();
        assert_eq!((approved.artifact, approved.approvers.len()), (artifact(), 2));
        assert_eq!(draft(&envelope).unwrap().1, approved.digest);
        let late = verify(&envelope, &root, at(NOW + 400 * 86_400)).unwrap_err();
        assert!(matches!(late, ReleaseFault::Expired { .. }));
        assert!(matches!(
            verify(&envelope, &root, at(0)).unwrap_err(),
            ReleaseFault::Future { .. }
        ));
        envelope.add_signature(&SigningKey::generate().unwrap()).unwrap();
        assert!(verify(&envelope, &root, at(NOW)).is_err(), "a stranger's signature");
        // A release is no artifact.
        let release = crate::release::sign(&crate::release::tests::release(), &[&keys[0]]).unwrap();
        assert!(verify(&release, &root, at(NOW)).is_err());
    }

    #[test]
    fn refuses_artifact_bad_fields() {
        type Change = fn(&mut Artifact);
        let bad: [Change; 12] = [
            |a| a.v = 2,
            |a| a.name = "a/b".into(),
            |a| a.name.clear(),
            |a| a.purpose = "x\u{202e}y".into(),
            |a| a.sha256.push('0'),
            |a| a.base = Some("ef".repeat(32)),
            |a| a.kind = Kind::Diff,
            |a| {
                a.kind = Kind::Quantised;
                a.base = Some(a.sha256.clone());
            },
            |a| a.author = "Ada".into(),
            |a| a.expires = a.created.clone(),
            |a| a.created = "2027-01-01T01:00:00+01:00".into(),
            |a| a.contents.tensors = 0,
        ];
        for (n, change) in bad.iter().enumerate() {
            let mut one = artifact();
            change(&mut one);
            assert!(matches!(unsigned(&one), Err(ReleaseFault::Invalid { .. })), "{n}");
        }
        let diff = Artifact { kind: Kind::Diff, base: Some("ef".repeat(32)), ..artifact() };
        assert!(unsigned(&diff).is_ok() && unsigned(&artifact()).is_ok());
    }
}
