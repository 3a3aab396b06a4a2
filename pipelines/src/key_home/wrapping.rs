//! Where the wrapping key lives. It wraps one secret, the key of `store.json`, and nothing else;
//! so a home is asked when keys are opened, and never for a record.
//!
//! A wrapping key has a generation. The next one is made before the store names it, the old one is
//! destroyed after: a crash in between leaves both, and the store says which.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use data_encoding::HEXLOWER;
use douane_schemas::secret::{SECRET_BYTES, Secret};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{KeyFault, io_fault, read};

/// Which wrapping key: homes may hold those of several stores.
#[derive(Clone, Copy)]
pub struct WrappingKey<'a> {
    /// 32 hexadecimal characters.
    pub store: &'a str,
    /// Counts the store's wrapping keys, from 1.
    pub generation: u32,
}

/// A home of the wrapping key. Implementations are listed in [`super::open_home`].
pub trait KeyStore: Send + Sync {
    /// As `store.json` and `keys status` name it.
    fn name(&self) -> &'static str;

    /// Wraps a secret under a wrapping key, which is made where it is not there.
    /// What comes back opens under the same associated data only.
    fn wrap(&self, key: WrappingKey<'_>, secret: &Secret, aad: &[u8]) -> Result<Vec<u8>, KeyFault>;

    /// Opens what [`KeyStore::wrap`] gave. [`KeyFault::Away`]: it may open later.
    fn unwrap(&self, key: WrappingKey<'_>, wrapped: &[u8], aad: &[u8]) -> Result<Secret, KeyFault>;

    /// The home's own number of the key that wrapped this, where it counts keys of all its users.
    fn version(&self, _wrapped: &[u8]) -> Option<u64> {
        None
    }

    /// Destroys a store's wrapping key and all before it, and no key that may be another's;
    /// `versions` are [`KeyStore::version`] of the store's generations. Says what may still open
    /// what they wrapped.
    fn destroy(
        &self,
        key: WrappingKey<'_>,
        versions: &BTreeMap<u32, u64>,
    ) -> Result<Remains, KeyFault>;

    /// How long keys may be used after the home last opened them; `None` where the home is as near
    /// as the store itself.
    fn lease(&self) -> Option<Duration> {
        None
    }
}

/// What is left of a wrapping key that was destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remains {
    /// A copy of the store from before cannot be opened, whoever has it.
    pub is_final: bool,
    /// What might still open one, for the certificate.
    pub what: &'static str,
}

/// A fresh secret of the operating system's randomness.
pub(super) fn random() -> Result<Secret, KeyFault> {
    Secret::fill(|bytes| SystemRandom::new().fill(bytes).map_err(|_| KeyFault::Random))
}

/// Seals bytes under a secret that seals nothing but keys: nonce, then AES-256-GCM-SIV.
pub(crate) fn seal(secret: &[u8; 32], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyFault> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| KeyFault::Random)?;
    // Room for the tag as well: a vector that grows leaves a copy of the plain bytes behind.
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM_SIV.tag_len());
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let tag = cipher(secret)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut sealed[NONCE_LEN..],
        )
        .map_err(|_| KeyFault::Random)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Opens what [`seal`] gave; `None` for another key, other associated data, other bytes.
pub(crate) fn unseal(secret: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut body = Zeroizing::new(body.to_vec());
    let plain = cipher(secret).ok()?.open_in_place(nonce, Aad::from(aad), &mut body).ok()?.len();
    body.truncate(plain);
    Some(body)
}

fn cipher(secret: &[u8; 32]) -> Result<LessSafeKey, KeyFault> {
    let key = UnboundKey::new(&AES_256_GCM_SIV, secret).map_err(|_| KeyFault::Random)?;
    Ok(LessSafeKey::new(key))
}

/// Bytes of a secret, moved to where they stay.
pub(super) fn secret_of(plain: &[u8]) -> Option<Secret> {
    let plain: &[u8; SECRET_BYTES] = plain.try_into().ok()?;
    Secret::fill(|bytes| {
        bytes.copy_from_slice(plain);
        Ok::<(), ()>(())
    })
    .ok()
}

/// First line of a wrapping key's file: another form gets another line.
const FORM: &str = "douane-wrapping-key-v1";
/// A file holds the key in use and, for a moment, the next.
const GENERATIONS_MAX: usize = 4;

/// The wrapping key in a file of its own. It keeps a stolen store closed as long as the two are
/// kept apart.
pub struct WrappingFile {
    path: PathBuf,
}

impl WrappingFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn read(&self) -> Result<Vec<(u32, Secret)>, KeyFault> {
        let bytes = read(&self.path)?;
        let form = || KeyFault::Form {
            path: self.path.clone(),
            expected: "a wrapping key of this version",
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| form())?;
        let mut lines = text.strip_suffix('\n').ok_or_else(form)?.split('\n');
        if lines.next() != Some(FORM) {
            return Err(form());
        }
        let keys = lines.map(|line| parse(line).ok_or_else(form)).collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            1..=GENERATIONS_MAX => Ok(keys),
            _ => Err(form()),
        }
    }

    /// Puts these keys in the place of the file's, which are overwritten.
    fn replace(&self, keys: &[(u32, Secret)]) -> Result<(), KeyFault> {
        let mut text = Zeroizing::new(String::with_capacity(4096));
        text.push_str(FORM);
        text.push('\n');
        for (generation, secret) in keys {
            text.push_str(&generation.to_string());
            text.push(' ');
            HEXLOWER.encode_append(secret.bytes(), &mut text);
            text.push('\n');
        }
        // Behind a link lies the file that holds the old key.
        let path = match fs::canonicalize(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.path.clone(),
            other => other.map_err(io_fault(&self.path))?,
        };
        let io = io_fault(&path);
        let old = match OpenOptions::new().write(true).open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(error)),
        };
        replace(&path, 0o600, text.as_bytes())?;
        // Best effort: file systems and disks may keep what a file held before.
        if let Some(mut old) = old {
            let length = old.metadata().map_err(&io)?.len().min(4096) as usize;
            old.write_all(&vec![0; length]).and_then(|()| old.sync_all()).map_err(io)?;
        }
        Ok(())
    }
}

fn parse(line: &str) -> Option<(u32, Secret)> {
    let (generation, hex) = line.split_once(' ')?;
    let generation = generation.parse().ok().filter(|number| *number > 0)?;
    let secret = Secret::fill(|bytes| match hex.len() == 64 {
        true => HEXLOWER.decode_mut(hex.as_bytes(), bytes).map(|_| ()).map_err(|_| ()),
        false => Err(()),
    })
    .ok()?;
    // A disk that gave zeros back is not a key.
    secret.bytes().iter().any(|byte| *byte != secret.bytes()[0]).then_some((generation, secret))
}

impl KeyStore for WrappingFile {
    fn name(&self) -> &'static str {
        "file"
    }

    fn wrap(&self, key: WrappingKey<'_>, secret: &Secret, aad: &[u8]) -> Result<Vec<u8>, KeyFault> {
        let generation = key.generation;
        let mut keys = match self.read() {
            Err(KeyFault::Missing(_)) => Vec::new(),
            keys => keys?,
        };
        if let Some((_, key)) = keys.iter().find(|(number, _)| *number == generation) {
            return seal(key.bytes(), aad, secret.bytes());
        }
        let key = random()?;
        keys.push((generation, key.clone()));
        self.replace(&keys)?;
        seal(key.bytes(), aad, secret.bytes())
    }

    fn unwrap(&self, key: WrappingKey<'_>, wrapped: &[u8], aad: &[u8]) -> Result<Secret, KeyFault> {
        let keys = self.read()?;
        keys.iter()
            .find(|(number, _)| *number == key.generation)
            .and_then(|(_, key)| secret_of(&unseal(key.bytes(), aad, wrapped)?))
            .ok_or(KeyFault::NotWrappedHere { home: self.name() })
    }

    fn destroy(&self, key: WrappingKey<'_>, _: &BTreeMap<u32, u64>) -> Result<Remains, KeyFault> {
        let mut keys = self.read()?;
        keys.retain(|(number, _)| *number > key.generation);
        self.replace(&keys)?;
        Ok(Remains {
            is_final: false,
            what: "a backup of the wrapping key's file, or what its disk still holds of it, opens \
                   a backup of the store",
        })
    }
}

/// The wrapping key follows from a passphrase: Argon2id (RFC 9106) with 64 MiB, three passes and one lane,
/// with a fresh salt in front of what it wraps.
pub struct Passphrase {
    path: PathBuf,
}

const SALT_LEN: usize = 16;
const ARGON2: (u32, u32, u32) = (64 * 1024, 3, 1);
const PASSPHRASE_BYTES: std::ops::RangeInclusive<usize> = 12..=1024;

impl Passphrase {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn key(&self, salt: &[u8]) -> Result<Secret, KeyFault> {
        let bytes = read(&self.path)?;
        let passphrase = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        if !PASSPHRASE_BYTES.contains(&passphrase.len()) {
            let expected = "a passphrase of 12 to 1024 bytes";
            return Err(KeyFault::Form { path: self.path.clone(), expected });
        }
        let (memory, passes, lanes) = ARGON2;
        let params = Params::new(memory, passes, lanes, Some(SECRET_BYTES));
        let argon2 =
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|_| KeyFault::Random)?);
        Secret::fill(|out| argon2.hash_password_into(passphrase, salt, out))
            .map_err(|_| KeyFault::Random)
    }
}

impl KeyStore for Passphrase {
    fn name(&self) -> &'static str {
        "passphrase"
    }

    fn wrap(
        &self,
        _key: WrappingKey<'_>,
        secret: &Secret,
        aad: &[u8],
    ) -> Result<Vec<u8>, KeyFault> {
        let mut salt = [0; SALT_LEN];
        SystemRandom::new().fill(&mut salt).map_err(|_| KeyFault::Random)?;
        let sealed = seal(self.key(&salt)?.bytes(), aad, secret.bytes())?;
        Ok([&salt[..], &sealed].concat())
    }

    fn unwrap(
        &self,
        _key: WrappingKey<'_>,
        wrapped: &[u8],
        aad: &[u8],
    ) -> Result<Secret, KeyFault> {
        let (salt, sealed) = wrapped
            .split_at_checked(SALT_LEN)
            .ok_or(KeyFault::NotWrappedHere { home: self.name() })?;
        unseal(self.key(salt)?.bytes(), aad, sealed)
            .and_then(|plain| secret_of(&plain))
            .ok_or(KeyFault::NotWrappedHere { home: self.name() })
    }

    fn destroy(&self, _key: WrappingKey<'_>, _: &BTreeMap<u32, u64>) -> Result<Remains, KeyFault> {
        Ok(Remains {
            is_final: false,
            what: "whoever knows the passphrase opens a backup of the store",
        })
    }
}

/// Where a file is written before it gets its name: never where a crashed process began one.
pub(super) fn aside(path: &Path) -> Result<PathBuf, KeyFault> {
    let mut word = [0; 8];
    SystemRandom::new().fill(&mut word).map_err(|_| KeyFault::Random)?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.new", HEXLOWER.encode(&word)));
    Ok(PathBuf::from(aside))
}

/// Puts bytes in the place of a file's, whole or not at all, durably.
pub(crate) fn replace(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), KeyFault> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let aside = aside(path)?;
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&aside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written.map_err(io_fault(path))?;
    // Durable from here: the name as well as the bytes.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_fault(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store's wrapping key; which store is nothing to these homes.
    fn key(generation: u32) -> WrappingKey<'static> {
        WrappingKey { store: "", generation }
    }

    fn secret(byte: u8) -> Secret {
        secret_of(&[byte; 32]).unwrap()
    }

    fn homes(dir: &Path) -> Vec<Box<dyn KeyStore>> {
        let passphrase = dir.join("passphrase");
        replace(&passphrase, 0o600, b"correct horse battery\n").unwrap();
        vec![
            Box::new(WrappingFile::new(dir.join("wrapping.key"))),
            Box::new(Passphrase::new(passphrase)),
        ]
    }

    #[test]
    fn what_a_home_wraps_opens_under_its_own_associated_data_only() {
        let dir = tempfile::tempdir().unwrap();
        for home in homes(dir.path()) {
            let wrapped = home.wrap(key(1), &secret(7), b"a").unwrap();
            assert_eq!(home.unwrap(key(1), &wrapped, b"a").unwrap().bytes(), &[7; 32]);
            let refused = |generation, wrapped: &[u8], aad: &[u8]| {
                matches!(
                    home.unwrap(key(generation), wrapped, aad),
                    Err(KeyFault::NotWrappedHere { .. })
                )
            };
            assert!(refused(1, &wrapped, b"b"), "{}", home.name());
            assert!(refused(1, &wrapped[1..], b"a"));
            assert!(refused(1, b"", b"a"));
            let mut flipped = wrapped.clone();
            *flipped.last_mut().unwrap() ^= 1;
            assert!(refused(1, &flipped, b"a"));
        }
    }

    #[test]
    fn a_destroyed_generation_opens_nothing_and_the_next_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wrapping.key");
        let home = WrappingFile::new(path.clone());
        let one = home.wrap(key(1), &secret(7), b"a").unwrap();
        let two = home.wrap(key(2), &secret(7), b"a").unwrap();
        // Crash here: both open.
        home.unwrap(key(1), &one, b"a").unwrap();
        home.unwrap(key(2), &two, b"a").unwrap();
        let backup = fs::read(&path).unwrap();
        home.destroy(key(1), &BTreeMap::new()).unwrap();
        assert!(home.unwrap(key(1), &one, b"a").is_err());
        home.unwrap(key(2), &two, b"a").unwrap();
        // What a certificate says of this home: the old file opens the old store.
        replace(&path, 0o600, &backup).unwrap();
        home.unwrap(key(1), &one, b"a").unwrap();
    }

    #[test]
    fn a_link_to_the_wrapping_key_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (link, path) = (dir.path().join("wrapping.key"), dir.path().join("secret"));
        let one = WrappingFile::new(path.clone()).wrap(key(1), &secret(7), b"a").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let home = WrappingFile::new(link.clone());
        let two = home.wrap(key(2), &secret(7), b"a").unwrap();
        assert!(link.is_symlink());
        let direct = WrappingFile::new(path);
        direct.unwrap(key(2), &two, b"a").unwrap();
        home.destroy(key(1), &BTreeMap::new()).unwrap();
        assert!(direct.unwrap(key(1), &one, b"a").is_err());
        direct.unwrap(key(2), &two, b"a").unwrap();
    }

    #[test]
    fn wrapping_bad_file_bad_passphrase() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wrapping.key");
        let home = WrappingFile::new(path.clone());
        let wrapped = home.wrap(key(1), &secret(7), b"a").unwrap();
        let hex = "ab".repeat(31);
        for bad in [
            String::new(),
            format!("{FORM}\n"),
            format!("{FORM}\n1 {hex}cd"),
            format!("{FORM}\n1 {hex}\n"),
            format!("{FORM}\n0 {hex}cd\n"),
            format!("{FORM}\n1 {}\n", "0".repeat(64)),
            format!("douane-wrapping-key-v2\n1 {hex}cd\n"),
        ] {
            replace(&path, 0o600, bad.as_bytes()).unwrap();
            assert!(
                matches!(home.unwrap(key(1), &wrapped, b"a"), Err(KeyFault::Form { .. })),
                "{bad}"
            );
        }
        let passphrase = dir.path().join("passphrase");
        let home = Passphrase::new(passphrase.clone());
        replace(&passphrase, 0o600, b"correct horse battery").unwrap();
        let wrapped = home.wrap(key(1), &secret(7), b"a").unwrap();
        replace(&passphrase, 0o600, b"another horse battery").unwrap();
        assert!(matches!(
            home.unwrap(key(1), &wrapped, b"a"),
            Err(KeyFault::NotWrappedHere { .. })
        ));
        replace(&passphrase, 0o600, b"short").unwrap();
        assert!(matches!(home.unwrap(key(1), &wrapped, b"a"), Err(KeyFault::Form { .. })));
        replace(&passphrase, 0o644, b"correct horse battery").unwrap();
        assert!(matches!(home.unwrap(key(1), &wrapped, b"a"), Err(KeyFault::Open { .. })));
    }
}
