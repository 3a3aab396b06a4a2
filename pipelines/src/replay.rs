//! What crossed, made again from the source and held against what was signed.
//!
//! Of each transaction the ledger has what was read, under which keys, and the digest of what came of
//! it. A replay reads the same ranges without a group, puts them through the pipeline that the
//! release is for, and compares. It writes to neither cluster, and runs recorded plans only: a plan that
//! somebody may edit, beside an answer of what differs, would be a way to ask about raw rows. The
//! ledger has who asked.
//!
//! Transactions hang on each other in one place: a tombstone is folded into the delete before it,
//! which may be the last record of the transaction before. The source says it too.

mod engine;
mod select;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use douane_ledger::log::Entry;
use serde::Serialize;

use crate::aggregate;
use crate::config;
use crate::detokenize::check_words;
use crate::edges::Edges;
use crate::fault::RunFault;
use crate::keys::{self, Book};
use crate::names::Names;
use crate::release;
use crate::report::Bar;

use engine::{Engine, Shared};
use select::{Recorded, recorded};

/// Rows that stages take at once, unless it is said: as many as a transaction has at most.
pub const BATCH_ROWS: usize = 5_000;

/// Which transactions, and how.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub file: PathBuf,
    /// Manifest ids, hexadecimal. Empty: all.
    pub manifests: Vec<String>,
    /// Source ranges; a transaction that read any of it is meant. Empty: all.
    pub ranges: Vec<Range>,
    /// Sent from this instant on, in milliseconds since the epoch.
    pub from_ms: Option<i64>,
    /// Sent before this one.
    pub to_ms: Option<i64>,
    /// Digest of a release, or its beginning.
    pub release: Option<String>,
    /// The i-th of n parts, from 1.
    pub part: Option<(usize, usize)>,
    pub batch_rows: usize,
    pub threads: usize,
    /// Who asks, and why: for the ledger.
    pub by: String,
    pub reason: String,
}

/// Offsets of one source partition, the last one not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub topic: String,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

/// What a transaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The same bytes.
    Equal,
    /// The recorded plan makes something else of the recorded rows.
    Different,
    /// What was read is not there any more.
    InputGone,
    /// Keys of then are not there any more.
    KeysGone,
    /// These files, or this version of the program, are not what made it.
    SemanticsGone,
}

/// One transaction.
#[derive(Clone, Debug, Serialize)]
pub struct Transaction {
    pub manifest: String,
    pub log: String,
    pub sequence: u64,
    /// Records that crossed.
    pub records: u64,
    pub answer: Answer,
    /// The manifest topic has its manifest, which the bytes were held against beside the ledger.
    pub manifest_seen: bool,
    /// What differs or is gone, and where: names and numbers.
    pub why: Vec<String>,
}

/// A replay.
#[derive(Debug, Serialize)]
pub struct Replay {
    pub pipeline: String,
    /// All are equal, and the manifest of each is there.
    pub holds: bool,
    pub transactions: usize,
    pub records: u64,
    pub equal: usize,
    pub different: usize,
    pub input_gone: usize,
    pub keys_gone: usize,
    pub semantics_gone: usize,
    /// Transactions whose manifest is not in the manifest topic; of a folder, whose parts hold
    /// their manifests, all.
    pub manifests_unseen: usize,
    pub ms: u64,
    /// In the order of the logs.
    pub answers: Vec<Transaction>,
}

impl Replay {
    /// As a person reads it: a line for each that is not equal, and the sum.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for one in self.answers.iter().filter(|one| one.answer != Answer::Equal) {
            let Transaction { manifest, log, sequence, answer, why, .. } = one;
            let answer = match answer {
                Answer::Equal => "equal",
                Answer::Different => "DIFFERENT",
                Answer::InputGone => "input gone",
                Answer::KeysGone => "keys gone",
                Answer::SemanticsGone => "semantics gone",
            };
            out.push_str(&format!("{manifest}  {log} #{sequence}  {answer}\n"));
            why.iter().for_each(|why| out.push_str(&format!("  {why}\n")));
        }
        let Self { pipeline, transactions, records, equal, different, ms, .. } = self;
        let gone = transactions - equal - different;
        let rate = *records as f64 * 1_000.0 / (*ms).max(1) as f64;
        out.push_str(&format!(
            "{pipeline}: {transactions} transactions of {records} records made again at {rate:.0} \
             records/s: {equal} equal, {different} different, {gone} that cannot be made again"
        ));
        if self.manifests_unseen > 0 {
            let unseen = self.manifests_unseen;
            out.push_str(&format!(
                "\n{unseen} held against the ledger alone: no manifest topic has their manifests"
            ));
        }
        out
    }
}

/// An instant of RFC 3339, in milliseconds since the epoch.
pub fn instant(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// Makes again what was asked for.
pub fn replay(place: &Path, ask: &Ask) -> Result<Replay, RunFault> {
    let (place, pipeline) = config::load(place, &ask.file).map_err(RunFault::Findings)?;
    aggregate::of_rows(&pipeline, "a replay")?;
    check_words(&ask.by, &ask.reason)?;
    let (signed, plan) = release::of_then(&place, &pipeline)?;
    let keys = keys::open(&place)?;
    let mut book = Book::open(&place, &keys)?;
    let names = Names::of(&place, &pipeline);
    let edges = Edges::released(&place, &pipeline, &signed.release)?;
    let shared = Shared::new(place, pipeline, plan, signed, keys, edges, names)?;
    let wanted = recorded(&shared, ask)?;
    let started = Instant::now();
    let answers = all(&shared, &wanted, ask)?;
    let count = |of: Answer| answers.iter().filter(|one| one.answer == of).count();
    let told = Replay {
        pipeline: shared.pipeline.name.clone(),
        holds: holds(&answers, shared.place.global.dir.is_none()),
        transactions: answers.len(),
        records: answers.iter().map(|one| one.records).sum(),
        equal: count(Answer::Equal),
        different: count(Answer::Different),
        input_gone: count(Answer::InputGone),
        keys_gone: count(Answer::KeysGone),
        semantics_gone: count(Answer::SemanticsGone),
        manifests_unseen: answers.iter().filter(|one| !one.manifest_seen).count(),
        ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        answers,
    };
    book.write(&[Entry::Replayed {
        by: ask.by.clone(),
        reason: ask.reason.clone(),
        pipeline: told.pipeline.clone(),
        transactions: told.transactions as u64,
        equal: told.equal as u64,
        different: told.different as u64,
    }])?;
    // Crash here: the ledger says more than anybody saw.
    book.publish()?;
    Ok(told)
}

/// `has_topic`: manifests go to a topic, from which nothing lawful takes one.
fn holds(answers: &[Transaction], has_topic: bool) -> bool {
    let fine = |one: &Transaction| one.answer == Answer::Equal && (one.manifest_seen || !has_topic);
    !answers.is_empty() && answers.iter().all(fine)
}

/// Each transaction by one of the threads, which share nothing but the list.
fn all(shared: &Shared, wanted: &[Recorded], ask: &Ask) -> Result<Vec<Transaction>, RunFault> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<(usize, Transaction)>> = Mutex::new(Vec::with_capacity(wanted.len()));
    let bar = Bar::new("replay", wanted.iter().map(|one| one.intent.records).sum());
    let work = || -> Result<(), RunFault> {
        let mut engine = Engine::new(shared, ask.batch_rows)?;
        loop {
            let index = next.fetch_add(1, Ordering::SeqCst);
            let Some(one) = wanted.get(index) else { return Ok(()) };
            shared.keys.lease_holds().map_err(RunFault::lapsed)?;
            let (answer, why) = engine.again(one)?;
            bar.step(one.intent.records);
            let told = Transaction {
                manifest: one.intent.manifest_id.clone(),
                log: one.log.clone(),
                sequence: one.intent.seq,
                records: one.intent.records,
                answer,
                manifest_seen: one.manifest.is_some(),
                why,
            };
            let mut answers = answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            answers.push((index, told));
        }
    };
    let threads = ask.threads.clamp(1, 64).min(wanted.len().max(1));
    let outcomes: Vec<Result<(), RunFault>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|t| t.join().unwrap_or(Err(RunFault::ThreadDied))).collect()
    });
    bar.end();
    outcomes.into_iter().collect::<Result<(), RunFault>>()?;
    let mut answers = answers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    answers.sort_by_key(|(index, _)| *index);
    Ok(answers.into_iter().map(|(_, told)| told).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_without_its_manifest_does_not_hold() {
        let one = |answer, manifest_seen| Transaction {
            manifest: "aa".into(),
            log: "shard-0".into(),
            sequence: 1,
            records: 3,
            answer,
            manifest_seen,
            why: Vec::new(),
        };
        let (seen, unseen) = (one(Answer::Equal, true), one(Answer::Equal, false));
        assert!(holds(std::slice::from_ref(&seen), true));
        assert!(!holds(&[seen.clone(), unseen.clone()], true));
        assert!(holds(&[unseen], false), "a folder's parts hold their manifests");
        assert!(!holds(&[seen, one(Answer::InputGone, true)], true) && !holds(&[], true));
    }
}
