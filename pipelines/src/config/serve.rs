//! `serve` in douane.yaml: where the service listens, and who may call it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::finding::{Findings, Kind};
use super::yaml::Node;
use crate::names::{NAME_BYTES_MAX, is_name};

/// What somebody may do with the service. No role crosses anything by itself: what crosses is what
/// approvers signed, with keys of their own.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Writes pipelines: creates, changes and deletes connectors.
    Author,
    /// Reads what is to be signed.
    Approver,
    /// Pauses, resumes, stops and restarts; levels of logs.
    Operator,
    /// Reads evidence.
    Auditor,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Author, Self::Approver, Self::Operator, Self::Auditor];

    /// As files and messages write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Author => "author",
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }
}

/// Groups of calls that a place may want two persons for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Creates or changes a connector.
    Write,
    /// Deletes one.
    Delete,
    /// Resumes or restarts one.
    Start,
    /// Pauses or stops one.
    Stop,
    /// Brings a signed revocation.
    Revoke,
}

impl Act {
    /// As files and messages write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Revoke => "revoke",
        }
    }
}

/// How the service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServePlace {
    pub listen: SocketAddr,
    /// The folder of the pipelines' files.
    pub pipelines: PathBuf,
    /// Who may call: names, roles, and digests of tokens.
    pub tokens: PathBuf,
    /// What a caller from this machine may do without a token.
    pub anonymous: Vec<Role>,
    /// What is done once two persons have asked for it.
    pub two_persons: Vec<Act>,
    pub tls: Option<ServeTls>,
    /// The workers that it shares pipelines with.
    pub group: Option<GroupPlace>,
}

/// Workers that share pipelines, and this one among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlace {
    /// Of all of them: Kafka's `group.id`.
    pub id: String,
    /// Of this one alone.
    pub worker: String,
    /// In the sovereign cluster, prefix included.
    pub config_topic: String,
    /// As `config_topic`.
    pub status_topic: String,
}

/// The service's own certificate, and whose clients' certificates it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeTls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// Then a client without a certificate of it is not heard.
    pub client_ca_file: Option<PathBuf>,
}

/// `douane serve`: many pipelines in one process, behind the REST API of Kafka Connect.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Serve")]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServeFile {
    /// Address and port; `127.0.0.1:8083` unless said. Beyond this machine it needs `tls`.
    pub listen: String,
    /// The folder of the pipelines, relative to the folder of douane.yaml; `pipelines/` unless said.
    pub pipelines: String,
    /// Names, roles and digests of tokens, written by `douane serve token`; `tokens.json` unless
    /// said.
    pub tokens_file: String,
    /// What a caller on this machine may do without a token; nothing unless said.
    pub anonymous: Vec<Role>,
    /// Calls that are done once a second person, by another token, has made the same call within
    /// a quarter of an hour; none unless said.
    pub two_persons: Vec<Act>,
    /// The service's certificate.
    pub tls: Option<ServeTlsFile>,
    /// Workers that share the pipelines; one alone unless said.
    pub group: Option<GroupFile>,
}

/// Workers that share pipelines: they have one `id`, and a name each.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Group")]
#[serde(deny_unknown_fields)]
pub(super) struct GroupFile {
    /// The group's name, Kafka Connect's `group.id`.
    pub id: String,
    /// This worker's name; no other of the group has it.
    pub worker: String,
    /// The topic of configs, in the sovereign cluster; `douane.ID.configs` unless said.
    pub config_storage_topic: Option<String>,
    /// The topic of states, in the sovereign cluster, whose partitions are what workers are dealt;
    /// `douane.ID.status` unless said.
    pub status_storage_topic: Option<String>,
}

/// The service's certificate.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ServeTls")]
#[serde(deny_unknown_fields)]
pub(super) struct ServeTlsFile {
    /// The chain, PEM.
    pub cert_file: String,
    /// Its key, PEM.
    pub key_file: String,
    /// Whose certificates clients must have, PEM; none are asked for unless said.
    pub client_ca_file: Option<String>,
}

impl Default for ServeFile {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8083".to_owned(),
            pipelines: "pipelines/".to_owned(),
            tokens_file: "tokens.json".to_owned(),
            anonymous: Vec::new(),
            two_persons: Vec::new(),
            tls: None,
            group: None,
        }
    }
}

pub(super) fn build(
    file: ServeFile,
    topic_prefix: &str,
    dir: &Path,
    root: &Node,
    label: &str,
    findings: &mut Findings,
) -> ServePlace {
    let mut refuse = |key: &str, message: &str, next: &str| {
        let mark = root.mark_at(&["serve", key]);
        findings.error(label, mark, Kind::Place, message).next(next);
    };
    let listen = file.listen.parse::<SocketAddr>().ok();
    if listen.is_none() {
        refuse(
            "listen",
            "`serve.listen` is no address and port",
            "write it as in `127.0.0.1:8083`",
        );
    }
    let listen = listen.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8083));
    if !listen.ip().is_loopback() && file.tls.is_none() {
        refuse(
            "listen",
            "`serve.listen` is beyond this machine, and there is no `serve.tls`: tokens would \
             cross the network in clear",
            "add `tls: { cert_file: …, key_file: … }`, or listen on 127.0.0.1 behind a proxy on \
             this machine that ends TLS",
        );
    }
    if !listen.ip().is_loopback() && !file.anonymous.is_empty() {
        refuse(
            "anonymous",
            "`serve.anonymous` is for callers on this machine, and `serve.listen` is beyond it",
            "remove `anonymous`, and give each caller a token: `douane serve token NAME`",
        );
    }
    for (key, value) in [("pipelines", &file.pipelines), ("tokens_file", &file.tokens_file)] {
        if value.is_empty() {
            refuse(key, &format!("`serve.{key}` is empty"), "name one, or remove the key");
        }
    }
    for (act, without, what) in [
        (Act::Start, Act::Write, "one person creates a connector, which then runs"),
        (Act::Stop, Act::Delete, "one person deletes a connector, which then has stopped"),
    ] {
        if file.two_persons.contains(&act) && !file.two_persons.contains(&without) {
            let (act, without) = (act.name(), without.name());
            refuse(
                "two_persons",
                &format!("`{act}` takes two persons, and `{without}` one: {what}"),
                &format!("add `{without}`, or remove `{act}`"),
            );
        }
    }
    let group = file.group.map(|group| {
        for (key, value) in [("id", &group.id), ("worker", &group.worker)] {
            if !is_name(value, NAME_BYTES_MAX) {
                let mark = root.mark_at(&["serve", "group", key]);
                let message = format!("`serve.group.{key}` is no name");
                let next = "write small letters, digits, `_` and `-`, beginning with a letter";
                findings.error(label, mark, Kind::Place, message).next(next);
            }
        }
        let topic = |said: Option<String>, last: &str| {
            let name = said.unwrap_or_else(|| format!("douane.{}.{last}", group.id));
            format!("{topic_prefix}{name}")
        };
        let config_topic = topic(group.config_storage_topic, "configs");
        let status_topic = topic(group.status_storage_topic, "status");
        if config_topic == status_topic {
            let mark = root.mark_at(&["serve", "group", "status_storage_topic"]);
            let message = format!("`{config_topic}` is to hold the configs and the statuses");
            let next = "name two topics, or leave both out";
            findings.error(label, mark, Kind::Place, message).next(next);
        }
        GroupPlace { config_topic, status_topic, id: group.id, worker: group.worker }
    });
    ServePlace {
        group,
        listen,
        pipelines: dir.join(file.pipelines),
        tokens: dir.join(file.tokens_file),
        anonymous: file.anonymous,
        two_persons: file.two_persons,
        tls: file.tls.map(|tls| ServeTls {
            cert_file: dir.join(tls.cert_file),
            key_file: dir.join(tls.key_file),
            client_ca_file: tls.client_ca_file.map(|path| dir.join(path)),
        }),
    }
}
