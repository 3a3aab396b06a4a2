//! `redact`: what detectors find is replaced in place, or the whole value by a constant.

mod in_place;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use douane_schemas::leaf::{Leaf, LeafType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::column::Protect;
use crate::detectors::dictionary::{DICTIONARIES_MAX, Dictionary};
use crate::detectors::{Detector, Detectors, Found, Kind};
use crate::domains::Domains;
use crate::fault::{StageFault, TransformFault};
use crate::keyring::Keyring;
use crate::stage::{Declaration, Declared, DictionaryUsed, Guarantees, Produces};
use in_place::Actions;
pub use in_place::{Action, EncryptFinds, TokenizeFinds};

/// What `redact` is.
pub const DECLARATION: Declaration = Declaration {
    verb: "redact",
    summary: "what detectors find is replaced in place, or the whole value by a constant",
    guarantees: Guarantees {
        deterministic: true,
        reversible_with_key: false,
        keeps_length: false,
        keeps_uniqueness: false,
        keeps_order: false,
        joinable: false,
        keeps_nulls: true,
    },
    // 2: telephone numbers of more countries, cards of 12 digits.
    semantics: 2,
    example_yaml: "redact: { columns: [notes], detectors: [email, phone, card, iban] }",
};

/// Most bytes of a constant.
pub const CONSTANT_BYTES_MAX: usize = 64;

/// `redact: { columns: [notes], detectors: [email, phone] }`: one of `detectors` and `constant`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Redact")]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Leaves to redact.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// Kinds that are found and replaced by their names in brackets: `[EMAIL]`, `[PHONE]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detectors: Option<Vec<Detector>>,
    /// Dictionaries of the pipeline's whose entries are found too, each replaced by its name in
    /// brackets: `[STAFF]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dictionaries: Vec<String>,
    /// Kinds, detectors or dictionaries, whose finds become a token or a ciphertext behind the
    /// name: `[EMAIL:…]`. Each in a domain that no column uses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub in_place: BTreeMap<String, Action>,
    /// The text that replaces every value whole; null stays null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub constant: Option<String>,
    /// Those of `dictionaries`, in its order, once they were read.
    #[serde(skip)]
    #[schemars(skip)]
    pub read: Vec<Dictionary>,
    /// Of domains that an override lets finds share with columns: so many in one text at most.
    #[serde(skip)]
    #[schemars(skip)]
    pub shared: BTreeMap<String, u32>,
}

impl Config {
    /// What comes out for a leaf.
    ///
    /// # Errors
    /// Not exactly one of `detectors` and `constant`, a detector twice or none, detectors on
    /// anything but text, a constant over 64 bytes or beside what only finds have; a dictionary
    /// that was not read, an action on a kind that is not looked for, or one that its verb refuses.
    pub fn declare(&self, leaf: &Leaf, domains: &Domains) -> Result<Declared, StageFault> {
        let mut keys = Vec::new();
        let produces = match (&self.detectors, &self.constant) {
            (Some(detectors), None) => {
                // JSON and XML can write a character in ways that no detector reads.
                if leaf.leaf_type != LeafType::Text {
                    return Err(StageFault::LeafType {
                        verb: DECLARATION.verb,
                        found: leaf.leaf_type,
                        expected: "text for detectors; a constant replaces any type",
                    });
                }
                self.check(detectors)?;
                let in_place;
                (in_place, keys) = in_place::declare(&self.in_place, &self.shared, domains)?;
                Produces::Redacted {
                    detectors: detectors.iter().map(|d| d.name().to_owned()).collect(),
                    dictionaries: self.read.iter().map(used).collect(),
                    in_place,
                }
            }
            (None, Some(_)) if !self.in_place.is_empty() || !self.dictionaries.is_empty() => {
                let (key, other) = match self.in_place.is_empty() {
                    true => ("dictionaries", "detectors"),
                    false => ("in_place", "detectors"),
                };
                return Err(StageFault::Beside { key, other });
            }
            (None, Some(text)) if text.len() > CONSTANT_BYTES_MAX => {
                return Err(StageFault::Constant { found: text.len(), most: CONSTANT_BYTES_MAX });
            }
            (None, Some(text)) => Produces::Constant { text: text.clone() },
            (detectors, constant) => {
                return Err(StageFault::ExactlyOne {
                    verb: DECLARATION.verb,
                    expected: "`detectors` and `constant`",
                    found: usize::from(detectors.is_some()) + usize::from(constant.is_some()),
                });
            }
        };
        Ok(Declared { output: LeafType::Text, produces, may_fail: false, keys })
    }

    fn check(&self, detectors: &[Detector]) -> Result<(), StageFault> {
        if detectors.is_empty() {
            return Err(StageFault::Detectors("expected at least one"));
        }
        if detectors.iter().enumerate().any(|(i, d)| detectors[..i].contains(d)) {
            return Err(StageFault::Detectors("one is named twice"));
        }
        let named = |key, name: &str, expected| {
            Err(StageFault::Named { key, name: name.to_owned(), expected })
        };
        if self.dictionaries.len() > DICTIONARIES_MAX {
            return Err(StageFault::Detectors("more than 8 dictionaries"));
        }
        for (at, name) in self.dictionaries.iter().enumerate() {
            if self.dictionaries[..at].contains(name) {
                return named("dictionaries", name, "which stands there twice");
            }
            if self.read.get(at).is_none_or(|read| read.name != *name) {
                return named("dictionaries", name, "which the pipeline's `dictionaries` lack");
            }
        }
        let known = |name: &&String| {
            self.dictionaries.contains(name) || detectors.iter().any(|d| d.name() == name.as_str())
        };
        match self.in_place.keys().find(|name| !known(name)) {
            Some(name) => named("in_place", name, "which the stage does not look for"),
            None => Ok(()),
        }
    }

    /// The compiled redaction.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn build(
        &self,
        domains: &Domains,
        keyring: &Keyring,
    ) -> Result<Arc<dyn Protect>, StageFault> {
        if let Some(text) = &self.constant {
            return Ok(Arc::new(Constant(text.clone())));
        }
        let detectors = self.detectors.as_deref().unwrap_or_default();
        let own = |d: &Detector| (d.name().to_owned(), d.mark().to_owned(), Kind::Detector(*d));
        let read = |(at, dictionary): (u8, &Dictionary)| {
            (dictionary.name.clone(), dictionary.mark(), Kind::Dictionary(at))
        };
        let kinds: Vec<_> =
            detectors.iter().map(own).chain((0..).zip(&self.read).map(read)).collect();
        Ok(Arc::new(Redact {
            detectors: Detectors::with_dictionaries(detectors, &self.read)?,
            marks: self.read.iter().map(Dictionary::mark).collect(),
            actions: Actions::build(&self.in_place, &self.shared, &kinds, domains, keyring)?,
        }))
    }
}

fn used(dictionary: &Dictionary) -> DictionaryUsed {
    DictionaryUsed {
        name: dictionary.name.clone(),
        sha256: dictionary.sha256.clone(),
        ignore_case: dictionary.ignore_case,
        context: dictionary.context.clone(),
    }
}

struct Constant(String);

impl Protect for Constant {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let mut out = StringBuilder::with_capacity(column.len(), column.len() * self.0.len());
        for row in 0..column.len() {
            out.append_option(column.is_valid(row).then_some(&self.0));
        }
        Ok(Arc::new(out.finish()))
    }
}

struct Redact {
    detectors: Detectors,
    /// Of the dictionaries.
    marks: Vec<String>,
    actions: Actions,
}

impl Protect for Redact {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let texts = column.as_string::<i32>();
        if !self.actions.is_empty() {
            return Ok(Arc::new(self.in_place(texts)?));
        }
        let mut out = StringBuilder::with_capacity(texts.len(), texts.values().len());
        let mut text = String::new();
        for value in texts {
            let Some(value) = value else {
                out.append_null();
                continue;
            };
            text.clear();
            let mut copied = 0;
            self.detectors.scan(value, |found| {
                text.push_str(&value[copied..found.start]);
                text.push_str(self.mark(found.kind));
                copied = found.end;
            });
            if copied == 0 {
                out.append_value(value);
                continue;
            }
            text.push_str(&value[copied..]);
            out.append_value(&text);
        }
        Ok(Arc::new(out.finish()))
    }
}

/// A find of a row, and what is done with it: an action and the number of the find among its own.
struct Place {
    row: usize,
    found: Found,
    action: Option<(usize, usize)>,
}

impl Redact {
    fn mark(&self, kind: Kind) -> &str {
        match kind {
            Kind::Detector(detector) => detector.mark(),
            Kind::Dictionary(at) => &self.marks[usize::from(at)],
        }
    }

    /// Finds of the whole column first, so that each action sees its own as one column.
    fn in_place(&self, texts: &StringArray) -> Result<StringArray, TransformFault> {
        let mut places: Vec<Place> = Vec::new();
        let mut finds: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (row, value) in texts.iter().enumerate() {
            let Some(value) = value else { continue };
            let mut counter = self.actions.count();
            self.detectors.scan(value, |found| {
                let action = counter.action(found.kind).map(|action| {
                    let finds = finds.entry(action).or_default();
                    finds.push(&value[found.start..found.end]);
                    (action, finds.len() - 1)
                });
                places.push(Place { row, found, action });
            });
        }
        let made: BTreeMap<usize, StringArray> = finds
            .iter()
            .map(|(action, finds)| Ok((*action, self.actions.apply(*action, finds)?)))
            .collect::<Result<_, TransformFault>>()?;
        let pseudonym = |(action, number): (usize, usize)| {
            let made = made.get(&action).filter(|made| made.is_valid(number))?;
            Some((self.actions.opening(action), made.value(number)))
        };

        let mut out = StringBuilder::with_capacity(texts.len(), texts.values().len());
        let mut text = String::new();
        let mut places = places.into_iter().peekable();
        for (row, value) in texts.iter().enumerate() {
            let Some(value) = value else {
                out.append_null();
                continue;
            };
            text.clear();
            let mut copied = 0;
            while let Some(Place { found, action, .. }) = places.next_if(|place| place.row == row) {
                self.actions.copy(&value[copied..found.start], &mut text);
                copied = found.end;
                match action.and_then(pseudonym) {
                    Some((opening, made)) => {
                        text.push_str(opening);
                        text.push_str(made);
                        text.push(']');
                    }
                    None => text.push_str(self.mark(found.kind)),
                }
            }
            self.actions.copy(&value[copied..], &mut text);
            out.append_value(&text);
        }
        Ok(out.finish())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;
    use crate::conformance::keyring;

    fn parsed(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    fn domains() -> Domains {
        let of = r#"{"domains":{"mail":{"normalize":"email"},"card":{},
            "called":{"normalize":"e164"},"per":{"algorithm":"aes_siv","key_per":"after.id"},
            "padded":{"algorithm":"aes_siv","pad_to":128},
            "long":{"algorithm":"aes_siv","pad_to":256}}}"#;
        serde_json::from_str(of).unwrap()
    }

    fn redacted(config: &Config, texts: &[&str]) -> Vec<String> {
        let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let out = config.build(&domains(), &keyring()).unwrap().apply(&column).unwrap();
        out.as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect()
    }

    fn leaf(leaf_type: LeafType) -> Leaf {
        Leaf { path: "c".into(), leaf_type }
    }

    #[test]
    fn replaces_in_place() {
        let config = parsed(r#"{"columns":["n"],"detectors":["email","phone","card","iban"]}"#);
        let column: ArrayRef = Arc::new(StringArray::from(vec![
            Some("mail ada@example.com or call +1 202 555 0123, übermorgen"),
            None,
            Some("nothing here"),
            Some("4111 1111 1111 1111 DE89 3704 0044 0532 0130 00"),
            Some(""),
        ]));
        let out = config.build(&domains(), &keyring()).unwrap().apply(&column).unwrap();
        let found: Vec<_> = out.as_string::<i32>().iter().collect();
        let expected = [
            Some("mail [EMAIL] or call [PHONE], übermorgen"),
            None,
            Some("nothing here"),
            Some("[CARD] [IBAN]"),
            Some(""),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn only_the_named_kinds() {
        let config = parsed(r#"{"columns":["n"],"detectors":["email"]}"#);
        let column: ArrayRef = Arc::new(StringArray::from(vec!["a@b.de +12025550123"]));
        let out = config.build(&domains(), &keyring()).unwrap().apply(&column).unwrap();
        assert_eq!(out.as_string::<i32>().value(0), "[EMAIL] +12025550123");
    }

    #[test]
    fn a_constant_replaces_any_type() {
        let config = parsed(r#"{"columns":["n"],"constant":"[NAME]"}"#);
        let declared = config.declare(&leaf(LeafType::Int64), &domains()).unwrap();
        assert_eq!(declared.produces, Produces::Constant { text: "[NAME]".into() });
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let out = config.build(&domains(), &keyring()).unwrap().apply(&column).unwrap();
        let found: Vec<_> = out.as_string::<i32>().iter().collect();
        assert_eq!(found, [Some("[NAME]"), None]);
    }

    #[test]
    fn stages_bad_choice_bad_detectors_bad_constant_bad_type() {
        let refused =
            |json: &str| parsed(json).declare(&leaf(LeafType::Text), &domains()).unwrap_err();
        assert!(matches!(refused(r#"{"columns":[]}"#), StageFault::ExactlyOne { found: 0, .. }));
        assert!(matches!(
            refused(r#"{"columns":[],"constant":"x","detectors":["email"]}"#),
            StageFault::ExactlyOne { found: 2, .. }
        ));
        for bad in ["[]", r#"["email","email"]"#] {
            let json = format!(r#"{{"columns":[],"detectors":{bad}}}"#);
            assert!(matches!(refused(&json), StageFault::Detectors(_)), "{bad}");
        }
        let long = format!(r#"{{"columns":[],"constant":"{}"}}"#, "x".repeat(65));
        assert_eq!(refused(&long), StageFault::Constant { found: 65, most: 64 });
        let config = parsed(r#"{"columns":[],"detectors":["email"]}"#);
        assert!(config.declare(&leaf(LeafType::Json), &domains()).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"columns":[],"detectors":["Names"]}"#).is_err());
    }

    const IN_PLACE: &str = r#"{"columns":["n"],"detectors":["email","phone","card"],"in_place":{
        "email":{"tokenize":{"domain":"mail"}},
        "phone":{"tokenize":{"domain":"called"}},
        "card":{"fpe":{"alphabet":"digits","domain":"card"}}}}"#;

    /// What stands behind `[KIND:` in each text.
    fn inside(text: &str, opening: &str) -> Vec<String> {
        let parts = text.split(opening).skip(1);
        parts.map(|part| part.split(']').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn finds_become_what_the_verbs_make_of_them() {
        let config = parsed(IN_PLACE);
        let out = redacted(
            &config,
            &["ADA@example.com or ada@example.com, 4111 1111 1111 1111", "", "ada@example.com"],
        );
        let tokens = inside(&out[0], "[EMAIL:");
        assert!(tokens.len() == 2 && tokens[0] == tokens[1], "{}", out[0]);
        assert_eq!(inside(&out[2], "[EMAIL:"), tokens[..1]);
        assert_eq!(out[1], "");
        // As the verbs on a column of such values.
        let tokenize = tokenize_of("ada@example.com");
        assert_eq!(tokens[0], tokenize);
        let card = &inside(&out[0], "[CARD:")[0];
        assert!(
            card.len() == 19 && card != "4111 1111 1111 1111" && card.matches(' ').count() == 3
        );
        let expected = format!("[EMAIL:{tokenize}] or [EMAIL:{tokenize}], [CARD:{card}]");
        assert_eq!(out[0], expected);
        assert_eq!(
            redacted(&config, &["ada@example.com"])[0],
            out[2],
            "batches make no difference"
        );
    }

    fn tokenize_of(text: &str) -> String {
        let json = r#"{"columns":["c"],"domain":"mail"}"#;
        let verb: crate::tokenize::Config = serde_json::from_str(json).unwrap();
        let column: ArrayRef = Arc::new(StringArray::from(vec![text]));
        let built = verb.build(&leaf(LeafType::Text), &domains(), &keyring()).unwrap();
        built.apply(&column).unwrap().as_string::<i32>().value(0).to_owned()
    }

    /// A number without its country has no token; one of more characters than a token holds, none.
    #[test]
    fn finds_that_the_domain_refuses_are_marked() {
        let out = redacted(&parsed(IN_PLACE), &["030 1234567 or +49 30 1234567", "+49 30 1234567"]);
        let token = &inside(&out[1], "[PHONE:")[0];
        assert_eq!(out[0], format!("[PHONE] or [PHONE:{token}]"));
    }

    /// Whoever wrote a text may have written a pseudonym into it.
    #[test]
    fn openings_of_the_raw_text_become_marks() {
        let config = parsed(IN_PLACE);
        let out = redacted(
            &config,
            &["[EMAIL:kfzbyk2l2nzpahrwr6ghj7bvqq] [IBAN:x] [", "[EMAIL:ada@example.com]"],
        );
        assert_eq!(out[0], "[EMAIL]kfzbyk2l2nzpahrwr6ghj7bvqq] [IBAN:x] [");
        assert_eq!(out[1], format!("[EMAIL][EMAIL:{}]]", tokenize_of("ada@example.com")));
    }

    #[test]
    fn finds_beyond_the_limit_of_a_shared_domain_are_marked() {
        let mut config = parsed(IN_PLACE);
        config.in_place.insert("phone".into(), config.in_place["email"].clone());
        config.shared = BTreeMap::from([("mail".to_owned(), 2)]);
        let out =
            redacted(&config, &["a@b.de +4930123456 c@d.de e@f.de", "g@h.de", "4111111111111111"]);
        let of = |opening: &str| inside(&out[0], opening).len();
        assert_eq!((of("[EMAIL:"), of("[PHONE:")), (1, 1), "{}", out[0]);
        assert!(out[0].ends_with("[EMAIL] [EMAIL]"), "kinds of one domain count together");
        assert!(out[1].starts_with("[EMAIL:"), "each text by itself");
        assert!(out[2].starts_with("[CARD:"), "other domains have no limit");
    }

    #[test]
    fn dictionaries_are_kinds() {
        let mut config = parsed(
            r#"{"columns":["n"],"detectors":["email"],"dictionaries":["staff"],
                "in_place":{"staff":{"tokenize":{"domain":"mail"}}}}"#,
        );
        let read = Dictionary::parse("staff", "Ada Lovelace\n", true, Vec::new()).unwrap();
        config.read = vec![read];
        let out = redacted(&config, &["ADA LOVELACE, ada lovelace, a@b.de"]);
        let tokens = inside(&out[0], "[STAFF:");
        assert!(tokens.len() == 2 && tokens[0] == tokens[1] && out[0].ends_with(", [EMAIL]"));
        config.in_place.clear();
        assert_eq!(redacted(&config, &["ADA LOVELACE"])[0], "[STAFF]");
        let Produces::Redacted { dictionaries, .. } =
            config.declare(&leaf(LeafType::Text), &domains()).unwrap().produces
        else {
            panic!("no redaction")
        };
        assert_eq!(dictionaries[0].sha256.len(), 64);
    }

    /// The longest name, the shortest entries and the widest padding that are taken: 20 MiB of them,
    /// which is more than a batch holds, fit a column, which has 2^31 bytes.
    #[test]
    fn what_comes_of_a_batch_of_finds_fits_a_column() {
        let name = "s".repeat(32);
        let place = format!("\"{name}\":{{\"tokenize\":{{\"domain\":\"padded\"}}}}");
        let mut config = parsed(&format!(
            r#"{{"columns":["n"],"detectors":["email"],"dictionaries":["{name}"],
                "in_place":{{{place}}}}}"#
        ));
        let read = Dictionary::parse(&name, "Qxz\n", false, Vec::new()).unwrap();
        config.read = vec![read];
        let raw = "Qxz ".repeat(1 << 12);
        let out = redacted(&config, &[&raw]);
        assert_eq!(out[0].matches(&format!("[{}:", name.to_uppercase())).count(), 1 << 12);
        let largest = out[0].len() as u64 / raw.len() as u64 * (20 << 20);
        assert!((1 << 30..1 << 31).contains(&largest), "{largest}");
    }

    #[test]
    fn stages_bad_kind_bad_dictionary_bad_bracket_bad_constant() {
        let refused = |json: &str| {
            parsed(json).declare(&leaf(LeafType::Text), &domains()).unwrap_err().to_string()
        };
        for (more, expected) in [
            (r#""in_place":{"card":{"tokenize":{"domain":"mail"}}}"#, "does not look for"),
            (r#""in_place":{"email":{"tokenize":{"domain":"nobody"}}}"#, "does not hold"),
            (r#""dictionaries":["staff"]"#, "`dictionaries` lack"),
            (r#""in_place":{"email":{"tokenize":{"domain":"per"}}}"#, "whose a find"),
            (r#""in_place":{"email":{"tokenize":{"domain":"long"}}}"#, "at most 128"),
            (
                r#""in_place":{"email":{"fpe":{"alphabet":{"custom":"0123456789[]"},"domain":"card"}}}"#,
                "brackets",
            ),
        ] {
            let found = refused(&format!(r#"{{"columns":[],"detectors":["email"],{more}}}"#));
            assert!(found.contains(expected), "{found}");
        }
        for key in [
            r#""dictionaries":["staff"]"#,
            r#""in_place":{"email":{"tokenize":{"domain":"mail"}}}"#,
        ] {
            let found = refused(&format!(r#"{{"columns":[],"constant":"x",{key}}}"#));
            assert!(found.contains("stands without `detectors`"), "{found}");
        }
    }
}
