//! What passes a chain of transforms, judged in its order: what a transform hides depends on what
//! the others before it made of the record.

use std::collections::BTreeSet;

use super::transforms::{Chain, Transform, When};
use super::{Draft, printable};

/// What passes.
#[derive(Debug, Default)]
pub(super) struct Passage {
    /// A transform hides leaves of the value, at whatever it finds them.
    pub(super) hides: bool,
    /// One that does stands behind `Flatten`, where what is nested has a name.
    pub(super) names_nested: bool,
    /// Of the row only leaves that the chain names are left.
    pub(super) is_closed: bool,
    /// Lines about leaves, headers and keys that a transform names and does not hide.
    pub(super) told: Vec<String>,
}

/// What the value is where a transform meets it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// A change event: its leaves are not at the top.
    Envelope,
    /// Still, for the unwrap did nothing.
    Still,
    /// A change event whose leaves are called `after.email`, with this sign.
    FlatEnvelope(String),
    Row,
    /// A row whose nested leaves are at the top, with this sign in their names.
    FlatRow(String),
    /// All of it lies in this leaf.
    Hoisted(String),
}

/// Leaves of a change event itself.
const ENVELOPE: [&str; 9] =
    ["before", "after", "source", "op", "ts_ms", "ts_us", "ts_ns", "transaction", "schema"];

/// What is known of the record's key.
#[derive(Clone, Debug, Default)]
struct Key {
    /// `None`: which they are, no transform has said.
    leaves: Option<BTreeSet<String>>,
    hidden: BTreeSet<String>,
    /// A value and no row of leaves: no mask takes it.
    is_bare: bool,
}

impl Key {
    fn is_hidden(&self) -> bool {
        self.leaves.as_ref().is_some_and(|leaves| leaves.is_subset(&self.hidden))
    }

    fn told(&self) -> Option<String> {
        let names = |leaves: BTreeSet<String>| leaves.into_iter().collect::<Vec<_>>().join(", ");
        let hidden = || names(self.hidden.clone());
        match &self.leaves {
            _ if self.is_hidden() => None,
            Some(leaves) if !leaves.is_disjoint(&self.hidden) => {
                let open = names(leaves.difference(&self.hidden).cloned().collect());
                Some(format!("{open} of the record's key in clear: of the key only {} is hidden", hidden()))
            }
            None if !self.hidden.is_empty() => Some(format!(
                "of the record's key only {} is hidden: what else it holds crosses in clear",
                hidden()
            )),
            _ => Some(
                "the record's key crosses in clear, and decides the partition: most often it is the \
                 row's own identifier"
                    .to_owned(),
            ),
        }
    }
}

impl Passage {
    pub(super) fn of(chain: &Chain, draft: &Draft) -> Self {
        let mut walk = Walk {
            chain: &chain.applied,
            unwraps: draft.is_source || draft.format != "debezium_json",
            value: Value::Envelope,
            half_open: None,
            hidden: BTreeSet::new(),
            hidden_of_envelope: BTreeSet::new(),
            sees_envelope: false,
            renamed: BTreeSet::new(),
            key: Key::default(),
            passage: Self::default(),
        };
        for (at, one) in chain.applied.iter().enumerate() {
            walk.condition(one);
            match one.kind.as_str() {
                _ if one.when == When::Never => {}
                "HeaderFrom" => walk.headers(at, one),
                _ if one.of_key || one.kind == "ValueToKey" => walk.key(one),
                _ if one.when == When::Tombstones => {}
                _ => walk.value(at, one),
            }
        }
        for one in &chain.idle {
            let leaves = hides(one);
            let why = "`transforms` does not name it, so it is never applied";
            walk.tell(&leaves, one, why);
        }
        walk.end()
    }
}

/// Leaves that a transform hides by name.
fn hides(of: &Transform) -> Vec<String> {
    match of.kind.as_str() {
        "MaskField" => of.list("fields"),
        "ReplaceField" => [of.list("exclude"), of.list("blacklist")].concat(),
        _ => Vec::new(),
    }
}

/// It names this leaf, or lets only those pass that it names.
fn reaches(of: &Transform, leaf: &String) -> bool {
    let include = of.list("include");
    let lets_pass = include.is_empty() || include.contains(leaf);
    !of.of_key && (hides(of).contains(leaf) || of.kind == "ReplaceField" && !lets_pass)
}

/// It makes a row of a change event. A field `payload` is JSON's own envelope around that.
fn opens(of: &Transform) -> bool {
    match of.kind.as_str() {
        "ExtractNewRecordState" => true,
        "ExtractField" => !of.of_key && of.list("field") != ["payload"],
        _ => false,
    }
}

struct Walk<'a> {
    chain: &'a [Transform],
    /// `ExtractNewRecordState` does what it is there for.
    unwraps: bool,
    value: Value,
    /// What makes a row of some records, and leaves others.
    half_open: Option<&'a str>,
    /// Leaves of the row that are hidden by now.
    hidden: BTreeSet<String>,
    hidden_of_envelope: BTreeSet<String>,
    /// A transform that hides stands where nothing has opened the event, nor will.
    sees_envelope: bool,
    /// Names that leaves have no longer.
    renamed: BTreeSet<String>,
    key: Key,
    passage: Passage,
}

impl<'a> Walk<'a> {
    fn tell(&mut self, leaves: &[String], behind: &Transform, why: &str) {
        if !leaves.is_empty() {
            let (leaves, kind) = (leaves.join(", "), &behind.kind);
            self.passage.told.push(printable(format!("{leaves} in clear, behind {kind}: {why}")));
        }
    }

    /// What a mask lets out to which only some records come.
    fn condition(&mut self, of: &Transform) {
        let why = match &of.when {
            When::Always => return,
            When::Rows if !of.of_key || self.drops_tombstones() => return,
            When::Rows => "tombstones pass it, and have keys",
            When::Tombstones if of.of_key => "its condition is met by tombstones alone",
            When::Tombstones => "its condition is met by tombstones alone, which hold no leaf",
            When::Never => "no topic of the connector meets its condition",
            When::Some(_) => "what does not meet its condition passes it",
        };
        self.tell(&hides(of), of, why);
    }

    fn drops_tombstones(&self) -> bool {
        self.chain.iter().any(|one| one.kind == "Filter" && one.when == When::Tombstones)
    }

    fn value(&mut self, at: usize, one: &'a Transform) {
        let is_all = matches!(one.when, When::Always | When::Rows);
        match one.kind.as_str() {
            "MaskField" => self.hide(at, one, &one.list("fields")),
            "ReplaceField" => self.replace(at, one),
            // What does not meet the condition stays as it is.
            _ if opens(one) && !is_all => {
                self.half_open = self.half_open.or(Some(&one.kind));
            }
            "ExtractNewRecordState" if !self.unwraps => self.value = Value::Still,
            _ if opens(one) => {
                self.value = Value::Row;
                self.passage.is_closed = false;
            }
            "Flatten" if is_all => {
                let sign = one.list("delimiter").pop().unwrap_or_else(|| ".".to_owned());
                self.value = match &self.value {
                    Value::Envelope | Value::Still => Value::FlatEnvelope(sign),
                    _ => Value::FlatRow(sign),
                };
            }
            "HoistField" if is_all => {
                self.value = Value::Hoisted(one.list("field").pop().unwrap_or_default());
            }
            _ => {}
        }
        if let Some(leaf) = one.list("route.by.field").pop() {
            let what = format!("{leaf} in clear: {} makes it the topic's name", one.kind);
            self.passage.told.push(printable(what));
        }
    }

    fn replace(&mut self, at: usize, one: &'a Transform) {
        // Kafka Connect 4.0 has them no more, and what it does not know it ignores.
        let old = one.list("blacklist");
        self.tell(&old, one, "`blacklist` is ignored from Kafka Connect 4.0 on: `exclude`");
        let exclude = match one.list("exclude") {
            exclude if exclude.is_empty() => old,
            exclude => exclude,
        };
        let include = one.list("include");
        let is_all = matches!(one.when, When::Always | When::Rows);
        if !exclude.is_empty() {
            self.hide(at, one, &exclude);
        }
        if !include.is_empty() {
            self.hide(at, one, &[]);
            let holds_all = |leaf: &String| match &self.value {
                Value::Envelope | Value::Still => leaf == "before" || leaf == "after",
                Value::Hoisted(all) => leaf == all,
                _ => false,
            };
            self.passage.is_closed |= is_all && !include.iter().any(holds_all);
            let gone = ENVELOPE.into_iter().filter(|leaf| !include.iter().any(|one| one == leaf));
            if is_all {
                self.hidden_of_envelope.extend(gone.map(str::to_owned));
            }
        }
        for rename in one.list("renames") {
            if let Some((old, new)) = rename.split_once(':') {
                if self.hidden.contains(old) {
                    self.hidden.insert(new.to_owned());
                }
                self.renamed.remove(new);
                self.renamed.insert(old.to_owned());
            }
        }
    }

    /// Which of the leaves a transform finds where it stands.
    fn hide(&mut self, at: usize, one: &Transform, leaves: &[String]) {
        self.passage.hides = true;
        let is_all = matches!(one.when, When::Always | When::Rows);
        let miss = |is_found: &dyn Fn(&str) -> bool| -> Vec<String> {
            leaves.iter().filter(|leaf| !is_found(leaf)).cloned().collect()
        };
        let of_envelope = |leaf: &str| ENVELOPE.contains(&leaf);
        let (missed, why) = match self.value.clone() {
            Value::Still => return,
            Value::Envelope => {
                if is_all {
                    let hidden = leaves.iter().filter(|leaf| of_envelope(leaf)).cloned();
                    self.hidden_of_envelope.extend(hidden);
                }
                let later = self.chain[at + 1..].iter().find(|one| opens(one));
                match (self.half_open, later) {
                    (Some(half), _) => (
                        miss(&of_envelope),
                        format!("what does not meet the condition of {half} is a change event"),
                    ),
                    (None, Some(later)) => (
                        miss(&of_envelope),
                        format!("it stands before {}, and sees the change event", later.kind),
                    ),
                    (None, None) => {
                        self.sees_envelope = true;
                        return;
                    }
                }
            }
            Value::FlatEnvelope(sign) => {
                self.passage.names_nested = true;
                let row = |of: &str| format!("{of}{sign}");
                let (after, before) = (row("after"), row("before"));
                let is_found = |leaf: &str| {
                    leaf.starts_with(&*after) || leaf.starts_with(&*before) || of_envelope(leaf)
                };
                let states = leaves.iter().filter_map(|leaf| leaf.strip_prefix(&*after));
                let forgotten: Vec<String> = states
                    .map(|leaf| row("before") + leaf)
                    .filter(|leaf| !self.chain.iter().any(|one| reaches(one, leaf)))
                    .collect();
                self.tell(&forgotten, one, "it names the row after the change alone");
                (miss(&is_found), format!("behind Flatten they are called `{after}…`"))
            }
            Value::Row | Value::FlatRow(_) => {
                let sign = match &self.value {
                    Value::FlatRow(sign) => Some(sign.clone()),
                    _ => None,
                };
                self.passage.names_nested |= sign.is_some();
                let is_path = |leaf: &str| leaf.contains('.') && sign.as_deref() != Some(".");
                let renamed = miss(&|leaf| !self.renamed.contains(leaf));
                self.tell(&renamed, one, "a transform before it gave it another name");
                let paths = miss(&|leaf| !is_path(leaf));
                if is_all {
                    let hidden = leaves.iter().filter(|l| !is_path(l) && !renamed.contains(l));
                    self.hidden.extend(hidden.cloned());
                }
                (
                    paths,
                    "it looks for a leaf of that very name at the top, and takes no path".into(),
                )
            }
            Value::Hoisted(all) => {
                let why = format!("HoistField put the row into {all}, and it sees the top alone");
                (miss(&|leaf| leaf == all), why)
            }
        };
        self.tell(&missed, one, &why);
    }

    fn key(&mut self, one: &Transform) {
        let mut key = self.key.clone();
        // It makes another key of it, and no mask.
        let mut is_new = true;
        match one.kind.as_str() {
            "MaskField" if !key.is_bare => {
                key.hidden.extend(one.list("fields"));
                is_new = false;
            }
            "ReplaceField" if !key.is_bare => {
                key.hidden.extend(one.list("exclude"));
                let include: BTreeSet<String> = one.list("include").into_iter().collect();
                if !include.is_empty() {
                    key.leaves = Some(include);
                }
                is_new = false;
            }
            "ExtractField" => {
                key.leaves = Some(one.list("field").into_iter().collect());
                key.is_bare = true;
            }
            "HoistField" => {
                let leaf: BTreeSet<String> = one.list("field").into_iter().collect();
                key.hidden = if key.is_hidden() { leaf.clone() } else { BTreeSet::new() };
                (key.leaves, key.is_bare) = (Some(leaf), false);
            }
            "ValueToKey" => {
                let leaves: BTreeSet<String> = one.list("fields").into_iter().collect();
                key.hidden = leaves.intersection(&self.hidden).cloned().collect();
                (key.leaves, key.is_bare) = (Some(leaves), false);
            }
            _ => return,
        }
        let is_all = match one.when {
            When::Always => true,
            When::Rows => self.drops_tombstones(),
            When::Tombstones | When::Never | When::Some(_) => false,
        };
        // Of two keys, the one that is in clear counts.
        if is_all || is_new && !key.is_hidden() {
            self.key = key;
        }
    }

    fn headers(&mut self, at: usize, one: &Transform) {
        let hidden = if one.of_key { &self.key.hidden } else { &self.hidden };
        let is_dropped = |header: &String| {
            self.chain[at + 1..].iter().any(|later| {
                later.kind == "DropHeaders"
                    && later.when == When::Always
                    && later.list("headers").contains(header)
            })
        };
        let open: Vec<String> = one
            .list("fields")
            .into_iter()
            .zip(one.list("headers"))
            .filter(|(leaf, header)| !hidden.contains(leaf) && !is_dropped(header))
            .map(|(leaf, _)| leaf)
            .collect();
        self.tell(&open, one, "no mask touches the headers into which it puts them");
    }

    fn end(mut self) -> Passage {
        let rows = ["before", "after"].into_iter();
        let open: Vec<_> = rows.filter(|row| !self.hidden_of_envelope.contains(*row)).collect();
        let said = match *open {
            [one] => format!("`{one}` passes as it is"),
            _ => "`before` and `after` pass as they are".to_owned(),
        };
        if self.sees_envelope && !open.is_empty() {
            let what = format!("the transforms see the envelope, not the row: {said}");
            self.passage.told.push(what);
        }
        self.passage.told.extend(self.key.told().map(printable));
        self.passage
    }
}
