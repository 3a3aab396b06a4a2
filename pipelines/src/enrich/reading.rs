//! How published statistics are read from the global topic: as anybody outside reads it, each record
//! covered by a manifest that this place signed for the pipeline of statistics.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use douane_connectors::edge::{EdgeFault, Global, TopicIdentity, Topics};
use douane_connectors::kafka::Cluster;
use douane_ledger::coverage::{Expect, Lane, Manifests, Seen};
use douane_ledger::log::SpanEntry;
use douane_ledger::signing::VerifyingKey;
use douane_schemas::record::RawRecord;

use super::Statistics;
use crate::config::{Enrich, Place};
use crate::coverage::{read_manifests, record};
use crate::edges;
use crate::fault::RunFault;

/// How long nothing may come of a topic that has more.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a manifest calls the protection of a column of integers with noise.
const NOISED: &str = "dp";
/// What a manifest takes while it is known.
const MANIFEST_BYTES: u64 = 256;
/// What a value takes beside itself.
const VALUE_BYTES: u64 = 48;

/// What came of reading.
#[derive(Debug)]
pub enum Looked {
    Known(Statistics),
    /// What was known then is not there any more.
    Gone(String),
}

/// Published statistics, as they are read on: what was read is not read again.
#[derive(Default)]
pub struct Reading {
    topic_id: String,
    manifests: Option<Manifests>,
    /// The first record of the manifest topic that was not read.
    manifests_next: i64,
    stands: BTreeMap<i32, Stand>,
    known: Statistics,
}

/// One look: what is read, and from where.
struct Look<'a> {
    said: &'a Enrich,
    topics: Cluster,
    /// With the cluster's prefix.
    topic: String,
    signer: VerifyingKey,
}

impl Reading {
    /// Reads on, or, with `then`, what was known when it was. What fails half-way is read anew.
    pub fn look(
        &mut self,
        place: &Place,
        said: &Enrich,
        signer: VerifyingKey,
        then: Option<&[SpanEntry]>,
    ) -> Result<Looked, RunFault> {
        let was = std::mem::take(self);
        let topic = format!("{}{}", place.global.topic_prefix, said.topic);
        let look = Look { said, topics: edges::topics(&place.global)?, topic, signer };
        let identity = look.identity()?;
        // Ends first: what lies before them has its manifest by then.
        let spans = match look.spans(identity.partitions, then)? {
            Spans::There(spans) => spans,
            Spans::Gone(why) => return Ok(Looked::Gone(why)),
        };
        let mut now = was.goes_on(&identity.id, &spans).unwrap_or_default();
        now.topic_id = identity.id;
        let manifests = now.manifests.take().unwrap_or_else(|| look.no_manifests());
        let manifests = look.manifests(manifests, &mut now.manifests_next)?;
        now.known.read.clone_from(&spans);
        for span in &spans {
            let stand = now.stands.entry(span.partition).or_insert_with(|| Stand::at(span.start));
            look.records(span, &manifests, stand, &mut now.known)?;
        }
        now.manifests = Some(manifests);
        let known = now.known.clone();
        *self = now;
        Ok(Looked::Known(known))
    }

    /// What retention took is forgotten too, so that a life knows as much as the next one will.
    fn goes_on(self, topic_id: &str, spans: &[SpanEntry]) -> Option<Self> {
        let stood = |span: &SpanEntry| {
            self.stands.get(&span.partition).is_some_and(|s| s.goes_on(span.start, span.end))
        };
        (self.topic_id == topic_id && spans.iter().all(stood)).then_some(self)
    }
}

/// How far a look reads.
enum Spans {
    There(Vec<SpanEntry>),
    Gone(String),
}

impl Look<'_> {
    fn away(&self) -> impl Fn(EdgeFault) -> RunFault + use<> {
        RunFault::unreachable("global cluster")
    }

    fn wrong(&self, what: &str) -> RunFault {
        RunFault::Topic {
            topic: self.topic.clone(),
            what: format!(
                "{what}\n  next: see that `enrich` names a topic of statistics of this place, and its windows and groups as they are"
            ),
        }
    }

    fn identity(&self) -> Result<TopicIdentity, RunFault> {
        let admin = self.topics.admin().map_err(RunFault::client("global"))?;
        let identity = admin.topic(&self.topic).map_err(self.away())?;
        identity.ok_or_else(|| self.wrong("does not exist"))
    }

    /// To the end of each partition, or to where it was then.
    fn spans(&self, partitions: i32, then: Option<&[SpanEntry]>) -> Result<Spans, RunFault> {
        let mut spans = Vec::new();
        for partition in 0..partitions {
            let extent = self.topics.extent(&self.topic, partition, false, PATIENCE);
            let (low, end) = extent.map_err(self.away())?;
            let Some(then) = then else {
                spans.push(SpanEntry { topic: self.topic.clone(), partition, start: low, end });
                continue;
            };
            let Some(known) = then.iter().find(|span| span.partition == partition) else {
                continue;
            };
            if is_gone(known, low) {
                return Ok(Spans::Gone(format!(
                    "{}[{partition}]@{}: retention took published statistics; the log begins at {low}",
                    self.topic, known.start
                )));
            }
            spans.push(known.clone());
        }
        Ok(Spans::There(spans))
    }

    fn no_manifests(&self) -> Manifests {
        let (topic, keys) = (self.topic.clone(), vec![self.signer]);
        Manifests::new(Expect { topic, keys, ..Expect::default() })
    }

    /// Takes the manifests from `next` on. All must be of the pipeline and of noise.
    fn manifests(&self, mut known: Manifests, next: &mut i64) -> Result<Manifests, RunFault> {
        let mut strange = None;
        let (low, reached) = read_manifests(&self.topics, &self.topic, *next, &mut |record| {
            let Some(manifest) = known.take(record) else { return };
            let noised = |there: &String| {
                manifest.columns.iter().any(|c| c.name == *there && c.protection == NOISED)
            };
            if manifest.pipeline != self.said.pipeline {
                strange = Some("was written to by another pipeline than `enrich` names");
            } else if !self.said.columns.keys().all(noised) {
                strange = Some("has a column without noise among those that `enrich` names");
            }
        })?;
        *next = reached;
        known.settle(low);
        match strange {
            Some(what) => Err(self.wrong(what)),
            None => Ok(known),
        }
    }

    /// Takes the records of one partition from where it stands. Of what no manifest covers whole
    /// nothing is taken.
    fn records(
        &self,
        span: &SpanEntry,
        manifests: &Manifests,
        stand: &mut Stand,
        known: &mut Statistics,
    ) -> Result<(), RunFault> {
        if stand.next >= span.end {
            return Ok(());
        }
        let from = stand.next;
        let manifests_bytes = manifests.len() as u64 * MANIFEST_BYTES;
        let mut lane = Lane::new(manifests, span.partition, 0..manifests.len(), span.end);
        let mut outcome = Ok(());
        let mut each = |raw: &RawRecord<'_>| {
            if raw.offset >= span.end {
                return ControlFlow::Break(());
            }
            if let Seen::Of { manifest, whole } = lane.record(&record(raw)) {
                let values = stand.take(raw.offset, manifest, whole, raw.value);
                outcome = values
                    .iter()
                    .try_for_each(|value| known.take(self.said, value.as_deref()))
                    .map_err(|what| self.wrong(what))
                    .and_then(|()| {
                        let beside = manifests_bytes + stand.open_bytes;
                        known.fits(self.said, &self.topic, beside)
                    });
            }
            match outcome.is_err() || raw.offset + 1 >= span.end {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        self.topics
            .read(&self.topic, span.partition, from, PATIENCE, &mut each)
            .map_err(self.away())?;
        outcome?;
        stand.ends(span.end);
        Ok(())
    }
}

/// Where the reading of one partition stands.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stand {
    /// Where the log began.
    low: i64,
    /// What lies before was taken, or never will be.
    next: i64,
    /// Manifests whose records were taken: some may lie behind `next`.
    taken: BTreeSet<usize>,
    /// Of what did not come whole: its first offset, and its values.
    open: BTreeMap<usize, (i64, Vec<Option<Vec<u8>>>)>,
    /// What these values take.
    open_bytes: u64,
}

impl Stand {
    fn at(low: i64) -> Self {
        Self { low, next: low, ..Self::default() }
    }

    /// Takes a record of a transaction; gives the values of one that is whole with it.
    fn take(
        &mut self,
        offset: i64,
        manifest: usize,
        whole: bool,
        value: Option<&[u8]>,
    ) -> Vec<Option<Vec<u8>>> {
        if self.taken.contains(&manifest) {
            return Vec::new();
        }
        let (_, values) = self.open.entry(manifest).or_insert_with(|| (offset, Vec::new()));
        values.push(value.map(<[u8]>::to_vec));
        self.open_bytes += held_bytes(value);
        if !whole {
            return Vec::new();
        }
        self.taken.insert(manifest);
        let values = self.open.remove(&manifest).map(|(_, values)| values).unwrap_or_default();
        self.open_bytes -= values.iter().map(|value| held_bytes(value.as_deref())).sum::<u64>();
        values
    }

    /// All up to `end` was read. What is open is read again, whole.
    fn ends(&mut self, end: i64) {
        let open = std::mem::take(&mut self.open);
        self.open_bytes = 0;
        self.next = open.into_values().map(|(first, _)| first).min().unwrap_or(end);
    }

    /// Whether a log that now begins and ends here is the one that was read, and goes on.
    fn goes_on(&self, low: i64, end: i64) -> bool {
        self.low == low && self.next <= end
    }
}

/// What a value takes until its transaction is whole.
fn held_bytes(value: Option<&[u8]>) -> u64 {
    value.map_or(0, <[u8]>::len) as u64 + VALUE_BYTES
}

/// Of what was known then something is not there any more. Where nothing was known nothing is missing.
fn is_gone(known: &SpanEntry, low: i64) -> bool {
    known.start < low && known.start < known.end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_retention_took_in_part_or_whole_is_gone() {
        let known = |start, end| SpanEntry { topic: "t".into(), partition: 0, start, end };
        for (start, end, low, gone) in [
            (0, 9, 0, false),
            (0, 9, 4, true),
            (0, 9, 9, true),
            (0, 9, 50, true),
            (5, 9, 5, false),
            (5, 5, 50, false),
        ] {
            assert_eq!(is_gone(&known(start, end), low), gone, "{start}..{end} from {low}");
        }
    }

    #[test]
    fn what_was_taken_is_read_no_more_and_what_is_open_again() {
        let value = |n: u8| Some(vec![n]);
        let mut stand = Stand::at(0);
        // Two transactions, of which the second does not end; a third between its records.
        assert!(stand.take(0, 0, false, Some(&[0])).is_empty());
        assert_eq!(stand.open_bytes, 1 + VALUE_BYTES);
        assert_eq!(stand.take(1, 0, true, Some(&[1])), [value(0), value(1)]);
        assert_eq!(stand.open_bytes, 0, "what is whole is held no more");
        assert!(stand.take(3, 1, false, Some(&[3])).is_empty());
        assert_eq!(stand.take(4, 2, true, None), [None]);
        stand.ends(6);
        assert_eq!(stand.next, 3, "it is read again from its first record");
        assert_eq!(stand.open_bytes, 0);
        assert!(stand.goes_on(0, 6) && !stand.goes_on(1, 9) && !stand.goes_on(0, 2));
        assert!(stand.take(3, 1, false, Some(&[3])).is_empty());
        assert!(stand.take(4, 2, true, None).is_empty(), "taken once");
        assert_eq!(stand.take(7, 1, true, Some(&[7])), [value(3), value(7)]);
        stand.ends(8);
        assert_eq!((stand.next, stand.open.len()), (8, 0), "nothing before the end is read again");
    }
}
