//! Who signs, and where their key is: in a file, in an ssh agent, in a PKCS#11 token. Of the last two
//! signatures come out, and no key.
//!
//! All of them sign the same bytes, so an envelope does not tell where a key is.

mod agent;

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use douane_ledger::dsse::Envelope;
use douane_ledger::signing::{KeyFault as PublicFault, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::config::Pkcs11Home;
use crate::fault::RunFault;
use crate::key_home::{self, KeyFault, TokenKey};
use crate::names::typed;
use agent::Agent;

/// Where a person's signing key is, as `--key` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAt {
    /// A key file.
    File(PathBuf),
    /// `ssh-agent:FILE.pub`: the agent of `SSH_AUTH_SOCK` holds the key of this public half.
    Agent(PathBuf),
    /// `pkcs11:token=…;object=…?module-path=…&pin-source=…` (RFC 7512).
    Token(Pkcs11Home),
}

impl FromStr for KeyAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(public) = text.strip_prefix("ssh-agent:") {
            return match public.is_empty() {
                true => Err("expected `ssh-agent:FILE.pub`, the public half of a key".to_owned()),
                false => Ok(Self::Agent(public.into())),
            };
        }
        match text.strip_prefix("pkcs11:") {
            Some(uri) => token(uri).map(Self::Token),
            None => Ok(Self::File(text.into())),
        }
    }
}

/// The parts of RFC 7512 that name one key and how to log in; whatever else it allows is refused, so
/// that nothing of it is passed over.
fn token(uri: &str) -> Result<Pkcs11Home, String> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut found: [Option<String>; 4] = Default::default();
    let attributes = path.split(';').chain(query.split('&')).filter(|part| !part.is_empty());
    for attribute in attributes {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let at = match name {
            "token" => 0,
            "object" => 1,
            "module-path" => 2,
            "pin-source" => 3,
            "type" if value == "private" => continue,
            "pin-value" => {
                return Err("pin-value would stand in the shell's history: use pin-source".into());
            }
            _ => return Err(format!("`{name}` is not read: expected {TOKEN_FORM}")),
        };
        let value =
            decoded(value).ok_or_else(|| format!("`{name}` is not percent-encoded text"))?;
        if value.is_empty() || found[at].replace(value).is_some() {
            return Err(format!("`{name}` is empty or repeated"));
        }
    }
    match found {
        [Some(token_label), Some(key_label), Some(module), Some(pin)] => {
            let pin = pin.strip_prefix("file:").unwrap_or(&pin);
            Ok(Pkcs11Home { module: module.into(), token_label, pin_file: pin.into(), key_label })
        }
        _ => Err(format!("expected {TOKEN_FORM}")),
    }
}

const TOKEN_FORM: &str = "pkcs11:token=LABEL;object=LABEL?module-path=FILE&pin-source=FILE";

/// Percent-encoding of RFC 3986.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match first {
            b'%' => {
                let (hex, more) = rest.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
                rest = more;
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// A key that can be used now.
pub enum Signer {
    File(SigningKey),
    Agent(Agent),
    Token(TokenKey),
}

impl From<SigningKey> for Signer {
    fn from(key: SigningKey) -> Self {
        Self::File(key)
    }
}

impl Signer {
    /// Reads the file, or asks the agent or the token whether the key is there.
    pub fn open(at: &KeyAt) -> Result<Self, RunFault> {
        match at {
            KeyAt::File(path) => private_key(path).map(Self::File),
            KeyAt::Agent(public) => Agent::of_environment(public_key(public)?).map(Self::Agent),
            KeyAt::Token(home) => Ok(Self::Token(TokenKey::open(home)?)),
        }
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        match self {
            Self::File(key) => key.verifying_key(),
            Self::Agent(agent) => agent.key(),
            Self::Token(token) => token.key(),
        }
    }

    /// Adds this signature to those of an envelope; an earlier one by the same key is replaced. What
    /// an agent or a token gave is verified before.
    pub fn sign(&self, envelope: &mut Envelope) -> Result<(), RunFault> {
        let message = envelope.to_sign().map_err(no)?;
        let (key, sig) = match self {
            Self::File(key) => (key.verifying_key(), key.sign(&message).to_vec()),
            Self::Agent(agent) => (agent.key(), agent.sign(&message)?),
            Self::Token(token) => (token.key(), token.sign(&message)?),
        };
        envelope.add(&key, &sig).map_err(no)
    }
}

fn no(fault: impl std::fmt::Display) -> RunFault {
    RunFault::Keys(format!("the signature that came back: {fault}"))
}

/// A person's private key, from a file that nobody else may read.
pub fn private_key(path: &Path) -> Result<SigningKey, RunFault> {
    let bytes = match key_home::read(path) {
        // Everybody may read a public half: of that its rights are not what is wrong.
        Err(KeyFault::Open { .. }) if is_public(&read(path)?) => return Err(a_public_half(path)),
        Err(KeyFault::Missing(_)) => return Err(unread(path, io::ErrorKind::NotFound)),
        Err(KeyFault::Io { kind, .. }) => return Err(unread(path, kind)),
        read => read?,
    };
    if is_public(&bytes) {
        return Err(a_public_half(path));
    }
    SigningKey::from_bytes(&bytes).map_err(|fault| {
        let next = "name a key in PKCS#8, as `keys init --approver` and `openssl genpkey \
                    -algorithm ed25519` write it";
        RunFault::Keys(format!("{}: {fault}\n  next: {next}", path.display()))
    })
}

/// The public half of a person's key.
pub fn public_key(path: &Path) -> Result<VerifyingKey, RunFault> {
    let bytes = Zeroizing::new(read(path)?);
    VerifyingKey::parse(&String::from_utf8_lossy(&bytes)).map_err(|fault| {
        let beside = key_home::public(path);
        let next = match fault {
            PublicFault::Private if beside.exists() => format!("name `{}`", typed(&beside)),
            _ => "name the `.pub` that `keys init` or `ssh-keygen -t ed25519` put beside the key"
                .to_owned(),
        };
        RunFault::Keys(format!("{}: {fault}\n  next: {next}", path.display()))
    })
}

fn is_public(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| VerifyingKey::parse(text).is_ok())
}

fn a_public_half(path: &Path) -> RunFault {
    let private = path.with_extension("");
    let next = match path.extension().is_some_and(|end| end == "pub") && private.exists() {
        true => format!("name `{}`", typed(&private)),
        false => "name the file of the private half".to_owned(),
    };
    let why = "this is a public key; expected the private half";
    RunFault::Keys(format!("{}: {why}\n  next: {next}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, RunFault> {
    std::fs::read(path).map_err(|error| unread(path, error.kind()))
}

fn unread(path: &Path, why: io::ErrorKind) -> RunFault {
    RunFault::File(format!("{}: {why}\n  next: mend the name or its rights", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_key_is_is_read_or_refused() {
        assert_eq!("approvers/ada".parse(), Ok(KeyAt::File("approvers/ada".into())));
        assert_eq!("ssh-agent:ada.pub".parse(), Ok(KeyAt::Agent("ada.pub".into())));
        let home = Pkcs11Home {
            module: "/lib/a.so".into(),
            token_label: "hsm 1".into(),
            pin_file: "/run/pin".into(),
            key_label: "ada".into(),
        };
        for good in [
            "pkcs11:token=hsm%201;object=ada?module-path=/lib/a.so&pin-source=/run/pin",
            "pkcs11:object=ada;token=hsm%201;type=private?pin-source=file:/run/pin&module-path=%2Flib/a.so",
        ] {
            assert_eq!(good.parse(), Ok(KeyAt::Token(home.clone())), "{good}");
        }
        for (bad, word) in [
            ("ssh-agent:", "FILE.pub"),
            ("pkcs11:", "module-path"),
            ("pkcs11:token=a;object=b?module-path=/m", "pin-source"),
            ("pkcs11:token=a;object=b?module-path=/m&pin-value=1234", "history"),
            ("pkcs11:token=a;object=b;serial=7?module-path=/m&pin-source=/p", "`serial`"),
            ("pkcs11:token=a;token=c;object=b?module-path=/m&pin-source=/p", "repeated"),
            ("pkcs11:token=%zz;object=b?module-path=/m&pin-source=/p", "percent"),
            ("pkcs11:token=a;object=b;type=cert?module-path=/m&pin-source=/p", "`type`"),
        ] {
            let why = bad.parse::<KeyAt>().unwrap_err();
            assert!(why.contains(word) && !why.contains("1234"), "{bad}: {why}");
        }
    }

    /// A person's key stands in the files and in a folder of ours: who may read it may sign as that person.
    #[test]
    fn a_persons_key_is_read_where_nobody_else_may_bad_rights_bad_half_bad_form() {
        let dir = tempfile::tempdir().unwrap();
        let (key, public) = (dir.path().join("ada"), dir.path().join("ada.pub"));
        key_home::init_approver("ada", &key).unwrap();
        let chmod = |mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&key, mode).unwrap();
        };
        let told = |path: &Path| private_key(path).map(drop).unwrap_err().told();
        // The control of each refusal: with its own rights the same file is taken.
        assert_eq!(private_key(&key).unwrap().verifying_key(), public_key(&public).unwrap());
        for mode in [0o644, 0o640, 0o602] {
            chmod(mode);
            let told = told(&key);
            let (rights, next) =
                (format!("(mode {mode:04o})"), format!("`chmod go-rwx {}`", key.display()));
            assert!(told.contains(&rights) && told.contains(&next), "{told}");
        }
        chmod(0o400);
        assert!(private_key(&key).is_ok());

        let next = |told: &str| told.split_once("\n  next: ").unwrap().1.to_owned();
        assert_eq!(next(&told(&public)), format!("name `{}`", key.display()));
        let fault = public_key(&key).unwrap_err().told();
        assert_eq!(next(&fault), format!("name `{}`", public.display()));
        let alone = dir.path().join("bo.pub");
        std::fs::copy(&public, &alone).unwrap();
        assert_eq!(next(&told(&alone)), "name the file of the private half");
        let other = dir.path().join("notes");
        key_home::create(&other, 0o600, b"not a key").unwrap();
        assert!(next(&told(&other)).starts_with("name a key in PKCS#8"));
        assert_eq!(next(&told(&dir.path().join("none"))), "mend the name or its rights");
    }

    #[test]
    fn a_key_file_signs_as_it_did() {
        let key = || SigningKey::from_seed(&[7; 32]).unwrap();
        let mut signed = Envelope::sign(b"{}", &[]);
        Signer::from(key()).sign(&mut signed).unwrap();
        assert_eq!(signed, Envelope::sign(b"{}", &[&key()]));
    }
}
