//! What looking for nine kinds costs, beside `replace_all` of a pattern a kind: `cargo bench
//! --workspace --bench detectors`.
//!
//! One thread, its own CPU time, the median of five runs. Rows of about 200 bytes: prose, with
//! digits in two of three and an item of one kind in one of twenty, all of it invented and seeded.
//! Recall is of those items. The peer has no validators and no context: it is asked for less.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints")]

mod measure;

use std::hint::black_box;

use douane_transforms::detectors::{Detector, Detectors};
use measure::rate;
use regex::bytes::{Regex, RegexBuilder};

/// Kinds, and what a user would write for them: ASCII only.
const KINDS: [(&str, &[&str]); 9] = [
    ("email", &[r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}"]),
    ("iban", &[r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}\b"]),
    (
        "ip",
        &[
            r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b",
            r"\b(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}\b",
            r"(?:[0-9A-Fa-f]{1,4}:){1,6}:(?:[0-9A-Fa-f]{1,4}:){0,5}[0-9A-Fa-f]{1,4}",
        ],
    ),
    ("us_ssn", &[r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"]),
    ("card", &[r"\b[0-9](?:[ -]?[0-9]){12,18}\b"]),
    ("phone", &[r"\+[0-9](?:[ ().-]?[0-9]){6,14}\b"]),
    ("es_dni", &[r"\b[0-9]{8}[A-Z]\b"]),
    ("mac", &[r"\b(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\b"]),
    ("uk_nino", &[r"\b[A-Z]{2} ?(?:[0-9]{2} ?){3}[A-D]\b"]),
];

const ROWS: usize = 50_000;

fn main() {
    let (rows, planted) = corpus(ROWS);
    let bytes: usize = rows.iter().map(String::len).sum();
    let named: Vec<Detector> =
        KINDS.iter().map(|(name, _)| Detector::named(name).unwrap()).collect();
    let ours = Detectors::new(&named).unwrap();
    let peers: Vec<(String, Regex)> = KINDS
        .iter()
        .flat_map(|(name, patterns)| patterns.iter().map(move |pattern| (name, pattern)))
        .map(|(name, pattern)| {
            let regex = RegexBuilder::new(pattern).unicode(false).build().unwrap();
            (format!("[{}]", name.to_uppercase()), regex)
        })
        .collect();

    let missed = planted
        .iter()
        .filter(|(row, item)| redact(&ours, &rows[*row]).contains(item.as_str()))
        .count();
    let found = planted.len() - missed;
    let touched = rows.iter().filter(|row| redact(&ours, row) != **row).count();
    let digits = |row: &&String| row.bytes().filter(u8::is_ascii_digit).count();
    let share = |least: usize| rows.iter().filter(|row| digits(row) >= least).count() * 100 / ROWS;
    println!("rows with a digit: {} %, with eight: {} %", share(1), share(8));
    println!(
        "figure: redaction recall: {:.3} % of {} planted items; rows changed: {touched}",
        100.0 * found as f64 / planted.len() as f64,
        planted.len(),
    );
    let ours = rate(bytes, || rows.iter().for_each(|row| drop(black_box(redact(&ours, row)))));
    let peer = rate(bytes, || {
        rows.iter().for_each(|row| drop(black_box(replace_each(&peers, row))));
    });
    let copy = rate(bytes, || rows.iter().for_each(|row| drop(black_box(row.clone()))));
    println!(
        "figure: redaction, nine kinds, {} bytes a row: {:.0} MB/s, replace_all per pattern {:.1} MB/s: \
         {:.1} x (must 5 x, aim 13 x); copying the rows {:.0} MB/s",
        bytes / rows.len(),
        ours / 1e6,
        peer / 1e6,
        ours / peer,
        copy / 1e6,
    );
}

fn redact(detectors: &Detectors, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    detectors.scan(text, |found| {
        out.push_str(&text[copied..found.start]);
        out.push_str(found.detector().map_or("", Detector::mark));
        copied = found.end;
    });
    out.push_str(&text[copied..]);
    out
}

fn replace_each(peers: &[(String, Regex)], text: &str) -> Vec<u8> {
    let mut text = text.as_bytes().to_vec();
    for (mark, regex) in peers {
        if let std::borrow::Cow::Owned(replaced) = regex.replace_all(&text, mark.as_bytes()) {
            text = replaced;
        }
    }
    text
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX constants.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }
}

const WORDS: [&str; 30] = [
    "asked", "about", "the", "delivery", "of", "an", "order", "that", "was", "late", "and",
    "wanted", "to", "know", "when", "it", "would", "come", "agent", "said", "für", "größer", "—",
    "customer", "is", "happy", "now", "renewal", "naïve", "invoice",
];
const NUMBERS: [&str; 10] = [
    "2024-01-31",
    "31.12.2024",
    "08:53:20",
    "19.80",
    "1,200",
    "v1.20.3",
    "2025",
    "#48213",
    "100 %",
    "INV-2024-00123",
];

/// Rows, and what was planted in which.
fn corpus(count: usize) -> (Vec<String>, Vec<(usize, String)>) {
    let mut r = Random(20_261_121);
    let mut planted = Vec::new();
    let rows = (0..count)
        .map(|row| {
            let mut text = String::new();
            let item = r.below(20) == 0;
            // Two rows of three have one to three numbers that are nobody's.
            let numbers = if r.below(3) > 0 { 1 + r.below(3) } else { 0 };
            let at = 3 + r.below(20);
            for word in 0..34 {
                if word % 11 == 4 && word / 11 < numbers {
                    text.push_str(NUMBERS[r.below(NUMBERS.len())]);
                } else if item && word == at {
                    let item = plant(&mut r);
                    text.push_str(&item);
                    planted.push((row, item));
                } else {
                    text.push_str(WORDS[r.below(WORDS.len())]);
                }
                text.push(' ');
            }
            text
        })
        .collect();
    (rows, planted)
}

fn plant(r: &mut Random) -> String {
    match r.below(9) {
        0 => format!("ada{}@example.org", r.digits(3)),
        1 => {
            let body = r.digits(18);
            let rest =
                format!("{body}131400").bytes().fold(0, |n, b| (n * 10 + u32::from(b - b'0')) % 97);
            format!("DE{:02}{body}", 98 - rest)
        }
        2 => match r.below(2) {
            0 => format!("192.0.2.{}", r.below(256)),
            _ => format!("2001:db8::{:x}:{:x}", r.below(65_536), 1 + r.below(65_535)),
        },
        3 => format!("{}-{:02}-{:04}", 100 + r.below(500), 1 + r.below(99), 1 + r.below(9_999)),
        4 => {
            let body = format!("4{}", r.digits(14));
            let sum: u32 = body
                .bytes()
                .rev()
                .enumerate()
                .map(|(place, b)| {
                    let doubled = u32::from(b - b'0') * if place % 2 == 0 { 2 } else { 1 };
                    if doubled > 9 { doubled - 9 } else { doubled }
                })
                .sum();
            format!("{body}{}", (10 - sum % 10) % 10)
        }
        5 => format!("+49151{}", r.digits(8)),
        6 => {
            let number = r.below(100_000_000);
            let letter = char::from(b"TRWAGMYFPDXBNJZSQVHLCKE"[number % 23]);
            format!("{number:08}{letter}")
        }
        7 => format!("00:53:00:{:02x}:{:02x}:{:02x}", r.below(256), r.below(256), 1 + r.below(255)),
        _ => format!("AB{}C", r.digits(6)),
    }
}
