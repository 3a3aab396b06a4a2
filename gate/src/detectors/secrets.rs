//! What opens doors: keys of services by the prefix that their makers gave them, private keys.

use super::{is_word, run};

/// Prefix, bytes that follow at least, and whether `-` and `_` are among them. Amazon, GitHub,
/// GitLab, Slack, Stripe, Google: their own documents of the formats.
const PREFIXES: &[(&[u8], usize, bool)] = &[
    (b"AKIA", 16, false),
    (b"ASIA", 16, false),
    (b"ghp_", 36, false),
    (b"gho_", 36, false),
    (b"ghu_", 36, false),
    (b"ghs_", 36, false),
    (b"ghr_", 36, false),
    (b"github_pat_", 22, true),
    (b"glpat-", 20, true),
    (b"xoxb-", 20, true),
    (b"xoxp-", 20, true),
    (b"xoxa-", 20, true),
    (b"xoxr-", 20, true),
    (b"sk_live_", 16, false),
    (b"rk_live_", 16, false),
    (b"AIza", 35, true),
];

/// A key with one of the prefixes, or a JSON web token. Either begins a stretch of word bytes and
/// hyphens with at least [`STRETCH`] of them.
pub(super) fn api_key(bytes: &[u8]) -> bool {
    let inside = |b: &u8| is_word(*b) || *b == b'-';
    // A stretch of that length cannot lie between two places that are that far apart.
    let mut at = STRETCH - 1;
    while let Some(byte) = bytes.get(at) {
        if inside(byte) {
            let start = at - bytes[..at].iter().rev().take_while(|b| inside(b)).count();
            let end = at + run(&bytes[at..], inside);
            let long = end - start >= STRETCH;
            if long && (prefixed(&bytes[start..]) || web_token(&bytes[start..])) {
                return true;
            }
            at = end;
        }
        at += STRETCH;
    }
    false
}

/// The header of a JSON web token, and less than any key's prefix and bytes.
const STRETCH: usize = 16;

/// The slow twin of [`api_key`].
#[cfg(test)]
pub(super) fn api_key_at_each_place(bytes: &[u8]) -> bool {
    let inside = |b: u8| is_word(b) || b == b'-';
    (0..bytes.len()).any(|at| {
        let starts = at == 0 || !inside(bytes[at - 1]);
        starts && (prefixed(&bytes[at..]) || web_token(&bytes[at..]))
    })
}

fn prefixed(bytes: &[u8]) -> bool {
    PREFIXES.iter().any(|(prefix, least, dashed)| {
        bytes.strip_prefix(*prefix).is_some_and(|rest| {
            let fits = |b: &u8| b.is_ascii_alphanumeric() || *dashed && matches!(b, b'-' | b'_');
            let follow = run(rest, fits);
            // Amazon's have their length; a longer run is something else.
            let whole = *prefix != b"AKIA" && *prefix != b"ASIA" || follow == *least;
            follow >= *least && whole
        })
    })
}

/// RFC 7519 in compact form: header and claims are JSON objects in base64url, which begin `eyJ`.
fn web_token(bytes: &[u8]) -> bool {
    let part = |bytes: &[u8]| run(bytes, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let header = part(bytes);
    let Some(rest) = bytes[header..].strip_prefix(b".") else { return false };
    let claims = part(rest);
    let Some(signature) = rest[claims..].strip_prefix(b".") else { return false };
    bytes.starts_with(b"eyJ")
        && rest.starts_with(b"eyJ")
        && header >= 16
        && claims >= 16
        && part(signature) >= 16
}

/// RFC 7468 and OpenPGP: a line that begins a private key.
pub(super) fn private_key(bytes: &[u8]) -> bool {
    // The search is dear to set up, and few texts have five hyphens in a row.
    bytes.iter().step_by(5).any(|b| *b == b'-')
        && memchr::memmem::find_iter(bytes, b"-----BEGIN ").any(|at| {
            let rest = &bytes[at + 11..];
            let line = &rest[..run(rest, |b| b.is_ascii_uppercase() || *b == b' ')];
            line.len() <= 40
                && (line.ends_with(b"PRIVATE KEY") || line.ends_with(b"PRIVATE KEY BLOCK"))
        })
}
