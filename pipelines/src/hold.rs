//! A partition that waits for people, in the words that `status` and `run` print: a place in the
//! pipeline's file, what was found and where, what follows from it, and the next step. Names, never
//! a value: leaves come in the printable form that the decoder gave them.

use std::fmt;

use douane_ledger::log::Entry;
use douane_schemas::batch::{Origin, RowKind};
use douane_schemas::debezium::Hold;
use serde::Serialize;

use crate::config::{Mark, Pipeline};
use crate::merge::Withdrawal;

/// Why a partition waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// One snake_case word.
    pub code: String,
    /// What was found, what was expected.
    #[serde(rename = "reason")]
    pub text: String,
    /// The leaf it is about, with its image: `after.passport`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf: Option<String>,
    /// Registry id of the schema it was found in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_id: Option<u32>,
}

impl Reason {
    /// A reason that is about no leaf.
    pub fn new(code: &str, text: String) -> Self {
        Self { code: code.to_owned(), text, leaf: None, schema_id: None }
    }

    /// Whether it may be over with no file changed: the registry may know the schema by now, and the minute of a
    /// limit ends. Everything else ends with other files, and so with a new life.
    pub fn may_pass(&self) -> bool {
        ["unknown_schema_id", "quarantine_limit"].contains(&self.code.as_str())
    }

    /// A delete is never skipped: its row would stay outside for ever.
    pub fn delete_cannot_cross(code: &str) -> Self {
        Self::new("delete_cannot_cross", format!("a delete cannot cross: {code}"))
    }

    /// A change that may have left WHERE is never skipped: its row would stay outside for ever.
    pub fn where_undecided(code: &str) -> Self {
        let text = format!(
            "whether a change left WHERE, or its group is too small, cannot be told: {code}"
        );
        Self::new("where_undecided", text)
    }

    /// Why a refused row holds its partition; `None`: it is set aside. `undecided`: it was refused
    /// before WHERE could be asked, which would withdraw these rows.
    pub fn of_refused(
        origin: &Origin,
        undecided: Option<Withdrawal>,
        code: &'static str,
    ) -> Option<Self> {
        match origin.kind() {
            RowKind::Delete | RowKind::Tombstone => Some(Self::delete_cannot_cross(code)),
            RowKind::Upsert => undecided
                .filter(|withdrawal| withdrawal.reaches(Some(origin.op)))
                .map(|_| Self::where_undecided(code)),
        }
    }

    /// As the ledger keeps it.
    pub fn entry(&self, topic: &str, partition: i32, offset: i64) -> Entry {
        Entry::Held {
            topic: topic.to_owned(),
            partition,
            offset,
            reason: self.text.clone(),
            code: self.code.clone(),
            leaf: self.leaf.clone(),
            schema_id: self.schema_id,
        }
    }
}

impl From<&Hold> for Reason {
    fn from(hold: &Hold) -> Self {
        let (leaf, schema_id) = match hold {
            Hold::UnknownLeaf { path, schema_id, .. }
            | Hold::MissingLeaf { path, schema_id }
            | Hold::Retyped { path, schema_id, .. } => (Some(path.clone()), *schema_id),
            Hold::UnusableSchema { schema_id, .. } => (None, *schema_id),
            _ => (None, None),
        };
        Self { code: hold.code().to_owned(), text: hold.to_string(), leaf, schema_id }
    }
}

/// When the source deletes the record that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// The source keeps all it has.
    Keeps,
    Hours(i64),
    /// Nobody could be asked.
    Unknown,
}

impl Retention {
    /// From the topic's `retention.ms` and the time of the record.
    pub fn of(retention_ms: i64, made_at_ms: Option<i64>, now_ms: i64) -> Self {
        match made_at_ms {
            _ if retention_ms < 0 => Self::Keeps,
            Some(at) if at >= 0 => {
                let age_ms = now_ms.saturating_sub(at);
                Self::Hours(retention_ms.saturating_sub(age_ms).max(0) / 3_600_000)
            }
            _ => Self::Unknown,
        }
    }
}

/// One held partition, whole: printed as README's "When a table grows a column" shows it.
pub struct Waiting<'a> {
    pub pipeline: &'a Pipeline,
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub reason: &'a Reason,
    pub retention: Retention,
}

impl Waiting<'_> {
    /// Where in the file the answer goes: the leaf's own class, or below the last one.
    fn mark(&self) -> Mark {
        let classes = &self.pipeline.classes;
        let Some(path) = self.reason.leaf.as_deref().map(of_row) else { return Mark::FILE };
        let own = classes.iter().find(|rule| rule.path == path);
        own.or(classes.last()).map_or(Mark::FILE, |rule| rule.line)
    }

    /// What was found, without the schema's id and the next step, which have places of their own.
    fn found(&self) -> String {
        let Reason { code, text, leaf, schema_id } = self.reason;
        match (code.as_str(), leaf) {
            ("unknown_leaf", Some(leaf)) => format!("no class for leaf `{leaf}`"),
            _ => {
                let id = schema_id.map(|id| format!(" (schema id {id})")).unwrap_or_default();
                text.split("; ").next().unwrap_or_default().replacen(&id, "", 1)
            }
        }
    }

    fn until(&self) -> &'static str {
        match self.reason.code.as_str() {
            "unknown_leaf" => "the leaf has a class",
            "missing_leaf" | "retyped" => "a release has the new shape",
            _ => "this is mended",
        }
    }

    fn next(&self) -> String {
        let file = self.pipeline.file.display();
        let propose = format!("then `douane release propose {file}`");
        match self.reason.code.as_str() {
            "unknown_leaf" => format!("add the class and a stage for it, {propose}"),
            "missing_leaf" => format!("take the leaf out of the file, {propose}"),
            "retyped" => format!("see that its stage takes the new type, {propose}"),
            "source_lost" => "see docs/operations.md, \"What happens to a bad record\"".to_owned(),
            _ => match self.reason.text.split_once("; ") {
                Some((_, next)) => next.to_owned(),
                None => "mend the source; no switch skips a record".to_owned(),
            },
        }
    }
}

/// The path of a leaf as `classes` has it.
fn of_row(leaf: &str) -> &str {
    ["after.", "before.", "key."].iter().find_map(|image| leaf.strip_prefix(image)).unwrap_or(leaf)
}

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset, .. } = self;
        write!(f, "{}{}: error: {} (", self.pipeline.file.display(), self.mark(), self.found())?;
        if let Some(id) = self.reason.schema_id {
            write!(f, "schema id {id}, ")?;
        }
        write!(f, "first seen at {topic}[{partition}]@{offset})")?;
        write!(
            f,
            "\n  partition {partition} is held; nothing of it crosses until {}",
            self.until()
        )?;
        match self.retention {
            Retention::Keeps => write!(f, "; the source keeps it")?,
            Retention::Hours(hours) => write!(f, "; retention deletes it in {hours} h")?,
            Retention::Unknown => {}
        }
        // A name that may be data is a number here, and no key of a file.
        let named = self.reason.leaf.as_deref().map(of_row).filter(|path| !path.contains('<'));
        if let ("unknown_leaf", Some(path)) = (self.reason.code.as_str(), named) {
            write!(
                f,
                "\n  propose: `{path}: identifier` (an unknown leaf defaults to identifier)"
            )?;
        }
        write!(f, "\n  next: {}", self.next())
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::config;

    fn text(reason: &Reason, retention: Retention) -> String {
        let (_, pipeline) = config::tests::good_base();
        let waiting = Waiting {
            pipeline: &pipeline,
            topic: "crm.public.customers",
            partition: 3,
            offset: 8812,
            reason,
            retention,
        };
        waiting.to_string()
    }

    #[test]
    fn an_unknown_leaf_is_told_with_place_reason_and_next_step() {
        let hold =
            Hold::UnknownLeaf { path: "after.passport".into(), schema_id: Some(7), hint: None };
        let shown = text(&Reason::from(&hold), Retention::Hours(61));
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines[0].ends_with(
                ":3: error: no class for leaf `after.passport` (schema id 7, first seen at \
                 crm.public.customers[3]@8812)"
            ),
            "{shown}"
        );
        assert_eq!(
            lines[1],
            "  partition 3 is held; nothing of it crosses until the leaf has a class; retention \
             deletes it in 61 h"
        );
        assert_eq!(
            lines[2],
            "  propose: `passport: identifier` (an unknown leaf defaults to identifier)"
        );
        assert!(lines[3].starts_with("  next: add the class and a stage for it, then `douane"));
    }

    #[test]
    fn a_name_that_may_be_data_is_not_proposed() {
        let hold =
            Hold::UnknownLeaf { path: "after.<unknown#1>".into(), schema_id: None, hint: None };
        let shown = text(&Reason::from(&hold), Retention::Unknown);
        assert!(!shown.contains("propose:") && !shown.contains("retention"), "{shown}");
    }

    #[test]
    fn other_reasons_say_their_own_next_step() {
        for (hold, found, next) in [
            (Hold::Truncate, "error: the table was truncated (", "next: decide what becomes of"),
            (
                Hold::MissingLeaf { path: "after.city".into(), schema_id: Some(2) },
                "error: leaf `after.city` is missing, expected every listed leaf (schema id 2, ",
                "next: take the leaf out of the file, then",
            ),
            (Hold::UnknownSchemaId { id: 9 }, "schema id 9 is unknown", "next: restore the schema"),
            (Hold::NotAnEnvelope, "not a debezium change event", "next: mend the source"),
        ] {
            let shown = text(&Reason::from(&hold), Retention::Keeps);
            assert!(shown.contains(found), "{shown}");
            assert!(shown.contains(next), "{shown}");
            assert!(shown.contains("; the source keeps it\n"), "{shown}");
        }
    }

    #[test]
    fn hours_left_follow_from_retention_and_age() {
        const HOUR: i64 = 3_600_000;
        for (retention_ms, made_at, expected) in [
            (-1, Some(0), Retention::Keeps),
            (10 * HOUR, Some(0), Retention::Hours(6)),
            (HOUR, Some(0), Retention::Hours(0)),
            (HOUR, Some(-1), Retention::Unknown),
            (HOUR, None, Retention::Unknown),
        ] {
            assert_eq!(Retention::of(retention_ms, made_at, 4 * HOUR), expected);
        }
    }
}
