//! Kafka: a source per shard, a transactional sink per shard, the position read back, topics.
//!
//! Settings and their order are fixed where exactly-once depends on them; `douane.yaml` may set
//! what [`properties`] lists and nothing else.

pub mod admin;
mod client;
pub mod cluster;
mod edge;
pub mod expiry;
mod fault;
mod ffi;
mod group;
pub mod member;
#[cfg(test)]
pub(crate) mod on_kafka;
mod places;
pub mod position;
pub mod properties;
mod pulse;
pub mod quarantine;
pub mod records;
pub mod sink;
pub mod source;
mod watch;

pub use admin::Admin;
pub use cluster::{ClusterConfig, Sasl, SaslMechanism, Tls, TopicSettings};
pub use edge::Cluster;
pub use fault::KafkaFault;
pub use member::{Dealt, Member, Standing};
pub use position::{OwnedRecord, Reach, first_record, read_last, scan, scan_unless};
pub use properties::{PropertyFault, check_properties};
pub use quarantine::QuarantineProducer;
pub use records::{KeyedRecord, LastWins, Records, WriteFault, Writer};
pub use sink::Sink;
pub use source::{Message, Source};
