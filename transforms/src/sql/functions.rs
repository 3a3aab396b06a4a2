//! The functions that SQL may call: immutable, of one row, the same on every machine. A list, not
//! a registry. What it leaves out, and why, is told by name.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringBuilder};
use arrow::datatypes::Int64Type;

use super::SqlFault;
use crate::fault::TransformFault;

/// Most bytes of one text that a function makes which can make it longer: a cell that grows further
/// is refused.
pub(super) const TEXT_BYTES_MAX: usize = 64 << 10;

/// A function of the allow-list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Lower,
    Upper,
    Trim,
    Ltrim,
    Rtrim,
    Length,
    Left,
    Right,
    Substr,
    Replace,
    StartsWith,
    EndsWith,
    SplitPart,
    Concat,
    Abs,
}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Text,
    Integer,
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    Text,
    Integer,
    Boolean,
}

/// Names as they are written, the function, and what it does; `docs/pipelines.md` has the same list.
pub(super) const ALL: &[(&str, Function)] = &[
    ("lower", Function::Lower),
    ("upper", Function::Upper),
    ("trim", Function::Trim),
    ("btrim", Function::Trim),
    ("ltrim", Function::Ltrim),
    ("rtrim", Function::Rtrim),
    ("length", Function::Length),
    ("char_length", Function::Length),
    ("left", Function::Left),
    ("right", Function::Right),
    ("substr", Function::Substr),
    ("substring", Function::Substr),
    ("replace", Function::Replace),
    ("starts_with", Function::StartsWith),
    ("ends_with", Function::EndsWith),
    ("split_part", Function::SplitPart),
    ("concat", Function::Concat),
    ("abs", Function::Abs),
];

/// What a name that is called stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Function(Function),
    Coalesce,
    NullIf,
}

/// Names that people will try, why they are not taken, and what to do.
const REFUSED: &[(&[&str], &str, &str)] = &[
    (
        &[
            "count",
            "sum",
            "avg",
            "min",
            "max",
            "array_agg",
            "string_agg",
            "bool_and",
            "bool_or",
            "stddev",
            "variance",
            "median",
            "approx_distinct",
            "first_value",
            "last_value",
            "json_agg",
            "percentile_cont",
        ],
        "is an aggregate: it reads many rows, and how many depends on where batches are cut",
        "aggregate outside, over what has crossed",
    ),
    (
        &["row_number", "rank", "dense_rank", "lag", "lead", "ntile", "nth_value"],
        "is a window function: it reads other rows",
        "compute it outside, over what has crossed",
    ),
    (
        &[
            "now",
            "clock_timestamp",
            "statement_timestamp",
            "transaction_timestamp",
            "timeofday",
            "current_timestamp",
            "current_date",
            "current_time",
            "localtime",
            "localtimestamp",
            "today",
            "age",
            "sysdate",
            "getdate",
            "unix_timestamp",
        ],
        "reads the clock: the same input would give other bytes later",
        "use a column of the row",
    ),
    (
        &[
            "random",
            "rand",
            "uuid",
            "gen_random_uuid",
            "uuid_generate_v4",
            "newid",
            "setseed",
            "nextval",
        ],
        "is another value at each call: the same input would give other bytes",
        "use a column of the row",
    ),
    (
        &[
            "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "exp",
            "ln", "log", "log2", "log10", "pow", "power", "sqrt", "cbrt", "degrees", "radians",
        ],
        "goes through the machine's mathematics library, which rounds otherwise elsewhere",
        "compute it outside, over what has crossed",
    ),
    (
        &["md5", "sha1", "sha224", "sha256", "sha384", "sha512", "digest", "crc32", "hash"],
        "makes a hash without a key: whoever reads the target can hash all possible values",
        "use the stage `tokenize`",
    ),
    (
        &[
            "pg_sleep",
            "current_user",
            "session_user",
            "user",
            "version",
            "current_schema",
            "current_database",
            "current_setting",
            "txid_current",
            "inet_server_addr",
        ],
        "tells something of the machine or the session, not of the row",
        "remove it",
    ),
    (
        &["to_char", "to_date", "to_timestamp", "to_number", "date_trunc", "date_part", "format"],
        "is not on the list of functions",
        "use `extract(… from …)`, `cast(… as …)`, or the stage `generalize`",
    ),
    (
        &["greatest", "least", "if", "iif", "nvl", "decode", "ifnull", "isnull"],
        "is not on the list of functions",
        "write it with `case when … then … else … end` or `coalesce`",
    ),
    (
        &["regexp_replace", "regexp_match", "regexp_like", "regexp_substr", "regexp_matches"],
        "is not on the list of functions: patterns of this kind can take very long",
        "use `like`, `replace` or `split_part`, or the stage `redact`",
    ),
];

/// A refusal whose place the parser knows.
pub(super) struct Unnamed {
    message: String,
    next: String,
}

impl Unnamed {
    pub(super) fn at(self, at: usize) -> SqlFault {
        SqlFault::new(at, self.message, self.next)
    }
}

/// The function of a lower-case name.
pub(super) fn named(name: &str) -> Result<Named, Unnamed> {
    match name {
        "coalesce" => return Ok(Named::Coalesce),
        "nullif" => return Ok(Named::NullIf),
        _ => {}
    }
    if let Some((_, function)) = ALL.iter().find(|(known, _)| *known == name) {
        return Ok(Named::Function(*function));
    }
    if let Some((_, why, next)) = REFUSED.iter().find(|(names, ..)| names.contains(&name)) {
        return Err(Unnamed { message: format!("`{name}` {why}"), next: (*next).to_owned() });
    }
    let names: Vec<&str> =
        ALL.iter().map(|(name, _)| *name).chain(["coalesce", "nullif"]).collect();
    let shown = if super::parse::is_name(name) { format!("`{name}`") } else { "this".to_owned() };
    let next = match super::nearest(name, &names) {
        Some(near) => format!("write `{near}`"),
        None => format!("there are {}", names.join(", ")),
    };
    Err(Unnamed { message: format!("{shown} is not on the list of functions"), next })
}

/// Why a word that needs no parentheses in SQL is not taken, where it is one.
pub(super) fn without_parentheses(word: &str) -> Option<String> {
    const WORDS: &[&str] = &[
        "current_timestamp",
        "current_date",
        "current_time",
        "localtime",
        "localtimestamp",
        "current_user",
        "session_user",
        "user",
    ];
    let (_, why, _) = REFUSED.iter().find(|(names, ..)| names.contains(&word))?;
    WORDS.contains(&word).then(|| format!("`{word}` {why}"))
}

impl Function {
    /// As it is written in what is signed.
    pub(super) fn name(self) -> &'static str {
        ALL.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| *name)
    }

    /// Its arguments: the fixed ones, and one more that may follow.
    pub(super) fn arguments(self) -> (&'static [Takes], Option<Takes>) {
        use Takes::{Integer, Text};
        match self {
            Self::Lower | Self::Upper | Self::Trim | Self::Ltrim | Self::Rtrim | Self::Length => {
                (&[Text], None)
            }
            Self::Left | Self::Right => (&[Text, Integer], None),
            Self::Substr => (&[Text, Integer], Some(Integer)),
            Self::Replace => (&[Text, Text, Text], None),
            Self::StartsWith | Self::EndsWith => (&[Text, Text], None),
            Self::SplitPart => (&[Text, Text, Integer], None),
            // Checked apart: any number of texts.
            Self::Concat => (&[Text], Some(Text)),
            Self::Abs => (&[Integer], None),
        }
    }

    pub(super) fn takes(self, found: usize) -> bool {
        let (fixed, more) = self.arguments();
        match self {
            Self::Concat => (1..=64).contains(&found),
            _ => found == fixed.len() || more.is_some() && found == fixed.len() + 1,
        }
    }

    pub(super) fn arity(self) -> String {
        let (fixed, more) = self.arguments();
        match (self, more) {
            (Self::Concat, _) => "1 to 64".to_owned(),
            (_, None) => fixed.len().to_string(),
            (_, Some(_)) => format!("{} or {}", fixed.len(), fixed.len() + 1),
        }
    }

    pub(super) fn gives(self) -> Gives {
        match self {
            Self::Length | Self::Abs => Gives::Integer,
            Self::StartsWith | Self::EndsWith => Gives::Boolean,
            _ => Gives::Text,
        }
    }

    /// Whether a cell can make it fail.
    pub(super) fn may_fail(self) -> bool {
        matches!(self, Self::Abs | Self::Replace | Self::Concat | Self::SplitPart)
    }

    /// Applies it to whole columns; the arguments' types are those of [`Self::arguments`].
    pub(super) fn apply(self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef, TransformFault> {
        match self.gives() {
            Gives::Text => self.texts(args, rows),
            Gives::Integer => {
                let out = (0..rows).map(|row| self.integer(args, row));
                Ok(Arc::new(out.collect::<Result<Int64Array, _>>()?))
            }
            Gives::Boolean => {
                let out = (0..rows).map(|row| {
                    let (of, part) = (text(args, 0, row)?, text(args, 1, row)?);
                    Some(match self {
                        Self::StartsWith => of.starts_with(part),
                        _ => of.ends_with(part),
                    })
                });
                Ok(Arc::new(out.collect::<BooleanArray>()))
            }
        }
    }

    fn integer(self, args: &[ArrayRef], row: usize) -> Result<Option<i64>, TransformFault> {
        match self {
            Self::Length => Ok(text(args, 0, row).map(|t| t.chars().count() as i64)),
            _ => integer(args, 0, row)
                .map(|n| n.checked_abs().ok_or(TransformFault::OutOfRange))
                .transpose(),
        }
    }

    fn texts(self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef, TransformFault> {
        let mut out = StringBuilder::new();
        let mut total = 0;
        for row in 0..rows {
            let made = self.text(args, row)?;
            if let Some(made) = &made {
                total += made.len();
                // The others give no more than they were given, or the same letters in the other case: a
                // refusal would tell of a text that they were said not to fail on.
                let grown = self.may_fail() && made.len() > TEXT_BYTES_MAX;
                if grown || total > crate::function::COLUMN_BYTES_MAX {
                    return Err(TransformFault::TooLong);
                }
            }
            out.append_option(made);
        }
        Ok(Arc::new(out.finish()))
    }

    fn text(self, args: &[ArrayRef], row: usize) -> Result<Option<String>, TransformFault> {
        if self == Self::Concat {
            // Null counts as nothing, as in PostgreSQL.
            return Ok(Some((0..args.len()).filter_map(|at| text(args, at, row)).collect()));
        }
        let nulls = args.iter().any(|arg| arg.is_null(row));
        let Some(of) = text(args, 0, row).filter(|_| !nulls) else { return Ok(None) };
        let number = |at| integer(args, at, row).unwrap_or_default();
        let part = |at| text(args, at, row).unwrap_or_default();
        let blank = |c: char| c == ' ';
        Ok(Some(match self {
            // Case pairs are stable under Unicode's policy: a letter keeps its pair for ever.
            Self::Lower => of.to_lowercase(),
            Self::Upper => of.to_uppercase(),
            Self::Trim => of.trim_matches(blank).to_owned(),
            Self::Ltrim => of.trim_start_matches(blank).to_owned(),
            Self::Rtrim => of.trim_end_matches(blank).to_owned(),
            Self::Left => slice(of, 0, kept(of, number(1))),
            Self::Right => {
                let length = of.chars().count();
                let kept = kept(of, number(1));
                slice(of, length - kept, kept)
            }
            Self::Substr => {
                // From 1; what lies before the text counts, as in PostgreSQL.
                let from = i128::from(number(1)) - 1;
                let end = match args.len() {
                    3 => from + i128::from(number(2)).max(0),
                    _ => i128::MAX,
                };
                let start = usize::try_from(from.max(0)).unwrap_or(usize::MAX);
                let end = usize::try_from(end.max(0)).unwrap_or(usize::MAX);
                slice(of, start, end.saturating_sub(start))
            }
            Self::Replace => {
                let (from, to) = (part(1), part(2));
                if from.is_empty() {
                    of.to_owned()
                } else {
                    let found = of.matches(from).count();
                    if found.saturating_mul(to.len()) > TEXT_BYTES_MAX {
                        return Err(TransformFault::TooLong);
                    }
                    of.replace(from, to)
                }
            }
            Self::SplitPart => {
                let (by, wanted) = (part(1), number(2));
                let wanted = usize::try_from(wanted).ok().and_then(|n| n.checked_sub(1));
                let wanted = wanted.ok_or(TransformFault::OutOfRange)?;
                let found = match by {
                    "" => (wanted == 0).then_some(of),
                    by => of.split(by).nth(wanted),
                };
                found.unwrap_or_default().to_owned()
            }
            Self::Length | Self::StartsWith | Self::EndsWith | Self::Concat | Self::Abs => {
                return Ok(None);
            }
        }))
    }
}

/// How many characters `left` and `right` keep: a count below zero leaves so many out.
fn kept(of: &str, count: i64) -> usize {
    let length = of.chars().count();
    let count_abs = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count >= 0 { count_abs.min(length) } else { length.saturating_sub(count_abs) }
}

fn slice(of: &str, start: usize, count: usize) -> String {
    of.chars().skip(start).take(count).collect()
}

fn text(args: &[ArrayRef], at: usize, row: usize) -> Option<&str> {
    let array = args.get(at)?.as_string_opt::<i32>()?;
    (!array.is_null(row)).then(|| array.value(row))
}

fn integer(args: &[ArrayRef], at: usize, row: usize) -> Option<i64> {
    let array = args.get(at)?.as_primitive_opt::<Int64Type>()?;
    (!array.is_null(row)).then(|| array.value(row))
}
