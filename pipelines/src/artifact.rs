//! A model that leaves in place of data: vetted, approved and checked by its file. Inside the zone `release
//! artifact` drafts and signs a statement beside it; outside `verify --artifact` vets the file anew.
//!
//! What is vetted is what a model file can carry beside its weights: code (a pickle runs when it is loaded),
//! bytes that no tensor owns, names and texts. Whether the weights have learned a row by heart no file says:
//! that is what training with noise is for (docs/federated.md).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use douane_ledger::artifact::{self, Artifact, Contents, FORMAT, Kind};
use douane_ledger::canonical;
use douane_ledger::dsse::Envelope;
use douane_ledger::release::{self, ReleaseFault, State};
use douane_ledger::trust::{Role, TrustRoot};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::fault::RunFault;
use crate::revocation;
use crate::signer::Signer;

/// The longest header that is read: names, types and places of some hundred thousand tensors.
const HEADER_BYTES_MAX: u64 = 64 << 20;
/// What a header says beside tensors.
const METADATA: &str = "__metadata__";
const METADATA_ENTRIES_MAX: usize = 64;
const METADATA_VALUE_MAX: usize = 256;
const NAME_MAX: usize = 256;

/// Bytes of one number of a type, and whether it is a floating one of 16 bits or more.
const DTYPES: [(&str, u64, bool); 15] = [
    ("BF16", 2, true),
    ("BOOL", 1, false),
    ("F16", 2, true),
    ("F32", 4, true),
    ("F64", 8, true),
    ("F8_E4M3", 1, false),
    ("F8_E5M2", 1, false),
    ("I16", 2, false),
    ("I32", 4, false),
    ("I64", 8, false),
    ("I8", 1, false),
    ("U16", 2, false),
    ("U32", 4, false),
    ("U64", 8, false),
    ("U8", 1, false),
];

/// The statement beside a file.
pub fn statement(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".artifact.json");
    PathBuf::from(name)
}

/// Revocations of the statements beside a file.
pub fn revocations(file: &Path) -> PathBuf {
    statement(file).with_extension("revocations.json")
}

/// A file that holds nothing but tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vetted {
    pub sha256: String,
    pub bytes: u64,
    pub contents: Contents,
    /// Texts that leave with it, for approvers to read.
    pub metadata: Vec<(String, String)>,
}

fn refused(file: &Path, why: impl std::fmt::Display) -> RunFault {
    RunFault::Release(format!("{}: {why}", file.display()))
}

fn unreadable(file: &Path, error: &std::io::Error) -> RunFault {
    let why = error.kind();
    RunFault::File(format!("{}: {why}\n  next: mend the name or its rights", file.display()))
}

/// Reads a model file through: its digest, and what is in it.
pub fn vet(file: &Path, kind: Kind) -> Result<Vetted, RunFault> {
    let opened = File::open(file).map_err(|error| unreadable(file, &error))?;
    let mut from = BufReader::with_capacity(1 << 20, opened);
    let mut digest = Context::new(&SHA256);
    let mut take = |bytes: &mut [u8]| -> Result<bool, RunFault> {
        match from.read_exact(bytes) {
            Ok(()) => {
                digest.update(bytes);
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(unreadable(file, &error)),
        }
    };
    let mut length = [0; 8];
    let whole = take(&mut length)?;
    if length.starts_with(b"PK") || length.starts_with(&[0x80]) && length[1] < 6 {
        return Err(refused(
            file,
            "a pickle, or a zip of them, runs code when it is loaded\n  next: write the tensors as \
             safetensors",
        ));
    }
    let length = u64::from_le_bytes(length);
    if !whole || length < 2 || length > HEADER_BYTES_MAX {
        return Err(refused(file, "not a safetensors file"));
    }
    let mut header = vec![0; usize::try_from(length).unwrap_or(0)];
    if !take(&mut header)? {
        return Err(refused(file, "its header is cut off"));
    }
    let mut data = 0u64;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = from.read(&mut buffer).map_err(|error| unreadable(file, &error))?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
        data += read as u64;
    }
    let (contents, metadata) = contents(&header, data, kind).map_err(|why| refused(file, why))?;
    let sha256 = canonical::hex(digest.finish().as_ref());
    Ok(Vetted { sha256, bytes: 8 + length + data, contents, metadata })
}

/// One tensor of a header.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// A header's entries in their order, each name once, and its texts, each name of them once: a name that stands twice would hide
/// what stands under it first from whoever signs.
struct Header {
    texts: Option<Entries>,
    tensors: Vec<(String, serde_json::Value)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let (mut header, mut names) =
                    (Header { texts: None, tensors: Vec::new() }, BTreeSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(serde::de::Error::custom("a name twice"));
                    }
                    match name.as_str() {
                        METADATA => header.texts = Some(map.next_value()?),
                        _ => header.tensors.push((name, map.next_value()?)),
                    }
                }
                Ok(header)
            }
        }
        from.deserialize_map(Each)
    }
}

/// The entries of a JSON object in their order, each name once.
struct Entries(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let (mut entries, mut names) = (Vec::new(), BTreeSet::new());
                while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
                    if !names.insert(name.clone()) {
                        return Err(serde::de::Error::custom("a name twice"));
                    }
                    entries.push((name, value));
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_map(Each)
    }
}

type Texts = Vec<(String, String)>;

fn contents(header: &[u8], data: u64, kind: Kind) -> Result<(Contents, Texts), String> {
    let text = in_one_form(header)?;
    let header: Header = serde_json::from_str(text)
        .map_err(|_| "its header is no JSON object, or has a name twice")?;
    let metadata = header.texts.map_or_else(|| Ok(Vec::new()), texts)?;
    let mut tensors = Vec::new();
    for (name, value) in header.tensors {
        if !is_plain(&name) {
            return Err("a tensor's name is out of form: [A-Za-z0-9_.:/-], at most 256".to_owned());
        }
        let tensor: Tensor = serde_json::from_value(value)
            .map_err(|_| format!("tensor `{name}` is not of this format"))?;
        tensors.push((name, tensor));
    }
    as_written(text, &tensors)?;
    let (mut end, mut parameters) = (0u64, 0u64);
    let (mut dtypes, mut wide) = (BTreeSet::new(), false);
    for (name, Tensor { dtype, shape, data_offsets }) in &tensors {
        let known = DTYPES.iter().find(|(known, ..)| known == dtype);
        let (_, size, is_wide) = known.ok_or(format!("tensor `{name}`: type is not known"))?;
        let count = shape.iter().try_fold(1u64, |count, dim| count.checked_mul(*dim));
        let bytes = count.and_then(|count| count.checked_mul(*size));
        if count == Some(0) {
            return Err(format!("tensor `{name}` holds no number"));
        }
        let fits = bytes.is_some_and(|bytes| end.checked_add(bytes) == Some(data_offsets[1]));
        if data_offsets[0] != end || !fits {
            return Err(format!("tensor `{name}`: bytes before or in it belong to no tensor"));
        }
        end = data_offsets[1];
        parameters = parameters.saturating_add(count.unwrap_or(0));
        dtypes.insert(dtype.clone());
        wide |= is_wide;
    }
    if end != data {
        return Err(format!("{} bytes behind the tensors belong to none", data.abs_diff(end)));
    }
    let narrow =
        |dtype: &String| DTYPES.iter().any(|(known, size, _)| known == dtype && *size == 1);
    match kind {
        Kind::Checkpoint if !wide => return Err("a checkpoint without a floating tensor".into()),
        Kind::Quantised if !dtypes.iter().any(narrow) => {
            return Err("quantised, and no tensor has numbers of 8 bits".into());
        }
        _ if tensors.is_empty() => return Err("nothing is in it".into()),
        _ => {}
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let shapes: Vec<_> =
        tensors.iter().map(|(name, t)| (name, &t.dtype, texts_of(&t.shape))).collect();
    let layout = canonical::to_vec(&(shapes, &metadata)).map_err(|fault| fault.to_string())?;
    let contents = Contents {
        format: "safetensors".to_owned(),
        tensors: tensors.len() as u64,
        parameters,
        dtypes: dtypes.into_iter().collect(),
        layout: canonical::sha256_hex(&layout),
    };
    Ok((contents, metadata))
}

/// How a header is written says nothing: no blanks but those that fill it up to 8 bytes, no characters
/// written out that need not be.
fn in_one_form(header: &[u8]) -> Result<&str, String> {
    let no = |why: &str| Err(format!("{why}\n  next: write it with the safetensors library"));
    let Ok(text) = std::str::from_utf8(header) else { return no("its header is not UTF-8") };
    let json = text.trim_end_matches(' ');
    let blanks = text.len() - json.len();
    if blanks > 7 || (blanks > 0 && text.len() % 8 != 0) {
        return no("blanks behind its header fill nothing up");
    }
    let (mut inside, mut escaped) = (false, false);
    for c in json.chars() {
        match (inside, escaped, c) {
            (true, true, '"' | '\\') => escaped = false,
            (true, true, _) => return no("its header writes characters out"),
            (true, false, '\\') => escaped = true,
            (_, false, '"') => inside = !inside,
            (false, _, c) if c.is_whitespace() => return no("its header has blanks"),
            _ => {}
        }
    }
    Ok(json)
}

/// The tensors stand behind the texts, in the order of their bytes, each in the one form.
fn as_written(text: &str, tensors: &[(String, Tensor)]) -> Result<(), String> {
    let each: Result<Vec<String>, _> = tensors
        .iter()
        .map(|(name, tensor)| {
            Ok::<_, serde_json::Error>(format!(
                "{}:{}",
                serde_json::to_string(name)?,
                serde_json::to_string(tensor)?
            ))
        })
        .collect();
    let each = each.map_err(|fault| fault.to_string())?.join(",");
    let before = text.strip_suffix('}').and_then(|text| text.strip_suffix(each.as_str()));
    let is_texts = |before: &str| {
        let texts = before.strip_suffix(',').unwrap_or(before);
        texts.starts_with(&format!("{{\"{METADATA}\":{{")) && texts.ends_with('}')
    };
    match before.is_some_and(|before| before == "{" || is_texts(before)) {
        true => Ok(()),
        false => {
            Err("its header is not in the one form: texts first, tensors in the order of their \
                      bytes, each as dtype, shape, data_offsets\n  next: write it with the \
                      safetensors library"
                .to_owned())
        }
    }
}

/// Large numbers as text: JSON would round them.
fn texts_of(shape: &[u64]) -> Vec<String> {
    shape.iter().map(u64::to_string).collect()
}

fn is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// Few short texts that a person can read before they leave.
fn texts(Entries(entries): Entries) -> Result<Texts, String> {
    let no = "its metadata is not of few short texts in ASCII";
    let text = |(name, value): (String, serde_json::Value)| {
        let value = value.as_str()?.to_owned();
        let fits =
            value.len() <= METADATA_VALUE_MAX && value.bytes().all(|b| (32..127).contains(&b));
        (fits && is_plain(&name)).then_some((name, value))
    };
    let count = entries.len();
    let mut texts: Texts = entries.into_iter().filter_map(text).collect();
    texts.sort();
    match texts.len() == count && count <= METADATA_ENTRIES_MAX {
        true => Ok(texts),
        false => Err(no.to_owned()),
    }
}

/// What a proposer says of a file.
pub struct Proposal {
    pub kind: Kind,
    pub purpose: String,
    pub author: String,
    /// Digest of the checkpoint that it is made of.
    pub base: Option<String>,
    pub life: Duration,
}

/// A statement that nobody signed yet, about the file as it is.
pub fn propose(file: &Path, proposal: &Proposal) -> Result<(Artifact, Vetted), RunFault> {
    let vetted = vet(file, proposal.kind)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let now = jiff::Timestamp::now();
    let text = |at: jiff::Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let expires =
        now.checked_add(proposal.life).map_err(|_| refused(file, "the life is too long"))?;
    let artifact = Artifact {
        v: FORMAT,
        name,
        kind: proposal.kind,
        sha256: vetted.sha256.clone(),
        bytes: vetted.bytes,
        base: proposal.base.clone(),
        purpose: proposal.purpose.clone(),
        author: proposal.author.clone(),
        created: text(now),
        expires: text(expires),
        nonce: release::nonce().map_err(|fault| refused(file, fault))?,
        contents: vetted.contents.clone(),
    };
    artifact::unsigned(&artifact).map_err(|fault| refused(file, fault))?;
    Ok((artifact, vetted))
}

/// The statement beside a file.
fn beside(file: &Path) -> Result<(Envelope, Artifact, [u8; 32]), RunFault> {
    let path = statement(file);
    let bytes = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
    let envelope = Envelope::from_bytes(&bytes).map_err(|fault| refused(&path, fault))?;
    let (artifact, digest) = artifact::draft(&envelope).map_err(|fault| refused(&path, fault))?;
    Ok((envelope, artifact, digest))
}

/// Digest and length of a file, of which nothing is read but that.
fn summed(file: &Path) -> Result<(String, u64), RunFault> {
    let mut from = File::open(file).map_err(|error| unreadable(file, &error))?;
    let (mut digest, mut length, mut buffer) = (Context::new(&SHA256), 0, vec![0; 1 << 20]);
    loop {
        let read = from.read(&mut buffer).map_err(|error| unreadable(file, &error))?;
        if read == 0 {
            return Ok((canonical::hex(digest.finish().as_ref()), length));
        }
        digest.update(&buffer[..read]);
        length += read as u64;
    }
}

/// The file that a statement is about: by its digest, before anything of it is parsed, and then vetted.
fn about(file: &Path, artifact: &Artifact) -> Result<Vetted, RunFault> {
    let is_it = summed(file)? == (artifact.sha256.clone(), artifact.bytes);
    let vetted = is_it.then(|| vet(file, artifact.kind)).transpose()?;
    let same = vetted.filter(|vetted| {
        (&artifact.sha256, artifact.bytes, &artifact.contents)
            == (&vetted.sha256, vetted.bytes, &vetted.contents)
    });
    match same {
        Some(vetted) => Ok(vetted),
        None => Err(refused(
            file,
            "it is not the file that the statement is about\n  next: put the file back, or propose \
             it anew",
        )),
    }
}

/// The statement with one signature more, after the file was vetted again.
pub fn sign(
    file: &Path,
    root: &TrustRoot,
    trust: &Path,
    signer: &Signer,
    show: impl FnOnce(&Artifact, &Vetted),
) -> Result<(Envelope, State), RunFault> {
    if root.person(&signer.verifying_key(), Role::Approve).is_none() {
        return Err(refused(file, "the key is not an approver's in the trust root"));
    }
    let (mut envelope, artifact, digest) = beside(file)?;
    if let Some(revoked) = revocation::said(&revocations(file), trust, &canonical::hex(&digest))? {
        return Err(revoked.into());
    }
    let vetted = about(file, &artifact)?;
    show(&artifact, &vetted);
    signer.sign(&mut envelope)?;
    let state = state(&envelope, root, None, SystemTime::now());
    Ok((envelope, state))
}

/// The revocations' file with one more line: this artifact is stopped.
pub fn revoke(
    file: &Path,
    trust: &Path,
    signer: &Signer,
    reason: &str,
) -> Result<(revocation::Revoked, Vec<revocation::Written>), RunFault> {
    let path = statement(file);
    let bytes = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
    let envelope = Envelope::from_bytes(&bytes).map_err(|fault| refused(&path, fault))?;
    let (_, digest) = artifact::draft(&envelope).map_err(|fault| refused(&path, fault))?;
    revocation::stop(&[revocations(file)], trust, &canonical::hex(&digest), signer, reason)
}

/// What somebody outside is told of a file.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// It is the approved file, of the kind that was approved, live and not revoked.
    pub holds: bool,
    /// As of releases.
    pub state: &'static str,
    pub said: String,
    pub approvers: Vec<String>,
    pub artifact: Artifact,
}

/// Holds a file against its statement and the trust root. Of a statement that does not hold, the file is
/// not opened.
pub fn verify(file: &Path, trust: &Path) -> Result<Answer, RunFault> {
    let bytes = std::fs::read(trust).map_err(|error| unreadable(trust, &error))?;
    let root = TrustRoot::load(&bytes, None).map_err(|fault| refused(trust, fault))?;
    let (envelope, artifact, digest) = beside(file)?;
    let stopped = revocation::said(&revocations(file), trust, &canonical::hex(&digest))?;
    let state = state(&envelope, &root, stopped, SystemTime::now());
    if state.is_live() {
        about(file, &artifact)?;
    }
    let approvers = match &state {
        State::Approved { approvers, .. } => approvers.clone(),
        _ => Vec::new(),
    };
    let (holds, word, said) = (state.is_live(), state.word(), state.to_string());
    Ok(Answer { holds, state: word, said, approvers, artifact })
}

/// Where a statement stands in its life: in the words of releases.
fn state(
    envelope: &Envelope,
    root: &TrustRoot,
    stopped: Option<revocation::Revoked>,
    now: SystemTime,
) -> State {
    let verified = match envelope.is_signed() {
        true => artifact::verify(envelope, root, now),
        false => Err(ReleaseFault::Threshold { found: 0, needed: root.threshold() }),
    };
    let live = verified.map(|approved| (approved.approvers, approved.artifact.expires));
    State::told(live, envelope.is_signed(), stopped.map(Into::into))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use douane_ledger::signing::SigningKey;
    use douane_ledger::trust::{self, Approver, Root};

    use super::*;

    /// A file of this header and so many bytes of data.
    fn safetensors(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend(std::iter::repeat_n(7, data));
        bytes
    }

    const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"I8","shape":[4],"data_offsets":[24,28]}}"#;

    fn vetted(bytes: &[u8], kind: Kind) -> Result<Vetted, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("m.safetensors");
        fs::write(&file, bytes).unwrap();
        vet(&file, kind).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_file_of_tensors_is_described() {
        let bytes = safetensors(GOOD, 28);
        let found = vetted(&bytes, Kind::Checkpoint).unwrap();
        assert_eq!(found.sha256, canonical::sha256_hex(&bytes));
        assert_eq!(found.bytes, bytes.len() as u64);
        assert_eq!((found.contents.tensors, found.contents.parameters), (2, 10));
        assert_eq!(found.contents.dtypes, ["F32", "I8"]);
        assert_eq!(found.metadata, [("format".to_owned(), "pt".to_owned())]);
        assert!(vetted(&bytes, Kind::Quantised).is_ok() && vetted(&bytes, Kind::Diff).is_ok());
        // Blanks behind the header are the format's own padding, up to 8 bytes and no further.
        let fill = GOOD.len().next_multiple_of(8) - GOOD.len();
        let padded = |blanks: usize| {
            let header = format!("{GOOD}{}", " ".repeat(blanks));
            vetted(&safetensors(&header, 28), Kind::Diff)
        };
        assert!(padded(fill).is_ok() && (0..24).filter(|n| padded(*n).is_ok()).count() <= 2);
    }

    #[test]
    fn refuses_artifact_bad_files() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}}}"#)
        };
        let float = one("F32", "2", "0,8");
        for (bytes, kind, word) in [
            (b"PK\x03\x04and so on".to_vec(), Kind::Checkpoint, "runs code"),
            (b"\x80\x04\x95pickled!".to_vec(), Kind::Checkpoint, "runs code"),
            (b"short".to_vec(), Kind::Checkpoint, "not a safetensors"),
            (u64::MAX.to_le_bytes().to_vec(), Kind::Checkpoint, "not a safetensors"),
            (safetensors(GOOD, 28)[..40].to_vec(), Kind::Checkpoint, "cut off"),
            (safetensors("[]", 0), Kind::Checkpoint, "no JSON object"),
            // What stands first would be shown to nobody.
            (
                safetensors(
                    r#"{"__metadata__":{"format":"Ada Berg","format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
                    8,
                ),
                Kind::Diff,
                "a name twice",
            ),
            (safetensors("{}", 0), Kind::Diff, "nothing is in it"),
            (safetensors(&one("F32", "0", "0,0"), 0), Kind::Diff, "holds no number"),
            (safetensors(&float.replace(':', ": "), 8), Kind::Diff, "has blanks"),
            (safetensors(&format!("{float}{}", " ".repeat(8)), 8), Kind::Diff, "fill nothing up"),
            (safetensors(&format!("{float}\n"), 8), Kind::Diff, "has blanks"),
            (safetensors(&float.replace("\"a\"", r#""\u0061""#), 8), Kind::Diff, "writes char"),
            (
                safetensors(r#"{"a":{"shape":[2],"dtype":"F32","data_offsets":[0,8]}}"#, 8),
                Kind::Diff,
                "in the one form",
            ),
            (
                safetensors(
                    r#"{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{}}"#,
                    4,
                ),
                Kind::Diff,
                "in the one form",
            ),
            (safetensors(&one("F32", "2,01", "0,8"), 8), Kind::Diff, "no JSON object"),
            (safetensors(&float, 9), Kind::Checkpoint, "1 bytes behind"),
            (safetensors(&float, 7), Kind::Checkpoint, "behind the tensors"),
            (safetensors(&one("F32", "2", "4,12"), 12), Kind::Checkpoint, "belong to no tensor"),
            (safetensors(&one("F32", "2", "0,9"), 9), Kind::Checkpoint, "belong to no tensor"),
            (safetensors(&one("F99", "2", "0,8"), 8), Kind::Checkpoint, "type is not known"),
            (
                safetensors(&one("F64", "4294967296,4294967296", "0,8"), 8),
                Kind::Checkpoint,
                "belong to no tensor",
            ),
            (safetensors(&one("I8", "8", "0,8"), 8), Kind::Checkpoint, "without a floating"),
            (safetensors(&float, 8), Kind::Quantised, "8 bits"),
            (safetensors(&float.replace("\"a\"", "\"a b\""), 8), Kind::Diff, "out of form"),
            (
                safetensors(&float.replace("]}}", "],\"x\":1}}"), 8),
                Kind::Diff,
                "not of this format",
            ),
            (
                safetensors(&float.replace("{\"a\"", "{\"a\":1,\"a\""), 8),
                Kind::Diff,
                "a name twice",
            ),
            (
                safetensors(
                    &float.replace("{\"a\"", "{\"__metadata__\":{\"n\":\"\u{e9}\"},\"a\""),
                    8,
                ),
                Kind::Diff,
                "metadata",
            ),
        ] {
            let why = vetted(&bytes, kind).unwrap_err();
            assert!(why.contains(word), "{word}: {why}");
        }
        assert!(vetted(&safetensors(&float, 8), Kind::Checkpoint).is_ok(), "the control");
    }

    #[test]
    fn only_the_file_that_was_signed_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (file, trust) = (dir.path().join("m.safetensors"), dir.path().join("trust.json"));
        let bytes = safetensors(GOOD, 28);
        fs::write(&file, &bytes).unwrap();
        let keys = [1, 2].map(|seed| SigningKey::from_seed(&[seed; 32]).unwrap());
        let people = ["ada", "bo"].into_iter().zip(&keys).map(|(name, key)| Approver {
            name: name.into(),
            key: key.verifying_key(),
            roles: vec![Role::Approve, Role::Revoke, Role::Trust],
        });
        let root = Root::first(2, people.collect());
        let signed = trust::sign(&root, &[&keys[0], &keys[1]]).unwrap();
        fs::write(&trust, signed.to_bytes().unwrap()).unwrap();
        let root = TrustRoot::load(&fs::read(&trust).unwrap(), None).unwrap();
        let proposal = Proposal {
            kind: Kind::Checkpoint,
            purpose: "inference".into(),
            author: "cleo".into(),
            base: None,
            life: Duration::from_secs(3_600),
        };
        let (drafted, _) = propose(&file, &proposal).unwrap();
        let put = |envelope: &Envelope| {
            fs::write(statement(&file), envelope.to_bytes().unwrap()).unwrap();
        };
        put(&artifact::unsigned(&drafted).unwrap());
        let told = || verify(&file, &trust).map(|answer| (answer.holds, answer.state));
        assert_eq!(told().unwrap(), (false, "draft"));
        // What nobody approved of is not opened, whatever it is.
        fs::rename(&file, dir.path().join("aside")).unwrap();
        assert_eq!(told().unwrap(), (false, "draft"));
        fs::rename(dir.path().join("aside"), &file).unwrap();
        let by = |seed| Signer::from(SigningKey::from_seed(&[seed; 32]).unwrap());
        for (seed, state) in [(1, "in_review"), (2, "approved")] {
            let (envelope, now) = sign(&file, &root, &trust, &by(seed), |_, _| {}).unwrap();
            assert_eq!(now.word(), state);
            put(&envelope);
        }
        assert!(sign(&file, &root, &trust, &by(9), |_, _| {}).is_err(), "nobody's key");
        let answer = verify(&file, &trust).unwrap();
        assert!(answer.holds && answer.approvers == ["ada", "bo"]);
        // Another file is told by its digest, before it is parsed.
        fs::write(&file, b"\x80\x04\x95 a pickle").unwrap();
        assert!(told().unwrap_err().to_string().contains("not the file"));
        // One bit of a weight, and it is another file.
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(&file, &flipped).unwrap();
        assert!(told().unwrap_err().to_string().contains("not the file"));
        assert!(sign(&file, &root, &trust, &by(1), |_, _| {}).is_err());
        fs::write(&file, &bytes).unwrap();
        assert_eq!(told().unwrap(), (true, "approved"));
        let (_, written) = revoke(&file, &trust, &by(1), "leaks").unwrap();
        let [(at, lines)] = written.as_slice() else { panic!("{} files", written.len()) };
        assert_eq!(*at, revocations(&file));
        fs::write(at, lines).unwrap();
        assert_eq!(told().unwrap(), (false, "revoked"));
        fs::write(revocations(&file), "torn").unwrap();
        assert!(told().is_err(), "what cannot be told is refused");
    }
}
