//! The bundles of a topic, held against each other and against its manifests: each log goes on from
//! where it stood in the bundle before, and holds the manifest that the bundle names.
//!
//! Proofs of RFC 6962 are checked by other code than makes them: consistency by `ct-merkle`, inclusion
//! below.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

use super::{At, Check, Finding, Manifests, Record};
use crate::bundle::{self, Bundle, Covered, Part, Stand};
use crate::canonical::{hex, hex_array};
use crate::dsse::Envelope;
use crate::log::verifier_key;
use crate::verify::note::{self, Note};
use crate::witness;

/// A proof between trees of up to 2^63 leaves has no more hashes.
const PROOF_HASHES_MAX: usize = 63;

/// What is wrong with a bundle. `log`: by origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    Key,
    Foreign,
    Doubled { first: i64 },
    Gap,
    Forked,
    RolledBack { log: String, size: u64, was: u64 },
    LogForked { log: String, was: u64 },
    Checkpoint { log: String, why: &'static str },
    ManifestGone { id: String },
    NotInLog { log: String, id: String },
    CosignedForked { log: String, size: u64 },
}

impl Broken {
    /// In a word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Key => "wrong_key",
            Self::Foreign => "foreign",
            Self::Doubled { .. } => "bundle_doubled",
            Self::Gap => "bundle_gap",
            Self::Forked => "bundle_forked",
            Self::RolledBack { .. } => "log_rolled_back",
            Self::LogForked { .. } => "log_forked",
            Self::Checkpoint { .. } => "log_checkpoint",
            Self::ManifestGone { .. } => "vanished",
            Self::NotInLog { .. } => "not_in_log",
            Self::CosignedForked { .. } => "cosigned_forked",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("lies under another record key"),
            Self::Foreign => f.write_str("speaks of another topic"),
            Self::Doubled { first } => write!(f, "was there already, at offset {first}"),
            Self::Gap => f.write_str("names one before it that is not there"),
            Self::Forked => f.write_str("follows one that another follows already"),
            Self::RolledBack { log, size, was } => {
                write!(f, "{log} has {size} entries, and had {was}: it was put back")
            }
            Self::LogForked { log, was } => {
                write!(f, "{log} does not go on from its {was} entries before: it was forked")
            }
            Self::Checkpoint { log, why } => write!(f, "the checkpoint of {log}: {why}"),
            Self::ManifestGone { id } => write!(f, "names manifest {id}, which is not before it"),
            Self::NotInLog { log, id } => {
                write!(f, "{log} does not hold the leaf of manifest {id}")
            }
            Self::CosignedForked { log, size } => {
                write!(f, "{log} does not go on from the {size} entries that were cosigned")
            }
        }
    }
}

/// The newest bundle, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Newest {
    /// How many hold.
    pub count: u64,
    pub number: u64,
    /// SHA-256 of its payload, hexadecimal.
    pub digest: String,
    /// In the manifest topic.
    pub offset: i64,
    /// Its tick, in milliseconds since the epoch, as the place signed it.
    pub at_ms: u64,
    /// The schedule.
    pub every_ms: u64,
    /// Where each log stands.
    pub logs: Vec<Stand>,
    /// Of each log and witness the newest line.
    pub cosigned: Vec<CosignedLine>,
}

/// A line of a witness.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CosignedLine {
    pub origin: String,
    /// The witness's name.
    pub witness: String,
    /// Entries of the log.
    pub size: u64,
    /// In seconds since the epoch, as he signed it.
    pub time: u64,
}

/// Those that were taken.
#[derive(Default)]
pub(super) struct Bundles {
    count: u64,
    newest: Option<Newest>,
    /// Offset by digest.
    known: BTreeMap<[u8; 32], i64>,
}

impl Bundles {
    pub(super) fn newest(&self) -> Option<&Newest> {
        self.newest.as_ref()
    }

    /// Whether this one was taken.
    pub(super) fn has(&self, digest: &str) -> bool {
        hex_array(digest).is_some_and(|digest| self.known.contains_key(&digest))
    }
}

/// Whether a record of the manifest topic is one, by its key. Who signed it is another question.
pub(super) fn is_one(record: &Record<'_>) -> bool {
    record.key.is_some_and(|key| key.starts_with(bundle::KEY.as_bytes()))
}

impl Manifests {
    /// Takes a bundle.
    pub(super) fn take_bundle(&mut self, record: &Record<'_>, at: &At) {
        let Some((bundle, digest)) = self.signed_bundle(record, at) else { return };
        let number = bundle.number;
        let broken = |why| Finding::Bundle { at: at.clone(), number, why };
        if self.checks(Check::Key) && record.key != Some(bundle::record_key(number).as_bytes()) {
            return self.findings.add(broken(Broken::Key));
        }
        if self.checks(Check::Topic) && bundle.topic != self.expect.topic {
            return self.findings.add(broken(Broken::Foreign));
        }
        if let Some(first) = self.bundles.known.get(&digest).copied() {
            if self.checks(Check::Doubled) {
                self.findings.add(broken(Broken::Doubled { first }));
            }
            return;
        }
        if let Some(why) = self.follows(&bundle).filter(|_| self.checks(Check::BundleChain)) {
            self.findings.add(broken(why));
            // What is behind another one that holds is no news of the logs.
            if why_ends(self.bundles.newest(), number) {
                return;
            }
        }
        let mut logs = Vec::new();
        let mut lines = Vec::new();
        for part in &bundle.logs {
            match self.part(part, record.offset) {
                Ok((stand, of_witnesses)) => {
                    logs.push(stand);
                    lines.extend(of_witnesses);
                }
                Err(why) => {
                    self.findings.add(broken(why));
                    // What holds of it is what was said before.
                    logs.extend(self.stand(part.origin()).cloned());
                }
            }
        }
        for before in self.bundles.newest().map_or(&[][..], |newest| &newest.logs) {
            let there = bundle.logs.iter().any(|part| part.origin() == before.origin);
            if !there && self.checks(Check::LogGrows) {
                let log = before.origin.clone();
                let why = Broken::RolledBack { log, size: 0, was: before.size };
                self.findings.add(Finding::Bundle { at: at.clone(), number, why });
            }
        }
        self.bundles.count += 1;
        self.bundles.known.insert(digest, record.offset);
        self.bundles.newest = Some(Newest {
            count: self.bundles.count,
            number,
            digest: hex(&digest),
            offset: record.offset,
            at_ms: bundle.at_ms,
            every_ms: bundle.every_ms,
            logs,
            cosigned: lines,
        });
    }

    /// Whether the newest bundle is of this time or later, and likewise the newest line of each witness
    /// about each of its logs (in seconds since the epoch): what was taken out at the end shows here.
    pub fn are_fresh(&mut self, since_ms: Option<u64>, cosigned_since: Option<u64>) {
        let newest = self.bundles.newest();
        let at_ms = newest.map(|newest| newest.at_ms);
        let mut found = Vec::new();
        if let Some(since_ms) = since_ms.filter(|since| at_ms.is_none_or(|at| at < *since))
            && self.checks(Check::Fresh)
        {
            let topic = self.expect.topic.clone();
            found.push(Finding::Stale { topic, at_ms, since_ms });
        }
        let logs = newest.map_or(&[][..], |newest| &newest.logs);
        for witness in &self.expect.witnesses {
            let witness = name_of(witness);
            let lines = newest.map_or(&[][..], |newest| &newest.cosigned);
            let has = |log: &str| {
                lines.iter().any(|line| {
                    line.origin == log
                        && line.witness == witness
                        && cosigned_since.is_none_or(|since| line.time >= since)
                })
            };
            let without = logs.iter().map(|stand| &stand.origin).filter(|log| !has(log));
            let fault = |log: &String| {
                let (log, witness) = (log.clone(), witness.to_owned());
                Finding::NotCosigned { log, witness }
            };
            found.extend(without.map(fault).filter(|_| self.checks(Check::Fresh)));
        }
        found.into_iter().for_each(|finding| self.findings.add(finding));
    }

    fn signed_bundle(&mut self, record: &Record<'_>, at: &At) -> Option<(Bundle, [u8; 32])> {
        let envelope = record.value.ok_or("it has no value".to_owned());
        let envelope = envelope.and_then(|b| Envelope::from_bytes(b).map_err(|f| f.to_string()));
        let read =
            envelope.and_then(|envelope| match bundle::verify(&envelope, &self.expect.keys) {
                Ok(signed) => Ok((signed.predicate, signed.digest)),
                Err(_) if !self.checks(Check::Signature) => {
                    let said = crate::statement::unverified::<Bundle>(&envelope);
                    let digest = Sha256::digest(record.value.unwrap_or_default()).into();
                    said.map(|said| (said, digest)).map_err(|fault| fault.to_string())
                }
                Err(fault) => Err(fault.to_string()),
            });
        match read {
            Ok(read) => Some(read),
            Err(why) => {
                self.findings.add(Finding::Unsigned { at: at.clone(), why });
                None
            }
        }
    }

    /// Why a bundle does not follow the newest one.
    fn follows(&self, bundle: &Bundle) -> Option<Broken> {
        let newest = self.bundles.newest();
        let (number, digest) = newest.map_or((0, None), |n| (n.number, Some(&n.digest)));
        match bundle.number {
            next if next == number + 1 && bundle.previous.as_ref() == digest => None,
            next if next > number + 1 => Some(Broken::Gap),
            _ => Some(Broken::Forked),
        }
    }

    /// One log: its checkpoint, that it goes on, what witnesses said, and that it holds the manifest.
    fn part(&self, part: &Part, offset: i64) -> Result<(Stand, Vec<CosignedLine>), Broken> {
        let log = part.origin().to_owned();
        let note = self.checkpoint(part.checkpoint.as_bytes(), &log)?;
        if let Some(Stand { size: was, root, .. }) = self.stand(&log) {
            let (size, was) = (note.size, *was);
            if size < was {
                if self.checks(Check::LogGrows) {
                    return Err(Broken::RolledBack { log, size, was });
                }
            } else if !goes_on((was, *root), &note, &part.consistency)
                && self.checks(Check::LogForked)
            {
                return Err(Broken::LogForked { log, was });
            }
        }
        let mut lines = Vec::new();
        if let Some(cosigned) = &part.cosigned {
            let text = cosigned.checkpoint.as_bytes();
            let of = self.checkpoint(text, &log)?;
            let holds = goes_on((of.size, of.root), &note, &cosigned.consistency);
            if !holds && self.checks(Check::Cosigned) {
                return Err(Broken::CosignedForked { log, size: of.size });
            }
            for witness in &self.expect.witnesses {
                let said = witness::cosigned(text, witness);
                let said = said.map_err(|why| Broken::Checkpoint { log: log.clone(), why })?;
                lines.extend(said.map(|time| CosignedLine {
                    origin: log.clone(),
                    witness: name_of(witness).to_owned(),
                    size: of.size,
                    time,
                }));
            }
        }
        if let Some(Covered { id, index, inclusion }) = &part.manifest {
            let known = hex_array(id).and_then(|id| self.by_id.get(&id));
            let known = known.map(|index| &self.list[*index]).filter(|k| k.offset < offset);
            match known {
                None if self.checks(Check::BundleManifest) => {
                    return Err(Broken::ManifestGone { id: id.clone() });
                }
                Some(known)
                    if !holds_leaf(&note, known.leaf, *index, inclusion)
                        && self.checks(Check::InLog) =>
                {
                    return Err(Broken::NotInLog { log, id: id.clone() });
                }
                _ => {}
            }
        }
        Ok((Stand { origin: log, size: note.size, root: note.root }, lines))
    }

    /// Where a log stood in the newest bundle.
    fn stand(&self, log: &str) -> Option<&Stand> {
        self.bundles.newest()?.logs.iter().find(|stand| stand.origin == log)
    }

    /// With the log's key, signed by it.
    fn checkpoint(&self, text: &[u8], log: &str) -> Result<Note, Broken> {
        let key = self.expect.checkpoint.as_ref().filter(|_| self.checks(Check::Checkpoint));
        let key = key.map(|key| verifier_key(log, key));
        let note = note::parse(text, key.as_deref());
        let no = |why| Broken::Checkpoint { log: log.to_owned(), why };
        match note.map_err(no)? {
            note if note.origin == log => Ok(note),
            _ => Err(no("it is of another log")),
        }
    }
}

/// Of a witness's key.
fn name_of(witness: &str) -> &str {
    witness.split('+').next().unwrap_or_default()
}

/// Whether a bundle of this number, which does not follow, says nothing new.
fn why_ends(newest: Option<&Newest>, number: u64) -> bool {
    newest.is_some_and(|newest| number <= newest.number)
}

fn hashes(proof: &[String]) -> Option<Vec<[u8; 32]>> {
    let one = |hash: &String| BASE64.decode(hash.as_bytes()).ok()?.try_into().ok();
    (proof.len() <= PROOF_HASHES_MAX).then(|| proof.iter().map(one).collect()).flatten()
}

/// Whether a checkpoint goes on from an older one, by RFC 6962's consistency proof.
fn goes_on((size, root): (u64, [u8; 32]), to: &Note, proof: &[String]) -> bool {
    if size == to.size {
        return root == to.root && proof.is_empty();
    }
    if size == 0 {
        return proof.is_empty();
    }
    hashes(proof).is_some_and(|proof| to.goes_on_from(size, root, proof.concat()))
}

/// Whether a leaf is in a tree: RFC 9162, section 2.1.3.2.
fn holds_leaf(tree: &Note, leaf: [u8; 32], index: u64, proof: &[String]) -> bool {
    let Some(path) = hashes(proof) else { return false };
    // 1.
    if index >= tree.size {
        return false;
    }
    // 2., 3.
    let (mut at, mut last, mut root) = (index, tree.size - 1, leaf);
    let node = |left: [u8; 32], right: [u8; 32]| -> [u8; 32] {
        Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
    };
    // 4.
    for hash in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            root = node(hash, root);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            root = node(root, hash);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    // 5.
    last == 0 && root == tree.root
}
