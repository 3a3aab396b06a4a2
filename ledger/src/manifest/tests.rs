use super::*;

pub(crate) fn manifest() -> Manifest {
    Manifest {
        v: FORMAT,
        id: "0f".repeat(16),
        previous: None,
        pipeline: "customers".into(),
        purpose: "model-training".into(),
        release: "ab".repeat(32),
        fingerprint: "cd".repeat(32),
        approvers: vec!["bo".into()],
        policy: Policy { version: 1, digest: "ef".repeat(32) },
        record_shape: "state".into(),
        salt: "01".repeat(16),
        subjects: vec![Subject {
            topic: "out".into(),
            partition: 0,
            count: 1,
            digest: one_record().hex(),
        }],
        columns: vec![ColumnNote { name: "id".into(), protection: "token".into() }],
        target_partitions: 3,
        partitioner: "murmur2".into(),
        key_ids: vec!["00".repeat(16)],
        schema_ids: vec![7],
        software: "douane 0.1.0".into(),
        dp: None,
        leaf: "12".repeat(32),
        sealed: String::new(),
    }
}

fn one_record() -> DigestFile {
    let mut file = DigestFile::new([1; 16]);
    file.record(0, 5000, Some(b"k"), None, &[("h", Some(b"v"))]);
    file
}

/// Worked by hand from the documented encoding; a change breaks every manifest.
#[test]
fn the_encoding_is_the_documented_one() {
    let mut bytes = vec![1; 16];
    bytes.extend_from_slice(b"douane-records-v1\n");
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x13, 0x88]);
    bytes.extend_from_slice(&[1, 0, 0, 0, 1, b'k', 0]);
    bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, b'h', 1, 0, 0, 0, 1, b'v']);
    assert_eq!(crate::canonical::sha256(&bytes), one_record().finish());
    let mut file = Vec::new();
    write_file_head(&mut file, [1; 16]).unwrap();
    write_file_record(&mut file, 0, 5000, Some(b"k"), None, &[("h", Some(b"v"))]).unwrap();
    assert_eq!(file, bytes);
}

/// What differs between two records must differ in the digest.
#[test]
fn no_two_records_share_an_encoding() {
    let digest = |partition, ms, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[_]| {
        let mut file = DigestFile::new([0; 16]);
        file.record(partition, ms, key, value, headers);
        file.finish()
    };
    let all = [
        digest(0, 0, None, None, &[]),
        digest(1, 0, None, None, &[]),
        digest(0, 1, None, None, &[]),
        digest(0, 0, Some(b""), None, &[]),
        digest(0, 0, None, Some(b""), &[]),
        digest(0, 0, Some(b"ab"), Some(b"c"), &[]),
        digest(0, 0, Some(b"a"), Some(b"bc"), &[]),
        digest(0, 0, None, None, &[("", None)]),
        digest(0, 0, None, None, &[("a", None)]),
        digest(0, 0, None, None, &[("a", Some(b""))]),
        digest(0, 0, None, None, &[("", Some(b"a"))]),
        digest(0, 0, None, None, &[("a", None), ("a", None)]),
    ];
    for (i, a) in all.iter().enumerate() {
        assert!(all[i + 1..].iter().all(|b| a != b), "record {i}");
    }
}

#[test]
fn signed_and_compared() {
    let key = SigningKey::generate().unwrap();
    let envelope = sign(&manifest(), &key).unwrap();
    let signed = verify(&envelope, &[key.verifying_key()]).unwrap();
    assert_eq!(signed.predicate, manifest());
    assert!(verify(&envelope, &[SigningKey::generate().unwrap().verifying_key()]).is_err());
    let read = signed.predicate;
    assert!(read.compare("out", 0, one_record()).is_ok());
    let mut twice = one_record();
    twice.record(0, 5000, Some(b"k"), None, &[]);
    assert!(matches!(read.compare("out", 0, twice), Err(ManifestFault::Different { .. })));
    assert!(matches!(
        read.compare("out", 1, one_record()),
        Err(ManifestFault::NoSubject { partition: 1, .. })
    ));
}

#[test]
fn a_manifest_without_records_has_a_subject() {
    let mut empty = manifest();
    empty.subjects.clear();
    let subjects = empty.subjects();
    assert_eq!(subjects.len(), 1);
    assert_eq!(subjects[0].digest.sha256, DigestFile::new([1; 16]).hex());
    assert!(sign(&empty, &SigningKey::generate().unwrap()).is_ok());
}

#[test]
fn refuses_manifest_bad_fields() {
    let key = SigningKey::generate().unwrap();
    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = manifest();
        change(&mut manifest);
        sign(&manifest, &key).is_err()
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|m| m.v = 2));
    assert!(refused(&|m| m.id.clear()));
    assert!(refused(&|m| m.salt.clear()));
    assert!(refused(&|m| m.leaf.truncate(3)));
    assert!(refused(&|m| m.sealed = "!".into()));
    assert!(refused(&|m| m.subjects[0].count = 0));
    assert!(refused(&|m| m.subjects[0].digest = "0".into()));
    assert!(refused(&|m| m.subjects.push(m.subjects[0].clone())));
}
