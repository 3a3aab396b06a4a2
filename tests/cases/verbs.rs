//! The daily verbs on the command line: what they print is what docs/json.md says, and a dry run leaves no trace.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use serde_json::Value;

use crate::cases::kill::finish;
use crate::cases::swap::{hears, sign};
use crate::cluster::{Cluster, Isolation};
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::place::{LABELLED, Place, Said, Setup, binary, last_lines};
use crate::rig;

const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// The examples of docs/json.md by the name in the comment before each.
fn documented() -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(Path::new(HOME).join("docs/json.md")).expect("the document");
    let blocks = text.split("<!-- ").skip(1).map(|block| {
        let (name, rest) = block.split_once(" -->").expect("a name");
        let json = rest.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
        let json = json.expect("an example");
        let parsed = serde_json::from_str(json).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name.to_owned(), parsed)
    });
    blocks.collect()
}

/// Paths of a document and the kinds of what stands there; the entries of a list are one.
fn shape(at: &str, value: &Value, out: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    out.entry(at.to_owned()).or_default().insert(kind);
    match value {
        Value::Array(items) => items.iter().for_each(|item| shape(&format!("{at}[]"), item, out)),
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| shape(&format!("{at}.{name}"), member, out));
        }
        _ => {}
    }
}

fn shape_of(value: &Value) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut out = BTreeMap::new();
    shape("", value, &mut out);
    out
}

/// What is found that is not documented, or of another kind; and what of `always` is not found.
fn differences(documented: &Value, found: &Value, others: bool, left_out: &[&str]) -> Vec<String> {
    let (documented, found) = (shape_of(documented), shape_of(found));
    let mut wrong = Vec::new();
    for (path, kinds) in &found {
        match documented.get(path) {
            None if !others => wrong.push(format!("{path} is not documented")),
            Some(expected) if !kinds.iter().all(|k| *k == "null" || expected.contains(k)) => {
                wrong.push(format!("{path}: documented {expected:?}, found {kinds:?}"));
            }
            _ => {}
        }
    }
    for path in documented.keys() {
        let name = path.rsplit(['.', ']']).next().unwrap_or_default();
        let parent = path.strip_suffix(&format!(".{name}")).unwrap_or(path);
        let due = found.get(parent).is_some_and(|kinds| kinds.contains("object"));
        if due && !found.contains_key(path) && !left_out.contains(&name) {
            wrong.push(format!("{path} is missing"));
        }
    }
    wrong
}

#[track_caller]
pub fn is_as_documented(name: &str, said: &Said, left_out: &[&str]) -> Value {
    let found: Value = serde_json::from_str(&said.out)
        .unwrap_or_else(|e| panic!("{name}: {e}\n{}\n{}", said.out, said.err));
    let documented = documented().remove(name).unwrap_or_else(|| panic!("{name}: no example"));
    let others = ["status", "verify", "release-show", "release-propose", "release-artifact"];
    let others = others.contains(&name);
    let wrong = differences(&documented, &found, others, left_out);
    assert!(wrong.is_empty(), "{name}: {}\n{}", wrong.join("\n"), said.out);
    found
}

#[test]
fn control_another_shape_is_seen() {
    let documented = serde_json::json!({"a": [{"b": 1, "c": "x"}], "d": null});
    for (found, expected) in [
        (serde_json::json!({"a": [{"b": 2, "c": "y"}], "d": null}), 0),
        (serde_json::json!({"a": [], "d": null}), 0),
        (serde_json::json!({"a": [{"b": "2", "c": "y"}], "d": null}), 1),
        (serde_json::json!({"a": [{"b": 2}], "d": null}), 1),
        (serde_json::json!({"a": [{"b": 2, "c": "y", "e": 1}], "d": null}), 1),
        (serde_json::json!({"a": []}), 1),
    ] {
        assert_eq!(differences(&documented, &found, false, &[]).len(), expected, "{found}");
    }
}

/// A folder whose name is no UTF-8: what is written lies there, and the documents name it; so do faults.
fn named_in_any_bytes(home: &Path, trust: &[&str]) {
    let dir = home.join(OsStr::from_bytes(b"\xff"));
    std::fs::create_dir(&dir).expect("a folder");
    let yaml = std::fs::read_to_string(home.join("douane.yaml")).expect("the place");
    std::fs::write(dir.join("douane.yaml"), yaml).expect("a file");
    let in_json = |args: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("-c").arg(dir.join("douane.yaml")).args(args).args(["--format", "json"]);
        let said = command.current_dir(home).output().expect("the binary");
        let document: Result<Value, _> = serde_json::from_slice(&said.stdout);
        (said.status.code(), document.unwrap_or_else(|e| panic!("{e}: {said:?}")))
    };
    let (code, trusted) = in_json(trust);
    assert!(code == Some(0) && dir.join("trust.json").exists(), "{trusted}");
    let named = trusted["file"].as_str().unwrap_or_default();
    assert!(named.ends_with("/\\xff/trust.json"), "{trusted}");
    let (code, fault) = in_json(&["status", "nix.yaml"]);
    assert!(code == Some(2) && fault["error"]["code"] == "findings", "{fault}");
}

/// 400 changes, each of a row of its own: born in one of forty years, in one of two countries.
fn rows_of_a_file() -> String {
    let line = |n: usize| {
        // 1 July of 1960 to 1999.
        let birth = -3_471 + (n % 40) as i64 * 1_461 / 4;
        let row = serde_json::json!({
            "id": n, "email": format!("made-up-{n}@example.com"), "phone": format!("+491555{n:07}"),
            "national_id": "1", "card_number": "9111222233334444", "full_name": "Made Up",
            "street": "Mill Street 1", "birth_date": birth, "notes": "nothing", "city": "Graz",
            "country": if n % 2 == 0 { "AT" } else { "DE" }, "balance_cents": n,
            "updated_at": 1_760_000_000_000_000_i64,
        });
        let value = serde_json::json!({
            "before": null, "after": row, "source": null, "op": "c", "ts_ms": 1,
        });
        format!("{}\n", serde_json::json!({ "key": { "id": n }, "value": value }))
    };
    (0..400).map(line).collect()
}

/// A place without brokers, from the documents' own files.
pub struct Offline {
    pub dir: PathBuf,
    env: Vec<(String, String)>,
}

impl Offline {
    pub fn new(name: &str) -> Self {
        let dir = rig::directory(name);
        std::fs::create_dir_all(dir.join("pipelines")).expect("a directory");
        let read = |name: &str| std::fs::read_to_string(Path::new(HOME).join(name)).expect(name);
        let documents = [read("README.md"), read("docs/checking.md")].concat();
        let blocks: Vec<&str> = documents
            .split("```")
            .filter_map(|block| block.strip_prefix("yaml\n").or(block.strip_prefix("yml\n")))
            .collect();
        let find = |start: &str| {
            let found = blocks.iter().find(|block| block.starts_with(start));
            (*found.unwrap_or_else(|| panic!("no block {start}"))).to_owned()
        };
        for (file, text) in [
            ("douane.yaml", find("clusters:")),
            ("pipelines/domains.yaml", find("domains:")),
            ("pipelines/p.yaml", format!("{}{}", find("name: customers-json\n"), find("tests:\n"))),
        ] {
            std::fs::write(dir.join(file), text).expect("a file");
        }
        std::fs::create_dir(dir.join("pipelines/scorecards")).expect("a directory");
        let card = "scorecards/notes.json";
        let measured = Path::new(HOME).join("pipelines/examples").join(card);
        std::fs::copy(measured, dir.join("pipelines").join(card)).expect("the scorecard");
        Self { dir, env: Vec::new() }
    }

    /// An environment variable for every later verb.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub fn verb(&self, args: &[&str]) -> Said {
        let mut command = Command::new(binary());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let out = command.args(args).current_dir(&self.dir).output().expect("the binary");
        Said {
            code: out.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&out.stdout).into_owned(),
            err: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    pub fn json(&self, args: &[&str]) -> Said {
        self.verb(&[args, &["--format", "json"]].concat())
    }
}

#[test]
fn documents_are_as_documented_without_a_broker() {
    let place = Offline::new("verbs-offline");
    let text = std::fs::read_to_string(place.dir.join("pipelines/p.yaml")).expect("the pipeline");
    let write = |name: &str, text: String| {
        std::fs::write(place.dir.join("pipelines").join(name), text).expect("a file");
    };
    write("bad.yaml", text.replace("  email:         identifier\n", "  email: pii\n"));
    write("new.yaml", text.replace("format: json,", "format: avro,").replace("city: ", "town: "));
    write("failing.yaml", text.replace("country: AT } ]", "country: DE } ]"));

    let lineage = place.verb(&["audit", "lineage", "pipelines/p.yaml"]).fine("audit lineage");
    let event: Value = serde_json::from_str(&lineage.out).expect("an event");
    let of = |column: &str| {
        &event["outputs"][0]["facets"]["columnLineage"]["fields"][column]["inputFields"][0]
    };
    for (column, leaf, masking) in
        [("email", "after.email", true), ("city", "after.city", false), ("key.id", "key.id", true)]
    {
        assert_eq!(
            (&of(column)["field"], &of(column)["transformations"][0]["masking"]),
            (&leaf.into(), &masking.into())
        );
    }

    let connector = serde_json::json!({ "name": "Out", "config": {
        "connector.class": "FileStreamSink", "topics": "crm.public.customers", "transforms": "key,mask",
        "transforms.key.type": "org.apache.kafka.connect.transforms.ValueToKey", "transforms.key.fields": "id",
        "transforms.mask.type": "org.apache.kafka.connect.transforms.MaskField$Value",
        "transforms.mask.fields": "email", "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    } });
    std::fs::write(place.dir.join("connector.json"), connector.to_string()).expect("a file");
    let imported = place.json(&["import", "connector.json", "--out", "imported"]);
    is_as_documented("import", &imported.fine("import"), &[]);
    let linted = place.verb(&["lint", "imported/out.yaml"]);
    assert_eq!(linted.code, 0, "{}{}", linted.out, linted.err);
    let again = place.verb(&["import", "connector.json", "--out", "imported"]);
    assert_eq!(again.code, 2, "nothing is overwritten: {}", again.out);

    let lint = place.json(&["lint", "pipelines/bad.yaml"]);
    assert_eq!(lint.code, 1, "{}", lint.out);
    is_as_documented("lint", &lint, &[]);
    let fault = place.json(&["explain", "pipelines/nix.yaml"]);
    assert_eq!(fault.code, 2, "{}", fault.out);
    is_as_documented("fault", &fault, &[]);
    is_as_documented("explain", &place.json(&["explain", "pipelines/p.yaml"]).fine("explain"), &[]);
    write("other.yaml", text.replace("birth_date], to: year", "birth_date], to: decade"));
    std::fs::write(place.dir.join("rows.jsonl"), rows_of_a_file()).expect("a file of changes");
    let sample = ["--sample", "rows.jsonl"];
    let told = place.json(&[&["explain", "pipelines/p.yaml"], &sample[..]].concat());
    let found = is_as_documented("sample", &told.fine("explain --sample"), &["behind", "warnings"]);
    let of = |document: &Value, column: &str| -> Value {
        let columns = document["columns"].as_array().expect("columns").clone();
        columns.into_iter().find(|c| c["column"] == column).expect("a column")
    };
    assert_eq!(found["rows"], "100 to 999");
    assert_eq!(of(&found, "email")["after"]["unique"], "all");
    assert_eq!(of(&found, "country")["after"]["entropy_bits"], serde_json::json!(1.0));
    let files = ["diff", "pipelines/p.yaml", "pipelines/other.yaml"];
    let diff = place.json(&[&files[..], &sample[..]].concat());
    let both: Value = serde_json::from_str(&diff.out).expect("a document");
    // 400 births of forty years: a year has ten rows of them, a decade a hundred.
    let smallest = |side: &str| {
        let spread = of(&both["sample"][side][0], "birth_date");
        spread["after"]["smallest_group"].as_str().expect("a bucket").to_owned()
    };
    assert_eq!((smallest("old").as_str(), smallest("new").as_str()), ("under 20", "100 to 999"));
    assert!(!diff.out.contains("Graz") && !diff.out.contains("made-up"), "{}", diff.out);
    let diff = place.json(&["diff", "pipelines/p.yaml", "pipelines/new.yaml"]);
    let found = is_as_documented("diff", &diff, &["before", "after"]);
    assert_eq!((diff.code, &found["release_holds"]), (1, &Value::Bool(false)));
    assert_eq!(found["schema_compatible"], false);
    let left_out = ["guessed", "held", "difference"];
    let test = place.json(&["test", "pipelines/p.yaml"]).fine("the tests that the documents show");
    is_as_documented("test", &test, &left_out);
    let failing = place.json(&["test", "pipelines/failing.yaml"]);
    is_as_documented("test", &failing, &left_out);
    assert_eq!(failing.code, 1);
    assert!(failing.out.contains("country"), "{}", failing.out);
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/testdata/selftest");
    let selftest = place.json(&["selftest", vectors]).fine("the standards' vectors");
    let found = is_as_documented("selftest", &selftest, &[]);
    assert!(found.as_array().is_some_and(|reports| reports.len() >= 14), "{found}");
    assert_eq!(place.verb(&["selftest", "nowhere.json"]).code, 2);
    std::fs::write(place.dir.join("empty.json"), "{}").expect("a file");
    let empty = place.verb(&["selftest", "empty.json"]);
    assert!(empty.code == 1 && empty.out.contains("FAILED: none of 0 cases"), "{}", empty.out);
    let none = place.verb(&["audit", "budget"]);
    assert!(none.code == 2 && none.err.contains("no ledger is here"), "{}{}", none.out, none.err);
    if cfg!(feature = "gpu") {
        let found = place.json(&["selftest", "--gpu"]).fine("the kernels on a GPU");
        is_as_documented("selftest-gpu", &found, &["adapter"]);
        let text = place.verb(&["selftest", "--gpu"]).fine("in words");
        assert!(
            text.out.starts_with("GPU: ") && text.out.contains("kernel: noise"),
            "{}",
            text.out
        );
    } else {
        let refused = place.verb(&["selftest", "--gpu"]);
        assert!(refused.code == 3 && refused.err.contains("--features gpu"), "{}", refused.err);
    }
    is_as_documented("keys-init", &place.json(&["keys", "init"]).fine("keys init"), &[]);
    let labelled = format!("{HOME}/{LABELLED}");
    let four = ["scorecard", &labelled, "--detectors", "email,phone,card,iban"];
    let card = place.json(&four).fine("scorecard");
    is_as_documented("scorecard", &card, &[]);
    assert!(!card.out.contains('@'), "a text was printed");
    let least = [&four[..], &["--min-recall", "1,phone=0.1"]].concat();
    assert_eq!(place.verb(&least).code, 1, "not every card is found");
    let least = [&four[..], &["--min-recall", "0.1"]].concat();
    place.verb(&least).fine("a recall that is reached");
    let labels = r#"[{"full_text": "to a@b.de", "spans": [{"entity_type": "emial", "start_position": 3, "end_position": 9}]}]"#;
    std::fs::write(place.dir.join("misspelt.json"), labels).expect("a file");
    let misspelt = place.verb(&["scorecard", "misspelt.json", "--min-recall", "0.9"]);
    assert_eq!(misspelt.code, 1, "{}", misspelt.out);
    assert!(misspelt.err.contains("1 labels are of no kind that ran"), "{}", misspelt.err);
    place.verb(&["scorecard", "misspelt.json"]).fine("nothing is demanded");
    let broken = place.json(&["scorecard", "pipelines/p.yaml"]);
    assert_eq!(broken.code, 2, "{}", broken.out);
    is_as_documented("fault", &broken, &[]);
    let approver = ["keys", "init", "--approver", "ada", "--out", "ada"];
    is_as_documented("keys-init-approver", &place.json(&approver).fine("keys init"), &[]);
}

#[test]
fn what_people_sign_is_as_documented_without_a_broker() {
    let place = Offline::new("verbs-signed");
    let file = "pipelines/p.yaml";
    let fine = |args: &[&str]| place.json(args).fine(&args.join(" "));
    fine(&["keys", "init"]);
    let mut trust = ["release", "trust"].map(str::to_owned).to_vec();
    for name in ["ada", "bo"] {
        fine(&["keys", "init", "--approver", name, "--out", name]);
        trust.extend([format!("--approver={name}={name}.pub"), format!("--sign={name}")]);
    }
    let trust: Vec<&str> = trust.iter().map(String::as_str).collect();
    let trusted = is_as_documented("release-trust", &fine(&trust), &[]);
    assert_eq!(trusted["approvers"], serde_json::json!(["ada", "bo"]));
    named_in_any_bytes(&place.dir, &trust);
    let proposed = fine(&["release", "propose", file, "--author", "cleo"]);
    is_as_documented("release-propose", &proposed, &[]);
    for (person, live) in [("ada", false), ("bo", true)] {
        let said = fine(&["release", "sign", file, "--key", person]);
        let signed = is_as_documented("release-sign", &said, &[]);
        assert_eq!((&signed["signed_by"], &signed["live"]), (&person.into(), &live.into()));
        // It is read before it is signed all the same.
        assert!(said.err.contains("what crosses") && said.err.contains("limits: "), "{}", said.err);
        let fingerprint = signed["fingerprint"].as_str().expect("a text");
        assert!(said.err.contains(&format!("fingerprint: {fingerprint}")), "{}", said.err);
        assert!(said.err.contains("no release lies before it"), "{}", said.err);
    }

    let wanted = ["--column", "phone", "--by", "cleo", "--reason", "case 7"];
    let verb = |name: &str, more: &[&str], value: &str| {
        place.json(&[&["keys", name, file], &wanted[..], more, &[value]].concat())
    };
    let opened = verb("detokenize", &[], "+4915550177").fine("keys detokenize");
    let found = is_as_documented("keys-detokenize", &opened, &["refused"]);
    assert!(found[0]["value"].is_string(), "{found}");
    let refused = verb("detokenize", &[], "+4");
    is_as_documented("keys-detokenize", &refused, &["value"]);
    let asked = verb("request", &["--out", "request.json"], "+4915550177").fine("keys request");
    is_as_documented("keys-request", &asked, &[]);
    let approved = fine(&["keys", "approve", "request.json", "--key", "ada"]);
    is_as_documented("keys-request", &approved, &[]);
    assert!(approved.err.contains("values of column phone"), "{}", approved.err);

    let renewed = fine(&["release", "renew", file, "--author", "cleo"]);
    is_as_documented("release-propose", &renewed, &[]);
    let said = fine(&["release", "sign", file, "--key", "ada"]);
    let signed = is_as_documented("release-sign", &said, &[]);
    assert_eq!(signed["difference"]["old"], "release 1 (approved)", "{}", said.out);
    assert_eq!(signed["difference"]["columns"], serde_json::json!([]), "{}", said.out);
    for text in ["difference to release 1 (approved)", "no output column changes"] {
        assert!(said.err.contains(text), "{}", said.err);
    }
    for (verb, what) in [("reject", "draft"), ("revoke", "release")] {
        let said = fine(&["release", verb, file, "--key", "ada", "--reason", "a test"]);
        let stopped = is_as_documented("release-revoke", &said, &[]);
        assert_eq!(stopped["revoked"][0]["what"], what, "{stopped}");
    }

    let token = ["serve", "token", "ada"];
    let made = fine(&[&token[..], &["--role", "auditor"]].concat());
    let made = is_as_documented("serve-token", &made, &[]);
    let listed = fine(&["serve", "tokens"]);
    let held = is_as_documented("serve-tokens", &listed, &[]);
    assert_eq!((&held[0]["roles"][0], &held[0]["over"]), (&"auditor".into(), &false.into()));
    assert!(!listed.out.contains(made["token"].as_str().expect("a token")), "it is told once");
    let taken = fine(&[&token[..], &["--revoke"]].concat());
    assert!(is_as_documented("serve-token", &taken, &[])["token"].is_null());
}

#[test]
fn a_page_a_graph_a_schema_and_completions_are_printed() {
    let place = Offline::new("verbs-printed");
    let page = place.verb(&["explain", "pipelines/p.yaml", "--format", "html"]).fine("html").out;
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(page.contains("after.national_id") && !page.contains("<script"));
    let one = ["explain", "pipelines/p.yaml", "--format", "dot", "--column", "notes"];
    let graph = place.verb(&one).fine("dot").out;
    assert!(graph.starts_with("digraph") && graph.contains("after.notes"));
    assert!(!graph.contains("after.email"), "only that column");
    for (sort, word) in [
        ("pipeline", "stages"),
        ("place", "clusters"),
        ("domains", "normalize"),
        ("catalog", "residency"),
    ] {
        let schema = place.verb(&["schema", sort]).fine("schema").out;
        let schema: Value = serde_json::from_str(&schema).expect("a JSON schema");
        assert!(schema.to_string().contains(word), "{sort}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.verb(&["completions", shell]).fine("completions").out;
        assert!(script.contains("explain") && script.contains("dry-run"), "{shell}");
    }
}

fn groups(cluster: &Cluster) -> Vec<String> {
    let consumer = cluster.consumer(Isolation::Committed);
    let list = consumer.fetch_group_list(None, Duration::from_secs(10)).expect("a list of groups");
    list.groups().iter().map(|group| group.name().to_owned()).collect()
}

/// Partitions follow from keys, so a topic that was made with too few keeps them.
#[test]
fn the_data_topic_is_not_made_before_the_source_is_there() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let (source, target) = (source.cluster(), target.cluster());
    let setup = Setup::customers("made-early", source.clone(), target.clone());
    let (from, to) = (setup.topics[0].clone(), setup.target_topic());
    source.create(&from, 3, &[]);
    let place = Place::unreleased(setup);
    source.delete(&from);
    target.delete(&to);
    let file = place.pipeline_file();
    let early = place.verb(&["doctor", "--create", &file]);
    assert!(early.code == 1 && early.out.contains("once they are there"), "{}", early.out);
    assert_eq!(target.partitions(&to), 0);
    source.create(&from, 3, &[]);
    place.doctor();
    assert_eq!(target.partitions(&to), 3);
}

/// Times that are signed are not the broker's: `doctor` and `run` say so, and a swap takes nothing up.
#[test]
fn where_times_are_signed_a_broker_puts_none_of_its_own() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let setup = Setup::customers("own-time", source.cluster(), target.cluster());
    setup.source.create(&setup.topics[0], 1, &[]);
    let place = Place::new(setup);
    let file = place.pipeline_file();
    let set = |topic: &str, to: &str| {
        place.setup.target.set_topic_config(topic, "message.timestamp.type", to);
    };
    let said = |text: &str, topic: &str| {
        let what = "message.timestamp.type is LogAppendTime, must be CreateTime: ";
        text.lines().any(|line| {
            line.contains(topic)
                && line.contains(what)
                && line.contains("; next: set it on the topic")
        })
    };
    let (data, manifest) = (place.data_topic(), place.manifest_topic());
    let (of_data, of_manifest) = (format!("topic {data} "), format!("topic {manifest} "));
    for (topic, line) in [(&data, &of_data), (&manifest, &of_manifest)] {
        let control = place.verb(&["doctor", &file]);
        assert!(!said(&control.out, line), "{}", control.out);
        set(topic, "LogAppendTime");
        let doctor = place.verb(&["doctor", &file]);
        assert!(doctor.code == 1 && said(&doctor.out, line), "{}", doctor.out);
        let run = place.verb(&["run", &file]);
        let named = format!("topic `{topic}`: ");
        assert!(run.code != 0 && said(&run.err, &named), "{}\n{}", run.out, run.err);
        set(topic, "CreateTime");
    }
    let mut running = place.run();
    hears(&running, "\"event\":\"layout\"");
    set(&data, "LogAppendTime");
    sign(&place, &["release", "renew", &file, "--author", "cleo"]);
    hears(&running, "swap_refused");
    let refused = running.said();
    assert!(said(&refused, &format!("topic `{data}`: ")), "{}", last_lines(&refused, 20));
    running.stop();
}

/// A dry run counts what a run then does, needs neither keys nor release, and leaves nothing behind.
#[test]
fn a_dry_run_counts_and_leaves_no_trace() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let setup = Setup::customers("dry-run", source.cluster(), target.cluster());
    let topic = setup.topics[0].clone();
    source.cluster().create(&topic, 4, &[]);
    let plants = Plants { unknown_leaf: Some((3, 1_000)), unparsable: Some((1, 50)) };
    let load = Load::new(4).customers(
        &mut Customers::new(11, 73_400_120, true),
        2_000,
        Format::Json,
        &plants,
    );
    load.send(&source.cluster(), &topic);
    let place = Place::unreleased(setup);
    let topics = |cluster: &Cluster| cluster.topics().into_iter().collect::<BTreeSet<_>>();
    let before = (topics(&source.cluster()), topics(&target.cluster()));
    let keys = place.dir.join("keys");
    let aside = place.dir.join("keys-aside");
    std::fs::rename(&keys, &aside).expect("the keys are put aside");

    let file = place.pipeline_file();
    let said = place.verb(&["run", &file, "--dry-run", "--records", "100000", "--format", "json"]);
    assert_eq!(said.code, 1, "a partition would be held: {}{}", said.out, said.err);
    let counted = is_as_documented("dry-run", &said, &["column", "leaf", "schema_id"]);
    for secret in &load.secrets {
        assert!(!said.out.contains(secret.as_str()), "a value was printed");
    }
    let number = |name: &str| counted[name].as_u64().unwrap_or_else(|| panic!("no {name}"));
    let quarantined: usize = load.quarantined.values().map(Vec::len).sum();
    assert_eq!(number("would_cross"), load.expected.len() as u64, "{}", said.out);
    assert_eq!(counted["refused"][0]["code"], "malformed_value");
    assert_eq!(counted["refused"][0]["records"].as_u64(), Some(quarantined as u64));
    assert_eq!(counted["held"][0]["offset"].as_i64(), load.held.get(&3).copied());
    assert_eq!(counted["held"][0]["code"], "unknown_leaf");
    let few = place.verb(&["run", &file, "--dry-run", "--records", "10", "--format", "json"]);
    let few: Value = serde_json::from_str(&few.fine("ten of each").out).expect("JSON");
    assert_eq!(few["records"].as_u64(), Some(40), "{few}");

    let said = place.verb(&["classify", &topic, "--format", "json"]).fine("classify");
    let classified = is_as_documented("classify", &said, &[]);
    for secret in &load.secrets {
        assert!(!said.out.contains(secret.as_str()), "a value was printed");
    }
    let class_of = |leaf: &str| {
        let leaves = classified["leaves"].as_array().into_iter().flatten();
        let mut found = leaves.filter(|one| one["leaf"] == leaf);
        found.next().map_or(Value::Null, |one| one["class"].clone())
    };
    for (leaf, class) in [
        ("id", "identifier"),
        ("email", "identifier"),
        ("phone", "identifier"),
        ("notes", "free_text"),
        ("country", "public"),
        ("birth_date", "quasi"),
        ("balance_cents", "sensitive"),
    ] {
        assert_eq!(class_of(leaf), class, "{leaf}: {}", said.out);
    }

    assert_eq!((topics(&source.cluster()), topics(&target.cluster())), before, "a topic was made");
    for topic in [place.data_topic(), place.manifest_topic(), place.position_topic()] {
        assert_eq!(target.cluster().end(&topic, Isolation::Uncommitted), 0, "{topic}");
    }
    assert_eq!(source.cluster().end(&place.quarantine_topic(), Isolation::Uncommitted), 0);
    assert!(!place.ledger().exists(), "the ledger was touched");
    assert!(!keys.exists(), "keys were made");
    let group = format!("douane.{}", place.setup.name);
    assert!(!groups(&source.cluster()).contains(&group), "a group was made");

    // The control: a run leaves all of these, and does what was counted.
    std::fs::rename(&aside, &keys).expect("the keys are put back");
    place.release();
    let mut running = place.run();
    finish(&place, &load, &mut running);
    running.stop();
    assert!(place.ledger().exists() && groups(&source.cluster()).contains(&group));
    assert_eq!(
        target.cluster().read(&place.data_topic(), Isolation::Committed).len(),
        load.expected.len()
    );
    let left_out = ["held", "hours_left", "schema_id", "leaf"];
    let status = place.verb(&["status", &file, "--format", "json"]);
    let status = is_as_documented("status", &status, &left_out);
    let held = status["partitions"].as_array().expect("partitions");
    let held: Vec<&Value> = held.iter().filter(|p| p["state"] == "held").collect();
    let message = held[0]["held"]["message"].as_str().expect("a message");
    for word in
        [&file, "error: no class for leaf `after.passport`", "propose: `passport: identifier`"]
    {
        assert!(message.contains(word), "{message}");
    }
    let doctor = place.verb(&["doctor", &file, "--format", "json"]);
    is_as_documented("doctor", &doctor.fine("doctor"), &[]);
    is_as_documented("verify", &place.verify().fine("verify"), &[]);
}
