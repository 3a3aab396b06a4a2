//! Witnesses: somebody outside the operator's control who cosigns a log's checkpoint only where it
//! goes on from the last one that he cosigned. So nobody is shown another history.
//!
//! Formats: <https://c2sp.org/tlog-witness> (the request), <https://c2sp.org/tlog-cosignature>
//! (`cosignature/v1`). The witness shares no code with the log's writer.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use ct_merkle::{HashableLeaf, mem_backed_tree::MemoryBackedTree};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::canonical::{self, hex32};
use crate::signing::SigningKey;
use crate::verify::note::{self, Note};

/// C2SP tlog-cosignature: the type byte of Ed25519 cosignatures.
const COSIGNATURE: u8 = 4;
/// A proof between trees of up to 2^63 leaves has no more hashes.
const PROOF_HASHES_MAX: usize = 63;
/// Below a log: a file for each cosigned checkpoint, its name the checkpoint's size.
pub(crate) const COSIGNED: &str = "tlog/cosigned";
/// A request is a checkpoint, a proof and two lines.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Why a witness does not cosign.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the request is not of the form: {why}")]
    Malformed { why: &'static str },
    #[error("the witness does not know this log: {what}")]
    UnknownLog { what: &'static str },
    #[error("the checkpoint: {why}")]
    Checkpoint { why: &'static str },
    /// What was cosigned last is of another size than the request goes on from.
    #[error("the last checkpoint cosigned has size {size}\n  next: ask again from there")]
    Conflict { size: u64 },
    #[error("the checkpoint has size {size}, and {cosigned} were cosigned: the log was cut back")]
    RolledBack { size: u64, cosigned: u64 },
    #[error("another root was cosigned at size {size}: the log was forked")]
    Forked { size: u64 },
    #[error(
        "size {size} does not go on from size {cosigned}: the log was forked, or the proof is wrong"
    )]
    Inconsistent { size: u64, cosigned: u64 },
    /// The witness's own memory: without it nothing is cosigned.
    #[error("the witness's state {}: {why}", path.display())]
    State { path: PathBuf, why: String },
}

impl Refused {
    /// One word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::UnknownLog { .. } => "unknown_log",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Conflict { .. } => "conflict",
            Self::RolledBack { .. } => "rolled_back",
            Self::Forked { .. } => "forked",
            Self::Inconsistent { .. } => "inconsistent",
            Self::State { .. } => "state",
        }
    }
}

/// What a witness knows of one log: who signs it, and the newest checkpoint that he cosigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    v: u32,
    /// The log's verifier key.
    log: String,
    #[serde(with = "canonical::text_u64")]
    size: u64,
    #[serde(with = "hex32")]
    root: [u8; 32],
}

/// The key that a witness is known by: `name+hex8+base64(0x04 || key)`.
pub fn witness_key(name: &str, key: &SigningKey) -> String {
    let bytes = [&[COSIGNATURE], key.verifying_key().0.as_slice()].concat();
    format!("{name}+{}+{}", canonical::hex(&key_id(name, &bytes)), BASE64.encode(&bytes))
}

fn key_id(name: &str, key: &[u8]) -> [u8; 4] {
    let digest = Sha256::new().chain_update(name).chain_update("\n").chain_update(key).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// A witness: a name, a key, and a folder in which a file for each log says what was cosigned.
pub struct Witness {
    name: String,
    key: SigningKey,
    state: PathBuf,
}

impl Witness {
    /// # Errors
    /// [`Refused::Malformed`] for a name that cannot stand in a note.
    pub fn new(name: &str, key: SigningKey, state: &Path) -> Result<Self, Refused> {
        let plain = !name.is_empty() && !name.contains(['+', ' ', '\n', '\t']);
        if !plain || name.chars().any(char::is_whitespace) {
            return Err(Refused::Malformed { why: "a name has no space and no `+`" });
        }
        Ok(Self { name: name.to_owned(), key, state: state.to_path_buf() })
    }

    /// The key that others check cosignatures with.
    pub fn verifier_key(&self) -> String {
        witness_key(&self.name, &self.key)
    }

    /// From now on cosigns the log of this verifier key, from its beginning. Never starts one anew: what
    /// was cosigned would be forgotten.
    ///
    /// # Errors
    /// [`Refused::Checkpoint`] for a malformed key, [`Refused::State`].
    pub fn trust(&self, log: &str) -> Result<(), Refused> {
        let origin =
            note::origin_of(log).ok_or(Refused::Checkpoint { why: "the key is malformed" })?;
        let path = self.path(origin);
        fs::create_dir_all(&self.state).map_err(|error| state(&path, &error))?;
        if path.exists() {
            let why = "the log is known already".to_owned();
            return Err(Refused::State { path, why });
        }
        let root = Sha256::digest(b"").into();
        self.store(&path, &Known { v: 1, log: log.to_owned(), size: 0, root })
    }

    /// Answers a request (`add-checkpoint` of tlog-witness): the line to add to the checkpoint. `now` in
    /// seconds since the epoch.
    ///
    /// # Errors
    /// [`Refused`]; nothing was cosigned.
    pub fn cosign(&self, request: &[u8], now: u64) -> Result<String, Refused> {
        let Request { old, proof, checkpoint } = Request::parse(request)?;
        let text = std::str::from_utf8(checkpoint);
        let origin = text.ok().and_then(|text| text.lines().next()).unwrap_or_default();
        let path = self.path(origin);
        if !path.exists() {
            return Err(Refused::UnknownLog { what: "no state for its origin" });
        }
        // One request at a time: what is compared is what is replaced.
        let lock = fs::File::options().create(true).append(true).open(path.with_extension("lock"));
        let lock = lock.map_err(|error| state(&path, &error))?;
        lock.lock().map_err(|error| state(&path, &error))?;
        let known = load(&path)?;
        let checked = note::parse(checkpoint, Some(&known.log));
        let note = checked.map_err(|why| Refused::Checkpoint { why })?;
        if note.size < known.size {
            return Err(Refused::RolledBack { size: note.size, cosigned: known.size });
        }
        if old != known.size {
            return Err(Refused::Conflict { size: known.size });
        }
        goes_on(&known, &note, proof)?;
        // Also where nothing is new: what a killed process left may be seen and not be durable.
        let next = Known { size: note.size, root: note.root, ..known };
        self.store(&path, &next)?;
        // Crash here: it is remembered and nobody has the line; the same request from the new size
        // gets it.
        let body = note::body(checkpoint).ok_or(Refused::Malformed { why: "no checkpoint" })?;
        let signature = self.key.sign(&message(now, body));
        let public = [&[COSIGNATURE], self.key.verifying_key().0.as_slice()].concat();
        let id = key_id(&self.name, &public);
        let bytes = [id.as_slice(), &now.to_be_bytes(), &signature].concat();
        Ok(format!("\u{2014} {} {}\n", self.name, BASE64.encode(&bytes)))
    }

    fn path(&self, origin: &str) -> PathBuf {
        let digest: [u8; 32] = Sha256::digest(origin.as_bytes()).into();
        self.state.join(format!("{}.json", canonical::hex(&digest)))
    }

    /// Durable when it returns: only then a line goes out.
    fn store(&self, path: &Path, known: &Known) -> Result<(), Refused> {
        let fault = |error: std::io::Error| state(path, &error);
        let bytes = canonical::to_vec(known)
            .map_err(|fault| Refused::State { path: path.to_path_buf(), why: fault.to_string() })?;
        let temporary = path.with_extension("tmp");
        let mut file = fs::File::create(&temporary).map_err(fault)?;
        file.write_all(&bytes).map_err(fault)?;
        file.sync_all().map_err(fault)?;
        fs::rename(&temporary, path).map_err(fault)?;
        fs::File::open(&self.state).and_then(|dir| dir.sync_all()).map_err(fault)
    }
}

fn state(path: &Path, error: &std::io::Error) -> Refused {
    Refused::State { path: path.to_path_buf(), why: error.kind().to_string() }
}

fn load(path: &Path) -> Result<Known, Refused> {
    let bytes = fs::read(path).map_err(|error| state(path, &error))?;
    let known: Option<Known> = canonical::from_slice(&bytes).ok();
    known.filter(|known| known.v == 1).ok_or_else(|| Refused::State {
        path: path.to_path_buf(),
        why: "it is not what a witness writes\n  next: put the file back; a new one would cosign \
              any history"
            .to_owned(),
    })
}

/// The checkpoint is of the log that was cosigned, and more of it.
fn goes_on(known: &Known, note: &Note, proof: Vec<u8>) -> Result<(), Refused> {
    let (size, cosigned) = (note.size, known.size);
    if size == cosigned {
        return match note.root == known.root {
            true => Ok(()),
            false => Err(Refused::Forked { size }),
        };
    }
    // All goes on from nothing.
    if cosigned == 0 {
        return Ok(());
    }
    match note.goes_on_from(cosigned, known.root, proof) {
        true => Ok(()),
        false => Err(Refused::Inconsistent { size, cosigned }),
    }
}

/// What is signed: `cosignature/v1`, the time, and the checkpoint without signatures.
fn message(time: u64, body: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{body}").into_bytes()
}

/// When a witness cosigned a checkpoint, in seconds since the epoch; `None` where he did not.
///
/// # Errors
/// Why the verifier key is none, or a line by the witness does not verify.
pub(crate) fn cosigned(checkpoint: &[u8], witness: &str) -> Result<Option<u64>, &'static str> {
    let (name, id, key) =
        note::key_of(witness, COSIGNATURE).ok_or("the witness's key is malformed")?;
    let body = note::body(checkpoint).ok_or("it has no signatures")?;
    let text = std::str::from_utf8(checkpoint).map_err(|_| "it is not UTF-8")?;
    let mut times = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("\u{2014} ")) {
        let Some((by, base64)) = line.split_once(' ') else { continue };
        let bytes = BASE64.decode(base64.as_bytes()).unwrap_or_default();
        // Another key under this name is somebody else's.
        if by != name || bytes.get(..4) != Some(id.as_slice()) {
            continue;
        }
        let time = bytes.get(4..12).and_then(|time| time.try_into().ok()).map(u64::from_be_bytes);
        let time = time.ok_or("a cosignature is too short")?;
        if !key.verifies(&message(time, body), bytes.get(12..).unwrap_or_default()) {
            return Err("a cosignature does not verify");
        }
        times.push(time);
    }
    Ok(times.into_iter().max())
}

/// `old SIZE`, the proof's hashes a line each, a blank line, the checkpoint.
struct Request<'r> {
    old: u64,
    proof: Vec<u8>,
    checkpoint: &'r [u8],
}

impl<'r> Request<'r> {
    fn parse(bytes: &'r [u8]) -> Result<Self, Refused> {
        let malformed = |why| Refused::Malformed { why };
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(malformed("no blank line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.ok_or(malformed("it does not begin with `old SIZE`"))?;
        let size: u64 = old.parse().map_err(|_| malformed("its size is not a number"))?;
        if size.to_string() != old {
            return Err(malformed("its size is not canonical"));
        }
        let mut proof = Vec::new();
        for (at, line) in lines.enumerate() {
            let hash = BASE64.decode(line.as_bytes()).ok().filter(|hash| hash.len() == 32);
            proof.extend(hash.ok_or(malformed("a line of the proof is no hash"))?);
            if at >= PROOF_HASHES_MAX {
                return Err(malformed("its proof is too long"));
            }
        }
        Ok(Self { old: size, proof, checkpoint: checkpoint.as_bytes() })
    }
}

/// Why a log cannot be put before a witness.
#[derive(Debug, thiserror::Error)]
pub enum AskFault {
    #[error("{}: {kind}", path.display())]
    Io { path: PathBuf, kind: ErrorKind },
    #[error("the published log: {why}")]
    Log { why: &'static str },
}

/// What is put before a witness: the published checkpoint, and the proof that it goes on from `since`.
/// Of the log's published form only, so that a copy of it serves.
///
/// # Errors
/// [`AskFault`].
pub fn request(log: &Path, since: u64) -> Result<Vec<u8>, AskFault> {
    let path = log.join("tlog/checkpoint");
    let checkpoint = fs::read(&path).map_err(|error| AskFault::Io { path, kind: error.kind() })?;
    let note = note::parse(&checkpoint, None).map_err(|why| AskFault::Log { why })?;
    let mut text = format!("old {since}\n");
    if since > 0 && since < note.size {
        let tree = published_tree(log, note.size)?;
        let more = usize::try_from(note.size - since).unwrap_or(usize::MAX);
        for hash in tree.prove_consistency(more).as_bytes().chunks(32) {
            text.push_str(&BASE64.encode(hash));
            text.push('\n');
        }
    }
    text.push('\n');
    Ok([text.as_bytes(), &checkpoint].concat())
}

/// A leaf whose bytes are fed once.
struct Entry(Vec<u8>);

impl HashableLeaf for Entry {
    fn hash<H: ct_merkle::digest::Update>(&self, hasher: &mut H) {
        hasher.update(&self.0);
    }
}

/// The tree of the published bundles of entries.
fn published_tree(log: &Path, size: u64) -> Result<MemoryBackedTree<Sha256, Entry>, AskFault> {
    const WIDTH: u64 = 256;
    let mut tree = MemoryBackedTree::new();
    while tree.len() < size {
        let number = tree.len() / WIDTH;
        let width = (size - number * WIDTH).min(WIDTH);
        let mut name = crate::verify::number_path(usize::try_from(number).unwrap_or(usize::MAX));
        // The full bundle holds what a partial one held.
        let entries = log.join("tlog/tile/entries");
        if width < WIDTH && !entries.join(&name).exists() {
            name = format!("{name}.p/{width}");
        }
        let path = entries.join(name);
        let bytes = fs::read(&path).map_err(|error| AskFault::Io { path, kind: error.kind() })?;
        let mut rest = bytes.as_slice();
        for _ in 0..width {
            let short = AskFault::Log { why: "a bundle is shorter than the checkpoint says" };
            let Some((length, after)) = rest.split_first_chunk::<2>() else { return Err(short) };
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((entry, after)) = after.split_at_checked(length) else { return Err(short) };
            tree.push(Entry(entry.to_vec()));
            rest = after;
        }
    }
    Ok(tree)
}

/// Writes a request's checkpoint with the lines of witnesses beside the published one, as a file of its
/// size in `tlog/cosigned`. Checkpoints of other sizes stay, whoever cosigned them, and so do the lines
/// that are there about this one. The file.
///
/// # Errors
/// [`AskFault`]: among others for a line that is none, and where another checkpoint of this size is there.
pub fn attach(log: &Path, request: &[u8], lines: &str) -> Result<PathBuf, AskFault> {
    let no_request = AskFault::Log { why: "no request" };
    let Ok(Request { checkpoint, .. }) = Request::parse(request) else { return Err(no_request) };
    let note = note::parse(checkpoint, None).map_err(|why| AskFault::Log { why })?;
    let malformed = AskFault::Log { why: "a witness's answer is lines of cosignatures" };
    if lines.is_empty() || !lines.ends_with('\n') {
        return Err(malformed);
    }
    if !lines.lines().all(|line| line.starts_with("\u{2014} ") && line.split(' ').count() == 3) {
        return Err(malformed);
    }
    let dir = log.join(COSIGNED);
    let path = dir.join(note.size.to_string());
    let io = |error: std::io::Error| AskFault::Io { path: path.clone(), kind: error.kind() };
    fs::create_dir_all(&dir).map_err(io)?;
    let mut text = match fs::read(&path) {
        Ok(before) if note::body(&before) == note::body(checkpoint) => before,
        Ok(_) => {
            return Err(AskFault::Log {
                why: "another checkpoint of this size was cosigned: the log was forked",
            });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => checkpoint.to_vec(),
        Err(error) => return Err(io(error)),
    };
    let said = String::from_utf8_lossy(&text).into_owned();
    for line in lines.lines().filter(|line| !said.lines().any(|known| known == *line)) {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    // Beside the folder, where nobody takes it for one of them.
    let temporary = log.join(format!("{COSIGNED}.{}.tmp", std::process::id()));
    fs::write(&temporary, text).map_err(io)?;
    fs::rename(&temporary, &path).map_err(io)?;
    Ok(path)
}

#[cfg(test)]
mod tests;
