//! Leaves: scalar paths of a decoded record, with the type that data has.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, TimeUnit};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a leaf's values are, by the names Debezium gives its semantic types.
///
/// The Arrow type says how values are carried, [`crate::canonical`] how they are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeafType {
    /// True or false.
    Boolean,
    /// 16 bits, signed.
    Int16,
    /// 32 bits, signed.
    Int32,
    /// 64 bits, signed.
    Int64,
    /// IEEE 754 single.
    Float32,
    /// IEEE 754 double.
    Float64,
    /// In JSON without schemas also what an undeclared leaf is: the scalar's canonical text.
    Text,
    /// Any bytes.
    Bytes,
    /// `org.apache.kafka.connect.data.Decimal`; precision up to 76.
    Decimal {
        /// Digits in all, 1 to 76.
        precision: u8,
        /// Digits after the point; below zero, zeros before it.
        scale: i8,
    },
    /// `io.debezium.data.VariableScaleDecimal`: `{scale, value}`; carried as canonical text.
    VariableScaleDecimal,
    /// `io.debezium.time.Date`: days since the epoch.
    Date,
    /// `io.debezium.time.Time`: milliseconds of the day.
    Time,
    /// `io.debezium.time.MicroTime`.
    MicroTime,
    /// `io.debezium.time.NanoTime`.
    NanoTime,
    /// `io.debezium.time.Timestamp`: milliseconds since the epoch, no zone.
    Timestamp,
    /// `io.debezium.time.MicroTimestamp`.
    MicroTimestamp,
    /// `io.debezium.time.NanoTimestamp`.
    NanoTimestamp,
    /// `io.debezium.time.ZonedTimestamp`: ISO 8601 text with offset, or `infinity`, `-infinity`.
    ZonedTimestamp,
    /// `io.debezium.time.ZonedTime`: ISO 8601 text with offset.
    ZonedTime,
    /// `io.debezium.time.Interval`: ISO 8601 text.
    Interval,
    /// `io.debezium.time.MicroDuration`: microseconds.
    MicroDuration,
    /// `io.debezium.data.Uuid`: text.
    Uuid,
    /// `io.debezium.data.Json`: JSON text as the database wrote it.
    Json,
    /// `io.debezium.data.Xml`: text.
    Xml,
    /// `io.debezium.data.Enum`: the label.
    Enum,
    /// `io.debezium.data.EnumSet`: labels joined by commas.
    EnumSet,
    /// `io.debezium.data.Ltree`: text.
    Ltree,
    /// `io.debezium.data.Bits`: little-endian bytes.
    Bits,
    /// An array or map of scalars, or of arrays of those: carried as RFC 8785 JSON text; may be
    /// dropped or cross as public.
    Array,
    /// What this version does not take apart (geometry, arrays of records and the like): may only be
    /// dropped.
    Opaque,
}

const NAMES: &[(LeafType, &str)] = &[
    (LeafType::Boolean, "boolean"),
    (LeafType::Int16, "int16"),
    (LeafType::Int32, "int32"),
    (LeafType::Int64, "int64"),
    (LeafType::Float32, "float32"),
    (LeafType::Float64, "float64"),
    (LeafType::Text, "text"),
    (LeafType::Bytes, "bytes"),
    (LeafType::VariableScaleDecimal, "variable_scale_decimal"),
    (LeafType::Date, "date"),
    (LeafType::Time, "time"),
    (LeafType::MicroTime, "micro_time"),
    (LeafType::NanoTime, "nano_time"),
    (LeafType::Timestamp, "timestamp"),
    (LeafType::MicroTimestamp, "micro_timestamp"),
    (LeafType::NanoTimestamp, "nano_timestamp"),
    (LeafType::ZonedTimestamp, "zoned_timestamp"),
    (LeafType::ZonedTime, "zoned_time"),
    (LeafType::Interval, "interval"),
    (LeafType::MicroDuration, "micro_duration"),
    (LeafType::Uuid, "uuid"),
    (LeafType::Json, "json"),
    (LeafType::Xml, "xml"),
    (LeafType::Enum, "enum"),
    (LeafType::EnumSet, "enum_set"),
    (LeafType::Ltree, "ltree"),
    (LeafType::Bits, "bits"),
    (LeafType::Array, "array"),
    (LeafType::Opaque, "opaque"),
];

impl LeafType {
    /// The names of the types without parameters, for messages and completion.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(_, name)| *name)
    }

    /// Whether a pipeline may declare values as `declared` where the writer's schema says `self`:
    /// the same type, or a meaning for a plain type that the schema gives none. Never another
    /// meaning, and never another width.
    pub fn may_be_declared(self, declared: Self) -> bool {
        if self == declared {
            return true;
        }
        match self {
            Self::Int32 => matches!(declared, Self::Date | Self::Time),
            Self::Int64 => matches!(
                declared,
                Self::MicroTime
                    | Self::NanoTime
                    | Self::Timestamp
                    | Self::MicroTimestamp
                    | Self::NanoTimestamp
                    | Self::MicroDuration
            ),
            Self::Text => matches!(
                declared,
                Self::ZonedTimestamp
                    | Self::ZonedTime
                    | Self::Interval
                    | Self::Uuid
                    | Self::Json
                    | Self::Xml
                    | Self::Enum
                    | Self::EnumSet
                    | Self::Ltree
            ),
            Self::Bytes => declared == Self::Bits,
            _ => false,
        }
    }

    /// How values of this type lie in a batch.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 | Self::MicroDuration => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Bytes | Self::Bits => DataType::Binary,
            Self::Decimal { precision, scale } if *precision <= 38 => {
                DataType::Decimal128(*precision, *scale)
            }
            Self::Decimal { precision, scale } => DataType::Decimal256(*precision, *scale),
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time32(TimeUnit::Millisecond),
            Self::MicroTime => DataType::Time64(TimeUnit::Microsecond),
            Self::NanoTime => DataType::Time64(TimeUnit::Nanosecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
            Self::MicroTimestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::NanoTimestamp => DataType::Timestamp(TimeUnit::Nanosecond, None),
            Self::Text
            | Self::VariableScaleDecimal
            | Self::ZonedTimestamp
            | Self::ZonedTime
            | Self::Interval
            | Self::Uuid
            | Self::Json
            | Self::Xml
            | Self::Enum
            | Self::EnumSet
            | Self::Ltree
            | Self::Array
            | Self::Opaque => DataType::Utf8,
        }
    }
}

impl fmt::Display for LeafType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Decimal { precision, scale } = self {
            return write!(f, "decimal({precision},{scale})");
        }
        let name = NAMES.iter().find(|(t, _)| t == self).map_or("", |(_, name)| *name);
        f.write_str(name)
    }
}

/// The text names no leaf type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a leaf type: expected `decimal(precision,scale)` or one of the listed names")]
pub struct UnknownLeafType;

impl FromStr for LeafType {
    type Err = UnknownLeafType;

    fn from_str(text: &str) -> Result<Self, UnknownLeafType> {
        if let Some((found, _)) = NAMES.iter().find(|(_, name)| *name == text) {
            return Ok(*found);
        }
        let inner = text
            .strip_prefix("decimal(")
            .and_then(|rest| rest.strip_suffix(')'))
            .ok_or(UnknownLeafType)?;
        let (precision, scale) = inner.split_once(',').ok_or(UnknownLeafType)?;
        let precision: u8 = precision.trim().parse().map_err(|_| UnknownLeafType)?;
        let scale: i8 = scale.trim().parse().map_err(|_| UnknownLeafType)?;
        let fits = (1..=76).contains(&precision) && scale.unsigned_abs() <= precision;
        if fits { Ok(Self::Decimal { precision, scale }) } else { Err(UnknownLeafType) }
    }
}

impl Serialize for LeafType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LeafType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A leaf below `key` or below the row image: path segments joined by dots.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leaf {
    /// `id`, `address.street`: without `key.`, `before.` or `after.`.
    pub path: String,
    /// What its values are.
    #[serde(rename = "type")]
    pub leaf_type: LeafType,
}

/// Everything a table's records may hold: the whole shape, nothing left to guess. A record with
/// any other name in it is held.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableLeaves {
    /// Leaves of the record key, in key order; empty for a table without a key.
    pub key: Vec<Leaf>,
    /// Leaves of the row image (`before` and `after` alike).
    pub row: Vec<Leaf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_type() {
        for (leaf_type, name) in NAMES {
            assert_eq!(name.parse::<LeafType>().as_ref(), Ok(leaf_type));
            assert_eq!(leaf_type.to_string(), *name);
        }
        let money = LeafType::Decimal { precision: 10, scale: 2 };
        assert_eq!("decimal(10,2)".parse::<LeafType>(), Ok(money));
        assert_eq!(money.to_string(), "decimal(10,2)");
    }

    #[test]
    fn every_type_is_documented() {
        let page = include_str!("../../docs/types.md");
        for name in LeafType::names().chain(["decimal(p,s)"]) {
            assert!(page.contains(&format!("| `{name}` |")), "{name} is missing in docs/types.md");
        }
        assert!(!page.contains("| `colour` |"));
    }

    #[test]
    fn only_a_plain_type_takes_a_meaning_bad_declaration() {
        assert!(LeafType::Int32.may_be_declared(LeafType::Date));
        assert!(LeafType::Int64.may_be_declared(LeafType::MicroTimestamp));
        for (found, declared) in [
            (LeafType::Date, LeafType::Int32),
            (LeafType::Int64, LeafType::Date),
            (LeafType::Json, LeafType::Text),
            (LeafType::Timestamp, LeafType::MicroTimestamp),
            (LeafType::Opaque, LeafType::Text),
            (LeafType::Text, LeafType::Bytes),
        ] {
            assert!(!found.may_be_declared(declared), "{found} {declared}");
        }
    }

    #[test]
    fn names_that_are_no_type_bad_parameters() {
        for bad in ["", "varchar", "decimal", "decimal(0,0)", "decimal(77,2)", "decimal(4,9)"] {
            assert_eq!(bad.parse::<LeafType>(), Err(UnknownLeafType), "{bad}");
        }
    }
}
