//! Internet addresses.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::check::stands_alone;
use super::{Edge, Find, Pattern, Spec, Start};

/// What the standard library reads as an address: four numbers to 255 without zeros in front
/// (RFC 6943, 3.1.1), or RFC 4291's text with or without `::`, a zone (RFC 4007) and an IPv4
/// address at its end. A version of four numbers is told by the word in front of it; `::` of a
/// program's names by the word it touches. The length of a network (RFC 4632, 3.1) and the other end
/// of a range may touch it.
pub(super) const SPEC: Spec = Spec {
    name: "ip",
    mark: "[IP]",
    summary: "internet addresses of versions 4 and 6",
    semantics: 2,
    find: Find::Pattern(Pattern {
        pattern: r"(?x)[0-9]{1,3}(?:\.[0-9]{1,3}){3}
            | (?:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:|::[0-9A-Fa-f])[0-9A-Fa-f:]{0,38}
              (?:(?:\.[0-9]{1,3}){3})?(?:%[0-9A-Za-z_.\-]{1,15})?",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: None,
    examples: &[
        ("192.0.2.17", "[IP]"),
        ("from 198.51.100.254:443 to 203.0.113.9.", "from [IP]:443 to [IP]."),
        ("2001:db8:0:1:1:1:1:1", "[IP]"),
        ("ping ::1, then fe80::1%eth0", "ping [IP], then [IP]"),
        ("[2001:db8::7334]:8080", "[[IP]]:8080"),
        ("::ffff:192.0.2.128", "[IP]"),
        ("address 2001:DB8::A: refused", "address [IP]: refused"),
        ("|192.0.2.17|", "|[IP]|"),
        ("192.0.2.1/24", "[IP]/24"),
        ("all of 198.51.100.0/8.", "all of [IP]/8."),
        ("192.0.2.1-192.0.2.20", "[IP]-[IP]"),
        ("192.0.2.1/192.0.2.20, please", "[IP]/[IP], please"),
        ("192.0.2.1-20", "[IP]-20"),
        ("192.0.2.0/25-192.0.2.128/25", "[IP]/25-[IP]/25"),
        ("2001:db8::/32", "[IP]/32"),
    ],
    refusals: &[
        "version 1.20.300.4000",
        "v1.2.3.4",
        "version 10.0.19041.1",
        "version 1.2.3.4",
        "256.1.1.1",
        "1.2.3.4.5",
        "1.2.3.4/33",
        "1.2.3.4-256",
        "1.2.3.4-5ubuntu1",
        "version 1.2.3.4-1.2.3.5",
        "12-1.2.3.4",
        "01.02.2024",
        "08:53:20",
        "at 10:15:00 and 11:15:00",
        "std::vec::Vec",
        "::",
        "12:34:56:78:9a:bc",
        "192.0.2",
    ],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let text = std::str::from_utf8(&bytes[range.clone()]).ok()?;
    if !text.contains(':') {
        let number = text.parse::<Ipv4Addr>().is_ok() && !is_version(bytes, range.start);
        return (number && is_whole(bytes, &range)).then_some(range);
    }
    // Of `a::b: text` the last colon is the sentence's, and a point may be too.
    let mut text = text.trim_end_matches(['.', '-', '_', '%']);
    while !text.is_empty() {
        let address = text.split_once('%').map_or(text, |(address, _)| address);
        let groups = address.split([':', '.']).filter(|group| !group.is_empty()).count();
        let digit = address.bytes().any(|byte| byte.is_ascii_digit());
        if address.parse::<Ipv6Addr>().is_ok() && groups > 0 && (digit || groups > 3) {
            return Some(range.start..range.start + text.len());
        }
        text = text.strip_suffix(':')?;
    }
    None
}

/// No word or number goes on beyond it but a network's length, or the other end of a range.
fn is_whole(bytes: &[u8], range: &Range<usize>) -> bool {
    let part = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
    let is_address =
        |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv4Addr>().is_ok());
    let is_up_to = |text: &[u8], most: u16| {
        std::str::from_utf8(text).is_ok_and(|text| text.parse().is_ok_and(|n: u16| n <= most))
    };
    let (before, behind) = (&bytes[..range.start], &bytes[range.end..]);
    let left = || {
        let [rest @ .., b'-' | b'/'] = before else { return false };
        let begins = |text: &[u8]| text.len() - text.iter().rev().take(15).take_while(part).count();
        let (mut from, mut to) = (begins(rest), rest.len());
        if is_up_to(&rest[from..to], 32) && rest[..from].ends_with(b"/") {
            to = from - 1;
            from = begins(&rest[..to]);
        }
        is_address(&rest[from..to]) && !is_version(bytes, from)
    };
    let right = || {
        let [joint @ (b'-' | b'/'), rest @ ..] = behind else { return false };
        let (mut other, after) = rest.split_at(rest.iter().take(16).take_while(part).count());
        while let [shorter @ .., b'.'] = other {
            other = shorter;
        }
        let most = if *joint == b'/' { 32 } else { 255 };
        !after.first().is_some_and(|byte| Edge::Word.holds(*byte))
            && (is_address(other) || is_up_to(other, most))
    };
    (stands_alone(&bytes[..range.end], range) || left())
        && (stands_alone(&bytes[range.start..], &(0..range.len())) || right())
}

/// Whether a word before the number says that it is a version's.
fn is_version(bytes: &[u8], start: usize) -> bool {
    const WORDS: [&[u8]; 7] =
        [b"version", b"versions", b"ver", b"release", b"build", b"firmware", b"section"];
    let before = &bytes[start.saturating_sub(12)..start];
    let end = before.len() - before.iter().rev().take_while(|b| b" .:=#".contains(b)).count();
    let letters = before[..end].iter().rev().take_while(|b| b.is_ascii_alphabetic()).count();
    WORDS.iter().any(|word| before[end - letters..end].eq_ignore_ascii_case(word))
}
