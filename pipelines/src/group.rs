//! Workers of one group: which of them runs what, by Kafka's own group protocol, and what they tell
//! each other in two compacted topics of the sovereign cluster, as Kafka Connect's workers do.
//!
//! The partitions of the topic of states are the units that are dealt out. The topic of configs has
//! one partition and one writer at a time: whoever changes something fences the others, reads all of
//! it, decides, and commits; so changes have one order, and none was decided on what was not so any
//! more. Nothing here keeps two workers from writing to a target: fencing does, as without a group.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use std::time::Duration;

use douane_connectors::edge::{EdgeFault, KeyAndValue, Polled, SinkFault, Source};
pub use douane_connectors::kafka::{Dealt, Member};
use douane_connectors::kafka::{KafkaFault, Records, Told, WriteFault};
use douane_ledger::canonical;
use douane_schemas::record::RawRecord;

use crate::config::{GroupPlace, Place};
use crate::crossing::TRY;
use crate::edges::{self, Edges};
use crate::fault::RunFault;
use crate::topics;

/// How often a change is decided anew because another worker's came first.
const CHANGES: u32 = 5;

/// Partitions that a new topic of states has: what is dealt out.
pub const UNITS: i32 = 25;

/// What the topic of configs holds: the last value of each key.
pub type Held = BTreeMap<String, Vec<u8>>;

/// One group, as a worker sees it.
pub struct Group {
    place: Place,
    named: GroupPlace,
    records: Records,
    units: u32,
}

/// A key of the topic of configs, and its value or a tombstone.
pub type Put = (String, Option<Vec<u8>>);

/// What became of a change.
pub enum Changed<E> {
    /// It is committed.
    Done,
    /// It was refused by who decides.
    Refused(E),
    /// Others changed something each time.
    Busy,
    /// The cluster is away, or will not have it.
    Fault(RunFault),
}

impl Group {
    /// The group of a place: its topics are there, and as they must be.
    ///
    /// # Errors
    /// They are not, or the cluster is away.
    pub fn open(place: &Place, named: &GroupPlace) -> Result<Self, RunFault> {
        let records = edges::records(place)?;
        let admin = Edges::of_place(place).sovereign.admin();
        let away = RunFault::unreachable("sovereign cluster");
        let admin = admin.map_err(&away)?;
        let found = admin.cluster_id().map_err(&away)?;
        if found != place.sovereign.id {
            let expected = place.sovereign.id.clone();
            return Err(RunFault::Cluster { side: "sovereign", expected, found });
        }
        for expected in topics::of_group(place) {
            if let Some(what) = expected.check(&*admin).map_err(&away)?.into_iter().next() {
                let what = format!("{what}\n  next: `douane doctor --create FILE` makes it");
                return Err(RunFault::Topic { topic: expected.name, what });
            }
        }
        let states = records.identity(&named.status_topic).map_err(unreachable)?;
        let units = u32::try_from(states.partitions).unwrap_or(1).max(1);
        Ok(Self { place: place.clone(), named: named.clone(), records, units })
    }

    /// This worker's name.
    pub fn worker(&self) -> &str {
        &self.named.worker
    }

    /// The unit that something of this name belongs to.
    pub fn unit_of(&self, name: &str) -> i32 {
        unit(name, self.units)
    }

    /// Asks to be a member of the group.
    ///
    /// # Errors
    /// Settings that no client is made with.
    pub fn join(
        &self,
        listener: impl Fn(Dealt) + Send + Sync + 'static,
    ) -> Result<Member, RunFault> {
        let (cluster, named) = (&self.place.sovereign, &self.named);
        Member::join(cluster, &named.id, &named.status_topic, Box::new(listener))
            .map_err(|fault| RunFault::Client(fault.to_string()))
    }

    /// All configs as they are now, and the offset behind them.
    ///
    /// # Errors
    /// The cluster is away.
    pub fn configs(&self) -> Result<(Held, i64), RunFault> {
        let (mut held, mut next) = (Held::new(), 0);
        let mut each = |record: &RawRecord<'_>| {
            next = record.offset + 1;
            match (key_of(record), record.value) {
                (Some(key), Some(value)) => drop(held.insert(key, value.to_vec())),
                (Some(key), None) => drop(held.remove(&key)),
                (None, _) => {}
            }
            ControlFlow::Continue(())
        };
        self.records.read(&self.named.config_topic, 0, 0, TRY, &mut each).map_err(unreachable)?;
        Ok((held, next))
    }

    /// Changes configs: `decide` is given all of them, and says what is to be written; none is a
    /// tombstone. It is asked again where another worker's change came first.
    pub fn change<E>(&self, mut decide: impl FnMut(&Held) -> Result<Vec<Put>, E>) -> Changed<E> {
        let topic = &self.named.config_topic;
        let mut refused = None;
        for _ in 0..CHANGES {
            let mut writer = match self.records.fence(topic, topic, 0, TRY) {
                Ok(writer) => writer,
                Err(SinkFault::Settings(why)) => {
                    return Changed::Fault(RunFault::Client(why.to_string()));
                }
                Err(SinkFault::Away(why)) => {
                    return Changed::Fault(RunFault::Again(why.to_string()));
                }
                // Somebody else fenced at the same moment, or it is no right of ours.
                Err(SinkFault::Refused(why)) => {
                    refused = Some(why);
                    continue;
                }
            };
            refused = None;
            let held = match self.configs() {
                Ok((held, _)) => held,
                Err(fault) => return Changed::Fault(fault),
            };
            let records = match decide(&held) {
                Ok(records) => records,
                Err(refused) => return Changed::Refused(refused),
            };
            let records: Vec<_> =
                records.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect();
            match writer.commit(&records) {
                Ok(()) => return Changed::Done,
                // Fenced before it was committed: decided on what may not be so any more.
                Err(WriteFault::Fenced) => {}
                Err(fault @ (WriteFault::NotWritten(_) | WriteFault::Unknown(_))) => {
                    return Changed::Fault(RunFault::Again(fault.to_string()));
                }
            }
        }
        match refused {
            None => Changed::Busy,
            Some(why) => Changed::Fault(RunFault::Edge(why.to_string())),
        }
    }

    /// Both topics as they go on: that of configs from `next` on, that of states from its start.
    ///
    /// # Errors
    /// The cluster is away, or settings that no client is made with.
    pub fn follow(&self, next: i64) -> Result<Follower, RunFault> {
        let topics = [self.named.config_topic.clone(), self.named.status_topic.clone()];
        let fault = |fault: EdgeFault| RunFault::Again(fault.to_string());
        let edges = Edges::of_place(&self.place);
        let mut source = edges.sovereign.source(&self.named.id, &topics).map_err(fault)?;
        let mut places = vec![(0, 0, next)];
        for unit in 0..i32::try_from(self.units).unwrap_or(1) {
            places.push((1, unit, source.watermarks(1, unit).map_err(fault)?.0));
        }
        source.assign(&places).map_err(fault)?;
        Ok(Follower(source))
    }

    /// Where states are told.
    ///
    /// # Errors
    /// Settings that no client is made with.
    pub fn states(&self) -> Result<States, RunFault> {
        let told = self.records.told(&self.named.status_topic);
        Ok(States(told.map_err(|fault| RunFault::Client(fault.to_string()))?))
    }
}

/// Reads both topics as they go on.
pub struct Follower(Box<dyn Source>);

/// What a follower heard.
pub enum Heard {
    /// The next record of the topic of configs.
    Config {
        offset: i64,
        key: String,
        value: Option<Vec<u8>>,
    },
    /// The next record of the topic of states.
    State {
        key: String,
        value: Option<Vec<u8>>,
    },
    Nothing,
    /// It hears no more: follow anew.
    Broken,
}

impl Follower {
    /// Waits that long.
    pub fn hear(&mut self, at_most: Duration) -> Heard {
        let fetched = match self.0.poll(at_most) {
            Polled::Record(fetched) => fetched,
            Polled::Idle | Polled::Trouble(_) | Polled::End => return Heard::Nothing,
            Polled::Lost(_) | Polled::Fault(_) | Polled::Broken(_) => return Heard::Broken,
        };
        let headers = fetched.headers();
        let record = fetched.raw(&headers);
        let Some(key) = key_of(&record) else { return Heard::Nothing };
        let value = record.value.map(<[u8]>::to_vec);
        match record.topic {
            0 => Heard::Config { offset: record.offset, key, value },
            _ => Heard::State { key, value },
        }
    }

    /// Ends it.
    pub fn close(self) {
        self.0.close();
    }
}

fn key_of(record: &RawRecord<'_>) -> Option<String> {
    std::str::from_utf8(record.key?).ok().map(str::to_owned)
}

/// Tells states.
pub struct States(Told);

impl States {
    /// # Errors
    /// The cluster is away: all may be told again.
    pub fn tell(&mut self, states: &[KeyAndValue]) -> Result<(), RunFault> {
        self.0.send(states).map_err(unreachable)
    }
}

fn unreachable(fault: KafkaFault) -> RunFault {
    match fault.is_away() {
        true => RunFault::Again(fault.to_string()),
        false => RunFault::Edge(fault.to_string()),
    }
}

fn unit(name: &str, units: u32) -> i32 {
    let digest = canonical::sha256_hex(name.as_bytes());
    let number = digest.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
    i32::try_from(number % units).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_same_unit_everywhere_and_names_are_spread() {
        // By another program: the first 32 bits of SHA-256, modulo 25.
        assert_eq!([unit("customers", 25), unit("orders", 25), unit("a", 25)], [19, 12, 10]);
        let units: std::collections::BTreeSet<i32> =
            (0..200).map(|n| unit(&format!("c{n}"), 25)).collect();
        assert_eq!(units.len(), 25);
        assert!(units.iter().all(|unit| (0..25).contains(unit)));
        assert_eq!(unit("anything", 1), 0);
    }
}
