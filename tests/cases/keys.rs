//! Keys under a running pipeline: rotated between two transactions, and away with their token.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cases::swap::hears;
use crate::cluster::{Isolation, Record};
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::manifests::base64;
use crate::place::{Place, Running, Setup, last_lines};
use crate::rig;
use crate::say;

const PATIENCE: Duration = Duration::from_secs(60);

fn load(records: usize) -> Load {
    let mut events = Customers::new(71, 9_000_000, true);
    Load::new(4).customers(&mut events, records, Format::Json, &Plants::default())
}

#[track_caller]
fn until(place: &Place, running: &Running, records: usize) -> Vec<Record> {
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let all = tail.wait_for(records, PATIENCE);
    assert!(all, "{} of {records}\n{}", tail.records.len(), last_lines(&running.said(), 20));
    std::mem::take(&mut tail.records)
}

/// `(key, column)` to every value that crossed, in order.
fn values(records: &[Record], column: &str) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.value.is_some()) {
        if let Some(text) = record.json()[column].as_str() {
            values.entry(record.key_text()).or_default().push(text.to_owned());
        }
    }
    values
}

/// What the first and the last of so many equal loads became.
fn first_and_last(values: &[String], loads: usize) -> (&[String], &[String]) {
    let each = values.len() / loads;
    assert!(each > 0 && values.len() == each * loads, "{} values of {loads} loads", values.len());
    (&values[..each], &values[values.len() - each..])
}

/// Ids of keys that the manifests name.
fn named(place: &Place) -> BTreeSet<String> {
    let manifests = place.setup.target.read(&place.manifest_topic(), Isolation::Committed);
    let ids = manifests.iter().flat_map(|manifest| {
        let payload = base64(manifest.json()["payload"].as_str().expect("a DSSE envelope"));
        let statement: Value = serde_json::from_slice(&payload).expect("a statement");
        statement["predicate"]["key_ids"].as_array().expect("key ids").clone()
    });
    ids.map(|id| id.as_str().expect("a key id").to_owned()).collect()
}

/// The active version of a domain, and the id of its key for HMAC tokens.
fn active(place: &Place, domain: &str) -> (u64, String) {
    let said = place.verb(&["keys", "status", "--format", "json"]).fine("keys status");
    let status: Value = serde_json::from_str(&said.out).expect("JSON");
    let domains = status["domains"].as_array().expect("domains");
    let found = domains.iter().find(|d| d["domain"] == domain).expect("the domain");
    let version = &found["versions"][0];
    assert_eq!(version["state"], "active");
    let id = version["key_ids"][0]["id"].as_str().expect("an id").to_owned();
    (version["version"].as_u64().expect("a number"), id)
}

#[test]
fn a_domain_is_rotated_under_a_running_pipeline_and_no_record_is_lost() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let setup = Setup::customers("rotate", source.cluster(), target.cluster());
    let topic = setup.topics[0].clone();
    source.cluster().create(&topic, 4, &[]);
    let place = Place::new(setup);
    let running = place.run();
    let first = load(400);
    let records = first.expected.len();
    first.send(&source.cluster(), &topic);
    until(&place, &running, records);

    // In the record key: tombstones would never find the rows of the old tokens.
    let refused = place.verb(&["keys", "rotate", "customer"]);
    assert_eq!(refused.code, 2, "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("record key of `rotate`"), "{}", refused.err);

    // Five times, each heard without a restart, under the load of the same rows again.
    const ROTATIONS: usize = 5;
    let since = Instant::now();
    let mut ids = vec![active(&place, "customer_email").1];
    for rotation in 1..=ROTATIONS {
        load(400).send(&source.cluster(), &topic);
        place.verb(&["keys", "rotate", "customer_email"]).fine("keys rotate");
        let (version, id) = active(&place, "customer_email");
        assert_eq!(version, rotation as u64 + 1);
        ids.push(id);
        let until = Instant::now() + Duration::from_secs(30);
        while running.said().matches("\"event\":\"swapped\"").count() < rotation {
            assert!(Instant::now() < until, "{}", last_lines(&running.said(), 20));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    load(400).send(&source.cluster(), &topic);
    let crossed = until(&place, &running, records * (ROTATIONS + 2));
    say::figure("keys.rotations", ROTATIONS, "under load");
    say::figure("keys.rotations_took", since.elapsed().as_millis(), "ms");
    assert_eq!(crossed.len(), records * (ROTATIONS + 2), "exactly once");

    let emails = values(&crossed, "email");
    assert!(emails.len() > 100);
    for tokens in emails.values() {
        let (first, last) = first_and_last(tokens, ROTATIONS + 2);
        let same = first.iter().zip(last).filter(|(first, last)| first == last).count();
        assert_eq!(same, 0, "the last rows have the tokens of the last version");
    }
    for phones in values(&crossed, "phone").values() {
        let (first, last) = first_and_last(phones, ROTATIONS + 2);
        assert_eq!(first, last, "no other domain moved");
    }
    let named = named(&place);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ROTATIONS + 1);
    for id in [&ids[0], &ids[ROTATIONS]] {
        assert!(named.contains(id), "no manifest names {id}");
    }

    // A new root moves no token, and what was sealed under the old one opens.
    place.verb(&["keys", "rotate", "--root"]).fine("keys rotate --root");
    let until_swapped = Instant::now() + Duration::from_secs(30);
    while running.said().matches("\"event\":\"swapped\"").count() <= ROTATIONS {
        assert!(Instant::now() < until_swapped, "{}", last_lines(&running.said(), 20));
        std::thread::sleep(Duration::from_millis(50));
    }
    load(400).send(&source.cluster(), &topic);
    let crossed = until(&place, &running, records * (ROTATIONS + 3));
    for tokens in values(&crossed, "email").values() {
        let loads = tokens.len() / (ROTATIONS + 3);
        let (_, last) = tokens.split_at(tokens.len() - 2 * loads);
        assert_eq!(last[..loads], last[loads..], "a new root moves no token");
    }
    place.verb(&["keys", "rotate", "--wrapping"]).fine("keys rotate --wrapping");
    let mut running = running;
    running.stop();
    let mut running = place.run();
    hears(&running, "\"event\":\"assigned\"");
    running.stop();
    assert_eq!(place.status()["partitions"].as_array().expect("partitions").len(), 4);

    let verified = place.verify().fine("verify");
    let logs: Value = serde_json::from_str(&verified.out).expect("JSON");
    let logs: Vec<&str> =
        logs.as_array().expect("logs").iter().filter_map(|log| log["log"].as_str()).collect();
    assert!(logs.iter().any(|log| log.ends_with("_keys/control")), "{logs:?}");
    for verb in ["status", "rotate"] {
        let args: &[&str] = match verb {
            "status" => &["keys", "status", "--format", "json"],
            _ => &["keys", "rotate", "--wrapping", "--format", "json"],
        };
        let said = place.verb(args).fine(verb);
        super::verbs::is_as_documented(&format!("keys-{verb}"), &said, &[]);
    }
}

/// A token of SoftHSM2 in a folder of its own.
struct Token {
    tokens: PathBuf,
    conf: PathBuf,
}

impl Token {
    fn new(dir: &Path) -> Self {
        let (tokens, conf) = (dir.join("tokens"), dir.join("softhsm2.conf"));
        std::fs::create_dir_all(&tokens).expect("a folder");
        std::fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display()))
            .expect("a file");
        let made = Command::new("softhsm2-util")
            .args([
                "--init-token",
                "--free",
                "--label",
                "douane",
                "--pin",
                "7301",
                "--so-pin",
                "4421",
            ])
            .env("SOFTHSM2_CONF", &conf)
            .output()
            .expect("softhsm2-util: tests/rig/softhsm.sh installs it");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { tokens, conf }
    }

    fn away(&self, away: bool) {
        let aside = self.tokens.with_extension("aside");
        let (from, to) = if away { (&self.tokens, &aside) } else { (&aside, &self.tokens) };
        std::fs::rename(from, to).expect("the token is moved");
    }
}

/// K2: nothing crosses once the lease ends; it goes on by itself when the token is there again.
#[test]
fn without_its_token_nothing_crosses_and_with_it_all_does() {
    const LEASE: Duration = Duration::from_secs(3);
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let dir = rig::directory("hsm");
    let token = Token::new(&dir);
    let pin = dir.join("pin");
    std::fs::write(&pin, "7301\n").expect("a file");
    let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&pin, only_owner).expect("rights");
    let mut setup = Setup::customers("hsm", source.cluster(), target.cluster());
    setup.keys = format!(
        "dir: keys/, lease_s: {}, pkcs11: {{ module: /usr/lib/softhsm/libsofthsm2.so, token_label: \
         douane, pin_file: \"{}\", key_label: wrapping }}",
        LEASE.as_secs(),
        pin.display()
    );
    setup.env = vec![("SOFTHSM2_CONF".to_owned(), token.conf.display().to_string())];
    let topic = setup.topics[0].clone();
    source.cluster().create(&topic, 4, &[]);
    let place = Place::new(setup);
    assert!(!place.dir.join("keys/wrapping.key").exists());
    let mut running = place.run();
    let first = load(200);
    let records = first.expected.len();
    first.send(&source.cluster(), &topic);
    until(&place, &running, records);

    for outage in 1..=2 {
        // A short one is not felt: the lease goes on.
        token.away(true);
        std::thread::sleep(Duration::from_millis(300));
        token.away(false);
        assert!(!running.said().contains("the lease is"), "{}", last_lines(&running.said(), 9));
        let due = records * (2 * outage);
        load(200).send(&source.cluster(), &topic);
        until(&place, &running, due);

        token.away(true);
        let words = "has not answered for";
        let told = running.said().matches(words).count();
        std::thread::sleep(LEASE + Duration::from_secs(3));
        assert!(
            running.said().matches(words).count() > told,
            "{}",
            last_lines(&running.said(), 20)
        );
        load(200).send(&source.cluster(), &topic);
        std::thread::sleep(Duration::from_secs(3));
        let now = place.setup.target.read(&place.data_topic(), Isolation::Uncommitted).len();
        assert_eq!(now, due, "records crossed without a lease");
        assert_eq!(running.ended(), None, "{}", last_lines(&running.said(), 20));
        // A start without the token is told apart from a wrong one.
        let status = place.verb(&["keys", "status"]);
        assert_eq!(status.code, 3, "{}{}", status.out, status.err);

        token.away(false);
        let back = Instant::now();
        until(&place, &running, due + records);
        say::figure("keys.resumed_after", back.elapsed().as_millis(), "ms from the token on");
        assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
        if outage == 1 {
            // The words of the first outage do not count for the second.
            running.stop();
            running = place.run();
            hears(&running, "\"event\":\"assigned\"");
        }
    }
    running.stop();
    place.verify().fine("verify");
}
