//! Every protection and each of its options in one pipeline on real Kafka, to JSON and to Avro, value by value.
//! A protection is a row of [`columns`]: what goes in, and what must come out, found by hand or by plain code of this file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::debezium::avro;
use crate::cluster::{Isolation, Record};
use crate::feed::Load;
use crate::manifests::disagreements;
use crate::place::{Place, Setup, last_lines};
use crate::rig::{self, Registry};

/// Rows that are sent.
const ROWS: usize = 60;
/// This one has a cell whose stage refuses it.
const REFUSED: usize = 18;

/// Luhn's sum: from the right, every second digit doubled, the digits of the results added up.
fn luhn_sum(text: &str) -> u32 {
    let digits = text.chars().rev().filter_map(|c| c.to_digit(10)).enumerate();
    digits.map(|(i, d)| if i % 2 == 1 { d * 2 / 10 + d * 2 % 10 } else { d }).sum()
}

fn is_like_a_card(text: &str) -> bool {
    text.len() == 19 && text.matches('-').count() == 3 && text != "4111-1111-1111-1111"
}

/// What must stand in a column.
enum Comes {
    Is(Value),
    /// Of what nobody can compute without a key: what is true of it.
    Looks(fn(&str) -> bool),
}

/// One column: a leaf of its own and the stage on it.
struct Protected {
    name: &'static str,
    class: &'static str,
    leaf_type: &'static str,
    /// As in YAML, without its `columns`.
    stage: &'static str,
    raw: fn(usize) -> Value,
    comes: fn(usize) -> Comes,
}

/// A day, as days since 1970, with what each unit makes of it, by a calendar on paper.
struct Day {
    days: i32,
    decade: i32,
    year: i32,
    quarter: &'static str,
    month: &'static str,
    week: &'static str,
    /// On 2026-01-01, in bands at 18 and 65.
    age: &'static str,
}

const DAYS: [Day; 4] = [
    // 17 May 1990, a Thursday
    Day {
        days: 7_441,
        decade: 1990,
        year: 1990,
        quarter: "1990-Q2",
        month: "1990-05",
        week: "1990-W20",
        age: "[18,65)",
    },
    // 31 December 1969, a Wednesday
    Day {
        days: -1,
        decade: 1960,
        year: 1969,
        quarter: "1969-Q4",
        month: "1969-12",
        week: "1970-W01",
        age: "[18,65)",
    },
    // 29 February 2000, a Tuesday
    Day {
        days: 11_016,
        decade: 2000,
        year: 2000,
        quarter: "2000-Q1",
        month: "2000-02",
        week: "2000-W09",
        age: "[18,65)",
    },
    // 1 July 2010, a Thursday
    Day {
        days: 14_791,
        decade: 2010,
        year: 2010,
        quarter: "2010-Q3",
        month: "2010-07",
        week: "2010-W26",
        age: "[0,18)",
    },
];

fn day(n: usize) -> &'static Day {
    &DAYS[n % DAYS.len()]
}

/// An amount, and the nearest hundred; of two the even one.
const AMOUNTS: [(i64, i64); 6] =
    [(-250, -200), (149, 100), (150, 200), (250, 200), (350, 400), (99_999, 100_000)];

fn amount(n: usize) -> (i64, i64) {
    AMOUNTS[n % AMOUNTS.len()]
}

/// A place, and its region by [`REGIONS`].
const PLACES: [(&str, &str); 4] =
    [("Graz", "Styria"), ("Leoben", "Styria"), ("Wien", "Vienna"), ("Nowhere", "elsewhere")];
const REGIONS: &str = "place,region\nGraz,Styria\nLeoben,Styria\nWien,Vienna\nLinz,Upper Austria\n";

fn phone(n: usize) -> String {
    format!("+4915155501{:03}", n)
}

/// Words that no list has.
const STAFF: &str = "# who answers\nQuentin Xqzw\n";

/// What a redaction in place leaves of [`called_of`], one pseudonym a kind and the rest marked.
fn is_in_place(text: &str) -> bool {
    let between = |from: &str, to: &str| {
        let (_, rest) = text.split_once(from)?;
        rest.split_once(to).map(|(inside, _)| inside)
    };
    let email = between("write to [EMAIL:", "], or call [PHONE:");
    let phone = between("[PHONE:", "] or [PHONE], ");
    let card = between("pay with [CARD:", "], says [STAFF:");
    let staff = between("says [STAFF:", "] again, not [PHONE]");
    email.is_some_and(is_base32)
        && phone.is_some_and(is_base32)
        && staff.is_some_and(is_base32)
        && card.is_some_and(|card| is_like_a_card(card) && card != "4111-1111-1111-1111")
        && text.starts_with("write to [EMAIL:")
        && text.ends_with("not [PHONE]")
}

/// The second number has no country: no token. The last is one more of the shared domain than the
/// override lets stand in one text.
fn called_of(n: usize) -> String {
    let (first, last) = (phone(n), phone(n + 1));
    format!(
        "write to made-up-{n}@example.com, or call {first} or (0151) 5550 1234, pay with \
         4111-1111-1111-1111, says QUENTIN XQZW again, not {last}"
    )
}

fn is_base32(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
}

/// Luhn's rule: every second digit from the right is doubled, and the digits of all add up to a multiple of ten.
fn luhn(text: &str) -> bool {
    let digits =
        text.bytes().rev().enumerate().map(|(i, b)| u32::from(b - b'0') * (1 + i as u32 % 2));
    digits.map(|n| n / 10 + n % 10).sum::<u32>() % 10 == 0
}

fn columns() -> Vec<Protected> {
    let text = "text";
    vec![
        Protected {
            name: "email",
            class: "identifier",
            leaf_type: text,
            stage: "tokenize: { domain: customer_email }",
            raw: |n| json!(format!("made-up-{n}@example.com")),
            comes: |_| Comes::Looks(is_base32),
        },
        Protected {
            name: "called",
            class: "identifier",
            leaf_type: text,
            stage: "tokenize: { domain: called, on_bad: null }",
            raw: |n| if n % 5 == 0 { json!("call me later") } else { json!(phone(n)) },
            comes: |n| if n % 5 == 0 { Comes::Is(Value::Null) } else { Comes::Looks(is_base32) },
        },
        Protected {
            name: "fax",
            class: "identifier",
            leaf_type: text,
            stage: "tokenize: { domain: called, on_bad: { constant: no number } }",
            raw: |n| if n % 5 == 1 { json!("none") } else { json!(phone(n)) },
            comes: |n| {
                if n % 5 == 1 { Comes::Is(json!("no number")) } else { Comes::Looks(is_base32) }
            },
        },
        Protected {
            name: "quick",
            class: "identifier",
            leaf_type: text,
            stage: "tokenize: { domain: quick }",
            raw: |n| json!(format!("made-up-{n}")),
            comes: |_| Comes::Looks(|text| text.len() == 36 && &text[14..15] == "8"),
        },
        Protected {
            name: "sealed",
            class: "identifier",
            leaf_type: text,
            stage: "tokenize: { domain: sealed }",
            raw: |n| json!(format!("made-up-{n}")),
            // 17 bytes before a bucket of 32, five bits a character.
            comes: |_| Comes::Looks(|text| text.len() == 79),
        },
        Protected {
            name: "paid",
            class: "identifier",
            leaf_type: text,
            stage: "fpe: { alphabet: digits, domain: phone, keep: { first: 4 }, check_digit: { luhn: keep_valid }, on_bad: null }",
            raw: |n| json!(if n % 2 == 0 { "9111222233334445" } else { "9111222233334446" }),
            comes: |n| match luhn(if n % 2 == 0 { "9111222233334445" } else { "9111222233334446" })
            {
                true => {
                    Comes::Looks(|text| text.starts_with("9111") && text.len() == 16 && luhn(text))
                }
                false => Comes::Is(Value::Null),
            },
        },
        Protected {
            name: "greek",
            class: "identifier",
            leaf_type: text,
            stage: "fpe: { alphabet: { custom: \"αβγδεζηθικλμνξοπρστυφχψω\" }, domain: phone }",
            raw: |_| json!("αβγδεζηθ"),
            comes: |_| {
                Comes::Looks(|text| {
                    text.chars().count() == 8 && text.chars().all(|c| ('α'..='ω').contains(&c))
                })
            },
        },
        Protected {
            name: "phone",
            class: "identifier",
            leaf_type: text,
            stage: "fpe: { alphabet: digits, domain: phone, keep: { first: 3 } }",
            raw: |n| if n == REFUSED { json!("+49") } else { json!(phone(n)) },
            comes: |_| {
                Comes::Looks(|text| {
                    text.len() == 14
                        && text.starts_with("+49")
                        && text[1..].bytes().all(|b| b.is_ascii_digit())
                })
            },
        },
        Protected {
            name: "mobile",
            class: "identifier",
            leaf_type: text,
            stage: "fpe: { alphabet: digits, domain: phone, on_bad: { constant: unknown } }",
            raw: |n| if n % 7 == 0 { json!("ask her") } else { json!("4915155501234") },
            comes: |n| {
                if n % 7 == 0 {
                    Comes::Is(json!("unknown"))
                } else {
                    Comes::Looks(|text| text.len() == 13 && text != "4915155501234")
                }
            },
        },
        Protected {
            name: "card_valid",
            class: "identifier",
            leaf_type: text,
            stage: "fpe: { alphabet: digits, domain: phone, check_digit: { luhn: keep_valid } }",
            raw: |_| json!("4111-1111-1111-1111"),
            comes: |_| Comes::Looks(|text| is_like_a_card(text) && luhn_sum(text) % 10 == 0),
        },
        Protected {
            name: "card_invalid",
            class: "identifier",
            leaf_type: text,
            stage: "fpe: { alphabet: digits, domain: phone, check_digit: { luhn: make_invalid } }",
            raw: |_| json!("4111-1111-1111-1111"),
            comes: |_| Comes::Looks(|text| is_like_a_card(text) && luhn_sum(text) % 10 != 0),
        },
        Protected {
            name: "plate",
            class: "identifier",
            leaf_type: text,
            stage: "fpe: { alphabet: { custom: \"0123456789abcdefghijklmnopqrstuvwxyzäöüß\" }, domain: phone, keep: { first: 1 } }",
            raw: |n| json!(format!("mü-äß {}", 1_000 + n)),
            comes: |_| {
                Comes::Looks(|text| {
                    let signs: Vec<char> = text.chars().collect();
                    signs.len() == 10 && signs[0] == 'm' && signs[2] == '-' && signs[5] == ' '
                })
            },
        },
        Protected {
            name: "card",
            class: "identifier",
            leaf_type: text,
            stage: "mask: { keep: { last: 4 } }",
            raw: |n| json!(format!("911122223333{n:04}")),
            comes: |n| Comes::Is(json!(format!("************{n:04}"))),
        },
        Protected {
            name: "name",
            class: "identifier",
            leaf_type: text,
            stage: "redact: { constant: somebody }",
            raw: |n| json!(format!("Made Up {n}")),
            comes: |_| Comes::Is(json!("somebody")),
        },
        Protected {
            name: "notes",
            class: "free_text",
            leaf_type: text,
            stage: "redact: { detectors: [email, phone, card, iban] }",
            raw: |n| json!(format!("write to made-up-{n}@example.com, or call +1 202 555 0123")),
            comes: |_| Comes::Is(json!("write to [EMAIL], or call [PHONE]")),
        },
        Protected {
            name: "remarks",
            class: "free_text",
            leaf_type: text,
            stage: "redact: { detectors: [email, phone, card, iban], dictionaries: [staff], in_place: { email: { tokenize: { domain: remarks } }, phone: { tokenize: { domain: called } }, card: { fpe: { alphabet: digits, domain: remarks } }, staff: { tokenize: { domain: remarks } } } }",
            raw: |n| json!(called_of(n)),
            comes: |_| Comes::Looks(is_in_place),
        },
        Protected {
            name: "decade",
            class: "quasi",
            leaf_type: "date",
            stage: "generalize: { to: decade }",
            raw: |n| json!(day(n).days),
            comes: |n| Comes::Is(json!(day(n).decade)),
        },
        Protected {
            name: "year",
            class: "quasi",
            leaf_type: "date",
            stage: "generalize: { to: year }",
            raw: |n| json!(day(n).days),
            comes: |n| Comes::Is(json!(day(n).year)),
        },
        Protected {
            name: "quarter",
            class: "quasi",
            leaf_type: "date",
            stage: "generalize: { to: quarter }",
            raw: |n| json!(day(n).days),
            comes: |n| Comes::Is(json!(day(n).quarter)),
        },
        Protected {
            name: "month",
            class: "quasi",
            leaf_type: "date",
            stage: "generalize: { to: month }",
            raw: |n| json!(day(n).days),
            comes: |n| Comes::Is(json!(day(n).month)),
        },
        Protected {
            name: "week",
            class: "quasi",
            leaf_type: "date",
            stage: "generalize: { to: week, on_bad: null }",
            raw: |n| if n % 11 == 0 { json!(i32::MAX) } else { json!(day(n).days) },
            comes: |n| {
                if n % 11 == 0 { Comes::Is(Value::Null) } else { Comes::Is(json!(day(n).week)) }
            },
        },
        Protected {
            name: "age",
            class: "quasi",
            leaf_type: "date",
            stage: "generalize: { to: age, as_of: 2026-01-01, bins: [18, 65], on_bad: { constant: not born yet } }",
            raw: |n| if n % 13 == 0 { json!(30_000) } else { json!(day(n).days) },
            comes: |n| Comes::Is(json!(if n % 13 == 0 { "not born yet" } else { day(n).age })),
        },
        Protected {
            name: "seen",
            class: "quasi",
            leaf_type: "micro_timestamp",
            stage: "generalize: { to: day }",
            raw: |n| json!(i64::from(day(n).days) * 86_400_000_000 + 7),
            // Both sinks write what Debezium would: days since 1970, or the date's text in JSON.
            comes: |_| Comes::Looks(|text| !text.is_empty()),
        },
        Protected {
            name: "balance",
            class: "sensitive",
            leaf_type: "int64",
            stage: "generalize: { bins: [0, 200] }",
            raw: |n| json!(amount(n).0),
            comes: |n| {
                Comes::Is(json!(match amount(n).0 {
                    ..0 => "(-inf,0)",
                    0..200 => "[0,200)",
                    _ => "[200,inf)",
                }))
            },
        },
        Protected {
            name: "typed",
            class: "sensitive",
            leaf_type: text,
            stage: "generalize: { bins: [0, 200], on_bad: null }",
            raw: |n| if n % 3 == 0 { json!("much") } else { json!("19.85") },
            comes: |n| Comes::Is(if n % 3 == 0 { Value::Null } else { json!("[0,200)") }),
        },
        Protected {
            name: "rounded",
            class: "quasi",
            leaf_type: "int64",
            stage: "generalize: { round: 100 }",
            raw: |n| json!(amount(n).0),
            comes: |n| Comes::Is(json!(amount(n).1)),
        },
        Protected {
            name: "bounded",
            class: "quasi",
            leaf_type: "int64",
            stage: "generalize: { round: 100, clamp: { low: 0, high: 1000 } }",
            raw: |n| json!(amount(n).0),
            comes: |n| Comes::Is(json!(amount(n).1.clamp(0, 1000))),
        },
        Protected {
            name: "coded",
            class: "public",
            leaf_type: "int64",
            stage: "generalize: { clamp: { low: 0, high: 1000, labels: true } }",
            raw: |n| json!(amount(n).0),
            comes: |n| {
                Comes::Is(json!(match amount(n).0 {
                    ..0 => "<0".to_owned(),
                    within @ 0..=1000 => within.to_string(),
                    _ => ">1000".to_owned(),
                }))
            },
        },
        Protected {
            name: "postcode",
            class: "quasi",
            leaf_type: text,
            stage: "generalize: { prefix: 2 }",
            raw: |n| json!(format!("80{n:02}")),
            comes: |_| Comes::Is(json!("80")),
        },
        Protected {
            name: "zip",
            class: "quasi",
            leaf_type: text,
            stage: "generalize: { prefix: 2, fill: \"*\" }",
            raw: |n| json!(format!("80{n:02}")),
            comes: |_| Comes::Is(json!("80**")),
        },
        Protected {
            name: "region",
            class: "quasi",
            leaf_type: text,
            stage: "generalize: { map: { file: regions.csv }, on_bad: { constant: elsewhere } }",
            raw: |n| json!(PLACES[n % 4].0),
            comes: |n| Comes::Is(json!(PLACES[n % 4].1)),
        },
    ]
}

const DOMAINS: &str = "domains:
  customer: {}
  customer_email: { normalize: email }
  called: { normalize: e164 }
  phone: {}
  remarks: {}
  quick: { algorithm: aes_cmac, form: uuid }
  sealed: { algorithm: aes_siv, pad_to: 32 }
";

/// The stage with its column written into it.
fn staged(column: &Protected) -> String {
    let (verb, rest) = column.stage.split_once(": {").expect("a stage");
    format!("  - {verb}: {{ columns: [{}],{rest}\n", column.name)
}

fn yaml(columns: &[Protected]) -> String {
    let mut classes =
        "classes:\n  id: { class: identifier, subject: true }\n  serial: public\n".to_owned();
    let mut types = "types:\n  id: int64\n  serial: int64\n".to_owned();
    let mut stages = "stages:\n  - tokenize: { columns: [id], domain: customer }\n".to_owned();
    for column in columns {
        classes.push_str(&format!("  {}: {}\n", column.name, column.class));
        types.push_str(&format!("  {}: {}\n", column.name, column.leaf_type));
        stages.push_str(&staged(column));
    }
    format!("{classes}{types}{stages}")
}

fn load(columns: &[Protected]) -> Load {
    let mut load = Load::new(1);
    for n in 0..ROWS {
        let id = 7_340_000 + n;
        let mut row = json!({ "id": id, "serial": n });
        for column in columns {
            // Every ninth row has nothing in it: null stays null whatever the stage.
            row[column.name] = if n % 9 == 8 { Value::Null } else { (column.raw)(n) };
        }
        let value = json!({ "before": null, "after": row, "source": null, "op": "c", "ts_ms": 1 });
        let (key, value) = (json!({ "id": id }).to_string(), value.to_string());
        load.raw(0, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    }
    load
}

fn crosses(name: &str, registry: Option<&Registry>) {
    let (source, target) = rig::clusters();
    let columns = columns();
    let mut setup = Setup::customers(name, source.cluster(), target.cluster());
    setup.columns = yaml(&columns);
    setup.domains = DOMAINS.to_owned();
    setup.tasks = 1;
    if let Some(registry) = registry {
        setup.sink_format = "avro";
        setup.target_registry = Some(registry.url());
    }
    let topic = setup.topics[0].clone();
    setup.source.create(&topic, 1, &[]);
    setup.beside = &[("regions.csv", REGIONS), ("staff.txt", STAFF)];
    setup.overrides.push_str(
        "  - { name: remarks, columns: [remarks], detectors: [email, phone, card, iban], residual: [names, addresses], min_recall: 0.9, scorecard: scorecards/notes.json }
  - { name: asked, columns: [remarks], share_domain: called, max_per_record: 2 }
dictionaries: { staff: { file: staff.txt, ignore_case: true, context: [says] } }
",
    );
    let place = Place::new(setup);
    load(&columns).send(&place.setup.source, &topic);

    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let all = tail.wait_for(ROWS - 1, Duration::from_secs(40));
    assert!(all, "{} records\n{}", tail.records.len(), last_lines(&running.said(), 20));
    running.stop();

    let records = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let mut schemas = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in &records {
        let value = match registry {
            None => record.json(),
            Some(registry) => {
                avro(record.value.as_deref().expect("a value"), registry, &mut schemas)
            }
        };
        let n = usize::try_from(value["serial"].as_u64().expect("a serial")).expect("a row");
        assert!(seen.insert(n), "row {n} twice");
        assert_eq!(value["id"], json!(record.key_text()), "row {n}");
        if n % 9 != 8 && n % 5 != 0 {
            // The override shares the domain: the number in the text and the one in the column are
            // one token.
            let (remarks, called) = (&value["remarks"], &value["called"]);
            let shared = format!("[PHONE:{}]", called.as_str().expect("a token"));
            assert!(remarks.as_str().expect("a text").contains(&shared), "row {n}");
        }
        for column in &columns {
            let found = &value[column.name];
            let what = format!("row {n}, {}: {found}", column.name);
            if n % 9 == 8 {
                assert!(found.is_null(), "{what}, expected null");
                continue;
            }
            match (column.comes)(n) {
                Comes::Is(expected) => assert_eq!(*found, expected, "{what}"),
                Comes::Looks(true_of) => {
                    let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
                    assert!(true_of(&text) && json!(text) != (column.raw)(n), "{what}");
                }
            }
        }
    }
    let expected: BTreeSet<usize> = (0..ROWS).filter(|n| *n != REFUSED).collect();
    assert_eq!(seen, expected);
    let aside = place.setup.source.read(&place.quarantine_topic(), Isolation::Committed);
    let aside: BTreeSet<String> = aside.iter().map(Record::key_text).collect();
    assert_eq!(aside, BTreeSet::from([format!("{topic}/0/{REFUSED}")]));
    let manifests = place.setup.target.read(&place.manifest_topic(), Isolation::Committed);
    assert_eq!(disagreements(&records, &manifests), Vec::<String>::new());
    place.verify().fine("verify");
    sample(&place, &topic);
}

/// What a sample of that topic shows is told in buckets, by nobody but who asks for it.
fn sample(place: &Place, topic: &str) {
    let file = place.pipeline_file();
    let said = place.verb(&["explain", &file, "--sample", topic, "--format", "json"]);
    let told: Value = serde_json::from_str(&said.fine("explain --sample").out).expect("a document");
    let of = |name: &str| {
        let columns = told["columns"].as_array().expect("columns");
        columns.iter().find(|c| c["column"] == name).expect("a column").clone()
    };
    assert_eq!(told["rows"], "20 to 99");
    assert_eq!(of("email")["before"]["smallest_group"], "under 20");
    assert_eq!(of("zip")["after"]["values"], "under 20");
    // 59 rows of which six are null and the others are one value.
    assert_eq!(of("zip")["after"]["entropy_bits"], json!(0.5));
    let text = place.verb(&["explain", &file, "--sample", topic]).fine("explain --sample").out;
    assert!(text.starts_with("what a sample shows is a disclosure"), "{text}");
    assert!(!text.contains("Graz") && !text.contains("made-up"), "{text}");
    let page = place.verb(&["explain", &file, "--sample", topic, "--format", "html"]);
    assert!(page.code == 2 && page.out.is_empty(), "{page:?}");
}

#[test]
fn every_protection_crosses_as_declared_in_json() {
    let _turn = rig::exclusive();
    crosses("protections", None);
}

#[test]
fn every_protection_crosses_as_declared_in_avro() {
    let _turn = rig::exclusive();
    let registry = Registry::start("protections");
    crosses("protections-avro", Some(&registry));
}
