//! Statistics of many rows: a batch is one window with every public group once, or nothing of it
//! crosses.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatchOptions;
use douane_ledger::release::{Column, OnBad, Release, Shape};
use douane_schemas::batch::{Op, Origin};

use super::fixture::{gate, ids, table};
use crate::passed::PassedRow;
use crate::{Crossing, GateFault, Passed};

const DAY: i64 = 86_400_000;

fn column(name: &str, from: &str, class: &str, column_type: &str, shape: Shape) -> Column {
    Column {
        name: name.into(),
        from: from.into(),
        column_type: column_type.into(),
        nullable: false,
        class: class.into(),
        shape,
        on_bad: OnBad::Refuse,
    }
}

fn noised(statistic: &str, from: &str) -> Shape {
    Shape::Noised { statistic: statistic.into(), from: vec![from.into()], dims: None }
}

/// The sums of `spent` as arrays of so many.
fn wide(mut release: Release, dims: u32) -> Release {
    let spent = &mut release.columns[4];
    spent.column_type = "array".into();
    let from = vec!["balance".into()];
    spent.shape = Shape::Noised { statistic: "vectors".into(), from, dims: Some(dims) };
    release
}

fn released() -> Release {
    let keys =
        |keys: &[&str]| Shape::Group { keys: keys.iter().map(|k| (*k).to_owned()).collect() };
    let mut release = table().release();
    release.key.clear();
    release.columns = vec![
        column(
            "window_start",
            "",
            "public",
            "timestamp",
            Shape::Window { from_ms: DAY, every_ms: 7 * DAY as u64 },
        ),
        column("country", "country", "public", "text", keys(&["AT", "DE"])),
        column("city", "city", "public", "text", keys(&["x", "y"])),
        column("people", "", "identifier", "int64", noised("units", "email")),
        column("spent", "", "sensitive", "int64", noised("sum", "balance")),
    ];
    release
}

/// What a batch holds, cell by cell.
struct Cells {
    windows: Vec<i64>,
    countries: Vec<&'static str>,
    cities: Vec<&'static str>,
    people: Vec<Option<i64>>,
    spent: Vec<i64>,
    /// Lengths of arrays that `spent` lies in, where it does.
    arrays: Option<Vec<usize>>,
    skip: Vec<bool>,
}

fn whole() -> Cells {
    Cells {
        windows: vec![8 * DAY; 4],
        countries: vec!["AT", "AT", "DE", "DE"],
        cities: vec!["x", "y", "x", "y"],
        people: vec![Some(3), Some(-4), Some(0), Some(9)],
        spent: vec![-12, 5, 0, 1 << 40],
        arrays: None,
        skip: vec![false; 4],
    }
}

fn through(release: &Release, cells: Cells) -> Result<Passed, GateFault> {
    let mut spent: ArrayRef = Arc::new(Int64Array::from(cells.spent));
    if let Some(lengths) = cells.arrays {
        let of = Arc::new(Field::new("item", DataType::Int64, false));
        spent = Arc::new(ListArray::new(of, OffsetBuffer::from_lengths(lengths), spent, None));
    }
    let arrays: Vec<(&str, ArrayRef)> = vec![
        ("window_start", Arc::new(TimestampMillisecondArray::from(cells.windows))),
        ("country", Arc::new(StringArray::from(cells.countries))),
        ("city", Arc::new(StringArray::from(cells.cities))),
        ("people", Arc::new(Int64Array::from(cells.people))),
        ("spent", spent),
    ];
    let nulls = arrays.iter().any(|(_, array)| array.null_count() > 0);
    let fields: Vec<Field> = arrays
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), nulls))
        .collect();
    let arrays: Vec<ArrayRef> = arrays.into_iter().map(|(_, array)| array).collect();
    let columns = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let rows = columns.num_rows();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let none =
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let origins: Vec<Origin> = (0..rows)
        .map(|row| Origin {
            topic: 0,
            partition: 0,
            offset: row as i64,
            timestamp_ms: 8 * DAY,
            op: Op::Create,
            schema_id: None,
        })
        .collect();
    let crossing = Crossing {
        columns: &columns,
        keys: &none,
        raw: &none,
        before: None,
        origins: &origins,
        skip: &cells.skip,
        withdrawn: &vec![false; rows],
    };
    gate(release)?.pass(crossing, ids())
}

#[test]
fn a_whole_window_crosses_in_the_order_of_the_public_keys() {
    let passed = through(&released(), whole()).unwrap();
    assert_eq!((passed.records(), passed.refused().len()), (4, 0));
}

/// An array leaves as one, in JSON and in Avro, and each has as many numbers as the release says.
#[test]
fn arrays_cross_as_arrays_of_the_released_length() {
    let of = |spent: Vec<i64>, lengths: &[usize]| Cells {
        spent,
        arrays: Some(lengths.to_vec()),
        ..whole()
    };
    let numbers: Vec<i64> = vec![1, -2, i64::MAX >> 1, 0, 3, 4, -5, 6];
    let mut release = wide(released(), 2);
    let passed = through(&release, of(numbers.clone(), &[2; 4])).unwrap();
    let row = passed.rows().nth(1).unwrap();
    let text = String::from_utf8(row.value.unwrap().to_vec()).unwrap();
    assert!(text.ends_with(r#""people":-4,"spent":[4611686018427387903,0]}"#), "{text}");

    release.target.format = "avro".into();
    let schema = crate::avro_schema(&release).unwrap();
    assert!(schema.contains(r#"{"items":"long","type":"array"}"#), "{schema}");
    let schema = apache_avro::Schema::parse_str(&schema).unwrap();
    let passed = through(&release, of(numbers, &[2; 4])).unwrap();
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
    let read = |row: PassedRow<'_>| reader.read_value(&mut &row.value.unwrap()[5..]).unwrap();
    let rows: Vec<_> = passed.rows().map(read).collect();
    let long = apache_avro::types::Value::Long;
    let apache_avro::types::Value::Record(fields) = &rows[3] else { panic!("a record") };
    assert_eq!(fields[4].1, apache_avro::types::Value::Array(vec![long(-5), long(6)]));

    let release = wide(released(), 2);
    for (what, cells) in [
        ("a longer one", of(vec![0; 9], &[2, 3, 2, 2])),
        ("shorter ones", of(vec![0; 4], &[1; 4])),
        ("beyond every bound", of(vec![i64::MIN, 0, 0, 0, 0, 0, 0, 0], &[2; 4])),
        ("no array", whole()),
    ] {
        assert!(through(&release, cells).is_err(), "{what}");
    }
    assert!(through(&released(), of(vec![0; 8], &[2; 4])).is_err(), "an array for a number");
    assert!(gate(&wide(released(), 0)).is_err(), "arrays of nothing");
    let mut typed = wide(released(), 2);
    typed.columns[4].column_type = "int64".into();
    assert!(gate(&typed).is_err(), "another type");
}

/// What stays out, comes twice or comes elsewhere would tell of the data.
#[test]
fn a_window_that_is_not_whole_stops_the_batch() {
    type Change = fn(&mut Cells);
    let cases: Vec<(&str, Change)> = vec![
        ("a group is left out", |c| c.skip[2] = true),
        ("a group twice", |c| c.cities = vec!["x", "x", "x", "y"]),
        ("another order", |c| c.countries = vec!["DE", "DE", "AT", "AT"]),
        ("a key that is not public", |c| c.countries = vec!["AT", "AT", "DE", "XX"]),
        ("two windows", |c| c.windows[3] = 15 * DAY),
        ("no window's start", |c| c.windows = vec![9 * DAY; 4]),
        ("before the first window", |c| c.windows = vec![-6 * DAY; 4]),
        ("a null", |c| c.people[1] = None),
        ("beyond every bound", |c| c.spent[0] = i64::MAX),
        ("fewer groups", |c| {
            c.windows.pop();
            c.countries.pop();
            c.cities.pop();
            c.people.pop();
            c.spent.pop();
            c.skip.pop();
        }),
    ];
    for (what, change) in cases {
        let mut cells = whole();
        change(&mut cells);
        assert!(through(&released(), cells).is_err(), "{what}");
    }
}

#[test]
fn what_a_release_may_say_of_statistics() {
    type Change = fn(&mut Release);
    let cases: Vec<(&str, bool, Change)> = vec![
        ("as it is", true, |_| {}),
        ("a row's column beside them", false, |r| {
            r.columns.push(column("x", "country", "public", "text", Shape::Public));
        }),
        ("a key", false, |r| r.key.push(r.columns[1].clone())),
        ("no window", false, |r| drop(r.columns.remove(0))),
        ("two windows", false, |r| {
            let mut second = r.columns[0].clone();
            second.name = "again".into();
            r.columns.push(second);
        }),
        ("windows without length", false, |r| {
            r.columns[0].shape = Shape::Window { from_ms: 0, every_ms: 0 };
        }),
        ("a list without keys", false, |r| r.columns[1].shape = Shape::Group { keys: vec![] }),
        ("another type", false, |r| r.columns[4].column_type = "float64".into()),
        ("nullable", false, |r| r.columns[4].nullable = true),
        ("another class than its leaf's", false, |r| r.columns[4].class = "public".into()),
        ("a leaf that is not there", false, |r| r.columns[4].shape = noised("sum", "gone")),
        ("an identifier in a sum", false, |r| r.columns[3].shape = noised("sum", "email")),
        ("free text in a sum", false, |r| {
            r.columns[4].shape = noised("sum", "notes");
            r.columns[4].class = "free_text".into();
        }),
    ];
    for (what, fits, change) in cases {
        let mut release = released();
        change(&mut release);
        assert_eq!(gate(&release).is_ok(), fits, "{what}");
    }
}

/// The same with groups that stand in the rows where their noised count is at least 40.
fn selecting() -> Release {
    let mut release = released();
    release.columns[1].shape = Shape::Selected { at_least: 40 };
    release.columns[2].shape = Shape::Selected { at_least: 40 };
    release
}

fn passing() -> Cells {
    Cells {
        countries: vec!["AT", "AT", "DE", "USA"],
        cities: vec!["y", "xx", "x", "x"],
        people: vec![Some(40), Some(300), Some(41), Some(40)],
        ..whole()
    }
}

#[test]
fn selected_groups_pass_the_threshold_each_once_and_in_order() {
    assert_eq!(through(&selecting(), passing()).unwrap().records(), 4);
    let none = Cells {
        windows: vec![],
        countries: vec![],
        cities: vec![],
        people: vec![],
        spent: vec![],
        arrays: None,
        skip: vec![],
    };
    assert_eq!(through(&selecting(), none).unwrap().records(), 0, "no group passes");
    type Change = fn(&mut Cells);
    let cases: Vec<(&str, Change)> = vec![
        ("one below the threshold", |c| c.people[2] = Some(39)),
        ("a group twice", |c| (c.countries[3], c.cities[3]) = ("DE", "x")),
        ("another order", |c| c.countries[0] = "DE"),
        ("longer keys first", |c| c.cities.swap(0, 1)),
        ("a key that is empty", |c| c.cities[0] = ""),
        ("a key that cannot be seen", |c| c.cities[0] = "\u{7}"),
        ("a group is left out", |c| c.skip[2] = true),
        ("two windows", |c| c.windows[3] = 15 * DAY),
        ("a null", |c| c.people[1] = None),
    ];
    for (what, change) in cases {
        let mut cells = passing();
        change(&mut cells);
        assert!(through(&selecting(), cells).is_err(), "{what}");
    }
    let cases: Vec<(&str, fn(&mut Release))> = vec![
        ("no count of units", |r| drop(r.columns.remove(3))),
        ("a public list beside it", |r| {
            r.columns[1].shape = Shape::Group { keys: vec!["x".into()] }
        }),
        ("two thresholds", |r| r.columns[1].shape = Shape::Selected { at_least: 41 }),
        ("no threshold", |r| {
            r.columns[1].shape = Shape::Selected { at_least: 0 };
            r.columns[2].shape = Shape::Selected { at_least: 0 };
        }),
        ("another class than its leaf's", |r| r.columns[1].class = "quasi".into()),
        ("keys that name somebody", |r| {
            r.columns[1].from = "email".into();
            r.columns[1].class = "identifier".into();
        }),
    ];
    assert!(gate(&selecting()).is_ok());
    for (what, change) in cases {
        let mut release = selecting();
        change(&mut release);
        assert!(gate(&release).is_err(), "{what}");
    }
}
