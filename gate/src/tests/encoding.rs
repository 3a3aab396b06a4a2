//! Values as bytes, read back by others: serde_json, and apache-avro with the schema that is
//! registered.

use std::sync::Arc;

use apache_avro::types::Value as Avro;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, Time32MillisecondArray,
    Time64MicrosecondArray, Time64NanosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::i256;
use douane_ledger::release::Shape;
use serde_json::{Value, json};

use super::fixture::{Case, Table, column, gate, table, texts};
use crate::{FirstUnlike, Passed, RefusalReason, There, Unlike, avro_schema};

/// A public column of every type a leaf can have.
fn every_type() -> Table {
    let money = Decimal128Array::from(vec![1980, -5]).with_precision_and_scale(10, 2).unwrap();
    let large: Decimal256Array =
        vec![i256::from_i128(i128::MAX), i256::from_i128(-1)].into_iter().map(Some).collect();
    let large = large.with_precision_and_scale(60, 3).unwrap();
    let bytes: Vec<&[u8]> = vec![b"\x00\x01\xff", b""];
    let cells: Vec<(&str, ArrayRef)> = vec![
        ("boolean", Arc::new(BooleanArray::from(vec![true, false]))),
        ("int16", Arc::new(Int16Array::from(vec![i16::MIN, 7]))),
        ("int32", Arc::new(Int32Array::from(vec![i32::MIN, 7]))),
        ("int64", Arc::new(Int64Array::from(vec![i64::MAX, -7]))),
        ("float32", Arc::new(Float32Array::from(vec![0.1, f32::NEG_INFINITY]))),
        ("float64", Arc::new(Float64Array::from(vec![-1e21, f64::NAN]))),
        ("text", texts([Some("quote \" back \\ line \n tab \t bell \u{7} ü 🦀"), Some("")])),
        ("bytes", Arc::new(BinaryArray::from(bytes.clone()))),
        ("bits", Arc::new(BinaryArray::from(bytes))),
        ("decimal(10,2)", Arc::new(money)),
        ("decimal(60,3)", Arc::new(large)),
        ("date", Arc::new(Date32Array::from(vec![0, -1]))),
        ("time", Arc::new(Time32MillisecondArray::from(vec![1, 86_399_999]))),
        ("micro_time", Arc::new(Time64MicrosecondArray::from(vec![1, 86_399_999_999]))),
        ("nano_time", Arc::new(Time64NanosecondArray::from(vec![1, 86_399_999_999_999]))),
        ("timestamp", Arc::new(TimestampMillisecondArray::from(vec![1_760_000_000_123, -1]))),
        ("micro_timestamp", Arc::new(TimestampMicrosecondArray::from(vec![1, -1]))),
        ("nano_timestamp", Arc::new(TimestampNanosecondArray::from(vec![1, -1]))),
        ("micro_duration", Arc::new(Int64Array::from(vec![1, -1]))),
        ("variable_scale_decimal", texts([Some("12.340"), Some("-7")])),
        ("zoned_timestamp", texts([Some("2025-10-09T08:53:20Z"), Some("infinity")])),
        ("zoned_time", texts([Some("08:53:20+02:00"), Some("00:00:00Z")])),
        ("interval", texts([Some("P1Y2M3DT4H5M6.7S"), Some("-P1D")])),
        ("uuid", texts([Some("550e8400-e29b-41d4-a716-446655440000"), None])),
        ("json", texts([Some("{\"a\":1}"), Some("null")])),
        ("xml", texts([Some("<a/>"), Some("<b>1</b>")])),
        ("enum", texts([Some("red"), Some("green")])),
        ("enum_set", texts([Some("red,green"), Some("")])),
        ("ltree", texts([Some("a.b"), Some("a")])),
        ("array", texts([Some("[1,2]"), Some("[]")])),
    ];
    let mut table = table();
    table.keys[0].raw = table.keys[0].raw.slice(0, 2);
    table.keys[0].out = table.keys[0].out.slice(0, 2);
    table.origins.truncate(2);
    // Offsets 10 and 11: the rows leave in their own order.
    table.origins.swap(0, 1);
    table.skip.truncate(2);
    table.withdrawn.truncate(2);
    table.columns = cells
        .into_iter()
        .enumerate()
        .map(|(n, (leaf_type, cells))| Case {
            column: column(&format!("c{n}"), "public", leaf_type, Shape::Public),
            leaf_type: leaf_type.into(),
            raw: Arc::clone(&cells),
            out: cells,
        })
        .collect();
    table
}

fn passed(table: &Table, format: &str) -> Passed {
    let mut release = table.release();
    release.target.format = format.into();
    let passed = table.through(&mut gate(&release).unwrap()).unwrap();
    assert_eq!(passed.refused(), []);
    passed
}

/// What lies in the partition of the first record.
fn there(passed: &Passed) -> (i32, Vec<There>) {
    let partition = passed.rows().next().unwrap().partition;
    let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let mine = passed.rows().filter(|row| row.partition == partition);
    (partition, mine.map(|row| (row.timestamp_ms, own(row.key), own(row.value))).collect())
}

#[test]
fn the_first_record_that_is_not_as_it_lies_there_is_named_with_its_column() {
    let table = every_type();
    let json = passed(&table, "json");
    let (partition, same) = there(&json);
    let first = |there: &[There]| json.first_unlike(partition, there);
    assert_eq!(first(&same), None);
    let other = |change: &dyn Fn(&mut There)| {
        let mut there = same.clone();
        change(&mut there[0]);
        let FirstUnlike { index, row, what } = first(&there).unwrap();
        assert!(index == 0 && row.is_some());
        what
    };
    assert_eq!(other(&|there| there.0 += 1), Unlike::Time);
    assert_eq!(other(&|there| there.1 = None), Unlike::Key);
    assert_eq!(other(&|there| there.2 = None), Unlike::Value(None), "a tombstone");
    for name in ["c3", "c6", "c29"] {
        let what = other(&|there| {
            let mut row: Value = serde_json::from_slice(there.2.as_ref().unwrap()).unwrap();
            row[name] = "another".into();
            there.2 = Some(row.to_string().into_bytes());
        });
        assert_eq!(what, Unlike::Value(Some(name.to_owned())));
    }
    // One too many, before it and behind it; and none.
    let more = (7, None, Some(b"{}".to_vec()));
    let not_made = |there: &[There], index| {
        assert_eq!(first(there), Some(FirstUnlike { index, row: None, what: Unlike::NotMade }));
    };
    not_made(&[std::slice::from_ref(&more), &same].concat(), 0);
    not_made(&[&same[..], &[more]].concat(), same.len());
    let none = first(&[]).unwrap();
    assert!(none.index == 0 && none.row.is_some() && none.what == Unlike::NotThere);
    // Of Avro no column is told.
    let avro = passed(&table, "avro");
    let (partition, mut there) = there(&avro);
    assert_eq!(avro.first_unlike(partition, &there), None);
    there[0].2.as_mut().unwrap().push(0);
    let what = avro.first_unlike(partition, &there).map(|unlike| unlike.what);
    assert_eq!(what, Some(Unlike::Value(None)));
}

#[test]
fn json_of_every_type() {
    let table = every_type();
    let passed = passed(&table, "json");
    let rows: Vec<Value> =
        passed.rows().map(|row| serde_json::from_slice(row.value.unwrap()).unwrap()).collect();
    let expected = [
        json!([
            true,
            -32768,
            -2147483648,
            9223372036854775807i64,
            0.1,
            -1e21,
            "quote \" back \\ line \n tab \t bell \u{7} ü 🦀",
            "AAH/",
            "AAH/",
            "19.80",
            "170141183460469231731687303715884105.727",
            "1970-01-01",
            "00:00:00.001",
            "00:00:00.000001",
            "00:00:00.000000001",
            "2025-10-09T08:53:20.123",
            "1970-01-01T00:00:00.000001",
            "1970-01-01T00:00:00.000000001",
            1,
            "12.340",
            "2025-10-09T08:53:20Z",
            "08:53:20+02:00",
            "P1Y2M3DT4H5M6.7S",
            "550e8400-e29b-41d4-a716-446655440000",
            "{\"a\":1}",
            "<a/>",
            "red",
            "red,green",
            "a.b",
            "[1,2]"
        ]),
        json!([
            false,
            7,
            7,
            -7,
            "-Infinity",
            "NaN",
            "",
            "",
            "",
            "-0.05",
            "-0.001",
            "1969-12-31",
            "23:59:59.999",
            "23:59:59.999999",
            "23:59:59.999999999",
            "1969-12-31T23:59:59.999",
            "1969-12-31T23:59:59.999999",
            "1969-12-31T23:59:59.999999999",
            -1,
            "-7",
            "infinity",
            "00:00:00Z",
            "-P1D",
            null,
            "null",
            "<b>1</b>",
            "green",
            "",
            "a",
            "[]"
        ]),
    ];
    for (row, expected) in rows.iter().zip(&expected) {
        let cells: Vec<&Value> = (0..table.columns.len()).map(|n| &row[format!("c{n}")]).collect();
        let expected: Vec<&Value> = expected.as_array().unwrap().iter().collect();
        assert_eq!(cells, expected);
        assert_eq!(row.as_object().unwrap().len(), table.columns.len());
    }
}

#[test]
fn json_bytes_stand_in_column_order_with_explicit_nulls() {
    let mut table = table();
    for name in ["id", "email", "ref", "account", "phone"] {
        let at = table.at(name);
        table.columns.remove(at);
    }
    let passed = passed(&table, "json");
    let first = passed.rows().last().unwrap();
    let expected = concat!(
        r#"{"card":"************1111","name":"[NAME]","#,
        r#""notes":"call [PHONE] or [EMAIL]","birth":1990,"visited":"2025-10","#,
        r#""seen":"2025-10-10","updated":"2025-10-09T08:00:00.000000","#,
        r#""balance":"(-inf,0)","income":"(-inf,0)","street":"Ähr","city":"Köln","#,
        r#""country":"DE","score":"19.80","active":true,"#,
        r#""uid":"550e8400-e29b-41d4-a716-446655440000","#,
        r#""changed":"2025-10-09T23:30:00.5-02:00","count":1,"ratio":1.5}"#,
    );
    assert_eq!(String::from_utf8_lossy(first.value.unwrap()), expected);
    // Source position (0, 90) leaves first; its city and activity are null.
    let other = passed.rows().next().unwrap();
    let text = String::from_utf8_lossy(other.value.unwrap()).into_owned();
    assert!(text.contains(r#""city":null"#) && text.contains(r#""active":null"#), "{text}");
}

fn datum(schema: &apache_avro::Schema, bytes: &mut &[u8]) -> Avro {
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema).build().unwrap();
    reader.read_value(bytes).unwrap()
}

/// apache-avro reads what arrow-avro wrote, with the schema that is registered.
#[test]
fn avro_of_every_type() {
    let table = every_type();
    let mut release = table.release();
    release.target.format = "avro".into();
    let text = avro_schema(&release).unwrap();
    let schema = apache_avro::Schema::parse_str(&text).unwrap();
    let passed = passed(&table, "avro");
    let mut rows = Vec::new();
    for row in passed.rows() {
        let value = row.value.unwrap();
        // Confluent's frame: 0, then the id 258.
        assert_eq!(value[..5], [0, 0, 0, 1, 2]);
        let mut rest = &value[5..];
        let Avro::Record(fields) = datum(&schema, &mut rest) else {
            panic!("a record");
        };
        assert!(rest.is_empty());
        rows.push(fields.into_iter().map(|(_, value)| value).collect::<Vec<_>>());
    }
    let text = |s: &str| Avro::String(s.into());
    let decimal = |bytes: &[u8]| Avro::Decimal(apache_avro::Decimal::from(bytes));
    let first = [
        Avro::Boolean(true),
        Avro::Int(-32768),
        Avro::Int(i32::MIN),
        Avro::Long(i64::MAX),
        Avro::Float(0.1),
        Avro::Double(-1e21),
        text("quote \" back \\ line \n tab \t bell \u{7} ü 🦀"),
        Avro::Bytes(vec![0, 1, 255]),
        Avro::Bytes(vec![0, 1, 255]),
        decimal(&[0x07, 0xbc]),
        decimal(&i128::MAX.to_be_bytes()),
        Avro::Date(0),
        Avro::TimeMillis(1),
        Avro::TimeMicros(1),
        Avro::Long(1),
        Avro::LocalTimestampMillis(1_760_000_000_123),
        Avro::LocalTimestampMicros(1),
        Avro::LocalTimestampNanos(1),
        Avro::Long(1),
        text("12.340"),
        text("2025-10-09T08:53:20Z"),
        text("08:53:20+02:00"),
        text("P1Y2M3DT4H5M6.7S"),
        text("550e8400-e29b-41d4-a716-446655440000"),
        text("{\"a\":1}"),
        text("<a/>"),
        text("red"),
        text("red,green"),
        text("a.b"),
        text("[1,2]"),
    ];
    for (n, (found, expected)) in rows[0].iter().zip(first).enumerate() {
        assert_eq!(*found, Avro::Union(1, Box::new(expected)), "column {n}");
    }
    assert_eq!(rows[1][14], Avro::Union(1, Box::new(Avro::Long(86_399_999_999_999))));
    assert_eq!(rows[1][23], Avro::Union(0, Box::new(Avro::Null)));
    let Avro::Union(1, nan) = &rows[1][5] else { panic!("a value") };
    assert!(matches!(**nan, Avro::Double(value) if value.is_nan()));
    assert_eq!(rows.len(), 2);
}

#[test]
fn avro_crosses_the_whole_table() {
    let table = table();
    let passed = passed(&table, "avro");
    assert_eq!(passed.records(), 4);
    let mut release = table.release();
    release.target.format = "avro".into();
    let schema = apache_avro::Schema::parse_str(&avro_schema(&release).unwrap()).unwrap();
    let json = self::passed(&table, "json");
    for (avro, json) in passed.rows().zip(json.rows()) {
        assert_eq!(avro.key, json.key);
        let (Some(avro), Some(json)) = (avro.value, json.value) else {
            assert!(avro.value.is_none() && json.value.is_none());
            continue;
        };
        let read = datum(&schema, &mut &avro[5..]);
        let Avro::Record(fields) = read else { panic!("a record") };
        let json: Value = serde_json::from_slice(json).unwrap();
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, table.columns.iter().map(|c| c.column.name.as_str()).collect::<Vec<_>>());
        for (name, value) in &fields {
            let Avro::Union(_, inner) = value else { panic!("a union") };
            match inner.as_ref() {
                Avro::String(text) => assert_eq!(json[name], *text),
                Avro::Null => assert_eq!(json[name], Value::Null),
                Avro::Int(n) => assert_eq!(json[name], *n),
                _ => assert_ne!(json[name], Value::Null),
            }
        }
    }
}

#[test]
fn the_registered_schema_is_clean() {
    let mut table = table();
    table.columns.truncate(2);
    table.columns[1].column.nullable = false;
    let mut release = table.release();
    let expected = json!({
        "type": "record",
        "name": "State",
        "namespace": "douane.customers",
        "fields": [
            { "name": "id", "type": ["null", "string"], "default": null },
            { "name": "email", "type": "string" },
        ],
    });
    let found: Value = serde_json::from_str(&avro_schema(&release).unwrap()).unwrap();
    assert_eq!(found, expected);
    for (pipeline, namespace) in [("eu-customers", "douane.eu_customers"), ("1st", "douane._1st")] {
        release.pipeline = pipeline.into();
        let found: Value = serde_json::from_str(&avro_schema(&release).unwrap()).unwrap();
        assert_eq!(found["namespace"], namespace);
        apache_avro::Schema::parse_str(&found.to_string()).unwrap();
    }
    release.pipeline.clear();
    assert!(avro_schema(&release).is_err());
}

/// Days, times and instants that have no text: each refuses its own row, and neighbours cross.
#[test]
fn values_without_a_text_refuse_their_row_alone() {
    let year_10000_days = 2_932_897;
    let of_day_us = 86_400_000_000;
    let cells: Vec<(&str, ArrayRef)> = vec![
        ("date", Arc::new(Date32Array::from(vec![year_10000_days, 0]))),
        ("time", Arc::new(Time32MillisecondArray::from(vec![25 * 3_600_000, 0]))),
        ("micro_time", Arc::new(Time64MicrosecondArray::from(vec![-1, 0]))),
        ("nano_time", Arc::new(Time64NanosecondArray::from(vec![-1, 0]))),
        (
            "timestamp",
            Arc::new(TimestampMillisecondArray::from(vec![
                i64::from(year_10000_days) * of_day_us / 1_000,
                0,
            ])),
        ),
        (
            "micro_timestamp",
            Arc::new(TimestampMicrosecondArray::from(vec![
                i64::from(year_10000_days) * of_day_us,
                0,
            ])),
        ),
    ];
    for (leaf_type, cells) in cells {
        let mut table = every_type();
        table.columns.truncate(1);
        let column = column("when", "public", leaf_type, Shape::Public);
        let (raw, out) = (Arc::clone(&cells), cells);
        table.columns.push(Case { column, leaf_type: leaf_type.into(), raw, out });
        for format in ["json", "avro"] {
            let mut release = table.release();
            release.target.format = format.into();
            let passed = table.through(&mut gate(&release).unwrap()).unwrap();
            let refused: Vec<_> =
                passed.refused().iter().map(|(row, refusal)| (*row, refusal.reason)).collect();
            assert_eq!(refused, [(0, RefusalReason::OutOfRange)], "{leaf_type} {format}");
            assert_eq!(passed.rows().count(), 1, "{leaf_type} {format}");
        }
    }
}

/// A day or an hour that a protection made may have no text either.
#[test]
fn days_without_a_text_refuse_their_row_alone() {
    let mut table = every_type();
    table.columns.truncate(1);
    let raw: ArrayRef = Arc::new(Date32Array::from(vec![0, 2_932_897]));
    let (column, out) = (column("when", "quasi", "date", Shape::Day), Arc::clone(&raw));
    table.columns.push(Case { column, leaf_type: "date".into(), raw, out });
    let passed = table.through(&mut gate(&table.release()).unwrap()).unwrap();
    assert_eq!(passed.refused().len(), 1);
    assert_eq!(passed.rows().count(), 1);
}
