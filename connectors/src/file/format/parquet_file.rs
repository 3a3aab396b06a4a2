//! Parquet files.

use std::fs::File;
use std::path::Path;

use arrow::array::{RecordBatch, RecordBatchReader};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Type};
use parquet::file::properties::WriterProperties;

use super::FileFault;
use crate::file::rows::{Batches, unreadable};

pub(super) fn batches(path: &Path, file: File) -> Result<Batches, FileFault> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|_| unreadable(path))?;
    // The library wraps an INT96 around where 64 bits of nanoseconds end.
    let leaves = builder.parquet_schema().columns();
    if let Some(at) = leaves.iter().position(|leaf| leaf.physical_type() == Type::INT96) {
        let name = leaves[at].name();
        return Err(FileFault::no_leaf_named(path, at + 1, name, "INT96".to_owned()));
    }
    let reader = builder.build().map_err(|_| unreadable(path))?;
    Ok(Batches { schema: reader.schema(), batches: Box::new(reader) })
}

/// The program's version is no part of the bytes: the same records give the same file.
pub(in crate::file) fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_created_by("douane".to_owned())
        .set_compression(Compression::SNAPPY)
        .build()
}

pub(super) fn write(batch: &RecordBatch) -> Result<Vec<u8>, &'static str> {
    const BAD: &str = "records could not be written as Parquet";
    let mut out = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut out, batch.schema(), Some(properties())).map_err(|_| BAD)?;
    writer.write(batch).map_err(|_| BAD)?;
    writer.close().map_err(|_| BAD)?;
    Ok(out)
}
