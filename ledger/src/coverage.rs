//! Whether a global topic holds what its manifests say, and nothing else: from outside, with public
//! keys and the two topics alone.
//!
//! First every manifest ([`Manifests`]), then each partition of the data ([`Lane`]), in the order of
//! its offsets. What a manifest's digest is over is written here a second time: one mistake is not
//! on both sides. A trainer takes the same way, a range of manifests at a time.
//!
//! What cannot be seen from here: that the newest transactions are missing, manifest and records
//! alike. An answer kept from earlier ([`Expect::earlier`]) shows it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::canonical::{hex, hex_array};
use crate::dsse::Envelope;
use crate::manifest::{self, Manifest};
use crate::signing::VerifyingKey;

mod bundles;
mod finding;
mod releases;

pub use bundles::{Broken, CosignedLine, Newest};
pub use finding::{At, Finding, Findings};
pub use releases::{Approved, Doubt, Releases};

/// The header that names a record's manifest.
const HEADER: &str = "douane-manifest";

/// What the caller knows. The less it knows, the less is proved.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// The data topic.
    pub topic: String,
    /// Who signs manifests.
    pub keys: Vec<VerifyingKey>,
    /// The releases that records may be under; `None`: whatever the manifests say.
    pub releases: Option<Releases>,
    /// Chains as an earlier answer had them: they must still be there.
    pub earlier: Vec<Chain>,
    /// Digests of bundles as earlier answers had them: likewise.
    pub earlier_bundles: Vec<String>,
    /// Who signs checkpoints; `None`: that is not looked at.
    pub checkpoint: Option<VerifyingKey>,
    /// The keys of witnesses whose lines are looked for.
    pub witnesses: Vec<String>,
}

/// A record as a reader of committed records got it. No `Debug`: it is data.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Manifests of one log, each of which names the one before it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Chain {
    /// Id of the newest, hexadecimal.
    pub head: String,
    /// Its offset in the manifest topic.
    pub offset: i64,
    /// How many were read.
    pub length: u64,
    /// Offset of the first of them, which names none before it.
    pub first: i64,
}

/// One manifest that holds.
struct Known {
    id: [u8; 16],
    salt: [u8; 16],
    offset: i64,
    chain: u32,
    depth: u32,
    records: u64,
    /// Index of its release.
    release: u32,
    /// RFC 6962 hash of its leaf.
    leaf: [u8; 32],
}

/// What a manifest says of one partition.
struct Subject {
    /// Index of the manifest.
    of: usize,
    count: u64,
    digest: [u8; 32],
}

/// Tests take one check away each, and see that something is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Signature,
    Key,
    Topic,
    Doubled,
    Chain,
    Cut,
    Earlier,
    Release,
    Header,
    Unknown,
    Named,
    Added,
    Digest,
    Missing,
    Front,
    Order,
    BundleChain,
    LogGrows,
    LogForked,
    Checkpoint,
    Cosigned,
    BundleManifest,
    InLog,
    Fresh,
}

/// The manifests of a topic, in the order of their offsets.
pub struct Manifests {
    expect: Expect,
    list: Vec<Known>,
    by_id: HashMap<[u8; 16], usize>,
    subjects: BTreeMap<i32, Vec<Subject>>,
    /// Index of each chain's newest.
    heads: Vec<usize>,
    /// Offset of each chain's first.
    firsts: Vec<i64>,
    /// Digests of the releases that manifests name, hexadecimal.
    releases: Vec<String>,
    bundles: bundles::Bundles,
    findings: Findings,
    #[cfg(test)]
    pub(crate) without: Option<Check>,
}

impl Manifests {
    pub fn new(expect: Expect) -> Self {
        Self {
            expect,
            list: Vec::new(),
            by_id: HashMap::new(),
            subjects: BTreeMap::new(),
            heads: Vec::new(),
            firsts: Vec::new(),
            releases: Vec::new(),
            bundles: bundles::Bundles::default(),
            findings: Findings::default(),
            #[cfg(test)]
            without: None,
        }
    }

    #[cfg(test)]
    fn checks(&self, check: Check) -> bool {
        self.without != Some(check)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests take single checks away")]
    fn checks(&self, _: Check) -> bool {
        true
    }

    /// Takes the next record of the manifest topic. Gives the manifest where it is one and holds.
    pub fn take(&mut self, record: &Record<'_>) -> Option<Manifest> {
        let at = self.manifest_at(record);
        if bundles::is_one(record) {
            self.take_bundle(record, &at);
            return None;
        }
        match self.hold(record, &at) {
            Ok(manifest) => Some(manifest),
            Err(finding) => {
                self.findings.add(finding);
                None
            }
        }
    }

    fn manifest_at(&self, record: &Record<'_>) -> At {
        At {
            topic: format!("{}.manifest", self.expect.topic),
            partition: record.partition,
            offset: record.offset,
        }
    }

    fn hold(&mut self, record: &Record<'_>, at: &At) -> Result<Manifest, Finding> {
        let (at, unsigned) = (at.clone(), |why: String| Finding::Unsigned { at: at.clone(), why });
        let bytes = record.value.ok_or_else(|| unsigned("it has no value".to_owned()))?;
        let envelope = Envelope::from_bytes(bytes).map_err(|f| unsigned(f.to_string()))?;
        let signed = manifest::verify(&envelope, &self.expect.keys);
        let manifest = match signed {
            Ok(signed) => signed.predicate,
            Err(_) if !self.checks(Check::Signature) => {
                crate::statement::unverified(&envelope).map_err(|f| unsigned(f.to_string()))?
            }
            Err(fault) => return Err(unsigned(fault.to_string())),
        };
        let (id, salt, leaf) =
            (hex_array(&manifest.id), hex_array(&manifest.salt), hex_array(&manifest.leaf));
        let (Some(id), Some(salt), Some(leaf)) = (id, salt, leaf) else {
            return Err(unsigned("its id, salt or leaf is malformed".to_owned()));
        };
        if self.checks(Check::Key) && record.key != Some(manifest.id.as_bytes()) {
            return Err(Finding::Key { at, id: manifest.id });
        }
        let foreign = |s: &manifest::Subject| s.topic != self.expect.topic;
        if self.checks(Check::Topic) && manifest.subjects.iter().any(foreign) {
            return Err(Finding::Foreign { at, id: manifest.id });
        }
        if let Some(first) = self.by_id.get(&id).filter(|_| self.checks(Check::Doubled)) {
            let first = self.list[*first].offset;
            return Err(Finding::Doubled { at, id: manifest.id, first });
        }
        if let Some(releases) =
            self.expect.releases.as_ref().filter(|_| self.checks(Check::Release))
        {
            releases.allow(&manifest, record.timestamp_ms).map_err(|why| Finding::Release {
                at: at.clone(),
                id: manifest.id.clone(),
                why,
            })?;
        }
        let (chain, depth) = self.link(&manifest, &at);
        let release = self.releases.iter().position(|known| *known == manifest.release);
        let release = release.unwrap_or_else(|| {
            self.releases.push(manifest.release.clone());
            self.releases.len() - 1
        });
        let (release, offset) = (u32::try_from(release).unwrap_or(u32::MAX), record.offset);
        self.add(&manifest, Known { id, salt, offset, chain, depth, records: 0, release, leaf });
        Ok(manifest)
    }

    /// The chain that a manifest goes on with, and its place in it.
    fn link(&mut self, manifest: &Manifest, at: &At) -> (u32, u32) {
        let index = self.list.len();
        let previous = manifest.previous.as_deref().and_then(hex_array::<16>);
        let known = previous.and_then(|id| self.by_id.get(&id).copied());
        if let Some(before) = known {
            let (chain, depth) = (self.list[before].chain, self.list[before].depth + 1);
            let head = &mut self.heads[chain as usize];
            if *head == before {
                *head = index;
                return (chain, depth);
            }
        }
        let begun = u32::try_from(self.heads.len()).unwrap_or(u32::MAX);
        if previous.is_some() && self.checks(Check::Chain) {
            let (at, id) = (at.clone(), manifest.id.clone());
            self.findings.add(match known {
                Some(_) => Finding::Forked { at, id },
                None => Finding::Gap { at, id },
            });
        }
        self.heads.push(index);
        self.firsts.push(at.offset);
        (begun, 0)
    }

    fn add(&mut self, manifest: &Manifest, mut known: Known) {
        let index = self.list.len();
        for subject in &manifest.subjects {
            // `manifest::verify` has seen that it is a digest.
            let digest = hex_array(&subject.digest).unwrap_or_default();
            known.records += subject.count;
            let subject_of = Subject { of: index, count: subject.count, digest };
            self.subjects.entry(subject.partition).or_default().push(subject_of);
        }
        self.by_id.entry(known.id).or_insert(index);
        self.list.push(known);
    }

    /// All that is there was taken: does the log begin where it began, and is what an earlier answer
    /// saw still where it was, with as many before it? `low`: the first offset of the manifest
    /// topic's log. Its retention is forever, so nothing lawful raises it.
    pub fn settle(&mut self, low: i64) {
        if low > 0 && self.checks(Check::Cut) {
            let topic = format!("{}.manifest", self.expect.topic);
            self.findings.add(Finding::Cut { topic, low });
        }
        if !self.checks(Check::Earlier) {
            return;
        }
        for chain in &self.expect.earlier {
            let known = hex_array(&chain.head).and_then(|id| self.by_id.get(&id));
            let there = known.map(|index| &self.list[*index]).is_some_and(|known| {
                known.offset == chain.offset && u64::from(known.depth) + 1 >= chain.length
            });
            if !there {
                let id = chain.head.clone();
                self.findings.add(Finding::Vanished { id, offset: chain.offset });
            }
        }
        for digest in &self.expect.earlier_bundles {
            if !self.bundles.has(digest) {
                self.findings.add(Finding::BundleVanished { digest: digest.clone() });
            }
        }
    }

    /// The newest bundle, where there is one.
    pub fn newest_bundle(&self) -> Option<&Newest> {
        self.bundles.newest()
    }

    /// How many hold.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// None holds.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Records that a range of them speaks of.
    pub fn records(&self, scope: Range<usize>) -> u64 {
        self.list[scope].iter().map(|known| known.records).sum()
    }

    /// The first manifest at or behind an offset of the manifest topic.
    pub fn from_offset(&self, offset: i64) -> usize {
        self.list.partition_point(|known| known.offset < offset)
    }

    /// Offset in the manifest topic.
    pub fn offset(&self, index: usize) -> i64 {
        self.list[index].offset
    }

    /// The release that a manifest names.
    pub fn release(&self, index: usize) -> Option<&Approved> {
        let digest = self.releases.get(self.list[index].release as usize)?;
        self.expect.releases.as_ref()?.get(digest)
    }

    /// As many whole transactions of one release from `from` on as have at most so many records;
    /// one at least.
    pub fn take_of(&self, from: usize, records_max: u64) -> Range<usize> {
        let (mut to, mut records) = (from, 0u64);
        while let Some(known) = self.list.get(to) {
            records = records.saturating_add(known.records);
            let same = known.release == self.list[from].release;
            if !same || (to > from && records > records_max) {
                break;
            }
            to += 1;
        }
        from..to
    }

    /// Each chain's newest.
    pub fn chains(&self) -> Vec<Chain> {
        let chain = |(index, first): (&usize, &i64)| {
            let known = &self.list[*index];
            let length = u64::from(known.depth) + 1;
            Chain { head: hex(&known.id), offset: known.offset, length, first: *first }
        };
        self.heads.iter().zip(&self.firsts).map(chain).collect()
    }

    /// What is wrong with the manifests themselves.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    fn subjects(&self, partition: i32) -> &[Subject] {
        self.subjects.get(&partition).map_or(&[], Vec::as_slice)
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Of a transaction in scope, of this index. `whole`: the last of it in this partition, and
    /// all of them have the digest that was signed.
    Of { manifest: usize, whole: bool },
    /// Of a transaction before the scope.
    Before,
    /// Of one behind it, or committed since the manifests were read.
    Later,
    /// It should not be there; a finding says why.
    Wrong,
}

enum State {
    Unseen,
    Open { digest: Box<Sha256>, count: u64, first: i64 },
    Whole,
    Wrong,
}

/// One partition of the data topic, from a place in it on.
pub struct Lane<'m> {
    manifests: &'m Manifests,
    partition: i32,
    scope: Range<usize>,
    /// The end that was there before the manifests were read.
    until: i64,
    subjects: &'m [Subject],
    states: Vec<State>,
    /// By chain: depth of the newest that was seen in scope, and of the first.
    seen: BTreeMap<u32, (u32, u32)>,
    unknown: BTreeSet<[u8; 16]>,
    left: usize,
    records: u64,
    findings: Findings,
}

/// What a partition came to.
pub struct Walked {
    pub findings: Findings,
    /// Records that are covered.
    pub records: u64,
    /// Transactions of which retention took records here.
    pub retired: u64,
}

impl<'m> Lane<'m> {
    /// `until`: the partition's end as it was before the manifests were read: a record at or behind
    /// it may have a manifest that was not there yet.
    pub fn new(manifests: &'m Manifests, partition: i32, scope: Range<usize>, until: i64) -> Self {
        let all = manifests.subjects(partition);
        let from = all.partition_point(|subject| subject.of < scope.start);
        let to = all.partition_point(|subject| subject.of < scope.end);
        let subjects = &all[from..to];
        Self {
            manifests,
            partition,
            scope,
            until,
            subjects,
            states: subjects.iter().map(|_| State::Unseen).collect(),
            seen: BTreeMap::new(),
            unknown: BTreeSet::new(),
            left: subjects.len(),
            records: 0,
            findings: Findings::default(),
        }
    }

    /// Whether all that is in scope has come.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Takes the next record.
    pub fn record(&mut self, record: &Record<'_>) -> Seen {
        match self.look(record) {
            Ok(seen) => seen,
            Err(finding) => {
                self.findings.add(finding);
                Seen::Wrong
            }
        }
    }

    fn at(&self, offset: i64) -> At {
        let topic = self.manifests.expect.topic.clone();
        At { topic, partition: self.partition, offset }
    }

    fn id(&self, index: usize) -> String {
        hex(&self.manifests.list[index].id)
    }

    fn look(&mut self, record: &Record<'_>) -> Result<Seen, Finding> {
        let manifests = self.manifests;
        let Some(id) = manifest_of(record) else {
            return match manifests.checks(Check::Header) {
                true => Err(Finding::NoManifest { at: self.at(record.offset) }),
                false => Ok(Seen::Later),
            };
        };
        let Some(index) = manifests.by_id.get(&id).copied() else {
            if record.offset >= self.until || !manifests.checks(Check::Unknown) {
                return Ok(Seen::Later);
            }
            // Once for each manifest: a transaction has thousands of records.
            return match self.unknown.insert(id) {
                true => Err(Finding::Unknown { at: self.at(record.offset), id: hex(&id) }),
                false => Ok(Seen::Wrong),
            };
        };
        if index >= self.scope.end {
            return Ok(Seen::Later);
        }
        let known = &manifests.list[index];
        let (newest, _) = self.seen.get(&known.chain).copied().unwrap_or_default();
        if known.depth < newest && manifests.checks(Check::Order) {
            let id = self.id(index);
            return Err(Finding::Order { at: self.at(record.offset), id });
        }
        if index < self.scope.start {
            return Ok(Seen::Before);
        }
        let Ok(slot) = self.subjects.binary_search_by_key(&index, |subject| subject.of) else {
            return match manifests.checks(Check::Named) {
                true => {
                    let id = self.id(index);
                    Err(Finding::NotNamed { at: self.at(record.offset), id })
                }
                false => Ok(Seen::Later),
            };
        };
        self.seen.entry(known.chain).or_insert((known.depth, known.depth)).0 = known.depth;
        self.add(slot, index, record)
    }

    fn add(&mut self, slot: usize, index: usize, record: &Record<'_>) -> Result<Seen, Finding> {
        let (manifests, subject) = (self.manifests, &self.subjects[slot]);
        let state = &mut self.states[slot];
        if matches!(state, State::Unseen) {
            let mut digest = Box::new(Sha256::new());
            digest.update(manifests.list[index].salt);
            digest.update(b"douane-records-v1\n");
            *state = State::Open { digest, count: 0, first: record.offset };
        }
        let State::Open { digest, count, first } = state else {
            return match manifests.checks(Check::Added) {
                true => {
                    let id = self.id(index);
                    Err(Finding::Added { at: self.at(record.offset), id, count: subject.count })
                }
                false => Ok(Seen::Wrong),
            };
        };
        write(digest, record);
        *count += 1;
        self.records += 1;
        if *count < subject.count {
            return Ok(Seen::Of { manifest: index, whole: false });
        }
        let (found, first): ([u8; 32], i64) = (digest.finalize_reset().into(), *first);
        self.left -= 1;
        if found != subject.digest && manifests.checks(Check::Digest) {
            self.states[slot] = State::Wrong;
            let (id, last) = (self.id(index), record.offset);
            return Err(Finding::Changed { at: self.at(first), id, last });
        }
        self.states[slot] = State::Whole;
        Ok(Seen::Of { manifest: index, whole: true })
    }

    /// Everything there is was taken: what is missing? `low`: the first offset of the partition's log,
    /// asked after it was read.
    pub fn finish(mut self, low: i64) -> Walked {
        let mut retired = 0;
        // By chain: how many of those so far have records here. `passed`: two of one chain have.
        let (mut counts, mut passed) = (BTreeMap::new(), false);
        for (slot, subject) in self.subjects.iter().enumerate() {
            let known = &self.manifests.list[subject.of];
            let was_passed = passed && self.manifests.checks(Check::Front);
            if !matches!(self.states[slot], State::Unseen) {
                let count: &mut u32 = counts.entry(known.chain).or_default();
                *count += 1;
                passed |= *count > 1;
            }
            let found = match &self.states[slot] {
                State::Unseen => 0,
                State::Open { count, .. } => *count,
                State::Whole | State::Wrong => continue,
            };
            // Retention takes records from the front: what came before anything of its chain. A
            // log has one transaction open at a time, so where two of another log that were signed
            // earlier still lie here, the front is not reached.
            let first = self.seen.get(&known.chain).map(|(_, first)| *first);
            if low > 0 && !was_passed && first.is_none_or(|first| known.depth <= first) {
                retired += 1;
            } else if self.manifests.checks(Check::Missing) {
                self.findings.add(Finding::Missing {
                    topic: self.manifests.expect.topic.clone(),
                    partition: self.partition,
                    id: hex(&known.id),
                    expected: subject.count,
                    found,
                });
            }
        }
        Walked { findings: self.findings, records: self.records, retired }
    }
}

/// The manifest that a record names: once, in form.
fn manifest_of(record: &Record<'_>) -> Option<[u8; 16]> {
    let mut named = record.headers.iter().filter(|(name, _)| *name == HEADER);
    let (_, value) = named.next()?;
    let text = std::str::from_utf8((*value)?).ok()?;
    named.next().is_none().then(|| hex_array(text)).flatten()
}

/// One record of a digest file, as docs/formats.md has it.
fn write(to: &mut Sha256, record: &Record<'_>) {
    fn length(to: &mut Sha256, bytes: &[u8]) {
        // A length that does not fit is one that nobody signed.
        to.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    fn part(to: &mut Sha256, bytes: Option<&[u8]>) {
        match bytes {
            None => to.update([0]),
            Some(bytes) => {
                to.update([1]);
                length(to, bytes);
                to.update(bytes);
            }
        }
    }
    to.update(record.partition.to_be_bytes());
    to.update(record.timestamp_ms.to_be_bytes());
    part(to, record.key);
    part(to, record.value);
    to.update(u32::try_from(record.headers.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (name, value) in record.headers {
        length(to, name.as_bytes());
        to.update(name.as_bytes());
        part(to, *value);
    }
}

#[cfg(test)]
mod tests;
