//! One-shot releases: a span of the source that people approved by its offsets, and nothing else, once.
//!
//! The source is wrapped, so that whoever reads it sees a log that begins and ends where the span does:
//! nothing outside of it comes through, whoever asks. What has crossed is the position's word, as ever;
//! CLOSED in the control log says that all of it has, and that no start under the release crosses again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use douane_connectors::edge::{Admin, EdgeFault, Polled, Quarantine, Source, Sovereign};
use douane_ledger::log::{Entry, SpanEntry};
use douane_ledger::release;
use douane_schemas::record::RawRecord;

use crate::audit::column;
use crate::config::{Pipeline, Place};
use crate::crossing::{Crossing, TRY};
use crate::edges::Edges;
use crate::fault::RunFault;
use crate::names::Names;
use crate::position::{Layout, Place as Standing};
use crate::quarantine::{self, Refusals};
use crate::turn;

/// How far before a span's end the first look for its last record begins; each next one goes back
/// sixteen times as far.
const BACK: i64 = 1;

/// A span's partition: index of the topic, partition.
type Spans = BTreeMap<turn::Source, (i64, i64)>;

/// Which offsets of which partition, by index of the topic.
fn by_source(spans: &[SpanEntry], topics: &[String]) -> Spans {
    let found = spans.iter().filter_map(|span| {
        let topic = topics.iter().position(|name| *name == span.topic)?;
        Some(((u32::try_from(topic).ok()?, span.partition), (span.start, span.end)))
    });
    found.collect()
}

/// The spans of a person's two instants, as the source has them now: what was written from the first on
/// and before the second, by the records' own times.
pub fn between(
    place: &Place,
    pipeline: &Pipeline,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
) -> Result<Vec<SpanEntry>, RunFault> {
    let ends = |low: i64, high: i64, at: &dyn Fn(i64) -> Result<Option<i64>, EdgeFault>| {
        let start = from_ms.map_or(Ok(Some(low)), at)?.unwrap_or(high);
        let end = to_ms.map_or(Ok(Some(high)), at)?.unwrap_or(high);
        Ok((start, end))
    };
    let found = spans(place, pipeline, &mut |_, _, low, high, at| ends(low, high, at).map(Some))?;
    match found.is_empty() {
        false => Ok(found),
        true => Err(RunFault::File(
            "no record of the source is meant\n  next: name another time, or offsets".to_owned(),
        )),
    }
}

/// The spans that a person wrote down, where the source has all of them.
pub fn exactly(
    place: &Place,
    pipeline: &Pipeline,
    wanted: &[SpanEntry],
) -> Result<Vec<SpanEntry>, RunFault> {
    let mut found = spans(place, pipeline, &mut |topic, partition, low, high, _| {
        let asked = wanted.iter().find(|w| w.topic == topic && w.partition == partition);
        let there = asked.filter(|w| low <= w.start && w.end <= high);
        Ok(there.map(|w| (w.start, w.end)))
    })?;
    found.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    match wanted.iter().find(|w| !found.contains(w)) {
        None if found.len() == wanted.len() => Ok(found),
        None => Err(RunFault::File("a partition is named twice".to_owned())),
        Some(SpanEntry { topic, partition, start, end }) => Err(RunFault::File(format!(
            "{topic}[{partition}]@{start}-{end}: the source does not have all of it\n  next: name \
             offsets that are there, of a topic that the pipeline reads"
        ))),
    }
}

type At<'a> = &'a dyn Fn(i64) -> Result<Option<i64>, EdgeFault>;

/// Asks of each partition which part of its log is meant.
fn spans(
    place: &Place,
    pipeline: &Pipeline,
    choose: &mut dyn FnMut(&str, i32, i64, i64, At<'_>) -> Result<Option<(i64, i64)>, EdgeFault>,
) -> Result<Vec<SpanEntry>, RunFault> {
    let away = RunFault::unreachable("sovereign cluster");
    let edges = Edges::of(place, pipeline);
    let topics = &pipeline.source.topics;
    let admin = edges.sovereign.admin().map_err(&away)?;
    let source =
        edges.sovereign.source(&Names::of(place, pipeline).group, topics).map_err(&away)?;
    let mut found = Vec::new();
    for (index, name) in (0..).zip(topics) {
        let identity = admin.topic(name).map_err(&away)?;
        let identity = identity.ok_or_else(|| RunFault::no_source(place, name))?;
        for partition in 0..identity.partitions {
            let (low, high) = source.watermarks(index, partition).map_err(&away)?;
            let at = |ms| source.offset_for_time(index, partition, ms);
            let chosen = choose(name, partition, low, high, &at).map_err(&away)?;
            if let Some((start, end)) = chosen.filter(|(start, end)| start < end) {
                found.push(SpanEntry { topic: name.clone(), partition, start, end });
            }
        }
    }
    source.close();
    found.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Ok(found)
}

/// A start under a one-shot release may go on: it was not closed before.
pub fn check_open(crossing: &Crossing, control: &[(u64, Entry)]) -> Result<(), RunFault> {
    let closed = control.iter().find_map(|(_, entry)| match entry {
        Entry::Closed { release, set_aside } if *release == crossing.release_digest => {
            Some(*set_aside)
        }
        _ => None,
    });
    match closed.filter(|_| crossing.release.once.is_some()) {
        Some(set_aside) => Err(RunFault::OneShot { what: through(set_aside) }),
        None => Ok(()),
    }
}

/// What is said of a span that is through.
pub fn through(set_aside: u64) -> String {
    match set_aside {
        0 => "all of its span has crossed, and nothing else may".to_owned(),
        n => format!(
            "its span is through, and nothing else may cross; {n} records of it were set aside: write \
             their rows again at the source, and export what that makes"
        ),
    }
}

/// How many records of the release's span were set aside and did not cross after all.
pub fn set_aside(crossing: &Crossing, layout: &Layout) -> Result<u64, RunFault> {
    let once = crossing.release.once.as_deref().unwrap_or_default();
    let mut refusals = Refusals::default();
    for (shard, _) in crossing.positions.shards(layout)? {
        let Some(head) = shard.ledger else { continue };
        let name = crossing.names.log(shard.shard);
        refusals.read(&crossing.ledger_home(), &name, &head)?;
    }
    Ok(within(&refusals, once))
}

/// How many of what waits in quarantine lie in spans.
fn within(refusals: &Refusals, spans: &[SpanEntry]) -> u64 {
    let is_in = |at: &&quarantine::At| {
        spans.iter().any(|span| {
            (&span.topic, span.partition) == (&at.topic, at.partition)
                && (span.start..span.end).contains(&at.offset)
        })
    };
    refusals.waiting().filter(is_in).count() as u64
}

/// A pipeline that began with a span has crossed nothing of what lies before and beside it. An ordinary
/// release would take all of that up from the earliest record on, whatever `start` says.
pub fn goes_on(began_with_a_span: bool, is_a_span: bool) -> Result<(), RunFault> {
    match began_with_a_span && !is_a_span {
        false => Ok(()),
        true => Err(RunFault::OneShot {
            what: "this pipeline exports spans, each under a one-shot release: give the stream a \
                   pipeline of another name and topic"
                .to_owned(),
        }),
    }
}

/// Moves places to where the release's spans begin. What lies before was skipped by people, by name of
/// its offsets; what has crossed does not cross again. `before`: the spans of the release that ran last;
/// one of the same is gone on with where it stands, for a renewal is nothing else.
pub fn begin(
    crossing: &Crossing,
    before: &[SpanEntry],
    places: &mut [Standing],
) -> Result<(), RunFault> {
    let Some(once) = &crossing.release.once else { return Ok(()) };
    if crossing.pipeline.aggregate.is_some() {
        return Err(RunFault::OneShot { what: "statistics have windows, and no span".to_owned() });
    }
    if crossing.pipeline.min_group.is_some() {
        let what = "`min_group` counts by the ticks of `publish`, and a span has none".to_owned();
        return Err(RunFault::OneShot { what });
    }
    let mut left = by_source(once, crossing.topics());
    let before = by_source(before, crossing.topics());
    for place in places {
        let source = (place.topic, place.partition);
        let Some((start, end)) = left.remove(&source) else { continue };
        if goes_on_within((start, end), before.get(&source).copied(), place.next) {
            continue;
        }
        if place.next > start {
            let topic = crossing.topic_name(place.topic);
            let (partition, next) = (place.partition, place.next);
            return Err(RunFault::OneShot {
                what: format!(
                    "its span begins at {topic}[{partition}]@{start}, and what is before {next} has \
                     crossed or was passed already"
                ),
            });
        }
        if place.next < start {
            let (topic, partition) = (place.topic, place.partition);
            *place =
                Standing { topic, partition, next: start, deleted: None, held: None, mark: None };
        }
    }
    match left.is_empty() {
        true => Ok(()),
        false => Err(RunFault::OneShot {
            what: "its span is in a partition that the source does not have".to_owned(),
        }),
    }
}

/// A span that was begun under the release before is gone on with.
fn goes_on_within(span: (i64, i64), before: Option<(i64, i64)>, next: i64) -> bool {
    before == Some(span) && (span.0..=span.1).contains(&next)
}

/// The spans of a one-shot release that was kept; none of another, or of one that nobody kept.
pub fn spans_of(place: &Place, digest: Option<&str>) -> Result<Vec<SpanEntry>, RunFault> {
    let kept = digest.map(|digest| column::kept(place, digest)).transpose()?.flatten();
    let release = kept.map(|envelope| release::draft(&envelope)).transpose();
    let release = release.map_err(|why| RunFault::Release(why.to_string()))?;
    Ok(release.and_then(|release| release.once).unwrap_or_default())
}

/// Whether nothing of the span is left, as the target says.
pub fn is_over(crossing: &Crossing, layout: &Layout) -> Result<bool, RunFault> {
    let Some(once) = &crossing.release.once else { return Ok(false) };
    let mut stands: BTreeMap<turn::Source, i64> =
        layout.places.iter().map(|p| ((p.topic, p.partition), p.next)).collect();
    for (_, position) in crossing.positions.shards(layout)? {
        let places = position.into_iter().flat_map(|position| position.places);
        stands.extend(places.map(|p| ((p.topic, p.partition), p.next)));
    }
    for (source, (_, end)) in by_source(once, crossing.topics()) {
        let next = stands.get(&source).copied().unwrap_or(0);
        let (edge, topic) = (&*crossing.edges.sovereign, crossing.topic_name(source.0));
        let last = last_of(edge, topic, source.1, (next, end)).map_err(crossing.source_fault())?;
        if last.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Offset of the last record within a range that may end with none: markers of transactions and what
/// compaction took have offsets too.
fn last_of(
    edge: &dyn Sovereign,
    topic: &str,
    partition: i32,
    (start, end): (i64, i64),
) -> Result<Option<i64>, EdgeFault> {
    let mut back = BACK;
    if start >= end {
        return Ok(None);
    }
    loop {
        let from = (end - back).max(start);
        let mut last = None;
        edge.scan(topic, partition, from, TRY * 6, &mut |record| {
            if record.offset < end {
                last = Some(record.offset);
            }
            match record.offset + 1 < end {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        if last.is_some() || from == start {
            return Ok(last);
        }
        back = back.saturating_mul(16);
    }
}

/// A sovereign side of which one span is to be seen.
pub struct Bounded {
    edge: Arc<dyn Sovereign>,
    once: Vec<SpanEntry>,
}

impl Bounded {
    pub fn new(edge: Arc<dyn Sovereign>, once: Vec<SpanEntry>) -> Self {
        Self { edge, once }
    }
}

impl Sovereign for Bounded {
    fn admin(&self) -> Result<Box<dyn Admin>, EdgeFault> {
        self.edge.admin()
    }

    fn source(&self, group: &str, topics: &[String]) -> Result<Box<dyn Source>, EdgeFault> {
        Ok(Box::new(Span {
            inner: self.edge.source(group, topics)?,
            edge: Arc::clone(&self.edge),
            topics: topics.to_vec(),
            once: by_source(&self.once, topics),
            lanes: BTreeMap::new(),
            parked: BTreeMap::new(),
            through: BTreeSet::new(),
        }))
    }

    fn quarantine(&self, bytes_max: usize) -> Result<Box<dyn Quarantine>, EdgeFault> {
        self.edge.quarantine(bytes_max)
    }

    /// Not bounded: what crossed earlier may be made again.
    fn scan_unless(
        &self,
        stop: &dyn Fn() -> bool,
        topic: &str,
        partition: i32,
        from: i64,
        timeout: Duration,
        each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), EdgeFault> {
        self.edge.scan_unless(stop, topic, partition, from, timeout, each)
    }
}

/// One partition of the span.
struct Lane {
    /// The last record of it; none: there is nothing to give.
    last: Option<i64>,
    /// The offset wanted next.
    next: i64,
    paused: bool,
}

impl Lane {
    fn is_through(&self) -> bool {
        self.last.is_none_or(|last| self.next > last)
    }
}

/// A source that begins and ends with a span.
struct Span {
    inner: Box<dyn Source>,
    edge: Arc<dyn Sovereign>,
    topics: Vec<String>,
    once: Spans,
    lanes: BTreeMap<turn::Source, Lane>,
    /// Partitions outside of the span, and where they stand: they are never read.
    parked: BTreeMap<turn::Source, i64>,
    /// Lanes that the inner source gives nothing of any more.
    through: BTreeSet<turn::Source>,
}

impl Span {
    /// Whoever is through is paused inside, so that nothing behind the span is fetched for long.
    fn rest(&mut self) -> Result<(), EdgeFault> {
        for (source, lane) in &self.lanes {
            if lane.is_through() && self.through.insert(*source) {
                self.inner.pause(source.0, source.1)?;
            }
        }
        Ok(())
    }
}

impl Source for Span {
    fn assign(&mut self, places: &[(u32, i32, i64)]) -> Result<(), EdgeFault> {
        let mut mine = Vec::new();
        for (topic, partition, next) in places.iter().copied() {
            let source = (topic, partition);
            let Some((_, end)) = self.once.get(&source).copied() else {
                self.parked.insert(source, next);
                continue;
            };
            let name = self.topics.get(topic as usize).map_or("", String::as_str);
            let last = last_of(&*self.edge, name, partition, (next, end))?;
            self.lanes.insert(source, Lane { last, next, paused: false });
            mine.push((topic, partition, next));
        }
        match mine.is_empty() {
            true => Ok(()),
            false => self.inner.assign(&mine),
        }
    }

    fn poll(&mut self, timeout: Duration) -> Polled<'_> {
        if let Err(fault) = self.rest() {
            return Polled::Fault(fault);
        }
        if self.lanes.values().all(|lane| lane.paused || lane.is_through()) {
            return Polled::End;
        }
        let Self { inner, lanes, .. } = self;
        match inner.poll(timeout) {
            Polled::Record(fetched) => {
                let (source, offset) = {
                    let headers = fetched.headers();
                    let raw = fetched.raw(&headers);
                    ((raw.topic, raw.partition), raw.offset)
                };
                let lane = lanes.get_mut(&source);
                match lane.filter(|lane| lane.last.is_some_and(|last| offset <= last)) {
                    Some(lane) => {
                        lane.next = lane.next.max(offset + 1);
                        Polled::Record(fetched)
                    }
                    // Behind the span: it was fetched before the partition was paused.
                    None => Polled::Idle,
                }
            }
            other => other,
        }
    }

    fn pause(&mut self, topic: u32, partition: i32) -> Result<(), EdgeFault> {
        match self.lanes.get_mut(&(topic, partition)) {
            Some(lane) => {
                lane.paused = true;
                self.inner.pause(topic, partition)
            }
            None => Ok(()),
        }
    }

    fn resume_at(&mut self, topic: u32, partition: i32, offset: i64) -> Result<(), EdgeFault> {
        let Some(lane) = self.lanes.get_mut(&(topic, partition)) else { return Ok(()) };
        (lane.paused, lane.next) = (false, offset);
        self.through.remove(&(topic, partition));
        self.inner.resume_at(topic, partition, offset)
    }

    fn watermarks(&self, topic: u32, partition: i32) -> Result<(i64, i64), EdgeFault> {
        if let Some(next) = self.parked.get(&(topic, partition)) {
            return Ok((*next, *next));
        }
        let (low, high) = self.inner.watermarks(topic, partition)?;
        Ok(match self.once.get(&(topic, partition)) {
            Some((start, end)) => (low.max(*start), high.min(*end)),
            None => (low, high),
        })
    }

    fn offset_for_time(
        &self,
        topic: u32,
        partition: i32,
        since_ms: i64,
    ) -> Result<Option<i64>, EdgeFault> {
        self.inner.offset_for_time(topic, partition, since_ms)
    }

    fn mark(&self, topic: u32, partition: i32, offset: i64) -> Option<String> {
        self.inner.mark(topic, partition, offset)
    }

    fn expect(&mut self, topic: u32, partition: i32, mark: &str) -> Result<(), EdgeFault> {
        match self.lanes.contains_key(&(topic, partition)) {
            true => self.inner.expect(topic, partition, mark),
            false => Ok(()),
        }
    }

    fn stands(&self, of: (u32, i32), next: i64, mark: &str) -> Result<(), EdgeFault> {
        self.inner.stands(of, next, mark)
    }

    fn commit_group(&mut self, places: &[(u32, i32, i64)]) {
        self.inner.commit_group(places);
    }

    fn close(self: Box<Self>) {
        self.inner.close();
    }
}

#[cfg(test)]
mod tests {
    use douane_connectors::file::{FileFormat, SovereignFolder};
    use douane_ledger::log::{Intent, RefusedEntry};

    use super::*;

    #[test]
    fn a_pipeline_of_spans_goes_on_under_spans_only() {
        for (began, is, goes) in
            [(true, false, false), (true, true, true), (false, true, true), (false, false, true)]
        {
            assert_eq!(goes_on(began, is).is_ok(), goes, "{began} {is}");
        }
    }

    #[test]
    fn a_renewed_span_is_gone_on_with_and_another_is_not() {
        for (before, next, goes_on) in [
            (Some((3, 9)), 5, true),
            (Some((3, 9)), 9, true),
            (Some((3, 9)), 3, true),
            (Some((3, 9)), 10, false),
            // Another span, that begins before what has crossed.
            (Some((3, 8)), 5, false),
            (Some((2, 9)), 5, false),
            (None, 5, false),
        ] {
            assert_eq!(goes_on_within((3, 9), before, next), goes_on, "{before:?} {next}");
        }
    }

    #[test]
    fn what_waits_in_a_span_is_counted_and_said() {
        let refused = |topic: &str, offset| RefusedEntry {
            topic: topic.into(),
            partition: 0,
            offset,
            code: "number".into(),
        };
        let intent = Entry::Intent(Intent {
            refused: vec![refused("a", 3), refused("a", 4), refused("a", 9), refused("b", 4)],
            ..Intent::default()
        });
        let done = Entry::Redriven {
            topic: "a".into(),
            partition: 0,
            offset: 3,
            outcome: "superseded".into(),
        };
        let again = Entry::Redriven {
            topic: "a".into(),
            partition: 0,
            offset: 4,
            outcome: "number".into(),
        };
        let mut refusals = Refusals::default();
        refusals.take([intent, done, again], 3);
        assert_eq!(within(&refusals, &[span("a", 3, 9)]), 1, "the fourth alone");
        assert_eq!(within(&refusals, &[span("a", 3, 10), span("b", 0, 9)]), 3);
        assert_eq!(within(&refusals, &[]), 0);
        assert!(through(0).contains("all of its span has crossed"));
        assert!(through(2).contains("2 records of it were set aside"));
    }

    /// Two files of ten lines.
    fn folder(dir: &std::path::Path) -> Arc<dyn Sovereign> {
        let paths = ["a.jsonl", "b.jsonl"].map(str::to_owned);
        for path in &paths {
            let line = |n: usize| format!("{{\"key\":{{\"id\":{n}}},\"value\":{{\"id\":{n}}}}}\n");
            std::fs::write(dir.join(path), (0..10).map(line).collect::<String>()).unwrap();
        }
        Arc::new(SovereignFolder {
            id: "id".into(),
            dir: dir.to_owned(),
            base: dir.to_owned(),
            paths: paths.to_vec(),
            format: FileFormat::JsonLines,
            key: vec!["id".into()],
        })
    }

    fn span(topic: &str, start: i64, end: i64) -> SpanEntry {
        SpanEntry { topic: topic.into(), partition: 0, start, end }
    }

    /// Everything that a source gives until its end: topic and offset.
    fn all(source: &mut dyn Source) -> Vec<(u32, i64)> {
        let mut given = Vec::new();
        loop {
            match source.poll(Duration::from_millis(10)) {
                Polled::Record(fetched) => {
                    let headers = fetched.headers();
                    let raw = fetched.raw(&headers);
                    given.push((raw.topic, raw.offset));
                }
                Polled::End => return given,
                Polled::Idle | Polled::Trouble(_) => {}
                Polled::Fault(fault) => panic!("{fault}"),
                Polled::Lost(lost) => panic!("{lost:?}"),
                Polled::Broken(why) => panic!("{why}"),
            }
        }
    }

    #[test]
    fn a_span_is_all_that_is_seen_of_a_source() {
        let dir = tempfile::tempdir().unwrap();
        let topics = ["a.jsonl", "b.jsonl"].map(str::to_owned);
        let (inner, once) = (folder(dir.path()), vec![span("a.jsonl", 3, 7)]);
        let open = || Bounded::new(Arc::clone(&inner), once.clone()).source("", &topics).unwrap();
        let mut source = open();
        source.assign(&[(0, 0, 3), (1, 0, 2)]).unwrap();
        assert_eq!(source.watermarks(0, 0).unwrap(), (3, 7));
        assert_eq!(source.watermarks(1, 0).unwrap(), (2, 2), "it stays where it stands");
        assert_eq!(all(&mut *source), [(0, 3), (0, 4), (0, 5), (0, 6)]);
        // A record that was polled and not taken comes again, and nothing behind the span does.
        source.resume_at(0, 0, 5).unwrap();
        assert_eq!(all(&mut *source), [(0, 5), (0, 6)]);
        // Held, it gives nothing, and the rest has an end.
        let mut held = open();
        held.assign(&[(0, 0, 3)]).unwrap();
        held.pause(0, 0).unwrap();
        assert_eq!(all(&mut *held), []);
        // Killed in the middle, or after the end.
        for (next, given) in [(6, 1), (7, 0)] {
            let mut again = open();
            again.assign(&[(0, 0, next)]).unwrap();
            assert_eq!(all(&mut *again).len(), given, "from {next} on");
        }
        // The control: without the wrapper there is more.
        let mut whole = inner.source("", &topics).unwrap();
        whole.assign(&[(0, 0, 3)]).unwrap();
        assert_eq!(all(&mut *whole).len(), 7);
    }

    #[test]
    fn the_last_record_of_a_range_is_found_however_far_before_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let edge = folder(dir.path());
        for ((start, end), expected) in [
            ((0, 10), Some(9)),
            ((3, 7), Some(6)),
            ((3, 500), Some(9)),
            ((10, 400), None),
            ((4, 4), None),
        ] {
            let found = last_of(&*edge, "a.jsonl", 0, (start, end)).unwrap();
            assert_eq!(found, expected, "{start}-{end}");
        }
    }
}
