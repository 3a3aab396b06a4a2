//! Two records that differ in one leaf: whatever differs of what comes out must be explained by
//! the proof. Markers miss what crosses in part; a pair does not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::plan::Part;
use crate::proof::Proof;

/// What became of one record, so that two can be compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Out {
    pub(super) partition: i32,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Json>,
    pub(super) timestamp_ms: i64,
    pub(super) headers: Vec<(String, Vec<u8>)>,
}

impl Out {
    /// Columns by name: of an envelope those of the row after the change.
    fn columns(&self) -> BTreeMap<&str, &Json> {
        let row = self.value.as_ref();
        let row = row.and_then(|v| v.get("after").filter(|after| after.is_object()).or(Some(v)));
        let row = row.and_then(Json::as_object);
        row.into_iter().flatten().map(|(name, cell)| (name.as_str(), cell)).collect()
    }
}

/// What differs between the records that two inputs became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// One of them crossed, or in more records than the other.
    pub(super) count: bool,
    pub(super) key: bool,
    pub(super) columns: BTreeSet<String>,
    /// The time of the record, its headers.
    pub(super) beside: BTreeSet<&'static str>,
}

impl Difference {
    pub(super) fn of(one: &[Out], other: &[Out]) -> Self {
        let mut found = Self { count: one.len() != other.len(), ..Self::default() };
        for (a, b) in one.iter().zip(other) {
            found.count |= a.value.is_some() != b.value.is_some();
            // The partition is computed of the key, and of nothing else.
            found.key |= a.key != b.key;
            if a.key == b.key && a.partition != b.partition {
                found.beside.insert("partition");
            }
            if a.timestamp_ms != b.timestamp_ms {
                found.beside.insert("timestamp");
            }
            if a.headers != b.headers {
                found.beside.insert("headers");
            }
            let (a, b) = (a.columns(), b.columns());
            let names: BTreeSet<&str> = a.keys().chain(b.keys()).copied().collect();
            let differ = names.into_iter().filter(|name| a.get(name) != b.get(name));
            found.columns.extend(differ.map(str::to_owned));
        }
        found
    }

    /// As people read it.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let count = self.count.then(|| "whether it crosses".to_owned());
        let key = self.key.then(|| "key".to_owned());
        let beside = self.beside.iter().map(|name| (*name).to_owned());
        count.into_iter().chain(key).chain(beside).chain(self.columns.iter().cloned()).collect()
    }

    /// Takes out what the proof says that this leaf decides.
    pub(super) fn unexplained(&self, proof: &Proof, leaf: &str) -> Self {
        let is_it = |name: &String| {
            ["after.", "before.", "key."].iter().any(|part| name.strip_prefix(part) == Some(leaf))
        };
        let mut left = self.clone();
        for row in &proof.columns {
            let flows = row.direct.iter().chain(&row.indirect).any(is_it);
            if flows && row.part == Part::Key {
                // A record whose key is null is refused: it names no row.
                (left.key, left.count) = (false, false);
            }
            if flows {
                left.columns.remove(&row.column);
            }
            if row.indirect.iter().any(is_it) {
                left.count = false;
            }
        }
        if proof.sql.as_ref().is_some_and(|sql| sql.filter.iter().any(is_it)) {
            left.count = false;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn out(value: Json) -> Out {
        Out { value: Some(value), ..Out::default() }
    }

    #[test]
    fn columns_of_a_row_and_of_an_envelope_are_compared_by_name() {
        let row = Difference::of(&[out(json!({"a": 1, "b": 2}))], &[out(json!({"a": 1, "b": 3}))]);
        assert_eq!(row.names().into_iter().collect::<Vec<_>>(), ["b"]);
        let envelope = |b: i32| out(json!({"op": "c", "after": {"a": 1, "b": b}}));
        let found = Difference::of(&[envelope(2)], &[envelope(3)]);
        assert_eq!(found.names().into_iter().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_record_more_and_a_column_less_are_differences() {
        let one = out(json!({"a": 1}));
        assert!(Difference::of(std::slice::from_ref(&one), &[]).count);
        let found = Difference::of(std::slice::from_ref(&one), &[out(json!({}))]);
        assert_eq!(found.names().into_iter().collect::<Vec<_>>(), ["a"]);
        let same = Difference::of(std::slice::from_ref(&one), &[one.clone()]);
        assert_eq!(same, Difference::default());
    }

    #[test]
    fn beside_the_row_nothing_may_differ() {
        let one = out(json!({}));
        let later = Out { timestamp_ms: 1, ..one.clone() };
        let stamped = Out { headers: vec![("a".to_owned(), vec![1])], ..one.clone() };
        let placed = Out { partition: 1, ..one.clone() };
        for (other, name) in [(later, "timestamp"), (stamped, "headers"), (placed, "partition")] {
            let found = Difference::of(std::slice::from_ref(&one), &[other]);
            assert_eq!(found.names().into_iter().collect::<Vec<_>>(), [name]);
        }
    }
}
