//! Keyed tags: which rows and groups of a person come first. Nobody without the keys can steer it,
//! and no two windows have the same order.

use douane_schemas::keys::{Key, Purpose};
use douane_schemas::tuple::Tuple;

use super::bounding::{GroupKey, Tag};
use super::window::Window;
use crate::cmac::{BLOCK, Batch, Cmac, Head};

/// A person: 16 keyed bytes, the same wherever the identity space is the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(pub [u8; 16]);

impl Unit {
    /// The first 16 bytes of HMAC-SHA-256 over tuple(text identity space, text canonical value),
    /// under the key of purpose `unit` of the identity space. That key is none of its tokens', and
    /// is not rotated with them: who had two tokens would have two budgets.
    pub fn new(key: &Key, space: &str, subject: &str) -> Self {
        debug_assert_eq!(key.purpose(), Purpose::Unit);
        let mac = key.mac(Tuple::new().text(space).text(subject));
        let mut unit = [0; 16];
        unit.copy_from_slice(&mac[..16]);
        Self(unit)
    }
}

/// Units are pseudonyms of persons.
impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unit(..)")
    }
}

/// The tags of one window.
pub struct Sampler {
    rows: Cmac,
    groups: Cmac,
    batch: Batch,
    tags: Vec<[u8; BLOCK]>,
}

/// Of a tuple(bytes unit, bytes row or group): all but the last field's bytes.
const FIELD: usize = 26;

impl Sampler {
    /// AES-256-CMAC over tuple(bytes unit, bytes row), and of groups alike, under keys that HKDF makes
    /// of `samp-row` and `samp-group` for the window.
    pub fn new(row: &Key, group: &Key, window: Window) -> Self {
        debug_assert_eq!((row.purpose(), group.purpose()), (Purpose::SampRow, Purpose::SampGroup));
        let of = |key: &Key| {
            let window = Tuple::new().signed(window.start_ms).signed(window.end_ms);
            Cmac::new(key.subkey(window).secret())
        };
        Self { rows: of(row), groups: of(group), batch: Batch::default(), tags: Vec::new() }
    }

    /// The tags of rows, each told by its unit and its stable bytes: a primary key, or where an event
    /// lies in its source; never when it came.
    pub fn rows<'a>(&mut self, rows: impl IntoIterator<Item = (Unit, &'a [u8])>) -> Vec<Tag> {
        let head = Head::default();
        for (unit, row) in rows {
            self.rows.push(&head, &field(unit, row.len()), row, &mut self.batch);
        }
        self.tags.clear();
        self.rows.finish(&head, &mut self.batch, &mut self.tags);
        self.tags.iter().map(|tag| Tag::from_be_bytes(*tag)).collect()
    }

    /// The tags of groups.
    pub fn groups<'a>(
        &mut self,
        groups: impl IntoIterator<Item = (Unit, &'a GroupKey)>,
    ) -> Vec<Tag> {
        let head = Head::default();
        for (unit, group) in groups {
            let bytes = group.bytes();
            self.groups.push(&head, &field(unit, bytes.len()), bytes, &mut self.batch);
        }
        self.tags.clear();
        self.groups.finish(&head, &mut self.batch, &mut self.tags);
        self.tags.iter().map(|tag| Tag::from_be_bytes(*tag)).collect()
    }
}

fn field(unit: Unit, length: usize) -> [u8; FIELD] {
    let mut field = [0; FIELD];
    field[0] = b'b';
    field[1..5].copy_from_slice(&16_u32.to_be_bytes());
    field[5..21].copy_from_slice(&unit.0);
    field[21] = b'b';
    // As in a tuple: keys are far below 4 GiB.
    field[22..].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    field
}
