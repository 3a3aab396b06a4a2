//! A backup made of a place in use holds and can be put back; an older one is told: by the position, by the layout, by the
//! log of keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cases::files::{FILE, Folders, lines};
use crate::cases::verbs::is_as_documented;
use crate::pace::Instant;
use crate::place::Said;

fn replace(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// docs/operations.md as it stands there.
#[test]
fn a_place_is_put_back_as_the_document_says() {
    let place = Folders::new("put-back", "json_lines", &lines(23, 300));
    place.fine(&["run", FILE]);
    let crossed = place.records().len();
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let document = fs::read_to_string(document).unwrap();
    let mut walked = 0;
    for block in document.split("<!-- backup -->\n```console\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            let typed = line.strip_prefix("$ ").expect("a prompt");
            match typed.strip_prefix("douane ") {
                Some(args) => drop(place.fine(&args.split(' ').collect::<Vec<_>>())),
                None => {
                    let mut shell = Command::new("sh");
                    let done = shell.args(["-c", typed]).current_dir(&place.dir).status();
                    assert!(done.unwrap().success(), "{line}");
                }
            }
            walked += 1;
        }
    }
    assert_eq!(walked, 5, "every command of the document");
    let closed = fs::metadata(place.dir.join("backups/monday")).unwrap().permissions().mode();
    assert_eq!(closed & 0o777, 0o700, "keys lie in it");
    // It goes on where it stood: what crossed is not sent again, and what comes next is.
    assert_eq!(place.records().len(), crossed);
    place.write("in/customers.jsonl", &lines(23, 400));
    place.fine(&["run", FILE]);
    let whole = Folders::new("never-lost", "json_lines", &lines(23, 400));
    whole.fine(&["run", FILE]);
    assert!(crossed < place.records().len());
    assert_eq!(place.records().len(), whole.records().len());
    // Of keys alone no entry is missing.
    replace(&place.dir.join("backups/monday/keys"), &place.dir.join("keys"));
    place.write("in/customers.jsonl", &lines(23, 450));
    place.fine(&["run", FILE]);
    assert!(whole.records().len() < place.records().len());
}

#[test]
fn a_backup_of_a_place_in_use_holds_and_an_older_one_is_told() {
    let place = Folders::new("backup", "json_lines", &lines(19, 300));
    place.fine(&["run", FILE]);
    place.fine(&["keys", "rotate", "--quarantine"]);
    let out = place.fine(&["backup", "old", "--format", "json"]);
    let said = Said { code: 0, out, err: String::new() };
    let made = is_as_documented("backup", &said, &[]);
    assert!(made["logs"].as_array().unwrap().len() >= 3, "keys, control, shard: {made}");
    let (code, said) = place.verb(&["backup", "old"]);
    assert!(code == 2 && said.contains("is there already"), "{said}");
    std::os::unix::fs::symlink(place.dir.join("ledger"), place.dir.join("link")).unwrap();
    for within in ["ledger/old", "link/old", "nowhere/../keys/old"] {
        let (code, said) = place.verb(&["backup", within]);
        assert!(code == 2 && said.contains("lies in what it is a copy of"), "{within}: {said}");
    }

    // Backups while it runs, and each holds by itself.
    place.write("in/customers.jsonl", &lines(19, 6_000));
    let mut run = place.start();
    let (end, mut backups) = (Instant::now() + Duration::from_secs(60), 0);
    while run.try_wait().unwrap().is_none() && Instant::now() < end {
        let name = format!("running-{backups}");
        place.fine(&["backup", &name]);
        place.fine(&["verify", &format!("{name}/ledger"), "--keys", &format!("{name}/keys")]);
        backups += 1;
    }
    assert!(run.wait().unwrap().success() && backups > 0, "{backups} backups");
    place.fine(&["keys", "rotate", "--quarantine"]);
    place.fine(&["run", FILE]);

    for (what, word) in [
        (&["ledger"][..], "is an older copy"),
        (&["ledger/customers"], "ledger lost"),
        (&["ledger/customers/shard-0"], "ledger lost"),
        (&["ledger/customers/control"], "ledger lost"),
        (&["keys"], "is an older copy"),
        // Store and log fit each other: only the layout in the target knows better.
        (&["keys", "ledger/_keys"], "is an older copy"),
    ] {
        for part in what {
            replace(&place.dir.join(part), &place.dir.join("aside").join(part));
            replace(&place.dir.join("old").join(part), &place.dir.join(part));
        }
        place.write("in/customers.jsonl", &lines(19, 6_100));
        let (code, said) = place.verb(&["run", FILE]);
        assert!(code != 0 && said.contains(word), "{what:?} put back: {code} {said}");
        assert!(said.contains("\n  next: "), "{what:?} put back: what to do is said: {said}");
        // With that as it was it goes on: what is told is what was put back.
        for part in what {
            replace(&place.dir.join("aside").join(part), &place.dir.join(part));
        }
        place.fine(&["run", FILE]);
    }
    place.fine(&["verify", "ledger", "--keys", "keys"]);
}
