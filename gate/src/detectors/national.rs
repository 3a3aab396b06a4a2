//! Numbers that a state gave a person, where check digits make a chance hit rare. Only the forms
//! that registers print: a number that could be anybody's order is not looked for.

use super::is_word;

/// The digits of a text in one of `forms`, where `0` is a digit and all else is itself. The form
/// must begin and end at a border.
fn in_form(bytes: &[u8], forms: &[&[u8]], holds: impl Fn(&[u8]) -> bool) -> bool {
    let inside = |b: u8| is_word(b) || matches!(b, b'-' | b'+' | b'.' | b'/');
    (0..bytes.len()).any(|at| {
        if !bytes[at].is_ascii_digit() || at > 0 && inside(bytes[at - 1]) {
            return false;
        }
        forms.iter().any(|form| {
            let Some(text) = bytes.get(at..at + form.len()) else { return false };
            let fits = text.iter().zip(*form).all(|(byte, sign)| match sign {
                b'0' => byte.is_ascii_digit(),
                sign => byte == sign,
            });
            let after = &bytes[at + form.len()..];
            let border = match after {
                [] => true,
                // A sentence or a clause may end there.
                [b'.' | b'-' | b'/' | b'+', next, ..] => !is_word(*next),
                [next, ..] => !is_word(*next),
            };
            let mut digits = [0; 18];
            let mut count = 0;
            for byte in text.iter().filter(|b| b.is_ascii_digit()).take(digits.len()) {
                digits[count] = byte - b'0';
                count += 1;
            }
            fits && border && holds(&digits[..count])
        })
    })
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(*digit))
}

fn weighted(digits: &[u8], weights: &[u64]) -> u64 {
    digits.iter().zip(weights).map(|(digit, weight)| u64::from(*digit) * weight).sum()
}

/// Two digits of a month and two of a day that exist in some year.
fn is_day(month: u64, day: u64) -> bool {
    let days = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// Social Security Administration, SSN randomization: no area 000, 666 or from 900 on, no group
/// 00, no serial 0000.
pub(super) fn us_ssn(bytes: &[u8]) -> bool {
    in_form(bytes, &[b"000-00-0000", b"000 00 0000"], |digits| {
        let (area, group, serial) =
            (number(&digits[..3]), number(&digits[3..5]), number(&digits[5..]));
        !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0
    })
}

/// NIR, INSEE: 13 digits and 97 less their rest by 97; sex, and a month that exists.
pub(super) fn fr_nir(bytes: &[u8]) -> bool {
    in_form(bytes, &[b"0 00 00 00 000 000 00", b"000000000000000"], |digits| {
        let (sex, month, key) = (digits[0], number(&digits[3..5]), number(&digits[13..]));
        let month = matches!(month, 1..=12 | 20..=42 | 50..=99);
        matches!(sex, 1..=4 | 7 | 8) && month && key == 97 - number(&digits[..13]) % 97
    })
}

/// Rijksregisternummer: 97 less the rest of nine digits by 97; from 2000 on with a 2 before them.
pub(super) fn be_national(bytes: &[u8]) -> bool {
    in_form(bytes, &[b"00.00.00-000.00"], |digits| {
        let (first, key) = (number(&digits[..9]), number(&digits[9..]));
        let month = number(&digits[2..4]) % 20;
        let born = month <= 12 && number(&digits[4..6]) <= 31;
        born && (key == 97 - first % 97 || key == 97 - (2_000_000_000 + first) % 97)
    })
}

/// AHV number: country 756, EAN-13 check digit (GS1 General Specifications 7.9).
pub(super) fn ch_ahv(bytes: &[u8]) -> bool {
    in_form(bytes, &[b"000.0000.0000.00"], |digits| {
        let sum = weighted(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]);
        digits.starts_with(&[7, 5, 6]) && sum.is_multiple_of(10)
    })
}

/// Personnummer with its sign: date of birth, Luhn's check digit over ten digits
/// (Skatteverket, SKV 704).
pub(super) fn se_personnummer(bytes: &[u8]) -> bool {
    let holds = |digits: &[u8]| {
        let digits = &digits[digits.len() - 10..];
        let sum: u32 = digits
            .iter()
            .enumerate()
            .map(|(at, digit)| {
                let digit = u32::from(*digit);
                if at % 2 == 0 { digit / 5 + digit * 2 % 10 } else { digit }
            })
            .sum();
        is_day(number(&digits[2..4]), number(&digits[4..6])) && sum.is_multiple_of(10)
    };
    in_form(bytes, &[b"000000-0000", b"000000+0000", b"00000000-0000"], holds)
}

/// Henkilötunnus: date of birth, sign of the century, and the rest of nine digits by 31 as a
/// character (Digital and Population Data Services Agency).
pub(super) fn fi_hetu(bytes: &[u8]) -> bool {
    const SIGNS: &[u8] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    bytes.windows(11).enumerate().any(|(at, text)| {
        let before = at > 0 && is_word(bytes[at - 1]);
        let after = bytes.get(at + 11).is_some_and(|b| is_word(*b));
        let century = matches!(text[6], b'+' | b'-' | b'A'..=b'F' | b'U'..=b'Y');
        let digits = |range: std::ops::Range<usize>| text[range].iter().all(u8::is_ascii_digit);
        if before || after || !century || !digits(0..6) || !digits(7..10) {
            return false;
        }
        let of = |range: std::ops::Range<usize>| {
            text[range].iter().fold(0_u64, |n, b| n * 10 + u64::from(b - b'0'))
        };
        let rest = (of(0..6) * 1000 + of(7..10)) % 31;
        is_day(of(2..4), of(0..2)) && text[10] == SIGNS[rest as usize]
    })
}

/// DNI and NIE: eight digits, the first of a NIE as X, Y or Z, and the letter of their rest by 23
/// (Ministerio del Interior).
pub(super) fn es_dni(bytes: &[u8]) -> bool {
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    bytes.windows(9).enumerate().any(|(at, text)| {
        let before = at > 0 && (is_word(bytes[at - 1]) || matches!(bytes[at - 1], b'-' | b'.'));
        let after = bytes.get(at + 9).is_some_and(|b| is_word(*b) || *b == b'-');
        let first = match text[0] {
            b'X' => 0,
            b'Y' => 1,
            b'Z' => 2,
            digit @ b'0'..=b'9' => u64::from(digit - b'0'),
            _ => return false,
        };
        if before || after || !text[1..8].iter().all(u8::is_ascii_digit) {
            return false;
        }
        let number = text[1..8].iter().fold(first, |n, b| n * 10 + u64::from(b - b'0'));
        text[8] == LETTERS[(number % 23) as usize]
    })
}

/// Codice fiscale: sixteen characters, the last one of a table over the fifteen others (D.M.
/// 23/12/1976). Letters in place of digits keep two numbers apart that would be one (omocodia).
pub(super) fn it_codice_fiscale(bytes: &[u8]) -> bool {
    /// Values of 0 to 9 and A to Z at odd places, counted from 1.
    const ODD: [u64; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let place = |byte: u8| match byte {
        b'0'..=b'9' => Some(usize::from(byte - b'0')),
        b'A'..=b'Z' => Some(usize::from(byte - b'A')),
        _ => None,
    };
    bytes.windows(16).enumerate().any(|(at, text)| {
        let before = at > 0 && is_word(bytes[at - 1]);
        let after = bytes.get(at + 16).is_some_and(|b| is_word(*b));
        let fits = text.iter().enumerate().all(|(at, byte)| match at {
            0..=5 | 11 | 15 => byte.is_ascii_uppercase(),
            8 => b"ABCDEHLMPRST".contains(byte),
            _ => byte.is_ascii_digit() || b"LMNPQRSTUV".contains(byte),
        });
        if before || after || !fits {
            return false;
        }
        let mut sum = 0;
        for (at, byte) in text[..15].iter().enumerate() {
            let Some(value) = place(*byte) else { return false };
            sum += if at % 2 == 0 { ODD[value] } else { value as u64 };
        }
        u64::from(text[15] - b'A') == sum % 26
    })
}
