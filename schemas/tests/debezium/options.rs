//! What a decoder does only when asked: the image before the change, nulls for values that the
//! source does not have, added leaves left behind.

use douane_schemas::batch::Op;
use douane_schemas::debezium::{
    Decoder, Hold, Placeholder, QuarantineCode, Refusal, TableName, leaves_of_avro,
};
use douane_schemas::leaf::TableLeaves;
use douane_schemas::record::Format;
use serde_json::Value;

use crate::capture::{
    Cell, Event, FORMATS, Registry, Row, decoder, events, frame_id, registry, row,
};

fn of_table() -> TableName {
    TableName { db: "chinook".to_owned(), table: "customer".to_owned() }
}

/// The captured changes of one table.
fn customers(format: Format) -> Vec<Event> {
    events(format).into_iter().filter(|event| event.table() == Some("customer")).collect()
}

/// The leaves of its first schema.
fn leaves() -> TableLeaves {
    let schemas = registry();
    let first = &customers(Format::DebeziumAvro)[0];
    let text = |bytes: &Option<Vec<u8>>| &schemas.0[&frame_id(bytes.as_ref().unwrap()).unwrap()];
    leaves_of_avro(Some(text(&first.key)), text(&first.value)).unwrap()
}

fn columns() -> Vec<String> {
    leaves().row.into_iter().map(|leaf| leaf.path).collect()
}

fn with_before(format: Format, of_deletes: bool) -> Decoder {
    decoder(format, &leaves()).with_before(&columns(), of_table(), of_deletes)
}

fn image<'r>(row: &'r Row, prefix: &str) -> Vec<(&'r str, &'r Cell)> {
    row.iter().filter_map(|(name, cell)| Some((name.strip_prefix(prefix)?, cell))).collect()
}

/// Rows of the changes that have the listed leaves.
fn rows(mut decoder: Decoder, events: &[Event]) -> Vec<(Op, Row)> {
    let mut schemas = registry();
    for event in events {
        match event.push(&mut decoder, &mut schemas) {
            Ok(()) | Err(Refusal::Hold(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let batch = decoder.finish();
    (0..batch.len()).map(|at| (batch.origins[at].op, row(&batch, at))).collect()
}

#[test]
fn the_image_before_is_read_as_the_one_after_in_all_formats() {
    let mut told = Vec::new();
    for format in FORMATS {
        let events = customers(format);
        let plain = rows(decoder(format, &leaves()), &events);
        let both = rows(with_before(format, true), &events);
        assert_eq!(plain.len(), both.len());
        for ((op, plain), (_, both)) in plain.iter().zip(&both) {
            // What was there without asking is there as it was.
            assert!(plain.iter().all(|(name, cell)| both[name] == *cell));
            let before = image(both, "before.");
            let some = before.iter().any(|(_, cell)| **cell != Cell::Null);
            assert_eq!(both["before"] == Cell::Boolean(true), some, "{op:?}");
            assert_eq!(some, matches!(op, Op::Update | Op::Delete), "{op:?}");
        }
        // Three connectors wrote them, each in an order of its own.
        let mut all: Vec<String> = both.iter().map(|row| format!("{row:?}")).collect();
        all.sort();
        told.push(all);
    }
    assert!(told[0] == told[1] && told[1] == told[2]);
    // An event whose images change places has its cells in the other columns.
    let swapped: Vec<(Row, Row)> = customers(Format::DebeziumJson)
        .into_iter()
        .filter_map(|event| {
            let mut value: Value = serde_json::from_slice(event.value.as_ref()?).unwrap();
            let fields = value.as_object_mut().unwrap();
            let (before, after) = (fields["before"].take(), fields["after"].take());
            let change = fields["op"] == "u";
            fields.insert("before".to_owned(), after);
            fields.insert("after".to_owned(), before);
            let turned = Event { value: Some(value.to_string().into_bytes()), ..event.clone() };
            let of = |event: Event| {
                rows(with_before(Format::DebeziumJson, true), &[event]).pop().map(|(_, row)| row)
            };
            change.then(|| of(event).zip(of(turned))).flatten()
        })
        .collect();
    assert!(!swapped.is_empty());
    for (row, turned) in &swapped {
        assert_eq!(image(row, "before."), image(turned, "after."));
        assert_eq!(image(row, "after."), image(turned, "before."));
        assert_ne!(image(row, "before."), image(row, "after."));
    }
}

#[test]
fn a_deletes_image_is_built_where_it_is_asked_for() {
    for format in FORMATS {
        for (of_deletes, expected) in [(true, Cell::Boolean(true)), (false, Cell::Null)] {
            let rows = rows(with_before(format, of_deletes), &customers(format));
            let delete = rows.iter().find(|(op, _)| *op == Op::Delete).unwrap();
            assert_eq!(delete.1["before"], expected, "{format:?}");
            let empty = image(&delete.1, "before.").iter().all(|(_, cell)| **cell == Cell::Null);
            assert_eq!(empty, !of_deletes);
            assert!(image(&delete.1, "after.").iter().all(|(_, cell)| **cell == Cell::Null));
        }
    }
}

#[test]
fn a_change_of_another_table_holds_bad_source() {
    let expected = "crm.customer".to_owned();
    for format in FORMATS {
        let table = TableName { db: "crm".to_owned(), ..of_table() };
        let mut decoder = decoder(format, &leaves()).with_before(&columns(), table, false);
        let held = customers(format)[0].push(&mut decoder, &mut registry());
        let other = Hold::OtherTable { expected: expected.clone() };
        assert_eq!(held, Err(Refusal::Hold(other)), "{format:?}");
        assert!(decoder.is_empty());
    }
    for (from, to) in [(r#""db":"chinook","#, ""), (r#""table":"customer""#, r#""table":null"#)] {
        let event = json(|text| text.replacen(from, to, 1));
        let held = event.push(&mut with_before(Format::DebeziumJson, false), &mut registry());
        assert!(matches!(held, Err(Refusal::Hold(Hold::OtherTable { .. }))), "{to}");
    }
}

/// The first captured change, changed.
fn json(change: impl Fn(&str) -> String) -> Event {
    let event = customers(Format::DebeziumJson).swap_remove(0);
    let text = String::from_utf8(event.value.clone().unwrap()).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed);
    Event { value: Some(changed.into_bytes()), ..event }
}

fn push(mut decoder: Decoder, event: &Event) -> Result<Row, Refusal> {
    event.push(&mut decoder, &mut Registry::default())?;
    Ok(row(&decoder.finish(), 0))
}

#[test]
fn a_value_that_the_source_does_not_have_is_null_where_the_release_says_so() {
    let event = json(|text| {
        let start = text.find(r#""email":""#).unwrap() + 9;
        let end = start + text[start..].find('"').unwrap();
        format!("{}__debezium_unavailable_value{}", &text[..start], &text[end..])
    });
    let plain = || decoder(Format::DebeziumJson, &leaves());
    let refused = Err(Refusal::Quarantine(QuarantineCode::Unavailable));
    assert_eq!(push(plain(), &event), refused);
    let row = push(plain().nullify(), &event).unwrap();
    assert_eq!(row["after.email"], Cell::Null);
    assert_ne!(row["after.last_name"], Cell::Null);
    // Of a connector that has a text of its own for it, in either image, whichever was asked for first.
    let own = Placeholder::parse("n/a").unwrap();
    let na = json(|text| {
        let start = text.find(r#""email":""#).unwrap() + 9;
        let end = start + text[start..].find('"').unwrap();
        format!("{}n/a{}", &text[..start], &text[end..])
    });
    assert!(push(plain(), &na).is_ok(), "who does not know it takes it for data");
    assert_eq!(push(plain().with_placeholder(&own), &na), refused);
    assert_eq!(push(plain().with_placeholder(&own), &event), refused, "the default too");
    let row_of = |decoder: Decoder| push(decoder.nullify(), &na).unwrap()["after.email"].clone();
    assert_eq!(row_of(plain().with_placeholder(&own)), Cell::Null);
    let first = plain().with_placeholder(&own).with_before(&columns(), of_table(), false);
    let last = with_before(Format::DebeziumJson, false).with_placeholder(&own);
    assert_eq!((row_of(first), row_of(last)), (Cell::Null, Cell::Null));
    // Only what is not there: other faults of a value are what they were.
    let long = json(|text| text.replacen(r#""customer_id":1"#, r#""customer_id":1e9"#, 1));
    assert_eq!(push(plain().nullify(), &long), Err(Refusal::Quarantine(QuarantineCode::Number)));
}

#[test]
fn an_added_leaf_stays_behind_and_is_told_once() {
    for format in FORMATS {
        let events = customers(format);
        let (mut plain, mut strips) =
            (decoder(format, &leaves()), decoder(format, &leaves()).strip());
        let (mut held, mut told, mut taken) = (0, Vec::new(), 0);
        for event in &events {
            let before = plain.push_one(event);
            let after = strips.push_one(event);
            match (before, after) {
                (Ok(()), Ok(())) => {}
                (Err(Hold::UnknownLeaf { .. }), Ok(())) => taken += 1,
                (Err(_), Err(Hold::MissingLeaf { .. } | Hold::Retyped { .. })) => held += 1,
                (before, after) => panic!("{format:?} {before:?} {after:?}"),
            }
            told.extend(strips.take_stripped());
        }
        // The table grew twice; then a column was renamed, which holds as ever.
        assert!(taken > 1 && held > 0, "{format:?} {taken} {held}");
        let names: Vec<&str> = told.iter().map(|stripped| stripped.leaf.as_str()).collect();
        assert_eq!(names, ["loyalty_email", "tier"], "{format:?}");
        assert_eq!(told[0].schema_id.is_some(), format == Format::DebeziumAvro);
        let names = strips.finish().rows.schema().fields().len();
        assert_eq!(names, plain.finish().rows.schema().fields().len());
    }
}

trait PushOne {
    fn push_one(&mut self, event: &Event) -> Result<(), Hold>;
}

impl PushOne for Decoder {
    fn push_one(&mut self, event: &Event) -> Result<(), Hold> {
        event.push(self, &mut registry()).map_err(|refusal| match refusal {
            Refusal::Hold(hold) => hold,
            other => panic!("{other}"),
        })
    }
}

#[test]
fn stripping_takes_rows_leaves_only_and_prints_no_data() {
    let strips = || decoder(Format::DebeziumJson, &leaves()).strip();
    let added = |name: &str| {
        json(|text| {
            text.replacen(r#""last_name""#, &format!(r#""{name}":[{{"a":1}}],"last_name""#), 1)
        })
    };
    for (name, shown) in [("passport", "passport"), ("ada@example.com", "<unknown#3>")] {
        let mut decoder = strips();
        added(name).push(&mut decoder, &mut Registry::default()).unwrap();
        assert_eq!(decoder.take_stripped()[0].leaf, shown);
        assert!(decoder.take_stripped().is_empty());
    }
    let header = Event { headers: vec![("x".to_owned(), None)], ..added("passport") };
    let mut decoder = strips();
    let refused = header.push(&mut decoder, &mut Registry::default());
    assert!(matches!(refused, Err(Refusal::Hold(Hold::UnknownHeader { .. }))));
    let key = Event { key: Some(br#"{"customer_id":1,"tenant":1}"#.to_vec()), ..added("passport") };
    let refused = key.push(&mut decoder, &mut Registry::default());
    assert!(matches!(refused, Err(Refusal::Hold(Hold::UnknownLeaf { .. }))));
    let envelope = json(|text| text.replacen(r#""op""#, r#""colour":1,"op""#, 1));
    let refused = envelope.push(&mut decoder, &mut Registry::default());
    assert!(matches!(refused, Err(Refusal::Hold(Hold::UndocumentedEnvelope { .. }))));
    // What was refused for another reason has told nothing.
    assert!(decoder.take_stripped().is_empty());
    // Names without end are data.
    let outcomes: Vec<bool> = (0..300)
        .map(|n| added(&format!("n{n}")).push(&mut decoder, &mut Registry::default()).is_ok())
        .collect();
    assert_eq!(outcomes.iter().filter(|taken| **taken).count(), 256);
}
