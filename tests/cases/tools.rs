//! Tools of others that look at what is shipped: each runs where it is there, and is said to be left
//! out where it is not.

use std::path::Path;
use std::process::Command;

use crate::say;

const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// Runs a script that has its own control, and exits with 3 where its tool is missing.
pub fn asked(case: &str, script: &str) {
    let said = Command::new(Path::new(HOME).join(script)).output().expect("a shell");
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    match said.status.code() {
        Some(0) => say::note(text.lines().last().unwrap_or_default()),
        Some(3) => say::skipped(case, text.trim()),
        _ => panic!("{text}"),
    }
}

#[test]
fn the_python_packages_own_tests_pass() {
    asked("the_python_packages_own_tests_pass", "tests/tools/feed.sh");
}

#[test]
fn promtool_agrees_on_every_alert() {
    asked("promtool_agrees_on_every_alert", "tests/tools/rules.sh");
}

#[test]
fn cargo_deny_allows_what_is_linked() {
    asked("cargo_deny_allows_what_is_linked", "tests/tools/licences.sh");
}

#[test]
fn the_documents_are_a_site_without_a_dead_link() {
    asked("the_documents_are_a_site_without_a_dead_link", "tests/tools/site.sh");
}
