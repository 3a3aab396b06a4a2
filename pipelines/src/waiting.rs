//! A pipeline's releases as people look at them: the one in force, the draft that waits, what it
//! changes, who signed and who still may, and the command that signs it. Read from files, and from the
//! ledger where it is.

use std::path::Path;

use douane_ledger::dsse::Envelope;
use douane_ledger::release::{self as releases, Column, Limits, Release, State};
use douane_ledger::trust::{Role, TrustRoot};
use serde::Serialize;

use crate::bundle;
use crate::config::{self, Pipeline, Place};
use crate::diff::{self, Diff};
use crate::fault::RunFault;
use crate::names::typed;
use crate::release::{self, fault};

/// Of one pipeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Releases {
    pub pipeline: String,
    /// How many distinct approvers a release needs.
    pub threshold: usize,
    pub in_force: Option<One>,
    pub waiting: Option<One>,
    /// What signing the one that waits changes; of a first release there is none.
    pub diff: Option<Diff>,
    /// What signs the one that waits, on the command line of whoever holds a key.
    pub sign: Option<String>,
}

/// One release file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct One {
    pub version: u64,
    pub fingerprint: String,
    pub author: String,
    pub created: String,
    pub expires: String,
    pub purpose: String,
    pub target: String,
    pub limits: Limits,
    #[serde(flatten)]
    pub state: State,
    /// As a person reads the state.
    pub said: String,
    /// Whose signatures it bears; the author's does not count.
    pub signed: Vec<String>,
    /// Who may approve, has not, and would count.
    pub may_still: Vec<String>,
    pub key: Vec<Crosses>,
    pub columns: Vec<Crosses>,
    /// Names of its overrides.
    pub overrides: Vec<String>,
}

/// A column that it lets cross.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Crosses {
    pub name: String,
    #[serde(rename = "type")]
    pub column_type: String,
    pub class: String,
    /// The kind of shape that the gate holds its values to.
    pub shape: String,
}

/// The releases of each pipeline of a file.
pub fn releases(place_file: &Path, file: &Path) -> Result<Vec<Releases>, RunFault> {
    let (place, pipelines) = config::load_all(place_file, file).map_err(RunFault::Findings)?;
    let root = release::trust_root(&place)?;
    pipelines.iter().map(|pipeline| of(place_file, &place, &root, file, pipeline)).collect()
}

fn of(
    place_file: &Path,
    place: &Place,
    root: &TrustRoot,
    file: &Path,
    pipeline: &Pipeline,
) -> Result<Releases, RunFault> {
    let lying = |path: &Path| -> Result<Option<(Release, One)>, RunFault> {
        let found = bundle::find(path, pipeline)?;
        found.map(|envelope| one(place, root, pipeline, &envelope)).transpose()
    };
    let in_force = lying(&pipeline.release)?;
    let waiting = lying(&bundle::draft_file(pipeline))?;
    let both = in_force.as_ref().zip(waiting.as_ref());
    let diff = both.map(|((old, _), (new, _))| diff::of_releases(old, new));
    let sign = waiting.as_ref().map(|_| command(place_file, file, pipeline));
    Ok(Releases {
        pipeline: pipeline.name.clone(),
        threshold: root.threshold(),
        in_force: in_force.map(|(_, one)| one),
        waiting: waiting.map(|(_, one)| one),
        diff,
        sign,
    })
}

fn command(place_file: &Path, file: &Path, pipeline: &Pipeline) -> String {
    let place = match place_file == Path::new("douane.yaml") {
        true => String::new(),
        false => format!("-c {} ", typed(place_file)),
    };
    let table =
        pipeline.table.as_ref().map_or_else(String::new, |t| format!(" --table {}", t.name));
    format!("douane {place}release sign {}{table} --key KEYFILE", typed(file))
}

fn one(
    place: &Place,
    root: &TrustRoot,
    pipeline: &Pipeline,
    envelope: &Envelope,
) -> Result<(Release, One), RunFault> {
    let release = releases::draft(envelope).map_err(fault)?;
    let state = release::state(place, pipeline, envelope)?;
    // One signature that nobody of the root made spoils all: then nobody is named.
    let signers = envelope.verify(&root.keys()).map(|verified| verified.signers);
    let signers = signers.unwrap_or_default();
    let person = |key| root.person(key, Role::Approve).map(|person| person.name.clone());
    let signed: Vec<String> = signers.iter().filter_map(person).collect();
    let alone = root.with_role(Role::Approve).count() == 1;
    let may_still = root
        .with_role(Role::Approve)
        .filter(|person| alone || person.name != release.author)
        .map(|person| person.name.clone())
        .filter(|name| !signed.contains(name))
        .collect();
    let one = One {
        version: release.version,
        fingerprint: release.fingerprint.clone(),
        author: release.author.clone(),
        created: release.created.clone(),
        expires: release.expires.clone(),
        purpose: release.purpose.clone(),
        target: format!("{}: {}", release.target.zone, release.target.topic),
        limits: release.limits.clone(),
        said: state.to_string(),
        state,
        signed,
        may_still,
        key: release.key.iter().map(crosses).collect(),
        columns: release.columns.iter().map(crosses).collect(),
        overrides: release.overrides.iter().map(|named| named.name.clone()).collect(),
    };
    Ok((release, one))
}

fn crosses(column: &Column) -> Crosses {
    let shape = serde_json::to_value(&column.shape).unwrap_or_default();
    Crosses {
        name: column.name.clone(),
        column_type: column.column_type.clone(),
        class: column.class.clone(),
        shape: shape["kind"].as_str().unwrap_or("none").to_owned(),
    }
}
