//! `sql`: one SELECT over the columns that other stages let cross, row by row.
//!
//! The grammar, the functions and the evaluation are a small list of our own. DataFusion's SQL
//! planner brings its execution, an object store and a runtime along; its expressions decide by
//! the batch whether the right side of AND is evaluated, so that a fault would depend on where
//! batches are cut. Here a row's result is a function of that row alone: both sides of AND and OR
//! are always evaluated, and CASE evaluates a branch for the rows that reach it.

mod bind;
mod eval;
mod functions;
mod parse;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use arrow::array::ArrayRef;
use douane_schemas::leaf::LeafType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use eval::EvalFault;

use crate::stage::{Declaration, Guarantees};
use bind::Typed;

/// What `sql` is. `semantics` is the version of the grammar and of the list of functions.
pub const DECLARATION: Declaration = Declaration {
    verb: "sql",
    summary: "one SELECT over the columns of a row, and WHERE; the last stage",
    guarantees: Guarantees {
        deterministic: true,
        reversible_with_key: false,
        keeps_length: false,
        keeps_uniqueness: false,
        keeps_order: false,
        joinable: false,
        keeps_nulls: false,
    },
    semantics: 1,
    example_yaml: "sql: \"select id, country = 'DE' as domestic from batch \
                   where country in ('DE', 'FR')\"",
};

/// Characters of one text.
pub const TEXT_CHARS_MAX: usize = 16 << 10;

/// `sql: select id, country from batch where country = 'DE'`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Sql")]
pub struct Config(
    /// One SELECT from `batch`, the columns after the stages before it, and WHERE.
    #[schemars(length(min = 1, max = 16384))]
    pub String,
);

/// Something in the text that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlFault {
    /// Where, in characters from the start of the text.
    pub at: usize,
    /// What was found, and what is allowed.
    pub message: String,
    /// What to do.
    pub next: String,
}

impl SqlFault {
    fn new(at: usize, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { at, message: message.into(), next: next.into() }
    }
}

/// A column that the text may name.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name as it would cross.
    pub name: String,
    /// `None`: only the source knows.
    pub leaf_type: Option<LeafType>,
    /// For tokens and encrypted values: the domain they belong to. It is part of the type.
    pub domain: Option<String>,
}

/// A text whose grammar was found good.
#[derive(Clone, Debug)]
pub struct Query(parse::Tree);

impl Query {
    /// Reads the text.
    ///
    /// # Errors
    /// The first thing that the grammar does not take.
    pub fn parse(text: &str) -> Result<Self, SqlFault> {
        parse::parse(text).map(Self)
    }

    /// Joins the text with the columns there are.
    ///
    /// # Errors
    /// Everything about names and types that does not fit.
    pub fn bind(&self, inputs: &[Input]) -> Result<Bound, Vec<SqlFault>> {
        bind::bind(&self.0, inputs)
    }
}

/// The text, joined with the columns: what crosses, in order, and which rows.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What crosses, in the order of the text.
    pub outputs: Vec<Output>,
    /// Which rows cross.
    pub filter: Option<Derived>,
    /// The whole in one spelling, `*` written out: what is signed.
    pub text: String,
}

/// One output column.
#[derive(Clone, Debug)]
pub enum Output {
    /// A column as it is, perhaps under another name.
    Pass {
        /// Index of the input.
        input: usize,
        /// Its name outside.
        name: String,
    },
    /// Made of other columns, or of none.
    Derived {
        /// Its name outside.
        name: String,
        /// What it is made of.
        derived: Derived,
    },
}

/// An expression with its lineage, by indices of inputs.
#[derive(Clone, Debug)]
pub struct Derived {
    /// Where it begins in the text.
    pub at: usize,
    /// In the spelling that is signed.
    pub text: String,
    /// What its values are.
    pub leaf_type: LeafType,
    /// Whose values are in the result.
    pub direct: BTreeSet<usize>,
    /// Whose values decide: conditions, and columns of what may fail.
    pub indirect: BTreeSet<usize>,
    typed: Typed,
}

impl Derived {
    /// Evaluates it over a batch's columns, in the order of the inputs. A row's result depends on
    /// that row alone.
    ///
    /// # Errors
    /// A cell's fault, or one that is no cell's.
    pub fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef, EvalFault> {
        eval::evaluate(&self.typed, columns, rows)
    }
}

/// The name that was probably meant.
fn nearest<'n>(found: &str, names: &[&'n str]) -> Option<&'n str> {
    let distance = |name: &&&str| strsim::damerau_levenshtein(found, name);
    let near = names.iter().min_by_key(distance)?;
    (strsim::damerau_levenshtein(found, near) <= 1 + found.chars().count() / 4).then_some(*near)
}
