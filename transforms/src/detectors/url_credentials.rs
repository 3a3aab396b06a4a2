//! Web and database addresses with a name and a password in them.

use super::{Edge, Find, Pattern, Spec, Start};

/// RFC 3986, 3.2.1: `scheme://user:password@host`, with what follows up to a space, a quote or an
/// angle bracket. The name may be missing, the password may not.
pub(super) const SPEC: Spec = Spec {
    name: "url_credentials",
    mark: "[URL_CREDENTIALS]",
    summary: "addresses with a name and a password in them",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r#"(?x)[A-Za-z][A-Za-z0-9+.\-]{1,20}://
            [^\x00-\x20"'<>/:@]{0,128} : [^\x00-\x20"'<>/@]{1,256} @
            [^\x00-\x20"'<>@]+"#,
        start: Start::Anywhere,
        not_after: Edge::Slug,
        not_before: Edge::Free,
        accept: |bytes, range| {
            let found = &bytes[range.clone()];
            let end = found.iter().rposition(|byte| !b".,;:!?)".contains(byte))? + 1;
            Some(range.start..range.start + end)
        },
    }),
    context: None,
    examples: &[
        ("https://ada:s3cret@example.com/x?y=1", "[URL_CREDENTIALS]"),
        ("db postgres://app:pw@db.internal:5432/crm.", "db [URL_CREDENTIALS]."),
        ("(ftp://u:p@example.org)", "([URL_CREDENTIALS])"),
        ("redis://:secret@cache:6379", "[URL_CREDENTIALS]"),
        ("url=\"mongodb+srv://a:b%40c@x.example\"", "url=\"[URL_CREDENTIALS]\""),
    ],
    refusals: &[
        "https://example.com/a:b",
        "https://example.com:8080/ada@home",
        "https://ada@example.com/",
        "mailto:ada@example.com",
        "a://b c:d@e",
    ],
};
