//! `labelled_text COUNT [SEED]`: sentences in eight languages with planted items of every kind
//! that there is a detector for, among numbers that are nobody's, as a JSON list that `douane
//! scorecard` reads. All of it is invented. Each sentence says in `metadata` who made it, so that
//! no override can take a scorecard of it for evidence.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a command for tests")]

mod generator;

fn main() {
    let mut args = std::env::args().skip(1);
    let count: usize = args.next().map_or(10_000, |text| text.parse().expect("a count"));
    let seed: u64 = args.next().map_or(1, |text| text.parse().expect("a seed"));
    let kinds: Vec<&str> = douane_transforms::detectors::Detector::ALL
        .iter()
        .map(|detector| detector.name())
        .collect();
    println!("{}", generator::json(count, seed, &kinds));
}
