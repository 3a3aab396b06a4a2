//! Ed25519 keys (RFC 8032): PKCS#8 files for signers, SPKI PEM, SSH wire form and hexadecimal for
//! verifiers. The key id is what Go's and cosign's DSSE verifiers accept.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use data_encoding::{BASE64, BASE64_NOPAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use zeroize::Zeroizing;

use crate::canonical::{hex, hex_array, sha256};

/// RFC 8410: the fixed DER head of an Ed25519 SubjectPublicKeyInfo.
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
const SSH_TYPE: &[u8] = b"ssh-ed25519";
const PUBLIC_PEM: &str = "PUBLIC KEY";
const PRIVATE_PEM: &str = "PRIVATE KEY";
/// What [`VerifyingKey::parse`] takes, for messages.
const PUBLIC_FORMS: &str = "SPKI PEM, one line `ssh-ed25519 AAAA…`, or 64 hexadecimal characters";

/// Why a key cannot be used. Never carries key bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyFault {
    /// Neither of the forms that are read.
    #[error("not an ed25519 {expected}")]
    Form { expected: &'static str },
    /// None of the forms of a public key.
    #[error("not an ed25519 public key; expected {}", PUBLIC_FORMS)]
    Public,
    /// The private half stands where the public one belongs.
    #[error("this is a private key; expected the public half, `FILE.pub`: {}", PUBLIC_FORMS)]
    Private,
    /// The cryptographic library refused the key or had no entropy.
    #[error("the key was refused: it is not a usable ed25519 private key")]
    Refused,
}

/// A private signing key. `Debug` shows the public key id only.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

impl SigningKey {
    /// A fresh random key.
    ///
    /// # Errors
    /// [`KeyFault::Refused`] where the system has no entropy.
    pub fn generate() -> Result<Self, KeyFault> {
        Ed25519KeyPair::generate().map_err(|_| KeyFault::Refused).and_then(Self::new)
    }

    /// From a key file: PKCS#8 (RFC 5958) version 1 or 2, as PEM or DER.
    ///
    /// # Errors
    /// [`KeyFault`] for another algorithm, another form, or a mismatching public half.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyFault> {
        let der = match bytes.starts_with(b"-----BEGIN ") {
            true => Zeroizing::new(
                pem_decode(bytes, PRIVATE_PEM)
                    .ok_or(KeyFault::Form { expected: "private key in PKCS#8 PEM" })?,
            ),
            false => Zeroizing::new(bytes.to_vec()),
        };
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map_err(|_| KeyFault::Refused)
            .and_then(Self::new)
    }

    /// From the 32-byte seed of RFC 8032, section 5.1.5: for vectors and derived keys.
    ///
    /// # Errors
    /// [`KeyFault::Refused`].
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyFault> {
        Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyFault::Refused).and_then(Self::new)
    }

    fn new(pair: Ed25519KeyPair) -> Result<Self, KeyFault> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyFault::Refused)?;
        Ok(Self { pair, public: VerifyingKey(public) })
    }

    /// PKCS#8 version 1 as PEM, as `openssl genpkey -algorithm ed25519` writes it. Secret.
    ///
    /// # Errors
    /// [`KeyFault::Refused`] where the library cannot export the key.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyFault> {
        let der: Pkcs8V1Der = self.pair.as_der().map_err(|_| KeyFault::Refused)?;
        Ok(Zeroizing::new(pem_encode(der.as_ref(), PRIVATE_PEM)))
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public
    }

    /// 64 bytes; deterministic.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        out
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public.keyid())
    }
}

/// A public key. In JSON it is 64 hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerifyingKey(pub [u8; 32]);

impl VerifyingKey {
    /// Reads any of: 64 hexadecimal characters, SPKI PEM, `ssh-ed25519 AAAA… [comment]`.
    ///
    /// # Errors
    /// [`KeyFault::Private`] for a private key in PEM, [`KeyFault::Public`] and
    /// [`KeyFault::Form`] for anything else.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        let text = text.trim();
        // `PRIVATE KEY` of PKCS#8, and what OpenSSH and OpenSSL call theirs.
        let head = text.strip_prefix("-----BEGIN ").and_then(|rest| rest.split("-----").next());
        if head.is_some_and(|label| label.ends_with(PRIVATE_PEM)) {
            return Err(KeyFault::Private);
        }
        if text.starts_with("-----BEGIN ") {
            return Self::from_spki_pem(text);
        }
        if let Some(rest) = text.strip_prefix("ssh-ed25519 ") {
            let wire = rest.split(' ').next().and_then(|b64| BASE64.decode(b64.as_bytes()).ok());
            return wire
                .and_then(|wire| Self::from_ssh_wire(&wire))
                .ok_or(KeyFault::Form { expected: "public key in SSH form" });
        }
        hex_array(text).map(Self).ok_or(KeyFault::Public)
    }

    /// RFC 8410 SubjectPublicKeyInfo in PEM.
    ///
    /// # Errors
    /// [`KeyFault::Form`] for another algorithm or form.
    pub fn from_spki_pem(pem: &str) -> Result<Self, KeyFault> {
        pem_decode(pem.as_bytes(), PUBLIC_PEM)
            .and_then(|der| der.strip_prefix(&SPKI_HEAD)?.try_into().ok())
            .map(Self)
            .ok_or(KeyFault::Form { expected: "public key in SPKI PEM" })
    }

    /// The PEM that cosign, securesystemslib and openssl read.
    pub fn to_spki_pem(&self) -> String {
        let mut der = SPKI_HEAD.to_vec();
        der.extend_from_slice(&self.0);
        pem_encode(&der, PUBLIC_PEM)
    }

    /// RFC 8709, section 4: length-prefixed type name, length-prefixed key.
    pub fn to_ssh_wire(&self) -> Vec<u8> {
        let mut wire = vec![0, 0, 0, 11];
        wire.extend_from_slice(SSH_TYPE);
        wire.extend_from_slice(&[0, 0, 0, 32]);
        wire.extend_from_slice(&self.0);
        wire
    }

    fn from_ssh_wire(wire: &[u8]) -> Option<Self> {
        let rest = wire.strip_prefix(&[0, 0, 0, 11])?.strip_prefix(SSH_TYPE)?;
        rest.strip_prefix(&[0, 0, 0, 32])?.try_into().ok().map(Self)
    }

    /// `SHA256:` and the unpadded base64 of the SHA-256 of the SSH wire form. A hint only: what
    /// counts is which key verifies.
    pub fn keyid(&self) -> String {
        format!("SHA256:{}", BASE64_NOPAD.encode(&sha256(&self.to_ssh_wire())))
    }

    /// Whether `signature` (64 bytes) is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyingKey({})", self.keyid())
    }
}

impl Serialize for VerifyingKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for VerifyingKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        hex_array(&text).map(Self).ok_or_else(|| D::Error::custom("not a key in hexadecimal"))
    }
}

/// RFC 7468, strict: one block, base64 lines, nothing before or after.
fn pem_decode(bytes: &[u8], label: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= 4096)?;
    let body = text
        .trim()
        .strip_prefix(&format!("-----BEGIN {label}-----"))?
        .strip_suffix(&format!("-----END {label}-----"))?;
    let base64 = Zeroizing::new(body.split_ascii_whitespace().collect::<String>());
    BASE64.decode(base64.as_bytes()).ok()
}

fn pem_encode(der: &[u8], label: &str) -> String {
    // An Ed25519 key is at most 64 base64 characters or a little more: two lines at most.
    let base64 = Zeroizing::new(BASE64.encode(der));
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (at, character) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem + &format!("\n-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// RFC 8032, section 7.1, TEST 1 to 3: seed, public key, message, signature.
    const RFC_8032: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    #[test]
    fn rfc_8032_vectors() {
        for [seed, public, message, signature] in RFC_8032 {
            let key = SigningKey::from_seed(&hex_array(seed).unwrap()).unwrap();
            let message = HEXLOWER.decode(message.as_bytes()).unwrap();
            assert_eq!(hex(&key.verifying_key().0), public);
            assert_eq!(hex(&key.sign(&message)), signature);
            let mut wrong = HEXLOWER.decode(signature.as_bytes()).unwrap();
            assert!(key.verifying_key().verifies(&message, &wrong));
            wrong[3] ^= 1;
            assert!(!key.verifying_key().verifies(&message, &wrong));
        }
    }

    /// RFC 8410, section 10.1 (public) and 10.3 (private): the same key pair.
    #[test]
    fn rfc_8410_key_files() {
        let private = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
            -----END PRIVATE KEY-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\n\
            MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
            -----END PUBLIC KEY-----\n";
        let key = SigningKey::from_bytes(private.as_bytes()).unwrap();
        assert_eq!(key.verifying_key().to_spki_pem(), public);
        assert_eq!(VerifyingKey::parse(public).unwrap(), key.verifying_key());
        assert_eq!(key.to_pkcs8_pem().unwrap().as_str(), private);
    }

    #[test]
    fn keys_survive_their_files_and_other_forms() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_bytes(key.to_pkcs8_pem().unwrap().as_bytes()).unwrap();
        assert_eq!(again.verifying_key(), key.verifying_key());
        let public = key.verifying_key();
        let ssh = format!("ssh-ed25519 {} a@b", BASE64.encode(&public.to_ssh_wire()));
        assert_eq!(VerifyingKey::parse(&ssh).unwrap(), public);
        assert_eq!(VerifyingKey::parse(&hex(&public.0)).unwrap(), public);
        assert!(!format!("{key:?}").contains(&hex(&public.0)));
    }

    #[test]
    fn a_private_key_for_a_public_one_is_called_that() {
        let private = SigningKey::generate().unwrap().to_pkcs8_pem().unwrap();
        let open_ssh =
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----";
        for text in [private.as_str(), open_ssh] {
            let fault = VerifyingKey::parse(text).unwrap_err();
            assert_eq!(fault, KeyFault::Private);
            assert!(fault.to_string().contains("expected the public half, `FILE.pub`"));
        }
        let fault = VerifyingKey::parse("7").unwrap_err().to_string();
        assert!(fault.ends_with(PUBLIC_FORMS), "{fault}");
        let public = "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----";
        assert_ne!(VerifyingKey::parse(public).unwrap_err(), KeyFault::Private);
    }

    #[test]
    fn refuses_key_bad_form() {
        for bad in ["", "00", "ssh-rsa AAAA", "-----BEGIN PUBLIC KEY-----\n!\n-----END X-----"] {
            assert!(VerifyingKey::parse(bad).is_err(), "{bad}");
        }
        assert!(SigningKey::from_bytes(b"-----BEGIN PRIVATE KEY-----").is_err());
        assert!(SigningKey::from_bytes(&[0x30, 0x82, 0xff]).is_err());
        assert!(SigningKey::from_bytes(b"").is_err());
    }
}
