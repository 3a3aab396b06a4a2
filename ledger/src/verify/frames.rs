//! Journal frames, read by the auditor's own code from the documented format.

use std::io::{self, Read};

use serde_json::Value;

use super::{Files, Finding, Report};

/// Frame 0 of a journal.
#[derive(Clone, Debug)]
pub(super) struct JournalHead {
    pub(super) journal: String,
    pub(super) generation: u64,
    pub(super) predecessor: Option<From>,
}

/// Where a journal goes on.
#[derive(Clone, Debug)]
pub(super) struct From {
    pub(super) journal: String,
    pub(super) size: u64,
    pub(super) root: [u8; 32],
}

impl JournalHead {
    pub(super) fn start(&self) -> u64 {
        self.predecessor.as_ref().map_or(0, |from| from.size)
    }

    pub(super) fn parse(bytes: &[u8], id: &str, log: &str) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        if value.get("v")?.as_u64()? != 1
            || value.get("log")?.as_str()? != log
            || value.get("journal")?.as_str()? != id
            || serde_json_canonicalizer::to_vec(&value).ok()? != bytes
        {
            return None;
        }
        let predecessor = match value.get("predecessor")? {
            Value::Null => None,
            from => Some(From {
                journal: from.get("journal")?.as_str()?.to_owned(),
                size: number(from.get("size")?)?,
                root: crate::canonical::hex_array(from.get("root")?.as_str()?)?,
            }),
        };
        let generation = number(value.get("generation")?)?;
        Some(Self { journal: id.to_owned(), generation, predecessor })
    }
}

/// A number as decimal text.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

/// Goes through one journal's frames.
pub(super) struct Journal<'a> {
    id: String,
    file: Box<dyn Read + 'a>,
    offset: u64,
    frames: u64,
    /// Bytes after the last sound frame.
    rest: u64,
    damaged: bool,
}

impl<'a> Journal<'a> {
    pub(super) fn open(files: &'a dyn Files, id: &str) -> io::Result<Self> {
        let file = files.open(&format!("journals/{id}.journal"))?;
        Ok(Self { id: id.to_owned(), file, offset: 0, frames: 0, rest: 0, damaged: false })
    }

    /// The next payload; `None` from the first unsound frame on.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.rest > 0 {
            return Ok(None);
        }
        let mut head = Vec::new();
        self.file.by_ref().take(16).read_to_end(&mut head)?;
        let claimed = length(&head);
        let mut payload = Vec::new();
        if let Some(length) = claimed {
            self.file.by_ref().take(length).read_to_end(&mut payload)?;
        }
        if sound(&head, &payload).is_some() {
            self.offset += 16 + payload.len() as u64;
            self.frames += 1;
            return Ok(Some(payload));
        }
        let mut rest = [head, payload].concat();
        self.file.read_to_end(&mut rest)?;
        self.rest = rest.len() as u64;
        // A later frame that knew this one to be durable turns a torn tail into damage.
        self.damaged = (1..rest.len().saturating_sub(16)).any(|at| {
            let (head, tail) = (&rest[at..at + 16], &rest[at + 16..]);
            let payload = length(head).and_then(|n| tail.get(..usize::try_from(n).ok()?));
            payload.and_then(|p| sound(head, p)).is_some_and(|durable| durable > self.frames)
        });
        Ok(None)
    }

    /// Writes down how the journal ended.
    pub(super) fn report_end(&self, report: &mut Report) {
        if self.damaged {
            let (journal, offset) = (self.id.clone(), self.offset);
            report.findings.insert(Finding::Damaged { journal, offset });
        } else if self.rest > 0 {
            report.torn.insert(self.id.clone(), self.rest);
        }
    }
}

fn length(head: &[u8]) -> Option<u64> {
    let length = u32::from_be_bytes(head.get(..4)?.try_into().ok()?);
    (1..=65_535).contains(&length).then_some(u64::from(length))
}

/// The durable mark, if head and payload are one whole frame.
fn sound(head: &[u8], payload: &[u8]) -> Option<u64> {
    let crc = u32::from_be_bytes(head.get(12..16)?.try_into().ok()?);
    let whole = [head.get(..12)?, payload].concat();
    let same = length(head)? == payload.len() as u64 && crc32c::crc32c(&whole) == crc;
    let durable = u64::from_be_bytes(head.get(4..12)?.try_into().ok()?);
    same.then_some(durable)
}
