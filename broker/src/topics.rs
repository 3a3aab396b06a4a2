//! Topics: names, ids, settings, and the partitions below them.

use std::collections::{BTreeMap, HashMap};

use data_encoding::BASE64URL_NOPAD;

use crate::code::Code;
use crate::log::Log;
use crate::settings::Settings;

/// All partitions of a broker.
const PARTITIONS_MAX: usize = 20_000;

/// What tells a topic from another one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TopicId(pub [u8; 16]);

impl TopicId {
    /// In requests: the topic is meant by its name.
    pub(crate) const NONE: Self = Self([0; 16]);
}

/// Gives ids that no other broker and no other topic has: half random, drawn once, half counted.
pub(crate) struct Ids {
    drawn: [u8; 8],
    given: u64,
}

impl Ids {
    /// `drawn` is random.
    pub(crate) fn new(mut drawn: [u8; 8]) -> Self {
        drawn[0] &= 0x7f; // no id's text begins with a dash, as in Kafka
        Self { drawn, given: 0 }
    }

    pub(crate) fn next(&mut self) -> [u8; 16] {
        self.given += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.drawn);
        id[8..].copy_from_slice(&self.given.to_be_bytes());
        id
    }

    /// As Kafka prints ids: 22 characters of base64url.
    pub(crate) fn next_printed(&mut self) -> String {
        BASE64URL_NOPAD.encode(&self.next())
    }
}

pub(crate) struct Topic {
    pub id: TopicId,
    pub partitions: Vec<Log>,
    pub settings: Settings,
}

pub(crate) struct Topics {
    ids: Ids,
    by_name: BTreeMap<String, Topic>,
    names: HashMap<TopicId, String>,
}

impl Topics {
    pub(crate) fn new(ids: Ids) -> Self {
        Self { ids, by_name: BTreeMap::new(), names: HashMap::new() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    pub(crate) fn name(&self, id: TopicId) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// # Errors
    /// `UnknownTopicOrPartition`.
    pub(crate) fn log(&mut self, topic: &str, partition: i32) -> Result<&mut Log, Code> {
        let logs = self.by_name.get_mut(topic).map(|topic| &mut topic.partitions);
        let log = logs.zip(usize::try_from(partition).ok()).and_then(|(l, at)| l.get_mut(at));
        log.ok_or(Code::UnknownTopicOrPartition)
    }

    fn partitions(&self) -> usize {
        self.by_name.values().map(|topic| topic.partitions.len()).sum()
    }

    fn check_partitions(&self, more: i32) -> Result<usize, Code> {
        let more = usize::try_from(more).ok().filter(|more| *more > 0);
        let more = more.ok_or(Code::InvalidPartitions)?;
        if self.partitions() + more > PARTITIONS_MAX {
            return Err(Code::PolicyViolation);
        }
        Ok(more)
    }

    /// That a topic may be made so.
    ///
    /// # Errors
    /// `InvalidTopic` for its name, `TopicAlreadyExists`, `InvalidPartitions`, `PolicyViolation` beyond the limit.
    pub(crate) fn check_new(&self, name: &str, partitions: i32) -> Result<usize, Code> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty()
            || name.len() > 249
            || [".", ".."].contains(&name)
            || !name.chars().all(plain)
        {
            return Err(Code::InvalidTopic);
        }
        if self.by_name.contains_key(name) {
            return Err(Code::TopicAlreadyExists);
        }
        self.check_partitions(partitions)
    }

    /// # Errors
    /// As [`Self::check_new`].
    pub(crate) fn create(
        &mut self,
        name: &str,
        partitions: i32,
        settings: Settings,
    ) -> Result<TopicId, Code> {
        let partitions = self.check_new(name, partitions)?;
        let id = TopicId(self.ids.next());
        let partitions = std::iter::repeat_with(Log::default).take(partitions).collect();
        self.names.insert(id, name.to_owned());
        self.by_name.insert(name.to_owned(), Topic { id, partitions, settings });
        Ok(id)
    }

    /// # Errors
    /// `UnknownTopicOrPartition`.
    pub(crate) fn delete(&mut self, name: &str) -> Result<Topic, Code> {
        let topic = self.by_name.remove(name).ok_or(Code::UnknownTopicOrPartition)?;
        self.names.remove(&topic.id);
        Ok(topic)
    }

    /// That a topic may have so many partitions in all; how many are added.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, `InvalidPartitions` where they are not more, `PolicyViolation` beyond the limit.
    pub(crate) fn check_grown(&self, name: &str, total: i32) -> Result<usize, Code> {
        let topic = self.by_name.get(name).ok_or(Code::UnknownTopicOrPartition)?;
        let now = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        self.check_partitions(total.saturating_sub(now))
    }

    /// # Errors
    /// As [`Self::check_grown`].
    pub(crate) fn grow(&mut self, name: &str, total: i32) -> Result<(), Code> {
        let more = self.check_grown(name, total)?;
        let topic = self.by_name.get_mut(name).ok_or(Code::UnknownTopicOrPartition)?;
        topic.partitions.extend(std::iter::repeat_with(Log::default).take(more));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_made_again_has_another_id() {
        let mut topics = Topics::new(Ids::new([0xff; 8]));
        let first = topics.create("t", 2, Settings::default()).unwrap();
        assert_eq!(topics.create("t", 2, Settings::default()), Err(Code::TopicAlreadyExists));
        topics.delete("t").unwrap();
        assert_eq!(topics.name(first), None);
        let second = topics.create("t", 2, Settings::default()).unwrap();
        assert_ne!(first, second);
        assert_eq!(topics.name(second), Some("t"));
        assert!(topics.log("t", 1).is_ok() && topics.log("t", 2).is_err());
        assert_eq!(topics.grow("t", 2), Err(Code::InvalidPartitions));
        assert_eq!(topics.grow("t", 3), Ok(()));
        assert!(topics.log("t", 2).is_ok() && topics.log("t", -1).is_err());
    }

    #[test]
    fn names_and_counts_that_kafka_refuses_bad_topic() {
        let topics = Topics::new(Ids::new([0xff; 8]));
        let long = "a".repeat(250);
        for name in ["", ".", "..", "a/b", "a b", "ä", long.as_str()] {
            assert_eq!(topics.check_new(name, 1), Err(Code::InvalidTopic), "{name}");
        }
        assert_eq!(topics.check_new("a", 0), Err(Code::InvalidPartitions));
        assert_eq!(topics.check_new("a", 20_001), Err(Code::PolicyViolation));
        assert_eq!(topics.check_new("a", 20_000), Ok(20_000));
    }

    #[test]
    fn ids_have_22_characters_and_differ() {
        let mut ids = Ids::new([0xff; 8]);
        let (first, second) = (ids.next_printed(), ids.next_printed());
        assert_eq!((first.len(), second.len()), (22, 22));
        assert!(first != second && !first.starts_with('-'));
    }
}
