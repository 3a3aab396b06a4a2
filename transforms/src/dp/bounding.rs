//! What counts of one person: the rows with the smallest tags, of the groups with the smallest tags.
//!
//! Tags are keyed (see [`super::sampler`]), so which rows these are hangs neither on the order in
//! which they come nor on how they are spread over partitions, batches and workers; and it hangs on
//! no other person. The state of a person is bounded by what can still count, so a window of any
//! length can be read as it comes.
//!
//! A contribution is a row as it stands at the window's end. Candidates are all pairs of a row and a
//! group that the row was in during the window; of them the smallest are kept, and what is added up
//! are those in which the row still is. So a row that was deleted, or went to another group, holds
//! its place without counting: were it given up to the next, that one would have to be kept for ever.
//!
//! Changes of one row must come in the order of their `order`, as Kafka gives them within a
//! partition; changes of different rows may come in any order.

use std::sync::Arc;

use douane_schemas::tuple::Tuple;

/// What tells groups and rows of a person in a window: 16 keyed bytes as a number.
pub type Tag = u128;

/// The values of the columns that group, as canonical bytes: a tuple with a text for each, or empty
/// bytes for null.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey(Arc<[u8]>);

impl GroupKey {
    /// Of canonical texts.
    pub fn new<'a>(parts: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let add = |tuple: Tuple, part: Option<&str>| match part {
            Some(text) => tuple.text(text),
            None => tuple.bytes(&[]),
        };
        Self(parts.into_iter().fold(Tuple::new(), add).finish().into())
    }

    /// Of canonical bytes.
    ///
    /// # Errors
    /// [`BoundedFault`] for other bytes.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, BoundedFault> {
        let key = Self(bytes.into());
        match key.parts() {
            Some(parts) if Self::new(parts.iter().copied()) == key => Ok(key),
            _ => Err(BoundedFault),
        }
    }

    /// The canonical bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The texts. `None` only for bytes that no key has.
    pub fn parts(&self) -> Option<Vec<Option<&str>>> {
        let mut parts = Vec::new();
        let mut rest = &self.0[..];
        while let Some((kind, after)) = rest.split_first() {
            let (length, after) = after.split_at_checked(4)?;
            let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
            let (field, after) = after.split_at_checked(length)?;
            parts.push(match (kind, length) {
                (b't', _) => Some(std::str::from_utf8(field).ok()?),
                (b'b', 0) => None,
                _ => return None,
            });
            rest = after;
        }
        Some(parts)
    }
}

/// Group keys are data.
impl std::fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupKey({} bytes)", self.0.len())
    }
}

/// How much of a person counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Groups, at most (L0).
    pub groups: u32,
    /// Rows in a group, at most (c).
    pub rows: u32,
    /// Integers of a row.
    pub values: usize,
}

/// What a change leaves of a row.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// The group it is in, and its tag.
    pub group: &'a GroupKey,
    /// The same.
    pub group_tag: Tag,
    /// The row's.
    pub row_tag: Tag,
    /// Grows from change to change of a row: its offset.
    pub order: u64,
    /// Its integers, quantised and clamped: [`Limits::values`] of them.
    pub values: &'a [i64],
}

/// Whether rows change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Each row comes once: an event.
    Once,
    /// Rows are changed, moved between groups and deleted.
    Change,
}

/// Bytes that are no bounded rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kept rows of a person cannot be read: damaged, of another version, or of another release")]
pub struct BoundedFault;

/// A row of a group.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kept {
    row: Tag,
    order: u64,
    /// Whether the row is still in the group.
    live: bool,
}

#[derive(Clone, PartialEq, Eq)]
struct Group {
    tag: Tag,
    key: GroupKey,
    /// How many of the rows are its own.
    rows: u32,
    /// The tag of the last of them once no more are taken; the largest number before.
    full: Tag,
}

/// What may still count of one person in one window. It holds data and has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Bounded {
    /// The tag of the last group once no more are taken; the largest number before. Here, because
    /// most rows of a person with many groups need nothing else.
    full: Tag,
    /// By tag.
    groups: Vec<Group>,
    /// Each group's in turn, by tag.
    rows: Vec<Kept>,
    /// Integers of each row in turn; zeros where it is not live.
    values: Vec<i64>,
}

impl Default for Bounded {
    fn default() -> Self {
        Self { full: Tag::MAX, groups: Vec::new(), rows: Vec::new(), values: Vec::new() }
    }
}

impl Bounded {
    /// Whether a row may change what is kept. One of [`Rows::Once`] that may not need not be offered.
    pub fn admits(&self, group_tag: Tag, row_tag: Tag) -> bool {
        if group_tag > self.full {
            return false;
        }
        let group = self.groups.iter().find(|group| group.tag == group_tag);
        group.is_none_or(|group| row_tag < group.full)
    }

    /// A row of a group with a greater tag is not taken. It is all that most rows of a person with many
    /// groups need: for who keeps it apart from the rows, which are far larger.
    pub fn groups_to(&self) -> Tag {
        self.full
    }

    /// Takes what a change leaves of a row.
    ///
    /// # Panics
    /// For other than [`Limits::values`] integers: the caller's mistake.
    pub fn offer(&mut self, limits: Limits, rows: Rows, change: Change<'_>) {
        assert_eq!(change.values.len(), limits.values, "integers of a row");
        let mut live = true;
        if rows == Rows::Change {
            live = self.leave(limits, change.row_tag, change.order, Some(change.group_tag));
        }
        let kept = Kept { row: change.row_tag, order: change.order, live };
        let values = live.then_some(change.values);
        self.put(limits, (change.group_tag, change.group), kept, values);
    }

    /// A row is deleted, or is another person's now.
    pub fn withdraw(&mut self, limits: Limits, row_tag: Tag, order: u64) {
        self.leave(limits, row_tag, order, None);
    }

    /// Takes what another worker kept of the same person in the same window. Changes of one row went
    /// to one of the two.
    pub fn merge(&mut self, limits: Limits, other: &Self) {
        let mut rows = other.rows.iter().enumerate();
        for group in &other.groups {
            for (index, kept) in rows.by_ref().take(group.rows as usize) {
                let values = other.values.get(span(limits, index)).filter(|_| kept.live);
                self.put(limits, (group.tag, &group.key), *kept, values);
            }
        }
    }

    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What counts: each group with the integers of its rows. A group whose rows all left is none.
    pub fn groups(&self, limits: Limits) -> impl Iterator<Item = (&GroupKey, LiveRows<'_>)> {
        let mut from = 0;
        self.groups.iter().filter_map(move |group| {
            let here = from..from + group.rows as usize;
            from = here.end;
            let all = here.start * limits.values..here.end * limits.values;
            let rows = self.rows.get(here).unwrap_or_default();
            let values = self.values.get(all).unwrap_or_default();
            let live = rows.iter().any(|kept| kept.live);
            live.then_some((&group.key, LiveRows { rows, values, width: limits.values }))
        })
    }

    /// Marks the row as gone from all groups but `to`. Whether no later change of it is known.
    fn leave(&mut self, limits: Limits, row: Tag, order: u64, to: Option<Tag>) -> bool {
        let mut newest = true;
        let mut from = 0;
        for group in &self.groups {
            let rows = self.rows.iter_mut().enumerate().skip(from).take(group.rows as usize);
            from += group.rows as usize;
            if Some(group.tag) == to {
                continue;
            }
            for (index, kept) in rows.filter(|(_, kept)| kept.row == row) {
                if kept.order > order {
                    newest = false;
                } else {
                    (kept.live, kept.order) = (false, order);
                    self.values.get_mut(span(limits, index)).unwrap_or_default().fill(0);
                }
            }
        }
        newest
    }

    fn put(
        &mut self,
        limits: Limits,
        (tag, key): (Tag, &GroupKey),
        kept: Kept,
        values: Option<&[i64]>,
    ) {
        let number = self.groups.partition_point(|group| group.tag < tag);
        let first: usize = self.groups.iter().take(number).map(|group| group.rows as usize).sum();
        let known = self.groups.get(number).filter(|group| group.tag == tag);
        let Some(count) = known.map(|group| group.rows as usize) else {
            if number >= limits.groups as usize {
                return;
            }
            self.groups.insert(number, Group { tag, key: key.clone(), rows: 0, full: Tag::MAX });
            if self.groups.len() > limits.groups as usize
                && let Some(gone) = self.groups.pop()
            {
                let end = self.rows.len() - gone.rows as usize;
                self.rows.truncate(end);
                self.values.truncate(end * limits.values);
            }
            if self.groups.len() == limits.groups as usize {
                self.full = self.groups.last().map_or(Tag::MAX, |group| group.tag);
            }
            return self.insert(limits, number, first, first, kept, values);
        };
        let rows = self.rows.get(first..first + count).unwrap_or_default();
        match rows.binary_search_by(|at| at.row.cmp(&kept.row)) {
            // A change that is seen again, or after a later one, changes nothing.
            Ok(place) => {
                let index = first + place;
                if let Some(before) = self.rows.get_mut(index).filter(|at| at.order < kept.order) {
                    *before = kept;
                    let here = self.values.get_mut(span(limits, index)).unwrap_or_default();
                    match values {
                        Some(values) => here.copy_from_slice(values),
                        None => here.fill(0),
                    }
                }
            }
            Err(place) if place >= limits.rows as usize => {}
            Err(place) => self.insert(limits, number, first, first + place, kept, values),
        }
    }

    /// Puts a row before the one at `index` of the group whose rows begin at `first`.
    fn insert(
        &mut self,
        limits: Limits,
        number: usize,
        first: usize,
        index: usize,
        kept: Kept,
        values: Option<&[i64]>,
    ) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let (most, width) = (limits.rows as usize, limits.values);
        if self.rows.is_empty() {
            // Most persons have few rows; who has more grows twice as large each time.
            self.rows.reserve_exact(FIRST_ROWS);
            self.values.reserve_exact(FIRST_ROWS * width);
        }
        // The place of the row that goes: the group's last, or a new one behind all.
        let free = match group.rows as usize == most {
            true => first + most - 1,
            false => {
                group.rows += 1;
                self.rows.push(kept);
                self.values.resize(self.values.len() + width, 0);
                self.rows.len() - 1
            }
        };
        self.rows.copy_within(index..free, index + 1);
        self.values.copy_within(index * width..free * width, (index + 1) * width);
        if let Some(place) = self.rows.get_mut(index) {
            *place = kept;
        }
        let here = self.values.get_mut(span(limits, index)).unwrap_or_default();
        match values {
            Some(values) => here.copy_from_slice(values),
            None => here.fill(0),
        }
        if group.rows as usize == most {
            group.full = self.rows.get(first + most - 1).map_or(Tag::MAX, |kept| kept.row);
        }
    }

    /// Canonical bytes, version 1 (docs/formats.md, Kept rows).
    pub fn to_bytes(&self, limits: Limits) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&length(self.groups.len()));
        let mut rows = self.rows.iter().enumerate();
        for group in &self.groups {
            bytes.extend_from_slice(&group.tag.to_be_bytes());
            bytes.extend_from_slice(&length(group.key.0.len()));
            bytes.extend_from_slice(&group.key.0);
            bytes.extend_from_slice(&group.rows.to_be_bytes());
            for (index, kept) in rows.by_ref().take(group.rows as usize) {
                bytes.extend_from_slice(&kept.row.to_be_bytes());
                bytes.extend_from_slice(&kept.order.to_be_bytes());
                bytes.push(u8::from(kept.live));
                if kept.live {
                    let values = self.values.get(span(limits, index)).unwrap_or_default();
                    values.iter().for_each(|value| varint(&mut bytes, *value));
                }
            }
        }
        bytes
    }

    /// Reads what [`Bounded::to_bytes`] wrote under the same limits, and nothing else.
    ///
    /// # Errors
    /// [`BoundedFault`].
    pub fn from_bytes(limits: Limits, bytes: &[u8]) -> Result<Self, BoundedFault> {
        let mut reader = Reader(bytes);
        if reader.take(1)? != [VERSION] {
            return Err(BoundedFault);
        }
        let mut read = Self::default();
        let groups = reader.length()?;
        for _ in 0..groups {
            let tag = reader.tag()?;
            let key_length = reader.length()?;
            let key = GroupKey::of_bytes(reader.take(key_length)?)?;
            let rows = u32::from_be_bytes(reader.array()?);
            let ascending = read.groups.last().is_none_or(|last| last.tag < tag);
            if !ascending || rows == 0 || rows > limits.rows {
                return Err(BoundedFault);
            }
            let mut last = None;
            for _ in 0..rows {
                let row = reader.tag()?;
                let order = u64::from_be_bytes(reader.array()?);
                let live = match reader.take(1)? {
                    [0] => false,
                    [1] => true,
                    _ => return Err(BoundedFault),
                };
                if last.replace(row).is_some_and(|last| last >= row) {
                    return Err(BoundedFault);
                }
                read.rows.push(Kept { row, order, live });
                for _ in 0..limits.values {
                    read.values.push(if live { reader.varint()? } else { 0 });
                }
            }
            let full = last.filter(|_| rows == limits.rows).unwrap_or(Tag::MAX);
            read.groups.push(Group { tag, key, rows, full });
        }
        if groups == limits.groups as usize {
            read.full = read.groups.last().map_or(Tag::MAX, |group| group.tag);
        }
        match reader.0.is_empty() && groups <= limits.groups as usize {
            true => Ok(read),
            false => Err(BoundedFault),
        }
    }
}

/// Where a row's integers are.
fn span(limits: Limits, index: usize) -> std::ops::Range<usize> {
    index * limits.values..(index + 1) * limits.values
}

/// The rows of one group that count.
#[derive(Clone, Copy)]
pub struct LiveRows<'a> {
    rows: &'a [Kept],
    values: &'a [i64],
    width: usize,
}

impl<'a> LiveRows<'a> {
    /// The integers of each.
    pub fn iter(&self) -> impl Iterator<Item = &'a [i64]> + use<'a> {
        let (values, width) = (self.values, self.width);
        let live = self.rows.iter().enumerate().filter(|(_, kept)| kept.live);
        live.map(move |(at, _)| values.get(at * width..(at + 1) * width).unwrap_or_default())
    }
}

const VERSION: u8 = 1;
/// Rows that there is room for at first.
const FIRST_ROWS: usize = 4;

fn length(length: usize) -> [u8; 4] {
    // Limits and Kafka's largest record are far below 4 Gi.
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// Zigzag, then 7 bits a byte, the lowest first; no byte more than it takes.
fn varint(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BoundedFault> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BoundedFault)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BoundedFault> {
        self.take(N)?.try_into().map_err(|_| BoundedFault)
    }

    fn length(&mut self) -> Result<usize, BoundedFault> {
        Ok(u32::from_be_bytes(self.array()?) as usize)
    }

    fn tag(&mut self) -> Result<Tag, BoundedFault> {
        Ok(Tag::from_be_bytes(self.array()?))
    }

    fn varint(&mut self) -> Result<i64, BoundedFault> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part || (byte == 0 && shift > 0) {
                return Err(BoundedFault);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(BoundedFault)
    }
}
