//! Checks a log directory from outside: the auditor's side.
//!
//! Shares no code with the writer: its own frame parser, its own note parser, `ct-merkle` with
//! `sha2` for roots and consistency, untyped JSON for leaves. One bug is not on both sides.
//!
//! A log that is in use moves on while it is read. So what claims something is read before what must
//! bear it out, each once: cosigned checkpoints, the published one, the list of tiles, the list of
//! journals, each journal as long as it was when it was opened, what the tiles hold. The answer is about
//! the moment of the checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use serde_json::Value;
use sha2::Sha256;

use crate::log::Head;
use crate::signing::VerifyingKey;

mod account;
mod compare;
mod files;
mod frames;
mod leaves;
pub(crate) mod note;
mod tiles;

use compare::{
    compare, cosigned, kept, manifests, old_checkpoints, published, published_meanwhile,
    published_note, wanted_manifests,
};
use files::Folder;
pub use files::{Files, Memory};
use frames::{Journal, JournalHead};
use leaves::Leaves;
pub(crate) use tiles::number_path;

/// What the caller knows from elsewhere. The less it knows, the less is proved: without an old
/// checkpoint or a position, a log that was cut back or forked as a whole looks sound.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// `origin+hex8+base64`: who signs checkpoints. Without it signatures are not checked, and the
    /// report says so.
    pub checkpoint_key: Option<String>,
    /// What the committed position in the target names.
    pub head: Option<Head>,
    /// Checkpoint files kept from earlier: the log must still contain what they say.
    pub old_checkpoints: Vec<Vec<u8>>,
    /// Manifest envelopes of transactions of this log.
    pub manifests: Vec<Vec<u8>>,
    /// Who signs manifests.
    pub manifest_keys: Vec<VerifyingKey>,
    /// `name+hex8+base64(0x04 || key)`: who must have cosigned a checkpoint of the log, the published
    /// one, one of `tlog/cosigned` or an old one.
    pub witnesses: Vec<String>,
    /// Seconds since the epoch: each witness must have cosigned at this instant or later.
    pub cosigned_since: Option<u64>,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Finding {
    /// Bytes that were durable have changed.
    #[error("journal {journal}: damaged at byte {offset}")]
    Damaged { journal: String, offset: u64 },
    /// A header that is not of this log, or whose predecessors are not here.
    #[error("journal {journal}: {why}")]
    Chain { journal: String, why: &'static str },
    /// A leaf that is not canonical or contradicts the ones before it.
    #[error("entry {index}: {why}")]
    Entry { index: u64, why: &'static str },
    /// The position or an old checkpoint says more or other than the log.
    #[error("{what}: {why}")]
    Disagrees { what: &'static str, why: &'static str },
    /// The checkpoint file, its signature, size or root.
    #[error("checkpoint: {why}")]
    Checkpoint { why: &'static str },
    /// A published file that is missing, changed or should not be there.
    #[error("{path}: {why}")]
    Tile { path: String, why: &'static str },
    /// No checkpoint of the log, or none that holds, is cosigned by somebody who must have.
    #[error("witness {name}: {why}")]
    Witness { name: String, why: &'static str },
    /// A manifest that is not signed, or not of this log.
    #[error("manifest {number}: {why}")]
    Manifest { number: usize, why: &'static str },
}

/// What was found in one log. It holds if `findings` is empty.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The log's directory.
    pub dir: PathBuf,
    /// What does not hold; sorted.
    pub findings: BTreeSet<Finding>,
    /// Entries in the chain.
    pub entries: u64,
    /// Root over them.
    pub root: [u8; 32],
    /// INTENT entries.
    pub intents: u64,
    /// COMMITTED entries.
    pub committed: u64,
    /// VOID entries.
    pub void: u64,
    /// The last intent, if its outcome is not written yet: running, or crashed.
    pub open: Option<u64>,
    /// Journals in the chain, oldest first.
    pub journals: Vec<String>,
    /// Journals beside it: of holders that never committed.
    pub aside: Vec<String>,
    /// Bytes of torn tails by journal: writes that were never acknowledged.
    pub torn: BTreeMap<String, u64>,
    /// Size of the published checkpoint.
    pub checkpoint: Option<u64>,
    /// Its origin: which log it says it is.
    pub origin: Option<String>,
    /// Whether the checkpoint's signature was checked.
    pub signature_checked: bool,
    /// Manifests that hold.
    pub manifests: usize,
    /// The newest checkpoint that each witness cosigned.
    pub cosigned: Vec<Cosigned>,
}

/// What a witness cosigned last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    pub witness: String,
    pub size: u64,
    /// When, by the witness's clock: seconds since the epoch.
    pub time: u64,
}

impl Report {
    /// Whether everything that was checked holds.
    pub fn holds(&self) -> bool {
        self.findings.is_empty()
    }

    /// Something was committed, and no checkpoint signs it. So it is for a moment where a process was killed right after
    /// its first transaction, and where journals were copied from a topic; so it is, too, where `tlog/` was taken away.
    pub fn is_unsigned(&self) -> bool {
        self.committed > 0 && self.checkpoint.is_none()
    }
}

/// Checks every log below a directory (a log is a directory with `journals/` in it).
///
/// # Errors
/// What the operating system says about files that cannot be read.
pub fn home(home: &Path, expect: &Expect) -> io::Result<Vec<Report>> {
    home_with(home, expect, &|_| expect.checkpoint_key.clone())
}

/// [`home`] with each log's own checkpoint key by its directory. Manifests and old checkpoints are
/// of one of the logs each: one that is of none is a finding of the first.
///
/// # Errors
/// What the operating system says about files that cannot be read.
pub fn home_with(
    home: &Path,
    expect: &Expect,
    key_of: &dyn Fn(&Path) -> Option<String>,
) -> io::Result<Vec<Report>> {
    let mut strangers = expect.old_checkpoints.clone();
    let mut unplaced: Option<BTreeSet<usize>> = None;
    let mut reports = Vec::new();
    for dir in logs(home)? {
        let key = key_of(&dir);
        let ours = |note: &Vec<u8>| compare::is_of(note, &dir, key.as_deref());
        let (mine, others) = strangers.into_iter().partition(ours);
        strangers = others;
        let expect = Expect { checkpoint_key: key, old_checkpoints: mine, ..expect.clone() };
        let (report, missing) = check(&dir, &expect)?;
        unplaced = Some(match unplaced {
            None => missing,
            Some(before) => before.intersection(&missing).copied().collect(),
        });
        reports.push(report);
    }
    if let Some(first) = reports.first_mut() {
        first.findings.extend(compare::unplaced(&unplaced.unwrap_or_default()));
        if !strangers.is_empty() {
            let (what, why) = ("old checkpoint", "it is of no log here");
            first.findings.insert(Finding::Disagrees { what, why });
        }
    }
    Ok(reports)
}

fn logs(home: &Path) -> io::Result<Vec<PathBuf>> {
    const DEPTH_MAX: usize = 3;
    let mut logs = Vec::new();
    let mut todo = vec![(home.to_path_buf(), 0)];
    while let Some((dir, depth)) = todo.pop() {
        if dir.join("journals").is_dir() {
            logs.push(dir);
        } else if depth < DEPTH_MAX {
            for entry in std::fs::read_dir(&dir)? {
                let path = entry?.path();
                if path.is_dir() {
                    todo.push((path, depth + 1));
                }
            }
        }
    }
    logs.sort();
    Ok(logs)
}

/// Checks one log directory.
///
/// # Errors
/// What the operating system says about files that cannot be read. What is wrong with the log is
/// in the report.
pub fn log(dir: &Path, expect: &Expect) -> io::Result<Report> {
    let (mut report, unplaced) = check(dir, expect)?;
    report.findings.extend(compare::unplaced(&unplaced));
    Ok(report)
}

/// As [`log`], of a log of that name whose files lie anywhere.
///
/// # Errors
/// As [`log`].
pub fn files(name: &str, files: &dyn Files, expect: &Expect) -> io::Result<Report> {
    let (mut report, unplaced) = check_files(Path::new(name), name, files, expect)?;
    report.findings.extend(compare::unplaced(&unplaced));
    Ok(report)
}

/// The report, and the manifests whose leaf is not in this log.
fn check(dir: &Path, expect: &Expect) -> io::Result<(Report, BTreeSet<usize>)> {
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_files(dir, name, &Folder(dir), expect)
}

fn check_files(
    dir: &Path,
    name: &str,
    files: &dyn Files,
    expect: &Expect,
) -> io::Result<(Report, BTreeSet<usize>)> {
    let checked = check_once(dir, name, files, expect)?;
    // A log is born a moment before its first publication.
    match expect.checkpoint_key.is_some() && checked.0.is_unsigned() && published_meanwhile(files)?
    {
        true => check_once(dir, name, files, expect),
        false => Ok(checked),
    }
}

fn check_once(
    dir: &Path,
    name: &str,
    files: &dyn Files,
    expect: &Expect,
) -> io::Result<(Report, BTreeSet<usize>)> {
    let mut report = Report { dir: dir.to_path_buf(), ..Report::default() };
    let mut old = old_checkpoints(expect, &mut report);
    let kept = kept(files, expect)?;
    let note = published_note(files, expect)?;
    let published = published(files, note.as_deref(), expect, &mut report);
    old.extend(cosigned(kept, note, expect, &mut report));
    let tiles = tiles::lying(files)?;
    let heads = headers(files, name, &mut report)?;
    let chain = chain(&heads, expect, &mut report);
    let wanted = wanted_manifests(expect, &mut report);

    let mut leaves = Leaves::new(wanted.keys().copied().collect());
    let mut roots: BTreeMap<u64, [u8; 32]> = BTreeMap::new();
    let mut tree = MemoryBackedTree::<Sha256, leaves::Fed>::new();
    let sizes: BTreeSet<u64> = (published.iter().map(|note| note.size))
        .chain(old.iter().map(|note| note.size))
        .chain(expect.head.iter().map(|head| head.size))
        .collect();
    roots.insert(0, root(&tree));
    for (at, head) in chain.iter().enumerate() {
        let next = chain.get(at + 1).and_then(|next| next.predecessor.as_ref());
        report.journals.push(head.journal.clone());
        if let Some(from) = &head.predecessor
            && (from.size != tree.len() || from.root != root(&tree))
        {
            let why = "it goes on from other entries than are here";
            report.findings.insert(Finding::Chain { journal: head.journal.clone(), why });
        }
        let mut journal = Journal::open(files, &head.journal)?;
        journal.next()?;
        while next.is_none_or(|from| tree.len() < from.size) {
            let Some(payload) = journal.next()? else {
                break;
            };
            leaves.see(tree.len(), &payload, &mut report);
            tree.push(leaves::Fed::new(payload));
            if sizes.contains(&tree.len()) {
                roots.insert(tree.len(), root(&tree));
            }
        }
        if let Some(from) = next.filter(|from| from.size != tree.len()) {
            let why = match tree.len() < from.size {
                true => "it is shorter than its successor says",
                false => "its successor goes on before its start",
            };
            report.findings.insert(Finding::Chain { journal: head.journal.clone(), why });
        }
        drain(&mut journal, tree.len(), next.map(|from| from.size), &mut report)?;
    }
    report.entries = tree.len();
    report.root = root(&tree);
    report.open = leaves.open();
    for head in heads.values().filter(|head| !report.journals.contains(&head.journal)) {
        report.aside.push(head.journal.clone());
    }
    for id in report.aside.clone() {
        let start = heads.get(&id).map_or(0, JournalHead::start);
        let mut journal = Journal::open(files, &id)?;
        journal.next()?;
        drain(&mut journal, start, Some(start), &mut report)?;
    }
    compare(expect, &published, &old, &roots, &tree, &mut report);
    if let Some(note) = published.as_ref().filter(|note| note.size <= tree.len()) {
        tiles::check(files, tiles, note.size, leaves.hashes(), &mut report)?;
    }
    let unplaced = manifests(&wanted, &leaves, &mut report);
    Ok((report, unplaced))
}

fn root(tree: &MemoryBackedTree<Sha256, leaves::Fed>) -> [u8; 32] {
    (*tree.root().as_bytes()).into()
}

fn headers(
    files: &dyn Files,
    name: &str,
    report: &mut Report,
) -> io::Result<BTreeMap<String, JournalHead>> {
    let mut heads = BTreeMap::new();
    for path in files.list("journals")? {
        let file = path.strip_prefix("journals/").unwrap_or(&path);
        // A name that is no UTF-8 was made readable, and is none of a journal.
        let id = file.strip_suffix(".journal").filter(|id| !id.contains('\u{fffd}'));
        let Some(id) = id else {
            let journal = file.to_owned();
            report.findings.insert(Finding::Chain { journal, why: "not a journal file" });
            continue;
        };
        let mut journal = match Journal::open(files, id) {
            // Never born, and taken away by its holder meanwhile. One that is needed is missed below.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let first = journal.next()?;
        let finding = match first.as_deref().map(|bytes| JournalHead::parse(bytes, id, name)) {
            // Never born: a crash while it was made. Damage is reported as such.
            None => None,
            Some(Some(head)) => {
                heads.insert(id.to_owned(), head);
                None
            }
            Some(None) => Some("the header is not of this journal and log"),
        };
        journal.report_end(report);
        let journal = id.to_owned();
        report.findings.extend(finding.map(|why| Finding::Chain { journal, why }));
    }
    Ok(heads)
}

/// Reads a journal to its end beyond the chain: nothing there may claim a commit of its own.
fn drain(
    journal: &mut Journal<'_>,
    mut index: u64,
    shared: Option<u64>,
    report: &mut Report,
) -> io::Result<()> {
    while let Some(payload) = journal.next()? {
        let value: Option<Value> = serde_json::from_slice(&payload).ok();
        let of = value.as_ref().and_then(leaves::committed_of);
        if of.is_some_and(|of| shared.is_none_or(|shared| of >= shared)) {
            let why = "COMMITTED beside the chain: the target was rolled back";
            report.findings.insert(Finding::Entry { index, why });
        }
        index += 1;
    }
    journal.report_end(report);
    Ok(())
}

/// The journals from the first to the one that counts.
fn chain(
    heads: &BTreeMap<String, JournalHead>,
    expect: &Expect,
    report: &mut Report,
) -> Vec<JournalHead> {
    let named = expect.head.map(|head| head.journal.to_string());
    let newest = || {
        let newest = heads.values().max_by_key(|h| (h.generation, h.start(), h.journal.clone()));
        newest.map(|head| head.journal.clone())
    };
    let mut next = named.or_else(newest);
    let mut chain: Vec<JournalHead> = Vec::new();
    while let Some(id) = next {
        let Some(head) = heads.get(&id) else {
            let why = "it is missing, and a position or a later journal names it";
            report.findings.insert(Finding::Chain { journal: id, why });
            break;
        };
        if chain.last().is_some_and(|later| later.generation <= head.generation) {
            let why = "generations do not rise";
            report.findings.insert(Finding::Chain { journal: id, why });
            break;
        }
        next = head.predecessor.as_ref().map(|from| from.journal.clone());
        chain.push(head.clone());
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tamper;
#[cfg(test)]
mod tests;
