//! The implementations of this build, as far as vectors can ask them.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use douane_transforms::TransformFault;
use douane_transforms::alphabet::Signs;
use douane_transforms::cmac::Cmac;
use douane_transforms::ff1::{Aes128, Aes192, Aes256, Cipher, Ff1, NUMERALS_MAX, Way};
use douane_transforms::hmac::Hmac;
use douane_transforms::siv;
use serde_json::Value;

/// Why there is no answer.
pub(super) enum Refusal {
    /// The input is not valid.
    Invalid,
    /// It may be valid, and this build refuses all such.
    Policy(String),
    /// This build cannot be asked.
    Absent(String),
}

/// FF1 with a key of any size that AES has, over an alphabet or over numbers.
pub(super) struct Fpe {
    cipher: Keyed,
    signs: Option<Signs>,
}

enum Keyed {
    Aes128(Ff1<Aes128>),
    Aes192(Ff1<Aes192>),
    Aes256(Ff1<Aes256>),
}

impl Fpe {
    pub(super) fn new(key: &[u8], radix: u32, alphabet: Option<&str>) -> Result<Self, Refusal> {
        fn made<C: Cipher>(key: &[u8], radix: u32) -> Result<Ff1<C>, Refusal> {
            Ff1::new(key, radix).ok_or(Refusal::Invalid)
        }
        let cipher = match key.len() {
            16 => Keyed::Aes128(made(key, radix)?),
            24 => Keyed::Aes192(made(key, radix)?),
            32 => Keyed::Aes256(made(key, radix)?),
            _ => return Err(Refusal::Invalid),
        };
        let signs = match alphabet {
            None | Some("") => None,
            Some(text) if text.chars().count() == radix as usize => Some(Signs::new(text)),
            Some(_) => return Err(Refusal::Absent("an alphabet that is not of its radix".into())),
        };
        Ok(Self { cipher, signs })
    }

    pub(super) fn encrypt(&self, tweak: &[u8], value: &Value) -> Result<Vec<u16>, Refusal> {
        self.apply(Way::Encrypt, tweak, value)
    }

    pub(super) fn decrypt(&self, tweak: &[u8], value: &Value) -> Result<Vec<u16>, Refusal> {
        self.apply(Way::Decrypt, tweak, value)
    }

    /// Whether numerals are those of a value.
    pub(super) fn is(&self, numerals: &[u16], value: &Value) -> bool {
        self.numerals(value).is_some_and(|expected| expected == numerals)
    }

    fn apply(&self, way: Way, tweak: &[u8], value: &Value) -> Result<Vec<u16>, Refusal> {
        let mut numerals = self.numerals(value).ok_or(Refusal::Invalid)?;
        let done = match &self.cipher {
            Keyed::Aes128(ff1) => ff1.apply(way, tweak, &mut numerals),
            Keyed::Aes192(ff1) => ff1.apply(way, tweak, &mut numerals),
            Keyed::Aes256(ff1) => ff1.apply(way, tweak, &mut numerals),
        };
        match done {
            Ok(()) => Ok(numerals),
            Err(TransformFault::DomainTooSmall) => {
                Err(Refusal::Policy("domain under 10^6".to_owned()))
            }
            Err(TransformFault::TooLong) => {
                Err(Refusal::Policy(format!("values of over {NUMERALS_MAX} characters")))
            }
            Err(_) => Err(Refusal::Invalid),
        }
    }

    /// A text of the alphabet, or a list of numbers.
    fn numerals(&self, value: &Value) -> Option<Vec<u16>> {
        match (value, &self.signs) {
            (Value::String(text), Some(signs)) => text.chars().map(|c| signs.numeral(c)).collect(),
            // NIST's samples name no alphabet: digits, then small letters.
            (Value::String(text), None) => text
                .chars()
                .map(|c| c.to_digit(36).filter(|_| !c.is_uppercase()))
                .map(|digit| u16::try_from(digit?).ok())
                .collect(),
            (Value::Array(numbers), _) => {
                numbers.iter().map(|number| u16::try_from(number.as_u64()?).ok()).collect()
            }
            _ => None,
        }
    }
}

/// A message authentication code.
pub(super) enum Mac {
    HmacSha256,
    AesCmac,
}

impl Mac {
    pub(super) fn named(algorithm: &str) -> Option<Self> {
        match algorithm {
            "HMACSHA256" => Some(Self::HmacSha256),
            "AES-CMAC" => Some(Self::AesCmac),
            _ => None,
        }
    }

    pub(super) fn tag(&self, key: &[u8], message: &[u8]) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::HmacSha256 => hmac(key, message),
            Self::AesCmac => Ok(Cmac::new(&aes_256(key)?).tag(message).to_vec()),
        }
    }
}

fn hmac(key: &[u8], message: &[u8]) -> Result<Vec<u8>, Refusal> {
    // FIPS 198-1, steps 1 to 3: zeros to the right leave a key what it is, and a key of over 64
    // bytes is its digest.
    let mut padded = [0; 32];
    match key.len() {
        0..=32 => padded[..key.len()].copy_from_slice(key),
        33..=64 => return Err(Refusal::Absent("HMAC keys of 33 to 64 bytes".into())),
        _ => padded.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref()),
    }
    Ok(Hmac::new(&padded).tag(&mut message.to_vec()).to_vec())
}

/// Keys of this build have 256 bits.
fn aes_256(key: &[u8]) -> Result<[u8; 32], Refusal> {
    match key.len() {
        16 | 24 => Err(Refusal::Absent(format!("AES keys of {} bits", 8 * key.len()))),
        _ => key.try_into().map_err(|_| Refusal::Invalid),
    }
}

/// Deterministic authenticated encryption, RFC 5297.
pub(super) struct Siv(siv::Siv);

impl Siv {
    pub(super) fn new(key: &[u8]) -> Result<Self, Refusal> {
        match key.len() {
            32 | 48 => Err(Refusal::Absent(format!("AES-SIV keys of {} bits", 8 * key.len()))),
            _ => {
                let key: &[u8; 64] = key.try_into().map_err(|_| Refusal::Invalid)?;
                Ok(Self(siv::Siv::new(key)))
            }
        }
    }

    /// `associated`: strings, not one of them joined.
    pub(super) fn seal(&self, associated: &[&[u8]], message: &[u8]) -> Vec<u8> {
        self.0.seal(&self.0.header(associated), message)
    }

    pub(super) fn open(&self, associated: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
        let opened = self.0.open(&self.0.header(associated), sealed).ok_or(Refusal::Invalid)?;
        Ok(opened.to_vec())
    }
}

/// What seals records and keys: AWS-LC, as the gate and the key store call it.
pub(super) enum Aead {
    Gcm,
    GcmSiv,
}

impl Aead {
    pub(super) fn named(algorithm: &str) -> Option<Self> {
        match algorithm {
            "AES-GCM" => Some(Self::Gcm),
            "AES-GCM-SIV" => Some(Self::GcmSiv),
            _ => None,
        }
    }

    pub(super) fn with_key(&self, key: &[u8]) -> Result<AeadKey, Refusal> {
        let algorithm = match (self, key.len()) {
            (Self::Gcm, 16) => &aead::AES_128_GCM,
            (Self::Gcm, 24) => &aead::AES_192_GCM,
            (Self::Gcm, 32) => &aead::AES_256_GCM,
            (Self::GcmSiv, 16) => &aead::AES_128_GCM_SIV,
            (Self::GcmSiv, 32) => &aead::AES_256_GCM_SIV,
            _ => return Err(Refusal::Invalid),
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| Refusal::Invalid)?;
        Ok(AeadKey(LessSafeKey::new(key)))
    }
}

pub(super) struct AeadKey(LessSafeKey);

impl AeadKey {
    fn nonce(nonce: &[u8]) -> Result<Nonce, Refusal> {
        Nonce::try_assume_unique_for_key(nonce)
            .map_err(|_| Refusal::Policy(format!("nonces of {} bits", 8 * nonce.len())))
    }

    pub(super) fn seal(&self, nonce: &[u8], aad: &[u8], text: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut text = text.to_vec();
        self.0
            .seal_in_place_append_tag(Self::nonce(nonce)?, Aad::from(aad), &mut text)
            .map_err(|_| Refusal::Invalid)?;
        Ok(text)
    }

    /// `sealed` ends with its tag.
    pub(super) fn open(&self, nonce: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut sealed = sealed.to_vec();
        let opened = self
            .0
            .open_in_place(Self::nonce(nonce)?, Aad::from(aad), &mut sealed)
            .map_err(|_| Refusal::Invalid)?;
        Ok(opened.to_vec())
    }
}
