//! What passes, and what is stamped: bytes, order, partitions, headers, manifest, seals.

use douane_ledger::bundle::{self, Bundle, Part};
use douane_ledger::canonical;
use douane_ledger::dsse::Envelope;
use douane_ledger::log::{Head, JournalId, RefusedEntry, SpanEntry};
use douane_ledger::manifest::{self, Manifest};
use douane_schemas::record::RawRecord;

use super::fixture::{
    Table, gate, ids, keys, leaf_type, live, manifest_key, table, take_rows, target, token,
    with_cell,
};
use crate::murmur2::murmur2;
use crate::{
    Approved, Cause, Destination, Evidence, Gate, GateFault, HEADER_MANIFEST, HEADER_TRACEPARENT,
    RefusedBy, SealContext, Target, open, open_evidence, quarantine_key, read_quarantined,
};

/// When the right to write was looked at.
const AT_MS: i64 = 1_760_000_123_456;

fn evidence() -> Evidence {
    Evidence {
        spans: vec![SpanEntry {
            topic: "crm.public.customers".into(),
            partition: 0,
            start: 90,
            end: 92,
        }],
        refused: vec![RefusedEntry {
            topic: "crm.public.customers".into(),
            partition: 0,
            offset: 77,
            code: "number".into(),
        }],
        leaf_index: 4711,
        leaf_hash: [0x1f; 32],
        head: Head { journal: JournalId([6; 16]), size: 4712, root: [8; 32] },
        schema_ids: vec![7],
        key_ids: vec!["00".repeat(16)],
        previous: None,
        at_ms: AT_MS,
    }
}

fn approved(table: &Table) -> Approved {
    let mut gate = table.gate();
    let passed = table.through(&mut gate).unwrap();
    gate.stamp(passed, evidence()).unwrap()
}

fn signed(approved: &Approved) -> Manifest {
    let envelope = Envelope::from_bytes(approved.manifest().value.unwrap()).unwrap();
    manifest::verify(&envelope, &[manifest_key().verifying_key()]).unwrap().predicate
}

#[test]
fn records_leave_sorted_by_source_with_the_manifest_last() {
    let approved = approved(&table());
    let records: Vec<_> = approved.records().collect();
    let keys: Vec<String> =
        ["7340012", "9", "-42", "7"].iter().map(|id| token("base32", "customer", id)).collect();
    assert_eq!(records.len(), 5);
    for (record, key) in records.iter().zip(&keys) {
        assert_eq!(record.topic, "training.customers");
        assert_eq!(record.key, Some(key.as_bytes()));
        let positive = murmur2(key.as_bytes()) & 0x7fff_ffff;
        assert_eq!(record.partition, positive % 6);
        assert_eq!(record.timestamp_ms, 1_760_000_000_000);
        let names: Vec<&str> = record.headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [HEADER_MANIFEST, HEADER_TRACEPARENT]);
        assert_eq!(record.headers[0].1, "ab".repeat(16).as_bytes());
        assert_eq!(record.headers[1].1, ids().traceparent.as_bytes());
    }
    let values: Vec<bool> = records.iter().map(|record| record.value.is_some()).collect();
    assert_eq!(values, [true, false, true, true, true]);
    let last = records[4];
    assert_eq!((last.topic, last.partition), ("training.customers.manifests", 0));
    assert_eq!(last.key, Some("ab".repeat(16).as_bytes()));
    // Not a time of the source, which may be long past the topic's retention.
    assert_eq!(last.timestamp_ms, AT_MS);
    assert!(last.headers.is_empty());
}

#[test]
fn no_raw_value_is_in_any_byte_that_leaves() {
    let approved = approved(&table());
    for record in approved.records() {
        let mut bytes = [record.key, record.value].into_iter().flatten().collect::<Vec<_>>();
        bytes.extend(record.headers.iter().map(|(_, value)| value.as_slice()));
        let text: String = bytes.iter().map(|b| String::from_utf8_lossy(b)).collect();
        for marker in [
            "ada@example.com",
            "example.org",
            "7340012",
            "15112345678",
            "4111111111",
            "4111 1111",
            "Lovelace",
            "DE8937",
            "hrenweg",
            "Oxford",
            "1990-05",
            // Source positions and topic names stay inside too.
            "crm.public",
            "4711",
        ] {
            assert!(!text.contains(marker), "{marker}");
        }
    }
}

#[test]
fn the_manifest_says_what_was_sent() {
    let good = table();
    let approved = approved(&good);
    let manifest = signed(&approved);
    assert_eq!(manifest.id, "ab".repeat(16));
    assert_eq!(manifest.release, live(&good.release()).digest_hex());
    assert_eq!(manifest.approvers, ["bo"]);
    assert_eq!(manifest.leaf, "1f".repeat(32));
    assert_eq!((manifest.target_partitions, manifest.partitioner.as_str()), (6, "murmur2"));
    assert_eq!(manifest.columns.len(), good.columns.len());
    assert_eq!(manifest.columns[0].protection, "token");
    assert_eq!(manifest.subjects, approved.passed().subjects());
    // What the intent has, to the letter: `verify` compares the two.
    assert_eq!(manifest.key_ids, evidence().key_ids);

    // What a reader of the topic computes.
    let total: u64 = manifest.subjects.iter().map(|subject| subject.count).sum();
    assert_eq!(total, 4);
    for subject in &manifest.subjects {
        let mut file = manifest.digest_file().unwrap();
        for record in approved.records().filter(|r| r.topic == subject.topic) {
            if record.partition == subject.partition {
                let headers: Vec<(&str, Option<&[u8]>)> = record
                    .headers
                    .iter()
                    .map(|(name, value)| (*name, Some(value.as_slice())))
                    .collect();
                let at = record.timestamp_ms;
                file.record(record.partition, at, record.key, record.value, &headers);
            }
        }
        assert_eq!(manifest.compare(&subject.topic, subject.partition, file), Ok(()));
    }
}

#[test]
fn what_is_evidence_inside_is_opaque_outside() {
    let manifest = signed(&approved(&table()));
    let key = keys().seal_position;
    let opened = open_evidence(&key, &manifest, "global", "g", "training.customers").unwrap();
    assert_eq!(opened.spans, evidence().spans);
    assert_eq!(opened.refused, evidence().refused);
    assert_eq!(opened.leaf_index, "4711");
    assert_eq!((opened.shard, opened.sequence.as_str()), (1, "12"));
    assert!(open_evidence(&key, &manifest, "eu", "g", "training.customers").is_err());
    let other = keys().seal_quarantine;
    assert!(open_evidence(&other, &manifest, "global", "g", "training.customers").is_err());
}

#[test]
fn key_ids_of_seals_are_those_of_both_keys() {
    let (position, quarantine) = (keys().seal_position, keys().seal_quarantine);
    let expected = [position.id().to_string(), quarantine.id().to_string()];
    assert_eq!(table().gate().seal_key_ids(), expected);
}

/// A transaction of a source that has gone bad still has a manifest that a record can hold.
#[test]
fn thousands_of_refusals_are_counted_and_digested() {
    let stamped = |count: usize| {
        let good = table();
        let mut gate = good.gate();
        let passed = good.through(&mut gate).unwrap();
        let mut many = evidence();
        many.refused = vec![many.refused[0].clone(); count];
        let approved = gate.stamp(passed, many.clone()).unwrap();
        let size = approved.manifest().value.unwrap().len();
        let key = keys().seal_position;
        let manifest = signed(&approved);
        let opened = open_evidence(&key, &manifest, "global", "g", "training.customers").unwrap();
        (opened, many.refused, size)
    };
    let (opened, refused, _) = stamped(200);
    assert_eq!(opened.refused, refused);
    assert_eq!((opened.refused_count, opened.refused_digest), (None, None));

    let (opened, refused, size) = stamped(50_000);
    assert!(size < 16_384, "{size}");
    assert_eq!(opened.refused, []);
    assert_eq!(opened.refused_count.as_deref(), Some("50000"));
    let list = canonical::to_vec(&refused).unwrap();
    let digest = canonical::hex(&canonical::sha256(&list));
    assert_eq!(opened.refused_digest, Some(digest));
}

#[test]
fn the_same_batch_has_the_same_bytes() {
    let (one, two) = (approved(&table()), approved(&table()));
    for (a, b) in one.records().zip(two.records()) {
        assert!(a.key == b.key && a.value == b.value && a.partition == b.partition);
    }
}

/// Records leave in the order of the source, whatever the order of rows in the batch.
#[test]
fn the_order_of_the_source_is_in_the_digest() {
    let good = table();
    let release = good.release();
    let one_partition = Target { partitions: 1, ..target(&release) };
    let mut gate = Gate::new(live(&release), one_partition, keys(), "douane".into()).unwrap();
    let before = good.through(&mut gate).unwrap().subjects().to_vec();
    let mut turned = good.clone();
    turned.origins.swap(0, 2);
    assert_ne!(good.through(&mut gate).unwrap().subjects(), []);
    assert_ne!(turned.through(&mut gate).unwrap().subjects(), before);

    let mut moved = good.clone();
    let rows = [2, 0, 3, 1];
    for case in moved.columns.iter_mut().chain(&mut moved.keys) {
        case.raw = take_rows(&case.raw, &rows);
        case.out = take_rows(&case.out, &rows);
    }
    moved.origins = rows.iter().map(|row| good.origins[*row as usize]).collect();
    assert_eq!(moved.through(&mut gate).unwrap().subjects(), before);
}

#[test]
fn a_bundle_of_another_pipeline_or_topic_is_not_signed() {
    let gate = table().gate();
    let release = table().release();
    let part = Part {
        checkpoint: "douane/p/control\n1\nAAAA\n".into(),
        consistency: Vec::new(),
        cosigned: None,
        manifest: None,
    };
    let bundle = Bundle {
        v: bundle::FORMAT,
        topic: target(&release).topic,
        pipeline: release.pipeline.clone(),
        number: 1,
        previous: None,
        at_ms: 7_200_000,
        every_ms: 3_600_000,
        logs: vec![part.clone()],
    };
    let bundled = gate.bundle(&bundle).unwrap();
    let record = bundled.record();
    assert_eq!((record.key, record.timestamp_ms), (Some(&b"bundle/1"[..]), 7_200_000));
    assert_eq!((record.topic, record.headers.len()), (&*target(&release).manifest_topic, 0));
    let envelope = Envelope::from_bytes(record.value.unwrap()).unwrap();
    let signed = bundle::verify(&envelope, &[manifest_key().verifying_key()]).unwrap();
    assert_eq!(signed.predicate, bundle);
    for foreign in [
        Bundle { pipeline: "another".into(), ..bundle.clone() },
        Bundle { topic: "another".into(), ..bundle.clone() },
    ] {
        assert_eq!(gate.bundle(&foreign).err(), Some(GateFault::ForeignBundle));
    }
    let torn = Bundle { number: 2, ..bundle.clone() };
    assert!(matches!(gate.bundle(&torn).err(), Some(GateFault::Bundle(_))));
    let checkpoint = format!("{}{}", part.checkpoint, "x".repeat(2 << 20));
    let large = Bundle { logs: vec![Part { checkpoint, ..part }], ..bundle };
    assert_eq!(
        gate.bundle(&large).err(),
        Some(GateFault::Bundle("is larger than a record may be"))
    );
}

#[test]
fn a_batch_of_another_release_is_not_stamped() {
    let good = table();
    let mut gate_one = good.gate();
    let passed = good.through(&mut gate_one).unwrap();
    let mut release = good.release();
    release.version = 2;
    let gate_two = gate(&release).unwrap();
    assert_eq!(gate_two.stamp(passed, evidence()).err(), Some(GateFault::ForeignBatch));
    // A gate made anew under the same release may: a shard that was restarted.
    let passed = good.through(&mut gate_one).unwrap();
    assert!(good.gate().stamp(passed, evidence()).is_ok());
}

#[test]
fn a_manifest_larger_than_a_record_stops() {
    let good = table();
    let release = good.release();
    let mut small = target(&release);
    small.record_bytes_max = 4096;
    let mut gate = Gate::new(live(&release), small, keys(), "douane 0.1.0".into()).unwrap();
    let passed = good.through(&mut gate).unwrap();
    let mut long = evidence();
    long.refused = vec![long.refused[0].clone(); 100];
    assert!(matches!(gate.stamp(passed, long), Err(GateFault::Manifest(_))));
}

#[test]
fn a_transaction_in_which_nothing_crosses_has_a_manifest() {
    let mut good = table();
    good.skip = vec![true; 4];
    let approved = approved(&good);
    assert_eq!(approved.records().count(), 1);
    let manifest = signed(&approved);
    assert!(manifest.subjects.is_empty());
    assert_eq!(approved.manifest().timestamp_ms, AT_MS);
}

#[test]
fn timestamps_are_floored_and_never_the_clocks() {
    for (source_ms, expected) in [
        (1_760_000_000_999, 1_760_000_000_000),
        (1_760_000_001_000, 1_760_000_001_000),
        (999, 1000),
        (0, 1000),
        (-1, 1000),
        (i64::MIN, 1000),
    ] {
        let mut good = table();
        good.origins[0].timestamp_ms = source_ms;
        let mut gate = good.gate();
        let passed = good.through(&mut gate).unwrap();
        assert_eq!(passed.rows().last().unwrap().timestamp_ms, expected, "{source_ms}");
    }
}

#[test]
fn several_key_columns_are_one_array() {
    let mut good = table();
    let mut second = good.keys[0].clone();
    second.column.name = "region".into();
    second.column.from = "region".into();
    second.column.class = "public".into();
    second.column.column_type = "text".into();
    second.column.shape = douane_ledger::release::Shape::Public;
    second.leaf_type = "text".into();
    second.raw = super::fixture::texts([Some("a\"b"), Some("ü"), Some(""), Some("\u{1}")]);
    second.out = second.raw.clone();
    good.keys.push(second);
    let mut gate = good.gate();
    let passed = good.through(&mut gate).unwrap();
    assert_eq!(passed.refused(), []);
    let key = |row| String::from_utf8(passed.key_of(row).unwrap().to_vec()).unwrap();
    let id = |text| token("base32", "customer", text);
    assert_eq!(key(0), format!(r#"["{}","a\"b"]"#, id("7")));
    assert_eq!(key(3), format!(r#"["{}","\u0001"]"#, id("9")));

    good.keys[1].raw = with_cell(&good.keys[1].raw, 2, None);
    good.keys[1].out = good.keys[1].raw.clone();
    let passed = good.through(&mut gate).unwrap();
    assert_eq!(passed.refused().len(), 1);
}

#[test]
fn a_public_integer_key_is_its_decimal_text() {
    let mut good = table();
    good.keys[0].column.class = "public".into();
    good.keys[0].column.column_type = "int64".into();
    good.keys[0].column.shape = douane_ledger::release::Shape::Public;
    good.keys[0].out = good.keys[0].raw.clone();
    assert_eq!(leaf_type("int64").arrow(), *good.keys[0].out.data_type());
    let mut gate = good.gate();
    let passed = good.through(&mut gate).unwrap();
    assert_eq!(passed.key_of(1), Some(&b"-42"[..]));
    assert_eq!(passed.key_of(99), None);
}

fn place() -> SealContext {
    SealContext { zone: "eu".into(), cluster_id: "Mk3".into(), topic_id: "topic".into(), shard: 1 }
}

#[test]
fn positions_and_quarantine_records_are_sealed_and_read_back() {
    let gate = table().gate();
    let sealed = gate.seal_position(3, "douane-customers-1", b"{\"0\":92}", &place()).unwrap();
    let to = Destination::Position { partition: 3 };
    assert_eq!((sealed.destination(), sealed.key()), (to, &b"douane-customers-1"[..]));
    let plain = gate.open(to, "douane-customers-1", sealed.value(), &place()).unwrap();
    assert_eq!(plain, b"{\"0\":92}");
    let with = keys().seal_position;
    assert!(open(&with, to, "douane-customers-1", sealed.value(), &place()).is_ok());
    assert!(gate.open(Destination::Quarantine, "x", sealed.value(), &place()).is_err());

    let value = vec![b'v'; 5_000];
    let record = RawRecord {
        topic: 0,
        partition: 2,
        offset: 8812,
        timestamp_ms: 5,
        key: Some(b"key-of-the-row"),
        value: Some(&value),
        headers: &[],
    };
    let cause = Cause { by: RefusedBy::Gate, code: "gate_fpe" };
    for (bytes_max, whole) in [(1 << 20, true), (2_000, false)] {
        let sealed = gate.seal_quarantine(&record, "crm", cause, bytes_max, &place()).unwrap();
        assert!(sealed.value().len() < bytes_max);
        let key = quarantine_key("crm", 2, 8812);
        assert_eq!(sealed.key(), key.as_bytes());
        let to = Destination::Quarantine;
        let read = read_quarantined(&gate.open(to, &key, sealed.value(), &place()).unwrap());
        let read = read.unwrap();
        assert_eq!((read.offset, read.code.as_str()), (8812, "gate_fpe"));
        assert_eq!(read.record.is_some(), whole);
        assert!(read.record.is_none_or(|record| record.value == Some(value.clone())));
        // Beside it stand place and cause as Kafka Connect names them, and nothing of the record.
        let headers: Vec<(&str, &str)> =
            sealed.headers().iter().map(|(name, value)| (*name, value.as_ref())).collect();
        let expected = [
            ("__connect.errors.topic", "crm"),
            ("__connect.errors.partition", "2"),
            ("__connect.errors.offset", "8812"),
            ("__connect.errors.connector.name", "customers"),
            ("__connect.errors.task.id", "1"),
            ("__connect.errors.stage", "TASK_PUT"),
            ("__connect.errors.class.name", "douane.gate"),
            ("__connect.errors.exception.class.name", "gate_fpe"),
            ("__connect.errors.exception.message", "the gate does not let the row cross"),
        ];
        assert_eq!(headers, expected);
        let beside: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = sealed.value().len() + sealed.key().len() + beside;
        assert!(bytes < bytes_max);
        // The control: a topic that has no room for the headers gets no whole record.
        let short = gate.seal_quarantine(&record, "crm", cause, bytes, &place()).unwrap();
        assert!(!whole || short.value().len() < sealed.value().len());
    }
}

#[test]
fn what_a_decoder_refuses_names_the_converter_that_connect_would() {
    for (by, code, stage) in [
        (RefusedBy::Decoder, "malformed_key", "KEY_CONVERTER"),
        (RefusedBy::Decoder, "missing_key", "KEY_CONVERTER"),
        (RefusedBy::Decoder, "too_many_headers", "HEADER_CONVERTER"),
        (RefusedBy::Decoder, "malformed_value", "VALUE_CONVERTER"),
        (RefusedBy::Decoder, "out_of_range", "VALUE_CONVERTER"),
        (RefusedBy::Stage, "out_of_range", "TRANSFORMATION"),
        (RefusedBy::Target, "too_large", "KAFKA_PRODUCE"),
    ] {
        let record = RawRecord {
            topic: 0,
            partition: 0,
            offset: 1,
            timestamp_ms: 5,
            key: None,
            value: None,
            headers: &[],
        };
        let cause = Cause { by, code };
        let sealed = table().gate().seal_quarantine(&record, "crm", cause, 2_000, &place());
        let sealed = sealed.unwrap();
        let found = sealed.headers().iter().find(|(name, _)| name.ends_with(".stage"));
        assert_eq!(found.map(|(_, value)| value.as_ref()), Some(stage), "{code}");
    }
}
