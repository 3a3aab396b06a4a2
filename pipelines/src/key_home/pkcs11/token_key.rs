//! A person's signing key in a token: an Ed25519 pair whose private half does not leave it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use douane_ledger::signing::VerifyingKey;

use super::super::{KeyFault, may_make_person, public, write_person};
use super::{Token, Trouble, refused, stays_inside};
use crate::config::Pkcs11Home;

/// RFC 8410: the OID of Ed25519, 1.3.101.112, in DER.
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];
/// A DER OCTET STRING of 32 bytes.
const POINT: [u8; 2] = [0x04, 0x20];

/// See the module.
pub struct TokenKey {
    token: Token,
    key: VerifyingKey,
}

impl TokenKey {
    /// The token is there, lets this process in, and has the pair.
    ///
    /// # Errors
    /// [`KeyFault::Away`], [`KeyFault::Refused`]; [`KeyFault::NotWrappedHere`] is said as no such key.
    pub fn open(home: &Pkcs11Home) -> Result<Self, KeyFault> {
        let token = Token::new(home.clone(), Duration::ZERO);
        let key = token.in_session(false, |session| {
            let private = token.one(session, ObjectClass::PRIVATE_KEY)?;
            stays_inside(session, private)?;
            public_half(session, token.one(session, ObjectClass::PUBLIC_KEY)?)
        });
        Ok(Self { key: key.map_err(no_key)?, token })
    }

    pub fn key(&self) -> VerifyingKey {
        self.key
    }

    /// 64 bytes over the message.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyFault> {
        let signed = self.token.in_session(false, |session| {
            let key = self.token.one(session, ObjectClass::PRIVATE_KEY)?;
            let params = EddsaParams::new(EddsaSignatureScheme::Ed25519);
            Ok(session.sign(&Mechanism::Eddsa(params), key, message)?)
        });
        signed.map_err(no_key)
    }

    /// Makes a person's pair in a token, and its public half at `path` with `.pub`.
    ///
    /// # Errors
    /// As [`Self::open`]; [`KeyFault::Refused`] where the token has a key of this label.
    pub fn make(name: &str, home: &Pkcs11Home, path: &Path) -> Result<PathBuf, KeyFault> {
        let path = public(path);
        may_make_person(name, &[&path])?;
        let token = Token::new(home.clone(), Duration::ZERO);
        let key = token.in_session(true, |session| {
            if !session.find_objects(&token.of(ObjectClass::PRIVATE_KEY))?.is_empty() {
                return Err(refused("a key of this label is in the token already").into());
            }
            let mut private = token.of(ObjectClass::PRIVATE_KEY);
            private.extend([
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
            ]);
            let mut half = token.of(ObjectClass::PUBLIC_KEY);
            half.extend([Attribute::EcParams(ED25519.to_vec()), Attribute::Verify(true)]);
            let pair =
                session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &half, &private)?;
            stays_inside(session, pair.1)?;
            public_half(session, pair.0)
        })?;
        // Crash here: the token has a key that nobody trusts; a file that names it can be made of it.
        write_person(name, &path, key)?;
        Ok(path)
    }
}

impl Token {
    fn of(&self, class: ObjectClass) -> Vec<Attribute> {
        vec![
            Attribute::Class(class),
            Attribute::KeyType(KeyType::EC_EDWARDS),
            Attribute::Token(true),
            Attribute::Label(self.config.key_label.as_bytes().to_vec()),
        ]
    }

    fn one(&self, session: &Session, class: ObjectClass) -> Result<ObjectHandle, Trouble> {
        match session.find_objects(&self.of(class))?.as_slice() {
            [] => Err(Trouble::NoKey),
            [key] => Ok(*key),
            _ => Err(refused("several keys have this label").into()),
        }
    }
}

/// The point is 32 bytes, in most tokens as an OCTET STRING.
fn public_half(session: &Session, key: ObjectHandle) -> Result<VerifyingKey, Trouble> {
    let told = session.get_attributes(key, &[AttributeType::EcPoint])?;
    let point = told.iter().find_map(|one| match one {
        Attribute::EcPoint(point) => Some(point.strip_prefix(&POINT).unwrap_or(point)),
        _ => None,
    });
    let point: Option<[u8; 32]> = point.and_then(|point| point.try_into().ok());
    point.map(VerifyingKey).ok_or_else(|| refused("the key is not of ed25519").into())
}

fn no_key(fault: KeyFault) -> KeyFault {
    match fault {
        KeyFault::NotWrappedHere { .. } => refused("the token has no ed25519 key of this label"),
        other => other,
    }
}
