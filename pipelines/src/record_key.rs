//! How the record key is made. Rows outside lie under the keys that they crossed with: a tombstone
//! under another key never deletes them. So what makes the key stays as it is for the topic's life,
//! and the layout in the target says what that was.

use douane_ledger::fingerprint::FingerprintedDomain;
use douane_ledger::release::{Column, Release, Shape};
use douane_schemas::leaf::LeafType;
use douane_transforms::Keyring;

use crate::config::Pipeline;
use crate::diff::{FF1, shape};
use crate::fault::RunFault;
use crate::plan::{OutputColumn, Plan};

/// One text a key column, in key order: all that a column's values hang on but the raw value. The
/// ids of the keys are among it, so a rotated or swapped key shows.
pub(crate) fn made_by(pipeline: &Pipeline, plan: &Plan, keyring: &Keyring) -> Vec<String> {
    plan.keys.iter().map(|column| of_column(pipeline, column, keyring)).collect()
}

fn of_column(pipeline: &Pipeline, column: &OutputColumn, keyring: &Keyring) -> String {
    let leaf = match column.from.leaf.leaf_type {
        // A wider integer has the same text.
        LeafType::Int16 | LeafType::Int32 | LeafType::Int64 => "integer".to_owned(),
        other => other.to_string(),
    };
    let Some(protection) = &column.protection else { return format!("{leaf} as it is") };
    let declaration = protection.stage.declaration();
    let shape = serde_json::to_string(&protection.declared.produces).unwrap_or_default();
    let keys = &protection.declared.keys;
    let normalize = keys.iter().filter_map(|(_, domain)| {
        let domain = pipeline.domains.domains.get(domain)?;
        Some(domain.normalize.name())
    });
    format!(
        "{leaf} by {} {}: {shape}, normalised by {:?}, keys {}",
        declaration.verb,
        declaration.semantics,
        normalize.collect::<Vec<_>>(),
        keyring.ids(keys).iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    )
}

/// The key is made as it was when the layout was committed. A layout of before this was written
/// down says nothing; the next one does.
///
/// # Errors
/// [`RunFault::RecordKey`], naming both.
pub(crate) fn check(before: Option<&[String]>, now: &[String]) -> Result<(), RunFault> {
    match before {
        Some(before) if before != now => {
            Err(RunFault::RecordKey { before: listed(before), now: listed(now) })
        }
        _ => Ok(()),
    }
}

/// What two releases say of it already: why no run goes on under the draft where something crossed
/// under the release before it. Keys and versions of a stage's semantics stand in no release.
pub fn drafted(before: &Release, draft: &Release) -> Option<RunFault> {
    // Positions are the name's own.
    if before.pipeline != draft.pipeline {
        return None;
    }
    let (before, now) = (said_by(before)?, said_by(draft)?);
    check(Some(&before), &now).err()
}

/// One text a key column. None where the release is of before its domains were written down.
fn said_by(release: &Release) -> Option<Vec<String>> {
    release.key.iter().map(|column| of_released(release, column)).collect()
}

fn of_released(release: &Release, column: &Column) -> Option<String> {
    let leaf = release.leaves.iter().find(|leaf| leaf.part == "key" && leaf.path == column.from);
    let leaf = match leaf?.leaf_type.as_str() {
        // A wider integer has the same text.
        "int16" | "int32" | "int64" => "integer",
        other => other,
    };
    let (name, encrypted) = match &column.shape {
        Shape::Token { domain, .. } => (domain, false),
        Shape::Fpe { domain, .. } => (domain, true),
        Shape::Public => return Some(format!("{leaf} as it is")),
        other => return Some(format!("{leaf} as {}", words(other))),
    };
    let is_it = |d: &&FingerprintedDomain| d.name == *name && (d.algorithm == FF1) == encrypted;
    let FingerprintedDomain { version, algorithm, normalize, .. } =
        release.domains.iter().find(is_it)?;
    let made = format!("version {version}, {algorithm}, normalised by {normalize}");
    Some(format!("{leaf} as {}, {made}", words(&column.shape)))
}

fn words(of: &Shape) -> String {
    shape(&serde_json::to_value(of).unwrap_or_default(), &serde_json::Value::Null)
}

fn listed(columns: &[String]) -> String {
    if columns.is_empty() { "no column".to_owned() } else { columns.join(" and ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_written_down_is_not_compared_and_all_else_is() {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let one = texts(&["integer by tokenize"]);
        assert!(check(None, &one).is_ok());
        assert!(check(Some(&one), &one).is_ok());
        assert!(check(Some(&[]), &[]).is_ok());
        for other in [texts(&[]), texts(&["text"]), texts(&["integer by tokenize", "text"])] {
            let fault = check(Some(&one), &other).unwrap_err();
            assert_eq!((fault.code(), fault.passes()), ("record_key", false));
            assert!(fault.to_string().contains("integer by tokenize"));
            assert!(check(Some(&other), &one).is_err());
        }
    }
}
