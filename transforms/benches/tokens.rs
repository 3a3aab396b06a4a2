//! Tokens of 24-byte values a second of one core, each beside AWS-LC's `hmac::sign` with a prepared
//! key in the same run: `cargo bench -p douane-transforms --bench tokens`. Outputs are compared with
//! an independent implementation before the clock starts, which is the thread's own CPU time.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and may panic")]

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use aws_lc_rs::hmac;
use douane_schemas::keys::RootKey;
use douane_schemas::leaf::{Leaf, LeafType};
use douane_transforms::cmac::{Batch, Cmac, Head};
use douane_transforms::hmac::Hmac;
use douane_transforms::siv::Siv;
use douane_transforms::{Domains, Keyring, OnBad, tokenize};

const VALUES: usize = 65_536;
/// As many as the stage makes together.
const TOGETHER: usize = 1_024;
const RUNS: usize = 9;
/// Rounds of a run: the clock ticks in milliseconds.
const ROUNDS: usize = 16;

/// Seconds of CPU that this thread had, as Linux counts them.
fn cpu() -> f64 {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    counted.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e-9
}

/// Millions a second: the median of the runs, after one to warm up.
fn rate(mut once: impl FnMut()) -> f64 {
    once();
    let mut rates: Vec<f64> = (0..RUNS)
        .map(|_| {
            let since = cpu();
            (0..ROUNDS).for_each(|_| once());
            (ROUNDS * VALUES) as f64 / (cpu() - since) / 1e6
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[RUNS / 2]
}

fn main() {
    let values: Vec<String> = (0..VALUES).map(|i| format!("{:024}", i * 7_919)).collect();
    let key = [7; 32];
    let peer_key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let ours = Hmac::new(&key);
    for value in &values {
        let peer = hmac::sign(&peer_key, value.as_bytes());
        assert!(ours.tag(&mut value.clone().into_bytes()) == peer.as_ref());
    }
    let peer = rate(|| {
        for value in &values {
            black_box(hmac::sign(&peer_key, black_box(value.as_bytes())));
        }
    });
    println!("{:<44} {:>9} {:>8}", "tokens of 24 bytes, one core", "million/s", "ratio");
    let say = |what: &str, rate: f64| println!("{what:<44} {rate:>9.2} {:>7.1}x", rate / peer);
    say("aws-lc-rs hmac::sign, prepared key (peer)", peer);

    let mut message = Vec::with_capacity(128);
    let found = rate(|| {
        for value in &values {
            message.clear();
            message.extend_from_slice(black_box(value.as_bytes()));
            black_box(ours.tag(&mut message));
        }
    });
    say("HMAC-SHA-256", found);

    let cmac = Cmac::new(&key);
    let (mut batch, mut tags, head) = (Batch::default(), Vec::new(), Head::default());
    let mut all = |tags: &mut Vec<[u8; 16]>| {
        for values in values.chunks(TOGETHER) {
            for value in values {
                cmac.push(&head, &[], black_box(value.as_bytes()), &mut batch);
            }
            cmac.finish(&head, &mut batch, tags);
        }
    };
    all(&mut tags);
    for (value, tag) in values.iter().zip(&tags).step_by(97) {
        use ::cmac::digest::{KeyInit as _, Mac as _};
        let mut peer = ::cmac::Cmac::<aes::Aes256>::new_from_slice(&key).unwrap();
        peer.update(value.as_bytes());
        assert!(peer.finalize().into_bytes()[..] == tag[..]);
    }
    let found = rate(|| {
        tags.clear();
        all(&mut tags);
        black_box(&tags);
    });
    say("AES-256-CMAC", found);

    let siv = Siv::new(&[7; 64]);
    let header = siv.header(&[b"customer"]);
    let found = rate(|| {
        for value in &values {
            black_box(siv.seal(&header, black_box(value.as_bytes())));
        }
    });
    say("AES-SIV, one by one", found);

    // The whole stage: a column of text in, a column of printed tokens out.
    let domains: Domains = serde_json::from_str(
        r#"{"domains":{"hmac":{},"cmac":{"algorithm":"aes_cmac"},
            "siv":{"algorithm":"aes_siv","pad_to":32,"form":"base64url"}}}"#,
    )
    .unwrap();
    let keyring = Keyring::new(&RootKey::new(key));
    let leaf = Leaf { path: "c".into(), leaf_type: LeafType::Text };
    let column: ArrayRef = Arc::new(StringArray::from(values));
    for domain in ["hmac", "cmac", "siv"] {
        let config = tokenize::Config {
            columns: vec!["c".into()],
            domain: domain.into(),
            on_bad: OnBad::Refuse,
        };
        let stage = config.build(&leaf, &domains, &keyring).unwrap();
        let found = rate(|| {
            black_box(stage.apply(black_box(&column)).unwrap());
        });
        say(&format!("stage `tokenize`, column to column: {domain}"), found);
    }
}
