//! Telephone numbers.

use std::ops::Range;

use super::context::Context;
use super::scan::whole_groups;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&[
    "phone",
    "tel",
    "call",
    "mobile",
    "mob.",
    "cell",
    "fax",
    "desk",
    "dial",
    "ring ",
    "sms",
    "text me",
    "whatsapp",
    "message",
    "answering",
    "reach",
    "registered",
    "contact",
    "handy",
    "rufnummer",
    "ruf",
    "anruf",
    "mobil",
    "téléphone",
    "tél",
    "portable",
    "appel",
    "móvil",
    "llam",
    "cellulare",
    "chiam",
    "telefo",
    "mobiel",
    "bel ",
    "kom.",
    "komórk",
    "numer tel",
    "telemóvel",
    "ligar",
    "ring",
    "puhelin",
    "puh",
    "tlf",
    "office",
]);

/// Ways to write one: `+` and 7 to 15 digits (16 with a `(0)`), `00` or `011` and the same, North
/// American 3-3-4 with or without an extension, a trunk zero with groups or 10 to 12 digits in one,
/// five pairs of France, nine digits of Spain, Portugal or Poland in groups, ten of an Italian mobile
/// (ITU-T E.164; the national numbering plans in ITU's Operational Bulletin). Near a word for it any 6
/// to 12 digits in groups, or 8 to 12 in one: so eight of Norway or Denmark, which look like dates,
/// and what a country writes as one run that could be any number.
pub(super) const SPEC: Spec = Spec {
    name: "phone",
    mark: "[PHONE]",
    summary: "telephone numbers: international, and national ones of fourteen countries; other forms near a word for them",
    semantics: 3,
    find: Find::Pattern(Pattern {
        // Between digits: space, point, hyphen, slash, no-break spaces and hyphens, en dash.
        pattern: r"(?x)
        \+ (?:[\x20.\-/()]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]){0,3} [1-9]
            (?:(?:[\x20.\-/()]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]){0,3}[0-9]){6,15} (?:\x20?x[0-9]{1,5})?
        | 00[1-9] (?:(?:[\x20.\-/()]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]){0,3}[0-9]){6,15} (?:x[0-9]{1,5})?
        | (?:1(?:[\x20.\-]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]))?
            (?:\([2-9][0-9]{2}\)(?:[\x20.\-]|\xC2\xA0)?
              |[2-9][0-9]{2}(?:[\x20.\-]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]))
            [0-9]{3}(?:[\x20.\-]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF])[0-9]{4} (?:\x20?(?:x|ext\.?\x20?)[0-9]{1,5})?
        | (?:\(0[1-9][0-9]{1,4}\)|0[1-9][0-9]{1,4}) (?:[\x20.\-/]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF]){1,3} [0-9]
            (?:(?:[\x20.\-/]|\xC2\xA0|\xE2\x80[\x90\x91\x93\xAF])?[0-9]){4,9}
        | 0[1-9][0-9]{8,10}
        | 0[1-9](?:[\x20.\-][0-9]{2}){4}
        | \(?[0-9] (?:\)?(?:[\x20.\-/]|\xC2\xA0){0,2}\(?[0-9]){5,11}",
        start: Start::Anywhere,
        not_after: Edge::Number,
        not_before: Edge::Free,
        accept,
    }),
    context: Some(&CONTEXT),
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
        ("202-555-0123x4587", "[PHONE]"),
        ("Phone: 555 0123", "Phone: [PHONE]"),
        ("call me on 71-33-52-22", "call me on [PHONE]"),
        ("móvil 612 34 56 78", "móvil [PHONE]"),
        ("612 345 678", "[PHONE]"),
        ("079 123 45 67", "[PHONE]"),
        ("06-12345678", "[PHONE]"),
        ("06-20123456", "[PHONE]"),
        ("02 1234567", "[PHONE]"),
        ("333 1234567", "[PHONE]"),
        ("91 123 45 67", "[PHONE]"),
        ("08-123 456 78", "[PHONE]"),
        ("09 1234 567", "[PHONE]"),
        ("tlf. 22 12 34 56", "tlf. [PHONE]"),
    ],
    refusals: &[
        "due 2025-10-09 at 08:53:20",
        "01.02.2024 and 31/12/2024",
        "03/2024 567, 03 2024 567",
        "22 12 34 56",
        "03  2024 567",
        "2024-10-05T08:53:05.1234567Z",
        "08:53:05.123 12345 INFO",
        "2024-10-05 1234567",
        "01-20240131",
        "133 1234567",
        "order 123456 of 7 items, 19.80 EUR",
        "version 1.20.300.4000",
        "ticket 20241234567",
        "+12345",
        "+12345678901234567890",
        "10015112345678",
        "1202-555-01234",
        "0.0151 12345",
        "call me on 2025-10-09",
        "total 1 000 000",
        "phone 3 4",
    ],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let head = &bytes[range.clone()];
    // A number does not start inside a longer one, or after its decimal point.
    let digit =
        |back: usize| range.start.checked_sub(back).is_some_and(|at| bytes[at].is_ascii_digit());
    let pointed = range.start > 0 && bytes[range.start - 1] == b'.' && digit(2);
    if head[0] != b'+' && (digit(1) || pointed) {
        return None;
    }
    // A bracket that nothing closes is the sentence's.
    if head[0] == b'(' && !head.contains(&b')') {
        return None;
    }
    written(bytes, &range).or_else(|| near_a_word(bytes, &range))
}

/// What is a number by its form.
fn written(bytes: &[u8], range: &Range<usize>) -> Option<Range<usize>> {
    let head = &bytes[range.clone()];
    let groups = whole_groups(bytes, range.clone());
    let lengths = groups.lengths();
    // The day of a date and the second of a time are no area: `2024-10-05 1234567`.
    let before = |back: usize| range.start.checked_sub(back).map(|at| bytes[at]);
    let goes_on = before(1).is_some_and(|byte| b"-:/".contains(&byte))
        && before(2).is_some_and(|byte| byte.is_ascii_digit());
    if goes_on && lengths.first() == Some(&2) {
        return None;
    }
    let (least, most) = match (head[0], head.get(1)) {
        // E.164: at most 15 digits; one more for the trunk zero in brackets.
        (b'+', _) => (7, 16),
        (b'0', Some(b'0')) => (9, 18),
        (b'0', Some(b'1'..=b'9')) if is_trunk(head, lengths) => (8, 13),
        (b'(', Some(b'0')) if head.get(2) != Some(&b'0') && lengths.len() > 1 => (8, 13),
        _ if is_north_american(head, lengths) => (10, 11),
        _ if is_grouped(head, lengths) => (9, 10),
        _ => return None,
    };
    // In +1 there are eleven digits, in 3-3-4 ten; what follows is another number.
    let ten = matches!(head[0], b'2'..=b'9') || (head[0] == b'(' && head.get(1) != Some(&b'0'));
    let eleven = head[0] == b'+' && head.get(1) == Some(&b'1');
    let (mut digits, mut last, mut fixed) = (0, None, None);
    for (length, end) in lengths.iter().zip(groups.ends()) {
        digits += length;
        if (least..=most).contains(&digits) {
            last = Some(end);
            let first = (eleven && digits == 11) || (ten && !eleven);
            fixed = fixed.or(first.then_some(end));
        }
    }
    fixed.or(last).map(|end| range.start..extension(bytes, end))
}

/// A trunk zero: groups, or ten to twelve digits in one.
fn is_trunk(head: &[u8], lengths: &[usize]) -> bool {
    let dated = head.get(2) == Some(&b'.') && lengths.get(2).is_some_and(|length| *length == 4);
    match lengths {
        [whole] => (10..=12).contains(whole),
        // Five pairs; an area of two digits with seven to nine; one of three to six.
        [2, rest @ ..] if rest.len() >= 4 && rest[..4] == [2, 2, 2, 2] => true,
        [2, rest @ ..] => {
            let local = match rest[0] {
                4 | 8 => !is_date(head, rest[0]),
                length => matches!(length, 3 | 5..=7),
            };
            local && rest.iter().sum::<usize>() >= 7
        }
        [3..=6, rest @ ..] => !dated && rest.iter().sum::<usize>() >= 5,
        _ => false,
    }
}

/// Whether what stands behind the first two digits is a year, or a day written in eight digits.
fn is_date(head: &[u8], length: usize) -> bool {
    let mut digits = head.iter().filter(|byte| byte.is_ascii_digit()).skip(2);
    let mut two = || digits.by_ref().take(2).fold(0, |sum, byte| sum * 10 + (byte - b'0'));
    let (century, _, month, day) = (two(), two(), two(), two());
    let years = matches!(century, 19 | 20);
    years && (length == 4 || ((1..=12).contains(&month) && (1..=31).contains(&day)))
}

/// 3-3-4, with or without a 1 in front; area and exchange do not start with 0 or 1.
fn is_north_american(head: &[u8], lengths: &[usize]) -> bool {
    let mut digits = head.iter().filter(|byte| byte.is_ascii_digit());
    let mut digit = || digits.next().copied().unwrap_or_default();
    let joined = || !head.windows(2).any(|pair| pair == b"  ");
    match lengths {
        [3, 3, 4, ..] => digit() >= b'2' && joined(),
        [1, 3, 3, 4, ..] => digit() == b'1' && digit() >= b'2' && joined(),
        _ => false,
    }
}

/// Nine digits of Spain, Portugal or Poland: in threes, mobile ones of Spain as 3-2-2-2, fixed ones as
/// 2-3-2-2; ten of an Italian mobile as 3-7.
fn is_grouped(head: &[u8], lengths: &[usize]) -> bool {
    let joint = head.iter().find(|byte| !byte.is_ascii_digit());
    let spaced = matches!(joint, Some(b' ' | b'-'));
    match lengths {
        [3, 3, 3] => spaced && matches!(head[0], b'5'..=b'9'),
        [3, 2, 2, 2] => spaced && matches!(head[0], b'6'..=b'9'),
        [2, 3, 2, 2] => spaced && matches!(head[0], b'1'..=b'9'),
        [3, 7] => spaced && head[0] == b'3',
        _ => false,
    }
}

/// What is one by the words around it: groups with at least six digits, none of them a date.
fn near_a_word(bytes: &[u8], range: &Range<usize>) -> Option<Range<usize>> {
    let groups = whole_groups(bytes, range.clone());
    let (mut digits, mut end) = (0, None);
    for (at, (length, to)) in groups.lengths().iter().zip(groups.ends()).enumerate() {
        digits += length;
        if (6..=12).contains(&digits) {
            end = Some((at, to));
        }
    }
    let (last, end) = end?;
    let lengths = &groups.lengths()[..=last];
    let head = &bytes[range.start..end];
    let closes =
        usize::from(head.contains(&b'(') && !head.contains(&b')') && bytes.get(end) == Some(&b')'));
    let dated = matches!(lengths, [4, 1..=2, 1..=2, ..] | [1..=2, 1..=2, 4] | [1..=2, 1..=2, 2]);
    let thousands = lengths.len() > 1
        && lengths[1..].iter().all(|length| *length == 3)
        && lengths[0] <= 2
        && !head.contains(&b'(');
    let short = matches!(lengths, [..=7]);
    let goes_on = bytes.get(end).is_some_and(|byte| Edge::Word.holds(*byte) && *byte != b'x');
    if dated || thousands || short || goes_on {
        return None;
    }
    let start = range.start;
    let before = start.checked_sub(1).map(|at| bytes[at]);
    let word = before.is_some_and(|byte| Edge::Word.holds(byte) || b"-#/.".contains(&byte));
    // A number that goes on from the left: `1 000 000`.
    let number = start >= 2 && bytes[start - 1] == b' ' && bytes[start - 2].is_ascii_digit();
    let found = start..extension(bytes, end + closes);
    (!word && !number && CONTEXT.is_near(bytes, &found)).then_some(found)
}

/// The end with the extension behind a number: `x4587`, `ext. 12`.
fn extension(bytes: &[u8], end: usize) -> usize {
    let rest = &bytes[end..];
    let skip = usize::from(rest.first() == Some(&b' '));
    let mark = match &rest[skip..] {
        [b'x', b'0'..=b'9', ..] => skip + 1,
        [b'e', b'x', b't', b'.', b' ', ..] => skip + 5,
        [b'e', b'x', b't', b'.' | b' ', ..] => skip + 4,
        _ => return end,
    };
    let digits = rest[mark..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if (1..=5).contains(&digits) { end + mark + digits } else { end }
}
