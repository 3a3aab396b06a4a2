use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use douane_ledger::release::Limits;
use douane_ledger::signing::SigningKey;
use douane_ledger::trust::{self, Approver, Role, Root};
use douane_schemas::leaf::{Leaf, LeafType, TableLeaves};
use douane_transforms::forms::Form;
use tempfile::TempDir;

use super::*;
use crate::bundle;
use crate::key_home::Protects;
use crate::keys::What;
use crate::plan::Plan;
use crate::release::Proposal;

const PLACE: &str = "
clusters:
  sovereign: { zone: eu-de, id: sovereign-id, bootstrap: 'a:9092' }
  global: { zone: global, id: global-id, bootstrap: 'b:9092', topic_prefix: '' }
keys: { dir: keys/ }
ledger: { dir: ledger/ }
trust: trust.json
tasks: 1
";
const DOMAINS: &str = "domains:
  customer: {}
  mail: { algorithm: aes_siv, form: base32 }
";
const PIPELINE: &str = "name: p
purpose: test
domains: domains.yaml
source: { kafka: { cluster: sovereign, topics: [t], format: debezium_json, start: earliest, key: [id] } }
classes: { id: identifier, email: identifier }
types: { id: int64 }
stages: [
  { tokenize: { columns: [id], domain: customer } },
  { tokenize: { columns: [email], domain: mail } },
]
sink: { kafka: { cluster: global, topic: out, format: json, timestamp: 1s } }
release: p.release.json
";

/// A place with a release in force, whose trust root asks for one approver.
struct Yard {
    dir: TempDir,
    yaml: PathBuf,
    file: PathBuf,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn root_of(seeds: [u8; 2]) -> Vec<u8> {
    let approver = |(name, seed): (&str, u8)| Approver {
        name: name.into(),
        key: key(seed).verifying_key(),
        roles: vec![Role::Approve, Role::Trust],
    };
    let approvers = [("ada", seeds[0]), ("bo", seeds[1])].map(approver).to_vec();
    let root = Root { detokenize: Some(1), ..Root::first(2, approvers) };
    trust::sign(&root, &seeds.map(key).each_ref()).unwrap().to_bytes().unwrap()
}

impl Yard {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (name, text) in
            [("douane.yaml", PLACE), ("domains.yaml", DOMAINS), ("p.yaml", PIPELINE)]
        {
            fs::write(path(name), text).unwrap();
        }
        let yard = Self { yaml: path("douane.yaml"), file: path("p.yaml"), dir };
        let place = config::load_place(&yard.yaml).unwrap();
        let used = [Protects::columns("customer", true), Protects::columns("mail", false)];
        KeyHome::init(&place.keys).unwrap().register("p", &used).unwrap();
        yard.trust([1, 2]);
        yard.release(1, &[1, 2]);
        yard
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn trust(&self, seeds: [u8; 2]) {
        fs::write(self.path("trust.json"), root_of(seeds)).unwrap();
    }

    fn release(&self, records: u64, seeds: &[u8]) {
        let (place, pipeline) = config::load(&self.yaml, &self.file).unwrap();
        let leaf = |path: &str, leaf_type| Leaf { path: path.into(), leaf_type };
        let id = || leaf("id", LeafType::Int64);
        let row = vec![id(), leaf("email", LeafType::Text)];
        let plan = Plan::new(&pipeline, TableLeaves { key: vec![id()], row }).unwrap();
        let limits = Limits { records: Some(records), bytes: None, epsilon: None };
        let life = Duration::from_secs(24 * 3600);
        let proposal = Proposal { author: "cleo".into(), life, limits, once: None };
        let release = release::propose(&place, &pipeline, &plan, &proposal).unwrap();
        let keys: Vec<SigningKey> = seeds.iter().copied().map(key).collect();
        let keys: Vec<&SigningKey> = keys.iter().collect();
        let envelope = douane_ledger::release::sign(&release, &keys).unwrap();
        let bytes = bundle::with(&pipeline.release, &pipeline, &envelope).unwrap();
        fs::write(&pipeline.release, bytes).unwrap();
    }

    fn wanted<'a>(&'a self, values: &'a [String]) -> Wanted<'a> {
        Wanted { file: &self.file, table: None, column: "email", key_version: None, values }
    }

    fn request(&self, values: &[String]) -> Request {
        request(&self.yaml, &self.wanted(values), "cleo", "case 7").unwrap()
    }

    /// Turns `values` back under a request that ada signed.
    fn use_it(&self, request: &Request, values: &[String]) -> Result<usize, String> {
        let envelope = approve(paper::draft(request).unwrap(), &Signer::from(key(1))).unwrap();
        let wanted = self.wanted(values);
        detokenize(&self.yaml, &wanted, "cleo", "case 7", Some(&envelope))
            .map(|found| found.len())
            .map_err(|fault| format!("{}: {fault}", fault.code()))
    }
}

/// Tokens in form, of keys of this version.
fn tokens(version: u8) -> Vec<String> {
    let mut token = String::new();
    Form::Base32.print_bytes(&[[version; 1].as_slice(), &[7; 32]].concat(), &mut token);
    vec![token.clone(), token]
}

#[test]
fn an_approval_is_for_what_was_signed_and_no_more() {
    let yard = Yard::new();
    let values = tokens(1);
    let signed = yard.request(&values);
    assert_eq!((signed.domain.as_str(), signed.count), ("mail", 2));
    assert_eq!(signed.purpose, Purpose::TokenSiv.label());
    assert_eq!(signed.key_versions, [1]);
    let spoil: [(&str, fn(&mut Request)); 8] = [
        ("other values", |r| r.count = 1),
        ("other values", |r| r.by = "dan".into()),
        ("other keys", |r| r.fingerprint = "0".repeat(64)),
        ("other keys", |r| r.domain = "customer".into()),
        ("other keys", |r| r.purpose = Purpose::Ff1.label().into()),
        ("other keys", |r| r.key_versions = vec![1, 2]),
        ("other keys", |r| r.column = "id".into()),
        ("further away", |r| r.expires = "2999-01-01T00:00:00Z".into()),
    ];
    for (says, spoil) in spoil {
        let mut request = signed.clone();
        spoil(&mut request);
        let fault = yard.use_it(&request, &values).unwrap_err();
        assert!(fault.contains(says), "{says}: {fault}");
    }
    // The control, once.
    assert_eq!(yard.use_it(&signed, &values), Ok(2));
    assert!(yard.use_it(&signed, &values).unwrap_err().contains("used already"));
}

#[test]
fn a_column_is_what_the_release_in_force_says() {
    let yard = Yard::new();
    yard.release(2, &[1]);
    let values = tokens(1);
    let refused = |yard: &Yard| request(&yard.yaml, &yard.wanted(&values), "cleo", "x").err();
    let fault = refused(&yard).expect("one signature of two").to_string();
    assert!(fault.starts_with("release: "), "{fault}");
    yard.release(2, &[1, 2]);
    assert!(refused(&yard).is_none());
    // A file that is not what was signed.
    fs::write(yard.path("domains.yaml"), DOMAINS.replace("base32", "base64url")).unwrap();
    let fault = refused(&yard).expect("another form").to_string();
    assert!(fault.contains("changed after it was approved"), "{fault}");
}

#[test]
fn a_log_or_a_trust_root_that_knows_less_than_the_store_is_refused() {
    let yard = Yard::new();
    let values = tokens(1);
    assert_eq!(yard.use_it(&yard.request(&values), &values), Ok(2));
    // The log is gone, and with it the nonces that were used.
    let (log, aside) = (yard.path("ledger/_keys"), yard.path("aside"));
    fs::rename(&log, &aside).unwrap();
    let fault = yard.use_it(&yard.request(&values), &values).unwrap_err();
    assert!(fault.starts_with("key_store_rolled_back"), "{fault}");
    fs::remove_dir_all(&log).unwrap();
    fs::rename(&aside, &log).unwrap();
    // Approvers of somebody's own, with a release of theirs.
    yard.trust([1, 9]);
    yard.release(1, &[1, 9]);
    let fault = yard.use_it(&yard.request(&values), &values).unwrap_err();
    assert!(fault.contains("does not hold the trust root"), "{fault}");
    yard.trust([1, 2]);
    yard.release(1, &[1, 2]);
    assert_eq!(yard.use_it(&yard.request(&values), &values), Ok(2));
    // Rotations alone are enough.
    let yard = Yard::new();
    keys::rotate(&yard.yaml, &What::Root).unwrap();
    fs::remove_dir_all(yard.path("ledger/_keys")).unwrap();
    let fault = yard.use_it(&yard.request(&values), &values).unwrap_err();
    assert!(fault.starts_with("key_store_rolled_back"), "{fault}");
}
