//! The table's leaves as a tree to walk by names, and what one record turns out to be.

use std::collections::HashMap;

use super::{Hold, Others, QuarantineCode};
use crate::leaf::{Leaf, LeafType};
use crate::names::printable;

/// Which part of a record a leaf stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Image {
    Key,
    Before,
    After,
}

impl Image {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// A leaf and the column its values go to, if they are asked for.
pub(super) struct Slot {
    pub(super) path: String,
    pub(super) leaf_type: LeafType,
    pub(super) column: Option<usize>,
}

pub(super) enum Node {
    Leaf(usize),
    Group(Group),
}

pub(super) struct Child {
    pub(super) name: String,
    /// JSON writes the name as it is: nothing in it needs an escape.
    pub(super) plain: bool,
    pub(super) node: Node,
}

/// An object of known members.
#[derive(Default)]
pub(super) struct Group {
    /// Empty, or the path with a dot behind it.
    pub(super) path: String,
    pub(super) children: Vec<Child>,
    index: HashMap<String, usize>,
}

impl Group {
    /// The child called `name`; `expected` is where it stands if members keep their order.
    pub(super) fn find(&self, name: &str, expected: usize) -> Option<usize> {
        match self.children.get(expected) {
            Some(child) if child.name == name => Some(expected),
            _ => self.index.get(name).copied(),
        }
    }

    pub(super) fn child(&self, name: &str) -> Option<&Node> {
        self.find(name, 0).map(|index| &self.children[index].node)
    }

    fn insert(&mut self, segments: &[&str], leaf: usize) -> bool {
        let Some((name, rest)) = segments.split_first() else {
            return false;
        };
        let known = self.index.get(*name).copied();
        if rest.is_empty() {
            if known.is_none() {
                self.add(name, Node::Leaf(leaf));
            }
            return known.is_none();
        }
        let at = known.unwrap_or_else(|| {
            let path = format!("{}{name}.", self.path);
            self.add(name, Node::Group(Self { path, ..Self::default() }))
        });
        match &mut self.children[at].node {
            Node::Group(group) => group.insert(rest, leaf),
            Node::Leaf(_) => false,
        }
    }

    fn add(&mut self, name: &str, node: Node) -> usize {
        let at = self.children.len();
        self.children.push(Child {
            name: name.to_owned(),
            plain: !name.contains(|c: char| c.is_control() || matches!(c, '"' | '\\')),
            node,
        });
        self.index.insert(name.to_owned(), at);
        at
    }
}

/// Leaves of the key or of the row image.
pub(super) struct Tree {
    pub(super) root: Group,
    pub(super) slots: Vec<Slot>,
}

impl Tree {
    /// `None` beside a leaf's path when the leaves contradict each other (`a` and `a.b`).
    pub(super) fn new(
        leaves: &[Leaf],
        mut column: impl FnMut(&str) -> Option<usize>,
    ) -> Result<Self, String> {
        let mut tree = Self { root: Group::default(), slots: Vec::new() };
        for (index, leaf) in leaves.iter().enumerate() {
            let segments: Vec<&str> = leaf.path.split('.').collect();
            if !tree.root.insert(&segments, index) {
                return Err(leaf.path.clone());
            }
            let Leaf { path, leaf_type } = leaf.clone();
            tree.slots.push(Slot { column: column(&leaf.path), path, leaf_type });
        }
        Ok(tree)
    }
}

/// What a record has been seen to be, as far as it could be read.
#[derive(Default)]
pub(super) struct Seen {
    /// The operation's letter; `?` when it is not one ASCII letter.
    pub(super) op: Option<char>,
    /// `after` was there, and was not null.
    pub(super) after: Option<bool>,
    /// The first thing that holds.
    pub(super) hold: Option<Hold>,
    /// The record's schema was held against the list: what it adds is told, and the payload adds nothing.
    pub(super) judged: bool,
    /// The first value that cannot be taken.
    pub(super) code: Option<QuarantineCode>,
    /// The value is a tombstone in wrapping: `{"schema":null,"payload":null}`.
    pub(super) tombstone: bool,
    /// A value that the source does not have is null.
    pub(super) nullify: bool,
    /// Leaves that no list names stay behind; without it they hold.
    pub(super) added: Option<Vec<Added>>,
    /// How many of `source.db` and `source.table` are the expected ones.
    pub(super) named: u8,
}

/// A leaf of the row that no list names.
#[derive(Clone)]
pub(super) struct Added {
    /// As it is: it may be data and is never printed.
    pub(super) raw: String,
    /// As it may be printed.
    pub(super) leaf: String,
}

/// The table whose changes an envelope may carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// `source.db` of its records.
    pub db: String,
    /// `source.table` of its records.
    pub table: String,
}

impl TableName {
    /// What a member of `source` must say; `None` for those that may say anything.
    pub(super) fn expected(&self, member: &str) -> Option<&str> {
        match member {
            "db" => Some(&self.db),
            "table" => Some(&self.table),
            _ => None,
        }
    }

    pub(super) fn hold(&self) -> Hold {
        Hold::OtherTable { expected: format!("{}.{}", self.db, self.table) }
    }
}

/// What it takes to build the row before the change.
pub(super) struct Before {
    /// As the row's tree, with columns of its own.
    pub(super) tree: Tree,
    /// The column that says whether there was such an image.
    pub(super) flag: usize,
    /// Also of a delete.
    pub(super) of_deletes: bool,
    /// What it must be a change of; None: whatever it is.
    pub(super) table: Option<TableName>,
}

impl Seen {
    pub(super) fn hold(&mut self, hold: impl FnOnce() -> Hold) {
        if self.hold.is_none() {
            self.hold = Some(hold());
        }
    }

    /// A leaf that no list names. Rows before and after the change have the same ones: of both images
    /// they are told once.
    pub(super) fn unknown(
        &mut self,
        image: Image,
        path: impl FnOnce() -> String,
        hint: Option<LeafType>,
    ) {
        match &mut self.hold {
            None => {
                let (path, others) = (path(), Others::default());
                self.hold = Some(Hold::UnknownLeaf { path, others, schema_id: None, hint });
            }
            Some(Hold::UnknownLeaf { path: first, others, .. }) if !self.judged => {
                let bare = |path: &str| path.split_once('.').map(|(_, rest)| rest.to_owned());
                if first.split('.').next() == Some(image.prefix()) {
                    others.add(path);
                } else if others.more == 0 {
                    let path = path();
                    let same = |told: &String| bare(told) == bare(&path);
                    let is_told = same(first) || others.named.iter().any(same);
                    if !is_told {
                        others.add(|| path);
                    }
                }
            }
            Some(_) => {}
        }
    }

    pub(super) fn value(&mut self, pushed: Result<(), QuarantineCode>) {
        match pushed {
            // Nothing was pushed: the column gets null when the row ends.
            Err(QuarantineCode::Unavailable) if self.nullify => {}
            Err(code) => {
                self.code.get_or_insert(code);
            }
            Ok(()) => {}
        }
    }

    pub(super) fn operation(&mut self, op: &str) {
        let mut letters = op.chars();
        self.op = match (letters.next(), letters.next()) {
            (Some(letter), None) if letter.is_ascii_alphabetic() => Some(letter),
            _ => Some('?'),
        };
    }
}

/// `after.address.<unknown#3>`.
pub(super) fn unknown_path(image: Image, group: &str, name: &str, known: bool, n: usize) -> String {
    format!("{}.{group}{}", image.prefix(), printable(name, known, n))
}
