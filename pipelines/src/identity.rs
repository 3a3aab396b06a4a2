//! Topics are what they were when the layout pinned them. Partitions may be added to a source, and to
//! the position topic, where each holds one shard's records and more shards need more; all else is a
//! person's business, because positions and data would no longer belong together.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use douane_connectors::edge::Admin;

use crate::config::{Pipeline, Place};
use crate::crossing::{Admins, PositionTopic};
use crate::edges::Edges;
use crate::fault::RunFault;
use crate::keys;
use crate::names::Names;
use crate::position::{Layout, PinnedTopic, Place as SourcePlace};
use crate::stop::Stop;
use crate::turn::Source;

/// What is no longer as it was pinned, in words. `found`: topic id and partitions; `may_grow`: more of them
/// are no change.
pub fn changed(pin: &PinnedTopic, found: Option<(&str, i32)>, may_grow: bool) -> Option<String> {
    match found {
        None => Some("it is gone".to_owned()),
        Some((id, _)) if id != pin.id => {
            Some(format!("expected topic id {}, found {id}: it was deleted and made again", pin.id))
        }
        Some((_, partitions)) if partitions > pin.partitions && may_grow => None,
        Some((_, partitions)) if partitions != pin.partitions => {
            Some(format!("expected {} partitions, found {partitions}", pin.partitions))
        }
        Some(_) => None,
    }
}

/// How often a topic that is not the pinned one is looked at before somebody stops for it, and how long
/// after each other: together as long as a broker that begins takes to know its cluster again, and far
/// within the ten seconds in which a topic that was changed stops.
const LOOKS_MAX: u32 = 7;
pub const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// What one look says.
enum Look<T> {
    Stands(T),
    /// Not what is expected: so it is, or so it was, or it is not known to who answered. A broker that
    /// has just begun tells of its cluster as it remembers it.
    Doubt(RunFault),
}

/// Looks until nothing is in doubt; what is at every one of several looks is so.
fn looked<T>(
    between: Duration,
    mut look: impl FnMut() -> Result<Look<T>, RunFault>,
) -> Result<T, RunFault> {
    let (mut looks, nobody) = (1, AtomicBool::new(false));
    loop {
        match look()? {
            Look::Stands(found) => return Ok(found),
            Look::Doubt(fault) if looks == LOOKS_MAX => return Err(fault),
            Look::Doubt(_) => Stop::new(&nobody).rest(between),
        }
        looks += 1;
    }
}

/// What a start finds of topics: one that is not there, or not as it must be, is so at every one of
/// several looks.
pub fn found<T>(
    between: Duration,
    mut look: impl FnMut() -> Result<T, RunFault>,
) -> Result<T, RunFault> {
    looked(between, || match look() {
        Err(fault @ (RunFault::Topic { .. } | RunFault::Identity { .. })) => Ok(Look::Doubt(fault)),
        other => other.map(Look::Stands),
    })
}

/// The topics of one side are those that were pinned, or have been others at every one of several looks.
pub fn stands(
    side: &'static str,
    admin: &dyn Admin,
    layout: &Layout,
    pinned: &[PinnedTopic],
    between: Duration,
) -> Result<(), RunFault> {
    looked(between, || look(side, admin, layout, pinned))
}

fn look(
    side: &'static str,
    admin: &dyn Admin,
    layout: &Layout,
    pinned: &[PinnedTopic],
) -> Result<Look<()>, RunFault> {
    let names: Vec<&str> = pinned.iter().map(|pin| pin.name.as_str()).collect();
    let found = admin
        .topics(&names)
        .map_err(|fault| RunFault::Again(format!("{side} cluster: {fault}")))?;
    let mut grown = None;
    for (pin, found) in pinned.iter().zip(found) {
        let found = found.as_ref().map(|t| (t.id.as_str(), t.partitions));
        let added = added(pin, found);
        if side == "source" && added > 0 {
            // Partitions of one are dealt out only where no other topic stops the pipeline.
            grown.get_or_insert(RunFault::PartitionsAdded { topic: pin.name.clone(), added });
            continue;
        }
        let may_grow = side == "target" && is_position(layout, pin);
        if let Some(what) = changed(pin, found, may_grow) {
            let fault = RunFault::Identity { side, topic: pin.name.clone(), what };
            // Nobody remembers partitions from before they were added.
            return if added > 0 { Err(fault) } else { Ok(Look::Doubt(fault)) };
        }
    }
    grown.map_or(Ok(Look::Stands(())), Err)
}

/// Whether a pinned target is the position topic: the last of them, as the start pins them.
pub fn is_position(layout: &Layout, pin: &PinnedTopic) -> bool {
    layout.targets.last() == Some(pin)
}

/// How many partitions the same topic has more than it was pinned with; 0 where it has not grown.
pub fn added(pin: &PinnedTopic, found: Option<(&str, i32)>) -> i32 {
    match found {
        Some((id, partitions)) if id == pin.id => (partitions - pin.partitions).max(0),
        _ => 0,
    }
}

/// What changed between a committed layout and the topics of a start: the added source
/// partitions. Nobody has read them, so they begin at their start.
///
/// # Errors
/// [`RunFault::Identity`] for anything else that changed.
pub fn compare(
    before: &Layout,
    sources: &[PinnedTopic],
    targets: &[PinnedTopic],
) -> Result<Vec<Source>, RunFault> {
    for pin in &before.targets {
        let found = targets.iter().find(|topic| topic.name == pin.name).map(as_found);
        if let Some(what) = changed(pin, found, is_position(before, pin)) {
            return Err(RunFault::Identity { side: "target", topic: pin.name.clone(), what });
        }
    }
    same_sources(before, &sources.iter().map(|t| t.name.as_str()).collect::<Vec<_>>())?;
    let mut new = Vec::new();
    for (index, (pin, found)) in before.sources.iter().zip(sources).enumerate() {
        let seen = Some(as_found(found));
        if added(pin, seen) > 0 {
            new.extend((pin.partitions..found.partitions).map(|p| (index as u32, p)));
        } else if let Some(what) = changed(pin, seen, false) {
            return Err(RunFault::Identity { side: "source", topic: pin.name.clone(), what });
        }
    }
    Ok(new)
}

/// The files name the sources that the layout has.
pub fn same_sources(before: &Layout, topics: &[&str]) -> Result<(), RunFault> {
    let pinned: Vec<&str> = before.sources.iter().map(|topic| topic.name.as_str()).collect();
    if pinned == topics {
        return Ok(());
    }
    // Not "a new sink topic" alone: the ledger of this name knows what crossed already.
    let what = format!(
        "the layout has {}: other sources are another pipeline, with a name and a sink topic of its \
         own",
        pinned.join(", ")
    );
    Err(RunFault::Identity { side: "source", topic: topics.join(", "), what })
}

/// What the next start would refuse, of a pipeline that has run: sources of other names, topics that are
/// no longer the ones that the layout pinned, files that no longer begin with the records that were
/// read. `places`: where each partition stands. It changes nothing, and joins no group.
pub fn refused(
    pipeline: &Pipeline,
    names: &Names,
    edges: &Edges,
    layout: &Layout,
    places: &[&SourcePlace],
) -> Result<Option<RunFault>, RunFault> {
    let topics: Vec<&str> = pipeline.source.topics.iter().map(String::as_str).collect();
    let sovereign = RunFault::unreachable("sovereign cluster");
    let admins = Admins {
        sovereign: edges.sovereign.admin().map_err(&sovereign)?,
        global: edges.global.admin().map_err(RunFault::unreachable("global cluster"))?,
    };
    let pinned = same_sources(layout, &topics).and_then(|()| admins.check(layout));
    match pinned {
        Err(fault @ RunFault::Identity { .. }) => return Ok(Some(fault)),
        Ok(()) | Err(RunFault::PartitionsAdded { .. }) => {}
        Err(fault) => return Err(fault),
    }
    // Of a topic the broker's id says it; of a file only what lies before the position.
    let marked =
        places.iter().filter_map(|p| Some((p.topic, p.partition, p.next, p.mark.as_ref()?)));
    let marked: Vec<_> = marked.collect();
    if marked.is_empty() {
        return Ok(None);
    }
    let source = edges.sovereign.source(&names.group, &pipeline.source.topics);
    let source = source.map_err(&sovereign)?;
    let read = marked.iter().try_for_each(|(topic, partition, next, mark)| {
        source.stands((*topic, *partition), *next, mark)
    });
    source.close();
    let Err(fault) = read else { return Ok(None) };
    match fault.changed().map(|(topic, what)| (topic, what.to_owned())) {
        Some((topic, what)) => Ok(Some(RunFault::Identity { side: "source", topic, what })),
        None => Err(sovereign(fault)),
    }
}

/// As [`refused`], of a pipeline that may have run. `None` as well where it has not: then nothing is pinned.
pub fn changed_since(place: &Place, pipeline: &Pipeline) -> Result<Option<RunFault>, RunFault> {
    let keys = keys::open(place)?;
    let (names, edges) = (Names::of(place, pipeline), Edges::of(place, pipeline));
    let global = RunFault::unreachable("global cluster");
    let topic = edges.global.admin().and_then(|admin| admin.topic(&names.position));
    let Some(topic) = topic.map_err(global)? else { return Ok(None) };
    let positions = PositionTopic::new(place, pipeline, &edges, &keys, &topic.id);
    let Some(layout) = positions.layout()? else { return Ok(None) };
    let mut at: BTreeMap<Source, SourcePlace> =
        layout.places.iter().cloned().map(|p| ((p.topic, p.partition), p)).collect();
    for (_, position) in positions.shards(&layout)? {
        let places = position.into_iter().flat_map(|position| position.places);
        at.extend(places.map(|p| ((p.topic, p.partition), p)));
    }
    refused(pipeline, &names, &edges, &layout, &at.values().collect::<Vec<_>>())
}

fn as_found(topic: &PinnedTopic) -> (&str, i32) {
    (&topic.id, topic.partitions)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use douane_connectors::edge::{Created, EdgeFault, TopicConfig, TopicIdentity};
    use douane_ledger::log::{Head, JournalId};

    use super::*;
    use crate::position::{Approved, VERSION};

    fn topic(name: &str, id: &str, partitions: i32) -> PinnedTopic {
        PinnedTopic { name: name.into(), id: id.into(), partitions }
    }

    fn pinned() -> Layout {
        Layout {
            version: VERSION,
            epoch: 1,
            tasks: 1,
            sources: vec![topic("a", "A", 3), topic("b", "B", 2)],
            targets: vec![topic("t", "T", 4), topic("t.position", "P", 33)],
            places: vec![],
            shards: vec![],
            approved: Approved {
                trust_version: 1,
                trust_digest: "root".into(),
                release_version: 1,
                release: None,
            },
            record_key: None,
            keys: None,
            bundle: None,
            fences: 0,
            once: false,
            control: Head { journal: JournalId([0; 16]), size: 0, root: [0; 32] },
        }
    }

    #[test]
    fn a_topic_is_the_one_that_was_pinned() {
        let pin = topic("t", "T", 4);
        for (found, words, more) in [
            (Some(("T", 4)), None, 0),
            (Some(("T", 6)), Some("expected 4 partitions, found 6"), 2),
            (Some(("T", 3)), Some("expected 4 partitions, found 3"), 0),
            (Some(("U", 4)), Some("made again"), 0),
            (Some(("U", 6)), Some("made again"), 0),
            (None, Some("it is gone"), 0),
        ] {
            let what = changed(&pin, found, false);
            assert_eq!(what.is_some(), words.is_some(), "{found:?}");
            assert!(what.unwrap_or_default().contains(words.unwrap_or_default()), "{found:?}");
            assert_eq!(added(&pin, found), more, "{found:?}");
            // Of the position topic more partitions alone are forgiven.
            let forgiven = found == Some(("T", 6));
            assert_eq!(changed(&pin, found, true).is_some(), words.is_some() && !forgiven);
        }
    }

    /// A cluster whose answers are these, one after the other, the last one for ever.
    struct Answers {
        answers: Vec<Vec<Option<(&'static str, i32)>>>,
        asked: Cell<usize>,
    }

    impl Admin for Answers {
        fn cluster_id(&self) -> Result<String, EdgeFault> {
            unreachable!("nobody asks for it")
        }

        fn topics(&self, names: &[&str]) -> Result<Vec<Option<TopicIdentity>>, EdgeFault> {
            let answer = &self.answers[self.asked.get().min(self.answers.len() - 1)];
            self.asked.set(self.asked.get() + 1);
            assert_eq!(names.len(), answer.len());
            let topic = |&(id, partitions): &(&str, i32)| TopicIdentity {
                id: id.to_owned(),
                partitions,
                replication: 1,
            };
            Ok(answer.iter().map(|found| found.as_ref().map(topic)).collect())
        }

        fn topic_config(&self, _: &str) -> Result<TopicConfig, EdgeFault> {
            unreachable!("nobody asks for it")
        }

        fn create_topic(
            &self,
            _: &str,
            _: i32,
            _: i32,
            _: &[(&str, &str)],
        ) -> Result<Created, EdgeFault> {
            unreachable!("nobody asks for it")
        }
    }

    #[test]
    fn an_old_answer_stops_nobody_and_a_changed_topic_does() {
        let well = vec![Some(("T", 4)), Some(("P", 33))];
        let gone = vec![None, None];
        let other = vec![Some(("U", 4)), Some(("P", 33))];
        let grown = vec![Some(("T", 6)), Some(("P", 33))];
        let cases = [
            ("as it was", vec![well.clone()], 1, Ok(())),
            ("once empty", vec![gone.clone(), well.clone()], 2, Ok(())),
            (
                "an old id",
                vec![other.clone(), other.clone(), gone.clone(), well.clone()],
                4,
                Ok(()),
            ),
            ("made again", vec![other], LOOKS_MAX as usize, Err("made again")),
            ("gone", vec![well.clone(), gone], LOOKS_MAX as usize, Err("it is gone")),
            ("grown", vec![grown], 1, Err("expected 4 partitions, found 6")),
        ];
        for (name, answers, looks, expected) in cases {
            let layout = pinned();
            let admin = Answers { answers, asked: Cell::new(0) };
            if name == "gone" {
                // It stood before.
                assert!(stands("target", &admin, &layout, &layout.targets, Duration::ZERO).is_ok());
                admin.asked.set(1);
            }
            let before = admin.asked.get();
            let found = stands("target", &admin, &layout, &layout.targets, Duration::ZERO);
            match (found, expected) {
                (Ok(()), Ok(())) => {}
                (Err(RunFault::Identity { what, .. }), Err(words)) => {
                    assert!(what.contains(words), "{name}: {what}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
            assert_eq!(admin.asked.get() - before, looks, "{name}");
        }
        // All of it in half of the time that a stop may take.
        assert!(BETWEEN_LOOKS * LOOKS_MAX < Duration::from_secs(5));
    }

    #[test]
    fn added_partitions_of_one_source_hide_nothing_of_another() {
        let grown = Some(("A", 5));
        let cases = [
            ("one grew", vec![vec![grown, Some(("B", 2))]], 1, Ok(("a", 2))),
            ("the other grew", vec![vec![Some(("A", 3)), Some(("B", 3))]], 1, Ok(("b", 1))),
            (
                "and the other was made again",
                vec![vec![grown, Some(("X", 2))]],
                LOOKS_MAX as usize,
                Err("found X: it was deleted"),
            ),
            (
                "and the other was not known for a moment",
                vec![vec![grown, None], vec![grown, Some(("B", 2))]],
                2,
                Ok(("a", 2)),
            ),
        ];
        for (name, answers, looks, expected) in cases {
            let layout = pinned();
            let admin = Answers { answers, asked: Cell::new(0) };
            let found = stands("source", &admin, &layout, &layout.sources, Duration::ZERO);
            match (found.unwrap_err(), expected) {
                (RunFault::PartitionsAdded { topic, added }, Ok(expected)) => {
                    assert_eq!((topic.as_str(), added), expected, "{name}");
                }
                (RunFault::Identity { what, .. }, Err(words)) => {
                    assert!(what.contains(words), "{name}: {what}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
            assert_eq!(admin.asked.get(), looks, "{name}");
        }
    }

    #[test]
    fn a_start_does_not_take_one_answer_for_the_truth() {
        fn missing() -> RunFault {
            RunFault::missing("t", "global")
        }
        fn other() -> RunFault {
            RunFault::Identity { side: "target", topic: "t".into(), what: "x".into() }
        }
        fn away() -> RunFault {
            RunFault::Again("away".into())
        }
        type Answer = fn(u32) -> Option<RunFault>;
        let cases: [(&str, Answer, u32, Option<&str>); 5] = [
            ("there", |_| None, 1, None),
            ("not known to a broker that begins", |n| (n < 3).then(missing), 4, None),
            ("an old id", |n| (n < 6).then(other), 7, None),
            ("not there", |_| Some(missing()), LOOKS_MAX, Some("topic")),
            // What is not about a topic is no doubt.
            ("away", |_| Some(away()), 1, Some("again")),
        ];
        for (name, answer, looks, expected) in cases {
            let mut asked = 0;
            let found = found(Duration::ZERO, || {
                asked += 1;
                answer(asked - 1).map_or(Ok(()), Err)
            });
            assert_eq!((asked, found.err().map(|f| f.code())), (looks, expected), "{name}");
        }
    }

    #[test]
    fn source_partitions_may_be_added_and_nothing_else() {
        type Change = fn(&mut Vec<PinnedTopic>, &mut Vec<PinnedTopic>);
        type Expected = Result<&'static [Source], &'static str>;
        let cases: [(&str, Change, Expected); 13] = [
            ("the same", |_, _| {}, Ok(&[])),
            ("one grew", |s, _| s[0].partitions = 5, Ok(&[(0, 3), (0, 4)])),
            (
                "both grew",
                |s, _| s.iter_mut().for_each(|t| t.partitions += 1),
                Ok(&[(0, 3), (1, 2)]),
            ),
            ("a source shrank", |s, _| s[1].partitions = 1, Err("expected 2 partitions, found 1")),
            ("a source was made again", |s, _| s[0].id = "X".into(), Err("expected topic id A")),
            (
                "made again and larger",
                |s, _| s[0] = topic("a", "X", 9),
                Err("expected topic id A, found X"),
            ),
            ("another order", |s, _| s.swap(0, 1), Err("the layout has a, b")),
            ("one more source", |s, _| s.push(topic("c", "C", 1)), Err("the layout has a, b")),
            ("a target grew", |_, t| t[0].partitions = 5, Err("expected 4 partitions, found 5")),
            ("positions have more room", |_, t| t[1].partitions = 65, Ok(&[])),
            (
                "positions have less",
                |_, t| t[1].partitions = 9,
                Err("expected 33 partitions, found 9"),
            ),
            ("a target was made again", |_, t| t[1].id = "X".into(), Err("expected topic id P")),
            ("a target is gone", |_, t| t.truncate(1), Err("it is gone")),
        ];
        for (name, change, expected) in cases {
            let before = pinned();
            let (mut sources, mut targets) = (before.sources.clone(), before.targets.clone());
            change(&mut sources, &mut targets);
            match (compare(&before, &sources, &targets), expected) {
                (Ok(new), Ok(expected)) => assert_eq!(new, expected, "{name}"),
                (Err(RunFault::Identity { what, .. }), Err(words)) => {
                    assert!(what.contains(words), "{name}: {what}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }
}
