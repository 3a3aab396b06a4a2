//! One Kafka cluster as `douane.yaml` names it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A cluster of `douane.yaml`: where it is, how it is reached, what its topics must be like.
///
/// It holds no secret, only the names of files that do; `Debug` shows no property values, since a
/// refused property may be somebody's literal password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// The data zone the cluster lies in, such as `eu-de` or `global`.
    pub zone: String,
    /// Kafka's `cluster.id`; compared at start, so that two names for one cluster show.
    pub id: String,
    /// Brokers to start from: `host:port`, separated by commas.
    #[serde(default)]
    pub bootstrap: String,
    /// In place of `bootstrap`: a folder, whose files stand for topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Base URL of the schema registry (Confluent's REST dialect), without user or password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// File holding `user:password` for the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_auth_file: Option<PathBuf>,
    /// TLS to brokers and registry; without it the connection is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// SASL to the brokers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// Put before the names of douane's own topics in this cluster.
    #[serde(default)]
    pub topic_prefix: String,
    /// What topics in this cluster must be like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<TopicSettings>,
    /// librdkafka properties from the allow-list: timing, buffers, compression.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// PEM files. Certificates are read when a client is made; files that change are taken up by clients
/// that are made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The authorities that may sign the servers' certificates.
    pub ca_file: PathBuf,
    /// The client's certificate chain; goes with `key_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// The client's private key; goes with `cert_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// Who douane is to the brokers: a user name and the file that holds the password, or the file that
/// holds a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How it is proved.
    pub mechanism: SaslMechanism,
    /// The user's name; goes with `password_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File holding the password; one line end at its end is cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// OAUTHBEARER: file holding a token (JWT) that somebody renews before it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// The mechanisms that need a password or a token and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// The password itself is sent: TLS is required with it.
    #[serde(rename = "PLAIN")]
    Plain,
    /// RFC 5802 with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// RFC 5802 with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// RFC 7628: the token itself is sent: TLS is required with it.
    #[serde(rename = "OAUTHBEARER")]
    OAuthBearer,
}

impl SaslMechanism {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }
}

/// What is expected of, or given to, topics of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicSettings {
    /// Copies of each partition.
    #[schemars(range(min = 1))]
    pub replication: i32,
    /// `min.insync.replicas`: copies that must have a record before it is acknowledged.
    #[schemars(range(min = 1))]
    pub min_insync: i32,
}

impl ClusterConfig {
    /// Makes relative file names relative to `dir`, the folder `douane.yaml` lies in.
    pub fn resolve(&mut self, dir: &Path) {
        let mut files: Vec<&mut PathBuf> = Vec::new();
        files.extend(self.dir.as_mut());
        files.extend(self.registry_auth_file.as_mut());
        if let Some(tls) = &mut self.tls {
            files.push(&mut tls.ca_file);
            files.extend(tls.cert_file.as_mut());
            files.extend(tls.key_file.as_mut());
        }
        if let Some(sasl) = &mut self.sasl {
            files.extend(sasl.password_file.as_mut());
            files.extend(sasl.token_file.as_mut());
        }
        for file in files {
            // `join` keeps an absolute name as it is.
            *file = dir.join(&*file);
        }
    }

    /// The files whose content clients are made with: whoever made one before they changed makes
    /// another.
    pub fn secret_files(&self) -> Vec<&Path> {
        let mut files: Vec<&PathBuf> = Vec::new();
        files.extend(self.registry_auth_file.as_ref());
        if let Some(tls) = &self.tls {
            files.push(&tls.ca_file);
            files.extend(tls.cert_file.as_ref());
            files.extend(tls.key_file.as_ref());
        }
        if let Some(sasl) = &self.sasl {
            files.extend(sasl.password_file.as_ref());
            files.extend(sasl.token_file.as_ref());
        }
        files.into_iter().map(PathBuf::as_path).collect()
    }
}

impl fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterConfig")
            .field("zone", &self.zone)
            .field("id", &self.id)
            .field("bootstrap", &self.bootstrap)
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) fn plain(bootstrap: &str) -> ClusterConfig {
    ClusterConfig {
        zone: "test".to_owned(),
        id: "test".to_owned(),
        bootstrap: bootstrap.to_owned(),
        dir: None,
        registry: None,
        registry_auth_file: None,
        tls: None,
        sasl: None,
        topic_prefix: String::new(),
        topics: None,
        properties: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_bad_yaml() {
        let text = r#"{"zone":"z","id":"i","bootstrap":"b:1","registr":"http://x"}"#;
        assert!(serde_json::from_str::<ClusterConfig>(text).is_err());
        let text = r#"{"zone":"z","id":"i","bootstrap":"b:1"}"#;
        assert!(serde_json::from_str::<ClusterConfig>(text).is_ok());
    }

    #[test]
    fn debug_shows_no_property_value() {
        let mut cluster = plain("b:1");
        cluster.properties.insert("sasl.password".to_owned(), "hunter2".to_owned());
        let shown = format!("{cluster:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn relative_files_are_found_beside_the_file_that_names_them() {
        let mut cluster = plain("b:1");
        cluster.tls = Some(Tls {
            ca_file: "ca.pem".into(),
            cert_file: Some("/abs/cert.pem".into()),
            key_file: None,
        });
        cluster.resolve(Path::new("/etc/douane"));
        let tls = cluster.tls.unwrap();
        assert_eq!(tls.ca_file, Path::new("/etc/douane/ca.pem"));
        assert_eq!(tls.cert_file.unwrap(), Path::new("/abs/cert.pem"));
    }
}
