//! Published statistics, read back from the global topic for `enrich`. What is read is what anybody
//! outside reads: integers with noise, each covered by a manifest that this place signed for the
//! pipeline of statistics. Nothing else of statistics is ever looked at.
//!
//! A life knows what was committed as it last looked. Every intent says how far that was, so that a
//! replay knows the same and no more. A published window never changes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
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
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// In the order of the stage's columns.
    rows: BTreeMap<(i64, Vec<String>), Vec<Option<i64>>>,
    read: Vec<SpanEntry>,
}

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
        Self { rows, read: Vec::new() }
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
        match self.rows.insert((window, key), values) {
            None => Ok(()),
            Some(_) => Err("a window has a group twice: `enrich` names too few of its groups"),
        }
    }
}

/// Reads what is committed, or, with `then`, what was known when it was.
pub fn read(
    place: &Place,
    said: &Enrich,
    signer: VerifyingKey,
    then: Option<&[SpanEntry]>,
) -> Result<Looked, RunFault> {
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
    let partitions = identity.ok_or_else(|| wrong("does not exist"))?.partitions;
    // Ends first: what lies before them has its manifest by then.
    let mut spans = Vec::new();
    for partition in 0..partitions {
        let (low, end) = topics.extent(&topic, partition, false, PATIENCE).map_err(&away)?;
        let mut span = SpanEntry { topic: topic.clone(), partition, start: low, end };
        if let Some(then) = then {
            let Some(known) = then.iter().find(|span| span.partition == partition) else {
                continue;
            };
            if known.start < low && known.end > low {
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
    let expect = Expect { topic: topic.clone(), keys: vec![signer], ..Expect::default() };
    let mut manifests = Manifests::new(expect);
    let mut strange = None;
    let (low, _) = read_manifests(&topics, &topic, 0, &mut |record| {
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
    manifests.settle(low);
    if let Some(what) = strange {
        return Err(wrong(what));
    }
    let mut known = Statistics { read: spans.clone(), ..Statistics::default() };
    for span in &spans {
        let all = 0..manifests.len();
        let mut lane = Lane::new(&manifests, span.partition, all, span.end);
        let mut open: BTreeMap<usize, Vec<Option<Vec<u8>>>> = BTreeMap::new();
        let mut outcome = Ok(());
        topics
            .read(&topic, span.partition, span.start, PATIENCE, &mut |raw| {
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
                    open.entry(manifest).or_default().push(raw.value.map(<[u8]>::to_vec));
                    if whole {
                        for value in open.remove(&manifest).unwrap_or_default() {
                            outcome = known.take(said, value.as_deref());
                            if outcome.is_err() {
                                return ControlFlow::Break(());
                            }
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
    }
    Ok(Looked::Known(known))
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
