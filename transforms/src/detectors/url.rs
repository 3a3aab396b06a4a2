//! Web addresses and domain names.

use std::ops::Range;

use super::{Edge, Find, Pattern, Spec, Start};

/// An address with a scheme (RFC 3986), one that starts with `www.`, or a domain name under a
/// frequent top level (IANA's root zone has over a thousand; a word after a full stop is rarely
/// one of these), with its path. Not the domain of an e-mail address.
pub(super) const SPEC: Spec = Spec {
    name: "url",
    mark: "[URL]",
    summary: "web addresses and domain names",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r#"(?ix)
            (?:https?|ftps?|wss?)://[^\x00-\x20"'<>]
            | www\.[a-z0-9\x80-\xff\-]{1,63}\.[^\x00-\x20"'<>]
            | (?:[a-z0-9\-]{1,63}\.){1,4}
              (?:com|org|net|info|biz|edu|gov|mil|int|io|dev|app|co|eu|de|at|ch|fr|be|nl|lu|es|pt|it|uk|ie|pl|cz|sk|hu|ro|gr|se|no|dk|fi|us|ca|au|nz|jp|cn|ru|br|mx|example)
              [:/?\#]?"#,
        start: Start::Anywhere,
        not_after: Edge::Slug,
        not_before: Edge::Slug,
        accept,
    }),
    context: None,
    examples: &[
        ("https://www.example.com/a?b=c#d", "[URL]"),
        ("see http://example.org.", "see [URL]."),
        ("www.example.de, thanks", "[URL], thanks"),
        ("my site is Example.co.uk", "my site is [URL]"),
        ("(https://example.com/)", "([URL])"),
        ("shop.example.com/cart", "[URL]"),
        ("http://example.com/a_ and www.example.com,b-", "[URL] and [URL]"),
    ],
    refusals: &[
        "ada@example.com",
        "e.g. this",
        "end.Next",
        "file.txt",
        "3.50 EUR",
        "v1.2.3",
        "www.",
    ],
};

/// The pattern is bounded and decides; what follows of the address is read once it is known to be
/// one, so that no byte is read for an address that is then refused.
fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let head = &bytes[range.clone()];
    let host = &head[..head.iter().take_while(|byte| !b":/?#".contains(byte)).count()];
    let mut labels = host.split(|byte| *byte == b'.');
    let points = labels.clone().count() - 1;
    let www = points > 1 && host[..3].eq_ignore_ascii_case(b"www");
    // Numbers with a point are numbers.
    let numbers = host.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if numbers || labels.any(|label| label.starts_with(b"-") || label.ends_with(b"-")) {
        return None;
    }
    if host.len() == head.len() && !www {
        // A name goes on behind a point: `com` of `a.com.example` is no top level.
        let cut = bytes.get(range.end) == Some(&b'.')
            && bytes.get(range.end + 1).is_some_and(|byte| Edge::Word.holds(*byte));
        return (!cut).then_some(range);
    }
    let tail = |byte: &&u8| **byte > b' ' && !b"\"'<>".contains(byte);
    let tail = bytes[range.end..].iter().take_while(tail).count();
    let found = &bytes[range.start..range.end + tail];
    let mut end = found.iter().rposition(|byte| !b".,;:!?*".contains(byte))? + 1;
    // A bracket that was opened before the address closes behind it.
    if found[end - 1] == b')' && !found[..end].contains(&b'(') {
        end -= 1;
    }
    Some(range.start..range.start + end)
}
