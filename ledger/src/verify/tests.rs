//! Fail-closed: one flipped bit in any artefact is found. Each has the control that the untouched
//! one holds.

use std::fs;

use super::*;
use crate::canonical::hex;
use crate::dsse::Envelope;
use crate::log::{Entry, Intent, Log, LogKeys, verifier_key};
use crate::manifest::{self, Manifest};
use crate::signing::SigningKey;

const ORIGIN: &str = "example.com/p/shard-0";

struct Evidence {
    home: tempfile::TempDir,
    expect: Expect,
}

fn manifest_for(leaf: [u8; 32], n: u64) -> Manifest {
    Manifest { leaf: hex(&leaf), id: format!("{n:032x}"), ..manifest::tests::manifest() }
}

/// 140 committed transactions, so that there is a full tile, and three manifests.
fn evidence() -> Evidence {
    let home = tempfile::tempdir().unwrap();
    let (signer, sealer) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let (signer, sealer) = (signer.unwrap(), sealer.unwrap());
    let keys = LogKeys::new(&[1; 32], &[2; 32]);
    let mut log = Log::take_over(home.path(), "shard-0", None, keys).unwrap();
    let mut expect = Expect {
        checkpoint_key: Some(verifier_key(ORIGIN, &signer.verifying_key())),
        manifest_keys: vec![sealer.verifying_key()],
        ..Expect::default()
    };
    for n in 0..140 {
        let model = manifest_for([0; 32], n);
        let intent = Intent {
            seq: n,
            release: model.release.clone(),
            fingerprint: model.fingerprint.clone(),
            subjects: model.subjects.clone(),
            salt: model.salt.clone(),
            schema_ids: model.schema_ids.clone(),
            key_ids: model.key_ids.clone(),
            target_partitions: model.target_partitions,
            partitioner: model.partitioner.clone(),
            manifest_id: model.id.clone(),
            ..Intent::default()
        };
        let receipt = log.append(&Entry::Intent(intent)).unwrap();
        let head = log.sync().unwrap();
        log.append(&Entry::Committed { of: receipt.index }).unwrap();
        log.sync().unwrap();
        if n == 50 {
            log.publish(head.size, &signer, ORIGIN).unwrap();
            let checkpoint = home.path().join("shard-0/tlog/checkpoint");
            expect.old_checkpoints.push(fs::read(checkpoint).unwrap());
        }
        if n > 136 {
            let envelope = manifest::sign(&manifest_for(receipt.leaf_hash, n), &sealer).unwrap();
            expect.manifests.push(envelope.to_bytes().unwrap());
        }
        expect.head = Some(head);
    }
    log.publish(u64::MAX, &signer, ORIGIN).unwrap();
    Evidence { home, expect }
}

impl Evidence {
    fn dir(&self) -> PathBuf {
        self.home.path().join("shard-0")
    }

    fn report(&self, expect: &Expect) -> Report {
        log(&self.dir(), expect).unwrap()
    }
}

#[test]
fn untouched_evidence_holds() {
    let evidence = evidence();
    let report = evidence.report(&evidence.expect);
    assert!(report.holds(), "{:?}", report.findings);
    assert!(report.torn.is_empty() && report.signature_checked);
    assert_eq!((report.intents, report.committed, report.void), (140, 140, 0));
    assert_eq!((report.checkpoint, report.manifests), (Some(279), 3));
    let reports = home(evidence.home.path(), &evidence.expect).unwrap();
    assert!(reports.len() == 1 && reports[0].holds());
}

/// Every file of the directory, bits spread over all of it.
#[test]
fn a_flipped_bit_in_any_file_is_found() {
    let evidence = evidence();
    let mut files = Vec::new();
    let mut todo = vec![evidence.dir()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false => files.push(path),
            }
        }
    }
    let mut flips = 0;
    for path in files.iter().filter(|path| !path.ends_with("publish.lock")) {
        let bytes = fs::read(path).unwrap();
        let step = (bytes.len() / 10).max(1);
        for at in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(path, flipped).unwrap();
            let report = evidence.report(&evidence.expect);
            // The journal's last frame cannot be told from a torn write: the report says torn.
            let found = !report.holds() || !report.torn.is_empty();
            assert!(found, "{} byte {at}", path.display());
            flips += 1;
        }
        fs::write(path, bytes).unwrap();
    }
    assert!(files.len() > 6 && flips > 60, "{} files, {flips} flips", files.len());
    assert!(evidence.report(&evidence.expect).holds());
}

#[test]
fn a_missing_or_added_file_is_found() {
    let evidence = evidence();
    let tlog = evidence.dir().join("tlog");
    let changes: [&dyn Fn(); 4] = [
        &|| fs::remove_file(tlog.join("tile/0/000")).unwrap(),
        &|| fs::remove_file(tlog.join("tile/entries/001.p/23")).unwrap(),
        &|| fs::write(tlog.join("tile/0/007"), [0; 32]).unwrap(),
        &|| fs::remove_file(tlog.join("checkpoint")).unwrap(),
    ];
    for (at, change) in changes.iter().enumerate() {
        let saved = tempfile::tempdir().unwrap();
        crate::log::tests::copy_dir(&tlog, saved.path());
        change();
        assert!(!evidence.report(&evidence.expect).holds(), "change {at}");
        fs::remove_dir_all(&tlog).unwrap();
        crate::log::tests::copy_dir(saved.path(), &tlog);
    }
    assert!(evidence.report(&evidence.expect).holds());
}

/// Whoever holds the files takes away all that is signed, and writes the entries anew.
#[test]
fn what_was_committed_and_nothing_signs_is_told() {
    let evidence = evidence();
    let dir = evidence.dir();
    assert!(!evidence.report(&evidence.expect).is_unsigned(), "the control: its checkpoint");
    let known = Expect {
        checkpoint_key: evidence.expect.checkpoint_key.clone(),
        manifest_keys: evidence.expect.manifest_keys.clone(),
        ..Expect::default()
    };
    fs::remove_dir_all(dir.join("tlog")).unwrap();
    let report = evidence.report(&known);
    assert!(report.holds() && report.is_unsigned() && !report.signature_checked);
    let keys = LogKeys::new(&[1; 32], &[2; 32]);
    let mut other = Log::take_over(evidence.home.path(), "shard-7", None, keys).unwrap();
    other.append(&Entry::Intent(Intent::default())).unwrap();
    other.sync().unwrap();
    let report = log(&evidence.home.path().join("shard-7"), &known).unwrap();
    assert!(report.entries == 1 && !report.is_unsigned(), "the control: nothing was committed");
}

#[test]
fn a_flipped_bit_in_a_manifest_or_old_checkpoint_is_found() {
    let evidence = evidence();
    let bytes = evidence.expect.manifests[0].clone();
    for at in 0..bytes.len() {
        let mut expect = evidence.expect.clone();
        expect.manifests[0][at] ^= 1 << (at % 8);
        let mut report = Report::default();
        let wanted = wanted_manifests(&expect, &mut report);
        assert!(!report.holds() && wanted.len() == 2, "manifest byte {at}");
    }
    let bytes = evidence.expect.old_checkpoints[0].clone();
    for at in 0..bytes.len() {
        let mut expect = evidence.expect.clone();
        expect.old_checkpoints[0][at] ^= 1 << (at % 8);
        let mut report = Report::default();
        old_checkpoints(&expect, &mut report);
        assert!(!report.holds(), "checkpoint byte {at}");
    }
}

#[test]
fn a_manifest_of_another_transaction_is_found() {
    let evidence = evidence();
    let key = SigningKey::from_seed(&[2; 32]).unwrap();
    let honest = manifest_for(crate::canonical::hex_array(&leaf_of(&evidence, 139)).unwrap(), 139);
    let with = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = honest.clone();
        change(&mut manifest);
        let envelope = manifest::sign(&manifest, &key).unwrap();
        let manifests = vec![envelope.to_bytes().unwrap()];
        evidence.report(&Expect { manifests, ..evidence.expect.clone() })
    };
    assert!(with(&|_| ()).holds());
    assert!(!with(&|m| m.leaf = leaf_of(&evidence, 138)).holds());
    assert!(!with(&|m| m.leaf = "00".repeat(32)).holds());
    assert!(!with(&|m| m.release = "00".repeat(32)).holds());
    assert!(!with(&|m| m.fingerprint = "00".repeat(32)).holds());
    assert!(!with(&|m| m.salt = "00".repeat(16)).holds());
    assert!(!with(&|m| m.subjects[0].count = 2).holds());
    assert!(!with(&|m| m.subjects.clear()).holds());
    assert!(!with(&|m| m.key_ids.clear()).holds());
    assert!(!with(&|m| m.schema_ids.clear()).holds());
    assert!(!with(&|m| m.target_partitions = 4).holds());
}

/// The leaf hash that the n-th manifest of the last three names.
fn leaf_of(evidence: &Evidence, n: usize) -> String {
    let bytes = &evidence.expect.manifests[n - 137];
    let envelope = Envelope::from_bytes(bytes).unwrap();
    manifest::verify(&envelope, &evidence.expect.manifest_keys).unwrap().predicate.leaf
}

#[test]
fn other_expectations_are_not_met() {
    let evidence = evidence();
    let with = |change: &dyn Fn(&mut Expect)| {
        let mut expect = evidence.expect.clone();
        change(&mut expect);
        evidence.report(&expect)
    };
    let other = SigningKey::from_seed(&[3; 32]).unwrap().verifying_key();
    assert!(!with(&|e| e.checkpoint_key = Some(verifier_key(ORIGIN, &other))).holds());
    assert!(!with(&|e| e.manifest_keys = vec![other]).holds());
    assert!(!with(&|e| e.head.as_mut().unwrap().size += 1).holds());
    assert!(!with(&|e| e.head.as_mut().unwrap().size += 1000).holds());
    assert!(!with(&|e| e.head.as_mut().unwrap().root[5] ^= 1).holds());
    assert!(!with(&|e| e.head.as_mut().unwrap().journal.0[5] ^= 1).holds());
    // Known less, proved less, and said so.
    let blind = with(&|e| *e = Expect::default());
    assert!(blind.holds() && !blind.signature_checked && blind.manifests == 0);
}

/// Two logs in one home: a manifest and an old checkpoint are of one of them.
#[test]
fn evidence_finds_its_log() {
    let evidence = evidence();
    let keys = LogKeys::new(&[1; 32], &[2; 32]);
    let other = SigningKey::from_seed(&[4; 32]).unwrap();
    let mut log = Log::take_over(evidence.home.path(), "shard-1", None, keys).unwrap();
    let of = log.append(&Entry::Intent(Intent::default())).unwrap().index;
    let head = log.sync().unwrap();
    log.append(&Entry::Committed { of }).unwrap();
    log.publish(head.size, &other, "example.com/p/shard-1").unwrap();
    log.sync().unwrap();
    let expect = Expect { head: None, ..evidence.expect.clone() };
    let key_of = |dir: &Path| match dir.ends_with("shard-1") {
        true => Some(verifier_key("example.com/p/shard-1", &other.verifying_key())),
        false => expect.checkpoint_key.clone(),
    };
    let with = |expect: &Expect| home_with(evidence.home.path(), expect, &key_of).unwrap();
    let reports = with(&expect);
    assert!(reports.iter().all(|r| r.holds() && r.signature_checked), "{reports:?}");
    assert_eq!(reports.iter().map(|r| r.manifests).collect::<Vec<_>>(), [3, 0]);
    let mut stranger = expect.clone();
    stranger.old_checkpoints[0][0] ^= 1;
    assert!(!with(&stranger).iter().all(Report::holds));
    let sealer = SigningKey::from_seed(&[2; 32]).unwrap();
    let unknown = manifest::sign(&manifest_for([9; 32], 1), &sealer).unwrap();
    let mut stranger = expect.clone();
    stranger.manifests.push(unknown.to_bytes().unwrap());
    assert!(!with(&stranger).iter().all(Report::holds));
}

/// A holder with the keys writes a leaf that the vocabulary forbids.
#[test]
fn refuses_leaf_bad_sequences() {
    let leaf = |kind: &str, body: &str, n: u64| {
        format!(r#"{{"blind":"{n:032x}","body":{body},"kind":"{kind}","v":1}}"#)
    };
    let check = |leaves: &[String]| {
        let mut report = Report::default();
        let mut state = Leaves::new(Default::default());
        for (index, leaf) in leaves.iter().enumerate() {
            state.see(index as u64, leaf.as_bytes(), &mut report);
        }
        report.holds()
    };
    let intent = |n| leaf("INTENT", r#"{"refused_before":"0"}"#, n);
    let committed = |of: u64, n| leaf("COMMITTED", &format!(r#"{{"of":"{of}"}}"#), n);
    assert!(check(&[intent(0), committed(0, 1), intent(2)]));
    assert!(check(&[leaf("REFUSED", "{}", 0), leaf("INTENT", r#"{"refused_before":"1"}"#, 1)]));
    assert!(!check(&[leaf("INTENT", r#"{"refused_before":"1"}"#, 1)]));
    assert!(!check(&[intent(0), intent(1)]));
    assert!(!check(&[committed(0, 0)]));
    assert!(!check(&[intent(0), committed(0, 1), committed(0, 2)]));
    assert!(!check(&[intent(0), committed(1, 1)]));
    assert!(!check(&[intent(0), committed(0, 0)]), "one blind twice");
    assert!(!check(&[leaf("GIFT", "{}", 0)]));
    assert!(!check(&[leaf("HELD", "{}", 0).replace(r#""v":1"#, r#""v":2"#)]));
    assert!(!check(&[leaf("HELD", "{}", 0).replace(',', ", ")]));
    assert!(!check(&["".to_owned()]));
}

/// A log that goes on at one call of whoever reads it: appends, a successor, publications over the border
/// of a tile.
struct Moving<'a> {
    folder: files::Folder<'a>,
    calls: std::cell::Cell<usize>,
    at: usize,
    moves: &'a dyn Fn(),
}

impl Moving<'_> {
    fn call(&self) {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() == self.at {
            (self.moves)();
        }
    }
}

impl Files for Moving<'_> {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.call();
        let found = self.folder.list(folder);
        self.call();
        found
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn io::Read + '_>> {
        self.call();
        let found = self.folder.open(path);
        self.call();
        found
    }
}

/// At whichever moment a log moves on, the answer about it is the truth.
#[test]
fn a_log_that_moves_on_while_it_is_read_holds() {
    let signer = SigningKey::from_seed(&[1; 32]).unwrap();
    let grow = |log: &mut Log, transactions: u64| {
        for seq in 0..transactions {
            let intent = Intent { seq, ..Intent::default() };
            let of = log.append(&Entry::Intent(intent)).unwrap().index;
            log.sync().unwrap();
            log.append(&Entry::Committed { of }).unwrap();
        }
        log.sync().unwrap();
    };
    let expect = Expect {
        checkpoint_key: Some(verifier_key(ORIGIN, &signer.verifying_key())),
        ..Expect::default()
    };
    let (mut at, mut moved) = (1, 0);
    loop {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("shard-0");
        let keys = || LogKeys::new(&[1; 32], &[2; 32]);
        let mut log = Log::take_over(home.path(), "shard-0", None, keys()).unwrap();
        for transactions in [100, 20] {
            grow(&mut log, transactions);
            log.publish(u64::MAX, &signer, ORIGIN).unwrap();
        }
        let log = std::cell::RefCell::new(log);
        let moves = || {
            let mut log = log.borrow_mut();
            let head = log.head();
            *log = Log::take_over(home.path(), "shard-0", Some(&head), keys()).unwrap();
            for transactions in [20, 5] {
                grow(&mut log, transactions);
                log.publish(u64::MAX, &signer, ORIGIN).unwrap();
            }
        };
        let folder = files::Folder(&dir);
        let files = Moving { folder, calls: std::cell::Cell::new(0), at, moves: &moves };
        let report = super::files("shard-0", &files, &expect).unwrap();
        assert!(report.holds() && report.signature_checked, "call {at}: {:?}", report.findings);
        if files.calls.get() < at {
            break;
        }
        moved += 1;
        // Control: what is wrong is found, however much the log moves.
        let tile = dir.join("tlog/tile/entries/000");
        let mut bytes = fs::read(&tile).unwrap();
        bytes[9] ^= 1;
        fs::write(&tile, bytes).unwrap();
        let files = Moving { calls: std::cell::Cell::new(0), ..files };
        let report = super::files("shard-0", &files, &expect).unwrap();
        assert!(!report.holds(), "call {at}");
        at += 1;
    }
    assert!(moved > 10, "{moved} moments");
}

/// Tiles are durable before the checkpoint that needs them: a process that died between the two left a
/// sound log, and other bytes there are found.
#[test]
fn tiles_ahead_of_the_checkpoint_hold_what_the_journals_say() {
    let evidence = evidence();
    let tlog = evidence.dir().join("tlog");
    let expect = Expect { old_checkpoints: vec![], ..evidence.expect.clone() };
    fs::write(tlog.join("checkpoint"), &evidence.expect.old_checkpoints[0]).unwrap();
    let report = evidence.report(&expect);
    assert!(report.holds(), "{:?}", report.findings);
    assert_eq!(report.checkpoint, Some(101));
    for path in ["tile/0/000", "tile/0/001.p/23", "tile/entries/001.p/23", "tile/1/000.p/1"] {
        let bytes = fs::read(tlog.join(path)).unwrap();
        let mut flipped = bytes.clone();
        flipped[3] ^= 1;
        fs::write(tlog.join(path), flipped).unwrap();
        assert!(!evidence.report(&expect).holds(), "{path}");
        fs::write(tlog.join(path), bytes).unwrap();
    }
}

/// A journal that grows behind the reader is as long as it was.
#[test]
fn a_journal_is_read_to_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), b"durable").unwrap();
    let folder = files::Folder(dir.path());
    let mut opened = folder.open("a").unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(dir.path().join("a")).unwrap();
    io::Write::write_all(&mut file, b" and more").unwrap();
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut opened, &mut bytes).unwrap();
    assert_eq!(bytes, b"durable");
}

/// Before the first checkpoint there are tiles: whoever reads then waits for it.
#[test]
fn a_first_checkpoint_is_waited_for() {
    let evidence = evidence();
    let checkpoint = evidence.dir().join("tlog/checkpoint");
    // Outside the log; it comes whole, as the writer's does.
    let aside = evidence.dir().parent().unwrap().join("aside");
    fs::rename(&checkpoint, &aside).unwrap();
    let wrote = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        fs::rename(aside, checkpoint).unwrap();
    });
    let report = evidence.report(&Expect { old_checkpoints: vec![], ..evidence.expect.clone() });
    wrote.join().unwrap();
    assert!(report.holds(), "{:?}", report.findings);
}
