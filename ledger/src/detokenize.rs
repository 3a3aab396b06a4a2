//! A request to turn tokens back into values, signed by as many persons as the trust root asks for.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, hex, hex_array};
use crate::dsse::Envelope;
use crate::statement::{self, Digests, Predicate, StatementFault, StatementSubject};
use crate::trust::{Role, TrustRoot, is_person};

/// Version of the format.
pub const FORMAT: u32 = 1;
/// How long a request may be used.
pub const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Characters of a name in a request.
const NAME_MAX: usize = 1024;
/// One byte of a token numbers its key.
const KEY_VERSIONS_MAX: usize = 256;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Version of this format: 1.
    pub v: u32,
    /// 32 hexadecimal characters: a request is used once.
    pub nonce: String,
    /// Who asks; no approver of their own request.
    pub by: String,
    /// For people.
    pub reason: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// Fingerprint of the release in force: what the column is, and how it was made.
    pub fingerprint: String,
    /// The column outside.
    pub column: String,
    /// The token domain.
    pub domain: String,
    /// Label of the purpose of the keys that open them: which algorithm made the values.
    pub purpose: String,
    /// The versions of the domain's keys that open them, ascending.
    pub key_versions: Vec<u32>,
    /// How many tokens.
    pub count: u32,
    /// SHA-256 over the nonce and the tokens, each with its length: these and no others.
    pub tokens: String,
    /// RFC 3339 in UTC.
    pub expires: String,
}

impl Predicate for Request {
    const TYPE: &'static str = "https://github.com/douane/douane/attestation/detokenize/v1";

    fn subjects(&self) -> Vec<StatementSubject> {
        let digest = Digests { sha256: self.tokens.clone() };
        vec![StatementSubject { name: format!("tokens/{}", self.column), digest }]
    }
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestFault {
    /// A signature or the shape.
    #[error(transparent)]
    Statement(#[from] StatementFault),
    /// It contradicts itself.
    #[error("request: {0}")]
    Invalid(&'static str),
    /// Too late.
    #[error("the request expired at {0}")]
    Expired(String),
    /// It cannot be written.
    #[error(transparent)]
    Envelope(#[from] crate::dsse::EnvelopeFault),
    /// Too few.
    #[error("{found} of {needed} approvers signed; who asks does not count")]
    Threshold { found: usize, needed: usize },
}

/// Digest of tokens under a request's nonce.
pub fn digest(nonce: &str, tokens: &[String]) -> String {
    let mut bytes = Vec::new();
    for text in std::iter::once(nonce).chain(tokens.iter().map(String::as_str)) {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    canonical::sha256_hex(&bytes)
}

/// A request that nobody signed yet.
///
/// # Errors
/// [`RequestFault`].
pub fn draft(request: &Request) -> Result<Envelope, RequestFault> {
    check(request)?;
    Ok(statement::sign(request, &[])?)
}

/// Reads a request that nobody verified: to show or to sign it.
///
/// # Errors
/// [`RequestFault`].
pub fn unverified(envelope: &Envelope) -> Result<Request, RequestFault> {
    let request = statement::unverified(envelope)?;
    check(&request)?;
    Ok(request)
}

/// The request and the names of those who approved of it: as many as `root` asks for, none of them
/// the person who asks.
///
/// # Errors
/// [`RequestFault`].
pub fn verify(
    envelope: &Envelope,
    root: &TrustRoot,
    now: SystemTime,
) -> Result<(Request, Vec<String>), RequestFault> {
    let signed = statement::verify::<Request>(envelope, &root.keys())?;
    let request = signed.predicate;
    check(&request)?;
    let expires: Timestamp =
        request.expires.parse().map_err(|_| RequestFault::Invalid("expires is no time"))?;
    let Some(now) = Timestamp::try_from(now).ok().filter(|now| *now < expires) else {
        return Err(RequestFault::Expired(request.expires));
    };
    // An hour of grace for clocks that differ.
    let left = expires.duration_since(now).unsigned_abs();
    if left > LIFE + Duration::from_secs(3600) {
        return Err(RequestFault::Invalid("expires is further away than a request may live"));
    }
    let mut names: Vec<String> = signed
        .signers
        .iter()
        .filter_map(|key| root.person(key, Role::Approve))
        .map(|person| person.name.clone())
        .filter(|name| *name != request.by)
        .collect();
    names.sort();
    names.dedup();
    let needed = root.root().detokenize.unwrap_or(0) as usize;
    match names.len() >= needed {
        true => Ok((request, names)),
        false => Err(RequestFault::Threshold { found: names.len(), needed }),
    }
}

fn check(request: &Request) -> Result<(), RequestFault> {
    let names = [&request.pipeline, &request.column, &request.domain, &request.purpose];
    let is_name = |name: &&String| {
        (1..=NAME_MAX).contains(&name.len()) && !name.contains(crate::release::is_hidden)
    };
    let versions = &request.key_versions;
    let why = match () {
        () if request.v != FORMAT => "format version is not 1",
        () if hex_array::<16>(&request.nonce).is_none() => "nonce is not 32 hexadecimal characters",
        () if hex_array::<32>(&request.tokens).is_none() => "tokens is not a digest",
        () if hex_array::<32>(&request.fingerprint).is_none() => "fingerprint is not a digest",
        () if !names.iter().all(is_name) => {
            "pipeline, column, domain or purpose is empty, too long, or cannot be seen"
        }
        () if request.count == 0 => "it is for no value",
        () if versions.is_empty() || versions.len() > KEY_VERSIONS_MAX => {
            "key_versions is empty or too long: no value is one of this domain"
        }
        () if !versions.is_sorted_by(|before, after| before < after) => {
            "key_versions is not ascending"
        }
        () if !is_person(&request.by) => "by is not a name as in the trust root",
        () if request.reason.is_empty() || request.reason.len() > 200 => {
            "reason has not 1 to 200 characters"
        }
        () if request.reason.contains(crate::release::is_hidden) => {
            "reason holds a character that cannot be seen"
        }
        () if !request.expires.ends_with('Z') => "expires is not RFC 3339 in UTC",
        () => return Ok(()),
    };
    Err(RequestFault::Invalid(why))
}

/// A fresh nonce.
///
/// # Errors
/// [`RequestFault::Invalid`] where the system has no entropy.
pub fn nonce() -> Result<String, RequestFault> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| RequestFault::Invalid("the system gave no randomness"))?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::SigningKey;
    use crate::trust::{Approver, Root};

    fn sign(
        envelope: Option<Envelope>,
        request: &Request,
        key: &SigningKey,
    ) -> Result<Envelope, RequestFault> {
        let mut envelope = envelope.map_or_else(|| draft(request), Ok)?;
        envelope.add_signature(key).map_err(StatementFault::from)?;
        Ok(envelope)
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn root(detokenize: Option<u32>) -> TrustRoot {
        let approver = |name: &str, seed, roles: &[Role]| Approver {
            name: name.into(),
            key: key(seed).verifying_key(),
            roles: roles.to_vec(),
        };
        let approve = &[Role::Approve, Role::Trust];
        let approvers = vec![
            approver("ada", 1, approve),
            approver("bo", 2, approve),
            approver("eve", 3, &[Role::Revoke]),
        ];
        let root = Root { detokenize, ..Root::first(2, approvers) };
        let envelope = crate::trust::sign(&root, &[&key(1), &key(2)]).unwrap();
        TrustRoot::load(&[envelope.to_bytes().unwrap()].concat(), None).unwrap()
    }

    fn request(by: &str) -> Request {
        let nonce = "ab".repeat(16);
        Request {
            v: FORMAT,
            by: by.into(),
            reason: "case 7".into(),
            pipeline: "p".into(),
            fingerprint: "0f".repeat(32),
            column: "email".into(),
            domain: "email".into(),
            purpose: "douane/v1/token-siv".into(),
            key_versions: vec![1, 2],
            count: 2,
            tokens: digest(&nonce, &["a".into(), "b".into()]),
            expires: "2023-11-15T22:00:00Z".into(),
            nonce,
        }
    }

    fn signed(by: &str, seeds: &[u8]) -> Envelope {
        let request = request(by);
        let fold = |envelope, seed: &u8| Some(sign(envelope, &request, &key(*seed)).unwrap());
        seeds.iter().fold(None, fold).unwrap()
    }

    #[test]
    fn it_takes_as_many_approvers_as_the_root_says() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        let late = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_900_000_000);
        let two = root(Some(2));
        let (found, names) = verify(&signed("cleo", &[1, 2]), &two, now).unwrap();
        assert_eq!((found, names), (request("cleo"), vec!["ada".to_owned(), "bo".to_owned()]));
        let refused = |envelope: &Envelope, root: &TrustRoot, now| {
            verify(envelope, root, now).unwrap_err().to_string()
        };
        assert!(refused(&signed("cleo", &[1]), &two, now).contains("1 of 2"));
        assert!(refused(&signed("bo", &[1, 2]), &two, now).contains("1 of 2"), "bo asked");
        assert!(refused(&signed("cleo", &[1, 3]), &two, now).contains("1 of 2"), "eve may not");
        assert!(refused(&signed("cleo", &[1, 2]), &two, late).contains("expired"));
        assert!(verify(&signed("cleo", &[1, 9]), &two, now).is_err(), "a stranger");
        verify(&signed("cleo", &[1]), &root(Some(1)), now).unwrap();
    }

    #[test]
    fn one_that_lives_too_long_or_says_too_little_is_refused() {
        // 22:00 of the day before, and of the one before that.
        let [day, days] = [1_699_999_200, 1_699_912_800]
            .map(|s| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(s));
        let root = root(Some(1));
        verify(&signed("cleo", &[1]), &root, day).unwrap();
        let fault = verify(&signed("cleo", &[1]), &root, days).unwrap_err().to_string();
        assert!(fault.contains("further away"), "{fault}");
        let spoil: [(&str, fn(&mut Request)); 7] = [
            ("fingerprint", |r| r.fingerprint = "abc".into()),
            ("domain", |r| r.domain = String::new()),
            ("cannot be seen", |r| r.column = "email\u{1b}[2K".into()),
            ("cannot be seen", |r| r.purpose = "x\n".into()),
            ("no value", |r| r.count = 0),
            ("key_versions", |r| r.key_versions = vec![]),
            ("ascending", |r| r.key_versions = vec![2, 2]),
        ];
        for (says, spoil) in spoil {
            let mut request = request("cleo");
            spoil(&mut request);
            let fault = sign(None, &request, &key(1)).unwrap_err().to_string();
            assert!(fault.contains(says), "{says}: {fault}");
        }
    }

    #[test]
    fn no_two_lists_of_tokens_have_one_digest() {
        let digest = |tokens: &[&str]| {
            super::digest("n", &tokens.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>())
        };
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["a", "b"]), digest(&["b", "a"]));
    }
}
