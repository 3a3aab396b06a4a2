//! The wrapping key in a key service: the transit engine of Vault and OpenBao, over HTTPS. It wraps
//! and unwraps the one key of the store, and is asked for nothing else.
//!
//! API: `POST /v1/MOUNT/{encrypt,decrypt}/KEY`, `GET /v1/MOUNT/keys/KEY`,
//! `POST /v1/MOUNT/keys/KEY/{rotate,config,trim}`. No answer's text is ever part of a fault.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use data_encoding::BASE64;
use douane_schemas::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body, http};
use zeroize::Zeroizing;

use super::wrapping::{KeyStore, Remains, WrappingKey, secret_of};
use super::{KeyFault, io_fault, read};
use crate::config::TransitHome;

const NAME: &str = "transit";
/// One request, with its connection and its answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer: a ciphertext of 32 bytes, or what is known of a key.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// See the module.
pub struct Transit {
    config: TransitHome,
    lease: Duration,
    timeout: Duration,
}

fn away(why: impl std::fmt::Display) -> KeyFault {
    KeyFault::Away { home: NAME, why: why.to_string() }
}

fn refused(why: impl std::fmt::Display) -> KeyFault {
    KeyFault::Refused { home: NAME, why: why.to_string() }
}

const OUT_OF_FORM: &str = "an answer that is not of the transit API";

#[derive(Deserialize)]
struct Ciphertext<'a> {
    #[serde(borrow)]
    data: CiphertextData<'a>,
}

#[derive(Deserialize)]
struct CiphertextData<'a> {
    #[serde(borrow)]
    ciphertext: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Plaintext<'a> {
    #[serde(borrow)]
    data: PlaintextData<'a>,
}

#[derive(Deserialize)]
struct PlaintextData<'a> {
    #[serde(borrow)]
    plaintext: &'a str,
}

#[derive(Deserialize)]
struct Known {
    data: KnownData,
}

#[derive(Deserialize)]
struct KnownData {
    /// The oldest that was not trimmed; 0 where none was.
    #[serde(default)]
    min_available_version: u64,
}

/// What the service said, once it said something that is not `away`.
struct Answer {
    status: u16,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, KeyFault> {
        // serde's words can quote the answer.
        serde_json::from_slice(&self.body).map_err(|_| away(OUT_OF_FORM))
    }

    /// A plain yes, with or without a body.
    fn yes(self) -> Result<Self, KeyFault> {
        match self.status {
            200 | 204 => Ok(self),
            400 => Err(refused("status 400: the request is not taken")),
            401 | 403 => Err(refused(format_args!(
                "status {}: the token in `token_file` is not valid, or lacks the right",
                self.status
            ))),
            404 => Err(refused("status 404: no such mount or key")),
            status => Err(away(format_args!("status {status}"))),
        }
    }
}

impl Transit {
    pub fn new(config: TransitHome, lease: Duration) -> Self {
        Self { config, lease, timeout: TIMEOUT }
    }

    fn agent(&self) -> Result<Agent, KeyFault> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &self.config.ca_file {
            let bytes = fs::read(path).map_err(io_fault(path))?;
            let certificates: Vec<_> = ureq::tls::parse_pem(&bytes)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(found)) => Some(found),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                return Err(KeyFault::Form {
                    path: path.clone(),
                    expected: "a certificate in PEM",
                });
            }
            tls = tls.root_certs(RootCerts::from(certificates));
        }
        Ok(Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent("douane")
            .timeout_global(Some(self.timeout))
            .tls_config(tls.build())
            .build()
            .new_agent())
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/{}/{path}", self.config.url, self.config.mount)
    }

    /// The token is read each time: who keeps it fresh writes a new one into the file.
    fn token(&self) -> Result<Zeroizing<String>, KeyFault> {
        let path = &self.config.token_file;
        let bytes = read(path)?;
        let token = std::str::from_utf8(bytes.trim_ascii_end()).ok();
        let token =
            token.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()));
        let form = || KeyFault::Form { path: path.clone(), expected: "a token of one line" };
        Ok(Zeroizing::new(token.ok_or_else(form)?.to_owned()))
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<Answer, KeyFault> {
        let request = self
            .agent()?
            .post(self.url(path))
            .header("X-Vault-Token", self.token()?.as_str())
            .header("X-Vault-Request", "true")
            .header("Content-Type", "application/json");
        answer(request.send(body))
    }

    fn get(&self, path: &str) -> Result<Answer, KeyFault> {
        let request = self
            .agent()?
            .get(self.url(path))
            .header("X-Vault-Token", self.token()?.as_str())
            .header("X-Vault-Request", "true");
        answer(request.call())
    }

    fn ask(&self, path: &str, body: &Value) -> Result<Answer, KeyFault> {
        self.post(path, body.to_string().as_bytes())?.yes()
    }

    /// No version before that of the generation after this one may open anything, and they are
    /// deleted; unless one of them is not this store's: then nothing is done, and it says `false`.
    fn trim(&self, generation: u32, versions: &BTreeMap<u32, u64>) -> Result<bool, KeyFault> {
        let Some((_, &kept)) = versions.range(generation.saturating_add(1)..).next() else {
            return Ok(false);
        };
        let key = format!("keys/{}", self.config.key);
        let known = self.get(&key)?.yes()?.parse::<Known>()?.data;
        if !all_own(known.min_available_version.max(1), kept, versions) {
            return Ok(false);
        }
        let least = json!({"min_decryption_version": kept, "min_encryption_version": kept});
        self.ask(&format!("{key}/config"), &least)?;
        self.ask(&format!("{key}/trim"), &json!({"min_available_version": kept}))?;
        Ok(true)
    }
}

/// Whether the versions from `first` to before `kept` are this store's. No store uses version 1,
/// which was there before any: it goes with the store that came first.
fn all_own(first: u64, kept: u64, versions: &BTreeMap<u32, u64>) -> bool {
    let own = |version| match version {
        1 => versions.get(&1) == Some(&2),
        _ => versions.values().any(|own| *own == version),
    };
    (first..kept).all(own)
}

/// N of `vault:vN:…`.
fn version_of(ciphertext: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(ciphertext).ok()?;
    let (number, _) = text.strip_prefix("vault:v")?.split_once(':')?;
    number.parse().ok().filter(|number| *number > 0)
}

fn answer(said: Result<http::Response<Body>, ureq::Error>) -> Result<Answer, KeyFault> {
    let mut said = said.map_err(|error| away(reason(&error)))?;
    let body = said.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec();
    let body = Zeroizing::new(body.map_err(|error| away(reason(&error)))?);
    Ok(Answer { status: said.status().as_u16(), body })
}

fn reason(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Timeout(_) => "no answer in time",
        ureq::Error::HostNotFound => "no such host",
        ureq::Error::BodyExceedsLimit(_) => OUT_OF_FORM,
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "its certificate is not accepted",
        ureq::Error::Protocol(_) | ureq::Error::Http(_) => OUT_OF_FORM,
        _ => "no connection",
    }
}

/// `{"plaintext": "…", "associated_data": "…"}`, made in one buffer that is wiped.
fn to_encrypt(secret: &Secret, aad: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(String::with_capacity(1024 + 2 * aad.len()));
    body.push_str("{\"plaintext\":\"");
    BASE64.encode_append(secret.bytes(), &mut body);
    body.push_str("\",\"associated_data\":\"");
    BASE64.encode_append(aad, &mut body);
    body.push_str("\"}");
    Zeroizing::new(std::mem::take(&mut *body).into_bytes())
}

impl KeyStore for Transit {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Each generation is a new version of the service's key, so that no two stores use one. A
    /// crash after it leaves a version that wraps nothing and is nobody's: it is not destroyed, nor
    /// is what is before it.
    fn wrap(
        &self,
        _key: WrappingKey<'_>,
        secret: &Secret,
        aad: &[u8],
    ) -> Result<Vec<u8>, KeyFault> {
        self.ask(&format!("keys/{}/rotate", self.config.key), &json!({}))?;
        let path = format!("encrypt/{}", self.config.key);
        let answer = self.post(&path, &to_encrypt(secret, aad))?.yes()?;
        let wrapped = answer.parse::<Ciphertext<'_>>()?.data.ciphertext.as_bytes().to_vec();
        version_of(&wrapped).map(|_| wrapped).ok_or_else(|| away(OUT_OF_FORM))
    }

    fn version(&self, wrapped: &[u8]) -> Option<u64> {
        version_of(wrapped)
    }

    fn unwrap(
        &self,
        _key: WrappingKey<'_>,
        wrapped: &[u8],
        aad: &[u8],
    ) -> Result<Secret, KeyFault> {
        let none = KeyFault::NotWrappedHere { home: NAME };
        let Ok(ciphertext) = std::str::from_utf8(wrapped) else { return Err(none) };
        let body = json!({"ciphertext": ciphertext, "associated_data": BASE64.encode(aad)});
        let path = format!("decrypt/{}", self.config.key);
        let answer = self.post(&path, body.to_string().as_bytes())?;
        // Other associated data, another key, a version that is retired: the service does not say
        // which in a form of its own.
        if answer.status == 400 {
            return Err(none);
        }
        let answer = answer.yes()?;
        let plaintext = answer.parse::<Plaintext<'_>>()?.data.plaintext;
        let plain = BASE64.decode(plaintext.as_bytes()).map_err(|_| away(OUT_OF_FORM))?;
        secret_of(&Zeroizing::new(plain)).ok_or_else(|| away(OUT_OF_FORM))
    }

    fn destroy(
        &self,
        key: WrappingKey<'_>,
        versions: &BTreeMap<u32, u64>,
    ) -> Result<Remains, KeyFault> {
        match self.trim(key.generation, versions) {
            Ok(true) => Ok(Remains {
                is_final: true,
                what: "nothing opens a backup of the store, unless the key service is restored \
                       from a backup of its own",
            }),
            Ok(false) => Ok(Remains {
                is_final: false,
                what: "the key service still has the old version: its key also has versions that \
                       this store did not make or lost in a crash, and it destroys its own only; \
                       let somebody who knows whose they are trim it, and give each place a key of \
                       its own",
            }),
            Err(KeyFault::Refused { .. }) => Ok(Remains {
                is_final: false,
                what: "the key service still has the old version: its token may not read, configure or trim \
                       the key; let somebody who may trim it",
            }),
            Err(other) => Err(other),
        }
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }
}

#[cfg(test)]
mod tests;
