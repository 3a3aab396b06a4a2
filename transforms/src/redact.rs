//! `redact`: what detectors find is replaced in place, or the whole value by a constant.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use douane_schemas::leaf::{Leaf, LeafType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::column::Protect;
use crate::detectors::{Detector, Detectors};
use crate::fault::{StageFault, TransformFault};
use crate::stage::{Declaration, Declared, Guarantees, Produces};

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
    /// The text that replaces every value whole; null stays null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub constant: Option<String>,
}

impl Config {
    /// What comes out for a leaf.
    ///
    /// # Errors
    /// Not exactly one of `detectors` and `constant`, a detector twice or none, detectors on
    /// anything but text, a constant over 64 bytes.
    pub fn declare(&self, leaf: &Leaf) -> Result<Declared, StageFault> {
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
                if detectors.is_empty() {
                    return Err(StageFault::Detectors("expected at least one"));
                }
                if detectors.iter().enumerate().any(|(i, d)| detectors[..i].contains(d)) {
                    return Err(StageFault::Detectors("one is named twice"));
                }
                let names = detectors.iter().map(|d| d.name().to_owned()).collect();
                Produces::Redacted { detectors: names }
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
        Ok(Declared { output: LeafType::Text, produces, may_fail: false, keys: Vec::new() })
    }

    /// The compiled redaction.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn build(&self) -> Result<Arc<dyn Protect>, StageFault> {
        if let Some(text) = &self.constant {
            return Ok(Arc::new(Constant(text.clone())));
        }
        Ok(Arc::new(Redact(Detectors::new(self.detectors.as_deref().unwrap_or_default())?)))
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

struct Redact(Detectors);

impl Protect for Redact {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let texts = column.as_string::<i32>();
        let mut out = StringBuilder::with_capacity(texts.len(), texts.values().len());
        let mut text = String::new();
        for value in texts {
            let Some(value) = value else {
                out.append_null();
                continue;
            };
            text.clear();
            let mut copied = 0;
            self.0.scan(value, |found| {
                text.push_str(&value[copied..found.start]);
                text.push_str(found.detector.mark());
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

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn parsed(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
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
        let out = config.build().unwrap().apply(&column).unwrap();
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
        let out = config.build().unwrap().apply(&column).unwrap();
        assert_eq!(out.as_string::<i32>().value(0), "[EMAIL] +12025550123");
    }

    #[test]
    fn a_constant_replaces_any_type() {
        let config = parsed(r#"{"columns":["n"],"constant":"[NAME]"}"#);
        let declared = config.declare(&leaf(LeafType::Int64)).unwrap();
        assert_eq!(declared.produces, Produces::Constant { text: "[NAME]".into() });
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let out = config.build().unwrap().apply(&column).unwrap();
        let found: Vec<_> = out.as_string::<i32>().iter().collect();
        assert_eq!(found, [Some("[NAME]"), None]);
    }

    #[test]
    fn stages_bad_choice_bad_detectors_bad_constant_bad_type() {
        let refused = |json: &str| parsed(json).declare(&leaf(LeafType::Text)).unwrap_err();
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
        assert!(config.declare(&leaf(LeafType::Json)).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"columns":[],"detectors":["Names"]}"#).is_err());
    }
}
