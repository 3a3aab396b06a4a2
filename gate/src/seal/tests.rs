use douane_schemas::keys::RootKey;

use super::*;

fn keys() -> (Key, Key, Key) {
    let root = RootKey::new([3; 32]);
    (
        root.derive(Purpose::Position, "p"),
        root.derive(Purpose::Quarantine, "p"),
        root.derive(Purpose::Blind, "p"),
    )
}

fn place() -> SealContext {
    SealContext {
        zone: "global".into(),
        cluster_id: "Qz9".into(),
        topic_id: "AAAA".into(),
        shard: 0,
    }
}

const HERE: Destination = Destination::Position { partition: 2 };

#[test]
fn what_is_sealed_opens_in_its_place_only() {
    let (position, quarantine, blind) = keys();
    let sealed = seal(&position, &blind, HERE, "shard-0", b"offsets", &place()).unwrap();
    let value = sealed.value();
    assert_eq!(open(&position, HERE, "shard-0", value, &place()).unwrap(), b"offsets");

    let other = Destination::Position { partition: 3 };
    assert!(open(&position, other, "shard-0", value, &place()).is_err());
    assert!(open(&position, HERE, "shard-1", value, &place()).is_err());
    assert!(open(&quarantine, Destination::Quarantine, "shard-0", value, &place()).is_err());
    let twisted: [fn(&mut SealContext); 4] = [
        |c| c.zone.push('x'),
        |c| c.cluster_id.push('x'),
        |c| c.topic_id.push('x'),
        |c| c.shard += 1,
    ];
    for twist in twisted {
        let mut elsewhere = place();
        twist(&mut elsewhere);
        let opened = open(&position, HERE, "shard-0", value, &elsewhere);
        assert!(matches!(opened, Err(GateFault::SealBroken)));
    }
}

/// Without a gate it is sealed as with one, and by the same keys only.
#[test]
fn a_position_is_sealed_by_its_keys_only() {
    let (position, quarantine, blind) = keys();
    let sealed = |key, blind| seal_position((key, blind), 2, "layout", b"offsets", &place());
    let value = sealed(&position, &blind).unwrap();
    let as_a_gate = seal(&position, &blind, HERE, "layout", b"offsets", &place()).unwrap();
    assert_eq!((value.value(), value.key()), (as_a_gate.value(), as_a_gate.key()));
    assert_eq!(value.destination(), HERE);
    for (key, blind) in [(&quarantine, &blind), (&position, &quarantine)] {
        assert!(matches!(sealed(key, blind), Err(GateFault::KeyPurpose { .. })));
    }
}

#[test]
fn a_changed_byte_anywhere_does_not_open() {
    let (position, _, blind) = keys();
    let sealed = seal(&position, &blind, HERE, "k", b"offsets", &place()).unwrap();
    for i in 0..sealed.value().len() {
        let mut broken = sealed.value().to_vec();
        broken[i] ^= 1;
        assert!(open(&position, HERE, "k", &broken, &place()).is_err(), "byte {i}");
    }
    for length in [0, 1, HEAD_LEN, sealed.value().len() - 1] {
        assert!(open(&position, HERE, "k", &sealed.value()[..length], &place()).is_err());
    }
}

#[test]
fn another_root_is_named_by_its_key_id() {
    let (position, _, blind) = keys();
    let sealed = seal(&position, &blind, HERE, "k", b"offsets", &place()).unwrap();
    let other = RootKey::new([4; 32]).derive(Purpose::Position, "p");
    assert!(matches!(
        open(&other, HERE, "k", sealed.value(), &place()),
        Err(GateFault::SealKey { .. })
    ));
}

#[test]
fn sizes_show_the_bucket_only_and_plain_bytes_never() {
    let (position, _, blind) = keys();
    let seal = |plain: &[u8]| {
        seal(&position, &blind, HERE, "k", plain, &place()).unwrap().value().to_vec()
    };
    assert_eq!(seal(b"").len(), seal(&[7; 252]).len());
    assert_eq!(seal(&[7; 253]).len(), sealed_len(253));
    assert_eq!(bucket(252), 256);
    assert_eq!(bucket(253), 512);
    assert_eq!(bucket(65_532), 65_536);
    assert_eq!(bucket(65_533), 131_072);
    assert_eq!(bucket(131_069), 196_608);
    let marked = seal(b"marker-of-the-row-marker");
    assert!(!marked.windows(6).any(|w| w == b"marker"));
    // Deterministic: a replay seals the same bytes; other bytes have another nonce.
    assert_eq!(seal(b"a"), seal(b"a"));
    assert_ne!(seal(b"a")[17..29], seal(b"b")[17..29]);
}

#[test]
fn keys_of_another_purpose_are_refused() {
    let (position, quarantine, blind) = keys();
    assert!(seal(&quarantine, &blind, HERE, "k", b"", &place()).is_err());
    assert!(seal(&position, &blind, Destination::Quarantine, "k", b"", &place()).is_err());
    assert!(seal_spans(&quarantine, &blind, "m", b"", &place()).is_err());
}

#[test]
fn spans_open_under_their_own_label_only() {
    let (position, _, blind) = keys();
    let sealed = seal_spans(&position, &blind, "m", b"spans", &place()).unwrap();
    assert_eq!(open_spans(&position, "m", &sealed, &place()).unwrap(), b"spans");
    assert!(open_spans(&position, "n", &sealed, &place()).is_err());
    let as_position = Destination::Position { partition: 0 };
    assert!(open(&position, as_position, "m", &sealed, &place()).is_err());
}
