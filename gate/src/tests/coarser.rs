//! Coarser values and what stands for bad ones: taken where they are right, refused where they are
//! not, and never in the place of each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array};
use arrow::compute::concat;
use douane_ledger::release::{OnBad, Shape};

use super::fixture::{Case, Table, column, gate, shape_bins, shape_fpe, table, texts};
use crate::{Place, RefusalReason};

/// 1990-05-17, 1969-12-31, 2000-02-29.
fn births() -> ArrayRef {
    Arc::new(Date32Array::from(vec![Some(7_441), Some(-1), Some(11_016), None]))
}

fn amounts() -> ArrayRef {
    Arc::new(Int64Array::from(vec![Some(-250), Some(149), Some(150), None]))
}

fn whole(cells: [Option<i64>; 4]) -> ArrayRef {
    Arc::new(Int64Array::from(cells.to_vec()))
}

fn years(cells: [Option<i32>; 4]) -> ArrayRef {
    Arc::new(Int32Array::from(cells.to_vec()))
}

fn cents(cells: [Option<i128>; 4]) -> ArrayRef {
    let cells = Decimal128Array::from(cells.to_vec());
    Arc::new(cells.with_precision_and_scale(10, 2).unwrap())
}

fn coded(round: Option<&str>, low: Option<&str>, labels: bool) -> Shape {
    let text = |text: Option<&str>| text.map(str::to_owned);
    Shape::Coded { round: text(round), low: text(low), high: None, labels }
}

fn region() -> Shape {
    let regions = [("Graz", "Styria"), ("Leoben", "Styria"), ("Wien", "Vienna")];
    let regions: BTreeMap<String, String> =
        regions.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    Shape::Region { regions }
}

fn age() -> Shape {
    let labels = ["[0,18)", "[18,65)", "[65,inf)"].map(str::to_owned).to_vec();
    Shape::Age { as_of: "2026-01-01".into(), labels }
}

/// Name, shape, types of leaf and column, raw cells, what must cross, and a wrong first cell.
type Coarse = (&'static str, Shape, &'static str, &'static str, ArrayRef, ArrayRef, ArrayRef);

fn coarse() -> Vec<Coarse> {
    let (quarters, weeks) = (
        [Some("1990-Q2"), Some("1969-Q4"), Some("2000-Q1"), None],
        [Some("1990-W20"), Some("1970-W01"), Some("2000-W09"), None],
    );
    let ages = [Some("[18,65)"), Some("[18,65)"), Some("[18,65)"), None];
    let labels = [Some("<0"), Some("149"), Some("150"), None];
    let zips = [Some("8010"), Some("80"), Some(""), None];
    let filled = [Some("80**"), Some("80"), Some(""), None];
    let places = [Some("Leoben"), Some("Wien"), Some("Graz"), None];
    let regions = [Some("Styria"), Some("Vienna"), Some("Styria"), None];
    let one = |text: &str| -> ArrayRef { texts([Some(text)]) };
    let prefix = Shape::Prefix { length: 2, fill: Some('*') };
    vec![
        (
            "decade",
            Shape::Decade,
            "date",
            "int32",
            births(),
            years([Some(1990), Some(1960), Some(2000), None]),
            Arc::new(Int32Array::from(vec![1980])),
        ),
        ("quarter", Shape::Quarter, "date", "text", births(), texts(quarters), one("1990-Q3")),
        ("week", Shape::Week, "date", "text", births(), texts(weeks), one("1990-W21")),
        ("age", age(), "date", "text", births(), texts(ages), one("[0,18)")),
        (
            "rounded",
            coded(Some("100"), None, false),
            "int64",
            "int64",
            amounts(),
            whole([Some(-200), Some(100), Some(200), None]),
            Arc::new(Int64Array::from(vec![-300])),
        ),
        (
            "price",
            coded(Some("0.1"), None, false),
            "decimal(10,2)",
            "decimal(10,2)",
            cents([Some(1985), Some(1995), Some(-5), None]),
            cents([Some(1980), Some(2000), Some(0), None]),
            cents([Some(1990), None, None, None]).slice(0, 1),
        ),
        ("zip", prefix, "text", "text", texts(zips), texts(filled), one("801*")),
        ("region", region(), "text", "text", texts(places), texts(regions), one("Vienna")),
        (
            "labelled",
            coded(Some("2"), Some("0"), true),
            "int64",
            "text",
            whole([Some(-1), Some(149), Some(151), None]),
            texts([Some("<0"), Some("148"), Some("152"), None]),
            one("0"),
        ),
        (
            "bounded",
            coded(None, Some("0"), true),
            "int64",
            "text",
            amounts(),
            texts(labels),
            one("-250"),
        ),
    ]
}

fn with(case: &Coarse) -> Table {
    let (name, shape, leaf_type, column_type, raw, out, _) = case.clone();
    // Bounds alone serve a public column only.
    let class = if name == "bounded" { "public" } else { "quasi" };
    let mut table = table();
    let column = column(name, class, column_type, shape);
    table.columns.push(Case { column, leaf_type: leaf_type.into(), raw, out });
    table
}

fn refusals(table: &Table) -> Vec<(usize, RefusalReason)> {
    let mut gate = gate(&table.release()).unwrap();
    let passed = table.through(&mut gate).unwrap();
    let last = Place::Column(table.columns.len() - 1);
    let here = |(row, refusal): &(usize, crate::GateRefusal)| {
        assert_eq!(refusal.place, last, "row {row}");
        (*row, refusal.reason)
    };
    passed.refused().iter().map(here).collect()
}

#[test]
fn what_is_right_crosses_and_what_is_wrong_does_not() {
    for case in &coarse() {
        let mut table = with(case);
        assert_eq!(refusals(&table), [], "{}", case.0);
        let last = table.columns.last_mut().unwrap();
        last.out = concat(&[case.6.as_ref(), last.out.slice(1, 3).as_ref()]).unwrap();
        let found = refusals(&table);
        assert!(matches!(found[..], [(0, _)]), "{}: {found:?}", case.0);
    }
}

#[test]
fn bounds_alone_are_no_generalisation() {
    let all = coarse();
    let bounded = all.iter().find(|case| case.0 == "bounded").unwrap();
    let mut table = with(bounded);
    for class in ["quasi", "sensitive", "identifier"] {
        table.columns.last_mut().unwrap().column.class = class.into();
        assert!(gate(&table.release()).is_err(), "{class}");
    }
}

/// A number between its bounds, or a multiple of the unit, crosses as it is.
#[test]
fn rounded_and_bounded_are_no_protection_of_special() {
    let all = coarse();
    for (name, class, fits) in [
        ("rounded", "special", false),
        ("price", "special", false),
        ("labelled", "special", false),
        ("bounded", "special", false),
        ("bounded", "sensitive", true),
        ("rounded", "sensitive", true),
        // The control: another coarse shape, by the same override.
        ("week", "special", true),
    ] {
        let mut table = with(all.iter().find(|case| case.0 == name).unwrap());
        table.columns.last_mut().unwrap().column.class = class.into();
        let mut release = table.release();
        assert!(gate(&release).is_err(), "{class} {name}, not overridden");
        release.overrides[0].columns.push(name.into());
        assert_eq!(gate(&release).is_ok(), fits, "{class} {name}");
    }
}

/// Shapes that contradict themselves, or that nothing makes coarser.
#[test]
fn shapes_bad_numbers_bad_regions_bad_ages() {
    let all = coarse();
    let of = |name: &str| all.iter().find(|case| case.0 == name).unwrap();
    let one = |place: &str| [(place.to_owned(), place.to_owned())].into();
    let all_but_one_as_they_are: BTreeMap<String, String> =
        [("Graz", "Graz"), ("Wien", "Wien"), ("Linz", "x"), ("Leoben", "x")]
            .map(|(place, region)| (place.to_owned(), region.to_owned()))
            .into();
    for (name, shape) in [
        ("rounded", coded(None, None, false)),
        ("rounded", coded(Some("1"), None, false)),
        ("rounded", coded(Some("0.5"), None, false)),
        ("rounded", coded(Some("x"), None, false)),
        ("region", Shape::Region { regions: BTreeMap::new() }),
        ("region", Shape::Region { regions: one("Graz") }),
        ("region", Shape::Region { regions: all_but_one_as_they_are.clone() }),
        (
            "age",
            Shape::Age {
                as_of: "2026-02-30".into(),
                labels: vec!["[0,18)".into(), "[18,inf)".into()],
            },
        ),
        ("age", Shape::Age { as_of: "2026-01-01".into(), labels: vec!["[0,18)".into()] }),
        ("zip", Shape::Prefix { length: 0, fill: Some('*') }),
        ("zip", Shape::Prefix { length: 2, fill: Some('0') }),
        ("zip", Shape::Week),
        ("week", region()),
        ("quarter", coded(Some("10"), None, true)),
    ] {
        let mut table = with(of(name));
        table.columns.last_mut().unwrap().column.shape = shape;
        assert!(gate(&table.release()).is_err(), "{name}");
    }
}

/// A city may lend its name to its region, where another place is in it.
#[test]
fn a_place_in_the_region_of_its_name() {
    let mut table = with(coarse().iter().find(|case| case.0 == "region").unwrap());
    let regions = [("Graz", "Graz"), ("Leoben", "Graz"), ("Wien", "Vienna")]
        .map(|(place, region)| (place.to_owned(), region.to_owned()));
    let case = table.columns.last_mut().unwrap();
    case.column.shape = Shape::Region { regions: regions.into() };
    case.out = texts([Some("Graz"), Some("Vienna"), Some("Graz"), None]);
    assert_eq!(refusals(&table), []);
}

/// A column with a bad value in its second row, in its shape's own way.
fn bad() -> Vec<(Shape, &'static str, &'static str, ArrayRef, ArrayRef)> {
    let phones = [Some("+4915112345678"), Some("call"), None, None];
    let numbers = [Some("19.85"), Some("much"), None, None];
    let places = [Some("Graz"), Some("Nowhere"), None, None];
    let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(7_441), Some(i32::MAX), None, None]));
    let all = table();
    // What FF1 makes of the first number stands in the fixture.
    let phone = all.columns[all.at("phone")].out.slice(0, 1);
    let rest = texts([None, None, None]);
    let phone = concat(&[phone.as_ref(), rest.as_ref()]).unwrap();
    let first = |text: &str| texts([Some(text), None, None, None]);
    vec![
        (shape_fpe(), "text", "text", texts(phones), phone),
        (shape_bins(), "text", "text", texts(numbers), first("[0,100000)")),
        (region(), "text", "text", texts(places), first("Styria")),
        (Shape::Quarter, "date", "text", Arc::clone(&days), first("1990-Q2")),
        (age(), "date", "text", days, first("[18,65)")),
    ]
}

#[test]
fn null_and_the_constant_stand_for_bad_values_only() {
    use arrow::array::AsArray;
    let constant = OnBad::Constant { text: "n/a".into() };
    for (shape, leaf_type, column_type, raw, out) in bad() {
        for on_bad in [OnBad::Null, constant.clone()] {
            let mut table = table();
            let mut column = column("bad", "quasi", column_type, shape.clone());
            column.on_bad = on_bad.clone();
            let mark = (on_bad != OnBad::Null).then_some("n/a");
            let good = out.as_string::<i32>().value(0).to_owned();
            let cells = |first| texts([first, mark, None, None]);
            let case = Case {
                column,
                leaf_type: leaf_type.into(),
                raw: Arc::clone(&raw),
                out: cells(Some(&good)),
            };
            table.columns.push(case);
            let what = format!("{shape:?} {on_bad:?}");
            assert_eq!(refusals(&table), [], "{what}");
            // In the place of a value that the stage takes.
            let last = table.columns.len() - 1;
            table.columns[last].out = cells(mark);
            let found = refusals(&table);
            let reasons = [RefusalReason::OnBad, RefusalReason::Fpe];
            assert!(matches!(&found[..], [(0, why)] if reasons.contains(why)), "{what} {found:?}");
            // The original never passes, nor another text.
            for other in ["call", "N/A", ""] {
                table.columns[last].out = texts([Some(&good), Some(other), None, None]);
                assert!(matches!(refusals(&table)[..], [(1, _)]), "{what} {other}");
            }
            // Without `on_bad` nothing stands there.
            table.columns[last].out = cells(Some(&good));
            table.columns[last].column.on_bad = OnBad::Refuse;
            assert!(matches!(refusals(&table)[..], [(1, _)]), "{what}: the control");
        }
    }
}

#[test]
fn releases_bad_constant_bad_key_bad_shape() {
    let constant = |text: &str| OnBad::Constant { text: text.into() };
    let token = "a".repeat(26);
    for (name, on_bad) in [
        ("id", constant(&token)),
        ("phone", constant("")),
        ("phone", constant(&"x".repeat(65))),
        ("birth", constant("x")),
        ("city", OnBad::Null),
        ("country", constant("x")),
    ] {
        let mut table = table();
        table.at_mut(name).column.on_bad = on_bad;
        assert!(gate(&table.release()).is_err(), "{name}");
    }
    let mut table = table();
    table.keys[0].column.on_bad = OnBad::Null;
    assert!(gate(&table.release()).is_err(), "a key");
    // The control: what is allowed.
    let mut table = super::fixture::table();
    table.at_mut("id").column.on_bad = constant("no id");
    table.at_mut("phone").column.on_bad = OnBad::Null;
    table.at_mut("birth").column.on_bad = OnBad::Null;
    assert!(gate(&table.release()).is_ok());
}
