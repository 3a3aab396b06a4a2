//! Avro in Confluent's wire format, by a decoder compiled from the writer's schema: one walk
//! checks the frame and builds what is asked for. No reader schema: a schema whose leaves differ
//! from the listed ones holds before anything of it is built.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use data_encoding::BASE64;

use super::avro_schema::{Avro, Shape};
use super::columns::{Column, Columns, Utf8};
use super::scan::{canonical_float, canonical_object, canonical_string};
use super::tree::{Added, Before, Group, Node, Seen, TableName, Tree};
use super::{Hold, Limits, QuarantineCode};
use crate::leaf::LeafType;

/// What the walk does at one place of the schema.
enum Step {
    Skip(Arc<Shape>),
    Record(Vec<Step>),
    Union(Vec<Step>),
    Operation(Arc<Shape>),
    AfterNull,
    AfterRecord(Box<Step>),
    /// The image before the change, whose column says that there was one.
    Before {
        flag: usize,
        inner: Box<Step>,
    },
    /// A member of `source` that must say this.
    Named(String, Arc<Shape>),
    Leaf {
        column: usize,
        leaf_type: LeafType,
        shape: Arc<Shape>,
    },
}

/// A schema made ready for records.
pub(super) struct Plan {
    /// The schema's leaves are not the listed ones; only the operation is read.
    pub(super) hold: Option<Hold>,
    /// Leaves of the schema that stay behind because no list names them.
    pub(super) added: Vec<Added>,
    root: Step,
}

/// A plan for values of the row's leaves; `hold` says why the schema's are others.
pub(super) fn value_plan(
    schema: &Avro,
    tree: &Tree,
    before: Option<&Before>,
    hold: Option<Hold>,
    added: Vec<Added>,
) -> Plan {
    let Shape::Record(fields) = &*schema.shape else {
        let root = Step::Skip(schema.shape.clone());
        return Plan { hold: Some(Hold::NotAnEnvelope), added, root };
    };
    let group = hold.is_none().then_some(&tree.root);
    let steps = fields.iter().map(|(name, shape)| match name.as_str() {
        "op" => Step::Operation(shape.clone()),
        "after" => after(shape, tree, group),
        "before" if hold.is_none() => before_image(shape, before),
        "source" => source(shape, before.and_then(|before| before.table.as_ref())),
        _ => Step::Skip(shape.clone()),
    });
    let root = Step::Record(steps.collect());
    Plan { hold, added, root }
}

fn before_image(shape: &Arc<Shape>, before: Option<&Before>) -> Step {
    match (&**shape, before) {
        (Shape::Union(branches), Some(_)) => {
            Step::Union(branches.iter().map(|branch| before_image(branch, before)).collect())
        }
        (Shape::Record(_), Some(Before { tree, flag, .. })) => {
            Step::Before { flag: *flag, inner: Box::new(image(shape, tree, &tree.root)) }
        }
        _ => Step::Skip(shape.clone()),
    }
}

fn source(shape: &Arc<Shape>, table: Option<&TableName>) -> Step {
    match (&**shape, table) {
        (Shape::Union(branches), Some(_)) => {
            Step::Union(branches.iter().map(|branch| source(branch, table)).collect())
        }
        (Shape::Record(fields), Some(table)) => Step::Record(
            fields
                .iter()
                .map(|(name, shape)| match table.expected(name) {
                    Some(expected) => Step::Named(expected.to_owned(), shape.clone()),
                    None => Step::Skip(shape.clone()),
                })
                .collect(),
        ),
        _ => Step::Skip(shape.clone()),
    }
}

fn after(shape: &Arc<Shape>, tree: &Tree, group: Option<&Group>) -> Step {
    match &**shape {
        Shape::Null => Step::AfterNull,
        Shape::Union(branches) => {
            Step::Union(branches.iter().map(|branch| after(branch, tree, group)).collect())
        }
        _ => Step::AfterRecord(Box::new(
            group.map_or_else(|| Step::Skip(shape.clone()), |group| image(shape, tree, group)),
        )),
    }
}

/// A plan for keys.
pub(super) fn key_plan(schema: &Avro, tree: &Tree, hold: Option<Hold>) -> Plan {
    let root = match hold {
        None => image(&schema.shape, tree, &tree.root),
        Some(_) => Step::Skip(schema.shape.clone()),
    };
    Plan { hold, added: Vec::new(), root }
}

/// The leaves equal the listed ones, so every name is found; a name that is not is skipped.
fn image(shape: &Arc<Shape>, tree: &Tree, group: &Group) -> Step {
    match &**shape {
        Shape::Union(branches) => {
            Step::Union(branches.iter().map(|branch| image(branch, tree, group)).collect())
        }
        Shape::Record(fields) => Step::Record(
            fields
                .iter()
                .map(|(name, shape)| match group.child(name) {
                    Some(Node::Group(inner)) => image(shape, tree, inner),
                    Some(Node::Leaf(leaf)) => match tree.slots[*leaf].column {
                        Some(column) => Step::Leaf {
                            column,
                            leaf_type: tree.slots[*leaf].leaf_type,
                            shape: shape.clone(),
                        },
                        None => Step::Skip(shape.clone()),
                    },
                    None => Step::Skip(shape.clone()),
                })
                .collect(),
        ),
        _ => Step::Skip(shape.clone()),
    }
}

/// Splits a frame into its schema id and its datum.
pub(super) fn frame(bytes: &[u8]) -> Result<(u32, &[u8]), QuarantineCode> {
    match bytes {
        [0, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        [0, ..] => Err(QuarantineCode::Truncated),
        _ => Err(QuarantineCode::MalformedValue),
    }
}

/// Walks one datum, to its last byte.
pub(super) fn walk(
    datum: &[u8],
    plan: &Plan,
    limits: &Limits,
    columns: &mut Columns,
    seen: &mut Seen,
) -> Result<(), QuarantineCode> {
    let mut cursor = Cursor { rest: datum, items_left: limits.items_max };
    step(&mut cursor, &plan.root, columns, seen)?;
    if cursor.rest.is_empty() { Ok(()) } else { Err(QuarantineCode::MalformedValue) }
}

fn step(
    cursor: &mut Cursor<'_>,
    at: &Step,
    columns: &mut Columns,
    seen: &mut Seen,
) -> Result<(), QuarantineCode> {
    match at {
        Step::Skip(shape) => cursor.skip(shape)?,
        Step::Record(steps) => {
            for at in steps {
                step(cursor, at, columns, seen)?;
            }
        }
        Step::Union(branches) => {
            let branch = cursor.branch(branches.len())?;
            step(cursor, &branches[branch], columns, seen)?;
        }
        Step::AfterNull => seen.after = Some(false),
        Step::AfterRecord(inner) => {
            seen.after = Some(true);
            step(cursor, inner, columns, seen)?;
        }
        Step::Before { flag, inner } => {
            if let Some(flag) = columns.column(*flag) {
                flag.boolean(true)?;
            }
            step(cursor, inner, columns, seen)?;
        }
        Step::Named(expected, shape) => {
            let shape = cursor.resolve(shape)?;
            if matches!(shape, Shape::Text) {
                seen.named += u8::from(cursor.text()? == expected);
            } else {
                cursor.skip(shape)?;
            }
        }
        Step::Operation(shape) => {
            let shape = cursor.resolve(shape)?;
            if matches!(shape, Shape::Text) {
                seen.operation(cursor.text()?);
            } else {
                cursor.skip(shape)?;
            }
        }
        Step::Leaf { column, leaf_type, shape } => {
            let shape = cursor.resolve(shape)?;
            match columns.column(*column) {
                Some(column) => leaf(cursor, shape, *leaf_type, column, seen)?,
                None => cursor.skip(shape)?,
            }
        }
    }
    Ok(())
}

fn leaf(
    cursor: &mut Cursor<'_>,
    shape: &Shape,
    leaf_type: LeafType,
    column: &mut Column,
    seen: &mut Seen,
) -> Result<(), QuarantineCode> {
    let pushed = match (leaf_type, shape) {
        (_, Shape::Null) => Ok(()),
        (LeafType::VariableScaleDecimal, Shape::Record(fields)) => {
            let (mut scale, mut unscaled) = (0, &[][..]);
            for (name, shape) in fields {
                match cursor.resolve(shape)? {
                    Shape::Int if name == "scale" => scale = cursor.int()?,
                    Shape::Bytes if name == "value" => unscaled = cursor.bytes()?,
                    other => cursor.skip(other)?,
                }
            }
            column.variable_decimal(i64::from(scale), unscaled)
        }
        (LeafType::Array | LeafType::Opaque, shape) => {
            let mut text = String::new();
            cursor.canonical(shape, &mut text)?;
            column.text(&text)
        }
        (_, Shape::Boolean) => column.boolean(cursor.boolean()?),
        (_, Shape::Int) => column.int(i64::from(cursor.int()?)),
        (_, Shape::Long) => column.int(cursor.long()?),
        (_, Shape::Float) => column.float32(f32::from_le_bytes(cursor.array()?)),
        (_, Shape::Double) => column.float64(f64::from_le_bytes(cursor.array()?)),
        (LeafType::Decimal { .. }, Shape::Bytes) => column.decimal(cursor.bytes()?),
        (LeafType::Decimal { .. }, Shape::Fixed(size)) => column.decimal(cursor.take(*size)?),
        (_, Shape::Bytes) => column.bytes(cursor.bytes()?),
        (_, Shape::Fixed(size)) => column.bytes(cursor.take(*size)?),
        (_, Shape::Text) => column.utf8(cursor.utf8()?),
        (_, Shape::Enum(symbols)) => column.text(cursor.symbol(symbols)?),
        (_, shape) => {
            cursor.skip(shape)?;
            Err(QuarantineCode::MalformedValue)
        }
    };
    seen.value(pushed);
    Ok(())
}

struct Cursor<'a> {
    rest: &'a [u8],
    items_left: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], QuarantineCode> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(QuarantineCode::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], QuarantineCode> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// Avro 1.11 "Primitive types": zig-zag, then 7 bits a byte, least first.
    #[inline]
    fn long(&mut self) -> Result<i64, QuarantineCode> {
        // Branches of unions and lengths of most texts are one byte.
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1))
            }
            _ => self.long_of_bytes(),
        }
    }

    fn long_of_bytes(&mut self) -> Result<i64, QuarantineCode> {
        let mut zigzag = 0_u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            zigzag |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                if index == 9 && *byte > 1 {
                    return Err(QuarantineCode::MalformedValue);
                }
                self.rest = &self.rest[index + 1..];
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        Err(if self.rest.len() < 10 {
            QuarantineCode::Truncated
        } else {
            QuarantineCode::MalformedValue
        })
    }

    fn int(&mut self) -> Result<i32, QuarantineCode> {
        i32::try_from(self.long()?).map_err(|_| QuarantineCode::MalformedValue)
    }

    fn boolean(&mut self) -> Result<bool, QuarantineCode> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(QuarantineCode::MalformedValue),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], QuarantineCode> {
        let length = self.long()?;
        self.take(usize::try_from(length).map_err(|_| QuarantineCode::MalformedValue)?)
    }

    fn text(&mut self) -> Result<&'a str, QuarantineCode> {
        std::str::from_utf8(self.bytes()?).map_err(|_| QuarantineCode::Utf8)
    }

    /// As [`Self::text`] where nobody asks for a `str`. Most texts are short and ASCII, which is
    /// seen in a fraction of the time.
    #[inline]
    fn utf8(&mut self) -> Result<Utf8<'a>, QuarantineCode> {
        Utf8::of(self.bytes()?).ok_or(QuarantineCode::Utf8)
    }

    fn branch(&mut self, branches: usize) -> Result<usize, QuarantineCode> {
        let branch = usize::try_from(self.long()?).ok().filter(|branch| *branch < branches);
        branch.ok_or(QuarantineCode::MalformedValue)
    }

    fn symbol<'s>(&mut self, symbols: &'s [String]) -> Result<&'s str, QuarantineCode> {
        let symbol = usize::try_from(self.int()?).ok().and_then(|at| symbols.get(at));
        symbol.map(String::as_str).ok_or(QuarantineCode::MalformedValue)
    }

    /// The shape that is really there: a union's branch is read.
    fn resolve<'s>(&mut self, mut shape: &'s Shape) -> Result<&'s Shape, QuarantineCode> {
        while let Shape::Union(branches) = shape {
            shape = &branches[self.branch(branches.len())?];
        }
        Ok(shape)
    }

    fn item(&mut self) -> Result<(), QuarantineCode> {
        self.items_left = self.items_left.checked_sub(1).ok_or(QuarantineCode::TooManyItems)?;
        Ok(())
    }

    /// The next block's count; 0 ends. A negative count has its size in bytes behind it.
    fn block(&mut self) -> Result<u64, QuarantineCode> {
        let count = self.long()?;
        if count < 0 && self.long()? < 0 {
            return Err(QuarantineCode::MalformedValue);
        }
        Ok(count.unsigned_abs())
    }

    fn skip(&mut self, shape: &Shape) -> Result<(), QuarantineCode> {
        match shape {
            Shape::Null => {}
            Shape::Boolean => drop(self.boolean()?),
            Shape::Int => drop(self.int()?),
            Shape::Long => drop(self.long()?),
            Shape::Float => drop(self.take(4)?),
            Shape::Double => drop(self.take(8)?),
            Shape::Bytes => drop(self.bytes()?),
            Shape::Text => drop(self.utf8()?),
            Shape::Fixed(size) => drop(self.take(*size)?),
            Shape::Enum(symbols) => drop(self.symbol(symbols)?),
            Shape::Array(_) | Shape::Map(_) => loop {
                let count = self.block()?;
                if count == 0 {
                    break;
                }
                for _ in 0..count {
                    self.item()?;
                    match shape {
                        Shape::Map(values) => {
                            self.utf8()?;
                            self.skip(values)?;
                        }
                        Shape::Array(items) => self.skip(items)?,
                        _ => {}
                    }
                }
            },
            Shape::Union(branches) => {
                let branch = self.branch(branches.len())?;
                self.skip(&branches[branch])?;
            }
            Shape::Record(fields) => {
                // Empty records and nulls cost no byte of the frame, so they cost items.
                self.item()?;
                for (_, shape) in fields {
                    self.item()?;
                    self.skip(shape)?;
                }
            }
        }
        Ok(())
    }

    /// Appends the datum as the JSON that Connect writes for it, in RFC 8785's form.
    fn canonical(&mut self, shape: &Shape, out: &mut String) -> Result<(), QuarantineCode> {
        match shape {
            Shape::Null => out.push_str("null"),
            Shape::Boolean => out.push_str(if self.boolean()? { "true" } else { "false" }),
            Shape::Int => out.push_str(&self.int()?.to_string()),
            Shape::Long => out.push_str(&self.long()?.to_string()),
            Shape::Float => {
                let value = f32::from_le_bytes(self.array()?);
                // Through its own shortest text: 0.1 stays 0.1.
                float(value.to_string().parse().unwrap_or(f64::NAN), out);
            }
            Shape::Double => float(f64::from_le_bytes(self.array()?), out),
            Shape::Bytes => canonical_string(&BASE64.encode(self.bytes()?), out),
            Shape::Fixed(size) => canonical_string(&BASE64.encode(self.take(*size)?), out),
            Shape::Text => canonical_string(self.text()?, out),
            Shape::Enum(symbols) => canonical_string(self.symbol(symbols)?, out),
            Shape::Union(branches) => {
                let branch = self.branch(branches.len())?;
                self.canonical(&branches[branch], out)?;
            }
            Shape::Array(items) => {
                out.push('[');
                let mut first = true;
                loop {
                    let count = self.block()?;
                    if count == 0 {
                        break;
                    }
                    for _ in 0..count {
                        self.item()?;
                        if !first {
                            out.push(',');
                        }
                        first = false;
                        self.canonical(items, out)?;
                    }
                }
                out.push(']');
            }
            Shape::Map(values) => {
                let (mut members, mut names) = (Vec::new(), HashSet::new());
                loop {
                    let count = self.block()?;
                    if count == 0 {
                        break;
                    }
                    for _ in 0..count {
                        self.item()?;
                        let name = self.text()?;
                        if !names.insert(name) {
                            return Err(QuarantineCode::DuplicateName);
                        }
                        let mut value = String::new();
                        self.canonical(values, &mut value)?;
                        members.push((Cow::Borrowed(name), value));
                    }
                }
                canonical_object(members, out);
            }
            Shape::Record(fields) => {
                self.item()?;
                let mut members = Vec::new();
                for (name, shape) in fields {
                    self.item()?;
                    let mut value = String::new();
                    self.canonical(shape, &mut value)?;
                    members.push((Cow::Borrowed(name.as_str()), value));
                }
                canonical_object(members, out);
            }
        }
        Ok(())
    }
}

/// A float inside JSON text: what JSON has no number for is a string, as Connect writes it.
fn float(value: f64, out: &mut String) {
    if value.is_finite() {
        canonical_float(value, out);
    } else {
        let word = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        canonical_string(word, out);
    }
}
