//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs: for topics. A broker's own settings are empty here.

use super::{Outcome, Request, Say, no_throttle};
use crate::code::{self, Code};
use crate::core::Core;
use crate::settings::{self, Settings};
use crate::wire::{Reader, Writer};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Where a value comes from, as the protocol numbers it.
const SET_FOR_THE_TOPIC: i8 = 1;
const DEFAULT: i8 = 5;

pub(super) fn describe(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let (body, version) = (&mut request.body, request.version);
    let resources = body.array(|body| {
        let (kind, name) = (body.i8()?, body.text()?);
        Ok((kind, name, body.nullable_list(Reader::text)?))
    })?;
    body.bool()?; // synonyms: there are none
    if version >= 3 {
        body.bool()?; // documentation: Kafka's own is the place for it
    }
    body.tags()?;

    let state = core.state();
    no_throttle(out);
    out.array(&resources, |out, (kind, name, keys)| {
        let none = Settings::default();
        let found = match *kind {
            TOPIC => {
                state.topics.get(name).map(|t| &t.settings).ok_or(Code::UnknownTopicOrPartition)
            }
            BROKER => Ok(&none),
            _ => Err(Code::InvalidRequest),
        };
        out.i16(code::number(&found));
        out.nullable_text(None);
        out.i8(*kind);
        out.text(name);
        let wanted = |known: &str| {
            *kind == TOPIC
                && found.is_ok()
                && keys.as_ref().is_none_or(|keys| keys.contains(&known))
        };
        let listed: Vec<_> = settings::ALL.iter().filter(|(name, _, _)| wanted(name)).collect();
        out.array(&listed, |out, (name, kind, default)| {
            let value = found.ok().and_then(|settings| settings.get(name));
            let (value, is_set) = value.unwrap_or((default, false));
            out.text(name);
            out.nullable_text(Some(value));
            out.bool(false); // read only
            out.i8(if is_set { SET_FOR_THE_TOPIC } else { DEFAULT });
            out.bool(false); // sensitive
            out.list::<()>(&[], |_, ()| {});
            if version >= 3 {
                out.i8(kind.number());
                out.nullable_text(None);
            }
        });
    });
    out.tags();
    Ok(Say::Answer)
}

/// One change of a setting.
enum Change<'a> {
    Set(&'a str, Option<&'a str>),
    /// Values added to a list or taken from it: no list here is worth it.
    OfList,
}

/// All of a topic's settings are said; those that are not said are Kafka's defaults again.
pub(super) fn alter(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let resources = request.body.array(|body| {
        let (kind, name) = (body.i8()?, body.text()?);
        let changes = body.array(|body| Ok(Change::Set(body.text()?, body.nullable_text()?)))?;
        Ok((kind, name, changes))
    })?;
    change(core, request, &resources, true, out)
}

pub(super) fn alter_some(core: &Core, mut request: Request<'_>, out: &mut Writer) -> Outcome {
    let resources = request.body.array(|body| {
        let (kind, name) = (body.i8()?, body.text()?);
        let changes = body.array(|body| {
            let (name, operation, value) = (body.text()?, body.i8()?, body.nullable_text()?);
            Ok(match operation {
                0 => Change::Set(name, Some(value.unwrap_or_default())),
                1 => Change::Set(name, None),
                _ => Change::OfList,
            })
        })?;
        Ok((kind, name, changes))
    })?;
    change(core, request, &resources, false, out)
}

fn change(
    core: &Core,
    mut request: Request<'_>,
    resources: &[(i8, &str, Vec<Change<'_>>)],
    anew: bool,
    out: &mut Writer,
) -> Outcome {
    let only_check = request.body.bool()?;
    request.body.tags()?;
    let mut state = core.state();
    no_throttle(out);
    out.array(resources, |out, (kind, name, changes)| {
        let mut apply = || {
            if *kind != TOPIC {
                return Err(Code::InvalidRequest);
            }
            let topic = state.topics.get_mut(name).ok_or(Code::UnknownTopicOrPartition)?;
            let mut settings = if anew { Settings::default() } else { topic.settings.clone() };
            for change in changes {
                match change {
                    Change::Set(name, value) => settings.set(name, *value)?,
                    Change::OfList => return Err(Code::InvalidConfig),
                }
            }
            if !only_check {
                topic.settings = settings;
            }
            Ok(())
        };
        let outcome = apply();
        out.i16(code::number(&outcome));
        out.nullable_text(None);
        out.i8(*kind);
        out.text(name);
    });
    out.tags();
    Ok(Say::Answer)
}
