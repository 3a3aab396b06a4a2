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

#[derive(Clone, Copy, PartialEq, Eq)]
struct Kept {
    group: Tag,
    row: Tag,
    order: u64,
    /// Whether the row is still in the group.
    live: bool,
}

/// What may still count of one person in one window. It holds data and has no `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bounded {
    /// By tag.
    groups: Vec<(Tag, GroupKey)>,
    /// By group and row.
    rows: Vec<Kept>,
    /// Integers of each row in turn; zeros where it is not live.
    values: Vec<i64>,
}

impl Bounded {
    /// Takes what a change leaves of a row.
    pub fn offer(&mut self, limits: Limits, rows: Rows, change: Change<'_>) {
        let mut live = true;
        if rows == Rows::Change {
            live = self.leave(limits, change.row_tag, change.order, Some(change.group_tag));
        }
        let kept = Kept { group: change.group_tag, row: change.row_tag, order: change.order, live };
        self.put(limits, change.group, kept, if live { Some(change.values) } else { None });
    }

    /// A row is deleted, or is another person's now.
    pub fn withdraw(&mut self, limits: Limits, row_tag: Tag, order: u64) {
        self.leave(limits, row_tag, order, None);
    }

    /// Takes what another worker kept of the same person in the same window. Changes of one row went
    /// to one of the two.
    pub fn merge(&mut self, limits: Limits, other: &Self) {
        let mut at = 0;
        for (index, kept) in other.rows.iter().enumerate() {
            while other.groups.get(at).is_some_and(|(tag, _)| *tag != kept.group) {
                at += 1;
            }
            let Some((_, key)) = other.groups.get(at) else {
                break;
            };
            let values = other.values.get(index * limits.values..(index + 1) * limits.values);
            self.put(limits, key, *kept, values.filter(|_| kept.live));
        }
    }

    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What counts: each group with the integers of its rows. A group whose rows all left is none.
    pub fn groups(&self, limits: Limits) -> impl Iterator<Item = (&GroupKey, LiveRows<'_>)> {
        let mut from = 0;
        self.groups.iter().filter_map(move |(tag, key)| {
            let rows = self.rows.get(from..).unwrap_or_default();
            let count = rows.iter().take_while(|kept| kept.group == *tag).count();
            let rows = rows.get(..count).unwrap_or_default();
            let all = from * limits.values..(from + count) * limits.values;
            let values = self.values.get(all).unwrap_or_default();
            from += count;
            let live = rows.iter().any(|kept| kept.live);
            live.then_some((key, LiveRows { rows, values, width: limits.values }))
        })
    }

    /// Marks the row as gone from all groups but `to`. Whether no later change of it is known.
    fn leave(&mut self, limits: Limits, row: Tag, order: u64, to: Option<Tag>) -> bool {
        let mut newest = true;
        for (index, kept) in self.rows.iter_mut().enumerate() {
            if kept.row != row || Some(kept.group) == to {
                continue;
            }
            if kept.order > order {
                newest = false;
            } else if kept.live || kept.order < order {
                (kept.live, kept.order) = (false, order);
                let all = index * limits.values..(index + 1) * limits.values;
                self.values.get_mut(all).unwrap_or_default().fill(0);
            }
        }
        newest
    }

    fn put(&mut self, limits: Limits, key: &GroupKey, kept: Kept, values: Option<&[i64]>) {
        let found = self.groups.binary_search_by(|(tag, _)| tag.cmp(&kept.group));
        if let Err(place) = found
            && place >= limits.groups as usize
        {
            return;
        }
        let place = self.rows.partition_point(|at| (at.group, at.row) < (kept.group, kept.row));
        let span = place * limits.values..(place + 1) * limits.values;
        if let Some(before) = self.rows.get_mut(place)
            && (before.group, before.row) == (kept.group, kept.row)
        {
            // A change that is seen again, or after a later one, changes nothing.
            if before.order < kept.order {
                *before = kept;
                let here = self.values.get_mut(span).unwrap_or_default();
                match values {
                    Some(values) => here.copy_from_slice(values),
                    None => here.fill(0),
                }
            }
            return;
        }
        let first = self.rows.partition_point(|at| at.group < kept.group);
        if place - first >= limits.rows as usize {
            return;
        }
        self.rows.insert(place, kept);
        let at = span.start;
        match values {
            Some(values) => drop(self.values.splice(at..at, values.iter().copied())),
            None => drop(self.values.splice(at..at, std::iter::repeat_n(0, limits.values))),
        }
        match found {
            Ok(_) => {
                let end = self.rows.partition_point(|at| at.group <= kept.group);
                if end - first > limits.rows as usize {
                    self.rows.remove(end - 1);
                    self.values.drain((end - 1) * limits.values..end * limits.values);
                }
            }
            Err(place) => {
                self.groups.insert(place, (kept.group, key.clone()));
                if self.groups.len() > limits.groups as usize {
                    self.groups.pop();
                    let last = self.groups.last().map_or(0, |(tag, _)| *tag);
                    let end = self.rows.partition_point(|at| at.group <= last);
                    self.rows.truncate(end);
                    self.values.truncate(end * limits.values);
                }
            }
        }
    }

    /// Canonical bytes, version 1 (docs/formats.md, Kept rows).
    pub fn to_bytes(&self, limits: Limits) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&length(self.groups.len()));
        let mut index = 0;
        for (tag, key) in &self.groups {
            bytes.extend_from_slice(&tag.to_be_bytes());
            bytes.extend_from_slice(&length(key.0.len()));
            bytes.extend_from_slice(&key.0);
            let rows = self.rows.iter().skip(index).take_while(|kept| kept.group == *tag);
            let count = rows.clone().count();
            bytes.extend_from_slice(&length(count));
            for kept in rows {
                bytes.extend_from_slice(&kept.row.to_be_bytes());
                bytes.extend_from_slice(&kept.order.to_be_bytes());
                bytes.push(u8::from(kept.live));
                if kept.live {
                    let all = index * limits.values..(index + 1) * limits.values;
                    let values = self.values.get(all).unwrap_or_default();
                    values.iter().for_each(|value| varint(&mut bytes, *value));
                }
                index += 1;
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
            let group = reader.tag()?;
            let key_length = reader.length()?;
            let key = GroupKey::of_bytes(reader.take(key_length)?)?;
            let rows = reader.length()?;
            let ascending = read.groups.last().is_none_or(|(last, _)| *last < group);
            if !ascending || rows == 0 || rows > limits.rows as usize {
                return Err(BoundedFault);
            }
            read.groups.push((group, key));
            for at in 0..rows {
                let row = reader.tag()?;
                let order = u64::from_be_bytes(reader.array()?);
                let live = match reader.take(1)? {
                    [0] => false,
                    [1] => true,
                    _ => return Err(BoundedFault),
                };
                if at > 0 && read.rows.last().is_some_and(|last| last.row >= row) {
                    return Err(BoundedFault);
                }
                read.rows.push(Kept { group, row, order, live });
                for _ in 0..limits.values {
                    read.values.push(if live { reader.varint()? } else { 0 });
                }
            }
        }
        match reader.0.is_empty() && groups <= limits.groups as usize {
            true => Ok(read),
            false => Err(BoundedFault),
        }
    }
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
