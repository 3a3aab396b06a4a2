use douane_schemas::leaf::Leaf;

use super::*;

fn lines(count: u64, line: impl Fn(u64) -> String) -> Classified {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let text: String = (0..count).map(|n| format!("{}\n", line(n))).collect();
    std::fs::write(&path, text).unwrap();
    file(&path, 10_000).unwrap()
}

fn customers(count: u64) -> Classified {
    lines(count, |n| {
        let note = match n % 3 {
            0 => format!("please call +4915112345{n:03} about it"),
            _ => "all is well here now".to_owned(),
        };
        let country = ["DE", "AT"][n as usize % 2];
        format!(
            r#"{{"key":{{"id":{n}}},"value":{{"op":"c","before":null,"after":{{"id":{n},"email":"ada{n}@example.org","country":"{country}","note":"{note}","shoe":{n},"at":null,"prefs":{{"k{n}":"x"}}}}}}}}"#
        )
    })
}

fn of<'c>(classified: &'c Classified, leaf: &str) -> &'c Proposal {
    classified.leaves.iter().find(|proposal| proposal.leaf == leaf).unwrap()
}

#[test]
fn classes_are_proposed_with_their_evidence() {
    let found = customers(100);
    for (leaf, class, subject) in [
        ("id", Class::Identifier, true),
        ("email", Class::Identifier, false),
        ("country", Class::Public, false),
        ("note", Class::FreeText, false),
        // Nothing is known of it.
        ("shoe", Class::Identifier, false),
        ("at", Class::Identifier, false),
    ] {
        let proposal = of(&found, leaf);
        let told = (proposal.class, proposal.subject);
        assert_eq!(told, (class, subject), "{leaf}: {}", proposal.why);
    }
    let email = of(&found, "email");
    assert_eq!((email.filled, email.distinct), ("(nearly) all", "(nearly) all"));
    assert!(email.found.contains(&Found { detector: "email", share: "(nearly) all" }));
    assert_eq!(of(&found, "country").distinct, "fewer than 20");
    let phones = Found { detector: "phone", share: "10 to 50 %" };
    assert!(of(&found, "note").found.contains(&phones), "{:?}", of(&found, "note").found);
    // A hundred names of one record each are data.
    assert_eq!(found.unnamed, 100);
    assert_eq!((found.records, found.undecoded), (100, 0));
}

#[test]
fn the_proposal_is_yaml_and_holds_no_value() {
    let text = customers(100).text();
    let yaml: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(yaml[0], "classes:");
    assert!(text.contains("\n  id:      { class: identifier, subject: true }  # "), "{text}");
    assert!(text.contains("health, belief"), "{text}");
    for value in ["ada", "example.org", "4915112345", "DE", "k17", "well"] {
        assert!(!text.contains(value), "{value}: {text}");
    }
}

#[test]
fn a_few_records_say_nothing() {
    let found = customers(19);
    assert!(found.leaves.is_empty(), "{found:?}");
    assert!(found.text().starts_with("# fewer than 20 records of "));
}

/// Names that a schema declares are told, and nothing of the values.
#[test]
fn declared_names_are_told_of_a_few_records() {
    let mail = Leaf { path: "mail".into(), leaf_type: douane_schemas::leaf::LeafType::Text };
    let leaves = TableLeaves { key: Vec::new(), row: vec![mail] };
    let columns = ["mail".to_owned()];
    let decoder = Decoder::new(Format::DebeziumJson, leaves.clone(), &columns, Limits::default());
    let (sample, schemas) = (Sample::new().unwrap(), Box::new(NoSchemas));
    let mut decoded = Decoded { sample, decoder, schemas, leaves };
    for n in 0..5 {
        let value = format!(
            r#"{{"before":null,"after":{{"mail":"a{n}@b.de"}},"source":{{"version":"3.7.0.Final","connector":"postgresql","name":"crm","ts_ms":1,"snapshot":"false","db":"crm","schema":"public","table":"t","lsn":5}},"transaction":null,"op":"c","ts_ms":7}}"#
        );
        let record = RawRecord {
            topic: 0,
            partition: 0,
            offset: n,
            timestamp_ms: 5,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
        };
        decoded.take(&record).unwrap();
    }
    let sample = Reading::Decoded(Box::new(decoded)).finish().unwrap();
    let found = sample.classified("t");
    assert_eq!((found.records, found.undecoded, found.unnamed), (5, 0, 0));
    let mail = of(&found, "mail");
    assert_eq!((mail.filled, mail.distinct), ("too few to say", "too few to say"));
    assert!(mail.found.is_empty());
}

/// A record may say that it has a schema; its names are its sender's all the same.
#[test]
fn a_record_that_brings_a_schema_vouches_for_no_name() {
    let found = lines(31, |n| match n {
        7 => r#"{"schema":{},"payload":{"Ada Lovelace, HIV+":1}}"#.to_owned(),
        8 => r#"{"key":{"schema":{},"payload":{"Ada Lovelace":1}},"value":{"plain":8}}"#.to_owned(),
        n => format!(r#"{{"plain":{n}}}"#),
    });
    let names: Vec<&str> = found.leaves.iter().map(|proposal| proposal.leaf.as_str()).collect();
    assert_eq!((names, found.unnamed), (vec!["plain"], 2));
    assert!(!found.text().contains("Ada"));
    // Nor for the keys of a map, however many records have them.
    let found = lines(50, |n| {
        format!(
            r#"{{"schema":{{"type":"struct"}},"payload":{{"op":"c","before":null,"after":{{"id":{n},"prefs":{{"Ada Lovelace":1,"k{n}":2,"a@b.de":3}}}}}}}}"#
        )
    });
    let names: Vec<&str> = found.leaves.iter().map(|proposal| proposal.leaf.as_str()).collect();
    assert_eq!((names, found.unnamed), (vec!["id"], 52));
}

#[test]
fn names_that_may_be_data_are_counted_only() {
    let found = lines(50, |n| format!(r#"{{"a@b.de":{n},"n4915112345678":1,"plain":2}}"#));
    let names: Vec<&str> = found.leaves.iter().map(|proposal| proposal.leaf.as_str()).collect();
    assert_eq!((names, found.unnamed), (vec!["plain"], 2));
}

#[test]
fn files_bad_none_empty_and_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    assert!(file(&path, 10).is_err());
    for text in ["", "\n\n", "7\n", "secret\n"] {
        std::fs::write(&path, text).unwrap();
        let said = file(&path, 10).unwrap_err().to_string();
        assert!(said.contains("holds no row") && !said.contains("secret"), "{said}");
    }
    std::fs::write(&path, "{\"a\":1}\nnot json\n[1]\n{\"a\":2}\n").unwrap();
    let found = file(&path, 10).unwrap();
    assert_eq!((found.records, found.undecoded), (2, 2));
}
