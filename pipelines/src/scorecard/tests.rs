use super::*;

#[path = "../../../transforms/examples/labelled_text/generator.rs"]
mod generator;

fn measured(json: &str, names: &[&str]) -> Result<Scorecard, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.json");
    std::fs::write(&file, json).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    measure(&file, &named(&names).unwrap())
        .map_err(|fault| fault.to_string().replace(&format!("{}:", file.display()), ""))
}

fn kind<'c>(card: &'c Scorecard, name: &str) -> &'c Kind {
    card.kinds.iter().find(|kind| kind.kind == name).unwrap()
}

/// Offsets are characters: before the address stand some of two and of three bytes.
#[test]
fn labels_and_finds_are_compared_by_characters() {
    let card = measured(
        r#"[{"full_text": "für — ada@example.org und bo@example.org, +12025550123",
             "spans": [
               {"entity_type": "EMAIL_ADDRESS", "entity_value": "ada@example.org", "start_position": 6, "end_position": 21},
               {"entity_type": "EMAIL_ADDRESS", "entity_value": "und bo@example.org", "start_position": 22, "end_position": 40},
               {"entity_type": "EMAIL_ADDRESS", "entity_value": "für", "start_position": 0, "end_position": 3},
               {"entity_type": "PERSON", "entity_value": "ada", "start_position": 6, "end_position": 9},
               {"entity_type": "SHOE_SIZE", "entity_value": "x", "start_position": 0, "end_position": 1}]}]"#,
        &["email", "iban"],
    )
    .unwrap();
    let email = kind(&card, "email");
    assert_eq!((email.planted, email.found, email.removed), (3, 2, 1));
    assert_eq!((email.overlap.both, email.overlap.right), (2, 2));
    assert_eq!(email.overlap.recall, Some(0.6667));
    assert_eq!(email.overlap.precision, Some(1.0));
    assert_eq!(email.overlap.f1, Some(0.8));
    assert_eq!(email.overlap.f2, Some(0.7143));
    assert_eq!((email.strict.both, email.strict.right), (1, 1));
    assert_eq!(email.strict.precision, Some(0.5));
    assert_eq!(kind(&card, "iban").overlap.recall, None);
    assert_eq!((card.text.texts, card.text.characters, card.text.misplaced), (1, 54, 1));
    let labels: Vec<&str> = card.not_scored.iter().map(|label| label.label.as_str()).collect();
    assert_eq!(labels, ["PERSON", "SHOE_SIZE"]);
    assert!(!card.text().contains("ada"), "{}", card.text());
}

#[test]
fn a_label_is_removed_by_finds_of_any_kind() {
    let card = measured(
        r#"[{"full_text": "a@b.de/c@d.de", "spans": [
              {"entity_type": "PHONE_NUMBER", "start_position": 0, "end_position": 13},
              {"entity_type": "IBAN_CODE", "start_position": 0, "end_position": 6}]}]"#,
        &["email", "phone", "iban"],
    )
    .unwrap();
    assert_eq!(kind(&card, "email").planted, 0);
    for name in ["phone", "iban"] {
        let kind = kind(&card, name);
        assert_eq!((kind.planted, kind.overlap.both, kind.removed), (1, 0, 1), "{name}");
    }
}

#[test]
fn what_is_demanded_is_reached_or_not() {
    let text = |missed: &str| {
        format!(
            r#"[{{"full_text": "to a@b.de and {missed}", "spans": [
                {{"entity_type": "email", "start_position": 3, "end_position": 9}},
                {{"entity_type": "email", "start_position": 14, "end_position": 18}}]}}]"#
        )
    };
    let half = measured(&text("nobody"), &["email", "iban"]).unwrap();
    let missed = |demand: &[&str]| {
        let items: Vec<String> = demand.iter().map(|item| (*item).to_owned()).collect();
        let demand = Demand::parse(&items).unwrap();
        demand.missed(&half).iter().map(|missed| missed.kind.to_owned()).collect::<Vec<_>>()
    };
    assert!(missed(&[]).is_empty());
    assert!(missed(&["0.5"]).is_empty());
    assert_eq!(missed(&["0.51"]), ["email"]);
    assert!(missed(&["0.9", "email=0.5"]).is_empty());
    // A share for all is held against one kind at least.
    let of_nothing = |demand: &[&str], card: &Scorecard| {
        let items: Vec<String> = demand.iter().map(|item| (*item).to_owned()).collect();
        Demand::parse(&items).unwrap().of_nothing(card)
    };
    let misspelt = measured(&text("nobody").replace("\"email\"", "\"emial\""), &["email"]).unwrap();
    let unlabelled = r#"[{"full_text": "to a@b.de", "spans": []}]"#;
    let unlabelled = measured(unlabelled, &["email"]).unwrap();
    for card in [&misspelt, &unlabelled] {
        assert_eq!((of_nothing(&["0.9"], card), of_nothing(&[], card)), (Some(0.9), None));
    }
    assert_eq!(of_nothing(&["0.9"], &half), None);
    assert_eq!(of_nothing(&["0.9", "email=0.5"], &half), Some(0.9), "email has its own");
    // Of what nothing is labelled nothing was measured.
    assert_eq!(missed(&["0.5", "iban=0.1"]), ["iban"]);
    let whole = Demand::parse(&["phone=0.1".to_owned()]).unwrap();
    assert_eq!(whole.not_run(&half), Some("phone"));
    for bad in
        [vec!["1.1"], vec!["x"], vec!["0.1", "0.2"], vec!["fax=1"], vec!["email=1", "email=1"]]
    {
        let items: Vec<String> = bad.iter().map(|item| (*item).to_owned()).collect();
        assert!(Demand::parse(&items).is_err(), "{bad:?}");
    }
}

/// Where, and what is missing; never what was found.
#[test]
fn labelled_text_bad_files() {
    let good = r#"{"full_text":"secret","spans":[]}"#;
    for (json, expected) in [
        ("", "item 1: the file ends"),
        ("[]", "holds no text"),
        ("{}", "item 1: is of another form"),
        (r#""secret""#, "item 1: is of another form"),
        (&format!("[{good},{good}"), "item 3: the file ends"),
        (&format!("[{good}] secret"), "item 2: is no JSON"),
        (&format!("[{good},{{\"spans\":[]}}]"), "item 2: has no `full_text`"),
        (r#"[{"full_text":"secret"}]"#, "item 1: has no `spans`"),
        (r#"[{"full_text":7,"spans":[]}]"#, "item 1: is of another form"),
        (r#"[{"full_text":"secret","spans":["secret"]}]"#, "item 1: is of another form"),
        (
            r#"[{"full_text":"secret","spans":[{"entity_type":"email","start_position":0}]}]"#,
            "item 1: has no `end_position`",
        ),
        (
            r#"[{"full_text":"secret","spans":[{"entity_type":"email","start_position":0,"end_position":7}]}]"#,
            "item 1: span 1: 0 to 7 is no part of its 6 characters",
        ),
        (
            r#"[{"full_text":"secret","spans":[{"entity_type":"email","start_position":3,"end_position":3}]}]"#,
            "item 1: span 1: 3 to 3 is no part",
        ),
    ] {
        let said = measured(json, &["email"]).unwrap_err();
        assert!(said.contains(expected), "{json}\n{said}");
        assert!(said.contains("\n  next: ") && !said.contains("secret"), "{said}");
    }
}

#[test]
fn spans_touch_across_others_that_are_longer() {
    let of = |ranges: &[(usize, usize)]| Spans::new(ranges.iter().map(|r| r.0..r.1).collect());
    let long = of(&[(0, 100), (5, 6), (200, 201)]);
    assert_eq!(of(&[(50, 51), (150, 160), (200, 300)]).touched_by(&long), 2);
    assert_eq!(of(&[(100, 200)]).touched_by(&long), 0);
    assert_eq!(long.touched_by(&of(&[(0, 5)])), 1);
    assert_eq!(long.touched_by(&of(&[])), 0);
}

/// Sentences with planted items: two hundred of a kind.
const GENERATED: usize = 10_000;

/// The scorecards and the tables that the repository shows are what its detectors find today. This
/// test writes them anew and fails once: look at the difference, and commit it.
#[test]
fn what_the_repository_shows_was_measured() {
    let all: Vec<&str> = all().iter().map(|detector| detector.name()).collect();
    let card = |names: &[&str]| fixture::card(names);
    let whole: Scorecard = serde_json::from_str(&card(&all)).unwrap();
    let planted = measured(&generator::json(GENERATED, 1, &all).to_string(), &all).unwrap();
    let mut shown = std::fs::read_to_string("../docs/figures.md").unwrap();
    for (name, card) in [("scorecard", &whole), ("scorecard of planted items", &planted)] {
        let (head, rest) = shown.split_once(&format!("<!-- {name} -->\n")).unwrap();
        let (_, tail) = rest.split_once(&format!("<!-- /{name} -->")).unwrap();
        shown = format!("{head}<!-- {name} -->\n{}<!-- /{name} -->{tail}", table(card));
    }
    let planted = format!("{}\n", serde_json::to_string_pretty(&planted).unwrap());
    let notes = card(&["email", "phone", "card", "iban"]);
    let mut stale = Vec::new();
    for (file, text) in [
        ("examples/scorecards/notes.json", notes.clone()),
        ("../docker/demo/pipelines/scorecards/notes.json", notes),
        ("../docs/scorecards/pii-labelled-sentences.json", card(&all)),
        ("../docs/scorecards/planted-items.json", planted),
        ("../docs/figures.md", shown),
    ] {
        if std::fs::read_to_string(file).is_ok_and(|found| found == text) {
            continue;
        }
        std::fs::create_dir_all(Path::new(file).parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
        stale.push(file);
    }
    assert!(stale.is_empty(), "written anew, look at the difference: {}", stale.join(", "));
}

/// The table of docs/figures.md.
fn table(card: &Scorecard) -> String {
    let share = |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{share:.4}"));
    let mut out = String::from(
        "| kind | labelled as | planted | found | both | recall | precision | F1 | F2 | removed | strict F1 |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for kind in card.kinds.iter().filter(|kind| kind.planted > 0) {
        let o = &kind.overlap;
        let cells = [
            kind.kind.clone(),
            kind.labels.join(", "),
            kind.planted.to_string(),
            kind.found.to_string(),
            o.both.to_string(),
            share(o.recall),
            share(o.precision),
            share(o.f1),
            share(o.f2),
            kind.removed.to_string(),
            share(kind.strict.f1),
        ];
        writeln!(out, "| {} |", cells.join(" | ")).unwrap();
    }
    out
}
