//! Tampering by whoever holds the files, and the log's own key too: found by the public key and one old
//! checkpoint. `DOUANE_TAMPER=100000` for as many; `DOUANE_LEAVES=1000000` for a log of that size.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::time::Instant;

use super::*;
use crate::log::{Entry, Intent, Log, LogKeys, verifier_key};
use crate::signing::SigningKey;

const ORIGIN: &str = "example.com/p/shard-0";

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32]).unwrap()
}

fn count(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// A figure, aloud.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "figure: {text}");
}

/// A log that grows by two entries a transaction, of a history that `salt` names.
fn grown(home: &Path, name: &str, salt: u8, transactions: u64) -> Log {
    let keys = LogKeys::new(&[salt; 32], &[2; 32]);
    let mut log = Log::take_over(home, name, None, keys).unwrap();
    grow(&mut log, salt, transactions);
    log
}

fn grow(log: &mut Log, salt: u8, transactions: u64) {
    for seq in 0..transactions {
        let intent = Intent { seq, fingerprint: salt.to_string(), ..Intent::default() };
        let receipt = log.append(&Entry::Intent(intent)).unwrap();
        log.append(&Entry::Committed { of: receipt.index }).unwrap();
    }
    log.sync().unwrap();
}

/// All files of a directory, by their path in it.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![dir.to_path_buf()]);
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false if path.ends_with("publish.lock") => {}
                false => {
                    let bytes = fs::read(&path).unwrap();
                    found.insert(path.strip_prefix(dir).unwrap().to_path_buf(), bytes);
                }
            }
        }
    }
    found
}

fn put(dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    let _ = fs::remove_dir_all(dir);
    for (path, bytes) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Numbers that follow from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound.max(1) as u64).unwrap()
    }
}

/// The log as it is, what an attacker can put in its place as a whole, and what an auditor keeps.
struct Evidence {
    home: tempfile::TempDir,
    now: BTreeMap<PathBuf, Vec<u8>>,
    /// Bytes of the journal that the checkpoint covers: what comes after may be a torn write.
    covered: usize,
    /// States before the auditor's checkpoint, each sound by itself.
    older: Vec<BTreeMap<PathBuf, Vec<u8>>>,
    /// Other histories, signed by the log's own key.
    forks: Vec<BTreeMap<PathBuf, Vec<u8>>>,
    /// Another log of the same place.
    neighbour: BTreeMap<PathBuf, Vec<u8>>,
    expect: Expect,
}

const JOURNALS: &str = "journals";

impl Evidence {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("shard-0");
        let sign = |log: &mut Log| log.publish(u64::MAX, &key(1), ORIGIN).unwrap();
        let mut log = grown(home.path(), "shard-0", 3, 20);
        let mut older = Vec::new();
        for _ in 0..3 {
            sign(&mut log);
            older.push(files(&dir));
            grow(&mut log, 3, 20);
        }
        sign(&mut log);
        let old = fs::read(dir.join("tlog/checkpoint")).unwrap();
        grow(&mut log, 3, 70);
        let last = Intent { seq: 999, ..Intent::default() };
        let receipt = log.append(&Entry::Intent(last)).unwrap();
        log.sync().unwrap();
        let journals = files(&dir.join(JOURNALS));
        let covered = journals.values().map(Vec::len).max().unwrap();
        log.append(&Entry::Committed { of: receipt.index }).unwrap();
        log.sync().unwrap();
        sign(&mut log);
        drop(log);
        let now = files(&dir);
        let mut forks = Vec::new();
        for salt in 4..7 {
            let other = tempfile::tempdir().unwrap();
            let mut fork = grown(other.path(), "shard-0", salt, 151);
            sign(&mut fork);
            forks.push(files(&other.path().join("shard-0")));
        }
        let other = tempfile::tempdir().unwrap();
        let mut neighbour = grown(other.path(), "shard-1", 8, 151);
        neighbour.publish(u64::MAX, &key(1), "example.com/p/shard-1").unwrap();
        let neighbour = files(&other.path().join("shard-1"));
        let expect = Expect {
            checkpoint_key: Some(verifier_key(ORIGIN, &key(1).verifying_key())),
            old_checkpoints: vec![old],
            ..Expect::default()
        };
        Self { home, now, covered, older, forks, neighbour, expect }
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("shard-0")
    }

    fn found(&self) -> BTreeSet<Finding> {
        log(&self.dir(), &self.expect).unwrap().findings
    }
}

/// One change of one file, in words.
fn change(bytes: &mut Vec<u8>, within: usize, draw: &mut Draw) -> &'static str {
    let at = draw.below(within);
    match draw.below(5) {
        0 => {
            bytes[at] ^= 1 << draw.below(8);
            "flip"
        }
        1 => {
            let new: Vec<u8> = (0..=draw.below(40)).map(|_| draw.below(256) as u8).collect();
            drop(bytes.splice(at..at, new));
            "insert"
        }
        2 => {
            let end = (at + 1 + draw.below(40)).min(bytes.len());
            drop(bytes.drain(at..end));
            "delete"
        }
        3 => {
            let long = 1 + draw.below(32);
            let other = draw.below(within);
            let (low, high) = (at.min(other), at.max(other));
            let long = long.min(high - low).min(within - high);
            for n in 0..long {
                bytes.swap(low + n, high + n);
            }
            "swap"
        }
        _ => {
            bytes.truncate(at);
            "truncate"
        }
    }
}

/// Which check found it: removed, it would have to be found by another.
fn check_of(finding: &Finding) -> &'static str {
    match finding {
        Finding::Damaged { .. } => "damaged frames",
        Finding::Chain { .. } => "chain of journals",
        Finding::Entry { .. } => "entries",
        Finding::Disagrees { what: "old checkpoint", .. } => "old checkpoint",
        Finding::Disagrees { .. } => "root of the checkpoint",
        Finding::Checkpoint { .. } => "signature of the checkpoint",
        Finding::Tile { .. } => "tiles",
        Finding::Manifest { .. } | Finding::Witness { .. } => "others",
    }
}

#[test]
fn tampering_is_found_by_the_key_and_one_old_checkpoint() {
    let evidence = Evidence::new();
    assert_eq!(evidence.found(), BTreeSet::new(), "untouched, it holds");
    let wanted = count("DOUANE_TAMPER", 250);
    let paths: Vec<&PathBuf> = evidence.now.keys().collect();
    let mut draw = Draw(7);
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    // Mutations that only this check found.
    let mut alone: BTreeMap<&str, u64> = BTreeMap::new();
    // Checkpoints by another key that a verifier without the key takes for good.
    let mut unsigned_missed = 0;
    let (mut tried, mut missed) = (0, Vec::new());
    while tried < wanted {
        let (what, path) = match draw.below(20) {
            0 => ("roll back", None),
            1 => ("fork", None),
            2 => ("wrong key", None),
            3 => ("swapped logs", None),
            _ => ("", Some(paths[draw.below(paths.len())])),
        };
        let what = match (what, path) {
            (_, Some(path)) => {
                let mut bytes = evidence.now[path].clone();
                let journal = path.starts_with(JOURNALS) && bytes.len() >= evidence.covered;
                let within = if journal { evidence.covered } else { bytes.len() };
                let what = change(&mut bytes, within, &mut draw);
                // A swap of equal bytes is none.
                if bytes == evidence.now[path] {
                    continue;
                }
                fs::write(evidence.dir().join(path), bytes).unwrap();
                what
            }
            ("wrong key", _) => {
                let note = evidence.dir().join("tlog/checkpoint");
                let text = String::from_utf8(fs::read(&note).unwrap()).unwrap();
                let other = key(20 + draw.below(200) as u8);
                let (body, _) = text.split_once("\n\n").unwrap();
                let signature = other.sign(format!("{body}\n").as_bytes());
                let line = text.lines().last().unwrap().rsplit_once(' ').unwrap();
                let id = data_encoding::BASE64.decode(line.1.as_bytes()).unwrap();
                let bytes = [&id[..4], &signature].concat();
                let line = format!("{} {}\n", line.0, data_encoding::BASE64.encode(&bytes));
                fs::write(note, format!("{body}\n\n{line}")).unwrap();
                what
            }
            _ => {
                let states = match what {
                    "roll back" => &evidence.older,
                    "fork" => &evidence.forks,
                    _ => std::slice::from_ref(&evidence.neighbour),
                };
                put(&evidence.dir(), &states[draw.below(states.len())]);
                what
            }
        };
        tried += 1;
        *kinds.entry(what).or_default() += 1;
        let found = evidence.found();
        if what == "wrong key" {
            let unsigned = Expect { checkpoint_key: None, ..evidence.expect.clone() };
            let report = log(&evidence.dir(), &unsigned).unwrap();
            unsigned_missed += u64::from(report.holds());
        }
        let checks: BTreeSet<&str> = found.iter().map(check_of).collect();
        match (checks.len(), checks.first()) {
            (0, _) => missed.push(format!("{tried}: {what} of {path:?}")),
            (1, Some(only)) => *alone.entry(only).or_default() += 1,
            _ => {}
        }
        match path {
            Some(path) => fs::write(evidence.dir().join(path), &evidence.now[path]).unwrap(),
            None => put(&evidence.dir(), &evidence.now),
        }
    }
    say(&format!("tamper = {tried} mutations {kinds:?}, by one check alone {alone:?}"));
    assert!(missed.is_empty(), "{} of {tried} were not found: {missed:?}", missed.len());
    let every = [
        "flip",
        "insert",
        "delete",
        "swap",
        "truncate",
        "roll back",
        "fork",
        "wrong key",
        "swapped logs",
    ];
    assert!(every.iter().all(|kind| kinds.get(kind).is_some_and(|n| *n > 3)), "{kinds:?}");
    // Control: a verifier without one of these checks misses something.
    assert!(unsigned_missed > 0);
    for check in ["root of the checkpoint", "old checkpoint", "tiles"] {
        assert!(alone.contains_key(check), "without `{check}` nothing is missed: {alone:?}");
    }
}

#[test]
fn a_long_log_is_verified_whole() {
    let leaves = count("DOUANE_LEAVES", 3_000);
    let home = tempfile::tempdir().unwrap();
    let mut log = grown(home.path(), "shard-0", 3, leaves / 2);
    log.publish(u64::MAX, &key(1), ORIGIN).unwrap();
    drop(log);
    let expect = Expect {
        checkpoint_key: Some(verifier_key(ORIGIN, &key(1).verifying_key())),
        ..Expect::default()
    };
    let started = Instant::now();
    let report = super::log(&home.path().join("shard-0"), &expect).unwrap();
    let took = started.elapsed();
    assert!(report.holds() && report.entries == leaves / 2 * 2, "{:?}", report.findings);
    say(&format!("leaves verified = {} in {:.2} s", report.entries, took.as_secs_f64()));
}
