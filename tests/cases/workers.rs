//! Two workers of one group on real Kafka: either answers every call, one of them runs the pipeline, and the other goes
//! on with it when that one is killed, stopped or frozen. The ledger has its home in a topic.
//!
//! `DOUANE_ROUNDS` rounds of each kind (CI: 1 kill, 2 restarts).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::connect_rest::Client;
use crate::cases::kill::{check_the_rest, finish};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants, Sending};
use crate::oracle::{judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Commits, Place, Running, Setup, last_lines};
use crate::rig::{self, Kind};
use crate::say;

const PATIENCE: Duration = Duration::from_secs(30);
/// Records that come meanwhile.
const PER_SECOND: usize = 500;
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
        Self::with(name, place_lines, rounds, |_| {})
    }

    fn with(
        name: &'static str,
        place_lines: &'static str,
        rounds: usize,
        prepare: impl FnOnce(&mut Place),
    ) -> Self {
        let (source, target) = rig::clusters_of(Kind::asked_for());
        let mut setup = Setup::customers(name, source.cluster(), target.cluster());
        setup.place = place_lines;
        setup.ledger = "dir: ledger/, home: topic";
        let (source, topic) = (setup.source.clone(), setup.topics[0].clone());
        source.create(&topic, 4, &[]);
        let mut place = Place::new(setup);
        prepare(&mut place);
        let read = place.dir.join(place.pipeline_file());
        let yaml = std::fs::read_to_string(read).expect("the pipeline");
        let load = Load::new(4).customers(
            &mut Customers::new(6, 1, true),
            // Minutes of it, which is more than is sent: it is cut short when all was seen.
            (240 + rounds * 60) * PER_SECOND,
            Format::Json,
            &Plants::default(),
        );
        let load = Arc::new(load);
        let sending = load.send_slowly(&source, &topic, PER_SECOND as u64);
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

    /// Made through the first worker, to be in such a state.
    fn make_as(&self, state: &str) {
        let made = json!({"name": self.name(), "config": self.config(), "initial_state": state});
        let kind = ("Content-Type".to_owned(), "application/json".to_owned());
        let client = &self.workers[0].client;
        let said = client.call("POST", "/connectors", &[kind], Some(&made.to_string()));
        assert_eq!(said.status, 201, "{}", said.body);
    }

    /// Made through the first worker, and seen to run by both.
    fn make(&self) {
        self.make_as("RUNNING");
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

    /// Until nothing more is dealt: what a worker that came back is dealt moves once more.
    fn settles(&self) {
        let dealt = || -> usize {
            let said = |worker: &Worker| worker.running.said().matches("\"units\"").count();
            self.workers.iter().map(said).sum()
        };
        let (mut before, end) = (0, Instant::now() + PATIENCE);
        while before != dealt() {
            assert!(Instant::now() < end, "it never settles\n{}", self.said());
            before = dealt();
            std::thread::sleep(Duration::from_secs(2));
        }
    }

    /// Index of the worker that runs it, and of the other, once nothing more is dealt.
    fn owner(&self) -> (usize, usize) {
        self.settles();
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
    // What crossed and what is held says who runs it; the other one says who that is, and no number.
    let (owner, other) = yard.owner();
    let listed = |n: usize| yard.workers[n].client.get("/v1/pipelines").json()["pipelines"].clone();
    let counted = listed(owner);
    assert!(counted[0]["records"].is_u64() && counted[0]["held"].is_array(), "{counted}");
    let runs_it = yard.workers[owner].name;
    let expected =
        json!({"connector": name, "pipeline": name, "state": "elsewhere", "worker": runs_it});
    assert_eq!(listed(other), json!([expected]));
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
    // How loud the logs of all are is said to any; without the word it is that of the one that is asked.
    let level =
        |worker: &Worker| worker.client.get("/admin/loggers/douane.rest").json()["level"].clone();
    let put = |query: &str, level: &str| {
        let path = format!("/admin/loggers/douane.rest{query}");
        a.client.put(&path, &json!({"level": level}).to_string()).status
    };
    assert_eq!((put("", "WARN"), level(a), level(b)), (200, json!("WARN"), json!("INFO")));
    assert_eq!((put("?scope=cluster", "DEBUG"), level(a)), (204, json!("DEBUG")));
    let end = Instant::now() + PATIENCE;
    while level(b) != json!("DEBUG") {
        assert!(Instant::now() < end, "the other one does not hear it\n{}", yard.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    // Deleted while it runs: gone where it was asked once nothing of it writes; made again, it goes on.
    let gone = a.client.call("DELETE", &format!("/connectors/{name}"), &[], None);
    assert_eq!(gone.status, 204, "{}\n{}", gone.body, yard.said());
    assert_eq!(a.client.get("/connectors").json(), json!([]));
    // Nothing of it is left in the topic of states, as Kafka Connect leaves nothing.
    let key = format!("status-{name}").into_bytes();
    let end = Instant::now() + PATIENCE;
    loop {
        let told = yard.place.setup.source.read("douane.workers.status", Isolation::Committed);
        let last = told.iter().rfind(|record| record.key.as_ref() == Some(&key)).expect("it ran");
        if last.value.is_none() {
            break;
        }
        assert!(Instant::now() < end, "its status stays\n{}", yard.said());
        std::thread::sleep(Duration::from_millis(100));
    }
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

/// A client may lose its brokers for good while the cluster is there. Its worker gives back what it was dealt and is
/// dealt anew as another member, and nothing of what its client is told later counts.
#[test]
fn a_member_that_hears_nobody_gives_its_part_back_and_joins_anew() {
    let _turn = rig::exclusive();
    let group = "serve: { group: { id: unheard, worker: person } }";
    let yard = Yard::with("unheard", group, 3, |place| {
        place.env("DOUANE_TEST_CONTROL", "deaf-member");
        let gate = place.dir.join("wait").display().to_string();
        place.env("DOUANE_TEST_WAIT", &gate);
    });
    yard.make();
    let (name, gate) = (yard.name().to_owned(), yard.place.dir.join("wait"));
    let (owner, _) = yard.owner();
    // The control: each was asked by now, and hears.
    std::thread::sleep(Duration::from_secs(12));
    assert!(yard.workers.iter().all(|w| !w.running.said().contains("\"group_trouble\"")));
    let before = yard.workers[owner].running.said().len();
    std::fs::write(&gate, "").expect("a gate");
    let end = Instant::now() + PATIENCE;
    // What it says of units from then on: how many it gave back, and was given, of those that it did.
    let units = |event: &str| -> Vec<u64> {
        let said = yard.workers[owner].running.said();
        let lines = said[before..].lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let lines = lines.filter(|line| line["event"] == event && line["units"] != 0);
        lines.filter_map(|line| line["units"].as_u64()).collect()
    };
    while units("given_back").is_empty() {
        assert!(Instant::now() < end, "it gives nothing back\n{}", yard.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::remove_file(&gate).expect("the gate");
    while units("given").is_empty() {
        assert!(Instant::now() < end + PATIENCE, "it is given nothing\n{}", yard.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    let mark = yard.commits.mark();
    assert!(yard.commits.wait_past(&mark, PATIENCE).is_some(), "{}", yard.said());
    for worker in &yard.workers {
        until(worker, &name, |status| runs(status, None));
    }
    assert!(yard.workers[owner].running.said()[before..].contains("\"group_trouble\""));
    yard.end();
}

/// The topic of configs is deleted and made anew: an empty one says nothing of what there is to run.
#[test]
fn another_topic_of_configs_is_refused_and_what_runs_goes_on() {
    let _turn = rig::exclusive();
    let group = "serve: { group: { id: anew, worker: person } }";
    let mut yard = Yard::new("anew", group, 2);
    yard.make();
    let (name, topic) = (yard.name().to_owned(), "douane.anew.configs");
    let source = yard.place.setup.source.clone();
    source.delete(topic);
    source.create(topic, 1, &[("cleanup.policy", "compact")]);
    for worker in &yard.workers {
        let said = || worker.running.said();
        assert!(worker.running.wait_for_word("group_topic_changed", PATIENCE), "{}", said());
        assert_eq!(worker.client.get("/connectors").json(), json!([name]), "{}", said());
        until(worker, &name, |status| runs(status, None));
        let refused = worker.client.put(&format!("/connectors/{name}/stop"), "");
        assert!(refused.status == 500 && refused.body.contains("made anew"), "{}", refused.body);
    }
    let mark = yard.commits.mark();
    assert!(yard.commits.wait_past(&mark, PATIENCE).is_some(), "{}", yard.said());
    // Nor does a start take it.
    for at in 0..2 {
        yard.workers[at].running.stop();
        let file = format!("{}.yaml", yard.workers[at].name);
        let refused = yard.place.verb(&["-c", &file, "serve"]);
        assert!(refused.code == 1 && refused.err.contains("made anew"), "{refused:?}");
    }
    // The control: without what they know they take it for one without connectors.
    for at in 0..2 {
        let name = yard.workers[at].name;
        let known = yard.place.dir.join(format!("state-{name}/serve/group.json"));
        std::fs::remove_file(known).expect("what it knew");
        yard.workers[at] = start(&yard.place, name);
        assert_eq!(yard.workers[at].client.get("/connectors").json(), json!([]));
    }
    yard.sending.stop();
    yard.workers.iter_mut().for_each(|worker| worker.running.stop());
}

/// Its worker is frozen with a transaction in hand, and it is stopped meanwhile: once that is said, nothing of it is
/// written, also when that worker wakes.
#[test]
fn what_is_said_to_have_stopped_writes_nothing_when_its_worker_wakes() {
    let _turn = rig::exclusive();
    let group = "serve: { group: { id: asleep, worker: person } }";
    let yard = Yard::with("asleep", group, 2, |place| {
        place.env("DOUANE_TEST_CONTROL", "wait-at-stamped");
        let gate = place.dir.join("wait").display().to_string();
        place.env("DOUANE_TEST_WAIT", &gate);
    });
    yard.make();
    let (name, gate) = (yard.name().to_owned(), yard.place.dir.join("wait"));
    let (owner, other) = yard.owner();
    // Each of its shards is about to commit.
    std::fs::write(&gate, "").expect("a gate");
    std::thread::sleep(Duration::from_secs(2));
    yard.workers[owner].running.freeze();
    std::fs::remove_file(&gate).expect("the gate");
    let heir = &yard.workers[other];
    assert_eq!(heir.client.put(&format!("/connectors/{name}/stop"), "").status, 204);
    let stopped = until(heir, &name, |status| {
        status["connector"]["state"] == "STOPPED" && status["connector"]["worker_id"] == heir.name
    });
    assert_eq!(stopped["tasks"], json!([]), "{stopped}");
    let mark = yard.commits.mark();
    yard.workers[owner].running.thaw();
    let late = yard.commits.wait_past(&mark, Duration::from_secs(8));
    assert!(late.is_none(), "it was said to have stopped\n{}", yard.said());
    until(&yard.workers[owner], &name, |status| status["connector"]["state"] == "STOPPED");
    // It goes on where it was, whoever runs it.
    assert_eq!(
        yard.workers[owner].client.put(&format!("/connectors/{name}/resume"), "").status,
        202
    );
    assert!(yard.commits.wait_past(&mark, PATIENCE).is_some(), "{}", yard.said());
    yard.end();
}

/// A process that holds the layout and lost its client, or that starts in this moment, fences anew what was fenced. The worker
/// that says `STOPPED` commits what shows it that it holds nothing: it ends, and writes nothing.
#[test]
fn what_is_said_to_have_stopped_is_held_by_nobody_who_was_about_to_start() {
    let _turn = rig::exclusive();
    let group = "serve: { group: { id: unheld, worker: person } }";
    let mut yard = Yard::with("unheld", group, 2, |place| {
        place.env("DOUANE_TEST_CONTROL", "wait-at-settled");
        let gate = place.dir.join("wait").display().to_string();
        place.env("DOUANE_TEST_WAIT", &gate);
    });
    let (name, gate) = (yard.name().to_owned(), yard.place.dir.join("wait"));
    let path = |verb: &str| format!("/connectors/{name}/{verb}");
    let stopped_on = |yard: &Yard, at: usize| {
        let worker = &yard.workers[at];
        until(worker, &name, |status| {
            status["connector"]["state"] == "STOPPED"
                && status["connector"]["worker_id"] == worker.name
        });
    };
    // The first start of all: there is no layout, and it is about to commit one.
    std::fs::write(&gate, "").expect("a gate");
    let mut first = yard.place.run();
    assert!(first.wait_for_word("\"event\":\"layout\"", PATIENCE), "{}", first.said());
    yard.make_as("STOPPED");
    until(&yard.workers[0], &name, |status| status["connector"]["state"] == "STOPPED");
    std::fs::remove_file(&gate).expect("the gate opens");
    assert_eq!(first.wait(PATIENCE), Some(1), "it goes on\n{}\n{}", first.said(), yard.said());
    assert!(first.said().contains("\"code\":\"fenced\""), "{}", first.said());
    assert_eq!(yard.workers[0].client.put(&path("resume"), "").status, 202);
    let (owner, other) = yard.owner();
    assert_eq!(yard.workers[owner].client.put(&path("stop"), "").status, 204);
    stopped_on(&yard, owner);
    let mark = yard.commits.mark();
    // It has read the layout, and is about to commit its own.
    std::fs::write(&gate, "").expect("a gate");
    let mut starts = yard.place.run();
    assert!(starts.wait_for_word("\"event\":\"layout\"", PATIENCE), "{}", starts.said());
    // Who is dealt it fences whoever had it, and says so then.
    yard.workers[owner].running.stop();
    stopped_on(&yard, other);
    std::fs::remove_file(&gate).expect("the gate opens");
    let ended = starts.wait(PATIENCE);
    assert_eq!(ended, Some(1), "it goes on\n{}\n{}", starts.said(), yard.said());
    assert!(starts.said().contains("\"code\":\"fenced\""), "{}", starts.said());
    let shards = |yard: &Yard| yard.commits.wait_past(&mark, Duration::from_secs(1));
    assert!(shards(&yard).is_none(), "it was said to have stopped\n{}", yard.said());
    // One that holds the layout by now, and settles it anew, for there are more partitions: it looks after it was fenced.
    yard.workers[owner] = start(&yard.place, yard.workers[owner].name);
    yard.settles();
    let is_dealt_to = |at: &usize| {
        let worker = &yard.workers[*at];
        let status = worker.client.get(&path("status")).json();
        status["connector"]["worker_id"] == worker.name
    };
    let has_it = [owner, other].into_iter().find(is_dealt_to).expect("a worker has it");
    let heir = owner + other - has_it;
    yard.place.env("DOUANE_TEST_CONTROL", "wait-at-settling");
    let mut holds = yard.place.run();
    assert!(yard.commits.wait_past(&mark, PATIENCE).is_some(), "{}", holds.said());
    std::fs::write(&gate, "").expect("a gate");
    let setup = &yard.place.setup;
    setup.source.add_partitions(&setup.topics[0], 5);
    assert!(holds.wait_for_word("\"event\":\"partitions_added\"", PATIENCE), "{}", holds.said());
    let mark = yard.commits.mark();
    yard.workers[has_it].running.stop();
    stopped_on(&yard, heir);
    std::fs::remove_file(&gate).expect("the gate opens");
    let ended = holds.wait(PATIENCE);
    assert_eq!(ended, Some(1), "it goes on\n{}\n{}", holds.said(), yard.said());
    assert!(holds.said().contains("\"code\":\"fenced\""), "{}", holds.said());
    let shards = |yard: &Yard| yard.commits.wait_past(&mark, Duration::from_secs(1));
    assert!(shards(&yard).is_none(), "it was said to have stopped\n{}", yard.said());
    // Whoever is told to run it goes on where it was.
    assert_eq!(yard.workers[heir].client.put(&path("resume"), "").status, 202);
    assert!(yard.commits.wait_past(&mark, PATIENCE).is_some(), "{}", yard.said());
    yard.end();
}

/// A worker answers by its group, whatever lies in its own folder: what one that was deleted while it was away left there, and what
/// is no pipeline.
#[test]
fn a_worker_answers_by_its_group_and_not_by_its_folder() {
    let _turn = rig::exclusive();
    let group = "serve: { group: { id: folders, worker: person } }";
    let mut yard = Yard::new("folders", group, 1);
    yard.make();
    let name = yard.name().to_owned();
    let path = |verb: &str| format!("/connectors/{name}{verb}");
    let file = yard.place.dir.join(format!("pipelines-b/{name}.yaml"));
    let config = yard.config();
    let make = |worker: &Worker| {
        let body = json!({"name": name, "config": config}).to_string();
        let kind = ("Content-Type".to_owned(), "application/json".to_owned());
        worker.client.call("POST", "/connectors", &[kind], Some(&body))
    };
    let away = |yard: &mut Yard| yard.workers.remove(1).running.stop();
    let delete = |yard: &Yard| {
        let end = Instant::now() + PATIENCE;
        // Until it runs here nobody says that it has stopped.
        while yard.workers[0].client.call("DELETE", &path(""), &[], None).status != 204 {
            assert!(Instant::now() < end, "{}", yard.said());
        }
    };
    away(&mut yard);
    delete(&yard);
    assert!(file.exists(), "it was away");
    yard.workers.push(start(&yard.place, "b"));
    let b = &yard.workers[1];
    assert_eq!(b.client.get("/connectors").json(), json!([]));
    let made = make(b);
    assert_eq!(made.status, 201, "{}", made.body);
    for worker in &yard.workers {
        until(worker, &name, |status| runs(status, None));
    }
    // Now a file that is none of a pipeline stands in its way.
    away(&mut yard);
    std::fs::write(&file, "domains: {}\n").expect("a file");
    yard.workers.push(start(&yard.place, "b"));
    let (a, b) = (&yard.workers[0], &yard.workers[1]);
    let behind = b.client.get(&path("/offsets"));
    assert!(behind.status == 503 && behind.body.contains("not taken up"), "{}", behind.body);
    assert_eq!(b.client.get("/connectors").json(), json!([name]));
    let info = b.client.get(&path("")).json();
    assert_eq!(info["config"]["douane.pipeline"], yard.yaml, "{info}");
    assert_eq!(b.client.get(&path("/config")).json()["douane.pipeline"], yard.yaml);
    assert_eq!(make(b).status, 409);
    let all = b.client.get("/connectors?expand=status&expand=info").json();
    assert_eq!(all[&name]["status"]["name"], name, "{all}");
    let listed = b.client.get("/v1/pipelines").json()["pipelines"][0].clone();
    assert_eq!((&listed["state"], &listed["held"]), (&json!("elsewhere"), &Value::Null));
    let mut config = config.clone();
    config["description"] = json!("by b");
    let put = b.client.put(&path("/config"), &config.to_string());
    assert_eq!(put.status, 200, "{}", put.body);
    assert_eq!(a.client.get(&path("/config")).json()["description"], "by b");
    for (verb, answer, state) in [
        ("/pause", 202, "PAUSED"),
        ("/resume", 202, "RUNNING"),
        ("/stop", 204, "STOPPED"),
        ("/resume", 202, "RUNNING"),
    ] {
        let said = b.client.put(&path(verb), "");
        assert_eq!(said.status, answer, "{verb} {}", said.body);
        let is_such =
            |s: &Value| [state, "FAILED"].contains(&s["connector"]["state"].as_str().unwrap_or(""));
        until(b, &name, is_such);
    }
    assert_eq!(b.client.call("POST", &path("/restart"), &[], None).status, 204);
    assert_eq!(b.client.put(&path("/topics/reset"), "").status, 202);
    let unknown = b.client.put("/connectors/nobody/pause", "");
    assert_eq!(unknown.status, 404, "the control");
    // Mended, it is taken up by itself, and either may run it.
    std::fs::remove_file(&file).expect("it");
    for worker in &yard.workers {
        until(worker, &name, |status| runs(status, None));
    }
    assert_eq!(yard.workers[1].client.get(&path("/offsets")).status, 200);
    yard.end();
}
