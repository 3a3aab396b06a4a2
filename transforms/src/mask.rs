//! `mask`: a fill sign in place of every character but at most four, and of every character of a
//! value that has fewer than twice as many as are kept: no mask shows more than half of a value.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use douane_schemas::leaf::{Leaf, LeafType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::column::{Protect, each_text};
use crate::fault::{StageFault, TransformFault};
use crate::keep::Keep;
use crate::stage::{Declaration, Declared, Guarantees, Produces};

/// What `mask` is.
pub const DECLARATION: Declaration = Declaration {
    verb: "mask",
    summary: "a fill sign in place of every character but at most four",
    guarantees: Guarantees {
        deterministic: true,
        reversible_with_key: false,
        keeps_length: true,
        keeps_uniqueness: false,
        keeps_order: false,
        joinable: false,
        keeps_nulls: true,
    },
    semantics: 2,
    example_yaml: "mask: { columns: [card_number], keep: { last: 4 } }",
};

/// Most characters that a mask keeps, at both ends together.
pub const KEPT_CHARS_MAX: u32 = 4;

/// `mask: { columns: [card_number], keep: { last: 4 }, fill: "*" }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Mask")]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Leaves to mask.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// Characters kept at the ends, at most four in all. A value with fewer than twice as many
    /// characters as are kept is filled whole.
    #[serde(default)]
    pub keep: Keep,
    /// The sign that stands for each hidden character: ASCII punctuation.
    #[serde(default = "star")]
    pub fill: char,
}

fn star() -> char {
    '*'
}

impl Config {
    /// What comes out for a leaf.
    ///
    /// # Errors
    /// More than four characters kept, a fill that could be data, or a type that is not a scalar.
    pub fn declare(&self, leaf: &Leaf) -> Result<Declared, StageFault> {
        let Keep { first, last } = self.keep;
        let kept = first.saturating_add(last);
        if kept > KEPT_CHARS_MAX {
            return Err(StageFault::KeepsTooMuch { kept, most: KEPT_CHARS_MAX });
        }
        if !self.fill.is_ascii_punctuation() {
            return Err(StageFault::Fill);
        }
        let taken = matches!(
            leaf.leaf_type,
            LeafType::Text
                | LeafType::Int16
                | LeafType::Int32
                | LeafType::Int64
                | LeafType::Uuid
                | LeafType::Enum
        );
        if !taken {
            return Err(StageFault::LeafType {
                verb: DECLARATION.verb,
                found: leaf.leaf_type,
                expected: "text, int16, int32, int64, uuid or enum",
            });
        }
        Ok(Declared {
            output: LeafType::Text,
            produces: Produces::Mask { keep_first: first, keep_last: last, fill: self.fill },
            may_fail: false,
            keys: Vec::new(),
        })
    }

    /// The compiled mask.
    pub fn build(&self) -> Arc<dyn Protect> {
        Arc::new(Mask { keep: self.keep, fill: self.fill })
    }
}

struct Mask {
    keep: Keep,
    fill: char,
}

impl Protect for Mask {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        let mut out = StringBuilder::with_capacity(column.len(), column.len() * 16);
        let mut text = String::new();
        each_text(column, |value| {
            let Some(value) = value else {
                out.append_null();
                return Ok(());
            };
            let length = value.chars().count();
            let kept = (self.keep.first as usize).saturating_add(self.keep.last as usize);
            let cut = self.keep.cut(value).filter(|_| length >= kept.saturating_mul(2));
            let (first, middle, last) = cut.unwrap_or(("", value, ""));
            text.clear();
            text.push_str(first);
            text.extend(std::iter::repeat_n(self.fill, middle.chars().count()));
            text.push_str(last);
            out.append_value(&text);
            Ok(())
        })?;
        Ok(Arc::new(out.finish()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringArray};

    use super::*;

    fn mask(first: u32, last: u32) -> Config {
        Config { columns: vec!["c".into()], keep: Keep { first, last }, fill: '*' }
    }

    fn leaf(leaf_type: LeafType) -> Leaf {
        Leaf { path: "c".into(), leaf_type }
    }

    #[test]
    fn shows_no_more_than_is_kept() {
        let cells = vec![
            Some("4111111111111111"),
            None,
            Some("1234"),
            Some(""),
            Some("äöüßéàè"),
            Some("äöüßéàèù"),
        ];
        let column: ArrayRef = Arc::new(StringArray::from(cells));
        let out = mask(0, 4).build().apply(&column).unwrap();
        let found: Vec<_> = out.as_string::<i32>().iter().collect();
        let whole = Some("*******");
        let expected =
            [Some("************1111"), None, Some("****"), Some(""), whole, Some("****éàèù")];
        assert_eq!(found, expected);
    }

    #[test]
    fn numbers_are_masked_as_their_text() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![-123_456]));
        let out = mask(1, 2).build().apply(&column).unwrap();
        assert_eq!(out.as_string::<i32>().value(0), "-****56");
    }

    #[test]
    fn refuses_bad_keep_bad_fill_bad_type() {
        assert!(mask(0, 4).declare(&leaf(LeafType::Text)).is_ok());
        assert_eq!(
            mask(1, 4).declare(&leaf(LeafType::Text)),
            Err(StageFault::KeepsTooMuch { kept: 5, most: 4 })
        );
        assert!(mask(u32::MAX, 4).declare(&leaf(LeafType::Text)).is_err());
        let digit = Config { fill: '0', ..mask(0, 4) };
        assert_eq!(digit.declare(&leaf(LeafType::Text)), Err(StageFault::Fill));
        assert!(mask(0, 4).declare(&leaf(LeafType::Date)).is_err());
    }
}
