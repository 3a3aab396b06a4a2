//! What the ledger crate calls of aws-lc-rs, in pure Rust, for the one target that has no AWS-LC:
//! digests, MACs and the verification of Ed25519. Nothing here makes a key, a signature or chance: a
//! page in a browser has none of them, and is told so.

/// As aws-lc-rs has it: no reason is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unspecified;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRejected;

pub mod digest {
    use sha2::Digest as _;

    pub struct Algorithm(());
    pub static SHA256: Algorithm = Algorithm(());

    pub struct Digest([u8; 32]);

    impl AsRef<[u8]> for Digest {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    #[derive(Clone)]
    pub struct Context(sha2::Sha256);

    impl Context {
        pub fn new(_: &'static Algorithm) -> Self {
            Self(sha2::Sha256::new())
        }

        pub fn update(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        pub fn finish(self) -> Digest {
            Digest(self.0.finalize().into())
        }
    }

    pub fn digest(_: &'static Algorithm, bytes: &[u8]) -> Digest {
        Digest(sha2::Sha256::digest(bytes).into())
    }
}

pub mod hmac {
    use hmac::{KeyInit as _, Mac as _};

    type Sha = hmac::Hmac<sha2::Sha256>;

    #[derive(Clone, Copy)]
    pub struct Algorithm(());
    pub static HMAC_SHA256: Algorithm = Algorithm(());

    #[derive(Clone)]
    pub struct Key(Sha);

    impl Key {
        pub fn new(_: Algorithm, key: &[u8]) -> Self {
            // Keys of any length are taken.
            Self(Sha::new_from_slice(key).unwrap_or_else(|_| Sha::new(&Default::default())))
        }
    }

    pub struct Tag([u8; 32]);

    impl AsRef<[u8]> for Tag {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    #[derive(Clone)]
    pub struct Context(Sha);

    impl Context {
        pub fn with_key(key: &Key) -> Self {
            Self(key.0.clone())
        }

        pub fn update(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        pub fn sign(self) -> Tag {
            Tag(self.0.finalize().into_bytes().into())
        }
    }

    pub fn sign(key: &Key, bytes: &[u8]) -> Tag {
        let mut context = Context::with_key(key);
        context.update(bytes);
        context.sign()
    }
}

pub mod rand {
    use super::Unspecified;

    /// There is none to be had.
    pub fn fill(_: &mut [u8]) -> Result<(), Unspecified> {
        Err(Unspecified)
    }
}

pub mod encoding {
    use super::Unspecified;

    pub trait AsDer<T> {
        fn as_der(&self) -> Result<T, Unspecified>;
    }

    pub struct Pkcs8V1Der(Vec<u8>);

    impl AsRef<[u8]> for Pkcs8V1Der {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
}

pub mod signature {
    use super::encoding::{AsDer, Pkcs8V1Der};
    use super::{KeyRejected, Unspecified};

    pub struct EdDSAParameters(());
    pub static ED25519: EdDSAParameters = EdDSAParameters(());

    pub struct UnparsedPublicKey<'a>(&'a [u8; 32]);

    impl<'a> UnparsedPublicKey<'a> {
        pub fn new(_: &'static EdDSAParameters, key: &'a [u8; 32]) -> Self {
            Self(key)
        }

        /// RFC 8032, without the cofactor, as AWS-LC does.
        pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Unspecified> {
            use ed25519_dalek::Verifier as _;
            let key = ed25519_dalek::VerifyingKey::from_bytes(self.0).map_err(|_| Unspecified)?;
            let signature =
                ed25519_dalek::Signature::from_slice(signature).map_err(|_| Unspecified)?;
            key.verify(message, &signature).map_err(|_| Unspecified)
        }
    }

    pub trait KeyPair {
        type PublicKey: AsRef<[u8]>;

        fn public_key(&self) -> &Self::PublicKey;
    }

    /// A private key, of which there is none here: no function gives one.
    pub enum Ed25519KeyPair {}

    impl Ed25519KeyPair {
        pub fn generate() -> Result<Self, Unspecified> {
            Err(Unspecified)
        }

        pub fn from_pkcs8_maybe_unchecked(_: &[u8]) -> Result<Self, KeyRejected> {
            Err(KeyRejected)
        }

        pub fn from_seed_unchecked(_: &[u8]) -> Result<Self, KeyRejected> {
            Err(KeyRejected)
        }

        pub fn sign(&self, _: &[u8]) -> [u8; 64] {
            match *self {}
        }
    }

    impl KeyPair for Ed25519KeyPair {
        type PublicKey = [u8; 32];

        fn public_key(&self) -> &[u8; 32] {
            match *self {}
        }
    }

    impl AsDer<Pkcs8V1Der> for Ed25519KeyPair {
        fn as_der(&self) -> Result<Pkcs8V1Der, Unspecified> {
            match *self {}
        }
    }
}
