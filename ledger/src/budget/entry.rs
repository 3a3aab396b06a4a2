//! What stands in an account's entries.

use serde::{Deserialize, Serialize};

use super::BudgetFault;
use crate::canonical::{hex_array, text_i64, text_u64, text_u64_option};
use crate::log::{SourceDigest, SpanEntry};

/// One unit of rho is 2^-40.
pub const RHO_UNIT_BITS: u32 = 40;
/// One unit of delta is 2^-80.
pub const DELTA_UNIT_BITS: u32 = 80;
/// Bytes of a policy's or query's name.
const NAME_MAX: usize = 256;
/// Characters of a VOID's reason.
const WHY_MAX: usize = 1024;
/// How many periods of a policy one window may touch.
pub(super) const PERIODS_MAX: i64 = 4096;

/// Event time, from `start_ms` to before `end_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Milliseconds since 1970 in UTC.
    #[serde(with = "text_i64")]
    pub start_ms: i64,
    /// The same.
    #[serde(with = "text_i64")]
    pub end_ms: i64,
}

/// What there is one release of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseId {
    /// The policy's name: its pipeline's.
    pub policy: String,
    /// Of which window.
    pub window: Window,
    /// The aggregate's name within the policy.
    pub query: String,
    /// From 0; a correction has the next one, and a charge of its own.
    pub revision: u32,
}

impl std::fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Window { start_ms, end_ms } = self.window;
        write!(f, "{}/{}[{start_ms}, {end_ms}) r{}", self.policy, self.query, self.revision)
    }
}

/// Which two inputs a release may not tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Neighbours {
    /// All of one person's contributions, there or not there.
    AddRemove,
}

/// Over which releases a policy adds its charges up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Level {
    /// All whose window touches one period. Periods follow each other from `origin_ms`.
    UnitPeriod {
        /// Where a period begins.
        #[serde(with = "text_i64")]
        origin_ms: i64,
        /// How long each is.
        #[serde(with = "text_i64")]
        length_ms: i64,
    },
    /// All that there ever are.
    UnitLifetime,
    /// All whose window touches any stretch of `length_ms` that begins or ends where a window of the
    /// account does, whichever policy's: w windows in a row of a w-th of it, and what lies across.
    WEvent {
        /// Of the stretch.
        #[serde(with = "text_i64")]
        length_ms: i64,
    },
}

/// What a policy lets releases cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// Over which releases.
    pub level: Level,
    /// zCDP's rho, in units of 2^-40.
    #[serde(with = "text_u64")]
    pub rho: u64,
    /// At which epsilon is stated, in units of 2^-80. Selecting groups may spend half of it.
    #[serde(with = "text_u64")]
    pub delta: u64,
    /// Over all releases that there ever are, beside the level's own.
    #[serde(with = "text_u64_option")]
    pub rho_life: Option<u64>,
}

impl Caps {
    /// What selecting groups may spend. Where it spent all, no epsilon could be stated: turning rho
    /// into one, and the tables of noise, have a part of delta too.
    pub const fn selecting(&self) -> u64 {
        self.delta / 2
    }
}

/// A policy: the body of OPEN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The identity space: the log's name.
    pub space: String,
    /// The policy's name: its pipeline's.
    pub policy: String,
    /// Its fingerprint, hexadecimal.
    pub digest: String,
    /// Which inputs may not be told apart.
    pub neighbours: Neighbours,
    /// Its caps.
    pub caps: Caps,
}

/// A charge and what it is for: the body of RESERVE. Enough to compute the release again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    /// What there is one release of.
    pub release: ReleaseId,
    /// Fingerprint of the policy that is in force, hexadecimal.
    pub digest: String,
    /// What was read, sorted by topic and partition, each once.
    pub spans: Vec<SpanEntry>,
    /// Keyed digests of it, one for each span ([`super::chain`]).
    pub inputs: Vec<SourceDigest>,
    /// zCDP's rho of all statistics together, in units of 2^-40, rounded up.
    #[serde(with = "text_u64")]
    pub rho: u64,
    /// Delta of selecting groups, in units of 2^-80, rounded up. 0 for public groups.
    #[serde(with = "text_u64")]
    pub delta: u64,
    /// How many noised numbers the release may have at most.
    #[serde(with = "text_u64")]
    pub coordinates: u64,
    /// Id of the key that noise follows from, 32 hexadecimal characters.
    pub noise_key: String,
    /// SHA-256 of each statistic's noise table, hexadecimal, in the statistics' order.
    pub tables: Vec<String>,
    /// Name, version and digest of the software.
    pub software: String,
}

/// What a release is: the body of COMPUTED.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Computed {
    /// Index of the RESERVE.
    #[serde(with = "text_u64")]
    pub of: u64,
    /// Keyed digest of the sums before noise ([`super::Account::mac_of_sums`]), hexadecimal.
    pub sums: String,
    /// Id of its key, 32 hexadecimal characters.
    pub commit_key: String,
    /// SHA-256 of what is sent, hexadecimal.
    pub output: String,
}

impl Opening {
    pub(super) fn check(&self) -> Result<(), BudgetFault> {
        let longest = i64::MAX / 4;
        invalid(match () {
            () if !is_name(&self.policy) => "policy is not a name of 1 to 256 bytes",
            () if hex_array::<32>(&self.digest).is_none() => "digest is not 32 bytes",
            () if self.caps.rho == 0 => "cap of rho is 0",
            () if self.caps.rho_life.is_some_and(|life| life == 0) => "cap of rho for life is 0",
            () => match self.caps.level {
                Level::UnitPeriod { length_ms, origin_ms } => match () {
                    () if !(1..=longest).contains(&length_ms) => "a period has no length",
                    () if !(-longest..=longest).contains(&origin_ms) => "origin is no time",
                    () => return Ok(()),
                },
                Level::WEvent { length_ms } if !(1..=longest).contains(&length_ms) => {
                    "a stretch of windows has no length"
                }
                Level::WEvent { .. } | Level::UnitLifetime => return Ok(()),
            },
        })
    }
}

impl Reserve {
    pub(super) fn check(&self) -> Result<(), BudgetFault> {
        let id = &self.release;
        let longest = i64::MAX / 4;
        let is_time = |ms: i64| (-longest..=longest).contains(&ms);
        let place = |topic: &String, partition| (topic.clone(), partition);
        let spans = || self.spans.iter().map(|span| place(&span.topic, span.partition));
        let inputs = self.inputs.iter().map(|input| place(&input.topic, input.partition));
        let digests = || self.inputs.iter().map(|input| &input.mac).chain(&self.tables);
        invalid(match () {
            () if !is_name(&id.policy) || !is_name(&id.query) => {
                "policy or query is not a name of 1 to 256 bytes"
            }
            () if !is_time(id.window.start_ms) || !is_time(id.window.end_ms) => "window is no time",
            () if id.window.start_ms >= id.window.end_ms => "window has no length",
            () if hex_array::<32>(&self.digest).is_none() => "digest is not 32 bytes",
            () if self.rho == 0 => "rho is 0: what is released would have no noise",
            () if self.spans.iter().any(|s| s.start < 0 || s.start > s.end) => {
                "a span ends before it starts"
            }
            () if !spans().is_sorted_by(|a, b| a < b) => "spans are not sorted and distinct",
            () if !spans().eq(inputs) => "inputs are not those of the spans",
            () if digests().any(|digest| hex_array::<32>(digest).is_none()) => {
                "a digest of inputs or tables is not 32 bytes"
            }
            () if self.tables.is_empty() => "there is no table of noise",
            () if hex_array::<16>(&self.noise_key).is_none() => "noise_key is not an id",
            () if !is_name(&self.software) => "software is not a name of 1 to 256 bytes",
            () => return Ok(()),
        })
    }
}

pub(super) fn check_why(why: &str) -> Result<(), BudgetFault> {
    match (1..=WHY_MAX).contains(&why.len()) {
        true => Ok(()),
        false => invalid("the reason of a VOID has not 1 to 1024 bytes"),
    }
}

fn invalid(why: &'static str) -> Result<(), BudgetFault> {
    Err(BudgetFault::Invalid { why })
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && !name.contains(crate::release::is_hidden)
}
