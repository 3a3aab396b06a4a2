//! Kafka: a source per shard, a transactional sink per shard, the position read back, topics.
//!
//! Settings and their order are fixed where exactly-once depends on them; `douane.yaml` may set
//! what [`properties`] lists and nothing else.

pub mod admin;
mod client;
pub mod cluster;
mod fault;
mod ffi;
#[cfg(all(test, feature = "kafka-tests"))]
mod on_kafka;
mod places;
pub mod position;
pub mod properties;
pub mod quarantine;
pub mod sink;
pub mod source;
mod watch;

pub use admin::{Admin, Created, TopicConfig, TopicIdentity};
pub use cluster::{ClusterConfig, Sasl, SaslMechanism, Tls, TopicSettings};
pub use fault::KafkaFault;
pub use position::{KeyAndValue, OwnedRecord, Reach, first_record, read_last, scan};
pub use properties::{PropertyFault, check_properties};
pub use quarantine::QuarantineProducer;
pub use sink::{CommitOutcome, Sink, SinkFault};
pub use source::{Fetched, Lost, Polled, Source};
