//! What can be wrong with a stage, and what can be wrong with a cell.

use douane_schemas::leaf::LeafType;

/// A stage cannot be used as it is written. Known from the YAML and the leaf's type alone, before
/// a record is read; names and numbers in it come from the pipeline's files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum StageFault {
    #[error("{verb} does not take a leaf of type {found}; it takes {expected}")]
    LeafType { verb: &'static str, found: LeafType, expected: &'static str },
    #[error(
        "{verb} names the token domain `{domain}`, which the domains' file does not hold; it holds {known}"
    )]
    UnknownDomain { verb: &'static str, domain: String, known: String },
    #[error(
        "domain `{domain}` normalises with {normalize}, which needs {expected}, but the leaf's type is {found}"
    )]
    Normalizer { domain: String, normalize: &'static str, found: LeafType, expected: &'static str },
    #[error(
        "fpe encrypts at least {length_min} characters of {radix}, fewer than 10^6 values; declare length_min of at least {least}"
    )]
    DomainTooSmall { radix: u32, length_min: u32, least: u32 },
    #[error("fpe length_min is {length_min}; at most {most} characters of one value are encrypted")]
    LengthTooLong { length_min: u32, most: u32 },
    #[error("fpe computes a check digit of digits only; write `alphabet: digits`")]
    CheckDigit,
    #[error("custom alphabet: {0}")]
    Alphabet(&'static str),
    #[error("separators: {0}")]
    Separators(&'static str),
    #[error("mask keeps {kept} characters; at most {most} may be kept in all")]
    KeepsTooMuch { kept: u32, most: u32 },
    #[error("the fill is a letter, digit or space; expected one printable ASCII sign such as `*`")]
    Fill,
    #[error("{verb} needs exactly one of {expected}, found {found}")]
    ExactlyOne { verb: &'static str, expected: &'static str, found: usize },
    #[error("generalize to {to} leaves a leaf of type {found} as it is, or does not apply to it")]
    Granularity { to: &'static str, found: LeafType },
    #[error("bins: {0}")]
    Bins(&'static str),
    #[error("prefix keeps {found} characters; expected 1 to {most}")]
    Prefix { found: u32, most: u32 },
    #[error("`as_of` is no day such as `2026-01-01`; ages are counted until it, never until today")]
    AsOf,
    #[error("`{key}` stands without `{other}`, and means nothing there")]
    Beside { key: &'static str, other: &'static str },
    #[error("round, clamp: {0}")]
    Round(&'static str),
    #[error("map: {0}")]
    Regions(&'static str),
    #[error("on_bad: {0}")]
    OnBad(&'static str),
    #[error("detectors: {0}")]
    Detectors(&'static str),
    #[error("`{key}` names `{name}`, {expected}")]
    Named { key: &'static str, name: String, expected: &'static str },
    #[error("constant is {found} bytes long; at most {most} are allowed")]
    Constant { found: usize, most: usize },
    #[error(
        "key {number} of domain `{domain}` has no place in a token: 1 to 255; next: a new domain"
    )]
    KeyNumber { domain: String, number: u32 },
    #[error("domain `{domain}` has its keys per `{leaf}`, {why}")]
    KeyPer { domain: String, leaf: String, why: &'static str },
    #[error(
        "domain `{domain}` pads to {pad_to} bytes; at most {most} for finds in texts, of which one \
         record may hold millions; next: a domain of its own for them"
    )]
    FindsPadded { domain: String, pad_to: u32, most: u32 },
    #[error("{0} makes no column of a leaf: it has no function")]
    NoFunction(&'static str),
}

/// A cell cannot be protected. It carries a code and nothing of the cell; the run loop finds the
/// row by halving the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum TransformFault {
    #[error("a cell is not what its normaliser or stage can read")]
    Unparsable,
    #[error("a cell lies outside the range the stage can express")]
    OutOfRange,
    #[error("a cell holds a character outside the alphabet and the separators")]
    OutsideAlphabet,
    #[error("a cell leaves fewer characters to encrypt than the declared minimum")]
    DomainTooSmall,
    #[error("a cell's check digit does not follow from its other digits")]
    CheckDigit,
    #[error("a cell is longer than the stage takes")]
    TooLong,
    #[error("a cell has no region in the stage's file")]
    Unmapped,
    #[error("a cell is divided by zero")]
    DivisionByZero,
    #[error("a cell's subject is null, so there is no key for it")]
    NoSubject,
    #[error("the keys of a cell's subject were destroyed")]
    Shredded,
    /// No cell is at fault: the batch as a whole waits.
    #[error("keys of single subjects cannot be read or made")]
    KeysAway,
}

impl TransformFault {
    /// Every one that refuses a row.
    pub const ALL: [Self; 10] = [
        Self::Unparsable,
        Self::OutOfRange,
        Self::OutsideAlphabet,
        Self::DomainTooSmall,
        Self::CheckDigit,
        Self::TooLong,
        Self::Unmapped,
        Self::DivisionByZero,
        Self::NoSubject,
        Self::Shredded,
    ];

    /// The code in quarantine records, refusals and metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unparsable => "unparsable",
            Self::OutOfRange => "out_of_range",
            Self::OutsideAlphabet => "outside_alphabet",
            Self::DomainTooSmall => "domain_too_small",
            Self::CheckDigit => "check_digit",
            Self::TooLong => "too_long",
            Self::Unmapped => "unmapped",
            Self::DivisionByZero => "division_by_zero",
            Self::NoSubject => "no_subject",
            Self::Shredded => "subject_shredded",
            Self::KeysAway => "keys_away",
        }
    }
}
