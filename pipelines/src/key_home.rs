//! Where keys live: a folder with the root key, the key that signs manifests and the key that
//! signs checkpoints. Approvers' keys are persons' and lie elsewhere.
//!
//! Each file is made once, mode 0600, and never written over: tokens of a lost root key cannot be
//! made again. A file that others may read is not used.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use data_encoding::{BASE64, HEXLOWER};
use douane_gate::GateKeys;
use douane_ledger::log::LogKeys;
use douane_ledger::release::{Release, Shape};
use douane_ledger::signing::{SigningKey, VerifyingKey};
use douane_ledger::trust::is_person;
use douane_schemas::keys::{Key, Purpose, RootKey};
use douane_transforms::Keyring;
use zeroize::Zeroizing;

const ROOT: &str = "root.key";
const MANIFEST: &str = "manifest.key";
const CHECKPOINT: &str = "checkpoint.key";
/// First line of the root key's file: another form gets another line.
const ROOT_FORM: &str = "douane-root-key-v1";
/// Longer than any key file of this version.
const FILE_BYTES_MAX: u64 = 4096;

/// Keys cannot be made or used. Names files and holds nothing that is in them.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// Keys are made once.
    #[error(
        "{}: a key lies here already and is never written over\n  \
         next: use it, or name another place", .0.display()
    )]
    Exists(PathBuf),
    /// A key was never made, or was lost.
    #[error(
        "{}: no key here\n  next: `douane keys init` makes the keys of a new place; restore a \
         backup for an old one", .0.display()
    )]
    Missing(PathBuf),
    /// Somebody else could have read it.
    #[error(
        "{}: others than its owner may read or write it (mode {mode:04o})\n  next: \
         `chmod go-rwx {}`, after asking who has read it", .path.display(), .path.display()
    )]
    Open { path: PathBuf, mode: u32 },
    /// What lies there is something else.
    #[error("{}: not {expected}\n  next: restore it from a backup", .path.display())]
    Form { path: PathBuf, expected: &'static str },
    /// One signing key in two places would make a manifest a checkpoint.
    #[error("the manifest key and the checkpoint key are one\n  next: restore them from a backup")]
    OneKeyTwice,
    /// An approver's name stands in a public key's file and in the trust root.
    #[error(
        "an approver's name is out of form\n  next: write a-z, A-Z, 0-9, `.`, `_`, `@` and `-`"
    )]
    Name,
    /// The operating system has no entropy, or the cryptographic library refused.
    #[error("no key could be made: the operating system gave no randomness")]
    Random,
    /// The disk.
    #[error("{}: {kind}", .path.display())]
    Io { path: PathBuf, kind: io::ErrorKind },
}

fn io_fault(path: &Path) -> impl Fn(io::Error) -> KeyFault {
    move |error| KeyFault::Io { path: path.to_owned(), kind: error.kind() }
}

/// The keys of one place, in memory. `Debug` shows ids only.
pub struct KeyHome {
    root: RootKey,
    /// PKCS#8 PEM, read once by [`KeyHome::open`]: each gate gets a key of its own.
    manifest: Zeroizing<String>,
    manifest_public: VerifyingKey,
    checkpoint: SigningKey,
}

impl std::fmt::Debug for KeyHome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyHome({}, {:?}, {:?})", self.root.id(), self.manifest_public, self.checkpoint)
    }
}

impl KeyHome {
    /// Makes the keys of a new place, and their public halves beside them, with `.pub`.
    ///
    /// # Errors
    /// [`KeyFault::Exists`] where any of them is there; then nothing was written.
    pub fn init(dir: &Path) -> Result<Self, KeyFault> {
        for name in [ROOT, MANIFEST, CHECKPOINT] {
            let path = dir.join(name);
            if path.symlink_metadata().is_ok() {
                return Err(KeyFault::Exists(path));
            }
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_fault(dir))?;
        for name in [MANIFEST, CHECKPOINT] {
            let key = SigningKey::generate().map_err(|_| KeyFault::Random)?;
            let pem = key.to_pkcs8_pem().map_err(|_| KeyFault::Random)?;
            let path = dir.join(name);
            create(&path, 0o600, pem.as_bytes())?;
            create(&public(&path), 0o644, key.verifying_key().to_spki_pem().as_bytes())?;
        }
        // The root comes last: a crash before it leaves no key that anything was made with.
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut bytes[..]).map_err(|_| KeyFault::Random)?;
        let hex = Zeroizing::new(HEXLOWER.encode(&bytes[..]));
        let text = Zeroizing::new(format!("{ROOT_FORM}\n{}\n", hex.as_str()));
        create(&dir.join(ROOT), 0o600, text.as_bytes())?;
        Self::open(dir)
    }

    /// Keys of no place, in memory only: for trying a pipeline out. Nothing that they make can be
    /// made again.
    ///
    /// # Errors
    /// [`KeyFault::Random`].
    pub fn throw_away() -> Result<Self, KeyFault> {
        let generate = || SigningKey::generate().map_err(|_| KeyFault::Random);
        let (manifest_key, checkpoint) = (generate()?, generate()?);
        let manifest = manifest_key.to_pkcs8_pem().map_err(|_| KeyFault::Random)?;
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut bytes[..]).map_err(|_| KeyFault::Random)?;
        Ok(Self {
            root: RootKey::new(*bytes),
            manifest,
            manifest_public: manifest_key.verifying_key(),
            checkpoint,
        })
    }

    /// Reads the keys of a place.
    ///
    /// # Errors
    /// Any of them is missing, readable by others, or not what it should be.
    pub fn open(dir: &Path) -> Result<Self, KeyFault> {
        let root = root_key(&dir.join(ROOT))?;
        let (manifest_key, manifest) = signing_key(&dir.join(MANIFEST))?;
        let (checkpoint, _) = signing_key(&dir.join(CHECKPOINT))?;
        let manifest_public = manifest_key.verifying_key();
        if manifest_public == checkpoint.verifying_key() {
            return Err(KeyFault::OneKeyTwice);
        }
        Ok(Self { root, manifest, manifest_public, checkpoint })
    }

    /// The key that all derived keys follow from.
    pub fn root(&self) -> &RootKey {
        &self.root
    }

    /// The keys that stages take.
    pub fn keyring(&self) -> Keyring {
        Keyring::new(&self.root)
    }

    /// Signs checkpoints of the ledger.
    pub fn checkpoint(&self) -> &SigningKey {
        &self.checkpoint
    }

    /// What verifies manifests.
    pub fn manifest_public(&self) -> VerifyingKey {
        self.manifest_public
    }

    /// The keys of one pipeline's gate: seals by pipeline, `ff1` by domain, as the release needs.
    pub fn gate_keys(&self, pipeline: &str, release: &Release) -> GateKeys {
        let shapes = release.key.iter().chain(&release.columns).map(|column| &column.shape);
        let ff1: HashMap<String, Key> = shapes
            .filter_map(|shape| match shape {
                Shape::Fpe { domain, .. } => {
                    Some((domain.clone(), self.root.derive(Purpose::Ff1, domain)))
                }
                _ => None,
            })
            .collect();
        // unwrap safety: `open` read a key from the same bytes.
        #[expect(clippy::expect_used, reason = "the same bytes were a key in `open`")]
        let manifest =
            SigningKey::from_bytes(self.manifest.as_bytes()).expect("a key that was read before");
        GateKeys {
            seal_position: self.root.derive(Purpose::Position, pipeline),
            seal_quarantine: self.root.derive(Purpose::Quarantine, pipeline),
            // A pipeline's name holds no `/`: no two contexts are one.
            blind: self.root.derive(Purpose::Blind, &format!("{pipeline}/seal")),
            ff1,
            manifest,
        }
    }

    /// The keys of one pipeline's ledger: what blinds its leaves, what keys its digests.
    pub fn log_keys(&self, pipeline: &str) -> LogKeys {
        let blind = self.root.derive(Purpose::Blind, &format!("{pipeline}/ledger"));
        let commit = self.root.derive(Purpose::LedgerCommit, pipeline);
        LogKeys { blind: *blind.secret(), commit: *commit.secret() }
    }
}

/// The public halves of a place's signing keys: all that an auditor needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKeys {
    /// Who signs manifests.
    pub manifest: VerifyingKey,
    /// Who signs checkpoints.
    pub checkpoint: VerifyingKey,
}

impl PublicKeys {
    /// Reads the `.pub` files in a key folder; `None` where it holds none of them.
    ///
    /// # Errors
    /// [`KeyFault::Form`] and [`KeyFault::Io`] for files that are there and cannot be used.
    pub fn open(dir: &Path) -> Result<Option<Self>, KeyFault> {
        let read = |name: &str| {
            let path = public(&dir.join(name));
            if !path.exists() {
                return Ok(None);
            }
            let text = fs::read_to_string(&path).map_err(io_fault(&path))?;
            let expected = "an ed25519 public key";
            VerifyingKey::parse(&text).map(Some).map_err(|_| KeyFault::Form { path, expected })
        };
        Ok(read(MANIFEST)?
            .zip(read(CHECKPOINT)?)
            .map(|(manifest, checkpoint)| Self { manifest, checkpoint }))
    }
}

/// Makes a person's signing key at `path` and its public half beside it, with `.pub`, as a line
/// of SSH's form with the person's name. Returns the public half's path.
///
/// # Errors
/// [`KeyFault::Exists`] where one of the two files is there, [`KeyFault::Name`].
pub fn init_approver(name: &str, path: &Path) -> Result<PathBuf, KeyFault> {
    // The trust root's own rule: a name it would refuse later is refused now.
    if !is_person(name) {
        return Err(KeyFault::Name);
    }
    let public = public(path);
    for path in [path, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(KeyFault::Exists(path.to_owned()));
        }
    }
    let key = SigningKey::generate().map_err(|_| KeyFault::Random)?;
    let pem = key.to_pkcs8_pem().map_err(|_| KeyFault::Random)?;
    create(path, 0o600, pem.as_bytes())?;
    let wire = BASE64.encode(&key.verifying_key().to_ssh_wire());
    create(&public, 0o644, format!("ssh-ed25519 {wire} {name}\n").as_bytes())?;
    Ok(public)
}

fn public(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// Writes a new file so that it is there whole or not at all, and never in place of another.
fn create(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), KeyFault> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.new", std::process::id()));
    let aside = PathBuf::from(aside);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&aside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        // A rename would write over what is there; a link does not.
        .and_then(|()| fs::hard_link(&aside, path));
    let removed = fs::remove_file(&aside);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyFault::Exists(path.to_owned()));
        }
        other => other.and(removed).map_err(io_fault(path))?,
    }
    // Durable from here: the name as well as the bytes.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_fault(dir))
}

/// The bytes of a file that only its owner may read.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyFault::Missing(path.to_owned()));
        }
        other => other.map_err(io_fault(path))?,
    };
    let meta = file.metadata().map_err(io_fault(path))?;
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFault::Open { path: path.to_owned(), mode });
    }
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(io_fault(path))?;
    Ok(bytes)
}

fn root_key(path: &Path) -> Result<RootKey, KeyFault> {
    let bytes = read(path)?;
    let form = || KeyFault::Form { path: path.to_owned(), expected: "a root key of this version" };
    let hex = bytes
        .strip_prefix(ROOT_FORM.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"\n"))
        .map(|rest| rest.strip_suffix(b"\n").unwrap_or(rest))
        .filter(|hex| hex.len() == 64)
        .ok_or_else(form)?;
    let mut key = Zeroizing::new([0; 32]);
    HEXLOWER.decode_mut(hex, &mut key[..]).map_err(|_| form())?;
    // A disk that gave zeros back is not a key.
    if key.iter().all(|byte| *byte == key[0]) {
        return Err(form());
    }
    Ok(RootKey::new(*key))
}

fn signing_key(path: &Path) -> Result<(SigningKey, Zeroizing<String>), KeyFault> {
    let bytes = read(path)?;
    let form = || KeyFault::Form {
        path: path.to_owned(),
        expected: "an ed25519 private key in PKCS#8 PEM",
    };
    let pem = Zeroizing::new(std::str::from_utf8(&bytes).map_err(|_| form())?.to_owned());
    let key = SigningKey::from_bytes(pem.as_bytes()).map_err(|_| form())?;
    Ok((key, pem))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn keys_are_made_once_and_read_back_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("a/keys");
        let made = KeyHome::init(&home).unwrap();
        let read = KeyHome::open(&home).unwrap();
        assert_eq!(made.root().id(), read.root().id());
        assert_eq!(made.manifest_public(), read.manifest_public());
        assert_eq!(made.checkpoint().verifying_key(), read.checkpoint().verifying_key());
        assert_eq!(mode(&home), 0o700);
        for name in [ROOT, MANIFEST, CHECKPOINT] {
            assert_eq!(mode(&home.join(name)), 0o600, "{name}");
        }
        let public = fs::read_to_string(home.join("manifest.key.pub")).unwrap();
        assert_eq!(VerifyingKey::parse(&public).unwrap(), made.manifest_public());
        let left: Vec<_> = fs::read_dir(&home).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 5, "{left:?}");
        let other = KeyHome::init(&dir.path().join("b")).unwrap();
        assert_ne!(made.root().id(), other.root().id());
    }

    #[test]
    fn init_bad_one_key_is_there() {
        for there in [ROOT, MANIFEST, CHECKPOINT] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(there), "old").unwrap();
            assert!(matches!(KeyHome::init(dir.path()), Err(KeyFault::Exists(_))), "{there}");
            assert_eq!(fs::read_to_string(dir.path().join(there)).unwrap(), "old");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else was written");
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join(ROOT)).unwrap();
        assert!(matches!(KeyHome::init(dir.path()), Err(KeyFault::Exists(_))));
        // A race after the look: the link refuses.
        fs::write(dir.path().join("x"), "old").unwrap();
        assert!(matches!(create(&dir.path().join("x"), 0o600, b"new"), Err(KeyFault::Exists(_))));
        assert_eq!(fs::read_to_string(dir.path().join("x")).unwrap(), "old");
    }

    #[test]
    fn open_bad_rights_bad_bytes_bad_missing() {
        type Spoil = fn(&Path);
        let cases: [(&str, Spoil, &str); 8] = [
            ("missing", |p| fs::remove_file(p).unwrap(), "no key here"),
            (
                "group may read",
                |p| fs::set_permissions(p, fs::Permissions::from_mode(0o640)).unwrap(),
                "others than its owner",
            ),
            (
                "others may write",
                |p| fs::set_permissions(p, fs::Permissions::from_mode(0o602)).unwrap(),
                "others than its owner",
            ),
            (
                "empty",
                |p| File::options().write(true).open(p).unwrap().set_len(0).unwrap(),
                "not a",
            ),
            ("cut", |p| File::options().write(true).open(p).unwrap().set_len(50).unwrap(), "not a"),
            ("not text", |p| fs::write(p, [0xff; 64]).unwrap(), "not a"),
            ("long", |p| fs::write(p, vec![b'a'; 1 << 20]).unwrap(), "not a"),
            (
                "a folder",
                |p| {
                    fs::remove_file(p).unwrap();
                    fs::create_dir(p).unwrap();
                    fs::set_permissions(p, fs::Permissions::from_mode(0o700)).unwrap();
                },
                ": ",
            ),
        ];
        for (what, spoil, says) in cases {
            for name in [ROOT, MANIFEST, CHECKPOINT] {
                let dir = tempfile::tempdir().unwrap();
                KeyHome::init(dir.path()).unwrap();
                spoil(&dir.path().join(name));
                let fault = KeyHome::open(dir.path()).unwrap_err().to_string();
                assert!(fault.contains(says) && fault.contains(name), "{what} {name}: {fault}");
            }
        }
    }

    #[test]
    fn open_bad_zeros_bad_other_version_bad_one_key_twice() {
        let dir = tempfile::tempdir().unwrap();
        KeyHome::init(dir.path()).unwrap();
        let root = dir.path().join(ROOT);
        let good = fs::read_to_string(&root).unwrap();
        let zeros = "0".repeat(64);
        for bad in [format!("{ROOT_FORM}\n{zeros}\n"), good.replace("v1", "v2"), format!("{good}x")]
        {
            fs::write(&root, bad).unwrap();
            assert!(matches!(KeyHome::open(dir.path()), Err(KeyFault::Form { .. })));
        }
        fs::write(&root, &good).unwrap();
        KeyHome::open(dir.path()).unwrap();
        fs::copy(dir.path().join(MANIFEST), dir.path().join(CHECKPOINT)).unwrap();
        assert!(matches!(KeyHome::open(dir.path()), Err(KeyFault::OneKeyTwice)));
    }

    #[test]
    fn an_approvers_key_reads_back_and_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ada");
        let public = init_approver("ada", &path).unwrap();
        assert_eq!(public, dir.path().join("ada.pub"));
        assert_eq!((mode(&path), mode(&public)), (0o600, 0o644));
        let line = fs::read_to_string(&public).unwrap();
        let key = SigningKey::from_bytes(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(VerifyingKey::parse(&line).unwrap(), key.verifying_key());
        assert!(line.ends_with(" ada\n"));
        assert!(matches!(init_approver("ada", &path), Err(KeyFault::Exists(_))));
        fs::remove_file(&path).unwrap();
        assert!(matches!(init_approver("ada", &path), Err(KeyFault::Exists(_))));
        for bad in ["", "a b", "a\nb", "é"] {
            assert!(matches!(init_approver(bad, &dir.path().join("x")), Err(KeyFault::Name)));
        }
    }

    #[test]
    fn no_two_uses_share_a_key_and_nothing_shows_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = KeyHome::init(dir.path()).unwrap();
        let (a, b) = (home.log_keys("a"), home.log_keys("b"));
        let crossing = home.root().derive(Purpose::Blind, "a");
        assert_ne!(a.blind, b.blind);
        assert_ne!(a.commit, b.commit);
        assert_ne!(a.blind, a.commit);
        assert_ne!(&a.blind, crossing.secret());
        let shown = format!("{home:?}");
        let secret = fs::read_to_string(dir.path().join(ROOT)).unwrap();
        assert!(!shown.contains(secret.lines().nth(1).unwrap()));
        assert!(!shown.contains("PRIVATE"));
    }
}
