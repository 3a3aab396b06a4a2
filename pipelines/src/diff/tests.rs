//! Each kind of change is told with its risk; nothing changes, nothing is told.

use douane_ledger::release::sign;
use douane_ledger::signing::SigningKey;
use douane_ledger::trust::{self, Approver, Role, Root};

use super::*;

const PLACE: &str = "\
clusters:
  sovereign: { zone: eu-de, id: sovereign-id, bootstrap: 'a:9092', registry: 'http://a:8081' }
  global: { zone: global, id: global-id, bootstrap: 'b:9092', registry: 'http://b:8081' }
keys: { dir: keys/ }
ledger: { dir: ledger/ }
trust: trust.json
tasks: 1
";

const DOMAINS: &str = "domains: { customer: {}, other: {}, mail: {} }\n";

const PIPELINE: &str = "\
name: p
purpose: test
domains: domains.yaml
source: { kafka: { cluster: sovereign, topics: [t], format: debezium_json, key: [id], start: earliest } }
classes:
  id: identifier
  email: identifier
  city: public
  salary: sensitive
types: { id: int64, salary: int64 }
stages:
  - tokenize: { columns: [id], domain: customer }
  - tokenize: { columns: [email], domain: mail }
  - generalize: { columns: [salary], bins: [0, 1000] }
sink: { kafka: { cluster: global, topic: out, format: json, timestamp: 1s } }
release: p.release.json
";

fn diff(changes: &[(&str, &str)], domains: &str) -> Diff {
    let dir = tempfile::tempdir().unwrap();
    let mut new = PIPELINE.to_owned();
    for (from, to) in changes {
        assert!(new.contains(from), "{from}");
        new = new.replacen(from, to, 1);
    }
    std::fs::create_dir(dir.path().join("new")).unwrap();
    for (name, text) in [
        ("douane.yaml", PLACE),
        ("domains.yaml", DOMAINS),
        ("old.yaml", PIPELINE),
        ("new/domains.yaml", domains),
        ("new/new.yaml", &new),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let at = |name: &str| dir.path().join(name);
    run(&at("douane.yaml"), None, &at("old.yaml"), &at("new/new.yaml"))
        .unwrap_or_else(|f| panic!("{f}"))
}

fn told(diff: &Diff) -> Vec<String> {
    diff.columns
        .iter()
        .map(|c| format!("{} {} {}: {:?}", c.part, c.column, c.what, c.risk))
        .collect()
}

#[test]
fn equal_files_differ_in_nothing() {
    let diff = diff(&[], DOMAINS);
    assert_eq!(told(&diff), [""; 0]);
    assert!(diff.others.is_empty() && diff.schema_compatible);
    // There is no release, so none holds.
    assert!(!diff.release_holds && diff.text().contains("no release"), "{}", diff.text());
}

#[test]
fn each_change_is_told_with_its_risk() {
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a [&'a str], bool);
    let bumped = "domains: { customer: {}, other: {}, mail: { version: 2 } }\n";
    let cases: [Case<'_>; 9] = [
        (
            &[("  city: public\n", "  city: public\n  town: public\n")],
            DOMAINS,
            &["row town added: Disclosure"],
            true,
        ),
        (&[("  city: public\n", "")], DOMAINS, &["row city removed: Readers"], true),
        (
            &[("[email], domain: mail", "[email], domain: other")],
            DOMAINS,
            &["row email domain: Joins"],
            true,
        ),
        (
            &[("[id], domain: customer", "[id], domain: other")],
            DOMAINS,
            &["key id domain: Keys", "row id domain: Joins"],
            true,
        ),
        (
            &[(
                "tokenize: { columns: [email], domain: mail }",
                "mask: { columns: [email], keep: { last: 4 } }",
            )],
            DOMAINS,
            &["row email protection: Disclosure"],
            true,
        ),
        (
            &[("bins: [0, 1000]", "bins: [0, 500]")],
            DOMAINS,
            &["row salary protection: Disclosure"],
            true,
        ),
        (
            &[
                ("email: identifier", "email: public"),
                ("  - tokenize: { columns: [email], domain: mail }\n", ""),
            ],
            DOMAINS,
            &["row email class: Approval", "row email protection: Disclosure"],
            true,
        ),
        (
            &[
                ("  city: public", "  city: public"),
                ("salary: int64 }", "salary: int64, city: uuid }"),
            ],
            DOMAINS,
            &["row city type: Schema"],
            false,
        ),
        (&[], bumped, &["row email domain_version: Joins"], true),
    ];
    for (changes, domains, expected, compatible) in cases {
        let diff = diff(changes, domains);
        assert_eq!(told(&diff), expected, "{changes:?}");
        assert_eq!(diff.schema_compatible, compatible, "{changes:?}");
        let text = diff.text();
        assert!(text.contains("what has crossed stays as it was"), "{text}");
        for change in &diff.columns {
            assert!(text.contains(change.why), "{text}");
        }
    }
}

#[test]
fn what_is_not_a_column_is_told_beside() {
    let diff =
        diff(&[("format: json,", "format: avro,"), ("topic: out", "topic: elsewhere")], DOMAINS);
    let others: Vec<&str> = diff.others.iter().map(|other| other.what.as_str()).collect();
    assert_eq!(others, ["target topic", "target format"]);
    assert!(!diff.schema_compatible);
}

/// The lines beside the columns, with their risks.
fn beside(diff: &Diff) -> Vec<String> {
    diff.others.iter().map(|other| format!("{}: {:?}", other.what, other.risk)).collect()
}

const ENVELOPE: (&str, &str) = (
    "timestamp: 1s } }\n",
    "timestamp: 1s, shape: envelope, source: { db: crm, table: t } }, deletes: keep, \
     unavailable: nullify, truncate: drop }\nunknown_leaf: strip\npublish: every 1s\n",
);

#[test]
fn how_changes_cross_is_told() {
    let diff = diff(&[ENVELOPE], DOMAINS);
    assert_eq!(
        beside(&diff),
        [
            "publish every ms: Readers",
            "record shape: Disclosure",
            "source.db: Disclosure",
            "source.table: Disclosure",
            "deletes: Disclosure",
            "unavailable: Readers",
            "truncate: Keys",
            "unknown_leaf: Disclosure",
        ]
    );
    assert!(!diff.schema_compatible);
    for other in &diff.others {
        assert!(diff.text().contains(&format!("{}  [{}]", other.what, other.risk.word())));
        assert!(diff.text().contains(other.why));
    }
}

#[test]
fn a_condition_that_goes_or_changes_discloses() {
    let sql = |text: &str| {
        let mut made = full();
        made.stages[0].sql = (!text.is_empty()).then(|| text.to_owned());
        made
    };
    let (bare, yes, no) = ("SELECT a FROM t", "SELECT a FROM t WHERE a = 1", "SELECT b FROM t");
    for (was, is, risk) in [
        ("", yes, Risk::Readers),
        (bare, yes, Risk::Readers),
        (yes, bare, Risk::Disclosure),
        (yes, "SELECT a FROM t WHERE a = 2", Risk::Disclosure),
        (bare, no, Risk::Disclosure),
        (yes, "", Risk::Disclosure),
    ] {
        let mut lines = whole::Lines::default();
        lines.approved(&sql(was), &sql(is));
        let others = lines.into_others();
        let found: Vec<_> = others.iter().map(|o| (o.what.as_str(), o.risk)).collect();
        assert_eq!(found, [("sql", risk)], "{was} -> {is}");
    }
}

/// Nothing of it is empty, so that each field has a value to change.
fn full() -> Fingerprinted {
    let end = |name: &str| serde_json::json!({"cluster_id": name, "zone": "eu", "topics": ["t", "u"], "format": "json"});
    let column = |name: &str| {
        serde_json::json!({"name": name, "from": "a", "column_type": "text", "nullable": true,
            "class": "public", "shape": {"kind": "constant", "text": "x"}})
    };
    serde_json::from_value(serde_json::json!({
        "v": 1, "pipeline": "p", "purpose": "test", "source": end("s"), "target": end("g"),
        "partition_by": "token", "timestamp_ms_granularity": "1000", "publish_ms": "1000",
        "min_group": {"k": 5, "columns": ["city", "born"], "unit": "key.id"},
        "record_shape": "state",
        "changes": {"envelope": {"db": "crm", "table": "t", "deletes": "keep"},
            "unavailable": "nullify", "placeholder": "n/a", "truncate": "drop",
            "unknown_leaf": "strip"},
        "leaves": [{"part": "row", "path": "a", "leaf_type": "text", "class": "public",
            "residency": "eu", "subject": true}],
        "stages": [{"verb": "drop", "semantics": 1, "config": {"columns": ["a"]}, "sql": "SELECT"}],
        "key": [column("id"), column("k")], "columns": [column("a"), column("b")],
        "domains": [{"name": "d", "algorithm": "hmac", "normalize": "none", "form": "base32",
            "version": 1, "purposes": ["test"]}],
        "detectors": [{"name": "email", "digest": "00"}], "dp": {"epsilon": "1"},
        "overrides": [{"name": "o", "columns": ["a"], "detectors": ["email"], "residual": ["iban"],
            "min_recall": "0.9"}],
        "policy_digest": "00", "envelope_list": 1
    }))
    .unwrap()
}

/// Every place of a document that holds something.
fn places(value: &Json, at: &str, out: &mut Vec<String>) {
    match value {
        Json::Object(fields) => {
            fields.iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), out));
        }
        Json::Array(items) => {
            out.push(at.to_owned());
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), out);
            }
        }
        _ => out.push(at.to_owned()),
    }
}

/// Other values for a place; one of them is of its type.
fn alternatives(value: &Json) -> Vec<Json> {
    let words = ["tombstone", "quarantine", "hold", "1", "year"];
    match value {
        Json::String(text) => {
            let words = words.iter().map(|word| Json::from(*word));
            std::iter::once(Json::from(format!("{text}x"))).chain(words).collect()
        }
        Json::Number(_) => vec![2.into()],
        Json::Bool(set) => vec![(!set).into()],
        Json::Array(items) if items.len() > 1 => {
            vec![items.iter().rev().cloned().collect()]
        }
        Json::Array(_) => vec![Json::Array(Vec::new())],
        _ => Vec::new(),
    }
}

#[test]
fn every_field_of_the_fingerprint_is_told() {
    let (old, mut paths) = (full(), Vec::new());
    let document = serde_json::to_value(&old).unwrap();
    places(&document, "", &mut paths);
    assert!(paths.len() > 60, "{}", paths.len());
    // The tag of a shape alone makes no other shape.
    for path in paths.into_iter().filter(|path| !path.ends_with("/shape/kind")) {
        let value = document.pointer(&path).unwrap();
        let other = alternatives(value).into_iter().find_map(|value| {
            let mut document = document.clone();
            *document.pointer_mut(&path)? = value;
            let new: Fingerprinted = serde_json::from_value(document).ok()?;
            (new != old).then_some(new)
        });
        let new = other.unwrap_or_else(|| panic!("{path}: no other value"));
        let mut lines = whole::Lines::default();
        lines.approved(&old, &new);
        let mut columns = Vec::new();
        compare("key", &old.key, &new.key, &mut columns);
        compare("row", &old.columns, &new.columns, &mut columns);
        let others = lines.into_others();
        assert!(columns.len() + others.len() > 0, "{path} is told by no line");
        assert!(others.iter().all(|o| o.before != o.after), "{path}: {others:?}");
    }
}

#[test]
fn limits_are_told() {
    let of = |records: Option<u64>, bytes| Limits { records, bytes, epsilon: None };
    for (was, is, expected) in [
        (of(None, None), of(None, None), vec![]),
        (of(Some(1), None), of(Some(2), None), vec![("limit of records", Risk::Disclosure)]),
        (of(None, Some(9)), of(None, None), vec![("limit of bytes", Risk::Disclosure)]),
        (of(None, None), of(Some(2), None), vec![("limit of records", Risk::Readers)]),
    ] {
        let mut lines = whole::Lines::default();
        lines.limits(&was, &is);
        let others = lines.into_others();
        let found: Vec<_> = others.iter().map(|o| (o.what.as_str(), o.risk)).collect();
        assert_eq!(found, expected);
    }
}

/// A release says of its pipeline what the pipeline's file does; the rest its proof says.
#[test]
fn a_release_file_is_compared_by_its_proof_too() {
    let dir = tempfile::tempdir().unwrap();
    let changed = PIPELINE.replacen(ENVELOPE.0, ENVELOPE.1, 1);
    let mut sides = Vec::new();
    for (name, text) in [("old.yaml", PIPELINE), ("new.yaml", &changed)] {
        std::fs::write(dir.path().join("douane.yaml"), PLACE).unwrap();
        std::fs::write(dir.path().join("domains.yaml"), DOMAINS).unwrap();
        std::fs::write(dir.path().join(name), text).unwrap();
        let side = Side::of(&dir.path().join("douane.yaml"), None, &dir.path().join(name));
        sides.push(side.unwrap_or_else(|f| panic!("{f}")));
    }
    let (mut new, mut old) = (sides.pop().unwrap(), sides.pop().unwrap());
    for side in [&old, &new] {
        assert_eq!(&whole::said(&side.release, side.made.as_ref()), side.made.as_ref().unwrap());
    }
    for forget in [0, 1] {
        if forget == 0 {
            old.made = None
        } else {
            new.made = None
        }
        let (was, is) = made(&old, &new);
        let others = others((&old, &was), (&new, &is));
        assert!(others.iter().any(|o| o.what == "record shape"), "{others:?}");
        let proof = others.iter().find(|o| o.what == "proof").unwrap();
        assert!(proof.after.contains("publish every 1000 ms"), "{proof:?}");
    }
}

/// A pipeline as it was released, beside another of the domains' files. A release that is `bare` is of
/// before its domains were written down.
fn against_a_release(domains: &str, bare: bool) -> (Diff, Option<RunFault>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("douane.yaml"), PLACE).unwrap();
    let mut sides = [("old", DOMAINS), ("new", domains)].map(|(name, domains)| {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("domains.yaml"), domains).unwrap();
        std::fs::write(folder.join("p.yaml"), PIPELINE).unwrap();
        Side::of(&dir.path().join("douane.yaml"), None, &folder.join("p.yaml"))
            .unwrap_or_else(|f| panic!("{f}"))
    });
    sides[0].made = None;
    if bare {
        sides[0].release.domains.clear();
    }
    let [old, new] = sides;
    let refused = crate::record_key::drafted(&old.release, &new.release);
    (between(old, new), refused)
}

#[test]
fn a_release_says_what_its_domains_make_and_for_whom() {
    let (version, upper) = ("{ version: 2 }", "{ normalize: upper }");
    let domains = |key: &str, mail: &str| {
        format!("domains: {{ customer: {key}, other: {{}}, mail: {mail} }}\n")
    };
    let joins = "row email domain_version: Joins";
    let keys: &[&str] = &["key id domain_version: Keys", "row id domain_version: Joins"];
    for (key, mail, columns, named, refuses) in [
        ("{}", "{}", &[] as &[&str], &[] as &[&str], false),
        ("{}", upper, &[joins], &["domain mail (hmac-sha-256): Joins"], false),
        ("{}", "{ purposes: [test] }", &[], &["domain mail (hmac-sha-256): Approval"], false),
        (version, "{}", keys, &["domain customer (hmac-sha-256): Joins"], true),
        (
            "{ algorithm: aes_cmac }",
            "{}",
            keys,
            &[
                "domain customer (hmac-sha-256): Approval",
                "domain customer (aes-256-cmac): Approval",
            ],
            true,
        ),
    ] {
        let (diff, refused) = against_a_release(&domains(key, mail), false);
        assert_eq!(told(&diff), columns, "{key} {mail}");
        let others = beside(&diff);
        let of_domains: Vec<_> = others.iter().filter(|o| o.starts_with("domain ")).collect();
        assert_eq!(of_domains, named, "{key} {mail}");
        assert_eq!(diff.text().contains("no output column changes"), columns.is_empty());
        assert_eq!(refused.is_some(), refuses, "{key} {mail}");
        if let Some(why) = refused {
            let why = why.to_string();
            assert!(
                why.contains("integer as token (domain `customer`, form `base32`), version 1, ")
            );
        }
        // The control: what is written nowhere is told by the proof's lines alone.
        let (bare, refused) = against_a_release(&domains(key, mail), true);
        assert_eq!((told(&bare), refused.is_some()), (Vec::new(), false), "{key} {mail}");
        let proof = bare.others.iter().find(|other| other.what == "proof");
        assert_eq!(proof.is_some(), !named.is_empty(), "{key} {mail}");
        for (setting, said) in
            [(upper, "normalised by upper"), ("{ purposes: [test] }", "of the purpose test")]
        {
            let says = proof.is_some_and(|proof| proof.after.contains(said));
            assert_eq!(says, mail == setting, "{key} {mail}: {proof:?}");
        }
    }
}

#[test]
fn what_signing_changes_is_told_before_it_is_signed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (name, text) in [("douane.yaml", PLACE), ("domains.yaml", DOMAINS), ("p.yaml", PIPELINE)] {
        std::fs::write(at(name), text).unwrap();
    }
    let key = |seed| SigningKey::from_seed(&[seed; 32]).unwrap();
    let person = |name: &str, seed| Approver {
        name: name.into(),
        key: key(seed).verifying_key(),
        roles: vec![Role::Approve, Role::Trust],
    };
    let root = Root::first(1, vec![person("ada", 1)]);
    let root = trust::sign(&root, &[&key(1)]).unwrap();
    std::fs::write(at("trust.json"), root.to_bytes().unwrap()).unwrap();
    let load = || config::load(&at("douane.yaml"), &at("p.yaml")).unwrap_or_else(|f| panic!("{f}"));
    let made = || {
        let (place, pipeline) = load();
        release_of(&place, &pipeline, &cases::plan(&pipeline).unwrap()).unwrap()
    };
    let since = |next: &Release| {
        let (place, pipeline) = load();
        Since::of(&place, &pipeline, next).unwrap_or_else(|f| panic!("{f}"))
    };
    let first = made();
    assert!(since(&first).text().contains("no release lies before it"));
    for (signed, state) in [(vec![], "draft"), (vec![&key(1)], "approved")] {
        let envelope = sign(&first, &signed).unwrap();
        std::fs::write(at("p.release.json"), envelope.to_bytes().unwrap()).unwrap();
        let same = since(&first);
        assert!(same.text().contains(&format!("lies there, {state}")) && same.diff().is_none());
        assert_eq!(same.text().contains("what ran before"), state != "approved");
        let text = since(&made()).text();
        assert!(text.starts_with(&format!("difference to release 1 ({state})\n")), "{text}");
        assert!(text.contains("no output column changes") && !text.contains("hold"), "{text}");
    }
    std::fs::write(at("domains.yaml"), DOMAINS.replace("mail: {}", "mail: { version: 2 }"))
        .unwrap();
    let told = since(&made());
    assert!(told.text().contains("email: domain_version  [joins]"), "{}", told.text());
    assert_eq!(told.diff().unwrap().columns.len(), 1);
}
