//! From files to proof: where the leaves come from, and the table that `explain` prints.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use douane_connectors::edge::EdgeFault;
use douane_connectors::registry::Registry;
use douane_schemas::debezium::{leaves_of_avro, leaves_of_json_schema};
use douane_schemas::leaf::{Leaf, LeafType, TableLeaves};
use douane_schemas::record::{Format, RawRecord};

use crate::config::{self, Findings, Kind, Mark, Pipeline, Place, nearest, quoted};
use crate::crossing::TRY;
use crate::edges::Edges;
use crate::fault::RunFault;
use crate::names::typed;
use crate::plan::Plan;
use crate::proof::Proof;
use crate::release::{self, Standing};

/// The proof of each pipeline of a file, and how its release stands. Where the source cannot be
/// reached, the leaves of its release serve, if it has one.
pub fn proofs(place: &Path, file: &Path) -> Result<Vec<(Proof, Standing)>, RunFault> {
    let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    pipelines.iter().map(|pipeline| of(&place, pipeline)).collect()
}

/// Of each proof what it says of one column, or of a leaf that stays behind; of none that says nothing.
///
/// # Errors
/// Nothing of the file is called so.
pub fn only(
    proofs: Vec<(Proof, Standing)>,
    file: &Path,
    column: &str,
) -> Result<Vec<(Proof, Standing)>, RunFault> {
    let named = |(proof, _): &(Proof, Standing)| proof.names().map(str::to_owned).collect();
    let known: BTreeSet<String> = proofs.iter().flat_map::<Vec<_>, _>(named).collect();
    if known.contains(column) {
        let only = |(proof, standing): (Proof, Standing)| (proof.only(column), standing);
        let mut proofs: Vec<_> = proofs.into_iter().map(only).collect();
        proofs.retain(|(proof, _)| proof.names().next().is_some());
        return Ok(proofs);
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let mut findings = Findings::default();
    let message = format!("no column or leaf `{}`", quoted(column));
    let file_name = file.display().to_string();
    let finding = findings.error(&file_name, Mark::FILE, Kind::MatchesNothing, message);
    match nearest(column, &known) {
        Some(near) => finding.next(format_args!("`--column {near}`")),
        None => {
            finding.next(format_args!("`douane explain {}` shows all that there are", typed(file)))
        }
    };
    Err(RunFault::Findings(findings))
}

/// As [`proofs`], of a file with one pipeline.
pub fn proof(place: &Path, file: &Path) -> Result<Proof, RunFault> {
    let (place, pipeline) = config::load(place, file).map_err(RunFault::Findings)?;
    of(&place, &pipeline).map(|(proof, _)| proof)
}

/// As [`proofs`], over the leaves of the release in force, where there is one that the files fit:
/// what crosses now, also while the source has a leaf that nobody classed.
pub fn borders(place: &Path, file: &Path) -> Result<Vec<(Proof, Standing)>, RunFault> {
    let (place, pipelines) = config::load_all(place, file).map_err(RunFault::Findings)?;
    let one = |pipeline: &Pipeline| {
        let plan = released(pipeline)
            .and_then(|leaves| Plan::new(pipeline, leaves).ok())
            .map_or_else(|| plan(&place, pipeline), Ok)?;
        shown(&place, pipeline, &plan)
    };
    pipelines.iter().map(one).collect()
}

fn of(place: &Place, pipeline: &Pipeline) -> Result<(Proof, Standing), RunFault> {
    shown(place, pipeline, &plan(place, pipeline)?)
}

fn shown(place: &Place, pipeline: &Pipeline, plan: &Plan) -> Result<(Proof, Standing), RunFault> {
    let fingerprint = release::fingerprint(place, pipeline, plan)?;
    let standing = Standing::of(place, pipeline, &fingerprint);
    Ok((Proof::new(place, pipeline, plan, &fingerprint), standing))
}

/// The leaves of the release as it lies.
fn released(pipeline: &Pipeline) -> Option<TableLeaves> {
    let envelope = release::envelope(pipeline).ok()?;
    release::leaves(&douane_ledger::release::draft(&envelope).ok()?).ok()
}

/// The plan over the leaves as the source has them now: what a release is drafted from.
pub fn fresh_plan(place: &Place, pipeline: &Pipeline) -> Result<Plan, RunFault> {
    Plan::new(pipeline, leaves(place, pipeline)?).map_err(RunFault::Findings)
}

/// The plan over the leaves as the source has them now, or, where it is away, as the release has
/// them.
pub fn plan(place: &Place, pipeline: &Pipeline) -> Result<Plan, RunFault> {
    let leaves = match leaves(place, pipeline) {
        Err(RunFault::Unreachable { what, why }) => {
            released(pipeline).ok_or(RunFault::Unreachable { what, why })?
        }
        other => other?,
    };
    Plan::new(pipeline, leaves).map_err(RunFault::Findings)
}

/// The shape of the source's records: from the registry, from the first record's schema, or, for
/// JSON without schemas, from the pipeline's own lists.
fn leaves(place: &Place, pipeline: &Pipeline) -> Result<TableLeaves, RunFault> {
    let topic = &pipeline.source.topics[0];
    if let Some(format) = pipeline.source.file {
        let path = place.dir.join(topic);
        let key = pipeline.source.key.as_deref().unwrap_or_default();
        let dir = place.sovereign.dir.as_deref().unwrap_or(&place.dir);
        if !path.exists() {
            return Err(RunFault::no_source(place, topic));
        }
        let leaves = douane_connectors::file::leaves(dir, &path, format, key)
            .map_err(|fault| RunFault::Edge(fault.to_string()))?;
        if let Some(leaves) = leaves {
            return retyped(pipeline, leaves);
        }
    }
    match pipeline.source.format {
        Format::DebeziumAvro => {
            let registry = Registry::new(&place.sovereign)
                .map_err(|fault| RunFault::Registry(fault.to_string()))?;
            let latest = |part: &str| {
                registry.latest(&format!("{topic}-{part}")).map_err(|fault| match fault {
                    fault if fault.is_away() => RunFault::Unreachable {
                        what: "the sovereign registry".into(),
                        why: fault.to_string(),
                    },
                    fault => RunFault::Registry(fault.to_string()),
                })
            };
            let key = latest("key")?;
            let (_, value) = latest("value")?.ok_or_else(|| {
                RunFault::Registry(format!("subject `{topic}-value` has no schema yet"))
            })?;
            leaves_of_avro(key.as_ref().map(|(_, text)| text.as_str()), &value)
                .map_err(|fault| RunFault::Registry(format!("subject `{topic}-value`: {fault}")))
                .and_then(|leaves| retyped(pipeline, leaves))
        }
        Format::DebeziumJsonSchema => {
            let first = first_record(place, pipeline)?;
            leaves_of_json_schema(first.0.as_deref(), &first.1)
                .map_err(|fault| RunFault::of_source(place, topic, &fault.to_string()))
                .and_then(|leaves| retyped(pipeline, leaves))
        }
        Format::DebeziumJson => {
            let key = match &pipeline.source.key {
                Some(key) => key.clone(),
                None => {
                    let first = first_record(place, pipeline)?;
                    let names = key_names(first.0.as_deref());
                    names.map_err(|what| RunFault::of_source(place, topic, what))?
                }
            };
            Ok(declared(pipeline, &key))
        }
    }
}

/// The leaves of a schema with what `types:` says where the schema gives a plain type no meaning.
fn retyped(pipeline: &Pipeline, mut leaves: TableLeaves) -> Result<TableLeaves, RunFault> {
    let mut findings = Findings::default();
    let file = pipeline.file.display().to_string();
    for (path, declared) in &pipeline.types {
        let all = leaves.key.iter_mut().chain(&mut leaves.row);
        for leaf in all.filter(|leaf| leaf.path == *path) {
            if leaf.leaf_type.may_be_declared(*declared) {
                leaf.leaf_type = *declared;
                continue;
            }
            let found = leaf.leaf_type;
            let message = format!(
                "`{path}` is declared `{declared}`, but the source's schema says `{found}`"
            );
            findings
                .error(&file, Mark::FILE, Kind::Stage, message)
                .next("take the type out, or declare what the schema's type can mean");
        }
    }
    if findings.is_empty() { Ok(leaves) } else { Err(RunFault::Findings(findings)) }
}

/// JSON without schemas: every classed leaf, of its declared type or text.
fn declared(pipeline: &Pipeline, key: &[String]) -> TableLeaves {
    let leaf = |path: &String| Leaf {
        path: path.clone(),
        leaf_type: pipeline.types.get(path).copied().unwrap_or(LeafType::Text),
    };
    TableLeaves {
        key: key.iter().map(leaf).collect(),
        row: pipeline.classes.iter().map(|rule| leaf(&rule.path)).collect(),
    }
}

/// The first record with a value that any partition of the first topic holds.
fn first_record(
    place: &Place,
    pipeline: &Pipeline,
) -> Result<(Option<Vec<u8>>, Vec<u8>), RunFault> {
    let topic = &pipeline.source.topics[0];
    let fault = |fault: EdgeFault| match fault.is_away() {
        true => {
            RunFault::Unreachable { what: "the sovereign cluster".into(), why: fault.to_string() }
        }
        false => RunFault::of_source(place, topic, &fault.to_string()),
    };
    let sovereign = Edges::of(place, pipeline).sovereign;
    let admin = sovereign.admin().map_err(fault)?;
    let found = admin.topic(topic).map_err(fault)?;
    let partitions = found.ok_or_else(|| RunFault::no_source(place, topic))?.partitions;
    for partition in 0..partitions {
        let mut first = None;
        let mut look = |record: &RawRecord<'_>| match record.value {
            None => ControlFlow::Continue(()),
            Some(value) => {
                first = Some((record.key.map(<[u8]>::to_vec), value.to_vec()));
                ControlFlow::Break(())
            }
        };
        sovereign.scan(topic, partition, 0, TRY, &mut look).map_err(fault)?;
        if let Some(first) = first {
            return Ok(first);
        }
    }
    let what = "holds no record yet to read the shape from\n  next: declare `key:` under `source`, \
                where the format has no schema, or wait for one";
    Err(RunFault::of_source(place, topic, what))
}

/// The member names of a JSON key. They must be classed in the pipeline, so none is printed.
fn key_names(key: Option<&[u8]>) -> Result<Vec<String>, &'static str> {
    let Some(key) = key else { return Ok(Vec::new()) };
    let parsed: serde_json::Value = serde_json::from_slice(key)
        .map_err(|_| "the first record's key is not JSON; is the format right?")?;
    match parsed {
        serde_json::Value::Null => Ok(Vec::new()),
        serde_json::Value::Object(members) => Ok(members.into_iter().map(|(k, _)| k).collect()),
        _ => Err("the first record's key is no object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_are_the_members_of_an_object() {
        let names = |key: &str| key_names(Some(key.as_bytes())).unwrap();
        assert_eq!(names(r#"{"id":1,"part":"x"}"#), ["id", "part"]);
        assert_eq!(names("null"), [""; 0]);
        assert_eq!(key_names(None).unwrap(), [""; 0]);
    }

    #[test]
    fn key_names_bad_other_json_and_none() {
        for key in ["7", "[1]", "\"secret\"", "secret", "", "{\"id\":"] {
            let fault = key_names(Some(key.as_bytes())).unwrap_err();
            assert!(fault.starts_with("the first record's key is no"), "{fault}");
            assert!(!fault.contains("secret"), "{fault}");
        }
    }
}
