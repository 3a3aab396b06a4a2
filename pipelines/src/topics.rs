//! What a pipeline's own topics must be like. `doctor` compares and makes them; `run` compares
//! and makes none.

use douane_connectors::edge::{Admin, EdgeFault, TopicConfig, TopicIdentity};
use douane_schemas::names::printable_topic;

use crate::config::{LedgerHome, Pipeline, Place};
use crate::fault::RunFault;
use crate::group;
use crate::names::{Names, ledger_home};
use crate::position::Layout;

/// Shards that a new position topic has room for. `tasks` may grow up to it without a new topic.
const SHARDS_FORESEEN: u32 = 32;
/// As Kafka calls it.
const CREATE_TIME: &str = "CreateTime";
/// Why a record's time is its writer's.
const OF_RECORDS: &str =
    "a record's time is signed, and whoever receives refuses another one in its place";
const OF_MANIFESTS: &str =
    "by a manifest's time whoever receives tells whether its release was live";

/// What a topic of a pipeline must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// In the sovereign cluster; otherwise in the global one.
    pub sovereign: bool,
    /// Its name in its cluster.
    pub name: String,
    /// Partitions when it is made; `None` says as many as the source has.
    pub partitions: Option<i32>,
    /// Fewer cannot be used.
    pub partitions_min: i32,
    /// `None`: `douane.yaml` says nothing about it; whatever is there is taken.
    pub replication: Option<i32>,
    /// As `replication`.
    pub min_insync: Option<i32>,
    /// `compact` for positions: deletion by age would forget where the source stands.
    pub cleanup_policy: Option<&'static str>,
    /// When it is made; afterwards it is the operator's, but for one that must keep everything.
    pub retention_ms: Option<i64>,
    /// What is said of another cleanup policy.
    pub otherwise: &'static str,
    /// What is in it has no other home: nothing of it is ever deleted.
    pub keeps_all: bool,
    /// A record's time is its writer's: why.
    pub own_time: Option<&'static str>,
}

/// The topics that a pipeline needs beside its source.
pub fn expectations(place: &Place, names: &Names) -> Vec<Expected> {
    let global = place.global.topics.as_ref();
    let base = |name: &String| Expected {
        sovereign: false,
        name: name.clone(),
        partitions: Some(1),
        partitions_min: 1,
        replication: global.map(|t| t.replication),
        min_insync: global.map(|t| t.min_insync),
        cleanup_policy: None,
        retention_ms: None,
        otherwise: "a deleted position is a second copy of everything",
        keeps_all: false,
        own_time: None,
    };
    let own = |name: &String| of_zone(place, name);
    let shards = Layout::position_partition(SHARDS_FORESEEN.max(place.tasks) - 1) + 1;
    let shards_min = Layout::position_partition(place.tasks.max(1) - 1) + 1;
    let journal = (place.ledger_home == LedgerHome::Topic).then(|| Expected {
        partitions: Some(shards),
        partitions_min: shards_min,
        cleanup_policy: Some("delete"),
        retention_ms: Some(-1),
        otherwise: "a ledger that is compacted has lost entries",
        keeps_all: true,
        ..own(&names.journal)
    });
    let mut all = vec![
        Expected { partitions: None, own_time: Some(OF_RECORDS), ..base(&names.data) },
        // Evidence: nothing deletes it by age.
        Expected { retention_ms: Some(-1), own_time: Some(OF_MANIFESTS), ..base(&names.manifest) },
        Expected {
            partitions: Some(shards),
            partitions_min: shards_min,
            cleanup_policy: Some("compact"),
            ..base(&names.position)
        },
        own(&names.quarantine),
    ];
    all.extend(journal);
    all
}

/// A topic of the sovereign zone.
fn of_zone(place: &Place, name: &str) -> Expected {
    let settings = place.sovereign.topics.as_ref();
    Expected {
        sovereign: true,
        name: name.to_owned(),
        partitions: Some(1),
        partitions_min: 1,
        replication: settings.map(|t| t.replication),
        min_insync: settings.map(|t| t.min_insync),
        cleanup_policy: None,
        retention_ms: None,
        otherwise: "what is deleted by age is forgotten",
        keeps_all: false,
        own_time: None,
    }
}

/// One of a pipeline's own topics, where it is not there.
pub fn missing(place: &Place, pipeline: &str, topic: &str, side: &str) -> RunFault {
    match gone(place, pipeline, side) {
        None => RunFault::missing(topic, side),
        Some(what) => RunFault::Topic { topic: topic.to_owned(), what },
    }
}

/// What has run and lost a topic of its own must not be told to make an empty one: it would not be the
/// one whose positions and evidence the ledger knows. `None`: it has not run here.
pub fn gone(place: &Place, pipeline: &str, side: &str) -> Option<String> {
    ledger_home(&place.ledger_dir, pipeline).exists().then(|| {
        let next = match side {
            // Nothing goes by what is in it: whoever gives it up may, knowingly.
            "sovereign" => {
                "restore the topic; or, where what was set aside may be lost, `douane doctor FILE \
                 --create --quarantine-anew`"
            }
            _ => "restore the topic, or begin anew under another pipeline name and sink topic",
        };
        format!(
            "is gone from the {side} cluster, but the ledger knows this pipeline\n  next: {next}"
        )
    })
}

/// The topics that workers of a group share, if the place has one.
pub fn of_group(place: &Place) -> Vec<Expected> {
    let Some(group) = &place.serve.group else { return Vec::new() };
    let compacted =
        |name: &str| Expected { cleanup_policy: Some("compact"), ..of_zone(place, name) };
    vec![
        compacted(&group.config_topic),
        Expected { partitions: Some(group::UNITS), ..compacted(&group.status_topic) },
    ]
}

/// The topics that a pattern of the file fits and that no table stands for: they are not read.
pub fn not_read(sovereign: &dyn Admin, pipelines: &[Pipeline]) -> Result<Vec<String>, EdgeFault> {
    let Some(table) = pipelines.iter().find_map(|pipeline| pipeline.table.as_ref()) else {
        return Ok(Vec::new());
    };
    let read: Vec<&String> = pipelines.iter().flat_map(|p| &p.source.topics).collect();
    let fits = |topic: &String| {
        table.patterns.iter().any(|pattern| {
            let last = topic.strip_prefix(pattern.trim_end_matches('*'));
            last.is_some_and(|last| !last.is_empty() && !last.contains('.'))
        })
    };
    let mut found = sovereign.names()?;
    found.retain(|topic| fits(topic) && !read.contains(&topic));
    found.sort();
    Ok(found)
}

/// What nobody reads, as it may be printed: nobody named these topics here. Numbered by its place among
/// all of them.
pub fn shown(not_read: &[String]) -> Vec<String> {
    shown_beyond(not_read, &[])
}

/// As [`shown`], without those that were told, and by the same numbers.
pub fn shown_beyond(not_read: &[String], told: &[String]) -> Vec<String> {
    (1..)
        .zip(not_read)
        .filter(|(_, topic)| !told.contains(topic))
        .map(|(n, topic)| printable_topic(topic, n))
        .collect()
}

impl Expected {
    /// Looks at the topic as it is. What differs, in words; empty where it is as it should be.
    pub fn check(&self, admin: &dyn Admin) -> Result<Vec<String>, EdgeFault> {
        let Some(found) = admin.topic(&self.name)? else {
            return Ok(vec!["does not exist".to_owned()]);
        };
        Ok(self.differences(&found, &admin.topic_config(&self.name)?))
    }

    fn differences(&self, found: &TopicIdentity, config: &TopicConfig) -> Vec<String> {
        let mut wrong = Vec::new();
        if found.partitions < self.partitions_min {
            wrong.push(format!(
                "{} partitions, at least {} are needed",
                found.partitions, self.partitions_min
            ));
        }
        if let Some(policy) = self.cleanup_policy
            && config.cleanup_policy != policy
        {
            wrong.push(format!(
                "cleanup.policy is {}, must be {policy}: {}",
                config.cleanup_policy, self.otherwise
            ));
        }
        if self.keeps_all && config.retention_ms != -1 {
            wrong.push(format!(
                "retention.ms is {}, must be -1: a ledger that ends is none",
                config.retention_ms
            ));
        }
        if self.keeps_all && config.retention_bytes != Some(-1) {
            wrong.push(format!(
                "retention.bytes is {}, must be -1: a ledger that ends is none",
                told(config.retention_bytes.as_ref())
            ));
        }
        if let Some(why) = self.own_time
            && config.timestamp_type.as_deref() != Some(CREATE_TIME)
        {
            wrong.push(format!(
                "message.timestamp.type is {}, must be {CREATE_TIME}: {why}; what is there \
                 already stays as it is; next: set it on the topic",
                told(config.timestamp_type.as_ref())
            ));
        }
        if let Some(replication) = self.replication
            && found.replication != replication
        {
            wrong.push(format!(
                "replication factor is {}, douane.yaml expects {replication}",
                found.replication
            ));
        }
        if let Some(min_insync) = self.min_insync
            && config.min_insync_replicas != Some(min_insync)
        {
            wrong.push(format!(
                "min.insync.replicas is {}, douane.yaml expects {min_insync}",
                told(config.min_insync_replicas.as_ref())
            ));
        }
        wrong
    }

    /// What the files leave open of a topic that is the only home of what is in it.
    pub fn unsaid(&self) -> &'static str {
        match self.keeps_all && self.replication.is_none() {
            true => {
                "; `clusters.sovereign.topics` says no replication: with a factor of 1 the ledger \
                 lies on one disk"
            }
            false => "",
        }
    }

    /// Makes the topic, with this many partitions.
    pub fn create(&self, admin: &dyn Admin, partitions: i32) -> Result<(), EdgeFault> {
        let config = self.config();
        let config: Vec<(&str, &str)> = config.iter().map(|(k, v)| (*k, v.as_str())).collect();
        admin.create_topic(&self.name, partitions, self.replication.unwrap_or(1), &config)?;
        Ok(())
    }

    /// What a topic that is made is told.
    fn config(&self) -> Vec<(&'static str, String)> {
        let mut config: Vec<(&str, String)> = Vec::new();
        if let Some(policy) = self.cleanup_policy {
            config.push(("cleanup.policy", policy.to_owned()));
        }
        if let Some(min_insync) = self.min_insync {
            config.push(("min.insync.replicas", min_insync.to_string()));
        }
        if let Some(retention_ms) = self.retention_ms {
            config.push(("retention.ms", retention_ms.to_string()));
        }
        if self.keeps_all {
            config.push(("retention.bytes", "-1".to_owned()));
        }
        if self.own_time.is_some() {
            config.push(("message.timestamp.type", CREATE_TIME.to_owned()));
        }
        config
    }
}

/// A setting as the broker has it. What it does not say is not what must be.
fn told(setting: Option<&impl ToString>) -> String {
    setting.map_or_else(|| "not told by the broker".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_are_not_read_keep_their_numbers() {
        let all = ["crm.4111111111111111", "crm.orders", "crm.4111111111111112"].map(String::from);
        assert_eq!(shown(&all), ["<unknown#1>", "crm.orders", "<unknown#3>"]);
        assert_eq!(shown_beyond(&all, &all[..1]), ["crm.orders", "<unknown#3>"]);
        assert_eq!(shown_beyond(&all, &all), Vec::<String>::new());
    }

    fn position() -> Expected {
        Expected {
            sovereign: false,
            name: "t.position".into(),
            partitions: Some(33),
            partitions_min: 5,
            replication: Some(3),
            min_insync: Some(2),
            cleanup_policy: Some("compact"),
            retention_ms: None,
            otherwise: "a deleted position is a second copy of everything",
            keeps_all: false,
            own_time: None,
        }
    }

    fn found(partitions: i32, replication: i32) -> TopicIdentity {
        TopicIdentity { id: "id".into(), partitions, replication }
    }

    fn config(cleanup_policy: &str, min_insync_replicas: i32) -> TopicConfig {
        TopicConfig {
            max_message_bytes: 1 << 20,
            min_insync_replicas: Some(min_insync_replicas),
            cleanup_policy: cleanup_policy.into(),
            retention_ms: -1,
            retention_bytes: Some(-1),
            timestamp_type: Some(CREATE_TIME.into()),
        }
    }

    #[test]
    fn what_differs_is_told_all_at_once() {
        let compact = config("compact", 2);
        for (found, config, expected) in [
            (found(5, 3), compact.clone(), vec![]),
            (found(99, 3), compact.clone(), vec![]),
            (found(4, 3), compact.clone(), vec!["4 partitions, at least 5 are needed"]),
            (found(5, 1), compact.clone(), vec!["replication factor is 1"]),
            (found(5, 3), config("delete", 2), vec!["cleanup.policy is delete"]),
            // Compacted, and deleted by age all the same.
            (found(5, 3), config("compact,delete", 2), vec!["cleanup.policy is compact,delete"]),
            (found(5, 3), config("compact", 1), vec!["min.insync.replicas is 1"]),
            (
                found(1, 2),
                config("delete", 9),
                vec!["1 partitions", "cleanup.policy", "replication factor", "min.insync"],
            ),
        ] {
            let differences = position().differences(&found, &config);
            assert_eq!(differences.len(), expected.len(), "{differences:?}");
            for (difference, words) in differences.iter().zip(expected) {
                assert!(difference.starts_with(words), "{difference}");
            }
        }
    }

    #[test]
    fn a_topic_that_keeps_everything_is_neither_compacted_nor_cut() {
        let journal = Expected { cleanup_policy: Some("delete"), keeps_all: true, ..position() };
        let config = |policy, retention_ms| TopicConfig { retention_ms, ..config(policy, 2) };
        for (config, wrong) in
            [(config("delete", -1), 0), (config("delete", 1), 1), (config("compact", 1), 2)]
        {
            assert_eq!(journal.differences(&found(5, 3), &config).len(), wrong, "{config:?}");
        }
        let cut = TopicConfig { retention_bytes: Some(1 << 30), ..config("delete", -1) };
        let said = journal.differences(&found(5, 3), &cut);
        assert!(matches!(&said[..], [one] if one.starts_with("retention.bytes is ")), "{said:?}");
        // How often it lies there, the files have to say.
        assert_eq!(journal.unsaid(), "");
        let open = Expected { replication: None, ..journal };
        assert!(open.unsaid().contains("replication"));
        assert_eq!(Expected { keeps_all: false, ..open }.unsaid(), "");
    }

    #[test]
    fn where_times_are_signed_they_are_their_writers() {
        let (place, pipeline) = crate::config::tests::good_base();
        let names = Names::of(&place, &pipeline);
        let theirs = Some("LogAppendTime".to_owned());
        let theirs = TopicConfig { timestamp_type: theirs, ..config("compact", 2) };
        for expected in expectations(&place, &names) {
            let is_signed = [&names.data, &names.manifest].contains(&&expected.name);
            let times = |config: &TopicConfig| {
                let mut said = expected.differences(&found(99, 1), config);
                said.retain(|what| what.starts_with("message.timestamp.type is "));
                said
            };
            match &times(&theirs)[..] {
                [] => assert!(!is_signed, "{}", expected.name),
                [one] => {
                    assert!(is_signed && one.contains(" is LogAppendTime, must be CreateTime: "));
                    assert!(one.ends_with("; next: set it on the topic"), "{one}");
                }
                more => panic!("{more:?}"),
            }
            assert!(times(&config("compact", 2)).is_empty());
            // What is made is made so, whatever the broker's default is.
            let own_time = ("message.timestamp.type", CREATE_TIME.to_owned());
            assert_eq!(expected.config().contains(&own_time), is_signed, "{}", expected.name);
        }
    }

    #[test]
    fn what_a_broker_does_not_say_is_not_as_it_must_be() {
        let silent = TopicConfig {
            min_insync_replicas: None,
            retention_bytes: None,
            timestamp_type: None,
            ..config("compact", 2)
        };
        let of = |expected: &Expected| expected.differences(&found(5, 3), &silent);
        let open = Expected { min_insync: None, ..position() };
        assert!(of(&open).is_empty());
        for (expected, setting) in [
            (position(), "min.insync.replicas"),
            (Expected { keeps_all: true, ..open.clone() }, "retention.bytes"),
            (Expected { own_time: Some(OF_RECORDS), ..open }, "message.timestamp.type"),
        ] {
            let said = of(&expected);
            let words = format!("{setting} is not told by the broker, ");
            assert!(matches!(&said[..], [one] if one.starts_with(&words)), "{said:?}");
        }
    }

    #[test]
    fn what_the_place_does_not_say_is_not_compared() {
        let open =
            Expected { replication: None, min_insync: None, cleanup_policy: None, ..position() };
        assert!(open.differences(&found(5, 1), &config("delete", 1)).is_empty());
    }
}
