//! Public tools that share nothing with douane, over a real ledger directory and real signed documents: Go's own
//! transparency log code, and securesystemslib with in-toto-attestation. Each says that all is well, and finds each
//! planted fraud. docs/audit.md is walked with them, and with a witness.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases::files::{FILE, Folders, lines};
use crate::say;

const HOME: &str = env!("CARGO_MANIFEST_DIR");
const LOG: &str = "ledger/customers/shard-0/tlog";
const ORIGIN: &str = "douane/customers/shard-0";

/// What a script made, its last line; without what it needs the case is left out, aloud.
fn made(case: &str, script: &str, args: &[&str]) -> Option<String> {
    let home = Path::new(HOME).join("tests/verifiers");
    let said = Command::new(home.join(script)).args(args).output().expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match said.status.code() {
        Some(0) => Some(text(&said.stdout)),
        Some(3) => {
            say::skipped(case, &text(&said.stderr));
            None
        }
        _ => panic!("{script}: {}{}", text(&said.stdout), text(&said.stderr)),
    }
}

/// A tool in a place, and the words in front of what it is asked.
struct Tool<'p> {
    place: &'p Folders,
    words: Vec<String>,
}

impl<'p> Tool<'p> {
    fn tlog(place: &'p Folders, case: &str) -> Option<Self> {
        let out = place.dir.join("tlog").display().to_string();
        made(case, "tlog.sh", &[&out])?;
        Some(Self { place, words: vec![out] })
    }

    fn dsse(place: &'p Folders, case: &str) -> Option<Self> {
        let python = made(case, "python.sh", &[])?;
        let script = Path::new(HOME).join("tests/verifiers/dsse.py").display().to_string();
        Some(Self { place, words: vec![python, script] })
    }

    /// The exit code, and what was said.
    fn ask(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(args).current_dir(&self.place.dir);
        let out = command.output().expect("the tool");
        let text = [out.stdout, out.stderr].concat();
        (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    #[track_caller]
    fn fine(&self, args: &[&str]) -> String {
        let (code, said) = self.ask(args);
        assert_eq!(code, 0, "{args:?}: {said}");
        said
    }

    #[track_caller]
    fn refuses(&self, args: &[&str], word: &str) {
        let (code, said) = self.ask(args);
        let refused = code == 1 && said.contains("NOT as it was signed") && said.contains(word);
        assert!(refused, "{args:?}: {code} {said}");
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// With so many telephone numbers that no stage takes that the log has more than one tile once they were tried again.
fn with_bad(text: &str) -> String {
    text.replace("\"phone\":\"+49", "\"phone\":\"+49abc")
}

fn size(place: &Folders) -> u64 {
    let text = fs::read_to_string(place.dir.join(LOG).join("checkpoint")).unwrap();
    text.lines().nth(1).unwrap().parse().unwrap()
}

/// One byte of a file is another; what was there.
fn flipped(file: &Path) -> Vec<u8> {
    let before = fs::read(file).unwrap();
    let mut bytes = before.clone();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
    before
}

#[test]
fn a_public_log_verifier_accepts_the_directory_and_finds_each_fraud() {
    let case = "a_public_log_verifier_accepts_the_directory_and_finds_each_fraud";
    let first = with_bad(&lines(19, 700));
    let place = Folders::new("verifiers-log", "json_lines", &first);
    let Some(tool) = Tool::tlog(&place, case) else { return };
    place.fine(&["run", FILE]);
    // Each that is tried again and refused again is an entry.
    let (code, said) = place.verb(&["quarantine", "redrive", FILE]);
    assert_eq!(code, 1, "{said}");
    let then = place.dir.join("then");
    fs::create_dir(&then).unwrap();
    for folder in ["ledger", "out", "in"] {
        copy(&place.dir.join(folder), &then.join(folder));
    }
    let grow = |more: &str| {
        place.write("in/customers.jsonl", &format!("{first}{more}"));
        place.fine(&["run", FILE]);
    };
    grow(&lines(23, 100));
    let log = |more: &[&'static str]| -> Vec<&'static str> {
        [&["-key", "keys/checkpoint.key.pub", "-origin", ORIGIN], more, &[LOG]].concat()
    };
    let said = tool.fine(&log(&[]));
    say::note(said.trim());
    assert!(size(&place) > 256, "more than one tile: {}", size(&place));
    fs::copy(place.dir.join(LOG).join("checkpoint"), place.dir.join("kept")).unwrap();
    let kept = size(&place);
    grow(&format!("{}{}", lines(23, 100), lines(29, 100)));
    assert!(size(&place) > kept);
    let said = tool.fine(&log(&["-earlier", "kept"]));
    assert!(said.contains(&format!("goes on from entry {kept}")), "{said}");

    // One byte, of each kind of file; and where one is missing.
    let tlog = place.dir.join(LOG);
    let files = |of: &str| -> Vec<PathBuf> {
        let below = crate::leaks::files_below(&tlog.join(of));
        below.into_iter().filter(|file| !file.to_string_lossy().contains(".p/")).collect()
    };
    let (entries, hashes) = (files("tile/entries"), files("tile/0"));
    assert!(!entries.is_empty() && !hashes.is_empty(), "{entries:?} {hashes:?}");
    let (full, rest) = (size(&place) / 256, size(&place) % 256);
    let newest = |of: &str| match rest {
        0 => tlog.join(format!("tile/{of}/{:03}", full - 1)),
        rest => tlog.join(format!("tile/{of}/{full:03}.p/{rest}")),
    };
    for file in
        [&entries[0], &hashes[0], &newest("entries"), &newest("0"), &tlog.join("checkpoint")]
    {
        let before = flipped(file);
        tool.refuses(&log(&[]), "");
        fs::remove_file(file).unwrap();
        tool.refuses(&log(&[]), "no such file");
        fs::write(file, before).unwrap();
        tool.fine(&log(&["-earlier", "kept"]));
    }
    let root = tlog.join(format!("tile/1/000.p/{full}"));
    let before = flipped(&root);
    tool.refuses(&log(&[]), "tile/1/000.p/");
    fs::write(&root, before).unwrap();
    // Another key, another log.
    let key = ["-key", "keys/manifest.key.pub", "-origin", ORIGIN, LOG];
    tool.refuses(&key, "no verifiable signatures");
    let origin = ["-key", "keys/checkpoint.key.pub", "-origin", "douane/customers/shard-1", LOG];
    tool.refuses(&origin, "no verifiable signatures");
    // An older state, and another history, each with its own good signatures.
    for folder in ["ledger", "out", "in"] {
        copy(&then.join(folder), &place.dir.join(folder));
    }
    tool.fine(&log(&[]));
    tool.refuses(&log(&["-earlier", "kept"]), &format!("had {kept}"));
    grow(&lines(31, 100));
    grow(&format!("{}{}", lines(31, 100), lines(37, 100)));
    assert!(size(&place) >= kept);
    tool.fine(&log(&[]));
    tool.refuses(&log(&["-earlier", "kept"]), "does not go on");
    // The control: douane's own answer, by itself, is that of the tool without a checkpoint that was kept.
    place.fine(&["verify", "ledger/customers/shard-0", "--keys", "keys"]);
}

#[test]
fn a_public_envelope_verifier_accepts_what_was_signed_and_finds_each_fraud() {
    let case = "a_public_envelope_verifier_accepts_what_was_signed_and_finds_each_fraud";
    let place = Folders::new("verifiers-dsse", "json_lines", &lines(19, 200));
    let Some(tool) = Tool::dsse(&place, case) else { return };
    place.fine(&["run", FILE]);
    let parts = place.parts();
    let manifest = parts[0].join("_manifest.json");
    let file = manifest.to_str().unwrap();
    let of_manifest = ["--key", "keys/manifest.key.pub", file];
    let said = tool.fine(&of_manifest);
    assert!(said.contains("attestation/manifest/v1, signed by 1"), "{said}");
    let both = ["--key", "approvers/ada.pub", "--key", "approvers/bo.pub", "--threshold", "2"];
    for (file, of) in [("customers.release.json", "release"), ("trust.json", "trust-root")] {
        let said = tool.fine(&[&both[..], &[file]].concat());
        assert!(said.contains(&format!("attestation/{of}/v1, signed by 2")), "{said}");
    }

    let whole = fs::read_to_string(&manifest).unwrap();
    let envelope: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let changed = |field: &str, value: serde_json::Value| {
        let mut envelope = envelope.clone();
        envelope[field] = value;
        envelope.to_string()
    };
    let mut other = envelope["payload"].as_str().unwrap().to_owned();
    let middle = other.len() / 2;
    let with = if &other[middle..=middle] == "A" { "B" } else { "A" };
    other.replace_range(middle..=middle, with);
    for planted in [
        changed("payload", other.into()),
        changed("payloadType", "application/json".into()),
        changed("signatures", serde_json::json!([])),
    ] {
        fs::write(&manifest, planted).unwrap();
        tool.refuses(&of_manifest, "");
    }
    fs::write(&manifest, &whole).unwrap();
    tool.refuses(&["--key", "keys/checkpoint.key.pub", file], "do not match threshold");
    // Of two approvers one.
    let release = fs::read_to_string(place.dir.join("customers.release.json")).unwrap();
    let mut one: serde_json::Value = serde_json::from_str(&release).unwrap();
    one["signatures"].as_array_mut().unwrap().pop();
    place.write("one.json", &one.to_string());
    tool.refuses(&[&both[..], &["one.json"]].concat(), "do not match threshold");
    tool.fine(&of_manifest);
}

/// docs/audit.md, each of its blocks.
fn blocks(mark: &str) -> Vec<String> {
    let document = fs::read_to_string(Path::new(HOME).join("docs/audit.md")).unwrap();
    let mark = format!("<!-- {mark} -->\n```console\n");
    let each = document.split(&mark).skip(1);
    each.map(|block| block.split("```").next().unwrap_or_default().replace(" \\\n", " ")).collect()
}

#[test]
fn each_command_of_the_audit_is_walked_by_some_test() {
    let document = fs::read_to_string(Path::new(HOME).join("docs/audit.md")).unwrap();
    let marks = ["outside", "inside", "public", "witness"];
    let walked: Vec<usize> = marks.iter().map(|mark| blocks(mark).len()).collect();
    let consoles = document.matches("```console\n").count();
    assert_eq!(walked.iter().sum::<usize>(), consoles, "{walked:?}");
    assert!(walked.iter().all(|blocks| *blocks > 0), "{walked:?}");
}

#[test]
fn an_auditor_walks_with_public_tools_as_the_document_says() {
    let case = "an_auditor_walks_with_public_tools_as_the_document_says";
    let place = Folders::new("verifiers-walk", "json_lines", &lines(19, 200));
    place.fine(&["run", FILE]);
    fs::copy(place.dir.join(LOG).join("checkpoint"), place.dir.join("kept.checkpoint")).unwrap();
    fs::copy(place.parts()[0].join("_manifest.json"), place.dir.join("manifest.json")).unwrap();
    place.write("in/customers.jsonl", &lines(19, 400));
    place.fine(&["run", FILE]);
    let tools =
        [("$ tlog ", Tool::tlog(&place, case)), ("$ python dsse.py ", Tool::dsse(&place, case))];
    let mut walked = 0;
    for line in blocks("public").iter().flat_map(|block| block.lines()) {
        let known = tools.iter().find_map(|(word, tool)| Some((line.strip_prefix(word)?, tool)));
        let (args, tool) = known.unwrap_or_else(|| panic!("{line}"));
        if let Some(tool) = tool {
            tool.fine(&args.split_whitespace().collect::<Vec<_>>());
        }
        walked += 1;
    }
    assert_eq!(walked, 3, "every command of the block");
}

#[test]
fn a_witness_walks_as_the_document_says() {
    let place = Folders::new("verifiers-witness", "json_lines", &lines(19, 200));
    place.fine(&["run", FILE]);
    fs::copy(place.dir.join("keys/checkpoint.key.pub"), place.dir.join("checkpoint.key.pub"))
        .unwrap();
    let mut walked = Vec::new();
    for line in blocks("witness").iter().flat_map(|block| block.lines()) {
        let (who, typed) = line.split_once('$').expect("a prompt");
        let typed = typed.trim().strip_prefix("douane ").expect("a command");
        let (args, file) = typed.split_once(" > ").unwrap_or((typed, ""));
        let said = place.fine(&args.split_whitespace().collect::<Vec<_>>());
        if !file.is_empty() {
            place.write(file, &said);
        }
        walked.push(who.to_owned());
    }
    let people = ["witness", "witness", "place", "witness", "place", "auditor"];
    assert_eq!(walked, people, "every command of the block");
}
