//! JSON without schemas, against a table that has a leaf of every type.

#![no_main]

mod frame;

use douane_schemas::leaf::{Leaf, LeafType, TableLeaves};
use douane_schemas::record::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let decimals = ["decimal(10,2)", "decimal(64,2)"];
    let leaf = |name: &str| {
        let path = name.replace(['(', ')', ','], "_");
        name.parse::<LeafType>().ok().map(|leaf_type| Leaf { path, leaf_type })
    };
    let mut row: Vec<Leaf> = LeafType::names().chain(decimals).filter_map(leaf).collect();
    row.push(Leaf { path: "address.street".to_owned(), leaf_type: LeafType::Text });
    let key = vec![Leaf { path: "id".to_owned(), leaf_type: LeafType::Int64 }];
    let [key_bytes, value, _] = frame::parts(data);
    frame::push(Format::DebeziumJson, TableLeaves { key, row }, key_bytes, value, "");
});
