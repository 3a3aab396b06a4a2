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
            (?:https?|ftps?|wss?)://[^\x00-\x20"'<>]+
            | www\.[a-z0-9\x80-\xff\-]{1,63}\.[^\x00-\x20"'<>]+
            | (?:[a-z0-9\-]{1,63}\.){1,4}
              (?:com|org|net|info|biz|edu|gov|mil|int|io|dev|app|co|eu|de|at|ch|fr|be|nl|lu|es|pt|it|uk|ie|pl|cz|sk|hu|ro|gr|se|no|dk|fi|us|ca|au|nz|jp|cn|ru|br|mx|example)
              (?:[:/?\#][^\x00-\x20"'<>]*)?"#,
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

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = &bytes[range.clone()];
    let mut end = found.iter().rposition(|byte| !b".,;:!?*_'".contains(byte))? + 1;
    // A bracket that was opened before the address closes behind it.
    if found[end - 1] == b')' && !found[..end].contains(&b'(') {
        end -= 1;
    }
    let host = found.iter().take_while(|byte| !b":/?#".contains(byte)).count();
    let labels = found[..host].split(|byte| *byte == b'.');
    let labelled = labels.clone().all(|l| !l.starts_with(b"-") && !l.ends_with(b"-"));
    // A name goes on behind a point: `com` of `a.com.example` is no top level.
    let cut = end == found.len()
        && bytes.get(range.end) == Some(&b'.')
        && bytes.get(range.end + 1).is_some_and(|byte| Edge::Word.holds(*byte));
    // Numbers with a point are numbers.
    let numbers = found[..host].iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    (labelled && !cut && !numbers).then_some(range.start..range.start + end)
}
