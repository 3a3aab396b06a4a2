//! Release files: one signed envelope a line. A pipeline's own file has one; the file of many
//! tables has one a table, so that a changed table is proposed, signed and stopped alone.

use std::path::{Path, PathBuf};

use douane_ledger::dsse::Envelope;
use douane_ledger::release;

use crate::config::Pipeline;
use crate::fault::RunFault;
use crate::release::fault;

/// Where releases lie while they gather approvals. Those in force stay where they are until
/// enough have signed: a crash in between finds them there.
pub fn draft_file(pipeline: &Pipeline) -> PathBuf {
    pipeline.release.with_extension("draft.json")
}

/// A pipeline's envelope in a file, which nobody verified yet; `None` where there is no file, or
/// no line of this table. A file that is there and cannot be read is a fault: it is not written
/// over.
pub fn find(path: &Path, pipeline: &Pipeline) -> Result<Option<Envelope>, RunFault> {
    let mut lines = read(path)?;
    match pipeline.table {
        None if lines.len() > 1 => Err(fault(format!(
            "{}: {} releases, expected the one of `{}`",
            path.display(),
            lines.len(),
            pipeline.name
        ))),
        // Whose it is, the fingerprint says.
        None => Ok(lines.pop().map(|line| line.envelope)),
        Some(_) => {
            let mine = |line: &Line| line.pipeline == pipeline.name;
            Ok(lines.into_iter().find(mine).map(|line| line.envelope))
        }
    }
}

/// The bytes of a file with this pipeline's envelope in it, in the place of the one before. Lines
/// of other tables stay as they are, also of tables that the pipelines' file no longer names:
/// their versions count on if they come back.
pub fn with(path: &Path, pipeline: &Pipeline, envelope: &Envelope) -> Result<Vec<u8>, RunFault> {
    let bytes = envelope.to_bytes().map_err(fault)?;
    let mut lines = others(path, pipeline)?;
    let at = lines.partition_point(|line| line.pipeline < pipeline.name);
    lines.insert(at, Line { pipeline: pipeline.name.clone(), envelope: envelope.clone(), bytes });
    Ok(lines.into_iter().flat_map(|line| line.bytes).collect())
}

/// The bytes of a file without this pipeline's envelope.
pub fn without(path: &Path, pipeline: &Pipeline) -> Result<Vec<u8>, RunFault> {
    Ok(others(path, pipeline)?.into_iter().flat_map(|line| line.bytes).collect())
}

struct Line {
    /// As the payload says.
    pipeline: String,
    envelope: Envelope,
    bytes: Vec<u8>,
}

fn others(path: &Path, pipeline: &Pipeline) -> Result<Vec<Line>, RunFault> {
    if pipeline.table.is_none() {
        return Ok(Vec::new());
    }
    let mut lines = read(path)?;
    lines.retain(|line| line.pipeline != pipeline.name);
    Ok(lines)
}

fn read(path: &Path) -> Result<Vec<Line>, RunFault> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|error| fault(format!("{}: {}", path.display(), error.kind())))?,
    };
    if bytes.is_empty() {
        return Err(fault(format!("{}: empty, expected a release", path.display())));
    }
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| {
            let broken = |why: String| fault(format!("{}: {why}", path.display()));
            let envelope = Envelope::from_bytes(line).map_err(|f| broken(f.to_string()))?;
            let draft = release::draft(&envelope).map_err(|f| broken(f.to_string()))?;
            let mut bytes = line.to_vec();
            if !bytes.ends_with(b"\n") {
                bytes.push(b'\n');
            }
            Ok(Line { pipeline: draft.pipeline, envelope, bytes })
        })
        .collect()
}
