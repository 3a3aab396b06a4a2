//! Avro: the schema is the fuzzer's too, else nothing behind it would ever be reached.

#![no_main]

mod frame;

use douane_schemas::debezium::leaves_of_avro;
use douane_schemas::record::Format;
use libfuzzer_sys::fuzz_target;

const CUSTOMERS: &str = r#"{"type":"record","name":"Envelope","fields":[
  {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
    {"name":"id","type":"long"},{"name":"email","type":["null","string"]},
    {"name":"born","type":{"type":"int","connect.name":"io.debezium.time.Date"}},
    {"name":"owed","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
    {"name":"tags","type":{"type":"array","items":["null","string"]}},
    {"name":"prefs","type":{"type":"map","values":"double"}},
    {"name":"address","type":["null",{"type":"record","name":"Address","fields":[
      {"name":"street","type":"string"}]}]}]}]},
  {"name":"after","type":["null","Value"]},{"name":"op","type":"string"}]}"#;

fuzz_target!(|data: &[u8]| {
    let [schema, datum, _] = frame::parts(data);
    let framed = |datum: &[u8]| [&[0, 0, 0, 0, 1][..], datum].concat();
    if let Ok(leaves) = leaves_of_avro(None, CUSTOMERS) {
        frame::push(Format::DebeziumAvro, leaves, &[], &framed(data), CUSTOMERS);
    }
    if let Ok(text) = std::str::from_utf8(schema)
        && let Ok(leaves) = leaves_of_avro(None, text)
    {
        frame::push(Format::DebeziumAvro, leaves, &[], &framed(datum), text);
    }
});
