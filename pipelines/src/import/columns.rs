//! What Debezium does to columns before a record is made.

use std::collections::BTreeSet;

use super::Fate::{Instead, Kept, Needless, NotKept};
use super::{Config, Draft, Line, line};

/// What the connector hides of a table.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) hides: bool,
    /// Only those that it names are written.
    pub(super) is_closed: bool,
    pub(super) is_hashed: bool,
    /// Of which the beginning is written.
    pub(super) cut: BTreeSet<String>,
}

/// A column's leaf; `None`: a pattern, of which only the table tells what it matches.
fn leaf(column: &str) -> Option<String> {
    let plain = column.replace("\\.", ".");
    let is_pattern = plain.contains(['*', '+', '(', '[', '|', '^', '$', '?', '\\', '{']);
    (!is_pattern).then(|| plain.rsplit('.').next().unwrap_or_default().to_owned())
}

/// The columns under one key, with a line for patterns.
fn take(config: &mut Config, key: &str, shown: &str, lines: &mut Vec<Line>) -> Vec<String> {
    let columns = config.list(key);
    let leaves: Vec<String> = columns.iter().filter_map(|column| leaf(column)).collect();
    if leaves.len() < columns.len() {
        let what = "a pattern: which columns it names, the table says; write their leaves";
        line(lines, shown, NotKept, what);
    }
    leaves
}

pub(super) fn read(config: &mut Config, draft: &mut Draft, lines: &mut Vec<Line>) {
    const EXCLUDE: &str = "column.exclude.list";
    const INCLUDE: &str = "column.include.list";
    draft.columns.hides |= !config.peek(EXCLUDE).is_empty();
    for leaf in take(config, EXCLUDE, EXCLUDE, lines) {
        line(lines, EXCLUDE, Needless, format!("{leaf} never reaches the topic, and stays so"));
    }
    if !config.peek(INCLUDE).is_empty() {
        draft.columns.hides = true;
        let named = config.peek(INCLUDE).split(',').count();
        let leaves = take(config, INCLUDE, INCLUDE, lines);
        draft.columns.is_closed = leaves.len() == named;
        if !leaves.is_empty() {
            line(lines, INCLUDE, Kept, "leaves that are written: each needs a class");
        }
        draft.named.extend(leaves);
    }
    let begins = |config: &Config, with: &str| -> Vec<String> {
        config.0.keys().filter(|key| key.starts_with(with)).cloned().collect()
    };
    for key in begins(config, "column.mask.") {
        let is_hash = key.contains(".hash.");
        // The key's own name holds the salt.
        let shown = if is_hash { "column.mask.hash.…" } else { "column.mask.with.…" };
        draft.columns.hides = true;
        draft.columns.is_hashed |= is_hash;
        draft.dropped.extend(take(config, &key, shown, lines));
        let what = "an unkeyed hash, or signs: the leaf stays behind; `tokenize` keeps it joinable";
        line(lines, shown, Instead, what);
    }
    for key in begins(config, "column.truncate.") {
        let cut = take(config, &key, "column.truncate.…", lines);
        let what =
            "of these the beginning is written: each needs a class, and a `sql` stage cuts it";
        line(lines, "column.truncate.…", NotKept, what);
        draft.named.extend(cut.iter().cloned());
        draft.columns.cut.extend(cut);
    }
}
