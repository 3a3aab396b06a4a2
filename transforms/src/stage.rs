//! A stage of the pipeline file, what it declares, and the list of all verbs.

use datafusion_expr::ScalarUDF;
use douane_schemas::keys::Purpose;
use douane_schemas::leaf::{Leaf, LeafType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check_digit::CheckDigit;
use crate::domains::{Algorithm, Domains};
use crate::fault::StageFault;
use crate::forms::Form;
use crate::keyring::Keyring;
use crate::{drop, fpe, generalize, mask, redact, sql, tokenize};

/// All verbs, in the order of the documentation. Linking the crate registers nothing else.
pub static ALL: &[&Declaration] = &[
    &tokenize::DECLARATION,
    &fpe::DECLARATION,
    &mask::DECLARATION,
    &redact::DECLARATION,
    &generalize::DECLARATION,
    &drop::DECLARATION,
    &sql::DECLARATION,
];

/// What a verb is and what it promises. One constant per verb, in its own file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// As written in YAML.
    pub verb: &'static str,
    /// One sentence for lists.
    pub summary: &'static str,
    /// What the output keeps of the input.
    pub guarantees: Guarantees,
    /// Changes when the output for some input changes; part of the fingerprint.
    pub semantics: u32,
    /// A stage as it stands in a pipeline file; executed by the tests.
    pub example_yaml: &'static str,
}

/// What the output keeps of the input; true says that it always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Guarantees {
    /// Equal inputs give equal outputs, at any time and on any machine.
    pub deterministic: bool,
    /// Who holds the key can get the input back.
    pub reversible_with_key: bool,
    /// The output has as many characters as the input.
    pub keeps_length: bool,
    /// Different inputs (after the normaliser) give different outputs.
    pub keeps_uniqueness: bool,
    /// Sorting outputs sorts inputs.
    pub keeps_order: bool,
    /// Outputs of two columns under the same domain can be joined.
    pub joinable: bool,
    /// Null stays null.
    pub keeps_nulls: bool,
}

/// One stage of the YAML: `- tokenize: { columns: [id], domain: customer }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Keyed tokens: equal inputs of one domain give equal tokens.
    Tokenize(tokenize::Config),
    /// Format-preserving encryption (FF1, AES-256).
    Fpe(fpe::Config),
    /// Fill signs in place of all but at most four characters.
    Mask(mask::Config),
    /// Found items replaced in place, or the whole value by a constant.
    Redact(redact::Config),
    /// Coarser values: year, month, day, hour, bins, prefix.
    Generalize(generalize::Config),
    /// The column stays behind.
    Drop(drop::Config),
    /// One SELECT over the columns that cross; the last stage.
    Sql(sql::Config),
}

/// What a stage makes of one leaf, known without keys or records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Type of the output column.
    pub output: LeafType,
    /// Shape of the output's values.
    pub produces: Produces,
    /// Whether a cell can be refused with a [`crate::TransformFault`].
    pub may_fail: bool,
    /// Keys that `build` takes from the keyring.
    pub keys: Vec<(Purpose, String)>,
}

impl Declared {
    /// What the output keeps, where the verb promises `verb`: a domain may say that its tokens are
    /// reversible.
    pub fn keeps(&self, verb: Guarantees) -> Guarantees {
        match &self.produces {
            Produces::Token { algorithm, .. } => {
                Guarantees { reversible_with_key: algorithm.reversible(), ..verb }
            }
            _ => verb,
        }
    }
}

/// The shape of an output column's values, as plain data. Fields are those of the stage and of its
/// domain; counts are of characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each variant's text names its fields")]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Produces {
    /// A token of a domain in a printable form: of fixed width, or, where it is reversible, of one
    /// of the widths that `pad_to` leaves.
    Token {
        form: Form,
        domain: String,
        version: u32,
        #[serde(default, skip_serializing_if = "Algorithm::is_default")]
        algorithm: Algorithm,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pad_to: Option<u32>,
    },
    /// FF1 ciphertext. `alphabet` lists the characters in numeral order. The first `keep_first`
    /// and last `keep_last` characters and every character of `separators` between them stand as
    /// they were; at least `length_min` characters are encrypted. The last character that is not
    /// kept is the check digit, where there is one.
    Fpe {
        alphabet: String,
        keep_first: u32,
        keep_last: u32,
        separators: String,
        domain: String,
        context: String,
        length_min: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        check_digit: Option<CheckDigit>,
    },
    /// As many characters as the input; all `fill` but the kept ones, and all `fill` where the
    /// input has no more characters than are kept.
    Mask { keep_first: u32, keep_last: u32, fill: char },
    /// Always this text.
    Constant { text: String },
    /// The input with what the detectors found replaced by `[EMAIL]` and the like.
    Redacted { detectors: Vec<String> },
    /// An Int32, 1 to 9999.
    Year,
    /// `YYYY-MM`.
    Month,
    /// A date.
    Day,
    /// Microseconds since the epoch, a multiple of an hour.
    Hour,
    /// One of these labels.
    Bins { labels: Vec<String> },
    /// At most this many characters.
    Prefix { length: u32 },
}

impl Stage {
    /// The verb as written in YAML.
    pub fn verb(&self) -> &'static str {
        self.declaration().verb
    }

    /// Paths of the leaves it applies to.
    pub fn columns(&self) -> &[String] {
        match self {
            Self::Tokenize(config) => &config.columns,
            Self::Fpe(config) => &config.columns,
            Self::Mask(config) => &config.columns,
            Self::Redact(config) => &config.columns,
            Self::Generalize(config) => &config.columns,
            Self::Drop(config) => &config.columns,
            // It names columns that cross, not leaves.
            Self::Sql(_) => &[],
        }
    }

    /// The verb's declaration.
    pub fn declaration(&self) -> &'static Declaration {
        match self {
            Self::Tokenize(_) => &tokenize::DECLARATION,
            Self::Fpe(_) => &fpe::DECLARATION,
            Self::Mask(_) => &mask::DECLARATION,
            Self::Redact(_) => &redact::DECLARATION,
            Self::Generalize(_) => &generalize::DECLARATION,
            Self::Drop(_) => &drop::DECLARATION,
            Self::Sql(_) => &sql::DECLARATION,
        }
    }

    /// What comes out for a leaf, or why the stage cannot be applied to it. None for `drop`.
    ///
    /// # Errors
    /// The config is not usable, the domain unknown, or the leaf's type not taken;
    /// [`StageFault::NoFunction`] for `sql`, which is no stage of one leaf.
    pub fn declare(&self, leaf: &Leaf, domains: &Domains) -> Result<Option<Declared>, StageFault> {
        match self {
            Self::Tokenize(config) => config.declare(leaf, domains).map(Some),
            Self::Fpe(config) => config.declare(leaf, domains).map(Some),
            Self::Mask(config) => config.declare(leaf).map(Some),
            Self::Redact(config) => config.declare(leaf).map(Some),
            Self::Generalize(config) => config.declare(leaf).map(Some),
            Self::Drop(_) => Ok(None),
            Self::Sql(_) => Err(StageFault::NoFunction(self.verb())),
        }
    }

    /// The stage for one leaf as an immutable DataFusion function of one argument. It fails with
    /// `DataFusionError::External` holding a [`crate::TransformFault`].
    ///
    /// # Errors
    /// As [`Self::declare`]; [`StageFault::NoFunction`] for `drop`.
    pub fn build(
        &self,
        leaf: &Leaf,
        domains: &Domains,
        keyring: &Keyring,
    ) -> Result<ScalarUDF, StageFault> {
        let Some(declared) = self.declare(leaf, domains)? else {
            return Err(StageFault::NoFunction(self.verb()));
        };
        let protect = match self {
            Self::Tokenize(config) => config.build(leaf, domains, keyring)?,
            Self::Fpe(config) => config.build(leaf, domains, keyring)?,
            Self::Mask(config) => config.build(),
            Self::Redact(config) => config.build()?,
            Self::Generalize(config) => config.build(leaf)?,
            Self::Drop(_) | Self::Sql(_) => {
                return Err(StageFault::NoFunction(self.verb()));
            }
        };
        let ids: Vec<String> =
            keyring.ids(&declared.keys).iter().map(ToString::to_string).collect();
        let identity = format!("{self:?} {} {:?} {ids:?}", leaf.leaf_type, declared.produces);
        Ok(crate::function::scalar(
            self.verb(),
            identity,
            leaf.leaf_type.arrow(),
            declared.output.arrow(),
            protect,
        ))
    }
}
