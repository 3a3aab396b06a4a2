//! Every verb over every sort of bad value: what it takes, and what becomes of what it does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int64Array, StringArray};
use douane_schemas::leaf::{Leaf, LeafType};

use crate::conformance::{call, domains, fault, keyring, stage};
use crate::{OnBad, Stage};

/// A value, by the word that stands for it in the table.
fn value(word: &str) -> ArrayRef {
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    match word {
        "foreign" => text("12-34\u{1f600}56 x"),
        "short" => text("12"),
        "no number" => text("seven"),
        "digits" => text("4917012345678"),
        "empty" => text(""),
        "null" => Arc::new(StringArray::from(vec![None::<&str>])),
        "10 MiB" => text(&"7".repeat(10 << 20)),
        "10 MiB foreign" => text(&"\u{e9}".repeat(5 << 20)),
        "soon" => text("soon"),
        "infinity" => text("infinity"),
        "instant" => text("2025-10-09T08:53:20Z"),
        "far day" => Arc::new(Date32Array::from(vec![i32::MAX])),
        "day" => Arc::new(Date32Array::from(vec![7_441])),
        "day to come" => Arc::new(Date32Array::from(vec![50_000])),
        "largest" => Arc::new(Int64Array::from(vec![i64::MAX])),
        "least" => Arc::new(Int64Array::from(vec![i64::MIN])),
        other => panic!("{other}"),
    }
}

const TEXT: LeafType = LeafType::Text;

/// For each value the code of its refusal; `-`: it is taken.
type Outcomes = &'static [(&'static str, &'static str)];

/// A stage, the type of its leaf, and what becomes of values.
const TABLE: &[(&str, LeafType, Outcomes)] = &[
    (
        "tokenize: { columns: [c], domain: customer }",
        TEXT,
        &[
            ("foreign", "-"),
            ("short", "-"),
            ("empty", "-"),
            ("null", "-"),
            ("10 MiB", "-"),
            ("10 MiB foreign", "-"),
        ],
    ),
    (
        "tokenize: { columns: [c], domain: called }",
        TEXT,
        &[
            ("foreign", "unparsable"),
            ("short", "unparsable"),
            ("empty", "unparsable"),
            ("null", "-"),
            ("10 MiB", "unparsable"),
            ("10 MiB foreign", "unparsable"),
        ],
    ),
    (
        "tokenize: { columns: [c], domain: paid }",
        TEXT,
        &[
            ("foreign", "unparsable"),
            ("no number", "unparsable"),
            ("empty", "unparsable"),
            ("null", "-"),
            ("digits", "-"),
            ("10 MiB", "-"),
            ("10 MiB foreign", "unparsable"),
        ],
    ),
    (
        "tokenize: { columns: [c], domain: customer }",
        LeafType::Date,
        &[("day", "-"), ("far day", "out_of_range")],
    ),
    (
        "fpe: { columns: [c], alphabet: digits, domain: phone }",
        TEXT,
        &[
            ("foreign", "outside_alphabet"),
            ("short", "domain_too_small"),
            ("empty", "domain_too_small"),
            ("null", "-"),
            ("digits", "-"),
            ("no number", "outside_alphabet"),
            ("10 MiB", "too_long"),
            ("10 MiB foreign", "too_long"),
        ],
    ),
    (
        "fpe: { columns: [c], alphabet: digits, domain: phone, keep: { first: 3, last: 2 } }",
        TEXT,
        &[("short", "domain_too_small"), ("empty", "domain_too_small"), ("digits", "-")],
    ),
    (
        "mask: { columns: [c], keep: { last: 4 } }",
        TEXT,
        &[
            ("foreign", "-"),
            ("short", "-"),
            ("empty", "-"),
            ("null", "-"),
            ("10 MiB", "-"),
            ("10 MiB foreign", "-"),
        ],
    ),
    (
        "redact: { columns: [c], detectors: [email, phone, card, iban] }",
        TEXT,
        &[("foreign", "-"), ("short", "-"), ("empty", "-"), ("null", "-")],
    ),
    (
        "redact: { columns: [c], constant: gone }",
        TEXT,
        &[("foreign", "-"), ("empty", "-"), ("null", "-"), ("10 MiB", "-")],
    ),
    (
        "generalize: { columns: [c], to: year }",
        LeafType::Date,
        &[("day", "-"), ("far day", "out_of_range")],
    ),
    (
        "generalize: { columns: [c], to: quarter }",
        LeafType::Date,
        &[("day", "-"), ("far day", "out_of_range")],
    ),
    (
        "generalize: { columns: [c], to: week }",
        LeafType::ZonedTimestamp,
        &[
            ("instant", "-"),
            ("soon", "unparsable"),
            ("infinity", "out_of_range"),
            ("empty", "unparsable"),
            ("null", "-"),
            ("10 MiB", "unparsable"),
        ],
    ),
    (
        "generalize: { columns: [c], to: age, as_of: 2026-01-01, bins: [18, 65] }",
        LeafType::Date,
        &[("day", "-"), ("day to come", "out_of_range"), ("far day", "out_of_range")],
    ),
    (
        "generalize: { columns: [c], bins: [0, 100] }",
        TEXT,
        &[
            ("foreign", "unparsable"),
            ("no number", "unparsable"),
            ("digits", "-"),
            ("empty", "unparsable"),
            ("null", "-"),
            ("10 MiB", "-"),
            ("10 MiB foreign", "unparsable"),
        ],
    ),
    (
        "generalize: { columns: [c], round: 1000 }",
        LeafType::Int64,
        &[("largest", "out_of_range"), ("least", "out_of_range")],
    ),
    (
        "generalize: { columns: [c], round: 100, clamp: { low: 0, high: 1000 } }",
        LeafType::Int64,
        &[("largest", "-"), ("least", "-")],
    ),
    (
        "generalize: { columns: [c], prefix: 3, fill: '*' }",
        TEXT,
        &[
            ("foreign", "-"),
            ("short", "-"),
            ("empty", "-"),
            ("null", "-"),
            ("10 MiB", "-"),
            ("10 MiB foreign", "-"),
        ],
    ),
    (
        "generalize: { columns: [c], map: { file: regions.csv } }",
        TEXT,
        &[
            ("short", "-"),
            ("foreign", "unmapped"),
            ("empty", "unmapped"),
            ("null", "-"),
            ("10 MiB", "unmapped"),
        ],
    ),
];

fn made(yaml: &str) -> Stage {
    let mut stage = stage(yaml).unwrap_or_else(|fault| panic!("{yaml}: {fault}"));
    if let Stage::Generalize(config) = &mut stage
        && let Some(map) = &mut config.map
    {
        let regions = [("12", "one"), ("13", "one")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        map.regions = Arc::new(BTreeMap::from(regions));
    }
    stage
}

/// The stage with another `on_bad`; None for verbs that take every value.
fn with(stage: &Stage, outcome: &OnBad) -> Option<Stage> {
    let mut stage = stage.clone();
    match &mut stage {
        Stage::Tokenize(config) => config.on_bad = outcome.clone(),
        Stage::Fpe(config) => config.on_bad = outcome.clone(),
        Stage::Generalize(config) => config.on_bad = outcome.clone(),
        _ => return None,
    }
    Some(stage)
}

#[test]
fn every_bad_value_has_its_declared_outcome() {
    let mut refused = 0;
    for (yaml, leaf_type, values) in TABLE {
        let stage = made(yaml);
        let leaf = Leaf { path: "c".into(), leaf_type: *leaf_type };
        let may_fail = |stage: &Stage| {
            stage.declare(&leaf, &domains()).unwrap().is_some_and(|declared| declared.may_fail)
        };
        for (word, code) in *values {
            let what = format!("{yaml} on {word}");
            let column = value(word);
            let function = stage.build(&leaf, &domains(), &keyring()).unwrap();
            let out = call(&function, Arc::clone(&column));
            if *code == "-" {
                let out = out.unwrap_or_else(|_| panic!("{what}: refused"));
                assert_eq!(out.is_null(0), column.is_null(0), "{what}");
                continue;
            }
            refused += 1;
            let fault = out.err().as_ref().and_then(fault).map(|fault| fault.code());
            assert_eq!(fault, Some(*code), "{what}");
            assert!(may_fail(&stage), "{what}: not declared");
            for outcome in [OnBad::Null, OnBad::Constant("n/a".into())] {
                let lenient = with(&stage, &outcome).unwrap();
                let Ok(function) = lenient.build(&leaf, &domains(), &keyring()) else {
                    // A constant where the column is no text: refused before a record is read.
                    assert!(matches!(outcome, OnBad::Constant(_)), "{what}");
                    continue;
                };
                assert!(!may_fail(&lenient), "{what}");
                let out = call(&function, Arc::clone(&column)).unwrap();
                match &outcome {
                    OnBad::Constant(text) => {
                        assert_eq!(out.as_string::<i32>().value(0), text, "{what}")
                    }
                    _ => assert!(out.is_null(0), "{what}"),
                }
            }
        }
    }
    assert!(refused >= 30, "{refused}");
}
