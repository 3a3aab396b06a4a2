//! A stage of the pipeline file, what it declares, and the list of all verbs.

use std::collections::BTreeMap;

use datafusion_expr::ScalarUDF;
use douane_schemas::keys::Purpose;
use douane_schemas::leaf::{Leaf, LeafType};
use douane_schemas::secret::wipe_stack;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check_digit::CheckDigit;
use crate::domains::{Algorithm, Domains};
use crate::fault::StageFault;
use crate::forms::Form;
use crate::keyring::Keyring;
use crate::on_bad::OnBad;
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
    /// Coarser values: units of the calendar, ages, bins, rounding, prefix, regions.
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
    /// Whether a cell can be refused with a [`crate::TransformFault`], and its record with it.
    pub may_fail: bool,
    /// Keys that `build` takes from the keyring.
    pub keys: Vec<(Purpose, String)>,
}

impl Declared {
    /// The column of a decoded batch, such as `after.customer_id`, that says whose each cell is.
    pub fn key_per(&self) -> Option<&str> {
        match &self.produces {
            Produces::Token { key_per, .. } => key_per.as_deref(),
            _ => None,
        }
    }

    /// What the output keeps, where the verb promises `verb`: a domain may say that its tokens are
    /// reversible.
    pub fn keeps(&self, verb: Guarantees) -> Guarantees {
        match &self.produces {
            Produces::Token { algorithm, key_per, .. } => Guarantees {
                reversible_with_key: algorithm.reversible(),
                // Equal values of two subjects have two tokens.
                joinable: verb.joinable && key_per.is_none(),
                ..verb
            },
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
        /// The leaf whose every value has a key of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_per: Option<String>,
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
    /// The input with what detectors and dictionaries found replaced by `[EMAIL]` and the like, and
    /// finds of the kinds in `in_place` by a pseudonym: `[EMAIL:…]`.
    Redacted {
        detectors: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dictionaries: Vec<DictionaryUsed>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        in_place: Vec<InPlace>,
    },
    /// An Int32, 1 to 9999.
    Year,
    /// The first year of ten, an Int32.
    Decade,
    /// `YYYY-Q1` to `YYYY-Q4`.
    Quarter,
    /// `YYYY-MM`.
    Month,
    /// `YYYY-W01` to `YYYY-W53`, of ISO 8601.
    Week,
    /// A date.
    Day,
    /// Microseconds since the epoch, a multiple of an hour.
    Hour,
    /// One of these labels.
    Bins { labels: Vec<String> },
    /// One of these labels: whole years from the leaf's day to `as_of`.
    Age { as_of: String, labels: Vec<String> },
    /// A number, rounded to multiples of `round`, and what is below `low` or above `high` as the
    /// bound; with `labels` a text that says `<low` and `>high` there.
    Coded { round: Option<String>, low: Option<String>, high: Option<String>, labels: bool },
    /// At most this many characters of the input, `fill` in place of each other one.
    Prefix {
        length: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fill: Option<char>,
    },
    /// The region that the map has for the input.
    Region { regions: BTreeMap<String, String> },
}

/// A dictionary of a redaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DictionaryUsed {
    /// The name of its kind.
    pub name: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// Its entries are found in any case.
    pub ignore_case: bool,
    /// Words of which one must stand before an entry.
    pub context: Vec<String>,
}

/// What stands in a redacted text in place of finds of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InPlace {
    /// The detector's or the dictionary's name.
    pub kind: String,
    /// A token or a ciphertext.
    pub produces: Produces,
    /// At most so many of its domain in one text; without it as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
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

    /// What becomes of a cell that the stage cannot take. `mask`, `redact` and `drop` take every
    /// cell.
    pub fn on_bad(&self) -> &OnBad {
        match self {
            Self::Tokenize(config) => &config.on_bad,
            Self::Fpe(config) => &config.on_bad,
            Self::Generalize(config) => &config.on_bad,
            Self::Mask(_) | Self::Redact(_) | Self::Drop(_) | Self::Sql(_) => &OnBad::Refuse,
        }
    }

    /// What the stage keeps of a leaf, as it is configured.
    pub fn guarantees(&self) -> Guarantees {
        let kept = match self {
            Self::Generalize(config) => config.guarantees(),
            _ => self.declaration().guarantees,
        };
        match self.on_bad() {
            OnBad::Refuse => kept,
            // Several values become one.
            OnBad::Null | OnBad::Constant(_) => Guarantees {
                keeps_length: false,
                keeps_uniqueness: false,
                keeps_order: false,
                ..kept
            },
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
        let declared = match self {
            Self::Tokenize(config) => config.declare(leaf, domains),
            Self::Fpe(config) => config.declare(leaf, domains),
            Self::Mask(config) => config.declare(leaf),
            Self::Redact(config) => config.declare(leaf, domains),
            Self::Generalize(config) => config.declare(leaf),
            Self::Drop(_) => return Ok(None),
            Self::Sql(_) => return Err(StageFault::NoFunction(self.verb())),
        }?;
        let on_bad = self.on_bad();
        on_bad.check(&declared.output.arrow())?;
        let may_fail = declared.may_fail && on_bad.is_refuse();
        Ok(Some(Declared { may_fail, ..declared }))
    }

    /// The stage for one leaf as an immutable DataFusion function of one argument. It fails with
    /// `DataFusionError::External` holding a [`crate::TransformFault`].
    ///
    /// # Errors
    /// As [`Self::declare`]; [`StageFault::NoFunction`] for `drop`; [`StageFault::KeyPer`] where the
    /// stage needs [`Self::build_per`].
    pub fn build(
        &self,
        leaf: &Leaf,
        domains: &Domains,
        keyring: &Keyring,
    ) -> Result<ScalarUDF, StageFault> {
        self.build_per(leaf, None, domains, keyring)
    }

    /// As [`Self::build`], with the leaf of [`Declared::key_per`], where there is one: the function
    /// then takes it as its second argument.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_per(
        &self,
        leaf: &Leaf,
        per: Option<&Leaf>,
        domains: &Domains,
        keyring: &Keyring,
    ) -> Result<ScalarUDF, StageFault> {
        let Some(declared) = self.declare(leaf, domains)? else {
            return Err(StageFault::NoFunction(self.verb()));
        };
        if let (Self::Tokenize(config), Some(path), None) = (self, declared.key_per(), per) {
            return Err(StageFault::KeyPer {
                domain: config.domain.clone(),
                leaf: path.to_owned(),
                why: "which is no leaf of these records",
            });
        }
        let protect = match self {
            Self::Tokenize(config) => config.build(leaf, domains, keyring)?,
            Self::Fpe(config) => config.build(leaf, domains, keyring)?,
            Self::Mask(config) => config.build(),
            Self::Redact(config) => config.build(domains, keyring)?,
            Self::Generalize(config) => config.build(leaf)?,
            Self::Drop(_) | Self::Sql(_) => {
                return Err(StageFault::NoFunction(self.verb()));
            }
        };
        // The cipher stays where `protect` points to, and nowhere else.
        wipe_stack();
        let ids: Vec<String> =
            keyring.ids(&declared.keys).iter().map(ToString::to_string).collect();
        let identity = format!("{self:?} {} {:?} {ids:?}", leaf.leaf_type, declared.produces);
        Ok(crate::function::scalar(
            self.verb(),
            identity,
            std::iter::once(leaf).chain(per).map(|leaf| leaf.leaf_type.arrow()).collect(),
            declared.output.arrow(),
            self.on_bad().over(protect),
        ))
    }
}
