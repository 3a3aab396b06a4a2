//! Published statistics, read back from the global topic for `enrich`. What is read is what anybody
//! outside reads: integers with noise, each covered by a manifest that this place signed for the
//! pipeline of statistics. Nothing else of statistics is ever looked at.
//!
//! A life knows what was committed as it last looked. Every intent says how far that was, so that a
//! replay knows the same and no more. A published window never changes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use douane_connectors::edge::{Global, Topics};
use douane_ledger::coverage::{Expect, Lane, Manifests, Record, Seen};
use douane_ledger::log::SpanEntry;
use douane_ledger::signing::VerifyingKey;
use serde_json::Value as Json;

use crate::config::aggregate::WINDOW_COLUMN;
use crate::config::{Enrich, Place};
use crate::coverage::read_manifests;
use crate::edges;
use crate::fault::RunFault;

/// How long nothing may come of a topic that has more.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a manifest calls the protection of a column of integers with noise.
const NOISED: &str = "dp";

/// Statistics by window and key. Published, and so with a `Debug`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    rows: Arc<Rows>,
    read: Vec<SpanEntry>,
}

/// In the order of the stage's columns.
type Rows = BTreeMap<(i64, Vec<String>), Vec<Option<i64>>>;

/// What came of reading.
#[derive(Debug)]
pub enum Looked {
    Known(Statistics),
    /// What was known then is not there any more.
    Gone(String),
}

impl Statistics {
    /// The statistics of a window for a key.
    pub fn of(&self, window: i64, key: &[String]) -> Option<&[Option<i64>]> {
        self.rows.get(&(window, key.to_vec())).map(Vec::as_slice)
    }

    /// How far they were read, for the intent.
    pub fn read(&self) -> &[SpanEntry] {
        &self.read
    }

    /// One number of one window and key.
    #[cfg(test)]
    pub fn published(window: i64, key: &str, number: i64) -> Self {
        let rows = BTreeMap::from([((window, vec![key.to_owned()]), vec![Some(number)])]);
        Self { rows: Arc::new(rows), read: Vec::new() }
    }

    /// Takes one record of a transaction that was verified whole.
    fn take(&mut self, said: &Enrich, value: Option<&[u8]>) -> Result<(), &'static str> {
        let row: Json = value
            .and_then(|value| serde_json::from_slice(value).ok())
            .ok_or("a record is no JSON; `enrich` reads statistics of `format: json`")?;
        let start = &row[WINDOW_COLUMN];
        // As the sink's format writes an instant: a number, or text without a zone.
        let start_ms = start.as_i64().or_else(|| {
            let at: jiff::civil::DateTime = start.as_str()?.parse().ok()?;
            let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(at.timestamp().as_millisecond())
        });
        let start_ms = start_ms.ok_or("a record says no window")?;
        let window = said.window_at(start_ms).ok_or("its windows are not those of `enrich`")?;
        let key: Option<Vec<String>> =
            said.groups.keys().map(|there| Some(row[there].as_str()?.to_owned())).collect();
        let key = key.ok_or("a record has no key for a group of `enrich`")?;
        let values: Option<Vec<Option<i64>>> =
            said.columns.keys().map(|there| Some(row.get(there)?.as_i64())).collect();
        let values = values.ok_or("it has no column that `enrich` names")?;
        match Arc::make_mut(&mut self.rows).insert((window, key), values) {
            None => Ok(()),
            Some(_) => Err("a window has a group twice: `enrich` names too few of its groups"),
        }
    }
}

/// Published statistics, as a life knows them: what was read is not read again.
#[derive(Default)]
pub struct Reading {
    topic_id: String,
    manifests: Option<Manifests>,
    /// The first record of the manifest topic that was not read.
    manifests_next: i64,
    stands: BTreeMap<i32, Stand>,
    known: Statistics,
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
        if !whole {
            return Vec::new();
        }
        self.taken.insert(manifest);
        self.open.remove(&manifest).map(|(_, values)| values).unwrap_or_default()
    }

    /// All up to `end` was read. What is open is read again, whole.
    fn ends(&mut self, end: i64) {
        let open = std::mem::take(&mut self.open);
        self.next = open.into_values().map(|(first, _)| first).min().unwrap_or(end);
    }

    /// Whether a log that now begins and ends here is the one that was read, and goes on.
    fn goes_on(&self, low: i64, end: i64) -> bool {
        self.low == low && self.next <= end
    }
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
        let wrong = |what: &str| RunFault::Topic {
            topic: topic.clone(),
            what: format!(
                "{what}\n  next: see that `enrich` names a topic of statistics of this place, and its windows and groups as they are"
            ),
        };
        let away = RunFault::unreachable("global cluster");
        let topics = edges::topics(&place.global)?;
        let admin = topics.admin().map_err(RunFault::client("global"))?;
        let identity = admin.topic(&topic).map_err(&away)?;
        let identity = identity.ok_or_else(|| wrong("does not exist"))?;
        // Ends first: what lies before them has its manifest by then.
        let mut spans = Vec::new();
        for partition in 0..identity.partitions {
            let (low, end) = topics.extent(&topic, partition, false, PATIENCE).map_err(&away)?;
            let mut span = SpanEntry { topic: topic.clone(), partition, start: low, end };
            if let Some(then) = then {
                let Some(known) = then.iter().find(|span| span.partition == partition) else {
                    continue;
                };
                if is_gone(known, low) {
                    return Ok(Looked::Gone(format!(
                        "{topic}[{partition}]@{}: retention took published statistics; the log begins \
                         at {low}",
                        known.start
                    )));
                }
                span = known.clone();
            }
            spans.push(span);
        }
        let stood = |span: &SpanEntry| {
            was.stands.get(&span.partition).is_some_and(|s| s.goes_on(span.start, span.end))
        };
        // What retention took is forgotten too, so that a life knows as much as the next one will.
        let goes_on = was.topic_id == identity.id && spans.iter().all(stood);
        let mut now = if goes_on { was } else { Self::default() };
        now.topic_id = identity.id;
        let expect = Expect { topic: topic.clone(), keys: vec![signer], ..Expect::default() };
        let manifests = now.manifests.get_or_insert_with(|| Manifests::new(expect));
        let mut strange = None;
        let (low, next) = read_manifests(&topics, &topic, now.manifests_next, &mut |record| {
            let Some(manifest) = manifests.take(record) else { return };
            let noised = |there: &String| {
                manifest.columns.iter().any(|c| c.name == *there && c.protection == NOISED)
            };
            if manifest.pipeline != said.pipeline {
                strange = Some("was written to by another pipeline than `enrich` names");
            } else if !said.columns.keys().all(noised) {
                strange = Some("has a column without noise among those that `enrich` names");
            }
        })?;
        now.manifests_next = next;
        manifests.settle(low);
        if let Some(what) = strange {
            return Err(wrong(what));
        }
        let known = &mut now.known;
        known.read.clone_from(&spans);
        for span in &spans {
            let stand = now.stands.entry(span.partition).or_insert_with(|| Stand::at(span.start));
            if stand.next >= span.end {
                continue;
            }
            let mut lane = Lane::new(manifests, span.partition, 0..manifests.len(), span.end);
            let mut outcome = Ok(());
            topics
                .read(&topic, span.partition, stand.next, PATIENCE, &mut |raw| {
                    if raw.offset >= span.end {
                        return ControlFlow::Break(());
                    }
                    let record = Record {
                        partition: raw.partition,
                        offset: raw.offset,
                        timestamp_ms: raw.timestamp_ms,
                        key: raw.key,
                        value: raw.value,
                        headers: raw.headers,
                    };
                    // Of what no manifest covers whole nothing is taken.
                    if let Seen::Of { manifest, whole } = lane.record(&record) {
                        for value in stand.take(raw.offset, manifest, whole, raw.value) {
                            outcome = known.take(said, value.as_deref());
                            if outcome.is_err() {
                                return ControlFlow::Break(());
                            }
                        }
                    }
                    match raw.offset + 1 >= span.end {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                })
                .map_err(&away)?;
            outcome.map_err(&wrong)?;
            stand.ends(span.end);
        }
        let known = now.known.clone();
        *self = now;
        Ok(Looked::Known(known))
    }
}

/// Of what was known then something is not there any more. Where nothing was known nothing is missing.
fn is_gone(known: &SpanEntry, low: i64) -> bool {
    known.start < low && known.start < known.end
}

#[cfg(test)]
mod tests {
    use crate::config::{Mark, Missing};

    use super::*;

    fn said(groups: &[(&str, &str)]) -> Enrich {
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(there, here)| ((*there).to_owned(), (*here).to_owned())).collect()
        };
        Enrich {
            topic: "t".into(),
            pipeline: "p".into(),
            from_ms: 0,
            every_ms: 1_000,
            groups: own(groups),
            columns: own(&[("n", "there_n"), ("sum", "there_sum")]),
            missing: Missing::Nullify,
            mark: Mark::FILE,
        }
    }

    #[test]
    fn a_published_record_is_known_by_window_and_key() {
        let said = said(&[("city", "town")]);
        let mut known = Statistics::default();
        let records = [
            r#"{"window_start":2000,"city":"Graz","n":-3,"sum":7,"other":1}"#,
            r#"{"window_start":"1970-01-01T00:00:03.000","city":"Graz","n":4,"sum":null}"#,
        ];
        for record in records {
            known.take(&said, Some(record.as_bytes())).unwrap();
        }
        let key = |city: &str| vec![city.to_owned()];
        assert_eq!(known.of(2, &key("Graz")), Some(&[Some(-3), Some(7)][..]));
        assert_eq!(known.of(3, &key("Graz")), Some(&[Some(4), None][..]));
        assert_eq!(known.of(2, &key("Bonn")), None);
        assert_eq!(known.of(1, &key("Graz")), None);
    }

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
        assert_eq!(stand.take(1, 0, true, Some(&[1])), [value(0), value(1)]);
        assert!(stand.take(3, 1, false, Some(&[3])).is_empty());
        assert_eq!(stand.take(4, 2, true, None), [None]);
        stand.ends(6);
        assert_eq!(stand.next, 3, "it is read again from its first record");
        assert!(stand.goes_on(0, 6) && !stand.goes_on(1, 9) && !stand.goes_on(0, 2));
        assert!(stand.take(3, 1, false, Some(&[3])).is_empty());
        assert!(stand.take(4, 2, true, None).is_empty(), "taken once");
        assert_eq!(stand.take(7, 1, true, Some(&[7])), [value(3), value(7)]);
        stand.ends(8);
        assert_eq!((stand.next, stand.open.len()), (8, 0), "nothing before the end is read again");
    }

    #[test]
    fn what_is_not_as_said_is_refused() {
        let city = &[("city", "town")][..];
        let fine = r#"{"window_start":2000,"city":"Graz","n":1,"sum":1}"#;
        for (groups, records, expected) in [
            (city, &[None][..], "no JSON"),
            (city, &[Some("\u{0}\u{0}avro")][..], "no JSON"),
            (city, &[Some(r#"{"city":"Graz","n":1,"sum":1}"#)][..], "no window"),
            (
                city,
                &[Some(r#"{"window_start":2001,"city":"Graz","n":1,"sum":1}"#)][..],
                "not those",
            ),
            (city, &[Some(r#"{"window_start":2000,"n":1,"sum":1}"#)][..], "no key"),
            (city, &[Some(r#"{"window_start":2000,"city":"Graz","n":1}"#)][..], "no column"),
            (&[][..], &[Some(fine), Some(fine)][..], "twice"),
        ] {
            let (said, mut known) = (said(groups), Statistics::default());
            let taken = records.iter().try_for_each(|r| known.take(&said, r.map(str::as_bytes)));
            let why = taken.unwrap_err();
            assert!(why.contains(expected), "{expected}: {why}");
        }
    }
}
