//! Slow twins: what a protection makes of a raw value, computed once more by other code.
//!
//! Nothing here is shared with the stages. A twin is allowed to be slow and must be plain: it is
//! what a reviewer reads to know what crosses.

use std::cmp::Ordering;

pub(crate) mod coarse;
pub(crate) mod fpe;
pub(crate) mod in_place;

/// Every character becomes `fill`, but for the first and last ones that are kept; a value with
/// fewer than twice as many characters as would be kept is filled whole.
pub(crate) fn mask(raw: &str, keep_first: u32, keep_last: u32, fill: char) -> String {
    let length = raw.chars().count();
    let (first, last) = (keep_first as usize, keep_last as usize);
    let shows = length >= (first + last).saturating_mul(2);
    raw.chars()
        .enumerate()
        .map(|(i, c)| if shows && (i < first || i >= length - last) { c } else { fill })
        .collect()
}

/// Whether `redacted` is `raw` with some stretches replaced by one of the `labels`, and nothing
/// else changed: its other pieces stand in `raw`, in order, from the first character to the last.
/// Every label starts with `[`. One pass over each text: its time is linear.
pub(crate) fn is_redaction_of(redacted: &str, raw: &str, labels: &[String]) -> bool {
    let mut pieces = Vec::new();
    let mut piece_start = 0;
    for (open, _) in redacted.match_indices('[') {
        let label = labels.iter().find(|label| redacted[open..].starts_with(label.as_str()));
        // No label holds a second `[`, so none starts inside the last one.
        if let Some(label) = label {
            pieces.push(&redacted[piece_start..open]);
            piece_start = open + label.len();
        }
    }
    pieces.push(&redacted[piece_start..]);

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
mod tests;
