//! Private keys in text form.

use std::ops::Range;

use super::{Edge, Find, Pattern, Spec, Start};

/// From `-----BEGIN … PRIVATE KEY-----` to the end that goes with it, or to the end of the text
/// where there is none (RFC 7468; OpenPGP's armor, RFC 9580; OpenSSH's own).
pub(super) const SPEC: Spec = Spec {
    name: "private_key",
    mark: "[PRIVATE_KEY]",
    summary: "private keys in PEM and armored form",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY(?: BLOCK)?-----",
        start: Start::Anywhere,
        not_after: Edge::Free,
        not_before: Edge::Free,
        accept,
    }),
    context: None,
    examples: &[
        (
            "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\nthanks",
            "[PRIVATE_KEY]\nthanks",
        ),
        (
            "key: -----BEGIN RSA PRIVATE KEY-----\\nMIIE\\n-----END RSA PRIVATE KEY-----.",
            "key: [PRIVATE_KEY].",
        ),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn", "[PRIVATE_KEY]"),
        (
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----",
            "[PRIVATE_KEY]",
        ),
        ("a -----BEGIN EC PRIVATE KEY-----b-----END EC PRIVATE KEY----- c", "a [PRIVATE_KEY] c"),
    ],
    refusals: &[
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PRIVATE NOTE-----",
        "BEGIN PRIVATE KEY",
        "-----END PRIVATE KEY-----",
    ],
};

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    const END: &[u8] = b"-----END ";
    let rest = &bytes[range.end..];
    let end = memchr::memmem::find(rest, END).map_or(rest.len(), |end| {
        let label = &rest[end + END.len()..];
        let close = memchr::memmem::find(label, b"-----").map_or(label.len(), |at| at + 5);
        end + END.len() + close
    });
    Some(range.start..range.end + end)
}
