//! Slow twins: what a protection makes of a raw value, computed once more by other code.
//!
//! Nothing here is shared with the stages. A twin is allowed to be slow and must be plain: it is
//! what a reviewer reads to know what crosses.

use std::cmp::Ordering;

use aes::Aes256;
use douane_schemas::keys::Key;
use douane_schemas::tuple::Tuple;
use fpe::ff1::{FF1, FlexibleNumeralString};

/// NIST SP 800-38G revision 1, 5.2: `radix^minlen >= 1 000 000`.
const FF1_DOMAIN_MIN: u64 = 1_000_000;

/// Longest text that is encrypted; a bound of the gate, not of FF1.
const FF1_LENGTH_MAX: usize = 512;

/// Format-preserving encryption of one column.
pub(crate) struct Fpe {
    alphabet: Vec<char>,
    keep_first: usize,
    keep_last: usize,
    separators: Vec<char>,
    domain: String,
    context: String,
    length_min: usize,
    cipher: FF1<Aes256>,
}

/// The parameters as they stand in the release.
pub(crate) struct FpeParameters<'a> {
    pub alphabet: &'a str,
    pub keep_first: u32,
    pub keep_last: u32,
    pub separators: &'a str,
    pub domain: &'a str,
    pub context: &'a str,
    pub length_min: u32,
}

impl Fpe {
    /// `None` for parameters that no FF1 has: an alphabet with repeats or fewer than two
    /// characters, a separator inside the alphabet, a domain below 10^6 values.
    pub(crate) fn new(parameters: &FpeParameters<'_>, key: &Key) -> Option<Self> {
        let alphabet: Vec<char> = parameters.alphabet.chars().collect();
        let separators: Vec<char> = parameters.separators.chars().collect();
        let repeats = (1..alphabet.len()).any(|i| alphabet[..i].contains(&alphabet[i]));
        let overlaps = separators.iter().any(|s| alphabet.contains(s));
        let radix = u32::try_from(alphabet.len()).ok()?;
        let length_min = parameters.length_min as usize;
        if repeats || overlaps || radix < 2 || !domain_suffices(radix, length_min) {
            return None;
        }
        Some(Self {
            cipher: FF1::<Aes256>::new(&key.secret()[..], radix).ok()?,
            alphabet,
            keep_first: parameters.keep_first as usize,
            keep_last: parameters.keep_last as usize,
            separators,
            domain: parameters.domain.to_owned(),
            context: parameters.context.to_owned(),
            length_min,
        })
    }

    /// The ciphertext of a raw value, or `None` for a value that may not be encrypted.
    pub(crate) fn encrypt(&self, raw: &str) -> Option<String> {
        let mut chars: Vec<char> = raw.chars().collect();
        if chars.len() > FF1_LENGTH_MAX || chars.len() <= self.keep_first + self.keep_last {
            return None;
        }
        let middle = self.keep_first..chars.len() - self.keep_last;
        let mut kept = String::new();
        let mut places = Vec::new();
        let mut numerals = Vec::new();
        for (i, c) in chars.iter().enumerate() {
            if !middle.contains(&i) || self.separators.contains(c) {
                kept.push(*c);
            } else {
                let numeral = self.alphabet.iter().position(|a| a == c)?;
                places.push(i);
                numerals.push(u16::try_from(numeral).ok()?);
            }
        }
        let radix = self.alphabet.len() as u32;
        if places.len() < self.length_min || !domain_suffices(radix, places.len()) {
            return None;
        }
        let tweak = Tuple::new().text(&self.domain).text(&self.context).text(&kept).finish();
        let plain = FlexibleNumeralString::from(numerals);
        let cipher = Vec::<u16>::from(self.cipher.encrypt(&tweak, &plain).ok()?);
        for (place, numeral) in places.into_iter().zip(cipher) {
            chars[place] = *self.alphabet.get(usize::from(numeral))?;
        }
        Some(chars.into_iter().collect())
    }
}

fn domain_suffices(radix: u32, length: usize) -> bool {
    let mut values: u64 = 1;
    for _ in 0..length {
        values = values.saturating_mul(u64::from(radix));
        if values >= FF1_DOMAIN_MIN {
            return true;
        }
    }
    false
}

/// Every character becomes `fill`, but for the first and last ones that are kept; a value with no
/// more characters than would be kept is filled whole.
pub(crate) fn mask(raw: &str, keep_first: u32, keep_last: u32, fill: char) -> String {
    let length = raw.chars().count();
    let (first, last) = (keep_first as usize, keep_last as usize);
    let shows = length > first + last;
    raw.chars()
        .enumerate()
        .map(|(i, c)| if shows && (i < first || i >= length - last) { c } else { fill })
        .collect()
}

/// Whether `redacted` is `raw` with some stretches replaced by one of the `labels`, and nothing
/// else changed: its other pieces stand in `raw`, in order, from the first character to the last.
pub(crate) fn is_redaction_of(redacted: &str, raw: &str, labels: &[&str]) -> bool {
    let mut pieces = Vec::new();
    let mut rest = redacted;
    while let Some((at, label)) = labels
        .iter()
        .filter_map(|label| rest.find(label).map(|at| (at, *label)))
        .min_by_key(|(at, _)| *at)
    {
        pieces.push(&rest[..at]);
        rest = &rest[at + label.len()..];
    }
    pieces.push(rest);

    let (Some((first, others)), Some(mut raw)) =
        (pieces.split_first(), raw.strip_prefix(pieces[0]))
    else {
        return false;
    };
    let Some((last, middle)) = others.split_last() else {
        return raw.is_empty() && first.len() == redacted.len();
    };
    for piece in middle {
        match raw.find(piece) {
            Some(at) => raw = &raw[at + piece.len()..],
            None => return false,
        }
    }
    raw.ends_with(last)
}

/// Year and month of a day, proleptic Gregorian: <https://howardhinnant.github.io/date_algorithms.html>,
/// `civil_from_days`.
pub(crate) fn year_and_month(days_since_epoch: i64) -> (i64, i64) {
    let days = days_since_epoch + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * of_year + 2) / 153;
    let month = (march_based + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month)
}

/// Days since the epoch of a date, proleptic Gregorian, `days_from_civil` of the same page.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Microseconds since the epoch of `YYYY-MM-DDTHH:MM:SS[.f…](Z|±HH[:]MM)` (RFC 3339), rounded
/// down. `None` for anything else, `infinity` among it.
pub(crate) fn zoned_micros(text: &str) -> Option<i128> {
    let two = |from: usize, sign: u8, max: i64| {
        let bytes = text.as_bytes();
        let pair = bytes.get(from..from + 3)?;
        let digits = pair[0] == sign && pair[1].is_ascii_digit() && pair[2].is_ascii_digit();
        let value = i64::from(pair[1]) * 10 + i64::from(pair[2]) - 11 * i64::from(b'0');
        (digits && value <= max).then_some(value)
    };
    let year = text.get(..4).filter(|y| y.bytes().all(|b| b.is_ascii_digit()))?;
    let year: i64 = year.parse().ok()?;
    let (month, day) = (two(4, b'-', 12)?, two(7, b'-', 31)?);
    let hour = two(10, b'T', 23).or_else(|| two(10, b't', 23)).or_else(|| two(10, b' ', 23))?;
    let (minute, second) = (two(13, b':', 59)?, two(16, b':', 59)?);
    let days = days_of(year, month, day);
    // A day that the month does not have comes back as another one.
    if month == 0 || day == 0 || year_and_month(days) != (year, month) {
        return None;
    }

    let rest = text.get(19..)?;
    let digits = match rest.strip_prefix('.') {
        Some(fraction) => fraction.bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    let (fraction, zone) = match digits {
        0 if rest.starts_with('.') => return None,
        0 => ("", rest),
        // Rounding down by cutting is right before the epoch too: the fraction only adds.
        1..=9 => rest[1..].split_at(digits),
        _ => return None,
    };
    let micros: i64 = format!("{:0<6.6}", fraction).parse().ok()?;
    let offset_minutes = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let at = text.len() - zone.len();
            let hours = two(at, b'+', 25).or_else(|| two(at, b'-', 25))?;
            let minutes = match zone.len() {
                3 => 0,
                6 => two(at + 3, b':', 59)?,
                _ => return None,
            };
            sign * (hours * 60 + minutes)
        }
    };
    let seconds = days * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    Some(i128::from(seconds) * 1_000_000 + i128::from(micros))
}

/// One bin: the label and its half-open range.
pub(crate) struct Bin {
    pub(crate) label: String,
    low: Option<Edge>,
    high: Option<Edge>,
}

struct Edge {
    text: String,
    /// The same value, where it is a whole number.
    whole: Option<i128>,
}

impl Bin {
    /// Reads `[0,100)`, `(-inf,0)`, `[100,inf)`. `None` for any other text.
    pub(crate) fn parse(label: &str) -> Option<Self> {
        let (low, high) = label.strip_suffix(')')?.strip_prefix(['[', '('])?.split_once(',')?;
        let opens_closed = label.starts_with('[');
        if opens_closed == (low == "-inf") {
            return None;
        }
        let edge = |text: &str| {
            let text = text.to_owned();
            Decimal::parse(&text)?;
            let whole = text.parse().ok();
            Some(Edge { text, whole })
        };
        let low = if low == "-inf" { None } else { Some(edge(low)?) };
        let high = if high == "inf" { None } else { Some(edge(high)?) };
        if let (Some(low), Some(high)) = (&low, &high)
            && order(&low.text, &high.text) != Some(Ordering::Less)
        {
            return None;
        }
        Some(Self { label: label.to_owned(), low, high })
    }

    /// Whether a whole number lies in it.
    pub(crate) fn holds_whole(&self, value: i128) -> bool {
        let at_least = |edge: &Edge| match edge.whole {
            Some(whole) => value >= whole,
            None => order(&value.to_string(), &edge.text) != Some(Ordering::Less),
        };
        self.low.as_ref().is_none_or(at_least) && !self.high.as_ref().is_some_and(at_least)
    }

    /// Whether a number in canonical text lies in it; no text but a number does.
    pub(crate) fn holds_text(&self, value: &str) -> bool {
        match value {
            "Infinity" => return self.high.is_none(),
            "-Infinity" => return self.low.is_none(),
            _ => {}
        }
        let at_least = |edge: &Edge| order(value, &edge.text).map(|o| o != Ordering::Less);
        let above = self.low.as_ref().map_or(Some(true), at_least);
        let beyond = self.high.as_ref().map_or(Some(false), at_least);
        Decimal::parse(value).is_some() && above == Some(true) && beyond == Some(false)
    }
}

fn order(left: &str, right: &str) -> Option<Ordering> {
    Some(Decimal::parse(left)?.order(&Decimal::parse(right)?))
}

/// A decimal number as its digits, compared without arithmetic.
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (digits, ""),
        };
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: negative && !zero, whole, fraction })
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.magnitude(other),
            (true, true) => other.magnitude(self),
        }
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        self.whole
            .len()
            .cmp(&other.whole.len())
            .then_with(|| self.whole.cmp(other.whole))
            .then_with(|| self.fraction.cmp(other.fraction))
    }
}

#[cfg(test)]
mod tests {
    use douane_schemas::keys::{Purpose, RootKey};

    use super::*;

    fn phone(length_min: u32) -> Option<Fpe> {
        let key = RootKey::new([9; 32]).derive(Purpose::Ff1, "phone");
        let parameters = FpeParameters {
            alphabet: "0123456789",
            keep_first: 3,
            keep_last: 0,
            separators: " -",
            domain: "phone",
            context: "",
            length_min,
        };
        Fpe::new(&parameters, &key)
    }

    #[test]
    fn encryption_keeps_what_is_kept() {
        let fpe = phone(6).unwrap();
        let out = fpe.encrypt("+49 151-12345678").unwrap();
        assert_eq!(&out[..4], "+49 ");
        assert_eq!(&out[7..8], "-");
        assert_eq!(out.len(), 16);
        assert_ne!(out, "+49 151-12345678");
        assert_eq!(fpe.encrypt("+49 151-12345678").unwrap(), out);
        // The kept characters are part of the tweak.
        assert_ne!(fpe.encrypt("+48 151-12345678").unwrap()[4..], out[4..]);
        assert_ne!(fpe.encrypt("+49 151 12345678").unwrap()[4..7], out[4..7]);
        // Their places are not: the same digits, grouped otherwise, stay the same digits.
        let digits = |text: &str| text.replace('-', "");
        assert_eq!(digits(&fpe.encrypt("+49 1511-2345678").unwrap()), digits(&out));
    }

    #[test]
    fn encryption_bad_values() {
        let fpe = phone(6).unwrap();
        assert!(fpe.encrypt("+49123456").is_some());
        for bad in ["", "+49", "+4912345", "+4912345a", "+49 12x4567", "+49١٢٣٤٥٦٧"] {
            assert_eq!(fpe.encrypt(bad), None, "{bad}");
        }
        assert_eq!(fpe.encrypt(&"1".repeat(600)), None);
    }

    #[test]
    fn encryption_bad_parameters() {
        let key = RootKey::new([9; 32]).derive(Purpose::Ff1, "phone");
        let good = || FpeParameters {
            alphabet: "0123456789",
            keep_first: 0,
            keep_last: 0,
            separators: "-",
            domain: "d",
            context: "",
            length_min: 6,
        };
        assert!(Fpe::new(&good(), &key).is_some());
        assert!(Fpe::new(&FpeParameters { length_min: 5, ..good() }, &key).is_none());
        assert!(Fpe::new(&FpeParameters { alphabet: "0012345678", ..good() }, &key).is_none());
        assert!(
            Fpe::new(&FpeParameters { alphabet: "0", length_min: 60, ..good() }, &key).is_none()
        );
        assert!(Fpe::new(&FpeParameters { alphabet: "", ..good() }, &key).is_none());
        assert!(Fpe::new(&FpeParameters { separators: "5", ..good() }, &key).is_none());
        let binary = FpeParameters { alphabet: "01", length_min: 20, ..good() };
        assert!(Fpe::new(&binary, &key).is_some());
    }

    #[test]
    fn masks() {
        assert_eq!(mask("4111111111111234", 0, 4, '*'), "************1234");
        assert_eq!(mask("abcdef", 1, 2, '#'), "a###ef");
        assert_eq!(mask("abc", 1, 2, '*'), "***");
        assert_eq!(mask("abcd", 1, 2, '*'), "a*cd");
        assert_eq!(mask("", 0, 4, '*'), "");
        assert_eq!(mask("äöü", 0, 0, '*'), "***");
    }

    #[test]
    fn redactions() {
        let labels = ["[EMAIL]", "[PHONE]"];
        let redaction = |out: &str, raw: &str| is_redaction_of(out, raw, &labels);
        assert!(redaction("call [PHONE] or [EMAIL].", "call +4915112345678 or a@b.de."));
        assert!(redaction("[PHONE]", "+4915112345678"));
        assert!(redaction("plain", "plain"));
        assert!(redaction("", ""));
        assert!(redaction("[EMAIL][PHONE]", "a@b.de+4915112345678"));
        assert!(redaction("a [EMAIL] b", "a [EMAIL] b"));
        for (out, raw) in [
            ("plain", "other"),
            ("plain", "plain and more"),
            ("plain and more", "plain"),
            ("call [PHONE] now", "call +4915112345678"),
            ("b [PHONE] a [EMAIL]", "a +4915112345678 b x@y.zz"),
            ("x[PHONE]", "+4915112345678"),
            ("[CARD]", "4111111111111111"),
        ] {
            assert!(!redaction(out, raw), "{out}");
        }
    }

    #[test]
    fn months_of_days() {
        for (days, expected) in [
            (0, (1970, 1)),
            (-1, (1969, 12)),
            (19_000, (2022, 1)),
            (11_016, (2000, 2)),
            (11_017, (2000, 3)),
            (-719_162, (1, 1)),
            (-719_163, (0, 12)),
            (2_932_896, (9999, 12)),
        ] {
            assert_eq!(year_and_month(days), expected, "{days}");
        }
    }

    #[test]
    fn instants_with_a_zone() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000001Z", 1),
            ("1970-01-01T01:00:00.5+01:00", 500_000),
            ("1969-12-31T23:59:59.9999999Z", -1),
            ("1969-12-31 19:00:00-05:00", 0),
            ("1970-01-01T00:00:00+00", 0),
            ("2025-10-09T08:53:20.123456Z", 1_760_000_000_123_456),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
        ] {
            assert_eq!(zoned_micros(text), Some(micros), "{text}");
        }
        for bad in [
            "",
            "infinity",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T24:00:00Z",
            "1970-00-01T00:00:00Z",
            "1970-01-00T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "1970-01-01T00:00:00+1",
            "1970-01-01T00:00:00+01:0",
            "1970-01-01T00:00:00é",
            "1970-01-01T00:00:00Z ",
            "é970-01-01T00:00:00Z",
        ] {
            assert_eq!(zoned_micros(bad), None, "{bad}");
        }
    }

    #[test]
    fn bins_hold_what_lies_in_them() {
        let bin = |label: &str| Bin::parse(label).unwrap();
        let low = bin("(-inf,0)");
        let mid = bin("[0,100)");
        let high = bin("[100,inf)");
        for (value, expected) in [
            ("-1", [true, false, false]),
            ("-0.01", [true, false, false]),
            ("0", [false, true, false]),
            ("-0", [false, true, false]),
            ("0.00", [false, true, false]),
            ("99.999", [false, true, false]),
            ("100", [false, false, true]),
            ("100.0", [false, false, true]),
            ("99999999999999999999999999999999999999999999", [false, false, true]),
            ("Infinity", [false, false, true]),
            ("-Infinity", [true, false, false]),
            ("NaN", [false; 3]),
            ("", [false; 3]),
            ("1e3", [false; 3]),
            ("5.", [false; 3]),
            ("+5", [false, true, false]),
            (".5", [false; 3]),
        ] {
            let held = [&low, &mid, &high].map(|bin| bin.holds_text(value));
            assert_eq!(held, expected, "{value}");
            if let Ok(whole) = value.parse::<i128>() {
                assert_eq!([&low, &mid, &high].map(|bin| bin.holds_whole(whole)), expected);
            }
        }
        let fine = bin("[-2.5,2.5)");
        assert!(fine.holds_whole(-2) && fine.holds_whole(2));
        assert!(!fine.holds_whole(-3) && !fine.holds_whole(3));
        assert!(fine.holds_text("-2.5") && !fine.holds_text("2.5"));
    }

    #[test]
    fn labels_bad_forms() {
        for bad in [
            "",
            "0-100",
            "[0,100]",
            "(0,100)",
            "[-inf,0)",
            "[5,5)",
            "[7,5)",
            "[a,b)",
            "[0,)",
            "[1e3,inf)",
        ] {
            assert!(Bin::parse(bad).is_none(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whole_numbers_compare_alike_as_text(a in -2000i128..2000, b in -2000i128..2000) {
            proptest::prop_assert_eq!(order(&a.to_string(), &b.to_string()), Some(a.cmp(&b)));
        }

        #[test]
        fn cuts_of_a_text_are_redactions(raw in "[a-e ]{0,30}", from in 0usize..30, to in 0usize..30) {
            let (from, to) = (from.min(to).min(raw.len()), from.max(to).min(raw.len()));
            let out = format!("{}[EMAIL]{}", &raw[..from], &raw[to..]);
            proptest::prop_assert!(is_redaction_of(&out, &raw, &["[EMAIL]"]));
        }
    }
}
