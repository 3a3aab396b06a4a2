//! A writer's schema as names and leaf types, whatever notation it was written in, and its
//! comparison with what the table's leaves list.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::envelope::{self, Kind, Member, SourceNames};
use super::tree::{Added, Image};
use super::{Hold, Others, SchemaFault};
use crate::leaf::{Leaf, LeafType};
use crate::names::printable;

/// Leaves that one schema may have.
const LEAVES_MAX: usize = 10_000;

/// Precision of a decimal whose schema names none: what Confluent's converter writes then.
const PRECISION_UNNAMED: i64 = 64;

/// A schema without its defaults, docs and aliases.
#[derive(Clone)]
pub(super) enum SchemaNode {
    Leaf(LeafType),
    Record(Arc<Record>),
}

pub(super) struct Record {
    /// Full name, where it has one.
    name: Option<String>,
    fields: Vec<(String, SchemaNode)>,
}

/// What a schema says a value physically is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Boolean,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Text,
    Bytes,
}

impl Base {
    fn plain(self) -> LeafType {
        match self {
            Self::Boolean => LeafType::Boolean,
            Self::Int16 => LeafType::Int16,
            Self::Int32 => LeafType::Int32,
            Self::Int64 => LeafType::Int64,
            Self::Float32 => LeafType::Float32,
            Self::Float64 => LeafType::Float64,
            Self::Text => LeafType::Text,
            Self::Bytes => LeafType::Bytes,
        }
    }
}

/// A decimal of that scale; a scale beyond its precision widens the precision. What no Arrow
/// decimal holds is opaque.
pub(super) fn decimal(scale: Option<i64>, precision: Option<i64>) -> LeafType {
    let scale = scale.and_then(|scale| i8::try_from(scale).ok());
    let precision = precision.unwrap_or(PRECISION_UNNAMED);
    match (scale, u8::try_from(precision)) {
        (Some(scale), Ok(precision @ 1..=76)) if scale.unsigned_abs() <= 76 => {
            LeafType::Decimal { precision: precision.max(scale.unsigned_abs()), scale }
        }
        _ => LeafType::Opaque,
    }
}

/// The leaf type of a scalar with a Connect schema name. A name that is not listed, or stands on
/// another base than the listed one, says something that this version does not know: opaque.
pub(super) fn scalar(
    base: Base,
    name: Option<&str>,
    scale: Option<i64>,
    precision: Option<i64>,
) -> LeafType {
    let Some(name) = name else {
        return base.plain();
    };
    match (name, base) {
        ("org.apache.kafka.connect.data.Decimal", Base::Bytes) => decimal(scale, precision),
        ("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date", Base::Int32) => {
            LeafType::Date
        }
        ("io.debezium.time.Time" | "org.apache.kafka.connect.data.Time", Base::Int32) => {
            LeafType::Time
        }
        ("io.debezium.time.MicroTime", Base::Int64) => LeafType::MicroTime,
        ("io.debezium.time.NanoTime", Base::Int64) => LeafType::NanoTime,
        ("io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp", Base::Int64) => {
            LeafType::Timestamp
        }
        ("io.debezium.time.MicroTimestamp", Base::Int64) => LeafType::MicroTimestamp,
        ("io.debezium.time.NanoTimestamp", Base::Int64) => LeafType::NanoTimestamp,
        ("io.debezium.time.MicroDuration", Base::Int64) => LeafType::MicroDuration,
        ("io.debezium.time.Year", Base::Int32) => LeafType::Int32,
        ("io.debezium.time.ZonedTimestamp", Base::Text) => LeafType::ZonedTimestamp,
        ("io.debezium.time.ZonedTime", Base::Text) => LeafType::ZonedTime,
        ("io.debezium.time.Interval", Base::Text) => LeafType::Interval,
        ("io.debezium.data.Uuid", Base::Text) => LeafType::Uuid,
        ("io.debezium.data.Json", Base::Text) => LeafType::Json,
        ("io.debezium.data.Xml", Base::Text) => LeafType::Xml,
        ("io.debezium.data.Enum", Base::Text) => LeafType::Enum,
        ("io.debezium.data.EnumSet", Base::Text) => LeafType::EnumSet,
        ("io.debezium.data.Ltree", Base::Text) => LeafType::Ltree,
        ("io.debezium.data.Bits", Base::Bytes) => LeafType::Bits,
        _ => LeafType::Opaque,
    }
}

/// The leaf type of an array or map of elements that mean `element`. What has members that no list
/// names, or a meaning that this version does not know, makes it opaque.
pub(super) fn array(element: &SchemaNode, scalar_or_array: bool) -> LeafType {
    match element {
        SchemaNode::Leaf(leaf) if scalar_or_array && *leaf != LeafType::Opaque => LeafType::Array,
        _ => LeafType::Opaque,
    }
}

/// A record, or the leaf that a record of that name stands for.
pub(super) fn record(
    name: Option<&str>,
    fields: Vec<(String, SchemaNode)>,
) -> Result<SchemaNode, SchemaFault> {
    let mut names = HashSet::new();
    for (field, _) in &fields {
        if field.is_empty() || field.contains('.') {
            return Err(SchemaFault::DottedName);
        }
        if !names.insert(field.as_str()) {
            return Err(SchemaFault::DuplicateField);
        }
    }
    let field = |wanted: &str| {
        fields.iter().find(|(name, _)| name == wanted).map(|(_, node)| match node {
            SchemaNode::Leaf(leaf) => Some(*leaf),
            SchemaNode::Record(_) => None,
        })
    };
    match name {
        Some("io.debezium.data.VariableScaleDecimal")
            if fields.len() == 2
                && field("scale") == Some(Some(LeafType::Int32))
                && field("value") == Some(Some(LeafType::Bytes)) =>
        {
            Ok(SchemaNode::Leaf(LeafType::VariableScaleDecimal))
        }
        Some(name)
            if name.starts_with("io.debezium.data.geometry.")
                && names.iter().all(|n| matches!(*n, "x" | "y" | "wkb" | "srid")) =>
        {
            Ok(SchemaNode::Leaf(LeafType::Opaque))
        }
        name => Ok(SchemaNode::Record(Arc::new(Record { name: name.map(str::to_owned), fields }))),
    }
}

/// The leaves below a record, in its order; `None` for anything else.
pub(super) fn leaves(node: &SchemaNode) -> Result<Option<Vec<Leaf>>, SchemaFault> {
    let SchemaNode::Record(record) = node else {
        return Ok(None);
    };
    let mut found = Vec::new();
    // Records without a leaf cost a visit too.
    let mut visits = 0;
    flatten(record, "", &mut found, &mut visits)?;
    Ok(Some(found))
}

fn flatten(
    record: &Record,
    prefix: &str,
    found: &mut Vec<Leaf>,
    visits: &mut usize,
) -> Result<(), SchemaFault> {
    for (name, node) in &record.fields {
        *visits += 1;
        if *visits > LEAVES_MAX {
            return Err(SchemaFault::TooLarge);
        }
        match node {
            SchemaNode::Leaf(leaf_type) => {
                found.push(Leaf { path: format!("{prefix}{name}"), leaf_type: *leaf_type });
            }
            SchemaNode::Record(inner) => {
                flatten(inner, &format!("{prefix}{name}."), found, visits)?;
            }
        }
    }
    Ok(())
}

/// Leaves of both images of an envelope whose every other leaf is documented.
pub(super) struct Images {
    pub(super) before: Option<Vec<Leaf>>,
    pub(super) after: Vec<Leaf>,
}

/// `registered`: the names come from a registry and may be printed.
pub(super) fn images(node: &SchemaNode, registered: bool) -> Result<Images, SchemaFault> {
    let SchemaNode::Record(envelope) = node else {
        return Err(SchemaFault::NotAnEnvelope);
    };
    let has = |wanted: &str| envelope.fields.iter().any(|(name, _)| name == wanted);
    if !has("op") || !has("after") {
        return Err(SchemaFault::NotAnEnvelope);
    }
    let undocumented = |group: &str, name: &str, n: usize| SchemaFault::Undocumented {
        path: format!("{group}{}", printable(name, registered, n + 1)),
    };
    let (mut before, mut after) = (None, None);
    for (n, (name, node)) in envelope.fields.iter().enumerate() {
        match (envelope::member(name).map(|(member, _)| member), node) {
            (Some(Member::Before), SchemaNode::Record(_)) => before = leaves(node)?,
            (Some(Member::After), SchemaNode::Record(_)) => after = leaves(node)?,
            (Some(Member::Op), SchemaNode::Leaf(LeafType::Text)) => {}
            (Some(Member::Time), SchemaNode::Leaf(leaf)) if is(Kind::Number, *leaf) => {}
            (Some(Member::Source), SchemaNode::Record(source)) => {
                source_documented(source).map_err(|(name, n)| undocumented("source.", name, n))?;
            }
            (Some(Member::Transaction), SchemaNode::Record(block)) => {
                for (n, (name, node)) in block.fields.iter().enumerate() {
                    let known = envelope::transaction(name).map(|(_, kind)| kind);
                    if !documented(known, node) {
                        return Err(undocumented("transaction.", name, n));
                    }
                }
            }
            _ => return Err(undocumented("", name, n)),
        }
    }
    Ok(Images { before, after: after.ok_or(SchemaFault::NotAnEnvelope)? })
}

fn source_documented(source: &Record) -> Result<(), (&str, usize)> {
    let mut names = SourceNames::new();
    let connector = source.name.as_deref().and_then(|name| {
        name.strip_prefix("io.debezium.connector.").and_then(|rest| rest.strip_suffix(".Source"))
    });
    if connector.is_some_and(|connector| !names.connector(connector)) {
        return Err(("connector", 0));
    }
    for (n, (name, node)) in source.fields.iter().enumerate() {
        if !documented(names.find(name, n).map(|(_, kind)| kind), node) {
            return Err((name, n));
        }
    }
    Ok(())
}

fn documented(kind: Option<Kind>, node: &SchemaNode) -> bool {
    matches!((kind, node), (Some(kind), SchemaNode::Leaf(leaf)) if is(kind, *leaf))
}

fn is(kind: Kind, leaf: LeafType) -> bool {
    let text = matches!(leaf, LeafType::Text | LeafType::Enum);
    let number = matches!(leaf, LeafType::Int16 | LeafType::Int32 | LeafType::Int64);
    match kind {
        Kind::Text => text,
        Kind::Number => number,
        Kind::TextOrBoolean => text || leaf == LeafType::Boolean,
        Kind::TextOrNumber => text || number,
    }
}

/// Why a value's schema is not the one the table's leaves list. Leaves that no list names go to
/// `added` where there is one, and are no reason then.
pub(super) fn value_hold(
    node: &SchemaNode,
    listed: &[Leaf],
    declared: &HashSet<String>,
    schema_id: Option<u32>,
    mut added: Option<&mut Vec<Added>>,
) -> Option<Hold> {
    match images(node, schema_id.is_some()) {
        Err(fault) => Some(schema_hold(fault, schema_id)),
        Ok(Images { before, after }) => {
            let listed = (listed, declared);
            let after = difference(&after, listed, Image::After, schema_id, added.as_deref_mut());
            after.or_else(|| difference(&before?, listed, Image::Before, schema_id, added))
        }
    }
}

/// Why a key's schema is not the one the table's leaves list.
pub(super) fn key_hold(
    node: &SchemaNode,
    listed: &[Leaf],
    declared: &HashSet<String>,
    schema_id: Option<u32>,
) -> Option<Hold> {
    match leaves(node) {
        Ok(Some(found)) => difference(&found, (listed, declared), Image::Key, schema_id, None),
        Ok(None) => Some(schema_hold(SchemaFault::KeyNotARecord, schema_id)),
        Err(fault) => Some(schema_hold(fault, schema_id)),
    }
}

/// A schema that cannot be used, as the reason to hold.
pub(super) fn schema_hold(fault: SchemaFault, schema_id: Option<u32>) -> Hold {
    match fault {
        SchemaFault::Undocumented { path } => Hold::UndocumentedEnvelope { path },
        SchemaFault::NotAnEnvelope => Hold::NotAnEnvelope,
        fault => Hold::UnusableSchema { schema_id, fault },
    }
}

/// The names of the `n`-th leaf's path, each with how it may be printed.
fn shown(path: &str, registered: bool, n: usize) -> impl Iterator<Item = (&str, String)> {
    path.split('.').map(move |name| (name, printable(name, registered, n + 1)))
}

/// The names of a registered schema that a hold shows as a number: as it shows them, and as they are.
pub(super) fn hidden(node: &SchemaNode, key: bool) -> Vec<(String, String)> {
    let images = if key {
        vec![(Image::Key, leaves(node).ok().flatten().unwrap_or_default())]
    } else if let Ok(Images { before, after }) = images(node, true) {
        vec![(Image::Before, before.unwrap_or_default()), (Image::After, after)]
    } else {
        Vec::new()
    };
    let mut found = Vec::new();
    for (image, leaves) in images {
        for (n, Leaf { path, .. }) in leaves.iter().enumerate() {
            let mut at = image.prefix().to_owned();
            for (name, printed) in shown(path, true, n) {
                at = format!("{at}.{printed}");
                if printed != name {
                    found.push((at.clone(), name.to_owned()));
                }
            }
        }
    }
    found
}

fn difference(
    found: &[Leaf],
    (listed, declared): (&[Leaf], &HashSet<String>),
    image: Image,
    schema_id: Option<u32>,
    mut added: Option<&mut Vec<Added>>,
) -> Option<Hold> {
    let types: HashMap<&str, LeafType> =
        listed.iter().map(|leaf| (leaf.path.as_str(), leaf.leaf_type)).collect();
    let printed = |path: &str, n: usize| {
        let names: Vec<String> =
            shown(path, schema_id.is_some(), n).map(|(_, name)| name).collect();
        names.join(".")
    };
    let mut unknown = None;
    for (n, Leaf { path, leaf_type }) in found.iter().enumerate() {
        match types.get(path.as_str()) {
            None => {
                if let Some(added) = &mut added {
                    added.push(Added { raw: path.clone(), leaf: printed(path, n) });
                    continue;
                }
                let path = || format!("{}.{}", image.prefix(), printed(path, n));
                match &mut unknown {
                    None => {
                        let (path, others) = (path(), Others::default());
                        let hint = Some(*leaf_type);
                        unknown = Some(Hold::UnknownLeaf { path, others, schema_id, hint });
                    }
                    Some(Hold::UnknownLeaf { others, .. }) => others.add(path),
                    Some(_) => {}
                }
            }
            Some(expected)
                if unknown.is_none()
                    && leaf_type != expected
                    && !(declared.contains(path) && leaf_type.may_be_declared(*expected)) =>
            {
                return Some(Hold::Retyped {
                    path: format!("{}.{path}", image.prefix()),
                    found: leaf_type.to_string(),
                    expected: *expected,
                    by_value: false,
                    schema_id,
                });
            }
            Some(_) => {}
        }
    }
    if unknown.is_some() {
        return unknown;
    }
    let present: HashSet<&str> = found.iter().map(|leaf| leaf.path.as_str()).collect();
    let missing = listed.iter().find(|leaf| !present.contains(leaf.path.as_str()))?;
    Some(Hold::MissingLeaf { path: format!("{}.{}", image.prefix(), missing.path), schema_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_leaves_that_a_schema_adds_are_told() {
        let leaf = |path: &str, leaf_type| Leaf { path: path.into(), leaf_type };
        let listed = [leaf("id", LeafType::Int64), leaf("city", LeafType::Text)];
        let declared = HashSet::new();
        let told =
            |found: &[Leaf]| difference(found, (&listed, &declared), Image::After, Some(7), None);
        // Another shape besides: the names come first, whatever stands before them.
        let found =
            [leaf("a", LeafType::Text), leaf("id", LeafType::Text), leaf("b c", LeafType::Int64)];
        let Some(Hold::UnknownLeaf { path, others, schema_id, hint }) = told(&found) else {
            panic!("expected unknown leaves");
        };
        assert_eq!((path.as_str(), schema_id, hint), ("after.a", Some(7), Some(LeafType::Text)));
        assert_eq!((others.named, others.more), (vec!["after.b c".to_owned()], 0));
        assert!(matches!(told(&found[1..2]), Some(Hold::Retyped { .. })));
        assert!(matches!(told(&listed[..1]), Some(Hold::MissingLeaf { .. })));
        assert_eq!(told(&listed), None);
    }

    #[test]
    fn a_name_on_the_wrong_base_is_opaque() {
        assert_eq!(scalar(Base::Int32, Some("io.debezium.time.Date"), None, None), LeafType::Date);
        for (base, name) in [
            (Base::Text, "io.debezium.time.Date"),
            (Base::Int64, "io.debezium.time.Date"),
            (Base::Text, "org.acme.Secret"),
        ] {
            assert_eq!(scalar(base, Some(name), None, None), LeafType::Opaque, "{name}");
        }
    }

    #[test]
    fn decimals_that_arrow_cannot_hold_are_opaque_bad_precision() {
        assert_eq!(decimal(Some(2), Some(10)), LeafType::Decimal { precision: 10, scale: 2 });
        assert_eq!(decimal(Some(4), Some(2)), LeafType::Decimal { precision: 4, scale: 4 });
        assert_eq!(decimal(Some(2), None), LeafType::Decimal { precision: 64, scale: 2 });
        assert_eq!(decimal(Some(2), Some(77)), LeafType::Opaque);
        assert_eq!(decimal(Some(200), Some(10)), LeafType::Opaque);
        assert_eq!(decimal(None, Some(10)), LeafType::Opaque);
    }
}
