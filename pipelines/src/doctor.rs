//! `doctor`: reaches every part that the files name, and makes missing topics as they expect
//! them. `run` makes none: a typo must not become a new, unguarded topic.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use douane_connectors::edge::{Admin, EdgeFault, Rights, Sovereign, TopicConfig};
use douane_connectors::registry::Registry;
use douane_kernels::Choice;
use serde::Serialize;

use crate::aggregate::drawing::Drawing;
use crate::bundle;
use crate::clock::{self, Clock};
use crate::config::{self, Pipeline, Place};
use crate::crossing::TRY;
use crate::edges::Edges;
use crate::fault::RunFault;
use crate::identity;
use crate::key_home;
use crate::keys;
use crate::names::Names;
use crate::release;
use crate::schedule;
use crate::topics::{self, expectations};

/// The last offsets of a partition among which its newest record is looked for: the others may be none
/// (markers of transactions).
const NEWEST_WITHIN: i64 = 64;

/// As [`clock::APART`].
const APART_MS: i64 = clock::APART.as_millis() as i64;

/// Two machines' clocks may differ by so much.
const CLOCK_GRACE: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

/// How one part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As the files say.
    Well,
    /// It was missing, and `--create` made it.
    Made,
    /// Comes later: a release is proposed once the topics are there.
    NotYet,
    /// Not as the files say, or unusable.
    Wrong,
    /// It did not answer.
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
    /// It can be used, now or as soon as it is its turn.
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

/// Which topics are made that are not there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Make {
    Nothing,
    /// Those of pipelines that the ledger does not know.
    Missing,
    /// And a quarantine that was lost, empty: nothing goes by what was in it.
    Quarantine,
}

/// Looks at everything the files name. An unreachable part ends nothing: the others are told too.
pub fn examine(place: &Path, files: &[PathBuf], make: Make) -> Result<Vec<Line>, RunFault> {
    let loaded = config::load_place(place).map_err(RunFault::Findings)?;
    let mut lines = Vec::new();
    keys(&loaded, &mut lines);
    trust(&loaded, &mut lines);
    clock(&loaded, &mut lines);
    let edges = Edges::of_place(&loaded);
    let sovereign = cluster("sovereign", edges.sovereign.admin(), &loaded.sovereign, &mut lines);
    let global = cluster("global", edges.global.admin(), &loaded.global, &mut lines);
    let mut of_statistics = loaded.device != Choice::Auto;
    for file in files {
        let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
        of_statistics |= pipelines.iter().any(|pipeline| pipeline.aggregate.is_some());
        for pipeline in &pipelines {
            if let (Some(sovereign), Some(global)) = (&sovereign, &global) {
                // What stands for topics in a folder, the pipeline says.
                let edges = Edges::of(&place, pipeline);
                let own = (edges.sovereign.admin(), edges.global.admin());
                let sovereign = match (&place.sovereign.dir, &own.0) {
                    (Some(_), Ok(own)) => own,
                    _ => sovereign,
                };
                let global = match (&place.global.dir, &own.1) {
                    (Some(_), Ok(own)) => own,
                    _ => global,
                };
                topics(&place, pipeline, &**sovereign, &**global, make, &mut lines);
                // Files have no times of another machine.
                if place.sovereign.dir.is_none() {
                    beside_source(&*edges.sovereign, &**sovereign, pipeline, &mut lines);
                }
                same(&place, pipeline, &mut lines);
            }
            released(&place, pipeline, &mut lines);
        }
        if let Some(sovereign) = &sovereign {
            not_read(&pipelines, &**sovereign, &mut lines);
        }
    }
    if of_statistics {
        device(&loaded, &mut lines);
    }
    Ok(lines)
}

fn line(lines: &mut Vec<Line>, part: impl Into<String>, state: State, what: impl Into<String>) {
    lines.push(Line { part: part.into(), state, what: what.into() });
}

fn keys(place: &Place, lines: &mut Vec<Line>) {
    match keys::open(place) {
        Ok(home) => {
            let wrapped = key_home::read_store(&place.keys)
                .map_or_else(|_| "?".to_owned(), |store| store.wrapping.home);
            let swap = if home.is_locked() { "kept out of swap" } else { "NOT kept out of swap" };
            let what = format!("root key id {}, wrapped by `{wrapped}`, {swap}", home.root().id());
            line(lines, "keys", State::Well, what);
        }
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
    admin: Result<Box<dyn Admin>, EdgeFault>,
    config: &douane_connectors::kafka::ClusterConfig,
    lines: &mut Vec<Line>,
) -> Option<Box<dyn Admin>> {
    let part = format!("{side} cluster");
    let admin = match admin {
        Ok(admin) => admin,
        Err(fault) => {
            line(lines, part, State::Wrong, fault.to_string());
            return None;
        }
    };
    match admin.cluster_id() {
        Ok(id) if id == config.id => line(lines, part, State::Well, format!("id {id}")),
        Ok(id) => {
            let what = format!(
                "id is {id}, douane.yaml has {}; next: correct `bootstrap` or `id`",
                config.id
            );
            line(lines, part, State::Wrong, what);
            // Nothing is looked at, and nothing made, in a cluster that is not the one.
            return None;
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
    sovereign: &dyn Admin,
    global: &dyn Admin,
    make: Make,
    lines: &mut Vec<Line>,
) {
    // None where not all of the source's topics are there.
    let mut source_partitions = Some(0);
    for topic in &pipeline.source.topics {
        let part = format!("sovereign topic {topic}");
        let found = sovereign.topic(topic);
        let partitions = found.as_ref().ok().and_then(|found| Some(found.as_ref()?.partitions));
        source_partitions = source_partitions.zip(partitions).map(|(all, one)| all + one);
        match found {
            Ok(Some(found)) => {
                let needed = Rights { read: true, write: false };
                match lacking(sovereign, topic, needed) {
                    Ok(None) => {
                        line(lines, part, State::Well, format!("{} partitions", found.partitions));
                    }
                    Ok(Some(lacking)) => line(lines, part, State::Wrong, lacking),
                    Err(fault) => line(lines, part, State::Unreachable, fault.to_string()),
                }
            }
            Ok(None) => {
                let who = match &place.sovereign.dir {
                    None => "the source makes it",
                    Some(_) => "put the file there, or mend its name",
                };
                line(lines, part, State::Wrong, format!("does not exist: {who}"));
            }
            Err(fault) => line(lines, part, State::Unreachable, fault.to_string()),
        }
    }
    let names = Names::of(place, pipeline);
    for expected in expectations(place, &names).into_iter().chain(topics::of_group(place)) {
        let (side, admin) =
            if expected.sovereign { ("sovereign", sovereign) } else { ("global", global) };
        let part = format!("{side} topic {}", expected.name);
        let missing = matches!(admin.topic(&expected.name), Ok(None));
        // As `run` tells it apart; a journal may be new where the ledger's home has moved.
        let is_own = [&names.data, &names.manifest, &names.position, &names.quarantine]
            .contains(&&expected.name);
        let is_given_up = make == Make::Quarantine && expected.name == names.quarantine;
        if missing
            && is_own
            && !is_given_up
            && let Some(gone) = topics::gone(place, &pipeline.name, side)
        {
            line(lines, part, State::Wrong, gone);
            continue;
        }
        let partitions = expected.partitions.or(source_partitions);
        let outcome =
            if let (true, true, Some(partitions)) = (make > Make::Nothing, missing, partitions) {
                expected.create(admin, partitions).map(|()| None)
            } else {
                // What is read back of douane's own topics is where the target stands.
                // Of those in the sovereign zone, what processes tell each other is read as well.
                let read = expected.name == names.position
                    || (expected.sovereign && expected.name != names.quarantine);
                let needed = Rights { read, write: true };
                expected.check(admin).and_then(|mut wrong| {
                    if !missing {
                        wrong.extend(lacking(admin, &expected.name, needed)?);
                    }
                    Ok(Some(wrong))
                })
            };
        match outcome {
            Ok(None) => {
                let what = format!("made as the files expect it{}", expected.unsaid());
                line(lines, part, State::Made, what);
            }
            Ok(Some(wrong)) if wrong.is_empty() => {
                line(lines, part, State::Well, format!("as expected{}", expected.unsaid()));
            }
            Ok(Some(wrong)) => {
                let next = match (missing, partitions) {
                    (false, _) => "",
                    (true, Some(_)) => "; next: `douane doctor --create`",
                    // Made with fewer now, it would keep them: its partitions follow from keys.
                    (true, None) => {
                        "; it gets as many partitions as the source's topics have; next: \
                         `douane doctor --create` once they are there"
                    }
                };
                line(lines, part, State::Wrong, format!("{}{next}", wrong.join("; ")));
            }
            Err(fault) if fault.is_away() => {
                line(lines, part, State::Unreachable, fault.to_string());
            }
            Err(fault) => line(lines, part, State::Wrong, fault.to_string()),
        }
    }
    kept(pipeline, &names, sovereign, global, lines);
}

/// What Kafka deletes although it is needed still: records of windows that are open, and evidence. And a
/// topic that would refuse statistics, which have no key.
fn kept(
    pipeline: &Pipeline,
    names: &Names,
    sovereign: &dyn Admin,
    global: &dyn Admin,
    lines: &mut Vec<Line>,
) {
    let mut look = |side: &str,
                    admin: &dyn Admin,
                    topic: &str,
                    wrong: &dyn Fn(&TopicConfig) -> Option<String>| {
        let part = format!("{side} topic {topic}, retention");
        if !matches!(admin.topic(topic), Ok(Some(_))) {
            return;
        }
        match admin.topic_config(topic) {
            Ok(config) => {
                if let Some(what) = wrong(&config) {
                    line(lines, part, State::Wrong, what);
                }
            }
            Err(fault) => line(lines, part, State::Unreachable, fault.to_string()),
        }
    };
    look("global", global, &names.manifest, &|config| {
        let ends = deletes_after(config)?;
        Some(format!(
            "manifests are deleted {} h after they were written, and with them the proof of what \
             crossed; next: `retention.ms=-1`",
            ends / HOUR_MS
        ))
    });
    let Some(aggregate) = &pipeline.aggregate else { return };
    look("global", global, &names.data, &|config| {
        config.cleanup_policy.contains("compact").then(|| {
            "statistics have no key, and a compacted topic refuses them; next: \
             `cleanup.policy=delete`"
                .to_owned()
        })
    });
    // From a window's first record to its close; of the one after it there may be records already.
    let open_ms = aggregate.every_ms.saturating_add(aggregate.closes_after_ms);
    for topic in &pipeline.source.topics {
        look("sovereign", sovereign, topic, &|config| {
            let ends = deletes_after(config).filter(|ends| *ends <= open_ms)?;
            Some(format!(
                "records are deleted after {} h, a window is open for {} h: what a lost store is \
                 read again from would be gone; next: a `retention.ms` of {} or more",
                ends / HOUR_MS,
                open_ms.div_ceil(HOUR_MS),
                open_ms.saturating_mul(2)
            ))
        });
    }
}

const HOUR_MS: u64 = 3_600_000;

/// Milliseconds after which a topic's records are deleted by age, if ever.
fn deletes_after(config: &TopicConfig) -> Option<u64> {
    let by_age = config.cleanup_policy.contains("delete");
    u64::try_from(config.retention_ms).ok().filter(|_| by_age)
}

/// The rights that this process's user lacks on a topic, in words.
fn lacking(admin: &dyn Admin, topic: &str, needed: Rights) -> Result<Option<String>, EdgeFault> {
    let Some(has) = admin.rights(topic)? else { return Ok(None) };
    let words: Vec<&str> = [("read", needed.read, has.read), ("write", needed.write, has.write)]
        .into_iter()
        .filter_map(|(word, needed, has)| (needed && !has).then_some(word))
        .collect();
    let lacks = !words.is_empty();
    Ok(lacks
        .then(|| format!("no right to {} it; next: grant it to this user", words.join(" and to "))))
}

/// What noise of statistics is drawn on.
fn device(place: &Place, lines: &mut Vec<Line>) {
    match Drawing::open(place.device) {
        Ok(drawing) => line(lines, "device", State::Well, drawing.words()),
        Err(fault) => {
            let what = format!("{fault}; next: `device: auto`, or `cpu`: the noise is the same");
            line(lines, "device", State::Wrong, what);
        }
    }
}

/// The releases' life is measured with this machine's clock. One that stands before the trust root's
/// file was written has gone back.
fn clock(place: &Place, lines: &mut Vec<Line>) {
    let now = jiff::Timestamp::now();
    let shown = |t: jiff::Timestamp| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let kept = match Clock::of(place) {
        Ok(kept) => kept,
        Err(fault) => return line(lines, "clock", State::Wrong, fault.to_string()),
    };
    if let Some(behind) = kept.behind() {
        let (behind, next) = (behind.as_secs(), kept.next());
        let what =
            format!("{}, {behind} s behind what it was in this place; next: {next}", shown(now));
        return line(lines, "clock", State::Wrong, what);
    }
    let written = std::fs::metadata(&place.trust).and_then(|meta| meta.modified()).ok();
    let written = written.and_then(|at| jiff::Timestamp::try_from(at).ok());
    match written.filter(|at| at.duration_since(now) > CLOCK_GRACE) {
        None => line(lines, "clock", State::Well, shown(now)),
        Some(at) => {
            let (now, at) = (shown(now), shown(at));
            let what =
                format!("{now}, but the trust root was written at {at}; next: set the clock");
            line(lines, "clock", State::Wrong, what);
        }
    }
}

/// Whether a source has records of a time that this machine's clock has not reached. One such record is its
/// writer's slip, and stays; where the newest record of most partitions is one, a clock is wrong. A broker says
/// no other time than its records', so that a clock is ahead shows in none.
fn beside_source(
    sovereign: &dyn Sovereign,
    admin: &dyn Admin,
    pipeline: &Pipeline,
    lines: &mut Vec<Line>,
) {
    let topics = &pipeline.source.topics;
    // What is not there, or does not answer, other lines say.
    let Ok(source) = sovereign.source(&format!("douane.{}", pipeline.name), topics) else { return };
    let later_ms = (schedule::now_ms() as i64).saturating_add(APART_MS);
    for (index, topic) in (0..).zip(topics) {
        let Ok(Some(found)) = admin.topic(topic) else { continue };
        let (mut filled, mut later, mut first) = (0, 0, None);
        for partition in 0..found.partitions {
            let Ok((low, high)) = source.watermarks(index, partition) else { continue };
            filled += usize::from(low < high);
            let at = source.offset_for_time(index, partition, later_ms);
            let Ok(Some(offset)) = at else { continue };
            first.get_or_insert_with(|| format!("{topic}[{partition}]@{offset}"));
            let from = high.saturating_sub(NEWEST_WITHIN).max(offset);
            let mut newest_ms = None;
            let read = sovereign.scan(topic, partition, from, TRY, &mut |record| {
                newest_ms = Some(record.timestamp_ms);
                ControlFlow::Continue(())
            });
            later += usize::from(read.is_ok() && newest_ms.is_some_and(|ms| ms >= later_ms));
        }
        if let Some(first) = first {
            let (state, what) = beside(&first, later, filled);
            line(lines, format!("clock beside {topic}"), state, what);
        }
    }
    source.close();
}

/// Of `filled` partitions the newest record of `later` ones is of a time that is not yet; the first record
/// that is stands at `first`.
fn beside(first: &str, later: usize, filled: usize) -> (State, String) {
    let what = format!("{first} has a time more than a minute later than this machine's");
    if later * 2 > filled {
        let next = "set the clocks of this machine, the brokers and the topic's writers";
        let newest = format!("the newest record of {later} of {filled} partitions has one");
        (State::Wrong, format!("{what}, {newest}; next: {next}"))
    } else {
        (State::Well, format!("{what}: its writer's clock was ahead"))
    }
}

/// Topics that a pattern fits and no table stands for. That is as the file says, and said.
fn not_read(pipelines: &[Pipeline], sovereign: &dyn Admin, lines: &mut Vec<Line>) {
    match topics::not_read(sovereign, pipelines) {
        Ok(unread) => topics::shown(&unread).into_iter().for_each(|topic| {
            let next = "not read: no entry under `tables`";
            line(lines, format!("sovereign topic {topic}"), State::Well, next);
        }),
        Err(fault) => line(lines, "sovereign topics", State::Unreachable, fault.to_string()),
    }
}

fn released(place: &Place, pipeline: &Pipeline, lines: &mut Vec<Line>) {
    let part = format!("release of {}", pipeline.name);
    if let Ok(None) = bundle::find(&pipeline.release, pipeline) {
        let next = "next: `douane release propose`, then `douane release sign`";
        return line(lines, part, State::NotYet, next);
    }
    match release::hold(place, pipeline) {
        Ok((signed, _)) => {
            let what = format!(
                "version {}, live until {}",
                signed.release.version, signed.release.expires
            );
            line(lines, part, State::Well, what);
        }
        Err(fault) => line(lines, part, State::Wrong, fault.to_string()),
    }
}

/// What has run finds outside what it found before. Where it has not, or the keys or a side cannot be
/// used, which other lines say, there is nothing to say.
fn same(place: &Place, pipeline: &Pipeline, lines: &mut Vec<Line>) {
    let part = format!("identity of what {} reads and writes", pipeline.name);
    match identity::changed_since(place, pipeline) {
        Ok(None) => {}
        Ok(Some(changed)) => line(lines, part, State::Wrong, changed.to_string()),
        Err(
            RunFault::Unreachable { .. }
            | RunFault::Again(_)
            | RunFault::Keys(_)
            | RunFault::KeyStoreRolledBack { .. },
        ) => {}
        Err(fault) => line(lines, part, State::Wrong, fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use douane_connectors::edge::{Created, TopicIdentity};

    use super::*;

    #[test]
    fn a_clock_is_wrong_where_most_newest_records_are_later() {
        for (later, filled, state) in [
            (0, 1, State::Well),
            (1, 1, State::Wrong),
            (1, 2, State::Well),
            (2, 4, State::Well),
            (3, 4, State::Wrong),
        ] {
            let (found, what) = beside("t[1]@7", later, filled);
            assert_eq!(found, state, "{later} of {filled}");
            assert!(what.starts_with("t[1]@7 has a time "), "{what}");
        }
    }

    /// A side that says nothing but what its user may do.
    struct Says(Option<Rights>);

    impl Admin for Says {
        fn cluster_id(&self) -> Result<String, EdgeFault> {
            unreachable!()
        }

        fn topics(&self, _: &[&str]) -> Result<Vec<Option<TopicIdentity>>, EdgeFault> {
            unreachable!()
        }

        fn rights(&self, _: &str) -> Result<Option<Rights>, EdgeFault> {
            Ok(self.0)
        }

        fn topic_config(&self, _: &str) -> Result<TopicConfig, EdgeFault> {
            unreachable!()
        }

        fn create_topic(
            &self,
            _: &str,
            _: i32,
            _: i32,
            _: &[(&str, &str)],
        ) -> Result<Created, EdgeFault> {
            unreachable!()
        }
    }

    #[test]
    fn only_what_is_deleted_by_age_ends() {
        let config = |policy: &str, retention_ms| TopicConfig {
            max_message_bytes: 1,
            min_insync_replicas: Some(1),
            cleanup_policy: policy.into(),
            retention_ms,
            retention_bytes: Some(-1),
            timestamp_type: Some("CreateTime".into()),
        };
        assert_eq!(deletes_after(&config("delete", 7)), Some(7));
        assert_eq!(deletes_after(&config("compact,delete", 7)), Some(7));
        assert_eq!(deletes_after(&config("delete", -1)), None);
        assert_eq!(deletes_after(&config("compact", 7)), None);
    }

    #[test]
    fn a_missing_right_is_said_and_one_that_is_not_needed_is_not_missed() {
        let rights = |read, write| Rights { read, write };
        for (has, needed, expected) in [
            (Some(rights(true, true)), rights(true, true), None),
            (Some(rights(true, false)), rights(true, false), None),
            (Some(rights(true, false)), rights(true, true), Some("no right to write it")),
            (Some(rights(false, true)), rights(true, true), Some("no right to read it")),
            (Some(rights(false, false)), rights(true, true), Some("no right to read and to write")),
            // A broker that does not say is no broker that refuses.
            (None, rights(true, true), None),
        ] {
            let found = lacking(&Says(has), "t", needed).unwrap();
            match (found, expected) {
                (None, None) => {}
                (Some(found), Some(expected)) => assert!(found.starts_with(expected), "{found}"),
                (found, expected) => panic!("{found:?}, expected {expected:?}"),
            }
        }
    }
}
