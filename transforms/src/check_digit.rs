//! Check digits: a digit that follows from the others is not encrypted but computed anew.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which digit of a value is a check digit, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckDigit {
    /// ISO/IEC 7812-1 annex B, as on cards: the last digit that is not kept is computed anew. It
    /// is not counted among those that are encrypted. A value that is not valid refuses its row.
    Luhn(CheckOutcome),
}

/// What a computed check digit says of what crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// The value stays valid.
    KeepValid,
    /// The digit is one more than the right one (0 after 9): no value that crosses is a number
    /// that anybody takes.
    MakeInvalid,
}

impl CheckDigit {
    /// The digit for byte `at` of a text that crosses. Only ASCII digits count; what stands at
    /// `at` now does not.
    pub(crate) fn outside(self, text: &[u8], at: usize) -> u8 {
        let Self::Luhn(outcome) = self;
        let digit = luhn(text, at);
        match outcome {
            CheckOutcome::KeepValid => digit,
            CheckOutcome::MakeInvalid => (digit + 1) % 10,
        }
    }

    /// The digit for byte `at` of a text that has not crossed.
    pub(crate) fn inside(self, text: &[u8], at: usize) -> u8 {
        let Self::Luhn(_) = self;
        luhn(text, at)
    }
}

/// ISO/IEC 7812-1 annex B: the sum of digits from the last one on, every second one doubled. It is
/// a multiple of ten where the check digit is right.
pub(crate) fn luhn_sum(from_last: impl Iterator<Item = u8>) -> u32 {
    from_last.zip([false, true].into_iter().cycle()).map(|(d, twice)| weighed(d, twice)).sum()
}

/// The digit that makes a text valid.
fn luhn(text: &[u8], at: usize) -> u8 {
    let digits = || text.iter().enumerate().rev().filter(|(_, byte)| byte.is_ascii_digit());
    // With 0 in its place the digit adds nothing.
    let sum = luhn_sum(digits().map(|(place, b)| if place == at { 0 } else { b - b'0' }));
    let own =
        digits().position(|(place, _)| place == at).is_some_and(|from_last| from_last % 2 == 1);
    // Doubling with the digit sum is a permutation of the digits: exactly one fits.
    (0..10).find(|digit| (sum + weighed(*digit, own)).is_multiple_of(10)).unwrap_or_default()
}

fn weighed(digit: u8, doubled: bool) -> u32 {
    match (doubled, u32::from(digit)) {
        (false, digit) => digit,
        (true, digit @ 0..=4) => 2 * digit,
        (true, digit) => 2 * digit - 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: CheckDigit = CheckDigit::Luhn(CheckOutcome::KeepValid);
    const INVALID: CheckDigit = CheckDigit::Luhn(CheckOutcome::MakeInvalid);

    /// The example of ISO/IEC 7812-1 and numbers that payment companies print for tests.
    #[test]
    fn numbers_of_others() {
        for text in [
            "17893729974",
            "4111111111111111",
            "5555 5555 5555 4444",
            "378282246310005",
            "4222-2222-2222-2",
            "6011111111111117",
            "0000000000000000",
        ] {
            let text = text.as_bytes();
            for (at, byte) in text.iter().enumerate().filter(|(_, b)| b.is_ascii_digit()) {
                assert_eq!(VALID.inside(text, at), byte - b'0');
                assert_eq!(VALID.outside(text, at), byte - b'0');
                assert_eq!(INVALID.inside(text, at), byte - b'0');
                assert_eq!(INVALID.outside(text, at), (byte - b'0' + 1) % 10);
            }
        }
    }
}
