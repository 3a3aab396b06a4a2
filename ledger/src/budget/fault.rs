//! Why an account refuses.

use super::ReleaseId;
use crate::log::LedgerFault;

/// Which cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// rho within the level's stretch of time.
    Rho,
    /// rho over all releases that there ever are.
    RhoLife,
    /// Deltas within the level's stretch of time.
    Delta,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rho => "rho (2^-40)",
            Self::RhoLife => "rho for life (2^-40)",
            Self::Delta => "delta (2^-80)",
        })
    }
}

/// Why an account refuses.
#[derive(Debug, thiserror::Error)]
pub enum BudgetFault {
    /// The log.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// A cap would be passed. Nothing was written.
    #[error("budget: {needed} of {what} are needed, {left} of {cap} are left under policy `{policy}`{}", renews(*renews_ms))]
    Full {
        /// Whose cap.
        policy: String,
        /// Which.
        what: What,
        /// In its unit.
        needed: u64,
        /// In its unit.
        left: u64,
        /// In its unit.
        cap: u64,
        /// Windows that start at or after this fit again; `None`: never under this cap.
        renews_ms: Option<i64>,
    },
    /// There is one release of an id.
    #[error("release {release} was reserved before; a correction has the next revision")]
    Exists { release: ReleaseId },
    /// Nothing was reserved.
    #[error("release {release} was not reserved")]
    Unknown { release: ReleaseId },
    /// Its outcome is known.
    #[error("release {release} is over: committed or void")]
    Over { release: ReleaseId },
    /// What is not bound to its output cannot be in the target.
    #[error("release {release} was not computed")]
    NotComputed { release: ReleaseId },
    /// Computed twice to other bytes: code, keys or input changed in between.
    #[error("release {release} was computed before to other sums or other output")]
    Differs { release: ReleaseId },
    /// A RESERVE under a policy or a fingerprint that was not opened last.
    #[error("policy `{policy}` is not in force in this account with that fingerprint")]
    NotInForce { policy: String },
    /// The log of one identity space, the entry of another.
    #[error("the account is of identity space `{found}`, the policy names `{expected}`")]
    OtherSpace { found: String, expected: String },
    /// A field contradicts its documentation.
    #[error("budget: {why}")]
    Invalid { why: &'static str },
    /// No account writes that: the log was made by something else, or by a later version.
    #[error("entry {index} of the account contradicts the ones before it")]
    Contradiction { index: u64 },
}

fn renews(at: Option<i64>) -> String {
    let time = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "; it does not renew".to_owned(), |at| format!("; it renews at {at}"))
}
