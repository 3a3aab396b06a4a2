//! Alphabets: the characters that are numerals, as the YAML names them and as columns are read.

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, is_nfc_quick};

use crate::fault::StageFault;
use crate::ff1::RADIX_MAX;

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
    /// 2 to 65,536 different visible characters that no Unicode normalisation changes, alone or
    /// beside each other. Texts are compared as they are: write composed characters.
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

    /// The radix.
    ///
    /// # Errors
    /// Too few characters or too many, one of them twice, or one that is not seen or that
    /// normalisation may change.
    pub fn check(&self) -> Result<u32, StageFault> {
        let mut seen = HashSet::new();
        for sign in self.characters().chars() {
            if !is_visible(sign) {
                return Err(StageFault::Alphabet("expected visible characters only"));
            }
            if !is_stable(sign) {
                return Err(StageFault::Alphabet(
                    "expected characters that NFC leaves as they are beside any other",
                ));
            }
            if !seen.insert(sign) {
                return Err(StageFault::Alphabet("a character stands in it twice"));
            }
            if seen.len() > RADIX_MAX as usize {
                return Err(StageFault::Alphabet("expected 2 to 65536 characters"));
            }
        }
        match seen.len() {
            0 | 1 => Err(StageFault::Alphabet("expected 2 to 65536 characters")),
            radix => Ok(radix as u32),
        }
    }
}

/// Whether a reader sees it: no control, space, format or joining character, no private one and
/// none that will never be a character.
fn is_visible(sign: char) -> bool {
    let hidden = matches!(sign, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}'
        | '\u{e0000}'..='\u{e0fff}');
    let private = matches!(sign, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..);
    let none = matches!(sign, '\u{fdd0}'..='\u{fdef}') || sign as u32 & 0xfffe == 0xfffe;
    !(sign.is_control() || sign.is_whitespace() || hidden || private || none)
}

/// Whether text made of such characters is in NFC whatever their order: each is normal by itself,
/// joins with none before it, and keeps its place.
fn is_stable(sign: char) -> bool {
    is_nfc_quick(std::iter::once(sign)) == IsNormalized::Yes && canonical_combining_class(sign) == 0
}

/// A checked alphabet, compiled: from characters to numerals and back.
pub struct Signs {
    signs: Vec<char>,
    /// Numerals of ASCII characters; [`NONE`] for others.
    ascii: [u32; 128],
    others: HashMap<char, u16>,
    pairs: Option<Pairs>,
}

/// No numeral.
const NONE: u32 = u32::MAX;

impl Signs {
    /// Compiles characters that [`Alphabet::check`] took, in numeral order.
    pub fn new(characters: &str) -> Self {
        let signs: Vec<char> = characters.chars().collect();
        let mut ascii = [NONE; 128];
        let mut others = HashMap::new();
        for (numeral, sign) in (0..=u16::MAX).zip(&signs) {
            match ascii.get_mut(*sign as usize) {
                Some(place) => *place = u32::from(numeral),
                None => drop(others.insert(*sign, numeral)),
            }
        }
        let pairs = others.is_empty().then(|| Pairs::new(characters.as_bytes()));
        Self { signs, ascii, others, pairs }
    }

    /// The numeral of a character of the alphabet.
    pub fn numeral(&self, sign: char) -> Option<u16> {
        match self.ascii.get(sign as usize) {
            Some(numeral) => u16::try_from(*numeral).ok(),
            None => self.others.get(&sign).copied(),
        }
    }

    pub(crate) fn sign(&self, numeral: u16) -> char {
        self.signs.get(usize::from(numeral)).copied().unwrap_or_default()
    }

    /// The fast way, for alphabets of ASCII alone.
    pub(crate) fn pairs(&self) -> Option<&Pairs> {
        self.pairs.as_ref()
    }
}

/// An alphabet of ASCII characters: numbers are read a byte and printed two bytes at a time.
pub(crate) struct Pairs {
    radix: u64,
    /// Numerals by byte; over [`FOREIGN`] - 1 for bytes outside the alphabet.
    numerals: [u8; 256],
    signs: Vec<u8>,
    /// Both signs of each number below radix^2.
    pairs: Vec<[u8; 2]>,
    /// floor((2^64 - 1) / radix^2)
    inverse: u64,
}

/// ASCII has fewer visible characters than this.
const FOREIGN: u8 = 0x80;

impl Pairs {
    fn new(signs: &[u8]) -> Self {
        let mut numerals = [FOREIGN; 256];
        for (numeral, sign) in (0_u8..).zip(signs) {
            numerals[usize::from(*sign)] = numeral;
        }
        let pairs: Vec<[u8; 2]> =
            signs.iter().flat_map(|high| signs.iter().map(|low| [*high, *low])).collect();
        Self {
            radix: signs.len() as u64,
            numerals,
            signs: signs.to_vec(),
            inverse: u64::MAX / (pairs.len() as u64).max(1),
            pairs,
        }
    }

    /// The number that a text of the alphabet is; its value is below 2^64.
    pub(crate) fn number(&self, text: &[u8]) -> Option<u64> {
        let mut foreign = 0;
        let mut number = 0_u64;
        for byte in text {
            let numeral = self.numerals[usize::from(*byte)];
            foreign |= numeral;
            number = number.wrapping_mul(self.radix).wrapping_add(u64::from(numeral));
        }
        (foreign < FOREIGN).then_some(number)
    }

    /// Prints a number, zeros in front.
    pub(crate) fn print(&self, mut number: u64, out: &mut [u8]) {
        let square = self.pairs.len() as u64;
        let (head, pairs) = out.as_rchunks_mut::<2>();
        for pair in pairs.iter_mut().rev() {
            // At most one below the quotient.
            let mut quotient = ((u128::from(number) * u128::from(self.inverse)) >> 64) as u64;
            let mut rest = number.wrapping_sub(quotient.wrapping_mul(square));
            if rest >= square {
                rest -= square;
                quotient += 1;
            }
            *pair = self.pairs[rest as usize];
            number = quotient;
        }
        if let [first] = head {
            *first = self.signs[number as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    fn custom(characters: &str) -> Result<u32, StageFault> {
        Alphabet::Custom(characters.into()).check()
    }

    #[test]
    fn alphabets_of_any_script() {
        for (characters, radix) in
            [("01", 2), ("αβγδ", 4), ("äöüß", 4), ("가각갂", 3), ("一丁丂七丄", 5), ("😀😁", 2)]
        {
            assert_eq!(custom(characters), Ok(radix), "{characters}");
        }
        // Hangul syllables, and all of the first two planes that is left.
        let hangul: String = ('가'..='힣').collect();
        assert_eq!(custom(&hangul), Ok(11_172));
        let most: String =
            ('\u{0}'..='\u{2ffff}').filter(|c| is_visible(*c) && is_stable(*c)).collect();
        assert!(most.chars().count() > 65_536);
        assert!(matches!(custom(&most), Err(StageFault::Alphabet(_))));
        let largest: String = most.chars().rev().take(65_536).collect();
        assert_eq!(custom(&largest), Ok(65_536));
    }

    #[test]
    fn alphabets_bad_characters() {
        for bad in [
            "",
            "a",
            "aa",
            "ab c",
            "a\u{301}b",
            "a\u{200d}b",
            "ab\u{a0}",
            "\u{1161}a",
            "\u{e000}a",
            "a\u{fffe}",
            "a\u{202e}",
            "\u{212b}a",
            "a\u{ad}",
            "a\tb",
            "\u{958}a",
        ] {
            assert!(custom(bad).is_err(), "{bad:?}");
        }
    }

    /// Any two stable characters side by side are in NFC; the control takes one that is not.
    #[test]
    fn stable_characters_stay_as_they_are_side_by_side() {
        let stable: Vec<char> =
            ('\u{21}'..='\u{30ff}').filter(|c| is_visible(*c) && is_stable(*c)).collect();
        let normal = |pair: [char; 2]| pair.iter().copied().nfc().eq(pair);
        for (at, left) in stable.iter().enumerate() {
            let right = stable[(at * 7919 + 13) % stable.len()];
            assert!(normal([*left, right]) && normal([right, *left]), "{left:?} {right:?}");
        }
        assert!(!normal(['a', '\u{301}']) && !is_stable('\u{301}'));
    }

    #[test]
    fn pairs_say_what_single_signs_say() {
        for characters in ["01", "0123456789", Alphabet::Base62.characters()] {
            let signs = Signs::new(characters);
            let pairs = signs.pairs().unwrap();
            let radix = characters.len() as u64;
            let mut state = 7_u64;
            for length in 1..=20_usize {
                for _ in 0..50 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let below = radix.checked_pow(length as u32).unwrap_or(u64::MAX);
                    for number in [state % below, below - 1, 0] {
                        let mut out = vec![0; length];
                        pairs.print(number, &mut out);
                        assert_eq!(pairs.number(&out), Some(number));
                        let slow = out.iter().fold(0, |n, b| {
                            n * radix + u64::from(signs.numeral(char::from(*b)).unwrap())
                        });
                        assert_eq!(slow, number);
                    }
                }
            }
            assert_eq!(pairs.number(b"0 0"), None);
        }
        assert!(Signs::new("aä").pairs().is_none());
        assert_eq!(Signs::new("aä").numeral('ä'), Some(1));
        assert_eq!(Signs::new("aä").numeral('b'), None);
    }
}
