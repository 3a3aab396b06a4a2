//! The `sql` stage from files as users write them: places of findings, lineage in the proof, which
//! rows cross, and that batches may be cut anywhere.

use super::*;

const CLASSES: &str = "id: { class: identifier, subject: true, residency: eu }, \
    email: identifier, note: free_text, born: quasi, street: quasi, pay: sensitive, city: public, \
    country: public, cents: public";

const STAGES: &str = "
  - tokenize: { columns: [id], domain: customer }
  - tokenize: { columns: [email], domain: phone }
  - redact: { columns: [note], detectors: [email] }
  - generalize: { columns: [born], to: year }
  - generalize: { columns: [street], prefix: 6 }
  - generalize: { columns: [pay], bins: [0, 100] }
";

const OVERRIDE: &str = "overrides: [{ name: notes, columns: [note], detectors: [email], \
    residual: [names], min_recall: 0.6, scorecard: scorecards/notes.json }]";

fn text(sql: &str) -> String {
    let all = pipeline_text(CLASSES, "", OVERRIDE);
    let all = all.replace("stages: []", &format!("stages:{STAGES}  - sql: {sql}"));
    all.replace("{ id: int64 }", "{ id: int64, born: date, pay: int64, cents: int64 }")
}

fn row() -> Vec<(&'static str, LeafType)> {
    let text = LeafType::Text;
    vec![
        ID,
        ("email", text),
        ("note", text),
        ("born", LeafType::Date),
        ("street", text),
        ("pay", LeafType::Int64),
        ("city", text),
        ("country", text),
        ("cents", LeafType::Int64),
    ]
}

fn planned(sql: &str) -> Result<(Place, Pipeline, Plan), Findings> {
    let (place, pipeline) = load(&text(sql))?;
    let plan = Plan::new(&pipeline, leaves(&row()))?;
    Ok((place, pipeline, plan))
}

fn good(sql: &str) -> (Place, Pipeline, Plan) {
    planned(sql).unwrap_or_else(|findings| panic!("{findings}"))
}

#[test]
fn what_sql_may_not_let_cross() {
    for (sql, expected) in [
        // Indirect flows, also of what is protected.
        ("select city from batch where id is null", "class `identifier`"),
        ("select city from batch where email is not null", "class `identifier`"),
        ("select city from batch where length(note) > 3", "class `free_text`"),
        ("select case when email is null then 1 else 2 end as x from batch", "class `identifier`"),
        ("select case when note like '%a%' then city end as x from batch", "class `free_text`"),
        ("select cast(note as bigint) as x from batch", "class `free_text`"),
        ("select nullif(city, note) as x from batch", "class `free_text`"),
        // Texts of free text, and of what may be a whole value.
        ("select lower(note) as x from batch", "made of free text"),
        ("select upper(street) as x from batch", "prefix of 6"),
        // Domains.
        ("select id = email as x from batch", "two domains"),
        ("select left(id, 3) as x from batch", "is no text"),
        // What stays behind cannot be named.
        ("select gone from batch", "no column that crosses"),
        ("select now() as x from batch", "reads the clock"),
        ("select city from batch limit 3", "LIMIT"),
    ] {
        let findings = planned(sql).err().unwrap_or_else(|| panic!("taken: {sql}"));
        let told = findings.to_string();
        assert!(told.contains(expected) && told.contains("next: "), "{sql}: {told}");
        assert!(findings.iter().all(|f| f.mark.line > 1), "{sql}: no place: {told}");
    }
    // Its neighbours, as controls.
    for sql in [
        "select id, email is null as x from batch where country = 'DE'",
        "select length(note) as x, note like '%a%' as y, id from batch",
        "select starts_with(street, 'A') as x from batch where pay = '[0,100)'",
        "select * from batch where born > 1980",
        "select coalesce(city, country) as x, 1 as one from batch",
    ] {
        good(sql);
    }
}

#[test]
fn findings_stand_where_the_text_does() {
    for (sql, line, place) in [
        ("select city, contry from batch", 0, "contry"),
        ("'select city, ''x'' as x, contry from batch'", 0, "contry"),
        ("\"select city, contry from batch\"", 0, "contry"),
        ("select city,\n      contry from batch", 1, "contry"),
        ("|\n      select city,\n        contry\n      from batch", 2, "contry"),
        (">\n      select city,\n        contry\n      from batch", 2, "contry"),
        ("select city from batch where id is null", 0, "id is null"),
        ("select city from batch ordr", 0, "ordr"),
    ] {
        let all = text(sql);
        let findings = planned(sql).err().unwrap_or_else(|| panic!("taken: {sql}"));
        let mark = findings.iter().next().unwrap().mark;
        let stage = all.lines().position(|l| l.contains("- sql:")).unwrap();
        let lines: Vec<&str> = all.lines().collect();
        let found = lines[mark.line as usize - 1];
        assert_eq!(mark.line as usize - 1, stage + line, "{sql}: {findings}");
        let at =
            found.char_indices().nth(mark.column as usize - 1).map_or("", |(n, _)| &found[n..]);
        assert!(at.starts_with(place), "{sql}: at `{at}`");
    }
    let twice = text("select city from batch\n  - sql: select city from batch");
    assert!(load(&twice).unwrap_err().to_string().contains("a second `sql` stage"));
    let early = text("select city from batch\n  - drop: { columns: [city] }");
    assert!(load(&early).unwrap_err().to_string().contains("stages follow the `sql` stage"));
}

/// The row before the change is none that SELECT and WHERE have seen.
#[test]
fn the_envelope_shape_bad_with_sql() {
    let (_, mut pipeline) = load(&text("select id, city from batch")).unwrap();
    assert!(Plan::new(&pipeline, leaves(&row())).is_ok());
    pipeline.changes.envelope = Some(douane_ledger::release::RecordEnvelope {
        db: "crm".into(),
        table: "customers".into(),
        deletes: douane_ledger::release::Deletes::default(),
    });
    let told = Plan::new(&pipeline, leaves(&row())).unwrap_err().to_string();
    assert!(told.contains("sql: the envelope shape"), "{told}");
}

/// Where only the source knows the types, nothing is refused for a guess.
#[test]
fn lint_does_not_guess_types() {
    let avro = |sql: &str| {
        let all = text(sql).replace("debezium_json", "debezium_avro").replace(", key: [id]", "");
        let all = all.replace("types: { id: int64, born: date, pay: int64, cents: int64 }\n", "");
        let place = "registry: 'http://c', bootstrap: 'a:9092'";
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("domains.yaml"), DOMAINS).unwrap();
        crate::scorecard::fixture::put(dir.path(), &["email"]);
        std::fs::write(dir.path().join("douane.yaml"), PLACE.replace("bootstrap: 'a:9092'", place))
            .unwrap();
        std::fs::write(dir.path().join("p.yaml"), all).unwrap();
        let (_, pipeline) =
            config::load(&dir.path().join("douane.yaml"), &dir.path().join("p.yaml"))
                .unwrap_or_else(|findings| panic!("{findings}"));
        lint(&pipeline)
    };
    assert_eq!(avro("select cents + 1 as x, lower(city) as y from batch").to_string(), "");
    assert!(
        avro("select cents + 1 as x from batch where email = 'a'").to_string().contains("sql:")
    );
    assert!(avro("select born || 'x' as x from batch").to_string().contains("text"));
}

#[test]
fn the_proof_shows_what_sql_makes() {
    let (place, pipeline, plan) = good(
        "select id, born as year, country = 'DE' as domestic, \
         case when pay = '[0,100)' then city end as where_poor from batch \
         where country in ('DE', 'FR')",
    );
    // What is not selected and not read is never built.
    assert_eq!(plan.built(), ["id", "born", "pay", "city", "country"]);
    let proof = Proof::new(&place, &pipeline, &plan, "print");
    let row = |name: &str| {
        let found = proof.columns.iter().filter(|row| row.column == name && row.part == Part::Row);
        found.last().unwrap()
    };
    assert_eq!(
        (row("year").class.as_str(), row("year").rule.as_str()),
        ("quasi", "quasi: generalize")
    );
    assert_eq!(row("year").direct, ["after.born"]);
    let domestic = row("domestic");
    assert_eq!((domestic.class.as_str(), domestic.column_type.as_str()), ("public", "boolean"));
    assert_eq!(domestic.rule, "post-processing of columns that may cross");
    assert_eq!(domestic.protection, "sql: (country = 'DE')");
    let poor = row("where_poor");
    assert_eq!(
        (&poor.direct[..], &poor.indirect[..]),
        (&["after.city".to_owned()][..], &["after.pay".to_owned()][..])
    );
    let sql = proof.sql.as_ref().unwrap();
    assert_eq!(sql.filter, ["after.country"]);
    assert!(sql.text.ends_with("where (country in ('DE', 'FR'))"));
    let told = proof.text();
    for word in ["not selected by sql", "deletes bypass WHERE", &sql.text] {
        assert!(told.contains(word), "{told}");
    }
    let why = |leaf: &str| proof.behind.iter().find(|b| b.leaf == leaf).unwrap().why;
    assert_eq!(why("after.email"), "not selected by sql");
    assert_eq!(why("after.country"), "only what sql computes of it or decides by it crosses");
}

/// A derived column shows the protection beneath it and asks for the strictest class.
#[test]
fn a_derived_column_has_the_strictest_class() {
    let (place, pipeline, plan) = good(
        "select pay = '[0,100)' and born > 1980 as x, id = id as y, length(note) as n from batch",
    );
    let proof = Proof::new(&place, &pipeline, &plan, "print");
    let classes: Vec<(&str, &str, bool)> = proof
        .columns
        .iter()
        .filter(|row| row.part == Part::Row)
        .map(|row| (row.column.as_str(), row.class.as_str(), row.subject))
        .collect();
    assert_eq!(
        classes,
        [("x", "sensitive", false), ("y", "identifier", true), ("n", "free_text", false)]
    );
    let row = proof.columns.iter().find(|row| row.column == "x").unwrap();
    assert!(row.protection.contains("beneath it born: generalize: year; pay: generalize: bins"));
}

#[test]
fn the_fingerprint_holds_the_sql_and_not_its_layout() {
    let print = |sql: &str| {
        let (place, pipeline, plan) = good(sql);
        release::fingerprint(&place, &pipeline, &plan).unwrap()
    };
    let base = print("select id, city from batch where country = 'DE'");
    assert_eq!(base, print("SELECT id,\n      city FROM batch where (country)='DE'"));
    for other in [
        "select city, id from batch where country = 'DE'",
        "select id, city as town from batch where country = 'DE'",
        "select id, city from batch where country = 'FR'",
        "select id, city from batch",
        "select id, city, country from batch where country = 'DE'",
    ] {
        assert_ne!(base, print(other), "{other}");
    }
    let all = "id, email, note, born, street, pay, city, country, cents";
    assert_eq!(print("select * from batch"), print(&format!("select {all} from batch")));
}

/// (op, id, country, cents): the rest of the row is the same everywhere.
type Change = (Op, i64, Option<&'static str>, Option<i64>);

fn changes(rows: &[Change]) -> Batch {
    let text = |value: &'static str| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|r| r.0.kind().eq(&douane_schemas::batch::RowKind::Upsert).then_some(value))
                .collect::<StringArray>(),
        )
    };
    let ids: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.1)).collect::<Int64Array>());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key.id", ids),
        ("after.city", text("Bonn")),
        ("after.country", Arc::new(rows.iter().map(|r| r.2).collect::<StringArray>())),
        ("after.cents", Arc::new(rows.iter().map(|r| r.3).collect::<Int64Array>())),
    ];
    let made = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let origins = (0i64..)
        .zip(rows)
        .map(|(offset, row)| Origin {
            topic: 0,
            partition: 0,
            offset,
            timestamp_ms: 0,
            op: row.0,
            schema_id: None,
        })
        .collect();
    Batch { rows: made, origins }
}

fn compiled(sql: &str) -> Stages {
    let (_, pipeline, plan) = good(sql);
    assert_eq!(plan.built(), ["city", "country", "cents"]);
    plan.compile(&pipeline, &Keyring::new(&RootKey::new([3; 32]))).unwrap()
}

/// `10 / coalesce(cents, 0)` fails for a row of nulls: a delete has nothing but nulls, and must
/// not be refused for it.
const FAILING: &str =
    "select city, 10 / coalesce(cents, 0) as part from batch where country = 'DE'";

const CHANGES: &[Change] = &[
    (Op::Create, 1, Some("DE"), Some(5)),
    (Op::Create, 2, Some("FR"), Some(0)),
    (Op::Update, 1, Some("FR"), Some(0)),
    (Op::Update, 3, None, Some(1)),
    (Op::Delete, 4, None, None),
    (Op::Tombstone, 4, None, None),
    (Op::Read, 5, Some("DE"), Some(0)),
    (Op::Read, 6, Some("DE"), Some(2)),
];

#[test]
fn deletes_bypass_where_and_rows_outside_are_not_computed() {
    let staged = compiled(FAILING).apply(changes(CHANGES)).unwrap();
    let refused: Vec<(i64, &str)> =
        staged.refused.iter().map(|row| (row.origin.offset, row.code)).collect();
    assert_eq!(refused, [(6, "division_by_zero")]);
    assert_eq!(staged.outside, [false, true, true, true, false, false, false]);
    let parts: Vec<Option<i64>> =
        arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(
            staged.columns.column(1),
        )
        .iter()
        .collect();
    assert_eq!(parts, [Some(2), None, None, None, None, None, Some(5)]);
    // Without WHERE the same rows are computed, and two more fail.
    let all = compiled("select city, country, 10 / coalesce(cents, 0) as part from batch");
    let refused: Vec<i64> =
        all.apply(changes(CHANGES)).unwrap().refused.iter().map(|row| row.origin.offset).collect();
    assert_eq!(refused, [1, 2, 6]);
}

/// A row comes out the same wherever the batches are cut.
#[test]
fn batches_may_be_cut_anywhere() {
    let stages = compiled(FAILING);
    let whole = stages.apply(changes(CHANGES)).unwrap();
    for cut in 0..=CHANGES.len() {
        let (first, second) = CHANGES.split_at(cut);
        let parts = [first, second].map(|part| stages.apply(changes(part)).unwrap());
        let refused: Vec<&str> =
            parts.iter().flat_map(|p| p.refused.iter().map(|row| row.code)).collect();
        assert_eq!(refused, ["division_by_zero"]);
        let outside: Vec<bool> = parts.iter().flat_map(|p| p.outside.clone()).collect();
        assert_eq!(outside, whole.outside);
        let joined = arrow::compute::concat_batches(
            &whole.columns.schema(),
            parts.iter().map(|part| &part.columns),
        )
        .unwrap();
        assert_eq!(joined, whole.columns);
    }
}
