//! How clients are made: the fixed settings and the secrets.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use rdkafka::ClientContext;
use rdkafka::admin::AdminClient;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::cluster::ClusterConfig;
use super::fault::KafkaFault;
use super::ffi;
use super::properties::{self, Role};
use super::watch::{Detached, Watch};

/// Set on every client. The id says what the software is, not who runs it.
const COMMON: &[(&str, &str)] = &[
    ("client.id", "douane"),
    // On by default in librdkafka: brokers may otherwise subscribe to the client's metrics.
    ("enable.metrics.push", "false"),
    ("socket.timeout.ms", "6000"),
    ("reconnect.backoff.max.ms", "1000"),
    // A closed link must be told: the sink's guard listens for it.
    ("log.connection.close", "true"),
];

const CONSUMER: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "false"),
    ("auto.offset.reset", "error"),
    ("check.crcs", "true"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "false"),
    ("fetch.max.bytes", "2097152"),
    ("fetch.queue.backoff.ms", "10"),
    ("max.partition.fetch.bytes", "262144"),
    ("queued.max.messages.kbytes", "8192"),
    ("queued.min.messages", "1000"),
];

const PRODUCER: &[(&str, &str)] = &[
    ("delivery.report.only.error", "true"),
    ("enable.idempotence", "true"),
    // Without a millisecond's wait every record wakes the thread that sends, and is a request.
    ("linger.ms", "1"),
    ("message.timeout.ms", "8000"),
    ("queue.buffering.max.kbytes", "32768"),
];

/// As the table has it, for records that are not larger.
const QUEUE_KBYTES: usize = 32_768;

const TRANSACTIONAL: &[(&str, &str)] = &[
    ("transaction.timeout.ms", "10000"),
    // librdkafka keeps back the third line within 30 s that tells of a failed connection in the
    // same words, and the guard would not hear of it. At this level it tells of every one.
    ("debug", "broker"),
];

/// Set from arguments, by the client that needs it.
const ARGUMENTS: &[&str] =
    &["batch.size", "group.id", "isolation.level", "message.max.bytes", "transactional.id"];

/// Whether delivery depends on the property, so that nobody may set it.
pub(crate) fn is_fixed(name: &str) -> bool {
    let tables = [COMMON, CONSUMER, PRODUCER, TRANSACTIONAL];
    name != "debug"
        && (ARGUMENTS.contains(&name)
            || tables.iter().any(|table| table.iter().any(|(fixed, _)| *fixed == name)))
}

/// What a reader sees of transactions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    Committed,
    Uncommitted,
}

pub(crate) fn consumer(
    cluster: &ClusterConfig,
    group: &str,
    isolation: Isolation,
) -> Result<ClientConfig, KafkaFault> {
    let mut config = base(cluster, Role::Consumer, CONSUMER)?;
    config.set("group.id", group);
    config.set(
        "isolation.level",
        match isolation {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        },
    );
    Ok(config)
}

pub(crate) fn producer(cluster: &ClusterConfig) -> Result<ClientConfig, KafkaFault> {
    base(cluster, Role::Producer, PRODUCER)
}

pub(crate) fn transactional(
    cluster: &ClusterConfig,
    transactional_id: &str,
) -> Result<ClientConfig, KafkaFault> {
    let mut config = producer(cluster)?;
    for (name, value) in TRANSACTIONAL {
        config.set(*name, *value);
    }
    config.set("transactional.id", transactional_id);
    config.set_log_level(RDKafkaLogLevel::Debug);
    Ok(config)
}

/// Kafka's own default of `max.message.bytes`, less the framing that librdkafka does not count.
pub(crate) const MESSAGE_BYTES: usize = 1_000_000;

/// Fits a producer to topics whose least `max.message.bytes` is this.
pub(crate) fn size(config: &mut ClientConfig, message_bytes_max: usize) {
    // librdkafka's bounds; below the least, the broker's own check still holds.
    let largest = message_bytes_max.clamp(1_000, 1_000_000_000);
    config.set("message.max.bytes", largest.to_string());
    config.set("batch.size", largest.min(MESSAGE_BYTES).saturating_sub(512).to_string());
    // A record that is larger than the whole queue finds it full for ever, and empty as well.
    let queue_kbytes = QUEUE_KBYTES.max(largest.div_ceil(1_024) + 1_024);
    config.set("queue.buffering.max.kbytes", queue_kbytes.to_string());
}

/// A client for questions about topics and the cluster.
pub(crate) fn admin(cluster: &ClusterConfig) -> Result<ClientConfig, KafkaFault> {
    base(cluster, Role::Both, &[])
}

fn base(
    cluster: &ClusterConfig,
    role: Role,
    fixed: &[(&str, &str)],
) -> Result<ClientConfig, KafkaFault> {
    let faults = properties::check_properties(cluster);
    if !faults.is_empty() {
        return Err(KafkaFault::Properties { zone: cluster.zone.clone(), faults });
    }
    let mut config = ClientConfig::new();
    for (name, value) in properties::for_role(cluster, role) {
        config.set(name, value);
    }
    // After the properties, so that a fixed one wins even if the list were wrong.
    for (name, value) in COMMON.iter().chain(fixed) {
        config.set(*name, *value);
    }
    config.set("bootstrap.servers", &cluster.bootstrap);
    secure(cluster, &mut config)?;
    // The wrapper else takes its level from the logger, and the guard would hear nothing.
    config.set_log_level(RDKafkaLogLevel::Info);
    Ok(config)
}

fn secure(cluster: &ClusterConfig, config: &mut ClientConfig) -> Result<(), KafkaFault> {
    let protocol = match (&cluster.tls, &cluster.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &cluster.tls {
        config.set("ssl.ca.location", tls.ca_file.to_string_lossy());
        if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
            config.set("ssl.certificate.location", cert.to_string_lossy());
            config.set("ssl.key.location", key.to_string_lossy());
        }
        config.set("ssl.endpoint.identification.algorithm", "https");
    }
    if let Some(sasl) = &cluster.sasl {
        config.set("sasl.mechanism", sasl.mechanism.name());
        if let (Some(username), Some(file)) = (&sasl.username, &sasl.password_file) {
            config.set("sasl.username", username);
            config.set("sasl.password", secret(&cluster.zone, file)?.as_str());
        }
    }
    Ok(())
}

/// What all clients here are: something with a client of the library in it.
pub(crate) trait Inner: FromClientConfigAndContext<Watch> + Send + 'static {
    fn inner(&self) -> &Client<Watch>;
}

impl Inner for BaseConsumer<Watch> {
    fn inner(&self) -> &Client<Watch> {
        self.client()
    }
}

impl Inner for BaseProducer<Watch> {
    fn inner(&self) -> &Client<Watch> {
        self.client()
    }
}

impl Inner for AdminClient<Watch> {
    fn inner(&self) -> &Client<Watch> {
        AdminClient::inner(self)
    }
}

/// A client of these settings. It reaches nothing yet, and has its token where it needs one: without
/// one it would wait for it for ever.
pub(crate) fn make<C: Inner>(
    cluster: &ClusterConfig,
    config: &ClientConfig,
) -> Result<Detached<C>, KafkaFault> {
    let zone = &cluster.zone;
    ffi::keep_heap();
    let client: C = config
        .create_with_context(Watch::new(zone))
        .map_err(|e| KafkaFault::of(zone, "making a client", &e))?;
    let client = Detached::new(client);
    identify(cluster, client.inner())?;
    Ok(client)
}

/// Gives a client its token, where it needs one.
pub(crate) fn identify<C: ClientContext>(
    cluster: &ClusterConfig,
    client: &Client<C>,
) -> Result<(), KafkaFault> {
    let zone = &cluster.zone;
    if let Some(file) = cluster.sasl.as_ref().and_then(|sasl| sasl.token_file.as_ref()) {
        let token = secret(zone, file)?;
        let claims = Claims::of(&token).ok_or_else(|| KafkaFault::Secret {
            zone: zone.clone(),
            file: file.clone(),
            kind: io::ErrorKind::InvalidData,
        })?;
        ffi::set_token(client, &token, &claims.sub, claims.exp.saturating_mul(1000)).map_err(
            |reason| KafkaFault::Token { zone: zone.clone(), file: file.clone(), reason },
        )?;
    }
    Ok(())
}

/// What the library has to know of a token; whether it holds is the broker's to say.
#[derive(Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    sub: String,
    /// Seconds since 1970.
    pub exp: i64,
}

impl Claims {
    /// Of a JWT (RFC 7519), signed or not.
    pub fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next())
        else {
            return None;
        };
        let payload = Zeroizing::new(BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?);
        serde_json::from_slice(&payload).ok()
    }
}

/// A secret's text, without the line end an editor leaves.
pub(crate) fn secret(zone: &str, file: &Path) -> Result<Zeroizing<String>, KafkaFault> {
    const LARGEST: u64 = 64 * 1024;
    let fault = |kind| KafkaFault::Secret { zone: zone.to_owned(), file: file.to_owned(), kind };
    let mut text = Zeroizing::new(String::new());
    let opened = fs::File::open(file).map_err(|e| fault(e.kind()))?;
    opened.take(LARGEST).read_to_string(&mut text).map_err(|e| fault(e.kind()))?;
    while text.ends_with(['\n', '\r']) {
        text.pop();
    }
    if text.is_empty() { Err(fault(io::ErrorKind::UnexpectedEof)) } else { Ok(text) }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
