//! DSSE envelopes, version 1: <https://github.com/secure-systems-lab/dsse/blob/master/envelope.md>.
//!
//! Stricter than the standard on reading, so that every changed byte is refused: the file is
//! canonical JSON (one newline may follow), a signature by an unknown key is a refusal and not
//! ignored, and a key id that does not fit its key is one too.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, CanonicalFault};
use crate::signing::{SigningKey, VerifyingKey};

/// The one payload type in use.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The most signatures that are read.
pub const SIGNATURES_MAX: usize = 64;

/// Why an envelope is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeFault {
    /// Not a canonical envelope file.
    #[error("envelope: {0}")]
    Canonical(#[from] CanonicalFault),
    /// Base64 that is not strict, or a signature that does not have 64 bytes.
    #[error("envelope's {part} is malformed")]
    Malformed { part: &'static str },
    /// Another payload type.
    #[error("payload type is not {PAYLOAD_TYPE}")]
    PayloadType,
    /// No signature, or more than are read.
    #[error("envelope has {found} signatures, expected 1 to {SIGNATURES_MAX}")]
    Signatures { found: usize },
    /// A signature whose key id names none of the expected keys.
    #[error("signature {index} is by a key that is not expected here")]
    UnknownSigner { index: usize },
    /// A signature that its key does not verify.
    #[error("signature {index} does not verify: the envelope was changed or wrongly signed")]
    BadSignature { index: usize },
    /// One key signed twice.
    #[error("signature {index} repeats an earlier signer")]
    Repeated { index: usize },
}

/// A signed payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Base64 of the payload.
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

/// One signature over the envelope's PAE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

/// What an envelope holds once every signature on it was verified.
#[derive(Debug)]
pub struct Verified {
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// The distinct keys that signed, in the order of the envelope.
    pub signers: Vec<VerifyingKey>,
}

impl Envelope {
    /// Signs a payload.
    pub fn sign(payload: &[u8], keys: &[&SigningKey]) -> Self {
        let mut envelope = Self {
            payload: BASE64.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: Vec::new(),
        };
        for key in keys {
            envelope.push(payload, key);
        }
        envelope
    }

    /// Adds one more person's signature over the same payload; an earlier one by the same key is
    /// replaced.
    ///
    /// # Errors
    /// [`EnvelopeFault::Malformed`] where the payload is not base64.
    pub fn add_signature(&mut self, key: &SigningKey) -> Result<(), EnvelopeFault> {
        let payload = self.unverified_payload()?;
        self.push(&payload, key);
        Ok(())
    }

    fn push(&mut self, payload: &[u8], key: &SigningKey) {
        let sig = key.sign(&pae(&self.payload_type, payload));
        self.replace(&key.verifying_key(), &sig);
    }

    /// What a signature is over, for a signer whose key stays where it is.
    ///
    /// # Errors
    /// [`EnvelopeFault::Malformed`] where the payload is not base64.
    pub fn to_sign(&self) -> Result<Vec<u8>, EnvelopeFault> {
        Ok(pae(&self.payload_type, &self.unverified_payload()?))
    }

    /// Adds a signature over [`Self::to_sign`] that was made elsewhere; an earlier one by the same key
    /// is replaced.
    ///
    /// # Errors
    /// [`EnvelopeFault::BadSignature`] where the key does not verify it: nothing is added.
    pub fn add(&mut self, key: &VerifyingKey, sig: &[u8]) -> Result<(), EnvelopeFault> {
        if !key.verifies(&self.to_sign()?, sig) {
            return Err(EnvelopeFault::BadSignature { index: self.signatures.len() });
        }
        self.replace(key, sig);
        Ok(())
    }

    fn replace(&mut self, key: &VerifyingKey, sig: &[u8]) {
        let keyid = key.keyid();
        self.signatures.retain(|signature| signature.keyid != keyid);
        self.signatures.push(Signature { keyid, sig: BASE64.encode(sig) });
    }

    /// Somebody signed it, whoever that is.
    pub fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// The payload before anyone verified it: to show a draft, never to act on it.
    ///
    /// # Errors
    /// [`EnvelopeFault::Malformed`] where it is not strict base64.
    pub fn unverified_payload(&self) -> Result<Vec<u8>, EnvelopeFault> {
        BASE64
            .decode(self.payload.as_bytes())
            .map_err(|_| EnvelopeFault::Malformed { part: "payload" })
    }

    /// Reads an envelope file: canonical JSON, one newline may follow.
    ///
    /// # Errors
    /// [`EnvelopeFault::Canonical`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeFault> {
        Ok(canonical::from_slice(bytes.strip_suffix(b"\n").unwrap_or(bytes))?)
    }

    /// Canonical JSON and a newline.
    ///
    /// # Errors
    /// None in practice: an envelope holds text only.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EnvelopeFault> {
        let mut bytes = canonical::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Checks every signature against the expected keys.
    ///
    /// # Errors
    /// The first [`EnvelopeFault`]; an envelope with one good and one bad signature is refused.
    pub fn verify(&self, keys: &[VerifyingKey]) -> Result<Verified, EnvelopeFault> {
        if self.payload_type != PAYLOAD_TYPE {
            return Err(EnvelopeFault::PayloadType);
        }
        let found = self.signatures.len();
        if found == 0 || found > SIGNATURES_MAX {
            return Err(EnvelopeFault::Signatures { found });
        }
        let payload = self.unverified_payload()?;
        let message = pae(&self.payload_type, &payload);
        let mut signers = Vec::with_capacity(found);
        for (index, signature) in self.signatures.iter().enumerate() {
            let sig = BASE64
                .decode(signature.sig.as_bytes())
                .ok()
                .filter(|sig| sig.len() == 64)
                .ok_or(EnvelopeFault::Malformed { part: "signature" })?;
            // The id is a hint for the choice; the signature itself is what convinces.
            let key = keys
                .iter()
                .find(|key| key.keyid() == signature.keyid)
                .ok_or(EnvelopeFault::UnknownSigner { index })?;
            if !key.verifies(&message, &sig) {
                return Err(EnvelopeFault::BadSignature { index });
            }
            if signers.contains(key) {
                return Err(EnvelopeFault::Repeated { index });
            }
            signers.push(*key);
        }
        Ok(Verified { payload, signers })
    }
}

/// Pre-authentication encoding, DSSE protocol version 1.
fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DSSE protocol.md, test vectors.
    #[test]
    fn pae_vector_of_the_standard() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    }

    #[test]
    fn signs_and_verifies_by_two() {
        let (a, b) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let keys = [a.verifying_key(), b.verifying_key()];
        let mut envelope = Envelope::sign(b"{}", &[&a]);
        envelope.add_signature(&b).unwrap();
        envelope.add_signature(&b).unwrap();
        let read = Envelope::from_bytes(&envelope.to_bytes().unwrap()).unwrap();
        let verified = read.verify(&keys).unwrap();
        assert_eq!(verified.payload, b"{}");
        assert_eq!(verified.signers, keys);
    }

    #[test]
    fn a_signature_made_elsewhere_is_the_same_and_a_wrong_one_is_not_added() {
        let (a, b) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let mut made = Envelope::sign(b"{}", &[]);
        assert!(!made.is_signed());
        let sig = a.sign(&made.to_sign().unwrap());
        assert_eq!(
            made.add(&b.verifying_key(), &sig),
            Err(EnvelopeFault::BadSignature { index: 0 })
        );
        assert!(made.add(&a.verifying_key(), &sig[..63]).is_err() && !made.is_signed());
        made.add(&a.verifying_key(), &sig).unwrap();
        made.add(&a.verifying_key(), &sig).unwrap();
        assert_eq!(made, Envelope::sign(b"{}", &[&a]));
    }

    #[test]
    fn refusals() {
        let (a, b) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let good = Envelope::sign(b"{}", &[&a, &b]);
        let keys = [a.verifying_key(), b.verifying_key()];
        assert!(good.verify(&keys).is_ok());
        let refused = |change: &dyn Fn(&mut Envelope)| {
            let mut envelope = good.clone();
            change(&mut envelope);
            envelope.verify(&keys).unwrap_err()
        };
        assert_eq!(good.verify(&keys[..1]).unwrap_err(), EnvelopeFault::UnknownSigner { index: 1 });
        assert_eq!(refused(&|e| e.payload_type.push('x')), EnvelopeFault::PayloadType);
        assert_eq!(refused(&|e| e.signatures.clear()), EnvelopeFault::Signatures { found: 0 });
        assert_eq!(
            refused(&|e| e.payload = BASE64.encode(b"[]")),
            EnvelopeFault::BadSignature { index: 0 }
        );
        assert_eq!(
            refused(&|e| e.signatures[1] = e.signatures[0].clone()),
            EnvelopeFault::Repeated { index: 1 }
        );
        // the id of one, the signature of the other
        assert_eq!(
            refused(&|e| e.signatures[1].keyid = e.signatures[0].keyid.clone()),
            EnvelopeFault::BadSignature { index: 1 }
        );
        assert_eq!(
            refused(&|e| e.signatures[0].keyid.clear()),
            EnvelopeFault::UnknownSigner { index: 0 }
        );
        assert_eq!(
            refused(&|e| e.signatures[0].sig.truncate(84)),
            EnvelopeFault::Malformed { part: "signature" }
        );
    }

    proptest::proptest! {
        /// Outside bytes never panic: what is not a signed file is refused.
        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let refused = (
                Envelope::from_bytes(&bytes).is_err(),
                crate::trust::TrustRoot::load(&bytes, None).is_err(),
                SigningKey::from_bytes(&bytes).is_err(),
            );
            proptest::prop_assert_eq!(refused, (true, true, true));
        }
    }
}
