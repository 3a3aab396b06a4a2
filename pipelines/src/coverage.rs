//! A global topic held against its manifests, from outside: `verify --topic`, and what a trainer
//! takes (`feed`). Needs public keys and the global cluster; neither ledger nor key store.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use douane_connectors::edge::{Admin, Global, Topics};
use douane_connectors::kafka::Cluster;
use douane_ledger::canonical;
use douane_ledger::coverage::{
    Chain, Expect, Finding, Findings, Lane, Manifests, Record, Releases, Walked,
};
use douane_ledger::dsse::Envelope;
use douane_ledger::signing::VerifyingKey;
use douane_ledger::trust::TrustRoot;
use douane_schemas::record::RawRecord;
use serde::{Deserialize, Serialize};

use crate::config::{self, Outside};
use crate::edges;
use crate::fault::RunFault;
use crate::key_home::PublicKeys;
use crate::schedule;
use crate::stamp::Stamp;

mod bundles;

pub use bundles::BundleSaid;

/// How long nothing may come of a topic that has more. Longer than a transaction may stay open.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked, as on the command line.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub topic: String,
    /// A folder with `manifest.key.pub`, in the place of the file's.
    pub keys: Option<PathBuf>,
    /// The trust root's file, in the place of the file's.
    pub trust: Option<PathBuf>,
    /// Releases that records may have crossed under. None: that is not looked at.
    pub releases: Vec<PathBuf>,
    /// An answer of before, as JSON.
    pub earlier: Option<PathBuf>,
    /// The keys of witnesses who must have cosigned each log of the newest bundle.
    pub witnesses: Vec<String>,
    /// Seconds that the newest bundle, and the newest lines of witnesses, may be old.
    pub bundled_within: Option<u64>,
    pub cosigned_within: Option<u64>,
}

/// What a topic came to.
#[derive(Debug, Serialize)]
pub struct Answer {
    pub topic: String,
    pub holds: bool,
    /// Records that are covered by exactly one manifest.
    pub records: u64,
    pub partitions: i32,
    pub manifests: usize,
    /// Of each log that writes here, the newest manifest. Keep them: a later answer can be asked
    /// whether they are still there.
    pub chains: Vec<Chain>,
    /// Parts of transactions, by partition, of which retention took records.
    pub retired: u64,
    pub releases_checked: bool,
    pub earlier_checked: bool,
    /// All there were; `findings` has the first thousand.
    pub findings_total: u64,
    pub findings: Vec<Said>,
    /// The newest bundle of checkpoints; null where there is none.
    pub bundle: Option<BundleSaid>,
    /// Records may be gone by compaction, which nothing outside can tell from a removal.
    pub compacted: bool,
}

/// A finding in words.
#[derive(Debug, Serialize)]
pub struct Said {
    pub code: &'static str,
    pub message: String,
}

impl From<&Finding> for Said {
    fn from(finding: &Finding) -> Self {
        Self { code: finding.code(), message: finding.to_string() }
    }
}

/// Reads the whole topic and says what it came to.
pub fn verify(file: &Path, ask: &Ask) -> Result<Answer, RunFault> {
    let mut opened = Opened::with(file, ask, Vec::new())?;
    let now_ms = schedule::now_ms();
    opened.manifests.are_fresh(
        ask.bundled_within.map(|within| now_ms.saturating_sub(within.saturating_mul(1_000))),
        ask.cosigned_within.map(|within| (now_ms / 1_000).saturating_sub(within)),
    );
    let walked = opened.walk()?;
    let mut findings = opened.manifests.findings().clone();
    let (mut records, mut retired) = (0, 0);
    for one in walked {
        records += one.records;
        retired += one.retired;
        findings.extend(one.findings);
    }
    Ok(Answer {
        topic: ask.topic.clone(),
        holds: findings.is_empty(),
        records,
        partitions: opened.partitions(),
        manifests: opened.manifests.len(),
        chains: opened.manifests.chains(),
        retired,
        releases_checked: !ask.releases.is_empty(),
        earlier_checked: ask.earlier.is_some(),
        findings_total: findings.total(),
        findings: said(&findings),
        bundle: opened
            .manifests
            .newest_bundle()
            .map(|newest| BundleSaid::of(newest, opened.checkpoints_checked)),
        compacted: opened.compacted,
    })
}

/// Where logs begin; the first few.
fn begins(chains: &[Chain]) -> String {
    const SHOWN: usize = 16;
    let firsts: Vec<String> = chains.iter().take(SHOWN).map(|one| one.first.to_string()).collect();
    let more = if chains.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", firsts.join(", "))
}

/// Findings in words, for people and JSON.
pub fn said(findings: &Findings) -> Vec<Said> {
    findings.iter().map(Said::from).collect()
}

impl Answer {
    /// As a person reads it.
    pub fn text(&self) -> String {
        let Self { topic, records, partitions, manifests, chains, retired, .. } = self;
        let mut out = format!(
            "{topic}: {records} records in {partitions} partitions, {manifests} manifests of {} logs\n",
            chains.len()
        );
        if chains.len() > 1 {
            out.push_str(&format!(
                "  the logs begin at offsets {} of the manifests\n",
                begins(chains)
            ));
        }
        if let Some(bundle) = &self.bundle {
            out.push_str(&bundle.text());
        }
        for Said { message, .. } in &self.findings {
            out.push_str(&format!("  {message}\n"));
        }
        let more = self.findings_total - self.findings.len() as u64;
        if more > 0 {
            out.push_str(&format!("  … and {more} more\n"));
        }
        if *retired > 0 {
            out.push_str(&format!(
                "  retention took records of {retired} transactions, which nobody can check any more\n"
            ));
        }
        if self.compacted && self.findings.iter().any(|finding| finding.code == "missing") {
            out.push_str(
                "  the topic is compacted: records that were replaced may have gone lawfully, and \
                 nothing outside tells that from a removal\n",
            );
        }
        let releases = match self.releases_checked {
            true => "releases checked",
            false => "releases NOT checked: no --release",
        };
        let earlier = match self.earlier_checked {
            true => "what an earlier answer saw is there",
            false => "the newest transactions could be missing: no --earlier",
        };
        out.push_str(&match self.holds {
            true => format!(
                "all hold: each record is covered by one manifest, in number, order and bytes; \
                 signatures checked; {releases}; {earlier}"
            ),
            false => "NOT as it was signed".to_owned(),
        });
        out
    }
}

/// A topic whose manifests were read.
pub(crate) struct Opened {
    pub topic: String,
    pub topics: Cluster,
    pub manifests: Manifests,
    /// Of each partition the end of what was committed before the manifests were read.
    pub until: Vec<i64>,
    /// How far the manifests were read.
    read_to: i64,
    compacted: bool,
    checkpoints_checked: bool,
    /// Files of revocations, as they were before they were read.
    revocations: Vec<Revocations>,
}

/// A file of revocations, as it was.
struct Revocations {
    path: PathBuf,
    stamp: Stamp,
    /// SHA-256, hexadecimal; `None` where there is none, or nothing can be read.
    digest: Option<String>,
}

impl Revocations {
    /// Looked at before it is read: what is written meanwhile makes it another one.
    fn of(path: PathBuf) -> Self {
        let stamp = Stamp::of(&path);
        let digest = std::fs::read(&path).ok().map(|bytes| canonical::sha256_hex(&bytes));
        Self { path, stamp, digest }
    }

    /// It says something else now, or nobody can tell. Whoever copies it anew, or touches it, says nothing else.
    fn is_another(&mut self) -> bool {
        if Stamp::of(&self.path).is(&self.stamp) {
            return false;
        }
        let now = Self::of(self.path.clone());
        if now.digest.is_none() || now.digest != self.digest {
            return true;
        }
        *self = now;
        false
    }
}

impl Opened {
    /// Asks how far the data reaches, then reads every manifest. `chains`: what must still be there,
    /// beside what `ask` says.
    pub fn with(file: &Path, ask: &Ask, chains: Vec<Chain>) -> Result<Self, RunFault> {
        let outside = config::load_outside(file).map_err(RunFault::Findings)?;
        let trust = ask.trust.as_ref().or(outside.trust.as_ref());
        let revocations = trust.into_iter().flat_map(|trust| revocations(trust, &ask.releases));
        let revocations = revocations.map(Revocations::of).collect();
        let mut expect = expect(&outside, ask)?;
        expect.earlier.extend(chains);
        let topics = edges::topics(&outside.global)?;
        let admin = admin_of(&topics, &outside.global.id)?;
        let partitions = partitions_of(admin.as_ref(), &ask.topic)?;
        let compacted = admin
            .topic_config(&ask.topic)
            .is_ok_and(|config| config.cleanup_policy.contains("compact"));
        let checkpoints_checked = expect.checkpoint.is_some();
        let mut opened = Self {
            checkpoints_checked,
            topic: ask.topic.clone(),
            topics,
            manifests: Manifests::new(expect),
            until: vec![0; usize::try_from(partitions).unwrap_or(0)],
            read_to: 0,
            compacted,
            revocations,
        };
        let low = opened.take_manifests()?;
        opened.manifests.settle(low);
        Ok(opened)
    }

    /// What came since.
    pub fn look_again(&mut self) -> Result<(), RunFault> {
        self.take_manifests().map(drop)
    }

    /// A file of revocations is another one than was read: what it says now is not known here.
    pub fn is_outdated(&mut self) -> bool {
        self.revocations.iter_mut().any(Revocations::is_another)
    }

    /// In this order: what is committed now has its manifest in the log now, though its marker may
    /// still be on the way. What comes later may have one that is not read. Gives the first offset
    /// of the manifests' log.
    fn take_manifests(&mut self) -> Result<i64, RunFault> {
        let away = RunFault::unreachable("global cluster");
        let Self { topic, topics, manifests, until, read_to, .. } = self;
        for (partition, until) in (0..).zip(until.iter_mut()) {
            let extent = topics.extent(topic, partition, false, PATIENCE).map_err(&away)?;
            *until = extent.1;
        }
        let (low, reached) = read_manifests(topics, topic, *read_to, &mut |record| {
            manifests.take(record);
        })?;
        *read_to = reached;
        Ok(low)
    }

    /// Of the data topic.
    pub fn partitions(&self) -> i32 {
        i32::try_from(self.until.len()).unwrap_or(i32::MAX)
    }

    /// First offset of a partition's log.
    pub fn low(&self, partition: i32) -> Result<i64, RunFault> {
        let extent = self.topics.extent(&self.topic, partition, false, PATIENCE);
        extent.map(|(low, _)| low).map_err(RunFault::unreachable("global cluster"))
    }

    /// Reads a partition to its end, or until `each` breaks. Gives the offset reached.
    pub fn read(
        &self,
        partition: i32,
        from: i64,
        each: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<i64, RunFault> {
        self.topics
            .read(&self.topic, partition, from, PATIENCE, &mut |raw| each(&record(raw)))
            .map_err(RunFault::unreachable("global cluster"))
    }

    /// All partitions, side by side: nothing of one hangs on another.
    fn walk(&self) -> Result<Vec<Walked>, RunFault> {
        let next = AtomicI32::new(0);
        let walked = Mutex::new(Vec::new());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let one = || -> Result<(), RunFault> {
            loop {
                let partition = next.fetch_add(1, Ordering::SeqCst);
                let Some(until) = self.until.get(partition as usize) else { return Ok(()) };
                let scope = 0..self.manifests.len();
                let mut lane = Lane::new(&self.manifests, partition, scope, *until);
                self.read(partition, 0, &mut |record| {
                    lane.record(record);
                    ControlFlow::Continue(())
                })?;
                // Asked afterwards: retention may take records while this reads.
                let one = lane.finish(self.low(partition)?);
                walked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(one);
            }
        };
        let outcomes: Vec<Result<(), RunFault>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|t| t.join().unwrap_or(Err(RunFault::ThreadDied))).collect()
        });
        outcomes.into_iter().collect::<Result<(), RunFault>>()?;
        Ok(walked.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

fn admin_of(topics: &Cluster, expected: &str) -> Result<Box<dyn Admin>, RunFault> {
    let admin = topics.admin().map_err(RunFault::client("global"))?;
    let found = admin.cluster_id().map_err(RunFault::unreachable("global cluster"))?;
    match found == expected {
        true => Ok(admin),
        false => Err(RunFault::Cluster { side: "global", expected: expected.to_owned(), found }),
    }
}

/// Partitions of a data topic that has manifests beside it.
fn partitions_of(admin: &dyn Admin, topic: &str) -> Result<i32, RunFault> {
    let identity = admin.topic(topic).map_err(RunFault::unreachable("global cluster"))?;
    identity.map(|identity| identity.partitions).ok_or_else(|| no_topic(topic))
}

fn no_topic(topic: &str) -> RunFault {
    RunFault::Topic {
        topic: topic.to_owned(),
        what:
            "does not exist in the global cluster\n  next: name a topic that a pipeline writes to"
                .to_owned(),
    }
}

/// Manifests have one order, so one partition.
fn one_partition(topic: &str, partitions: i32) -> Result<(), RunFault> {
    match partitions {
        1 => Ok(()),
        found => Err(RunFault::Topic {
            topic: topic.to_owned(),
            what: format!(
                "has {found} partitions, expected 1: douane writes manifests to partition 0 alone, \
                 and beside it they have no order\n  next: ask who owns the cluster what was added \
                 and why; nothing here can be verified until the topic has 1 partition again"
            ),
        }),
    }
}

/// Gives `each` the records of a topic's manifest topic, from an offset on: every verb that reads
/// manifests reads them here. Gives the log's first offset, and the one that was reached.
pub(crate) fn read_manifests(
    topics: &Cluster,
    topic: &str,
    from: i64,
    each: &mut dyn FnMut(&Record<'_>),
) -> Result<(i64, i64), RunFault> {
    let away = RunFault::unreachable("global cluster");
    let name = format!("{topic}.manifest");
    let admin = topics.admin().map_err(RunFault::client("global"))?;
    let identity = admin.topic(&name).map_err(&away)?.ok_or_else(|| no_topic(&name))?;
    one_partition(&name, identity.partitions)?;
    let (low, _) = topics.extent(&name, 0, true, PATIENCE).map_err(&away)?;
    let mut each = |raw: &RawRecord<'_>| {
        each(&record(raw));
        ControlFlow::Continue(())
    };
    let reached = topics.read(&name, 0, low.max(from), PATIENCE, &mut each);
    Ok((low, reached.map_err(&away)?))
}

pub(crate) fn record<'a>(raw: &RawRecord<'a>) -> Record<'a> {
    Record {
        partition: raw.partition,
        offset: raw.offset,
        timestamp_ms: raw.timestamp_ms,
        key: raw.key,
        value: raw.value,
        headers: raw.headers,
    }
}

fn expect(outside: &Outside, ask: &Ask) -> Result<Expect, RunFault> {
    let public = manifest_key(outside, ask.keys.as_ref())?;
    let releases = match ask.releases.is_empty() {
        true => None,
        false => Some(releases(ask.trust.as_ref().or(outside.trust.as_ref()), &ask.releases)?),
    };
    let earlier = ask.earlier.as_deref().map(|path| earlier(path, &ask.topic)).transpose()?;
    let (earlier, earlier_bundles) = earlier.unwrap_or_default();
    let dir = ask.keys.as_ref().or(outside.keys.as_ref());
    let checkpoint = dir.map(|dir| PublicKeys::checkpoint(dir)).transpose();
    let checkpoint = checkpoint.map_err(|fault| RunFault::Keys(fault.to_string()))?.flatten();
    Ok(Expect {
        topic: ask.topic.clone(),
        keys: vec![public],
        releases,
        earlier,
        earlier_bundles,
        checkpoint,
        witnesses: ask.witnesses.clone(),
    })
}

/// Who signs manifests. `keys`: a folder in the place of the file's.
pub(crate) fn manifest_key(
    outside: &Outside,
    keys: Option<&PathBuf>,
) -> Result<VerifyingKey, RunFault> {
    let next = "next: name a folder with `manifest.key.pub` with `--keys`";
    let no_keys = |why: String| RunFault::Keys(format!("{why}\n  {next}"));
    let dir = keys.or(outside.keys.as_ref());
    let dir = dir.ok_or_else(|| no_keys("no public key of manifests is named".to_owned()))?;
    let public = PublicKeys::manifest(dir).map_err(|fault| no_keys(fault.to_string()))?;
    public.ok_or_else(|| no_keys(format!("{}: no public key", dir.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, RunFault> {
    std::fs::read(path).map_err(|error| {
        let why = error.kind();
        RunFault::File(format!("{}: {why}\n  next: mend the name or its rights", path.display()))
    })
}

/// A file that may not be there. A link that leads nowhere, or a folder that nobody may look into, is
/// no absence: it would be taken for nothing revoked.
fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, RunFault> {
    let absent = |found: &std::io::Error| found.kind() == std::io::ErrorKind::NotFound;
    match std::fs::symlink_metadata(path) {
        Err(error) if absent(&error) => Ok(None),
        _ => read(path).map(Some),
    }
}

/// Where lines may lie that revoke releases of these files: beside each, and beside the trust root.
fn revocations<'a>(trust: &'a PathBuf, files: &'a [PathBuf]) -> impl Iterator<Item = PathBuf> + 'a {
    files.iter().chain([trust]).map(|path| path.with_extension("revocations.json"))
}

/// Releases and, from the files beside them and the trust root, what revoked them.
fn releases(trust: Option<&PathBuf>, files: &[PathBuf]) -> Result<Releases, RunFault> {
    let trust = trust.ok_or_else(|| {
        RunFault::Release("no trust root\n  next: name its file with `--trust`".to_owned())
    })?;
    let no = |path: &Path, why: &dyn std::fmt::Display| {
        RunFault::Release(format!("{}: {why}", path.display()))
    };
    let root = TrustRoot::load(&read(trust)?, None).map_err(|fault| no(trust, &fault))?;
    let mut releases = Releases::default();
    for path in files {
        for line in read(path)?.split_inclusive(|byte| *byte == b'\n') {
            let envelope = Envelope::from_bytes(line).map_err(|fault| no(path, &fault))?;
            releases.add(&envelope, &root).map_err(|fault| no(path, &fault))?;
        }
    }
    for path in revocations(trust, files) {
        let Some(bytes) = read_if_there(&path)? else { continue };
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let envelope = Envelope::from_bytes(line).map_err(|fault| no(&path, &fault))?;
            releases.revoke(&envelope, &root).map_err(|fault| no(&path, &fault))?;
        }
    }
    Ok(releases)
}

/// The chains of an answer that was kept, and its newest bundle.
fn earlier(path: &Path, topic: &str) -> Result<(Vec<Chain>, Vec<String>), RunFault> {
    #[derive(Deserialize)]
    struct Kept {
        topic: String,
        chains: Vec<Chain>,
        #[serde(default)]
        bundle: Option<KeptBundle>,
    }
    #[derive(Deserialize)]
    struct KeptBundle {
        digest: String,
    }
    let no = |why: &str| {
        let next = "next: name what `verify --topic --format json` printed for this topic";
        RunFault::File(format!("{}: {why}\n  {next}", path.display()))
    };
    let kept: Kept =
        serde_json::from_slice(&read(path)?).map_err(|_| no("this is no answer of `verify`"))?;
    match kept.topic == topic {
        true => Ok((kept.chains, kept.bundle.map(|bundle| bundle.digest).into_iter().collect())),
        false => Err(no("it is of another topic")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revocations_that_are_copied_anew_say_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.revocations.json");
        let write = |text: &str| {
            let aside = dir.path().join("aside");
            std::fs::write(&aside, text).unwrap();
            std::fs::rename(&aside, &path).unwrap();
        };
        let mut absent = Revocations::of(path.clone());
        assert!(!absent.is_another());
        write("[1]");
        assert!(absent.is_another(), "there is one now");
        let mut read = Revocations::of(path.clone());
        write("[1]");
        assert!(!Stamp::of(&path).is(&read.stamp), "another file by its stamp");
        assert!(!read.is_another() && !read.is_another());
        write("[2]");
        assert!(read.is_another());
        std::fs::remove_file(&path).unwrap();
        assert!(read.is_another(), "what was revoked stays so");
    }

    #[test]
    fn revocations_lie_where_revoke_puts_them() {
        let files = [PathBuf::from("r/a.release.json"), PathBuf::from("b.release.json")];
        let found: Vec<PathBuf> = revocations(&PathBuf::from("t/trust.json"), &files).collect();
        let expected = [
            "r/a.release.revocations.json",
            "b.release.revocations.json",
            "t/trust.revocations.json",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn manifests_have_one_partition() {
        assert!(one_partition("t.manifest", 1).is_ok());
        for found in [0, 2, 50] {
            let fault = one_partition("t.manifest", found).unwrap_err().to_string();
            assert!(fault.contains("expected 1") && fault.contains("next:"), "{fault}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.revocations.json");
        assert!(read_if_there(&path).unwrap().is_none());
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &path).unwrap();
        assert!(read_if_there(&path).is_err(), "a link that leads nowhere");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(read_if_there(&path).is_err(), "a folder");
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "x").unwrap();
        assert_eq!(read_if_there(&path).unwrap().as_deref(), Some(&b"x"[..]));
    }
}
