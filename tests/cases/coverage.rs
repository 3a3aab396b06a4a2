//! A global topic held against its manifests by somebody who has public keys and the global cluster alone: all is well, and
//! then each fraud that whoever owns that cluster can plant is found, with its place and without a value.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cases::kill::finish;
use crate::cases::verbs::is_as_documented;
use crate::cluster::{Isolation, Record};
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::place::{Place, Said, Setup};
use crate::rig;
use crate::say;

/// Everything visible is covered by exactly one manifest, and nothing is missing.
#[track_caller]
pub fn holds(place: &Place) {
    let topic = place.data_topic();
    let said = place.verb(&["verify", "--topic", &topic, "--format", "json"]);
    assert_eq!(said.code, 0, "verify --topic: {}{}", said.out, said.err);
    let answer: Value = serde_json::from_str(&said.out).expect("JSON");
    let records = place.setup.target.read(&topic, Isolation::Committed).len();
    assert_eq!(answer["records"].as_u64(), Some(records as u64), "{answer}");
}

/// A pipeline that ran over so many events, with so many tasks, and stopped.
pub fn ran(name: &str, setup: impl FnOnce(&mut Setup), events: usize) -> (Place, Load) {
    let (source, target) = rig::clusters();
    let mut made = Setup::customers(name, source.cluster(), target.cluster());
    setup(&mut made);
    let topic = made.topics[0].clone();
    made.source.create(&topic, 4, &[]);
    let place = Place::new(made);
    let mut customers = Customers::new(91, 1, true);
    let mut whole = Load::new(4);
    let mut running = place.run();
    // In four waves, so that each shard has four transactions at least, whatever the machine's speed.
    for _ in 0..4 {
        let wave =
            Load::new(4).customers(&mut customers, events / 4, Format::Json, &Plants::default());
        wave.send(&place.setup.source, &topic);
        whole.expected.extend(wave.expected);
        whole.secrets.extend(wave.secrets);
        finish(&place, &whole, &mut running);
    }
    running.stop();
    (place, whole)
}

/// Checkpoints leave once a second.
pub fn bundled(setup: &mut Setup) {
    setup.ledger = match setup.ledger.contains("topic") {
        true => "dir: ledger/, home: topic, bundles: every 1s",
        false => "dir: ledger/, bundles: every 1s",
    };
}

/// A folder with what somebody outside has: where the global cluster is, public keys, the trust root, the release.
pub fn outside(place: &Place) -> PathBuf {
    let dir = place.dir.join("outside");
    std::fs::create_dir_all(dir.join("keys")).expect("a folder");
    let target = &place.setup.target;
    let file = format!(
        "clusters:\n  global: {{ zone: global, id: \"{}\", bootstrap: \"{}\" }}\nkeys: {{ dir: keys/ }}\ntrust: trust.json\n",
        target.id(),
        target.bootstrap
    );
    std::fs::write(dir.join("douane.yaml"), file).expect("a file");
    let release = format!("{}.release.json", place.setup.name);
    for (from, to) in [
        ("keys/manifest.key.pub", "keys/manifest.key.pub"),
        ("keys/checkpoint.key.pub", "keys/checkpoint.key.pub"),
        ("trust.json", "trust.json"),
        (&format!("pipelines/{release}"), "release.json"),
        (&release, "release.json"),
    ] {
        if place.dir.join(from).exists() {
            std::fs::copy(place.dir.join(from), dir.join(to)).expect("a copy");
        }
    }
    dir
}

pub fn verb_in(place: &Place, dir: &Path, args: &[&str]) -> Said {
    let file = dir.join("douane.yaml");
    let file = file.to_str().expect("a path");
    place.verb(&[&["-c", file], args].concat())
}

fn verified(place: &Place, dir: &Path, more: &[&str]) -> Said {
    let topic = place.data_topic();
    let args = ["verify", "--topic", &topic, "--format", "json"];
    verb_in(place, dir, &[&args[..], more].concat())
}

fn codes(said: &Said) -> BTreeSet<String> {
    let answer: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    let findings = answer["findings"].as_array().expect("a list").iter();
    findings.map(|f| f["code"].as_str().expect("a code").to_owned()).collect()
}

fn manifest_of(record: &Record) -> String {
    String::from_utf8_lossy(record.header("douane-manifest").expect("a header")).into_owned()
}

/// The second implementation's answer, where `DOUANE_PYTHON` names an interpreter with `cryptography` and `pyarrow`: codes of
/// what it finds, and the rows that it gives.
pub fn in_python(
    place: &Place,
    data: &[Record],
    manifests: &[Record],
) -> Option<(BTreeSet<String>, u64)> {
    let python = std::env::var_os("DOUANE_PYTHON")?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let raw = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(hex);
    let record = |record: &Record| {
        let headers: Vec<_> = record.headers.iter().map(|(n, v)| (n.clone(), raw(v))).collect();
        serde_json::json!({
            "partition": record.partition, "offset": record.offset, "timestamp_ms": record.timestamp_ms,
            "key": raw(&record.key), "value": raw(&record.value), "headers": headers,
        })
    };
    let key = std::fs::read_to_string(place.dir.join("keys/manifest.key.pub")).expect("a key");
    let dump = serde_json::json!({
        "topic": place.data_topic(), "key": key,
        "manifests": manifests.iter().map(record).collect::<Vec<_>>(),
        "records": data.iter().map(record).collect::<Vec<_>>(),
    });
    let file = place.dir.join("dump.json");
    std::fs::write(&file, dump.to_string()).expect("a dump");
    let out = std::process::Command::new(python)
        .args(["-m", "douane_feed"])
        .arg(&file)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("an interpreter");
    let said = String::from_utf8_lossy(&out.stdout);
    let answer: Value = serde_json::from_str(&said)
        .unwrap_or_else(|e| panic!("{e}: {said}{}", String::from_utf8_lossy(&out.stderr)));
    let codes = answer["codes"].as_array().expect("a list").iter();
    let codes: BTreeSet<String> =
        codes.map(|code| code.as_str().expect("a code").to_owned()).collect();
    assert_eq!(answer["refused"].as_bool(), Some(!codes.is_empty()), "{answer}");
    Some((codes, answer["rows"].as_u64().expect("a count")))
}

type Plant = fn(&mut Vec<Record>, &mut Vec<Record>);

const RELEASE: &str = "outside/release.json";

/// `feed` into a new folder refuses, with this reason among others, and the gauge of it says so.
#[track_caller]
fn feed_refuses(place: &Place, dir: &Path, name: &str, more: &[&str], code: Option<&str>) {
    let (out, gauges) = (format!("outside/{name}"), format!("outside/{name}.prom"));
    let topic = place.data_topic();
    let args = ["feed", &topic, "--out", &out, "--metrics-file", &gauges, "--format", "json"];
    let said = verb_in(place, dir, &[&args[..], more].concat());
    assert!(
        said.code == 1 && code.map_or(!codes(&said).is_empty(), |code| codes(&said).contains(code)),
        "{name}, {code:?}: {}{}",
        said.out,
        said.err
    );
    let told = std::fs::read_to_string(place.dir.join(&gauges)).expect("gauges");
    assert!(told.contains("douane_feed_refused{topic=") && told.contains("\"} 1\n"), "{told}");
}

const FRAUDS: &[(&str, Plant)] = &[
    ("changed", |data, _| data[40].value = Some(b"{\"city\":\"Elsewhere\"}".to_vec())),
    ("missing", |data, _| drop(data.remove(40))),
    ("added", |data, _| data.insert(41, data[40].clone())),
    ("no_manifest", |data, _| {
        let mut bare = data[40].clone();
        bare.headers.clear();
        data.push(bare);
    }),
    ("changed", |data, _| {
        let (one, other) = (0..data.len())
            .find_map(|one| {
                let (place, of) = (data[one].partition, manifest_of(&data[one]));
                let is_its = |other: &Record| other.partition == place && manifest_of(other) == of;
                let next = data[one + 1..].iter().position(is_its)?;
                Some((one, one + 1 + next))
            })
            .expect("a transaction with two records of one partition");
        data.swap(one, other);
    }),
    // A whole transaction is taken out, records and manifest.
    ("gap", |data, manifests| {
        let gone = manifests.remove(1).key_text();
        data.retain(|record| manifest_of(record) != gone);
    }),
    ("doubled", |_, manifests| manifests.push(manifests[1].clone())),
    ("unsigned", |_, manifests| {
        let value = manifests[1].value.as_mut().expect("a manifest");
        let text = String::from_utf8(value.clone()).expect("JSON");
        let at = text.find("\"sig\":\"").expect("a signature") + 10;
        value[at] = if value[at] == b'A' { b'B' } else { b'A' };
    }),
];

#[test]
fn whoever_is_outside_finds_each_planted_fraud() {
    let _turn = rig::exclusive();
    let (place, load) = ran("coverage", |_| {}, 2_400);
    let dir = outside(&place);
    let (topic, target) = (place.data_topic(), place.setup.target.clone());
    let text = verb_in(&place, &dir, &["verify", "--topic", &topic]).fine("verify --topic");
    assert!(text.out.contains("all hold") && text.out.contains("NOT checked"), "{}", text.out);
    let well = verified(&place, &dir, &["--release", "outside/release.json"]);
    let answer =
        is_as_documented("verify-topic", &well.clone().fine("verify"), &["code", "message"]);
    let data = target.read(&topic, Isolation::Committed);
    let manifests = target.read(&place.manifest_topic(), Isolation::Committed);
    assert_eq!(answer["records"].as_u64(), Some(data.len() as u64));
    assert_eq!(answer["manifests"].as_u64(), Some(manifests.len() as u64));
    assert_eq!(answer["chains"].as_array().map(Vec::len), Some(2), "two shards: {answer}");
    assert!(manifests.len() >= 8 && data.len() > 1_500, "{} manifests", manifests.len());
    let crossed = verb_in(&place, &dir, &["audit", "crossed", &topic, "--format", "json"]);
    let crossed = is_as_documented("audit-crossed", &crossed.fine("audit crossed"), &[]);
    assert_eq!(crossed["records"].as_u64(), Some(data.len() as u64), "{crossed}");
    assert_eq!(crossed["releases"][0]["approvers"], serde_json::json!(["ada", "bo"]));
    let none = ["audit", "crossed", &topic, "--to", "2000-01-01T00:00:00Z"];
    let none = verb_in(&place, &dir, &none).fine("nothing by then");
    assert!(none.out.contains("0 records in 0 transactions"), "{}", none.out);
    std::fs::write(dir.join("earlier.json"), &well.out).expect("a file");
    let earlier = ["--earlier", "outside/earlier.json"];
    verified(&place, &dir, &earlier).fine("nothing went since the earlier answer");

    // Written anew as it was, it holds: what is found below is the fraud.
    let mut written = (Vec::new(), Vec::new());
    let mut rewrite = |data: &[Record], manifests: &[Record]| {
        if written.0 != data {
            target.rewrite(&topic, data);
        }
        if written.1 != manifests {
            target.rewrite(&place.manifest_topic(), manifests);
        }
        written = (data.to_vec(), manifests.to_vec());
    };
    rewrite(&data, &manifests);
    assert_eq!(codes(&verified(&place, &dir, &[])), BTreeSet::new());
    match in_python(&place, &data, &manifests) {
        Some(other) => assert_eq!(other, (BTreeSet::new(), data.len() as u64)),
        None => say::note("left out: no DOUANE_PYTHON, so no second implementation beside it"),
    }
    for (n, (code, plant)) in FRAUDS.iter().enumerate() {
        let (mut data, mut manifests) = (data.clone(), manifests.clone());
        plant(&mut data, &mut manifests);
        rewrite(&data, &manifests);
        let said = verified(&place, &dir, &[]);
        if let Some((other, _)) = in_python(&place, &data, &manifests) {
            assert_eq!(other, codes(&said), "fraud {n}, {code}: two implementations, one answer");
        }
        assert!(said.code == 1 && codes(&said).contains(*code), "fraud {n}, {code}: {}", said.out);
        // A trainer is handed nothing of it, and nothing behind it.
        // It ends at the first that is wrong, which a look at the whole may call by another name.
        feed_refuses(&place, &dir, &format!("fraud-{n}"), &["--release", RELEASE], None);
        let spoken = format!("{}{}", said.out, said.err);
        let told = load.secrets.iter().find(|secret| secret.len() > 5 && spoken.contains(*secret));
        assert!(told.is_none() && !spoken.contains("Elsewhere"), "{spoken}");
    }
    // As it was signed, and not to be used all the same: under a release that nobody named, or by another zone's key.
    rewrite(&data, &manifests);
    let file = place.pipeline_file();
    let other = dir.join("other.release.json");
    place.verb(&["release", "renew", &file, "--author", "cleo"]).fine("release renew");
    for key in ["approvers/ada", "approvers/bo"] {
        place.verb(&["release", "sign", &file, "--key", key]).fine("release sign");
    }
    std::fs::copy(place.dir.join("coverage.release.json"), &other).expect("a copy");
    feed_refuses(
        &place,
        &dir,
        "unknown",
        &["--release", "outside/other.release.json"],
        Some("release_unknown"),
    );
    std::fs::create_dir_all(dir.join("strange")).expect("a folder");
    std::fs::copy(place.dir.join("keys/checkpoint.key.pub"), dir.join("strange/manifest.key.pub"))
        .expect("a copy");
    let strange = ["--release", RELEASE, "--keys", "outside/strange"];
    feed_refuses(&place, &dir, "key", &strange, Some("unsigned"));

    // The newest transaction is taken out as a whole: only the earlier answer knows of it.
    let (mut data, mut manifests) = (data, manifests);
    let gone = manifests.pop().expect("a manifest").key_text();
    data.retain(|record| manifest_of(record) != gone);
    rewrite(&data, &manifests);
    assert_eq!(codes(&verified(&place, &dir, &[])), BTreeSet::new(), "nobody can see it");
    assert!(codes(&verified(&place, &dir, &earlier)).contains("vanished"));
    // The oldest manifest is deleted, as retention would: it is kept forever, so nothing lawful does that.
    target.delete_records(&place.manifest_topic(), 0, 1);
    assert!(
        codes(&verified(&place, &dir, &[]))
            .is_superset(&BTreeSet::from(["cut", "gap"].map(String::from)))
    );
    feed_refuses(&place, &dir, "cut", &["--release", RELEASE], Some("cut"));
    let crossed = || verb_in(&place, &dir, &["audit", "crossed", &topic, "--format", "json"]);
    assert!(codes(&crossed()).contains("cut") && crossed().code == 1);
    // A second partition of it has no order beside the first: nothing is read.
    target.add_partitions(&place.manifest_topic(), 2);
    for said in [verified(&place, &dir, &[]), crossed()] {
        assert!(
            said.code == 1 && said.err.contains("has 2 partitions, expected 1"),
            "{}",
            said.err
        );
    }
    say::figure("coverage.frauds", FRAUDS.len() + 3, "kinds planted and found on real Kafka");
}

/// docs/audit.md as it stands there: its commands, outside and inside, with this place's names.
#[test]
fn an_auditor_walks_as_the_document_says() {
    let _turn = rig::exclusive();
    let (place, _) = ran("audit", bundled, 400);
    let dir = outside(&place);
    std::fs::rename(dir.join("release.json"), dir.join("customers.release.json")).expect("a file");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/audit.md");
    let document = std::fs::read_to_string(document).expect("docs/audit.md");
    let mut walked = 0;
    for (mark, at) in
        [("<!-- outside -->\n```console\n", &dir), ("<!-- inside -->\n```console\n", &place.dir)]
    {
        for block in document.split(mark).skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            for line in block.lines() {
                let typed = line.strip_prefix("$ douane ").expect("a prompt");
                let typed = typed.replace("training.customers", &place.data_topic());
                let typed = typed.replace("pipelines/customers.yaml", &place.pipeline_file());
                let (args, file) = typed.split_once(" > ").unwrap_or((&typed, ""));
                let args: Vec<&str> = args.split_whitespace().collect();
                let said = place.verb_at(at, &args).fine(line);
                if !file.is_empty() {
                    std::fs::write(at.join(file), &said.out).expect("a file");
                }
                walked += 1;
            }
        }
    }
    assert_eq!(walked, 7, "every command of the document");
}

/// With a zone's own file the same is answered; a wrong key, a wrong cluster and no topic are faults.
#[test]
fn what_cannot_be_answered_is_said() {
    let _turn = rig::exclusive();
    let (place, _) = ran("coverage-no", |_| {}, 300);
    holds(&place);
    let dir = outside(&place);
    let nothing = verb_in(&place, &dir, &["verify", "--topic", "no.such.topic"]);
    assert!(nothing.code == 1 && nothing.err.contains("does not exist"), "{}", nothing.err);
    std::fs::remove_file(dir.join("keys/manifest.key.pub")).expect("a file");
    let keyless = verified(&place, &dir, &[]);
    assert!(keyless.code == 2 && keyless.err.contains("--keys"), "{}", keyless.err);
    std::fs::write(dir.join("other.json"), "{\"topic\":\"another\",\"chains\":[]}")
        .expect("a file");
    std::fs::copy(place.dir.join("keys/checkpoint.key.pub"), dir.join("keys/manifest.key.pub"))
        .expect("a copy");
    let earlier = verified(&place, &dir, &["--earlier", "outside/other.json"]);
    assert!(earlier.code == 2 && earlier.err.contains("another topic"), "{}", earlier.err);
    let foreign = verified(&place, &dir, &[]);
    assert!(foreign.code == 1 && codes(&foreign).contains("unsigned"), "{}", foreign.out);
    let file = dir.join("douane.yaml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, text.replace(&place.setup.target.id(), "another")).expect("written");
    let wrong = verified(&place, &dir, &[]);
    assert!(wrong.code == 1 && wrong.err.contains("expected id"), "{}", wrong.err);
}
