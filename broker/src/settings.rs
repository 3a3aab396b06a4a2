//! Settings of a topic: all that Kafka 4.3 has, with its defaults. They are checked, kept and described; the ones that
//! do something here are those with a method below.

use std::collections::BTreeMap;

use crate::code::Code;

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Bool,
    /// 32 bits, from this one on.
    Int(i64),
    /// 64 bits, from this one on.
    Long(i64),
    /// From 0 to 1.
    Ratio,
    OneOf(&'static [&'static str]),
    /// Of these, divided by commas.
    SomeOf(&'static [&'static str]),
    List,
}

impl Kind {
    /// The number that DescribeConfigs has for it.
    pub(crate) fn number(self) -> i8 {
        match self {
            Self::Bool => 1,
            Self::OneOf(_) => 2,
            Self::Int(_) => 3,
            Self::Long(_) => 5,
            Self::Ratio => 6,
            Self::SomeOf(_) | Self::List => 7,
        }
    }

    fn takes(self, value: &str) -> bool {
        match self {
            Self::Bool => ["true", "false"].contains(&value),
            Self::Int(min) => value.parse::<i32>().is_ok_and(|n| i64::from(n) >= min),
            Self::Long(min) => value.parse::<i64>().is_ok_and(|n| n >= min),
            Self::Ratio => value.parse::<f64>().is_ok_and(|n| (0.0..=1.0).contains(&n)),
            Self::OneOf(values) => values.contains(&value),
            Self::SomeOf(values) => {
                !value.is_empty() && value.split(',').all(|one| values.contains(&one.trim()))
            }
            Self::List => true,
        }
    }
}

/// Name, what it may be, and Kafka's default.
pub(crate) const ALL: &[(&str, Kind, &str)] = &[
    ("cleanup.policy", Kind::SomeOf(&["delete", "compact"]), "delete"),
    ("compression.gzip.level", Kind::Int(-1), "-1"),
    ("compression.lz4.level", Kind::Int(1), "9"),
    (
        "compression.type",
        Kind::OneOf(&["producer", "uncompressed", "zstd", "lz4", "snappy", "gzip"]),
        "producer",
    ),
    ("compression.zstd.level", Kind::Int(-131_072), "3"),
    ("delete.retention.ms", Kind::Long(0), "86400000"),
    ("file.delete.delay.ms", Kind::Long(0), "60000"),
    ("flush.messages", Kind::Long(1), "9223372036854775807"),
    ("flush.ms", Kind::Long(0), "9223372036854775807"),
    ("follower.replication.throttled.replicas", Kind::List, ""),
    ("index.interval.bytes", Kind::Int(0), "4096"),
    ("leader.replication.throttled.replicas", Kind::List, ""),
    ("local.retention.bytes", Kind::Long(-2), "-2"),
    ("local.retention.ms", Kind::Long(-2), "-2"),
    ("max.compaction.lag.ms", Kind::Long(1), "9223372036854775807"),
    (MAX_MESSAGE_BYTES, Kind::Int(0), "1048588"),
    (AFTER_MAX_MS, Kind::Long(0), "3600000"),
    ("message.timestamp.before.max.ms", Kind::Long(0), "9223372036854775807"),
    (TIMESTAMP_TYPE, Kind::OneOf(&["CreateTime", "LogAppendTime"]), "CreateTime"),
    ("min.cleanable.dirty.ratio", Kind::Ratio, "0.5"),
    ("min.compaction.lag.ms", Kind::Long(0), "0"),
    ("min.insync.replicas", Kind::Int(1), "1"),
    ("preallocate", Kind::Bool, "false"),
    ("remote.log.copy.disable", Kind::Bool, "false"),
    ("remote.log.delete.on.disable", Kind::Bool, "false"),
    ("remote.storage.enable", Kind::Bool, "false"),
    ("retention.bytes", Kind::Long(-1), "-1"),
    ("retention.ms", Kind::Long(-1), "604800000"),
    ("segment.bytes", Kind::Int(1), "1073741824"),
    ("segment.index.bytes", Kind::Int(4), "10485760"),
    ("segment.jitter.ms", Kind::Long(0), "0"),
    ("segment.ms", Kind::Long(1), "604800000"),
    ("unclean.leader.election.enable", Kind::Bool, "false"),
];

const AFTER_MAX_MS: &str = "message.timestamp.after.max.ms";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// One topic's settings: those that are not Kafka's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    set: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Sets one, or puts it back to its default.
    ///
    /// # Errors
    /// `InvalidConfig` for a name or value that Kafka would refuse.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), Code> {
        let known = ALL.iter().find(|(known, _, _)| *known == name);
        let (name, kind, _) = known.ok_or(Code::InvalidConfig)?;
        match value {
            None => drop(self.set.remove(name)),
            Some(value) if kind.takes(value) => drop(self.set.insert(name, value.to_owned())),
            Some(_) => return Err(Code::InvalidConfig),
        }
        Ok(())
    }

    /// The value, and whether it was set for this topic.
    pub(crate) fn get(&self, name: &str) -> Option<(&str, bool)> {
        let (_, _, default) = ALL.iter().find(|(known, _, _)| *known == name)?;
        Some(self.set.get(name).map_or((default, false), |value| (value, true)))
    }

    pub(crate) fn max_message_bytes(&self) -> usize {
        self.get(MAX_MESSAGE_BYTES).and_then(|(value, _)| value.parse().ok()).unwrap_or(usize::MAX)
    }

    /// How far ahead of the broker's clock a record's time may be.
    pub(crate) fn ahead_max_ms(&self) -> i64 {
        self.get(AFTER_MAX_MS).and_then(|(value, _)| value.parse().ok()).unwrap_or(i64::MAX)
    }

    /// Whether the time counts at which records are appended, and not their own.
    pub(crate) fn has_append_time(&self) -> bool {
        self.get(TIMESTAMP_TYPE).is_some_and(|(of, _)| of == "LogAppendTime")
    }

    /// Whether old records may go other than by compaction.
    pub(crate) fn deletes(&self) -> bool {
        self.get("cleanup.policy").is_some_and(|(policy, _)| policy.contains("delete"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_of_their_own_kind_and_in_order() {
        for (name, kind, default) in ALL {
            assert!(kind.takes(default), "{name}");
        }
        assert!(ALL.is_sorted_by_key(|(name, _, _)| name));
    }

    #[test]
    fn values_are_taken_kept_and_put_back() {
        let mut settings = Settings::default();
        assert_eq!(settings.get("cleanup.policy"), Some(("delete", false)));
        settings.set("cleanup.policy", Some("compact")).unwrap();
        settings.set("max.message.bytes", Some("600")).unwrap();
        assert_eq!(settings.get("cleanup.policy"), Some(("compact", true)));
        assert!(!settings.deletes());
        assert_eq!(settings.max_message_bytes(), 600);
        settings.set("max.message.bytes", None).unwrap();
        assert_eq!(settings.max_message_bytes(), 1_048_588);
    }

    #[test]
    fn what_kafka_refuses_bad_setting() {
        for (name, value) in [
            ("no.such.setting", "1"),
            ("cleanup.policy", "shred"),
            ("cleanup.policy", ""),
            ("max.message.bytes", "-1"),
            ("max.message.bytes", "4294967296"),
            ("retention.ms", "-2"),
            ("preallocate", "yes"),
            ("min.cleanable.dirty.ratio", "1.5"),
        ] {
            let refused = Settings::default().set(name, Some(value));
            assert_eq!(refused, Err(Code::InvalidConfig), "{name}");
        }
    }
}
