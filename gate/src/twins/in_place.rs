//! Pseudonyms inside a redacted text: `[EMAIL:kfzbyk2l2nzpahrwr6ghj7bvqq]`.
//!
//! What was encrypted is opened, and must stand in the raw text where it was taken from. Of tokens
//! the gate has no key: it holds their form and number, and that none stands in the raw text. For
//! its scanners each pseudonym is its kind's mark.

use std::borrow::Cow;
use std::collections::HashSet;

use douane_ledger::release::{InPlace, Shape};

use crate::GateKeys;
use crate::forms::{Form, Reversible};
use crate::refusal::RefusalReason;
use crate::twins::fpe::{Fpe, FpeParameters};

/// Longest pseudonym: a reversible token of the largest bucket.
const BYTES_MAX: usize = 128 << 10;
/// The shortest token, of base62 and base64url. The first bytes of a longer one tell it as well.
const TOKEN_BYTES_LEAST: usize = 22;

/// Kinds of one column whose finds are pseudonyms.
pub(crate) struct Pseudonyms {
    kinds: Vec<Kind>,
    /// Of domains that columns have too: so many in one text at most.
    limits: Vec<(String, usize)>,
}

struct Kind {
    /// `[EMAIL:`
    opening: String,
    /// `[EMAIL]`
    mark: String,
    made: Made,
    /// Which of the limits counts it.
    limit: Option<usize>,
}

enum Made {
    Token(Form),
    Reversible(Reversible),
    Fpe(Box<Fpe>),
}

/// A redacted text, taken apart.
pub(crate) struct Read<'t> {
    /// Each pseudonym as its mark.
    pub(crate) marked: Cow<'t, str>,
    /// Each token as its mark, each ciphertext as what was encrypted.
    pub(crate) opened: Cow<'t, str>,
    /// The first bytes of each token.
    tokens: HashSet<&'t [u8]>,
}

impl Read<'_> {
    /// Whether a token stands in the raw text: then nothing was made, or somebody had it before.
    pub(crate) fn shows(&self, raw: &str) -> bool {
        let shown = |part: &[u8]| self.tokens.contains(part);
        !self.tokens.is_empty() && raw.as_bytes().windows(TOKEN_BYTES_LEAST).any(shown)
    }
}

impl Pseudonyms {
    /// `label` gives the mark of a kind that the column looks for. `None` for another kind, one
    /// that is named twice, a shape that is no pseudonym, keeps something of the value or has a key
    /// that is not there.
    pub(crate) fn new(
        places: &[InPlace],
        keys: &GateKeys,
        label: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        let mut all = Self { kinds: Vec::new(), limits: Vec::new() };
        for InPlace { kind, shape, most } in places {
            let mark = label(kind)?;
            let opening = format!("{}:", mark.strip_suffix(']')?);
            if all.kinds.iter().any(|other| other.mark == mark) {
                return None;
            }
            let (domain, made) = made(shape, keys)?;
            let limit = match most {
                None => None,
                Some(most) => Some(all.limit(domain, *most as usize)?),
            };
            all.kinds.push(Kind { opening, mark, made, limit });
        }
        Some(all)
    }

    /// One domain has one limit.
    fn limit(&mut self, domain: &str, most: usize) -> Option<usize> {
        if let Some(at) = self.limits.iter().position(|(other, _)| other == domain) {
            return (self.limits[at].1 == most).then_some(at);
        }
        self.limits.push((domain.to_owned(), most));
        Some(self.limits.len() - 1)
    }

    /// Takes a text apart.
    ///
    /// # Errors
    /// Something in a pseudonym's place that is none, or more of them than the release allows.
    pub(crate) fn read<'t>(&self, text: &'t str) -> Result<Read<'t>, RefusalReason> {
        if self.kinds.is_empty() {
            let whole = Cow::Borrowed(text);
            return Ok(Read { marked: whole.clone(), opened: whole, tokens: HashSet::new() });
        }
        let (mut marked, mut opened) = (String::new(), String::new());
        let mut tokens = HashSet::new();
        let mut left: Vec<usize> = self.limits.iter().map(|(_, most)| *most).collect();
        let mut copied = 0;
        for (open, _) in text.match_indices('[') {
            let rest = &text[open..];
            let kind = self.kinds.iter().find(|kind| rest.starts_with(&kind.opening));
            // No pseudonym holds a bracket, so none begins inside another.
            let Some(kind) = kind else { continue };
            let inside = &rest[kind.opening.len()..];
            let close = inside.bytes().take(BYTES_MAX).position(|byte| byte == b']');
            let inside = &inside[..close.ok_or(RefusalReason::Redaction)?];
            for out in [&mut marked, &mut opened] {
                out.push_str(&text[copied..open]);
            }
            marked.push_str(&kind.mark);
            match &kind.made {
                Made::Fpe(fpe) => {
                    opened.push_str(&fpe.opened(inside).ok_or(RefusalReason::Redaction)?);
                }
                Made::Token(form) if form.holds(inside) => opened.push_str(&kind.mark),
                Made::Reversible(token) if token.bytes(inside).is_some() => {
                    opened.push_str(&kind.mark);
                }
                Made::Token(_) | Made::Reversible(_) => return Err(RefusalReason::Redaction),
            }
            if !matches!(kind.made, Made::Fpe(_)) {
                tokens.extend(inside.as_bytes().get(..TOKEN_BYTES_LEAST));
            }
            if let Some(limit) = kind.limit {
                left[limit] = left[limit].checked_sub(1).ok_or(RefusalReason::TooManyFinds)?;
            }
            copied = open + kind.opening.len() + inside.len() + 1;
        }
        for out in [&mut marked, &mut opened] {
            out.push_str(&text[copied..]);
        }
        Ok(Read { marked: Cow::Owned(marked), opened: Cow::Owned(opened), tokens })
    }
}

fn made<'s>(shape: &'s Shape, keys: &GateKeys) -> Option<(&'s str, Made)> {
    match shape {
        Shape::Token { form, domain, pad_to, key_per: None } if !domain.is_empty() => {
            let form = Form::named(form)?;
            let made = match pad_to {
                None => Made::Token(form),
                Some(pad_to) => Made::Reversible(Reversible::new(form, *pad_to, false)?),
            };
            Some((domain, made))
        }
        Shape::Fpe {
            alphabet,
            keep_first: 0,
            keep_last: 0,
            separators,
            domain,
            context,
            length_min,
            check_digit: None,
        } if !alphabet.contains(['[', ']']) && !separators.contains(['[', ']']) => {
            let parameters = FpeParameters {
                alphabet,
                keep_first: 0,
                keep_last: 0,
                separators,
                domain,
                context,
                length_min: *length_min,
                check_digit: None,
            };
            Some((domain, Made::Fpe(Box::new(Fpe::new(&parameters, keys.ff1.get(domain)?)?))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::keys;

    fn place(kind: &str, shape: Shape, most: Option<u32>) -> InPlace {
        InPlace { kind: kind.to_owned(), shape, most }
    }

    fn token() -> Shape {
        Shape::Token { form: "base32".into(), domain: "d".into(), pad_to: None, key_per: None }
    }

    fn fpe(keep_first: u32, alphabet: &str) -> Shape {
        Shape::Fpe {
            alphabet: alphabet.into(),
            keep_first,
            keep_last: 0,
            separators: " -".into(),
            domain: "phone".into(),
            context: String::new(),
            length_min: 6,
            check_digit: None,
        }
    }

    fn made_of(places: &[InPlace]) -> Option<Pseudonyms> {
        let label = |name: &str| {
            ["email", "card"].contains(&name).then(|| format!("[{}]", name.to_uppercase()))
        };
        Pseudonyms::new(places, &keys(), label)
    }

    fn both() -> Pseudonyms {
        made_of(&[place("email", token(), None), place("card", fpe(0, "0123456789"), None)])
            .unwrap()
    }

    const TOKEN: &str = "kfzbyk2l2nzpahrwr6ghj7bvqq";

    #[test]
    fn pseudonyms_become_marks_or_what_was_encrypted() {
        let text = format!("a [EMAIL:{TOKEN}] b [EMAIL] c [CARD:1234 5678-9012] [x]");
        let kinds = both();
        let read = kinds.read(&text).unwrap();
        assert_eq!(read.marked, "a [EMAIL] b [EMAIL] c [CARD] [x]");
        let (before, rest) = read.opened.split_at("a [EMAIL] b [EMAIL] c ".len());
        assert_eq!(before, "a [EMAIL] b [EMAIL] c ");
        assert!(rest.len() == 18 && rest.ends_with(" [x]") && &rest[4..5] == " ");
        assert!(!rest.starts_with("1234 5678-9012"));
        assert!(read.shows(&format!("x {TOKEN}")) && !read.shows(&TOKEN[1..]));
        let none = made_of(&[]).unwrap();
        assert_eq!(none.read(&text).unwrap().marked, text);
    }

    #[test]
    fn pseudonyms_bad_form_bad_length_bad_end() {
        for text in [
            "[EMAIL:ada@example.com]",
            "[EMAIL:kfzbyk2l2nzpahrwr6ghj7bvq]",
            "[EMAIL:kfzbyk2l2nzpahrwr6ghj7bvqq",
            "[CARD:12345]",
            "[CARD:1234567x]",
            "[CARD:]",
        ] {
            let found = both().read(text).map(|read| read.marked.into_owned());
            assert_eq!(found, Err(RefusalReason::Redaction), "{text}");
        }
    }

    #[test]
    fn more_than_the_release_allows_are_refused() {
        let kinds = made_of(&[place("email", token(), Some(2)), place("card", token(), Some(2))]);
        let kinds = kinds.unwrap();
        let text = |count: usize| format!("[EMAIL:{TOKEN}] ").repeat(count);
        assert!(kinds.read(&text(2)).is_ok());
        let refused = |text: &str| kinds.read(text).map(|_| ());
        assert_eq!(refused(&text(3)), Err(RefusalReason::TooManyFinds));
        let mixed = format!("{}[CARD:{TOKEN}]", text(2));
        assert_eq!(refused(&mixed), Err(RefusalReason::TooManyFinds), "one domain, one limit");
    }

    #[test]
    fn releases_bad_kind_bad_shape_bad_limit_bad_key() {
        for bad in [
            &[place("shoe_size", token(), None)][..],
            &[place("card", fpe(1, "0123456789"), None)],
            &[place("card", fpe(0, "0123456789[]"), None)],
            &[place("card", Shape::Public, None)],
            &[place("email", token(), None), place("email", token(), None)],
            &[place("email", token(), Some(1)), place("card", token(), Some(2))],
        ] {
            assert!(made_of(bad).is_none());
        }
        let mut other = fpe(0, "0123456789");
        if let Shape::Fpe { domain, .. } = &mut other {
            *domain = "nobody".into();
        }
        assert!(made_of(&[place("card", other, None)]).is_none());
    }
}
