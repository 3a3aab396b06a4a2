//! `douane demo`: every step is seen and said, and nothing is left behind, neither at its end nor after Ctrl-C.

use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::pace::Instant;
use crate::place::{binary, last_lines};
use crate::rig;
use crate::say;

/// The demo in the background, with a temporary directory of its own.
struct Demo {
    child: Child,
    out: PathBuf,
    temp: PathBuf,
}

impl Demo {
    fn start(records: usize) -> Self {
        let dir = rig::directory("demo");
        let (out, temp) = (dir.join("out"), dir.join("tmp"));
        std::fs::create_dir(&temp).expect("a directory");
        let file = std::fs::File::create(&out).expect("a file");
        let child = Command::new(binary())
            .args(["demo", "--records", &records.to_string()])
            .env("TMPDIR", &temp)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stderr(file.try_clone().expect("a file"))
            .stdout(file)
            .spawn()
            .expect("the binary");
        Self { child, out, temp }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.out).expect("what it said")
    }

    fn wait_for_word(&self, word: &str, patience: Duration) {
        let end = Instant::now() + patience;
        while !self.said().contains(word) {
            assert!(Instant::now() < end, "no {word}\n{}", last_lines(&self.said(), 30));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait(&mut self, patience: Duration) -> Option<i32> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    #[track_caller]
    fn left_nothing(&self) {
        assert_eq!(names(&self.temp), Vec::<String>::new(), "in its temporary directory");
        let ports = ports(&self.said());
        assert_eq!(ports.len(), 2, "two brokers");
        for port in ports {
            assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "port {port} is taken");
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn ports(said: &str) -> Vec<u16> {
    let mut ports: Vec<u16> = said
        .split("127.0.0.1:")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The number and title of each step.
fn titles(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()) && line.ends_with('─'))
        .map(|line| line.trim_end_matches('─').trim_end().to_owned())
        .collect()
}

#[test]
fn the_demo_shows_every_step_and_leaves_nothing_behind() {
    let _turn = rig::exclusive();
    let started = Instant::now();
    let mut demo = Demo::start(2_000);
    let code = demo.wait(Duration::from_secs(120));
    let said = demo.said();
    assert_eq!(code, Some(0), "{said}");
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("README.md");
    assert_eq!(titles(&said), titles(&readme), "the README shows other steps");
    assert_eq!(titles(&said).len(), 9);
    for due in [
        "2,000 Debezium events in crm.public.customers",
        "douane doctor --create: ",
        "what crosses",
        "release 1 proposed by cleo, signed by ada and bo",
        "row 3",
        "[1000000,inf)",
        "no class for leaf `after.passport`",
        "crm.public.customers[3]  HELD",
        "+ passport:      identifier",
        "release 2 proposed by cleo, signed by ada and bo",
        "partition 3 resumed",
        "0 findings",
        " = 2,000 of 2,000; none lost, none twice",
        "1,000 orders of 4 weeks in crm.public.orders",
        "true        counted       released",
        "douane audit budget",
        "windows: 4 charged, 4 outside, 0 open, 0 void",
        "[#############.......]  rho 0.020000 of 0.060000 left",
        "at this rate a window is refused that ends at 20",
        "12 records outside in the place of 1,000 orders",
        "raw copy",
        "all of it was seen",
    ] {
        assert!(said.contains(due), "no `{due}`\n{said}");
    }
    for never in ["\x1b", "\r", "not seen", "✗"] {
        assert!(!said.contains(never), "{never:?} outside a terminal\n{said}");
    }
    demo.left_nothing();
    say::note(format!("demo of 2,000 records: {:.1} s", started.elapsed().as_secs_f32()));
}

#[test]
fn a_demo_that_is_stopped_leaves_nothing_behind() {
    let _turn = rig::exclusive();
    // Before anything runs, and while it does.
    for word in ["2  ", "4  Run"] {
        let mut demo = Demo::start(20_000);
        demo.wait_for_word(word, Duration::from_secs(60));
        // The folder is made before the first word, so its absence later says something.
        assert_eq!(names(&demo.temp).len(), 1, "one folder while it runs");
        rig::signal(demo.child.id(), libc::SIGINT);
        assert_eq!(demo.wait(Duration::from_secs(20)), Some(130), "{}", demo.said());
        demo.left_nothing();
    }
}

#[test]
fn control_a_demo_without_a_place_to_work_is_no_success() {
    let mut child = Command::new(binary())
        .args(["demo", "--records", "1000"])
        .env("TMPDIR", "/nowhere/at/all")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("a child").code(), Some(2), "{said}");
    let few = Command::new(binary()).args(["demo", "--records", "999"]).output().expect("it");
    assert_eq!(few.status.code(), Some(2), "fewer than the least");
}
