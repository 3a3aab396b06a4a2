//! `doctor`: reaches every part that the files name, and makes missing topics as they expect
//! them. `run` makes none: a typo must not become a new, unguarded topic.

use std::fmt;
use std::path::{Path, PathBuf};

use douane_connectors::kafka::{Admin, KafkaFault};
use douane_connectors::registry::Registry;
use serde::Serialize;

use crate::config::{self, Pipeline, Place};
use crate::fault::RunFault;
use crate::key_home::KeyHome;
use crate::names::Names;
use crate::position::Layout;
use crate::release;

/// Shards that a new position topic has room for. `tasks` may grow up to it without a new topic.
const SHARDS_MAX: u32 = 32;

/// How one part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Well,
    Made,
    /// Comes later: a release is proposed once the topics are there.
    NotYet,
    Wrong,
    Unreachable,
}

/// One line of the examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub part: String,
    pub state: State,
    pub what: String,
}

impl Line {
    pub fn is_well(&self) -> bool {
        matches!(self.state, State::Well | State::Made | State::NotYet)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Well => "ok",
            State::Made => "made",
            State::NotYet => "not yet",
            State::Wrong => "WRONG",
            State::Unreachable => "UNREACHABLE",
        };
        write!(f, "{state:<12} {:<48} {}", self.part, self.what)
    }
}

/// What a topic of a pipeline must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// In the sovereign cluster; otherwise in the global one.
    pub sovereign: bool,
    pub name: String,
    /// Partitions when it is made; `None` says as many as the source has.
    pub partitions: Option<i32>,
    pub partitions_min: i32,
    pub replication: Option<i32>,
    pub min_insync: Option<i32>,
    /// `compact` for positions: deletion by age would forget where the source stands.
    pub cleanup_policy: Option<&'static str>,
}

/// The topics that a pipeline needs beside its source.
pub fn expectations(place: &Place, names: &Names) -> Vec<Expected> {
    let global = place.global.topics.as_ref();
    let sovereign = place.sovereign.topics.as_ref();
    let base = |name: &String| Expected {
        sovereign: false,
        name: name.clone(),
        partitions: Some(1),
        partitions_min: 1,
        replication: global.map(|t| t.replication),
        min_insync: global.map(|t| t.min_insync),
        cleanup_policy: None,
    };
    vec![
        Expected { partitions: None, ..base(&names.data) },
        base(&names.manifest),
        Expected {
            partitions: Some(Layout::position_partition(SHARDS_MAX.max(place.tasks) - 1) + 1),
            partitions_min: Layout::position_partition(place.tasks.max(1) - 1) + 1,
            cleanup_policy: Some("compact"),
            ..base(&names.position)
        },
        Expected {
            sovereign: true,
            replication: sovereign.map(|t| t.replication),
            min_insync: sovereign.map(|t| t.min_insync),
            ..base(&names.quarantine)
        },
    ]
}

impl Expected {
    /// What differs from the topic as it is, in words; empty where it is as it should be.
    pub fn check(&self, admin: &Admin) -> Result<Vec<String>, KafkaFault> {
        let Some(found) = admin.topic(&self.name)? else {
            return Ok(vec!["does not exist".to_owned()]);
        };
        let config = admin.topic_config(&self.name)?;
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
                "cleanup.policy is {}, must be {policy}: a deleted position is a second copy of \
                 everything",
                config.cleanup_policy
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
            && config.min_insync_replicas != min_insync
        {
            wrong.push(format!(
                "min.insync.replicas is {}, douane.yaml expects {min_insync}",
                config.min_insync_replicas
            ));
        }
        Ok(wrong)
    }

    fn create(&self, admin: &Admin, source_partitions: i32) -> Result<(), KafkaFault> {
        let mut config: Vec<(&str, String)> = Vec::new();
        if let Some(policy) = self.cleanup_policy {
            config.push(("cleanup.policy", policy.to_owned()));
        }
        if let Some(min_insync) = self.min_insync {
            config.push(("min.insync.replicas", min_insync.to_string()));
        }
        let partitions = self.partitions.unwrap_or(source_partitions);
        let config: Vec<(&str, &str)> = config.iter().map(|(k, v)| (*k, v.as_str())).collect();
        admin.create_topic(&self.name, partitions, self.replication.unwrap_or(1), &config)?;
        Ok(())
    }
}

/// Looks at everything the files name. An unreachable part ends nothing: the others are told too.
pub fn examine(place: &Path, files: &[PathBuf], create: bool) -> Result<Vec<Line>, RunFault> {
    let loaded = config::load_place(place).map_err(RunFault::Findings)?;
    let mut lines = Vec::new();
    keys(&loaded, &mut lines);
    trust(&loaded, &mut lines);
    let sovereign = cluster("sovereign", &loaded.sovereign, &mut lines);
    let global = cluster("global", &loaded.global, &mut lines);
    for file in files {
        let (place, pipeline) = config::load(place, file).map_err(RunFault::Findings)?;
        if let (Some(sovereign), Some(global)) = (&sovereign, &global) {
            topics(&place, &pipeline, sovereign, global, create, &mut lines);
        }
        live(&place, &pipeline, &mut lines);
    }
    Ok(lines)
}

fn line(lines: &mut Vec<Line>, part: impl Into<String>, state: State, what: impl Into<String>) {
    lines.push(Line { part: part.into(), state, what: what.into() });
}

fn keys(place: &Place, lines: &mut Vec<Line>) {
    match KeyHome::open(&place.keys_dir) {
        Ok(home) => line(lines, "keys", State::Well, format!("root key id {}", home.root().id())),
        Err(fault) => line(lines, "keys", State::Wrong, fault.to_string()),
    }
}

fn trust(place: &Place, lines: &mut Vec<Line>) {
    match release::trust_root(place) {
        Ok(root) => {
            let what = format!(
                "version {}, {} approvers, {} must sign",
                root.root().version,
                root.root().approvers.len(),
                root.threshold()
            );
            line(lines, "trust root", State::Well, what);
        }
        Err(fault) => line(lines, "trust root", State::Wrong, fault.to_string()),
    }
}

fn cluster(
    side: &str,
    config: &douane_connectors::kafka::ClusterConfig,
    lines: &mut Vec<Line>,
) -> Option<Admin> {
    let part = format!("{side} cluster");
    let admin = match Admin::open(config) {
        Ok(admin) => admin,
        Err(fault) => {
            line(lines, part, State::Wrong, fault.to_string());
            return None;
        }
    };
    match admin.cluster_id() {
        Ok(id) if id == config.id => line(lines, part, State::Well, format!("id {id}")),
        Ok(id) => {
            let what = format!("id is {id}, douane.yaml has {}", config.id);
            line(lines, part, State::Wrong, what);
        }
        Err(fault) => {
            line(lines, part, State::Unreachable, fault.to_string());
            return None;
        }
    }
    if config.registry.is_some() {
        let part = format!("{side} registry");
        let reached = Registry::new(config).and_then(|registry| registry.compatibility("douane"));
        match reached {
            Ok(_) => line(lines, part, State::Well, "answers"),
            Err(fault) if fault.is_away() => {
                line(lines, part, State::Unreachable, fault.to_string());
            }
            Err(fault) => line(lines, part, State::Wrong, fault.to_string()),
        }
    }
    Some(admin)
}

fn topics(
    place: &Place,
    pipeline: &Pipeline,
    sovereign: &Admin,
    global: &Admin,
    create: bool,
    lines: &mut Vec<Line>,
) {
    let mut source_partitions = 0;
    for topic in &pipeline.source.topics {
        let part = format!("sovereign topic {topic}");
        match sovereign.topic(topic) {
            Ok(Some(found)) => {
                source_partitions += found.partitions;
                line(lines, part, State::Well, format!("{} partitions", found.partitions));
            }
            Ok(None) => line(lines, part, State::Wrong, "does not exist: the source makes it"),
            Err(fault) => line(lines, part, State::Unreachable, fault.to_string()),
        }
    }
    let names = Names::of(place, pipeline);
    for expected in expectations(place, &names) {
        let (side, admin) =
            if expected.sovereign { ("sovereign", sovereign) } else { ("global", global) };
        let part = format!("{side} topic {}", expected.name);
        let missing = matches!(admin.topic(&expected.name), Ok(None));
        let outcome = if create && missing {
            expected.create(admin, source_partitions.max(1)).map(|()| None)
        } else {
            expected.check(admin).map(Some)
        };
        match outcome {
            Ok(None) => line(lines, part, State::Made, "made as the files expect it"),
            Ok(Some(wrong)) if wrong.is_empty() => line(lines, part, State::Well, "as expected"),
            Ok(Some(wrong)) => {
                let next = if missing { "; next: `douane doctor --create`" } else { "" };
                line(lines, part, State::Wrong, format!("{}{next}", wrong.join("; ")));
            }
            Err(fault) => line(lines, part, State::Unreachable, fault.to_string()),
        }
    }
}

fn live(place: &Place, pipeline: &Pipeline, lines: &mut Vec<Line>) {
    let part = format!("release of {}", pipeline.name);
    if !pipeline.release.exists() {
        let next = "next: `douane release propose`, then `douane release sign`";
        return line(lines, part, State::NotYet, next);
    }
    match release::live(place, pipeline) {
        Ok(signed) => {
            let what = format!(
                "version {}, live until {}",
                signed.release.version, signed.release.expires
            );
            line(lines, part, State::Well, what);
        }
        Err(fault) => line(lines, part, State::Wrong, fault.to_string()),
    }
}
