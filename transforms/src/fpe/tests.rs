//! Against crate `fpe` and the text of the format alone; refusals.

use ::fpe::ff1::{FF1, FlexibleNumeralString};
use aes::Aes256;
use arrow::array::{AsArray, Int64Array, StringArray};
use douane_schemas::keys::RootKey;
use proptest::prelude::*;

use super::*;
use crate::check_digit::CheckOutcome;

fn domains() -> Domains {
    serde_json::from_str(r#"{"domains":{"phone":{},"card":{}}}"#).unwrap()
}

fn leaf(leaf_type: LeafType) -> Leaf {
    Leaf { path: "c".into(), leaf_type }
}

fn config(alphabet: Alphabet, first: u32, last: u32) -> Config {
    Config {
        columns: vec!["c".into()],
        alphabet,
        domain: "phone".into(),
        keep: Keep { first, last },
        separators: None,
        context: String::new(),
        length_min: None,
        check_digit: None,
        on_bad: OnBad::Refuse,
    }
}

fn run(config: &Config, value: &str) -> Result<String, TransformFault> {
    let keyring = Keyring::new(&RootKey::new([7; 32]));
    let built = config.build(&leaf(LeafType::Text), &domains(), &keyring).unwrap();
    let column: ArrayRef = Arc::new(StringArray::from(vec![value]));
    built.apply(&column).map(|out| out.as_string::<i32>().value(0).to_owned())
}

/// The way back, by crate `fpe` and the text of the format alone.
fn decrypt(value: &str, first: usize, last: usize) -> String {
    let key = RootKey::new([7; 32]).derive(Purpose::Ff1, "phone");
    let chars: Vec<char> = value.chars().collect();
    let sealed = |i: usize, c: char| i >= first && i < chars.len() - last && c.is_ascii_digit();
    let kept: String =
        chars.iter().enumerate().filter(|(i, c)| !sealed(*i, **c)).map(|(_, c)| c).collect();
    let numerals: Vec<u16> = chars
        .iter()
        .enumerate()
        .filter(|(i, c)| sealed(*i, **c))
        .map(|(_, c)| c.to_digit(10).unwrap() as u16)
        .collect();
    let tweak = Tuple::new().text("phone").text("").text(&kept).finish();
    let ff1 = FF1::<Aes256>::new(key.secret(), 10).unwrap();
    let plain = ff1.decrypt(&tweak, &FlexibleNumeralString::from(numerals)).unwrap();
    let mut plain = Vec::<u16>::from(plain).into_iter();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        match sealed(i, *c) {
            true => out.push_str(&plain.next().unwrap().to_string()),
            false => out.push(*c),
        }
    }
    out
}

#[test]
fn keeps_ends_separators_length_and_comes_back() {
    for value in ["+4915112345678", "+49 151 123-45678", "+1 (202) 555-0123", "004915112345"] {
        let sealed = run(&config(Alphabet::Digits, 3, 0), value).unwrap();
        assert_eq!(sealed.len(), value.len());
        assert_eq!(&sealed[..3], &value[..3]);
        assert_ne!(sealed, value);
        for (a, b) in sealed.chars().zip(value.chars()) {
            assert_eq!(a.is_ascii_digit(), b.is_ascii_digit());
        }
        assert_eq!(decrypt(&sealed, 3, 0), value);
    }
}

#[test]
fn what_is_kept_changes_the_rest() {
    let digits = config(Alphabet::Digits, 3, 0);
    let one = run(&digits, "+49123456789").unwrap();
    let two = run(&digits, "+33123456789").unwrap();
    assert_ne!(one[3..], two[3..]);
    let context = Config { context: "b".into(), ..digits.clone() };
    assert_ne!(run(&context, "+49123456789").unwrap(), one);
    let domain = Config { domain: "card".into(), ..digits };
    assert_ne!(run(&domain, "+49123456789").unwrap(), one);
}

#[test]
fn integers_are_encrypted_as_their_text() {
    let keyring = Keyring::new(&RootKey::new([7; 32]));
    let digits = config(Alphabet::Digits, 0, 0);
    let built = digits.build(&leaf(LeafType::Int64), &domains(), &keyring).unwrap();
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(7_340_012), None]));
    let out = built.apply(&column).unwrap();
    assert_eq!(out.as_string::<i32>().value(0), run(&digits, "7340012").unwrap());
    assert!(out.is_null(1));
}

#[test]
fn cells_bad_length_bad_character() {
    let digits = config(Alphabet::Digits, 3, 0);
    assert!(run(&digits, "+49123456").is_ok());
    for short in ["+4912345", "+49", "", "+49 1-2-3-4-5"] {
        assert_eq!(run(&digits, short), Err(TransformFault::DomainTooSmall), "{short}");
    }
    for foreign in ["+49123456x", "+49 123 4é6 789"] {
        assert_eq!(run(&digits, foreign), Err(TransformFault::OutsideAlphabet), "{foreign}");
    }
    assert!(run(&digits, &"1".repeat(512)).is_ok());
    for long in ["1".repeat(513), format!("+49123456{}", " ".repeat(504))] {
        assert_eq!(run(&digits, &long), Err(TransformFault::TooLong));
    }
    let longer = Config { length_min: Some(9), ..digits };
    assert!(run(&longer, "+49123456789").is_ok());
    assert_eq!(run(&longer, "+4912345678"), Err(TransformFault::DomainTooSmall));
}

#[test]
fn stages_bad_alphabet_bad_separators_bad_length_bad_type() {
    let text = leaf(LeafType::Text);
    let refused = |config: &Config| config.declare(&text, &domains()).unwrap_err();
    for bad in ["", "a", "aa", "ab c", "a\u{301}b"] {
        let custom = config(Alphabet::Custom(bad.into()), 0, 0);
        assert!(matches!(refused(&custom), StageFault::Alphabet(_)), "{bad}");
    }
    for bad in ["1", "--", "x", "é"] {
        let given = Config { separators: Some(bad.into()), ..config(Alphabet::Digits, 0, 0) };
        assert!(matches!(refused(&given), StageFault::Separators(_)), "{bad}");
    }
    let short = Config { length_min: Some(5), ..config(Alphabet::Digits, 0, 0) };
    assert_eq!(refused(&short), StageFault::DomainTooSmall { radix: 10, length_min: 5, least: 6 });
    let long = Config { length_min: Some(513), ..config(Alphabet::Digits, 0, 0) };
    assert!(matches!(refused(&long), StageFault::LengthTooLong { .. }));
    let unknown = Config { domain: "x".into(), ..config(Alphabet::Digits, 0, 0) };
    assert!(matches!(refused(&unknown), StageFault::UnknownDomain { .. }));
    let date = config(Alphabet::Digits, 0, 0).declare(&leaf(LeafType::Date), &domains());
    assert!(matches!(date, Err(StageFault::LeafType { .. })));
}

proptest! {
    #[test]
    fn never_panics_and_keeps_the_shape(value in "\\PC{0,40}", first in 0_u32..5, last in 0_u32..5) {
        if let Ok(sealed) = run(&config(Alphabet::Base62, first, last), &value) {
            prop_assert_eq!(sealed.chars().count(), value.chars().count());
        }
    }

    #[test]
    fn comes_back(value in "\\+[0-9]{2}[0-9 -]{12,40}") {
        let sealed = run(&config(Alphabet::Digits, 3, 2), &value);
        prop_assume!(sealed.is_ok());
        prop_assert_eq!(decrypt(&sealed.unwrap(), 3, 2), value);
    }
}

/// The same column value by value and, by crate `fpe`, character by character.
#[test]
fn a_column_is_its_values_one_by_one_and_comes_back() {
    let keyring = Keyring::new(&RootKey::new([7; 32]));
    let mut seed = 1_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for (alphabet, keep) in [
        (Alphabet::Digits, (0, 0)),
        (Alphabet::Digits, (3, 2)),
        (Alphabet::Base62, (0, 0)),
        (Alphabet::Custom("0123456789abcdefghijklmnopqrstuvwxyzäöüß".into()), (1, 0)),
    ] {
        let signs: Vec<char> = alphabet.characters().chars().collect();
        let config = config(alphabet, keep.0, keep.1);
        let built = config
            .with_key(&leaf(LeafType::Text), &domains(), &keyring.key(Purpose::Ff1, &config.domain))
            .unwrap();
        let values: Vec<Option<String>> = (0..700)
            .map(|row| {
                let text = |length: u64, random: &mut dyn FnMut(u64) -> u64| -> String {
                    (0..length).map(|_| signs[random(signs.len() as u64) as usize]).collect()
                };
                let length = 12 + random(40);
                match row % 7 {
                    0 => None,
                    1 | 2 => Some(text(16, &mut random)),
                    3 => Some(format!("{}-{}", text(7, &mut random), text(9, &mut random))),
                    _ => Some(text(length, &mut random)),
                }
            })
            .collect();
        let column: ArrayRef = Arc::new(StringArray::from(values.clone()));
        let sealed = built.apply(&column).unwrap();
        for (row, value) in values.iter().enumerate() {
            let Some(value) = value else {
                assert!(sealed.is_null(row));
                continue;
            };
            let found = sealed.as_string::<i32>().value(row);
            assert_eq!(found, run(&config, value).unwrap());
            assert_eq!(built.decrypt(found).unwrap(), *value);
            if signs.len() == 10 {
                assert_eq!(decrypt(found, keep.0 as usize, keep.1 as usize), *value);
            }
        }
        let back = built.column(&sealed, Way::Decrypt).unwrap();
        assert!(back.to_data() == column.to_data());
        let sliced = built.apply(&column.slice(90, 300)).unwrap();
        assert!(sliced.to_data() == sealed.slice(90, 300).to_data());
    }
}

fn card(outcome: CheckOutcome, first: u32, last: u32) -> Config {
    Config { check_digit: Some(CheckDigit::Luhn(outcome)), ..config(Alphabet::Digits, first, last) }
}

/// Luhn as a reader would: from the right, every second digit doubled.
fn luhn_holds(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| if i % 2 == 1 { d * 2 / 10 + d * 2 % 10 } else { *d })
        .sum();
    sum.is_multiple_of(10)
}

const CARDS: [&str; 5] = [
    "4111111111111111",
    "5555 5555 5555 4444",
    "3782-822463-10005",
    "6011000990139424",
    "3530111333300000",
];

#[test]
fn check_digits_stay_valid_or_become_invalid_and_come_back() {
    let key = RootKey::new([7; 32]).derive(Purpose::Ff1, "phone");
    for (first, last) in [(0, 0), (2, 2), (0, 4), (3, 0)] {
        for (outcome, holds) in
            [(CheckOutcome::KeepValid, true), (CheckOutcome::MakeInvalid, false)]
        {
            let config = card(outcome, first, last);
            let built = config.with_key(&leaf(LeafType::Text), &domains(), &key).unwrap();
            for value in CARDS {
                let sealed = run(&config, value).unwrap();
                assert_ne!(sealed, value);
                assert_eq!(sealed.len(), value.len());
                assert_eq!(luhn_holds(&sealed), holds, "{value}");
                let (first, last) = (first as usize, last as usize);
                assert_eq!(sealed[..first], value[..first]);
                assert_eq!(sealed[value.len() - last..], value[value.len() - last..]);
                assert_eq!(built.decrypt(&sealed).unwrap(), value);
            }
        }
    }
    // What is encrypted is the value without its check digit.
    let without = run(&config(Alphabet::Digits, 0, 0), "411111111111111").unwrap();
    assert_eq!(run(&card(CheckOutcome::KeepValid, 0, 0), CARDS[0]).unwrap()[..15], without);
}

#[test]
fn check_digits_bad_values_bad_alphabet() {
    let valid = card(CheckOutcome::KeepValid, 0, 0);
    assert_eq!(run(&valid, "4111111111111112"), Err(TransformFault::CheckDigit));
    assert_eq!(run(&valid, "411111111111111x"), Err(TransformFault::OutsideAlphabet));
    // Six digits and the check digit; five and it are too few.
    assert!(run(&valid, "1234566").is_ok());
    assert_eq!(run(&valid, "123455"), Err(TransformFault::DomainTooSmall));
    assert_eq!(run(&valid, ""), Err(TransformFault::DomainTooSmall));
    assert_eq!(run(&valid, "--"), Err(TransformFault::DomainTooSmall));
    let kept = card(CheckOutcome::KeepValid, 1, 0);
    assert_eq!(run(&kept, "x4111111111111111"), Err(TransformFault::OutsideAlphabet));
    // Printed with the other outcome, or changed outside.
    let key = RootKey::new([7; 32]).derive(Purpose::Ff1, "phone");
    let built = card(CheckOutcome::MakeInvalid, 0, 0)
        .with_key(&leaf(LeafType::Text), &domains(), &key)
        .unwrap();
    let sealed = run(&valid, CARDS[0]).unwrap();
    assert_eq!(built.decrypt(&sealed), Err(TransformFault::CheckDigit));
    let hex = Config { alphabet: Alphabet::Hex, ..valid };
    let refused = hex.declare(&leaf(LeafType::Text), &domains());
    assert_eq!(refused.unwrap_err(), StageFault::CheckDigit);
}

/// A column without the new keys is written as before there were any.
#[test]
fn what_is_not_given_is_not_written() {
    let plain = serde_json::to_value(config(Alphabet::Digits, 0, 0)).unwrap();
    assert!(plain.get("check_digit").is_none());
    let with = serde_json::to_value(card(CheckOutcome::MakeInvalid, 0, 0)).unwrap();
    assert_eq!(with["check_digit"], serde_json::json!({ "luhn": "make_invalid" }));
}
