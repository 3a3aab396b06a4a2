//! Consumer groups, by the protocol that all clients speak: members join, the leader assigns, everybody syncs; and what
//! a group has committed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use crate::code::Code;

const GROUPS_MAX: usize = 10_000;
const MEMBERS_MAX: usize = 1_000;
/// `group.max.session.timeout.ms` of Kafka.
pub(crate) const SESSION_MAX: Duration = Duration::from_secs(1_800);
/// How long a member's id that was given out waits to be used.
const PROMISE: Duration = Duration::from_secs(60);

/// An offset that a group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

type Place = (String, i32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No member.
    Empty,
    /// Members are awaited until then; who has not come by then is out.
    Joining {
        until: Instant,
    },
    /// The leader's assignment is awaited until then.
    Syncing {
        until: Instant,
    },
    Stable,
}

/// What a member says of itself.
pub(crate) struct Joining {
    pub instance: Option<String>,
    pub session: Duration,
    pub rebalance: Duration,
    pub protocols: Vec<(String, Vec<u8>)>,
}

struct Member {
    said: Joining,
    seen: Instant,
    /// Has come for the rebalance that goes on.
    joined: bool,
    /// Stands in JoinGroup until the rebalance is over.
    waits: bool,
    /// The generation that its JoinGroup ended with.
    completed: Option<i32>,
    assignment: Vec<u8>,
}

/// What JoinGroup answers. The members are told to the leader only.
pub(crate) struct Joined {
    pub generation: i32,
    pub kind: String,
    pub protocol: String,
    pub leader: String,
    pub members: Vec<(String, Option<String>, Vec<u8>)>,
}

pub(crate) struct Group {
    phase: Phase,
    generation: i32,
    /// `consumer`, or what else the members call themselves.
    kind: String,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Ids that were given out and not used yet.
    promised: HashMap<String, Instant>,
    /// Wakes who waits for the others.
    pub changed: Arc<Condvar>,
    offsets: BTreeMap<Place, Committed>,
    /// How many open transactions hold an offset of a place.
    held: HashMap<Place, u32>,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            phase: Phase::Empty,
            generation: 0,
            kind: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            promised: HashMap::new(),
            changed: Arc::default(),
            offsets: BTreeMap::new(),
            held: HashMap::new(),
        }
    }
}

impl Group {
    /// Gives out a member's id, to be used within a minute.
    pub(crate) fn promise(&mut self, id: &str, now: Instant) {
        self.promised.retain(|_, given| now.saturating_duration_since(*given) < PROMISE);
        if self.promised.len() < MEMBERS_MAX {
            self.promised.insert(id.to_owned(), now);
        }
    }

    /// A member comes, again or for the first time: a rebalance begins, if none goes on.
    ///
    /// # Errors
    /// `UnknownMemberId` for an id that was never given out, `InconsistentGroupProtocol` where it shares no protocol with
    /// the others, `GroupMaxSizeReached`.
    pub(crate) fn join(
        &mut self,
        id: &str,
        is_new: bool,
        kind: &str,
        said: Joining,
        now: Instant,
    ) -> Result<(), Code> {
        if !is_new && !self.members.contains_key(id) && self.promised.remove(id).is_none() {
            return Err(Code::UnknownMemberId);
        }
        if let Some(instance) = &said.instance {
            // A static member that was started anew takes its old self's place.
            let other = |(of, m): (&String, &Member)| {
                m.said.instance.as_ref() == Some(instance) && of != id
            };
            if let Some(old) = self.members.iter().find(|old| other((old.0, old.1))) {
                let old = old.0.clone();
                self.members.remove(&old);
            }
        }
        let mut others = self.members.iter().filter(|(other, _)| *other != id).map(|(_, m)| m);
        let shared = |name: &str| others.clone().all(|m| m.speaks(name));
        let fits = said.protocols.iter().any(|(name, _)| shared(name));
        if !fits || kind.is_empty() || others.next().is_some() && self.kind != kind {
            return Err(Code::InconsistentGroupProtocol);
        }
        if self.members.len() >= MEMBERS_MAX && !self.members.contains_key(id) {
            return Err(Code::GroupMaxSizeReached);
        }
        kind.clone_into(&mut self.kind);
        let member = Member {
            said,
            seen: now,
            joined: true,
            waits: true,
            completed: None,
            assignment: Vec::new(),
        };
        self.members.insert(id.to_owned(), member);
        if !matches!(self.phase, Phase::Joining { .. }) {
            self.rebalance(now);
        }
        self.complete_if_due(now);
        Ok(())
    }

    /// Awaits all members anew; those that wait for a rebalance are there already.
    fn rebalance(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.joined = member.waits;
        }
        let longest = self.members.values().map(|member| member.said.rebalance).max();
        self.phase = match longest {
            Some(longest) => Phase::Joining { until: now + longest },
            None => {
                self.generation += 1;
                Phase::Empty
            }
        };
        self.changed.notify_all();
    }

    /// Ends a rebalance to which everybody has come, or whose time is over.
    fn complete_if_due(&mut self, now: Instant) {
        let Phase::Joining { until } = self.phase else { return };
        if now < until && !self.members.values().all(|member| member.joined) {
            return;
        }
        self.members.retain(|_, member| member.joined);
        let Some(first) = self.members.keys().next().cloned() else {
            self.rebalance(now);
            return;
        };
        self.generation += 1;
        if !self.members.contains_key(&self.leader) {
            self.leader = first;
        }
        let offered = self.members.get(&self.leader).map(|leader| &leader.said.protocols);
        let mut names = offered.into_iter().flatten().map(|(name, _)| name);
        let common = names.find(|name| self.members.values().all(|member| member.speaks(name)));
        self.protocol = common.cloned().unwrap_or_default();
        let longest = self.members.values().map(|member| member.said.rebalance).max();
        self.phase = Phase::Syncing { until: now + longest.unwrap_or_default() };
        for member in self.members.values_mut() {
            member.waits = false;
            member.seen = now;
            member.completed = Some(self.generation);
            member.assignment.clear();
        }
        self.changed.notify_all();
    }

    /// What the member's JoinGroup answers; `None` while others are awaited.
    ///
    /// # Errors
    /// `UnknownMemberId` where it was put out meanwhile.
    pub(crate) fn joined(&mut self, id: &str, now: Instant) -> Result<Option<Joined>, Code> {
        self.complete_if_due(now);
        let member = self.members.get_mut(id).ok_or(Code::UnknownMemberId)?;
        let Some(generation) = member.completed.take() else { return Ok(None) };
        let told = self.members.iter().filter(|_| self.leader == id);
        let members = told.map(|(id, member)| {
            let metadata = member.said.protocols.iter().find(|(name, _)| *name == self.protocol);
            let metadata = metadata.map(|(_, metadata)| metadata.clone()).unwrap_or_default();
            (id.clone(), member.said.instance.clone(), metadata)
        });
        Ok(Some(Joined {
            generation,
            kind: self.kind.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: members.collect(),
        }))
    }

    fn member(&mut self, id: &str, generation: i32) -> Result<&mut Member, Code> {
        let member = self.members.get_mut(id).ok_or(Code::UnknownMemberId)?;
        if generation != self.generation {
            return Err(Code::IllegalGeneration);
        }
        Ok(member)
    }

    /// The leader hands out assignments; others bring none.
    ///
    /// # Errors
    /// `UnknownMemberId`, `IllegalGeneration`.
    pub(crate) fn assign(
        &mut self,
        id: &str,
        generation: i32,
        assignments: Vec<(&str, &[u8])>,
        now: Instant,
    ) -> Result<(), Code> {
        self.member(id, generation)?.seen = now;
        if self.leader == id && matches!(self.phase, Phase::Syncing { .. }) {
            for (to, assignment) in assignments {
                if let Some(member) = self.members.get_mut(to) {
                    member.assignment = assignment.to_vec();
                }
            }
            self.phase = Phase::Stable;
            self.changed.notify_all();
        }
        Ok(())
    }

    /// What the member is to read; `None` while the leader is awaited.
    ///
    /// # Errors
    /// `UnknownMemberId`, `IllegalGeneration`, `RebalanceInProgress`.
    pub(crate) fn assigned(&mut self, id: &str, generation: i32) -> Result<Option<Vec<u8>>, Code> {
        let phase = self.phase;
        let member = self.member(id, generation)?;
        match phase {
            Phase::Stable => Ok(Some(member.assignment.clone())),
            Phase::Syncing { .. } => Ok(None),
            Phase::Joining { .. } | Phase::Empty => Err(Code::RebalanceInProgress),
        }
    }

    pub(crate) fn kind_and_protocol(&self) -> (&str, &str) {
        (&self.kind, &self.protocol)
    }

    /// # Errors
    /// `UnknownMemberId`, `IllegalGeneration`, `RebalanceInProgress`.
    pub(crate) fn heartbeat(
        &mut self,
        id: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), Code> {
        self.member(id, generation)?.seen = now;
        match self.phase {
            Phase::Joining { .. } => Err(Code::RebalanceInProgress),
            Phase::Empty | Phase::Syncing { .. } | Phase::Stable => Ok(()),
        }
    }

    /// A member goes; by its id, or a static one by its name.
    ///
    /// # Errors
    /// `UnknownMemberId`.
    pub(crate) fn leave(
        &mut self,
        id: &str,
        instance: Option<&str>,
        now: Instant,
    ) -> Result<(), Code> {
        let is_it = |(of, member): &(&String, &Member)| {
            *of == id || instance.is_some() && member.said.instance.as_deref() == instance
        };
        let found = self.members.iter().find(is_it).map(|(id, _)| id.clone());
        self.members.remove(&found.ok_or(Code::UnknownMemberId)?);
        self.rebalance(now);
        self.complete_if_due(now);
        Ok(())
    }

    /// Puts out who was not heard of, and ends what is late.
    fn tick(&mut self, now: Instant) {
        let before = self.members.len();
        let silent =
            |member: &Member| now.saturating_duration_since(member.seen) > member.said.session;
        self.members.retain(|_, member| member.waits || !silent(member));
        let is_late = matches!(self.phase, Phase::Syncing { until } if now >= until);
        if self.members.len() < before || is_late {
            self.rebalance(now);
        }
        self.complete_if_due(now);
    }

    /// That somebody may commit: a member of this generation, or anybody while there is no member.
    ///
    /// # Errors
    /// `UnknownMemberId`, `IllegalGeneration`, `RebalanceInProgress`.
    pub(crate) fn check(&mut self, id: &str, generation: i32) -> Result<(), Code> {
        if generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.member(id, generation)?.seen = Instant::now();
        match self.phase {
            Phase::Syncing { .. } => Err(Code::RebalanceInProgress),
            Phase::Empty | Phase::Joining { .. } | Phase::Stable => Ok(()),
        }
    }

    /// As [`Self::check`] for a transaction, whose producer may know nothing of the group.
    ///
    /// # Errors
    /// `UnknownMemberId`, `IllegalGeneration`.
    pub(crate) fn check_transactional(&mut self, id: &str, generation: i32) -> Result<(), Code> {
        if generation < 0 { Ok(()) } else { self.member(id, generation).map(drop) }
    }

    /// An open transaction holds an offset of this partition.
    pub(crate) fn hold(&mut self, topic: &str, partition: i32) {
        *self.held.entry((topic.to_owned(), partition)).or_default() += 1;
    }

    /// The transaction has ended: its offset is valid now, or forgotten.
    pub(crate) fn release(&mut self, topic: &str, partition: i32, valid: Option<Committed>) {
        let place = (topic.to_owned(), partition);
        if let Some(held) = self.held.get_mut(&place) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&place);
            }
        }
        if let Some(offset) = valid {
            self.offsets.insert(place, offset);
        }
    }

    pub(crate) fn commit(&mut self, topic: &str, partition: i32, offset: Committed) {
        self.offsets.insert((topic.to_owned(), partition), offset);
    }

    pub(crate) fn committed(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.offsets.get(&(topic.to_owned(), partition))
    }

    /// Whether an open transaction may still change the offset.
    pub(crate) fn is_held(&self, topic: &str, partition: i32) -> bool {
        self.held.contains_key(&(topic.to_owned(), partition))
    }

    /// Every partition with an offset, by topic.
    pub(crate) fn places(&self) -> BTreeMap<&str, Vec<i32>> {
        let mut places: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in self.offsets.keys() {
            places.entry(topic).or_default().push(*partition);
        }
        places
    }
}

impl Member {
    fn speaks(&self, protocol: &str) -> bool {
        self.said.protocols.iter().any(|(name, _)| name == protocol)
    }
}

#[derive(Default)]
pub(crate) struct Groups {
    by_id: BTreeMap<String, Group>,
    members: u64,
}

impl Groups {
    pub(crate) fn get(&mut self, id: &str) -> Option<&mut Group> {
        self.by_id.get_mut(id)
    }

    /// A group comes to be when somebody commits for it or joins it.
    ///
    /// # Errors
    /// `InvalidGroupId` for an empty one, `PolicyViolation` beyond the limit.
    pub(crate) fn make(&mut self, id: &str) -> Result<&mut Group, Code> {
        if id.is_empty() {
            return Err(Code::InvalidGroupId);
        }
        if self.by_id.len() >= GROUPS_MAX && !self.by_id.contains_key(id) {
            return Err(Code::PolicyViolation);
        }
        Ok(self.by_id.entry(id.to_owned()).or_default())
    }

    /// The group that an offset is committed to: one that is not there comes to be for who is no member of it.
    ///
    /// # Errors
    /// As [`Self::make`]; `IllegalGeneration` of one that is not there.
    pub(crate) fn for_commit(&mut self, id: &str, generation: i32) -> Result<&mut Group, Code> {
        if generation >= 0 && !self.by_id.contains_key(id) {
            return Err(Code::IllegalGeneration);
        }
        self.make(id)
    }

    /// A new member's id, which begins as its client calls itself.
    pub(crate) fn member_id(&mut self, client: &str) -> String {
        self.members += 1;
        let client: String = client.chars().take(100).collect();
        format!("{client}-{:016x}", self.members)
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        for group in self.by_id.values_mut().filter(|group| group.phase != Phase::Empty) {
            group.tick(now);
        }
    }

    /// A topic is gone, and with it what was committed for it.
    pub(crate) fn forget_topic(&mut self, topic: &str) {
        for group in self.by_id.values_mut() {
            group.offsets.retain(|(other, _), _| other != topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn comes(group: &mut Group, id: &str, is_new: bool, now: Instant) -> Result<(), Code> {
        let said = Joining {
            instance: None,
            session: Duration::from_secs(10),
            rebalance: MINUTE,
            protocols: vec![("range".to_owned(), id.as_bytes().to_vec())],
        };
        group.join(id, is_new, "consumer", said, now)
    }

    #[test]
    fn a_second_member_waits_until_the_first_comes_again() {
        let (mut group, now) = (Group::default(), Instant::now());
        comes(&mut group, "a", true, now).unwrap();
        let alone = group.joined("a", now).unwrap().unwrap();
        assert_eq!((alone.generation, alone.leader.as_str(), alone.members.len()), (1, "a", 1));
        group.assign("a", 1, vec![("a", b"all")], now).unwrap();
        assert_eq!(group.assigned("a", 1), Ok(Some(b"all".to_vec())));
        comes(&mut group, "b", true, now).unwrap();
        assert!(group.joined("b", now).unwrap().is_none());
        assert_eq!(group.heartbeat("a", 1, now), Err(Code::RebalanceInProgress));
        comes(&mut group, "a", false, now).unwrap();
        assert_eq!(
            group.joined("b", now).unwrap().unwrap().members.len(),
            0,
            "told the leader only"
        );
        assert_eq!(group.joined("a", now).unwrap().unwrap().members.len(), 2);
        assert_eq!(group.assigned("b", 2), Ok(None));
        assert_eq!(group.check("b", 2), Err(Code::RebalanceInProgress));
        group.assign("a", 2, vec![("a", b"x"), ("b", b"y")], now).unwrap();
        assert_eq!(group.assigned("b", 2), Ok(Some(b"y".to_vec())));
        assert_eq!(group.check("b", 2), Ok(()));
        assert_eq!(group.check("b", 1), Err(Code::IllegalGeneration));
        assert_eq!(group.check("", -1), Err(Code::UnknownMemberId), "it has members");
    }

    #[test]
    fn who_is_silent_is_out() {
        let (mut group, now) = (Group::default(), Instant::now());
        comes(&mut group, "a", true, now).unwrap();
        comes(&mut group, "b", true, now).unwrap();
        comes(&mut group, "a", false, now).unwrap();
        group.joined("a", now).unwrap().unwrap();
        group.assign("a", 2, vec![("a", b"x"), ("b", b"y")], now).unwrap();
        let later = now + Duration::from_secs(8);
        group.heartbeat("a", 2, later).unwrap();
        group.tick(now + Duration::from_secs(11));
        assert_eq!(group.heartbeat("b", 2, later), Err(Code::UnknownMemberId));
        assert_eq!(group.heartbeat("a", 2, later), Err(Code::RebalanceInProgress));
        // Who does not come to the rebalance either is out too, and nobody is left.
        group.tick(now + Duration::from_secs(11) + MINUTE);
        assert_eq!(group.phase, Phase::Empty);
        assert_eq!(group.check("", -1), Ok(()));
    }

    #[test]
    fn strangers_bad_member() {
        let (mut group, now) = (Group::default(), Instant::now());
        assert_eq!(comes(&mut group, "x", false, now), Err(Code::UnknownMemberId));
        group.promise("x", now);
        assert_eq!(comes(&mut group, "x", false, now), Ok(()));
        let other = Joining {
            instance: None,
            session: MINUTE,
            rebalance: MINUTE,
            protocols: vec![("sticky".to_owned(), Vec::new())],
        };
        let refused = group.join("y", true, "consumer", other, now);
        assert_eq!(refused, Err(Code::InconsistentGroupProtocol));
        assert_eq!(group.leave("y", None, now), Err(Code::UnknownMemberId));
        assert_eq!(group.leave("x", None, now), Ok(()));
    }
}
