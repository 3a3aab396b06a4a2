//! The formats of files: what reads rows, what writes records, and which there are.

mod arrow_file;
mod avro_container;
mod json_lines;
mod parquet_file;

use std::fs::File;
use std::path::Path;

use douane_gate::OutRecord;
use douane_schemas::leaf::TableLeaves;
use douane_schemas::record::RawRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use parquet_file::properties as parquet_properties;

use super::{FileFault, rows};

/// How rows lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// One JSON object a line; as a source `{"key":…,"value":…}` with Debezium's envelope.
    JsonLines,
    /// Avro object container.
    Avro,
    /// Arrow IPC file, also known as Feather.
    Arrow,
    /// Parquet.
    Parquet,
}

impl FileFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::JsonLines, Self::Avro, Self::Arrow, Self::Parquet];

    /// As written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "json_lines",
            Self::Avro => "avro",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    /// Rows are flat: every one says what a row is now, and the file has a schema.
    pub fn is_flat(self) -> bool {
        self != Self::JsonLines
    }

    /// The file that holds the records of one transaction.
    pub(super) fn records_file(self) -> &'static str {
        match self {
            Self::JsonLines => "records.jsonl",
            Self::Avro => "records.avro",
            Self::Arrow => "records.arrow",
            Self::Parquet => "records.parquet",
        }
    }
}

/// One record of a file. Its buffers are kept. No `Debug`: it is data.
#[derive(Default)]
pub(super) struct Row {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// Milliseconds since the epoch; -1 where nothing says.
    pub timestamp_ms: i64,
}

impl Row {
    pub fn raw(&self, topic: u32, offset: i64) -> RawRecord<'_> {
        RawRecord {
            topic,
            partition: 0,
            offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &[],
        }
    }
}

/// What comes next in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The row was filled.
    Row,
    /// Nothing more.
    End,
    /// Something that is not whole yet: whoever writes the file has not finished.
    Unfinished,
}

/// Rows of one file, from its start. Two readings of the same bytes give the same rows.
pub(super) trait Reader: Send {
    fn next(&mut self, row: &mut Row) -> Result<Next, FileFault>;
}

/// The rows of an open file, from its first; `path` is for words.
pub(super) fn reader(
    path: &Path,
    file: File,
    format: FileFormat,
    key: &[String],
) -> Result<Box<dyn Reader>, FileFault> {
    Ok(match format {
        FileFormat::JsonLines => Box::new(json_lines::Lines::new(path, file)),
        FileFormat::Avro => {
            Box::new(rows::Rows::new(path, avro_container::batches(path, file)?, key)?)
        }
        FileFormat::Arrow => {
            Box::new(rows::Rows::new(path, arrow_file::batches(path, file)?, key)?)
        }
        FileFormat::Parquet => {
            Box::new(rows::Rows::new(path, parquet_file::batches(path, file)?, key)?)
        }
    })
}

/// The leaves that a file's own schema names; `None` where the format has no schema.
pub(super) fn leaves(
    path: &Path,
    file: File,
    format: FileFormat,
    key: &[String],
) -> Result<Option<TableLeaves>, FileFault> {
    let batches = match format {
        FileFormat::JsonLines => return Ok(None),
        FileFormat::Avro => avro_container::batches(path, file)?,
        FileFormat::Arrow => arrow_file::batches(path, file)?,
        FileFormat::Parquet => parquet_file::batches(path, file)?,
    };
    rows::leaves(path, &batches.schema, key).map(Some)
}

/// The data records of one transaction as the bytes of one file. `schema`: the release's Avro
/// schema, where values are Avro. Only what the gate made goes in.
pub(super) fn write(
    format: FileFormat,
    records: &[OutRecord<'_>],
    schema: Option<&str>,
) -> Result<Vec<u8>, &'static str> {
    match (format, schema) {
        (FileFormat::JsonLines, _) => json_lines::write(records),
        (_, None) => Err("no release says the schema of the records"),
        (FileFormat::Avro, Some(schema)) => avro_container::write(records, schema),
        (FileFormat::Arrow, Some(schema)) => arrow_file::write(&rows::approved(records, schema)?),
        (FileFormat::Parquet, Some(schema)) => {
            parquet_file::write(&rows::approved(records, schema)?)
        }
    }
}
