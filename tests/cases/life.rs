//! The life of a release: signed by keys that lie in an agent and in a token, rejected, approved, revoked; and a revocation
//! stops a running stream with the transaction that has begun.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use douane_ledger::dsse::Envelope;
use douane_ledger::release;
use serde_json::Value;

use crate::cases::keys::Token;
use crate::cases::swap::hears;
use crate::cases::verbs::{Offline, is_as_documented};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format, Op};
use crate::feed::{Load, Plants};
use crate::oracle::{Expected, judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Place, Setup, last_lines};
use crate::rig;
use crate::say;

/// OpenSSH's agent, on a socket of its own.
pub struct Agent {
    child: Child,
    pub socket: PathBuf,
}

impl Agent {
    pub fn new(dir: &Path) -> Self {
        let socket = dir.join("agent.sock");
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ssh-agent: it comes with OpenSSH");
        let agent = Self { child, socket };
        let since = Instant::now();
        while !agent.socket.exists() {
            assert!(since.elapsed() < Duration::from_secs(20), "the agent does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        agent
    }

    fn with_key(dir: &Path, name: &str) -> Self {
        let agent = Self::new(dir);
        let key = dir.join(name);
        agent.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f"], &key);
        agent.run("ssh-add", &["-q"], &key);
        std::fs::remove_file(&key).expect("only the agent has it");
        agent
    }

    fn run(&self, program: &str, args: &[&str], path: &Path) {
        let done = Command::new(program)
            .args(args)
            .arg(path)
            .env("SSH_AUTH_SOCK", &self.socket)
            .stdin(Stdio::null())
            .output()
            .expect("it comes with OpenSSH");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_release_lives_from_draft_to_revoked_signed_by_an_agent_a_token_and_a_file() {
    let mut place = Offline::new("life-offline");
    let dir = place.dir.clone();
    std::fs::create_dir_all(dir.join("people")).expect("a folder");
    let agent = Agent::with_key(&dir.join("people"), "ada");
    let token = Token::new(&dir.join("people"));
    let pin = dir.join("people/pin");
    std::fs::write(&pin, "7301\n").expect("a file");
    let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&pin, only_owner).expect("rights");
    place.env("SSH_AUTH_SOCK", &agent.socket.display().to_string());
    place.env("SOFTHSM2_CONF", &token.conf.display().to_string());
    let uri = format!(
        "pkcs11:token=douane;object=bo?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source={}",
        pin.display()
    );
    place.verb(&["keys", "init"]).fine("keys init");
    let init = ["keys", "init", "--approver"];
    place.verb(&[&init[..], &["bo", "--out", "people/bo", "--token", &uri]].concat()).fine("bo");
    place.verb(&[&init[..], &["cy", "--out", "people/cy"]].concat()).fine("cy");
    assert!(!dir.join("people/bo").exists(), "the private half is in the token alone");
    let ada = "ssh-agent:people/ada.pub";
    let trust = "release trust --approver ada=people/ada.pub --approver bo=people/bo.pub \
                 --approver cy=people/cy.pub --threshold 2 --sign people/cy --sign";
    let trust: Vec<&str> = trust.split_whitespace().chain([uri.as_str()]).collect();
    place.verb(&trust).fine("release trust");

    const FILE: &str = "pipelines/p.yaml";
    let propose = ["release", "propose", FILE, "--author", "ada"];
    place.verb(&propose).fine("release propose");
    let state = |live: bool| -> Value {
        let said = place.json(&["release", "show", FILE]);
        assert_eq!(said.code, i32::from(!live), "{}{}", said.out, said.err);
        is_as_documented("release-show", &said, &["records", "bytes", "release", "draft"])
    };
    let sign = |key: &str| place.verb(&["release", "sign", FILE, "--key", key]);
    assert_eq!(state(false)["state"], "draft");
    sign(ada).fine("the author");
    assert_eq!(state(false)["state"], "submitted");
    sign(&uri).fine("a token");
    assert_eq!(state(false)["state"], "in_review");
    sign("people/cy").fine("a file");
    let live = state(true);
    assert_eq!((&live["state"], &live["draft"]), (&"approved".into(), &Value::Null));
    assert!(live["said"].as_str().is_some_and(|said| said.contains("bo, cy")), "{live}");

    // A draft that one person says no to is never live, and the release in force stays.
    place.verb(&["release", "renew", FILE, "--author", "ada"]).fine("release renew");
    let no = ["--key", "people/cy", "--reason", "too long"];
    place.verb(&[&["release", "reject", FILE], &no[..]].concat()).fine("release reject");
    let both = state(true);
    assert_eq!((&both["state"], &both["draft"]), (&"approved".into(), &"rejected".into()));
    for key in [uri.as_str(), "people/cy"] {
        let refused = sign(key);
        assert!(refused.code == 1 && refused.err.contains("revoked by cy"), "{}", refused.err);
    }
    // A draft of anybody's is another one.
    place.verb(&["release", "renew", FILE, "--author", "ada"]).fine("release renew");
    assert_eq!(state(true)["draft"], "draft");
    // The token signs a revocation as well.
    let stop = ["release", "revoke", FILE, "--key", &uri, "--reason", "wrong column"];
    place.verb(&stop).fine("release revoke");
    assert_eq!(state(false)["state"], "revoked");
    // A model leaves in place of data, signed by the same people, and is checked where there is no place.
    let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let mut model = (header.len() as u64).to_le_bytes().to_vec();
    model.extend(header.bytes().chain([1; 8]));
    std::fs::write(dir.join("m.safetensors"), &model).expect("a model");
    let drafts = ["--kind", "checkpoint", "--author", "ada", "--purpose", "inference"];
    let artifact = ["release", "artifact", "m.safetensors"];
    let said = place.json(&[&artifact[..], &drafts].concat()).fine("release artifact");
    is_as_documented("release-artifact", &said, &[]);
    for key in [uri.as_str(), "people/cy"] {
        let said = place.json(&[&artifact[..], &["--key", key]].concat());
        let said = said.fine("release artifact --key");
        is_as_documented("release-artifact", &said, &[]);
        assert!(said.err.contains("1 tensors of F32"), "what is signed is read: {}", said.err);
    }
    let outside = rig::directory("life-outside");
    for file in ["m.safetensors", "m.safetensors.artifact.json", "trust.json"] {
        std::fs::copy(dir.join(file), outside.join(file)).expect("a copy");
    }
    let model_file = outside.join("m.safetensors");
    let trusted = outside.join("trust.json");
    let check = || {
        let (file, trust) = (model_file.to_str().expect("text"), trusted.to_str().expect("text"));
        place.json(&["-c", "nowhere.yaml", "verify", "--artifact", file, "--trust", trust])
    };
    let told = is_as_documented("verify-artifact", &check().fine("verify --artifact"), &["base"]);
    assert_eq!(told["approvers"], serde_json::json!(["bo", "cy"]));
    model[8 + header.len()] ^= 1;
    std::fs::write(&model_file, &model).expect("another weight");
    let other = check();
    assert!(other.code == 1 && other.err.contains("not the file"), "{}", other.err);
    std::fs::write(dir.join("m.safetensors"), b"\x80\x04\x95 a pickle").expect("written");
    let pickle = place.verb(&[&artifact[..], &drafts].concat());
    assert!(pickle.code == 1 && pickle.err.contains("runs code"), "{}", pickle.err);

    // A key that is not there says what to do.
    let nobody = sign("ssh-agent:people/cy.pub");
    assert!(nobody.code == 2 && nobody.err.contains("ssh-add"), "{}", nobody.err);
    let history = sign(&uri.replace("pin-source", "pin-value"));
    assert!(history.code == 2 && !history.err.contains("7301"), "{}", history.err);
}

/// A running stream of small transactions, and the instant at which its release is revoked.
fn revoked_under_load(name: &str, control: &str) -> (Place, crate::place::Running, i64) {
    let (source, target) = rig::clusters();
    let setup = Setup::customers(name, source.cluster(), target.cluster());
    let topic = setup.topics[0].clone();
    setup.source.create(&topic, 4, &[]);
    let mut place = Place::new(setup);
    place.env("DOUANE_TEST_CONTROL", control);
    let running = place.run();
    let mut customers = Customers::new(41, 1, true);
    // More than comes before it is revoked on any machine.
    let load = Load::new(4).customers(&mut customers, 180_000, Format::Json, &Plants::default());
    let mut sending = Arc::new(load).send_slowly(&place.setup.source, &topic, 2_000);
    let mut tail = place.setup.target.tail(&place.manifest_topic(), Isolation::Committed);
    assert!(tail.wait_for(6, Duration::from_secs(60)), "{}", last_lines(&running.said(), 20));
    let file = place.pipeline_file();
    let revoke = ["release", "revoke", &file, "--key", "approvers/ada", "--reason", "x"];
    place.verb(&revoke).fine("release revoke");
    // When it got its name.
    let path = place.dir.join(format!("{name}.release.revocations.json"));
    let meta = std::fs::metadata(path).expect("the revocations");
    let at_ms = meta.ctime() * 1_000 + meta.ctime_nsec() / 1_000_000;
    if control.is_empty() {
        let mut running = running;
        assert_eq!(running.wait(Duration::from_secs(20)), Some(1), "{}", running.said());
        sending.stop();
        return (place, running, at_ms);
    }
    let since = Instant::now();
    while after(&place, at_ms) <= 4 && since.elapsed() < Duration::from_secs(25) {
        std::thread::sleep(Duration::from_millis(200));
    }
    sending.stop();
    (place, running, at_ms)
}

/// Transactions whose manifest was sent after an instant. The file system's clock is some milliseconds coarse.
fn after(place: &Place, at_ms: i64) -> usize {
    let manifests = place.setup.target.read(&place.manifest_topic(), Isolation::Committed);
    manifests.iter().filter(|manifest| manifest.timestamp_ms > at_ms + 10).count()
}

#[test]
fn a_revocation_lets_no_transaction_begin() {
    let _turn = rig::exclusive();
    let (place, running, at_ms) = revoked_under_load("revoked", "");
    assert!(running.said().contains("\"code\":\"revoked\""), "{}", last_lines(&running.said(), 9));
    hears(&running, "release_ended");
    // Each shard may have begun one.
    let begun = after(&place, at_ms);
    assert!(begun <= place.setup.tasks as usize, "{begun} transactions after the revocation");
    place.verify().fine("verify");
    say::figure("life.revoked", begun, "transactions of two shards after the revocation lay there");
}

#[test]
fn control_without_a_look_before_each_transaction_the_stream_goes_on() {
    if !cfg!(debug_assertions) || std::env::var_os("DOUANE_BIN").is_some() {
        return say::skipped("deaf to revocations", "a release build has no such switch");
    }
    let _turn = rig::exclusive();
    let (place, mut running, at_ms) = revoked_under_load("deaf", "deaf-to-revocations");
    assert!(after(&place, at_ms) > place.setup.tasks as usize, "it was stopped all the same");
    running.stop();
}

/// A machine whose clock was set back would take an expired release for a live one: what the place knew of the time holds,
/// also for the process after it. And a clock that is behind the source's is told.
#[test]
fn a_clock_that_is_set_back_revives_no_release_and_is_told() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let setup = Setup::customers("setback", source.cluster(), target.cluster());
    let topic = setup.topics[0].clone();
    setup.source.create(&topic, 2, &[]);
    let place = Place::new(setup);
    let mut customers = Customers::new(43, 1, true);
    let mut load = || Load::new(2).customers(&mut customers, 200, Format::Json, &Plants::default());
    load().send(&place.setup.source, &topic);
    let crossed = || place.setup.target.read(&place.manifest_topic(), Isolation::Committed).len();
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.manifest_topic(), Isolation::Committed);
    assert!(tail.wait_for(1, Duration::from_secs(60)), "{}", last_lines(&running.said(), 20));
    running.stop();
    let kept = place.ledger().join("_clock");
    let at: jiff::Timestamp =
        std::fs::read_to_string(&kept).expect("kept").trim_end().parse().expect("an instant");
    assert!(at.duration_since(jiff::Timestamp::now()).abs() < jiff::SignedDuration::from_mins(1));

    // As if this machine had come to the end of the release, and its clock stood here again.
    let before = crossed();
    std::fs::write(&kept, "2099-01-01T00:00:00Z\n").expect("kept");
    load().send(&place.setup.source, &topic);
    let mut refused = place.run();
    assert_eq!(refused.wait(Duration::from_secs(60)), Some(1), "{}", refused.said());
    let said = refused.said();
    assert!(
        said.contains("expired") && said.contains("behind what it was in this place"),
        "{said}"
    );
    let file = place.pipeline_file();
    let status = place.verb(&["status", &file]);
    assert!(status.code == 1 && status.out.contains("expired"), "{}{}", status.out, status.err);
    let doctor = place.verb(&["doctor", &file]);
    let clock = |out: &str| out.lines().any(|l| l.starts_with("WRONG") && l.contains("_clock"));
    assert!(doctor.code == 1 && clock(&doctor.out), "{}", doctor.out);
    assert_eq!(crossed(), before);
    std::fs::write(&kept, "soon\n").expect("kept");
    let mut refused = place.run();
    assert_eq!(refused.wait(Duration::from_secs(60)), Some(2), "{}", refused.said());

    // The control: without what is kept the release is live by this clock, and so says the next step.
    std::fs::remove_file(&kept).expect("gone");
    let mut running = place.run();
    let since = Instant::now();
    while crossed() == before {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", last_lines(&running.said(), 20));
        std::thread::sleep(Duration::from_millis(100));
    }
    running.stop();

    let beside = |out: &str| out.contains(&format!("clock beside {topic}"));
    let doctor = place.verb(&["doctor", &file]).fine("doctor");
    assert!(!beside(&doctor.out), "{}", doctor.out);
    let records = place.setup.source.read(&topic, Isolation::Committed);
    let feed = place.setup.source.producer();
    let again = |partition: i32, later_ms: i64| {
        let last = records.iter().rev().find(|record| record.partition == partition);
        let mut record = last.expect("a record").clone();
        record.timestamp_ms += later_ms;
        feed.again(&topic, &record);
        feed.flush();
    };
    let partitions: BTreeSet<i32> = records.iter().map(|record| record.partition).collect();
    assert_eq!(partitions.len(), 2);
    // Brokers refuse what is more than an hour ahead.
    let ahead = 1_800_000;
    let told = |code: i32, state: &str| {
        let doctor = place.verb(&["doctor", &file]);
        let of = doctor.out.lines().find(|line| beside(line)).expect("a line");
        let at = of.starts_with(state) && of.contains(&format!("{topic}[")) && of.contains("]@");
        assert!(doctor.code == code && at, "{}", doctor.out);
    };
    // One writer's slip is told and is no fault.
    let first = *partitions.first().expect("one");
    again(first, ahead);
    told(0, "ok");
    partitions.iter().for_each(|partition| again(*partition, ahead));
    told(1, "WRONG");
    // It stays in the topic, with newer ones behind it.
    partitions.iter().for_each(|partition| again(*partition, 0));
    told(0, "ok");
}

/// Drafts a one-shot release of these offsets of partitions, and has it signed.
fn one_shot(place: &Place, spans: &[(i32, i64, i64)]) {
    let file = place.pipeline_file();
    let topic = &place.setup.topics[0];
    let spans: Vec<String> = spans
        .iter()
        .map(|(partition, from, to)| format!("{topic}[{partition}]@{from}-{to}"))
        .collect();
    let mut args = vec!["release", "one-shot", &file, "--author", "cleo"];
    spans.iter().for_each(|span| args.extend(["--records", span]));
    let said = place.verb(&args).fine("release one-shot");
    assert!(said.out.contains("nothing else crosses under it"), "{}", said.out);
    for key in ["approvers/ada", "approvers/bo"] {
        place.verb(&["release", "sign", &file, "--key", key]).fine("release sign");
    }
}

#[track_caller]
fn refuses(place: &Place, why: &str) {
    let mut running = place.run();
    assert_eq!(running.wait(Duration::from_secs(60)), Some(1), "{}", running.said());
    let said = running.said();
    assert!(said.contains("\"code\":\"one_shot\"") && said.contains(why), "{said}");
}

#[test]
fn a_one_shot_release_lets_exactly_its_span_cross_once_through_a_kill() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let setup = Setup::customers("oneshot", source.cluster(), target.cluster());
    let topic = setup.topics[0].clone();
    setup.source.create(&topic, 4, &[]);
    let place = Place::unreleased(setup);
    let file = place.pipeline_file();
    let (mut load, mut rows) = (Load::new(4), BTreeMap::new());
    for event in Customers::new(61, 1, true).filter(|e| e.op == Op::Create).take(8_000) {
        let partition = i32::try_from(event.id % 4).expect("a partition");
        let (key, value) = (event.key(Format::Json), event.value(Format::Json, true));
        if rows.len() == 3_000 {
            // It is set aside, and the span goes on.
            load.raw(0, Some(b"{\"id\":1}"), Some(b"{"), &[]);
        }
        let offset = load.raw(partition, Some(&key), value.as_deref(), &[]);
        rows.insert((partition, offset), Expected::of(&event, partition).expect("a row"));
    }
    load.send(&place.setup.source, &topic);
    let due = |spans: &[(i32, i64, i64)]| -> Vec<Expected> {
        let is_in = |(partition, offset): &(i32, i64)| {
            spans.iter().any(|(of, from, to)| of == partition && (from..to).contains(&offset))
        };
        rows.iter().filter(|(place, _)| is_in(place)).map(|(_, row)| row.clone()).collect()
    };
    let crossed = |due: &[Expected]| {
        let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
        let verdict = judge(due, &records, serial_in_json);
        assert!(verdict.clean() && records.len() == due.len(), "{} {verdict:?}", records.len());
    };

    // By time it is all that there is, as offsets that people can read.
    let all = ["release", "one-shot", &file, "--author", "cleo", "--from", "2020-01-01T00:00:00Z"];
    place.verb(&all).fine("release one-shot");
    let draft = std::fs::read(place.dir.join("oneshot.release.draft.json")).expect("the draft");
    let draft = release::draft(&Envelope::from_bytes(&draft).expect("one")).expect("a draft");
    let spans = draft.once.expect("its spans");
    let total: i64 = spans.iter().map(|span| span.end - span.start).sum();
    assert_eq!((spans.len(), total), (4, 8_001), "{spans:?}");
    let beyond = format!("{topic}[1]@5-90000");
    let beyond =
        place.verb(&["release", "one-shot", &file, "--author", "cleo", "--records", &beyond]);
    assert!(beyond.code == 2 && beyond.err.contains("does not have all"), "{}", beyond.err);

    // Two partitions in part; killed in the middle, renewed, and gone on with.
    let first = [(0, 150, 1_851), (2, 0, 1_700)];
    one_shot(&place, &first);
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.manifest_topic(), Isolation::Committed);
    assert!(tail.wait_for(1, Duration::from_secs(60)), "{}", last_lines(&running.said(), 20));
    running.kill();
    let before = place.setup.target.read(&place.data_topic(), Isolation::Committed).len();
    let renew = ["release", "renew", &file, "--author", "cleo"];
    place.verb(&renew).fine("release renew");
    for key in ["approvers/ada", "approvers/bo"] {
        place.verb(&["release", "sign", &file, "--key", key]).fine("release sign");
    }
    let mut running = place.run();
    assert_eq!(running.wait(Duration::from_secs(90)), Some(0), "{}", running.said());
    let said = running.said();
    assert!(said.contains("\"event\":\"closed\"") && said.contains("\"set_aside\":1"), "{said}");
    crossed(&due(&first));
    // What it set aside stays, and is said.
    let shown = place.verb(&["release", "show", &file]);
    assert!(
        shown.code == 1 && shown.out.contains("closed: its span is through, and 1 rec"),
        "{}",
        shown.out
    );
    let again = place.verb(&["quarantine", "redrive", &file]);
    assert!(again.code == 1 && again.err.contains("write their rows again"), "{}", again.err);
    let renewed = place.verb(&renew);
    assert!(renewed.code == 1 && renewed.err.contains("nothing else may cross"), "{}", renewed.err);
    say::figure("life.one_shot_killed_at", before, "of 3,400 records had crossed at the kill");

    // Closed: also for what comes later, and for whoever takes the position for a beginning.
    let mut more = Load::new(4);
    for row in Customers::new(62, 900_000, true).filter(|e| e.op == Op::Create).take(40) {
        more.raw(0, Some(&row.key(Format::Json)), row.value(Format::Json, true).as_deref(), &[]);
    }
    more.send(&place.setup.source, &topic);
    refuses(&place, "1 records of it were set aside");
    crossed(&due(&first));
    // What has crossed does not cross again under another one, and what lies behind it may.
    one_shot(&place, &[(0, 1_000, 1_900)]);
    refuses(&place, "has crossed or was passed already");
    let second = [(0, 1_900, 1_950), (1, 7, 20)];
    one_shot(&place, &second);
    let mut running = place.run();
    assert_eq!(running.wait(Duration::from_secs(90)), Some(0), "{}", running.said());
    crossed(&due(&[first, second].concat()));
    place.verify().fine("verify");
    let by = ["--by", "cleo", "--reason", "export"];
    place.verb(&[&["replay", &file], &by[..]].concat()).fine("replay");
}

#[test]
fn a_process_under_an_earlier_release_is_stopped_too() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let setup = Setup::customers("earlier", source.cluster(), target.cluster());
    let topic = setup.topics[0].clone();
    setup.source.create(&topic, 4, &[]);
    let place = Place::new(setup);
    let file = place.pipeline_file();
    let mut running = place.run();
    let mut customers = Customers::new(71, 1, true);
    let mut due = 0;
    let mut crosses = || {
        let load = Load::new(4).customers(&mut customers, 40, Format::Json, &Plants::default());
        load.send(&place.setup.source, &topic);
        due += load.expected.len();
        let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
        tail.wait_for(due, Duration::from_secs(30))
    };
    assert!(crosses(), "{}", last_lines(&running.said(), 20));

    // The next release is of files that are taken back: the process goes on under the first one.
    let path = place.dir.join(&file);
    let text = std::fs::read_to_string(&path).expect("the pipeline");
    let digest = || -> String {
        let shown = place.verb(&["release", "show", &file, "--format", "json"]);
        let told: Value = serde_json::from_str(&shown.out).expect("JSON");
        // Nothing crosses under what is not of these files.
        assert_eq!(shown.code == 0, told["live"] == true && told["fits"] == true, "{told}");
        told["digest"].as_str().expect("a digest").to_owned()
    };
    let first = digest();
    std::fs::write(&path, text.replacen("timestamp: 1s", "timestamp: 2s", 1)).expect("changed");
    place.verb(&["release", "propose", &file, "--author", "cleo"]).fine("release propose");
    let sign = |key: &str| place.verb(&["release", "sign", &file, "--key", key]);
    sign("approvers/ada").fine("release sign");
    let (draft, release) = (place.dir.join("earlier.release.draft.json"), "earlier.release.json");
    let waits = std::fs::read(&draft).expect("the draft");
    // Signed to the end where no process looks.
    std::fs::remove_file(&draft).expect("removed");
    std::fs::write(&path, &text).expect("taken back");
    let mut envelope = Envelope::from_bytes(&waits).expect("an envelope");
    let bo = std::fs::read(place.dir.join("approvers/bo")).expect("a key");
    let bo = douane_ledger::signing::SigningKey::from_bytes(&bo).expect("a key");
    envelope.add_signature(&bo).expect("a signature");
    let second = envelope.to_bytes().expect("bytes");
    std::fs::write(place.dir.join(release), second).expect("the second release");
    hears(&running, "swap_refused");
    let later = digest();
    assert_ne!(first, later);

    // The control: whoever stops what lies there leaves the process going on.
    let reason = ["--key", "approvers/ada", "--reason", "x"];
    let revoke = ["release", "revoke", &file];
    place.verb(&[&revoke[..], &["--release", &later[..12]], &reason].concat()).fine("revoke");
    assert!(crosses() && crosses(), "{}", last_lines(&running.said(), 20));
    // Whoever does not say which stops the earlier one as well.
    let said = place.verb(&[&revoke[..], &reason].concat()).fine("release revoke");
    assert!(said.out.contains("already") && said.out.contains(&first[..12]), "{}", said.out);
    assert_eq!(running.wait(Duration::from_secs(20)), Some(1), "{}", running.said());
    assert!(running.said().contains("\"code\":\"revoked\""), "{}", last_lines(&running.said(), 9));

    // A version that was in force is no other release's.
    std::fs::remove_file(place.dir.join(release)).expect("removed");
    let again = place.verb(&["release", "propose", &file, "--author", "cleo"]);
    assert!(again.code == 1 && again.err.contains("in force already"), "{}", again.err);
}
