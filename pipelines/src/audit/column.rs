//! `audit column`: what one column of a pipeline was under each release that was in force: from which
//! one on, who signed it, and what the rule was.
//!
//! The ledger's APPROVED entries say which releases were in force, in which order; `run` keeps each
//! beside them by its digest, so that the history does not hang on who remembers the files. Whoever has
//! no ledger names files from git, and gets the history of those.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use douane_ledger::canonical;
use douane_ledger::dsse::Envelope;
use douane_ledger::log::{self, Entry};
use douane_ledger::release::{self, Column, OnBad, Release, Shape};
use douane_ledger::trust::TrustRoot;
use serde::Serialize;
use serde_json::Value as Json;

use crate::config::{self, Pipeline, Place};
use crate::diff;
use crate::fault::RunFault;
use crate::journals;
use crate::names::{Names, ledger_home, typed};
use crate::revocation;

/// In the ledger's directory, every release that was in force, by its digest. No pipeline has such a
/// name.
const RELEASES: &str = "_releases";
/// A release file that is read, in bytes.
const BYTES_MAX: usize = 64 << 20;

/// Keeps a release that comes into force, before the entry of the ledger that names it.
pub(crate) fn keep(place: &Place, digest: &str, envelope: &Envelope) -> Result<(), RunFault> {
    let dir = place.ledger_dir.join(RELEASES);
    let path = kept_at(place, digest);
    if path.exists() {
        return Ok(());
    }
    let fault = |at: &Path, error: &std::io::Error| {
        RunFault::File(format!("{}: {}", at.display(), error.kind()))
    };
    let bytes = envelope.to_bytes().map_err(|f| RunFault::Release(f.to_string()))?;
    std::fs::create_dir_all(&dir).map_err(|error| fault(&dir, &error))?;
    // Whole or not at all; two that write it write the same.
    let aside = dir.join(format!("{digest}.{}.tmp", std::process::id()));
    let written = std::fs::write(&aside, bytes)
        .and_then(|()| std::fs::File::open(&aside)?.sync_all())
        .and_then(|()| std::fs::rename(&aside, &path))
        .and_then(|()| std::fs::File::open(&dir)?.sync_all());
    written.map_err(|error| fault(&path, &error))
}

/// Where a release is kept.
pub(crate) fn kept_at(place: &Place, digest: &str) -> PathBuf {
    place.ledger_dir.join(RELEASES).join(format!("{digest}.json"))
}

/// A release that was in force, where it was kept. What lies there is of this digest.
pub(crate) fn kept(place: &Place, digest: &str) -> Result<Option<Envelope>, RunFault> {
    let path = kept_at(place, digest);
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let envelope = Envelope::from_bytes(&bytes).map_err(|why| refused(&path, &why))?;
    let release = release::draft(&envelope).map_err(|why| refused(&path, &why))?;
    let found = release::digest(&release).map_err(|why| refused(&path, &why))?;
    match canonical::hex(&found) == digest {
        true => Ok(Some(envelope)),
        false => Err(refused(&path, &"it is not the release of its name")),
    }
}

/// What a rule is, as it was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// `key` or `value`.
    pub part: &'static str,
    /// The leaf that it comes from; of a derived one, all of them.
    pub from: Vec<String>,
    #[serde(rename = "type")]
    pub column_type: String,
    pub class: String,
    /// The shape that the gate holds its values to, in one line.
    pub protection: String,
    /// What stands for a value that its stage cannot take: `refuse`, `null`, or the text.
    pub on_bad: String,
    /// Exceptions from the policy that name it.
    pub overrides: Vec<String>,
    pub policy: u32,
}

/// One release that was in force, or was named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signed {
    pub version: u64,
    pub release: String,
    pub author: String,
    pub approvers: Vec<String>,
    pub created: String,
    pub expires: String,
    /// A process ran under it, by the ledger.
    pub in_force: bool,
    /// Who stopped it, and when.
    pub revoked: Option<String>,
}

/// Releases in a row that have one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    /// None: the column did not cross.
    pub rule: Option<Rule>,
    pub releases: Vec<Signed>,
}

/// The history of one column.
#[derive(Debug, Serialize)]
pub struct History {
    pub pipeline: String,
    pub column: String,
    /// Nothing is missing of what the ledger names, and every file holds.
    pub holds: bool,
    pub periods: Vec<Period>,
    /// Digests of releases that were in force, and that nobody kept.
    pub missing: Vec<String>,
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub file: PathBuf,
    /// Which one of a file with several tables.
    pub table: Option<String>,
    pub column: String,
    /// Release files beside those that the ledger keeps: from git.
    pub releases: Vec<PathBuf>,
}

/// Looks it up.
pub fn history(place: &Path, ask: &Ask) -> Result<History, RunFault> {
    let (place, pipeline) =
        config::load_table(place, &ask.file, ask.table.as_deref()).map_err(RunFault::Findings)?;
    let roots = roots(&place)?;
    let names = Names::of(&place, &pipeline);
    let control = ledger_home(&place.ledger_dir, &pipeline.name);
    journals::refresh(&place, &names, &pipeline.name)?;
    let entries = log::read(&control, &names.control_log(), None)?;
    let (mut in_force, mut stopped) = (BTreeMap::new(), BTreeMap::new());
    for (index, entry) in entries {
        match entry {
            Entry::Approved { release, approvers, .. } => {
                in_force.entry(release).or_insert((index, approvers));
            }
            Entry::Revoked { release, by, .. } => {
                stopped.insert(release, by);
            }
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    let mut take = |path: &Path, lines: &[u8]| -> Result<(), RunFault> {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let (release, digest, approvers) =
                verified(line, &roots).map_err(|why| refused(path, &why))?;
            if release.pipeline == pipeline.name {
                found.insert(digest, (release, approvers));
            }
        }
        Ok(())
    };
    for digest in in_force.keys() {
        let path = kept_at(&place, digest);
        if let Some(bytes) = read(&path)? {
            take(&path, &bytes)?;
        }
    }
    for path in std::iter::once(&pipeline.release).chain(&ask.releases) {
        let is_own = path == &pipeline.release;
        match read(path)? {
            Some(bytes) => take(path, &bytes)?,
            None if is_own => {}
            None => return Err(refused(path, &"it is not there")),
        }
    }
    let missing = in_force.keys().filter(|digest| !found.contains_key(*digest)).cloned().collect();
    let mut signed = Vec::new();
    for (digest, (release, approvers)) in found {
        let revoked = revocation::of(&place, &pipeline, &digest)?;
        let by_ledger = stopped.get(&digest).map(|by| format!("by {by}"));
        let revoked = revoked.map(|r| format!("by {} at {}: {}", r.by, r.at, r.reason));
        let order = in_force.get(&digest).map(|(index, _)| *index);
        let one = Signed {
            version: release.version,
            release: digest,
            author: release.author.clone(),
            approvers,
            created: release.created.clone(),
            expires: release.expires.clone(),
            in_force: order.is_some(),
            revoked: revoked.or(by_ledger),
        };
        signed.push((release.version, order, one, rule(&release, &ask.column)));
    }
    signed.sort_by(|a, b| (a.0, a.1, &a.2.created).cmp(&(b.0, b.1, &b.2.created)));
    History::new(&pipeline, &ask.column, signed.into_iter().map(|(.., s, r)| (s, r)), missing)
}

impl History {
    fn new(
        pipeline: &Pipeline,
        column: &str,
        signed: impl Iterator<Item = (Signed, Option<Rule>)>,
        missing: Vec<String>,
    ) -> Result<Self, RunFault> {
        let periods = periods(signed);
        if periods.iter().all(|period| period.rule.is_none()) {
            return Err(RunFault::File(format!(
                "no release of `{}` has a column `{column}`\n  next: `douane explain {}` lists the \
                 columns of now; name older release files with `--release`",
                pipeline.name,
                typed(&pipeline.file)
            )));
        }
        let (pipeline, column, holds) =
            (pipeline.name.clone(), column.to_owned(), missing.is_empty());
        Ok(Self { pipeline, column, holds, periods, missing })
    }

    /// As a person reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{} of {}", self.column, self.pipeline)?;
        for Period { rule, releases } in &self.periods {
            let (Some(first), Some(last)) = (releases.first(), releases.last()) else { continue };
            match first.version == last.version {
                true => writeln!(out, "\nrelease {}", first.version)?,
                false => writeln!(out, "\nreleases {} to {}", first.version, last.version)?,
            }
            match rule {
                None => writeln!(out, "  did not cross")?,
                Some(rule) => {
                    writeln!(
                        out,
                        "  {} ({}), from {}",
                        rule.protection,
                        rule.column_type,
                        rule.from.join(", ")
                    )?;
                    let bad = match rule.on_bad.as_str() {
                        "refuse" => String::new(),
                        other => format!("; what cannot be taken: {other}"),
                    };
                    let by = match rule.overrides.is_empty() {
                        true => String::new(),
                        false => format!(", override {}", rule.overrides.join(", ")),
                    };
                    let (class, policy) = (&rule.class, rule.policy);
                    writeln!(out, "  class {class}, policy version {policy}{by}{bad}")?;
                }
            }
            for one in releases {
                let Signed { version, author, approvers, created, expires, .. } = one;
                let (short, by) = (one.release.get(..12).unwrap_or_default(), approvers.join(", "));
                writeln!(
                    out,
                    "    {version}  {short}…  {created} to {expires}, by {author}, signed by {by}{}{}",
                    if one.in_force { "" } else { "; not in force by this ledger" },
                    one.revoked.as_ref().map_or_else(String::new, |who| format!("; revoked {who}")),
                )?;
            }
        }
        for digest in &self.missing {
            writeln!(out, "\nrelease {digest} was in force, and nobody kept it")?;
        }
        match self.holds {
            true => {
                write!(out, "\nevery release that the ledger names is here, its signatures checked")
            }
            false => write!(out, "\nNOT whole: name the missing files with `--release`, from git"),
        }
    }
}

/// Neighbours with one rule are one period.
fn periods(signed: impl Iterator<Item = (Signed, Option<Rule>)>) -> Vec<Period> {
    let mut periods: Vec<Period> = Vec::new();
    for (one, rule) in signed {
        match periods.last_mut() {
            Some(last) if last.rule == rule => last.releases.push(one),
            _ => periods.push(Period { rule, releases: vec![one] }),
        }
    }
    periods
}

fn rule(release: &Release, name: &str) -> Option<Rule> {
    let of = |columns: &[Column], part| -> Option<(Column, &'static str)> {
        Some((columns.iter().find(|column| column.name == name)?.clone(), part))
    };
    let (column, part) = of(&release.columns, "value").or_else(|| of(&release.key, "key"))?;
    let from = match &column.shape {
        Shape::Derived { from, .. } | Shape::Noised { from, .. } => from.clone(),
        _ => vec![column.from.clone()],
    };
    let overrides = release.overrides.iter().filter(|o| o.columns.iter().any(|c| c == name));
    Some(Rule {
        part,
        from,
        column_type: column.column_type,
        class: column.class,
        protection: diff::shape(
            &serde_json::to_value(&column.shape).unwrap_or_default(),
            &Json::Null,
        ),
        on_bad: match column.on_bad {
            OnBad::Refuse => "refuse".to_owned(),
            OnBad::Null => "null".to_owned(),
            OnBad::Constant { text } => text,
        },
        overrides: overrides.map(|o| o.name.clone()).collect(),
        policy: release.policy.version,
    })
}

/// The trust root as it was at each of its versions, newest first: approvers leave, and what they
/// approved of before stays approved.
fn roots(place: &Place) -> Result<Vec<TrustRoot>, RunFault> {
    let bytes = read(&place.trust)?.unwrap_or_default();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let mut roots = (1..=lines.len())
        .map(|count| TrustRoot::load(&lines[..count].concat(), None))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|fault| refused(&place.trust, &fault))?;
    roots.reverse();
    match roots.is_empty() {
        true => Err(refused(&place.trust, &"no trust root")),
        false => Ok(roots),
    }
}

/// A release that some trust root of the chain approved of, as of the instant at which it was made.
fn verified(line: &[u8], roots: &[TrustRoot]) -> Result<(Release, String, Vec<String>), String> {
    let envelope = Envelope::from_bytes(line).map_err(|fault| fault.to_string())?;
    let draft = release::draft(&envelope).map_err(|fault| fault.to_string())?;
    let created: jiff::Timestamp = draft.created.parse().map_err(|_| "created is no time")?;
    let mut why = String::new();
    for root in roots {
        match release::verify(&envelope, root, SystemTime::from(created)) {
            Ok(live) => {
                let digest = canonical::hex(&live.digest());
                return Ok((draft, digest, live.approvers().to_vec()));
            }
            Err(fault) => why = fault.to_string(),
        }
    }
    Err(why)
}

fn refused(path: &Path, why: &dyn std::fmt::Display) -> RunFault {
    RunFault::Release(format!("{}: {why}", path.display()))
}

/// A file of bounded length; none where there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, RunFault> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.len() <= BYTES_MAX => Ok(Some(bytes)),
        Ok(_) => Err(refused(path, &format_args!("more than {BYTES_MAX} bytes"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RunFault::File(format!("{}: {}", path.display(), error.kind()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(version: u64) -> Signed {
        Signed {
            version,
            release: format!("{version:064x}"),
            author: "cleo".into(),
            approvers: vec!["ada".into(), "bo".into()],
            created: "2026-01-01T00:00:00Z".into(),
            expires: "2026-07-01T00:00:00Z".into(),
            in_force: version != 3,
            revoked: (version == 2).then(|| "by ada".to_owned()),
        }
    }

    fn rule(protection: &str) -> Option<Rule> {
        Some(Rule {
            part: "value",
            from: vec!["after.email".into()],
            column_type: "text".into(),
            class: "identifier".into(),
            protection: protection.to_owned(),
            on_bad: "refuse".into(),
            overrides: vec![],
            policy: 5,
        })
    }

    #[test]
    fn releases_in_a_row_with_one_rule_are_one_period() {
        let rules = [None, rule("token"), rule("token"), rule("mask"), rule("token")];
        let all: Vec<_> = (1..).map(signed).zip(rules).collect();
        let found = periods(all.clone().into_iter());
        let counts: Vec<_> = found.iter().map(|period| period.releases.len()).collect();
        assert_eq!(counts, [1, 2, 1, 1]);
        let history = History {
            pipeline: "p".into(),
            column: "email".into(),
            holds: false,
            periods: found,
            missing: vec!["ab".repeat(32)],
        };
        let text = history.text();
        for word in [
            "did not cross",
            "releases 2 to 3",
            "release 4",
            "revoked by ada",
            "NOT whole",
            "signed by ada, bo",
            "not in force by this ledger",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
