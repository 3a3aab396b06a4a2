//! Which records were counted together, where `min_group` counts: the ledger's intents say it. A row
//! is judged by the counts of its own window, which is read again whole.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use douane_connectors::edge::EdgeFault;
use douane_ledger::log::SpanEntry;
use douane_schemas::batch::Origin;
use douane_schemas::debezium::WriterSchemas;
use douane_schemas::record::RawRecord;

use super::engine::Shared;
use super::select::Recorded;
use crate::crossing::TRY;
use crate::fault::RunFault;
use crate::min_group::{Groups, Member, Reading, Tally};
use crate::plan::{Staged, Stages};

/// Windows whose counts are kept at most: transactions come in the order of their log.
const KEPT: usize = 4;

/// By partition, and the first offset of a transaction there: its end, and its window.
type Crossed = BTreeMap<(String, i32), BTreeMap<i64, (i64, Arc<Vec<SpanEntry>>)>>;

/// The windows of all transactions that there have been.
#[derive(Default)]
pub struct Windows(Crossed);

impl Windows {
    pub fn of(all: &[Recorded]) -> Self {
        let mut crossed = Crossed::new();
        for Recorded { intent, .. } in all.iter().filter(|one| !one.intent.window.is_empty()) {
            let window = Arc::new(intent.window.clone());
            for span in &intent.spans {
                let of = crossed.entry((span.topic.clone(), span.partition)).or_default();
                of.insert(span.start, (span.end, Arc::clone(&window)));
            }
        }
        Self(crossed)
    }

    fn of_record(&self, topic: &str, partition: i32, offset: i64) -> Option<&Arc<Vec<SpanEntry>>> {
        let of = self.0.get(&(topic.to_owned(), partition))?;
        let (_, (end, window)) = of.range(..=offset).next_back()?;
        (offset < *end).then_some(window)
    }
}

/// Counts windows again. One thread's.
pub struct Counting {
    groups: Groups,
    kept: Vec<(Arc<Vec<SpanEntry>>, Tally)>,
}

impl Counting {
    /// `None`: the pipeline counts nobody.
    pub fn of(shared: &Shared) -> Option<Self> {
        let groups = Groups::of(&shared.plan, &shared.pipeline, shared.keys.root())?;
        Some(Self { groups, kept: Vec::new() })
    }

    /// Takes the rows of small groups out of what crossed. `Some`: what of a window is not there any
    /// more.
    pub fn hold_back(
        &mut self,
        shared: &Shared,
        stages: &Stages,
        schemas: &mut dyn WriterSchemas,
        windows: &Windows,
        staged: &mut Staged,
    ) -> Result<Option<String>, RunFault> {
        let members = self.groups.members(staged)?;
        let mut by_window: BTreeMap<Vec<(String, i32, i64)>, (Arc<Vec<SpanEntry>>, Vec<Member>)> =
            BTreeMap::new();
        for member in members {
            let Origin { topic, partition, offset, .. } = staged.batch.origins[member.row()];
            // From before groups were counted.
            let name = shared.topic(topic);
            let Some(window) = windows.of_record(name, partition, offset) else { continue };
            let place = |span: &SpanEntry| (span.topic.clone(), span.partition, span.start);
            let place = window.iter().map(place).collect();
            let of = by_window.entry(place).or_insert_with(|| (Arc::clone(window), Vec::new()));
            of.1.push(member);
        }
        for (window, members) in by_window.into_values() {
            if let Some(why) = self.count(shared, stages, schemas, &window)? {
                return Ok(Some(why));
            }
            let tally = self.kept.iter().find(|(kept, _)| *kept == window).map(|(_, tally)| tally);
            let units = |group: &_| tally.map_or(0, |tally| tally.units(group));
            self.groups.hold_back(staged, &members, units);
        }
        Ok(None)
    }

    fn count(
        &mut self,
        shared: &Shared,
        stages: &Stages,
        schemas: &mut dyn WriterSchemas,
        window: &Arc<Vec<SpanEntry>>,
    ) -> Result<Option<String>, RunFault> {
        if self.kept.iter().any(|(kept, _)| kept == window) {
            return Ok(None);
        }
        let away = |fault: EdgeFault| RunFault::unreachable("sovereign cluster")(fault);
        let topics = &shared.pipeline.source.topics;
        let source = shared.edges.sovereign.source(&shared.names.group, topics).map_err(away)?;
        let bytes_max = shared.place.state.bytes_max;
        let mut tally = Tally::default();
        for span in window.iter() {
            let SpanEntry { topic, partition, start, end } = span;
            let index = topics.iter().position(|name| name == topic).unwrap_or(usize::MAX);
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let (low, _) = source.watermarks(index, *partition).map_err(away)?;
            if low > *start {
                return Ok(Some(format!(
                    "{topic}[{partition}]@{start}: retention took it, and its window is counted \
                     whole; the log begins at {low}"
                )));
            }
            let (plan, pipeline) = (&shared.plan, &shared.pipeline);
            let mut reading = Reading::new(&self.groups, stages, plan, pipeline, &RunFault::Stage);
            let mut take = |members: &[Member], _: i64| -> Result<(), RunFault> {
                tally.add(&self.groups, members, bytes_max)
            };
            let mut outcome = Ok(None);
            let mut each = |record: &RawRecord<'_>| {
                if record.offset >= *end {
                    return ControlFlow::Break(());
                }
                let record = RawRecord { topic: index, ..*record };
                outcome = reading.push(&record, schemas, &mut take);
                match outcome {
                    Ok(None) if record.offset + 1 < *end => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            };
            let edge = &shared.edges.sovereign;
            edge.scan(topic, *partition, *start, TRY * 6, &mut each).map_err(away)?;
            outcome?;
            reading.flush(&mut take)?;
        }
        source.close();
        self.kept.push((Arc::clone(window), tally));
        forget(&mut self.kept, bytes_max);
        Ok(None)
    }
}

/// Of counted windows the newest stay, as many as there is room for: one always.
fn forget<T>(kept: &mut Vec<(T, Tally)>, bytes_max: u64) {
    let bytes = |kept: &[(T, Tally)]| kept.iter().map(|(_, tally)| tally.bytes()).sum::<u64>();
    while kept.len() > KEPT || (kept.len() > 1 && bytes(kept) > bytes_max) {
        kept.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use douane_ledger::log::Intent;

    use super::*;

    fn span(partition: i32, start: i64, end: i64) -> SpanEntry {
        SpanEntry { topic: "t".into(), partition, start, end }
    }

    fn recorded(spans: Vec<SpanEntry>, window: Vec<SpanEntry>) -> Recorded {
        let intent = Intent { spans, window, ..Intent::default() };
        Recorded::of("shard-0".to_owned(), 0, intent, Vec::new())
    }

    #[test]
    fn a_record_is_of_the_window_of_the_transaction_that_read_it() {
        let first = vec![span(0, 5, 20), span(1, 0, 9)];
        let second = vec![span(0, 20, 30)];
        let windows = Windows::of(&[
            recorded(vec![span(0, 0, 5)], Vec::new()),
            recorded(vec![span(0, 5, 12), span(1, 0, 9)], first.clone()),
            recorded(vec![span(0, 12, 20)], first.clone()),
            recorded(vec![span(0, 20, 30)], second.clone()),
        ]);
        let of = |partition, offset| {
            windows.of_record("t", partition, offset).map(|window| window.as_slice())
        };
        for (partition, offset, window) in [
            // From before groups were counted; from beyond all that crossed.
            (0, 4, None),
            (0, 30, None),
            (1, 9, None),
            (0, 5, Some(&first[..])),
            (0, 19, Some(&first[..])),
            (1, 8, Some(&first[..])),
            (0, 20, Some(&second[..])),
        ] {
            assert_eq!(of(partition, offset), window, "{partition}@{offset}");
        }
        assert_eq!(windows.of_record("u", 0, 5), None);
    }
}
