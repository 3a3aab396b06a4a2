//! A transcript of Kafka Connect 4.3.1, played against `serve`: what is answered otherwise is a list
//! with reasons, and every other answer is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cases::bench::asked;
use crate::cases::verbs::is_as_documented;
use crate::cases::workers::{self, Worker};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Place, Running, Setup, used};
use crate::{rig, say};

/// The topic of the transcript.
const SOURCE: &str = "golden.in";
const PATIENCE: Duration = Duration::from_secs(30);

/// What was answered.
pub struct Said {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

/// A client of the plainest sort: what it sends is what stands here.
pub struct Client {
    pub address: String,
}

impl Client {
    pub fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Option<&str>,
    ) -> Said {
        let mut stream = TcpStream::connect(&self.address).expect("the service listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let whole = format!("{head}\r\n{}", body.unwrap_or_default());
        stream.write_all(whole.as_bytes()).expect("a request");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Said { status: status.parse().expect("a status"), headers, body: body.to_owned() }
    }

    pub fn get(&self, path: &str) -> Said {
        self.call("GET", path, &[], None)
    }

    pub fn put(&self, path: &str, body: &str) -> Said {
        let json = ("Content-Type".to_owned(), "application/json".to_owned());
        self.call("PUT", path, &[json], Some(body))
    }

    /// Until no task is between two states: what is answered next hangs on no clock.
    fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let all = self.get("/connectors?expand=status").json();
            if all.as_object().expect("connectors").values().all(|one| is_settled(&one["status"])) {
                return;
            }
            assert!(Instant::now() < until, "it does not settle: {all}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn is_settled(status: &Value) -> bool {
    let tasks = status["tasks"].as_array().expect("tasks");
    let is = |word: &str| status["connector"]["state"] == word;
    if is("RUNNING") {
        // One that is to pause or stop says so while it ends.
        return status["connector"]["trace"].is_null()
            && !tasks.is_empty()
            && tasks.iter().all(|task| task["state"] != "UNASSIGNED");
    }
    true
}

fn events() -> Customers {
    Customers::new(8, 73_400_120, true)
}

/// A place whose pipelines are signed, and of which none lies where the service looks.
struct Golden {
    place: Place,
    /// The pipeline of the first; those of others differ by the name.
    yaml: String,
    secrets: Vec<String>,
}

impl Golden {
    /// `run`: the connectors that come to run. Whoever calls from this machine may do everything.
    fn new(source_topic: &str, run: &[&str]) -> Self {
        let serve = "serve: { listen: \"127.0.0.1:0\", anonymous: [author, operator, auditor] }";
        let golden = Self::unsigned(source_topic, run[0], serve);
        for name in run {
            golden.sign(name);
        }
        golden
    }

    fn unsigned(source_topic: &str, first: &str, serve: &'static str) -> Self {
        let (source, target) = rig::clusters();
        source.cluster().create(source_topic, 1, &[]);
        let load = Load::new(1).customers(&mut events(), 10, Format::Json, &Plants::default());
        load.send(&source.cluster(), source_topic);
        let mut setup = Setup::customers(first, source.cluster(), target.cluster());
        setup.topics = vec![source_topic.to_owned()];
        setup.tasks = 1;
        setup.place = serve;
        let place = Place::unreleased(setup);
        let read = place.dir.join(place.pipeline_file());
        let yaml = std::fs::read_to_string(read).expect("the pipeline");
        Self { place, yaml, secrets: load.secrets }
    }

    /// What was fed, and as much again that was not yet.
    fn more(&self) -> (Load, Load) {
        let mut events = events();
        let mut of = || Load::new(1).customers(&mut events, 10, Format::Json, &Plants::default());
        (of(), of())
    }

    fn yaml(&self, name: &str) -> String {
        let first = &self.place.setup.name;
        self.yaml
            .replace(&format!("name: {first}\n"), &format!("name: {name}\n"))
            .replace(&format!("topic: {first}."), &format!("topic: {name}."))
            .replace(&format!("release: {first}."), &format!("release: {name}."))
    }

    /// A release for the pipeline of that name, whose file is taken away again.
    fn sign(&self, name: &str) {
        let file = format!("pipelines/{name}.yaml");
        std::fs::write(self.place.dir.join(&file), self.yaml(name)).expect("a file");
        if name != self.place.setup.name {
            let topic = format!("{name}.training.customers");
            self.place.setup.target.create(&topic, 4, &[("cleanup.policy", "compact")]);
            self.place.verb(&["doctor", "--create", &file]).fine("doctor");
        }
        self.place.verb(&["release", "propose", &file, "--author", "cleo"]).fine("propose");
        for key in ["approvers/ada", "approvers/bo"] {
            self.place.verb(&["release", "sign", &file, "--key", key]).fine("sign");
        }
        std::fs::remove_file(self.place.dir.join(&file)).expect("it is there");
    }

    fn serve(&self) -> (Running, Client) {
        let running = self.place.spawn(&["serve"]);
        assert!(running.wait_for_word("\"listening\"", PATIENCE), "{}", running.said());
        let said = running.said();
        let line = said.lines().find(|line| line.contains("\"listening\"")).expect("a line");
        let line: Value = serde_json::from_str(line).expect("JSON");
        let address = line["listen"].as_str().expect("an address").to_owned();
        (running, Client { address })
    }

    /// A value of the transcript in the words of this product: its classes, keys and files.
    fn ours(&self, value: &Value, name: &str) -> Value {
        match value {
            Value::Array(all) => all.iter().map(|one| self.ours(one, name)).collect(),
            Value::Object(object) if object.contains_key("connector.class") => {
                self.config(object, name)
            }
            Value::Object(object) => {
                let mut mapped = Map::new();
                for (key, value) in object {
                    let value = match (key.as_str(), value.as_str()) {
                        ("type", Some("source")) => json!("sink"),
                        _ => self.ours(value, name),
                    };
                    mapped.insert(key.clone(), value);
                }
                mapped.into()
            }
            other => other.clone(),
        }
    }

    fn config(&self, object: &Map<String, Value>, name: &str) -> Value {
        let mut mapped = Map::new();
        let is_task = object.contains_key("task.class");
        for (key, value) in object {
            let (key, value) = match (key.as_str(), value.as_str()) {
                ("connector.class", Some("FileStreamSink" | "FileStreamSource")) => {
                    ("connector.class", json!("Pipeline"))
                }
                ("file", _) if is_task => continue,
                ("file", Some(_)) => ("douane.pipeline", json!(self.yaml(name))),
                ("file", None) => ("douane.pipeline", value.clone()),
                ("topic", _) => ("topics", json!(SOURCE)),
                ("task.class", _) => ("task.class", json!("io.douane.Shard")),
                ("errors.tolerance", _) => ("description", value.clone()),
                ("errors.log.enable", _) => ("contact", value.clone()),
                // Of the one connector that is to fail: here it does for want of a release.
                ("value.converter" | "value.converter.schemas.enable", _) if name == "g-fail" => {
                    continue;
                }
                (key, _) => (key, value.clone()),
            };
            mapped.insert(key.to_owned(), value);
        }
        mapped.into()
    }
}

/// What differs on every run, and where it was said.
fn blanked(value: &Value) -> Value {
    const BLANK: [&str; 6] =
        ["kafka_cluster_id", "commit", "version", "last_modified", "worker_id", "trace"];
    match value {
        Value::Array(all) => all.iter().map(blanked).collect(),
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| {
                let plain = value.is_string() || value.is_null() || value.is_number();
                match BLANK.contains(&key.as_str()) && plain {
                    true => (key.clone(), json!("*")),
                    false => (key.clone(), blanked(value)),
                }
            })
            .collect(),
        other => other.clone(),
    }
}

/// A header without the host.
fn path_of(value: &str) -> &str {
    let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
    if rest.len() == value.len() { value } else { &rest[rest.find('/').unwrap_or(rest.len())..] }
}

/// How an answer differs from the transcript's.
fn difference(golden: &Golden, row: &Value, name: &str, said: &Said) -> Option<String> {
    let status = row["status"].as_u64().expect("a status");
    if u64::from(said.status) != status {
        return Some(format!("status {status} -> {}: {}", said.status, said.body));
    }
    for header in ["Content-Type", "Location", "Allow", "WWW-Authenticate", "Retry-After"] {
        let expected = row["headers"][header].as_str().map(path_of);
        let found = said.headers.get(&header.to_lowercase()).map(|value| path_of(value));
        if expected != found {
            return Some(format!("{header} {expected:?} -> {found:?}"));
        }
    }
    let body = row["body"].as_str().unwrap_or_default();
    let same = match serde_json::from_str::<Value>(body) {
        Ok(expected) => {
            let found = serde_json::from_str(&said.body).unwrap_or(Value::Null);
            blanked(&golden.ours(&expected, name)) == blanked(&found)
        }
        Err(_) => body == said.body,
    };
    let cut = |text: &str| text.chars().take(300).collect::<String>();
    (!same).then(|| format!("body {} -> {}", cut(body), cut(&said.body)))
}

/// Which connector a call is about.
fn about(row: &Value, body: Option<&Value>) -> String {
    let path = row["path"].as_str().unwrap_or_default();
    let named = body.and_then(|body| body["name"].as_str()).map(str::trim).unwrap_or_default();
    match path.strip_prefix("/connectors/").and_then(|rest| rest.split('/').next()) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ if named.is_empty() => "g1".to_owned(),
        _ => named.to_owned(),
    }
}

/// What is the same on every run of an answer that is another than Kafka Connect's.
fn kernel(golden: &Golden, name: &str, said: &Said) -> Value {
    let mut kernel = json!({"status": said.status});
    match serde_json::from_str::<Value>(&said.body) {
        Ok(body) => kernel["body"] = kernel_of(&golden.yaml(name), &blanked(&body)),
        Err(_) => kernel["text"] = json!(said.body),
    }
    let kind = said.headers.get("content-type").map_or("", String::as_str);
    if kind != "application/json" {
        kernel["type"] = json!(kind);
    }
    kernel
}

/// Of a validated config what it has and what is wrong with it, of a key's definition its name: what it
/// says is told in one place. A pipeline's file is another on every run.
fn kernel_of(yaml: &str, body: &Value) -> Value {
    let inner = |value: &Value| kernel_of(yaml, value);
    match body {
        Value::Object(object) => match (object.get("display_name"), object.get("configs")) {
            (Some(_), _) => object["name"].clone(),
            (_, Some(Value::Array(configs))) => {
                let has = |value: &Value| !value["value"].is_null() || value["errors"] != json!([]);
                let values = configs.iter().map(|config| &config["value"]).filter(|v| has(v));
                let name = |value: &Value| value["name"].as_str().unwrap_or("?").to_owned();
                let said = |v: &Value| json!([inner(&v["value"]), inner(&v["errors"])]);
                let configs: Map<_, _> = values.map(|value| (name(value), said(value))).collect();
                json!({"name": object["name"], "error_count": object["error_count"], "configs": configs})
            }
            _ => object.iter().map(|(key, value)| (key.clone(), inner(value))).collect(),
        },
        Value::Array(all) => all.iter().map(inner).collect(),
        Value::String(text) if text == yaml => json!("*"),
        Value::String(text) => {
            json!(text.replace(concat!("[", env!("CARGO_PKG_VERSION"), "]"), "[*]"))
        }
        other => other.clone(),
    }
}

/// The names that the definitions of keys have in an answer.
fn forms(body: &str) -> BTreeSet<BTreeSet<String>> {
    fn collect(value: &Value, forms: &mut BTreeSet<BTreeSet<String>>) {
        match value {
            Value::Array(all) => all.iter().for_each(|one| collect(one, forms)),
            Value::Object(object) if object.contains_key("display_name") => {
                forms.insert(object.keys().cloned().collect());
            }
            Value::Object(object) => object.values().for_each(|one| collect(one, forms)),
            _ => {}
        }
    }
    let mut forms = BTreeSet::new();
    collect(&serde_json::from_str(body).unwrap_or_default(), &mut forms);
    forms
}

/// An answer that is another than Kafka Connect's.
#[derive(Clone)]
struct Otherwise {
    how: String,
    kernel: Value,
}

/// Plays one call. What fails is begun again by itself, also between two calls: about that one it is
/// asked again.
fn play(golden: &Golden, client: &Client, row: &Value) -> Option<Otherwise> {
    let is_failing = row["path"].as_str().is_some_and(|path| path.contains("/g-fail/"))
        || row["id"] == "list-failed";
    let tries = if is_failing { 10 } else { 1 };
    let mut found = None;
    for _ in 0..tries {
        found = play_once(golden, client, row);
        if found.is_none() {
            break;
        }
    }
    found
}

fn play_once(golden: &Golden, client: &Client, row: &Value) -> Option<Otherwise> {
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let path = text("path")
        .replace("FileStreamSink", "Pipeline")
        .replace("FileStreamSource", "Pipeline")
        .replace("org.apache.kafka.connect.runtime.WorkerSinkTask", "douane.pipelines")
        .replace("loggers/org.apache.kafka.connect.runtime", "loggers/douane");
    let raw = row["req_body"].as_str();
    let parsed = raw.and_then(|raw| serde_json::from_str::<Value>(raw).ok());
    let name = about(row, parsed.as_ref());
    let body = match &parsed {
        // A patch names no class, and takes away what is required by a name of ours.
        Some(Value::Object(patch)) if path.ends_with("/config") && text("method") == "PATCH" => {
            let mut patch = patch.clone();
            if let Some(topics) = patch.remove("topics") {
                patch.insert("douane.pipeline".to_owned(), topics);
            }
            Some(golden.config(&patch, &name).to_string())
        }
        Some(parsed) if parsed.is_object() => Some(golden.ours(parsed, &name).to_string()),
        _ => raw.map(str::to_owned),
    };
    let headers: Vec<(String, String)> = row["req_headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    client.settle();
    if text("id").starts_with("offsets-running") {
        wait_for_offsets(client, &name);
    }
    let said = client.call(&text("method"), &path, &headers, body.as_deref());
    for secret in &golden.secrets {
        assert!(!said.body.contains(secret.as_str()), "{}: a value was answered", text("id"));
    }
    // A golden list of loggers names its own.
    let mut row = row.clone();
    if let Some(body) = row["body"].as_str() {
        let ours =
            body.replace("org.apache.kafka.connect.runtime.WorkerSinkTask", "douane.pipelines");
        row["body"] = json!(ours);
    }
    let how = difference(golden, &row, &name, &said)?;
    let (theirs, ours) = (forms(row["body"].as_str().unwrap_or_default()), forms(&said.body));
    assert!(theirs.is_empty() || ours.is_empty() || ours == theirs, "{}: {ours:?}", text("id"));
    Some(Otherwise { how, kernel: kernel(golden, &name, &said) })
}

fn wait_for_offsets(client: &Client, name: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let offsets = client.get(&format!("/connectors/{name}/offsets")).json();
        if offsets["offsets"][0]["offset"]["kafka_offset"] == 10 {
            return;
        }
        assert!(Instant::now() < until, "{name} does not cross: {offsets}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read_to_string(path).expect("data of the tests")
}

/// What is answered otherwise by id, and how, or as which other id; each stands once, under a reason.
fn listed() -> BTreeMap<String, Value> {
    let list: Value = serde_json::from_str(&data("connect-rest.differences.json")).expect("JSON");
    let mut ids = BTreeMap::new();
    for group in list.as_array().expect("a list") {
        let reason = group["reason"].as_str().expect("a reason");
        assert!(reason.len() > 20, "no reason: {reason}");
        for (id, answer) in group["answers"].as_object().expect("answers") {
            let answer = answer.as_str().map_or(answer, |as_this| &group["answers"][as_this]);
            let status = answer["status"].as_u64().expect("a status");
            assert!(status < 500, "{id}: a fault is no difference");
            assert!(ids.insert(id.clone(), answer.clone()).is_none(), "{id} stands twice");
        }
    }
    ids
}

/// What of the found differences is not listed, or is listed as another; and what of the list was not
/// found.
fn unexplained(
    found: &BTreeMap<String, Otherwise>,
    listed: &BTreeMap<String, Value>,
) -> Vec<String> {
    let new = found.iter().filter_map(|(id, said)| match listed.get(id) {
        None => Some(format!("{id}: {}", said.how)),
        Some(answer) if *answer == said.kernel => None,
        Some(answer) => Some(format!("{id}: answered {}, listed {answer}", said.kernel)),
    });
    let gone = listed.keys().filter(|id| !found.contains_key(*id));
    let gone = gone.map(|id| format!("{id}: is listed, and is answered alike"));
    new.chain(gone).collect()
}

#[test]
fn the_transcript_of_kafka_connect_is_answered_alike_but_for_what_is_listed() {
    let _turn = rig::exclusive();
    let golden = Golden::new(SOURCE, &["g1", "g-trim", "g2"]);
    let began = Instant::now();
    let (mut running, client) = golden.serve();
    let mut found = BTreeMap::new();
    let mut calls = 0;
    let mut last = None;
    for line in data("connect-rest.jsonl").lines() {
        let row: Value = serde_json::from_str(line).expect("a row");
        // What only a rebalance shows: there is none here.
        if row["optional"] == true {
            continue;
        }
        calls += 1;
        let id = row["id"].as_str().expect("an id").to_owned();
        if let Some(how) = play(&golden, &client, &row) {
            assert!(found.insert(id, how).is_none(), "an id stands twice");
        } else {
            last = Some(row);
        }
    }
    let listed = listed();
    let wrong = unexplained(&found, &listed);
    assert!(wrong.is_empty(), "{} of {calls}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(calls, 304);

    // Control: an answer that was another in the transcript is seen, and so is one too many in the list.
    let mut invented = last.expect("some are answered alike");
    let id = invented["id"].as_str().expect("an id").to_owned();
    invented["body"] = json!("[\"invented\"]");
    let said = play(&golden, &client, &invented).expect("an invented difference is seen");
    let more: BTreeMap<_, _> = found.clone().into_iter().chain([(id, said)]).collect();
    assert_eq!(unexplained(&more, &listed).len(), 1);
    let mut fewer = found.clone();
    fewer.pop_first();
    assert_eq!(unexplained(&fewer, &listed).len(), 1);
    // And so is a listed answer that is another than the listed one: its status, or what it says.
    for id in listed.keys() {
        for change in ["status", "body"] {
            let mut other = found.clone();
            let kernel = &mut other.get_mut(id).expect("it was found").kernel;
            kernel[change] = match change {
                "status" => json!(500),
                _ => json!({"said": kernel[change], "echoed": "hunter2"}),
            };
            assert_eq!(unexplained(&other, &listed).len(), 1, "{id} {change}");
        }
    }

    running.stop();
    let said = running.said();
    for secret in &golden.secrets {
        assert!(!said.contains(secret.as_str()), "a value was logged");
    }
    let differ = listed.len();
    say::figure("calls of Kafka Connect answered alike", calls - differ, "of 304");
    say::figure("the transcript takes", began.elapsed().as_secs(), "s");
}

#[test]
fn what_stops_starts_again_as_it_was_and_one_that_fails_touches_no_other() {
    let _turn = rig::exclusive();
    let golden = Golden::new("served.in", &["s1", "s-still"]);
    let (mut running, client) = golden.serve();
    let create = |name: &str, state: &str| {
        let config = json!({"connector.class": "Pipeline", "douane.pipeline": golden.yaml(name)});
        let body = json!({"name": name, "config": config, "initial_state": state}).to_string();
        let kind = ("Content-Type".to_owned(), "application/json".to_owned());
        client.call("POST", "/connectors", &[kind], Some(&body))
    };
    assert_eq!(client.put("/admin/loggers/root", r#"{"level":"TRACE"}"#).status, 200);
    for (name, state) in [("s1", "RUNNING"), ("s-still", "STOPPED"), ("s-fail", "RUNNING")] {
        let said = create(name, state);
        assert_eq!(said.status, 201, "{}", said.body);
    }
    client.settle();
    wait_for_offsets(&client, "s1");
    let states = |client: &Client| {
        let all = client.get("/connectors?expand=status").json();
        let all = all.as_object().expect("connectors").clone();
        let of = |(name, one): (String, Value)| {
            let tasks = one["status"]["tasks"].as_array().expect("tasks").clone();
            let task = tasks.first().map_or("-", |task| task["state"].as_str().unwrap_or("?"));
            (name, task.to_owned())
        };
        all.into_iter().map(of).collect::<BTreeMap<String, String>>()
    };
    let expected: BTreeMap<String, String> =
        [("s1", "RUNNING"), ("s-fail", "FAILED"), ("s-still", "-")]
            .map(|(name, state)| (name.to_owned(), state.to_owned()))
            .into();
    // What fails is begun again by itself now and then: it is looked at until it has failed.
    let until = |what: &dyn Fn() -> bool| {
        let end = Instant::now() + PATIENCE;
        while !what() {
            assert!(Instant::now() < end, "{:?}", states(&client));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until(&|| states(&client) == expected);
    let of_release =
        |trace: &str| trace.starts_with("release: ") && trace.contains("begun again in");
    let status = || client.get("/connectors/s-fail/tasks/0/status").json();
    until(&|| status()["trace"].as_str().is_some_and(of_release));

    // The metrics say the same, under Kafka Connect's names, and no label holds a name of data.
    for line in [
        "kafka_connect_worker_connector_count 3",
        "kafka_connect_connector_status{connector=\"s1\",task=\"0\",status=\"running\"} 1",
        "kafka_connect_worker_connector_failed_task_count{connector=\"s-fail\"} 1",
        "douane_up{connector=\"s1\",pipeline=\"s1\"} 1",
    ] {
        until(&|| client.get("/metrics").body.lines().any(|found| found == line));
    }
    // What is counted of each transaction: of a row that is masked there are cells, and it took its time.
    for start in [
        "kafka_connect_sink_task_sink_record_send_total{connector=\"s1\",task=\"0\"} ",
        "kafka_connect_sink_task_partition_count{connector=\"s1\",task=\"0\"} ",
        "douane_latency_seconds_count{connector=\"s1\",pipeline=\"s1\"} ",
        "douane_bytes_read_total{connector=\"s1\",pipeline=\"s1\"} ",
        "douane_bytes_written_total{connector=\"s1\",pipeline=\"s1\"} ",
        "douane_cells_total{connector=\"s1\",pipeline=\"s1\",stage=\"mask\",",
    ] {
        until(&|| {
            let metrics = client.get("/metrics").body;
            let value = metrics.lines().filter(|line| line.starts_with(start));
            value.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() > 0.0
        });
    }
    // Each line of the log says where it was written.
    let said = running.said();
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<Value> = lines.collect();
    let zone = json!("eu-de");
    assert!(lines.len() > 3 && lines.iter().all(|line| line["zone"] == zone), "{said}");
    let of_pipeline = |line: &&Value| line["log"] == "douane.pipelines";
    assert!(lines.iter().filter(of_pipeline).all(|line| line["residency"].is_array()), "{said}");
    let metrics = client.get("/metrics").body;
    for word in ["served.in", "training", "card_number", "email"] {
        assert!(!metrics.contains(word), "{word} stands in the metrics");
    }
    // What is read from the clusters comes with a later look.
    until(&|| client.get("/metrics").body.contains("douane_lag_records{connector=\"s1\""));
    let proof = client.get("/v1/pipelines/s1/proof");
    assert_eq!(proof.json()["proofs"][0]["release"]["live"], true, "{}", proof.body);
    documented("v1-ledger", &client.get("/v1/pipelines/s1/ledger"));
    documented("v1-pipelines", &client.get("/v1/pipelines"));

    assert_eq!(client.put("/connectors/s1/pause", "").status, 202);
    // Another process of the same place is refused: the log of calls is held.
    let second = golden.place.verb(&["serve"]);
    let holder = "_serve/control/lock\n  next: end that one";
    assert!(second.code == 1 && second.err.contains(holder), "{}{}", second.out, second.err);
    rig::signal(running.pid(), libc::SIGTERM);
    assert_eq!(running.wait(Duration::from_secs(20)), Some(0), "{}", running.said());

    let (mut again, client) = golden.serve();
    client.settle();
    let mut paused = expected;
    // What was paused has its tasks, though they have not run since.
    paused.insert("s1".to_owned(), "PAUSED".to_owned());
    let end = Instant::now() + PATIENCE;
    while states(&client) != paused {
        assert!(Instant::now() < end, "{:?}", states(&client));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(client.get("/connectors/s1/status").json()["connector"]["state"], "PAUSED");
    // Where it stands is known all the same: target, source and ledger say it.
    until(&|| {
        let all = client.get("/v1/partitions").json();
        let pipelines = all["pipelines"].as_array().cloned().unwrap_or_default();
        let one = pipelines.into_iter().find(|one| one["pipeline"] == "s1").unwrap_or_default();
        let partitions = one["partitions"].as_array().cloned().unwrap_or_default();
        one["state"] == "paused"
            && !partitions.is_empty()
            && partitions.iter().all(|partition| partition["lag"].is_number())
    });
    let heads = client.get("/v1/pipelines/s1/ledger").json();
    assert!(heads["heads"].as_array().is_some_and(|heads| heads.len() > 1), "{heads}");
    assert_eq!(client.put("/connectors/s1/resume", "").status, 202);
    client.settle();
    assert_eq!(states(&client)["s1"], "RUNNING");
    assert_eq!(client.call("DELETE", "/connectors/s-fail", &[], None).status, 204);
    let names: BTreeSet<String> = states(&client).into_keys().collect();
    assert_eq!(names, ["s-still", "s1"].map(str::to_owned).into());
    what_waits_grows_older(&golden, &client);
    again.stop();
    golden.place.verify().fine("verify");
    // At TRACE there is as little of the data as at any other level.
    let log = golden.place.log();
    assert!(log.contains("\"progress\""), "TRACE says more");
    for secret in &golden.secrets {
        assert!(!log.contains(secret.as_str()), "a value was logged");
    }
}

/// What docs/json.md shows of it.
fn documented(name: &str, said: &Said) {
    let said = crate::place::Said { code: 0, out: said.body.clone(), err: String::new() };
    is_as_documented(name, &said, &[]);
}

/// What is behind and was made long ago is seen before the source deletes it; what has just come is not, and
/// while the target is away the source alone says what there is.
fn what_waits_grows_older(golden: &Golden, client: &Client) {
    let source = &golden.place.setup.source;
    let topic = golden.place.setup.topics[0].as_str();
    let read = |name: &str| {
        let line = format!("douane_{name}{{connector=\"s1\"");
        let metrics = client.get("/metrics").body;
        let found = metrics.lines().find(|found| found.starts_with(&line))?;
        found.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let until = |what: &dyn Fn() -> bool| {
        let end = Instant::now() + PATIENCE * 3;
        while !what() {
            let now = (read("lag_records"), read("hours_until_retention"));
            assert!(Instant::now() < end, "{now:?} {:?}", read("reading_age_seconds"));
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let fed = source.read(topic, Isolation::Committed).pop().expect("what was fed");
    let send = |age_ms: i64| {
        let mut record = fed.clone();
        record.timestamp_ms = jiff::Timestamp::now().as_millisecond() - age_ms;
        let feed = source.producer();
        feed.again(topic, &record);
        feed.flush();
    };
    const HOUR_MS: i64 = 3_600_000;
    source.set_topic_config(topic, "retention.ms", &(10 * HOUR_MS).to_string());
    until(&|| read("lag_records") == Some(0.0));
    assert_eq!(read("hours_until_retention"), None);
    assert_eq!(client.put("/connectors/s1/pause", "").status, 202);
    until(&|| client.get("/connectors/s1/status").json()["tasks"][0]["state"] == "PAUSED");
    // A source deletes in order of time: what crossed was older.
    source.delete_records(topic, 0, source.end(topic, Isolation::Committed));
    send(7 * HOUR_MS - 300_000);
    until(&|| read("hours_until_retention") == Some(3.0));
    assert_eq!(client.put("/connectors/s1/resume", "").status, 202);
    until(&|| read("lag_records") == Some(0.0) && read("hours_until_retention").is_none());
    assert_eq!(client.put("/connectors/s1/pause", "").status, 202);
    until(&|| client.get("/connectors/s1/status").json()["tasks"][0]["state"] == "PAUSED");

    let file = golden.place.dir.join("douane.yaml");
    let yaml = std::fs::read_to_string(&file).expect("the place");
    let target = golden.place.setup.target.bootstrap.as_str();
    let away = yaml.replace(target, "127.0.0.1:1");
    assert_ne!(away, yaml);
    std::fs::write(&file, away).expect("a file");
    send(0);
    until(&|| read("lag_records") == Some(1.0) && read("reading_age_seconds") > Some(5.0));
    assert_eq!(read("hours_until_retention"), None, "it has just come");
    std::fs::write(&file, yaml).expect("a file");
}

/// Many pipelines in one process: what it takes to begin, to wait, and to answer while two of them are
/// at full speed. More than some twenty are too many topics for the rig's brokers on two cores.
#[test]
fn many_pipelines_in_one_process() {
    // A measurement knows no standstill.
    use std::time::Instant;
    let _turn = rig::exclusive();
    if !asked("service") {
        return;
    }
    let count = say::count("DOUANE_BENCH_PIPELINES", 10);
    let records = say::count("DOUANE_BENCH_RECORDS", 200_000);
    let waiting: Vec<String> = (2..count).map(|n| format!("waiting-{n}")).collect();
    let waiting: Vec<&str> = waiting.iter().map(String::as_str).collect();
    let mut golden = Golden::new("many.in", &waiting);
    // As the unit of the package has it.
    golden.place.env("MIMALLOC_ALLOW_THP", "0");
    let busy = ["busy-0", "busy-1"];
    let (quiet_yaml, source) = (golden.yaml.clone(), golden.place.setup.source.clone());
    source.create("many.busy", 4, &[]);
    let busy_yaml = quiet_yaml.replace("many.in", "many.busy");
    for (names, yaml) in [(&waiting[..], quiet_yaml), (&busy[..], busy_yaml)] {
        golden.yaml = yaml;
        for name in names {
            if busy.contains(name) {
                golden.sign(name);
            }
            let file = golden.place.dir.join(format!("pipelines/{name}.yaml"));
            std::fs::write(file, golden.yaml(name)).expect("a file");
        }
    }

    let began = Instant::now();
    let (mut running, client) = golden.serve();
    let crossed = |name: &str| {
        let line = format!("douane_records_total{{connector=\"{name}\",pipeline=\"{name}\"}} ");
        let metrics = client.get("/metrics").body;
        let found =
            metrics.lines().find_map(|found| found.strip_prefix(&line)?.parse::<u64>().ok());
        found.unwrap_or(0)
    };
    let all_run = || {
        let all = client.get("/connectors?expand=status").json();
        let all = all.as_object().expect("connectors").clone();
        let runs = |one: &Value| {
            one["status"]["tasks"].as_array().is_some_and(|tasks| {
                !tasks.is_empty() && tasks.iter().all(|task| task["state"] == "RUNNING")
            })
        };
        all.len() == count && all.values().all(runs)
    };
    while !all_run() {
        assert!(began.elapsed() < Duration::from_secs(120), "{}", running.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    say::figure("bench.service.start", began.elapsed().as_millis(), "ms");
    while waiting.iter().any(|name| crossed(name) == 0) {
        assert!(began.elapsed() < Duration::from_secs(180), "{}", running.said());
        std::thread::sleep(Duration::from_secs(1));
    }
    // What these questions had it read is another work than waiting.
    while has_thread(running.pid(), "readings") {
        assert!(began.elapsed() < Duration::from_secs(240), "{}", running.said());
        std::thread::sleep(Duration::from_secs(1));
    }
    std::thread::sleep(Duration::from_secs(5));
    let (before, _) = used(running.pid());
    std::thread::sleep(Duration::from_secs(20));
    let (after, peak_mib) = used(running.pid());
    say::figure("bench.service.idle_cpu", format!("{:.1}", (after - before) * 5.0), "% of a core");
    say::figure("bench.service.idle_peak", peak_mib, "MiB");

    let mut events = Customers::new(9, 73_500_120, true);
    let load = Load::new(4).customers(&mut events, records, Format::Json, &Plants::default());
    load.send(&source, "many.busy");
    while busy.iter().any(|name| crossed(name) == 0) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let first: u64 = busy.iter().map(|name| crossed(name)).sum();
    let mut took = Vec::new();
    let paths =
        ["/connectors?expand=status", "/connectors/busy-0/status", "/metrics", "/connectors"];
    let asking = Instant::now();
    // Counts come once a second or so.
    for path in paths.iter().cycle().take_while(|_| asking.elapsed() < Duration::from_secs(8)) {
        let asked = Instant::now();
        assert_eq!(client.get(path).status, 200, "{path}");
        took.push(asked.elapsed().as_millis());
    }
    let seconds = asking.elapsed().as_secs_f64();
    let last: u64 = busy.iter().map(|name| crossed(name)).sum();
    assert!(last > first, "nothing crossed while it was asked");
    say::figure("bench.service.crossed_meanwhile", last - first, "records");
    say::figure("bench.service.asked_for", format!("{seconds:.1}"), "s");
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        say::figure(&format!("bench.service.rest_{name}"), say::quantile(&took, share), "ms");
    }
    say::figure("bench.service.busy_peak", used(running.pid()).1, "MiB");
    running.stop();
}

fn has_thread(pid: u32, name: &str) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let named = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    tasks.flatten().any(|task| named(task).is_ok_and(|comm| comm.trim() == name))
}

/// PyPI's kafka-connect-py, unmodified, with a token as a password. `DOUANE_KC` names its command.
#[test]
fn an_unmodified_client_of_kafka_connect_drives_it() {
    let Ok(command) = std::env::var("DOUANE_KC") else {
        say::skipped("an unmodified client", "DOUANE_KC does not name kafka-connect-py's `kc`");
        return;
    };
    let _turn = rig::exclusive();
    let golden = Golden::new("driven.in", &["k1"]);
    let (mut running, client) = golden.serve();
    let token =
        golden.place.verb(&["serve", "token", "kc", "--role", "author", "--role", "operator"]);
    let token = token.fine("serve token").out;
    let config = json!({"connector.class": "Pipeline", "douane.pipeline": golden.yaml("k1")});
    let file = |name: &str, value: &Value| {
        let path = golden.place.dir.join(name);
        std::fs::write(&path, value.to_string()).expect("a file");
        path.display().to_string()
    };
    let new = file("new.json", &json!({"name": "k1", "config": config}));
    let config = file("config.json", &config);
    let kc = |args: &[&str], auth: &str| {
        let out = std::process::Command::new(&command)
            .args(["--url", &format!("http://{}", client.address), "--auth", auth])
            .args(args)
            .output()
            .expect("kc");
        let both = [out.stdout, out.stderr].concat();
        String::from_utf8_lossy(&both).into_owned()
    };
    let auth = format!("kc:{}", token.trim());
    for (args, word) in [
        (&["info"][..], "4.3.1-douane"),
        (&["create", "-f", &new], "\"name\": \"k1\""),
        (&["list"], "[\"k1\"]"),
        (&["get", "k1"], "douane.pipeline"),
        (&["config", "k1"], "douane.pipeline"),
        (&["status", "k1"], "\"RUNNING\""),
        (&["list-tasks", "k1"], "io.douane.Shard"),
        (&["task-status", "k1", "0"], "\"RUNNING\""),
        (&["list-topics", "k1"], "driven.in"),
        (&["list-plugins"], "io.douane.PipelineConnector"),
        (&["pause", "k1"], ""),
        (&["status", "k1"], "\"PAUSED\""),
        (&["resume", "k1"], ""),
        (&["restart", "k1"], ""),
        (&["restart", "k1", "--include-tasks"], "\"k1\""),
        (&["restart-task", "k1", "0"], ""),
        (&["reset-topics", "k1"], ""),
        (&["update", "k1", "-f", &config], "\"k1\""),
        // This client sends the config as a text within JSON; Kafka Connect answers it with 500.
        (&["validate-config", "Pipeline", "-f", &config], "400 Client Error"),
        (&["delete", "k1"], ""),
        (&["list"], "[]"),
    ] {
        let said = kc(args, &auth);
        let is_said = said.contains(word);
        // It exits with 0 whatever was answered.
        let said = said.replace(word, "");
        let is_refused = said.contains("Error") || said.contains("error_code");
        assert!(is_said && !is_refused, "{args:?}: {said}");
        client.settle();
    }
    // Control: under a wrong password nothing is answered.
    let refused = kc(&["list"], "kc:wrong");
    assert!(refused.contains("401"), "{refused}");
    running.stop();
}

/// What is typed in docs/from-kafka-connect.md, line by line.
fn walk() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/from-kafka-connect.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let blocks = page.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).map(|line| line.strip_prefix("$ ").expect("a prompt"));
    lines.map(|line| line.replace("customers", "walked")).collect()
}

/// Of a worker that masks two fields of a topic, and lets all others out.
const CONNECTOR: &str = r#"{"name":"walked","config":{"name":"walked","topics":"walked.in",
"connector.class":"org.apache.kafka.connect.file.FileStreamSinkConnector","transforms":"after,key,mask,route",
"transforms.after.type":"org.apache.kafka.connect.transforms.ExtractField$Value","transforms.after.field":"after",
"transforms.key.type":"org.apache.kafka.connect.transforms.ValueToKey","transforms.key.fields":"id",
"transforms.mask.type":"org.apache.kafka.connect.transforms.MaskField$Value","transforms.mask.fields":"email,phone",
"transforms.route.type":"org.apache.kafka.connect.transforms.RegexRouter","transforms.route.regex":"(.*)\\.in",
"transforms.route.replacement":"$1.training.customers",
"value.converter":"org.apache.kafka.connect.json.JsonConverter","value.converter.schemas.enable":"false"}}"#;

/// What that worker let out, as `import` has to say it, and what it did not.
const LET_OUT: [&str; 4] = [
    "a leaf that no transform names passes",
    "the record's key crosses in clear",
    "MaskField fails at what has no row",
    "PUT /admin/loggers with TRACE",
];
const KEPT_IN: [&str; 4] = [
    "the transforms see the envelope",
    "dead letters hold",
    "ExtractNewRecordState",
    "no transform masks or drops a leaf",
];

/// What a person does to an imported pipeline: each leaf gets a class, and three of them cross.
fn completed(imported: &str) -> String {
    const BEHIND: &str = "national_id, card_number, full_name, street, birth_date, notes, \
                          balance_cents, updated_at";
    let classes: String =
        BEHIND.split(", ").map(|leaf| format!("  {leaf}: identifier\n")).collect();
    let classes =
        format!("classes:\n  serial: public\n  city: public\n  country: public\n{classes}");
    let types = "types: { id: int64, birth_date: date, balance_cents: int64, \
                 updated_at: micro_timestamp, serial: int64 }\nstages:\n";
    let drop = format!("  - drop: {{ columns: [{BEHIND}, ");
    let mut yaml = imported.to_owned();
    for (from, to) in
        [("classes:\n", &*classes), ("stages:\n", types), ("  - drop: { columns: [", &drop)]
    {
        assert_eq!(yaml.matches(from).count(), 1, "{from}: {yaml}");
        yaml = yaml.replace(from, to);
    }
    yaml
}

#[test]
fn the_way_from_kafka_connect_is_walked_as_it_is_written() {
    let _turn = rig::exclusive();
    let golden = Golden::unsigned("walked.in", "walked", "serve: { listen: \"127.0.0.1:0\" }");
    let dir = &golden.place.dir;
    let pipeline = dir.join("pipelines/walked.yaml");
    for file in [&pipeline, &dir.join("pipelines/domains.yaml")] {
        std::fs::remove_file(file).expect("it is imported");
    }
    let mut service: Option<(Running, Client)> = None;
    let mut workers: Vec<Worker> = Vec::new();
    let mut lost = None;
    let mut exported = String::new();
    let mut called = 0;
    for line in walk() {
        if line.contains("http://connect:8083") {
            std::fs::write(dir.join("connector.json"), CONNECTOR).expect("a file");
        } else if line == "douane serve" {
            service = Some(golden.serve());
        } else if line == "douane -c a.yaml serve" {
            workers.push(workers::start(&golden.place, "a"));
        } else if line == "douane -c b.yaml serve" {
            workers.push(workers::start(&golden.place, "b"));
        } else if let Some(verb) = line.strip_prefix("douane ") {
            if verb.starts_with("-c a.yaml") {
                // Step 5: the service ends, and two workers take its place.
                let (mut running, client) = service.take().expect("it is started");
                let nobody = client.get("/connectors").status;
                assert_eq!(nobody, 401, "without a token nothing is answered");
                wait_for_all(dir, &exported, &client, 10);
                running.stop();
                for name in ["a", "b"] {
                    workers::write_worker(&golden.place, "walked", name);
                }
            }
            let said = golden.place.verb(&verb.split(' ').collect::<Vec<_>>());
            if verb.starts_with("import") {
                let (_, leaks) = said.out.split_once("what it let out").expect("leaks");
                let told = |what: &&&str| leaks.contains(&format!("  - {what}"));
                assert_eq!(LET_OUT.iter().filter(told).count(), LET_OUT.len(), "{leaks}");
                assert_eq!(KEPT_IN.iter().filter(told).count(), 0, "{leaks}");
                let imported = std::fs::read_to_string(&pipeline).expect("it was written");
                std::fs::write(&pipeline, completed(&imported)).expect("a file");
                said.fine(&line);
            } else {
                said.fine(&line);
            }
        } else if line.starts_with("export ") {
            exported = line;
        } else if line.starts_with("jq ") {
            bash(dir, "true", &format!("{line} && true"));
        } else {
            let alone = service.iter().map(|(_, client)| client);
            let all: Vec<&Client> = alone.chain(workers.iter().map(|w| &w.client)).collect();
            let (first, last) = (all.first().expect("it is started"), all[all.len() - 1]);
            let line = line.replace("127.0.0.1:8083", &first.address);
            let line = line.replace("127.0.0.1:8084", &last.address);
            let (mut status, mut body) = bash(dir, &exported, &line);
            // The other worker hears of it within a second or so, as the document says.
            let until = Instant::now() + Duration::from_secs(10);
            while status == 404 && line.contains(&last.address) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(100));
                (status, body) = bash(dir, &exported, &line);
            }
            assert!((200..300).contains(&status), "{line}: {status} {body}");
            called += 1;
            if line.ends_with("/status") && workers.len() == 2 {
                // The one that runs it is killed; and more is written.
                let status = workers::until(&workers[1], "walked", |s| workers::runs(s, None));
                let runs = usize::from(status["connector"]["worker_id"] == "b");
                workers.remove(runs).running.kill();
                lost = Some(Instant::now());
                golden.more().1.send(&golden.place.setup.source, "walked.in");
            } else if line.ends_with("/status") {
                let mut heir = workers.pop().expect("the other one");
                workers::until(&heir, "walked", |s| workers::runs(s, Some(heir.name)));
                wait_for_all(dir, &exported, &heir.client, 20);
                let took = lost.expect("it was killed").elapsed();
                assert!(took <= Duration::from_secs(15), "it took {took:?}");
                say::figure("the walk: moved and caught up in", took.as_millis(), "ms");
                heir.running.stop();
            }
        }
    }
    assert_eq!(called, 8, "the calls of the page");
    let (first, second) = golden.more();
    let expected = [first.expected, second.expected].concat();
    let topic = golden.place.data_topic();
    let records = golden.place.setup.target.read(&topic, Isolation::Committed);
    let verdict = judge(&expected, &records, serial_in_json);
    assert!(verdict.clean() && verdict.read > 10, "{verdict:?}");
    for record in &records {
        let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
        for masked in ["email", "phone", "national_id"] {
            assert!(!value.contains(masked), "{masked} crossed");
        }
        assert!(value.is_empty() || value.contains("\"city\""), "what has a class crosses");
        for secret in &golden.secrets {
            assert!(!value.contains(secret.as_str()), "a value crossed");
        }
    }
}

/// Until so many of the source's records have crossed.
fn wait_for_all(dir: &Path, exported: &str, client: &Client, count: usize) {
    let until = Instant::now() + PATIENCE;
    let offsets = format!("curl -s -H \"$T\" http://{}/connectors/walked/offsets", client.address);
    while !bash(dir, exported, &offsets).1.contains(&format!("\"kafka_offset\":{count}")) {
        assert!(Instant::now() < until, "nothing crosses");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A line of a shell, and the status and body of its call.
fn bash(dir: &Path, before: &str, line: &str) -> (u16, String) {
    let script = format!("{before}; {line} -w '\\n%{{http_code}}'");
    let out = std::process::Command::new("bash").args(["-c", &script]).current_dir(dir).output();
    let out = String::from_utf8_lossy(&out.expect("bash").stdout).into_owned();
    let (body, status) = out.rsplit_once('\n').unwrap_or(("", &out));
    (status.parse().unwrap_or(0), body.to_owned())
}

/// What PyPI's schemathesis says of a service; whether it found no status of 500 or above. `known`: a
/// connector that every path names, which is not deleted then.
fn fuzzed(command: &str, url: &str, token: &str, known: Option<&str>) -> (bool, String) {
    let examples = say::count("DOUANE_EXAMPLES", 50).to_string();
    let dir = rig::directory("schemathesis");
    if let Some(name) = known {
        let values = format!(
            "[parameters]\n\"path.c\" = \"{name}\"\n\"path.n\" = \"0\"\n\"path.p\" = \"Pipeline\"\n\
             \"path.l\" = \"root\"\n"
        );
        std::fs::write(dir.join("schemathesis.toml"), values).expect("a file");
    }
    let out = std::process::Command::new(command)
        .args(["run", &format!("{url}/v1/openapi.json"), "--checks", "not_a_server_error"])
        .args(known.map_or(&[][..], |_| &["--exclude-method", "DELETE"]))
        .args(["--max-examples", &examples, "--generation-deterministic", "--continue-on-failure"])
        .args(["--no-color", "-H", &format!("Authorization: Bearer {token}")])
        .current_dir(dir)
        .output()
        .expect("schemathesis");
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    (out.status.success(), said)
}

/// `DOUANE_SCHEMATHESIS` names its command: tests/rest/schemathesis.sh installs it.
#[test]
fn a_fuzzer_of_the_document_finds_no_500() {
    let Ok(command) = std::env::var("DOUANE_SCHEMATHESIS") else {
        say::skipped("schemathesis", "DOUANE_SCHEMATHESIS does not name its command");
        return;
    };
    let _turn = rig::exclusive();
    let golden = Golden::new("fuzzed.in", &["f1"]);
    let file = golden.place.dir.join("pipelines/f1.yaml");
    std::fs::write(file, golden.yaml("f1")).expect("a file");
    let (mut running, client) = golden.serve();
    client.settle();
    let roles = ["author", "approver", "operator", "auditor"].map(|role| ["--role", role]);
    let args = [&["serve", "token", "fuzzer"][..], roles.as_flattened()].concat();
    let token = golden.place.verb(&args).fine("serve token").out;
    for known in [Some("f1"), None] {
        let url = format!("http://{}", client.address);
        let (is_well, said) = fuzzed(&command, &url, token.trim(), known);
        let made = said.lines().find(|line| line.contains(" generated, "));
        say::note(format!("{known:?}: {}", made.unwrap_or_default().trim()));
        assert!(is_well, "{said}{}", running.said());
    }
    let document = client.get("/v1/openapi.json").body;
    running.stop();
    golden.place.verify().fine("verify");
    let log = golden.place.log();
    assert!(!log.contains("panicked") && !log.contains(token.trim()));
    // The control: a service that answers everything but the document with 500.
    let bound = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = bound.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in bound.incoming().flatten() {
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap_or(0);
            let is_document = head[..count].starts_with(b"GET /v1/openapi.json ");
            let (status, body) = if is_document { ("200 OK", &*document) } else { ("500 x", "{}") };
            let kind = "Content-Type: application/json\r\nConnection: close";
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let (is_well, said) = fuzzed(&command, &format!("http://{address}"), "x", None);
    assert!(!is_well, "{said}");
}

#[test]
fn a_release_is_revoked_by_a_call_of_two_persons_with_a_line_that_was_signed_elsewhere() {
    let _turn = rig::exclusive();
    let serve = "serve: { listen: \"127.0.0.1:0\", anonymous: [auditor], two_persons: [revoke] }";
    let golden = Golden::unsigned("revoked.in", "r1", serve);
    let dir = golden.place.dir.clone();
    golden.sign("r1");
    std::fs::write(dir.join("pipelines/r1.yaml"), golden.yaml("r1")).expect("a file");
    // Somewhere else, somebody who may signs that it is over.
    let elsewhere = rig::directory("elsewhere");
    let copied =
        std::process::Command::new("cp").arg("-a").arg(dir.join(".")).arg(&elsewhere).status();
    assert!(copied.expect("cp").success());
    let revoke =
        ["release", "revoke", "pipelines/r1.yaml", "--key", "approvers/ada", "--reason", "x"];
    golden.place.verb_at(&elsewhere, &revoke).fine("release revoke");
    let line = std::fs::read_to_string(elsewhere.join("r1.release.revocations.json"));
    let line = line.expect("a line");
    let (mut running, client) = golden.serve();
    wait_for_offsets(&client, "r1");
    let token = |name: &str, role: &str| {
        let said = golden.place.verb(&["serve", "token", name, "--role", role]);
        said.fine("serve token").out.trim().to_owned()
    };
    let (bo, cy) = (token("bo", "approver"), token("cy", "operator"));
    let post = |token: &str, body: &str| {
        let headers = [
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("Authorization".to_owned(), format!("Bearer {token}")),
        ];
        client.call("POST", "/v1/pipelines/r1/revocations", &headers, Some(body))
    };
    // What nobody signed stops nothing, however many bring it.
    let forged = line.replace("\"sig\":\"", "\"sig\":\"AAAA");
    assert_ne!(forged, line);
    for (body, status) in [(forged.as_str(), 400), ("{}", 400)] {
        assert_eq!(post(&bo, body).status, 202);
        let said = post(&cy, body);
        assert_eq!(said.status, status, "{}", said.body);
    }
    assert!(!dir.join("r1.release.revocations.json").exists());
    documented("v1-waits", &post(&bo, &line));
    assert_eq!(post(&bo, &line).status, 202, "one person is one");
    let done = post(&cy, &line);
    assert_eq!((done.status, &done.json()["revoked_by"]), (200, &json!("ada")), "{}", done.body);
    documented("v1-revoked", &done);
    let until = Instant::now() + PATIENCE;
    let status = || client.get("/connectors/r1/status").json()["tasks"][0].clone();
    while !status()["trace"].as_str().is_some_and(|trace| trace.contains("revoked")) {
        assert!(Instant::now() < until, "{}", status());
        std::thread::sleep(Duration::from_millis(20));
    }
    for file in ["r1.release.revocations.json", "trust.revocations.json"] {
        assert_eq!(std::fs::read_to_string(dir.join(file)).expect(file), line, "{file}");
    }
    // Said before; and taken back, a token is nobody's from the next call on.
    assert_eq!(post(&bo, &line).status, 202);
    assert_eq!(post(&cy, &line).status, 409);
    golden.place.verb(&["serve", "token", "cy", "--revoke"]).fine("serve token --revoke");
    assert_eq!(post(&cy, &line).status, 401);
    let listed = golden.place.verb(&["serve", "tokens"]).fine("serve tokens").out;
    assert!(listed.contains("bo: approver, until ") && !listed.contains("cy"), "{listed}");
    running.stop();
    golden.place.verify().fine("verify");
}

/// Whoever tries tokens leaves a line and a number, and nothing of what he sent stands in either.
#[test]
fn who_is_refused_is_told_once_and_counted_each_time() {
    let _turn = rig::exclusive();
    let golden = Golden::unsigned("refused.in", "r2", "serve: { listen: \"127.0.0.1:0\" }");
    let token = |name: &str, role: &str| {
        let said = golden.place.verb(&["serve", "token", name, "--role", role]);
        format!("Bearer {}", said.fine("serve token").out.trim())
    };
    let (ada, bo) = (token("ada", "author"), token("bo", "operator"));
    let (mut running, client) = golden.serve();
    let call = |method: &str, path: &str, said: Option<&str>, body: Option<&str>| {
        let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        headers.extend(said.map(|said| ("Authorization".to_owned(), said.to_owned())));
        client.call(method, path, &headers, body)
    };
    let loud = call("PUT", "/admin/loggers/root", Some(&bo), Some("{\"level\":\"TRACE\"}"));
    assert_eq!(loud.status, 200);
    let before = running.said();
    let canary = "canary4711";
    // Of base64: a name and a password.
    let basic = "Basic Y2FuYXJ5NDcxMTpjYW5hcnk0NzEx";
    for _ in 0..10 {
        for (method, path) in [("GET", "/connectors/canary4711"), ("CANARY4711", "/canary4711")] {
            for (said, sent) in [(None, None), (Some(canary), None), (None, Some(canary))] {
                let said = said.map(|token| format!("Bearer {token}"));
                assert_eq!(call(method, path, said.as_deref(), sent).status, 401);
            }
        }
        assert_eq!(call("GET", "/", Some(basic), None).status, 401);
        assert_eq!(call("GET", "/v1/budget", Some(&ada), None).status, 403);
    }
    assert_eq!(call("GET", "/v1/pipelines", Some(&ada), None).status, 200, "the control");
    let said = running.said()[before.len()..].to_owned();
    let lines = said.lines().filter(|line| line.contains("\"call_refused\""));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let fields = ["level", "log", "from", "why", "status", "by", "method", "route", "times"];
    let told: Vec<Value> =
        lines.iter().map(|line| fields.map(|field| line[field].clone()).into()).collect();
    let line = |why: &str, status: u16, by: Value, route: &str| {
        json!(["WARN", "douane.rest", "127.0.0.1", why, status, by, "GET", route, null])
    };
    let expected = [
        line("none", 401, Value::Null, "/connectors/{c}"),
        line("unknown", 401, Value::Null, "/connectors/{c}"),
        line("role", 403, json!("ada"), "/v1/budget"),
    ];
    assert_eq!(told, expected, "{said}");
    assert!(!said.to_lowercase().contains(canary), "{said}");
    let metrics = call("GET", "/metrics", Some(&bo), None).body;
    let reasons = [
        ("none", 40),
        ("unknown", 30),
        ("expired", 0),
        ("unreadable", 0),
        ("role", 10),
        ("handshake", 0),
    ];
    for (reason, count) in reasons {
        let line = format!("douane_rest_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} {metrics}");
    }
    assert!(!metrics.contains(canary), "{metrics}");
    running.stop();
}
