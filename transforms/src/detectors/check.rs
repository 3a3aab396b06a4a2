//! Check digits and dates as national numbers write them. Each function names its standard; the
//! detectors name the rule that uses it.

use std::ops::Range;

use super::Edge;
use crate::check_digit::luhn_sum;

/// A match that is no part of a longer word or number and holds what the check asks for.
pub(super) fn whole(
    bytes: &[u8],
    range: Range<usize>,
    holds: impl Fn(&[u8]) -> bool,
) -> Option<Range<usize>> {
    (stands_alone(bytes, &range) && holds(&bytes[range.clone()])).then_some(range)
}

/// Neither a word nor a number goes on beyond the range: `12-` before it or `.5` behind it.
pub(super) fn stands_alone(bytes: &[u8], range: &Range<usize>) -> bool {
    let byte = |at: Option<usize>| at.and_then(|at| bytes.get(at)).copied();
    let joint = |byte: u8| b"-./".contains(&byte);
    let free = |near: Option<u8>, far: Option<u8>| match near {
        Some(near) if Edge::Word.holds(near) => false,
        Some(near) if joint(near) => !far.is_some_and(|far| far.is_ascii_digit()),
        _ => true,
    };
    let before = |back| byte(range.start.checked_sub(back));
    free(before(1), before(2)) && free(byte(Some(range.end)), byte(Some(range.end + 1)))
}

/// The digits of a text, if there are exactly `N`.
pub(super) fn digits<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    let mut count = 0;
    for byte in bytes.iter().filter(|byte| byte.is_ascii_digit()) {
        *out.get_mut(count)? = byte - b'0';
        count += 1;
    }
    (count == N).then_some(out)
}

/// The number that digits write, most significant first.
pub(super) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(*digit))
}

/// The digits weighted and added up.
pub(super) fn weighted(digits: &[u8], weights: &[u8]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * u32::from(*weight)).sum()
}

/// ISO/IEC 7812-1 annex B: the last digit is the check digit.
pub(super) fn luhn(digits: &[u8]) -> bool {
    luhn_sum(digits.iter().rev().copied()).is_multiple_of(10)
}

/// ISO/IEC 7064 mod 11,10: the last digit is the check digit.
pub(super) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((last, body)) = digits.split_last() else { return false };
    let rest = body.iter().fold(10_u32, |product, digit| {
        let sum = (product + u32::from(*digit)) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - rest) % 10 == u32::from(*last)
}

/// A day of the Gregorian calendar in a year that somebody alive may have been born in or that is
/// not far ahead: 1890 to 2059. The clock is not asked: the same text gives the same finds.
pub(super) fn is_date(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1890..=2059).contains(&year) && (1..=days).contains(&day)
}

/// Two digits as a number.
pub(super) fn two(digits: &[u8], at: usize) -> u32 {
    u32::from(digits[at]) * 10 + u32::from(digits[at + 1])
}

/// Whether some century makes year, month and day of two digits each a date.
pub(super) fn is_short_date(year: u32, month: u32, day: u32) -> bool {
    is_date(1900 + year, month, day) || is_date(2000 + year, month, day)
}

/// All digits are one and the same: what people type to fill a form, and right under many rules.
pub(super) fn one_digit(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standards_examples() {
        // ISO/IEC 7064:2003, mod 11,10: 0794 has the check digit 5.
        assert!(mod_11_10(&[0, 7, 9, 4, 5]));
        assert!(!mod_11_10(&[0, 7, 9, 4, 6]));
        assert!(!mod_11_10(&[]));
        // ISO/IEC 7812-1 annex B.
        assert!(luhn(&[4, 9, 9, 2, 7, 3, 9, 8, 7, 1, 6]));
        assert!(!luhn(&[4, 9, 9, 2, 7, 3, 9, 8, 7, 1, 7]));
    }

    #[test]
    fn dates_bad_day_bad_month_bad_year() {
        assert!(is_date(2000, 2, 29) && is_date(1904, 2, 29));
        for (year, month, day) in
            [(1900, 2, 29), (2001, 2, 29), (2001, 4, 31), (2001, 13, 1), (2001, 0, 1), (2001, 1, 0)]
        {
            assert!(!is_date(year, month, day));
        }
        assert!(!is_date(1889, 1, 1) && !is_date(2060, 1, 1));
        assert!(is_short_date(0, 2, 29) && !is_short_date(1, 2, 29));
    }
}
