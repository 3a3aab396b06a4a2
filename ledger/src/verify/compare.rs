//! The log against what is known from elsewhere: the published checkpoint, older ones, the position,
//! manifests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;

use super::leaves::{self, Leaves};
use super::{Cosigned, Expect, Files, Finding, Report, note};
use crate::dsse::Envelope;
use crate::manifest;
use crate::witness;

/// Fifty milliseconds each: a first publication makes a few files durable.
const FIRST_CHECKPOINT_TRIES: usize = 40;
const NOT_COSIGNED: &str = "no checkpoint of this log is cosigned by it";

/// The published checkpoint's bytes. Tiles come before the first one: where they lie alone, somebody
/// may be about to publish it.
pub(super) fn published_note(files: &dyn Files, expect: &Expect) -> io::Result<Option<Vec<u8>>> {
    for _ in 0..FIRST_CHECKPOINT_TRIES {
        let note = files.find("tlog/checkpoint")?;
        let alone = note.is_none() && expect.checkpoint_key.is_some() && has_tiles(files);
        if !alone || !files.wait() {
            return Ok(note);
        }
    }
    files.find("tlog/checkpoint")
}

/// Whether there is a checkpoint now, where none was.
pub(super) fn published_meanwhile(files: &dyn Files) -> io::Result<bool> {
    for _ in 0..FIRST_CHECKPOINT_TRIES {
        if files.find("tlog/checkpoint")?.is_some() {
            return Ok(true);
        }
        if !files.wait() {
            break;
        }
    }
    Ok(false)
}

fn has_tiles(files: &dyn Files) -> bool {
    files.list("tlog/tile").is_ok()
}

pub(super) fn published(
    files: &dyn Files,
    note: Option<&[u8]>,
    expect: &Expect,
    report: &mut Report,
) -> Option<note::Note> {
    let Some(bytes) = note else {
        if expect.checkpoint_key.is_some() && has_tiles(files) {
            let why = "tiles without a checkpoint";
            report.findings.insert(Finding::Checkpoint { why });
        }
        return None;
    };
    match note::parse(bytes, expect.checkpoint_key.as_deref()) {
        Ok(note) => {
            report.checkpoint = Some(note.size);
            report.origin = Some(note.origin.clone());
            report.signature_checked = expect.checkpoint_key.is_some();
            Some(note)
        }
        Err(why) => {
            report.findings.insert(Finding::Checkpoint { why });
            None
        }
    }
}

pub(super) fn old_checkpoints(expect: &Expect, report: &mut Report) -> Vec<note::Note> {
    let parse = |bytes: &Vec<u8>| note::parse(bytes, expect.checkpoint_key.as_deref());
    let mut old = Vec::new();
    for parsed in expect.old_checkpoints.iter().map(parse) {
        match parsed {
            Ok(note) => old.push(note),
            Err(why) => {
                report.findings.insert(Finding::Disagrees { what: "old checkpoint", why });
            }
        }
    }
    old
}

/// The checkpoints that were cosigned, as they lie beside the published one. Read before it: each is
/// one that was published.
pub(super) fn kept(files: &dyn Files, expect: &Expect) -> io::Result<Vec<Vec<u8>>> {
    if expect.witnesses.is_empty() {
        return Ok(Vec::new());
    }
    match files.list(witness::COSIGNED) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed?.iter().map(|path| files.read(path)).collect(),
    }
}

/// Every checkpoint that the witnesses cosigned; what nobody cosigned, or nobody lately, is a finding.
pub(super) fn cosigned(
    mut kept: Vec<Vec<u8>>,
    published: Option<Vec<u8>>,
    expect: &Expect,
    report: &mut Report,
) -> Vec<note::Note> {
    kept.extend(expect.old_checkpoints.iter().cloned());
    kept.extend(published);
    let mut notes = Vec::new();
    for key in &expect.witnesses {
        let name = key.split('+').next().unwrap_or_default().to_owned();
        let mut newest: Option<(note::Note, u64)> = None;
        let mut why = Some(NOT_COSIGNED);
        for file in &kept {
            match witness::cosigned(file, key) {
                Ok(None) => {}
                Err(wrong) => why = Some(wrong),
                Ok(Some(time)) => match note::parse(file, expect.checkpoint_key.as_deref()) {
                    Ok(note) => {
                        let before = newest.as_ref().map(|(n, at)| (n.size, *at));
                        if before.is_none_or(|before| before < (note.size, time)) {
                            newest = Some((note.clone(), time));
                        }
                        // The log goes on from each of them, not from the newest alone.
                        notes.push(note);
                    }
                    Err(wrong) => why = Some(wrong),
                },
            }
        }
        if let Some((note, time)) = newest {
            report.cosigned.push(Cosigned { witness: name.clone(), size: note.size, time });
            why = why.filter(|why| *why != NOT_COSIGNED);
            let late = expect.cosigned_since.is_some_and(|since| time < since);
            why = why.or(late.then_some("what it cosigned last is older than was asked for"));
        }
        report.findings.extend(why.map(|why| Finding::Witness { name, why }));
    }
    notes
}

/// The log against the position, the checkpoint and what was seen of it earlier.
pub(super) fn compare(
    expect: &Expect,
    published: &Option<note::Note>,
    old: &[note::Note],
    roots: &BTreeMap<u64, [u8; 32]>,
    tree: &MemoryBackedTree<Sha256, leaves::Fed>,
    report: &mut Report,
) {
    let size = tree.len();
    let same = |at: u64, root: &[u8; 32]| match roots.get(&at) {
        _ if at > size => Some("it covers more entries than are here"),
        Some(found) if found == root => None,
        _ => Some("its root differs"),
    };
    let mut disagree = |what, why: Option<&'static str>| {
        report.findings.extend(why.map(|why| Finding::Disagrees { what, why }));
    };
    if let Some(head) = &expect.head {
        disagree("position", same(head.size, &head.root));
    }
    if let Some(note) = published {
        disagree("checkpoint", same(note.size, &note.root));
    }
    for note in old {
        let shrunk = published.as_ref().is_none_or(|now| now.size < note.size);
        disagree("old checkpoint", same(note.size, &note.root));
        disagree("old checkpoint", shrunk.then_some("the published checkpoint is smaller"));
        let consistent = leaves::consistent(tree, note.size, note.root);
        disagree("old checkpoint", (!consistent).then_some("no consistency proof"));
    }
}

/// Verified manifests by the leaf hash that they name.
pub(super) fn wanted_manifests(
    expect: &Expect,
    report: &mut Report,
) -> HashMap<[u8; 32], (usize, manifest::Manifest)> {
    let mut wanted = HashMap::new();
    for (number, bytes) in expect.manifests.iter().enumerate() {
        let signed = Envelope::from_bytes(bytes)
            .ok()
            .and_then(|envelope| manifest::verify(&envelope, &expect.manifest_keys).ok());
        let why = match signed {
            None => Some("it is not signed by an expected key, or malformed"),
            Some(signed) => {
                let leaf = crate::canonical::hex_array(&signed.predicate.leaf);
                let before = wanted.insert(leaf.unwrap_or_default(), (number, signed.predicate));
                before.map(|_| "another manifest names the same leaf")
            }
        };
        report.findings.extend(why.map(|why| Finding::Manifest { number, why }));
    }
    wanted
}

/// Compares each manifest with its intent; gives back those whose leaf is not here.
pub(super) fn manifests(
    wanted: &HashMap<[u8; 32], (usize, manifest::Manifest)>,
    leaves: &Leaves,
    report: &mut Report,
) -> BTreeSet<usize> {
    let mut unplaced = BTreeSet::new();
    for (leaf, (number, manifest)) in wanted {
        let why = match leaves.intent(leaf) {
            None => {
                unplaced.insert(*number);
                continue;
            }
            Some((index, _)) if leaves.is_void(index) => Some("its intent is void"),
            Some((_, intent)) => leaves::differs(manifest, intent),
        };
        report.manifests += usize::from(why.is_none());
        report.findings.extend(why.map(|why| Finding::Manifest { number: *number, why }));
    }
    unplaced
}

pub(super) fn unplaced(numbers: &BTreeSet<usize>) -> impl Iterator<Item = Finding> {
    let why = "its leaf is not an intent of any log here";
    numbers.iter().map(move |number| Finding::Manifest { number: *number, why })
}

/// Whether a checkpoint is of the log in this directory, by its origin: that of the key, or of what
/// is published there. Its signature is checked later.
pub(super) fn is_of(note: &[u8], dir: &Path, key: Option<&str>) -> bool {
    let published = std::fs::read(dir.join("tlog/checkpoint")).unwrap_or_default();
    let first = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').next().map(<[u8]>::to_vec);
    let origin = match key.and_then(|key| key.split_once('+')) {
        Some((name, _)) => Some(name.as_bytes().to_vec()),
        None => first(&published),
    };
    origin.is_some() && first(note) == origin
}
