use super::*;

/// The shipped pipeline, in a place that reaches nothing.
fn kit(change: impl Fn(&str) -> String) -> (tempfile::TempDir, Kit) {
    let dir = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let read = |name: &str| std::fs::read_to_string(examples.join(name)).unwrap();
    std::fs::create_dir(dir.path().join("scorecards")).unwrap();
    for name in ["domains.yaml", "scorecards/notes.json"] {
        std::fs::write(dir.path().join(name), read(name)).unwrap();
    }
    let file = dir.path().join("customers-json.yaml");
    std::fs::write(&file, change(&read("customers-json.yaml"))).unwrap();
    let place = dir.path().join("douane.yaml");
    let yaml = "clusters:\n  sovereign: { zone: eu-de, id: a, bootstrap: \"localhost:1\" }\n  \
                global: { zone: global, id: b, bootstrap: \"localhost:2\" }\nkeys: { dir: keys/ }\n\
                ledger: { dir: ledger/ }\ntrust: trust.json\ntasks: 1\n";
    std::fs::write(&place, yaml).unwrap();
    let kit = Kit::new(&place, &file, None).unwrap_or_else(|fault| panic!("{fault}"));
    (dir, kit)
}

#[test]
fn every_leaf_gets_values_that_its_stage_takes() {
    let (_dir, kit) = kit(str::to_owned);
    for (leaf, kind) in &kit.kinds {
        assert!(kind.is_some(), "{leaf}");
    }
    let marked = |leaf: &str| kit.kinds[leaf].as_ref().unwrap().is_marked();
    assert!(["id", "email", "phone", "card_number", "notes", "city"].into_iter().all(marked));
    assert!(!marked("birth_date"));
    assert_eq!(kit.kinds["notes"], Some(Kind::Email));
}

#[test]
fn what_differs_in_pairs_is_in_the_proof() {
    let (_dir, kit) = kit(str::to_owned);
    let seen = kit.pairs().unwrap();
    for leaf in &seen {
        assert_eq!(leaf.unexplained, BTreeSet::new(), "{leaf:?}");
    }
    assert_eq!(kit.blind(&seen), Vec::<String>::new());
    let of = |name: &str| seen.iter().find(|leaf| leaf.leaf == name).unwrap();
    assert!(of("phone").decides.contains("phone"));
    assert_eq!(of("street").decides, BTreeSet::new());
    assert!(of("city").shows && !of("email").shows && !of("notes").shows);
}

/// A flow that no table names is found: the eye of the pairs.
#[test]
fn control_a_flow_that_the_proof_does_not_name_is_a_leak() {
    let (_dir, mut kit) = kit(str::to_owned);
    for row in &mut kit.proof.columns {
        if row.column == "balance_cents" {
            row.direct.clear();
            row.indirect.clear();
        }
    }
    let seen = kit.pairs().unwrap();
    let leaks: Vec<_> = seen.iter().filter(|leaf| !leaf.unexplained.is_empty()).collect();
    assert_eq!(leaks.len(), 1, "{leaks:?}");
    assert_eq!(leaks[0].leaf, "balance_cents");
    assert!(leaks[0].unexplained.contains("balance_cents"));
}

#[test]
fn a_column_that_never_changes_makes_the_pairs_blind() {
    let (_dir, kit) = kit(str::to_owned);
    let mut seen = kit.pairs().unwrap();
    for leaf in &mut seen {
        leaf.decides.remove("email");
    }
    assert_eq!(kit.blind(&seen), ["a pair that changes the column email"]);
}

#[test]
fn every_way_of_being_wrong_has_a_marker_of_its_own_in_it() {
    let (_dir, kit) = kit(str::to_owned);
    let wrong = kit.wrong().unwrap();
    assert!(wrong.len() >= 21, "{}", wrong.len());
    for planted in &wrong {
        let own: Vec<_> = planted.markers.iter().filter(|m| m.at == planted.wrong).collect();
        assert!(!own.is_empty(), "{}", planted.wrong);
        for marker in own {
            let parts = [&planted.key, &planted.value];
            let headers = planted.headers.iter().map(|(_, value)| value);
            let mut all = parts.into_iter().flatten().chain(headers);
            let holds = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).contains(&marker.text);
            assert!(all.any(holds), "{}", planted.wrong);
        }
    }
}

fn report() -> Report {
    Report {
        pipeline: "customers".to_owned(),
        records: 1,
        markers: 1,
        wrong: vec!["headers"],
        instead: Vec::new(),
        leaves: vec![LeafSeen {
            leaf: "email".to_owned(),
            class: "identifier".to_owned(),
            marked: true,
            shows: false,
            decides: BTreeSet::from(["email".to_owned()]),
            unexplained: BTreeSet::new(),
            not_tested: false,
        }],
        sinks: vec![Sink { sink: "ledger", bytes: 1, plant_found: true, leaks: Vec::new() }],
        not_seen: Vec::new(),
    }
}

#[test]
fn a_report_passes_only_where_nothing_leaks_and_every_plant_was_found() {
    assert!(report().passes());
    assert!(report().text().ends_with("no leak; every plant was found\n"));
    let spoil: [fn(&mut Report); 6] = [
        |r| r.sinks[0].plant_found = false,
        |r| {
            let (of, place) = ("email".to_owned(), "ledger/log".to_owned());
            r.sinks[0].leaks.push(Leak { of, form: "hex", place });
        },
        |r| r.sinks.clear(),
        |r| r.leaves[0].not_tested = true,
        |r| r.leaves[0].unexplained.extend(["key".to_owned()]),
        |r| r.not_seen.push("a record in quarantine".to_owned()),
    ];
    for change in spoil {
        let mut report = report();
        change(&mut report);
        assert!(!report.passes(), "{report:?}");
        assert!(report.text().contains("NOT TIGHT"), "{}", report.text());
    }
}
