//! `drop`: the column stays behind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{Declaration, Guarantees};

/// What `drop` is.
pub const DECLARATION: Declaration = Declaration {
    verb: "drop",
    summary: "the column stays behind; nothing of it crosses",
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
    example_yaml: "drop: { columns: [national_id, full_name, street] }",
};

/// `drop: { columns: [national_id] }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Drop")]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Leaves that stay behind.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
}
