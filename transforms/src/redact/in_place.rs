//! What is done with finds of a kind in place of the mark: a token or a ciphertext, in brackets
//! behind the kind's name: `[EMAIL:kfzbyk2l2nzpahrwr6ghj7bvqq]`.
//!
//! The brackets say where it begins and ends: whoever reads the text can tell a pseudonym from
//! something that was overlooked, and the gate can hold it to its form. What the raw text has of
//! such an opening becomes the mark, so every pseudonym outside was made here.
//!
//! Its domain is one of its own: a row's author who reads the target could else ask what the token
//! of any value of a column is, by writing that value into a text. Where an override shares a
//! column's domain, a text holds so many of its pseudonyms at most; finds beyond are marked.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use douane_schemas::keys::Purpose;
use douane_schemas::leaf::{Leaf, LeafType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::alphabet::Alphabet;
use crate::column::Protect;
use crate::detectors::Kind;
use crate::domains::Domains;
use crate::fault::{StageFault, TransformFault};
use crate::keep::Keep;
use crate::keyring::Keyring;
use crate::on_bad::OnBad;
use crate::stage::{Declared, InPlace, Produces};
use crate::{fpe, tokenize};

/// The largest `pad_to` of a domain of finds. The shortest find is three characters and a space, and a
/// column of Arrow has at most 2^31 bytes: so a record of 16 MiB beside 4 MiB of others, all of them
/// finds, comes out 67 times as long at most.
const PAD_TO_MAX: u32 = 128;

/// `{ tokenize: { domain: notes_email } }` or `{ fpe: { alphabet: digits, domain: notes_card } }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "InPlace")]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A token of a domain that no column uses.
    Tokenize(TokenizeFinds),
    /// Format-preserving encryption under a domain that no column uses.
    Fpe(EncryptFinds),
}

/// `tokenize: { domain: notes_email }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizeFinds {
    /// A domain of the domains' file, with a `pad_to` of at most 128. A find that its normaliser
    /// refuses is marked.
    pub domain: String,
}

/// `fpe: { alphabet: digits, domain: notes_card }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncryptFinds {
    /// Characters that are encrypted, `[` and `]` not among them. A find with a character that is
    /// neither of these nor one of ` -./()+`, or with fewer than 10^6 values, is marked.
    pub alphabet: Alphabet,
    /// A domain of the domains' file: it fixes the key.
    pub domain: String,
}

impl Action {
    /// The domain that it makes its pseudonyms in.
    pub fn domain(&self) -> &str {
        match self {
            Self::Tokenize(config) => &config.domain,
            Self::Fpe(config) => &config.domain,
        }
    }

    /// What comes out, and the keys that it takes.
    ///
    /// # Errors
    /// As the verb's own; a domain with a key per subject or a large `pad_to`; a bracket in the
    /// alphabet.
    fn declare(&self, domains: &Domains) -> Result<Declared, StageFault> {
        match self {
            Self::Tokenize(config) => {
                let declared = config.verb().declare(&find(), domains)?;
                if let Produces::Token { pad_to: Some(pad_to), .. } = &declared.produces
                    && *pad_to > PAD_TO_MAX
                {
                    return Err(StageFault::FindsPadded {
                        domain: config.domain.clone(),
                        pad_to: *pad_to,
                        most: PAD_TO_MAX,
                    });
                }
                match declared.key_per() {
                    None => Ok(declared),
                    Some(leaf) => Err(StageFault::KeyPer {
                        domain: config.domain.clone(),
                        leaf: leaf.to_owned(),
                        why: "and nobody knows whose a find in a text is",
                    }),
                }
            }
            Self::Fpe(config) if config.alphabet.characters().contains(['[', ']']) => {
                Err(StageFault::Alphabet("brackets stand around what is encrypted in place"))
            }
            Self::Fpe(config) => config.verb().declare(&find(), domains),
        }
    }

    fn build(&self, domains: &Domains, keyring: &Keyring) -> Result<Arc<dyn Protect>, StageFault> {
        match self {
            Self::Tokenize(config) => config.verb().build(&find(), domains, keyring),
            Self::Fpe(config) => config.verb().build(&find(), domains, keyring),
        }
    }
}

/// A find, as the verbs see it: text.
fn find() -> Leaf {
    Leaf { path: "find".to_owned(), leaf_type: LeafType::Text }
}

impl TokenizeFinds {
    fn verb(&self) -> tokenize::Config {
        let on_bad = OnBad::Refuse;
        tokenize::Config { columns: Vec::new(), domain: self.domain.clone(), on_bad }
    }
}

impl EncryptFinds {
    fn verb(&self) -> fpe::Config {
        fpe::Config {
            columns: Vec::new(),
            alphabet: self.alphabet.clone(),
            domain: self.domain.clone(),
            keep: Keep::default(),
            separators: None,
            context: String::new(),
            length_min: None,
            check_digit: None,
            on_bad: OnBad::Refuse,
        }
    }
}

/// What comes out for each kind, and the keys that it takes. `shared`: domains of columns, and how
/// many pseudonyms of each one text may hold.
///
/// # Errors
/// As the verbs' own.
pub(super) fn declare(
    actions: &BTreeMap<String, Action>,
    shared: &BTreeMap<String, u32>,
    domains: &Domains,
) -> Result<(Vec<InPlace>, Vec<(Purpose, String)>), StageFault> {
    let (mut places, mut keys) = (Vec::new(), Vec::new());
    for (kind, action) in actions {
        let declared = action.declare(domains)?;
        let most = shared.get(action.domain()).copied();
        places.push(InPlace { kind: kind.clone(), produces: declared.produces, most });
        keys.extend(declared.keys);
    }
    keys.sort_by(|a, b| (a.0.label(), &a.1).cmp(&(b.0.label(), &b.1)));
    keys.dedup();
    Ok((places, keys))
}

/// The compiled actions.
pub(super) struct Actions {
    acts: Vec<Act>,
    /// Pseudonyms that one text may hold of each shared domain.
    limits: Vec<usize>,
}

struct Act {
    kind: Kind,
    /// `[EMAIL:`
    opening: String,
    protect: Arc<dyn Protect>,
    /// Which of the limits counts it.
    limit: Option<usize>,
}

impl Actions {
    /// Compiles them. `kinds`: each kind of the stage with its name and mark.
    ///
    /// # Errors
    /// As the verbs' own.
    pub(super) fn build(
        actions: &BTreeMap<String, Action>,
        shared: &BTreeMap<String, u32>,
        kinds: &[(String, String, Kind)],
        domains: &Domains,
        keyring: &Keyring,
    ) -> Result<Self, StageFault> {
        let mut acts = Vec::new();
        for (name, mark, kind) in kinds {
            let Some(action) = actions.get(name) else { continue };
            acts.push(Act {
                kind: *kind,
                opening: format!("{}:", mark.trim_end_matches(']')),
                protect: action.build(domains, keyring)?,
                limit: shared.keys().position(|domain| domain == action.domain()),
            });
        }
        Ok(Self { acts, limits: shared.values().map(|most| *most as usize).collect() })
    }

    /// None: finds are marked.
    pub(super) fn is_empty(&self) -> bool {
        self.acts.is_empty()
    }

    /// Counts the finds of one text.
    pub(super) fn count(&self) -> Counter<'_> {
        Counter { actions: self, left: self.limits.clone() }
    }

    /// What stands in place of each find of one action, in order; null: the mark.
    ///
    /// # Errors
    /// A fault that is no find's.
    pub(super) fn apply(
        &self,
        action: usize,
        finds: &[&str],
    ) -> Result<StringArray, TransformFault> {
        let protect = &self.acts[action].protect;
        let column: ArrayRef = Arc::new(StringArray::from(finds.to_vec()));
        if let Ok(whole) = protect.apply(&column) {
            return Ok(whole.as_string::<i32>().clone());
        }
        // Some find cannot be taken: each by itself.
        let one = |at: usize| match protect.apply(&column.slice(at, 1)) {
            Ok(one) => {
                let one = one.as_string::<i32>();
                Ok(one.is_valid(0).then(|| one.value(0).to_owned()))
            }
            Err(TransformFault::KeysAway) => Err(TransformFault::KeysAway),
            Err(_) => Ok(None),
        };
        (0..column.len()).map(one).collect()
    }

    /// `[EMAIL:`
    pub(super) fn opening(&self, action: usize) -> &str {
        &self.acts[action].opening
    }

    /// Copies a stretch that stays. What a pseudonym begins with becomes the mark.
    pub(super) fn copy(&self, stretch: &str, out: &mut String) {
        let mut copied = 0;
        for open in memchr::memchr_iter(b'[', stretch.as_bytes()) {
            let begins = |act: &&Act| stretch[open..].starts_with(&act.opening);
            if let Some(act) = self.acts.iter().find(begins) {
                out.push_str(&stretch[copied..open]);
                out.push_str(&act.opening[..act.opening.len() - 1]);
                out.push(']');
                copied = open + act.opening.len();
            }
        }
        out.push_str(&stretch[copied..]);
    }
}

/// What is left of each limit in one text.
pub(super) struct Counter<'a> {
    actions: &'a Actions,
    left: Vec<usize>,
}

impl Counter<'_> {
    /// What is done with the next find of the text; `None`: it is marked.
    pub(super) fn action(&mut self, kind: Kind) -> Option<usize> {
        let action = self.actions.acts.iter().position(|act| act.kind == kind)?;
        if let Some(limit) = self.actions.acts[action].limit {
            self.left[limit] = self.left[limit].checked_sub(1)?;
        }
        Some(action)
    }
}
