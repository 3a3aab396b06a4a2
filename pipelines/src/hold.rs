//! A partition that waits for people, in the words that `status` and `run` print: a place in the
//! pipeline's file, what was found and where, what follows from it, and the next step. Names, never
//! a value: leaves come in the printable form that the decoder gave them.

use std::collections::BTreeSet;
use std::fmt;

use douane_ledger::log::Entry;
use douane_schemas::batch::{Origin, RowKind};
use douane_schemas::debezium::Hold;
use serde::Serialize;

use crate::config::{Mark, Pipeline, Place};
use crate::evidence;
use crate::fault::RunFault;
use crate::merge::Withdrawal;
use crate::names::typed;

/// The column that a code is about, where one is known: a name of the pipeline's, no cell.
fn of_column(column: Option<&str>) -> String {
    column.map(|column| format!(" in column `{column}`")).unwrap_or_default()
}

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
    /// Further leaves of the record, which one release can answer for as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// How many there are beside those.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u32,
    /// Registry id of the schema it was found in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_id: Option<u32>,
}

impl Reason {
    /// A reason that is about no leaf.
    pub fn new(code: &str, text: String) -> Self {
        Self {
            code: code.to_owned(),
            text,
            leaf: None,
            others: Vec::new(),
            more: 0,
            schema_id: None,
        }
    }

    /// Whether it may be over with no file changed: the registry may know the schema by now, and the minute of a
    /// limit ends. Everything else ends with other files, and so with a new life.
    pub fn may_pass(&self) -> bool {
        ["unknown_schema_id", "quarantine_limit"].contains(&self.code.as_str())
    }

    /// A delete is never skipped: its row would stay outside for ever.
    pub fn delete_cannot_cross(code: &str, column: Option<&str>) -> Self {
        let text = format!("a delete cannot cross: {code}{}", of_column(column));
        Self::new("delete_cannot_cross", text)
    }

    /// A change that may have left WHERE is never skipped: its row would stay outside for ever.
    pub fn where_undecided(code: &str, column: Option<&str>) -> Self {
        let text = format!(
            "whether a change left WHERE, or its group is too small, cannot be told: {code}{}",
            of_column(column)
        );
        Self::new("where_undecided", text)
    }

    /// Why a refused row holds its partition; `None`: it is set aside. `undecided`: it was refused
    /// before WHERE could be asked, which would withdraw these rows.
    pub fn of_refused(
        origin: &Origin,
        undecided: Option<Withdrawal>,
        (code, column): (&'static str, Option<&str>),
    ) -> Option<Self> {
        match origin.kind() {
            RowKind::Delete | RowKind::Tombstone => Some(Self::delete_cannot_cross(code, column)),
            RowKind::Upsert => undecided
                .filter(|withdrawal| withdrawal.reaches(Some(origin.op)))
                .map(|_| Self::where_undecided(code, column)),
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
            others: self.others.clone(),
            more: self.more,
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
        let (others, more) = match hold {
            Hold::UnknownLeaf { others, .. } => (others.named.clone(), others.more),
            _ => (Vec::new(), 0),
        };
        let (code, text, more) = (hold.code().to_owned(), hold.to_string(), more as u32);
        Self { code, text, leaf, others, more, schema_id }
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
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

    pub fn hours(self) -> Option<i64> {
        match self {
            Self::Hours(hours) => Some(hours),
            Self::Keeps | Self::Unknown => None,
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
    /// What leads on where the file answers already and only its release is missing; `None`: the file is
    /// the one in force.
    pub approval: Option<&'a str>,
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
        let Reason { code, text, leaf, others, more, schema_id } = self.reason;
        match (code.as_str(), leaf) {
            ("unknown_leaf", Some(leaf)) => {
                let others: Vec<String> = others.iter().map(|leaf| format!("`{leaf}`")).collect();
                let nor = if others.is_empty() { "" } else { ", nor for " };
                let more = if *more > 0 { format!(" and {more} more") } else { String::new() };
                format!("no class for leaf `{leaf}`{nor}{}{more}", others.join(", "))
            }
            _ => {
                let id = schema_id.map(|id| format!(" (schema id {id})")).unwrap_or_default();
                text.split("; ").next().unwrap_or_default().replacen(&id, "", 1)
            }
        }
    }

    /// The leaves that it is about, as `classes` has them.
    fn leaves(&self) -> impl Iterator<Item = &str> {
        self.reason.leaf.iter().chain(&self.reason.others).map(|leaf| of_row(leaf))
    }

    fn is_classed(&self, path: &str) -> bool {
        self.pipeline.classes.iter().any(|rule| rule.path == path)
    }

    /// The leaves without a class. A name that may be data is a number here, and no key of a file.
    fn unclassed(&self) -> Vec<&str> {
        self.leaves().filter(|path| !path.contains('<') && !self.is_classed(path)).collect()
    }

    fn is_by_value(&self) -> bool {
        self.reason.text.starts_with(Hold::BY_VALUE)
    }

    /// The file says already what is asked for.
    fn is_answered(&self) -> bool {
        match self.reason.code.as_str() {
            "unknown_leaf" => self.reason.more == 0 && self.leaves().all(|p| self.is_classed(p)),
            "missing_leaf" => !self.leaves().any(|path| self.is_classed(path)),
            _ => false,
        }
    }

    fn until(&self) -> &'static str {
        match self.reason.code.as_str() {
            "unknown_leaf" if self.approval.is_some() && self.is_answered() => {
                "a release has what the file has"
            }
            "unknown_leaf" if !self.reason.others.is_empty() => "each leaf has a class",
            "unknown_leaf" => "the leaf has a class",
            "retyped" if self.is_by_value() => "a release has the type that is there",
            "missing_leaf" | "retyped" => "a release has the new shape",
            _ => "this is mended",
        }
    }

    fn next(&self) -> String {
        let file = typed(&self.pipeline.file);
        let propose = format!("then `douane release propose {file}`");
        if let Some(approval) = self.approval.filter(|_| self.is_answered()) {
            return approval.to_owned();
        }
        match self.reason.code.as_str() {
            "unknown_leaf" if self.leaves().any(|path| path.contains('<')) => {
                let Self { topic, partition, offset, .. } = self;
                format!(
                    "`douane explain {file} --names '{topic}[{partition}]@{offset}'` shows who may read \
                     the raw topic what `<unknown#n>` is called. A column gets a class and a stage, \
                     {propose}; data that stands as a name is mended at the source"
                )
            }
            "unknown_leaf" if !self.reason.others.is_empty() => {
                format!("add the classes and a stage for each leaf, {propose}")
            }
            "unknown_leaf" => format!("add the class and a stage for it, {propose}"),
            "missing_leaf" => format!("take the leaf out of the file, {propose}"),
            "retyped" if self.is_by_value() => format!(
                "one value, or a column that changed: no schema says which. See that the source sends no \
                 more of a wrong value (docs/operations.md, \"stopped by\"); if the column has another \
                 type now, change it under `types`, {propose}"
            ),
            "retyped" => format!("see that its stage takes the new type, {propose}"),
            "source_lost" => "see docs/operations.md, \"What happens to a bad record\"".to_owned(),
            _ => match self.reason.text.split_once("; ") {
                Some((_, next)) => next.to_owned(),
                None => "mend the source; no switch skips a record".to_owned(),
            },
        }
    }
}

/// The leaves that partitions wait for and that the file still has no class for: a release of it would
/// hold them again. None where nothing is known here; a name that may be data is a number.
pub fn unanswered(place: &Place, pipeline: &Pipeline) -> Result<Vec<String>, RunFault> {
    let held = evidence::held_here(place, pipeline)?;
    let of = held.values().filter(|hold| hold.reason.code == "unknown_leaf");
    let leaves = of.flat_map(|hold| hold.reason.leaf.iter().chain(&hold.reason.others));
    let leaves: BTreeSet<&str> = leaves.map(|leaf| of_row(leaf)).collect();
    let is_classed = |path: &&str| pipeline.classes.iter().any(|rule| rule.path == **path);
    Ok(leaves.into_iter().filter(|path| !is_classed(path)).map(str::to_owned).collect())
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
        let unclassed = match self.reason.code.as_str() {
            "unknown_leaf" => self.unclassed(),
            _ => Vec::new(),
        };
        if !unclassed.is_empty() {
            let lines: Vec<String> =
                unclassed.iter().map(|path| format!("`{path}: identifier`")).collect();
            let lines = lines.join(", ");
            write!(f, "\n  propose: {lines} (an unknown leaf defaults to identifier)")?;
        }
        write!(f, "\n  next: {}", self.next())
    }
}

#[cfg(test)]
mod tests {
    use douane_schemas::debezium::Others;
    use douane_schemas::leaf::LeafType;

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
            approval: None,
        };
        waiting.to_string()
    }

    fn unknown(paths: &[&str], schema_id: Option<u32>) -> Hold {
        let named = paths[1..].iter().map(|path| (*path).to_owned()).collect();
        let others = Others { named, more: 0 };
        Hold::UnknownLeaf { path: paths[0].into(), others, schema_id, hint: None }
    }

    #[test]
    fn all_unknown_leaves_of_a_record_are_told_at_once() {
        let Hold::UnknownLeaf { path, others, hint, .. } =
            unknown(&["after.a", "after.<unknown#9>", "after.b.c"], None)
        else {
            unreachable!()
        };
        let others = Others { more: 3, ..others };
        let hold = Hold::UnknownLeaf { path, others, schema_id: Some(7), hint };
        let shown = text(&Reason::from(&hold), Retention::Unknown);
        for part in [
            "error: no class for leaf `after.a`, nor for `after.<unknown#9>`, `after.b.c` and 3 more (",
            "(schema id 7, first seen",
            "until each leaf has a class",
            "propose: `a: identifier`, `b.c: identifier` (an",
            "--names 'crm.public.customers[3]@8812'",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
    }

    #[test]
    fn an_unknown_leaf_is_told_with_place_reason_and_next_step() {
        let hold = unknown(&["after.passport"], Some(7));
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
        let hold = unknown(&["after.<unknown#1>"], None);
        let shown = text(&Reason::from(&hold), Retention::Unknown);
        assert!(!shown.contains("propose:") && !shown.contains("retention"), "{shown}");
        assert!(shown.contains("--names 'crm.public.customers[3]@8812'` shows who may"), "{shown}");
    }

    fn retyped(by_value: bool) -> Hold {
        let (path, found, expected) = ("after.n".into(), "text".into(), LeafType::Int64);
        Hold::Retyped { path, found, expected, by_value, schema_id: None }
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
            (
                retyped(false),
                "error: leaf `after.n` is text, expected int64 (first seen",
                "the new shape; the source keeps it\n  next: see that its stage takes the new type",
            ),
            (
                retyped(true),
                "error: a value of leaf `after.n` is text, expected int64 (first seen",
                "next: one value, or a column that changed: no schema says which. See",
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
    fn what_the_file_answers_waits_for_its_approval() {
        let (_, pipeline) = config::tests::good_base();
        let said = |hold: &Hold, approval: Option<&str>| {
            let (topic, partition, offset) = ("t", 0, 1);
            let (reason, retention) = (&Reason::from(hold), Retention::Unknown);
            let pipeline = &pipeline;
            Waiting { pipeline, topic, partition, offset, reason, retention, approval }.to_string()
        };
        let sign = Some("sign it");
        let own = format!("after.{}", pipeline.classes[0].path);
        let shown = said(&unknown(&[&own], None), sign);
        assert!(
            shown.contains("until a release has what the file has\n  next: sign it"),
            "{shown}"
        );
        let other = Hold::MissingLeaf { path: "after.gone".into(), schema_id: None };
        assert!(said(&other, sign).contains("next: sign it"));
        // One of two is answered: the other one is asked for, and it alone.
        let shown = said(&unknown(&[&own, "after.new"], None), sign);
        assert!(
            shown.contains("propose: `new: identifier` (") && !shown.contains("sign it"),
            "{shown}"
        );
        // What may be data is never answered; nor is what runs under this very file.
        let data = said(&unknown(&[&own, "after.<unknown#2>"], None), sign);
        assert!(data.contains("--names 't[0]@1'"), "{data}");
        assert!(said(&unknown(&[&own], None), None).contains("next: add the class"));
        let there = Hold::MissingLeaf { path: own, schema_id: None };
        assert!(said(&there, sign).contains("next: take the leaf out"));
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
