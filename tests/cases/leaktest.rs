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
    leaktest_of(dir, records, &[])
}

fn leaktest_of(dir: &Path, records: &str, more: &[&str]) -> Said {
    let args = ["leaktest", "pipelines/p.yaml", "--records", records, "--format", "json"];
    let args = [&args, more].concat();
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

/// What waits for a clock, for others or for later records does not wait here, and the report says so.
#[test]
fn a_pipeline_that_would_wait_is_tried_at_once_and_says_so() {
    let _turn = rig::exclusive();
    let waits = |text: &str| {
        text.replace("start: earliest", "start: latest")
            + "publish: every 1h\nmin_group:\n  k: 50\n"
    };
    let said = leaktest(&place("leaktest-waits", waits), "100");
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let report: Value = serde_json::from_str(&said.out).expect("JSON");
    let instead: Vec<&str> = list(&report, "instead").iter().filter_map(Value::as_str).collect();
    assert_eq!(instead.len(), 3, "{instead:?}");
    for (line, word) in instead.iter().zip(["start: earliest", "publish: every 1h", "min_group"]) {
        assert!(line.contains(word), "{line}");
    }
}

/// By name, before anything begins: of a search that found nothing it would look like an answer.
#[test]
fn what_is_not_taken_is_refused_in_words() {
    let statistics = |_: &str| {
        let weekly = Path::new(HOME).join("pipelines/examples/orders-weekly.yaml");
        std::fs::read_to_string(weekly).expect("the example")
    };
    let from_files = |text: &str| {
        text.replace(
            "kafka: { cluster: sovereign, topics: [crm.public.customers], format: debezium_json, start: earliest, key: [id] }",
            "file: { cluster: sovereign, paths: [in/customers.jsonl], format: json_lines, key: [id] }",
        )
    };
    let to_files = |text: &str| {
        text.replace(
            "kafka: { cluster: global, topic: training.customers-json, format: json, timestamp: 1s }",
            "file: { cluster: global, dir: out/customers, format: parquet, timestamp: 1s }",
        )
    };
    let enriched = |text: &str| {
        text.replace(
            "stages:\n",
            "stages:\n  - enrich:\n      topic: statistics.daily\n      pipeline: daily\n      \
             window: { every: 1d, from: \"2026-01-01T00:00:00Z\" }\n      groups: { country: country }\n      \
             columns: { customers: customers_yesterday }\n      missing: nullify\n",
        )
    };
    let kinds: [(&str, &dyn Fn(&str) -> String, &str); 4] = [
        ("statistics", &statistics, "leaktest takes pipelines of rows"),
        ("from-files", &from_files, "leaktest takes a Kafka source"),
        ("to-files", &to_files, "leaktest takes a Kafka sink"),
        ("enrich", &enriched, "leaktest has no published statistics"),
    ];
    for (name, change, word) in kinds {
        let dir = place(&format!("leaktest-{name}"), change);
        let yaml = std::fs::read_to_string(dir.join("douane.yaml")).expect("the place");
        let (kafka, folder) = match name {
            "from-files" => ("id: a, bootstrap: \"localhost:1\"", "id: a, dir: in/"),
            "to-files" => (
                "id: b, bootstrap: \"localhost:2\", registry: \"http://localhost:3\"",
                "id: b, dir: out/",
            ),
            _ => ("", ""),
        };
        std::fs::write(dir.join("douane.yaml"), yaml.replace(kafka, folder)).expect("a file");
        let said = leaktest(&dir, "100");
        assert_eq!(said.code, 2, "{name}: {}", said.err);
        assert!(said.err.contains(word) && said.err.contains("next: "), "{name}: {}", said.err);
    }
}

/// Each table of a file is planted and searched for itself.
#[test]
fn each_table_of_a_file_is_tried() {
    let _turn = rig::exclusive();
    let dir = place("leaktest-tables", str::to_owned);
    let catalogue = "tables:
  customers: { id: identifier, email: identifier, city: public }
  orders:    { number: identifier, customer: identifier, city: public, total: sensitive }
";
    let text = "name: crm
purpose: model-training
domains: domains.yaml
catalog: catalogs/crm.yaml
source:
  kafka: { cluster: sovereign, topics: [\"crm.public.*\"], format: debezium_json, start: earliest }
tables:
  customers:
    key: [id]
    types: { id: int64, email: text, city: text }
    stages:
      - tokenize: { columns: [id, email], domain: customer }
    sink: { topic: training.customers }
  orders:
    key: [number]
    types: { number: int64, customer: text, city: text, total: int64 }
    stages:
      - tokenize:   { columns: [number], domain: customer }
      - drop:       { columns: [customer] }
      - generalize: { columns: [total], bins: [0, 100, 1000] }
    sink: { topic: training.orders, timestamp: 1m }
sink:
  kafka: { cluster: global, format: json, timestamp: 1s }
release: crm.release.json
";
    std::fs::create_dir_all(dir.join("pipelines/catalogs")).expect("a directory");
    std::fs::write(dir.join("pipelines/catalogs/crm.yaml"), catalogue).expect("the catalogue");
    std::fs::write(dir.join("pipelines/p.yaml"), text).expect("the tables");
    let said = leaktest(&dir, "100");
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let reports: Vec<Value> = serde_json::from_str(&said.out).expect("a list");
    let of = |report: &Value| report["pipeline"].as_str().unwrap_or_default().to_owned();
    assert_eq!(reports.iter().map(of).collect::<Vec<_>>(), ["crm.customers", "crm.orders"]);
    for report in &reports {
        assert!(report["records"].as_u64() > Some(100), "{report}");
        assert!(list(report, "sinks").iter().all(|sink| sink["plant_found"] == true), "{report}");
    }
    // The control: a leaf that one table lets cross as it is, and that table alone.
    let careless = catalogue.replace("email: identifier", "email: public");
    std::fs::write(dir.join("pipelines/catalogs/crm.yaml"), careless).expect("the catalogue");
    let stages = text.replace("columns: [id, email]", "columns: [id]");
    std::fs::write(dir.join("pipelines/p.yaml"), stages).expect("the tables");
    let one = leaktest_of(&dir, "100", &["--table", "customers"]);
    let report = is_as_documented("leaktest", &one, &[]);
    let email = list(&report, "leaves").iter().find(|leaf| leaf["leaf"] == "email");
    assert_eq!(email.expect("the leaf")["shows"], true);
    let none = leaktest_of(&dir, "100", &["--table", "order"]);
    assert!(none.code == 1 && none.out.contains("--table orders"), "{}{}", none.out, none.err);
}
