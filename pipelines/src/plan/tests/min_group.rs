//! Which rows are too few: what the plan makes of `min_group`, and what it does to a batch.

use arrow::array::{Date32Array, StringArray};

use super::*;
use crate::merge::Withdrawal;
use crate::min_group::{Groups, Tally};

const CLASSES: &str = "id: identifier, owner: { class: identifier, subject: true }, born: quasi, \
                       city: public";
const STAGES: &str = "{ tokenize: { columns: [id], domain: customer } }, \
                      { generalize: { columns: [born], to: year } }, { drop: { columns: [owner] } }";
const ROW: [(&str, LeafType); 4] =
    [ID, ("owner", LeafType::Int64), ("born", LeafType::Date), ("city", LeafType::Text)];

fn rest(group: &str) -> String {
    format!("publish: every 1m\nmin_group: {group}\n")
}

fn file(classes: &str, stages: &str, group: &str) -> String {
    let text = pipeline_text(classes, stages, &rest(group));
    text.replace("types: { id: int64 }", "types: { id: int64, born: date }")
}

fn planned(group: &str) -> (Place, Pipeline, Plan) {
    let (place, pipeline) =
        load(&file(CLASSES, STAGES, group)).unwrap_or_else(|findings| panic!("{findings}"));
    let plan = Plan::new(&pipeline, leaves(&ROW)).unwrap_or_else(|findings| panic!("{findings}"));
    (place, pipeline, plan)
}

#[test]
fn a_group_is_made_of_what_crosses_of_quasi_identifiers() {
    let (place, pipeline, plan) = planned("{ k: 3 }");
    let group = plan.min_group.as_ref().unwrap();
    assert_eq!(
        (group.k, &group.columns[..], group.unit.as_str()),
        (3, &["born".to_owned()][..], "after.owner")
    );
    // The unit's leaf stays behind, and is read.
    assert_eq!(plan.built(), ["id", "born", "city", "owner"]);
    assert!(Withdrawal::of(&plan, &pipeline.changes).is_some(), "there is a key");
    let proof = Proof::new(&place, &pipeline, &plan, "").text();
    assert!(proof.contains("min_group    k = 3: ") && proof.contains("`after.owner`"), "{proof}");
    // All of it is signed.
    let print = |group: &str| {
        let (place, pipeline, plan) = planned(group);
        release::fingerprint(&place, &pipeline, &plan).unwrap()
    };
    let all = ["{ k: 3 }", "{ k: 4 }", "{ k: 3, columns: [city, born] }"].map(print);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(print("{ k: 3, columns: [born] }"), all[0], "the same in other words");
    assert_eq!(print("{ k: 3, columns: [born, city] }"), all[2], "in the order of the output");
}

#[test]
fn what_cannot_be_counted_is_a_finding() {
    let found = |classes: &str, stages: &str, group: &str| -> Vec<String> {
        let found = match load(&file(classes, stages, group)) {
            Err(findings) => findings,
            Ok((_, pipeline)) => Plan::new(&pipeline, leaves(&ROW)).err().unwrap_or_default(),
        };
        found.iter().map(|finding| finding.message.clone()).collect()
    };
    let public = CLASSES.replace("quasi", "public");
    let nobody = CLASSES.replace("{ class: identifier, subject: true }", "identifier");
    let dropped = STAGES
        .replace("[owner]", "[owner, born]")
        .replace("{ generalize: { columns: [born], to: year } }, ", "");
    for (classes, stages, group, expected) in [
        (CLASSES, STAGES, "{ k: 3, columns: [born, town] }", "no column `town` crosses"),
        (
            CLASSES,
            STAGES,
            "{ k: 3, columns: [city] }",
            "`born` is made of a quasi-identifier and is not",
        ),
        (
            public.as_str(),
            STAGES,
            "{ k: 3 }",
            "no column that crosses is made of a leaf of class `quasi`",
        ),
        (CLASSES, dropped.as_str(), "{ k: 3 }", "no column that crosses"),
        (nobody.as_str(), STAGES, "{ k: 3 }", "counts subjects, and no leaf says who one is"),
    ] {
        let found = found(classes, stages, group);
        assert!(found.iter().any(|message| message.contains(expected)), "{expected}: {found:?}");
    }
    // Derived columns show it too.
    let sql = format!("{STAGES}, {{ sql: \"select id, city, born > 1980 as young from batch\" }}");
    let named = found(CLASSES, &sql, "{ k: 3, columns: [city] }");
    assert!(named.iter().any(|m| m.contains("`young` is made of a quasi")), "{named:?}");
    assert_eq!(found(CLASSES, &sql, "{ k: 3 }"), [""; 0]);
}

/// (id, owner, day of birth, city, operation).
type Born = (i64, Option<i64>, Option<i32>, &'static str, Op);

fn rows(rows: &[Born]) -> Batch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.0)).collect::<Int64Array>());
    let owners: ArrayRef = Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>());
    let born: ArrayRef = Arc::new(rows.iter().map(|r| r.2).collect::<Date32Array>());
    let cities: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.3)).collect::<StringArray>());
    let columns = [
        ("key.id", Arc::clone(&ids)),
        ("after.id", ids),
        ("after.born", born),
        ("after.city", cities),
        ("after.owner", owners),
    ];
    let made = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    let origin = |(offset, row): (usize, &Born)| Origin {
        topic: 0,
        partition: 0,
        offset: offset as i64,
        timestamp_ms: 0,
        op: row.4,
        schema_id: None,
    };
    Batch { rows: made.unwrap(), origins: rows.iter().enumerate().map(origin).collect() }
}

/// Which rows stay behind, of a batch that is a window.
fn outside(group: &str, of: &[Born]) -> Vec<bool> {
    let (_, pipeline, plan) = planned(group);
    let root = RootKey::new([3; 32]);
    let stages = plan.compile(&pipeline, &Keyring::new(&root)).unwrap();
    let groups = Groups::of(&plan, &pipeline, &root).unwrap();
    let mut staged = stages.apply(rows(of)).unwrap();
    let (members, mut tally) = (groups.members(&staged).unwrap(), Tally::default());
    tally.add(&groups, &members, u64::MAX).unwrap();
    groups.hold_back(&mut staged, &members, |group| tally.units(group));
    staged.outside
}

#[test]
fn units_are_counted_and_not_rows() {
    use Op::{Create, Delete, Update};
    let day = |year: i32| Some((year - 1970) * 365 + 200);
    let all = [
        // Three people, one of them twice, in different months of a year.
        (1, Some(1), day(1980), "Bonn", Create),
        (2, Some(2), day(1980).map(|day| day + 40), "Graz", Create),
        (3, Some(2), day(1980), "Graz", Update),
        (4, Some(3), day(1980), "Graz", Create),
        // One with three rows, and one more.
        (5, Some(4), day(1990), "Bonn", Create),
        (6, Some(4), day(1990), "Bonn", Create),
        (7, Some(4), day(1990), "Bonn", Create),
        (8, Some(5), day(1990), "Bonn", Create),
        // Rows of nobody make no group larger.
        (9, None, day(1990), "Bonn", Create),
        // Without a value: a group as any other.
        (10, Some(6), None, "Bonn", Create),
        (11, Some(7), None, "Bonn", Create),
        (12, Some(8), None, "Bonn", Update),
        // A row that goes is in no group.
        (13, Some(9), day(1990), "Bonn", Delete),
    ];
    let small = [4, 5, 6, 7, 8];
    let behind: Vec<bool> = (0..all.len()).map(|row| small.contains(&row)).collect();
    assert_eq!(outside("{ k: 3 }", &all), behind);
    // With the city too, nobody of 1980 has two others beside them.
    let found = outside("{ k: 3, columns: [born, city] }", &all);
    assert_eq!(found[..4], [true; 4]);
    assert_eq!(found[9..12], [false; 3]);
    // The control: two are enough for two.
    assert_eq!(outside("{ k: 2 }", &all), [false; 13]);
}
