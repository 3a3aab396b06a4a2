//! What does not hold in a topic: a place and a reason, never a value.

use std::collections::BTreeSet;
use std::fmt;

use super::bundles::Broken;
use super::releases::Doubt;

/// The most findings that are kept; all are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// A record's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}

/// Something that does not hold. `id`: of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Finding {
    #[error("{at}: no manifest that this place signed: {why}")]
    Unsigned { at: At, why: String },
    #[error("{at}: manifest {id} lies under another record key")]
    Key { at: At, id: String },
    #[error("{at}: manifest {id} speaks of another topic")]
    Foreign { at: At, id: String },
    #[error("{at}: manifest {id} was there already, at offset {first}")]
    Doubled { at: At, id: String, first: i64 },
    #[error("{at}: a manifest before {id} is missing: the one that it names is not there")]
    Gap { at: At, id: String },
    #[error("{at}: manifest {id} follows one that another follows already")]
    Forked { at: At, id: String },
    #[error(
        "manifest {id} was at offset {offset} in the earlier answer, and is not there now, or not with \
         all those before it"
    )]
    Vanished { id: String, offset: i64 },
    #[error("{at}: bundle {number} {why}")]
    Bundle { at: At, number: u64, why: Broken },
    #[error("{topic}: {}", stale(.at_ms, .since_ms))]
    Stale { topic: String, at_ms: Option<u64>, since_ms: u64 },
    #[error("{log}: the newest bundle has no line of witness {witness} that is new enough")]
    NotCosigned { log: String, witness: String },
    #[error("the bundle {digest} of the earlier answer is not there now")]
    BundleVanished { digest: String },
    #[error(
        "{topic}: the log of manifests begins at offset {low}: what lay before was deleted, and \
         nothing shows what it was"
    )]
    Cut { topic: String, low: i64 },
    #[error("{at}: manifest {id}: {why}")]
    Release { at: At, id: String, why: Doubt },
    #[error("{at}: a record that names no manifest")]
    NoManifest { at: At },
    #[error("{at}: records of manifest {id}, which is not there")]
    Unknown { at: At, id: String },
    #[error("{at}: a record of manifest {id}, which brought none to this partition")]
    NotNamed { at: At, id: String },
    #[error("{at}: a record more than the {count} that manifest {id} brought to this partition")]
    Added { at: At, id: String, count: u64 },
    #[error(
        "{at} to @{last}: records of manifest {id} are not what was signed, or not in its order"
    )]
    Changed { at: At, id: String, last: i64 },
    #[error("{topic}[{partition}]: {found} of {expected} records of manifest {id} are there")]
    Missing { topic: String, partition: i32, id: String, expected: u64, found: u64 },
    #[error(
        "{topic}[{partition}]: retention took records of {parts} transactions before they were \
         taken; the log begins at offset {low}"
    )]
    Retired { topic: String, partition: i32, parts: u64, low: i64 },
    #[error("{at}: a record of manifest {id} lies behind records of one that came after it")]
    Order { at: At, id: String },
}

impl Finding {
    /// The finding in a word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => "unsigned",
            Self::Key { .. } => "wrong_key",
            Self::Foreign { .. } => "foreign",
            Self::Doubled { .. } => "doubled",
            Self::Gap { .. } => "gap",
            Self::Forked { .. } => "forked",
            Self::Bundle { why, .. } => why.code(),
            Self::Stale { .. } => "stale",
            Self::NotCosigned { .. } => "not_cosigned",
            Self::Vanished { .. } | Self::BundleVanished { .. } => "vanished",
            Self::Cut { .. } => "cut",
            Self::Release { why, .. } => why.code(),
            Self::NoManifest { .. } => "no_manifest",
            Self::Unknown { .. } => "unknown_manifest",
            Self::NotNamed { .. } => "not_named",
            Self::Added { .. } => "added",
            Self::Changed { .. } => "changed",
            Self::Missing { .. } => "missing",
            Self::Retired { .. } => "retired",
            Self::Order { .. } => "order",
        }
    }
}

fn stale(at_ms: &Option<u64>, since_ms: &u64) -> String {
    match at_ms {
        None => "no bundle is there".to_owned(),
        Some(at) => format!(
            "the newest bundle is {} s older than it may be: newer ones were taken out, or none was made",
            since_ms.saturating_sub(*at) / 1_000
        ),
    }
}

/// Findings, sorted; the first [`FINDINGS_MAX`] of them.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    kept: BTreeSet<Finding>,
    total: u64,
}

impl Findings {
    /// Takes one in.
    pub fn add(&mut self, finding: Finding) {
        self.total += 1;
        if self.kept.len() < FINDINGS_MAX {
            self.kept.insert(finding);
        }
    }

    /// Takes others in.
    pub fn extend(&mut self, others: Self) {
        self.total += others.total;
        let room = FINDINGS_MAX.saturating_sub(self.kept.len());
        self.kept.extend(others.kept.into_iter().take(room));
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// All there were, kept or not.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.kept.iter()
    }
}
