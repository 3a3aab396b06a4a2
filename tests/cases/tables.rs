//! Several tables in one file: a pipeline each, with a release each. What happens to one happens to it alone.

use std::time::Duration;

use crate::cases::swap::{hears, with_passport};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::place::{Place, Running, Setup, customer_columns, last_lines};
use crate::rig;

const PARTITIONS: i32 = 2;
const TABLES: [&str; 2] = ["customers", "partners"];

/// The file of many tables in the place of the single pipeline's, and its catalogue.
fn write_tables(place: &Place, with_passport: bool) {
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
    sink: {{ topic: tables.training.{table} }}
    key: [id]
    types:{types}    stages:{}{}",
            deeper(&stages).trim_end_matches(' '),
            place.setup.overrides.replace("overrides:\n", "    overrides:\n    "),
        );
    }
    let pipeline = format!(
        "name: tables
purpose: model-training
domains: domains.yaml
catalog: catalogs/crm.yaml
source:
  kafka: {{ cluster: sovereign, topics: [\"tables.crm.public.*\"], format: debezium_json, start: earliest }}
tables:
{tables}sink:
  kafka: {{ cluster: global, format: json, timestamp: 1s }}
quarantine: {{ max_per_minute: 1000 }}
release: tables.release.json
"
    );
    let pipelines = place.dir.join("pipelines");
    std::fs::create_dir_all(pipelines.join("catalogs")).expect("a directory");
    std::fs::write(pipelines.join("catalogs/crm.yaml"), format!("tables:\n{catalogue}"))
        .expect("the catalogue");
    std::fs::write(place.dir.join(place.pipeline_file()), pipeline).expect("the tables");
}

fn source_topic(table: &str) -> String {
    format!("tables.crm.public.{table}")
}

fn crossed(place: &Place, table: &str) -> Vec<crate::cluster::Record> {
    place.setup.target.read(&format!("tables.training.{table}"), Isolation::Committed)
}

#[track_caller]
fn until_crossed(place: &Place, table: &str, running: &Running, records: usize) {
    let topic = format!("tables.training.{table}");
    let mut tail = place.setup.target.tail(&topic, Isolation::Committed);
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
    for table in [TABLES[0], TABLES[1], "secrets"] {
        source.create(&source_topic(table), PARTITIONS, &[]);
    }
    let place = Place::unreleased(setup);
    write_tables(&place, false);
    let file = place.pipeline_file();
    place.verb(&["lint", &file]).fine("lint");
    let doctor = place.doctor();
    assert!(doctor.out.contains("tables.crm.public.secrets"), "{}", doctor.out);
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
        load.send(&source, &source_topic(table));
        due[n].extend(load.expected);
    }
    let mut running = place.run();
    for (n, table) in TABLES.iter().enumerate() {
        until_crossed(&place, table, &running, due[n].len());
    }
    hears(&running, "not_read");
    let status = place.status();
    assert_eq!(status["not_read"][0], source_topic("secrets"), "{status}");
    assert_eq!(status["pipelines"].as_array().map(Vec::len), Some(2), "{status}");

    // One table's column: the other does not notice.
    let mut later = Customers::new(41, 1_000_000, true).skip(10_000);
    let new = with_passport(&mut later, 200);
    new.send(&source, &source_topic("customers"));
    hears(&running, "passport");
    let mut partners = |records: usize, due: &mut Vec<_>| {
        let load = Load::new(PARTITIONS).customers(
            &mut events[1],
            records,
            Format::Json,
            &Plants::default(),
        );
        load.send(&source, &source_topic("partners"));
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
