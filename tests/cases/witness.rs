//! Somebody outside who cosigns a ledger's checkpoints: what he cosigned is asked for by `verify`, what
//! was rolled back or forked he cosigns never, also after SIGKILL at any moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::cases::files::{FILE, Folders, lines};
use crate::cases::verbs::is_as_documented;
use crate::place::Said;
use crate::say;

const LOG: &str = "ledger/customers/shard-0";

struct Witness<'p> {
    place: &'p Folders,
    key: String,
}

impl Witness<'_> {
    fn state(&self) -> Vec<Vec<u8>> {
        let files = fs::read_dir(self.place.dir.join("witness")).unwrap();
        let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
        let json = files.iter().filter(|path| path.extension().is_some_and(|end| end == "json"));
        json.map(|path| fs::read(path).unwrap()).collect()
    }

    /// Asks for the published checkpoint; the exit code, and what was said.
    fn ask(&self, since: u64) -> (i32, String) {
        let ask = ["witness", "ask", LOG, "--since", &since.to_string()];
        let request = self.place.fine(&ask);
        let document = documented(self.place, "witness-ask", &ask);
        assert_eq!(document["request"].as_str().map(str::trim), Some(request.trim()));
        self.place.write("request", &request);
        let answer = documented(self.place, "witness-cosign", &COSIGN);
        assert_eq!(answer["cosigned"], answer["line"].is_string(), "{answer}");
        match answer["line"].as_str() {
            Some(line) => (0, line.to_owned()),
            None => self.place.verb(&COSIGN),
        }
    }

    fn attach(&self, line: &str) {
        self.place.write("line", line);
        let attach = ["witness", "attach", LOG, "--request", "request", "--cosignature", "line"];
        self.place.fine(&attach);
        documented(self.place, "witness-attach", &attach);
    }

    fn verify(&self) -> (i32, String) {
        self.place.verb(&["verify", LOG, "--witness", &self.key])
    }
}

/// What a verb prints as JSON, held against the documents' example.
fn documented(place: &Folders, name: &str, args: &[&str]) -> Value {
    let mut command = Command::new(crate::place::binary());
    command.args(args).args(["--format", "json"]).current_dir(&place.dir);
    let said = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = said.status.code().unwrap();
    is_as_documented(name, &Said { code, out: text(said.stdout), err: text(said.stderr) }, &[])
}

const COSIGN: [&str; 9] = [
    "witness",
    "cosign",
    "--name",
    "witness",
    "--key",
    "witness.key",
    "--state",
    "witness",
    "request",
];

/// Size of the published checkpoint.
fn size(place: &Folders) -> u64 {
    let text = fs::read_to_string(place.dir.join(LOG).join("tlog/checkpoint")).unwrap();
    text.lines().nth(1).unwrap().parse().unwrap()
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

#[test]
fn a_witness_keeps_one_history_through_kills() {
    let place = Folders::new("witness", "json_lines", &lines(19, 300));
    place.fine(&["run", FILE]);
    let key = place.fine(&["witness", "init", "--name", "witness", "--out", "witness.key"]);
    let witness = Witness { place: &place, key: key.trim().to_owned() };
    let checkpoint = fs::read_to_string(place.dir.join(LOG).join("tlog/checkpoint")).unwrap();
    let origin = checkpoint.lines().next().unwrap();
    let other = ["witness", "init", "--name", "other", "--out", "other.key"];
    documented(&place, "witness-init", &other);
    let trust = ["witness", "trust", "--state", "witness", "--origin", origin, "--log-key"];
    documented(&place, "witness-trust", &[&trust[..], &["keys/checkpoint.key.pub"]].concat());
    let (code, said) = witness.verify();
    assert!(code == 1 && said.contains("no checkpoint of this log is cosigned"), "{said}");
    let (code, line) = witness.ask(0);
    assert_eq!(code, 0, "{line}");
    witness.attach(&line);
    let (code, said) = witness.verify();
    assert!(code == 0 && said.contains("cosigned by witness"), "{said}");
    let first = size(&place);
    let old = place.dir.join("old-ledger");
    copy(&place.dir.join("ledger"), &old);

    // The log grows; the witness is killed while he cosigns that, again and again.
    place.write("in/customers.jsonl", &lines(19, 900));
    place.fine(&["run", FILE]);
    let now = size(&place);
    assert!(now > first);
    let request = place.fine(&["witness", "ask", LOG, "--since", &first.to_string()]);
    place.write("request", &request);
    let before = witness.state();
    let mut cut = 0;
    for kill in 0..say::count("DOUANE_WITNESS_KILLS", 12) {
        let mut command = Command::new(crate::place::binary());
        command.args(COSIGN).current_dir(&place.dir).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(kill as u64 * 3 % 25));
        cut += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        // Either it was remembered or not: never anything else.
        let state = witness.state();
        assert!(
            state == before || String::from_utf8_lossy(&state[0]).contains(&format!("\"{now}\""))
        );
    }
    say::figure("witness.kills", cut, "cosignings cut");
    let remembered = witness.state() != before;
    let (code, line) = witness.ask(if remembered { now } else { first });
    assert_eq!(code, 0, "{line}");
    witness.attach(&line);
    assert_eq!(witness.verify().0, 0);
    let within = ["verify", LOG, "--witness", &witness.key];

    // The ledger is put back, as a whole and with its own signatures.
    let (code, said) = place.verb(&[&within[..], &["--cosigned-within", "1h"]].concat());
    assert_eq!(code, 0, "{said}");
    std::thread::sleep(Duration::from_millis(2_100));
    let (code, said) = place.verb(&[&within[..], &["--cosigned-within", "1s"]].concat());
    assert!(code == 1 && said.contains("older than was asked for"), "{said}");
    // Which log it is, is the auditor's word and not the file's.
    for (named, expected) in [(origin, 0), ("douane/customers/shard-1", 1)] {
        let named = ["verify", LOG, "--keys", "keys", "--origin", named];
        let (code, said) = place.verb(&named);
        assert_eq!(code, expected, "{said}");
    }
    // Keys that were named and are not there are no keys that were not named.
    for folder in ["no-such-folder", "pipelines", "douane.yaml"] {
        let (code, said) = place.verb(&["verify", LOG, "--keys", folder]);
        assert!(code == 2 && said.contains("`checkpoint.key.pub`"), "{code} {said}");
    }
    let cosigned = fs::read(place.dir.join(LOG).join(format!("tlog/cosigned/{now}"))).unwrap();
    copy(&old, &place.dir.join("ledger"));
    place.fine(&["verify", LOG]);
    for since in [0, first, now] {
        let (code, said) = witness.ask(since);
        assert!(code == 1 && said.contains("not cosigned: rolled_back"), "{said}");
    }
    fs::write(place.dir.join(LOG).join(format!("tlog/cosigned/{now}")), cosigned).unwrap();
    let (code, said) = witness.verify();
    assert!(code == 1 && said.contains("covers more entries than are here"), "{said}");
}

/// Bytes of all files below a folder.
fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(
            |path| {
                if path.is_dir() { bytes_below(&path) } else { fs::metadata(path).unwrap().len() }
            },
        )
        .sum()
}

#[test]
fn evidence_of_many_records_is_small() {
    let records = say::count("DOUANE_EVIDENCE_RECORDS", 10_000);
    let place = Folders::new("evidence", "json_lines", &lines(19, records));
    place.fine(&["run", FILE]);
    let (journals, tiles) =
        (place.dir.join(LOG).join("journals"), place.dir.join(LOG).join("tlog"));
    let transactions = place.parts().len();
    let crossed = place.records().len();
    // A delete and its tombstone are one record.
    assert!(crossed > records / 2 && transactions > 0);
    let manifests: u64 = place
        .parts()
        .iter()
        .map(|part| fs::metadata(part.join("_manifest.json")).unwrap().len())
        .sum();
    let million = |bytes: u64| bytes * 1_000_000 / crossed as u64;
    say::figure("evidence.records_per_transaction", crossed / transactions, "records");
    for (name, bytes) in [
        ("journal", bytes_below(&journals)),
        ("tiles", bytes_below(&tiles)),
        ("manifests", manifests),
    ] {
        say::figure(&format!("evidence.{name}"), million(bytes), "bytes a million records");
        assert!(million(bytes) < 16 << 20, "{name}: {bytes} bytes for {crossed} records");
    }
}
