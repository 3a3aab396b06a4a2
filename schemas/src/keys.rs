//! What keys are for. No key serves two purposes or two algorithms; every derived key names its
//! purpose and context in the HKDF info. Where keys live is the business of `pipelines`.

use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::tuple::Tuple;
use aws_lc_rs::{hkdf, hmac};
use data_encoding::HEXLOWER;

/// The whole table of purposes. Adding a line is allowed; changing one re-tokenises the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Naming a key.
    KeyId,
    /// Tokens by HMAC-SHA-256.
    TokenHmac,
    /// Tokens by AES-CMAC.
    TokenCmac,
    /// Reversible tokens by AES-SIV.
    TokenSiv,
    /// Naming subjects where their keys are kept.
    SubjectId,
    /// Hiding that name in the tokens under a subject's key.
    SubjectMask,
    /// Format-preserving encryption.
    Ff1,
    /// Units of privacy, by subject.
    Unit,
    /// Sampling of rows.
    SampRow,
    /// Sampling of groups.
    SampGroup,
    /// Noise of differential privacy.
    DpNoise,
    /// Sealing quarantined records.
    Quarantine,
    /// Sealing position records.
    Position,
    /// Commitments of the ledger to sovereign data.
    LedgerCommit,
    /// Digests of source records in the ledger, by BLAKE3.
    SourceDigest,
    /// Blinds: numbers that show nothing of what they number.
    Blind,
    /// Sealing what is stored.
    Store,
    /// Signing releases.
    Release,
    /// Signing revocations.
    Revocation,
    /// Signing manifests.
    Manifest,
    /// Signing checkpoints.
    Checkpoint,
    /// Signing what is said of destroyed keys.
    Certificate,
}

impl Purpose {
    /// The purpose's name in the HKDF info.
    pub fn label(self) -> &'static str {
        match self {
            Self::KeyId => "douane/v1/key-id",
            Self::TokenHmac => "douane/v1/token-hmac",
            Self::TokenCmac => "douane/v1/token-cmac",
            Self::TokenSiv => "douane/v1/token-siv",
            Self::SubjectId => "douane/v1/subject-id",
            Self::SubjectMask => "douane/v1/subject-mask",
            Self::Ff1 => "douane/v1/ff1",
            Self::Unit => "douane/v1/unit",
            Self::SampRow => "douane/v1/samp-row",
            Self::SampGroup => "douane/v1/samp-group",
            Self::DpNoise => "douane/v1/dp-noise",
            Self::Quarantine => "douane/v1/quarantine",
            Self::Position => "douane/v1/position",
            Self::LedgerCommit => "douane/v1/ledger-commit",
            Self::SourceDigest => "douane/v1/source-digest",
            Self::Blind => "douane/v1/blind",
            Self::Store => "douane/v1/store",
            Self::Release => "douane/v1/release",
            Self::Revocation => "douane/v1/revocation",
            Self::Manifest => "douane/v1/manifest",
            Self::Checkpoint => "douane/v1/checkpoint",
            Self::Certificate => "douane/v1/certificate",
        }
    }
}

/// First 16 bytes of HMAC(key, `douane/v1/key-id`): a swapped key under an old name shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 16]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl std::fmt::Debug for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// 32 secret bytes for one purpose and one context (a token domain, a pipeline).
#[derive(Clone)]
pub struct Key {
    purpose: Purpose,
    secret: Secret,
    id: KeyId,
}

impl Key {
    /// A key of these bytes, drawn or derived.
    pub fn of(purpose: Purpose, secret: Secret) -> Self {
        let id = id_of(secret.bytes());
        Self { purpose, secret, id }
    }

    /// What the key is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key itself: for a cipher, never for a message.
    pub fn secret(&self) -> &[u8; 32] {
        self.secret.bytes()
    }

    /// Whether the key is kept out of swap.
    pub fn is_locked(&self) -> bool {
        self.secret.is_locked()
    }

    /// The 64 bytes that a cipher with two keys takes, HKDF-Expand (RFC 5869, 2.3) of this key with
    /// info = tuple(text `douane/v1/pair`): so the key itself serves no algorithm but HKDF, and a
    /// random key of 32 bytes serves like a derived one.
    pub fn pair(&self) -> Zeroizing<[u8; 64]> {
        pair(self.secret())
    }

    /// A key for one use of this one, HKDF-Expand (RFC 5869, 2.3) of it with info = a tuple of its
    /// purpose's label and the fields of `of`. The key itself serves no algorithm but HKDF then.
    pub fn subkey(&self, of: Tuple) -> Self {
        let info = [Tuple::new().text(self.purpose.label()).finish(), of.finish()].concat();
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, self.secret());
        let Ok(secret) = Secret::fill(|bytes| {
            expand(&prk, &info, bytes);
            Ok::<(), std::convert::Infallible>(())
        });
        Self::of(self.purpose, secret)
    }

    /// HMAC-SHA-256 over a tuple.
    pub fn mac(&self, tuple: Tuple) -> [u8; 32] {
        mac(self.secret(), &tuple.finish())
    }
}

/// [`Key::pair`] of a key that has no page of its own: one of very many, held for a moment.
pub fn pair(secret: &[u8; 32]) -> Zeroizing<[u8; 64]> {
    let info = Tuple::new().text("douane/v1/pair").finish();
    let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret);
    let mut out = Zeroizing::new([0; 64]);
    expand(&prk, &info, &mut out[..]);
    out
}

/// [`Key::id`] of such a key.
pub fn id_of(secret: &[u8; 32]) -> KeyId {
    let tag = mac(secret, Purpose::KeyId.label().as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&tag[..16]);
    KeyId(id)
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({}, {})", self.purpose.label(), self.id)
    }
}

fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&key, data).as_ref());
    out
}

/// The root from which keys follow that may live as long as it does. Keys that must be
/// destroyable one by one are random and wrapped instead, never derived.
#[derive(Clone)]
pub struct RootKey(Key);

impl RootKey {
    /// Takes 32 bytes of a good source of randomness.
    pub fn new(bytes: [u8; 32]) -> Self {
        let Ok(secret) = Secret::fill(|page| {
            page.copy_from_slice(&bytes);
            Ok::<(), std::convert::Infallible>(())
        });
        Self::of(secret)
    }

    /// Takes a secret of a good source of randomness, which is moved nowhere.
    pub fn of(secret: Secret) -> Self {
        Self(Key::of(Purpose::KeyId, secret))
    }

    /// The root's name.
    pub fn id(&self) -> KeyId {
        self.0.id()
    }

    /// The root itself: to be wrapped, never for a message.
    pub fn secret(&self) -> &[u8; 32] {
        self.0.secret()
    }

    /// Whether the root is kept out of swap.
    pub fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    /// HKDF-SHA-256 (RFC 5869), no salt, info = tuple(purpose label, context).
    pub fn derive(&self, purpose: Purpose, context: &str) -> Key {
        self.expand(purpose, Tuple::new().text(purpose.label()).text(context))
    }

    /// A version of a key: the first is that of [`RootKey::derive`], a later one has its number in
    /// the info as well.
    pub fn derive_version(&self, purpose: Purpose, context: &str, version: u32) -> Key {
        if version <= 1 {
            return self.derive(purpose, context);
        }
        let info = Tuple::new().text(purpose.label()).text(context).number(u64::from(version));
        self.expand(purpose, info)
    }

    fn expand(&self, purpose: Purpose, info: Tuple) -> Key {
        let info = info.finish();
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(self.0.secret());
        let Ok(secret) = Secret::fill(|bytes| {
            expand(&prk, &info, bytes);
            Ok::<(), std::convert::Infallible>(())
        });
        Key::of(purpose, secret)
    }
}

/// A count of bytes that HKDF is asked for.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(prk: &hkdf::Prk, info: &[u8], out: &mut [u8]) {
    let parts = [info];
    let filled = prk.expand(&parts, Length(out.len())).and_then(|okm| okm.fill(out));
    // RFC 5869 2.3: L <= 255 * HashLen. 32 and 64 bytes of SHA-256 are one and two blocks.
    assert!(filled.is_ok(), "two blocks of HKDF output cannot be refused");
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RootKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_contexts_part_keys() {
        let root = RootKey::new([7; 32]);
        let a = root.derive(Purpose::TokenHmac, "customer");
        let b = root.derive(Purpose::TokenHmac, "customer_email");
        let c = root.derive(Purpose::Ff1, "customer");
        assert_ne!(a.id(), b.id());
        assert_ne!(a.id(), c.id());
        assert_eq!(a.id(), root.derive(Purpose::TokenHmac, "customer").id());
    }

    /// RFC 5869, 2.3 by hand: T(1) = HMAC(PRK, info | 1), T(2) = HMAC(PRK, T(1) | info | 2).
    #[test]
    fn a_pair_is_two_blocks_of_hkdf() {
        let key = RootKey::new([7; 32]).derive(Purpose::TokenSiv, "customer");
        let info = Tuple::new().text("douane/v1/pair").finish();
        let first = mac(key.secret(), &[&info[..], &[1]].concat());
        let second = mac(key.secret(), &[&first[..], &info, &[2]].concat());
        assert_eq!(key.pair()[..32], first);
        assert_eq!(key.pair()[32..], second);
        let other = RootKey::new([7; 32]).derive(Purpose::TokenSiv, "phone");
        assert_ne!(key.pair()[..], other.pair()[..]);
    }

    /// RFC 5869, 2.3 by hand: T(1) = HMAC(PRK, info | 1).
    #[test]
    fn a_subkey_is_one_block_of_hkdf() {
        let key = RootKey::new([7; 32]).derive(Purpose::DpNoise, "customer");
        let info = Tuple::new().text("douane/v1/dp-noise").number(7).finish();
        let by_hand = mac(key.secret(), &[&info[..], &[1]].concat());
        let subkey = key.subkey(Tuple::new().number(7));
        assert_eq!((subkey.secret(), subkey.purpose()), (&by_hand, Purpose::DpNoise));
        assert_ne!(subkey.id(), key.subkey(Tuple::new().signed(7)).id());
    }

    /// HKDF by hand (RFC 5869 2.2, 2.3), so that the info of each version stands written out.
    #[test]
    fn a_later_version_has_its_number_in_the_info() {
        let root = RootKey::new([7; 32]);
        let by_hand = |info: Vec<u8>| {
            let prk = mac(&[0; 32], &[7; 32]);
            mac(&prk, &[info.as_slice(), &[1]].concat())
        };
        let info = || Tuple::new().text("douane/v1/token-hmac").text("customer");
        let version = |n| *root.derive_version(Purpose::TokenHmac, "customer", n).secret();
        assert_eq!(version(1), by_hand(info().finish()));
        assert_eq!(version(1), *root.derive(Purpose::TokenHmac, "customer").secret());
        assert_eq!(version(2), by_hand(info().number(2).finish()));
        assert_ne!(version(2), version(3));
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = RootKey::new([0xab; 32]).derive(Purpose::Position, "p");
        let shown = format!("{key:?}");
        assert!(!shown.contains(&HEXLOWER.encode(&key.secret()[..4])));
        assert!(shown.contains("douane/v1/position"));
    }
}
