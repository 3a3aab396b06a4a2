//! `audit crossed`: what a topic took between two dates, for which purpose, under which release, and
//! who approved: from its signed manifests alone, so that whoever is outside can ask as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use douane_ledger::coverage::{Expect, Manifests, Record};
use douane_ledger::manifest::{ColumnNote, Manifest};
use douane_ledger::release::Policy;
use jiff::Timestamp;
use serde::Serialize;

use crate::config;
use crate::coverage::{self, Said};
use crate::edges;
use crate::fault::RunFault;

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
    /// Every manifest of the topic is signed, of this topic, there once and behind the one that it
    /// names, whatever time is asked about.
    pub holds: bool,
    /// What is wrong with manifests, of any time; the first thousand. One that is wrong counts for
    /// nothing below.
    pub findings: Vec<Said>,
    pub findings_total: u64,
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
    /// Sent first and last, as the cluster says, which nobody signed: RFC 3339, UTC.
    pub first: String,
    pub last: String,
    pub columns: Vec<ColumnNote>,
    pub key_ids: BTreeSet<String>,
    pub software: BTreeSet<String>,
}

/// Reads the manifests of a topic.
pub fn crossed(file: &Path, ask: &Ask) -> Result<Crossed, RunFault> {
    let outside = config::load_outside(file).map_err(RunFault::Findings)?;
    let keys = vec![coverage::manifest_key(&outside, ask.keys.as_ref())?];
    let topics = edges::topics(&outside.global)?;
    let expect = Expect { topic: ask.topic.clone(), keys, ..Expect::default() };
    let mut walk = Walk::new(ask, expect);
    let (low, _) =
        coverage::read_manifests(&topics, &ask.topic, 0, &mut |record| walk.take(record))?;
    Ok(walk.end(low))
}

/// The manifests on their way through.
struct Walk<'a> {
    ask: &'a Ask,
    manifests: Manifests,
    found: BTreeMap<(String, String), (i64, i64, Under)>,
}

impl<'a> Walk<'a> {
    fn new(ask: &'a Ask, expect: Expect) -> Self {
        Self { ask, manifests: Manifests::new(expect), found: BTreeMap::new() }
    }

    fn take(&mut self, record: &Record<'_>) {
        // Before its time is looked at: whoever owns the cluster chooses the time.
        let Some(manifest) = self.manifests.take(record) else { return };
        let at = record.timestamp_ms;
        let early = self.ask.from_ms.is_some_and(|from| at < from);
        if !early && self.ask.to_ms.is_none_or(|to| at < to) {
            take(&mut self.found, manifest, at);
        }
    }

    /// `low`: the first offset of the manifest topic's log.
    fn end(mut self, low: i64) -> Crossed {
        self.manifests.settle(low);
        let findings = self.manifests.findings();
        sum(&self.ask.topic, self.found, coverage::said(findings), findings.total())
    }
}

fn sum(
    topic: &str,
    found: BTreeMap<(String, String), (i64, i64, Under)>,
    findings: Vec<Said>,
    findings_total: u64,
) -> Crossed {
    let mut releases: Vec<(i64, i64, Under)> = found.into_values().collect();
    releases.sort_by_key(|(first, ..)| *first);
    let releases: Vec<Under> = releases
        .into_iter()
        .map(|(first, last, under)| Under { first: instant(first), last: instant(last), ..under })
        .collect();
    Crossed {
        topic: topic.to_owned(),
        holds: findings_total == 0,
        findings,
        findings_total,
        transactions: releases.iter().map(|under| under.transactions).sum(),
        records: releases.iter().map(|under| under.records).sum(),
        releases,
    }
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
        let Self { topic, transactions, records, .. } = self;
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
        for Said { message, .. } in &self.findings {
            writeln!(out, "  {message}")?;
        }
        let more = self.findings_total - self.findings.len() as u64;
        if more > 0 {
            writeln!(out, "  … and {more} more")?;
        }
        let times = "times are the cluster's word; the newest could be missing";
        match self.holds {
            true => write!(out, "\nall manifests are signed and in their order; {times}"),
            false => write!(out, "\nNOT as it was signed; {times}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use douane_ledger::manifest;
    use douane_ledger::signing::SigningKey;

    use super::*;

    const TOPIC: &str = "training.customers";

    /// What `crossed` says of signed manifests that lie there so: number, the number before it, time.
    fn crossed(list: &[(u8, Option<u8>, i64)], low: i64, ask: &Ask) -> Crossed {
        let key = SigningKey::generate().unwrap();
        let keys = vec![key.verifying_key()];
        let expect = Expect { topic: TOPIC.into(), keys, ..Expect::default() };
        let mut walk = Walk::new(ask, expect);
        for (offset, (number, previous, at)) in (low..).zip(list) {
            let id = |number: &u8| format!("{number:032x}");
            let manifest = signable(id(number), previous.as_ref().map(id));
            let value = manifest::sign(&manifest, &key).unwrap().to_bytes().unwrap();
            walk.take(&Record {
                partition: 0,
                offset,
                timestamp_ms: *at,
                key: Some(manifest.id.as_bytes()),
                value: Some(&value),
                headers: &[],
            });
        }
        walk.end(low)
    }

    fn signable(id: String, previous: Option<String>) -> Manifest {
        Manifest {
            v: manifest::FORMAT,
            id,
            previous,
            pipeline: "p".into(),
            purpose: "model-training".into(),
            release: "ab".repeat(32),
            fingerprint: "cd".repeat(32),
            approvers: vec!["ada".into()],
            policy: Policy { version: 1, digest: "ef".repeat(32) },
            record_shape: "state".into(),
            salt: "00".repeat(16),
            subjects: vec![manifest::Subject {
                topic: TOPIC.into(),
                partition: 0,
                count: 3,
                digest: "12".repeat(32),
            }],
            columns: Vec::new(),
            target_partitions: 1,
            partitioner: "murmur2".into(),
            key_ids: Vec::new(),
            schema_ids: Vec::new(),
            software: "douane".into(),
            dp: None,
            leaf: "34".repeat(32),
            sealed: String::new(),
        }
    }

    fn codes(crossed: &Crossed) -> Vec<&str> {
        assert_eq!(crossed.holds, crossed.findings.is_empty());
        crossed.findings.iter().map(|said| said.code).collect()
    }

    #[test]
    fn what_is_wrong_with_manifests_is_told_whatever_time_is_asked_about() {
        let whole = [(1, None, 10), (2, Some(1), 20), (3, Some(2), 30)];
        let ask = Ask { topic: TOPIC.into(), from_ms: Some(20), ..Ask::default() };
        let fine = crossed(&whole, 0, &ask);
        assert_eq!((codes(&fine), fine.transactions, fine.records), (vec![], 2, 6));
        assert!(fine.text().contains("cluster's word"), "{}", fine.text());
        // Doubled and missing outside of the time that is asked about; the front deleted.
        let doubled = [whole[0], whole[0], whole[1], whole[2]];
        let found = crossed(&doubled, 0, &ask);
        assert_eq!((codes(&found), found.transactions), (vec!["doubled"], 2));
        assert_eq!(codes(&crossed(&[whole[0], whole[2]], 0, &ask)), ["gap"]);
        assert_eq!(codes(&crossed(&whole[..2], 5, &ask)), ["cut"]);
        // Sent again with a time within: it counts once at most, and is told.
        let again = [whole[0], whole[1], whole[2], (2, Some(1), 40)];
        let found = crossed(&again, 0, &ask);
        assert_eq!((codes(&found), found.records), (vec!["doubled"], 6));
        assert!(found.text().contains("NOT as it was signed"), "{}", found.text());
    }
}
