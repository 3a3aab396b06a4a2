//! What `verify --topic` says of a topic's newest bundle of checkpoints.

use data_encoding::HEXLOWER;
use douane_ledger::bundle::Stand;
use douane_ledger::coverage::{CosignedLine, Newest};
use serde::Serialize;

use crate::schedule;

/// The newest bundle, for people and JSON.
#[derive(Debug, Serialize)]
pub struct BundleSaid {
    /// How many there are that hold.
    pub count: u64,
    pub number: u64,
    pub digest: String,
    /// In the manifest topic.
    pub offset: i64,
    /// Its tick, as the place signed it.
    pub at: String,
    pub age_s: u64,
    pub every_s: u64,
    pub logs: Vec<LogSaid>,
    pub cosigned: Vec<CosignedLine>,
    /// Whether the logs' own signatures were looked at.
    pub checkpoints_checked: bool,
}

/// Where a log stands in a bundle.
#[derive(Debug, Serialize)]
pub struct LogSaid {
    pub origin: String,
    pub size: u64,
    pub root: String,
}

impl BundleSaid {
    pub(super) fn of(newest: &Newest, checkpoints_checked: bool) -> Self {
        let at = i64::try_from(newest.at_ms).ok();
        let at = at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        let log = |stand: &Stand| LogSaid {
            origin: stand.origin.clone(),
            size: stand.size,
            root: HEXLOWER.encode(&stand.root),
        };
        Self {
            count: newest.count,
            number: newest.number,
            digest: newest.digest.clone(),
            offset: newest.offset,
            at: at.map_or_else(String::new, |at| at.to_string()),
            age_s: schedule::now_ms().saturating_sub(newest.at_ms) / 1_000,
            every_s: newest.every_ms / 1_000,
            logs: newest.logs.iter().map(log).collect(),
            cosigned: newest.cosigned.clone(),
            checkpoints_checked,
        }
    }

    pub(super) fn text(&self) -> String {
        let Self { count, at, age_s, every_s, .. } = self;
        let checked = if self.checkpoints_checked {
            ""
        } else {
            "; their signatures NOT checked: no checkpoint.key.pub"
        };
        format!(
            "  {count} bundles of checkpoints, one after another, each log going on; the newest of {at}, {age_s} s \
             ago (every {every_s} s){checked}\n"
        )
    }
}
