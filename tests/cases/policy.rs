//! Policies: what a place's own deny, by which verb and in whose words; and that Open Policy Agent says
//! of the shipped ones what douane says.

use std::fs;
use std::path::Path;

use crate::cases::files::{FILE, Folders, lines};
use crate::cases::tools::asked;

const HOME: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn opa_agrees_on_every_shipped_case() {
    asked("opa_agrees_on_every_shipped_case", "tests/policy/opa.sh");
}

#[test]
fn a_place_denies_more_and_a_release_is_bound_to_it() {
    let place = Folders::new("policy", "json_lines", &lines(19, 200));
    place.fine(&["lint", FILE]);
    let yaml = fs::read_to_string(place.dir.join("douane.yaml")).unwrap();
    let no = |args: &[&str], words: &[&str]| {
        let (code, said) = place.verb(args);
        assert_eq!(code, 1, "{args:?}: {said}");
        words
            .iter()
            .for_each(|word| assert!(said.contains(word), "{args:?}: no `{word}` in {said}"));
    };
    // The example's board has nothing against the example's columns, and is part of what is signed.
    fs::create_dir(place.dir.join("policy")).unwrap();
    place.write("douane.yaml", &format!("{yaml}policy: {{ dir: policy/ }}\n"));
    let board = Path::new(HOME).join("pipelines/examples/policy/board.rego");
    let board = fs::read_to_string(board).unwrap();
    place.write("policy/board.rego", &board);
    place.fine(&["lint", FILE]);
    no(&["run", FILE], &["release propose"]);
    assert_eq!(place.parts().len(), 0);
    place.fine(&["release", "propose", FILE, "--author", "cleo"]);
    for approver in ["approvers/ada", "approvers/bo"] {
        place.fine(&["release", "sign", FILE, "--key", approver]);
    }
    place.fine(&["run", FILE]);
    assert!(!place.parts().is_empty());
    // A board that wants more: by the name of the rule, at the stage.
    place
        .write("policy/board.rego", &board.replace("{\"day\", \"hour\"}", "{\"year\", \"month\"}"));
    let rule = "rule `coarse_days` of the place's own policy";
    no(&["lint", FILE], &[rule, "`birth_date`"]);
    no(&["run", FILE], &[rule]);
    no(&["release", "propose", FILE, "--author", "cleo"], &[rule]);
    // One that does not decide.
    for (text, word) in [
        (board.replace("input.purpose", "input.porpose"), "no field `porpose`"),
        (board.replace("deny contains", "denied contains"), "no rule `deny`"),
        (board.replace("package douane.place", "package douane.release"), "policy/board.rego"),
        (board.replace("planted < 20", "planted <"), "policy/board.rego"),
    ] {
        place.write("policy/board.rego", &text);
        no(&["lint", FILE], &[word]);
        no(&["run", FILE], &[word]);
    }
    fs::remove_file(place.dir.join("policy/board.rego")).unwrap();
    no(&["run", FILE], &["`policy.dir` holds 0 Rego files"]);
    // The control: as it was approved.
    place.write("policy/board.rego", &board);
    place.fine(&["run", FILE]);
}
