//! What evidence costs beside the crossing that it is about, in CPU time of one thread, both in one run:
//! `tests/bench ledger`, on a quiet machine.
//!
//! The crossing is a shard's turn of 10,000 records without Kafka's client: decoder, stages, merge, gate and
//! encoding. So the share is more than what a running pipeline has. Evidence is what would be left out if nobody
//! had to prove anything: keeping and digesting the source's records, digesting what crosses, the INTENT made
//! durable, the signed manifest, COMMITTED, and a checkpoint with its tiles at each transaction (a process
//! publishes once a second).

use std::path::Path;

use douane_ledger::dsse::Envelope;
use douane_ledger::log::LogKeys;
use douane_ledger::manifest::{self, DigestFile, Manifest};
use douane_ledger::signing::SigningKey;
use douane_ledger::{canonical, statement};
use douane_schemas::keys::Purpose;
use douane_schemas::record::{Format as SourceFormat, RawRecord};

use super::super::*;
use crate::config::{self, SinkFormat};
use crate::crossing::NoSchemas;
use crate::explain;
use crate::key_home::KeyHome;
use crate::trial::{Took, Trial};

#[path = "../../../../tests/customers.rs"]
#[allow(dead_code, reason = "what the end-to-end tests take of it")]
mod customers;
#[path = "../../../../transforms/benches/measure/mod.rs"]
mod measure;

use customers::{Customers, Format};
use measure::cpu;

const RECORDS: usize = 10_000;
const TRANSACTIONS: u64 = 20;
const PLACE: &str = "\
clusters:
  sovereign: { zone: eu-de, id: sovereign-id, bootstrap: 'a:9092' }
  global: { zone: global, id: global-id, bootstrap: 'b:9092' }
keys: { dir: keys/ }
ledger: { dir: ledger/ }
trust: trust.json
tasks: 1
";

/// Seconds of each part.
#[derive(Default)]
struct Spent {
    /// Decoder to stamp.
    crossing: f64,
    /// Keeping the source's records for their digest.
    kept: f64,
    source_digests: f64,
    digests: f64,
    manifest: f64,
    ledger: f64,
}

impl Spent {
    fn add(to: &mut f64, since: f64) -> f64 {
        let now = cpu();
        *to += now - since;
        now
    }
}

#[test]
#[ignore = "a figure of a quiet machine: tests/bench ledger"]
#[allow(clippy::print_stdout, reason = "a figure is printed")]
fn evidence_beside_the_crossing_it_is_about() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("scorecards")).unwrap();
    std::fs::write(dir.path().join("douane.yaml"), PLACE).unwrap();
    for name in ["customers-json.yaml", "domains.yaml", "scorecards/notes.json"] {
        std::fs::copy(examples.join(name), dir.path().join(name)).unwrap();
    }
    let files = (dir.path().join("douane.yaml"), dir.path().join("customers-json.yaml"));
    let (place, pipeline) = config::load(&files.0, &files.1).unwrap_or_else(|f| panic!("{f}"));
    let records: Vec<(Vec<u8>, Vec<u8>)> = Customers::new(1, 7_340_000, false)
        .filter(|event| event.after.is_some())
        .map(|event| (event.key(Format::Json), event.value(Format::Json, false).unwrap()))
        .take(RECORDS)
        .collect();
    let plan = explain::fresh_plan(&place, &pipeline).unwrap();
    let (source, sink) = (SourceFormat::DebeziumJson, SinkFormat::Json);
    let mut trial =
        Trial::new(&place, &pipeline, &plan, source, sink, Box::new(NoSchemas)).unwrap();
    let key = KeyHome::throw_away().unwrap().root().derive(Purpose::SourceDigest, "customers");
    let signer = SigningKey::generate().unwrap();
    let home = dir.path().join("ledger");
    let mut log = Log::take_over(&home, "shard-0", None, LogKeys::new(&[1; 32], &[2; 32])).unwrap();

    let (mut spent, mut crossed) = (Spent::default(), 0);
    for transaction in 0..=TRANSACTIONS {
        // The first one warms up.
        if transaction == 1 {
            (spent, crossed) = (Spent::default(), 0);
        }
        let start = transaction as i64 * RECORDS as i64;
        let raw = |n: usize| RawRecord {
            topic: 0,
            partition: 0,
            offset: start + n as i64,
            timestamp_ms: 1_700_000_000_000,
            key: Some(&records[n].0),
            value: Some(&records[n].1),
            headers: &[],
        };
        let mut at = cpu();
        let mut passages = Vec::new();
        for n in 0..RECORDS {
            while matches!(trial.push(&raw(n)).unwrap(), Took::Full) {
                passages.push(trial.pass().unwrap());
            }
        }
        passages.push(trial.pass().unwrap());
        at = Spent::add(&mut spent.crossing, at);

        let mut turn = Turn::default();
        (0..RECORDS).for_each(|n| turn.take(&raw(n), start));
        at = Spent::add(&mut spent.kept, at);
        let sources = turn.digests(&key);
        at = Spent::add(&mut spent.source_digests, at);
        let mut subjects = Vec::new();
        for passage in &passages {
            let mut files: BTreeMap<i32, DigestFile> = BTreeMap::new();
            let data = passage.approved.records().filter(|r| !r.headers.is_empty());
            for record in data {
                let headers: Vec<(&str, Option<&[u8]>)> =
                    record.headers.iter().map(|(n, v)| (*n, Some(v.as_slice()))).collect();
                let file =
                    files.entry(record.partition).or_insert_with(|| DigestFile::new([7; 16]));
                file.record(
                    record.partition,
                    record.timestamp_ms,
                    record.key,
                    record.value,
                    &headers,
                );
                crossed += 1;
            }
            subjects.extend(files.into_values().map(DigestFile::hex));
        }
        at = Spent::add(&mut spent.digests, at);
        for passage in &passages {
            let bytes = passage.approved.manifest().value.unwrap();
            let envelope = Envelope::from_bytes(bytes).unwrap();
            let said: Manifest = statement::unverified(&envelope).unwrap();
            let signed = manifest::sign(&said, &signer).unwrap().to_bytes().unwrap();
            assert!(!signed.is_empty() && !subjects.is_empty());
        }
        at = Spent::add(&mut spent.manifest, at);
        let intent = Intent {
            seq: transaction,
            spans: vec![SpanEntry {
                topic: "t".into(),
                partition: 0,
                start,
                end: start + RECORDS as i64,
            }],
            source_digests: sources
                .iter()
                .map(|(source, mac)| SourceDigest {
                    topic: "t".into(),
                    partition: source.1,
                    mac: canonical::hex(mac),
                })
                .collect(),
            subjects: passages
                .iter()
                .flat_map(|p| p.approved.passed().subjects().to_vec())
                .collect(),
            ..Intent::default()
        };
        let of = log.append(&Entry::Intent(intent)).unwrap().index;
        let head = log.sync().unwrap();
        log.append(&Entry::Committed { of }).unwrap();
        log.publish(head.size, &signer, "douane/customers/shard-0").unwrap();
        Spent::add(&mut spent.ledger, at);
    }
    let n = TRANSACTIONS as f64;
    let Spent { crossing, kept, source_digests, digests, manifest, ledger } = spent;
    let evidence = kept + source_digests + digests + manifest + ledger;
    let without = crossing - kept - digests - manifest;
    assert!(crossed > TRANSACTIONS as usize * RECORDS / 2 && without > 0.0);
    let ms = |seconds: f64| seconds / n * 1e3;
    println!(
        "figure: ledger.crossing_ms {:.2} a transaction of {RECORDS} records, without",
        ms(without)
    );
    for (name, seconds) in [
        ("kept", kept),
        ("source_digests", source_digests),
        ("digests", digests),
        ("manifest", manifest),
        ("ledger", ledger),
    ] {
        println!("figure: ledger.{name}_ms {:.3} a transaction", ms(seconds));
    }
    println!("figure: ledger.share {:.1} % more CPU than without", evidence / without * 100.0);
}
