//! Editors: a real YAML language server completes, explains and checks a pipeline file by the schema that
//! `douane schema` prints.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::place::binary;
use crate::rig;
use crate::say;

const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// The language server, or why there is none.
fn server() -> Result<PathBuf, String> {
    let script = Path::new(HOME).join("tests/editors/server.sh");
    let said = Command::new(script).output().expect("a shell");
    match said.status.code() {
        Some(0) => Ok(PathBuf::from(String::from_utf8_lossy(&said.stdout).trim().to_owned())),
        Some(3) => Err(String::from_utf8_lossy(&said.stderr).trim().to_owned()),
        _ => panic!("{}", String::from_utf8_lossy(&said.stderr)),
    }
}

struct Editor {
    dir: PathBuf,
    server: PathBuf,
}

impl Editor {
    /// What the server says of a text; `|` marks where it is asked to complete, `^` where to explain.
    fn ask(&self, text: &str) -> (Vec<(u64, String)>, Vec<Value>) {
        let text = format!("# yaml-language-server: $schema=../pipeline.schema.json\n{text}");
        let (mut clean, mut questions) = (String::new(), Vec::new());
        for c in text.chars() {
            let kind = match c {
                '|' => "completion",
                '^' => "hover",
                other => {
                    clean.push(other);
                    continue;
                }
            };
            let line = clean.matches('\n').count();
            let character = clean.rsplit('\n').next().map_or(0, str::len);
            questions.push(json!({"kind": kind, "line": line, "character": character}));
        }
        let file = self.dir.join("pipelines/p.yaml");
        std::fs::write(&file, clean).expect("a file");
        let said = Command::new("node")
            .arg(Path::new(HOME).join("tests/editors/ask.mjs"))
            .args([&self.server, &file])
            .arg(Value::from(questions).to_string())
            .output()
            .expect("node");
        let (out, err) = (&said.stdout, String::from_utf8_lossy(&said.stderr));
        let said: Value = serde_json::from_slice(out).unwrap_or_else(|e| panic!("{e}\n{err}"));
        let diagnostics = said["diagnostics"].as_array().expect("diagnostics").iter();
        let diagnostics = diagnostics
            .map(|d| (d["line"].as_u64().unwrap_or(0), d["message"].to_string()))
            .collect();
        (diagnostics, said["answers"].as_array().expect("answers").clone())
    }
}

const GOOD: &str = "\
name: p
purpose: model-training
domains: domains.yaml
source:
  kafka: { cluster: sovereign, topics: [crm.public.customers], format: debezium_json, start: earliest, key: [id] }
classes:
  id: identifier
  city: public
  notes: free_text
stages:
  - tokenize: { columns: [id], domain: customer }
  - redact: { columns: [notes], detectors: [email] }
sink:
  kafka: { cluster: global, topic: out, format: json, timestamp: 1s }
overrides:
  - { name: notes, columns: [notes], detectors: [email], residual: [names], min_recall: 0.6, scorecard: scorecards/notes.json }
release: p.release.json
";

#[track_caller]
fn offers(answer: &Value, words: &[&str]) {
    let labels: Vec<&str> =
        answer.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for word in words {
        assert!(labels.contains(word), "{word} is not offered: {labels:?}");
    }
}

#[test]
fn a_yaml_language_server_completes_explains_and_checks_a_pipeline() {
    let server = match server() {
        Ok(server) => server,
        Err(why) => return say::skipped("editors", &why),
    };
    let dir = rig::directory("editors");
    std::fs::create_dir_all(dir.join("pipelines")).expect("a directory");
    let schema = Command::new(binary()).args(["schema", "pipeline"]).output().expect("the binary");
    std::fs::write(dir.join("pipeline.schema.json"), schema.stdout).expect("the schema");
    let editor = Editor { dir, server };

    // What is right has no finding, and is explained.
    let (found, answers) = editor.ask(&GOOD.replace("purpose:", "purp^ose:"));
    assert_eq!(found, [], "a good file");
    assert!(answers[0].as_str().is_some_and(|text| text.contains("What the data is for")));

    // Stage verbs, class words, detectors, formats, where each is to be written.
    let (_, answers) = editor.ask(&GOOD.replace("sink:\n", "  - |\nsink:\n"));
    offers(&answers[0], &["tokenize", "fpe", "mask", "redact", "generalize", "drop"]);
    let (_, answers) = editor.ask(&GOOD.replace("city: public", "city: |"));
    offers(&answers[0], &["identifier", "quasi", "sensitive", "special", "free_text", "public"]);
    let redact = "detectors: [email] }\nsink:";
    let (_, answers) = editor.ask(&GOOD.replace(redact, "detectors: [email, |] }\nsink:"));
    offers(&answers[0], &["email", "phone", "card", "iban"]);
    let (_, answers) = editor.ask(&GOOD.replace("format: debezium_json", "format: |"));
    offers(&answers[0], &["debezium_avro", "debezium_json", "debezium_json_schema"]);

    // An unknown key and a wrong word are marked, on their lines.
    for (from, to, word) in [
        ("release: p", "relaese: x\nrelease: p", "relaese"),
        ("city: public", "city: pii", "identifier"),
        ("timestamp: 1s", "timestamp: 1s, colour: red", "colour"),
    ] {
        let text = GOOD.replace(from, to);
        let line = text.lines().position(|line| GOOD.lines().all(|good| good != line));
        // One line more: the one that names the schema.
        let line = line.expect("a changed line") as u64 + 1;
        let (found, _) = editor.ask(&text);
        assert!(
            found.iter().any(|(at, message)| *at == line && message.contains(word)),
            "{to}: expected a finding at line {line}, found {found:?}"
        );
    }
}
