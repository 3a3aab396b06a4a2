//! The schema registry: ids to schemas on the sovereign side, the output's schema on the other.
//!
//! Confluent's REST dialect, as Confluent's registry and Apicurio's `ccompat` speak it. They
//! differ: `schemaType` and `references` may be absent, `/config` answers under two names. No
//! answer's text is ever part of a fault: a schema can quote data in its defaults.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use douane_schemas::debezium::{Away, WriterSchemas};
use serde::Deserialize;
use ureq::tls::TlsConfig;
use ureq::{Agent, Body, http};
use zeroize::Zeroizing;

use crate::kafka::ClusterConfig;

mod settings;

use settings::{authorization, base_of, tls_config};

/// One request, with its connection and its answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer.
const BODY_BYTES_MAX: u64 = 4 << 20;

/// Schemas kept, and bytes of them; the oldest goes first.
const CACHE_SCHEMAS_MAX: usize = 1_024;
const CACHE_BYTES_MAX: usize = 64 << 20;

/// The only type of schema this version reads and writes.
const AVRO: &str = "AVRO";

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// The registry did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryFault {
    /// `douane.yaml` names a registry that cannot be asked.
    #[error("registry of zone `{zone}`: {problem}")]
    Settings { zone: String, problem: &'static str },
    /// A file of the registry's settings cannot be used.
    #[error("registry of zone `{zone}`: {} cannot be read: {kind}", .file.display())]
    File { zone: String, file: PathBuf, kind: io::ErrorKind },
    /// Nobody answers, or not in time. Trying again may help.
    #[error(
        "registry of zone `{zone}` at {at}: no answer ({reason}); is it up, and reachable from here?\n  \
         next: mend `registry` of the cluster in douane.yaml, or see that it is up"
    )]
    Unreachable { zone: String, at: String, reason: &'static str },
    /// 401 or 403.
    #[error(
        "registry of zone `{zone}`: status {status}: the user in `registry_auth_file` lacks the right"
    )]
    Denied { zone: String, status: u16 },
    /// 409: the subject's compatibility forbids the schema.
    #[error(
        "registry of zone `{zone}`: subject `{subject}` takes only compatible schemas, and this one is not"
    )]
    Incompatible { zone: String, subject: String },
    /// 422 and the like: the registry takes the request for wrong.
    #[error("registry of zone `{zone}`: refused with status {status}, code {code}")]
    Refused { zone: String, status: u16, code: u32 },
    /// A schema this version does not read.
    #[error("registry of zone `{zone}`: schema {id} is {what}; expected Avro without references")]
    Unsupported { zone: String, id: u32, what: &'static str },
    /// An answer that is no registry's.
    #[error(
        "registry of zone `{zone}`: an answer with status {status} that no registry gives ({problem}); is the URL right?"
    )]
    Answer { zone: String, status: u16, problem: &'static str },
}

impl RegistryFault {
    /// Whether something outside cannot be reached, as opposed to something being wrong.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// A client of one registry. It follows no redirect, uses no proxy of the environment, and keeps
/// what it has read: an id means one schema for ever.
pub struct Registry {
    zone: String,
    base: String,
    authorization: Option<Login>,
    agent: Agent,
    cache: Cache,
}

/// Where the password lies, and what stood there when it was read last.
struct Login {
    file: PathBuf,
    header: Mutex<Zeroizing<String>>,
}

impl Registry {
    /// A client for the cluster's `registry`; reaches nothing yet. Over TLS the cluster's `tls`
    /// files are used.
    ///
    /// # Errors
    /// `Settings` for a missing or odd URL; `File` for files that cannot be read.
    pub fn new(cluster: &ClusterConfig) -> Result<Self, RegistryFault> {
        let zone = cluster.zone.clone();
        let settings = |problem| RegistryFault::Settings { zone: zone.clone(), problem };
        let url = cluster.registry.as_deref().ok_or_else(|| {
            settings("none is named; add `registry: https://host:port` to the cluster")
        })?;
        let base = base_of(url).map_err(settings)?;
        let authorization = match &cluster.registry_auth_file {
            Some(file) => {
                let header = Mutex::new(authorization(&zone, file)?);
                Some(Login { file: file.clone(), header })
            }
            None => None,
        };
        let tls = match &cluster.tls {
            Some(tls) if base.starts_with("https:") => tls_config(&zone, tls)?,
            _ => TlsConfig::builder().build(),
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent("douane")
            .timeout_global(Some(TIMEOUT))
            .tls_config(tls)
            .build()
            .new_agent();
        Ok(Self { zone, base, authorization, agent, cache: Cache::default() })
    }

    /// Shortens the time a request may take. For tests of registries that hang.
    #[cfg(test)]
    fn with_timeout(mut self, timeout: Duration) -> Self {
        self.agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_global(Some(timeout))
            .build()
            .new_agent();
        self
    }

    /// The text of an Avro schema by its id; `None` where the registry answers that it has none.
    ///
    /// # Errors
    /// Any but `Incompatible`.
    pub fn schema(&mut self, id: u32) -> Result<Option<String>, RegistryFault> {
        // Ids are Java's ints: a registry refuses this one as a path it does not know.
        if i32::try_from(id).is_err() {
            return Ok(None);
        }
        if let Some(text) = self.cache.get(id) {
            return Ok(Some(text.to_owned()));
        }
        let Some(found) = self.get::<SchemaAnswer>(&format!("/schemas/ids/{id}"))? else {
            return Ok(None);
        };
        self.expect_avro(id, &found)?;
        self.cache.put(id, &found.schema);
        Ok(Some(found.schema))
    }

    /// Id and text of a subject's latest version; `None` where there is no such subject.
    ///
    /// # Errors
    /// Any but `Incompatible`.
    pub fn latest(&self, subject: &str) -> Result<Option<(u32, String)>, RegistryFault> {
        let path = format!("/subjects/{}/versions/latest", encoded(subject));
        let Some(found) = self.get::<SchemaAnswer>(&path)? else { return Ok(None) };
        let Some(id) = found.id else {
            return Err(self.no_registry(200, "a version without an id"));
        };
        self.expect_avro(id, &found)?;
        Ok(Some((id, found.schema)))
    }

    /// Registers an Avro schema under a subject and gives its id; the same schema again gives the
    /// same id.
    ///
    /// # Errors
    /// `Incompatible` where the subject's rule forbids it; any other.
    pub fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryFault> {
        let path = format!("/subjects/{}/versions", encoded(subject));
        let body = serde_json::json!({ "schema": schema, "schemaType": AVRO }).to_string();
        let (status, answer) = self.asked(|authorization| {
            let mut request =
                self.agent.post(self.base.clone() + &path).header("content-type", CONTENT_TYPE);
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            request.send(body.as_bytes())
        })?;
        match status {
            200 | 201 => Ok(self.parse::<IdAnswer>(status, &answer)?.id),
            409 => Err(RegistryFault::Incompatible {
                zone: self.zone.clone(),
                subject: subject.to_owned(),
            }),
            _ => Err(self.refusal(status, &answer)),
        }
    }

    /// The compatibility rule of a subject, or the registry's own where it has none: `BACKWARD`,
    /// `NONE`, …
    ///
    /// # Errors
    /// Any but `Incompatible`.
    pub fn compatibility(&self, subject: &str) -> Result<Option<String>, RegistryFault> {
        let found = match self.get::<ConfigAnswer>(&format!("/config/{}", encoded(subject)))? {
            Some(found) => Some(found),
            None => self.get::<ConfigAnswer>("/config")?,
        };
        Ok(found.and_then(|found| found.level.or(found.compatibility)))
    }

    /// `None` for a 404 that a registry gives, told from one that a wrong URL gives.
    fn get<T: for<'a> Deserialize<'a>>(&self, path: &str) -> Result<Option<T>, RegistryFault> {
        let (status, answer) = self.asked(|authorization| {
            let mut request =
                self.agent.get(self.base.clone() + path).header("accept", CONTENT_TYPE);
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            request.call()
        })?;
        match status {
            200 => self.parse(status, &answer).map(Some),
            404 if matches!(code_of(&answer), Some(40401..=40499)) => Ok(None),
            _ => Err(self.refusal(status, &answer)),
        }
    }

    /// One request. What the registry does not let in any more is asked once more where the file holds
    /// another password by now.
    fn asked(
        &self,
        request: impl Fn(Option<&str>) -> Result<http::Response<Body>, ureq::Error>,
    ) -> Result<(u16, Vec<u8>), RegistryFault> {
        let Some(login) = &self.authorization else { return self.read(request(None)) };
        let header = || login.header.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before = header();
        let answer = self.read(request(Some(before.as_str())))?;
        if answer.0 != 401 {
            return Ok(answer);
        }
        let now = authorization(&self.zone, &login.file)?;
        if *now == *before {
            return Ok(answer);
        }
        *login.header.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.read(request(Some(header().as_str())))
    }

    fn read(
        &self,
        answer: Result<http::Response<Body>, ureq::Error>,
    ) -> Result<(u16, Vec<u8>), RegistryFault> {
        let mut answer = answer.map_err(|e| self.unreachable(&e))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec();
        match body {
            Ok(body) => Ok((status, body)),
            Err(ureq::Error::BodyExceedsLimit(_)) => {
                Err(self.no_registry(status, "more than 4 MiB"))
            }
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    fn parse<T: for<'a> Deserialize<'a>>(
        &self,
        status: u16,
        answer: &[u8],
    ) -> Result<T, RegistryFault> {
        // serde's words can quote the answer.
        serde_json::from_slice(answer).map_err(|_| self.no_registry(status, "not its JSON"))
    }

    fn refusal(&self, status: u16, answer: &[u8]) -> RegistryFault {
        let zone = self.zone.clone();
        match (status, code_of(answer)) {
            (401 | 403, _) => RegistryFault::Denied { zone, status },
            (502..=504, _) => {
                RegistryFault::Unreachable { zone, at: self.base.clone(), reason: "gateway" }
            }
            (_, Some(code)) => RegistryFault::Refused { zone, status, code },
            (_, None) => self.no_registry(status, "no error code"),
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> RegistryFault {
        let reason = match error {
            ureq::Error::Timeout(_) => "time-out",
            ureq::Error::HostNotFound => "host not found",
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "connection refused"
            }
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => "time-out",
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => "TLS",
            ureq::Error::Protocol(_) => "not HTTP",
            _ => "connection",
        };
        RegistryFault::Unreachable { zone: self.zone.clone(), at: self.base.clone(), reason }
    }

    fn no_registry(&self, status: u16, problem: &'static str) -> RegistryFault {
        RegistryFault::Answer { zone: self.zone.clone(), status, problem }
    }

    /// Whether asking for one id failed for that id's sake, and asking again is vain.
    fn is_of_the_id(&self, fault: &RegistryFault) -> bool {
        match fault {
            RegistryFault::Unsupported { .. } => true,
            RegistryFault::Refused { status, .. } => {
                matches!(status, 400..=407 | 409..=428 | 430..=499)
            }
            // A page of something that stands before the registry is about no id. And rights may be given by
            // subject: who has none at all is refused what is of no subject.
            RegistryFault::Answer { .. } | RegistryFault::Denied { status: 403, .. } => {
                self.get::<serde::de::IgnoredAny>("/schemas/types").is_ok()
            }
            _ => false,
        }
    }

    fn expect_avro(&self, id: u32, found: &SchemaAnswer) -> Result<(), RegistryFault> {
        let what = if found.schema_type.as_deref().is_some_and(|found| found != AVRO) {
            "of another type"
        } else if !found.references.is_empty() {
            "one with references"
        } else {
            return Ok(());
        };
        Err(RegistryFault::Unsupported { zone: self.zone.clone(), id, what })
    }
}

impl WriterSchemas for Registry {
    fn schema_text(&mut self, id: u32) -> Result<Option<String>, Away> {
        match self.schema(id) {
            Ok(text) => Ok(text),
            // To the decoder it is an id that means nothing: its partition is held. Away would
            // stop every partition of the shard, for as long as the one record stays there.
            Err(fault) if self.is_of_the_id(&fault) => Ok(None),
            Err(fault) => Err(Away(fault.to_string())),
        }
    }
}

#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
    #[serde(default)]
    id: Option<u32>,
    #[serde(default, rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default, deserialize_with = "absent_or_null")]
    references: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct IdAnswer {
    id: u32,
}

#[derive(Deserialize)]
struct ConfigAnswer {
    #[serde(default, rename = "compatibilityLevel")]
    level: Option<String>,
    #[serde(default)]
    compatibility: Option<String>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: u32,
}

fn absent_or_null<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<serde::de::IgnoredAny>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn code_of(answer: &[u8]) -> Option<u32> {
    serde_json::from_slice::<ErrorAnswer>(answer).ok().map(|error| error.error_code)
}

/// RFC 3986 2.1: all but unreserved characters as their bytes.
fn encoded(subject: &str) -> String {
    use std::fmt::Write;
    subject.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
        path
    })
}

/// Schemas by id, bounded in number and bytes. What is unknown is not kept: it may come to be.
#[derive(Default)]
struct Cache {
    texts: HashMap<u32, String>,
    oldest_first: VecDeque<u32>,
    bytes: usize,
}

impl Cache {
    fn get(&self, id: u32) -> Option<&str> {
        self.texts.get(&id).map(String::as_str)
    }

    fn put(&mut self, id: u32, text: &str) {
        if text.len() > CACHE_BYTES_MAX || self.texts.contains_key(&id) {
            return;
        }
        while self.texts.len() >= CACHE_SCHEMAS_MAX || self.bytes + text.len() > CACHE_BYTES_MAX {
            let Some(oldest) = self.oldest_first.pop_front() else { break };
            self.bytes -= self.texts.remove(&oldest).map_or(0, |text| text.len());
        }
        self.bytes += text.len();
        self.oldest_first.push_back(id);
        self.texts.insert(id, text.to_owned());
    }
}

#[cfg(test)]
mod tests;
