//! Columns that SQL computes, and rows that are withdrawn: what the gate holds without computing
//! anything once more.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use douane_ledger::release::{Column, OnBad, Override, Release, Shape};

use super::fixture::{batch, gate, ids, raw, table, texts};
use crate::detectors::Detector;
use crate::{Crossing, GateFault, Passed, Place, RefusalReason};

fn derived(class: &str, column_type: &str, from: &[&str]) -> Column {
    Column {
        name: "made".into(),
        from: String::new(),
        column_type: column_type.into(),
        nullable: true,
        class: class.into(),
        shape: Shape::Derived {
            from: from.iter().map(|path| (*path).to_owned()).collect(),
            expression: "as signed".into(),
        },
        on_bad: OnBad::Refuse,
    }
}

fn released(column: Column) -> Release {
    let mut release = table().release();
    release.columns.push(column);
    release
}

/// The table and one column more, through a gate of this release.
fn through(release: &Release, made: ArrayRef) -> Result<Passed, GateFault> {
    let table = table();
    let columns = batch(&table.columns);
    let mut fields: Vec<Field> =
        columns.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("made", made.data_type().clone(), true));
    let mut arrays = columns.columns().to_vec();
    arrays.push(made);
    let columns = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let crossing = Crossing {
        columns: &columns,
        keys: &batch(&table.keys),
        raw: &raw(&table),
        before: None,
        origins: &table.origins,
        skip: &table.skip,
        withdrawn: &table.withdrawn,
    };
    gate(release)?.pass(crossing, ids())
}

/// Why row 0 is refused whose derived text is this; the others hold nothing.
fn verdict(release: &Release, text: &str) -> Option<RefusalReason> {
    let passed = through(release, texts([Some(text), Some("b"), None, None])).unwrap();
    let refused: Vec<_> = passed.refused().iter().map(|(row, refusal)| (*row, *refusal)).collect();
    match refused[..] {
        [] => None,
        [(0, refusal)] => {
            assert_eq!(refusal.place, Place::Column(release.columns.len() - 1));
            Some(refusal.reason)
        }
        _ => panic!("other rows are refused: {refused:?}"),
    }
}

#[test]
fn a_derived_text_that_holds_a_raw_one_is_refused() {
    let release = released(derived("identifier", "text", &["city", "card"]));
    // What may stand in it.
    for good in [
        "",
        "Köln-1111",
        "************1111",
        "[NAME]",
        "DE",
        "Ähr",
        "(-inf,0)",
        "[0,100000)",
        // A public uuid may stand there; shorter than six characters says nothing.
        "Elm",
    ] {
        assert_eq!(verdict(&release, good), None, "{good}");
    }
    // Row 0's raw texts: as they are, in the middle, and in other letters.
    for (bad, reason) in [
        ("Ada Lovelace", RefusalReason::DerivedHoldsRaw),
        ("x ada lovelace y", RefusalReason::DerivedHoldsRaw),
        ("ADA LOVELACE", RefusalReason::DerivedHoldsRaw),
        ("ÄHRENWEG 5", RefusalReason::DerivedHoldsRaw),
        ("born 1990-05-17", RefusalReason::DerivedHoldsRaw),
        ("550e8400-e29b-41d4-a716-446655440000!", RefusalReason::DerivedHoldsRaw),
        // The last line looks first.
        ("ada@example.com", RefusalReason::Found(Detector::Email)),
        ("4111111111111111", RefusalReason::Found(Detector::Card)),
    ] {
        // `uid` is public and has the identifier's text: it hides nothing, `ref` does.
        assert_eq!(verdict(&release, bad), Some(reason), "{bad}");
    }
    // The control: another row's raw text is none of this row's.
    assert_eq!(verdict(&release, "Bo Diddley"), None);
    assert_eq!(verdict(&release, &"x".repeat(70_000)), Some(RefusalReason::DerivedTooLong));
}

#[test]
fn what_crosses_as_it_is_may_stand_in_a_derived_text() {
    // An identifier's number is looked for; a balance is not: a bin's label holds its bounds.
    let release = released(derived("public", "text", &["city"]));
    let seven = texts([None, None, Some("7340012"), None]);
    assert_eq!(through(&release, seven).unwrap().refused().len(), 1);
    let bound = texts([None, None, Some("from 100000"), None]);
    assert_eq!(through(&release, bound).unwrap().refused().len(), 0);
    // Sensitive text as it is: with its override, in a column that is made of it.
    let mut release = released(derived("sensitive", "text", &["street"]));
    let street = release.leaves.iter_mut().find(|leaf| leaf.path == "street").unwrap();
    street.class = "sensitive".into();
    release.columns.retain(|column| column.name != "street");
    let without = |release: &Release, text: &str| {
        let table = table();
        let at = table.at("street");
        let columns = batch(&table.columns);
        let keep: Vec<usize> = (0..columns.num_columns()).filter(|n| *n != at).collect();
        let columns = columns.project(&keep).unwrap();
        let mut fields: Vec<Field> =
            columns.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.push(Field::new("made", arrow::datatypes::DataType::Utf8, true));
        let mut arrays = columns.columns().to_vec();
        arrays.push(texts([Some(text), None, None, None]));
        let columns = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        let crossing = Crossing {
            columns: &columns,
            keys: &batch(&table.keys),
            raw: &raw(&table),
            before: None,
            origins: &table.origins,
            skip: &table.skip,
            withdrawn: &table.withdrawn,
        };
        gate(release).unwrap().pass(crossing, ids()).unwrap().refused().len()
    };
    assert_eq!(without(&release, "AEHREN, Ährenweg 5"), 1);
    release.overrides.push(Override {
        name: "streets".into(),
        columns: vec!["street".into()],
        detectors: Vec::new(),
        residual: Vec::new(),
        min_recall: "0".into(),
        scorecard: None,
        share_domain: None,
        max_per_record: None,
    });
    assert_eq!(without(&release, "AEHREN, Ährenweg 5"), 0);
}

#[test]
fn what_a_release_may_say_of_a_derived_column() {
    for (column, fits) in [
        (derived("public", "boolean", &["country"]), true),
        (derived("public", "int64", &[]), true),
        (derived("free_text", "int64", &["notes", "city"]), true),
        (derived("identifier", "boolean", &["email", "country"]), true),
        // The strictest class of its leaves, no other.
        (derived("public", "boolean", &["email"]), false),
        (derived("quasi", "boolean", &["country"]), false),
        (derived("identifier", "boolean", &["country"]), false),
        // Leaves that are not there, texts of free text, types that are none.
        (derived("public", "boolean", &["gone"]), false),
        (derived("free_text", "text", &["notes"]), false),
        (derived("public", "opaque", &["city"]), false),
        (derived("public", "nothing", &["city"]), false),
        (Column { nullable: false, ..derived("public", "boolean", &["city"]) }, false),
        (Column { from: "city".into(), ..derived("public", "boolean", &["city"]) }, false),
    ] {
        let shown = format!("{column:?}");
        assert_eq!(gate(&released(column)).is_ok(), fits, "{shown}");
    }
    for class in ["secret", "technical"] {
        let mut release = released(derived(class, "boolean", &["country"]));
        release.leaves.iter_mut().find(|leaf| leaf.path == "country").unwrap().class = class.into();
        assert!(gate(&release).is_err());
    }
    let mut key = table().release();
    key.key.push(derived("public", "text", &["city"]));
    assert!(gate(&key).is_err());
}

#[test]
fn a_derived_column_of_another_type_stops_the_batch() {
    let release = released(derived("public", "int64", &["city"]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), None]));
    let passed = through(&release, number).unwrap();
    assert_eq!((passed.refused().len(), passed.records()), (0, 4));
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("1"), None, None, None]));
    assert!(through(&release, text).is_err());
}

#[test]
fn a_withdrawn_row_crosses_as_a_tombstone_of_its_key() {
    let mut table = table();
    // Its values are no longer looked at: it has none outside.
    let city = table.at_mut("city");
    city.out = super::fixture::with_cell(&city.out, 0, Some("ada@example.com"));
    let mut gate = table.gate();
    assert_eq!(table.through(&mut gate).unwrap().refused().len(), 1);
    table.withdrawn[0] = true;
    let passed = table.through(&mut gate).unwrap();
    assert_eq!(passed.refused(), []);
    let tombstones = passed.rows().filter(|row| row.value.is_none()).count();
    assert_eq!((tombstones, passed.records()), (2, 4));
    assert!(passed.key_of(0).is_some());
    // Without a key nothing says what is withdrawn.
    table.keys.clear();
    table.skip[3] = true;
    let mut gate = table.gate();
    let passed = table.through(&mut gate).unwrap();
    let [(0, refusal)] = passed.refused() else { panic!("the withdrawn row") };
    assert_eq!(refusal.reason, RefusalReason::KeyNull);
    table.withdrawn.pop();
    assert!(table.through(&mut gate).is_err());
}
