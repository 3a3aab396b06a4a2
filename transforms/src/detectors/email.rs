//! E-mail addresses.

use super::{Edge, Find, Pattern, Spec, Start};

/// What a local part is made of beside letters, digits and what is no ASCII.
const ATOMS: &[u8] = b"!#$%&'*+./=?^_`{|}~-";

/// Most bytes of a local part: RFC 5321, 4.5.3.1.1.
const LOCAL_BYTES_MAX: usize = 64;

/// Letters outside ASCII may stand in both parts (RFC 6531); a domain needs a dot and a last label
/// of letters. Where a text goes on without a space in another script, it is taken along, up to the
/// 64 bytes that a local part has at most (RFC 5321, 4.5.3.1.1; RFC 6531 counts bytes too). Without
/// that bound every search through a run without spaces goes to the run's end. Labels have none: 63
/// bytes are counted in punycode, and no label is searched twice.
pub(super) const SPEC: Spec = Spec {
    name: "email",
    mark: "[EMAIL]",
    summary: "e-mail addresses",
    semantics: 1,
    find: Find::Pattern(Pattern {
        // The last label in ASCII where it can be, so that a script without spaces ends there.
        pattern: r#"(?x)
        (?:[A-Za-z0-9.!\#$%&'*+/=?^_`{|}~\x80-\xff-]{1,64} | "[^"\r\n]{1,64}") @
        (?:[A-Za-z0-9\x80-\xff_-]+ \.)+
        (?:xn--[A-Za-z0-9-]+ | [A-Za-z]{2,} | [A-Za-z\x80-\xff]{2,})"#,
        start: Start::Around { byte: b'@', first },
        not_after: Edge::Free,
        not_before: Edge::Free,
        accept: |_, range| Some(range),
    }),
    context: None,
    examples: &[
        ("ada@example.com", "[EMAIL]"),
        ("write to <Ada.Lovelace+news@mail.example.co.uk>.", "write to <[EMAIL]>."),
        ("ada@example.org.", "[EMAIL]."),
        ("jürgen@müller.example", "[EMAIL]"),
        ("почта@пример.рф", "[EMAIL]"),
        ("a_b-c%d@x-y.info, next", "[EMAIL], next"),
        ("mailto:o'brien@example.ie?subject=x", "mailto:[EMAIL]?subject=x"),
        ("联系 ada@example.com谢谢", "联系 [EMAIL]谢谢"),
        ("\"ada lovelace\"@example.com", "[EMAIL]"),
        ("ada@xn--bcher-kva.xn--p1ai", "[EMAIL]"),
    ],
    refusals: &[
        "3 @ 4.50 EUR",
        "@handle said",
        "user@localhost",
        "a@b.c",
        "ada at example dot com",
        "@example.com",
        "x@.com",
    ],
};

/// The first byte of a local part that ends before the `@` at a place, and not before `from`.
fn first(bytes: &[u8], at: usize, from: usize) -> usize {
    if at > from && bytes[at - 1] == b'"' {
        // The quotes themselves are not counted.
        let from = from.max(at.saturating_sub(LOCAL_BYTES_MAX + 2));
        let open = bytes[from..at - 1].iter().rposition(|byte| *byte == b'"');
        return open.map_or(at, |open| from + open);
    }
    let from = from.max(at.saturating_sub(LOCAL_BYTES_MAX));
    let atom = |b: &u8| b.is_ascii_alphanumeric() || *b >= 0x80 || ATOMS.contains(b);
    at - bytes[from..at].iter().rev().take_while(|byte| atom(byte)).count()
}
