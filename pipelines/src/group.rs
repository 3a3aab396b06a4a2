//! Workers of one group: which of them runs what, by Kafka's own group protocol, and what they tell
//! each other in two compacted topics of the sovereign cluster, as Kafka Connect's workers do.
//!
//! The partitions of the topic of states are the units that are dealt out. The topic of configs has
//! one partition and one writer at a time: whoever changes something fences the others, reads all of
//! it, decides, and commits; so changes have one order, and none was decided on what was not so any
//! more. Nothing here keeps two workers from writing to a target: fencing does, as without a group.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use douane_connectors::edge::{Admin, EdgeFault, Polled, SinkFault, Source};
pub use douane_connectors::kafka::{Dealt, Member, Standing};
use douane_connectors::kafka::{KafkaFault, KeyedRecord, LastWins, Records, WriteFault};
use douane_ledger::canonical;
use douane_schemas::record::RawRecord;

use crate::config::{GroupPlace, Place};
use crate::crossing::TRY;
use crate::edges::{self, Edges};
use crate::fault::RunFault;
use crate::identity;
use crate::topics;

/// How often a change is decided anew because another worker's came first.
const CHANGES: u32 = 5;

/// Partitions that a new topic of states has: what is dealt out.
pub const UNITS: i32 = 25;

/// Keys that the topic of configs may hold: far more than there may be connectors and orders to them.
const KEYS_MAX: usize = 10_000;

/// What the topic of configs holds: the last value of each key.
pub type Held = BTreeMap<String, Vec<u8>>;

/// One group, as a worker sees it.
pub struct Group {
    place: Place,
    named: GroupPlace,
    records: Records,
    units: u32,
    /// For looks at which topic it is; one client, kept.
    admin: Mutex<Box<dyn Admin>>,
    /// What the topic of configs was when this worker began: another one of its name holds other configs.
    configs: String,
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
        identity::found(identity::BETWEEN_LOOKS, || {
            for expected in topics::of_group(place) {
                if let Some(what) = expected.check(&*admin).map_err(&away)?.into_iter().next() {
                    let what = format!("{what}\n  next: `douane doctor --create FILE` makes it");
                    return Err(RunFault::Topic { topic: expected.name, what });
                }
            }
            Ok(())
        })?;
        let states = records.identity(&named.status_topic).map_err(unreachable)?;
        let units = u32::try_from(states.partitions).unwrap_or(1).max(1);
        let configs = records.identity(&named.config_topic).map_err(unreachable)?.id;
        let (place, named, admin) = (place.clone(), named.clone(), Mutex::new(admin));
        Ok(Self { place, named, records, units, admin, configs })
    }

    /// The topic of configs, by its name and by what tells it from another one of that name.
    pub fn config_topic(&self) -> (&str, &str) {
        (&self.named.config_topic, &self.configs)
    }

    /// The topic of configs is still the one that this worker began with. What another one does not hold was not
    /// deleted by anybody.
    ///
    /// # Errors
    /// It is gone or another one; the cluster is away.
    pub fn is_same(&self) -> Result<(), RunFault> {
        let mut admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        let same = identity::found(identity::BETWEEN_LOOKS, || {
            let found = admin.topic(&self.named.config_topic);
            match found.map_err(RunFault::unreachable("sovereign cluster"))? {
                Some(found) if found.id == self.configs => Ok(()),
                _ => Err(another(&self.named.config_topic)),
            }
        });
        // A client that does not get through may never do so again.
        if matches!(same, Err(RunFault::Unreachable { .. }))
            && let Ok(anew) = Edges::of_place(&self.place).sovereign.admin()
        {
            *admin = anew;
        }
        same
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
            match held.len() > KEYS_MAX {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        self.records.read(&self.named.config_topic, 0, 0, TRY, &mut each).map_err(unreachable)?;
        // Asked afterwards: what was read is that topic's.
        self.is_same()?;
        match held.len() > KEYS_MAX {
            false => Ok((held, next)),
            true => Err(RunFault::Topic {
                topic: self.named.config_topic.clone(),
                what: format!(
                    "holds more than {KEYS_MAX} keys, which no workers wrote\n  next: see who else writes \
                     to it, and take that out"
                ),
            }),
        }
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
        self.is_same()?;
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
        let writer = self.records.last_wins(&self.named.status_topic);
        Ok(States(writer.map_err(|fault| RunFault::Client(fault.to_string()))?))
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
pub struct States(LastWins);

impl States {
    /// # Errors
    /// The cluster is away: all may be told again.
    pub fn tell(&mut self, states: &[KeyedRecord]) -> Result<(), RunFault> {
        self.0.send(states).map_err(unreachable)
    }
}

/// The fault of a topic of configs that is not the one that workers know.
pub fn another(topic: &str) -> RunFault {
    RunFault::Topic {
        topic: topic.to_owned(),
        what: "was deleted, or deleted and made anew: what the group's connectors are to be was in the one \
               before, and an empty one says nothing about them; pipelines that run go on as they are, and \
               nothing is changed\n  next: stop the workers; of each take `serve/group.json` out of its `state.dir`, and \
               the connectors' files out of its folder of pipelines; start them, and bring the connectors \
               again by calls"
            .to_owned(),
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
