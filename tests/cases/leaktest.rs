//! `leaktest` over the shipped pipeline and over changed forms of it: what it searched, what it planted, what it said.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cases::verbs::is_as_documented;
use crate::place::{Said, binary};
use crate::{rig, say};

const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// The shipped pipeline in a place whose brokers are not there: none of them is asked.
fn place(name: &str, change: impl Fn(&str) -> String) -> PathBuf {
    let dir = rig::directory(name);
    std::fs::create_dir_all(dir.join("pipelines/scorecards")).expect("a directory");
    let examples = Path::new(HOME).join("pipelines/examples");
    for file in ["domains.yaml", "scorecards/notes.json"] {
        std::fs::copy(examples.join(file), dir.join("pipelines").join(file)).expect("a file");
    }
    let text = std::fs::read_to_string(examples.join("customers-json.yaml")).expect("the example");
    std::fs::write(dir.join("pipelines/p.yaml"), change(&text)).expect("a file");
    let yaml = "clusters:\n  sovereign: { zone: eu-de, id: a, bootstrap: \"localhost:1\" }\n  global: { zone: global, id: b, \
                bootstrap: \"localhost:2\", registry: \"http://localhost:3\" }\nkeys: { dir: keys/ }\nledger: { dir: ledger/ }\ntrust: trust.json\ntasks: 1\n";
    std::fs::write(dir.join("douane.yaml"), yaml).expect("a file");
    dir
}

fn leaktest(dir: &Path, records: &str) -> Said {
    let args = ["leaktest", "pipelines/p.yaml", "--records", records, "--format", "json"];
    let out = Command::new(binary()).args(args).current_dir(dir).output().expect("the binary");
    Said {
        code: out.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&out.stdout).into_owned(),
        err: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

fn list<'a>(document: &'a Value, name: &str) -> &'a Vec<Value> {
    document[name].as_array().unwrap_or_else(|| panic!("no {name} in {document}"))
}

#[test]
fn the_shipped_pipeline_is_tight_and_every_plant_is_found() {
    let _turn = rig::exclusive();
    let dir = place("leaktest", str::to_owned);
    let records = say::count("DOUANE_LEAKTEST_RECORDS", 10_000).to_string();
    let said = leaktest(&dir, &records);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let report = is_as_documented("leaktest", &said, &[]);
    let (sinks, leaves) = (list(&report, "sinks"), list(&report, "leaves"));
    assert!(sinks.len() >= 12, "{} places searched", sinks.len());
    assert!(sinks.iter().all(|sink| sink["plant_found"] == true), "{report}");
    // An image before and one after the change, and the ways of being wrong.
    let positions = 2 * leaves.len() + list(&report, "wrong").len();
    say::figure("leaktest.positions", positions, "places in a record");
    say::figure("leaktest.markers", report["markers"].as_u64().unwrap_or(0), "markers");
    say::figure("leaktest.sinks", sinks.len(), "places searched");
    assert!(positions >= 40, "{positions}");
    assert!(!dir.join("keys").exists() && !dir.join("ledger").exists(), "the place is as it was");
}

/// What crosses as it is must be said to: a class that nobody thought about shows.
#[test]
fn a_leaf_that_is_called_public_is_told_as_one_that_crosses() {
    let _turn = rig::exclusive();
    let careless = |text: &str| {
        text.replace("email:         identifier", "email:         public")
            .replace("  - tokenize:   { columns: [email], domain: customer_email }\n", "")
    };
    let said = leaktest(&place("leaktest-public", careless), "100");
    let report: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}{}", said.out, said.err));
    let email = list(&report, "leaves").iter().find(|leaf| leaf["leaf"] == "email");
    let email = email.expect("the leaf");
    assert_eq!(
        (&email["class"], &email["shows"], &email["marked"]),
        (&"public".into(), &true.into(), &true.into())
    );
}

#[test]
fn an_envelope_in_avro_is_tried_as_json_and_says_so() {
    let _turn = rig::exclusive();
    let changed = |text: &str| {
        text.replace(
            "format: json, timestamp: 1s",
            "format: avro, shape: envelope, source: { db: crm, table: customers }, timestamp: 1s",
        )
    };
    let said = leaktest(&place("leaktest-envelope", changed), "100");
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let report: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(list(&report, "instead").len(), 1, "{report}");
}

#[test]
fn statistics_are_refused_in_words() {
    let dir = place("leaktest-statistics", str::to_owned);
    let weekly = Path::new(HOME).join("pipelines/examples/orders-weekly.yaml");
    std::fs::copy(weekly, dir.join("pipelines/p.yaml")).expect("a file");
    let said = leaktest(&dir, "100");
    assert_eq!(said.code, 2, "{}{}", said.out, said.err);
    assert!(said.err.contains("leaktest takes pipelines of rows"), "{}", said.err);
}
