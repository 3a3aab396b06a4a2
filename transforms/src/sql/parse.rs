//! SQL text to a tree. The grammar is a list of what is taken: what is not on it is refused by
//! its name, at its place, and nothing is ever passed over.

use douane_schemas::leaf::LeafType;
use douane_schemas::names::hidden;

use super::functions::{self, Function};
use super::{SqlFault, TEXT_CHARS_MAX};

/// Expressions inside each other.
const DEPTH_MAX: usize = 32;
/// Expressions in all, as they are written and as they are evaluated.
pub(super) const NODES_MAX: usize = 2_000;
/// Operators of two sides in all: each may make the tree one deeper.
const OPERATORS_MAX: usize = 128;

/// `select … from batch where …` as it is written.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub items: Vec<Item>,
    pub filter: Option<Expr>,
}

/// One entry of the select list.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// `*`
    All { at: usize },
    /// `expr [as name]`
    Expr { expr: Expr, name: Option<String>, at: usize },
}

/// An expression and where it begins, in characters from the start.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub at: usize,
    pub node: Node,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Column(String),
    Text(String),
    Number(String),
    Boolean(bool),
    Null,
    Negative(Box<Expr>),
    Not(Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    IsNull { of: Box<Expr>, not: bool },
    Is { of: Box<Expr>, truth: bool, not: bool },
    Distinct { left: Box<Expr>, right: Box<Expr>, not: bool },
    In { of: Box<Expr>, list: Vec<Expr>, not: bool },
    Between { of: Box<Expr>, low: Box<Expr>, high: Box<Expr>, not: bool },
    Like { of: Box<Expr>, pattern: String, not: bool },
    Case { of: Option<Box<Expr>>, whens: Vec<(Expr, Expr)>, otherwise: Option<Box<Expr>> },
    Cast { of: Box<Expr>, to: LeafType },
    Extract { field: Field, of: Box<Expr> },
    Call { function: Function, args: Vec<Expr> },
    Coalesce(Vec<Expr>),
    NullIf(Box<Expr>, Box<Expr>),
}

/// Operators of two sides, loosest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Multiply,
    Divide,
    Remainder,
    Add,
    Subtract,
    Concat,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
}

impl Operator {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Concat => "||",
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::And => "and",
            Self::Or => "or",
        }
    }
}

/// Fields of a date or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Year,
    Quarter,
    Month,
    Day,
    Hour,
    Minute,
    /// 0 is Sunday.
    Dow,
    Doy,
}

/// Name to field, as they are written.
pub(super) const FIELDS: &[(&str, Field)] = &[
    ("year", Field::Year),
    ("quarter", Field::Quarter),
    ("month", Field::Month),
    ("day", Field::Day),
    ("hour", Field::Hour),
    ("minute", Field::Minute),
    ("dow", Field::Dow),
    ("doy", Field::Doy),
];

/// Words that are no column's name unless they stand in double quotes.
const RESERVED: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "between",
    "both",
    "case",
    "cast",
    "collate",
    "cross",
    "cube",
    "desc",
    "distinct",
    "else",
    "end",
    "escape",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "filter",
    "for",
    "from",
    "full",
    "group",
    "having",
    "ilike",
    "in",
    "inner",
    "intersect",
    "interval",
    "into",
    "is",
    "join",
    "lateral",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "null",
    "offset",
    "on",
    "or",
    "order",
    "outer",
    "over",
    "qualify",
    "right",
    "rollup",
    "row",
    "select",
    "similar",
    "some",
    "then",
    "top",
    "true",
    "union",
    "using",
    "values",
    "when",
    "where",
    "window",
    "with",
    "within",
];

/// What ends a select and is not taken, with what it would do.
const NOT_TAKEN: &[(&str, &str)] = &[
    ("group", "GROUP BY makes one row of several; how many depends on where batches are cut"),
    ("having", "HAVING belongs to GROUP BY"),
    ("order", "ORDER BY would change with where batches are cut; order is the source's"),
    ("limit", "LIMIT would change with where batches are cut"),
    ("offset", "OFFSET would change with where batches are cut"),
    ("fetch", "FETCH would change with where batches are cut"),
    ("union", "UNION joins two selects"),
    ("intersect", "INTERSECT joins two selects"),
    ("except", "EXCEPT joins two selects"),
    ("window", "WINDOW reads other rows"),
    ("qualify", "QUALIFY reads other rows"),
    ("for", "FOR locks rows; there are none to lock"),
    ("into", "INTO writes a table"),
    ("join", "a join reads a second table"),
    ("inner", "a join reads a second table"),
    ("left", "a join reads a second table"),
    ("right", "a join reads a second table"),
    ("full", "a join reads a second table"),
    ("cross", "a join reads a second table"),
    ("natural", "a join reads a second table"),
    ("lateral", "LATERAL reads a second table"),
    ("tablesample", "TABLESAMPLE draws rows at random"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// As written, and whether it stood in double quotes.
    Word(String, bool),
    Text(String),
    Number(String),
    Sign(&'static str),
    End,
}

/// Characters that a name may have.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 64
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a name can stand without quotes.
pub(super) fn is_bare(name: &str) -> bool {
    is_name(name) && !RESERVED.contains(&name.to_ascii_lowercase().as_str())
}

pub(super) fn parse(text: &str) -> Result<Tree, SqlFault> {
    if text.chars().count() > TEXT_CHARS_MAX {
        let message = format!("the text has more than {TEXT_CHARS_MAX} characters");
        return Err(SqlFault::new(0, message, "write less"));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, nodes: 0, operators: 0 };
    let tree = parser.select()?;
    let (at, rest) = parser.peek();
    match rest {
        Token::End => Ok(tree),
        Token::Sign(";") => Err(SqlFault::new(at, "`;` ends a statement", "remove it: one SELECT")),
        _ => Err(parser.unexpected("the end")),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SqlFault> {
    const SIGNS: &[&str] =
        &["<>", "!=", "<=", ">=", "||", "(", ")", ",", "*", "/", "%", "+", "-", "=", "<", ">", ";"];
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        if c == ' ' || c == '\n' || c == '\t' || c == '\r' {
            at += 1;
        } else if c == '-' && next == Some('-') || c == '/' && next == Some('*') {
            let message = "a comment stands inside the SQL";
            return Err(SqlFault::new(at, message, "write it as a comment of the YAML"));
        } else if c == '\'' || c == '"' {
            let (inner, end) = quoted(&chars, at)?;
            let word = c == '"';
            out.push((at, if word { Token::Word(inner, true) } else { Token::Text(inner) }));
            at = end;
        } else if c.is_ascii_alphabetic() || c == '_' {
            let start = at;
            while chars.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_') {
                at += 1;
            }
            let word: String = chars[start..at].iter().collect();
            if chars.get(at) == Some(&'\'') {
                let message = format!("`{word}'…'` is another kind of text");
                return Err(SqlFault::new(start, message, "write `'…'`, and `''` for a quote"));
            }
            out.push((start, Token::Word(word, false)));
        } else if c.is_ascii_digit() || c == '.' && next.is_some_and(|n| n.is_ascii_digit()) {
            let start = at;
            while chars.get(at).is_some_and(|c| c.is_ascii_digit() || *c == '.') {
                at += 1;
            }
            let number: String = chars[start..at].iter().collect();
            let letter = chars.get(at).is_some_and(|c| c.is_ascii_alphabetic() || *c == '_');
            if letter || number.matches('.').count() > 1 || number.ends_with('.') {
                let message = "this is no number that is taken here";
                return Err(SqlFault::new(start, message, "write digits: `12` or `12.5`"));
            }
            out.push((start, Token::Number(number)));
        } else {
            let rest: String = chars[at..].iter().take(2).collect();
            let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) else {
                return Err(no_sign(at, &rest));
            };
            out.push((at, Token::Sign(if *sign == "!=" { "<>" } else { sign })));
            at += sign.len();
        }
    }
    out.push((chars.len(), Token::End));
    Ok(out)
}

/// The text between quotes; a doubled quote is one.
fn quoted(chars: &[char], start: usize) -> Result<(String, usize), SqlFault> {
    let quote = chars[start];
    let mut inner = String::new();
    let mut at = start + 1;
    loop {
        match chars.get(at) {
            None => {
                let message = format!("a `{quote}` is opened and never closed");
                return Err(SqlFault::new(start, message, "close it"));
            }
            Some(c) if *c == quote && chars.get(at + 1) == Some(&quote) => {
                inner.push(quote);
                at += 2;
            }
            Some(c) if *c == quote => return Ok((inner, at + 1)),
            Some(c) if hidden(*c) => {
                let message = format!("an invisible character U+{:04X} in quotes", u32::from(*c));
                return Err(SqlFault::new(at, message, "remove it: what is signed is read"));
            }
            Some(c) => {
                inner.push(*c);
                at += 1;
            }
        }
    }
}

fn no_sign(at: usize, rest: &str) -> SqlFault {
    let c = rest.chars().next().unwrap_or(' ');
    let shown = if rest == "::" { "::" } else { &rest[..c.len_utf8()] };
    let next = match shown {
        "::" => "write `cast(… as …)`",
        "." => "write the column's name alone: there is one table, `batch`",
        "`" | "[" => "write names in double quotes, or none",
        "$" | "?" | ":" | "@" => "write the value out: there are no parameters",
        _ => "write one of = <> < <= > >= + - * / % || and or not",
    };
    let shown = if hidden(c) { "an invisible character".into() } else { format!("`{shown}`") };
    SqlFault::new(at, format!("{shown} is no sign that is taken here"), next)
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    nodes: usize,
    operators: usize,
}

impl Parser {
    fn peek(&self) -> (usize, &Token) {
        let (at, token) = &self.tokens[self.at.min(self.tokens.len() - 1)];
        (*at, token)
    }

    fn bump(&mut self) {
        self.at += 1;
    }

    fn word_at(&self, ahead: usize) -> Option<String> {
        match self.tokens.get(self.at + ahead) {
            Some((_, Token::Word(word, false))) => Some(word.to_ascii_lowercase()),
            _ => None,
        }
    }

    fn is_word(&self, word: &str) -> bool {
        self.word_at(0).as_deref() == Some(word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek().1, Token::Sign(found) if *found == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), SqlFault> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn expect_word(&mut self, word: &str) -> Result<(), SqlFault> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected(&format!("`{word}`"))) }
    }

    /// What stands here is not what was expected; where it is something that other dialects
    /// know, its name and why it is not taken.
    fn unexpected(&self, expected: &str) -> SqlFault {
        let (at, token) = self.peek();
        let found = match token {
            Token::Word(word, false) => {
                let lower = word.to_ascii_lowercase();
                if let Some((_, why)) = NOT_TAKEN.iter().find(|(word, _)| *word == lower) {
                    let next = "remove it: one SELECT of expressions from `batch`, and WHERE";
                    return SqlFault::new(at, (*why).to_owned(), next);
                }
                if lower == "over" {
                    let message = "OVER makes a window function, which reads other rows";
                    return SqlFault::new(at, message, "remove it");
                }
                if is_name(word) { format!("`{word}`") } else { "a word".to_owned() }
            }
            Token::Word(_, true) => "a name in quotes".to_owned(),
            Token::Text(_) => "a text".to_owned(),
            Token::Number(_) => "a number".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        };
        SqlFault::new(at, format!("found {found}, expected {expected}"), "mend the SQL")
    }

    fn select(&mut self) -> Result<Tree, SqlFault> {
        let at = self.peek().0;
        if self.is_word("with") {
            let message = "WITH names a second select";
            return Err(SqlFault::new(at, message, "write one SELECT"));
        }
        self.expect_word("select")?;
        for (word, why) in [
            ("distinct", "DISTINCT compares rows; which ones depends on where batches are cut"),
            ("all", "ALL says nothing here"),
            ("top", "TOP would change with where batches are cut"),
        ] {
            let at = self.peek().0;
            if self.is_word(word) {
                return Err(SqlFault::new(at, why, "remove it"));
            }
        }
        let mut items = vec![self.item()?];
        while self.take_sign(",") {
            items.push(self.item()?);
        }
        self.expect_word("from")?;
        self.table()?;
        let filter = if self.take_word("where") { Some(self.expr()?) } else { None };
        Ok(Tree { items, filter })
    }

    fn table(&mut self) -> Result<(), SqlFault> {
        let (at, token) = self.peek();
        match token {
            Token::Word(word, _) if word.eq_ignore_ascii_case("batch") => self.bump(),
            Token::Sign("(") => {
                let message = "a subquery reads a second table";
                return Err(SqlFault::new(at, message, "write `from batch`"));
            }
            _ => {
                let message = "there is one table, `batch`: the columns after their stages";
                return Err(SqlFault::new(at, message, "write `from batch`"));
            }
        }
        let at = self.peek().0;
        if self.is_sign(",") {
            let message = "a second table makes a join";
            return Err(SqlFault::new(at, message, "write `from batch`"));
        }
        let known = |word: &String| NOT_TAKEN.iter().any(|(name, _)| name == word);
        match self.word_at(0) {
            Some(word) if word != "where" && !known(&word) => {
                let message = "the table has no other name";
                Err(SqlFault::new(at, message, "write `from batch`, and columns by their names"))
            }
            _ => Ok(()),
        }
    }

    fn item(&mut self) -> Result<Item, SqlFault> {
        let at = self.peek().0;
        if self.take_sign("*") {
            return Ok(Item::All { at });
        }
        let expr = self.expr()?;
        let name = if self.take_word("as") {
            Some(self.alias()?)
        } else {
            match self.peek().1 {
                Token::Word(word, false) if is_bare(word) => {
                    let message = "a name follows without `as`";
                    return Err(SqlFault::new(self.peek().0, message, "write `as` before it"));
                }
                _ => None,
            }
        };
        Ok(Item::Expr { expr, name, at })
    }

    fn alias(&mut self) -> Result<String, SqlFault> {
        let (at, token) = self.peek();
        let name = match token {
            Token::Word(word, quoted) if is_name(word) && (*quoted || is_bare(word)) => {
                word.clone()
            }
            Token::Word(..) => {
                let message = "this is no name for a column";
                let next = "write a letter, then letters, digits and `_`, at most 64 in all";
                return Err(SqlFault::new(at, message, next));
            }
            _ => return Err(self.unexpected("a name")),
        };
        self.bump();
        Ok(name)
    }

    fn expr(&mut self) -> Result<Expr, SqlFault> {
        self.deeper(|parser| parser.any_of(&[Operator::Or], Self::conjunction))
    }

    fn deeper(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<Expr, SqlFault>,
    ) -> Result<Expr, SqlFault> {
        if self.depth == DEPTH_MAX {
            let message = format!("expressions stand more than {DEPTH_MAX} inside each other");
            return Err(SqlFault::new(self.peek().0, message, "write it flatter"));
        }
        self.depth += 1;
        let expr = parse(self);
        self.depth -= 1;
        expr
    }

    fn conjunction(&mut self) -> Result<Expr, SqlFault> {
        self.any_of(&[Operator::And], Self::negation)
    }

    fn negation(&mut self) -> Result<Expr, SqlFault> {
        let at = self.peek().0;
        if self.take_word("not") {
            let of = self.deeper(Self::negation)?;
            return self.node(at, Node::Not(Box::new(of)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, SqlFault> {
        let left = self.concatenation()?;
        let at = left.at;
        const COMPARISONS: &[Operator] = &[
            Operator::Equal,
            Operator::NotEqual,
            Operator::Less,
            Operator::LessEqual,
            Operator::Greater,
            Operator::GreaterEqual,
        ];
        if let Some(operator) = COMPARISONS.iter().find(|o| self.is_sign(o.sign())) {
            self.bump();
            let right = self.concatenation()?;
            let made = self.node(at, Node::Binary(*operator, Box::new(left), Box::new(right)))?;
            if COMPARISONS.iter().any(|o| self.is_sign(o.sign())) {
                let message = "a comparison of a comparison";
                let at = self.peek().0;
                return Err(SqlFault::new(at, message, "join the two with `and`"));
            }
            return Ok(made);
        }
        if self.take_word("is") {
            return self.is(left);
        }
        let not = self.take_word("not");
        if self.take_word("in") {
            return self.is_in(left, not);
        }
        if self.take_word("between") {
            let low = Box::new(self.concatenation()?);
            self.expect_word("and")?;
            let high = Box::new(self.concatenation()?);
            return self.node(at, Node::Between { of: Box::new(left), low, high, not });
        }
        for word in ["ilike", "similar", "rlike", "regexp"] {
            if self.is_word(word) {
                let message = format!("`{word}` is not taken");
                return Err(SqlFault::new(self.peek().0, message, "write `like`"));
            }
        }
        if self.take_word("like") {
            let Token::Text(pattern) = self.peek().1.clone() else {
                return Err(self.unexpected("the pattern as a text: `'a%'`"));
            };
            self.bump();
            return self.node(at, Node::Like { of: Box::new(left), pattern, not });
        }
        if not { Err(self.unexpected("`in`, `between` or `like`")) } else { Ok(left) }
    }

    fn is(&mut self, left: Expr) -> Result<Expr, SqlFault> {
        let at = left.at;
        let of = Box::new(left);
        let not = self.take_word("not");
        let node = if self.take_word("null") {
            Node::IsNull { of, not }
        } else if self.take_word("true") {
            Node::Is { of, truth: true, not }
        } else if self.take_word("false") {
            Node::Is { of, truth: false, not }
        } else if self.take_word("distinct") {
            self.expect_word("from")?;
            let right = Box::new(self.concatenation()?);
            Node::Distinct { left: of, right, not }
        } else {
            return Err(self.unexpected("`null`, `true`, `false` or `distinct from`"));
        };
        self.node(at, node)
    }

    fn is_in(&mut self, left: Expr, not: bool) -> Result<Expr, SqlFault> {
        let at = left.at;
        self.expect_sign("(")?;
        if self.is_word("select") {
            let message = "a subquery reads a second table";
            return Err(SqlFault::new(self.peek().0, message, "write the values out"));
        }
        let list = self.list()?;
        self.node(at, Node::In { of: Box::new(left), list, not })
    }

    /// Expressions up to the closing parenthesis.
    fn list(&mut self) -> Result<Vec<Expr>, SqlFault> {
        let mut list = vec![self.expr()?];
        while self.take_sign(",") {
            list.push(self.expr()?);
        }
        self.expect_sign(")")?;
        Ok(list)
    }

    fn concatenation(&mut self) -> Result<Expr, SqlFault> {
        self.any_of(&[Operator::Concat], Self::sum)
    }

    fn sum(&mut self) -> Result<Expr, SqlFault> {
        self.any_of(&[Operator::Add, Operator::Subtract], Self::product)
    }

    fn product(&mut self) -> Result<Expr, SqlFault> {
        let operators = [Operator::Multiply, Operator::Divide, Operator::Remainder];
        self.any_of(&operators, Self::unary)
    }

    /// Operators of one rank, from the left.
    fn any_of(
        &mut self,
        operators: &[Operator],
        inner: fn(&mut Self) -> Result<Expr, SqlFault>,
    ) -> Result<Expr, SqlFault> {
        let mut left = inner(self)?;
        loop {
            let found = operators.iter().find(|o| self.is_sign(o.sign()) || self.is_word(o.sign()));
            let Some(operator) = found else { return Ok(left) };
            self.operators += 1;
            if self.operators > OPERATORS_MAX {
                let message = format!("the SQL has more than {OPERATORS_MAX} operators");
                return Err(SqlFault::new(self.peek().0, message, "write less, or `in (…)`"));
            }
            self.bump();
            let right = inner(self)?;
            let at = left.at;
            left = self.node(at, Node::Binary(*operator, Box::new(left), Box::new(right)))?;
        }
    }

    fn unary(&mut self) -> Result<Expr, SqlFault> {
        let at = self.peek().0;
        if self.take_sign("-") {
            let of = self.deeper(Self::unary)?;
            return self.node(at, Node::Negative(Box::new(of)));
        }
        if self.take_sign("+") {
            return self.deeper(Self::unary);
        }
        self.primary()
    }

    fn node(&mut self, at: usize, node: Node) -> Result<Expr, SqlFault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("the SQL has more than {NODES_MAX} expressions");
            return Err(SqlFault::new(at, message, "write less"));
        }
        Ok(Expr { at, node })
    }

    fn primary(&mut self) -> Result<Expr, SqlFault> {
        let (at, token) = self.peek();
        match token.clone() {
            Token::Number(number) => {
                self.bump();
                self.node(at, Node::Number(number))
            }
            Token::Text(text) => {
                self.bump();
                self.node(at, Node::Text(text))
            }
            Token::Sign("(") => {
                self.bump();
                if self.is_word("select") {
                    let message = "a subquery reads a second table";
                    return Err(SqlFault::new(self.peek().0, message, "write an expression"));
                }
                let inner = self.expr()?;
                self.expect_sign(")")?;
                Ok(inner)
            }
            Token::Word(name, true) => {
                self.bump();
                self.node(at, Node::Column(name))
            }
            Token::Word(word, false) => self.word(at, &word),
            _ => Err(self.unexpected("an expression")),
        }
    }

    fn word(&mut self, at: usize, word: &str) -> Result<Expr, SqlFault> {
        let lower = word.to_ascii_lowercase();
        let calls = matches!(self.tokens.get(self.at + 1), Some((_, Token::Sign("("))));
        let literal = match lower.as_str() {
            "true" => Some(Node::Boolean(true)),
            "false" => Some(Node::Boolean(false)),
            "null" => Some(Node::Null),
            _ => None,
        };
        if let Some(node) = literal {
            self.bump();
            return self.node(at, node);
        }
        match lower.as_str() {
            "case" => return self.case(at),
            "cast" if calls => return self.cast(at),
            "extract" if calls => return self.extract(at),
            "exists" => {
                let message = "EXISTS reads a second table";
                return Err(SqlFault::new(at, message, "write an expression"));
            }
            "date" => {
                if let Some((inner, Token::Text(text))) = self.tokens.get(self.at + 1).cloned() {
                    self.at += 2;
                    let of = Box::new(self.node(inner, Node::Text(text))?);
                    return self.node(at, Node::Cast { of, to: LeafType::Date });
                }
            }
            "interval" | "timestamp" | "time" | "array" | "row" => {
                let literal = matches!(self.tokens.get(self.at + 1), Some((_, Token::Text(_))));
                if literal || calls || ["array", "row", "interval"].contains(&lower.as_str()) {
                    let message = format!("a literal of `{lower}` is not taken");
                    return Err(SqlFault::new(at, message, "write numbers, texts and `date '…'`"));
                }
            }
            _ => {}
        }
        if let Some(why) = functions::without_parentheses(&lower) {
            return Err(SqlFault::new(at, why, "remove it"));
        }
        if calls {
            return self.call(at, &lower);
        }
        if !is_bare(word) {
            return Err(self.unexpected("an expression"));
        }
        self.bump();
        self.node(at, Node::Column(word.to_owned()))
    }

    fn call(&mut self, at: usize, name: &str) -> Result<Expr, SqlFault> {
        let function = functions::named(name).map_err(|fault| fault.at(at))?;
        // The name and the parenthesis.
        self.at += 2;
        if self.is_word("distinct") || self.is_word("all") || self.is_sign("*") {
            return Err(self.unexpected("an expression"));
        }
        let mut args = if self.take_sign(")") { Vec::new() } else { self.list()? };
        let counts = |found: usize, expected: &str| {
            let message = format!("`{name}` has {found} arguments, expected {expected}");
            SqlFault::new(at, message, "mend the call")
        };
        let node = match function {
            functions::Named::Coalesce if args.len() < 2 => {
                return Err(counts(args.len(), "at least 2"));
            }
            functions::Named::Coalesce => Node::Coalesce(args),
            functions::Named::NullIf => match (args.len(), args.pop(), args.pop()) {
                (2, Some(right), Some(left)) => Node::NullIf(Box::new(left), Box::new(right)),
                (found, ..) => return Err(counts(found, "2")),
            },
            functions::Named::Function(function) => {
                if !function.takes(args.len()) {
                    return Err(counts(args.len(), &function.arity()));
                }
                Node::Call { function, args }
            }
        };
        self.node(at, node)
    }

    fn case(&mut self, at: usize) -> Result<Expr, SqlFault> {
        self.bump();
        let of = match self.is_word("when") {
            true => None,
            false => Some(Box::new(self.expr()?)),
        };
        let mut whens = Vec::new();
        while self.take_word("when") {
            let when = self.expr()?;
            self.expect_word("then")?;
            whens.push((when, self.expr()?));
        }
        if whens.is_empty() {
            return Err(self.unexpected("`when`"));
        }
        let otherwise = match self.take_word("else") {
            true => Some(Box::new(self.expr()?)),
            false => None,
        };
        self.expect_word("end")?;
        self.node(at, Node::Case { of, whens, otherwise })
    }

    fn cast(&mut self, at: usize) -> Result<Expr, SqlFault> {
        self.at += 2;
        let of = Box::new(self.expr()?);
        self.expect_word("as")?;
        let to = self.type_name()?;
        self.expect_sign(")")?;
        self.node(at, Node::Cast { of, to })
    }

    fn type_name(&mut self) -> Result<LeafType, SqlFault> {
        let at = self.peek().0;
        let word = self.word_at(0).ok_or_else(|| self.unexpected("a type"))?;
        self.bump();
        Ok(match word.as_str() {
            "bigint" => LeafType::Int64,
            "double" => {
                self.take_word("precision");
                LeafType::Float64
            }
            "text" => LeafType::Text,
            "date" => LeafType::Date,
            "boolean" => LeafType::Boolean,
            "decimal" | "numeric" => {
                self.expect_sign("(")?;
                let precision = self.small()?;
                self.expect_sign(",")?;
                let scale = self.small()?;
                self.expect_sign(")")?;
                let fits = (1..=38).contains(&precision) && scale <= precision;
                let scale = i8::try_from(scale).ok().filter(|_| fits).ok_or_else(|| {
                    let message = "a decimal's precision is 1 to 38, its scale at most that";
                    SqlFault::new(at, message, "write `decimal(18, 2)`")
                })?;
                LeafType::Decimal { precision, scale }
            }
            _ => {
                let shown = if is_name(&word) { format!("`{word}`") } else { "this".to_owned() };
                let message = format!("{shown} is no type that is taken here");
                let next = "write bigint, double precision, decimal(p, s), text, boolean or date";
                return Err(SqlFault::new(at, message, next));
            }
        })
    }

    fn small(&mut self) -> Result<u8, SqlFault> {
        let (_, token) = self.peek();
        let number = match token {
            Token::Number(number) => number.parse::<u8>().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.unexpected("a small number"))?;
        self.bump();
        Ok(number)
    }

    fn extract(&mut self, at: usize) -> Result<Expr, SqlFault> {
        self.at += 2;
        let (field_at, _) = self.peek();
        let word = self.word_at(0).ok_or_else(|| self.unexpected("a field"))?;
        let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == word) else {
            let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
            let message = "this is no field that is taken here";
            let next = format!("write one of {}", names.join(", "));
            return Err(SqlFault::new(field_at, message, next));
        };
        self.bump();
        self.expect_word("from")?;
        let of = Box::new(self.expr()?);
        self.expect_sign(")")?;
        self.node(at, Node::Extract { field: *field, of })
    }
}
