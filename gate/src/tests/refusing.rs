//! What does not cross. Every case starts from the table that passes, changes one thing, and must
//! be refused; the counts at the end keep the generators from going quiet.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal256Array, Int32Array, Int64Array, NullArray,
    RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::concat;
use arrow::datatypes::{
    DataType, Date32Type, Field, Int32Type, Schema, TimestampMicrosecondType, i256,
};
use douane_ledger::release::{Dictionary, InPlace, Release, Shape};
use douane_schemas::batch::Op;
use douane_schemas::canonical;

use super::fixture::{
    Case, DETECTORS, Table, batch, ids, leaf_type, raw, table, take_rows, target, texts, token,
    with_cell,
};
use crate::detectors::Detector;
use crate::{Crossing, Gate, GateFault, GateKeys, Place, RefusalReason, TransactionIds};

/// Counts cases; each is named when it fails.
#[derive(Default)]
struct Score {
    cases: usize,
    let_through: Vec<String>,
}

impl Score {
    fn count(&mut self, refused: bool, name: impl FnOnce() -> String) {
        self.cases += 1;
        if !refused {
            self.let_through.push(name());
        }
    }

    fn refused(&self) -> usize {
        self.cases - self.let_through.len()
    }

    fn all_refused(&self, cases_least: usize) {
        // Past the runner's capture: the count is a figure that people quote.
        let out = std::io::stdout();
        writeln!(out.lock(), "figure: gate.refused = {} of {} cases", self.refused(), self.cases)
            .unwrap();
        assert!(self.let_through.is_empty(), "let through: {:?}", self.let_through);
        assert!(self.cases >= cases_least, "{} cases, expected {cases_least}", self.cases);
    }
}

/// One cell of `array` replaced by one of another array of the same type.
fn with_cell_of(array: &ArrayRef, row: usize, other: &ArrayRef, from: usize) -> ArrayRef {
    let before = array.slice(0, row);
    let after = array.slice(row + 1, array.len() - row - 1);
    let cell = other.slice(from, 1);
    concat(&[before.as_ref(), cell.as_ref(), after.as_ref()]).unwrap()
}

fn text_of(array: &ArrayRef, row: usize) -> Option<String> {
    let mut text = String::new();
    array.is_valid(row).then(|| canonical::write(array, row, &mut text).map(|()| text).unwrap())
}

fn null_cell(array: &ArrayRef, row: usize) -> ArrayRef {
    with_cell_of(array, row, &new_null_array(array.data_type(), 1), 0)
}

// --- the batch as a whole ---------------------------------------------------------------------

type Change = Box<dyn Fn(&mut Parts)>;

/// The parts of a crossing, to be changed one by one.
struct Parts {
    columns: RecordBatch,
    keys: RecordBatch,
    raw: RecordBatch,
    table: Table,
    ids: TransactionIds,
}

fn stopped(gate: &mut Gate, change: &Change) -> bool {
    let table = table();
    let mut parts = Parts {
        columns: batch(&table.columns),
        keys: batch(&table.keys),
        raw: raw(&table),
        table,
        ids: ids(),
    };
    change(&mut parts);
    let crossing = Crossing {
        columns: &parts.columns,
        before: None,
        keys: &parts.keys,
        raw: &parts.raw,
        origins: &parts.table.origins,
        skip: &parts.table.skip,
        withdrawn: &parts.table.withdrawn,
    };
    gate.pass(crossing, parts.ids).is_err()
}

type Pick = fn(&mut Parts) -> &mut RecordBatch;

/// Rebuilds one batch from changed (field, array) pairs.
fn rebuild(pick: Pick, change: impl Fn(&mut Vec<(Field, ArrayRef)>) + 'static) -> Change {
    Box::new(move |parts| {
        let target = pick(parts);
        let fields = target.schema_ref().fields().iter().map(|f| f.as_ref().clone());
        let mut pairs: Vec<(Field, ArrayRef)> =
            fields.zip(target.columns().iter().cloned()).collect();
        change(&mut pairs);
        let (fields, arrays): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let rows = arrays.first().map_or(4, |array| array.len());
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::new(Schema::new(fields));
        *target = RecordBatch::try_new_with_options(schema, arrays, &options).unwrap();
    })
}

/// The same cells under another type where there is one, else nulls.
fn retyped(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8 => arrow::compute::cast(array, &DataType::LargeUtf8).unwrap(),
        DataType::Int32 => arrow::compute::cast(array, &DataType::Int64).unwrap(),
        _ => new_null_array(&DataType::Utf8, array.len()),
    }
}

fn schema_changes(pick: Pick, columns: usize, raw: bool) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for at in 0..columns {
        changes.push(rebuild(pick, move |pairs| {
            pairs.remove(at);
        }));
        changes.push(rebuild(pick, move |pairs| {
            let renamed = format!("{}_", pairs[at].0.name());
            pairs[at].0.set_name(renamed);
        }));
        changes.push(rebuild(pick, move |pairs| {
            pairs[at].1 = retyped(&pairs[at].1);
            let found = pairs[at].1.data_type().clone();
            pairs[at].0.set_data_type(found);
        }));
        changes.push(rebuild(pick, move |pairs| {
            let again = pairs[at].clone();
            pairs.insert(at, again);
        }));
        if raw {
            continue;
        }
        changes.push(rebuild(pick, move |pairs| {
            let upper = pairs[at].0.name().to_uppercase();
            pairs[at].0.set_name(upper);
        }));
        changes.push(rebuild(pick, move |pairs| {
            let extra = Field::new("extra", DataType::Null, true);
            pairs.insert(at, (extra, Arc::new(NullArray::new(4))));
        }));
        for other in at + 1..columns {
            changes.push(rebuild(pick, move |pairs| pairs.swap(at, other)));
        }
    }
    changes
}

#[test]
fn a_batch_that_is_not_the_releases() {
    let good = table();
    let mut gate = good.gate();
    let control: Change = Box::new(|_| ());
    assert!(!stopped(&mut gate, &control));

    let mut changes = schema_changes(|p| &mut p.columns, good.columns.len(), false);
    changes.extend(schema_changes(|p| &mut p.keys, good.keys.len(), false));
    changes.extend(schema_changes(|p| &mut p.raw, good.keys.len() + good.columns.len(), true));
    // A flag that says the column is never null, over a column without nulls.
    for pick in [(|p| &mut p.columns) as Pick, |p| &mut p.keys] {
        changes.push(rebuild(pick, |pairs| {
            let dense = new_dense(&pairs[0].1);
            pairs[0] = (pairs[0].0.clone().with_nullable(false), dense);
        }));
    }
    // Everything but the raw batch a row short, and the other way round.
    for pick in [(|p| &mut p.columns) as Pick, |p| &mut p.keys, |p| &mut p.raw] {
        changes.push(rebuild(pick, |pairs| {
            pairs.iter_mut().for_each(|(_, array)| *array = array.slice(0, 3));
        }));
        changes.push(rebuild(pick, |pairs| {
            pairs.iter_mut().for_each(|(_, array)| {
                *array = take_rows(array, &[0, 1, 2, 3, 0]);
            });
        }));
    }
    let parts: [fn(&mut Parts); 12] = [
        |p| p.table.origins.truncate(3),
        |p| p.table.origins.clear(),
        |p| p.table.origins.push(p.table.origins[0]),
        |p| p.table.origins[1] = p.table.origins[0],
        |p| p.table.origins[2].topic = 1,
        |p| p.table.origins[2].topic = u32::MAX,
        |p| p.table.origins[2].partition = -1,
        |p| p.table.origins[2].offset = -1,
        |p| p.table.skip.truncate(3),
        |p| p.table.skip.push(false),
        |p| p.table.skip.clear(),
        |p| p.table.withdrawn.truncate(3),
    ];
    changes.extend(parts.into_iter().map(|part| Box::new(part) as Change));
    for traceparent in [
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-00",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        "ada@example.com",
    ] {
        changes.push(Box::new(move |p| p.ids.traceparent = traceparent.to_owned()));
    }

    let mut score = Score::default();
    for (n, change) in changes.iter().enumerate() {
        score.count(stopped(&mut gate, change), || format!("batch change {n}"));
    }
    score.all_refused(400);
}

/// The column's first row, four times: a column without nulls.
fn new_dense(array: &ArrayRef) -> ArrayRef {
    take_rows(array, &[0, 0, 0, 0])
}

// --- single rows ------------------------------------------------------------------------------

/// Passes the table with the output of one column changed in row `row`: exactly that row must be
/// refused, and the others must not.
fn refuses_row(gate: &mut Gate, table: &Table, row: usize) -> bool {
    let passed = table.through(gate).unwrap();
    let rows: Vec<usize> = passed.refused().iter().map(|(row, _)| *row).collect();
    rows == [row] && passed.key_of(row).is_none()
}

/// Every way in which the cell of one text column is no longer what the release promised.
fn broken_texts(good: &str) -> Vec<String> {
    let mut broken = vec![
        format!("{good}x"),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\0"),
        format!("{good}{good}"),
        String::new(),
        good.chars().skip(1).collect(),
        good.chars().rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect(),
        good.chars().rev().collect(),
        good.to_uppercase(),
        good.to_lowercase(),
        "ada@example.com".into(),
        "4111111111111111".into(),
        "x".into(),
        "null".into(),
    ];
    broken.retain(|text| text != good);
    broken
}

#[test]
fn a_row_that_is_not_what_its_shape_says() {
    let good = table();
    let mut gate = good.gate();
    assert_eq!(good.through(&mut gate).unwrap().refused(), []);

    let mut score = Score::default();
    for (at, case) in good.columns.iter().enumerate() {
        let name = case.column.name.clone();
        for row in [0, 1] {
            let mut tried = Vec::new();
            if *case.out.data_type() == DataType::Utf8 {
                let cell = text_of(&case.out, row).unwrap();
                tried.extend(broken_texts(&cell));
                // Without token keys one well-formed token is as good as another (shapes.rs).
                let well_formed = |text: &String| match name.as_str() {
                    "email" => text.len() == 22 && text.bytes().all(|b| b.is_ascii_alphanumeric()),
                    "account" => text.len() == 39 && text.bytes().all(|b| b.is_ascii_digit()),
                    _ => false,
                };
                tried.retain(|text| !well_formed(text));
                // Identity in place of the protection; for a public column the good cell itself.
                tried.extend(text_of(&case.raw, row).filter(|raw| *raw != cell));
            }
            for text in tried {
                let mut table = good.clone();
                table.columns[at].out = with_cell(&case.out, row, Some(&text));
                let refused = refuses_row(&mut gate, &table, row);
                score.count(refused, || format!("{name}[{row}] = a text {text:?}"));
            }
            let mut table = good.clone();
            table.columns[at].out = null_cell(&case.out, row);
            // A constant may be null: it says no more than that there was a value, or was not.
            let constant = name == "name";
            let refused = refuses_row(&mut gate, &table, row);
            score.count(refused != constant, || format!("{name}[{row}] = null"));
        }
        // A value where the raw cell is null.
        let mut table = good.clone();
        table.columns[at].raw = null_cell(&case.raw, 1);
        let refused = refuses_row(&mut gate, &table, 1);
        let constant = name == "name";
        score.count(refused != constant, || format!("{name}: raw null"));
    }
    score.all_refused(400);
}

/// The raw leaf of any other column, or its protected value, in the place of a protected one.
#[test]
fn a_column_swapped_with_another_or_with_its_raw_one() {
    let good = table();
    let mut gate = good.gate();
    let mut score = Score::default();
    for (at, case) in good.columns.iter().enumerate() {
        for (from, other) in good.columns.iter().enumerate() {
            for (what, array) in [("raw", &other.raw), ("out", &other.out)] {
                if what == "out" && from == at {
                    continue;
                }
                let cell = if *case.out.data_type() == DataType::Utf8 {
                    text_of(array, 0).map(|text| texts([Some(&text)]))
                } else if array.data_type() == case.out.data_type() {
                    Some(array.slice(0, 1))
                } else {
                    None
                };
                let Some(cell) = cell else { continue };
                // The same cell is no swap: a public column and its own raw one, `[NAME]` twice.
                if text_of(&cell, 0) == text_of(&case.out, 0) {
                    continue;
                }
                let mut table = good.clone();
                table.columns[at].out = with_cell_of(&case.out, 0, &cell, 0);
                let refused = refuses_row(&mut gate, &table, 0);
                let name = || format!("{} <- {what} {}", case.column.name, other.column.name);
                score.count(refused, name);
            }
        }
    }
    score.all_refused(500);
}

/// Whole columns, all rows at once: what a wrong plan would bring.
#[test]
fn a_stage_replaced_by_identity_refuses_every_row() {
    let good = table();
    let mut gate = good.gate();
    let mut changed = 0;
    for (at, case) in good.columns.iter().enumerate() {
        let same_type = case.raw.data_type() == case.out.data_type();
        let identity = match case.out.data_type() {
            DataType::Utf8 => {
                let cells: Vec<Option<String>> = (0..4).map(|r| text_of(&case.raw, r)).collect();
                Arc::new(StringArray::from(cells)) as ArrayRef
            }
            _ if same_type => Arc::clone(&case.raw),
            _ => continue,
        };
        let mut table = good.clone();
        table.columns[at].out = identity;
        let passed = table.through(&mut gate).unwrap();
        let differs: Vec<usize> = (0..3)
            .filter(|row| text_of(&table.columns[at].out, *row) != text_of(&case.out, *row))
            .collect();
        let refused: Vec<usize> = passed.refused().iter().map(|(row, _)| *row).collect();
        assert_eq!(refused, differs, "{}", case.column.name);
        changed += usize::from(!differs.is_empty());
    }
    assert!(changed >= 13, "{changed}");
}

#[test]
fn a_value_of_the_right_type_but_not_of_its_raw_one() {
    let good = table();
    let mut gate = good.gate();
    let mut score = Score::default();
    let years = good.columns[good.at("birth")].out.as_primitive::<Int32Type>().clone();
    for delta in [-1, 1, 10, -1990, 8010] {
        let mut table = good.clone();
        let cells = [Some(years.value(0) + delta), Some(1969), Some(2000), None];
        table.at_mut("birth").out = Arc::new(Int32Array::from(cells.to_vec()));
        score.count(refuses_row(&mut gate, &table, 0), || format!("year {delta}"));
    }
    let days = good.columns[good.at("seen")].out.as_primitive::<Date32Type>().clone();
    for delta in [-1, 1, 365, i32::MAX - days.value(0)] {
        let mut table = good.clone();
        let cells = [Some(days.value(0) + delta), Some(-1), Some(19_782), None];
        table.at_mut("seen").out = Arc::new(Date32Array::from(cells.to_vec()));
        score.count(refuses_row(&mut gate, &table, 0), || format!("day {delta}"));
    }
    let hours =
        good.columns[good.at("updated")].out.as_primitive::<TimestampMicrosecondType>().clone();
    for delta in [-1, 1, 3_600_000_000, -3_600_000_000, 60_000_000] {
        let mut table = good.clone();
        let mut cells: Vec<Option<i64>> = hours.iter().collect();
        cells[0] = cells[0].map(|us| us + delta);
        table.at_mut("updated").out = Arc::new(TimestampMicrosecondArray::from(cells));
        score.count(refuses_row(&mut gate, &table, 0), || format!("hour {delta}"));
    }
    for column in ["balance", "income"] {
        for label in ["[0,100000)", "[100000,inf)", "[0,100)", "(-inf,inf)", "(-inf,0]", "-5"] {
            let mut table = good.clone();
            let case = table.at_mut(column);
            case.out = with_cell(&case.out, 0, Some(label));
            score.count(refuses_row(&mut gate, &table, 0), || format!("{column} {label}"));
        }
    }
    for month in ["2025-09", "2025-11", "2025-1", "2025-10-09", "10-2025", "2025-13", "0000-10"] {
        let mut table = good.clone();
        let case = table.at_mut("visited");
        case.out = with_cell(&case.out, 0, Some(month));
        score.count(refuses_row(&mut gate, &table, 0), || format!("month {month}"));
    }
    // The first and last instants that a 64-bit count has are PostgreSQL's infinities.
    for infinity in [i64::MIN, i64::MAX] {
        let mut table = good.clone();
        let mut cells: Vec<Option<i64>> = hours.iter().collect();
        cells[0] = Some(infinity);
        table.at_mut("updated").raw = Arc::new(TimestampMicrosecondArray::from(cells));
        score.count(refuses_row(&mut gate, &table, 0), || format!("infinity {infinity}"));
    }
    score.all_refused(35);
}

#[test]
fn tokens_of_another_form_or_range() {
    let good = table();
    let mut gate = good.gate();
    let base62_beyond = "7n42DGM5Tflk9n8mt7Fhc8";
    let decimal_beyond = "340282366920938463463374607431768211456";
    let cases = [
        // 26 characters, but the last one carries bits that no 128-bit token has.
        ("id", "aaaaaaaaaaaaaaaaaaaaaaaaab"),
        ("id", "AAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("id", "aaaaaaaaaaaaaaaaaaaaaaaaa1"),
        ("id", "aaaaaaaaaaaaaaaaaaaaaaaaa="),
        ("id", "aaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("email", base62_beyond),
        ("email", "zzzzzzzzzzzzzzzzzzzzzz"),
        ("email", "000000000000000000000-"),
        ("email", "00000000000000000000000"),
        ("email", "000000000000000000000é"),
        ("ref", "550e8400-e29b-41d4-a716-446655440000"),
        ("ref", "550e8400-e29b-81d4-c716-446655440000"),
        ("ref", "550e8400-e29b-81d4-0716-446655440000"),
        ("ref", "550E8400-e29b-81d4-a716-446655440000"),
        ("ref", "550e8400e29b81d4a716446655440000"),
        ("ref", "550e8400-e29b-81d4-a716-44665544000g"),
        ("account", decimal_beyond),
        ("account", "999999999999999999999999999999999999999"),
        ("account", "00000000000000000000000000000000000000"),
        ("account", "-00000000000000000000000000000000000001"),
        ("account", "00000000000000000000000000000000000000٣"),
    ];
    let mut score = Score::default();
    for (column, token) in cases {
        let mut table = good.clone();
        let case = table.at_mut(column);
        case.out = with_cell(&case.out, 0, Some(token));
        score.count(refuses_row(&mut gate, &table, 0), || format!("{column} {token}"));
    }
    score.all_refused(cases.len());

    // The controls: the largest tokens of both forms are tokens.
    for (column, token) in [
        ("email", "7n42DGM5Tflk9n8mt7Fhc7"),
        ("account", "340282366920938463463374607431768211455"),
        ("ref", "550e8400-e29b-81d4-a716-446655440000"),
    ] {
        let mut table = good.clone();
        let case = table.at_mut(column);
        case.out = with_cell(&case.out, 0, Some(token));
        assert_eq!(table.through(&mut gate).unwrap().refused(), [], "{column}");
    }
}

/// Raw values that have the shape of a token do not hide behind it.
#[test]
fn a_raw_value_that_looks_like_a_token() {
    let mut good = table();
    let disguise = "550e8400-e29b-81d4-a716-446655440000";
    good.at_mut("city").raw = with_cell(&good.columns[good.at("city")].raw, 0, Some(disguise));
    good.at_mut("city").out = good.at_mut("city").raw.clone();
    let mut gate = good.gate();
    assert_eq!(good.through(&mut gate).unwrap().refused(), []);
    let mut leak = good.clone();
    let case = leak.at_mut("ref");
    case.out = with_cell(&case.out, 0, Some(disguise));
    let passed = leak.through(&mut gate).unwrap();
    assert_eq!(passed.refused()[0].1.reason, RefusalReason::TokenIsRaw);
}

/// Nor does a number with as many digits as a decimal token has.
#[test]
fn a_raw_number_that_looks_like_a_token() {
    let mut good = table();
    let digits = "123456789012345678901234567890123456789";
    let cell = i256::from_string(digits);
    let raw: Decimal256Array = [cell, None, None, None].into_iter().collect();
    let case = good.at_mut("account");
    case.leaf_type = "decimal(39,0)".into();
    case.raw = Arc::new(raw.with_precision_and_scale(39, 0).unwrap());
    case.out = texts([Some(&token("decimal", "account", digits)), None, None, None]);
    let mut gate = good.gate();
    assert_eq!(good.through(&mut gate).unwrap().refused(), []);
    let case = good.at_mut("account");
    case.out = with_cell(&case.out, 0, Some(digits));
    let passed = good.through(&mut gate).unwrap();
    assert_eq!(passed.refused()[0].1.reason, RefusalReason::TokenIsRaw);
}

/// Tokens that the domain's key opens: the gate cannot, but knows what none of them looks like.
#[test]
fn reversible_tokens_of_another_shape_or_in_the_clear() {
    let mut good = table();
    let mut release = good.release();
    let at = good.at("ref");
    let (form, domain) = ("base64url".into(), "ref".into());
    release.columns[at].shape = Shape::Token { form, domain, pad_to: Some(16), key_per: None };
    let mut gate = super::fixture::gate(&release).unwrap();
    let print = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    // Whatever is enciphered looks like this; equal raw values, equal tokens.
    let raw = good.columns[at].raw.clone();
    let cells: Vec<Option<String>> = raw
        .as_string::<i32>()
        .iter()
        .map(|raw| raw.map(|raw| print(&[&[1], &[0x5a ^ raw.len() as u8; 32][..]].concat())))
        .collect();
    good.columns[at].out = Arc::new(StringArray::from(cells));
    assert_eq!(good.through(&mut gate).unwrap().refused(), []);

    let text = "a raw value text";
    good.columns[at].raw = with_cell(&raw, 0, Some(text));
    assert_eq!(good.through(&mut gate).unwrap().refused(), []);
    let clear = [&[1], &[0x77; 16][..], text.as_bytes()].concat();
    for (bytes, reason) in [
        (clear, RefusalReason::TokenIsRaw),
        (vec![1; 16], RefusalReason::Token),
        (vec![1; 48], RefusalReason::Token),
        (vec![0; 33], RefusalReason::Token),
        (text.as_bytes().to_vec(), RefusalReason::Token),
    ] {
        let mut bad = good.clone();
        bad.columns[at].out = with_cell(&good.columns[at].out, 0, Some(&print(&bytes)));
        let passed = bad.through(&mut gate).unwrap();
        assert_eq!(passed.refused()[0].1.reason, reason);
    }
}

#[test]
fn tokens_of_one_row_that_contradict_each_other() {
    let good = table();
    let mut gate = good.gate();
    let reason = |table: &Table, gate: &mut Gate| {
        let passed = table.through(gate).unwrap();
        passed.refused().iter().map(|(row, refusal)| (*row, refusal.reason)).collect::<Vec<_>>()
    };
    // The key's leaf and the column's are equal, so their tokens must be.
    let mut shifted = good.clone();
    shifted.at_mut("id").out = take_rows(&good.columns[0].out, &[1, 2, 0, 3]);
    let all = [0, 1, 2].map(|row| (row, RefusalReason::TokenDomain));
    assert_eq!(reason(&shifted, &mut gate), all);

    // One text under two domains is one column written twice.
    let mut release = good.release();
    let at = good.at("email");
    release.columns[at].shape = super::fixture::shape_token("base32", "customer_email");
    let mut gate = super::fixture::gate(&release).unwrap();
    let mut twice = good.clone();
    twice.columns[at].out = Arc::clone(&good.columns[0].out);
    assert_eq!(reason(&twice, &mut gate), all);
}

#[test]
fn keys_with_a_byte_too_many() {
    let good = table();
    let mut gate = good.gate();
    let mut score = Score::default();
    let case: &Case = &good.keys[0];
    for row in 0..4 {
        let cell = text_of(&case.out, row).unwrap();
        let mut tried = broken_texts(&cell);
        tried.push(text_of(&case.raw, row).unwrap());
        for text in tried {
            let mut table = good.clone();
            table.keys[0].out = with_cell(&case.out, row, Some(&text));
            score.count(refuses_row(&mut gate, &table, row), || format!("key[{row}] {text:?}"));
        }
        let mut table = good.clone();
        table.keys[0].out = null_cell(&case.out, row);
        score.count(refuses_row(&mut gate, &table, row), || format!("key[{row}] null"));
        let mut table = good.clone();
        table.keys[0].raw = null_cell(&case.raw, row);
        score.count(refuses_row(&mut gate, &table, row), || format!("key[{row}] raw null"));
        let mut table = good.clone();
        table.keys[0].out = null_cell(&case.out, row);
        table.keys[0].raw = null_cell(&case.raw, row);
        score.count(refuses_row(&mut gate, &table, row), || format!("key[{row}] both null"));
    }
    score.all_refused(50);
}

#[test]
fn public_texts_are_searched() {
    let good = table();
    let mut gate = good.gate();
    for (text, reason) in [
        ("write to ada@example.com", RefusalReason::Found(Detector::Email)),
        ("+49 151 12345678", RefusalReason::Found(Detector::Phone)),
        ("card 4111 1111 1111 1111", RefusalReason::Found(Detector::Card)),
        ("DE89 3704 0044 0532 0130 00", RefusalReason::Found(Detector::Iban)),
    ] {
        let mut table = good.clone();
        let case = table.at_mut("city");
        case.raw = with_cell(&case.raw, 0, Some(text));
        case.out = Arc::clone(&case.raw);
        let passed = table.through(&mut gate).unwrap();
        let [(0, refusal)] = passed.refused() else { panic!("{reason:?}") };
        assert_eq!(refusal.reason, reason);
        assert_eq!(gate.place_name(refusal.place), "city");
        assert!(refusal.code().starts_with("gate_found_"));
    }
    // Texts of a fixed syntax are not searched, they must have it.
    for (column, text) in [
        ("uid", "550e8400-e29b-41d4-a716-44665544000"),
        ("uid", "550e8400_e29b-41d4-a716-446655440000"),
        ("changed", "yesterday"),
        ("changed", "2025-10-09"),
        ("changed", "2025-10-09T08:53:20Z and more than that"),
        ("changed", "2025-10-09T08:53:20.000000000000000000000000000Z"),
    ] {
        let mut table = good.clone();
        let case = table.at_mut(column);
        case.raw = with_cell(&case.raw, 0, Some(text));
        case.out = Arc::clone(&case.raw);
        let passed = table.through(&mut gate).unwrap();
        assert_eq!(passed.refused()[0].1.reason, RefusalReason::Syntax, "{text}");
    }
    for (column, text) in [("changed", "infinity"), ("changed", "2025-10-09 08:53:20+02")] {
        let mut table = good.clone();
        let case = table.at_mut(column);
        case.raw = with_cell(&case.raw, 0, Some(text));
        case.out = Arc::clone(&case.raw);
        assert_eq!(table.through(&mut gate).unwrap().refused(), [], "{text}");
    }
}

#[test]
fn redaction_that_missed_something() {
    let good = table();
    for (detector, text) in DETECTORS.iter().zip([
        "ada@example.com",
        "+4915112345679",
        "4111111111111111",
        "DE89370400440532013000",
    ]) {
        let mut table = good.clone();
        let case = table.at_mut("notes");
        case.raw = with_cell(&case.raw, 0, Some(text));
        case.out = Arc::clone(&case.raw);
        let mut gate = good.gate();
        let passed = table.through(&mut gate).unwrap();
        assert!(passed.refused()[0].1.code().ends_with(detector), "{detector}");

        // Also where the release names another detector only: public text is searched for it.
        let mut release = good.release();
        let other = DETECTORS.iter().find(|d| d != &detector).unwrap();
        let at = good.at("notes");
        release.columns[at].shape = Shape::Redacted {
            detectors: vec![(*other).to_owned()],
            dictionaries: vec![],
            in_place: vec![],
        };
        let mut gate = super::fixture::gate(&release).unwrap();
        let passed = table.through(&mut gate).unwrap();
        assert!(passed.refused()[0].1.code().ends_with(detector), "{detector}");

        // The control: the override says that it remains.
        release.overrides[0].residual.push((*detector).to_owned());
        let mut gate = super::fixture::gate(&release).unwrap();
        // Row 0 passes now; the other rows were redacted of kinds that this release leaves alone.
        let passed = table.through(&mut gate).unwrap();
        assert!(passed.refused().iter().all(|(row, _)| *row != 0), "{detector}");
        // Of another column's override that says nothing.
        release.overrides[0].columns = vec!["name".into()];
        release.columns[at].class = "public".into();
        let path = release.columns[at].from.clone();
        release.leaves.iter_mut().filter(|leaf| leaf.path == path).for_each(|leaf| {
            leaf.class = "public".into();
        });
        let mut gate = super::fixture::gate(&release).unwrap();
        let passed = table.through(&mut gate).unwrap();
        assert_eq!(passed.refused()[0].0, 0, "{detector}");
    }
}

/// A token in base32 that nobody made.
const TOKEN: &str = "kfzbyk2l2nzpahrwr6ghj7bvqq";

fn in_place(domain: &str, most: Option<u32>) -> Shape {
    let token =
        Shape::Token { form: "base32".into(), domain: domain.into(), pad_to: None, key_per: None };
    let fpe = Shape::Fpe {
        alphabet: "0123456789".into(),
        keep_first: 0,
        keep_last: 0,
        separators: " -".into(),
        domain: "notes".into(),
        context: String::new(),
        length_min: 6,
        check_digit: None,
    };
    let place = |kind: &str, shape, most| InPlace { kind: kind.into(), shape, most };
    Shape::Redacted {
        detectors: DETECTORS.map(String::from).to_vec(),
        dictionaries: vec![Dictionary {
            name: "staff".into(),
            sha256: "ab".repeat(32),
            ignore_case: false,
            context: vec![],
        }],
        in_place: vec![place("email", token, most), place("card", fpe, None)],
    }
}

/// What was encrypted to a text of digits, by the gate's own key for finds.
fn opened(cipher: &str) -> String {
    let parameters = crate::twins::fpe::FpeParameters {
        alphabet: "0123456789",
        keep_first: 0,
        keep_last: 0,
        separators: " -",
        domain: "notes",
        context: "",
        length_min: 6,
        check_digit: None,
    };
    let fpe = crate::twins::fpe::Fpe::new(&parameters, &super::keys().ff1["notes"]).unwrap();
    fpe.opened(cipher).unwrap()
}

#[test]
fn pseudonyms_in_a_text_are_of_their_form_and_of_the_raw_text() {
    let good = table();
    let mut release = good.release();
    let at = good.at("notes");
    release.columns[at].shape = in_place("notes", None);
    let refused = |raw: &str, out: &str| {
        let mut table = good.clone();
        let case = table.at_mut("notes");
        case.raw = with_cell(&case.raw, 0, Some(raw));
        case.out = with_cell(&case.out, 0, Some(out));
        let mut gate = super::fixture::gate(&release).unwrap();
        let passed = table.through(&mut gate).unwrap();
        let first = passed.refused().iter().find(|(row, _)| *row == 0);
        first.map(|(_, refusal)| refusal.code())
    };
    // A card by its look: what was encrypted may look like one, as what stands for it may.
    let card = "4111 1111-1111 1111";
    let raw = format!("ada@example.com, x@y.de or Ada: {}!", opened(card));
    let out =
        |token: &str, card: &str| format!("[EMAIL:{token}], [EMAIL] or [STAFF]: [CARD:{card}]!");
    assert_eq!(refused(&raw, &out(TOKEN, card)), None);
    for (token, card, code) in [
        ("ada@example.com", card, "gate_redaction"),
        (&TOKEN[1..], card, "gate_redaction"),
        (TOKEN, "4111 1111-1111 1112", "gate_redaction"),
        (TOKEN, &*opened(card), "gate_redaction"),
        (TOKEN, "4111 1111", "gate_redaction"),
        (TOKEN, "none", "gate_redaction"),
    ] {
        assert_eq!(refused(&raw, &out(token, card)), Some(code), "{token} {card}");
    }
    let held = format!("{raw} {TOKEN}");
    let shown = format!("{} {TOKEN}", out(TOKEN, card));
    assert_eq!(refused(&held, &shown), Some("gate_token_is_raw"));
    // What stands beside is searched as ever.
    let beside = |text: &str| format!("{text} x@y.de");
    assert_eq!(refused(&beside(&raw), &beside(&out(TOKEN, card))), Some("gate_found_email"));
}

#[test]
fn releases_bad_domain_of_finds_that_a_column_has() {
    let good = table();
    let at = good.at("notes");
    let shared = |most: Option<u32>, limit: Option<u32>, columns: &[&str], domain: &str| {
        let mut release = good.release();
        let shape = &good.columns.iter().find_map(|case| match &case.column.shape {
            Shape::Token { domain, .. } => Some(domain.clone()),
            _ => None,
        });
        let of_a_column = shape.clone().unwrap();
        release.columns[at].shape = in_place(&of_a_column, most);
        let domain = if domain.is_empty() { of_a_column } else { domain.to_owned() };
        let mut named = release.overrides[0].clone();
        named.name = "asked".into();
        named.columns = columns.iter().map(|column| (*column).to_owned()).collect();
        (named.detectors, named.residual) = (vec![], vec![]);
        (named.share_domain, named.max_per_record) = (Some(domain), limit);
        release.overrides.push(named);
        release
    };
    let refused = |release: &Release| super::fixture::gate(release).is_err();
    let right = shared(Some(2), Some(2), &["notes"], "");
    assert!(!refused(&right));
    for wrong in [
        shared(None, Some(2), &["notes"], ""),
        shared(Some(2), None, &["notes"], ""),
        shared(Some(3), Some(2), &["notes"], ""),
        shared(Some(2), Some(2), &["notes", "name"], ""),
        shared(Some(2), Some(2), &["name"], ""),
        shared(Some(2), Some(2), &["notes"], "another"),
    ] {
        assert!(refused(&wrong));
    }
    // It lets nothing cross by itself.
    let mut alone = right.clone();
    alone.overrides.remove(0);
    assert!(refused(&alone));

    let mut table = good.clone();
    let case = table.at_mut("notes");
    case.raw = with_cell(&case.raw, 0, Some("a@b.de a@b.de a@b.de"));
    let text =
        |count: usize| format!("[EMAIL:{TOKEN}] ").repeat(count) + &"[EMAIL] ".repeat(3 - count);
    let mut codes = |count: usize| {
        let case = table.at_mut("notes");
        case.out = with_cell(&case.out, 0, Some(text(count).trim_end()));
        let mut gate = super::fixture::gate(&right).unwrap();
        let passed = table.through(&mut gate).unwrap();
        let first = passed.refused().iter().find(|(row, _)| *row == 0);
        first.map(|(_, refusal)| refusal.code())
    };
    assert_eq!(codes(2), None);
    assert_eq!(codes(3), Some("gate_too_many_finds"));
}

/// What opens doors never stays, whatever an override says; and redacted prose is no alarm.
#[test]
fn redacted_text_is_searched_as_public_text_is() {
    let good = table();
    let mut release = good.release();
    let at = good.at("notes");
    release.columns[at].shape = Shape::Redacted {
        detectors: vec!["person".into()],
        dictionaries: vec![],
        in_place: vec![],
    };
    let secrets = ["url_credentials", "api_key", "private_key"];
    release.overrides[0].residual = secrets.map(str::to_owned).to_vec();
    let refused = |text: &str| {
        let mut table = good.clone();
        let case = table.at_mut("notes");
        case.raw = with_cell(&case.raw, 0, Some(text));
        case.out = Arc::clone(&case.raw);
        let mut gate = super::fixture::gate(&release).unwrap();
        let passed = table.through(&mut gate).unwrap();
        let first = passed.refused().iter().find(|(row, _)| *row == 0);
        first.map(|(_, refusal)| refusal.code())
    };
    for (text, code) in [
        ("see https://ada:hunter2@localhost/x", "gate_found_url_credentials"),
        ("-----BEGIN RSA PRIVATE KEY-----", "gate_found_private_key"),
        ("AKIAIOSFODNN7EXAMPLE", "gate_found_api_key"),
        ("4111111111111111", "gate_found_card"),
    ] {
        assert_eq!(refused(text), Some(code), "{text}");
    }
    for text in [
        "",
        "[PERSON] called [PERSON], then [EMAIL] at [PHONE]",
        "Order 20260101-4711 of 2026-01-01 10:15:00 cost 1,299.00 EUR; 12345678901234 in stock",
        "see https://example.org/a?b=c or version 10.0.0.1, MAC 00:1b:44:11:3a:b7",
        "invoice DE 123456789, ticket #4915112345679, ref 550e8400-e29b-41d4-a716-446655440000",
        "@ada wrote: 5 + 49 is 54, see RFC 5322 (+1)",
    ] {
        assert_eq!(refused(text), None, "{text}");
    }
}

#[test]
fn columns_that_are_never_null() {
    let mut good = table();
    good.origins.truncate(3);
    good.skip.truncate(3);
    good.withdrawn.truncate(3);
    for case in good.columns.iter_mut().chain(&mut good.keys) {
        case.raw = case.raw.slice(0, 3);
        case.out = case.out.slice(0, 3);
    }
    let at = good.at("country");
    good.columns[at].column.nullable = false;
    let mut gate = good.gate();
    assert_eq!(good.through(&mut gate).unwrap().refused(), []);
    let mut loose = good.clone();
    loose.columns[at].column.nullable = true;
    assert!(matches!(
        loose.through(&mut gate),
        Err(GateFault::Nullability { found: true, expected: false, .. })
    ));
}

#[test]
fn rows_that_were_refused_before_are_not_looked_at() {
    let good = table();
    let mut gate = good.gate();
    let mut table = good.clone();
    table.columns[0].out = with_cell(&good.columns[0].out, 1, Some("7"));
    table.skip[1] = true;
    let passed = table.through(&mut gate).unwrap();
    assert_eq!(passed.refused(), []);
    assert_eq!(passed.records(), 3);
    assert_eq!(passed.key_of(1), None);
}

#[test]
fn value_columns_of_a_delete_do_not_cross() {
    let good = table();
    let mut gate = good.gate();
    let mut table = good.clone();
    // Row 3 is a delete. Whatever stands in its value columns is neither checked nor written.
    table.at_mut("city").out = with_cell(&good.columns[good.at("city")].out, 3, Some("Bonn"));
    let passed = table.through(&mut gate).unwrap();
    assert_eq!(passed.refused(), []);
    let delete: Vec<_> = passed.rows().filter(|row| row.value.is_none()).collect();
    assert_eq!(delete.len(), 1);
    assert_eq!(delete[0].key, passed.key_of(3));

    table.origins[3].op = Op::Create;
    let passed = table.through(&mut gate).unwrap();
    assert_eq!(passed.refused()[0].0, 3);
}

#[test]
fn records_too_large_are_refused_singly() {
    let good = table();
    let mut gate = good.gate();
    let whole = good.through(&mut gate).unwrap();
    assert_eq!(whole.refused(), []);
    let release = good.release();
    let mut target = target(&release);
    target.record_bytes_max = 4096;
    let mut gate = Gate::new(
        super::fixture::live(&release),
        target,
        super::fixture::keys(),
        "douane 0.1.0".into(),
    )
    .unwrap();
    assert_eq!(good.through(&mut gate).unwrap().refused(), []);
    let long = "ü".repeat(2_000);
    let mut table = good.clone();
    let case = table.at_mut("city");
    case.raw = with_cell(&case.raw, 0, Some(&long));
    case.out = Arc::clone(&case.raw);
    let passed = table.through(&mut gate).unwrap();
    let [(0, refusal)] = passed.refused() else { panic!("one row") };
    assert_eq!((refusal.reason, refusal.place), (RefusalReason::Oversize, Place::Record));
    assert_eq!(passed.key_of(0), None);
    assert_eq!(passed.records(), 3);
}

#[test]
fn one_transaction_beyond_the_releases_limits() {
    let good = table();
    let bytes = good.through(&mut good.gate()).unwrap().bytes();
    for (records, bytes_max, stops) in [
        (Some(4), None, false),
        (Some(3), None, true),
        (None, Some(bytes), false),
        (None, Some(bytes - 1), true),
    ] {
        let mut release = good.release();
        release.limits.records = records;
        release.limits.bytes = bytes_max;
        let mut gate = super::fixture::gate(&release).unwrap();
        assert_eq!(good.through(&mut gate).is_err(), stops, "{records:?} {bytes_max:?}");
    }
}

#[test]
fn tables_without_a_key_have_no_deletes() {
    let mut good = table();
    good.keys.clear();
    good.origins[3].op = Op::Tombstone;
    let mut gate = good.gate();
    let passed = good.through(&mut gate).unwrap();
    let [(3, refusal)] = passed.refused() else { panic!("the tombstone") };
    assert_eq!(refusal.reason, RefusalReason::KeyNull);
    assert!(passed.rows().all(|row| row.key.is_none() && row.value.is_some()));
}

/// A fault or refusal says nothing of the row.
#[test]
fn faults_and_refusals_hold_no_cell() {
    let good = table();
    let mut gate = good.gate();
    let mut table = good.clone();
    let case = table.at_mut("city");
    case.out = with_cell(&case.out, 0, Some("marker-4711"));
    let passed = table.through(&mut gate).unwrap();
    let shown = format!("{:?} {:?}", passed.refused(), passed.subjects());
    assert!(!shown.contains("marker") && !shown.contains("Köln"));
    let renamed = rebuild(
        |p| &mut p.columns,
        |pairs| {
            pairs[0].0.set_name("ada@example.com");
        },
    );
    let mut parts = Parts {
        columns: batch(&good.columns),
        keys: batch(&good.keys),
        raw: raw(&good),
        table: good.clone(),
        ids: ids(),
    };
    renamed(&mut parts);
    let mut renamed = good.clone();
    renamed.columns[0].column.name = "ada@example.com".into();
    let fault = renamed.through(&mut gate).err().unwrap();
    assert_eq!(fault, GateFault::ColumnName { part: "value", at: 0, expected: "id".into() });
    assert!(!fault.to_string().contains("ada@"));
}

/// Whole numbers of every width are held to their bins alike.
#[test]
fn integer_columns_of_every_width_have_bins() {
    for name in ["int16", "int32", "int64"] {
        let mut good = table();
        let at = good.at("balance");
        good.columns[at].leaf_type = name.into();
        let cells: ArrayRef = Arc::new(Int64Array::from(vec![Some(-5), Some(0), Some(9), None]));
        let cells = arrow::compute::cast(&cells, &leaf_type(name).arrow()).unwrap();
        good.columns[at].raw = cells;
        good.columns[at].out =
            texts([Some("(-inf,0)"), Some("[0,100000)"), Some("[0,100000)"), None]);
        let mut gate = good.gate();
        assert_eq!(good.through(&mut gate).unwrap().refused(), [], "{name}");
        let mut wrong = good.clone();
        wrong.columns[at].out = with_cell(&good.columns[at].out, 2, Some("[100000,inf)"));
        assert!(refuses_row(&mut gate, &wrong, 2), "{name}");
    }
}

#[test]
fn keys_of_another_domain_do_not_decrypt_the_twin() {
    let good = table();
    let release = good.release();
    let swapped = || {
        let mut keys: GateKeys = super::fixture::keys();
        let other = super::fixture::root().derive(douane_schemas::keys::Purpose::Ff1, "another");
        keys.ff1.insert("phone".into(), other);
        keys
    };
    let mut gate = Gate::new(
        super::fixture::live(&release),
        target(&release),
        swapped(),
        "douane 0.1.0".into(),
    )
    .unwrap();
    let passed = good.through(&mut gate).unwrap();
    let reasons: Vec<_> = passed.refused().iter().map(|(_, refusal)| refusal.reason).collect();
    assert_eq!(reasons, [RefusalReason::Fpe; 3]);
}
