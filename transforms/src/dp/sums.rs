//! All persons' rows to sums, and the sums' canonical bytes: `f`, the vector before noise. As secret
//! as the rows.

use std::collections::HashMap;

use douane_kernels::clip::clipped;
use sha2::{Digest, Sha256};

use super::bounding::{Bounded, GroupKey, LiveRows};
use super::design::{Bounds, Clip, Design, Groups, Query, tree_nodes};

/// Running sums of one window. It holds data and has no `Debug`. Sums of several workers are added
/// up in any order.
#[derive(Clone)]
pub struct Sums<'d> {
    design: &'d Design,
    width: usize,
    /// Where each component's numbers begin in a group's.
    starts: Vec<usize>,
    places: HashMap<GroupKey, usize>,
    totals: Vec<i128>,
    vector: Vec<i32>,
}

impl<'d> Sums<'d> {
    /// Nobody's yet. Public groups are there from the start.
    pub fn new(design: &'d Design) -> Self {
        let widths = design.components().iter().map(|component| component.width as usize);
        let starts = widths.clone().scan(0, |at, width| {
            *at += width;
            Some(*at - width)
        });
        let mut sums = Self {
            design,
            width: widths.clone().sum(),
            starts: starts.collect(),
            places: HashMap::new(),
            totals: Vec::new(),
            vector: Vec::new(),
        };
        if let Groups::Public(keys) = design.groups() {
            for key in keys {
                sums.place(key);
            }
        }
        sums
    }

    /// Adds what counts of one person, once.
    pub fn add(&mut self, unit: &Bounded) {
        let design = self.design;
        for (key, rows) in unit.groups(design.limits()) {
            // Left out before bounding; here so that no other group can appear in a public list.
            if !design.admits(key) {
                continue;
            }
            let at = self.place(key);
            let totals = self.totals.get_mut(at..at + self.width).unwrap_or_default();
            for (component, start) in design.components().iter().zip(&self.starts) {
                let own = totals.get_mut(*start..start + component.width as usize);
                add(&component.query, design.columns(), rows, own.unwrap_or_default());
            }
        }
        let vector = design.component(&Query::Vector);
        if let (Some(clip), Some(component)) = (design.clip(), vector) {
            self.add_vector(unit, clip, component);
        }
    }

    /// Adds another worker's sums, of other persons.
    pub fn merge(&mut self, other: &Self) {
        for (key, from) in &other.places {
            let at = self.place(key);
            let theirs = other.totals.get(*from..from + other.width).unwrap_or_default();
            let own = self.totals.get_mut(at..at + self.width).unwrap_or_default();
            own.iter_mut().zip(theirs).for_each(|(own, their)| *own += their);
        }
    }

    /// The sums as they are released from: sorted by group, each cut to what 64 bits hold.
    pub fn finish(self) -> Exact {
        let mut places: Vec<(&GroupKey, usize)> =
            self.places.iter().map(|(key, at)| (key, *at)).collect();
        places.sort();
        let mut components = Vec::new();
        for (component, start) in self.design.components().iter().zip(&self.starts) {
            let most = i128::from(self.design.sum_max(component));
            let width = component.width as usize;
            let mut values = Vec::with_capacity(width * places.len());
            for (_, at) in &places {
                let totals = self.totals.get(at + start..at + start + width).unwrap_or_default();
                // unwrap safety: between two numbers of 64 bits.
                let cut = |total: &i128| i64::try_from((*total).clamp(-most, most)).unwrap_or(0);
                values.extend(totals.iter().map(cut));
            }
            components.push((component.width, values));
        }
        Exact { keys: places.into_iter().map(|(key, _)| key.clone()).collect(), components }
    }

    fn place(&mut self, key: &GroupKey) -> usize {
        if let Some(at) = self.places.get(key) {
            return *at;
        }
        let at = self.totals.len();
        self.totals.resize(at + self.width, 0);
        self.places.insert(key.clone(), at);
        at
    }

    /// Clips one person's vectors, of all groups together, to the norm ([`clipped`]): the sensitivity
    /// is the declared one exactly. Entries that pass 32 bits are clamped before.
    fn add_vector(&mut self, unit: &Bounded, clip: Clip, component: usize) {
        let design = self.design;
        let dimensions = clip.dimensions as usize;
        let scalars = design.columns().len();
        let groups = || unit.groups(design.limits()).filter(|(key, _)| design.admits(key));
        let entry_max = i64::from(i32::MAX);
        let mut vector = std::mem::take(&mut self.vector);
        vector.clear();
        let mut own = vec![0_i64; dimensions];
        for (_, rows) in groups() {
            own.fill(0);
            for row in rows.iter() {
                let entries = row.get(scalars..).unwrap_or_default();
                for (sum, entry) in own.iter_mut().zip(entries) {
                    *sum = sum.saturating_add((*entry).clamp(-entry_max, entry_max));
                }
            }
            let entry = |sum: &i64| i32::try_from((*sum).clamp(-entry_max, entry_max)).unwrap_or(0);
            vector.extend(own.iter().map(entry));
        }
        let norm = u32::try_from(clip.norm).unwrap_or(u32::MAX);
        let mut entries = clipped(&vector, norm);
        let start = self.starts.get(component).copied().unwrap_or(0);
        for (key, _) in groups() {
            let at = self.place(key) + start;
            let totals = self.totals.get_mut(at..at + dimensions).unwrap_or_default();
            let own = entries.by_ref().take(dimensions);
            totals.iter_mut().zip(own).for_each(|(total, entry)| *total += i128::from(entry));
        }
        drop(entries);
        self.vector = vector;
    }
}

/// Adds one person's rows in one group to the group's numbers of one component.
fn add(query: &Query, columns: &[Bounds], rows: LiveRows<'_>, totals: &mut [i128]) {
    let cells = |column: usize| rows.iter().map(move |row| row.get(column).copied().unwrap_or(0));
    let middle =
        |column: usize| columns.get(column).map_or(0, |bounds| i128::from(bounds.middle()));
    let first = |totals: &mut [i128], part: i128| {
        if let Some(total) = totals.first_mut() {
            *total += part;
        }
    };
    match query {
        Query::Units => first(totals, 1),
        Query::Rows => first(totals, rows.iter().count() as i128),
        Query::Sum { column } => first(totals, cells(*column).map(i128::from).sum()),
        Query::Centred { column } => {
            let middle = middle(*column);
            first(totals, cells(*column).map(|cell| i128::from(cell) - middle).sum());
        }
        Query::CentredSquare { column } => {
            let middle = middle(*column);
            first(totals, cells(*column).map(|cell| (i128::from(cell) - middle).pow(2)).sum());
        }
        Query::Histogram { column, edges } => {
            for cell in cells(*column) {
                let bin = edges.partition_point(|edge| *edge <= cell);
                if let Some(total) = totals.get_mut(bin) {
                    *total += 1;
                }
            }
        }
        Query::Tree { column, branching, height } => {
            let Some(bounds) = columns.get(*column) else {
                return;
            };
            for cell in cells(*column) {
                let mut from = 0;
                for level in 1..=*height {
                    let node = leaf(bounds, *branching, *height, cell)
                        / u64::from(*branching).pow(height - level);
                    if let Some(total) = totals.get_mut(from + node as usize) {
                        *total += 1;
                    }
                    from += u64::from(*branching).pow(level) as usize;
                }
            }
        }
        Query::Vector => {}
    }
}

/// Steps that a leaf of a tree spans.
pub(super) fn leaf_steps(bounds: &Bounds, branching: u32, height: u32) -> u64 {
    let span = bounds.upper.abs_diff(bounds.lower).saturating_add(1);
    span.div_ceil(u64::from(branching).saturating_pow(height))
}

/// The leaf of a cell within the bounds.
fn leaf(bounds: &Bounds, branching: u32, height: u32, cell: i64) -> u64 {
    debug_assert!(tree_nodes(branching, height).is_some());
    cell.abs_diff(bounds.lower) / leaf_steps(bounds, branching, height)
}

/// `f`: sums of all groups. It holds data and has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Exact {
    keys: Vec<GroupKey>,
    /// Of each component: numbers of a group, and all groups' in turn.
    components: Vec<(u64, Vec<i64>)>,
}

/// Starts `f`.
const MAGIC: &[u8] = b"douane-dp-f-v1\n";

impl Exact {
    /// The groups, ascending by their bytes.
    pub fn keys(&self) -> &[GroupKey] {
        &self.keys
    }

    /// All groups' numbers of one component.
    pub fn component(&self, component: usize) -> &[i64] {
        self.components.get(component).map_or(&[], |(_, values)| values)
    }

    /// Canonical bytes, version 1 (docs/formats.md, Sums before noise).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.each(|part| bytes.extend_from_slice(part));
        bytes
    }

    /// SHA-256 of the canonical bytes. Whoever has it and a release can find the sums by trying the
    /// ones near it: it goes into keys and keyed digests, and stands nowhere.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.each(|part| hash.update(part));
        hash.finalize().into()
    }

    fn each(&self, mut part: impl FnMut(&[u8])) {
        part(MAGIC);
        let count = |count: usize| (count as u64).to_be_bytes();
        part(&count(self.components.len()));
        self.components.iter().for_each(|(width, _)| part(&width.to_be_bytes()));
        part(&count(self.keys.len()));
        for (group, key) in self.keys.iter().enumerate() {
            part(&count(key.bytes().len()));
            part(key.bytes());
            for (width, values) in &self.components {
                let width = *width as usize;
                let own = values.get(group * width..(group + 1) * width).unwrap_or_default();
                own.iter().for_each(|value| part(&value.to_be_bytes()));
            }
        }
    }
}

impl Drop for Exact {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.components.iter_mut().for_each(|(_, values)| values.zeroize());
    }
}
