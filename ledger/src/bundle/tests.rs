//! Bundles of real logs, read by the verifier, which shares no code with what makes them.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use super::*;
use crate::coverage::{Check, Expect, Finding, Manifests, Record};
use crate::log::tests::{copy_dir, keys};
use crate::log::{Entry, Head, Intent, Log, leaf_hash, verifier_key};
use crate::manifest::{self, Manifest};
use crate::witness::{self, Witness, witness_key};

static SIGNER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());
static NOTES: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());
static COSIGNER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seed(&[7; 32]).unwrap());

/// Four hours of it.
static RAN: LazyLock<Place> = LazyLock::new(Place::ran);

const TOPIC: &str = "training.customers";
const SHARDS: [&str; 2] = ["shard-0", "shard-1"];
const EVERY_MS: u64 = 3_600_000;

fn origin(log: &str) -> String {
    format!("douane/customers/{log}")
}

/// What lies at an offset of the manifest topic.
#[derive(Clone)]
enum Said {
    Manifest(Manifest),
    Bundle(Bundle),
    /// Changed by somebody without a key.
    Torn {
        key: String,
        value: Vec<u8>,
    },
}

impl Said {
    fn key(&self) -> String {
        match self {
            Self::Manifest(manifest) => manifest.id.clone(),
            Self::Bundle(bundle) => record_key(bundle.number),
            Self::Torn { key, .. } => key.clone(),
        }
    }

    fn value(&self) -> Vec<u8> {
        match self {
            Self::Manifest(said) => manifest::sign(said, &SIGNER).unwrap().to_bytes().unwrap(),
            Self::Bundle(said) => sign(said, &SIGNER).unwrap().to_bytes().unwrap(),
            Self::Torn { value, .. } => value.clone(),
        }
    }

    fn digest(&self) -> String {
        let Self::Bundle(said) = self else { panic!("no bundle") };
        digest(said).unwrap()
    }
}

/// The manifest topic.
#[derive(Clone, Default)]
struct Topic(Vec<Said>);

impl Topic {
    /// Offsets of the bundles.
    fn bundles(&self) -> Vec<usize> {
        let is_one = |said: &Said| matches!(said, Said::Bundle(_));
        (0..self.0.len()).filter(|at| is_one(&self.0[*at])).collect()
    }

    /// Changes a bundle as only the place can, and signs those after it anew.
    fn resign(&mut self, number: usize, change: impl FnOnce(&mut Bundle)) {
        let offsets = self.bundles();
        let Said::Bundle(bundle) = &mut self.0[offsets[number - 1]] else { panic!() };
        change(bundle);
        for pair in offsets[number - 1..].windows(2) {
            let digest = self.0[pair[0]].digest();
            let Said::Bundle(next) = &mut self.0[pair[1]] else { panic!() };
            next.previous = Some(digest);
        }
    }

    fn read(&self, expect: Expect, without: Option<Check>) -> Manifests {
        let mut manifests = Manifests::new(expect);
        manifests.without = without;
        for (offset, said) in (0..).zip(&self.0) {
            let (key, value) = (said.key(), said.value());
            manifests.take(&Record {
                partition: 0,
                offset,
                timestamp_ms: 1,
                key: Some(key.as_bytes()),
                value: Some(&value),
                headers: &[],
            });
        }
        manifests.settle(0);
        manifests
    }

    fn codes(&self, expect: Expect, without: Option<Check>) -> BTreeSet<&'static str> {
        let manifests = self.read(expect, without);
        manifests.findings().iter().map(Finding::code).collect()
    }
}

/// A place that runs two shards, and what it wrote beside its topic.
struct Place {
    home: tempfile::TempDir,
    heads: [Option<Head>; 2],
    stands: Vec<Stand>,
    last: [Option<String>; 2],
    topic: Topic,
    /// Sets its manifests apart from another place's.
    salt: u64,
}

impl Place {
    fn new(salt: u64) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (stands, topic) = (Vec::new(), Topic::default());
        Self { home, heads: [None, None], stands, last: [None, None], topic, salt }
    }

    /// Four bundles, with a witness' line from the second on, over the borders of tiles.
    fn ran() -> Self {
        let mut place = Self::new(0);
        for (hour, transactions) in [[3, 1], [140, 0], [0, 2], [5, 130]].into_iter().enumerate() {
            place.work(transactions);
            place.publish();
            if hour == 1 {
                place.cosign();
            }
            place.bundle();
        }
        place
    }

    /// So many transactions of each shard, each with its manifest.
    fn work(&mut self, transactions: [u64; 2]) {
        for (shard, count) in transactions.into_iter().enumerate() {
            let at = self.heads[shard];
            let home = self.home.path();
            let mut log = Log::take_over(home, SHARDS[shard], at.as_ref(), keys()).unwrap();
            for _ in 0..count {
                let id = format!("{:032x}", self.salt + self.topic.0.len() as u64 + 1);
                let seq = log.next_index();
                let intent = Intent { seq, manifest_id: id.clone(), ..Intent::default() };
                let receipt = log.append(&Entry::Intent(intent)).unwrap();
                log.append(&Entry::Committed { of: receipt.index }).unwrap();
                let previous = self.last[shard].replace(id.clone());
                let leaf = canonical::hex(&receipt.leaf_hash);
                let mut said = Manifest { id, previous, leaf, ..manifest::tests::manifest() };
                said.subjects.iter_mut().for_each(|subject| subject.topic = TOPIC.into());
                self.topic.0.push(Said::Manifest(said));
            }
            self.heads[shard] = Some(log.sync().unwrap());
        }
    }

    fn publish(&self) {
        for (shard, at) in SHARDS.iter().zip(&self.heads) {
            let home = self.home.path();
            let mut log = Log::take_over(home, shard, at.as_ref(), keys()).unwrap();
            log.publish(log.head().size, &NOTES, &origin(shard)).unwrap();
        }
    }

    /// Somebody outside cosigns the first shard's checkpoint.
    fn cosign(&self) {
        let state = self.home.path().join("witness");
        let witness = Witness::new("witness", SigningKey::from_seed(&[7; 32]).unwrap(), &state);
        let (witness, log) = (witness.unwrap(), self.home.path().join(SHARDS[0]));
        witness.trust(&verifier_key(&origin(SHARDS[0]), &NOTES.verifying_key())).unwrap();
        let request = witness::request(&log, 0).unwrap();
        let line = witness.cosign(&request, 1_700_000_000).unwrap();
        witness::attach(&log, &request, &line).unwrap();
    }

    fn parts(&self) -> Result<Vec<(Part, Stand)>, BundleFault> {
        let one = |log: &&str| {
            let before = self.stands.iter().find(|stand| stand.origin == origin(log));
            part(&self.home.path().join(log), before).transpose()
        };
        SHARDS.iter().filter_map(one).collect()
    }

    fn bundle(&mut self) {
        let (logs, stands): (Vec<Part>, Vec<Stand>) = self.parts().unwrap().into_iter().unzip();
        self.stands = stands;
        let bundles = self.topic.bundles();
        let before = bundles.last().map(|at| self.topic.0[*at].clone());
        let number = bundles.len() as u64 + 1;
        self.topic.0.push(Said::Bundle(Bundle {
            v: FORMAT,
            topic: TOPIC.into(),
            pipeline: "customers".into(),
            number,
            previous: before.map(|before| before.digest()),
            at_ms: number * EVERY_MS,
            every_ms: EVERY_MS,
            logs,
        }));
    }
}

fn expect() -> Expect {
    Expect {
        topic: TOPIC.into(),
        keys: vec![SIGNER.verifying_key()],
        checkpoint: Some(NOTES.verifying_key()),
        witnesses: vec![witness_key("witness", &COSIGNER)],
        ..Expect::default()
    }
}

#[test]
fn bundles_hold_over_the_borders_of_tiles() {
    let place = &*RAN;
    let manifests = place.topic.read(expect(), None);
    let all: Vec<_> = manifests.findings().iter().map(ToString::to_string).collect();
    assert_eq!(all, [""; 0]);
    let newest = manifests.newest_bundle().unwrap();
    assert_eq!((newest.count, newest.number, newest.at_ms), (4, 4, 4 * EVERY_MS));
    let sizes: Vec<u64> = newest.logs.iter().map(|stand| stand.size).collect();
    assert!(sizes.iter().all(|size| *size > 256), "{sizes:?}");
    assert_eq!(newest.logs, place.stands);
    let line = &newest.cosigned[..];
    assert!(line.len() == 1 && line[0].time == 1_700_000_000 && line[0].size < sizes[0]);
    // Where nothing happened the bundle says so, and goes out all the same.
    let Said::Bundle(third) = &place.topic.0[place.topic.bundles()[2]] else { panic!() };
    assert!(third.logs[0].consistency.is_empty() && third.logs[0].manifest.is_none());
    assert!(third.logs[1].manifest.is_some() && !third.logs[1].consistency.is_empty());
}

/// A log of any size goes on from any smaller one, and holds each of its leaves.
#[test]
fn proofs_of_every_size_hold() {
    let mut place = Place::new(0);
    for _ in 0..70 {
        place.work([2, 0]);
        place.publish();
        place.bundle();
    }
    assert_eq!(place.topic.codes(expect(), None), BTreeSet::new());
    assert_eq!(place.topic.read(expect(), None).newest_bundle().unwrap().count, 70);
}

type Fraud = (&'static str, Check, fn(&mut Topic, &mut Expect));

/// What may be done by who owns the cluster, by who runs the place, and the check that finds it.
const FRAUDS: &[Fraud] = &[
    ("bundle_gap", Check::BundleChain, |topic, _| {
        let second = topic.bundles()[1];
        drop(topic.0.remove(second));
    }),
    ("bundle_gap", Check::BundleChain, |topic, _| {
        let first = topic.bundles()[0];
        drop(topic.0.remove(first));
    }),
    // Two of one number: one for some, another one for others.
    ("bundle_forked", Check::BundleChain, |topic, _| {
        let Said::Bundle(last) = &topic.0[topic.bundles()[3]] else { panic!() };
        let other = Bundle { at_ms: 9 * EVERY_MS, ..last.clone() };
        topic.0.push(Said::Bundle(other));
    }),
    // The next one, after another one than is here.
    ("bundle_forked", Check::BundleChain, |topic, _| {
        topic.resign(4, |bundle| bundle.previous = Some("ab".repeat(32)));
    }),
    ("bundle_doubled", Check::Doubled, |topic, _| {
        let again = topic.0[topic.bundles()[2]].clone();
        topic.0.push(again);
    }),
    ("unsigned", Check::Signature, |topic, _| {
        let at = topic.bundles()[3];
        let (key, value) = (topic.0[at].key(), topic.0[at].value());
        let text = String::from_utf8(value).unwrap();
        let sig = text.find("\"sig\":\"").unwrap() + 10;
        let other = if text.as_bytes()[sig] == b'A' { "B" } else { "A" };
        let value = [&text[..sig], other, &text[sig + 1..]].concat().into_bytes();
        topic.0[at] = Said::Torn { key, value };
    }),
    ("wrong_key", Check::Key, |topic, _| {
        let at = topic.bundles()[3];
        let value = topic.0[at].value();
        topic.0[at] = Said::Torn { key: "bundle/9".into(), value };
    }),
    ("foreign", Check::Topic, |topic, _| topic.resign(4, |bundle| bundle.topic = "another".into())),
    // The ledger was put back, and the place goes on as if nothing were.
    ("log_rolled_back", Check::LogGrows, |topic, _| {
        let Said::Bundle(first) = topic.0[topic.bundles()[0]].clone() else { panic!() };
        topic.resign(4, |bundle| {
            bundle.logs[0] = Part { manifest: None, cosigned: None, ..first.logs[0].clone() };
        });
    }),
    ("log_rolled_back", Check::LogGrows, |topic, _| {
        topic.resign(4, |bundle| drop(bundle.logs.remove(1)));
    }),
    // Another history of the same log, with the proof of its own.
    ("log_forked", Check::LogForked, |topic, _| {
        let mut other = Place::new(1 << 40);
        other.work([150, 0]);
        other.publish();
        let (part, _) = other.parts().unwrap().remove(0);
        topic.resign(4, |bundle| {
            bundle.logs[0] = Part { manifest: None, ..part };
        });
    }),
    // The same size, and other entries.
    ("log_forked", Check::LogForked, |topic, _| {
        let mut other = Place::new(1 << 40);
        other.work([143, 0]);
        other.publish();
        let (part, _) = other.parts().unwrap().remove(0);
        topic.resign(3, |bundle| {
            bundle.logs[0] = Part { manifest: None, ..part };
        });
    }),
    ("log_checkpoint", Check::Checkpoint, |_, expect| {
        expect.checkpoint = Some(SIGNER.verifying_key());
    }),
    // The newest transaction is taken out of both topics: the bundle knows of it.
    ("vanished", Check::BundleManifest, |topic, _| {
        let last = topic.bundles()[3];
        drop(topic.0.remove(last - 1));
    }),
    // The manifest says another leaf than the ledger has.
    ("not_in_log", Check::InLog, |topic, _| {
        let at = topic.bundles()[3] - 1;
        let Said::Manifest(manifest) = &mut topic.0[at] else { panic!() };
        manifest.leaf = canonical::hex(&leaf_hash(b"another"));
    }),
    // What the witness saw is not what goes out.
    ("cosigned_forked", Check::Cosigned, |topic, _| {
        let mut other = Place::new(1 << 40);
        other.work([3, 0]);
        other.publish();
        let (part, _) = other.parts().unwrap().remove(0);
        topic.resign(4, |bundle| {
            let cosigned = CosignedPart { checkpoint: part.checkpoint, consistency: Vec::new() };
            bundle.logs[0].cosigned = Some(cosigned);
        });
    }),
    ("vanished", Check::Earlier, |topic, expect| {
        expect.earlier_bundles = vec![topic.0[topic.bundles()[3]].digest()];
        topic.0.pop();
    }),
];

#[test]
fn frauds_between_bundles_are_found() {
    for (n, (word, _, plant)) in FRAUDS.iter().enumerate() {
        let (mut topic, mut expect) = (RAN.topic.clone(), expect());
        plant(&mut topic, &mut expect);
        let codes = topic.codes(expect, None);
        assert!(codes.contains(word), "fraud {n}, {word}: {codes:?}");
    }
}

/// Each check is needed: without it its fraud is not called by its name.
#[test]
fn control_without_its_check_a_fraud_between_bundles_is_missed() {
    for (n, (word, check, plant)) in FRAUDS.iter().enumerate() {
        let (mut topic, mut expect) = (RAN.topic.clone(), expect());
        plant(&mut topic, &mut expect);
        let codes = topic.codes(expect, Some(*check));
        assert!(!codes.contains(word), "fraud {n}, {word} without {check:?}: {codes:?}");
    }
}

/// What whoever owns the cluster takes out at the end, bundles and all, shows by their age.
#[test]
fn a_topic_without_its_end_is_stale() {
    let at = |number: u64| number * EVERY_MS;
    let codes = |topic: &Topic, since: u64, lines: Option<u64>, without| {
        let mut manifests = topic.read(expect(), without);
        manifests.are_fresh(Some(since), lines);
        manifests.findings().iter().map(Finding::code).collect::<BTreeSet<_>>()
    };
    let mut topic = RAN.topic.clone();
    // The second shard was never cosigned; the first was, and not lately.
    let one = BTreeSet::from(["not_cosigned"]);
    assert_eq!(codes(&topic, at(4), Some(1_700_000_000), None), one);
    let mut manifests = topic.read(expect(), None);
    manifests.are_fresh(None, Some(1_700_000_000));
    assert_eq!(manifests.findings().total(), 1);
    let mut manifests = topic.read(expect(), None);
    manifests.are_fresh(None, Some(1_700_000_001));
    assert_eq!(manifests.findings().total(), 2);
    assert_eq!(codes(&topic, at(4) + 1, None, None), BTreeSet::from(["not_cosigned", "stale"]));
    topic.0.truncate(topic.bundles()[2] + 1);
    assert!(codes(&topic, at(4), None, None).contains("stale"));
    // The control: nobody asks, or the check is gone.
    assert!(!codes(&topic, at(3), None, None).contains("stale"));
    assert_eq!(codes(&topic, at(4), None, Some(Check::Fresh)), BTreeSet::new());
    assert!(codes(&Topic::default(), 1, None, None).contains("stale"), "no bundle at all");
}

/// What is outside is more than what is here: no bundle is made, and the fault says which.
#[test]
fn a_ledger_that_was_put_back_makes_no_bundle() {
    let mut place = Place::new(0);
    place.work([3, 1]);
    place.publish();
    let old = tempfile::tempdir().unwrap();
    copy_dir(place.home.path(), old.path());
    place.work([2, 1]);
    place.publish();
    place.bundle();
    let log = old.path().join(SHARDS[0]);
    let fault = part(&log, Some(&place.stands[0])).unwrap_err();
    assert!(matches!(fault, BundleFault::RolledBack { size: 6, bundled: 10, .. }), "{fault}");
    let mut other = Place::new(1 << 40);
    other.work([9, 0]);
    other.publish();
    let log = other.home.path().join(SHARDS[0]);
    let fault = part(&log, Some(&place.stands[0])).unwrap_err();
    assert!(matches!(fault, BundleFault::Forked { bundled: 10, .. }), "{fault}");
    fs::remove_file(log.join("tlog/checkpoint")).unwrap();
    let fault = part(&log, Some(&place.stands[0])).unwrap_err();
    assert!(matches!(fault, BundleFault::RolledBack { size: 0, bundled: 10, .. }), "{fault}");
    // The control: from nothing, either makes one.
    assert!(part(&old.path().join(SHARDS[0]), None).unwrap().is_some());
}

/// Tiles that are not the checkpoint's prove nothing: there is no bundle of them.
#[test]
fn torn_tiles_make_no_bundle() {
    let mut place = Place::new(0);
    place.work([4, 0]);
    place.publish();
    place.bundle();
    place.work([3, 0]);
    place.publish();
    let tiles = place.home.path().join(SHARDS[0]).join("tlog/tile/0/000.p");
    let newest = fs::read_dir(&tiles)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|p| p.file_name().unwrap().to_str().unwrap().parse::<u64>().unwrap());
    let newest = newest.unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes[40] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let fault = place.parts().unwrap_err().to_string();
    assert!(fault.contains("its tiles are not those of its checkpoint"), "{fault}");
}

#[test]
fn a_bundle_that_contradicts_itself_is_not_signed() {
    let Said::Bundle(good) = RAN.topic.0[RAN.topic.bundles()[1]].clone() else { panic!() };
    assert!(sign(&good, &SIGNER).is_ok());
    let bad: &[(&str, &dyn Fn(&mut Bundle))] = &[
        ("format", &|bundle| bundle.v = 2),
        ("number is 0", &|bundle| bundle.number = 0),
        ("the first names none", &|bundle| bundle.number = 1),
        ("the first names none", &|bundle| bundle.previous = None),
        ("64 hexadecimal", &|bundle| bundle.previous = Some("ab".into())),
        ("schedule", &|bundle| bundle.at_ms += 1),
        ("schedule", &|bundle| bundle.every_ms = 0),
        ("no log", &|bundle| bundle.logs.clear()),
        ("in order", &|bundle| bundle.logs.reverse()),
        ("in order", &|bundle| bundle.logs[1] = bundle.logs[0].clone()),
    ];
    for (why, change) in bad {
        let mut bundle = good.clone();
        change(&mut bundle);
        let fault = sign(&bundle, &SIGNER).map(drop).unwrap_err().to_string();
        assert!(fault.contains(why), "{why}: {fault}");
    }
}
