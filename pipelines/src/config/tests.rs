//! Tests as data: `testdata/lint/{pipeline,place,domains}_{good,bad}_<what>.yaml`, with what is
//! said about each bad one beside it.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::scorecard::fixture;

const DIR: &str = "testdata/lint";

fn env(name: &str) -> Option<String> {
    let known = [
        ("KAFKA_DE", "kafka-de:9092"),
        ("REGISTRY_DE", "registry-de"),
        ("SECRETS", "/run/secrets"),
        ("KAFKA_USER", "douane"),
        ("KAFKA_PASSWORD", "hunter2"),
    ];
    known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

fn files(kind: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(DIR)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.contains(kind) && name.ends_with(".yaml")
        })
        .collect();
    files.sort();
    files
}

/// Loads a case beside what is good of the rest; of a file of tables the first.
fn check(case: &Path) -> Result<(Place, Pipeline), Findings> {
    let (place, mut all) = check_all(case)?;
    Ok((place, all.swap_remove(0)))
}

/// The place and the pipeline that the cases are about, its scorecard beside it.
pub(crate) fn good_base() -> (Place, Pipeline) {
    check(Path::new("testdata/lint/pipeline_good_base.yaml")).unwrap()
}

fn check_all(case: &Path) -> Result<(Place, Vec<Pipeline>), Findings> {
    let dir = Path::new(DIR);
    // Measured by the detectors as they are, so that no case is about older ones.
    static CARDS: std::sync::Once = std::sync::Once::new();
    CARDS.call_once(|| {
        fixture::put(dir, &["email", "phone"]);
        fixture::put_as(dir, "face.json", &["email", "phone", "card", "iban"]);
    });
    let (place, pipeline) = (dir.join("douane.yaml"), dir.join("pipeline_good_base.yaml"));
    let name = case.file_name().unwrap().to_str().unwrap();
    match name.split_once('_').unwrap().0 {
        "pipeline" | "tables" => load_with(&place, case, &env),
        "place" => load_with(case, &pipeline, &env),
        kind @ ("domains" | "catalog") => {
            let beside = tempfile::tempdir().unwrap();
            let (base, named) = match kind {
                "domains" => (pipeline, "domains.yaml"),
                _ => (dir.join("tables_good_base.yaml"), "catalogs/crm.yaml"),
            };
            fs::create_dir(beside.path().join("catalogs")).unwrap();
            fixture::put(beside.path(), &["email", "phone"]);
            fs::copy(dir.join("domains.yaml"), beside.path().join("domains.yaml")).unwrap();
            fs::copy(case, beside.path().join(named)).unwrap();
            let copy = beside.path().join("pipeline.yaml");
            fs::copy(&base, &copy).unwrap();
            load_with(&place, &copy, &env).map_err(|findings| {
                let prefix = format!("{}/", beside.path().display());
                let mut shown = Findings::default();
                for mut finding in findings {
                    finding.file = finding.file.replace(&prefix, "");
                    shown.push(finding);
                }
                shown
            })
        }
        other => panic!("{other}: no sort of file"),
    }
}

#[test]
fn every_refusal_says_what_is_written_beside_it() {
    let cases = files("_bad_");
    assert!(cases.len() >= 40, "{} refusals", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let found = match check(case) {
            Ok(_) => {
                wrong.push(format!("{}: was loaded", case.display()));
                continue;
            }
            Err(findings) => format!("{findings}\n"),
        };
        assert!(!found.contains("hunter2"), "{}: a secret was shown:\n{found}", case.display());
        let beside = case.with_extension("expected");
        match fs::read_to_string(&beside) {
            Ok(expected) if expected == found => {}
            Ok(expected) => {
                let case = case.display();
                wrong.push(format!("{case}: expected\n{expected}found\n{found}"));
            }
            Err(_) => {
                fs::write(&beside, &found).unwrap();
                wrong.push(format!("{}: was written, read it", beside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_finding_has_a_place_a_reason_and_a_next_step() {
    for case in files("_bad_") {
        for finding in check(&case).unwrap_err() {
            let shown = finding.to_string();
            assert!(shown.contains(": error: "), "{shown}");
            let steps = finding.help.iter().filter(|line| line.starts_with("next: ")).count();
            assert_eq!(steps, 1, "{shown}");
            assert!(finding.help.last().unwrap().starts_with("next: "), "{shown}");
            assert!(finding.mark.line > 0 && finding.mark.column > 0, "{shown}");
            assert!(!finding.message.ends_with('.'), "{shown}");
            // One row is 100 characters and what a path needs.
            assert!(finding.message.len() < 700, "{shown}");
        }
    }
}

/// What a plan is refused for is told with an unknown key, unless something else was found: then the plan is
/// not what was meant.
#[test]
fn an_unknown_key_hides_nothing_of_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(Path::new(DIR).join("pipeline_good_least.yaml")).unwrap();
    let open = good.replace("total: public", "total: identifier");
    let mistyped = open.replace("quarantine:", "quarantin:").replace("timestamp:", "timestmp:");
    let strange = mistyped.replace("release: ", "nothing_like_it: 1\nrelease: ");
    let unclassed = mistyped.replace("types:\n", "types:\n  totl: text\n");
    for (text, config, plan) in
        [(&good, 0, 0), (&open, 0, 1), (&mistyped, 2, 1), (&strange, 3, 1), (&unclassed, 3, 0)]
    {
        let file = dir.path().join("p.yaml");
        fs::write(&file, text).unwrap();
        let (findings, pipelines) = lint(&Path::new(DIR).join("douane.yaml"), &file);
        let planned: usize = pipelines.iter().map(|one| crate::plan::lint(one).len()).sum();
        assert_eq!((findings.len(), planned), (config, plan), "{text}{findings}");
    }
}

#[test]
fn expected_findings_stand_beside_a_case_each() {
    for entry in fs::read_dir(DIR).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "expected") {
            assert!(path.with_extension("yaml").exists(), "{}: no case", path.display());
        }
    }
}

#[test]
fn a_folder_is_no_file() {
    let place = Path::new(DIR).join("douane.yaml");
    let found = load_with(&place, Path::new(DIR), &env).unwrap_err().to_string();
    assert!(
        found.contains("is a directory, expected a file\n  next: name the files in it"),
        "{found}"
    );
}

/// A document's blocks behind one sort of fence.
fn blocks(document: &str, fence: &str) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap();
    let rest = text.split(fence).skip(1).filter_map(|rest| rest.split("```").next());
    rest.map(str::to_owned).collect()
}

/// The second example of the README, JSON to JSON, with the tests of `docs/checking.md` behind it, beside the place and domains of
/// the first; all of the README's own blocks are linted with the executable.
#[test]
fn the_json_example_of_the_readme_has_no_finding() {
    let first = blocks("../README.md", "```yaml\n");
    let fence = "```yml\n";
    let second = [blocks("../README.md", fence), blocks("../docs/checking.md", fence)].concat();
    assert_eq!(second.len(), 2, "the pipeline, and its tests");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let place = write("douane.yaml", &first[0]);
    write("domains.yaml", &first[1]);
    fixture::put(folder.path(), &["email", "phone", "card", "iban"]);
    let check = |text: &str| {
        let (_, mut all) = load_with(&place, &write("orders.yaml", text), &env)?;
        let findings = crate::plan::lint(&all[0]);
        if findings.is_empty() { Ok(all.swap_remove(0)) } else { Err(findings) }
    };
    let pipeline = check(&second.concat()).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(pipeline.source.key.as_deref(), Some(&["id".to_owned()][..]));
    assert_eq!(pipeline.sink.format, SinkFormat::Json);
    let untyped: String = second[0]
        .lines()
        .filter(|line| !line.contains("birth_date: date"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(check(&untyped).is_err(), "the types are needed");
}

/// With the domains that lie beside it, and no file of its own.
#[test]
fn a_text_is_read_as_the_file_that_it_is_to_be() {
    let dir = Path::new(DIR);
    good_base();
    let (place, written) = (dir.join("douane.yaml"), dir.join("pipeline_good_base.yaml"));
    let read = |path: &Path, text: Option<&str>| {
        let mut findings = Findings::default();
        let read = read_with(&place, (path, text), &env, &mut findings);
        finish(read.map(|(_, all)| all), findings)
    };
    let text = fs::read_to_string(&written).unwrap();
    let to_be = dir.join("to_be.yaml");
    let all = read(&to_be, Some(&text)).unwrap_or_else(|findings| panic!("{findings}"));
    let shown = format!("{all:?}").replace("to_be.yaml", "pipeline_good_base.yaml");
    assert_eq!(shown, format!("{:?}", read(&written, None).unwrap()));
    assert!(!to_be.exists());
    // Controls: without the text there is nothing, and what is wrong with it is told under its name.
    assert!(read(&to_be, None).is_err());
    let wrong = read(&to_be, Some(&text.replace("sink:", "sunk:"))).unwrap_err().to_string();
    assert!(wrong.contains("to_be.yaml:"), "{wrong}");
    assert!(is_pipeline_text(&text) && !is_pipeline_text("domains: {}\n"));
}

/// The gate shares no code with the detectors, and the page is read by people: their lists are kept by hand, and held here against
/// the one that stages are made of.
#[test]
fn lists_of_detectors_have_the_names_of_all() {
    use douane_gate::detectors as gate;
    use douane_transforms::detectors::Detector;
    let all: Vec<&str> = Detector::ALL.into_iter().map(Detector::name).collect();
    let sorted = |mut names: Vec<&'static str>| {
        names.sort_unstable();
        names
    };
    assert_eq!(sorted(gate::names().collect()), sorted(all.clone()));
    let page = fs::read_to_string("../docs/protections.md").unwrap();
    let table = page.split("| detector | finds | the gate looks again |\n").nth(1).unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let rows: Vec<(&str, bool)> =
        rows.map(|row| (row.split('`').nth(1).unwrap(), row.ends_with("| yes |"))).collect();
    let looked = |name: &&'static str| (*name, gate::Detector::named(name).is_some());
    assert_eq!(rows, all.iter().map(looked).collect::<Vec<_>>());
}

/// Every example of the page of protections, in a pipeline that has its columns: the good ones are taken, each of the others is
/// refused.
#[test]
fn the_examples_of_the_page_of_protections_are_read() {
    let page = fs::read_to_string("../docs/protections.md").unwrap();
    let lines = |fence: &str| -> Vec<String> {
        let rest = page.split(fence).skip(1).filter_map(|rest| rest.split("```").next());
        rest.flat_map(str::lines).map(str::to_owned).collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    for name in ["douane.yaml", "domains.yaml"] {
        fs::copy(Path::new(DIR).join(name), folder.path().join(name)).unwrap();
    }
    write(
        "domains.yaml",
        "domains: { customer: {}, phone: {}, notes_email: {}, notes_card: {} }\n",
    );
    write("staff.txt", "Quentin Xqzw\n");
    write("regions.csv", "place,region\nGraz,Styria\nLeoben,Styria\n");
    let load = |stage: &str, more: &str| {
        let columns = stage.split_once("columns: [").unwrap().1.split_once(']').unwrap().0;
        let classes: String =
            columns.split(", ").map(|name| format!("  {name}: quasi\n")).collect();
        let pipeline = format!(
            "name: page\npurpose: model-training\ndomains: domains.yaml\nsource:\n  kafka: {{ cluster: sovereign, topics: \
             [crm.public.page], format: debezium_avro, start: earliest }}\nclasses:\n{classes}stages:\n  {stage}\nsink:\n  kafka: \
             {{ cluster: global, topic: page, format: avro, timestamp: 1s }}\n{more}release: page.release.json\n"
        );
        write("page.yaml", &pipeline);
        load_with(&folder.path().join("douane.yaml"), &folder.path().join("page.yaml"), &env)
    };
    let (good, refused) = (lines("```yaml\n"), lines("```yaml refused\n"));
    assert!(good.len() >= 15 && refused.len() >= 6, "{} {}", good.len(), refused.len());
    for stage in &good {
        if let Err(findings) = load(stage, "") {
            // Policy and overrides are not asked here, only whether the stage can be read.
            panic!("{stage}\n{findings}");
        }
    }
    for stage in &refused {
        assert!(load(stage, "").is_err(), "{stage}");
    }
    let words = lines("```yaml dictionaries\n");
    let (stages, words): (Vec<_>, Vec<_>) = words.iter().partition(|line| line.contains("- "));
    let words: String = words
        .iter()
        .filter(|line| !line.contains("stages"))
        .fold(String::new(), |all, line| all + line + "\n");
    load(stages[0].trim_start(), &words).unwrap_or_else(|findings| panic!("{findings}"));
    let sets: String = lines("```yaml pipeline\n").iter().map(|line| format!("{line}\n")).collect();
    let all = "- mask: { columns: [birth_date, city, country] }";
    let (_, found) = load(all, &sets).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(found[0].quasi_sets, [["birth_date", "city", "country"]]);
    assert!(
        load("- mask: { columns: [birth_date, city] }", &sets).is_err(),
        "country has no class"
    );
}

/// The documents' example of many tables, beside the place and domains of the README.
#[test]
fn the_tables_of_the_documents_have_no_finding() {
    let first = blocks("../README.md", "```yaml\n");
    let tables = blocks("../docs/pipelines.md", "```yaml tables\n");
    let [catalogue, pipeline] = tables.as_slice() else { panic!("{} blocks", tables.len()) };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("catalogs")).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("douane.yaml", &first[0]);
    write("domains.yaml", &first[1]);
    write("catalogs/crm.yaml", catalogue);
    let load = |text: &str| {
        write("crm.yaml", text);
        load_with(&folder.path().join("douane.yaml"), &folder.path().join("crm.yaml"), &env)
    };
    let (_, all) = load(pipeline).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(all.len(), 2);
    for one in &all {
        assert!(crate::plan::lint(one).is_empty(), "{}", crate::plan::lint(one));
    }
    // 33 tables with the place's two tasks are too many.
    let many: String = (0..33)
        .map(|n| format!("  t{n}:\n    stages: [ {{ drop: {{ columns: [email] }} }} ]\n    sink: {{ topic: t{n} }}\n"))
        .collect();
    let classes: String =
        (0..33).map(|n| format!("  t{n}: {{ email: identifier, country: public }}\n")).collect();
    write("catalogs/crm.yaml", &format!("tables:\n{classes}"));
    let (top, rest) = pipeline.split_once("tables:\n").unwrap();
    let bottom = rest.split_once("\nsink:\n").unwrap().1;
    let found = load(&format!("{top}tables:\n{many}sink:\n{bottom}")).unwrap_err().to_string();
    assert!(found.contains("33 tables with 2 tasks each are 66"), "{found}");
}

#[test]
fn a_period_is_read_in_milliseconds() {
    let (_, pipeline) = check(Path::new("testdata/lint/pipeline_good_publish.yaml")).unwrap();
    assert_eq!(pipeline.publish_ms, Some(1_000));
    let (_, pipeline) = check(Path::new("testdata/lint/pipeline_good_base.yaml")).unwrap();
    assert_eq!(pipeline.publish_ms, None);
}

#[test]
fn the_good_ones_load() {
    let cases = files("_good_");
    assert!(cases.len() >= 5);
    for case in cases {
        if let Err(findings) = check(&case) {
            panic!("{findings}");
        }
    }
}

#[test]
fn what_becomes_of_changes_is_read_as_it_is_meant() {
    use douane_ledger::release::{
        Changes, Deletes, RecordEnvelope, Truncate, Unavailable, UnknownLeaf,
    };
    let good = |name: &str| check(&Path::new(DIR).join(name)).unwrap().1.changes;
    let expected = Changes {
        envelope: Some(RecordEnvelope {
            db: "crm".into(),
            table: "public.customers".into(),
            deletes: Deletes::Keep,
        }),
        unavailable: Unavailable::Nullify,
        placeholder: Some("n/a".into()),
        truncate: Truncate::Drop,
        unknown_leaf: UnknownLeaf::Strip,
    };
    assert_eq!(good("pipeline_good_envelope.yaml"), expected);
    assert!(good("pipeline_good_base.yaml").is_default());
}

#[test]
fn the_face_is_read_as_it_is_meant() {
    let (place, pipeline) = check(Path::new("testdata/lint/pipeline_good_face.yaml")).unwrap();
    assert_eq!((place.tasks, place.sovereign.zone.as_str()), (2, "eu-de"));
    assert_eq!(place.keys.dir, Path::new("testdata/lint/keys/"));
    assert_eq!(place.trust, Path::new("testdata/lint/trust.json"));
    let key_file = place.sovereign.tls.unwrap().key_file.unwrap();
    assert_eq!(key_file, Path::new("testdata/lint/tls/douane.key"));
    assert_eq!(pipeline.release, Path::new("testdata/lint/customers.release.json"));
    assert_eq!(pipeline.classes.len(), 13);
    let id = &pipeline.classes[0];
    assert_eq!((id.path.as_str(), id.class, id.subject), ("id", Class::Identifier, true));
    assert_eq!((id.residency.as_deref(), id.line), (Some("eu"), Mark::new(7, 3)));
    assert_eq!(pipeline.classes[12].path, "updated_at", "the order of the file");
    let verbs: Vec<_> = pipeline.stages.iter().map(|(stage, _)| stage.verb()).collect();
    let expected = "tokenize tokenize fpe mask redact generalize generalize generalize drop";
    assert_eq!(verbs.join(" "), expected);
    assert_eq!(pipeline.stages[2].1, Mark::new(24, 5));
    assert_eq!(pipeline.types["updated_at"].to_string(), "micro_timestamp");
    assert_eq!(pipeline.domains.domains.len(), 4);
    assert_eq!(pipeline.source.start, Start::Earliest);
    assert_eq!((pipeline.sink.timestamp_ms, pipeline.sink.format), (1_000, SinkFormat::Avro));
    assert_eq!(pipeline.sink.subject, "{topic}-value");
    assert_eq!(pipeline.overrides[0].min_recall, Some(0.6));
    assert_eq!(pipeline.quarantine_max_per_minute, None);
}

#[test]
fn the_least_has_the_defaults_that_lose_nothing() {
    let (_, pipeline) = check(Path::new("testdata/lint/pipeline_good_least.yaml")).unwrap();
    assert_eq!(pipeline.source.start, Start::Timestamp(1_769_817_600_000));
    assert_eq!(pipeline.source.key.as_deref(), Some(&["number".to_owned()][..]));
    assert_eq!(pipeline.sink.timestamp_ms, 86_400_000);
    assert_eq!(pipeline.sink.subject, "{topic}-value");
    assert_eq!(pipeline.types["total"].to_string(), "decimal(10,2)");
    assert_eq!(pipeline.quarantine_max_per_minute, Some(100));
}

#[test]
fn the_environment_and_files_make_the_place() {
    let (place, _) = check(Path::new("testdata/lint/place_good_environment.yaml")).unwrap();
    assert_eq!(place.sovereign.bootstrap, "kafka-de:9092");
    assert_eq!(place.sovereign.registry.as_deref(), Some("http://registry-de:8081"));
    let sasl = place.sovereign.sasl.unwrap();
    assert_eq!(
        (sasl.username.as_deref().unwrap(), sasl.password_file.as_deref().and_then(Path::to_str)),
        ("douane", Some("/run/secrets/kafka"))
    );
    assert_eq!(place.keys.dir, Path::new("/var/lib/douane/keys"));
    assert_eq!(place.global.topic_prefix, "prod.");
}

#[test]
fn a_gpu_may_be_asked_for_where_this_build_knows_any() {
    use douane_kernels::Choice;

    let dir = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(Path::new(DIR).join("douane.yaml")).unwrap();
    let pipeline = Path::new(DIR).join("pipeline_good_aggregate.yaml");
    let load = |line: &str| {
        let place = dir.path().join("douane.yaml");
        fs::write(&place, format!("{good}{line}\n")).unwrap();
        load_with(&place, &pipeline, &env).map(|(place, _)| place.device)
    };
    assert_eq!(load("").unwrap(), Choice::Auto);
    assert_eq!(load("device: auto").unwrap(), Choice::Auto);
    assert_eq!(load("device: cpu").unwrap(), Choice::Cpu);
    match load("device: gpu") {
        Ok(choice) => assert!(cfg!(feature = "gpu") && choice == Choice::Gpu),
        Err(findings) => {
            assert!(cfg!(not(feature = "gpu")));
            assert!(findings.to_string().contains("this build has no GPU in it"), "{findings}");
        }
    }
    let said = load("device: tpu").unwrap_err().to_string();
    assert!(said.contains("`auto`") && said.contains("`gpu`"), "{said}");
}

#[test]
fn faults_of_both_files_are_found_at_once_and_sorted() {
    let dir = Path::new(DIR);
    let place = dir.join("place_bad_tasks.yaml");
    let pipeline = dir.join("pipeline_bad_many_rules_at_once.yaml");
    let findings = load_with(&place, &pipeline, &env).unwrap_err();
    assert!(findings.len() >= 6, "{findings}");
    let lines: Vec<_> = findings.iter().skip(1).map(|f| f.mark).collect();
    assert!(lines.is_sorted(), "{findings}");
    let json = serde_json::to_value(&findings).unwrap();
    assert_eq!(json[0]["kind"], "out_of_range");
    assert_eq!(json[0]["severity"], "error");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&18.into(), &8.into()));
}

#[test]
fn files_that_cannot_be_read_bad_missing_bad_bytes_bad_size() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = dir.path().join("p.yaml");
    let place = Path::new(DIR).join("douane.yaml");
    let said = || load_with(&place, &pipeline, &env).unwrap_err();
    assert!(said().unreadable(), "{}", said());
    assert!(said().to_string().contains("p.yaml: error: cannot be read"), "{}", said());
    fs::write(&pipeline, b"name: a\npurpose: \xff\n").unwrap();
    assert!(said().to_string().contains(":2:1: error: not UTF-8"), "{}", said());
    fs::write(&pipeline, "é".repeat(yaml::FILE_BYTES_MAX)).unwrap();
    assert!(said().to_string().contains("more than 1048576 bytes"), "{}", said());
    assert!(!said().unreadable());
    fs::remove_file(&pipeline).unwrap();
    fs::create_dir(&pipeline).unwrap();
    assert!(said().unreadable(), "{}", said());
}

/// A pipeline file cut anywhere, or with any line gone, is refused or loaded: nothing panics, and
/// what is refused has a reason.
#[test]
fn a_spoiled_file_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(Path::new(DIR).join("domains.yaml"), dir.path().join("domains.yaml")).unwrap();
    let text = fs::read_to_string(Path::new(DIR).join("pipeline_good_face.yaml")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let cut = (0..text.len()).step_by(7).map(|at| text[..at].to_owned());
    let without = (0..lines.len()).map(|n| [&lines[..n], &lines[n + 1..]].concat().join("\n"));
    let swapped = (0..text.len()).step_by(11).map(|at| {
        let mut bytes = text.clone().into_bytes();
        let odd = b":{[-\"'\t#&*!|>%@`~?,]}\n";
        bytes[at] = odd[at % odd.len()];
        String::from_utf8(bytes).unwrap()
    });
    let (place, pipeline) = (Path::new(DIR).join("douane.yaml"), dir.path().join("p.yaml"));
    let mut refused = 0;
    for text in cut.chain(without).chain(swapped) {
        fs::write(&pipeline, &text).unwrap();
        if let Err(findings) = load_with(&place, &pipeline, &env) {
            refused += 1;
            assert!(!findings.is_empty());
        }
    }
    assert!(refused > 200, "{refused}");
}

#[test]
fn a_file_of_tables_is_a_pipeline_each() {
    let (_, all) = check_all(Path::new("testdata/lint/tables_good_base.yaml")).unwrap();
    let [customers, orders] = all.as_slice() else { panic!("{} tables", all.len()) };
    assert_eq!((customers.name.as_str(), orders.name.as_str()), ("crm.customers", "crm.orders"));
    assert_eq!(customers.source.topics, ["crm.public.customers"]);
    assert_eq!(orders.source.topics, ["crm.public.orders"]);
    assert_eq!(orders.table.as_ref().unwrap().patterns, ["crm.public.*"]);
    // Its own before what serves all.
    assert_eq!((customers.sink.timestamp_ms, orders.sink.timestamp_ms), (1_000, 60_000));
    assert_eq!((customers.sink.format, orders.sink.format), (SinkFormat::Avro, SinkFormat::Json));
    assert_eq!(customers.overrides.len(), 1);
    assert_eq!(orders.stages[0].1, Mark::new(23, 9));
    assert_eq!(orders.types["total"].to_string(), "decimal(10,2)");
    assert_eq!(orders.classes.len(), 3);
    assert_eq!(orders.classes_file, Path::new("testdata/lint/catalogs/crm.yaml"));
    assert_eq!(orders.classes[1].line, Mark::new(10, 5));
    assert_eq!(customers.release, orders.release);
    let beside = |one: &Pipeline| {
        one.beside.iter().map(|p| p.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (domains, catalogue) = ("testdata/lint/domains.yaml", "testdata/lint/catalogs/crm.yaml");
    let card = "testdata/lint/scorecards/notes.json";
    assert_eq!(beside(customers), [domains, card, catalogue]);
    assert_eq!(beside(orders), [domains, catalogue]);
    for pipeline in &all {
        assert!(crate::plan::lint(pipeline).is_empty(), "{}", crate::plan::lint(pipeline));
    }
}

#[test]
fn one_table_is_loaded_by_its_name() {
    let dir = Path::new("testdata/lint");
    let load = |file: &str, table| load_table(&dir.join("douane.yaml"), &dir.join(file), table);
    let name = |file, table| load(file, table).map(|(_, one)| one.name);
    let (tables, one) = ("tables_good_base.yaml", "pipeline_good_least.yaml");
    for table in ["customers", "orders"] {
        assert_eq!(name(tables, Some(table)).unwrap(), format!("crm.{table}"));
    }
    let said = |file, table| load(file, table).unwrap_err().to_string();
    let none = said(tables, None);
    assert!(
        none.contains("it has `customers` or `orders`\n  next: name one: `--table NAME`"),
        "{none}"
    );
    let near = said(tables, Some("order"));
    assert!(near.contains("no table `order`\n  next: `--table orders`"), "{near}");
    let far = said(tables, Some("nothing_like_it"));
    assert!(far.contains("it has `customers` or `orders`"), "{far}");
    // The control: of one pipeline nobody names a table.
    assert!(name(one, None).is_ok());
    assert!(said(one, Some("customers")).contains("leave `--table` out"));
}

/// Documented examples are executed, found through the registry.
#[test]
fn every_verbs_example_is_a_stage() {
    for declaration in douane_transforms::ALL {
        let mut findings = Findings::default();
        let root = yaml::parse(declaration.example_yaml, "example", &mut findings).unwrap();
        let schema = schema_of::<douane_transforms::Stage>();
        let rules =
            Rules { schema: &schema, later: &[], advice: &[], told: &[], show_values: true };
        schema::check(&root, "example", &rules, &mut findings);
        assert!(findings.is_empty(), "{findings}");
        let stage: douane_transforms::Stage = de::from_node(&root).ok().unwrap();
        assert_eq!(stage.verb(), declaration.verb);
    }
}

/// Every rule of `LATER` and `ADVICE` is one that some file can reach: the key is not known.
#[test]
fn nothing_that_is_known_is_called_unknown() {
    let known = |schema: &Json, name: &str| {
        let text = schema.to_string();
        text.contains(&format!("\"{name}\":"))
    };
    for (schema, lists) in [
        (json_schema(), [pipeline::LATER, pipeline::ADVICE]),
        (place_json_schema(), [place::LATER, place::ADVICE]),
    ] {
        for (path, _) in lists.into_iter().flatten().filter(|(path, _)| !path.contains('=')) {
            let name = path.rsplit('.').next().unwrap();
            let elsewhere = ["topics", "topic", "columns", "servers", "min_group"].contains(&name);
            assert!(elsewhere || !known(&schema, name), "{path}");
        }
    }
}

/// Generated files: this test writes them anew and fails once.
#[test]
fn the_json_schemas_are_what_the_structs_say() {
    let mut stale = Vec::new();
    for (name, schema) in [
        ("pipeline.schema.json", json_schema()),
        ("place.schema.json", place_json_schema()),
        ("catalog.schema.json", catalog_json_schema()),
    ] {
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if fs::read_to_string(name).unwrap_or_default() != text {
            fs::write(name, text).unwrap();
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "{stale:?} written anew: look at the difference and commit it");
}
