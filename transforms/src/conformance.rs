//! One suite for every verb in [`crate::ALL`]: the documented example runs as it stands, through
//! the DataFusion function, on every leaf type that it takes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, new_empty_array, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use douane_schemas::keys::RootKey;
use douane_schemas::leaf::{Leaf, LeafType};
use saphyr_parser::{Event, Parser};

use crate::{ALL, Domains, Keyring, Stage, StageFault, TransformFault};

/// The next value of a flow of YAML events, as the config's JSON.
fn json<'a>(events: &mut impl Iterator<Item = Event<'a>>) -> Option<serde_json::Value> {
    use serde_json::Value as J;
    Some(match events.next().unwrap() {
        Event::Scalar(text, ..) => match &*text {
            "null" => J::Null,
            "true" => J::Bool(true),
            text => text.parse::<i64>().map_or_else(|_| J::String(text.to_owned()), J::from),
        },
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while let Some(item) = json(events) {
                items.push(item);
            }
            J::Array(items)
        }
        Event::MappingStart(..) => {
            let mut entries = serde_json::Map::new();
            while let Some(key) = json(events) {
                entries.insert(key.as_str().unwrap().to_owned(), json(events).unwrap());
            }
            J::Object(entries)
        }
        Event::SequenceEnd | Event::MappingEnd => return None,
        _ => return json(events),
    })
}

pub(crate) fn stage(yaml: &str) -> Result<Stage, serde_json::Error> {
    let mut events = Parser::new_from_str(yaml).map(|event| event.unwrap().0);
    serde_json::from_value(json(&mut events).unwrap())
}

pub(crate) fn domains() -> Domains {
    let of = r#"{"domains":{"customer":{},"phone":{},
        "called":{"normalize":"e164"},"paid":{"normalize":"decimal"}}}"#;
    serde_json::from_str(of).unwrap()
}

pub(crate) fn keyring() -> Keyring {
    Keyring::new(&RootKey::new([9; 32]))
}

pub(crate) fn call(function: &ScalarUDF, column: ArrayRef) -> Result<ArrayRef, DataFusionError> {
    let rows = column.len();
    let input = Arc::new(Field::new("c", column.data_type().clone(), true));
    let output = function.return_type(&[column.data_type().clone()])?;
    let args = ScalarFunctionArgs {
        args: vec![ColumnarValue::Array(column)],
        arg_fields: vec![input],
        number_rows: rows,
        return_field: Arc::new(Field::new("o", output, true)),
        config_options: Arc::default(),
    };
    function.invoke_with_args(args)?.into_array(rows)
}

pub(crate) fn fault(error: &DataFusionError) -> Option<TransformFault> {
    match error {
        DataFusionError::External(source) => source.downcast_ref::<TransformFault>().copied(),
        _ => None,
    }
}

fn leaf_types() -> Vec<LeafType> {
    let mut types: Vec<LeafType> = LeafType::names().map(|name| name.parse().unwrap()).collect();
    types.push(LeafType::Decimal { precision: 10, scale: 2 });
    types.push(LeafType::Decimal { precision: 60, scale: 2 });
    types
}

/// Values that every verb's example takes: long numbers, which casts turn into the other types.
fn values(leaf_type: LeafType) -> ArrayRef {
    let texts: ArrayRef = match leaf_type {
        LeafType::ZonedTimestamp => {
            Arc::new(StringArray::from(vec!["2025-10-09T08:53:20Z", "1999-12-31T23:00:00+02:00"]))
        }
        LeafType::Int16 => Arc::new(StringArray::from(vec!["12345", "32001"])),
        _ => Arc::new(StringArray::from(vec!["734001212", "234567890"])),
    };
    match leaf_type.arrow() {
        DataType::Date32 | DataType::Time32(_) => {
            let days: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![7340, -123]));
            let days = if leaf_type == LeafType::Date {
                days
            } else {
                cast(&texts, &DataType::Int32).unwrap()
            };
            let days = match leaf_type {
                LeafType::Date => days,
                _ => Arc::new(arrow::array::Int32Array::from(vec![7340, 123])),
            };
            cast(&days, &leaf_type.arrow()).unwrap()
        }
        DataType::Boolean => Arc::new(arrow::array::BooleanArray::from(vec![true, false])),
        DataType::Utf8 => texts,
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => {
            let short: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![7340012, 42]));
            cast(&short, &leaf_type.arrow()).unwrap()
        }
        DataType::Binary => cast(&texts, &DataType::Binary).unwrap(),
        DataType::Time64(_) | DataType::Timestamp(_, _) => {
            let whole = cast(&texts, &DataType::Int64).unwrap();
            cast(&whole, &leaf_type.arrow()).unwrap()
        }
        other => cast(&texts, &other).unwrap(),
    }
}

/// The verbs that make one column of one leaf; `sql` has tests of its own.
fn of_leaves() -> impl Iterator<Item = &'static crate::Declaration> {
    ALL.iter().copied().filter(|declaration| declaration.verb != "sql")
}

#[test]
fn every_example_runs_on_every_type_it_takes() {
    let mut ran = 0;
    for declaration in of_leaves() {
        let stage = stage(declaration.example_yaml).unwrap();
        assert_eq!(stage.verb(), declaration.verb);
        assert!(!stage.columns().is_empty());
        let mut taken = 0;
        for leaf_type in leaf_types() {
            let leaf = Leaf { path: stage.columns()[0].clone(), leaf_type };
            let Ok(declared) = stage.declare(&leaf, &domains()) else {
                assert!(stage.build(&leaf, &domains(), &keyring()).is_err());
                continue;
            };
            taken += 1;
            let Some(declared) = declared else { continue };
            // Declared types read back from the release.
            let plain = serde_json::to_value(&declared.produces).unwrap();
            assert_eq!(
                serde_json::from_value::<crate::Produces>(plain).unwrap(),
                declared.produces
            );
            let function = stage.build(&leaf, &domains(), &keyring()).unwrap();
            let output = declared.output.arrow();
            let input = leaf_type.arrow();
            assert_eq!(function.return_type(std::slice::from_ref(&input)).unwrap(), output);

            let some = values(leaf_type);
            let with_null = concat(&[&some, &new_null_array(&input, 1), &some]).unwrap();
            if leaf_type == LeafType::Int16 && declaration.verb == "fpe" {
                // Five digits are fewer than 10^6 values.
                let error = call(&function, some).unwrap_err();
                assert_eq!(fault(&error), Some(TransformFault::DomainTooSmall));
                continue;
            }
            let out = call(&function, with_null.clone()).unwrap();
            assert_eq!(out.data_type(), &output, "{} {leaf_type}", declaration.verb);
            assert_eq!(out.len(), with_null.len());
            assert_eq!(declaration.guarantees.keeps_nulls, out.is_null(2));
            assert_eq!(out.null_count(), 1);

            // Deterministic: again, and by a function built again.
            assert!(declaration.guarantees.deterministic);
            let again = stage.build(&leaf, &domains(), &keyring()).unwrap();
            assert!(again == function);
            assert!(call(&again, with_null.clone()).unwrap().to_data() == out.to_data());
            // Equal inputs, equal outputs.
            assert!(out.slice(0, 2).to_data() == out.slice(3, 2).to_data());

            // Sliced, empty and all-null columns.
            let sliced = call(&function, with_null.slice(1, 3)).unwrap();
            assert!(sliced.to_data() == out.slice(1, 3).to_data());
            let empty = call(&function, new_empty_array(&input)).unwrap();
            assert_eq!((empty.len(), empty.data_type()), (0, &output));
            let nulls = call(&function, new_null_array(&input, 3)).unwrap();
            assert_eq!((nulls.null_count(), nulls.data_type()), (3, &output));
            ran += 1;
        }
        assert!(taken > 0, "{} takes no type", declaration.verb);
    }
    assert!(ran > 30, "{ran}");
}

#[test]
fn every_verb_refuses_unknown_keys_and_some_use() {
    for declaration in of_leaves() {
        let yaml = declaration.example_yaml.replacen("columns:", "colums: [x], columns:", 1);
        assert!(stage(&yaml).is_err(), "{yaml}");
        let yaml = declaration.example_yaml.replacen(declaration.verb, "hash", 1);
        assert!(stage(&yaml).is_err(), "{yaml}");
    }
    let opaque = Leaf { path: "c".into(), leaf_type: LeafType::Opaque };
    for declaration in of_leaves() {
        let stage = stage(declaration.example_yaml).unwrap();
        let refusal = stage.build(&opaque, &domains(), &keyring()).err();
        match declaration.verb {
            "drop" => assert_eq!(refusal, Some(StageFault::NoFunction("drop"))),
            _ => assert!(matches!(refusal, Some(StageFault::LeafType { .. }))),
        }
    }
}

#[test]
fn verbs_are_listed_once_and_described() {
    for (i, declaration) in ALL.iter().enumerate() {
        assert!(ALL[..i].iter().all(|other| other.verb != declaration.verb));
        assert!(declaration.semantics >= 1 && !declaration.summary.is_empty());
    }
}

#[test]
fn functions_differ_where_config_or_key_differs() {
    let leaf = Leaf { path: "id".into(), leaf_type: LeafType::Int64 };
    let build = |yaml: &str, root| {
        let keyring = Keyring::new(&RootKey::new([root; 32]));
        stage(yaml).unwrap().build(&leaf, &domains(), &keyring).unwrap()
    };
    let one = build("tokenize: { columns: [id], domain: customer }", 1);
    assert!(one == build("tokenize: { columns: [id], domain: customer }", 1));
    assert!(one != build("tokenize: { columns: [id], domain: customer }", 2));
    assert!(one != build("tokenize: { columns: [id], domain: phone }", 1));
}

/// A fault says its code and nothing of the row, through an expression over a batch.
#[test]
fn faults_hold_no_cell() {
    let stage =
        stage("fpe: { columns: [phone], alphabet: digits, domain: phone, keep: { first: 3 } }")
            .unwrap();
    let leaf = Leaf { path: "phone".into(), leaf_type: LeafType::Text };
    let function = stage.build(&leaf, &domains(), &keyring()).unwrap();
    let column: ArrayRef = Arc::new(StringArray::from(vec!["+4915112345678", "secret-marker"]));
    let error = call(&function, column).unwrap_err();
    assert_eq!(fault(&error), Some(TransformFault::OutsideAlphabet));
    for shown in [error.to_string(), format!("{error:?}"), format!("{function:?}")] {
        assert!(!shown.contains("marker"), "{shown}");
    }
}

/// Two columns of one batch, through physical expressions as the run loop uses them.
#[test]
fn runs_as_a_physical_expression() {
    use datafusion_common::ToDFSchema;
    use datafusion_expr::col;
    use datafusion_expr::execution_props::ExecutionProps;
    use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
    use datafusion_physical_expr::create_physical_expr;

    let stage = stage("tokenize: { columns: [id], domain: customer }").unwrap();
    let leaf = Leaf { path: "id".into(), leaf_type: LeafType::Int64 };
    let function = stage.build(&leaf, &domains(), &keyring()).unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    let rows = values(LeafType::Int64);
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(&rows)]).unwrap();
    let plan = function.call(vec![col("id")]);
    let df_schema = schema.to_dfschema().unwrap();
    let expr = create_physical_expr(
        &plan,
        &df_schema,
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )
    .unwrap();
    let out = expr.evaluate(&batch).unwrap().into_array(2).unwrap();
    assert!(out.to_data() == call(&function, rows).unwrap().to_data());
}

#[test]
fn the_schema_of_a_stage_is_closed() {
    let schema = serde_json::to_string(&schemars::schema_for!(Stage)).unwrap();
    for declaration in ALL {
        assert!(schema.contains(&format!("\"{}\"", declaration.verb)));
    }
    // Each verb and its config (`sql` is a text); `keep`, the custom alphabet, the check digit,
    // `clamp`, `map`, the constant of `on_bad`, and two verbs in place with their configs.
    assert_eq!(schema.matches("\"additionalProperties\":false").count(), 2 * ALL.len() - 1 + 10);
}
