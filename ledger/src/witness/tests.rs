//! A witness sees one history. Whoever holds the log's own key is the attacker.

use std::fs;

use super::*;
use crate::log::{Entry, Intent, Log, LogKeys, verifier_key};
use crate::verify::{self, Expect, Finding};

const ORIGIN: &str = "example.com/p/shard-0";
const NOW: u64 = 1_700_000_000;

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32]).unwrap()
}

fn vkey() -> String {
    verifier_key(ORIGIN, &key(1).verifying_key())
}

/// A log of entries that differ by `salt`, published at each of these sizes; a folder a size.
struct History {
    home: tempfile::TempDir,
    log: Log,
    entries: u64,
    salt: u8,
}

impl History {
    fn new(salt: u8) -> Self {
        let home = tempfile::tempdir().unwrap();
        let keys = LogKeys::new(&[salt; 32], &[2; 32]);
        let log = Log::take_over(home.path(), "shard-0", None, keys).unwrap();
        Self { home, log, entries: 0, salt }
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("shard-0")
    }

    /// Two entries at a time.
    fn grow(&mut self, to: u64) {
        while self.entries < to {
            let fingerprint = format!("{}", self.salt);
            let intent = Intent { seq: self.entries, fingerprint, ..Intent::default() };
            let receipt = self.log.append(&Entry::Intent(intent)).unwrap();
            self.log.append(&Entry::Committed { of: receipt.index }).unwrap();
            self.entries += 2;
        }
        self.log.sync().unwrap();
        self.log.publish(u64::MAX, &key(1), ORIGIN).unwrap();
    }

    /// What the checkpoint covers: not the last outcome, which the next transaction makes sure.
    fn size(&self) -> u64 {
        note::parse(&fs::read(self.dir().join("tlog/checkpoint")).unwrap(), None).unwrap().size
    }

    fn request(&self, since: u64) -> Vec<u8> {
        request(&self.dir(), since).unwrap()
    }
}

/// A checkpoint as the holder of a key can make any.
fn signed(size: u64, root: &[u8; 32], by: &SigningKey) -> Vec<u8> {
    let body = format!("{ORIGIN}\n{size}\n{}\n", BASE64.encode(root));
    let public = [&[1_u8], by.verifying_key().0.as_slice()].concat();
    let bytes = [key_id(ORIGIN, &public).as_slice(), &by.sign(body.as_bytes())].concat();
    format!("{body}\n\u{2014} {ORIGIN} {}\n", BASE64.encode(&bytes)).into_bytes()
}

fn witness(dir: &Path) -> Witness {
    Witness::new("witness.example", key(9), dir).unwrap()
}

fn remembered(dir: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .map(|p| fs::read(p).unwrap())
        .collect()
}

#[test]
fn what_goes_on_is_cosigned_and_verify_asks_for_it() {
    let state = tempfile::tempdir().unwrap();
    witness(state.path()).trust(&vkey()).unwrap();
    let mut history = History::new(3);
    let mut size = 0;
    for to in [2, 10, 256, 258, 700] {
        history.grow(to);
        let request = history.request(size);
        // A new process each time: only the folder remembers.
        let line = witness(state.path()).cosign(&request, NOW + to).unwrap();
        attach(&history.dir(), &request, &line).unwrap();
        size = history.size();
        let cosigned_file = fs::read(history.dir().join("tlog/cosigned")).unwrap();
        let key = witness(state.path()).verifier_key();
        assert_eq!(cosigned(&cosigned_file, &key), Ok(Some(NOW + to)));
        let expect =
            Expect { checkpoint_key: Some(vkey()), witnesses: vec![key], ..Expect::default() };
        let report = verify::log(&history.dir(), &expect).unwrap();
        assert!(report.holds(), "{:?}", report.findings);
        assert_eq!((report.cosigned[0].size, report.cosigned[0].time), (size, NOW + to));
    }
    // The same once more, as after a crash before the line went out.
    let again = witness(state.path()).cosign(&history.request(size), NOW);
    assert!(again.is_ok());
    let late = witness(state.path()).cosign(&history.request(10), NOW);
    assert!(matches!(late, Err(Refused::Conflict { size: 699 })));
}

#[test]
fn verify_bad_cosignatures_are_findings() {
    let state = tempfile::tempdir().unwrap();
    witness(state.path()).trust(&vkey()).unwrap();
    let mut history = History::new(3);
    history.grow(20);
    let found = |history: &History, witnesses: Vec<String>| {
        let expect = Expect { checkpoint_key: Some(vkey()), witnesses, ..Expect::default() };
        let report = verify::log(&history.dir(), &expect).unwrap();
        let of = |finding: &Finding| {
            matches!(finding, Finding::Witness { .. } | Finding::Disagrees { .. })
        };
        report
            .findings
            .iter()
            .filter(|finding| of(finding))
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let mine = witness(state.path()).verifier_key();
    let none = "witness witness.example: no checkpoint of this log is cosigned by it";
    assert_eq!(found(&history, vec![mine.clone()]), [none]);
    let request = history.request(0);
    let line = witness(state.path()).cosign(&request, NOW).unwrap();
    attach(&history.dir(), &request, &line).unwrap();
    assert_eq!(found(&history, vec![mine.clone()]), Vec::<String>::new());
    // Somebody else of the same name.
    let other = witness_key("witness.example", &key(8));
    assert_eq!(found(&history, vec![mine.clone(), other]), [none]);
    assert_eq!(found(&history, vec!["x".into()]), ["witness x: the witness's key is malformed"]);
    // One bit of it.
    let path = history.dir().join("tlog/cosigned");
    let good = fs::read_to_string(&path).unwrap();
    let at = good.rfind("= ").or(good.trim_end().rfind(' ')).unwrap() + 30;
    let flipped = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
    fs::write(&path, [&good[..at], flipped, &good[at + 1..]].concat()).unwrap();
    assert_eq!(found(&history, vec![mine.clone()]).len(), 1);
    // What was cosigned, of a log that was forked since: another history of the same size.
    let mut forked = History::new(4);
    forked.grow(20);
    fs::write(forked.dir().join("tlog/cosigned"), &good).unwrap();
    assert!(found(&forked, vec![mine.clone()]).iter().any(|f| f.contains("root differs")));
    // And of one that was cut back.
    let mut short = History::new(3);
    short.grow(10);
    fs::write(short.dir().join("tlog/cosigned"), &good).unwrap();
    assert!(found(&short, vec![mine]).iter().any(|f| f.contains("covers more entries")));
}

#[test]
fn of_1000_other_histories_none_is_cosigned() {
    let state = tempfile::tempdir().unwrap();
    witness(state.path()).trust(&vkey()).unwrap();
    let (mut real, mut forked) = (History::new(3), History::new(4));
    real.grow(300);
    let line = witness(state.path()).cosign(&real.request(0), NOW).unwrap();
    assert!(line.starts_with("\u{2014} witness.example "));
    let before = remembered(state.path());
    assert_eq!(before.len(), 1);
    let last = real.size();
    let mut refusals = std::collections::BTreeMap::<&str, u32>::new();
    for n in 0..1000_u64 {
        if n % 100 == 0 {
            real.grow(300 + 2 + n / 10);
            forked.grow(300 + 2 + n / 10);
        }
        let size = real.size();
        let root: [u8; 32] = Sha256::digest(n.to_be_bytes()).into();
        let proof = |history: &History, since: u64| {
            let request = history.request(since);
            let text = String::from_utf8(request).unwrap();
            text.split_once("\n\n").unwrap().0.to_owned() + "\n\n"
        };
        let with = |head: String, note: Vec<u8>| [head.into_bytes(), note].concat();
        let request = match n % 10 {
            // Equal size, another root.
            0 => with(format!("old {last}\n\n"), signed(last, &root, &key(1))),
            1 => with(proof(&real, last), signed(last, &root, &key(1))),
            // Cut back: to what was true once, or to something else.
            2 => with(format!("old {}\n\n", n % last), signed(n % last, &root, &key(1))),
            3 => with(format!("old {last}\n\n"), signed(last - 1 - n % 200, &root, &key(1))),
            // Forked: bigger, with the real proof, its own, none, or a damaged one.
            4 => with(proof(&real, last), signed(size, &root, &key(1))),
            5 => forked.request(last),
            6 => with(format!("old {last}\n\n"), signed(size, &root, &key(1))),
            7 => {
                let mut request = real.request(last);
                let at = 9 + (n as usize * 7) % 100;
                request[at] = if request[at] == b'A' { b'B' } else { b'A' };
                request
            }
            // As if nothing had been cosigned.
            8 => forked.request(0),
            // By nobody's key.
            _ => with(proof(&real, last), signed(size, &root, &key(7))),
        };
        match witness(state.path()).cosign(&request, NOW + n) {
            Err(refused) => *refusals.entry(refused.code()).or_default() += 1,
            Ok(_) => panic!("attempt {n} was cosigned"),
        }
        assert_eq!(remembered(state.path()), before, "attempt {n} was remembered");
    }
    for code in ["forked", "rolled_back", "inconsistent", "conflict", "checkpoint"] {
        assert!(refusals.get(code).is_some_and(|count| *count >= 50), "{code}: {refusals:?}");
    }
    // Control: what goes on is cosigned after all of them.
    assert!(witness(state.path()).cosign(&real.request(last), NOW).is_ok());
    assert_ne!(remembered(state.path()), before);
}

#[test]
fn without_its_memory_a_witness_cosigns_nothing() {
    let state = tempfile::tempdir().unwrap();
    let mut history = History::new(3);
    history.grow(20);
    let ask = || witness(state.path()).cosign(&history.request(0), NOW);
    assert!(matches!(ask(), Err(Refused::UnknownLog { .. })));
    witness(state.path()).trust(&vkey()).unwrap();
    assert!(ask().is_ok());
    assert!(matches!(witness(state.path()).trust(&vkey()), Err(Refused::State { .. })));
    let file = fs::read_dir(state.path()).unwrap().map(|e| e.unwrap().path());
    let file = file.filter(|p| p.extension().is_some_and(|e| e == "json")).next().unwrap();
    let good = fs::read(&file).unwrap();
    for bad in [Vec::new(), b"{}".to_vec(), good[..good.len() - 1].to_vec()] {
        fs::write(&file, bad).unwrap();
        assert!(matches!(ask(), Err(Refused::State { .. })));
    }
    fs::remove_file(&file).unwrap();
    assert!(matches!(ask(), Err(Refused::UnknownLog { .. })));
}

#[test]
fn request_bad_form() {
    let state = tempfile::tempdir().unwrap();
    witness(state.path()).trust(&vkey()).unwrap();
    let mut history = History::new(3);
    history.grow(20);
    let good = String::from_utf8(history.request(0)).unwrap();
    for bad in [
        String::new(),
        good.replacen("old 0", "old 00", 1),
        good.replacen("old 0", "old -1", 1),
        good.replacen("old 0\n", "", 1),
        good.replacen("old 0\n", "old 0\nAAAA\n", 1),
        good.replacen(
            "old 0\n",
            &format!("old 0\n{}", format!("{}\n", BASE64.encode(&[0; 32])).repeat(64)),
            1,
        ),
        "x".repeat(REQUEST_BYTES_MAX + 1),
    ] {
        let found = witness(state.path()).cosign(bad.as_bytes(), NOW);
        assert!(matches!(found, Err(Refused::Malformed { .. })), "{bad:.40}");
    }
    for name in ["", "a b", "a+b", "a\nb"] {
        assert!(Witness::new(name, key(9), state.path()).is_err(), "{name:?}");
    }
}
