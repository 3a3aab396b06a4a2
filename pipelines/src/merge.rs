//! Which staged rows of a turn stay out, which cross as tombstones, and where a delete and its
//! tombstone become one.
//!
//! Debezium sends a tombstone after each delete. Both are null values under one key outside, so
//! the second one is left out, also where the two fall into two turns: what is remembered between
//! turns is, for each partition whose last crossing record was a delete, the digest of its key.
//!
//! A row whose new state lies outside WHERE: where it is just created, nothing of it is outside,
//! and it stays behind. After an update, or as a snapshot found it, an earlier state of it may be
//! outside, and a tombstone of its key withdraws that; just after a tombstone of the same key there
//! is nothing left to withdraw. Where truncates are passed over, a created row may be one that a
//! truncate left outside: it is withdrawn too. Without a key nothing can be withdrawn. Deletes
//! bypass WHERE. A row whose group is too small (`min_group.rs`) lies outside WHERE in all of this.

use std::collections::BTreeMap;

use douane_ledger::release::{Changes, Truncate};
use douane_schemas::batch::{Op, Origin, RowKind};

use crate::plan::Plan;
use crate::turn::{Source, Turn};

/// Digest of the key of each partition's last crossing record, if that was a delete.
pub type Deletes = BTreeMap<Source, String>;

/// A turn's rows, held against what is refused and what is cut.
#[derive(Debug, PartialEq, Eq)]
pub struct Merge {
    /// One a row: it stays out. It is cut, or refused, or the tombstone of the delete before it.
    pub skip: Vec<bool>,
    /// One a row: its state left WHERE, and it crosses as a tombstone.
    pub withdrawn: Vec<bool>,
    /// How many tombstones were taken for the deletes before them.
    pub merged: u64,
    /// How many rows stay behind because WHERE does not let them cross.
    pub filtered: u64,
    /// As the partitions stand once the turn has crossed.
    pub deletes: Deletes,
}

/// What WHERE says of a turn's rows.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    /// One a row: it is an upsert whose state lies outside.
    pub outside: &'a [bool],
    /// `None`: nothing can be withdrawn.
    pub withdrawal: Option<Withdrawal>,
}

/// Which rows are withdrawn once their state lies outside WHERE.
#[derive(Clone, Copy, Debug)]
pub struct Withdrawal {
    /// Truncates are passed over: an earlier row of a created one's key may be outside.
    creates: bool,
}

impl Withdrawal {
    /// `None`: there is neither WHERE nor a least size of groups, or the output has no key.
    pub fn of(plan: &Plan, changes: &Changes) -> Option<Self> {
        let filters =
            plan.sql.as_ref().is_some_and(|sql| sql.filter.is_some()) || plan.min_group.is_some();
        let creates = changes.truncate == Truncate::Drop;
        (filters && !plan.keys.is_empty()).then_some(Self { creates })
    }

    /// An earlier state of a row that was changed like this may be outside. `None`: how it was
    /// changed cannot be read.
    pub fn reaches(self, op: Option<Op>) -> bool {
        self.creates || op != Some(Op::Create)
    }
}

impl Merge {
    /// Goes through the rows in their order. `before`: as the partitions stand now;
    /// `keeps_deletes`: a delete is an event, and its tombstone follows it; `digest` gives the
    /// digest of a row's output key.
    pub fn new(
        turn: &Turn,
        origins: &[Origin],
        filter: Filter<'_>,
        before: Deletes,
        keeps_deletes: bool,
        digest: impl Fn(usize) -> String,
    ) -> Self {
        let refused = turn.refused();
        let mut deletes = before;
        let mut merged = 0;
        let mut filtered = 0;
        let mut withdrawn = vec![false; origins.len()];
        let mut stays = |(row, origin): (usize, &Origin)| {
            let source = (origin.topic, origin.partition);
            if turn.is_cut(source, origin.offset) {
                return true;
            }
            let known =
                refused.binary_search_by_key(&(source, origin.offset), |r| (r.source, r.offset));
            if known.is_ok() {
                return true;
            }
            match origin.kind() {
                RowKind::Upsert if filter.outside[row] => {
                    let key = digest(row);
                    let reached = filter.withdrawal.is_some_and(|w| w.reaches(Some(origin.op)));
                    if !reached || deletes.get(&source) == Some(&key) {
                        filtered += 1;
                        return true;
                    }
                    deletes.insert(source, key);
                    withdrawn[row] = true;
                    false
                }
                _ if keeps_deletes => {
                    deletes.remove(&source);
                    false
                }
                RowKind::Upsert => {
                    deletes.remove(&source);
                    false
                }
                RowKind::Delete | RowKind::Tombstone => {
                    let key = digest(row);
                    let again =
                        origin.kind() == RowKind::Tombstone && deletes.get(&source) == Some(&key);
                    merged += u64::from(again);
                    deletes.insert(source, key);
                    again
                }
            }
        };
        let skip = origins.iter().enumerate().map(&mut stays).collect();
        Self { skip, withdrawn, merged, filtered, deletes }
    }

    /// Whether the rows cross as in another merge of the same batch, but for those that are `refused`
    /// singly.
    pub fn is_as(&self, other: &Self, refused: impl Fn(usize) -> bool) -> bool {
        let crosses = |merge: &Self, row: usize| (merge.skip[row], merge.withdrawn[row]);
        (0..self.skip.len()).all(|row| refused(row) || crosses(self, row) == crosses(other, row))
    }
}

#[cfg(test)]
mod tests {
    use Op::{Create, Delete, Read, Tombstone, Update};
    use douane_gate::RefusedBy;
    use douane_schemas::record::RawRecord;

    use super::*;
    use crate::turn::Refused;

    /// Rows of (partition, op, key), offsets counted from 0 in each partition.
    type Rows<'a> = &'a [(i32, Op, &'a str)];

    struct Case<'a> {
        name: &'static str,
        before: &'a [(i32, &'a str)],
        keeps: bool,
        rows: Rows<'a>,
        refused: &'a [(i32, i64)],
        cut: &'a [(i32, i64)],
        outside: &'a [u8],
        withdrawal: Option<Withdrawal>,
        skip: &'a [u8],
        withdrawn: &'a [u8],
        merged: u64,
        filtered: u64,
        after: &'a [(i32, &'a str)],
    }

    const CASE: Case<'_> = Case {
        name: "nothing",
        before: &[],
        keeps: false,
        rows: &[],
        refused: &[],
        cut: &[],
        outside: &[],
        withdrawal: Some(Withdrawal { creates: false }),
        skip: &[],
        withdrawn: &[],
        merged: 0,
        filtered: 0,
        after: &[],
    };

    fn deletes(of: &[(i32, &str)]) -> Deletes {
        of.iter().map(|(partition, key)| ((0, *partition), (*key).to_owned())).collect()
    }

    fn check(case: &Case<'_>) {
        let mut turn = Turn::default();
        let mut next: BTreeMap<i32, i64> = BTreeMap::new();
        let mut origins = Vec::new();
        for (partition, op, _) in case.rows {
            let offset = next.entry(*partition).or_default();
            turn.take(
                &RawRecord {
                    topic: 0,
                    partition: *partition,
                    offset: *offset,
                    timestamp_ms: 0,
                    key: None,
                    value: None,
                    headers: &[],
                },
                *offset,
            );
            origins.push(Origin {
                topic: 0,
                partition: *partition,
                offset: *offset,
                timestamp_ms: 0,
                op: *op,
                schema_id: None,
            });
            *offset += 1;
        }
        for (partition, offset) in case.refused {
            let (source, by) = ((0, *partition), RefusedBy::Stage);
            turn.refuse(Refused { source, offset: *offset, by, code: "code" });
        }
        for (partition, offset) in case.cut {
            turn.cut((0, *partition), *offset);
        }
        let digest = |row: usize| case.rows[row].2.to_owned();
        let of = |listed: &[u8]| -> Vec<bool> {
            (0..origins.len()).map(|row| listed.get(row) == Some(&1)).collect()
        };
        let filter = Filter { outside: &of(case.outside), withdrawal: case.withdrawal };
        let merge = Merge::new(&turn, &origins, filter, deletes(case.before), case.keeps, digest);
        let expected = Merge {
            skip: of(case.skip),
            withdrawn: of(case.withdrawn),
            merged: case.merged,
            filtered: case.filtered,
            deletes: deletes(case.after),
        };
        assert_eq!(merge, expected, "{}", case.name);
    }

    #[test]
    fn rows_cross_as_before_but_for_those_that_are_refused() {
        let merge = |skip: &[bool], withdrawn: &[bool]| Merge {
            skip: skip.to_vec(),
            withdrawn: withdrawn.to_vec(),
            merged: 0,
            filtered: 0,
            deletes: Deletes::new(),
        };
        let before = merge(&[false, false, false], &[false, false, false]);
        // The second row was refused, and nothing else came of it.
        let now = merge(&[false, true, false], &[false, false, false]);
        assert!(now.is_as(&before, |row| row == 1) && !now.is_as(&before, |_| false));
        // A tombstone behind it was folded into a delete, or a row is not withdrawn any more.
        let folded = merge(&[false, true, true], &[false, false, false]);
        let withdrawn = merge(&[false, true, false], &[false, false, true]);
        for other in [folded, withdrawn] {
            assert!(!other.is_as(&before, |row| row == 1));
        }
    }

    #[test]
    fn a_tombstone_goes_with_the_delete_just_before_it_and_no_other() {
        for case in [
            CASE,
            Case {
                name: "a delete and its tombstone",
                rows: &[(0, Delete, "a"), (0, Tombstone, "a")],
                skip: &[0, 1],
                merged: 1,
                after: &[(0, "a")],
                ..CASE
            },
            Case {
                name: "the tombstone comes a turn later",
                before: &[(0, "a")],
                rows: &[(0, Tombstone, "a"), (0, Create, "b")],
                skip: &[1, 0],
                merged: 1,
                ..CASE
            },
            Case {
                name: "a tombstone of another key",
                rows: &[(0, Delete, "a"), (0, Tombstone, "b")],
                skip: &[0, 0],
                after: &[(0, "b")],
                ..CASE
            },
            Case {
                name: "a tombstone without a delete, and one more",
                rows: &[(0, Tombstone, "a"), (0, Tombstone, "a")],
                skip: &[0, 1],
                merged: 1,
                after: &[(0, "a")],
                ..CASE
            },
            Case {
                name: "a delete that is kept is followed by its tombstone",
                before: &[(0, "z")],
                keeps: true,
                rows: &[(0, Delete, "a"), (0, Tombstone, "a"), (0, Tombstone, "a")],
                skip: &[0, 0, 0],
                ..CASE
            },
            Case {
                name: "two deletes of one key are two",
                before: &[(0, "a")],
                rows: &[(0, Delete, "a"), (0, Delete, "a")],
                skip: &[0, 0],
                after: &[(0, "a")],
                ..CASE
            },
            Case {
                name: "the row is there again in between",
                before: &[(0, "a")],
                rows: &[(0, Create, "a"), (0, Tombstone, "a")],
                skip: &[0, 0],
                after: &[(0, "a")],
                ..CASE
            },
            Case {
                name: "partitions do not mix",
                before: &[(1, "a")],
                rows: &[
                    (0, Delete, "a"),
                    (1, Create, "b"),
                    (0, Tombstone, "a"),
                    (2, Tombstone, "a"),
                ],
                skip: &[0, 0, 1, 0],
                merged: 1,
                after: &[(0, "a"), (2, "a")],
                ..CASE
            },
        ] {
            check(&case);
        }
    }

    #[test]
    fn what_is_refused_or_cut_stays_out_and_changes_nothing() {
        for case in [
            Case {
                name: "a refused row does not come between a delete and its tombstone",
                rows: &[(0, Delete, "a"), (0, Create, "a"), (0, Tombstone, "a")],
                refused: &[(0, 1)],
                skip: &[0, 1, 1],
                merged: 1,
                after: &[(0, "a")],
                ..CASE
            },
            Case {
                name: "refusals of several partitions, in no order",
                rows: &[(1, Create, "a"), (0, Create, "b"), (1, Create, "c")],
                refused: &[(1, 1), (0, 0)],
                skip: &[0, 1, 1],
                ..CASE
            },
            Case {
                name: "cut at the delete: its tombstone stays with it",
                before: &[(0, "z")],
                rows: &[(0, Create, "b"), (0, Delete, "a"), (0, Tombstone, "a")],
                cut: &[(0, 1)],
                skip: &[0, 1, 1],
                ..CASE
            },
            Case {
                name: "cut at the first record: the partition stands as it stood",
                before: &[(0, "z")],
                rows: &[(0, Delete, "a"), (1, Create, "b")],
                cut: &[(0, 0)],
                skip: &[1, 0],
                after: &[(0, "z")],
                ..CASE
            },
        ] {
            check(&case);
        }
    }

    #[test]
    fn what_leaves_where_is_withdrawn_and_what_never_entered_stays_behind() {
        for case in [
            Case {
                name: "a row that is created outside",
                rows: &[(0, Create, "a"), (0, Create, "b")],
                outside: &[1, 0],
                skip: &[1, 0],
                filtered: 1,
                ..CASE
            },
            Case {
                name: "an update that leaves, and a snapshot that finds it outside",
                rows: &[(0, Update, "a"), (0, Read, "b"), (0, Update, "c")],
                outside: &[1, 1, 0],
                withdrawn: &[1, 1, 0],
                after: &[],
                ..CASE
            },
            Case {
                name: "it is withdrawn once, also over turns, and may come back",
                before: &[(0, "a")],
                rows: &[(0, Update, "a"), (0, Update, "a"), (0, Update, "a"), (0, Update, "a")],
                outside: &[1, 0, 1, 1],
                skip: &[1, 0, 0, 1],
                withdrawn: &[0, 0, 1],
                filtered: 2,
                after: &[(0, "a")],
                ..CASE
            },
            Case {
                name: "a delete bypasses WHERE, and a created row in between changes nothing",
                rows: &[(0, Delete, "a"), (0, Create, "a"), (0, Tombstone, "a")],
                outside: &[0, 1, 0],
                skip: &[0, 1, 1],
                merged: 1,
                filtered: 1,
                after: &[(0, "a")],
                ..CASE
            },
            Case {
                name: "another row's withdrawal stands between",
                before: &[(0, "a")],
                rows: &[(0, Update, "b"), (0, Update, "a")],
                outside: &[1, 1],
                withdrawn: &[1, 1],
                after: &[(0, "a")],
                ..CASE
            },
            Case {
                name: "nothing can be withdrawn without a key",
                rows: &[(0, Update, "a"), (0, Read, "a")],
                outside: &[1, 1],
                withdrawal: None,
                skip: &[1, 1],
                filtered: 2,
                ..CASE
            },
            Case {
                name: "where truncates are passed over, a created row may replace one outside",
                rows: &[(0, Create, "a"), (0, Create, "b"), (0, Create, "b")],
                outside: &[1, 1, 1],
                withdrawal: Some(Withdrawal { creates: true }),
                skip: &[0, 0, 1],
                withdrawn: &[1, 1],
                filtered: 1,
                after: &[(0, "b")],
                ..CASE
            },
        ] {
            check(&case);
        }
    }
}
