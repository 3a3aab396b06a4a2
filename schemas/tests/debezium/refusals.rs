//! What is broken or unlisted: refused by name, the builders as they were, and no value told.

use std::collections::HashMap;

use data_encoding::BASE64;

use douane_schemas::batch::Op;
use douane_schemas::debezium::{
    Away, Decoder, Hold, Limits, Others, QuarantineCode, Refusal, SchemaFault, WriterSchemas,
    hidden_of_avro, leaves_of_avro, leaves_of_json_schema,
};
use douane_schemas::leaf::{Leaf, LeafType, TableLeaves};
use douane_schemas::record::Format;

use crate::capture::{Cell, Event, Registry, Row, row};

/// Stands in every cell: no message may hold it.
const MARKER: &str = "mrkr7349x";

fn leaf(path: &str, leaf_type: LeafType) -> Leaf {
    Leaf { path: path.to_owned(), leaf_type }
}

fn leaves() -> TableLeaves {
    TableLeaves {
        key: vec![leaf("id", LeafType::Int64)],
        row: vec![
            leaf("id", LeafType::Int64),
            leaf("t", LeafType::Text),
            leaf("f", LeafType::Float64),
            leaf("d", LeafType::Date),
            leaf("m", LeafType::Decimal { precision: 4, scale: 2 }),
            leaf("b", LeafType::Bytes),
            leaf("tags", LeafType::Array),
            leaf("address.street", LeafType::Text),
            leaf("address.city", LeafType::Text),
        ],
    }
}

fn columns(leaves: &TableLeaves) -> Vec<String> {
    leaves.row.iter().map(|leaf| leaf.path.clone()).collect()
}

fn decoder(format: Format) -> Decoder {
    Decoder::new(format, leaves(), &columns(&leaves()), Limits::default())
}

const KEY: &str = r#"{"id":1}"#;
const IMAGE: &str = r#"{"id":1,"t":"mrkr7349x","f":1.5,"d":19000,"m":"AMY=","b":"AAE=","tags":["mrkr7349x",1.0],"address":{"street":"mrkr7349x","city":null}}"#;
const SOURCE: &str = r#"{"version":"3.7.0.Final","connector":"postgresql","name":"crm","ts_ms":1,"snapshot":"false","db":"crm","schema":"public","table":"t","lsn":5}"#;

fn value(before: &str, after: &str, op: &str) -> String {
    format!(
        r#"{{"before":{before},"after":{after},"source":{SOURCE},"transaction":null,"op":"{op}","ts_ms":7}}"#
    )
}

fn good() -> Event {
    Event::new(Some(KEY.as_bytes()), Some(value("null", IMAGE, "c").as_bytes()))
}

/// Pushes `event` between two good records: what it leaves behind is nothing or one row.
fn check(event: &Event) -> Result<(Op, Row), Refusal> {
    let mut decoder = decoder(Format::DebeziumJson);
    let mut none = Registry::default();
    good().push(&mut decoder, &mut none).unwrap();
    let pushed = event.push(&mut decoder, &mut none);
    good().push(&mut decoder, &mut none).unwrap();
    let batch = decoder.finish();
    assert_eq!(batch.rows.num_rows(), batch.len());
    assert_eq!(batch.len(), 2 + usize::from(pushed.is_ok()));
    assert!(row(&batch, 0) == row(&batch, batch.len() - 1));
    if let Err(refusal) = &pushed {
        let told = format!("{refusal} {refusal:?}");
        assert!(!told.contains(MARKER), "{told}");
    }
    pushed.map(|()| (batch.origins[1].op, row(&batch, 1)))
}

fn json(key: &str, value: &str) -> Result<(Op, Row), Refusal> {
    check(&Event::new(Some(key.as_bytes()), Some(value.as_bytes())))
}

fn after(from: &str, to: &str) -> Result<(Op, Row), Refusal> {
    assert!(IMAGE.contains(from), "{from}");
    json(KEY, &value("null", &IMAGE.replacen(from, to, 1), "u"))
}

fn quarantined(code: QuarantineCode) -> Result<(Op, Row), Refusal> {
    Err(Refusal::Quarantine(code))
}

fn held(hold: Hold) -> Result<(Op, Row), Refusal> {
    Err(Refusal::Hold(hold))
}

fn unknown(path: &str, hint: Option<LeafType>) -> Result<(Op, Row), Refusal> {
    let others = Others::default();
    held(Hold::UnknownLeaf { path: path.to_owned(), others, schema_id: None, hint })
}

#[test]
fn operations() {
    for (op, meant) in [("c", Op::Create), ("u", Op::Update), ("r", Op::Read)] {
        let (kind, cells) = json(KEY, &value("null", IMAGE, op)).unwrap();
        assert_eq!(kind, meant);
        assert_eq!(cells["key.id"], Cell::Int(1));
        assert_eq!(cells["after.m"], Cell::Decimal(198));
        assert_eq!(cells["after.tags"], Cell::Text(r#"["mrkr7349x",1]"#.to_owned()));
        assert_eq!(cells["after.address.city"], Cell::Null);
    }
    let (kind, cells) = json(KEY, &value(IMAGE, "null", "d")).unwrap();
    assert_eq!(kind, Op::Delete);
    assert!(cells.iter().all(|(name, cell)| (name == "key.id") != (*cell == Cell::Null)));
    let (kind, cells) = check(&Event::new(Some(KEY.as_bytes()), None)).unwrap();
    assert_eq!(kind, Op::Tombstone);
    assert_eq!(cells["key.id"], Cell::Int(1));
    assert_eq!(json(KEY, &value("null", "null", "t")), held(Hold::Truncate));
    for (op, shown) in [("m", 'm'), ("cc", '?'), ("", '?'), ("é", '?'), ("7", '?')] {
        assert_eq!(json(KEY, &value("null", IMAGE, op)), held(Hold::Operation { op: shown }));
    }
    // An operation that is no row's is said before the names it brings along.
    let message = r#"{"op":"m","source":null,"message":{"prefix":"mrkr7349x"}}"#;
    assert_eq!(json(KEY, message), held(Hold::Operation { op: 'm' }));
}

#[test]
fn what_is_no_envelope_holds_bad_shape() {
    for text in [
        "null",
        "1",
        "[]",
        "{}",
        r#"{"ts_ms":1}"#,
        r#"{"id":1,"t":"mrkr7349x"}"#,
        r#"{"schema":null,"payload":null}"#,
        r#"{"before":null,"after":null}"#,
    ] {
        assert_eq!(json(KEY, text), held(Hold::NotAnEnvelope), "{text}");
    }
}

#[test]
fn a_nested_null_is_all_null() {
    let (_, cells) = after(r#"{"street":"mrkr7349x","city":null}"#, "null").unwrap();
    assert_eq!(cells["after.address.street"], Cell::Null);
}

#[test]
fn members_may_change_their_order_and_spelling() {
    let turned = r#"{"address":{"city":null,"street":"mrkr7349x"},"tags":["mrkr7349x",1.0],"b":"AAE=","m":"AMY=","d":19000,"f":1.5,"\u0074":"mrkr\u0037349x","\u0069d":1}"#;
    let plain = json(KEY, &value("null", IMAGE, "u")).unwrap();
    assert!(json(KEY, &value("null", turned, "u")).unwrap() == plain);
    let spaced = value("null", IMAGE, "u").replace(':', " :\n").replace(',', "\t,\r ");
    assert!(json(KEY, &spaced).unwrap() == plain);
}

#[test]
fn unlisted_names_hold_bad_names() {
    let text = Some(LeafType::Text);
    assert_eq!(after(r#""t":"#, r#""passport":"mrkr7349x","t":"#), unknown("after.passport", text));
    for data in [
        "ada@example.com",
        "4111111111111111",
        "",
        "a b",
        "über",
        "x\\u0000y",
        "DE89 3704 0044 0532 0130 00",
        "+49 30 1234567",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ",
    ] {
        let added = format!(r#""{data}":"mrkr7349x","t":"#);
        assert_eq!(after(r#""t":"#, &added), unknown("after.<unknown#2>", text), "{data}");
    }
    let nested = after(r#""street":"#, r#""zip":1,"street":"#);
    assert_eq!(nested, unknown("after.address.zip", Some(LeafType::Int64)));
    let before = IMAGE.replacen(r#""t":"#, r#""passport":null,"t":"#, 1);
    assert_eq!(json(KEY, &value(&before, IMAGE, "u")), unknown("before.passport", None));
    assert_eq!(json(KEY, &value(&before, "null", "d")), unknown("before.passport", None));
    let key = r#"{"id":1,"tenant":"mrkr7349x"}"#;
    assert_eq!(json(key, &value("null", IMAGE, "u")), unknown("key.tenant", text));
    assert_eq!(json(key, &value("null", "null", "d")), unknown("key.tenant", text));
    // A nested record that became a scalar is a leaf that nobody listed.
    let flat = after(r#"{"street":"mrkr7349x","city":null}"#, r#""mrkr7349x""#);
    assert_eq!(flat, unknown("after.address", text));
    // Case and look-alikes are other names.
    assert_eq!(after(r#""t":"#, r#""T":"#), unknown("after.T", text));
}

#[test]
fn a_name_is_seen_in_columns_that_nobody_builds() {
    let mut decoder = Decoder::new(Format::DebeziumJson, leaves(), &[], Limits::default());
    let mut none = Registry::default();
    good().push(&mut decoder, &mut none).unwrap();
    let image = IMAGE.replacen(r#""street":"#, r#""zip":"mrkr7349x","street":"#, 1);
    let event = Event::new(Some(KEY.as_bytes()), Some(value("null", &image, "u").as_bytes()));
    assert!(matches!(
        event.push(&mut decoder, &mut none),
        Err(Refusal::Hold(Hold::UnknownLeaf { .. }))
    ));
    assert_eq!(decoder.finish().rows.num_columns(), 1);
}

#[test]
fn missing_and_retyped_leaves_hold_bad_shape() {
    let missing = |path: &str| held(Hold::MissingLeaf { path: path.to_owned(), schema_id: None });
    assert_eq!(after(r#""t":"mrkr7349x","#, ""), missing("after.t"));
    assert_eq!(after(r#","city":null"#, ""), missing("after.address.city"));
    assert_eq!(json("{}", &value("null", IMAGE, "u")), missing("key.id"));
    for (from, to, path, found, expected) in [
        ("\"id\":1", "\"id\":\"1\"", "after.id", "a string", LeafType::Int64),
        ("\"id\":1", "\"id\":\"NaN\"", "after.id", "a string", LeafType::Int64),
        ("\"id\":1", "\"id\":true", "after.id", "a boolean", LeafType::Int64),
        ("1.5", "\"mrkr7349x\"", "after.f", "a string", LeafType::Float64),
        ("19000", "[1]", "after.d", "an array", LeafType::Date),
        ("\"AAE=\"", "{\"a\":1}", "after.b", "an object", LeafType::Bytes),
        ("[\"mrkr7349x\",1.0]", "\"mrkr7349x\"", "after.tags", "a string", LeafType::Array),
        ("\"t\":\"mrkr7349x\"", "\"t\":{\"mrkr7349x\":1}", "after.t", "an object", LeafType::Text),
    ] {
        let hold = Hold::Retyped {
            path: path.to_owned(),
            found: found.to_owned(),
            expected,
            by_value: true,
            schema_id: None,
        };
        assert_eq!(after(from, to), held(hold), "{to}");
    }
}

#[test]
fn the_envelope_is_closed_bad_metadata() {
    let change = |from: &str, to: &str| {
        let text = value("null", IMAGE, "u");
        assert!(text.contains(from));
        json(KEY, &text.replacen(from, to, 1))
    };
    for (from, to, path) in [
        ("\"ts_ms\":7", "\"ts_ms\":7,\"colour\":\"mrkr7349x\"", "colour"),
        ("\"ts_ms\":7", "\"ts_ms\":\"mrkr7349x\"", "ts_ms"),
        ("\"ts_ms\":7", "\"ts_ms\":7,\"schema\":{}", "schema"),
        ("\"lsn\":5", "\"lsn\":5,\"colour\":1", "source.colour"),
        ("\"lsn\":5", "\"lsn\":5,\"query\":\"mrkr7349x\"", "source.query"),
        ("\"lsn\":5", "\"lsn\":{\"mrkr7349x\":1}", "source.lsn"),
        ("\"lsn\":5", "\"lsn\":5,\"4111111111111111\":1", "source.<unknown#10>"),
        ("postgresql", "mongodb", "source.connector"),
        ("\"transaction\":null", "\"transaction\":{\"id\":\"1\",\"who\":1}", "transaction.who"),
        ("\"transaction\":null", "\"transaction\":[]", "transaction"),
        ("\"before\":null", "\"before\":\"mrkr7349x\"", "before"),
    ] {
        let hold = Hold::UndocumentedEnvelope { path: path.to_owned() };
        assert_eq!(change(from, to), held(hold), "{to}");
    }
    // Documented leaves may be there or not.
    for (from, to) in [
        ("\"ts_ms\":7", "\"ts_us\":7,\"ts_ns\":7"),
        ("\"transaction\":null,", ""),
        ("\"lsn\":5", "\"txId\":1,\"xmin\":null,\"origin\":null,\"origin_lsn\":null"),
        (",\"lsn\":5", ""),
        ("\"before\":null,", ""),
    ] {
        assert!(change(from, to).is_ok(), "{to}");
    }
    let mysql = SOURCE
        .replace("postgresql", "mysql")
        .replace("\"schema\":\"public\",", "")
        .replace("\"lsn\":5", "\"server_id\":1,\"gtid\":null,\"file\":\"f\",\"pos\":1,\"row\":0,\"thread\":1,\"query\":\"mrkr7349x\"");
    assert!(change(SOURCE, &mysql).is_ok());
}

#[test]
fn foreign_headers_hold_bad_header() {
    let with = |names: &[&str], value: Option<&str>| {
        let mut event = Event::new(Some(KEY.as_bytes()), value.map(str::as_bytes));
        let header = |name: &&str| ((*name).to_owned(), Some(MARKER.as_bytes().to_vec()));
        event.headers = names.iter().map(header).collect();
        check(&event)
    };
    let upsert = value("null", IMAGE, "u");
    let debezium = ["__debezium.context.taskId", "__debezium.newkey", "__debezium.oldkey"];
    assert!(with(&debezium, Some(&upsert)).is_ok());
    let header = |name: &str| held(Hold::UnknownHeader { name: name.to_owned() });
    assert_eq!(with(&["traceparent"], Some(&upsert)), header("traceparent"));
    assert_eq!(with(&[debezium[0], "ada@example.com"], Some(&upsert)), header("<unknown#2>"));
    assert_eq!(with(&["traceparent"], None), header("traceparent"));
    assert_eq!(with(&["__debezium.context.colour"], Some(&upsert)), header("<unknown#1>"));
    let many = vec![debezium[0]; 10_000];
    let code = QuarantineCode::TooManyHeaders;
    assert_eq!(with(&many, Some(&upsert)), quarantined(code));
    assert_eq!(with(&many, None), held(Hold::UndecodableDelete { cause: code }));
    let mut foreign = many.clone();
    foreign.push("traceparent");
    assert_eq!(with(&foreign, Some(&upsert)), header("traceparent"));
}

#[test]
fn values_that_do_not_fit_are_set_aside_bad_values() {
    use QuarantineCode::{
        Base64, DuplicateName, LoneSurrogate, MalformedValue, NestedInArray, Number, OutOfRange,
        Unavailable,
    };
    for (from, to, code) in [
        ("\"id\":1", "\"id\":1.0", Number),
        ("\"id\":1", "\"id\":1e3", Number),
        ("\"id\":1", "\"id\":9223372036854775808", OutOfRange),
        ("19000", "2147483648", OutOfRange),
        ("1.5", "1e999", OutOfRange),
        ("\"AMY=\"", "\"AMY\"", Base64),
        ("\"AMY=\"", "\"\"", MalformedValue),
        ("\"AMY=\"", "\"J38Q\"", OutOfRange),
        ("\"AMY=\"", "1.985", OutOfRange),
        ("\"AMY=\"", "100.00", OutOfRange),
        ("\"AMY=\"", "1e1", Number),
        ("\"AAE=\"", "\"mrkr7349x\"", Base64),
        ("\"AAE=\"", "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"", Unavailable),
        ("\"t\":\"mrkr7349x\"", "\"t\":\"__debezium_unavailable_value\"", Unavailable),
        ("[\"mrkr7349x\",1.0]", "[\"__debezium_unavailable_value\"]", Unavailable),
        // An hstore, whose JSON is a text.
        (
            "\"t\":\"mrkr7349x\"",
            r#""t":"{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}""#,
            Unavailable,
        ),
        ("[\"mrkr7349x\",1.0]", &format!("[{}]", ["true"; 28].join(",")), Unavailable),
        (
            "[\"mrkr7349x\",1.0]",
            &format!(
                "[{}]",
                b"__debezium_unavailable_value"
                    .map(|byte| format!("\"{}\"", BASE64.encode(&[byte])))
                    .join(",")
            ),
            Unavailable,
        ),
        ("\"t\":\"mrkr7349x\"", "\"t\":\"\\ud83dmrkr7349x\"", LoneSurrogate),
        ("\"t\":\"mrkr7349x\"", "\"t\":\"mrkr7349x\\udc00\"", LoneSurrogate),
        ("\"t\":\"mrkr7349x\"", "\"t\":1e2", Number),
        ("\"t\":\"mrkr7349x\"", "\"t\":1,\"\\u0074\":2", DuplicateName),
        ("[\"mrkr7349x\",1.0]", "[{\"a\":1,\"a\":2}]", DuplicateName),
        ("[\"mrkr7349x\",1.0]", "[{\"passport\":\"mrkr7349x\"}]", NestedInArray),
        ("[\"mrkr7349x\",1.0]", "[[1],[[{}]]]", NestedInArray),
        ("[\"mrkr7349x\",1.0]", "{\"a\":1,\"b\":{\"passport\":1}}", NestedInArray),
        ("[\"mrkr7349x\",1.0]", "{\"a\":[{\"passport\":1}],\"b\":2}", NestedInArray),
        ("1.5", "NaN", MalformedValue),
        ("1.5", "01", MalformedValue),
    ] {
        assert_eq!(after(from, to), quarantined(code), "{to}");
    }
    for (from, to, column, cell) in [
        ("\"t\":\"mrkr7349x\"", "\"t\":7", "t", Cell::Text("7".to_owned())),
        ("\"t\":\"mrkr7349x\"", "\"t\":-0", "t", Cell::Text("0".to_owned())),
        ("\"t\":\"mrkr7349x\"", "\"t\":1.50", "t", Cell::Text("1.50".to_owned())),
        ("\"t\":\"mrkr7349x\"", "\"t\":true", "t", Cell::Text("true".to_owned())),
        ("\"t\":\"mrkr7349x\"", "\"t\":\"\\ud83d\\ude00\\n\"", "t", Cell::Text("😀\n".to_owned())),
        ("1.5", "\"NaN\"", "f", Cell::Float(f64::NAN.to_bits())),
        ("1.5", "\"-Infinity\"", "f", Cell::Float(f64::NEG_INFINITY.to_bits())),
        ("1.5", "1.0E308", "f", Cell::Float(1e308_f64.to_bits())),
        ("\"AMY=\"", "-19.8", "m", Cell::Decimal(-1980)),
        ("\"AMY=\"", "1.5000", "m", Cell::Decimal(150)),
        ("\"AMY=\"", "\"/w==\"", "m", Cell::Decimal(-1)),
        ("\"id\":1", "\"id\":-9223372036854775808", "id", Cell::Int(i64::MIN)),
        (
            "[\"mrkr7349x\",1.0]",
            "{\"b\":1e2,\"a\":[]}",
            "tags",
            Cell::Text("{\"a\":[],\"b\":100}".to_owned()),
        ),
    ] {
        assert_eq!(after(from, to).unwrap().1[&format!("after.{column}")], cell, "{to}");
    }
    let no_utf8 = value("null", IMAGE, "u").replacen("mrkr7349x", "\u{1}", 1);
    let no_utf8: Vec<u8> = no_utf8.bytes().map(|b| if b == 1 { 0xff } else { b }).collect();
    assert_eq!(
        check(&Event::new(Some(KEY.as_bytes()), Some(&no_utf8))),
        quarantined(QuarantineCode::Utf8)
    );
    assert_eq!(json(KEY, &value("null", "null", "u")), quarantined(MalformedValue));
    assert_eq!(json("{\"id\":1.5}", &value("null", IMAGE, "u")), quarantined(Number));
    for key in ["{", "7", "\"mrkr7349x\"", "{\"id\":1}x"] {
        let refused = json(key, &value("null", IMAGE, "u"));
        assert_eq!(refused, quarantined(QuarantineCode::MalformedKey), "{key}");
    }
    let keyless = Event::new(None, Some(value("null", IMAGE, "u").as_bytes()));
    assert_eq!(check(&keyless), quarantined(QuarantineCode::MissingKey));
}

/// One release answers for all of them, so they are told at once.
#[test]
fn all_unlisted_names_of_a_record_are_told() {
    let told = |before: &str, after: &str| {
        let with = |added: &str| IMAGE.replacen(r#""t":"#, &format!(r#"{added}"t":"#), 1);
        match json(KEY, &value(&with(before), &with(after), "u")) {
            Err(Refusal::Hold(Hold::UnknownLeaf { path, others, .. })) => (path, others),
            other => panic!("{other:?}"),
        }
    };
    let (path, others) = told("", r#""aa":1,"mrkr7349x 1":null,"bb":{"c":1},"#);
    assert_eq!(path, "after.aa");
    assert_eq!(others.named, ["after.<unknown#3>", "after.bb"]);
    assert_eq!(others.more, 0);
    // Of both images once; what one alone has is told as well.
    let (path, others) = told(r#""aa":1,"bb":2,"#, r#""aa":3,"cc":4,"#);
    assert_eq!(
        (path.as_str(), others.named.as_slice()),
        ("before.aa", &["before.bb".to_owned(), "after.cc".to_owned()][..])
    );
    // Names without end are counted.
    let many: String = (0..100).map(|n| format!(r#""n{n}":1,"#)).collect();
    let (_, others) = told("", &many);
    assert_eq!((others.named.len(), others.more), (Others::NAMED_MAX, 99 - Others::NAMED_MAX));
    assert_eq!(others.to_string(), " and 99 more");
    assert_eq!(told(&many, &many).1.more, 68);
}

#[test]
fn a_name_beats_a_value_and_syntax_beats_both() {
    let value_and_name = after(r#""id":1,"#, r#""id":1.5,"passport":1,"#);
    assert_eq!(value_and_name, unknown("after.passport", Some(LeafType::Int64)));
    let image = IMAGE.replacen(r#""id":1,"#, r#""id":1.5,"passport":1,"#, 1);
    let cut = value("null", &image, "u").replace("\"ts_ms\":7}", "\"ts_ms\":7");
    assert_eq!(json(KEY, &cut), quarantined(QuarantineCode::MalformedValue));
}

#[test]
fn deletes_are_never_skipped_bad_deletes() {
    let undecodable = |cause| held(Hold::UndecodableDelete { cause });
    let delete = value(IMAGE, "null", "d");
    for end in 1..delete.len() {
        let refused = json(KEY, &delete[..end]).unwrap_err();
        let told =
            delete[..end].contains("\"after\":null") || delete[..end].contains("\"op\":\"d\"");
        assert_eq!(matches!(refused, Refusal::Hold(_)), told, "{end}");
    }
    let spaced = r#"{"op" : "d", "after": nul"#;
    assert_eq!(json(KEY, spaced), undecodable(QuarantineCode::MalformedValue));
    // The letters inside a cell are no operation.
    let quoted = value("null", IMAGE, "u").replacen("mrkr7349x", r#"\"op\":\"d\""#, 1);
    let broken = quoted.replace("\"ts_ms\":7}", "");
    assert_eq!(json(KEY, &broken), quarantined(QuarantineCode::MalformedValue));
    assert_eq!(json(KEY, &value("null", IMAGE, "d")), undecodable(QuarantineCode::MalformedValue));
    for (key, cause) in [
        (Some("{"), QuarantineCode::MalformedKey),
        (Some("{\"id\":1.5}"), QuarantineCode::Number),
        (Some("{\"id\":1,\"id\":1}"), QuarantineCode::DuplicateName),
    ] {
        for value in [None, Some(delete.as_bytes())] {
            let event = Event::new(key.map(str::as_bytes), value);
            assert_eq!(check(&event), undecodable(cause));
        }
    }
    for value in [None, Some(delete.as_bytes())] {
        assert_eq!(check(&Event::new(None, value)), held(Hold::DeleteWithoutKey));
        assert_eq!(check(&Event::new(Some(b"null"), value)), held(Hold::DeleteWithoutKey));
    }
    // A delete whose old image cannot be used is a delete all the same: only its names matter.
    let torn = IMAGE.replace("\"AMY=\"", "\"not base64\"").replace("19000", "1.5");
    assert_eq!(json(KEY, &value(&torn, "null", "d")).unwrap().0, Op::Delete);
}

#[test]
fn a_cut_record_never_becomes_a_row_bad_length() {
    let whole = value(IMAGE, IMAGE, "u");
    for end in 0..whole.len() {
        assert!(json(KEY, &whole[..end]).is_err(), "{end}");
    }
    assert!(json(KEY, &whole).is_ok());
}

#[test]
fn depth_and_size_are_bounded_bad_bulk() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(after("[\"mrkr7349x\",1.0]", &deep), quarantined(QuarantineCode::Depth));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert_eq!(json(KEY, &objects), quarantined(QuarantineCode::Depth));
    assert_eq!(json(&objects, &value("null", IMAGE, "u")), quarantined(QuarantineCode::Depth));
    let max = Limits::default().record_bytes_max;
    let frame = value("null", IMAGE, "u").len() - MARKER.len();
    let fill =
        |bytes: usize| value("null", &IMAGE.replacen(MARKER, &"x".repeat(bytes - frame), 1), "u");
    let largest = fill(max);
    assert_eq!(largest.len(), max);
    assert!(json(KEY, &largest).is_ok());
    assert_eq!(json(KEY, &fill(max + 1)), quarantined(QuarantineCode::TooLarge));
    let delete = format!("{}{}", " ".repeat(max), value(IMAGE, "null", "d"));
    let cause = QuarantineCode::TooLarge;
    assert_eq!(json(KEY, &delete), held(Hold::UndecodableDelete { cause }));
    let items = format!("[{}]", vec!["0"; Limits::default().items_max + 1].join(","));
    assert_eq!(after("[\"mrkr7349x\",1.0]", &items), quarantined(QuarantineCode::TooManyItems));
}

#[test]
fn leaves_that_contradict_each_other_hold_everything_bad_leaves() {
    let hold = |leaves: TableLeaves, columns: &[String]| {
        let mut decoder = Decoder::new(Format::DebeziumJson, leaves, columns, Limits::default());
        good().push(&mut decoder, &mut Registry::default()).unwrap_err()
    };
    let missing =
        |path: &str| Refusal::Hold(Hold::MissingLeaf { path: path.to_owned(), schema_id: None });
    let mut crossed = leaves();
    crossed.row.push(leaf("t.inner", LeafType::Text));
    assert_eq!(hold(crossed, &[]), missing("after.t.inner"));
    let mut twice = leaves();
    twice.row.push(leaf("t", LeafType::Text));
    assert_eq!(hold(twice, &[]), missing("after.t"));
    assert_eq!(hold(leaves(), &["no".to_owned()]), missing("after.no"));
    assert_eq!(hold(leaves(), &["t".to_owned(), "t".to_owned()]), missing("after.t"));
}

// JSON with schemas.

fn field(name: &str, schema: &str) -> String {
    format!(r#"{},"optional":true,"field":"{name}"}}"#, &schema[..schema.len() - 1])
}

fn image_schema(columns: &[(&str, &str)]) -> String {
    let fields: Vec<String> = columns.iter().map(|(name, schema)| field(name, schema)).collect();
    format!(r#"{{"type":"struct","fields":[{}]}}"#, fields.join(","))
}

const INT64: &str = r#"{"type":"int64"}"#;
const STRING: &str = r#"{"type":"string"}"#;

fn columns_schema() -> Vec<(&'static str, &'static str)> {
    vec![
        ("id", INT64),
        ("t", STRING),
        ("f", r#"{"type":"double"}"#),
        ("d", r#"{"type":"int32","name":"io.debezium.time.Date","version":1}"#),
        (
            "m",
            r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2","connect.decimal.precision":"4"}}"#,
        ),
        ("b", r#"{"type":"bytes"}"#),
        ("tags", r#"{"type":"array","items":{"type":"string","optional":true}}"#),
        (
            "address",
            r#"{"type":"struct","fields":[{"type":"string","field":"street"},{"type":"string","field":"city"}]}"#,
        ),
    ]
}

fn envelope_schema(columns: &[(&str, &str)]) -> String {
    let image = image_schema(columns);
    format!(
        r#"{{"type":"struct","fields":[{},{},{},{},{},{}]}}"#,
        field("before", &image),
        field("after", &image),
        field(
            "source",
            &image_schema(&[
                ("version", STRING),
                ("connector", STRING),
                ("name", STRING),
                ("ts_ms", INT64),
                ("snapshot", STRING),
                ("db", STRING),
                ("schema", STRING),
                ("table", STRING),
                ("lsn", INT64)
            ])
        ),
        field("transaction", &image_schema(&[("id", STRING)])),
        field("op", STRING),
        field("ts_ms", INT64),
    )
}

fn with_schema(columns: &[(&str, &str)], payload: &str) -> String {
    format!(r#"{{"schema":{},"payload":{payload}}}"#, envelope_schema(columns))
}

fn key_with_schema(payload: &str) -> String {
    format!(r#"{{"schema":{},"payload":{payload}}}"#, image_schema(&[("id", INT64)]))
}

fn push_with_schema(key: &str, value: &str) -> Result<(Op, Row), Refusal> {
    let mut decoder = decoder(Format::DebeziumJsonSchema);
    let mut none = Registry::default();
    let good = with_schema(&columns_schema(), &super::refusals::value("null", IMAGE, "c"));
    let good = Event::new(Some(key_with_schema(KEY).as_bytes()), Some(good.as_bytes()));
    good.push(&mut decoder, &mut none).unwrap();
    let event = Event::new(Some(key.as_bytes()), Some(value.as_bytes()));
    let pushed = event.push(&mut decoder, &mut none);
    good.push(&mut decoder, &mut none).unwrap();
    let batch = decoder.finish();
    assert_eq!(batch.len(), 2 + usize::from(pushed.is_ok()));
    assert!(row(&batch, 0) == row(&batch, batch.len() - 1));
    if let Err(refusal) = &pushed {
        let told = format!("{refusal} {refusal:?}");
        assert!(!told.contains(MARKER), "{told}");
    }
    pushed.map(|()| (batch.origins[1].op, row(&batch, 1)))
}

#[test]
fn a_record_with_its_schema_must_have_the_listed_one() {
    let columns = columns_schema();
    let payload = value("null", IMAGE, "u");
    let key = key_with_schema(KEY);
    let record = with_schema(&columns, &payload);
    let found = leaves_of_json_schema(Some(key.as_bytes()), record.as_bytes()).unwrap();
    assert_eq!(found, leaves());
    let plain = push_with_schema(&key, &record).unwrap();
    assert!(json(KEY, &payload).unwrap() == plain);
    // The payload may come first.
    let turned = format!(r#" {{"payload": {payload}, "schema": {}}} "#, envelope_schema(&columns));
    assert!(push_with_schema(&key, &turned).unwrap() == plain);
    // A leaf of another type holds although its values look the same.
    let with = |at: usize, column: (&'static str, &'static str)| {
        let mut columns = columns_schema();
        columns[at] = column;
        push_with_schema(&key, &with_schema(&columns, &payload))
    };
    let retyped = |path: &str, found: &str, expected| {
        held(Hold::Retyped {
            path: path.to_owned(),
            found: found.to_owned(),
            expected,
            by_value: false,
            schema_id: None,
        })
    };
    assert_eq!(
        with(0, ("id", r#"{"type":"int32"}"#)),
        retyped("after.id", "int32", LeafType::Int64)
    );
    assert_eq!(with(3, ("d", r#"{"type":"int32"}"#)), retyped("after.d", "int32", LeafType::Date));
    assert_eq!(
        with(1, ("t", r#"{"type":"string","name":"io.debezium.data.Json"}"#)),
        retyped("after.t", "json", LeafType::Text)
    );
    assert_eq!(
        with(1, ("t", r#"{"type":"string","name":"org.acme.Thing"}"#)),
        retyped("after.t", "opaque", LeafType::Text)
    );
    assert_eq!(with(1, ("u", STRING)), unknown("after.u", Some(LeafType::Text)));
    let mut more = columns_schema();
    more.push(("passport", STRING));
    assert_eq!(
        push_with_schema(&key, &with_schema(&more, &payload)),
        unknown("after.passport", Some(LeafType::Text))
    );
    // A payload with more than its schema says holds too.
    let smuggled = payload.replacen(r#""t":"#, r#""passport":"mrkr7349x","t":"#, 1);
    assert_eq!(
        push_with_schema(&key, &with_schema(&columns, &smuggled)),
        unknown("after.passport", Some(LeafType::Text))
    );
    let other_key = format!(
        r#"{{"schema":{},"payload":{{"id":1,"x":1}}}}"#,
        image_schema(&[("id", INT64), ("x", INT64)])
    );
    assert_eq!(push_with_schema(&other_key, &record), unknown("key.x", Some(LeafType::Int64)));
}

#[test]
fn halves_that_are_none_bad_wrapping() {
    let payload = value("null", IMAGE, "u");
    let key = key_with_schema(KEY);
    let schema = envelope_schema(&columns_schema());
    for text in [
        payload.clone(),
        format!(r#"{{"payload":{payload}}}"#),
        format!(r#"{{"schema":{schema}}}"#),
        format!(r#"{{"schema":null,"payload":{payload}}}"#),
        format!(r#"{{"schema":{schema},"payload":{payload},"more":1}}"#),
        format!(r#"{{"schema":{schema},"payload":null}}"#),
        "[]".to_owned(),
    ] {
        let shown = text.len();
        assert_eq!(push_with_schema(&key, &text), held(Hold::NotAnEnvelope), "{shown}");
    }
    let tombstone = push_with_schema(&key, r#"{"schema":null,"payload":null}"#).unwrap();
    assert_eq!(tombstone.0, Op::Tombstone);
    let unusable = |schema: &str, fault| {
        let text = format!(r#"{{"schema":{schema},"payload":{payload}}}"#);
        let hold = Hold::UnusableSchema { schema_id: None, fault };
        assert_eq!(push_with_schema(&key, &text), held(hold), "{schema}");
    };
    unusable("7", SchemaFault::Malformed);
    unusable(r#"{"type":"colour"}"#, SchemaFault::Malformed);
    let dotted = schema.replacen(r#""field":"t""#, r#""field":"t.u""#, 1);
    unusable(&dotted, SchemaFault::DottedName);
    let twice = schema.replacen(r#""field":"t""#, r#""field":"id""#, 1);
    unusable(&twice, SchemaFault::DuplicateField);
    for (text, code) in [
        (
            format!(r#"{{"schema":{schema},"schema":{schema},"payload":{payload}}}"#),
            QuarantineCode::DuplicateName,
        ),
        (
            format!(r#"{{"schema":{schema},"payload":{payload},"payload":{payload}}}"#),
            QuarantineCode::DuplicateName,
        ),
        (format!(r#"{{"schema":{schema},"payload":{payload}"#), QuarantineCode::MalformedValue),
        (format!(r#"{{"schema":{schema},"payload":{payload}}}x"#), QuarantineCode::MalformedValue),
    ] {
        assert_eq!(push_with_schema(&key, &text), quarantined(code));
    }
    let nowhere = push_with_schema(
        r#"{"schema":null,"payload":null}"#,
        &with_schema(&columns_schema(), &payload),
    );
    assert_eq!(nowhere, quarantined(QuarantineCode::MissingKey));
}

// Avro.

const VALUE_SCHEMA: &str = r#"{"type":"record","name":"Envelope","namespace":"t","fields":[
  {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
    {"name":"id","type":"long"},{"name":"t","type":["null","string"]},
    {"name":"a","type":{"type":"array","items":"null"}},
    {"name":"m","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}}]}]},
  {"name":"after","type":["null","Value"]},
  {"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"]}]}"#;
const KEY_SCHEMA: &str = r#"{"type":"record","name":"Key","fields":[{"name":"id","type":"long"}]}"#;

fn long(value: i64) -> Vec<u8> {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut out = Vec::new();
    loop {
        let byte = u8::try_from(zigzag & 0x7f).unwrap();
        zigzag >>= 7;
        if zigzag == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

fn text(value: &str) -> Vec<u8> {
    [long(i64::try_from(value.len()).unwrap()), value.as_bytes().to_vec()].concat()
}

fn framed(id: u32, parts: &[Vec<u8>]) -> Vec<u8> {
    [vec![0], id.to_be_bytes().to_vec(), parts.concat()].concat()
}

/// id 7, t, two nulls, 1.98.
fn avro_image() -> Vec<Vec<u8>> {
    vec![long(7), long(1), text(MARKER), long(2), long(0), long(2), vec![0, 0xc6]]
}

fn avro_value(op: &str) -> Vec<Vec<u8>> {
    let mut parts = vec![long(0)];
    if op == "d" {
        parts.push(long(0));
    } else {
        parts.push(long(1));
        parts.extend(avro_image());
    }
    parts.extend([text(op), long(1), long(5)]);
    parts
}

fn avro_schemas() -> Registry {
    Registry(HashMap::from([(1, KEY_SCHEMA.to_owned()), (2, VALUE_SCHEMA.to_owned())]))
}

fn avro(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(Op, Row), Refusal> {
    let mut schemas = avro_schemas();
    let leaves = leaves_of_avro(Some(KEY_SCHEMA), VALUE_SCHEMA).unwrap();
    let mut decoder =
        Decoder::new(Format::DebeziumAvro, leaves.clone(), &columns(&leaves), Limits::default());
    let good = Event::new(Some(&framed(1, &[long(7)])), Some(&framed(2, &avro_value("c"))));
    good.push(&mut decoder, &mut schemas).unwrap();
    let pushed = Event::new(key, value).push(&mut decoder, &mut schemas);
    good.push(&mut decoder, &mut schemas).unwrap();
    let batch = decoder.finish();
    assert_eq!(batch.len(), 2 + usize::from(pushed.is_ok()));
    assert!(row(&batch, 0) == row(&batch, batch.len() - 1));
    assert_eq!(batch.origins[0].schema_id, Some(2));
    if let Err(refusal) = &pushed {
        let told = format!("{refusal} {refusal:?}");
        assert!(!told.contains(MARKER), "{told}");
    }
    pushed.map(|()| (batch.origins[1].op, row(&batch, 1)))
}

fn avro_upsert(value: &[u8]) -> Result<(Op, Row), Refusal> {
    avro(Some(&framed(1, &[long(7)])), Some(value))
}

#[test]
fn avro_frames() {
    let (kind, cells) = avro_upsert(&framed(2, &avro_value("u"))).unwrap();
    assert_eq!(kind, Op::Update);
    assert_eq!(cells["key.id"], Cell::Int(7));
    assert_eq!(cells["after.m"], Cell::Decimal(198));
    assert_eq!(cells["after.a"], Cell::Text("[null,null]".to_owned()));
    assert_eq!(avro_upsert(&framed(2, &avro_value("d"))).unwrap().0, Op::Delete);
    assert_eq!(avro(Some(&framed(1, &[long(7)])), None).unwrap().0, Op::Tombstone);
    assert_eq!(avro(None, None), held(Hold::DeleteWithoutKey));
    assert_eq!(avro_upsert(&framed(2, &avro_value("t"))), held(Hold::Truncate));
    assert_eq!(avro_upsert(&framed(2, &avro_value("m"))), held(Hold::Operation { op: 'm' }));
    // The array in two blocks, the second with its size in bytes.
    let mut blocks = avro_value("u");
    blocks.splice(5..6, [long(1), long(-1), long(0)]);
    assert_eq!(avro_upsert(&framed(2, &blocks)).unwrap().1["after.a"], cells["after.a"]);
}

#[test]
fn avro_frames_that_are_none_bad_frames() {
    use QuarantineCode::{MalformedValue, OutOfRange, TooManyItems, Truncated, Utf8};
    let whole = framed(2, &avro_value("u"));
    for end in 0..whole.len() {
        assert!(avro_upsert(&whole[..end]).is_err(), "{end}");
    }
    assert_eq!(avro_upsert(&whole[..3]), quarantined(Truncated));
    assert_eq!(avro_upsert(b""), quarantined(MalformedValue));
    assert_eq!(avro_upsert(b"{\"op\":\"d\"}"), quarantined(MalformedValue));
    let mut longer = whole.clone();
    longer.push(0);
    assert_eq!(avro_upsert(&longer), quarantined(MalformedValue));
    let change = |at: usize, part: Vec<u8>| {
        let mut parts = avro_value("u");
        parts[at] = part;
        avro_upsert(&framed(2, &parts))
    };
    assert_eq!(change(1, long(2)), quarantined(MalformedValue));
    assert_eq!(change(3, long(2)), quarantined(MalformedValue));
    assert_eq!(change(3, long(-1)), quarantined(MalformedValue));
    assert_eq!(change(2, vec![0xff; 10]), quarantined(MalformedValue));
    assert_eq!(change(2, [vec![0xff; 9], vec![2]].concat()), quarantined(MalformedValue));
    assert_eq!(change(4, vec![2, 0xff]), quarantined(Utf8));
    assert_eq!(change(4, long(-5)), quarantined(MalformedValue));
    assert_eq!(change(4, long(i64::MAX)), quarantined(Truncated));
    // Nulls cost no bytes: a count is not to be believed.
    assert_eq!(change(5, long(i64::MAX)), quarantined(TooManyItems));
    assert_eq!(change(5, [long(i64::MIN), long(0)].concat()), quarantined(TooManyItems));
    assert_eq!(change(8, vec![0x27, 0x10]), quarantined(OutOfRange));
    // A delete that ends too early is known for one by its missing image.
    let delete = framed(2, &avro_value("d"));
    assert_eq!(avro_upsert(&delete[..7]), held(Hold::UndecodableDelete { cause: Truncated }));
    for key in [&framed(1, &[long(7)])[..5], &[0, 0], b"{\"id\":7}"] {
        let code = QuarantineCode::MalformedKey;
        assert_eq!(avro(Some(key), Some(&whole)), quarantined(code));
        assert_eq!(avro(Some(key), None), held(Hold::UndecodableDelete { cause: code }));
    }
}

#[test]
fn schemas_that_are_not_to_be_had_bad_ids() {
    let whole = framed(2, &avro_value("u"));
    assert_eq!(avro_upsert(&framed(9, &avro_value("u"))), held(Hold::UnknownSchemaId { id: 9 }));
    assert_eq!(
        avro(Some(&framed(9, &[long(7)])), Some(&whole)),
        held(Hold::UnknownSchemaId { id: 9 })
    );
    struct Nobody;
    impl WriterSchemas for Nobody {
        fn schema_text(&mut self, _: u32) -> Result<Option<String>, Away> {
            Err(Away("connection refused".to_owned()))
        }
    }
    let leaves = leaves_of_avro(Some(KEY_SCHEMA), VALUE_SCHEMA).unwrap();
    let mut decoder = Decoder::new(Format::DebeziumAvro, leaves, &[], Limits::default());
    let event = Event::new(Some(&framed(1, &[long(7)])), Some(&whole));
    let away = event.push(&mut decoder, &mut Nobody);
    assert_eq!(away, Err(Refusal::Away(Away("connection refused".to_owned()))));
    // Nothing was remembered: with a registry the same record is a row.
    assert_eq!(event.push(&mut decoder, &mut avro_schemas()), Ok(()));
}

/// By the numbers that the hold has.
#[test]
fn hidden_names_of_avro_are_told_by_the_place_that_a_hold_shows() {
    let data = "AKIAIOSFODNN7EXAMPLE";
    let named = |schema: &str, at: &str| {
        schema.replacen(at, &format!(r#"{{"name":"{data}","type":"long"}},{at}"#), 1)
    };
    let value = named(VALUE_SCHEMA, r#"{"name":"a","type""#);
    let key = named(KEY_SCHEMA, r#"{"name":"id""#);
    let mut schemas = Registry(HashMap::from([(1, key), (2, value)]));
    let mut hidden = |id: u32, key| hidden_of_avro(&framed(id, &[]), key, &mut schemas).unwrap();
    let named = |leaf: &str| (leaf.to_owned(), data.to_owned());
    assert_eq!(hidden(1, true), [named("key.<unknown#1>")]);
    assert_eq!(hidden(2, false), [named("before.<unknown#3>"), named("after.<unknown#3>")]);
    assert_eq!(hidden(3, false), []);
    let leaves = leaves_of_avro(Some(KEY_SCHEMA), VALUE_SCHEMA).unwrap();
    let mut decoder = Decoder::new(Format::DebeziumAvro, leaves, &[], Limits::default());
    schemas.0.extend([(7, KEY_SCHEMA.to_owned()), (8, VALUE_SCHEMA.to_owned())]);
    let mut wider = avro_value("c");
    wider.insert(5, long(9));
    for (key, value, shown) in [
        (framed(7, &[long(7)]), framed(2, &wider), "after.<unknown#3>"),
        (framed(1, &[long(9), long(7)]), framed(8, &avro_value("c")), "key.<unknown#1>"),
    ] {
        let refusal = Event::new(Some(&key), Some(&value)).push(&mut decoder, &mut schemas);
        let Err(Refusal::Hold(Hold::UnknownLeaf { path, .. })) = refusal else {
            panic!("expected an unknown leaf: {refusal:?}");
        };
        assert_eq!(path, shown);
    }
    // The control: plain names are shown anyway; and what is no frame says nothing.
    assert_eq!(hidden_of_avro(&framed(8, &[]), false, &mut schemas).unwrap(), []);
    assert_eq!(hidden_of_avro(b"{}", false, &mut schemas).unwrap(), []);
}

#[test]
fn schemas_that_cannot_be_used_bad_schemas() {
    let envelope = |value: &str| {
        format!(
            r#"{{"type":"record","name":"E","fields":[{{"name":"after","type":["null",{value}]}},{{"name":"op","type":"string"}}]}}"#
        )
    };
    let fault = |text: &str| leaves_of_avro(None, text).unwrap_err();
    let record =
        |fields: &str| envelope(&format!(r#"{{"type":"record","name":"V","fields":[{fields}]}}"#));
    assert_eq!(fault("mrkr7349x"), SchemaFault::Malformed);
    assert_eq!(fault("{}"), SchemaFault::Malformed);
    assert_eq!(fault("\"string\""), SchemaFault::NotAnEnvelope);
    assert_eq!(fault(KEY_SCHEMA), SchemaFault::NotAnEnvelope);
    assert_eq!(
        fault(&envelope("\"string\"")),
        SchemaFault::Undocumented { path: "after".to_owned() }
    );
    assert_eq!(fault(&record(r#"{"name":"x","type":["null","V"]}"#)), SchemaFault::Recursive);
    assert_eq!(fault(&record(r#"{"name":"x","type":"Nowhere"}"#)), SchemaFault::Malformed);
    assert_eq!(
        fault(&record(r#"{"name":"x","type":"int"},{"name":"x","type":"int"}"#)),
        SchemaFault::DuplicateField
    );
    let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(70), "}".repeat(70));
    assert_eq!(fault(&record(&format!(r#"{{"name":"x","type":{deep}}}"#))), SchemaFault::TooLarge);
    // Ten names, each ten times the one before: small as text, huge as leaves.
    let mut laughs = String::from(
        r#"{"name":"r0","type":{"type":"record","name":"R0","fields":[{"name":"x","type":"int"}]}}"#,
    );
    for n in 1..10 {
        let fields: Vec<String> =
            (0..10).map(|f| format!(r#"{{"name":"f{f}","type":"R{}"}}"#, n - 1)).collect();
        laughs.push_str(&format!(
            r#",{{"name":"r{n}","type":{{"type":"record","name":"R{n}","fields":[{}]}}}}"#,
            fields.join(",")
        ));
    }
    assert_eq!(fault(&record(&laughs)), SchemaFault::TooLarge);
    // Several branches are no column's type: the leaf may only be dropped.
    let union = record(r#"{"name":"x","type":["int","string"]}"#);
    assert_eq!(leaves_of_avro(None, &union).unwrap().row, [leaf("x", LeafType::Opaque)]);
    assert_eq!(
        fault(&record(r#"{"name":"x","type":"int"}"#).replace("\"op\"", "\"passport\"")),
        SchemaFault::NotAnEnvelope
    );
    assert_eq!(leaves_of_avro(Some("\"string\""), VALUE_SCHEMA), Err(SchemaFault::KeyNotARecord));
}

/// What stands inside an array or a map is in no list: only scalars may cross with it.
#[test]
fn arrays_of_more_than_scalars_may_only_be_dropped_bad_elements() {
    const POINT: &str =
        r#"{"type":"record","name":"P","fields":[{"name":"passport","type":"int"}]}"#;
    const VARIABLE: &str = r#"{"type":"record","name":"W","connect.name":"io.debezium.data.VariableScaleDecimal","fields":[{"name":"scale","type":"int"},{"name":"value","type":"bytes"}]}"#;
    let avro = |schema: &str| {
        let text = format!(
            r#"{{"type":"record","name":"E","fields":[{{"name":"after","type":["null",{{"type":"record","name":"V","fields":[{{"name":"x","type":["null",{schema}]}}]}}]}},{{"name":"op","type":"string"}}]}}"#
        );
        leaves_of_avro(None, &text).unwrap().row[0].leaf_type
    };
    let array = |items: &str| format!(r#"{{"type":"array","items":{items}}}"#);
    let map = |values: &str| format!(r#"{{"type":"map","values":{values}}}"#);
    let date = r#"{"type":"int","connect.name":"io.debezium.time.Date"}"#;
    let choice = r#"{"type":"enum","name":"C","symbols":["a"]}"#;
    for scalar in ["\"int\"", "[\"null\",\"string\"]", date, choice, &array("[\"null\",\"int\"]")] {
        assert_eq!(avro(&array(scalar)), LeafType::Array, "{scalar}");
        assert_eq!(avro(&map(scalar)), LeafType::Array, "{scalar}");
    }
    let unknown = r#"{"type":"string","connect.name":"org.acme.Secret"}"#;
    let nullable = format!("[\"null\",{POINT}]");
    let several = "[\"int\",\"string\"]";
    let (points, words) = (array(POINT), map("\"string\""));
    for other in [POINT, VARIABLE, &nullable, unknown, several, &points, &words] {
        assert_eq!(avro(&array(other)), LeafType::Opaque, "{other}");
        assert_eq!(avro(&map(other)), LeafType::Opaque, "{other}");
    }

    let json = |schema: &str| {
        let record = with_schema(&[("x", schema)], "null");
        leaves_of_json_schema(None, record.as_bytes()).map(|found| found.row[0].leaf_type)
    };
    let map = |keys: &str, values: &str| {
        format!(r#"{{"type":"map","keys":{{"type":"{keys}"}},"values":{values}}}"#)
    };
    let date = r#"{"type":"int32","name":"io.debezium.time.Date"}"#;
    for scalar in [INT64, STRING, date, &array(STRING)] {
        assert_eq!(json(&array(scalar)), Ok(LeafType::Array), "{scalar}");
        assert_eq!(json(&map("string", scalar)), Ok(LeafType::Array), "{scalar}");
        assert_eq!(json(&map("int32", scalar)), Ok(LeafType::Opaque), "{scalar}");
    }
    let point = r#"{"type":"struct","fields":[{"type":"int32","field":"passport"}]}"#;
    let variable = r#"{"type":"struct","name":"io.debezium.data.VariableScaleDecimal","fields":[{"type":"int32","field":"scale"},{"type":"bytes","field":"value"}]}"#;
    let unknown = r#"{"type":"string","name":"org.acme.Secret"}"#;
    let (points, words) = (array(point), map("string", STRING));
    for other in [point, variable, unknown, &points, &words] {
        assert_eq!(json(&array(other)), Ok(LeafType::Opaque), "{other}");
        assert_eq!(json(&map("string", other)), Ok(LeafType::Opaque), "{other}");
    }
    assert_eq!(json(r#"{"type":"array"}"#), Err(SchemaFault::Malformed));
}

/// A null field costs no byte of the frame.
#[test]
fn nulls_in_records_cost_items_bad_bulk() {
    let fields: Vec<String> =
        (0..4_000).map(|n| format!(r#"{{"name":"f{n}","type":"null"}}"#)).collect();
    let items = format!(r#"{{"type":"record","name":"N","fields":[{}]}}"#, fields.join(","));
    let schema = format!(
        r#"{{"type":"record","name":"E","fields":[{{"name":"after","type":["null",{{"type":"record","name":"V","fields":[{{"name":"x","type":{{"type":"array","items":{items}}}}}]}}]}},{{"name":"op","type":"string"}}]}}"#
    );
    let leaves = TableLeaves {
        key: vec![leaf("id", LeafType::Int64)],
        ..leaves_of_avro(None, &schema).unwrap()
    };
    let mut schemas = Registry(HashMap::from([(1, KEY_SCHEMA.to_owned()), (2, schema)]));
    for columns in [vec![], vec!["x".to_owned()]] {
        let mut decoder =
            Decoder::new(Format::DebeziumAvro, leaves.clone(), &columns, Limits::default());
        let mut push = |records: i64| {
            let value = framed(2, &[long(1), long(records), long(0), text("u")]);
            Event::new(Some(&framed(1, &[long(7)])), Some(&value)).push(&mut decoder, &mut schemas)
        };
        assert_eq!(push(10_000), Err(Refusal::Quarantine(QuarantineCode::TooManyItems)));
        assert_eq!(push(100), Ok(()));
    }
}

#[test]
fn a_plain_type_passes_for_a_declared_meaning_only_where_declared() {
    let mut leaves = leaves_of_avro(Some(KEY_SCHEMA), VALUE_SCHEMA).unwrap();
    leaves.row[0].leaf_type = LeafType::MicroTimestamp;
    let event = Event::new(Some(&framed(1, &[long(7)])), Some(&framed(2, &avro_value("u"))));
    let decoder = || {
        Decoder::new(Format::DebeziumAvro, leaves.clone(), &["id".to_owned()], Limits::default())
    };
    let refused = event.push(&mut decoder(), &mut avro_schemas());
    assert!(matches!(refused, Err(Refusal::Hold(Hold::Retyped { .. }))));
    let mut declared = decoder().declared(&["id".to_owned()]);
    assert_eq!(event.push(&mut declared, &mut avro_schemas()), Ok(()));
    let batch = declared.finish();
    assert_eq!(*batch.rows.schema().field(1).data_type(), LeafType::MicroTimestamp.arrow());
    let mut other = Decoder::new(
        Format::DebeziumAvro,
        TableLeaves {
            row: [vec![leaf("id", LeafType::Text)], leaves.row[1..].to_vec()].concat(),
            ..leaves.clone()
        },
        &[],
        Limits::default(),
    )
    .declared(&["id".to_owned()]);
    let refused = event.push(&mut other, &mut avro_schemas());
    assert!(matches!(refused, Err(Refusal::Hold(Hold::Retyped { .. }))));
}

/// The pipeline moves decoders to its own threads.
#[test]
fn a_decoder_can_be_sent() {
    fn sent<T: Send>(_: &T) {}
    sent(&decoder(Format::DebeziumAvro));
}

#[test]
fn a_delete_that_is_too_large_is_known_for_one_bad_size() {
    let leaves = leaves_of_avro(Some(KEY_SCHEMA), VALUE_SCHEMA).unwrap();
    let limits = Limits { record_bytes_max: 64, ..Limits::default() };
    let mut decoder = Decoder::new(Format::DebeziumAvro, leaves, &[], limits);
    let long_text = "x".repeat(80);
    let mut image = avro_image();
    image[2] = text(&long_text);
    let parts = |before: Vec<Vec<u8>>, after: Vec<Vec<u8>>, op: &str| {
        framed(2, &[before, after, vec![text(op), long(0)]].concat())
    };
    let some = |image: &[Vec<u8>]| [vec![long(1)], image.to_vec()].concat();
    let mut push = |value: Vec<u8>| {
        Event::new(Some(&framed(1, &[long(7)])), Some(&value))
            .push(&mut decoder, &mut avro_schemas())
    };
    let cause = QuarantineCode::TooLarge;
    assert_eq!(
        push(parts(some(&image), vec![long(0)], "d")),
        Err(Refusal::Hold(Hold::UndecodableDelete { cause }))
    );
    assert_eq!(push(parts(vec![long(0)], some(&image), "c")), Err(Refusal::Quarantine(cause)));
    assert_eq!(push(parts(vec![long(0)], vec![long(0)], "d")), Ok(()));
}
