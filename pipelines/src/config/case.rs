//! `tests:` inside a pipeline file: what goes in, and what must and must not come out. No part of
//! the fingerprint: a test changes nothing of what crosses.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::finding::{Kind, Mark};
use super::lint::Lint;
use super::pipeline::ClassRule;
use super::schema::nearest;
use super::yaml::quoted;

/// Cells by the path of their leaf, or by the name of their column.
pub type Cells = BTreeMap<String, Json>;

/// Matches every value but null: tokens and encrypted values are other ones under other keys.
pub const ANY: &str = "*";

/// One test.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub name: String,
    /// Where its name stands.
    pub mark: Mark,
    pub input: Vec<Event>,
    /// In order; `None`: not compared.
    pub output: Option<Vec<Expected>>,
    /// Texts that stand nowhere.
    pub absent: Vec<String>,
    /// The code of the hold that the input must end in.
    pub held: Option<String>,
    /// The codes of the records that are set aside, in order.
    pub quarantined: Vec<String>,
}

/// One change event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub op: char,
    pub before: Option<Cells>,
    pub after: Option<Cells>,
}

/// One record that crosses.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    Tombstone,
    /// A subset of its columns.
    Row {
        mark: Mark,
        cells: Cells,
    },
}

/// A test of the pipeline: what goes in, and what must and must not come out. `douane test` runs it.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Test")]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    /// What it shows, in a few words.
    pub name: String,
    /// Change events in order: a row, or `{ before: …, after: …, op: c | u | d | r }`. Leaves that
    /// are left out are null. A delete brings its tombstone, as Debezium sends it.
    #[schemars(schema_with = "any_list", length(min = 1))]
    pub input: Vec<Json>,
    /// The records that cross, in order: some of each one's columns, or `tombstone`. `"*"` stands
    /// for any value that is not null.
    #[serde(default)]
    #[schemars(schema_with = "any_list")]
    pub output: Option<Vec<Json>>,
    /// Texts that may stand nowhere: not in a key, a value, a header or a message. Texts under 6
    /// characters are compared with whole cells.
    #[serde(default)]
    pub absent: Vec<String>,
    /// The reason the partition must be held for after this input, such as `unknown_leaf`.
    #[serde(default)]
    pub held: Option<String>,
    /// The codes of the records that must be set aside, in order, such as `outside_alphabet`.
    #[serde(default)]
    pub quarantined: Vec<String>,
}

/// Rows have the names that the pipeline's classes have: no schema knows them.
fn any_list(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 1000,
        "items": { "description": "A row, by leaf or by column." }
    })
}

impl Lint<'_> {
    pub(super) fn cases(&mut self, files: Vec<CaseFile>, classes: &[ClassRule]) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        for (n, file) in files.into_iter().enumerate() {
            let n = n.to_string();
            let mark = self.root.at(&["tests", &n, "name"]).mark;
            if let Some(first) = cases.iter().find(|case| case.name == file.name) {
                let line = first.mark.line;
                self.error(mark, Kind::DoubleKey, "two tests have one name")
                    .help(format!("first at line {line}"))
                    .next("rename one of them");
            }
            let nothing = file.absent.is_empty() && file.quarantined.is_empty();
            if nothing && file.output.is_none() && file.held.is_none() {
                self.error(mark, Kind::MissingKey, "this test compares nothing")
                    .next("add `output`, `absent`, `held` or `quarantined`");
            }
            if file.absent.iter().any(String::is_empty) {
                let mark = self.root.mark_at(&["tests", &n, "absent"]);
                self.error(mark, Kind::NotAllowed, "an empty text is in everything")
                    .next("write the text that must not cross");
            }
            // A test of what an unknown leaf does names one.
            let strict = file.held.as_deref() != Some("unknown_leaf");
            let input = file.input.iter().enumerate();
            let input = input
                .filter_map(|(e, event)| self.event([&n, &e.to_string()], event, classes, strict));
            let input = input.collect();
            let output = file.output.map(|rows| {
                let rows = rows.into_iter().enumerate();
                rows.filter_map(|(r, row)| self.expected([&n, &r.to_string()], row)).collect()
            });
            cases.push(Case {
                name: file.name,
                mark,
                input,
                output,
                absent: file.absent,
                held: file.held,
                quarantined: file.quarantined,
            });
        }
        cases
    }

    fn event(
        &mut self,
        [test, at]: [&str; 2],
        event: &Json,
        classes: &[ClassRule],
        strict: bool,
    ) -> Option<Event> {
        let here = self.root.at(&["tests", test, "input", at]).mark;
        let Json::Object(members) = event else {
            self.error(here, Kind::WrongType, "an input is no map, expected a row or a change")
                .next("write `{ after: { id: 1 } }`, or the row itself");
            return None;
        };
        let image = |name: &str| matches!(members.get(name), Some(Json::Object(_) | Json::Null));
        let known = ["before", "after", "op"];
        let change = (image("before") || image("after"))
            && members.keys().all(|key| known.contains(&key.as_str()));
        if !change {
            let after = self.cells(&["tests", test, "input", at], event, classes, strict);
            return Some(Event { op: 'c', before: None, after: Some(after) });
        }
        let mut side = |name: &str| {
            let cells = members.get(name).filter(|cells| cells.is_object())?;
            Some(self.cells(&["tests", test, "input", at, name], cells, classes, strict))
        };
        let (before, after) = (side("before"), side("after"));
        let likely = match (&before, &after) {
            (Some(_), None) => "d",
            (Some(_), Some(_)) => "u",
            _ => "c",
        };
        let op = members.get("op").map_or(Some(likely), Json::as_str);
        let fits = match op {
            Some("d") => before.is_some() && after.is_none(),
            Some("c" | "r") => after.is_some() && before.is_none(),
            Some("u") => after.is_some(),
            _ => false,
        };
        if !fits {
            self.error(here, Kind::NotAllowed, "`op` does not fit `before` and `after`")
                .help("c and r have `after`, u has `after` and may have `before`, d has `before`")
                .next(format_args!("write `op: {likely}`, or leave it out"));
            return None;
        }
        let op = op.and_then(|op| op.chars().next())?;
        Some(Event { op, before, after })
    }

    /// A row's cells by path. A map where `classes` has no leaf of that path holds nested leaves.
    fn cells(&mut self, at: &[&str], row: &Json, classes: &[ClassRule], strict: bool) -> Cells {
        let mut cells = Cells::new();
        let mut open: Vec<(String, &Json)> = vec![(String::new(), row)];
        while let Some((path, value)) = open.pop() {
            let leaf = classes.iter().any(|rule| rule.path == path);
            match value {
                Json::Object(members) if !leaf => {
                    for (name, value) in members {
                        let dot = if path.is_empty() { "" } else { "." };
                        open.push((format!("{path}{dot}{name}"), value));
                    }
                }
                _ => {
                    if !leaf && strict {
                        self.no_leaf(at, &path, classes);
                    }
                    cells.insert(path, value.clone());
                }
            }
        }
        cells
    }

    fn no_leaf(&mut self, at: &[&str], path: &str, classes: &[ClassRule]) {
        let names: Vec<&str> = classes.iter().map(|rule| rule.path.as_str()).collect();
        let mut whole = at.to_vec();
        whole.extend(path.split('.'));
        let mark = self.root.mark_at(&whole);
        let message = format!("`{}` is no leaf of the pipeline", quoted(path));
        let near = nearest(path, &names);
        let finding = self.error(mark, Kind::MatchesNothing, message);
        match near {
            Some(near) => finding.next(format_args!("write `{near}`")),
            None => finding.next("give it a class, or expect `held: unknown_leaf`"),
        };
    }

    fn expected(&mut self, [test, at]: [&str; 2], row: Json) -> Option<Expected> {
        let mark = self.root.at(&["tests", test, "output", at]).mark;
        match row {
            Json::Null => Some(Expected::Tombstone),
            Json::String(text) if text == "tombstone" => Some(Expected::Tombstone),
            Json::Object(members) => {
                Some(Expected::Row { mark, cells: members.into_iter().collect() })
            }
            _ => {
                self.error(mark, Kind::WrongType, "an output is neither a map nor `tombstone`")
                    .next("write some columns: `{ country: DE }`");
                None
            }
        }
    }
}
