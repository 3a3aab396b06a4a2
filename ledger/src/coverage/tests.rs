use std::sync::LazyLock;

use jiff::Timestamp;

use super::*;
use crate::manifest::DigestFile;
use crate::release::tests as releases_of;
use crate::signing::SigningKey;

static SIGNER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());
static OTHER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());

const TOPIC: &str = "training.customers";
const PARTITIONS: i32 = 3;

#[derive(Clone, PartialEq)]
struct Row {
    offset: i64,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Row {
    fn give<T>(&self, partition: i32, to: impl FnOnce(&Record<'_>) -> T) -> T {
        let headers: Vec<(&str, Option<&[u8]>)> =
            self.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
        to(&Record {
            partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
        })
    }
}

/// A topic as two shards wrote it, and its manifests.
#[derive(Clone)]
struct Topic {
    said: Vec<Manifest>,
    manifests: Vec<Row>,
    data: Vec<Vec<Row>>,
    /// First offsets that retention left.
    low: i64,
    manifests_low: i64,
}

fn row(offset: i64, id: &str, n: u64) -> Row {
    Row {
        offset,
        timestamp_ms: 1_000 * n as i64,
        key: Some(format!("key-{n}").into_bytes()),
        value: (n % 5 != 4).then(|| format!("{{\"n\":{n}}}").into_bytes()),
        headers: vec![
            ("douane-manifest".to_owned(), Some(id.as_bytes().to_vec())),
            ("traceparent".to_owned(), Some(b"00-1-2-01".to_vec())),
        ],
    }
}

fn subjects(data: &[Vec<Row>], id: &str, salt: &str) -> Vec<manifest::Subject> {
    let mine = |row: &&Row| row.headers[0].1.as_deref() == Some(id.as_bytes());
    (0i32..)
        .zip(data)
        .filter_map(|(partition, rows)| {
            let mut file = DigestFile::new(hex_array(salt).unwrap());
            for row in rows.iter().filter(mine) {
                row.give(partition, |r| {
                    file.record(partition, r.timestamp_ms, r.key, r.value, r.headers);
                });
            }
            let count = file.count();
            let topic = TOPIC.to_owned();
            (count > 0).then(|| manifest::Subject { topic, partition, count, digest: file.hex() })
        })
        .collect()
}

fn signed(manifest: &Manifest, key: &SigningKey, offset: i64) -> Row {
    let value = manifest::sign(manifest, key).unwrap().to_bytes().unwrap();
    Row {
        offset,
        timestamp_ms: 1_700_000_000_000,
        key: Some(manifest.id.clone().into_bytes()),
        value: Some(value),
        headers: Vec::new(),
    }
}

impl Topic {
    /// Ten transactions of each of two shards. Those of the two interleave, as two producers' do.
    fn new() -> Self {
        let mut data: Vec<Vec<Row>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
        let mut next = vec![0i64; PARTITIONS as usize];
        let mut n = 0;
        for transaction in 0..10u64 {
            for round in 0..4 {
                for shard in 0..2u64 {
                    let id = id_of(shard, transaction);
                    let partition = ((transaction + shard + round) % PARTITIONS as u64) as usize;
                    // Every third transaction brings nothing to the last partition.
                    if partition == 2 && transaction % 3 == 0 {
                        continue;
                    }
                    data[partition].push(row(next[partition], &id, n));
                    next[partition] += 1;
                    n += 1;
                }
            }
            // Markers of commits take offsets too.
            next.iter_mut().for_each(|next| *next += 2);
        }
        let mut said = Vec::new();
        let mut manifests = Vec::new();
        for transaction in 0..10u64 {
            for shard in 0..2u64 {
                let id = id_of(shard, transaction);
                let salt = format!("{:032x}", 77 + transaction * 2 + shard);
                let manifest = Manifest {
                    previous: transaction.checked_sub(1).map(|before| id_of(shard, before)),
                    subjects: subjects(&data, &id, &salt),
                    salt,
                    id,
                    ..manifest::tests::manifest()
                };
                manifests.push(signed(&manifest, &SIGNER, manifests.len() as i64 * 2));
                said.push(manifest);
            }
        }
        Self { said, manifests, data, low: 0, manifests_low: 0 }
    }

    fn expect() -> Expect {
        Expect { topic: TOPIC.to_owned(), keys: vec![SIGNER.verifying_key()], ..Expect::default() }
    }

    fn read(&self, expect: Expect, without: Option<Check>) -> Manifests {
        let mut manifests = Manifests::new(expect);
        manifests.without = without;
        for row in &self.manifests {
            row.give(0, |record| manifests.take(record));
        }
        manifests.settle(self.manifests_low);
        manifests
    }

    fn walked(&self, expect: Expect, without: Option<Check>) -> (Findings, u64, u64) {
        let manifests = self.read(expect, without);
        let (mut findings, mut records, mut retired) = (manifests.findings().clone(), 0, 0);
        for (partition, rows) in (0i32..).zip(&self.data) {
            let end = rows.last().map_or(0, |row| row.offset + 1);
            let mut lane = Lane::new(&manifests, partition, 0..manifests.len(), end);
            for row in rows {
                row.give(partition, |record| lane.record(record));
            }
            let walked = lane.finish(self.low);
            findings.extend(walked.findings);
            records += walked.records;
            retired += walked.retired;
        }
        (findings, records, retired)
    }

    /// Codes of what is found, each once.
    fn codes(&self, expect: Expect, without: Option<Check>) -> BTreeSet<&'static str> {
        let (findings, ..) = self.walked(expect, without);
        findings.iter().map(Finding::code).collect()
    }

    /// Signs a manifest anew, as only the place can.
    fn sign(&mut self, index: usize, change: impl FnOnce(&mut Manifest)) {
        change(&mut self.said[index]);
        self.manifests[index] = signed(&self.said[index], &SIGNER, self.manifests[index].offset);
    }
}

fn id_of(shard: u64, transaction: u64) -> String {
    format!("{:032x}", 1 + transaction * 2 + shard)
}

#[test]
fn what_is_as_signed_holds() {
    let topic = Topic::new();
    let (findings, records, retired) = topic.walked(Topic::expect(), None);
    assert!(findings.is_empty(), "{:?}", findings.iter().collect::<Vec<_>>());
    let all: usize = topic.data.iter().map(Vec::len).sum();
    assert_eq!((records, retired), (all as u64, 0));
    let manifests = topic.read(Topic::expect(), None);
    assert_eq!(manifests.records(0..manifests.len()), all as u64);
    let chains = manifests.chains();
    assert_eq!(chains.iter().map(|c| (c.first, c.length)).collect::<Vec<_>>(), [(0, 10), (2, 10)]);
}

type Fraud = (&'static str, Check, fn(&mut Topic, &mut Expect));

/// What somebody who owns the topic but not the key can do, the check that finds it, and the word.
const FRAUDS: &[Fraud] = &[
    ("changed", Check::Digest, |topic, _| {
        topic.data[1][4].value = Some(b"{\"n\":0}".to_vec());
    }),
    ("changed", Check::Digest, |topic, _| topic.data[0][3].timestamp_ms += 1_000),
    ("changed", Check::Digest, |topic, _| topic.data[0][2].key = None),
    ("changed", Check::Digest, |topic, _| {
        topic.data[0][2].headers[1].1 = Some(b"00-1-3-01".to_vec());
    }),
    // two records of one transaction change places
    ("changed", Check::Digest, |topic, _| {
        let rows = &mut topic.data[0];
        let of = |row: &Row| row.headers[0].1.clone();
        let second = (1..rows.len()).find(|n| of(&rows[*n]) == of(&rows[0])).unwrap();
        rows.swap(0, second);
        let offset = rows[0].offset;
        rows[0].offset = rows[second].offset;
        rows[second].offset = offset;
    }),
    ("added", Check::Added, |topic, _| {
        let mut copy = topic.data[0].last().unwrap().clone();
        copy.offset += 1;
        topic.data[0].push(copy);
    }),
    ("missing", Check::Missing, |topic, _| {
        topic.data[1].pop();
    }),
    ("no_manifest", Check::Header, |topic, _| {
        let mut bare = topic.data[2].last().unwrap().clone();
        bare.headers.clear();
        bare.offset += 1;
        topic.data[2].push(bare);
    }),
    ("unknown_manifest", Check::Unknown, |topic, _| {
        topic.data[2].push(row(900, &"ee".repeat(16), 5));
    }),
    ("not_named", Check::Named, |topic, _| {
        let offset = topic.data[2].last().unwrap().offset + 1;
        topic.data[2].push(row(offset, &id_of(0, 9), 5));
    }),
    // a whole transaction, manifest and records, is taken out
    ("gap", Check::Chain, |topic, _| {
        let id = topic.said[8].id.clone();
        let of = |row: &Row| row.headers[0].1.as_deref() == Some(id.as_bytes());
        topic.manifests.remove(8);
        topic.data.iter_mut().for_each(|rows| rows.retain(|row| !of(row)));
    }),
    // and so is the newest: only an answer from earlier knows of it
    ("vanished", Check::Earlier, |topic, expect| {
        expect.earlier = topic.read(Topic::expect(), None).chains();
        let id = topic.said[19].id.clone();
        let of = |row: &Row| row.headers[0].1.as_deref() == Some(id.as_bytes());
        topic.manifests.pop();
        topic.data.iter_mut().for_each(|rows| rows.retain(|row| !of(row)));
    }),
    // the oldest are deleted: what is left names one that nobody can look at
    ("cut", Check::Cut, |topic, _| {
        topic.manifests.drain(..2);
        topic.manifests_low = 4;
    }),
    // that the log begins later excuses no manifest that is missing in it
    ("gap", Check::Chain, |topic, _| {
        topic.manifests_low = 1;
        let id = topic.said[8].id.clone();
        let of = |row: &Row| row.headers[0].1.as_deref() == Some(id.as_bytes());
        topic.manifests.remove(8);
        topic.data.iter_mut().for_each(|rows| rows.retain(|row| !of(row)));
    }),
    // all is deleted and written again behind it, as it was: for whoever goes on, all would be new
    ("vanished", Check::Earlier, |topic, expect| {
        expect.earlier = topic.read(Topic::expect(), None).chains();
        topic.manifests.iter_mut().for_each(|row| row.offset += 40);
        topic.manifests_low = 40;
    }),
    // the head is where it was, and those before it are fewer
    ("vanished", Check::Earlier, |topic, expect| {
        expect.earlier = topic.read(Topic::expect(), None).chains();
        topic.manifests.drain(..4);
    }),
    // one shard's records are taken out of a partition whose front retention took
    ("missing", Check::Front, |topic, _| {
        topic.low = 1;
        let mine = |row: &Row| {
            (0..10).any(|n| row.headers[0].1.as_deref() == Some(id_of(1, n).as_bytes()))
        };
        topic.data[0].retain(|row| !mine(row));
    }),
    ("doubled", Check::Doubled, |topic, _| {
        let mut copy = topic.manifests[19].clone();
        copy.offset += 2;
        topic.manifests.push(copy);
    }),
    ("unsigned", Check::Signature, |topic, _| {
        topic.manifests[6] = signed(&topic.said[6], &OTHER, topic.manifests[6].offset);
    }),
    ("wrong_key", Check::Key, |topic, _| {
        topic.manifests[6].key = Some(id_of(0, 0).into_bytes());
    }),
    // the manifest and records of another topic of the place
    ("foreign", Check::Topic, |topic, _| {
        topic.sign(19, |manifest| {
            manifest.subjects.iter_mut().for_each(|s| s.topic = "training.orders".to_owned());
        });
    }),
    // a record is carried behind the next transaction of its shard
    ("order", Check::Order, |topic, _| {
        let rows = &mut topic.data[1];
        let of = |row: &Row| row.headers[0].1.clone();
        let mine: Vec<usize> = (0..rows.len()).filter(|n| of(&rows[*n]) == of(&rows[0])).collect();
        let last = *mine.last().unwrap();
        let mut moved = rows.remove(last);
        moved.offset = rows.last().unwrap().offset + 1;
        rows.push(moved);
    }),
    ("release_unknown", Check::Release, |_, expect| expect.releases = Some(Releases::default())),
];

#[test]
fn frauds_are_found() {
    for (n, (word, _, plant)) in FRAUDS.iter().enumerate() {
        let (mut topic, mut expect) = (Topic::new(), Topic::expect());
        plant(&mut topic, &mut expect);
        let codes = topic.codes(expect, None);
        assert!(codes.contains(word), "fraud {n}, {word}: {codes:?}");
    }
}

/// Each check is needed: without it its fraud is not called by its name.
#[test]
fn control_a_verifier_with_a_check_removed_misses_something() {
    for (n, (word, check, plant)) in FRAUDS.iter().enumerate() {
        let (mut topic, mut expect) = (Topic::new(), Topic::expect());
        plant(&mut topic, &mut expect);
        let codes = topic.codes(expect, Some(*check));
        assert!(!codes.contains(word), "fraud {n}, {word} without {check:?}: {codes:?}");
    }
    // And of these nothing at all is found without it.
    let alone = ["changed", "added", "missing", "gap", "vanished", "no_manifest", "order"];
    for word in alone {
        let (_, check, plant) = FRAUDS.iter().find(|(of, ..)| *of == word).unwrap();
        let (mut topic, mut expect) = (Topic::new(), Topic::expect());
        plant(&mut topic, &mut expect);
        assert_eq!(topic.codes(expect, Some(*check)), BTreeSet::new(), "{word}");
    }
}

/// A flipped bit, a row taken out, put in twice or carried elsewhere: anywhere in both topics.
#[test]
fn no_single_change_passes() {
    let whole = Topic::new();
    let manifests = whole.manifests.len();
    let mut changed = 0;
    for at in 0..manifests {
        let mut topic = whole.clone();
        let value = topic.manifests[at].value.as_mut().unwrap();
        let bit = at * 131 % (value.len() * 8);
        value[bit / 8] ^= 1 << (bit % 8);
        assert!(!topic.codes(Topic::expect(), None).is_empty(), "manifest {at}, bit {bit}");
        let mut topic = whole.clone();
        topic.manifests.remove(at);
        assert!(!topic.codes(Topic::expect(), None).is_empty(), "manifest {at} removed");
        changed += 2;
    }
    for partition in 0..whole.data.len() {
        for at in (0..whole.data[partition].len()).step_by(3) {
            let changes: [&dyn Fn(&mut Vec<Row>); 5] = [
                &|rows| drop(rows.remove(at)),
                &|rows| rows.insert(at, rows[at].clone()),
                &|rows| rows[at].value = Some(b"{}".to_vec()),
                &|rows| rows[at].timestamp_ms ^= 1,
                &|rows| {
                    let row = rows.remove(at);
                    rows.insert((at + 7) % (rows.len() + 1), row);
                },
            ];
            for (which, change) in changes.iter().enumerate() {
                let mut topic = whole.clone();
                change(&mut topic.data[partition]);
                let same = topic.data[partition].iter().eq(whole.data[partition].iter());
                // Carried between records of other transactions, its own order stays what it was.
                let of = |rows: &[Row]| -> Vec<Row> {
                    let id = &whole.data[partition][at].headers[0];
                    rows.iter().filter(|row| row.headers[0] == *id).cloned().collect()
                };
                let order = of(&topic.data[partition]) == of(&whole.data[partition]);
                let found = !topic.codes(Topic::expect(), None).is_empty();
                assert!(found || same || (which == 4 && order), "{partition} {at} {which}");
                changed += 1;
            }
        }
    }
    assert!(changed > 150, "{changed}");
}

/// What retention took from the front is not missing; what is missing behind it is.
#[test]
fn retention_takes_from_the_front() {
    let mut topic = Topic::new();
    topic.low = topic.data.iter().map(|rows| rows[5].offset).max().unwrap();
    let low = topic.low;
    topic.data.iter_mut().for_each(|rows| rows.retain(|row| row.offset >= low));
    let (findings, _, retired) = topic.walked(Topic::expect(), None);
    assert!(findings.is_empty(), "{:?}", findings.iter().collect::<Vec<_>>());
    assert!(retired > 0);
    let last = topic.data[0].len() - 1;
    topic.data[0].remove(last);
    assert_eq!(topic.codes(Topic::expect(), None), BTreeSet::from(["missing"]));
}

/// A trainer takes transactions a few at a time: each record once, whatever the steps.
#[test]
fn scopes_part_a_topic() {
    let topic = Topic::new();
    let manifests = topic.read(Topic::expect(), None);
    for records_max in [1, 7, 30, 1_000] {
        let (mut from, mut taken) = (0, 0);
        while from < manifests.len() {
            let scope = manifests.take_of(from, records_max);
            for (partition, rows) in (0i32..).zip(&topic.data) {
                let mut lane = Lane::new(&manifests, partition, scope.clone(), i64::MAX);
                for row in rows {
                    match row.give(partition, |record| lane.record(record)) {
                        Seen::Of { manifest, .. } => {
                            assert!(scope.contains(&manifest));
                            taken += 1;
                        }
                        Seen::Wrong => panic!("nothing is wrong"),
                        Seen::Before | Seen::Later => {}
                    }
                }
                assert!(lane.is_done() && lane.finish(0).findings.is_empty());
            }
            from = scope.end;
        }
        assert_eq!(taken, topic.data.iter().map(Vec::len).sum::<usize>());
    }
}

/// What crossed under a release stays approved of after it expired, unless it was sent later.
#[test]
fn releases_say_what_they_allow() {
    let (root, keys) = releases_of::two();
    let release = releases_of::release();
    let signers: Vec<&SigningKey> = keys.iter().collect();
    let envelope = crate::release::sign(&release, &signers).unwrap();
    let mut releases = Releases::default();
    releases.add(&envelope, &root).unwrap();
    let expires: Timestamp = release.expires.parse().unwrap();
    let manifest = Manifest {
        pipeline: release.pipeline.clone(),
        purpose: release.purpose.clone(),
        release: hex(&crate::release::digest(&release).unwrap()),
        fingerprint: release.fingerprint.clone(),
        policy: release.policy.clone(),
        columns: release
            .columns
            .iter()
            .map(|c| manifest::ColumnNote { name: c.name.clone(), protection: "token".into() })
            .collect(),
        subjects: Vec::new(),
        ..manifest::tests::manifest()
    };
    let before = expires.as_millisecond() - 1;
    assert_eq!(releases.allow(&manifest, before), Ok(()));
    assert_eq!(releases.allow(&manifest, before + 1), Err(Doubt::Expired));
    let other = Manifest { purpose: "another".into(), ..manifest.clone() };
    assert_eq!(releases.allow(&other, before), Err(Doubt::Different));
    let unknown = Manifest { release: "00".repeat(32), ..manifest.clone() };
    assert_eq!(releases.allow(&unknown, before), Err(Doubt::Unknown));
    let revocation = crate::release::Revocation {
        v: 1,
        release: manifest.release.clone(),
        created: release.created.clone(),
        reason: "wrong".into(),
    };
    let revoked = crate::release::revoke(&revocation, &[&keys[0]]).unwrap();
    releases.revoke(&revoked, &root).unwrap();
    assert_eq!(releases.allow(&manifest, before), Err(Doubt::Revoked));
    // One approver is not two.
    let alone = crate::release::sign(&release, &signers[..1]).unwrap();
    assert!(Releases::default().add(&alone, &root).is_err());
}
