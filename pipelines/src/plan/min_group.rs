//! What `min_group` means for a plan: which columns outside make a group, and which leaf says whose
//! a row is.

use douane_schemas::leaf::{Leaf, LeafType};

use super::{Crosses, Part, Plan, finding};
use crate::config::{Class, Findings, Kind, Mark, Pipeline, nearest, quoted};

/// Rows whose group fewer than `k` units share stay behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinGroup {
    pub k: u32,
    /// Names outside, in the order of the output.
    pub columns: Vec<String>,
    /// The column of a decoded batch that says whose a row is: `key.id`, `after.id`.
    pub unit: String,
}

/// Joins what the file says with what crosses. Gives the unit's leaf too, where nothing else has it
/// built.
pub(super) fn of(
    pipeline: &Pipeline,
    plan: &Plan,
    findings: &mut Findings,
) -> Option<(MinGroup, Option<Leaf>)> {
    let said = pipeline.min_group.as_ref()?;
    let mut found = Faults { pipeline, mark: said.mark, findings };
    let outputs = plan.outputs();
    let quasi: Vec<&str> =
        outputs.iter().filter(|crosses| is_quasi(plan, crosses)).map(Crosses::name).collect();
    for key in plan.keys.iter().filter(|key| key.from.class == Class::Quasi) {
        let path = &key.from.leaf.path;
        let beside = |crosses: &Crosses<'_>| matches!(crosses, Crosses::Leaf(_, column) if column.from.leaf.path == *path);
        if !outputs.iter().any(beside) {
            let why =
                format!("`{path}` is a quasi-identifier that crosses in the record key alone");
            found.fault(&why, "let it cross as a column too, so that it is counted");
        }
    }
    let names: Vec<&str> = outputs.iter().map(Crosses::name).collect();
    let columns = said
        .columns
        .clone()
        .unwrap_or_else(|| quasi.iter().map(|name| (*name).to_owned()).collect());
    for name in columns.iter().filter(|name| !names.contains(&name.as_str())) {
        let near = nearest(name, &names).map_or_else(String::new, |near| format!("`{near}`, or "));
        let why = format!("no column `{}` crosses", quoted(name));
        found.fault(&why, &format!("write {near}a column of the output"));
    }
    for name in quasi.iter().filter(|name| !columns.iter().any(|column| column == **name)) {
        let why = format!("column `{name}` is made of a quasi-identifier and is not looked at");
        found.fault(&why, "name it in `columns`, drop it, or leave `columns` out");
    }
    if columns.is_empty() {
        found.fault(
            "no column that crosses is made of a leaf of class `quasi`",
            "name the `columns` that make a group, or remove `min_group`",
        );
    }
    for crosses in outputs.iter().filter(|crosses| columns.iter().any(|c| c == crosses.name())) {
        let leaf_type = match crosses {
            Crosses::Leaf(_, column) => column.output,
            Crosses::Derived(column) => column.leaf_type,
            Crosses::Noised(column) => column.column_type,
        };
        if !has_text(leaf_type) {
            let why = format!("column `{}` is {leaf_type}: no one text", crosses.name());
            found.fault(&why, "leave it out of `columns`");
        }
    }
    let (unit, leaf) = unit(plan, &mut found)?;
    let columns = names.into_iter().filter(|name| columns.iter().any(|c| c == name));
    let group = MinGroup { k: said.k, columns: columns.map(str::to_owned).collect(), unit };
    Some((group, leaf))
}

struct Faults<'a> {
    pipeline: &'a Pipeline,
    mark: Mark,
    findings: &'a mut Findings,
}

impl Faults<'_> {
    fn fault(&mut self, why: &str, next: &str) {
        let message = format!("min_group: {why}");
        finding(self.pipeline, self.findings, Some(self.mark), Kind::Policy, message).next(next);
    }
}

/// A value of it is made of a quasi-identifier, or decided by one.
fn is_quasi(plan: &Plan, crosses: &Crosses<'_>) -> bool {
    match crosses {
        Crosses::Leaf(_, column) => column.from.class == Class::Quasi,
        Crosses::Derived(column) => {
            let mut read = column.direct.iter().chain(&column.indirect);
            read.any(|at| plan.columns[*at].from.class == Class::Quasi)
        }
        Crosses::Noised(_) => false,
    }
}

/// Two values have the same text only where they are the same.
fn has_text(leaf_type: LeafType) -> bool {
    use LeafType as T;
    !matches!(leaf_type, T::Json | T::Xml | T::Array | T::Opaque)
}

/// The subject's leaf: of the key where it is there, since every record has that.
fn unit(plan: &Plan, found: &mut Faults<'_>) -> Option<(String, Option<Leaf>)> {
    let subjects = || plan.classed.iter().filter(|leaf| leaf.subject);
    let in_key = subjects().find(|leaf| leaf.part == Part::Key);
    let Some(leaf) = in_key.or_else(|| subjects().next()) else {
        found.fault(
            "no leaf says who a subject is",
            "write `{ class: identifier, subject: true }` as the class of that leaf",
        );
        return None;
    };
    let path = &leaf.leaf.path;
    if !has_text(leaf.leaf.leaf_type) {
        let why = format!("the subject `{path}` is {}: no one text", leaf.leaf.leaf_type);
        found.fault(&why, "mark a leaf that identifies the subject");
    }
    let built = leaf.part == Part::Key
        || plan.columns.iter().any(|column| column.from.leaf.path == *path)
        || plan.subjects.iter().any(|leaf| leaf.path == *path);
    Some((leaf.part.column(path), (!built).then(|| leaf.leaf.clone())))
}
