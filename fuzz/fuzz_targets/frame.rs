//! How the fuzzer's bytes become records, and what is asserted of each.

use douane_schemas::debezium::{Away, Decoder, Limits, WriterSchemas};
use douane_schemas::leaf::TableLeaves;
use douane_schemas::record::{Format, RawRecord};

/// Key, value and a third part, parted by `0xff`: no byte of UTF-8, and rare in Avro.
pub fn parts(data: &[u8]) -> [&[u8]; 3] {
    let mut parts = data.splitn(3, |byte| *byte == 0xff);
    [(); 3].map(|()| parts.next().unwrap_or_default())
}

/// One text for every id.
pub struct OneSchema<'a>(pub &'a str);

impl WriterSchemas for OneSchema<'_> {
    fn schema_text(&mut self, _: u32) -> Result<Option<String>, Away> {
        Ok(Some(self.0.to_owned()))
    }
}

/// Pushes the record twice; the second time everything is compiled.
pub fn push(format: Format, leaves: TableLeaves, key: &[u8], value: &[u8], schema: &str) {
    let columns: Vec<String> = leaves.row.iter().map(|leaf| leaf.path.clone()).collect();
    let mut decoder = Decoder::new(format, leaves, &columns, Limits::default());
    let record = RawRecord {
        topic: 0,
        partition: 0,
        offset: 0,
        timestamp_ms: 0,
        key: (!key.is_empty()).then_some(key),
        value: (!value.is_empty()).then_some(value),
        headers: &[],
    };
    let mut rows = 0;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let pushed = decoder.push(&record, &mut OneSchema(schema));
        rows += usize::from(pushed.is_ok());
        assert_eq!(decoder.len(), rows);
        if let Err(refusal) = &pushed {
            assert!(refusal.to_string().len() < 4_096);
        }
        answers.push(pushed);
    }
    assert_eq!(answers[0], answers[1]);
    let batch = decoder.finish();
    assert_eq!(batch.rows.num_rows(), rows);
    assert_eq!(batch.origins.len(), rows);
}
