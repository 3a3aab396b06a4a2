//! `fpe`: format-preserving encryption, FF1 of NIST SP 800-38G with AES-256.
//!
//! Of each value the first `keep.first` and the last `keep.last` characters stay as they are, and
//! so does every separator between them; the others are numerals of the alphabet and are encrypted
//! together. tweak = tuple(domain, context, kept), where kept is every character that stays, in
//! the order of the value: two values that differ in what is seen of them share no keystream.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringBuilder};
use douane_schemas::keys::Purpose;
use douane_schemas::leaf::{Leaf, LeafType};
use douane_schemas::tuple::Tuple;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::column::{Protect, each_text};
use crate::domains::Domains;
use crate::fault::{StageFault, TransformFault};
use crate::ff1::{Ff1, Job, NUMERALS_MAX, length_least};
use crate::keep::Keep;
use crate::keyring::Keyring;
use crate::stage::{Declaration, Declared, Guarantees, Produces};

/// What `fpe` is.
pub const DECLARATION: Declaration = Declaration {
    verb: "fpe",
    summary: "format-preserving encryption: same length, same alphabet, another value",
    guarantees: Guarantees {
        deterministic: true,
        reversible_with_key: true,
        keeps_length: true,
        keeps_uniqueness: true,
        keeps_order: false,
        joinable: true,
        keeps_nulls: true,
    },
    semantics: 1,
    example_yaml: "fpe: { columns: [phone], alphabet: digits, domain: phone, keep: { first: 3 } }",
};

/// Separators where the YAML names none; those in the alphabet are not separators.
const SEPARATORS: &str = " -./()+";

/// `fpe: { columns: [phone], alphabet: digits, domain: phone, keep: { first: 3 } }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Fpe")]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Leaves to encrypt.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// Characters that are encrypted.
    pub alphabet: Alphabet,
    /// A domain of the domains' file: it fixes the key. Its normaliser and form are not used.
    pub domain: String,
    /// Characters that stay at the ends of each value, separators counted.
    #[serde(default)]
    pub keep: Keep,
    /// Characters that stay wherever they stand: ASCII, none of the alphabet. A character that is
    /// neither refuses the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separators: Option<String>,
    /// Parts uses of one domain from each other: it goes into the tweak.
    #[serde(default)]
    pub context: String,
    /// The least count of characters that are encrypted in each value, kept ones and separators
    /// not counted. A value with fewer refuses its row, and so does one of over 512 characters. Default: the least that gives 10^6 values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_min: Option<u32>,
}

/// The characters that are encrypted, in numeral order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Alphabet {
    /// `0-9`
    Digits,
    /// `0-9a-f`
    Hex,
    /// `a-z`
    Lower,
    /// `A-Z`
    Upper,
    /// `0-9a-z`
    Alphanumeric,
    /// `0-9A-Za-z`
    Base62,
    /// 2 to 94 different visible ASCII characters.
    Custom(String),
}

impl Alphabet {
    /// The characters in numeral order.
    pub fn characters(&self) -> &str {
        match self {
            Self::Digits => "0123456789",
            Self::Hex => "0123456789abcdef",
            Self::Lower => "abcdefghijklmnopqrstuvwxyz",
            Self::Upper => "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            Self::Alphanumeric => "0123456789abcdefghijklmnopqrstuvwxyz",
            Self::Base62 => "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            Self::Custom(characters) => characters,
        }
    }

    fn check(&self) -> Result<u32, StageFault> {
        let characters = self.characters().as_bytes();
        if !characters.iter().all(u8::is_ascii_graphic) {
            return Err(StageFault::Alphabet("expected visible ASCII characters only"));
        }
        if !(2..=94).contains(&characters.len()) {
            return Err(StageFault::Alphabet("expected 2 to 94 characters"));
        }
        if repeats(characters) {
            return Err(StageFault::Alphabet("a character stands in it twice"));
        }
        Ok(characters.len() as u32)
    }
}

fn repeats(characters: &[u8]) -> bool {
    characters.iter().enumerate().any(|(i, c)| characters[..i].contains(c))
}

impl Config {
    /// What comes out for a leaf.
    ///
    /// # Errors
    /// The domain is unknown, the alphabet or separators unusable, the declared minimum length
    /// below 10^6 values, or the type not text or an integer.
    pub fn declare(&self, leaf: &Leaf, domains: &Domains) -> Result<Declared, StageFault> {
        domains.get(DECLARATION.verb, &self.domain)?;
        let radix = self.alphabet.check()?;
        let separators = self.separators()?;
        let least = length_least(radix);
        let length_min = self.length_min.unwrap_or(least);
        if length_min < least {
            return Err(StageFault::DomainTooSmall { radix, length_min, least });
        }
        if length_min as usize > NUMERALS_MAX {
            return Err(StageFault::LengthTooLong { length_min, most: NUMERALS_MAX as u32 });
        }
        let taken = matches!(
            leaf.leaf_type,
            LeafType::Text | LeafType::Int16 | LeafType::Int32 | LeafType::Int64
        );
        if !taken {
            return Err(StageFault::LeafType {
                verb: DECLARATION.verb,
                found: leaf.leaf_type,
                expected: "text, int16, int32 or int64",
            });
        }
        Ok(Declared {
            output: LeafType::Text,
            produces: Produces::Fpe {
                alphabet: self.alphabet.characters().to_owned(),
                keep_first: self.keep.first,
                keep_last: self.keep.last,
                separators,
                domain: self.domain.clone(),
                context: self.context.clone(),
                length_min,
            },
            may_fail: true,
            keys: vec![(Purpose::Ff1, self.domain.clone())],
        })
    }

    fn separators(&self) -> Result<String, StageFault> {
        let alphabet = self.alphabet.characters();
        let Some(given) = &self.separators else {
            return Ok(SEPARATORS.chars().filter(|c| !alphabet.contains(*c)).collect());
        };
        if !given.bytes().all(|b| b.is_ascii_punctuation() || b == b' ') {
            return Err(StageFault::Separators("expected ASCII punctuation and spaces only"));
        }
        if repeats(given.as_bytes()) {
            return Err(StageFault::Separators("a character stands in it twice"));
        }
        if given.chars().any(|c| alphabet.contains(c)) {
            return Err(StageFault::Separators("a character stands in the alphabet too"));
        }
        Ok(given.clone())
    }

    /// The compiled cipher.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn build(
        &self,
        leaf: &Leaf,
        domains: &Domains,
        keyring: &Keyring,
    ) -> Result<Arc<dyn Protect>, StageFault> {
        let declared = self.declare(leaf, domains)?;
        let (Produces::Fpe { alphabet, separators, length_min, .. }, radix) =
            (declared.produces, self.alphabet.check()?)
        else {
            return Err(StageFault::NoFunction(DECLARATION.verb));
        };
        let key = keyring.key(Purpose::Ff1, &self.domain);
        let unusable = StageFault::Alphabet("expected 2 to 94 characters");
        let mut roles = [Role::Foreign; 256];
        for (numeral, sign) in alphabet.bytes().enumerate() {
            roles[usize::from(sign)] = Role::Numeral(numeral as u8);
        }
        for sign in separators.bytes() {
            roles[usize::from(sign)] = Role::Separator;
        }
        Ok(Arc::new(Fpe {
            ff1: Ff1::new(key.secret(), radix).ok_or(unusable)?,
            roles,
            signs: alphabet.into_bytes(),
            keep: self.keep,
            head: Tuple::new().text(&self.domain).text(&self.context),
            length_min: length_min as usize,
        }))
    }
}

/// What a byte between the kept ends is.
#[derive(Clone, Copy)]
enum Role {
    Numeral(u8),
    Separator,
    Foreign,
}

struct Fpe {
    ff1: Ff1,
    roles: [Role; 256],
    /// The alphabet, by numeral.
    signs: Vec<u8>,
    keep: Keep,
    /// The tweak's first fields: domain and context.
    head: Tuple,
    length_min: usize,
}

/// All values of a column between parsing and printing.
#[derive(Default)]
struct Column {
    numerals: Vec<u8>,
    tweaks: Vec<u8>,
    jobs: Vec<Job>,
}

impl Protect for Fpe {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let mut batch = Column::default();
        let mut kept = String::new();
        each_text(column, |value| value.map_or(Ok(()), |v| self.parse(v, &mut batch, &mut kept)))?;
        self.ff1.encrypt(&mut batch.numerals, &batch.tweaks, &batch.jobs)?;
        let mut out = StringBuilder::with_capacity(column.len(), batch.numerals.len() * 2);
        let mut numerals = batch.numerals.iter();
        let mut text = String::new();
        each_text(column, |value| {
            let Some(value) = value else {
                out.append_null();
                return Ok(());
            };
            let (first, middle, last) =
                self.keep.cut(value).ok_or(TransformFault::DomainTooSmall)?;
            text.clear();
            text.push_str(first);
            for byte in middle.bytes() {
                let sign = match self.roles[usize::from(byte)] {
                    Role::Numeral(_) => {
                        let numeral = numerals.next().ok_or(TransformFault::OutOfRange)?;
                        self.signs[usize::from(*numeral)]
                    }
                    Role::Separator => byte,
                    Role::Foreign => return Err(TransformFault::OutsideAlphabet),
                };
                text.push(char::from(sign));
            }
            text.push_str(last);
            out.append_value(&text);
            Ok(())
        })?;
        Ok(Arc::new(out.finish()))
    }
}

impl Fpe {
    fn parse(
        &self,
        value: &str,
        batch: &mut Column,
        kept: &mut String,
    ) -> Result<(), TransformFault> {
        if value.chars().nth(NUMERALS_MAX).is_some() {
            return Err(TransformFault::TooLong);
        }
        let (first, middle, last) = self.keep.cut(value).ok_or(TransformFault::DomainTooSmall)?;
        kept.clear();
        kept.push_str(first);
        let numerals = batch.numerals.len();
        for byte in middle.bytes() {
            match self.roles[usize::from(byte)] {
                Role::Numeral(numeral) => batch.numerals.push(numeral),
                Role::Separator => kept.push(char::from(byte)),
                Role::Foreign => return Err(TransformFault::OutsideAlphabet),
            }
        }
        kept.push_str(last);
        if batch.numerals.len() - numerals < self.length_min {
            return Err(TransformFault::DomainTooSmall);
        }
        let tweaks = batch.tweaks.len();
        batch.tweaks.extend(self.head.clone().text(kept).finish());
        batch.jobs.push(Job {
            numerals: (numerals, batch.numerals.len()),
            tweak: (tweaks, batch.tweaks.len()),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ::fpe::ff1::{FF1, FlexibleNumeralString};
    use aes::Aes256;
    use arrow::array::{AsArray, Int64Array, StringArray};
    use douane_schemas::keys::RootKey;
    use proptest::prelude::*;

    use super::*;

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
        for bad in ["", "a", "aa", "ab c", "äb"] {
            let custom = config(Alphabet::Custom(bad.into()), 0, 0);
            assert!(matches!(refused(&custom), StageFault::Alphabet(_)), "{bad}");
        }
        for bad in ["1", "--", "x", "é"] {
            let given = Config { separators: Some(bad.into()), ..config(Alphabet::Digits, 0, 0) };
            assert!(matches!(refused(&given), StageFault::Separators(_)), "{bad}");
        }
        let short = Config { length_min: Some(5), ..config(Alphabet::Digits, 0, 0) };
        assert_eq!(
            refused(&short),
            StageFault::DomainTooSmall { radix: 10, length_min: 5, least: 6 }
        );
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
}
