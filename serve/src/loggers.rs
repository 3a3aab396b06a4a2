//! What the service says about itself: a JSON object a line on standard error. Names, counts and
//! offsets at every level; there is no level at which a value is said, for nothing here has one.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;

use douane_pipelines::repeats::Repeats;
use jiff::Timestamp;
use serde_json::{Value, json};

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    /// Of Log4j; nothing is said at it.
    Fatal,
    Off,
}

impl Level {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Trace, "TRACE"),
        (Self::Debug, "DEBUG"),
        (Self::Info, "INFO"),
        (Self::Warn, "WARN"),
        (Self::Error, "ERROR"),
        (Self::Fatal, "FATAL"),
        (Self::Off, "OFF"),
    ];

    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        found.map(|(level, _)| *level)
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(level, _)| *level == self).map_or("OFF", |(_, name)| name)
    }
}

/// Everything that there is to say belongs to one of these.
pub const ROOT: &str = "root";
/// Events of pipelines.
pub const PIPELINES: &str = "douane.pipelines";
/// Starts, back-offs and ends.
pub const FLEET: &str = "douane.fleet";
/// Calls.
pub const REST: &str = "douane.rest";

/// A log's level, and when somebody set it.
#[derive(Clone, Copy)]
struct Set {
    level: Level,
    at_ms: Option<i64>,
}

/// The logs and their levels.
pub struct Loggers {
    /// Where the lines are written, which each of them says.
    zone: String,
    levels: Mutex<BTreeMap<&'static str, Set>>,
}

impl Loggers {
    pub fn new(zone: &str) -> Self {
        let info = Set { level: Level::Info, at_ms: None };
        let levels = [ROOT, PIPELINES, FLEET, REST].into_iter().map(|name| (name, info));
        Self { zone: zone.to_owned(), levels: Mutex::new(levels.collect()) }
    }

    fn levels(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Set>> {
        self.levels.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// All of them, as the API has them.
    pub fn all(&self) -> Value {
        self.levels().iter().map(|(name, set)| ((*name).to_owned(), of(*set))).collect()
    }

    /// One of them.
    pub fn one(&self, name: &str) -> Option<Value> {
        self.levels().get(name).map(|set| of(*set))
    }

    /// Whether a name is that of a log, or one that logs lie below.
    pub fn has(&self, name: &str) -> bool {
        self.levels().keys().any(|log| is_below(log, name))
    }

    /// Sets the level of a log and of those below it; the names of those that it was another of.
    pub fn set(&self, name: &str, level: Level, now: Timestamp) -> Vec<&'static str> {
        let mut changed = Vec::new();
        for (log, set) in self.levels().iter_mut().filter(|(log, _)| is_below(log, name)) {
            if set.level != level {
                *set = Set { level, at_ms: Some(now.as_millisecond()) };
                changed.push(*log);
            }
        }
        changed
    }

    /// Says a line, if its log is that loud. `fields` is an object.
    pub fn say(&self, level: Level, log: &str, event: &str, fields: &Value) {
        let least = self.levels().get(log).map_or(Level::Info, |set| set.level);
        if level < least {
            return;
        }
        let line = self.line(level, log, event, fields, Timestamp::now());
        // A closed standard error stops nothing: the ledger is the record.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// As [`Self::say`], of what is met again for as long as its cause lasts.
    pub fn say_lasting(
        &self,
        repeats: &mut Repeats,
        (level, log): (Level, &str),
        event: &str,
        mut fields: Value,
    ) {
        if repeats.is_told(event, &mut fields) {
            self.say(level, log, event, &fields);
        }
    }

    fn line(&self, level: Level, log: &str, event: &str, fields: &Value, now: Timestamp) -> Value {
        let at = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let mut line = json!({"at": at, "level": level.name(), "log": log, "event": event,
            "zone": self.zone});
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
            line.extend(fields.clone());
        }
        line
    }
}

/// Whether a log is the one of that name, or below it.
fn is_below(log: &str, name: &str) -> bool {
    name == ROOT || log == name || log.strip_prefix(name).is_some_and(|r| r.starts_with('.'))
}

fn of(set: Set) -> Value {
    json!({"level": set.level.name(), "last_modified": set.at_ms})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_goes_down_the_tree_and_only_changes_are_told() {
        let loggers = Loggers::new("eu-de");
        let now = Timestamp::from_millisecond(5).unwrap();
        assert_eq!(loggers.set(PIPELINES, Level::Debug, now), [PIPELINES]);
        assert_eq!(loggers.set(PIPELINES, Level::Debug, now), NONE);
        assert_eq!(loggers.set("douane", Level::Warn, now), [FLEET, PIPELINES, REST]);
        assert_eq!(loggers.set("doua", Level::Info, now), NONE);
        assert_eq!(loggers.one(REST).unwrap(), json!({"level": "WARN", "last_modified": 5}));
        assert_eq!(loggers.one(ROOT).unwrap(), json!({"level": "INFO", "last_modified": null}));
        assert_eq!(loggers.set(ROOT, Level::Error, now).len(), 4);
        assert_eq!(loggers.one("no.such"), None);
        for (name, has) in [(ROOT, true), ("douane", true), (REST, true), ("doua", false)] {
            assert_eq!(loggers.has(name), has, "{name}");
        }
        assert!(Level::parse("warn") == Some(Level::Warn) && Level::parse("LOUD").is_none());
    }

    #[test]
    fn each_line_says_its_zone() {
        let line = |fields| {
            let now = Timestamp::from_millisecond(5).unwrap();
            Loggers::new("eu-de").line(Level::Info, REST, "call", &fields, now)
        };
        let expected = json!({"at": "1970-01-01T00:00:00.005Z", "level": "INFO", "log": REST,
            "event": "call", "zone": "eu-de", "status": 200});
        assert_eq!(line(json!({"status": 200})), expected);
    }

    const NONE: [&str; 0] = [];
}
