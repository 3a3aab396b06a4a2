//! Who may call: names, roles and digests of tokens, in a file. A token has 256 bits of chance, so
//! a plain digest of it gives nothing away.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;
use douane_ledger::canonical::sha256_hex;
use douane_pipelines::alone::alone;
use douane_pipelines::config::Role;
use douane_pipelines::names::{NAME_BYTES_MAX, is_name};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};

use crate::store;

/// Tokens begin with it, so that scanners for lost secrets know them.
const PREFIX: &str = "douane_";
const NAMES_MAX: usize = 1000;
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How long a token serves unless said.
pub const LIFE_DAYS_DEFAULT: u32 = 90;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensFault {
    #[error("{}: {what}\n  next: `douane serve token NAME --role operator` writes it", .path.display())]
    File { path: PathBuf, what: String },
    #[error(
        "`{0}` is no name of a caller: expected a-z, 0-9, `_` and `-`, at most 48, a letter first"
    )]
    Name(String),
    #[error("no chance for a token: {0}")]
    Chance(String),
}

/// One line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    roles: Vec<Role>,
    sha256: String,
    /// RFC 3339, UTC.
    #[serde(with = "instant")]
    expires: Timestamp,
}

/// An instant as its text.
mod instant {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|_| de::Error::custom("no instant of RFC 3339"))
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensFile {
    tokens: Vec<Entry>,
}

/// Somebody who is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub name: String,
    pub roles: Vec<Role>,
    /// SHA-256 of the token that said so; nothing of who shows none.
    pub token: String,
}

/// What a token says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    Holder(Principal),
    Expired,
    Nobody,
}

/// By what a file is another one: its time alone says nothing of two changes within a clock's tick.
type Stamp = (SystemTime, u64, u64);

/// The file of tokens, read again whenever it changed.
pub struct Tokens {
    path: PathBuf,
    read: Mutex<(Option<Stamp>, Vec<Entry>)>,
}

impl Tokens {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: Mutex::new((None, Vec::new())) }
    }

    /// Whose token it is. All entries are compared, each in constant time.
    ///
    /// # Errors
    /// The file cannot be read: then nobody is known.
    pub fn holder(&self, token: &str, now: Timestamp) -> Result<Known, TokensFault> {
        let entries = self.entries()?;
        let digest = sha256_hex(token.as_bytes());
        let mut found = None;
        for entry in &entries {
            let same: Choice = entry.sha256.as_bytes().ct_eq(digest.as_bytes());
            if bool::from(same) {
                found = Some(entry);
            }
        }
        Ok(match found {
            None => Known::Nobody,
            Some(entry) if entry.expires <= now => Known::Expired,
            Some(entry) => {
                let (name, roles) = (entry.name.clone(), entry.roles.clone());
                Known::Holder(Principal { name, roles, token: digest })
            }
        })
    }

    /// Whether a token, by its digest, is still somebody's who has one of these roles.
    pub fn serves(&self, digest: &str, roles: &[Role], now: Timestamp) -> bool {
        let entries = self.entries().unwrap_or_default();
        entries.iter().any(|entry| {
            entry.sha256 == digest
                && entry.expires > now
                && entry.roles.iter().any(|role| roles.contains(role))
        })
    }

    fn entries(&self) -> Result<Vec<Entry>, TokensFault> {
        let stamp = |meta: fs::Metadata| Ok((meta.modified()?, meta.len(), meta.ino()));
        let changed = fs::metadata(&self.path).and_then(stamp).ok();
        let mut read = self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if changed.is_none() || read.0 != changed {
            *read = (changed, load(&self.path)?.tokens);
        }
        Ok(read.1.clone())
    }
}

/// Makes a token and puts its digest into the file; a token of that name is replaced. The token is
/// nowhere but in the answer.
///
/// # Errors
/// A name out of form, or a file that cannot be written.
pub fn make(
    path: &Path,
    name: &str,
    roles: &[Role],
    days: u32,
    now: Timestamp,
) -> Result<String, TokensFault> {
    if !is_name(name, NAME_BYTES_MAX) {
        return Err(TokensFault::Name(name.chars().take(NAME_BYTES_MAX).collect()));
    }
    let fault = |what: String| TokensFault::File { path: path.to_owned(), what };
    let _alone = alone_with(path);
    let mut file = match path.exists() {
        true => load(path)?,
        false => TokensFile::default(),
    };
    file.tokens.retain(|entry| entry.name != name);
    if file.tokens.len() >= NAMES_MAX {
        return Err(fault(format!("it has {NAMES_MAX} tokens already")));
    }
    let mut chance = [0; 32];
    getrandom::fill(&mut chance).map_err(|error| TokensFault::Chance(error.to_string()))?;
    let token = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&chance));
    let expires = now
        .checked_add((i64::from(days) * 24).hours())
        .map_err(|_| fault(format!("{days} days are too many")))?;
    let sha256 = sha256_hex(token.as_bytes());
    file.tokens.push(Entry { name: name.to_owned(), roles: roles.to_vec(), sha256, expires });
    write(path, &file)?;
    Ok(token)
}

/// Takes the token of this name out of the file: from the next call on nobody has it.
///
/// # Errors
/// No token of that name, or a file that cannot be written.
pub fn revoke(path: &Path, name: &str) -> Result<(), TokensFault> {
    let fault = |what: String| TokensFault::File { path: path.to_owned(), what };
    let _alone = alone_with(path);
    let mut file = load(path)?;
    let before = file.tokens.len();
    file.tokens.retain(|entry| entry.name != name);
    if file.tokens.len() == before {
        let shown = if is_name(name, NAME_BYTES_MAX) { name } else { "that name" };
        return Err(fault(format!("it has no token of `{shown}`")));
    }
    write(path, &file)
}

/// Who has a token, what for, and until when.
///
/// # Errors
/// A file that cannot be read.
pub fn list(path: &Path) -> Result<Vec<(Principal, Timestamp)>, TokensFault> {
    let of = |Entry { name, roles, sha256, expires }| {
        (Principal { name, roles, token: sha256 }, expires)
    };
    Ok(load(path)?.tokens.into_iter().map(of).collect())
}

/// The lock for a change of the file: of two at one time the later would else bring back a token that the
/// earlier took away.
fn alone_with(path: &Path) -> Option<fs::File> {
    alone(&path.with_extension("lock"))
}

fn write(path: &Path, file: &TokensFile) -> Result<(), TokensFault> {
    let fault = |what: String| TokensFault::File { path: path.to_owned(), what };
    let text = serde_json::to_vec_pretty(file).map_err(|error| fault(error.to_string()))?;
    store::replace(path, 0o600, &text).map_err(|error| fault(error.kind().to_string()))
}

fn load(path: &Path) -> Result<TokensFile, TokensFault> {
    let fault = |what: String| TokensFault::File { path: path.to_owned(), what };
    let size = fs::metadata(path).map_err(|error| fault(error.kind().to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(fault(format!("{size} bytes, at most {FILE_BYTES_MAX}")));
    }
    let bytes = fs::read(path).map_err(|error| fault(error.kind().to_string()))?;
    let out_of_form = |error: serde_json::Error| {
        fault(format!("out of form at line {}, column {}", error.line(), error.column()))
    };
    serde_json::from_slice(&bytes).map_err(out_of_form)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many at one time: without the lock the last one's file would lack the others' names.
    #[test]
    fn tokens_made_at_one_time_are_all_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        std::thread::scope(|scope| {
            for n in 0..16 {
                let path = &path;
                scope.spawn(move || {
                    make(path, &format!("t{n}"), &[Role::Author], 1, Timestamp::now()).unwrap();
                });
            }
        });
        assert_eq!(list(&path).unwrap().len(), 16);
    }

    #[test]
    fn a_token_is_known_until_it_expires_or_is_replaced_and_stands_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        let now = Timestamp::now();
        let tokens = Tokens::new(&path);
        assert!(tokens.holder("x", now).is_err(), "without a file nobody is known");
        let first = make(&path, "ada", &[Role::Author], 90, now).unwrap();
        let (roles, token) = (vec![Role::Author], sha256_hex(first.as_bytes()));
        let holder = Principal { name: "ada".to_owned(), roles, token };
        assert_eq!(tokens.holder(&first, now).unwrap(), Known::Holder(holder));
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&first) && !text.contains(&first[PREFIX.len()..]), "{text}");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        for wrong in ["", "x", &first[..first.len() - 1], &format!("{first}x")] {
            assert_eq!(tokens.holder(wrong, now).unwrap(), Known::Nobody);
        }
        let later = now.checked_add((24 * 90).hours()).unwrap();
        assert_eq!(tokens.holder(&first, later).unwrap(), Known::Expired);
        let second = make(&path, "ada", &[Role::Operator], 90, now).unwrap();
        let again = Tokens::new(&path);
        assert_eq!(again.holder(&first, now).unwrap(), Known::Nobody);
        assert!(matches!(again.holder(&second, now).unwrap(), Known::Holder(_)));
        make(&path, "bo", &[Role::Auditor], 1, now).unwrap();
        let names = || -> Vec<String> {
            list(&path).unwrap().into_iter().map(|(holder, _)| holder.name).collect()
        };
        assert_eq!(names(), ["ada", "bo"]);
        revoke(&path, "ada").unwrap();
        assert_eq!(names(), ["bo"]);
        assert_eq!(again.holder(&second, now).unwrap(), Known::Nobody, "from the next call on");
        assert!(revoke(&path, "ada").unwrap_err().to_string().contains("no token of `ada`"));
    }

    #[test]
    fn a_file_out_of_form_makes_nobody_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        for text in ["", "[]", "{\"tokens\":[{}]}", "{\"tokens\":[],\"x\":1}"] {
            fs::write(&path, text).unwrap();
            assert!(Tokens::new(&path).holder("x", Timestamp::now()).is_err(), "{text}");
        }
        for name in ["", "Ada", "a b", "1a", &"a".repeat(49)] {
            let made = make(&path, name, &[], 1, Timestamp::now());
            assert!(matches!(made, Err(TokensFault::Name(_))), "{name}");
        }
    }
}
