//! A group that says how far somebody read, for whoever watches lags. Nobody joins it, and what it
//! says is never read back to go on from.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, Isolation};
use super::cluster::ClusterConfig;
use super::fault::KafkaFault;
use super::watch::{Detached, Watch};

/// Notes in a group the offset wanted next of each partition of a topic, from 0 on.
///
/// # Errors
/// `Away`; `Refused`, also where the group has members; `Answer` where not all of it was taken.
pub fn note(
    cluster: &ClusterConfig,
    group: &str,
    topic: &str,
    next: &[i64],
    timeout: Duration,
) -> Result<(), KafkaFault> {
    const WHAT: &str = "noting in a group how far was read";
    let fault = |error: &KafkaError| KafkaFault::of(&cluster.zone, WHAT, error);
    let config = client::consumer(cluster, group, Isolation::Committed)?;
    let consumer: Detached<BaseConsumer<Watch>> = client::make(cluster, &config)?;
    let mut list = TopicPartitionList::new();
    for (partition, next) in (0..).zip(next) {
        let at = Offset::Offset(*next);
        list.add_partition_offset(topic, partition, at).map_err(|e| fault(&e))?;
    }
    consumer.commit(&list, CommitMode::Sync).map_err(|e| fault(&e))?;
    // The client counts a commit of which one partition was taken as taken.
    let noted = consumer.committed_offsets(list, timeout).map_err(|e| fault(&e))?;
    let said = |at: &(i32, &i64)| {
        let found = noted.find_partition(topic, at.0).map(|found| found.offset());
        found == Some(Offset::Offset(*at.1))
    };
    if !(0..).zip(next).all(|at| said(&at)) {
        let problem = "the group does not say so afterwards";
        return Err(KafkaFault::Answer { zone: cluster.zone.clone(), what: WHAT, problem });
    }
    Ok(())
}
