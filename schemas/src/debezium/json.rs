//! JSON envelopes: names compared in the order they are expected in, values built where asked.

use std::borrow::Cow;

use data_encoding::BASE64;

use super::columns::{Column, Columns};
use super::envelope::{self, Kind, Member, SourceNames};
use super::scan::{Scan, Text, Token};
use super::tree::{Added, Before, Group, Image, Node, Seen, Slot, TableName, Tree, unknown_path};
use super::{Hold, QuarantineCode};
use crate::leaf::LeafType;
use crate::names::printable;

/// Which members of one object have come.
#[derive(Default)]
struct Came {
    few: u128,
    many: Vec<bool>,
    count: usize,
}

impl Came {
    fn insert(&mut self, at: usize) -> Result<(), QuarantineCode> {
        let again = if at < 128 {
            let again = self.few >> at & 1 == 1;
            self.few |= 1 << at;
            again
        } else {
            if self.many.len() <= at {
                self.many.resize(at + 1, false);
            }
            std::mem::replace(&mut self.many[at], true)
        };
        self.count += 1;
        if again { Err(QuarantineCode::DuplicateName) } else { Ok(()) }
    }

    fn has(&self, at: usize) -> bool {
        if at < 128 { self.few >> at & 1 == 1 } else { self.many.get(at).is_some_and(|came| *came) }
    }
}

/// Reads a change event from its opening brace; `seen` is filled as far as reading gets.
pub(super) fn envelope<'a>(
    scan: &mut Scan<'a>,
    tree: &Tree,
    before: Option<&Before>,
    columns: &mut Columns,
    seen: &mut Seen,
) -> Result<(), QuarantineCode> {
    let mut came = Came::default();
    let (mut position, mut expected) = (0, 0);
    loop {
        let first = position == 0;
        position += 1;
        let taken = envelope::member_at(expected).filter(|(name, _)| scan.take_member(first, name));
        let (name, member, at) = if let Some((name, member)) = taken {
            (Cow::Borrowed(name), member, expected)
        } else {
            let Some(name) = scan.member(first)? else { break };
            let name = name.unescape();
            let Some((member, at)) = envelope::member(&name) else {
                seen.hold(|| undocumented("", &name, position));
                skip(scan)?;
                continue;
            };
            (name, member, at)
        };
        expected = at + 1;
        came.insert(at)?;
        let token = scan.token()?;
        match (member, &token) {
            (Member::Before, Token::Object) => match before {
                None => image(scan, tree, &tree.root, Image::Before, None, seen)?,
                Some(Before { tree, flag, .. }) => {
                    if let Some(flag) = columns.column(*flag) {
                        flag.boolean(true)?;
                    }
                    image(scan, tree, &tree.root, Image::Before, Some(&mut *columns), seen)?;
                }
            },
            (Member::After, Token::Object) => {
                seen.after = Some(true);
                image(scan, tree, &tree.root, Image::After, Some(&mut *columns), seen)?;
            }
            (Member::After, Token::Null) => seen.after = Some(false),
            (Member::Source, Token::Object) => {
                source(scan, before.and_then(|before| before.table.as_ref()), seen)?;
            }
            (Member::Transaction, Token::Object) => transaction(scan, seen)?,
            (Member::Op, Token::Text(op)) => seen.operation(&op.unescape()),
            (Member::Before | Member::Source | Member::Transaction, Token::Null) => {}
            (Member::Time, Token::Null | Token::Number(_)) => {}
            _ => {
                seen.hold(|| Hold::UndocumentedEnvelope { path: name.clone().into_owned() });
                scan.skip(&token)?;
            }
        }
    }
    Ok(())
}

fn skip(scan: &mut Scan<'_>) -> Result<(), QuarantineCode> {
    let token = scan.token()?;
    scan.skip(&token)
}

fn undocumented(group: &str, name: &str, n: usize) -> Hold {
    Hold::UndocumentedEnvelope { path: format!("{group}{}", printable(name, false, n)) }
}

fn source(
    scan: &mut Scan<'_>,
    table: Option<&TableName>,
    seen: &mut Seen,
) -> Result<(), QuarantineCode> {
    let mut names = SourceNames::new();
    let mut came = Came::default();
    let (mut position, mut expected) = (0, 0);
    loop {
        let first = position == 0;
        position += 1;
        let taken = envelope::source_at(expected).filter(|name| scan.take_member(first, name));
        let name = match taken {
            Some(name) => Cow::Borrowed(name),
            None => match scan.member(first)? {
                Some(name) => name.unescape(),
                None => break,
            },
        };
        let token = scan.token()?;
        let known = names.find(&name, expected);
        if let Some((at, _)) = known {
            came.insert(at)?;
            expected = at + 1;
        }
        if name == "connector"
            && let Token::Text(connector) = &token
            && !names.connector(&connector.unescape())
        {
            seen.hold(|| undocumented("source.", &name, position));
        }
        if !known.is_some_and(|(_, kind)| envelope_kind(kind, &token)) {
            seen.hold(|| undocumented("source.", &name, position));
        }
        if let Some(expected) = table.and_then(|table| table.expected(&name))
            && matches!(&token, Token::Text(found) if found.unescape() == expected)
        {
            seen.named += 1;
        }
        scan.skip(&token)?;
    }
    Ok(())
}

fn transaction(scan: &mut Scan<'_>, seen: &mut Seen) -> Result<(), QuarantineCode> {
    let mut came = Came::default();
    let mut position = 0;
    while let Some(name) = scan.member(position == 0)? {
        position += 1;
        let name = name.unescape();
        let token = scan.token()?;
        let known = envelope::transaction(&name);
        if let Some((at, _)) = known {
            came.insert(at)?;
        }
        if !known.is_some_and(|(_, kind)| envelope_kind(kind, &token)) {
            seen.hold(|| undocumented("transaction.", &name, position));
        }
        scan.skip(&token)?;
    }
    Ok(())
}

fn envelope_kind(kind: Kind, token: &Token<'_>) -> bool {
    matches!(
        (kind, token),
        (_, Token::Null)
            | (Kind::Text | Kind::TextOrBoolean | Kind::TextOrNumber, Token::Text(_))
            | (Kind::Number | Kind::TextOrNumber, Token::Number(_))
            | (Kind::TextOrBoolean, Token::Boolean(_))
    )
}

/// Reads a row image or a key from behind its opening brace. Without `columns` nothing is built,
/// but every name and every kind of value is looked at.
pub(super) fn image<'a>(
    scan: &mut Scan<'a>,
    tree: &Tree,
    group: &Group,
    which: Image,
    mut columns: Option<&mut Columns>,
    seen: &mut Seen,
) -> Result<(), QuarantineCode> {
    let mut came = Came::default();
    let (mut position, mut expected) = (0, 0);
    loop {
        let first = position == 0;
        position += 1;
        let taken = group
            .children
            .get(expected)
            .is_some_and(|child| child.plain && scan.take_member(first, &child.name));
        let at = if taken {
            expected
        } else {
            let Some(name) = scan.member(first)? else { break };
            let name = name.unescape();
            let Some(at) = group.find(&name, expected) else {
                let token = scan.token()?;
                match &mut seen.added {
                    Some(added) if which != Image::Key => added.push(Added {
                        raw: format!("{}{name}", group.path),
                        leaf: format!("{}{}", group.path, printable(&name, false, position)),
                    }),
                    _ => {
                        let path = || unknown_path(which, &group.path, &name, false, position);
                        seen.unknown(which, path, hint(&token));
                    }
                }
                scan.skip(&token)?;
                continue;
            };
            at
        };
        came.insert(at)?;
        expected = at + 1;
        let token = scan.token()?;
        match (&group.children[at].node, &token) {
            (_, Token::Null) => {}
            (Node::Group(inner), Token::Object) => {
                image(scan, tree, inner, which, columns.as_deref_mut(), seen)?;
            }
            // The leaf that a nested record has become is not in the list.
            (Node::Group(_), _) => {
                let name = &group.children[at].name;
                let path = || unknown_path(which, &group.path, name, true, position);
                seen.unknown(which, path, hint(&token));
                scan.skip(&token)?;
            }
            (Node::Leaf(leaf), _) => {
                let slot = &tree.slots[*leaf];
                let column = match (&mut columns, slot.column) {
                    (Some(columns), Some(column)) => columns.column(column),
                    _ => None,
                };
                value(scan, &token, slot, which, column, seen)?;
            }
        }
    }
    if came.count < group.children.len() {
        let missing = group.children.iter().enumerate().find(|(at, _)| !came.has(*at));
        if let Some((_, child)) = missing {
            let path = format!("{}.{}{}", which.prefix(), group.path, child.name);
            seen.hold(|| Hold::MissingLeaf { path, schema_id: None });
        }
    }
    Ok(())
}

/// What an unknown leaf seems to be, by its kind alone.
fn hint(token: &Token<'_>) -> Option<LeafType> {
    match token {
        Token::Null | Token::Object => None,
        Token::Boolean(_) => Some(LeafType::Boolean),
        Token::Number(number) if number.contains(['.', 'e', 'E']) => Some(LeafType::Float64),
        Token::Number(_) => Some(LeafType::Int64),
        Token::Text(_) => Some(LeafType::Text),
        Token::Array => Some(LeafType::Array),
    }
}

/// How values of a leaf type lie in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Boolean,
    Integer,
    Float,
    /// A string; for `text` any scalar.
    Text,
    Base64,
    Decimal,
    VariableDecimal,
    Nested,
    Any,
}

fn form(leaf_type: LeafType) -> Form {
    match leaf_type {
        LeafType::Boolean => Form::Boolean,
        LeafType::Int16
        | LeafType::Int32
        | LeafType::Int64
        | LeafType::Date
        | LeafType::Time
        | LeafType::MicroTime
        | LeafType::NanoTime
        | LeafType::Timestamp
        | LeafType::MicroTimestamp
        | LeafType::NanoTimestamp
        | LeafType::MicroDuration => Form::Integer,
        LeafType::Float32 | LeafType::Float64 => Form::Float,
        LeafType::Bytes | LeafType::Bits => Form::Base64,
        LeafType::Decimal { .. } => Form::Decimal,
        LeafType::VariableScaleDecimal => Form::VariableDecimal,
        LeafType::Array => Form::Nested,
        LeafType::Opaque => Form::Any,
        LeafType::Text
        | LeafType::ZonedTimestamp
        | LeafType::ZonedTime
        | LeafType::Interval
        | LeafType::Uuid
        | LeafType::Json
        | LeafType::Xml
        | LeafType::Enum
        | LeafType::EnumSet
        | LeafType::Ltree => Form::Text,
    }
}

fn not_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn fits(slot: &Slot, token: &Token<'_>) -> bool {
    match (form(slot.leaf_type), token) {
        (Form::Boolean, Token::Boolean(_))
        | (Form::Integer | Form::Float | Form::Decimal, Token::Number(_))
        | (Form::Text | Form::Base64 | Form::Decimal, Token::Text(_))
        | (Form::VariableDecimal, Token::Object)
        | (Form::Nested, Token::Object | Token::Array)
        | (Form::Any, _) => true,
        (Form::Float, Token::Text(text)) => not_finite(&text.unescape()).is_some(),
        (Form::Text, Token::Boolean(_) | Token::Number(_)) => slot.leaf_type == LeafType::Text,
        _ => false,
    }
}

/// Reads one leaf's value, which is not null.
fn value<'a>(
    scan: &mut Scan<'a>,
    token: &Token<'a>,
    slot: &Slot,
    which: Image,
    column: Option<&mut Column>,
    seen: &mut Seen,
) -> Result<(), QuarantineCode> {
    if !fits(slot, token) {
        seen.hold(|| Hold::Retyped {
            path: format!("{}.{}", which.prefix(), slot.path),
            found: token.kind().to_owned(),
            expected: slot.leaf_type,
            by_value: true,
            schema_id: None,
        });
        return scan.skip(token);
    }
    if form(slot.leaf_type) == Form::VariableDecimal {
        return variable_decimal(scan, slot, which, column, seen);
    }
    let Some(column) = column else {
        return scan.skip(token);
    };
    match (form(slot.leaf_type), token) {
        (form @ (Form::Nested | Form::Any), _) => {
            let mut text = String::new();
            let object_inside = scan.canonical(token, &mut text)?;
            seen.value(if form == Form::Nested && object_inside {
                Err(QuarantineCode::NestedInArray)
            } else {
                column.text(&text)
            });
        }
        (_, scalar) => seen.value(build(column, slot.leaf_type, scalar)),
    }
    Ok(())
}

fn build(
    column: &mut Column,
    leaf_type: LeafType,
    token: &Token<'_>,
) -> Result<(), QuarantineCode> {
    match (form(leaf_type), token) {
        (Form::Boolean, Token::Boolean(value)) => column.boolean(*value),
        (Form::Integer, Token::Number(number)) => column.int(integer(number)?),
        (Form::Float, Token::Number(number)) if leaf_type == LeafType::Float32 => {
            let value: f32 = number.parse().map_err(|_| QuarantineCode::Number)?;
            if value.is_infinite() {
                return Err(QuarantineCode::OutOfRange);
            }
            column.float32(value)
        }
        (Form::Float, Token::Number(number)) => {
            let value: f64 = number.parse().map_err(|_| QuarantineCode::Number)?;
            if value.is_infinite() {
                return Err(QuarantineCode::OutOfRange);
            }
            column.float64(value)
        }
        (Form::Float, Token::Text(text)) => {
            let value = not_finite(&text.unescape()).ok_or(QuarantineCode::Number)?;
            if leaf_type == LeafType::Float32 {
                column.float32(value as f32)
            } else {
                column.float64(value)
            }
        }
        (Form::Text, Token::Text(text)) => column.text(&text.unescape()),
        (Form::Text, Token::Boolean(value)) => column.text(if *value { "true" } else { "false" }),
        (Form::Text, Token::Number(number)) => {
            // Which decimal a float with an exponent was meant to be is not for us to say.
            if number.contains(['e', 'E']) {
                return Err(QuarantineCode::Number);
            }
            column.text(if *number == "-0" { "0" } else { number })
        }
        (Form::Base64, Token::Text(text)) => column.bytes(&base64(*text)?),
        (Form::Decimal, Token::Text(text)) => column.decimal(&base64(*text)?),
        (Form::Decimal, Token::Number(number)) => column.decimal_text(number),
        _ => Err(QuarantineCode::MalformedValue),
    }
}

fn integer(number: &str) -> Result<i64, QuarantineCode> {
    if number.contains(['.', 'e', 'E']) {
        return Err(QuarantineCode::Number);
    }
    number.parse().map_err(|_| QuarantineCode::OutOfRange)
}

fn base64(text: Text<'_>) -> Result<Vec<u8>, QuarantineCode> {
    BASE64.decode(text.unescape().as_bytes()).map_err(|_| QuarantineCode::Base64)
}

/// `{"scale": 14, "value": "AR2552okgw=="}`.
fn variable_decimal(
    scan: &mut Scan<'_>,
    slot: &Slot,
    which: Image,
    column: Option<&mut Column>,
    seen: &mut Seen,
) -> Result<(), QuarantineCode> {
    let (mut scale, mut unscaled) = (None, None);
    let mut came = Came::default();
    let mut position = 0;
    while let Some(name) = scan.member(position == 0)? {
        position += 1;
        let name: Cow<'_, str> = name.unescape();
        let token = scan.token()?;
        match (&*name, &token) {
            ("scale", Token::Number(number)) => {
                came.insert(0)?;
                scale = Some(integer(number));
            }
            ("value", Token::Text(text)) => {
                came.insert(1)?;
                unscaled = Some(base64(*text));
            }
            _ => {
                let path = format!("{}.", slot.path);
                let path = || unknown_path(which, &path, &name, false, position);
                seen.unknown(which, path, None);
                scan.skip(&token)?;
            }
        }
    }
    let Some(column) = column else { return Ok(()) };
    seen.value(match (scale, unscaled) {
        (Some(Ok(scale)), Some(Ok(unscaled))) => column.variable_decimal(scale, &unscaled),
        (Some(Err(code)), _) | (_, Some(Err(code))) => Err(code),
        _ => Err(QuarantineCode::MalformedValue),
    });
    Ok(())
}

/// The raw text says that this is a delete, whatever else is wrong with it. A quote inside a JSON
/// string is escaped, so a cell cannot say it.
pub(super) fn says_delete(value: &[u8]) -> bool {
    let after_space = |mut at: usize| {
        while value.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    memchr::memmem::find_iter(value, b"\"op\"").any(|at| {
        let colon = after_space(at + 4);
        let letter = after_space(colon + 1);
        value.get(colon) == Some(&b':') && value.get(letter..letter + 3) == Some(b"\"d\"")
    })
}
