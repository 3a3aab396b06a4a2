//! The plan from files as users write them: what crosses, what is refused, and what one bad cell
//! costs.

mod aggregate;
mod enrich;
mod min_group;
mod sql;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Int64Array, StringArray};
use douane_schemas::batch::Op;
use douane_schemas::keys::RootKey;
use douane_schemas::record::RawRecord;

use super::*;
use crate::config::{self, Place};
use crate::proof::Proof;
use crate::release;

const PLACE: &str = "\
clusters:
  sovereign: { zone: eu-de, id: sovereign-id, bootstrap: 'a:9092' }
  global: { zone: global, id: global-id, bootstrap: 'b:9092', topic_prefix: '' }
keys: { dir: keys/ }
ledger: { dir: ledger/ }
trust: trust.json
tasks: 1
";

const DOMAINS: &str = "\
domains:
  customer: {}
  phone: {}
  folded: { normalize: decimal }
  per: { algorithm: aes_siv, key_per: after.owner }
  per_key: { algorithm: aes_siv, key_per: key.id }
";

fn pipeline_text(classes: &str, stages: &str, rest: &str) -> String {
    format!(
        "name: p
purpose: test
domains: domains.yaml
source: {{ kafka: {{ cluster: sovereign, topics: [t], format: debezium_json, start: earliest, key: [id] }} }}
classes: {{ {classes} }}
types: {{ id: int64 }}
stages: [{stages}]
sink: {{ kafka: {{ cluster: global, topic: out, format: json, timestamp: 1s }} }}
release: p.release.json
{rest}"
    )
}

fn load(text: &str) -> Result<(Place, Pipeline), Findings> {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    write("domains.yaml", DOMAINS);
    crate::scorecard::fixture::put(dir.path(), &["email"]);
    let place = write("douane.yaml", PLACE);
    let pipeline = write("p.yaml", text);
    config::load(&place, &pipeline)
}

fn leaves(paths: &[(&str, LeafType)]) -> TableLeaves {
    let leaf = |(path, leaf_type): &(&str, LeafType)| Leaf {
        path: (*path).to_owned(),
        leaf_type: *leaf_type,
    };
    TableLeaves { key: vec![leaf(&("id", LeafType::Int64))], row: paths.iter().map(leaf).collect() }
}

const ID: (&str, LeafType) = ("id", LeafType::Int64);

fn findings(classes: &str, stages: &str, rest: &str, row: &[(&str, LeafType)]) -> Vec<String> {
    let text = pipeline_text(classes, stages, rest);
    let found = match load(&text) {
        Err(findings) => findings,
        Ok((_, pipeline)) => Plan::new(&pipeline, leaves(row)).err().unwrap_or_default(),
    };
    found.iter().map(|finding| finding.message.clone()).collect()
}

const TOKEN: &str = "{ tokenize: { columns: [id], domain: customer } }";

/// Where its class stands, and what may be done: there is no stage that could be named.
#[test]
fn a_leaf_without_a_stage_is_refused_at_its_class() {
    let text = pipeline_text("id: identifier, zip: quasi", TOKEN, "");
    let (_, pipeline) = load(&text).unwrap();
    let found = Plan::new(&pipeline, leaves(&[ID, ("zip", LeafType::Text)])).err().unwrap();
    let finding = found.iter().find(|finding| finding.message.starts_with("`zip`")).unwrap();
    let zip = pipeline.classes.iter().find(|rule| rule.path == "zip").unwrap();
    assert!(finding.mark == zip.line && zip.line != Mark::FILE, "{finding:?}");
    let said = found.to_string();
    assert!(said.contains("next: give it a stage: `- drop: { columns: [zip] }`"), "{said}");
}

#[test]
fn what_the_policy_refuses_is_a_finding() {
    let text = LeafType::Text;
    for (classes, stages, row, expected) in [
        ("id: identifier", "", vec![ID], "class identifier with no protection"),
        ("id: identifier, name: identifier", TOKEN, vec![ID, ("name", text)], "`name`: class"),
        ("id: identifier, note: free_text", TOKEN, vec![ID, ("note", text)], "`note`: class"),
        ("id: identifier, pay: sensitive", TOKEN, vec![ID, ("pay", text)], "`pay`: class"),
        ("id: identifier, sick: special", TOKEN, vec![ID, ("sick", text)], "`sick`: class"),
        ("id: identifier", TOKEN, vec![ID, ("new", text)], "no class for leaf `after.new`"),
        ("id: identifier, gone: public", TOKEN, vec![ID], "`gone` matches no leaf"),
        (
            "id: identifier, place: { class: public, residency: eu }",
            TOKEN,
            vec![ID, ("place", text)],
            "`place` has residency `eu`",
        ),
        (
            "id: identifier, a.b: public, a_b: public",
            TOKEN,
            vec![ID, ("a.b", text), ("a_b", text)],
            "two leaves cross as column `a_b`",
        ),
        ("id: identifier", "{ drop: { columns: [id] } }", vec![ID], "the output has no key"),
        (
            "id: identifier",
            "{ mask: { columns: [id], keep: { last: 2 } } }",
            vec![ID],
            "`id` in the record key: its stage does not keep",
        ),
        (
            "id: identifier",
            "{ tokenize: { columns: [id], domain: folded } }",
            vec![ID],
            "`id` in the record key: its domain's normaliser",
        ),
    ] {
        let found = findings(classes, stages, "", &row);
        assert!(
            found.iter().any(|message| message.contains(expected)),
            "{classes} | {stages}: expected `{expected}`, found {found:?}"
        );
    }
}

#[test]
fn what_the_policy_allows_is_none() {
    let row = [ID, ("city", LeafType::Text), ("secret", LeafType::Text)];
    let classes = "id: identifier, city: public, secret: secret";
    assert_eq!(findings(classes, TOKEN, "", &row), [""; 0]);
}

fn plan() -> (Place, Pipeline, Plan) {
    let stages = format!(
        "{TOKEN}, {{ fpe: {{ columns: [phone], alphabet: digits, domain: phone }} }}, \
         {{ generalize: {{ columns: [balance], bins: [0, 100] }} }}"
    );
    let classes = "id: identifier, phone: identifier, balance: sensitive, city: public";
    let (place, pipeline) = load(&pipeline_text(classes, &stages, "")).unwrap();
    let row =
        [ID, ("phone", LeafType::Text), ("balance", LeafType::Int64), ("city", LeafType::Text)];
    let plan = Plan::new(&pipeline, leaves(&row)).unwrap();
    (place, pipeline, plan)
}

/// (id, phone, balance, city).
type Row<'a> = (Option<i64>, Option<&'a str>, Option<i64>, &'a str);

/// Rows as a decoder would make them.
fn batch(rows: &[Row<'_>]) -> Batch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>());
    let phones: ArrayRef = Arc::new(rows.iter().map(|r| r.1).collect::<StringArray>());
    let balances: ArrayRef = Arc::new(rows.iter().map(|r| r.2).collect::<Int64Array>());
    let cities: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.3)).collect::<StringArray>());
    let columns = [
        ("key.id", Arc::clone(&ids)),
        ("after.id", ids),
        ("after.phone", phones),
        ("after.balance", balances),
        ("after.city", cities),
    ];
    let rows_made = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let origins = (0..rows.len() as i64)
        .map(|offset| Origin {
            topic: 0,
            partition: 0,
            offset,
            timestamp_ms: 0,
            op: Op::Create,
            schema_id: None,
        })
        .collect();
    Batch { rows: rows_made, origins }
}

fn stages() -> Stages {
    let (_, pipeline, plan) = plan();
    plan.compile(&pipeline, &Keyring::new(&RootKey::new([3; 32]))).unwrap()
}

#[test]
fn one_bad_cell_costs_its_row_and_no_other() {
    let good = |id| (Some(id), Some("0301234567"), Some(7), "Bonn");
    let mut rows: Vec<_> = (0..37).map(good).collect();
    rows[5].1 = Some("030123456x");
    rows[6].1 = Some("12");
    rows[36].0 = None;
    let staged = stages().apply(batch(&rows)).unwrap();
    let refused: Vec<(i64, &str)> =
        staged.refused.iter().map(|row| (row.origin.offset, row.code)).collect();
    assert_eq!(refused, [(5, "outside_alphabet"), (6, "domain_too_small"), (36, "null_key")]);
    let columns: Vec<_> = staged.refused.iter().map(|row| row.column.as_deref()).collect();
    assert_eq!(columns, [Some("phone"), Some("phone"), Some("id")]);
    let offsets: Vec<i64> = staged.batch.origins.iter().map(|origin| origin.offset).collect();
    assert_eq!(offsets, (0..36).filter(|o| ![5, 6].contains(o)).collect::<Vec<i64>>());
    assert_eq!(staged.columns.num_rows(), offsets.len());
    assert_eq!(staged.keys.num_rows(), offsets.len());

    // The rows that stay are what they would have been without their neighbours.
    rows.truncate(36);
    rows.remove(6);
    rows.remove(5);
    let alone = stages().apply(batch(&rows)).unwrap();
    assert!(alone.refused.is_empty());
    assert_eq!(staged.columns, alone.columns);
    assert_eq!(staged.keys, alone.keys);
}

#[test]
fn key_and_row_of_one_domain_have_one_token() {
    let staged = stages().apply(batch(&[(Some(7), Some("0301234567"), None, "Bonn")])).unwrap();
    assert_eq!(staged.keys.column(0), staged.columns.column(0));
    let names: Vec<_> = staged.columns.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["id", "phone", "balance", "city"]);
}

#[test]
fn the_proof_names_every_leaf() {
    let (place, pipeline, plan) = plan();
    let fingerprint = release::fingerprint(&place, &pipeline, &plan).unwrap();
    let proof = Proof::new(&place, &pipeline, &plan, &fingerprint);
    let rules: Vec<(&str, &str)> =
        proof.columns.iter().map(|row| (row.column.as_str(), row.rule.as_str())).collect();
    assert_eq!(
        rules,
        [
            ("id", "identifier: tokenize"),
            ("id", "identifier: tokenize"),
            ("phone", "identifier: fpe (at most 4 characters kept)"),
            ("balance", "sensitive: generalize to bins"),
            ("city", "public: nothing needed"),
        ]
    );
    let indirect: Vec<&str> =
        proof.columns.iter().flat_map(|row| row.indirect.iter().map(String::as_str)).collect();
    assert!(indirect.contains(&"after.phone"), "{indirect:?}");
    let text = proof.text();
    for leaf in &plan.classed {
        assert!(text.contains(&leaf.part.column(&leaf.leaf.path)), "{}", leaf.leaf.path);
    }
}

/// A column that nobody has is answered with the one that was meant, or with where all of them are.
#[test]
fn a_column_that_is_none_is_refused_with_the_nearest() {
    let (place, pipeline, plan) = plan();
    let of = |column: &str| {
        let proof = Proof::new(&place, &pipeline, &plan, "print");
        let standing = release::Standing::of(&place, &pipeline, "print");
        let file = std::path::Path::new("my pipelines/p.yaml");
        crate::explain::only(vec![(proof, standing)], file, column)
    };
    for (bad, next) in [
        ("phnoe", "next: `--column phone`"),
        (
            "nothing_like_it",
            "next: `douane explain 'my pipelines/p.yaml'` shows all that there are",
        ),
    ] {
        let fault = of(bad).map(drop).unwrap_err();
        assert_eq!(fault.exit_code(), 1);
        let told = fault.told();
        assert!(told.contains(&format!("`{bad}`")) && told.ends_with(next), "{told}");
    }
    // The control: a column, and a leaf that stays behind.
    assert_eq!(of("phone").unwrap()[0].0.names().collect::<Vec<_>>(), ["phone"]);
    let behind = plan.classed.iter().map(|leaf| leaf.leaf.path.as_str());
    for leaf in behind {
        assert!(of(leaf).is_ok(), "{leaf}");
    }
}

#[test]
fn one_column_of_the_proof_can_be_asked_for() {
    let (place, pipeline, plan) = plan();
    let proof = Proof::new(&place, &pipeline, &plan, "print");
    let phone = proof.clone().only("phone");
    assert_eq!(phone.columns.iter().map(|row| row.column.as_str()).collect::<Vec<_>>(), ["phone"]);
    assert!(phone.behind.is_empty());
    // The key's column and the row's have one name.
    assert_eq!(proof.clone().only("id").columns.len(), 2);
    let none = proof.only("hone");
    assert!(none.columns.is_empty() && none.behind.is_empty());
}

/// What an approval is for is in the fingerprint, and what it is not for is not.
#[test]
fn the_fingerprint_changes_with_what_crosses_only() {
    let print = |text: &str| {
        let (place, pipeline) = load(text).unwrap();
        let plan = Plan::new(&pipeline, leaves(&[ID, ("city", LeafType::Text)])).unwrap();
        release::fingerprint(&place, &pipeline, &plan).unwrap()
    };
    let base = pipeline_text("id: identifier, city: public", TOKEN, "");
    let same = format!("# a remark\n{}quarantine: {{ max_per_minute: 5 }}\n", base);
    assert_eq!(print(&base), print(&same));
    for (from, to) in [
        ("purpose: test", "purpose: other"),
        ("topic: out", "topic: elsewhere"),
        ("timestamp: 1s", "timestamp: 1m"),
        ("timestamp: 1s }", "timestamp: 1s }, unavailable: nullify"),
        ("timestamp: 1s }", "timestamp: 1s }, truncate: drop"),
        ("release:", "unknown_leaf: strip\nrelease:"),
        ("timestamp: 1s }", ENVELOPE),
        ("timestamp: 1s }", &ENVELOPE.replace("t }", "u }")),
        ("timestamp: 1s }", &ENVELOPE.replace("keep", "tombstone")),
        ("domain: customer", "domain: phone"),
        ("topics: [t]", "topics: [u]"),
        ("topics: [t]", "topics: [t], unavailable_value_placeholder: n/a"),
        ("city: public", "city: { class: quasi }"),
    ] {
        let mut other = base.replace(from, to);
        if to.contains("quasi") {
            other = other.replace(
                "stages: [",
                "stages: [{ tokenize: { columns: [city], domain: customer } }, ",
            );
        }
        assert_ne!(print(&base), print(&other), "{to}");
    }
}

const ENVELOPE: &str =
    "timestamp: 1s, shape: envelope, source: { db: d, table: t } }, deletes: keep";

/// The row before the change goes through the stages of the row after it, from the record on.
#[test]
fn the_row_before_gets_the_stages_of_the_row_after() {
    let stages =
        format!("{TOKEN}, {{ fpe: {{ columns: [phone], alphabet: digits, domain: phone }} }}");
    let text = pipeline_text("id: identifier, phone: identifier, city: public", &stages, "");
    let (place, pipeline) = load(&text.replace("timestamp: 1s }", ENVELOPE)).unwrap();
    let row = [ID, ("phone", LeafType::Text), ("city", LeafType::Text)];
    let plan = Plan::new(&pipeline, leaves(&row)).unwrap();
    let stages = plan.compile(&pipeline, &Keyring::new(&RootKey::new([3; 32]))).unwrap();
    let mut decoder = plan.decoder(&pipeline);
    let image = |phone: &str| format!(r#"{{"id":7,"phone":"{phone}","city":"Bonn"}}"#);
    let (old, new, bad) = (image("0301234567"), image("0307654321"), image("x"));
    for (offset, before, after, op) in [
        (0, "null", &*old, "c"),
        (1, &*old, &*new, "u"),
        (2, &*bad, &*new, "u"),
        (3, &*new, "null", "d"),
    ] {
        let value = format!(
            r#"{{"before":{before},"after":{after},"source":{{"db":"d","table":"t"}},"op":"{op}"}}"#
        );
        let record = RawRecord {
            topic: 0,
            partition: 0,
            offset,
            timestamp_ms: 0,
            key: Some(br#"{"id":7}"#),
            value: Some(value.as_bytes()),
            headers: &[],
        };
        decoder.push(&record, &mut NoRegistry).unwrap();
    }
    let staged = stages.apply(decoder.finish()).unwrap();
    let refused: Vec<i64> = staged.refused.iter().map(|row| row.origin.offset).collect();
    assert_eq!(refused, [2], "a cell before the change refuses its row too");
    let before = staged.before.unwrap();
    assert_eq!(before.schema(), staged.columns.schema());
    for column in 0..before.num_columns() {
        // What was after the change of one record is before that of the next: 0 and 1, 1 and 3.
        let (after, before) = (staged.columns.column(column), before.column(column));
        assert_eq!(before.slice(1, 2).as_ref(), after.slice(0, 2).as_ref());
        assert!(before.is_null(0) && after.is_null(2));
    }
    assert_ne!(before.column(1).slice(1, 1).as_ref(), before.column(1).slice(2, 1).as_ref());
    let proof = Proof::new(&place, &pipeline, &plan, "print");
    let phone = proof.columns.iter().find(|row| row.column == "phone").unwrap();
    assert_eq!(phone.direct, ["before.phone", "after.phone"]);
    assert_eq!(phone.indirect, phone.direct);
    let text = proof.text();
    assert!(!text.contains("before.*"), "{text}");
    for said in ["shape: envelope", "db `d`, table `t`", "deletes: keep", "truncate: hold"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

struct NoRegistry;

impl douane_schemas::debezium::WriterSchemas for NoRegistry {
    fn schema_text(&mut self, _: u32) -> Result<Option<String>, douane_schemas::debezium::Away> {
        Ok(None)
    }
}

/// The path that the tests above take is the users': a file that is not there is said so.
#[test]
fn files_bad_missing() {
    let nowhere = Path::new("nowhere/douane.yaml");
    assert!(config::load(nowhere, nowhere).is_err());
}

/// A leaf that does not cross decides the key: it is read, it is no column, and it says so of the row
/// before as well.
#[test]
fn whose_a_cell_is_may_stay_behind() {
    let stages = format!(
        "{TOKEN}, {{ tokenize: {{ columns: [mail], domain: per, on_bad: null }} }}, \
         {{ drop: {{ columns: [owner] }} }}"
    );
    let classes = "id: identifier, mail: identifier, owner: identifier";
    let text = pipeline_text(classes, &stages, "").replace("timestamp: 1s }", ENVELOPE);
    let (place, pipeline) = load(&text).unwrap();
    let row = [ID, ("mail", LeafType::Text), ("owner", LeafType::Text)];
    let plan = Plan::new(&pipeline, leaves(&row)).unwrap();
    assert_eq!(plan.built(), ["id", "mail", "owner"]);
    let keys = crate::key_home::KeyHome::throw_away().unwrap();
    let stages = plan.compile(&pipeline, &keys.keyring()).unwrap();
    let mut decoder = plan.decoder(&pipeline);
    let image = |owner: &str| format!(r#"{{"id":7,"mail":"a@x","owner":{owner}}}"#);
    let (ada, bo, nobody) = (image("\"ada\""), image("\"bo\""), image("null"));
    for (offset, before, after) in
        [(0, "null", &ada), (1, &*ada, &bo), (2, &*bo, &ada), (3, &*ada, &nobody)]
    {
        let value = format!(
            r#"{{"before":{before},"after":{after},"source":{{"db":"d","table":"t"}},"op":"u"}}"#
        );
        let record = RawRecord {
            topic: 0,
            partition: 0,
            offset,
            timestamp_ms: 0,
            key: Some(br#"{"id":7}"#),
            value: Some(value.as_bytes()),
            headers: &[],
        };
        decoder.push(&record, &mut NoRegistry).unwrap();
    }
    let staged = stages.apply(decoder.finish()).unwrap();
    assert!(staged.refused.is_empty());
    let names: Vec<_> = staged.columns.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["id", "mail"]);
    let mails = |rows: &RecordBatch| {
        let mails = rows.column(1).as_any().downcast_ref::<StringArray>().unwrap().clone();
        mails.iter().map(|mail| mail.map(str::to_owned)).collect::<Vec<_>>()
    };
    let (after, before) = (mails(&staged.columns), mails(&staged.before.unwrap()));
    assert_ne!(after[0], after[1], "one value, two subjects");
    assert_eq!((&after[0], &after[3]), (&after[2], &None), "no subject, no key");
    assert_eq!(before, [None, after[0].clone(), after[1].clone(), after[0].clone()]);
    let proof = Proof::new(&place, &pipeline, &plan, "print");
    let mail = proof.columns.iter().find(|row| row.column == "mail").unwrap();
    assert!(mail.protection.contains("a key per after.owner"), "{}", mail.protection);
    assert!(mail.keeps.contains(&"joinable within the subject only"), "{:?}", mail.keeps);
    assert!(!mail.keeps.contains(&"joinability"));
    assert!(mail.indirect.contains(&"after.owner".to_owned()), "{:?}", mail.indirect);
    let joins = mail.joins.as_ref().unwrap();
    assert_eq!(joins.domain, "per, within one after.owner");
}

#[test]
fn keys_per_subject_bad_record_key_bad_leaf_bad_type_bad_envelope() {
    let mail = "{ tokenize: { columns: [mail], domain: per } }";
    let (text, classes) = (LeafType::Text, "id: identifier, mail: identifier");
    let in_key = "{ tokenize: { columns: [id], domain: per } }";
    let owned = "id: identifier, mail: identifier, owner: secret";
    let of = |stages: &str| format!("{TOKEN}, {stages}");
    for (classes, stages, row, expected) in [
        (owned, in_key.to_owned(), vec![ID, ("owner", text)], "`id`: its domain has a key per"),
        (classes, of(mail), vec![ID, ("mail", text)], "which is no leaf of these records"),
        (
            owned,
            of("{ fpe: { columns: [mail], alphabet: base62, domain: per } }"),
            vec![ID, ("mail", text), ("owner", text)],
            "encrypted values have one key",
        ),
        (
            owned,
            of(mail),
            vec![ID, ("mail", text), ("owner", LeafType::Boolean)],
            "which is boolean: no one text",
        ),
    ] {
        let found = findings(classes, &stages, "", &row);
        assert!(found.iter().any(|m| m.contains(expected)), "{expected}: {found:?}");
    }
    let row = [ID, ("mail", text), ("owner", text)];
    assert_eq!(findings(owned, &of(mail), "", &row), [""; 0], "the control");
    let enveloped = pipeline_text(owned, &of(mail), "").replace("timestamp: 1s }", ENVELOPE);
    let (_, pipeline) = load(&enveloped).unwrap();
    let found = Plan::new(&pipeline, leaves(&row)).unwrap_err();
    assert!(found.iter().any(|f| f.message.contains("would hold its partition")), "{found:?}");
    // The key of a record says whose it is as well as its row does.
    let per_key = of(&mail.replace("domain: per", "domain: per_key"));
    assert_eq!(findings(owned, &per_key, "", &row), [""; 0]);
}
