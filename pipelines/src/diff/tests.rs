//! Each kind of change is told with its risk; nothing changes, nothing is told.

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
    run(&at("douane.yaml"), &at("old.yaml"), &at("new/new.yaml")).unwrap_or_else(|f| panic!("{f}"))
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
            &["row email protection: Readers"],
            true,
        ),
        (
            &[("bins: [0, 1000]", "bins: [0, 500]")],
            DOMAINS,
            &["row salary protection: Readers"],
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
    let others: Vec<&str> = diff.others.iter().map(|other| other.what).collect();
    assert_eq!(others, ["target topic", "format"]);
    assert!(!diff.schema_compatible);
}
