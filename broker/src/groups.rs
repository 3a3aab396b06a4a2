//! Consumer groups: what they have committed.

use std::collections::{BTreeMap, HashMap};

/// An offset that a group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

use crate::code::Code;

type Place = (String, i32);

#[derive(Default)]
pub(crate) struct Group {
    offsets: BTreeMap<Place, Committed>,
    /// How many open transactions hold an offset of a place.
    held: HashMap<Place, u32>,
}

impl Group {
    /// That somebody may commit: a member of this generation, or anybody while there is no member.
    ///
    /// # Errors
    /// `UnknownMemberId`, `IllegalGeneration`, `RebalanceInProgress`.
    pub(crate) fn check(&mut self, _member: &str, generation: i32) -> Result<(), Code> {
        if generation < 0 { Ok(()) } else { Err(Code::UnknownMemberId) }
    }

    /// As [`Self::check`] for a transaction, whose producer may know nothing of the group.
    ///
    /// # Errors
    /// `UnknownMemberId`, `IllegalGeneration`.
    pub(crate) fn check_transactional(
        &mut self,
        member: &str,
        generation: i32,
    ) -> Result<(), Code> {
        if generation < 0 { Ok(()) } else { self.check(member, generation) }
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

#[derive(Default)]
pub(crate) struct Groups {
    by_id: BTreeMap<String, Group>,
}

impl Groups {
    /// A group comes to be when somebody speaks of it.
    pub(crate) fn get(&mut self, id: &str) -> &mut Group {
        self.by_id.entry(id.to_owned()).or_default()
    }

    /// A topic is gone, and with it what was committed for it.
    pub(crate) fn forget_topic(&mut self, topic: &str) {
        for group in self.by_id.values_mut() {
            group.offsets.retain(|(other, _), _| other != topic);
        }
    }
}
