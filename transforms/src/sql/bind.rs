//! Names and types, checked before any record is read, and the lineage of every expression.
//!
//! Nothing is converted silently but whole numbers to wider ones and literals to their neighbour's
//! type. Tokens and encrypted values are no texts: their domain is part of their type.

use std::cell::Cell;
use std::collections::BTreeSet;

use douane_schemas::leaf::LeafType;

use super::functions::{Function, Gives, Takes};
use super::parse::{self, Expr, FIELDS, Field, Item, NODES_MAX, Node, Operator, Tree};
use super::{Bound, Derived, Input, Output, SqlFault, nearest};

/// What the values of an expression are while they are computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ty {
    /// Only the source knows; nothing is refused for it, and it is never evaluated.
    Unknown,
    /// The literal `null`.
    Null,
    Boolean,
    /// 64 bits.
    Integer,
    Float,
    Decimal(u8, i8),
    Text,
    Date,
    /// Microseconds without zone.
    Timestamp,
    /// A token or an encrypted value of this domain.
    Sealed(String),
    /// May only be passed on, looked at for null, and compared with its like.
    Other(LeafType),
}

impl Ty {
    fn of(leaf_type: LeafType) -> Self {
        match leaf_type {
            LeafType::Boolean => Self::Boolean,
            LeafType::Int16 | LeafType::Int32 | LeafType::Int64 => Self::Integer,
            LeafType::Float32 | LeafType::Float64 => Self::Float,
            LeafType::Decimal { precision, scale } if precision <= 38 && scale >= 0 => {
                Self::Decimal(precision, scale)
            }
            LeafType::Text
            | LeafType::Uuid
            | LeafType::Json
            | LeafType::Xml
            | LeafType::Enum
            | LeafType::EnumSet
            | LeafType::Ltree => Self::Text,
            LeafType::Date => Self::Date,
            LeafType::Timestamp | LeafType::MicroTimestamp => Self::Timestamp,
            other => Self::Other(other),
        }
    }

    /// What a column of it is outside; `None` for what has no type of its own.
    pub(super) fn leaf_type(&self) -> Option<LeafType> {
        Some(match self {
            Self::Null => return None,
            Self::Boolean => LeafType::Boolean,
            Self::Integer => LeafType::Int64,
            Self::Float => LeafType::Float64,
            Self::Decimal(precision, scale) => {
                LeafType::Decimal { precision: *precision, scale: *scale }
            }
            Self::Unknown | Self::Text | Self::Sealed(_) => LeafType::Text,
            Self::Date => LeafType::Date,
            Self::Timestamp => LeafType::MicroTimestamp,
            Self::Other(leaf_type) => *leaf_type,
        })
    }

    fn name(&self) -> String {
        match self {
            Self::Unknown => "a type that only the source knows".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Boolean => "boolean".to_owned(),
            Self::Integer => "bigint".to_owned(),
            Self::Float => "double precision".to_owned(),
            Self::Decimal(precision, scale) => format!("decimal({precision}, {scale})"),
            Self::Text => "text".to_owned(),
            Self::Date => "date".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            Self::Sealed(domain) => format!("a value of the domain `{domain}`"),
            Self::Other(leaf_type) => leaf_type.to_string(),
        }
    }
}

/// An expression with its type, its spelling and its lineage.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub ty: Ty,
    pub kind: Kind,
    text: String,
    direct: BTreeSet<usize>,
    indirect: BTreeSet<usize>,
}

/// What is computed.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Column(usize),
    Null,
    Boolean(bool),
    Integer(i64),
    Decimal(i128),
    Text(String),
    Not(Box<Typed>),
    Negative(Box<Typed>),
    Binary(Operator, Box<Typed>, Box<Typed>),
    Distinct(Box<Typed>, Box<Typed>),
    IsNull(Box<Typed>),
    Is(Box<Typed>, bool),
    Like(Box<Typed>, String),
    In(Box<Typed>, Vec<Typed>),
    /// Conditions and results, and the rest.
    Case(Vec<(Typed, Typed)>, Option<Box<Typed>>),
    /// The first that is not null.
    Coalesce(Vec<Typed>),
    /// An operand that its text names once and its evaluation needs more than once: `value` is
    /// evaluated once, and stands in `body` wherever [`Kind::Again`] has its number.
    Once {
        number: usize,
        value: Box<Typed>,
        body: Box<Typed>,
    },
    Again(usize),
    /// To `ty`.
    Cast(Box<Typed>),
    Extract(Field, Box<Typed>),
    Call(Function, Vec<Typed>),
}

pub(super) fn bind(tree: &Tree, inputs: &[Input]) -> Result<Bound, Vec<SqlFault>> {
    let mut faults = Vec::new();
    let mut outputs: Vec<Output> = Vec::new();
    let mut list: Vec<String> = Vec::new();
    let mut names = BTreeSet::new();
    let mut push = |at: usize, output: Output, text: String, faults: &mut Vec<SqlFault>| {
        let (Output::Pass { name, .. } | Output::Derived { name, .. }) = &output;
        if !names.insert(name.clone()) {
            let message = format!("two columns are named `{name}`");
            faults.push(SqlFault::new(at, message, "give one another name with `as`"));
        }
        list.push(text);
        outputs.push(output);
    };
    let binder = Binder { inputs, numbers: Cell::new(0), nodes: Cell::new(0) };
    for item in &tree.items {
        match item {
            Item::All { at } => {
                for (input, column) in inputs.iter().enumerate() {
                    let output = Output::Pass { input, name: column.name.clone() };
                    push(*at, output, spelled(&column.name), &mut faults);
                }
            }
            Item::Expr { expr, name, at } => match binder.item(expr, name.as_deref()) {
                Ok((output, text)) => push(*at, output, text, &mut faults),
                Err(fault) => faults.push(fault),
            },
        }
    }
    let filter = match tree.filter.as_ref().map(|filter| binder.filter(filter)) {
        Some(Err(fault)) => {
            faults.push(fault);
            None
        }
        Some(Ok(filter)) => Some(filter),
        None => None,
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    let tail = filter.as_ref().map_or_else(String::new, |f| format!(" where {}", f.text));
    let text = format!("select {} from batch{tail}", list.join(", "));
    Ok(Bound { outputs, filter, text })
}

/// A name as it must be written to be read back.
fn spelled(name: &str) -> String {
    if parse::is_bare(name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn text_of(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

struct Binder<'a> {
    inputs: &'a [Input],
    /// The next [`Kind::Once`].
    numbers: Cell<usize>,
    /// Expressions in what is evaluated, so far.
    nodes: Cell<usize>,
}

impl Binder<'_> {
    fn item(&self, expr: &Expr, name: Option<&str>) -> Result<(Output, String), SqlFault> {
        let typed = self.expr(expr)?;
        if let Kind::Column(input) = typed.kind {
            let column = &self.inputs[input].name;
            let text = match name.filter(|name| name != column) {
                None => spelled(column),
                Some(name) => format!("{} as {}", spelled(column), spelled(name)),
            };
            let name = name.unwrap_or(column).to_owned();
            return Ok((Output::Pass { input, name }, text));
        }
        let Some(name) = name else {
            let message = "this column has no name";
            return Err(SqlFault::new(expr.at, message, "write `as` and a name behind it"));
        };
        let text = format!("{} as {}", typed.text, spelled(name));
        let derived = self.derived(expr.at, typed)?;
        Ok((Output::Derived { name: name.to_owned(), derived }, text))
    }

    fn filter(&self, expr: &Expr) -> Result<Derived, SqlFault> {
        let typed = self.boolean(expr)?;
        self.derived(expr.at, typed)
    }

    fn boolean(&self, expr: &Expr) -> Result<Typed, SqlFault> {
        let typed = self.expr(expr)?;
        match typed.ty {
            Ty::Boolean | Ty::Unknown | Ty::Null => Ok(typed),
            _ => Err(wrong(expr.at, "this", &typed.ty, "a condition: boolean")),
        }
    }

    fn expr(&self, expr: &Expr) -> Result<Typed, SqlFault> {
        let at = expr.at;
        match &expr.node {
            Node::Column(name) => self.column(at, name),
            Node::Text(text) => Ok(literal(Ty::Text, Kind::Text(text.clone()), text_of(text))),
            Node::Number(number) => number_of(at, number, number),
            Node::Boolean(value) => {
                Ok(literal(Ty::Boolean, Kind::Boolean(*value), value.to_string()))
            }
            Node::Null => Ok(literal(Ty::Null, Kind::Null, "null".to_owned())),
            Node::Negative(of) => self.negative(at, of),
            Node::Not(of) => {
                let of = self.boolean(of)?;
                let text = format!("(not {})", of.text);
                Ok(made(Ty::Boolean, text, &[&of], false, Kind::Not(Box::new(of.clone()))))
            }
            Node::Binary(operator, left, right) => self.binary(at, *operator, left, right),
            Node::IsNull { of, not } => {
                let of = self.expr(of)?;
                let text = format!("({} is null)", of.text);
                let is = made(Ty::Boolean, text, &[&of], false, Kind::IsNull(Box::new(of.clone())));
                Ok(if *not { negated(is) } else { is })
            }
            Node::Is { of, truth, not } => {
                let of = self.boolean(of)?;
                let text = format!("({} is {truth})", of.text);
                let kind = Kind::Is(Box::new(of.clone()), *truth);
                let is = made(Ty::Boolean, text, &[&of], false, kind);
                Ok(if *not { negated(is) } else { is })
            }
            Node::Distinct { left, right, not } => {
                let (left, right) = (self.expr(left)?, self.expr(right)?);
                let (left, right) = alike(at, left, right, Alike::Equal)?;
                let text = format!("({} is distinct from {})", left.text, right.text);
                let kind = Kind::Distinct(Box::new(left.clone()), Box::new(right.clone()));
                let is = made(Ty::Boolean, text, &[&left, &right], false, kind);
                Ok(if *not { negated(is) } else { is })
            }
            Node::In { of, list, not } => self.is_in(of, list, *not),
            Node::Between { of, low, high, not } => {
                let (of, once) = self.once(of)?;
                let (low, high) = (self.expr(low)?, self.expr(high)?);
                let text = format!("({} between {} and {})", of.text, low.text, high.text);
                let least = compared(at, Operator::GreaterEqual, of.clone(), low)?;
                let most = compared(at, Operator::LessEqual, of, high)?;
                let both = Typed { text, ..join(Operator::And, least, most) };
                let both = around(once, both);
                Ok(if *not { negated(both) } else { both })
            }
            Node::Like { of, pattern, not } => {
                let of = self.of(of, Takes::Text)?;
                let text = format!("({} like {})", of.text, text_of(pattern));
                let kind = Kind::Like(Box::new(of.clone()), pattern.clone());
                let is = made(Ty::Boolean, text, &[&of], false, kind);
                Ok(if *not { negated(is) } else { is })
            }
            Node::Case { of, whens, otherwise } => {
                self.case(at, of.as_deref(), whens, otherwise.as_deref())
            }
            Node::Coalesce(list) => self.coalesce(at, list),
            Node::NullIf(left, right) => {
                let (value, once) = self.once(left)?;
                let right = self.expr(right)?;
                let text = format!("nullif({}, {})", value.text, right.text);
                let equal = compared(at, Operator::Equal, value.clone(), right)?;
                let null = literal(Ty::Null, Kind::Null, "null".to_owned());
                Ok(around(once, branches(text, vec![(equal, null)], Some(value))))
            }
            Node::Cast { of, to } => self.cast(at, of, *to),
            Node::Extract { field, of } => {
                let typed = self.expr(of)?;
                let day = !matches!(field, Field::Hour | Field::Minute);
                match typed.ty {
                    Ty::Date if day => {}
                    Ty::Timestamp | Ty::Unknown | Ty::Null => {}
                    _ => {
                        let wanted = if day { "a date or a timestamp" } else { "a timestamp" };
                        return Err(wrong(of.at, "this", &typed.ty, wanted));
                    }
                }
                let name = FIELDS.iter().find(|(_, f)| f == field).map_or("", |(name, _)| *name);
                let text = format!("extract({name} from {})", typed.text);
                let kind = Kind::Extract(*field, Box::new(typed.clone()));
                Ok(made(Ty::Integer, text, &[&typed], false, kind))
            }
            Node::Call { function, args } => self.call(*function, args),
        }
    }

    fn column(&self, at: usize, name: &str) -> Result<Typed, SqlFault> {
        let Some(input) = self.inputs.iter().position(|input| input.name == name) else {
            let names: Vec<&str> = self.inputs.iter().map(|input| input.name.as_str()).collect();
            let shown = if parse::is_name(name) { format!("`{name}`") } else { "this".to_owned() };
            let message = format!("{shown} is no column that crosses");
            let next = match nearest(name, &names) {
                Some(near) => format!("write `{near}`"),
                None => format!("there are {}", names.join(", ")),
            };
            return Err(SqlFault::new(at, message, next));
        };
        let column = &self.inputs[input];
        let ty = match (&column.domain, column.leaf_type) {
            (Some(domain), _) => Ty::Sealed(domain.clone()),
            (None, Some(leaf_type)) => Ty::of(leaf_type),
            (None, None) => Ty::Unknown,
        };
        Ok(Typed {
            // A timestamp in milliseconds may have no microseconds.
            indirect: match column.leaf_type {
                Some(LeafType::Timestamp) => BTreeSet::from([input]),
                _ => BTreeSet::new(),
            },
            ty,
            kind: Kind::Column(input),
            text: spelled(name),
            direct: BTreeSet::from([input]),
        })
    }

    /// An operand that is needed more than once: what stands for it, and, where it is more than a
    /// name or a literal, what is evaluated once, for [`around`].
    fn once(&self, expr: &Expr) -> Result<(Typed, Option<(usize, Typed)>), SqlFault> {
        let value = self.expr(expr)?;
        let single = match value.kind {
            Kind::Column(_) | Kind::Null | Kind::Boolean(_) | Kind::Integer(_) => true,
            Kind::Decimal(_) | Kind::Text(_) | Kind::Again(_) => true,
            _ => false,
        };
        if single {
            return Ok((value, None));
        }
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let stands = |kind| Typed {
            ty: value.ty.clone(),
            kind,
            text: value.text.clone(),
            direct: value.direct.clone(),
            indirect: value.indirect.clone(),
        };
        // What has no type takes that of the other side, as the literal does.
        Ok(match value.ty {
            Ty::Null => (stands(Kind::Null), None),
            _ => (stands(Kind::Again(number)), Some((number, value))),
        })
    }

    fn derived(&self, at: usize, typed: Typed) -> Result<Derived, SqlFault> {
        self.nodes.set(self.nodes.get() + nodes(&typed));
        if self.nodes.get() > NODES_MAX {
            let message = format!("the SQL computes more than {NODES_MAX} expressions");
            return Err(SqlFault::new(at, message, "write less"));
        }
        derived(at, typed)
    }

    fn negative(&self, at: usize, of: &Expr) -> Result<Typed, SqlFault> {
        if let Node::Number(number) = &of.node {
            return number_of(at, &format!("-{number}"), &format!("-{number}"));
        }
        let typed = self.expr(of)?;
        match typed.ty {
            Ty::Integer | Ty::Float | Ty::Decimal(..) | Ty::Unknown | Ty::Null => {}
            _ => return Err(wrong(of.at, "this", &typed.ty, "a number")),
        }
        let text = format!("(-{})", typed.text);
        let ty = typed.ty.clone();
        Ok(made(ty, text, &[&typed], true, Kind::Negative(Box::new(typed.clone()))))
    }

    fn binary(
        &self,
        at: usize,
        operator: Operator,
        left: &Expr,
        right: &Expr,
    ) -> Result<Typed, SqlFault> {
        use Operator::{Add, And, Concat, Divide, Multiply, Or, Remainder, Subtract};
        match operator {
            And | Or => Ok(join(operator, self.boolean(left)?, self.boolean(right)?)),
            Concat => {
                let (left, right) = (self.of(left, Takes::Text)?, self.of(right, Takes::Text)?);
                Ok(pair(operator, Ty::Text, left, right, true))
            }
            Add | Subtract | Multiply | Divide | Remainder => {
                let (l, r) = alike(at, self.expr(left)?, self.expr(right)?, Alike::Number)?;
                let ty = match (&l.ty, &r.ty) {
                    (Ty::Decimal(..), Ty::Decimal(..)) => decimal(at, operator, &l.ty, &r.ty)?,
                    (ty, _) => ty.clone(),
                };
                if operator == Remainder && ty == Ty::Float {
                    let message = "`%` of double precision is not taken";
                    return Err(SqlFault::new(at, message, "cast both sides to bigint"));
                }
                Ok(pair(operator, ty, l, r, true))
            }
            _ => compared(at, operator, self.expr(left)?, self.expr(right)?),
        }
    }

    fn is_in(&self, of: &Expr, list: &[Expr], not: bool) -> Result<Typed, SqlFault> {
        let mut all = vec![self.expr(of)?];
        for one in list {
            all.push(self.expr(one)?);
        }
        let texts: Vec<String> = all.iter().skip(1).map(|one| one.text.clone()).collect();
        let all = one_type(of.at, all)?;
        let Some((of, list)) = all.split_first() else {
            return Err(SqlFault::new(of.at, "the list is empty", "write values into it"));
        };
        let text = format!("({} in ({}))", of.text, texts.join(", "));
        let parts: Vec<&Typed> = all.iter().collect();
        let kind = Kind::In(Box::new(of.clone()), list.to_vec());
        let is = made(Ty::Boolean, text, &parts, false, kind);
        Ok(if not { negated(is) } else { is })
    }

    fn case(
        &self,
        at: usize,
        of: Option<&Expr>,
        whens: &[(Expr, Expr)],
        otherwise: Option<&Expr>,
    ) -> Result<Typed, SqlFault> {
        let mut text = "case".to_owned();
        let (of, once) = of.map(|of| self.once(of)).transpose()?.unzip();
        if let Some(of) = &of {
            text.push_str(&format!(" {}", of.text));
        }
        let mut conditions = Vec::new();
        let mut spelled = Vec::new();
        for (when, _) in whens {
            let (condition, text) = match &of {
                Some(of) => {
                    let right = self.expr(when)?;
                    let text = right.text.clone();
                    (compared(when.at, Operator::Equal, of.clone(), right)?, text)
                }
                None => {
                    let condition = self.boolean(when)?;
                    let text = condition.text.clone();
                    (condition, text)
                }
            };
            conditions.push(condition);
            spelled.push(text);
        }
        let mut results: Vec<Typed> = Vec::new();
        for then in whens.iter().map(|(_, then)| then).chain(otherwise) {
            results.push(self.expr(then)?);
        }
        let mut results = one_type(at, results)?;
        let rest = otherwise.and_then(|_| results.pop());
        for (when, then) in spelled.iter().zip(&results) {
            text.push_str(&format!(" when {when} then {}", then.text));
        }
        if let Some(rest) = &rest {
            text.push_str(&format!(" else {}", rest.text));
        }
        text.push_str(" end");
        let whens = conditions.into_iter().zip(results).collect();
        Ok(around(once.flatten(), branches(text, whens, rest)))
    }

    fn coalesce(&self, at: usize, list: &[Expr]) -> Result<Typed, SqlFault> {
        let values = list.iter().map(|one| self.expr(one)).collect::<Result<Vec<_>, _>>()?;
        let values = one_type(at, values)?;
        let texts: Vec<&str> = values.iter().map(|v| v.text.as_str()).collect();
        let text = format!("coalesce({})", texts.join(", "));
        let types = || values.iter().map(|value| &value.ty);
        let ty = types().find(|ty| **ty != Ty::Null).cloned().unwrap_or(Ty::Null);
        let all: Vec<&Typed> = values.iter().collect();
        let mut out = made(ty, text, &all, false, Kind::Null);
        // All but the last decide, by being null, what is in the result.
        for value in values.iter().rev().skip(1) {
            out.indirect.extend(&value.direct);
        }
        Ok(Typed { kind: Kind::Coalesce(values), ..out })
    }

    fn cast(&self, at: usize, of: &Expr, to: LeafType) -> Result<Typed, SqlFault> {
        let typed = self.expr(of)?;
        let ty = Ty::of(to);
        let takes = match (&typed.ty, &ty) {
            (Ty::Unknown | Ty::Null, _) => true,
            (from, to) if from == to => true,
            (Ty::Sealed(_) | Ty::Other(_), _) => false,
            (_, Ty::Text) => true,
            (Ty::Text, _) => ty != Ty::Boolean,
            (Ty::Integer | Ty::Decimal(..), Ty::Float | Ty::Decimal(..)) => true,
            (Ty::Timestamp, Ty::Date) => true,
            _ => false,
        };
        if !takes {
            let message = format!("{} is not cast to {}", typed.ty.name(), ty.name());
            let next =
                "cast numbers to wider ones, anything but tokens to text, text to what it says";
            return Err(SqlFault::new(at, message, next));
        }
        let fails = !matches!(
            (&typed.ty, &ty),
            (Ty::Integer, Ty::Text | Ty::Float)
                | (Ty::Decimal(..), Ty::Text | Ty::Float)
                | (Ty::Boolean | Ty::Float | Ty::Text, Ty::Text)
        );
        if let (Kind::Text(text), Ty::Date) = (&typed.kind, &ty)
            && super::eval::date(text).is_none()
        {
            let message = "this is no date";
            return Err(SqlFault::new(of.at, message, "write `date '2026-01-31'`"));
        }
        let text = format!("cast({} as {})", typed.text, ty.name());
        Ok(made(ty, text, &[&typed], fails, Kind::Cast(Box::new(typed.clone()))))
    }

    fn call(&self, function: Function, args: &[Expr]) -> Result<Typed, SqlFault> {
        let (fixed, more) = function.arguments();
        let mut typed = Vec::new();
        for (n, arg) in args.iter().enumerate() {
            let takes = fixed.get(n).copied().or(more).unwrap_or(Takes::Text);
            typed.push(self.of(arg, takes)?);
        }
        let texts: Vec<&str> = typed.iter().map(|t| t.text.as_str()).collect();
        let text = format!("{}({})", function.name(), texts.join(", "));
        let ty = match function.gives() {
            Gives::Text => Ty::Text,
            Gives::Integer => Ty::Integer,
            Gives::Boolean => Ty::Boolean,
        };
        let all: Vec<&Typed> = typed.iter().collect();
        let fails = function.may_fail();
        Ok(made(ty, text, &all, fails, Kind::Call(function, typed.clone())))
    }

    fn of(&self, expr: &Expr, takes: Takes) -> Result<Typed, SqlFault> {
        let typed = self.expr(expr)?;
        match (&typed.ty, takes) {
            (Ty::Text, Takes::Text) | (Ty::Integer, Takes::Integer) => Ok(typed),
            (Ty::Unknown, _) => Ok(typed),
            (Ty::Null, Takes::Text) => Ok(Typed { ty: Ty::Text, ..typed }),
            (Ty::Null, Takes::Integer) => Ok(Typed { ty: Ty::Integer, ..typed }),
            (Ty::Sealed(domain), _) => {
                let message = format!("a value of the domain `{domain}` is no text");
                let next = "pass it on, compare it with its like, or leave it out";
                Err(SqlFault::new(expr.at, message, next))
            }
            (_, Takes::Text) => Err(wrong(expr.at, "this", &typed.ty, "text: `cast(… as text)`")),
            (_, Takes::Integer) => Err(wrong(expr.at, "this", &typed.ty, "bigint")),
        }
    }
}

/// What two sides are joined for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alike {
    Number,
    Order,
    Equal,
}

/// Both sides in one type.
fn alike(at: usize, left: Typed, right: Typed, how: Alike) -> Result<(Typed, Typed), SqlFault> {
    let (left, right) = unify(at, left, right)?;
    let fits = match (&left.ty, how) {
        (Ty::Unknown | Ty::Null, _) | (_, Alike::Equal) => true,
        (Ty::Integer | Ty::Float | Ty::Decimal(..), _) => true,
        (Ty::Text | Ty::Date | Ty::Timestamp, Alike::Order) => true,
        _ => false,
    };
    if !fits {
        let wanted = if how == Alike::Number { "numbers" } else { "what has an order" };
        return Err(wrong(at, "both sides", &left.ty, wanted));
    }
    Ok((left, right))
}

fn compared(at: usize, operator: Operator, left: Typed, right: Typed) -> Result<Typed, SqlFault> {
    let how = match operator {
        Operator::Equal | Operator::NotEqual => Alike::Equal,
        _ => Alike::Order,
    };
    let (left, right) = alike(at, left, right, how)?;
    Ok(pair(operator, Ty::Boolean, left, right, false))
}

/// `body` with the value that it names evaluated before it.
fn around(once: Option<(usize, Typed)>, body: Typed) -> Typed {
    let Some((number, value)) = once else { return body };
    Typed {
        ty: body.ty.clone(),
        text: body.text.clone(),
        direct: body.direct.clone(),
        indirect: body.indirect.clone(),
        kind: Kind::Once { number, value: Box::new(value), body: Box::new(body) },
    }
}

/// Expressions in all: as many as are evaluated for a row at most.
pub(super) fn nodes(typed: &Typed) -> usize {
    let sum = |all: &[Typed]| all.iter().map(nodes).sum::<usize>();
    1 + match &typed.kind {
        Kind::Column(_) | Kind::Null | Kind::Boolean(_) | Kind::Integer(_) => 0,
        Kind::Decimal(_) | Kind::Text(_) | Kind::Again(_) => 0,
        Kind::Not(of) | Kind::Negative(of) | Kind::IsNull(of) | Kind::Is(of, _) => nodes(of),
        Kind::Like(of, _) | Kind::Cast(of) | Kind::Extract(_, of) => nodes(of),
        Kind::Binary(_, left, right) | Kind::Distinct(left, right) => nodes(left) + nodes(right),
        Kind::In(of, list) => nodes(of) + sum(list),
        Kind::Case(whens, rest) => {
            let whens = whens.iter().map(|(when, then)| nodes(when) + nodes(then));
            whens.sum::<usize>() + rest.as_deref().map_or(0, nodes)
        }
        Kind::Coalesce(list) | Kind::Call(_, list) => sum(list),
        Kind::Once { value, body, .. } => nodes(value) + nodes(body),
    }
}

fn wrong(at: usize, what: &str, found: &Ty, expected: &str) -> SqlFault {
    SqlFault::new(
        at,
        format!("{what}: found {}, expected {expected}", found.name()),
        "mend the SQL",
    )
}

/// Brings two expressions to one type, or says why that cannot be.
fn unify(at: usize, left: Typed, right: Typed) -> Result<(Typed, Typed), SqlFault> {
    let wide = |scale: i8| Ty::Decimal(38, scale);
    let ty = match (&left.ty, &right.ty) {
        (a, b) if a == b => a.clone(),
        (Ty::Unknown, _) | (_, Ty::Unknown) => return Ok((left, right)),
        (Ty::Null, other) | (other, Ty::Null) => other.clone(),
        (Ty::Integer, Ty::Float) | (Ty::Float, Ty::Integer) => Ty::Float,
        (Ty::Decimal(..), Ty::Float) if is_literal(&left) => Ty::Float,
        (Ty::Float, Ty::Decimal(..)) if is_literal(&right) => Ty::Float,
        (Ty::Decimal(_, scale), Ty::Integer) | (Ty::Integer, Ty::Decimal(_, scale)) => wide(*scale),
        (Ty::Decimal(_, a), Ty::Decimal(_, b)) => wide(*a.max(b)),
        (Ty::Sealed(a), Ty::Sealed(b)) => {
            let message = format!("values of two domains, `{a}` and `{b}`, never meet");
            return Err(SqlFault::new(at, message, "two domains cannot be joined; remove it"));
        }
        (Ty::Sealed(domain), _) | (_, Ty::Sealed(domain)) => {
            let message = format!("a value of the domain `{domain}` meets something else");
            return Err(SqlFault::new(at, message, "compare it with its like only"));
        }
        (a, b) => {
            let message = format!("{} meets {}", a.name(), b.name());
            let next = match (a, b) {
                (Ty::Date, Ty::Text) | (Ty::Text, Ty::Date) => "write `date '2026-01-31'`",
                _ => "write `cast(… as …)` around one of them",
            };
            return Err(SqlFault::new(at, message, next));
        }
    };
    Ok((coerced(left, &ty), coerced(right, &ty)))
}

fn is_literal(typed: &Typed) -> bool {
    matches!(typed.kind, Kind::Integer(_) | Kind::Decimal(_) | Kind::Null)
}

/// The same value in a wider type; the spelling stays, for the text says the rest.
fn coerced(typed: Typed, ty: &Ty) -> Typed {
    if typed.ty == *ty || *ty == Ty::Null {
        return typed;
    }
    if typed.ty == Ty::Null {
        return Typed { ty: ty.clone(), ..typed };
    }
    let fails = matches!(ty, Ty::Decimal(..)) && !is_literal(&typed);
    let text = typed.text.clone();
    made(ty.clone(), text, &[&typed], fails, Kind::Cast(Box::new(typed.clone())))
}

fn one_type(at: usize, mut all: Vec<Typed>) -> Result<Vec<Typed>, SqlFault> {
    // There, and back, so that all have the widest.
    let last = all.len();
    for n in (1..last).chain((1..last).rev()) {
        let right = all.remove(n);
        let left = all.remove(n - 1);
        let (left, right) = unify(at, left, right)?;
        all.insert(n - 1, left);
        all.insert(n, right);
    }
    Ok(all)
}

/// The type of decimal arithmetic: exact, or refused.
fn decimal(at: usize, operator: Operator, left: &Ty, right: &Ty) -> Result<Ty, SqlFault> {
    let (Ty::Decimal(_, a), Ty::Decimal(_, b)) = (left, right) else { return Ok(left.clone()) };
    match operator {
        Operator::Add | Operator::Subtract => Ok(Ty::Decimal(38, *a.max(b))),
        Operator::Multiply if a + b <= 38 => Ok(Ty::Decimal(38, a + b)),
        _ => {
            let message = format!("`{}` of decimals is not taken: it rounds", operator.sign());
            Err(SqlFault::new(at, message, "cast both sides to double precision"))
        }
    }
}

fn number_of(at: usize, number: &str, text: &str) -> Result<Typed, SqlFault> {
    let bad = || SqlFault::new(at, "this number is too large", "write a smaller one");
    match number.split_once('.') {
        None => {
            let value = number.parse::<i64>().map_err(|_| bad())?;
            Ok(literal(Ty::Integer, Kind::Integer(value), text.to_owned()))
        }
        Some((whole, part)) => {
            let digits = format!("{whole}{part}");
            let value = digits.parse::<i128>().map_err(|_| bad())?;
            let scale = i8::try_from(part.len()).map_err(|_| bad())?;
            if digits.len() > 37 {
                return Err(bad());
            }
            Ok(literal(Ty::Decimal(38, scale), Kind::Decimal(value), text.to_owned()))
        }
    }
}

fn literal(ty: Ty, kind: Kind, text: String) -> Typed {
    Typed { ty, kind, text, direct: BTreeSet::new(), indirect: BTreeSet::new() }
}

/// Joins the lineage of the parts; where the whole may fail, the parts decide as well.
fn made(ty: Ty, text: String, parts: &[&Typed], may_fail: bool, kind: Kind) -> Typed {
    let direct: BTreeSet<usize> = parts.iter().flat_map(|p| p.direct.iter().copied()).collect();
    let mut indirect: BTreeSet<usize> =
        parts.iter().flat_map(|p| p.indirect.iter().copied()).collect();
    if may_fail {
        indirect.extend(&direct);
    }
    Typed { ty, kind, text, direct, indirect }
}

fn negated(of: Typed) -> Typed {
    let text = format!("(not {})", of.text);
    made(Ty::Boolean, text, &[&of], false, Kind::Not(Box::new(of.clone())))
}

fn pair(operator: Operator, ty: Ty, left: Typed, right: Typed, may_fail: bool) -> Typed {
    let text = format!("({} {} {})", left.text, operator.sign(), right.text);
    let kind = Kind::Binary(operator, Box::new(left.clone()), Box::new(right.clone()));
    made(ty, text, &[&left, &right], may_fail, kind)
}

fn join(operator: Operator, left: Typed, right: Typed) -> Typed {
    pair(operator, Ty::Boolean, left, right, false)
}

/// Conditions decide and are not in the result: an indirect flow.
fn branches(text: String, whens: Vec<(Typed, Typed)>, rest: Option<Typed>) -> Typed {
    let results = || whens.iter().map(|(_, then)| then).chain(&rest);
    let ty = results().map(|r| &r.ty).find(|ty| **ty != Ty::Null).cloned().unwrap_or(Ty::Null);
    let direct = results().flat_map(|r| r.direct.iter().copied()).collect();
    let mut indirect: BTreeSet<usize> =
        results().flat_map(|r| r.indirect.iter().copied()).collect();
    for (when, _) in &whens {
        indirect.extend(&when.direct);
        indirect.extend(&when.indirect);
    }
    Typed { ty, kind: Kind::Case(whens, rest.map(Box::new)), text, direct, indirect }
}

fn derived(at: usize, typed: Typed) -> Result<Derived, SqlFault> {
    if let Ty::Sealed(domain) = &typed.ty {
        let message = format!("a value of the domain `{domain}` is passed on, not computed");
        return Err(SqlFault::new(at, message, "select the column itself"));
    }
    let Some(leaf_type) = typed.ty.leaf_type() else {
        let message = "this has no type: it is null for every row";
        return Err(SqlFault::new(at, message, "write `cast(null as text)` or another type"));
    };
    Ok(Derived {
        at,
        text: typed.text.clone(),
        leaf_type,
        direct: typed.direct.clone(),
        indirect: typed.indirect.clone(),
        typed,
    })
}
