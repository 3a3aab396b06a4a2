//! `scan_rate FILE NAME,NAME…`: how fast the named detectors go through the texts of a file of
//! labelled text, on one thread, by the time that thread computed. Prints one JSON document;
//! `tests/bench presidio` sets it beside a peer's.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a command for benchmarks")]

use std::time::{Duration, Instant};

use douane_transforms::detectors::{Detector, Detectors};

/// Nanoseconds that this thread computed; those that passed where the system does not say.
fn computed_ns(start: Instant) -> u128 {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let first = said.as_deref().and_then(|text| text.split(' ').next()?.parse().ok());
    first.unwrap_or_else(|| start.elapsed().as_nanos())
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (file, names) = (args.next().expect("a file"), args.next().expect("names of detectors"));
    let names: Vec<&str> = names.split(',').collect();
    let of = |name: &&str| {
        let found = serde_json::from_value::<Detector>(serde_json::json!(name));
        found.unwrap_or_else(|_| panic!("no detector {name}"))
    };
    let detectors: Vec<Detector> = names.iter().map(of).collect();
    let detectors = Detectors::new(&detectors).expect("detectors");
    let text = std::fs::read_to_string(file).expect("a file");
    let items: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a JSON list");
    let texts: Vec<&str> = items.iter().filter_map(|item| item["full_text"].as_str()).collect();
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let mut finds = 0_u64;
    let mut once = || texts.iter().for_each(|text| detectors.scan(text, |_| finds += 1));
    once();
    let (start, before) = (Instant::now(), computed_ns(Instant::now()));
    let mut rounds = 0_u64;
    while start.elapsed() < Duration::from_secs(3) {
        once();
        rounds += 1;
    }
    let seconds = (computed_ns(start) - before) as f64 / 1e9;
    println!(
        "{}",
        serde_json::json!({
            "texts": texts.len() as u64 * rounds,
            "bytes": bytes as u64 * rounds,
            "finds": finds / (rounds + 1),
            "seconds": seconds,
        })
    );
}
