use super::*;

#[test]
fn a_leaf_reads_back() {
    let entry = Entry::Intent(Intent { seq: u64::MAX, ..Intent::default() });
    let bytes = leaf_bytes(&entry, "00".into()).unwrap();
    assert_eq!(parse_leaf(&bytes, 0).unwrap(), entry);
    assert!(matches!(outline(&bytes, 0).unwrap(), Outline::Intent));
    let void = Entry::Void { of: 7, why: "x".into() };
    let bytes = leaf_bytes(&void, "00".into()).unwrap();
    assert_eq!(
        String::from_utf8(bytes.clone()).unwrap(),
        r#"{"blind":"00","body":{"of":"7","why":"x"},"kind":"VOID","v":1}"#
    );
    assert!(matches!(outline(&bytes, 0).unwrap(), Outline::Void { of: 7 }));
}

#[test]
fn refuses_leaf_bad_bytes() {
    for bad in [
        r#"{"blind":"00","body":{"of":"7","why":"x"},"kind":"VOID","v":2}"#,
        r#"{"blind":"00","body":{"of":7,"why":"x"},"kind":"VOID","v":1}"#,
        r#"{"blind":"00", "body":{"of":"7","why":"x"},"kind":"VOID","v":1}"#,
        r#"{"blind":"00","body":{"of":"7","why":"x","z":1},"kind":"VOID","v":1}"#,
        r#"{"blind":"00","body":{},"kind":"NEVER","v":1}"#,
        "",
    ] {
        assert!(parse_leaf(bad.as_bytes(), 0).is_err(), "{bad}");
    }
    let large = Entry::Void { of: 0, why: "x".repeat(ENTRY_BYTES_MAX) };
    assert!(matches!(leaf_bytes(&large, String::new()), Err(LedgerFault::EntryTooLarge { .. })));
}

#[test]
fn long_refusals_move_before_the_intent() {
    let one = |offset| RefusedEntry {
        topic: "t".repeat(249),
        partition: 0,
        offset,
        code: "malformed_value".into(),
    };
    let intent = Intent { refused: (0..10_000).map(one).collect(), ..Intent::default() };
    let (entries, rest) = split_refusals(&intent);
    assert_eq!(rest.refused_before, entries.len() as u64);
    assert!(rest.refused.is_empty());
    let mut again = Vec::new();
    for entry in &entries {
        assert!(leaf_bytes(entry, "00".repeat(16)).is_ok());
        if let Entry::Refused { refused } = entry {
            again.extend(refused.iter().cloned());
        }
    }
    assert_eq!(again, intent.refused);
    let short = Intent { refused: vec![one(1)], ..Intent::default() };
    assert_eq!(split_refusals(&short), (vec![], short));
}

#[test]
fn blinds_differ_by_log_and_index() {
    let key = [1; 32];
    assert_ne!(blind(&key, "a", 0), blind(&key, "a", 1));
    assert_ne!(blind(&key, "a", 0), blind(&key, "b", 0));
    assert_ne!(blind(&key, "a", 0), blind(&[2; 32], "a", 0));
    assert_eq!(blind(&key, "a", 0).len(), 32);
}
