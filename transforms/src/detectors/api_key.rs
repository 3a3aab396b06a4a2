//! Keys of programming interfaces, and tokens of the same kind.

use std::ops::Range;

use super::context::Context;
use super::{Edge, Find, Pattern, Spec, Start};

static CONTEXT: Context = Context::new(&[
    "api key",
    "api_key",
    "apikey",
    "api-key",
    "secret",
    "token",
    "password",
    "passwd",
    "pwd",
    "bearer",
    "authorization",
    "access key",
    "access_key",
    "credential",
    "client_secret",
    "x-api",
]);

/// By their prefixes: AWS, GitHub, GitLab, Slack, Stripe, Google, npm, SendGrid, OpenAI and
/// Anthropic (each issuer's documentation of its secrets' forms; GitHub, "Supported secret scanning
/// patterns"), JSON web tokens (RFC 7519), and near a word for a secret any run of 20 characters or
/// more that has letters and digits and no few of them.
pub(super) const SPEC: Spec = Spec {
    name: "api_key",
    mark: "[API_KEY]",
    summary: "keys and tokens of programming interfaces, JSON web tokens",
    semantics: 1,
    find: Find::Pattern(Pattern {
        pattern: r"(?x)
            eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)?
            | SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}
            | [A-Za-z0-9_+/\-]{16,}={0,2}",
        start: Start::Anywhere,
        not_after: Edge::Slug,
        not_before: Edge::Slug,
        accept,
    }),
    context: Some(&CONTEXT),
    // Made up, but for AWS's own documentation example.
    examples: &[
        ("AKIAIOSFODNN7EXAMPLE", "[API_KEY]"),
        ("use ghp_abcdefghijklmnopqrstuvwxyz0123456789!", "use [API_KEY]!"),
        ("key=sk_live_abcdefghijklmnop1234;", "key=[API_KEY];"),
        ("xoxb-123456789012-abcdefghijkl", "[API_KEY]"),
        ("AIzaSyA-abcdefghijklmnopqrstuvwxyz01234", "[API_KEY]"),
        ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl", "Bearer [API_KEY]"),
        ("my token: 9fK2mQ7xLp4Zr8Tb1Wc6", "my token: [API_KEY]"),
        ("glpat-abcdEFGH1234ijkl5678", "[API_KEY]"),
    ],
    refusals: &[
        "AKIAIOSFODNN7EXAMPL",
        "order 9fK2mQ7xLp4Zr8Tb1Wc6",
        "the token was aaaaaaaaaaaaaaaaaaaaaaaa",
        "sk_live_short",
        "eyJhbGci.short",
        "internationalization-and-localization",
        "password: correct-horse-battery-staple",
    ],
};

/// What a key starts with, and the least of what follows.
const PREFIXES: &[(&[u8], usize)] = &[
    (b"ghp_", 36),
    (b"gho_", 36),
    (b"ghu_", 36),
    (b"ghs_", 36),
    (b"ghr_", 36),
    (b"github_pat_", 22),
    (b"glpat-", 20),
    (b"xoxb-", 10),
    (b"xoxa-", 10),
    (b"xoxp-", 10),
    (b"xoxr-", 10),
    (b"xoxs-", 10),
    (b"sk_live_", 16),
    (b"sk_test_", 16),
    (b"rk_live_", 16),
    (b"rk_test_", 16),
    (b"pk_live_", 16),
    (b"pk_test_", 16),
    (b"whsec_", 24),
    (b"AIza", 35),
    (b"npm_", 36),
    (b"sk-ant-", 20),
    (b"sk-proj-", 20),
    (b"sk-", 32),
    (b"eyJ", 16),
    (b"SG.", 33),
];

fn accept(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let found = &bytes[range.clone()];
    let prefixed = PREFIXES
        .iter()
        .any(|(prefix, least)| found.starts_with(prefix) && found.len() >= prefix.len() + least);
    let jwt = found.starts_with(b"eyJ") && !found.contains(&b'.');
    let known = (prefixed && !jwt) || is_aws(found);
    (known || (is_random(found) && CONTEXT.is_before(bytes, &range))).then_some(range)
}

/// Four letters for the kind and sixteen of base 32.
fn is_aws(found: &[u8]) -> bool {
    const KINDS: [&[u8]; 4] = [b"AKIA", b"ASIA", b"AROA", b"AIDA"];
    found.len() == 20
        && KINDS.iter().any(|kind| found.starts_with(kind))
        && found.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// At least 20 signs, letters and digits among them, and 3 bits a sign: what words and names do
/// not have.
fn is_random(found: &[u8]) -> bool {
    let mut counts = [0_u32; 256];
    for byte in found {
        counts[usize::from(*byte)] += 1;
    }
    // Σ c·⌊log₂(n/c)⌋ is below the entropy; whole numbers, so that it is the same anywhere.
    let total = found.len() as u32;
    let bits: u32 = counts.iter().filter(|c| **c > 0).map(|c| c * (total / c).ilog2()).sum();
    let letters = found.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let digits = found.iter().filter(|byte| byte.is_ascii_digit()).count();
    found.len() >= 20 && bits >= 3 * total && letters >= 4 && digits >= 3
}
