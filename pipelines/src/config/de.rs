//! A tree as a serde deserializer whose faults know their line and column.

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::finding::Mark;
use super::yaml::{Key, Node, Value};

/// What serde could not take, at the innermost value that has a place.
pub struct DeFault {
    pub mark: Option<Mark>,
    pub message: String,
}

/// Builds a value. The tree has been held against the schema before: what fails here is a rule
/// that a schema cannot say.
pub fn from_node<'de, T: serde::Deserialize<'de>>(node: &'de Node) -> Result<T, DeFault> {
    T::deserialize(node).map_err(|fault| fault.at(node.mark))
}

impl DeFault {
    fn at(self, mark: Mark) -> Self {
        Self { mark: self.mark.or(Some(mark)), ..self }
    }
}

impl std::fmt::Debug for DeFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeFault")
    }
}

impl std::fmt::Display for DeFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DeFault {}

impl de::Error for DeFault {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self { mark: None, message: message.to_string() }
    }

    /// serde would repeat the value.
    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self { mark: None, message: format!("another value, expected {expected}") }
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self { mark: None, message: format!("another type, expected {expected}") }
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = DeFault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeFault> {
        let built = match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_i64(value),
                (_, Ok(value)) => visitor.visit_u64(value),
                _ => visitor.visit_i128(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(List(items.iter())),
            Value::Map(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), value: None })
            }
        };
        built.map_err(|fault: DeFault| fault.at(self.mark))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeFault> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeFault> {
        visitor.visit_newtype_struct(self).map_err(|fault| fault.at(self.mark))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeFault> {
        let built = match &self.value {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(de::value::MapAccessDeserializer::new(Entries {
                    entries: entries.iter(),
                    value: None,
                }))
            }
            _ => Err(de::Error::custom("expected one word, or a map with one key")),
        };
        built.map_err(|fault: DeFault| fault.at(self.mark))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct List<'de>(std::slice::Iter<'de, Node>);

impl<'de> de::SeqAccess<'de> for List<'de> {
    type Error = DeFault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DeFault> {
        let Some(node) = self.0.next() else { return Ok(None) };
        seed.deserialize(node).map(Some).map_err(|fault| fault.at(node.mark))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, (Key, Node)>,
    value: Option<&'de Node>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = DeFault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DeFault> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        let text: de::value::BorrowedStrDeserializer<'de, DeFault> =
            de::value::BorrowedStrDeserializer::new(&key.text);
        seed.deserialize(text).map(Some).map_err(|fault| fault.at(key.mark))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DeFault> {
        match self.value.take() {
            Some(node) => seed.deserialize(node).map_err(|fault| fault.at(node.mark)),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use douane_schemas::leaf::LeafType;
    use serde::Deserialize;

    use super::super::finding::Findings;
    use super::super::yaml::parse;
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Start {
        Earliest,
        At(u64),
        Between { from: u64, to: u64 },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Sample {
        types: BTreeMap<String, LeafType>,
        starts: Vec<Start>,
        least: f64,
        note: Option<String>,
    }

    fn read(text: &str) -> Result<Sample, String> {
        let mut findings = Findings::default();
        let root = parse(text, "f", &mut findings).ok_or_else(|| findings.to_string())?;
        from_node(&root).map_err(|f| format!("{}{}", f, f.mark.unwrap_or(Mark::FILE)))
    }

    #[test]
    fn enums_options_and_numbers_are_built() {
        let text = "types: {a: date}\nstarts:\n- earliest\n- at: 7\n- between: {from: 1, to: 2}\nleast: 1\n";
        let sample = read(text).unwrap();
        assert_eq!(sample.starts.len(), 3);
        assert_eq!(sample.starts[1], Start::At(7));
        assert_eq!((sample.least, sample.note), (1.0, None));
    }

    #[test]
    fn a_fault_knows_its_innermost_place_and_no_value() {
        let fault = read("types:\n  a: date\n  b: secret\nstarts: []\nleast: 1\n").unwrap_err();
        assert!(fault.ends_with(":3:6") && !fault.contains("secret"), "{fault}");
        let fault = read("types: {}\nstarts: [{at: 'secret'}]\nleast: 1\n").unwrap_err();
        assert!(fault.ends_with(":2:15") && !fault.contains("secret"), "{fault}");
        let fault = read("types: {}\nstarts: [{at: 1, between: 1}]\nleast: 1\n").unwrap_err();
        assert!(fault.ends_with(":2:10"), "{fault}");
    }
}
