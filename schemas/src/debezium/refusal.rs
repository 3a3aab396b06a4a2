//! Why a record does not become a row. Nothing here holds a cell value; names are in printable
//! form (see [`crate::names`]).

use crate::leaf::LeafType;

/// The partition stops at this record until somebody answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    /// Names that the table's leaves do not list.
    #[error(
        "no class for leaf `{path}`{others}{}, expected only listed leaves; add {} and release anew",
        Id(*schema_id),
        if others.named.is_empty() { "its class" } else { "their classes" }
    )]
    UnknownLeaf {
        /// The first of them, with its image: `after.passport`, `key.id`.
        path: String,
        /// The others of the record: one release can answer for all.
        others: Others,
        /// Registry id of the schema it was found in.
        schema_id: Option<u32>,
        /// What it seems to be, for the proposal.
        hint: Option<LeafType>,
    },
    /// A listed leaf that the record or its schema lacks: removed or renamed.
    #[error(
        "leaf `{path}` is missing{}, expected every listed leaf; take it out of the pipeline \
         and release anew",
        Id(*schema_id)
    )]
    MissingLeaf {
        /// With its image.
        path: String,
        /// Registry id of the schema it is missing in.
        schema_id: Option<u32>,
    },
    /// A listed leaf of another type.
    #[error("{}leaf `{path}` is {found}{}, expected {expected}; {}",
        if *by_value { Self::BY_VALUE } else { "" },
        Id(*schema_id),
        if *by_value {
            "mend the value at its source, or, if the column has another type now, change it and \
             release anew"
        } else {
            "change its type and release anew"
        }
    )]
    Retyped {
        /// With its image.
        path: String,
        /// A leaf type, or what JSON calls the value's kind.
        found: String,
        /// The type in the table's leaves.
        expected: LeafType,
        /// One value says so, and no schema: it may be this record alone.
        by_value: bool,
        /// Registry id of the schema it was found in.
        schema_id: Option<u32>,
    },
    /// A header that no list names.
    #[error("header `{name}` is in no list, expected Debezium's own; stop it at its producer")]
    UnknownHeader {
        /// Printable.
        name: String,
    },
    /// The registry does not know the id in the frame.
    #[error("schema id {id} is unknown to the registry; restore the schema there")]
    UnknownSchemaId {
        /// The id.
        id: u32,
    },
    /// The schema cannot be read, or is not one that this version takes apart.
    #[error("the writer's schema cannot be used{}: {fault}", Id(*schema_id))]
    UnusableSchema {
        /// Registry id.
        schema_id: Option<u32>,
        /// What is wrong with it.
        fault: SchemaFault,
    },
    /// An envelope leaf outside [`super::ENVELOPE_LIST_VERSION`].
    #[error(
        "envelope leaf `{path}` is undocumented (list version {}), expected listed ones only",
        super::ENVELOPE_LIST_VERSION
    )]
    UndocumentedEnvelope {
        /// `source.colour`, `colour`.
        path: String,
    },
    /// An operation other than create, update, read, delete, truncate.
    #[error("operation `{op}` has no meaning for rows, expected one of c, u, r, d")]
    Operation {
        /// One letter as it came; `?` for anything that is not one ASCII letter.
        op: char,
    },
    /// All rows were deleted at once: no key says which.
    #[error("the table was truncated; decide what becomes of the rows already outside")]
    Truncate,
    /// A delete or tombstone that cannot be read. Skipping it would leave its row outside.
    #[error("a delete cannot be decoded ({}); it is never skipped", cause.code())]
    UndecodableDelete {
        /// What an upsert would be quarantined for.
        cause: QuarantineCode,
    },
    /// A delete or tombstone of a table without a key: nothing says which row is meant.
    #[error("a delete without a key cannot name its row; give the table a key")]
    DeleteWithoutKey,
    /// An envelope of another table than the release names, or of none.
    #[error("the change is not said to be of `{expected}`, which the release names")]
    OtherTable {
        /// Database and table, from the pipeline.
        expected: String,
    },
    /// Not a change event: a heartbeat, a transaction mark, a flattened row, another format.
    #[error("not a debezium change event in the format that the source names")]
    NotAnEnvelope,
}

/// Leaves of one record that no list names, beside the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others {
    /// With their images, as they came.
    pub named: Vec<String>,
    /// How many there are beside those.
    pub more: usize,
}

impl Others {
    /// A record may bring as many names as its limits let it; a message does not.
    pub const NAMED_MAX: usize = 31;

    pub(super) fn add(&mut self, path: impl FnOnce() -> String) {
        match self.named.len() < Self::NAMED_MAX {
            true => self.named.push(path()),
            false => self.more += 1,
        }
    }
}

/// ` and 4 more`, or nothing. Their names have a place of their own.
impl std::fmt::Display for Others {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.named.len() + self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// ` (schema id 7)` or nothing.
struct Id(Option<u32>);

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |id| write!(f, " (schema id {id})"))
    }
}

impl Hold {
    /// How a hold begins that one value stands for, and no schema.
    pub const BY_VALUE: &'static str = "a value of ";

    /// The reason as one snake_case word, for status, ledger and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownLeaf { .. } => "unknown_leaf",
            Self::MissingLeaf { .. } => "missing_leaf",
            Self::Retyped { .. } => "retyped",
            Self::UnknownHeader { .. } => "unknown_header",
            Self::UnknownSchemaId { .. } => "unknown_schema_id",
            Self::UnusableSchema { .. } => "unusable_schema",
            Self::UndocumentedEnvelope { .. } => "undocumented_envelope",
            Self::Operation { .. } => "operation",
            Self::Truncate => "truncate",
            Self::UndecodableDelete { .. } => "undecodable_delete",
            Self::DeleteWithoutKey => "delete_without_key",
            Self::OtherTable { .. } => "other_table",
            Self::NotAnEnvelope => "not_an_envelope",
        }
    }
}

/// The record is set aside and the stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum QuarantineCode {
    /// The value is not what its format says.
    MalformedValue,
    /// The key is not what its format says.
    MalformedKey,
    /// The table has a key and the record has none.
    MissingKey,
    /// One object names a member twice.
    DuplicateName,
    /// Deeper than [`super::Limits::depth_max`].
    Depth,
    /// A number that its leaf type cannot take, such as a fraction for an integer.
    Number,
    /// Not UTF-8.
    Utf8,
    /// Half of a surrogate pair in a JSON string.
    LoneSurrogate,
    /// Not base64 where bytes stand in JSON.
    Base64,
    /// Outside what the leaf type can hold.
    OutOfRange,
    /// Debezium's placeholder for an unchanged TOAST value in a column that is used.
    Unavailable,
    /// The frame ends before its datum does.
    Truncated,
    /// Larger than [`super::Limits::record_bytes_max`].
    TooLarge,
    /// More items in arrays and maps than [`super::Limits::items_max`].
    TooManyItems,
    /// More headers than [`super::Limits::headers_max`].
    TooManyHeaders,
    /// An object inside an `array` leaf: its members are leaves that no list names.
    NestedInArray,
}

impl QuarantineCode {
    /// Every code, in order.
    pub const ALL: [Self; 16] = [
        Self::MalformedValue,
        Self::MalformedKey,
        Self::MissingKey,
        Self::DuplicateName,
        Self::Depth,
        Self::Number,
        Self::Utf8,
        Self::LoneSurrogate,
        Self::Base64,
        Self::OutOfRange,
        Self::Unavailable,
        Self::Truncated,
        Self::TooLarge,
        Self::TooManyItems,
        Self::TooManyHeaders,
        Self::NestedInArray,
    ];

    /// One snake_case word, for quarantine records, the ledger and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::MalformedValue => "malformed_value",
            Self::MalformedKey => "malformed_key",
            Self::MissingKey => "missing_key",
            Self::DuplicateName => "duplicate_name",
            Self::Depth => "depth",
            Self::Number => "number",
            Self::Utf8 => "utf8",
            Self::LoneSurrogate => "lone_surrogate",
            Self::Base64 => "base64",
            Self::OutOfRange => "out_of_range",
            Self::Unavailable => "unavailable",
            Self::Truncated => "truncated",
            Self::TooLarge => "too_large",
            Self::TooManyItems => "too_many_items",
            Self::TooManyHeaders => "too_many_headers",
            Self::NestedInArray => "nested_in_array",
        }
    }
}

/// The registry cannot be reached; the text holds no data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema registry cannot be reached: {0}")]
pub struct Away(pub String);

/// What became of a record that is not a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Stop the partition here.
    #[error(transparent)]
    Hold(#[from] Hold),
    /// Set the record aside.
    #[error("quarantined: {}", .0.code())]
    Quarantine(QuarantineCode),
    /// Try again later: nothing is known about the record.
    #[error(transparent)]
    Away(#[from] Away),
    /// A column holds as many bytes as an Arrow array can. Finish the batch, push again.
    #[error("the batch is full; finish it and push the record again")]
    Full,
}

impl From<QuarantineCode> for Refusal {
    fn from(code: QuarantineCode) -> Self {
        Self::Quarantine(code)
    }
}

/// A writer's schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// Not a schema of the format.
    #[error("not a schema of its format")]
    Malformed,
    /// The value's schema is not a Debezium envelope.
    #[error("not a debezium envelope: expected a record with `op` and `after`")]
    NotAnEnvelope,
    /// The key's schema is not a record.
    #[error("the key's schema is not a record")]
    KeyNotARecord,
    /// A leaf of the envelope that the built-in list lacks.
    #[error("envelope leaf `{path}` is undocumented, expected listed ones only")]
    Undocumented {
        /// Printable path.
        path: String,
    },
    /// A record that holds itself.
    #[error("a record holds itself")]
    Recursive,
    /// Too deep, too many leaves, or too long a text.
    #[error("the schema is too large or too deep")]
    TooLarge,
    /// A field name with a dot in it cannot be told from nesting.
    #[error("a field name holds a dot or is empty")]
    DottedName,
    /// Two fields of one name.
    #[error("two fields have one name")]
    DuplicateField,
    /// The images before and after the change have different leaves.
    #[error("`before` and `after` differ")]
    ImagesDiffer,
}
