//! `audit crossed`: what a topic took between two dates, for which purpose, under which release, and
//! who approved: from its signed manifests alone, so that whoever is outside can ask as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use douane_connectors::edge::Topics;
use douane_ledger::dsse::Envelope;
use douane_ledger::manifest::{self, ColumnNote, Manifest};
use douane_ledger::release::Policy;
use douane_schemas::record::RawRecord;
use jiff::Timestamp;
use serde::Serialize;

use crate::config;
use crate::coverage;
use crate::edges;
use crate::fault::RunFault;

/// How long nothing may come of a topic that has more.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub topic: String,
    /// A folder with `manifest.key.pub`, in the place of the file's.
    pub keys: Option<PathBuf>,
    /// Sent from this instant on, in milliseconds since the epoch.
    pub from_ms: Option<i64>,
    /// Sent before this one.
    pub to_ms: Option<i64>,
}

/// What crossed into a topic.
#[derive(Debug, Serialize)]
pub struct Crossed {
    pub topic: String,
    /// Every manifest of that time is signed.
    pub holds: bool,
    /// Manifests of that time that this place did not sign: nothing is known of them.
    pub unsigned: u64,
    pub transactions: u64,
    pub records: u64,
    /// In the order in which they first brought something.
    pub releases: Vec<Under>,
}

/// What crossed under one release.
#[derive(Debug, Serialize)]
pub struct Under {
    pub pipeline: String,
    pub purpose: String,
    /// Digest of the release.
    pub release: String,
    pub fingerprint: String,
    pub approvers: Vec<String>,
    pub policy: Policy,
    pub transactions: u64,
    pub records: u64,
    /// Sent first and last: RFC 3339, UTC.
    pub first: String,
    pub last: String,
    pub columns: Vec<ColumnNote>,
    pub key_ids: BTreeSet<String>,
    pub software: BTreeSet<String>,
}

/// Reads the manifests of a topic.
pub fn crossed(file: &Path, ask: &Ask) -> Result<Crossed, RunFault> {
    let outside = config::load_outside(file).map_err(RunFault::Findings)?;
    let key = [coverage::manifest_key(&outside, ask.keys.as_ref())?];
    let topics = edges::topics(&outside.global)?;
    let mut unsigned = 0;
    let mut found: BTreeMap<(String, String), (i64, i64, Under)> = BTreeMap::new();
    let mut each = |record: &RawRecord<'_>| {
        let at = record.timestamp_ms;
        if ask.from_ms.is_some_and(|from| at < from) || ask.to_ms.is_some_and(|to| at >= to) {
            return ControlFlow::Continue(());
        }
        let envelope = record.value.and_then(|value| Envelope::from_bytes(value).ok());
        match envelope.and_then(|envelope| manifest::verify(&envelope, &key).ok()) {
            Some(signed) => take(&mut found, signed.predicate, at),
            None => unsigned += 1,
        }
        ControlFlow::Continue(())
    };
    topics
        .read(&format!("{}.manifest", ask.topic), 0, 0, PATIENCE, &mut each)
        .map_err(RunFault::unreachable("global cluster"))?;
    let mut releases: Vec<(i64, i64, Under)> = found.into_values().collect();
    releases.sort_by_key(|(first, ..)| *first);
    let releases: Vec<Under> = releases
        .into_iter()
        .map(|(first, last, under)| Under { first: instant(first), last: instant(last), ..under })
        .collect();
    Ok(Crossed {
        topic: ask.topic.clone(),
        holds: unsigned == 0,
        unsigned,
        transactions: releases.iter().map(|under| under.transactions).sum(),
        records: releases.iter().map(|under| under.records).sum(),
        releases,
    })
}

fn take(found: &mut BTreeMap<(String, String), (i64, i64, Under)>, manifest: Manifest, at: i64) {
    let records: u64 = manifest.subjects.iter().map(|subject| subject.count).sum();
    let key = (manifest.pipeline.clone(), manifest.release.clone());
    let (first, last, under) = found.entry(key).or_insert_with(|| {
        let under = Under {
            pipeline: manifest.pipeline,
            purpose: manifest.purpose,
            release: manifest.release,
            fingerprint: manifest.fingerprint,
            approvers: manifest.approvers,
            policy: manifest.policy,
            transactions: 0,
            records: 0,
            first: String::new(),
            last: String::new(),
            columns: manifest.columns,
            key_ids: BTreeSet::new(),
            software: BTreeSet::new(),
        };
        (at, at, under)
    });
    (*first, *last) = ((*first).min(at), (*last).max(at));
    under.transactions += 1;
    under.records += records;
    under.key_ids.extend(manifest.key_ids);
    under.software.insert(manifest.software);
}

fn instant(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string())
}

impl Crossed {
    /// As a person reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { topic, transactions, records, unsigned, .. } = self;
        writeln!(out, "{topic}: {records} records in {transactions} transactions")?;
        for under in &self.releases {
            let Under { pipeline, purpose, release, transactions, records, first, last, .. } =
                under;
            writeln!(out, "\n{pipeline}, for {purpose}")?;
            writeln!(out, "  {records} records in {transactions} transactions, {first} to {last}")?;
            let short = release.get(..12).unwrap_or_default();
            let approvers = under.approvers.join(", ");
            let version = under.policy.version;
            writeln!(out, "  release {short}…, approved by {approvers}, policy version {version}")?;
            for ColumnNote { name, protection } in &under.columns {
                writeln!(out, "    {name:<24} {protection}")?;
            }
        }
        if *unsigned > 0 {
            writeln!(out, "\n{unsigned} manifests that this place did NOT sign")?;
        }
        Ok(())
    }
}
