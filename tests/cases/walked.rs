//! docs/releases.md, docs/checking.md and docs/outside.md, walked as they stand there: each command by a shell, with this
//! place's names.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases::coverage::{outside, ran};
use crate::cases::files::{FILE, Folders, lines};
use crate::cases::keys::Token;
use crate::cases::life::Agent;
use crate::cases::verbs::Offline;
use crate::place::binary;
use crate::rig;

const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// Blocks of commands of a page.
fn blocks(page: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(Path::new(HOME).join(page)).expect("the page");
    let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    let typed = |line: &str| line.strip_prefix("$ ").expect("a prompt").to_owned();
    blocks.map(|block| block.lines().map(typed).collect()).collect()
}

/// A shell in a folder, whose `douane` is the one that is tested.
struct Shell {
    dir: PathBuf,
    env: Vec<(&'static str, String)>,
}

impl Shell {
    fn new(dir: &Path) -> Self {
        let bin = dir.join("bin");
        std::fs::create_dir_all(&bin).expect("a folder");
        symlink(binary(), bin.join("douane")).expect("a link");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", bin.display());
        Self { dir: dir.to_owned(), env: vec![("PATH", path), ("NO_COLOR", "1".into())] }
    }

    fn code(&self, dir: &Path, line: &str) -> (i32, String) {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(dir).stdin(std::process::Stdio::null());
        let out = shell.envs(self.env.iter().cloned()).output().expect("a shell");
        let said = [out.stdout, out.stderr].concat();
        (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }

    fn fine_in(&self, dir: &Path, line: &str) {
        let (code, said) = self.code(dir, line);
        assert_eq!(code, 0, "{line}: {said}");
    }

    fn fine(&self, line: &str) {
        self.fine_in(&self.dir, line);
    }
}

/// Each stands in the line, and gives way to the rig's own.
fn with(line: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(line.to_owned(), |line, (from, to)| {
        assert!(line.contains(from), "{from} in {line}");
        line.replace(from, to)
    })
}

#[test]
fn releases_are_signed_from_an_agent_and_a_token_as_the_document_says() {
    let all = blocks("docs/releases.md");
    let [keys, _, _] = &all[..] else { panic!("three blocks of commands: {all:?}") };
    let place = Offline::new("walked-keys");
    let dir = place.dir.as_path();
    let (agent, token) = (Agent::new(dir), Token::new(dir));
    std::fs::create_dir(dir.join("approvers")).expect("a folder");
    let pin = dir.join("pin");
    std::fs::write(&pin, "7301\n").expect("a file");
    std::fs::set_permissions(&pin, PermissionsExt::from_mode(0o600)).expect("rights");
    let mut shell = Shell::new(dir);
    shell.env.push(("SSH_AUTH_SOCK", agent.socket.display().to_string()));
    shell.env.push(("SOFTHSM2_CONF", token.conf.display().to_string()));
    let pin = format!("pin-source={}", pin.display());
    let [made, in_token, sign] = &keys[..] else { panic!("three commands: {keys:?}") };
    // Nobody is here to be asked for a passphrase.
    shell.fine(&with(made, &[("ssh-keygen -t", "ssh-keygen -q -N '' -t")]));
    shell.fine(&with(in_token, &[("token=hsm", "token=douane"), ("pin-source=/run/pin", &pin)]));
    let bo = in_token.split('\'').nth(1).expect("where bo's key is");
    let bo = with(bo, &[("token=hsm", "token=douane"), ("pin-source=/run/pin", &pin)]);
    shell.fine("douane keys init");
    shell.fine(&format!(
        "douane release trust --approver ada=ada.pub --approver bo=approvers/bo.pub \
         --threshold 2 --sign ssh-agent:ada.pub --sign '{bo}'"
    ));
    shell.fine("douane release propose pipelines/p.yaml --author cleo");
    let sign = with(sign, &[(FILE, "pipelines/p.yaml")]);
    shell.fine(&sign);
    let show = "douane release show pipelines/p.yaml";
    assert_eq!(shell.code(dir, show).0, 1, "one of two signed");
    shell.fine(&with(&sign, &[("ssh-agent:ada.pub", &format!("'{bo}'"))]));
    shell.fine(show);
}

#[test]
fn a_span_and_a_model_leave_as_the_document_says() {
    let all = blocks("docs/releases.md");
    let [_, span, model] = &all[..] else { panic!("three blocks of commands: {all:?}") };
    let place = Folders::new("walked", "json_lines", &lines(43, 200));
    let shell = Shell::new(&place.dir);
    let pipeline = std::fs::read_to_string(place.dir.join(FILE)).expect("the pipeline");
    let export = with(
        &pipeline,
        &[
            ("name: customers\n", "name: export\n"),
            ("customers.release.json", "export.release.json"),
            ("out/customers", "out/export"),
        ],
    );
    place.write("pipelines/export.yaml", &export);
    shell.fine("douane doctor --create pipelines/export.yaml");
    let [once, sign, run] = &span[..] else { panic!("three commands: {span:?}") };
    // The rows of this rig are of other years.
    let wide = [("2026-05-01T", "2001-01-01T"), ("2026-06-01T", "2101-01-01T")];
    shell.fine(&with(once, &wide));
    shell.fine(sign);
    shell.fine(&with(sign, &[("approvers/ada", "approvers/bo")]));
    shell.fine(run);
    let parts = std::fs::read_dir(place.dir.join("out/export")).expect("what crossed");
    let mut named = parts.map(|part| part.expect("an entry").file_name());
    assert!(named.any(|name| name.to_string_lossy().starts_with("part-")));
    assert_eq!(shell.code(&place.dir, run).0, 1, "once");

    let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes().chain([1; 8]));
    std::fs::write(place.dir.join("model.safetensors"), bytes).expect("a model");
    let [draft, sign, check] = &model[..] else { panic!("three commands: {model:?}") };
    shell.fine(draft);
    shell.fine(sign);
    assert_eq!(shell.code(&place.dir, check).0, 1, "one of two signed");
    shell.fine(&with(sign, &[("approvers/ada", "approvers/bo")]));
    shell.fine(check);
}

#[test]
fn detectors_are_measured_and_editors_helped_as_the_document_says() {
    let all = blocks("docs/checking.md");
    let [measure, editors] = &all[..] else { panic!("two blocks of commands: {all:?}") };
    let place = Folders::new("walked-checking", "json_lines", &lines(47, 20));
    let shell = Shell::new(&place.dir);
    measure.iter().for_each(|line| shell.fine_in(Path::new(HOME), line));
    editors.iter().for_each(|line| shell.fine(line));
    let pipeline = std::fs::read_to_string(place.dir.join(FILE)).expect("the pipeline");
    let (_, schema) = pipeline.lines().next().and_then(|line| line.split_once("$schema=")).unwrap();
    assert!(place.dir.join("pipelines").join(schema).exists(), "{schema}");
    shell.fine(&format!("douane lint {FILE}"));
}

/// What trains is not douane's: a program that looks whether it was given something.
#[test]
fn whoever_is_outside_verifies_and_trains_as_the_document_says() {
    let _turn = rig::exclusive();
    let (place, _) = ran("walked-outside", |_| {}, 400);
    let dir = outside(&place);
    std::fs::rename(dir.join("release.json"), dir.join("customers.release.json")).expect("a file");
    let shell = Shell::new(&dir);
    let python = dir.join("bin/python");
    let text = "#!/bin/sh\n[ \"$1\" = train.py ] && ls \"$DOUANE_FEED\" > trained\n";
    std::fs::write(&python, text).expect("a program");
    std::fs::set_permissions(&python, PermissionsExt::from_mode(0o755)).expect("rights");
    let all = blocks("docs/outside.md");
    let [verify, feed] = &all[..] else { panic!("two blocks of commands: {all:?}") };
    let topic = place.data_topic();
    for line in verify {
        shell.fine(&with(line, &[("training.customers", &topic)]));
    }
    for line in feed {
        shell.fine(&with(line, &[("training.customers", &topic), ("100000", "100")]));
    }
    let trained = std::fs::read_to_string(dir.join("trained")).expect("what it was given");
    assert!(!trained.trim().is_empty());
}

#[test]
fn control_what_is_no_command_is_not_walked_silently() {
    let refused =
        |text: &'static str| std::panic::catch_unwind(move || with("a b", &[(text, "c")]));
    assert!(refused("a").is_ok() && refused("z").is_err(), "a name that is not in the line");
    let shell = Shell::new(&rig::directory("walked-control"));
    let (code, said) = shell.code(&shell.dir, "douane no-such-verb");
    assert_eq!(code, 2, "{said}");
}
