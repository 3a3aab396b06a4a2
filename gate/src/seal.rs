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
use douane_schemas::keys::{Key, KeyId, Purpose};
use douane_schemas::tuple::Tuple;

use crate::GateFault;
use crate::quarantine::ClearHeader;

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
///     headers: Vec::new(),
/// };
/// ```
#[derive(Clone)]
pub struct Sealed {
    destination: Destination,
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<ClearHeader>,
}

impl Sealed {
    pub(crate) fn with(self, headers: Vec<ClearHeader>) -> Self {
        Self { headers, ..self }
    }

    /// What stands beside the seal, in the clear. No part of what is sealed, and never read back.
    pub fn headers(&self) -> &[ClearHeader] {
        &self.headers
    }

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

/// As [`crate::Gate::seal_position`], where there is no release to make a gate of: who fences a pipeline so that it
/// ends commits its layout once more, whether or not anything may cross still.
///
/// # Errors
/// Keys of another purpose; more than 64 MiB, or a refusal of the cipher.
pub fn seal_position(
    (seal_key, blind): (&Key, &Key),
    partition: i32,
    key: &str,
    plain: &[u8],
    context: &SealContext,
) -> Result<Sealed, GateFault> {
    expect_purpose(blind, Purpose::Blind)?;
    seal(seal_key, blind, Destination::Position { partition }, key, plain, context)
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
        return Err(GateFault::SealKey { found: KeyId(found), expected: key.id() });
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
    let key = record_key.as_bytes().to_vec();
    Ok(Sealed { destination, key, value, headers: Vec::new() })
}

/// Which key sealed these bytes, as they say themselves: after a rotation several may open.
pub fn sealed_by(sealed: &[u8]) -> Option<KeyId> {
    let id = sealed.get(1..=KEY_ID_LEN)?;
    (sealed.first() == Some(&VERSION)).then_some(KeyId(id.try_into().ok()?))
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

#[cfg(test)]
mod tests;
