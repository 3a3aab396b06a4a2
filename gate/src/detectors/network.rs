//! Addresses of machines, and what stands in URLs.

use core::net::Ipv6Addr;

use super::{is_word, run};

/// An IPv4 address in dotted form, or an IPv6 address with at least three groups that are written
/// out: `a::b` stands in source code.
pub(super) fn ip(bytes: &[u8]) -> bool {
    let inside = |b: u8| is_word(b) || b == b'.' || b == b'-';
    (0..bytes.len()).any(|at| {
        let before = if at == 0 { b' ' } else { bytes[at - 1] };
        let starts = bytes[at].is_ascii_hexdigit() || bytes[at] == b':';
        let rest = &bytes[at..];
        starts && !inside(before) && (ipv4(rest) || before != b':' && ipv6(rest))
    })
}

fn ipv4(bytes: &[u8]) -> bool {
    let mut at = 0;
    for group in 0..4 {
        let digits = run(&bytes[at..], u8::is_ascii_digit);
        if !(1..=3).contains(&digits) {
            return false;
        }
        let value = bytes[at..at + digits].iter().fold(0_u32, |n, b| n * 10 + u32::from(b - b'0'));
        if value > 255 || digits > 1 && bytes[at] == b'0' {
            return false;
        }
        at += digits;
        if group < 3 {
            if bytes.get(at) != Some(&b'.') {
                return false;
            }
            at += 1;
        }
    }
    let after = bytes.get(at).copied();
    let goes_on = after == Some(b'.') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
    !goes_on && !after.is_some_and(|b| is_word(b) || b == b'-')
}

fn ipv6(bytes: &[u8]) -> bool {
    let length = run(bytes, |b| b.is_ascii_hexdigit() || *b == b':');
    let mut text = &bytes[..length];
    // A colon that ends a clause, not one of `::`.
    if text.ends_with(b":") && !text.ends_with(b"::") {
        text = &text[..length - 1];
    }
    let border = bytes.get(length).is_none_or(|b| !is_word(*b) && *b != b'.');
    let groups = text.split(|b| *b == b':').filter(|group| !group.is_empty()).count();
    let parses = || std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    border && length <= 40 && groups >= 3 && parses()
}

/// Six pairs of hexadecimal digits with one separator, or three groups of four with dots.
pub(super) fn mac(bytes: &[u8]) -> bool {
    let inside = |b: u8| is_word(b) || matches!(b, b':' | b'-' | b'.');
    (0..bytes.len()).any(|at| {
        let starts = bytes[at].is_ascii_hexdigit() && (at == 0 || !inside(bytes[at - 1]));
        let rest = &bytes[at..];
        starts
            && (grouped(rest, 6, 2, b':') || grouped(rest, 6, 2, b'-') || grouped(rest, 3, 4, b'.'))
    })
}

fn grouped(bytes: &[u8], groups: usize, size: usize, separator: u8) -> bool {
    let length = groups * (size + 1) - 1;
    let Some(text) = bytes.get(..length) else { return false };
    let fits = text.iter().enumerate().all(|(at, byte)| match at % (size + 1) == size {
        true => *byte == separator,
        false => byte.is_ascii_hexdigit(),
    });
    let after = bytes.get(length).is_some_and(|b| is_word(*b) || *b == separator);
    fits && !after
}

/// `scheme://user:password@host`.
pub(super) fn url_credentials(bytes: &[u8]) -> bool {
    memchr::memchr(b'@', bytes).is_some()
        && memchr::memmem::find_iter(bytes, b"://").any(|at| {
            let scheme = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
            let rest = &bytes[at + 3..];
            let authority = &rest[..run(rest, |b| {
                !b.is_ascii_whitespace() && !matches!(b, b'/' | b'?' | b'#' | b'"' | b'<' | b'>')
            })];
            let Some(user_end) = memchr::memrchr(b'@', authority) else { return false };
            let (user, host) = (&authority[..user_end], &authority[user_end + 1..]);
            let password = memchr::memchr(b':', user).is_some_and(|colon| colon + 1 < user.len());
            let host = host.first().is_some_and(|b| is_word(*b) || *b == b'[');
            scheme && password && host
        })
}
