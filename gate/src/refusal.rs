//! Rows that do not cross, each with its reason and place.

use crate::detectors::Detector;

/// Where a refused row failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A key column of the release, by index.
    Key(usize),
    /// A value column of the release, by index.
    Column(usize),
    /// A value column of the release before the change, by index.
    Before(usize),
    /// The record as a whole.
    Record,
}

/// A row that does not cross, and why. Holds nothing of the row.
///
/// A refused delete or tombstone must hold its partition: its row would stay outside for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GateRefusal {
    /// Why.
    pub reason: RefusalReason,
    /// Where.
    pub place: Place,
}

impl GateRefusal {
    /// The word for ledger, metric and quarantine record.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

/// Why one row does not cross. A word for the ledger, the metric and the quarantine record; it
/// holds nothing of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// Null in a column that the release says is never null.
    Null,
    /// Null where the raw value is not, or a value where the raw one is null.
    NullMismatch,
    /// A part of the record key is null.
    KeyNull,
    /// Not of the token form's alphabet, length or range.
    Token,
    /// The token is the raw text of a leaf of its own row.
    TokenIsRaw,
    /// Two tokens of one row agree across domains, or differ within one for the same raw value.
    TokenDomain,
    /// Not what the gate's own FF1 makes of the raw value.
    Fpe,
    /// Not the raw value under the mask.
    Mask,
    /// Not the release's constant.
    Constant,
    /// Something other than a detected stretch was changed, or what stands for one is no pseudonym
    /// of it.
    Redaction,
    /// More pseudonyms of a domain that columns have in one text than the release allows.
    TooManyFinds,
    /// A last-line detector found something in what would have crossed.
    Found(Detector),
    /// Not the year or the decade of the raw value, or no year from 1 to 9999.
    Year,
    /// Not the month or the quarter of the raw value.
    Month,
    /// Not the day or the week of the raw value.
    Day,
    /// Not the hour of the raw value.
    Hour,
    /// Not a label of the release, or not the label of the raw value's bin or band of ages.
    Bin,
    /// Not what rounding or bounds make of the raw value.
    Coded,
    /// Longer than the release allows, or not the start of the raw value.
    Prefix,
    /// Not the region that the release has for the raw value.
    Region,
    /// What stands for values that no stage takes stands for one that it takes.
    OnBad,
    /// A public value that is not its leaf's value.
    NotItsLeaf,
    /// A text of a fixed syntax (uuid, timestamp with zone and the like) that has another one.
    Syntax,
    /// A derived text is longer than any may be.
    DerivedTooLong,
    /// A derived text holds the raw text of a leaf that may not cross as it is.
    DerivedHoldsRaw,
    /// A date or time without a canonical text.
    OutOfRange,
    /// Key, value and headers are larger than the target takes.
    Oversize,
}

impl RefusalReason {
    /// The word for ledger, metric and quarantine record.
    pub fn code(self) -> &'static str {
        match self {
            Self::Null => "gate_null",
            Self::NullMismatch => "gate_null_mismatch",
            Self::KeyNull => "gate_key_null",
            Self::Token => "gate_token",
            Self::TokenIsRaw => "gate_token_is_raw",
            Self::TokenDomain => "gate_token_domain",
            Self::Fpe => "gate_fpe",
            Self::Mask => "gate_mask",
            Self::Constant => "gate_constant",
            Self::Redaction => "gate_redaction",
            Self::TooManyFinds => "gate_too_many_finds",
            Self::Found(detector) => detector.code(),
            Self::Year => "gate_year",
            Self::Month => "gate_month",
            Self::Day => "gate_day",
            Self::Hour => "gate_hour",
            Self::Bin => "gate_bin",
            Self::Coded => "gate_coded",
            Self::Prefix => "gate_prefix",
            Self::Region => "gate_region",
            Self::OnBad => "gate_on_bad",
            Self::NotItsLeaf => "gate_not_its_leaf",
            Self::Syntax => "gate_syntax",
            Self::DerivedTooLong => "gate_derived_too_long",
            Self::DerivedHoldsRaw => "gate_derived_holds_raw",
            Self::OutOfRange => "gate_out_of_range",
            Self::Oversize => "gate_oversize",
        }
    }
}

impl From<Detector> for RefusalReason {
    fn from(detector: Detector) -> Self {
        Self::Found(detector)
    }
}
