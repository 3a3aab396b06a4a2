//! README's "Five minutes to your own topics", walked as it stands there: its files, with this rig's addresses in place of
//! the example's, and its commands, one after the other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cluster::{Cluster, Isolation};
use crate::customers::{Customers, Format, avro_schemas};
use crate::feed::{Load, Plants};
use crate::pace::Instant;
use crate::place::{LABELLED, binary};
use crate::rig::{self, Registry};
use crate::say;

const TOPIC: &str = "crm.public.customers";
const TARGET: &str = "training.customers";
const FILES: [&str; 3] = ["douane.yaml", "pipelines/domains.yaml", "pipelines/customers.yaml"];
const RECORDS: usize = 400;

/// The path from its title to the next section.
fn path() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("README.md");
    let (_, rest) = readme.split_once("\n## Five minutes to your own topics\n").expect("the path");
    rest.split("\n## ").next().expect("its text").to_owned()
}

/// Blocks of one language, in order.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// What a person would type: without prompts, comments and line ends within a command.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands: Vec<Vec<String>> = Vec::new();
    for block in blocks(text, "console") {
        let whole = block.replace("\\\n", " ");
        for line in whole.lines() {
            let typed = line.strip_prefix("$ ").unwrap_or_else(|| panic!("no prompt: {line}"));
            let typed = typed.split(" #").next().unwrap_or_default();
            commands.push(typed.split_whitespace().map(str::to_owned).collect());
        }
    }
    commands
}

/// Each stands in the text once, and gives way to the rig's own.
fn replaced(text: &str, with: &[(&str, String)]) -> String {
    with.iter().fold(text.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from} in the example");
        text.replace(from, to)
    })
}

struct Walk {
    dir: PathBuf,
    target: Cluster,
    due: usize,
    running: Option<Child>,
}

impl Walk {
    /// What stands behind `>` is a file that the command prints to.
    fn command(&self, words: &[String]) -> Command {
        let program = if words[0] == "douane" { binary() } else { PathBuf::from(&words[0]) };
        let mut command = Command::new(program);
        let mut args = words[1..].split(|word| word == ">");
        command.args(args.next().unwrap_or_default());
        command.current_dir(&self.dir).stdin(Stdio::null());
        if let Some([file]) = args.next() {
            let file = std::fs::File::create(self.dir.join(file)).expect("a file");
            command.stdout(file);
        }
        command
    }

    fn step(&mut self, words: &[String]) {
        let line = words.join(" ");
        match words.get(1).map(String::as_str) {
            Some("run") => {
                let log = std::fs::File::create(self.dir.join("run.log")).expect("a file");
                let child = self.command(words).stderr(log).spawn().expect("the binary");
                self.running = Some(child);
                self.until_everything_crossed();
            }
            Some(verb) => {
                if verb == "verify" {
                    self.stop();
                }
                let out = self.command(words).output().unwrap_or_else(|e| panic!("{line}: {e}"));
                assert!(
                    out.status.success(),
                    "{line}: {:?}\n{}{}",
                    out.status.code(),
                    String::from_utf8_lossy(&out.stdout),
                    String::from_utf8_lossy(&out.stderr)
                );
            }
            None => panic!("no command: {line}"),
        }
    }

    fn until_everything_crossed(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        let mut tail = self.target.tail(TARGET, Isolation::Committed);
        while tail.records.len() < self.due {
            tail.poll(Duration::from_millis(200));
            let log = || std::fs::read_to_string(self.dir.join("run.log")).unwrap_or_default();
            assert!(Instant::now() < end, "{} of {}\n{}", tail.records.len(), self.due, log());
        }
    }

    /// Ctrl-C: it ends with 0.
    fn stop(&mut self) {
        let mut child = self.running.take().expect("`run` comes before `verify`");
        rig::signal(child.id(), libc::SIGINT);
        assert_eq!(child.wait().expect("a child").code(), Some(0), "run");
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        if let Some(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_five_minute_path_of_the_readme_can_be_walked() {
    let _turn = rig::exclusive();
    let started = Instant::now();
    let (source, target) = rig::clusters();
    let (source, target) = (source.cluster(), target.cluster());
    let registry = Registry::start("five-minutes");
    let (key, value) = avro_schemas(false);
    let format = Format::Avro {
        key: registry.register(&format!("{TOPIC}-key"), &key),
        value: registry.register(&format!("{TOPIC}-value"), &value),
    };
    source.create(TOPIC, 3, &[]);
    // Large ids, so that each is long enough to be looked for.
    let mut events = Customers::new(5, 73_400_120, false);
    let load = Load::new(3).customers(&mut events, RECORDS, format, &Plants::default());
    load.send(&source, TOPIC);

    let text = path();
    let files = blocks(&text, "yaml");
    assert_eq!(files.len(), FILES.len(), "place, domains, pipeline");
    let place = replaced(
        files[0],
        &[
            ("Mk3OEYBSD34fcwNTJENDM2Qk", source.id()),
            ("Qz9qEYBSD34fcwNTJENDM2Qk", target.id()),
            ("kafka-de:9092", source.bootstrap.clone()),
            ("kafka-gl:9092", target.bootstrap.clone()),
            ("http://registry-de:8081", registry.url()),
            ("http://registry-gl:8081", registry.url()),
            // One broker each.
            ("{ replication: 3, min_insync: 2 }", "{ replication: 1, min_insync: 1 }".to_owned()),
        ],
    );
    let dir = rig::directory("five-minutes");
    std::fs::create_dir(dir.join("pipelines")).expect("a directory");
    for (name, text) in FILES.iter().zip([place.as_str(), files[1], files[2]]) {
        std::fs::write(dir.join(name), text).expect("a file");
    }
    let labelled = Path::new(env!("CARGO_MANIFEST_DIR")).join(LABELLED);
    std::fs::copy(labelled, dir.join("labelled.json")).expect("labelled text");
    let mut walk = Walk { dir, target: target.clone(), due: load.expected.len(), running: None };
    let commands = commands(&text);
    let verbs: BTreeSet<&str> = commands.iter().map(|words| words[1].as_str()).collect();
    for verb in
        ["scorecard", "lint", "test", "keys", "release", "doctor", "run", "status", "verify"]
    {
        assert!(verbs.contains(verb), "the path has no `{verb}`");
    }
    for words in &commands {
        walk.step(words);
    }
    assert!(walk.running.is_none(), "the path ends with `verify`");

    let records = target.read(TARGET, Isolation::Committed);
    assert_eq!(records.len(), load.expected.len(), "records outside");
    let ids: BTreeSet<u64> = load.expected.iter().map(|expected| expected.id).collect();
    let keys: BTreeSet<&[u8]> = records.iter().filter_map(|record| record.key.as_deref()).collect();
    assert_eq!(keys.len(), ids.len(), "one token a customer");
    let outside: Vec<u8> = records
        .iter()
        .flat_map(|record| [record.key.as_deref(), record.value.as_deref()])
        .flatten()
        .flat_map(|bytes| [bytes, b"\n"].concat())
        .collect();
    let outside = String::from_utf8_lossy(&outside);
    assert!(load.secrets.len() > RECORDS, "secrets to look for");
    for secret in &load.secrets {
        assert!(!outside.contains(secret.as_str()), "a raw value crossed");
    }
    assert!(outside.contains("[EMAIL]") && outside.contains("Berlin"), "rows are there");
    say::note(format!(
        "README's path: {} commands, {} records, {:.1} s",
        commands.len(),
        records.len(),
        started.elapsed().as_secs_f32()
    ));
}

#[test]
fn control_a_path_that_changed_its_form_is_not_walked_silently() {
    let text = "```console\n$ a b   # c\n$ d \\\n    e\n```\nx\n```console\n$ f g\n```\n";
    assert_eq!(commands(text), [vec!["a", "b"], vec!["d", "e"], vec!["f", "g"]]);
    let missing = std::panic::catch_unwind(|| replaced("a: 1", &[("b", "c".to_owned())]));
    assert!(missing.is_err(), "an address that is not in the example");
    let unprompted = std::panic::catch_unwind(|| commands("```console\nrm -r x\n```"));
    assert!(unprompted.is_err(), "output is no command");
}
