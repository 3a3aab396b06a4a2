//! InitProducerId and what a transaction is made of: AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn.

use std::time::Duration;

use super::groups::offsets;
use super::{Outcome, Request, Say, no_throttle};
use crate::batch::{End, NO_PRODUCER};
use crate::code::{self, Code};
use crate::core::Core;
use crate::transactions::Holder;
use crate::wire::{Malformed, Reader, Writer};

fn holder(body: &mut Reader<'_>) -> Result<Holder, Malformed> {
    Ok(Holder { producer: body.i64()?, epoch: body.i16()? })
}

pub(super) fn init(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let id = body.nullable_text()?;
    let timeout = Duration::from_millis(u64::try_from(body.i32()?).unwrap_or(0));
    let expected = if version >= 3 { Some(holder(body)?) } else { None };
    let expected = expected.filter(|expected| expected.producer != NO_PRODUCER);
    body.tags()?;

    let mut state = core.state();
    let given = match id {
        None => Ok(state.idempotent_producer()),
        Some("") => Err(Code::InvalidRequest),
        Some(id) => state.take_over(id, timeout, expected),
    };
    let given = if version < 4 { given.map_err(Code::for_old_clients) } else { given };
    no_throttle(out);
    out.i16(code::number(&given));
    let Holder { producer, epoch } = given.unwrap_or(Holder { producer: NO_PRODUCER, epoch: -1 });
    out.i64(producer);
    out.i16(epoch);
    out.tags();
    Ok(Say::Answer)
}

pub(super) fn add_partitions(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let id = body.text()?;
    let holder = holder(body)?;
    let topics = body.array(|body| Ok((body.text()?, body.list(Reader::i32)?)))?;
    body.tags()?;

    let mut state = core.state();
    let all: Vec<(&str, i32)> =
        topics.iter().flat_map(|(topic, of)| of.iter().map(move |p| (*topic, *p))).collect();
    let mut is_known =
        |(topic, partition): &(&str, i32)| state.topics.log(topic, *partition).is_ok();
    let unknown: Vec<(&str, i32)> = all.iter().filter(|place| !is_known(place)).copied().collect();
    let outcome = match unknown.is_empty() {
        true => state.add_partitions(id, holder, &all),
        false => Err(Code::OperationNotAttempted),
    };
    let outcome = if version < 2 { outcome.map_err(Code::for_old_clients) } else { outcome };
    no_throttle(out);
    out.array(&topics, |out, (topic, partitions)| {
        out.text(topic);
        out.array(partitions, |out, partition| {
            let outcome = match unknown.contains(&(*topic, *partition)) {
                true => Err(Code::UnknownTopicOrPartition),
                false => outcome,
            };
            out.i32(*partition);
            out.i16(code::number(&outcome));
        });
    });
    out.tags();
    Ok(Say::Answer)
}

pub(super) fn add_offsets(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let id = body.text()?;
    let holder = holder(body)?;
    let group = body.text()?;
    body.tags()?;
    let outcome = core.state().add_group(id, holder, group);
    answer(outcome, version >= 2, out)
}

pub(super) fn end(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let id = body.text()?;
    let holder = holder(body)?;
    let end = if body.bool()? { End::Commit } else { End::Abort };
    body.tags()?;
    let outcome = core.state().end_transaction(id, holder, end);
    answer(outcome, version >= 2, out)
}

fn answer(outcome: Result<(), Code>, knows_fenced: bool, out: &mut Writer) -> Outcome {
    let outcome = if knows_fenced { outcome } else { outcome.map_err(Code::for_old_clients) };
    no_throttle(out);
    out.i16(code::number(&outcome));
    out.tags();
    Ok(Say::Answer)
}

pub(super) fn commit_offsets(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let (id, group) = (body.text()?, body.text()?);
    let holder = holder(body)?;
    let member = match version >= 3 {
        true => {
            let (generation, member) = (body.i32()?, body.text()?);
            body.nullable_text()?; // a static member's name
            Some((generation, member))
        }
        false => None,
    };
    let topics = offsets(body, version >= 2)?;
    body.tags()?;

    let mut state = core.state();
    let allowed = match member {
        Some((generation, member)) => {
            let group = state.groups.for_commit(group, generation);
            group.and_then(|group| group.check_transactional(member, generation))
        }
        None => Ok(()),
    };
    no_throttle(out);
    out.array(&topics, |out, (topic, offsets)| {
        out.text(topic);
        out.array(offsets, |out, (partition, offset)| {
            let outcome = allowed
                .and_then(|()| state.topics.log(topic, *partition).map(drop))
                .and_then(|()| {
                    state.hold_offset(id, holder, (group, topic, *partition), offset.clone())
                })
                .map_err(Code::for_old_clients);
            out.i32(*partition);
            out.i16(code::number(&outcome));
        });
    });
    out.tags();
    Ok(Say::Answer)
}
