//! Requests and their answers. Each is read to its end before anything is done, so that a malformed one has no effect.

use std::sync::{Arc, Condvar};

use crate::core::Core;
use crate::wire::{Malformed, Reader, Writer};

mod groups;
mod members;
mod positions;
mod producers;
mod records;
mod settings;
mod topics;
mod versions;

pub(crate) use versions::unknown_version;

/// A request behind its header.
pub(crate) struct Request<'a> {
    pub version: i16,
    pub client: &'a str,
    pub body: Reader<'a>,
    /// What wakes the connection's thread.
    pub woken: &'a Arc<Condvar>,
}

/// Whether the client waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    Answer,
    Nothing,
}

pub(crate) type Outcome = Result<Say, Malformed>;

/// A request that this broker understands.
pub(crate) struct Offer {
    pub key: i16,
    pub versions: std::ops::RangeInclusive<i16>,
    /// The first version with compact lengths and tagged fields.
    pub flexible: i16,
    pub answer: fn(&Core, Request<'_>, &mut Writer) -> Outcome,
}

const fn offer(
    key: i16,
    versions: std::ops::RangeInclusive<i16>,
    flexible: i16,
    answer: fn(&Core, Request<'_>, &mut Writer) -> Outcome,
) -> Offer {
    Offer { key, versions, flexible, answer }
}

/// Its answer's header is never flexible, and its unknown versions are answered in version 0.
pub(crate) const API_VERSIONS: i16 = 18;

/// Exactly what is implemented, and offered.
pub(crate) static ALL: &[Offer] = &[
    offer(0, 3..=9, 9, records::produce),
    offer(1, 4..=16, 12, records::fetch),
    offer(2, 1..=7, 6, positions::list_offsets),
    offer(3, 0..=12, 9, topics::metadata),
    offer(8, 2..=8, 8, groups::offset_commit),
    offer(9, 1..=7, 6, groups::offset_fetch),
    offer(10, 0..=4, 3, groups::find_coordinator),
    offer(11, 0..=7, 6, members::join),
    offer(12, 0..=4, 4, members::heartbeat),
    offer(13, 0..=5, 4, members::leave),
    offer(14, 0..=5, 4, members::sync),
    offer(API_VERSIONS, 0..=3, 3, versions::api_versions),
    offer(19, 2..=7, 5, topics::create),
    offer(20, 1..=5, 4, topics::delete),
    offer(21, 0..=2, 2, positions::delete_records),
    offer(22, 0..=4, 2, producers::init),
    offer(23, 2..=4, 4, positions::leader_epochs),
    offer(24, 0..=3, 3, producers::add_partitions),
    offer(25, 0..=3, 3, producers::add_offsets),
    offer(26, 0..=3, 3, producers::end),
    offer(28, 0..=3, 3, producers::commit_offsets),
    offer(32, 1..=4, 4, settings::describe),
    offer(33, 0..=2, 2, settings::alter),
    offer(37, 0..=3, 2, topics::grow),
    offer(44, 0..=1, 1, settings::alter_some),
];

/// No quota is ever due.
pub(crate) fn no_throttle(out: &mut Writer) {
    out.i32(0);
}
