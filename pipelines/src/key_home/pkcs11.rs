//! The wrapping key in a token, by PKCS#11: made there, not extractable, and only ever asked to
//! wrap and unwrap the one key of the store.
//!
//! A session is opened, logged in and closed each time, so that each answer proves that the token
//! still lets this process in. A PIN that was refused is not tried again: tokens count.

mod module;
mod token_key;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use data_encoding::HEXLOWER;
use douane_schemas::secret::Secret;
use zeroize::Zeroizing;

use super::wrapping::{KeyStore, Remains, WrappingKey, secret_of};
use super::{KeyFault, read};
use crate::config::Pkcs11Home;

pub use token_key::TokenKey;

const NAME: &str = "pkcs11";
const IV_LEN: usize = 12;
const TAG_BITS: u64 = 128;
/// How often a token is looked for. SoftHSM writes down that somebody logged in, and for as long as it does another
/// process is told of no such token, or of a general error.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Loaded modules: a library is initialised once in a process. The lock also serialises sessions,
/// because who is logged in is one state for all of them.
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// PINs that a token said no to, as a keyed hash of module, token and PIN: homes are opened anew for
/// each look, and each would count as a try.
static REFUSED: LazyLock<(RandomState, Mutex<HashSet<u64>>)> = LazyLock::new(Default::default);

/// See the module.
pub struct Token {
    config: Pkcs11Home,
    lease: Duration,
}

/// Why a call came to nothing.
enum Trouble {
    /// No such key.
    NoKey,
    /// No such token, for now.
    NoToken,
    Fault(KeyFault),
    Token(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

impl From<KeyFault> for Trouble {
    fn from(fault: KeyFault) -> Self {
        Self::Fault(fault)
    }
}

fn away(why: impl std::fmt::Display) -> KeyFault {
    KeyFault::Away { home: NAME, why: why.to_string() }
}

fn refused(why: &str) -> KeyFault {
    KeyFault::Refused { home: NAME, why: why.to_owned() }
}

/// The error's own name: what a module says beside it is not ours to print.
fn word(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("{function:?} says {code:?}"),
        Error::LibraryLoading(_) | Error::MissingSymbol(_) => {
            "the module cannot be loaded".to_owned()
        }
        _ => "the module answers out of form".to_owned(),
    }
}

impl Token {
    pub fn new(config: Pkcs11Home, lease: Duration) -> Self {
        Self { config, lease }
    }

    /// Runs `work` in a session of its own.
    fn in_session<T>(
        &self,
        writes: bool,
        work: impl FnOnce(&Session) -> Result<T, Trouble>,
    ) -> Result<T, KeyFault> {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.logged_in(&mut modules, writes).and_then(|session| work(&session));
        match answer {
            Ok(answer) => Ok(answer),
            Err(Trouble::NoKey) => Err(KeyFault::NotWrappedHere { home: NAME }),
            Err(Trouble::NoToken) => Err(away("no token has this label")),
            Err(Trouble::Fault(fault)) => Err(fault),
            // Wrapped under another key, or for another place.
            Err(Trouble::Token(Error::Pkcs11(
                RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange,
                _,
            ))) => Err(KeyFault::NotWrappedHere { home: NAME }),
            Err(Trouble::Token(error)) => {
                self.unload(&mut modules);
                Err(away(word(&error)))
            }
        }
    }

    /// Tokens that come, or that were lost, are seen by a module that is initialised after it.
    fn unload(&self, modules: &mut BTreeMap<PathBuf, Pkcs11>) {
        if let Some(module) = modules.remove(&self.config.module) {
            let _ = module.finalize();
        }
    }

    fn logged_in(
        &self,
        modules: &mut BTreeMap<PathBuf, Pkcs11>,
        writes: bool,
    ) -> Result<Session, Trouble> {
        let mut looks = 1;
        let session = loop {
            match self.open(modules, writes) {
                Err(Trouble::NoToken | Trouble::Token(_)) if looks < LOOKS => {
                    self.unload(modules);
                    std::thread::sleep(BETWEEN_LOOKS);
                    looks += 1;
                }
                opened => break opened.inspect_err(|_| self.unload(modules))?,
            }
        };
        let bytes = read(&self.config.pin_file)?;
        let pin = std::str::from_utf8(bytes.strip_suffix(b"\n").unwrap_or(&bytes));
        let path = &self.config.pin_file;
        let pin = pin.map_err(|_| KeyFault::Form { path: path.clone(), expected: "a PIN" })?;
        self.log_in(&session, pin)?;
        Ok(session)
    }

    /// A session with the token. Nobody has logged in, and no PIN was shown.
    fn open(
        &self,
        modules: &mut BTreeMap<PathBuf, Pkcs11>,
        writes: bool,
    ) -> Result<Session, Trouble> {
        let module = load(modules, &self.config.module)?;
        let mut found = Vec::new();
        for slot in module.get_slots_with_initialized_token()? {
            if module.get_token_info(slot)?.label().trim_end() == self.config.token_label {
                found.push(slot);
            }
        }
        let slot = match found.as_slice() {
            [slot] => *slot,
            [] => return Err(Trouble::NoToken),
            _ => return Err(refused("several tokens have this label").into()),
        };
        Ok(match writes {
            true => module.open_rw_session(slot)?,
            false => module.open_ro_session(slot)?,
        })
    }

    /// A PIN that was refused is not tried again by this process.
    fn log_in(&self, session: &Session, pin: &str) -> Result<(), Trouble> {
        let no = || refused("the PIN is wrong or locked; it is not tried again: mend `pin_file`");
        let (hasher, tried) = &*REFUSED;
        let attempt = hasher.hash_one((&self.config.module, &self.config.token_label, pin));
        let mut tried = tried.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.contains(&attempt) {
            return Err(no().into());
        }
        match session.login(UserType::User, Some(&AuthPin::from(pin.to_owned()))) {
            Err(Error::Pkcs11(
                RvError::PinIncorrect | RvError::PinLocked | RvError::PinExpired,
                _,
            )) => {
                tried.insert(attempt);
                Err(no().into())
            }
            other => Ok(other?),
        }
    }

    /// The id is the store and the generation: other stores may have keys of this label.
    fn template(&self, key: WrappingKey<'_>) -> Result<Vec<Attribute>, Trouble> {
        let store = HEXLOWER.decode(key.store.as_bytes()).map_err(|_| Trouble::NoKey)?;
        let id = [&store[..], &key.generation.to_be_bytes()].concat();
        Ok(vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(true),
            Attribute::Label(self.config.key_label.as_bytes().to_vec()),
            Attribute::Id(id),
        ])
    }

    fn find(
        &self,
        session: &Session,
        key: WrappingKey<'_>,
    ) -> Result<Option<ObjectHandle>, Trouble> {
        let found = session.find_objects(&self.template(key)?)?;
        match found.as_slice() {
            [] => Ok(None),
            [key] => Ok(Some(*key)),
            _ => Err(refused("several keys have this label and id").into()),
        }
    }

    fn make(&self, session: &Session, key: WrappingKey<'_>) -> Result<ObjectHandle, Trouble> {
        let mut template = self.template(key)?;
        template.extend([
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen(32.into()),
        ]);
        Ok(session.generate_key(&Mechanism::AesKeyGen, &template)?)
    }
}

/// What was found in the token, or made by its own ideas, is used only if it stays there.
fn stays_inside(session: &Session, key: ObjectHandle) -> Result<(), Trouble> {
    let told = session.get_attributes(key, &[AttributeType::Sensitive, AttributeType::Extractable]);
    let wanted = [Attribute::Sensitive(true), Attribute::Extractable(false)];
    match wanted.iter().all(|one| told.as_ref().is_ok_and(|told| told.contains(one))) {
        true => Ok(()),
        false => Err(refused("the key of this label and id may leave the token").into()),
    }
}

fn load(modules: &mut BTreeMap<PathBuf, Pkcs11>, path: &Path) -> Result<Pkcs11, Trouble> {
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(module::trusted(path)?)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) => {}
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(error.into()),
    }
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

impl KeyStore for Token {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wrap(&self, key: WrappingKey<'_>, secret: &Secret, aad: &[u8]) -> Result<Vec<u8>, KeyFault> {
        let mut iv = [0; IV_LEN];
        SystemRandom::new().fill(&mut iv).map_err(|_| KeyFault::Random)?;
        self.in_session(true, |session| {
            let key = match self.find(session, key)? {
                // A new store's id is drawn by chance: nobody has made a key for it.
                Some(_) if key.generation == 1 => {
                    return Err(refused("a key of a new store is in the token already").into());
                }
                // A rotation that crashed left it.
                Some(found) => found,
                None => self.make(session, key)?,
            };
            stays_inside(session, key)?;
            let mut used = iv;
            let params = GcmParams::new(&mut used, aad, TAG_BITS.into())?;
            let sealed = session.encrypt(&Mechanism::AesGcm(params), key, secret.bytes())?;
            // A token may take an IV of its own.
            Ok([&used[..], &sealed].concat())
        })
    }

    fn unwrap(&self, key: WrappingKey<'_>, wrapped: &[u8], aad: &[u8]) -> Result<Secret, KeyFault> {
        self.in_session(false, |session| {
            let key = self.find(session, key)?.ok_or(Trouble::NoKey)?;
            let (iv, sealed) = wrapped.split_at_checked(IV_LEN).ok_or(Trouble::NoKey)?;
            let mut iv = iv.to_vec();
            let params = GcmParams::new(&mut iv, aad, TAG_BITS.into())?;
            let plain = Zeroizing::new(session.decrypt(&Mechanism::AesGcm(params), key, sealed)?);
            secret_of(&plain).ok_or(Trouble::NoKey)
        })
    }

    fn destroy(&self, key: WrappingKey<'_>, _: &BTreeMap<u32, u64>) -> Result<Remains, KeyFault> {
        self.in_session(true, |session| {
            // From the oldest on, and past those that are gone: what dies here leaves the newest,
            // and what an earlier try left over goes as well.
            for generation in 1..=key.generation {
                if let Some(found) = self.find(session, WrappingKey { generation, ..key })? {
                    session.destroy_object(found)?;
                }
            }
            Ok(())
        })?;
        Ok(Remains {
            is_final: true,
            what: "nothing opens a backup of the store, unless the token itself was copied",
        })
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }
}

#[cfg(test)]
mod tests;
