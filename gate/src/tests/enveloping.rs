//! The envelope shape: what its bytes are, and that an image before the change is held to what
//! the one after it is held to.

use std::sync::Arc;

use apache_avro::types::Value as Avro;
use arrow::array::{ArrayRef, Int64Array};
use douane_ledger::release::{Changes, Deletes, RecordEnvelope};
use douane_schemas::batch::{Op, Origin};
use serde_json::{Value, json};

use super::fixture::{Case, Table, gate, live, table, take_rows, texts, with_cell};
use crate::{Gate, GateFault, Passed, Place, RefusalReason, avro_schema};

/// Rows: a create, two updates of which one has an image before, a delete with its image, and the
/// delete's tombstone. Before is another row of the table, so that the two images differ.
fn enveloped(deletes: Deletes) -> Table {
    let mut table = table();
    let turned = |cases: &[Case], rows: &[u32]| -> Vec<Case> {
        let cell = |array: &ArrayRef| take_rows(array, rows);
        let turn = |c: &Case| Case { raw: cell(&c.raw), out: cell(&c.out), ..c.clone() };
        cases.iter().map(turn).collect()
    };
    // The fourth row is empty: what no record had.
    table.before = turned(&table.columns, &[3, 3, 0, 1, 3]);
    table.columns = turned(&table.columns, &[0, 1, 2, 3, 3]);
    table.keys = turned(&table.keys, &[0, 1, 2, 3, 3]);
    table.had = vec![None, None, Some(true), Some(true), None];
    let last = table.origins[3];
    table.origins.push(Origin { offset: last.offset + 1, ..last });
    for (origin, op) in table.origins.iter_mut().zip([
        Op::Create,
        Op::Update,
        Op::Update,
        Op::Delete,
        Op::Tombstone,
    ]) {
        origin.op = op;
    }
    table.skip = vec![false; 5];
    table.withdrawn = vec![false; 5];
    let envelope = RecordEnvelope { db: "crm".into(), table: "customers".into(), deletes };
    table.changes = Changes { envelope: Some(envelope), ..Changes::default() };
    table
}

fn pass(table: &Table) -> Passed {
    table.through(&mut table.gate()).unwrap()
}

/// Values in the order of the source: partition 0 (update, delete, tombstone), then 1.
fn values(passed: &Passed) -> Vec<Option<Value>> {
    let json = |value: Option<&[u8]>| value.map(|bytes| serde_json::from_slice(bytes).unwrap());
    passed.rows().map(|row| json(row.value)).collect()
}

#[test]
fn an_envelope_has_both_images_and_nothing_of_its_source() {
    let passed = pass(&enveloped(Deletes::Keep));
    assert!(passed.refused().is_empty(), "{:?}", passed.refused());
    let values = values(&passed);
    // The same rows in the state shape: what an image must hold.
    let mut state = enveloped(Deletes::Keep);
    (state.before, state.changes) = (Vec::new(), Changes::default());
    let after: Vec<Value> = self::values(&pass(&state)).into_iter().flatten().collect();
    let mut first = enveloped(Deletes::Keep);
    (first.columns, first.before) = (first.before, Vec::new());
    first.changes = Changes::default();
    first.origins.iter_mut().for_each(|origin| origin.op = Op::Create);
    first.keys.clear();
    let before: Vec<Value> = self::values(&pass(&first)).into_iter().flatten().collect();
    let source = json!({ "db": "crm", "table": "customers" });
    let time = 1_760_000_000_000_i64;
    let event = |before: Option<&Value>, after: Option<&Value>, op: &str| {
        Some(json!(
            { "before": before, "after": after, "op": op, "source": source, "ts_ms": time }
        ))
    };
    assert_eq!(values.len(), 5);
    assert_eq!(values[0], event(Some(&before[0]), Some(&after[0]), "u"));
    assert_eq!(values[1], event(Some(&before[1]), None, "d"));
    assert_eq!(values[2], None);
    assert_eq!(values[3], event(None, Some(&after[1]), "u"));
    assert_eq!(values[4], event(None, Some(&after[2]), "c"));
    assert_ne!(before[0], after[0]);
    let text = passed.rows().find_map(|row| row.value).unwrap();
    let names = ["\"before\":", "\"after\":", "\"op\":", "\"source\":", "\"ts_ms\":"];
    let text = std::str::from_utf8(text).unwrap();
    let at: Vec<usize> = names.iter().map(|name| text.find(name).unwrap()).collect();
    assert!(at.is_sorted(), "the order of members is fixed");
}

#[test]
fn a_delete_that_is_not_kept_is_a_tombstone() {
    let values = values(&pass(&enveloped(Deletes::Tombstone)));
    assert_eq!(values[1], None);
    assert_eq!(values.iter().flatten().count(), 3);
}

#[test]
fn avro_is_what_another_decoder_reads() {
    let json = enveloped(Deletes::Keep);
    let expected = values(&pass(&json));
    let mut release = json.release();
    release.target.format = "avro".into();
    let mut gate = gate(&release).unwrap();
    let passed = json.through(&mut gate).unwrap();
    let text = avro_schema(&live(&release)).unwrap();
    assert_eq!(text.matches("\"Envelope\"").count(), 1);
    assert!(!text.contains("doc") && !text.contains("aliases"));
    let schema = apache_avro::Schema::parse_str(&text).unwrap();
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
    for (row, expected) in passed.rows().zip(expected) {
        let Some(value) = row.value else {
            assert_eq!(expected, None);
            continue;
        };
        let expected = expected.unwrap();
        let (frame, mut datum) = value.split_at(5);
        assert_eq!(frame, [0, 0, 0, 1, 2]);
        let Avro::Record(fields) = reader.read_value(&mut datum).unwrap() else {
            panic!("no record")
        };
        assert!(datum.is_empty());
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["before", "after", "op", "source", "ts_ms"]);
        for (name, value) in &fields[..2] {
            let Avro::Union(_, inner) = value else { panic!("{name}") };
            match &**inner {
                Avro::Null => assert!(expected[name].is_null()),
                Avro::Record(row) => {
                    let (_, city) = row.iter().find(|(name, _)| name == "city").unwrap();
                    let Avro::Union(_, city) = city else { panic!("city") };
                    let city = match &**city {
                        Avro::String(city) => json!(city),
                        _ => Value::Null,
                    };
                    assert_eq!(city, expected[name]["city"]);
                }
                _ => panic!("{name}"),
            }
        }
        assert_eq!(
            json!(expected["op"]),
            json!(match &fields[2].1 {
                Avro::String(op) => op.as_str(),
                _ => "",
            })
        );
        let named = |name: &str, text: &str| (name.to_owned(), Avro::String(text.to_owned()));
        let source = vec![named("db", "crm"), named("table", "customers")];
        assert_eq!(fields[3].1, Avro::Record(source));
        assert_eq!(fields[4].1, Avro::Long(1_760_000_000_000));
    }
}

/// Whatever is refused of a row after the change is refused of the one before it.
#[test]
fn refuses_before_bad_raw_value() {
    let mut cases = 0;
    for at in 0..table().columns.len() {
        let mut table = enveloped(Deletes::Keep);
        let case = table.before[at].clone();
        let plain = case.raw.data_type() == case.out.data_type() && case.raw != case.out;
        if !plain {
            continue;
        }
        table.before[at].out = Arc::clone(&case.raw);
        let passed = pass(&table);
        let places: Vec<(usize, Place)> =
            passed.refused().iter().map(|(row, refusal)| (*row, refusal.place)).collect();
        // Row 2 is the update that had the image; of its cell nothing is left raw.
        assert!(places.contains(&(2, Place::Before(at))), "{}: {places:?}", case.column.name);
        assert!(!places.iter().any(|(row, _)| [0, 1, 4].contains(row)), "{places:?}");
        cases += 1;
    }
    assert!(cases >= 8, "{cases}");
}

#[test]
fn refuses_before_bad_swap() {
    // Two columns of one type change places, and the images change places.
    let mut swapped = enveloped(Deletes::Keep);
    let (city, country) = (swapped.at("city"), swapped.at("country"));
    let out = Arc::clone(&swapped.before[city].out);
    swapped.before[city].out = Arc::clone(&swapped.before[country].out);
    swapped.before[country].out = out;
    let mut turned = enveloped(Deletes::Keep);
    for at in 0..turned.columns.len() {
        let out = Arc::clone(&turned.columns[at].out);
        turned.columns[at].out = Arc::clone(&turned.before[at].out);
        turned.before[at].out = out;
    }
    for table in [swapped, turned] {
        let refused: Vec<usize> = pass(&table).refused().iter().map(|(row, _)| *row).collect();
        assert!(refused.contains(&2), "{refused:?}");
    }
    assert!(pass(&enveloped(Deletes::Keep)).refused().is_empty());
}

#[test]
fn a_token_before_agrees_with_the_key_and_the_row() {
    let mut table = enveloped(Deletes::Keep);
    // A well-formed token of another value: only its neighbours can tell.
    let at = table.at("id");
    table.before[at].raw =
        Arc::new(Int64Array::from(vec![None, None, Some(7_340_012), None, None]));
    table.had[3] = None;
    let passed = pass(&table);
    let found: Vec<_> = passed.refused().iter().map(|(row, why)| (*row, why.reason)).collect();
    assert_eq!(found, [(2, RefusalReason::TokenDomain)]);
}

#[test]
fn an_image_that_does_not_cross_is_not_looked_at() {
    for (deletes, refused) in [(Deletes::Keep, vec![3]), (Deletes::Tombstone, vec![])] {
        let mut table = enveloped(deletes);
        let at = table.at("card");
        let out = with_cell(&table.before[at].out, 3, Some("4111111111111111"));
        table.before[at].out = out;
        let found: Vec<usize> = pass(&table).refused().iter().map(|(row, _)| *row).collect();
        assert_eq!(found, refused);
    }
}

#[test]
fn refuses_batch_bad_images() {
    let gate = |table: &Table| -> Gate { table.gate() };
    let whole = enveloped(Deletes::Keep);
    let mut none = whole.clone();
    none.before.clear();
    let state = Table { before: Vec::new(), changes: Changes::default(), ..whole.clone() };
    // Images for a release without, none for one with, one short, of another type, without flag.
    assert!(matches!(whole.through(&mut gate(&state)), Err(GateFault::Before { .. })));
    assert!(matches!(none.through(&mut gate(&whole)), Err(GateFault::Before { .. })));
    let mut short = whole.clone();
    short.before.pop();
    assert!(matches!(short.through(&mut gate(&whole)), Err(GateFault::ColumnCount { .. })));
    let mut other = whole.clone();
    let at = other.at("birth");
    other.before[at].out = texts([None; 5]);
    assert!(matches!(other.through(&mut gate(&whole)), Err(GateFault::ColumnArrow { .. })));
    let mut twice = whole.clone();
    twice.before[0].column.from = "other".into();
    assert!(matches!(twice.through(&mut gate(&whole)), Err(GateFault::RawMissing { .. })));
}
