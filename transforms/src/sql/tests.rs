//! What is taken and what is refused, lineage, and that a row's result is its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    Int64Array, StringArray, TimestampMillisecondArray, UInt32Array,
};
use arrow::compute::{concat, take};
use douane_schemas::canonical;
use douane_schemas::leaf::LeafType;
use proptest::prelude::*;

use super::*;
use crate::TransformFault;

/// Columns as a pipeline would have them after their stages.
fn inputs() -> Vec<Input> {
    let input = |name: &str, leaf_type, domain: Option<&str>| Input {
        name: name.to_owned(),
        leaf_type: Some(leaf_type),
        domain: domain.map(str::to_owned),
    };
    vec![
        input("id", LeafType::Text, Some("customer")),
        input("email", LeafType::Text, Some("customer_email")),
        input("parent", LeafType::Text, Some("customer")),
        input("country", LeafType::Text, None),
        input("city", LeafType::Text, None),
        input("cents", LeafType::Int64, None),
        input("small", LeafType::Int32, None),
        input("rate", LeafType::Float64, None),
        input("price", LeafType::Decimal { precision: 10, scale: 2 }, None),
        input("born", LeafType::Date, None),
        input("seen", LeafType::Timestamp, None),
        input("active", LeafType::Boolean, None),
        input("raw", LeafType::Bytes, None),
        input("order", LeafType::Text, None),
    ]
}

fn bound(text: &str) -> Result<Bound, Vec<SqlFault>> {
    Query::parse(text).map_err(|fault| vec![fault])?.bind(&inputs())
}

/// The place and the text of the first fault.
fn refused(text: &str) -> (usize, String) {
    let faults = bound(text).err().unwrap_or_else(|| panic!("taken: {text}"));
    let fault = &faults[0];
    assert!(!fault.next.is_empty(), "{text}");
    (fault.at, fault.message.clone())
}

#[test]
fn what_the_grammar_does_not_take_bad_sql() {
    // `^` marks the place; the word must stand in the message.
    let cases = [
        ("^insert into batch values (1)", "expected `select`"),
        ("^", "expected `select`"),
        ("^update batch set a = 1", "expected `select`"),
        ("^with x as (select 1) select id from x", "WITH"),
        ("select ^distinct country from batch", "DISTINCT"),
        ("select ^all country from batch", "ALL"),
        ("select ^top 5 country from batch", "TOP"),
        ("select country ^into x from batch", "INTO"),
        ("select ^", "the end"),
        ("select country^", "the end"),
        ("select country from ^customers", "one table"),
        ("select country from ^(select 1)", "subquery"),
        ("select country from batch^, batch", "join"),
        ("select country from batch ^b", "no other name"),
        ("select country from batch ^as b", "no other name"),
        ("select country from batch ^join batch on true", "join"),
        ("select country from batch ^left join batch on true", "join"),
        ("select country from batch ^cross join batch", "join"),
        ("select country from batch ^natural join batch", "join"),
        ("select country from batch ^tablesample system (5)", "TABLESAMPLE"),
        ("select country from batch ^group by country", "GROUP BY"),
        ("select country from batch ^having true", "HAVING"),
        ("select country from batch ^order by country", "ORDER BY"),
        ("select country from batch ^limit 5", "LIMIT"),
        ("select country from batch ^offset 5", "OFFSET"),
        ("select country from batch ^fetch first row only", "FETCH"),
        ("select country from batch ^union select 1", "UNION"),
        ("select country from batch ^intersect select 1", "INTERSECT"),
        ("select country from batch ^except select 1", "EXCEPT"),
        ("select country from batch ^window w as ()", "WINDOW"),
        ("select country from batch ^qualify true", "QUALIFY"),
        ("select country from batch ^for update", "FOR"),
        ("select country from batch^;", "`;`"),
        ("select country from batch where true ^limit 1", "LIMIT"),
        ("select ^count(*) as n from batch", "aggregate"),
        ("select ^sum(cents) as n from batch", "aggregate"),
        ("select ^max(cents) as n from batch", "aggregate"),
        ("select ^row_number() over () as n from batch", "window function"),
        ("select length(city) ^over () as n from batch", "window function"),
        ("select ^now() as n from batch", "clock"),
        ("select ^current_timestamp as n from batch", "clock"),
        ("select ^current_date as n from batch", "clock"),
        ("select ^random() as n from batch", "another value"),
        ("select ^gen_random_uuid() as n from batch", "another value"),
        ("select ^nextval('s') as n from batch", "another value"),
        ("select ^current_user as n from batch", "session"),
        ("select ^pg_sleep(1) as n from batch", "session"),
        ("select ^sin(rate) as n from batch", "mathematics"),
        ("select ^exp(rate) as n from batch", "mathematics"),
        ("select ^pow(rate, 2) as n from batch", "mathematics"),
        ("select ^sqrt(rate) as n from batch", "mathematics"),
        ("select ^md5(city) as n from batch", "without a key"),
        ("select ^sha256(city) as n from batch", "without a key"),
        ("select ^regexp_replace(city, 'a', 'b') as n from batch", "patterns"),
        ("select ^date_trunc('day', seen) as n from batch", "not on the list"),
        ("select ^greatest(1, 2) as n from batch", "not on the list"),
        ("select ^lowr(city) as n from batch", "not on the list"),
        ("select (^select 1) as n from batch", "subquery"),
        ("select ^exists (select 1) as n from batch", "EXISTS"),
        ("select country in (^select 1) as n from batch", "subquery"),
        ("select country in (^) as n from batch", "`)`"),
        ("select cents^::text as n from batch", "`::`"),
        ("select batch^.cents from batch", "`.`"),
        ("select ^$1 as n from batch", "`$`"),
        ("select cents ^^ 2 as n from batch", "sign"),
        ("select cents ^& 2 as n from batch", "sign"),
        ("select city ^~ 'a' as n from batch", "sign"),
        ("select city ^ilike 'a' as n from batch", "ilike"),
        ("select city like ^country as n from batch", "pattern"),
        ("select ^-- a\ncity from batch", "comment"),
        ("select ^/* a */ city from batch", "comment"),
        ("select ^'a as n from batch", "never closed"),
        ("select ^E'a' as n from batch", "another kind"),
        ("select ^1e5 as n from batch", "no number"),
        ("select ^99999999999999999999 as n from batch", "too large"),
        ("select ^interval '1 day' as n from batch", "literal"),
        ("select ^timestamp '2020-01-01' as n from batch", "literal"),
        ("select date ^'2020-13-01' as n from batch", "no date"),
        ("select array^[1] as n from batch", "`[`"),
        ("select city ^c from batch", "without `as`"),
        ("select city as ^\"a b\" from batch", "no name"),
        ("select city as ^select from batch", "no name"),
        ("select cents = 1 ^= true as n from batch", "comparison of a comparison"),
        ("select case ^end as n from batch", "expression"),
        ("select cast(cents as ^varbinary) as n from batch", "no type"),
        ("select cast(cents as ^decimal(39, 2)) as n from batch", "precision"),
        ("select extract(^century from born) as n from batch", "no field"),
        ("select ^length() as n from batch", "0 arguments"),
        ("select ^nullif(1) as n from batch", "1 arguments"),
        ("select ^replace(city, 'a') as n from batch", "2 arguments"),
        ("select length(^distinct city) as n from batch", "expected"),
        ("select ^order from batch", "ORDER BY"),
        // Names and types.
        ("select ^contry from batch", "no column"),
        ("select ^Country from batch", "no column"),
        ("select city, ^city from batch", "two columns"),
        ("select *, ^city from batch", "two columns"),
        ("select ^cents + 1 from batch", "no name"),
        ("select ^country = 1 as n from batch", "meets"),
        ("select ^born > '2020-01-01' as n from batch", "meets"),
        ("select ^price = rate as n from batch", "meets"),
        ("select ^cents + city as n from batch", "meets"),
        ("select ^active + active as n from batch", "numbers"),
        ("select ^active < true as n from batch", "order"),
        ("select not ^cents as n from batch", "condition"),
        ("select lower(^cents) as n from batch", "text"),
        ("select length(^raw) as n from batch", "text"),
        ("select left(city, ^city) as n from batch", "bigint"),
        ("select ^price / price as n from batch", "rounds"),
        ("select ^rate % 2.0 as n from batch", "double precision"),
        ("select ^cast(rate as bigint) as n from batch", "not cast"),
        ("select ^cast(city as boolean) as n from batch", "not cast"),
        ("select extract(year from ^city) as n from batch", "date"),
        ("select extract(hour from ^born) as n from batch", "timestamp"),
        ("select ^null as n from batch", "no type"),
        ("select ^case when active then 1 else 'a' end as n from batch", "meets"),
        ("select city from batch where ^cents", "condition"),
        ("select city from batch where ^length(city)", "condition"),
        // Token domains.
        ("select ^id = email as n from batch", "two domains"),
        ("select ^id in (email) as n from batch", "two domains"),
        ("select ^id is distinct from email as n from batch", "two domains"),
        ("select ^nullif(id, email) as n from batch", "two domains"),
        ("select ^coalesce(id, email) as n from batch", "two domains"),
        ("select ^id = 'abc' as n from batch", "meets something else"),
        ("select ^id || email as n from batch", "is no text"),
        ("select ^id || 'x' as n from batch", "is no text"),
        ("select lower(^id) as n from batch", "is no text"),
        ("select left(^id, 4) as n from batch", "is no text"),
        ("select ^id like 'a%' as n from batch", "is no text"),
        ("select ^id < parent as n from batch", "order"),
        ("select ^cast(id as text) as n from batch", "not cast"),
        ("select ^coalesce(id, parent) as n from batch", "passed on"),
    ];
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut wrong = Vec::new();
    for (marked, word) in cases {
        let marked_at = marked.find('^').unwrap();
        let text = marked.replacen('^', "", 1);
        let (at, message) = refused(&text);
        let at_mark = text.char_indices().position(|(byte, _)| byte >= marked_at);
        let at_mark = at_mark.unwrap_or(text.chars().count());
        if !message.contains(word) || at != at_mark {
            wrong.push(format!("{text}: at {at}, expected {at_mark} and `{word}`: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn everything_has_a_bound() {
    let deep = format!("select {}1{} as n from batch", "(".repeat(200), ")".repeat(200));
    assert!(refused(&deep).1.contains("inside each other"));
    let deep = format!("select {}1 as n from batch", "- ".repeat(200));
    assert!(refused(&deep).1.contains("inside each other"));
    let deep = format!("select {}true as n from batch", "not ".repeat(200));
    assert!(refused(&deep).1.contains("inside each other"));
    let long = format!("select 1{} as n from batch", " + 1".repeat(200));
    assert!(refused(&long).1.contains("operators"));
    let wide = format!("select cents in (1{}) as n from batch", ", 1".repeat(3_000));
    assert!(refused(&wide).1.contains("expressions"));
    let huge = format!("select '{}' as n from batch", "x".repeat(20_000));
    assert!(refused(&huge).1.contains("characters"));
}

#[test]
fn near_names_are_proposed() {
    for (text, near) in [
        ("select contry from batch", "write `country`"),
        ("select lowr(city) as n from batch", "write `lower`"),
        ("select coalesc(city, 'a') as n from batch", "write `coalesce`"),
    ] {
        assert_eq!(bound(text).unwrap_err()[0].next, near);
    }
    // All faults of names and types at once.
    assert_eq!(bound("select a1, b2, c3 from batch").unwrap_err().len(), 3);
}

#[test]
fn one_spelling_is_signed() {
    for (text, expected) in [
        ("select  city ,country FROM Batch", "select city, country from batch"),
        ("select city as city from batch", "select city from batch"),
        ("select city as town from batch", "select city as town from batch"),
        ("SELECT \"order\" from batch", "select \"order\" from batch"),
        (
            "select country='DE' as domestic from batch where country in('DE','FR')",
            "select (country = 'DE') as domestic from batch where (country in ('DE', 'FR'))",
        ),
        (
            "select cents + 1 * 2 as n from batch where not active and true or false",
            "select (cents + (1 * 2)) as n from batch where (((not active) and true) or false)",
        ),
        (
            "select case country when 'DE' then 1 else 2 end as n from batch",
            "select case country when 'DE' then 1 else 2 end as n from batch",
        ),
        (
            "select cents between -1 and 2 as n, city is not null as m from batch",
            "select (cents between -1 and 2) as n, (not (city is null)) as m from batch",
        ),
        (
            "select date '2020-01-31' as d, extract(YEAR from born) as y from batch",
            "select cast('2020-01-31' as date) as d, extract(year from born) as y from batch",
        ),
        ("select 'it''s' as q from batch", "select 'it''s' as q from batch"),
    ] {
        let made = bound(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}")).text;
        assert_eq!(made, expected);
        // What is signed reads back as itself.
        assert_eq!(bound(&made).unwrap().text, expected);
    }
    let all = bound("select * from batch").unwrap();
    assert_eq!(all.outputs.len(), inputs().len());
    assert!(all.text.starts_with("select id, email, parent, country,"));
}

#[test]
fn lineage() {
    // Expression, direct leaves, indirect leaves.
    let table: &[(&str, &[&str], &[&str])] = &[
        ("country = 'DE'", &["country"], &[]),
        ("city || '-' || country", &["city", "country"], &["city", "country"]),
        ("length(city)", &["city"], &[]),
        ("cents + small", &["cents", "small"], &["cents", "small"]),
        ("cents / 100", &["cents"], &["cents"]),
        ("-cents", &["cents"], &["cents"]),
        ("cents > 5", &["cents"], &[]),
        ("case when country = 'DE' then city end", &["city"], &["country"]),
        ("case country when 'DE' then 1 else small end", &["small"], &["country"]),
        ("case when active then 1 else 0 end", &[], &["active"]),
        ("case when cents / small > 1 then city end", &["city"], &["cents", "small"]),
        ("coalesce(city, country)", &["city", "country"], &["city"]),
        ("nullif(city, country)", &["city"], &["city", "country"]),
        ("cast(city as bigint)", &["city"], &["city"]),
        ("cast(cents as text)", &["cents"], &[]),
        ("extract(year from born)", &["born"], &[]),
        ("extract(year from seen)", &["seen"], &["seen"]),
        ("city is null", &["city"], &[]),
        ("id = parent", &["id", "parent"], &[]),
        ("id is null", &["id"], &[]),
        ("replace(city, country, '')", &["city", "country"], &["city", "country"]),
        ("price + 1", &["price"], &["price"]),
        ("price > 1.5", &["price"], &["price"]),
        ("rate = 0.5", &["rate"], &[]),
        ("cents in (1, small)", &["cents", "small"], &[]),
        ("1", &[], &[]),
    ];
    let inputs = inputs();
    let named = |all: &BTreeSet<usize>| -> Vec<&str> {
        all.iter().map(|at| inputs[*at].name.as_str()).collect()
    };
    for (expression, direct, indirect) in table {
        let bound = bound(&format!("select {expression} as x from batch"))
            .unwrap_or_else(|faults| panic!("{expression}: {faults:?}"));
        let [Output::Derived { derived, .. }] = &bound.outputs[..] else { panic!("one column") };
        let sorted = |names: &[&'static str]| {
            let at = |name: &&str| inputs.iter().position(|i| i.name == **name).unwrap();
            let mut names = names.to_vec();
            names.sort_by_key(at);
            names
        };
        assert_eq!(named(&derived.direct), sorted(direct), "{expression}: direct");
        assert_eq!(named(&derived.indirect), sorted(indirect), "{expression}: indirect");
    }
}

/// Four rows; the last one is null everywhere.
fn columns() -> Vec<ArrayRef> {
    let text =
        |cells: [Option<&str>; 4]| -> ArrayRef { Arc::new(StringArray::from(cells.to_vec())) };
    let price = Decimal128Array::from(vec![Some(150), Some(-5), Some(99_999_999), None]);
    vec![
        text([Some("t1"), Some("t2"), Some("t3"), None]),
        text([Some("e1"), Some("e2"), Some("e3"), None]),
        text([Some("t1"), Some("t9"), Some("t3"), None]),
        text([Some("DE"), Some("FR"), Some("IT"), None]),
        text([Some("Köln"), Some(" Paris "), Some("Roma%"), None]),
        Arc::new(Int64Array::from(vec![Some(7), Some(-3), Some(i64::MAX), None])),
        Arc::new(Int32Array::from(vec![Some(2), Some(0), Some(5), None])),
        Arc::new(Float64Array::from(vec![Some(0.5), Some(-0.0), Some(f64::NAN), None])),
        Arc::new(price.with_precision_and_scale(10, 2).unwrap()),
        Arc::new(Date32Array::from(vec![Some(0), Some(18_322), Some(-1), None])),
        Arc::new(TimestampMillisecondArray::from(vec![
            Some(0),
            Some(1_583_020_799_999),
            Some(i64::MAX),
            None,
        ])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), None])),
        Arc::new(arrow::array::BinaryArray::from_opt_vec(vec![Some(b"a"), None, None, None])),
        text([Some("1"), Some("2"), Some("x"), None]),
    ]
}

fn derived(expression: &str) -> Derived {
    let bound = bound(&format!("select {expression} as x from batch"))
        .unwrap_or_else(|faults| panic!("{expression}: {faults:?}"));
    let [Output::Derived { derived, .. }] = &bound.outputs[..] else { panic!("one column") };
    derived.clone()
}

/// Row by row: the cell's text, `null`, or the code of its fault.
fn alone(derived: &Derived, columns: &[ArrayRef], row: usize) -> String {
    let one: Vec<ArrayRef> = columns.iter().map(|column| column.slice(row, 1)).collect();
    match derived.evaluate(&one, 1) {
        Err(EvalFault::Cell(fault)) => format!("!{}", fault.code()),
        Err(EvalFault::Broken) => panic!("{}: broken", derived.text),
        Ok(array) => shown(&array, 0),
    }
}

fn shown(array: &ArrayRef, row: usize) -> String {
    let mut text = String::new();
    if array.is_null(row) {
        return "null".to_owned();
    }
    canonical::write(array, row, &mut text).unwrap();
    text
}

/// Worked out by hand, after PostgreSQL's documentation.
const ORACLE: &[(&str, [&str; 4])] = &[
    ("country = 'DE'", ["true", "false", "false", "null"]),
    ("country <> 'DE'", ["false", "true", "true", "null"]),
    ("country in ('DE', 'FR')", ["true", "true", "false", "null"]),
    ("country not in ('DE', null)", ["false", "null", "null", "null"]),
    ("city is null", ["false", "false", "false", "true"]),
    ("city is distinct from 'Köln'", ["false", "true", "true", "true"]),
    ("city is not distinct from null", ["false", "false", "false", "true"]),
    ("active is true", ["true", "false", "true", "false"]),
    ("active is not false", ["true", "false", "true", "true"]),
    ("active and country = 'IT'", ["false", "false", "true", "null"]),
    ("active or city is null", ["true", "false", "true", "true"]),
    ("not active", ["false", "true", "false", "null"]),
    ("cents + 1", ["8", "-2", "!out_of_range", "null"]),
    ("cents - small", ["5", "-3", "9223372036854775802", "null"]),
    ("cents / small", ["3", "!division_by_zero", "1844674407370955161", "null"]),
    ("cents % 2", ["1", "-1", "1", "null"]),
    ("-cents", ["-7", "3", "-9223372036854775807", "null"]),
    ("abs(cents)", ["7", "3", "9223372036854775807", "null"]),
    ("case when small <> 0 then cents / small end", ["3", "null", "1844674407370955161", "null"]),
    ("case when cents > 0 then 'plus' else 'minus' end", ["plus", "minus", "plus", "minus"]),
    ("case country when 'DE' then 1 when 'FR' then 2 end", ["1", "2", "null", "null"]),
    ("cents between -3 and 7", ["true", "true", "false", "null"]),
    ("rate = 0.5", ["true", "false", "false", "null"]),
    ("rate = 0", ["false", "true", "false", "null"]),
    ("rate * 2", ["1", "0", "!out_of_range", "null"]),
    ("1 / rate", ["2", "!division_by_zero", "!out_of_range", "null"]),
    ("price + 1", ["2.50", "0.95", "1000000.99", "null"]),
    ("price * 2.5", ["3.7500", "-0.1250", "2499999.9750", "null"]),
    ("price > 1.5", ["false", "false", "true", "null"]),
    ("price >= 1", ["true", "false", "true", "null"]),
    ("lower(city)", ["köln", " paris ", "roma%", "null"]),
    ("upper(country)", ["DE", "FR", "IT", "null"]),
    ("trim(city)", ["Köln", "Paris", "Roma%", "null"]),
    ("ltrim(city) || '|'", ["Köln|", "Paris |", "Roma%|", "null"]),
    ("rtrim(city)", ["Köln", " Paris", "Roma%", "null"]),
    ("length(city)", ["4", "7", "5", "null"]),
    ("left(city, 2)", ["Kö", " P", "Ro", "null"]),
    ("left(city, -1)", ["Köl", " Paris", "Roma", "null"]),
    ("right(city, 2)", ["ln", "s ", "a%", "null"]),
    ("right(city, -3)", ["n", "ris ", "a%", "null"]),
    ("substr(city, 2)", ["öln", "Paris ", "oma%", "null"]),
    ("substr(city, 2, 2)", ["öl", "Pa", "om", "null"]),
    ("substr(city, -1, 4)", ["Kö", " P", "Ro", "null"]),
    ("replace(city, 'a', 'oo')", ["Köln", " Pooris ", "Romoo%", "null"]),
    ("starts_with(city, 'K')", ["true", "false", "false", "null"]),
    ("ends_with(city, '%')", ["false", "false", "true", "null"]),
    ("split_part(city, 'a', 2)", ["", "ris ", "%", "null"]),
    ("concat(country, '-', city)", ["DE-Köln", "FR- Paris ", "IT-Roma%", "-"]),
    ("country || city", ["DEKöln", "FR Paris ", "ITRoma%", "null"]),
    ("city like 'K%'", ["true", "false", "false", "null"]),
    ("city like '%a_\\%'", ["false", "false", "false", "null"]),
    ("city like '%a\\%'", ["false", "false", "true", "null"]),
    ("city not like '_öl_'", ["false", "true", "true", "null"]),
    ("coalesce(city, country, 'none')", ["Köln", " Paris ", "Roma%", "none"]),
    ("nullif(country, 'FR')", ["DE", "null", "IT", "null"]),
    ("nullif(lower(country), 'fr')", ["de", "null", "it", "null"]),
    ("nullif(small + 1, 1.0)", ["3", "null", "6", "null"]),
    ("cents + 0 between -3 and 7.5", ["true", "true", "false", "null"]),
    (
        "case lower(country) when 'de' then city when 'fr' then country end",
        ["Köln", "FR", "null", "null"],
    ),
    (
        "case when cents > 0 then case small + 0 when 2 then 'two' end end",
        ["two", "null", "null", "null"],
    ),
    ("(case when active then null end) is null", ["true", "true", "true", "true"]),
    ("nullif(case when active then null end, 1) is null", ["true", "true", "true", "true"]),
    ("coalesce(nullif(country, 'DE'), nullif(city, ' Paris '))", ["Köln", "FR", "IT", "null"]),
    ("cast(cents as text)", ["7", "-3", "9223372036854775807", "null"]),
    ("cast(\"order\" as bigint)", ["1", "2", "!unparsable", "null"]),
    ("cast(cents as decimal(5, 2))", ["7.00", "-3.00", "!unparsable", "null"]),
    ("cast(price as double precision)", ["1.5", "-0.05", "999999.99", "null"]),
    ("cast(active as text)", ["true", "false", "true", "null"]),
    ("cast(born as text)", ["1970-01-01", "2020-03-01", "1969-12-31", "null"]),
    ("born >= date '2020-03-01'", ["false", "true", "false", "null"]),
    ("extract(year from born)", ["1970", "2020", "1969", "null"]),
    ("extract(quarter from born)", ["1", "1", "4", "null"]),
    ("extract(dow from born)", ["4", "0", "3", "null"]),
    ("extract(doy from born)", ["1", "61", "365", "null"]),
    ("extract(month from seen)", ["1", "2", "!out_of_range", "null"]),
    ("extract(minute from seen)", ["0", "59", "!out_of_range", "null"]),
    ("cast(seen as date)", ["1970-01-01", "2020-02-29", "!out_of_range", "null"]),
    ("id = parent", ["true", "false", "true", "null"]),
    ("small + cents > 0 or true", ["true", "true", "!out_of_range", "true"]),
];

#[test]
fn values_are_those_worked_out_by_hand() {
    let mut wrong = Vec::new();
    for (expression, expected) in ORACLE {
        let derived = derived(expression);
        let found: Vec<String> = (0..4).map(|row| alone(&derived, &columns(), row)).collect();
        if found != *expected {
            wrong.push(format!("{expression}: {found:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rows at these places, together; the rows that fail alone make the whole fail.
fn together(
    derived: &Derived,
    columns: &[ArrayRef],
    rows: &[u32],
) -> Result<Vec<String>, EvalFault> {
    let pick = UInt32Array::from(rows.to_vec());
    let picked: Vec<ArrayRef> = columns.iter().map(|c| take(c, &pick, None).unwrap()).collect();
    let array = derived.evaluate(&picked, rows.len())?;
    assert_eq!(array.len(), rows.len());
    assert_eq!(*array.data_type(), derived.leaf_type.arrow());
    Ok((0..rows.len()).map(|row| shown(&array, row)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any rows, in any batch: each result is the row's own, and a batch fails exactly where one
    /// of its rows does.
    #[test]
    fn a_row_does_not_know_its_neighbours(rows in prop::collection::vec(0u32..4, 0..40)) {
        let columns = columns();
        for (expression, expected) in ORACLE {
            let derived = derived(expression);
            let wanted: Vec<&str> = rows.iter().map(|row| expected[*row as usize]).collect();
            match together(&derived, &columns, &rows) {
                Ok(found) => prop_assert_eq!(found, wanted, "{}", expression),
                Err(EvalFault::Cell(_)) => {
                    prop_assert!(wanted.iter().any(|cell| cell.starts_with('!')), "{}", expression);
                }
                Err(EvalFault::Broken) => prop_assert!(false, "{}", expression),
            }
        }
    }

    /// Outside bytes never panic.
    #[test]
    fn any_text_is_taken_or_refused(text in "[ -~ä]{0,60}") {
        let _ = bound(&text);
        let _ = bound(&format!("select {text} as x from batch"));
        let _ = bound(&format!("select city from batch where {text}"));
    }
}

/// The control of the property above: DataFusion's AND, which looks at the whole batch before it
/// evaluates its right side, would let the same row fail in one batch and cross in another. Ours
/// fails in both, and CASE guards in both.
#[test]
fn both_sides_of_and_are_always_evaluated() {
    let strict = derived("small <> 0 and cents / small > 1");
    let guarded = derived("case when small <> 0 then cents / small > 1 else false end");
    for rows in [&[1][..], &[0, 1], &[1, 1, 1, 0]] {
        let fault = EvalFault::Cell(TransformFault::DivisionByZero);
        assert_eq!(together(&strict, &columns(), rows), Err(fault));
        assert!(together(&guarded, &columns(), rows).is_ok());
    }
    assert!(together(&strict, &columns(), &[0, 0]).is_ok());
    // No row, no fault, also of a constant that always fails.
    assert_eq!(together(&derived("1 / 0"), &columns(), &[]), Ok(Vec::new()));
    let twice = concat(&[&columns()[5], &columns()[5]]).unwrap();
    assert_eq!(twice.as_primitive::<arrow::datatypes::Int64Type>().len(), 8);
}

#[test]
fn texts_do_not_grow_without_end() {
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(40_000)]));
    let mut columns: Vec<ArrayRef> = columns().iter().map(|c| c.slice(0, 1)).collect();
    columns[4] = long;
    for expression in ["city || city", "concat(city, city)", "replace(city, 'x', 'yy')"] {
        let found = derived(expression).evaluate(&columns, 1);
        assert_eq!(found.unwrap_err(), EvalFault::Cell(TransformFault::TooLong), "{expression}");
    }
    // What is said never to fail does not fail for the length of a text.
    columns[4] = Arc::new(StringArray::from(vec!["x".repeat(100_000)]));
    for expression in ["upper(city)", "trim(city)", "left(city, 90000)", "substr(city, 2)"] {
        let found = derived(expression).evaluate(&columns, 1).unwrap();
        assert!(found.as_string::<i32>().value(0).len() >= 90_000, "{expression}");
    }
}

/// A type that only the source knows refuses nothing; what is known still does.
#[test]
fn unknown_types_are_not_guessed() {
    let inputs: Vec<Input> = ["a", "b"]
        .map(|name| Input { name: name.to_owned(), leaf_type: None, domain: None })
        .to_vec();
    let bind = |text: &str| Query::parse(text).unwrap().bind(&inputs);
    for text in [
        "select a + 1 as x, lower(a) as y, a = 'x' as z from batch where b",
        "select case when a then b else 1 end as x, extract(year from a) as y from batch",
        "select cast(a as bigint) as x, a in (1, b) as y, coalesce(a, b) as z from batch",
    ] {
        assert!(bind(text).is_ok(), "{text}: {:?}", bind(text));
    }
    assert!(bind("select c from batch").is_err());
    assert!(bind("select lower(1) as x from batch").is_err());
}

/// Every operand is bound and evaluated once: a short text stays cheap however it is nested.
#[test]
fn nested_operands_are_not_doubled() {
    let nested = |depth: usize, one: &dyn Fn(String) -> String| {
        (0..depth).fold("cents".to_owned(), |inner, _| one(inner))
    };
    let cases: [(&str, usize, &dyn Fn(String) -> String); 5] = [
        ("nullif", 30, &|inner| format!("nullif({inner}, 1)")),
        ("coalesce", 30, &|inner| format!("coalesce({inner}, 1)")),
        ("case", 15, &|inner| {
            format!("case {inner} when 1 then 2 when 2 then 3 when 3 then 4 else 5 end")
        }),
        ("between", 15, &|inner| format!("case when {inner} between 1 and 9 then 3 else 10 end")),
        ("both", 15, &|inner| format!("coalesce(nullif({inner}, 7), small)")),
    ];
    for (name, depth, one) in cases {
        let text = nested(depth, one);
        let started = std::time::Instant::now();
        let derived = derived(&text);
        let columns = columns();
        for row in 0..4 {
            assert!(!alone(&derived, &columns, row).starts_with('!'), "{name}");
        }
        let seconds = started.elapsed().as_secs_f64();
        assert!(seconds < 2.0, "{name}: {seconds} s for {} characters", text.len());
        assert!(derived.text.len() < 3 * text.len(), "{name}: {}", derived.text.len());
        assert!(bind::nodes(&derived.typed) < 20 * depth, "{name}");
    }
}

/// What is evaluated has the bound that what is written has.
#[test]
fn what_is_evaluated_has_a_bound_too() {
    // Each of the whole numbers is converted: twice as many expressions as are written.
    let list = |count: usize| vec!["cents"; count].join(", ");
    assert!(bound(&format!("select rate in ({}) as x from batch", list(900))).is_ok());
    let (_, message) = refused(&format!("select rate in ({}) as x from batch", list(1_900)));
    assert_eq!(message, "the SQL computes more than 2000 expressions");
}

/// The text is signed and read line by line: a literal cannot write lines of its own.
#[test]
fn what_cannot_be_seen_is_refused() {
    let line = "select 'x\nwhat stays behind\n  after.phone  identifier  dropped' as x from batch";
    assert_eq!(refused(line), (9, "an invisible character U+000A in quotes".to_owned()));
    for c in
        ['\r', '\t', '\u{7f}', '\u{85}', '\u{2028}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}']
    {
        for text in [
            format!("select 'a{c}b' as x from batch"),
            format!("select \"a{c}b\" from batch"),
            format!("select city as \"a{c}b\" from batch"),
            format!("select city from batch where city like 'a{c}%'"),
        ] {
            assert!(refused(&text).1.contains("invisible character"), "{text:?}");
        }
        assert!(c.is_whitespace() || !refused(&format!("select {c} from batch")).1.contains(c));
    }
    assert!(bound("select\n\t'ä ∑' as x\r\nfrom batch").is_ok());
}
