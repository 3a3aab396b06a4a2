//! The house is as ARCHITECTURE.md says: who imports whom, and what is nowhere.
//!
//! Each check is a function from facts to findings, and each has a control: the same function over
//! facts that are wrong must find something.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// Rooms without I/O, clock and randomness.
const PURE: [&str; 4] = ["schemas", "kernels", "transforms", "gate"];

/// What stands before a room's name in its package's.
const PREFIX: &str = "douane-";

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// Who imports whom.

/// Room to rooms: what a package of ours names among its dependencies, of every kind.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The table of ARCHITECTURE.md: `| room | imports |` between the two markers.
fn imports_as_written(document: &str) -> Imports {
    let table = document
        .split_once("<!-- imports -->")
        .and_then(|(_, rest)| rest.split_once("<!-- /imports -->"))
        .map(|(table, _)| table)
        .expect("ARCHITECTURE.md has a table between the markers of imports");
    let names = |cell: &str| {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<String>>()
    };
    table
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').skip(1);
            let (room, imports) = (cells.next()?, cells.next()?);
            Some((names(room).pop_first()?, names(imports)))
        })
        .collect()
}

/// Names of a package's dependencies, as `cargo metadata --no-deps` has them.
fn dependencies(package: &Value) -> impl Iterator<Item = &str> {
    let all = package["dependencies"].as_array().into_iter().flatten();
    all.filter_map(|dependency| dependency["name"].as_str())
}

fn packages() -> Vec<Value> {
    let said = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(HOME)
        .output()
        .expect("cargo starts");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let metadata: Value = serde_json::from_slice(&said.stdout).expect("cargo metadata is JSON");
    metadata["packages"].as_array().expect("a list of packages").clone()
}

fn room_of(package: &Value) -> String {
    let name = package["name"].as_str().unwrap_or_default();
    name.strip_prefix(PREFIX).unwrap_or(name).to_owned()
}

fn imports_as_built() -> Imports {
    let rooms = |package: &Value| {
        dependencies(package)
            .filter_map(|name| name.strip_prefix(PREFIX))
            .map(str::to_owned)
            .collect()
    };
    packages().iter().map(|package| (room_of(package), rooms(package))).collect()
}

fn differences(written: &Imports, built: &Imports) -> Vec<String> {
    let none = BTreeSet::new();
    let rooms: BTreeSet<&String> = written.keys().chain(built.keys()).collect();
    let mut found = Vec::new();
    for room in rooms {
        if !written.contains_key(room) || !built.contains_key(room) {
            found.push(format!("`{room}` stands in one of table and workspace only"));
        }
        let (says, is) = (written.get(room).unwrap_or(&none), built.get(room).unwrap_or(&none));
        for import in says.symmetric_difference(is) {
            let side = if says.contains(import) { "only the table" } else { "only Cargo.toml" };
            found.push(format!("{room} -> {import}: {side} says so"));
        }
    }
    found
}

#[test]
fn rooms_import_each_other_as_the_table_says() {
    let written = imports_as_written(&read(&Path::new(HOME).join("ARCHITECTURE.md")));
    let built = imports_as_built();
    assert_eq!(built.len(), 10, "nine rooms and the executable");
    assert_eq!(differences(&written, &built), Vec::<String>::new());
}

#[test]
fn control_a_wrong_table_differs() {
    let built = imports_as_built();
    let mut more = built.clone();
    more.entry("ledger".into()).or_default().insert("schemas".into());
    assert_eq!(differences(&more, &built), ["ledger -> schemas: only the table says so"]);
    let mut fewer = built.clone();
    fewer.entry("gate".into()).or_default().remove("ledger");
    assert_eq!(differences(&fewer, &built), ["gate -> ledger: only Cargo.toml says so"]);
    let mut without = built.clone();
    without.remove("schemas");
    assert!(!differences(&without, &built).is_empty());
}

// What a room never links, however far away.

/// Package to the names it depends on, from Cargo.lock: every kind, target and feature in use.
fn lock(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for block in text.split("[[package]]").skip(1) {
        let name = block.lines().find_map(|line| line.strip_prefix("name = \""));
        let name = name.expect("a package has a name").trim_end_matches('"');
        let listed = block.split_once("dependencies = [").map_or("", |(_, rest)| rest);
        let listed = listed.split(']').next().unwrap_or_default();
        let first = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
        let names = listed.split('"').skip(1).step_by(2).map(first);
        graph.entry(name.to_owned()).or_default().extend(names);
    }
    graph
}

/// Everything a package reaches whose name begins with one of `forbidden`.
fn reaches(
    graph: &BTreeMap<String, BTreeSet<String>>,
    package: &str,
    forbidden: &[&str],
) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![package.to_owned()];
    while let Some(next) = open.pop() {
        for name in graph.get(&next).into_iter().flatten() {
            if seen.insert(name.clone()) {
                open.push(name.clone());
            }
        }
    }
    seen.retain(|name| forbidden.iter().any(|start| name.starts_with(start)));
    seen
}

#[test]
fn ledger_and_gate_stay_small() {
    let graph = lock(&read(&Path::new(HOME).join("Cargo.lock")));
    let none = BTreeSet::new();
    let heavy = ["arrow", "datafusion", "tokio", "async-", "futures", "smol", "rdkafka", "ureq"];
    assert_eq!(reaches(&graph, "douane-ledger", &heavy), none);
    let no_columns = ["arrow-", "datafusion", "rdkafka", "ureq"];
    assert_eq!(reaches(&graph, "douane-kernels", &no_columns), none);
    // Futures come with arrow's own crates; a runtime does not.
    let runtimes = ["datafusion", "tokio", "async-std", "smol", "rdkafka", "ureq"];
    assert_eq!(reaches(&graph, "douane-gate", &runtimes), none);
    assert_eq!(reaches(&graph, "douane-schemas", &runtimes), none);
    // Only the expressions of DataFusion are planned with, never its execution.
    let engines = ["datafusion-physical-plan", "datafusion-execution", "datafusion-sql"];
    assert_eq!(reaches(&graph, "douane", &engines), none);
    // Nothing is registered by being linked.
    for package in packages() {
        let hidden = ["inventory", "linkme", "ctor", "typetag"];
        let found: Vec<&str> = dependencies(&package).filter(|n| hidden.contains(n)).collect();
        assert_eq!(found, Vec::<&str>::new(), "{}", room_of(&package));
    }
}

#[test]
fn control_a_heavy_room_is_seen_at_any_distance() {
    let graph = lock(&read(&Path::new(HOME).join("Cargo.lock")));
    assert!(reaches(&graph, "douane-schemas", &["arrow"]).contains("arrow-buffer"));
    assert!(reaches(&graph, "douane-pipelines", &["datafusion"]).contains("datafusion-expr"));
    assert!(reaches(&graph, "douane-connectors", &["rdkafka"]).contains("rdkafka-sys"));
    let planted = "[[package]]\nname = \"a\"\ndependencies = [\n \"b 1.0.0\",\n]\n\n\
        [[package]]\nname = \"b\"\ndependencies = [\n \"tokio\",\n]\n";
    assert_eq!(reaches(&lock(planted), "a", &["tokio"]).len(), 1);
}

// What is written nowhere, or in one place only.

/// One file of the rooms or of the executable, without comments and texts.
struct Source {
    /// From the repository's folder, with `/`.
    path: String,
    code: String,
    /// The code without its trailing test module; empty for files of tests.
    shipped: String,
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let rooms = [
        "broker",
        "schemas",
        "kernels",
        "transforms",
        "ledger",
        "gate",
        "connectors",
        "pipelines",
        "serve",
    ];
    for room in rooms {
        walk(&Path::new(HOME).join(room).join("src"), &mut sources);
    }
    walk(&Path::new(HOME).join("src"), &mut sources);
    assert!(sources.len() > 60, "found {} files only", sources.len());
    sources
}

fn walk(folder: &Path, sources: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let short = path.strip_prefix(HOME).unwrap_or(&path).to_string_lossy().into_owned();
            sources.push(source(short, &read(&path)));
        }
    }
}

fn source(path: String, text: &str) -> Source {
    let code = code_only(text);
    let name = path.rsplit('/').next().unwrap_or_default();
    let test_file = path.contains("/tests/")
        || ["tests.rs", "conformance.rs", "on_kafka.rs", "house.rs"].contains(&name)
        || name.ends_with("_tests.rs");
    let shipped = match test_file {
        true => String::new(),
        // A test module is the last thing in its file; a declaration of one ends with `;`.
        false => code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned(),
    };
    Source { path, code, shipped }
}

/// Rust without comments and without what stands in texts.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if let Some(end) = raw_text(rest) {
            out.push_str("\"\"");
            at += end;
        } else if bytes[at] == b'"' {
            out.push_str("\"\"");
            at += quoted(rest.as_bytes());
        } else if let Some(end) = character(rest) {
            out.push_str("''");
            at += end;
        } else {
            let next = rest.chars().next().unwrap_or(' ');
            out.push(next);
            at += next.len_utf8();
        }
    }
    out
}

/// Length of a raw text at the start, `r"…"` or `br#"…"#`.
fn raw_text(rest: &str) -> Option<usize> {
    let head = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = head.bytes().take_while(|b| *b == b'#').count();
    let body = head[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - body.len();
    Some(start + body.find(&end).map_or(body.len(), |at| at + end.len()))
}

/// Length of a text with escapes, from quote to quote.
fn quoted(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Length of a character in quotes at the start; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    if inner.starts_with('\\') {
        let end = inner[2..].find('\'')?;
        return Some(end + 4);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..].starts_with('\'').then_some(first.len_utf8() + 2)
}

/// Files outside `allowed` (a path, or the start of one) whose text holds one of `words`.
fn holders<'s>(
    sources: &'s [Source],
    text: impl Fn(&'s Source) -> &'s str,
    words: &[&str],
    allowed: &[&str],
) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        if allowed.iter().any(|start| source.path.starts_with(start)) {
            continue;
        }
        for word in words.iter().filter(|word| text(source).contains(**word)) {
            found.push(format!("{}: {word}", source.path));
        }
    }
    found
}

const FFI: &str = "connectors/src/kafka/ffi.rs";
const NONE: [&str; 0] = [];

#[test]
fn unsafe_code_and_the_foreign_interface_are_one_file() {
    let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "rd_kafka_"];
    assert_eq!(holders(&sources(), |s| &s.code, &words, &[FFI]), NONE);
}

#[test]
fn one_file_speaks_to_gpus() {
    let sources = sources();
    let gpu = "kernels/src/device/vulkan.rs";
    assert_eq!(holders(&sources, |s| &s.code, &["wgpu"], &[gpu]), NONE);
    // Control: there it is found.
    assert_eq!(holders(&sources, |s| &s.code, &["wgpu"], &[]), [format!("{gpu}: wgpu")]);
}

#[test]
fn nobody_sleeps_but_who_is_named() {
    let allowed = [
        // The deadline of a stop.
        "src/verb/run.rs",
        "connectors/src/",
        // It waits for its target as the sink does.
        "src/verb/demo/raw_copy.rs",
        // The runtime's timer for a client that takes nothing: no thread waits.
        "serve/src/listener.rs",
        // A token that another process logs in to is looked for again, 0.3 s at most.
        "pipelines/src/key_home/pkcs11.rs",
        // A verifier waits for who is writing the log that it reads.
        "ledger/src/verify/files.rs",
    ];
    let words = ["sleep(", "park_timeout("];
    assert_eq!(holders(&sources(), |s| &s.shipped, &words, &allowed), NONE);
}

#[test]
fn nothing_is_left_to_do_and_nothing_is_printed_by_a_room() {
    let sources = sources();
    let later = ["todo!(", "unimplemented!("];
    assert_eq!(holders(&sources, |s| &s.code, &later, &[]), NONE);
    let printed = ["println!(", "print!(", "dbg!("];
    assert_eq!(holders(&sources, |s| &s.shipped, &printed, &[]), NONE);
}

#[test]
fn pure_rooms_read_no_clock_no_disk_and_draw_no_randomness() {
    let pure: Vec<Source> = sources()
        .into_iter()
        .filter(|source| PURE.iter().any(|room| source.path.starts_with(&format!("{room}/"))))
        .collect();
    assert!(pure.len() > 30);
    let words = [
        "SystemTime",
        "Instant::now",
        "Timestamp::now",
        "Zoned::now",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "OpenOptions",
        "rand::",
        "SystemRandom",
    ];
    assert_eq!(holders(&pure, |s| &s.shipped, &words, &[]), NONE);
}

#[test]
fn keys_stay_away_from_the_edges_and_the_planner_from_the_rooms() {
    let sources = sources();
    let connectors: Vec<&Source> =
        sources.iter().filter(|s| s.path.starts_with("connectors/")).collect();
    assert!(connectors.len() > 8);
    for source in connectors {
        for word in ["schemas::keys", "RootKey", "Keyring", "KeyHome"] {
            assert!(!source.shipped.contains(word), "{}: {word}", source.path);
        }
    }
    // Where DataFusion is named: the planner, and what makes functions for it.
    let planner = ["pipelines/src/plan/", "transforms/src/function.rs", "transforms/src/stage.rs"];
    assert_eq!(holders(&sources, |s| &s.shipped, &["datafusion"], &planner), NONE);
    let physical = ["datafusion_physical"];
    assert_eq!(holders(&sources, |s| &s.shipped, &physical, &["pipelines/src/plan/"]), NONE);
    let words = ["async fn", "async move", ".await"];
    assert_eq!(holders(&sources, |s| &s.shipped, &words, &["serve/src/listener.rs"]), NONE);
}

#[test]
fn control_planted_words_are_found_in_code_only() {
    let planted = [
        ("a.rs", "fn f() { std::thread::sleep(d); }", 1),
        ("a.rs", "// sleep(\nfn f() {} /* sleep( */", 0),
        ("a.rs", "const A: &str = \"sleep(\"; const B: &str = r#\"\" sleep( \"#;", 0),
        ("a.rs", "const A: char = '\"'; fn f() { sleep(d) }", 1),
        ("a.rs", "const A: char = '\\''; fn f<'a>(x: &'a str) { sleep(d) }", 1),
        ("a.rs", "fn f() {}\n#[cfg(test)]\nmod tests { fn g() { sleep(d) } }", 0),
        ("a.rs", "#[cfg(test)]\nmod tests;\nfn f() { sleep(d) }", 1),
        ("room/src/tests/a.rs", "fn f() { sleep(d) }", 0),
        ("pipelines/src/shard.rs", "fn f() { sleep(d) }", 0),
    ];
    for (path, text, expected) in planted {
        let sources = [source(path.to_owned(), text)];
        let allowed = ["pipelines/src/shard.rs"];
        let found = holders(&sources, |s| &s.shipped, &["sleep("], &allowed);
        assert_eq!(found.len(), expected, "{text}");
    }
    // The words of the checks above stand where they are allowed to, so they are spelled right.
    let real = sources();
    for (word, path) in [
        ("unsafe {", FFI),
        ("rd_kafka_", FFI),
        ("sleep(", "serve/src/listener.rs"),
        ("std::fs", "pipelines/src/key_home.rs"),
        ("SystemTime", "pipelines/src/clock.rs"),
        ("rand::", "ledger/src/release.rs"),
        ("schemas::keys", "gate/src/seal.rs"),
        ("datafusion_physical", "pipelines/src/plan/mod.rs"),
    ] {
        let found = holders(&real, |s| &s.shipped, &[word], &[]);
        assert!(found.contains(&format!("{path}: {word}")), "{word} is not in {path}");
    }
}

// What is left out is counted.

/// How often it is said that a case is left out, so that nobody hears it: of a case that passes, the
/// runner shows nothing that `print!` and its kin write.
fn unheard(text: &str) -> usize {
    let said = |rest: &&str| {
        let rest = rest.strip_prefix("ln").unwrap_or(rest);
        let inner = rest.strip_prefix("!(").map(str::trim_start);
        inner.is_some_and(|inner| inner.starts_with("\"skipped"))
    };
    text.split("print").skip(1).filter(said).count()
}

#[test]
fn what_a_test_leaves_out_is_said_past_the_runners_capture() {
    let files = files(".rs");
    assert!(files.len() > 200, "found {} files only", files.len());
    // Benchmarks have no such runner.
    let tests = files.iter().filter(|file| !file.contains("benches/"));
    let found: Vec<_> =
        tests.filter(|file| unheard(&read(&Path::new(HOME).join(file))) > 0).collect();
    assert_eq!(found, Vec::<&String>::new(), "write it to standard error, as tests/say.rs does");
    // The control.
    for (text, expected) in [
        ("fn f() { println!(\"skipped: a: {why}\") }", 1),
        ("fn f() { return eprintln!(\n    \"skipped: a: b\"\n) }", 1),
        ("fn f() { print!(\"skipped: a\"); eprint!(\"skipped: b\"); }", 2),
        ("fn f() { println!(\"4 skipped\"); say::skipped(\"a\", \"b\") }", 0),
    ] {
        assert_eq!(unheard(text), expected, "{text}");
    }
    let bench = read(&Path::new(HOME).join("kernels/benches/kernels.rs"));
    assert_eq!(unheard(&bench), 1, "one that is there is found");
}

/// Each verb of the command line, as it is typed, and whether it has `--format`.
fn verbs() -> Vec<(String, bool)> {
    fn walk(command: &clap::Command, typed: &str, found: &mut Vec<(String, bool)>) {
        if !command.is_subcommand_required_set() {
            let has = command.get_arguments().any(|argument| argument.get_id() == "format");
            found.push((typed.trim().to_owned(), has));
        }
        for below in command.get_subcommands() {
            walk(below, &format!("{typed} {}", below.get_name()), found);
        }
    }
    let mut found = Vec::new();
    <crate::Douane as clap::CommandFactory>::command()
        .get_subcommands()
        .for_each(|verb| walk(verb, verb.get_name(), &mut found));
    found
}

/// What `--help` says nothing of: arguments, and verbs, each below its verb.
fn unsaid(command: &clap::Command, typed: &str) -> Vec<String> {
    let empty = |text: Option<&clap::builder::StyledStr>| {
        text.is_none_or(|text| text.to_string().trim().is_empty())
    };
    let named = |argument: &clap::Arg| format!("{typed}: {}", argument.get_id());
    let quiet = command.get_arguments().filter(|argument| empty(argument.get_help()));
    let mut found: Vec<String> = quiet.map(named).collect();
    if empty(command.get_about()) {
        found.push(typed.to_owned());
    }
    for below in command.get_subcommands() {
        found.extend(unsaid(below, &format!("{typed} {}", below.get_name())));
    }
    found
}

#[test]
fn help_says_what_each_verb_and_each_argument_is() {
    let command = <crate::Douane as clap::CommandFactory>::command();
    assert_eq!(unsaid(&command, "douane"), NONE);
    // The control.
    let bare = clap::Command::new("x")
        .about("Does it.")
        .arg(clap::Arg::new("file"))
        .arg(clap::Arg::new("why").help("Why."))
        .subcommand(clap::Command::new("y").arg(clap::Arg::new("key").help(" ")));
    assert_eq!(unsaid(&bare, "x"), ["x: file", "x y: key", "x y"]);
}

/// Verbs that print what goes on, files for others, or nothing.
const NO_DOCUMENT: [&str; 7] =
    ["demo", "serve", "health", "schema", "completions", "man", "audit lineage"];

/// Examples that are those of several verbs, or of one way to call it.
const SHARED: [(&str, &str); 6] = [
    ("run", "dry-run"),
    ("keys approve", "keys-request"),
    ("release renew", "release-propose"),
    ("release one-shot", "release-propose"),
    ("release reject", "release-revoke"),
    ("keys init", "keys-init"),
];

/// Verbs whose document stands nowhere, and those that say none although they should.
fn undocumented(verbs: &[(String, bool)], document: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (verb, has) in verbs {
        let shared = SHARED.iter().find(|(other, _)| other == verb);
        let name = shared.map_or_else(|| verb.replace(' ', "-"), |(_, name)| (*name).to_owned());
        if *has && !document.contains(&format!("<!-- {name} -->")) {
            wrong.push(format!("{verb}: docs/json.md has no example"));
        }
        if *has == NO_DOCUMENT.contains(&verb.as_str()) {
            wrong.push(format!("{verb}: --format is {has}"));
        }
    }
    wrong
}

#[test]
fn every_document_that_a_verb_prints_has_an_example_that_a_case_holds() {
    let home = Path::new(HOME);
    let (verbs, document) = (verbs(), read(&home.join("docs/json.md")));
    assert!(verbs.len() > 45, "{verbs:?}");
    assert_eq!(undocumented(&verbs, &document), NONE);
    // The control.
    let less = document.replace("<!-- serve-tokens -->", "");
    assert_eq!(undocumented(&verbs, &less), ["serve tokens: docs/json.md has no example"]);
    let without = [("witness ask".to_owned(), false), ("man".to_owned(), true)];
    assert_eq!(undocumented(&without, &document).len(), 3);

    let all = files(".rs");
    let cases: String = all
        .iter()
        .filter(|file| file.starts_with("tests/cases/"))
        .map(|file| read(&home.join(file)))
        .collect();
    let examples = document.split("<!-- ").skip(1).filter_map(|rest| rest.split(" -->").next());
    let named = |name: &&str| cases.contains(&format!("\"{name}\""));
    let (held, alone): (Vec<&str>, Vec<&str>) = examples.partition(named);
    assert_eq!(alone, NONE, "no case holds these against the binary");
    assert!(held.len() > 50, "{held:?}");
}

// The documents.

/// All documents of the repository, from its folder.
fn documents() -> Vec<String> {
    files(".md")
}

/// All files of the repository whose names end so, from its folder.
fn files(end: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(HOME)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                open.push(path);
            } else if name.ends_with(end) {
                let short = path.strip_prefix(HOME).unwrap_or(&path).to_string_lossy();
                found.push(short.into_owned());
            }
        }
    }
    found.sort();
    found
}

/// A document without its blocks of code.
fn prose(document: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Places of a document that a link can name: its headings, as the repository and the site write them.
fn anchors(document: &str) -> BTreeSet<String> {
    let text = prose(document);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
    };
    headings.map(slug).collect()
}

/// Links of a document that lead nowhere: to a file that is not there, or to no heading of it.
fn dead_links(folder: &Path, document: &str) -> Vec<String> {
    let text = prose(document);
    // What stands in code within a line is no link.
    let text: Vec<&str> = text.split('`').step_by(2).collect();
    let text = text.concat();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let leads_nowhere = |link: &&str| {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = folder.join(path);
        if !path.is_empty() && !target.exists() {
            return true;
        }
        if anchor.is_empty() || !(path.is_empty() || path.ends_with(".md")) {
            return false;
        }
        let other = if path.is_empty() { document.to_owned() } else { read(&target) };
        !anchors(&other).contains(anchor)
    };
    let local = links.filter(|link| !link.contains("://"));
    local.filter(leads_nowhere).map(str::to_owned).collect()
}

#[test]
fn documents_link_to_places_that_are_there() {
    let home = Path::new(HOME);
    let documents = documents();
    assert!(documents.len() > 15, "found {documents:?} only");
    let pages = home.join("docs/site/SUMMARY.md");
    for document in &documents {
        let path = home.join(document);
        // The site's contents are written from the repository's folder.
        let folder = if path == pages { home } else { path.parent().unwrap_or(home) };
        assert_eq!(dead_links(folder, &read(&path)), Vec::<String>::new(), "{document}");
    }
    let planted = "# A `b` c\n[a](nowhere.md) [b](https://x.y/z) [c](#a-b-c) [d](#a-c) `[e](no.md)`\n\
        [f](README.md#what-is-guaranteed-and-what-is-not) [g](README.md#nothing)\n";
    assert_eq!(dead_links(home, planted), ["nowhere.md", "#a-c", "README.md#nothing"]);
    // Whoever reads the site finds every document of users in it.
    let contents = read(&pages);
    let missing = |document: &&String| {
        document.starts_with("docs/")
            && !document.starts_with("docs/site/")
            && !contents.contains(&format!("({document})"))
    };
    assert_eq!(documents.iter().filter(missing).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// Blocks of commands that a case walks as they stand there: the page, how many, the case.
const WALKED: [(&str, usize, &str); 7] = [
    ("README.md", 4, "five_minutes"),
    ("docs/audit.md", 8, "verifiers"),
    ("docs/checking.md", 2, "walked"),
    ("docs/from-kafka-connect.md", 6, "connect_rest"),
    ("docs/operations.md", 2, "backup"),
    ("docs/outside.md", 2, "walked"),
    ("docs/releases.md", 3, "walked"),
];

/// Blocks of commands that no case walks, and why.
const NOT_WALKED: [(&str, usize, &str); 6] = [
    (
        "README.md",
        1,
        "a clone from the network and a release build; the case `demo` runs what it ends with",
    ),
    ("CONTRIBUTING.md", 1, "what builds and tests this: tests/run is the larger part of it"),
    ("broker/README.md", 1, "it runs until it is ended; end-to-end tests run it"),
    (
        "docker/README.md",
        4,
        "images come from the network; tests/install has scripts for engine, compose and chart",
    ),
    ("docs/federated.md", 1, "cargo itself, and PyTorch; the case `federated` is what it runs"),
    (
        "docs/kafka.md",
        1,
        "a broker lets a transaction hang when it likes: tests/rig/kafka.sh ends such a one with the same two",
    ),
];

/// Pages whose blocks of commands are not all accounted for, and entries of the lists that are not so.
fn not_accounted(
    pages: &[(String, String)],
    walked: &[(&str, usize, &str)],
    not_walked: &[(&str, usize, &str)],
    case: impl Fn(&str) -> String,
) -> Vec<String> {
    let mut found = Vec::new();
    for (page, text) in pages {
        let there = text.lines().filter(|line| *line == "```console").count();
        let known = walked.iter().chain(not_walked).filter(|(of, ..)| of == page);
        let known: usize = known.map(|(_, blocks, _)| blocks).sum();
        if there != known {
            found.push(format!("{page}: {there} blocks of commands, {known} accounted for"));
        }
    }
    for (page, ..) in walked.iter().chain(not_walked) {
        if !pages.iter().any(|(of, _)| of == page) {
            found.push(format!("{page}: no page"));
        }
    }
    for (page, _, name) in walked {
        if !case(name).contains(&format!("\"{page}\"")) {
            found.push(format!("{page}: the case `{name}` does not name it"));
        }
    }
    found
}

#[test]
fn each_block_of_commands_is_walked_by_a_case_or_says_why_not() {
    let home = Path::new(HOME);
    let contents = read(&home.join("docs/site/SUMMARY.md"));
    let links = contents.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let pages: Vec<(String, String)> =
        links.map(|page| (page.to_owned(), read(&home.join(page)))).collect();
    assert!(pages.len() > 25, "{}", pages.len());
    let case = |name: &str| read(&home.join(format!("tests/cases/{name}.rs")));
    assert_eq!(not_accounted(&pages, &WALKED, &NOT_WALKED, case), Vec::<String>::new());
    // Controls: a block that nobody counted, a page that is not there, a case that walks another page.
    let more = |(page, text): (String, String)| match page.as_str() {
        "docs/keys.md" => (page, format!("{text}\n```console\n$ douane keys init\n```\n")),
        _ => (page, text),
    };
    let more: Vec<_> = pages.into_iter().map(more).collect();
    let mut walked = WALKED;
    walked[1].2 = "five_minutes";
    let not_walked = [&NOT_WALKED[..], &[("docs/none.md", 1, "it is not there")]].concat();
    assert_eq!(
        not_accounted(&more, &walked, &not_walked, case),
        [
            "docs/keys.md: 1 blocks of commands, 0 accounted for",
            "docs/none.md: no page",
            "docs/audit.md: the case `five_minutes` does not name it",
        ]
    );
}

/// The files of the README's own example, in a folder of their own, and what the linter finds.
fn findings_of(readme: &str) -> usize {
    let blocks = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let blocks: Vec<&str> = blocks.collect();
    let names = ["douane.yaml", "pipelines/domains.yaml", "pipelines/customers.yaml"];
    assert_eq!(blocks.len(), names.len(), "place, domains, pipeline");
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("pipelines/scorecards")).expect("a folder");
    let card = Path::new(HOME).join("pipelines/examples/scorecards/notes.json");
    fs::copy(card, folder.path().join("pipelines/scorecards/notes.json")).expect("a scorecard");
    for (name, block) in names.iter().zip(blocks) {
        fs::write(folder.path().join(name), block).expect("a file");
    }
    let path = |name: &str| folder.path().join(name);
    match douane_pipelines::config::load(&path(names[0]), &path(names[2])) {
        Ok(_) => 0,
        Err(findings) => findings.len(),
    }
}

#[test]
fn the_example_of_the_readme_has_no_finding() {
    let readme = read(&Path::new(HOME).join("README.md"));
    assert_eq!(findings_of(&readme), 0);
    let wrong = readme.replace("email:         identifier", "email:         identifer");
    assert_eq!(findings_of(&wrong), 1);
    let wrong = readme.replace("domain: customer_email }", "domain: customer_mail }");
    assert_eq!(findings_of(&wrong), 1);
}

/// The blocks of the README that are files of `pipelines/examples/` as well: `douane demo` runs those.
fn examples_of(readme: &str) -> Vec<(&'static str, String)> {
    let blocks = |fence: &str| {
        let all = readme.split(fence).skip(1).filter_map(|rest| rest.split("```").next());
        all.map(str::to_owned).collect::<Vec<String>>()
    };
    let domains = blocks("```yaml\n").into_iter().nth(1).unwrap_or_default();
    let pipeline = blocks("```yml\n").into_iter().next().unwrap_or_default();
    vec![("domains.yaml", domains), ("customers-json.yaml", pipeline)]
}

#[test]
fn the_examples_are_the_readmes_own_and_have_no_finding() {
    let home = Path::new(HOME);
    let readme = read(&home.join("README.md"));
    let examples = home.join("pipelines/examples");
    for (name, text) in examples_of(&readme) {
        assert_eq!(read(&examples.join(name)), text, "{name} and the README differ");
    }
    let wrong = examples_of(&readme.replace("mask:       { columns: [card_number]", "mask: {}"));
    assert_ne!(read(&examples.join("customers-json.yaml")), wrong[1].1);
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("douane.yaml");
    fs::write(
        &place,
        readme.split("```yaml\n").nth(1).and_then(|b| b.split("```").next()).unwrap(),
    )
    .expect("a file");
    let loaded = douane_pipelines::config::load(&place, &examples.join("customers-json.yaml"));
    assert!(loaded.is_ok(), "{}", loaded.expect_err("findings"));
    // The shipped pipelines of statistics, with their tests.
    for name in ["orders-weekly.yaml", "federated.yaml"] {
        let reports = douane_pipelines::cases::run(&place, &examples.join(name));
        let reports = reports.unwrap_or_else(|fault| panic!("{fault}"));
        assert!(reports.iter().all(douane_pipelines::cases::Report::passes), "{reports:?}");
    }
}
