//! From decoded records to what one unit did in one window. No record says anything about another
//! unit's: what is left of a unit's records when all others are gone is what it was.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};
use douane_schemas::batch::{Batch, Op, Origin, RowKind};
use douane_schemas::canonical as text;
use douane_schemas::keys::Key;
use douane_schemas::tuple::Tuple;
use douane_transforms::dp::bounding::GroupKey;
use douane_transforms::dp::decimal::Decimal;
use douane_transforms::dp::sampler::Unit;

use super::store::{State, UnitKey};
use super::vector;
use crate::config::Aggregate;
use crate::config::aggregate::{Late, is_seen};

/// What one record does to one unit's rows of one window. It holds data and has no `Debug`.
pub struct Change {
    pub key: UnitKey,
    pub unit: Unit,
    /// The record's row in its batch.
    pub record: usize,
    /// Grows from change to change of a row.
    pub order: u64,
    /// The row: its key, or, where the table has none, its record's place.
    pub row: Vec<u8>,
    /// The row's state after it; None: it counts no longer.
    pub state: Option<Counted>,
}

/// A row that counts.
pub struct Counted {
    pub group: GroupKey,
    /// For each of the design's columns: whole steps within its bounds; then the vector's.
    pub values: Vec<i64>,
}

/// See the module.
pub struct Folding {
    aggregate: Aggregate,
    unit: Key,
    blind: Key,
}

/// The window of a row's time, and the one that it counts in, if it does.
struct InWindow {
    of: i64,
    counts_in: Option<i64>,
}

/// A record comes too late for a window, or the window is before the first one.
fn is_closed(state: &State, origin: &Origin, window: i64) -> bool {
    window < 0 || state.is_closed(window, origin.topic, origin.partition, origin.offset)
}

/// A record that is set aside: its row in the batch, and why.
pub type SetAside = (usize, &'static str);

impl Folding {
    /// `unit` makes the unit, `blind` what the store calls it.
    pub fn new(aggregate: &Aggregate, unit: Key, blind: Key) -> Self {
        Self { aggregate: aggregate.clone(), unit, blind }
    }

    /// What a batch does, record by record, and which of them are set aside.
    pub fn fold(&self, batch: &Batch, state: &State) -> (Vec<Change>, Vec<SetAside>) {
        let (mut changes, mut aside) = (Vec::new(), Vec::new());
        let images = Images::of(batch, self);
        for (row, origin) in batch.origins.iter().enumerate() {
            if let Err(code) = self.record(&images, row, origin, state, &mut changes) {
                aside.push((row, code));
            }
        }
        (changes, aside)
    }

    fn record(
        &self,
        images: &Images<'_>,
        row: usize,
        origin: &Origin,
        state: &State,
        changes: &mut Vec<Change>,
    ) -> Result<(), &'static str> {
        let closed = |window: i64| is_closed(state, origin, window);
        let key = images.row_key(row, origin);
        let before = images.before.as_ref().filter(|_| images.had_before(row));
        let was = before.and_then(|image| self.placed(image, row));
        let change = |(unit, window): (Unit, i64), state| Change {
            key: UnitKey { window, blind: self.blinded(unit) },
            unit,
            record: row,
            order: origin.offset.unsigned_abs(),
            row: key.clone(),
            state,
        };
        match origin.kind() {
            // The delete before it did all that there was to do.
            RowKind::Tombstone => Ok(()),
            RowKind::Delete => {
                let was = was.ok_or("aggregate_delete_without_image")?;
                // A closed window is what it is.
                if !closed(was.1) {
                    changes.push(change(was, None));
                }
                Ok(())
            }
            RowKind::Upsert => {
                let was = was.filter(|was| !closed(was.1));
                let (unit, window, counted) = match self.now(images, row, origin, state) {
                    Ok(now) => now,
                    // What it was it is no longer, whatever it is now.
                    Err(code) => {
                        changes.extend(was.map(|was| change(was, None)));
                        return Err(code);
                    }
                };
                if let Some(was) = was.filter(|was| *was != (unit, window.of)) {
                    changes.push(change(was, None));
                }
                if let Some(window) = window.counts_in {
                    changes.push(change((unit, window), counted));
                }
                Ok(())
            }
        }
    }

    /// What a row is by its record, and where that counts; or why it is set aside.
    fn now(
        &self,
        images: &Images<'_>,
        row: usize,
        origin: &Origin,
        state: &State,
    ) -> Result<(Unit, InWindow, Option<Counted>), &'static str> {
        let after = &images.after;
        let unit = after.unit(row, self).ok_or("aggregate_no_unit")?;
        let at_ms = after.time(row).ok_or("aggregate_no_time")?;
        let every = self.aggregate.every_ms as i64;
        if origin.timestamp_ms >= 0 && at_ms > origin.timestamp_ms.saturating_add(every) {
            return Err("aggregate_future");
        }
        let of = self.aggregate.window_of(at_ms);
        let closed = is_closed(state, origin, of);
        // A row that changes after its window was closed is no late row; one that appears is.
        let is_late = closed && matches!(origin.op, Op::Create) && of >= 0;
        let counts_in = match (is_late, self.aggregate.late) {
            (true, Late::Quarantine) => return Err("aggregate_late"),
            (true, Late::Current) => state.current(origin.topic, origin.partition, origin.offset),
            (false, _) => (!closed).then_some(of),
        };
        let counted = match counts_in {
            None => None,
            Some(_) => after.counted(row, &self.aggregate)?,
        };
        Ok((unit, InWindow { of, counts_in }, counted))
    }

    /// Whose row an image is, and in which window.
    fn placed(&self, image: &Image<'_>, row: usize) -> Option<(Unit, i64)> {
        let unit = image.unit(row, self)?;
        Some((unit, self.aggregate.window_of(image.time(row)?)))
    }

    fn blinded(&self, unit: Unit) -> [u8; 16] {
        let mac = self.blind.mac(Tuple::new().text("unit").bytes(&unit.0));
        let mut blind = [0; 16];
        blind.copy_from_slice(&mac[..16]);
        blind
    }
}

/// The columns of one image of the rows.
struct Image<'a> {
    unit: Option<&'a ArrayRef>,
    time: Option<&'a ArrayRef>,
    groups: Vec<Option<&'a ArrayRef>>,
    values: Vec<Option<&'a ArrayRef>>,
    vector: Option<&'a ArrayRef>,
}

struct Images<'a> {
    keys: Vec<&'a ArrayRef>,
    after: Image<'a>,
    before: Option<Image<'a>>,
    had: Option<&'a ArrayRef>,
}

impl<'a> Images<'a> {
    fn of(batch: &'a Batch, folding: &Folding) -> Self {
        let named =
            |prefix: &str, path: &str| batch.rows.column_by_name(&format!("{prefix}.{path}"));
        let image = |prefix: &str| Image {
            unit: named(prefix, &folding.aggregate.unit),
            time: named(prefix, &folding.aggregate.time),
            groups: folding.aggregate.groups.iter().map(|g| named(prefix, &g.leaf)).collect(),
            values: folding.aggregate.columns.iter().map(|leaf| named(prefix, leaf)).collect(),
            vector: folding.aggregate.vector.as_ref().and_then(|leaf| named(prefix, leaf)),
        };
        let schema = batch.rows.schema_ref();
        let key = |at: &usize| schema.field(*at).name().starts_with("key.");
        let had = batch.rows.column_by_name("before");
        Self {
            keys: (0..schema.fields().len()).filter(key).map(|at| batch.rows.column(at)).collect(),
            after: image("after"),
            before: had.map(|_| image("before")),
            had,
        }
    }

    fn had_before(&self, row: usize) -> bool {
        self.had.is_some_and(|had| {
            let had = had.as_boolean_opt();
            had.is_some_and(|had| !had.is_null(row) && had.value(row))
        })
    }

    /// What tells the row from others: never when it came.
    fn row_key(&self, row: usize, origin: &Origin) -> Vec<u8> {
        if self.keys.is_empty() {
            return Tuple::new()
                .number(u64::from(origin.topic))
                .signed(i64::from(origin.partition))
                .signed(origin.offset)
                .finish();
        }
        let mut tuple = Tuple::new().number(u64::from(origin.topic));
        for column in &self.keys {
            tuple = match cell(column, row) {
                Some(part) => tuple.text(&part),
                None => tuple.number(0),
            };
        }
        tuple.finish()
    }
}

impl Image<'_> {
    fn unit(&self, row: usize, folding: &Folding) -> Option<Unit> {
        let subject = cell(self.unit?, row)?;
        Some(Unit::new(&folding.unit, &folding.aggregate.space, &subject))
    }

    fn time(&self, row: usize) -> Option<i64> {
        instant_ms(self.time?, row)
    }

    /// The row as it counts; None where its group is not published, or where a number is missing.
    /// A vector that is none is a fault of who sends: it is set aside.
    fn counted(&self, row: usize, aggregate: &Aggregate) -> Result<Option<Counted>, &'static str> {
        let keys: Option<Vec<String>> =
            self.groups.iter().map(|column| cell((*column)?, row)).collect();
        let group = keys.as_ref().map(|keys| GroupKey::new(keys.iter().map(|k| Some(k.as_str()))));
        // Of groups that data select, those whose keys can be told.
        let seen = aggregate.threshold.is_none() || keys.iter().flatten().all(|key| is_seen(key));
        let Some(group) = group.filter(|group| seen && aggregate.design.admits(group)) else {
            return Ok(None);
        };
        let bounds = aggregate.design.columns().iter().zip(&self.values);
        let values: Option<Vec<i64>> =
            bounds.map(|(bounds, array)| Some(bounds.clamp(number((*array)?, row)?))).collect();
        let Some(mut values) = values else { return Ok(None) };
        if let Some(clip) = aggregate.design.clip() {
            let Some(vector) = self.vector.filter(|vector| !vector.is_null(row)) else {
                return Ok(None);
            };
            values.extend(vector::entries(vector, row, clip).ok_or("aggregate_vector")?);
        }
        Ok(Some(Counted { group, values }))
    }
}

/// A cell's canonical text; None for null and for what has none.
fn cell(array: &ArrayRef, row: usize) -> Option<String> {
    let mut out = String::new();
    (!array.is_null(row) && text::write(array, row, &mut out).is_ok()).then_some(out)
}

/// Milliseconds since the epoch; None for null and for what is no instant.
fn instant_ms(array: &ArrayRef, row: usize) -> Option<i64> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Date32 => {
            Some(i64::from(array.as_primitive::<Date32Type>().value(row)) * 86_400_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Some(array.as_primitive::<TimestampMillisecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Some(array.as_primitive::<TimestampMicrosecondType>().value(row).div_euclid(1_000))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Some(array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000_000))
        }
        DataType::Utf8 => {
            let text = array.as_string::<i32>().value(row);
            text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
        }
        _ => None,
    }
}

/// A number, exactly; None for null and for what is no number.
fn number(array: &ArrayRef, row: usize) -> Option<Decimal> {
    if array.is_null(row) {
        return None;
    }
    // What has more digits than any bound lies beyond all of them.
    let scaled = |value: Option<i128>, negative: bool, scale: i8| {
        let exact = value.and_then(|value| Decimal::new(value, -i32::from(scale)).ok());
        exact.or_else(|| Decimal::of_f64(if negative { f64::NEG_INFINITY } else { f64::INFINITY }))
    };
    let exact = |value: i64| Decimal::new(i128::from(value), 0).ok();
    match array.data_type() {
        DataType::Int16 => exact(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => exact(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => exact(array.as_primitive::<Int64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            scaled(Some(value), value < 0, *scale)
        }
        DataType::Decimal256(_, scale) => {
            let value = array.as_primitive::<Decimal256Type>().value(row);
            scaled(value.to_i128(), value.is_negative(), *scale)
        }
        DataType::Float32 => Decimal::of_f32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => Decimal::of_f64(array.as_primitive::<Float64Type>().value(row)),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray, TimestampMillisecondArray};
    use arrow::record_batch::RecordBatch;
    use douane_schemas::keys::{Purpose, RootKey};

    use super::*;
    use crate::aggregate::store::Read;
    use crate::config;

    const PLACE: &str = "\
clusters:
  sovereign: { zone: eu-de, id: s, bootstrap: 'a:9092' }
  global: { zone: global, id: g, bootstrap: 'b:9092', topic_prefix: '' }
keys: { dir: keys/ }
ledger: { dir: ledger/ }
trust: trust.json
tasks: 1
";
    const DAY_MS: i64 = 86_400_000;
    const FROM_MS: i64 = 1_767_571_200_000;

    pub(in crate::aggregate) fn aggregate(late: &str) -> Aggregate {
        let text = format!(
            "name: p
purpose: test
source: {{ kafka: {{ cluster: sovereign, topics: [t], format: debezium_json, start: earliest, key: [id] }} }}
classes: {{ id: identifier, who: {{ class: identifier, subject: true }}, city: public, at: quasi }}
types: {{ id: int64, who: int64, at: timestamp }}
stages:
  - aggregate:
      unit: {{ leaf: who, space: people }}
      neighbours: add_remove
      level: unit_period
      period: 30d
      window: {{ every: 1d, from: \"2026-01-05T00:00:00Z\", time: at, closes_after: 0s }}
      groups: [{{ leaf: city, keys: [Graz] }}]
      l0: 1
      c: 2
      statistics: [{{ name: n, count: rows }}]
      rho: 0.1
      caps: {{ period: 3, life: 9, delta: 1e-9 }}
      late: {late}
sink: {{ kafka: {{ cluster: global, topic: out, format: json, timestamp: 1h }} }}
release: p.release.json
"
        );
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("douane.yaml"), PLACE).unwrap();
        std::fs::write(dir.path().join("p.yaml"), text).unwrap();
        let loaded = config::load(&dir.path().join("douane.yaml"), &dir.path().join("p.yaml"));
        let (_, pipeline) = loaded.unwrap_or_else(|findings| panic!("{findings}"));
        pipeline.aggregate.unwrap()
    }

    /// Records of (offset, operation, day), one after the other in one partition.
    fn fold(late: &str, state: &State, records: &[(i64, Op, i64)]) -> (Vec<i64>, Vec<SetAside>) {
        let ids: ArrayRef = Arc::new(records.iter().map(|r| Some(r.0)).collect::<Int64Array>());
        let at = records.iter().map(|r| Some(FROM_MS + r.2 * DAY_MS));
        let at: ArrayRef = Arc::new(at.collect::<TimestampMillisecondArray>());
        let city: ArrayRef = Arc::new(StringArray::from(vec!["Graz"; records.len()]));
        let columns = [
            ("key.id", Arc::clone(&ids)),
            ("after.who", ids),
            ("after.city", city),
            ("after.at", at),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let origin = |(offset, op, _): &(i64, Op, i64)| Origin {
            topic: 0,
            partition: 0,
            offset: *offset,
            timestamp_ms: -1,
            op: *op,
            schema_id: None,
        };
        let batch = Batch { rows, origins: records.iter().map(origin).collect() };
        let key = |purpose| RootKey::new([4; 32]).derive(purpose, "people");
        let folding = Folding::new(&aggregate(late), key(Purpose::Unit), key(Purpose::Blind));
        let (changes, aside) = folding.fold(&batch, state);
        assert!(changes.iter().all(|change| change.state.is_some()));
        (changes.iter().map(|change| change.key.window).collect(), aside)
    }

    #[test]
    fn late_rows_count_in_the_window_that_is_closed_next_or_are_set_aside() {
        use Op::{Create, Update};
        // Two windows are closed, up to offset 10; the third one is pinned at 20.
        let read = Read { from: 10, pin: Some(20), ..Read::new(0, 0, 10) };
        let state = State::new([0; 32], 2, vec![read]);
        let records = [
            (12, Create, 2),
            (13, Create, 0),
            // It was there when its window was closed.
            (14, Update, 1),
            (21, Create, 2),
            (22, Create, 3),
            // Before the first window nothing is late.
            (23, Create, -1),
        ];
        let (windows, aside) = fold("current", &state, &records);
        assert_eq!((windows, aside), (vec![2, 2, 3, 3], vec![]));
        let (windows, aside) = fold("quarantine", &state, &records);
        let late = |row| (row, "aggregate_late");
        assert_eq!((windows, aside), (vec![2, 3], vec![late(1), late(3)]));
        // Read again, from before the closed windows' end: it counted there.
        let again = [(8, Create, 0), (9, Create, 2)];
        assert_eq!(fold("current", &state, &again), (vec![2], vec![]));
    }

    /// Changes of a row whose image before counted in window 2: (window, whether it counts).
    fn changed(after: (Option<i64>, i64), closing: i64) -> (Vec<(i64, bool)>, Vec<SetAside>) {
        let one = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
        let at = |day: i64| {
            let at = FROM_MS + day * DAY_MS;
            Arc::new(TimestampMillisecondArray::from(vec![at])) as ArrayRef
        };
        let city = || Arc::new(StringArray::from(vec!["Graz"])) as ArrayRef;
        let who: ArrayRef = Arc::new(Int64Array::from(vec![after.0]));
        let had: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true]));
        let columns = [
            ("key.id", one(1)),
            ("before", had),
            ("before.who", one(7)),
            ("before.city", city()),
            ("before.at", at(2)),
            ("after.who", who),
            ("after.city", city()),
            ("after.at", at(after.1)),
        ];
        let rows = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        );
        let origin = Origin {
            topic: 0,
            partition: 0,
            offset: 15,
            timestamp_ms: FROM_MS + 2 * DAY_MS,
            op: Op::Update,
            schema_id: None,
        };
        let batch = Batch { rows: rows.unwrap(), origins: vec![origin] };
        let key = |purpose| RootKey::new([4; 32]).derive(purpose, "people");
        let folding =
            Folding::new(&aggregate("quarantine"), key(Purpose::Unit), key(Purpose::Blind));
        let state = State::new([0; 32], closing, vec![Read { from: 10, ..Read::new(0, 0, 10) }]);
        let (changes, aside) = folding.fold(&batch, &state);
        (changes.iter().map(|c| (c.key.window, c.state.is_some())).collect(), aside)
    }

    #[test]
    fn a_changed_row_that_is_set_aside_counts_as_it_was_no_longer() {
        for (after, code) in [((None, 2), "aggregate_no_unit"), ((Some(7), 9), "aggregate_future")]
        {
            assert_eq!(changed(after, 2), (vec![(2, false)], vec![(0, code)]));
            // A closed window is what it is.
            assert_eq!(changed(after, 3), (vec![], vec![(0, code)]));
        }
        // The controls: one that stays, and one that moves.
        assert_eq!(changed((Some(7), 2), 2), (vec![(2, true)], vec![]));
        assert_eq!(changed((Some(7), 3), 2), (vec![(2, false), (3, true)], vec![]));
    }
}
