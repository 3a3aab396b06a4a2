//! Metadata, CreateTopics, DeleteTopics, CreatePartitions.

use super::{Outcome, Request, Say, no_throttle};
use crate::code::{self, Code};
use crate::core::{Core, HOST, NODE};
use crate::settings::Settings;
use crate::state::State;
use crate::topics::TopicId;
use crate::wire::{Malformed, Reader, Writer};

pub(super) fn id(body: &mut Reader<'_>) -> Result<TopicId, Malformed> {
    let bytes = body.raw(16)?.try_into().map_err(|_| Malformed("a topic id is cut off"))?;
    Ok(TopicId(bytes))
}

/// Rights were not asked for.
const NO_RIGHTS: i32 = i32::MIN;

/// A topic in the answer: its name, its id, and how many partitions, or why it is not there.
struct Described {
    name: Option<String>,
    id: TopicId,
    partitions: Result<i32, Code>,
}

pub(super) fn metadata(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let asked = body.nullable_array(|body| {
        let id = if version >= 10 { id(body)? } else { TopicId::NONE };
        let name = if version >= 10 { body.nullable_text()? } else { Some(body.text()?) };
        Ok((id, name))
    })?;
    let may_create = version < 4 || body.bool()?;
    if (8..=10).contains(&version) {
        body.bool()?;
    }
    if version >= 8 {
        body.bool()?;
    }
    body.tags()?;

    let mut state = core.state();
    // An empty list meant all topics once.
    let asked = asked.filter(|asked| version > 0 || !asked.is_empty());
    let topics: Vec<Described> = match asked {
        None => {
            let names: Vec<String> = state.topics.names().map(str::to_owned).collect();
            names.iter().map(|name| by_name(&mut state, name, None)).collect()
        }
        Some(asked) => {
            let create = core.auto_create_partitions.filter(|_| may_create);
            let describe = |(id, name): &(TopicId, Option<&str>)| match name {
                Some(name) => by_name(&mut state, name, create),
                None => by_id(&mut state, *id),
            };
            asked.iter().map(describe).collect()
        }
    };
    drop(state);
    answer(core, version, &topics, out);
    Ok(Say::Answer)
}

fn by_name(state: &mut State, name: &str, create: Option<i32>) -> Described {
    let mut outcome = Ok(());
    if let (None, Some(partitions)) = (state.topics.get(name), create) {
        outcome = state.topics.create(name, partitions, Settings::default()).map(drop);
    }
    let found = outcome.and(state.topics.get(name).ok_or(Code::UnknownTopicOrPartition));
    Described {
        name: Some(name.to_owned()),
        id: found.map_or(TopicId::NONE, |topic| topic.id),
        partitions: found.map(|t| i32::try_from(t.partitions.len()).unwrap_or(i32::MAX)),
    }
}

fn by_id(state: &mut State, id: TopicId) -> Described {
    match state.topics.name(id).map(str::to_owned) {
        Some(name) => by_name(state, &name, None),
        None => Described { name: None, id, partitions: Err(Code::UnknownTopicId) },
    }
}

fn answer(core: &Core, version: i16, topics: &[Described], out: &mut Writer) {
    if version >= 3 {
        no_throttle(out);
    }
    out.array(&[NODE], |out, node| {
        out.i32(*node);
        out.text(HOST);
        out.i32(i32::from(core.port));
        if version >= 1 {
            out.nullable_text(None); // no rack
        }
    });
    if version >= 2 {
        out.nullable_text(Some(&core.cluster_id));
    }
    if version >= 1 {
        out.i32(NODE); // the controller
    }
    out.array(topics, |out, topic| {
        out.i16(code::number(&topic.partitions));
        match &topic.name {
            None if version < 12 => out.text(""),
            name => out.nullable_text(name.as_deref()),
        }
        if version >= 10 {
            out.raw(&topic.id.0);
        }
        if version >= 1 {
            out.bool(false); // internal
        }
        let partitions: Vec<i32> = (0..topic.partitions.unwrap_or(0)).collect();
        out.array(&partitions, |out, partition| {
            out.i16(0);
            out.i32(*partition);
            out.i32(NODE);
            if version >= 7 {
                out.i32(0); // leader epoch
            }
            out.list(&[NODE], |out, node| out.i32(*node));
            out.list(&[NODE], |out, node| out.i32(*node));
            if version >= 5 {
                out.list(&[], |out, node| out.i32(*node));
            }
        });
        if version >= 8 {
            out.i32(NO_RIGHTS);
        }
    });
    if (8..=10).contains(&version) {
        out.i32(NO_RIGHTS);
    }
    out.tags();
}

struct New<'a> {
    name: &'a str,
    partitions: i32,
    replication: i16,
    settings: Vec<(&'a str, Option<&'a str>)>,
    assigned: Vec<(i32, Vec<i32>)>,
}

impl New<'_> {
    /// One partition and one copy, unless said.
    fn partitions(&self) -> i32 {
        match (self.assigned.len(), self.partitions) {
            (0, -1) => 1,
            (0, partitions) => partitions,
            (assigned, _) => i32::try_from(assigned).unwrap_or(i32::MAX),
        }
    }

    fn settings(&self) -> Result<Settings, Code> {
        if ![1, -1].contains(&self.replication) || self.assigned.iter().any(|(_, on)| *on != [NODE])
        {
            return Err(Code::InvalidReplicationFactor);
        }
        let mut settings = Settings::default();
        for (name, value) in &self.settings {
            settings.set(name, Some(value.ok_or(Code::InvalidConfig)?))?;
        }
        Ok(settings)
    }
}

pub(super) fn create(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let topics = body.array(|body| {
        Ok(New {
            name: body.text()?,
            partitions: body.i32()?,
            replication: body.i16()?,
            assigned: body.array(|body| Ok((body.i32()?, body.list(Reader::i32)?)))?,
            settings: body.array(|body| Ok((body.text()?, body.nullable_text()?)))?,
        })
    })?;
    body.i32()?; // nothing here takes as long as a timeout
    let only_check = body.bool()?;
    body.tags()?;

    let mut state = core.state();
    no_throttle(out);
    out.array(&topics, |out, new| {
        let made = new.settings().and_then(|settings| match only_check {
            true => state.topics.check_new(new.name, new.partitions()).map(|_| TopicId::NONE),
            false => state.topics.create(new.name, new.partitions(), settings),
        });
        out.text(new.name);
        if version >= 7 {
            out.raw(&made.unwrap_or(TopicId::NONE).0);
        }
        out.i16(code::number(&made));
        out.nullable_text(None);
        if version >= 5 {
            out.i32(if made.is_ok() { new.partitions() } else { -1 });
            out.i16(if made.is_ok() { 1 } else { -1 });
            out.list::<()>(&[], |_, ()| {}); // settings are had by asking for them
        }
    });
    out.tags();
    Ok(Say::Answer)
}

pub(super) fn delete(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let names = body.list(Reader::text)?;
    body.i32()?; // nothing here takes as long as a timeout
    body.tags()?;

    let mut state = core.state();
    no_throttle(out);
    out.array(&names, |out, name| {
        let deleted = state.topics.delete(name);
        if let Ok(topic) = &deleted {
            state.bytes -= topic.partitions.iter().map(|log| log.bytes()).sum::<usize>();
            state.groups.forget_topic(name);
        }
        out.text(name);
        out.i16(code::number(&deleted));
        if version >= 5 {
            out.nullable_text(None);
        }
    });
    out.tags();
    Ok(Say::Answer)
}

pub(super) fn grow(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let body = &mut request.body;
    let topics = body.array(|body| {
        let (name, total) = (body.text()?, body.i32()?);
        body.nullable_array(|body| body.list(Reader::i32))?; // one node: nothing to choose
        Ok((name, total))
    })?;
    body.i32()?; // nothing here takes as long as a timeout
    let only_check = body.bool()?;
    body.tags()?;

    let mut state = core.state();
    no_throttle(out);
    out.array(&topics, |out, (name, total)| {
        let grown = match only_check {
            true => state.topics.check_grown(name, *total).map(drop),
            false => state.topics.grow(name, *total),
        };
        out.text(name);
        out.i16(code::number(&grown));
        out.nullable_text(None);
    });
    out.tags();
    Ok(Say::Answer)
}
