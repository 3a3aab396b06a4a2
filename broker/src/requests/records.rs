//! Produce and Fetch: the way of the data.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Outcome, Request, Say, no_throttle};
use crate::batch::{Header, now_ms};
use crate::code::{self, Code};
use crate::core::Core;
use crate::state::State;
use crate::topics::TopicId;
use crate::wire::{Malformed, Reader, Writer};

/// However long a client would wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

struct Sent<'a> {
    partition: i32,
    records: Option<&'a [u8]>,
}

/// Where a batch lies.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    base: i64,
    /// When it was appended, where that time counts.
    time: Option<i64>,
    /// The start of the log.
    start: i64,
}

/// A partition, and where its batch lies, or why nothing was appended.
type Appended = (i32, Result<Place, Code>);

pub(super) fn produce(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let body = &mut request.body;
    let id = body.nullable_text()?;
    let acks = body.i16()?;
    body.i32()?; // nothing here takes as long as a timeout
    let topics = body.array(|body| {
        let name = body.text()?;
        let sent = body
            .array(|body| Ok(Sent { partition: body.i32()?, records: body.nullable_bytes()? }))?;
        Ok((name, sent))
    })?;
    body.tags()?;

    let answers: Vec<(&str, Vec<Appended>)> = topics
        .iter()
        .map(|(topic, sent)| {
            let append = |sent: &Sent<'_>| {
                let outcome = match (-1..=1).contains(&acks) {
                    true => append(core, id, topic, sent),
                    false => Err(Code::InvalidRequiredAcks),
                };
                (sent.partition, outcome)
            };
            (*topic, sent.iter().map(append).collect())
        })
        .collect();
    if acks == 0 {
        return Ok(Say::Nothing);
    }
    out.array(&answers, |out, (topic, appended)| {
        out.text(topic);
        out.array(appended, |out, (partition, outcome)| {
            out.i32(*partition);
            out.i16(code::number(outcome));
            out.i64(outcome.map_or(-1, |place| place.base));
            out.i64(outcome.ok().and_then(|place| place.time).unwrap_or(-1));
            if request.version >= 5 {
                out.i64(outcome.map_or(-1, |place| place.start));
            }
            if request.version >= 8 {
                out.list::<()>(&[], |_, ()| {}); // no record is refused alone
                let full = *outcome == Err(Code::PolicyViolation);
                out.nullable_text(
                    full.then_some("the development broker's memory limit is reached"),
                );
            }
        });
    });
    no_throttle(out);
    out.tags();
    Ok(Say::Answer)
}

fn append(core: &Core, id: Option<&str>, topic: &str, sent: &Sent<'_>) -> Result<Place, Code> {
    let bytes = sent.records.ok_or(Code::InvalidRecord)?;
    // Before the lock: this looks at every byte.
    let header = Header::of(bytes)?;
    let mut state = core.state();
    let found = state.topics.get(topic).ok_or(Code::UnknownTopicOrPartition)?;
    let now = now_ms();
    let time = found.settings.has_append_time().then_some(now);
    let ahead_max = now.saturating_add(found.settings.ahead_max_ms());
    if time.is_none() && header.timestamp_max > ahead_max {
        return Err(Code::InvalidTimestamp);
    }
    if bytes.len() > found.settings.max_message_bytes() {
        return Err(Code::MessageTooLarge);
    }
    state.topics.log(topic, sent.partition)?;
    state.check_batch(id, &header, (topic, sent.partition))?;
    if state.bytes + bytes.len() > core.bytes_max {
        return Err(Code::PolicyViolation);
    }
    let log = state.topics.log(topic, sent.partition)?;
    let before = log.bytes();
    let base = log.append(&header, bytes, time)?;
    let (more, start) = (log.bytes() - before, log.start());
    state.bytes += more;
    Ok(Place { base, time, start })
}

/// A topic in a Fetch: by name until version 12, then by id.
enum Named<'a> {
    Name(&'a str),
    Id(TopicId),
}

struct Wanted {
    partition: i32,
    leader_epoch: i32,
    from: i64,
    bytes_max: usize,
}

struct Question<'a> {
    wait: Duration,
    bytes_min: usize,
    bytes_max: usize,
    committed_only: bool,
    topics: Vec<(Named<'a>, Vec<Wanted>)>,
}

fn question<'a>(body: &mut Reader<'a>, version: i16) -> Result<Question<'a>, Malformed> {
    if version < 15 {
        body.i32()?; // a replica's id: a client has none
    }
    let wait_ms = u64::try_from(body.i32()?).unwrap_or(0);
    let bytes_min = usize::try_from(body.i32()?).unwrap_or(0);
    let bytes_max = usize::try_from(body.i32()?).unwrap_or(0);
    let committed_only = body.i8()? == 1;
    if version >= 7 {
        // No session is ever opened, so each question names all that it wants.
        body.i32()?;
        body.i32()?;
    }
    let topics = body.array(|body| {
        let named = topic(body, version)?;
        let wanted = body.array(|body| {
            let partition = body.i32()?;
            let leader_epoch = if version >= 9 { body.i32()? } else { -1 };
            let from = body.i64()?;
            if version >= 12 {
                body.i32()?; // epoch of the last record
            }
            if version >= 5 {
                body.i64()?; // a replica's start
            }
            let bytes_max = usize::try_from(body.i32()?).unwrap_or(0);
            Ok(Wanted { partition, leader_epoch, from, bytes_max })
        })?;
        Ok((named, wanted))
    })?;
    if version >= 7 {
        body.array(|body| {
            topic(body, version)?;
            body.list(Reader::i32)
        })?;
    }
    if version >= 11 {
        body.text()?; // the client's rack
    }
    body.tags()?;
    let wait = Duration::from_millis(wait_ms).min(WAIT_MAX);
    Ok(Question { wait, bytes_min, bytes_max, committed_only, topics })
}

fn topic<'a>(body: &mut Reader<'a>, version: i16) -> Result<Named<'a>, Malformed> {
    if version < 13 { body.text().map(Named::Name) } else { super::topics::id(body).map(Named::Id) }
}

/// What a reader gets of one partition.
struct Part {
    partition: i32,
    outcome: Result<(), Code>,
    end: i64,
    stable: i64,
    start: i64,
    aborted: Vec<(i64, i64)>,
    batches: Vec<Arc<[u8]>>,
}

pub(super) fn fetch(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let question = question(&mut request.body, request.version)?;
    let deadline = Instant::now() + question.wait;
    let mut state = core.state();
    let mut waits = false;
    let answers = loop {
        let (answers, size) = look(&mut state, &question);
        let faulty = answers.iter().flatten().any(|part| part.outcome.is_err());
        let left = deadline.saturating_duration_since(Instant::now());
        if faulty || size >= question.bytes_min || left.is_zero() || core.is_stopping() {
            break answers;
        }
        if !waits {
            waits = true;
            each_log(&mut state, &question, |log| log.wait(request.woken));
        }
        state = core.wait(state, request.woken, left);
    };
    if waits {
        each_log(&mut state, &question, |log| log.wait_no_more(request.woken));
    }
    // Batches are shared with the log: they are copied without the lock.
    drop(state);
    answer(request.version, &question, &answers, out);
    Ok(Say::Answer)
}

fn each_log(
    state: &mut State,
    question: &Question<'_>,
    mut deed: impl FnMut(&mut crate::log::Log),
) {
    for (named, wanted) in &question.topics {
        let Ok(name) = name(state, named) else { continue };
        for wanted in wanted {
            if let Ok(log) = state.topics.log(&name, wanted.partition) {
                deed(log);
            }
        }
    }
}

fn name(state: &State, named: &Named<'_>) -> Result<String, Code> {
    match named {
        Named::Name(name) => Ok((*name).to_owned()),
        Named::Id(id) => state.topics.name(*id).map(str::to_owned).ok_or(Code::UnknownTopicId),
    }
}

/// What is there now, per topic and partition, and how many bytes of records.
fn look(state: &mut State, question: &Question<'_>) -> (Vec<Vec<Part>>, usize) {
    let mut size = 0;
    let mut topics = Vec::with_capacity(question.topics.len());
    for (named, wanted) in &question.topics {
        let name = name(state, named);
        let mut parts = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let room = question.bytes_max.saturating_sub(size).min(wanted.bytes_max);
            let name = name.as_deref().map_err(|code| *code);
            let part = part(state, name, wanted, question.committed_only, room, size == 0);
            size += part.batches.iter().map(|batch| batch.len()).sum::<usize>();
            parts.push(part);
        }
        topics.push(parts);
    }
    (topics, size)
}

fn part(
    state: &mut State,
    name: Result<&str, Code>,
    wanted: &Wanted,
    committed_only: bool,
    room: usize,
    at_least_one: bool,
) -> Part {
    let mut part = Part {
        partition: wanted.partition,
        outcome: Ok(()),
        end: -1,
        stable: -1,
        start: -1,
        aborted: Vec::new(),
        batches: Vec::new(),
    };
    let log = match name.and_then(|name| state.topics.log(name, wanted.partition)) {
        Ok(log) => log,
        Err(code) => {
            part.outcome = Err(code);
            return part;
        }
    };
    if wanted.leader_epoch > 0 {
        part.outcome = Err(Code::UnknownLeaderEpoch);
        return part;
    }
    (part.end, part.stable, part.start) = (log.end(), log.stable(), log.start());
    if wanted.from < part.start || wanted.from > part.end {
        part.outcome = Err(Code::OffsetOutOfRange);
        return part;
    }
    let limit = if committed_only { part.stable } else { part.end };
    let slice = log.read(wanted.from, limit, room, at_least_one);
    if committed_only {
        let aborted = log.aborted(wanted.from, slice.end);
        part.aborted = aborted.map(|aborted| (aborted.producer, aborted.first)).collect();
    }
    part.batches = slice.batches;
    part
}

fn answer(version: i16, question: &Question<'_>, answers: &[Vec<Part>], out: &mut Writer) {
    no_throttle(out);
    if version >= 7 {
        out.i16(0);
        out.i32(0); // no session
    }
    let topics: Vec<_> = question.topics.iter().zip(answers).collect();
    out.array(&topics, |out, ((named, _), parts)| {
        match named {
            Named::Name(name) => out.text(name),
            Named::Id(id) => out.raw(&id.0),
        }
        out.array(parts, |out, part| {
            out.i32(part.partition);
            out.i16(code::number(&part.outcome));
            out.i64(part.end);
            out.i64(part.stable);
            if version >= 5 {
                out.i64(part.start);
            }
            if question.committed_only && part.outcome.is_ok() {
                out.array(&part.aborted, |out, (producer, first)| {
                    out.i64(*producer);
                    out.i64(*first);
                });
            } else {
                out.null_array();
            }
            if version >= 11 {
                out.i32(-1); // no other replica to read from
            }
            out.pieces(&part.batches);
        });
    });
    out.tags();
}
