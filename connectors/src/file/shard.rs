//! Files of many batches, for whoever receives approved records: what a trainer reads.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_ipc::writer::FileWriter;
use arrow_json::ReaderBuilder;
use douane_gate::OutRecord;
use parquet::arrow::ArrowWriter;

use super::format::parquet_properties;
use super::{FileFault, FileFormat, rows};

/// How values lie in records.
#[derive(Clone)]
pub enum Values {
    /// Avro in Confluent's frame, of this schema.
    Avro(String),
    /// JSON objects of these columns.
    Json(SchemaRef),
}

enum To {
    Arrow(FileWriter<BufWriter<File>>),
    Parquet(ArrowWriter<File>),
}

/// A file that is written batch by batch. It is whole once [`Self::close`] says so.
pub struct ShardFile {
    path: PathBuf,
    format: FileFormat,
    values: Values,
    to: Option<To>,
    rows: u64,
}

impl ShardFile {
    /// A new file; nothing is made before the first batch.
    pub fn new(path: &Path, format: FileFormat, values: Values) -> Self {
        Self { path: path.to_owned(), format, values, to: None, rows: 0 }
    }

    /// Adds records, in their order.
    ///
    /// # Errors
    /// Values that are not what the schema says; the disk.
    pub fn add(&mut self, records: &[OutRecord<'_>]) -> Result<(), FileFault> {
        let problem = "records are not what their release says they are";
        let count = i64::try_from(self.rows).unwrap_or(i64::MAX);
        let path = self.path.clone();
        let malformed = |_| FileFault::Malformed { path: path.clone(), records: count, problem };
        let batch = match &self.values {
            Values::Avro(schema) => rows::approved(records, schema).map_err(malformed)?,
            Values::Json(schema) => json(records, schema).map_err(malformed)?,
        };
        let to = match &mut self.to {
            Some(to) => to,
            None => self.to.insert(open(&self.path, self.format, &batch)?),
        };
        let written = match to {
            To::Arrow(writer) => writer.write(&batch).map_err(|_| ()),
            To::Parquet(writer) => writer.write(&batch).map_err(|_| ()),
        };
        written.map_err(|()| unwritten(&self.path))?;
        self.rows += records.len() as u64;
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the file; it is on disk then. Where nothing was added there is none.
    ///
    /// # Errors
    /// The disk.
    pub fn close(self) -> Result<(), FileFault> {
        let fault = || unwritten(&self.path);
        match self.to {
            None => return Ok(()),
            Some(To::Arrow(writer)) => {
                let inner = writer.into_inner().map_err(|_| fault())?;
                inner.into_inner().map_err(|_| fault())?;
            }
            Some(To::Parquet(writer)) => drop(writer.into_inner().map_err(|_| fault())?),
        }
        let file = File::open(&self.path).map_err(|_| fault())?;
        file.sync_all().map_err(|_| fault())
    }
}

fn unwritten(path: &Path) -> FileFault {
    FileFault::Damaged {
        path: path.to_owned(),
        problem: "could not be written",
        next: "see that its disk is well and has room, and start again",
    }
}

fn open(path: &Path, format: FileFormat, batch: &RecordBatch) -> Result<To, FileFault> {
    let fault = || unwritten(path);
    let file = File::create_new(path).map_err(|_| fault())?;
    Ok(match format {
        FileFormat::Arrow => {
            To::Arrow(FileWriter::try_new_buffered(file, &batch.schema()).map_err(|_| fault())?)
        }
        _ => To::Parquet(
            ArrowWriter::try_new(file, batch.schema(), Some(parquet_properties()))
                .map_err(|_| fault())?,
        ),
    })
}

/// Approved JSON as columns, as [`rows::approved`] has those of Avro.
fn json(records: &[OutRecord<'_>], schema: &SchemaRef) -> Result<RecordBatch, &'static str> {
    const BAD: &str = "approved values could not be decoded";
    let mut decoder = ReaderBuilder::new(schema.clone())
        .with_batch_size(records.len().max(1))
        .with_strict_mode(true)
        .build_decoder()
        .map_err(|_| BAD)?;
    let mut taken = Vec::with_capacity(records.len());
    let mut values = 0;
    for record in records {
        taken.push(record.value.map(|_| values));
        let Some(value) = record.value else { continue };
        if decoder.decode(value).map_err(|_| BAD)? != value.len() || decoder.has_partial_record() {
            return Err(BAD);
        }
        values += 1;
    }
    let decoded = decoder.flush().map_err(|_| BAD)?;
    let decoded = decoded.unwrap_or_else(|| RecordBatch::new_empty(schema.clone()));
    rows::beside(records, &decoded, taken)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use arrow_ipc::reader::FileReader;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("city", DataType::Utf8, true),
        ]))
    }

    fn record<'a>(key: &'a [u8], value: Option<&'a [u8]>) -> OutRecord<'a> {
        OutRecord {
            topic: "t",
            partition: 0,
            key: Some(key),
            value,
            timestamp_ms: 1_000,
            headers: &[],
        }
    }

    #[test]
    fn batches_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for (format, name) in [(FileFormat::Arrow, "a.arrow"), (FileFormat::Parquet, "a.parquet")] {
            let path = dir.path().join(name);
            let mut file = ShardFile::new(&path, format, Values::Json(schema()));
            let (one, two) = (b"{\"n\":1,\"city\":\"Graz\"}", b"{\"n\":null,\"city\":null}");
            file.add(&[record(b"a", Some(one)), record(b"b", None)]).unwrap();
            file.add(&[record(b"c", Some(two))]).unwrap();
            assert_eq!(file.rows(), 3);
            file.close().unwrap();
            let read = File::open(&path).unwrap();
            let batches: Vec<RecordBatch> = match format {
                FileFormat::Arrow => {
                    FileReader::try_new(read, None).unwrap().map(Result::unwrap).collect()
                }
                _ => ParquetRecordBatchReaderBuilder::try_new(read)
                    .unwrap()
                    .build()
                    .unwrap()
                    .map(Result::unwrap)
                    .collect(),
            };
            let keys: Vec<String> = batches
                .iter()
                .flat_map(|b| b.column(0).as_string::<i32>().iter().flatten().map(str::to_owned))
                .collect();
            assert_eq!(keys, ["a", "b", "c"], "{name}");
            let numbers: Vec<Option<i64>> = batches
                .iter()
                .flat_map(|b| b.column(3).as_primitive::<Int64Type>().iter().collect::<Vec<_>>())
                .collect();
            assert_eq!(numbers, [Some(1), None, None], "{name}");
            let deleted: Vec<bool> = batches
                .iter()
                .flat_map(|b| b.column(1).as_boolean().iter().flatten().collect::<Vec<_>>())
                .collect();
            assert_eq!(deleted, [false, true, false], "{name}");
        }
    }

    #[test]
    fn values_of_another_shape_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (n, value) in [
            &b"{\"n\":\"x\"}"[..],
            b"{\"n\":1,\"more\":2}",
            b"{\"n\":1",
            b"{\"n\":1}{\"n\":2}",
            b"no object",
        ]
        .iter()
        .enumerate()
        {
            let path = dir.path().join(format!("{n}.arrow"));
            let mut file = ShardFile::new(&path, FileFormat::Arrow, Values::Json(schema()));
            assert!(file.add(&[record(b"a", Some(value))]).is_err(), "{n}");
            file.close().unwrap();
            assert!(!path.exists(), "{n}");
        }
    }
}
