//! `on_bad`: what becomes of a cell that a stage cannot take. The same for every verb, and written
//! once: a stage refuses as it always did, and what is here finds the cells that it refused.
//!
//! There is no way to let the original pass.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringBuilder};
use arrow::compute::nullif;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::column::Protect;
use crate::fault::{StageFault, TransformFault};

/// Most bytes of a constant.
pub const CONSTANT_BYTES_MAX: usize = 64;

/// `on_bad: refuse`, `on_bad: null` or `on_bad: { constant: "…" }`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnBad {
    /// Its record is set aside.
    #[default]
    Refuse,
    /// It crosses as null.
    Null,
    /// It crosses as this text.
    Constant(String),
}

impl OnBad {
    /// Nothing was written.
    pub fn is_refuse(&self) -> bool {
        *self == Self::Refuse
    }

    /// Whether a column of this Arrow type can hold it.
    ///
    /// # Errors
    /// A constant for a column that is not text, an empty one, or one of over 64 bytes.
    pub(crate) fn check(&self, output: &arrow::datatypes::DataType) -> Result<(), StageFault> {
        let Self::Constant(text) = self else { return Ok(()) };
        if *output != arrow::datatypes::DataType::Utf8 {
            return Err(StageFault::OnBad("a constant is text and the column is not: write null"));
        }
        if text.is_empty() {
            return Err(StageFault::OnBad("an empty constant: write null"));
        }
        if text.len() > CONSTANT_BYTES_MAX {
            let (found, most) = (text.len(), CONSTANT_BYTES_MAX);
            return Err(StageFault::Constant { found, most });
        }
        Ok(())
    }

    /// The protection with this outcome for the cells that it refuses.
    pub(crate) fn over(&self, inner: Arc<dyn Protect>) -> Arc<dyn Protect> {
        match self {
            Self::Refuse => inner,
            Self::Null => Arc::new(Lenient { inner, constant: None }),
            Self::Constant(text) => Arc::new(Lenient { inner, constant: Some(text.clone()) }),
        }
    }
}

struct Lenient {
    inner: Arc<dyn Protect>,
    constant: Option<String>,
}

impl Protect for Lenient {
    fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        self.with(column, None)
    }

    fn apply_per(&self, column: &ArrayRef, per: &ArrayRef) -> Result<ArrayRef, TransformFault> {
        self.with(column, Some(per))
    }
}

impl Lenient {
    fn with(&self, column: &ArrayRef, per: Option<&ArrayRef>) -> Result<ArrayRef, TransformFault> {
        let out = self.inner(column, per);
        // Where keys are away no cell is at fault: what stands for bad ones stands for none.
        if matches!(out, Ok(_) | Err(TransformFault::KeysAway)) {
            return out;
        }
        let mut bad = vec![false; column.len()];
        self.find(column, per, 0, &mut bad)?;
        // Null goes through every stage as null: the bad cells no longer reach it.
        let mask = BooleanArray::from(bad.clone());
        let rest = nullif(column, &mask).map_err(|_| TransformFault::OutOfRange)?;
        let out = self.inner(&rest, per)?;
        let Some(constant) = &self.constant else { return Ok(out) };
        let texts = out.as_string_opt::<i32>().ok_or(TransformFault::OutOfRange)?;
        let mut filled = StringBuilder::with_capacity(texts.len(), texts.values().len());
        for (text, bad) in texts.iter().zip(bad) {
            filled.append_option(if bad { Some(constant.as_str()) } else { text });
        }
        Ok(Arc::new(filled.finish()))
    }

    fn inner(&self, column: &ArrayRef, per: Option<&ArrayRef>) -> Result<ArrayRef, TransformFault> {
        match per {
            Some(per) => self.inner.apply_per(column, per),
            None => self.inner.apply(column),
        }
    }

    /// Halves the column until each bad cell stands alone. `bad` has its rows.
    fn find(
        &self,
        column: &ArrayRef,
        per: Option<&ArrayRef>,
        start: usize,
        bad: &mut [bool],
    ) -> Result<(), TransformFault> {
        let len = column.len();
        if len == 0 {
            return Ok(());
        }
        match self.inner(column, per) {
            Ok(_) => return Ok(()),
            Err(TransformFault::KeysAway) => return Err(TransformFault::KeysAway),
            Err(_) if len == 1 => {
                bad[start] = true;
                return Ok(());
            }
            Err(_) => {}
        }
        let half = len / 2;
        for (at, len) in [(0, half), (half, len - half)] {
            let per = per.map(|per| per.slice(at, len));
            self.find(&column.slice(at, len), per.as_ref(), start + at, bad)?;
        }
        Ok(())
    }
}

/// What YAML shows: `refuse`, null, or a map with `constant`.
impl Serialize for OnBad {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Refuse => serializer.serialize_str("refuse"),
            Self::Null => serializer.serialize_unit(),
            Self::Constant(text) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("constant", text)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for OnBad {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Outcome)
    }
}

struct Outcome;

impl<'de> Visitor<'de> for Outcome {
    type Value = OnBad;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`refuse`, null or `{ constant: … }`")
    }

    fn visit_unit<E: de::Error>(self) -> Result<OnBad, E> {
        Ok(OnBad::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<OnBad, E> {
        Ok(OnBad::Null)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<OnBad, E> {
        match word {
            "refuse" => Ok(OnBad::Refuse),
            _ => Err(E::invalid_value(de::Unexpected::Other("a word"), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OnBad, A::Error> {
        let found: Option<(String, String)> = map.next_entry()?;
        let more: Option<(String, String)> = map.next_entry()?;
        match (found, more) {
            (Some((key, text)), None) if key == "constant" => Ok(OnBad::Constant(text)),
            _ => Err(de::Error::invalid_value(de::Unexpected::Map, &self)),
        }
    }
}

impl JsonSchema for OnBad {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OnBad".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What becomes of a cell that the stage cannot take: `refuse` sets its \
                record aside, null and a constant cross in its place. The original never does.",
            "oneOf": [
                { "type": "string", "enum": ["refuse"] },
                { "const": null },
                {
                    "type": "object",
                    "properties": {
                        "constant": {
                            "description": "The text that stands in the place of a bad cell.",
                            "type": "string",
                            "minLength": 1,
                            "maxLength": 64
                        }
                    },
                    "required": ["constant"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::datatypes::DataType;

    use super::*;

    /// Takes texts of digits only, and doubles them.
    struct Digits;

    impl Protect for Digits {
        fn apply(&self, column: &ArrayRef) -> Result<ArrayRef, TransformFault> {
            let texts = column.as_string::<i32>();
            let mut out = StringBuilder::new();
            for text in texts {
                let good = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
                if text.is_some_and(|text| !good(text)) {
                    return Err(TransformFault::OutsideAlphabet);
                }
                out.append_option(text.map(|text| text.repeat(2)));
            }
            Ok(Arc::new(out.finish()))
        }
    }

    fn through(
        on_bad: &OnBad,
        cells: &[Option<&str>],
    ) -> Result<Vec<Option<String>>, TransformFault> {
        let column: ArrayRef = Arc::new(StringArray::from(cells.to_vec()));
        let out = on_bad.over(Arc::new(Digits)).apply(&column)?;
        Ok(out.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
    }

    #[test]
    fn only_bad_cells_get_the_outcome() {
        let cells = [Some("1"), Some("x"), None, Some("2"), Some("y"), Some("z"), Some("")];
        let some = |text: &str| Some(text.to_owned());
        let with = |bad: Option<String>| {
            vec![some("11"), bad.clone(), None, some("22"), bad.clone(), bad, some("")]
        };
        assert_eq!(through(&OnBad::Null, &cells), Ok(with(None)));
        let constant = OnBad::Constant("bad".into());
        assert_eq!(through(&constant, &cells), Ok(with(some("bad"))));
        assert_eq!(through(&OnBad::Refuse, &cells), Err(TransformFault::OutsideAlphabet));
    }

    #[test]
    fn all_bad_none_bad_and_no_rows() {
        for on_bad in [OnBad::Null, OnBad::Constant("-".into())] {
            let expected = match &on_bad {
                OnBad::Constant(text) => Some(text.clone()),
                _ => None,
            };
            let all = through(&on_bad, &[Some("x"); 33]).unwrap();
            assert_eq!(all, vec![expected; 33]);
            assert_eq!(through(&on_bad, &[Some("1")]).unwrap(), [Some("11".to_owned())]);
            assert!(through(&on_bad, &[]).unwrap().is_empty());
        }
    }

    /// What a bad cell becomes does not hang on where batches are cut.
    #[test]
    fn the_same_in_every_cut() {
        let cells: Vec<Option<&str>> =
            (0..40).map(|n| if n % 3 == 0 { Some("x") } else { Some("7") }).collect();
        let whole = through(&OnBad::Null, &cells).unwrap();
        for cut in 1..40 {
            let (head, tail) = cells.split_at(cut);
            let mut parts = through(&OnBad::Null, head).unwrap();
            parts.extend(through(&OnBad::Null, tail).unwrap());
            assert_eq!(parts, whole, "{cut}");
        }
    }

    #[test]
    fn written_and_read_as_yaml_shows_it() {
        for (on_bad, json) in [
            (OnBad::Refuse, r#""refuse""#),
            (OnBad::Null, "null"),
            (OnBad::Constant("n/a".into()), r#"{"constant":"n/a"}"#),
        ] {
            assert_eq!(serde_json::to_string(&on_bad).unwrap(), json);
            assert_eq!(serde_json::from_str::<OnBad>(json).unwrap(), on_bad);
        }
        for bad in [r#""pass""#, r#""null""#, "7", "{}", r#"{"other":"x"}"#, "[]", "true"] {
            assert!(serde_json::from_str::<OnBad>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn constants_bad_type_bad_length() {
        let constant = |text: &str| OnBad::Constant(text.to_owned());
        assert_eq!(constant("x").check(&DataType::Utf8), Ok(()));
        assert_eq!(OnBad::Null.check(&DataType::Int32), Ok(()));
        assert!(matches!(constant("x").check(&DataType::Int32), Err(StageFault::OnBad(_))));
        assert!(matches!(constant("").check(&DataType::Utf8), Err(StageFault::OnBad(_))));
        let long = constant(&"x".repeat(65));
        assert_eq!(long.check(&DataType::Utf8), Err(StageFault::Constant { found: 65, most: 64 }));
    }
}
