//! Statistics beside rows: what may be joined, and what a row gets.

use super::*;
use crate::enrich::Statistics;

const CLASSES: &str = "id: identifier, city: public, plan: sensitive";
const ROW: [(&str, LeafType); 3] = [ID, ("city", LeafType::Text), ("plan", LeafType::Text)];
const STAGES: &str =
    "{ tokenize: { columns: [id], domain: customer } }, { drop: { columns: [plan] } }";

fn enrich(leaf: &str, name: &str, missing: &str) -> String {
    format!(
        "{STAGES}, {{ enrich: {{ topic: stats, pipeline: s, window: {{ every: 1h, from: \
         '1970-01-01T00:00:00Z' }}, groups: {{ place: {leaf} }}, columns: {{ n: {name} }}, \
         missing: {missing} }} }}"
    )
}

#[test]
fn a_key_is_a_leaf_that_crosses_as_it_is() {
    let found = |stages: &str| findings(CLASSES, stages, "", &ROW);
    assert_eq!(found(&enrich("city", "people", "nullify")), [""; 0]);
    for (stages, expected) in [
        (enrich("plan", "people", "nullify"), "`plan` does not cross, and a statistic"),
        (enrich("id", "people", "nullify"), "`id` does not cross as it is, and a statistic"),
        (enrich("city", "city", "nullify"), "column `city` crosses already"),
        (
            format!("{}, {{ sql: select id from batch }}", enrich("city", "n", "nullify")),
            "`city` does not cross, and a statistic",
        ),
    ] {
        let found = found(&stages);
        assert!(found.iter().any(|message| message.contains(expected)), "{expected}: {found:?}");
    }
}

fn compiled(missing: &str) -> (Plan, Stages) {
    let text = pipeline_text(CLASSES, &enrich("city", "people", missing), "");
    let (_, pipeline) = load(&text).unwrap_or_else(|findings| panic!("{findings}"));
    let plan = Plan::new(&pipeline, leaves(&ROW)).unwrap_or_else(|findings| panic!("{findings}"));
    let stages = plan.compile(&pipeline, &Keyring::new(&RootKey::new([3; 32]))).unwrap();
    (plan, stages)
}

/// Rows of (city, hour of the record, operation).
fn rows(of: &[(&str, i64, Op)]) -> Batch {
    let ids: ArrayRef = Arc::new((0..of.len() as i64).map(Some).collect::<Int64Array>());
    let cities: ArrayRef = Arc::new(of.iter().map(|row| Some(row.0)).collect::<StringArray>());
    let columns = [("key.id", Arc::clone(&ids)), ("after.id", ids), ("after.city", cities)];
    let made = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    let origin = |(offset, row): (usize, &(&str, i64, Op))| Origin {
        topic: 0,
        partition: 0,
        offset: offset as i64,
        timestamp_ms: row.1 * 3_600_000 + 5,
        op: row.2,
        schema_id: None,
    };
    Batch { rows: made.unwrap(), origins: of.iter().enumerate().map(origin).collect() }
}

fn people(staged: &Staged) -> Vec<Option<i64>> {
    let column = staged.columns.column_by_name("people").unwrap();
    column.as_any().downcast_ref::<Int64Array>().unwrap().iter().collect()
}

/// Published: of hour 3 in Graz.
fn known() -> Arc<Statistics> {
    Arc::new(Statistics::published(3, "Graz", 41))
}

#[test]
fn a_row_gets_what_was_published_of_the_hour_before() {
    use Op::{Create, Delete, Update};
    let of = [
        ("Graz", 4, Create),
        ("Graz", 3, Create),
        ("Graz", 5, Update),
        ("Bonn", 4, Create),
        ("Graz", 4, Delete),
        ("Graz", -2, Create),
    ];
    let (plan, mut stages) = compiled("nullify");
    let names: Vec<_> = plan.outputs().iter().map(|crosses| crosses.name().to_owned()).collect();
    assert_eq!(names, ["id", "city", "people"]);
    // Nothing is known in a trial.
    assert_eq!(people(&stages.apply(rows(&of)).unwrap()), [None; 6]);
    stages.know(known());
    let staged = stages.apply(rows(&of)).unwrap();
    assert_eq!(people(&staged), [Some(41), None, None, None, None, None]);
    assert!(staged.refused.is_empty());

    let (_, mut stages) = compiled("quarantine");
    assert!(stages.apply(rows(&of)).unwrap().refused.is_empty(), "a trial shows the rows");
    stages.know(known());
    let staged = stages.apply(rows(&of)).unwrap();
    let refused: Vec<(i64, &str)> =
        staged.refused.iter().map(|row| (row.origin.offset, row.code)).collect();
    assert_eq!(refused, [1, 2, 3, 5].map(|offset| (offset, "statistic_missing")));
    assert_eq!(people(&staged), [Some(41), None], "a delete crosses");
}
