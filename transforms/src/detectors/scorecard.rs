//! Recall and precision on generated notes: words, and in some of them one or two planted items.
//! All values are invented; the generator is seeded.

use super::Detector;
use super::scan::Detectors;
use super::tests::redact;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's MMIX constants.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }
}

const WORDS: &[&str] = &[
    "asked", "about", "the", "delivery", "of", "an", "order", "that", "was", "late", "and",
    "wanted", "to", "know", "when", "it", "would", "come", "agent", "said", "invoice", "had",
    "been", "sent", "twice", "customer", "is", "happy", "now", "please", "call", "back", "next",
    "week", "contract", "renewal", "in", "spring", "für", "naïve", "größer", "—", "ok.", "(yes)",
];
/// Numbers in prose that are nobody's.
const NUMBERS: &[&str] = &[
    "2024-01-31",
    "31.12.2024",
    "08:53:20",
    "19.80",
    "1,200",
    "v1.20.3",
    "12",
    "2025",
    "#48213",
    "100 %",
    "3 x 4",
    "INV-2024-00123",
    "7/8",
    "2nd",
    "A4",
    "1 000 000",
    "10:15",
    "Q3/2025",
];
const NAMES: &[&str] = &["ada", "bo", "chen", "dora", "emil", "fatma", "goran", "jürgen"];
const LASTS: &[&str] = &["abel", "berg", "costa", "dietz", "o'brien", "novak", "petit"];

fn luhn_digit(body: &str) -> char {
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, byte)| {
            let doubled = u32::from(byte - b'0') * if i % 2 == 0 { 2 } else { 1 };
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    char::from(b'0' + ((10 - sum % 10) % 10) as u8)
}

fn grouped(text: &str, size: usize, separator: &str) -> String {
    let signs: Vec<char> = text.chars().collect();
    signs.chunks(size).map(String::from_iter).collect::<Vec<_>>().join(separator)
}

fn email(r: &mut Random) -> String {
    let (first, last) = (r.pick(NAMES), r.pick(LASTS));
    let domain = r.pick(&["example.org", "example.com", "mail.example.co.uk", "müller.example"]);
    let joint = r.pick(&[".", "_", "-", "+", ""]);
    format!("{first}{joint}{last}{}@{domain}", r.below(1000))
}

fn phone(r: &mut Random) -> String {
    let (line, mobile) = (r.below(100), r.digits(8));
    let a = r.pick(&[" ", "-", ".", "\u{a0}"]);
    match r.below(8) {
        0 => format!("+1 202 555 01{line:02}"),
        1 => format!("+1{a}202{a}555{a}01{line:02}"),
        2 => format!("(202) 555-01{line:02}"),
        3 => format!("+49151{mobile}"),
        4 => format!("+49{a}151{a}{mobile}"),
        5 => format!("0049 151/{mobile}"),
        6 => format!("+49 (0)151 {}", grouped(&mobile, 2, a)),
        _ => format!("0151{a}{mobile}"),
    }
}

fn card(r: &mut Random) -> String {
    let length = 13 + r.below(7) as usize;
    let body = format!("9{}", r.digits(length - 2));
    let number = format!("{body}{}", luhn_digit(&body));
    match r.below(3) {
        0 => number,
        1 => grouped(&number, 4, r.pick(&[" ", "-", "\u{a0}"])),
        _ => grouped(&number, 6, " "),
    }
}

/// Check digits of ISO 7064 mod 97-10: 98 minus the rest with zeros in their place.
fn iban(r: &mut Random) -> String {
    let (country, body) = match r.below(4) {
        0 => ("DE", r.digits(18)),
        1 => ("NO", r.digits(11)),
        2 => ("GB", format!("WEST{}", r.digits(14))),
        _ => ("PL", r.digits(24)),
    };
    let text = format!("{body}{country}00");
    let rest = text.chars().fold(0_u32, |rest, c| match c.to_digit(36) {
        Some(value @ 0..=9) => (rest * 10 + value) % 97,
        Some(value) => (rest * 100 + value) % 97,
        None => rest,
    });
    let number = format!("{country}{:02}{body}", 98 - rest);
    match r.below(3) {
        0 => number,
        1 => grouped(&number, 4, " "),
        _ => number.to_lowercase(),
    }
}

fn item(r: &mut Random) -> (String, &'static str) {
    match r.below(4) {
        0 => (email(r), "[EMAIL]"),
        1 => (phone(r), "[PHONE]"),
        2 => (card(r), "[CARD]"),
        _ => (iban(r), "[IBAN]"),
    }
}

fn planted(names: &[&str]) -> Detectors {
    let named: Vec<_> = names.iter().map(|name| Detector::named(name).unwrap()).collect();
    Detectors::new(&named).unwrap()
}

fn words(r: &mut Random) -> Vec<String> {
    (0..20).map(|_| r.pick(WORDS).to_owned()).collect()
}

/// One item among words: found, marked as what it is, and nothing else is touched.
#[test]
fn recall_of_planted_items_is_whole() {
    let all = planted(&["email", "phone", "card", "iban"]);
    let mut r = Random(1);
    for _ in 0..20_000 {
        let mut note = words(&mut r);
        let (planted, mark) = item(&mut r);
        let at = r.below(20) as usize;
        let (before, after) =
            (r.pick(&["", "(", "\"", ":"]), r.pick(&["", ".", ",", ")", ";", "?"]));
        note[at] = format!("{before}{mark}{after}");
        let expected = note.join(" ");
        note[at] = format!("{before}{planted}{after}");
        assert_eq!(redact(&all, &note.join(" ")), expected);
    }
}

/// Two items side by side and numbers around them: no planted text is left.
#[test]
fn recall_holds_beside_other_numbers() {
    let all = planted(&["email", "phone", "card", "iban"]);
    let mut r = Random(2);
    for _ in 0..20_000 {
        let mut note = words(&mut r);
        let ((one, _), (two, _)) = (item(&mut r), item(&mut r));
        let at = 1 + r.below(18) as usize;
        note[at - 1] = r.pick(NUMBERS).to_owned();
        note[at] = format!("{one}, {two}");
        note[at + 1] = format!("; {}", r.pick(NUMBERS));
        let out = redact(&all, &note.join(" "));
        assert!(!out.contains(&one) && !out.contains(&two));
        let digits = out.bytes().filter(u8::is_ascii_digit).count();
        let others: usize = [&note[at - 1], &note[at + 1]]
            .iter()
            .map(|n| n.bytes().filter(u8::is_ascii_digit).count())
            .sum();
        assert!(digits <= others, "part of a planted item is left: {} in {out}", note.join(" "));
    }
}

/// Prose with dates, prices, versions and ticket numbers stays as it is.
#[test]
fn nothing_planted_nothing_found() {
    let all = planted(&["email", "phone", "card", "iban"]);
    let mut r = Random(3);
    let mut touched = 0;
    for _ in 0..20_000 {
        let mut note = words(&mut r);
        for at in [2, 7, 12, 17] {
            note[at] = r.pick(NUMBERS).to_owned();
        }
        let note = note.join(" ");
        touched += usize::from(redact(&all, &note) != note);
    }
    assert_eq!(touched, 0);
}

/// The control: with one detector off, its items are left and the comparison sees it.
#[test]
fn a_missing_detector_shows() {
    let detectors = planted(&["email", "phone", "iban"]);
    let mut r = Random(4);
    let left = (0..100)
        .filter(|_| {
            let planted = card(&mut r);
            redact(&detectors, &planted).contains(&planted)
        })
        .count();
    assert!(left > 50);
}
