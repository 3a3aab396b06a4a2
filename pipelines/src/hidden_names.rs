//! `explain --names`: what the leaves of one record are called that messages show as a number, because
//! a name may be data. It is read where the raw topic is, of Avro in its registry too, under the place's
//! keys, without a group and without a write, and told to who asks alone: no log, ledger or metric has it.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use douane_schemas::debezium::hidden_of_avro;
use douane_schemas::names::printable;
use douane_schemas::record::Format;
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::config;
use crate::crossing::TRY;
use crate::dry_run;
use crate::edges::Edges;
use crate::fault::RunFault;
use crate::keys;
use crate::quarantine::At;

/// Who may read this, in its first line.
pub const NOTICE: &str = "a name may be data: this is for those who may read the raw topic. Keep it \
                          out of tickets, logs and pages";

/// A leaf that messages show by its place alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hidden {
    /// As messages show it.
    pub leaf: String,
    pub name: String,
}

/// The hidden names of one record of a pipeline's source, in its order; each once.
pub fn of(place: &Path, file: &Path, at: &At) -> Result<Vec<Hidden>, RunFault> {
    let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    let reads = |p: &&config::Pipeline| p.source.topics.contains(&at.topic);
    let pipeline = pipelines.iter().find(reads).ok_or_else(|| {
        RunFault::File(format!(
            "{} does not read the topic of {at}\n  next: the place that `douane status` shows as held",
            file.display()
        ))
    })?;
    keys::open(&place)?;
    let mut found = None;
    Edges::of(&place, pipeline)
        .sovereign
        .scan(&at.topic, at.partition, at.offset, TRY, &mut |record| {
            if record.offset == at.offset {
                let own = |part: Option<&[u8]>| part.map(<[u8]>::to_vec).unwrap_or_default();
                found = Some((own(record.key), own(record.value)));
            }
            ControlFlow::Break(())
        })
        .map_err(RunFault::unreachable("sovereign cluster"))?;
    let Some((key, value)) = found else {
        return Err(RunFault::File(format!(
            "{at} is not there any more\n  next: the place that `douane status` shows as held"
        )));
    };
    if pipeline.source.format != Format::DebeziumAvro {
        return Ok([hidden("key", &key), hidden("", &value)].concat());
    }
    let mut schemas = dry_run::schemas(&place)?;
    let mut of_schema = |framed: &[u8], key| {
        let found = hidden_of_avro(framed, key, &mut *schemas);
        found.map_err(|away| RunFault::Registry(away.to_string()))
    };
    let found = [of_schema(&key, true)?, of_schema(&value, false)?].concat();
    Ok(found.into_iter().map(|(leaf, name)| Hidden { leaf, name }).collect())
}

/// `image`: `key`, or empty for a value, whose images are in it. What is no JSON has no names.
fn hidden(image: &'static str, bytes: &[u8]) -> Vec<Hidden> {
    let mut found = Vec::new();
    let level = if image.is_empty() { Level::Envelope } else { Level::Image(format!("{image}.")) };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let _ = Walk { level, found: &mut found }.deserialize(&mut json);
    found
}

enum Level {
    /// `before`, `after`, or a `payload` around them.
    Envelope,
    /// Below the path of an image.
    Image(String),
}

struct Walk<'a> {
    level: Level,
    found: &'a mut Vec<Hidden>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<(), M::Error> {
        let mut position = 0;
        while let Some(name) = members.next_key::<String>()? {
            position += 1;
            let level = match (&self.level, name.as_str()) {
                (Level::Envelope, "payload") => Level::Envelope,
                (Level::Envelope, image @ ("before" | "after")) => {
                    Level::Image(format!("{image}."))
                }
                (Level::Envelope, _) => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
                // Around a key that has its schema beside it.
                (Level::Image(path), "payload") if path == "key." => Level::Image(path.clone()),
                (Level::Image(path), _) => {
                    // As the decoder counts and shows it.
                    let shown = printable(&name, false, position);
                    let leaf = format!("{path}{shown}");
                    let below = format!("{leaf}.");
                    if shown != name && !self.found.iter().any(|known| known.leaf == leaf) {
                        self.found.push(Hidden { leaf, name });
                    }
                    Level::Image(below)
                }
            };
            members.next_value_seed(Walk { level, found: &mut *self.found })?;
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<(), S::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(image: &'static str, json: &str) -> Vec<(String, String)> {
        hidden(image, json.as_bytes()).into_iter().map(|h| (h.leaf, h.name)).collect()
    }

    /// By the same number that a hold shows, which the decoder's own tests fix (`<unknown#2>` of the
    /// second member).
    #[test]
    fn hidden_names_are_told_by_their_place_and_no_others() {
        let row = r#"{"id":1,"ada@example.com":"v1","tags":[{"a b":1}],"address":{"city":"v2","a b":null}}"#;
        let found =
            [("after.<unknown#2>", "ada@example.com"), ("after.address.<unknown#2>", "a b")];
        let found = found.map(|(leaf, name)| (leaf.to_owned(), name.to_owned()));
        let envelope = format!(r#"{{"before":null,"source":{{"x y":1}},"after":{row},"op":"c"}}"#);
        assert_eq!(names("", &envelope), found);
        assert_eq!(names("", &format!(r#"{{"schema":{{"q r":1}},"payload":{envelope}}}"#)), found);
        let key = [("key.<unknown#1>".to_owned(), "4111111111111111".to_owned())];
        assert_eq!(names("key", r#"{"4111111111111111":5}"#), key);
        assert_eq!(names("key", r#"{"schema":null,"payload":{"4111111111111111":5}}"#), key);
        // The control: plain names are shown anyway; and what is no JSON says nothing.
        assert_eq!(names("", r#"{"after":{"id":1,"city":"x y"}}"#), []);
        assert_eq!(names("", "torn {"), []);
    }
}
