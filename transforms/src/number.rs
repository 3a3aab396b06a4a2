//! Decimal numbers as text, compared exactly and without a width.

use std::cmp::Ordering;

/// A decimal number borrowed from its text: `[+-]digits[.digits]`, without leading zeros before
/// or trailing zeros after the point. No exponent, no `NaN`, no infinity. It has no `Debug`: its
/// digits may be a cell's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Number<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Number<'a> {
    /// Reads the text; None where it is no such number. Spaces are not skipped.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (sign, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            // `7.` and `.5` are typing errors as often as numbers.
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (digits, ""),
        };
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        // Zero has no sign.
        let negative = sign && !(whole.is_empty() && fraction.is_empty());
        Some(Self { negative, whole, fraction })
    }

    /// Appends the one text of this number: `-0.5`, `7`, `0`.
    pub fn write(&self, out: &mut String) {
        if self.negative {
            out.push('-');
        }
        out.push_str(if self.whole.is_empty() { "0" } else { self.whole });
        if !self.fraction.is_empty() {
            out.push('.');
            out.push_str(self.fraction);
        }
    }

    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        let by_length = self.whole.len().cmp(&other.whole.len());
        // Fractions without trailing zeros sort as text does.
        by_length
            .then_with(|| self.whole.cmp(other.whole))
            .then_with(|| self.fraction.cmp(other.fraction))
    }
}

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.cmp_magnitude(other),
            (true, true) => other.cmp_magnitude(self),
        }
    }
}

impl PartialOrd for Number<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> Option<String> {
        Number::parse(text).map(|number| {
            let mut out = String::new();
            number.write(&mut out);
            out
        })
    }

    #[test]
    fn one_text_for_one_number() {
        for (text, expected) in [
            ("7", "7"),
            ("+007.00", "7"),
            ("-0.50", "-0.5"),
            ("-0.00", "0"),
            ("0", "0"),
            ("19.80", "19.8"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
        for bad in ["", "-", ".", "7.", ".5", "1e3", "NaN", "1,5", " 7", "7 ", "--7", "٧", "0x7"] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn orders_as_the_integers_do(a in any::<i64>(), b in any::<i64>()) {
            let (ta, tb) = (a.to_string(), b.to_string());
            let order = Number::parse(&ta).unwrap().cmp(&Number::parse(&tb).unwrap());
            prop_assert_eq!(order, a.cmp(&b));
        }

        #[test]
        fn orders_as_scaled_integers_do(a in -99_999_i32..99_999, b in -99_999_i32..99_999) {
            let text = |n: i32| {
                let sign = if n < 0 { "-" } else { "" };
                format!("{sign}{}.{:03}", n.abs() / 1000, n.abs() % 1000)
            };
            let (ta, tb) = (text(a), text(b));
            let order = Number::parse(&ta).unwrap().cmp(&Number::parse(&tb).unwrap());
            prop_assert_eq!(order, a.cmp(&b));
        }
    }
}
