//! JSON with schemas: every record brings its own, so it is compared whole with the last ones.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::scan::{Scan, Token};
use super::semantic::{self, Base, SchemaNode};
use super::{Limits, QuarantineCode, SchemaFault};
use crate::leaf::LeafType;

/// What is known of a schema text, by the text itself: a hash alone could be made to collide.
pub(super) struct Cache<T> {
    known: HashMap<Arc<str>, Arc<T>>,
    last: Option<(Arc<str>, Arc<T>)>,
    schemas_max: usize,
}

impl<T> Cache<T> {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { known: HashMap::new(), last: None, schemas_max: limits.schemas_max }
    }

    fn get(&mut self, text: &str, compile: impl FnOnce(&str) -> T) -> Arc<T> {
        if let Some((key, found)) = self.known.get_key_value(text) {
            self.last = Some((Arc::clone(key), Arc::clone(found)));
            return Arc::clone(found);
        }
        let (key, made) = (Arc::<str>::from(text), Arc::new(compile(text)));
        if self.known.len() >= self.schemas_max {
            self.known.clear();
        }
        self.known.insert(Arc::clone(&key), Arc::clone(&made));
        self.last = Some((key, Arc::clone(&made)));
        made
    }
}

/// The two halves of a record, wherever they stand.
pub(super) struct Halves<'a, T> {
    /// What is known of the schema; `None` where it is JSON's null.
    pub(super) schema: Option<Arc<T>>,
    /// The payload is JSON's null.
    pub(super) null: bool,
    /// Stands where the payload begins.
    pub(super) scan: Scan<'a>,
}

/// Why a record is not two halves.
pub(super) enum NotHalves {
    Code(QuarantineCode),
    /// It is JSON of another shape.
    Shape,
}

impl From<QuarantineCode> for NotHalves {
    fn from(code: QuarantineCode) -> Self {
        Self::Code(code)
    }
}

/// Finds `{"schema": …, "payload": …}`; the payload is read over once, and to be read again.
pub(super) fn halves<'a, T>(
    bytes: &'a [u8],
    limits: &Limits,
    cache: &mut Cache<T>,
    compile: impl FnOnce(&str) -> T,
) -> Result<Halves<'a, T>, NotHalves> {
    let mut scan = Scan::new(bytes, limits)?;
    let opening = scan.token()?;
    if !matches!(opening, Token::Object) {
        scan.skip(&opening)?;
        scan.end()?;
        return Err(NotHalves::Shape);
    }
    let (mut text, mut known, mut payload) = (None, None, None);
    let mut other = false;
    let mut first = true;
    while let Some(name) = scan.member(first)? {
        first = false;
        scan.settle();
        let start = scan.at();
        match &*name.unescape() {
            "schema" if text.is_some() => return Err(QuarantineCode::DuplicateName.into()),
            "schema" => {
                if let Some((last, found)) = &cache.last
                    && scan.take(last)
                {
                    known = Some(Arc::clone(found));
                    text = Some(None);
                    continue;
                }
                let token = scan.token()?;
                scan.skip(&token)?;
                text = Some(match token {
                    Token::Null => None,
                    _ => Some(scan.since(start)),
                });
            }
            "payload" if payload.is_some() => return Err(QuarantineCode::DuplicateName.into()),
            "payload" => {
                let token = scan.token()?;
                scan.skip(&token)?;
                payload = Some((start, matches!(token, Token::Null)));
            }
            _ => {
                let token = scan.token()?;
                scan.skip(&token)?;
                other = true;
            }
        }
    }
    scan.end()?;
    let (Some(text), Some((payload, null)), false) = (text, payload, other) else {
        return Err(NotHalves::Shape);
    };
    let schema = known.or_else(|| text.map(|text| cache.get(text, compile)));
    scan.go_to(payload);
    Ok(Halves { schema, null, scan })
}

/// Reads a Connect schema as JsonConverter writes it.
pub(super) fn parse(text: &str, limits: &Limits) -> Result<SchemaNode, SchemaFault> {
    if text.len() > limits.schema_bytes_max {
        return Err(SchemaFault::TooLarge);
    }
    let schema: Value = serde_json::from_str(text).map_err(|_| SchemaFault::Malformed)?;
    node(&schema)
}

/// The depth is bounded by serde_json's own limit of 128.
fn node(schema: &Value) -> Result<SchemaNode, SchemaFault> {
    let text = |name: &str| schema.get(name).and_then(Value::as_str);
    let parameter = |name: &str| {
        let value = schema.get("parameters")?.get(name)?.as_str()?;
        value.parse::<i64>().ok()
    };
    let base = match text("type").ok_or(SchemaFault::Malformed)? {
        "boolean" => Base::Boolean,
        "int8" | "int16" => Base::Int16,
        "int32" => Base::Int32,
        "int64" => Base::Int64,
        "float" | "float32" => Base::Float32,
        "double" | "float64" => Base::Float64,
        "string" => Base::Text,
        "bytes" => Base::Bytes,
        "array" => return Ok(SchemaNode::Leaf(elements(schema, "items")?)),
        "map" => {
            let values = elements(schema, "values")?;
            // Keys that are no strings are written as pairs.
            let keys = schema.get("keys").and_then(|keys| keys.get("type"));
            let named = keys.and_then(Value::as_str) == Some("string");
            return Ok(SchemaNode::Leaf(if named { values } else { LeafType::Opaque }));
        }
        "struct" => {
            let fields = schema.get("fields").and_then(Value::as_array);
            let fields = fields
                .ok_or(SchemaFault::Malformed)?
                .iter()
                .map(|field| {
                    let name = field.get("field").and_then(Value::as_str);
                    Ok((name.ok_or(SchemaFault::Malformed)?.to_owned(), node(field)?))
                })
                .collect::<Result<_, SchemaFault>>()?;
            return semantic::record(text("name"), fields);
        }
        _ => return Err(SchemaFault::Malformed),
    };
    let scale = parameter("scale");
    let precision = parameter("connect.decimal.precision");
    Ok(SchemaNode::Leaf(semantic::scalar(base, text("name"), scale, precision)))
}

/// The leaf type of an array or map by the schema of its elements.
fn elements(schema: &Value, name: &str) -> Result<LeafType, SchemaFault> {
    let element = schema.get(name).ok_or(SchemaFault::Malformed)?;
    let members = matches!(element.get("type").and_then(Value::as_str), Some("map" | "struct"));
    Ok(semantic::array(&node(element)?, !members))
}
