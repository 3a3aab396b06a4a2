//! Keys of single subjects, destroyed under a running pipeline: none of their tokens resolves, all of
//! the others' do; after a restart, and from a backup that is put back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cases::keys::{Token, detokenize};
use crate::cases::swap::hears;
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::manifests::base64;
use crate::pace::Instant;
use crate::place::{Place, Setup, last_lines};
use crate::rig;
use crate::say;

const PATIENCE: Duration = Duration::from_secs(60);
const VICTIMS: usize = 3;

fn load() -> Load {
    let mut events = Customers::new(73, 9_000_000, true);
    Load::new(4).customers(&mut events, 400, Format::Json, &Plants::default())
}

/// `(serial, token)` of what crossed, in no order.
fn tokens(place: &Place) -> Vec<(u64, String)> {
    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let valued = records.iter().filter(|record| record.value.is_some());
    let token = valued.map(|record| {
        let row = record.json();
        let serial = row["serial"].as_u64().expect("a serial");
        (serial, row["email"].as_str().expect("a token").to_owned())
    });
    token.collect()
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(copied.success());
}

/// Words and how often detokenize said each: `value` for one that opened.
fn said(place: &Place, tokens: &[&String]) -> BTreeMap<String, usize> {
    let mut words = BTreeMap::new();
    for found in detokenize(place, "email", tokens, &[]) {
        let word = found["refused"].as_str().unwrap_or("value").to_owned();
        *words.entry(word).or_default() += 1;
    }
    words
}

fn shredded_under_load(name: &str, keys: Option<String>, env: Vec<(String, String)>) -> Place {
    let is_final = keys.is_some();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers(name, source.cluster(), target.cluster());
    let email = "customer_email: { normalize: email, ";
    let per = format!("{email}algorithm: aes_siv, key_per: after.id, ");
    setup.domains = setup.domains.replace(email, &per);
    assert!(setup.domains.contains("key_per"));
    setup.env = env;
    setup.keys = keys.unwrap_or(setup.keys);
    let topic = setup.topics[0].clone();
    source.cluster().create(&topic, 4, &[]);
    let place = Place::new(setup);
    let file = place.pipeline_file();
    let running = place.run();
    let first = load();
    first.send(&source.cluster(), &topic);
    let due = first.expected.len();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    assert!(tail.wait_for(due, PATIENCE), "{}", last_lines(&running.said(), 20));

    // What crossed opens, each token as its own row's value; the subjects are some of these rows.
    let whose: BTreeMap<u64, u64> =
        first.expected.iter().filter_map(|e| Some((e.serial?, e.id))).collect();
    let crossed = tokens(&place);
    let all: Vec<&String> = crossed.iter().map(|(_, token)| token).collect();
    let found = detokenize(&place, "email", &all, &[]);
    for ((serial, _), found) in crossed.iter().zip(&found) {
        let value = found["value"].as_str().expect("a value");
        assert!(value.ends_with(&format!("{}@example.com", whose[serial])), "{serial}");
    }
    let victims: BTreeSet<u64> = whose.values().copied().step_by(97).take(VICTIMS).collect();
    assert_eq!(victims.len(), VICTIMS);
    let of_victims = |(serial, _): &&(u64, String)| victims.contains(&whose[serial]);
    let (gone, kept): (Vec<_>, Vec<_>) = crossed.iter().partition(of_victims);
    let gone: Vec<&String> = gone.into_iter().map(|(_, token)| token).collect();
    let kept: Vec<&String> = kept.into_iter().map(|(_, token)| token).collect();
    assert!(gone.len() >= VICTIMS && kept.len() > 100);

    copy(&place.dir.join("keys"), &place.dir.join("backup/keys"));
    copy(&place.ledger().join("_keys"), &place.dir.join("backup/_keys"));
    let lines: Vec<String> = victims.iter().map(ToString::to_string).collect();
    std::fs::write(place.dir.join("subjects"), lines.join("\n")).expect("a file");
    let shred = |out: &str, subjects: &str| {
        let args = ["keys", "shred", "--domain", "customer_email", "--subject-file", subjects];
        let more = ["--by", "cleo", "--reason", "case 7", "--out", out, &file, "--format", "json"];
        place.verb(&[&args[..], &more[..]].concat())
    };
    std::fs::write(place.dir.join("nobody"), "4711").expect("a file");
    let refused = shred("no.json", "nobody");
    assert!(refused.code != 0 && refused.err.contains("never had a key"), "{}", refused.err);
    let since = Instant::now();
    let done = shred("certificate.json", "subjects").fine("keys shred");
    let words = said(&place, &gone);
    say::figure("shred.took", since.elapsed().as_millis(), "ms until no token resolves");
    assert_eq!(words, BTreeMap::from([("shredded".to_owned(), gone.len())]), "0 of them resolve");
    assert_eq!(said(&place, &kept), BTreeMap::from([("value".to_owned(), kept.len())]));

    // The process that ran all the while: the same rows again have the same tokens, but for those of
    // the shredded, which are set aside; their deletes cross.
    hears(&running, "\"event\":\"swapped\"");
    load().send(&source.cluster(), &topic);
    let refused =
        first.expected.iter().filter(|e| e.serial.is_some() && victims.contains(&e.id)).count();
    let due = 2 * due - refused;
    assert!(tail.wait_for(due, PATIENCE), "{}", last_lines(&running.said(), 20));
    let again = tokens(&place);
    let set: BTreeSet<&String> = again.iter().map(|(_, token)| token).collect();
    let before: BTreeSet<&String> = crossed.iter().map(|(_, token)| token).collect();
    assert_eq!(set, before, "no key was made anew");
    let args = ["quarantine", "list", &file, "--format", "json"];
    let aside = place.verb(&args);
    assert_eq!(aside.code, 1, "{}{}", aside.out, aside.err);
    let all: serde_json::Value = serde_json::from_str(&aside.out).expect("JSON");
    assert_eq!(all["codes"]["subject_shredded"], refused, "{}", aside.out);
    let mut running = running;
    running.stop();
    let mut running = place.run();
    hears(&running, "\"event\":\"assigned\"");
    running.stop();

    let words = super::verbs::is_as_documented("keys-shred", &done, &["columns", "domain"]);
    let says = &words["says"];
    assert_eq!(
        (&says["destroyed"]["subjects"], &says["destroyed"]["is_final"]),
        (&serde_json::json!(VICTIMS), &serde_json::json!(is_final))
    );
    let remaining: Vec<(&str, &str)> = says["remains"][0]["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|c| (c["column"].as_str().unwrap(), c["how"].as_str().unwrap()))
        .collect();
    assert!(remaining.contains(&("id", "token")) && remaining.contains(&("phone", "fpe")));
    assert!(remaining.iter().all(|(column, _)| *column != "email"), "{remaining:?}");
    let certificate = statement(&place.dir.join("certificate.json"));
    assert!(certificate.contains("customer_email"), "the control: what it says is read");
    for (name, text) in [("the certificate", &certificate), ("what it said", &done.out)] {
        assert!(lines.iter().all(|line| !text.contains(line)), "{name} names a subject");
    }
    let verify = ["verify", "ledger", "--certificate", "certificate.json"];
    let verified = place.verb(&verify).fine("verify --certificate");
    assert!(verified.out.contains("1 certificates signed and in the ledger"), "{}", verified.out);
    // The control: one bit of it, and one that this ledger does not name.
    let mut forged = std::fs::read(place.dir.join("certificate.json")).expect("a file");
    let name = b"\"payload\":\"";
    let payload = forged.windows(name.len()).position(|w| w == name).expect("a payload") + 40;
    forged[payload] = if forged[payload] == b'A' { b'B' } else { b'A' };
    std::fs::write(place.dir.join("forged.json"), forged).expect("a file");
    assert_ne!(place.verb(&["verify", "ledger", "--certificate", "forged.json"]).code, 0);

    // The backup of the key folder is put back: first the store alone, then the ledger as well.
    let now = place.dir.join("now");
    copy(&place.dir.join("keys"), &now.join("keys"));
    copy(&place.ledger().join("_keys"), &now.join("_keys"));
    copy(&place.dir.join("backup/keys"), &place.dir.join("keys"));
    let refused = place.verb(&["keys", "status"]);
    assert_eq!(refused.code, 2, "{}{}", refused.out, refused.err);
    copy(&place.dir.join("backup/_keys"), &place.ledger().join("_keys"));
    match is_final {
        true => {
            let refused = place.verb(&["keys", "status"]);
            assert!(refused.err.contains("does not open this store"), "{}", refused.err);
        }
        // The wrapping key's file was in the backup, and the certificate says what that means.
        false => {
            let what = says["destroyed"]["what"].as_str().expect("words");
            assert!(what.contains("a backup of the wrapping key's file"), "{what}");
            let revived = BTreeMap::from([("value".to_owned(), gone.len())]);
            assert_eq!(said(&place, &gone), revived, "the control: a leak would be seen");
            // Without that file it is final here too.
            copy(&now.join("keys/wrapping.key"), &place.dir.join("keys/wrapping.key"));
            let refused = place.verb(&["keys", "status"]);
            assert!(refused.err.contains("does not open this store"), "{}", refused.err);
        }
    }
    copy(&now.join("keys"), &place.dir.join("keys"));
    copy(&now.join("_keys"), &place.ledger().join("_keys"));
    assert_eq!(said(&place, &gone), BTreeMap::from([("shredded".to_owned(), gone.len())]));
    assert_eq!(said(&place, &kept), BTreeMap::from([("value".to_owned(), kept.len())]));
    place
}

#[test]
fn a_shredded_subject_is_gone_and_a_backup_with_the_wrapping_key_brings_it_back() {
    let _turn = rig::exclusive();
    let mut place = shredded_under_load("shred", None, Vec::new());
    ended_at_each_step(&mut place);
}

#[test]
fn a_shredded_subject_is_gone_from_a_backup_too_where_a_token_wrapped_it() {
    let _turn = rig::exclusive();
    let dir = rig::directory("shred-hsm");
    let token = Token::new(&dir);
    let pin = dir.join("pin");
    std::fs::write(&pin, "7301\n").expect("a file");
    let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&pin, only_owner).expect("rights");
    let keys = format!(
        "dir: keys/, pkcs11: {{ module: /usr/lib/softhsm/libsofthsm2.so, token_label: douane, \
         pin_file: \"{}\", key_label: wrapping }}",
        pin.display()
    );
    let env = vec![("SOFTHSM2_CONF".to_owned(), token.conf.display().to_string())];
    shredded_under_load("shred-hsm", Some(keys), env);
}

/// The process ends after each step; the next call ends what was begun, and no other may come before.
fn ended_at_each_step(place: &mut Place) {
    let crossed = tokens(place);
    let found =
        detokenize(place, "email", &crossed.iter().map(|(_, t)| t).collect::<Vec<_>>(), &[]);
    let digits = |value: &str| value.chars().filter(char::is_ascii_digit).collect::<String>();
    let mut alive: BTreeMap<String, &String> = BTreeMap::new();
    for ((_, token), found) in crossed.iter().zip(&found) {
        if let Some(value) = found["value"].as_str() {
            alive.insert(digits(value), token);
        }
    }
    let steps =
        ["intended", "rewritten", "wrapped", "rotated", "written", "destroyed", "certified"];
    for (step, (subject, token)) in steps.into_iter().zip(&alive) {
        std::fs::write(place.dir.join("subjects"), subject).expect("a file");
        let args = |out: &str, whose: &[&str]| -> Vec<String> {
            let args = ["keys", "shred", "--domain", "customer_email"];
            let more = ["--by", "cleo", "--reason", "case 8", "--out", out];
            [&args[..], whose, &more[..]].concat().into_iter().map(str::to_owned).collect()
        };
        let run = |place: &Place, args: Vec<String>| {
            place.verb(&args.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let out = format!("{step}.json");
        place.env("DOUANE_TEST_CONTROL", &format!("die-at-{step}"));
        let ended = run(place, args(&out, &["--subject-file", "subjects"]));
        assert!(ended.code < 0, "{step}: {}{}", ended.out, ended.err);
        place.env("DOUANE_TEST_CONTROL", "");
        let again = format!("{step}-again.json");
        run(place, args(&again, &["--resume"])).fine(step);
        let refused = run(place, args("none.json", &["--resume"]));
        assert!(refused.code == 1 && refused.err.contains("nothing was begun"), "{}", refused.err);
        let word = detokenize(place, "email", &[token], &[]);
        assert_eq!(word[0]["refused"], "shredded", "{step}");
        let verify = ["verify", "ledger", "--certificate", &again];
        place.verb(&verify).fine("verify --certificate");
        assert!(!statement(&place.dir.join(&again)).contains(subject.as_str()));
    }
    let last = alive.values().last().expect("a token");
    assert!(detokenize(place, "email", &[last], &[])[0]["value"].is_string());
    let status = place.verb(&["keys", "status"]).fine("keys status");
    let shredded = VICTIMS + steps.len();
    assert!(status.out.contains(&format!("{shredded} subjects shredded")), "{}", status.out);
}

/// What a certificate says, out of its envelope.
fn statement(file: &Path) -> String {
    let envelope = std::fs::read_to_string(file).expect("a certificate");
    let envelope: serde_json::Value = serde_json::from_str(&envelope).expect("JSON");
    let payload = base64(envelope["payload"].as_str().expect("a DSSE envelope"));
    String::from_utf8(payload).expect("a statement")
}
