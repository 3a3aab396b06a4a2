//! Keys under a running pipeline: rotated between two transactions, and away with their token.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cases::swap::hears;
use crate::cluster::{Isolation, Record};
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::manifests::base64;
use crate::pace::Instant;
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

/// The active version of a domain, and the id of its key for reversible tokens.
fn active(place: &Place, domain: &str) -> (u64, String) {
    let said = place.verb(&["keys", "status", "--format", "json"]).fine("keys status");
    let status: Value = serde_json::from_str(&said.out).expect("JSON");
    let domains = status["domains"].as_array().expect("domains");
    let found = domains.iter().find(|d| d["domain"] == domain).expect("the domain");
    let version = &found["versions"][0];
    assert_eq!(version["state"], "active");
    let id = version["key_ids"][2]["id"].as_str().expect("an id").to_owned();
    (version["version"].as_u64().expect("a number"), id)
}

#[test]
fn a_domain_is_rotated_under_a_running_pipeline_and_no_record_is_lost() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let mut setup = Setup::customers("rotate", source.cluster(), target.cluster());
    let email = "customer_email: { normalize: email, ";
    let reversible = setup.domains.replace(email, &format!("{email}algorithm: aes_siv, "));
    assert_ne!(reversible, setup.domains);
    setup.domains = reversible;
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

    // Several times, each heard without a restart, under the load of the same rows again.
    let rotations = say::count("DOUANE_ROTATIONS", 5);
    let since = Instant::now();
    let mut ids = vec![active(&place, "customer_email").1];
    for rotation in 1..=rotations {
        load(400).send(&source.cluster(), &topic);
        // Of the last version but one nothing is read back; it has rows of its own to see that by.
        let last = rotation == rotations;
        if last {
            until(&place, &running, records * (rotation + 1));
        }
        let overlap = if last { "0s" } else { "30d" };
        let args = ["keys", "rotate", "customer_email", "--overlap", overlap];
        place.verb(&args).fine("keys rotate");
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
    let crossed = until(&place, &running, records * (rotations + 2));
    say::figure("keys.rotations", rotations, "under load");
    say::figure("keys.rotations_took", since.elapsed().as_millis(), "ms");
    assert_eq!(crossed.len(), records * (rotations + 2), "exactly once");

    let emails = values(&crossed, "email");
    assert!(emails.len() > 100);
    for tokens in emails.values() {
        let (first, last) = first_and_last(tokens, rotations + 2);
        let same = first.iter().zip(last).filter(|(first, last)| first == last).count();
        assert_eq!(same, 0, "the last rows have the tokens of the last version");
    }
    for phones in values(&crossed, "phone").values() {
        let (first, last) = first_and_last(phones, rotations + 2);
        assert_eq!(first, last, "no other domain moved");
    }
    let named = named(&place);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), rotations + 1);
    for id in [&ids[0], &ids[rotations]] {
        assert!(named.contains(id), "no manifest names {id}");
    }

    // A new root moves no token, and what was sealed under the old one opens.
    place.verb(&["keys", "rotate", "--root"]).fine("keys rotate --root");
    let until_swapped = Instant::now() + Duration::from_secs(30);
    while running.said().matches("\"event\":\"swapped\"").count() <= rotations {
        assert!(Instant::now() < until_swapped, "{}", last_lines(&running.said(), 20));
        std::thread::sleep(Duration::from_millis(50));
    }
    load(400).send(&source.cluster(), &topic);
    let crossed = until(&place, &running, records * (rotations + 3));
    for tokens in values(&crossed, "email").values() {
        let loads = tokens.len() / (rotations + 3);
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

    turned_back(&place, &first, &emails, &values(&crossed, "phone"));
    approved_by_two(&place, &emails);

    let verified = place.verify().fine("verify");
    let logs: Value = serde_json::from_str(&verified.out).expect("JSON");
    let logs: Vec<&str> =
        logs.as_array().expect("logs").iter().filter_map(|log| log["log"].as_str()).collect();
    assert!(logs.iter().any(|log| log.ends_with("_keys/control")), "{logs:?}");
    for (example, args) in
        [("keys-status", &["status"][..]), ("keys-rotate", &["rotate", "--wrapping"])]
    {
        let said = place.verb(&[&["keys"], args, &["--format", "json"]].concat()).fine(example);
        super::verbs::is_as_documented(example, &said, &[]);
    }
}

/// `keys detokenize` of a column's values; each one that opens, or the word of its refusal.
pub fn detokenize(place: &Place, column: &str, values: &[&String], more: &[&str]) -> Vec<Value> {
    let file = place.pipeline_file();
    let mut args = vec!["keys", "detokenize", &file, "--column", column, "--format", "json"];
    args.extend(["--by", "cleo", "--reason", "case 7"]);
    args.extend(more);
    args.extend(values.iter().map(|value| value.as_str()));
    let said = place.verb(&args);
    let found: Value = serde_json::from_str(&said.out)
        .unwrap_or_else(|_| panic!("exit {}: {}{}", said.code, said.out, said.err));
    found.as_array().expect("a list").clone()
}

/// Fewer than one call takes: the more rotations, the more tokens a value has.
const TURNED_BACK_MAX: usize = 9_000;

/// Tokens of versions that are not retired open, also where the domain was rotated since; those of
/// retired ones do not.
fn turned_back(
    place: &Place,
    load: &Load,
    emails: &BTreeMap<String, Vec<String>>,
    phones: &BTreeMap<String, Vec<String>>,
) {
    let tokens: Vec<&String> = emails.values().take(60).flatten().take(TURNED_BACK_MAX).collect();
    let found = detokenize(place, "email", &tokens, &[]);
    assert_eq!(found.len(), tokens.len());
    let (mut opened, mut retired) = (BTreeSet::new(), 0);
    for found in &found {
        match (found["value"].as_str(), found["refused"].as_str()) {
            (Some(value), None) => {
                assert!(load.secrets.iter().any(|secret| secret.as_str() == value));
                opened.insert(value.to_owned());
            }
            (None, Some("retired")) => retired += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(opened.len() > 30 && retired > 0, "{} opened, {retired} retired", opened.len());
    for tokens in emails.values().take(5) {
        let ends = [&tokens[0], &tokens[tokens.len() - 1]];
        let ends = detokenize(place, "email", &ends, &[]);
        assert!(
            ends[0]["value"].is_string() && ends[0] == ends[1],
            "the first and the last version"
        );
    }
    let phones: Vec<&String> = phones.values().take(60).flatten().take(TURNED_BACK_MAX).collect();
    for found in detokenize(place, "phone", &phones, &[]) {
        let value = found["value"].as_str().expect("a telephone number");
        assert!(load.secrets.iter().any(|secret| secret.as_str() == value));
    }
    // A token of nothing, and a column that nobody can turn back.
    let other = "aaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned();
    assert_eq!(detokenize(place, "email", &[&other], &[])[0]["refused"], "form");
    let file = place.pipeline_file();
    let mac = ["keys", "detokenize", &file, "--column", "id", "--by", "cleo", "--reason", "x", "a"];
    assert_eq!(place.verb(&mac).code, 1);
    // The ledger has each call, and no value.
    for entry in walk(&place.ledger().join("_keys")) {
        let bytes = std::fs::read(&entry).expect("a file of the ledger");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!opened.iter().any(|value| text.contains(value.as_str())), "{}", entry.display());
    }
    let journals = walk(&place.ledger().join("_keys/control/journals"));
    let written: usize = journals
        .iter()
        .map(|path| std::fs::read(path).expect("a journal"))
        .map(|bytes| String::from_utf8_lossy(&bytes).matches("DETOKENIZED").count())
        .sum();
    assert_eq!(written, 8, "one entry a call that showed something or could have");
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a folder").map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Four eyes, where the trust root says so: two approvers, these tokens, once.
fn approved_by_two(place: &Place, emails: &BTreeMap<String, Vec<String>>) {
    let approvers = ["--approver", "ada=approvers/ada.pub", "--approver", "bo=approvers/bo.pub"];
    let mut trust = vec!["release", "trust", "--threshold", "2", "--detokenize", "2"];
    trust.extend(approvers);
    trust.extend(["--sign", "approvers/ada", "--sign", "approvers/bo"]);
    place.verb(&trust).fine("release trust");
    let file = place.pipeline_file();
    let tokens = emails.values().next().expect("tokens");
    let token = &tokens[tokens.len() - 1];
    let wanted = |token: &str, more: &[&str]| {
        let mut args =
            vec![file.as_str(), "--column", "email", "--by", "cleo", "--reason", "case 7"];
        args.extend(more);
        args.push(token);
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let verb = |verb: &str, args: Vec<String>| {
        let args: Vec<&str> =
            ["keys", verb].into_iter().chain(args.iter().map(String::as_str)).collect();
        place.verb(&args)
    };
    let approve = ["--approve", "request.json"];
    let alone = verb("detokenize", wanted(token, &[]));
    assert!(alone.code == 1 && alone.err.contains("asks for 2 approvers"), "{}", alone.err);
    verb("request", wanted(token, &["--out", "request.json"])).fine("keys request");
    for (key, missing) in [("approvers/ada", true), ("approvers/bo", false)] {
        place.verb(&["keys", "approve", "request.json", "--key", key]).fine("keys approve");
        let said = verb("detokenize", wanted(token, &approve));
        assert_eq!(said.code == 1, missing, "{key}: {}{}", said.out, said.err);
        assert_eq!(said.out.is_empty(), missing);
    }
    let again = verb("detokenize", wanted(token, &approve));
    assert!(again.code == 1 && again.err.contains("used already"), "{}", again.err);
    verb("request", wanted(token, &["--out", "request.json"])).fine("keys request");
    for key in ["approvers/ada", "approvers/bo"] {
        place.verb(&["keys", "approve", "request.json", "--key", key]).fine("keys approve");
    }
    let other = verb("detokenize", wanted(&tokens[0], &approve));
    assert!(other.code == 1 && other.err.contains("other values"), "{}", other.err);
}

/// A token of SoftHSM2 in a folder of its own.
pub struct Token {
    tokens: PathBuf,
    pub conf: PathBuf,
}

impl Token {
    pub fn new(dir: &Path) -> Self {
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

/// A process that may lock no memory is told so, and refused where the place asks for locked keys.
#[test]
fn keys_that_could_be_swapped_are_refused_where_the_place_says_so() {
    let dir = rig::directory("locked");
    let place = |more: &str| {
        let text = format!(
            "clusters:
  sovereign: {{ zone: eu-de, id: a, bootstrap: \"127.0.0.1:1\" }}
  global: {{ zone: global, id: b, bootstrap: \"127.0.0.1:2\" }}
keys: {{ dir: keys/{more} }}
ledger: {{ dir: ledger/ }}
trust: trust.json
"
        );
        std::fs::write(dir.join("douane.yaml"), text).expect("a file");
    };
    let status = |limited: bool| {
        let binary = crate::place::binary();
        let binary = binary.display();
        // Root may lock whatever the limit says, unless it gives that right away.
        let script = match limited {
            true => format!(
                "ulimit -l 0; if [ \"$(id -u)\" -eq 0 ]; then exec setpriv --bounding-set=-ipc_lock \
                 {binary} keys status; else exec {binary} keys status; fi"
            ),
            false => format!("exec {binary} keys status"),
        };
        Command::new("sh").args(["-c", &script]).current_dir(&dir).output().expect("sh")
    };
    place("");
    let made = Command::new(crate::place::binary())
        .args(["keys", "init"])
        .current_dir(&dir)
        .status()
        .expect("the binary");
    assert!(made.success());
    let told = status(true);
    let said = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && said.contains("may be written to swap"), "{said}");
    place(", locked: true");
    let refused = status(true);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("ulimit -l"), "{said}");
    // The control: with the right to lock, the same place opens.
    assert!(status(false).status.success());
}

/// Nothing crosses once the lease ends; it goes on by itself when the token is there again. More of them:
/// `DOUANE_OUTAGES=100`.
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

    let outages = say::count("DOUANE_OUTAGES", 2);
    let mut longest = Duration::ZERO;
    for outage in 1..=outages {
        // A short one is not felt: the lease goes on.
        let felt = |running: &Running| running.said().matches("the lease is").count();
        let before = felt(&running);
        token.away(true);
        std::thread::sleep(Duration::from_millis(300));
        token.away(false);
        assert_eq!(felt(&running), before, "{}", last_lines(&running.said(), 9));
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
        longest = longest.max(back.elapsed());
        assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
        if outage == 1 {
            // One outage for a process that began with a token, all others for one that began after.
            running.stop();
            running = place.run();
            hears(&running, "\"event\":\"assigned\"");
        }
    }
    say::figure("keys.outages", outages, "longer than the lease");
    say::figure("keys.resumed_longest", longest.as_millis(), "ms from the token on");
    running.stop();
    place.verify().fine("verify");
}
