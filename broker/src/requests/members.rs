//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup. The first two wait for the group's other members.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Outcome, Request, Say, no_throttle};
use crate::code::{self, Code};
use crate::core::Core;
use crate::groups::{Group, Joined, Joining, SESSION_MAX};
use crate::wire::Writer;

fn duration(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

struct Question<'a> {
    group: &'a str,
    member: &'a str,
    kind: &'a str,
    client: &'a str,
    /// Whether the client takes `MEMBER_ID_REQUIRED` for an answer.
    knows_promises: bool,
    said: Joining,
}

pub(super) fn join(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let group = body.text()?;
    let session = duration(body.i32()?);
    let rebalance = if version >= 1 { duration(body.i32()?) } else { session };
    let member = body.text()?;
    let instance = if version >= 5 { body.nullable_text()?.map(str::to_owned) } else { None };
    let kind = body.text()?;
    let protocols = body.array(|body| Ok((body.text()?.to_owned(), body.bytes()?.to_vec())))?;
    body.tags()?;
    let said = Joining { instance, session, rebalance: rebalance.min(SESSION_MAX), protocols };
    let knows_promises = version >= 4;
    let client = request.client;
    let question = Question { group, member, kind, client, knows_promises, said };
    let (member, joined) = enter(core, question);
    answer(version, &member, &joined, out);
    Ok(Say::Answer)
}

/// The member's id and what it joined, once everybody is there.
fn enter(core: &Core, question: Question<'_>) -> (String, Result<Joined, Code>) {
    let Question { group, member, kind, client, knows_promises, said } = question;
    let asked = member.to_owned();
    if said.session.is_zero() || said.session > SESSION_MAX {
        return (asked, Err(Code::InvalidSessionTimeout));
    }
    let mut state = core.state();
    let is_new = member.is_empty();
    let member = if is_new { state.groups.member_id(client) } else { asked };
    let now = Instant::now();
    let entered = state.groups.make(group).and_then(|group| {
        if is_new && knows_promises && said.instance.is_none() {
            group.promise(&member, now);
            return Err(Code::MemberIdRequired);
        }
        group.join(&member, is_new, kind, said, now)
    });
    if let Err(code) = entered {
        return (member, Err(code));
    }
    let joined = wait(core, state, group, |group| group.joined(&member, Instant::now()));
    (member, joined)
}

/// Until the group has an answer.
fn wait<T>(
    core: &Core,
    mut state: std::sync::MutexGuard<'_, crate::state::State>,
    group: &str,
    mut look: impl FnMut(&mut Group) -> Result<Option<T>, Code>,
) -> Result<T, Code> {
    loop {
        let found = state.groups.get(group).ok_or(Code::UnknownMemberId)?;
        if let Some(answer) = look(found)? {
            return Ok(answer);
        }
        if core.is_stopping() {
            return Err(Code::RebalanceInProgress);
        }
        let changed = Arc::clone(&found.changed);
        // Deadlines pass without anybody saying so.
        state = core.wait(state, &changed, Core::BEAT);
    }
}

fn answer(version: i16, member: &str, joined: &Result<Joined, Code>, out: &mut Writer) {
    if version >= 2 {
        no_throttle(out);
    }
    out.i16(code::number(joined));
    let joined = joined.as_ref().ok();
    out.i32(joined.map_or(-1, |joined| joined.generation));
    if version >= 7 {
        out.nullable_text(joined.map(|joined| joined.kind.as_str()));
        out.nullable_text(joined.map(|joined| joined.protocol.as_str()));
    } else {
        out.text(joined.map_or("", |joined| &joined.protocol));
    }
    out.text(joined.map_or("", |joined| &joined.leader));
    out.text(member);
    let members = joined.map_or(&[][..], |joined| &joined.members);
    out.array(members, |out, (id, instance, metadata)| {
        out.text(id);
        if version >= 5 {
            out.nullable_text(instance.as_deref());
        }
        out.bytes(metadata);
    });
    out.tags();
}

pub(super) fn sync(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let (id, generation, member) = (body.text()?, body.i32()?, body.text()?);
    if version >= 3 {
        body.nullable_text()?; // a static member's name
    }
    if version >= 5 {
        body.nullable_text()?;
        body.nullable_text()?;
    }
    let assignments = body.array(|body| Ok((body.text()?, body.bytes()?)))?;
    body.tags()?;

    let mut state = core.state();
    let group = state.groups.get(id).ok_or(Code::UnknownMemberId);
    let begun =
        group.and_then(|group| group.assign(member, generation, assignments, Instant::now()));
    let assigned = begun.and_then(|()| {
        wait(core, state, id, |group| {
            let (kind, protocol) = group.kind_and_protocol();
            let names = (kind.to_owned(), protocol.to_owned());
            Ok(group.assigned(member, generation)?.map(|assignment| (names, assignment)))
        })
    });
    if version >= 1 {
        no_throttle(out);
    }
    out.i16(code::number(&assigned));
    let assigned = assigned.ok();
    if version >= 5 {
        out.nullable_text(assigned.as_ref().map(|((kind, _), _)| kind.as_str()));
        out.nullable_text(assigned.as_ref().map(|((_, protocol), _)| protocol.as_str()));
    }
    out.bytes(assigned.as_ref().map_or(&[], |(_, assignment)| assignment));
    out.tags();
    Ok(Say::Answer)
}

pub(super) fn heartbeat(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let (group, generation, member) = (body.text()?, body.i32()?, body.text()?);
    if version >= 3 {
        body.nullable_text()?; // a static member's name
    }
    body.tags()?;
    let mut state = core.state();
    let group = state.groups.get(group).ok_or(Code::UnknownMemberId);
    let outcome = group.and_then(|group| group.heartbeat(member, generation, Instant::now()));
    if version >= 1 {
        no_throttle(out);
    }
    out.i16(code::number(&outcome));
    out.tags();
    Ok(Say::Answer)
}

pub(super) fn leave(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let group = body.text()?;
    let members = if version <= 2 {
        vec![(body.text()?, None)]
    } else {
        body.array(|body| {
            let member = (body.text()?, body.nullable_text()?);
            if version >= 5 {
                body.nullable_text()?; // why it goes
            }
            Ok(member)
        })?
    };
    body.tags()?;

    let mut state = core.state();
    let mut leave = |(id, instance): &(&str, Option<&str>)| {
        let group = state.groups.get(group).ok_or(Code::UnknownMemberId)?;
        group.leave(id, *instance, Instant::now())
    };
    let gone: Vec<_> = members.iter().map(|member| (member, leave(member))).collect();
    if version >= 1 {
        no_throttle(out);
    }
    if version <= 2 {
        out.i16(gone.first().map_or(0, |(_, outcome)| code::number(outcome)));
    } else {
        out.i16(0);
        out.array(&gone, |out, ((id, instance), outcome)| {
            out.text(id);
            out.nullable_text(*instance);
            out.i16(code::number(outcome));
        });
    }
    out.tags();
    Ok(Say::Answer)
}
