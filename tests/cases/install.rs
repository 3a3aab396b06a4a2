//! Installing: the package holds what it says and starts, its unit is shut tight, image and chart are what docker/ says.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::place::binary;
use crate::say;

const HOME: &str = env!("CARGO_MANIFEST_DIR");
const UNITS: [&str; 2] = ["packaging/douane@.service", "packaging/douane-serve.service"];

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
fn the_units_are_shut_tight() {
    if let Some(tool) = missing(&["systemd-analyze"]) {
        return say::skipped("the unit", &format!("no {tool}"));
    }
    for unit in UNITS {
        let level = exposure(&Path::new(HOME).join(unit));
        say::figure("exposure of the unit", level, "of 10");
        assert!(level <= 2.0, "{unit}: {level}");
    }
    let unit = Path::new(HOME).join(UNITS[0]);
    // Control: without its last section it is another unit.
    let folder = tempfile::tempdir().expect("a folder");
    let open = folder.path().join("douane@.service");
    let written = std::fs::read_to_string(&unit).expect("a unit");
    let (plain, _) = written.split_once("NoNewPrivileges").expect("its last section");
    std::fs::write(&open, plain).expect("a file");
    assert!(exposure(&open) > 6.0);
}

/// A package of an executable, not compressed.
fn package(stripped: &Path, out: &Path) -> PathBuf {
    run(Command::new("packaging/package")
        .arg(stripped)
        .arg(out)
        .env("SOURCE_DATE_EPOCH", "1795305600")
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none"));
    let mut left = std::fs::read_dir(out).expect("a folder");
    left.next().expect("a package").expect("an entry").path()
}

/// Leaves what is in an executable beside it, of what is here already: nothing is fetched.
fn bill_of_materials(executable: &Path) {
    run(Command::new("packaging/sbom")
        .arg(executable)
        .env("SOURCE_DATE_EPOCH", "1795305600")
        .env("CARGO_NET_OFFLINE", "true"));
}

fn no_package_without_its_bill_of_materials(stripped: &Path, folder: &Path) {
    let refused = |executable: &Path| {
        let out = folder.join("none");
        let mut package = Command::new("packaging/package");
        let said = package.args([executable, &out]).current_dir(HOME).output().expect("it starts");
        assert!(!said.status.success() && !out.exists());
        String::from_utf8(said.stderr).expect("text")
    };
    assert!(refused(stripped).contains("douane.cdx.json: packaging/sbom makes it"));
    // That of another executable is none.
    let other = folder.join("other");
    std::fs::write(&other, "another").expect("a file");
    bill_of_materials(&other);
    for part in ["cdx.json", "notices"] {
        let of = |name: &str| folder.join(format!("{name}.{part}"));
        std::fs::copy(of("other"), of("douane")).expect("a copy");
    }
    assert!(refused(stripped).contains("is of another executable"));
}

/// It is this executable's; it names the C that is linked, under the names of advisories; and of all
/// that is linked the licence is there, whole.
fn its_bill_of_materials_is_whole(root: &Path) {
    let read = |name: &str| {
        let file = root.join("usr/share/doc/douane").join(name);
        std::fs::read_to_string(file).expect("a document")
    };
    let (bill, notices) = (read("sbom.cdx.json"), read("notices"));
    let bill: serde_json::Value = serde_json::from_str(&bill).expect("JSON");
    let digest = text(&run(Command::new("sha256sum").arg(root.join("usr/bin/douane"))));
    let (digest, _) = digest.split_once(' ').expect("a digest");
    assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], digest);
    assert!(notices.contains(digest));
    let components = bill["components"].as_array().expect("a list");
    let named = |one: &serde_json::Value| {
        let word = |key: &str| one[key].as_str().expect("a word").to_owned();
        (word("name"), word("version"))
    };
    let names: BTreeSet<String> = components.iter().map(|one| named(one).0).collect();
    for library in ["aws-lc", "librdkafka", "lz4", "mimalloc", "openssl", "zstd"] {
        assert!(names.contains(library), "{library}");
    }
    // The one that may be the machine's.
    let needed = text(&run(Command::new("ldd").arg(root.join("usr/bin/douane"))));
    assert_eq!(names.contains("zlib"), !needed.contains("libz.so"), "{needed}");
    let linked: Vec<_> = components
        .iter()
        .filter(|one| one["scope"] == "required" && one.get("purl").is_some())
        .map(named)
        .collect();
    assert!(linked.len() > 200, "{}", linked.len());
    // The lines of names, each between two lines; a name ends at a comma.
    let said: BTreeSet<&str> = notices.lines().flat_map(|line| line.split(", ")).collect();
    let without = |said: &BTreeSet<&str>| -> Vec<String> {
        let lines = linked.iter().map(|(name, version)| match name.as_str() {
            "rust-std" => format!("the standard library of Rust {version}"),
            name => format!("{name} {version}"),
        });
        lines.filter(|line| !said.contains(line.as_str())).collect()
    };
    assert_eq!(without(&said), Vec::<String>::new());
    let mut fewer = said.clone();
    fewer.retain(|line| !line.starts_with("zstd "));
    assert_eq!(without(&fewer).len(), 2, "the library and a crate of its name");
    // Words of texts that have to be passed on.
    for words in ["Magnus Edenhill", "Yann Collet", "Daan Leijen"] {
        assert!(notices.contains(words), "{words}");
    }
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
    if let Some(tool) = missing(&["dpkg-deb", "dpkg-shlibdeps", "strip", "jq", "cargo"]) {
        return say::skipped("the package", &format!("no {tool}"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let stripped = folder.path().join("douane");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(binary()));
    no_package_without_its_bill_of_materials(&stripped, folder.path());
    bill_of_materials(&stripped);
    let first = package(&stripped, &folder.path().join("first"));
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
        "usr/lib/systemd/system/douane-serve.service",
        "usr/share/bash-completion/completions/douane",
        "usr/share/zsh/vendor-completions/_douane",
        "usr/share/fish/vendor_completions.d/douane.fish",
        "usr/share/doc/douane/copyright",
        "usr/share/doc/douane/notices",
        "usr/share/doc/douane/sbom.cdx.json",
        "usr/share/doc/douane/docs/audit.md",
        "usr/share/doc/douane/examples/customers-json.yaml",
    ] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
    its_bill_of_materials_is_whole(&root);
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
    // The units start what is there, with a verb that there is.
    for (unit, verb) in UNITS.into_iter().zip(["run", "serve"]) {
        let unit = std::fs::read_to_string(Path::new(HOME).join(unit)).expect("a unit");
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/"));
        let words: Vec<&str> = start.expect("what it starts").split(' ').collect();
        assert_eq!(words[..4], ["usr/bin/douane", "-c", "/etc/douane/douane.yaml", verb]);
        run(Command::new(&douane).args([verb, "--help"]));
    }
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").arg("-n").arg(format!("packaging/deb/{script}")));
    }

    // The same executable gives the same package.
    let second = package(&stripped, &folder.path().join("second"));
    let read = |path: &Path| std::fs::read(path).expect("a package");
    assert!(read(&first) == read(&second), "two packages of one executable differ");
}

/// What stands in compose.yaml and is not so: files that it mounts, and the clusters that the places name.
fn faults_of(compose: &str, places: &[String]) -> Vec<String> {
    let demo = Path::new(HOME).join("docker");
    let mounted = compose.split("\"./").skip(1).filter_map(|rest| rest.split(':').next());
    let absent = mounted.filter(|file| !demo.join(file).exists()).map(str::to_owned);
    let ids = compose.split("CLUSTER_ID: ").skip(1).filter_map(|rest| rest.split(',').next());
    let unnamed = ids.filter(|id| !places.iter().any(|place| place.contains(id)));
    absent.chain(unnamed.map(str::to_owned)).collect()
}

#[test]
fn the_demo_in_containers_has_no_finding() {
    let read = |name: &str| std::fs::read_to_string(Path::new(HOME).join(name)).expect("a file");
    let (place, pipeline) = ("docker/demo/douane.yaml", "docker/demo/pipelines/customers.yaml");
    run(Command::new(binary()).args(["-c", place, "lint", pipeline]));
    let compose = read("docker/compose.yaml");
    assert_eq!(compose.matches("CLUSTER_ID: ").count(), 2);
    assert_eq!(faults_of(&compose, &[read(place)]), Vec::<String>::new());
    assert_eq!(faults_of(&compose, &[read("docker/demo/trainer.yaml")]).len(), 1);
    let moved = compose.replace("./demo/postgres.sql", "./demo/postgre.sql");
    assert_eq!(faults_of(&moved, &[read(place)]), ["demo/postgre.sql"]);
    // The trainer knows the cluster outside and nothing else.
    assert!(!read("docker/demo/trainer.yaml").contains("sovereign:"));
    for script in ["image", "images", "engine", "demo", "compose-up"] {
        run(Command::new("bash").args(["-n", &format!("tests/install/{script}.sh")]));
    }
    for script in ["docker/demo/init.sh", "tests/install/compose-up/kafka"] {
        run(Command::new("bash").args(["-n", script]));
    }
    where_it_can("compose", &mut Command::new("tests/install/compose.sh"));
}

/// Runs a script that exits with 3 where what it needs is missing, which is said aloud.
fn where_it_can(name: &str, command: &mut Command) {
    let said = command.current_dir(HOME).output().expect("a shell");
    let why = String::from_utf8_lossy(&said.stderr);
    match said.status.code() {
        Some(0) => say::note(text(&said).trim()),
        Some(3) => say::skipped(name, why.trim()),
        _ => panic!("{name}: {}{why}", text(&said)),
    }
}

#[test]
fn the_image_is_small_and_shut() {
    if std::env::var_os("DOUANE_IMAGE").is_none() {
        return say::skipped("the image", "on demand, DOUANE_IMAGE=1: minutes, and an engine");
    }
    where_it_can("the image", Command::new("tests/install/image.sh").arg(binary()));
}

/// Compose's own code takes minutes to build the first time, as a Debian with Java does to be made, and seven
/// servers with a demo of minutes take 3 GB: not for every run.
#[test]
fn the_demo_in_containers_comes_up() {
    if std::env::var_os("DOUANE_COMPOSE_UP").is_none() {
        let why = "on demand, DOUANE_COMPOSE_UP=1: minutes, 3 GB of memory, and an engine";
        return say::skipped("the demo in containers", why);
    }
    let mut up = Command::new("tests/install/compose-up.sh");
    where_it_can("the demo in containers", up.arg(binary()));
}

#[test]
fn the_chart_is_what_kubernetes_reads() {
    where_it_can("the chart", &mut Command::new("tests/install/chart.sh"));
}

#[test]
fn the_documents_make_a_site() {
    let folder = tempfile::tempdir().expect("a folder");
    where_it_can("the site", Command::new("docs/site/build").arg(folder.path()));
}

/// Metrics that a text names and `serve` does not write.
fn unknown_metrics(text: &str, written: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = ["douane_", "kafka_connect_", "process_"];
    let named = words.filter(|word| ours.iter().any(|start| word.starts_with(start)));
    named.filter(|word| !written.contains(&format!("\"{word}\""))).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_name_metrics_that_there_are() {
    let read = |name: &str| std::fs::read_to_string(Path::new(HOME).join(name)).expect("a file");
    let written = read("serve/src/api/metrics.rs");
    let dashboard = read("docker/grafana/douane.json");
    serde_json::from_str::<serde_json::Value>(&dashboard).expect("JSON");
    assert!(dashboard.matches("\"expr\"").count() > 10);
    for text in [&dashboard, &read("docker/prometheus/rules.yaml")] {
        assert_eq!(unknown_metrics(text, &written), BTreeSet::new());
    }
    let misspelt = dashboard.replace("douane_lag_records", "douane_lag_record");
    assert_eq!(unknown_metrics(&misspelt, &written).len(), 1);
}

/// Of a dashboard what Grafana would not show, or show wrong: panels of one id, or beside the grid; questions without words,
/// to another source than the one that is chosen, or with a variable that there is none of.
fn faults_of_dashboard(dashboard: &serde_json::Value) -> Vec<String> {
    let list = |of: &serde_json::Value| of.as_array().cloned().unwrap_or_default();
    let variables = list(&dashboard["templating"]["list"]);
    let chosen =
        |of: &serde_json::Value| of["type"] == "prometheus" && of["uid"] == "${datasource}";
    let mut known: BTreeSet<&str> = variables.iter().filter_map(|v| v["name"].as_str()).collect();
    known.insert("__rate_interval");
    let mut found = Vec::new();
    let mut sources = variables.iter().filter(|v| v["type"] == "datasource");
    if !sources.any(|v| v["name"] == "datasource" && v["query"] == "prometheus") {
        found.push("nobody chooses a source".to_owned());
    }
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| panel["gridPos"][key].as_u64().unwrap_or(u64::MAX / 2);
        let (x, y, w, h) = (number("x"), number("y"), number("w"), number("h"));
        let is_free = w < 25
            && h < 100
            && (x..x + w).all(|x| (y..y + h).all(|y| x < 24 && places.insert((x, y))));
        let is_one = panel["id"].as_u64().is_some_and(|id| ids.insert(id));
        let targets = list(&panel["targets"]);
        let asks: BTreeSet<_> = targets.iter().filter_map(|one| one["refId"].as_str()).collect();
        let words: Vec<&str> = targets.iter().filter_map(|one| one["expr"].as_str()).collect();
        let unknown = words.iter().flat_map(|words| words.split('$').skip(1)).any(|rest| {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            !known.contains(&rest[..end.unwrap_or(rest.len())])
        });
        for (holds, what) in [
            (is_one, "its id"),
            (is_free, "its place"),
            (chosen(&panel["datasource"]), "its source"),
            (targets.iter().all(|one| chosen(&one["datasource"])), "a question's source"),
            (!targets.is_empty() && words.len() == targets.len(), "a question"),
            (asks.len() == targets.len(), "a question's id"),
            (!unknown, "a variable"),
        ] {
            if !holds {
                found.push(format!("{title}: {what}"));
            }
        }
    }
    found
}

#[test]
fn the_dashboard_is_one_that_its_source_answers() {
    let read = |name: &str| std::fs::read_to_string(Path::new(HOME).join(name)).expect("a file");
    let text = read("docker/grafana/douane.json");
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let dashboard = parsed(&text);
    assert_eq!(faults_of_dashboard(&dashboard), Vec::<String>::new());
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 15));
    // What is chosen at first: the one source that is provisioned, and the folder that has the file.
    let source = read("docker/grafana/datasource.yaml");
    assert!(source.contains("type: prometheus") && source.contains("isDefault: true"), "{source}");
    let folder = read("docker/grafana/dashboards.yaml");
    let (_, folder) = folder.split_once("path: ").expect("a folder");
    let folder = folder.split([' ', '}']).next().expect("its name");
    let mounted = format!("./grafana/douane.json:{folder}/douane.json:ro");
    assert!(read("docker/compose.yaml").contains(&mounted), "{mounted}");
    // Controls: each once.
    let title = dashboard["panels"][1]["title"].as_str().expect("a title").to_owned();
    let broken = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut other = dashboard.clone();
        change(&mut other["panels"][1]);
        let found = faults_of_dashboard(&other);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].strip_prefix(&format!("{title}: ")).expect("the panel").to_owned()
    };
    let first = &dashboard["panels"][0];
    assert_eq!(broken(&|panel| panel["id"] = first["id"].clone()), "its id");
    assert_eq!(broken(&|panel| panel["gridPos"] = first["gridPos"].clone()), "its place");
    assert_eq!(broken(&|panel| panel["datasource"]["uid"] = "own".into()), "its source");
    let of = |panel: &mut serde_json::Value, key: &str, to: serde_json::Value| {
        panel["targets"][0][key] = to;
    };
    assert_eq!(broken(&|panel| of(panel, "datasource", "own".into())), "a question's source");
    assert_eq!(broken(&|panel| of(panel, "expr", 1.into())), "a question");
    assert_eq!(broken(&|panel| of(panel, "refId", 1.into())), "a question's id");
    assert_eq!(broken(&|panel| of(panel, "expr", "up{a=\"$b\"}".into())), "a variable");
    let none = text.replace("\"name\": \"datasource\"", "\"name\": \"sources\"");
    assert_eq!(faults_of_dashboard(&parsed(&none)), ["nobody chooses a source"]);
}
