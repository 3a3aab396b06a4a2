//! Hardware addresses of network cards.

use std::ops::Range;

use super::{Edge, Find, Pattern, Spec, Start};

/// Six pairs of hexadecimal digits joined by colons or hyphens, or three groups of four joined by
/// points (IEEE 802, EUI-48). Pairs of digits alone, joined by hyphens, may be dates and times.
pub(super) const SPEC: Spec = Spec {
    name: "mac",
    mark: "[MAC]",
    summary: "hardware addresses (EUI-48)",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?x)[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5} | [0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}
            | [0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}",
        start: Start::Anywhere,
        not_after: Edge::Word,
        not_before: Edge::Word,
        accept,
    }),
    context: None,
    examples: &[
        ("00:53:00:1a:2b:3c", "[MAC]"),
        ("MAC 00-53-00-1A-2B-3C.", "MAC [MAC]."),
        ("0053.001a.2b3c", "[MAC]"),
        ("eth0 12:34:56:78:90:12 up", "eth0 [MAC] up"),
        ("(AA:BB:CC:DD:EE:01)", "([MAC])"),
    ],
    refusals: &[
        "20-25-10-09-08-53",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "00:53:00:1a:2b",
        "00:53:00:1a:2b:3c:4d",
        "1234.5678.9012",
        "08:53:20",
    ],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = &bytes[range.clone()];
    let joint = found[2];
    // A longer row of pairs is another thing.
    let goes_on = |near: Option<&u8>, far: Option<&u8>| {
        near.is_some_and(|byte| b":-.".contains(byte)) && far.is_some_and(u8::is_ascii_hexdigit)
    };
    let before = |back: usize| range.start.checked_sub(back).map(|at| &bytes[at]);
    let longer =
        goes_on(before(1), before(2)) || goes_on(bytes.get(range.end), bytes.get(range.end + 1));
    let digits = || found.iter().filter(|byte| byte.is_ascii_hexdigit());
    let first = found[0].to_ascii_lowercase();
    let one = digits().all(|byte| byte.to_ascii_lowercase() == first);
    let letters = digits().any(|byte| byte.is_ascii_alphabetic());
    (!longer && !one && (letters || joint == b':')).then_some(range)
}
