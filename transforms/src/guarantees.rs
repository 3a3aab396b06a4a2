//! What a stage says that it keeps, held against what it does to generated values.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Int64Array, StringArray,
};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int32Type, Int64Type};
use douane_schemas::canonical;
use douane_schemas::leaf::{Leaf, LeafType};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, RngAlgorithm, TestRng, TestRunner};

use crate::conformance::{call, domains, keyring, stage};
use crate::{Guarantees, Stage};

/// Stages in which an option changes what is kept, and a type that they take.
const STAGES: &[(&str, LeafType)] = &[
    ("tokenize: { columns: [c], domain: customer }", LeafType::Text),
    ("tokenize: { columns: [c], domain: customer }", LeafType::Int64),
    ("tokenize: { columns: [c], domain: customer, on_bad: { constant: bad } }", LeafType::Date),
    ("fpe: { columns: [c], alphabet: alphanumeric, domain: phone }", LeafType::Text),
    (
        "fpe: { columns: [c], alphabet: alphanumeric, domain: phone, keep: { first: 3 } }",
        LeafType::Text,
    ),
    (
        "fpe: { columns: [c], alphabet: digits, domain: phone, on_bad: { constant: bad } }",
        LeafType::Text,
    ),
    ("mask: { columns: [c], keep: { last: 2 } }", LeafType::Text),
    ("redact: { columns: [c], constant: gone }", LeafType::Text),
    ("redact: { columns: [c], detectors: [email, phone] }", LeafType::Text),
    (
        "redact: { columns: [c], detectors: [phone], in_place: { phone: { tokenize: { domain: phone } } } }",
        LeafType::Text,
    ),
    ("generalize: { columns: [c], to: decade }", LeafType::Date),
    ("generalize: { columns: [c], to: year }", LeafType::Date),
    ("generalize: { columns: [c], to: quarter }", LeafType::Date),
    ("generalize: { columns: [c], to: month }", LeafType::Date),
    ("generalize: { columns: [c], to: week }", LeafType::Date),
    ("generalize: { columns: [c], to: age, as_of: 2026-01-01, bins: [18, 65] }", LeafType::Date),
    ("generalize: { columns: [c], bins: [0, 50000] }", LeafType::Int64),
    ("generalize: { columns: [c], round: 100 }", LeafType::Int64),
    ("generalize: { columns: [c], round: 10 }", LeafType::Decimal { precision: 12, scale: 2 }),
    ("generalize: { columns: [c], clamp: { low: 100, high: 9000 } }", LeafType::Int64),
    ("generalize: { columns: [c], clamp: { high: 9000, labels: true } }", LeafType::Int64),
    ("generalize: { columns: [c], prefix: 2 }", LeafType::Text),
    ("generalize: { columns: [c], prefix: 2, fill: '*' }", LeafType::Text),
    ("generalize: { columns: [c], map: { file: regions.csv }, on_bad: null }", LeafType::Text),
];

/// Values that the stages take, some of them twice, and null.
fn generated(leaf_type: LeafType) -> ArrayRef {
    let mut runner = TestRunner::new_with_rng(
        Runs::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]),
    );
    fn draw<T: std::fmt::Debug>(runner: &mut TestRunner, of: impl Strategy<Value = T>) -> Vec<T> {
        use proptest::strategy::ValueTree;
        (0..400).map(|_| of.new_tree(runner).unwrap().current()).collect()
    }
    fn twice<T: Clone>(values: Vec<T>) -> Vec<Option<T>> {
        let again = values.iter().take(100).cloned().collect::<Vec<_>>();
        values.into_iter().map(Some).chain([None]).chain(again.into_iter().map(Some)).collect()
    }
    match leaf_type {
        LeafType::Text => {
            let of = prop_oneof!["[a-z0-9]{8,20}", "[0-9]{7,12}", "[ab]{7,9}"];
            let mut texts = draw(&mut runner, of);
            texts.extend(["graz0000", "leoben00"].map(str::to_owned));
            Arc::new(StringArray::from(twice(texts)))
        }
        LeafType::Int64 => {
            Arc::new(Int64Array::from(twice(draw(&mut runner, -90_000..90_000_i64))))
        }
        LeafType::Date => {
            Arc::new(Date32Array::from(twice(draw(&mut runner, -20_000..20_000_i32))))
        }
        _ => {
            let cents = Decimal128Array::from(twice(draw(&mut runner, -900_000..900_000_i128)));
            Arc::new(cents.with_precision_and_scale(12, 2).unwrap())
        }
    }
}

fn made(yaml: &str) -> Stage {
    let mut stage = stage(yaml).unwrap_or_else(|fault| panic!("{yaml}: {fault}"));
    if let Stage::Generalize(config) = &mut stage
        && let Some(map) = &mut config.map
    {
        let regions = [("graz0000", "Styria"), ("leoben00", "Styria")];
        let regions = regions.map(|(a, b)| (a.to_owned(), b.to_owned()));
        map.regions = Arc::new(BTreeMap::from(regions));
    }
    stage
}

/// The first guarantee that a column of values and what became of it contradict.
fn broken(said: &Guarantees, before: &ArrayRef, after: &ArrayRef) -> Option<&'static str> {
    let rows = 0..before.len();
    let texts = |column: &ArrayRef| -> Vec<Option<String>> {
        rows.clone()
            .map(|row| {
                let mut out = String::new();
                let written =
                    column.is_valid(row) && canonical::write(column, row, &mut out).is_ok();
                written.then_some(out)
            })
            .collect()
    };
    let (from, to) = (texts(before), texts(after));
    let pairs = || rows.clone().flat_map(|a| rows.clone().map(move |b| (a, b)));
    if said.keeps_nulls && rows.clone().any(|row| before.is_null(row) && after.is_valid(row)) {
        return Some("nulls");
    }
    if said.deterministic && pairs().any(|(a, b)| from[a] == from[b] && to[a] != to[b]) {
        return Some("equal values");
    }
    if said.keeps_uniqueness && pairs().any(|(a, b)| from[a] != from[b] && to[a] == to[b]) {
        return Some("uniqueness");
    }
    let length = |text: &Option<String>| text.as_ref().map(|text| text.chars().count());
    if said.keeps_length && rows.clone().any(|row| length(&from[row]) != length(&to[row])) {
        return Some("length");
    }
    let less = |column: &ArrayRef, texts: &[Option<String>], a: usize, b: usize| {
        number(column, a).zip(number(column, b)).map_or(texts[a] < texts[b], |(a, b)| a < b)
    };
    let both = |a: usize, b: usize| from[a].is_some() && from[b].is_some();
    if said.keeps_order
        && pairs().any(|(a, b)| both(a, b) && less(before, &from, a, b) && less(after, &to, b, a))
    {
        return Some("order");
    }
    None
}

fn number(column: &ArrayRef, row: usize) -> Option<i128> {
    Some(match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Date32 => column.as_primitive::<Date32Type>().value(row).into(),
        DataType::Decimal128(_, _) => column.as_primitive::<Decimal128Type>().value(row),
        _ => return None,
    })
}

/// What the stage says of a leaf.
fn said(stage: &Stage, leaf_type: LeafType) -> Guarantees {
    let leaf = Leaf { path: "c".into(), leaf_type };
    stage.declare(&leaf, &domains()).unwrap().unwrap().keeps(stage.guarantees())
}

fn applied(stage: &Stage, leaf_type: LeafType) -> (ArrayRef, ArrayRef) {
    let leaf = Leaf { path: "c".into(), leaf_type };
    let before = generated(leaf_type);
    let function = stage.build(&leaf, &domains(), &keyring()).unwrap();
    let after = call(&function, Arc::clone(&before)).unwrap();
    (before, after)
}

#[test]
fn what_is_declared_holds_on_generated_values() {
    for (yaml, leaf_type) in STAGES {
        let stage = made(yaml);
        let (before, after) = applied(&stage, *leaf_type);
        assert_eq!(broken(&said(&stage, *leaf_type), &before, &after), None, "{yaml}");
    }
}

/// The control: whatever a stage does not say that it keeps, some value shows, or it should say so.
#[test]
fn control_a_guarantee_that_does_not_hold_is_found() {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for (yaml, leaf_type) in STAGES {
        let stage = made(yaml);
        let said = said(&stage, *leaf_type);
        let (before, after) = applied(&stage, *leaf_type);
        let none = Guarantees {
            deterministic: false,
            reversible_with_key: false,
            keeps_length: false,
            keeps_uniqueness: false,
            keeps_order: false,
            joinable: false,
            keeps_nulls: false,
        };
        let lies = [
            ("uniqueness", said.keeps_uniqueness, Guarantees { keeps_uniqueness: true, ..none }),
            ("length", said.keeps_length, Guarantees { keeps_length: true, ..none }),
            ("order", said.keeps_order, Guarantees { keeps_order: true, ..none }),
        ];
        for (what, _, lie) in lies.into_iter().filter(|(_, is_said, _)| !is_said) {
            if broken(&lie, &before, &after) == Some(what) {
                *found.entry(what).or_default() += 1;
            }
        }
    }
    for what in ["uniqueness", "length", "order"] {
        assert!(found.get(what).is_some_and(|times| *times >= 5), "{what}: {found:?}");
    }
}
