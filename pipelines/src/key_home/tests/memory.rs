//! A process reads its own memory after it let go of its keys, and finds none of them.

use std::io::{Seek, SeekFrom};
use std::process::Command;

use arrow::array::{ArrayRef, StringArray};
use douane_schemas::leaf::{Leaf, LeafType};
use douane_transforms::subjects::{Namer, Subject};
use douane_transforms::{Stage, tokenize};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::json;

use super::*;
use crate::aggregate::keys::SpaceKeys;

const INSIDE: &str = "DOUANE_TEST_MEMORY";
/// What is looked for is never in memory as it is but where the keys are.
const DISGUISE: u8 = 0x5a;
const CHUNK: usize = 1 << 20;

struct Needles(Vec<(&'static str, [u8; 32])>);

impl Needles {
    fn add(&mut self, name: &'static str, secret: &[u8]) {
        let mut disguised = [0; 32];
        for (to, from) in disguised.iter_mut().zip(secret) {
            *to = from ^ DISGUISE;
        }
        self.0.push((name, disguised));
    }

    /// How often each of them stands in what this process can read of itself.
    fn count(&self) -> Vec<(&'static str, usize)> {
        let mut counts = vec![0; self.0.len()];
        let mut first = [false; 256];
        self.0.iter().for_each(|(_, needle)| first[usize::from(needle[0] ^ DISGUISE)] = true);
        let mut chunk = vec![0; CHUNK + 31];
        let own = chunk.as_ptr() as u64..chunk.as_ptr() as u64 + chunk.len() as u64;
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut memory = File::open("/proc/self/mem").unwrap();
        let mut scanned = 0;
        for line in maps.lines().filter(|line| line.split(' ').nth(1).unwrap().starts_with("rw")) {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let (from, to) =
                (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
            let mut at = from;
            while at < to {
                let most = ((to - at) as usize).min(chunk.len());
                memory.seek(SeekFrom::Start(at)).unwrap();
                let Ok(read) = memory.read(&mut chunk[..most]) else { break };
                for (offset, window) in chunk[..read].windows(32).enumerate() {
                    // The bytes that were just read lie here a second time.
                    if !first[usize::from(window[0])] || own.contains(&(at + offset as u64)) {
                        continue;
                    }
                    for (count, (_, needle)) in counts.iter_mut().zip(&self.0) {
                        let same = needle.iter().zip(window).all(|(n, w)| n ^ DISGUISE == *w);
                        *count += usize::from(same);
                    }
                }
                scanned += read;
                if read < chunk.len() {
                    break;
                }
                at += CHUNK as u64;
            }
        }
        assert!(scanned > 1 << 20, "{scanned} bytes were read");
        self.0.iter().map(|(name, _)| *name).zip(counts).collect()
    }
}

/// Uses keys as a start does; what it returns is disguised.
#[inline(never)]
fn used(place: &KeysPlace, needles: &mut Needles) {
    let home = KeyHome::open(place).unwrap();
    let ring = home.keyring();
    let (token, ff1) = (ring.key(Purpose::TokenHmac, "a"), ring.key(Purpose::Ff1, "a"));
    let position = &home.pipeline_keys(Purpose::Position, "p")[0];
    needles.add("root", home.root().secret());
    needles.add("token key", token.secret());
    needles.add("ff1 key", ff1.secret());
    needles.add("position key", position.secret());
    // What a shard makes of them: the ciphers of stages, the keys of its log.
    let log = home.log_keys("p");
    // Of an identity space: drawn and wrapped, then read as any later start does.
    drop(SpaceKeys::open(place, &home, "s", true).unwrap());
    let space = SpaceKeys::open(place, &home, "s", false).unwrap();
    needles.add("space key", space.secret());
    needles.add("noise key", space.noise.secret());
    needles.add("log blind", log.blind());
    let siv = ring.key(Purpose::TokenSiv, "a");
    needles.add("siv key", siv.secret());
    let leaf = Leaf { path: "a".into(), leaf_type: LeafType::Text };
    let domains = json!({"domains": {"a": {"algorithm": "aes_siv"}, "b": {}}});
    let domains = serde_json::from_value(domains).unwrap();
    let stages = [
        json!({"tokenize": {"columns": ["a"], "domain": "a"}}),
        json!({"tokenize": {"columns": ["a"], "domain": "b"}}),
        json!({"fpe": {"columns": ["a"], "alphabet": "digits", "domain": "a"}}),
    ];
    let functions = stages.map(|stage| {
        let stage: Stage = serde_json::from_value(stage).unwrap();
        stage.build(&leaf, &domains, &ring).unwrap()
    });
    let live = needles.count();
    drop((functions, log, space));
    assert!(live.iter().all(|(_, count)| *count > 0), "the scan does not see live keys: {live:?}");
}

/// Tokens of three subjects, by the stage. What is looked for are the subjects' keys, the pairs of
/// their ciphers, and the key that they are wrapped under.
#[inline(never)]
fn used_of_subjects(home: &KeyHome, place: &KeysPlace, needles: &mut Needles) {
    let domains = json!({"domains": {"a": {"algorithm": "aes_siv", "key_per": "after.id"}}});
    let domains = serde_json::from_value(domains).unwrap();
    let config: tokenize::Config =
        serde_json::from_value(json!({"columns": ["a"], "domain": "a"})).unwrap();
    let leaf = Leaf { path: "a".into(), leaf_type: LeafType::Text };
    let stage = config.build(&leaf, &domains, &home.keyring()).unwrap();
    let texts = |texts: [&str; 3]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    stage.apply_per(&texts(["x", "y", "z"]), &texts(["1", "2", "3"])).unwrap();
    let namer = Namer::new(&home.keyring().subject_namer("a"), "a");
    let ids = ["1", "2", "3"].map(|subject| namer.name(subject));
    let mut found = 0;
    let mut add = |_, subject: Option<Subject<'_>>| {
        let Some(Subject::Key(key)) = subject else { return };
        needles.add("subject's key", key);
        let pair = douane_schemas::keys::pair(key);
        needles.add("first half of its pair", &pair[..32]);
        needles.add("second half of its pair", &pair[32..]);
        found += 1;
    };
    home.subjects().unwrap().find("a", 1, &ids, &mut add).unwrap();
    assert_eq!(found, 3);
    let opened = store::open(&place.dir, &place.region, &*open_home(place)).unwrap();
    needles.add("epoch's key", opened.subjects.unwrap().bytes());
    douane_schemas::secret::wipe_stack();
}

#[test]
fn of_a_subject_no_key_stays_in_memory_and_of_an_epoch_none_that_ended() {
    let name = "of_a_subject_no_key_stays_in_memory_and_of_an_epoch_none_that_ended";
    if let Some(dir) = std::env::var_os(INSIDE) {
        let place = keys(Path::new(&dir));
        process::harden().unwrap();
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
        let home = KeyHome::open(&place).unwrap();
        let mut needles = Needles(Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| used_of_subjects(&home, &place, &mut needles)).join().unwrap();
        });
        let (last, of_subjects) = (needles.0.len() - 1, needles.count());
        assert!(of_subjects[..last].iter().all(|(_, n)| *n == 0), "{of_subjects:?}");
        assert!(of_subjects[last].1 > 0, "the scan does not see a live key: {of_subjects:?}");
        // Somebody else shreds; this process lets go at its next look.
        rotate_elsewhere(&dir);
        home.subjects().unwrap().look();
        let left = needles.count();
        assert!(left.iter().all(|(_, n)| *n == 0), "{left:?}");
        return;
    }
    if let Some(dir) = std::env::var_os(ELSEWHERE) {
        let place = keys(Path::new(&dir));
        let home = KeyHome::open(&place).unwrap();
        let namer = Namer::new(&home.keyring().subject_namer("a"), "a");
        let request = Shred {
            domain: "a",
            subjects: &[namer.name("2")],
            intended: &mut |_, _| Ok(()),
            rotated: &mut |_| Ok(()),
            step: &|_| (),
        };
        assert_eq!(shred(&place, request).unwrap().key_ids.len(), 1);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let home = KeyHome::init(&keys(dir.path())).unwrap();
    home.register("p", &[Protects::columns("a", false)]).unwrap();
    home.begin_subjects().unwrap();
    again(name, INSIDE, dir.path().as_os_str());
}

const ELSEWHERE: &str = "DOUANE_TEST_ELSEWHERE";

fn rotate_elsewhere(dir: &std::ffi::OsStr) {
    let name = "of_a_subject_no_key_stays_in_memory_and_of_an_epoch_none_that_ended";
    again(name, ELSEWHERE, dir);
}

/// Runs a test of this file as a process of its own.
fn again(name: &str, as_what: &str, dir: &std::ffi::OsStr) {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args([format!("key_home::tests::memory::{name}").as_str(), "--exact", "--nocapture"])
        .env_remove(INSIDE)
        .env(as_what, dir)
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_process_that_let_go_of_its_keys_holds_no_copy_of_them() {
    if let Some(dir) = std::env::var_os(INSIDE) {
        let place = keys(Path::new(&dir));
        let mut needles = Needles(Vec::new());
        process::harden().unwrap();
        // Whoever is not root may not read the memory of a process that is not dumpable, not even
        // its own.
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
        // The sizes and shapes of a real start, on a thread as real shards are.
        std::thread::scope(|scope| scope.spawn(|| used(&place, &mut needles)).join().unwrap());
        used(&place, &mut Needles(Vec::new()));
        let left = needles.count();
        assert!(left.iter().all(|(_, count)| *count == 0), "copies are left: {left:?}");
        // The control: one copy, of the kind that is made by chance.
        let planted = Box::leak(Box::new(needles.0[1].1.map(|byte| byte ^ DISGUISE)));
        let found = needles.count();
        assert!(found[1].1 > 0, "{found:?}");
        assert_eq!(planted.len(), 32);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    KeyHome::init(&keys(dir.path())).unwrap();
    let name = "a_process_that_let_go_of_its_keys_holds_no_copy_of_them";
    again(name, INSIDE, dir.path().as_os_str());
}
