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

fn cosigned_at(history: &History, size: u64) -> PathBuf {
    history.dir().join(COSIGNED).join(size.to_string())
}

/// A cosigned checkpoint, as whoever holds the files can put any there.
fn put(history: &History, checkpoint: &str) {
    fs::create_dir_all(history.dir().join(COSIGNED)).unwrap();
    fs::write(history.dir().join(COSIGNED).join("0"), checkpoint).unwrap();
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
        let cosigned_file = fs::read(cosigned_at(&history, size)).unwrap();
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
    let path = cosigned_at(&history, history.size());
    let good = fs::read_to_string(&path).unwrap();
    let at = good.rfind("= ").or(good.trim_end().rfind(' ')).unwrap() + 30;
    let flipped = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
    fs::write(&path, [&good[..at], flipped, &good[at + 1..]].concat()).unwrap();
    assert_eq!(found(&history, vec![mine.clone()]).len(), 1);
    // What was cosigned, of a log that was forked since: another history of the same size.
    let mut forked = History::new(4);
    forked.grow(20);
    put(&forked, &good);
    assert!(found(&forked, vec![mine.clone()]).iter().any(|f| f.contains("root differs")));
    // And of one that was cut back.
    let mut short = History::new(3);
    short.grow(10);
    put(&short, &good);
    assert!(found(&short, vec![mine]).iter().any(|f| f.contains("covers more entries")));
}

/// An old state of the log with the line that was given for it then holds, unless it is asked when.
#[test]
fn an_old_cosignature_is_told_where_a_new_one_is_asked_for() {
    let state = tempfile::tempdir().unwrap();
    witness(state.path()).trust(&vkey()).unwrap();
    let mut history = History::new(3);
    history.grow(20);
    let cosign = |history: &History, since: u64, at: u64| {
        let request = history.request(since);
        let line = witness(state.path()).cosign(&request, at).unwrap();
        attach(&history.dir(), &request, &line).unwrap();
    };
    cosign(&history, 0, NOW);
    let key = witness(state.path()).verifier_key();
    let told = |history: &History, cosigned_since: Option<u64>| {
        let (checkpoint_key, witnesses) = (Some(vkey()), vec![key.clone()]);
        let expect = Expect { checkpoint_key, witnesses, cosigned_since, ..Expect::default() };
        verify::log(&history.dir(), &expect).unwrap()
    };
    assert!(told(&history, None).holds(), "the control: nobody asks when");
    assert!(told(&history, Some(NOW)).holds());
    let late = told(&history, Some(NOW + 1));
    let found: Vec<_> = late.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["witness witness.example: what it cosigned last is older than was asked for"]
    );
    // The same checkpoint once more, later: a resting log is witnessed too.
    cosign(&history, history.size(), NOW + 9);
    assert!(told(&history, Some(NOW + 9)).holds());
    assert_eq!(told(&history, None).cosigned[0].time, NOW + 9);
}

/// What one witness cosigned is not lost as another cosigns what came after it.
#[test]
fn checkpoints_of_several_witnesses_lie_beside_each_other() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let other = || Witness::new("other.example", key(8), two.path()).unwrap();
    witness(one.path()).trust(&vkey()).unwrap();
    other().trust(&vkey()).unwrap();
    let mut history = History::new(3);
    history.grow(20);
    let request = history.request(0);
    let line = witness(one.path()).cosign(&request, NOW).unwrap();
    attach(&history.dir(), &request, &line).unwrap();
    let first = history.size();
    history.grow(40);
    let request = history.request(0);
    let line = other().cosign(&request, NOW).unwrap();
    attach(&history.dir(), &request, &line).unwrap();
    let witnesses = vec![witness(one.path()).verifier_key(), other().verifier_key()];
    let expect = Expect { checkpoint_key: Some(vkey()), witnesses, ..Expect::default() };
    let report = verify::log(&history.dir(), &expect).unwrap();
    assert!(report.holds(), "{:?}", report.findings);
    assert_eq!(report.origin.as_deref(), Some(ORIGIN));
    let sizes: Vec<u64> = report.cosigned.iter().map(|of| of.size).collect();
    assert_eq!(sizes, [first, history.size()]);
    // The older one counts as well: a history that differs from it alone is told.
    let forged = signed(first, &[7; 32], &key(1));
    let known = Known { v: 1, log: vkey(), size: 0, root: Sha256::digest(b"").into() };
    let fork = tempfile::tempdir().unwrap();
    witness(fork.path()).store(&witness(fork.path()).path(ORIGIN), &known).unwrap();
    let request = [b"old 0\n\n".as_slice(), &forged].concat();
    let line = witness(fork.path()).cosign(&request, NOW).unwrap();
    let text = format!("{}{line}", String::from_utf8(forged).unwrap());
    fs::write(cosigned_at(&history, first), text).unwrap();
    assert!(!verify::log(&history.dir(), &expect).unwrap().holds());
    // Another checkpoint of a size that is there is put in nobody's place.
    let again = attach(&history.dir(), &history.request(0), &line);
    assert!(again.is_ok(), "the newest is as it was");
    let mut forked = History::new(4);
    forked.grow(20);
    let refused = attach(&history.dir(), &forked.request(0), &line);
    assert!(matches!(refused, Err(AskFault::Log { why }) if why.contains("forked")));
}

/// What is not remembered is not signed: also where it was remembered before, by a process whose write
/// may not be durable.
#[test]
fn a_witness_that_cannot_write_gives_no_line() {
    let state = tempfile::tempdir().unwrap();
    witness(state.path()).trust(&vkey()).unwrap();
    let mut history = History::new(3);
    history.grow(20);
    witness(state.path()).cosign(&history.request(0), NOW).unwrap();
    let again = || witness(state.path()).cosign(&history.request(history.size()), NOW);
    assert!(again().is_ok(), "the control");
    // A folder where the file is written first: nothing can be stored.
    let known = fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().path());
    let known = known.into_iter().find(|path| path.extension().is_some_and(|e| e == "json"));
    fs::create_dir(known.unwrap().with_extension("tmp")).unwrap();
    assert!(matches!(again(), Err(Refused::State { .. })));
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
