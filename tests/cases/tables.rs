//! Several tables in one file: a pipeline each, with a release each. What happens to one happens to it alone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::swap::{hears, with_passport};
use crate::cases::verbs::is_as_documented;
use crate::cluster::Isolation;
use crate::customers::{Customers, Format, Op};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::place::{Place, Running, Said, Setup, customer_columns, last_lines};
use crate::rig;

const PARTITIONS: i32 = 2;
const TABLES: [&str; 2] = ["customers", "partners"];

/// The file of many tables in the place of the single pipeline's, and its catalogue.
fn write_tables(place: &Place, with_passport: bool) {
    let name = &place.setup.name;
    let columns = customer_columns(true);
    let (classes, rest) = columns.split_once("types:").expect("types");
    let (types, stages) = rest.split_once("stages:").expect("stages");
    let deeper = |text: &str| text.replace("\n  ", "\n      ");
    let classes = classes.trim_start_matches("classes:");
    let (mut catalogue, mut tables) = (String::new(), String::new());
    for table in TABLES {
        let (mut classes, mut stages) = (classes.to_owned(), stages.to_owned());
        if with_passport && table == "customers" {
            classes = classes.replace("  city: public", "  passport: identifier\n  city: public");
            stages = stages.replace("[national_id,", "[national_id, passport,");
        }
        catalogue += &format!("  {table}:{}", classes.replace("\n  ", "\n    "));
        tables += &format!(
            "  {table}:
    sink: {{ topic: {name}.training.{table} }}
    key: [id]
    types:{types}    stages:{}{}",
            deeper(&stages).trim_end_matches(' '),
            place.setup.overrides.replace("overrides:\n", "    overrides:\n    "),
        );
    }
    let pipeline = format!(
        "name: {name}
purpose: model-training
domains: domains.yaml
catalog: catalogs/crm.yaml
source:
  kafka: {{ cluster: sovereign, topics: [\"{name}.crm.public.*\"], format: debezium_json, start: earliest }}
tables:
{tables}sink:
  kafka: {{ cluster: global, format: json, timestamp: 1s }}
quarantine: {{ max_per_minute: 1000 }}
release: {name}.release.json
"
    );
    let pipelines = place.dir.join("pipelines");
    std::fs::create_dir_all(pipelines.join("catalogs")).expect("a directory");
    std::fs::write(pipelines.join("catalogs/crm.yaml"), format!("tables:\n{catalogue}"))
        .expect("the catalogue");
    std::fs::write(place.dir.join(place.pipeline_file()), pipeline).expect("the tables");
}

fn source_topic(setup: &Setup, table: &str) -> String {
    format!("{}.crm.public.{table}", setup.name)
}

fn target_topic(place: &Place, table: &str) -> String {
    format!("{}.training.{table}", place.setup.name)
}

fn crossed(place: &Place, table: &str) -> Vec<crate::cluster::Record> {
    place.setup.target.read(&target_topic(place, table), Isolation::Committed)
}

#[track_caller]
fn until_crossed(place: &Place, table: &str, running: &Running, records: usize) {
    let mut tail = place.setup.target.tail(&target_topic(place, table), Isolation::Committed);
    assert!(
        tail.wait_for(records, Duration::from_secs(60)),
        "{table}: {} of {records}\n{}",
        tail.records.len(),
        last_lines(&running.said(), 20)
    );
}

/// What one table's pipeline printed.
fn said_by(running: &Running, table: &str) -> String {
    let of = format!("\"pipeline\":\"tables.{table}\"");
    running.said().lines().filter(|line| line.contains(&of)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_changed_table_holds_and_stops_alone() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("tables", source.cluster(), target.cluster());
    setup.target_partitions = 2;
    setup.tasks = 1;
    let source = setup.source.clone();
    // Its name may be data, and stands before that of `secrets`.
    let numbered = "of_4111111111111111";
    for table in [TABLES[0], TABLES[1], "secrets", numbered] {
        source.create(&source_topic(&setup, table), PARTITIONS, &[]);
    }
    let place = Place::unreleased(setup);
    write_tables(&place, false);
    let file = place.pipeline_file();
    place.verb(&["lint", &file]).fine("lint");
    let doctor = place.doctor();
    assert!(doctor.out.contains("tables.crm.public.secrets"), "{}", doctor.out);
    assert!(!doctor.out.contains(numbered), "{}", doctor.out);
    place.release();
    let bundle = place.dir.join("tables.release.json");
    let lines = || std::fs::read_to_string(&bundle).expect("releases").lines().count();
    assert_eq!(lines(), 2, "a release a table");
    place.verb(&["release", "show", &file]).fine("release show");

    let mut events = TABLES.map(|table| Customers::new(table.len() as u64, 1, true));
    let mut due = [Vec::new(), Vec::new()];
    for (n, table) in TABLES.iter().enumerate() {
        let load =
            Load::new(PARTITIONS).customers(&mut events[n], 400, Format::Json, &Plants::default());
        load.send(&source, &source_topic(&place.setup, table));
        due[n].extend(load.expected);
    }
    let mut running = place.run();
    for (n, table) in TABLES.iter().enumerate() {
        until_crossed(&place, table, &running, due[n].len());
    }
    hears(&running, "not_read");
    let status = place.status();
    let not_read = serde_json::json!(["<unknown#1>", source_topic(&place.setup, "secrets")]);
    assert_eq!(status["not_read"], not_read, "{status}");
    let shown = place.verb(&["status", &file]);
    assert!(shown.out.contains("not read: <unknown#1> (no entry"), "{}", shown.out);
    assert!(!shown.out.contains(numbered) && !running.said().contains(numbered));
    assert_eq!(status["pipelines"].as_array().map(Vec::len), Some(2), "{status}");

    // One table's column: the other does not notice.
    let mut later = Customers::new(41, 1_000_000, true).skip(10_000);
    let new = with_passport(&mut later, 200);
    new.send(&source, &source_topic(&place.setup, "customers"));
    hears(&running, "passport");
    let mut partners = |records: usize, due: &mut Vec<_>| {
        let load = Load::new(PARTITIONS).customers(
            &mut events[1],
            records,
            Format::Json,
            &Plants::default(),
        );
        load.send(&source, &source_topic(&place.setup, "partners"));
        due.extend(load.expected);
        due.len()
    };
    let all = partners(300, &mut due[1]);
    until_crossed(&place, "partners", &running, all);
    assert!(!said_by(&running, "partners").contains("\"held\""), "{}", running.said());
    write_tables(&place, true);
    let proposed = place.verb(&["release", "propose", &file, "--author", "cleo"]).fine("propose");
    assert!(proposed.out.contains("tables.partners: unchanged"), "{}", proposed.out);
    for approver in ["approvers/ada", "approvers/bo"] {
        let sign = |table: &str| {
            place.verb(&["release", "sign", &file, "--table", table, "--key", approver])
        };
        assert_eq!((sign("partners").code, sign("nobodys").code), (1, 1), "not what was named");
        let said = sign("customers").fine("release sign").out;
        let (shown, signed) = (said.find("fingerprint: "), said.find("signed by"));
        assert!(shown.is_some() && shown < signed, "{said}");
    }
    assert!(lines() == 2 && !place.dir.join("tables.release.draft.json").exists());
    due[0].extend(new.expected);
    until_crossed(&place, "customers", &running, due[0].len());
    assert!(said_by(&running, "customers").contains("swapped"));
    assert!(!said_by(&running, "partners").contains("swapped"), "its release is what it was");

    // One table's release: the other goes on, and the answer is no in the end.
    let revoke = ["release", "revoke", &file, "--table", "customers", "--key", "approvers/ada"];
    let reason = ["--reason", "a test"];
    place.verb(&[&revoke[..], &reason[..]].concat()).fine("release revoke");
    hears(&running, "\"code\":\"revoked\"");
    let all = partners(300, &mut due[1]);
    until_crossed(&place, "partners", &running, all);
    assert_eq!(running.ended(), None, "{}", last_lines(&running.said(), 20));
    // One that was revoked before leaves no other one going on.
    let all = ["release", "revoke", &file, "--key", "approvers/ada", "--reason", "a test"];
    let said = place.verb(&all).fine("release revoke");
    assert!(said.out.contains("already") && said.out.contains("partners revoked"), "{}", said.out);
    assert_eq!(running.wait(Duration::from_secs(15)), Some(1), "{}", running.said());
    for (n, table) in TABLES.iter().enumerate() {
        let verdict = judge(&due[n], &crossed(&place, table), serial_in_json);
        assert!(verdict.clean() && verdict.second_nulls == 0, "{table}: {verdict:?}");
    }
    place.verify().fine("verify");
}

/// The second of two tables changed after it was drafted: what was done of the first is told, and done.
#[test]
fn where_one_table_fails_the_answer_says_what_was_done() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("inpart", source.cluster(), target.cluster());
    setup.target_partitions = 1;
    setup.tasks = 1;
    for table in TABLES {
        setup.source.create(&source_topic(&setup, table), PARTITIONS, &[]);
    }
    let place = Place::unreleased(setup);
    write_tables(&place, false);
    place.doctor();
    let file = place.pipeline_file();
    let catalogue = place.dir.join("pipelines/catalogs/crm.yaml");
    let as_drafted = std::fs::read_to_string(&catalogue).expect("the catalogue");
    let (customers, partners) = as_drafted.split_once("  partners:").expect("two tables");
    let other = partners.replacen("city: public", "city: quasi", 1);
    assert_ne!(other, partners);
    let changed = format!("{customers}  partners:{other}");
    let write = |text: &str| std::fs::write(&catalogue, text).expect("the catalogue");
    let in_part = |said: &Said| {
        let told = is_as_documented("fault-in-part", said, &[]);
        assert!(said.code == 1 && said.err.contains("not done: inpart.partners"), "{said:?}");
        assert_eq!(told["not_done"], json!(["inpart.partners"]));
        told["done"].clone()
    };
    let propose = ["release", "propose", &file, "--author", "cleo"];
    place.verb(&propose).fine("release propose");
    let json = |args: &[&str]| place.verb(&[args, &["--format", "json"]].concat());
    let sign = |key: &str| json(&["release", "sign", &file, "--key", key]);
    write(&changed);
    let done = in_part(&sign("approvers/ada"));
    assert_eq!(done[0]["pipeline"], "inpart.customers");
    write(&as_drafted);
    // Signed once already: with the second one's it is live.
    let said = of_json(&sign("approvers/bo").fine("release sign"));
    assert_eq!((&said[0]["live"], &said[1]["live"]), (&json!(true), &json!(false)), "{said}");
    sign("approvers/ada").fine("release sign");
    write(&changed);
    let renewed = json(&["release", "renew", &file, "--author", "cleo"]);
    let told = of_json(&renewed);
    assert_eq!(told["not_done"], json!(["inpart.partners"]), "{renewed:?}");
    assert_eq!(told["done"][0]["release"]["pipeline"], "inpart.customers", "{renewed:?}");
    let shown = json(&["release", "show", &file]);
    assert_eq!(of_json(&shown)[0]["draft"], "draft", "{}", shown.out);
    // One table alone, and a file of one, fail as they did.
    let alone = ["release", "sign", &file, "--table", "customers", "--key", "approvers/eve"];
    let told = of_json(&json(&alone));
    assert!(told["error"].is_object() && told.get("not_done").is_none(), "{told}");
}

/// Two rows that cross, and between them one whose telephone number `fpe` refuses.
fn with_a_bad_one(customers: &mut Customers) -> Load {
    let rows: Vec<_> = customers.filter(|event| event.op == Op::Create).take(3).collect();
    let mut load = Load::new(PARTITIONS);
    for (n, event) in rows.iter().enumerate() {
        let mut value = event.value(Format::Json, true).expect("a value");
        if n == 1 {
            let text = String::from_utf8(value).expect("text");
            let bad = text.replacen("\"phone\":\"+49", "\"phone\":\"+49abc", 1);
            assert_ne!(bad, text);
            value = bad.into_bytes();
        }
        load.raw(0, Some(&event.key(Format::Json)), Some(&value), &[]);
    }
    load
}

fn of_json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|fault| panic!("{fault}: {said:?}"))
}

#[test]
fn one_table_is_asked_about_alone() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("asked", source.cluster(), target.cluster());
    setup.target_partitions = 1;
    setup.tasks = 1;
    let source = setup.source.clone();
    for table in TABLES {
        source.create(&source_topic(&setup, table), PARTITIONS, &[]);
    }
    let place = Place::unreleased(setup);
    write_tables(&place, false);
    place.doctor();
    place.release();
    let file = place.pipeline_file();
    let mut events = TABLES.map(|table| Customers::new(table.len() as u64, 1, true));
    for (n, table) in TABLES.iter().enumerate() {
        with_a_bad_one(&mut events[n]).send(&source, &source_topic(&place.setup, table));
    }
    let mut running = place.run();
    TABLES.iter().for_each(|table| until_crossed(&place, table, &running, 2));

    let ask = |args: &[&str], more: &[&str]| place.verb(&[args, more].concat());
    let list = ["quarantine", "list", &file, "--format", "json"];
    let of = |table: &str| of_json(&ask(&list, &["--table", table]));
    let each = ask(&list, &[]);
    let all = of_json(&each);
    let sums: Vec<(&str, u64)> = all
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            (
                one["pipeline"].as_str().unwrap_or_default(),
                one["waits"].as_u64().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(each.code, 1);
    assert_eq!(sums, [("asked.customers", 1), ("asked.partners", 1)], "{all}");
    assert_eq!(of("customers")["records"][0]["topic"], source_topic(&place.setup, "customers"));
    // What takes one says which there are, and which was meant.
    let redrive = ["quarantine", "redrive", &file, "--format", "json"];
    let reasons = ["--by", "cleo", "--reason", "audit 7"];
    let replay = [&["replay", &file, "--format", "json"][..], &reasons[..]].concat();
    for verb in [&redrive[..], &replay[..], &["diff", &file, &file]] {
        let none = ask(verb, &[]);
        let said = format!("{}{}", none.out, none.err);
        assert!(none.code != 0 && said.contains("`customers` or `partners`"), "{said}");
        assert!(said.contains("--table NAME"), "{said}");
        let near = ask(verb, &["--table", "partner"]);
        let said = format!("{}{}", near.out, near.err);
        assert!(near.code != 0 && said.contains("--table partners"), "{said}");
    }

    // By the process that runs it, and of that table alone.
    let tried = ask(&redrive, &["--table", "customers"]);
    assert_eq!((tried.code, &of_json(&tried)[0]["outcome"]), (1, &json!("outside_alphabet")));
    let state = |table: &str| of(table)["records"][0]["state"].clone();
    assert_eq!((state("customers"), state("partners")), (json!("tried"), json!("waiting")));
    running.stop();
    // By nobody's but its own: what its neighbour has to read stays where it is.
    with_a_bad_one(&mut events[0]).send(&source, &source_topic(&place.setup, "customers"));
    let tried = ask(&redrive, &["--table", "partners"]);
    assert_eq!((tried.code, &of_json(&tried)[0]["outcome"]), (1, &json!("outside_alphabet")));
    assert_eq!(state("partners"), json!("tried"));
    assert_eq!(crossed(&place, "customers").len(), 2, "nobody asked for it");

    for table in TABLES {
        let made = of_json(&ask(&replay, &["--table", table]).fine("replay"));
        assert_eq!(made["pipeline"], format!("asked.{table}"));
        assert!(made["equal"].as_u64() > Some(0) && made["records"] == 2, "{made}");
        let bundle = "asked.release.json";
        for old in [file.as_str(), bundle] {
            let args = ["diff", old, &file, "--table", table, "--format", "json"];
            let diff = of_json(&place.verb(&args).fine("diff"));
            assert_eq!((&diff["columns"], &diff["release_holds"]), (&json!([]), &json!(true)));
        }
        let column = ["audit", "column", &file, "--table", table, "--column", "phone"];
        place.verb(&column).fine("audit column");
        let row: Value =
            serde_json::from_slice(crossed(&place, table)[0].value.as_deref().expect("a row"))
                .expect("JSON");
        let phone = row["phone"].as_str().expect("a number");
        let back = ["keys", "detokenize", &file, "--table", table, "--column", "phone"];
        let said = place.verb(&[&back[..], &reasons[..], &[phone]].concat()).fine("detokenize");
        assert!(said.out.trim().starts_with("+49") && said.out.trim() != phone);
    }
    let range = format!("{}[0]@0-1", source_topic(&place.setup, "partners"));
    let once = ["release", "one-shot", &file, "--author", "cleo", "--records", &range];
    assert_ne!(place.verb(&once).code, 0, "of which table");
    let drafted = ask(&once, &["--table", "partners"]).fine("release one-shot");
    assert!(drafted.out.contains("of asked.partners"), "{}", drafted.out);
    place.verify().fine("verify");
}
