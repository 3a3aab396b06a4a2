//! Published statistics, read back from the global topic for `enrich`. What is read is what anybody
//! outside reads: integers with noise, each covered by a manifest that this place signed for the
//! pipeline of statistics. Nothing else of statistics is ever looked at.
//!
//! They are read once for all shards of a start ([`Published`]), and lie in memory: with more than
//! `mib_max` the pipeline stops and says so. A life knows what was committed as it last looked. Every
//! intent says how far that was, so that a replay knows the same and no more. A published window never
//! changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use douane_ledger::log::SpanEntry;
use douane_ledger::signing::VerifyingKey;
use serde_json::Value as Json;

use crate::config::aggregate::WINDOW_COLUMN;
use crate::config::{Enrich, Place};
use crate::fault::RunFault;

mod reading;

pub use reading::{Looked, Reading};

/// Between two looks at what is published.
const LOOK: Duration = Duration::from_secs(30);
/// What a row takes beside its texts and numbers, and what each of these takes beside itself: nodes
/// of trees, lengths, the allocator's own.
const ROW_BYTES: u64 = 192;
const TEXT_BYTES: u64 = 48;
const NUMBER_BYTES: u64 = 16;

/// Published statistics as all shards of a start know them: one reading, however many there are.
pub struct Published {
    said: Enrich,
    signer: VerifyingKey,
    latest: Mutex<Latest>,
}

/// The reading, and what came of it.
#[derive(Default)]
struct Latest {
    reading: Reading,
    known: Arc<Statistics>,
    /// When that was.
    read: Option<Instant>,
    /// When the last look failed, and why.
    failed: Option<(Instant, String)>,
}

impl Published {
    /// `signer`: of the manifests of this place.
    pub fn new(said: &Enrich, signer: VerifyingKey) -> Self {
        Self { said: said.clone(), signer, latest: Mutex::default() }
    }

    /// What is published, as of [`LOOK`] ago at most.
    pub fn known(&self, place: &Place) -> Result<Arc<Statistics>, RunFault> {
        self.read_by(|reading| reading.look(place, &self.said, self.signer, None))
    }

    /// Whoever comes while another shard looks waits, and takes what came of that look: a cluster that
    /// is away makes nobody wait for as many looks as there are shards.
    fn read_by(
        &self,
        look: impl FnOnce(&mut Reading) -> Result<Looked, RunFault>,
    ) -> Result<Arc<Statistics>, RunFault> {
        let came = Instant::now();
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.read.is_some_and(|read| read.elapsed() < LOOK) {
            return Ok(Arc::clone(&latest.known));
        }
        if let Some((_, why)) = latest.failed.as_ref().filter(|(failed, _)| *failed >= came) {
            return Err(RunFault::Again(why.clone()));
        }
        match look(&mut latest.reading) {
            Ok(Looked::Known(statistics)) => {
                latest.known = Arc::new(statistics);
                latest.read = Some(Instant::now());
                Ok(Arc::clone(&latest.known))
            }
            Ok(Looked::Gone(why)) => Err(RunFault::Again(why)),
            Err(fault) => {
                let fault = match fault {
                    RunFault::Unreachable { what, why } => {
                        RunFault::Again(format!("{what}: {why}"))
                    }
                    fault => fault,
                };
                latest.failed = Some((Instant::now(), fault.to_string()));
                Err(fault)
            }
        }
    }
}

/// Statistics by window and key. Published, and so with a `Debug`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Whoever holds an earlier answer shares its windows.
    windows: BTreeMap<i64, Arc<Window>>,
    read: Vec<SpanEntry>,
    rows: u64,
    bytes: u64,
}

/// By key; in the order of the stage's columns.
type Window = BTreeMap<Vec<String>, Vec<Option<i64>>>;

impl Statistics {
    /// The statistics of a window for a key.
    pub fn of(&self, window: i64, key: &[String]) -> Option<&[Option<i64>]> {
        self.windows.get(&window)?.get(key).map(Vec::as_slice)
    }

    /// How far they were read, for the intent.
    pub fn read(&self) -> &[SpanEntry] {
        &self.read
    }

    /// One number of one window and key.
    #[cfg(test)]
    pub fn published(window: i64, key: &str, number: i64) -> Self {
        let groups = BTreeMap::from([(vec![key.to_owned()], vec![Some(number)])]);
        let windows = BTreeMap::from([(window, Arc::new(groups))]);
        Self { windows, rows: 1, ..Self::default() }
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
        self.rows += 1;
        self.bytes += row_bytes(&key, &values);
        match Arc::make_mut(self.windows.entry(window).or_default()).insert(key, values) {
            None => Ok(()),
            Some(_) => Err("a window has a group twice: `enrich` names too few of its groups"),
        }
    }

    /// Whether there is room for them, `beside` what else is held while they are read.
    fn fits(&self, said: &Enrich, topic: &str, beside: u64) -> Result<(), RunFault> {
        if self.bytes.saturating_add(beside) <= said.bytes_max {
            return Ok(());
        }
        Err(RunFault::StatisticsMax {
            topic: topic.to_owned(),
            rows: self.rows,
            windows: self.windows.len(),
            mib_max: said.bytes_max >> 20,
        })
    }
}

/// What a row takes, roughly.
fn row_bytes(key: &[String], values: &[Option<i64>]) -> u64 {
    let texts: u64 = key.iter().map(|text| text.len() as u64 + TEXT_BYTES).sum();
    ROW_BYTES + texts + NUMBER_BYTES * values.len() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
            bytes_max: u64::MAX,
            mark: Mark::FILE,
        }
    }

    fn record(city: &str) -> String {
        format!(r#"{{"window_start":2000,"city":"{city}","n":1,"sum":1}}"#)
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

    #[test]
    fn what_has_no_room_is_said_with_what_was_found() {
        let mut said = said(&[("city", "town")]);
        said.bytes_max = 3 << 20;
        let mut known = Statistics::default();
        let fault = (0..100_000).find_map(|n| {
            known.take(&said, Some(record(&format!("city {n:05}")).as_bytes())).unwrap();
            known.fits(&said, "t", 0).err()
        });
        let Some(RunFault::StatisticsMax { topic, rows, windows, mib_max }) = fault else {
            panic!("{fault:?}");
        };
        assert_eq!((topic.as_str(), rows, windows, mib_max), ("t", known.rows, 1, 3));
        let row = row_bytes(&["city 00000".into()], &[Some(1), Some(1)]);
        assert_eq!(rows, (3 << 20) / row + 1, "the first that has no room");
        // With as much more it has; with what else is held it has not.
        said.bytes_max += row;
        assert!(known.fits(&said, "t", 0).is_ok());
        assert!(known.fits(&said, "t", row).is_err());
    }

    #[test]
    fn a_later_answer_shares_the_windows_of_an_earlier_one() {
        let said = said(&[("city", "town")]);
        let mut known = Statistics::default();
        known.take(&said, Some(record("Graz").as_bytes())).unwrap();
        let earlier = known.clone();
        let later = record("Graz").replace("2000", "3000");
        known.take(&said, Some(later.as_bytes())).unwrap();
        assert!(Arc::ptr_eq(&known.windows[&2], &earlier.windows[&2]));
        known.take(&said, Some(record("Bonn").as_bytes())).unwrap();
        assert!(!Arc::ptr_eq(&known.windows[&2], &earlier.windows[&2]));
        assert_eq!((earlier.rows, earlier.windows[&2].len()), (1, 1), "what was told stays");
    }

    /// So many shards that ask at once while nobody knows; what they were told, and looks.
    fn asked(
        shards: usize,
        published: &Published,
        works: bool,
    ) -> (Vec<Result<(), String>>, usize) {
        let (looks, barrier) = (AtomicUsize::new(0), Barrier::new(shards));
        let look = |_: &mut Reading| {
            looks.fetch_add(1, Ordering::SeqCst);
            // Until all others stand in line.
            std::thread::sleep(Duration::from_millis(200));
            match works {
                true => Ok(Looked::Known(Statistics::published(3, "Graz", 41))),
                false => Err(RunFault::Unreachable { what: "it".into(), why: "away".into() }),
            }
        };
        let ask = || {
            barrier.wait();
            let known = published.read_by(look).map_err(|fault| {
                assert!(fault.passes(), "{fault:?}");
                fault.to_string()
            })?;
            assert_eq!(known.of(3, &["Graz".to_owned()]), Some(&[Some(41)][..]));
            Ok(())
        };
        let told = std::thread::scope(|scope| {
            let all: Vec<_> = (0..shards).map(|_| scope.spawn(ask)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        (told, looks.into_inner())
    }

    #[test]
    fn shards_share_a_look_and_its_fault() {
        let published = Published::new(&said(&[]), VerifyingKey([0; 32]));
        let away = Err("it: away".to_owned());
        assert_eq!(asked(4, &published, false), (vec![away; 4], 1));
        // A fault is no answer to who comes after it.
        assert_eq!(asked(4, &published, true), (vec![Ok(()); 4], 1));
        assert_eq!(asked(4, &published, false), (vec![Ok(()); 4], 0), "it is known");
        published.latest.lock().unwrap().read = Instant::now().checked_sub(LOOK);
        assert_eq!(asked(1, &published, true), (vec![Ok(())], 1), "and looked for again");
    }
}
