//! `diff OLD NEW`: what changes for each output column between two pipelines or releases, what that
//! risks, and whether the release still holds. What has crossed stays as it was: nothing here
//! reaches it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use douane_ledger::fingerprint::{Fingerprinted, FingerprintedDomain};
use douane_ledger::release::{Column, Limits, Release, draft};
use serde::Serialize;
use serde_json::Value as Json;

use crate::bundle;
use crate::cases;
use crate::config::{self, Pipeline, Place};
use crate::fault::RunFault;
use crate::plan::Plan;
use crate::release::{self, Standing};

mod shows;
mod whole;

/// What a change may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// More than before can be read outside.
    Disclosure,
    /// Deletes and updates no longer reach rows that crossed.
    Keys,
    /// What joined no longer joins.
    Joins,
    /// Readers' schemas no longer fit.
    Schema,
    /// Readers find another value, or none.
    Readers,
    /// People have to approve it; the records are as before.
    Approval,
}

impl Risk {
    fn word(self) -> &'static str {
        match self {
            Self::Disclosure => "disclosure",
            Self::Keys => "keys",
            Self::Joins => "joins",
            Self::Schema => "schema",
            Self::Readers => "readers",
            Self::Approval => "approval",
        }
    }
}

/// One change of one column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// `key` or `row`.
    pub part: &'static str,
    pub column: String,
    /// `added`, `removed`, `renamed`, `protection`, `domain`, `domain_version`, `type`, `class`,
    /// `null`, `from`, `on_bad`.
    pub what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    pub risk: Risk,
    pub why: &'static str,
}

/// A change of the whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Other {
    pub what: String,
    pub before: String,
    pub after: String,
    pub risk: Risk,
    pub why: &'static str,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff {
    pub old: String,
    pub new: String,
    pub columns: Vec<Change>,
    pub others: Vec<Other>,
    /// Readers of the old schema read new records, and a registry takes the new one.
    pub schema_compatible: bool,
    /// The release in force lets the new file run.
    pub release_holds: bool,
    pub release: Standing,
}

/// One of the two.
struct Side {
    label: String,
    release: Release,
    /// What is fingerprinted, where the pipeline's file is at hand; a release does not say all.
    made: Option<Fingerprinted>,
    /// Of the release itself; of a pipeline, those of its release or draft.
    limits: Option<Limits>,
    standing: Option<Standing>,
}

/// Compares two files: pipelines (`.yaml`), or releases (`.json`); of those with several tables, one.
pub fn run(place: &Path, table: Option<&str>, old: &Path, new: &Path) -> Result<Diff, RunFault> {
    Ok(between(Side::of(place, table, old)?, Side::of(place, table, new)?))
}

/// As [`run`], of two releases: what signing the new one changes.
pub fn of_releases(old: &Release, new: &Release) -> Diff {
    let side = |release: &Release| Side {
        label: format!("release {}", release.version),
        release: release.clone(),
        made: None,
        limits: Some(release.limits.clone()),
        standing: None,
    };
    between(side(old), side(new))
}

/// What a signature under a release changes, by the files that lie there.
pub enum Since {
    /// No release lies before it.
    First,
    /// It is that release already, in this state, and gets one more signature.
    Same(&'static str),
    /// Against the release that it takes the place of.
    Before(Box<Diff>),
}

impl Since {
    /// Of what is about to be signed for a pipeline.
    pub fn of(place: &Place, pipeline: &Pipeline, next: &Release) -> Result<Self, RunFault> {
        let Some(envelope) = bundle::find(&pipeline.release, pipeline)? else {
            return Ok(Self::First);
        };
        let before = draft(&envelope).map_err(release::fault)?;
        // Nobody need have approved it.
        let state = release::state(place, pipeline, &envelope)?;
        if before == *next {
            return Ok(Self::Same(state.word()));
        }
        let mut diff = of_releases(&before, next);
        diff.old = format!("{} ({})", diff.old, state.word());
        Ok(Self::Before(Box::new(diff)))
    }

    /// The difference, where there is a release before.
    pub fn diff(&self) -> Option<&Diff> {
        match self {
            Self::Before(diff) => Some(diff),
            Self::First | Self::Same(_) => None,
        }
    }

    /// As a person reads it before signing.
    pub fn text(&self) -> String {
        match self {
            Self::First => "no release lies before it: all of it is new".to_owned(),
            Self::Same(state) => format!(
                "it is the release that lies there, {state}: one more signature changes nothing of what it says{}",
                match *state {
                    "approved" => "",
                    _ => ", and what ran before it does not lie here to be compared",
                }
            ),
            Self::Before(diff) => format!("difference to {}\n{}", diff.old, diff.changes()),
        }
    }
}

fn between(old: Side, new: Side) -> Diff {
    let standing = match (&new.standing, &old.standing) {
        (Some(standing), _) => standing.clone(),
        (None, Some(standing)) => Standing {
            fits: standing.fingerprint.as_ref() == Some(&new.release.fingerprint),
            ..standing.clone()
        },
        (None, None) => Standing {
            fits: old.release.fingerprint == new.release.fingerprint,
            ..Standing::default()
        },
    };
    let mut columns = Vec::new();
    for (part, before, after) in [
        ("key", &old.release.key, &new.release.key),
        ("row", &old.release.columns, &new.release.columns),
    ] {
        compare(part, before, after, &mut columns);
    }
    let (was, is) = made(&old, &new);
    versions(&new.release, &was.domains, &is.domains, &mut columns);
    let others = others((&old, &was), (&new, &is));
    let breaks = |change: &Change| {
        let key_of_schema = change.part == "row" && ["type", "null"].contains(&change.what);
        key_of_schema || change.part == "key" && change.what == "type"
    };
    let format = ["target format", "record shape"];
    let format = others.iter().any(|other| format.contains(&other.what.as_str()));
    Diff {
        schema_compatible: !format && !columns.iter().any(breaks),
        release_holds: standing.live && standing.fits,
        release: standing,
        old: old.label,
        new: new.label,
        columns,
        others,
    }
}

impl Side {
    fn of(place: &Path, table: Option<&str>, file: &Path) -> Result<Self, RunFault> {
        let label = file.display().to_string();
        if file.extension().is_some_and(|end| end == "json") {
            let release = release::of_file(file, table)?;
            let limits = Some(release.limits.clone());
            return Ok(Self { label, release, made: None, limits, standing: None });
        }
        let (place, pipeline) =
            config::load_table(place, file, table).map_err(RunFault::Findings)?;
        let plan = cases::plan(&pipeline)?;
        let release = release_of(&place, &pipeline, &plan)?;
        let made = Some(release::fingerprinted(&place, &pipeline, &plan));
        let lying = release::to_sign(&pipeline).ok();
        let limits = lying.and_then(|lying| Some(draft(&lying).ok()?.limits));
        let standing = Some(Standing::of(&place, &pipeline, &release.fingerprint));
        Ok(Self { label, release, made, limits, standing })
    }
}

/// What a proposal would say.
fn release_of(place: &Place, pipeline: &Pipeline, plan: &Plan) -> Result<Release, RunFault> {
    let limits = Limits { records: None, bytes: None, epsilon: None };
    let life = std::time::Duration::from_secs(86_400);
    let proposal = release::Proposal { author: "author".to_owned(), life, limits, once: None };
    release::draft(place, pipeline, plan, &proposal, 1)
}

const LEAVES: &str = "a new column: more of each row can be read outside";
const REMOVED: &str = "readers of the column find nothing more in it; what has crossed keeps it";
const RENAMED: &str = "readers find it under another name; what has crossed keeps the old one";
const BARE: &str = "it crosses as it is from now on: what was protected can be read";
const FINER: &str = "it may show more of a value than before: compare what `explain` says it keeps";
const BAD: &str = "cells that its stage cannot take come out otherwise";
const OTHER: &str = "new values do not compare with those that crossed";
const JOINS: &str =
    "tokens and encrypted values of new records do not join with those that crossed";
const KEYS: &str = "updates and deletes no longer find the rows that crossed under the old key";
const TYPE: &str = "readers' schemas say another type";
const NULL: &str = "readers' schemas say otherwise whether it may be null";
const CLASS: &str = "another rule lets it cross: people must have read why";
const FROM: &str = "it is made of other leaves: the same name means something else";

fn compare(part: &'static str, before: &[Column], after: &[Column], out: &mut Vec<Change>) {
    let of = |column: &Column| serde_json::to_value(column).unwrap_or_default();
    let named = |columns: &[Column]| -> BTreeMap<String, Json> {
        columns.iter().map(|column| (column.name.clone(), of(column))).collect()
    };
    let (old, new) = (named(before), named(after));
    let mut renamed: BTreeSet<&String> = BTreeSet::new();
    let mut push = |column: &str, what, before, after, risk, why| {
        // Whatever it is, of a key it is that.
        let (risk, why) = if part == "key" { (Risk::Keys, KEYS) } else { (risk, why) };
        out.push(Change { part, column: column.to_owned(), what, before, after, risk, why });
    };
    for (name, was) in &old {
        let Some(is) = new.get(name) else {
            let same = new.iter().find(|(other, is)| {
                !old.contains_key(*other)
                    && is["from"] == was["from"]
                    && is["shape"] == was["shape"]
            });
            match same {
                Some((other, _)) => {
                    renamed.insert(other);
                    let (before, after) = (Some(name.clone()), Some(other.clone()));
                    push(name, "renamed", before, after, Risk::Readers, RENAMED);
                }
                None => push(name, "removed", None, None, Risk::Readers, REMOVED),
            }
            continue;
        };
        for (field, what, risk, why) in [
            ("from", "from", Risk::Readers, FROM),
            ("column_type", "type", Risk::Schema, TYPE),
            ("nullable", "null", Risk::Schema, NULL),
            ("class", "class", Risk::Approval, CLASS),
            ("on_bad", "on_bad", Risk::Readers, BAD),
        ] {
            if was[field] != is[field] {
                push(name, what, Some(plain(&was[field])), Some(plain(&is[field])), risk, why);
            }
        }
        let (was, is) = (&was["shape"], &is["shape"]);
        if was == is {
            continue;
        }
        let (before, after) = (Some(shape(was, is)), Some(shape(is, was)));
        let domain = was["domain"] != is["domain"] && was["kind"] == is["kind"];
        let less = less(was, is);
        if domain {
            push(name, "domain", before.clone(), after.clone(), Risk::Joins, JOINS);
        }
        match is["kind"].as_str() {
            Some("public") => push(name, "protection", before, after, Risk::Disclosure, BARE),
            _ if !less => push(name, "protection", before, after, Risk::Disclosure, FINER),
            _ if domain => {}
            _ => push(name, "protection", before, after, Risk::Readers, OTHER),
        }
    }
    for name in new.keys().filter(|name| !old.contains_key(*name) && !renamed.contains(name)) {
        push(
            name,
            "added",
            None,
            Some(shape(&new[name]["shape"], &Json::Null)),
            Risk::Disclosure,
            LEAVES,
        );
    }
}

/// The protection shows no more than the one before.
fn less(was: &Json, is: &Json) -> bool {
    let shape = |shape: &Json| serde_json::from_value(shape.clone()).ok();
    match (shape(was), shape(is)) {
        (Some(was), Some(is)) => shows::shows_no_more(&was, &is),
        _ => false,
    }
}

/// What a fingerprint calls the algorithm of encrypted values.
pub(crate) const FF1: &str = "ff1-aes-256";

/// Columns whose domain stays and makes other tokens all the same.
fn versions(
    release: &Release,
    before: &[FingerprintedDomain],
    after: &[FingerprintedDomain],
    out: &mut Vec<Change>,
) {
    // A domain may be used for tokens and for encryption, each by an algorithm of its own.
    let of = |domains: &[FingerprintedDomain]| -> BTreeMap<(String, bool), String> {
        let text = |d: &FingerprintedDomain| {
            let FingerprintedDomain { algorithm, normalize, version, .. } = d;
            let padded = d.pad_to.map_or_else(String::new, |to| format!(", padded to {to} bytes"));
            let per = d.key_per.as_ref().map_or_else(String::new, |of| format!(", a key per {of}"));
            let text =
                format!("version {version}, {algorithm}{padded}{per}, normalised by {normalize}");
            ((d.name.clone(), algorithm == FF1), text)
        };
        domains.iter().map(text).collect()
    };
    let (before, after) = (of(before), of(after));
    for (part, columns) in [("key", &release.key), ("row", &release.columns)] {
        for column in columns {
            let shape = serde_json::to_value(&column.shape).unwrap_or_default();
            let Some(domain) = shape["domain"].as_str() else { continue };
            let domain_and_use = (domain.to_owned(), shape["kind"] == "fpe");
            let (was, is) = (before.get(&domain_and_use), after.get(&domain_and_use));
            let (Some(was), Some(is)) = (was, is) else { continue };
            if was != is {
                let (risk, why) =
                    if part == "key" { (Risk::Keys, KEYS) } else { (Risk::Joins, JOINS) };
                out.push(Change {
                    part,
                    column: column.name.clone(),
                    what: "domain_version",
                    before: Some(format!("{domain}: {was}")),
                    after: Some(format!("{domain}: {is}")),
                    risk,
                    why,
                });
            }
        }
    }
}

/// What is fingerprinted of both. What a release does not say of its pipeline is like the other one.
fn made(old: &Side, new: &Side) -> (Fingerprinted, Fingerprinted) {
    let like = new.made.clone().unwrap_or_else(|| whole::said(&new.release, None));
    let was = old.made.clone().unwrap_or_else(|| whole::said(&old.release, Some(&like)));
    let is = new.made.clone().unwrap_or_else(|| whole::said(&new.release, Some(&was)));
    (was, is)
}

fn others((old, was): (&Side, &Fingerprinted), (new, is): (&Side, &Fingerprinted)) -> Vec<Other> {
    let mut lines = whole::Lines::default();
    lines.approved(was, is);
    if let (Some(was), Some(is)) = (&old.limits, &new.limits) {
        lines.limits(was, is);
        lines.once(&old.release, &new.release);
    }
    if old.made.is_none() || new.made.is_none() {
        lines.unsaid(&old.release, &new.release);
    }
    lines.into_others()
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A shape in one line: its kind, and in what it differs from another one of its kind.
pub(crate) fn shape(shape: &Json, other: &Json) -> String {
    let kind = shape["kind"].as_str().unwrap_or("none");
    let fields = shape.as_object().into_iter().flatten().filter(|(name, value)| {
        *name != "kind" && (shape["kind"] != other["kind"] || other[name.as_str()] != **value)
    });
    let fields: Vec<String> =
        fields.map(|(name, value)| format!("{name} `{}`", plain(value))).collect();
    match fields.is_empty() {
        true => kind.to_owned(),
        false => format!("{kind} ({})", fields.join(", ")),
    }
}

impl Diff {
    /// As a person reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    /// What changes, and what that does outside.
    fn changes(&self) -> String {
        let mut out = String::new();
        let _ = self.write_changes(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{} -> {}", self.old, self.new)?;
        self.write_changes(out)?;
        writeln!(out, "{}", self.release)?;
        match self.release_holds {
            true => writeln!(out, "the release still holds"),
            false => writeln!(out, "the release does NOT hold for {}", self.new),
        }
    }

    fn write_changes(&self, out: &mut String) -> std::fmt::Result {
        for change in &self.columns {
            let Change { part, column, what, before, after, risk, why } = change;
            let part = if *part == "key" { "key " } else { "" };
            writeln!(out, "\n{part}{column}: {what}  [{}]", risk.word())?;
            if let (Some(before), Some(after)) = (before, after) {
                writeln!(out, "  {before} -> {after}")?;
            } else if let Some(after) = after {
                writeln!(out, "  {after}")?;
            }
            writeln!(out, "  {why}")?;
        }
        if self.columns.is_empty() {
            writeln!(out, "\nno output column changes")?;
        }
        for Other { what, before, after, risk, why } in &self.others {
            writeln!(out, "\n{what}  [{}]\n  {before} -> {after}\n  {why}", risk.word())?;
        }
        writeln!(out, "\nwhat has crossed stays as it was")?;
        writeln!(
            out,
            "{}",
            match self.schema_compatible {
                true => "the output's schema stays compatible",
                false => "the output's schema is NOT compatible: use a new subject or sink topic",
            }
        )
    }
}

#[cfg(test)]
mod tests;
