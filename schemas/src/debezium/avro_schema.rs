//! Avro schemas as Confluent's converter registers them, with the Connect names that
//! `apache_avro::Schema` does not keep on scalars.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::semantic::{self, Base, SchemaNode};
use super::{Limits, SchemaFault};
use crate::leaf::LeafType;

/// Schemas inside each other, and schemas in all, that one text may have.
const DEPTH_MAX: usize = 64;
const SHAPES_MAX: usize = 50_000;

/// How a datum lies in the frame.
pub(super) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    Array(Arc<Shape>),
    Map(Arc<Shape>),
    Union(Vec<Arc<Shape>>),
    Record(Vec<(String, Arc<Shape>)>),
}

/// A schema's two sides: how it lies, and what it means.
#[derive(Clone)]
pub(super) struct Avro {
    pub(super) shape: Arc<Shape>,
    pub(super) node: SchemaNode,
}

/// Reads a schema's text. apache-avro says whether it is Avro at all.
pub(super) fn parse(text: &str, limits: &Limits) -> Result<Avro, SchemaFault> {
    if text.len() > limits.schema_bytes_max {
        return Err(SchemaFault::TooLarge);
    }
    let schema: Value = serde_json::from_str(text).map_err(|_| SchemaFault::Malformed)?;
    let parsed = Parser { named: HashMap::new(), shapes: 0 }.schema(&schema, "", 0)?;
    apache_avro::Schema::parse_str(text).map_err(|_| SchemaFault::Malformed)?;
    Ok(parsed)
}

struct Parser {
    /// `None` while the schema of that name is still being read.
    named: HashMap<String, Option<Avro>>,
    shapes: usize,
}

impl Parser {
    fn schema(
        &mut self,
        schema: &Value,
        namespace: &str,
        depth: usize,
    ) -> Result<Avro, SchemaFault> {
        self.shapes += 1;
        if depth > DEPTH_MAX || self.shapes > SHAPES_MAX {
            return Err(SchemaFault::TooLarge);
        }
        match schema {
            Value::String(name) => self.word(name, namespace, &Map::new()),
            Value::Array(branches) => self.union(branches, namespace, depth),
            Value::Object(attributes) => match attributes.get("type") {
                Some(Value::String(word)) => match word.as_str() {
                    "record" | "error" => self.record(attributes, namespace, depth),
                    "enum" | "fixed" => self.named(word, attributes, namespace),
                    "array" | "map" => {
                        let inner = if word == "array" { "items" } else { "values" };
                        let inner = attributes.get(inner).ok_or(SchemaFault::Malformed)?;
                        let Avro { shape: inner, node } =
                            self.schema(inner, namespace, depth + 1)?;
                        let leaf_type = match &*inner {
                            Shape::Null => LeafType::Array,
                            shape => semantic::array(&node, scalar_or_array(shape)),
                        };
                        let shape =
                            if word == "array" { Shape::Array(inner) } else { Shape::Map(inner) };
                        Ok(leaf(shape, leaf_type))
                    }
                    _ => self.word(word, namespace, attributes),
                },
                Some(inner) => self.schema(inner, namespace, depth + 1),
                None => Err(SchemaFault::Malformed),
            },
            _ => Err(SchemaFault::Malformed),
        }
    }

    /// A primitive, or a reference to a name.
    fn word(
        &mut self,
        word: &str,
        namespace: &str,
        attributes: &Map<String, Value>,
    ) -> Result<Avro, SchemaFault> {
        let small = matches!(
            attributes.get("connect.type").and_then(Value::as_str),
            Some("int8" | "int16")
        );
        let (shape, base) = match word {
            "null" => return Ok(leaf(Shape::Null, LeafType::Opaque)),
            "boolean" => (Shape::Boolean, Base::Boolean),
            "int" if small => (Shape::Int, Base::Int16),
            "int" => (Shape::Int, Base::Int32),
            "long" => (Shape::Long, Base::Int64),
            "float" => (Shape::Float, Base::Float32),
            "double" => (Shape::Double, Base::Float64),
            "bytes" => (Shape::Bytes, Base::Bytes),
            "string" => (Shape::Text, Base::Text),
            reference => {
                return match self.named.get(&full_name(reference, namespace)) {
                    Some(Some(known)) => Ok(known.clone()),
                    Some(None) => Err(SchemaFault::Recursive),
                    None => Err(SchemaFault::Malformed),
                };
            }
        };
        Ok(leaf(shape, meaning(base, attributes)))
    }

    fn union(
        &mut self,
        branches: &[Value],
        namespace: &str,
        depth: usize,
    ) -> Result<Avro, SchemaFault> {
        let branches = branches
            .iter()
            .map(|branch| self.schema(branch, namespace, depth + 1))
            .collect::<Result<Vec<_>, _>>()?;
        let mut others = branches.iter().filter(|branch| !matches!(*branch.shape, Shape::Null));
        // Null or one thing is that thing; several things are none that has a column.
        let node = match (others.next(), others.next()) {
            (Some(only), None) => only.node.clone(),
            _ => SchemaNode::Leaf(LeafType::Opaque),
        };
        let shapes = branches.into_iter().map(|branch| branch.shape).collect();
        Ok(Avro { shape: Arc::new(Shape::Union(shapes)), node })
    }

    fn record(
        &mut self,
        attributes: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<Avro, SchemaFault> {
        let (full, inner) = names(attributes, namespace)?;
        if self.named.insert(full.clone(), None).is_some() {
            return Err(SchemaFault::Malformed);
        }
        let fields = attributes.get("fields").and_then(Value::as_array);
        let (mut shapes, mut nodes) = (Vec::new(), Vec::new());
        for field in fields.ok_or(SchemaFault::Malformed)? {
            let name = field.get("name").and_then(Value::as_str).ok_or(SchemaFault::Malformed)?;
            let schema = field.get("type").ok_or(SchemaFault::Malformed)?;
            let parsed = self.schema(schema, &inner, depth + 1)?;
            shapes.push((name.to_owned(), parsed.shape));
            nodes.push((name.to_owned(), parsed.node));
        }
        let connect = attributes.get("connect.name").and_then(Value::as_str);
        let node = semantic::record(Some(connect.unwrap_or(&full)), nodes)?;
        let made = Avro { shape: Arc::new(Shape::Record(shapes)), node };
        self.named.insert(full, Some(made.clone()));
        Ok(made)
    }

    fn named(
        &mut self,
        word: &str,
        attributes: &Map<String, Value>,
        namespace: &str,
    ) -> Result<Avro, SchemaFault> {
        let (full, _) = names(attributes, namespace)?;
        let made = if word == "enum" {
            let symbols = attributes.get("symbols").and_then(Value::as_array);
            let symbols = symbols
                .ok_or(SchemaFault::Malformed)?
                .iter()
                .map(|symbol| symbol.as_str().map(str::to_owned).ok_or(SchemaFault::Malformed))
                .collect::<Result<_, _>>()?;
            leaf(Shape::Enum(symbols), LeafType::Enum)
        } else {
            let size = attributes.get("size").and_then(Value::as_u64);
            let size = size.and_then(|size| usize::try_from(size).ok());
            let shape = Shape::Fixed(size.ok_or(SchemaFault::Malformed)?);
            leaf(shape, meaning(Base::Bytes, attributes))
        };
        if self.named.insert(full, Some(made.clone())).is_some() {
            return Err(SchemaFault::Malformed);
        }
        Ok(made)
    }
}

/// Whether a value of the shape has no members, whatever it means.
fn scalar_or_array(shape: &Shape) -> bool {
    match shape {
        Shape::Map(_) | Shape::Record(_) => false,
        Shape::Union(branches) => branches.iter().all(|branch| scalar_or_array(branch)),
        _ => true,
    }
}

fn leaf(shape: Shape, leaf_type: LeafType) -> Avro {
    Avro { shape: Arc::new(shape), node: SchemaNode::Leaf(leaf_type) }
}

/// A named schema's full name, and the namespace inside it.
fn names(
    attributes: &Map<String, Value>,
    namespace: &str,
) -> Result<(String, String), SchemaFault> {
    let name = attributes.get("name").and_then(Value::as_str).ok_or(SchemaFault::Malformed)?;
    let own = attributes.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
    let full = full_name(name, own);
    let inner = full.rsplit_once('.').map_or("", |(inner, _)| inner).to_owned();
    Ok((full, inner))
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

/// What a scalar means: its Connect name first, else its logical type.
fn meaning(base: Base, attributes: &Map<String, Value>) -> LeafType {
    let text = |name: &str| attributes.get(name).and_then(Value::as_str);
    let parameter =
        |name: &str| attributes.get("connect.parameters")?.get(name)?.as_str()?.parse::<i64>().ok();
    let number = |name: &str| attributes.get(name).and_then(Value::as_i64);
    let scale = parameter("scale").or_else(|| number("scale"));
    let precision = parameter("connect.decimal.precision").or_else(|| number("precision"));
    if let Some(name) = text("connect.name") {
        return semantic::scalar(base, Some(name), scale, precision);
    }
    match (text("logicalType"), base) {
        (None, _) => semantic::scalar(base, None, None, None),
        // Avro 1.11: a decimal without a scale has scale 0.
        (Some("decimal"), Base::Bytes) => semantic::decimal(scale.or(Some(0)), precision),
        (Some("date"), Base::Int32) => LeafType::Date,
        (Some("time-millis"), Base::Int32) => LeafType::Time,
        (Some("time-micros"), Base::Int64) => LeafType::MicroTime,
        (Some("timestamp-millis" | "local-timestamp-millis"), Base::Int64) => LeafType::Timestamp,
        (Some("timestamp-micros" | "local-timestamp-micros"), Base::Int64) => {
            LeafType::MicroTimestamp
        }
        (Some("timestamp-nanos" | "local-timestamp-nanos"), Base::Int64) => LeafType::NanoTimestamp,
        (Some("uuid"), Base::Text) => LeafType::Uuid,
        (Some(_), _) => LeafType::Opaque,
    }
}
