//! Drives the `douane` binary as a person would: a place with its files, keys, approvers and release.
//! Every flag of the command line that the tests use stands in this file.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use douane_ledger::log::{self, Entry};
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::cluster::{Cluster, Isolation};
use crate::pace::Instant;
use crate::rig;

/// The binary under test; `DOUANE_BIN` names another build of it.
pub fn binary() -> PathBuf {
    std::env::var_os("DOUANE_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_douane")), PathBuf::from)
}

/// What a place is to be like.
#[derive(Clone)]
pub struct Setup {
    /// Also the name of the pipeline.
    pub name: String,
    pub source: Cluster,
    /// How the tests reach the target.
    pub target: Cluster,
    /// How the binary reaches it, where that differs (a proxy).
    pub target_bootstrap: String,
    /// Source topics; they exist already.
    pub topics: Vec<String>,
    pub source_format: &'static str,
    /// Leaves of the record key; said for JSON without schemas, whose records do not.
    pub key: &'static str,
    pub sink_format: &'static str,
    pub source_registry: Option<String>,
    pub target_registry: Option<String>,
    /// `name: value` of librdkafka's properties for the target, if any.
    pub target_properties: String,
    pub target_partitions: i32,
    pub tasks: u32,
    pub quarantine_max_per_minute: u32,
    /// The three middle parts of the pipeline: `classes:`, `types:`, `stages:`.
    pub columns: String,
    pub domains: String,
    /// What stands under `keys` in `douane.yaml`.
    pub keys: String,
    /// What stands under `ledger` there.
    pub ledger: &'static str,
    /// Environment of every verb and run.
    pub env: Vec<(String, String)>,
    /// Another place's keys: the same value gives the same token there and here.
    pub keys_of: Option<PathBuf>,
    /// `name, columns, detectors, residual` of the override that lets free text cross, if any.
    pub overrides: String,
    /// `shape` in the sink, with what belongs to it.
    pub shape: &'static str,
    /// The sink's keys beside `kafka`.
    pub changes: &'static str,
    /// Further lines of `douane.yaml`.
    pub place: &'static str,
    /// Files beside the pipeline's, by name.
    pub beside: &'static [(&'static str, &'static str)],
}

/// `classes:`, `types:` and `stages:` of the standard work.
pub fn customer_columns(with_serial: bool) -> String {
    let (class, kind) =
        if with_serial { ("\n  serial: public", ", serial: int64") } else { ("", "") };
    format!(
        "classes:
  id: {{ class: identifier, subject: true, residency: eu }}
  email: identifier
  phone: identifier
  national_id: identifier
  card_number: identifier
  full_name: identifier
  street: quasi
  city: public
  country: public
  birth_date: quasi
  notes: free_text
  balance_cents: sensitive
  updated_at: public{class}
types: {{ id: int64, birth_date: date, balance_cents: int64, updated_at: micro_timestamp{kind} }}
stages:
  - tokenize: {{ columns: [id], domain: customer }}
  - tokenize: {{ columns: [email], domain: customer_email }}
  - fpe: {{ columns: [phone], alphabet: digits, domain: phone, keep: {{ first: 3 }} }}
  - mask: {{ columns: [card_number], keep: {{ last: 4 }} }}
  - redact: {{ columns: [notes], detectors: [email, phone, card, iban] }}
  - generalize: {{ columns: [birth_date], to: year }}
  - generalize: {{ columns: [balance_cents], bins: [0, 100000, 1000000] }}
  - generalize: {{ columns: [updated_at], to: hour }}
  - drop: {{ columns: [national_id, full_name, street] }}
"
    )
}

pub const CUSTOMER_DOMAINS: &str = "domains:
  customer: { normalize: none, form: base32, version: 1, purposes: [model-training] }
  customer_email: { normalize: email, form: base32, version: 1, purposes: [model-training] }
  phone: { normalize: none, form: decimal, version: 1, purposes: [model-training] }
";

/// Text that people labelled, from the repository's folder.
pub const LABELLED: &str = "tests/data/pii-labelled-sentences.json";

pub const CUSTOMER_OVERRIDE: &str = "overrides:
  - { name: notes, columns: [notes], detectors: [email, phone, card, iban], residual: [names, addresses, health], min_recall: 0.9, scorecard: scorecards/notes.json }
";

/// Measures the detectors of each override that names a scorecard, for the pipeline files of a place.
pub fn scorecards(place: &Path, overrides: &str) {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join(LABELLED);
    let between = |line: &str, start: &str, end: char| -> Option<String> {
        Some(line.split_once(start)?.1.split_once(end)?.0.replace(' ', ""))
    };
    for line in overrides.lines() {
        let Some(file) = between(line, "scorecard: ", '}') else { continue };
        let detectors = between(line, "detectors: [", ']').expect("detectors on that line");
        let file = place.join("pipelines").join(file.split(',').next().unwrap_or_default());
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a directory");
        let measured = Command::new(binary())
            .args(["scorecard", "--format", "json", "--detectors", &detectors])
            .arg(&text)
            .output()
            .expect("the binary");
        let said = String::from_utf8_lossy(&measured.stderr);
        assert!(measured.status.success(), "scorecard: {said}");
        std::fs::write(file, measured.stdout).expect("a scorecard");
    }
}

impl Setup {
    /// The standard work between two clusters. The source topic is `<name>.crm.public.customers`.
    pub fn customers(name: &str, source: Cluster, target: Cluster) -> Self {
        Self {
            name: name.to_owned(),
            target_bootstrap: target.bootstrap.clone(),
            topics: vec![format!("{name}.crm.public.customers")],
            source,
            target,
            source_format: "debezium_json",
            key: "id",
            sink_format: "json",
            source_registry: None,
            target_registry: None,
            target_properties: String::new(),
            target_partitions: 4,
            tasks: 2,
            quarantine_max_per_minute: 100_000,
            columns: customer_columns(true),
            domains: CUSTOMER_DOMAINS.to_owned(),
            keys: "dir: keys/".to_owned(),
            // `DOUANE_TEST_LEDGER=topic`: any case with the ledger's home in a topic.
            ledger: match std::env::var("DOUANE_TEST_LEDGER").as_deref() {
                Ok("topic") => "dir: ledger/, home: topic",
                Ok(other) => panic!("DOUANE_TEST_LEDGER is `topic`, not `{other}`"),
                Err(_) => "dir: ledger/",
            },
            env: Vec::new(),
            keys_of: None,
            overrides: CUSTOMER_OVERRIDE.to_owned(),
            shape: "shape: state",
            changes: "  deletes: tombstone\n  unavailable: quarantine\n  truncate: hold\n",
            place: "",
            beside: &[],
        }
    }

    pub fn target_topic(&self) -> String {
        format!("{}.training.customers", self.name)
    }
}

/// A directory with everything `douane run` needs, and the topics on both sides.
pub struct Place {
    pub dir: PathBuf,
    pub setup: Setup,
    env: Vec<(String, String)>,
}

/// What a verb said.
#[derive(Clone, Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn fine(self, what: &str) -> Self {
        assert!(self.code == 0, "{what}: exit {}\n{}\n{}", self.code, self.out, self.err);
        self
    }
}

impl Place {
    /// Writes the files, makes keys and approvers, creates the topics, and has a release signed by two approvers.
    pub fn new(setup: Setup) -> Self {
        let place = Self::unreleased(setup);
        place.release();
        place
    }

    /// As `new`, without the release.
    pub fn unreleased(setup: Setup) -> Self {
        let dir = rig::directory(&format!("place-{}", setup.name));
        let place = Self { dir, env: setup.env.clone(), setup };
        std::fs::create_dir_all(place.dir.join("pipelines")).expect("a directory");
        place.write_files();
        match &place.setup.keys_of {
            None => {
                place.verb(&["keys", "init"]).fine("keys init");
            }
            Some(keys) => {
                let copied =
                    Command::new("cp").arg("-a").arg(keys).arg(place.dir.join("keys")).status();
                assert!(copied.expect("cp").success());
            }
        }
        for approver in ["ada", "bo"] {
            let out = format!("approvers/{approver}");
            std::fs::create_dir_all(place.dir.join("approvers")).expect("a directory");
            place
                .verb(&["keys", "init", "--approver", approver, "--out", &out])
                .fine("keys init --approver");
        }
        place
            .verb(&[
                "release",
                "trust",
                "--approver",
                "ada=approvers/ada.pub",
                "--approver",
                "bo=approvers/bo.pub",
                "--threshold",
                "2",
                "--sign",
                "approvers/ada",
                "--sign",
                "approvers/bo",
            ])
            .fine("release trust");
        // the data topic's partitions are the operator's business; the others are as the files expect them
        let data = place.data_topic();
        place.setup.target.create(
            &data,
            place.setup.target_partitions,
            // Statistics have no key: compaction is for rows.
            &[(
                "cleanup.policy",
                if place.setup.columns.contains("- aggregate:") { "delete" } else { "compact" },
            )],
        );
        place.doctor();
        place
    }

    /// Proposes and signs a release for the pipeline as it stands.
    pub fn release(&self) {
        let file = self.pipeline_file();
        self.verb(&["release", "propose", &file, "--author", "cleo"]).fine("release propose");
        for approver in ["approvers/ada", "approvers/bo"] {
            self.verb(&["release", "sign", &file, "--key", approver]).fine("release sign");
        }
    }

    /// Looks at everything, and makes the topics that are missing.
    pub fn doctor(&self) -> Said {
        self.verb(&["doctor", "--create", &self.pipeline_file()]).fine("doctor --create")
    }

    /// An environment variable for every later verb and run.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub fn pipeline_file(&self) -> String {
        format!("pipelines/{}.yaml", self.setup.name)
    }

    pub fn ledger(&self) -> PathBuf {
        self.dir.join("ledger")
    }

    pub fn data_topic(&self) -> String {
        self.setup.target_topic()
    }

    pub fn position_topic(&self) -> String {
        format!("{}.position", self.data_topic())
    }

    pub fn manifest_topic(&self) -> String {
        format!("{}.manifest", self.data_topic())
    }

    pub fn quarantine_topic(&self) -> String {
        format!("douane.{}.quarantine", self.setup.name)
    }

    /// Writes `douane.yaml`, `domains.yaml` and the pipeline anew.
    pub fn write_files(&self) {
        let setup = &self.setup;
        let registry = |url: &Option<String>| {
            url.as_ref().map_or_else(String::new, |url| format!(", registry: \"{url}\""))
        };
        let place = format!(
            "clusters:
  sovereign: {{ zone: eu-de, id: \"{}\", bootstrap: \"{}\"{}, topics: {{ replication: 1, min_insync: 1 }} }}
  global: {{ zone: global, id: \"{}\", bootstrap: \"{}\"{}, properties: {{ {} }}, topic_prefix: \"\", topics: {{ replication: 1, min_insync: 1 }} }}
keys: {{ {} }}
ledger: {{ {} }}
trust: trust.json
tasks: {}
{}
",
            setup.source.id(),
            setup.source.bootstrap,
            registry(&setup.source_registry),
            setup.target.id(),
            setup.target_bootstrap,
            registry(&setup.target_registry),
            setup.target_properties,
            setup.keys,
            setup.ledger,
            setup.tasks,
            setup.place,
        );
        let subject = match setup.sink_format {
            "avro" => ", subject: \"{topic}-value\"",
            _ => "",
        };
        let pipeline = format!(
            "name: {name}
purpose: model-training
domains: domains.yaml
source:
  kafka: {{ cluster: sovereign, topics: [{topics}], format: {format}, start: earliest{key} }}
{columns}sink:
  kafka: {{ cluster: global, topic: {target}, format: {sink}, {shape}, partition_by: token, timestamp: 1s{subject} }}
{changes}{overrides}quarantine: {{ max_per_minute: {max} }}
release: {name}.release.json
",
            name = setup.name,
            topics = setup.topics.join(", "),
            format = setup.source_format,
            key = if setup.source_format == "debezium_json" && !setup.key.is_empty() { format!(", key: [{}]", setup.key) } else { String::new() },
            columns = setup.columns,
            target = setup.target_topic(),
            sink = setup.sink_format,
            overrides = setup.overrides,
            shape = setup.shape,
            changes = setup.changes,
            max = setup.quarantine_max_per_minute,
        );
        for (file, text) in [
            ("douane.yaml", place),
            ("domains.yaml", setup.domains.clone()),
            (&self.pipeline_file(), pipeline),
        ] {
            std::fs::write(self.dir.join(file), text).expect("a file of the place");
        }
        scorecards(&self.dir, &setup.overrides);
        for (name, text) in setup.beside {
            std::fs::write(self.dir.join("pipelines").join(name), text).expect("a file beside it");
        }
        // `domains:` is looked for beside the pipeline file
        std::fs::write(self.dir.join("pipelines/domains.yaml"), &setup.domains)
            .expect("a file of the place");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).current_dir(&self.dir).stdin(Stdio::null()).env("NO_COLOR", "1");
        for (name, value) in &self.env {
            command.env(name, value);
        }
        command
    }

    /// Runs a verb to its end.
    pub fn verb(&self, args: &[&str]) -> Said {
        self.verb_at(&self.dir, args)
    }

    /// As `verb`, from another folder.
    pub fn verb_at(&self, dir: &Path, args: &[&str]) -> Said {
        let out = self.command(args).current_dir(dir).output().expect("the binary");
        Said {
            code: out.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&out.stdout).into_owned(),
            err: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    /// `douane run` in the background.
    pub fn run(&self) -> Running {
        self.spawn(&["run", &self.pipeline_file()])
    }

    /// A verb in the background; what it prints goes to the log.
    pub fn spawn(&self, args: &[&str]) -> Running {
        self.spawn_to("run.log", args)
    }

    /// As `spawn`, with a log of its own.
    pub fn spawn_to(&self, log: &str, args: &[&str]) -> Running {
        let log = self.dir.join(log);
        let open = || File::options().create(true).append(true).open(&log).expect("a log");
        let from = std::fs::metadata(&log).map_or(0, |meta| meta.len());
        let mut command = self.command(args);
        let child = command.stdout(open()).stderr(open()).spawn().expect("the binary");
        Running { child, log, from, ended: None }
    }

    /// Everything that any `run` of this place has printed.
    pub fn log(&self) -> String {
        std::fs::read(self.dir.join("run.log"))
            .map_or_else(|_| String::new(), |b| String::from_utf8_lossy(&b).into_owned())
    }

    pub fn status(&self) -> serde_json::Value {
        let said = self.verb(&["status", &self.pipeline_file(), "--format", "json"]);
        serde_json::from_str(&said.out)
            .unwrap_or_else(|_| panic!("status: exit {} {}{}", said.code, said.out, said.err))
    }

    /// `douane verify`: log, checkpoints, manifests and signatures, all of them.
    pub fn verify(&self) -> Said {
        self.verb(&["verify", "ledger", "--format", "json"])
    }

    /// What the log of a shard has, but for the intents of attempts that came to nothing.
    pub fn entries(&self, shard: u32) -> Vec<Entry> {
        let home = self.ledger().join(&self.setup.name);
        let entries = log::read(&home, &format!("shard-{shard}"), None).expect("a log");
        let void = |entry: &(u64, Entry)| match entry.1 {
            Entry::Void { of, .. } => Some(of),
            _ => None,
        };
        let voids: BTreeSet<u64> = entries.iter().filter_map(void).collect();
        let entries = entries.into_iter().filter(|(index, _)| !voids.contains(index));
        entries.map(|(_, entry)| entry).collect()
    }

    pub fn commits(&self) -> Commits {
        Commits::of(&self.setup.target, &self.position_topic())
    }
}

/// A `douane run` of ours.
pub struct Running {
    child: Child,
    log: PathBuf,
    from: u64,
    ended: Option<i32>,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What this run has printed so far.
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let from = usize::try_from(self.from).unwrap_or(0).min(bytes.len());
        let written = &bytes[from..];
        let whole = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        String::from_utf8_lossy(&written[..whole]).into_owned()
    }

    /// The exit code, once it has ended; -9 for a killed one.
    pub fn ended(&mut self) -> Option<i32> {
        if self.ended.is_none() {
            self.ended =
                self.child.try_wait().expect("a child").map(|status| status.code().unwrap_or(-9));
        }
        self.ended
    }

    pub fn wait(&mut self, patience: Duration) -> Option<i32> {
        let end = Instant::now() + patience;
        while self.ended().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.ended()
    }

    /// Until the word stands in what this run printed.
    pub fn wait_for_word(&self, word: &str, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            if self.said().contains(word) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn freeze(&self) {
        rig::signal(self.child.id(), libc::SIGSTOP);
    }

    pub fn thaw(&self) {
        rig::signal(self.child.id(), libc::SIGCONT);
    }

    /// Ctrl-C; it must end by itself and with 0.
    #[track_caller]
    pub fn stop(&mut self) {
        if self.ended().is_none() {
            rig::signal(self.child.id(), libc::SIGINT);
        }
        // A commit that is under way may take its whole time, and what is given back as well.
        let code = self.wait(Duration::from_secs(40));
        assert!(code == Some(0), "stopping: exit {code:?}\n{}", last_lines(&self.said(), 30));
    }

    /// (CPU seconds, peak resident MiB) until now.
    pub fn used(&self) -> (f64, u64) {
        used(self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// (CPU seconds, peak resident MiB) of a running process.
#[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
pub fn used(pid: u32) -> (f64, u64) {
    let proc = Path::new("/proc").join(pid.to_string());
    let stat = std::fs::read_to_string(proc.join("stat")).unwrap_or_default();
    let ticks: u64 = stat.rsplit(") ").next().map_or(0, |rest| {
        rest.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
    });
    let status = std::fs::read_to_string(proc.join("status")).unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    (ticks as f64 / 100.0, peak.unwrap_or(0) / 1024)
}

pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Sees commits as they become visible: the last stable offsets of the shards' partitions of the position topic.
pub struct Commits {
    cluster: Cluster,
    consumer: RefCell<Option<BaseConsumer>>,
    topic: String,
    partitions: i32,
}

impl Commits {
    fn of(target: &Cluster, topic: &str) -> Self {
        let partitions = target.partitions(topic);
        assert!(partitions > 1, "no position topic {topic}");
        Self {
            cluster: target.clone(),
            consumer: RefCell::new(Some(target.consumer(Isolation::Committed))),
            topic: topic.to_owned(),
            partitions,
        }
    }

    /// Where each shard's partition ends, as a reader of committed records sees it.
    pub fn mark(&self) -> Vec<i64> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if let Some(mark) = self.look() {
                return mark;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{}: no end of its partitions within 30 s", self.topic)
    }

    /// Partition 0 is the layout's. A client whose broker was frozen may wait a minute before it connects again; a new
    /// one does not.
    fn look(&self) -> Option<Vec<i64>> {
        let mut consumer = self.consumer.borrow_mut();
        let end = |p| {
            let within = Duration::from_secs(2);
            let ends = consumer.as_ref().expect("open").fetch_watermarks(&self.topic, p, within);
            ends.ok().map(|(_, end)| end)
        };
        let mark: Option<Vec<i64>> = (1..self.partitions).map(end).collect();
        if mark.is_none() {
            let old = consumer.replace(self.cluster.consumer(Isolation::Committed));
            std::thread::spawn(move || drop(old));
        }
        mark
    }

    /// How long until a commit after the mark is visible.
    pub fn wait_past(&self, mark: &[i64], patience: Duration) -> Option<Duration> {
        self.wait_until(patience, |now| now.iter().zip(mark).any(|(now, then)| now > then))
    }

    /// How long until each shard of the mark has committed after it.
    pub fn wait_past_each(&self, mark: &[i64], patience: Duration) -> Option<Duration> {
        self.wait_until(patience, |now| now.iter().zip(mark).all(|(now, then)| now > then))
    }

    fn wait_until(&self, patience: Duration, is_past: impl Fn(&[i64]) -> bool) -> Option<Duration> {
        let start = Instant::now();
        loop {
            if self.look().is_some_and(|now| is_past(&now)) {
                return Some(start.elapsed());
            }
            if start.elapsed() >= patience {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        let consumer = self.consumer.borrow_mut().take();
        std::thread::spawn(move || drop(consumer));
    }
}
