//! How clients are made: the fixed settings, the secrets, and the log that is listened to.

use std::fs;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use zeroize::Zeroizing;

use super::cluster::ClusterConfig;
use super::properties::{self, PropertyFault, Role};

/// Kafka or its configuration did not do what was asked. Holds zones, topics, property names and
/// librdkafka's error names: never a record, never a property's value.
#[derive(Debug, thiserror::Error)]
pub enum KafkaFault {
    /// The cluster's entry in `douane.yaml` is not one a client is made with.
    #[error("cluster `{zone}`: {}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Properties { zone: String, faults: Vec<PropertyFault> },
    /// librdkafka refused to make a client.
    #[error(
        "cluster `{zone}`: no client could be made ({reason}); check `tls`, `sasl` and `properties`"
    )]
    Client { zone: String, reason: String },
    /// A secret's file cannot be used.
    #[error("cluster `{zone}`: {} cannot be read: {kind}", .file.display())]
    Secret { zone: String, file: PathBuf, kind: io::ErrorKind },
    /// Nobody answers. Trying again may help.
    #[error("cluster `{zone}`: {what}: no answer ({code}); is it up, and reachable from here?")]
    Away { zone: String, what: &'static str, code: String },
    /// The broker answers, and says no.
    #[error("cluster `{zone}`: {what}: refused by the broker ({code})")]
    Refused { zone: String, what: &'static str, code: String },
    /// The answer is there and cannot be: a broker or a client at odds with the protocol.
    #[error("cluster `{zone}`: {what}: an answer that cannot be ({problem})")]
    Answer { zone: String, what: &'static str, problem: &'static str },
    /// A topic is missing; none is created on the way.
    #[error("cluster `{zone}`: topic `{topic}` does not exist; `douane doctor --create` makes it")]
    NoTopic { zone: String, topic: String },
    /// The cluster is another one than `douane.yaml` names.
    #[error(
        "cluster `{zone}`: its id is `{found}`, expected `{expected}`: another cluster answers"
    )]
    WrongCluster { zone: String, found: String, expected: String },
    /// A partition could not be read to its end in time.
    #[error(
        "cluster `{zone}`: `{topic}` partition {partition}: read to offset {reached} of {end} in {waited_ms} ms"
    )]
    Unfinished {
        zone: String,
        topic: String,
        partition: i32,
        reached: i64,
        end: i64,
        waited_ms: u64,
    },
}

impl KafkaFault {
    /// Whether something outside cannot be reached, as opposed to something being wrong.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Unfinished { .. })
    }

    pub(crate) fn of(zone: &str, what: &'static str, error: &KafkaError) -> Self {
        let code = code_of(error);
        let zone = zone.to_owned();
        match code {
            Some(code) if is_away(code) => Self::Away { zone, what, code: format!("{code:?}") },
            Some(code) => Self::Refused { zone, what, code: format!("{code:?}") },
            None => Self::Client { zone, reason: describe(error) },
        }
    }
}

fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        KafkaError::Canceled => Some(RDKafkaErrorCode::OperationTimedOut),
        other => other.rdkafka_error_code(),
    }
}

pub(crate) fn is_away(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as C;
    matches!(
        code,
        C::BrokerTransportFailure
            | C::AllBrokersDown
            | C::OperationTimedOut
            | C::TimedOutQueue
            | C::MessageTimedOut
            | C::RequestTimedOut
            | C::Resolve
            | C::Retry
            | C::WaitingForCoordinator
            | C::NodeUpdate
            | C::NetworkException
            | C::NotEnoughReplicas
            | C::NotEnoughReplicasAfterAppend
            | C::LeaderNotAvailable
            | C::NotLeaderForPartition
            | C::ReplicaNotAvailable
            | C::BrokerNotAvailable
            | C::CoordinatorNotAvailable
            | C::NotCoordinator
            | C::CoordinatorLoadInProgress
    )
}

/// librdkafka's words for an error, without the values it may quote.
pub(crate) fn describe(error: &KafkaError) -> String {
    match error {
        // The text beside the property's name quotes its value.
        KafkaError::ClientConfig(_, _, property, _) => format!("property `{property}`"),
        KafkaError::ClientCreation(reason) => reason.clone(),
        KafkaError::Transaction(error) => format!("{}: {}", error.name(), error.string()),
        other => code_of(other).map_or_else(|| "no code".to_owned(), |code| format!("{code:?}")),
    }
}

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
    ("linger.ms", "0"),
    ("message.timeout.ms", "8000"),
    ("queue.buffering.max.kbytes", "32768"),
];

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
        let password = secret(&cluster.zone, &sasl.password_file)?;
        config.set("sasl.mechanism", sasl.mechanism.name());
        config.set("sasl.username", &sasl.username);
        config.set("sasl.password", password.as_str());
    }
    Ok(())
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

/// Listens to one client: counts broken links, keeps what could not be delivered, and passes
/// librdkafka's lines on (they hold host names and ports, no records).
pub(crate) struct Watch {
    zone: String,
    breaks: AtomicU64,
    failures: Mutex<Failures>,
    reset: Mutex<String>,
}

/// Deliveries that failed since they were last taken.
#[derive(Clone, Default)]
pub(crate) struct Failures {
    /// How many.
    pub count: u64,
    /// Number of the first one to be reported, and why.
    pub first: Option<(usize, RDKafkaErrorCode)>,
    /// Number and bytes of the largest record among those the broker found too large: a batch is
    /// refused as a whole, and the largest one is why.
    pub too_large: Option<(usize, usize)>,
}

impl Watch {
    pub fn new(zone: &str) -> Self {
        Self {
            zone: zone.to_owned(),
            breaks: AtomicU64::new(0),
            failures: Mutex::default(),
            reset: Mutex::default(),
        }
    }

    /// Lines heard so far that say a link broke or a request timed out.
    pub fn breaks(&self) -> u64 {
        self.breaks.load(Ordering::SeqCst)
    }

    pub fn failures(&self) -> Failures {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn forget_failures(&self) {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner) = Failures::default();
    }

    /// Why the last reset of an offset was asked for, in librdkafka's words.
    pub fn reset_reason(&self) -> String {
        self.reset.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether a line tells of a link that may have carried a request.
///
/// Lines of the debug level are listened to only because others are kept back (see
/// [`TRANSACTIONAL`]); of those, a connection that never came about carried nothing.
fn tells_of_a_break(level: RDKafkaLogLevel, facility: &str, line: &str) -> bool {
    const NEVER_UP: &[&str] = &["in state CONNECT", "in state TRY_CONNECT", "in state INIT"];
    match facility {
        "REQTMOUT" => true,
        "FAIL" if matches!(level, RDKafkaLogLevel::Debug) => {
            !NEVER_UP.iter().any(|state| line.contains(state))
        }
        "FAIL" => true,
        _ => false,
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if tells_of_a_break(level, facility, line) {
            self.breaks.fetch_add(1, Ordering::SeqCst);
        }
        let to = match level {
            RDKafkaLogLevel::Debug => return,
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => log::Level::Debug,
            _ => log::Level::Warn,
        };
        log::log!(target: "douane::kafka", to, "{}: {facility}: {line}", self.zone);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if code_of(&error) == Some(RDKafkaErrorCode::AutoOffsetReset) {
            reason.clone_into(&mut self.reset.lock().unwrap_or_else(PoisonError::into_inner));
        }
        log::warn!(target: "douane::kafka", "{}: {}: {reason}", self.zone, describe(&error));
    }
}

impl ConsumerContext for Watch {}

impl ProducerContext for Watch {
    /// Number of the record within its transaction.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let Err((error, message)) = result else { return };
        let code = code_of(error).unwrap_or(RDKafkaErrorCode::Unknown);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.count += 1;
        if failures.first.is_none_or(|(first, _)| number < first) {
            failures.first = Some((number, code));
        }
        if code == RDKafkaErrorCode::MessageSizeTooLarge {
            let bytes = message.payload_len() + message.key_len();
            if failures.too_large.is_none_or(|(_, largest)| largest < bytes) {
                failures.too_large = Some((number, bytes));
            }
        }
    }
}

/// A client whose `Drop` may hang: it is dropped on a thread nobody waits for.
pub(crate) struct Detached<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Detached<T> {
    pub fn new(client: T) -> Self {
        Self(Some(client))
    }

    /// Drops the client and waits for it, at most so long. Whether it ended in time.
    pub fn close(mut self, at_most: Duration) -> bool {
        let Some(thread) = self.0.take().and_then(dropper) else { return false };
        let deadline = Instant::now() + at_most;
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

fn dropper<T: Send + 'static>(client: T) -> Option<thread::JoinHandle<()>> {
    thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(client)).ok()
}

impl<T: Send + 'static> Deref for Detached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // Only `close` and `drop` take it out, and both end the value.
        #[expect(clippy::expect_used, reason = "unreachable: see above")]
        self.0.as_ref().expect("the client is there until it is dropped")
    }
}

impl<T: Send + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        let _ = self.0.take().and_then(dropper);
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
