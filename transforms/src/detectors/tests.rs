//! What holds for every detector, and for all of them together.

use std::collections::BTreeSet;

use douane_schemas::names::printable;
use proptest::prelude::*;

use super::scan::Detectors;
use super::*;

fn every() -> Vec<Detector> {
    Detector::ALL.to_vec()
}

fn named(names: &[&str]) -> Vec<Detector> {
    names.iter().map(|name| Detector::named(name).unwrap()).collect()
}

pub(super) fn redact(detectors: &Detectors, text: &str) -> String {
    replaced(text, |each| detectors.scan(text, each))
}

fn replaced(text: &str, scan: impl FnOnce(&mut dyn FnMut(Found))) -> String {
    let mut out = String::new();
    let mut copied = 0;
    scan(&mut |found| {
        out.push_str(&text[copied..found.start]);
        out.push_str(found.detector().unwrap().mark());
        copied = found.end;
    });
    out + &text[copied..]
}

#[test]
fn examples_and_refusals_of_every_detector() {
    let mut faults = Vec::new();
    for detector in Detector::ALL {
        let spec = detector.spec();
        let alone = Detectors::new(&[detector]).unwrap();
        let marked = format!("[{}]", spec.name.to_uppercase());
        assert_eq!(spec.mark, marked);
        assert!(spec.examples.len() >= 5 && spec.refusals.len() >= 5, "{}", spec.name);
        let refusals = spec.refusals.iter().map(|text| (text, text));
        for (text, expected) in spec.examples.iter().map(|(a, b)| (a, b)).chain(refusals) {
            let found = redact(&alone, text);
            if found != *expected {
                faults.push(format!(
                    "{}: {text:?}\n  gives    {found:?}\n  expected {expected:?}",
                    spec.name
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// Names are words of YAML, none twice, and read back.
#[test]
fn names_are_words_and_read_back() {
    for detector in Detector::ALL {
        let name = detector.name();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
        assert_eq!(Detector::named(name), Some(detector));
        let read: Detector = serde_json::from_str(&format!("\"{name}\"")).unwrap();
        assert_eq!(
            (read, serde_json::to_string(&read).unwrap()),
            (detector, format!("\"{name}\""))
        );
        assert!(!detector.summary().is_empty() && detector.digest().len() == 64);
    }
    assert!(serde_json::from_str::<Detector>("\"Email\"").is_err());
    assert!(SPECS.len() <= 64, "a mask has 64 bits");
}

#[test]
fn neighbours_do_not_hide_each_other() {
    let four = Detectors::new(&named(&["email", "phone", "card", "iban"])).unwrap();
    for (text, expected) in [
        ("12 4111 1111 1111 1111", "12 [CARD]"),
        ("4111 1111 1111 1111 2025", "[CARD] 2025"),
        ("1234 5678 4111 1111 1111 1111 9999", "1234 5678 [CARD] 9999"),
        ("+1 202 555 0123 4111 1111 1111 1111", "[PHONE] [CARD]"),
        ("+49 151 1234567 4111111111111111", "[PHONE] [CARD]"),
        ("4111111111111111 5500005555555559", "[CARD] [CARD]"),
        ("a@b.de,c@d.fr;+12025550123", "[EMAIL],[EMAIL];[PHONE]"),
        ("DE89370400440532013000 GB82 WEST 1234 5698 7654 32", "[IBAN] [IBAN]"),
        ("+491511234567@example.org", "[EMAIL]"),
        ("ref +12 4111 1111 1111 1111", "ref [PHONE] [CARD]"),
        ("+49 30 123456 030 654321", "[PHONE]"),
        ("+49 30 1234567 (0151) 23456", "[PHONE]"),
    ] {
        assert_eq!(redact(&four, text), expected);
    }
    let more =
        Detectors::new(&named(&["us_ssn", "ip", "mac", "email", "phone", "api_key"])).unwrap();
    for (text, expected) in [
        ("460-89-9847,192.0.2.17;a@b.de", "[US_SSN],[IP];[EMAIL]"),
        ("AKIAIOSFODNN7EXAMPLE 192.0.2.17", "[API_KEY] [IP]"),
        ("00:53:00:1a:2b:3c fe80::1", "[MAC] [IP]"),
    ] {
        assert_eq!(redact(&more, text), expected);
    }
}

/// A find of words ends before another one that begins at a word of it and goes on beyond it.
#[test]
fn words_leave_numbers_whole() {
    let all = Detectors::new(&every()).unwrap();
    for (text, expected) in [
        ("2024-01-31 levering 04.05.14-300.10 de", "2024-01-[STREET_ADDRESS] [BE_NATIONAL] de"),
        ("5 levering 756.9421.8301.99", "[STREET_ADDRESS] [CH_AHV]"),
        ("Hauptstraße 69.53.139.251", "[STREET_ADDRESS] [IP]"),
    ] {
        assert_eq!(redact(&all, text), expected);
    }
}

/// The negative control of the refusals: without its validator a detector takes them.
#[test]
fn validators_decide() {
    for (name, right, wrong) in [
        ("card", "4111111111111111", "4111111111111112"),
        ("iban", "DE89370400440532013000", "DE88370400440532013000"),
        ("pl_pesel", "44051401359", "44051401358"),
        (
            "crypto_address",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
        ),
    ] {
        let detector = Detector::named(name).unwrap();
        let alone = Detectors::new(&[detector]).unwrap();
        assert_eq!(redact(&alone, right), detector.mark());
        assert_eq!(redact(&alone, wrong), wrong);
        let matched = |text: &str| detector.lead().unwrap().end(text.as_bytes(), 0);
        assert_eq!(matched(wrong), matched(right), "the pattern alone does not tell them apart");
    }
}

/// python-stdnum 2.2 says which are right: `testdata/national_ids.py`.
#[test]
fn numbers_of_an_independent_implementation() {
    #[derive(Deserialize)]
    struct Vectors {
        before: String,
        right: Vec<String>,
        wrong: Vec<String>,
    }
    let all: std::collections::BTreeMap<String, Vectors> =
        serde_json::from_str(include_str!("../../testdata/national_ids.json")).unwrap();
    let (mut tried, mut faults) = (0, Vec::new());
    for (name, vectors) in &all {
        let alone = Detectors::new(&named(&[name])).unwrap();
        let mark = format!("[{}]", name.to_uppercase());
        for (numbers, right) in [(&vectors.right, true), (&vectors.wrong, false)] {
            for number in numbers {
                tried += 1;
                let text = format!("{}{number}.", vectors.before);
                let expected =
                    if right { format!("{}{mark}.", vectors.before) } else { text.clone() };
                if redact(&alone, &text) != expected {
                    faults.push(format!("{name}: {number} should be {right}"));
                }
            }
        }
    }
    assert!(all.len() == 23 && tried > 1_800, "{tried}");
    assert!(faults.is_empty(), "{} of {tried}\n{}", faults.len(), faults.join("\n"));
}

/// Texts that make a careless search quadratic, two of them ten megabytes long: within a time that
/// a quadratic search misses by far.
#[test]
fn texts_made_to_be_slow_take_linear_time() {
    let all = Detectors::new(&every()).unwrap();
    let long = 10 << 20;
    let short = 1 << 17;
    let once = SLOW_ONCE.iter().map(|part| (*part, 1 << 19));
    let parts = [
        ("1", long),
        ("1 ", short),
        ("+1", short),
        ("a@", long),
        ("a@a.", short),
        ("::", short),
        ("1:", short),
        ("a", short),
        ("A b ", short),
        ("é", short),
        ("eyJ-", short),
        ("-----BEGIN PRIVATE KEY-----", short),
        ("http://a:b", short),
        ("www.a.", short),
        ("x.", short),
        ("12 Rue ", short),
        ("passport 1234567 ", short),
        ("+12025550123/", short),
        ("0x", short),
        ("1-1-", short),
        ("\"", short),
    ];
    for (part, length) in parts.into_iter().chain(once) {
        let text = part.repeat(length / part.len());
        let start = std::time::Instant::now();
        let mut finds = 0_usize;
        all.scan(&text, |_| finds += 1);
        assert!(finds <= text.len());
        let took = start.elapsed();
        assert!(took.as_secs() < 60, "{part:?} x {}: {took:?}", text.len() / part.len());
    }
}

/// Bytes that the automata read of a text of repeated parts.
fn read_of(detectors: &Detectors, part: &str, bytes: usize) -> usize {
    lead::READ.set(Some(0));
    detectors.scan(&part.repeat(bytes.div_ceil(part.len())), |_| {});
    lead::READ.take().unwrap()
}

/// Whether three times the text makes the automata read far more than three times as much: a
/// quadratic search reads nine times as much.
fn reads_too_much(detectors: &Detectors, part: &str) -> bool {
    let [short, long] = [2 << 10, 6 << 10].map(|bytes| read_of(detectors, part, bytes));
    long > 4 * short + 4096
}

/// Each detector's own examples, whole and cut, and refusals, again and again; and parts that made
/// a search quadratic once.
#[test]
fn what_detectors_look_at_is_read_once() {
    let all = Detectors::new(&every()).unwrap();
    let mut parts: BTreeSet<String> = SLOW_ONCE.iter().map(|part| (*part).to_owned()).collect();
    for spec in SPECS {
        for (text, _) in spec.examples {
            let half = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
            parts.extend([format!("{text},"), format!("{},", &text[..half])]);
        }
        parts.extend(spec.refusals.iter().map(|text| format!("{text},")));
    }
    let slow: Vec<_> = parts.iter().filter(|part| reads_too_much(&all, part)).collect();
    assert!(slow.is_empty(), "{} of {}: {slow:?}", slow.len(), parts.len());
}

/// The control: what is read at each place up to the end of the text shows.
#[test]
fn a_quadratic_search_shows() {
    let lead = lead::Lead::new("a[^x]*x").unwrap();
    let read = |bytes: usize| {
        lead::READ.set(Some(0));
        let text = "a".repeat(bytes);
        (0..bytes).for_each(|at| assert_eq!(lead.end(text.as_bytes(), at), None));
        lead::READ.take().unwrap()
    };
    assert!(read(6 << 10) > 8 * read(2 << 10));
}

const SLOW_ONCE: &[&str] =
    &[",-a.de/", ",1.de/", ",www.a.-", ",www.a-.", ",http://x/1", ",a://b:c@d"];

/// A run without spaces is one local part for as long as it goes on.
#[test]
fn long_runs_without_spaces_are_searched() {
    let four = Detectors::new(&named(&["email", "phone", "card", "iban"])).unwrap();
    for (text, least) in [
        ("+12025550123/".repeat(30_000), 30_000),
        (format!("{}@b", "+12025550123/".repeat(30_000)), 30_000),
        (format!("{}@b.de", "1/".repeat(50_000)), 1),
        (format!("a@{}de", "1.".repeat(50_000)), 1),
    ] {
        let mut finds = 0;
        four.scan(&text, |_| finds += 1);
        assert!(finds >= least, "{finds}");
    }
}

#[test]
fn long_local_parts_and_labels_of_addresses_are_found() {
    let email = Detectors::new(&named(&["email"])).unwrap();
    let (local, label) = ("a".repeat(64), "ж".repeat(50));
    assert_eq!(redact(&email, &format!("{local}@{label}.рф")), "[EMAIL]");
    assert_eq!(redact(&email, &format!("--{local}@b.de")), "--[EMAIL]");
}

/// Automata stay small: what all of them take together.
#[test]
fn automata_fit() {
    let bytes: usize =
        Detector::ALL.into_iter().filter_map(|d| d.lead().map(lead::Lead::memory)).sum();
    assert!(bytes < 16 << 20, "{bytes}");
}

/// Text of all kinds of signs that patterns are made of.
const SIGNS: &str = "(a|é|@|\\.|de|DE|GB|\"|[0-9]{1,6}|00|[A-Z]{2}[0-9]{2}| |-|\\+|\\(|\\)|:|::|/|x|0x|bc1|[a-f0-9]{4}|\u{a0}|—|BSN |born |passport |Main Street|Ada |\n){0,40}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What is passed over because of counts holds nothing.
    #[test]
    fn the_prefilter_changes_nothing(
        text in SIGNS,
        named in prop::collection::vec(prop::sample::select(every()), 1..9),
    ) {
        let detectors = Detectors::new(&named).unwrap();
        let whole = replaced(&text, |each| detectors.scan_for(&text, u64::MAX, each));
        prop_assert_eq!(redact(&detectors, &text), whole);
    }

    /// What is passed over because of its first bytes has no match.
    #[test]
    fn the_first_bytes_rule_out_no_match(text in SIGNS) {
        for detector in Detector::ALL {
            let Some(lead) = detector.lead() else { continue };
            let bytes = text.as_bytes();
            for at in 0..bytes.len() {
                let may = lead.starts.iter().zip(&bytes[at..]).all(|(may, b)| may[usize::from(*b)]);
                let end = lead.end(bytes, at);
                prop_assert!(may || end.is_none(), "{} at {at}", detector.name());
                let counts = |end: usize| lead::Counts::of(&bytes[at..end]);
                let met = |end: usize| lead.needs.iter().any(|needs| counts(end).reach(needs));
                prop_assert!(end.is_none_or(met));
            }
        }
    }

    #[test]
    fn finds_are_ordered_and_on_borders(text in "\\PC{0,60}(@a\\.de|\\+4915112345678)?\\PC{0,20}") {
        let all = Detectors::new(&every()).unwrap();
        let mut last = 0;
        all.scan(&text, |found| {
            assert!(found.start >= last && found.end > found.start);
            assert!(text.get(found.start..found.end).is_some());
            last = found.end;
        });
    }
}

/// What a detector of patterns finds where it stands alone is no name that a message shows: names of
/// leaves that no list has may be data (`schemas`' `names`). What needs a word near it to be found is a name
/// like any other.
#[test]
fn what_patterns_find_is_no_name_that_is_shown() {
    let patterns: Vec<Detector> = Detector::ALL
        .into_iter()
        .filter(|detector| matches!(detector.spec().find, Find::Pattern(_)))
        .collect();
    let all = Detectors::new(&patterns).unwrap();
    let (mut finds, mut shown) = (BTreeSet::new(), Vec::new());
    for text in patterns.iter().flat_map(|detector| detector.examples()).map(|(text, _)| *text) {
        all.scan(text, |found| {
            let find = &text[found.start..found.end];
            let mut alone = false;
            all.scan(find, |again| alone |= again.start == 0 && again.end == find.len());
            if alone && finds.insert(find) && printable(find, false, 1) == find {
                shown.push(find);
            }
        });
    }
    assert_eq!(shown, Vec::<&str>::new());
    assert!(finds.len() >= 150, "{}", finds.len());
    // The control: what is found with a word near it alone may be shown.
    assert_eq!(printable("DEUTDEFF", false, 1), "DEUTDEFF");
}
