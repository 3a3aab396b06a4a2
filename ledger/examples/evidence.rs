//! Writes a small ledger, a manifest and the file that it is about into a directory, to try public
//! verifiers on:
//!
//! ```sh
//! cargo run -p douane-ledger --example evidence -- DIR
//! fsck -ui=false -N=4 -v=1 -storage_url=file://DIR/shard-0/tlog -public_key=DIR/log.vkey
//! cosign verify-blob-attestation --key DIR/manifest.pem --private-infrastructure \
//!   --type https://github.com/douane/douane/attestation/manifest/v1 \
//!   --signature DIR/manifest.dsse.json DIR/records
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::path::PathBuf;

use douane_ledger::canonical::hex;
use douane_ledger::log::{Entry, Intent, Log, LogKeys, verifier_key};
use douane_ledger::manifest::{self, ColumnNote, DigestFile, FORMAT, Manifest, Subject};
use douane_ledger::release::Policy;
use douane_ledger::signing::SigningKey;

const ORIGIN: &str = "example.com/customers/shard-0";

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("expected a directory")?);
    fs::create_dir_all(&dir)?;
    let (checkpoints, manifests) = (SigningKey::generate()?, SigningKey::generate()?);
    let mut log = Log::take_over(&dir, "shard-0", None, LogKeys::new(&[1; 32], &[2; 32]))?;

    let salt = [3; 16];
    let record = (0, 1_000, Some(b"token".as_slice()), Some(b"{\"a\":1}".as_slice()));
    let (partition, ms, key, value) = record;
    let mut digest = DigestFile::new(salt);
    digest.record(partition, ms, key, value, &[]);
    let mut file = File::create(dir.join("records"))?;
    manifest::write_file_head(&mut file, salt)?;
    manifest::write_file_record(&mut file, partition, ms, key, value, &[])?;
    let topic = "training.customers".to_owned();
    let subjects = vec![Subject { topic, partition, count: 1, digest: digest.hex() }];

    for seq in 0..700 {
        let intent =
            Intent { seq, subjects: subjects.clone(), salt: hex(&salt), ..Intent::default() };
        let receipt = log.append(&Entry::Intent(intent))?;
        let head = log.sync()?;
        // Here a real run commits its transaction, with `head` in the position record.
        log.append(&Entry::Committed { of: receipt.index })?;
        log.sync()?;
        if seq % 100 == 99 {
            log.publish(head.size, &checkpoints, ORIGIN)?;
        }
        if seq == 699 {
            let manifest = manifest_of(hex(&salt), subjects.clone(), hex(&receipt.leaf_hash));
            let envelope = manifest::sign(&manifest, &manifests)?;
            fs::write(dir.join("manifest.dsse.json"), envelope.to_bytes()?)?;
        }
    }
    fs::write(dir.join("log.vkey"), verifier_key(ORIGIN, &checkpoints.verifying_key()))?;
    fs::write(dir.join("manifest.pem"), manifests.verifying_key().to_spki_pem())?;
    Ok(())
}

fn manifest_of(salt: String, subjects: Vec<Subject>, leaf: String) -> Manifest {
    Manifest {
        v: FORMAT,
        id: "0f".repeat(16),
        previous: None,
        pipeline: "customers".to_owned(),
        purpose: "model-training".to_owned(),
        release: "00".repeat(32),
        fingerprint: "00".repeat(32),
        approvers: vec!["ada".to_owned(), "bo".to_owned()],
        policy: Policy { version: 1, digest: "00".repeat(32) },
        record_shape: "state".into(),
        salt,
        subjects,
        columns: vec![ColumnNote { name: "a".to_owned(), protection: "public".to_owned() }],
        target_partitions: 1,
        partitioner: "murmur2".to_owned(),
        key_ids: Vec::new(),
        schema_ids: Vec::new(),
        software: "douane 0.1.0".to_owned(),
        dp: None,
        leaf,
        sealed: String::new(),
    }
}
