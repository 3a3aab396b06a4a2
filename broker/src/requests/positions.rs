//! ListOffsets, DeleteRecords and OffsetForLeaderEpoch: questions about where a log begins and ends.

use super::{Outcome, Request, Say, no_throttle};
use crate::code::{self, Code};
use crate::core::Core;
use crate::state::State;
use crate::wire::Writer;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const LARGEST_TIME: i64 = -3;
/// The first version with that word.
const WITH_LARGEST_TIME: i16 = 7;

pub(super) fn list_offsets(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    body.i32()?; // a replica's id: a client has none
    let committed_only = version >= 2 && body.i8()? == 1;
    let topics = body.array(|body| {
        let name = body.text()?;
        let questions = body.array(|body| {
            let partition = body.i32()?;
            if version >= 4 {
                body.i32()?; // leader epoch
            }
            Ok((partition, body.i64()?))
        })?;
        Ok((name, questions))
    })?;
    body.tags()?;

    let mut state = core.state();
    if version >= 2 {
        no_throttle(out);
    }
    out.array(&topics, |out, (topic, questions)| {
        out.text(topic);
        out.array(questions, |out, (partition, time)| {
            let found = match *time {
                LATEST | EARLIEST | 0.. => {
                    find(&mut state, topic, *partition, *time, committed_only)
                }
                LARGEST_TIME if version >= WITH_LARGEST_TIME => {
                    find(&mut state, topic, *partition, *time, committed_only)
                }
                _ => Err(Code::UnsupportedVersion),
            };
            let (offset, time) = found.unwrap_or((-1, -1));
            out.i32(*partition);
            out.i16(code::number(&found));
            out.i64(time);
            out.i64(offset);
            if version >= 4 {
                out.i32(if offset >= 0 { 0 } else { -1 });
            }
        });
    });
    out.tags();
    Ok(Say::Answer)
}

/// Offset and time; -1 for both where no record is so late.
fn find(
    state: &mut State,
    topic: &str,
    partition: i32,
    time: i64,
    committed_only: bool,
) -> Result<(i64, i64), Code> {
    let log = state.topics.log(topic, partition)?;
    let end = if committed_only { log.stable() } else { log.end() };
    let readable = |(offset, _): &(i64, i64)| *offset < end;
    Ok(match time {
        LATEST => (end, -1),
        EARLIEST => (log.start(), -1),
        LARGEST_TIME => log.at_largest_time().filter(readable).unwrap_or((-1, -1)),
        time => log.at_time(time).filter(readable).unwrap_or((-1, -1)),
    })
}

pub(super) fn delete_records(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let body = &mut request.body;
    let topics = body.array(|body| {
        let name = body.text()?;
        let offsets = body.array(|body| Ok((body.i32()?, body.i64()?)))?;
        Ok((name, offsets))
    })?;
    body.i32()?; // nothing here takes as long as a timeout
    body.tags()?;

    let mut state = core.state();
    no_throttle(out);
    out.array(&topics, |out, (topic, offsets)| {
        out.text(topic);
        out.array(offsets, |out, (partition, offset)| {
            let outcome = delete(&mut state, topic, *partition, *offset);
            out.i32(*partition);
            out.i64(outcome.unwrap_or(-1));
            out.i16(code::number(&outcome));
        });
    });
    out.tags();
    Ok(Say::Answer)
}

/// The new start of the log; -1 deletes all.
fn delete(state: &mut State, topic: &str, partition: i32, before: i64) -> Result<i64, Code> {
    let deletes = state.topics.get(topic).is_none_or(|topic| topic.settings.deletes());
    if !deletes {
        return Err(Code::PolicyViolation);
    }
    let log = state.topics.log(topic, partition)?;
    let held = log.bytes();
    let start = log.delete_before(if before < 0 { log.end() } else { before })?;
    let freed = held - log.bytes();
    state.bytes -= freed;
    Ok(start)
}

pub(super) fn leader_epochs(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    if version >= 3 {
        body.i32()?; // a replica's id: a client has none
    }
    let topics = body.array(|body| {
        let name = body.text()?;
        let epochs = body.array(|body| {
            let partition = body.i32()?;
            body.i32()?; // the epoch that the client takes for the leader's
            Ok((partition, body.i32()?))
        })?;
        Ok((name, epochs))
    })?;
    body.tags()?;

    let mut state = core.state();
    no_throttle(out);
    out.array(&topics, |out, (topic, epochs)| {
        out.text(topic);
        out.array(epochs, |out, (partition, epoch)| {
            let end = state.topics.log(topic, *partition).map(|log| log.end());
            // A single node has one epoch, 0: of any other nothing is known.
            let known = *epoch >= 0 && end.is_ok();
            out.i16(code::number(&end));
            out.i32(*partition);
            out.i32(if known { 0 } else { -1 });
            out.i64(if known { end.unwrap_or(-1) } else { -1 });
        });
    });
    out.tags();
    Ok(Say::Answer)
}
