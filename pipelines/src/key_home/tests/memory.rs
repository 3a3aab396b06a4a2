//! A process reads its own memory after it let go of its keys, and finds none of them.

use std::io::{Seek, SeekFrom};
use std::process::Command;

use douane_schemas::leaf::{Leaf, LeafType};
use douane_transforms::Stage;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::json;

use super::*;

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
    drop((functions, log));
    assert!(live.iter().all(|(_, count)| *count > 0), "the scan does not see live keys: {live:?}");
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
    let ran = Command::new(std::env::current_exe().unwrap())
        .args([format!("key_home::tests::memory::{name}").as_str(), "--exact", "--nocapture"])
        .env(INSIDE, dir.path())
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}
