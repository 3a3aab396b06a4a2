//! Releases, targets and keys that no gate is made for.

use douane_ledger::release::{CheckDigit, Release, Shape};
use douane_schemas::keys::Purpose;

use super::fixture::{
    column, gate, keys, live, root, shape_bins, shape_fpe, shape_token, table, target,
};
use crate::{Gate, GateFault, GateKeys, Target};

fn refused(change: impl Fn(&mut Release)) -> bool {
    let mut release = table().release();
    change(&mut release);
    gate(&release).is_err()
}

#[test]
fn the_unchanged_release_has_a_gate() {
    assert!(!refused(|_| ()));
}

/// Every class with every shape: what may cross is a short list.
#[test]
fn classes_cross_in_their_shapes_only() {
    let shapes = [
        ("token", shape_token("base32", "d"), "text", "text"),
        ("fpe", shape_fpe(), "text", "text"),
        ("mask", Shape::Mask { keep_first: 0, keep_last: 4, fill: '*' }, "text", "text"),
        ("constant", Shape::Constant { text: "x".into() }, "text", "text"),
        (
            "redacted",
            Shape::Redacted {
                detectors: vec!["email".into()],
                dictionaries: vec![],
                in_place: vec![],
            },
            "text",
            "text",
        ),
        ("year", Shape::Year, "int32", "date"),
        ("month", Shape::Month, "text", "date"),
        ("day", Shape::Day, "date", "timestamp"),
        ("hour", Shape::Hour, "micro_timestamp", "timestamp"),
        ("bins", shape_bins(), "text", "int64"),
        ("prefix", Shape::Prefix { length: 2, fill: None }, "text", "text"),
        ("public", Shape::Public, "text", "text"),
    ];
    let may = |class: &str, shape: &str| match class {
        "public" | "metadata" => true,
        "identifier" => matches!(shape, "token" | "fpe" | "mask" | "constant"),
        "quasi" => !matches!(shape, "redacted" | "public"),
        "sensitive" => matches!(shape, "bins" | "constant"),
        "special" | "free_text" | "technical" => shape == "constant",
        _ => false,
    };
    let classes = [
        "public",
        "metadata",
        "identifier",
        "quasi",
        "sensitive",
        "special",
        "free_text",
        "technical",
        "secret",
        "Public",
        "unheard_of",
        "",
    ];
    let mut refusals = 0;
    for class in classes {
        for (name, shape, column_type, leaf_type) in &shapes {
            let change = |overridden: bool| {
                move |release: &mut Release| {
                    let at = 5;
                    let path = release.columns[at].from.clone();
                    let leaf = release.leaves.iter_mut();
                    let leaf = leaf.filter(|l| l.part == "row").find(|l| l.path == path).unwrap();
                    leaf.class = class.into();
                    leaf.leaf_type = (*leaf_type).into();
                    let changed = column(&path, class, column_type, shape.clone());
                    release.columns[at] = changed;
                    if overridden {
                        release.overrides[0].columns.push(path);
                    }
                }
            };
            let expected = may(class, name);
            assert_eq!(!refused(change(false)), expected, "{class} as {name}");
            refusals += usize::from(!expected);
            let never = matches!(class, "secret" | "Public" | "unheard_of" | "");
            assert_eq!(refused(change(true)), never, "{class} as {name}, overridden");
        }
    }
    assert!(refusals >= 90, "{refusals}");
}

#[test]
fn releases_bad_parts() {
    type Change = Box<dyn Fn(&mut Release)>;
    let mut changes: Vec<Change> = vec![
        Box::new(|r| r.target.format = "xml".into()),
        Box::new(|r| r.target.format = "JSON".into()),
        Box::new(|r| r.target.partition_by = "key".into()),
        Box::new(|r| r.leaves.clear()),
        Box::new(|r| r.columns[0].from = "nowhere".into()),
        Box::new(|r| r.columns[0].from = "after.id".into()),
        Box::new(|r| r.key[0].from = "email".into()),
        Box::new(|r| r.columns[0].class = "public".into()),
        Box::new(|r| r.columns[0].column_type = "varchar".into()),
        Box::new(|r| r.columns[0].column_type = "int64".into()),
        Box::new(|r| r.leaves[0].leaf_type = "varchar".into()),
        Box::new(|r| r.overrides.clear()),
    ];
    let at = |name: &str| table().at(name);
    let mut shape = |column: &str, shape: Shape| {
        let at = at(column);
        changes.push(Box::new(move |r| r.columns[at].shape = shape.clone()));
    };
    for form in ["", "base64", "BASE32", "hex"] {
        shape("id", shape_token(form, "customer"));
    }
    shape("id", shape_token("base32", ""));
    for (form, pad_to) in [("uuid", 16), ("base62", 16), ("base32", 24), ("base64url", 8192)] {
        let (form, domain, pad_to) = (form.into(), "customer".into(), Some(pad_to));
        shape("id", Shape::Token { form, domain, pad_to, key_per: None });
    }
    let labels =
        |labels: &[&str]| Shape::Bins { labels: labels.iter().map(ToString::to_string).collect() };
    shape("balance", labels(&[]));
    shape("balance", labels(&["[0,1)"]));
    shape("balance", labels(&["(-inf,0)", "0 and more"]));
    shape("street", Shape::Prefix { length: 0, fill: None });
    shape("notes", Shape::Redacted { detectors: vec![], dictionaries: vec![], in_place: vec![] });
    shape(
        "notes",
        Shape::Redacted {
            detectors: vec!["shoe_size".into()],
            dictionaries: vec![],
            in_place: vec![],
        },
    );
    let mask = |keep_first, keep_last, fill| Shape::Mask { keep_first, keep_last, fill };
    shape("card", mask(0, 5, '*'));
    shape("card", mask(3, 2, '*'));
    shape("card", mask(u32::MAX, 1, '*'));
    shape("card", mask(0, 4, '0'));
    shape("card", mask(0, 4, 'x'));
    let fpe = |change: &dyn Fn(&mut String, &mut u32, &mut String, &mut String)| {
        let mut shape = shape_fpe();
        if let Shape::Fpe { alphabet, length_min, separators, domain, .. } = &mut shape {
            change(alphabet, length_min, separators, domain);
        }
        shape
    };
    shape("phone", fpe(&|alphabet, _, _, _| *alphabet = "01234567899".into()));
    shape("phone", fpe(&|alphabet, _, _, _| *alphabet = "0".into()));
    shape("phone", fpe(&|alphabet, _, _, _| alphabet.clear()));
    shape("phone", fpe(&|_, length_min, _, _| *length_min = 5));
    shape("phone", fpe(&|_, length_min, _, _| *length_min = 0));
    shape("phone", fpe(&|_, _, separators, _| separators.push('7')));
    shape("phone", fpe(&|_, _, _, domain| *domain = "no such key".into()));
    let mut checked = shape_fpe();
    if let Shape::Fpe { alphabet, length_min, check_digit, .. } = &mut checked {
        (*alphabet, *length_min) = ("0123456".into(), 9);
        *check_digit = Some(CheckDigit::LuhnValid);
    }
    shape("phone", checked);
    for keeps in [(5, 0), (0, 5), (3, 2), (u32::MAX, 1)] {
        let mut kept = shape_fpe();
        if let Shape::Fpe { keep_first, keep_last, .. } = &mut kept {
            (*keep_first, *keep_last) = keeps;
        }
        shape("phone", kept);
    }
    // Shapes that cannot come from the leaf's type.
    for (column, wrong) in [
        ("balance", Shape::Prefix { length: 2, fill: None }),
        ("income", Shape::Year),
        ("city", Shape::Hour),
        ("city", Shape::Day),
        (
            "active",
            Shape::Redacted {
                detectors: vec!["email".into()],
                dictionaries: vec![],
                in_place: vec![],
            },
        ),
        ("updated", Shape::Month),
        ("count", Shape::Bins { labels: vec!["(-inf,0)".into(), "[0,inf)".into()] }),
        ("birth", Shape::Public),
    ] {
        shape(column, wrong);
    }
    for change in &changes {
        assert!(refused(change));
    }
    assert!(changes.len() >= 40, "{}", changes.len());
}

/// The control of those above: four characters may stay, and a quasi-identifier's may be more.
#[test]
fn fpe_keeps_four_characters_of_an_identifier() {
    let at = table().at("phone");
    let keeping = |class: &'static str, first: u32, last: u32| {
        refused(move |release| {
            let path = release.columns[at].from.clone();
            let leaf = release.leaves.iter_mut().find(|l| l.part == "row" && l.path == path);
            leaf.unwrap().class = class.into();
            release.columns[at].class = class.into();
            if let Shape::Fpe { keep_first, keep_last, .. } = &mut release.columns[at].shape {
                (*keep_first, *keep_last) = (first, last);
            }
        })
    };
    assert!(!keeping("identifier", 4, 0));
    assert!(!keeping("identifier", 2, 2));
    assert!(keeping("identifier", 4, 1));
    assert!(!keeping("quasi", 4, 1));
}

#[test]
fn targets_bad_parts() {
    let release = table().release();
    let made = |change: &dyn Fn(&mut Target)| {
        let mut target = target(&release);
        change(&mut target);
        Gate::new(live(&release), target, keys(), "douane 0.1.0".into())
    };
    assert!(made(&|_| ()).is_ok());
    let topic = made(&|t| t.topic = "elsewhere".into()).err();
    assert_eq!(topic, Some(GateFault::Topic { expected: "training.customers".into() }));
    assert!(made(&|t| t.partitions = 0).is_err());
    assert!(made(&|t| t.partitions = u32::MAX).is_err());
    assert!(made(&|t| t.record_bytes_max = 100).is_err());
    assert!(made(&|t| t.value_schema_id = Some(1)).is_err());
    let mut release = table().release();
    release.target.format = "avro".into();
    let made = |schema_id| {
        let target = Target { value_schema_id: schema_id, ..target(&release) };
        Gate::new(live(&release), target, keys(), "douane 0.1.0".into())
    };
    assert!(made(Some(1)).is_ok());
    assert!(made(None).is_err());
}

#[test]
fn keys_bad_purposes() {
    let release = table().release();
    let made = |change: &dyn Fn(&mut GateKeys)| {
        let mut keys = keys();
        change(&mut keys);
        Gate::new(live(&release), target(&release), keys, "douane 0.1.0".into()).is_ok()
    };
    let token = || root().derive(Purpose::TokenHmac, "phone");
    assert!(made(&|_| ()));
    assert!(!made(&|k| k.seal_position = token()));
    assert!(!made(&|k| k.seal_quarantine = k.seal_position.clone()));
    assert!(!made(&|k| k.blind = token()));
    assert!(!made(&|k| drop(k.ff1.insert("phone".into(), token()))));
    assert!(!made(&|k| k.ff1.clear()));
}

#[test]
fn avro_bad_names_and_types() {
    let avro = |change: &dyn Fn(&mut Release)| {
        let mut release = table().release();
        release.target.format = "avro".into();
        change(&mut release);
        gate(&release).err()
    };
    assert_eq!(avro(&|_| ()), None);
    for name in ["address.street", "9lives", "straße", "a b", "a-b"] {
        let fault = avro(&|r| r.columns[0].name = name.into());
        assert_eq!(fault, Some(GateFault::AvroName { column: name.into() }));
        // JSON has no such rule.
        assert!(!refused(|r| r.columns[0].name = name.into()));
    }
    let at = table().at("score");
    let scaled = |r: &mut Release| {
        r.columns[at].column_type = "decimal(10,-2)".into();
        let leaf = r.leaves.iter_mut().find(|l| l.path == "score").unwrap();
        leaf.leaf_type = "decimal(10,-2)".into();
    };
    assert_eq!(avro(&scaled), Some(GateFault::ColumnType { column: "score".into() }));
    assert!(!refused(scaled));
}
