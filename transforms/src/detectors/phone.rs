//! Telephone numbers.

use std::ops::Range;

use super::{Needs, Spec, whole_groups};

/// Five ways to write one: `+` and 7 to 15 digits (16 with a `(0)`), `00` and the same, North
/// American 3-3-4, a trunk zero with groups or 10 to 12 digits in one, and five French pairs.
pub const SPEC: Spec = Spec {
    name: "phone",
    mark: "[PHONE]",
    // Between digits: space, point, hyphen, slash, no-break spaces and hyphens, en dash.
    pattern: r"(?x)
        \+ (?:[\x20.\-/()]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]){0,3} [1-9]
            (?:(?:[\x20.\-/()]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]){0,3}[0-9]){6,15}
        | 00[1-9] (?:(?:[\x20.\-/()]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]){0,3}[0-9]){6,15}
        | (?:1(?:[\x20.\-]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]))?
            (?:\([2-9][0-9]{2}\)(?:[\x20.\-]|\xC2\xA0)?
              |[2-9][0-9]{2}(?:[\x20.\-]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]))
            [0-9]{3}(?:[\x20.\-]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF])[0-9]{4}
        | (?:\(0[1-9][0-9]{1,4}\)|0[1-9][0-9]{1,4}) (?:[\x20.\-/]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]){1,3} [0-9]
            (?:(?:[\x20.\-/]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF])?[0-9]){4,9}
        | 0[1-9][0-9]{8,10}
        | 0[1-9](?:[\x20.\-][0-9]{2}){4}",
    needs: Needs { at_sign: false, digits: 7 },
    starts: |bytes| matches!(bytes, [b'+' | b'(' | b'0'..=b'9', ..]),
    accept,
    examples: &[
        ("+4915112345678", "[PHONE]"),
        ("call +1 202 555 0123 now", "call [PHONE] now"),
        ("+1 202 555 0123 4 times", "[PHONE] 4 times"),
        ("+1 (202) 555-0123", "[PHONE]"),
        ("(202) 555-0123", "[PHONE]"),
        ("1-202-555-0123", "[PHONE]"),
        ("202.555.0123", "[PHONE]"),
        ("+49 (0)151 / 123 456 78", "[PHONE]"),
        ("0049 151 12345678", "[PHONE]"),
        ("tel:0151-12345678;", "tel:[PHONE];"),
        ("(030) 1234567", "[PHONE]"),
        ("015112345678", "[PHONE]"),
        ("01 23 45 67 89", "[PHONE]"),
        ("+33\u{a0}1\u{202f}23\u{202f}45\u{202f}67\u{202f}89", "[PHONE]"),
        ("020 7946 0018", "[PHONE]"),
        ("thanks.0151 12345678", "thanks.[PHONE]"),
    ],
    refusals: &[
        "due 2025-10-09 at 08:53:20",
        "01.02.2024 and 31/12/2024",
        "order 123456 of 7 items, 19.80 EUR",
        "version 1.20.300.4000",
        "ticket 20241234567",
        "+12345",
        "+12345678901234567890",
        "10015112345678",
        "1202-555-01234",
        "0.0151 12345",
    ],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let head = &bytes[range.clone()];
    let (least, most) = match (head[0], head.get(1)) {
        // E.164: at most 15 digits; one more for the trunk zero in brackets.
        (b'+', _) => (7, 16),
        (b'0', Some(b'0')) => (9, 18),
        (b'0', _) => (8, 13),
        (b'(', Some(b'0')) => (8, 13),
        _ => (10, 11),
    };
    // A number does not start inside a longer one, or after its decimal point.
    let digit =
        |back: usize| range.start.checked_sub(back).is_some_and(|at| bytes[at].is_ascii_digit());
    let pointed = range.start > 0 && bytes[range.start - 1] == b'.' && digit(2);
    if head[0] != b'+' && (digit(1) || pointed) {
        return None;
    }
    let mut digits = 0;
    let mut ends = Vec::new();
    for group in whole_groups(bytes, range.clone()) {
        digits += group.len();
        if (least..=most).contains(&digits) {
            ends.push((digits, group.end));
        }
    }
    // In +1 there are eleven digits; what follows is another number.
    let north_american = head[0] == b'+' && head.get(1) == Some(&b'1');
    let eleven = ends.iter().find(|(digits, _)| north_american && *digits == 11);
    eleven.or(ends.last()).map(|(_, end)| range.start..*end)
}
