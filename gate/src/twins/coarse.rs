//! Coarser values, computed once more: the plain calendar, ages, rounding and bounds.

use super::{days_of, year_and_month};

/// The first and the last day from the epoch that have a year of four digits.
const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;

/// The day, where it has a year from 1 to 9999.
pub(crate) fn within(day: i64) -> Option<i64> {
    DAYS.contains(&day).then_some(day)
}

/// Year, month and day as one number, 19900517: such numbers compare as their days do.
fn digits_of(day: i64) -> i64 {
    let (year, month) = year_and_month(day);
    let day_of_month = day - days_of(year, month, 1) + 1;
    year * 10_000 + month * 100 + day_of_month
}

/// `YYYY-Qn`.
pub(crate) fn quarter(day: i64) -> String {
    let (year, month) = year_and_month(day);
    let quarter = match month {
        1..=3 => 1,
        4..=6 => 2,
        7..=9 => 3,
        _ => 4,
    };
    format!("{year:04}-Q{quarter}")
}

/// The first year of ten.
pub(crate) fn decade(day: i64) -> i64 {
    year_and_month(day).0 / 10 * 10
}

/// `YYYY-Wnn` of ISO 8601. The first week of a year is the one that 4 January lies in.
pub(crate) fn week(day: i64) -> String {
    // 1 January 1970 was a Thursday.
    let monday_of = |day: i64| day - (day + 3).rem_euclid(7);
    let first_monday = |year: i64| monday_of(days_of(year, 1, 4));
    let mut year = year_and_month(day).0 + 1;
    while first_monday(year) > day {
        year -= 1;
    }
    format!("{year:04}-W{:02}", (day - first_monday(year)) / 7 + 1)
}

/// Reads `YYYY-MM-DD` as one number; `None` for no such day.
pub(crate) fn as_of(text: &str) -> Option<i64> {
    let plain = text.len() == 10 && text.is_ascii();
    let parts: Vec<i64> = text.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [year, month, day] = parts[..] else { return None };
    let given = year * 10_000 + month * 100 + day;
    let exists = (1..=12).contains(&month) && digits_of(days_of(year, month, day)) == given;
    (plain && exists && year >= 1).then_some(given)
}

/// Whole years from a day of birth; `None` before it. The difference of two dates written as
/// numbers has the years in front of its last four digits.
pub(crate) fn age(birth: i64, as_of: i64) -> Option<i64> {
    let years = (as_of - digits_of(birth)).div_euclid(10_000);
    (years >= 0).then_some(years)
}

/// Rounding and bounds of a column, in the unit of its leaf's type.
pub(crate) struct Coded {
    round: Option<i128>,
    low: Option<(i128, String)>,
    high: Option<(i128, String)>,
    scale: usize,
    /// Largest and least value that the column's type holds.
    most: i128,
    least: i128,
}

/// What a value becomes.
pub(crate) enum Code {
    Number(i128),
    Text(String),
}

impl Coded {
    /// `None` for what changes nothing or contradicts itself. `digits`: of a decimal.
    pub(crate) fn new(
        [round, low, high]: [Option<&str>; 3],
        scale: usize,
        digits: Option<u32>,
    ) -> Option<Self> {
        let number = |text: Option<&str>| match text {
            None => Some(None),
            Some(text) => in_units(text, scale).map(|value| Some((value, text.to_owned()))),
        };
        let (round, low, high) = (number(round)?.map(|r| r.0), number(low)?, number(high)?);
        let (most, least) = match digits {
            None => (i128::from(i64::MAX), i128::from(i64::MIN)),
            Some(digits) => {
                let most = 10_i128.checked_pow(digits)? - 1;
                (most, -most)
            }
        };
        let changes = round.is_some() || low.is_some() || high.is_some();
        let unit = round.unwrap_or(2) >= 2;
        let rises = match (&low, &high) {
            (Some((low, _)), Some((high, _))) => low < high,
            _ => true,
        };
        let held = [&low, &high].into_iter().flatten().all(|(v, _)| (least..=most).contains(v));
        (changes && unit && rises && held).then_some(Self { round, low, high, scale, most, least })
    }

    /// What becomes of a number in canonical text; `None` where the column cannot hold it.
    pub(crate) fn of(&self, raw: &str, labels: bool) -> Option<Code> {
        let value = in_units(raw, self.scale)?;
        let bound = |sign: char, (bound, text): &(i128, String)| match labels {
            true => Code::Text(format!("{sign}{text}")),
            false => Code::Number(*bound),
        };
        match (&self.low, &self.high) {
            (Some(low), _) if value < low.0 => return Some(bound('<', low)),
            (_, Some(high)) if value > high.0 => return Some(bound('>', high)),
            _ => {}
        }
        let value = match self.round {
            None => value,
            Some(unit) => {
                let mut below = value / unit * unit;
                if below > value {
                    below = below.checked_sub(unit)?;
                }
                let above = below.checked_add(unit)?;
                let (down, up) = (value - below, above - value);
                let even = (below / unit) % 2 == 0;
                if down < up || (down == up && even) { below } else { above }
            }
        };
        let held = value >= self.least && value <= self.most;
        held.then(|| match labels {
            true => Code::Text(self.text(value)),
            false => Code::Number(value),
        })
    }

    /// A number in canonical text, in the column's unit.
    pub(crate) fn units(&self, text: &str) -> Option<i128> {
        in_units(text, self.scale)
    }

    /// Digits without zeros that say nothing.
    fn text(&self, value: i128) -> String {
        let unit = 10_u128.pow(u32::try_from(self.scale).unwrap_or(0));
        let (whole, part) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
        let sign = if value < 0 { "-" } else { "" };
        if part == 0 {
            return format!("{sign}{whole}");
        }
        let part = format!("{part:0width$}", width = self.scale);
        format!("{sign}{whole}.{}", part.trim_end_matches('0'))
    }
}

/// `19.8` with two digits after the point is 1980.
fn in_units(text: &str, scale: usize) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let plain = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    let magnitude = whole.strip_prefix('-').unwrap_or(whole);
    if magnitude.is_empty() || !plain(magnitude) || !plain(part) || part.len() > scale {
        return None;
    }
    format!("{whole}{part:0<scale$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i64, month: i64, day: i64) -> i64 {
        days_of(year, month, day)
    }

    /// Weeks of ISO 8601 as its examples and calendars have them.
    #[test]
    fn weeks_around_new_year() {
        for (date, expected) in [
            (day(2005, 1, 1), "2004-W53"),
            (day(2005, 1, 3), "2005-W01"),
            (day(2007, 12, 31), "2008-W01"),
            (day(2008, 12, 28), "2008-W52"),
            (day(2009, 12, 31), "2009-W53"),
            (day(2010, 1, 3), "2009-W53"),
            (day(1, 1, 1), "0001-W01"),
            (day(9999, 12, 31), "9999-W52"),
        ] {
            assert_eq!(week(date), expected);
        }
    }

    #[test]
    fn ages_on_birthdays_and_leap_days() {
        let as_of = as_of("2026-03-01").unwrap();
        for (birth, expected) in [
            (day(1990, 3, 1), Some(36)),
            (day(1990, 3, 2), Some(35)),
            (day(2000, 2, 29), Some(26)),
            (day(2026, 3, 1), Some(0)),
            (day(2026, 3, 2), None),
            (day(1, 1, 1), Some(2025)),
        ] {
            assert_eq!(age(birth, as_of), expected);
        }
        for bad in ["2026-02-29", "2026-3-1", "2026-13-01", "soon", "", "0000-01-01"] {
            assert_eq!(super::as_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn rounding_is_half_even_and_exact() {
        let coded = Coded::new([Some("0.1"), None, None], 2, Some(10)).unwrap();
        for (raw, expected) in
            [("19.85", 1980), ("19.95", 2000), ("-0.05", 0), ("-0.15", -20), ("19.84", 1980)]
        {
            let Some(Code::Number(found)) = coded.of(raw, false) else { panic!("{raw}") };
            assert_eq!(found, expected, "{raw}");
        }
        for bad in [
            Coded::new([None, None, None], 0, None),
            Coded::new([Some("1"), None, None], 0, None),
            Coded::new([None, Some("5"), Some("5")], 0, None),
            Coded::new([Some("0.5"), None, None], 0, None),
            Coded::new([None, Some("1000"), None], 2, Some(4)),
        ] {
            assert!(bad.is_none());
        }
    }
}
