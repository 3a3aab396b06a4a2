//! Sealing: what must stand where others can read it, and must not be read there.
//!
//! Sealed bytes, version 1: `1` · key id (16) · nonce (12) · AES-256-GCM-SIV (RFC 8452) of
//! `length (4, big-endian) · plain · zeros up to the bucket` · tag (16). The associated data is a
//! tuple of purpose, key id, zone, cluster id, topic id, shard, partition and record key, so that
//! sealed bytes open in their own place only.
//!
//! The nonce is a MAC over associated data and plain bytes, under a key of its own. Stages draw no
//! randomness, so a replay seals the same bytes; equal bytes in the same place show that they are
//! equal and nothing more, and the SIV mode survives a repeated nonce.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use douane_schemas::keys::{Key, Purpose};
use douane_schemas::record::RawRecord;
use douane_schemas::tuple::Tuple;

use crate::GateFault;

const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 16;
const HEAD_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;
const TAG_LEN: usize = 16;

/// Plain bytes in one seal; Kafka's largest sensible record is far below.
const PLAIN_BYTES_MAX: usize = 64 << 20;

/// Where a sealed record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The position topic of the target cluster: one partition a shard.
    Position {
        /// The shard's own partition.
        partition: i32,
    },
    /// The quarantine topic of the sovereign cluster; its key is the source position.
    Quarantine,
}

impl Destination {
    /// The purpose of the key that seals for it.
    pub fn purpose(self) -> Purpose {
        match self {
            Self::Position { .. } => Purpose::Position,
            Self::Quarantine => Purpose::Quarantine,
        }
    }

    fn partition(self) -> i64 {
        match self {
            Self::Position { partition } => i64::from(partition),
            Self::Quarantine => -1,
        }
    }
}

/// The place that sealed bytes are bound to. None of it is secret; all of it must be the same
/// when they are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealContext {
    /// Zone of the cluster that holds the topic.
    pub zone: String,
    /// That cluster's id.
    pub cluster_id: String,
    /// The topic's id (not its name: a topic made anew is another place).
    pub topic_id: String,
    /// Shard of the pipeline, from 0.
    pub shard: u32,
}

/// A record that only its key's holder can read. Only the gate makes one: its fields are private
/// and it has no constructor.
///
/// ```compile_fail,E0451
/// let forged = douane_gate::Sealed {
///     destination: douane_gate::Destination::Quarantine,
///     key: Vec::new(),
///     value: b"plain".to_vec(),
/// };
/// ```
#[derive(Clone)]
pub struct Sealed {
    destination: Destination,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Sealed {
    /// Where it goes.
    pub fn destination(&self) -> Destination {
        self.destination
    }

    /// The record key, in the clear: a transactional id, or a source position.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The sealed bytes.
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

/// The size that `plain` bytes take before sealing: powers of two from 256 bytes to 64 KiB, then
/// multiples of 64 KiB. An outsider learns the bucket, not the size.
pub fn bucket(plain: usize) -> usize {
    let framed = plain + 4;
    if framed <= 1 << 16 {
        framed.next_power_of_two().max(256)
    } else {
        framed.next_multiple_of(1 << 16)
    }
}

/// The size of the sealed bytes for so many plain ones.
pub fn sealed_len(plain: usize) -> usize {
    HEAD_LEN + bucket(plain) + TAG_LEN
}

fn associated(
    label: &str,
    key: &Key,
    destination: Destination,
    record_key: &str,
    context: &SealContext,
) -> Vec<u8> {
    Tuple::new()
        .text(label)
        .bytes(&key.id().0)
        .text(&context.zone)
        .text(&context.cluster_id)
        .text(&context.topic_id)
        .number(u64::from(context.shard))
        .signed(destination.partition())
        .text(record_key)
        .finish()
}

fn cipher(key: &Key) -> Result<LessSafeKey, GateFault> {
    UnboundKey::new(&AES_256_GCM_SIV, &key.secret()[..])
        .map(LessSafeKey::new)
        .map_err(|_| GateFault::Seal)
}

fn seal_bytes(key: &Key, blind: &Key, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, GateFault> {
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(GateFault::SealTooLarge { bytes: plain.len(), bytes_max: PLAIN_BYTES_MAX });
    }
    let tag = blind.mac(Tuple::new().text("seal-nonce").bytes(aad).bytes(plain));
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&tag[..NONCE_LEN]);

    let mut sealed = Vec::with_capacity(sealed_len(plain.len()));
    sealed.extend_from_slice(&(plain.len() as u32).to_be_bytes());
    sealed.extend_from_slice(plain);
    sealed.resize(bucket(plain.len()), 0);
    cipher(key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut sealed)
        .map_err(|_| GateFault::Seal)?;

    let mut out = Vec::with_capacity(HEAD_LEN + sealed.len());
    out.push(VERSION);
    out.extend_from_slice(&key.id().0);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&sealed);
    Ok(out)
}

fn open_bytes(key: &Key, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, GateFault> {
    let (head, body) = sealed.split_at_checked(HEAD_LEN).ok_or(GateFault::NotSealed)?;
    if head[0] != VERSION {
        return Err(GateFault::SealVersion { found: head[0], expected: VERSION });
    }
    if head[1..=KEY_ID_LEN] != key.id().0 {
        let mut found = [0; KEY_ID_LEN];
        found.copy_from_slice(&head[1..=KEY_ID_LEN]);
        return Err(GateFault::SealKey {
            found: douane_schemas::keys::KeyId(found),
            expected: key.id(),
        });
    }
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&head[1 + KEY_ID_LEN..]);
    let mut body = body.to_vec();
    let framed = cipher(key)?
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut body)
        .map_err(|_| GateFault::SealBroken)?;
    let (length, rest) = framed.split_at_checked(4).ok_or(GateFault::NotSealed)?;
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
    let plain = rest.get(..length).ok_or(GateFault::NotSealed)?;
    Ok(plain.to_vec())
}

fn expect_purpose(key: &Key, expected: Purpose) -> Result<(), GateFault> {
    if key.purpose() == expected {
        return Ok(());
    }
    Err(GateFault::KeyPurpose { found: key.purpose().label(), expected: expected.label() })
}

pub(crate) fn seal(
    key: &Key,
    blind: &Key,
    destination: Destination,
    record_key: &str,
    plain: &[u8],
    context: &SealContext,
) -> Result<Sealed, GateFault> {
    expect_purpose(key, destination.purpose())?;
    let label = destination.purpose().label();
    let aad = associated(label, key, destination, record_key, context);
    let value = seal_bytes(key, blind, &aad, plain)?;
    Ok(Sealed { destination, key: record_key.as_bytes().to_vec(), value })
}

/// Opens what the gate sealed for `destination` under `record_key`.
///
/// A free function, so that `status` and `quarantine` read without a live release.
///
/// # Errors
/// Typed faults for another version, another key, another place, or changed bytes; none of them
/// holds a byte of what was sealed.
pub fn open(
    key: &Key,
    destination: Destination,
    record_key: &str,
    sealed: &[u8],
    context: &SealContext,
) -> Result<Vec<u8>, GateFault> {
    expect_purpose(key, destination.purpose())?;
    let label = destination.purpose().label();
    open_bytes(key, &associated(label, key, destination, record_key, context), sealed)
}

/// Source spans inside a manifest: the position key seals them too, under a label of their own.
pub(crate) const SPANS_LABEL: &str = "douane/v1/position/spans";

/// Seals the source spans of one transaction. Bound to the manifest id instead of a topic.
pub(crate) fn seal_spans(
    key: &Key,
    blind: &Key,
    manifest_id: &str,
    plain: &[u8],
    context: &SealContext,
) -> Result<Vec<u8>, GateFault> {
    expect_purpose(key, Purpose::Position)?;
    let place = Destination::Position { partition: 0 };
    seal_bytes(key, blind, &associated(SPANS_LABEL, key, place, manifest_id, context), plain)
}

/// Opens the sealed source spans of a manifest: the bytes that [`crate::Evidence::spans`] gave.
///
/// `context` is the target's: zone and cluster id, the target topic's name as topic id.
///
/// # Errors
/// As [`open`].
pub fn open_spans(
    key: &Key,
    manifest_id: &str,
    sealed: &[u8],
    context: &SealContext,
) -> Result<Vec<u8>, GateFault> {
    expect_purpose(key, Purpose::Position)?;
    let place = Destination::Position { partition: 0 };
    open_bytes(key, &associated(SPANS_LABEL, key, place, manifest_id, context), sealed)
}

/// A quarantined record as it was sealed. No `Debug`: it is data.
#[derive(Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Name of the source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// Source offset.
    pub offset: i64,
    /// Record timestamp, milliseconds since the epoch, -1 for none.
    pub timestamp_ms: i64,
    /// Why it was quarantined.
    pub code: String,
    /// The record itself, or `None` where it was too large for the topic.
    pub record: Option<QuarantinedRecord>,
}

/// Key, value and headers of a quarantined record, byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct QuarantinedRecord {
    /// Record key.
    pub key: Option<Vec<u8>>,
    /// Record value.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Key of a quarantine record: its source position, so that a repeat replaces it.
pub fn quarantine_key(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}/{partition}/{offset}")
}

/// Plain bytes of a quarantine record, a tuple. `whole` says whether the record itself is in it.
pub(crate) fn quarantine_plain(
    source: &RawRecord<'_>,
    topic: &str,
    code: &str,
    whole: bool,
) -> Vec<u8> {
    let optional = |tuple: Tuple, bytes: Option<&[u8]>| match bytes {
        Some(bytes) => tuple.number(1).bytes(bytes),
        None => tuple.number(0),
    };
    let mut tuple = Tuple::new()
        .text(topic)
        .signed(i64::from(source.partition))
        .signed(source.offset)
        .signed(source.timestamp_ms)
        .text(code)
        .number(u64::from(whole));
    if whole {
        tuple = optional(tuple, source.key);
        tuple = optional(tuple, source.value);
        tuple = tuple.number(source.headers.len() as u64);
        for (name, value) in source.headers {
            tuple = optional(tuple.text(name), *value);
        }
    }
    tuple.finish()
}

/// Reads opened quarantine bytes back.
///
/// # Errors
/// `NotSealed` when the bytes are no quarantine record of this version.
pub fn read_quarantined(plain: &[u8]) -> Result<Quarantined, GateFault> {
    let mut fields = Fields(plain);
    let topic = fields.text()?;
    let partition = i32::try_from(fields.signed()?).map_err(|_| GateFault::NotSealed)?;
    let offset = fields.signed()?;
    let timestamp_ms = fields.signed()?;
    let code = fields.text()?;
    let record = if fields.number()? == 1 {
        let key = fields.optional()?;
        let value = fields.optional()?;
        let count = fields.number()?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = fields.text()?;
            headers.push((name, fields.optional()?));
        }
        Some(QuarantinedRecord { key, value, headers })
    } else {
        None
    };
    if !fields.0.is_empty() {
        return Err(GateFault::NotSealed);
    }
    Ok(Quarantined { topic, partition, offset, timestamp_ms, code, record })
}

/// Reads the fields of a [`Tuple`] one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self, kind: u8) -> Result<&'a [u8], GateFault> {
        let (head, rest) = self.0.split_at_checked(5).ok_or(GateFault::NotSealed)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (value, rest) = rest.split_at_checked(length).ok_or(GateFault::NotSealed)?;
        if head[0] != kind {
            return Err(GateFault::NotSealed);
        }
        self.0 = rest;
        Ok(value)
    }

    fn text(&mut self) -> Result<String, GateFault> {
        let bytes = self.field(b't')?.to_vec();
        String::from_utf8(bytes).map_err(|_| GateFault::NotSealed)
    }

    fn number(&mut self) -> Result<u64, GateFault> {
        let bytes = self.field(b'u')?.try_into().map_err(|_| GateFault::NotSealed)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn signed(&mut self) -> Result<i64, GateFault> {
        let bytes = self.field(b'i')?.try_into().map_err(|_| GateFault::NotSealed)?;
        Ok(i64::from_be_bytes(bytes))
    }

    fn optional(&mut self) -> Result<Option<Vec<u8>>, GateFault> {
        match self.number()? {
            0 => Ok(None),
            1 => Ok(Some(self.field(b'b')?.to_vec())),
            _ => Err(GateFault::NotSealed),
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn quarantine_records_read_back() {
        let source = RawRecord {
            topic: 0,
            partition: 3,
            offset: 8812,
            timestamp_ms: -1,
            key: Some(b"\x00k"),
            value: None,
            headers: &[("a", Some(b"1")), ("b", None)],
        };
        let read = read_quarantined(&quarantine_plain(&source, "t", "number", true)).unwrap();
        assert_eq!(quarantine_key(&read.topic, read.partition, read.offset), "t/3/8812");
        assert_eq!((read.timestamp_ms, read.code.as_str()), (-1, "number"));
        let record = read.record.unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"\x00k"[..]));
        assert_eq!(record.value, None);
        assert_eq!(record.headers, [("a".into(), Some(b"1".to_vec())), ("b".into(), None)]);

        let short = read_quarantined(&quarantine_plain(&source, "t", "number", false)).unwrap();
        assert!(short.record.is_none());
    }

    #[test]
    fn quarantine_bytes_bad_length_and_bad_tail() {
        let source = RawRecord {
            topic: 0,
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            key: None,
            value: Some(b"v"),
            headers: &[],
        };
        let plain = quarantine_plain(&source, "t", "c", true);
        for length in 0..plain.len() {
            assert!(read_quarantined(&plain[..length]).is_err(), "{length}");
        }
        let mut longer = plain.clone();
        longer.push(0);
        assert!(read_quarantined(&longer).is_err());
        assert!(read_quarantined(&plain).is_ok());
    }
}
