//! What is counted of a sample: of each leaf how many values it has, how many different ones, and
//! in how many of them each detector finds something. Values are looked at and forgotten.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use arrow::array::Array;
use douane_schemas::batch::{Batch, RowKind};
use douane_schemas::canonical;
use douane_schemas::leaf::{LeafType, TableLeaves};
use douane_schemas::names;
use douane_transforms::StageFault;
use douane_transforms::detectors::{Detector, Detectors};
use serde_json::Value as Json;

use super::{Classified, FLOOR, Found, Proposal, propose};
use crate::config::Class;
use crate::scorecard;

/// Leaves that are counted at most; more names are data.
const LEAVES_MAX: usize = 10_000;
/// Different values of a leaf that are told apart.
const DISTINCT_MAX: usize = 100_000;
/// Objects inside each other that are walked.
const DEPTH_MAX: usize = 16;
/// Bytes of a value that are looked at.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// What sort of values a leaf has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Text,
    Number,
    Boolean,
    /// A date, a time or a timestamp, by its schema.
    Time,
    /// A list, or what is not taken apart.
    Other,
}

impl From<LeafType> for Sort {
    fn from(leaf_type: LeafType) -> Self {
        match leaf_type {
            LeafType::Boolean => Self::Boolean,
            LeafType::Int16
            | LeafType::Int32
            | LeafType::Int64
            | LeafType::Float32
            | LeafType::Float64
            | LeafType::Decimal { .. }
            | LeafType::VariableScaleDecimal => Self::Number,
            LeafType::Date
            | LeafType::Time
            | LeafType::MicroTime
            | LeafType::NanoTime
            | LeafType::Timestamp
            | LeafType::MicroTimestamp
            | LeafType::NanoTimestamp
            | LeafType::ZonedTimestamp
            | LeafType::ZonedTime
            | LeafType::Interval
            | LeafType::MicroDuration => Self::Time,
            LeafType::Array | LeafType::Opaque | LeafType::Bytes | LeafType::Bits => Self::Other,
            _ => Self::Text,
        }
    }
}

/// Counts of one leaf.
#[derive(Default)]
pub(super) struct Seen {
    /// A schema that the decoder holds records to declares it.
    known: bool,
    in_key: bool,
    pub sort: Sort,
    /// Records that have the leaf, with a value or null.
    there: u64,
    pub filled: u64,
    distinct: HashSet<u64>,
    /// Values that read like sentences.
    pub sentences: u64,
    /// Values in which a detector found something, one count a detector.
    found: Vec<u64>,
    /// Values that are nothing but a find.
    whole: Vec<u64>,
}

impl Seen {
    pub fn distinct(&self) -> u64 {
        self.distinct.len() as u64
    }
}

/// A sample as it grows.
pub(super) struct Sample {
    detectors: Detectors,
    kinds: Vec<Detector>,
    leaves: BTreeMap<String, Seen>,
    /// Values of names beyond [`LEAVES_MAX`].
    beyond: u64,
    pub records: u64,
    pub undecoded: u64,
}

/// Whether a record is JSON that brings its schema.
pub(super) fn has_schema(value: &[u8]) -> bool {
    let parsed: Option<Json> = serde_json::from_slice(value).ok();
    parsed.is_some_and(|json| json["schema"].is_object() && json.get("payload").is_some())
}

/// The record itself where it brings a schema, which nobody holds it to here.
fn payload(json: Json) -> Json {
    match json {
        Json::Object(mut members)
            if members.len() == 2
                && members.contains_key("schema")
                && members.contains_key("payload") =>
        {
            members.remove("payload").unwrap_or_default()
        }
        other => other,
    }
}

/// The row of a change event: after the change, or before a delete. What is no event is a row.
fn row(json: Json) -> Json {
    match json {
        Json::Object(mut members)
            if members.contains_key("op") && members.contains_key("after") =>
        {
            match members.remove("after") {
                Some(Json::Null) | None => members.remove("before").unwrap_or_default(),
                Some(after) => after,
            }
        }
        other => other,
    }
}

impl Sample {
    pub fn new() -> Result<Self, StageFault> {
        let kinds = scorecard::all();
        Ok(Self {
            detectors: Detectors::new(&kinds)?,
            kinds,
            leaves: BTreeMap::new(),
            beyond: 0,
            records: 0,
            undecoded: 0,
        })
    }

    /// A line of a file: with key and value apart, or a value alone.
    pub fn line(&mut self, line: &[u8]) {
        let parts = ["key", "value", "headers", "timestamp"];
        match serde_json::from_slice::<Json>(line) {
            Ok(Json::Object(mut members))
                if members.contains_key("value")
                    && members.keys().all(|name| parts.contains(&name.as_str())) =>
            {
                let key = members.remove("key");
                self.json(key, members.remove("value").unwrap_or_default());
            }
            Ok(value) => self.json(None, value),
            Err(_) => self.undecoded += 1,
        }
    }

    /// A record of JSON without a schema.
    pub fn record(&mut self, key: Option<&[u8]>, value: &[u8]) {
        let key = key.and_then(|key| serde_json::from_slice(key).ok());
        match serde_json::from_slice(value) {
            Ok(value) => self.json(key, value),
            Err(_) => self.undecoded += 1,
        }
    }

    fn json(&mut self, key: Option<Json>, value: Json) {
        let row = row(payload(value));
        if !row.is_object() {
            self.undecoded += u64::from(!row.is_null());
            return;
        }
        self.records += 1;
        self.walk("", &row, false, 0);
        if let Some(key) = key.map(payload)
            && key.is_object()
        {
            self.walk("", &key, true, 0);
        }
    }

    /// Of what is walked no name is known: it is what the sender wrote.
    fn walk(&mut self, path: &str, json: &Json, in_key: bool, depth: usize) {
        let at = (false, in_key);
        match json {
            Json::Object(members) if depth < DEPTH_MAX => {
                for (name, member) in members {
                    let below = match path {
                        "" => name.clone(),
                        path => format!("{path}.{name}"),
                    };
                    self.walk(&below, member, in_key, depth + 1);
                }
            }
            Json::Null => self.value(path, at, Sort::Text, None),
            Json::Bool(is) => {
                self.value(path, at, Sort::Boolean, Some(if *is { "true" } else { "false" }));
            }
            Json::Number(number) => {
                self.value(path, at, Sort::Number, Some(&number.to_string()));
            }
            Json::String(text) => self.value(path, at, Sort::Text, Some(text)),
            Json::Array(_) | Json::Object(_) => {
                self.value(path, at, Sort::Other, Some(&json.to_string()));
            }
        }
    }

    /// Rows of a batch that a decoder made: every name stands in a schema.
    pub fn batch(&mut self, leaves: &TableLeaves, batch: &Batch) {
        let upserts: Vec<usize> =
            (0..batch.len()).filter(|row| batch.origins[*row].kind() == RowKind::Upsert).collect();
        self.records += upserts.len() as u64;
        let rows = leaves.row.iter().map(|leaf| (leaf, format!("after.{}", leaf.path), false));
        let keys = leaves.key.iter().map(|leaf| (leaf, format!("key.{}", leaf.path), true));
        let mut text = String::new();
        for (leaf, column, in_key) in rows.chain(keys) {
            let Some(column) = batch.rows.column_by_name(&column) else { continue };
            for row in &upserts {
                text.clear();
                let valid = column.is_valid(*row);
                let written = valid && canonical::write(column, *row, &mut text).is_ok();
                let value = written.then_some(text.as_str());
                self.value(&leaf.path, (true, in_key), leaf.leaf_type.into(), value);
            }
        }
    }

    fn value(&mut self, path: &str, (known, in_key): (bool, bool), sort: Sort, text: Option<&str>) {
        if !self.leaves.contains_key(path) {
            if self.leaves.len() >= LEAVES_MAX {
                self.beyond += 1;
                return;
            }
            let counts = vec![0; self.kinds.len()];
            let seen =
                Seen { known, sort, found: counts.clone(), whole: counts, ..Seen::default() };
            self.leaves.insert(path.to_owned(), seen);
        }
        let Some(seen) = self.leaves.get_mut(path) else { return };
        seen.in_key |= in_key;
        // A leaf of the key mostly stands in the row as well, and was counted there.
        if in_key && seen.there >= self.records {
            return;
        }
        seen.there += 1;
        let Some(text) = text else { return };
        if seen.filled == 0 {
            seen.sort = sort;
        }
        seen.filled += 1;
        if seen.distinct.len() < DISTINCT_MAX {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            seen.distinct.insert(hasher.finish());
        }
        let text = text[..text.floor_char_boundary(TEXT_BYTES_MAX)].trim();
        seen.sentences += u64::from(text.split_whitespace().take(4).count() == 4);
        let mut found = vec![(false, false); self.kinds.len()];
        self.detectors.scan(text, |find| {
            if let Some(at) = self.kinds.iter().position(|kind| Some(*kind) == find.detector()) {
                found[at].0 = true;
                found[at].1 |= find.start == 0 && find.end == text.len();
            }
        });
        for (at, (found, whole)) in found.into_iter().enumerate() {
            seen.found[at] += u64::from(found);
            seen.whole[at] += u64::from(whole);
        }
    }

    /// Classes and their evidence.
    pub fn classified(self, source: &str) -> Classified {
        let keys = self.leaves.values().filter(|seen| seen.in_key).count();
        let mut leaves = Vec::new();
        let mut unnamed = self.beyond;
        for (path, seen) in &self.leaves {
            if !self.may_be_named(path, seen) {
                unnamed += 1;
                continue;
            }
            let by_detector = |counts: &[u64]| -> Vec<(&'static str, u64)> {
                let named = self.kinds.iter().map(|kind| kind.name());
                named.zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
            };
            let (found, whole) = (by_detector(&seen.found), by_detector(&seen.whole));
            let (class, why) = propose::class(path, seen, &found, &whole);
            let told = found.iter().filter(|(_, count)| *count >= FLOOR);
            leaves.push(Proposal {
                leaf: path.clone(),
                class,
                subject: seen.in_key && keys == 1 && class == Class::Identifier,
                why,
                filled: share(seen.filled, self.records),
                distinct: share(seen.distinct(), seen.filled),
                found: told
                    .map(|(detector, count)| Found { detector, share: share(*count, seen.filled) })
                    .collect(),
            });
        }
        let source = source.to_owned();
        Classified { source, records: self.records, undecoded: self.undecoded, leaves, unnamed }
    }

    /// A name that a schema vouches for, or one that many records have, that looks harmless, and
    /// in which no detector finds anything.
    fn may_be_named(&self, path: &str, seen: &Seen) -> bool {
        let plain = |part: &str| names::printable(part, seen.known, 0) == part;
        let mut found = false;
        self.detectors.scan(path, |_| found = true);
        path.split('.').all(plain) && (seen.known || seen.there >= FLOOR && !found)
    }
}

/// A share in words that say nothing of fewer than [`FLOOR`], on either side.
fn share(part: u64, whole: u64) -> &'static str {
    match part.saturating_mul(100).checked_div(whole) {
        _ if whole < FLOOR => "too few to say",
        _ if part < FLOOR && whole >= 2 * FLOOR => "fewer than 20",
        _ if whole - part.min(whole) < FLOOR => "(nearly) all",
        Some(0..10) => "under 10 %",
        Some(10..50) => "10 to 50 %",
        _ => "over 50 %",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_say_nothing_of_a_few() {
        for (part, whole, expected) in [
            (0, 0, "too few to say"),
            (19, 19, "too few to say"),
            (20, 20, "(nearly) all"),
            (0, 40, "fewer than 20"),
            (19, 1000, "fewer than 20"),
            (20, 1000, "under 10 %"),
            (100, 1000, "10 to 50 %"),
            (500, 1000, "over 50 %"),
            (980, 1000, "over 50 %"),
            (981, 1000, "(nearly) all"),
            (1000, 1000, "(nearly) all"),
        ] {
            assert_eq!(share(part, whole), expected, "{part} of {whole}");
        }
    }
}
