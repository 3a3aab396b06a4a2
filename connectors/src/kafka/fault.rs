//! What may go wrong with Kafka, in words that hold no data.

use std::io;
use std::path::PathBuf;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::properties::PropertyFault;

/// Kafka or its configuration did not do what was asked. Holds zones, topics, property names and
/// librdkafka's error names: never a record, never a property's value.
#[derive(Debug, thiserror::Error)]
pub enum KafkaFault {
    /// The cluster's entry in `douane.yaml` is not one a client is made with.
    #[error("cluster of zone `{zone}`: {}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Properties { zone: String, faults: Vec<PropertyFault> },
    /// librdkafka refused to make a client.
    #[error(
        "cluster of zone `{zone}`: no client could be made ({reason}); check `tls`, `sasl` and `properties`"
    )]
    Client { zone: String, reason: String },
    /// A secret's file cannot be used.
    #[error("cluster of zone `{zone}`: {} cannot be read: {kind}", .file.display())]
    Secret { zone: String, file: PathBuf, kind: io::ErrorKind },
    /// A token that the library does not take: it has expired, or has characters that none has.
    #[error(
        "cluster of zone `{zone}`: the token in {} is not taken: {reason}; whoever renews it has to", .file.display()
    )]
    Token { zone: String, file: PathBuf, reason: &'static str },
    /// Nobody answers. Trying again may help.
    #[error(
        "cluster of zone `{zone}`: {what}: no answer ({code}); is it up and reachable from here, and do `tls` and `sasl` match its listener?"
    )]
    Away { zone: String, what: &'static str, code: String },
    /// The broker answers, and says no.
    #[error("cluster of zone `{zone}`: {what}: refused by the broker ({code})")]
    Refused { zone: String, what: &'static str, code: String },
    /// The answer is there and cannot be: a broker or a client at odds with the protocol.
    #[error("cluster of zone `{zone}`: {what}: an answer that cannot be ({problem})")]
    Answer { zone: String, what: &'static str, problem: &'static str },
    /// A topic is missing; none is created on the way.
    #[error(
        "cluster of zone `{zone}`: topic `{topic}` does not exist; `douane doctor --create` makes it"
    )]
    NoTopic { zone: String, topic: String },
    /// The cluster is another one than `douane.yaml` names.
    #[error(
        "cluster of zone `{zone}`: its id is `{found}`, expected `{expected}`: another cluster answers"
    )]
    WrongCluster { zone: String, found: String, expected: String },
    /// A partition could not be read to its end in time.
    #[error(
        "cluster of zone `{zone}`: `{topic}` partition {partition}: read to offset {reached} of {end} in {waited_ms} ms"
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
        matches!(self, Self::Away { .. } | Self::Unfinished { .. } | Self::Token { .. })
    }

    /// With the address that nobody answers at.
    pub(crate) fn at(self, bootstrap: &str) -> Self {
        match self {
            Self::Away { zone, what, code } => {
                Self::Away { zone, what, code: format!("at {bootstrap}: {code}") }
            }
            other => other,
        }
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

pub(crate) fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
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

/// What is wrong with a record that the broker or the client refuses for the record's own sake:
/// sent again, it is refused again. `None` for every other error.
pub(crate) fn refusal(code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as C;
    match code {
        C::InvalidTimestamp => Some("invalid_timestamp"),
        C::InvalidRecord => Some("invalid_record"),
        C::PolicyViolation => Some("policy_violation"),
        C::MessageSizeTooLarge => Some(TOO_LARGE),
        _ => None,
    }
}

/// The [`refusal`] of a record for its size.
pub(crate) const TOO_LARGE: &str = "too_large";

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
