//! JSON with schemas: the table's leaves are those of the record itself, or of another.

#![no_main]

mod frame;

use douane_schemas::debezium::leaves_of_json_schema;
use douane_schemas::record::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [key, value, other] = frame::parts(data);
    let key_record = (!key.is_empty()).then_some(key);
    for described in [value, other] {
        if let Ok(leaves) = leaves_of_json_schema(key_record, described) {
            frame::push(Format::DebeziumJsonSchema, leaves, key, value, "");
        }
    }
});
