//! Arrow IPC files.

use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;

use super::FileFault;
use crate::file::rows::{Batches, unreadable};

pub(super) fn batches(path: &Path, file: File) -> Result<Batches, FileFault> {
    let reader = FileReader::try_new_buffered(file, None).map_err(|_| unreadable(path))?;
    Ok(Batches { schema: reader.schema(), batches: Box::new(reader) })
}

pub(super) fn write(batch: &RecordBatch) -> Result<Vec<u8>, &'static str> {
    const BAD: &str = "records could not be written as Arrow";
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).map_err(|_| BAD)?;
    writer.write(batch).map_err(|_| BAD)?;
    writer.into_inner().map_err(|_| BAD)
}
