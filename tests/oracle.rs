//! Says from what was fed and what can be read whether anything was lost, repeated or reordered.

use std::collections::{HashMap, HashSet};

use crate::cluster::Record;
use crate::customers::{Event, Op};

/// One source record that should cross.
#[derive(Clone)]
pub struct Expected {
    pub partition: i32,
    pub id: u64,
    /// The serial of the row version; none for a delete (its tombstone is part of it).
    pub serial: Option<u64>,
}

impl Expected {
    /// What a source event should become, if anything: a tombstone is one with its delete.
    pub fn of(event: &Event, partition: i32) -> Option<Self> {
        match event.op {
            Op::Create | Op::Update => {
                let serial = event.after.as_ref().map(|row| row.serial);
                Some(Self { partition, id: event.id, serial })
            }
            Op::Delete => Some(Self { partition, id: event.id, serial: None }),
            Op::Tombstone => None,
        }
    }
}

/// Counts; the first five are faults.
#[derive(Default, Debug, PartialEq, Eq, Clone)]
pub struct Verdict {
    pub lost: usize,
    pub duplicated: usize,
    /// Within one output key.
    pub reordered_in_key: usize,
    /// Within one target partition, among the records of one source partition.
    pub reordered_in_partition: usize,
    /// Records that no source record explains, and keys that stand for two ids or lie in two partitions.
    pub foreign: usize,
    pub read: usize,
    /// A delete's tombstone that came as a second null (it lay in another transaction than its delete).
    pub second_nulls: usize,
}

impl Verdict {
    pub fn clean(&self) -> bool {
        self.lost
            + self.duplicated
            + self.reordered_in_key
            + self.reordered_in_partition
            + self.foreign
            == 0
    }
}

/// How a reader of the target finds the serial in a value.
pub fn serial_in_json(record: &Record) -> Option<u64> {
    let value = record.value.as_deref()?;
    let at = value.windows(9).position(|window| window == b"\"serial\":")? + 9;
    let digits: String = value[at..]
        .iter()
        .map(|b| *b as char)
        .skip_while(|c| *c == '"')
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// Compares the whole of both sides. `actual` is one topic read to its end, within each partition in order.
pub fn judge(
    expected: &[Expected],
    actual: &[Record],
    serial_of: impl Fn(&Record) -> Option<u64>,
) -> Verdict {
    let mut verdict = Verdict { read: actual.len(), ..Verdict::default() };
    let by_serial: HashMap<u64, &Expected> =
        expected.iter().filter_map(|e| e.serial.map(|serial| (serial, e))).collect();
    let mut due: HashMap<u64, Vec<Option<u64>>> = HashMap::new();
    for record in expected {
        due.entry(record.id).or_default().push(record.serial);
    }

    let mut token_of: HashMap<u64, &[u8]> = HashMap::new();
    let mut id_of: HashMap<&[u8], u64> = HashMap::new();
    let mut partition_of: HashMap<&[u8], i32> = HashMap::new();
    let mut came: HashMap<&[u8], Vec<Option<u64>>> = HashMap::new();
    let mut last_in_partition: HashMap<(i32, i32), u64> = HashMap::new();
    for record in actual {
        let Some(token) = record.key.as_deref() else {
            verdict.foreign += 1;
            continue;
        };
        if *partition_of.entry(token).or_insert(record.partition) != record.partition {
            verdict.foreign += 1;
        }
        let serial = if record.value.is_some() { serial_of(record) } else { None };
        if record.value.is_some() {
            let Some(source) = serial.and_then(|serial| by_serial.get(&serial)) else {
                verdict.foreign += 1;
                continue;
            };
            let same_token = *token_of.entry(source.id).or_insert(token) == token;
            let same_id = *id_of.entry(token).or_insert(source.id) == source.id;
            if !same_token || !same_id {
                verdict.foreign += 1;
            }
            let serial = serial.expect("checked above");
            let last = last_in_partition.entry((record.partition, source.partition)).or_insert(0);
            if serial < *last {
                verdict.reordered_in_partition += 1;
            }
            *last = (*last).max(serial);
        }
        came.entry(token).or_default().push(serial);
    }

    let nothing = Vec::new();
    for (id, wanted) in &due {
        let found = token_of.get(id).map_or(&nothing, |token| &came[token]);
        compare(wanted, found, &mut verdict);
    }
    // a null whose key no upsert explains: an id all of whose upserts stayed behind, or a stranger
    let only_deletes = due.values().filter(|wanted| wanted.iter().all(Option::is_none)).count();
    let strangers = came.keys().filter(|token| !id_of.contains_key(*token)).count();
    verdict.foreign += strangers.saturating_sub(only_deletes);
    if strangers > 0 {
        verdict.lost = verdict.lost.saturating_sub(strangers.min(only_deletes));
    }
    verdict
}

/// One key's records: what should be there against what is, both in order.
fn compare(wanted: &[Option<u64>], found: &[Option<u64>], verdict: &mut Verdict) {
    let mut seen = HashSet::new();
    let mut last = None;
    for serial in found.iter().flatten() {
        if !seen.insert(*serial) {
            verdict.duplicated += 1;
        } else if last.is_some_and(|last| *serial < last) {
            verdict.reordered_in_key += 1;
        }
        last = Some(*serial);
    }
    verdict.lost += wanted.iter().flatten().filter(|serial| !seen.contains(serial)).count();

    let deletes = wanted.iter().filter(|serial| serial.is_none()).count();
    let nulls = found.iter().filter(|serial| serial.is_none()).count();
    verdict.lost += deletes.saturating_sub(nulls);
    let extra = nulls.saturating_sub(deletes);
    let allowed = extra.min(deletes);
    verdict.second_nulls += allowed;
    verdict.duplicated += extra - allowed;
    // an id never comes back: its delete is the last thing of its key
    if deletes > 0 && nulls > 0 && found.last().is_some_and(Option::is_some) {
        verdict.reordered_in_key += 1;
    }
}
