//! Manifests against the records they speak of: each record names one, and each counts its records rightly.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::Record;

/// What does not agree between the data topic and the manifest topic, in words.
pub fn disagreements(records: &[Record], manifests: &[Record]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut counted: BTreeMap<String, BTreeMap<i64, u64>> = BTreeMap::new();
    for record in records {
        let Some(id) = record.header("douane-manifest") else {
            wrong.push(format!(
                "a record without a manifest at {}@{}",
                record.partition, record.offset
            ));
            continue;
        };
        let id = String::from_utf8_lossy(id).into_owned();
        *counted.entry(id).or_default().entry(i64::from(record.partition)).or_default() += 1;
    }
    for manifest in manifests {
        let id = manifest.key_text();
        let subjects = subjects(manifest);
        match counted.remove(&id) {
            None if subjects.is_empty() => {}
            found if found.as_ref() == Some(&subjects) => {}
            None => wrong.push(format!("manifest {id} speaks of records that are not there")),
            Some(found) => {
                wrong.push(format!("manifest {id} counts {subjects:?}, the topic has {found:?}"))
            }
        }
    }
    wrong.extend(
        counted.into_keys().map(|id| format!("records of manifest {id}, which is not there")),
    );
    wrong
}

/// Target partition → number of records, as the manifest says.
fn subjects(manifest: &Record) -> BTreeMap<i64, u64> {
    let envelope = manifest.json();
    let payload = base64(envelope["payload"].as_str().expect("a DSSE envelope"));
    let statement: Value = serde_json::from_slice(&payload).expect("a statement");
    let predicate = &statement["predicate"];
    let subjects =
        predicate["subjects"].as_array().unwrap_or_else(|| panic!("no subjects in {statement}"));
    subjects
        .iter()
        .map(|subject| {
            let count = subject["count"].as_str().and_then(|text| text.parse().ok());
            (subject["partition"].as_i64().expect("a partition"), count.expect("a count"))
        })
        .collect()
}

pub fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut out) = (0u32, 0, Vec::new());
    for character in text.bytes().filter(|c| *c != b'=') {
        let six = ALPHABET.iter().position(|c| *c == character).expect("base64");
        bits = bits << 6 | u32::try_from(six).expect("six bits");
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xFF).expect("eight bits"));
        }
    }
    out
}
