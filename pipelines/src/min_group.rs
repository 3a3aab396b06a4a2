//! `min_group`: a row crosses only if rows of at least k subjects have the same quasi-identifiers in
//! its window. A window is what the source's partitions hold between two ticks of `publish`.
//!
//! Rows are counted as they would cross, after their stages: who looks from outside sees those. A row
//! whose group is too small is treated as one that left WHERE: it stays behind, and an earlier state
//! of it that crossed is withdrawn. Counting reads the window once before it crosses; Kafka is the
//! buffer. What is counted lies in a store as open windows do (`aggregate/store.rs`): keyed digests of
//! groups, with those of at most k subjects each.
//!
//! At a record that holds its partition the window ends there: what lies behind it goes on some day, and
//! is counted then. Nothing crosses by counts that it is not in.
//!
//! | step | what is true if the process dies after it |
//! |---|---|
//! | 1. at the tick: where the window ends in each partition, into the store | the same window |
//! | 2. counted to there, with the offsets that the counts are of; at a record that holds, that is where the window ends | the same counts, counted on |
//! | 3. its rows cross; every intent and every position names the window | what is left of it crosses by the same counts |
//!
//! A store that is lost is counted again, from the window that the position names. So is one of other
//! files: nothing of a small group crosses because somebody else's rule counted it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use douane_connectors::control_switch;
use douane_ledger::canonical::sha256;
use douane_ledger::log::SpanEntry;
use douane_ledger::release::Truncate;
use douane_schemas::batch::RowKind;
use douane_schemas::canonical as text;
use douane_schemas::debezium::{Decoder, Hold, Refusal, WriterSchemas};
use douane_schemas::keys::{Key, Purpose, RootKey};
use douane_schemas::record::RawRecord;
use douane_schemas::tuple::Tuple;

use crate::aggregate::store::{Read, State, Store, UnitKey};
use crate::config::{Pipeline, Place as Config};
use crate::crossing::Crossing;
use crate::fault::RunFault;
use crate::hold::Reason;
use crate::merge::Withdrawal;
use crate::plan::{MinGroup, Plan, StageStop, Staged, Stages};
use crate::position::{Counted, Place};
use crate::stop::Stop;
use crate::turn::Source;

/// Bytes of a digest of a group or of a subject.
const BLIND_LEN: usize = 16;
/// Rows that go through the stages at once while a window is counted.
const ROWS: usize = 5_000;
/// Counting one partition of one window; what was counted until then is kept.
const COUNTING: Duration = Duration::from_secs(600);
/// Source partitions at most: every intent names the window in each, and an entry of the ledger has
/// at most 65,535 bytes.
const PARTITIONS_MAX: usize = 64;

/// A keyed digest. Nobody outside the process sees one.
type Blind = [u8; BLIND_LEN];

/// A row that may cross: its group, and whose it is. Without a subject it is nobody's, and makes no
/// group larger.
#[derive(Clone, Copy)]
pub struct Member {
    offset: i64,
    row: usize,
    group: Blind,
    unit: Option<Blind>,
}

impl Member {
    /// Its row in the batch.
    pub fn row(&self) -> usize {
        self.row
    }
}

/// What makes a group of rows.
pub struct Groups {
    group: MinGroup,
    key: Key,
}

impl Groups {
    /// `None`: the pipeline counts nobody.
    pub fn of(plan: &Plan, pipeline: &Pipeline, root: &RootKey) -> Option<Self> {
        let group = plan.min_group.clone()?;
        let key = root.derive(Purpose::Blind, &format!("{}/min_group", pipeline.name));
        Some(Self { group, key })
    }

    /// The rows of a batch that would cross, as far as WHERE has its say.
    pub fn members(&self, staged: &Staged) -> Result<Vec<Member>, RunFault> {
        let columns = self.group.columns.iter().map(|name| column(&staged.columns, name));
        let columns = columns.collect::<Result<Vec<_>, RunFault>>()?;
        let unit = column(&staged.batch.rows, &self.group.unit)?;
        let mut members = Vec::new();
        for (row, origin) in staged.batch.origins.iter().enumerate() {
            if origin.kind() != RowKind::Upsert || staged.outside[row] {
                continue;
            }
            members.push(Member {
                offset: origin.offset,
                row,
                group: self.blind("group", &columns, row)?,
                unit: match unit.is_null(row) {
                    true => None,
                    false => Some(self.blind("unit", &[unit], row)?),
                },
            });
        }
        Ok(members)
    }

    fn blind(&self, what: &str, columns: &[&ArrayRef], row: usize) -> Result<Blind, RunFault> {
        let mut tuple = Tuple::new().text(what);
        let mut part = String::new();
        for column in columns {
            part.clear();
            tuple = match column.is_null(row) {
                true => tuple.number(0),
                false => {
                    text::write(column, row, &mut part)
                        .map_err(|_| RunFault::Gate("a column of a group has no text".into()))?;
                    tuple.text(&part)
                }
            };
        }
        let mut blind = [0; BLIND_LEN];
        blind.copy_from_slice(&self.key.mac(tuple)[..BLIND_LEN]);
        Ok(blind)
    }

    /// Takes the rows of small groups out of what crosses.
    pub fn hold_back(
        &self,
        staged: &mut Staged,
        members: &[Member],
        units: impl Fn(&Blind) -> usize,
    ) {
        for member in members {
            staged.outside[member.row] |= units(&member.group) < self.group.k as usize;
        }
    }
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef, RunFault> {
    let column = batch.column_by_name(name);
    column.ok_or_else(|| RunFault::Gate(format!("column `{name}` of a group is not there")))
}

/// Adds a unit to those of a group, of which k are as good as more.
fn add(units: &mut Vec<u8>, unit: &Blind, k: u32) {
    let known = || units.chunks_exact(BLIND_LEN).any(|known| known == unit);
    if units.len() < k as usize * BLIND_LEN && !known() {
        units.extend_from_slice(unit);
    }
}

/// What a group costs in memory beside its units.
const GROUP_BYTES: u64 = 64;

/// A window's groups, in memory.
#[derive(Default)]
pub struct Tally {
    groups: BTreeMap<Blind, Vec<u8>>,
    bytes: u64,
}

impl Tally {
    /// Within `bytes_max`, as the run's store is.
    pub fn add(
        &mut self,
        groups: &Groups,
        members: &[Member],
        bytes_max: u64,
    ) -> Result<(), RunFault> {
        for Member { group, unit, .. } in members {
            if let Some(unit) = unit {
                self.count(group, unit, groups.group.k);
            }
        }
        match self.bytes > bytes_max {
            false => Ok(()),
            true => Err(no_room(bytes_max)),
        }
    }

    fn count(&mut self, group: &Blind, unit: &Blind, k: u32) {
        let units = self.groups.entry(*group).or_insert_with(|| {
            self.bytes += GROUP_BYTES;
            Vec::new()
        });
        let before = units.len();
        add(units, unit, k);
        self.bytes += (units.len() - before) as u64;
    }

    /// What it takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Distinct units of a group, k at most.
    pub fn units(&self, group: &Blind) -> usize {
        self.groups.get(group).map_or(0, |units| units.len() / BLIND_LEN)
    }
}

fn no_room(bytes_max: u64) -> RunFault {
    RunFault::Window(format!(
        "`min_group` has no room: a window's groups take more than {bytes_max} bytes\n  next: raise \
         `state: {{ mib_max }}` in douane.yaml, or publish more often"
    ))
}

/// The first record that holds its partition: neither it nor what lies behind it is counted.
pub struct Cut {
    offset: i64,
    reason: Reason,
}

/// One partition's part of a window, read to be counted: what decoder and stages let through, up to the
/// first record that holds the partition. A shard and a replay count by this alone.
pub struct Reading<'a> {
    pub groups: &'a Groups,
    pub stages: &'a Stages,
    pub stopped: &'a dyn Fn(StageStop) -> RunFault,
    decoder: Decoder,
    withdrawal: Option<Withdrawal>,
    drops_truncates: bool,
    next: i64,
}

/// Takes counted rows, and the offset that they reach to.
pub type Take<'t> = &'t mut dyn FnMut(&[Member], i64) -> Result<(), RunFault>;

impl<'a> Reading<'a> {
    pub fn new(
        groups: &'a Groups,
        stages: &'a Stages,
        plan: &Plan,
        pipeline: &Pipeline,
        stopped: &'a dyn Fn(StageStop) -> RunFault,
    ) -> Self {
        Self {
            groups,
            stages,
            stopped,
            decoder: plan.decoder(pipeline),
            withdrawal: Withdrawal::of(plan, &pipeline.changes),
            drops_truncates: pipeline.changes.truncate == Truncate::Drop,
            next: 0,
        }
    }

    /// Takes a record, or says where the partition is held: [`Self::flush`] may find an earlier place.
    pub fn push(
        &mut self,
        record: &RawRecord<'_>,
        schemas: &mut dyn WriterSchemas,
        take: Take<'_>,
    ) -> Result<Option<Cut>, RunFault> {
        let cut = |reason| Ok(Some(Cut { offset: record.offset, reason }));
        let mut pushed = self.decoder.push(record, schemas);
        if matches!(pushed, Err(Refusal::Full)) {
            if let Some(cut) = self.flush(take)? {
                return Ok(Some(cut));
            }
            pushed = self.decoder.push(record, schemas);
        }
        match pushed {
            Ok(()) => {}
            Err(Refusal::Quarantine(code)) => {
                let op = self.decoder.op();
                if self.withdrawal.is_some_and(|withdrawal| withdrawal.reaches(op)) {
                    return cut(Reason::where_undecided(code.code(), None));
                }
            }
            Err(Refusal::Hold(Hold::Truncate)) if self.drops_truncates => {}
            Err(Refusal::Hold(hold)) => return cut(Reason::from(&hold)),
            Err(Refusal::Full) => {
                return Err(RunFault::Gate("one record is more than a batch takes".into()));
            }
            Err(Refusal::Away(why)) => return Err(RunFault::Again(why.to_string())),
        }
        self.next = record.offset + 1;
        match self.decoder.len() >= ROWS {
            true => self.flush(take),
            false => Ok(None),
        }
    }

    /// Counts what was taken. Says as [`Self::push`].
    pub fn flush(&mut self, take: Take<'_>) -> Result<Option<Cut>, RunFault> {
        let batch = self.decoder.finish();
        // Who writes down what stays behind is the turn that it crosses in.
        self.decoder.take_stripped();
        let staged = self.stages.apply(batch).map_err(self.stopped)?;
        let holds = staged.refused.iter().filter_map(|row| {
            let of = (row.code, row.column.as_deref());
            let reason = Reason::of_refused(&row.origin, self.withdrawal, of)?;
            Some(Cut { offset: row.origin.offset, reason })
        });
        let cut = holds.min_by_key(|cut| cut.offset);
        let end = cut.as_ref().map_or(self.next, |cut| cut.offset);
        let mut members = self.groups.members(&staged)?;
        members.retain(|member| member.offset < end);
        take(&members, end)?;
        Ok(cut)
    }
}

/// Where a pipeline's windows are counted. No other store has such a name: pipelines of statistics
/// have no tables.
fn store_path(place: &Config, pipeline: &Pipeline) -> PathBuf {
    place.state.dir.join(format!("{}.groups.redb", pipeline.name))
}

/// The windows of one shard, one after the other.
pub struct Counter {
    groups: Groups,
    kept_by: [u8; 32],
    store: Store,
    state: State,
    bytes_max: u64,
    /// Where counting ended at a record that holds, until that partition is held.
    cuts: BTreeMap<Source, Cut>,
}

/// Where a record lies that comes while a window crosses.
pub enum Lies {
    Within,
    /// Behind its end.
    Beyond,
    /// At its end, where counting found that it holds its partition.
    Held(Reason),
}

impl Counter {
    /// Goes on where the target stands. `window`: what its position names. `None`: nobody counts.
    pub fn open(
        crossing: &Crossing,
        places: &[Place],
        window: Option<&[Counted]>,
    ) -> Result<Option<Self>, RunFault> {
        let Crossing { plan, pipeline, keys, place, .. } = crossing;
        let Some(groups) = Groups::of(plan, pipeline, keys.root()) else { return Ok(None) };
        if places.len() > PARTITIONS_MAX {
            return Err(RunFault::Window(format!(
                "{}: the source has {} partitions, and `min_group` counts over at most \
                 {PARTITIONS_MAX}\n  next: read fewer topics, or topics of fewer partitions, in one \
                 pipeline",
                pipeline.file.display(),
                places.len()
            )));
        }
        let wraps = keys.pipeline_keys(Purpose::Store, &format!("min_group/{}", pipeline.name));
        let (store, known) = Store::open(&store_path(place, pipeline), &wraps)?;
        let kept_by = Tuple::new().text("min_group").text(&crossing.release.fingerprint);
        let kept_by = sha256(&kept_by.bytes(&groups.key.id().0).finish());
        let (number, bytes) =
            known.as_ref().map_or((0, 0), |known| (known.closing + 1, known.bytes));
        let known = known.filter(|known| known.kept_by == kept_by);
        let wanted = unfinished(places, window);
        let goes_on = |state: &State| match &wanted {
            Some(reads) => same(&state.reads, reads),
            None => state.is_pinned() && begins_at(&state.reads, places),
        };
        let mut state = known.filter(goes_on).unwrap_or_else(|| {
            let fresh = |p: &Place| Read::new(p.topic, p.partition, p.next);
            let reads = wanted.unwrap_or_else(|| places.iter().map(fresh).collect());
            State { bytes, ..State::new(kept_by, number, reads) }
        });
        store.drop_closed(&mut state, &[])?;
        let bytes_max = place.state.bytes_max;
        Ok(Some(Self { groups, kept_by, store, state, bytes_max, cuts: BTreeMap::new() }))
    }

    /// Where the window ends, once that is fixed.
    pub fn ends(&self) -> Option<BTreeMap<Source, i64>> {
        let end = |read: &Read| Some(((read.topic, read.partition), read.pin?));
        self.state.reads.iter().map(end).collect()
    }

    /// A record that holds is told once, whatever it would be by now: behind the window it is counted
    /// again.
    pub fn lies(&mut self, source: Source, offset: i64) -> Lies {
        let pin = self.state.read(source.0, source.1).and_then(|read| read.pin);
        match pin.is_none_or(|pin| offset >= pin) {
            false => Lies::Within,
            true => match self.cuts.remove(&source).filter(|cut| cut.offset == offset) {
                Some(cut) => Lies::Held(cut.reason),
                None => Lies::Beyond,
            },
        }
    }

    /// The next window ends at `ends`. What waits for people is in none.
    pub fn pin<'p>(
        &mut self,
        places: impl Iterator<Item = &'p Place>,
        ends: &BTreeMap<Source, i64>,
    ) -> Result<(), RunFault> {
        let reads = places.map(|place| {
            let end = ends.get(&(place.topic, place.partition)).copied().unwrap_or(place.next);
            let pin = Some(end.max(place.next));
            Read { pin, ..Read::new(place.topic, place.partition, place.next) }
        });
        let next = State::new(self.kept_by, self.state.closing + 1, reads.collect());
        let mut state = State { bytes: self.state.bytes, ..next };
        self.store.drop_closed(&mut state, &[])?;
        self.state = state;
        self.cuts.clear();
        // Crash here: the next life counts the same window.
        control_switch::die_at("grouped");
        Ok(())
    }

    /// Reads the window once, to its end or until asked to stop. Says whether it is counted.
    pub fn count(
        &mut self,
        crossing: &Crossing,
        stages: &Stages,
        stop: &Stop<'_>,
    ) -> Result<bool, RunFault> {
        if self.state.is_whole() {
            return Ok(true);
        }
        for at in 0..self.state.reads.len() {
            if !stop.is_set() {
                self.count_partition(at, crossing, stages, stop)?;
            }
        }
        // Crash here: what the store has is counted on from where it stands.
        self.store.commit(&mut self.state)?;
        let whole = self.state.is_whole();
        if whole {
            control_switch::die_at("counted");
        }
        Ok(whole)
    }

    fn count_partition(
        &mut self,
        at: usize,
        crossing: &Crossing,
        stages: &Stages,
        stop: &Stop<'_>,
    ) -> Result<(), RunFault> {
        let (groups, bytes_max) = (&self.groups, self.bytes_max);
        let (store, state) = (&mut self.store, &mut self.state);
        let (topic, partition, from) =
            (state.reads[at].topic, state.reads[at].partition, state.reads[at].next);
        let Some(pin) = state.reads[at].pin.filter(|pin| from < *pin) else { return Ok(()) };
        let stopped = |stop| crossing.stopped(stop);
        let mut reading =
            Reading::new(groups, stages, &crossing.plan, &crossing.pipeline, &stopped);
        let mut take = |members: &[Member], next: i64| -> Result<(), RunFault> {
            put(store, groups.group.k, state.closing, members)?;
            state.reads[at].next = next.clamp(from, pin);
            if store.is_due() {
                store.commit(state)?;
            }
            match state.bytes > bytes_max {
                false => Ok(()),
                true => Err(no_room(bytes_max)),
            }
        };
        let mut outcome = Ok(None);
        let mut each = |record: &RawRecord<'_>| {
            if record.offset >= pin || stop.is_set() {
                return ControlFlow::Break(());
            }
            let record = RawRecord { topic, ..*record };
            outcome = reading.push(&record, crossing.schemas().as_mut(), &mut take);
            match outcome {
                Ok(None) if record.offset + 1 < pin => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        let edge = &crossing.edges.sovereign;
        let (name, asked) = (crossing.topic_name(topic), || stop.is_set());
        edge.scan_unless(&asked, name, partition, from, COUNTING, &mut each)
            .map_err(crossing.source_fault())?;
        // Rows that were taken before a record that holds are in the window.
        let held = outcome?;
        match reading.flush(&mut take)?.or(held) {
            // Crash before this is in the store: the next life counts on, to the same record.
            Some(cut) => {
                state.reads[at].next = cut.offset;
                state.reads[at].pin = Some(cut.offset);
                self.cuts.insert((topic, partition), cut);
            }
            // At a log's end may stand what is no record.
            None if !stop.is_set() => state.reads[at].next = pin,
            None => {}
        }
        Ok(())
    }

    /// Takes the rows of small groups out of what crosses.
    pub fn hold_back(&self, staged: &mut Staged) -> Result<(), RunFault> {
        let members = self.groups.members(staged)?;
        let key = |group: &Blind| UnitKey { window: self.state.closing, blind: *group };
        let known = self.store.units(members.iter().map(|member| key(&member.group)))?;
        let units = |group: &Blind| known.get(&key(group)).map_or(0, |u| u.len() / BLIND_LEN);
        self.groups.hold_back(staged, &members, units);
        Ok(())
    }

    /// The window, for the position.
    pub fn counted(&self) -> Vec<Counted> {
        let counted = |read: &Read| {
            let Read { topic, partition, from: start, pin, .. } = *read;
            Counted { topic, partition, start, end: pin.unwrap_or(start) }
        };
        self.state.reads.iter().map(counted).collect()
    }

    /// The window, for an intent: where anything is in it.
    pub fn spans(&self, crossing: &Crossing) -> Vec<SpanEntry> {
        let counted = self.counted().into_iter().filter(|counted| counted.start < counted.end);
        let span = |Counted { topic, partition, start, end }| SpanEntry {
            topic: crossing.topic_name(topic).to_owned(),
            partition,
            start,
            end,
        };
        counted.map(span).collect()
    }
}

/// Adds what was counted to what the store has of its groups.
fn put(store: &mut Store, k: u32, window: i64, members: &[Member]) -> Result<(), RunFault> {
    let mut units: BTreeMap<UnitKey, Vec<Blind>> = BTreeMap::new();
    for Member { group, unit, .. } in members {
        let key = UnitKey { window, blind: *group };
        units.entry(key).or_default().extend(unit);
    }
    let known = store.units(units.keys().copied())?;
    let mut grown = BTreeMap::new();
    for (key, units) in units {
        let before = known.get(&key).cloned().unwrap_or_default();
        let mut now = before.clone();
        units.iter().for_each(|unit| add(&mut now, unit, k));
        if now.len() > before.len() {
            grown.insert(key, now);
        }
    }
    store.take(grown, Vec::new());
    Ok(())
}

/// The window that the position names, where anything of it has not crossed yet.
fn unfinished(places: &[Place], window: Option<&[Counted]>) -> Option<Vec<Read>> {
    let window = window?;
    let next = |counted: &Counted| {
        let mut places = places.iter();
        let mine = |p: &&Place| (p.topic, p.partition) == (counted.topic, counted.partition);
        places.find(mine).map(|place| place.next)
    };
    let open = |counted: &Counted| next(counted).is_some_and(|next| next < counted.end);
    let read = |counted: &Counted| {
        let read = Read::new(counted.topic, counted.partition, counted.start);
        Read { pin: Some(counted.end), ..read }
    };
    window.iter().any(open).then(|| window.iter().map(read).collect())
}

fn place_of(read: &Read) -> (u32, i32, i64) {
    (read.topic, read.partition, read.from)
}

/// Two windows are one.
fn same(one: &[Read], other: &[Read]) -> bool {
    let ends = |reads: &[Read]| -> BTreeSet<_> {
        reads.iter().map(|read| (place_of(read), read.pin)).collect()
    };
    ends(one) == ends(other)
}

/// A window begins where the target stands: nothing of it has crossed.
fn begins_at(reads: &[Read], places: &[Place]) -> bool {
    let begins = |place: &Place| (place.topic, place.partition, place.next);
    let stands: BTreeSet<_> = places.iter().map(begins).collect();
    reads.iter().map(place_of).collect::<BTreeSet<_>>() == stands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blind(byte: u8) -> Blind {
        [byte; BLIND_LEN]
    }

    #[test]
    fn of_a_group_k_units_are_kept_and_each_once() {
        let mut units = Vec::new();
        for (unit, known) in [(1, 1), (1, 1), (2, 2), (1, 2), (3, 3), (4, 3), (3, 3)] {
            add(&mut units, &blind(unit), 3);
            assert_eq!(units.len(), known * BLIND_LEN, "{unit}");
        }
        // Whichever came first, they are as many.
        let mut others = Vec::new();
        [4, 3, 3, 2, 1].iter().for_each(|unit| add(&mut others, &blind(*unit), 3));
        assert_eq!(others.len(), units.len());
    }

    #[test]
    fn a_tally_knows_what_it_takes() {
        let mut tally = Tally::default();
        for n in 0..100 {
            tally.count(&blind(n % 10), &blind(n), 3);
        }
        assert_eq!(tally.bytes(), 10 * (GROUP_BYTES + 3 * BLIND_LEN as u64));
        assert_eq!((tally.units(&blind(0)), tally.units(&blind(77))), (3, 0));
    }

    fn place(partition: i32, next: i64) -> Place {
        Place { topic: 0, partition, next, deleted: None, held: None, mark: None }
    }

    fn counted(partition: i32, start: i64, end: i64) -> Counted {
        Counted { topic: 0, partition, start, end }
    }

    fn pinned(window: &[Counted]) -> Vec<Read> {
        unfinished(&[place(window[0].partition, i64::MIN)], Some(window)).unwrap()
    }

    #[test]
    fn a_window_goes_on_until_all_of_it_has_crossed() {
        let window = [counted(0, 5, 20), counted(1, 0, 9)];
        for (stands, open) in [
            ([place(0, 5), place(1, 0)], true),
            ([place(0, 20), place(1, 8)], true),
            ([place(0, 20), place(1, 9)], false),
            ([place(0, 25), place(1, 9)], false),
        ] {
            let found = unfinished(&stands, Some(&window));
            assert_eq!(found.is_some(), open, "{stands:?}");
        }
        assert!(unfinished(&[place(0, 0)], None).is_none());
        let reads = pinned(&window);
        assert_eq!(reads[0].from, 5);
        assert_eq!((reads[0].next, reads[0].pin), (5, Some(20)), "nothing of it is counted");
    }

    #[test]
    fn a_store_goes_on_with_the_same_window_and_no_other() {
        let reads = pinned(&[counted(0, 5, 20), counted(1, 0, 9)]);
        assert!(same(&reads, &pinned(&[counted(1, 0, 9), counted(0, 5, 20)])), "in any order");
        for other in [
            pinned(&[counted(0, 5, 21), counted(1, 0, 9)]),
            pinned(&[counted(0, 4, 20), counted(1, 0, 9)]),
            pinned(&[counted(0, 5, 20)]),
        ] {
            assert!(!same(&reads, &other));
        }
        // How far it is counted is another matter.
        let mut further = reads.clone();
        further[0].next = 17;
        assert!(same(&reads, &further) && begins_at(&further, &[place(0, 5), place(1, 0)]));
        assert!(!begins_at(&reads, &[place(0, 6), place(1, 0)]));
        assert!(!begins_at(&reads, &[place(0, 5)]));
    }
}
