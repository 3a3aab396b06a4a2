//! Files and folders for the tests, made by other code than what reads them where there is some.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_avro::writer::AvroWriter;
use arrow_ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;

use super::format::{self, Next, Row};
use super::{FileFormat, GlobalFolder, SovereignFolder};

/// The schema of the records that the conformance suite commits.
pub const SCHEMA: &str =
    r#"{"type":"record","name":"State","fields":[{"name":"text","type":"string"}]}"#;

/// A folder of its own for one format.
pub struct FileRig {
    pub format: FileFormat,
    pub first: String,
    dir: tempfile::TempDir,
}

impl FileRig {
    pub fn new(format: FileFormat) -> Self {
        Self { format, first: String::new(), dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn fresh(&self, name: &str) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        format!("sub/{name}-{}", NEXT.fetch_add(1, Ordering::SeqCst))
    }

    pub fn sovereign(&self, names: &[String]) -> SovereignFolder {
        SovereignFolder {
            id: "here".to_owned(),
            dir: self.dir.path().to_owned(),
            base: self.dir.path().to_owned(),
            paths: names.to_vec(),
            format: self.format,
            key: vec!["n".to_owned()],
        }
    }

    pub fn global(&self, data: &str) -> GlobalFolder {
        GlobalFolder {
            id: "there".to_owned(),
            dir: self.dir.path().to_owned(),
            base: self.dir.path().to_owned(),
            topic: data.to_owned(),
            format: self.format,
            schema: Some(SCHEMA.to_owned()),
        }
    }

    /// Rows `{n, text}`, numbered from 0; another `version` has other texts.
    pub fn fill(&self, name: &str, version: usize, count: usize) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let texts: Vec<String> = (0..count).map(|n| format!("{version}-{n}")).collect();
        if self.format == FileFormat::JsonLines {
            let line = |(n, text): (usize, &String)| {
                format!(
                    "{{\"key\":{{\"n\":{n}}},\"value\":{{\"before\":null,\"after\":{{\"n\":{n},\
                     \"text\":\"{text}\"}},\"op\":\"c\",\"ts_ms\":{n}}}}}\n"
                )
            };
            let lines: String = texts.iter().enumerate().map(line).collect();
            fs::write(path, lines).unwrap();
            return;
        }
        let schema = Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, false),
            Field::new("text", DataType::Utf8, true),
        ]));
        let numbers = Int64Array::from_iter_values(0..count as i64);
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(numbers), Arc::new(StringArray::from_iter_values(&texts))];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        fs::write(path, written(self.format, &batch)).unwrap();
    }

    /// The texts of a target's records, in the order of its parts.
    pub fn read(&self, data: &str) -> Vec<String> {
        let home = self.path(data);
        let mut parts: Vec<PathBuf> =
            fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().path()).collect();
        parts.retain(|part| {
            part.file_name().unwrap().to_str().is_some_and(|name| name.starts_with("part-"))
        });
        parts.sort();
        let mut texts = Vec::new();
        for part in parts {
            assert_eq!(fs::read(part.join("_manifest.json")).unwrap(), b"manifest");
            let file = part.join(self.format.records_file());
            if self.format == FileFormat::JsonLines {
                for line in fs::read_to_string(file).unwrap().lines() {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    texts.push(line["value"]["text"].as_str().unwrap().to_owned());
                }
                continue;
            }
            if self.format == FileFormat::Avro {
                texts.extend(container(&file));
                continue;
            }
            let mut reader =
                format::reader(&file, fs::File::open(&file).unwrap(), self.format, &[]).unwrap();
            let mut row = Row::default();
            while reader.next(&mut row).unwrap() == Next::Row {
                let value: serde_json::Value =
                    serde_json::from_slice(row.value.as_deref().unwrap()).unwrap();
                texts.push(value["after"]["text"].as_str().unwrap().to_owned());
            }
        }
        texts
    }
}

/// A batch in a format, by the format's own library.
pub fn written(format: FileFormat, batch: &RecordBatch) -> Vec<u8> {
    let schema = batch.schema();
    match format {
        FileFormat::JsonLines => Vec::new(),
        FileFormat::Avro => {
            let mut writer = AvroWriter::new(Vec::new(), schema.as_ref().clone()).unwrap();
            writer.write(batch).unwrap();
            writer.finish().unwrap();
            writer.into_inner()
        }
        FileFormat::Arrow => {
            let mut writer = FileWriter::try_new(Vec::new(), &schema).unwrap();
            writer.write(batch).unwrap();
            writer.into_inner().unwrap()
        }
        FileFormat::Parquet => {
            let mut out = Vec::new();
            let mut writer = ArrowWriter::try_new(&mut out, schema, None).unwrap();
            writer.write(batch).unwrap();
            writer.close().unwrap();
            out
        }
    }
}

/// The texts of a container that the sink wrote, by another implementation.
fn container(file: &std::path::Path) -> Vec<String> {
    let reader = apache_avro::Reader::new(fs::File::open(file).unwrap()).unwrap();
    let text = |change: apache_avro::types::Value| {
        let json = serde_json::Value::try_from(change).unwrap();
        json["value"]["text"].as_str().unwrap().to_owned()
    };
    reader.map(|change| text(change.unwrap())).collect()
}

/// A value as the gate makes it for a format.
pub fn value(format: FileFormat, text: &str) -> Vec<u8> {
    if format == FileFormat::JsonLines {
        return serde_json::json!({ "text": text }).to_string().into_bytes();
    }
    // Zigzag varint of the length, then the text.
    let mut datum = vec![0; 5];
    let mut left = text.len() * 2;
    while left >= 0x80 {
        datum.push(left as u8 | 0x80);
        left >>= 7;
    }
    datum.push(left as u8);
    datum.extend_from_slice(text.as_bytes());
    datum
}
