//! What protection costs, beside what a user would take instead: `cargo bench -p douane-transforms`,
//! with a part of a name to run those only.
//!
//! One core, the thread's own CPU time, the median of several runs. Ours is the whole stage, from
//! an Arrow column to an Arrow column; the peer gets the same values in the same run, and its
//! answers are compared with ours before anything is timed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints")]

mod measure;

use std::collections::HashMap;
use std::hint::black_box;

use aes::Aes256;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use arrow::array::{ArrayRef, AsArray, StringArray};
use aws_lc_rs::hmac;
use data_encoding::BASE32_NOPAD;
use douane_schemas::keys::{Purpose, RootKey};
use douane_schemas::leaf::{Leaf, LeafType};
use douane_schemas::tuple::Tuple;
use douane_transforms::cmac::{Batch, Cmac, Head};
use douane_transforms::hmac::{self as ours, Hmac};
use douane_transforms::subjects::{KeysAway, Namer, Subject, SubjectId, SubjectKeys};
use douane_transforms::{Domains, Keyring, fpe as stage, tokenize};
use fpe::ff1::{FF1, FlexibleNumeralString};
use measure::rate;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let mut ran = 0;
    for (name, bench) in ALL {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            bench(name);
            ran += 1;
        }
    }
    assert!(ran > 0, "no bench has such a name");
}

const ALL: [(&str, fn(&str)); 10] = [
    ("ff1 digits n 16", |name| ff1(name, "digits", 16..=16, 0, 60.0, 130.0)),
    ("ff1 base62 n 12", |name| ff1(name, "base62", 12..=12, 0, 30.0, 60.0)),
    ("ff1 base62 n 16", |name| ff1(name, "base62", 16..=16, 0, 30.0, 60.0)),
    ("ff1 base62 n 20", |name| ff1(name, "base62", 20..=20, 0, 30.0, 60.0)),
    ("ff1 base62 n 12 to 20", |name| ff1(name, "base62", 12..=20, 0, 30.0, 60.0)),
    ("ff1 digits n 16 after 6 kept", |name| ff1(name, "digits", 22..=22, 6, 60.0, 130.0)),
    ("mac 24 bytes", macs),
    ("token hmac 24 bytes", |name| token(name, "hmac_sha256", 2.0, 4.5)),
    ("token cmac 24 bytes", |name| token(name, "aes_cmac", 30.0, 59.0)),
    ("token with a key per subject", subjects),
];

fn say(name: &str, ours: f64, peer: &str, theirs: f64, must: f64, aim: f64) {
    println!(
        "figure: {name}: {:.2} M/s, {peer} {:.3} M/s: {:.1} x (must {must} x, aim {aim} x)",
        ours / 1e6,
        theirs / 1e6,
        ours / theirs
    );
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// A batch of the run loop's size.
const ROWS: usize = 1 << 13;
const ROWS_OF_PEER: usize = 1 << 12;

fn root() -> RootKey {
    RootKey::new([7; 32])
}

/// The `fpe` stage beside crate `fpe` with its own numerals, text in and text out for both.
fn ff1(
    name: &str,
    alphabet: &str,
    lengths: std::ops::RangeInclusive<usize>,
    kept: usize,
    must: f64,
    aim: f64,
) {
    let config: stage::Config = serde_json::from_value(serde_json::json!({
        "columns": ["c"], "alphabet": alphabet, "domain": "d", "keep": { "first": kept }
    }))
    .unwrap();
    let domains: Domains = serde_json::from_str(r#"{"domains":{"d":{}}}"#).unwrap();
    let leaf = Leaf { path: "c".into(), leaf_type: LeafType::Text };
    let built = config.build(&leaf, &domains, &Keyring::new(&root())).unwrap();

    let signs: Vec<char> = config.alphabet.characters().chars().collect();
    let mut random = Random(1);
    let spread = lengths.end() - lengths.start() + 1;
    let values: Vec<String> = (0..ROWS)
        .map(|_| {
            let length = lengths.start() + random.below(spread);
            (0..length).map(|_| signs[random.below(signs.len())]).collect()
        })
        .collect();
    let column: ArrayRef = std::sync::Arc::new(StringArray::from(values.clone()));

    let key = root().derive(Purpose::Ff1, "d");
    let theirs = FF1::<Aes256>::new(key.secret(), signs.len() as u32).unwrap();
    let mut numerals = [0_u16; 128];
    for (numeral, sign) in signs.iter().enumerate() {
        numerals[*sign as usize] = numeral as u16;
    }
    let peer = |value: &str| -> String {
        let (head, value) = value.split_at(kept);
        let tweak = Tuple::new().text("d").text("").text(head).finish();
        let plain: Vec<u16> = value.bytes().map(|b| numerals[usize::from(b)]).collect();
        let sealed = theirs.encrypt(&tweak, &FlexibleNumeralString::from(plain)).unwrap();
        let sealed = Vec::<u16>::from(sealed).into_iter().map(|n| signs[usize::from(n)]);
        head.chars().chain(sealed).collect()
    };
    let found = built.apply(&column).unwrap();
    for (value, found) in values.iter().zip(found.as_string::<i32>()).take(ROWS_OF_PEER) {
        assert_eq!(found, Some(peer(value).as_str()));
    }

    let ours = rate(ROWS, || drop(black_box(built.apply(black_box(&column)).unwrap())));
    let theirs = rate(ROWS_OF_PEER, || {
        for value in &values[..ROWS_OF_PEER] {
            black_box(peer(black_box(value)));
        }
    });
    say(name, ours, "crate fpe", theirs, must, aim);
    println!(
        "figure: {name}: {:.2} of the AES ceiling (ten blocks a value)",
        ours * 10.0 / blocks()
    );
}

/// The codes alone, of 24 bytes and nothing else, on both sides.
fn macs(name: &str) {
    let mut random = Random(3);
    let values: Vec<[u8; 24]> =
        (0..ROWS).map(|_| std::array::from_fn(|_| random.below(256) as u8)).collect();
    let key = [7; 32];
    let theirs = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let sign = rate(ROWS, || {
        for value in &values {
            black_box(hmac::sign(&theirs, black_box(value)));
        }
    });

    let ours = Hmac::new(&key);
    let (head, mut batch, mut tags) = (ours.head(&[]), ours::Batch::default(), Vec::new());
    let mut column = || {
        tags.clear();
        for values in black_box(&values).chunks(1 << 10) {
            for value in values {
                ours.push(&head, &[], value, &mut batch);
            }
            ours.finish(&head, &mut batch, &mut tags);
        }
        black_box(tags[ROWS - 1])
    };
    assert_eq!(column(), hmac::sign(&theirs, &values[ROWS - 1]).as_ref()[..ours::TAG]);
    let many = rate(ROWS, || {
        black_box(column());
    });
    say(&format!("HMAC-SHA-256, {name}"), many, "aws-lc-rs hmac::sign", sign, 2.0, 4.5);

    let cmac = Cmac::new(&key);
    let (head, mut batch, mut tags) = (Head::default(), Batch::default(), Vec::new());
    let mut column = || {
        tags.clear();
        for values in black_box(&values).chunks(1 << 10) {
            for value in values {
                cmac.push(&head, &[], value, &mut batch);
            }
            cmac.finish(&head, &mut batch, &mut tags);
        }
        black_box(tags[ROWS - 1])
    };
    assert_eq!(column(), cmac.tag(&values[ROWS - 1]));
    let many = rate(ROWS, || {
        black_box(column());
    });
    say(&format!("AES-256-CMAC, {name}"), many, "aws-lc-rs hmac::sign", sign, 30.0, 59.0);
}

/// Keys of 10^5 subjects that are at hand unwrapped: what making tokens costs, without the store.
#[derive(Debug)]
struct AtHand(HashMap<SubjectId, [u8; 32]>);

impl SubjectKeys for AtHand {
    fn keys(
        &self,
        _: &str,
        _: u32,
        subjects: &[SubjectId],
        each: &mut dyn FnMut(usize, Subject<'_>),
    ) -> Result<(), KeysAway> {
        for (at, id) in subjects.iter().enumerate() {
            each(at, Subject::Key(self.0.get(id).ok_or(KeysAway)?));
        }
        Ok(())
    }
}

/// `tokenize` with a key per subject, each row another of 10^5, beside the same with one key.
fn subjects(name: &str) {
    const SUBJECTS: usize = 100_000;
    let domains = |per: serde_json::Value| -> Domains {
        let mut domain = serde_json::json!({ "algorithm": "aes_siv" });
        domain.as_object_mut().unwrap().extend(per.as_object().unwrap().clone());
        serde_json::from_value(serde_json::json!({ "domains": { "d": domain } })).unwrap()
    };
    let ring = Keyring::new(&root());
    let namer = Namer::new(&ring.subject_namer("d"), "d");
    let mut random = Random(4);
    let keys = (0..SUBJECTS).map(|subject| {
        (namer.name(&subject.to_string()), std::array::from_fn(|_| random.below(256) as u8))
    });
    let ring = ring.with_subjects(std::sync::Arc::new(AtHand(keys.collect())));
    let config: tokenize::Config =
        serde_json::from_value(serde_json::json!({ "columns": ["c"], "domain": "d" })).unwrap();
    let leaf = Leaf { path: "c".into(), leaf_type: LeafType::Text };
    let mut random = Random(5);
    let text = |random: &mut Random| -> String {
        (0..24).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
    };
    let column: ArrayRef = std::sync::Arc::new(StringArray::from(
        (0..ROWS).map(|_| text(&mut random)).collect::<Vec<_>>(),
    ));
    let per: ArrayRef = std::sync::Arc::new(StringArray::from(
        (0..ROWS).map(|_| random.below(SUBJECTS).to_string()).collect::<Vec<_>>(),
    ));
    let one = config.build(&leaf, &domains(serde_json::json!({})), &ring).unwrap();
    let per_domain = domains(serde_json::json!({ "key_per": "after.id" }));
    let many = config.build(&leaf, &per_domain, &ring).unwrap();
    let ours = rate(ROWS, || drop(black_box(many.apply_per(black_box(&column), &per).unwrap())));
    let alone = rate(ROWS, || drop(black_box(one.apply(black_box(&column)).unwrap())));
    println!(
        "figure: {name}: {:.3} M/s over {SUBJECTS} subjects, one key {:.3} M/s: 1 to {:.1}",
        ours / 1e6,
        alone / 1e6,
        alone / ours
    );
}

/// The `tokenize` stage beside `aws-lc-rs` with a prepared key and an encoder of base32: both make
/// printed tokens of the same bytes, the domain's name and version before the value's.
fn token(name: &str, algorithm: &str, must: f64, aim: f64) {
    let domains: Domains = serde_json::from_value(serde_json::json!({
        "domains": { "d": { "algorithm": algorithm } }
    }))
    .unwrap();
    let config: tokenize::Config =
        serde_json::from_value(serde_json::json!({ "columns": ["c"], "domain": "d" })).unwrap();
    let leaf = Leaf { path: "c".into(), leaf_type: LeafType::Text };
    let built = config.build(&leaf, &domains, &Keyring::new(&root())).unwrap();
    let mut random = Random(2);
    let values: Vec<String> = (0..ROWS)
        .map(|_| (0..24).map(|_| char::from(b'a' + random.below(26) as u8)).collect())
        .collect();
    let column: ArrayRef = std::sync::Arc::new(StringArray::from(values.clone()));

    let key = root().derive(Purpose::TokenHmac, "d");
    let theirs = hmac::Key::new(hmac::HMAC_SHA256, key.secret());
    let head = Tuple::new().text("d").number(1).finish();
    let mut message = Vec::new();
    let mut peer = |value: &str| -> String {
        message.clear();
        message.extend_from_slice(&head);
        message.push(b't');
        message.extend_from_slice(&(value.len() as u32).to_be_bytes());
        message.extend_from_slice(value.as_bytes());
        BASE32_NOPAD.encode(&hmac::sign(&theirs, &message).as_ref()[..16]).to_ascii_lowercase()
    };
    if algorithm == "hmac_sha256" {
        let found = built.apply(&column).unwrap();
        for (value, found) in values.iter().zip(found.as_string::<i32>()).take(ROWS_OF_PEER) {
            assert_eq!(found, Some(peer(value).as_str()));
        }
    }
    let ours = rate(ROWS, || drop(black_box(built.apply(black_box(&column)).unwrap())));
    let whole = rate(ROWS_OF_PEER, || {
        for value in &values[..ROWS_OF_PEER] {
            black_box(peer(black_box(value)));
        }
    });
    let alone = rate(ROWS_OF_PEER, || {
        for value in &values[..ROWS_OF_PEER] {
            black_box(hmac::sign(&theirs, black_box(value.as_bytes())));
        }
    });
    say(&format!("{name}, from column to column"), ours, "aws-lc-rs hmac", whole, must, aim);
    say(
        &format!("{name}, from column to column, beside the mac alone"),
        ours,
        "aws-lc-rs hmac::sign",
        alone,
        must,
        aim,
    );
}

/// AES-256 blocks a second, 64 at a time.
fn blocks() -> f64 {
    let cipher = Aes256::new(&Array::from([7; 32]));
    let mut state = vec![Array::from([1; 16]); 64];
    rate(64 * 20_000, || {
        for _ in 0..20_000 {
            cipher.encrypt_blocks(black_box(&mut state));
        }
    })
}
