//! Installing: the package holds what it says and starts, and its unit is shut tight.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::place::binary;
use crate::say;

const HOME: &str = env!("CARGO_MANIFEST_DIR");
const UNIT: &str = "packaging/douane@.service";

fn missing(tools: &[&'static str]) -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there =
        |tool: &&&str| std::env::split_paths(&path).any(|folder| folder.join(tool).exists());
    tools.iter().find(|tool| !there(tool)).copied()
}

fn run(command: &mut Command) -> Output {
    let said = command.current_dir(HOME).output().expect("it starts");
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{command:?}: {text}");
    said
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// How exposed a unit is, from 0 to 10, as systemd counts.
fn exposure(unit: &Path) -> f64 {
    let said = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(unit)
        .output()
        .expect("systemd-analyze starts");
    let said = text(&said);
    let line = said.lines().find(|line| line.contains("Overall exposure level"));
    let level = line.and_then(|line| line.rsplit(": ").next());
    let level = level.and_then(|level| level.split(' ').next()).and_then(|n| n.parse().ok());
    level.unwrap_or_else(|| panic!("no level: {said}"))
}

#[test]
fn the_unit_is_shut_tight() {
    if let Some(tool) = missing(&["systemd-analyze"]) {
        return say::skipped("the unit", &format!("no {tool}"));
    }
    let unit = Path::new(HOME).join(UNIT);
    let level = exposure(&unit);
    say::figure("exposure of the unit", level, "of 10");
    assert!(level <= 2.0, "{level}");
    // Control: without its last section it is another unit.
    let folder = tempfile::tempdir().expect("a folder");
    let open = folder.path().join("douane@.service");
    let written = std::fs::read_to_string(&unit).expect("a unit");
    let (plain, _) = written.split_once("NoNewPrivileges").expect("its last section");
    std::fs::write(&open, plain).expect("a file");
    assert!(exposure(&open) > 6.0);
}

/// A package of the binary under test, without symbols and not compressed.
fn package(folder: &Path, name: &str) -> PathBuf {
    let stripped = folder.join("douane");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(binary()));
    let out = folder.join(name);
    run(Command::new("packaging/package")
        .arg(&stripped)
        .arg(&out)
        .env("SOURCE_DATE_EPOCH", "1795305600")
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none"));
    let mut left = std::fs::read_dir(&out).expect("a folder");
    left.next().expect("a package").expect("an entry").path()
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}

#[test]
fn the_package_holds_what_it_says_and_starts() {
    if let Some(tool) = missing(&["dpkg-deb", "dpkg-shlibdeps", "strip"]) {
        return say::skipped("the package", &format!("no {tool}"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let first = package(folder.path(), "first");
    let root = folder.path().join("root");
    run(Command::new("dpkg-deb").arg("-x").arg(&first).arg(&root));

    let files = files_under(&root);
    let names: BTreeSet<String> = files
        .iter()
        .map(|file| file.strip_prefix(&root).expect("under it").to_string_lossy().into_owned())
        .collect();
    for name in [
        "usr/bin/douane",
        "usr/lib/systemd/system/douane@.service",
        "usr/share/bash-completion/completions/douane",
        "usr/share/zsh/vendor-completions/_douane",
        "usr/share/fish/vendor_completions.d/douane.fish",
        "usr/share/doc/douane/copyright",
        "usr/share/doc/douane/docs/audit.md",
        "usr/share/doc/douane/examples/customers-json.yaml",
    ] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
    // A page for every verb that the executable itself lists.
    let douane = root.join("usr/bin/douane");
    let help = text(&run(Command::new(&douane).arg("--help")));
    let (_, verbs) = help.split_once("Commands:").expect("a list of verbs");
    let (verbs, _) = verbs.split_once("Options:").expect("its end");
    let verbs: Vec<&str> = verbs
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    for verb in verbs {
        let page = format!("usr/share/man/man1/douane-{verb}.1.gz");
        assert!(names.contains(&page), "{page}");
    }
    // Nothing gives rights away, and nothing is anybody's to change.
    for file in &files {
        let mode = file.metadata().expect("its mode").permissions().mode();
        assert_eq!(mode & 0o7022, 0, "{}: {mode:o}", file.display());
    }
    // The unit starts what is there, with a verb that there is.
    let unit = std::fs::read_to_string(Path::new(HOME).join(UNIT)).expect("a unit");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/"));
    let words: Vec<&str> = start.expect("what it starts").split(' ').collect();
    assert_eq!(words[..4], ["usr/bin/douane", "-c", "/etc/douane/douane.yaml", "run"]);
    run(Command::new(&douane).args(["run", "--help"]));
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").arg("-n").arg(format!("packaging/deb/{script}")));
    }

    // The same executable gives the same package.
    let second = package(folder.path(), "second");
    let read = |path: &Path| std::fs::read(path).expect("a package");
    assert!(read(&first) == read(&second), "two packages of one executable differ");
}
