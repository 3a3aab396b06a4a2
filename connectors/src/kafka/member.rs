//! A worker's place in a group, by Kafka's own protocol: the partitions of a topic are dealt out
//! among the members, and nothing is read from them. Whoever is dealt a partition is to do what it
//! stands for; that nobody else can is not decided here but by fencing.

use std::cell::RefCell;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::admin::Admin;
use super::client::{self, Isolation};
use super::cluster::ClusterConfig;
use super::fault::KafkaFault;
use super::pulse::{self, Pulse};
use super::watch::{Detached, Watch};
use crate::control_switch;

/// A member that is not heard of for so long is none: what it was dealt goes to others. Brokers
/// take no less, unless they are told to.
const SESSION_MS: &str = "6000";
const HEARTBEAT_MS: &str = "1000";
/// A member that takes longer to end what it was dealt is none either.
const POLL_MAX_MS: &str = "60000";

/// What changed for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dealt {
    /// These partitions are its own from now on.
    Given(Vec<i32>),
    /// These are not. Others are given them once the listener returns, or have been already, where
    /// this member was not heard of.
    Taken(Vec<i32>),
}

/// Is told by the thread that polls, or by the one that leaves.
pub type Listener = Box<dyn Fn(Dealt) + Send + Sync>;

/// A member of a group.
pub struct Member {
    consumer: Detached<BaseConsumer<Rebalances>>,
    cluster: ClusterConfig,
    topic: String,
    pulse: RefCell<Pulse>,
}

/// What a member heard of its cluster.
#[derive(Debug)]
pub enum Standing {
    Fine,
    /// It goes on by itself.
    Trouble(KafkaFault),
    /// The cluster is there, and this client does not reach it: another is to take its place.
    Deaf(KafkaFault),
}

impl Member {
    /// Asks to be a member; [`Self::poll`] makes it one.
    ///
    /// # Errors
    /// Settings that no client is made with.
    pub fn join(
        cluster: &ClusterConfig,
        group: &str,
        topic: &str,
        listener: Listener,
    ) -> Result<Self, KafkaFault> {
        let mut config = client::consumer(cluster, group, Isolation::Committed)?;
        for (name, value) in [
            // What a member keeps goes on while others come and go.
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", SESSION_MS),
            ("heartbeat.interval.ms", HEARTBEAT_MS),
            ("max.poll.interval.ms", POLL_MAX_MS),
            // Nothing is read: no position is missing.
            ("auto.offset.reset", "latest"),
        ] {
            config.set(name, value);
        }
        let context = Rebalances { watch: Watch::new(&cluster.zone), listener };
        let fault = |e: KafkaError| KafkaFault::of(&cluster.zone, "joining a group", &e);
        let consumer: BaseConsumer<Rebalances> =
            config.create_with_context(context).map_err(fault)?;
        client::identify(cluster, consumer.client())?;
        consumer.subscribe(&[topic]).map_err(fault)?;
        let (cluster, topic) = (cluster.clone(), topic.to_owned());
        Ok(Self { consumer: Detached::new(consumer), cluster, topic, pulse: RefCell::default() })
    }

    /// Takes part, for that long. A client that had trouble is asked whether it still reaches anybody.
    pub fn poll(&self, at_most: Duration) -> Standing {
        match self.consumer.poll(at_most) {
            Some(Err(error)) => {
                let fault = KafkaFault::of(&self.cluster.zone, "taking part in a group", &error);
                if fault.is_away() {
                    self.pulse.borrow_mut().doubt();
                }
                Standing::Trouble(fault)
            }
            None if self.pulse.borrow_mut().missed(at_most) => self.stands(),
            _ => Standing::Fine,
        }
    }

    fn stands(&self) -> Standing {
        let zone = &self.cluster.zone;
        let reaches = || match control_switch::deaf_member() {
            true => Err(KafkaFault::Answer {
                zone: zone.clone(),
                what: "asking for a broker",
                problem: "it is not to hear the answer",
            }),
            false => pulse::reaches_a_broker(self.consumer.client(), zone, &self.topic),
        };
        let Err(fault) = reaches() else { return Standing::Fine };
        let another = Admin::open(&self.cluster).and_then(|admin| admin.topic(&self.topic));
        if another.is_err() {
            self.pulse.borrow_mut().doubt();
            return Standing::Trouble(fault);
        }
        // It may have come back in between.
        reaches().map_or_else(Standing::Deaf, |()| Standing::Fine)
    }

    /// Gives back what it was dealt, and says so: others have it at once. Whether that was done in
    /// time.
    pub fn leave(self, at_most: Duration) -> bool {
        self.consumer.close(at_most)
    }
}

/// Hands on what was dealt.
struct Rebalances {
    watch: Watch,
    listener: Listener,
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.watch.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            (self.listener)(Dealt::Taken(partitions(list)));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            // A client that cannot pause reads what nobody looks at.
            let _ = consumer.pause(list);
            (self.listener)(Dealt::Given(partitions(list)));
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements()
        .iter()
        .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
        .collect()
}
