//! FindCoordinator, OffsetCommit, OffsetFetch.

use super::{Outcome, Request, Say, no_throttle};
use crate::code::{self, Code};
use crate::core::{Core, HOST, NODE};
use crate::groups::{Committed, Group};
use crate::wire::{Malformed, Reader, Writer};

pub(super) fn find_coordinator(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let mut keys = Vec::new();
    if version <= 3 {
        keys.push(body.text()?);
    }
    if version >= 1 {
        body.i8()?; // of a group or of a transaction: this node is both
    }
    if version >= 4 {
        keys = body.list(Reader::text)?;
    }
    body.tags()?;

    if version >= 1 {
        no_throttle(out);
    }
    let port = i32::from(core.port);
    if version >= 4 {
        out.array(&keys, |out, key| {
            out.text(key);
            out.i32(NODE);
            out.text(HOST);
            out.i32(port);
            out.i16(0);
            out.nullable_text(None);
        });
    } else {
        out.i16(0);
        if version >= 1 {
            out.nullable_text(None);
        }
        out.i32(NODE);
        out.text(HOST);
        out.i32(port);
    }
    out.tags();
    Ok(Say::Answer)
}

pub(super) fn offset_commit(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let (group, generation, member) = (body.text()?, body.i32()?, body.text()?);
    if version >= 7 {
        body.nullable_text()?; // a static member's name
    }
    if version <= 4 {
        body.i64()?; // retention: kept as long as the broker lives
    }
    let topics = offsets(body, version >= 6)?;
    body.tags()?;

    let mut state = core.state();
    let allowed = state.groups.for_commit(group, generation);
    let allowed = allowed.and_then(|group| group.check(member, generation));
    if version >= 3 {
        no_throttle(out);
    }
    out.array(&topics, |out, (topic, offsets)| {
        out.text(topic);
        out.array(offsets, |out, (partition, offset)| {
            let known = state.topics.log(topic, *partition).map(drop);
            let outcome: Result<(), Code> = allowed.and(known);
            if let (Ok(()), Some(group)) = (outcome, state.groups.get(group)) {
                group.commit(topic, *partition, offset.clone());
            }
            out.i32(*partition);
            out.i16(code::number(&outcome));
        });
    });
    out.tags();
    Ok(Say::Answer)
}

/// Offsets to be committed, by topic and partition.
pub(super) fn offsets<'b>(
    body: &mut Reader<'b>,
    has_leader_epoch: bool,
) -> Result<Vec<(&'b str, Vec<(i32, Committed)>)>, Malformed> {
    body.array(|body| {
        let name = body.text()?;
        let offsets = body.array(|body| {
            let (partition, offset) = (body.i32()?, body.i64()?);
            let leader_epoch = if has_leader_epoch { body.i32()? } else { -1 };
            let metadata = body.nullable_text()?.unwrap_or_default().to_owned();
            Ok((partition, Committed { offset, leader_epoch, metadata }))
        })?;
        Ok((name, offsets))
    })
}

pub(super) fn offset_fetch(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let group = body.text()?;
    let asked = body.nullable_array(|body| Ok((body.text()?, body.list(Reader::i32)?)))?;
    let stable_only = version >= 7 && body.bool()?;
    body.tags()?;

    let mut state = core.state();
    let none = Group::default();
    let group = state.groups.get(group).map_or(&none, |group| &*group);
    let asked = asked.unwrap_or_else(|| group.places().into_iter().collect());
    if version >= 3 {
        no_throttle(out);
    }
    out.array(&asked, |out, (topic, partitions)| {
        out.text(topic);
        out.array(partitions, |out, partition| {
            let held = stable_only && group.is_held(topic, *partition);
            let found = group.committed(topic, *partition).filter(|_| !held);
            out.i32(*partition);
            out.i64(found.map_or(-1, |committed| committed.offset));
            if version >= 5 {
                out.i32(found.map_or(-1, |committed| committed.leader_epoch));
            }
            out.nullable_text(Some(found.map_or("", |committed| &committed.metadata)));
            out.i16(if held { Code::UnstableOffsetCommit as i16 } else { 0 });
        });
    });
    if version >= 2 {
        out.i16(0);
    }
    out.tags();
    Ok(Say::Answer)
}
