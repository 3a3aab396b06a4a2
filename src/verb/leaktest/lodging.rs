//! A place for the time of one test: a folder with a copy of the pipeline's files, keys and
//! approvers made by the same functions as the verbs make them, and this binary run in it.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use douane_broker::Broker;
use douane_connectors::kafka::Admin;
use douane_ledger::release::Limits;
use douane_pipelines::config::{self, SinkFormat};
use douane_pipelines::doctor::{self, Line, Make};
use douane_pipelines::fault::RunFault;
use douane_pipelines::key_home::{KeyHome, init_approver};
use douane_pipelines::leaktest::Kit;
use douane_pipelines::names::Names;
use douane_pipelines::release::LIFE_DAYS_DEFAULT;
use douane_pipelines::signer::KeyAt;
use douane_pipelines::status::{self, Status};
use tempfile::TempDir;

use super::fault;
use crate::verb;
use crate::verb::release::{make_trust, propose, sign};

const APPROVERS: [&str; 2] = ["ada", "bo"];
const TASKS: u32 = 2;
/// What is shown of what a process said before it ended.
const LAST_LINES: usize = 20;
/// A process has begun within this time.
const BEGUN: Duration = Duration::from_secs(2);

/// See the module.
pub struct Lodging {
    dir: TempDir,
    yaml: PathBuf,
    pub file: PathBuf,
    /// What was made up for this test: the pipeline's name here, and the beginning of its topics'. Where
    /// it stands in what was said, a value that had come that far would have been found.
    pub name: String,
    /// What is not as the user's files have it.
    pub instead: Vec<String>,
}

/// What a process said, to its end.
pub struct Said {
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    code: Option<i32>,
}

impl Said {
    /// It did what it is there for: it said yes or no, and something at all.
    pub fn did(&self) -> bool {
        matches!(self.code, Some(0 | 1)) && !self.out.is_empty()
    }
}

/// A process that ends with this.
pub struct Running(Child);

impl Running {
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// What it exited with, where it ended by itself.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, RunFault> {
        self.0.try_wait().map_err(fault)
    }

    /// As a lost machine ends it.
    pub fn kill(mut self) -> Result<(), RunFault> {
        self.0.kill().and_then(|()| self.0.wait()).map(drop).map_err(fault)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Lodging {
    /// Writes the files; the pipeline is called `name` in them, and so do its topics begin. `text`: what stands
    /// in the file of a single pipeline that is not there.
    pub fn build(
        kit: &Kit,
        (file, text): (&Path, Option<String>),
        name: &str,
        [sovereign, global]: [&Broker; 2],
    ) -> Result<Self, RunFault> {
        let dir = tempfile::Builder::new()
            .prefix("douane-leaktest-")
            .tempdir()
            .map_err(|error| verb::file_fault(&std::env::temp_dir(), &error))?;
        let cluster = |config: &douane_connectors::kafka::ClusterConfig, broker: &Broker| {
            format!(
                "{{ zone: \"{}\", id: \"{}\", bootstrap: \"{}\", topic_prefix: \"{}{name}.\" }}",
                config.zone,
                broker.cluster_id(),
                broker.bootstrap(),
                config.topic_prefix
            )
        };
        let yaml = format!(
            "clusters:\n  sovereign: {}\n  global: {}\nkeys: {{ dir: keys/ }}\nledger: {{ dir: \
             ledger/, bundles: every 1s }}\ntrust: trust.json\ntasks: {TASKS}\nserve: {{ listen: \
             \"127.0.0.1:0\" }}\ntelemetry: {{ traces_file: traces/traces.jsonl }}\n",
            cluster(&kit.place.sovereign, sovereign),
            cluster(&kit.place.global, global)
        );
        let home = file.parent().unwrap_or(Path::new(""));
        let copy = dir.path().join("pipelines");
        for path in kit.pipeline.beside.iter().map(PathBuf::as_path) {
            let within = path.strip_prefix(home).unwrap_or(path);
            put(&copy.join(within), &get(path)?)?;
        }
        // `serve` finds a pipeline under its own name.
        let file_name = format!("{name}.yaml");
        let text = named(name, &kit.pipeline.source.topics, &text.map_or_else(|| get(file), Ok)?);
        let (text, mut instead) = in_json(kit, &text);
        let text = at_once(&text, &mut instead);
        put(&copy.join(&file_name), &text)?;
        let at = dir.path().join("douane.yaml");
        put(&at, &yaml)?;
        let traces = dir.path().join("traces");
        fs::create_dir(&traces).map_err(|error| verb::file_fault(&traces, &error))?;
        let name = name.to_owned();
        Ok(Self { dir, yaml: at, file: copy.join(file_name), name, instead })
    }

    fn place(&self) -> Result<(config::Place, config::Pipeline), RunFault> {
        config::load(&self.yaml, &self.file).map_err(RunFault::Findings)
    }

    /// The source's topics.
    pub fn topics(&self) -> Result<Vec<String>, RunFault> {
        Ok(self.place()?.1.source.topics)
    }

    /// The pipeline's file, with a finding that says the made-up name.
    pub fn wrong(&self) -> Result<String, RunFault> {
        let path = self.file.with_file_name("wrong.yaml");
        put(&path, &format!("{}{}: 1\n", get(&self.file)?, self.name))?;
        Ok(path.display().to_string())
    }

    pub fn names(&self) -> Result<Names, RunFault> {
        let (place, pipeline) = self.place()?;
        Ok(Names::of(&place, &pipeline))
    }

    /// A topic of the sovereign side.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), RunFault> {
        let (place, _) = self.place()?;
        Admin::open(&place.sovereign)
            .and_then(|admin| admin.create_topic(name, partitions, 1, &[]))
            .map(drop)
            .map_err(fault)
    }

    /// Keys, trust, topics, and a release that two people sign.
    pub fn open(&self) -> Result<(), RunFault> {
        let (place, _) = self.place()?;
        KeyHome::init(&place.keys)?;
        let folder = self.dir.path().join("approvers");
        fs::create_dir(&folder).map_err(|error| verb::file_fault(&folder, &error))?;
        let (mut approvers, mut keys) = (Vec::new(), Vec::new());
        for name in APPROVERS {
            let key = folder.join(name);
            approvers.push(format!("{name}={}", init_approver(name, &key)?.display()));
            keys.push(KeyAt::File(key));
        }
        make_trust(&self.yaml, &approvers, 2, None, &keys)?;
        let lines = doctor::examine(&self.yaml, std::slice::from_ref(&self.file), Make::Missing)?;
        let wrong: Vec<String> =
            lines.iter().filter(|line| !line.is_well()).map(Line::to_string).collect();
        if !wrong.is_empty() {
            return Err(fault(wrong.join("\n")));
        }
        let limits = Limits { records: None, bytes: None, epsilon: None };
        propose(&self.yaml, &self.file, "author", LIFE_DAYS_DEFAULT, limits)?;
        keys.iter().try_for_each(|key| sign(&self.yaml, &self.file, key).map(drop))
    }

    pub fn status(&self) -> Result<Status, RunFault> {
        status::read(&self.yaml, &self.file)
    }

    fn command(&self, args: &[&str]) -> Result<Command, RunFault> {
        let mut command = Command::new(std::env::current_exe().map_err(fault)?);
        command.arg("-c").arg(&self.yaml).args(args).current_dir(self.dir.path());
        command.env("RUST_BACKTRACE", "full").stdin(Stdio::null());
        Ok(command)
    }

    /// `run`; what it prints lies in files of this name.
    pub fn start(&self, name: &str) -> Result<Running, RunFault> {
        self.spawn(name, &["run", &self.file.display().to_string()])
    }

    /// `serve`, with a file of that name beside the pipeline's, and a token with all roles.
    pub fn serve(&self, name: &str, planted: &str) -> Result<(Running, String), RunFault> {
        let beside = self.file.with_file_name(format!("{planted}.yaml"));
        put(&beside, "source: {}\n")?;
        let roles = config::Role::ALL.map(|role| ["--role", role.name()]);
        let args = [&["serve", "token", "leaktest"][..], roles.as_flattened()].concat();
        let token = String::from_utf8_lossy(&self.say(&args)?.out).trim().to_owned();
        Ok((self.spawn(name, &["serve"])?, token))
    }

    fn spawn(&self, name: &str, args: &[&str]) -> Result<Running, RunFault> {
        let file = |stream| File::create(self.print(name, stream)).map_err(fault);
        let mut command = self.command(args)?;
        command.stdout(file("out")?).stderr(file("err")?);
        command.spawn().map(Running).map_err(fault)
    }

    fn print(&self, name: &str, stream: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.{stream}"))
    }

    /// What a `run` printed so far.
    pub fn printed(&self, name: &str, stream: &str) -> Result<Vec<u8>, RunFault> {
        fs::read(self.print(name, stream)).map_err(fault)
    }

    /// The end of it, for people. It holds no value, or the test is not needed to find one.
    pub fn last_said(&self, name: &str) -> String {
        let bytes = self.printed(name, "err").unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// A verb to its end.
    pub fn say(&self, args: &[&str]) -> Result<Said, RunFault> {
        let said = self.command(args)?.output().map_err(fault)?;
        Ok(Said { out: said.stdout, err: said.stderr, code: said.status.code() })
    }

    /// A file or folder of the place.
    pub fn at(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The release that was signed.
    pub fn release(&self) -> Result<String, RunFault> {
        Ok(self.place()?.1.release.display().to_string())
    }

    /// What the system tells others of a process: its command line and its environment.
    pub fn proc_of(&self, pid: u32) -> Vec<u8> {
        let folder = Path::new("/proc").join(pid.to_string());
        let read = |name: &str| fs::read(folder.join(name)).unwrap_or_default();
        // A child that has just begun has no environment yet; this binary soon hides its own.
        let deadline = Instant::now() + BEGUN;
        let mut environment = read("environ");
        while environment.is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
            environment = read("environ");
        }
        [environment, read("cmdline"), read("comm")].concat()
    }

    /// The same of a child that has this text in its environment, and hides nothing: this binary
    /// takes itself out of others' sight as soon as it runs.
    pub fn proc_of_a_child_with(&self, text: &str) -> Result<Vec<u8>, RunFault> {
        let child = Command::new("sleep").arg("60").env("PLANTED", text).spawn();
        let child = child.map(Running).map_err(fault)?;
        Ok(self.proc_of(child.id()))
    }

    /// Every file in a folder of the place and below it.
    pub fn files_below(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, RunFault> {
        let mut open = vec![self.dir.path().join(folder)];
        let mut files = Vec::new();
        while let Some(path) = open.pop() {
            if path.is_dir() {
                let entries = fs::read_dir(&path).map_err(fault)?;
                open.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
            } else {
                let name = path.strip_prefix(self.dir.path()).unwrap_or(&path);
                files.push((name.display().to_string(), fs::read(&path).map_err(fault)?));
            }
        }
        Ok(files)
    }

    /// Looks at the files while one more is among them.
    pub fn with_a_file_in<T>(
        &self,
        folder: &str,
        text: &str,
        look: impl Fn(&[(String, Vec<u8>)]) -> T,
    ) -> Result<T, RunFault> {
        let path = self.dir.path().join(folder).join("planted");
        put(&path, text)?;
        let found = look(&self.files_below(folder)?);
        fs::remove_file(&path).map_err(fault)?;
        Ok(found)
    }
}

fn get(path: &Path) -> Result<String, RunFault> {
    fs::read_to_string(path).map_err(|error| verb::file_fault(path, &error))
}

fn put(path: &Path, text: &str) -> Result<(), RunFault> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| verb::file_fault(path, &error))
}

/// The file with another name in it, and with source topics that begin with that name. Only where topics
/// stand: a domain or a column may be called the same.
fn named(name: &str, topics: &[String], text: &str) -> String {
    let mut out = String::new();
    let mut names_topics = false;
    for line in text.lines() {
        if !line.starts_with([' ', '#', '-']) && !line.trim().is_empty() {
            names_topics = line.starts_with("source:") || line.starts_with("tables:");
        }
        match (line.starts_with("name:"), names_topics) {
            (true, _) => out.push_str(&format!("name: {name}")),
            (_, true) => out.push_str(&prefixed(name, topics, line)),
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// A line with `name.` before each of these topics.
fn prefixed(name: &str, topics: &[String], line: &str) -> String {
    let mut text = line.to_owned();
    for topic in topics {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(topic.as_str()) {
            let (before, after) = (&rest[..at], &rest[at + topic.len()..]);
            let is_whole = !before.ends_with(is_of_name) && !after.starts_with(is_of_name);
            out.push_str(before);
            if is_whole {
                out.push_str(&format!("{name}."));
            }
            out.push_str(topic);
            rest = after;
        }
        text = out + rest;
    }
    text
}

/// The file as it runs here, where there is no registry: records are JSON on both sides, and the
/// types that a schema gave are written out. Says what was changed.
fn in_json(kit: &Kit, text: &str) -> (String, Vec<String>) {
    let mut text = text.to_owned();
    let mut instead = Vec::new();
    let mut change = |text: &mut String, from: &str, to: &str| {
        if text.contains(from) {
            *text = text.replace(from, to);
            instead.push(format!("ran with {to} in place of {from}: there is no registry here"));
        }
    };
    if kit.pipeline.sink.format == SinkFormat::Avro {
        change(&mut text, "format: avro", "format: json");
    }
    if kit.pipeline.source.has_schema() {
        change(&mut text, "format: debezium_avro", "format: debezium_json");
        change(&mut text, "format: debezium_json_schema", "format: debezium_json");
        if kit.pipeline.types.is_empty() {
            text.push_str("\ntypes:\n");
            for (path, of) in kit.types() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  \"{path}\": {of}");
            }
        }
    }
    (text, instead)
}

/// The file as it crosses here: from the first record, which is sent before anything runs, as it comes, and
/// each row for itself. Says what was changed.
fn at_once(text: &str, instead: &mut Vec<String>) -> String {
    let mut out = String::new();
    let mut key = "";
    for line in text.lines() {
        if line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            key = line.split(':').next().unwrap_or_default().trim_end();
            match key {
                "publish" => {
                    instead.push(format!("ran without `{}`: nothing waits here", bare(line)));
                }
                "min_group" => instead.push(
                    "ran without `min_group`: a marker shows only in a row that crosses".to_owned(),
                ),
                _ => {}
            }
        }
        match key {
            "publish" | "min_group" => continue,
            "source" => out.push_str(&from_the_first(line, instead)),
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// A line without its remark.
fn bare(line: &str) -> &str {
    line.split(" #").next().unwrap_or_default().trim()
}

/// A line of `source` that begins with the earliest record, whatever it says.
fn from_the_first(line: &str, instead: &mut Vec<String>) -> String {
    let code = line.split(" #").next().unwrap_or_default();
    let is_key = |at: &usize| code[..*at].ends_with([' ', '{', ',']) && !code[..*at].contains('#');
    let Some(at) = code.match_indices("start:").map(|(at, _)| at).find(is_key) else {
        return line.to_owned();
    };
    let from = at + "start:".len();
    let length = code[from..].find([',', '}']).unwrap_or(code.len() - from);
    let said = code[from..from + length].trim();
    if said == "earliest" {
        return line.to_owned();
    }
    instead.push(format!("ran with start: earliest in place of start: {said}: all is sent before"));
    format!("{} earliest{}", &line[..from], &line[from + length..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_waits_and_nothing_begins_late() {
        let text = "name: a\nsource: # start: latest\n  kafka: { topics: [\"b.start:c\"], start: latest }\n  \
                    start: \"2026-01-31T00:00:00Z\" # now\npublish: every 1h # start: latest\nmin_group:\n  k: 5\n\n\
                    classes:\n  start: public\n";
        let mut instead = Vec::new();
        assert_eq!(
            at_once(text, &mut instead),
            "name: a\nsource: # start: latest\n  kafka: { topics: [\"b.start:c\"], start: earliest}\n  \
             start: earliest # now\nclasses:\n  start: public\n"
        );
        assert_eq!(instead.len(), 4, "{instead:?}");
        // What is so already is said to be nothing else.
        let text = "source:\n  kafka: { start: earliest }\n";
        instead.clear();
        assert_eq!(at_once(text, &mut instead), text);
        assert_eq!(instead, [""; 0]);
    }

    #[test]
    fn what_said_nothing_or_could_not_do_its_work_did_not() {
        let did =
            |out: &str, code| Said { out: out.into(), err: b"douane: \n".to_vec(), code }.did();
        assert!(did("yes", Some(0)) && did("no", Some(1)));
        for (out, code) in
            [("", Some(0)), ("", Some(1)), ("x", Some(2)), ("x", Some(3)), ("x", None)]
        {
            assert!(!did(out, code), "{out} {code:?}");
        }
    }

    #[test]
    fn the_pipeline_and_its_topics_have_other_names_and_nothing_else() {
        let text = "# name: x\nname: a # why\nsource:\n  topics:\n  - t.u\n# t\n- \"t\"\n  - x.t\n\
                    domain: t\nclasses:\n  name: public\n  t: public\n";
        assert_eq!(
            named("b", &["t".to_owned(), "t.u".to_owned()], text),
            "# name: x\nname: b\nsource:\n  topics:\n  - b.t.u\n# b.t\n- \"b.t\"\n  - x.t\n\
             domain: t\nclasses:\n  name: public\n  t: public\n"
        );
    }

    #[test]
    fn a_file_is_removed_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let lodging = Lodging {
            yaml: dir.path().join("douane.yaml"),
            file: dir.path().join("p.yaml"),
            name: "p".to_owned(),
            dir,
            instead: Vec::new(),
        };
        let seen = lodging.with_a_file_in("ledger", "planted text", |files| files.to_vec());
        assert_eq!(seen.unwrap(), [("ledger/planted".to_owned(), b"planted text".to_vec())]);
        assert_eq!(lodging.files_below("").unwrap(), []);
    }
}
