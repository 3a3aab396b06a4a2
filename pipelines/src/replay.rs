//! What crossed, made again from the source and held against what was signed.
//!
//! Of each transaction the ledger has what was read, under which keys, and the digest of what came of
//! it. A replay reads the same ranges without a group, puts them through the pipeline that the
//! release is for, and compares. It writes to neither cluster, and runs recorded plans only: a plan that
//! somebody may edit, beside an answer of what differs, would be a way to ask about raw rows. The
//! ledger has who asked.
//!
//! Answers of several machines, each with a part, are joined into one ([`join`]), and a page of it can be
//! filed ([`html`]): it names the chain from what was read to what was signed, and holds no value.
//!
//! Transactions hang on each other in one place: a tombstone is folded into the delete before it,
//! which may be the last record of the transaction before. The source says it too.

pub(crate) mod engine;
mod html;
mod join;
mod select;
mod windows;

pub use html::page;
pub use join::join;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use douane_ledger::canonical;
use douane_ledger::log::{Entry, SpanEntry};
use douane_ledger::manifest::Subject;
use serde::{Deserialize, Serialize};

use crate::aggregate;
use crate::config;
use crate::detokenize::check_words;
use crate::edges::Edges;
use crate::fault::RunFault;
use crate::keys::{self, Book};
use crate::names::Names;
use crate::release;
use crate::report::Bar;
use crate::software::software;
use crate::stop::Stop;

use engine::{Engine, Shared};
use select::{Recorded, recorded};

/// Rows that stages take at once, unless it is said: as many as a transaction has at most.
pub const BATCH_ROWS: usize = 5_000;

/// Records a second, unless it is said: a replay of years leaves the source to who else reads it.
pub const RATE: u64 = 50_000;

/// Which transactions, and how.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub file: PathBuf,
    /// Which one of a file with several tables.
    pub table: Option<String>,
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
    /// Records a second at most, of all threads together: others read the source too.
    pub rate: Option<u64>,
    /// Who asks, and why: for the ledger.
    pub by: String,
    pub reason: String,
}

/// Offsets of one source partition, the last one not among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub topic: String,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

/// What a transaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl Answer {
    /// As a person reads it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Different => "DIFFERENT",
            Self::InputGone => "input gone",
            Self::KeysGone => "keys gone",
            Self::SemanticsGone => "semantics gone",
        }
    }
}

/// Records of one target partition, as the ledger has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrote {
    pub topic: String,
    pub partition: i32,
    pub records: u64,
    /// SHA-256 of them, in their order, as the manifest has it.
    pub digest: String,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    pub manifest: String,
    pub log: String,
    pub sequence: u64,
    /// Digest of the release that it crossed under.
    pub release: String,
    /// What was read, by the ledger.
    pub read: Vec<Range>,
    /// What was written, by the ledger.
    pub wrote: Vec<Wrote>,
    /// Ids of the keys of then.
    pub key_ids: Vec<String>,
    /// Records that crossed.
    pub records: u64,
    pub answer: Answer,
    /// The manifest topic has its manifest, which the bytes were held against beside the ledger.
    pub manifest_seen: bool,
    /// What differs or is gone, and where: names and numbers.
    pub why: Vec<String>,
}

impl Transaction {
    /// What the ledger has of it; not made again yet.
    fn of(one: &Recorded) -> Self {
        Self {
            manifest: one.intent.manifest_id.clone(),
            log: one.log.clone(),
            sequence: one.intent.seq,
            release: one.intent.release.clone(),
            read: one.intent.spans.iter().map(Range::from).collect(),
            wrote: one.intent.subjects.iter().map(Wrote::from).collect(),
            key_ids: one.intent.key_ids.clone(),
            records: one.intent.records,
            answer: Answer::SemanticsGone,
            manifest_seen: one.manifest.is_some(),
            why: Vec::new(),
        }
    }
}

/// What is asked about: all that the ledger has of each transaction, and no answer. Two machines that read
/// one ledger as far as the other get the same.
fn selection<'t>(all: impl Iterator<Item = &'t Transaction>) -> Result<String, RunFault> {
    let mut all: Vec<_> = all
        .map(|t| {
            (
                (&t.log, t.sequence),
                (&t.manifest, &t.release, &t.read, &t.wrote, &t.key_ids, t.records),
            )
        })
        .collect();
    all.sort_by_key(|(place, _)| *place);
    let bytes = canonical::to_vec(&all);
    let bytes = bytes.map_err(|fault| RunFault::File(format!("selection: {fault}")))?;
    Ok(canonical::sha256_hex(&bytes))
}

/// What these files are: the recorded plan, who approved of it, and what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Under {
    /// Digest of the release that lies there.
    pub release: String,
    pub version: u64,
    pub purpose: String,
    pub author: String,
    pub approvers: Vec<String>,
    pub fingerprint: String,
    pub policy: u32,
    pub policy_digest: String,
    pub software: String,
}

/// A replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    pub pipeline: String,
    pub by: String,
    pub reason: String,
    /// When, by this machine's clock: RFC 3339, UTC.
    pub at: String,
    pub under: Under,
    /// Which of all transactions, in words; the same for every part.
    pub asked: String,
    /// The i-th of n; null where it is not in parts.
    pub part: Option<(usize, usize)>,
    /// SHA-256 of the canonical JSON of all that is asked about, of every part, as the ledger has it.
    pub selection: String,
    /// The target is a folder, whose parts hold their manifests.
    pub in_folder: bool,
    /// SHA-256 of the canonical JSON of each part's `answers`: REPLAYED in the log of keys has it.
    pub digests: Vec<String>,
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
            let answer = answer.words();
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

impl From<&SpanEntry> for Range {
    fn from(span: &SpanEntry) -> Self {
        let SpanEntry { topic, partition, start, end } = span.clone();
        Self { topic, partition, start, end }
    }
}

impl From<&Subject> for Wrote {
    fn from(subject: &Subject) -> Self {
        let Subject { topic, partition, count: records, digest } = subject.clone();
        Self { topic, partition, records, digest }
    }
}

/// An instant of RFC 3339, in milliseconds since the epoch.
pub fn instant(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// Makes again what was asked for.
pub fn replay(place: &Path, ask: &Ask) -> Result<Replay, RunFault> {
    let (place, pipeline) =
        config::load_table(place, &ask.file, ask.table.as_deref()).map_err(RunFault::Findings)?;
    aggregate::of_rows(&pipeline, "a replay")?;
    check_words(&ask.by, &ask.reason)?;
    ask.check(place.global.dir.is_some())?;
    let (signed, plan) = release::of_then(&place, &pipeline)?;
    let keys = keys::open(&place)?;
    let names = Names::of(&place, &pipeline);
    let edges = Edges::released(&place, &pipeline, &signed.release)?;
    let shared = Shared::new(place, pipeline, plan, signed, keys, edges, names)?;
    // What cannot be written down is not begun.
    drop(Book::open(&shared.place, &shared.keys)?);
    let (wanted, selection) = recorded(&shared, ask)?;
    let started = Instant::now();
    let answers = all(&shared, &wanted, ask)?;
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let told = Replay {
        pipeline: shared.pipeline.name.clone(),
        by: ask.by.clone(),
        reason: ask.reason.clone(),
        at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        under: under(&shared),
        asked: ask.words(),
        part: ask.part,
        selection,
        digests: vec![digest(&answers)?],
        ..Replay::of(answers, shared.place.global.dir.is_none(), ask.part.is_some(), ms)
    };
    // Let go of meanwhile: others rotate keys and replay their parts while this one works.
    let mut book = Book::open(&shared.place, &shared.keys)?;
    book.write(&[Entry::Replayed {
        by: ask.by.clone(),
        reason: ask.reason.clone(),
        pipeline: told.pipeline.clone(),
        transactions: told.transactions as u64,
        equal: told.equal as u64,
        different: told.different as u64,
        answers: told.digests.concat(),
    }])?;
    // Crash here: the ledger says more than anybody saw.
    book.publish()?;
    Ok(told)
}

fn under(shared: &Shared) -> Under {
    let release = &shared.release;
    Under {
        release: release.digest_hex(),
        version: release.version,
        purpose: release.purpose.clone(),
        author: release.author.clone(),
        approvers: release.approvers().to_vec(),
        fingerprint: release.fingerprint.clone(),
        policy: release.policy.version,
        policy_digest: release.policy.digest.clone(),
        software: software().to_owned(),
    }
}

/// What the ledger has of a list of answers.
fn digest(answers: &[Transaction]) -> Result<String, RunFault> {
    let bytes = canonical::to_vec(&answers);
    let bytes = bytes.map_err(|fault| RunFault::File(format!("answers: {fault}")))?;
    Ok(canonical::sha256_hex(&bytes))
}

impl Replay {
    /// The sums over some answers; who asked for what, the caller says.
    fn of(answers: Vec<Transaction>, has_topic: bool, is_part: bool, ms: u64) -> Self {
        let count = |of: Answer| answers.iter().filter(|one| one.answer == of).count();
        Self {
            pipeline: String::new(),
            by: String::new(),
            reason: String::new(),
            at: String::new(),
            under: Under::default(),
            asked: String::new(),
            part: None,
            selection: String::new(),
            in_folder: !has_topic,
            digests: Vec::new(),
            holds: holds(&answers, has_topic, is_part),
            transactions: answers.len(),
            records: answers.iter().map(|one| one.records).sum(),
            equal: count(Answer::Equal),
            different: count(Answer::Different),
            input_gone: count(Answer::InputGone),
            keys_gone: count(Answer::KeysGone),
            semantics_gone: count(Answer::SemanticsGone),
            manifests_unseen: answers.iter().filter(|one| !one.manifest_seen).count(),
            ms,
            answers,
        }
    }
}

impl Ask {
    /// What has no answer, before anything is read.
    fn check(&self, in_folder: bool) -> Result<(), RunFault> {
        let fault = |why: &str| Err(RunFault::File(why.to_owned()));
        match (self.from_ms, self.to_ms) {
            (None, None) => Ok(()),
            _ if in_folder => fault(
                "--from and --to go by the times of manifests in their topic, and a folder has no topic\n  \
                 next: say which by `--manifest`, `--records` or `--release`",
            ),
            (Some(from), Some(to)) if from >= to => fault(
                "--from is not before --to: no transaction was sent in between\n  next: write the earlier \
                 instant as `--from`",
            ),
            _ => Ok(()),
        }
    }

    /// Which transactions, in words.
    fn words(&self) -> String {
        let instant = |what: &str, ms: Option<i64>| {
            let at = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
            at.map(|at| format!("{what} {at}"))
        };
        let ranges = self
            .ranges
            .iter()
            .map(|r| format!("that read {}[{}]@{}-{}", r.topic, r.partition, r.start, r.end));
        let manifests = self.manifests.iter().map(|id| format!("manifest {id}"));
        let all: Vec<String> = manifests
            .chain(ranges)
            .chain(instant("sent from", self.from_ms))
            .chain(instant("sent before", self.to_ms))
            .chain(self.release.iter().map(|digest| format!("under release {digest}")))
            .collect();
        if all.is_empty() { "all".to_owned() } else { all.join("; ") }
    }
}

/// Keeps all threads together under a rate.
struct Pace {
    per_second: Option<u64>,
    started: Instant,
    taken: AtomicU64,
}

impl Pace {
    fn new(per_second: Option<u64>) -> Self {
        Self { per_second, started: Instant::now(), taken: AtomicU64::new(0) }
    }

    /// How long to wait before so many records more: what was taken before has had its time.
    fn due(&self, records: u64) -> Duration {
        let before = self.taken.fetch_add(records, Ordering::SeqCst);
        let Some(per_second) = self.per_second.filter(|rate| *rate > 0) else {
            return Duration::ZERO;
        };
        let due = Duration::from_secs_f64(before as f64 / per_second as f64);
        due.saturating_sub(self.started.elapsed())
    }
}

/// `has_topic`: manifests go to a topic, from which nothing lawful takes one. `is_part`: there may be more
/// parts than transactions, and then this one has none.
fn holds(answers: &[Transaction], has_topic: bool, is_part: bool) -> bool {
    let fine = |one: &Transaction| one.answer == Answer::Equal && (one.manifest_seen || !has_topic);
    (is_part || !answers.is_empty()) && answers.iter().all(fine)
}

/// Each transaction by one of the threads, which share nothing but the list.
fn all(shared: &Shared, wanted: &[Recorded], ask: &Ask) -> Result<Vec<Transaction>, RunFault> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<(usize, Transaction)>> = Mutex::new(Vec::with_capacity(wanted.len()));
    let bar = Bar::new("replay", wanted.iter().map(|one| one.intent.records).sum());
    let (pace, nobody) = (Pace::new(ask.rate), AtomicBool::new(false));
    let work = || -> Result<(), RunFault> {
        let mut engine = Engine::new(shared, ask.batch_rows)?;
        loop {
            let index = next.fetch_add(1, Ordering::SeqCst);
            let Some(one) = wanted.get(index) else { return Ok(()) };
            Stop::new(&nobody).rest(pace.due(one.intent.records));
            shared.keys.lease_holds().map_err(RunFault::lapsed)?;
            let (answer, why) = engine.again(one)?;
            bar.step(one.intent.records);
            let told = Transaction { answer, why, ..Transaction::of(one) };
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

    /// Transaction `number` of `log`, with an answer.
    pub(super) fn transaction(log: &str, number: u64, answer: Answer) -> Transaction {
        Transaction {
            manifest: format!("{log}-{number}"),
            log: log.into(),
            sequence: number,
            release: "ab".repeat(32),
            read: vec![Range { topic: "crm".into(), partition: 0, start: 0, end: 3 }],
            wrote: vec![Wrote {
                topic: "out".into(),
                partition: 0,
                records: 3,
                digest: "cd".repeat(32),
            }],
            key_ids: vec!["ef".repeat(16)],
            records: 3,
            answer,
            manifest_seen: true,
            why: Vec::new(),
        }
    }

    #[test]
    fn a_replay_without_its_manifest_does_not_hold() {
        let one = |answer, manifest_seen| Transaction {
            manifest_seen,
            ..transaction("shard-0", 1, answer)
        };
        let (seen, unseen) = (one(Answer::Equal, true), one(Answer::Equal, false));
        let holds = |answers: &[Transaction], has_topic| {
            let [whole, part] = [false, true].map(|is_part| holds(answers, has_topic, is_part));
            assert!(whole == part || answers.is_empty() && part, "a part may have none");
            whole
        };
        assert!(holds(std::slice::from_ref(&seen), true));
        assert!(!holds(&[seen.clone(), unseen.clone()], true));
        assert!(holds(&[unseen], false), "a folder's parts hold their manifests");
        assert!(!holds(&[seen, one(Answer::InputGone, true)], true) && !holds(&[], true));
    }

    #[test]
    fn times_that_ask_for_nothing_are_refused() {
        let said = |from_ms, to_ms, in_folder| {
            let ask = Ask { from_ms, to_ms, ..Ask::default() };
            ask.check(in_folder).err().map(|fault| (fault.exit_code(), fault.to_string()))
        };
        for bad in [(Some(7), Some(7)), (Some(8), Some(7))] {
            let (code, why) = said(bad.0, bad.1, false).unwrap();
            assert!(code == 2 && why.contains("not before"), "{why}");
        }
        for bad in [(Some(7), None), (None, Some(7)), (Some(7), Some(8))] {
            assert_eq!(said(bad.0, bad.1, false), None);
            let (code, why) = said(bad.0, bad.1, true).unwrap();
            assert!(code == 2 && why.contains("a folder has no topic"), "{why}");
        }
        assert_eq!(said(None, None, true), None);
    }

    #[test]
    fn a_rate_is_kept_by_all_threads_together() {
        let pace = Pace::new(Some(1_000));
        assert_eq!(pace.due(5_000), Duration::ZERO, "the first begins at once");
        let second = pace.due(5_000);
        assert!(second > Duration::from_secs(4) && second <= Duration::from_secs(5), "{second:?}");
        assert!(pace.due(1) > Duration::from_secs(9));
        let free = Pace::new(None);
        free.due(u64::MAX / 2);
        assert_eq!(free.due(1), Duration::ZERO);
    }

    #[test]
    fn the_ledger_has_the_digest_of_just_these_answers() {
        let answers = vec![transaction("shard-0", 1, Answer::Equal)];
        let mut other = answers.clone();
        other[0].answer = Answer::Different;
        assert_ne!(digest(&answers).unwrap(), digest(&other).unwrap());
    }
}
