//! `labelled_text COUNT [SEED]`: sentences in eight languages with planted items of every kind
//! that there is a detector for, among numbers that are nobody's, as a JSON list that `douane
//! scorecard` reads. All of it is invented. Each sentence says in `metadata` who made it, so that
//! no override can take a scorecard of it for evidence.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a command for tests")]

mod generator;

use generator::{Generator, Sentence};

fn main() {
    let mut args = std::env::args().skip(1);
    let count: usize = args.next().map_or(10_000, |text| text.parse().expect("a count"));
    let seed: u64 = args.next().map_or(1, |text| text.parse().expect("a seed"));
    let kinds: Vec<&str> = douane_transforms::detectors::Detector::ALL
        .iter()
        .map(|detector| detector.name())
        .collect();
    let mut generator = Generator::new(seed, &kinds);
    let items: Vec<serde_json::Value> = (0..count).map(|_| item(&generator.sentence())).collect();
    println!("{}", serde_json::Value::Array(items));
}

fn item(sentence: &Sentence) -> serde_json::Value {
    let characters = |bytes: usize| sentence.text[..bytes].chars().count();
    let spans = sentence.spans.iter().map(|(kind, range)| {
        serde_json::json!({
            "entity_type": kind,
            "entity_value": sentence.text[range.clone()],
            "start_position": characters(range.start),
            "end_position": characters(range.end),
        })
    });
    serde_json::json!({
        "full_text": sentence.text,
        "spans": spans.collect::<Vec<_>>(),
        "metadata": { "generator": "douane" },
    })
}
