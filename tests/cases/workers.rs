//! Two workers of one group on real Kafka: either answers every call, one of them runs the pipeline, and the other goes
//! on with it when that one is killed, stopped or frozen. The ledger has its home in a topic.
//!
//! `DOUANE_ROUNDS` rounds of each kind (CI: 1 kill, 2 restarts).

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cases::connect_rest::Client;
use crate::cases::kill::{check_the_rest, finish};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants, Sending};
use crate::oracle::{judge, serial_in_json};
use crate::place::{Commits, Place, Running, Setup, last_lines};
use crate::rig::{self, Kind};
use crate::say;

const PATIENCE: Duration = Duration::from_secs(30);
/// What is promised: how long a pipeline may rest when its worker is lost.
const MOVED: Duration = Duration::from_secs(15);

/// A worker: its process, and who calls it.
pub struct Worker {
    pub name: &'static str,
    pub running: Running,
    pub client: Client,
}

/// Writes the files of a worker of the group `group` beside douane.yaml: keys, ledger and releases are those of the
/// place, the address, the states and the folder of pipelines are its own.
pub fn write_worker(place: &Place, group: &str, name: &str) {
    let yaml = std::fs::read_to_string(place.dir.join("douane.yaml")).expect("the place");
    let others: Vec<&str> = yaml.lines().filter(|line| !line.starts_with("serve:")).collect();
    let own = format!(
        "{}
state: {{ dir: state-{name}/ }}
serve:
  listen: 127.0.0.1:0
  anonymous: [author, operator, auditor]
  pipelines: pipelines-{name}/
  group: {{ id: {group}, worker: {name} }}
",
        others.join("\n")
    );
    std::fs::write(place.dir.join(format!("{name}.yaml")), own).expect("a file");
    let folder = place.dir.join(format!("pipelines-{name}"));
    if !folder.exists() {
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .arg(place.dir.join("pipelines"))
            .arg(&folder)
            .status();
        assert!(copied.expect("cp").success());
        // Which connectors there are, the group says.
        let _ = std::fs::remove_file(folder.join(format!("{}.yaml", place.setup.name)));
    }
}

/// Starts a worker whose files are written.
pub fn start(place: &Place, name: &'static str) -> Worker {
    let file = format!("{name}.yaml");
    let running = place.spawn_to(&format!("{name}.log"), &["-c", &file, "serve"]);
    assert!(running.wait_for_word("\"listening\"", PATIENCE), "{}", running.said());
    let said = running.said();
    let line = said.lines().find(|line| line.contains("\"listening\"")).expect("a line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    let address = line["listen"].as_str().expect("an address").to_owned();
    Worker { name, running, client: Client { address } }
}

/// Until the status that a worker answers with is such.
pub fn until(worker: &Worker, name: &str, what: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/connectors/{name}/status");
    let end = Instant::now() + PATIENCE;
    loop {
        let said = worker.client.get(&path);
        if said.status == 200 && what(&said.json()) {
            return said.json();
        }
        let log = last_lines(&worker.running.said(), 30);
        assert!(Instant::now() < end, "{}: {} {}\n{log}", worker.name, said.status, said.body);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether all tasks of a status run, on that worker or on any.
pub fn runs(status: &Value, on: Option<&str>) -> bool {
    let tasks = status["tasks"].as_array().cloned().unwrap_or_default();
    let is_on = |one: &Value| on.is_none_or(|name| one["worker_id"] == name);
    !tasks.is_empty()
        && is_on(&status["connector"])
        && tasks.iter().all(|task| task["state"] == "RUNNING" && is_on(task))
}

/// A place whose pipeline is signed and lies nowhere, with work that goes on for a while.
struct Yard {
    place: Place,
    yaml: String,
    load: Option<Arc<Load>>,
    sending: Sending,
    commits: Commits,
    workers: Vec<Worker>,
}

impl Yard {
    fn new(name: &'static str, place_lines: &'static str, rounds: usize) -> Self {
        let (source, target) = rig::clusters_of(Kind::Kafka);
        let mut setup = Setup::customers(name, source.cluster(), target.cluster());
        setup.place = place_lines;
        setup.ledger = "dir: ledger/, home: topic";
        let (source, topic) = (setup.source.clone(), setup.topics[0].clone());
        source.create(&topic, 4, &[]);
        let place = Place::new(setup);
        let read = place.dir.join(place.pipeline_file());
        let yaml = std::fs::read_to_string(read).expect("the pipeline");
        let load = Load::new(4).customers(
            &mut Customers::new(6, 1, true),
            // More than is sent: it is cut short when all was seen.
            20_000 + rounds * 10_000,
            Format::Json,
            &Plants::default(),
        );
        let load = Arc::new(load);
        let sending = load.send_slowly(&source, &topic, 500);
        let commits = place.commits();
        for worker in ["a", "b"] {
            write_worker(&place, name, worker);
        }
        let workers = vec![start(&place, "a"), start(&place, "b")];
        Self { place, yaml, load: Some(load), sending, commits, workers }
    }

    fn name(&self) -> &str {
        &self.place.setup.name
    }

    fn config(&self) -> Value {
        json!({"connector.class": "Pipeline", "douane.pipeline": self.yaml})
    }

    /// Made through the first worker, and seen to run by both.
    fn make(&self) {
        let body = json!({"name": self.name(), "config": self.config()}).to_string();
        let kind = ("Content-Type".to_owned(), "application/json".to_owned());
        let said = self.workers[0].client.call("POST", "/connectors", &[kind], Some(&body));
        assert_eq!(said.status, 201, "{}", said.body);
        let mark = self.commits.mark();
        for worker in &self.workers {
            until(worker, self.name(), |status| runs(status, None));
        }
        assert!(self.commits.wait_past(&mark, PATIENCE).is_some(), "{}", self.said());
    }

    fn said(&self) -> String {
        let said = |w: &Worker| format!("{}:\n{}", w.name, last_lines(&w.running.said(), 25));
        self.workers.iter().map(said).collect::<Vec<_>>().join("\n")
    }

    /// Index of the worker that runs it, and of the other.
    fn owner(&self) -> (usize, usize) {
        let status = until(&self.workers[0], self.name(), |status| runs(status, None));
        let owner = usize::from(status["connector"]["worker_id"] == self.workers[1].name);
        (owner, 1 - owner)
    }

    /// The owner is taken away by `how`; how long until something is committed after it. Who runs it then says so.
    fn moves(&mut self, how: impl FnOnce(&mut Worker)) -> Duration {
        let (owner, other) = self.owner();
        let began = Instant::now();
        how(&mut self.workers[owner]);
        let mark = self.commits.mark();
        let goes_on = self.commits.wait_past(&mark, PATIENCE);
        assert!(goes_on.is_some(), "nothing goes on\n{}", self.said());
        let took = began.elapsed();
        let heir = &self.workers[other];
        until(heir, self.name(), |status| runs(status, Some(heir.name)));
        took
    }

    /// All has crossed, once, in order; and the ledger says the same.
    fn end(mut self) {
        let sent = self.sending.stop();
        let mut load = Arc::into_inner(self.load.take().expect("fed")).expect("nobody sends");
        load.cut(sent);
        let (owner, _) = self.owner();
        finish(&self.place, &load, &mut self.workers[owner].running);
        for worker in &mut self.workers {
            worker.running.stop();
        }
        let records = self.place.setup.target.read(&self.place.data_topic(), Isolation::Committed);
        let verdict = judge(&load.expected, &records, serial_in_json);
        say::note(format!("{verdict:?}"));
        assert!(verdict.clean(), "{verdict:?}");
        check_the_rest(&self.place, &load);
    }
}

#[test]
fn either_worker_answers_and_a_killed_ones_pipeline_goes_on_at_the_other() {
    let _turn = rig::exclusive();
    let rounds = say::count("DOUANE_ROUNDS", 1);
    let group = "serve: { group: { id: workers, worker: person } }";
    let mut yard = Yard::new("workers", group, rounds);
    yard.make();
    let name = yard.name().to_owned();
    let (a, b) = (&yard.workers[0], &yard.workers[1]);
    // What one was told, the other answers.
    for worker in [a, b] {
        assert_eq!(worker.client.get("/connectors").json(), json!([name]));
        let config = worker.client.get(&format!("/connectors/{name}/config")).json();
        assert_eq!(config["douane.pipeline"], yard.yaml);
        let info = worker.client.get(&format!("/connectors/{name}")).json();
        assert_eq!(info["tasks"].as_array().map(Vec::len), Some(2), "{info}");
        let task = worker.client.get(&format!("/connectors/{name}/tasks/1/status"));
        assert_eq!(task.json()["state"], "RUNNING", "{}", task.body);
        let topics = worker.client.get(&format!("/connectors/{name}/topics")).json();
        assert_eq!(topics[&name]["topics"], json!([yard.place.setup.topics[0]]));
        let offsets = worker.client.get(&format!("/connectors/{name}/offsets")).json();
        assert!(offsets["offsets"][0]["offset"]["kafka_offset"].is_u64(), "{offsets}");
    }
    // Made once: the second is told so, wherever it asks.
    let body = json!({"name": name, "config": yard.config()}).to_string();
    let kind = ("Content-Type".to_owned(), "application/json".to_owned());
    assert_eq!(b.client.call("POST", "/connectors", &[kind], Some(&body)).status, 409);
    let path = |verb: &str| format!("/connectors/{name}/{verb}");
    let is = |word: &'static str| move |s: &Value| s["connector"]["state"] == word;
    for (asked, seen) in [(b, a), (a, b)] {
        assert_eq!(asked.client.put(&path("pause"), "").status, 202);
        until(seen, &name, |s| is("PAUSED")(s) && s["tasks"][0]["state"] == "PAUSED");
        assert_eq!(asked.client.put(&path("resume"), "").status, 202);
        until(seen, &name, |status| runs(status, None));
        let restart = path("restart?includeTasks=true&onlyFailed=false");
        assert_eq!(asked.client.call("POST", &restart, &[], None).status, 202);
        until(asked, &name, |status| runs(status, None));
    }
    // Deleted while it runs: gone where it was asked once nothing of it writes; made again, it goes on.
    let gone = a.client.call("DELETE", &format!("/connectors/{name}"), &[], None);
    assert_eq!(gone.status, 204, "{}\n{}", gone.body, yard.said());
    assert_eq!(a.client.get("/connectors").json(), json!([]));
    yard.make();
    let mut took = Vec::new();
    for _ in 0..rounds {
        let (owner, _) = yard.owner();
        let moved = yard.moves(|worker| worker.running.kill());
        assert!(moved <= MOVED, "it took {moved:?}\n{}", yard.said());
        took.push(moved.as_millis());
        let lost = yard.workers[owner].name;
        yard.workers[owner] = start(&yard.place, lost);
        let back = &yard.workers[owner];
        until(back, &name, |status| runs(status, None));
    }
    say::figure("workers.killed.rounds", rounds, "rounds");
    say::figure("workers.killed.moved_p50", say::quantile(&took, 0.5), "ms");
    say::figure("workers.killed.moved_max", say::quantile(&took, 1.0), "ms");
    yard.end();
}

#[test]
fn workers_are_restarted_under_load_and_one_that_was_frozen_writes_nothing() {
    let _turn = rig::exclusive();
    let rounds = say::count("DOUANE_ROUNDS", 2);
    let group = "serve: { group: { id: rolling, worker: person } }";
    let mut yard = Yard::new("rolling", group, rounds);
    yard.make();
    let name = yard.name().to_owned();
    let mut took = Vec::new();
    for _ in 0..rounds {
        let (owner, _) = yard.owner();
        let moved = yard.moves(|worker| worker.running.stop());
        assert!(moved <= MOVED, "it took {moved:?}\n{}", yard.said());
        took.push(moved.as_millis());
        let stopped = yard.workers[owner].name;
        yard.workers[owner] = start(&yard.place, stopped);
        until(&yard.workers[owner], &name, |status| runs(status, None));
    }
    say::figure("workers.rolling.rounds", rounds, "rounds");
    say::figure("workers.rolling.moved_p50", say::quantile(&took, 0.5), "ms");
    say::figure("workers.rolling.moved_max", say::quantile(&took, 1.0), "ms");

    // Frozen, its pipeline moves; woken, it is fenced, gives its part back, and answers as the other does.
    let (owner, other) = yard.owner();
    let gave = |yard: &Yard| yard.workers[owner].running.said().matches("\"given_back\"").count();
    let before = gave(&yard);
    let moved = yard.moves(|worker| worker.running.freeze());
    assert!(moved <= MOVED, "it took {moved:?}\n{}", yard.said());
    yard.workers[owner].running.thaw();
    let (woken, heir) = (&yard.workers[owner], yard.workers[other].name);
    let end = Instant::now() + PATIENCE;
    while gave(&yard) == before {
        assert!(Instant::now() < end, "it keeps what others have\n{}", yard.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    // Units may come back to it; one of the two runs it, and both say the same.
    let status = until(woken, &name, |status| runs(status, None));
    assert!([woken.name, heir].contains(&status["connector"]["worker_id"].as_str().unwrap_or("")));
    say::figure("workers.frozen.moved", moved.as_millis(), "ms");
    yard.end();
}
